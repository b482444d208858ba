/* Words of a normalised text. A step works on what the step before it made, piece by piece, depth
 * first, so no list of pieces is ever kept. */
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "model/tokenizer_internal.h"

/* -- matches and what lies between them ---------------------------------------------------- */

struct part {
    size_t start, end;
    bool is_match;
};

/* The parts of a text in order; a gap before a match is told first. */
struct parts {
    struct tok_walk walk;
    size_t told; /* up to here all was told */
    bool waits, invert, done;
    struct part match;
};

static enum emac_status parts_init(struct parts *p, const struct tok_step *s,
                                   struct emac_slice text, struct emac_err *err)
{
    *p = (struct parts){.invert = s->invert};
    return tok_walk_init(&p->walk, &s->pattern, text, err);
}

static enum emac_status parts_next(struct parts *p, bool *there, struct part *out,
                                   struct emac_err *err)
{
    size_t start, end, n = p->walk.text.len;
    bool found;
    enum emac_status st;

    *there = true;
    if (p->waits) {
        p->waits = false;
        *out = p->match;
        return EMAC_OK;
    }
    if (p->done) {
        *there = false;
        return EMAC_OK;
    }
    st = tok_walk_next(&p->walk, &found, &start, &end, err);
    if (st != EMAC_OK)
        return st;
    if (!found) {
        p->done = true;
        *there = p->told < n;
        *out = (struct part){p->told, n, p->invert};
        return EMAC_OK;
    }
    *out = p->match = (struct part){start, end, !p->invert};
    if (p->told < start) {
        p->waits = true;
        *out = (struct part){p->told, start, p->invert};
    }
    p->told = end;
    return EMAC_OK;
}

/* -- steps --------------------------------------------------------------------------------- */

/* Nothing merges across the place before a visible space, so there a word may be cut without a
 * change of its ids; short words are found again, one long one is not. */
enum emac_status tok_word_cut(struct tok_run *r, struct emac_slice word)
{
    static const uint8_t META[] = {0xe2, 0x96, 0x81};
    size_t start = 0;
    bool was_meta = true;
    enum emac_status st = EMAC_OK;

    for (size_t i = 0; i < word.len && st == EMAC_OK;) {
        bool is_meta = word.len - i >= 3 && memcmp(word.data + i, META, 3) == 0;

        if (is_meta && !was_meta) {
            st = tok_word(r, EMAC_SLICE(word.data + start, i - start));
            start = i;
        }
        was_meta = is_meta;
        i += is_meta ? 3 : 1;
    }
    return st == EMAC_OK ? tok_word(r, EMAC_SLICE(word.data + start, word.len - start)) : st;
}

static enum emac_status step_run(struct tok_run *r, uint32_t i, struct emac_slice text,
                                 bool at_start);

static enum emac_status part_run(struct tok_run *r, uint32_t i, struct emac_slice text,
                                 size_t start, size_t end, bool at_start)
{
    if (start == end)
        return EMAC_OK;
    return step_run(r, i + 1, EMAC_SLICE(text.data + start, end - start), at_start && start == 0);
}

/* Does a part go into one piece with the one before it? Removed and isolated parts never do. */
static bool joins(enum tok_behaviour how, bool held_match, bool next_match)
{
    switch (how) {
    case TOK_CONTIGUOUS:
        return held_match == next_match;
    case TOK_WITH_PREVIOUS:
        return next_match && !held_match;
    case TOK_WITH_NEXT:
        return held_match && !next_match;
    default:
        return false;
    }
}

static enum emac_status split_run(struct tok_run *r, uint32_t i, struct emac_slice text,
                                  bool at_start)
{
    const struct tok_step *s = &r->t->split.step[i];
    struct part held = {0}, next;
    struct parts p;
    bool holds = false, there;
    enum emac_status st = parts_init(&p, s, text, r->err);

    while (st == EMAC_OK) {
        EMAC_TRY(st, parts_next(&p, &there, &next, r->err));
        if (!there)
            break;
        if (holds && joins(s->behaviour, held.is_match, next.is_match)) {
            held.end = next.end;
            held.is_match = next.is_match;
            continue;
        }
        if (holds && !(s->behaviour == TOK_REMOVED && held.is_match))
            EMAC_TRY(st, part_run(r, i, text, held.start, held.end, at_start));
        held = next;
        holds = true;
    }
    if (st == EMAC_OK && holds && !(s->behaviour == TOK_REMOVED && held.is_match))
        st = part_run(r, i, text, held.start, held.end, at_start);
out:
    tok_walk_release(&p.walk);
    return st;
}

static enum emac_status step_run(struct tok_run *r, uint32_t i, struct emac_slice text,
                                 bool at_start)
{
    const struct tok_steps *steps = &r->t->split;
    enum emac_status st;

    if (i == steps->count - (r->t->maps_words ? 1 : 0))
        return r->word_take(r, text);
    if (steps->step[i].kind == TOK_STEP_SPLIT)
        return split_run(r, i, text, at_start);
    emac_buf_clear(&r->scratch[i]);
    st = tok_step_apply(&steps->step[i], text, at_start, &r->scratch[i], r->err);
    if (st != EMAC_OK || r->scratch[i].len == 0)
        return st;
    return step_run(r, i + 1, emac_buf_slice(&r->scratch[i]), at_start);
}

void tok_run_init(struct tok_run *r, const struct tokenizer *t, size_t n, struct emac_err *err)
{
    size_t max = n * TOK_GROWTH_MAX + TOK_GROWTH_SPARE;

    *r = (struct tok_run){.t = t,
                          .word_take = t->cuts_at_meta ? tok_word_cut : tok_word,
                          .caches = n >= TOK_CACHE_LEAST,
                          .err = err};
    for (uint32_t i = 0; i < TOK_STEPS_MAX; i++)
        emac_buf_init(&r->scratch[i], max);
    emac_buf_init(&r->word, max * 2);
}

void tok_run_release(struct tok_run *r)
{
    for (uint32_t i = 0; i < TOK_STEPS_MAX; i++)
        emac_buf_release(&r->scratch[i]);
    tok_word_release(r);
}

enum emac_status tok_split(struct tok_run *r, struct emac_slice text, bool at_start)
{
    return text.len > 0 ? step_run(r, 0, text, at_start) : EMAC_OK;
}

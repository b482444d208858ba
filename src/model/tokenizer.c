/* A tokenizer's life, and a text's way through it. */
#include "model/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "model/tokenizer_internal.h"

enum emac_status tokenizer_bytes(struct tokenizer **out, struct emac_err *err)
{
    struct emac_buf json;
    enum emac_status st;

    *out = NULL;
    emac_buf_init(&json, (size_t)1 << 16);
    EMAC_TRY(st, byte_tokenizer_json(&json, err));
    EMAC_TRY(st, tokenizer_read(emac_buf_slice(&json), out, err));
    EMAC_ASSERT((*out)->is_bytes);
out:
    emac_buf_release(&json);
    return st;
}

void tokenizer_free(struct tokenizer *t)
{
    if (t == NULL)
        return;
    tok_vocab_release(&t->vocab);
    free(t->merge_begin);
    free(t->merge);
    tok_steps_release(&t->normal);
    tok_steps_release(&t->split);
    for (uint32_t i = 0; i < t->added_count; i++)
        free((void *)(uintptr_t)t->added[i].content.data);
    free(t->added);
    tok_finder_release(&t->raw);
    tok_finder_release(&t->normalized);
    free(t->special);
    emac_buf_release(&t->piece_text);
    free(t->piece);
    free(t->first_piece);
    free(t);
}

/* -- asking -------------------------------------------------------------------------------- */

uint32_t tokenizer_vocab(const struct tokenizer *t)
{
    return t->vocab.count;
}

static bool id_exists(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->vocab.count && t->vocab.written[id].at != UINT32_MAX;
}

struct emac_slice tokenizer_piece(const struct tokenizer *t, int32_t id, bool first)
{
    const struct tok_span *s;

    if (!id_exists(t, id) || t->special[id])
        return (struct emac_slice){0};
    s = first ? &t->first_piece[id] : &t->piece[id];
    return s->len > 0 ? EMAC_SLICE(t->piece_text.data + s->at, s->len) : (struct emac_slice){0};
}

bool tokenizer_is_special(const struct tokenizer *t, int32_t id)
{
    return id_exists(t, id) && t->special[id];
}

bool tokenizer_find(const struct tokenizer *t, const char *token, int32_t *id)
{
    int32_t found = tok_vocab_find(&t->vocab, EMAC_SLICE_STR(token));

    if (found >= 0)
        *id = found;
    return found >= 0;
}

struct emac_slice tokenizer_written(const struct tokenizer *t, int32_t id)
{
    return id_exists(t, id) ? tok_vocab_form(&t->vocab, (uint32_t)id) : (struct emac_slice){0};
}

/* -- encoding ------------------------------------------------------------------------------ */

static enum emac_status ids_add(struct tok_run *r, const int32_t *id, size_t n)
{
    return emac_buf_append(r->out, id, n * sizeof(*id), r->err);
}

static enum emac_status bytes_encode(struct tok_run *r, struct emac_slice text)
{
    enum emac_status st = emac_buf_reserve(r->out, text.len * sizeof(int32_t), r->err);

    for (size_t i = 0; i < text.len && st == EMAC_OK; i++) {
        int32_t id = text.data[i];

        st = ids_add(r, &id, 1);
    }
    return st;
}

/* What is between the normalised added tokens of a normalised text. */
static enum emac_status normal_encode(struct tok_run *r, struct emac_slice text, bool at_start,
                                      bool with_special)
{
    size_t told = 0, from = 0, start, end;
    int32_t id;
    enum emac_status st = EMAC_OK;

    while (tok_finder_next(&r->t->normalized, text, told, with_special, &from, &start, &end, &id)) {
        if (told < start)
            EMAC_TRY(st, tok_split(r, EMAC_SLICE(text.data + told, start - told),
                                   at_start && told == 0));
        EMAC_TRY(st, ids_add(r, &id, 1));
        told = end;
    }
    if (told < text.len)
        st = tok_split(r, EMAC_SLICE(text.data + told, text.len - told), at_start && told == 0);
out:
    return st;
}

/* A text without added tokens as they are written. */
static enum emac_status segment_encode(struct tok_run *r, struct emac_slice text, bool at_start,
                                       bool with_special)
{
    const struct tok_steps *steps = &r->t->normal;
    struct emac_buf turn[2];
    enum emac_status st = EMAC_OK;

    for (int i = 0; i < 2; i++)
        emac_buf_init(&turn[i], text.len * TOK_GROWTH_MAX + TOK_GROWTH_SPARE);
    for (uint32_t i = 0; i < steps->count; i++) {
        struct emac_buf *to = &turn[i % 2];

        emac_buf_clear(to);
        EMAC_TRY(st, tok_step_apply(&steps->step[i], text, at_start, to, r->err));
        text = emac_buf_slice(to);
    }
    st = normal_encode(r, text, at_start, with_special);
out:
    emac_buf_release(&turn[0]);
    emac_buf_release(&turn[1]);
    return st;
}

static enum emac_status text_encode(struct tok_run *r, struct emac_slice text, bool with_special)
{
    size_t told = 0, from = 0, start, end;
    int32_t id;
    enum emac_status st = EMAC_OK;

    if (r->t->is_bytes)
        return bytes_encode(r, text);
    while (tok_finder_next(&r->t->raw, text, told, with_special, &from, &start, &end, &id)) {
        if (told < start)
            EMAC_TRY(st, segment_encode(r, EMAC_SLICE(text.data + told, start - told), told == 0,
                                        with_special));
        EMAC_TRY(st, ids_add(r, &id, 1));
        told = end;
    }
    if (told < text.len)
        st = segment_encode(r, EMAC_SLICE(text.data + told, text.len - told), told == 0,
                            with_special);
out:
    return st;
}

static enum emac_status text_check(const struct tokenizer *t, struct emac_slice text,
                                   struct emac_err *err)
{
    if (text.len > TOKENIZER_TEXT_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "a text of %zu bytes; at most %u are encoded at once",
                         text.len, TOKENIZER_TEXT_MAX);
    for (size_t i = 0, n; i < text.len && !t->is_bytes; i += n) {
        n = text.data[i] < 0x80 ? 1 : emac_utf8_next(text.data + i, text.len - i, NULL);
        if (n == 0)
            return emac_fail(err, EMAC_INVALID, "the text is not UTF-8 at byte %zu", i);
    }
    return EMAC_OK;
}

enum emac_status tokenizer_encode(const struct tokenizer *t, struct emac_slice text,
                                  bool with_special, struct emac_buf *out, struct emac_err *err)
{
    struct tok_run r;
    size_t before = out->len;
    enum emac_status st = text_check(t, text, err);

    if (st != EMAC_OK)
        return st;
    tok_run_init(&r, t, text.len, err);
    r.out = out;
    if (with_special)
        EMAC_TRY(st, ids_add(&r, t->before, t->before_count));
    EMAC_TRY(st, text_encode(&r, text, with_special));
    if (with_special)
        st = ids_add(&r, t->after, t->after_count);
out:
    tok_run_release(&r);
    if (st != EMAC_OK && out->len > before) {
        out->len = before;
        out->data[before] = 0;
    }
    return st;
}

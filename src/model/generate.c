/* INV-1  window[0..count) are the last tokens of the text, in order; the first session_length(s) of
 *        them are what the session holds, the rest was not fed yet. A token is drawn when all are.
 *
 * INV-2  count <= max_positions + 1. */
#include "model/generate.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

struct generator {
    struct session *s;
    struct sample_params params;
    uint32_t positions, vocab, prompt_tokens;
    uint32_t drawn; /* tokens generated: the position of the next draw */
    uint32_t count;
    int32_t *window;
};

enum emac_status generator_open(struct session *s, const struct llama_config *c,
                                const int32_t *prompt, size_t n, const struct sample_params *params,
                                struct generator **out, struct emac_err *err)
{
    uint32_t room = c->max_positions > 1 ? c->max_positions - 1 : 1;
    struct generator *g = NULL;
    enum emac_status st;

    *out = NULL;
    if (n == 0)
        return emac_fail(err, EMAC_INVALID, "the prompt is empty: give at least one token");
    EMAC_TRY(st, emac_alloc(&g, 1, sizeof(*g), err));
    EMAC_TRY(st, emac_alloc(&g->window, (size_t)c->max_positions + 1, sizeof(*g->window), err));
    g->s = s;
    g->params = *params;
    g->positions = c->max_positions;
    g->vocab = c->vocab_size;
    g->count = n < room ? (uint32_t)n : room;
    g->prompt_tokens = g->count;
    memcpy(g->window, prompt + (n - g->count), g->count * sizeof(*g->window));
    session_reset(s);
    EMAC_TRY(st, session_tokens_check(s, g->window, g->count, err));
    *out = g;
    g = NULL;
out:
    generator_close(g);
    return st;
}

void generator_close(struct generator *g)
{
    if (g == NULL)
        return;
    free(g->window);
    free(g);
}

uint32_t generator_prompt_tokens(const struct generator *g)
{
    return g->prompt_tokens;
}

/* Tokens that are not fed yet; at least one. */
static uint32_t waiting(const struct generator *g)
{
    EMAC_ASSERT(session_length(g->s) < g->count);
    return g->count - session_length(g->s);
}

bool generator_is_reading(const struct generator *g)
{
    return waiting(g) > 1 || g->drawn == 0;
}

/* The window is full: keep its second half. */
static void slide(struct generator *g)
{
    uint32_t keep = g->positions > 1 ? g->positions / 2 : 1;

    EMAC_ASSERT(keep <= g->count);
    memmove(g->window, g->window + (g->count - keep), keep * sizeof(*g->window));
    g->count = keep;
    session_reset(g->s);
}

/* ---- a step ---- */

static void draw(struct generator_turn *t, const float *logits)
{
    struct generator *g = t->g;

    t->token = sample_token(logits, g->vocab, &g->params, g->drawn++);
    t->drawn = true;
    g->window[g->count++] = t->token;
    EMAC_ASSERT(g->count <= g->positions + 1 && t->token >= 0 && (uint32_t)t->token < g->vocab);
}

/* What each feeds; those that have to wait feed nothing. Returns how many do feed. */
static uint32_t parts_lay(struct generator_turn *turn, uint32_t count, uint32_t prompt_rows,
                          struct session_part *part, struct generator_turn **of)
{
    uint32_t parts = 0;

    for (uint32_t i = 0; i < count; i++) {
        struct generator *g = turn[i].g;
        turn[i].drawn = false;
        turn[i].err = (struct emac_err){.status = EMAC_OK};
        if (session_length(g->s) >= g->positions)
            slide(g);
        uint32_t all = waiting(g), n = all;
        if (all > 1) {
            n = all < prompt_rows ? all : prompt_rows;
            prompt_rows -= n;
        }
        if (n == 0)
            continue;
        of[parts] = &turn[i];
        part[parts++] = (struct session_part){
            .s = g->s, .tokens = g->window + session_length(g->s), .n = n, .wants = n == all};
    }
    return parts;
}

enum emac_status generators_step(struct generator_turn *turn, uint32_t count, uint32_t prompt_rows,
                                 struct emac_err *err)
{
    struct session_part *part = NULL;
    struct generator_turn **of = NULL;
    uint32_t parts = 0;
    enum emac_status st;

    EMAC_ASSERT(count >= 1 && prompt_rows >= 1 && count - 1 + prompt_rows <= SESSION_ROWS_MAX);
    EMAC_TRY(st, emac_alloc(&part, count, sizeof(*part), err));
    EMAC_TRY(st, emac_alloc(&of, count, sizeof(struct generator_turn *), err));
    parts = parts_lay(turn, count, prompt_rows, part, of);
    EMAC_TRY(st, sessions_feed(part, parts, err));
    for (uint32_t i = 0; i < parts; i++) {
        of[i]->err = part[i].err;
        if (part[i].logits != NULL)
            draw(of[i], part[i].logits);
    }
out:
    free(part);
    free(of);
    return st;
}

enum emac_status generator_next(struct generator *g, int32_t *token, struct emac_err *err)
{
    struct generator_turn turn = {.g = g};

    while (!turn.drawn) {
        enum emac_status st = generators_step(&turn, 1, SESSION_ROWS_MAX, err);
        if (st != EMAC_OK)
            return st;
        if (turn.err.status != EMAC_OK)
            return emac_fail(err, turn.err.status, "%s", turn.err.text);
    }
    *token = turn.token;
    return EMAC_OK;
}

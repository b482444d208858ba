/* INV-1  window[0..count) are the last bytes of the text, in order; the first session_length(s) of
 *        them are what the session holds, the rest (one at most) was drawn and not fed yet.
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
    const float *logits;
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
    EMAC_TRY(st, session_feed(s, g->window, g->count, &g->logits, err));
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

/* The window is full: keep its second half. */
static enum emac_status slide(struct generator *g, struct emac_err *err)
{
    uint32_t keep = g->positions > 1 ? g->positions / 2 : 1;

    EMAC_ASSERT(keep <= g->count);
    memmove(g->window, g->window + (g->count - keep), keep * sizeof(*g->window));
    g->count = keep;
    session_reset(g->s);
    return session_feed(g->s, g->window, keep, &g->logits, err);
}

enum emac_status generator_next(struct generator *g, int32_t *token, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;

    if (session_length(g->s) < g->count) {
        EMAC_ASSERT(session_length(g->s) + 1 == g->count);
        if (session_length(g->s) >= g->positions)
            st = slide(g, err);
        else
            st = session_feed(g->s, &g->window[g->count - 1], 1, &g->logits, err);
    }
    if (st != EMAC_OK)
        return st;
    *token = sample_token(g->logits, g->vocab, &g->params, g->drawn++);
    g->window[g->count++] = *token;
    EMAC_ASSERT(g->count <= g->positions + 1 && *token >= 0 && (uint32_t)*token < g->vocab);
    return EMAC_OK;
}

/* Sequences and their caches.
 *
 * INV-1  Rows 0..length-1 of every layer's cache hold the keys (rotated) and values of the
 *        sequence; rows above are free.
 *
 * INV-2  length changes only when all layers and the logits of a call are done. */
#include "model/session.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "model/decoder_internal.h"

#define CACHE_ROWS_MIN 64u /* the cache grows by doubling from here */

/* ---- opening ---- */

enum emac_status session_join(struct decoder *d, struct session **out, struct emac_err *err)
{
    struct session *s = NULL;
    enum emac_status st;
    *out = NULL;
    EMAC_TRY(st, emac_alloc(&s, 1, sizeof(*s), err));
    s->d = d;
    EMAC_TRY(st, emac_alloc(&s->k, d->c.layers, sizeof(*s->k), err));
    EMAC_TRY(st, emac_alloc(&s->v, d->c.layers, sizeof(*s->v), err));
    *out = s;
    s = NULL;
out:
    session_close(s);
    return st;
}

enum emac_status session_open(struct device *dev, const struct llama_config *c, const void *bundle,
                              size_t n, struct session **out, struct emac_err *err)
{
    struct decoder *d;
    *out = NULL;
    enum emac_status st = decoder_open(dev, c, bundle, n, &d, err);
    if (st != EMAC_OK)
        return st;
    st = session_join(d, out, err);
    if (st == EMAC_OK)
        (*out)->own_decoder = true;
    else
        decoder_close(d);
    return st;
}

void session_wipe(struct session *s)
{
    if (s != NULL && s->own_decoder)
        decoder_wipe(s->d);
}

void session_close(struct session *s)
{
    if (s == NULL)
        return;
    for (uint32_t layer = 0; layer < s->d->c.layers; layer++) {
        if (s->k != NULL)
            device_free(s->d->dev, s->k[layer]);
        if (s->v != NULL)
            device_free(s->d->dev, s->v[layer]);
    }
    free(s->k);
    free(s->v);
    if (s->own_decoder)
        decoder_close(s->d);
    free(s);
}

void session_reset(struct session *s)
{
    s->length = 0;
}

uint32_t session_length(const struct session *s)
{
    return s->length;
}

struct decoder *session_decoder(const struct session *s)
{
    return s->d;
}

/* ---- memory ---- */

static size_t cache_width(const struct llama_config *c)
{
    return (size_t)c->kv_heads * c->head_dim;
}

/* What a cache of `have` rows grows to so that `rows` have room. */
static uint32_t cache_rows_for(const struct llama_config *c, uint32_t have, uint32_t rows)
{
    uint64_t want = have < CACHE_ROWS_MIN ? CACHE_ROWS_MIN : have;
    while (want < rows)
        want *= 2;
    return want < c->max_positions ? (uint32_t)want : c->max_positions;
}

uint64_t session_bytes(const struct llama_config *c, uint32_t positions)
{
    uint32_t most = positions < c->max_positions ? positions : c->max_positions;
    uint64_t row = 2 * (uint64_t)c->layers * cache_width(c) * sizeof(float);
    return row * cache_rows_for(c, 0, most);
}

/* Room for `rows` positions. When memory runs out half-way, blocks that are larger already are no
 * harm: cache_rows still tells what all of them hold. */
static enum emac_status cache_reserve(struct session *s, uint32_t rows, struct emac_err *err)
{
    size_t width = cache_width(&s->d->c);
    enum emac_status st = EMAC_OK;
    if (rows <= s->cache_rows)
        return EMAC_OK;
    uint32_t want = cache_rows_for(&s->d->c, s->cache_rows, rows);
    for (uint32_t layer = 0; layer < s->d->c.layers; layer++) {
        EMAC_TRY(st, decoder_grow(s->d, &s->k[layer], s->length * width, want * width, err));
        EMAC_TRY(st, decoder_grow(s->d, &s->v[layer], s->length * width, want * width, err));
    }
    EMAC_TRY(st, decoder_tables(s->d, want, err));
    s->cache_rows = want;
out:
    return st;
}

/* ---- feeding ---- */

enum emac_status session_tokens_check(const struct session *s, const int32_t *tokens, size_t n,
                                      struct emac_err *err)
{
    const struct llama_config *c = &s->d->c;
    if (n == 0)
        return emac_fail(err, EMAC_INVALID, "no token to feed; a prompt has at least one");
    if (n > c->max_positions - s->length)
        return emac_fail(err, EMAC_TOO_LARGE,
                         "a sequence of %llu tokens; the model takes at most %u",
                         (unsigned long long)s->length + n, c->max_positions);
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= c->vocab_size)
            return emac_fail(err, EMAC_INVALID, "token %d is not in the vocabulary of %u",
                             (int)tokens[i], c->vocab_size);
    return EMAC_OK;
}

enum emac_status sessions_feed(struct session_part *part, uint32_t count, struct emac_err *err)
{
    uint32_t rows = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct session_part *p = &part[i];
        EMAC_ASSERT(p->s->d == part[0].s->d);
        p->logits = NULL;
        p->err = (struct emac_err){.status = EMAC_OK};
        if (session_tokens_check(p->s, p->tokens, p->n, &p->err) == EMAC_OK)
            (void)cache_reserve(p->s, p->s->length + p->n, &p->err);
        rows += p->err.status == EMAC_OK ? p->n : 0;
    }
    EMAC_ASSERT(rows <= SESSION_ROWS_MAX);
    enum emac_status st = rows > 0 ? decoder_run(part[0].s->d, part, count, err) : EMAC_OK;
    for (uint32_t i = 0; i < count && st == EMAC_OK; i++)
        if (part[i].err.status == EMAC_OK)
            part[i].s->length += part[i].n;
    return st;
}

enum emac_status session_feed(struct session *s, const int32_t *tokens, uint32_t n,
                              const float **logits, struct emac_err *err)
{
    uint32_t before = s->length, done = 0;
    enum emac_status st;
    EMAC_TRY(st, session_tokens_check(s, tokens, n, err));
    EMAC_TRY(st, cache_reserve(s, s->length + n, err));
    while (done < n) {
        uint32_t rows = n - done < SESSION_ROWS_MAX ? n - done : SESSION_ROWS_MAX;
        struct session_part p = {
            .s = s, .tokens = tokens + done, .n = rows, .wants = done + rows == n};
        EMAC_TRY(st, sessions_feed(&p, 1, err));
        if (p.err.status != EMAC_OK) {
            st = emac_fail(err, p.err.status, "%s", p.err.text);
            goto out;
        }
        done += rows;
        *logits = p.logits;
    }
out:
    if (st != EMAC_OK)
        s->length = before;
    return st;
}

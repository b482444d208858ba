/* Generation with a key-value cache.
 *
 * Rows are positions. Every operator but attention works on each row by itself (numerics rules 3
 * and 4), so feeding a sequence in any pieces gives the bits of feeding it at once; attention of
 * row p reads the cached rows 0..p and has the same bits in both of its forms (rule 5).
 *
 * INV-1  rows 0..length-1 of every layer's cache hold the keys (rotated) and values of the
 * sequence; rows above are free. INV-2  length changes only when all layers and the logits of a
 * call are done. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "model/session.h"
#include "model/weights.h"

#define ROWS_MAX       1024u /* positions that go through the layers at once */
#define CACHE_ROWS_MIN 64u   /* the cache grows by doubling from here */

struct scratch {
    float *block;
    uint32_t rows; /* what it is laid out for */
    float *x, *h, *q, *o, *max, *sum, *gate, *up, *rstd;
};

struct session {
    struct device *dev;
    struct llama_config c;
    struct weights weights;
    uint32_t length, cache_rows;
    float **k, **v;   /* per layer: [cache_rows, G*E] */
    float *cos, *sin; /* [cache_rows, E/2] */
    struct scratch s;
    float *logits;
};

/* -- opening ------------------------------------------------------------------------------- */

enum emac_status session_open(struct device *dev, const struct llama_config *c, const void *bundle,
                              size_t n, struct session **out, struct emac_err *err)
{
    struct session *s = NULL;
    enum emac_status st;

    *out = NULL;
    EMAC_TRY(st, llama_config_check(c, err));
    if (!device_is_host(dev))
        return emac_fail(err, EMAC_UNSUPPORTED, "generation runs on the CPU, not on device '%s'",
                         device_name(dev));
    EMAC_TRY(st, emac_alloc(&s, 1, sizeof(*s), err));
    s->dev = dev;
    s->c = *c;
    EMAC_TRY(st, emac_alloc(&s->k, c->layers, sizeof(*s->k), err));
    EMAC_TRY(st, emac_alloc(&s->v, c->layers, sizeof(*s->v), err));
    EMAC_TRY(st, emac_alloc(&s->logits, c->vocab_size, sizeof(*s->logits), err));
    EMAC_TRY(st, weights_open(&s->weights, c, bundle, n, err));
    *out = s;
    s = NULL;
out:
    session_close(s);
    return st;
}

void session_wipe(struct session *s)
{
    if (s != NULL)
        weights_wipe(&s->weights);
}

void session_close(struct session *s)
{
    if (s == NULL)
        return;
    for (uint32_t layer = 0; layer < s->c.layers; layer++) {
        if (s->k != NULL)
            free(s->k[layer]);
        if (s->v != NULL)
            free(s->v[layer]);
    }
    free(s->k);
    free(s->v);
    free(s->cos);
    free(s->sin);
    free(s->s.block);
    free(s->logits);
    weights_release(&s->weights);
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

/* -- memory -------------------------------------------------------------------------------- */

/* A larger block with the first `used` floats of the old one. */
static enum emac_status rows_grow(float **block, size_t used, size_t floats, struct emac_err *err)
{
    float *p;
    size_t bytes;
    enum emac_status st;

    if (!emac_mul_size(floats, sizeof(float), &bytes))
        return emac_fail(err, EMAC_TOO_LARGE, "the key-value cache is too large");
    EMAC_TRY(st, emac_alloc_aligned(&p, bytes, err));
    if (used > 0)
        memcpy(p, *block, used * sizeof(float));
    free(*block);
    *block = p;
out:
    return st;
}

/* Room for `rows` positions. When memory runs out half-way, blocks that are larger already are no
 * harm: cache_rows still tells what all of them hold. */
static enum emac_status cache_reserve(struct session *s, uint32_t rows, struct emac_err *err)
{
    size_t width = (size_t)s->c.kv_heads * s->c.head_dim, half = s->c.head_dim / 2;
    uint32_t want = s->cache_rows < CACHE_ROWS_MIN ? CACHE_ROWS_MIN : s->cache_rows;
    enum emac_status st = EMAC_OK;

    if (rows <= s->cache_rows)
        return EMAC_OK;
    while (want < rows)
        want *= 2;
    if (want > s->c.max_positions)
        want = s->c.max_positions;
    for (uint32_t layer = 0; layer < s->c.layers; layer++) {
        EMAC_TRY(st, rows_grow(&s->k[layer], s->length * width, want * width, err));
        EMAC_TRY(st, rows_grow(&s->v[layer], s->length * width, want * width, err));
    }
    EMAC_TRY(st, rows_grow(&s->cos, 0, want * half, err));
    EMAC_TRY(st, rows_grow(&s->sin, 0, want * half, err));
    llama_rope_tables(&s->c, want, s->cos, s->sin);
    s->cache_rows = want;
out:
    return st;
}

static float *carve(float **next, size_t floats)
{
    float *p = *next;

    *next += (floats + 15) / 16 * 16; /* keeps 64-byte alignment */
    return p;
}

static enum emac_status scratch_reserve(struct session *s, uint32_t rows, struct emac_err *err)
{
    const struct llama_config *c = &s->c;
    size_t r = rows, q = (size_t)c->heads * c->head_dim, f = c->intermediate_size;
    size_t floats = r * (2 * (size_t)c->hidden_size + 2 * q + 2 * (size_t)c->heads + 2 * f + 1);
    float *next;
    enum emac_status st = EMAC_OK;

    if (rows <= s->s.rows)
        return EMAC_OK;
    s->s.rows = 0;
    EMAC_TRY(st, rows_grow(&s->s.block, 0, floats + 9 * 16, err));
    s->s.rows = rows;
    next = s->s.block;
    s->s.x = carve(&next, r * c->hidden_size);
    s->s.h = carve(&next, r * c->hidden_size);
    s->s.q = carve(&next, r * q);
    s->s.o = carve(&next, r * q);
    s->s.max = carve(&next, r * c->heads);
    s->s.sum = carve(&next, r * c->heads);
    s->s.gate = carve(&next, r * f);
    s->s.up = carve(&next, r * f);
    s->s.rstd = carve(&next, r);
out:
    return st;
}

/* -- the layers ---------------------------------------------------------------------------- */

static struct tensor matrix(const float *data, size_t rows, size_t columns)
{
    return (struct tensor){DTYPE_F32, SHAPE2(rows, columns), (void *)(uintptr_t)data};
}

static struct tensor vector(const float *data, size_t n)
{
    return (struct tensor){DTYPE_F32, SHAPE1(n), (void *)(uintptr_t)data};
}

static const struct weight *weight(const struct session *s, enum llama_kind kind, uint32_t layer)
{
    return &s->weights.at[llama_cell(kind, layer)];
}

/* [rows, columns] as an operator takes it */
static struct tensor weight_matrix(const struct weight *w, size_t rows, size_t columns)
{
    size_t bytes = 0;
    bool ok = w->quant == NULL || quant_row_bytes(w->quant->format, columns, &bytes);

    EMAC_ASSERT(ok);
    return w->quant == NULL
               ? matrix(w->data, rows, columns)
               : (struct tensor){DTYPE_U8, SHAPE2(rows, bytes), (void *)(uintptr_t)w->data};
}

/* y[n,out] = x[n,in] W^T */
static enum emac_status linear(struct session *s, const float *x, const struct weight *w, float *y,
                               uint32_t n, size_t in, size_t out, struct emac_err *err)
{
    const struct op_attrs plain = {.at = {{.i = 0}, {.i = 1}}};
    const struct op_attrs quantised = {.at = {{.i = w->quant == NULL ? 0 : w->quant->format}}};
    struct tensor a[2] = {matrix(x, n, in), weight_matrix(w, out, in)}, c = matrix(y, n, out);

    return w->quant == NULL ? device_run(s->dev, OP_MATMUL, &plain, a, &c, err)
                            : device_run(s->dev, OP_QMATMUL, &quantised, a, &c, err);
}

/* y[n,out] = x[n,D] W^T, and the bias of q, k or v where the model has it */
static enum emac_status project(struct session *s, const float *x, enum llama_kind kind,
                                uint32_t layer, float *y, uint32_t n, size_t out,
                                struct emac_err *err)
{
    enum llama_kind bias = llama_bias_of(kind);
    enum emac_status st = linear(s, x, weight(s, kind, layer), y, n, s->c.hidden_size, out, err);

    if (st != EMAC_OK || !llama_has(&s->c, bias))
        return st;
    struct tensor in[2] = {matrix(y, n, out), vector(weight(s, bias, layer)->data, out)};
    struct tensor sum = in[0]; /* in place, as op.h allows */

    return device_run(s->dev, OP_BIAS, NULL, in, &sum, err);
}

static enum emac_status norm(struct session *s, const float *x, const struct weight *w, float *y,
                             uint32_t n, struct emac_err *err)
{
    const struct op_attrs attrs = {.at = {{.f = (float)s->c.norm_eps}}};
    size_t d = s->c.hidden_size;
    struct tensor in[2] = {matrix(x, n, d), vector(w->data, d)};
    struct tensor out[2] = {matrix(y, n, d), vector(s->s.rstd, n)};

    return device_run(s->dev, OP_RMSNORM, &attrs, in, out, err);
}

/* Rows of positions at..at+n-1: with the table from row `at` on, position i mod n is the right one.
 */
static enum emac_status rope(struct session *s, const float *x, float *y, uint32_t at, uint32_t n,
                             uint32_t heads, struct emac_err *err)
{
    const struct op_attrs attrs = {.at = {{.i = heads}, {.i = 0}}};
    size_t half = s->c.head_dim / 2, width = (size_t)heads * s->c.head_dim;
    struct tensor in[3] = {matrix(x, n, width), matrix(s->cos + at * half, n, half),
                           matrix(s->sin + at * half, n, half)};
    struct tensor out = matrix(y, n, width);

    return device_run(s->dev, OP_ROPE, &attrs, in, &out, err);
}

/* dst += y, both [n,D] */
static enum emac_status residual(struct session *s, float *dst, const float *y, uint32_t n,
                                 struct emac_err *err)
{
    return device_add(s->dev, dst, dst, y, (size_t)n * s->c.hidden_size, err);
}

/* o[n,H*E] of the queries q at positions at..at+n-1 */
static enum emac_status attend(struct session *s, uint32_t layer, const float *q, uint32_t at,
                               uint32_t n, struct emac_err *err)
{
    const struct llama_config *c = &s->c;
    float scale = llama_attention_scale(c);
    const struct op_attrs attrs = {
        .at = {{.i = 1}, {.i = c->heads}, {.i = c->kv_heads}, {.f = scale}}};
    size_t width = (size_t)c->heads * c->head_dim, kv = (size_t)c->kv_heads * c->head_dim;

    if (at == 0) {
        struct tensor in[3] = {matrix(q, n, width), matrix(s->k[layer], n, kv),
                               matrix(s->v[layer], n, kv)};
        struct tensor out[3] = {
            matrix(s->s.o, n, width),
            {DTYPE_F32, SHAPE3(1, c->heads, n), s->s.max},
            {DTYPE_F32, SHAPE3(1, c->heads, n), s->s.sum},
        };

        return device_run(s->dev, OP_ATTENTION, &attrs, in, out, err);
    }
    return device_attention_decode(s->dev, q, s->k[layer], s->v[layer], s->s.o, (size_t)at + n, n,
                                   c->heads, c->kv_heads, c->head_dim, scale, err);
}

/* Keys and values of the rows go straight into the cache; o holds what is not rotated yet. */
static enum emac_status attention_block(struct session *s, uint32_t layer, uint32_t at, uint32_t n,
                                        struct emac_err *err)
{
    const struct llama_config *c = &s->c;
    size_t d = c->hidden_size, q = (size_t)c->heads * c->head_dim;
    size_t kv = (size_t)c->kv_heads * c->head_dim;
    float *k_rows = s->k[layer] + at * kv, *v_rows = s->v[layer] + at * kv;
    float *h = s->s.h;
    enum emac_status st;

    EMAC_TRY(st, norm(s, s->s.x, weight(s, LLAMA_ATTN_NORM, layer), h, n, err));
    EMAC_TRY(st, project(s, h, LLAMA_Q, layer, s->s.o, n, q, err));
    EMAC_TRY(st, rope(s, s->s.o, s->s.q, at, n, c->heads, err));
    EMAC_TRY(st, project(s, h, LLAMA_K, layer, s->s.o, n, kv, err));
    EMAC_TRY(st, rope(s, s->s.o, k_rows, at, n, c->kv_heads, err));
    EMAC_TRY(st, project(s, h, LLAMA_V, layer, v_rows, n, kv, err));
    EMAC_TRY(st, attend(s, layer, s->s.q, at, n, err));
    EMAC_TRY(st, linear(s, s->s.o, weight(s, LLAMA_O, layer), h, n, q, d, err));
    st = residual(s, s->s.x, h, n, err);
out:
    return st;
}

static enum emac_status mlp_block(struct session *s, uint32_t layer, uint32_t n,
                                  struct emac_err *err)
{
    size_t d = s->c.hidden_size, f = s->c.intermediate_size;
    struct tensor in[2] = {matrix(s->s.gate, n, f), matrix(s->s.up, n, f)};
    struct tensor out = in[0]; /* in place, as op.h allows */
    float *h = s->s.h;
    enum emac_status st;

    EMAC_TRY(st, norm(s, s->s.x, weight(s, LLAMA_MLP_NORM, layer), h, n, err));
    EMAC_TRY(st, linear(s, h, weight(s, LLAMA_GATE, layer), s->s.gate, n, d, f, err));
    EMAC_TRY(st, linear(s, h, weight(s, LLAMA_UP, layer), s->s.up, n, d, f, err));
    EMAC_TRY(st, device_run(s->dev, OP_SWIGLU, NULL, in, &out, err));
    EMAC_TRY(st, linear(s, s->s.gate, weight(s, LLAMA_DOWN, layer), h, n, f, d, err));
    st = residual(s, s->s.x, h, n, err);
out:
    return st;
}

/* x = rows of the embedding */
static enum emac_status embed(struct session *s, const int32_t *tokens, uint32_t n,
                              struct emac_err *err)
{
    const struct weight *w = weight(s, LLAMA_EMBED, 0);
    size_t d = s->c.hidden_size;
    struct tensor table = weight_matrix(w, s->c.vocab_size, d), out = matrix(s->s.x, n, d);
    struct tensor in[2] = {{DTYPE_I32, SHAPE1(n), (void *)(uintptr_t)tokens}, table};
    enum emac_status st = EMAC_OK;

    if (w->quant == NULL)
        return device_run(s->dev, OP_EMBED, NULL, in, &out, err);
    out.shape.dim[0] = table.shape.dim[0] = 1;
    for (uint32_t i = 0; i < n && st == EMAC_OK; i++) {
        const struct op_attrs attrs = {.at = {{.i = w->quant->format}}};

        table.data = (uint8_t *)in[1].data + (size_t)tokens[i] * table.shape.dim[1];
        out.data = s->s.x + i * d;
        st = device_run(s->dev, OP_DEQUANTISE, &attrs, &table, &out, err);
    }
    return st;
}

/* Positions at..at+n-1 through all layers; the caches of rows 0..at-1 are filled. */
static enum emac_status rows_run(struct session *s, const int32_t *tokens, uint32_t at, uint32_t n,
                                 struct emac_err *err)
{
    enum emac_status st = embed(s, tokens, n, err);

    for (uint32_t layer = 0; layer < s->c.layers && st == EMAC_OK; layer++) {
        st = attention_block(s, layer, at, n, err);
        if (st == EMAC_OK)
            st = mlp_block(s, layer, n, err);
    }
    return st;
}

/* Logits of row `row` of x. */
static enum emac_status logits_run(struct session *s, uint32_t row, struct emac_err *err)
{
    const struct weight *head = weight(s, s->c.tie_embeddings ? LLAMA_EMBED : LLAMA_LM_HEAD, 0);
    size_t d = s->c.hidden_size, vocab = s->c.vocab_size;
    enum emac_status st;
    bool finite;

    EMAC_TRY(st, norm(s, s->s.x + row * d, weight(s, LLAMA_NORM, 0), s->s.h, 1, err));
    EMAC_TRY(st, linear(s, s->s.h, head, s->logits, 1, d, vocab, err));
    const struct tensor logits = matrix(s->logits, 1, vocab);
    EMAC_TRY(st, device_finite(s->dev, 1, &logits, &finite, err));
    if (!finite)
        st = emac_fail(err, EMAC_NUMERIC,
                       "the model gave logits that are not finite; its weights are not usable");
out:
    return st;
}

static enum emac_status feed_check(const struct session *s, const int32_t *tokens, uint32_t n,
                                   struct emac_err *err)
{
    if (n == 0)
        return emac_fail(err, EMAC_INVALID, "no token to feed; a prompt has at least one");
    if (n > s->c.max_positions - s->length)
        return emac_fail(err, EMAC_TOO_LARGE,
                         "a sequence of %llu tokens; the model takes at most %u",
                         (unsigned long long)s->length + n, s->c.max_positions);
    for (uint32_t i = 0; i < n; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= s->c.vocab_size)
            return emac_fail(err, EMAC_INVALID, "token %d is not in the vocabulary of %u",
                             (int)tokens[i], s->c.vocab_size);
    return EMAC_OK;
}

enum emac_status session_feed(struct session *s, const int32_t *tokens, uint32_t n,
                              const float **logits, struct emac_err *err)
{
    uint32_t done = 0, rows = 0;
    enum emac_status st;

    EMAC_TRY(st, feed_check(s, tokens, n, err));
    EMAC_TRY(st, cache_reserve(s, s->length + n, err));
    EMAC_TRY(st, scratch_reserve(s, n < ROWS_MAX ? n : ROWS_MAX, err));
    while (done < n) {
        rows = n - done < ROWS_MAX ? n - done : ROWS_MAX;
        EMAC_TRY(st, rows_run(s, tokens + done, s->length + done, rows, err));
        done += rows;
    }
    EMAC_TRY(st, logits_run(s, rows - 1, err));
    s->length += n;
    *logits = s->logits;
out:
    return st;
}

/* The layers of a Llama model over the rows of a step: the tokens of one sequence after another's.
 * Weights, norms and residuals see rows; rotation, cache and attention see sequences. */
#include "model/decoder.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "model/decoder_internal.h"

/* ---- opening ---- */

enum emac_status decoder_open(struct device *dev, const struct llama_config *c, const void *bundle,
                              size_t n, struct decoder **out, struct emac_err *err)
{
    struct decoder *d = NULL;
    enum emac_status st;

    *out = NULL;
    EMAC_TRY(st, llama_config_check(c, err));
    EMAC_TRY(st, emac_alloc(&d, 1, sizeof(*d), err));
    d->dev = dev;
    d->c = *c;
    EMAC_TRY(st, weights_open(&d->weights, dev, c, bundle, n, err));
    *out = d;
    d = NULL;
out:
    decoder_close(d);
    return st;
}

void decoder_wipe(struct decoder *d)
{
    if (d != NULL)
        weights_wipe(&d->weights);
}

void decoder_close(struct decoder *d)
{
    if (d == NULL)
        return;
    device_free(d->dev, d->cos);
    device_free(d->dev, d->sin);
    device_free(d->dev, d->s.block);
    device_free(d->dev, d->logits);
    free(d->embedded);
    free(d->told);
    weights_release(&d->weights);
    free(d);
}

const struct llama_config *decoder_config(const struct decoder *d)
{
    return &d->c;
}

/* ---- memory ---- */

enum emac_status decoder_grow(struct decoder *d, float **block, size_t used, size_t floats,
                              struct emac_err *err)
{
    float *p = NULL;
    size_t bytes;
    enum emac_status st;

    if (!emac_mul_size(floats, sizeof(float), &bytes))
        return emac_fail(err, EMAC_TOO_LARGE, "the key-value cache is too large");
    EMAC_TRY(st, device_alloc(d->dev, bytes, &p, err));
    if (used > 0)
        EMAC_TRY(st, device_copy(d->dev, p, *block, used * sizeof(float), err));
    device_free(d->dev, *block);
    *block = p;
    p = NULL;
out:
    device_free(d->dev, p);
    return st;
}

/* Beside a block of the device, so many floats of the host's, where these are two. */
static enum emac_status host_room(struct decoder *d, float **block, size_t floats,
                                  struct emac_err *err)
{
    if (device_is_host(d->dev))
        return EMAC_OK;
    free(*block);
    *block = NULL;
    return emac_alloc(block, floats, sizeof(float), err);
}

enum emac_status decoder_tables(struct decoder *d, uint32_t rows, struct emac_err *err)
{
    size_t floats = (size_t)rows * (d->c.head_dim / 2);
    float *cos = NULL, *sin = NULL, *new_cos = NULL, *new_sin = NULL;
    enum emac_status st = EMAC_OK;

    if (rows <= d->table_rows)
        return EMAC_OK;
    EMAC_TRY(st, emac_alloc(&cos, floats, sizeof(*cos), err));
    EMAC_TRY(st, emac_alloc(&sin, floats, sizeof(*sin), err));
    llama_rope_tables(&d->c, rows, cos, sin);
    EMAC_TRY(st, decoder_grow(d, &new_cos, 0, floats, err));
    EMAC_TRY(st, decoder_grow(d, &new_sin, 0, floats, err));
    EMAC_TRY(st, device_write(d->dev, new_cos, cos, floats * sizeof(*cos), err));
    EMAC_TRY(st, device_write(d->dev, new_sin, sin, floats * sizeof(*sin), err));
    device_free(d->dev, d->cos);
    device_free(d->dev, d->sin);
    d->cos = new_cos;
    d->sin = new_sin;
    d->table_rows = rows;
    new_cos = new_sin = NULL;
out:
    device_free(d->dev, new_cos);
    device_free(d->dev, new_sin);
    free(cos);
    free(sin);
    return st;
}

static float *carve(float **next, size_t floats)
{
    float *p = *next;

    *next += (floats + 15) / 16 * 16; /* keeps 64-byte alignment */
    return p;
}

static enum emac_status scratch_reserve(struct decoder *d, uint32_t rows, struct emac_err *err)
{
    const struct llama_config *c = &d->c;
    size_t r = rows, q = (size_t)c->heads * c->head_dim, f = c->intermediate_size;
    size_t floats = r * (2 * (size_t)c->hidden_size + 2 * q + 2 * (size_t)c->heads + 2 * f + 1);
    float *next;
    enum emac_status st = EMAC_OK;

    if (rows <= d->s.rows)
        return EMAC_OK;
    d->s.rows = 0;
    EMAC_TRY(st, decoder_grow(d, &d->s.block, 0, floats + 9 * 16, err));
    EMAC_TRY(st, host_room(d, &d->embedded, r * c->hidden_size, err));
    d->s.rows = rows;
    next = d->s.block;
    d->s.x = carve(&next, r * c->hidden_size);
    d->s.h = carve(&next, r * c->hidden_size);
    d->s.q = carve(&next, r * q);
    d->s.o = carve(&next, r * q);
    d->s.max = carve(&next, r * c->heads);
    d->s.sum = carve(&next, r * c->heads);
    d->s.gate = carve(&next, r * f);
    d->s.up = carve(&next, r * f);
    d->s.rstd = carve(&next, r);
out:
    return st;
}

static enum emac_status logits_reserve(struct decoder *d, uint32_t rows, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;

    if (rows <= d->logits_rows)
        return EMAC_OK;
    d->logits_rows = 0;
    EMAC_TRY(st, decoder_grow(d, &d->logits, 0, (size_t)rows * d->c.vocab_size, err));
    EMAC_TRY(st, host_room(d, &d->told, (size_t)rows * d->c.vocab_size, err));
    d->logits_rows = rows;
out:
    return st;
}

/* ---- operators on rows ---- */

static struct tensor matrix(const float *data, size_t rows, size_t columns)
{
    return (struct tensor){DTYPE_F32, SHAPE2(rows, columns), (void *)(uintptr_t)data};
}

static struct tensor vector(const float *data, size_t n)
{
    return (struct tensor){DTYPE_F32, SHAPE1(n), (void *)(uintptr_t)data};
}

static const struct weight *weight(const struct decoder *d, enum llama_kind kind, uint32_t layer)
{
    return &d->weights.at[llama_cell(kind, layer)];
}

/* [rows, columns] as an operator takes it */
static struct tensor weight_matrix(const struct weight *w, size_t rows, size_t columns)
{
    size_t bytes = 0;
    bool ok = w->quant == NULL || quant_row_bytes(w->quant->format, columns, &bytes);

    EMAC_ASSERT(ok && w->data != NULL);
    return (struct tensor){w->dtype, SHAPE2(rows, w->quant == NULL ? columns : bytes), w->data};
}

/* y[n,out] = x[n,in] W^T */
static enum emac_status linear(struct decoder *d, const float *x, const struct weight *w, float *y,
                               uint32_t n, size_t in, size_t out, struct emac_err *err)
{
    const struct op_attrs plain = {.at = {{.i = 0}, {.i = 1}}};
    const struct op_attrs quantised = {.at = {{.i = w->quant == NULL ? 0 : w->quant->format}}};
    struct tensor a[2] = {matrix(x, n, in), weight_matrix(w, out, in)}, c = matrix(y, n, out);

    return w->quant == NULL ? device_run(d->dev, OP_MATMUL, &plain, a, &c, err)
                            : device_run(d->dev, OP_QMATMUL, &quantised, a, &c, err);
}

/* y[n,out] = x[n,D] W^T, and the bias of q, k or v where the model has it */
static enum emac_status project(struct decoder *d, const float *x, enum llama_kind kind,
                                uint32_t layer, float *y, uint32_t n, size_t out,
                                struct emac_err *err)
{
    enum llama_kind bias = llama_bias_of(kind);
    enum emac_status st = linear(d, x, weight(d, kind, layer), y, n, d->c.hidden_size, out, err);

    if (st != EMAC_OK || !llama_has(&d->c, bias))
        return st;
    struct tensor in[2] = {matrix(y, n, out), vector(weight(d, bias, layer)->data, out)};
    struct tensor sum = in[0]; /* in place, as op.h allows */

    return device_run(d->dev, OP_BIAS, NULL, in, &sum, err);
}

static enum emac_status norm(struct decoder *d, const float *x, const struct weight *w, float *y,
                             uint32_t n, struct emac_err *err)
{
    const struct op_attrs attrs = {.at = {{.f = (float)d->c.norm_eps}}};
    size_t width = d->c.hidden_size;
    struct tensor in[2] = {matrix(x, n, width), vector(w->data, width)};
    struct tensor out[2] = {matrix(y, n, width), vector(d->s.rstd, n)};

    return device_run(d->dev, OP_RMSNORM, &attrs, in, out, err);
}

/* dst += y, both [n,D] */
static enum emac_status residual(struct decoder *d, float *dst, const float *y, uint32_t n,
                                 struct emac_err *err)
{
    return device_add(d->dev, dst, dst, y, (size_t)n * d->c.hidden_size, err);
}

/* x[n,D] = rows of the embedding, which the host reads; `row` is where they are among the step's.
 */
static enum emac_status embed(struct decoder *d, const int32_t *tokens, uint32_t n, uint32_t row,
                              struct emac_err *err)
{
    size_t width = d->c.hidden_size;
    float *x = d->s.x + row * width, *to = device_is_host(d->dev) ? x : d->embedded;

    for (uint32_t i = 0; i < n; i++)
        weights_embed(&d->weights, tokens[i], to + i * width);
    return to == x ? EMAC_OK : device_write(d->dev, x, to, n * width * sizeof(*to), err);
}

/* ---- operators on a sequence ---- */

/* What of a step belongs to one sequence. */
struct rows {
    const struct session *s;
    uint32_t row, n, at; /* of the step's rows, those from `row`; positions at..at+n-1 */
};

/* The table from row `at` on is right for row i of the sequence at its row i. */
static enum emac_status rope(struct decoder *d, const struct rows *r, const float *x, float *y,
                             uint32_t heads, struct emac_err *err)
{
    const struct op_attrs attrs = {.at = {{.i = heads}, {.i = 0}}};
    size_t half = d->c.head_dim / 2, width = (size_t)heads * d->c.head_dim;
    struct tensor in[3] = {matrix(x, r->n, width), matrix(d->cos + r->at * half, r->n, half),
                           matrix(d->sin + r->at * half, r->n, half)};
    struct tensor out = matrix(y, r->n, width);

    return device_run(d->dev, OP_ROPE, &attrs, in, &out, err);
}

/* o[n,H*E] of the sequence's queries */
static enum emac_status attend(struct decoder *d, const struct rows *r, uint32_t layer,
                               struct emac_err *err)
{
    const struct llama_config *c = &d->c;
    float scale = llama_attention_scale(c);
    const struct op_attrs attrs = {
        .at = {{.i = 1}, {.i = c->heads}, {.i = c->kv_heads}, {.f = scale}}};
    size_t width = (size_t)c->heads * c->head_dim, kv = (size_t)c->kv_heads * c->head_dim;
    const float *q = d->s.q + r->row * width, *k = r->s->k[layer], *v = r->s->v[layer];
    float *o = d->s.o + r->row * width;

    if (r->at == 0) {
        struct tensor in[3] = {matrix(q, r->n, width), matrix(k, r->n, kv), matrix(v, r->n, kv)};
        struct tensor out[3] = {
            matrix(o, r->n, width),
            {DTYPE_F32, SHAPE3(1, c->heads, r->n), d->s.max},
            {DTYPE_F32, SHAPE3(1, c->heads, r->n), d->s.sum},
        };

        return device_run(d->dev, OP_ATTENTION, &attrs, in, out, err);
    }
    return device_attention_decode(d->dev, q, k, v, o, (size_t)r->at + r->n, r->n, c->heads,
                                   c->kv_heads, c->head_dim, scale, err);
}

/* ---- the layers ---- */

/* All that a step does. */
struct step {
    struct decoder *d;
    struct rows *of; /* its sequences */
    uint32_t count, rows;
};

/* Queries, rotated, of all rows; keys, rotated, and values into the caches. o is room for what is
 * not there yet. */
static enum emac_status qkv(const struct step *s, uint32_t layer, struct emac_err *err)
{
    struct decoder *d = s->d;
    const struct llama_config *c = &d->c;
    size_t q = (size_t)c->heads * c->head_dim, kv = (size_t)c->kv_heads * c->head_dim;
    enum emac_status st;

    EMAC_TRY(st, project(d, d->s.h, LLAMA_Q, layer, d->s.o, s->rows, q, err));
    for (uint32_t i = 0; i < s->count; i++) {
        size_t at = s->of[i].row * q;
        EMAC_TRY(st, rope(d, &s->of[i], d->s.o + at, d->s.q + at, c->heads, err));
    }
    EMAC_TRY(st, project(d, d->s.h, LLAMA_K, layer, d->s.o, s->rows, kv, err));
    for (uint32_t i = 0; i < s->count; i++) {
        const struct rows *r = &s->of[i];
        EMAC_TRY(st,
                 rope(d, r, d->s.o + r->row * kv, r->s->k[layer] + r->at * kv, c->kv_heads, err));
    }
    EMAC_TRY(st, project(d, d->s.h, LLAMA_V, layer, d->s.o, s->rows, kv, err));
    for (uint32_t i = 0; i < s->count; i++) {
        const struct rows *r = &s->of[i];
        EMAC_TRY(st, device_copy(d->dev, r->s->v[layer] + r->at * kv, d->s.o + r->row * kv,
                                 r->n * kv * sizeof(float), err));
    }
out:
    return st;
}

static enum emac_status attention_block(const struct step *s, uint32_t layer, struct emac_err *err)
{
    struct decoder *d = s->d;
    size_t width = (size_t)d->c.heads * d->c.head_dim;
    enum emac_status st;

    EMAC_TRY(st, norm(d, d->s.x, weight(d, LLAMA_ATTN_NORM, layer), d->s.h, s->rows, err));
    EMAC_TRY(st, qkv(s, layer, err));
    for (uint32_t i = 0; i < s->count; i++)
        EMAC_TRY(st, attend(d, &s->of[i], layer, err));
    EMAC_TRY(st, linear(d, d->s.o, weight(d, LLAMA_O, layer), d->s.h, s->rows, width,
                        d->c.hidden_size, err));
    st = residual(d, d->s.x, d->s.h, s->rows, err);
out:
    return st;
}

static enum emac_status mlp_block(const struct step *s, uint32_t layer, struct emac_err *err)
{
    struct decoder *d = s->d;
    uint32_t n = s->rows;
    size_t width = d->c.hidden_size, f = d->c.intermediate_size;
    struct tensor in[2] = {matrix(d->s.gate, n, f), matrix(d->s.up, n, f)};
    struct tensor out = in[0]; /* in place, as op.h allows */
    enum emac_status st;

    EMAC_TRY(st, norm(d, d->s.x, weight(d, LLAMA_MLP_NORM, layer), d->s.h, n, err));
    EMAC_TRY(st, linear(d, d->s.h, weight(d, LLAMA_GATE, layer), d->s.gate, n, width, f, err));
    EMAC_TRY(st, linear(d, d->s.h, weight(d, LLAMA_UP, layer), d->s.up, n, width, f, err));
    EMAC_TRY(st, device_run(d->dev, OP_SWIGLU, NULL, in, &out, err));
    EMAC_TRY(st, linear(d, d->s.gate, weight(d, LLAMA_DOWN, layer), d->s.h, n, f, width, err));
    st = residual(d, d->s.x, d->s.h, n, err);
out:
    return st;
}

/* ---- the logits ---- */

/* Those that want logits: their last rows, one after another, at the beginning of x, which nobody
 * needs any more; a row never comes before one that is still to be moved. */
static enum emac_status wanted_gather(struct decoder *d, const struct session_part *part,
                                      uint32_t count, uint32_t *wanted, struct emac_err *err)
{
    size_t width = d->c.hidden_size;
    uint32_t row = 0;
    enum emac_status st = EMAC_OK;

    *wanted = 0;
    for (uint32_t i = 0; i < count && st == EMAC_OK; i++) {
        if (part[i].err.status != EMAC_OK)
            continue;
        row += part[i].n;
        if (part[i].wants && ++*wanted < row)
            st = device_copy(d->dev, d->s.x + (*wanted - 1) * width, d->s.x + (row - 1) * width,
                             width * sizeof(float), err);
    }
    return st;
}

/* Each has its row, or is told that it is of no use. */
static enum emac_status wanted_give(struct decoder *d, struct session_part *part, uint32_t count,
                                    const float *told, struct emac_err *err)
{
    size_t vocab = d->c.vocab_size, at = 0;
    enum emac_status st = EMAC_OK;

    for (uint32_t i = 0; i < count && st == EMAC_OK; i++) {
        struct session_part *p = &part[i];
        const struct tensor row = matrix(d->logits + at, 1, vocab);
        bool finite = true;

        if (p->err.status != EMAC_OK || !p->wants)
            continue;
        st = device_finite(d->dev, 1, &row, &finite, err);
        if (finite)
            p->logits = told + at;
        else
            emac_fail(&p->err, EMAC_NUMERIC,
                      "the model gave logits that are not finite; its weights are not usable");
        at += vocab;
    }
    return st;
}

static enum emac_status logits_run(struct decoder *d, struct session_part *part, uint32_t count,
                                   struct emac_err *err)
{
    const struct weight *head = weight(d, d->c.tie_embeddings ? LLAMA_EMBED : LLAMA_LM_HEAD, 0);
    size_t width = d->c.hidden_size, vocab = d->c.vocab_size;
    const float *told;
    uint32_t n;
    enum emac_status st;

    EMAC_TRY(st, wanted_gather(d, part, count, &n, err));
    if (n == 0)
        return EMAC_OK;
    EMAC_TRY(st, logits_reserve(d, n, err));
    EMAC_TRY(st, norm(d, d->s.x, weight(d, LLAMA_NORM, 0), d->s.h, n, err));
    EMAC_TRY(st, linear(d, d->s.h, head, d->logits, n, width, vocab, err));
    told = device_is_host(d->dev) ? d->logits : d->told;
    if (told != d->logits)
        EMAC_TRY(st, device_read(d->dev, d->told, d->logits, n * vocab * sizeof(float), err));
    st = wanted_give(d, part, count, told, err);
out:
    return st;
}

/* ---- a step ---- */

static uint32_t rows_lay(struct rows *of, const struct session_part *part, uint32_t count,
                         uint32_t *rows)
{
    uint32_t live = 0;

    *rows = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (part[i].err.status != EMAC_OK)
            continue;
        of[live++] = (struct rows){part[i].s, *rows, part[i].n, part[i].s->length};
        *rows += part[i].n;
    }
    return live;
}

enum emac_status decoder_run(struct decoder *d, struct session_part *part, uint32_t count,
                             struct emac_err *err)
{
    struct step s = {.d = d};
    enum emac_status st;

    EMAC_TRY(st, emac_alloc(&s.of, count, sizeof(*s.of), err));
    s.count = rows_lay(s.of, part, count, &s.rows);
    EMAC_TRY(st, scratch_reserve(d, s.rows, err));
    for (uint32_t i = 0, at = 0; i < count; i++) {
        if (part[i].err.status != EMAC_OK)
            continue;
        EMAC_TRY(st, embed(d, part[i].tokens, part[i].n, at, err));
        at += part[i].n;
    }
    for (uint32_t layer = 0; layer < d->c.layers; layer++) {
        EMAC_TRY(st, attention_block(&s, layer, err));
        EMAC_TRY(st, mlp_block(&s, layer, err));
    }
    st = logits_run(d, part, count, err);
out:
    free(s.of);
    return st;
}

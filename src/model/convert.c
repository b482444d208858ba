#include "model/convert.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "compute/half.h"
#include "model/weights.h"

/* One parameter on its way. */
struct matrix {
    struct model_param p;
    const struct llama_source *from;
    const struct quant_info *to; /* NULL: not quantised */
    size_t rows, k;
    size_t head_rows; /* rows of a head where they are paired, else 0 */
};

static bool is_quantised(const struct llama_source *s, const struct quant_info *format)
{
    return s->type == LLAMA_SOURCE_QUANT && s->quant == format;
}

static size_t source_row_bytes(const struct matrix *m)
{
    size_t bytes = m->k * (m->from->type == LLAMA_SOURCE_F32 ? 4 : 2);
    bool ok = m->from->type != LLAMA_SOURCE_QUANT ||
              quant_row_bytes(m->from->quant->format, m->k, &bytes);

    EMAC_ASSERT(ok);
    return bytes;
}

static struct matrix matrix_at(const struct llama_config *c, const struct llama_source *source,
                               uint32_t i, const struct quant_info *to)
{
    struct matrix m = {.from = &source[i]};
    size_t bytes;

    llama_param_at(c, NULL, i, &m.p);
    m.k = m.p.shape.dim[m.p.shape.rank - 1];
    m.rows = m.p.shape.rank == 2 ? m.p.shape.dim[0] : 1;
    m.head_rows = m.from->paired ? c->head_dim : 0;
    if (m.from->type == LLAMA_SOURCE_QUANT)
        m.to = m.from->quant;
    if (to != NULL && m.p.shape.rank == 2 && quant_row_bytes(to->format, m.k, &bytes))
        m.to = to;
    return m;
}

/* Where row r of ours lies: half j, place i of its head is row 2 i + j of the head's pairs. */
static size_t source_row(const struct matrix *m, size_t r)
{
    size_t head = m->head_rows, at = head ? r % head : 0;

    return head ? r - at + 2 * (at % (head / 2)) + at / (head / 2) : r;
}

static uint32_t word(const uint8_t *p, int bytes)
{
    uint32_t v = 0;

    for (int i = 0; i < bytes; i++)
        v |= (uint32_t)p[i] << 8 * i;
    return v;
}

static void row_widen(const struct matrix *m, const uint8_t *from, float *y)
{
    for (size_t i = 0; i < m->k; i++)
        switch (m->from->type) {
        case LLAMA_SOURCE_F32:
            y[i] = fn_float(word(from + 4 * i, 4));
            break;
        case LLAMA_SOURCE_F16:
            y[i] = half_to_float(word(from + 2 * i, 2));
            break;
        case LLAMA_SOURCE_BF16:
            y[i] = fn_from_bf16(word(from + 2 * i, 2));
            break;
        case LLAMA_SOURCE_QUANT:
            quant_row_decode(m->from->quant->format, from, y, m->k);
            return;
        }
}

static bool row_finite(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((fn_bits(x[i]) & FN_INF) == FN_INF)
            return false;
    return true;
}

/* Row r into `to`; `x` has room for a row of numbers. */
static enum emac_status row_convert(const struct matrix *m, size_t r, uint8_t *to, float *x,
                                    struct emac_err *err)
{
    size_t bytes = source_row_bytes(m);
    const uint8_t *from = m->from->data + source_row(m, r) * bytes;

    if (m->from->type == LLAMA_SOURCE_F16 || (m->to != NULL && !is_quantised(m->from, m->to)))
        row_widen(m, from, x);
    else
        memcpy(to, from, bytes);
    if (m->to != NULL && !is_quantised(m->from, m->to)) {
        if (!row_finite(x, m->k))
            return emac_fail(err, EMAC_NUMERIC, "tensor '%s' holds numbers that are not finite",
                             m->p.name);
        quant_row_encode(m->to->format, to, x, m->k);
    } else if (m->from->type == LLAMA_SOURCE_F16) {
        memcpy(to, x, m->k * sizeof(*x));
    }
    return EMAC_OK;
}

static enum emac_status index_add(struct st_index *idx, const struct matrix *m,
                                  struct emac_err *err)
{
    uint64_t dim[2] = {m->p.shape.rank == 2 ? m->rows : m->k, m->k};
    enum st_dtype dtype = m->from->type == LLAMA_SOURCE_BF16 ? ST_BF16 : ST_F32;
    size_t bytes;

    if (m->to != NULL) {
        bool ok = quant_row_bytes(m->to->format, m->k, &bytes);

        EMAC_ASSERT(ok);
        dim[1] = bytes;
        dtype = ST_U8;
    }
    return st_index_add(idx, m->p.name, dtype, m->p.shape.rank, dim, err);
}

static enum emac_status matrix_convert(const struct matrix *m, const struct st_index *idx,
                                       uint8_t *data, struct emac_err *err)
{
    const struct st_tensor *t = st_index_find(idx, m->p.name);
    size_t bytes = (size_t)((t->end - t->begin) / m->rows);
    float *x;
    enum emac_status st = emac_alloc(&x, m->k, sizeof(*x), err);

    for (size_t r = 0; st == EMAC_OK && r < m->rows; r++)
        st = row_convert(m, r, data + t->begin + r * bytes, x, err);
    free(x);
    return st;
}

enum emac_status llama_convert(const struct llama_config *c, const struct llama_source *source,
                               const struct quant_info *to, struct emac_buf *out,
                               struct emac_err *err)
{
    struct st_index idx = {0};
    size_t start = out->len;
    enum emac_status st = EMAC_OK;

    for (uint32_t i = 0; i < llama_param_count(c); i++) {
        struct matrix m = matrix_at(c, source, i, to);

        EMAC_TRY(st, index_add(&idx, &m, err));
    }
    EMAC_TRY(st, st_bundle_layout(&idx, out, err));
    EMAC_TRY(st, emac_buf_reserve(out, idx.file_size - idx.data_offset, err));
    for (uint32_t i = 0; i < llama_param_count(c); i++) {
        struct matrix m = matrix_at(c, source, i, to);

        EMAC_TRY(st, matrix_convert(&m, &idx, out->data + start + idx.data_offset, err));
    }
    out->len = start + idx.file_size;
out:
    st_index_release(&idx);
    return st;
}

/* -- from a bundle ------------------------------------------------------------------------- */

static enum emac_status source_of(const struct st_index *idx, const uint8_t *data,
                                  const struct model_param *p, struct llama_source *out,
                                  struct emac_err *err)
{
    const struct st_tensor *t;
    enum emac_status st = weights_find(idx, p, &t, &out->quant, err);

    if (st != EMAC_OK)
        return st;
    out->data = data + t->begin;
    out->type = t->dtype == ST_U8     ? LLAMA_SOURCE_QUANT
                : t->dtype == ST_BF16 ? LLAMA_SOURCE_BF16
                                      : LLAMA_SOURCE_F32;
    return EMAC_OK;
}

enum emac_status llama_from_bundle(const struct st_index *idx, const uint8_t *data,
                                   const struct llama_config *c, struct llama_source **out,
                                   struct emac_err *err)
{
    enum emac_status st;

    EMAC_TRY(st, emac_alloc(out, llama_param_count(c), sizeof(**out), err));
    for (uint32_t i = 0; i < llama_param_count(c); i++) {
        struct model_param p;

        llama_param_at(c, NULL, i, &p);
        EMAC_TRY(st, source_of(idx, data, &p, &(*out)[i], err));
    }
out:
    if (st != EMAC_OK) {
        free(*out);
        *out = NULL;
    }
    return st;
}

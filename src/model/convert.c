#include "model/convert.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "model/rows.h"
#include "model/weights.h"

/* One parameter on its way. */
struct matrix {
    struct model_param p;
    const struct llama_source *from;
    const struct quant_info *to; /* NULL: not quantised */
    size_t rows, k;
    size_t head_rows; /* rows of a head where they are paired, else 0 */
};

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

static enum gguf_type source_type(const struct llama_source *s)
{
    switch (s->type) {
    case LLAMA_SOURCE_QUANT:
        return (enum gguf_type)s->quant->format;
    case LLAMA_SOURCE_F16:
        return GGUF_F16;
    case LLAMA_SOURCE_BF16:
        return GGUF_BF16;
    case LLAMA_SOURCE_F32:
        break;
    }
    return GGUF_F32;
}

static enum gguf_type target_type(const struct matrix *m)
{
    if (m->to != NULL)
        return (enum gguf_type)m->to->format;
    return m->from->type == LLAMA_SOURCE_BF16 || m->from->narrow ? GGUF_BF16 : GGUF_F32;
}

static enum emac_status index_add(struct st_index *idx, const struct matrix *m,
                                  struct emac_err *err)
{
    uint64_t dim[2] = {m->p.shape.rank == 2 ? m->rows : m->k, m->k};
    enum st_dtype dtype = target_type(m) == GGUF_BF16 ? ST_BF16 : ST_F32;
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
    enum gguf_type from = source_type(m->from), to = target_type(m);
    size_t bytes = (size_t)((t->end - t->begin) / m->rows), have = source_row_bytes(m);
    float *room;
    enum emac_status st = emac_alloc(&room, m->k, sizeof(*room), err);

    for (size_t r = 0; st == EMAC_OK && r < m->rows; r++)
        st = row_convert(from, to, m->k, m->from->data + source_row(m, r) * have,
                         data + t->begin + r * bytes, room, m->p.name, err);
    free(room);
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

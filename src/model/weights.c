#include "model/weights.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "codec/gguf_write.h"
#include "crypto/crypto.h"
#include "model/rows.h"

const struct quant_info *weights_format(size_t k, uint64_t row_bytes)
{
    static const enum quant_format formats[] = {QUANT_Q4_0, QUANT_Q4_1, QUANT_Q8_0, QUANT_Q6_K};

    for (size_t i = 0; i < EMAC_COUNT(formats); i++) {
        size_t bytes;

        if (quant_row_bytes(formats[i], k, &bytes) && bytes == row_bytes)
            return quant_info(formats[i]);
    }
    return NULL;
}

/* ---- on the host ---- */

/* Each product with a weight would widen it again (rule 8); bits are the same. */
static float *weight_widen(struct weights *w, const uint8_t *half, size_t n)
{
    float *wide = w->wide + w->wide_used;

    row_widen(GGUF_BF16, n, half, wide);
    w->wide_used += n;
    return wide;
}

/* What the bf16 weights take when they are widened: at most twice the file's, so it does not
 * overflow. */
static uint64_t wide_bytes(const struct st_index *idx)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < idx->count; i++)
        if (idx->tensor[i].dtype == ST_BF16)
            bytes += 2 * st_tensor_bytes(&idx->tensor[i]);
    return bytes;
}

/* The bundle's data where the processor can read numbers. */
static enum emac_status host_prepare(struct weights *w, const struct st_index *idx,
                                     const uint8_t **data, size_t n, struct emac_err *err)
{
    uint64_t wide = wide_bytes(idx);
    enum emac_status st = EMAC_OK;

    if ((uintptr_t)*data % sizeof(float) != 0) {
        EMAC_TRY(st, emac_alloc_aligned(&w->copy, n, err));
        w->copy_bytes = n;
        memcpy(w->copy, *data, n);
        *data = w->copy;
    }
    if (wide > 0)
        st = emac_alloc_aligned(&w->wide, wide, err);
out:
    return st;
}

/* ---- on a device with memory of its own ---- */

#define PIECE ((size_t)1 << 18) /* numbers that are widened at once */

static enum emac_status wide_write(struct weights *w, float *there, const uint8_t *half, size_t n,
                                   struct emac_err *err)
{
    float *piece;
    enum emac_status st = emac_alloc(&piece, n < PIECE ? n : PIECE, sizeof(*piece), err);

    for (size_t at = 0, most; at < n && st == EMAC_OK; at += most) {
        most = n - at < PIECE ? n - at : PIECE;
        row_widen(GGUF_BF16, most, half + 2 * at, piece);
        st = device_write(w->dev, there + at, piece, most * sizeof(*piece), err);
    }
    free(piece);
    return st;
}

/* Vectors are small: only matrices may stay bf16. */
static enum emac_status weight_copy(struct weights *w, struct weight *cell,
                                    const struct st_tensor *t, const uint8_t *from, bool wide,
                                    struct emac_err *err)
{
    size_t bytes = (size_t)st_tensor_bytes(t);
    enum emac_status st;

    wide = cell->dtype == DTYPE_BF16 && (wide || t->rank == 1);
    EMAC_TRY(st, device_alloc(w->dev, wide ? 2 * bytes : bytes, &cell->data, err));
    cell->copied = wide ? 2 * bytes : bytes;
    if (wide) {
        cell->dtype = DTYPE_F32;
        st = wide_write(w, cell->data, from, (size_t)st_tensor_count(t), err);
    } else {
        st = device_write(w->dev, cell->data, from, bytes, err);
    }
out:
    return st;
}

static bool wide_fits(const struct device *dev, const struct st_index *idx)
{
    struct device_memory m;
    uint64_t bytes = wide_bytes(idx);

    device_memory(dev, &m);
    for (size_t i = 0; i < idx->count; i++)
        if (idx->tensor[i].dtype != ST_BF16)
            bytes += st_tensor_bytes(&idx->tensor[i]);
    return m.used <= m.total && bytes <= (m.total - m.used) / 4 * 3;
}

/* ---- all of them ---- */

/* Of the shape that the model asks for, or the same rows quantised. */
static bool weight_fits(const struct st_tensor *t, const struct model_param *p,
                        const struct quant_info **quant)
{
    bool fits = t->rank == p->shape.rank;

    *quant = NULL;
    if (t->dtype == ST_U8) {
        *quant = fits && t->rank == 2 ? weights_format(p->shape.dim[1], t->dim[1]) : NULL;
        return *quant != NULL && t->dim[0] == p->shape.dim[0];
    }
    for (uint32_t i = 0; fits && i < t->rank; i++)
        fits = t->dim[i] == p->shape.dim[i];
    return fits;
}

enum emac_status weights_find(const struct st_index *idx, const struct model_param *p,
                              const struct st_tensor **out, const struct quant_info **quant,
                              struct emac_err *err)
{
    const struct st_tensor *t = st_index_find(idx, p->name);

    if (t == NULL)
        return emac_fail(err, EMAC_INVALID, "tensor '%s' is missing in the model's weights",
                         p->name);
    if (t->dtype != ST_F32 && t->dtype != ST_BF16 && t->dtype != ST_U8)
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "tensor '%s' is %s; only F32, BF16 and block-quantised weights can be run",
                         p->name, st_dtype_name(t->dtype));
    if (!weight_fits(t, p, quant))
        return emac_fail(err, EMAC_INVALID,
                         "tensor '%s' has another shape than config.json asks for", p->name);
    *out = t;
    return EMAC_OK;
}

/* All tensors are asked for by name below; if there are more, one of them is superfluous. */
static enum emac_status superfluous_find(const struct llama_config *c, const struct st_index *idx,
                                         struct emac_err *err)
{
    struct model_param p;

    for (size_t t = 0; t < idx->count; t++) {
        bool known = false;

        for (uint32_t i = 0; i < llama_param_count(c) && !known; i++) {
            llama_param_at(c, NULL, i, &p);
            known = strcmp(p.name, idx->tensor[t].name) == 0;
        }
        if (!known)
            return emac_fail(err, EMAC_INVALID, "tensor '%.128s' does not belong to the model",
                             idx->tensor[t].name);
    }
    return emac_fail(err, EMAC_INTERNAL, "the weights hold a tensor twice");
}

static enum dtype dtype_of(const struct st_tensor *t)
{
    return t->dtype == ST_U8 ? DTYPE_U8 : t->dtype == ST_BF16 ? DTYPE_BF16 : DTYPE_F32;
}

/* Parameter i into its cell; `data` are the bundle's. */
static enum emac_status weight_place(struct weights *w, const struct llama_config *c, uint32_t i,
                                     const struct st_index *idx, const uint8_t *data, bool wide,
                                     struct emac_err *err)
{
    struct model_param p;
    enum llama_kind kind;
    const struct st_tensor *t;
    struct weight *cell;
    uint32_t layer;
    enum emac_status st;

    llama_param_at(c, NULL, i, &p);
    llama_param_place(c, i, &kind, &layer);
    cell = &w->at[llama_cell(kind, layer)];
    EMAC_TRY(st, weights_find(idx, &p, &t, &cell->quant, err));
    cell->dtype = dtype_of(t);
    cell->data = (uint8_t *)(uintptr_t)data + t->begin;
    if (kind == LLAMA_EMBED)
        w->embedding = *cell;
    if (!device_is_host(w->dev)) {
        cell->data = NULL;
        if (kind != LLAMA_EMBED || c->tie_embeddings)
            st = weight_copy(w, cell, t, data + t->begin, wide, err);
    } else if (cell->dtype == DTYPE_BF16) {
        cell->data = weight_widen(w, cell->data, (size_t)st_tensor_count(t));
        cell->dtype = DTYPE_F32;
    }
out:
    return st;
}

enum emac_status weights_open(struct weights *w, struct device *dev, const struct llama_config *c,
                              const void *bundle, size_t n, struct emac_err *err)
{
    struct st_index idx = {0};
    const uint8_t *data;
    bool wide;
    enum emac_status st;

    *w = (struct weights){.dev = dev, .width = c->hidden_size, .cells = llama_cell_count(c)};
    EMAC_TRY(st, emac_alloc(&w->at, w->cells, sizeof(*w->at), err));
    EMAC_TRY(st, st_index_parse(&idx, bundle, n, n, err));
    data = (const uint8_t *)bundle + idx.data_offset;
    if (device_is_host(dev))
        EMAC_TRY(st, host_prepare(w, &idx, &data, n - idx.data_offset, err));
    wide = wide_fits(dev, &idx);
    for (uint32_t i = 0; i < llama_param_count(c); i++)
        EMAC_TRY(st, weight_place(w, c, i, &idx, data, wide, err));
    if (idx.count != llama_param_count(c))
        st = superfluous_find(c, &idx, err);
out:
    st_index_release(&idx);
    return st;
}

void weights_embed(const struct weights *w, int32_t token, float *row)
{
    const struct weight *e = &w->embedding;
    enum gguf_type type = e->quant != NULL         ? (enum gguf_type)e->quant->format
                          : e->dtype == DTYPE_BF16 ? GGUF_BF16
                                                   : GGUF_F32;
    uint64_t bytes = 0;
    bool ok = gguf_row_bytes(type, w->width, &bytes);

    EMAC_ASSERT(ok);
    row_widen(type, w->width, (const uint8_t *)e->data + (size_t)token * (size_t)bytes, row);
}

/* A device that fails has lost them anyway. */
static void copy_wipe(struct weights *w, const struct weight *cell)
{
    uint8_t *zeros = calloc(1, PIECE);
    enum emac_status st = zeros != NULL ? EMAC_OK : EMAC_NO_MEMORY;

    for (size_t at = 0; at < cell->copied && st == EMAC_OK; at += PIECE)
        st = device_write(w->dev, (uint8_t *)cell->data + at, zeros,
                          cell->copied - at < PIECE ? cell->copied - at : PIECE, NULL);
    free(zeros);
}

void weights_wipe(struct weights *w)
{
    if (w->copy != NULL)
        crypto_wipe(w->copy, w->copy_bytes);
    if (w->wide != NULL)
        crypto_wipe(w->wide, w->wide_used * sizeof(float));
    for (uint32_t i = 0; w->at != NULL && i < w->cells; i++)
        copy_wipe(w, &w->at[i]);
}

void weights_release(struct weights *w)
{
    for (uint32_t i = 0; w->at != NULL && i < w->cells; i++)
        if (w->at[i].copied > 0)
            device_free(w->dev, w->at[i].data);
    free(w->at);
    free(w->copy);
    free(w->wide);
    *w = (struct weights){0};
}

#include "model/weights.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "compute/fn.h"
#include "crypto/crypto.h"

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

/* Each product with a weight would widen it again (rule 8); bits are the same. */
static const float *weight_widen(struct weights *w, const uint8_t *half, size_t n)
{
    float *wide = w->wide + w->wide_used;

    for (size_t i = 0; i < n; i++)
        wide[i] = fn_from_bf16((fn_u32)half[2 * i] | (fn_u32)half[2 * i + 1] << 8);
    w->wide_used += n;
    return wide;
}

static enum emac_status wide_reserve(struct weights *w, const struct st_index *idx,
                                     struct emac_err *err)
{
    uint64_t bytes = 0; /* at most twice the file's, so it does not overflow */

    for (size_t i = 0; i < idx->count; i++)
        if (idx->tensor[i].dtype == ST_BF16)
            bytes += 2 * st_tensor_bytes(&idx->tensor[i]);
    return bytes == 0 ? EMAC_OK : emac_alloc_aligned(&w->wide, bytes, err);
}

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

enum emac_status weights_open(struct weights *w, const struct llama_config *c, const void *bundle,
                              size_t n, struct emac_err *err)
{
    struct st_index idx = {0};
    const uint8_t *data;
    enum emac_status st;

    *w = (struct weights){0};
    EMAC_TRY(st, emac_alloc(&w->at, llama_cell_count(c), sizeof(*w->at), err));
    EMAC_TRY(st, st_index_parse(&idx, bundle, n, n, err));
    data = (const uint8_t *)bundle + idx.data_offset;
    if ((uintptr_t)data % sizeof(float) != 0) {
        EMAC_TRY(st, emac_alloc_aligned(&w->copy, n - idx.data_offset, err));
        w->copy_bytes = n - idx.data_offset;
        memcpy(w->copy, data, w->copy_bytes);
        data = w->copy;
    }
    EMAC_TRY(st, wide_reserve(w, &idx, err));
    for (uint32_t i = 0; i < llama_param_count(c); i++) {
        struct model_param p;
        enum llama_kind kind;
        const struct st_tensor *t;
        struct weight *cell;
        uint32_t layer;

        llama_param_at(c, NULL, i, &p);
        llama_param_place(c, i, &kind, &layer);
        cell = &w->at[llama_cell(kind, layer)];
        EMAC_TRY(st, weights_find(&idx, &p, &t, &cell->quant, err));
        cell->data = data + t->begin;
        if (t->dtype == ST_BF16)
            cell->data = weight_widen(w, data + t->begin, st_tensor_count(t));
    }
    if (idx.count != llama_param_count(c))
        st = superfluous_find(c, &idx, err);
out:
    st_index_release(&idx);
    return st;
}

void weights_wipe(struct weights *w)
{
    if (w->copy != NULL)
        crypto_wipe(w->copy, w->copy_bytes);
    if (w->wide != NULL)
        crypto_wipe(w->wide, w->wide_used * sizeof(float));
}

void weights_release(struct weights *w)
{
    free(w->at);
    free(w->copy);
    free(w->wide);
    *w = (struct weights){0};
}

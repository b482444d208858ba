/* The base's file against a job, and the two files of a tuned model made into one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "model/tune.h"

#define TEXT_MAX 96

static enum dtype dtype_of(const struct st_tensor *t)
{
    return t->dtype == ST_F32 ? DTYPE_F32 : t->dtype == ST_BF16 ? DTYPE_BF16 : DTYPE_COUNT;
}

static bool same_shape(const struct st_tensor *t, const struct shape *s)
{
    bool same = t->rank == s->rank;
    for (uint32_t i = 0; same && i < t->rank; i++)
        same = t->dim[i] == s->dim[i];
    return same;
}

static void dims_text(char out[TEXT_MAX], uint32_t rank, const uint64_t *dim)
{
    size_t at = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < rank && at < TEXT_MAX; i++) {
        int n = snprintf(out + at, TEXT_MAX - at, "%s%llu", i == 0 ? "[" : ",",
                         (unsigned long long)dim[i]);
        at += n < 0 ? TEXT_MAX : (size_t)n;
    }
    if (at < TEXT_MAX - 1)
        memcpy(out + at, "]", 2);
}

/* The tensor of parameter p, which is what the model asks for. `what` names the file. */
static enum emac_status tensor_find(const struct st_index *idx, const struct model_param *p,
                                    const char *what, const struct st_tensor **out,
                                    struct emac_err *err)
{
    const struct st_tensor *t = st_index_find(idx, p->name);
    char have[TEXT_MAX], want[TEXT_MAX];
    uint64_t dim[TENSOR_RANK_MAX];
    *out = t;
    if (t == NULL)
        return emac_fail(err, EMAC_INVALID, "%s lacks the tensor '%s'", what, p->name);
    if (dtype_of(t) == DTYPE_COUNT)
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "tensor '%s' of %s is %s; F32 and BF16 can be trained from", p->name, what,
                         st_dtype_name(t->dtype));
    if (same_shape(t, &p->shape) && (idx->data_offset + t->begin) % dtype_bytes(dtype_of(t)) == 0)
        return EMAC_OK;
    for (uint32_t i = 0; i < p->shape.rank; i++)
        dim[i] = p->shape.dim[i];
    dims_text(have, t->rank, t->dim);
    dims_text(want, p->shape.rank, dim);
    if (strcmp(have, want) != 0)
        return emac_fail(err, EMAC_INVALID, "tensor '%s' of %s is %s and the model asks for %s",
                         p->name, what, have, want);
    return emac_fail(err, EMAC_UNSUPPORTED, "tensor '%s' of %s is not aligned to its numbers",
                     p->name, what);
}

enum emac_status tune_base_check(const struct model_params *whole, const struct tune *t,
                                 const struct st_index *base, enum dtype *storage,
                                 struct emac_err *err)
{
    const struct st_tensor *first = NULL, *tensor;
    struct model_param p;
    for (uint32_t i = 0; i < whole->count; i++) {
        if (whole->part(whole->config, t, i) == PART_FRESH)
            continue;
        whole->at(whole->config, i, &p);
        enum emac_status st = tensor_find(base, &p, "the base", &tensor, err);
        if (st != EMAC_OK)
            return st;
        if (first == NULL)
            first = tensor;
        if (tensor->dtype != first->dtype)
            return emac_fail(err, EMAC_UNSUPPORTED,
                             "the base mixes types: '%s' is %s and '%s' is %s; write it in one",
                             first->name, st_dtype_name(first->dtype), p.name,
                             st_dtype_name(tensor->dtype));
    }
    *storage = first == NULL ? DTYPE_F32 : dtype_of(first);
    return EMAC_OK;
}

enum emac_status tune_trained_check(const struct tuned *t, const struct st_index *file,
                                    enum dtype *storage, struct emac_err *err)
{
    const struct st_tensor *tensor, *first = NULL;
    struct model_param p;
    for (uint32_t i = 0; i < t->trained.count; i++) {
        t->trained.at(t->trained.config, i, &p);
        enum emac_status st = tensor_find(file, &p, "the trained file", &tensor, err);
        if (st != EMAC_OK)
            return st;
        first = first == NULL ? tensor : first;
        if (tensor->dtype != first->dtype)
            return emac_fail(err, EMAC_UNSUPPORTED,
                             "the trained file mixes types: '%s' is %s and '%s' is %s; write it in "
                             "one",
                             first->name, st_dtype_name(first->dtype), p.name,
                             st_dtype_name(tensor->dtype));
    }
    *storage = first == NULL ? DTYPE_F32 : dtype_of(first);
    if (file->count == t->trained.count)
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID,
                     "the trained file holds %zu tensors and the model asks for %u of it",
                     file->count, t->trained.count);
}

/* ---- merging ---- */

struct file {
    struct st_index idx;
    const uint8_t *data; /* of its tensors */
};

struct merging {
    struct device *dev;
    const struct tuned *t;
    struct file base, trained, out;
};

static enum emac_status file_open(struct file *f, struct emac_slice bytes, struct emac_err *err)
{
    enum emac_status st = st_index_parse(&f->idx, bytes.data, bytes.len, bytes.len, err);
    f->data = st == EMAC_OK ? bytes.data + f->idx.data_offset : NULL;
    return st;
}

static struct tensor tensor_at(const struct file *f, const char *name)
{
    const struct st_tensor *t = st_index_find(&f->idx, name);
    struct tensor x = {.dtype = dtype_of(t), .shape = {.rank = t->rank}};
    for (uint32_t i = 0; i < t->rank; i++)
        x.shape.dim[i] = (size_t)t->dim[i];
    x.data = (void *)(uintptr_t)(f->data + t->begin);
    return x;
}

/* W + (B A) * s into the tensor of its name. `room` has as many floats as W. */
static enum emac_status adapter_merge(struct merging *m, const char *name, const struct tensor *a,
                                      const struct tensor *b, struct tensor *out, float *room,
                                      struct emac_err *err)
{
    static const struct op_attrs plain = {.at = {{.i = 0}, {.i = 0}}};
    float scale = tune_scale(m->t->tune);
    const struct tensor factor = {DTYPE_F32, SHAPE1(1), &scale};
    struct tensor product = {DTYPE_F32, out->shape, room};
    const struct tensor pair[] = {*b, *a}, scaled[] = {product, factor};
    const struct tensor sum[] = {tensor_at(&m->base, name), product};
    enum emac_status st;
    EMAC_TRY(st, device_run_host(m->dev, OP_MATMUL, &plain, pair, &product, err));
    EMAC_TRY(st, device_run_host(m->dev, OP_SCALE, NULL, scaled, &product, err));
    st = device_run_host(m->dev, OP_ADD, NULL, sum, out, err);
out:
    return st;
}

static struct tensor entry_tensor(const struct merging *m, uint32_t entry)
{
    struct model_param p;
    m->t->trained.at(m->t->trained.config, entry, &p);
    return tensor_at(&m->trained, p.name);
}

static bool is_adapted(const struct tuned *t, uint32_t i)
{
    return t->whole.part(t->whole.config, t->tune, i) == PART_ADAPTED;
}

static enum emac_status param_merge(struct merging *m, uint32_t i, struct emac_err *err)
{
    uint32_t entry = m->t->first[i];
    struct model_param p;
    size_t bytes;
    float *room;
    m->t->whole.at(m->t->whole.config, i, &p);
    struct tensor out = tensor_at(&m->out, p.name);
    if (!is_adapted(m->t, i)) {
        const struct tensor from = tensor_at(entry == TUNED_NONE ? &m->base : &m->trained, p.name);
        bool ok = shape_bytes(out.dtype, &out.shape, &bytes);
        EMAC_ASSERT(ok && from.dtype == out.dtype);
        memcpy(out.data, from.data, bytes);
        return EMAC_OK;
    }
    enum emac_status st = emac_alloc(&room, out.shape.dim[0], out.shape.dim[1] * sizeof *room, err);
    if (st != EMAC_OK)
        return st;
    const struct tensor a = entry_tensor(m, entry), b = entry_tensor(m, entry + 1);
    st = adapter_merge(m, p.name, &a, &b, &out, room, err);
    free(room);
    return st;
}

/* The whole's tensors, each of the type of the file that it comes from. */
static enum emac_status out_layout(struct merging *m, struct emac_buf *out, struct emac_err *err)
{
    const struct model_params *whole = &m->t->whole;
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < whole->count; i++) {
        struct model_param p;
        bool trained = m->t->first[i] != TUNED_NONE && !is_adapted(m->t, i);
        whole->at(whole->config, i, &p);
        const struct st_tensor *t = st_index_find(trained ? &m->trained.idx : &m->base.idx, p.name);
        EMAC_TRY(st, st_index_add(&m->out.idx, p.name, t->dtype, t->rank, t->dim, err));
    }
    EMAC_TRY(st, st_bundle_layout(&m->out.idx, out, err));
    st = emac_buf_reserve(out, m->out.idx.file_size - m->out.idx.data_offset, err);
out:
    return st;
}

enum emac_status tune_merge(struct device *dev, const struct tuned *t, struct emac_slice base,
                            struct emac_slice trained, struct emac_buf *out, struct emac_err *err)
{
    struct merging m = {.dev = dev, .t = t};
    enum dtype storage;
    size_t start = out->len;
    enum emac_status st;
    EMAC_TRY(st, file_open(&m.base, base, err));
    EMAC_TRY(st, file_open(&m.trained, trained, err));
    EMAC_TRY(st, tune_base_check(&t->whole, t->tune, &m.base.idx, &storage, err));
    EMAC_TRY(st, tune_trained_check(t, &m.trained.idx, &storage, err));
    EMAC_TRY(st, out_layout(&m, out, err));
    m.out.data = out->data + start + m.out.idx.data_offset;
    for (uint32_t i = 0; i < t->whole.count; i++)
        EMAC_TRY(st, param_merge(&m, i, err));
    out->len = start + m.out.idx.file_size;
    out->data[out->len] = '\0';
out:
    st_index_release(&m.base.idx);
    st_index_release(&m.trained.idx);
    st_index_release(&m.out.idx);
    if (st != EMAC_OK)
        out->len = start;
    return st;
}

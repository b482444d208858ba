/* What all kinds of device share: checks, the host's own memory, and bringing host tensors to a
 * device and back. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "compute/device_impl.h"
#include "os/process.h"

#define HOST_ALIGN 64 /* before each piece of host memory lie as many bytes that hold its size */

void device_close(struct device *dev)
{
    if (dev == NULL)
        return;
    device_free(dev, dev->wide);
    dev->class->close(dev);
}

bool device_lost(const struct device *dev)
{
    return dev->class->lost != NULL && dev->class->lost(dev);
}

const char *device_name(const struct device *dev)
{
    return dev->name;
}

const char *device_kind(const struct device *dev)
{
    return dev->kind;
}

uint32_t device_threads(const struct device *dev)
{
    return dev->threads;
}

bool device_is_host(const struct device *dev)
{
    return dev->class->is_host;
}

/* ids[n] must lie in 0..limit-1: kernels use them as row numbers. */
static enum emac_status ids_check(enum op op, const struct tensor *ids, size_t limit,
                                  struct emac_err *err)
{
    const int32_t *id = ids->data;
    for (size_t i = 0; i < ids->shape.dim[0]; i++)
        if (id[i] < 0 || (size_t)id[i] >= limit)
            return emac_fail(err, EMAC_INVALID,
                             "id %d at position %zu of operator '%s' is outside 0 to %zu; "
                             "the data do not fit the vocabulary",
                             (int)id[i], i, op_info(op)->name, limit - 1);
    return EMAC_OK;
}

static enum emac_status inputs_check(enum op op, const struct tensor *in, const struct tensor *out,
                                     struct emac_err *err)
{
    switch (op) {
    case OP_EMBED:
        return ids_check(op, &in[0], in[1].shape.dim[0], err);
    case OP_EMBED_GRAD:
        return ids_check(op, &in[0], out[0].shape.dim[0], err);
    case OP_XENT:
    case OP_CORRECT:
        return ids_check(op, &in[1], in[0].shape.dim[1], err);
    case OP_XENT_GRAD:
        return ids_check(op, &in[2], in[1].shape.dim[1], err);
    default:
        return EMAC_OK;
    }
}

static void shapes_assert(enum op op, const struct op_attrs *attrs, const struct tensor *in,
                          const struct tensor *out)
{
    struct tensor want[OP_OUT_MAX];
    struct emac_err err;
    enum emac_status st = op_infer(op, attrs, in, want, &err);
    EMAC_ASSERT(st == EMAC_OK);
    for (uint32_t i = 0; i < op_info(op)->outputs; i++)
        EMAC_ASSERT((out[i].dtype == want[i].dtype || (i == 0 && out[i].dtype == DTYPE_BF16)) &&
                    shape_equal(&out[i].shape, &want[i].shape));
}

static size_t wide_count(const struct tensor *t)
{
    size_t n = 0;
    shape_count(&t->shape, &n);
    return t->dtype == DTYPE_BF16 ? (n + 15) / 16 * 16 : 0; /* whole cache lines */
}

/* Room for the f32 form of all bf16 tensors of an operator. Shapes have been inferred, so that the
 * sum of the sizes of a few tensors in memory does not overflow. */
static enum emac_status wide_reserve(struct device *dev, enum op op, const struct tensor *in,
                                     const struct tensor *out, struct emac_err *err)
{
    size_t n = wide_count(&out[0]);
    for (uint32_t i = 0; i < op_info(op)->inputs; i++)
        n += wide_count(&in[i]);
    if (n <= dev->wide_floats)
        return EMAC_OK;
    device_free(dev, dev->wide);
    dev->wide = NULL;
    dev->wide_floats = 0;
    enum emac_status st = device_alloc(dev, n * sizeof *dev->wide, &dev->wide, err);
    if (st == EMAC_OK)
        dev->wide_floats = n;
    return st;
}

/* Rule 8: operators compute on binary32, whatever their inputs and output are stored as. */
static enum emac_status run_stored(struct device *dev, enum op op, const struct op_attrs *attrs,
                                   const struct tensor *in, struct tensor *out,
                                   struct emac_err *err)
{
    struct tensor in32[OP_IN_MAX], out32[OP_OUT_MAX];
    size_t n = 0, at = 0;
    enum emac_status st = wide_reserve(dev, op, in, out, err);
    if (st != EMAC_OK)
        return emac_wrap(err, "the f32 form of bf16 values");
    for (uint32_t i = 0; i < op_info(op)->inputs; i++) {
        in32[i] = in[i];
        if (in[i].dtype != DTYPE_BF16)
            continue;
        in32[i] = (struct tensor){DTYPE_F32, in[i].shape, dev->wide + at};
        shape_count(&in[i].shape, &n);
        EMAC_TRY(st, dev->class->widen(dev, dev->wide + at, in[i].data, n, err));
        at += wide_count(&in[i]);
    }
    memcpy(out32, out, op_info(op)->outputs * sizeof *out);
    if (out[0].dtype == DTYPE_BF16)
        out32[0] = (struct tensor){DTYPE_F32, out[0].shape, dev->wide + at};
    EMAC_TRY(st, dev->class->run(dev, op, attrs, in32, out32, err));
    if (out[0].dtype == DTYPE_BF16) {
        shape_count(&out[0].shape, &n);
        st = dev->class->narrow(dev, out[0].data, out32[0].data, n, err);
    }
out:
    return st;
}

/* Rule 11 looks at binary32 results; those of `quantise` and `pack` are bytes, so their input is
 * looked at. */
static enum emac_status finite_check(struct device *dev, enum op op, const struct tensor *x,
                                     struct emac_err *err)
{
    bool finite;
    enum emac_status st = dev->class->finite(dev, 1, x, &finite, err);
    if (st == EMAC_OK && !finite)
        st = emac_fail(err, EMAC_NUMERIC, "the input of operator '%s' is not finite",
                       op_info(op)->name);
    return st;
}

enum emac_status device_run(struct device *dev, enum op op, const struct op_attrs *attrs,
                            const struct tensor *in, struct tensor *out, struct emac_err *err)
{
    enum emac_status st;
    shapes_assert(op, attrs, in, out);
    st = dev->class->is_host ? inputs_check(op, in, out, err) : EMAC_OK;
    if (st == EMAC_OK && (op == OP_QUANTISE || op == OP_PACK))
        st = finite_check(dev, op, &in[0], err);
    if (st != EMAC_OK)
        return st;
    bool stored = out[0].dtype == DTYPE_BF16;
    for (uint32_t i = 0; i < op_info(op)->inputs; i++)
        stored = stored || in[i].dtype == DTYPE_BF16;
    dev->ran_finite = false;
    if (!stored)
        return dev->class->run(dev, op, attrs, in, out, err);
    st = run_stored(dev, op, attrs, in, out, err);
    dev->ran_finite = false; /* storing may have rounded to infinity */
    return st;
}

bool device_adds_embed_grad(const struct device *dev)
{
    return dev->class->embed_grad_add != NULL;
}

enum emac_status device_embed_grad_add(struct device *dev, const struct tensor *ids,
                                       const struct tensor *dy, struct tensor *table,
                                       struct emac_err *err)
{
    enum emac_status st = ids_check(OP_EMBED_GRAD, ids, table->shape.dim[0], err);
    EMAC_ASSERT(dy->dtype == DTYPE_F32 && table->dtype == DTYPE_F32);
    dev->ran_finite = false;
    return st == EMAC_OK ? dev->class->embed_grad_add(dev, ids, dy, table, err) : st;
}

bool device_ran_finite(const struct device *dev)
{
    return dev->ran_finite;
}

enum emac_status device_add(struct device *dev, float *dst, const float *a, const float *b,
                            size_t n, struct emac_err *err)
{
    return dev->class->add(dev, dst, a, b, n, err);
}

enum emac_status device_finite(struct device *dev, size_t count, const struct tensor *x, bool *out,
                               struct emac_err *err)
{
    return dev->class->finite(dev, count, x, out, err);
}

enum emac_status device_attention_decode(struct device *dev, const float *q, const float *k,
                                         const float *v, float *o, size_t len, size_t rows,
                                         uint32_t heads, uint32_t kv_heads, uint32_t head_dim,
                                         float scale, struct emac_err *err)
{
    const struct attention_decode d = {q, k, v, o, len, rows, heads, kv_heads, head_dim, scale};
    EMAC_ASSERT(rows >= 1 && len >= rows && kv_heads >= 1 && heads % kv_heads == 0 &&
                head_dim >= 1);
    return dev->class->decode(dev, &d, err);
}

/* ---- memory ---- */

enum emac_status device_no_memory(const struct device *dev, size_t bytes, struct emac_err *err)
{
    const struct device_memory *m = &dev->memory;
    return emac_fail(err, EMAC_NO_MEMORY,
                     "%zu bytes do not fit on device '%s': %llu of %llu bytes are in use, and one "
                     "piece has at most %llu",
                     bytes, dev->name, (unsigned long long)m->used, (unsigned long long)m->total,
                     (unsigned long long)m->alloc_max);
}

void device_memory_host(struct device *dev)
{
    dev->memory.total = dev->memory.alloc_max = os_memory_bytes();
}

static enum emac_status host_alloc(struct device *dev, size_t bytes, void **out,
                                   struct emac_err *err)
{
    uint8_t *p;
    if (bytes > SIZE_MAX - HOST_ALIGN ||
        emac_alloc_aligned(&p, bytes + HOST_ALIGN, NULL) != EMAC_OK)
        return device_no_memory(dev, bytes, err);
    memcpy(p, &bytes, sizeof bytes);
    *out = p + HOST_ALIGN;
    device_memory_count(dev, bytes);
    return EMAC_OK;
}

static void host_free(struct device *dev, void *ptr)
{
    uint8_t *p = (uint8_t *)ptr - HOST_ALIGN;
    size_t bytes;
    memcpy(&bytes, p, sizeof bytes);
    dev->memory.used -= bytes;
    free(p);
}

void device_memory_count(struct device *dev, size_t bytes)
{
    struct device_memory *m = &dev->memory;
    m->used += bytes;
    m->peak = m->used > m->peak ? m->used : m->peak;
}

enum emac_status device_alloc(struct device *dev, size_t bytes, void *out_ptr, struct emac_err *err)
{
    const struct device_memory *m = &dev->memory;
    void **out = out_ptr;
    *out = NULL;
    if (m->used > m->total || bytes > m->total - m->used)
        return device_no_memory(dev, bytes, err);
    return dev->class->is_host ? host_alloc(dev, bytes, out, err)
                               : dev->class->alloc(dev, bytes, out, err);
}

void device_free(struct device *dev, void *ptr)
{
    if (ptr == NULL)
        return;
    if (dev->class->is_host)
        host_free(dev, ptr);
    else
        dev->class->free(dev, ptr);
}

enum emac_status device_write(struct device *dev, void *dst, const void *src, size_t n,
                              struct emac_err *err)
{
    if (!dev->class->is_host)
        return dev->class->write(dev, dst, src, n, err);
    memcpy(dst, src, n);
    return EMAC_OK;
}

enum emac_status device_read(struct device *dev, void *dst, const void *src, size_t n,
                             struct emac_err *err)
{
    if (!dev->class->is_host)
        return dev->class->read(dev, dst, src, n, err);
    memcpy(dst, src, n);
    return EMAC_OK;
}

enum emac_status device_copy(struct device *dev, void *dst, const void *src, size_t n,
                             struct emac_err *err)
{
    if (!dev->class->is_host)
        return dev->class->copy(dev, dst, src, n, err);
    memcpy(dst, src, n);
    return EMAC_OK;
}

enum emac_status device_view(struct device *dev, const void *src, size_t bytes,
                             struct device_view *out, struct emac_err *err)
{
    EMAC_ASSERT(!dev->class->is_host && bytes > 0);
    *out = (struct device_view){.dev = dev, .bytes = bytes};
    return dev->class->view(dev, src, bytes, out, err);
}

enum emac_status device_view_read(const struct device_view *v, void *dst, struct emac_err *err)
{
    enum emac_status st = v->dev->class->view_read(v, dst, err);
    if (st == EMAC_OK)
        atomic_fetch_add(&v->dev->viewed, v->bytes);
    return st;
}

enum emac_status device_sha256(struct device *dev, const void *src, size_t n, size_t piece,
                               uint8_t (*digest)[32], struct emac_err *err)
{
    EMAC_ASSERT(!dev->class->is_host && n > 0 && piece > 0 && piece % 64 == 0);
    return dev->class->sha256(dev, src, n, piece, digest, err);
}

enum emac_status device_hashing_measure(struct device *dev, struct os *os,
                                        struct device_hashing *out, struct emac_err *err)
{
    *out = (struct device_hashing){0};
    if (dev->class->is_host)
        return emac_fail(err, EMAC_UNSUPPORTED, "device '%s' has no bus", dev->name);
    enum emac_status st = dev->class->hashing(dev, os, out, err);
    if (st == EMAC_OK)
        dev->hashing = *out;
    return st;
}

bool device_sha256_pays(const struct device *dev, size_t n, size_t piece, uint32_t threads)
{
    const struct device_hashing *h = &dev->hashing;
    double longest = (double)h->serial * (double)(n < piece ? n : piece);
    double all = (double)h->wide * (double)n;
    double host = ((double)h->bus + (double)h->host / threads) * (double)n;
    return h->serial != 0 && (longest > all ? longest : all) < host;
}

enum emac_status device_finish(struct device *dev, struct emac_err *err)
{
    return dev->class->is_host ? EMAC_OK : dev->class->finish(dev, err);
}

enum emac_status device_tune(struct device *dev, struct os *os, const char *path,
                             struct emac_err *err)
{
    return dev->class->is_host ? EMAC_OK : dev->class->tune(dev, os, path, err);
}

void device_memory(const struct device *dev, struct device_memory *out)
{
    *out = dev->memory;
    out->viewed = atomic_load(&dev->viewed);
}

void device_memory_limit(struct device *dev, uint64_t bytes)
{
    struct device_memory *m = &dev->memory;
    m->total = bytes < m->total ? bytes : m->total;
    m->alloc_max = m->alloc_max < m->total ? m->alloc_max : m->total;
}

/* ---- tensors of the host ---- */

static size_t bytes_of(const struct tensor *t)
{
    size_t bytes = 0;
    bool ok = shape_bytes(t->dtype, &t->shape, &bytes);
    EMAC_ASSERT(ok);
    return bytes;
}

/* Copies on the device of host tensors; an output that lies on an input stays there. */
static enum emac_status tensors_bring(struct device *dev, uint32_t inputs, uint32_t outputs,
                                      const struct tensor *in, const struct tensor *out,
                                      struct tensor *in_there, struct tensor *out_there,
                                      struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < inputs; i++) {
        in_there[i] = in[i];
        EMAC_TRY(st, device_alloc(dev, bytes_of(&in[i]), &in_there[i].data, err));
        EMAC_TRY(st, device_write(dev, in_there[i].data, in[i].data, bytes_of(&in[i]), err));
    }
    for (uint32_t i = 0; i < outputs; i++) {
        out_there[i] = out[i];
        if (i < inputs && in[i].data == out[i].data)
            out_there[i].data = in_there[i].data;
        else
            EMAC_TRY(st, device_alloc(dev, bytes_of(&out[i]), &out_there[i].data, err));
    }
out:
    return st;
}

enum emac_status device_run_host(struct device *dev, enum op op, const struct op_attrs *attrs,
                                 const struct tensor *in, struct tensor *out, struct emac_err *err)
{
    struct tensor in_there[OP_IN_MAX] = {{0}}, out_there[OP_OUT_MAX] = {{0}};
    uint32_t inputs = op_info(op)->inputs, outputs = op_info(op)->outputs;
    enum emac_status st;
    if (dev->class->is_host)
        return device_run(dev, op, attrs, in, out, err);
    EMAC_TRY(st, tensors_bring(dev, inputs, outputs, in, out, in_there, out_there, err));
    EMAC_TRY(st, device_run(dev, op, attrs, in_there, out_there, err));
    for (uint32_t i = 0; i < outputs; i++)
        EMAC_TRY(st, device_read(dev, out[i].data, out_there[i].data, bytes_of(&out[i]), err));
out:
    for (uint32_t i = 0; i < outputs; i++)
        if (i >= inputs || out_there[i].data != in_there[i].data)
            device_free(dev, out_there[i].data);
    for (uint32_t i = 0; i < inputs; i++)
        device_free(dev, in_there[i].data);
    return st;
}

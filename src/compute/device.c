#include "compute/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "compute/fn.h"
#include "compute/ref/ref.h"
#include "os/thread.h"

struct device {
    enum isa isa;
    uint32_t threads;
    char name[48];
};

static const char *const isa_names[ISA_COUNT] = {"ref", "portable", "avx2", "avx512"};

const char *isa_name(enum isa isa)
{
    EMAC_ASSERT((unsigned)isa < ISA_COUNT);
    return isa_names[isa];
}

enum isa isa_find(const char *name)
{
    if (strcmp(name, "best") == 0)
        return ISA_BEST;
    for (int i = 0; i < ISA_COUNT; i++)
        if (strcmp(isa_names[i], name) == 0)
            return (enum isa)i;
    return ISA_COUNT;
}

bool isa_supported(enum isa isa)
{
    return isa == ISA_REF || isa == ISA_BEST;
}

enum emac_status device_cpu_open(enum isa isa, uint32_t threads, struct device **out,
                                 struct emac_err *err)
{
    EMAC_ASSERT(threads >= 1);
    if (!isa_supported(isa))
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "this processor lacks the instructions of '%s'; choose 'best'",
                         isa_name(isa));
    enum emac_status st = emac_alloc(out, 1, sizeof **out, err);
    if (st != EMAC_OK)
        return st;
    (*out)->isa = ISA_REF;
    (*out)->threads = 1;
    snprintf((*out)->name, sizeof (*out)->name, "cpu/%s x%u", isa_name((*out)->isa),
             (*out)->threads);
    return EMAC_OK;
}

void device_close(struct device *dev)
{
    free(dev);
}

const char *device_name(const struct device *dev)
{
    return dev->name;
}

enum isa device_isa(const struct device *dev)
{
    return dev->isa;
}

uint32_t device_threads(const struct device *dev)
{
    return dev->threads;
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

static enum emac_status inputs_check(enum op op, const struct tensor *in,
                                     const struct tensor *out, struct emac_err *err)
{
    switch (op) {
    case OP_EMBED:
        return ids_check(op, &in[0], in[1].shape.dim[0], err);
    case OP_EMBED_GRAD:
        return ids_check(op, &in[0], out[0].shape.dim[0], err);
    case OP_XENT:
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
        EMAC_ASSERT(out[i].dtype == want[i].dtype && shape_equal(&out[i].shape, &want[i].shape));
}

enum emac_status device_run(struct device *dev, enum op op, const struct op_attrs *attrs,
                            const struct tensor *in, struct tensor *out, struct emac_err *err)
{
    enum emac_status st;
    shapes_assert(op, attrs, in, out);
    st = inputs_check(op, in, out, err);
    return st == EMAC_OK ? ref_table[op](attrs, in, out, err) : st;
}

void device_add(struct device *dev, float *dst, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = a[i] + b[i];
}

size_t device_check_finite(struct device *dev, const float *x, size_t n)
{
    size_t i = 0;
    while (i < n && (fn_bits(x[i]) & 0x7fffffffu) < FN_INF)
        i++;
    return i;
}

enum emac_status device_attention_decode(struct device *dev, const float *q, const float *k,
                                         const float *v, float *o, size_t len, uint32_t heads,
                                         uint32_t kv_heads, uint32_t head_dim, float scale,
                                         struct emac_err *err)
{
    float *p, max, sum;
    enum emac_status st = emac_alloc(&p, len, sizeof *p, err);
    if (st != EMAC_OK)
        return st;
    for (size_t h = 0; h < heads; h++) {
        size_t kv = h / (heads / kv_heads) * head_dim;
        ref_attention_row(q + h * head_dim, k + kv, v + kv, (size_t)kv_heads * head_dim, len,
                          head_dim, scale, p, o + h * head_dim, &max, &sum);
    }
    free(p);
    return EMAC_OK;
}

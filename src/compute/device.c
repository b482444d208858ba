#include "compute/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "compute/cpu/cpu.h"
#include "compute/fn.h"
#include "compute/ref/ref.h"

#define NAME_MAX_BYTES 48

struct device {
    enum isa isa;
    uint32_t threads;
    struct cpu cpu; /* unused by ISA_REF */
    float *wide;    /* the f32 form of bf16 inputs and output of the operator under way */
    size_t wide_floats;
    char name[NAME_MAX_BYTES];
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
    switch (isa) {
    case ISA_REF:
    case ISA_PORTABLE:
    case ISA_BEST:
        return true;
#if defined(__x86_64__)
    case ISA_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case ISA_AVX512:
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("fma");
#endif
    default:
        return false;
    }
}

static enum isa isa_best(void)
{
    enum isa isa = ISA_AVX512;
    while (!isa_supported(isa))
        isa--;
    return isa;
}

/* The program may have been started with subnormals flushed or another rounding; then no bits would
 * agree with anybody's. */
static bool environment_is_ieee(void)
{
    volatile float least = 0x1p-126f, one = 1.0f, tie = 0x1.8p-23f;
    float half = least * 0.5f, twice = half * 2.0f, near = one + tie, far = -one - tie;
    return half > 0.0f && twice == least && near == 0x1.000004p+0f && far == -0x1.000004p+0f;
}

enum emac_status device_cpu_open(enum isa isa, uint32_t threads, struct device **out,
                                 struct emac_err *err)
{
    struct device *dev;
    enum emac_status st;
    EMAC_ASSERT(threads >= 1 && isa < ISA_COUNT);
    if (!isa_supported(isa))
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "this processor lacks the instructions of '%s'; choose 'best'",
                         isa_name(isa));
    if (!environment_is_ieee())
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "subnormal numbers are flushed or rounding is not to nearest; start "
                         "'emac' without what changes the floating-point mode");
    st = emac_alloc(&dev, 1, sizeof *dev, err);
    if (st != EMAC_OK)
        return st;
    dev->isa = isa == ISA_BEST ? isa_best() : isa;
    dev->threads = dev->isa == ISA_REF ? 1 : threads;
    if (dev->isa != ISA_REF)
        cpu_init(&dev->cpu, dev->isa, threads);
    snprintf(dev->name, sizeof dev->name, "cpu/%s x%u", isa_name(dev->isa), dev->threads);
    *out = dev;
    return EMAC_OK;
}

void device_close(struct device *dev)
{
    if (!dev)
        return;
    cpu_release(&dev->cpu);
    free(dev->wide);
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

static void widen(struct device *dev, float *dst, const uint16_t *src, size_t n)
{
    if (dev->isa != ISA_REF)
        cpu_widen(&dev->cpu, dst, src, n);
    for (size_t i = 0; dev->isa == ISA_REF && i < n; i++)
        dst[i] = fn_from_bf16(src[i]);
}

static void narrow(struct device *dev, uint16_t *dst, const float *src, size_t n)
{
    if (dev->isa != ISA_REF)
        cpu_narrow(&dev->cpu, dst, src, n);
    for (size_t i = 0; dev->isa == ISA_REF && i < n; i++)
        dst[i] = (uint16_t)fn_to_bf16(src[i]);
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
    free(dev->wide);
    dev->wide = NULL;
    dev->wide_floats = 0;
    enum emac_status st = emac_alloc_aligned(&dev->wide, n * sizeof *dev->wide, err);
    if (st == EMAC_OK)
        dev->wide_floats = n;
    return st;
}

static enum emac_status run_f32(struct device *dev, enum op op, const struct op_attrs *attrs,
                                const struct tensor *in, struct tensor *out, struct emac_err *err)
{
    return dev->isa == ISA_REF ? ref_table[op](attrs, in, out, err)
                               : cpu_run(&dev->cpu, op, attrs, in, out, err);
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
        widen(dev, dev->wide + at, in[i].data, n);
        at += wide_count(&in[i]);
    }
    memcpy(out32, out, op_info(op)->outputs * sizeof *out);
    if (out[0].dtype == DTYPE_BF16)
        out32[0] = (struct tensor){DTYPE_F32, out[0].shape, dev->wide + at};
    st = run_f32(dev, op, attrs, in32, out32, err);
    if (st != EMAC_OK || out[0].dtype != DTYPE_BF16)
        return st;
    shape_count(&out[0].shape, &n);
    narrow(dev, out[0].data, out32[0].data, n);
    return EMAC_OK;
}

enum emac_status device_run(struct device *dev, enum op op, const struct op_attrs *attrs,
                            const struct tensor *in, struct tensor *out, struct emac_err *err)
{
    enum emac_status st;
    shapes_assert(op, attrs, in, out);
    st = inputs_check(op, in, out, err);
    if (st != EMAC_OK)
        return st;
    bool stored = out[0].dtype == DTYPE_BF16;
    for (uint32_t i = 0; i < op_info(op)->inputs; i++)
        stored = stored || in[i].dtype == DTYPE_BF16;
    return stored ? run_stored(dev, op, attrs, in, out, err)
                  : run_f32(dev, op, attrs, in, out, err);
}

void device_add(struct device *dev, float *dst, const float *a, const float *b, size_t n)
{
    if (dev->isa != ISA_REF) {
        cpu_add(&dev->cpu, dst, a, b, n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        dst[i] = a[i] + b[i];
}

size_t device_check_finite(struct device *dev, const float *x, size_t n)
{
    size_t i = 0;
    if (dev->isa != ISA_REF)
        return cpu_check_finite(&dev->cpu, x, n);
    while (i < n && (fn_bits(x[i]) & FN_INF) != FN_INF)
        i++;
    return i;
}

/* The readable form of the decode. */
static enum emac_status ref_decode(const float *q, const float *k, const float *v, float *o,
                                   size_t len, size_t heads, size_t kv_heads, size_t head_dim,
                                   float scale, struct emac_err *err)
{
    float *p, max, sum;
    enum emac_status st = emac_alloc(&p, len, sizeof *p, err);
    if (st != EMAC_OK)
        return st;
    for (size_t h = 0; h < heads; h++) {
        size_t kv = h / (heads / kv_heads) * head_dim;
        ref_attention_row(q + h * head_dim, k + kv, v + kv, kv_heads * head_dim, len, head_dim,
                          scale, p, o + h * head_dim, &max, &sum);
    }
    free(p);
    return EMAC_OK;
}

enum emac_status device_attention_decode(struct device *dev, const float *q, const float *k,
                                         const float *v, float *o, size_t len, uint32_t heads,
                                         uint32_t kv_heads, uint32_t head_dim, float scale,
                                         struct emac_err *err)
{
    EMAC_ASSERT(len >= 1 && kv_heads >= 1 && heads % kv_heads == 0 && head_dim >= 1);
    return dev->isa == ISA_REF ? ref_decode(q, k, v, o, len, heads, kv_heads, head_dim, scale, err)
                               : cpu_attention_decode(&dev->cpu, q, k, v, o, len, heads, kv_heads,
                                                      head_dim, scale, err);
}

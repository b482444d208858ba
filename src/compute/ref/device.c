/* The oracle as a device. */
#include <stdlib.h>

#include "base/buf.h"
#include "compute/fn.h"
#include "compute/ref/ref.h"

static void close_ref(struct device *dev)
{
    free(dev);
}

static enum emac_status run(struct device *dev, enum op op, const struct op_attrs *attrs,
                            const struct tensor *in, struct tensor *out, struct emac_err *err)
{
    return ref_table[op](attrs, in, out, err);
}

static enum emac_status add(struct device *dev, float *dst, const float *a, const float *b,
                            size_t n, struct emac_err *err)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = a[i] + b[i];
    return EMAC_OK;
}

/* The exponent of infinity and NaN is all ones, in bf16 as in f32. */
static bool f32_finite(const float *x, size_t n)
{
    bool bad = false;
    for (size_t i = 0; i < n; i++)
        bad |= (fn_bits(x[i]) & FN_INF) == FN_INF;
    return !bad;
}

bool ref_bf16_finite(const uint16_t *x, size_t n)
{
    bool bad = false;
    for (size_t i = 0; i < n; i++)
        bad |= (x[i] & 0x7f80) == 0x7f80;
    return !bad;
}

static enum emac_status finite(struct device *dev, size_t count, const struct tensor *x, bool *out,
                               struct emac_err *err)
{
    size_t n = 0;
    *out = true;
    for (size_t i = 0; i < count; i++) {
        shape_count(&x[i].shape, &n);
        if (x[i].dtype == DTYPE_F32)
            *out = *out && f32_finite(x[i].data, n);
        else if (x[i].dtype == DTYPE_BF16)
            *out = *out && ref_bf16_finite(x[i].data, n);
    }
    return EMAC_OK;
}

static enum emac_status widen(struct device *dev, float *dst, const uint16_t *src, size_t n,
                              struct emac_err *err)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = fn_from_bf16(src[i]);
    return EMAC_OK;
}

static enum emac_status narrow(struct device *dev, uint16_t *dst, const float *src, size_t n,
                               struct emac_err *err)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = (uint16_t)fn_to_bf16(src[i]);
    return EMAC_OK;
}

/* The readable form of the decode. */
static enum emac_status decode(struct device *dev, const struct attention_decode *d,
                               struct emac_err *err)
{
    size_t width = d->head_dim, before = d->len - d->rows;
    float *p, max, sum;
    enum emac_status st = emac_alloc(&p, d->len, sizeof *p, err);
    if (st != EMAC_OK)
        return st;
    for (size_t i = 0; i < d->rows * d->heads; i++) {
        size_t kv = i % d->heads / (d->heads / d->kv_heads) * width;
        ref_attention_row(d->q + i * width, d->k + kv, d->v + kv, d->kv_heads * width,
                          before + i / d->heads + 1, width, d->scale, p, d->o + i * width, &max,
                          &sum);
    }
    free(p);
    return EMAC_OK;
}

static const struct device_class ref_class = {.is_host = true,
                                              .close = close_ref,
                                              .run = run,
                                              .add = add,
                                              .finite = finite,
                                              .widen = widen,
                                              .narrow = narrow,
                                              .decode = decode};

enum emac_status ref_device_open(struct device **out, struct emac_err *err)
{
    enum emac_status st = emac_alloc(out, 1, sizeof **out, err);
    if (st != EMAC_OK)
        return st;
    **out = (struct device){.class = &ref_class, .kind = "ref", .threads = 1, .name = "cpu/ref x1"};
    device_memory_host(*out);
    return EMAC_OK;
}

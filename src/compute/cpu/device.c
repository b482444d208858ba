/* The CPU as a device: one per instruction set, and the oracle. */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/buf.h"
#include "compute/cpu/cpu.h"
#include "compute/ref/ref.h"

struct cpu_device {
    struct device device; /* first */
    struct cpu cpu;
};

static struct cpu *cpu_of(struct device *dev)
{
    return &((struct cpu_device *)dev)->cpu;
}

static void close_cpu(struct device *dev)
{
    cpu_release(cpu_of(dev));
    free(dev);
}

static enum emac_status run(struct device *dev, enum op op, const struct op_attrs *attrs,
                            const struct tensor *in, struct tensor *out, struct emac_err *err)
{
    struct cpu *cpu = cpu_of(dev);
    cpu->ran_finite = false;
    enum emac_status st = cpu_run(cpu, op, attrs, in, out, err);
    dev->ran_finite = cpu->ran_finite;
    return st;
}

static enum emac_status add(struct device *dev, float *dst, const float *a, const float *b,
                            size_t n, struct emac_err *err)
{
    cpu_add(cpu_of(dev), dst, a, b, n);
    return EMAC_OK;
}

static enum emac_status finite(struct device *dev, size_t count, const struct tensor *x, bool *out,
                               struct emac_err *err)
{
    size_t n = 0;
    *out = true;
    for (size_t i = 0; i < count && *out; i++) {
        shape_count(&x[i].shape, &n);
        if (x[i].dtype == DTYPE_F32)
            *out = cpu_check_finite(cpu_of(dev), x[i].data, n) == n;
        else if (x[i].dtype == DTYPE_BF16)
            *out = ref_bf16_finite(x[i].data, n);
    }
    return EMAC_OK;
}

static enum emac_status widen(struct device *dev, float *dst, const uint16_t *src, size_t n,
                              struct emac_err *err)
{
    cpu_widen(cpu_of(dev), dst, src, n);
    return EMAC_OK;
}

static enum emac_status narrow(struct device *dev, uint16_t *dst, const float *src, size_t n,
                               struct emac_err *err)
{
    cpu_narrow(cpu_of(dev), dst, src, n);
    return EMAC_OK;
}

static enum emac_status decode(struct device *dev, const struct attention_decode *d,
                               struct emac_err *err)
{
    return cpu_attention_decode(cpu_of(dev), d, err);
}

static enum emac_status embed_grad_add(struct device *dev, const struct tensor *ids,
                                       const struct tensor *dy, struct tensor *table,
                                       struct emac_err *err)
{
    struct cpu *cpu = cpu_of(dev);
    cpu->ran_finite = false;
    enum emac_status st = cpu_embed_grad_add(cpu, ids, dy, table, err);
    dev->ran_finite = cpu->ran_finite;
    return st;
}

static const struct device_class cpu_class = {.is_host = true,
                                              .close = close_cpu,
                                              .run = run,
                                              .add = add,
                                              .finite = finite,
                                              .widen = widen,
                                              .narrow = narrow,
                                              .decode = decode,
                                              .embed_grad_add = embed_grad_add};

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
    struct cpu_device *dev;
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
    if (isa == ISA_REF)
        return ref_device_open(out, err);
    st = emac_alloc(&dev, 1, sizeof *dev, err);
    if (st != EMAC_OK)
        return st;
    isa = isa == ISA_BEST ? isa_best() : isa;
    dev->device.class = &cpu_class;
    dev->device.kind = isa_name(isa);
    dev->device.threads = threads;
    snprintf(dev->device.name, sizeof dev->device.name, "cpu/%s x%u", isa_name(isa), threads);
    device_memory_host(&dev->device);
    cpu_init(&dev->cpu, isa, threads);
    *out = &dev->device;
    return EMAC_OK;
}

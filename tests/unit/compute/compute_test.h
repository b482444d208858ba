/* What the tests of compute/ share: devices of every kind this processor has,
 * tensors with reproducible contents, and comparison of bits. */
#ifndef EMAC_TESTS_COMPUTE_TEST_H
#define EMAC_TESTS_COMPUTE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/philox.h"
#include "compute/device.h"
#include "compute/fn.h"
#include "compute/opencl/cl_impl.h"

#define TEST_SEED 20240

static inline uint32_t test_word(uint32_t stream, uint64_t i)
{
    uint32_t out[4];
    philox_at(TEST_SEED, PHILOX_TEST, stream, i / 4, out);
    return out[i % 4];
}

/* About N(0,1), by the sum of four uniform numbers. */
static inline float test_normal(uint32_t stream, uint64_t i)
{
    uint32_t out[4];
    double sum = 0;
    philox_at(TEST_SEED, PHILOX_TEST, stream, i, out);
    for (int w = 0; w < 4; w++)
        sum += out[w] * 0x1p-32 - 0.5;
    return (float)(sum * 1.7320508);
}

static inline struct tensor test_tensor(enum dtype dtype, struct shape shape)
{
    struct tensor t = {dtype, shape, NULL};
    size_t bytes = 0;
    assert_true(shape_bytes(dtype, &shape, &bytes));
    t.data = malloc(bytes);
    assert_non_null(t.data);
    return t;
}

static inline size_t test_count(const struct tensor *t)
{
    size_t n = 0;
    assert_true(shape_count(&t->shape, &n));
    return n;
}

static inline struct tensor test_normal_tensor(struct shape shape, uint32_t stream)
{
    struct tensor t = test_tensor(DTYPE_F32, shape);
    for (size_t i = 0; i < test_count(&t); i++)
        ((float *)t.data)[i] = test_normal(stream, i);
    return t;
}

static inline struct tensor test_ids(size_t n, uint32_t limit, uint32_t stream)
{
    struct tensor t = test_tensor(DTYPE_I32, SHAPE1(n));
    for (size_t i = 0; i < n; i++)
        ((int32_t *)t.data)[i] = (int32_t)(test_word(stream, i) % limit);
    return t;
}

/* Infer, allocate and run; the outputs are the caller's to free. */
static inline void test_run(struct device *dev, enum op op, const struct op_attrs *attrs,
                            const struct tensor *in, struct tensor *out)
{
    struct emac_err err = {0};
    if (op_infer(op, attrs, in, out, &err) != EMAC_OK)
        fail_msg("%s", err.text);
    for (uint32_t i = 0; i < op_info(op)->outputs; i++)
        out[i] = test_tensor(out[i].dtype, out[i].shape);
    if (device_run_host(dev, op, attrs, in, out, &err) != EMAC_OK)
        fail_msg("%s", err.text);
}

/* n floats on the device, the caller's to give back with device_free; and back to the host. */
static inline float *test_put(struct device *dev, const float *x, size_t n)
{
    float *at;
    assert_int_equal(device_alloc(dev, n * sizeof *x, &at, NULL), EMAC_OK);
    assert_int_equal(device_write(dev, at, x, n * sizeof *x, NULL), EMAC_OK);
    return at;
}

static inline void test_get(struct device *dev, float *x, const float *at, size_t n)
{
    assert_int_equal(device_read(dev, x, at, n * sizeof *x, NULL), EMAC_OK);
}

/* docs/numerics.md, found from where this file was compiled; the caller frees it. NULL when the
 * sources are gone. */
static inline char *test_numerics_page(void)
{
    char path[1024], *text = calloc(1, 1 << 16);
    const char *end = strstr(__FILE__, "tests/unit");
    snprintf(path, sizeof path, "%.*sdocs/numerics.md", (int)(end - __FILE__), __FILE__);
    FILE *f = fopen(path, "r");
    if (!f || fread(text, 1, (1 << 16) - 1, f) == 0) {
        free(text);
        text = NULL;
    }
    if (f)
        fclose(f);
    return text;
}

static inline void tensors_free(struct tensor *t, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        free(t[i].data);
}

/* Bitwise, but any NaN equals any NaN (rule 11). Index of the first difference, or n. */
static inline size_t test_differ(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (fn_bits(a[i]) != fn_bits(b[i]) && !(a[i] != a[i] && b[i] != b[i]))
            return i;
    return n;
}

#define TEST_THREADS_MAX 3

/* fast[isa][threads - 1]; NULL where the processor lacks the instructions, which is said once.
 * opencl: the first device as it is, and with the other layout of work (ops.h); NULL without one.
 */
struct test_devices {
    struct device *ref, *fast[ISA_COUNT][TEST_THREADS_MAX], *opencl[2];
};

/* Device i of those, but for ref, that run the operator; NULL after the last. */
static inline struct device *test_device(const struct test_devices *d, enum op op, size_t i)
{
    for (int isa = ISA_PORTABLE; isa < ISA_COUNT; isa++)
        for (uint32_t t = 0; t < TEST_THREADS_MAX; t++)
            if (d->fast[isa][t] != NULL && i-- == 0)
                return d->fast[isa][t];
    for (int o = 0; o < 2; o++)
        if (d->opencl[o] != NULL && cl_op_table[op] != NULL && i-- == 0)
            return d->opencl[o];
    return NULL;
}

static inline void test_opencl_open(struct test_devices *d)
{
    struct emac_err err;
    for (int o = 0; o < 2; o++) {
        if (device_opencl_open("0", &d->opencl[o], &err) != EMAC_OK) {
            printf("# opencl: not tested, %s\n", err.text);
            return;
        }
        ((struct cl *)d->opencl[o])->limits.is_cpu ^= o == 1;
    }
}

static inline void test_devices_open(struct test_devices *d)
{
    struct emac_err err = {0};
    memset(d, 0, sizeof *d);
    assert_int_equal(device_cpu_open(ISA_REF, 1, &d->ref, &err), EMAC_OK);
    for (int isa = ISA_PORTABLE; isa < ISA_COUNT; isa++) {
        if (!isa_supported((enum isa)isa)) {
            printf("# %s: not tested, this processor lacks the instructions\n",
                   isa_name((enum isa)isa));
            continue;
        }
        for (uint32_t t = 0; t < TEST_THREADS_MAX; t++)
            assert_int_equal(device_cpu_open((enum isa)isa, t + 1, &d->fast[isa][t], &err),
                             EMAC_OK);
    }
    test_opencl_open(d);
}

static inline void test_devices_close(struct test_devices *d)
{
    device_close(d->ref);
    device_close(d->opencl[0]);
    device_close(d->opencl[1]);
    for (int isa = 0; isa < ISA_COUNT; isa++)
        for (int t = 0; t < TEST_THREADS_MAX; t++)
            device_close(d->fast[isa][t]);
}

#endif

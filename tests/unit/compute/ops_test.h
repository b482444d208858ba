/* What the tables of operators share: a case runs on ref and on every other device. */
#ifndef EMAC_TESTS_OPS_TEST_H
#define EMAC_TESTS_OPS_TEST_H

#include "compute_test.h"

static struct test_devices devices;

/* Index of the first element of another value, or their number. */
static inline size_t first_difference(const struct tensor *a, const struct tensor *b)
{
    size_t n = test_count(a), at = 0;
    const uint8_t *x = a->data, *y = b->data;
    if (a->dtype != DTYPE_U8)
        return test_differ(a->data, b->data, n);
    while (at < n && x[at] == y[at])
        at++;
    return at;
}

/* What a failure shows of it. */
static inline double element(const struct tensor *t, size_t i)
{
    return t->dtype == DTYPE_U8 ? ((uint8_t *)t->data)[i] : (double)((float *)t->data)[i];
}

/* Run on ref and on all others, and compare; keeps ref's outputs in `keep` if given. */
static inline void check(const char *what, enum op op, const struct op_attrs *attrs,
                         struct tensor *in, struct tensor *keep)
{
    struct tensor want[OP_OUT_MAX], got[OP_OUT_MAX];
    const struct op_info *info = op_info(op);
    struct device *dev;
    test_run(devices.ref, op, attrs, in, want);
    for (size_t i = 0; (dev = test_device(&devices, op, i)) != NULL; i++) {
        test_run(dev, op, attrs, in, got);
        for (uint32_t o = 0; o < info->outputs; o++) {
            size_t at = first_difference(&want[o], &got[o]);
            if (at != test_count(&want[o]))
                fail_msg("%s %s on %s: output %u[%zu] is %a, ref has %a", info->name, what,
                         device_name(dev), o, at, element(&got[o], at), element(&want[o], at));
        }
        tensors_free(got, info->outputs);
    }
    if (keep)
        memcpy(keep, want, info->outputs * sizeof *want);
    else
        tensors_free(want, info->outputs);
}

static inline const char *sizes(size_t a, size_t b, size_t c)
{
    static char text[96];
    snprintf(text, sizeof text, "(%zu, %zu, %zu)", a, b, c);
    return text;
}

static inline int open_all(void **state)
{
    test_devices_open(&devices);
    return 0;
}

static inline int close_all(void **state)
{
    test_devices_close(&devices);
    return 0;
}

#endif

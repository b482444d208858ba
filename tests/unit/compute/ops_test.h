/* What the tables of operators share: a case runs on ref and on every other device. */
#ifndef EMAC_TESTS_OPS_TEST_H
#define EMAC_TESTS_OPS_TEST_H

#include "compute_test.h"

static struct test_devices devices;

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
            size_t n = test_count(&want[o]), at = test_differ(want[o].data, got[o].data, n);
            if (at != n)
                fail_msg("%s %s on %s: output %u[%zu] is %a, ref has %a", info->name, what,
                         device_name(dev), o, at, (double)((float *)got[o].data)[at],
                         (double)((float *)want[o].data)[at]);
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

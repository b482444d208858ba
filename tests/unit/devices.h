/* Devices that tests compute on. */
#ifndef EMAC_TESTS_DEVICES_H
#define EMAC_TESTS_DEVICES_H

#include "asserts.h"
#include "compute/device.h"

static inline struct device *ref_device(void)
{
    struct device *dev;

    ASSERT_OK(device_cpu_open(ISA_REF, 1, &dev, err));
    return dev;
}

/* The fastest there is; must give the bits of the reference. */
static inline struct device *best_device(void)
{
    struct device *dev;

    ASSERT_OK(device_cpu_open(ISA_BEST, 2, &dev, err));
    return dev;
}

#endif

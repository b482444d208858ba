/* For programs that test nothing without an OpenCL device: said in the words of TAP, so that the
 * runner counts them as skipped. */
#ifndef EMAC_TESTS_OPENCL_THERE_H
#define EMAC_TESTS_OPENCL_THERE_H

#include <stdbool.h>
#include <stdio.h>

#include "compute/device.h"

static inline bool opencl_there(void)
{
    struct device_found found;
    if (device_opencl_list(&found, 1) == 1)
        return true;
    printf("1..0 # SKIP this machine has no OpenCL device\n");
    return false;
}

#endif

/* The operators' host sides. Each queues kernels of kernels/ and returns; shapes were checked. */
#ifndef EMAC_COMPUTE_OPENCL_OPS_H
#define EMAC_COMPUTE_OPENCL_OPS_H

#include "compute/opencl/cl.h"

cl_op_fn cl_op_add;

#endif

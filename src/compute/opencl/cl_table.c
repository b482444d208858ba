/* Which operators run on OpenCL. */
#include "compute/opencl/ops.h"

cl_op_fn *const cl_op_table[OP_COUNT] = {
    [OP_ADD] = cl_op_add,
};

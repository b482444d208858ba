/* Element-wise operators: kernels/pointwise.cl. */
#include "base/assert.h"
#include "compute/opencl/ops.h"

#define GROUP 64

static size_t count_of(const struct tensor *t)
{
    size_t n = 0;
    bool ok = shape_count(&t->shape, &n);
    EMAC_ASSERT(ok);
    return n;
}

enum emac_status cl_add(struct cl *cl, float *dst, const float *a, const float *b, size_t n,
                        struct emac_err *err)
{
    const struct cl_arg arg[] = {cl_memory_arg(dst), cl_memory_arg(a), cl_memory_arg(b),
                                 cl_u64_arg(n)};
    const struct cl_call call = {.program = "pointwise",
                                 .kernel = "add",
                                 .defines = "",
                                 .dims = 1,
                                 .global = {(n + GROUP - 1) / GROUP * GROUP},
                                 .local = {GROUP},
                                 .arg = arg,
                                 .args = EMAC_COUNT(arg)};
    return cl_call(cl, &call, err);
}

enum emac_status cl_op_add(struct cl *cl, const struct op_attrs *attrs, const struct tensor *in,
                           struct tensor *out, struct emac_err *err)
{
    return cl_add(cl, out[0].data, in[0].data, in[1].data, count_of(&out[0]), err);
}

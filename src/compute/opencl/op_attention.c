/* Attention. */
#include "compute/opencl/ops.h"

enum emac_status cl_attention_decode(struct cl *cl, const struct attention_decode *d,
                                     struct emac_err *err)
{
    return emac_fail(err, EMAC_UNSUPPORTED, "attention_decode cannot run on OpenCL");
}

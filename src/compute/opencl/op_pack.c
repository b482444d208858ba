/* Numbers for thin links: kernels/pack.cl. */
#include "base/assert.h"
#include "compute/opencl/ops.h"
#include "compute/pack.h"

static struct pack begin(struct launch *l, struct cl *cl, const char *ints, const char *top,
                         const struct op_attrs *attrs)
{
    struct pack p;
    bool ok = pack_make(attrs->at[0].i, attrs->at[1].i, &p);
    EMAC_ASSERT(ok);
    launch_begin(l, cl, "pack", p.format == PACK_TOP ? top : ints);
    launch_define(l, "FORMAT", p.format);
    launch_define(l, "KEEP", p.keep);
    return p;
}

enum emac_status cl_op_pack(struct cl *cl, const struct op_attrs *attrs, const struct tensor *in,
                            struct tensor *out, struct emac_err *err)
{
    struct launch l;
    size_t n = cl_count(&in[0]), blocks = out[0].shape.dim[0];
    struct pack p = begin(&l, cl, "pack_ints", "pack_top", attrs);
    launch_memory(&l, in[0].data);
    launch_memory(&l, out[0].data);
    if (p.format != PACK_TOP) {
        launch_each(&l, blocks, 1);
        launch_number(&l, n);
        return launch_items(&l, err);
    }
    launch_number(&l, n);
    launch_team(&l);
    launch_local(&l, p.keep * sizeof(uint16_t));
    return launch_rows(&l, blocks, 1, err);
}

enum emac_status cl_op_unpack(struct cl *cl, const struct op_attrs *attrs, const struct tensor *in,
                              struct tensor *out, struct emac_err *err)
{
    struct launch l;
    size_t n = cl_count(&out[0]), blocks = in[0].shape.dim[0];
    struct pack p = begin(&l, cl, "unpack_ints", "unpack_top", attrs);
    launch_memory(&l, in[0].data);
    launch_memory(&l, out[0].data);
    if (p.format != PACK_TOP) {
        launch_each(&l, blocks, 1);
        launch_number(&l, n);
        return launch_items(&l, err);
    }
    launch_number(&l, n);
    return launch_rows(&l, blocks, 1, err);
}

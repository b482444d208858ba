/* Numbers packed for thin links: blocks one after the other. */
#include "base/assert.h"
#include "compute/pack.h"
#include "compute/ref/ref.h"

static struct pack pack_of(const struct op_attrs *attrs)
{
    struct pack p;
    bool ok = pack_make(attrs->at[0].i, attrs->at[1].i, &p);
    EMAC_ASSERT(ok);
    return p;
}

static size_t numbers(const struct tensor *t)
{
    size_t n = 0;
    bool ok = shape_count(&t->shape, &n);
    EMAC_ASSERT(ok);
    return n;
}

void ref_pack_range(const struct op_attrs *attrs, const struct tensor *in, struct tensor *out,
                    size_t begin, size_t end)
{
    struct pack p = pack_of(attrs);
    size_t n = numbers(&in[0]), each = pack_block_elements(&p), bytes = pack_block_bytes(&p);
    for (size_t b = begin; b < end; b++) {
        size_t have = n - b * each < each ? n - b * each : each;
        pack_block_write(&p, (uint8_t *)out[0].data + b * bytes,
                         (const float *)in[0].data + b * each, have);
    }
}

void ref_unpack_range(const struct op_attrs *attrs, const struct tensor *in, struct tensor *out,
                      size_t begin, size_t end)
{
    struct pack p = pack_of(attrs);
    size_t n = numbers(&out[0]), each = pack_block_elements(&p), bytes = pack_block_bytes(&p);
    for (size_t b = begin; b < end; b++) {
        size_t have = n - b * each < each ? n - b * each : each;
        pack_block_read(&p, (const uint8_t *)in[0].data + b * bytes,
                        (float *)out[0].data + b * each, have);
    }
}

enum emac_status ref_pack(const struct op_attrs *attrs, const struct tensor *in, struct tensor *out,
                          struct emac_err *err)
{
    ref_pack_range(attrs, in, out, 0, out[0].shape.dim[0]);
    return EMAC_OK;
}

enum emac_status ref_unpack(const struct op_attrs *attrs, const struct tensor *in,
                            struct tensor *out, struct emac_err *err)
{
    ref_unpack_range(attrs, in, out, 0, in[0].shape.dim[0]);
    return EMAC_OK;
}

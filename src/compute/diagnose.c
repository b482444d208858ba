/* Ways in which arithmetic is known to differ from numerics version 1, each shown by one small
 * operator: where the digest only says that something is wrong, these say what. */
#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "compute/device.h"
#include "compute/fn.h"

#define SCALARS  4
#define TINY     0x1p-12f /* (1 + TINY)^2 needs one bit more than a binary32 has */
#define NEAR_ONE (1.0f + TINY)

/* Operator on up to three inputs; the first output's first number is `want`. */
struct discriminator {
    const char *wrong; /* what a device that gives another number does */
    enum op op;
    struct op_attrs attrs;
    struct shape shape[3];
    float in[3][SCALARS];
    uint32_t want; /* bits */
};

/* clang-format off */
#define ONE    {1, {1}}
#define ROW    {2, {1, 2}}
#define COLUMN {2, {2, 1}}
#define CELL   {2, {1, 1}}

static const struct discriminator table[] = {
    {"takes subnormal inputs for zero", OP_MUL, {{{0}}}, {ONE, ONE},
     {{0x1p-127f}, {2.0f}}, 0x00800000},
    {"takes subnormal inputs for zero", OP_ADD, {{{0}}}, {ONE, ONE},
     {{0x1p-127f}, {0x1.8p-126f}}, 0x01000000},
    {"flushes subnormal results to zero", OP_MUL, {{{0}}}, {ONE, ONE},
     {{0x1p-126f}, {0.5f}}, 0x00400000},
    {"flushes subnormal results to zero", OP_MATMUL, {{{0}}}, {CELL, CELL},
     {{0x1p-126f}, {0.5f}}, 0x00400000},
    {"rounds the product of an fma", OP_MATMUL, {{{0}}}, {ROW, COLUMN},
     {{1.0f, NEAR_ONE}, {-1.0f, NEAR_ONE}}, 0x3a000400},
    /* x0 c - x1 s, once with either product inexact */
    {"contracts a product and a sum", OP_ROPE, {{{.i = 1}, {.i = 0}}}, {ROW, CELL, CELL},
     {{NEAR_ONE, 1.0f}, {NEAR_ONE}, {1.0f}}, 0x3a000000},
    {"contracts a product and a sum", OP_ROPE, {{{.i = 1}, {.i = 0}}}, {ROW, CELL, CELL},
     {{1.0f, NEAR_ONE}, {1.0f}, {NEAR_ONE}}, 0xba000000},
    {"does not round ties to even", OP_ADD, {{{0}}}, {ONE, ONE},
     {{1.0f}, {0x1p-24f}}, 0x3f800000},
    {"does not round ties to even", OP_ADD, {{{0}}}, {ONE, ONE},
     {{0x1.000002p0f}, {0x1p-24f}}, 0x3f800002},
    {"does not round to nearest", OP_ADD, {{{0}}}, {ONE, ONE},
     {{-1.0f}, {-0x1.8p-24f}}, 0xbf800001},
    {"loses the sign of zero", OP_MUL, {{{0}}}, {ONE, ONE},
     {{-0.0f}, {1.0f}}, 0x80000000},
};
/* clang-format on */

static enum emac_status shows(struct device *dev, const struct discriminator *d, bool *out,
                              struct emac_err *err)
{
    float data[SCALARS], in_data[3][SCALARS];
    struct tensor in[3], made[OP_OUT_MAX];
    enum emac_status st;
    memcpy(in_data, d->in, sizeof in_data);
    for (uint32_t i = 0; i < 3; i++)
        in[i] = (struct tensor){DTYPE_F32, d->shape[i], in_data[i]};
    st = op_infer(d->op, &d->attrs, in, made, err);
    EMAC_ASSERT(st == EMAC_OK && op_info(d->op)->outputs == 1);
    made[0].data = data;
    st = device_run_host(dev, d->op, &d->attrs, in, made, err);
    *out = st == EMAC_OK && fn_bits(data[0]) != d->want;
    return st;
}

enum emac_status device_diagnose(struct device *dev, const char **out, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    bool found = false;
    *out = NULL;
    for (size_t i = 0; i < EMAC_COUNT(table) && st == EMAC_OK && !found; i++) {
        st = shows(dev, &table[i], &found, err);
        *out = found ? table[i].wrong : NULL;
    }
    return st;
}

enum emac_status device_admit(struct device *dev, char digest[65], struct emac_err *err)
{
    uint8_t bytes[32];
    const char *wrong;
    enum emac_status st = device_conformance(dev, bytes, err);
    if (st != EMAC_OK)
        return emac_wrap(err, "the conformance program");
    emac_hex(digest, bytes, sizeof bytes);
    if (strcmp(digest, CONFORMANCE_DIGEST) == 0)
        return EMAC_OK;
    st = device_diagnose(dev, &wrong, err);
    if (st != EMAC_OK)
        return st;
    return emac_fail(err, EMAC_UNSUPPORTED,
                     "device '%s' %s: it does not hold numerics version 1 and gets no paid work; "
                     "try another driver",
                     device_name(dev),
                     wrong != NULL ? wrong : "does not give the published conformance digest");
}

/* The conformance program (rule 12): the cases of op_cases.h. The digest is a
 * chain: h = SHA-256(h, SHA-256(output)) over all outputs in order, NaN bits
 * made equal first. OP_CASES_FIRST and `decodes`, what version 1 began with,
 * have a digest of their own that never moves. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "compute/device.h"
#include "compute/fn.h"
#include "compute/op_cases.h"
#include "crypto/crypto.h"

const char CONFORMANCE_DIGEST_FIRST[] =
    "6ef46e363fccb51e6de474eacd61e6a592a33f898219122937513209c23b47a6";
const char CONFORMANCE_DIGEST[] =
    "a6b998cc59e54ea13ba76bdfa0a231dc0f2652b6d862a33a69a14d4fecbe8c02";

/* Decode: {heads, kv_heads, head_dim, len} */
static const uint32_t decodes[][4] = {{4, 2, 20, 1}, {14, 1, 32, 257}, {3, 3, 7, 300}};

static void digest_bytes(uint8_t digest[32], const void *data, size_t n)
{
    uint8_t both[64];
    memcpy(both, digest, 32);
    crypto_sha256(both + 32, data, n);
    crypto_sha256(digest, both, sizeof both);
}

static void digest_floats(uint8_t digest[32], float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] != x[i] ? fn_float(FN_NAN) : x[i];
    digest_bytes(digest, x, n * sizeof *x);
}

/* n bf16 in place become n binary32, last one first. */
static void widen(struct tensor *t, size_t n)
{
    for (size_t i = n; i-- > 0;)
        ((float *)t->data)[i] = fn_from_bf16(((const uint16_t *)t->data)[i]);
    t->dtype = DTYPE_F32;
}

static enum emac_status run_case(struct device *dev, const struct op_case *c, uint32_t stream,
                                 uint8_t digest[32], struct emac_err *err)
{
    struct tensor in[OP_IN_MAX] = {{0}}, out[OP_OUT_MAX] = {{0}};
    const struct op_info *info = op_info(c->op);
    enum emac_status st;
    size_t n = 0;
    EMAC_TRY(st, op_case_inputs(c, stream, in, err));
    EMAC_TRY(st, op_case_outputs(c, in, out, err));
    EMAC_TRY(st, device_run_host(dev, c->op, &c->attrs, in, out, err));
    for (uint32_t i = 0; i < info->outputs; i++) {
        shape_count(&out[i].shape, &n);
        if (out[i].dtype == DTYPE_BF16)
            widen(&out[i], n);
        if (out[i].dtype == DTYPE_U8)
            digest_bytes(digest, out[i].data, n);
        else
            digest_floats(digest, out[i].data, n);
    }
out:
    op_case_release(in, OP_IN_MAX);
    op_case_release(out, OP_OUT_MAX);
    return st;
}

static enum emac_status run_decode(struct device *dev, const uint32_t d[4], uint32_t stream,
                                   uint8_t digest[32], struct emac_err *err)
{
    static const struct op_case_input uniform = {FILL_UNIFORM, {0}, 0};
    size_t heads = d[0], kv_heads = d[1], head_dim = d[2], len = d[3];
    size_t q = heads * head_dim, kv = len * kv_heads * head_dim, all = 2 * q + 2 * kv;
    float *x = NULL, *there = NULL; /* q, k, v, o */
    enum emac_status st;
    EMAC_TRY(st, emac_alloc(&x, all, sizeof *x, err));
    EMAC_TRY(st, device_alloc(dev, all * sizeof *x, &there, err));
    op_case_fill(x, q + 2 * kv, &uniform, stream * OP_IN_MAX);
    EMAC_TRY(st, device_write(dev, there, x, all * sizeof *x, err));
    EMAC_TRY(st, device_attention_decode(dev, there, there + q, there + q + kv, there + q + 2 * kv,
                                         len, 1, d[0], d[1], d[2], 0.25f, err));
    EMAC_TRY(st, device_read(dev, x, there + q + 2 * kv, q * sizeof *x, err));
    digest_floats(digest, x, q);
out:
    device_free(dev, there);
    free(x);
    return st;
}

static enum emac_status run_cases(struct device *dev, const struct op_case *c, size_t count,
                                  uint32_t *stream, uint8_t digest[32], struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; st == EMAC_OK && i < count; i++)
        st = run_case(dev, &c[i], (*stream)++, digest, err);
    return st;
}

static enum emac_status run_first(struct device *dev, uint32_t *stream, uint8_t digest[32],
                                  struct emac_err *err)
{
    enum emac_status st;
    memset(digest, 0, 32);
    st = run_cases(dev, OP_CASES_FIRST, OP_CASES_FIRST_COUNT, stream, digest, err);
    for (size_t i = 0; st == EMAC_OK && i < EMAC_COUNT(decodes); i++)
        st = run_decode(dev, decodes[i], (*stream)++, digest, err);
    return st;
}

enum emac_status device_conformance_first(struct device *dev, uint8_t digest[32],
                                          struct emac_err *err)
{
    uint32_t stream = 0;
    return run_first(dev, &stream, digest, err);
}

enum emac_status device_conformance(struct device *dev, uint8_t digest[32], struct emac_err *err)
{
    uint32_t stream = 0;
    enum emac_status st = run_first(dev, &stream, digest, err);
    if (st == EMAC_OK)
        st = run_cases(dev, OP_CASES_LATER, OP_CASES_LATER_COUNT, &stream, digest, err);
    return st;
}

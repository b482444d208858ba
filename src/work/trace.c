#include "work/trace.h"

#include <string.h>

#include "base/assert.h"

/* The numbers of dtypes are part of the format. */
_Static_assert(DTYPE_F32 == 0 && DTYPE_I32 == 1 && DTYPE_U8 == 2 && DTYPE_BF16 == 3 &&
                   DTYPE_COUNT == 4,
               "a dtype is appended, and docs/protocol.md says its number");

/* ---- a leaf's bytes ---- */

static uint8_t *put(uint8_t *at, uint64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        at[i] = (uint8_t)(v >> (8 * i));
    return at + bytes;
}

size_t trace_leaf_write(uint8_t out[TRACE_LEAF_BYTES_MAX], const struct trace_leaf *leaf)
{
    uint8_t *at = out;
    EMAC_ASSERT(leaf->kind < TRACE_KINDS && leaf->count > 0 && leaf->count <= OP_OUT_MAX);
    at = put(at, leaf->kind, 1);
    at = put(at, leaf->index, 8);
    at = put(at, leaf->node, 4);
    at = put(at, leaf->count, 1);
    for (uint32_t i = 0; i < leaf->count; i++) {
        const struct trace_value *v = &leaf->value[i];
        EMAC_ASSERT(v->shape.rank <= TENSOR_RANK_MAX);
        at = put(at, v->dtype, 1);
        at = put(at, v->shape.rank, 1);
        for (uint32_t k = 0; k < v->shape.rank; k++)
            at = put(at, v->shape.dim[k], 8);
        memcpy(at, v->digest, SHA256_BYTES);
        at += SHA256_BYTES;
    }
    return (size_t)(at - out);
}

struct reader {
    const uint8_t *at;
    size_t left;
    bool bad;
};

static uint64_t take(struct reader *r, size_t bytes)
{
    uint64_t v = 0;
    if (r->bad || r->left < bytes) {
        r->bad = true;
        return 0;
    }
    for (size_t i = 0; i < bytes; i++)
        v |= (uint64_t)r->at[i] << (8 * i);
    r->at += bytes;
    r->left -= bytes;
    return v;
}

static void value_read(struct reader *r, struct trace_value *v)
{
    size_t bytes;
    v->dtype = (enum dtype)take(r, 1);
    v->shape.rank = (uint32_t)take(r, 1);
    if (v->dtype >= DTYPE_COUNT || v->shape.rank == 0 || v->shape.rank > TENSOR_RANK_MAX) {
        r->bad = true;
        return;
    }
    for (uint32_t k = 0; k < v->shape.rank; k++)
        v->shape.dim[k] = take(r, 8);
    if (r->bad || r->left < SHA256_BYTES || !shape_bytes(v->dtype, &v->shape, &bytes)) {
        r->bad = true;
        return;
    }
    memcpy(v->digest, r->at, SHA256_BYTES);
    r->at += SHA256_BYTES;
    r->left -= SHA256_BYTES;
}

enum emac_status trace_leaf_read(struct trace_leaf *out, const uint8_t *data, size_t n,
                                 struct emac_err *err)
{
    struct reader r = {data, n, false};
    *out = (struct trace_leaf){0};
    out->kind = (enum trace_kind)take(&r, 1);
    out->index = take(&r, 8);
    out->node = (uint32_t)take(&r, 4);
    out->count = (uint32_t)take(&r, 1);
    r.bad = r.bad || out->kind >= TRACE_KINDS || out->index >= TRACE_LEAVES_MAX ||
            out->count == 0 || out->count > OP_OUT_MAX;
    for (uint32_t i = 0; i < out->count && !r.bad; i++)
        value_read(&r, &out->value[i]);
    if (r.bad || r.left != 0)
        return emac_fail(err, EMAC_INVALID, "%zu bytes are not a leaf of a trace", n);
    return EMAC_OK;
}

/* ---- hashes ---- */

void trace_leaf_hash(uint8_t out[SHA256_BYTES], const struct trace_leaf *leaf)
{
    uint8_t bytes[1 + TRACE_LEAF_BYTES_MAX] = {0x00};
    size_t n = trace_leaf_write(bytes + 1, leaf);
    crypto_sha256(out, bytes, n + 1);
}

void trace_node_hash(uint8_t out[SHA256_BYTES], const uint8_t left[SHA256_BYTES],
                     const uint8_t right[SHA256_BYTES])
{
    uint8_t bytes[1 + 2 * SHA256_BYTES] = {0x01};
    memcpy(bytes + 1, left, SHA256_BYTES);
    memcpy(bytes + 1 + SHA256_BYTES, right, SHA256_BYTES);
    crypto_sha256(out, bytes, sizeof bytes);
}

uint64_t trace_left(uint64_t count)
{
    EMAC_ASSERT(count > 1);
    return UINT64_C(1) << (63 - __builtin_clzll(count - 1));
}

/* ---- the tree ---- */

void trace_init(struct trace *t)
{
    emac_buf_init(&t->hashes, TRACE_LEAVES_MAX * SHA256_BYTES);
}

void trace_release(struct trace *t)
{
    emac_buf_release(&t->hashes);
}

uint64_t trace_count(const struct trace *t)
{
    return t->hashes.len / SHA256_BYTES;
}

enum emac_status trace_add(struct trace *t, const struct trace_leaf *leaf, struct emac_err *err)
{
    uint8_t hash[SHA256_BYTES];
    EMAC_ASSERT(leaf->index == trace_count(t));
    trace_leaf_hash(hash, leaf);
    enum emac_status st = emac_buf_append(&t->hashes, hash, sizeof hash, err);
    return st == EMAC_OK ? st : emac_wrap(err, "the trace of a task");
}

void trace_hash(const struct trace *t, uint64_t first, uint64_t count, uint8_t out[SHA256_BYTES])
{
    uint8_t left[SHA256_BYTES], right[SHA256_BYTES];
    EMAC_ASSERT(count > 0 && first + count <= trace_count(t));
    if (count == 1) {
        memcpy(out, t->hashes.data + first * SHA256_BYTES, SHA256_BYTES);
        return;
    }
    uint64_t half = trace_left(count);
    trace_hash(t, first, half, left);
    trace_hash(t, first + half, count - half, right);
    trace_node_hash(out, left, right);
}

uint32_t trace_path(const struct trace *t, uint64_t index, uint8_t out[][SHA256_BYTES])
{
    uint64_t first = 0, count = trace_count(t);
    uint32_t n = 0;
    EMAC_ASSERT(index < count);
    for (; count > 1; n++) { /* from the root down */
        uint64_t half = trace_left(count);
        bool right = index - first >= half;
        EMAC_ASSERT(n < TRACE_PATH_MAX);
        if (right)
            trace_hash(t, first, half, out[n]);
        else
            trace_hash(t, first + half, count - half, out[n]);
        first += right ? half : 0;
        count = right ? count - half : half;
    }
    for (uint32_t i = 0; i < n / 2; i++) {
        uint8_t other[SHA256_BYTES];
        memcpy(other, out[i], SHA256_BYTES);
        memcpy(out[i], out[n - 1 - i], SHA256_BYTES);
        memcpy(out[n - 1 - i], other, SHA256_BYTES);
    }
    return n;
}

bool trace_path_holds(const struct trace_leaf *leaf, uint64_t total, const uint8_t *root,
                      const uint8_t (*path)[SHA256_BYTES], uint32_t length)
{
    bool right[TRACE_PATH_MAX];
    uint8_t hash[SHA256_BYTES];
    uint64_t index = leaf->index, count = total;
    uint32_t n = 0;
    if (index >= total || total > TRACE_LEAVES_MAX)
        return false;
    for (; count > 1; n++) {
        uint64_t half = trace_left(count);
        right[n] = index >= half;
        index -= right[n] ? half : 0;
        count = right[n] ? count - half : half;
    }
    if (n != length)
        return false;
    trace_leaf_hash(hash, leaf);
    for (uint32_t i = 0; i < n; i++) {
        if (right[n - 1 - i])
            trace_node_hash(hash, path[i], hash);
        else
            trace_node_hash(hash, hash, path[i]);
    }
    return memcmp(hash, root, SHA256_BYTES) == 0;
}

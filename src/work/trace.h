/* The trace of a task: a Merkle tree over what each of its operators gave. Two
 * rigs that differ about a task find the first operator at which they differ
 * in log2(leaves) questions, and only that one has to be judged
 * (work/dispute.h).
 *
 * TRACE-1  The leaves follow from the task alone: the same number in the same
 *          order, and, computed rightly, of the same bytes, on any device.
 * TRACE-2  A root stands for one sequence of leaves: leaves and inner nodes are
 *          hashed apart, and a path is checked against the number of leaves.
 *
 * Leaves, in the order of execution (node/exec_trace.h makes them):
 *   operator  a node of a graph, whenever the graph runs: for each micro-batch, part or step.
 *             `node` is its number in the graph. Views of the same bytes are left out.
 *   sum       a tensor of an addition in the fixed tree (numerics rule 6), or of steps' metrics;
 *             `node` is its place in the bundle that is added.
 *   output    a bundle that the task gives, `node` its number, by name: one u8 value with as many
 *             elements as the file has bytes and the digest of its CID.
 *
 * A leaf's bytes: kind u8, index u64, node u32, number of values u8; then for each value dtype u8,
 * rank u8, that many dimensions u64, and the SHA-256 of its bytes. Numbers are little-endian, as
 * the values' bytes are. In these each NaN counts as the quiet one with no payload, because
 * numerics rule 11 does not say which it is.
 *
 * The tree is that of RFC 6962 (Certificate Transparency), 2.1: a leaf's hash is SHA-256(0x00 ||
 * bytes), a node's SHA-256(0x01 || left || right); of n > 1 leaves the left half has the largest
 * power of two that is less than n. */
#ifndef EMAC_WORK_TRACE_H
#define EMAC_WORK_TRACE_H

#include "base/buf.h"
#include "compute/op.h"
#include "crypto/crypto.h"

#define TRACE_LEAVES_MAX     (UINT64_C(1) << 24)
#define TRACE_PATH_MAX       24 /* hashes of a path: log2 of it */
#define TRACE_LEAF_BYTES_MAX (14 + OP_OUT_MAX * (2 + TENSOR_RANK_MAX * 8 + SHA256_BYTES))

enum trace_kind { TRACE_OPERATOR, TRACE_SUM, TRACE_OUTPUT, TRACE_KINDS };

struct trace_value {
    enum dtype dtype;
    struct shape shape;
    uint8_t digest[SHA256_BYTES];
};
struct trace_leaf {
    enum trace_kind kind;
    uint64_t index;
    uint32_t node, count;
    struct trace_value value[OP_OUT_MAX];
};

/* Bytes of a leaf; returns how many. */
size_t trace_leaf_write(uint8_t out[TRACE_LEAF_BYTES_MAX], const struct trace_leaf *leaf);
/* INVALID unless the bytes are what trace_leaf_write gives for some leaf. */
enum emac_status trace_leaf_read(struct trace_leaf *out, const uint8_t *data, size_t n,
                                 struct emac_err *err);
void trace_leaf_hash(uint8_t out[SHA256_BYTES], const struct trace_leaf *leaf);
void trace_node_hash(uint8_t out[SHA256_BYTES], const uint8_t left[SHA256_BYTES],
                     const uint8_t right[SHA256_BYTES]);
/* Leaves of the left half; count > 1. */
uint64_t trace_left(uint64_t count);

struct trace {
    struct emac_buf hashes; /* of the leaves */
};
void trace_init(struct trace *t);
void trace_release(struct trace *t);
/* The next leaf. TOO_LARGE past TRACE_LEAVES_MAX. */
enum emac_status trace_add(struct trace *t, const struct trace_leaf *leaf, struct emac_err *err);
uint64_t trace_count(const struct trace *t);
/* Root of the tree over leaves [first, first + count), which are there; count > 0. */
void trace_hash(const struct trace *t, uint64_t first, uint64_t count, uint8_t out[SHA256_BYTES]);
/* From the leaf up: the sibling of each node on the way to the root. Returns how many. */
uint32_t trace_path(const struct trace *t, uint64_t index, uint8_t out[][SHA256_BYTES]);
/* Does the path lead from this leaf, at its index, to the root of `count` leaves? */
bool trace_path_holds(const struct trace_leaf *leaf, uint64_t count, const uint8_t *root,
                      const uint8_t (*path)[SHA256_BYTES], uint32_t length);

#endif

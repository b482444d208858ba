/* The fixed binary tree of numerics rule 6 over micro-batches [0, total).
 *
 * With P the least power of two >= total, the root is [0, P) and a node
 * [lo, lo + size) has the halves [lo, lo + size/2) and [lo + size/2, lo + size).
 * What lies past total is absent: a node with an absent right half has the
 * value of its left half, any other the rounded sum left + right. So the sum
 * is one fixed expression, and any set of nodes that tiles [0, total) leads to
 * it. A range names a node by what it holds of [0, total): {first, count} with
 * count a power of two and first a multiple of it, or, at the ragged right
 * edge, a node cut at total. Only nodes of the former kind are handed out. */
#ifndef EMAC_WORK_TREE_H
#define EMAC_WORK_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TREE_WORKERS_MAX 4096

struct tree_range {
    uint32_t first, count;
};

/* A node of the tree over [0, total): count a power of two, first a multiple of it, and
 * first + count <= total, or the node is the ragged right edge cut at total. */
bool tree_is_node(struct tree_range r, uint32_t total);
/* Do the ranges, in the order given, tile [0, total) exactly, each of them a node? */
bool tree_is_cover(const struct tree_range *range, uint32_t count, uint32_t total);
/* The least set of nodes (counts that are powers of two) that covers [first, first+count), in
 * order; at most 64. What passes total is left out. Returns how many. */
uint32_t tree_decompose(uint32_t first, uint32_t count, uint32_t total, struct tree_range out[64]);
/* Cut [0, total) into one contiguous share a worker, so that the slowest finishes as early as can
 * be (share/speed; any positive unit of speed), then each share into nodes. owner[] names the
 * worker of each range. Shares are multiples of a power of two g <= total/(8 workers): a share off
 * by a few per cent costs less than the sums of many small nodes that must be moved. Workers past
 * TREE_WORKERS_MAX get none. Returns how many ranges; stops at cap. Deterministic. */
uint32_t tree_shares(uint32_t total, const double *speed, uint32_t workers, struct tree_range *out,
                     uint32_t *owner, uint32_t cap);
/* The same over the indices i of [0, total) with !taken[i] alone. */
uint32_t tree_shares_of_rest(uint32_t total, const bool *taken, const double *speed,
                             uint32_t workers, struct tree_range *out, uint32_t *owner,
                             uint32_t cap);
/* From ranges that are done (any order, overlaps allowed) choose nodes that cover [0,total)
 * exactly, larger nodes first; indices into done[] in order of first. Returns how many, 0 when not
 * covered. */
uint32_t tree_cover(const struct tree_range *done, uint32_t count, uint32_t total, uint32_t *pick,
                    uint32_t cap);
/* Sum in the tree: visit pairs to add. `add(ctx, into, from)` adds piece `from` into piece `into`
 * (indices of the given ranges, which cover [0,total) exactly in order: asserted); the whole ends
 * in piece 0. For a single range (a map task) call with ranges of count 1. Pieces are first touched
 * in order, and those touched but not yet added into another are never more than the tree is high.
 */
void tree_reduce(const struct tree_range *range, uint32_t count, uint32_t total,
                 void (*add)(void *ctx, uint32_t into, uint32_t from), void *ctx);

#endif

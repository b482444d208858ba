/* The fixed binary tree of numerics rule 6 over micro-batches [0, total). */
#ifndef EMAC_WORK_TREE_H
#define EMAC_WORK_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tree_range {
    uint32_t first, count;
};

/* A node of the tree over [0, total): count a power of two, first a multiple of it, and
 * first + count <= total, or the node is the ragged right edge cut at total. */
bool tree_is_node(struct tree_range r, uint32_t total);
/* The least set of nodes that covers [first, first+count), in order; at most 64. Returns how many. */
uint32_t tree_decompose(uint32_t first, uint32_t count, uint32_t total, struct tree_range out[64]);
/* Cut [0, total) into one contiguous share a worker, proportional to speed[] (any positive unit),
 * largest remainder first, then each share into nodes. owner[] names the worker of each range.
 * Returns how many ranges (<= cap). Deterministic. */
uint32_t tree_shares(uint32_t total, const double *speed, uint32_t workers, struct tree_range *out,
                     uint32_t *owner, uint32_t cap);
/* From ranges that are done (any order, overlaps allowed) choose nodes that cover [0,total) exactly,
 * larger nodes first; indices into done[] in order of first. Returns how many, 0 when not covered. */
uint32_t tree_cover(const struct tree_range *done, uint32_t count, uint32_t total, uint32_t *pick,
                    uint32_t cap);
/* Sum in the tree: visit pairs to add. `add(ctx, into, from)` adds piece `from` into piece `into`
 * (indices of the given ranges, which cover [0,total) exactly in order); the whole ends in piece 0.
 * For a single range (a map task) call with ranges of count 1. */
void tree_reduce(const struct tree_range *range, uint32_t count, uint32_t total,
                 void (*add)(void *ctx, uint32_t into, uint32_t from), void *ctx);

#endif

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
/* Who shares a sum, in any unit of work. Nonsense for a speed (zero, NaN, infinity) counts as very
 * slow, for work that comes before as none. */
struct tree_crew {
    uint32_t count;
    const double *speed; /* work in a unit of time */
    const double *busy;  /* work that each has to do before it begins; NULL: nobody has any */
};
/* Share out the indices i of [0, total) with !taken[i], `one` being the work of an index:
 * SHARE-1  The last to be done is done as early as can be: no worker would be done sooner with a
 *          unit more than the last one is. A worker that is busy for longer than that gets nothing.
 *          Units are of a power of two of indices, at most total / (32 workers).
 * SHARE-2  A share is cut into as few nodes as can be, larger ones before smaller ones: in an
 *          empty tree one for each bit of its number of units. For a node is a sum to be moved and
 *          added; and who begins with the large ones has small ones left at the end.
 * out[] are the nodes, the larger first, owner[] whose they are; taken[] has them marked. Workers
 * past TREE_WORKERS_MAX get none. Returns how many nodes; stops at cap. Deterministic. */
uint32_t tree_shares(uint32_t total, bool *taken, double one, const struct tree_crew *crew,
                     struct tree_range *out, uint32_t *owner, uint32_t cap);
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

/* Reading the chain: which events of our contracts are certain, and new. A pure
 * function of a cursor and of what the nodes answer; it keeps nothing. The
 * cursor is the last block whose events were taken, and lives in the database
 * beside the ledger (chain/book.h).
 *
 * FOLLOW-1  Only blocks that every node calls final are read: the "finalized"
 *           one, or on chains without finality `confirmations` below the
 *           latest. A reorganisation above that height is never seen.
 * FOLLOW-2  What is read begins at the cursor's block by hash and is linked to
 *           it parent by parent. A chain that no longer holds the cursor's block
 *           (a rewrite below the final height, or a lie) is refused for good:
 *           nothing is taken until a person has looked.
 * FOLLOW-3  Each log lies in a block of that chain by number and by hash, is not
 *           removed, is of one of our contracts, and comes once, in order.
 * FOLLOW-4  Each contract's events carry the numbers that follow the cursor's:
 *           a log that is withheld, made up or given twice breaks the count.
 * FOLLOW-5  All nodes agree on chain id, blocks and logs; else nothing is taken.
 * What one lying node alone can do is withhold the newest events, or invent a
 * chain from the cursor on: configure two nodes of different operators. */
#ifndef EMAC_CHAIN_FOLLOW_H
#define EMAC_CHAIN_FOLLOW_H

#include "chain/contracts.h"

#define CHAIN_NODES_MAX    4
#define CHAIN_BLOCKS_A_GO  200 /* heights read at once */
#define CHAIN_EMPTY_IN_ROW 100 /* heights without a block that are looked past */

struct chain_source {
    struct chain_node *node[CHAIN_NODES_MAX];
    size_t nodes;
    uint64_t chain_id;
    uint8_t address[CHAIN_CONTRACTS][EVM_ADDRESS_BYTES];
    uint64_t confirmations; /* 0: the chain's own finality */
};

struct chain_cursor {
    uint64_t number;
    uint8_t hash[CHAIN_HASH_BYTES];
    uint64_t seq[CHAIN_CONTRACTS]; /* last event taken of each contract */
};

struct chain_batch {
    struct chain_cursor next;
    uint64_t final; /* height of the last final block */
    struct chain_event *event;
    size_t count;
    struct chain_logs logs; /* the events' slices point into it */
};

/* The events after `from`; none, and next = from, when there is no newer final block. UNAVAILABLE
 * and kin when a node does not answer; CONFLICT for FOLLOW-2 and FOLLOW-5; CORRUPT for FOLLOW-3 and
 * FOLLOW-4. *out is released by the caller, also after a failure. */
enum emac_status chain_follow(const struct chain_source *src, const struct chain_cursor *from,
                              struct chain_batch *out, struct emac_err *err);
void chain_batch_release(struct chain_batch *b);

#endif

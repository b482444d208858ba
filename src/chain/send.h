/* Sending a transaction until it is in the chain.
 *
 * SEND-1  An action has one nonce for its whole life. Whatever is sent again or
 *         replaced carries it, so at most one of them ever takes effect.
 * SEND-2  One that waits too long is replaced with fees an eighth higher (nodes
 *         ask for a tenth), never above the owner's limit.
 * SEND-3  One that the node no longer knows, its nonce still free, was dropped:
 *         the same bytes are sent again.
 * SEND-4  When the nonce was used by a transaction that is none of ours, the
 *         action is given up with a sentence, never tried by itself with another
 *         nonce.
 * SEND-5  It counts as done `confirm` blocks deep; a receipt that goes away in a
 *         reorganisation before that puts it back to waiting.
 * SEND-6  A node that does not answer may have taken what it was sent. So an attempt
 *         counts as one of ours unless the node refused it, and is waited for: else
 *         the same money would be moved twice.
 * A program that died while it waited begins with the first free nonce again,
 * which replaces what it had sent. */
#ifndef EMAC_CHAIN_SEND_H
#define EMAC_CHAIN_SEND_H

#include "chain/node.h"
#include "chain/tx.h"
#include "os/os.h"

#define CHAIN_ATTEMPTS_MAX 16 /* different transactions for one action */
#define CHAIN_BUMP_BLOCKS  6  /* blocks without it after which the fees rise */
#define CHAIN_POLL_MS      500
#define CHAIN_SEND_MS      600000 /* then it is given up, and said with its hash */

struct chain_sender {
    struct os *os;
    struct chain_node *node;
    uint64_t chain_id;
    uint8_t secret[EVM_SECRET_BYTES], address[EVM_ADDRESS_BYTES];
    struct u256 fee_limit; /* wei a unit of gas; 0: none */
    uint32_t confirm;
    bool (*cancelled)(void); /* asked between polls; may be NULL */
};

struct chain_action {
    const char *what;  /* "propose epoch 3", for sentences */
    const uint8_t *to; /* NULL: a creation */
    struct u256 value;
    struct emac_slice data;
};

/* What was seen of a transaction, and what follows: a pure rule. */
struct chain_seen {
    bool mined;             /* one of the attempts has a receipt */
    uint64_t depth;         /* blocks on top of it and itself */
    bool known;             /* the node knows the last attempt */
    bool nonce_used;        /* by whatever */
    uint64_t blocks_waited; /* since the last attempt was sent */
};
enum chain_next {
    CHAIN_NEXT_WAIT,
    CHAIN_NEXT_RESEND,
    CHAIN_NEXT_BUMP,
    CHAIN_NEXT_DONE,
    CHAIN_NEXT_LOST
};
enum chain_next chain_send_next(const struct chain_seen *seen, uint32_t confirm);
/* Fees of the next attempt (SEND-2); false when the limit is reached. */
bool chain_fees_raise(struct chain_tx *tx, const struct u256 *base_fee, const struct u256 *limit);

/* FAILED when it would revert (nothing is sent) or did; CONFLICT for SEND-4, TIMEOUT with the hash,
 * CANCELLED. */
enum emac_status chain_send(const struct chain_sender *s, const struct chain_action *a,
                            struct chain_receipt *out, struct emac_err *err);

#endif

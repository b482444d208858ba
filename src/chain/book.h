/* What the chain did, on the ledger. The tables chain_* lie in the ledger's
 * database; the cursor of chain/follow.h moves in the same transaction as the
 * postings that its events cause, so that a crash anywhere neither loses nor
 * repeats a credit.
 *
 * BOOK-1  A batch is taken only if it begins at the stored cursor.
 * BOOK-2  An event has one row (chain id, block hash, transaction hash, log
 *         index), and each posting it causes carries that as its key.
 * BOOK-3  -balance(chain) is what the contracts hold for the ledger: deposits,
 *         donations and slashed bonds, less claims, less what was debited for
 *         withdrawals.
 * BOOK-4  For each account, payouts.cumulative = balance(payout:did) + what
 *         was claimed. It never falls.
 * BOOK-5  An account's wallet is that of its first Bound event whose ed25519
 *         signature holds; from there it follows Changed events whose
 *         ChangeRequested carried a valid signature, and nothing else.
 * BOOK-6  An open withdrawal has debited at most what was asked for, and at most
 *         what the account had; what is cancelled or cut off comes back, once.
 * BOOK-7  Payouts grow between two final epochs by at most the contract's cap,
 *         which would refuse the root; the rest waits for the next epoch.
 *
 * BOOK-8  An allowance "0x<id>" has on the ledger what the data cap registry says it has: granted
 *         and removed by its motions, spent on deals by its wallet, nothing else. Grants beyond
 *         what the ledger counts (ledger/allowance.h) are ignored, with all that follows of them.
 * BOOK-9  chain_payables.units is what an account ever moved from user:did to rig:did, to be paid
 *         out with the earnings of rigs: royalties, or what else it has. It has a wallet then.
 *
 * An account is the did:key of the contract's 32 bytes. Every function runs in
 * the caller's transaction unless it says otherwise. */
#ifndef EMAC_CHAIN_BOOK_H
#define EMAC_CHAIN_BOOK_H

#include "chain/follow.h"
#include "chain/merkle.h"
#include "ledger/ledger.h"

extern const struct db_migration CHAIN_MIGRATIONS[];
extern const size_t CHAIN_MIGRATION_COUNT;

struct chain_book {
    struct db *db;
    uint64_t chain_id;
    uint8_t address[CHAIN_CONTRACTS][EVM_ADDRESS_BYTES];
};

/* Opens its own transaction. The first time: `start` becomes the cursor. Later the chain id and the
 * addresses must be the same: CONFLICT; but a book from before the registry was read takes its
 * address now. CONFLICT also when the ledger holds play money. */
enum emac_status chain_book_open(const struct chain_book *b, const struct chain_cursor *start,
                                 struct emac_err *err);
enum emac_status chain_book_cursor(const struct chain_book *b, struct chain_cursor *out,
                                   struct emac_err *err);
/* BOOK-1: CONFLICT when the cursor is no longer `from`. After any failure the caller rolls back. */
enum emac_status chain_book_apply(const struct chain_book *b, const struct chain_cursor *from,
                                  const struct chain_batch *batch, uint64_t at_ms,
                                  struct emac_err *err);
/* "" when the account has none. Needs no transaction. */
enum emac_status chain_book_wallet(const struct chain_book *b, const char *did,
                                   char wallet[EVM_ADDRESS_MAX], struct emac_err *err);

/* What the registry calls the deal: "0x" and the SHA-256 of the deal's name. */
#define CHAIN_ALLOWANCE_MAX 68
void chain_deal_name(char out[CHAIN_ALLOWANCE_MAX], const char *deal);

/* ---- epochs ---- */

enum chain_epoch_state {
    CHAIN_EPOCH_NONE,     /* nothing was ever settled */
    CHAIN_EPOCH_CLOSED,   /* waits to be proposed */
    CHAIN_EPOCH_PROPOSED, /* on the chain, within its window */
    CHAIN_EPOCH_FINAL,    /* can be claimed from */
    CHAIN_EPOCH_DROPPED,  /* challenged and upheld, or retracted */
};
const char *chain_epoch_state_name(enum chain_epoch_state state);

struct chain_epoch {
    uint64_t epoch, total;
    enum chain_epoch_state state;
    uint8_t root[CHAIN_HASH_BYTES];
    uint8_t list[SHA256_BYTES];    /* of the dag-cbor list of leaves */
    uint8_t journal[SHA256_BYTES]; /* hash of the ledger's last posting */
};

/* BOOK-9: `units` of what the account has are paid out with the next epoch. `request` names it (at
 * most CHAIN_PAYABLE_KEY_MAX bytes with the NUL): said twice it is done once, and *fresh (may be
 * NULL) tells. CONFLICT when it has no wallet, PAYMENT when it has less. */
#define CHAIN_PAYABLE_KEY_MAX 65
enum emac_status chain_payable_add(const struct chain_book *b, const char *did, int64_t units,
                                   const char *request, uint64_t at_ms, bool *fresh,
                                   struct emac_err *err);

/* Move what rigs with a wallet have free into payouts and close an epoch over the cumulative sums:
 * at least `least_units` must be new, unless the last epoch was dropped. CONFLICT while the last
 * epoch is neither final nor dropped, PAYMENT when too little is new. */
enum emac_status chain_epoch_close(const struct chain_book *b, int64_t least_units, uint64_t at_ms,
                                   struct chain_epoch *out, struct emac_err *err);
/* The one with the highest number; state NONE when there is none. Needs no transaction. */
enum emac_status chain_epoch_last(const struct chain_book *b, struct chain_epoch *out,
                                  struct emac_err *err);
/* NOT_FOUND. Needs no transaction. */
enum emac_status chain_epoch_get(const struct chain_book *b, uint64_t epoch,
                                 struct chain_epoch *out, struct emac_err *err);
/* Its leaves, by account; free *out. Needs no transaction. */
enum emac_status chain_epoch_leaves(const struct chain_book *b, uint64_t epoch,
                                    struct chain_leaf **out, size_t *count, struct emac_err *err);
/* The list as a dag-cbor block: {"chain", "epoch", "leaves": [[account, wallet, cumulative], ...],
 * "payouts"}; its SHA-256 is that of its CID. */
enum emac_status chain_leaves_encode(uint64_t chain_id, const uint8_t payouts[EVM_ADDRESS_BYTES],
                                     uint64_t epoch, const struct chain_leaf *leaf, size_t count,
                                     struct emac_buf *out, struct emac_err *err);

/* ---- for the audit and for people ---- */

/* Open withdrawals that must be reduced before they are ready: less was debited than asked for. */
struct chain_short {
    char did[DID_KEY_MAX], wallet[EVM_ADDRESS_MAX];
    int64_t asked_units, debited_units;
    uint64_t ready_s;
};
enum emac_status chain_book_shorts(const struct chain_book *b,
                                   void (*each)(void *ctx, const struct chain_short *s), void *ctx,
                                   struct emac_err *err);

#endif

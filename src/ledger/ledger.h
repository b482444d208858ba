/* Double-entry ledger over the database. Money is int64 units, 1 EMAC = 10^9
 * units; every amount and sum is checked. Each function must run inside the
 * caller's db transaction, so that money and job state change together.
 *
 * INV-1  The entries of a posting sum to zero; its credits together fit into int64,
 *        so its entries may be added in any order.
 * INV-2  No balance is below its account's floor (0; the faucet of a
 *        development network and the chain have none).
 * INV-3  An idempotency key posts once: doing it again with the same entries is
 *        OK and changes nothing, with others CONFLICT.
 * INV-4  The stored balances equal the sums of the entries (replay).
 * INV-5  The journal is append-only and hash-chained: hash_n = SHA-256(hash_{n-1}
 *        ‖ canonical bytes of posting n). No row is ever changed or deleted.
 *        Postings are numbered 1, 2, ... without holes; hash_0 is 32 zero bytes;
 *        ledger_head holds the last number and hash. The canonical bytes are
 *        dag-cbor: {"at": ms, "id": n, "job", "key", "cause", "detail",
 *        "entries": [[account, units], ...]}, entries by account, then amount.
 * INV-6  For each open job: balance(escrow:job) >= what is owed to open leases and royalties;
 *        a closed job's escrow is 0.
 * INV-7  A receipt (task, rig) is paid at most once.
 * INV-8  All entries of a posting are of one asset. So INV-1 holds for each asset by itself: money
 *        never becomes bytes, nor bytes money.
 * ledger_post and ledger_batch_end assert 1, 2, 4 and 8 of what they wrote;
 * ledger_audit proves all. In a member of a group (db.h) ledger_post writes the posting's row
 * alone; balances and head follow, and are asserted, before the group is committed and before
 * anybody else reads them (group.c).
 *
 * Accounts are text: "user:<did>", "rig:<did>" (free to spend),
 * "held:<did>:<job>" (earned by a rig in an unfinished job, void if it cheats),
 * "stake:<did>", "escrow:<job>", "fee", "royalty:<asset cid>", "serving:<did>" (reserved for
 * answers that are being generated for the user), "payout:<did>"
 * (settled, to be claimed on the chain), and two sources that are in debt for
 * all the others: "faucet" and "chain" (what the contracts hold for the ledger). "reward:<epoch>"
 * is the pool of an epoch's storage rewards, empty after each transaction.
 * Accounts whose names begin with "bytes:" hold bytes of allowances (ledger/allowance.h), one unit
 * a byte: "bytes:granted" is their source, "bytes:left:<allowance>", "bytes:deal:<deal>" and
 * "bytes:burnt" what became of them. All others hold money.
 * Every other name is refused. No float anywhere.
 *
 * Rows: `journal` has a posting with its entries as JSON of account numbers and amounts, `accounts`
 * the number, name and balance of each account, `ledger_head` the end of the journal. */
#ifndef EMAC_LEDGER_LEDGER_H
#define EMAC_LEDGER_LEDGER_H

#include "crypto/crypto.h"
#include "db/db.h"

#define LEDGER_UNITS_PER_EMAC INT64_C(1000000000)
#define LEDGER_ACCOUNT_MAX    192 /* with the NUL */
#define LEDGER_ENTRIES_MAX    16
#define LEDGER_TEXT_MAX       256 /* bytes of key, cause, job, detail */

enum ledger_asset { LEDGER_MONEY, LEDGER_BYTES, LEDGER_ASSETS };
/* What the account holds (INV-8). */
enum ledger_asset ledger_asset_of(const char *account);

struct ledger_entry {
    char account[LEDGER_ACCOUNT_MAX];
    int64_t amount_units; /* > 0 credit, < 0 debit, never 0 */
};

struct ledger_posting {
    const char *key;    /* idempotency key, e.g. "pay:<task cid>:<did>" */
    const char *cause;  /* "escrow", "pay", "settle", "void", "refund", "fee", "faucet", ... */
    const char *job;    /* job id or "" */
    const char *detail; /* task or receipt CID, licence, ... or "" */
    uint64_t at_ms;
    size_t count;
    struct ledger_entry entry[LEDGER_ENTRIES_MAX];
};

extern const struct db_migration LEDGER_MIGRATIONS[];
extern const size_t LEDGER_MIGRATION_COUNT;

/* Add an entry to a posting under construction (asserts room; ignores amount 0). */
void ledger_entry_add(struct ledger_posting *p, int64_t amount_units, const char *account_fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* PAYMENT when an account would pass its floor, naming account, balance and need. *posted (may be
 * NULL) is false when the key was there already; then time is not compared, the rest must be equal.
 * INVALID when the entries do not sum to zero, a sum or balance passes int64, or a text is not one.
 * After these failures nothing was written; after any other the caller must roll back. */
enum emac_status ledger_post(struct db *db, const struct ledger_posting *p, bool *posted,
                             struct emac_err *err);

/* Many postings of one transaction: the head and each account's balance are read once and written
 * once, by ledger_batch_end, without which nothing of the batch may be committed. Between start and
 * end nothing else posts, and balances are asked of the batch.
 * Life cycle: start, post ..., end, free; free alone gives a batch up (then roll back). */
struct ledger_batch;
enum emac_status ledger_batch_start(struct db *db, struct ledger_batch **out, struct emac_err *err);
/* As ledger_post. After a refusal (PAYMENT, INVALID, CONFLICT) the batch goes on without this
 * posting; after any other failure it must be given up (ledger_batch_end asserts it). */
enum emac_status ledger_batch_post(struct ledger_batch *b, const struct ledger_posting *p,
                                   bool *posted, struct emac_err *err);
enum emac_status ledger_batch_balance(struct ledger_batch *b, const char *account, int64_t *out,
                                      struct emac_err *err);
enum emac_status ledger_batch_end(struct ledger_batch *b, struct emac_err *err);
void ledger_batch_free(struct ledger_batch *b);

/* 0 for an account that was never used. Needs no transaction. */
enum emac_status ledger_balance(struct db *db, const char *account, int64_t *out,
                                struct emac_err *err);

/* Number and hash of the last posting; 0 and zeros before the first. Needs no transaction. */
enum emac_status ledger_head(struct db *db, int64_t *id, uint8_t hash[SHA256_BYTES],
                             struct emac_err *err);

/* Visit balances (accounts with the given prefix, sorted) or journal lines (all entries of the
 * `limit` postings after number `after`). The database is locked meanwhile; strings live until
 * `each` returns. */
enum emac_status ledger_balances(struct db *db, const char *prefix,
                                 void (*each)(void *ctx, const char *account, int64_t units),
                                 void *ctx, struct emac_err *err);
struct ledger_line {
    int64_t posting;
    uint64_t at_ms;
    const char *key, *cause, *job, *detail, *account;
    int64_t amount_units;
    const char *hash_hex; /* of the posting */
};
enum emac_status ledger_journal(struct db *db, int64_t after, uint32_t limit,
                                void (*each)(void *ctx, const struct ledger_line *line), void *ctx,
                                struct emac_err *err);

struct ledger_audit {
    int64_t postings, accounts;
    int64_t total_units, total_bytes; /* of all balances of an asset: must be 0 */
    uint32_t broken;                  /* invariants found broken */
    struct emac_buf report;           /* one sentence a finding, a line each */
};
#define LEDGER_FINDINGS_MAX       200 /* sentences in a report; `broken` counts them all */
#define LEDGER_AUDIT_ACCOUNTS_MAX (4u << 20)
/* OK with out->broken > 0 when the ledger is not sound; a failure means it could not be read.
 * Replays the whole journal: about 1 us an entry, 300 bytes an account. Checks INV-1 to INV-5 here;
 * the coordinator adds INV-6, INV-7, which need its tables. Opens its own read transaction when
 * none is open. Release out->report. */
enum emac_status ledger_audit(struct db *db, struct ledger_audit *out, struct emac_err *err);

/* "12.5" -> units >= 0; at most 9 decimals, no sign, no leading zeros; refuses everything else. And
 * back, shortest: "0.000000001". */
enum emac_status ledger_amount_parse(const char *text, int64_t *units, struct emac_err *err);
void ledger_amount_text(char out[32], int64_t units);

#endif

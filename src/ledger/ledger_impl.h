/* Between the files of ledger/; nobody else includes it. */
#ifndef EMAC_LEDGER_IMPL_H
#define EMAC_LEDGER_IMPL_H

#include "ledger/ledger.h"

#define LEDGER_SLOTS_FIRST 32 /* room for the accounts of one posting */
_Static_assert(LEDGER_SLOTS_FIRST >= 2 * LEDGER_ENTRIES_MAX, "a posting fits into half of it");

struct ledger_slot {
    char *account; /* NULL: empty */
    int64_t id;    /* of its row; 0: it has none */
    int64_t units;
    int64_t proved; /* what its balance was when it was proved last, at first as it was read */
    bool changed;   /* since then */
};

/* INV: head_id and head_hash are of the last posting written; a slot has what its account's balance
 * is after all of them; an account has a row when a posting names it. */
struct ledger_batch {
    struct db *db;
    int64_t first_id, head_id; /* the head before the batch, and now */
    uint8_t head_hash[SHA256_BYTES];
    struct ledger_slot *slot; /* open addressing, at most half used; `few` or memory of its own */
    size_t cap, used;
    int64_t account_id; /* of the newest account; -1: not asked yet */
    bool broken;        /* the database failed: its transaction can only be rolled back */
    struct ledger_slot few[LEDGER_SLOTS_FIRST];
};
enum emac_status ledger_batch_open(struct ledger_batch *b, struct db *db, struct emac_err *err);
void ledger_batch_release(struct ledger_batch *b);
/* Where the account's balance is, read from its row when it is new here. The next call may move it.
 */
enum emac_status ledger_slot_get(struct ledger_batch *b, const char *account,
                                 struct ledger_slot **out, struct emac_err *err);
/* NOT_FOUND: no row has the number. */
enum emac_status ledger_account_name(struct db *db, int64_t id, char out[LEDGER_ACCOUNT_MAX],
                                     struct emac_err *err);

/* group.c: the batch that the members of a group share; the caller is in a member. */
enum emac_status ledger_group_post(struct db *db, const struct ledger_posting *p, bool *posted,
                                   struct emac_err *err);
/* *known is false when the rows say it: no member has posted. */
enum emac_status ledger_group_balance(struct db *db, const char *account, bool *known, int64_t *out,
                                      struct emac_err *err);
/* Called by whoever is about to read rows: in a member, write what the group owes. Elsewhere that
 * was done. */
enum emac_status ledger_group_write(struct db *db, struct emac_err *err);

/* Lowest balance an account may have. A source stops short of INT64_MIN, so that all other
 * balances together fit into int64 too. */
int64_t ledger_floor(const char *account);
bool ledger_account_ok(const char *account);
/* INVALID with a sentence: INV-1, texts, accounts, amounts. */
enum emac_status ledger_posting_check(const struct ledger_posting *p, struct emac_err *err);
/* Order of entries in the canonical bytes. */
int ledger_entry_compare(const void *a, const void *b);
/* hash = SHA-256(prev ‖ canonical bytes of posting `id`); p's entries are in canonical order.
 * INVALID when a text is not UTF-8. */
enum emac_status ledger_posting_hash(const struct ledger_posting *p, int64_t id,
                                     const uint8_t prev[SHA256_BYTES], uint8_t hash[SHA256_BYTES],
                                     struct emac_err *err);

/* The unique index of the journal is over the first 128 bits of the SHA-256 of a key, because keys
 * are long and come in no order: it is a third of one over the keys. Two keys with the same 128
 * bits would be a CONFLICT of the second. */
#define LEDGER_KEY_HASH_BYTES 16
void ledger_key_hash(uint8_t out[LEDGER_KEY_HASH_BYTES], const char *key);

/* A row of the journal has its entries as one text (entries.c); `account` has the number of each
 * entry's account. */
#define LEDGER_ENTRIES_TEXT_MAX (LEDGER_ENTRIES_MAX * 44 + 3)
struct ledger_stored_entry {
    int64_t account, units;
};
void ledger_entries_print(char out[LEDGER_ENTRIES_TEXT_MAX], const struct ledger_posting *p,
                          const int64_t *account);
/* Read entry `n` (0, 1, ...) and move *text on. False after the last one, when *text becomes NULL,
 * and where the text is not as it is printed, when it stays there. */
bool ledger_entries_next(const char **text, size_t n, struct ledger_stored_entry *out);

#endif

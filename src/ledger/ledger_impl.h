/* Between the files of ledger/; nobody else includes it. */
#ifndef EMAC_LEDGER_IMPL_H
#define EMAC_LEDGER_IMPL_H

#include "ledger/ledger.h"

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

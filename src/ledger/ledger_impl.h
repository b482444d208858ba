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

#endif

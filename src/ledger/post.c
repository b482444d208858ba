#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "codec/dagcbor.h"
#include "ledger/ledger_impl.h"

/* Texts at their largest, and what dag-cbor adds. */
#define CANONICAL_USUAL 1024 /* no growing while it is written */
#define CANONICAL_MAX   (4 * LEDGER_TEXT_MAX + LEDGER_ENTRIES_MAX * (LEDGER_ACCOUNT_MAX + 16) + 256)

/* ---- accounts ---- */

/* Where money comes into the ledger: what it is short of is what all others have. */
static bool is_source(const char *account)
{
    return strcmp(account, "faucet") == 0 || strcmp(account, "chain") == 0 ||
           strcmp(account, "bytes:granted") == 0;
}

enum ledger_asset ledger_asset_of(const char *account)
{
    return strncmp(account, "bytes:", 6) == 0 ? LEDGER_BYTES : LEDGER_MONEY;
}

bool ledger_account_ok(const char *account)
{
    static const char *const KIND[] = {
        "user:",   "rig:",    "held:",    "stake:",      "escrow:",    "royalty:",
        "payout:", "reward:", "serving:", "bytes:left:", "bytes:deal:"};
    size_t n = strnlen(account, LEDGER_ACCOUNT_MAX);
    if (n == LEDGER_ACCOUNT_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (account[i] <= ' ' || account[i] >= 0x7f)
            return false;
    }
    if (strcmp(account, "fee") == 0 || strcmp(account, "bytes:burnt") == 0 || is_source(account))
        return true;
    for (size_t i = 0; i < EMAC_COUNT(KIND); i++) {
        size_t kind_n = strlen(KIND[i]);
        if (n > kind_n && strncmp(account, KIND[i], kind_n) == 0)
            return true;
    }
    return false;
}

int64_t ledger_floor(const char *account)
{
    return is_source(account) ? -INT64_MAX : 0;
}

/* ---- a posting as a value ---- */

void ledger_entry_add(struct ledger_posting *p, int64_t amount_units, const char *account_fmt, ...)
{
    va_list ap;
    if (amount_units == 0)
        return;
    EMAC_ASSERT(p->count < LEDGER_ENTRIES_MAX);
    struct ledger_entry *e = &p->entry[p->count++];
    va_start(ap, account_fmt);
    int n = vsnprintf(e->account, sizeof e->account, account_fmt, ap);
    va_end(ap);
    EMAC_ASSERT(n > 0 && (size_t)n < sizeof e->account);
    e->amount_units = amount_units;
}

int ledger_entry_compare(const void *a, const void *b)
{
    const struct ledger_entry *x = a, *y = b;
    int c = strcmp(x->account, y->account);
    if (c != 0)
        return c;
    return (x->amount_units > y->amount_units) - (x->amount_units < y->amount_units);
}

enum emac_status ledger_posting_hash(const struct ledger_posting *p, int64_t id,
                                     const uint8_t prev[SHA256_BYTES], uint8_t hash[SHA256_BYTES],
                                     struct emac_err *err)
{
    struct emac_buf buf;
    struct dagcbor_writer w;
    emac_buf_init(&buf, CANONICAL_MAX);
    enum emac_status st = emac_buf_reserve(&buf, CANONICAL_USUAL, err);
    if (st == EMAC_OK)
        st = emac_buf_append(&buf, prev, SHA256_BYTES, err);
    dagcbor_writer_init(&w, &buf);
    dagcbor_map(&w, 7);
    dagcbor_key(&w, "at");
    dagcbor_u64(&w, p->at_ms);
    dagcbor_key(&w, "id");
    dagcbor_i64(&w, id);
    dagcbor_key(&w, "job");
    dagcbor_str(&w, p->job);
    dagcbor_key(&w, "key");
    dagcbor_str(&w, p->key);
    dagcbor_key(&w, "cause");
    dagcbor_str(&w, p->cause);
    dagcbor_key(&w, "detail");
    dagcbor_str(&w, p->detail);
    dagcbor_key(&w, "entries");
    dagcbor_list(&w, p->count);
    for (size_t i = 0; i < p->count; i++) {
        dagcbor_list(&w, 2);
        dagcbor_str(&w, p->entry[i].account);
        dagcbor_i64(&w, p->entry[i].amount_units);
    }
    if (st == EMAC_OK)
        st = dagcbor_writer_end(&w, err);
    if (st == EMAC_OK)
        crypto_sha256(hash, buf.data, buf.len);
    emac_buf_release(&buf);
    return st;
}

void ledger_key_hash(uint8_t out[LEDGER_KEY_HASH_BYTES], const char *key)
{
    uint8_t hash[SHA256_BYTES];
    crypto_sha256(hash, key, strlen(key));
    memcpy(out, hash, LEDGER_KEY_HASH_BYTES);
}

static bool text_ok(const char *s)
{
    return s != NULL && strnlen(s, LEDGER_TEXT_MAX + 1) <= LEDGER_TEXT_MAX;
}

enum emac_status ledger_posting_check(const struct ledger_posting *p, struct emac_err *err)
{
    int64_t credits = 0, debits = 0;
    if (!text_ok(p->key) || !text_ok(p->cause) || !text_ok(p->job) || !text_ok(p->detail) ||
        p->key[0] == '\0' || p->cause[0] == '\0')
        return emac_fail(err, EMAC_INVALID,
                         "a posting lacks its key or cause, or one of its texts "
                         "is longer than %d bytes",
                         LEDGER_TEXT_MAX);
    if (p->count == 0 || p->count > LEDGER_ENTRIES_MAX || p->at_ms > INT64_MAX)
        return emac_fail(err, EMAC_INVALID,
                         "posting '%s' has %zu entries (1 to %d are possible) "
                         "or no sound time",
                         p->key, p->count, LEDGER_ENTRIES_MAX);
    for (size_t i = 0; i < p->count; i++) {
        const struct ledger_entry *e = &p->entry[i];
        if (!ledger_account_ok(e->account))
            return emac_fail(err, EMAC_INVALID, "'%.60s' in posting '%s' is not an account",
                             e->account, p->key);
        if (ledger_asset_of(e->account) != ledger_asset_of(p->entry[0].account))
            return emac_fail(err, EMAC_INVALID, "posting '%s' mixes money and bytes", p->key);
        int64_t *side = e->amount_units > 0 ? &credits : &debits;
        if (e->amount_units == 0 || e->amount_units == INT64_MIN ||
            !emac_add_i64(*side, e->amount_units, side) || *side == INT64_MIN)
            return emac_fail(err, EMAC_INVALID,
                             "the amount for '%s' in posting '%s' is zero or "
                             "too large",
                             e->account, p->key);
    }
    if (credits + debits != 0)
        return emac_fail(err, EMAC_INVALID, "the entries of posting '%s' sum to %lld units, not 0",
                         p->key, (long long)(credits + debits));
    return EMAC_OK;
}

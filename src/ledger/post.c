#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "codec/dagcbor.h"
#include "ledger/ledger_impl.h"

/* Texts at their largest, and what dag-cbor adds. */
#define CANONICAL_MAX (4 * LEDGER_TEXT_MAX + LEDGER_ENTRIES_MAX * (LEDGER_ACCOUNT_MAX + 16) + 256)

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

enum emac_status ledger_balance(struct db *db, const char *account, int64_t *out,
                                struct emac_err *err)
{
    enum emac_status st =
        db_one_i64(db, out, err, "SELECT units FROM balances WHERE account = ?", "t", account);
    if (st != EMAC_NOT_FOUND)
        return st;
    *out = 0;
    return EMAC_OK;
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
    enum emac_status st = emac_buf_append(&buf, prev, SHA256_BYTES, err);
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

static bool text_ok(const char *s)
{
    return s != NULL && strnlen(s, LEDGER_TEXT_MAX + 1) <= LEDGER_TEXT_MAX;
}

static enum emac_status posting_check(const struct ledger_posting *p, struct emac_err *err)
{
    int64_t sum = 0;
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
        if (e->amount_units == 0 || e->amount_units == INT64_MIN ||
            !emac_add_i64(sum, e->amount_units, &sum))
            return emac_fail(err, EMAC_INVALID,
                             "the amount for '%s' in posting '%s' is zero or "
                             "too large",
                             e->account, p->key);
    }
    if (sum != 0)
        return emac_fail(err, EMAC_INVALID, "the entries of posting '%s' sum to %lld units, not 0",
                         p->key, (long long)sum);
    return EMAC_OK;
}

/* ---- a key that is there already ---- */

static enum emac_status entries_equal(struct db *db, int64_t id, const struct ledger_posting *p,
                                      bool *equal, struct emac_err *err)
{
    struct db_stmt *q;
    bool row;
    size_t n = 0;
    enum emac_status st =
        db_query(db, &q, err, "SELECT account, amount FROM entries WHERE posting = ? ORDER BY line",
                 "i", id);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        *equal = *equal && n < p->count && strcmp(db_text(q, 0), p->entry[n].account) == 0 &&
                 db_i64(q, 1) == p->entry[n].amount_units;
        n++;
    }
    *equal = *equal && n == p->count;
    return st;
}

/* *id = 0 when the key is new; CONFLICT when it stands for something else. */
static enum emac_status key_find(struct db *db, const struct ledger_posting *p, int64_t *id,
                                 struct emac_err *err)
{
    struct db_stmt *q;
    bool row, equal = false;
    *id = 0;
    enum emac_status st = db_query(
        db, &q, err, "SELECT id, cause, job, detail FROM postings WHERE key = ?", "t", p->key);
    if (st == EMAC_OK)
        st = db_next(q, &row, err);
    if (st != EMAC_OK || !row)
        return st;
    *id = db_i64(q, 0);
    equal = strcmp(db_text(q, 1), p->cause) == 0 && strcmp(db_text(q, 2), p->job) == 0 &&
            strcmp(db_text(q, 3), p->detail) == 0;
    db_done(q);
    st = entries_equal(db, *id, p, &equal, err);
    if (st == EMAC_OK && !equal)
        return emac_fail(err, EMAC_CONFLICT,
                         "posting '%s' was made before with other entries: use another key",
                         p->key);
    return st;
}

/* ---- balances ---- */

struct balance {
    const char *account;
    int64_t units; /* after the posting */
};

static enum emac_status floor_passed(const char *account, int64_t has, int64_t needs,
                                     struct emac_err *err)
{
    char have[32], need[32];
    if (ledger_asset_of(account) == LEDGER_BYTES)
        return emac_fail(err, EMAC_PAYMENT, "'%s' has %lld bytes but needs %lld", account,
                         (long long)has, (long long)needs);
    ledger_amount_text(have, has);
    ledger_amount_text(need, needs);
    return emac_fail(err, EMAC_PAYMENT, "'%s' has %s EMAC but needs %s: add to it first", account,
                     have, need);
}

/* Balances after the posting, one for each account; entries are sorted by account. */
static enum emac_status balances_after(struct db *db, const struct ledger_posting *p,
                                       struct balance *out, size_t *count, struct emac_err *err)
{
    *count = 0;
    for (size_t i = 0; i < p->count;) {
        struct balance *b = &out[(*count)++];
        int64_t net = 0, before = 0;
        b->account = p->entry[i].account;
        for (; i < p->count && strcmp(p->entry[i].account, b->account) == 0; i++) {
            if (!emac_add_i64(net, p->entry[i].amount_units, &net))
                return emac_fail(err, EMAC_INVALID,
                                 "the amounts for '%s' in posting '%s' are too "
                                 "large",
                                 b->account, p->key);
        }
        enum emac_status st = ledger_balance(db, b->account, &before, err);
        if (st != EMAC_OK)
            return st;
        if (!emac_add_i64(before, net, &b->units))
            return emac_fail(err, EMAC_INVALID, "the balance of '%s' would pass the largest number",
                             b->account);
        if (b->units >= ledger_floor(b->account))
            continue;
        return floor_passed(b->account, before, -net, err);
    }
    return EMAC_OK;
}

/* ---- writing ---- */

enum emac_status ledger_head(struct db *db, int64_t *id, uint8_t hash[SHA256_BYTES],
                             struct emac_err *err)
{
    struct db_stmt *q;
    bool row;
    *id = 0;
    memset(hash, 0, SHA256_BYTES);
    enum emac_status st =
        db_query(db, &q, err, "SELECT posting, hash FROM ledger_head WHERE one = 1", NULL);
    if (st == EMAC_OK)
        st = db_next(q, &row, err);
    if (st != EMAC_OK || !row)
        return st;
    struct emac_slice h = db_blob(q, 1);
    *id = db_i64(q, 0);
    if (h.len == SHA256_BYTES && *id > 0)
        memcpy(hash, h.data, SHA256_BYTES);
    else
        st = emac_fail(err, EMAC_CORRUPT,
                       "the head of the ledger is damaged: stop and restore a "
                       "backup");
    db_done(q);
    return st;
}

static enum emac_status posting_write(struct db *db, const struct ledger_posting *p, int64_t id,
                                      const uint8_t hash[SHA256_BYTES], struct emac_err *err)
{
    enum emac_status st = db_exec(db, err,
                                  "INSERT INTO postings (id, key, cause, job, detail, at_ms, hash) "
                                  "VALUES (?, ?, ?, ?, ?, ?, ?)",
                                  "ittttib", id, p->key, p->cause, p->job, p->detail,
                                  (int64_t)p->at_ms, (const void *)hash, (size_t)SHA256_BYTES);
    for (size_t i = 0; i < p->count && st == EMAC_OK; i++)
        st = db_exec(db, err,
                     "INSERT INTO entries (posting, line, account, amount) VALUES (?, ?, ?, ?)",
                     "iiti", id, (int64_t)i + 1, p->entry[i].account, p->entry[i].amount_units);
    if (st != EMAC_OK)
        return st;
    return db_exec(db, err,
                   "INSERT INTO ledger_head (one, posting, hash) VALUES (1, ?, ?) "
                   "ON CONFLICT (one) DO UPDATE SET posting = excluded.posting, "
                   "hash = excluded.hash",
                   "ib", id, (const void *)hash, (size_t)SHA256_BYTES);
}

static enum emac_status balances_write(struct db *db, const struct balance *b, size_t count,
                                       struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < count && st == EMAC_OK; i++)
        st = db_exec(db, err,
                     "INSERT INTO balances (account, units) VALUES (?, ?) "
                     "ON CONFLICT (account) DO UPDATE SET units = excluded.units",
                     "ti", b[i].account, b[i].units);
    return st;
}

/* INV-1, INV-2 and INV-8 of what is in the database now. */
static enum emac_status written_check(struct db *db, int64_t id, size_t count, struct emac_err *err)
{
    struct db_stmt *q;
    bool row;
    size_t n = 0, bytes = 0;
    int64_t sum = 0;
    enum emac_status st = db_query(db, &q, err,
                                   "SELECT e.account, e.amount, b.units FROM entries e "
                                   "JOIN balances b ON b.account = e.account "
                                   "WHERE e.posting = ? ORDER BY e.line",
                                   "i", id);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        bool fits = emac_add_i64(sum, db_i64(q, 1), &sum);
        EMAC_ASSERT(fits);
        EMAC_ASSERT(db_i64(q, 2) >= ledger_floor(db_text(q, 0)));
        bytes += ledger_asset_of(db_text(q, 0)) == LEDGER_BYTES;
        n++;
    }
    EMAC_ASSERT(st != EMAC_OK || (n == count && sum == 0 && (bytes == 0 || bytes == n)));
    return st;
}

enum emac_status ledger_post(struct db *db, const struct ledger_posting *posting, bool *posted,
                             struct emac_err *err)
{
    enum emac_status st;
    struct ledger_posting p = *posting;
    struct balance after[LEDGER_ENTRIES_MAX];
    size_t accounts = 0;
    int64_t id = 0;
    uint8_t prev[SHA256_BYTES], hash[SHA256_BYTES];
    EMAC_ASSERT(db_in_transaction(db));
    if (posted != NULL)
        *posted = false;
    EMAC_TRY(st, posting_check(&p, err));
    qsort(p.entry, p.count, sizeof p.entry[0], ledger_entry_compare);
    EMAC_TRY(st, key_find(db, &p, &id, err));
    if (id != 0)
        return EMAC_OK;
    EMAC_TRY(st, balances_after(db, &p, after, &accounts, err));
    EMAC_TRY(st, ledger_head(db, &id, prev, err));
    EMAC_TRY(st, ledger_posting_hash(&p, ++id, prev, hash, err));
    EMAC_TRY(st, posting_write(db, &p, id, hash, err));
    EMAC_TRY(st, balances_write(db, after, accounts, err));
    EMAC_TRY(st, written_check(db, id, p.count, err));
    if (posted != NULL)
        *posted = true;
out:
    return st;
}

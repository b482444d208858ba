/* The audit reads the accounts, then the journal once from its beginning, and adds up what each
 * account should have; then it compares that with the stored balances. It trusts no constraint of
 * the database: a damaged file or a hand with an SQL shell may have passed them by. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "ledger/ledger_impl.h"

#define REPORT_MAX     (256u << 10)
#define ACCOUNTS_LEAST 1024

struct account {
    int64_t id;
    char *name;
    int64_t stored, units; /* the balance as stored, and as the journal has it */
    bool used;             /* an entry names it */
};

struct audit {
    struct ledger_audit *out;
    struct account *account; /* by id */
    size_t count, cap;
    uint8_t prev[SHA256_BYTES];
    int64_t last_id;
};

static void found(struct audit *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void found(struct audit *a, const char *fmt, ...)
{
    struct emac_err line;
    va_list ap;
    if (a->out->broken++ >= LEDGER_FINDINGS_MAX)
        return;
    va_start(ap, fmt);
    vsnprintf(line.text, sizeof line.text, fmt, ap);
    va_end(ap);
    (void)emac_buf_printf(&a->out->report, NULL, "%s\n", line.text);
}

static const char *text_of(struct db_stmt *q, int col)
{
    const char *s = db_text(q, col);
    return s != NULL ? s : "";
}

/* ---- the accounts ---- */

static enum emac_status account_add(struct audit *a, int64_t id, const char *name, int64_t stored,
                                    struct emac_err *err)
{
    if (a->count >= LEDGER_AUDIT_ACCOUNTS_MAX)
        return emac_fail(err, EMAC_TOO_LARGE,
                         "the ledger has more than %u accounts, which the "
                         "audit cannot hold",
                         LEDGER_AUDIT_ACCOUNTS_MAX);
    if (a->count == a->cap) {
        struct account *more;
        size_t cap = a->cap == 0 ? ACCOUNTS_LEAST : a->cap * 2;
        enum emac_status st = emac_alloc(&more, cap, sizeof *more, err);
        if (st != EMAC_OK)
            return st;
        if (a->count > 0)
            memcpy(more, a->account, a->count * sizeof *more);
        free(a->account);
        a->account = more;
        a->cap = cap;
    }
    a->account[a->count++] =
        (struct account){.id = id, .name = emac_strdup(name), .stored = stored};
    return EMAC_OK;
}

/* An account whose name does not fit or is none is found where an entry names it. */
static enum emac_status accounts_read(struct audit *a, struct db *db, struct emac_err *err)
{
    struct db_stmt *q;
    bool row;
    enum emac_status st =
        db_query(db, &q, err, "SELECT id, account, units FROM accounts ORDER BY id", NULL);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        st = account_add(a, db_i64(q, 0), text_of(q, 1), db_i64(q, 2), err);
        if (st != EMAC_OK)
            db_done(q);
    }
    return st;
}

static struct account *account_find(const struct audit *a, int64_t id)
{
    size_t lo = 0, hi = a->count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (a->account[mid].id == id)
            return &a->account[mid];
        if (a->account[mid].id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static void accounts_release(struct audit *a)
{
    for (size_t i = 0; i < a->count; i++)
        free(a->account[i].name);
    free(a->account);
}

/* ---- the journal ---- */

/* The entries of a posting, as far as they are sound; whose[i] is the account of entry i. */
static void entries_take(struct audit *a, int64_t id, const char *text, struct ledger_posting *p,
                         struct account **whose)
{
    struct ledger_stored_entry e;
    p->count = 0;
    for (size_t n = 0; ledger_entries_next(&text, n, &e); n++) {
        struct account *x = account_find(a, e.account);
        if (p->count == LEDGER_ENTRIES_MAX) {
            found(a, "INV-5: posting %lld has more than %d entries", (long long)id,
                  LEDGER_ENTRIES_MAX);
            return;
        }
        if (x == NULL) {
            found(a, "INV-4: posting %lld names account %lld, which has no balance", (long long)id,
                  (long long)e.account);
            continue;
        }
        struct ledger_entry *entry = &p->entry[p->count];
        whose[p->count++] = x;
        entry->amount_units = e.units;
        if (!emac_strcpy(entry->account, sizeof entry->account, x->name) ||
            !ledger_account_ok(entry->account))
            found(a, "INV-5: '%.80s' in posting %lld is not an account", x->name, (long long)id);
    }
    if (text != NULL)
        found(a, "INV-5: the entries of posting %lld are damaged at '%.20s'", (long long)id, text);
}

/* What a posting leaves in the account of entry *i and of those like it that follow; the net is
 * added, as ledger_post does, since single entries may pass int64 where the net does not. */
static void account_apply(struct audit *a, int64_t id, const struct ledger_posting *p,
                          struct account **whose, size_t *i)
{
    struct account *x = whose[*i];
    int64_t net = 0;
    bool fits = true;
    for (; *i < p->count && whose[*i] == x; (*i)++) {
        int64_t units = p->entry[*i].amount_units;
        fits = fits && units != 0 && emac_add_i64(net, units, &net);
    }
    x->used = true;
    if (!fits || !emac_add_i64(x->units, net, &x->units))
        found(a, "INV-1: an amount for '%.80s' in posting %lld is zero or too large", x->name,
              (long long)id);
    if (x->units < ledger_floor(x->name))
        found(a, "INV-2: posting %lld takes '%.80s' to %lld units, below its floor", (long long)id,
              x->name, (long long)x->units);
}

/* INV-1, INV-2 and INV-8 of one posting. */
static void entries_apply(struct audit *a, int64_t id, const struct ledger_posting *p,
                          struct account **whose)
{
    int64_t sum = 0;
    bool fits = true, mixed = false;
    for (size_t i = 0; i < p->count; i++) {
        fits = emac_add_i64(sum, p->entry[i].amount_units, &sum) && fits;
        mixed =
            mixed || ledger_asset_of(p->entry[i].account) != ledger_asset_of(p->entry[0].account);
    }
    if (mixed)
        found(a, "INV-8: posting %lld mixes money and bytes", (long long)id);
    if (!fits || sum != 0 || p->count == 0)
        found(a, "INV-1: the %zu entries of posting %lld sum to %lld units, not 0", p->count,
              (long long)id, (long long)sum);
    for (size_t i = 0; i < p->count;)
        account_apply(a, id, p, whose, &i);
}

/* INV-5: the stored hash is that of the chain; and goes on from the stored one, so that one damaged
 * posting is one finding. */
static void hash_check(struct audit *a, int64_t id, const struct ledger_posting *p,
                       struct emac_slice stored)
{
    uint8_t hash[SHA256_BYTES];
    if (stored.len != SHA256_BYTES) {
        found(a, "INV-5: the hash of posting %lld has %zu bytes, not 32", (long long)id,
              stored.len);
        memset(a->prev, 0, SHA256_BYTES);
        return;
    }
    if (ledger_posting_hash(p, id, a->prev, hash, NULL) != EMAC_OK ||
        memcmp(hash, stored.data, SHA256_BYTES) != 0)
        found(a, "INV-5: posting %lld ('%.80s') or the one before it differs from its hash",
              (long long)id, p->key);
    memcpy(a->prev, stored.data, SHA256_BYTES);
}

static void posting_audit(struct audit *a, struct db_stmt *q)
{
    struct account *whose[LEDGER_ENTRIES_MAX];
    struct ledger_posting p = {.key = text_of(q, 1),
                               .cause = text_of(q, 2),
                               .job = text_of(q, 3),
                               .detail = text_of(q, 4),
                               .at_ms = (uint64_t)db_i64(q, 5)};
    int64_t id = db_i64(q, 0);
    uint8_t name[LEDGER_KEY_HASH_BYTES];
    struct emac_slice stored = db_blob(q, 8);
    if (id != a->last_id + 1)
        found(a, "INV-5: postings %lld to %lld are missing", (long long)a->last_id + 1,
              (long long)id - 1);
    ledger_key_hash(name, p.key);
    if (stored.len != sizeof name || memcmp(stored.data, name, sizeof name) != 0)
        found(a, "INV-3: posting %lld ('%.80s') is not found under the hash of its key",
              (long long)id, p.key);
    entries_take(a, id, text_of(q, 7), &p, whose);
    entries_apply(a, id, &p, whose);
    hash_check(a, id, &p, db_blob(q, 6));
    a->last_id = id;
    a->out->postings++;
}

static enum emac_status journal_audit(struct audit *a, struct db *db, struct emac_err *err)
{
    struct db_stmt *q;
    bool row;
    enum emac_status st =
        db_query(db, &q, err,
                 "SELECT id, key, cause, job, detail, at_ms, hash, entries, key_hash"
                 " FROM journal ORDER BY id",
                 NULL);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row)
        posting_audit(a, q);
    return st;
}

/* ---- what is stored beside the journal ---- */

static void balances_audit(struct audit *a)
{
    for (size_t i = 0; i < a->count; i++) {
        const struct account *x = &a->account[i];
        int64_t *total =
            ledger_asset_of(x->name) == LEDGER_BYTES ? &a->out->total_bytes : &a->out->total_units;
        if (!emac_add_i64(*total, x->stored, total))
            found(a, "INV-1: the balances are too large to add up");
        if (x->stored < ledger_floor(x->name))
            found(a, "INV-2: '%.80s' has %lld units, below its floor", x->name,
                  (long long)x->stored);
        if (!x->used)
            found(a, "INV-4: '%.80s' has a balance of %lld units but no entries", x->name,
                  (long long)x->stored);
        else if (x->units != x->stored)
            found(a, "INV-4: '%.80s' has %lld units, its entries sum to %lld", x->name,
                  (long long)x->stored, (long long)x->units);
    }
    a->out->accounts = (int64_t)a->count;
    if (a->out->total_units != 0)
        found(a, "INV-1: all balances sum to %lld units, not 0", (long long)a->out->total_units);
    if (a->out->total_bytes != 0)
        found(a, "INV-8: all balances of bytes sum to %lld, not 0", (long long)a->out->total_bytes);
}

static enum emac_status head_audit(struct audit *a, struct db *db, struct emac_err *err)
{
    struct db_stmt *q;
    bool row;
    int64_t rows = 0;
    enum emac_status st = db_query(db, &q, err, "SELECT posting, hash FROM ledger_head", NULL);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct emac_slice h = db_blob(q, 1);
        rows++;
        if (db_i64(q, 0) != a->last_id || h.len != SHA256_BYTES ||
            memcmp(h.data, a->prev, SHA256_BYTES) != 0)
            found(a,
                  "INV-5: the journal ends at posting %lld, but its head says %lld, or another "
                  "hash",
                  (long long)a->last_id, (long long)db_i64(q, 0));
    }
    if (st == EMAC_OK && rows != (a->last_id > 0 ? 1 : 0))
        found(a, "INV-5: the journal has %lld heads", (long long)rows);
    return st;
}

/* Unique indices speak for themselves only as long as they are there. That keys lie under their
 * hashes was seen with the journal. */
static enum emac_status unique_audit(struct audit *a, struct db *db, struct emac_err *err)
{
    static const struct {
        const char *sql, *inv, *text;
    } RULES[] = {
        {"SELECT COUNT(*) FROM (SELECT key_hash FROM journal GROUP BY key_hash "
         "HAVING COUNT(*) > 1) AS doubled",
         "INV-3", "keys were posted more than once"},
        {"SELECT COUNT(*) FROM (SELECT account FROM accounts GROUP BY account "
         "HAVING COUNT(*) > 1) AS doubled",
         "INV-4", "accounts have more than one balance"},
    };
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < EMAC_COUNT(RULES) && st == EMAC_OK; i++) {
        int64_t twice = 0;
        st = db_one_i64(db, &twice, err, RULES[i].sql, NULL);
        if (st == EMAC_OK && twice != 0)
            found(a, "%s: %lld %s", RULES[i].inv, (long long)twice, RULES[i].text);
    }
    return st;
}

enum emac_status ledger_audit(struct db *db, struct ledger_audit *out, struct emac_err *err)
{
    enum emac_status st;
    struct audit a = {.out = out};
    bool own = !db_in_transaction(db);
    *out = (struct ledger_audit){0};
    emac_buf_init(&out->report, REPORT_MAX);
    if (own && (st = db_begin(db, err)) != EMAC_OK)
        return st;
    EMAC_TRY(st, ledger_group_write(db, err));
    EMAC_TRY(st, accounts_read(&a, db, err));
    EMAC_TRY(st, journal_audit(&a, db, err));
    balances_audit(&a);
    EMAC_TRY(st, head_audit(&a, db, err));
    EMAC_TRY(st, unique_audit(&a, db, err));
out:
    if (own)
        db_rollback(db);
    accounts_release(&a);
    return st;
}

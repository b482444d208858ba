/* The audit reads the journal once from its beginning, beside it the entries, and keeps what each
 * account should have; then it compares that with the stored balances. It trusts no constraint of
 * the database: a damaged file or a hand with an SQL shell may have passed them by. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "ledger/ledger_impl.h"

#define REPORT_MAX  (256u << 10)
#define SLOTS_LEAST 1024

struct slot {
    char *account; /* NULL: empty */
    int64_t units;
    bool stored; /* met in the balances table */
};

struct audit {
    struct ledger_audit *out;
    struct slot *slot; /* open addressing, at most half used */
    size_t cap, used;
    struct db_stmt *entries; /* NULL: at the end */
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

/* ---- what each account should have ---- */

static struct slot *slot_find(const struct audit *a, const char *account)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (const char *p = account; *p != '\0'; p++)
        h = (h ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
    size_t i = (size_t)(h ^ h >> 32) & (a->cap - 1);
    while (a->slot[i].account != NULL && strcmp(a->slot[i].account, account) != 0)
        i = (i + 1) & (a->cap - 1);
    return &a->slot[i];
}

static enum emac_status slots_grow(struct audit *a, struct emac_err *err)
{
    struct audit bigger = *a;
    bigger.cap = a->cap == 0 ? SLOTS_LEAST : a->cap * 2;
    enum emac_status st = emac_alloc(&bigger.slot, bigger.cap, sizeof *bigger.slot, err);
    if (st != EMAC_OK)
        return st;
    for (size_t i = 0; i < a->cap; i++) {
        if (a->slot[i].account != NULL)
            *slot_find(&bigger, a->slot[i].account) = a->slot[i];
    }
    free(a->slot);
    *a = bigger;
    return EMAC_OK;
}

static enum emac_status slot_get(struct audit *a, const char *account, struct slot **out,
                                 struct emac_err *err)
{
    if (a->used >= LEDGER_AUDIT_ACCOUNTS_MAX)
        return emac_fail(err, EMAC_TOO_LARGE,
                         "the ledger has more than %u accounts, which the "
                         "audit cannot hold",
                         LEDGER_AUDIT_ACCOUNTS_MAX);
    if ((a->used + 1) * 2 > a->cap) {
        enum emac_status st = slots_grow(a, err);
        if (st != EMAC_OK)
            return st;
    }
    *out = slot_find(a, account);
    if ((*out)->account == NULL) {
        (*out)->account = emac_strdup(account);
        a->used++;
    }
    return EMAC_OK;
}

static void slots_release(struct audit *a)
{
    for (size_t i = 0; i < a->cap; i++)
        free(a->slot[i].account);
    free(a->slot);
}

/* ---- the journal ---- */

static const char *text_of(struct db_stmt *q, int col)
{
    const char *s = db_text(q, col);
    return s != NULL ? s : "";
}

static enum emac_status entries_step(struct audit *a, struct emac_err *err)
{
    bool row;
    enum emac_status st = db_next(a->entries, &row, err);
    if (st != EMAC_OK || !row)
        a->entries = NULL;
    return st;
}

/* Read the entries of posting `id`; those of lower numbers before it belong to no posting. */
static enum emac_status entries_take(struct audit *a, int64_t id, struct ledger_posting *p,
                                     struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    int64_t line = 0;
    p->count = 0;
    for (; a->entries != NULL && db_i64(a->entries, 0) <= id; st = entries_step(a, err)) {
        if (db_i64(a->entries, 0) < id) {
            found(a, "INV-5: an entry for '%.80s' belongs to posting %lld, which does not exist",
                  text_of(a->entries, 2), (long long)db_i64(a->entries, 0));
            continue;
        }
        if (db_i64(a->entries, 1) != ++line)
            found(a, "INV-5: line %lld of posting %lld is missing", (long long)line, (long long)id);
        line = db_i64(a->entries, 1);
        if (p->count == LEDGER_ENTRIES_MAX) {
            found(a, "INV-5: posting %lld has more than %d entries", (long long)id,
                  LEDGER_ENTRIES_MAX);
            continue;
        }
        struct ledger_entry *e = &p->entry[p->count++];
        e->amount_units = db_i64(a->entries, 3);
        if (!emac_strcpy(e->account, sizeof e->account, text_of(a->entries, 2)) ||
            !ledger_account_ok(e->account))
            found(a, "INV-5: '%.80s' in posting %lld is not an account", e->account, (long long)id);
    }
    return st;
}

/* What a posting leaves in the account of entry *i and of those like it that follow; the net is
 * added, as ledger_post does, since single entries may pass int64 where the net does not. */
static enum emac_status account_apply(struct audit *a, int64_t id, const struct ledger_posting *p,
                                      size_t *i, struct emac_err *err)
{
    const char *account = p->entry[*i].account;
    int64_t net = 0;
    bool fits = true;
    struct slot *s = NULL;
    for (; *i < p->count && strcmp(p->entry[*i].account, account) == 0; (*i)++) {
        int64_t units = p->entry[*i].amount_units;
        fits = fits && units != 0 && emac_add_i64(net, units, &net);
    }
    enum emac_status st = slot_get(a, account, &s, err);
    if (st != EMAC_OK)
        return st;
    if (!fits || !emac_add_i64(s->units, net, &s->units))
        found(a, "INV-1: an amount for '%.80s' in posting %lld is zero or too large", account,
              (long long)id);
    if (s->units < ledger_floor(account))
        found(a, "INV-2: posting %lld takes '%.80s' to %lld units, below its floor", (long long)id,
              account, (long long)s->units);
    return EMAC_OK;
}

/* INV-1, INV-2 and INV-8 of one posting. */
static enum emac_status entries_apply(struct audit *a, int64_t id, const struct ledger_posting *p,
                                      struct emac_err *err)
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
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < p->count && st == EMAC_OK;)
        st = account_apply(a, id, p, &i, err);
    return st;
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

static enum emac_status posting_audit(struct audit *a, struct db_stmt *q, struct emac_err *err)
{
    struct ledger_posting p = {.key = text_of(q, 1),
                               .cause = text_of(q, 2),
                               .job = text_of(q, 3),
                               .detail = text_of(q, 4),
                               .at_ms = (uint64_t)db_i64(q, 5)};
    int64_t id = db_i64(q, 0);
    if (id != a->last_id + 1)
        found(a, "INV-5: postings %lld to %lld are missing", (long long)a->last_id + 1,
              (long long)id - 1);
    enum emac_status st = entries_take(a, id, &p, err);
    if (st == EMAC_OK)
        st = entries_apply(a, id, &p, err);
    if (st != EMAC_OK)
        return st;
    hash_check(a, id, &p, db_blob(q, 6));
    a->last_id = id;
    a->out->postings++;
    return EMAC_OK;
}

static enum emac_status journal_audit(struct audit *a, struct db *db, struct emac_err *err)
{
    struct db_stmt *q = NULL;
    bool row;
    struct ledger_posting none;
    enum emac_status st;
    EMAC_TRY(st, db_query(db, &a->entries, err,
                          "SELECT posting, line, account, amount FROM entries "
                          "ORDER BY posting, line",
                          NULL));
    EMAC_TRY(st, entries_step(a, err));
    EMAC_TRY(st, db_query(db, &q, err,
                          "SELECT id, key, cause, job, detail, at_ms, hash FROM postings "
                          "ORDER BY id",
                          NULL));
    while ((st = db_next(q, &row, err)) == EMAC_OK && row) {
        st = posting_audit(a, q, err);
        if (st != EMAC_OK) {
            db_done(q);
            break;
        }
    }
    if (st == EMAC_OK && a->entries != NULL) /* what follows the last posting */
        st = entries_take(a, INT64_MAX, &none, err);
out:
    db_done(a->entries);
    a->entries = NULL;
    return st;
}

/* ---- what is stored beside the journal ---- */

static enum emac_status balances_audit(struct audit *a, struct db *db, struct emac_err *err)
{
    struct db_stmt *q;
    bool row;
    enum emac_status st = db_query(db, &q, err, "SELECT account, units FROM balances", NULL);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        const char *account = text_of(q, 0);
        int64_t units = db_i64(q, 1);
        struct slot *s = a->cap > 0 ? slot_find(a, account) : NULL;
        a->out->accounts++;
        int64_t *total =
            ledger_asset_of(account) == LEDGER_BYTES ? &a->out->total_bytes : &a->out->total_units;
        if (!emac_add_i64(*total, units, total))
            found(a, "INV-1: the balances are too large to add up");
        if (units < ledger_floor(account))
            found(a, "INV-2: '%.80s' has %lld units, below its floor", account, (long long)units);
        if (s == NULL || s->account == NULL) {
            found(a, "INV-4: '%.80s' has a balance of %lld units but no entries", account,
                  (long long)units);
            continue;
        }
        s->stored = true;
        if (s->units != units)
            found(a, "INV-4: '%.80s' has %lld units, its entries sum to %lld", account,
                  (long long)units, (long long)s->units);
    }
    for (size_t i = 0; i < a->cap && st == EMAC_OK; i++) {
        if (a->slot[i].account != NULL && !a->slot[i].stored)
            found(a, "INV-4: '%.80s' has entries but no balance", a->slot[i].account);
    }
    if (st == EMAC_OK && a->out->total_units != 0)
        found(a, "INV-1: all balances sum to %lld units, not 0", (long long)a->out->total_units);
    if (st == EMAC_OK && a->out->total_bytes != 0)
        found(a, "INV-8: all balances of bytes sum to %lld, not 0", (long long)a->out->total_bytes);
    return st;
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

/* The unique index speaks for itself only as long as it is there. */
static enum emac_status keys_audit(struct audit *a, struct db *db, struct emac_err *err)
{
    int64_t twice = 0;
    enum emac_status st = db_one_i64(db, &twice, err,
                                     "SELECT COUNT(*) FROM (SELECT key FROM postings GROUP BY key "
                                     "HAVING COUNT(*) > 1) AS doubled",
                                     NULL);
    if (st == EMAC_OK && twice != 0)
        found(a, "INV-3: %lld keys were posted more than once", (long long)twice);
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
    EMAC_TRY(st, journal_audit(&a, db, err));
    EMAC_TRY(st, balances_audit(&a, db, err));
    EMAC_TRY(st, head_audit(&a, db, err));
    EMAC_TRY(st, keys_audit(&a, db, err));
out:
    if (own)
        db_rollback(db);
    slots_release(&a);
    return st;
}

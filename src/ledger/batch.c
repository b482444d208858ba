/* Postings of one transaction. Postings and their entries are written as they come, so that a key
 * is found by those that follow; the head and the balances are kept in memory until the end. One
 * posting by itself is a batch of one. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "ledger/ledger_impl.h"

#define SLOTS_FIRST 32 /* room for the accounts of one posting */
_Static_assert(SLOTS_FIRST >= 2 * LEDGER_ENTRIES_MAX, "a posting fits into half of the slots");

struct slot {
    char *account; /* NULL: empty */
    int64_t units;
    bool changed;
};

/* INV: head_id and head_hash are of the last posting written; a slot has what its account's balance
 * is after all of them. */
struct ledger_batch {
    struct db *db;
    int64_t first_id, head_id; /* the head before the batch, and now */
    uint8_t head_hash[SHA256_BYTES];
    struct slot *slot; /* open addressing, at most half used; `few` or memory of its own */
    size_t cap, used;
    bool broken; /* the database failed: its transaction can only be rolled back */
    struct slot few[SLOTS_FIRST];
};

/* ---- accounts ---- */

static struct slot *slot_find(struct slot *slot, size_t cap, const char *account)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (const char *p = account; *p != '\0'; p++)
        h = (h ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
    size_t i = (size_t)(h ^ h >> 32) & (cap - 1);
    while (slot[i].account != NULL && strcmp(slot[i].account, account) != 0)
        i = (i + 1) & (cap - 1);
    return &slot[i];
}

static enum emac_status slots_grow(struct ledger_batch *b, struct emac_err *err)
{
    struct slot *more;
    enum emac_status st = emac_alloc(&more, b->cap * 2, sizeof *more, err);
    if (st != EMAC_OK)
        return st;
    for (size_t i = 0; i < b->cap; i++) {
        if (b->slot[i].account != NULL)
            *slot_find(more, b->cap * 2, b->slot[i].account) = b->slot[i];
    }
    if (b->slot != b->few)
        free(b->slot);
    b->slot = more;
    b->cap *= 2;
    return EMAC_OK;
}

static enum emac_status slot_get(struct ledger_batch *b, const char *account, struct slot **out,
                                 struct emac_err *err)
{
    enum emac_status st;
    int64_t units = 0;
    *out = slot_find(b->slot, b->cap, account);
    if ((*out)->account != NULL)
        return EMAC_OK;
    EMAC_TRY(st, ledger_balance(b->db, account, &units, err));
    if ((b->used + 1) * 2 > b->cap) {
        EMAC_TRY(st, slots_grow(b, err));
        *out = slot_find(b->slot, b->cap, account);
    }
    **out = (struct slot){.account = emac_strdup(account), .units = units};
    b->used++;
out:
    return st;
}

static void batch_init(struct ledger_batch *b, struct db *db)
{
    b->db = db;
    b->slot = b->few;
    b->cap = SLOTS_FIRST;
    b->used = 0;
    b->broken = false;
    memset(b->few, 0, sizeof b->few);
}

static void batch_release(struct ledger_batch *b)
{
    for (size_t i = 0; i < b->cap && b->used > 0; i++)
        free(b->slot[i].account);
    if (b->slot != b->few)
        free(b->slot);
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

/* *there = false when the key is new; when it stands for something else, *equal is false too. */
static enum emac_status key_find(struct db *db, const struct ledger_posting *p, bool *there,
                                 bool *equal, struct emac_err *err)
{
    struct db_stmt *q;
    enum emac_status st = db_query(
        db, &q, err, "SELECT id, cause, job, detail FROM postings WHERE key = ?", "t", p->key);
    if (st == EMAC_OK)
        st = db_next(q, there, err);
    if (st != EMAC_OK || !*there)
        return st;
    int64_t id = db_i64(q, 0);
    *equal = strcmp(db_text(q, 1), p->cause) == 0 && strcmp(db_text(q, 2), p->job) == 0 &&
             strcmp(db_text(q, 3), p->detail) == 0;
    db_done(q);
    return entries_equal(db, id, p, equal, err);
}

/* ---- balances ---- */

struct change {
    struct slot *slot;
    int64_t units; /* after the posting */
};

/* Balances after the posting, one for each account; entries are sorted by account. The slots stay
 * where they are until the next posting: room for all is made first. */
static enum emac_status changes_find(struct ledger_batch *b, const struct ledger_posting *p,
                                     struct change *out, size_t *count, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    while (st == EMAC_OK && (b->used + p->count) * 2 > b->cap)
        st = slots_grow(b, err);
    *count = 0;
    for (size_t i = 0; i < p->count && st == EMAC_OK;) {
        struct change *c = &out[(*count)++];
        const char *account = p->entry[i].account;
        st = slot_get(b, account, &c->slot, err);
        for (c->units = 0; i < p->count && strcmp(p->entry[i].account, account) == 0; i++) {
            bool fits = emac_add_i64(c->units, p->entry[i].amount_units, &c->units);
            EMAC_ASSERT(fits); /* INV-1 */
        }
    }
    return st;
}

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

/* May the balances become so (INV-2)? */
static enum emac_status changes_check(const struct ledger_posting *p, struct change *c,
                                      size_t count, struct emac_err *err)
{
    for (size_t i = 0; i < count; i++) {
        const char *account = c[i].slot->account;
        int64_t net = c[i].units, before = c[i].slot->units;
        if (!emac_add_i64(before, net, &c[i].units))
            return emac_fail(err, EMAC_INVALID, "the balance of '%s' would pass the largest number",
                             account);
        if (c[i].units < ledger_floor(account))
            return floor_passed(account, before, -net, err);
    }
    return EMAC_OK;
}

/* ---- writing ---- */

/* *fresh is false, and nothing was written, when the key is there (INV-3). */
static enum emac_status posting_insert(struct db *db, const struct ledger_posting *p, int64_t id,
                                       const uint8_t hash[SHA256_BYTES], bool *fresh,
                                       struct emac_err *err)
{
    int64_t changed;
    enum emac_status st =
        db_change(db, &changed, err,
                  "INSERT INTO postings (id, key, cause, job, detail, at_ms, "
                  "hash) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
                  "ittttib", id, p->key, p->cause, p->job, p->detail, (int64_t)p->at_ms,
                  (const void *)hash, (size_t)SHA256_BYTES);
    *fresh = changed == 1;
    return st;
}

static enum emac_status entries_insert(struct db *db, const struct ledger_posting *p, int64_t id,
                                       struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < p->count && st == EMAC_OK; i++)
        st = db_exec(db, err,
                     "INSERT INTO entries (posting, line, account, amount) VALUES (?, ?, ?, ?)",
                     "iiti", id, (int64_t)i + 1, p->entry[i].account, p->entry[i].amount_units);
    return st;
}

/* The posting after the head; *fresh as above. */
static enum emac_status posting_write(struct ledger_batch *b, const struct ledger_posting *p,
                                      bool *fresh, struct emac_err *err)
{
    uint8_t hash[SHA256_BYTES];
    int64_t id = b->head_id + 1;
    enum emac_status st = ledger_posting_hash(p, id, b->head_hash, hash, err);
    if (st != EMAC_OK)
        return st; /* not text: refused, nothing is written */
    EMAC_TRY(st, posting_insert(b->db, p, id, hash, fresh, err));
    if (*fresh) {
        EMAC_TRY(st, entries_insert(b->db, p, id, err));
        b->head_id = id;
        memcpy(b->head_hash, hash, SHA256_BYTES);
    }
    return EMAC_OK;
out:
    b->broken = true;
    return st;
}

/* What a key that may be there already makes of `verdict`, which is what the posting would get if
 * it were new: an old posting is OK even when its money is gone by now. */
static enum emac_status repeat_judge(struct ledger_batch *b, const struct ledger_posting *p,
                                     const struct emac_err *verdict, struct emac_err *err)
{
    bool there = false, equal = false;
    enum emac_status st = key_find(b->db, p, &there, &equal, err);
    if (st != EMAC_OK)
        b->broken = true;
    if (st != EMAC_OK || (there && equal))
        return st;
    if (there)
        return emac_fail(err, EMAC_CONFLICT,
                         "posting '%s' was made before with other entries: use another key",
                         p->key);
    EMAC_ASSERT(verdict->status != EMAC_OK);
    if (err != NULL)
        *err = *verdict;
    return verdict->status;
}

enum emac_status ledger_batch_post(struct ledger_batch *b, const struct ledger_posting *posting,
                                   bool *posted, struct emac_err *err)
{
    struct ledger_posting p = *posting;
    struct change change[LEDGER_ENTRIES_MAX];
    struct emac_err verdict = {.status = EMAC_OK};
    size_t count = 0;
    bool fresh = false;
    EMAC_ASSERT(!b->broken && db_in_transaction(b->db));
    if (posted != NULL)
        *posted = false;
    enum emac_status st = ledger_posting_check(&p, err);
    if (st != EMAC_OK)
        return st;
    qsort(p.entry, p.count, sizeof p.entry[0], ledger_entry_compare);
    st = changes_find(b, &p, change, &count, err);
    b->broken = st != EMAC_OK;
    if (st != EMAC_OK)
        return st;
    if (changes_check(&p, change, count, &verdict) == EMAC_OK) {
        st = posting_write(b, &p, &fresh, err);
        if (st != EMAC_OK)
            return st;
    }
    if (!fresh)
        return repeat_judge(b, &p, &verdict, err);
    for (size_t i = 0; i < count; i++) {
        change[i].slot->units = change[i].units;
        change[i].slot->changed = true;
    }
    if (posted != NULL)
        *posted = true;
    return EMAC_OK;
}

/* ---- start and end ---- */

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

static enum emac_status batch_open(struct ledger_batch *b, struct db *db, struct emac_err *err)
{
    EMAC_ASSERT(db_in_transaction(db));
    batch_init(b, db);
    enum emac_status st = ledger_head(db, &b->head_id, b->head_hash, err);
    b->first_id = b->head_id;
    return st;
}

static enum emac_status balances_write(struct ledger_batch *b, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < b->cap && st == EMAC_OK; i++) {
        if (b->slot[i].account != NULL && b->slot[i].changed)
            st = db_exec(b->db, err,
                         "INSERT INTO balances (account, units) VALUES (?, ?) "
                         "ON CONFLICT (account) DO UPDATE SET units = excluded.units",
                         "ti", b->slot[i].account, b->slot[i].units);
    }
    return st;
}

/* INV-1 and INV-8 of what is in the database now: the entries of the batch, posting by posting. */
static enum emac_status entries_prove(struct ledger_batch *b, struct emac_err *err)
{
    struct db_stmt *q;
    bool row;
    int64_t sum = 0, id = b->first_id;
    enum ledger_asset asset = LEDGER_MONEY;
    enum emac_status st = db_query(b->db, &q, err,
                                   "SELECT posting, amount, account FROM entries "
                                   "WHERE posting > ? ORDER BY posting, line",
                                   "i", b->first_id);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        if (db_i64(q, 0) != id) {
            EMAC_ASSERT(sum == 0 && db_i64(q, 0) == id + 1);
            asset = ledger_asset_of(db_text(q, 2));
            id++;
        }
        EMAC_ASSERT(ledger_asset_of(db_text(q, 2)) == asset);
        bool fits = emac_add_i64(sum, db_i64(q, 1), &sum);
        EMAC_ASSERT(fits);
    }
    EMAC_ASSERT(st != EMAC_OK || (sum == 0 && id == b->head_id));
    return st;
}

/* INV-2 and INV-4 of the accounts of the batch. */
static enum emac_status balances_prove(struct ledger_batch *b, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < b->cap && st == EMAC_OK; i++) {
        int64_t units = 0;
        if (b->slot[i].account == NULL || !b->slot[i].changed)
            continue;
        st = ledger_balance(b->db, b->slot[i].account, &units, err);
        EMAC_ASSERT(st != EMAC_OK ||
                    (units == b->slot[i].units && units >= ledger_floor(b->slot[i].account)));
    }
    return st;
}

enum emac_status ledger_batch_end(struct ledger_batch *b, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    EMAC_ASSERT(!b->broken && db_in_transaction(b->db));
    if (b->head_id == b->first_id)
        return EMAC_OK;
    EMAC_TRY(st, db_exec(b->db, err,
                         "INSERT INTO ledger_head (one, posting, hash) VALUES (1, ?, ?) "
                         "ON CONFLICT (one) DO UPDATE SET posting = excluded.posting, "
                         "hash = excluded.hash",
                         "ib", b->head_id, (const void *)b->head_hash, (size_t)SHA256_BYTES));
    EMAC_TRY(st, balances_write(b, err));
    EMAC_TRY(st, entries_prove(b, err));
    EMAC_TRY(st, balances_prove(b, err));
    b->first_id = b->head_id;
out:
    b->broken = st != EMAC_OK;
    return st;
}

enum emac_status ledger_batch_start(struct db *db, struct ledger_batch **out, struct emac_err *err)
{
    struct ledger_batch *b;
    *out = NULL;
    enum emac_status st = emac_alloc(&b, 1, sizeof *b, err);
    if (st != EMAC_OK)
        return st;
    st = batch_open(b, db, err);
    if (st == EMAC_OK)
        *out = b;
    else
        ledger_batch_free(b);
    return st;
}

enum emac_status ledger_batch_balance(struct ledger_batch *b, const char *account, int64_t *out,
                                      struct emac_err *err)
{
    struct slot *s;
    enum emac_status st = slot_get(b, account, &s, err);
    *out = st == EMAC_OK ? s->units : 0;
    return st;
}

void ledger_batch_free(struct ledger_batch *b)
{
    if (b == NULL)
        return;
    batch_release(b);
    free(b);
}

/* ---- one posting ---- */

enum emac_status ledger_post(struct db *db, const struct ledger_posting *p, bool *posted,
                             struct emac_err *err)
{
    struct ledger_batch b;
    if (posted != NULL)
        *posted = false;
    enum emac_status st = batch_open(&b, db, err);
    if (st == EMAC_OK)
        st = ledger_batch_post(&b, p, posted, err);
    if (st == EMAC_OK)
        st = ledger_batch_end(&b, err);
    if (st != EMAC_OK && posted != NULL)
        *posted = false;
    batch_release(&b);
    return st;
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

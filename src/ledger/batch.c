/* Postings of one transaction. A posting is one row, written as it comes, so that its key is found
 * by those that follow; the head and the balances are kept in memory until the end. One posting by
 * itself is a batch of one. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "ledger/ledger_impl.h"

/* ---- accounts ---- */

static struct ledger_slot *slot_find(struct ledger_slot *slot, size_t cap, const char *account)
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
    struct ledger_slot *more;
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

/* Both stay 0 for an account that was never used. */
static enum emac_status account_read(struct db *db, const char *account, int64_t *id,
                                     int64_t *units, struct emac_err *err)
{
    struct db_stmt *q;
    enum emac_status st =
        db_first(db, &q, err, "SELECT id, units FROM accounts WHERE account = ?", "t", account);
    if (q == NULL)
        return st;
    *id = db_i64(q, 0);
    *units = db_i64(q, 1);
    db_done(q);
    return EMAC_OK;
}

enum emac_status ledger_slot_get(struct ledger_batch *b, const char *account,
                                 struct ledger_slot **out, struct emac_err *err)
{
    enum emac_status st;
    int64_t id = 0, units = 0;
    *out = slot_find(b->slot, b->cap, account);
    if ((*out)->account != NULL)
        return EMAC_OK;
    EMAC_TRY(st, account_read(b->db, account, &id, &units, err));
    if ((b->used + 1) * 2 > b->cap) {
        EMAC_TRY(st, slots_grow(b, err));
        *out = slot_find(b->slot, b->cap, account);
    }
    **out = (struct ledger_slot){emac_strdup(account), id, units, units, false};
    b->used++;
out:
    return st;
}

static void batch_init(struct ledger_batch *b, struct db *db)
{
    b->db = db;
    b->slot = b->few;
    b->cap = LEDGER_SLOTS_FIRST;
    b->used = 0;
    b->account_id = -1;
    b->broken = false;
    memset(b->few, 0, sizeof b->few);
}

void ledger_batch_release(struct ledger_batch *b)
{
    for (size_t i = 0; i < b->cap && b->used > 0; i++)
        free(b->slot[i].account);
    if (b->slot != b->few)
        free(b->slot);
}

/* ---- balances ---- */

struct change {
    struct ledger_slot *slot;
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
        st = ledger_slot_get(b, account, &c->slot, err);
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

/* The entries as their column has them. An account without a row is number 0, which no row has. */
static void entries_text(const struct ledger_posting *p, const struct change *change,
                         char out[LEDGER_ENTRIES_TEXT_MAX])
{
    int64_t id[LEDGER_ENTRIES_MAX];
    size_t at = 0;
    for (size_t i = 0; i < p->count; i++) {
        at += strcmp(p->entry[i].account, change[at].slot->account) != 0;
        id[i] = change[at].slot->id;
    }
    ledger_entries_print(out, p, id);
}

/* Numbers for the accounts that have no row yet; how many, the first number in *first. */
static enum emac_status ids_give(struct ledger_batch *b, struct change *change, size_t count,
                                 int64_t *first, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    *first = INT64_MAX;
    for (size_t i = 0; i < count && st == EMAC_OK; i++) {
        if (change[i].slot->id != 0)
            continue;
        if (b->account_id < 0)
            st = db_one_i64(b->db, &b->account_id, err, "SELECT COALESCE(MAX(id), 0) FROM accounts",
                            NULL);
        change[i].slot->id = st == EMAC_OK ? ++b->account_id : 0;
        if (*first == INT64_MAX)
            *first = change[i].slot->id;
    }
    return st;
}

/* They are not needed after all. */
static void ids_take_back(struct ledger_batch *b, struct change *change, size_t count,
                          int64_t first)
{
    for (size_t i = 0; i < count; i++) {
        if (change[i].slot->id < first)
            continue;
        change[i].slot->id = 0;
        b->account_id--;
    }
}

/* Rows for those from `first` on. */
static enum emac_status accounts_insert(struct db *db, const struct change *change, size_t count,
                                        int64_t first, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < count && st == EMAC_OK; i++) {
        const struct ledger_slot *s = change[i].slot;
        if (s->id >= first)
            st = db_exec(db, err, "INSERT INTO accounts (id, account, units) VALUES (?, ?, 0)",
                         "it", s->id, s->account);
    }
    return st;
}

/* *fresh is false, and nothing was written, when the key is there (INV-3). */
static enum emac_status posting_insert(struct db *db, const struct ledger_posting *p, int64_t id,
                                       const char *entries, const uint8_t hash[SHA256_BYTES],
                                       bool *fresh, struct emac_err *err)
{
    int64_t changed;
    uint8_t name[LEDGER_KEY_HASH_BYTES];
    ledger_key_hash(name, p->key);
    enum emac_status st = db_change(
        db, &changed, err,
        "INSERT INTO journal (id, at_ms, key, key_hash, cause, job, detail, entries, hash)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key_hash) DO NOTHING",
        "iitbttttb", id, (int64_t)p->at_ms, p->key, (const void *)name, sizeof name, p->cause,
        p->job, p->detail, entries, (const void *)hash, (size_t)SHA256_BYTES);
    *fresh = changed == 1;
    return st;
}

/* The posting after the head; *fresh as above. */
static enum emac_status posting_write(struct ledger_batch *b, const struct ledger_posting *p,
                                      struct change *change, size_t count, bool *fresh,
                                      struct emac_err *err)
{
    uint8_t hash[SHA256_BYTES];
    char entries[LEDGER_ENTRIES_TEXT_MAX];
    int64_t id = b->head_id + 1, first;
    enum emac_status st = ledger_posting_hash(p, id, b->head_hash, hash, err);
    if (st != EMAC_OK)
        return st; /* not text: refused, nothing is written */
    EMAC_TRY(st, ids_give(b, change, count, &first, err));
    entries_text(p, change, entries);
    EMAC_TRY(st, posting_insert(b->db, p, id, entries, hash, fresh, err));
    if (!*fresh) {
        ids_take_back(b, change, count, first);
        return EMAC_OK;
    }
    EMAC_TRY(st, accounts_insert(b->db, change, count, first, err));
    b->head_id = id;
    memcpy(b->head_hash, hash, SHA256_BYTES);
    return EMAC_OK;
out:
    b->broken = true;
    return st;
}

/* *there = false when the key is new; when it stands for something else, *equal is false too. */
static enum emac_status key_find(struct db *db, const struct ledger_posting *p,
                                 const struct change *change, bool *there, bool *equal,
                                 struct emac_err *err)
{
    struct db_stmt *q;
    uint8_t name[LEDGER_KEY_HASH_BYTES];
    char entries[LEDGER_ENTRIES_TEXT_MAX];
    ledger_key_hash(name, p->key);
    enum emac_status st = db_first(
        db, &q, err, "SELECT key, cause, job, detail, entries FROM journal WHERE key_hash = ?", "b",
        (const void *)name, sizeof name);
    *there = q != NULL;
    if (q == NULL)
        return st;
    entries_text(p, change, entries);
    *equal = strcmp(db_text(q, 0), p->key) == 0 && strcmp(db_text(q, 1), p->cause) == 0 &&
             strcmp(db_text(q, 2), p->job) == 0 && strcmp(db_text(q, 3), p->detail) == 0 &&
             strcmp(db_text(q, 4), entries) == 0;
    db_done(q);
    return EMAC_OK;
}

/* What a key that may be there already makes of `verdict`, which is what the posting would get if
 * it were new: an old posting is OK even when its money is gone by now. */
static enum emac_status repeat_judge(struct ledger_batch *b, const struct ledger_posting *p,
                                     const struct change *change, const struct emac_err *verdict,
                                     struct emac_err *err)
{
    bool there = false, equal = false;
    enum emac_status st = key_find(b->db, p, change, &there, &equal, err);
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
        st = posting_write(b, &p, change, count, &fresh, err);
        if (st != EMAC_OK)
            return st;
    }
    if (!fresh)
        return repeat_judge(b, &p, change, &verdict, err);
    for (size_t i = 0; i < count; i++) {
        change[i].slot->units = change[i].units;
        change[i].slot->changed = true;
    }
    if (posted != NULL)
        *posted = true;
    return EMAC_OK;
}

/* ---- start and end ---- */

static enum emac_status head_read(struct db *db, int64_t *id, uint8_t hash[SHA256_BYTES],
                                  struct emac_err *err)
{
    struct db_stmt *q;
    *id = 0;
    memset(hash, 0, SHA256_BYTES);
    enum emac_status st =
        db_first(db, &q, err, "SELECT posting, hash FROM ledger_head WHERE one = 1", NULL);
    if (q == NULL)
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

enum emac_status ledger_head(struct db *db, int64_t *id, uint8_t hash[SHA256_BYTES],
                             struct emac_err *err)
{
    enum emac_status st = ledger_group_write(db, err);
    return st == EMAC_OK ? head_read(db, id, hash, err) : st;
}

enum emac_status ledger_batch_open(struct ledger_batch *b, struct db *db, struct emac_err *err)
{
    EMAC_ASSERT(db_in_transaction(db));
    batch_init(b, db);
    enum emac_status st = head_read(db, &b->head_id, b->head_hash, err);
    b->first_id = b->head_id;
    return st;
}

static enum emac_status balances_write(struct ledger_batch *b, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < b->cap && st == EMAC_OK; i++) {
        if (b->slot[i].account != NULL && b->slot[i].changed)
            st = db_exec(b->db, err, "UPDATE accounts SET units = ? WHERE id = ?", "ii",
                         b->slot[i].units, b->slot[i].id);
    }
    return st;
}

static int by_id(const void *a, const void *b)
{
    const struct ledger_slot *x = *(struct ledger_slot *const *)a,
                             *y = *(struct ledger_slot *const *)b;
    return (x->id > y->id) - (x->id < y->id);
}

/* The changed accounts in order of their numbers; *out is `few` or the caller's to free. */
static enum emac_status slots_sort(struct ledger_batch *b,
                                   struct ledger_slot *few[LEDGER_SLOTS_FIRST],
                                   struct ledger_slot ***out, size_t *count, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    *out = few;
    *count = 0;
    if (b->used > LEDGER_SLOTS_FIRST)
        st = emac_alloc(out, b->used, sizeof(struct ledger_slot *), err);
    if (st != EMAC_OK)
        return st;
    for (size_t i = 0; i < b->cap; i++) {
        if (b->slot[i].account != NULL && b->slot[i].changed)
            (*out)[(*count)++] = &b->slot[i];
    }
    qsort(*out, *count, sizeof(struct ledger_slot *), by_id);
    return EMAC_OK;
}

static struct ledger_slot *slot_of(struct ledger_slot **slot, size_t count, int64_t id)
{
    size_t lo = 0;
    while (count > 1) {
        size_t half = count / 2;
        if (slot[lo + half]->id <= id)
            lo += half;
        count -= half;
    }
    EMAC_ASSERT(count == 1 && slot[lo]->id == id);
    return slot[lo];
}

/* INV-1 and INV-8 of one row, whose entries go to what their accounts are proved to have. */
static void entries_prove(struct ledger_slot **slot, size_t count, const char *text)
{
    struct ledger_stored_entry e;
    const struct ledger_slot *first = NULL;
    struct ledger_slot *s = NULL;
    int64_t sum = 0, net = 0;
    bool fits = true;
    for (size_t n = 0; ledger_entries_next(&text, n, &e); n++) {
        if (s == NULL || s->id != e.account) {
            fits = fits && (s == NULL || emac_add_i64(s->proved, net, &s->proved));
            s = slot_of(slot, count, e.account);
            net = 0;
        }
        first = first == NULL ? s : first;
        EMAC_ASSERT(ledger_asset_of(s->account) == ledger_asset_of(first->account));
        fits = fits && emac_add_i64(net, e.units, &net) && emac_add_i64(sum, e.units, &sum);
    }
    EMAC_ASSERT(fits && s != NULL && text == NULL && sum == 0);
    fits = emac_add_i64(s->proved, net, &s->proved);
    EMAC_ASSERT(fits);
}

/* What the rows of the batch, as the database has them now, add to each account. */
static enum emac_status journal_prove(struct ledger_batch *b, struct ledger_slot **slot,
                                      size_t count, struct emac_err *err)
{
    struct db_stmt *q;
    bool row;
    int64_t id = b->first_id;
    enum emac_status st =
        db_query(b->db, &q, err, "SELECT id, entries FROM journal WHERE id > ? ORDER BY id", "i",
                 b->first_id);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        EMAC_ASSERT(db_i64(q, 0) == ++id);
        entries_prove(slot, count, db_text(q, 1));
    }
    EMAC_ASSERT(st != EMAC_OK || id == b->head_id);
    return st;
}

/* INV-2 and INV-4: the stored balance, what the postings came to, and the sum of the rows. */
static enum emac_status balances_prove(struct db *db, struct ledger_slot **slot, size_t count,
                                       struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < count && st == EMAC_OK; i++) {
        int64_t units = 0;
        const struct ledger_slot *s = slot[i];
        st = db_one_i64(db, &units, err, "SELECT units FROM accounts WHERE id = ?", "i", s->id);
        EMAC_ASSERT(st != EMAC_OK ||
                    (units == s->units && units == s->proved && units >= ledger_floor(s->account)));
    }
    return st;
}

static enum emac_status batch_prove(struct ledger_batch *b, struct emac_err *err)
{
    struct ledger_slot *few[LEDGER_SLOTS_FIRST], **slot;
    size_t count;
    enum emac_status st = slots_sort(b, few, &slot, &count, err);
    if (st != EMAC_OK)
        return st;
    st = journal_prove(b, slot, count, err);
    if (st == EMAC_OK)
        st = balances_prove(b->db, slot, count, err);
    if (slot != few)
        free(slot);
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
    EMAC_TRY(st, batch_prove(b, err));
    for (size_t i = 0; i < b->cap; i++)
        b->slot[i].changed = false;
    b->first_id = b->head_id;
out:
    b->broken = st != EMAC_OK;
    return st;
}

enum emac_status ledger_batch_start(struct db *db, struct ledger_batch **out, struct emac_err *err)
{
    struct ledger_batch *b;
    *out = NULL;
    EMAC_ASSERT(!db_in_member(db)); /* members share one (group.c) */
    enum emac_status st = emac_alloc(&b, 1, sizeof *b, err);
    if (st != EMAC_OK)
        return st;
    st = ledger_batch_open(b, db, err);
    if (st == EMAC_OK)
        *out = b;
    else
        ledger_batch_free(b);
    return st;
}

enum emac_status ledger_batch_balance(struct ledger_batch *b, const char *account, int64_t *out,
                                      struct emac_err *err)
{
    struct ledger_slot *s;
    enum emac_status st = ledger_slot_get(b, account, &s, err);
    *out = st == EMAC_OK ? s->units : 0;
    return st;
}

void ledger_batch_free(struct ledger_batch *b)
{
    if (b == NULL)
        return;
    ledger_batch_release(b);
    free(b);
}

/* ---- one posting ---- */

enum emac_status ledger_post(struct db *db, const struct ledger_posting *p, bool *posted,
                             struct emac_err *err)
{
    struct ledger_batch b;
    if (posted != NULL)
        *posted = false;
    if (db_in_member(db))
        return ledger_group_post(db, p, posted, err);
    enum emac_status st = ledger_batch_open(&b, db, err);
    if (st == EMAC_OK)
        st = ledger_batch_post(&b, p, posted, err);
    if (st == EMAC_OK)
        st = ledger_batch_end(&b, err);
    if (st != EMAC_OK && posted != NULL)
        *posted = false;
    ledger_batch_release(&b);
    return st;
}

enum emac_status ledger_balance(struct db *db, const char *account, int64_t *out,
                                struct emac_err *err)
{
    int64_t id;
    bool known = false;
    enum emac_status st = EMAC_OK;
    *out = 0;
    if (db_in_member(db))
        st = ledger_group_balance(db, account, &known, out, err);
    return st == EMAC_OK && !known ? account_read(db, account, &id, out, err) : st;
}

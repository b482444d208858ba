/* Postings of the members of a group (db.h): one batch for all of them. A posting is a row at once,
 * as in any batch; the head and the balances, which nearly every member changes, are written and
 * proved once, when the group ends or somebody else is about to read (DB-4).
 *
 * What the batch remembers follows from the rows: the head and the balances as they were written
 * last, and the journal's rows since. So when a member is undone the batch is forgotten, and made
 * again from those by the next one that needs it. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "ledger/ledger_impl.h"

struct group {
    struct ledger_batch batch;
    bool open; /* the batch is; else nothing is known */
};

/* ---- from the rows ---- */

/* The entries of a posting that was written since, in the balances. */
static enum emac_status entries_take(struct ledger_batch *b, const char *text, struct emac_err *err)
{
    struct ledger_stored_entry e;
    char account[LEDGER_ACCOUNT_MAX];
    for (size_t n = 0; ledger_entries_next(&text, n, &e); n++) {
        struct ledger_slot *s;
        enum emac_status st = ledger_account_name(b->db, e.account, account, err);
        EMAC_ASSERT(st != EMAC_NOT_FOUND); /* our own row */
        if (st == EMAC_OK)
            st = ledger_slot_get(b, account, &s, err);
        if (st != EMAC_OK)
            return st;
        /* Unsigned: on the way to a sum that fits a term may not. */
        s->units = (int64_t)((uint64_t)s->units + (uint64_t)e.units);
        s->changed = true;
    }
    EMAC_ASSERT(text == NULL);
    return EMAC_OK;
}

static enum emac_status rows_take(struct ledger_batch *b, struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st =
        db_query(b->db, &q, err, "SELECT id, entries, hash FROM journal WHERE id > ? ORDER BY id",
                 "i", b->first_id);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct emac_slice hash = db_blob(q, 2);
        EMAC_ASSERT(db_i64(q, 0) == b->head_id + 1 && hash.len == SHA256_BYTES);
        b->head_id++;
        memcpy(b->head_hash, hash.data, SHA256_BYTES);
        st = entries_take(b, db_text(q, 1), err);
        if (st != EMAC_OK)
            db_done(q);
    }
    return st;
}

/* ---- what the database calls ---- */

static enum emac_status group_open(struct group *g, struct db *db, struct emac_err *err)
{
    if (g->open)
        return EMAC_OK;
    enum emac_status st = ledger_batch_open(&g->batch, db, err);
    if (st == EMAC_OK)
        st = rows_take(&g->batch, err);
    g->open = st == EMAC_OK;
    if (st != EMAC_OK)
        ledger_batch_release(&g->batch);
    return st;
}

static enum emac_status group_write(void *ctx, struct emac_err *err)
{
    struct group *g = ctx;
    enum emac_status st = group_open(g, g->batch.db, err);
    return st == EMAC_OK ? ledger_batch_end(&g->batch, err) : st;
}

static void group_forget(void *ctx)
{
    struct group *g = ctx;
    if (g->open)
        ledger_batch_release(&g->batch);
    g->open = false;
}

static void group_free(void *ctx)
{
    group_forget(ctx);
    free(ctx);
}

static enum emac_status group_of(struct db *db, struct group **out, struct emac_err *err)
{
    struct db_beside *beside = db_beside(db);
    enum emac_status st = EMAC_OK;
    if (beside->ctx == NULL)
        st = emac_alloc(out, 1, sizeof **out, err);
    if (st != EMAC_OK)
        return st;
    if (beside->ctx == NULL) {
        (*out)->batch.db = db;
        *beside = (struct db_beside){*out, group_write, group_forget, group_free};
    }
    *out = beside->ctx;
    return EMAC_OK;
}

/* ---- the ledger's side ---- */

enum emac_status ledger_group_post(struct db *db, const struct ledger_posting *p, bool *posted,
                                   struct emac_err *err)
{
    struct group *g;
    bool fresh = false;
    enum emac_status st = group_of(db, &g, err);
    if (st == EMAC_OK)
        st = group_open(g, db, err);
    if (st == EMAC_OK)
        st = ledger_batch_post(&g->batch, p, &fresh, err);
    if (fresh)
        db_beside_owe(db);
    if (posted != NULL)
        *posted = fresh;
    return st;
}

enum emac_status ledger_group_balance(struct db *db, const char *account, bool *known, int64_t *out,
                                      struct emac_err *err)
{
    struct group *g;
    *known = false;
    enum emac_status st = group_of(db, &g, err);
    if (st == EMAC_OK)
        st = group_open(g, db, err);
    if (st == EMAC_OK)
        st = ledger_batch_balance(&g->batch, account, out, err);
    *known = st == EMAC_OK;
    return st;
}

enum emac_status ledger_group_write(struct db *db, struct emac_err *err)
{
    struct group *g;
    if (!db_in_member(db))
        return EMAC_OK;
    enum emac_status st = group_of(db, &g, err);
    return st == EMAC_OK ? group_write(g, err) : st;
}

/* Every movement of money that a job causes, as ledger postings. All of it runs inside the
 * caller's transaction, beside the change of state that causes it (COORD-1). */
#include "coordinator/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX 256

static enum emac_status post(struct coordinator *c, struct ledger_posting *p, bool *posted,
                             struct emac_err *err)
{
    bool fresh = false;
    EMAC_ASSERT(db_in_transaction(c->db));
    p->at_ms = wall_ms(c);
    enum emac_status st = ledger_post(c->db, p, &fresh, err);
    if (posted)
        *posted = fresh;
    return st;
}

static void key_print(char key[KEY_MAX], const char *what, const char *a, const char *b,
                      const char *d)
{
    int n = snprintf(key, KEY_MAX, "%s:%s%s%s%s%s", what, a, b ? ":" : "", b ? b : "", d ? ":" : "",
                     d ? d : "");
    EMAC_ASSERT(n > 0 && n < KEY_MAX);
}

enum emac_status money_escrow(struct coordinator *c, const char *job, const char *owner,
                              int64_t units, const char *fund_key, bool *posted,
                              struct emac_err *err)
{
    char key[KEY_MAX];
    key_print(key, fund_key ? "fund" : "escrow", job, fund_key, NULL);
    struct ledger_posting p = {.key = key, .cause = "escrow", .job = job, .detail = ""};
    ledger_entry_add(&p, -units, "user:%s", owner);
    ledger_entry_add(&p, units, "escrow:%s", job);
    return post(c, &p, posted, err);
}

enum emac_status money_pay(struct coordinator *c, const char *job, const char *did,
                           const struct cid *task, int64_t units, struct emac_err *err)
{
    char key[KEY_MAX], detail[CID_TEXT_MAX];
    cid_text(detail, task);
    key_print(key, "pay", job, detail, did);
    struct ledger_posting p = {.key = key, .cause = "pay", .job = job, .detail = detail};
    ledger_entry_add(&p, -units, "escrow:%s", job);
    ledger_entry_add(&p, units, "held:%s:%s", did, job);
    return post(c, &p, NULL, err);
}

enum emac_status money_void(struct coordinator *c, const char *job, const char *did, int64_t *units,
                            struct emac_err *err)
{
    char key[KEY_MAX];
    *units = 0;
    enum emac_status st = db_one_i64(c->db, units, err,
                                     "SELECT COALESCE(SUM(units), 0) FROM receipts"
                                     " WHERE job = ? AND node = ? AND state = 'held'",
                                     "tt", job, did);
    if (st == EMAC_OK)
        st = db_exec(c->db, err,
                     "UPDATE receipts SET state = 'void'"
                     " WHERE job = ? AND node = ? AND state IN ('held', 'unpaid')",
                     "tt", job, did);
    if (st != EMAC_OK || *units == 0)
        return st;
    key_print(key, "void", job, did, NULL);
    struct ledger_posting p = {.key = key, .cause = "void", .job = job, .detail = ""};
    ledger_entry_add(&p, -*units, "held:%s:%s", did, job);
    ledger_entry_add(&p, *units, "escrow:%s", job);
    return post(c, &p, NULL, err);
}

enum emac_status money_void_one(struct coordinator *c, const char *job, const char *did,
                                const struct cid *task, int64_t units, struct emac_err *err)
{
    char key[KEY_MAX], detail[CID_TEXT_MAX];
    cid_text(detail, task);
    enum emac_status st = db_exec(c->db, err,
                                  "UPDATE receipts SET state = 'void'"
                                  " WHERE job = ? AND task = ? AND node = ?",
                                  "ttt", job, detail, did);
    if (st != EMAC_OK || units == 0)
        return st;
    key_print(key, "void", job, detail, did);
    struct ledger_posting p = {.key = key, .cause = "void", .job = job, .detail = detail};
    ledger_entry_add(&p, -units, "held:%s:%s", did, job);
    ledger_entry_add(&p, units, "escrow:%s", job);
    return post(c, &p, NULL, err);
}

struct due {
    char did[DID_KEY_MAX];
    int64_t units;
};

/* What is held for each rig; the caller frees *out. Collected first: postings between the rows of
 * an open query would disturb it. */
static enum emac_status held_list(struct coordinator *c, const char *job, struct due **out,
                                  size_t *count, struct emac_err *err)
{
    struct db_stmt *q;
    struct emac_buf buf;
    bool row = false;
    emac_buf_init(&buf, (size_t)NODES_MAX * 2 * sizeof(struct due));
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT node, SUM(units) FROM receipts"
                                   " WHERE job = ? AND state = 'held' GROUP BY node ORDER BY node",
                                   "t", job);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct due d = {.units = db_i64(q, 1)};
        bool fits = emac_strcpy(d.did, sizeof(d.did), db_text(q, 0));
        EMAC_ASSERT(fits);
        st = emac_buf_append(&buf, &d, sizeof(d), err);
        if (st != EMAC_OK)
            db_done(q);
    }
    *count = buf.len / sizeof(struct due);
    *out = (struct due *)(void *)emac_buf_steal(&buf, NULL);
    return st;
}

static enum emac_status settle_one(struct coordinator *c, const char *job, const struct due *d,
                                   struct emac_err *err)
{
    char key[KEY_MAX];
    key_print(key, "settle", job, d->did, NULL);
    struct ledger_posting p = {.key = key, .cause = "settle", .job = job, .detail = ""};
    ledger_entry_add(&p, -d->units, "held:%s:%s", d->did, job);
    ledger_entry_add(&p, d->units, "rig:%s", d->did);
    return post(c, &p, NULL, err);
}

static enum emac_status refund(struct coordinator *c, const char *job, const char *owner,
                               int64_t *units, struct emac_err *err)
{
    char key[KEY_MAX];
    enum emac_status st = money_escrow_balance(c, job, units, err);
    if (st != EMAC_OK || *units == 0)
        return st;
    key_print(key, "refund", job, NULL, NULL);
    struct ledger_posting p = {.key = key, .cause = "refund", .job = job, .detail = ""};
    ledger_entry_add(&p, -*units, "escrow:%s", job);
    ledger_entry_add(&p, *units, "user:%s", owner);
    return post(c, &p, NULL, err);
}

enum emac_status money_settle(struct coordinator *c, const char *job, const char *owner,
                              int64_t *refunded, struct emac_err *err)
{
    struct due *due = NULL;
    size_t count = 0;
    enum emac_status st;
    EMAC_TRY(st, held_list(c, job, &due, &count, err));
    for (size_t i = 0; i < count; i++)
        EMAC_TRY(st, settle_one(c, job, &due[i], err));
    EMAC_TRY(st, db_exec(c->db, err,
                         "UPDATE receipts SET state = 'settled' WHERE job = ? AND state = 'held'",
                         "t", job));
    st = refund(c, job, owner, refunded, err);
out:
    free(due);
    return st;
}

enum emac_status money_escrow_balance(struct coordinator *c, const char *job, int64_t *out,
                                      struct emac_err *err)
{
    char account[LEDGER_ACCOUNT_MAX];
    int n = snprintf(account, sizeof(account), "escrow:%s", job);
    EMAC_ASSERT(n > 0 && (size_t)n < sizeof(account));
    return ledger_balance(c->db, account, out, err);
}

enum emac_status money_faucet(struct coordinator *c, const char *did, bool *given,
                              struct emac_err *err)
{
    char key[KEY_MAX];
    key_print(key, "faucet", did, NULL, NULL);
    struct ledger_posting p = {.key = key, .cause = "faucet", .job = "", .detail = ""};
    ledger_entry_add(&p, -COORDINATOR_FAUCET_UNITS, "faucet");
    ledger_entry_add(&p, COORDINATOR_FAUCET_UNITS, "user:%s", did);
    return post(c, &p, given, err);
}

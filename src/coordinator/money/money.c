/* Every movement of money that a job causes, as ledger postings. All of it runs inside the
 * caller's transaction, beside the change of state that causes it (COORD-1). */
#include "coordinator/money/bonds.h"
#include "coordinator/storage/datacap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX          256
#define CLOSED_BYTES_MAX (64u << 20)

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
    stake_held_add(c, did, units);
    return post(c, &p, NULL, err);
}

/* Which of a rig's receipts in a job a quarantine makes void: "r" is the receipt. */
#define HELD_OR_UNPAID "r.job = ? AND r.node = ? AND r.state IN ('held', 'unpaid')"
#define AND_UNCONFIRMED                                                                            \
    " AND NOT EXISTS (SELECT 1 FROM receipts o WHERE o.job = r.job AND o.step = r.step"            \
    " AND o.task = r.task AND o.node <> r.node AND o.state <> 'void' AND o.outputs = r.outputs"    \
    " AND NOT EXISTS (SELECT 1 FROM nodes n WHERE n.did = o.node AND n.state = 'quarantined'))"
#define VOID_SUM                                                                                   \
    "SELECT COALESCE(SUM(CASE WHEN r.state = 'held' THEN r.units ELSE 0 END), 0)"                  \
    " FROM receipts AS r WHERE " HELD_OR_UNPAID
#define VOID_SET "UPDATE receipts AS r SET state = 'void' WHERE " HELD_OR_UNPAID

/* `by`: whose word it rested on; NULL: its own fault. */
static enum emac_status void_of(struct coordinator *c, const char *job, const char *owner,
                                const char *did, enum fault fault, const char *by, int64_t *units,
                                struct emac_err *err)
{
    bool all = fault != FAULT_FAULTY;
    char key[KEY_MAX];
    *units = 0;
    enum emac_status st =
        db_one_i64(c->db, units, err, all ? VOID_SUM : VOID_SUM AND_UNCONFIRMED, "tt", job, did);
    if (st == EMAC_OK)
        st = db_exec(c->db, err, all ? VOID_SET : VOID_SET AND_UNCONFIRMED, "tt", job, did);
    if (st != EMAC_OK || *units == 0)
        return st;
    key_print(key, all ? "void" : "void-faulty", job, did, by);
    struct ledger_posting p = {.key = key, .cause = "void", .job = job, .detail = ""};
    ledger_entry_add(&p, -*units, "held:%s:%s", did, job);
    ledger_entry_add(&p, *units, owner ? "user:%s" : "escrow:%s", owner ? owner : job);
    stake_held_add(c, did, -*units);
    return post(c, &p, NULL, err);
}

/* Rigs that are out, and of whose receipts the rig `did` confirmed some. */
static enum emac_status leaning_list(struct coordinator *c, const char *job, const char *did,
                                     struct emac_buf *out, struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st =
        db_query(c->db, &q, err,
                 "SELECT DISTINCT r.node FROM receipts r JOIN nodes n ON n.did = r.node"
                 " JOIN receipts b ON b.job = r.job AND b.step = r.step AND b.task = r.task"
                 " AND b.outputs = r.outputs"
                 " WHERE r.job = ? AND r.node <> ? AND b.node = ? AND n.state = 'quarantined'"
                 " AND r.state IN ('held', 'unpaid') ORDER BY r.node",
                 "ttt", job, did, did);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        char node[DID_KEY_MAX] = {0};
        bool fits = emac_strcpy(node, sizeof(node), db_text(q, 0));
        EMAC_ASSERT(fits);
        st = emac_buf_append(out, node, sizeof(node), err);
        if (st != EMAC_OK)
            db_done(q);
    }
    return st;
}

enum emac_status money_void(struct coordinator *c, const char *job, const char *owner,
                            const char *did, enum fault fault, int64_t *units, struct emac_err *err)
{
    struct emac_buf leaning;
    enum emac_status st;
    emac_buf_init(&leaning, (size_t)NODES_MAX * DID_KEY_MAX);
    EMAC_TRY(st, void_of(c, job, owner, did, fault, NULL, units, err));
    EMAC_TRY(st, leaning_list(c, job, did, &leaning, err));
    for (size_t at = 0; at < leaning.len; at += DID_KEY_MAX) {
        int64_t more;
        EMAC_TRY(st, void_of(c, job, owner, (const char *)leaning.data + at, FAULT_FAULTY, did,
                             &more, err));
        *units += more;
    }
out:
    emac_buf_release(&leaning);
    return st;
}

struct closed {
    char id[JOB_ID_MAX], owner[DID_KEY_MAX];
};

/* Jobs that have ended and still hold pay: those of rows that `where` of the query picks. */
static enum emac_status closed_list(struct coordinator *c, const char *sql, const char *did,
                                    int64_t until_ms, struct emac_buf *out, struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st = did ? db_query(c->db, &q, err, sql, "t", did)
                              : db_query(c->db, &q, err, sql, "i", until_ms);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct closed j = {0};
        bool fits = emac_strcpy(j.id, sizeof(j.id), db_text(q, 0)) &&
                    emac_strcpy(j.owner, sizeof(j.owner), db_text(q, 1));
        EMAC_ASSERT(fits);
        st = emac_buf_append(out, &j, sizeof(j), err);
        if (st != EMAC_OK)
            db_done(q);
    }
    return st;
}

enum emac_status money_void_closed(struct coordinator *c, const char *did, enum fault fault,
                                   struct emac_err *err)
{
    struct emac_buf jobs;
    int64_t units;
    emac_buf_init(&jobs, CLOSED_BYTES_MAX);
    enum emac_status st =
        closed_list(c,
                    "SELECT j.id, j.owner FROM jobs j WHERE j.settle_ms > 0 AND EXISTS"
                    " (SELECT 1 FROM receipts r WHERE r.job = j.id AND r.node = ?"
                    " AND r.state IN ('held', 'unpaid'))",
                    did, 0, &jobs, err);
    const struct closed *j = (const struct closed *)(const void *)jobs.data;
    for (size_t i = 0; st == EMAC_OK && i < jobs.len / sizeof(*j); i++)
        st = money_void(c, j[i].id, j[i].owner, did, fault, &units, err);
    emac_buf_release(&jobs);
    return st;
}

enum emac_status money_void_one(struct coordinator *c, const char *job, const char *did,
                                const struct cid *task, int64_t units, struct emac_err *err)
{
    char key[KEY_MAX], detail[CID_TEXT_MAX];
    cid_text(detail, task);
    enum emac_status st = db_exec(c->db, err,
                                  "UPDATE receipts SET state = 'void'"
                                  " WHERE job = ? AND step = (SELECT t.step FROM tasks t"
                                  " WHERE t.job = ? AND t.cid = ?) AND task = ? AND node = ?",
                                  "ttttt", job, job, detail, detail, did);
    if (st != EMAC_OK || units == 0)
        return st;
    key_print(key, "void", job, detail, did);
    struct ledger_posting p = {.key = key, .cause = "void", .job = job, .detail = detail};
    ledger_entry_add(&p, -units, "held:%s:%s", did, job);
    ledger_entry_add(&p, units, "escrow:%s", job);
    stake_held_add(c, did, -units);
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

/* The network's fee, where there is one, is rounded up; *fees grows by it. */
static enum emac_status settle_one(struct coordinator *c, const char *job, const struct due *d,
                                   int64_t *fees, struct emac_err *err)
{
    char key[KEY_MAX];
    int64_t fee = datacap_fee_of(c, d->units);
    key_print(key, "settle", job, d->did, NULL);
    struct ledger_posting p = {.key = key, .cause = "settle", .job = job, .detail = ""};
    ledger_entry_add(&p, -d->units, "held:%s:%s", d->did, job);
    ledger_entry_add(&p, d->units - fee, "rig:%s", d->did);
    ledger_entry_add(&p, fee, "fee");
    *fees += fee;
    stake_held_add(c, d->did, -d->units);
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

/* in tx */
static enum emac_status held_settle(struct coordinator *c, const char *job, struct emac_err *err)
{
    struct due *due = NULL;
    size_t count = 0;
    int64_t fees = 0;
    enum emac_status st;
    EMAC_TRY(st, held_list(c, job, &due, &count, err));
    for (size_t i = 0; i < count; i++)
        EMAC_TRY(st, settle_one(c, job, &due[i], &fees, err));
    EMAC_TRY(st, datacap_fees_note(c, job, fees, err));
    st =
        db_exec(c->db, err,
                "UPDATE receipts SET state = 'settled' WHERE job = ? AND state = 'held'", "t", job);
out:
    free(due);
    return st;
}

enum emac_status money_close(struct coordinator *c, const char *job, const char *owner,
                             int64_t *refunded, struct emac_err *err)
{
    enum emac_status st = c->cfg.window_ms == 0
                              ? held_settle(c, job, err)
                              : db_exec(c->db, err, "UPDATE jobs SET settle_ms = ? WHERE id = ?",
                                        "it", (int64_t)(wall_ms(c) + c->cfg.window_ms), job);
    return st == EMAC_OK ? refund(c, job, owner, refunded, err) : st;
}

static enum emac_status settle_job(struct coordinator *c, const char *job, struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, db_begin(c->db, err));
    st = held_settle(c, job, err);
    if (st == EMAC_OK)
        st = db_exec(c->db, err, "UPDATE jobs SET settle_ms = 0 WHERE id = ?", "t", job);
    if (st == EMAC_OK)
        st = datacap_use_note(c, job, err);
    if (st == EMAC_OK) {
        job_log(c, job, LOG_INFO, "the dispute window is closed: rigs are paid");
        st = db_commit(c->db, err);
    } else {
        db_rollback(c->db);
    }
    if (st != EMAC_OK)
        c->stakes_stale = true;
out:
    return st;
}

void money_settle_due(struct coordinator *c)
{
    struct emac_buf jobs;
    struct emac_err err = {0};
    emac_buf_init(&jobs, CLOSED_BYTES_MAX);
    enum emac_status st = closed_list(c,
                                      "SELECT id, owner FROM jobs WHERE settle_ms > 0"
                                      " AND settle_ms <= ? ORDER BY settle_ms LIMIT 16",
                                      NULL, (int64_t)wall_ms(c), &jobs, &err);
    const struct closed *j = (const struct closed *)(const void *)jobs.data;
    for (size_t i = 0; st == EMAC_OK && i < jobs.len / sizeof(*j); i++)
        st = settle_job(c, j[i].id, &err);
    if (st != EMAC_OK)
        LOG_W("coordinator", "cannot settle what is due, will retry: %s", err.text);
    emac_buf_release(&jobs);
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

/* What an error cost others, and who bears it (STAND-6 of coordinator/checks/trust.h). */
#include "coordinator/money/bonds.h"

#include <stdio.h>

#define RECEIPTS_MOST 64 /* that are taken: where they are worth next to nothing, the bond pays */

struct cost {
    const char *did;
    const struct error_at *at;
    char task[CID_TEXT_MAX], owner[DID_KEY_MAX];
    int64_t price, all, held, bond; /* units: of the task, to be borne, borne of either */
};

static enum emac_status cost_read(struct coordinator *c, struct cost *x, struct emac_err *err)
{
    struct db_stmt *q;
    enum emac_status st;
    cid_text(x->task, x->at->task);
    EMAC_TRY(st, db_one_i64(c->db, &x->price, err,
                            "SELECT COALESCE(MAX(units), 0) FROM leases"
                            " WHERE job = ? AND task = ? AND node = ?",
                            "ttt", x->at->job, x->task, x->did));
    x->all = trust_cost_units(x->price);
    EMAC_TRY(st, db_first(c->db, &q, err, "SELECT owner FROM jobs WHERE id = ?", "t", x->at->job));
    EMAC_ASSERT(q != NULL);
    bool fits = emac_strcpy(x->owner, sizeof(x->owner), db_text(q, 0));
    EMAC_ASSERT(fits);
    db_done(q);
out:
    return st;
}

/* The dearest receipt that is held still and is worth no more than what is left; *units 0: none. */
static enum emac_status receipt_next(struct coordinator *c, const struct cost *x, struct cid *task,
                                     int64_t *units, struct emac_err *err)
{
    struct db_stmt *q;
    *units = 0;
    enum emac_status st =
        db_first(c->db, &q, err,
                 "SELECT task, units FROM receipts WHERE job = ? AND node = ? AND state = 'held'"
                 " AND units > 0 AND units <= ? ORDER BY units DESC, task LIMIT 1",
                 "tti", x->at->job, x->did, x->all - x->held);
    if (q == NULL)
        return st;
    *task = cid_from_text(db_text(q, 0));
    *units = db_i64(q, 1);
    db_done(q);
    return EMAC_OK;
}

/* Pay that others confirmed goes back to the escrow that it came from. */
static enum emac_status from_held(struct coordinator *c, struct cost *x, struct emac_err *err)
{
    struct cjob *j = job_find(c, x->at->job);
    EMAC_ASSERT(j != NULL);
    for (uint32_t i = 0; i < RECEIPTS_MOST && x->held < x->all; i++) {
        struct cid task;
        int64_t units;
        enum emac_status st = receipt_next(c, x, &task, &units, err);
        if (st == EMAC_OK && units > 0)
            st = money_void_one(c, x->at->job, x->did, &task, units, err);
        if (st != EMAC_OK || units == 0)
            return st;
        x->held += units;
        j->escrow_units += units;
    }
    return EMAC_OK;
}

/* The first of its bonds that has anything left; *units 0: none. */
static enum emac_status bond_next(struct coordinator *c, const struct cost *x,
                                  char source[LEDGER_ACCOUNT_MAX], int64_t *units,
                                  struct emac_err *err)
{
    struct db_stmt *q;
    *units = 0;
    enum emac_status st = db_first(c->db, &q, err,
                                   "SELECT source, units FROM bonds WHERE did = ? AND units > 0"
                                   " ORDER BY source LIMIT 1",
                                   "t", x->did);
    if (q == NULL)
        return st;
    bool fits = emac_strcpy(source, LEDGER_ACCOUNT_MAX, db_text(q, 0));
    EMAC_ASSERT(fits);
    *units = db_i64(q, 1);
    db_done(q);
    return EMAC_OK;
}

static enum emac_status bond_post(struct coordinator *c, const struct cost *x, struct emac_err *err)
{
    char key[LEDGER_TEXT_MAX];
    int n = snprintf(key, sizeof(key), "costs:%s", x->did);
    EMAC_ASSERT(n > 0 && (size_t)n < sizeof(key));
    struct ledger_posting p = {
        .key = key, .cause = "costs", .job = x->at->job, .detail = x->task, .at_ms = wall_ms(c)};
    ledger_entry_add(&p, -x->bond, "stake:%s", x->did);
    ledger_entry_add(&p, x->bond, "user:%s", x->owner);
    return ledger_post(c->db, &p, NULL, err);
}

static enum emac_status from_bonds(struct coordinator *c, struct cost *x, struct emac_err *err)
{
    char source[LEDGER_ACCOUNT_MAX];
    int64_t there;
    enum emac_status st;
    do {
        EMAC_TRY(st, bond_next(c, x, source, &there, err));
        int64_t left = x->all - x->held - x->bond, units = there < left ? there : left;
        if (units == 0)
            break;
        EMAC_TRY(st, db_exec(c->db, err,
                             "UPDATE bonds SET units = units - ?, costs = costs + ?,"
                             " return_ms = CASE WHEN units = ? THEN 0 ELSE return_ms END"
                             " WHERE did = ? AND source = ?",
                             "iiitt", units, units, units, x->did, source));
        x->bond += units;
    } while (true);
    if (x->bond > 0)
        st = bond_post(c, x, err);
out:
    return st;
}

enum emac_status costs_charge(struct coordinator *c, const char *did, const struct error_at *at,
                              struct emac_err *err)
{
    struct cost x = {.did = did, .at = at};
    int64_t before = 0;
    enum emac_status st;
    EMAC_ASSERT(db_in_transaction(c->db));
    EMAC_TRY(st, db_exec(c->db, err, /* STAND-4 */
                         "UPDATE bonds SET return_ms = ? WHERE did = ? AND return_ms > 0"
                         " AND return_ms < ?",
                         "iti", (int64_t)(wall_ms(c) + c->cfg.window_ms), did,
                         (int64_t)(wall_ms(c) + c->cfg.window_ms)));
    EMAC_TRY(st, db_one_i64(c->db, &before, err, "SELECT COUNT(*) FROM fault_costs WHERE did = ?",
                            "t", did));
    if (at == NULL || before > 0)
        return EMAC_OK;
    EMAC_TRY(st, cost_read(c, &x, err));
    EMAC_TRY(st, from_held(c, &x, err));
    EMAC_TRY(st, from_bonds(c, &x, err));
    EMAC_ASSERT(x.held + x.bond <= x.all); /* STAND-6 */
    c->stakes_stale = true;
    st = db_exec(c->db, err,
                 "INSERT INTO fault_costs (did, job, task, cost_units, held_units, bond_units,"
                 " at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)",
                 "tttiiii", did, at->job, x.task, x.all, x.held, x.bond, (int64_t)wall_ms(c));
out:
    return st;
}

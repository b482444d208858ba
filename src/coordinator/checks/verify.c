/* Verification: votes, payment for them, disputes, quarantine.
 *
 * A vote is a receipt of a rig that is not quarantined. Results of equal tasks are equal bit for
 * bit, so two votes that differ prove that somebody erred or lied; a third rig tells who.
 * Where there is a judge, they are told apart by a dispute (disputes.h).
 * Everything that writes here runs inside a transaction of the caller and may change memory as it
 * goes: a caller whose transaction fails marks the job stale, and memory is built from the rows. */
#include "coordinator/money/bonds.h"
#include "coordinator/assets/private.h"
#include "coordinator/jobs/suspects.h"
#include "coordinator/checks/disputes.h"
#include "coordinator/checks/behind.h"
#include "coordinator/checks/checks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DISPUTE_SAY_MS 30000

enum verdict verify_votes(const struct vote *vote, uint32_t count, uint32_t *winner)
{
    uint32_t best = 0, second = 0;
    *winner = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t same = 0;
        bool first = true;
        for (uint32_t k = 0; k < count; k++)
            if (outputs_equal(&vote[i].outputs, &vote[k].outputs)) {
                first = first && k >= i;
                same++;
            }
        if (!first)
            continue; /* its group was counted */
        if (same > best) {
            second = best;
            best = same;
            *winner = i;
        } else if (same > second) {
            second = same;
        }
    }
    if (count == 0)
        return VERDICT_OPEN;
    if (second == 0 || (best >= 2 && best > second))
        return VERDICT_AGREED;
    return VERDICT_DISPUTED;
}

/* ---- payment ---- */

static uint32_t paid_count(const struct ctask *t)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->vote_count; i++)
        n += t->vote[i].paid && outputs_equal(&t->vote[i].outputs, &t->outputs);
    return n;
}

static enum emac_status pay_one(struct coordinator *c, struct cjob *j, struct ctask *t,
                                struct vote *v, struct emac_err *err)
{
    char cid[CID_TEXT_MAX];
    cid_text(cid, &t->cid);
    enum emac_status st = money_pay(c, j->id, v->did, &t->cid, t->units, err);
    if (st == EMAC_OK && !v->unwritten)
        st = db_exec(c->db, err,
                     "UPDATE receipts SET state = 'held', units = ?"
                     " WHERE job = ? AND step = ? AND task = ? AND node = ?"
                     " AND state = 'unpaid'",
                     "ititt", t->units, j->id, (int64_t)t->step, cid, v->did);
    if (st == EMAC_OK) {
        v->paid = true;
        j->escrow_units -= t->units;
    }
    return st;
}

enum emac_status verify_pay(struct coordinator *c, struct cjob *j, struct ctask *t, const char *did,
                            int64_t *paid, struct emac_err *err)
{
    *paid = 0;
    EMAC_ASSERT(t->state == RESULT_ACCEPTED);
    for (uint32_t i = 0; i < t->vote_count; i++) {
        struct vote *v = &t->vote[i];
        if (v->paid || !outputs_equal(&v->outputs, &t->outputs) || paid_count(t) >= t->need ||
            cjob_free_units(j) < t->units)
            continue;
        enum emac_status st = pay_one(c, j, t, v, err);
        if (st != EMAC_OK)
            return st;
        if (strcmp(v->did, did) == 0)
            *paid = t->units;
    }
    return EMAC_OK;
}

/* ---- quarantine ---- */

/* The worst that is known of a rig stays: who was faulty may turn out to have lied. */
static enum emac_status node_row_quarantine(struct coordinator *c, const char *did,
                                            enum fault fault, const char *why, struct emac_err *err)
{
    static const char *const NAME[] = {"faulty", "outvoted", "liar"};
    EMAC_ASSERT((size_t)fault < EMAC_COUNT(NAME));
    return db_exec(c->db, err,
                   "UPDATE nodes SET state = 'quarantined', reason = ?, fault = ?"
                   " WHERE did = ? AND (state <> 'quarantined' OR"
                   " (fault = 'faulty' AND ? <> 'faulty') OR"
                   " (fault = 'outvoted' AND ? = 'liar'))",
                   "ttttt", why, NAME[fault], did, NAME[fault], NAME[fault]);
}

static enum emac_status leases_cancel(struct coordinator *c, struct cjob *j, const char *did,
                                      struct emac_err *err)
{
    int64_t owed = 0;
    enum emac_status st = db_one_i64(c->db, &owed, err,
                                     "SELECT COALESCE(SUM(units), 0) FROM leases"
                                     " WHERE job = ? AND node = ? AND state = 'open'",
                                     "tt", j->id, did);
    if (st == EMAC_OK)
        st = db_exec(c->db, err,
                     "UPDATE leases SET state = 'cancelled', ended_ms = ?"
                     " WHERE job = ? AND node = ? AND state = 'open'",
                     "itt", (int64_t)wall_ms(c), j->id, did);
    if (st == EMAC_OK)
        j->owed_units -= owed;
    return st;
}

/* Results that rested on the rig's word alone are open again. */
static enum emac_status results_withdraw(struct coordinator *c, struct cjob *j, const char *did,
                                         int64_t *count, struct emac_err *err)
{
    return db_change(c->db, count, err,
                     "UPDATE tasks SET state = 'withdrawn' WHERE job = ? AND state = 'accepted'"
                     " AND EXISTS (SELECT 1 FROM receipts r WHERE r.job = tasks.job"
                     " AND r.step = tasks.step AND r.task = tasks.cid AND r.node = ?)"
                     " AND NOT EXISTS (SELECT 1 FROM receipts r WHERE r.job = tasks.job"
                     " AND r.step = tasks.step AND r.task = tasks.cid AND r.state <> 'void'"
                     " AND r.outputs = tasks.outputs)",
                     "tt", j->id, did);
}

static enum emac_status disputed_list(struct coordinator *c, const struct cjob *j,
                                      struct emac_buf *cids, struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st = db_query(
        c->db, &q, err, "SELECT cid FROM tasks WHERE job = ? AND state = 'disputed'", "t", j->id);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct cid cid = cid_from_text(db_text(q, 0));
        st = emac_buf_append(cids, &cid, sizeof(cid), err);
        if (st != EMAC_OK)
            db_done(q);
    }
    return st;
}

enum emac_status verify_losers(struct coordinator *c, const struct cjob *j, const struct ctask *t,
                               struct emac_err *err)
{
    bool judged = c->cfg.judge != NULL && !private_task(c, j->id, &t->task);
    return judged ? disputes_note(c, j, t, err) : verify_minority(c, j, t, err);
}

enum emac_status verify_minority(struct coordinator *c, const struct cjob *j, const struct ctask *t,
                                 struct emac_err *err)
{
    const struct error_at at = {j->id, &t->cid};
    for (uint32_t i = 0; i < t->vote_count; i++) {
        if (outputs_equal(&t->vote[i].outputs, &t->outputs))
            continue;
        char why[REASON_MAX];
        const char *fault = suspect_fault(c, &t->cid);
        snprintf(why, sizeof(why),
                 "its result of task '%s' differs from what the majority of rigs computed%s%s",
                 t->slot, fault ? ": " : "", fault ? fault : "");
        enum emac_status st = verify_quarantine(c, t->vote[i].did, &at, why, err);
        if (st != EMAC_OK)
            return st;
    }
    return EMAC_OK;
}

/* With one vote less, is the dispute over? */
static enum emac_status dispute_review(struct coordinator *c, struct cjob *j, const struct cid *cid,
                                       struct emac_err *err)
{
    struct ctask *t;
    uint32_t winner;
    int64_t paid;
    enum emac_status st = ctask_load(c, j, cid, &t, err);
    if (st != EMAC_OK)
        return st;
    switch (verify_votes(t->vote, t->vote_count, &winner)) {
    case VERDICT_OPEN:
        t->state = RESULT_WITHDRAWN;
        st = ctask_update(c, j, t, err);
        break;
    case VERDICT_AGREED:
        t->state = RESULT_ACCEPTED;
        if (!outputs_equal(&t->outputs, &t->vote[winner].outputs))
            EMAC_TRY(st, metrics_forget(c, j, t, err));
        ctask_result_set(t, &t->vote[winner]);
        EMAC_TRY(st, ctask_update(c, j, t, err));
        EMAC_TRY(st, verify_losers(c, j, t, err));
        st = verify_pay(c, j, t, "", &paid, err); /* last: the losers' money is back by now */
        break;
    case VERDICT_DISPUTED:
        break;
    }
out:
    ctask_free(t);
    return st;
}

static enum emac_status quarantine_in_job(struct coordinator *c, struct cjob *j, const char *did,
                                          enum fault fault, struct emac_err *err)
{
    struct emac_buf cids;
    int64_t voided = 0, withdrawn = 0;
    char amount[32];
    enum emac_status st;
    emac_buf_init(&cids, CID_SET_MAX * sizeof(struct cid));
    j->stale = true;
    EMAC_TRY(st, money_void(c, j->id, NULL, did, fault, &voided, err));
    j->escrow_units += voided;
    EMAC_TRY(st, leases_cancel(c, j, did, err));
    EMAC_TRY(st, results_withdraw(c, j, did, &withdrawn, err));
    if (voided > 0 || withdrawn > 0) {
        ledger_amount_text(amount, voided);
        job_log(c, j->id, LOG_WARN,
                "rig %s is quarantined: %s EMAC held for it go back to the escrow, %lld of its "
                "unconfirmed results are withdrawn",
                did_short(did), amount, (long long)withdrawn);
    }
    EMAC_TRY(st, disputed_list(c, j, &cids, err));
    const struct cid *cid = (const struct cid *)(const void *)cids.data;
    for (size_t i = 0; i < cids.len / sizeof(*cid); i++)
        EMAC_TRY(st, dispute_review(c, j, &cid[i], err));
out:
    emac_buf_release(&cids);
    return st;
}

static enum emac_status quarantine(struct coordinator *c, const char *did, enum fault fault,
                                   const struct error_at *at, const char *why, struct emac_err *err)
{
    EMAC_ASSERT(db_in_transaction(c->db));
    const struct node *was = node_find(c, did);
    bool first = was != NULL && was->state != NODE_QUARANTINED;
    enum emac_status st = node_row_quarantine(c, did, fault, why, err);
    if (st == EMAC_OK && first)
        st = checks_lost(c, did, err);
    LOG_W("coordinator", "rig '%s' is quarantined: %s", did, why);
    for (uint32_t i = 0; st == EMAC_OK && i < c->job_count; i++)
        st = quarantine_in_job(c, c->job[i], did, fault, err);
    if (st == EMAC_OK)
        st = money_void_closed(c, did, fault, err);
    if (st == EMAC_OK && fault != FAULT_LIAR)
        st = costs_charge(c, did, at, err);
    return st;
}

enum emac_status verify_quarantine(struct coordinator *c, const char *did,
                                   const struct error_at *at, const char *why, struct emac_err *err)
{
    return quarantine(c, did, FAULT_OUTVOTED, at, why, err);
}

enum emac_status punish_faulty(struct coordinator *c, const char *did, const struct error_at *at,
                               const char *why, struct emac_err *err)
{
    return quarantine(c, did, FAULT_FAULTY, at, why, err);
}

enum emac_status punish_liar(struct coordinator *c, const struct lie *lie, struct emac_err *err)
{
    enum emac_status st = quarantine(c, lie->did, FAULT_LIAR, NULL, lie->why, err);
    return st == EMAC_OK ? bonds_slash(c, lie, err) : st;
}

/* Bring the rigs in memory to the state of their rows. */
static void nodes_sync(struct coordinator *c)
{
    struct db_stmt *q;
    struct emac_err err = {0};
    bool row = false;
    enum emac_status st =
        db_query(c->db, &q, &err, "SELECT did, reason FROM nodes WHERE state = 'quarantined'", "");
    while (st == EMAC_OK && (st = db_next(q, &row, &err)) == EMAC_OK && row) {
        struct node *n = node_find(c, db_text(q, 0));
        if (n == NULL || n->state == NODE_QUARANTINED)
            continue;
        n->state = NODE_QUARANTINED;
        n->hold_count = n->made_count = 0;
        emac_strcpy(n->reason, sizeof(n->reason), db_text(q, 1));
    }
    if (st != EMAC_OK)
        LOG_W("coordinator", "cannot read the quarantined rigs: %s", err.text);
}

void verify_after(struct coordinator *c)
{
    struct emac_err err = {0};
    c->stakes_stale = true;
    nodes_sync(c);
    for (uint32_t i = 0; i < c->job_count; i++) {
        struct cjob *j = c->job[i];
        uint32_t was = j->st.step;
        if (!j->stale)
            continue;
        if (job_load(c, j, &err) != EMAC_OK)
            LOG_W("coordinator", "cannot read job '%s' again, will retry: %s", j->id, err.text);
        else if (j->st.step < was)
            job_log(c, j->id, LOG_WARN, "goes back from step %u to step %u", was, j->st.step);
        else if (j->st.step > was)
            job_log(c, j->id, LOG_INFO, "goes on at step %u", j->st.step);
    }
    coordinator_changed(c);
}

/* ---- what cannot be checked ---- */

uint32_t verify_others(struct coordinator *c, const struct ctask *t)
{
    struct map_entry e;
    uint64_t now = now_ms(c);
    uint32_t count = 0;
    for (size_t at = 0; map_next(&c->nodes, &at, &e);)
        count += check_open_to(c, t, e.value, now);
    return count;
}

static void dispute_tick(struct coordinator *c, struct cjob *j, struct ctask *t, uint64_t now)
{
    if (verify_others(c, t) > 0) {
        j->reason[0] = 0;
        return;
    }
    snprintf(j->reason, sizeof(j->reason),
             "%u rigs computed '%s' and differ: waiting for another rig to decide", t->vote_count,
             t->slot);
    if (j->dispute_ms == 0 || now - j->dispute_ms > DISPUTE_SAY_MS) {
        j->dispute_ms = now;
        job_log(c, j->id, LOG_WARN, "%s", j->reason);
    }
}

void verify_tick(struct coordinator *c, struct cjob *j)
{
    uint64_t now = now_ms(c);
    if (nodes_live(c) == 0)
        return; /* nobody is there at all: that is an outage, not a lack of a second rig */
    for (uint32_t i = j->task_count; i-- > 0;) {
        struct ctask *t = j->task[i];
        if (t->lease_count > 0)
            t->due.alone_ms = 0;
        else if (t->state == RESULT_DISPUTED)
            dispute_tick(c, j, t, now);
        else if (check_is_due(t))
            behind_tick(c, j, t, now);
    }
    behind_lift(c, j);
}

/* Receipts: a rig's signed word on what a task gave.
 *
 * What becomes of one (COORD-2, COORD-3):
 *   lease unknown, of another rig, of another task   refused
 *   lease answered already                            same outputs: the first answer again;
 *                                                     others: the rig contradicts itself
 *   lease taken back, job ended                       noted nowhere, not paid
 *   lease open, expired or failed                     a vote: accepted, agrees, or disputes */
#include "coordinator/internal.h"
#include "coordinator/assets/private.h"
#include "coordinator/checks/behind.h"
#include "coordinator/checks/checks.h"
#include "coordinator/checks/disputes.h"
#include "coordinator/jobs/cut.h"
#include "coordinator/jobs/shares.h"
#include "coordinator/jobs/suspects.h"
#include "coordinator/rigs/poll.h"
#include "coordinator/rigs/session.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "work/bundle.h"

#define INLINE_MAX   4096
#define LOSS_MAX     1e30
#define ACCURACY_MAX 1.000001 /* all right, and the rounding of a mean */

struct delivery {
    struct receipt receipt;
    struct outputs outputs;
    struct emac_slice object, signature;
    struct cid name;           /* the receipt's */
    struct emac_slice metrics; /* inline bytes of output "metrics"; data NULL: none */
    double loss, accuracy;
    char did[DID_KEY_MAX];
    /* facts of the lease */
    char job[JOB_ID_MAX], lease_state[16];
    struct cid task;
    int64_t granted_at;
    uint64_t elapsed_ms; /* 0: unknown */
    uint64_t fetch_bytes;
    struct told told;
    struct poll next; /* work that is asked for together with it */
};

struct answer {
    bool accepted;
    int64_t paid_units;
    char reason[REASON_MAX];
};

/* ---- reading: no lock ---- */

static enum emac_status receipt_verify(struct delivery *d, struct emac_err *err)
{
    uint8_t key[ED25519_PUBLIC_BYTES];
    enum emac_status st = receipt_decode(&d->receipt, d->object.data, d->object.len, err);
    if (st != EMAC_OK)
        return st;
    if (strcmp(d->receipt.node, d->did) != 0)
        return emac_fail(err, EMAC_FORBIDDEN, "the receipt is of rig '%s', sent by '%s'",
                         d->receipt.node, d->did);
    if (!crypto_did_key_parse(key, d->did) || d->signature.len != ED25519_SIGNATURE_BYTES ||
        !crypto_ed25519_verify(d->signature.data, d->object.data, d->object.len, key))
        return emac_fail(err, EMAC_UNAUTHORIZED,
                         "the receipt's signature does not hold for rig '%s'", d->did);
    d->name = cid_of(CID_DAG_CBOR, d->object.data, d->object.len);
    d->outputs.count = d->receipt.output_count;
    memcpy(d->outputs.at, d->receipt.output, sizeof(d->outputs.at));
    return EMAC_OK;
}

static enum emac_status inline_read(const struct http_request *req, json_t *root,
                                    struct delivery *d, struct emac_err *err)
{
    json_t *in = json_object_get(root, "inline");
    const struct cid *want = outputs_find(&d->outputs, "metrics");
    if (in != NULL && !json_is_null(in) && !json_is_object(in))
        return emac_fail(err, EMAC_INVALID, "field 'inline' must be an object");
    if (json_object_get(in, "metrics") == NULL || want == NULL)
        return EMAC_OK;
    enum emac_status st = api_bytes(req, in, "metrics", INLINE_MAX, &d->metrics, err);
    if (st != EMAC_OK)
        return st;
    struct cid cid = cid_of(CID_RAW, d->metrics.data, d->metrics.len);
    if (!cid_equal(&cid, want))
        return emac_fail(err, EMAC_CORRUPT, "the inline bytes of 'metrics' do not hash to its CID");
    return EMAC_OK;
}

static enum emac_status delivery_read(const struct http_request *req, struct delivery *d,
                                      struct emac_err *err)
{
    json_t *root;
    enum emac_status st = api_body(req, &root, err);
    if (st != EMAC_OK)
        return st;
    EMAC_TRY(st, api_bytes(req, root, "receipt", RECEIPT_BYTES_MAX, &d->object, err));
    EMAC_TRY(st, api_bytes(req, root, "signature", ED25519_SIGNATURE_BYTES, &d->signature, err));
    EMAC_TRY(st, receipt_verify(d, err));
    EMAC_TRY(st, shares_read(root, &d->told, err));
    EMAC_TRY(st, poll_read(json_object_get(root, "next"), &d->next, err));
    st = inline_read(req, root, d, err);
out:
    json_decref(root);
    return st;
}

/* ---- finding what it answers ---- */

static enum emac_status task_is_named(const struct delivery *d, struct emac_err *err)
{
    if (cid_equal(&d->task, &d->receipt.task))
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID, "lease '%s' is for another task than the receipt names",
                     d->receipt.lease);
}

static enum emac_status row_facts(struct coordinator *c, struct delivery *d, struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st = db_query(
        c->db, &q, err, "SELECT job, task, node, state, granted_ms FROM leases WHERE id = ?", "t",
        d->receipt.lease);
    if (st == EMAC_OK)
        st = db_next(q, &row, err);
    if (st != EMAC_OK)
        return st;
    if (!row)
        return emac_fail(err, EMAC_NOT_FOUND, "there is no lease '%s'", d->receipt.lease);
    bool mine = strcmp(db_text(q, 2), d->did) == 0;
    d->task = cid_from_text(db_text(q, 1));
    emac_strcpy(d->job, sizeof(d->job), db_text(q, 0));
    emac_strcpy(d->lease_state, sizeof(d->lease_state), db_text(q, 3));
    d->granted_at = db_i64(q, 4);
    db_done(q);
    if (!mine)
        return emac_fail(err, EMAC_FORBIDDEN, "lease '%s' was granted to another rig",
                         d->receipt.lease);
    return task_is_named(d, err);
}

/* An open lease is in memory, where all of its row is known. */
static enum emac_status lease_facts(struct coordinator *c, const struct node *n, struct delivery *d,
                                    struct emac_err *err)
{
    const struct lease *l = n ? lease_find(n, d->receipt.lease) : NULL;
    if (l == NULL)
        return row_facts(c, d, err);
    d->task = l->task->cid;
    emac_strcpy(d->job, sizeof(d->job), l->job->id);
    emac_strcpy(d->lease_state, sizeof(d->lease_state), "open");
    d->granted_at = (int64_t)(wall_ms(c) - (now_ms(c) - l->granted_ms));
    return task_is_named(d, err);
}

/* A task that is open has no receipts: its first one is judged in the transaction that writes it.
 */
static bool is_unanswered(struct coordinator *c, const struct delivery *d)
{
    const struct cjob *j = job_find(c, d->job);
    const struct ctask *t = j != NULL && !j->stale ? ctask_find(j, &d->task) : NULL;
    return t != NULL && t->state == RESULT_OPEN && t->vote_count == 0;
}

/* The receipt of the rig for this task that is here already; *there tells. */
static enum emac_status former_read(struct coordinator *c, const struct delivery *d, bool *there,
                                    bool *same, struct answer *a, struct emac_err *err)
{
    struct db_stmt *q;
    char task[CID_TEXT_MAX];
    struct outputs o;
    if (is_unanswered(c, d))
        return EMAC_OK;
    cid_text(task, &d->task);
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT r.outputs, r.state, r.units FROM tasks t JOIN receipts r"
                                   " ON r.job = t.job AND r.step = t.step AND r.task = t.cid"
                                   " WHERE t.job = ? AND t.cid = ? AND r.node = ?",
                                   "ttt", d->job, task, d->did);
    if (st == EMAC_OK)
        st = db_next(q, there, err);
    if (st != EMAC_OK || !*there)
        return st;
    bool sound = outputs_parse(&o, db_text(q, 0));
    EMAC_ASSERT(sound);
    const char *state = db_text(q, 1);
    bool paid = strcmp(state, "held") == 0 || strcmp(state, "settled") == 0;
    *same = outputs_equal(&o, &d->outputs);
    a->accepted = strcmp(state, "void") != 0;
    a->paid_units = paid ? db_i64(q, 2) : 0;
    snprintf(a->reason, sizeof(a->reason), "this receipt is here already");
    db_done(q);
    return EMAC_OK;
}

/* ---- votes: in tx ---- */

/* The row of a vote, paid or not. */
static enum emac_status receipt_insert(struct coordinator *c, const struct ctask *t,
                                       const struct delivery *d, bool paid, struct emac_err *err)
{
    char task[CID_TEXT_MAX], outputs[OUTPUTS_TEXT_MAX], name[CID_TEXT_MAX];
    cid_text(task, &t->cid);
    cid_text(name, &d->name);
    outputs_text(outputs, &d->outputs);
    return db_exec(c->db, err,
                   "INSERT INTO receipts (job, step, task, node, lease, outputs, object, signature,"
                   " units, state, at_ms, loss, accuracy, cid)"
                   " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                   "tittttbbitiddt", d->job, (int64_t)t->step, task, d->did, d->receipt.lease,
                   outputs, (const void *)d->object.data, d->object.len,
                   (const void *)d->signature.data, d->signature.len, paid ? t->units : INT64_C(0),
                   paid ? "held" : "unpaid", (int64_t)wall_ms(c), d->loss, d->accuracy, name);
}

/* It was made again after its result was withdrawn. */
static enum emac_status receipt_update(struct coordinator *c, const struct ctask *t,
                                       const struct delivery *d, struct emac_err *err)
{
    char task[CID_TEXT_MAX], name[CID_TEXT_MAX];
    cid_text(task, &t->cid);
    cid_text(name, &d->name);
    enum emac_status st =
        db_exec(c->db, err,
                "UPDATE receipts SET lease = ?, object = ?, signature = ?, at_ms = ?,"
                " loss = ?, accuracy = ?, cid = ?"
                " WHERE job = ? AND step = ? AND task = ? AND node = ?",
                "tbbiddttitt", d->receipt.lease, (const void *)d->object.data, d->object.len,
                (const void *)d->signature.data, d->signature.len, (int64_t)wall_ms(c), d->loss,
                d->accuracy, name, d->job, (int64_t)t->step, task, d->did);
    return st == EMAC_OK ? receipt_renamed(c, d->job, t, d->did, name, err) : st;
}

static enum emac_status vote_write(struct coordinator *c, struct ctask *t, const struct delivery *d,
                                   struct emac_err *err)
{
    if (ctask_vote(t, d->did))
        return receipt_update(c, t, d, err);
    /* The first is accepted whatever it says: its row is written once, when it is known what is
     * paid for it (accept). */
    bool first = t->state == RESULT_OPEN && t->vote_count == 0;
    enum emac_status st = first ? EMAC_OK : receipt_insert(c, t, d, false, err);
    struct vote v = {
        .outputs = d->outputs, .loss = d->loss, .accuracy = d->accuracy, .unwritten = first};
    bool fits = emac_strcpy(v.did, sizeof(v.did), d->did);
    EMAC_ASSERT(fits);
    return st == EMAC_OK ? ctask_vote_add(t, &v, err) : st;
}

static enum emac_status lease_done(struct coordinator *c, struct cjob *j, struct ctask *t,
                                   struct node *n, struct delivery *d, struct emac_err *err)
{
    struct lease *l = n ? lease_find(n, d->receipt.lease) : NULL;
    enum emac_status st = lease_close_row(c, d->receipt.lease, "done", err);
    if (st != EMAC_OK || l == NULL)
        return st;
    EMAC_ASSERT(l->task == t && l->job == j);
    j->owed_units -= l->units;
    d->fetch_bytes = l->fetch_bytes;
    d->elapsed_ms = l->begin_ms ? now_ms(c) - l->begin_ms : 0;
    if (l->begin_ms && d->elapsed_ms == 0)
        d->elapsed_ms = 1;
    lease_detach(l);
    lease_begin_next(c, n);
    return EMAC_OK;
}

/* Leases that nobody would be paid for are taken back. */
static enum emac_status surplus_cancel(struct coordinator *c, struct ctask *t, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    while (st == EMAC_OK && t->lease_count > 0 && t->vote_count + t->lease_count > t->need)
        st = lease_take_back(c, t->lease[t->lease_count - 1], err);
    return st;
}

static void log_accepted(struct coordinator *c, const struct cjob *j, const struct ctask *t)
{
    char when[32] = "";
    if (j->plan->job.kind == JOB_TRAIN)
        snprintf(when, sizeof(when), "after step %u ", t->step);
    if (t->kind == TASK_INIT)
        job_log(c, j->id, LOG_INFO, "the model's first weights are made");
    else if (t->kind == TASK_SCORE && t->accuracy >= 0)
        job_log(c, j->id, LOG_INFO, "%s%.2f %% of the test records right, loss %.4f nats", when,
                100 * t->accuracy, t->loss);
    else if (t->kind == TASK_SCORE)
        job_log(c, j->id, LOG_INFO, "%sheld-out loss %.4f nats per token", when, t->loss);
}

/* A delta that is far from the others counts for no more than max_norm: say whose it is. */
static void log_distance(struct coordinator *c, const struct cjob *j, const struct ctask *t,
                         const struct delivery *d)
{
    const char *maker = plan_delta_maker(j->plan, t->kind, t->range);
    double distance = 0, most = j->plan->job.local.max_norm;
    if (maker == NULL ||
        metrics_read(d->metrics.data, d->metrics.len, "distance", &distance, NULL) != EMAC_OK)
        return;
    if (distance > most)
        job_log(c, j->id, LOG_WARN,
                "the delta of rig '%s' is clipped: its norm is %.4g, and %.4g counts", maker,
                distance, most);
}

static enum emac_status accept(struct coordinator *c, struct cjob *j, struct ctask *t,
                               struct delivery *d, struct answer *a, struct emac_err *err)
{
    enum emac_status st;
    t->state = RESULT_ACCEPTED;
    t->outputs = d->outputs;
    t->loss = d->loss;
    t->accuracy = d->accuracy;
    j->figures.tasks++;
    j->figures.checked += t->vote_count == 2;
    EMAC_TRY(st, surplus_cancel(c, t, err));
    checks_draw(c, j, t, d->did, &d->name);
    if (t->vote_count > 1)
        EMAC_TRY(st, checks_agreed(c, j, t, d->did, err));
    EMAC_TRY(st, verify_pay(c, j, t, d->did, &a->paid_units, err));
    if (t->vote[0].unwritten) {
        EMAC_TRY(st, receipt_insert(c, t, d, t->vote[0].paid, err));
        t->vote[0].unwritten = false;
    }
    EMAC_TRY(st, ctask_update(c, j, t, err));
    j->figures_dirty = true;
    if (t->current) {
        EMAC_TRY(st, round_covered(c, j, t, err));
        EMAC_TRY(st, metrics_write(c, j, t, d->metrics, err));
        log_accepted(c, j, t);
        log_distance(c, j, t, d);
    }
    if (t->vote_count > 1)
        suspect_cleared(c, j, t);
    a->accepted = true;
out:
    return st;
}

static enum emac_status agree(struct coordinator *c, struct cjob *j, struct ctask *t,
                              struct delivery *d, struct answer *a, struct emac_err *err)
{
    enum emac_status st;
    if (t->vote_count == 2)
        j->figures.checked++;
    EMAC_TRY(st, surplus_cancel(c, t, err));
    EMAC_TRY(st, checks_agreed(c, j, t, d->did, err));
    EMAC_TRY(st, verify_pay(c, j, t, d->did, &a->paid_units, err));
    st = ctask_update(c, j, t, err);
    j->figures_dirty = true;
    a->accepted = true;
    if (a->paid_units == 0)
        snprintf(a->reason, sizeof(a->reason),
                 "right, but late: the task has been executed and paid as often as wanted");
out:
    return st;
}

static enum emac_status dispute(struct coordinator *c, struct cjob *j, struct ctask *t,
                                struct answer *a, struct emac_err *err)
{
    enum emac_status st;
    uint32_t more = c->cfg.judge != NULL && verify_others(c, t) >= 2 ? 2 : 1;
    if (t->need < t->vote_count + more)
        t->need = t->vote_count + more;
    t->state = RESULT_DISPUTED;
    j->figures.mismatches++;
    j->stale = true;
    job_log(c, j->id, LOG_WARN, "%u rigs computed '%s' and differ: the result is in dispute, %s",
            t->vote_count, t->slot, more == 2 ? "two others compute it" : "another rig decides");
    EMAC_TRY(st, ctask_update(c, j, t, err));
    if (c->cfg.judge != NULL && !private_task(c, j->id, &t->task))
        EMAC_TRY(st, disputes_note(c, j, t, err));
    st = job_figures_write(c, j, &j->figures, err);
    snprintf(a->reason, sizeof(a->reason), "it differs from another rig's result: in dispute");
out:
    return st;
}

/* A majority decided: its result is accepted, the others leave. */
static enum emac_status resolve(struct coordinator *c, struct cjob *j, struct ctask *t,
                                uint32_t winner, struct delivery *d, struct answer *a,
                                struct emac_err *err)
{
    enum emac_status st;
    j->stale = true; /* so leases that are no longer wanted and checkpoints follow from the rows */
    t->state = RESULT_ACCEPTED;
    ctask_result_set(t, &t->vote[winner]);
    if (t->current && outputs_equal(&t->outputs, &d->outputs))
        EMAC_TRY(st, metrics_write(c, j, t, d->metrics, err));
    j->figures.tasks++;
    j->figures.checked++;
    job_log(c, j->id, LOG_WARN, "the dispute about '%s' is decided by a majority of %u rigs",
            t->slot, t->vote_count);
    EMAC_TRY(st, ctask_update(c, j, t, err));
    EMAC_TRY(st, verify_losers(c, j, t, err));
    /* After it: what the losers held is back in the escrow. */
    EMAC_TRY(st, verify_pay(c, j, t, d->did, &a->paid_units, err));
    st = job_figures_write(c, j, &j->figures, err);
    a->accepted = outputs_equal(&t->outputs, &d->outputs);
    if (!a->accepted)
        snprintf(a->reason, sizeof(a->reason), "it differs from what the majority computed");
out:
    return st;
}

/* A majority decided before; this is one more, of either opinion. */
static enum emac_status join(struct coordinator *c, struct cjob *j, struct ctask *t,
                             struct delivery *d, struct answer *a, struct emac_err *err)
{
    bool right = outputs_equal(&t->outputs, &d->outputs);
    enum emac_status st = agree(c, j, t, d, a, err);
    if (st != EMAC_OK || right)
        return st;
    a->accepted = false;
    snprintf(a->reason, sizeof(a->reason), "it differs from what the majority computed");
    j->figures.mismatches++;
    job_log(c, j->id, LOG_WARN, "rig %s differs about '%s' from what a majority had decided",
            did_short(d->did), t->slot);
    return verify_losers(c, j, t, err);
}

static enum emac_status judge(struct coordinator *c, struct cjob *j, struct ctask *t,
                              struct delivery *d, struct answer *a, struct emac_err *err)
{
    uint32_t winner;
    enum verdict v = verify_votes(t->vote, t->vote_count, &winner);
    EMAC_ASSERT(v != VERDICT_OPEN); /* this very receipt is one */
    if (v == VERDICT_DISPUTED)
        return dispute(c, j, t, a, err);
    bool unanimous = true;
    for (uint32_t i = 0; i < t->vote_count; i++)
        unanimous = unanimous && outputs_equal(&t->vote[i].outputs, &t->vote[winner].outputs);
    if (!unanimous && t->state == RESULT_ACCEPTED &&
        outputs_equal(&t->outputs, &t->vote[winner].outputs))
        return join(c, j, t, d, a, err);
    if (!unanimous)
        return resolve(c, j, t, winner, d, a, err);
    if (t->state == RESULT_ACCEPTED)
        return agree(c, j, t, d, a, err);
    return accept(c, j, t, d, a, err);
}

/* ---- the whole ---- */

/* Task in memory, or from its row. A loaded one joins the job's list until it is judged. */
static enum emac_status task_get(struct coordinator *c, struct cjob *j, const struct cid *cid,
                                 struct ctask **out, struct emac_err *err)
{
    *out = ctask_find(j, cid);
    if (*out)
        return EMAC_OK;
    enum emac_status st = ctask_load(c, j, cid, out, err);
    if (st != EMAC_OK)
        return st;
    (*out)->current = (*out)->state != RESULT_ACCEPTED && round_fits(j, *out);
    st = ctask_add(j, *out, err);
    if (st != EMAC_OK)
        ctask_free(*out);
    return st;
}

static void task_done_with(struct cjob *j, struct ctask *t)
{
    bool waits = t->state == RESULT_ACCEPTED && t->vote_count < t->need;
    if (!t->current && !waits && t->lease_count == 0 && t->state != RESULT_DISPUTED)
        ctask_remove(j, t);
}

/* On its own clock; 0: it says nothing sensible. */
static uint64_t run_ms(const struct receipt *r)
{
    return r->ended_ms > r->started_ms ? r->ended_ms - r->started_ms : 0;
}

/* After the commit: what the rig now holds, how fast it was, and where the job stands. */
static void follow_up(struct coordinator *c, struct cjob *j, struct ctask *t, struct node *n,
                      const struct delivery *d, bool was_accepted)
{
    for (uint32_t i = 0; i < d->outputs.count; i++)
        held_again(c, &d->outputs.at[i].cid);
    missing_resolve(j, t);
    if (n) {
        node_made(n, j, t->step, &d->outputs);
        if (d->elapsed_ms)
            sched_speed_add(&n->speed, work_of(t->kind), t->flops, d->fetch_bytes, d->elapsed_ms,
                            run_ms(&d->receipt));
        shares_speed(n, work_of(t->kind), t->flops, &d->told);
    }
    if (j->stale) {
        verify_after(c);
        return;
    }
    struct cid cid = t->cid;
    if (!was_accepted && t->state == RESULT_ACCEPTED)
        round_accept(c, j, t);
    t = ctask_find(j, &cid);
    if (t)
        behind_answered(j, t);
    /* Rigs that wait are woken when there is something for them, not for each receipt. This one may
     * ask already: with nothing left to do it may have what it could not have at work (AHEAD-1). */
    bool idle = n && n->waiting > 0 && node_leases(n) == 0;
    if (!j->laid || j->stale || idle || (t && ctask_wants_lease(t)))
        errands_changed(&c->errands);
    behind_lift(c, j);
    if (t)
        task_done_with(j, t);
}

/* The score of a job on a data set tells its accuracy, too. */
static enum emac_status metrics_take(const struct cjob *j, const struct ctask *t,
                                     struct delivery *d, struct emac_err *err)
{
    if (d->metrics.data == NULL)
        return EMAC_OK;
    enum emac_status st = metrics_read(d->metrics.data, d->metrics.len, "loss", &d->loss, err);
    if (st == EMAC_OK && !(d->loss >= 0 && d->loss < LOSS_MAX))
        st = emac_fail(err, EMAC_NUMERIC, "the loss in 'metrics' is not a number that can be");
    if (st != EMAC_OK || t->kind != TASK_SCORE || !job_on_records(&j->plan->job))
        return st;
    st = metrics_read(d->metrics.data, d->metrics.len, "accuracy", &d->accuracy, err);
    if (st == EMAC_OK && !(d->accuracy >= 0 && d->accuracy <= ACCURACY_MAX))
        st = emac_fail(err, EMAC_NUMERIC, "the accuracy in 'metrics' is not a number that can be");
    return st;
}

static enum emac_status vote(struct coordinator *c, struct cjob *j, struct node *n,
                             struct delivery *d, struct answer *a, struct emac_err *err)
{
    struct ctask *t;
    enum emac_status st = task_get(c, j, &d->task, &t, err);
    if (st != EMAC_OK)
        return st;
    bool was_accepted = t->state == RESULT_ACCEPTED;
    EMAC_TRY(st, outputs_fit(&d->outputs, j->plan, t, err));
    if (outputs_find(&d->outputs, "metrics") && d->metrics.data == NULL) {
        st = emac_fail(err, EMAC_INVALID, "inline.metrics is missing: it tells the loss");
        goto out;
    }
    EMAC_TRY(st, metrics_take(j, t, d, err));
    EMAC_TRY(st, db_begin_soon(c->db, err));
    st = lease_done(c, j, t, n, d, err);
    if (st == EMAC_OK)
        st = vote_write(c, t, d, err);
    if (st == EMAC_OK)
        st = shares_add(c, j, n, d->did, d->granted_at, &d->told, err);
    if (st == EMAC_OK)
        st = judge(c, j, t, d, a, err);
    if (st == EMAC_OK)
        st = db_commit_soon(c->db, err);
    else
        db_rollback(c->db);
    if (st != EMAC_OK) {
        j->stale = true; /* memory ran ahead of the rows that were not written */
        c->stakes_stale = true;
        jobs_refresh(c);
        return st;
    }
    follow_up(c, j, t, n, d, was_accepted);
    return EMAC_OK;
out:
    task_done_with(j, t);
    return st;
}

/* Two signed answers to one task that differ: the rig itself is the proof. */
static enum emac_status contradiction(struct coordinator *c, struct delivery *d, struct answer *a,
                                      struct emac_err *err)
{
    char why[REASON_MAX], task[CID_TEXT_MAX];
    const struct error_at at = {d->job, &d->task};
    enum emac_status st;
    cid_text(task, &d->task);
    snprintf(why, sizeof(why), "it signed two different results of task '%s'", task);
    EMAC_TRY(st, db_begin(c->db, err));
    st = verify_quarantine(c, d->did, job_find(c, d->job) ? &at : NULL, why, err);
    st = db_end(c->db, st, err);
    verify_after(c);
    *a = (struct answer){0};
    emac_strcpy(a->reason, sizeof(a->reason), why);
out:
    return st;
}

static enum emac_status take(struct coordinator *c, struct delivery *d, struct answer *a,
                             struct emac_err *err)
{
    struct node *n = node_find(c, d->did);
    bool there = false, same = true;
    enum emac_status st;
    if (n && n->state == NODE_QUARANTINED)
        return emac_fail(err, EMAC_FORBIDDEN, "this rig is quarantined: %s", n->reason);
    jobs_refresh(c);
    EMAC_TRY(st, lease_facts(c, n, d, err));
    EMAC_TRY(st, former_read(c, d, &there, &same, a, err));
    struct cjob *j = job_find(c, d->job);
    if (there && !same)
        return contradiction(c, d, a, err);
    if (there && strcmp(d->lease_state, "done") == 0)
        return EMAC_OK;
    *a = (struct answer){0};
    if (j == NULL) {
        snprintf(a->reason, sizeof(a->reason), "the job has ended");
        return EMAC_OK;
    }
    if (strcmp(d->lease_state, "cancelled") == 0) {
        snprintf(a->reason, sizeof(a->reason), "the lease was taken back");
        return EMAC_OK;
    }
    if (j->stale)
        return emac_fail(err, EMAC_UNAVAILABLE, "job '%s' cannot be read now: try again", j->id);
    if (n)
        node_seen(c, n);
    st = vote(c, j, n, d, a, err);
out:
    return st;
}

/* One delivery, done under the lock by whoever has it. */
struct errand_take {
    struct errand errand; /* first */
    struct delivery *d;
    const char *base_url;
    enum emac_status st; /* with `err` */
    struct emac_err err;
    struct answer a;
    uint32_t deposit_count;
    struct cid deposit[DEPOSITS_ASKED_MAX];
    struct emac_buf next; /* a lease, JSON; empty: none */
};

static bool take_run(void *ctx, struct errand *errand)
{
    struct coordinator *c = ctx;
    struct errand_take *e = (struct errand_take *)errand;
    struct delivery *d = e->d;
    uint64_t began = mono_us(c);
    e->st = take(c, d, &e->a, &e->err);
    struct cjob *j = job_find(c, d->job);
    if (j) {
        j->figures.busy_us += (int64_t)(mono_us(c) - began);
        j->figures_dirty = true;
    }
    struct node *n = node_find(c, d->did);
    if (e->st == EMAC_OK && n)
        e->deposit_count = deposits_for(c, n, e->deposit);
    if (e->st == EMAC_OK && d->next.asked && node_working(c, d->did, &n, NULL) == EMAC_OK)
        poll_at_once(c, n, &d->next, e->base_url, &e->next);
    return true;
}

static enum emac_status take_reply(const struct errand_take *e, struct http_response *res,
                                   struct emac_err *err)
{
    struct reply r = {.to = &res->body};
    reply_raw(&r, e->a.accepted ? "{\"accepted\":true,\"paid_units\":"
                                : "{\"accepted\":false,\"paid_units\":");
    reply_units(&r, e->a.paid_units);
    reply_raw(&r, ",\"reason\":");
    reply_text(&r, e->a.reason);
    reply_raw(&r, ",\"deposit\":[");
    for (uint32_t i = 0; i < e->deposit_count; i++) {
        reply_raw(&r, i > 0 ? "," : "");
        reply_cid(&r, &e->deposit[i]);
    }
    reply_raw(&r, e->next.len > 0 ? "],\"next\":" : "]");
    reply_raw(&r, emac_buf_str(&e->next));
    reply_raw(&r, "}");
    return reply_end(&r, err);
}

enum emac_status receipts_post(void *ctx, const struct http_request *req, struct http_response *res,
                               struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct delivery d = {.loss = -1, .accuracy = -1};
    enum emac_status st = api_rig(c, req, d.did, err);
    if (st == EMAC_OK)
        st = delivery_read(req, &d, err);
    if (st != EMAC_OK)
        return st;
    struct errand_take e = {.errand = {.run = take_run, .wake_ms = UINT64_MAX},
                            .d = &d,
                            .base_url = request_base_url(req)};
    emac_buf_init(&e.next, HTTP_RESPONSE_MAX / 2);
    /* Room at once, and not under the lock. */
    EMAC_TRY(st, emac_buf_reserve(&e.next, d.next.asked ? POLL_ANSWER_USUAL : 0, err));
    EMAC_TRY(st, emac_buf_reserve(&res->body, POLL_ANSWER_USUAL, err));
    st = errand_do(&c->errands, &e.errand, err);
    res->settled = true;
    if (st == EMAC_OK && e.st != EMAC_OK) {
        st = e.st;
        *err = e.err;
    }
    if (st == EMAC_OK)
        st = take_reply(&e, res, err);
out:
    emac_buf_release(&e.next);
    return st;
}

/* Disputes under way: their clock, their judge, and who loses what. */
#include "coordinator/checks/disputes.h"
#include "coordinator/rigs/poll.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/checks/trust.h"

#define JUDGE_LOOK_MS 500
#define ASK_AGAIN_MS  2000

struct cdispute *dispute_find(struct coordinator *c, const char *id)
{
    for (uint32_t i = 0; i < c->disputes->count; i++)
        if (strcmp(c->disputes->item[i]->id, id) == 0)
            return c->disputes->item[i];
    return NULL;
}

enum emac_status disputes_note(struct coordinator *c, const struct cjob *j, const struct ctask *t,
                               struct emac_err *err)
{
    uint64_t patience = c->cfg.dispute_ms + DISPUTE_TASK_TIMES * t->expected_ms;
    return dispute_row_wait(c, j->id, &t->cid, patience, err);
}

bool disputes_hold(struct coordinator *c, const char *job)
{
    int64_t n = 1;
    if (c->cfg.judge == NULL)
        return false;
    enum emac_status st = db_one_i64(c->db, &n, NULL,
                                     "SELECT COUNT(*) FROM disputes WHERE job = ?"
                                     " AND state IN ('waiting', 'open')",
                                     "t", job);
    return st != EMAC_OK || n > 0;
}

/* ---- ends ---- */

/* What is said of a rig that lost, to it and to everybody. */
static void why_lost(char out[REASON_MAX], const struct cdispute *x, uint32_t side)
{
    const char *slot = x->slot;
    switch (x->d.side[side].fate) {
    case FATE_LIAR:
        snprintf(out, REASON_MAX,
                 "dispute '%s' proves its result of task '%s' wrong, at leaf %llu of the trace "
                 "that it signed",
                 x->id, slot, (unsigned long long)x->d.first);
        return;
    case FATE_FAULTY:
        snprintf(out, REASON_MAX,
                 "it does not repeat itself: run again for dispute '%s', task '%s' gave another "
                 "trace than before; check the device's memory and clocks",
                 x->id, slot);
        return;
    default:
        snprintf(out, REASON_MAX, "it did not answer in dispute '%s' about task '%s' in time",
                 x->id, slot);
    }
}

static enum emac_status sides_punish(struct coordinator *c, const struct cdispute *x,
                                     struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < 2 && st == EMAC_OK; i++) {
        char why[REASON_MAX];
        if (x->d.side[i].fate == FATE_STANDS)
            continue;
        why_lost(why, x, i);
        job_log(c, x->job, LOG_WARN, "rig %s loses: %s", did_short(x->did[i]), why);
        const struct lie lie = {.did = x->did[i], .job = x->job, .proof = x->id, .why = why};
        const struct error_at at = {x->job, &x->cid};
        st = x->d.side[i].fate == FATE_LIAR ? punish_liar(c, &lie, err)
                                            : punish_faulty(c, x->did[i], &at, why, err);
    }
    return st;
}

/* Commit what `st` says of the transaction; the table is read again whatever it is. */
static enum emac_status finish(struct coordinator *c, enum emac_status st, struct emac_err *err)
{
    st = db_end(c->db, st, err);
    c->disputes->dirty = true;
    verify_after(c);
    return st;
}

enum emac_status dispute_decide(struct coordinator *c, struct cdispute *x, struct emac_err *err)
{
    enum emac_status st = db_begin(c->db, err);
    EMAC_ASSERT(x->d.stage == DISPUTE_DONE);
    if (st != EMAC_OK)
        return st;
    st = dispute_row_end(c, x, "decided", "", err);
    if (st == EMAC_OK)
        st = sides_punish(c, x, err);
    if (st == EMAC_OK) /* others may have signed the same, or a third result */
        st = dispute_row_wait(c, x->job, &x->cid, x->patience_ms, err);
    return finish(c, st, err);
}

/* As it is without disputes. */
static enum emac_status majority_decides(struct coordinator *c, const struct cdispute *x,
                                         struct emac_err *err)
{
    struct cjob *j = job_find(c, x->job);
    struct ctask *t;
    uint32_t winner;
    if (j == NULL)
        return EMAC_OK;
    enum emac_status st = ctask_load(c, j, &x->cid, &t, err);
    if (st != EMAC_OK)
        return st;
    if (t->state == RESULT_ACCEPTED &&
        verify_votes(t->vote, t->vote_count, &winner) == VERDICT_AGREED &&
        outputs_equal(&t->vote[winner].outputs, &t->outputs))
        st = verify_minority(c, j, t, err);
    ctask_free(t);
    return st;
}

enum emac_status dispute_lapse(struct coordinator *c, struct cdispute *x, const char *why,
                               struct emac_err *err)
{
    enum emac_status st = db_begin(c->db, err);
    if (st != EMAC_OK)
        return st;
    job_log(c, x->job, LOG_WARN, "the dispute about '%s' lapses: %s", x->slot, why);
    st = dispute_row_end(c, x, "lapsed", why, err);
    if (st == EMAC_OK)
        st = majority_decides(c, x, err);
    return finish(c, st, err);
}

/* A side is gone for another reason. */
static enum emac_status settle(struct coordinator *c, struct cdispute *x, struct emac_err *err)
{
    enum emac_status st = db_begin(c->db, err);
    if (st != EMAC_OK)
        return st;
    st = dispute_row_end(c, x, "settled", "", err);
    if (st == EMAC_OK)
        st = dispute_row_wait(c, x->job, &x->cid, x->patience_ms, err);
    return finish(c, st, err);
}

/* ---- the clock ---- */

static bool is_out(struct coordinator *c, const char *did)
{
    const struct node *n = node_find(c, did);
    return n != NULL && n->state == NODE_QUARANTINED;
}

/* What time alone brings about. */
static enum emac_status look_after(struct coordinator *c, struct cdispute *x, struct emac_err *err)
{
    if (x->judging)
        return EMAC_OK;
    if (job_find(c, x->job) == NULL)
        return dispute_lapse(c, x, "the job has ended", err);
    if (is_out(c, x->did[0]) || is_out(c, x->did[1]))
        return settle(c, x, err);
    if (wall_ms(c) > x->deadline_at)
        dispute_expire(&x->d);
    return x->d.stage == DISPUTE_DONE ? dispute_decide(c, x, err) : EMAC_OK;
}

void disputes_tick(struct coordinator *c)
{
    struct disputes *all = c->disputes;
    struct emac_err err = {0};
    enum emac_status st = EMAC_OK;
    if (c->cfg.judge == NULL)
        return;
    if (all->dirty)
        st = dispute_rows_load(c, &err);
    for (uint32_t i = 0; i < all->count && st == EMAC_OK && !all->dirty; i++)
        st = look_after(c, all->item[i], &err);
    if (st == EMAC_OK && !all->dirty && all->waiting > 0) {
        st = dispute_rows_promote(c, &err);
        if (all->dirty)
            coordinator_changed(c); /* somebody is asked something */
    }
    if (st != EMAC_OK)
        LOG_W("coordinator", "disputes have to wait: %s", err.text);
}

/* ---- asking ---- */

static json_t *ask_json(struct coordinator *c, const struct cdispute *x, struct node *n,
                        const char *base_url)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:o, s:s, s:I, s:I, s:I, s:o}", "kind", "dispute",
                     "lease", x->id, "job", x->job, "slot", x->slot, "round", (json_int_t)x->round,
                     "task", api_base64(x->object, x->object_len), "stage",
                     dispute_stage_name(x->d.stage), "first", (json_int_t)x->d.first, "count",
                     (json_int_t)x->d.count, "deadline_ms", (json_int_t)x->deadline_at, "sources",
                     sources_json(c, &x->task, n, base_url));
}

json_t *disputes_take(struct coordinator *c, struct node *n, const char *base_url)
{
    uint64_t now = now_ms(c);
    struct emac_err err = {0};
    if (c->cfg.judge == NULL)
        return NULL;
    if (c->disputes->dirty && dispute_rows_load(c, &err) != EMAC_OK) {
        LOG_W("coordinator", "disputes have to wait: %s", err.text);
        return NULL;
    }
    for (uint32_t i = 0; i < c->disputes->count; i++) {
        struct cdispute *x = c->disputes->item[i];
        for (uint32_t side = 0; side < 2; side++) {
            if (strcmp(x->did[side], n->did) != 0 || !dispute_asks(&x->d, side) ||
                (x->asked_ms[side] != 0 && now - x->asked_ms[side] < ASK_AGAIN_MS))
                continue;
            x->asked_ms[side] = now;
            return ask_json(c, x, n, base_url);
        }
    }
    return NULL;
}

/* ---- judging: the judge's own thread ---- */

/* What is judged, copied out of the lock. */
struct question {
    char id[LEASE_ID_MAX];
    struct task task;
    uint64_t leaf, leaves;
    bool counts;
    uint32_t side, count;
    struct dispute_proof *proof;
    struct trace_leaf right;
};

static void question_release(struct question *q)
{
    task_release(&q->task);
    free(q->proof);
}

static bool is_ripe(const struct cdispute *x)
{
    return x->d.stage == DISPUTE_OPEN && !x->judging &&
           (x->d.count == 0 || x->d.side[0].answered || x->d.side[1].answered);
}

static bool question_take(struct coordinator *c, struct question *q)
{
    for (uint32_t i = 0; i < c->disputes->count && !c->disputes->dirty; i++) {
        struct cdispute *x = c->disputes->item[i];
        if (!is_ripe(x))
            continue;
        *q = (struct question){.leaf = x->d.first, .counts = x->d.count == 0};
        q->side = x->d.side[0].answered ? 0 : 1;
        const struct dispute_answer *a = &x->open[q->side];
        emac_strcpy(q->id, sizeof q->id, x->id);
        enum emac_status st = task_copy(&q->task, &x->task, NULL);
        if (st == EMAC_OK)
            st = emac_alloc(&q->proof, (size_t)a->proof_count + 1, sizeof *q->proof, NULL);
        if (st != EMAC_OK) {
            question_release(q);
            return false;
        }
        q->count = q->counts ? 0 : a->proof_count;
        if (q->count > 0)
            memcpy(q->proof, a->proof, q->count * sizeof *q->proof);
        x->judging = true;
        return true;
    }
    return false;
}

/* Whether a side can do something about it. */
static bool is_the_sides(enum emac_status st)
{
    return st == EMAC_INVALID || st == EMAC_NOT_FOUND || st == EMAC_CORRUPT ||
           st == EMAC_UNAVAILABLE;
}

static enum emac_status unusable(struct coordinator *c, struct cdispute *x, uint32_t side,
                                 struct emac_err *err)
{
    enum emac_status st = db_exec(
        c->db, err, "DELETE FROM dispute_answers WHERE dispute = ? AND side = ? AND kind = 'open'",
        "ti", x->id, (int64_t)side);
    if (st != EMAC_OK)
        return st;
    dispute_unusable(&x->d, side);
    dispute_answer_release(&x->open[side]);
    x->asked_ms[side] = 0;
    return EMAC_OK;
}

/* `st` and `why`: how judging ended. */
static enum emac_status answer_apply(struct coordinator *c, const struct question *q,
                                     enum emac_status st, const struct emac_err *why,
                                     struct emac_err *err)
{
    struct cdispute *x = dispute_find(c, q->id);
    if (x == NULL || x->d.stage != DISPUTE_OPEN)
        return EMAC_OK;
    x->judging = false;
    if (st == EMAC_OK && q->counts)
        dispute_counted(&x->d, q->leaves);
    else if (st == EMAC_OK)
        dispute_judged(&x->d, &q->right);
    if (st == EMAC_OK)
        return dispute_decide(c, x, err);
    LOG_W("coordinator", "dispute '%s': what rig %s gave cannot be judged: %s", x->id,
          did_short(x->did[q->side]), why->text);
    if (!q->counts && is_the_sides(st))
        return unusable(c, x, q->side, err);
    return dispute_lapse(c, x, why->text, err);
}

static void judge_one(struct coordinator *c, struct question *q)
{
    const struct dispute_judge *judge = c->cfg.judge;
    struct emac_err why = {0}, err = {0};
    enum emac_status st = q->counts
                              ? judge->leaves(judge->ctx, c->depot, &q->task, &q->leaves, &why)
                              : judge->leaf(judge->ctx, c->depot, &q->task, q->leaf, q->proof,
                                            q->count, &q->right, &why);
    os_mutex_lock(&c->lock);
    if (answer_apply(c, q, st, &why, &err) != EMAC_OK)
        LOG_W("coordinator", "dispute '%s' has to wait: %s", q->id, err.text);
    os_mutex_unlock(&c->lock);
    question_release(q);
}

static void *judge_main(void *arg)
{
    struct coordinator *c = arg;
    os_mutex_lock(&c->lock);
    while (!c->stopping) {
        struct question q;
        if (!question_take(c, &q)) {
            os_cond_wait_ms(&c->changed, &c->lock, JUDGE_LOOK_MS);
            continue;
        }
        os_mutex_unlock(&c->lock);
        judge_one(c, &q);
        os_mutex_lock(&c->lock);
    }
    os_mutex_unlock(&c->lock);
    return NULL;
}

/* ---- life ---- */

enum emac_status disputes_start(struct coordinator *c, struct emac_err *err)
{
    enum emac_status st = emac_alloc(&c->disputes, 1, sizeof *c->disputes, err);
    if (st != EMAC_OK || c->cfg.judge == NULL)
        return st;
    st = dispute_rows_load(c, err);
    if (st != EMAC_OK)
        return st;
    c->disputes->judges = true;
    os_thread_start(&c->disputes->judge, judge_main, c);
    return EMAC_OK;
}

void disputes_stop(struct coordinator *c)
{
    if (c->disputes == NULL || !c->disputes->judges)
        return;
    os_thread_join(&c->disputes->judge);
    c->disputes->judges = false;
}

void disputes_free(struct coordinator *c)
{
    for (uint32_t i = 0; c->disputes != NULL && i < c->disputes->count; i++)
        cdispute_free(c->disputes->item[i]);
    free(c->disputes);
}

/* Jobs: from submission to their end. coordinator.h holds the table of states. */
#include "coordinator/assets/private.h"
#include "coordinator/checks/behind.h"
#include "coordinator/checks/disputes.h"
#include "coordinator/jobs/evaluations.h"
#include "coordinator/jobs/shares.h"
#include "coordinator/jobs/submission.h"
#include "coordinator/storage/datacap.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sched/predict.h"
#include "work/base.h"
#include "work/corpus.h"

#define FUND_KEY_MAX 64

struct cjob *job_find(struct coordinator *c, const char *id)
{
    for (uint32_t i = 0; i < c->job_count; i++)
        if (strcmp(c->job[i]->id, id) == 0)
            return c->job[i];
    return NULL;
}

static void job_free(struct coordinator *c, struct cjob *j)
{
    if (j == NULL)
        return;
    job_unload(c, j);
    if (j->plan)
        job_plan_free(j->plan);
    free(j);
}

/* From the list, and out of every rig's memory. */
static void job_forget(struct coordinator *c, struct cjob *j)
{
    struct map_entry e;
    for (uint32_t i = 0; i < c->job_count; i++)
        if (c->job[i] == j) {
            memmove(&c->job[i], &c->job[i + 1], (c->job_count - i - 1) * sizeof(c->job[0]));
            c->job_count--;
            break;
        }
    for (size_t at = 0; map_next(&c->nodes, &at, &e);) {
        struct node *n = e.value;
        if (n->last_job == j)
            n->last_job = NULL;
    }
    job_free(c, j);
}

void vtime_enter(const struct coordinator *c, struct cjob *j)
{
    bool any = false;
    double least = 0;
    for (uint32_t i = 0; i < c->job_count; i++) {
        const struct cjob *o = c->job[i];
        if (o == j || o->state != JOB_RUNNING || (any && o->vtime >= least))
            continue;
        least = o->vtime;
        any = true;
    }
    if (any && j->vtime < least)
        j->vtime = least;
}

static enum emac_status job_add(struct coordinator *c, struct cjob *j, struct emac_err *err)
{
    if (c->job_count == c->job_cap) {
        uint32_t cap = c->job_cap ? c->job_cap * 2 : 16;
        struct cjob **grown;
        enum emac_status st = emac_alloc(&grown, cap, sizeof(*grown), err);
        if (st != EMAC_OK)
            return st;
        if (c->job_count)
            memcpy(grown, c->job, c->job_count * sizeof(*grown));
        free(c->job);
        c->job = grown;
        c->job_cap = cap;
    }
    vtime_enter(c, j);
    c->job[c->job_count++] = j;
    return EMAC_OK;
}

/* ---- at start ---- */

static enum emac_status row_read(struct coordinator *c, struct db_stmt *q, struct cjob **out,
                                 struct emac_err *err)
{
    struct cjob *j;
    struct job job;
    struct emac_slice object = db_blob(q, 3);
    enum emac_status st = job_decode(&job, object.data, object.len, err);
    if (st == EMAC_OK)
        st = emac_alloc(&j, 1, sizeof(*j), err);
    if (st != EMAC_OK)
        return st;
    emac_strcpy(j->id, sizeof(j->id), db_text(q, 0));
    j->cid = cid_from_text(db_text(q, 1));
    emac_strcpy(j->owner, sizeof(j->owner), db_text(q, 2));
    bool known = job_state_find(db_text(q, 4), &j->state);
    EMAC_ASSERT(known);
    emac_strcpy(j->reason, sizeof(j->reason), db_text(q, 5));
    j->created_at = (uint64_t)db_i64(q, 6);
    j->figures = (struct figures){.tasks = db_i64(q, 7),
                                  .checked = db_i64(q, 8),
                                  .mismatches = db_i64(q, 9),
                                  .retries = db_i64(q, 10),
                                  .lapsed = db_i64(q, 11),
                                  .busy_us = db_i64(q, 12),
                                  .bytes_moved = db_i64(q, 13)};
    st = job_plan_new(&job, c->depot, &j->plan, err);
    if (st != EMAC_OK)
        job_free(c, j);
    else
        *out = j;
    return st;
}

/* A paused job is looked at again by the first rig that asks. */
static enum emac_status open_all(struct coordinator *c, struct db_stmt *q, struct emac_err *err)
{
    bool row = false;
    enum emac_status st;
    while ((st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct cjob *j = NULL;
        struct emac_err why = {0};
        if (row_read(c, q, &j, &why) != EMAC_OK) {
            LOG_E("coordinator", "job '%s' cannot go on with this version: %s", db_text(q, 0),
                  why.text);
            continue;
        }
        st = job_add(c, j, err);
        if (st != EMAC_OK) {
            job_free(c, j);
            db_done(q);
            return st;
        }
    }
    return st;
}

/* Who made the sums of the last rounds: what the process before knew from their receipts. */
static enum emac_status holders_load(struct coordinator *c, struct cjob *j, struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    int64_t since = (int64_t)behind_keep(j) - NODE_ROUNDS_KEPT;
    enum emac_status st =
        db_query(c->db, &q, err,
                 "SELECT r.node, r.outputs, t.step FROM receipts r"
                 " JOIN tasks t ON t.job = r.job AND t.step = r.step"
                 " AND t.cid = r.task WHERE t.job = ? AND t.step >= ? AND r.state <> 'void'",
                 "ti", j->id, since);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct node *n = node_find(c, db_text(q, 0));
        struct outputs o;
        bool sound = outputs_parse(&o, db_text(q, 1));
        EMAC_ASSERT(sound);
        if (n && n->state == NODE_ADMITTED)
            node_made(n, j, (uint32_t)db_i64(q, 2), &o);
    }
    return st;
}

enum emac_status jobs_open(struct coordinator *c, struct emac_err *err)
{
    struct db_stmt *q;
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT id, cid, owner, object, state, reason, created_ms,"
                                   " tasks, checked, mismatches, retries, lapsed, busy_us,"
                                   " bytes_moved FROM jobs WHERE state IN ('running', 'paused')"
                                   " ORDER BY seq",
                                   "");
    if (st == EMAC_OK)
        st = open_all(c, q, err);
    for (uint32_t i = 0; st == EMAC_OK && i < c->job_count; i++) {
        st = plan_deposit(c, c->job[i]->id, c->job[i]->plan, err);
        if (st == EMAC_OK)
            st = job_load(c, c->job[i], err);
        if (st == EMAC_OK)
            st = holders_load(c, c->job[i], err);
    }
    return st;
}

void jobs_close(struct coordinator *c)
{
    for (uint32_t i = 0; i < c->job_count; i++)
        job_free(c, c->job[i]);
    free(c->job);
    c->job = NULL;
    c->job_count = c->job_cap = 0;
}

/* ---- states ---- */

enum emac_status job_figures_write(struct coordinator *c, const struct cjob *j,
                                   const struct figures *f, struct emac_err *err)
{
    const struct plan_score *score = plan_model_score(j->plan, &j->st);
    return db_exec(
        c->db, err,
        "UPDATE jobs SET step = ?, loss = ?, score = ?, accuracy = ?, tasks = ?, checked = ?,"
        " mismatches = ?, retries = ?, lapsed = ?, busy_us = ?, bytes_moved = ?"
        " WHERE id = ?",
        "idddiiiiiiit", (int64_t)j->st.step, j->loss, score->loss, score->accuracy, f->tasks,
        f->checked, f->mismatches, f->retries, f->lapsed, f->busy_us, f->bytes_moved, j->id);
}

static enum emac_status state_write(struct coordinator *c, const struct cjob *j,
                                    enum job_state state, const char *reason, struct emac_err *err)
{
    return db_exec(c->db, err, "UPDATE jobs SET state = ?, reason = ? WHERE id = ?", "ttt",
                   job_state_name(state), reason, j->id);
}

void job_pause(struct coordinator *c, struct cjob *j, const struct ctask *t)
{
    char reason[REASON_MAX], free_text[32], price[32];
    struct emac_err err = {0};
    EMAC_ASSERT(j->state == JOB_RUNNING);
    ledger_amount_text(free_text, cjob_free_units(j));
    ledger_amount_text(price, t->units);
    snprintf(reason, sizeof(reason),
             "escrow too small: %s EMAC are free and '%s' costs %s EMAC; add money to go on",
             free_text, t->slot, price);
    if (state_write(c, j, JOB_PAUSED, reason, &err) != EMAC_OK) {
        LOG_W("coordinator", "cannot pause '%s': %s", j->id, err.text);
        return;
    }
    j->state = JOB_PAUSED;
    j->pause_units = t->units;
    emac_strcpy(j->reason, sizeof(j->reason), reason);
    job_log(c, j->id, LOG_WARN, "paused: %s", reason);
}

static void resume_if_it_fits(struct coordinator *c, struct cjob *j)
{
    struct emac_err err = {0};
    if (j->state != JOB_PAUSED || cjob_free_units(j) < j->pause_units || cjob_free_units(j) <= 0)
        return;
    if (state_write(c, j, JOB_RUNNING, "", &err) != EMAC_OK) {
        LOG_W("coordinator", "cannot resume '%s': %s", j->id, err.text);
        return;
    }
    j->state = JOB_RUNNING;
    j->reason[0] = 0;
    vtime_enter(c, j);
    job_log(c, j->id, LOG_INFO, "goes on: the escrow covers the next task");
    coordinator_changed(c);
}

struct disputed {
    struct cid task;
    char node[DID_KEY_MAX];
    int64_t units;
};

/* Nobody is paid for what was never settled between them. */
static enum emac_status disputes_void(struct coordinator *c, const struct cjob *j,
                                      struct emac_err *err)
{
    struct db_stmt *q;
    struct emac_buf rows;
    bool row = false;
    emac_buf_init(&rows, 1u << 24);
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT r.task, r.node,"
                                   " CASE WHEN r.state = 'held' THEN r.units ELSE 0 END"
                                   " FROM receipts r JOIN tasks t ON t.job = r.job"
                                   " AND t.step = r.step AND t.cid = r.task"
                                   " WHERE t.job = ? AND t.state = 'disputed'"
                                   " AND r.state IN ('held', 'unpaid')",
                                   "t", j->id);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct disputed d = {.task = cid_from_text(db_text(q, 0)), .units = db_i64(q, 2)};
        emac_strcpy(d.node, sizeof(d.node), db_text(q, 1));
        st = emac_buf_append(&rows, &d, sizeof(d), err);
        if (st != EMAC_OK)
            db_done(q);
    }
    const struct disputed *d = (const struct disputed *)(const void *)rows.data;
    for (size_t i = 0; st == EMAC_OK && i < rows.len / sizeof(*d); i++)
        st = money_void_one(c, j->id, d[i].node, &d[i].task, d[i].units, err);
    emac_buf_release(&rows);
    return st;
}

static enum emac_status end_rows(struct coordinator *c, struct cjob *j, enum job_state state,
                                 const char *reason, int64_t *refunded, struct emac_err *err)
{
    char params[CID_TEXT_MAX] = "", model[CID_TEXT_MAX] = "", evaluation[CID_TEXT_MAX] = "";
    const struct checkpoint *last = checkpoint_final(j);
    enum emac_status st;
    if (state == JOB_SUCCEEDED && j->plan->job.kind == JOB_EVALUATE) {
        cid_text(evaluation, &j->evaluation);
    } else if (state == JOB_SUCCEEDED) {
        EMAC_ASSERT(last != NULL);
        cid_text(params, &checkpoint_params(last)->value.cid);
        cid_text(model, &last->model);
    }
    EMAC_TRY(st, disputes_void(c, j, err));
    EMAC_TRY(st, db_exec(c->db, err,
                         "UPDATE leases SET state = 'cancelled', ended_ms = ?"
                         " WHERE job = ? AND state = 'open'",
                         "it", (int64_t)wall_ms(c), j->id));
    EMAC_TRY(st, assets_pay(c, j->id, &j->plan->job, j->st.step, err));
    EMAC_TRY(st, money_close(c, j->id, j->owner, refunded, err));
    EMAC_TRY(st, job_figures_write(c, j, &j->figures, err));
    EMAC_TRY(st, shares_flush(c, j, err));
    EMAC_TRY(st, db_exec(c->db, err,
                         "UPDATE jobs SET state = ?, reason = ?, ended_ms = ?, params = ?,"
                         " model = ?, evaluation = ? WHERE id = ?",
                         "ttitttt", job_state_name(state), reason, (int64_t)wall_ms(c), params,
                         model, evaluation, j->id));
    if (c->cfg.window_ms == 0) /* else when it settles */
        st = datacap_use_note(c, j->id, err);
out:
    return st;
}

enum emac_status job_end(struct coordinator *c, struct cjob *j, enum job_state state,
                         const char *reason, struct emac_err *err)
{
    int64_t refunded = 0;
    char text[32];
    enum emac_status st;
    EMAC_ASSERT(state != JOB_RUNNING && state != JOB_PAUSED);
    EMAC_TRY(st, db_begin(c->db, err));
    st = end_rows(c, j, state, reason, &refunded, err);
    if (st != EMAC_OK) {
        db_rollback(c->db);
        c->stakes_stale = true;
        return st;
    }
    ledger_amount_text(text, refunded);
    job_log(c, j->id, state == JOB_FAILED ? LOG_ERROR : LOG_INFO,
            "%s%s%s; rigs are paid%s, %s EMAC go back to the owner", job_state_name(state),
            reason[0] ? ": " : "", reason,
            c->cfg.window_ms ? " once the dispute window closes" : "", text);
    EMAC_TRY(st, db_commit(c->db, err));
    if (state != JOB_SUCCEEDED)
        plan_unpin(c, j->id, j->plan);
    job_forget(c, j);
    coordinator_changed(c);
out:
    return st;
}

static bool is_done(struct coordinator *c, struct cjob *j)
{
    if (plan_phase_of(j->plan, &j->st) != PLAN_DONE)
        return false;
    for (uint32_t i = 0; i < j->task_count; i++)
        if (j->task[i]->state == RESULT_DISPUTED || j->task[i]->vote_count < j->task[i]->need)
            return false;
    const struct checkpoint *last = checkpoint_final(j);
    bool stored = j->plan->job.kind == JOB_EVALUATE
                      ? evaluation_stored(j)
                      : last && checkpoint_params(last)->stored && last->model_stored;
    return stored && !disputes_hold(c, j->id);
}

/* A member of a group: the ticker holds the lock, and need not wait for the disk. */
static void figures_flush(struct coordinator *c, struct cjob *j)
{
    struct emac_err err = {0};
    if (db_begin_soon(c->db, &err) != EMAC_OK)
        return; /* the next time */
    enum emac_status st = job_figures_write(c, j, &j->figures, &err);
    if (st == EMAC_OK)
        st = shares_flush(c, j, &err);
    if (st != EMAC_OK)
        db_rollback(c->db);
    else if (db_commit_soon(c->db, &err) == EMAC_OK)
        j->figures_dirty = false;
}

void jobs_flush(struct coordinator *c)
{
    for (uint32_t i = 0; i < c->job_count; i++)
        if (c->job[i]->figures_dirty)
            figures_flush(c, c->job[i]);
}

void job_tick(struct coordinator *c, struct cjob *j, bool flush)
{
    struct emac_err err = {0};
    resume_if_it_fits(c, j);
    if (flush && j->figures_dirty)
        figures_flush(c, j);
    if (is_done(c, j) && job_end(c, j, JOB_SUCCEEDED, "", &err) != EMAC_OK)
        LOG_W("coordinator", "cannot end a job that is done, will retry: %s", err.text);
}

/* ---- submission ---- */

/* What the job says of its data, or leaves to be filled in, is what they are. */
static enum emac_status corpus_take(struct coordinator *c, struct job *job, struct emac_err *err)
{
    struct corpus corpus;
    enum emac_status st = corpus_load(c->depot, &job->data, &corpus, err);
    return st == EMAC_OK ? job_take_corpus(job, &corpus, err) : st;
}

static enum emac_status dataset_take(struct coordinator *c, struct job *job, struct emac_err *err)
{
    struct dataset d;
    enum emac_status st = dataset_load(c->depot, &job->data, &d, err);
    if (st == EMAC_OK)
        st = job_take_dataset(job, &d, err);
    dataset_release(&d);
    return st;
}

static enum emac_status depot_check(struct coordinator *c, const char *what, const struct cid *cid,
                                    struct emac_err *err)
{
    struct cid missing;
    size_t count = 0;
    char text[CID_TEXT_MAX];
    enum emac_status st = store_dag_missing(c->depot, cid, &missing, 1, &count, err);
    if (st == EMAC_OK && count == 0)
        return EMAC_OK;
    cid_text(text, cid);
    return emac_fail(err, EMAC_NOT_FOUND,
                     "the %s '%s' is not in the depot: push it with POST /v1/depot/%s first", what,
                     text, text);
}

static enum emac_status data_check(struct coordinator *c, struct job *job, struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, depot_check(c, "data", &job->data, err));
    if (job_has_base(job))
        EMAC_TRY(st, depot_check(c, "base", &job->base, err));
    if (job->spread == SPREAD_FEDERATED)
        EMAC_TRY(st, depot_check(c, "manifest of shards", &job->shards, err));
    EMAC_TRY(st, job_on_records(job) ? dataset_take(c, job, err) : corpus_take(c, job, err));
    st = job_check(job, err);
out:
    return st;
}

/* Planning costs time: only for those who have money here or had. */
static enum emac_status customer_check(struct coordinator *c, const struct job *job,
                                       struct emac_err *err)
{
    char account[LEDGER_ACCOUNT_MAX];
    int64_t balance = 0, jobs = 0;
    snprintf(account, sizeof(account), "user:%s", job->owner);
    enum emac_status st = ledger_balance(c->db, account, &balance, err);
    if (st == EMAC_OK)
        st = db_one_i64(c->db, &jobs, err, "SELECT COUNT(*) FROM jobs WHERE owner = ?", "t",
                        job->owner);
    if (st == EMAC_OK && jobs == 0 && (balance == 0 || balance < job->budget_units))
        st = emac_fail(err, EMAC_PAYMENT,
                       "account '%s' holds %" PRId64 " units and the job's budget is %" PRId64
                       ": put money into the account first",
                       account, balance, job->budget_units);
    return st;
}

/* A budget that is not given is what the work usually takes, and the royalties. */
static enum emac_status budget_fill(struct submission *s, struct emac_err *err)
{
    int64_t *budget = &s->job.budget_units, royalty = s->terms.reserve_units;
    char text[32];
    ledger_amount_text(text, royalty);
    if (*budget > 0 && *budget <= royalty)
        return emac_fail(err, EMAC_PAYMENT,
                         "the budget does not cover the royalties of what the job trains with, %s "
                         "EMAC: raise it",
                         text);
    if (*budget > 0)
        return EMAC_OK;
    enum emac_status st = plan_budget_default(s->plan, budget, err);
    if (st == EMAC_OK && __builtin_add_overflow(*budget, royalty, budget))
        st = emac_fail(err, EMAC_TOO_LARGE, "royalties of %s EMAC are too large to be paid", text);
    s->plan->job.budget_units = *budget;
    return st;
}

void submission_init(struct submission *s)
{
    *s = (struct submission){0};
    emac_buf_init(&s->object, JOB_BYTES_MAX);
}

void submission_release(struct submission *s)
{
    if (s->plan)
        job_plan_free(s->plan);
    emac_buf_release(&s->object);
}

enum emac_status submission_take(struct coordinator *c, const char *did, json_t *root,
                                 struct submission *s, struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, base_complete(root, c->depot, err));
    EMAC_TRY(st, job_from_json(&s->job, root, NULL, 0, err));
    if (s->job.owner[0] && strcmp(s->job.owner, did) != 0) {
        st = emac_fail(err, EMAC_FORBIDDEN, "the job's owner '%s' is not who signed, '%s'",
                       s->job.owner, did);
        goto out;
    }
    emac_strcpy(s->job.owner, sizeof(s->job.owner), did);
    EMAC_TRY(st, customer_check(c, &s->job, err));
    EMAC_TRY(st, data_check(c, &s->job, err));
    EMAC_TRY(st, assets_terms(c, &s->job, &s->terms, err));
    EMAC_TRY(st, job_plan_new(&s->job, c->depot, &s->plan, err));
    EMAC_TRY(st, fleet_suffices(c, s->plan, err));
    EMAC_TRY(st, budget_fill(s, err));
    EMAC_TRY(st, job_encode(&s->job, &s->object, &s->cid, err));
    job_id(s->id, &s->cid);
out:
    return st;
}

static enum emac_status submission_read(struct coordinator *c, const struct http_request *req,
                                        struct submission *s, struct emac_err *err)
{
    char did[DID_KEY_MAX];
    json_t *root = NULL;
    enum emac_status st = api_signer(c, req, did, err);
    if (st == EMAC_OK)
        st = api_body(req, &root, err);
    if (st == EMAC_OK)
        st = submission_take(c, did, root, s, err);
    json_decref(root);
    return st;
}

static enum emac_status job_insert(struct coordinator *c, const struct submission *s,
                                   struct emac_err *err)
{
    char cid[CID_TEXT_MAX];
    cid_text(cid, &s->cid);
    return db_exec(c->db, err,
                   "INSERT INTO jobs (id, cid, seq, owner, name, object, state, reason, created_ms,"
                   " ended_ms, escrow_units, step, steps, loss, score, params, model, tasks,"
                   " checked, mismatches, retries, lapsed, busy_us, bytes_moved)"
                   " VALUES (?, ?, ?, ?, ?, ?, 'running', '', ?, 0, ?, 0, ?, -1, -1, '', '', 0, 0,"
                   " 0, 0, 0, 0, 0)",
                   "ttittbiii", s->id, cid, c->job_seq + 1, s->job.owner, s->job.name,
                   (const void *)s->object.data, s->object.len, (int64_t)wall_ms(c),
                   s->job.budget_units, (int64_t)plan_rounds(&s->job));
}

static void log_submission(struct coordinator *c, const struct submission *s)
{
    uint64_t flops = 0;
    int64_t units = 0;
    bool trains = s->job.kind == JOB_TRAIN;
    char budget[32], price[32] = "?";
    ledger_amount_text(budget, s->job.budget_units);
    if (plan_total(s->plan, &flops, &units, NULL) == EMAC_OK)
        ledger_amount_text(price, units);
    job_log(c, s->id, LOG_INFO,
            "submitted: %u %s of %" PRIu64 " %s, %.3f Tflop; %s EMAC in escrow, the work costs %s "
            "EMAC when nothing is done twice",
            trains ? s->job.optimiser.steps : 1, trains ? "steps" : "evaluation",
            job_units_per_step(&s->job), job_unit(&s->job), (double)flops / 1e12, budget, price);
}

enum emac_status submission_insert(struct coordinator *c, const struct submission *s,
                                   struct emac_err *err)
{
    enum emac_status st = job_insert(c, s, err);
    c->job_seq++;
    if (st == EMAC_OK)
        st = assets_terms_write(c, s->id, &s->terms, err);
    if (st == EMAC_OK)
        st = private_job_write(c, s->id, &s->job, err);
    if (st == EMAC_OK)
        st = money_escrow(c, s->id, s->job.owner, s->job.budget_units, NULL, NULL, err);
    if (st == EMAC_OK)
        log_submission(c, s);
    return st;
}

enum emac_status submission_open(struct coordinator *c, struct submission *s, struct cjob **out,
                                 struct emac_err *err)
{
    struct cjob *j;
    enum emac_status st = emac_alloc(&j, 1, sizeof(*j), err);
    if (st != EMAC_OK)
        return st;
    emac_strcpy(j->id, sizeof(j->id), s->id);
    emac_strcpy(j->owner, sizeof(j->owner), s->job.owner);
    j->cid = s->cid;
    j->created_at = wall_ms(c);
    j->plan = s->plan;
    s->plan = NULL;
    j->stale = true;
    st = job_add(c, j, err);
    if (st != EMAC_OK)
        job_free(c, j);
    else
        *out = j;
    return st;
}

static enum emac_status job_create(struct coordinator *c, struct submission *s,
                                   struct emac_err *err)
{
    struct cjob *j;
    enum emac_status st;
    EMAC_TRY(st, db_begin(c->db, err));
    st = submission_insert(c, s, err);
    if (st != EMAC_OK) {
        db_rollback(c->db);
        return st;
    }
    EMAC_TRY(st, db_commit(c->db, err));
    EMAC_TRY(st, submission_open(c, s, &j, err));
    jobs_refresh(c);
    coordinator_changed(c);
out:
    return st;
}

static enum emac_status job_answer(struct coordinator *c, const struct submission *s, int status,
                                   struct http_response *res, struct emac_err *err)
{
    struct db_stmt *q;
    char cid[CID_TEXT_MAX];
    json_t *body = NULL;
    cid_text(cid, &s->cid);
    enum emac_status st =
        db_first(c->db, &q, err, "SELECT state, escrow_units FROM jobs WHERE id = ?", "t", s->id);
    if (st != EMAC_OK)
        return st;
    EMAC_ASSERT(q != NULL);
    body = json_pack("{s:s, s:s, s:s, s:o}", "id", s->id, "cid", cid, "state", db_text(q, 0),
                     "escrow_units", api_units(db_i64(q, 1)));
    db_done(q);
    return api_reply(res, status, body, err);
}

enum emac_status submission_known(struct coordinator *c, const struct submission *s, bool *known,
                                  struct emac_err *err)
{
    char cid[CID_TEXT_MAX];
    int64_t count = 0;
    cid_text(cid, &s->cid);
    enum emac_status st =
        db_one_i64(c->db, &count, err, "SELECT COUNT(*) FROM jobs WHERE cid = ?", "t", cid);
    *known = count > 0;
    return st;
}

static enum emac_status job_enter(struct coordinator *c, struct submission *s, bool *known,
                                  struct emac_err *err)
{
    enum emac_status st = submission_known(c, s, known, err);
    if (st != EMAC_OK || *known)
        return st;
    if (c->job_count >= JOBS_OPEN_MAX)
        return emac_fail(err, EMAC_BUSY, "%u jobs run already: try again later", c->job_count);
    return job_create(c, s, err);
}

enum emac_status jobs_post(void *ctx, const struct http_request *req, struct http_response *res,
                           struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct submission s;
    bool known = false;
    enum emac_status st;
    submission_init(&s);
    EMAC_TRY(st, submission_read(c, req, &s, err));
    EMAC_TRY(st, submission_known(c, &s, &known, err));
    /* The depot is fed before the lock is taken; pins of a refused job are taken back. */
    if (!known)
        EMAC_TRY(st, plan_deposit(c, s.id, s.plan, err));
    os_mutex_lock(&c->lock);
    st = job_enter(c, &s, &known, err);
    if (st != EMAC_OK)
        plan_unpin(c, s.id, s.plan);
    os_mutex_unlock(&c->lock);
    if (st == EMAC_OK)
        st = job_answer(c, &s, known ? 200 : 201, res, err);
out:
    submission_release(&s);
    return st;
}

/* ---- cancel, fund ---- */

/* The owner's open job; CONFLICT when it has ended. */
static enum emac_status owned_job(struct coordinator *c, const char *id, const char *did,
                                  struct cjob **out, struct emac_err *err)
{
    int64_t known = 0;
    *out = job_find(c, id);
    if (*out == NULL) {
        enum emac_status st =
            db_one_i64(c->db, &known, err, "SELECT COUNT(*) FROM jobs WHERE id = ?", "t", id);
        if (st != EMAC_OK)
            return st;
        return known ? emac_fail(err, EMAC_CONFLICT, "job '%s' has ended already", id)
                     : emac_fail(err, EMAC_NOT_FOUND, "there is no job '%s'", id);
    }
    if (strcmp((*out)->owner, did) != 0)
        return emac_fail(err, EMAC_FORBIDDEN, "job '%s' belongs to '%s'", id, (*out)->owner);
    return EMAC_OK;
}

enum emac_status job_cancel_post(void *ctx, const struct http_request *req,
                                 struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    char did[DID_KEY_MAX];
    struct cjob *j;
    const char *id = http_path_param(req, "id");
    enum emac_status st = api_signer(c, req, did, err);
    if (st != EMAC_OK)
        return st;
    os_mutex_lock(&c->lock);
    st = owned_job(c, id, did, &j, err);
    if (st == EMAC_OK)
        st = job_end(c, j, JOB_CANCELLED, "by its owner", err);
    os_mutex_unlock(&c->lock);
    if (st != EMAC_OK)
        return st;
    return api_reply(res, 200, json_pack("{s:s, s:s}", "id", id, "state", "cancelled"), err);
}

static enum emac_status fund(struct coordinator *c, struct cjob *j, int64_t units, const char *key,
                             struct emac_err *err)
{
    bool posted = false;
    enum emac_status st;
    EMAC_TRY(st, db_begin(c->db, err));
    st = money_escrow(c, j->id, j->owner, units, key, &posted, err);
    if (st == EMAC_OK && posted)
        st = db_exec(c->db, err, "UPDATE jobs SET escrow_units = escrow_units + ? WHERE id = ?",
                     "it", units, j->id);
    if (st != EMAC_OK) {
        db_rollback(c->db);
        return st;
    }
    EMAC_TRY(st, db_commit(c->db, err));
    if (posted)
        j->escrow_units += units;
    resume_if_it_fits(c, j);
out:
    return st;
}

enum emac_status job_fund_post(void *ctx, const struct http_request *req, struct http_response *res,
                               struct emac_err *err)
{
    struct coordinator *c = ctx;
    char did[DID_KEY_MAX];
    struct cjob *j;
    json_t *root = NULL;
    const char *key, *text;
    int64_t units = 0;
    enum job_state state = JOB_RUNNING;
    enum emac_status st;
    EMAC_TRY(st, api_signer(c, req, did, err));
    EMAC_TRY(st, api_body(req, &root, err));
    EMAC_TRY(st, api_str(root, "key", FUND_KEY_MAX, &key, err));
    EMAC_TRY(st, api_str(root, "units", 20, &text, err));
    EMAC_TRY(st, api_units_parse(text, &units, err));
    os_mutex_lock(&c->lock);
    st = owned_job(c, http_path_param(req, "id"), did, &j, err);
    if (st == EMAC_OK)
        st = fund(c, j, units, key, err);
    if (st == EMAC_OK) {
        state = j->state;
        units = j->escrow_units;
    }
    os_mutex_unlock(&c->lock);
    if (st == EMAC_OK)
        st = api_reply(res, 200,
                       json_pack("{s:s, s:s, s:o}", "id", http_path_param(req, "id"), "state",
                                 job_state_name(state), "escrow_units", api_units(units)),
                       err);
out:
    json_decref(root);
    return st;
}

/* Jobs as JSON. The row says what is settled; a job that runs adds what is in memory. */
#include "coordinator/checks/checks.h"
#include "coordinator/jobs/shares.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RATE_WINDOW_MS 60000
#define RIG_RECENT_MS  10000

/* ---- figures of a running job ---- */

/* Steps a second over the last samples, at most a minute back; 0: unknown. */
static double step_rate(struct coordinator *c, const struct cjob *j)
{
    uint64_t now = now_ms(c);
    uint32_t first = 0, last = j->rate_count;
    while (first < last && now - j->rate[first].ms > RATE_WINDOW_MS)
        first++;
    if (last - first < 2)
        return 0;
    uint64_t ms = j->rate[last - 1].ms - j->rate[first].ms;
    uint32_t steps = j->rate[last - 1].step - j->rate[first].step;
    return ms ? (double)steps * 1000.0 / (double)ms : 0;
}

static uint32_t rigs_of(struct coordinator *c, const struct cjob *j)
{
    struct map_entry e;
    uint32_t count = 0;
    uint64_t now = now_ms(c);
    for (size_t at = 0; map_next(&c->nodes, &at, &e);) {
        const struct node *n = e.value;
        count +=
            n->last_job == j && node_is_live(c, n, now) && now - n->last_job_ms < RIG_RECENT_MS;
    }
    return count;
}

static const char *phase_name(enum plan_phase phase)
{
    static const char *const NAMES[] = {"init", "train", "eval", "done"};
    EMAC_ASSERT((unsigned)phase < EMAC_COUNT(NAMES));
    return NAMES[phase];
}

static json_t *loss_json(double loss)
{
    return loss < 0 ? json_null() : json_real(loss);
}

/* ---- from the row ---- */

#define JOB_COLUMNS                                                                                \
    "id, cid, name, owner, state, reason, step, steps, loss, score, bytes_moved, params, model,"   \
    " created_ms, ended_ms, escrow_units, object, tasks, checked, mismatches, retries, lapsed,"    \
    " busy_us, seq, accuracy, evaluation"

static const char *phase_of_row(enum job_state state, int64_t step, int64_t steps)
{
    if (state == JOB_SUCCEEDED)
        return "done";
    return step < steps ? step > 0 ? "train" : "init" : "eval";
}

static enum emac_status spent(struct coordinator *c, const char *job, int64_t *units,
                              struct emac_err *err)
{
    return db_one_i64(c->db, units, err,
                      "SELECT COALESCE(SUM(units), 0) FROM receipts"
                      " WHERE job = ? AND state IN ('held', 'settled')",
                      "t", job);
}

/* Steps a second over the whole life of a job that ended; 0 while it is open. */
static double mean_rate(struct db_stmt *q)
{
    int64_t ms = db_i64(q, 14) - db_i64(q, 13);
    return db_i64(q, 14) > 0 && ms > 0 ? (double)db_i64(q, 6) * 1000.0 / (double)ms : 0;
}

/* Work done and its rate, in what the job's work is counted in: {tokens, tokens_per_second} or
 * {samples, samples_per_second}; and what a nat of a text's loss is in bits a byte. */
static void work_set(json_t *o, const struct job *job, uint32_t rounds, double rounds_per_second)
{
    uint64_t each = plan_units(job, 1);
    char rate[40];
    snprintf(rate, sizeof(rate), "%s_per_second", job_unit(job));
    json_object_set_new(o, "unit", json_string(job_unit(job)));
    json_object_set_new(o, job_unit(job), json_integer((json_int_t)plan_units(job, rounds)));
    json_object_set_new(o, "bits_per_nat",
                        job_on_records(job) ? json_null() : json_real(job_bits_per_byte(job, 1)));
    json_object_set_new(o, rate, json_real(rounds_per_second * (double)each));
}

/* What the evaluation found: of a text the loss as bits, of a data set the accuracy. */
static void score_set(json_t *o, const struct job *job, double score, double accuracy)
{
    bool bits = score >= 0 && !job_on_records(job);
    json_object_set_new(o, "loss_bits_per_byte",
                        bits ? json_real(job_bits_per_byte(job, score)) : json_null());
    json_object_set_new(o, "accuracy", loss_json(accuracy));
}

static json_t *cid_or_null(const char *text)
{
    return text[0] ? json_string(text) : json_null();
}

static json_t *row_json(struct db_stmt *q)
{
    enum job_state state;
    bool known = job_state_find(db_text(q, 4), &state);
    EMAC_ASSERT(known);
    int64_t step = db_i64(q, 6), steps = db_i64(q, 7);
    struct emac_slice object = db_blob(q, 16);
    struct job job;
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:o, s:i, s:I}", "id",
                          db_text(q, 0), "cid", db_text(q, 1), "name", db_text(q, 2), "owner",
                          db_text(q, 3), "state", db_text(q, 4), "reason", db_text(q, 5), "phase",
                          phase_of_row(state, step, steps), "step", (json_int_t)step, "steps",
                          (json_int_t)steps, "loss", loss_json(db_f64(q, 8)), "rigs", 0,
                          "bytes_moved", (json_int_t)db_i64(q, 10));
    if (job_decode(&job, object.data, object.len, NULL) == EMAC_OK) {
        work_set(o, &job, (uint32_t)step, mean_rate(q));
        score_set(o, &job, db_f64(q, 9), db_f64(q, 24));
    }
    json_object_set_new(o, "eta_seconds", json_null());
    json_object_set_new(o, "params", cid_or_null(db_text(q, 11)));
    json_object_set_new(o, "model", cid_or_null(db_text(q, 12)));
    json_object_set_new(o, "evaluation", cid_or_null(db_text(q, 25)));
    json_object_set_new(o, "created_ms", json_integer((json_int_t)db_i64(q, 13)));
    json_object_set_new(o, "ended_ms",
                        db_i64(q, 14) ? json_integer((json_int_t)db_i64(q, 14)) : json_null());
    json_object_set_new(o, "funded_units", api_units(db_i64(q, 15)));
    json_object_set_new(o, "escrow_units", api_units(0)); /* an open job says more: overlay */
    return o;
}

static json_t *figures_json(const struct figures *f)
{
    double per_task = f->tasks > 0 ? (double)f->busy_us / (double)f->tasks : 0;
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:f}", "tasks", (json_int_t)f->tasks, "checked",
                     (json_int_t)f->checked, "mismatches", (json_int_t)f->mismatches, "retries",
                     (json_int_t)f->retries, "lapsed", (json_int_t)f->lapsed,
                     "coordinator_us_per_task", per_task);
}

static void row_details(struct db_stmt *q, json_t *o)
{
    struct job job;
    struct emac_slice object = db_blob(q, 16);
    struct figures f = {.tasks = db_i64(q, 17),
                        .checked = db_i64(q, 18),
                        .mismatches = db_i64(q, 19),
                        .retries = db_i64(q, 20),
                        .lapsed = db_i64(q, 21),
                        .busy_us = db_i64(q, 22)};
    json_object_set_new(o, "figures", figures_json(&f));
    if (job_decode(&job, object.data, object.len, NULL) == EMAC_OK)
        json_object_set_new(o, "job", job_to_json(&job));
}

/* ---- from memory ---- */

static void overlay_rate(struct coordinator *c, const struct cjob *j, json_t *o)
{
    double rate = step_rate(c, j);
    uint32_t left = plan_rounds(&j->plan->job) - j->st.step;
    work_set(o, &j->plan->job, j->st.step, rate);
    json_object_set_new(o, "eta_seconds", rate > 0 ? json_real(left / rate) : json_null());
}

static void overlay(struct coordinator *c, const char *id, json_t *o, bool details)
{
    struct cjob *j = job_find(c, id);
    if (j == NULL)
        return;
    json_object_set_new(o, "state", json_string(job_state_name(j->state)));
    json_object_set_new(o, "reason", json_string(j->reason));
    json_object_set_new(o, "phase", json_string(phase_name(plan_phase_of(j->plan, &j->st))));
    json_object_set_new(o, "step", json_integer(j->st.step));
    json_object_set_new(o, "loss", loss_json(j->loss));
    const struct plan_score *score = plan_model_score(j->plan, &j->st);
    score_set(o, &j->plan->job, score->loss, score->accuracy);
    json_object_set_new(o, "tokens",
                        json_integer((json_int_t)plan_units(&j->plan->job, j->st.step)));
    json_object_set_new(o, "rigs", json_integer(rigs_of(c, j)));
    json_object_set_new(o, "bytes_moved", json_integer((json_int_t)j->figures.bytes_moved));
    json_object_set_new(o, "escrow_units", api_units(j->escrow_units));
    overlay_rate(c, j, o);
    const struct cid *params = plan_value(&j->st, "params");
    if (params && told_value(j, params))
        json_object_set_new(o, "params", api_cid(params));
    if (details)
        json_object_set_new(o, "figures", figures_json(&j->figures));
}

/* CHECK-4: values of checkpoints that others are computing still are not named. */
static void untold_strip(const struct cjob *j, json_t *checkpoints)
{
    json_t *k, *value;
    const char *name;
    size_t i;
    json_array_foreach(checkpoints, i, k)
    {
        bool told = true;
        json_object_foreach(k, name, value)
        {
            struct cid cid;
            if (json_is_string(value) && cid_parse(&cid, json_string_value(value), NULL) == EMAC_OK)
                told = told && told_value(j, &cid);
        }
        if (!told)
            json_array_set_new(checkpoints, i,
                               json_pack("{s:O, s:n, s:O}", "step", json_object_get(k, "step"),
                                         "model", "state", json_object_get(k, "state")));
    }
}

static enum emac_status checkpoints_read(struct coordinator *c, const char *job, json_t *list,
                                         struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT step, model, state, kept FROM checkpoints"
                                   " WHERE job = ? AND state <> 'stale' ORDER BY step",
                                   "t", job);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct checkpoint k = {0};
        json_t *o = json_pack("{s:I, s:o, s:s}", "step", (json_int_t)db_i64(q, 0), "model",
                              cid_or_null(db_text(q, 1)), "state", db_text(q, 2));
        checkpoint_parse(&k, db_text(q, 3));
        for (uint32_t i = 0; i < k.kept_count; i++)
            json_object_set_new(o, k.kept[i].value.name, api_cid(&k.kept[i].value.cid));
        json_array_append_new(list, o);
    }
    return st;
}

/* ---- handlers ---- */

enum emac_status job_get(void *ctx, const struct http_request *req, struct http_response *res,
                         struct emac_err *err)
{
    struct coordinator *c = ctx;
    const char *id = http_path_param(req, "id");
    struct db_stmt *q;
    int64_t units = 0;
    json_t *o = NULL, *checkpoints = json_array(), *shares = NULL;
    enum emac_status st =
        db_first(c->db, &q, err, "SELECT " JOB_COLUMNS " FROM jobs WHERE id = ?", "t", id);
    if (q != NULL) {
        o = row_json(q);
        row_details(q, o);
        db_done(q);
        st = checkpoints_read(c, id, checkpoints, err);
    } else if (st == EMAC_OK) {
        st = emac_fail(err, EMAC_NOT_FOUND, "there is no job '%.100s'", id);
    }
    if (st == EMAC_OK)
        st = spent(c, id, &units, err);
    if (st == EMAC_OK)
        st = shares_json(c, id, &shares, err);
    if (st != EMAC_OK) {
        json_decref(o);
        json_decref(checkpoints);
        return st;
    }
    json_object_set_new(o, "checkpoints", checkpoints);
    json_object_set_new(o, "spent_units", api_units(units));
    json_object_set_new(o, "shares", shares);
    os_mutex_lock(&c->lock);
    overlay(c, id, o, true);
    if (job_find(c, id) != NULL)
        untold_strip(job_find(c, id), checkpoints);
    os_mutex_unlock(&c->lock);
    return api_reply(res, 200, o, err);
}

/* Newest first; `after` names the last job of the page before. */
static enum emac_status list_read(struct coordinator *c, int64_t before, uint64_t limit,
                                  json_t *list, struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT " JOB_COLUMNS " FROM jobs WHERE seq < ?"
                                   " ORDER BY seq DESC LIMIT ?",
                                   "ii", before, (int64_t)limit);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row)
        json_array_append_new(list, row_json(q));
    return st;
}

enum emac_status jobs_get(void *ctx, const struct http_request *req, struct http_response *res,
                          struct emac_err *err)
{
    struct coordinator *c = ctx;
    const char *after = http_query_get(req, "after");
    uint64_t limit;
    int64_t before = INT64_MAX;
    enum emac_status st = api_query_u64(req, "limit", 100, API_LIST_MAX, &limit, err);
    if (st == EMAC_OK && after && after[0] &&
        db_one_i64(c->db, &before, err, "SELECT seq FROM jobs WHERE id = ?", "t", after) != EMAC_OK)
        st = emac_fail(err, EMAC_NOT_FOUND, "there is no job '%.100s'", after);
    if (st != EMAC_OK)
        return st;
    json_t *list = json_array(), *o;
    size_t i;
    st = list_read(c, before, limit, list, err);
    if (st != EMAC_OK) {
        json_decref(list);
        return st;
    }
    os_mutex_lock(&c->lock);
    json_array_foreach(list, i, o)
    {
        overlay(c, json_string_value(json_object_get(o, "id")), o, false);
    }
    os_mutex_unlock(&c->lock);
    return api_reply(res, 200, json_pack("{s:o}", "jobs", list), err);
}

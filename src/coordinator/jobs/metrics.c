/* The numbers of a job over its steps: rows of `metrics`.
 *
 * A row is the value that a series had after `step` rounds of the job. Rows are written in the
 * transaction that accepts the result they come of; there is one for each (series, step), and a
 * result that is made again replaces it, under a new id. When the job goes back, rows of later
 * steps stay: either they come again, or the withdrawn results do, which nobody computes a second
 * time (COORD-5). Readers are told the job's step and leave out what is beyond it.
 *
 * Long jobs are thinned when they are read, by one rule: the steps asked for are cut into as many
 * equal spans as points were asked for, and each series gives the last row of each span. */
#include "coordinator/internal.h"

#include <stdio.h>
#include <string.h>

#include "work/bundle.h"

#define POINTS_USUAL 500
#define ROWS_MAX     10000 /* of one answer in order of ids */
#define VALUE_MAX    1e300

/* What a bundle of metrics may tell, the loss first: readers see by it that a job went back. Other
 * names in it are passed over, so a rig cannot make up series. */
static const char *const TOLD[] = {"loss", "grad_norm", "accuracy"};

/* ---- writing: in tx ---- */

static enum emac_status row_write(struct coordinator *c, const char *job, const char *name,
                                  uint32_t step, double value, struct emac_err *err)
{
    enum emac_status st = db_exec(
        c->db, err,
        "INSERT INTO metrics (id, job, name, step, value, at_ms) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (job, name, step) DO UPDATE SET id = excluded.id, value = excluded.value,"
        " at_ms = excluded.at_ms",
        "ittidi", c->metric_id + 1, job, name, (int64_t)step, value, (int64_t)wall_ms(c));
    /* A number that a transaction took and lost is not given again: ids only rise. */
    c->metric_id++;
    return st;
}

/* Several tasks of a round may tell a number (replicas): the row is the mean of those that count.
 */
static enum emac_status mean_with(struct coordinator *c, const struct cjob *j,
                                  const struct ctask *t, const char *series, uint32_t step,
                                  double *value, struct emac_err *err)
{
    struct db_stmt *q;
    uint32_t others = 0;
    for (uint32_t i = 0; i < j->st.result_count; i++)
        others += j->st.result[i].kind == t->kind && j->st.result[i].loss >= 0 &&
                  strcmp(j->st.result[i].slot, t->slot) != 0;
    if (others == 0)
        return EMAC_OK;
    enum emac_status st = db_first(c->db, &q, err,
                                   "SELECT value FROM metrics WHERE job = ? AND name = ?"
                                   " AND step = ?",
                                   "tti", j->id, series, (int64_t)step);
    if (q != NULL) {
        *value = (db_f64(q, 0) * others + *value) / (others + 1);
        db_done(q);
    }
    return st;
}

/* A series of the bundle, if it is there. */
static enum emac_status told_write(struct coordinator *c, const struct cjob *j,
                                   const struct ctask *t, struct emac_slice bundle,
                                   const char *name, struct emac_err *err)
{
    char series[METRIC_NAME_MAX];
    double value;
    if (metrics_read(bundle.data, bundle.len, name, &value, NULL) != EMAC_OK)
        return EMAC_OK;
    if (!(value > -VALUE_MAX && value < VALUE_MAX))
        return emac_fail(err, EMAC_NUMERIC, "'%s' in 'metrics' is not a number that can be", name);
    bool heldout = t->kind == TASK_SCORE;
    snprintf(series, sizeof(series), "%s%s", heldout ? "heldout_" : "", name);
    uint32_t step = heldout ? t->step : t->step + 1;
    enum emac_status st = mean_with(c, j, t, series, step, &value, err);
    return st == EMAC_OK ? row_write(c, j->id, series, step, value, err) : st;
}

/* The rate of the last optimiser step of the round. */
static double lr_of(const struct job *job, uint32_t round)
{
    return optimiser_lr(&job->optimiser, plan_steps(job, round + 1) - 1);
}

/* How fast the step was: from the acceptance of the one before. When this process did not see that,
 * nothing is known, and what a withdrawn result said is no longer true. */
static enum emac_status rate_write(struct coordinator *c, const struct cjob *j,
                                   const struct ctask *t, struct emac_err *err)
{
    char series[METRIC_NAME_MAX];
    uint32_t last = j->rate_count;
    snprintf(series, sizeof(series), "%s_per_second", job_unit(&j->plan->job));
    if (last == 0 || j->rate[last - 1].step != t->step)
        return db_exec(c->db, err, "DELETE FROM metrics WHERE job = ? AND name = ? AND step = ?",
                       "tti", j->id, series, (int64_t)t->step + 1);
    uint64_t ms = now_ms(c) - j->rate[last - 1].ms;
    double rate = (double)plan_units(&j->plan->job, 1) * 1000 / (double)(ms ? ms : 1);
    return row_write(c, j->id, series, t->step + 1, rate, err);
}

/* Does the result tell of the whole round? */
static bool ends_round(const struct ctask *t)
{
    return t->kind == TASK_STEP || t->kind == TASK_COMMON;
}

enum emac_status metrics_write(struct coordinator *c, const struct cjob *j, const struct ctask *t,
                               struct emac_slice bundle, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    if (bundle.data == NULL)
        return EMAC_OK;
    if (t->kind == TASK_UPDATE && t->range.first > 0)
        return EMAC_OK; /* of replicas side by side the first one's are shown */
    for (size_t i = 0; i < EMAC_COUNT(TOLD) && st == EMAC_OK; i++)
        st = told_write(c, j, t, bundle, TOLD[i], err);
    if (st != EMAC_OK || !ends_round(t))
        return st;
    st = row_write(c, j->id, "lr", t->step + 1, lr_of(&j->plan->job, t->step), err);
    return st == EMAC_OK ? rate_write(c, j, t, err) : st;
}

enum emac_status metrics_forget(struct coordinator *c, const struct cjob *j, const struct ctask *t,
                                struct emac_err *err)
{
    if (t->kind == TASK_SCORE)
        return db_exec(c->db, err,
                       "DELETE FROM metrics WHERE job = ? AND step = ? AND name LIKE 'heldout%'",
                       "ti", j->id, (int64_t)t->step);
    if (!ends_round(t))
        return EMAC_OK;
    return db_exec(c->db, err,
                   "DELETE FROM metrics WHERE job = ? AND step = ? AND name NOT LIKE 'heldout%'",
                   "ti", j->id, (int64_t)t->step + 1);
}

/* ---- reading ---- */

static json_t *row_json(struct db_stmt *q)
{
    return json_pack("{s:I, s:s, s:I, s:f, s:I}", "id", (json_int_t)db_i64(q, 0), "name",
                     db_text(q, 1), "step", (json_int_t)db_i64(q, 2), "value", db_f64(q, 3),
                     "at_ms", (json_int_t)db_i64(q, 4));
}

/* A follow_reader. */
static enum emac_status rows_after(struct coordinator *c, const char *job, int64_t *after,
                                   int64_t limit, json_t *list, struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT id, name, step, value, at_ms FROM metrics"
                                   " WHERE job = ? AND id > ? ORDER BY id LIMIT ?",
                                   "tii", job, *after, limit);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        *after = db_i64(q, 0);
        json_array_append_new(list, row_json(q));
    }
    return st;
}

struct span {
    int64_t since, until; /* steps since < s <= until */
    int64_t points;
};

/* The last row of the series in (from, to], if there is one. */
static enum emac_status last_in(struct coordinator *c, const char *job, const char *name,
                                int64_t from, int64_t to, json_t *list, struct emac_err *err)
{
    struct db_stmt *q;
    enum emac_status st = db_first(c->db, &q, err,
                                   "SELECT id, name, step, value, at_ms FROM metrics WHERE job = ?"
                                   " AND name = ? AND step > ? AND step <= ?"
                                   " ORDER BY step DESC LIMIT 1",
                                   "ttii", job, name, from, to);
    if (q != NULL) {
        json_array_append_new(list, row_json(q));
        db_done(q);
    }
    return st;
}

static enum emac_status series_thin(struct coordinator *c, const char *job, const char *name,
                                    const struct span *s, json_t *list, struct emac_err *err)
{
    int64_t length = s->until - s->since, spans = length < s->points ? length : s->points;
    enum emac_status st = EMAC_OK;
    for (int64_t i = 0; i < spans && st == EMAC_OK; i++)
        st = last_in(c, job, name, s->since + length * i / spans,
                     s->since + length * (i + 1) / spans, list, err);
    return st;
}

/* The name of the job's series that follows `name` in byte order; "" after the last. */
static enum emac_status name_next(struct coordinator *c, const char *job,
                                  char name[METRIC_NAME_MAX], struct emac_err *err)
{
    struct db_stmt *q;
    enum emac_status st = db_first(c->db, &q, err,
                                   "SELECT name FROM metrics WHERE job = ? AND name > ?"
                                   " ORDER BY name LIMIT 1",
                                   "tt", job, name);
    name[0] = 0;
    if (q != NULL) {
        emac_strcpy(name, METRIC_NAME_MAX, db_text(q, 0));
        db_done(q);
    }
    return st;
}

static enum emac_status rows_thin(struct coordinator *c, const char *job, const struct span *s,
                                  json_t *list, struct emac_err *err)
{
    char name[METRIC_NAME_MAX] = "";
    enum emac_status st = name_next(c, job, name, err);
    while (st == EMAC_OK && name[0]) {
        st = series_thin(c, job, name, s, list, err);
        if (st == EMAC_OK)
            st = name_next(c, job, name, err);
    }
    return st;
}

/* ---- the handler ---- */

/* Where the job stands, and the newest row's id with it. */
struct standing {
    struct job job;
    char state[16];
    int64_t step, steps, last;
};

static enum emac_status standing_row(struct coordinator *c, const char *id, struct standing *out,
                                     struct emac_err *err)
{
    struct db_stmt *q;
    enum emac_status st = db_first(
        c->db, &q, err, "SELECT state, step, steps, object FROM jobs WHERE id = ?", "t", id);
    if (st != EMAC_OK)
        return st;
    if (q == NULL)
        return emac_fail(err, EMAC_NOT_FOUND, "there is no job '%.100s'", id);
    struct emac_slice object = db_blob(q, 3);
    emac_strcpy(out->state, sizeof(out->state), db_text(q, 0));
    out->step = db_i64(q, 1);
    out->steps = db_i64(q, 2);
    st = job_decode(&out->job, object.data, object.len, err);
    db_done(q);
    return st == EMAC_OK
               ? db_one_i64(c->db, &out->last, err,
                            "SELECT COALESCE(MAX(id), 0) FROM metrics WHERE job = ?", "t", id)
               : st;
}

/* Under the lock, because memory moves on after the commit that wrote a step's rows. */
static enum emac_status standing_read(struct coordinator *c, const char *id, struct standing *out,
                                      struct emac_err *err)
{
    os_mutex_lock(&c->lock);
    enum emac_status st = standing_row(c, id, out, err);
    const struct cjob *j = job_find(c, id);
    if (st == EMAC_OK && j && !j->stale)
        out->step = (int64_t)j->st.step;
    os_mutex_unlock(&c->lock);
    return st;
}

/* The id before the first row of a later step: where a stream that wants those begins. */
static enum emac_status after_of(struct coordinator *c, const char *job, uint64_t since,
                                 int64_t *after, struct emac_err *err)
{
    return db_one_i64(c->db, after, err,
                      "SELECT COALESCE(MIN(id) - 1, 0) FROM metrics WHERE job = ? AND step > ?",
                      "ti", job, (int64_t)since);
}

static enum emac_status answer(struct coordinator *c, const char *id, const struct standing *now,
                               const struct span *s, int64_t after, struct http_response *res,
                               struct emac_err *err)
{
    json_t *list = json_array();
    int64_t last = now->last;
    enum emac_status st;
    if (after >= 0) {
        last = after;
        st = rows_after(c, id, &last, ROWS_MAX, list, err);
    } else {
        st = rows_thin(c, id, s, list, err);
    }
    if (st != EMAC_OK) {
        json_decref(list);
        return st;
    }
    return api_reply(res, 200,
                     json_pack("{s:s, s:s, s:I, s:I, s:s, s:I, s:I, s:o}", "job", id, "state",
                               now->state, "step", (json_int_t)now->step, "steps",
                               (json_int_t)now->steps, "unit", job_unit(&now->job),
                               "units_per_step", (json_int_t)plan_units(&now->job, 1), "last",
                               (json_int_t)last, "metrics", list),
                     err);
}

enum emac_status metrics_get(void *ctx, const struct http_request *req, struct http_response *res,
                             struct emac_err *err)
{
    struct coordinator *c = ctx;
    const char *id = http_path_param(req, "id");
    struct standing now;
    uint64_t since, points, after;
    bool by_id = http_query_get(req, "after") != NULL;
    enum emac_status st;
    EMAC_TRY(st, api_query_u64(req, "since", 0, JOB_STEPS_MAX, &since, err));
    EMAC_TRY(st, api_query_u64(req, "points", POINTS_USUAL, API_LIST_MAX, &points, err));
    EMAC_TRY(st, api_query_u64(req, "after", 0, INT64_MAX, &after, err));
    EMAC_TRY(st, standing_read(c, id, &now, err));
    if (follow_asked(req)) {
        int64_t from = (int64_t)after;
        if (!by_id)
            EMAC_TRY(st, after_of(c, id, since, &from, err));
        return follow_start(c, rows_after, id, from, res, err);
    }
    const struct span s = {(int64_t)since, now.step > (int64_t)since ? now.step : (int64_t)since,
                           (int64_t)points};
    st = answer(c, id, &now, &s, by_id ? (int64_t)after : -1, res, err);
out:
    return st;
}

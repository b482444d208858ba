/* The routes of sweeps. */
#include "coordinator/jobs/submission.h"
#include "coordinator/jobs/sweeps.h"

#include <stdlib.h>
#include <string.h>

/* ---- submission ---- */

struct intake {
    struct sweep sweep;
    struct submission *job; /* by trial */
    uint32_t taken;         /* submissions to be released */
    uint32_t deposited;     /* plans in the depot */
    char did[DID_KEY_MAX], id[SWEEP_ID_MAX], cid[CID_TEXT_MAX];
};

static enum emac_status trial_take(struct coordinator *c, struct intake *in, json_t *one,
                                   struct emac_err *err)
{
    const char *label = NULL;
    uint32_t i = in->sweep.trial_count;
    struct sweep_trial *t = &in->sweep.trial[i];
    enum emac_status st = api_str(one, "label", SWEEP_LABEL_MAX - 1, &label, err);
    if (st == EMAC_OK && !text_printable(label))
        st = emac_fail(err, EMAC_INVALID, "field 'label' holds control characters");
    if (st != EMAC_OK)
        return st;
    emac_strcpy(t->label, sizeof(t->label), label);
    submission_init(&in->job[i]);
    in->taken++;
    EMAC_TRY(st, submission_take(c, in->did, json_object_get(one, "job"), &in->job[i], err));
    EMAC_TRY(st, sweep_check_trial(&in->sweep, &in->job[i].job, &in->job[0].job, err));
    t->cid = in->job[i].cid;
    in->sweep.trial_count++;
out:
    return st == EMAC_OK ? st : emac_wrap(err, "trial %u", i);
}

static enum emac_status intake_read(struct coordinator *c, const struct http_request *req,
                                    struct intake *in, struct emac_err *err)
{
    json_t *root = NULL, *list, *one;
    struct emac_buf object;
    struct cid cid;
    size_t i;
    enum emac_status st;
    emac_buf_init(&object, API_BODY_SWEEP);
    EMAC_TRY(st, api_signer(c, req, in->did, err));
    EMAC_TRY(st, api_body(req, &root, err));
    EMAC_TRY(st, sweep_read_head(&in->sweep, root, err));
    EMAC_TRY(st, api_list_opt(root, "trials", SWEEP_TRIALS_MAX, &list, err));
    if (json_array_size(list) < 2) {
        st = emac_fail(err, EMAC_INVALID, "field 'trials' must list two trials or more");
        goto out;
    }
    EMAC_TRY(st, emac_alloc(&in->job, json_array_size(list), sizeof(*in->job), err));
    json_array_foreach(list, i, one)
    {
        EMAC_TRY(st, trial_take(c, in, one, err));
    }
    EMAC_TRY(st, sweep_encode(&in->sweep, in->did, &object, &cid, err));
    sweep_id(in->id, &cid);
    cid_text(in->cid, &cid);
out:
    emac_buf_release(&object);
    json_decref(root);
    return st;
}

static void intake_release(struct intake *in)
{
    for (uint32_t i = 0; i < in->taken; i++)
        submission_release(&in->job[i]);
    free(in->job);
    free(in);
}

static enum emac_status sweep_known(struct coordinator *c, const char *id, bool *known,
                                    struct emac_err *err)
{
    int64_t count = 0;
    enum emac_status st =
        db_one_i64(c->db, &count, err, "SELECT COUNT(*) FROM sweeps WHERE id = ?", "t", id);
    *known = count > 0;
    return st;
}

static enum emac_status none_known(struct coordinator *c, const struct intake *in,
                                   struct emac_err *err)
{
    for (uint32_t i = 0; i < in->taken; i++) {
        bool known = false;
        enum emac_status st = submission_known(c, &in->job[i], &known, err);
        if (st != EMAC_OK)
            return st;
        if (known)
            return emac_fail(err, EMAC_CONFLICT, "trial %u is job '%s', which is here already", i,
                             in->job[i].id);
    }
    return EMAC_OK;
}

/* ---- rows, in tx (SWEEP-1) ---- */

static enum emac_status trials_insert(struct coordinator *c, const struct intake *in,
                                      struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < in->taken && st == EMAC_OK; i++) {
        EMAC_TRY(st, submission_insert(c, &in->job[i], err));
        st = db_exec(c->db, err,
                     "INSERT INTO trials (sweep, trial, job, label, stopped)"
                     " VALUES (?, ?, ?, ?, -1)",
                     "titt", in->id, (int64_t)i, in->job[i].id, in->sweep.trial[i].label);
    }
out:
    return st;
}

static enum emac_status intake_insert(struct coordinator *c, const struct intake *in,
                                      struct emac_err *err)
{
    const struct sweep *s = &in->sweep;
    enum emac_status st =
        db_exec(c->db, err,
                "INSERT INTO sweeps (id, cid, seq, owner, name, keep, state, rung, winner,"
                " created_ms, ended_ms) SELECT ?, ?, COALESCE(MAX(seq), 0) + 1, ?, ?, ?, 'running',"
                " 0, '', ?, 0 FROM sweeps",
                "ttttdi", in->id, in->cid, in->did, s->name, s->keep, (int64_t)wall_ms(c));
    for (uint32_t i = 0; i < s->rung_count && st == EMAC_OK; i++)
        st = db_exec(c->db, err, "INSERT INTO sweep_rungs (sweep, rung, step) VALUES (?, ?, ?)",
                     "tii", in->id, (int64_t)i, (int64_t)s->rung[i]);
    return st == EMAC_OK ? trials_insert(c, in, err) : st;
}

static enum emac_status intake_enter(struct coordinator *c, struct intake *in, bool *known,
                                     struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, sweep_known(c, in->id, known, err));
    if (*known)
        return EMAC_OK;
    EMAC_TRY(st, none_known(c, in, err));
    if (c->sweep_count >= SWEEPS_OPEN_MAX || c->job_count + in->taken > JOBS_OPEN_MAX)
        return emac_fail(err, EMAC_BUSY, "%u sweeps and %u jobs run already: try again later",
                         c->sweep_count, c->job_count);
    EMAC_TRY(st, db_begin(c->db, err));
    st = intake_insert(c, in, err);
    if (st != EMAC_OK) {
        db_rollback(c->db);
        return st;
    }
    EMAC_TRY(st, db_commit(c->db, err));
    for (uint32_t i = 0; i < in->taken; i++) {
        struct cjob *j;
        EMAC_TRY(st, submission_open(c, &in->job[i], &j, err));
    }
    EMAC_TRY(st, csweep_load(c, in->id, err));
    jobs_refresh(c);
out:
    return st;
}

/* ---- views ---- */

static enum emac_status scores_json(struct coordinator *c, const char *sweep, int64_t trial,
                                    json_t *list, struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT step, loss FROM sweep_scores"
                                   " WHERE sweep = ? AND trial = ? AND step > 0 ORDER BY rung",
                                   "ti", sweep, trial);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row)
        json_array_append_new(list,
                              json_pack("{s:I, s:o}", "step", (json_int_t)db_i64(q, 0), "loss",
                                        db_f64(q, 1) < 0 ? json_null() : json_real(db_f64(q, 1))));
    return st;
}

static json_t *number_or_null(double v)
{
    return v < 0 ? json_null() : json_real(v);
}

/* Scores are added by scores_all: a query is not begun within another's rows. */
static enum emac_status trials_json(struct coordinator *c, const char *sweep, json_t *list,
                                    struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st = db_query(
        c->db, &q, err,
        "SELECT t.trial, t.job, t.label, j.state, j.step, j.steps, j.loss, j.score, j.model,"
        " COALESCE(r.step, 0), (SELECT COALESCE(SUM(p.units), 0) FROM receipts p"
        " WHERE p.job = t.job AND p.state IN ('held', 'settled'))"
        " FROM trials t JOIN jobs j ON j.id = t.job"
        " LEFT JOIN sweep_rungs r ON r.sweep = t.sweep AND r.rung = t.stopped"
        " WHERE t.sweep = ? ORDER BY t.trial",
        "t", sweep);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        int64_t stopped = db_i64(q, 9);
        const char *model = db_text(q, 8);
        json_array_append_new(
            list, json_pack("{s:I, s:s, s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "trial",
                            (json_int_t)db_i64(q, 0), "job", db_text(q, 1), "label", db_text(q, 2),
                            "state", db_text(q, 3), "step", (json_int_t)db_i64(q, 4), "steps",
                            (json_int_t)db_i64(q, 5), "loss", number_or_null(db_f64(q, 6)),
                            "heldout_loss", number_or_null(stopped > 0 ? -1 : db_f64(q, 7)),
                            "model", model[0] ? json_string(model) : json_null(), "stopped_at",
                            stopped > 0 ? json_integer((json_int_t)stopped) : json_null(),
                            "spent_units", api_units(db_i64(q, 10))));
    }
    return st;
}

static enum emac_status scores_all(struct coordinator *c, const char *sweep, json_t *trials,
                                   struct emac_err *err)
{
    json_t *one;
    size_t i;
    json_array_foreach(trials, i, one)
    {
        json_t *scores = json_array();
        json_object_set_new(one, "scores", scores);
        enum emac_status st = scores_json(c, sweep, (int64_t)i, scores, err);
        if (st != EMAC_OK)
            return st;
    }
    return EMAC_OK;
}

/* Where the trials that run are now. */
static void trials_overlay(struct coordinator *c, json_t *trials)
{
    json_t *one;
    size_t i;
    os_mutex_lock(&c->lock);
    json_array_foreach(trials, i, one)
    {
        const struct cjob *j = job_find(c, json_string_value(json_object_get(one, "job")));
        if (j == NULL)
            continue;
        json_object_set_new(one, "step", json_integer(j->st.step));
        json_object_set_new(one, "loss", number_or_null(j->loss));
    }
    os_mutex_unlock(&c->lock);
}

static enum emac_status rungs_json(struct coordinator *c, const char *sweep, json_t *list,
                                   struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st = db_query(
        c->db, &q, err, "SELECT step FROM sweep_rungs WHERE sweep = ? ORDER BY rung", "t", sweep);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row)
        json_array_append_new(list, json_integer((json_int_t)db_i64(q, 0)));
    return st;
}

static json_t *head_json(struct db_stmt *q)
{
    const char *winner = db_text(q, 7);
    int64_t ended = db_i64(q, 9);
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:f, s:s, s:I, s:o, s:I, s:o}", "id", db_text(q, 0), "cid",
        db_text(q, 1), "owner", db_text(q, 2), "name", db_text(q, 3), "keep", db_f64(q, 4), "state",
        db_text(q, 5), "rungs_decided", (json_int_t)db_i64(q, 6), "winner",
        winner[0] ? json_string(winner) : json_null(), "created_ms", (json_int_t)db_i64(q, 8),
        "ended_ms", ended ? json_integer((json_int_t)ended) : json_null());
}

#define SWEEP_COLUMNS                                                                              \
    "SELECT id, cid, owner, name, keep, state, rung, winner, created_ms, ended_ms FROM sweeps"

/* The winner's. */
static void model_set(json_t *sweep, json_t *trials)
{
    const char *winner = json_string_value(json_object_get(sweep, "winner"));
    json_t *one;
    size_t i;
    json_object_set_new(sweep, "model", json_null());
    json_array_foreach(trials, i, one)
    {
        if (winner && strcmp(winner, json_string_value(json_object_get(one, "job"))) == 0)
            json_object_set(sweep, "model", json_object_get(one, "model"));
    }
}

static enum emac_status sweep_json(struct coordinator *c, const char *id, json_t **out,
                                   struct emac_err *err)
{
    struct db_stmt *q;
    json_t *rungs = json_array(), *trials = json_array();
    *out = NULL;
    enum emac_status st = db_first(c->db, &q, err, SWEEP_COLUMNS " WHERE id = ?", "t", id);
    if (q != NULL) {
        *out = head_json(q);
        db_done(q);
    } else if (st == EMAC_OK) {
        st = emac_fail(err, EMAC_NOT_FOUND, "there is no sweep '%.100s'", id);
    }
    json_object_set_new(*out, "rungs", rungs);
    json_object_set_new(*out, "trials", trials);
    if (st == EMAC_OK)
        st = rungs_json(c, id, rungs, err);
    if (st == EMAC_OK)
        st = trials_json(c, id, trials, err);
    if (st == EMAC_OK)
        st = scores_all(c, id, trials, err);
    if (st == EMAC_OK) {
        trials_overlay(c, trials);
        model_set(*out, trials);
    } else {
        json_decref(*out);
        *out = NULL;
    }
    return st;
}

static enum emac_status sweep_answer(struct coordinator *c, const char *id, int status,
                                     struct http_response *res, struct emac_err *err)
{
    json_t *o;
    enum emac_status st = sweep_json(c, id, &o, err);
    return st == EMAC_OK ? api_reply(res, status, o, err) : st;
}

/* ---- handlers ---- */

enum emac_status sweeps_post(void *ctx, const struct http_request *req, struct http_response *res,
                             struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct intake *in;
    bool known = false;
    enum emac_status st = emac_alloc(&in, 1, sizeof(*in), err);
    if (st != EMAC_OK)
        return st;
    EMAC_TRY(st, intake_read(c, req, in, err));
    EMAC_TRY(st, sweep_known(c, in->id, &known, err));
    /* The depot is fed before the lock is taken; pins of a refused sweep are taken back. */
    for (; !known && st == EMAC_OK && in->deposited < in->taken; in->deposited++)
        st = plan_deposit(c, in->job[in->deposited].id, in->job[in->deposited].plan, err);
    os_mutex_lock(&c->lock);
    if (st == EMAC_OK && !known)
        st = intake_enter(c, in, &known, err);
    for (uint32_t i = 0; st != EMAC_OK && i < in->deposited; i++)
        if (in->job[i].plan != NULL)
            plan_unpin(c, in->job[i].id, in->job[i].plan);
    os_mutex_unlock(&c->lock);
    if (st == EMAC_OK)
        st = sweep_answer(c, in->id, known ? 200 : 201, res, err);
out:
    intake_release(in);
    return st;
}

enum emac_status sweep_get(void *ctx, const struct http_request *req, struct http_response *res,
                           struct emac_err *err)
{
    return sweep_answer(ctx, http_path_param(req, "id"), 200, res, err);
}

enum emac_status sweeps_get(void *ctx, const struct http_request *req, struct http_response *res,
                            struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct db_stmt *q;
    bool row = false;
    uint64_t limit;
    json_t *list = json_array();
    enum emac_status st = api_query_u64(req, "limit", 100, API_LIST_MAX, &limit, err);
    if (st == EMAC_OK)
        st = db_query(c->db, &q, err, SWEEP_COLUMNS " ORDER BY seq DESC LIMIT ?", "i",
                      (int64_t)limit);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row)
        json_array_append_new(list, head_json(q));
    if (st == EMAC_OK)
        return api_reply(res, 200, json_pack("{s:o}", "sweeps", list), err);
    json_decref(list);
    return st;
}

enum emac_status sweep_cancel_post(void *ctx, const struct http_request *req,
                                   struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    char did[DID_KEY_MAX];
    bool known = false;
    const char *id = http_path_param(req, "id");
    enum emac_status st = api_signer(c, req, did, err);
    if (st == EMAC_OK)
        st = sweep_known(c, id, &known, err);
    if (st != EMAC_OK)
        return st;
    os_mutex_lock(&c->lock);
    struct csweep *s = csweep_find(c, id);
    if (s == NULL)
        st = known ? emac_fail(err, EMAC_CONFLICT, "sweep '%.100s' has ended already", id)
                   : emac_fail(err, EMAC_NOT_FOUND, "there is no sweep '%.100s'", id);
    else if (strcmp(s->owner, did) != 0)
        st = emac_fail(err, EMAC_FORBIDDEN, "sweep '%s' belongs to '%s'", id, s->owner);
    else
        st = csweep_cancel(c, s, err);
    os_mutex_unlock(&c->lock);
    return st == EMAC_OK ? sweep_answer(c, id, 200, res, err) : st;
}

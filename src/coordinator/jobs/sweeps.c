#include "coordinator/jobs/sweeps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ---- */

struct csweep *csweep_find(struct coordinator *c, const char *id)
{
    for (uint32_t i = 0; i < c->sweep_count; i++)
        if (strcmp(c->sweep[i]->id, id) == 0)
            return c->sweep[i];
    return NULL;
}

static void sweep_forget(struct coordinator *c, struct csweep *s)
{
    for (uint32_t i = 0; i < c->sweep_count; i++)
        if (c->sweep[i] == s)
            c->sweep[i] = c->sweep[--c->sweep_count];
    free(s);
}

/* ---- scores ---- */

/* Of a job that has ended: its last one, < 0 when it did not succeed. */
static enum emac_status last_score(struct coordinator *c, const char *job, double *loss,
                                   struct emac_err *err)
{
    struct db_stmt *q;
    enum emac_status st =
        db_first(c->db, &q, err, "SELECT state, score FROM jobs WHERE id = ?", "t", job);
    if (st != EMAC_OK)
        return st;
    EMAC_ASSERT(q != NULL);
    *loss = strcmp(db_text(q, 0), "succeeded") == 0 ? db_f64(q, 1) : -1;
    db_done(q);
    return EMAC_OK;
}

/* Is everything that was computed so far beyond doubt? */
static bool is_settled(const struct cjob *j)
{
    for (uint32_t i = 0; i < j->task_count; i++) {
        const struct ctask *t = j->task[i];
        if (t->state == RESULT_DISPUTED || t->vote_count < t->need)
            return false;
    }
    return true;
}

/* The trial's score at the rung, if it is there. */
static bool score_at(struct coordinator *c, const char *job, uint32_t step, double *loss)
{
    const struct cjob *j = job_find(c, job);
    if (j == NULL)
        return last_score(c, job, loss, NULL) == EMAC_OK;
    if (j->stale || j->st.step != sweep_round(&j->plan->job, step) ||
        plan_phase_of(j->plan, &j->st) != PLAN_TRAIN || !is_settled(j))
        return false;
    for (uint32_t i = 0; i < j->st.result_count; i++) {
        if (j->st.result[i].kind != TASK_SCORE)
            continue;
        *loss = j->st.result[i].loss;
        return true;
    }
    return false;
}

/* The scores of all trials that have not stopped; false when one is not there yet. */
static bool scores_gather(struct coordinator *c, const struct csweep *s, struct sweep_score *score,
                          uint32_t *count)
{
    *count = 0;
    for (uint32_t i = 0; i < s->trial_count; i++) {
        if (s->trial[i].stopped)
            continue;
        struct sweep_score *one = &score[(*count)++];
        one->trial = i;
        if (!score_at(c, s->trial[i].job, s->rung_step[s->rung], &one->loss))
            return false;
    }
    return true;
}

/* ---- whose turn it is ---- */

static void turn_set(struct coordinator *c, struct cjob *j, uint32_t hold, bool waits)
{
    if (j->hold == hold && j->waits == waits)
        return;
    j->hold = hold;
    j->waits = waits;
    j->laid = false;
    vtime_enter(c, j);
    coordinator_changed(c);
}

/* SWEEP-2, and of the trials that are not at the rung yet the first few train, the others wait. */
static void turns_set(struct coordinator *c, const struct csweep *s)
{
    bool open = s->rung < s->rung_count;
    uint32_t step = open ? s->rung_step[s->rung] : 0, training = 0;
    for (uint32_t i = 0; i < s->trial_count; i++) {
        double loss;
        struct cjob *j = s->trial[i].stopped ? NULL : job_find(c, s->trial[i].job);
        if (j == NULL)
            continue;
        bool there = open && score_at(c, s->trial[i].job, step, &loss);
        uint32_t hold = open ? sweep_round(&j->plan->job, step) : 0;
        turn_set(c, j, hold, !there && training >= SWEEP_AT_ONCE);
        training += !there;
    }
}

/* ---- loading ---- */

static enum emac_status rungs_load(struct coordinator *c, struct csweep *s, struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st = db_query(
        c->db, &q, err, "SELECT step FROM sweep_rungs WHERE sweep = ? ORDER BY rung", "t", s->id);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        EMAC_ASSERT(s->rung_count < SWEEP_RUNGS_MAX);
        s->rung_step[s->rung_count++] = (uint32_t)db_i64(q, 0);
    }
    return st;
}

static enum emac_status trials_load(struct coordinator *c, struct csweep *s, struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st =
        db_query(c->db, &q, err, "SELECT job, stopped FROM trials WHERE sweep = ? ORDER BY trial",
                 "t", s->id);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        EMAC_ASSERT(s->trial_count < SWEEP_TRIALS_MAX);
        struct ctrial *t = &s->trial[s->trial_count++];
        emac_strcpy(t->job, sizeof(t->job), db_text(q, 0));
        t->stopped = db_i64(q, 1) >= 0;
    }
    return st;
}

static enum emac_status head_load(struct coordinator *c, struct csweep *s, struct emac_err *err)
{
    struct db_stmt *q;
    enum emac_status st =
        db_first(c->db, &q, err, "SELECT owner, keep, rung FROM sweeps WHERE id = ?", "t", s->id);
    if (st != EMAC_OK)
        return st;
    EMAC_ASSERT(q != NULL);
    emac_strcpy(s->owner, sizeof(s->owner), db_text(q, 0));
    s->keep = db_f64(q, 1);
    s->rung = (uint32_t)db_i64(q, 2);
    db_done(q);
    return EMAC_OK;
}

enum emac_status csweep_load(struct coordinator *c, const char *id, struct emac_err *err)
{
    struct csweep *s;
    EMAC_ASSERT(c->sweep_count < SWEEPS_OPEN_MAX);
    enum emac_status st = emac_alloc(&s, 1, sizeof(*s), err);
    if (st != EMAC_OK)
        return st;
    emac_strcpy(s->id, sizeof(s->id), id);
    EMAC_TRY(st, head_load(c, s, err));
    EMAC_TRY(st, rungs_load(c, s, err));
    EMAC_TRY(st, trials_load(c, s, err));
    if (c->sweep == NULL)
        EMAC_TRY(st, emac_alloc(&c->sweep, SWEEPS_OPEN_MAX, sizeof(struct csweep *), err));
    c->sweep[c->sweep_count++] = s;
    turns_set(c, s);
    return EMAC_OK;
out:
    free(s);
    return st;
}

enum emac_status sweeps_open(struct coordinator *c, struct emac_err *err)
{
    struct db_stmt *q;
    struct emac_buf ids;
    bool row = false;
    emac_buf_init(&ids, SWEEPS_OPEN_MAX * SWEEP_ID_MAX);
    enum emac_status st =
        db_query(c->db, &q, err, "SELECT id FROM sweeps WHERE state = 'running' ORDER BY seq", "");
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        char id[SWEEP_ID_MAX] = "";
        emac_strcpy(id, sizeof(id), db_text(q, 0));
        st = emac_buf_append(&ids, id, sizeof(id), err);
        if (st != EMAC_OK)
            db_done(q);
    }
    for (size_t at = 0; st == EMAC_OK && at < ids.len; at += SWEEP_ID_MAX)
        st = csweep_load(c, (const char *)ids.data + at, err);
    emac_buf_release(&ids);
    return st;
}

void sweeps_close(struct coordinator *c)
{
    for (uint32_t i = 0; i < c->sweep_count; i++)
        free(c->sweep[i]);
    free(c->sweep);
    c->sweep = NULL;
    c->sweep_count = 0;
}

/* ---- deciding ---- */

static enum emac_status score_write(struct coordinator *c, const struct csweep *s, uint32_t rung,
                                    int64_t step, const struct sweep_score *score,
                                    struct emac_err *err)
{
    return db_exec(c->db, err,
                   "INSERT INTO sweep_scores (sweep, trial, rung, step, loss)"
                   " VALUES (?, ?, ?, ?, ?)",
                   "tiiid", s->id, (int64_t)score->trial, (int64_t)rung, step, score->loss);
}

/* In tx: the scores in order, of which the first `on` go on. */
static enum emac_status decision_write(struct coordinator *c, const struct csweep *s,
                                       const struct sweep_score *score, uint32_t count, uint32_t on,
                                       struct emac_err *err)
{
    uint32_t step = s->rung_step[s->rung];
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < count && st == EMAC_OK; i++) {
        const char *job = s->trial[score[i].trial].job;
        EMAC_TRY(st, score_write(c, s, s->rung, step, &score[i], err));
        job_log(c, job, LOG_INFO, "sweep %s, step %u: held-out loss %.4f is number %u of %u, %s",
                s->id, step, score[i].loss, i + 1, count, i < on ? "it goes on" : "it stops");
        if (i >= on)
            st = db_exec(c->db, err, "UPDATE trials SET stopped = ? WHERE sweep = ? AND trial = ?",
                         "iti", (int64_t)s->rung, s->id, (int64_t)score[i].trial);
    }
    EMAC_TRY(st, st);
    st = db_exec(c->db, err, "UPDATE sweeps SET rung = ? WHERE id = ?", "it", (int64_t)s->rung + 1,
                 s->id);
out:
    return st;
}

/* SWEEP-3 */
static enum emac_status decide(struct coordinator *c, struct csweep *s, struct emac_err *err)
{
    struct sweep_score score[SWEEP_TRIALS_MAX];
    uint32_t count;
    if (!scores_gather(c, s, score, &count))
        return EMAC_OK;
    uint32_t on = sweep_decide(score, count, s->keep);
    enum emac_status st = db_begin(c->db, err);
    if (st != EMAC_OK)
        return st;
    st = decision_write(c, s, score, count, on, err);
    if (st != EMAC_OK) {
        db_rollback(c->db);
        return st;
    }
    st = db_commit(c->db, err);
    if (st != EMAC_OK)
        return st;
    for (uint32_t i = on; i < count; i++)
        s->trial[score[i].trial].stopped = true;
    s->rung++;
    return EMAC_OK;
}

static enum emac_status stopped_end(struct coordinator *c, const struct csweep *s,
                                    struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < s->trial_count && st == EMAC_OK; i++) {
        struct cjob *j = s->trial[i].stopped ? job_find(c, s->trial[i].job) : NULL;
        if (j != NULL)
            st = job_end(c, j, JOB_CANCELLED, "others of its sweep did better", err);
    }
    return st;
}

/* ---- the end ---- */

static enum emac_status end_write(struct coordinator *c, const struct csweep *s, const char *state,
                                  const char *winner, struct emac_err *err)
{
    return db_exec(c->db, err, "UPDATE sweeps SET state = ?, winner = ?, ended_ms = ? WHERE id = ?",
                   "ttit", state, winner, (int64_t)wall_ms(c), s->id);
}

/* All that went on have ended: the least last score wins. */
static enum emac_status finish(struct coordinator *c, struct csweep *s, struct emac_err *err)
{
    struct sweep_score score[SWEEP_TRIALS_MAX];
    uint32_t count = 0;
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < s->trial_count && st == EMAC_OK; i++) {
        if (s->trial[i].stopped)
            continue;
        if (job_find(c, s->trial[i].job) != NULL)
            return EMAC_OK;
        score[count].trial = i;
        st = last_score(c, s->trial[i].job, &score[count++].loss, err);
    }
    if (st != EMAC_OK)
        return st;
    bool won = sweep_decide(score, count, s->keep) > 0;
    EMAC_TRY(st, db_begin(c->db, err));
    for (uint32_t i = 0; i < count && st == EMAC_OK; i++)
        st = score_write(c, s, s->rung_count, -1, &score[i], err);
    if (st == EMAC_OK)
        st = end_write(c, s, won ? "succeeded" : "failed", won ? s->trial[score[0].trial].job : "",
                       err);
    if (st != EMAC_OK) {
        db_rollback(c->db);
        return st;
    }
    EMAC_TRY(st, db_commit(c->db, err));
    LOG_I("coordinator", "sweep %s has ended: %s", s->id,
          won ? s->trial[score[0].trial].job : "no trial succeeded");
    sweep_forget(c, s);
    coordinator_changed(c);
out:
    return st;
}

enum emac_status csweep_cancel(struct coordinator *c, struct csweep *s, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < s->trial_count && st == EMAC_OK; i++) {
        struct cjob *j = job_find(c, s->trial[i].job);
        if (j != NULL)
            st = job_end(c, j, JOB_CANCELLED, "its sweep was cancelled by the owner", err);
    }
    if (st == EMAC_OK)
        st = end_write(c, s, "cancelled", "", err);
    if (st == EMAC_OK)
        sweep_forget(c, s);
    return st;
}

void sweeps_tick(struct coordinator *c)
{
    for (uint32_t i = c->sweep_count; i-- > 0;) {
        struct csweep *s = c->sweep[i];
        struct emac_err err = {0};
        enum emac_status st = EMAC_OK;
        if (s->rung < s->rung_count)
            st = decide(c, s, &err);
        if (st == EMAC_OK)
            st = stopped_end(c, s, &err);
        turns_set(c, s);
        if (st == EMAC_OK && s->rung == s->rung_count)
            st = finish(c, s, &err); /* nothing of s after this */
        if (st != EMAC_OK)
            LOG_W("coordinator", "sweep '%s' waits, will retry: %s", c->sweep[i]->id, err.text);
    }
}

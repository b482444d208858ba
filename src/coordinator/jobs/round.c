/* The planner's state of a job as the fold of its accepted results (COORD-5), and the tasks of the
 * round that follow from it.
 *
 * Lineage: a row counts at (step, base) when base is plan_base of the state that the rows before
 * led to, and as long as PLAN-1 holds of its task. So withdrawing a row takes everything that came
 * of it out of the state, and accepting it again brings it back, without a word about either in the
 * rows that follow. */
#include "coordinator/assets/assets.h"

#include <stdlib.h>
#include <string.h>

#define WANTS_PER_WORKER 8
#define WANTS_MORE       64
#define WANTS_MAX        4096
#define ROUNDS_LOGGED    200 /* lines about rounds in a job's log, roughly */

/* ---- folding ---- */

static enum emac_status result_take(struct cjob *j, const struct ctask *t, struct emac_err *err)
{
    struct plan_result r = {.kind = t->kind,
                            .range = t->range,
                            .loss = t->loss,
                            .accuracy = t->accuracy,
                            .output_count = t->outputs.count};
    bool fits = emac_strcpy(r.slot, sizeof(r.slot), t->slot);
    EMAC_ASSERT(fits);
    memcpy(r.output, t->outputs.at, sizeof(r.output));
    return plan_take(&j->st, &r, err);
}

bool round_fits(const struct cjob *j, const struct ctask *t)
{
    struct cid base = plan_base(&j->st);
    return t->step == j->st.step && cid_equal(&t->base, &base) &&
           plan_phase_of(j->plan, &j->st) != PLAN_DONE && plan_task_fits(j->plan, &j->st, &t->task);
}

static void rate_note(struct coordinator *c, struct cjob *j)
{
    if (j->rate_count == RATE_SAMPLES) {
        memmove(&j->rate[0], &j->rate[1], (RATE_SAMPLES - 1) * sizeof(j->rate[0]));
        j->rate_count--;
    }
    j->rate[j->rate_count].ms = now_ms(c);
    j->rate[j->rate_count++].step = j->st.step;
}

/* Go on if the results suffice. */
static bool turn(struct cjob *j)
{
    if (!plan_turn(j->plan, &j->st))
        return false;
    j->loss = j->st.loss;
    if (plan_is_checkpoint(j->plan, &j->st))
        checkpoint_note(j, &j->st);
    return true;
}

/* Take the accepted rows that count (PLAN-1): one that another's outputs lead to comes after it. */
static enum emac_status results_take(struct cjob *j, struct ctask **row, uint32_t count, bool *took,
                                     struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    bool more = true;
    while (more && st == EMAC_OK) {
        more = false;
        for (uint32_t i = 0; i < count && st == EMAC_OK; i++) {
            if (took[i] || row[i]->state != RESULT_ACCEPTED ||
                !plan_task_fits(j->plan, &j->st, &row[i]->task))
                continue;
            took[i] = more = true;
            st = result_take(j, row[i], err);
        }
    }
    return st;
}

/* Which of the round's rows stay in memory: those that wait for votes. */
static enum emac_status rows_keep(struct cjob *j, struct ctask **row, uint32_t count,
                                  const bool *took, struct emac_err *err)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct ctask *t = row[i];
        bool waits = took[i]
                         ? t->vote_count < t->need
                         : t->state == RESULT_DISPUTED && plan_task_fits(j->plan, &j->st, &t->task);
        if (!waits || ctask_find(j, &t->cid) != NULL)
            continue;
        enum emac_status st = ctask_add(j, row[i], err);
        if (st != EMAC_OK)
            return st;
        row[i]->current = true;
        row[i] = NULL;
    }
    return EMAC_OK;
}

/* The round is over: what waits for nothing goes. */
static void round_retire(struct cjob *j)
{
    for (uint32_t i = j->task_count; i-- > 0;) {
        struct ctask *t = j->task[i];
        bool waits = t->state == RESULT_ACCEPTED && t->vote_count < t->need;
        t->current = false;
        if (!waits && t->lease_count == 0)
            ctask_remove(j, t);
    }
}

/* Fold the rows of the round that the state is at; *moved tells whether it led to the next one. */
static enum emac_status fold(struct coordinator *c, struct cjob *j, bool *moved,
                             struct emac_err *err)
{
    struct ctask **row = NULL;
    bool *took = NULL;
    uint32_t count = 0;
    struct cid base = plan_base(&j->st);
    enum emac_status st;
    *moved = false;
    EMAC_TRY(st, ctasks_load_round(c, j, j->st.step, &base, &row, &count, err));
    j->unwritten = count == 0 && !j->rows_elsewhere;
    EMAC_TRY(st, emac_alloc(&took, count + 1, sizeof(*took), err));
    EMAC_TRY(st, results_take(j, row, count, took, err));
    EMAC_TRY(st, rows_keep(j, row, count, took, err));
    *moved = turn(j);
    if (*moved)
        round_retire(j);
out:
    for (uint32_t i = 0; i < count; i++)
        ctask_free(row[i]);
    free(row);
    free(took);
    return st;
}

static enum emac_status fold_all(struct coordinator *c, struct cjob *j, struct emac_err *err)
{
    bool moved = true;
    enum emac_status st = EMAC_OK;
    while (st == EMAC_OK && moved && plan_phase_of(j->plan, &j->st) != PLAN_DONE)
        st = fold(c, j, &moved, err);
    return st;
}

void job_unload(struct coordinator *c, struct cjob *j)
{
    for (uint32_t i = 0; i < j->task_count; i++)
        ctask_free(j->task[i]);
    free(j->task);
    free(j->checkpoint);
    j->task = NULL;
    j->checkpoint = NULL;
    j->task_count = j->task_cap = j->checkpoint_count = j->checkpoint_cap = 0;
    plan_state_release(&j->st);
    j->loss = -1;
    j->laid = false;
}

static enum emac_status money_load(struct coordinator *c, struct cjob *j, struct emac_err *err)
{
    uint64_t flops;
    enum emac_status st = money_escrow_balance(c, j->id, &j->escrow_units, err);
    if (st == EMAC_OK)
        st = plan_total(j->plan, &flops, &j->plain_units, err);
    if (st == EMAC_OK)
        st = assets_reserve(c, j->id, &j->royalty_units, err);
    if (st == EMAC_OK)
        st = db_one_i64(c->db, &j->owed_units, err,
                        "SELECT COALESCE(SUM(units), 0) FROM leases"
                        " WHERE job = ? AND state = 'open'",
                        "t", j->id);
    return st;
}

enum emac_status job_load(struct coordinator *c, struct cjob *j, struct emac_err *err)
{
    enum emac_status st;
    j->stale = true;
    job_unload(c, j);
    plan_known(c, j->plan);
    EMAC_TRY(st, fold_all(c, j, err));
    EMAC_TRY(st, leases_load(c, j, err));
    EMAC_TRY(st, checkpoints_load(c, j, err));
    EMAC_TRY(st, money_load(c, j, err));
    j->stale = false;
    j->lost_ms = 0;
    j->rate_count = 0;
out:
    return st;
}

void jobs_refresh(struct coordinator *c)
{
    struct emac_err err = {0};
    if (db_lost(c->db)) {
        LOG_E("coordinator", "what was written last is lost, and was told to nobody: the jobs are "
                             "read again");
        c->stakes_stale = true;
        for (uint32_t i = 0; i < c->job_count; i++)
            c->job[i]->stale = true;
    }
    for (uint32_t i = 0; i < c->job_count; i++)
        if (c->job[i]->stale && job_load(c, c->job[i], &err) != EMAC_OK)
            LOG_W("coordinator", "cannot read job '%s' again, will retry: %s", c->job[i]->id,
                  err.text);
}

/* ---- accepting ---- */

static bool round_has_open(const struct cjob *j, enum task_kind kind)
{
    for (uint32_t i = 0; i < j->task_count; i++)
        if (j->task[i]->current && j->task[i]->kind == kind && j->task[i]->state != RESULT_ACCEPTED)
            return true;
    return false;
}

static void log_round(struct coordinator *c, const struct cjob *j)
{
    uint32_t rounds = plan_rounds(&j->plan->job), done = j->st.step;
    uint32_t every = rounds / ROUNDS_LOGGED + 1;
    if (j->plan->job.kind == JOB_EVALUATE)
        return; /* its score is logged as it comes */
    if (done % every == 0 || plan_is_checkpoint(j->plan, &j->st))
        job_log(c, j->id, LOG_INFO, "step %u of %u: loss %.4f", done, rounds, j->loss);
    if (plan_stopped(j->plan, &j->st))
        job_log(c, j->id, LOG_INFO,
                "training ends after step %u: %u evaluations were no better than the held-out "
                "loss %.4f after step %u",
                done, j->st.worse, j->st.best.loss, j->st.best.step);
}

/* After an accepted result led to the next round. */
static enum emac_status moved_on(struct coordinator *c, struct cjob *j, uint32_t was,
                                 struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    round_retire(j);
    if (j->st.step > was)
        log_round(c, j);
    if (plan_is_checkpoint(j->plan, &j->st))
        st = checkpoint_write(c, j, j->st.step, err);
    if (!j->st.scored)
        rate_note(c, j);
    return st == EMAC_OK ? fold_all(c, j, err) : st;
}

void round_accept(struct coordinator *c, struct cjob *j, struct ctask *t)
{
    struct emac_err err = {0};
    uint32_t was = j->st.step;
    enum task_kind kind = t->kind;
    EMAC_ASSERT(t->state == RESULT_ACCEPTED);
    if (!t->current)
        return;
    EMAC_ASSERT(round_fits(j, t)); /* COORD-5: whatever changes the state reloads the job */
    enum emac_status st = result_take(j, t, &err);
    if (st == EMAC_OK && turn(j))
        st = moved_on(c, j, was, &err);
    /* Other ranges of a sum that are out still are what is wanted. */
    if (!task_kind_info(kind)->shared || !round_has_open(j, kind))
        j->laid = false;
    if (st != EMAC_OK) {
        LOG_W("coordinator", "job '%s' must be read again: %s", j->id, err.text);
        j->stale = true;
    }
}

/* ---- laying out ---- */

struct crew {
    struct node *node[TREE_WORKERS_MAX];
    double speed[TREE_WORKERS_MAX], busy[TREE_WORKERS_MAX]; /* flops a second, flops */
    uint32_t count;
};

static int by_did(const void *a, const void *b)
{
    const struct node *const *x = a, *const *y = b;
    return strcmp((*x)->did, (*y)->did);
}

/* What each has to do before a share that is laid out now: its leases, and what waits for it. */
static void crew_busy(const struct cjob *j, struct crew *crew, uint64_t now)
{
    for (uint32_t i = 0; i < crew->count; i++)
        crew->node[i]->queue_ms = 0;
    for (uint32_t k = 0; k < j->task_count; k++) {
        const struct ctask *t = j->task[k];
        if (t->owner && t->current && t->state == RESULT_OPEN && ctask_wants_lease(t))
            t->owner->queue_ms += t->expected_ms;
    }
    for (uint32_t i = 0; i < crew->count; i++) {
        const struct node *n = crew->node[i];
        struct sched_busy b = node_busy(n, NULL);
        crew->busy[i] = (double)(sched_busy_ms(&b, now) + n->queue_ms) / 1000 * crew->speed[i];
    }
}

static void crew_gather(struct coordinator *c, const struct cjob *j, struct crew *crew)
{
    struct map_entry e;
    uint64_t now = now_ms(c);
    crew->count = 0;
    for (size_t at = 0; crew->count < TREE_WORKERS_MAX && map_next(&c->nodes, &at, &e);)
        if (node_is_live(c, e.value, now))
            crew->node[crew->count++] = e.value;
    qsort(crew->node, crew->count, sizeof(crew->node[0]), by_did);
    for (uint32_t i = 0; i < crew->count; i++)
        crew->speed[i] = sched_speed_get(&crew->node[i]->speed, SCHED_WORK_MATH);
    crew_busy(j, crew, now);
}

/* A want becomes a task in memory: the one that is there, or its row, or a new one. */
static enum emac_status want_take(struct coordinator *c, struct cjob *j, struct plan_want *w,
                                  const struct crew *crew, bool open, struct emac_err *err)
{
    struct ctask *fresh, *t;
    enum emac_status st = ctask_from_want(c, j, w, &fresh, err);
    if (st != EMAC_OK)
        return st;
    if ((t = ctask_find(j, &fresh->cid)) != NULL) {
        t->current = true;
        t->whole = t->whole || t->cut;
        t->cut = false;
        ctask_free(fresh);
        return EMAC_OK;
    }
    /* What got a row since then is in memory, or counts and is not wanted. */
    st = j->unwritten ? EMAC_NOT_FOUND : ctask_load(c, j, &fresh->cid, &t, err);
    if (st == EMAC_OK) {
        ctask_free(fresh);
    } else if (st == EMAC_NOT_FOUND) {
        t = fresh;
    } else {
        ctask_free(fresh);
        return st;
    }
    t->anchor = w->anchor;
    t->holders = w->holders;
    if (w->placed || (task_kind_info(t->kind)->shared && !open)) {
        t->owner = crew->node[w->owner];
        t->expected_ms = sched_expected_ms(&t->owner->speed, SCHED_WORK_MATH, t->flops, 0);
    }
    t->current = true;
    st = ctask_add(j, t, err);
    if (st != EMAC_OK)
        ctask_free(t);
    else if (t->state == RESULT_ACCEPTED)
        j->stale = true; /* the fold should have had it: read the job again */
    return st;
}

static uint32_t open_gather(const struct cjob *j, struct plan_open *open)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < j->task_count; i++) {
        const struct ctask *t = j->task[i];
        if (t->current && !t->cut && t->state != RESULT_ACCEPTED && task_kind_info(t->kind)->shared)
            open[n++] = (struct plan_open){t->kind, t->range};
    }
    return n;
}

/* A trial of a sweep waits for its turn, and does not train beyond its rung; it is evaluated
 * there. */
static bool is_held(const struct cjob *j, enum task_kind kind)
{
    bool trains = kind != TASK_EVAL && kind != TASK_SCORE;
    return j->waits || (j->hold != 0 && j->st.step >= j->hold && trains);
}

static enum emac_status lay_with(struct coordinator *c, struct cjob *j, const struct crew *crew,
                                 struct emac_err *err)
{
    struct plan_want *want = NULL;
    struct plan_open *open = NULL;
    uint32_t cap = crew->count * WANTS_PER_WORKER + WANTS_MORE, count = 0, done = 0, open_count;
    const struct tree_crew able = {crew->count, crew->speed, crew->busy};
    enum emac_status st;
    if (cap > WANTS_MAX)
        cap = WANTS_MAX;
    EMAC_TRY(st, emac_alloc(&want, cap, sizeof(*want), err));
    EMAC_TRY(st, emac_alloc(&open, j->task_count + 1, sizeof(*open), err));
    open_count = open_gather(j, open);
    EMAC_TRY(st, plan_next(j->plan, &j->st, open, open_count, &able, want, cap, &count, err));
    for (; done < count; done++)
        if (!is_held(j, want[done].kind))
            EMAC_TRY(st, want_take(c, j, &want[done], crew,
                                   plan_open_has(open, open_count, &want[done]), err));
    j->laid = count < cap;
out:
    if (want)
        plan_wants_release(want, count);
    free(want);
    free(open);
    return st;
}

enum emac_status round_lay(struct coordinator *c, struct cjob *j, struct emac_err *err)
{
    EMAC_ASSERT(!j->stale);
    if (j->laid || plan_phase_of(j->plan, &j->st) == PLAN_DONE)
        return EMAC_OK;
    struct crew *crew;
    enum emac_status st = emac_alloc(&crew, 1, sizeof(*crew), err);
    if (st != EMAC_OK)
        return st;
    crew_gather(c, j, crew);
    if (crew->count > 0)
        st = lay_with(c, j, crew, err);
    free(crew);
    return st;
}

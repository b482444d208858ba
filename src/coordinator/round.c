/* The planner's state of a job as the fold of its accepted results (COORD-5), and the tasks of the
 * round that follow from it.
 *
 * Lineage: a row counts at (step, base) when base is the CID of the parameters that the rows before
 * led to. An optimiser step (or the score) counts only while each sum it took is itself
 * accepted. So withdrawing a row takes everything that came of it out of the state, and accepting
 * it again brings it back, without a word about either in the rows that follow. */
#include "coordinator/internal.h"

#include <stdlib.h>
#include <string.h>

#define WANTS_PER_WORKER 8
#define WANTS_MORE       64
#define WANTS_MAX        4096

/* ---- folding ---- */

static bool is_mover(enum task_kind kind)
{
    return kind == TASK_INIT || kind == TASK_STEP || kind == TASK_SCORE;
}

static enum emac_status part_add(struct cjob *j, const struct ctask *t, struct emac_err *err)
{
    struct plan_state *st = &j->st;
    const struct cid *sum = outputs_find(&t->outputs, "sum");
    EMAC_ASSERT(sum != NULL);
    if (st->part_count == j->part_cap) {
        uint32_t cap = j->part_cap ? j->part_cap * 2 : 64;
        struct plan_part *grown;
        enum emac_status s = emac_alloc(&grown, cap, sizeof(*grown), err);
        if (s != EMAC_OK)
            return s;
        if (st->part_count)
            memcpy(grown, st->part, st->part_count * sizeof(*grown));
        free(st->part);
        st->part = grown;
        j->part_cap = cap;
    }
    st->part[st->part_count++] = (struct plan_part){t->range, *sum};
    return EMAC_OK;
}

static bool part_known(const struct plan_state *st, const struct task_part *p)
{
    for (uint32_t i = 0; i < st->part_count; i++)
        if (st->part[i].range.first == p->first && st->part[i].range.count == p->count &&
            cid_equal(&st->part[i].cid, &p->cid))
            return true;
    return false;
}

/* Is each sum that the task takes an accepted one? */
static bool parts_sound(const struct plan_state *st, const struct ctask *t)
{
    for (uint32_t i = 0; i < t->task.part_count; i++)
        if (!part_known(st, &t->task.part[i]))
            return false;
    return true;
}

static bool kind_fits(enum plan_phase phase, enum task_kind kind)
{
    switch (phase) {
    case PLAN_INIT:
        return kind == TASK_INIT;
    case PLAN_TRAIN:
        return kind == TASK_GRAD || kind == TASK_STEP;
    case PLAN_EVAL:
        return kind == TASK_EVAL || kind == TASK_SCORE;
    case PLAN_DONE:
        break;
    }
    return false;
}

bool round_fits(const struct cjob *j, const struct ctask *t)
{
    struct cid base = j->st.has_state ? j->st.params : (struct cid){0};
    return t->step == j->st.step && cid_equal(&t->base, &base) &&
           kind_fits(plan_phase_of(j->plan, &j->st), t->kind) &&
           (!is_mover(t->kind) || parts_sound(&j->st, t));
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

/* The state after a mover. */
static void move_on(struct cjob *j, const struct ctask *t)
{
    struct plan_state *st = &j->st;
    st->part_count = 0;
    if (t->kind == TASK_SCORE) {
        st->scored = true;
        j->score = t->loss;
        j->accuracy = t->accuracy;
        return;
    }
    const struct cid *params = outputs_find(&t->outputs, "params");
    const struct cid *opt = outputs_find(&t->outputs, "opt");
    EMAC_ASSERT(params && opt);
    st->params = *params;
    st->opt = *opt;
    if (t->kind == TASK_INIT) {
        st->has_state = true;
        return;
    }
    st->step++;
    j->loss = t->loss;
    if (plan_is_checkpoint(&j->plan->job, st->step))
        checkpoint_note(j, st->step, params, opt);
}

/* Which of the round's rows stay in memory: those that wait for votes. */
static bool worth_keeping(const struct cjob *j, enum plan_phase phase, const struct ctask *t,
                          bool moved)
{
    if (t->state == RESULT_ACCEPTED)
        return t->vote_count < t->need && (!is_mover(t->kind) || parts_sound(&j->st, t));
    return t->state == RESULT_DISPUTED && !moved && kind_fits(phase, t->kind) &&
           parts_sound(&j->st, t);
}

/* Fold the rows of the round that the state is at; *moved tells whether it led to the next one. */
static enum emac_status fold(struct coordinator *c, struct cjob *j, bool *moved,
                             struct emac_err *err)
{
    struct ctask **row = NULL, *mover = NULL;
    uint32_t count = 0;
    enum plan_phase phase = plan_phase_of(j->plan, &j->st);
    struct cid base = j->st.has_state ? j->st.params : (struct cid){0};
    enum emac_status st;
    *moved = false;
    EMAC_TRY(st, ctasks_load_round(c, j, j->st.step, &base, &row, &count, err));
    for (uint32_t i = 0; i < count; i++)
        if (row[i]->state == RESULT_ACCEPTED && kind_fits(phase, row[i]->kind) &&
            !is_mover(row[i]->kind))
            EMAC_TRY(st, part_add(j, row[i], err));
    for (uint32_t i = 0; i < count && !mover; i++)
        if (row[i]->state == RESULT_ACCEPTED && kind_fits(phase, row[i]->kind) &&
            is_mover(row[i]->kind) && parts_sound(&j->st, row[i]))
            mover = row[i];
    *moved = mover != NULL;
    for (uint32_t i = 0; i < count; i++) {
        if (!worth_keeping(j, phase, row[i], *moved) || ctask_find(j, &row[i]->cid) != NULL)
            continue;
        row[i]->current = !*moved;
        EMAC_TRY(st, ctask_add(j, row[i], err));
        row[i] = NULL;
    }
    /* Last: it forgets the parts that worth_keeping looks at. */
    if (mover)
        move_on(j, mover);
out:
    for (uint32_t i = 0; i < count; i++)
        ctask_free(row[i]);
    free(row);
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
    free(j->st.part);
    free(j->checkpoint);
    j->task = NULL;
    j->checkpoint = NULL;
    j->task_count = j->task_cap = j->part_cap = j->checkpoint_count = j->checkpoint_cap = 0;
    j->st = (struct plan_state){0};
    j->loss = j->score = j->accuracy = -1;
    j->laid = false;
}

static enum emac_status money_load(struct coordinator *c, struct cjob *j, struct emac_err *err)
{
    enum emac_status st = money_escrow_balance(c, j->id, &j->escrow_units, err);
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
    for (uint32_t i = 0; i < c->job_count; i++)
        if (c->job[i]->stale && job_load(c, c->job[i], &err) != EMAC_OK)
            LOG_W("coordinator", "cannot read job '%s' again, will retry: %s", c->job[i]->id,
                  err.text);
}

/* ---- accepting ---- */

static bool round_has_open(const struct cjob *j)
{
    for (uint32_t i = 0; i < j->task_count; i++)
        if (j->task[i]->current && j->task[i]->state != RESULT_ACCEPTED)
            return true;
    return false;
}

/* The round is over: what waits for nothing goes. */
static void round_retire(struct cjob *j)
{
    for (uint32_t i = j->task_count; i-- > 0;) {
        struct ctask *t = j->task[i];
        t->current = false;
        bool waits = t->state == RESULT_ACCEPTED && t->vote_count < t->need;
        if (!waits && t->lease_count == 0)
            ctask_remove(j, t);
    }
}

void round_accept(struct coordinator *c, struct cjob *j, struct ctask *t)
{
    struct emac_err err = {0};
    EMAC_ASSERT(t->state == RESULT_ACCEPTED);
    if (!t->current)
        return;
    EMAC_ASSERT(round_fits(j, t)); /* COORD-5: whatever changes the state reloads the job */
    enum emac_status st = EMAC_OK;
    if (!is_mover(t->kind)) {
        st = part_add(j, t, &err);
    } else {
        move_on(j, t);
        if (t->kind != TASK_SCORE)
            rate_note(c, j);
        round_retire(j);
        st = fold_all(c, j, &err);
    }
    if (!round_has_open(j))
        j->laid = false;
    if (st != EMAC_OK) {
        LOG_W("coordinator", "job '%s' must be read again: %s", j->id, err.text);
        j->stale = true;
    }
}

/* ---- laying out ---- */

struct crew {
    struct node *node[TREE_WORKERS_MAX];
    double speed[TREE_WORKERS_MAX];
    uint32_t count;
};

static int by_did(const void *a, const void *b)
{
    const struct node *const *x = a, *const *y = b;
    return strcmp((*x)->did, (*y)->did);
}

static void crew_gather(struct coordinator *c, struct crew *crew)
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
}

/* A want becomes a task in memory: the one that is there, or its row, or a new one. */
static enum emac_status want_take(struct coordinator *c, struct cjob *j, struct plan_want *w,
                                  const struct crew *crew, bool was_open, struct emac_err *err)
{
    struct ctask *fresh, *t;
    enum emac_status st = ctask_from_want(c, j, w, &fresh, err);
    if (st != EMAC_OK)
        return st;
    if ((t = ctask_find(j, &fresh->cid)) != NULL) {
        t->current = true;
        ctask_free(fresh);
        return EMAC_OK;
    }
    st = ctask_load(c, j, &fresh->cid, &t, err);
    if (st == EMAC_OK) {
        ctask_free(fresh);
    } else if (st == EMAC_NOT_FOUND) {
        t = fresh;
    } else {
        ctask_free(fresh);
        return st;
    }
    if ((t->kind == TASK_GRAD || t->kind == TASK_EVAL) && !was_open) {
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

static uint32_t open_gather(const struct cjob *j, struct tree_range *open)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < j->task_count; i++) {
        const struct ctask *t = j->task[i];
        if (t->current && t->state != RESULT_ACCEPTED && !is_mover(t->kind))
            open[n++] = t->range;
    }
    return n;
}

static bool range_in(const struct tree_range *open, uint32_t n, struct tree_range r)
{
    for (uint32_t i = 0; i < n; i++)
        if (open[i].first == r.first && open[i].count == r.count)
            return true;
    return false;
}

static enum emac_status lay_with(struct coordinator *c, struct cjob *j, const struct crew *crew,
                                 struct emac_err *err)
{
    struct plan_want *want = NULL;
    struct tree_range *open = NULL;
    uint32_t cap = crew->count * WANTS_PER_WORKER + WANTS_MORE, count = 0, done = 0, open_count;
    enum emac_status st;
    if (cap > WANTS_MAX)
        cap = WANTS_MAX;
    EMAC_TRY(st, emac_alloc(&want, cap, sizeof(*want), err));
    EMAC_TRY(st, emac_alloc(&open, j->task_count + 1, sizeof(*open), err));
    open_count = open_gather(j, open);
    EMAC_TRY(st, plan_next(j->plan, &j->st, open, open_count, crew->speed, crew->count, want, cap,
                           &count, err));
    for (; done < count; done++)
        EMAC_TRY(st, want_take(c, j, &want[done], crew,
                               range_in(open, open_count, want[done].range), err));
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
    crew_gather(c, crew);
    if (crew->count > 0)
        st = lay_with(c, j, crew, err);
    free(crew);
    return st;
}

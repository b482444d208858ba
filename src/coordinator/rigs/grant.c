/* Which task a rig gets: checks first, then the job that had least so far; within a job what
 * sched/place.h says. */
#include "coordinator/checks/behind.h"
#include "coordinator/checks/checks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "coordinator/jobs/cut.h"
#include "sched/offers.h"
#include "sched/predict.h"
#include "work/sealed.h"

#define STAGE_TRIES_MAX 3

bool grant_eligible(const struct cjob *j, const struct ctask *t, const struct node *n,
                    uint64_t *wait_ms)
{
    const char *owner = plan_task_owner(j->plan, &t->task);
    bool check = t->state == RESULT_ACCEPTED || t->state == RESULT_DISPUTED;
    *wait_ms = 0;
    if (owner != NULL && strcmp(owner, n->did) != 0)
        return false; /* it lacks the data, and does not get them */
    for (uint32_t i = 0; i < t->lease_count; i++)
        if (t->lease[i]->node == n)
            return false;
    if (checks_hide(j, t, n))
        return false;
    /* A withdrawn result is to be made again: by the same rig as well. */
    if (t->state != RESULT_WITHDRAWN && ctask_vote(t, n->did))
        return false;
    for (uint32_t i = 0; i < t->refusal_count; i++) {
        const struct refusal *r = &t->refusal[i];
        if (r->node != n)
            continue;
        if (check && check_refused(r))
            return false;
        *wait_ms = r->until_ms;
    }
    return true;
}

static bool is_check(const struct ctask *t)
{
    return t->state == RESULT_ACCEPTED || t->state == RESULT_DISPUTED;
}

/* What is private lies on disks, as ciphertext, like data: there after the first task of a job. */
static bool lies_there(const struct cjob *j, const struct node *n, const struct cid *cid)
{
    return sealed_is(cid) ? n->last_job == j : node_holds(n, cid);
}

static uint64_t fetch_bytes(const struct cjob *j, const struct ctask *t, const struct node *n)
{
    const struct plan_program *program = plan_program_find(j->plan, &t->task.program);
    uint64_t bytes = 0;
    EMAC_ASSERT(program != NULL);
    for (uint32_t i = 0; i < program->input_count; i++) {
        const struct cid *cid = task_input_find(&t->task, program->input[i].name);
        if (cid != NULL && !cid_equal(cid, &j->plan->tables) && !lies_there(j, n, cid))
            bytes += program->input[i].bytes;
    }
    for (uint32_t i = 0; i < t->task.part_count; i++)
        if (!node_holds(n, &t->task.part[i].cid))
            bytes += program->part_bytes;
    if (n->last_job != j && t->kind != TASK_INIT)
        bytes += j->plan->job.data_size;
    return bytes;
}

enum sched_work work_of(enum task_kind kind)
{
    return sched_work_of(task_kind_info(kind));
}

/* ---- the books, as sched/offers.h reads them ---- */

struct books {
    struct coordinator *c;
    struct cjob *job;
    uint64_t now_ms;
};

static const void *books_next(void *ctx, size_t *at)
{
    struct books *b = ctx;
    struct map_entry e;
    while (map_next(&b->c->nodes, at, &e))
        if (node_is_live(b->c, e.value, b->now_ms))
            return e.value;
    return NULL;
}

static struct sched_rig books_rig(void *ctx, const void *rig)
{
    const struct books *b = ctx;
    const struct node *n = rig;
    return (struct sched_rig){.speed = &n->speed,
                              .busy = node_busy(n, NULL),
                              .queue_ms = n->queue_ms,
                              .leases = node_leases(n),
                              .live = node_is_live(b->c, n, b->now_ms)};
}

static bool books_before(const void *a, const void *b)
{
    const struct node *x = a, *y = b;
    return strcmp(x->did, y->did) < 0;
}

static uint64_t books_fetch_bytes(void *ctx, const void *task, const void *rig)
{
    const struct books *b = ctx;
    return fetch_bytes(b->job, task, rig);
}

static bool books_at_work(void *ctx, const void *task, const void *rig)
{
    const struct ctask *t = task;
    const struct node *n = rig;
    (void)ctx;
    for (uint32_t i = 0; i < t->lease_count; i++)
        if (t->lease[i]->node == n)
            return true;
    return ctask_vote(t, n->did) != NULL;
}

static bool failed_often(const struct ctask *t, const struct node *n)
{
    for (uint32_t i = 0; i < t->refusal_count; i++)
        if (t->refusal[i].node == n && t->refusal[i].times >= STAGE_TRIES_MAX)
            return true;
    return false;
}

/* Not if it failed at this task again and again. */
static bool books_keeps(void *ctx, const void *task, const void *rig)
{
    const struct ctask *t = task;
    (void)ctx;
    return !failed_often(t, rig) && node_holds(rig, &t->anchor);
}

static bool holder_has(const void *rig, const struct cid *cid)
{
    return node_holds(rig, cid);
}

static const struct plan_program *program_of(const struct cjob *j, const struct ctask *t)
{
    const struct plan_program *program = plan_program_find(j->plan, &t->task.program);
    EMAC_ASSERT(program != NULL);
    return program;
}

/* Not if it failed at the task again and again. */
static bool books_has_room(void *ctx, const void *task, const void *rig)
{
    const struct books *b = ctx;
    const struct ctask *t = task;
    const struct node *n = rig;
    struct predict_lease lease[NODE_LEASES_MAX];
    struct predict_keeper k = {n->keep_bytes, holder_has, n, lease, 0};
    if (n->keep_bytes == 0)
        return true;
    if (failed_often(t, n))
        return false;
    for (uint32_t i = 0; i < NODE_LEASES_MAX && n->lease[i]; i++) {
        const struct ctask *made = n->lease[i]->task;
        if (n->lease[i]->job == b->job && !is_check(made))
            lease[k.leases++] =
                (struct predict_lease){made->kind, program_of(b->job, made)->part, &made->anchor};
    }
    return predict_has_room(b->job->plan, &b->job->st, &k, program_of(b->job, t)->part, &t->anchor);
}

/* The lot named the holder of a check. */
static struct sched_lease books_lease(void *ctx, const void *task, uint32_t i)
{
    const struct ctask *t = task;
    const struct lease *l = t->lease[i];
    (void)ctx;
    return (struct sched_lease){.lease = l,
                                .begin_ms = l->begin_ms,
                                .expected_ms = l->expected_ms,
                                .before = node_busy(l->node, l),
                                .may_recall = !is_check(t) || t->drawn.epoch == 0};
}

static struct sched_books books_of(struct books *b)
{
    return (struct sched_books){.ctx = b,
                                .now_ms = b->now_ms,
                                .next = books_next,
                                .rig = books_rig,
                                .before = books_before,
                                .fetch_bytes = books_fetch_bytes,
                                .at_work = books_at_work,
                                .keeps = books_keeps,
                                .lease = books_lease,
                                .has_room = books_has_room};
}

static struct sched_task books_task(const struct cjob *j, const struct ctask *t)
{
    return (struct sched_task){.task = t,
                               .kind = task_kind_info(t->kind),
                               .flops = t->flops,
                               .born_ms = t->born_ms,
                               .expected_ms = t->expected_ms,
                               .owner = t->owner,
                               .batches = t->whole ? 1 : t->range.count,
                               .need = t->need,
                               .leases = t->lease_count,
                               .holders = t->holders,
                               .state_wanted = j->state_wanted,
                               .current = t->current && !t->cut,
                               .check = is_check(t),
                               .disputed = t->state == RESULT_DISPUTED,
                               .bound = plan_task_owner(j->plan, &t->task) != NULL,
                               .stage = predict_is_stage(j->plan, t->kind)};
}

uint64_t grant_takes_ms(struct coordinator *c, struct cjob *j, const struct ctask *t,
                        const struct node *n, uint64_t now)
{
    struct books own = {c, j, now};
    struct sched_books books = books_of(&own);
    struct sched_task task = books_task(j, t);
    return sched_takes_ms(&books, &task, n);
}

/* ---- choosing ---- */

/* Who asks, and the best that was found so far. */
struct asking {
    struct books own;
    struct sched_books books;
    struct node *node;
    struct cjob *job; /* of `best` */
    struct sched_choice best;
};

static struct asking asking_of(struct coordinator *c, struct node *n)
{
    return (struct asking){.own = {c, NULL, now_ms(c)}, .node = n, .best = {.wake_ms = UINT64_MAX}};
}

static void asking_job(struct asking *a, struct cjob *j)
{
    a->own.job = j;
    a->books = books_of(&a->own);
}

static void take(struct asking *a, const struct sched_choice *choice)
{
    if (sched_choice_take(&a->best, choice, a->own.now_ms))
        a->job = a->own.job;
}

static void consider(struct asking *a, struct ctask *t)
{
    struct coordinator *c = a->own.c;
    struct cjob *j = a->own.job;
    struct cid gone;
    uint64_t wait;
    if (!ctask_wants_lease(t) || t->lease_count == EMAC_COUNT(t->lease) ||
        !grant_eligible(j, t, a->node, &wait))
        return;
    if (wait > a->own.now_ms) {
        a->best.wake_ms = wait < a->best.wake_ms ? wait : a->best.wake_ms;
        return;
    }
    if (is_check(t) && !t->current && !inputs_present(c, t, &gone))
        return; /* behind_tick sees to it */
    if (is_check(t) && !checks_may(c, j, t, a->node, a->own.now_ms, &a->best.wake_ms))
        return;
    struct sched_task task = books_task(j, t);
    take(a, &(struct sched_choice){.task = t, .offer = sched_offer_of(&a->books, &task, a->node)});
}

/* What waits for each rig in this job, and how many executions of tasks that are not shared do. */
static void waiting_sum(struct cjob *j)
{
    j->state_wanted = 0;
    for (uint32_t k = 0; k < j->task_count; k++)
        if (j->task[k]->owner)
            j->task[k]->owner->queue_ms = 0;
    for (uint32_t k = 0; k < j->task_count; k++) {
        const struct ctask *t = j->task[k];
        if (!t->current || is_check(t) || !ctask_wants_lease(t))
            continue;
        const struct task_kind_info *kind = task_kind_info(t->kind);
        if (!kind->shared && !kind->staged && plan_task_owner(j->plan, &t->task) == NULL)
            j->state_wanted += (kind->copies ? t->need : 1) - t->lease_count;
        else if (t->owner)
            t->owner->queue_ms += t->expected_ms;
    }
}

/* What others have not begun, or are late with; a copy only if the escrow allows. */
static void consider_others(struct asking *a, struct ctask *t)
{
    struct sched_task task = books_task(a->own.job, t);
    struct sched_choice choice = {.task = t};
    uint64_t wait;
    if (t->lease_count == 0 || !grant_eligible(a->own.job, t, a->node, &wait) ||
        wait > a->own.now_ms)
        return;
    if (sched_offer_recall(&a->books, &task, a->node, &choice.offer, &choice.lease))
        take(a, &choice);
    choice.lease = NULL;
    if (t->lease_count < EMAC_COUNT(t->lease) && cjob_free_units(a->own.job) >= t->units &&
        sched_offer_copy(&a->books, &task, a->node, &choice.offer, &choice.cut))
        take(a, &choice);
}

/* ---- granting ---- */

struct candidate {
    struct cjob *job;
    struct ctask *task;
    struct lease *recalled; /* whose lease it is until then; NULL: nobody's */
};

static struct lease *lease_named(const struct ctask *t, const void *lease)
{
    for (uint32_t i = 0; i < t->lease_count; i++)
        if (t->lease[i] == lease)
            return t->lease[i];
    EMAC_ASSERT(lease == NULL);
    return NULL;
}

static struct ctask *task_named(const struct cjob *j, const void *task)
{
    for (uint32_t i = 0; i < j->task_count; i++)
        if (j->task[i] == task)
            return j->task[i];
    EMAC_ASSERT(!"the task is its job's");
    return NULL;
}

static struct candidate candidate_of(const struct asking *a)
{
    struct ctask *t = task_named(a->job, a->best.task);
    return (struct candidate){a->job, t, lease_named(t, a->best.lease)};
}

static enum emac_status lease_insert(struct coordinator *c, const struct lease *l,
                                     struct emac_err *err)
{
    char task[CID_TEXT_MAX];
    cid_text(task, &l->task->cid);
    return db_exec(c->db, err,
                   "INSERT INTO leases (id, job, task, node, role, units, state, granted_ms,"
                   " deadline_ms, expected_ms, ended_ms) VALUES (?, ?, ?, ?, ?, ?, 'open', ?, ?,"
                   " ?, 0)",
                   "tttttiiii", l->id, l->job->id, task, l->node->did, lease_role_name(l->role),
                   l->units, (int64_t)wall_ms(c), (int64_t)l->deadline_at, (int64_t)l->expected_ms);
}

/* It begins with the time, so that new rows come to lie beside each other. */
static void id_make(struct coordinator *c, uint8_t id[LEASE_ID_BYTES])
{
    uint64_t now = wall_ms(c);
    c->os->entropy(c->os, id, LEASE_ID_BYTES);
    for (int i = 0; i < 6; i++)
        id[i] = (uint8_t)(now >> (40 - 8 * i));
}

static struct lease *lease_make(struct coordinator *c, struct node *n, const struct candidate *w,
                                struct emac_err *err)
{
    struct lease *l;
    uint8_t id[LEASE_ID_BYTES];
    if (emac_alloc(&l, 1, sizeof(*l), err) != EMAC_OK)
        return NULL;
    struct ctask *t = w->task;
    *l = (struct lease){.job = w->job, .task = t, .node = n, .units = t->units};
    id_make(c, id);
    emac_hex(l->id, id, sizeof(id));
    bool second = t->lease_count > 0 || t->vote_count > 0;
    l->role = t->state == RESULT_DISPUTED ? ROLE_REFEREE : second ? ROLE_CHECK : ROLE_WORK;
    l->fetch_bytes = fetch_bytes(w->job, t, n);
    l->expected_ms = sched_expected_ms(&n->speed, work_of(t->kind), t->flops, l->fetch_bytes);
    l->granted_ms = l->beat_ms = now_ms(c);
    struct sched_busy b = node_busy(n, NULL);
    uint64_t limit = sched_busy_ms(&b, l->granted_ms) + sched_deadline_ms(l->expected_ms);
    l->begin_ms = b.any ? 0 : l->granted_ms;
    l->deadline_ms = l->granted_ms + limit;
    l->deadline_at = wall_ms(c) + limit;
    return l;
}

static void recalled_forget(struct coordinator *c, const struct candidate *w, const struct node *n)
{
    LOG_D("coordinator", "'%s' of '%s': rig %s has nothing to do and gets it; rig %s had not begun",
          w->task->slot, w->job->id, did_short(n->did), did_short(w->recalled->node->did));
    w->job->owed_units -= w->recalled->units;
    lease_detach(w->recalled);
}

/* A round wants what another had before (round.c): memory is built again, and from now on each want
 * is looked for. */
static enum emac_status row_was_there(struct coordinator *c, struct cjob *j)
{
    LOG_I("coordinator", "a task of job '%s' is wanted a second time", j->id);
    j->rows_elsewhere = j->stale = true;
    return EMAC_OK;
}

static enum emac_status grant(struct coordinator *c, struct node *n, const struct candidate *w,
                              struct lease **out, struct emac_err *err)
{
    struct cjob *j = w->job;
    struct ctask *t = w->task;
    struct lease *l = lease_make(c, n, w, err);
    if (l == NULL)
        return EMAC_NO_MEMORY;
    enum emac_status st = db_begin_soon(c->db, err);
    if (st == EMAC_OK) {
        if (!t->stored)
            st = ctask_insert(c, j, t, err);
        if (st == EMAC_OK && w->recalled)
            st = lease_recall_row(c, w->recalled->id, err);
        if (st == EMAC_OK)
            st = lease_insert(c, l, err);
        if (st == EMAC_OK)
            st = db_commit_soon(c->db, err);
        else
            db_rollback(c->db);
    }
    if (st != EMAC_OK) {
        free(l);
        return t->stored || st != EMAC_CONFLICT ? st : row_was_there(c, j);
    }
    t->stored = true;
    t->due.alone_ms = 0;
    shown_note(n, &t->task);
    if (w->recalled)
        recalled_forget(c, w, n);
    t->lease[t->lease_count++] = l;
    node_lease_add(n, l);
    n->last_job = j;
    n->last_job_ms = l->granted_ms;
    node_round(n, j, t->step, behind_keep(j));
    j->owed_units += l->units;
    j->vtime += (double)t->flops;
    EMAC_ASSERT(cjob_free_units(j) >= 0); /* COORD-4 */
    *out = l;
    return EMAC_OK;
}

/* Grant the candidate if the escrow allows (COORD-4), else pause its job. */
static enum emac_status grant_paid(struct coordinator *c, struct node *n, const struct candidate *w,
                                   struct lease **out, struct emac_err *err)
{
    if (cjob_free_units(w->job) + (w->recalled ? w->recalled->units : 0) >= w->task->units)
        return grant(c, n, w, out, err);
    if (n->lease[0] == NULL) /* else it can wait until what is under way is paid */
        job_pause(c, w->job, w->task);
    return EMAC_OK;
}

static bool can_work(const struct cjob *j)
{
    return j->state == JOB_RUNNING && !j->stale;
}

static void wake_note(const struct asking *a, uint64_t *wake_ms)
{
    *wake_ms = a->best.wake_ms < *wake_ms ? a->best.wake_ms : *wake_ms;
}

static enum emac_status best_grant(const struct asking *a, struct lease **out, uint64_t *wake_ms,
                                   struct emac_err *err)
{
    wake_note(a, wake_ms);
    if (a->best.task == NULL)
        return EMAC_OK;
    struct candidate w = candidate_of(a);
    return grant_paid(a->own.c, a->node, &w, out, err);
}

static enum emac_status try_checks(struct coordinator *c, struct node *n, struct lease **out,
                                   uint64_t *wake_ms, struct emac_err *err)
{
    struct asking a = asking_of(c, n);
    for (uint32_t i = 0; i < c->job_count; i++) {
        struct cjob *j = c->job[i];
        asking_job(&a, j);
        for (uint32_t k = 0; can_work(j) && k < j->task_count; k++)
            if (is_check(j->task[k]))
                consider(&a, j->task[k]);
    }
    return best_grant(&a, out, wake_ms, err);
}

static void choose(struct asking *a, struct cjob *j)
{
    asking_job(a, j);
    waiting_sum(j);
    for (uint32_t k = 0; k < j->task_count; k++)
        if (j->task[k]->current && !is_check(j->task[k]))
            consider(a, j->task[k]);
    bool idle = a->best.task == NULL && a->node->lease[0] == NULL;
    for (uint32_t k = 0; k < j->task_count && idle; k++)
        consider_others(a, j->task[k]);
}

static enum emac_status try_job(struct coordinator *c, struct cjob *j, struct node *n,
                                struct lease **out, uint64_t *wake_ms, struct emac_err *err)
{
    struct emac_err lay_err = {0};
    if (behind_waits(c, j))
        return EMAC_OK;
    /* Twice: when the best is a range that others are late with, it is laid out anew (CUT-1). */
    for (bool cut = true; cut;) {
        if (round_lay(c, j, &lay_err) != EMAC_OK) {
            /* One job's trouble must not keep the rigs from the others. */
            LOG_W("coordinator", "cannot lay out the round of '%s': %s", j->id, lay_err.text);
            return EMAC_OK;
        }
        if (j->stale)
            return EMAC_OK;
        struct asking a = asking_of(c, n);
        choose(&a, j);
        cut = a.best.task != NULL && a.best.cut;
        if (!cut)
            return best_grant(&a, out, wake_ms, err);
        round_cut(c, j, task_named(j, a.best.task));
    }
    return EMAC_OK;
}

static enum emac_status try_jobs(struct coordinator *c, struct node *n, struct lease **out,
                                 uint64_t *wake_ms, struct emac_err *err)
{
    double *vtime = NULL;
    bool *skip = NULL;
    enum emac_status st;
    EMAC_TRY(st, emac_alloc(&vtime, c->job_count + 1, sizeof(*vtime), err));
    EMAC_TRY(st, emac_alloc(&skip, c->job_count + 1, sizeof(*skip), err));
    for (uint32_t i = 0; i < c->job_count; i++) {
        vtime[i] = c->job[i]->vtime;
        skip[i] = !can_work(c->job[i]);
    }
    uint32_t i;
    while (*out == NULL && (i = sched_job_next(vtime, skip, c->job_count)) < c->job_count) {
        skip[i] = true;
        EMAC_TRY(st, try_job(c, c->job[i], n, out, wake_ms, err));
    }
out:
    free(vtime);
    free(skip);
    return st;
}

enum emac_status grant_try(struct coordinator *c, struct node *n, struct lease **out,
                           uint64_t *wake_ms, struct emac_err *err)
{
    *out = NULL;
    if (node_leases(n) == NODE_LEASES_MAX)
        return EMAC_OK;
    jobs_refresh(c);
    enum emac_status st = try_checks(c, n, out, wake_ms, err);
    if (st == EMAC_OK && *out == NULL)
        st = try_jobs(c, n, out, wake_ms, err);
    return st;
}

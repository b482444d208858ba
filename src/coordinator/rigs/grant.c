/* Which task a rig gets: checks first, then the job that had least so far; within a job what
 * sched/place.h says. */
#include "coordinator/checks/checks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "work/sealed.h"

#define CHECK_TRIES_MAX 3
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
        if (check && r->times >= CHECK_TRIES_MAX)
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
    return task_kind_info(kind)->math ? SCHED_WORK_MATH : SCHED_WORK_STATE;
}

uint64_t grant_takes_ms(const struct cjob *j, const struct ctask *t, const struct node *n,
                        uint64_t now)
{
    uint64_t bytes = fetch_bytes(j, t, n);
    struct sched_busy b = node_busy(n, NULL);
    if (!task_kind_info(t->kind)->shared)
        bytes /= SCHED_STATE_ROUNDS;
    return sched_busy_ms(&b, now) + sched_expected_ms(&n->speed, work_of(t->kind), t->flops, bytes);
}

static bool at_work_on(const struct ctask *t, const struct node *n)
{
    for (uint32_t i = 0; i < t->lease_count; i++)
        if (t->lease[i]->node == n)
            return true;
    return ctask_vote(t, n->did) != NULL;
}

/* Which rigs would be done with it before `n`, and how long do they have the first word? */
static void state_facts(struct coordinator *c, const struct cjob *j, const struct ctask *t,
                        const struct node *n, uint64_t now, struct sched_offer *o)
{
    struct map_entry e;
    o->kind = SCHED_STATE;
    o->state.wanted = is_check(t) ? 1 : j->state_wanted;
    for (size_t at = 0; map_next(&c->nodes, &at, &e);) {
        struct node *other = e.value;
        if (other == n || !node_is_live(c, other, now) || at_work_on(t, other))
            continue;
        struct sched_busy b = node_busy(other, NULL);
        uint64_t busy = b.any ? now + sched_busy_ms(&b, now) : 0;
        uint64_t until = (busy > t->born_ms ? busy : t->born_ms) + SCHED_STATE_MS;
        uint64_t done = now + grant_takes_ms(j, t, other, now);
        uint64_t mine = now + o->mine_ms;
        if (until <= now || done > mine || (done == mine && strcmp(other->did, n->did) > 0))
            continue;
        o->state.ahead++;
        if (until > o->state.ahead_until_ms)
            o->state.ahead_until_ms = until;
    }
}

static void range_facts(struct coordinator *c, const struct ctask *t, const struct node *n,
                        uint64_t now, struct sched_offer *o)
{
    const struct node *owner = t->owner;
    o->range.has_owner = true;
    o->range.is_owner = owner == n;
    o->range.owner_live = node_is_live(c, owner, now);
    o->range.expected_ms = t->expected_ms;
    struct sched_busy b = node_busy(owner, NULL);
    o->range.since_ms = b.since_ms;
    o->range.until_ms = b.until_ms;
    o->range.queue_ms = owner->queue_ms;
}

/* It failed at this task again and again. */
static bool has_given_up(const struct ctask *t, const struct node *n)
{
    for (uint32_t i = 0; i < t->refusal_count; i++)
        if (t->refusal[i].node == n && t->refusal[i].times >= STAGE_TRIES_MAX)
            return true;
    return false;
}

/* Who holds the stage: how many, and when the first of them will be free: one that is idle will ask
 * for the task itself. */
static void stage_facts(struct coordinator *c, const struct ctask *t, const struct node *n,
                        uint64_t now, struct sched_offer *o)
{
    struct map_entry e;
    uint32_t count = 0;
    o->kind = SCHED_STAGE;
    o->stage.mine = node_holds(n, &t->anchor);
    for (size_t at = 0; map_next(&c->nodes, &at, &e);) {
        const struct node *other = e.value;
        if (!node_is_live(c, other, now) || !node_holds(other, &t->anchor) ||
            has_given_up(t, other))
            continue;
        struct sched_busy b = node_busy(other, NULL);
        uint64_t until = b.any ? b.until_ms : now;
        if (count++ == 0 || until < o->stage.until_ms)
            o->stage.until_ms = until;
    }
    o->range.expected_ms = t->expected_ms;
    o->stage.any = count > 0;
    o->stage.more = count < t->holders;
    if (t->owner && node_holds(t->owner, &t->anchor))
        range_facts(c, t, n, now, o);
}

/* State that is to begin on its owner, a stage, is made there: a second rig may have it once the
 * owner is at it, or keeps away. */
static void placed_facts(struct coordinator *c, const struct ctask *t, const struct node *n,
                         uint64_t now, struct sched_offer *o)
{
    if (t->owner == n && !at_work_on(t, n)) {
        o->kind = SCHED_RANGE;
        range_facts(c, t, n, now, o);
    } else if (node_is_live(c, t->owner, now) && !at_work_on(t, t->owner)) {
        o->state.ahead = o->state.wanted;
        o->state.ahead_until_ms = t->born_ms + SCHED_STAGE_MS;
    }
}

static struct sched_offer offer_of(struct coordinator *c, const struct cjob *j,
                                   const struct ctask *t, const struct node *n, uint64_t now)
{
    struct sched_offer o = {.kind = SCHED_RANGE,
                            .born_ms = t->born_ms,
                            .asked_ms = now,
                            .mine_ms = grant_takes_ms(j, t, n, now),
                            .leases = node_leases(n)};
    const struct task_kind_info *kind = task_kind_info(t->kind);
    if (plan_task_owner(j->plan, &t->task) != NULL)
        return o; /* there is no choice */
    if (kind->staged && !is_check(t))
        stage_facts(c, t, n, now, &o);
    else if (!kind->shared && t->state != RESULT_DISPUTED)
        state_facts(c, j, t, n, now, &o);
    else if (t->owner && !is_check(t))
        range_facts(c, t, n, now, &o);
    if (o.kind == SCHED_STATE && t->owner && !is_check(t))
        placed_facts(c, t, n, now, &o);
    return o;
}

struct candidate {
    struct cjob *job;
    struct ctask *task;
    struct lease *recalled; /* whose lease it is until then; NULL: nobody's */
    struct sched_offer offer;
};

static void consider(struct coordinator *c, struct cjob *j, struct ctask *t, struct node *n,
                     uint64_t now, struct candidate *best, uint64_t *wake_ms)
{
    struct cid gone;
    uint64_t wait;
    if (!ctask_wants_lease(t) || t->lease_count == EMAC_COUNT(t->lease) ||
        !grant_eligible(j, t, n, &wait))
        return;
    if (wait > now) {
        *wake_ms = wait < *wake_ms ? wait : *wake_ms;
        return;
    }
    if (is_check(t) && !t->current && !inputs_present(c, t, &gone))
        return; /* an old check whose inputs went: verify_tick lets it lapse */
    if (is_check(t) && !checks_may(c, j, t, n, now, wake_ms))
        return;
    struct sched_offer o = offer_of(c, j, t, n, now);
    uint64_t wake = UINT64_MAX;
    if (sched_offer_judge(&o, now, &wake) == SCHED_LATER) {
        if (wake < *wake_ms)
            *wake_ms = wake;
        return;
    }
    if (best->task == NULL || sched_offer_before(&o, &best->offer))
        *best = (struct candidate){j, t, NULL, o};
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

/* A task under way that the rig would be done with well before those that run it: one copy of it,
 * if the escrow allows. */
static void consider_copy(struct coordinator *c, struct cjob *j, struct ctask *t, struct node *n,
                          uint64_t now, struct candidate *best, uint64_t *wake_ms)
{
    uint64_t wait, wake = UINT64_MAX;
    const struct task_kind_info *kind = task_kind_info(t->kind);
    uint32_t most = kind->copies ? t->need : 1;
    if (kind->staged || !t->current || is_check(t) || !grant_eligible(j, t, n, &wait) || wait > now)
        return;
    if (t->lease_count == 0 || t->lease_count > most || t->lease_count == EMAC_COUNT(t->lease) ||
        cjob_free_units(j) < t->units)
        return;
    const struct lease *first = NULL;
    for (uint32_t i = 0; i < t->lease_count; i++) {
        const struct lease *l = t->lease[i];
        if (l->begin_ms &&
            (!first || l->begin_ms + l->expected_ms < first->begin_ms + first->expected_ms))
            first = l;
    }
    if (first == NULL)
        return; /* nobody has begun it */
    struct sched_offer o = {.kind = SCHED_COPY,
                            .born_ms = t->born_ms,
                            .mine_ms = grant_takes_ms(j, t, n, now),
                            .leases = node_leases(n),
                            .copy = {first->begin_ms, first->begin_ms + first->expected_ms}};
    if (sched_offer_judge(&o, now, &wake) == SCHED_LATER)
        *wake_ms = wake < *wake_ms ? wake : *wake_ms;
    else if (best->task == NULL || sched_offer_before(&o, &best->offer))
        *best = (struct candidate){j, t, NULL, o};
}

/* The lease of the task that its holder will come to last of all it has, NULL: all are begun. */
static struct lease *lease_ahead(const struct ctask *t, uint64_t now)
{
    struct lease *last = NULL;
    uint64_t longest = 0;
    for (uint32_t i = 0; i < t->lease_count; i++) {
        struct sched_busy b = node_busy(t->lease[i]->node, t->lease[i]);
        uint64_t ms = sched_busy_ms(&b, now);
        if (b.any && (last == NULL || ms > longest)) {
            last = t->lease[i];
            longest = ms;
        }
    }
    return last;
}

/* A task that another rig holds and has not begun (AHEAD-2). */
static void consider_recall(struct coordinator *c, struct cjob *j, struct ctask *t, struct node *n,
                            uint64_t now, struct candidate *best, uint64_t *wake_ms)
{
    uint64_t wait, wake = UINT64_MAX;
    struct lease *l = lease_ahead(t, now);
    if (is_check(t) && t->drawn.epoch != 0)
        return; /* the lot named its holder */
    bool stranger = task_kind_info(t->kind)->staged && !is_check(t) && !node_holds(n, &t->anchor);
    if (l == NULL || stranger || !grant_eligible(j, t, n, &wait) || wait > now)
        return;
    struct sched_busy b = node_busy(l->node, l);
    struct sched_offer o = {.kind = SCHED_RECALL,
                            .born_ms = t->born_ms,
                            .mine_ms = grant_takes_ms(j, t, n, now),
                            .leases = node_leases(n),
                            .recall = {b.since_ms, b.until_ms, l->expected_ms}};
    if (sched_offer_judge(&o, now, &wake) == SCHED_LATER)
        *wake_ms = wake < *wake_ms ? wake : *wake_ms;
    else if (best->task == NULL || sched_offer_before(&o, &best->offer))
        *best = (struct candidate){j, t, l, o};
}

/* ---- granting ---- */

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
    t->alone_ms = 0;
    shown_note(n, &t->task);
    if (w->recalled)
        recalled_forget(c, w, n);
    t->lease[t->lease_count++] = l;
    node_lease_add(n, l);
    n->last_job = j;
    n->last_job_ms = l->granted_ms;
    node_round(n, j, t->step);
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

static enum emac_status try_checks(struct coordinator *c, struct node *n, struct lease **out,
                                   uint64_t *wake_ms, struct emac_err *err)
{
    struct candidate best = {0};
    uint64_t now = now_ms(c);
    for (uint32_t i = 0; i < c->job_count; i++) {
        struct cjob *j = c->job[i];
        for (uint32_t k = 0; can_work(j) && k < j->task_count; k++)
            if (is_check(j->task[k]))
                consider(c, j, j->task[k], n, now, &best, wake_ms);
    }
    return best.task ? grant_paid(c, n, &best, out, err) : EMAC_OK;
}

static enum emac_status try_job(struct coordinator *c, struct cjob *j, struct node *n,
                                struct lease **out, uint64_t *wake_ms, struct emac_err *err)
{
    struct candidate best = {0};
    uint64_t now = now_ms(c);
    struct emac_err lay_err = {0};
    if (round_lay(c, j, &lay_err) != EMAC_OK) {
        /* One job's trouble must not keep the rigs from the others. */
        LOG_W("coordinator", "cannot lay out the round of '%s': %s", j->id, lay_err.text);
        return EMAC_OK;
    }
    if (j->stale)
        return EMAC_OK;
    waiting_sum(j);
    for (uint32_t k = 0; k < j->task_count; k++)
        if (j->task[k]->current && !is_check(j->task[k]))
            consider(c, j, j->task[k], n, now, &best, wake_ms);
    bool idle = best.task == NULL && n->lease[0] == NULL;
    for (uint32_t k = 0; k < j->task_count && idle; k++) {
        consider_recall(c, j, j->task[k], n, now, &best, wake_ms);
        consider_copy(c, j, j->task[k], n, now, &best, wake_ms);
    }
    return best.task ? grant_paid(c, n, &best, out, err) : EMAC_OK;
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

/* Which task a rig gets: checks first, then the job that had least so far; within a job what
 * sched/place.h says. */
#include "coordinator/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"

#define CHECK_TRIES_MAX 3

/* May this rig answer this task at all? Until *wait_ms (0: at once) it is held back after a
 * failure. */
static bool eligible(const struct ctask *t, const struct node *n, uint64_t *wait_ms)
{
    bool check = t->state == RESULT_ACCEPTED || t->state == RESULT_DISPUTED;
    *wait_ms = 0;
    for (uint32_t i = 0; i < t->lease_count; i++)
        if (t->lease[i]->node == n)
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

/* What the kind is anchored to: "opt" stands for "opt.2", too. */
static const struct cid *state_input(const struct ctask *t)
{
    const char *anchor = task_kind_info(t->kind)->anchor;
    if (anchor == NULL)
        return NULL;
    if (strcmp(anchor, "sum") == 0)
        return t->task.part_count > 0 ? &t->task.part[t->task.part_count - 1].cid : NULL;
    size_t n = strlen(anchor);
    for (uint32_t i = 0; i < t->task.input_count; i++) {
        const struct task_input *in = &t->task.input[i];
        if (strncmp(in->name, anchor, n) == 0 && (in->name[n] == 0 || in->name[n] == '.'))
            return &in->cid;
    }
    return NULL;
}

/* When the rig is expected to be free, 0 when it is idle. */
static uint64_t busy_until(const struct node *n)
{
    uint64_t until = 0;
    for (uint32_t i = 0; i < NODE_LEASES_MAX; i++) {
        const struct lease *l = n->lease[i];
        if (l && l->granted_ms + l->expected_ms > until)
            until = l->granted_ms + l->expected_ms;
    }
    return until;
}

/* Who holds the stage: how many, and when the first of them will be free. */
static void holders_note(struct coordinator *c, const struct ctask *t, const struct cid *state,
                         uint64_t now, struct sched_offer *o)
{
    struct map_entry e;
    uint32_t count = 0;
    for (size_t at = 0; map_next(&c->nodes, &at, &e);) {
        const struct node *n = e.value;
        if (!node_is_live(c, n, now) || !node_holds(n, state))
            continue;
        uint64_t until = busy_until(n);
        if (count++ == 0 || until < o->holder_busy_until_ms)
            o->holder_busy_until_ms = until;
    }
    o->staged = true;
    o->any_holder = count > 0;
    o->more_holders = count < t->holders;
}

static void owner_note(struct coordinator *c, const struct ctask *t, const struct node *n,
                       uint64_t now, struct sched_offer *o)
{
    o->has_owner = true;
    o->is_owner = t->owner == n;
    o->owner_live = node_is_live(c, t->owner, now);
    o->owner_busy_until_ms = busy_until(t->owner);
}

static struct sched_offer offer_of(struct coordinator *c, const struct ctask *t,
                                   const struct node *n, uint64_t now)
{
    struct sched_offer o = {.born_ms = t->born_ms, .expected_ms = t->expected_ms};
    const struct cid *state = state_input(t);
    if (state) {
        o.for_state = true;
        o.holds_state = node_holds(n, state);
        if (task_kind_info(t->kind)->staged && !is_check(t))
            holders_note(c, t, state, now, &o);
        else
            o.any_holder = o.holds_state || holder_exists(c, state, NULL);
        if (o.staged && t->owner && node_holds(t->owner, state))
            owner_note(c, t, n, now, &o);
    } else if (t->owner && !is_check(t)) {
        owner_note(c, t, n, now, &o);
    }
    return o;
}

struct candidate {
    struct cjob *job;
    struct ctask *task;
    struct sched_offer offer;
};

static void consider(struct coordinator *c, struct cjob *j, struct ctask *t, struct node *n,
                     uint64_t now, struct candidate *best, uint64_t *wake_ms)
{
    struct cid gone;
    uint64_t wait;
    if (!ctask_wants_lease(t) || t->lease_count == EMAC_COUNT(t->lease) || !eligible(t, n, &wait))
        return;
    if (wait > now) {
        *wake_ms = wait < *wake_ms ? wait : *wake_ms;
        return;
    }
    if (is_check(t) && !t->current && !inputs_present(c, t, &gone))
        return; /* an old check whose inputs went: verify_tick lets it lapse */
    struct sched_offer o = offer_of(c, t, n, now);
    uint64_t wake = UINT64_MAX;
    if (sched_offer_judge(&o, now, &wake) == SCHED_LATER) {
        if (wake < *wake_ms)
            *wake_ms = wake;
        return;
    }
    if (best->task == NULL || sched_offer_before(&o, &best->offer))
        *best = (struct candidate){j, t, o};
}

/* ---- granting ---- */

static uint64_t fetch_bytes(const struct cjob *j, const struct ctask *t, const struct node *n)
{
    const struct plan_program *program = plan_program_find(j->plan, &t->task.program);
    uint64_t bytes = 0;
    EMAC_ASSERT(program != NULL);
    for (uint32_t i = 0; i < program->input_count; i++) {
        const struct cid *cid = task_input_find(&t->task, program->input[i].name);
        if (cid != NULL && !cid_equal(cid, &j->plan->tables) && !node_holds(n, cid))
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

static struct lease *lease_make(struct coordinator *c, struct node *n, const struct candidate *w,
                                struct emac_err *err)
{
    struct lease *l;
    uint8_t id[LEASE_ID_BYTES];
    if (emac_alloc(&l, 1, sizeof(*l), err) != EMAC_OK)
        return NULL;
    struct ctask *t = w->task;
    *l = (struct lease){.job = w->job, .task = t, .node = n, .units = t->units};
    c->os->entropy(c->os, id, sizeof(id));
    emac_hex(l->id, id, sizeof(id));
    bool second = t->lease_count > 0 || t->vote_count > 0;
    l->role = t->state == RESULT_DISPUTED ? ROLE_REFEREE : second ? ROLE_CHECK : ROLE_WORK;
    l->expected_ms =
        sched_expected_ms(&n->speed, work_of(t->kind), t->flops, fetch_bytes(w->job, t, n));
    l->granted_ms = l->beat_ms = now_ms(c);
    uint64_t limit = sched_deadline_ms(l->expected_ms);
    l->deadline_ms = l->granted_ms + limit;
    l->deadline_at = wall_ms(c) + limit;
    return l;
}

static enum emac_status grant(struct coordinator *c, struct node *n, const struct candidate *w,
                              struct lease **out, struct emac_err *err)
{
    struct cjob *j = w->job;
    struct ctask *t = w->task;
    uint32_t slot = 0;
    while (slot < NODE_LEASES_MAX && n->lease[slot])
        slot++;
    EMAC_ASSERT(slot < NODE_LEASES_MAX);
    struct lease *l = lease_make(c, n, w, err);
    if (l == NULL)
        return EMAC_NO_MEMORY;
    enum emac_status st = db_begin(c->db, err);
    if (st == EMAC_OK) {
        if (!t->stored)
            st = ctask_insert(c, j, t, err);
        if (st == EMAC_OK)
            st = lease_insert(c, l, err);
        if (st == EMAC_OK)
            st = db_commit(c->db, err);
        else
            db_rollback(c->db);
    }
    if (st != EMAC_OK) {
        free(l);
        return st;
    }
    t->stored = true;
    t->alone_ms = 0;
    t->lease[t->lease_count++] = l;
    n->lease[slot] = l;
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
    if (cjob_free_units(w->job) >= w->task->units)
        return grant(c, n, w, out, err);
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
    for (uint32_t k = 0; k < j->task_count; k++)
        if (j->task[k]->current && !is_check(j->task[k]))
            consider(c, j, j->task[k], n, now, &best, wake_ms);
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
    bool room = false;
    for (uint32_t i = 0; i < NODE_LEASES_MAX; i++)
        room = room || n->lease[i] == NULL;
    if (!room)
        return EMAC_OK;
    jobs_refresh(c);
    enum emac_status st = try_checks(c, n, out, wake_ms, err);
    if (st == EMAC_OK && *out == NULL)
        st = try_jobs(c, n, out, wake_ms, err);
    return st;
}

/* The coordinator of the simulation: it lays out rounds, grants and takes results as the real one
 * does, without faults, money or time of its own. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "sched/offers.h"
#include "sched/predict_impl.h"

#define WANTS_MAX 4096

void sim_task_free(struct sim_task *t)
{
    for (uint32_t i = 0; i < t->leases; i++)
        free(t->lease[i]);
    task_release(&t->want.task);
    free(t);
}

struct cid sim_output(const struct sim_task *t, uint32_t i)
{
    struct {
        uint8_t task[CID_BYTES];
        char name[TASK_NAME_MAX];
    } named = {0};
    cid_bytes(named.task, &t->cid);
    memcpy(named.name, t->program->output[i].name, sizeof named.name);
    return cid_of(CID_RAW, &named, sizeof named);
}

/* ---- laying out ---- */

/* Executions, as the coordinator wants them; which are checked by lot goes by a secret of zeros. */
static uint32_t need_of(const struct sim *s, const struct sim_task *t)
{
    static const uint8_t SECRET[32];
    const struct job *job = &s->plan->job;
    const struct task_kind_info *info = task_kind_info(t->want.kind);
    uint32_t twice = job->check > 0 ? 2 : 1, copies = job->state_copies;
    if (t->want.copies > 0)
        return t->want.copies;
    if (info->copies)
        return info->always && copies < twice ? twice : copies < 1 ? 1 : copies;
    if (info->always)
        return twice;
    return plan_is_checked(job, SECRET, &t->cid) ? 2 : 1;
}

static struct sim_task *task_find(struct sim *s, const struct cid *cid)
{
    for (size_t i = s->task_count; i-- > 0;)
        if (cid_equal(&s->task[i]->cid, cid))
            return s->task[i];
    return NULL;
}

static enum emac_status task_add(struct sim *s, struct sim_task *t)
{
    enum emac_status st = emac_grow(&s->task, s->task_count, &s->task_cap, sizeof *s->task, s->err);
    if (st != EMAC_OK)
        return st;
    s->task[s->task_count++] = t;
    return EMAC_OK;
}

/* Takes the want's task. */
static enum emac_status want_take(struct sim *s, struct plan_want *w, bool open)
{
    struct sim_task *t, *known;
    struct emac_buf bytes;
    enum emac_status st = emac_alloc(&t, 1, sizeof *t, s->err);
    if (st != EMAC_OK)
        return st;
    emac_buf_init(&bytes, TASK_BYTES_MAX);
    t->want = *w;
    w->task = (struct task){0};
    st = task_encode(&t->want.task, &bytes, &t->cid, s->err);
    emac_buf_release(&bytes);
    known = st == EMAC_OK ? task_find(s, &t->cid) : NULL;
    if (known != NULL) {
        known->current = true;
        known->whole = known->whole || known->cut;
        known->cut = false;
    }
    if (st != EMAC_OK || known != NULL) {
        sim_task_free(t);
        return st;
    }
    t->program = plan_program_find(s->plan, &t->want.task.program);
    EMAC_ASSERT(t->program != NULL);
    t->current = true;
    t->born_ms = sim_ms(s);
    t->need = need_of(s, t);
    t->owner = NOBODY;
    if (t->want.placed || (task_kind_info(t->want.kind)->shared && !open)) {
        t->owner = t->want.owner;
        t->expected_ms =
            (double)sched_expected_ms(&s->rig[t->owner].speed, SCHED_WORK_MATH, t->want.flops, 0);
    }
    st = task_add(s, t);
    if (st != EMAC_OK)
        sim_task_free(t);
    return st;
}

static uint32_t open_gather(const struct sim *s, struct plan_open *open)
{
    uint32_t n = 0;
    for (size_t i = 0; i < s->task_count; i++) {
        const struct sim_task *t = s->task[i];
        if (t->current && !t->accepted && !t->cut && task_kind_info(t->want.kind)->shared)
            open[n++] = (struct plan_open){t->want.kind, t->want.range};
    }
    return n;
}

/* As coordinator/jobs/round.c has it. */
static void crew_gather(struct sim *s, double *speed, double *busy)
{
    sim_waiting(s);
    for (uint32_t i = 0; i < s->cfg->rigs; i++) {
        struct sched_busy b = sim_busy(&s->rig[i], NULL);
        speed[i] = sched_speed_get(&s->rig[i].speed, SCHED_WORK_MATH);
        busy[i] = (double)(sched_busy_ms(&b, sim_ms(s)) + s->rig[i].queue_ms) / 1000 * speed[i];
    }
}

static enum emac_status lay(struct sim *s)
{
    struct plan_want *want = NULL;
    struct plan_open *open = NULL;
    double speed[PREDICT_RIGS_MAX], busy[PREDICT_RIGS_MAX];
    const struct tree_crew crew = {s->cfg->rigs, speed, busy};
    uint32_t count = 0, opens;
    enum emac_status st;
    if (s->laid || plan_phase_of(s->plan, &s->st) == PLAN_DONE)
        return EMAC_OK;
    EMAC_TRY(st, emac_alloc(&want, WANTS_MAX, sizeof *want, s->err));
    EMAC_TRY(st, emac_alloc(&open, s->task_count + 1, sizeof *open, s->err));
    opens = open_gather(s, open);
    crew_gather(s, speed, busy);
    EMAC_TRY(st, plan_next(s->plan, &s->st, open, opens, &crew, want, WANTS_MAX, &count, s->err));
    for (uint32_t i = 0; i < count; i++)
        EMAC_TRY(st, want_take(s, &want[i], plan_open_has(open, opens, &want[i])));
    s->laid = count < WANTS_MAX;
out:
    if (want != NULL)
        plan_wants_release(want, count);
    free(want);
    free(open);
    return st;
}

/* ---- granting ---- */

static enum emac_status wake(struct sim *s, uint64_t at_ms)
{
    double at = (double)at_ms / 1000 + 1e-6; /* rounding must not make it a millisecond before */
    if (s->waking && s->wake_at <= at)
        return EMAC_OK;
    s->waking = true;
    s->wake_at = at;
    return sim_event(s, &(struct event){.at = at, .kind = EVENT_WAKE});
}

static enum sched_work work_of(const struct sim_task *t)
{
    return sched_work_of(task_kind_info(t->want.kind));
}

static enum emac_status lease(struct sim *s, struct sim_task *t, uint32_t rig)
{
    struct sim_rig *r = &s->rig[rig];
    struct sim_lease *l;
    EMAC_ASSERT(t->leases < SIM_COPIES_MAX && r->leases < SIM_COPIES_MAX);
    enum emac_status st = emac_alloc(&l, 1, sizeof *l, s->err);
    if (st != EMAC_OK)
        return st;
    *l = (struct sim_lease){
        .rig = rig, .task = t, .granted_ms = sim_ms(s), .fetch_bytes = sim_fetch_bytes(s, t, rig)};
    l->expected_ms = sched_expected_ms(&r->speed, work_of(t), t->want.flops, l->fetch_bytes);
    l->begin_ms = r->leases == 0 ? l->granted_ms + 1 : 0;
    t->rig[rig] = TASK_LEASED;
    t->lease[t->leases++] = l;
    r->lease[r->leases++] = l;
    return EMAC_OK;
}

/* As coordinator/rigs/leases.c has it. */
static void begin_next(struct sim *s, struct sim_rig *r)
{
    struct sim_lease *l = r->lease[0];
    uint64_t now = sim_ms(s);
    if (r->leases == 0 || l->begin_ms > 0)
        return;
    l->begin_ms = now + 1;
    l->fetch_bytes = sched_fetch_left(&r->speed, l->fetch_bytes, now - l->granted_ms);
    l->expected_ms =
        sched_expected_ms(&r->speed, work_of(l->task), l->task->want.flops, l->fetch_bytes);
}

static uint32_t drop(struct sim_lease **list, uint32_t count, const struct sim_lease *l)
{
    uint32_t i = 0;
    while (list[i] != l)
        EMAC_ASSERT(++i < count);
    memmove(&list[i], &list[i + 1], (count - i - 1) * sizeof *list);
    return count - 1;
}

void sim_lease_end(struct sim *s, struct sim_lease *l)
{
    struct sim_rig *r = &s->rig[l->rig];
    l->task->leases = drop(l->task->lease, l->task->leases, l);
    r->leases = drop(r->lease, r->leases, l);
    free(l);
    begin_next(s, r);
}

enum emac_status sim_grant(struct sim *s, uint32_t rig, struct sim_task **task)
{
    struct sim_choice best = {.cut = true};
    enum emac_status st = EMAC_OK;
    *task = NULL;
    while (best.cut) {
        st = lay(s);
        if (st != EMAC_OK)
            return st;
        sim_waiting(s);
        best = sim_choose(s, rig);
        if (best.cut) {
            best.task->cut = true;
            s->laid = false;
        }
    }
    *task = best.task;
    if (best.recalled != NULL)
        st = sim_recall(s, best.recalled);
    if (st == EMAC_OK && *task != NULL)
        st = lease(s, *task, rig);
    else if (best.wake_ms != UINT64_MAX)
        st = wake(s, best.wake_ms);
    return st;
}

static struct sim_lease *lease_of(const struct sim_task *t, uint32_t rig)
{
    for (uint32_t i = 0; i < t->leases; i++)
        if (t->lease[i]->rig == rig)
            return t->lease[i];
    EMAC_ASSERT(!"the rig has no lease of the task");
    return NULL;
}

/* ---- results ---- */

/* Each evaluation finds a smaller loss than the one before: nothing ends early. */
static enum emac_status result_take(struct sim *s, const struct sim_task *t)
{
    struct plan_result r = {.kind = t->want.kind,
                            .range = t->want.range,
                            .loss = t->want.kind == TASK_SCORE ? 1 / (1 + s->now) : -1,
                            .accuracy = -1,
                            .output_count = t->program->output_count};
    memcpy(r.slot, t->want.slot, sizeof r.slot);
    for (uint32_t i = 0; i < r.output_count; i++) {
        memcpy(r.output[i].name, t->program->output[i].name, sizeof r.output[i].name);
        r.output[i].cid = sim_output(t, i);
    }
    return plan_take(&s->st, &r, s->err);
}

/* What waits for nothing goes once nobody works at it. */
static void tasks_sweep(struct sim *s)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->task_count; i++) {
        struct sim_task *t = s->task[i];
        bool waits = t->current || (t->accepted && t->votes < t->need) || t->leases > 0;
        if (waits)
            s->task[kept++] = t;
        else
            sim_task_free(t);
    }
    s->task_count = kept;
}

static bool has_open(const struct sim *s, enum task_kind kind)
{
    for (size_t i = 0; i < s->task_count; i++)
        if (s->task[i]->current && s->task[i]->want.kind == kind && !s->task[i]->accepted)
            return true;
    return false;
}

bool sim_checks_due(const struct sim *s)
{
    for (size_t i = 0; i < s->task_count; i++) {
        const struct sim_task *t = s->task[i];
        if (t->accepted && t->votes < t->need && t->need <= s->cfg->rigs)
            return true;
    }
    return false;
}

static enum emac_status turn(struct sim *s)
{
    if (!plan_turn(s->plan, &s->st))
        return EMAC_OK;
    for (size_t i = 0; i < s->task_count; i++)
        s->task[i]->current = false;
    return sim_turned(s);
}

static enum emac_status pay(struct sim *s, const struct sim_task *t)
{
    int64_t units;
    enum emac_status st = plan_price(&s->plan->job, t->want.flops, &units, s->err);
    s->sum.units += st == EMAC_OK ? (double)units : 0;
    s->sum.flops += (double)t->want.flops;
    s->sum.tasks[t->want.kind]++;
    return st;
}

/* What the receipt tells of the rig's speed. */
static void learn(struct sim *s, const struct sim_task *t, const struct sim_lease *l)
{
    if (l->begin_ms > 0)
        sched_speed_add(&s->rig[l->rig].speed, work_of(t), t->want.flops, l->fetch_bytes,
                        sim_ms(s) - l->begin_ms + 1, l->run_ms);
}

/* As the coordinator does with what is not wanted any more. */
static enum emac_status take_back(struct sim *s, struct sim_lease *l)
{
    if (l->begin_ms > 0)
        sched_speed_late(&s->rig[l->rig].speed, work_of(l->task), l->task->want.flops,
                         l->expected_ms, sim_ms(s) - l->begin_ms + 1);
    return sim_cancel(s, l);
}

/* Of a task that is answered as often as is paid. */
static enum emac_status surplus_cancel(struct sim *s, struct sim_task *t)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t i = t->leases; i-- > 0 && st == EMAC_OK;)
        if (t->votes + t->leases > t->need)
            st = take_back(s, t->lease[i]);
    return st;
}

/* CUT-2: ranges that are made by now otherwise. */
static enum emac_status covered_cancel(struct sim *s, const struct sim_task *made)
{
    enum emac_status st = EMAC_OK;
    for (size_t k = 0; k < s->task_count && st == EMAC_OK; k++) {
        struct sim_task *t = s->task[k];
        if (t == made || !t->current || t->accepted || t->want.kind != made->want.kind ||
            !plan_is_covered(&s->st, t->want.kind, t->want.range, made->want.range))
            continue;
        t->current = false;
        for (uint32_t i = t->leases; i-- > 0 && st == EMAC_OK;)
            st = take_back(s, t->lease[i]);
    }
    return st;
}

enum emac_status sim_accept(struct sim *s, struct sim_task *t, uint32_t rig, bool *changed)
{
    bool first = !t->accepted, fits = t->current;
    enum emac_status st = EMAC_OK;
    struct sim_lease *l = lease_of(t, rig);
    learn(s, t, l);
    sim_lease_end(s, l);
    t->rig[rig] = TASK_ANSWERED;
    t->votes++;
    t->accepted = true;
    if (t->votes <= t->need)
        st = pay(s, t);
    if (st == EMAC_OK)
        st = surplus_cancel(s, t);
    if (st == EMAC_OK && first && fits)
        st = result_take(s, t);
    if (st == EMAC_OK && first && fits && task_kind_info(t->want.kind)->shared)
        st = covered_cancel(s, t);
    if (st == EMAC_OK && first && fits)
        st = turn(s);
    if (st != EMAC_OK)
        return st;
    if (!task_kind_info(t->want.kind)->shared || !has_open(s, t->want.kind))
        s->laid = false;
    *changed = !s->laid || sim_wants_lease(t);
    tasks_sweep(s);
    return EMAC_OK;
}

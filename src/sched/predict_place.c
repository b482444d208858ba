/* Which task a simulated rig gets: the facts of coordinator/grant.c, the judgement of
 * sched/place.h. */
#include <string.h>

#include "base/assert.h"
#include "sched/place.h"
#include "sched/predict_impl.h"

uint64_t sim_ms(const struct sim *s)
{
    return (uint64_t)(s->now * 1000);
}

bool sim_wants_lease(const struct sim_task *t)
{
    if (t->leases == SIM_COPIES_MAX)
        return false;
    if (t->accepted)
        return t->votes + t->leases < t->need;
    uint32_t want = task_kind_info(t->want.kind)->copies ? t->need : 1;
    return t->current && t->leases < want;
}

uint64_t sim_fetch_bytes(struct sim *s, const struct sim_task *t, uint32_t rig)
{
    const struct task *task = &t->want.task;
    double bytes = 0;
    for (uint32_t i = 0; i < task->input_count + task->part_count; i++) {
        const struct cid *cid =
            i < task->input_count ? &task->input[i].cid : &task->part[i - task->input_count].cid;
        const struct sim_value *v = sim_value(s, cid);
        bytes += v == NULL || v->held[rig] ? 0 : v->bytes;
    }
    return (uint64_t)bytes;
}

static uint64_t takes_ms(struct sim *s, const struct sim_task *t, uint32_t rig)
{
    const struct task_kind_info *kind = task_kind_info(t->want.kind);
    uint64_t bytes = sim_fetch_bytes(s, t, rig);
    if (!kind->shared)
        bytes /= SCHED_STATE_ROUNDS;
    return sched_expected_ms(&s->rig[rig].speed, kind->math ? SCHED_WORK_MATH : SCHED_WORK_STATE,
                             t->want.flops, bytes);
}

static uint64_t end_of(const struct sim_lease *l)
{
    return l->granted_ms + l->expected_ms;
}

static const struct sim_lease *busy_with(const struct sim_rig *r)
{
    const struct sim_lease *last = NULL;
    for (uint32_t i = 0; i < r->leases; i++)
        if (last == NULL || end_of(&r->lease[i]) > end_of(last))
            last = &r->lease[i];
    return last;
}

void sim_waiting(struct sim *s)
{
    s->state_wanted = 0;
    for (uint32_t i = 0; i < s->cfg->rigs; i++)
        s->rig[i].queue_ms = 0;
    for (size_t i = 0; i < s->task_count; i++) {
        const struct sim_task *t = s->task[i];
        const struct task_kind_info *kind = task_kind_info(t->want.kind);
        if (!t->current || t->accepted || !sim_wants_lease(t))
            continue;
        if (!kind->shared && !kind->staged)
            s->state_wanted += (kind->copies ? t->need : 1) - t->leases;
        else if (t->owner != NOBODY)
            s->rig[t->owner].queue_ms += t->expected_ms;
    }
}

/* ---- facts ---- */

static void state_facts(struct sim *s, const struct sim_task *t, uint32_t rig,
                        struct sched_offer *o)
{
    uint64_t now = sim_ms(s);
    o->kind = SCHED_STATE;
    o->state.wanted = t->accepted ? 1 : s->state_wanted;
    for (uint32_t i = 0; i < s->cfg->rigs; i++) {
        if (i == rig || t->rig[i] != TASK_UNSEEN)
            continue;
        const struct sim_lease *l = busy_with(&s->rig[i]);
        uint64_t busy = l != NULL ? sched_end_ms(l->granted_ms, l->expected_ms, now) : 0;
        uint64_t until = (busy > t->born_ms ? busy : t->born_ms) + SCHED_STATE_MS;
        uint64_t done = (busy > now ? busy : now) + takes_ms(s, t, i), mine = now + o->mine_ms;
        if (until <= now || done > mine || (done == mine && i > rig))
            continue;
        o->state.ahead++;
        if (until > o->state.ahead_until_ms)
            o->state.ahead_until_ms = until;
    }
}

static void range_facts(struct sim *s, const struct sim_task *t, uint32_t rig,
                        struct sched_offer *o)
{
    const struct sim_lease *l = busy_with(&s->rig[t->owner]);
    o->range.has_owner = o->range.owner_live = true;
    o->range.is_owner = t->owner == rig;
    o->range.expected_ms = t->expected_ms;
    o->range.since_ms = l != NULL ? l->granted_ms : 0;
    o->range.until_ms = l != NULL ? end_of(l) : 0;
    o->range.queue_ms = s->rig[t->owner].queue_ms;
}

static bool holds(const struct sim_value *v, uint32_t rig)
{
    return v != NULL && v->held[rig];
}

static void stage_facts(struct sim *s, const struct sim_task *t, uint32_t rig,
                        struct sched_offer *o)
{
    const struct sim_value *v = sim_value(s, &t->want.anchor);
    uint32_t count = 0;
    o->kind = SCHED_STAGE;
    o->stage.mine = holds(v, rig);
    for (uint32_t i = 0; i < s->cfg->rigs; i++) {
        if (!holds(v, i))
            continue;
        const struct sim_lease *l = busy_with(&s->rig[i]);
        uint64_t until = l != NULL ? end_of(l) : sim_ms(s);
        if (count++ == 0 || until < o->stage.until_ms)
            o->stage.until_ms = until;
    }
    o->range.expected_ms = t->expected_ms;
    o->stage.any = count > 0;
    o->stage.more = count < t->want.holders;
    if (t->owner != NOBODY && holds(v, t->owner))
        range_facts(s, t, rig, o);
}

static struct sched_offer offer_of(struct sim *s, const struct sim_task *t, uint32_t rig)
{
    struct sched_offer o = {.kind = SCHED_RANGE,
                            .born_ms = t->born_ms,
                            .asked_ms = sim_ms(s),
                            .mine_ms = takes_ms(s, t, rig)};
    const struct task_kind_info *kind = task_kind_info(t->want.kind);
    if (kind->staged && !t->accepted)
        stage_facts(s, t, rig, &o);
    else if (!kind->shared)
        state_facts(s, t, rig, &o);
    else if (t->owner != NOBODY && !t->accepted)
        range_facts(s, t, rig, &o);
    return o;
}

/* A copy of what others are late with; false: none is to be had. */
static bool copy_offer(struct sim *s, const struct sim_task *t, uint32_t rig, struct sched_offer *o)
{
    const struct task_kind_info *kind = task_kind_info(t->want.kind);
    uint32_t most = kind->copies ? t->need : 1;
    if (kind->staged || !t->current || t->accepted || t->leases == 0 || t->leases > most ||
        t->leases == SIM_COPIES_MAX)
        return false;
    const struct sim_lease *first = &t->lease[0];
    for (uint32_t i = 1; i < t->leases; i++)
        if (end_of(&t->lease[i]) < end_of(first))
            first = &t->lease[i];
    *o = (struct sched_offer){.kind = SCHED_COPY,
                              .born_ms = t->born_ms,
                              .mine_ms = takes_ms(s, t, rig),
                              .copy = {first->granted_ms, end_of(first)}};
    return true;
}

/* ---- choosing ---- */

struct choice {
    struct sim_task *task;
    struct sched_offer offer;
    uint64_t wake_ms;
};

/* A rig that is at work takes what is meant for it, nothing else. */
static bool is_meant(const struct sched_offer *o)
{
    return o->kind == SCHED_STAGE ? o->stage.mine : o->kind == SCHED_RANGE && o->range.is_owner;
}

static void consider(struct sim *s, struct sim_task *t, uint32_t rig, const struct sched_offer *o,
                     struct choice *best)
{
    uint64_t at = UINT64_MAX;
    if (s->rig[rig].leases > 0 && !is_meant(o))
        return;
    if (sched_offer_judge(o, sim_ms(s), &at) == SCHED_LATER)
        best->wake_ms = at < best->wake_ms ? at : best->wake_ms;
    else if (best->task == NULL || sched_offer_before(o, &best->offer))
        *best = (struct choice){t, *o, best->wake_ms};
}

struct sim_task *sim_choose(struct sim *s, uint32_t rig, uint64_t *wake_ms)
{
    struct choice best = {.wake_ms = UINT64_MAX};
    struct sched_offer o;
    for (int checks = 1; checks >= 0 && best.task == NULL; checks--) {
        for (size_t i = 0; i < s->task_count; i++) {
            struct sim_task *t = s->task[i];
            if (t->accepted != checks || t->rig[rig] != TASK_UNSEEN || !sim_wants_lease(t))
                continue;
            o = offer_of(s, t, rig);
            consider(s, t, rig, &o, &best);
        }
    }
    bool idle = best.task == NULL;
    for (size_t i = 0; i < s->task_count && idle; i++)
        if (s->task[i]->rig[rig] == TASK_UNSEEN && copy_offer(s, s->task[i], rig, &o))
            consider(s, s->task[i], rig, &o, &best);
    *wake_ms = best.wake_ms;
    return best.task;
}

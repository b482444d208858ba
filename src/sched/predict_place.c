/* Which task a simulated rig gets: the facts of coordinator/rigs/grant.c, the judgement of
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
    struct sched_busy b = sim_busy(&s->rig[rig], NULL);
    if (!kind->shared)
        bytes /= SCHED_STATE_ROUNDS;
    return sched_busy_ms(&b, sim_ms(s)) +
           sched_expected_ms(&s->rig[rig].speed, kind->math ? SCHED_WORK_MATH : SCHED_WORK_STATE,
                             t->want.flops, bytes);
}

struct sched_busy sim_busy(const struct sim_rig *r, const struct sim_lease *until)
{
    struct sched_busy b = {.any = r->leases > 0 && r->lease[0] != until};
    if (!b.any)
        return b;
    b.since_ms = b.until_ms = r->lease[0]->begin_ms;
    for (uint32_t i = 0; i < r->leases && r->lease[i] != until; i++)
        b.until_ms += r->lease[i]->expected_ms;
    return b;
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
        struct sched_busy b = sim_busy(&s->rig[i], NULL);
        uint64_t busy = b.any ? now + sched_busy_ms(&b, now) : 0;
        uint64_t until = (busy > t->born_ms ? busy : t->born_ms) + SCHED_STATE_MS;
        uint64_t done = now + takes_ms(s, t, i), mine = now + o->mine_ms;
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
    struct sched_busy b = sim_busy(&s->rig[t->owner], NULL);
    o->range.has_owner = o->range.owner_live = true;
    o->range.is_owner = t->owner == rig;
    o->range.expected_ms = t->expected_ms;
    o->range.since_ms = b.since_ms;
    o->range.until_ms = b.until_ms;
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
        struct sched_busy b = sim_busy(&s->rig[i], NULL);
        uint64_t until = b.any ? b.until_ms : sim_ms(s);
        if (count++ == 0 || until < o->stage.until_ms)
            o->stage.until_ms = until;
    }
    o->range.expected_ms = t->expected_ms;
    o->stage.any = count > 0;
    o->stage.more = count < t->want.holders;
    if (t->owner != NOBODY && holds(v, t->owner))
        range_facts(s, t, rig, o);
}

static void placed_facts(struct sim *s, const struct sim_task *t, uint32_t rig,
                         struct sched_offer *o)
{
    if (t->rig[t->owner] != TASK_UNSEEN)
        return;
    if (t->owner == rig) {
        o->kind = SCHED_RANGE;
        range_facts(s, t, rig, o);
    } else {
        o->state.ahead = o->state.wanted;
        o->state.ahead_until_ms = t->born_ms + SCHED_STAGE_MS;
    }
}

static struct sched_offer offer_of(struct sim *s, const struct sim_task *t, uint32_t rig)
{
    struct sched_offer o = {.kind = SCHED_RANGE,
                            .born_ms = t->born_ms,
                            .asked_ms = sim_ms(s),
                            .mine_ms = takes_ms(s, t, rig),
                            .leases = s->rig[rig].leases};
    const struct task_kind_info *kind = task_kind_info(t->want.kind);
    if (kind->staged && !t->accepted)
        stage_facts(s, t, rig, &o);
    else if (!kind->shared)
        state_facts(s, t, rig, &o);
    else if (t->owner != NOBODY && !t->accepted)
        range_facts(s, t, rig, &o);
    if (o.kind == SCHED_STATE && t->owner != NOBODY && !t->accepted)
        placed_facts(s, t, rig, &o);
    return o;
}

static uint64_t end_of(const struct sim_lease *l)
{
    return l->begin_ms + l->expected_ms;
}

/* A copy of what others are late with; false: none is to be had. */
static bool copy_offer(struct sim *s, const struct sim_task *t, uint32_t rig, struct sched_offer *o)
{
    const struct task_kind_info *kind = task_kind_info(t->want.kind);
    uint32_t most = kind->copies ? t->need : 1;
    if (kind->staged || !t->current || t->accepted || t->leases == 0 || t->leases > most ||
        t->leases == SIM_COPIES_MAX)
        return false;
    const struct sim_lease *first = NULL;
    for (uint32_t i = 0; i < t->leases; i++) {
        const struct sim_lease *l = t->lease[i];
        if (l->begin_ms > 0 && (first == NULL || end_of(l) < end_of(first)))
            first = l;
    }
    if (first == NULL)
        return false;
    *o = (struct sched_offer){.kind = SCHED_COPY,
                              .born_ms = t->born_ms,
                              .mine_ms = takes_ms(s, t, rig),
                              .copy = {first->begin_ms, end_of(first)}};
    return true;
}

/* What another rig holds and has not begun; NULL: none is to be had. */
static struct sim_lease *recall_offer(struct sim *s, const struct sim_task *t, uint32_t rig,
                                      struct sched_offer *o)
{
    struct sim_lease *last = NULL;
    uint64_t now = sim_ms(s), longest = 0;
    for (uint32_t i = 0; i < t->leases; i++) {
        struct sched_busy b = sim_busy(&s->rig[t->lease[i]->rig], t->lease[i]);
        uint64_t ms = sched_busy_ms(&b, now);
        bool ahead = b.any && sim_is_ready(&s->rig[t->lease[i]->rig], t);
        if (ahead && (last == NULL || ms > longest)) {
            last = t->lease[i];
            longest = ms;
        }
    }
    const struct sim_value *v = sim_value(s, &t->want.anchor);
    if (last == NULL || (task_kind_info(t->want.kind)->staged && !t->accepted && !holds(v, rig)))
        return NULL;
    struct sched_busy b = sim_busy(&s->rig[last->rig], last);
    *o = (struct sched_offer){.kind = SCHED_RECALL,
                              .born_ms = t->born_ms,
                              .mine_ms = takes_ms(s, t, rig),
                              .recall = {b.since_ms, b.until_ms, last->expected_ms}};
    return last;
}

/* ---- choosing ---- */

struct choice {
    struct sim_task *task;
    struct sim_lease *recalled;
    struct sched_offer offer;
    uint64_t wake_ms;
};

static void consider(struct sim *s, struct sim_task *t, struct sim_lease *recalled,
                     const struct sched_offer *o, struct choice *best)
{
    uint64_t at = UINT64_MAX;
    if (sched_offer_judge(o, sim_ms(s), &at) == SCHED_LATER)
        best->wake_ms = at < best->wake_ms ? at : best->wake_ms;
    else if (best->task == NULL || sched_offer_before(o, &best->offer))
        *best = (struct choice){t, recalled, *o, best->wake_ms};
}

struct sim_task *sim_choose(struct sim *s, uint32_t rig, uint64_t *wake_ms,
                            struct sim_lease **recalled)
{
    struct choice best = {.wake_ms = UINT64_MAX};
    struct sched_offer o;
    for (int checks = 1; checks >= 0 && best.task == NULL; checks--) {
        for (size_t i = 0; i < s->task_count; i++) {
            struct sim_task *t = s->task[i];
            if (t->accepted != checks || t->rig[rig] != TASK_UNSEEN || !sim_wants_lease(t))
                continue;
            o = offer_of(s, t, rig);
            consider(s, t, NULL, &o, &best);
        }
    }
    bool idle = best.task == NULL && s->rig[rig].leases == 0;
    for (size_t i = 0; i < s->task_count && idle; i++) {
        struct sim_task *t = s->task[i];
        struct sim_lease *l;
        if (t->rig[rig] != TASK_UNSEEN)
            continue;
        if ((l = recall_offer(s, t, rig, &o)) != NULL)
            consider(s, t, l, &o, &best);
        if (copy_offer(s, t, rig, &o))
            consider(s, t, NULL, &o, &best);
    }
    *wake_ms = best.wake_ms;
    *recalled = best.recalled;
    return best.task;
}

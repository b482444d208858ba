#include "sched/offers.h"

#include "base/assert.h"

enum sched_work sched_work_of(const struct task_kind_info *kind)
{
    return kind->math ? SCHED_WORK_MATH : SCHED_WORK_STATE;
}

/* The same with another amount of work. */
static uint64_t takes_ms(const struct sched_books *b, const struct sched_task *t, double flops,
                         const void *rig)
{
    struct sched_rig r = b->rig(b->ctx, rig);
    uint64_t bytes = b->fetch_bytes(b->ctx, t->task, rig);
    if (!t->kind->shared)
        bytes /= SCHED_STATE_ROUNDS;
    return sched_busy_ms(&r.busy, b->now_ms) +
           sched_expected_ms(r.speed, sched_work_of(t->kind), (uint64_t)flops, bytes);
}

uint64_t sched_takes_ms(const struct sched_books *b, const struct sched_task *t, const void *rig)
{
    return takes_ms(b, t, (double)t->flops, rig);
}

/* ---- what is to be begun ---- */

/* Which rigs would be done with it before this one, and how long do they have the first word? */
static void state_facts(const struct sched_books *b, const struct sched_task *t, const void *rig,
                        struct sched_offer *o)
{
    const void *other;
    o->kind = SCHED_STATE;
    o->state.wanted = t->check ? 1 : t->state_wanted;
    for (size_t at = 0; (other = b->next(b->ctx, &at)) != NULL;) {
        if (other == rig || b->at_work(b->ctx, t->task, other))
            continue;
        struct sched_rig r = b->rig(b->ctx, other);
        uint64_t busy = r.busy.any ? b->now_ms + sched_busy_ms(&r.busy, b->now_ms) : 0;
        uint64_t until = (busy > t->born_ms ? busy : t->born_ms) + SCHED_STATE_MS;
        uint64_t takes = sched_takes_ms(b, t, other);
        if (until <= b->now_ms || takes > o->mine_ms ||
            (takes == o->mine_ms && b->before(rig, other)))
            continue;
        o->state.ahead++;
        if (until > o->state.ahead_until_ms)
            o->state.ahead_until_ms = until;
    }
}

static void range_facts(const struct sched_books *b, const struct sched_task *t, const void *rig,
                        struct sched_offer *o)
{
    struct sched_rig owner = b->rig(b->ctx, t->owner);
    o->range.has_owner = true;
    o->range.is_owner = t->owner == rig;
    o->range.owner_live = owner.live;
    o->range.expected_ms = t->expected_ms;
    o->range.since_ms = owner.busy.since_ms;
    o->range.until_ms = owner.busy.until_ms;
    o->range.queue_ms = owner.queue_ms;
}

/* Who holds the stage: how many, and when the first of them will be free: one that is idle will ask
 * for the task itself. */
static void stage_facts(const struct sched_books *b, const struct sched_task *t, const void *rig,
                        struct sched_offer *o)
{
    const void *other;
    uint32_t count = 0;
    o->kind = SCHED_STAGE;
    o->stage.mine = b->keeps(b->ctx, t->task, rig);
    for (size_t at = 0; (other = b->next(b->ctx, &at)) != NULL;) {
        if (!b->keeps(b->ctx, t->task, other))
            continue;
        struct sched_busy busy = b->rig(b->ctx, other).busy;
        uint64_t until = busy.any ? busy.until_ms : b->now_ms;
        if (count++ == 0 || until < o->stage.until_ms)
            o->stage.until_ms = until;
    }
    o->range.expected_ms = t->expected_ms;
    o->stage.any = count > 0;
    o->stage.more = count < t->holders;
    if (t->owner != NULL && b->keeps(b->ctx, t->task, t->owner))
        range_facts(b, t, rig, o);
}

/* State that is to begin on its owner, a stage, is made there: a second rig may have it once the
 * owner is at it, or keeps away. */
static void placed_facts(const struct sched_books *b, const struct sched_task *t, const void *rig,
                         struct sched_offer *o)
{
    if (b->at_work(b->ctx, t->task, t->owner))
        return;
    if (t->owner == rig) {
        o->kind = SCHED_RANGE;
        range_facts(b, t, rig, o);
    } else if (b->rig(b->ctx, t->owner).live) {
        o->state.ahead = o->state.wanted;
        o->state.ahead_until_ms = t->born_ms + SCHED_STAGE_MS;
    }
}

/* ROOM-1: who has the stage already, or is at its init, is asked for nothing. */
static bool may_take(const struct sched_books *b, const struct sched_task *t, const void *rig)
{
    return !b->at_work(b->ctx, t->task, rig) &&
           !(t->kind->staged && b->keeps(b->ctx, t->task, rig)) &&
           b->has_room(b->ctx, t->task, rig);
}

static void room_facts(const struct sched_books *b, const struct sched_task *t, const void *rig,
                       struct sched_offer *o)
{
    const void *other;
    if (!t->stage || t->check || t->bound || (t->kind->staged && b->keeps(b->ctx, t->task, rig)))
        return;
    o->room.none = !b->has_room(b->ctx, t->task, rig);
    for (size_t at = 0; o->room.none && (other = b->next(b->ctx, &at)) != NULL;)
        o->room.elsewhere |= other != rig && may_take(b, t, other);
}

struct sched_offer sched_offer_of(const struct sched_books *b, const struct sched_task *t,
                                  const void *rig)
{
    struct sched_offer o = {.kind = SCHED_RANGE,
                            .born_ms = t->born_ms,
                            .asked_ms = b->now_ms,
                            .mine_ms = sched_takes_ms(b, t, rig),
                            .leases = b->rig(b->ctx, rig).leases};
    if (t->bound)
        return o;
    room_facts(b, t, rig, &o);
    if (t->kind->staged && !t->check)
        stage_facts(b, t, rig, &o);
    else if (!t->kind->shared && !t->disputed)
        state_facts(b, t, rig, &o);
    else if (t->owner != NULL && !t->check)
        range_facts(b, t, rig, &o);
    if (o.kind == SCHED_STATE && t->owner != NULL && !t->check)
        placed_facts(b, t, rig, &o);
    return o;
}

/* ---- what others have ---- */

/* What this rig does of a second for each that all who have nothing to do, it among them, do. */
static double share_of_idle(const struct sched_books *b, const struct sched_task *t,
                            const void *rig)
{
    enum sched_work work = sched_work_of(t->kind);
    double mine = sched_speed_get(b->rig(b->ctx, rig).speed, work), all = mine;
    const void *other;
    for (size_t at = 0; (other = b->next(b->ctx, &at)) != NULL;) {
        struct sched_rig r = b->rig(b->ctx, other);
        if (other != rig && !r.busy.any && r.queue_ms == 0)
            all += sched_speed_get(r.speed, work);
    }
    return mine / all;
}

bool sched_offer_copy(const struct sched_books *b, const struct sched_task *t, const void *rig,
                      struct sched_offer *o, bool *cut)
{
    uint32_t most = t->kind->copies ? t->need : 1;
    struct sched_lease first = {.lease = NULL};
    *cut = t->kind->shared && t->batches > 1 && !t->bound;
    if (t->kind->staged || !t->current || t->check || t->leases == 0 || t->leases > most)
        return false;
    for (uint32_t i = 0; i < t->leases; i++) {
        struct sched_lease l = b->lease(b->ctx, t->task, i);
        if (l.begin_ms > 0 && (first.lease == NULL ||
                               l.begin_ms + l.expected_ms < first.begin_ms + first.expected_ms))
            first = l;
    }
    if (first.lease == NULL)
        return false; /* nobody has begun it */
    double share = *cut ? share_of_idle(b, t, rig) : 1;
    *o = (struct sched_offer){.kind = SCHED_COPY,
                              .born_ms = t->born_ms,
                              .mine_ms = takes_ms(b, t, (double)t->flops * share, rig),
                              .leases = b->rig(b->ctx, rig).leases,
                              .copy = {first.begin_ms, first.begin_ms + first.expected_ms}};
    room_facts(b, t, rig, o);
    return true;
}

bool sched_offer_recall(const struct sched_books *b, const struct sched_task *t, const void *rig,
                        struct sched_offer *o, const void **whose)
{
    struct sched_lease last = {.lease = NULL};
    uint64_t longest = 0;
    for (uint32_t i = 0; i < t->leases; i++) {
        struct sched_lease l = b->lease(b->ctx, t->task, i);
        uint64_t ms = sched_busy_ms(&l.before, b->now_ms);
        if (l.before.any && l.may_recall && (last.lease == NULL || ms > longest)) {
            last = l;
            longest = ms;
        }
    }
    bool stranger = t->kind->staged && !t->check && !b->keeps(b->ctx, t->task, rig);
    if (last.lease == NULL || stranger)
        return false;
    *whose = last.lease;
    *o = (struct sched_offer){
        .kind = SCHED_RECALL,
        .born_ms = t->born_ms,
        .mine_ms = sched_takes_ms(b, t, rig),
        .leases = b->rig(b->ctx, rig).leases,
        .recall = {last.before.since_ms, last.before.until_ms, last.expected_ms}};
    room_facts(b, t, rig, o);
    return true;
}

/* ---- choosing ---- */

bool sched_choice_take(struct sched_choice *best, const struct sched_choice *c, uint64_t now_ms)
{
    uint64_t wake = UINT64_MAX, before = best->wake_ms;
    EMAC_ASSERT(c->task != NULL);
    if (sched_offer_judge(&c->offer, now_ms, &wake) == SCHED_LATER) {
        best->wake_ms = wake < before ? wake : before;
        return false;
    }
    if (best->task != NULL && !sched_offer_before(&c->offer, &best->offer))
        return false;
    *best = *c;
    best->wake_ms = before;
    return true;
}

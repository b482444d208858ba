#include "sched/place.h"

#include <stddef.h>

#include "base/assert.h"

uint64_t sched_grace_ms(uint64_t expected_ms)
{
    uint64_t half = expected_ms / 2;
    return half > SCHED_GRACE_MIN_MS ? half : SCHED_GRACE_MIN_MS;
}

static enum sched_verdict not_before(uint64_t at_ms, uint64_t now_ms, uint64_t *wake_ms)
{
    if (now_ms >= at_ms)
        return SCHED_GRANT;
    *wake_ms = at_ms;
    return SCHED_LATER;
}

static enum sched_verdict judge_range(const struct sched_offer *o, uint64_t now_ms,
                                      uint64_t *wake_ms)
{
    if (!o->has_owner || o->is_owner || !o->owner_live)
        return SCHED_GRANT;
    uint64_t until = o->owner_busy_until_ms;
    if (until != 0 && now_ms > until)
        return SCHED_GRANT; /* it is late with something else already */
    uint64_t from = until > o->born_ms ? until : o->born_ms;
    uint64_t at = from + sched_grace_ms(o->expected_ms);
    enum sched_verdict v = not_before(at, now_ms, wake_ms);
    /* Ask again when the owner turns out to be late. */
    if (v == SCHED_LATER && until != 0)
        *wake_ms = until + 1;
    return v;
}

/* A rig that does not hold the stage. */
static enum sched_verdict judge_stranger(const struct sched_offer *o, uint64_t now_ms,
                                         uint64_t *wake_ms)
{
    uint64_t until = o->holder_busy_until_ms, from = until > o->born_ms ? until : o->born_ms;
    if (o->more_holders)
        return SCHED_GRANT;
    return not_before(from + SCHED_STAGE_GRACE * sched_grace_ms(o->expected_ms), now_ms, wake_ms);
}

enum sched_verdict sched_offer_judge(const struct sched_offer *o, uint64_t now_ms,
                                     uint64_t *wake_ms)
{
    EMAC_ASSERT(wake_ms != NULL);
    EMAC_ASSERT(!o->is_owner || o->has_owner);
    if (!o->for_state)
        return judge_range(o, now_ms, wake_ms);
    if (o->staged && o->holds_state)
        return judge_range(o, now_ms, wake_ms);
    if (o->holds_state || !o->any_holder)
        return SCHED_GRANT;
    if (o->staged)
        return judge_stranger(o, now_ms, wake_ms);
    return not_before(o->born_ms + SCHED_STATE_MS, now_ms, wake_ms);
}

static int rank(const struct sched_offer *o)
{
    if (o->for_state ? o->holds_state && (!o->has_owner || o->is_owner) : o->is_owner)
        return 0;
    return o->for_state || !o->has_owner || !o->owner_live ? 1 : 2;
}

bool sched_offer_before(const struct sched_offer *a, const struct sched_offer *b)
{
    int ra = rank(a), rb = rank(b);
    return ra != rb ? ra < rb : a->born_ms < b->born_ms;
}

uint32_t sched_job_next(const double *vtime, const bool *skip, uint32_t count)
{
    uint32_t best = count;
    for (uint32_t i = 0; i < count; i++)
        if (!skip[i] && (best == count || vtime[i] < vtime[best]))
            best = i;
    return best;
}

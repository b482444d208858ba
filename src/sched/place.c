#include "sched/place.h"

#include <stddef.h>

#include "base/assert.h"
#include "base/checked.h"

uint64_t sched_grace_ms(uint64_t expected_ms)
{
    uint64_t half = expected_ms / 2;
    return half > SCHED_GRACE_MIN_MS ? half : SCHED_GRACE_MIN_MS;
}

uint64_t sched_end_ms(uint64_t granted_ms, uint64_t expected_ms, uint64_t now_ms)
{
    uint64_t end = granted_ms + expected_ms;
    return end >= now_ms ? end : now_ms + (now_ms - granted_ms) / 2;
}

uint64_t sched_keeps(const struct sched_stage *has, const struct sched_stage *more)
{
    uint64_t moves = has->moves > more->moves ? has->moves : more->moves;
    return emac_add_most(emac_add_most(has->all, more->all), moves);
}

static enum sched_verdict not_before(uint64_t at_ms, uint64_t now_ms, uint64_t *wake_ms)
{
    if (now_ms >= at_ms)
        return SCHED_GRANT;
    *wake_ms = at_ms;
    return SCHED_LATER;
}

/* Something under way is expected to end at until_ms. From when on does that, and after_ms more,
 * take longer than need_ms from then? Once it is late its expected end moves by half of the time
 * that passes: so there is such a moment, and it can be told. */
static enum sched_verdict judge_end(uint64_t since_ms, uint64_t until_ms, uint64_t after_ms,
                                    uint64_t need_ms, uint64_t now_ms, uint64_t *wake_ms)
{
    EMAC_ASSERT(since_ms <= until_ms);
    if (now_ms + need_ms < sched_end_ms(since_ms, until_ms - since_ms, now_ms) + after_ms)
        return SCHED_GRANT;
    uint64_t late = until_ms + 1;
    uint64_t pays = since_ms + (need_ms > after_ms ? 2 * (need_ms - after_ms) : 0) + 2;
    return not_before(late > pays ? late : pays, now_ms, wake_ms);
}

static enum sched_verdict judge_range(const struct sched_offer *o, uint64_t now_ms,
                                      uint64_t *wake_ms)
{
    if (!o->range.has_owner || o->range.is_owner || !o->range.owner_live)
        return SCHED_GRANT;
    if (o->range.until_ms == 0)
        return not_before(o->born_ms + sched_grace_ms(o->range.expected_ms), now_ms, wake_ms);
    return judge_end(o->range.since_ms, o->range.until_ms, o->range.queue_ms, o->mine_ms, now_ms,
                     wake_ms);
}

static enum sched_verdict judge_stage(const struct sched_offer *o, uint64_t now_ms,
                                      uint64_t *wake_ms)
{
    uint64_t until = o->stage.until_ms, from = until > o->born_ms ? until : o->born_ms;
    if (o->stage.mine)
        return judge_range(o, now_ms, wake_ms);
    if (!o->stage.any || o->stage.more)
        return SCHED_GRANT;
    return not_before(from + SCHED_STAGE_MS + 4 * o->range.expected_ms, now_ms, wake_ms);
}

uint64_t sched_busy_ms(const struct sched_busy *b, uint64_t now_ms)
{
    return b->any ? sched_end_ms(b->since_ms, b->until_ms - b->since_ms, now_ms) - now_ms : 0;
}

static enum sched_verdict never(uint64_t *wake_ms)
{
    *wake_ms = UINT64_MAX;
    return SCHED_LATER;
}

static bool is_own_range(const struct sched_offer *o)
{
    return o->kind == SCHED_RANGE && o->range.has_owner && o->range.is_owner;
}

static bool is_anothers(const struct sched_offer *o)
{
    if (o->kind == SCHED_STAGE)
        return o->stage.any && !o->stage.more;
    return o->kind == SCHED_RECALL || o->kind == SCHED_COPY ||
           (o->kind == SCHED_RANGE && o->range.has_owner && o->range.owner_live);
}

/* AHEAD-1: may a rig at work have it at all? */
static enum sched_verdict judge_ahead(const struct sched_offer *o, uint64_t now_ms,
                                      uint64_t *wake_ms)
{
    if (o->leases == 0 || (o->kind == SCHED_STAGE && o->stage.mine))
        return SCHED_GRANT;
    if (o->leases > 1)
        return never(wake_ms);
    if (is_own_range(o))
        return SCHED_GRANT;
    return is_anothers(o) ? never(wake_ms)
                          : not_before(o->born_ms + SCHED_GRACE_MIN_MS, now_ms, wake_ms);
}

static enum sched_verdict judge(const struct sched_offer *o, uint64_t now_ms, uint64_t *wake_ms)
{
    switch (o->kind) {
    case SCHED_RANGE:
        EMAC_ASSERT(!o->range.is_owner || o->range.has_owner);
        return judge_range(o, now_ms, wake_ms);
    case SCHED_STATE:
        return o->state.ahead < o->state.wanted
                   ? SCHED_GRANT
                   : not_before(o->state.ahead_until_ms, now_ms, wake_ms);
    case SCHED_STAGE:
        return judge_stage(o, now_ms, wake_ms);
    case SCHED_RECALL: /* AHEAD-2 */
        return judge_end(o->recall.since_ms, o->recall.until_ms, o->recall.expected_ms,
                         o->mine_ms + SCHED_GRACE_MIN_MS, now_ms, wake_ms);
    case SCHED_COPY:
        return judge_end(o->copy.since_ms, o->copy.until_ms, 0,
                         o->mine_ms + sched_grace_ms(o->mine_ms), now_ms, wake_ms);
    }
    EMAC_ASSERT(!"a kind of offer");
    return SCHED_LATER;
}

enum sched_verdict sched_offer_judge(const struct sched_offer *o, uint64_t now_ms,
                                     uint64_t *wake_ms)
{
    EMAC_ASSERT(wake_ms != NULL);
    if (o->room.none && o->room.elsewhere)
        return never(wake_ms);
    enum sched_verdict ahead = judge_ahead(o, now_ms, wake_ms);
    return ahead == SCHED_GRANT ? judge(o, now_ms, wake_ms) : ahead;
}

static int rank(const struct sched_offer *o)
{
    switch (o->kind) {
    case SCHED_RANGE:
        if (o->range.is_owner)
            return 0;
        return !o->range.has_owner || !o->range.owner_live ? 1 : 2;
    case SCHED_STAGE:
        return o->stage.mine && (!o->range.has_owner || o->range.is_owner) ? 0 : 1;
    case SCHED_STATE:
        return 1;
    case SCHED_RECALL:
        return 3;
    case SCHED_COPY:
        break;
    }
    return 4;
}

/* When would asker and owner both be done, if the asker takes this one? */
static uint64_t both_done_ms(const struct sched_offer *o, uint64_t owner_ms)
{
    uint64_t mine = o->asked_ms + o->mine_ms;
    uint64_t rest = owner_ms > o->range.expected_ms ? owner_ms - o->range.expected_ms : 0;
    return mine > rest ? mine : rest;
}

static bool theft_before(const struct sched_offer *a, const struct sched_offer *b)
{
    uint64_t owner_a = a->range.until_ms + a->range.queue_ms;
    uint64_t owner_b = b->range.until_ms + b->range.queue_ms;
    if (owner_a != owner_b)
        return owner_a > owner_b;
    return both_done_ms(a, owner_a) < both_done_ms(b, owner_b);
}

bool sched_offer_before(const struct sched_offer *a, const struct sched_offer *b)
{
    int ra = rank(a), rb = rank(b);
    if (ra != rb)
        return ra < rb;
    bool ranges = a->kind == SCHED_RANGE && b->kind == SCHED_RANGE;
    if (ra == 0 && ranges && a->range.expected_ms != b->range.expected_ms)
        return a->range.expected_ms > b->range.expected_ms;
    if (ra == 2)
        return theft_before(a, b);
    if (a->kind == SCHED_STATE && b->kind == SCHED_STATE && a->mine_ms != b->mine_ms)
        return a->mine_ms < b->mine_ms;
    if (ra == 3)
        return a->recall.until_ms > b->recall.until_ms;
    if (ra == 4)
        return a->copy.until_ms > b->copy.until_ms;
    return a->born_ms < b->born_ms;
}

uint32_t sched_job_next(const double *vtime, const bool *skip, uint32_t count)
{
    uint32_t best = count;
    for (uint32_t i = 0; i < count; i++)
        if (!skip[i] && (best == count || vtime[i] < vtime[best]))
            best = i;
    return best;
}

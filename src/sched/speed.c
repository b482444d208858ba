#include "sched/speed.h"

#include "base/assert.h"

void sched_speed_seed(struct sched_speed *s, double flops_per_s)
{
    s->seed_flops = flops_per_s > SCHED_FLOPS_LEAST ? flops_per_s : SCHED_FLOPS_LEAST;
}

void sched_speed_add(struct sched_speed *s, enum sched_work work, uint64_t flops,
                     uint64_t elapsed_ms)
{
    EMAC_ASSERT((unsigned)work < SCHED_WORK_KINDS);
    if (flops == 0)
        return;
    /* The clock ticks in milliseconds: a shorter task counts as half of one. */
    double seconds = elapsed_ms > 0 ? (double)elapsed_ms / 1000.0 : 0.0005;
    double now = (double)flops / seconds;
    if (s->receipts[work] == 0)
        s->flops[work] = now;
    else
        s->flops[work] += SCHED_EWMA_WEIGHT * (now - s->flops[work]);
    if (s->receipts[work] < UINT32_MAX)
        s->receipts[work]++;
}

double sched_speed_get(const struct sched_speed *s, enum sched_work work)
{
    EMAC_ASSERT((unsigned)work < SCHED_WORK_KINDS);
    double share = work == SCHED_WORK_MATH ? SCHED_MATH_SHARE : SCHED_STATE_SHARE;
    double f = s->receipts[work] > 0 ? s->flops[work] : s->seed_flops * share;
    return f > SCHED_FLOPS_LEAST ? f : SCHED_FLOPS_LEAST;
}

uint64_t sched_expected_ms(const struct sched_speed *s, enum sched_work work, uint64_t flops,
                           uint64_t fetch_bytes)
{
    double compute = (double)flops / sched_speed_get(s, work) * 1000.0;
    double fetch = (double)(fetch_bytes / SCHED_FETCH_BYTES_MS);
    double ms = compute + fetch + SCHED_OVERHEAD_MS;
    const double most = 1e12; /* 30 years: keeps sums of times far from overflow */
    return (uint64_t)(ms < most ? ms : most);
}

uint64_t sched_deadline_ms(uint64_t expected_ms)
{
    uint64_t ms = expected_ms * SCHED_DEADLINE_TIMES;
    return ms > SCHED_DEADLINE_MIN_MS ? ms : SCHED_DEADLINE_MIN_MS;
}

void sched_bucket_init(struct sched_bucket *b, double burst, uint64_t now_ms)
{
    EMAC_ASSERT(burst >= 1);
    b->tokens = burst;
    b->at_ms = now_ms;
}

bool sched_bucket_take(struct sched_bucket *b, double per_s, double burst, uint64_t now_ms,
                       uint64_t *retry_ms)
{
    EMAC_ASSERT(per_s > 0 && burst >= 1);
    if (now_ms > b->at_ms) {
        b->tokens += (double)(now_ms - b->at_ms) * per_s / 1000.0;
        b->at_ms = now_ms;
    }
    if (b->tokens > burst)
        b->tokens = burst;
    if (b->tokens < 1) {
        *retry_ms = (uint64_t)((1 - b->tokens) * 1000.0 / per_s) + 1;
        return false;
    }
    b->tokens -= 1;
    return true;
}

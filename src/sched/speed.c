#include "sched/speed.h"

#include "base/assert.h"

void sched_speed_seed(struct sched_speed *s, double flops_per_s)
{
    s->seed_flops = flops_per_s > SCHED_FLOPS_LEAST ? flops_per_s : SCHED_FLOPS_LEAST;
}

void sched_speed_link(struct sched_speed *s, uint64_t up_bps, uint64_t down_bps)
{
    uint64_t least = up_bps < down_bps ? up_bps : down_bps;
    s->seed_bytes_ms = (double)least / 8000.0;
}

static double pace_get(const struct sched_speed *s)
{
    double seed = s->seed_bytes_ms > 0 ? s->seed_bytes_ms : SCHED_FETCH_BYTES_MS;
    return s->bytes_ms > 0 ? s->bytes_ms : seed;
}

static void mean_move(double *mean, bool first, double now)
{
    *mean = first ? now : *mean + SCHED_EWMA_WEIGHT * (now - *mean);
}

/* What is left of `whole` without `part`: a tenth at least, since expectations err. */
static double rest_of(double whole, double part)
{
    return whole - part > whole / 10 ? whole - part : whole / 10;
}

/* SPEED-1 */
static void speed_move(struct sched_speed *s, enum sched_work work, double flops, double ms)
{
    double before = s->receipts[work] == 0 ? 0 : s->ms[work] * (1 - SCHED_EWMA_WEIGHT);
    s->flops[work] = (s->flops[work] * before + flops * 1000.0) / (before + ms);
    s->ms[work] = before + ms;
    if (s->receipts[work] < UINT32_MAX)
        s->receipts[work]++;
}

static void pace_move(struct sched_speed *s, double pace)
{
    pace = pace > SCHED_FETCH_LEAST ? pace : SCHED_FETCH_LEAST;
    mean_move(&s->bytes_ms, s->bytes_ms <= 0, pace);
}

/* Both times are known (SPEED-2). */
static void add_told(struct sched_speed *s, enum sched_work work, double flops, double bytes,
                     double ms, double run_ms)
{
    double rest = ms - run_ms - SCHED_OVERHEAD_MS;
    if (bytes > 0)
        pace_move(s, bytes / (rest > 1 ? rest : 1));
    if (flops > 0)
        speed_move(s, work, flops, run_ms);
}

void sched_speed_add(struct sched_speed *s, enum sched_work work, uint64_t flops,
                     uint64_t fetch_bytes, uint64_t elapsed_ms, uint64_t run_ms)
{
    EMAC_ASSERT((unsigned)work < SCHED_WORK_KINDS);
    /* The clock ticks in milliseconds: a shorter task counts as half of one. */
    double ms = elapsed_ms > 0 ? (double)elapsed_ms : 0.5;
    double fetch_ms = (double)fetch_bytes / pace_get(s);
    double compute_ms = (double)flops / sched_speed_get(s, work) * 1000.0;
    if (run_ms > 0)
        add_told(s, work, (double)flops, (double)fetch_bytes, ms,
                 run_ms < elapsed_ms ? (double)run_ms : ms);
    else if (fetch_bytes > 0 && fetch_ms > compute_ms)
        pace_move(s, (double)fetch_bytes / rest_of(ms, compute_ms));
    else if (flops > 0)
        speed_move(s, work, (double)flops, rest_of(ms, fetch_ms));
}

void sched_speed_late(struct sched_speed *s, enum sched_work work, uint64_t flops,
                      uint64_t expected_ms, uint64_t elapsed_ms)
{
    EMAC_ASSERT((unsigned)work < SCHED_WORK_KINDS);
    if (elapsed_ms <= expected_ms || flops == 0)
        return;
    if (elapsed_ms - expected_ms > expected_ms / 2)
        s->ms[work] = 0;
    speed_move(s, work, (double)flops, (double)elapsed_ms * 1.5);
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
    double ms = compute + (double)fetch_bytes / pace_get(s) + SCHED_OVERHEAD_MS;
    const double most = 1e12; /* 30 years: keeps sums of times far from overflow */
    return (uint64_t)(ms < most ? ms : most);
}

uint64_t sched_fetch_left(const struct sched_speed *s, uint64_t fetch_bytes, uint64_t overlap_ms)
{
    double came = (double)overlap_ms * pace_get(s);
    return came < (double)fetch_bytes ? fetch_bytes - (uint64_t)came : 0;
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

#include "sched/trust.h"

#include <stddef.h>

#include "base/assert.h"
#include "base/checked.h"

/* x halves every TRUST_HALF_MS; between, the straight line. */
static uint64_t halved(uint64_t x, uint64_t ms)
{
    uint64_t times = ms / TRUST_HALF_MS, rest = ms % TRUST_HALF_MS;
    if (times >= 64)
        return 0;
    x >>= times;
    return x - (uint64_t)((unsigned __int128)x * rest / (2 * TRUST_HALF_MS));
}

struct trust trust_at(const struct trust *t, uint64_t now_ms)
{
    struct trust out = {.at_ms = now_ms};
    if (t == NULL)
        return out;
    uint64_t ms = now_ms > t->at_ms ? now_ms - t->at_ms : 0;
    out.good = halved(t->good, ms);
    out.bad = halved(t->bad, ms);
    if (now_ms < t->at_ms)
        out.at_ms = t->at_ms;
    return out;
}

static uint64_t more(uint64_t x)
{
    return x + 1000 < TRUST_MOST ? x + 1000 : TRUST_MOST;
}

void trust_good(struct trust *t, uint64_t now_ms)
{
    *t = trust_at(t, now_ms);
    t->good = more(t->good);
}

void trust_bad(struct trust *t, bool whole, uint64_t now_ms)
{
    *t = trust_at(t, now_ms);
    t->bad = more(t->bad);
    if (whole)
        t->good = 0;
}

static uint32_t rig_ppm(const struct trust *now)
{
    uint64_t ppm = (uint64_t)TRUST_NEW_PPM * TRUST_HALF_AT / (TRUST_HALF_AT + now->good);
    /* After a fault a rig is new until what is left of the fault counts for little. */
    if (now->bad >= 500)
        ppm = TRUST_NEW_PPM;
    return ppm > TRUST_FLOOR_PPM ? (uint32_t)ppm : TRUST_FLOOR_PPM;
}

static uint32_t kind_ppm(const struct trust *now)
{
    uint64_t all = now->good + now->bad + TRUST_KIND_PRIOR;
    unsigned __int128 ppm = (unsigned __int128)now->bad * TRUST_KIND_TIMES * TRUST_PPM / all;
    return ppm < TRUST_PPM ? (uint32_t)ppm : TRUST_PPM;
}

int64_t trust_cost_units(int64_t price_units)
{
    int64_t units;
    EMAC_ASSERT(price_units >= 0);
    return emac_mul_i64(price_units, TRUST_COST_TIMES, &units) ? units : INT64_MAX;
}

static uint32_t stake_ppm(const struct trust_case *c)
{
    int64_t cost = trust_cost_units(c->price_units);
    unsigned __int128 gain = (unsigned __int128)(uint64_t)c->price_units * TRUST_MARGIN;
    unsigned __int128 all =
        gain + (uint64_t)c->held_units + (uint64_t)(c->bond_units < cost ? c->bond_units : cost);
    return gain == 0 ? 0 : (uint32_t)((gain * TRUST_PPM + all - 1) / all);
}

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

uint32_t trust_share_ppm(const struct trust_case *c)
{
    EMAC_ASSERT(c->held_units >= 0 && c->bond_units >= 0 && c->price_units >= 0 &&
                c->job_ppm <= TRUST_PPM);
    struct trust rig = trust_at(c->rig, c->now_ms), device = trust_at(c->device, c->now_ms),
                 driver = trust_at(c->driver, c->now_ms);
    if (c->job_ppm == 0)
        return 0;
    uint32_t ppm = larger(c->job_ppm, rig_ppm(&rig));
    ppm = larger(ppm, larger(kind_ppm(&device), kind_ppm(&driver)));
    ppm = larger(ppm, stake_ppm(c));
    EMAC_ASSERT(ppm <= TRUST_PPM && ppm >= TRUST_FLOOR_PPM); /* TRUST-1, TRUST-2 */
    return ppm;
}

uint32_t trust_ppm_of(double share)
{
    if (!(share > 0))
        return 0;
    if (share >= 1)
        return TRUST_PPM;
    double exact = share * TRUST_PPM;
    uint32_t ppm = (uint32_t)exact;
    return ppm + ((double)ppm < exact);
}

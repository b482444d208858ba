/* What checking costs: bench_verify [SEED] simulates a network of honest rigs day by day with the
 * real policy (sched/trust.h, sched/draw.h): each result's lot is drawn, checks and planted tasks
 * are executed, rigs earn trust and pay, pay is held for a window. Prints, as one line, the share
 * of all flops that were not the first execution of a task: in the first day, and at the steady
 * state, the mean of the last ten days; then how many results each was. */
#include <inttypes.h>

#include "base/philox.h"
#include "bench.h"
#include "sched/draw.h"
#include "sched/trust.h"

#define RIGS      200
#define DAYS      30
#define LAST_DAYS 10
#define TASKS_DAY 1440   /* of a rig: one a minute */
#define CHURN_PPM 10000u /* of the rigs leave on a day, for new ones to come */
#define DAY_MS    UINT64_C(86400000)
#define SIZES     8 /* tasks are 1 to 8 units of work, which are also their price */

struct rig {
    struct trust trust;
    int64_t held; /* pay of the last day, STAND-1 with a window of a day */
    int64_t day;  /* of this day so far */
};

struct sum {
    uint64_t first, more, results;
};

static uint64_t seed, drawn;

static uint64_t draw(uint64_t bound)
{
    return philox_below(seed, PHILOX_TEST, 0, drawn++, bound);
}

static void one(struct rig *rig, struct rig *all, uint64_t now_ms, struct sum *s)
{
    static uint8_t secret[DRAW_SECRET];
    uint8_t lot[SHA256_BYTES];
    uint64_t number = drawn;
    struct cid receipt = {.codec = CID_DAG_CBOR};
    int64_t size = (int64_t)draw(SIZES) + 1;
    const struct trust_case x = {.job_ppm = 10000,
                                 .rig = &rig->trust,
                                 .held_units = rig->held + rig->day,
                                 .price_units = size,
                                 .now_ms = now_ms};
    memcpy(receipt.digest, &number, sizeof(number));
    memcpy(secret, &seed, sizeof(seed));
    draw_seed(lot, secret, &receipt, &receipt);
    s->first += (uint64_t)size;
    s->results++;
    if (draw_checked(lot, trust_share_ppm(&x))) {
        struct rig *checker = &all[draw(RIGS)];
        trust_good(&rig->trust, now_ms);
        checker->day += size;
        s->more += (uint64_t)size;
        if (draw_planted(lot)) {
            struct rig *third = &all[draw(RIGS)];
            trust_good(&third->trust, now_ms);
            third->day += size;
            s->more += (uint64_t)size;
        }
    }
    rig->day += size;
}

static void day(struct rig *all, uint64_t number, struct sum *s)
{
    for (uint32_t i = 0; i < RIGS; i++) {
        all[i].held = all[i].day;
        all[i].day = 0;
        if (number > 0 && draw(TRUST_PPM) < CHURN_PPM)
            all[i] = (struct rig){.held = 0};
    }
    for (uint32_t k = 0; k < TASKS_DAY; k++)
        for (uint32_t i = 0; i < RIGS; i++)
            one(&all[i], all, number * DAY_MS + k * (DAY_MS / TASKS_DAY), s);
}

static double share(const struct sum *s)
{
    return (double)s->more / (double)(s->first + s->more);
}

int main(int argc, char **argv)
{
    static struct rig all[RIGS];
    struct sum first = {0}, steady = {0}, other = {0};
    seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    for (uint64_t d = 0; d < DAYS; d++)
        day(all, d, d == 0 ? &first : d >= DAYS - LAST_DAYS ? &steady : &other);
    printf("%.5f %.5f %" PRIu64 " %" PRIu64 "\n", share(&first), share(&steady), first.results,
           steady.results);
    return 0;
}

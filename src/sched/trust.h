/* Whom to believe how much, and how often a result is therefore computed a second time. Pure
 * functions of plain facts, integers only: the same history gives the same decisions anywhere.
 *
 * A comparison is a result that the lot picked after it was delivered, or a planted task, and that
 * another rig's equals. Comparisons are kept in thousandths and halve every TRUST_HALF_MS: trust
 * has to be earned again and again. One lost dispute takes all of it.
 *
 * How often a rig's result is checked is the largest of four shares, in millionths:
 *   the job's       policy.check. 0 checks nothing at all: its owner trusts the rigs
 *   the rig's       TRUST_NEW_PPM for a rig without comparisons, half of it after TRUST_HALF_AT,
 *                   down to TRUST_FLOOR_PPM
 *   its kind's      ten times the share of bad results of its device, and of its driver
 *   the stake's     so that a lie does not pay: with g the task's price, S what the rig loses when
 *                   it is found out and p the share, p S >= TRUST_MARGIN (1 - p) g, hence
 *                   p = M g / (S + M g). A rig with nothing to lose is checked always.
 *
 * A liar who blames his card when he is asked again cannot be told from one whose card is to blame,
 * and so keeps his bond but for what the error cost others: TRUST_COST_TIMES the task's price. S is
 * what he loses, not what an obstinate liar does: its pay that is not settled, and of its bond
 * min(bond, TRUST_COST_TIMES g).
 *
 * TRUST-1  A share is at most 1000000, and 0 only for a job that asks for none.
 * TRUST-2  While a job asks for checks, no share is below TRUST_FLOOR_PPM, none of a rig without
 *          comparisons below TRUST_NEW_PPM, and none below what makes a lie lose money.
 * TRUST-3  A comparison never raises a rig's share; a bad result never lowers one.
 *
 * The cost: with p the floor, 1 in TRUST_PLANT_EVERY agreeing checks followed by a planted task,
 * executions beyond the first are p (1 + 1/25) / (1 + p (1 + 1/25)) = 4.94 % of all; what new
 * rigs cost beside that, bench/verify.c measures. */
#ifndef EMAC_SCHED_TRUST_H
#define EMAC_SCHED_TRUST_H

#include <stdbool.h>
#include <stdint.h>

#define TRUST_PPM         1000000u
#define TRUST_NEW_PPM     200000u
#define TRUST_FLOOR_PPM   50000u
#define TRUST_HALF_AT     8000u                      /* thousandths of comparisons */
#define TRUST_HALF_MS     (UINT64_C(30) * 86400000u) /* 30 days */
#define TRUST_MOST        (UINT64_C(1) << 40)        /* thousandths: more is not counted */
#define TRUST_KIND_PRIOR  100000u /* thousandths of comparisons that any kind of device has free */
#define TRUST_KIND_TIMES  10u
#define TRUST_MARGIN      2u
#define TRUST_COST_TIMES  2u /* executions by others that an error brings about */
#define TRUST_PLANT_EVERY 25u

/* Of a rig, a kind of device, or a driver. All zero: nothing is known. */
struct trust {
    uint64_t good, bad; /* thousandths of comparisons, as they counted at at_ms */
    uint64_t at_ms;     /* wall clock */
};

/* What is left of it at now_ms. A clock that goes backwards leaves it as it was. */
struct trust trust_at(const struct trust *t, uint64_t now_ms);
/* A comparison came out equal. */
void trust_good(struct trust *t, uint64_t now_ms);
/* A dispute was lost. `whole`: of the rig, that loses all its good; kinds keep theirs. */
void trust_bad(struct trust *t, bool whole, uint64_t now_ms);

struct trust_case {
    uint32_t job_ppm;        /* policy.check */
    const struct trust *rig; /* NULL: nothing is known, like the two below */
    const struct trust *device, *driver;
    int64_t held_units;  /* >= 0: pay that is not settled, without this task's */
    int64_t bond_units;  /* >= 0 */
    int64_t price_units; /* >= 0: of the task */
    uint64_t now_ms;
};
/* The share of its results that is checked. */
uint32_t trust_share_ppm(const struct trust_case *c);

/* What an error in a task of this price costs the rig beside unsettled pay, if it has as much. */
int64_t trust_cost_units(int64_t price_units);

/* policy.check as millionths, rounded up: what a job asks for is not rounded away. */
uint32_t trust_ppm_of(double share);

#endif

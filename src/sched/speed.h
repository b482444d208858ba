/* How fast a rig is, by what it delivered, and how long a task may take.
 *
 * A rig's speed is flops over time of its accepted receipts, on the coordinator's
 * clock from lease to receipt, each receipt counting for 0.7 of the one after it,
 * for each kind of work by itself: a gradient is bound by arithmetic, an optimiser
 * step by memory.
 * SPEED-1  A receipt weighs as much as its task is long. For asking and answering
 *          are a large part of a short task, and shares are made of long ones.
 * Until a kind was measured the admission challenge stands in. So is the pace of
 * its transfers, in bytes/ms.
 * SPEED-2  A receipt says how long the rig was at the task itself; the rest, up to
 *          what our clock says, is transfers and SCHED_OVERHEAD_MS. Without such a
 *          word one time stands for both, and teaches the one that was expected to
 *          take longer, with the other's expected time taken off. (Whoever says
 *          less than it was gets shares that he is late with, and loses them.)
 * Pure functions; times are milliseconds. */
#ifndef EMAC_SCHED_SPEED_H
#define EMAC_SCHED_SPEED_H

#include <stdbool.h>
#include <stdint.h>

enum sched_work { SCHED_WORK_MATH, SCHED_WORK_STATE, SCHED_WORK_KINDS };

#define SCHED_EWMA_WEIGHT     0.3  /* of the newest receipt, among equals */
#define SCHED_STATE_SHARE     0.02 /* flops/s of an optimiser step against GEMM's, until measured */
#define SCHED_MATH_SHARE      0.5  /* of a whole model's gradient against GEMM's, until measured */
#define SCHED_FLOPS_LEAST     1e6  /* no rig is taken for slower */
#define SCHED_OVERHEAD_MS     20   /* asking, answering, hashing */
#define SCHED_FETCH_BYTES_MS  10000 /* until measured: a home line of 80 Mbit/s */
#define SCHED_FETCH_LEAST     10    /* bytes a millisecond; no line is taken for slower */
#define SCHED_DEADLINE_MIN_MS 5000
#define SCHED_DEADLINE_TIMES  4

struct sched_speed {
    double seed_flops;                   /* flops/s of the admission challenge */
    double flops[SCHED_WORK_KINDS];      /* mean; 0: not measured */
    uint32_t receipts[SCHED_WORK_KINDS]; /* how many went in */
    double bytes_ms;                     /* mean pace of transfers; 0: not measured */
    double seed_bytes_ms;                /* of the link as its owner set it; 0: not told */
    double ms[SCHED_WORK_KINDS];         /* the time that the mean is of */
};

void sched_speed_seed(struct sched_speed *s, double flops_per_s);
/* The link as the rig's owner set it, bits a second; 0: not told. Until transfers were measured the
 * slower way stands in, for what comes from a rig like this one comes out of its slower way. */
void sched_speed_link(struct sched_speed *s, uint64_t up_bps, uint64_t down_bps);
/* A task of so many flops, for which fetch_bytes had to be fetched, took elapsed_ms, and the rig
 * says that it was at it for run_ms; 0: it does not say. */
void sched_speed_add(struct sched_speed *s, enum sched_work work, uint64_t flops,
                     uint64_t fetch_bytes, uint64_t elapsed_ms, uint64_t run_ms);
/* SPEED-3  A task that was taken back unfinished after elapsed_ms, longer than the expected_ms,
 *          tells of a rig that slowed: it is taken to have needed half as long again (as
 *          sched_end_ms has it), and if it was late by half, what was known before is forgotten. A
 *          task that was in time tells nothing. */
void sched_speed_late(struct sched_speed *s, enum sched_work work, uint64_t flops,
                      uint64_t expected_ms, uint64_t elapsed_ms);
/* flops/s to plan with; at least SCHED_FLOPS_LEAST */
double sched_speed_get(const struct sched_speed *s, enum sched_work work);
/* Expected duration; fetch_bytes: inputs that the rig does not hold yet. */
uint64_t sched_expected_ms(const struct sched_speed *s, enum sched_work work, uint64_t flops,
                           uint64_t fetch_bytes);
/* Of fetch_bytes, what is left to be fetched after overlap_ms in which the rig did other work. */
uint64_t sched_fetch_left(const struct sched_speed *s, uint64_t fetch_bytes, uint64_t overlap_ms);
/* After this long the task is given to another rig too: max(5 s, 4 times expected). */
uint64_t sched_deadline_ms(uint64_t expected_ms);

/* A token bucket: `per_s` requests a second with bursts of `burst`. Starts full. */
struct sched_bucket {
    double tokens;
    uint64_t at_ms;
};
void sched_bucket_init(struct sched_bucket *b, double burst, uint64_t now_ms);
/* False when empty; *retry_ms is then when one will be there. */
bool sched_bucket_take(struct sched_bucket *b, double per_s, double burst, uint64_t now_ms,
                       uint64_t *retry_ms);

#endif

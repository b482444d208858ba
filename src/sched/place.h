/* Placement: may this rig have this task now? Pure functions over plain facts;
 * all times are milliseconds on one monotonic clock.
 *
 * Gradients: a range is sized for one rig (its owner) and kept for it while the
 * owner lives; from the moment it could begin (the task's birth, or the expected
 * end of what it does now) it has half the task's expected duration, at least
 * 300 ms; then any idle rig may take the range. An owner that runs past
 * its expected end, or is gone, loses the claim at once.
 * Optimiser steps: rigs that hold the state first; others after 200 ms, or at
 * once when nobody alive holds it.
 * Stages: a rig that holds the stage keeps it, the owner first if it is one. Others get the task
 * when nobody alive holds it, fewer do than may, or all who do run past their expected end. */
#ifndef EMAC_SCHED_PLACE_H
#define EMAC_SCHED_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#define SCHED_GRACE_MIN_MS 300
#define SCHED_STATE_MS     200
#define SCHED_STAGE_GRACE  10 /* times the grace of a range: a stage is dear to move */

enum sched_verdict {
    SCHED_GRANT,
    SCHED_LATER, /* *wake_ms says when to ask again */
};

struct sched_offer {
    uint64_t born_ms;     /* since when the task can be had */
    uint64_t expected_ms; /* on its owner (ranges) */
    bool for_state;       /* an optimiser step or the like: state decides */
    /* ranges */
    bool has_owner;
    bool is_owner; /* the asking rig is the owner */
    bool owner_live;
    uint64_t owner_busy_until_ms; /* expected end of its lease on something else; 0: idle */
    /* state */
    bool holds_state;              /* the asking rig does */
    bool any_holder;               /* some live rig does */
    bool staged;                   /* who holds it keeps it */
    bool more_holders;             /* staged: fewer rigs hold it than may */
    uint64_t holder_busy_until_ms; /* staged: when the first of the holders is expected to be free;
                                      0: one is idle */
};

enum sched_verdict sched_offer_judge(const struct sched_offer *o, uint64_t now_ms,
                                     uint64_t *wake_ms);
/* Of two offers that may be granted: does `a` come before `b`? One's own range first, then
 * orphans and state, then what is stolen; among equals the older. */
bool sched_offer_before(const struct sched_offer *a, const struct sched_offer *b);
uint64_t sched_grace_ms(uint64_t expected_ms);

/* Fair shares of rigs among jobs: virtual time (flops granted so far). Index of the job with the
 * least that is not marked in `skip`; `count` when none is left. */
uint32_t sched_job_next(const double *vtime, const bool *skip, uint32_t count);

#endif

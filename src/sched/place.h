/* Placement: may this rig have this task now? Pure functions over plain facts (sched/offers.h
 * gathers them); all times are milliseconds on one monotonic clock.
 *
 * Ranges: a range is sized for one rig (its owner; SHARE-1 of work/tree.h) and is its owner's
 * first. It goes to another
 * when its owner is gone; when its owner is idle and does not come for it within half the range's
 * expected duration, at least 300 ms; and, so that a round ends early, when its owner is busy and
 * the asking rig would be done with it before the owner is with all that is its own: of the owner
 * that is the furthest behind, what lets both be done soonest. Owners begin with their largest
 * range, so that what is left at the end of a round is small.
 * State (an optimiser step and its like): as many rigs as are wanted for all such tasks, those that
 * are expected to be done first. What a rig would have to fetch counts only by a share, for state
 * that moves to a faster rig stays there; so state moves when that pays within SCHED_STATE_ROUNDS
 * rounds. The others wait for them for 200 ms.
 * Stages: a rig that holds the stage keeps it, the owner first if it is one. Others get the task
 * when nobody alive holds it, fewer do than may, or all who do run past their expected end.
 * ROOM-1  A rig that has not the stage gets its init, or takes it over, only if it has room for
 *         what it would keep then: the states of all stages of the job that it holds or will make,
 *         and once more what moves of the one that moves most, for that is there twice while a step
 *         is made. Else it would let go of one, and the job begin again. Where no live rig that
 *         could have it has room, all may: nothing waits for ever.
 * A rig at work asks too, so that its link and its device work at the same time:
 * AHEAD-1  It gets what is meant for it: its own stages (SCHED_AHEAD_TASKS beside what it works at
 *          are what a rig asks for), one range of its own, since ranges of a round share their
 *          inputs. What is nobody's (checks, state, orphans) it gets when no idle rig came for it
 *          within SCHED_GRACE_MIN_MS; another's range, or a copy, never.
 * AHEAD-2  It does not sit on what an idle rig could begin now: a lease that its holder has not
 *          begun (SCHED_RECALL) goes to an idle rig that would be done with it first. The holder
 *          hears of it with its next heartbeat; should it answer nonetheless, the first answer
 *          counts and is paid, as with copies.
 * AHEAD-3  A lease begins when the one before it has ended; its deadline, its expected end and what
 *          it tells of the rig's speed count from then.
 * Copies: when nothing else is to be had and the asking rig would be done well before the rigs that
 * run a task, it runs it too. The first answer counts.
 * Of a range of more than one micro-batch there is no copy:
 * CUT-1  When all who have nothing to do would together be done with it well before its rig, it is
 *        laid out anew: its micro-batches are shared out by SHARE-1, where its rig counts as busy
 *        until it is expected to be done. Whoever is first counts, its rig or all the others.
 * CUT-2  What accepted results cover is wanted no more: leases of it are taken back, unpaid.
 * A rig past its expected end is taken to need half as long again as it took so far: who slows down
 * or stalls is soon overtaken, who is a little late is not. */
#ifndef EMAC_SCHED_PLACE_H
#define EMAC_SCHED_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#define SCHED_GRACE_MIN_MS 300
#define SCHED_STATE_MS     200
#define SCHED_STATE_ROUNDS 8
#define SCHED_AHEAD_TASKS  2     /* that a rig takes in while it computes */
#define SCHED_FETCH_TASKS  2     /* of them, whose inputs are on their way at a time */
#define SCHED_STAGE_MS     10000 /* a stage is dear to move: so late must its holder be */

enum sched_verdict {
    SCHED_GRANT,
    SCHED_LATER, /* *wake_ms says when to ask again */
};

enum sched_kind { SCHED_RANGE, SCHED_STATE, SCHED_STAGE, SCHED_RECALL, SCHED_COPY };

struct sched_offer {
    enum sched_kind kind;
    uint64_t born_ms;  /* since when the task can be had */
    uint64_t asked_ms; /* now */
    /* How long until the asking rig would be done: what it has to do already, transfers, work. */
    uint64_t mine_ms;
    uint32_t leases; /* that the asking rig holds already */
    struct {
        bool has_owner, is_owner, owner_live; /* is_owner: the asking rig is */
        uint64_t expected_ms;                 /* with its owner */
        uint64_t since_ms, until_ms; /* what its owner does now: begun, expected end; 0: idle */
        uint64_t queue_ms;           /* all that waits for its owner, with it */
    } range;                         /* of stages, too */
    struct {
        uint32_t wanted; /* executions of this and of other such tasks that are to be begun */
        uint32_t ahead;  /* live rigs that would be done before the asking one */
        uint64_t ahead_until_ms; /* how long those have the first word */
    } state;
    struct {
        bool mine;         /* the asking rig holds it */
        bool any, more;    /* some live rig does; fewer do than may */
        uint64_t until_ms; /* when the first of those is expected to be free */
    } stage;
    struct {
        uint64_t since_ms, until_ms; /* of the lease that is expected to end first */
    } copy;
    struct {
        uint64_t since_ms, until_ms; /* what its holder does before it */
        uint64_t expected_ms;        /* with its holder */
    } recall;
    struct {
        bool none, elsewhere; /* the asking rig has none for its stage; another live one has */
    } room;                   /* ROOM-1 */
};

enum sched_verdict sched_offer_judge(const struct sched_offer *o, uint64_t now_ms,
                                     uint64_t *wake_ms);
/* A rig's leases as one piece of work: from the beginning of the oldest. */
struct sched_busy {
    bool any;
    uint64_t since_ms, until_ms;
};
/* How long it will be busy with that, seen from now. */
uint64_t sched_busy_ms(const struct sched_busy *b, uint64_t now_ms);
/* Of two offers that may be granted: does `a`, which was looked at after `b`, come before it?
 * One's own ranges first, then orphans and state (what takes this rig least), then what is taken
 * from others, what they have not begun, copies; among equals the older. */
bool sched_offer_before(const struct sched_offer *a, const struct sched_offer *b);
/* Bytes of stages: what a rig keeps of them, and of that what each step makes anew, of the one of
 * which it is most. */
struct sched_stage {
    uint64_t all, moves;
};
/* What a rig would have to keep that takes one stage more (ROOM-1). */
uint64_t sched_keeps(const struct sched_stage *has, const struct sched_stage *more);
uint64_t sched_grace_ms(uint64_t expected_ms);
/* When a task that was begun at granted_ms is expected to end, seen from now. */
uint64_t sched_end_ms(uint64_t granted_ms, uint64_t expected_ms, uint64_t now_ms);

/* Fair shares of rigs among jobs: virtual time (flops granted so far). Index of the job with the
 * least that is not marked in `skip`; `count` when none is left. */
uint32_t sched_job_next(const double *vtime, const bool *skip, uint32_t count);

#endif

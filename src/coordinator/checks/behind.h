/* Checks of rounds that are over. A check is due from the moment its lot was drawn, in the
 * transaction that accepts the result, until another rig has answered; a copy that was asked for is
 * one as well, and so is a planted answer. Rounds may last milliseconds, a check may be with a rig
 * that stalls: so that none is overtaken,
 *
 * BEHIND-1  No work of a round is handed out, checks apart, while a check of a round more than
 *           CHECKS_BEHIND_MAX before it is due. Rounds of seconds seldom come so far: checks go
 *           before other work.
 *
 * BEHIND-2  What is made and used from the oldest round with a due check on is kept by its rigs
 *           ("keep" of a lease, INV-1 of node/agent.h), that is for CHECKS_BEHIND_MAX + 2 rounds at
 *           most and while it fits; who made what is known as long (node_round), and read from the
 *           rows by a process that starts.
 *
 * BEHIND-3  Where what it takes is gone nonetheless (its rigs left, or lied about it) a check does
 *           not lapse: the result counts no more, nor does what came of it, until it was made
 *           again. What is lost of its inputs is made before (jobs/lost.c). If it is the same then
 *           all that came of it counts at once (COORD-5); if it is not, it is in dispute.
 *
 * BEHIND-4  A check lapses when no rig could make it for check_lapse_ms: none that is there, asks
 *           for work, has not answered the task, and has not refused it for good. That is so where
 *           there is one rig alone. A check that nobody could make when BEHIND-1 came to it is
 *           spared: it is not waited for, and lapses when what it takes is gone; so does one of a
 *           paused job. What comes after two that agree (a third copy, a planted answer) is left
 *           out then, and not counted as lapsed.
 *
 * BEHIND-5  The job does not end before (COORD-6).
 *
 * There is no dead-lock: what is waited for is with a rig, whose lease has an end, or can be had by
 * one that asks; a check needs nothing of the round that waits for it. */
#ifndef EMAC_COORDINATOR_BEHIND_H
#define EMAC_COORDINATOR_BEHIND_H

#include "coordinator/state.h"

#define CHECKS_BEHIND_MAX 8
#define CHECK_TRIES_MAX   3 /* failures of a rig at a check until it is not asked again */

/* The task is accepted and wants votes. */
bool check_is_due(const struct ctask *t);
/* Did it fail so often that it is not asked again? What it could not fetch is not its fault. */
bool check_refused(const struct refusal *r);
/* BEHIND-1: nothing but checks of this job is handed out now. */
bool behind_waits(struct coordinator *c, struct cjob *j);
/* Wake who waits for that, once it is over. */
void behind_lift(struct coordinator *c, struct cjob *j);
/* BEHIND-2: what was made or used from this round on is kept. */
uint32_t behind_keep(const struct cjob *j);
/* Of a due check that nobody is at: lapse or make again what must. False: t is no longer, or the
 * whole of j was read again. */
bool behind_tick(struct coordinator *c, struct cjob *j, struct ctask *t, uint64_t now);

#endif

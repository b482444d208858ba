/* Checks of rounds that are over. A check is due from the moment its lot was drawn, in the
 * transaction that accepts the result, until another rig has answered; a copy that was asked for is
 * one as well, and so is a planted answer. Rounds may last milliseconds, a check may be with a rig
 * that stalls: so that none is overtaken,
 *
 * BEHIND-1  No work of a round is handed out, checks apart, while a check of a round more than
 *           CHECKS_BEHIND_MAX before it is due. Rounds of seconds seldom come so far: checks go
 *           before other work.
 *
 * BEHIND-2  What is made and used from the oldest round with a check that is waited for on is kept
 *           by its rigs ("keep" of a lease, INV-1 of node/agent.h), that is for CHECKS_BEHIND_MAX
 *           + 2 rounds at most and while it fits; who made what is known as long (node_round), and
 *           read from the rows by a process that starts.
 *
 * BEHIND-3  The wait has an end: after check_wait_ms of it a check is spared, which is not waited
 *           for again, and each that was waited for in vain halves the patience of its job with
 *           the next; one that is answered restores it. So all waits in vain in a row take twice
 *           check_wait_ms at most, whatever rigs do. Spared at once is a check for which, at the
 *           first look and all the time before, no rig was there.
 *
 * BEHIND-4  A check lapses when for check_lapse_ms no rig could make it (none that is there, asks
 *           for work, has not answered the task, and has not refused it for good), or what it
 *           takes was nowhere. What comes after two that agree (a third copy, a planted answer) is
 *           left out at once then, and not counted as lapsed.
 *
 * BEHIND-5  The job does not end before (COORD-6). */
#ifndef EMAC_COORDINATOR_BEHIND_H
#define EMAC_COORDINATOR_BEHIND_H

#include "coordinator/state.h"

#define CHECKS_BEHIND_MAX 8
#define CHECK_TRIES_MAX   3  /* failures of a rig at a check until it is not asked again */
#define CHECK_FETCHES_MAX 12 /* the same, when it was what it could not fetch */

/* The task is accepted and wants votes. */
bool check_is_due(const struct ctask *t);
/* Did it fail so often that it is not asked again? */
bool check_refused(const struct refusal *r);
/* Could this rig answer it still? It is live, and has neither answered nor refused for good. One
 * that waits to try again could. */
bool check_open_to(struct coordinator *c, const struct ctask *t, const struct node *n,
                   uint64_t now);
/* BEHIND-1: nothing but checks of this job is handed out now. */
bool behind_waits(struct coordinator *c, struct cjob *j);
/* t has one more vote. */
void behind_answered(struct cjob *j, const struct ctask *t);
/* Wake who waits for that, once it is over. */
void behind_lift(struct coordinator *c, struct cjob *j);
/* BEHIND-2: what was made or used from this round on is kept. */
uint32_t behind_keep(const struct cjob *j);
/* Of a due check that nobody is at: lapse when it must, after which t may be no longer. */
void behind_tick(struct coordinator *c, struct cjob *j, struct ctask *t, uint64_t now);

#endif

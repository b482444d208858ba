/* Disputes between rigs (work/dispute.h): who is asked what, what was answered,
 * and what follows. The answers are the state: memory is built from them anew
 * (COORD: the database is the truth), and anybody can read and check them.
 *
 * Rows of table disputes, one at a time for a task whose receipts differ:
 *   waiting -> open      two of its rigs that differ, neither of them in another dispute, are asked
 *           -> settled   its receipts no longer differ
 *   open    -> decided   somebody lost: FAULTY and SILENT rigs are quarantined, a LIAR is punished
 *           -> settled   a side was quarantined for something else
 *           -> lapsed    the job ended, or it cannot be judged: then a majority of receipts decides
 * After decided and settled the task waits again until its receipts agree.
 *
 * DISP-1  Nobody is quarantined for a receipt that differs before its own second run, a judge, or
 *         its silence past the deadline says so; where a dispute lapses the majority does.
 * DISP-2  A job does not succeed while a dispute of it waits or is open (COORD-6).
 * DISP-3  An answer that was taken is in the database before it has an effect.
 *
 * Without a judge (coordinator_config.judge) there are no disputes: a majority decides. */
#ifndef EMAC_COORDINATOR_DISPUTES_H
#define EMAC_COORDINATOR_DISPUTES_H

#include <jansson.h>

#include "coordinator/state.h"
#include "http/server.h"
#include "work/dispute.h"

#define DISPUTES_OPEN_MAX 256
#define DISPUTE_TASK_TIMES                                                                         \
    20 /* a stage may take so many times what the task is expected to, beside                      \
        * coordinator_config.dispute_ms */

extern const char DISPUTES_SCHEMA[];

/* An open one. */
struct cdispute {
    char id[LEASE_ID_MAX], job[JOB_ID_MAX], slot[SLOT_MAX];
    char did[2][DID_KEY_MAX];
    uint32_t round;
    struct cid cid; /* of the task */
    struct task task;
    uint8_t *object; /* its dag-cbor */
    size_t object_len;
    struct dispute d;
    struct dispute_answer open[2]; /* what may be judged */
    uint64_t deadline_at, patience_ms;
    uint64_t asked_ms[2];
    int64_t seq; /* answers in the database */
    bool judging;
};

struct disputes {
    struct cdispute *item[DISPUTES_OPEN_MAX];
    uint32_t count;
    int64_t waiting;
    bool dirty; /* rows changed: read them again */
    bool judges;
    struct os_thread judge;
};

/* At start, with the database open; the judge's thread starts, too. */
enum emac_status disputes_start(struct coordinator *c, struct emac_err *err);
/* Without the lock; c->stopping is set. */
void disputes_stop(struct coordinator *c);
void disputes_free(struct coordinator *c);

/* ---- under the lock ---- */
/* In tx: receipts of this task differ. Where one waits or is open already nothing happens. */
enum emac_status disputes_note(struct coordinator *c, const struct cjob *j, const struct ctask *t,
                               struct emac_err *err);
/* Does a dispute of the job wait, or run? */
bool disputes_hold(struct coordinator *c, const char *job);
/* What this rig is asked next, as the answer of its poll; NULL: nothing. */
json_t *disputes_take(struct coordinator *c, struct node *n, const char *base_url);
void disputes_tick(struct coordinator *c);
/* GET /v1/jobs/{id}/disputes, GET /v1/disputes/{id}, POST /v1/disputes/{id} */
http_handler job_disputes_get, dispute_get, dispute_post;

/* ---- disputes_rows.c: the table ---- */
/* Read the open ones again, and count those that wait. */
enum emac_status dispute_rows_load(struct coordinator *c, struct emac_err *err);
/* In tx. */
enum emac_status dispute_row_wait(struct coordinator *c, const char *job, const struct cid *task,
                                  uint64_t patience_ms, struct emac_err *err);
enum emac_status dispute_row_end(struct coordinator *c, const struct cdispute *x, const char *state,
                                 const char *reason, struct emac_err *err);
enum emac_status dispute_row_answer(struct coordinator *c, const struct cdispute *x, uint32_t side,
                                    enum dispute_stage kind, struct emac_slice object,
                                    struct emac_slice signature, uint64_t deadline_at,
                                    struct emac_err *err);
/* Open what waits and can be opened, settle what no longer differs; own transactions. */
enum emac_status dispute_rows_promote(struct coordinator *c, struct emac_err *err);
void cdispute_free(struct cdispute *x);

/* ---- disputes.c, for disputes_api.c ---- */
struct cdispute *dispute_find(struct coordinator *c, const char *id); /* open; NULL */
/* The machine is done: rows, punishment, and what follows; own transaction. x is gone after it. */
enum emac_status dispute_decide(struct coordinator *c, struct cdispute *x, struct emac_err *err);
/* It cannot go on: the majority decides; own transaction. x is gone after it. */
enum emac_status dispute_lapse(struct coordinator *c, struct cdispute *x, const char *why,
                               struct emac_err *err);

#endif

/* A lease on its way through the rig: intake (lease.c) -> queue, bringer (ahead.c) ->
 * worker (worker.c) -> courier (outbox.c). Nothing outside src/node includes this; agent_internal.h
 * says which thread may touch what. */
#ifndef EMAC_NODE_LEASED_H
#define EMAC_NODE_LEASED_H

#include <jansson.h>

#include "node/agent.h"
#include "node/exec.h"
#include "sched/place.h"

#define NODE_LEASE_MAX   40
#define NODE_JOB_MAX     64
#define NODE_SLOT_MAX    64
#define NODE_MISSING_MAX 64
#define NODE_OUTBOX_MAX  2 /* receipts not answered; with so many no task is begun */
/* Taken in, ready, under way, in the outbox; requests for text that wait, the next one, those that
 * are answered and those whose last words are on their way. */
#define NODE_LEASES_MAX  (1 + SCHED_AHEAD_TASKS + 1 + NODE_OUTBOX_MAX + 4 * NODE_SLOTS_MAX + 1)

struct node;

/* LEASED_DISPUTE is no lease: nothing to keep alive, or to cancel. */
enum leased_kind { LEASED_TASK, LEASED_SERVE, LEASED_DISPUTE };

/* Of a lease in the queue: nobody has brought its inputs yet; a bringer is at it; they are here, or
 * there is nothing to bring, or not before its turn. */
enum leased_inputs { INPUTS_WAIT, INPUTS_COMING, INPUTS_DONE };

/* A lease from the poll that brought it to the end of its task. */
struct leased {
    json_t *reply; /* owned; lease, job and slot are borrowed from it */
    const char *lease, *job, *slot;
    enum leased_kind kind;
    bool fetched;
    bool answered; /* its receipt is in the outbox, to which its place among ours belongs now */
    uint64_t round, keep; /* keep: rounds from this one on are wanted still (INV-1) */
    uint64_t bytes;       /* inputs that the coordinator thinks are not here; 0: unknown or none */
    uint64_t fetch_ns;
    struct cid cid;
    struct task task;
    const struct store_value **input; /* held, and counted in retained.tasks, once fetched */
    size_t input_count;
    struct cid suspect;                   /* the input that made it fail; none: no input did */
    struct cid missing[NODE_MISSING_MAX]; /* under lock */
    uint32_t missing_count;
    enum leased_inputs inputs; /* under lock, while it is in the queue */
    bool brings_state;         /* an input that is not here is of the job's state */
};

/* A finished task whose receipt is not answered yet (INV-2). */
struct outbox {
    struct outbox *next;
    json_t *message;
    char lease[NODE_LEASE_MAX], slot[NODE_SLOT_MAX];
    uint32_t output_count, conflicts;
    const struct store_value *output[TASK_OUTPUTS_MAX]; /* held */
    bool deposited; /* outputs lie in the depot, or peers can fetch them */
};

/* A lease that is ours, as the heartbeat tells. */
struct lease_mark {
    char id[NODE_LEASE_MAX]; /* "": free */
    bool cancelled;          /* not wanted any more */
};

/* A lease is ours from enter to leave: heartbeats name it. */
void agent_lease_enter(struct node *n, const char *lease);
void agent_lease_leave(struct node *n, const char *lease);
/* The coordinator does not want it any more. */
bool agent_lease_cancelled(struct node *n, const char *lease);
bool agent_lease_is_cancelled(struct node *n, const char *lease); /* the lock is held */

/* ---- lease.c: the intake ---- */
/* Once there is room for a lease: one poll, and what it brings put into the queue. OK when there
 * was nothing, too. */
enum emac_status agent_work(struct node *n, struct emac_err *err);
/* Let go of a lease that is over: its inputs, its place among ours. */
void agent_leased_free(struct node *n, struct leased *l);
/* Say that it failed, unless the coordinator took it back. */
void agent_leased_failed(struct node *n, struct leased *l, const struct emac_err *why);
/* What every lease of a task says: job, slot, round, the task. */
enum emac_status agent_task_parse(struct leased *l, struct emac_err *err);
/* Tell the coordinator that a lease failed; *why is told, and, if `l` is given, what is missing and
 * which input made it fail. */
void agent_lease_fail(struct node *n, const char *lease, const struct leased *l,
                      const struct emac_err *why);

/* ---- ahead.c: from the intake to the worker ---- */
/* Until another lease may be had; false when the agent ends or must join again. */
bool agent_ahead_wait(struct node *n);
/* There is room. */
void agent_ahead_put(struct node *n, struct leased *l);
bool agent_ahead_has(struct node *n, const char *lease);
/* Brings the inputs of leases in the queue until the intake is over and none waits for them. */
void *agent_bringer_thread(void *node);
/* The next for the worker, whose it is then; NULL when there will be none. */
struct leased *agent_ahead_next(struct node *n);
/* A request for text for a run that began at run_ns; NULL when none waits, or when it is the turn
 * of what is ready (SLOT-4, serving.h). */
struct leased *agent_ahead_asked(struct node *n, uint64_t run_ns);
/* The worker is free again. */
void agent_ahead_done(struct node *n);
/* Memory is short for `l`, at which the worker is: inputs that lie ready for later tasks go, and no
 * more come until a task of another job does. False when none lay there. */
bool agent_ahead_give_up(struct node *n, const struct leased *l);

/* ---- worker.c ---- */
/* Runs what is ready, the one after the other, until the agent ends. */
void *agent_worker_thread(void *node);

/* ---- outbox.c ---- */
/* Sign the receipt and keep it until it is answered. There is room (NODE_OUTBOX_MAX). */
enum emac_status agent_outbox_put(struct node *n, const struct receipt *r, const char *slot,
                                  const struct exec_result *result, struct emac_err *err);
/* Delivers what is put there, beside the worker, until that is over and nothing is left. */
void *agent_courier_thread(void *node);
void agent_outbox_clear(struct node *n);

#endif

/* Between predict.c (the clock, rigs and their calls) and predict_coordinator.c (tasks, placement,
 * results). Rig numbers are 0 to rigs - 1; the coordinator's depot is end number `rigs` of the
 * network. Times are seconds since the start. */
#ifndef EMAC_SCHED_PREDICT_IMPL_H
#define EMAC_SCHED_PREDICT_IMPL_H

#include "sched/flows.h"
#include "sched/place.h"
#include "sched/predict.h"
#include "sched/speed.h"
#include "store/cid_map.h"

#define NOBODY         UINT32_MAX
#define SIM_COPIES_MAX 16 /* rigs at one task; of a rig's leases at once */

struct sim_task;
struct sim_lease {
    uint32_t rig;
    struct sim_task *task;
    uint64_t granted_ms, expected_ms, fetch_bytes;
    uint64_t begin_ms; /* 0: the rig is at one before it */
    uint64_t run_ms;   /* that it took the rig, once it is done */
};

/* A task as the coordinator has it. */
struct sim_task {
    struct plan_want want;
    const struct plan_program *program;
    struct cid cid;
    uint32_t owner; /* NOBODY: none */
    uint64_t born_ms, expected_ms;
    uint32_t need, votes, leases;
    struct sim_lease *lease[SIM_COPIES_MAX];
    bool current, accepted;
    bool cut;                      /* laid out anew in pieces; who is at it may still be first */
    bool whole;                    /* laid out anew it would be one piece again */
    uint8_t rig[PREDICT_RIGS_MAX]; /* TASK_* below */
};
enum { TASK_UNSEEN, TASK_LEASED, TASK_ANSWERED };

/* Something with a CID, and who has it: 1 for each rig, and for the depot. */
struct sim_value {
    double bytes;
    uint8_t held[PREDICT_RIGS_MAX + 1];
};

/* Of the poll that a rig has under way. */
enum intake { INTAKE_NONE, INTAKE_POLL, INTAKE_WAIT, INTAKE_LEASE };

#define SIM_FETCHERS 4 /* inputs of a task at once, as node/fetch.c has it */

/* A task that a rig took in. */
struct sim_ahead {
    struct sim_task *task;
    bool here;                /* with all its inputs */
    bool state;               /* one that lacks was a state: no poll meanwhile, as AHEAD-6 says */
    uint32_t asked, fetches;  /* inputs that were looked at; those on their way */
    struct sim_value *awaits; /* that another task has under way; NULL: none */
};
struct sim_coming {
    struct sim_value *value;
    struct sim_task *task; /* whose fetch it is */
};

struct sim_rig {
    struct sched_speed speed; /* as the coordinator knows it */
    enum intake intake;
    struct sim_task *task;                     /* under way */
    uint64_t run;                              /* of tasks that it began */
    double slower, began_at, done_at;          /* of the task under way; done_at: its end */
    struct sim_ahead ready[SCHED_AHEAD_TASKS]; /* taken in, in order of leases */
    uint32_t ready_count;
    struct sim_coming coming[SCHED_FETCH_TASKS * SIM_FETCHERS];
    uint32_t coming_count;
    uint32_t leases;                         /* whose receipts are not at the coordinator */
    struct sim_lease *lease[SIM_COPIES_MAX]; /* in order of their grants; owned */
    uint64_t queue_ms;                       /* of tasks that are kept for it */
    uint32_t upload_count;                   /* for the depot, one after the other */
    struct cid upload[2 * PLAN_VALUES_MAX];
};

enum event_kind {
    EVENT_POLL,    /* is at the coordinator */
    EVENT_LEASE,   /* is at the rig */
    EVENT_REQUEST, /* for a value, is at the one who has it */
    EVENT_VALUE,   /* its last byte is here */
    EVENT_DONE,    /* computed */
    EVENT_RECEIPT, /* is at the coordinator */
    EVENT_UPLOAD,  /* a value is in the depot */
    EVENT_WAKE,    /* waiting polls are looked at again */
    EVENT_SLOW,    /* the rig's speed changes */
};
struct event {
    double at;
    uint64_t order; /* of two at the same time the older first */
    enum event_kind kind;
    uint32_t rig, source;
    struct sim_value *value;
    struct sim_task *task;
    uint64_t run; /* EVENT_DONE: which of the rig's runs */
};

/* What grows with the rounds. */
struct sim_totals {
    double tasks[TASK_KINDS], flops, units, bytes;
    struct predict_share rig[PREDICT_RIGS_MAX];
};

struct sim {
    const struct predict_config *cfg;
    const struct job_plan *plan;
    struct emac_err *err;
    double now, skipped; /* skipped: seconds of the rounds that are not simulated */
    struct flows net;
    struct sim_rig *rig;
    struct plan_state st;
    struct sim_task **task;
    size_t task_count, task_cap;
    bool laid, waking;
    double wake_at;
    uint32_t state_wanted; /* executions of tasks that are not shared, to be begun */
    struct cid_map value;  /* struct sim_value, owned */
    struct event *event;   /* a heap */
    size_t event_count, event_cap;
    uint64_t order;
    struct sim_totals sum, half;         /* half: after half of the rounds */
    double round_at[PREDICT_ROUNDS + 1]; /* ends of the rounds; [0]: of init */
    double receipt_at;                   /* the last one */
    uint32_t rounds;                     /* to be simulated */
};

/* ---- predict.c ---- */
enum emac_status sim_event(struct sim *s, const struct event *e);
/* The value with this CID; NULL: not known. */
struct sim_value *sim_value(struct sim *s, const struct cid *cid);
/* Does the rig have it ready and not begun? */
bool sim_is_ready(const struct sim_rig *r, const struct sim_task *t);
/* It drops such a task, whose lease is over. */
enum emac_status sim_recall(struct sim *s, struct sim_lease *l);
/* It stops a task under way, or drops it: the result is not wanted any more. */
enum emac_status sim_cancel(struct sim *s, struct sim_lease *l);
/* The state is at the next round. */
enum emac_status sim_turned(struct sim *s);

/* ---- predict_place.c ---- */
uint64_t sim_ms(const struct sim *s);
uint64_t sim_fetch_bytes(struct sim *s, const struct sim_task *t, uint32_t rig);
/* Add up what waits, before tasks are looked at. */
void sim_waiting(struct sim *s);
bool sim_wants_lease(const struct sim_task *t);
struct sched_busy sim_busy(const struct sim_rig *r, const struct sim_lease *until);
/* The best task for the rig now. */
struct sim_choice {
    struct sim_task *task;      /* NULL: none before wake_ms */
    struct sim_lease *recalled; /* whose lease it is until then; NULL: nobody's */
    bool cut;                   /* it is to be laid out anew (CUT-1) */
    uint64_t wake_ms;
};
struct sim_choice sim_choose(struct sim *s, uint32_t rig);

/* ---- predict_coordinator.c ---- */
/* A rig's poll: *task is NULL when it has to wait (an EVENT_WAKE comes if time alone can help). */
enum emac_status sim_grant(struct sim *s, uint32_t rig, struct sim_task **task);
/* A receipt for the task, which may be gone then; *changed: waiting polls may find something. */
enum emac_status sim_accept(struct sim *s, struct sim_task *t, uint32_t rig, bool *changed);
/* Is a result still to be checked by a rig that is there? */
bool sim_checks_due(const struct sim *s);
struct cid sim_output(const struct sim_task *t, uint32_t i);
void sim_task_free(struct sim_task *t);
/* The rig's lease of the task is over. */
void sim_lease_end(struct sim *s, struct sim_lease *l);

#endif

/* What may this rig have? The facts that sched/place.h judges, gathered out of books that somebody
 * keeps: the coordinator (coordinator/rigs/grant.c) or the simulated one (predict_place.c). So a
 * prediction is placed by the very code that will place the job.
 *
 * OFFERS-1  Nothing here is changed and nothing is remembered: the same books give the same offer.
 * OFFERS-2  Rigs, tasks and leases are the keeper's; here they are handles that are compared and
 *           handed back. Whom a task may not go to (a check's maker, who failed at it, who lacks
 *           the data) the keeper leaves out before he asks.
 * OFFERS-3  The order of sums is the recipe's. Placement decides who makes which node of the tree
 *           and when, never what it holds. */
#ifndef EMAC_SCHED_OFFERS_H
#define EMAC_SCHED_OFFERS_H

#include "sched/place.h"
#include "sched/speed.h"
#include "work/planner.h"

struct sched_rig {
    const struct sched_speed *speed;
    struct sched_busy busy; /* with all its leases */
    uint64_t queue_ms;      /* all that waits for it as their owner */
    uint32_t leases;
    bool live;
};

struct sched_task {
    const void *task;
    const struct task_kind_info *kind;
    uint64_t flops, born_ms;
    uint64_t expected_ms; /* with its owner */
    const void *owner;    /* a rig; NULL: none */
    uint32_t batches;     /* of a shared kind: what it can be cut into */
    uint32_t need;        /* executions wanted in all */
    uint32_t leases;
    uint32_t holders;      /* staged kinds: so many rigs may hold it */
    uint32_t state_wanted; /* executions of tasks that are not shared to be begun in its job */
    bool current;          /* of the round under way */
    bool check;            /* its result is there: this is about another vote */
    bool disputed;         /* and the votes differ */
    bool bound;            /* one rig alone can run it: there is no choice */
    bool stage;            /* whoever runs it keeps a stage's state from then on (ROOM-1) */
};

struct sched_lease {
    const void *lease;
    uint64_t begin_ms; /* 0: the rig is at one before it */
    uint64_t expected_ms;
    struct sched_busy before; /* what its rig does before it */
    bool may_recall;
};

struct sched_books {
    void *ctx;
    uint64_t now_ms;
    /* The rigs that are alive, one after the other, from *at = 0 on; NULL after the last. */
    const void *(*next)(void *ctx, size_t *at);
    struct sched_rig (*rig)(void *ctx, const void *rig);
    bool (*before)(const void *a, const void *b); /* of two that are equal otherwise */
    uint64_t (*fetch_bytes)(void *ctx, const void *task, const void *rig);
    /* Has the rig a lease of it, or answered it? */
    bool (*at_work)(void *ctx, const void *task, const void *rig);
    /* Has the rig the anchor, and may it be waited for? */
    bool (*keeps)(void *ctx, const void *task, const void *rig);
    struct sched_lease (*lease)(void *ctx, const void *task, uint32_t i);
    /* Of a stage's task: may the rig keep that stage beside its others, by sched_keeps? True where
     * that is not known. Asked of rigs that do not keep it. */
    bool (*has_room)(void *ctx, const void *task, const void *rig);
};

enum sched_work sched_work_of(const struct task_kind_info *kind);
/* Until the rig would be done with it: what it has to do already, transfers, work. */
uint64_t sched_takes_ms(const struct sched_books *b, const struct sched_task *t, const void *rig);
struct sched_offer sched_offer_of(const struct sched_books *b, const struct sched_task *t,
                                  const void *rig);
/* A task that rigs are late with. False: none is to be had. With *cut the rig is not to run it but
 * to have its share when it is laid out anew (CUT-1 of place.h). */
bool sched_offer_copy(const struct sched_books *b, const struct sched_task *t, const void *rig,
                      struct sched_offer *o, bool *cut);
/* A task that another rig holds and has not begun (AHEAD-2); *whose: its lease. */
bool sched_offer_recall(const struct sched_books *b, const struct sched_task *t, const void *rig,
                        struct sched_offer *o, const void **whose);

/* The best of what was looked at. */
struct sched_choice {
    const void *task, *lease; /* lease: that the task is taken back from; NULL: from nobody */
    struct sched_offer offer;
    uint64_t wake_ms; /* when to look again, if it is none; begin with UINT64_MAX */
    bool cut;
};
/* Is this the best now? */
bool sched_choice_take(struct sched_choice *best, const struct sched_choice *c, uint64_t now_ms);

#endif

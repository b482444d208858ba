/* What the coordinator knows, in memory. One lock guards all of it (struct coordinator.lock); it is
 * never held over the network, the depot, or a tensor. The database is the truth: memory is changed
 * after a commit, and job_load builds it again from the rows. Times named *_ms are on the monotonic
 * clock, *_at on the wall. */
#ifndef EMAC_COORDINATOR_STATE_H
#define EMAC_COORDINATOR_STATE_H

#include "coordinator/coordinator.h"
#include "coordinator/checks/drawn.h"
#include "coordinator/errands.h"
#include "coordinator/jobs/shares.h"
#include "coordinator/map.h"
#include "coordinator/rigs/held.h"
#include "db/db.h"
#include "exchange/exchange.h"
#include "http/shape.h"
#include "http/signature.h"
#include "ledger/ledger.h"
#include "sched/place.h"
#include "sched/speed.h"
#include "work/planner.h"

#define NODES_MAX           10000
#define STRANGERS_MAX       1000 /* of them that have not solved their challenge */
#define JOBS_OPEN_MAX       1000
#define NODE_LEASES_MAX     8    /* under way, ahead, receipts on their way */
#define NODE_MADE_MAX       1024 /* what else its last receipts tell */
#define NODE_ROUNDS_KEPT    2    /* rigs keep sums so many rounds (node/agent.h, INV-1) */
#define NODE_NAME_MAX       64
#define NODE_URL_MAX        256
#define LEASE_ID_BYTES      16
#define LEASE_ID_MAX        40
#define REASON_MAX          384
#define POLL_MAX_MS         30000
#define REFUSALS_MAX        32
#define RATE_SAMPLES        32
#define CHECKPOINTS_KEPT    2
#define DEPOSIT_PATIENCE_MS 15000 /* for a holder to begin to deposit what others cannot fetch */
#define STATE_COPIES_MAX    16
#define UNHELD_MAX          64
#define PASSING_BYTES_MAX   (UINT64_C(1) << 30) /* of depot content that no pin holds */

enum job_state { JOB_RUNNING, JOB_PAUSED, JOB_SUCCEEDED, JOB_FAILED, JOB_CANCELLED };
enum result_state { RESULT_OPEN, RESULT_ACCEPTED, RESULT_DISPUTED, RESULT_WITHDRAWN };
enum lease_role { ROLE_WORK, ROLE_CHECK, ROLE_REFEREE };
enum node_state { NODE_NEW, NODE_ADMITTED, NODE_QUARANTINED };

struct outputs {
    uint32_t count;
    struct task_output at[TASK_OUTPUTS_MAX]; /* sorted by name */
};

struct challenge;

struct node {
    char did[DID_KEY_MAX], name[NODE_NAME_MAX], url[NODE_URL_MAX];
    char version[32], isa[16], boot[40];
    uint32_t threads;
    uint64_t memory_bytes, disk_bytes, keep_bytes; /* keep: for values; 0: not known */
    uint64_t offer_bytes;                          /* of its disk, for storage deals */
    int64_t offer_units;                           /* its least price of a GiB and day */
    struct link_shape link;                        /* as its owner set it; all zero: not told */
    enum node_state state;
    char reason[REASON_MAX];        /* why it is quarantined */
    int64_t bond_units, held_units; /* without notice; of all jobs: mirrors of rows */
    struct shown shown;
    struct trust trust; /* the rest: checks.h */
    char owner[DID_KEY_MAX], wallet[EVM_ADDRESS_MAX], subnet[DRAW_SUBNET_MAX];
    char device[DEVICE_TEXT_MAX], driver[DEVICE_TEXT_MAX];
    uint64_t point, seen_ms, seen_at, asked_ms, poll_seq, waiting; /* asked: polled; polls wait */
    bool present;                                                  /* said hello to this process */
    bool stored;    /* has a row; others point to it: never freed while we run */
    bool reachable; /* serves blocks at `url` */
    double gflops;
    struct sched_speed speed;
    double alone_flops[SCHED_WORK_KINDS]; /* of computing alone, as it told; 0: not yet */
    struct challenge *challenge;          /* open one; owned */
    struct lease *lease[NODE_LEASES_MAX]; /* in order of their grants, then NULL */
    uint32_t hold_count, made_count, made_next;
    struct held hold[NODE_HOLDS_MAX]; /* states: as its last poll said, and what it made since */
    struct made made[NODE_MADE_MAX];  /* sums: until two rounds later, and no check is due */
    uint64_t queue_ms;                /* grant.c: what waits for it in the job that is looked at */
    struct cjob *last_job;
    uint64_t last_job_ms, sent_bytes, received_bytes;
    uint32_t alarms; /* results that it said others made wrong, and they had not (suspects.h) */
    struct share share;
    struct node_serving serving;
};

struct lease {
    char id[LEASE_ID_MAX];
    struct cjob *job;
    struct ctask *task;
    struct node *node;
    enum lease_role role;
    int64_t units;
    uint64_t granted_ms, beat_ms, expected_ms, deadline_ms, deadline_at;
    uint64_t begin_ms;    /* 0: the rig is at one before it (AHEAD-3) */
    uint64_t fetch_bytes; /* that the rig did not hold when it was granted, or when it began */
};

/* A rig's answer to a task: a receipt of a rig that is not quarantined. */
struct vote {
    char did[DID_KEY_MAX];
    struct outputs outputs;
    double loss, accuracy; /* of its metrics; < 0: none */
    bool paid;
    bool unwritten; /* its row comes later in the transaction that is under way */
};

/* A rig that failed at a task waits before it gets it again. */
struct refusal {
    struct node *node;
    uint64_t until_ms;
    uint32_t times;
    enum emac_status status;
};

/* A task in memory: of the round under way (`current`), or one that still waits for votes. */
struct ctask {
    struct cid cid, base; /* base: plan_base of the state it starts from */
    char slot[SLOT_MAX];
    enum task_kind kind;
    uint32_t step;
    struct tree_range range;
    uint64_t flops;
    int64_t units;
    struct task task;
    uint8_t *object; /* dag-cbor */
    size_t object_len;
    bool stored, current, cut, whole; /* cut: in pieces (CUT-1); whole: it cannot be */
    enum result_state state;
    struct outputs outputs; /* accepted ones */
    double loss, accuracy;  /* of metrics; < 0: none */
    uint32_t need;          /* executions wanted */
    uint32_t vote_count, lease_count, refusal_count;
    struct vote *vote; /* owned */
    struct lease *lease[STATE_COPIES_MAX];
    struct refusal refusal[REFUSALS_MAX];
    struct node *owner; /* the range was sized for it, or it should hold what comes of the task */
    struct cid anchor;  /* staged kinds: who holds it comes first */
    uint32_t holders;   /* and as many rigs may */
    uint64_t born_ms, expected_ms;
    struct drawn drawn;
    struct due_vote due; /* the vote that is */
};

/* A value of a kept state on its way into the depot. */
struct kept {
    struct plan_value value;
    bool stored;
    struct node *asked; /* who was asked to deposit it */
    uint64_t asked_ms;
};

struct checkpoint {
    uint32_t step;
    struct cid model; /* follows from the params' */
    enum { CHECKPOINT_WANTED, CHECKPOINT_COMPLETE, CHECKPOINT_OLD, CHECKPOINT_STALE } state;
    bool model_stored; /* the files beside the params */
    uint32_t kept_count;
    struct kept kept[PLAN_VALUES_MAX];
};

/* Something that a rig could not fetch although others claim to hold it. */
struct missing {
    struct cid cid;
    uint64_t since_ms, asked_ms;
    struct node *asked;
};
#define MISSING_MAX 64

/* A result that a rig could not use, while it is made again (suspects.h). */
struct doubt {
    struct cid task;
    struct node *accuser;
    char fault[EMAC_ERR_TEXT_MAX];
};
#define DOUBTS_MAX 8

struct figures {
    int64_t tasks, checked, mismatches, retries, lapsed, busy_us, bytes_moved;
};

/* A job that runs or is paused. */
struct cjob {
    char id[JOB_ID_MAX], owner[DID_KEY_MAX];
    struct cid cid, evaluation; /* evaluation: jobs/evaluations.h */
    enum job_state state;
    char reason[REASON_MAX];
    struct job_plan *plan;
    struct plan_state st;
    double loss; /* of the last round, nats; < 0: none yet */
    struct ctask **task;
    uint32_t task_count, task_cap;
    bool laid;                        /* the round's tasks are in task[] */
    bool unwritten;                   /* no task of the round had a row when it began, and */
    bool rows_elsewhere;              /* none had one of another round */
    bool stale;                       /* memory must be built again before use */
    int64_t escrow_units, owed_units; /* mirrors of the ledger and of open leases */
    int64_t royalty_units;            /* of the escrow, kept for royalties (assets.h) */
    int64_t pause_units;              /* what the next lease needs */
    double vtime;
    uint32_t state_wanted; /* grant.c: executions of its tasks that are not shared to be begun */
    bool figures_dirty, nothing_private; /* nothing_private: as was found; false: not looked yet */
    struct figures figures;
    uint64_t created_at;
    uint32_t checkpoint_count, checkpoint_cap;
    struct checkpoint *checkpoint; /* by step */
    struct missing missing[MISSING_MAX];
    uint32_t missing_count;
    struct doubt doubt[DOUBTS_MAX];
    uint32_t doubt_count;
    uint64_t lost_ms;    /* since when needed state has no holder; 0: it has */
    uint64_t dispute_ms; /* last time its wait was logged */
    struct {
        uint64_t ms;
        uint32_t step;
    } rate[RATE_SAMPLES];            /* ring of accepted steps */
    uint32_t rate_count, class_said; /* class_said: bit of each draw_class that its log told of */
    int64_t plain_units;             /* what its work costs when nothing is done twice */
    uint32_t hold, vain; /* no training after so many rounds, 0: any (sweeps.h); waits (BEHIND-3) */
    bool waits, behind;  /* for its turn in the sweep; for checks (BEHIND-1) */
};

struct csweep;     /* sweeps.h */
struct disputes;   /* disputes.h */
struct chain_side; /* chain.c */
struct deals_side; /* deals.h */

/* A pin that is to be taken away once the lock is free. */
struct unpin {
    char name[JOB_ID_MAX];
    struct cid cid;
};

struct coordinator {
    struct coordinator_config cfg;
    struct os *os;
    char *dir, *address;
    struct db *db;
    struct store *depot;
    struct http_client *http;
    struct http_server *server;
    struct http_route *route; /* ours and those of the configuration */
    size_t route_count;
    struct nonce_cache *nonces;
    uint8_t secret[32];
    uint64_t start_ms, start_at, back_ms; /* back_ms: until then rigs of before may be away */

    struct os_mutex lock;
    struct os_cond changed; /* something that a thread under the lock may wait for */
    struct errands errands; /* of rigs: what they deliver, and polls, which wait there */
    bool stopping;
    struct os_thread ticker;
    struct map nodes; /* did -> struct node * */
    struct cjob **job;
    uint32_t job_count, job_cap;
    struct csweep **sweep; /* those that run */
    uint32_t sweep_count;
    int64_t log_id, job_seq, metric_id;
    struct cid_set depot_known;    /* roots whose whole DAG lies in the depot */
    bool depot_dirty;              /* something was deposited since the ticker looked */
    uint64_t passing_bytes;        /* deposited without a pin since the last collection */
    struct cid unheld[UNHELD_MAX]; /* rigs said to hold these and did not bring them: ring */
    uint32_t unheld_next;
    struct emac_buf unpins; /* of struct unpin */
    struct map kinds;       /* "device NAME", "driver NAME" -> struct trust * */
    struct draw_chain draw;
    bool stakes_stale; /* bonds and pay of rigs must be read again before use (bonds.h) */
    struct serve_queue *serve;
    struct chain_side *chain; /* NULL: no chain is configured */
    struct deals_side *deals;
    struct disputes *disputes;

    struct os_mutex rate_lock;
    struct map buckets;             /* did -> struct sched_bucket * */
    struct os_mutex challenge_lock; /* one answer is computed at a time */
    uint32_t challenges_waiting;    /* guarded by `lock` */
};

/* What the next lease of the job may cost. */
static inline int64_t cjob_free_units(const struct cjob *j)
{
    return j->escrow_units - j->owed_units - j->royalty_units;
}
static inline uint64_t now_ms(struct coordinator *c)
{
    return c->os->mono_ns(c->os) / 1000000;
}
static inline uint64_t wall_ms(struct coordinator *c)
{
    return c->os->wall_ms(c->os);
}
static inline uint64_t mono_us(struct coordinator *c)
{
    return c->os->mono_ns(c->os) / 1000;
}

#endif

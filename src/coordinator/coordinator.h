/* The coordinator: jobs, leases, receipts, verification and money behind the
 * HTTP API of docs/protocol.md. It handles names and money, never tensors.
 *
 * State lives in `dir`: coordinator.db (SQLite, everything that must survive),
 * depot/ (a block store: programs, corpora, checkpoints, models) and secret (32
 * bytes, mode 0600: which tasks are executed twice).
 *
 * Invariants (tests cite them as COORD-n):
 *  1  Job state and money change in one database transaction; memory follows
 *     after the commit and can be rebuilt from the database at any time. So a
 *     kill -9 anywhere loses nothing that was answered.
 *  2  A result is accepted while every valid vote for its task (a receipt of a
 *     rig that is not quarantined) names the same outputs, or a majority of at
 *     least two does. Two votes that differ put the task in dispute.
 *  3  A rig is paid for a (job, task) at most once: when its receipt answers a
 *     lease it was granted, its outputs are the accepted ones, and the task has
 *     fewer paid receipts than executions wanted. Executions wanted: state_copies
 *     for init and step; 2 when the task is checked, else 1; one more for each
 *     referee a dispute calls.
 *  4  A lease is granted only while balance(escrow:job) - units of open leases -
 *     what is kept for royalties >= its price (ledger INV-6, ASSET-3); else the job
 *     is paused with the reason.
 *  5  The planner's state is the fold of accepted results over their lineage:
 *     a result counts for step s only if it was computed from the parameters
 *     that the accepted results before it lead to.
 *  6  A job succeeds only when it is scored, every due check on its lineage was
 *     made (or lapsed, which is logged and counted: BEHIND-4), no dispute is open, and its
 *     final parameters lie in the depot. Then held money is settled and the rest
 *     of the escrow goes back to the user.
 *  7  A quarantined rig gets 403 from then on; its unsettled receipts are void (of a
 *     merely faulty one those that nobody confirmed: STAND-5 of coordinator/checks/trust.h),
 *     that money returned, results that only it supports are open.
 *  8  A signed request made before the start of this process is refused once the
 *     database is older than the process: the cache of used nonces starts empty.
 *
 * Job states; anything not listed is refused with CONFLICT:
 *   (none)    -> running     submitted; escrow taken
 *   running   -> paused      the escrow is too small for the next lease
 *   paused    -> running     it fits again (money added, leases ended)
 *   running, paused -> succeeded  COORD-6 (a paused one whose last due check lapsed)
 *   running, paused -> failed     a task fails by itself on two rigs (numeric, invalid, ...)
 *   running, paused -> cancelled  by the owner
 * On leaving running/paused: open leases are cancelled, what was disputed is void, royalties are
 * paid (ASSET-4), the rest of the escrow is refunded, and what is held for rigs is settled when the
 * dispute window after it closes (STAND-1). */
#ifndef EMAC_COORDINATOR_COORDINATOR_H
#define EMAC_COORDINATOR_COORDINATOR_H

#include "http/server.h"
#include "os/os.h"

#define COORDINATOR_VERSION         "0.1.0"
#define COORDINATOR_LEASE_TTL_MS    4000
#define COORDINATOR_HEARTBEAT_MS    1000
#define COORDINATOR_CHECK_LAPSE_MS  10000
#define COORDINATOR_CHECK_WAIT_MS   15000
#define COORDINATOR_BACK_MS         6000 /* rigs back off for 5 s (node/agent.h) */
#define COORDINATOR_DISPUTE_MS      600000
#define COORDINATOR_RATE_PER_S      1000
#define COORDINATOR_CONNECTIONS     1024
/* EMAC units for 10^12 flops of serving, as price.per_tflop of a job; and the network's part. */
#define COORDINATOR_SERVING_UNITS   100000
#define COORDINATOR_SERVING_FEE_PPM 20000
#define COORDINATOR_FAUCET_UNITS    (INT64_C(1000) * 1000000000)

/* Who may have text generated without paying: everybody, from models whose licence asks nothing; or
 * nobody. Whoever names a payer pays on both. */
enum serving_mode { SERVING_FREE, SERVING_METERED };

struct chain_config;  /* chain/config.h */
struct dispute_judge; /* work/dispute.h */
struct datacap_rules; /* work/datacap.h */
struct coordinator;

struct coordinator_config {
    struct os *os;
    const char *dir;
    const char *address; /* "127.0.0.1" */
    uint16_t port;       /* 0: any free one */
    bool dev;            /* development network: the faucet is open */
    bool behind_proxy;   /* rigs' addresses are what x-forwarded-for says last */
    /* 0 takes the default. */
    uint32_t lease_ttl_ms;    /* a lease not heard of for this long is given to another rig */
    uint32_t heartbeat_ms;    /* what rigs are told */
    uint32_t check_lapse_ms;  /* a check lapses after so long without a second rig */
    uint32_t check_wait_ms;   /* quick rounds wait so long for a check (BEHIND-3) */
    uint32_t back_ms;         /* rigs of jobs that ran before the start may be away so long */
    uint32_t lost_grace_ms;   /* state that no live rig holds is given up after; lease_ttl_ms */
    uint64_t window_ms;       /* pay is held for so long after its job; 0: none (STAND-1) */
    uint32_t rate_per_s;      /* signed requests a second and signer; bursts of twice that */
    uint32_t connections_max; /* 1024 */
    uint32_t dispute_ms;      /* what an answer in a dispute may take, beside the task's own time */
    uint64_t depot_quota;     /* bytes; 0: 1 TiB */
    enum serving_mode serving;
    int64_t serving_units;  /* for 10^12 flops; 0: COORDINATOR_SERVING_UNITS, below 0: nothing */
    uint64_t deal_epoch_ms; /* of storage deals (deals.h): 100 to 7 days; 0: an hour */
    const struct chain_config *chain; /* where it settles; NULL: the ledger stands alone */
    /* Who computes the operator that a dispute comes down to; NULL: no disputes, a majority of rigs
     * decides. Borrowed. */
    const struct dispute_judge *judge;
    const struct datacap_rules *datacap; /* fee, rewards and allowances; NULL: none. Borrowed */
    /* Routes of layers above (the gateway), served beside our own; ctx of their handlers is the
     * coordinator. Borrowed. */
    const struct http_route *routes;
    size_t route_count;
};

enum emac_status coordinator_start(const struct coordinator_config *cfg, struct coordinator **out,
                                   struct emac_err *err);
uint16_t coordinator_port(const struct coordinator *c);
/* Clean; but state is durable at any time anyway. */
void coordinator_stop(struct coordinator *c);

/* The routes, for tests that hold them against docs/api/openapi.yaml. */
const struct http_route *coordinator_routes(size_t *count);

#endif

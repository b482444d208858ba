/* The rig agent: says hello to a coordinator, proves what it can do, then runs
 * tasks, keeps and serves their outputs by CID, and answers for generation.
 *
 * Threads:
 *   intake     the caller of node_run: leases (long poll); up to SCHED_AHEAD_TASKS
 *              wait for the worker, so that a rig's link and its device work at the
 *              same time
 *   bringers   SCHED_FETCH_TASKS of them: each fetches the inputs of a lease that
 *              waits, while the intake asks for the next (node/ahead.c)
 *   worker     runs them, the one after the other. It generates text too, between
 *              tasks, on the same device: a rig's cores are all busy with either.
 *              Requests that come meanwhile are answered together (node/serving.h)
 *   courier    deposit when not reachable -> receipt, until it is answered
 *   heartbeat  every heartbeat_ms: leases held; takes cancel and deposit lists
 *   keeper     keeps and proves what storage deals want of it (node/keep.h)
 *   uploader   pushes bundles the coordinator asked for to the depot
 *   posters    one for each answer under way: sends the pieces, so that the next
 *              byte does not wait for the network
 *   server     GET /ipfs/{cid} for other rigs
 * The agent only dials out; the server is for those who can be reached.
 *
 * INV-1  A task's outputs are in the store before its receipt is sent. They and
 *        its inputs are held until a lease of the same job two rounds later
 *        comes, or 10 minutes have passed without a lease of that job, so that
 *        peers find them; and for 20 s after their last use in any case, and as
 *        long as leases say that checks of their round are due, so that a task
 *        can be checked by another rig. Then their memory is given back.
 *        Earlier goes, those used longest ago first: what is two rounds old, and
 *        no check is due of, when all together pass half of memory_quota; when they
 *        pass the whole, what else is two rounds old, sums and the like, and states
 *        when those that count pass it alone (what a step takes and what it makes
 *        are there together for a moment, and the loss of a state takes the job
 *        back); but nothing that a task under way or ready needs.
 * INV-2  A receipt is sent until the coordinator has answered it, across any
 *        outage; the work is not thrown away because the coordinator is away. It
 *        lives in memory, as the outputs do that it speaks for.
 * INV-3  While the worker runs, the process cannot execve, ptrace or open new
 *        listening sockets (seccomp); inputs are data, never code. This cannot be
 *        undone: it outlives node_close.
 * INV-4  One agent per directory (lock); the key file is mode 0600.
 *
 * States: starting -> hello -> (challenge) -> admitted <-> away (coordinator
 * unreachable: back-off with jitter 0.2 s .. 5 s) ; quarantined and stopped
 * are final. */
#ifndef EMAC_NODE_AGENT_H
#define EMAC_NODE_AGENT_H

#include "compute/device.h"
#include "http/shape.h"
#include "node/exec.h"
#include "os/os.h"

#define NODE_SLOTS     8
#define NODE_SLOTS_MAX 16

struct node_config {
    struct os *os;
    const char *coordinator; /* "http://127.0.0.1:7070" */
    const char *dir;         /* key, store, lock */
    const char *name;        /* shown to people; NULL: host name */
    const char *address;     /* listen address; NULL: 127.0.0.1 */
    uint16_t port;           /* 0: any free one */
    /* What others dial; NULL: http://<address>:<port>, and then the address must name a machine:
     * not 0.0.0.0 or ::. */
    const char *public_url;
    const char *owner;       /* DID of who runs it and others; NULL: it speaks for itself */
    bool unreachable;        /* serve nobody: everything goes through the depot */
    const char *device;      /* device_open's name; NULL: "cpu" */
    uint64_t device_memory;  /* use no more of its memory; 0: all */
    uint32_t threads;        /* 0: all this process may use */
    enum exec_values values; /* where results are hashed, of a device with memory of its own */
    /* Thousandths of the time that the device may compute tasks (node/duty.h); 0: all of it. A file
     * `duty` in dir ("0.25") goes before it, and is looked at again with every heartbeat. */
    uint32_t duty;
    struct link_shape link; /* all zero: the network as it is (http/link.h) */
    uint64_t memory_quota;  /* bytes of values kept in memory; 0: a quarter of memory */
    uint64_t disk_quota;    /* 0: 1 TiB */
    uint64_t offer_bytes;   /* of it, for storage deals (node/keep.h); 0: none */
    int64_t offer_units;    /* the least it keeps a GiB and day for */
    bool sandbox;           /* seccomp while working; default on in the CLI */
    uint32_t slots;         /* requests for text answered at once, NODE_SLOTS_MAX at most; 0: one a
                             * GiB of memory, NODE_SLOTS at most */
    uint64_t cache_bytes;   /* for what they keep (keys and values); 0: a quarter of memory */
    uint32_t give_up_ms;    /* UNAVAILABLE when the first hello fails for so long; 0: never */
    /* A rig that lies, for tests; NULL in the product. Called with each output bundle of a task
     * before it is hashed (never in the challenge), and with output NULL when a task begins. */
    void (*tamper)(void *ctx, const char *output, uint8_t *bundle, size_t n);
    void *tamper_ctx;
};

struct node;

/* Takes the lock, the key and the store in dir, opens the device and starts to serve blocks.
 * UNSUPPORTED when the device does not hold numerics version 1, saying how it differs.
 * CONFLICT when another agent has the directory or the port. Strings of cfg are copied. */
enum emac_status node_open(const struct node_config *cfg, struct node **out, struct emac_err *err);
const char *node_did(const struct node *n);
uint16_t node_port(const struct node *n); /* 0 when it serves nobody */
/* Work until node_stop or a final state. OK after node_stop; FORBIDDEN when quarantined or refused
 * (the sentence says why); UNAVAILABLE; UNSUPPORTED when the sandbox cannot be had. Once for each
 * node. */
enum emac_status node_run(struct node *n, struct emac_err *err);
/* From any thread (not from inside a signal handler): the lease under way is given back at the next
 * micro-batch, transfers end, node_run returns, all within about a second unless an operator takes
 * longer. */
void node_stop(struct node *n);
/* After node_run has returned. Wipes the key from memory. NULL is fine. */
void node_close(struct node *n);

struct node_figures {
    uint64_t tasks_done, tasks_failed, bytes_sent, bytes_received, tokens_served;
    /* Bytes to and from a device with memory of its own: in tasks; of results that stayed there,
     * for those who asked. */
    uint64_t bus_written, bus_read, bus_asked;
    int64_t paid_units; /* as the coordinator said in receipts' answers */
    /* "starting", "hello", "challenge", "admitted", "away", "quarantined", "stopped" */
    const char *state;
};
void node_figures(struct node *n, struct node_figures *out);

#endif

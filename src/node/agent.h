/* The rig agent: says hello to a coordinator, proves what it can do, then runs
 * tasks, keeps and serves their outputs by CID, and answers for generation.
 *
 * Threads:
 *   worker     lease (long poll) -> fetch inputs -> run -> deposit when not
 *              reachable -> receipt, one task at a time
 *   heartbeat  every heartbeat_ms: leases held; takes cancel and deposit lists
 *   uploader   pushes bundles the coordinator asked for to the depot
 *   server     GET /ipfs/{cid} for other rigs
 * The agent only dials out; the server is for those who can be reached.
 *
 * INV-1  A task's outputs are in the store before its receipt is sent, and are
 *        held until two rounds later (or deposited), so that peers find them.
 * INV-2  A receipt is sent until the coordinator has answered it, across any
 *        outage; the work is not thrown away because the coordinator is away.
 * INV-3  While the worker runs, the process cannot execve, ptrace or open new
 *        listening sockets (seccomp); inputs are data, never code.
 * INV-4  One agent per directory (lock); the key file is mode 0600.
 *
 * States: starting -> hello -> (challenge) -> admitted <-> away (coordinator
 * unreachable: back-off with jitter 0.2 s .. 5 s) ; quarantined and stopped
 * are final. */
#ifndef EMAC_NODE_AGENT_H
#define EMAC_NODE_AGENT_H

#include "compute/device.h"
#include "os/os.h"

struct node_config {
    struct os *os;
    const char *coordinator; /* "http://127.0.0.1:7070" */
    const char *dir;         /* key, store, lock */
    const char *name;        /* shown to people; NULL: host name */
    const char *address;     /* listen address; NULL: 127.0.0.1 */
    uint16_t port;           /* 0: any free one */
    const char *public_url;  /* what others dial; NULL: http://<address>:<port> */
    bool unreachable;        /* serve nobody: everything goes through the depot */
    enum isa isa;            /* ISA_BEST */
    uint32_t threads;        /* 0: all this process may use */
    uint64_t memory_quota;   /* bytes of values kept in memory; 0: a quarter of memory */
    uint64_t disk_quota;     /* 0: 1 TiB */
    bool sandbox;            /* seccomp while working; default on in the CLI */
    bool forever;            /* false: give up with UNAVAILABLE when the first hello fails for 30 s */
};

struct node;

enum emac_status node_open(const struct node_config *cfg, struct node **out, struct emac_err *err);
const char *node_did(const struct node *n);
uint16_t node_port(const struct node *n); /* 0 when it serves nobody */
/* Work until node_stop or a final state. OK after node_stop; FORBIDDEN when quarantined or refused
 * (the sentence says why); UNAVAILABLE. */
enum emac_status node_run(struct node *n, struct emac_err *err);
/* From any thread or after a signal: finish cleanly, soon. */
void node_stop(struct node *n);
void node_close(struct node *n);

struct node_figures {
    uint64_t tasks_done, tasks_failed, bytes_sent, bytes_received, tokens_served;
    int64_t paid_units; /* as the coordinator said in receipts' answers */
    const char *state;
};
void node_figures(struct node *n, struct node_figures *out);

#endif

/* What the files of the agent share (agent.c and those named below). Nothing
 * outside src/node includes this.
 *
 * Who may touch what: fields under "intake" belong to the thread in node_run,
 * fields under "worker" to agent_worker_thread, fields under a lock to whoever
 * holds it; the rest is set before the threads start. A lease (struct leased)
 * belongs to the intake until it is in `ready`; there to the bringer that is at it,
 * else to whoever takes it out (ahead.c), which but for the end is the worker. Neither lock
 * is held over the network, files or computing; of both, none is taken inside
 * the other. The device (dev, exec) belongs to whoever took it (agent_device_take). */
#ifndef EMAC_NODE_AGENT_INTERNAL_H
#define EMAC_NODE_AGENT_INTERNAL_H

#include <jansson.h>
#include <stdatomic.h>

#include "exchange/exchange.h"
#include "http/identity.h"
#include "http/link.h"
#include "http/signature.h"
#include "node/agent.h"
#include "node/duty.h"
#include "node/exec.h"
#include "node/leased.h"
#include "node/private.h"
#include "os/library.h"
#include "os/thread.h"

#define NODE_VERSION       "0.1.0"
#define NODE_ISA_MAX       32
#define NODE_NAME_MAX      128
#define NODE_HOLDS_MAX     256 /* state bundles named in a poll */
#define NODE_UPLOADS_MAX   64
#define NODE_RETAINED_MAX  (4u * TASK_PARTS_MAX)
#define NODE_LEASE_WAIT_MS 10000
#define NODE_CALL_MS       10000 /* a call of the coordinator that should be answered at once */
#define NODE_STOP_GRACE_MS 2000  /* what a receipt gets to be delivered after node_stop */
#define NODE_ROUNDS_KEPT   2
#define NODE_CHECK_NS      (20 * UINT64_C(1000000000)) /* how long a check may come after a task */
#define NODE_JOB_IDLE_NS   (600 * UINT64_C(1000000000))
#define NODE_SERVE_MODELS  2

#define NS_PER_MS UINT64_C(1000000)

struct agent_model;

/* A value that is held for others (INV-1). */
struct retained {
    const struct store_value *value; /* held */
    char job[NODE_JOB_MAX];
    uint64_t round, used; /* used: larger is later */
    uint64_t seen_ns;     /* last lease of the job */
    uint64_t used_ns;     /* last made or used */
    bool past;            /* two rounds old: kept for checks, while there is room */
    bool wanted;          /* past, but a check of its round, or of the next, is due */
    bool state;           /* parameters or optimiser state: told to the coordinator */
    bool superseded;      /* state: this rig made what took its place */
    uint32_t tasks;       /* leases that need it as input: it stays as long as there are some */
    char name[TASK_NAME_MAX];
};

struct upload {
    struct cid cid;
    const struct store_value *value; /* held */
};

struct agent_session {
    bool there;
    uint64_t until_ns;
    struct http_mac mac;
};

struct node {
    struct node_config cfg; /* strings are ours */
    struct os *os;
    struct os_lock *dir_lock;
    struct identity id;
    struct store *store;
    struct private_data private; /* of the store: for nobody else */
    struct device *dev;
    struct device *generation_dev; /* NULL unless dev has memory of its own and text was made */
    struct exec *exec;
    struct link *link;        /* NULL: not shaped. What follows goes by way of it */
    struct http_client *api;  /* short calls */
    struct http_client *bulk; /* polls, blocks: what node_stop ends at once */
    struct http_server *server;
    uint16_t port; /* where others find the server; 0: it serves nobody */
    struct http_route route[2];
    char conformance[2 * SHA256_BYTES + 1];
    char boot[2 * 16 + 1]; /* tells this start from others */
    uint64_t memory_quota, disk_quota, file_max;
    uint64_t cache_bytes; /* for keys and values of answers under way */
    uint32_t slots;       /* answers at once */
    atomic_bool stop;
    atomic_bool reachable; /* peers can fetch from us, as the coordinator found */
    atomic_uint heartbeat_ms;
    atomic_uint duty; /* thousandths; the executor reads it */
    atomic_uint_fast64_t served_bytes;
    atomic_uint_fast64_t task_memory; /* what the device may use for one task */

    bool duty_refused; /* heartbeat: that the file makes no sense was said */

    /* intake */
    bool ever_joined, away;
    uint64_t run_ns, away_ns;
    uint32_t backoff_ms;

    /* worker */
    struct agent_dispute *dispute;                /* dispute.c; NULL: none */
    uint64_t told_sent, told_received;            /* agent_traffic as the last receipt told it */
    struct agent_model *model[NODE_SERVE_MODELS]; /* latest use first */
    struct agent_model *private_model;            /* of the answers under way; NULL: none */

    /* whoever has the device */
    bool in_challenge;
    uint64_t bus_asked;     /* of dev, as agent_bus_note saw it last */
    struct leased *running; /* set by the worker */

    struct os_mutex retain_lock; /* retain.c */
    struct retained *retained;
    size_t retained_count, retained_cap;
    uint64_t retained_bytes, used;

    struct os_mutex lock;
    struct os_cond wake; /* any of what follows, or stop, changed */
    bool joined;         /* hello said, challenge answered */
    struct node_figures figures;
    struct lease_mark lease[NODE_LEASES_MAX];
    struct leased *ready[SCHED_AHEAD_TASKS]; /* for the worker, the next first (ahead.c) */
    uint32_t ready_count;
    struct leased *asked[NODE_SLOTS_MAX]; /* requests for text, in order: at most `slots` */
    uint32_t asked_count;
    bool tasks_turn; /* what is ready comes before the next run of answers (SLOT-4) */
    struct cid loaded[NODE_SERVE_MODELS];
    uint32_t loaded_count;
    bool working; /* the worker has a lease that it took out of `ready` */
    bool narrow;  /* memory is too short to look ahead: until a task of another job comes */
    char narrow_job[NODE_JOB_MAX];
    bool device_taken;
    bool intake_over, worker_over; /* at the end: nothing more comes from them */
    char driver[40];               /* beside them; "" of a processor */
    char device_isa[NODE_ISA_MAX], device_name[NODE_NAME_MAX]; /* of dev */
    uint32_t device_threads;
    struct outbox *outbox; /* the oldest first */
    uint32_t outbox_count;
    uint64_t stop_ns;
    struct emac_err final; /* why the coordinator will have no more of us; OK: it will */
    struct upload upload[NODE_UPLOADS_MAX];
    uint32_t upload_count;
    struct cid uploading; /* taken out of the queue, under way */
    uint64_t deals_told;  /* version of what deals want, as the heartbeat heard it */
    struct agent_session session;
    struct fetch_mark *fetch; /* values on their way into memory, each once (fetch.c) */
};

/* ---- agent.c ---- */
/* Nothing more is to be begun: node_stop was called or the coordinator refused us. */
bool agent_over(struct node *n);
/* The same as a callback for transfers. */
bool agent_over_cb(void *node);
void agent_state_set(struct node *n, const char *state);
bool agent_joined(struct node *n);
void agent_joined_set(struct node *n, bool joined);
/* Until it is; false when the agent ends. */
bool agent_joined_wait(struct node *n);
/* Sleep that node_stop ends. */
void agent_pause(struct node *n, uint32_t ms);
/* The coordinator said FORBIDDEN: node_run ends with this sentence. */
void agent_refused(struct node *n, const struct emac_err *why);
/* Bytes since the start, those served to peers included. */
void agent_traffic(struct node *n, uint64_t *sent, uint64_t *received);

/* ---- api.c: talking JSON with the coordinator ---- */
/* POST, signed. Steals body. *reply (may be asked for with NULL) is NULL when the answer has no
 * body. An answer that is not a JSON object: CORRUPT. */
enum emac_status agent_post(struct node *n, const char *path, json_t *body, uint32_t limit_ms,
                            json_t **reply, struct emac_err *err);
/* As agent_post for a call that may wait; node_stop ends it. */
enum emac_status agent_poll(struct node *n, const char *path, json_t *body, uint32_t limit_ms,
                            json_t **reply, struct emac_err *err);
enum emac_status agent_get(struct node *n, const char *path, json_t **reply, struct emac_err *err);
/* Is anybody there? */
enum emac_status agent_probe(struct node *n, struct emac_err *err);
json_t *agent_json_bytes(const void *data, size_t n);
/* A sentence, or the name of a device, made fit for JSON (emac_utf8_plain). */
json_t *agent_json_sentence(const char *text);
json_t *agent_json_cid(const struct cid *cid);
/* Fields of an answer. CORRUPT naming the field. Strings are borrowed. */
enum emac_status agent_field_str(const json_t *o, const char *key, size_t max, const char **out,
                                 struct emac_err *err);
enum emac_status agent_field_u64(const json_t *o, const char *key, uint64_t max, uint64_t *out,
                                 struct emac_err *err);
/* base64 text, added to out; out->max bounds it. */
enum emac_status agent_field_bytes(const json_t *o, const char *key, struct emac_buf *out,
                                   struct emac_err *err);

/* ---- session.c: from any thread ---- */
/* From the answer to a hello; a coordinator that tells none has none. */
void agent_session_take(struct node *n, const json_t *reply);
/* The key to authenticate a call of `path` by; false: sign it. */
bool agent_session_get(struct node *n, const char *path, struct http_mac *out);
/* It was there, and its time is over: a hello brings another. */
bool agent_session_over(struct node *n);
void agent_session_drop(struct node *n);

/* ---- hello.c ---- */
/* Say hello, and answer the challenge if there is one. FORBIDDEN when refused. */
enum emac_status agent_join(struct node *n, struct emac_err *err);
/* Hello alone, for the heartbeat of a rig at work. */
enum emac_status agent_hello(struct node *n, struct emac_err *err);

/* ---- fetch.c ---- */
enum emac_status agent_fetch(void *node, const struct cid *cid, bool to_memory,
                             struct emac_err *err);
/* Bring the task's bundles into memory, hold them for the round and for the lease, and let go of
 * older rounds. UNAVAILABLE when some cannot be had; l->missing names them all. */
enum emac_status agent_fetch_inputs(struct node *n, struct leased *l, struct emac_err *err);
/* They are not needed, or not yet. */
void agent_inputs_drop(struct node *n, struct leased *l);

/* ---- retain.c: from any thread ---- */
/* Holds the value in its own right; one that is there already gets the round. `name` is that of the
 * input or output. `task`: an input, which stays until agent_retain_leave. */
enum emac_status agent_retain_add(struct node *n, const struct store_value *v, const char *job,
                                  uint64_t round, const char *name, bool task,
                                  struct emac_err *err);
void agent_retain_leave(struct node *n, const struct store_value *v, const char *job);
/* A lease of this round came; checks may come of rounds from `keep` on. */
void agent_retain_round(struct node *n, const char *job, uint64_t round, uint64_t keep);
/* v is a job's new `name` ("params.1"): what was that before is superseded. */
void agent_retain_supersede(struct node *n, const struct store_value *v, const char *job,
                            const char *name);
void agent_retain_idle(struct node *n);
/* Let go of the largest value that no task needs, superseded states and past rounds first, then
 * results, then the rest. false when there is none. */
bool agent_retain_spare(struct node *n);
/* Let go of what is not in the store any more: it was lost with a device. */
void agent_retain_lost(struct node *n);
/* Is there room for so many bytes more beside what tasks need, and what is on its way? */
bool agent_retain_fits(struct node *n, uint64_t bytes, uint64_t coming);
json_t *agent_retain_holds(struct node *n);
void agent_retain_release(struct node *n);

/* ---- heartbeat.c, upload.c ---- */
/* Take the share of time that the owner asks for: the file `duty`, or else the configuration. */
void agent_duty_read(struct node *n);
void *agent_heartbeat_thread(void *node);
void *agent_upload_thread(void *node);
/* Push this bundle to the depot soon; what is queued already is not queued twice. */
void agent_upload_ask(struct node *n, const struct cid *cid);
/* The CIDs of a JSON list; anything else in it is passed over. */
void agent_upload_ask_all(struct node *n, const json_t *list);
void agent_upload_release(struct node *n);

/* ---- agent_device.c ---- */
/* Open cfg.device, admit it and make n->exec for it. UNSUPPORTED with what is wrong with it. */
enum emac_status agent_device_open(struct node *n, struct emac_err *err);
void agent_device_close(struct node *n);
/* One thread at a time has the device. True when it had to be waited for. */
bool agent_device_take(struct node *n);
void agent_device_give(struct node *n);
/* After it was used, before it is given back: a device that was lost is opened again, or else the
 * CPU. False when there is none any more, and the rig is over. */
bool agent_device_check(struct node *n);
/* Take what was read over the bus for others into the figures. Of whoever has the device. */
void agent_bus_note(struct node *n);
/* What generates text: n->dev if the host's memory is its own, else a CPU device. */
enum emac_status agent_generation_device(struct node *n, struct device **out, struct emac_err *err);

/* ---- worker.c ---- */
/* What a lease brings, sealed to this rig for it alone. FORBIDDEN when it is not. Wipe *out. */
enum emac_status agent_keys_take(struct node *n, const json_t *reply, const char *lease,
                                 struct sealed_ring *out, struct emac_err *err);

/* ---- serve.c, serve_model.c (serving.h) ---- */
/* Answer a request for text, and those that come meanwhile, until there are none; failures are told
 * to the coordinator. Takes the lease. Of the worker, who has the device. */
void agent_serve(struct node *n, struct leased *first);
void agent_models_release(struct node *n);
/* Of who has the device: decoders go that are on it and nobody uses. True when there were some. */
bool agent_models_yield(struct node *n);
/* Before a task: the same, where they leave little of a card (SLOT-5). */
void agent_models_yield_for_task(struct node *n);

/* ---- dispute.c ---- */
/* Answer what a dispute asks for; what fails is told to the coordinator. */
void agent_dispute(struct node *n, struct leased *l);
void agent_dispute_release(struct node *n);

#endif

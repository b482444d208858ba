/* What the files of the agent share (agent.c and those named below). Nothing
 * outside src/node includes this.
 *
 * Who may touch what: fields under "worker" belong to the thread in node_run;
 * fields under `lock` to whoever holds it; the rest is set before the threads
 * start. `lock` is never held over the network, files or computing. */
#ifndef EMAC_NODE_AGENT_INTERNAL_H
#define EMAC_NODE_AGENT_INTERNAL_H

#include <jansson.h>
#include <stdatomic.h>

#include "exchange/exchange.h"
#include "http/identity.h"
#include "http/link.h"
#include "model/llama.h"
#include "node/agent.h"
#include "node/duty.h"
#include "node/exec.h"
#include "node/private.h"
#include "os/library.h"
#include "os/thread.h"

#define NODE_VERSION       "0.1.0"
#define NODE_LEASE_MAX     40
#define NODE_JOB_MAX       64
#define NODE_SLOT_MAX      64
#define NODE_HOLDS_MAX     256 /* state bundles named in a poll */
#define NODE_MISSING_MAX   64
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

/* A value that is held for others (INV-1). */
struct retained {
    const struct store_value *value; /* held */
    char job[NODE_JOB_MAX];
    uint64_t round, used; /* used: larger is later */
    uint64_t seen_ns;     /* last lease of the job */
    uint64_t used_ns;     /* last made or used */
    bool past;            /* two rounds old: kept for checks, while there is room */
    bool state;           /* parameters or optimiser state: told to the coordinator */
    bool superseded;      /* state: this rig made what took its place */
    char name[TASK_NAME_MAX];
};

/* A finished task whose receipt is not answered yet (INV-2). One is enough: the worker takes no
 * lease before it is. */
struct outbox {
    json_t *message; /* NULL: empty */
    char slot[NODE_SLOT_MAX];
    uint32_t output_count, conflicts;
    struct cid output[TASK_OUTPUTS_MAX];
    bool deposited; /* outputs lie in the depot, or peers can fetch them */
};

struct upload {
    struct cid cid;
    const struct store_value *value; /* held */
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
    atomic_bool stop, cancel; /* cancel: the lease under way is not wanted any more */
    atomic_bool reachable;    /* peers can fetch from us, as the coordinator found */
    atomic_uint heartbeat_ms;
    atomic_uint duty; /* thousandths; the executor reads it */
    atomic_uint_fast64_t served_bytes;
    atomic_uint_fast64_t task_memory; /* what the device may use for one task */

    bool duty_refused; /* heartbeat: that the file makes no sense was said */

    /* worker */
    bool ever_joined, away, in_challenge;
    uint64_t run_ns, away_ns;
    uint32_t backoff_ms;
    const json_t *sources; /* of the lease under way; fetchers read it */
    struct outbox outbox;
    json_t *next;                      /* the lease that came with a receipt's answer; owned */
    struct agent_dispute *dispute;     /* dispute.c; NULL: none */
    uint64_t told_sent, told_received; /* agent_traffic as the last receipt told it */
    struct retained *retained;
    size_t retained_count, retained_cap;
    uint64_t retained_bytes, used, task_used;     /* see retain.c */
    struct agent_model *model[NODE_SERVE_MODELS]; /* latest use first */

    struct os_mutex lock;
    struct os_cond wake; /* stop, final, joined, a new upload */
    bool joined;         /* hello said, challenge answered */
    struct node_figures figures;
    char lease[NODE_LEASE_MAX]; /* under way, or with its receipt unanswered; "" when none */
    uint64_t stop_ns;
    struct emac_err final; /* why the coordinator will have no more of us; OK: it will */
    struct cid missing[NODE_MISSING_MAX];
    uint32_t missing_count;
    struct upload upload[NODE_UPLOADS_MAX];
    uint32_t upload_count;
    struct cid uploading; /* taken out of the queue, under way */
    uint64_t deals_told;  /* version of what deals want, as the heartbeat heard it */
};

/* ---- agent.c ---- */
/* Nothing more is to be begun: node_stop was called or the coordinator refused us. */
bool agent_over(struct node *n);
/* The same as a callback for transfers. */
bool agent_over_cb(void *node);
void agent_state_set(struct node *n, const char *state);
bool agent_joined(struct node *n);
void agent_joined_set(struct node *n, bool joined);
/* Sleep that node_stop ends. */
void agent_pause(struct node *n, uint32_t ms);
/* The coordinator said FORBIDDEN: node_run ends with this sentence. */
void agent_refused(struct node *n, const struct emac_err *why);
void agent_lease_set(struct node *n, const char *lease); /* "" for none */
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
/* JSON is UTF-8; in a sentence that is not, each byte outside ASCII becomes '?'. */
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

/* ---- hello.c ---- */
/* Say hello, and answer the challenge if there is one. FORBIDDEN when refused. */
enum emac_status agent_join(struct node *n, struct emac_err *err);
/* Hello alone, for the heartbeat of a rig at work. */
enum emac_status agent_hello(struct node *n, struct emac_err *err);

/* ---- lease.c ---- */
/* One poll and what it brings, up to the receipt. OK when there was nothing, too. */
enum emac_status agent_work(struct node *n, struct emac_err *err);
/* Tell the coordinator that a lease failed; *why is told, and which input made it fail (NULL, or
 * none: no input did). */
void agent_lease_fail(struct node *n, const char *lease, const struct emac_err *why,
                      const struct cid *suspect);

/* ---- fetch.c ---- */
enum emac_status agent_fetch(void *node, const struct cid *cid, bool to_memory,
                             struct emac_err *err);
/* Bring the task's bundles into memory, hold them for the round, and let go of older rounds.
 * UNAVAILABLE when some cannot be had; n->missing names them all. */
enum emac_status agent_fetch_inputs(struct node *n, const struct task *t, const char *job,
                                    uint64_t round, struct emac_err *err);

/* ---- retain.c ---- */
void agent_retain_begin(struct node *n); /* what is added from here on is of the task under way */
/* Holds the value in its own right; one that is there already gets the round. `name` is that of the
 * input or output. */
enum emac_status agent_retain_add(struct node *n, const struct store_value *v, const char *job,
                                  uint64_t round, const char *name, struct emac_err *err);
void agent_retain_round(struct node *n, const char *job, uint64_t round);
/* v is a job's new `name` ("params.1"): what was that before is superseded. */
void agent_retain_supersede(struct node *n, const struct store_value *v, const char *job,
                            const char *name);
void agent_retain_idle(struct node *n);
/* Let go of the largest value that the task under way does not need, superseded states and past
 * rounds first, then results, then the rest. false when there is none. */
bool agent_retain_spare(struct node *n);
json_t *agent_retain_holds(struct node *n);
void agent_retain_release(struct node *n);

/* ---- outbox.c ---- */
/* Sign the receipt and keep it until it is answered. */
enum emac_status agent_outbox_put(struct node *n, const struct receipt *r, const char *slot,
                                  const struct exec_result *result, struct emac_err *err);
/* Deliver what is there; OK when it was answered, whatever the answer. */
enum emac_status agent_outbox_flush(struct node *n, struct emac_err *err);
void agent_outbox_clear(struct node *n);

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
/* The device was lost: open it again, or else the CPU. Fails with n->exec NULL. */
enum emac_status agent_device_recover(struct node *n, struct emac_err *err);
/* What generates text: n->dev if the host's memory is its own, else a CPU device. */
enum emac_status agent_generation_device(struct node *n, struct device **out, struct emac_err *err);

/* ---- dispute.c ---- */
/* Answer what a dispute asks for; what fails is told to the coordinator. */
void agent_dispute(struct node *n, const json_t *reply, const char *id);
void agent_dispute_release(struct node *n);

/* ---- serve.c, serve_model.c ---- */
/* Answer a generation request; failures are told to the coordinator. */
void agent_serve(struct node *n, const json_t *reply, const char *lease);
struct agent_model {
    struct cid cid;
    struct llama_config config;
    const struct store_value *whole; /* held; NULL when the model is merged out of two */
    struct emac_buf merged;          /* else empty */
    struct emac_slice weights;       /* whichever it is */
};
/* From memory, or fetched. Borrowed until the next call. */
enum emac_status agent_model_get(struct node *n, const struct cid *cid,
                                 const struct agent_model **out, struct emac_err *err);
void agent_models_release(struct node *n);

#endif

/* A real coordinator in a directory of its own, and rigs by script: they sign real requests over
 * real HTTP, but what they "compute" is a name for the task. So scheduling, verification, money and
 * crashes are tested without a tensor. A rig that lies computes another name. */
#ifndef EMAC_TESTS_COORDINATOR_HARNESS_H
#define EMAC_TESTS_COORDINATOR_HARNESS_H

#include "../node/exec_fixture.h"

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "base/hex.h"
#include "base/log.h"
#include "coordinator/coordinator.h"
#include "exchange/exchange.h"
#include "http/identity.h"
#include "work/job.h"

#define RIGS_MAX  8
#define NET_LOOPS 4000 /* rounds of polling before a test gives up */

struct rigbot {
    struct identity id;
    char boot[16];
    bool unplugged;     /* neither polls nor beats */
    bool lies;          /* about gradients */
    uint32_t lie_after; /* only from this step on */
    struct cid holds[16];
    uint32_t hold_count;
    char lease[64];      /* under way, for heartbeats */
    json_t *deposits;    /* asked for and not yet done */
    bool keeps_deposits; /* does not push what is asked */
    uint32_t done;       /* receipts accepted */
};

struct net {
    char dir[128], url[64];
    struct coordinator_config cfg;
    struct coordinator *c;
    struct http_client *http;
    struct identity user;
    struct store *bytes; /* everything that any rig ever made */
    const struct store_value *corpus;
    struct exec *exec; /* solves challenges */
    struct device *dev;
    struct rigbot rig[RIGS_MAX];
    uint32_t rigs;
    char job[32];
};

/* ---- files ---- */

static inline void remove_all(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *e;
    while (d != NULL && (e = readdir(d)) != NULL) {
        char inner[1024];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(inner, sizeof(inner), "%.700s/%.300s", path, e->d_name);
        if (unlink(inner) != 0)
            remove_all(inner);
    }
    if (d != NULL)
        closedir(d);
    rmdir(path);
}

static inline void log_line(void *ctx, enum log_level level, const char *module, const char *text)
{
    fprintf(stderr, "%llu %s: %s\n",
            (unsigned long long)(os_real()->mono_ns(os_real()) / 1000000 % 1000000), module, text);
}

/* ---- calls ---- */

static inline void identity_seeded(struct identity *id, uint8_t seed)
{
    uint8_t bytes[ED25519_SEED_BYTES] = {seed};
    crypto_ed25519_keypair(id->public_key, id->secret_key, bytes);
    crypto_did_key(id->did, id->public_key);
    id->signer = (struct http_signer){os_real(), id->did, id->secret_key};
}

/* HTTP status; *reply (may be NULL) is the JSON answer, or the error object. 0: nobody answers. */
static inline int call(struct net *n, const struct identity *who, const char *method,
                       const char *path, json_t *body, json_t **reply)
{
    struct http_reply r;
    char url[512];
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    snprintf(url, sizeof(url), "%s%s", n->url, path);
    struct http_call hc = {.method = method, .url = url, .timeout_ms = 40000};
    hc.signer = who ? &who->signer : NULL;
    if (text)
        hc.body = EMAC_SLICE(text, strlen(text));
    struct emac_err err = {0};
    enum emac_status st = http_client_call(n->http, &hc, &r, &err);
    int status = r.status;
    if (reply)
        *reply = st == EMAC_OK && r.body.len
                     ? json_loadb((const char *)r.body.data, r.body.len, 0, NULL)
                     : json_pack("{s:s, s:s}", "error", err.text, "code",
                                 emac_status_text(st == EMAC_OK ? EMAC_OK : err.status));
    if (st != EMAC_OK && status == 0)
        status = emac_status_http(err.status);
    http_reply_release(&r);
    json_decref(body);
    free(text);
    return status;
}

static inline json_t *get(struct net *n, const char *path)
{
    json_t *reply;
    int status = call(n, NULL, "GET", path, NULL, &reply);
    if (status != 200)
        fail_msg("GET %s: %d %s", path, status, json_string_value(json_object_get(reply, "error")));
    return reply;
}

static inline json_t *job_now(struct net *n)
{
    char path[64];
    snprintf(path, sizeof(path), "/v1/jobs/%s", n->job);
    return get(n, path);
}

static inline const char *str_of(json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static inline int64_t units_of(json_t *o, const char *key)
{
    return (int64_t)strtoll(str_of(o, key), NULL, 10);
}

static inline int64_t int_of(json_t *o, const char *key)
{
    return (int64_t)json_integer_value(json_object_get(o, key));
}

static inline bool job_is(struct net *n, const char *state)
{
    json_t *j = job_now(n);
    bool is = strcmp(str_of(j, "state"), state) == 0;
    json_decref(j);
    return is;
}

static inline int64_t figure(struct net *n, const char *name)
{
    json_t *j = job_now(n);
    int64_t v = int_of(json_object_get(j, "figures"), name);
    json_decref(j);
    return v;
}

static inline int64_t balance(struct net *n, const char *prefix)
{
    char path[300];
    snprintf(path, sizeof(path), "/v1/ledger/balances?prefix=%s", prefix);
    json_t *reply = get(n, path), *b;
    size_t i;
    int64_t sum = 0;
    json_array_foreach(json_object_get(reply, "balances"), i, b)
    {
        sum += units_of(b, "units");
    }
    json_decref(reply);
    return sum;
}

/* Does some line of the job's log hold this text? */
static inline bool logged(struct net *n, const char *text)
{
    char path[128];
    snprintf(path, sizeof(path), "/v1/jobs/%s/logs?limit=1000", n->job);
    json_t *reply = get(n, path), *line;
    size_t i;
    bool found = false;
    json_array_foreach(json_object_get(reply, "logs"), i, line)
    {
        found = found || strstr(str_of(line, "text"), text) != NULL;
    }
    json_decref(reply);
    return found;
}

static inline void assert_audit(struct net *n)
{
    json_t *a = get(n, "/v1/ledger/audit");
    if (!json_is_true(json_object_get(a, "ok"))) {
        char *text = json_dumps(a, 0);
        fail_msg("the audit fails: %s", text);
    }
    json_decref(a);
}

/* ---- the network ---- */

static inline void net_start(struct net *n)
{
    n->cfg.os = os_real();
    n->cfg.dir = n->dir;
    n->cfg.address = "127.0.0.1";
    n->cfg.dev = true;
    assert_ok(coordinator_start(&n->cfg, &n->c, err));
    snprintf(n->url, sizeof(n->url), "http://127.0.0.1:%u", coordinator_port(n->c));
    n->cfg.port = coordinator_port(n->c);
}

static inline struct store *bytes_store(void)
{
    const struct store_config cfg = {.os = os_real(), .memory_quota = 256 << 20, .hash_threads = 1};
    struct store *s;
    assert_ok(store_open(&cfg, &s, err));
    return s;
}

static inline void net_open(struct net *n, const char *name)
{
    if (getenv("EMAC_TEST_LOG"))
        log_set_sink(log_line, NULL, LOG_DEBUG);
    snprintf(n->dir, sizeof(n->dir), "/tmp/emac-test-%ld-%s", (long)getpid(), name);
    remove_all(n->dir);
    identity_seeded(&n->user, 200);
    assert_ok(http_client_new(&n->http, err));
    n->bytes = bytes_store();
    n->corpus = corpus_add(n->bytes, 3);
    assert_ok(device_cpu_open(ISA_BEST, 1, &n->dev, err));
    const struct exec_config x = {.os = os_real(), .store = n->bytes, .dev = n->dev};
    assert_ok(exec_new(&x, &n->exec, err));
    if (n->url[0] == 0)
        net_start(n);
}

static inline void net_close(struct net *n)
{
    if (n->c)
        coordinator_stop(n->c);
    for (uint32_t i = 0; i < RIGS_MAX; i++)
        json_decref(n->rig[i].deposits);
    exec_free(n->exec);
    store_value_drop(n->bytes, n->corpus);
    device_close(n->dev);
    store_close(n->bytes);
    http_client_free(n->http);
    remove_all(n->dir);
}

/* ---- users ---- */

static inline void faucet(struct net *n)
{
    json_t *reply;
    assert_int_equal(call(n, &n->user, "POST", "/v1/faucet", json_object(), &reply), 200);
    json_decref(reply);
}

static inline void push(struct net *n, const struct identity *who, const struct cid *cid)
{
    uint64_t bytes = 0;
    assert_ok(exchange_push(n->bytes, n->http, cid, n->url, &who->signer, &bytes, err));
}

/* steps, micro-batches, and what the caller changes in *job before net_submit. */
static inline struct job net_job(struct net *n, uint32_t steps, uint32_t micro_batches)
{
    struct job job = small_job(steps, micro_batches);
    job.data = n->corpus->cid;
    job.check = 0;
    job.state_copies = 1;
    job.checkpoint_every = steps;
    job.price_units_per_tflop = 1000000000;
    job.budget_units = 1000000000;
    job.nonce = 1;
    return job;
}

static inline int submit_status(struct net *n, const struct job *job, json_t **reply)
{
    return call(n, &n->user, "POST", "/v1/jobs", job_to_json(job), reply);
}

static inline void net_submit(struct net *n, const struct job *job)
{
    json_t *reply;
    faucet(n);
    push(n, &n->user, &n->corpus->cid);
    int status = submit_status(n, job, &reply);
    if (status != 201)
        fail_msg("POST /v1/jobs: %d %s", status, str_of(reply, "error"));
    set_text(n->job, str_of(reply, "id"));
    json_decref(reply);
}

/* ---- rigs ---- */

static inline void bytes_of(json_t *o, const char *key, struct emac_buf *out)
{
    const char *text = str_of(o, key);
    size_t len = strlen(text);
    emac_buf_init(out, TASK_BYTES_MAX * 2);
    assert_ok(emac_buf_reserve(out, len + 4, err));
    size_t got = len;
    assert_true(emac_unbase64(out->data, &got, text, len));
    out->len = got;
}

static inline void block_take(struct net *n, json_t *o, const char *key)
{
    struct emac_buf b;
    struct cid cid;
    bytes_of(o, key, &b);
    assert_ok(store_block_put(n->bytes, CID_DAG_CBOR, b.data, b.len, &cid, err));
    emac_buf_release(&b);
}

/* Solve the challenge with the task runner that rigs use. */
static inline int challenge_answer(struct net *n, struct rigbot *r, json_t *ch, bool right)
{
    struct emac_buf bytes;
    struct task t;
    struct exec_result res = {0};
    char cid[CID_TEXT_MAX];
    block_take(n, ch, "program");
    block_take(n, ch, "graph");
    bytes_of(ch, "task", &bytes);
    assert_ok(task_decode(&t, bytes.data, bytes.len, err));
    emac_buf_release(&bytes);
    assert_ok(exec_run(n->exec, &t, &res, err));
    task_release(&t);
    struct cid out = res.output[0].cid;
    assert_string_equal(res.output[0].name, "out");
    exec_result_release(n->exec, &res);
    if (!right)
        out.digest[0] ^= 1;
    cid_text(cid, &out);
    return call(n, &r->id, "POST", "/v1/nodes/challenge",
                json_pack("{s:s, s:{s:s}}", "id", str_of(ch, "id"), "outputs", "out", cid), NULL);
}

static inline json_t *hello_body(const struct rigbot *r)
{
    return json_pack("{s:n, s:s, s:s, s:s, s:i, s:I, s:I, s:s, s:s}", "url", "name", "bot",
                     "version", "0.1.0", "isa", "avx2", "threads", 1, "memory_bytes",
                     (json_int_t)1 << 30, "disk_bytes", (json_int_t)1 << 30, "conformance",
                     CONFORMANCE_DIGEST, "boot", r->boot);
}

static inline int hello(struct net *n, struct rigbot *r)
{
    json_t *reply;
    int status = call(n, &r->id, "POST", "/v1/nodes", hello_body(r), &reply);
    if (status == 200 && strcmp(str_of(reply, "state"), "challenge") == 0)
        status = challenge_answer(n, r, json_object_get(reply, "challenge"), true);
    json_decref(reply);
    return status;
}

static inline struct rigbot *rig_named(struct net *n, uint8_t seed)
{
    struct rigbot *r = &n->rig[n->rigs++];
    *r = (struct rigbot){.deposits = json_array()};
    identity_seeded(&r->id, seed);
    snprintf(r->boot, sizeof(r->boot), "boot-%u", seed);
    return r;
}

static inline struct rigbot *rig_add(struct net *n)
{
    struct rigbot *r = rig_named(n, (uint8_t)(n->rigs + 1));
    assert_int_equal(hello(n, r), 200);
    return r;
}

static inline json_t *holds_json(const struct rigbot *r)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < r->hold_count; i++) {
        char text[CID_TEXT_MAX];
        cid_text(text, &r->holds[i]);
        json_array_append_new(list, json_string(text));
    }
    return list;
}

/* Status; *lease is the granted lease on 200. */
static inline int poll_status(struct net *n, struct rigbot *r, uint32_t wait_ms, json_t **lease)
{
    json_t *body = json_pack("{s:i, s:o}", "wait_ms", (int)wait_ms, "holds", holds_json(r));
    int status = call(n, &r->id, "POST", "/v1/lease", body, lease);
    if (status == 409) {
        json_decref(*lease);
        assert_int_equal(hello(n, r), 200);
        return poll_status(n, r, wait_ms, lease);
    }
    if (status == 200)
        set_text(r->lease, str_of(*lease, "lease"));
    return status;
}

/* The lease, or NULL when there is none. */
static inline json_t *poll(struct net *n, struct rigbot *r, uint32_t wait_ms)
{
    json_t *lease;
    int status = poll_status(n, r, wait_ms, &lease);
    if (status == 200)
        return lease;
    if (status != 204)
        fail_msg("lease: %d %s", status, str_of(lease, "error"));
    json_decref(lease);
    return NULL;
}

static inline void deposits_take(struct rigbot *r, json_t *reply)
{
    json_array_extend(r->deposits, json_object_get(reply, "deposit"));
}

static inline void deposits_push(struct net *n, struct rigbot *r)
{
    json_t *item;
    size_t i;
    if (r->keeps_deposits)
        return;
    json_array_foreach(r->deposits, i, item)
    {
        struct cid cid;
        assert_ok(cid_parse(&cid, json_string_value(item), err));
        push(n, &r->id, &cid);
    }
    json_array_clear(r->deposits);
}

/* Cancelled leases are in the answer; decref it. */
static inline json_t *beat(struct net *n, struct rigbot *r)
{
    json_t *reply, *body = json_pack("{s:[]}", "leases");
    if (r->lease[0])
        json_array_append_new(json_object_get(body, "leases"), json_string(r->lease));
    assert_int_equal(call(n, &r->id, "POST", "/v1/heartbeat", body, &reply), 200);
    deposits_take(r, reply);
    return reply;
}

/* ---- made-up results ---- */

static inline struct cid bytes_keep(struct net *n, const void *data, size_t len)
{
    struct cid cid;
    assert_ok(store_block_put(n->bytes, CID_RAW, data, len, &cid, err));
    return cid;
}

static inline struct cid named_output(struct net *n, const char *name, const struct cid *task,
                                      bool lie)
{
    char text[256], cid[CID_TEXT_MAX];
    cid_text(cid, task);
    snprintf(text, sizeof(text), "%s of %s%s", name, cid, lie ? ", a lie" : "");
    return bytes_keep(n, text, strlen(text));
}

/* A real bundle: {grad_norm, loss}, each of one number. */
static inline void metrics_make(float loss, struct emac_buf *out)
{
    struct st_index idx = {0};
    const uint64_t one = 1;
    float value[2] = {1, loss}; /* grad_norm, loss: by name */
    emac_buf_init(out, 4096);
    assert_ok(st_index_add(&idx, "loss", ST_F32, 1, &one, err));
    assert_ok(st_index_add(&idx, "grad_norm", ST_F32, 1, &one, err));
    assert_ok(st_bundle_layout(&idx, out, err));
    assert_ok(emac_buf_append(out, value, sizeof(value), err));
    st_index_release(&idx);
}

struct made_up {
    struct receipt receipt;
    struct emac_buf metrics;
    bool has_metrics;
};

static inline void output_add(struct made_up *m, const char *name, struct cid cid)
{
    struct task_output *o = &m->receipt.output[m->receipt.output_count++];
    set_text(o->name, name);
    o->cid = cid;
}

/* What a rig would answer for this lease. */
static inline void make_up(struct net *n, struct rigbot *r, json_t *lease, bool lie,
                           struct made_up *m)
{
    struct emac_buf task;
    const char *slot = str_of(lease, "slot");
    *m = (struct made_up){0};
    bytes_of(lease, "task", &task);
    m->receipt.task = cid_of(CID_DAG_CBOR, task.data, task.len);
    emac_buf_release(&task);
    set_text(m->receipt.lease, str_of(lease, "lease"));
    set_text(m->receipt.node, r->id.did);
    m->receipt.started_ms = m->receipt.ended_ms = os_real()->wall_ms(os_real());
    const struct cid *t = &m->receipt.task;
    if (strncmp(slot, "step", 4) == 0 || strcmp(slot, "score") == 0) {
        m->has_metrics = true;
        metrics_make(lie ? 9.0f : 5.0f - 0.01f * (float)int_of(lease, "round"), &m->metrics);
        output_add(m, "metrics", bytes_keep(n, m->metrics.data, m->metrics.len));
    }
    if (strncmp(slot, "step", 4) == 0 || strcmp(slot, "init") == 0) {
        output_add(m, "opt", named_output(n, "opt", t, lie));
        output_add(m, "params", named_output(n, "params", t, lie));
    }
    if (strncmp(slot, "grad", 4) == 0 || strncmp(slot, "eval", 4) == 0)
        output_add(m, "sum", named_output(n, "sum", t, lie));
}

static inline json_t *text64(const void *data, size_t len)
{
    char *text = malloc(EMAC_BASE64_LEN(len) + 1);
    emac_base64(text, data, len);
    json_t *v = json_string(text);
    free(text);
    return v;
}

/* Sign with r's key whatever the receipt says, and send it as r. */
static inline int send_receipt(struct net *n, struct rigbot *r, struct made_up *m, json_t **reply)
{
    struct emac_buf bytes;
    uint8_t sig[ED25519_SIGNATURE_BYTES];
    emac_buf_init(&bytes, RECEIPT_BYTES_MAX);
    assert_ok(receipt_encode(&m->receipt, &bytes, NULL, err));
    crypto_ed25519_sign(sig, bytes.data, bytes.len, r->id.secret_key);
    json_t *body = json_pack("{s:o, s:o}", "receipt", text64(bytes.data, bytes.len), "signature",
                             text64(sig, sizeof(sig)));
    if (m->has_metrics)
        json_object_set_new(body, "inline",
                            json_pack("{s:o}", "metrics", text64(m->metrics.data, m->metrics.len)));
    emac_buf_release(&bytes);
    return call(n, &r->id, "POST", "/v1/receipts", body, reply);
}

static inline void made_up_release(struct made_up *m)
{
    if (m->has_metrics)
        emac_buf_release(&m->metrics);
}

static inline void holds_note(struct rigbot *r, const struct made_up *m)
{
    for (uint32_t i = 0; i < m->receipt.output_count; i++) {
        const struct task_output *o = &m->receipt.output[i];
        if (strcmp(o->name, "params") != 0 && strcmp(o->name, "opt") != 0)
            continue;
        if (r->hold_count == 4) { /* as much as two rounds */
            memmove(&r->holds[0], &r->holds[1], 3 * sizeof(r->holds[0]));
            r->hold_count--;
        }
        r->holds[r->hold_count++] = o->cid;
    }
}

/* Answer a lease; the status of the receipt's call. *reply may be NULL. */
static inline int answer(struct net *n, struct rigbot *r, json_t *lease, bool lie, json_t **out)
{
    struct made_up m;
    json_t *reply;
    make_up(n, r, lease, lie, &m);
    int status = send_receipt(n, r, &m, &reply);
    if (status == 200) {
        r->done += json_is_true(json_object_get(reply, "accepted"));
        holds_note(r, &m);
        deposits_take(r, reply);
    }
    r->lease[0] = 0;
    made_up_release(&m);
    if (out)
        *out = reply;
    else
        json_decref(reply);
    return status;
}

static inline bool lies_now(const struct rigbot *r, json_t *lease)
{
    return r->lies && strncmp(str_of(lease, "slot"), "grad", 4) == 0 &&
           int_of(lease, "round") >= r->lie_after;
}

/* One poll and, if there is work, its answer. True when something was done. A rig that is refused
 * (quarantined) unplugs itself. */
static inline bool turn(struct net *n, struct rigbot *r)
{
    json_t *lease;
    if (r->unplugged)
        return false;
    int status = poll_status(n, r, 0, &lease);
    if (status == 403)
        r->unplugged = true;
    else if (status != 200 && status != 204)
        fail_msg("lease: %d %s", status, str_of(lease, "error"));
    bool work = status == 200;
    if (work) {
        status = answer(n, r, lease, lies_now(r, lease), NULL);
        assert_true(status == 200 || status == 403);
    }
    json_decref(lease);
    deposits_push(n, r);
    return work;
}

/* Let all rigs work until the job is in this state. */
static inline void run_until(struct net *n, const char *state)
{
    for (int i = 0; i < NET_LOOPS; i++) {
        bool any = false;
        for (uint32_t k = 0; k < n->rigs; k++)
            any = turn(n, &n->rig[k]) || any;
        if (i % 8 == 0 || !any) {
            if (job_is(n, state))
                return;
            if (!any)
                os_real()->sleep_ms(os_real(), 5);
        }
        if (i % 16 == 15)
            for (uint32_t k = 0; k < n->rigs; k++)
                if (!n->rig[k].unplugged)
                    json_decref(beat(n, &n->rig[k]));
    }
    json_t *j = job_now(n);
    fail_msg("the job is not '%s' but '%s' at step %d: %s", state, str_of(j, "state"),
             (int)int_of(j, "step"), str_of(j, "reason"));
}

/* Until the job has done `step` steps. */
static inline void run_to_step(struct net *n, int64_t step)
{
    for (int i = 0; i < NET_LOOPS; i++) {
        json_t *j = job_now(n);
        bool there = int_of(j, "step") >= step;
        json_decref(j);
        if (there)
            return;
        bool any = false;
        for (uint32_t k = 0; k < n->rigs; k++)
            any = turn(n, &n->rig[k]) || any;
        if (!any)
            os_real()->sleep_ms(os_real(), 5);
    }
    fail_msg("the job does not come to step %d", (int)step);
}

static inline void sleep_ms(uint32_t ms)
{
    os_real()->sleep_ms(os_real(), ms);
}

#endif

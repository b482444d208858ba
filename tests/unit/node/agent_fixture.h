/* A coordinator by script for tests of the agent: it hands out the leases a test puts into its
 * queue, checks each signature, and keeps what it was told. Its depot is the store of an oracle
 * (exec_fixture.h), which also computes what the agent should. */
#ifndef EMAC_TESTS_NODE_AGENT_FIXTURE_H
#define EMAC_TESTS_NODE_AGENT_FIXTURE_H

#include "exec_fixture.h"
#include "remove_tree.h"

#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "base/hex.h"
#include "base/log.h"
#include "exchange/exchange.h"
#include "http/identity.h"
#include "node/agent.h"
#include "os/thread.h"

#define FAKE_QUEUE_MAX 16
#define FAKE_WAIT_MS   15000 /* for anything a test waits for */

struct fake {
    struct rig rig; /* oracle and depot */
    struct http_server *server;
    uint16_t port;
    char url[64];
    struct nonce_cache *nonces;
    struct os_mutex lock;
    struct os_cond changed;
    /* the script */
    const char *hello; /* state to answer with: "admitted", "challenge", "quarantined" */
    bool reachable, forget, refuse; /* forget: 409 until hello; refuse: 403 for everything signed */
    int receipt_failures;           /* receipts to be answered with 503 before one is taken */
    bool serve_cancel;
    struct cid challenge_program;
    json_t *queue[FAKE_QUEUE_MAX];
    uint32_t queued, leases;              /* leases: given so far */
    json_t *cancel, *deposit, *providers; /* answers; owned */
    /* what came */
    int hellos, answers, polls, beats, receipts, failures, pieces, bad_signatures, deposits;
    json_t *last_hello, *last_answer, *last_poll, *last_receipt, *last_failure, *last_beat;
    struct emac_buf text; /* of pieces */
    json_t *last_piece;
    uint64_t last_receipt_ns, last_lease_ns;
    char did[DID_KEY_MAX];
};

/* Log lines on stderr when EMAC_TEST_LOG is set. */
static inline void log_line(void *ctx, enum log_level level, const char *module, const char *text)
{
    fprintf(stderr, "%llu %s: %s\n",
            (unsigned long long)(os_real()->mono_ns(os_real()) / 1000 % 100000000), module, text);
}

static inline void log_open(void)
{
    if (getenv("EMAC_TEST_LOG") != NULL)
        log_set_sink(log_line, NULL, LOG_DEBUG);
}

/* ---- handlers ---- */

static inline json_t *bytes_json(const void *data, size_t n)
{
    char *text = malloc(EMAC_BASE64_LEN(n) + 1);
    emac_base64(text, data, n);
    json_t *v = json_string(text);
    free(text);
    return v;
}

static inline json_t *block_json(struct fake *f, const struct cid *cid)
{
    struct emac_buf b;
    emac_buf_init(&b, UNIXFS_BLOCK_MAX);
    assert_ok(store_block_get(f->rig.store, cid, &b, err));
    json_t *v = bytes_json(b.data, b.len);
    emac_buf_release(&b);
    return v;
}

static inline json_t *task_json(const struct task *t, struct cid *cid)
{
    struct emac_buf b;
    emac_buf_init(&b, TASK_BYTES_MAX);
    assert_ok(task_encode(t, &b, cid, err));
    json_t *v = bytes_json(b.data, b.len);
    emac_buf_release(&b);
    return v;
}

static inline enum emac_status fake_reply(struct http_response *res, json_t *body,
                                          struct emac_err *err)
{
    char *text = json_dumps(body, JSON_COMPACT);
    enum emac_status st = emac_buf_append(&res->body, text, strlen(text), err);
    free(text);
    json_decref(body);
    return st;
}

static inline void keep(json_t **slot, json_t *v)
{
    json_decref(*slot);
    *slot = v;
}

/* Signature and body of a call; *out is the caller's. */
static inline enum emac_status fake_begin(struct fake *f, const struct http_request *req,
                                          json_t **out, struct emac_err *err)
{
    char did[DID_KEY_MAX];
    enum emac_status st = http_verify(req, os_real()->wall_ms(os_real()), f->nonces, did, err);
    os_mutex_lock(&f->lock);
    f->bad_signatures += st != EMAC_OK;
    if (st == EMAC_OK)
        set_text(f->did, did);
    bool refuse = f->refuse;
    os_mutex_unlock(&f->lock);
    if (st != EMAC_OK)
        return st;
    if (refuse)
        return emac_fail(err, EMAC_FORBIDDEN, "this rig is quarantined: it lied about 'grad'");
    *out = json_loadb((const char *)req->body.data, req->body.len, 0, NULL);
    return json_is_object(*out) ? EMAC_OK : emac_fail(err, EMAC_INVALID, "no JSON");
}

static inline enum emac_status fake_nodes(void *ctx, const struct http_request *req,
                                          struct http_response *res, struct emac_err *err)
{
    struct fake *f = ctx;
    json_t *body = NULL, *challenge = NULL;
    enum emac_status st = fake_begin(f, req, &body, err);
    if (st != EMAC_OK)
        return st;
    os_mutex_lock(&f->lock);
    f->hellos++;
    f->forget = false;
    keep(&f->last_hello, body);
    if (strcmp(f->hello, "challenge") == 0) {
        struct program p;
        struct emac_buf b;
        struct task t = {.program = f->challenge_program};
        emac_buf_init(&b, PROGRAM_BYTES_MAX);
        assert_ok(store_block_get(f->rig.store, &t.program, &b, err));
        assert_ok(program_decode(&p, b.data, b.len, err));
        emac_buf_release(&b);
        challenge = json_pack("{s:s,s:o,s:o,s:o}", "id", "challenge-1", "program",
                              block_json(f, &t.program), "graph", block_json(f, &p.graph), "task",
                              task_json(&t, NULL));
    }
    json_t *reply =
        json_pack("{s:s,s:b,s:o?,s:i,s:i}", "state", f->hello, "reachable", (int)f->reachable,
                  "challenge", challenge, "heartbeat_ms", 50, "lease_ttl_ms", 4000);
    os_cond_broadcast(&f->changed);
    os_mutex_unlock(&f->lock);
    return fake_reply(res, reply, err);
}

static inline enum emac_status fake_challenge(void *ctx, const struct http_request *req,
                                              struct http_response *res, struct emac_err *err)
{
    struct fake *f = ctx;
    json_t *body = NULL;
    enum emac_status st = fake_begin(f, req, &body, err);
    if (st != EMAC_OK)
        return st;
    os_mutex_lock(&f->lock);
    f->answers++;
    keep(&f->last_answer, body);
    os_cond_broadcast(&f->changed);
    os_mutex_unlock(&f->lock);
    return fake_reply(res, json_pack("{s:s,s:f}", "state", "admitted", "gflops", 12.5), err);
}

static inline enum emac_status fake_lease(void *ctx, const struct http_request *req,
                                          struct http_response *res, struct emac_err *err)
{
    struct fake *f = ctx;
    json_t *body = NULL;
    enum emac_status st = fake_begin(f, req, &body, err);
    if (st != EMAC_OK)
        return st;
    os_mutex_lock(&f->lock);
    f->polls++;
    keep(&f->last_poll, body);
    os_cond_broadcast(&f->changed);
    uint64_t end = os_real()->mono_ns(os_real()) +
                   (uint64_t)json_integer_value(json_object_get(body, "wait_ms")) * 1000000;
    while (f->queued == 0 && !f->forget && !f->refuse && !http_server_stopping(f->server) &&
           os_real()->mono_ns(os_real()) < end)
        os_cond_wait_ms(&f->changed, &f->lock, 20);
    if (f->refuse)
        st = emac_fail(err, EMAC_FORBIDDEN, "this rig is quarantined: it lied about 'grad'");
    else if (f->forget)
        st = emac_fail(err, EMAC_CONFLICT, "say hello first");
    json_t *reply = NULL;
    if (st == EMAC_OK && f->queued > 0) {
        reply = f->queue[0];
        memmove(&f->queue[0], &f->queue[1], --f->queued * sizeof f->queue[0]);
        f->leases++;
        f->last_lease_ns = os_real()->mono_ns(os_real());
    }
    os_cond_broadcast(&f->changed);
    os_mutex_unlock(&f->lock);
    if (st != EMAC_OK || reply != NULL)
        return st != EMAC_OK ? st : fake_reply(res, reply, err);
    res->status = 204;
    return EMAC_OK;
}

static inline enum emac_status fake_heartbeat(void *ctx, const struct http_request *req,
                                              struct http_response *res, struct emac_err *err)
{
    struct fake *f = ctx;
    json_t *body = NULL;
    enum emac_status st = fake_begin(f, req, &body, err);
    if (st != EMAC_OK)
        return st;
    os_mutex_lock(&f->lock);
    f->beats++;
    keep(&f->last_beat, body);
    json_t *reply = json_pack("{s:O,s:O}", "cancel", f->cancel, "deposit", f->deposit);
    if (f->forget) {
        json_decref(reply);
        st = emac_fail(err, EMAC_CONFLICT, "say hello first");
    }
    os_cond_broadcast(&f->changed);
    os_mutex_unlock(&f->lock);
    return st == EMAC_OK ? fake_reply(res, reply, err) : st;
}

static inline enum emac_status fake_receipt(void *ctx, const struct http_request *req,
                                            struct http_response *res, struct emac_err *err)
{
    struct fake *f = ctx;
    json_t *body = NULL;
    enum emac_status st = fake_begin(f, req, &body, err);
    if (st != EMAC_OK)
        return st;
    os_mutex_lock(&f->lock);
    if (f->receipt_failures > 0) {
        f->receipt_failures--;
        json_decref(body);
        st = emac_fail(err, EMAC_UNAVAILABLE, "the database is busy");
    } else {
        f->receipts++;
        f->last_receipt_ns = os_real()->mono_ns(os_real());
        keep(&f->last_receipt, body);
    }
    os_cond_broadcast(&f->changed);
    os_mutex_unlock(&f->lock);
    if (st != EMAC_OK)
        return st;
    return fake_reply(
        res, json_pack("{s:b,s:s,s:n}", "accepted", 1, "paid_units", "1500000000", "reason"), err);
}

static inline enum emac_status fake_failure(void *ctx, const struct http_request *req,
                                            struct http_response *res, struct emac_err *err)
{
    struct fake *f = ctx;
    json_t *body = NULL;
    enum emac_status st = fake_begin(f, req, &body, err);
    if (st != EMAC_OK)
        return st;
    os_mutex_lock(&f->lock);
    f->failures++;
    keep(&f->last_failure, body);
    os_cond_broadcast(&f->changed);
    os_mutex_unlock(&f->lock);
    return fake_reply(res, json_object(), err);
}

static inline enum emac_status fake_piece(void *ctx, const struct http_request *req,
                                          struct http_response *res, struct emac_err *err)
{
    struct fake *f = ctx;
    json_t *body = NULL;
    enum emac_status st = fake_begin(f, req, &body, err);
    if (st != EMAC_OK)
        return st;
    os_mutex_lock(&f->lock);
    f->pieces++;
    json_t *text = json_object_get(body, "text");
    emac_buf_append(&f->text, json_string_value(text), json_string_length(text), NULL);
    keep(&f->last_piece, body);
    json_t *reply = json_pack("{s:b}", "cancel", (int)f->serve_cancel);
    os_cond_broadcast(&f->changed);
    os_mutex_unlock(&f->lock);
    return fake_reply(res, reply, err);
}

static inline enum emac_status fake_providers(void *ctx, const struct http_request *req,
                                              struct http_response *res, struct emac_err *err)
{
    struct fake *f = ctx;
    os_mutex_lock(&f->lock);
    json_t *reply =
        json_pack("{s:s,s:O}", "cid", http_path_param(req, "cid"), "providers", f->providers);
    os_mutex_unlock(&f->lock);
    return fake_reply(res, reply, err);
}

static inline enum emac_status fake_block(void *ctx, const struct http_request *req,
                                          struct http_response *res, struct emac_err *err)
{
    return exchange_serve(((struct fake *)ctx)->rig.store, req, res, err);
}

static inline enum emac_status fake_depot(void *ctx, const struct http_request *req,
                                          struct http_response *res, struct emac_err *err)
{
    struct fake *f = ctx;
    os_mutex_lock(&f->lock);
    f->deposits++;
    os_mutex_unlock(&f->lock);
    return exchange_depot_post(f->rig.store, req, "test", res, err);
}

static inline enum emac_status fake_missing(void *ctx, const struct http_request *req,
                                            struct http_response *res, struct emac_err *err)
{
    return exchange_depot_missing(((struct fake *)ctx)->rig.store, req, res, err);
}

static inline enum emac_status fake_health(void *ctx, const struct http_request *req,
                                           struct http_response *res, struct emac_err *err)
{
    return emac_buf_append(&res->body, "ok", 2, err);
}

static const struct http_route FAKE_ROUTES[] = {
    {"POST", "/v1/nodes", 1 << 20, fake_nodes},
    {"POST", "/v1/nodes/challenge", 1 << 20, fake_challenge},
    {"POST", "/v1/lease", 1 << 20, fake_lease},
    {"POST", "/v1/heartbeat", 1 << 20, fake_heartbeat},
    {"POST", "/v1/receipts", 1 << 20, fake_receipt},
    {"POST", "/v1/failures", 1 << 20, fake_failure},
    {"POST", "/v1/serve/{lease}", 1 << 20, fake_piece},
    {"GET", "/v1/providers/{cid}", 0, fake_providers},
    {"GET", "/ipfs/{cid}", 0, fake_block},
    {"GET", "/v1/depot/{cid}/missing", 0, fake_missing},
    {"POST", "/v1/depot/{cid}", 32 << 20, fake_depot},
    {"GET", "/healthz", 0, fake_health},
};

/* ---- life ---- */

static inline void fake_up(struct fake *f)
{
    const struct http_server_config cfg = {.address = "127.0.0.1",
                                           .port = f->port,
                                           .routes = FAKE_ROUTES,
                                           .route_count = sizeof FAKE_ROUTES / sizeof *FAKE_ROUTES,
                                           .ctx = f};
    assert_ok(http_server_start(&cfg, &f->server, err));
    f->port = http_server_port(f->server);
    snprintf(f->url, sizeof f->url, "http://127.0.0.1:%u", f->port);
}

static inline void fake_down(struct fake *f)
{
    http_server_stop(f->server);
    f->server = NULL;
}

static inline void fake_open(struct fake *f)
{
    *f = (struct fake){.hello = "admitted", .reachable = true};
    rig_open(&f->rig, ISA_BEST, 1, 4);
    f->nonces = nonce_cache_new();
    f->challenge_program = f->rig.plan->init_program;
    f->cancel = json_array();
    f->deposit = json_array();
    f->providers = json_array();
    emac_buf_init(&f->text, 1 << 20);
    os_mutex_init(&f->lock);
    os_cond_init(&f->changed);
    fake_up(f);
}

static inline void fake_close(struct fake *f)
{
    if (f->server != NULL)
        fake_down(f);
    json_t *kept[] = {f->last_hello, f->last_answer, f->last_poll, f->last_receipt, f->last_failure,
                      f->last_beat,  f->last_piece,  f->cancel,    f->deposit,      f->providers};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        json_decref(kept[i]);
    for (uint32_t i = 0; i < f->queued; i++)
        json_decref(f->queue[i]);
    emac_buf_release(&f->text);
    nonce_cache_free(f->nonces);
    rig_close(&f->rig);
    os_cond_release(&f->changed);
    os_mutex_release(&f->lock);
}

/* Wait until *counter >= want. */
#define fake_wait(f, counter, want) fake_wait_for((f), &(f)->counter, (want), #counter)
static inline void fake_wait_for(struct fake *f, const int *counter, int want, const char *what)
{
    uint64_t end = os_real()->mono_ns(os_real()) + FAKE_WAIT_MS * (uint64_t)1000000;
    os_mutex_lock(&f->lock);
    while (*counter < want && os_real()->mono_ns(os_real()) < end)
        os_cond_wait_ms(&f->changed, &f->lock, 20);
    int got = *counter;
    os_mutex_unlock(&f->lock);
    if (got < want)
        fail_msg("waited in vain for %d %s, got %d", want, what, got);
}

static inline int fake_get(struct fake *f, const int *counter)
{
    os_mutex_lock(&f->lock);
    int v = *counter;
    os_mutex_unlock(&f->lock);
    return v;
}

static inline void fake_queue(struct fake *f, json_t *lease)
{
    os_mutex_lock(&f->lock);
    assert_true(f->queued < FAKE_QUEUE_MAX && lease != NULL);
    f->queue[f->queued++] = lease;
    os_cond_broadcast(&f->changed);
    os_mutex_unlock(&f->lock);
}

/* ---- the agent under test ---- */

struct agent {
    char dir[64];
    struct node *node;
    struct os_thread thread;
    enum emac_status st;
    struct emac_err err;
    bool running;
};

static inline void *agent_main(void *arg)
{
    struct agent *a = arg;
    a->st = node_run(a->node, &a->err);
    return NULL;
}

static inline struct node_config agent_config(const struct fake *f)
{
    return (struct node_config){.os = os_real(),
                                .coordinator = f->url,
                                .name = "test rig",
                                .isa = ISA_BEST,
                                .threads = 1,
                                .memory_quota = 64 << 20,
                                .forever = true};
}

static inline void agent_start_as(struct agent *a, struct node_config cfg)
{
    *a = (struct agent){.running = true};
    set_text(a->dir, "/tmp/emac-test-agent-XXXXXX");
    assert_non_null(mkdtemp(a->dir));
    cfg.dir = a->dir;
    assert_ok(node_open(&cfg, &a->node, err));
    os_thread_start(&a->thread, agent_main, a);
}

static inline void agent_start(struct agent *a, const struct fake *f)
{
    agent_start_as(a, agent_config(f));
}

static inline void agent_join(struct agent *a)
{
    if (a->running)
        os_thread_join(&a->thread);
    a->running = false;
}

static inline void agent_end(struct agent *a)
{
    node_stop(a->node);
    agent_join(a);
    if (a->st != EMAC_OK)
        fail_msg("node_run: %s", a->err.text);
    node_close(a->node);
    remove_tree(a->dir);
}

#endif

/* A real coordinator in a directory of its own, and rigs by script: they sign real requests over
 * real HTTP, but what they "compute" is a name for the task. So scheduling, verification, money and
 * crashes are tested without a tensor. A rig that lies computes another name. */
#ifndef EMAC_TESTS_COORDINATOR_NET_H
#define EMAC_TESTS_COORDINATOR_NET_H

#include "../node/exec_fixture.h"
#include "../remove_tree.h"

#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "base/hex.h"
#include "base/log.h"
#include "coordinator/coordinator.h"
#include "exchange/exchange.h"
#include "http/identity.h"
#include "os/thread.h"
#include "work/job.h"

#define RIGS_MAX  8
#define NET_LOOPS 4000 /* rounds of polling before a test gives up */

struct rigbot {
    struct identity id;
    char boot[16];
    bool unplugged;       /* neither polls nor beats */
    int slots;            /* told with its polls; 0: not */
    bool lies;            /* about gradients, or */
    const char *about;    /* what slots begin with */
    uint32_t lie_after;   /* only from this step on */
    struct cid holds[32]; /* states of the last two rounds, or as many as they keep */
    uint32_t hold_count;
    struct cid sums[128]; /* its last ones */
    uint32_t sum_count;
    char lease[64];      /* under way, for heartbeats */
    json_t *deposits;    /* asked for and not yet done */
    bool keeps_deposits; /* does not push what is asked */
    uint32_t done;       /* receipts accepted */
    uint32_t told;       /* lies among all receipts */
};

struct net {
    char dir[128], url[64];
    struct coordinator_config cfg;
    struct coordinator *c;
    struct http_client *http;
    struct identity user;
    struct store *bytes; /* everything that any rig ever made */
    bool bytes_dropped;  /* none of it: nobody asks for deposits */
    const struct store_value *corpus;
    struct exec *exec; /* solves challenges */
    struct device *dev;
    struct rigbot rig[RIGS_MAX];
    uint32_t rigs;
    char job[32];
    struct os *moved; /* the coordinator's, with a clock of its own; NULL: the real one */
    uint32_t jobs;    /* that rigs keep states of side by side, at most 4; 0: one */
    uint32_t keep;    /* rounds of one job that they keep, at most 16; 0: two, whatever is asked */
    float (*score)(struct net *n, json_t *lease); /* held-out losses; NULL: those of training */
};

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

/* Is the rig "admitted", "quarantined", ... ? */
static inline bool rig_state_is(struct net *n, const struct rigbot *r, const char *state)
{
    json_t *s = get(n, "/v1/status"), *node;
    size_t i;
    bool is = false;
    json_array_foreach(json_object_get(s, "nodes"), i, node)
    {
        if (strcmp(str_of(node, "did"), r->id.did) == 0)
            is = strcmp(str_of(node, "state"), state) == 0;
    }
    json_decref(s);
    return is;
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

/* The body, whatever it is; accept may be NULL. Free it. */
static inline char *fetch_text(struct net *n, const char *path, const char *accept)
{
    struct http_reply r;
    char url[256];
    snprintf(url, sizeof(url), "%s%s", n->url, path);
    struct http_call hc = {.method = "GET", .url = url, .timeout_ms = 20000};
    if (accept)
        http_header_add(&hc.headers, "Accept", accept);
    assert_ok(http_client_call(n->http, &hc, &r, err));
    char *text = emac_strndup(emac_buf_str(&r.body), r.body.len);
    http_reply_release(&r);
    return text;
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
    n->cfg.os = n->moved ? n->moved : os_real();
    n->cfg.dir = n->dir;
    n->cfg.address = "127.0.0.1";
    n->cfg.dev = true;
    assert_ok(coordinator_start(&n->cfg, &n->c, err));
    snprintf(n->url, sizeof(n->url), "http://127.0.0.1:%u", coordinator_port(n->c));
    n->cfg.port = coordinator_port(n->c);
}

static inline void net_restart(struct net *n)
{
    coordinator_stop(n->c);
    n->c = NULL;
    net_start(n);
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
    if (n->url[0] == 0) /* else the coordinator runs already, in a process of its own */
        remove_tree(n->dir);
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
    remove_tree(n->dir);
}

#endif

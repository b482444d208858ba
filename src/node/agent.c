/* Life of a rig: opening, the intake's loop, stopping.
 *
 * The intake's loop, each turn one step; what it does next follows from what it
 * is (fields of struct node):
 *   away               probe the coordinator; when it answers, not away any more
 *   not joined         hello, challenge
 *   else               wait for room, poll for a lease, put it into the queue
 * and what a step's failure makes of it:
 *   CONFLICT           "say hello first": not joined
 *   FORBIDDEN          final
 *   UNAVAILABLE, TIMEOUT    away, back-off
 *   anything else      back-off */
#include "node/agent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "base/log.h"
#include "base/utf8.h"
#include "node/agent_internal.h"
#include "node/keep.h"
#include "node/sandbox.h"
#include "os/process.h"

#define BACKOFF_FIRST_MS 200
#define BACKOFF_MAX_MS   5000
#define DISK_QUOTA       (UINT64_C(1) << 40)
#define HEARTBEAT_MS     1000
#define NAME_MAX_BYTES   63
#define SLOT_BYTES       (UINT64_C(1) << 30)
#define URL_MAX_BYTES    255

/* ---- asked by all threads ---- */

static bool is_final(struct node *n)
{
    os_mutex_lock(&n->lock);
    bool final = n->final.status != EMAC_OK;
    os_mutex_unlock(&n->lock);
    return final;
}

bool agent_over(struct node *n)
{
    return atomic_load(&n->stop) || is_final(n);
}

bool agent_over_cb(void *node)
{
    return agent_over(node);
}

void agent_state_set(struct node *n, const char *state)
{
    os_mutex_lock(&n->lock);
    n->figures.state = state;
    os_mutex_unlock(&n->lock);
}

bool agent_joined(struct node *n)
{
    os_mutex_lock(&n->lock);
    bool joined = n->joined;
    os_mutex_unlock(&n->lock);
    return joined;
}

void agent_joined_set(struct node *n, bool joined)
{
    os_mutex_lock(&n->lock);
    n->joined = joined;
    os_cond_broadcast(&n->wake);
    os_mutex_unlock(&n->lock);
}

void agent_pause(struct node *n, uint32_t ms)
{
    uint64_t until = n->os->mono_ns(n->os) + ms * NS_PER_MS;
    os_mutex_lock(&n->lock);
    while (!atomic_load(&n->stop) && n->final.status == EMAC_OK) {
        uint64_t now = n->os->mono_ns(n->os);
        if (now >= until)
            break;
        os_cond_wait_ms(&n->wake, &n->lock, (uint32_t)((until - now) / NS_PER_MS) + 1);
    }
    os_mutex_unlock(&n->lock);
}

void agent_refused(struct node *n, const struct emac_err *why)
{
    os_mutex_lock(&n->lock);
    if (n->final.status == EMAC_OK)
        n->final = *why;
    os_cond_broadcast(&n->wake);
    os_mutex_unlock(&n->lock);
}

void node_stop(struct node *n)
{
    os_mutex_lock(&n->lock);
    if (!atomic_load(&n->stop))
        n->stop_ns = n->os->mono_ns(n->os);
    atomic_store(&n->stop, true);
    os_cond_broadcast(&n->wake);
    os_mutex_unlock(&n->lock);
    http_client_stop(n->bulk);
}

const char *node_did(const struct node *n)
{
    return n->id.did;
}

uint16_t node_port(const struct node *n)
{
    return n->port;
}

void agent_traffic(struct node *n, uint64_t *sent, uint64_t *received)
{
    uint64_t up = 0, down = 0;
    http_client_traffic(n->api, sent, received);
    http_client_traffic(n->bulk, &up, &down);
    *sent += up + atomic_load(&n->served_bytes);
    *received += down;
}

void node_figures(struct node *n, struct node_figures *out)
{
    uint64_t sent, received;
    agent_traffic(n, &sent, &received);
    os_mutex_lock(&n->lock);
    *out = n->figures;
    os_mutex_unlock(&n->lock);
    out->bytes_sent = sent;
    out->bytes_received = received;
}

/* ---- serving blocks ---- */

/* Counts what a streamed answer sends. */
struct counted {
    struct node *n;
    bool (*stream)(void *ctx, struct emac_buf *chunk);
    void (*stream_free)(void *ctx);
    void *ctx;
};

static bool counted_stream(void *ctx, struct emac_buf *chunk)
{
    struct counted *c = ctx;
    bool more = c->stream(c->ctx, chunk);
    atomic_fetch_add(&c->n->served_bytes, chunk->len);
    return more;
}

static void counted_free(void *ctx)
{
    struct counted *c = ctx;
    if (c->stream_free != NULL)
        c->stream_free(c->ctx);
    free(c);
}

static enum emac_status block_get(void *ctx, const struct http_request *req,
                                  struct http_response *res, struct emac_err *err)
{
    struct node *n = ctx;
    struct cid cid;
    /* As if it were not here: whoever asks shall not learn that it is. */
    if (exchange_path_cid(req, &cid, NULL) == EMAC_OK && private_holds(&n->private, n->store, &cid))
        return emac_fail(err, EMAC_NOT_FOUND, "this rig has no such block");
    enum emac_status st = exchange_serve(n->store, req, res, err);
    if (st != EMAC_OK || strcmp(req->method, "HEAD") == 0)
        return st;
    atomic_fetch_add(&n->served_bytes, res->body.len);
    if (res->stream == NULL)
        return EMAC_OK;
    struct counted *c = NULL;
    st = emac_alloc(&c, 1, sizeof *c, err);
    if (st != EMAC_OK)
        return st;
    *c = (struct counted){n, res->stream, res->stream_free, res->stream_ctx};
    res->stream = counted_stream;
    res->stream_free = counted_free;
    res->stream_ctx = c;
    return EMAC_OK;
}

static enum emac_status health_get(void *ctx, const struct http_request *req,
                                   struct http_response *res, struct emac_err *err)
{
    res->content_type = "text/plain";
    return emac_buf_append(&res->body, "ok", 2, err);
}

static bool any_address(const char *a)
{
    return strcmp(a, "0.0.0.0") == 0 || strcmp(a, "::") == 0;
}

static enum emac_status server_open(struct node *n, struct emac_err *err)
{
    const char *address = n->cfg.address;
    if (n->cfg.public_url == NULL && any_address(address))
        return emac_fail(err, EMAC_INVALID,
                         "'%s' is every address of this machine and tells others none: give the "
                         "public URL too",
                         address);
    n->route[0] = (struct http_route){"GET", "/ipfs/{cid}", 0, block_get};
    n->route[1] = (struct http_route){"GET", "/healthz", 0, health_get};
    const struct http_server_config cfg = {.address = n->link != NULL ? "127.0.0.1" : address,
                                           .port = n->link != NULL ? 0 : n->cfg.port,
                                           .routes = n->route,
                                           .route_count = EMAC_COUNT(n->route),
                                           .ctx = n};
    enum emac_status st = http_server_start(&cfg, &n->server, err);
    if (st != EMAC_OK)
        return st;
    n->port = http_server_port(n->server);
    if (n->link != NULL)
        st = link_listen(n->link, address, n->cfg.port, n->port, &n->port, err);
    if (st != EMAC_OK)
        return st;
    if (n->cfg.public_url == NULL)
        n->cfg.public_url = http_server_url(address, n->port);
    return EMAC_OK;
}

/* ---- opening ---- */

static char *url_copy(const char *url)
{
    size_t len = url != NULL ? strlen(url) : 0;
    while (len > 0 && url[len - 1] == '/')
        len--;
    return url != NULL ? emac_strndup(url, len) : NULL;
}

static enum emac_status url_check(const char *url, struct emac_err *err)
{
    struct arena a;
    struct http_url parsed;
    arena_init(&a, 1u << 16);
    enum emac_status st = http_url_parse(&a, url, &parsed, err);
    arena_release(&a);
    if (st == EMAC_OK && strlen(url) > URL_MAX_BYTES)
        st = emac_fail(err, EMAC_INVALID, "the URL '%.60s...' is longer than %d bytes", url,
                       URL_MAX_BYTES);
    return st;
}

static uint32_t slots_of(const struct node_config *cfg)
{
    uint64_t slots = os_memory_bytes() / SLOT_BYTES;
    EMAC_ASSERT(cfg->slots <= NODE_SLOTS_MAX);
    if (cfg->slots != 0)
        return cfg->slots;
    return slots < 1 ? 1 : slots < NODE_SLOTS ? (uint32_t)slots : NODE_SLOTS;
}

static enum emac_status config_take(struct node *n, const struct node_config *cfg,
                                    struct emac_err *err)
{
    char host[NAME_MAX_BYTES + 1] = "";
    os_host_name(host, sizeof host);
    n->cfg = *cfg;
    n->cfg.coordinator = url_copy(cfg->coordinator);
    n->cfg.dir = emac_strdup(cfg->dir);
    n->cfg.name = emac_strdup(cfg->name != NULL ? cfg->name : host);
    n->cfg.device = emac_strdup(cfg->device != NULL ? cfg->device : "cpu");
    n->cfg.address = emac_strdup(cfg->address != NULL ? cfg->address : "127.0.0.1");
    n->cfg.public_url = url_copy(cfg->public_url);
    n->cfg.owner = cfg->owner != NULL ? emac_strdup(cfg->owner) : NULL;
    if (n->cfg.duty == 0)
        n->cfg.duty = DUTY_WHOLE;
    if (n->cfg.threads == 0)
        n->cfg.threads = os_cpu_count();
    n->memory_quota = cfg->memory_quota != 0 ? cfg->memory_quota : os_memory_bytes() / 4;
    n->disk_quota = cfg->disk_quota != 0 ? cfg->disk_quota : DISK_QUOTA;
    n->file_max = os_memory_bytes() / 2;
    n->cache_bytes = cfg->cache_bytes != 0 ? cfg->cache_bytes : os_memory_bytes() / 4;
    n->slots = slots_of(cfg);
    size_t len = strlen(n->cfg.name);
    if (len > NAME_MAX_BYTES || !emac_utf8_valid(n->cfg.name, len))
        return emac_fail(err, EMAC_INVALID, "a rig's name is UTF-8 of at most %d bytes",
                         NAME_MAX_BYTES);
    enum emac_status st = url_check(n->cfg.coordinator, err);
    if (st == EMAC_OK && n->cfg.public_url != NULL)
        st = url_check(n->cfg.public_url, err);
    return st;
}

static enum emac_status dir_open(struct node *n, struct emac_err *err)
{
    enum emac_status st = n->os->dir_make(n->os, n->cfg.dir, err);
    char *lock = emac_asprintf("%s/lock", n->cfg.dir);
    char *key = emac_asprintf("%s/node.key", n->cfg.dir);
    char *store = emac_asprintf("%s/store", n->cfg.dir);
    EMAC_TRY(st, st);
    EMAC_TRY(st, os_lock_take(lock, &n->dir_lock, err));
    EMAC_TRY(st, identity_load_or_create(n->os, key, &n->id, err));
    const struct store_config cfg = {.os = n->os,
                                     .dir = store,
                                     .disk_quota = n->disk_quota,
                                     .memory_quota = n->memory_quota,
                                     .hash_threads = n->cfg.threads};
    EMAC_TRY(st, store_open(&cfg, &n->store, err));
    EMAC_TRY(st, private_open(&n->private, n->os, n->cfg.dir, n->store, err));
out:
    free(lock);
    free(key);
    free(store);
    return st;
}

static enum emac_status network_open(struct node *n, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    if (n->cfg.link.up_bps > 0)
        st = link_open(n->os, &n->cfg.link, &n->link, err);
    if (st == EMAC_OK)
        st = http_client_new(&n->api, err);
    if (st == EMAC_OK)
        st = http_client_new(&n->bulk, err);
    if (st != EMAC_OK)
        return st;
    http_client_link(n->api, n->link);
    http_client_link(n->bulk, n->link);
    return EMAC_OK;
}

enum emac_status node_open(const struct node_config *cfg, struct node **out, struct emac_err *err)
{
    struct node *n = NULL;
    uint8_t boot[16];
    EMAC_ASSERT(cfg->os != NULL && cfg->coordinator != NULL && cfg->dir != NULL);
    *out = NULL;
    enum emac_status st = emac_alloc(&n, 1, sizeof *n, err);
    if (st != EMAC_OK)
        return st;
    n->os = cfg->os;
    os_mutex_init(&n->lock);
    os_mutex_init(&n->retain_lock);
    os_cond_init(&n->wake);
    n->figures.state = "starting";
    atomic_store(&n->heartbeat_ms, HEARTBEAT_MS);
    atomic_store(&n->duty, DUTY_WHOLE);
    n->os->entropy(n->os, boot, sizeof boot);
    emac_hex(n->boot, boot, sizeof boot);
    EMAC_TRY(st, config_take(n, cfg, err));
    EMAC_TRY(st, dir_open(n, err));
    agent_duty_read(n);
    EMAC_TRY(st, network_open(n, err));
    EMAC_TRY(st, agent_device_open(n, err));
    if (!n->cfg.unreachable)
        EMAC_TRY(st, server_open(n, err));
    *out = n;
    n = NULL;
out:
    node_close(n);
    return st;
}

void node_close(struct node *n)
{
    if (n == NULL)
        return;
    if (n->server != NULL)
        http_server_stop(n->server);
    agent_outbox_clear(n);
    agent_upload_release(n);
    agent_models_release(n);
    agent_retain_release(n);
    agent_dispute_release(n);
    agent_device_close(n);
    http_client_free(n->api);
    http_client_free(n->bulk);
    link_close(n->link);
    private_release(&n->private);
    if (n->store != NULL)
        store_close(n->store);
    identity_release(&n->id);
    if (n->dir_lock != NULL)
        os_lock_release(n->dir_lock);
    os_cond_release(&n->wake);
    os_mutex_release(&n->retain_lock);
    os_mutex_release(&n->lock);
    free((char *)n->cfg.coordinator);
    free((char *)n->cfg.dir);
    free((char *)n->cfg.name);
    free((char *)n->cfg.address);
    free((char *)n->cfg.device);
    free((char *)n->cfg.public_url);
    free((char *)n->cfg.owner);
    free(n);
}

/* ---- the intake ---- */

/* Twice as long each time, at random within half of it and the whole, so that a fleet does not come
 * back all at once. */
static void back_off(struct node *n)
{
    uint32_t r = 0;
    n->backoff_ms = n->backoff_ms == 0 ? BACKOFF_FIRST_MS * 2 : n->backoff_ms * 2;
    if (n->backoff_ms > BACKOFF_MAX_MS)
        n->backoff_ms = BACKOFF_MAX_MS;
    n->os->entropy(n->os, &r, sizeof r);
    uint32_t half = n->backoff_ms / 2;
    agent_pause(n, half + r % (half + 1));
}

static void went_away(struct node *n, const struct emac_err *why)
{
    if (n->away)
        return;
    n->away = true;
    n->away_ns = n->os->mono_ns(n->os);
    agent_state_set(n, "away");
    LOG_W("node", "the coordinator is away: %s; trying until it is back", why->text);
}

static void came_back(struct node *n)
{
    double s = (double)(n->os->mono_ns(n->os) - n->away_ns) * 1e-9;
    n->away = false;
    agent_state_set(n, agent_joined(n) ? "admitted" : "hello");
    LOG_I("node", "the coordinator is back after %.1f s", s);
}

static enum emac_status step(struct node *n, struct emac_err *err)
{
    if (n->away) {
        enum emac_status st = agent_probe(n, err);
        if (st == EMAC_OK)
            came_back(n);
        return st;
    }
    if (!agent_joined(n))
        return agent_join(n, err);
    agent_retain_idle(n);
    return agent_work(n, err);
}

/* What a step's failure makes of us; fails when it is the end. */
static enum emac_status settle(struct node *n, bool probed, enum emac_status st,
                               struct emac_err *err)
{
    bool had_joined = agent_joined(n);
    switch (st) {
    case EMAC_OK:
        if (!probed) /* it answers, but does it work? */
            n->backoff_ms = 0;
        return EMAC_OK;
    case EMAC_FORBIDDEN:
        agent_refused(n, err);
        return EMAC_OK;
    case EMAC_CONFLICT:
        agent_joined_set(n, false);
        if (had_joined)
            return EMAC_OK;
        break;
    case EMAC_UNAVAILABLE:
    case EMAC_TIMEOUT:
        went_away(n, err);
        if (n->cfg.give_up_ms != 0 && !n->ever_joined &&
            n->os->mono_ns(n->os) - n->run_ns > n->cfg.give_up_ms * NS_PER_MS)
            return st;
        break;
    default:
        if (!agent_over(n))
            LOG_W("node", "%s; trying again", err->text);
        break;
    }
    back_off(n);
    return EMAC_OK;
}

static enum emac_status work(struct node *n, struct emac_err *err)
{
    n->run_ns = n->os->mono_ns(n->os);
    while (!agent_over(n)) {
        struct emac_err e = {.status = EMAC_OK};
        bool probed = n->away;
        enum emac_status st = step(n, &e);
        st = settle(n, probed, st, &e);
        if (st != EMAC_OK) {
            *err = e;
            return st;
        }
    }
    os_mutex_lock(&n->lock);
    *err = n->final;
    os_mutex_unlock(&n->lock);
    agent_state_set(n, err->status == EMAC_OK ? "stopped" : "quarantined");
    return err->status;
}

static void over_set(struct node *n, bool *over)
{
    os_mutex_lock(&n->lock);
    *over = true;
    os_cond_broadcast(&n->wake);
    os_mutex_unlock(&n->lock);
}

enum emac_status node_run(struct node *n, struct emac_err *err)
{
    struct os_thread heartbeat, uploader, keeper, worker, courier, bringer[SCHED_FETCH_TASKS];
    struct emac_err why = {.status = EMAC_OK};
    EMAC_ASSERT(n->run_ns == 0);
    os_thread_start(&heartbeat, agent_heartbeat_thread, n);
    os_thread_start(&uploader, agent_upload_thread, n);
    os_thread_start(&keeper, agent_keep_thread, n);
    os_thread_start(&worker, agent_worker_thread, n);
    os_thread_start(&courier, agent_courier_thread, n);
    for (int i = 0; i < SCHED_FETCH_TASKS; i++)
        os_thread_start(&bringer[i], agent_bringer_thread, n);
    enum emac_status st = EMAC_OK;
    if (n->cfg.sandbox)
        st = sandbox_enter(&why);
    if (st == EMAC_OK)
        st = work(n, &why);
    node_stop(n); /* the other threads see it */
    over_set(n, &n->intake_over);
    for (int i = 0; i < SCHED_FETCH_TASKS; i++)
        os_thread_join(&bringer[i]);
    os_thread_join(&worker);
    over_set(n, &n->worker_over);
    os_thread_join(&courier);
    os_thread_join(&heartbeat);
    os_thread_join(&uploader);
    os_thread_join(&keeper);
    if (n->dev != NULL)
        agent_bus_note(n);
    if (err != NULL)
        *err = why;
    return st;
}

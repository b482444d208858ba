/* Start, stop, and the ticker that does what nobody asks for. */
#include "coordinator/coordinator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/api.h"
#include "coordinator/checks/checks.h"
#include "coordinator/checks/disputes.h"
#include "coordinator/jobs/evaluations.h"
#include "coordinator/money/bonds.h"
#include "coordinator/serving/serving.h"
#include "coordinator/storage/deals.h"

#define TICK_MS          50
#define DEPOT_LOOK_MS    2000 /* at least so often the depot is looked into for checkpoints */
#define FIGURES_FLUSH_MS 1000
#define UNPINS_BYTES_MAX (64u << 20)

void coordinator_changed(struct coordinator *c)
{
    os_cond_broadcast(&c->changed);
    errands_changed(&c->errands);
}

/* ---- the ticker ---- */

static void tick_jobs(struct coordinator *c, bool flush)
{
    jobs_refresh(c);
    for (uint32_t i = c->job_count; i-- > 0;) {
        struct cjob *j = c->job[i];
        if (j->stale)
            continue;
        leases_tick(c, j);
        verify_tick(c, j);
        job_tick(c, j, flush); /* may end the job: nothing of j after this */
    }
}

static void tick(struct coordinator *c, uint64_t count)
{
    bool flush = count % (FIGURES_FLUSH_MS / TICK_MS) == 0;
    os_mutex_lock(&c->lock);
    tick_jobs(c, flush);
    sweeps_tick(c);
    disputes_tick(c);
    serve_tick(c);
    if (flush) {
        money_settle_due(c);
        bonds_return_due(c);
    }
    deals_tick(c);
    if (count % (DEPOT_LOOK_MS / TICK_MS) == 0)
        c->depot_dirty = true;
    os_mutex_unlock(&c->lock);
    /* What goes from the depot must not be needed again after a power failure. */
    if (db_sync(c->db, NULL) != EMAC_OK)
        return;
    if (flush)
        receipt_names_file(c, NAMES_AT_ONCE);
    checkpoints_work(c);
    evaluations_work(c);
    lost_work(c);
}

static void *ticker_main(void *arg)
{
    struct coordinator *c = arg;
    for (uint64_t count = 1;; count++) {
        tick(c, count);
        os_mutex_lock(&c->lock);
        bool stopping = c->stopping;
        os_mutex_unlock(&c->lock);
        if (stopping)
            return NULL;
        c->os->sleep_ms(c->os, TICK_MS);
    }
}

/* ---- opening ---- */

static void path_of(const struct coordinator *c, const char *name, char out[OS_PATH_MAX])
{
    int n = snprintf(out, OS_PATH_MAX, "%s/%s", c->dir, name);
    EMAC_ASSERT(n > 0 && n < OS_PATH_MAX); /* config_take checked the directory's length */
}

static enum emac_status secret_open(struct coordinator *c, struct emac_err *err)
{
    char path[OS_PATH_MAX];
    struct emac_buf buf;
    path_of(c, "secret", path);
    emac_buf_init(&buf, 4096);
    enum emac_status st = c->os->file_read(c->os, path, &buf, err);
    if (st == EMAC_OK && buf.len != sizeof(c->secret))
        st = emac_fail(err, EMAC_CORRUPT, "'%s' must hold 32 bytes, it has %zu", path, buf.len);
    else if (st == EMAC_OK)
        memcpy(c->secret, buf.data, sizeof(c->secret));
    if (st == EMAC_NOT_FOUND) {
        c->os->entropy(c->os, c->secret, sizeof(c->secret));
        st = c->os->file_write(c->os, path, c->secret, sizeof(c->secret), 0600, err);
    }
    emac_buf_release(&buf);
    return st;
}

static enum emac_status counters_load(struct coordinator *c, struct emac_err *err)
{
    enum emac_status st =
        db_one_i64(c->db, &c->log_id, err, "SELECT COALESCE(MAX(id), 0) FROM logs", "");
    if (st == EMAC_OK)
        st = db_one_i64(c->db, &c->job_seq, err, "SELECT COALESCE(MAX(seq), 0) FROM jobs", "");
    if (st == EMAC_OK)
        st = db_one_i64(c->db, &c->metric_id, err, "SELECT COALESCE(MAX(id), 0) FROM metrics", "");
    return st;
}

/* A database that is older than this process: requests signed before now may have been taken by
 * the process before (COORD-8). Signatures carry whole seconds, so wait for the next one to begin:
 * then no request signed after the start is refused. */
static void nonces_restart(struct coordinator *c)
{
    uint64_t now = wall_ms(c), cutoff = (now / 1000 + 1) * 1000;
    nonce_cache_not_before(c->nonces, cutoff);
    c->os->sleep_ms(c->os, (uint32_t)(cutoff - now));
}

static enum emac_status db_start(struct coordinator *c, struct emac_err *err)
{
    char path[OS_PATH_MAX];
    uint64_t size = 0;
    path_of(c, "coordinator.db", path);
    bool existed = c->os->file_size(c->os, path, &size, NULL) == EMAC_OK;
    enum emac_status st;
    EMAC_TRY(st, db_open(path, &c->db, err));
    EMAC_TRY(st, coordinator_migrate(c->db, err));
    EMAC_TRY(st, counters_load(c, err));
    EMAC_TRY(st, serving_recover(c, err));
    if (existed)
        nonces_restart(c);
out:
    return st;
}

static enum emac_status depot_start(struct coordinator *c, struct emac_err *err)
{
    char path[OS_PATH_MAX];
    path_of(c, "depot", path);
    struct store_config cfg = {.os = c->os,
                               .dir = path,
                               .disk_quota = c->cfg.depot_quota,
                               .memory_quota = 64u << 20,
                               .hash_threads = 1};
    return store_open(&cfg, &c->depot, err);
}

/* No answer leaves before all that it may tell of is durable (DB-2): handlers commit without
 * waiting for the disk while they hold the lock, and those that come together wait for it once. */
static enum emac_status settle(void *ctx, struct emac_err *err)
{
    struct coordinator *c = ctx;
    return db_sync(c->db, err);
}

static enum emac_status server_start(struct coordinator *c, struct emac_err *err)
{
    size_t own;
    const struct http_route *routes = coordinator_routes(&own);
    c->route_count = own + c->cfg.route_count;
    enum emac_status st = emac_alloc(&c->route, c->route_count, sizeof(*c->route), err);
    if (st != EMAC_OK)
        return st;
    memcpy(c->route, routes, own * sizeof(*routes));
    if (c->cfg.route_count)
        memcpy(c->route + own, c->cfg.routes, c->cfg.route_count * sizeof(*routes));
    struct http_server_config cfg = {.address = c->address,
                                     .port = c->cfg.port,
                                     .connections_max = c->cfg.connections_max,
                                     .routes = c->route,
                                     .route_count = c->route_count,
                                     .ctx = c,
                                     .head = api_head,
                                     .settle = settle};
    return http_server_start(&cfg, &c->server, err);
}

static uint32_t or_default(uint32_t value, uint32_t usual)
{
    return value ? value : usual;
}

static enum emac_status config_take(struct coordinator *c, const struct coordinator_config *cfg,
                                    struct emac_err *err)
{
    if (strlen(cfg->dir) + 32 > OS_PATH_MAX)
        return emac_fail(err, EMAC_INVALID, "the path '%.100s...' is too long", cfg->dir);
    c->cfg = *cfg;
    c->os = cfg->os;
    c->dir = emac_strdup(cfg->dir);
    c->address = emac_strdup(cfg->address ? cfg->address : "127.0.0.1");
    c->cfg.lease_ttl_ms = or_default(cfg->lease_ttl_ms, COORDINATOR_LEASE_TTL_MS);
    c->cfg.heartbeat_ms = or_default(cfg->heartbeat_ms, COORDINATOR_HEARTBEAT_MS);
    c->cfg.check_lapse_ms = or_default(cfg->check_lapse_ms, COORDINATOR_CHECK_LAPSE_MS);
    c->cfg.check_wait_ms = or_default(cfg->check_wait_ms, COORDINATOR_CHECK_WAIT_MS);
    c->cfg.back_ms = or_default(cfg->back_ms, COORDINATOR_BACK_MS);
    c->cfg.dispute_ms = or_default(cfg->dispute_ms, COORDINATOR_DISPUTE_MS);
    c->cfg.lost_grace_ms = or_default(cfg->lost_grace_ms, c->cfg.lease_ttl_ms);
    c->cfg.rate_per_s = or_default(cfg->rate_per_s, COORDINATOR_RATE_PER_S);
    c->cfg.connections_max = or_default(cfg->connections_max, COORDINATOR_CONNECTIONS);
    c->cfg.deal_epoch_ms = cfg->deal_epoch_ms ? cfg->deal_epoch_ms : DEALS_EPOCH_MS;
    if (c->cfg.deal_epoch_ms < DEALS_EPOCH_LEAST_MS || c->cfg.deal_epoch_ms > DEAL_EPOCH_MS_MAX)
        return emac_fail(err, EMAC_INVALID, "an epoch of deals lasts from 100 ms to 7 days");
    c->start_ms = now_ms(c);
    c->start_at = wall_ms(c);
    return c->os->dir_make(c->os, c->dir, err);
}

static void parts_init(struct coordinator *c, struct os *os)
{
    os_mutex_init(&c->lock);
    os_mutex_init(&c->rate_lock);
    os_mutex_init(&c->challenge_lock);
    os_cond_init(&c->changed);
    errands_init(&c->errands, os, &c->lock, settle, c);
    emac_buf_init(&c->unpins, UNPINS_BYTES_MAX);
    c->serve = serve_queue_new();
    c->nonces = nonce_cache_new();
}

static void coordinator_free(struct coordinator *c)
{
    chain_side_free(c);
    deals_close(c);
    disputes_free(c);
    sweeps_close(c);
    jobs_close(c);
    map_release(&c->nodes, node_free);
    map_release(&c->buckets, free);
    map_release(&c->kinds, free);
    cid_set_release(&c->depot_known);
    serve_queue_free(c->serve);
    emac_buf_release(&c->unpins);
    if (c->http)
        http_client_free(c->http);
    if (c->depot)
        store_close(c->depot);
    if (c->db)
        db_close(c->db);
    nonce_cache_free(c->nonces);
    crypto_wipe(c->secret, sizeof(c->secret));
    crypto_wipe(&c->draw, sizeof(c->draw));
    errands_release(&c->errands);
    os_cond_release(&c->changed);
    os_mutex_release(&c->challenge_lock);
    os_mutex_release(&c->rate_lock);
    os_mutex_release(&c->lock);
    free(c->route);
    free(c->dir);
    free(c->address);
    free(c);
}

enum emac_status coordinator_start(const struct coordinator_config *cfg, struct coordinator **out,
                                   struct emac_err *err)
{
    struct coordinator *c;
    EMAC_ASSERT(cfg->os && cfg->dir && (cfg->routes || cfg->route_count == 0));
    enum emac_status st = emac_alloc(&c, 1, sizeof(*c), err);
    if (st != EMAC_OK)
        return st;
    parts_init(c, cfg->os);
    EMAC_TRY(st, config_take(c, cfg, err));
    EMAC_TRY(st, db_start(c, err));
    EMAC_TRY(st, secret_open(c, err));
    EMAC_TRY(st, draws_start(c, err));
    EMAC_TRY(st, depot_start(c, err));
    EMAC_TRY(st, http_client_new(&c->http, err));
    EMAC_TRY(st, nodes_load(c, err));
    c->stakes_stale = true;
    EMAC_TRY(st, jobs_open(c, err));
    c->back_ms = c->job_count > 0 ? now_ms(c) + c->cfg.back_ms : 0;
    EMAC_TRY(st, sweeps_open(c, err));
    EMAC_TRY(st, deals_open(c, err));
    EMAC_TRY(st, disputes_start(c, err));
    if (cfg->chain != NULL)
        EMAC_TRY(st, chain_side_start(c, cfg->chain, err));
    uint32_t jobs = c->job_count; /* others change it from here on */
    EMAC_TRY(st, server_start(c, err));
    os_thread_start(&c->ticker, ticker_main, c);
    LOG_I("coordinator", "listens at %s port %u with %u open jobs", c->address,
          http_server_port(c->server), jobs);
    *out = c;
    return EMAC_OK;
out:
    os_mutex_lock(&c->lock);
    c->stopping = true;
    coordinator_changed(c);
    os_mutex_unlock(&c->lock);
    disputes_stop(c);
    chain_side_stop(c);
    coordinator_free(c);
    return st;
}

uint16_t coordinator_port(const struct coordinator *c)
{
    return http_server_port(c->server);
}

void coordinator_stop(struct coordinator *c)
{
    os_mutex_lock(&c->lock);
    c->stopping = true;
    coordinator_changed(c);
    os_mutex_unlock(&c->lock);
    http_server_stop(c->server);
    os_thread_join(&c->ticker);
    disputes_stop(c);
    chain_side_stop(c);
    jobs_flush(c);
    coordinator_free(c);
}

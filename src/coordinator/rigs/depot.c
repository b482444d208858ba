/* The depot over HTTP, and where bytes can be had. */
#include "coordinator/storage/deals.h"
#include "coordinator/rigs/poll.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOURCES_COMPARED_MAX 64 /* names in a task that are compared with each other, all */
#define UNPINS_MAX           (1u << 20)

/* ---- pins of a plan ---- */

void unpin_later(struct coordinator *c, const char *name, const struct cid *cid)
{
    struct unpin u = {.cid = *cid};
    if (cid_is_none(cid))
        return;
    emac_strcpy(u.name, sizeof(u.name), name);
    if (emac_buf_append(&c->unpins, &u, sizeof(u), NULL) != EMAC_OK)
        LOG_W("coordinator", "a pin of '%s' is left behind", name);
}

/* Roots of all that a plan puts into the depot: a program's pin holds its graph too. */
#define ROOTS_MAX (PLAN_PROGRAMS_MAX + PLAN_CONSTANTS_MAX)
static uint32_t plan_roots(const struct job_plan *p, struct cid out[ROOTS_MAX])
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->program_count; i++)
        out[n++] = p->program[i].cid;
    for (uint32_t i = 0; i < p->constant_count; i++)
        out[n++] = p->constant[i];
    return n;
}

enum emac_status plan_deposit(struct coordinator *c, const char *job, const struct job_plan *p,
                              struct emac_err *err)
{
    struct cid root[ROOTS_MAX];
    struct store_building building; /* nothing is collected between a block and its pin */
    uint32_t n = plan_roots(p, root);
    enum emac_status st = EMAC_OK;
    store_building_begin(c->depot, &building);
    for (size_t i = 0; st == EMAC_OK && i < p->block_count; i++)
        st = store_block_put_as(c->depot, &p->block[i].cid, p->block[i].data, p->block[i].len, err);
    for (uint32_t i = 0; st == EMAC_OK && i < n; i++)
        st = store_pin(c->depot, job, &root[i], err);
    store_building_end(c->depot, &building);
    return st;
}

void plan_known(struct coordinator *c, const struct job_plan *p)
{
    struct cid root[ROOTS_MAX];
    uint32_t n = plan_roots(p, root);
    for (uint32_t i = 0; i < n; i++)
        cid_set_add(&c->depot_known, &root[i]);
}

void plan_unpin(struct coordinator *c, const char *job, const struct job_plan *p)
{
    struct cid root[ROOTS_MAX];
    uint32_t n = plan_roots(p, root);
    for (uint32_t i = 0; i < n; i++)
        unpin_later(c, job, &root[i]);
}

/* ---- sources ---- */

const char *request_base_url(const struct http_request *req)
{
    const char *proto = http_header_get(&req->headers, "X-Forwarded-Proto");
    const char *scheme = proto && strcmp(proto, "https") == 0 ? "https" : "http";
    const char *host = req->authority ? req->authority : "";
    size_t n = strlen(scheme) + strlen(host) + 4;
    char *url = arena_alloc(req->arena, n);
    EMAC_ASSERT(url != NULL);
    snprintf(url, n, "%s://%s", scheme, host);
    return url;
}

/* Each URL that `cid` may be fetched from. */
static void sources_each(struct coordinator *c, const struct cid *cid, const struct node *asker,
                         const char *base_url, void (*each)(void *ctx, const char *url), void *ctx)
{
    struct map_entry e;
    uint64_t now = now_ms(c);
    for (size_t at = 0; map_next(&c->nodes, &at, &e);) {
        const struct node *n = e.value;
        if (n != asker && n->reachable && node_is_live(c, n, now) && node_holds(n, cid))
            each(ctx, n->url);
    }
    if (cid_set_has(&c->depot_known, cid) || store_block_has(c->depot, cid, NULL))
        each(ctx, base_url);
}

static void url_list(void *ctx, const char *url)
{
    json_array_append_new(ctx, json_string(url));
}

void sources_add(struct coordinator *c, json_t *sources, const struct cid *cid,
                 const struct node *asker, const char *base_url)
{
    char text[CID_TEXT_MAX];
    cid_text(text, cid);
    if (json_object_get(sources, text))
        return;
    json_t *list = json_array();
    sources_each(c, cid, asker, base_url, url_list, list);
    json_object_set_new(sources, text, list);
}

json_t *sources_json(struct coordinator *c, const struct task *t, const struct node *asker,
                     const char *base_url)
{
    json_t *sources = json_object();
    sources_add(c, sources, &t->program, asker, base_url);
    for (uint32_t i = 0; i < t->input_count; i++)
        sources_add(c, sources, &t->input[i].cid, asker, base_url);
    for (uint32_t i = 0; i < t->part_count; i++)
        sources_add(c, sources, &t->part[i].cid, asker, base_url);
    return sources;
}

struct urls {
    struct reply *r;
    bool any;
};

static void url_write(void *ctx, const char *url)
{
    struct urls *u = ctx;
    if (u->any)
        reply_raw(u->r, ",");
    reply_text(u->r, url);
    u->any = true;
}

static const struct cid *task_names(const struct task *t, uint32_t i)
{
    if (i == 0)
        return &t->program;
    return i <= t->input_count ? &t->input[i - 1].cid : &t->part[i - 1 - t->input_count].cid;
}

static bool named_before(const struct task *t, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++)
        if (cid_equal(task_names(t, k), task_names(t, i)))
            return true;
    return false;
}

void sources_reply(struct coordinator *c, const struct task *t, const struct node *asker,
                   const char *base_url, struct reply *r)
{
    uint32_t count = 1 + t->input_count + t->part_count;
    if (count > SOURCES_COMPARED_MAX) {
        reply_json(r, sources_json(c, t, asker, base_url));
        return;
    }
    reply_raw(r, "{");
    for (uint32_t i = 0; i < count; i++) {
        struct urls u = {.r = r};
        if (named_before(t, i))
            continue;
        if (i > 0)
            reply_raw(r, ",");
        reply_cid(r, task_names(t, i));
        reply_raw(r, ":[");
        sources_each(c, task_names(t, i), asker, base_url, url_write, &u);
        reply_raw(r, "]");
    }
    reply_raw(r, "}");
}

static bool present(struct coordinator *c, const struct cid *cid)
{
    return holder_exists(c, cid, NULL) || cid_set_has(&c->depot_known, cid) ||
           store_block_has(c->depot, cid, NULL);
}

bool inputs_present(struct coordinator *c, const struct ctask *t, struct cid *gone)
{
    for (uint32_t i = 0; i < t->task.input_count; i++)
        if (!present(c, &t->task.input[i].cid)) {
            *gone = t->task.input[i].cid;
            return false;
        }
    for (uint32_t i = 0; i < t->task.part_count; i++)
        if (!present(c, &t->task.part[i].cid)) {
            *gone = t->task.part[i].cid;
            return false;
        }
    return true;
}

/* ---- handlers ---- */

enum emac_status block_get(void *ctx, const struct http_request *req, struct http_response *res,
                           struct emac_err *err)
{
    struct coordinator *c = ctx;
    return exchange_serve(c->depot, req, res, err);
}

enum emac_status depot_missing_get(void *ctx, const struct http_request *req,
                                   struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    char did[DID_KEY_MAX];
    enum emac_status st = api_signer(c, req, did, err);
    return st == EMAC_OK ? exchange_depot_missing(c->depot, req, res, err) : st;
}

/* Under whose name a pushed root stays: the job that waits for it, or the user who brings data. A
 * rig's short-lived outputs stay under nobody's, false: they go when room is needed. */
static bool pin_name(struct coordinator *c, const struct cid *root, const char *did,
                     char name[LEDGER_ACCOUNT_MAX])
{
    char job[JOB_ID_MAX];
    os_mutex_lock(&c->lock);
    bool rig = node_find(c, did) != NULL, wanted = deposit_wanted(c, root, job);
    os_mutex_unlock(&c->lock);
    if (wanted)
        emac_strcpy(name, LEDGER_ACCOUNT_MAX, job);
    else
        snprintf(name, LEDGER_ACCOUNT_MAX, "user:%s", did);
    return wanted || !rig;
}

static void deposit_note(struct coordinator *c, const struct cid *root, const char *did,
                         size_t bytes, bool complete, bool pinned)
{
    os_mutex_lock(&c->lock);
    struct node *n = node_find(c, did);
    c->depot_dirty = true;
    if (complete)
        cid_set_add(&c->depot_known, root);
    if (!pinned)
        c->passing_bytes += bytes;
    if (n && n->last_job) {
        n->last_job->figures.bytes_moved += (int64_t)bytes;
        n->last_job->figures_dirty = true;
    }
    coordinator_changed(c);
    os_mutex_unlock(&c->lock);
}

enum emac_status depot_post(void *ctx, const struct http_request *req, struct http_response *res,
                            struct emac_err *err)
{
    struct coordinator *c = ctx;
    char did[DID_KEY_MAX], name[LEDGER_ACCOUNT_MAX];
    struct cid root, missing;
    size_t count = 1;
    enum emac_status st = api_signer(c, req, did, err);
    if (st == EMAC_OK)
        st = cid_parse(&root, http_path_param(req, "cid"), err);
    if (st != EMAC_OK)
        return st;
    os_mutex_lock(&c->lock);
    const struct node *n = node_find(c, did);
    bool barred = n && n->state == NODE_QUARANTINED;
    os_mutex_unlock(&c->lock);
    if (barred)
        return emac_fail(err, EMAC_FORBIDDEN, "this rig is quarantined");
    const char *pin = pin_name(c, &root, did, name) ? name : NULL;
    st = exchange_depot_post(c->depot, req, pin, res, err);
    if (st != EMAC_OK)
        return st;
    bool complete =
        store_dag_missing(c->depot, &root, &missing, 1, &count, NULL) == EMAC_OK && count == 0;
    deposit_note(c, &root, did, req->body.len, complete, pin != NULL);
    return EMAC_OK;
}

enum emac_status providers_get(void *ctx, const struct http_request *req, struct http_response *res,
                               struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct cid cid;
    struct map_entry e;
    enum emac_status st = cid_parse(&cid, http_path_param(req, "cid"), err);
    if (st != EMAC_OK)
        return st;
    json_t *list = json_array();
    bool stored = store_block_has(c->depot, &cid, NULL);
    const char *base_url = request_base_url(req);
    os_mutex_lock(&c->lock);
    uint64_t now = now_ms(c);
    for (size_t at = 0; map_next(&c->nodes, &at, &e);) {
        const struct node *n = e.value;
        if (n->reachable && node_is_live(c, n, now) && node_holds(n, &cid))
            json_array_append_new(list, json_pack("{s:s, s:s}", "node", n->did, "url", n->url));
    }
    deals_providers(c, &cid, list);
    os_mutex_unlock(&c->lock);
    if (stored)
        json_array_append_new(list, json_pack("{s:s, s:s}", "node", "depot", "url", base_url));
    return api_reply(res, 200, json_pack("{s:o, s:o}", "cid", api_cid(&cid), "providers", list),
                     err);
}

/* Rigs: hello, heartbeat, who lives, who holds what. Admitted and quarantined rigs have rows; one
 * that has not answered its challenge is known in memory only, so strangers cost no disk. */
#include "coordinator/rigs/session.h"
#include "coordinator/storage/deals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/device.h"

#define PROBE_MS         2000
#define PROBE_CID        "bafkqaaa"
#define HEARTBEAT_LEASES 96 /* of tasks, and of text: three times a rig's slots and more */

/* ---- who ---- */

struct node *node_find(struct coordinator *c, const char *did)
{
    return map_get(&c->nodes, did);
}

bool node_is_live(struct coordinator *c, const struct node *n, uint64_t now)
{
    return n->present && n->state == NODE_ADMITTED && n->challenge == NULL &&
           now - n->seen_ms <= c->cfg.lease_ttl_ms;
}

void node_seen(struct coordinator *c, struct node *n)
{
    n->seen_ms = now_ms(c);
    n->seen_at = wall_ms(c);
}

uint32_t nodes_live(struct coordinator *c)
{
    struct map_entry e;
    uint32_t count = 0;
    uint64_t now = now_ms(c);
    for (size_t at = 0; map_next(&c->nodes, &at, &e);)
        count += node_is_live(c, e.value, now);
    return count;
}

enum emac_status node_working(struct coordinator *c, const char *did, struct node **out,
                              struct emac_err *err)
{
    struct node *n = *out = node_find(c, did);
    if (n && n->state == NODE_QUARANTINED)
        return emac_fail(err, EMAC_FORBIDDEN, "this rig is quarantined: %s", n->reason);
    if (n == NULL || !n->present)
        return emac_fail(err, EMAC_CONFLICT, "say hello first: POST /v1/nodes");
    if (n->state != NODE_ADMITTED || n->challenge)
        return emac_fail(err, EMAC_CONFLICT,
                         "the admission challenge is open: answer POST /v1/nodes/challenge");
    return EMAC_OK;
}

void node_free(void *node)
{
    struct node *n = node;
    challenge_free(n->challenge);
    free(n);
}

void node_lease_remove(struct node *n, const struct lease *l)
{
    for (uint32_t i = 0; i < NODE_LEASES_MAX; i++)
        if (n->lease[i] == l) {
            memmove(&n->lease[i], &n->lease[i + 1],
                    (NODE_LEASES_MAX - 1 - i) * sizeof(n->lease[0]));
            n->lease[NODE_LEASES_MAX - 1] = NULL;
            return;
        }
    EMAC_ASSERT(!"the lease is not its rig's");
}

void node_lease_add(struct node *n, struct lease *l)
{
    uint32_t i = NODE_LEASES_MAX - 1;
    EMAC_ASSERT(n->lease[i] == NULL);
    for (; i > 0 && (n->lease[i - 1] == NULL || n->lease[i - 1]->granted_ms > l->granted_ms); i--)
        n->lease[i] = n->lease[i - 1];
    n->lease[i] = l;
}

uint32_t node_leases(const struct node *n)
{
    uint32_t count = 0;
    while (count < NODE_LEASES_MAX && n->lease[count])
        count++;
    return count;
}

struct sched_busy node_busy(const struct node *n, const struct lease *until)
{
    struct sched_busy b = {.any = n->lease[0] != NULL && n->lease[0] != until};
    if (!b.any)
        return b;
    b.since_ms = b.until_ms =
        n->lease[0]->begin_ms ? n->lease[0]->begin_ms : n->lease[0]->granted_ms;
    for (uint32_t i = 0; i < NODE_LEASES_MAX && n->lease[i] && n->lease[i] != until; i++)
        b.until_ms += n->lease[i]->expected_ms;
    return b;
}

/* ---- who holds what ---- */

/* One byte tells most of them apart; a thousand are looked through for each task that waits. */
static bool is_held(const struct cid *held, const struct cid *cid)
{
    return held->digest[0] == cid->digest[0] && cid_equal(held, cid);
}

bool node_holds(const struct node *n, const struct cid *cid)
{
    for (uint32_t i = 0; i < n->hold_count; i++)
        if (is_held(&n->hold[i].cid, cid))
            return true;
    for (uint32_t i = 0; i < n->made_count; i++)
        if (is_held(&n->made[i].cid, cid))
            return true;
    return false;
}

bool holder_exists(struct coordinator *c, const struct cid *cid, const struct node *but)
{
    struct map_entry e;
    uint64_t now = now_ms(c);
    for (size_t at = 0; map_next(&c->nodes, &at, &e);)
        if (e.value != but && node_is_live(c, e.value, now) && node_holds(e.value, cid))
            return true;
    return false;
}

static void hold_add(struct node *n, const struct cid *cid, bool young)
{
    if (n->hold_count == NODE_HOLDS_MAX) {
        memmove(&n->hold[0], &n->hold[1], (NODE_HOLDS_MAX - 1) * sizeof(n->hold[0]));
        n->hold_count--;
    }
    n->hold[n->hold_count++] = (struct held){*cid, young};
}

void node_holds_say(struct coordinator *c, struct node *n, const struct cid *cid, uint32_t count)
{
    uint32_t young = 0;
    for (uint32_t i = 0; i < n->hold_count; i++)
        if (n->hold[i].young)
            n->hold[young++] = (struct held){n->hold[i].cid, false};
    n->hold_count = young;
    for (uint32_t i = 0; i < count && n->hold_count < NODE_HOLDS_MAX; i++)
        if (!is_unheld(c, &cid[i]) && !node_holds(n, &cid[i]))
            hold_add(n, &cid[i], false);
}

void node_keeps(struct node *n, const struct cjob *j, uint32_t round, const char *name,
                const struct cid *cid)
{
    if (node_holds(n, cid))
        return;
    if (plan_name_is_state(name)) {
        hold_add(n, cid, true);
        return;
    }
    n->made[n->made_next] = (struct made){*cid, j, round};
    n->made_next = (n->made_next + 1) % NODE_MADE_MAX;
    if (n->made_count < NODE_MADE_MAX)
        n->made_count++;
}

void node_made(struct node *n, const struct cjob *j, uint32_t round, const struct outputs *o)
{
    for (uint32_t i = 0; i < o->count; i++)
        node_keeps(n, j, round, o->at[i].name, &o->at[i].cid);
}

static void made_remove(struct node *n, uint32_t i)
{
    n->made[i] = n->made[--n->made_count];
    n->made_next = n->made_count;
}

void node_round(struct node *n, const struct cjob *j, uint32_t round, uint32_t keep)
{
    for (uint32_t i = n->made_count; i-- > 0;)
        if (n->made[i].job == j && n->made[i].round + NODE_ROUNDS_KEPT <= round &&
            n->made[i].round + 1 < keep)
            made_remove(n, i);
}

void node_forget(struct node *n, const struct cid *cid)
{
    for (uint32_t i = n->hold_count; i-- > 0;)
        if (cid_equal(&n->hold[i].cid, cid))
            n->hold[i] = n->hold[--n->hold_count];
    for (uint32_t i = n->made_count; i-- > 0;)
        if (cid_equal(&n->made[i].cid, cid))
            made_remove(n, i);
}

void holders_forget(struct coordinator *c, const struct cid *cid)
{
    struct map_entry e;
    for (size_t at = 0; map_next(&c->nodes, &at, &e);)
        node_forget(e.value, cid);
}

/* ---- rows ---- */

static enum emac_status row_write(struct coordinator *c, const struct node *n, struct emac_err *err)
{
    int64_t now = (int64_t)wall_ms(c);
    return db_exec(c->db, err,
                   "INSERT INTO nodes (did, name, url, version, isa, threads, memory_bytes,"
                   " disk_bytes, gflops, owner, subnet, device, driver, state, reason, created_ms,"
                   " seen_ms)"
                   " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'admitted', '', ?, ?)"
                   " ON CONFLICT (did) DO UPDATE SET name = excluded.name, url = excluded.url,"
                   " version = excluded.version, isa = excluded.isa, threads = excluded.threads,"
                   " memory_bytes = excluded.memory_bytes, disk_bytes = excluded.disk_bytes,"
                   " gflops = excluded.gflops, owner = excluded.owner, subnet = excluded.subnet,"
                   " device = excluded.device, driver = excluded.driver,"
                   " seen_ms = excluded.seen_ms",
                   "tttttiiidttttii", n->did, n->name, n->url, n->version, n->isa,
                   (int64_t)n->threads, (int64_t)n->memory_bytes, (int64_t)n->disk_bytes, n->gflops,
                   n->owner, n->subnet, n->device, n->driver, now, now);
}

enum emac_status node_admit(struct coordinator *c, struct node *n, struct emac_err *err)
{
    enum emac_status st = row_write(c, n, err);
    if (st == EMAC_OK) {
        n->state = NODE_ADMITTED;
        n->stored = true;
        sched_speed_seed(&n->speed, n->gflops * 1e9);
        node_seen(c, n);
        coordinator_changed(c);
    }
    return st;
}

static void row_read(struct coordinator *c, struct db_stmt *q)
{
    struct node *n;
    enum emac_status st = emac_alloc(&n, 1, sizeof(*n), NULL);
    EMAC_ASSERT(st == EMAC_OK);
    emac_strcpy(n->did, sizeof(n->did), db_text(q, 0));
    emac_strcpy(n->name, sizeof(n->name), db_text(q, 1));
    emac_strcpy(n->url, sizeof(n->url), db_text(q, 2));
    emac_strcpy(n->version, sizeof(n->version), db_text(q, 3));
    emac_strcpy(n->isa, sizeof(n->isa), db_text(q, 4));
    n->threads = (uint32_t)db_i64(q, 5);
    n->memory_bytes = (uint64_t)db_i64(q, 6);
    n->disk_bytes = (uint64_t)db_i64(q, 7);
    n->gflops = db_f64(q, 8);
    n->state = strcmp(db_text(q, 9), "admitted") == 0 ? NODE_ADMITTED : NODE_QUARANTINED;
    emac_strcpy(n->reason, sizeof(n->reason), db_text(q, 10));
    n->seen_at = (uint64_t)db_i64(q, 11);
    emac_strcpy(n->owner, sizeof(n->owner), db_text(q, 12));
    emac_strcpy(n->subnet, sizeof(n->subnet), db_text(q, 13));
    emac_strcpy(n->device, sizeof(n->device), db_text(q, 14));
    emac_strcpy(n->driver, sizeof(n->driver), db_text(q, 15));
    n->point = draw_point(n->did);
    n->stored = true;
    sched_speed_seed(&n->speed, n->gflops * 1e9);
    map_put(&c->nodes, n->did, n);
}

enum emac_status nodes_load(struct coordinator *c, struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT did, name, url, version, isa, threads, memory_bytes,"
                                   " disk_bytes, gflops, state, reason, seen_ms, owner, subnet,"
                                   " device, driver FROM nodes",
                                   "");
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row)
        row_read(c, q);
    return st;
}

/* ---- hello ---- */

struct hello {
    char did[DID_KEY_MAX];
    const char *url, *name, *version, *isa, *boot, *owner, *device, *driver;
    char subnet[DRAW_SUBNET_MAX];
    uint64_t threads, memory_bytes, keep_bytes, disk_bytes, offer_bytes, offer_units;
    struct link_shape link;
    bool reachable;
};

static enum emac_status url_check(const struct http_request *req, const char *url,
                                  struct emac_err *err)
{
    struct http_url u;
    if (url[0] == 0)
        return EMAC_OK;
    if (http_url_parse(req->arena, url, &u, err) != EMAC_OK)
        return emac_wrap(err, "field 'url'");
    if (strcmp(u.target, "/") != 0)
        return emac_fail(err, EMAC_INVALID, "field 'url' must not have a path: '%s'", url);
    return EMAC_OK;
}

/* Both rates, or none. */
static enum emac_status link_parse(json_t *link, struct link_shape *out, struct emac_err *err)
{
    enum emac_status st;
    if (link == NULL || json_is_null(link))
        return EMAC_OK;
    if (!json_is_object(link))
        return emac_fail(err, EMAC_INVALID, "field 'link' must be an object");
    EMAC_TRY(st, api_u64(link, "up_bps", LINK_RATE_MAX, &out->up_bps, err));
    EMAC_TRY(st, api_u64(link, "down_bps", LINK_RATE_MAX, &out->down_bps, err));
    EMAC_TRY(st, api_u64(link, "latency_ns", LINK_LATENCY_MAX, &out->latency_ns, err));
    if (out->up_bps < LINK_RATE_MIN || out->down_bps < LINK_RATE_MIN)
        st = emac_fail(err, EMAC_INVALID, "field 'link' has a rate below %llu bits a second",
                       (unsigned long long)LINK_RATE_MIN);
out:
    return st;
}

/* Who stands behind it, and on what it computes. */
static enum emac_status who_parse(json_t *root, struct hello *h, struct emac_err *err)
{
    uint8_t key[ED25519_PUBLIC_BYTES];
    enum emac_status st;
    h->owner = h->device = h->driver = "";
    EMAC_TRY(st, api_str_opt(root, "device", DEVICE_TEXT_MAX - 1, &h->device, err));
    EMAC_TRY(st, api_str_opt(root, "driver", DEVICE_TEXT_MAX - 1, &h->driver, err));
    EMAC_TRY(st, api_str_opt(root, "owner", DID_KEY_MAX - 1, &h->owner, err));
    if (h->owner[0] != '\0' && !crypto_did_key_parse(key, h->owner))
        return emac_fail(err, EMAC_INVALID, "field 'owner' is no did:key: '%s'", h->owner);
    if (!text_printable(h->device) || !text_printable(h->driver))
        st = emac_fail(err, EMAC_INVALID, "a field holds control characters");
out:
    return st;
}

static enum emac_status hello_parse(const struct http_request *req, json_t *root, struct hello *h,
                                    struct emac_err *err)
{
    const char *digest = NULL;
    enum emac_status st;
    h->url = h->boot = "";
    EMAC_TRY(st, api_str_opt(root, "url", NODE_URL_MAX - 1, &h->url, err));
    EMAC_TRY(st, api_str(root, "name", NODE_NAME_MAX - 1, &h->name, err));
    EMAC_TRY(st, api_str(root, "version", 31, &h->version, err));
    EMAC_TRY(st, api_str(root, "isa", 15, &h->isa, err));
    EMAC_TRY(st, api_str_opt(root, "boot", 39, &h->boot, err));
    EMAC_TRY(st, api_str(root, "conformance", 64, &digest, err));
    EMAC_TRY(st, api_u64_opt(root, "threads", 65536, &h->threads, err));
    EMAC_TRY(st, api_u64_opt(root, "memory_bytes", INT64_MAX, &h->memory_bytes, err));
    EMAC_TRY(st, api_u64_opt(root, "keep_bytes", INT64_MAX, &h->keep_bytes, err));
    EMAC_TRY(st, api_u64_opt(root, "disk_bytes", INT64_MAX, &h->disk_bytes, err));
    EMAC_TRY(st, api_u64_opt(root, "offer_bytes", INT64_MAX, &h->offer_bytes, err));
    EMAC_TRY(st, api_u64_opt(root, "offer_units", DEAL_PRICE_MAX, &h->offer_units, err));
    EMAC_TRY(st, link_parse(json_object_get(root, "link"), &h->link, err));
    EMAC_TRY(st, who_parse(root, h, err));
    EMAC_TRY(st, url_check(req, h->url, err));
    if (!text_printable(h->name) || !text_printable(h->version) || !text_printable(h->isa)) {
        st = emac_fail(err, EMAC_INVALID, "a field holds control characters");
        goto out;
    }
    if (strcmp(digest, CONFORMANCE_DIGEST) != 0)
        st = emac_fail(err, EMAC_FORBIDDEN,
                       "the conformance digest '%s' is not '%s': this device or build does not "
                       "compute the same bits and cannot be admitted",
                       digest, CONFORMANCE_DIGEST);
out:
    return st;
}

/* Does the rig serve blocks where it says? Called without the lock. */
static bool probe(struct coordinator *c, const char *url)
{
    struct http_reply reply;
    size_t len = strlen(url);
    if (len == 0)
        return false;
    char *full = emac_asprintf("%s%s"
                               "ipfs/" PROBE_CID "?format=raw",
                               url, url[len - 1] == '/' ? "" : "/");
    struct http_call call = {
        .method = "GET", .url = full, .timeout_ms = PROBE_MS, .reply_max = 4096};
    enum emac_status st = http_client_call(c->http, &call, &reply, NULL);
    bool ok = st == EMAC_OK && reply.status == 200;
    http_reply_release(&reply);
    free(full);
    return ok;
}

/* Room for a stranger: one that never answered its challenge makes way. They are few, so that a
 * surge of them takes neither memory nor the rigs' places. */
static bool make_room(struct coordinator *c)
{
    struct map_entry e;
    struct node *late = NULL;
    uint32_t strangers = 0;
    for (size_t at = 0; map_next(&c->nodes, &at, &e);) {
        struct node *n = e.value;
        strangers += !n->stored;
        if (!n->stored && (!n->challenge || challenge_expired(n->challenge, now_ms(c))))
            late = n;
    }
    if (strangers < STRANGERS_MAX && c->nodes.count < NODES_MAX)
        return true;
    if (late == NULL)
        return false;
    map_remove(&c->nodes, late->did);
    node_free(late);
    return true;
}

static enum emac_status node_get(struct coordinator *c, const char *did, struct node **out,
                                 struct emac_err *err)
{
    *out = node_find(c, did);
    if (*out)
        return EMAC_OK;
    if (!make_room(c))
        return emac_fail(err, EMAC_BUSY,
                         "%u rigs are known already, or %u that are not admitted yet: try again "
                         "in a minute",
                         NODES_MAX, STRANGERS_MAX);
    enum emac_status st = emac_alloc(out, 1, sizeof(**out), err);
    if (st != EMAC_OK)
        return st;
    emac_strcpy((*out)->did, sizeof((*out)->did), did);
    (*out)->point = draw_point(did);
    map_put(&c->nodes, did, *out);
    return EMAC_OK;
}

/* A process that started anew holds nothing of what the last one did. */
static void note_boot(struct node *n, const struct hello *h)
{
    if (n->boot[0] && h->boot[0] && strcmp(n->boot, h->boot) != 0) {
        n->hold_count = n->made_count = n->made_next = 0;
        for (uint32_t i = 0; i < NODE_LEASES_MAX; i++)
            if (n->lease[i])
                n->lease[i]->beat_ms = 0; /* the next tick gives it to another rig */
    }
    emac_strcpy(n->boot, sizeof(n->boot), h->boot);
}

static bool same_device(const struct node *n, const struct hello *h)
{
    return strcmp(n->isa, h->isa) == 0 && strcmp(n->version, h->version) == 0;
}

static enum emac_status hello(struct coordinator *c, const struct hello *h, struct node **out,
                              struct emac_err *err)
{
    struct node *n;
    enum emac_status st = node_get(c, h->did, &n, err);
    if (st != EMAC_OK)
        return st;
    *out = n;
    if (n->state == NODE_QUARANTINED)
        return EMAC_OK;
    bool challenge = n->state == NODE_NEW || !same_device(n, h);
    note_boot(n, h);
    emac_strcpy(n->name, sizeof(n->name), h->name);
    emac_strcpy(n->url, sizeof(n->url), h->url);
    emac_strcpy(n->version, sizeof(n->version), h->version);
    emac_strcpy(n->isa, sizeof(n->isa), h->isa);
    emac_strcpy(n->owner, sizeof(n->owner), h->owner);
    emac_strcpy(n->subnet, sizeof(n->subnet), h->subnet);
    emac_strcpy(n->device, sizeof(n->device), h->device[0] ? h->device : h->isa);
    emac_strcpy(n->driver, sizeof(n->driver), h->driver);
    chain_wallet_of(c, n->did, n->wallet);
    n->threads = (uint32_t)h->threads;
    n->memory_bytes = h->memory_bytes;
    n->keep_bytes = h->keep_bytes;
    n->disk_bytes = h->disk_bytes;
    n->offer_bytes = h->offer_bytes;
    n->offer_units = (int64_t)h->offer_units;
    c->deals->dirty = true; /* there may be room now */
    n->link = h->link;
    sched_speed_link(&n->speed, h->link.up_bps, h->link.down_bps);
    n->reachable = h->reachable;
    if (!n->present)
        n->asked_ms = now_ms(c); /* it is about to */
    n->present = true;
    node_seen(c, n);
    if (challenge) {
        n->state = NODE_NEW; /* whatever it was before: another device must prove itself */
        return challenge_open(c, n, err);
    }
    coordinator_changed(c);
    return row_write(c, n, err);
}

static json_t *hello_json(struct coordinator *c, const struct node *n)
{
    const char *state = n->challenge ? "challenge" : node_state_name(n->state);
    json_t *o =
        json_pack("{s:s, s:b, s:I, s:I}", "state", state, "reachable", n->reachable, "heartbeat_ms",
                  (json_int_t)c->cfg.heartbeat_ms, "lease_ttl_ms", (json_int_t)c->cfg.lease_ttl_ms);
    if (n->challenge)
        json_object_set_new(o, "challenge", challenge_json(n->challenge));
    if (n->state == NODE_QUARANTINED)
        json_object_set_new(o, "reason", json_string(n->reason));
    else
        json_object_set_new(o, "session", session_json(c, n->did));
    return o;
}

/* Where the rig speaks from: behind a proxy as that one says, whose word comes last. */
static void subnet_of(const struct coordinator *c, const struct http_request *req,
                      char out[DRAW_SUBNET_MAX])
{
    const char *from = req->peer ? req->peer : "";
    if (c->cfg.behind_proxy) {
        const char *all = http_header_get(&req->headers, "x-forwarded-for");
        const char *comma = all ? strrchr(all, ',') : NULL;
        from = comma ? comma + 1 : all ? all : "";
        while (*from == ' ')
            from++;
    }
    draw_subnet(out, from);
}

enum emac_status nodes_post(void *ctx, const struct http_request *req, struct http_response *res,
                            struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct hello h = {0};
    struct node *n;
    json_t *root = NULL, *answer = NULL;
    enum emac_status st;
    EMAC_TRY(st, api_signer(c, req, h.did, err));
    EMAC_TRY(st, api_body(req, &root, err));
    EMAC_TRY(st, hello_parse(req, root, &h, err));
    subnet_of(c, req, h.subnet);
    h.reachable = probe(c, h.url);
    os_mutex_lock(&c->lock);
    st = hello(c, &h, &n, err);
    if (st == EMAC_OK)
        answer = hello_json(c, n);
    os_mutex_unlock(&c->lock);
    if (st == EMAC_OK)
        st = api_reply(res, 200, answer, err);
out:
    json_decref(root);
    return st;
}

/* ---- heartbeat ---- */

/* Bytes that the rig brought in since its last heartbeat, on account of the job it works for.
 * Only what was received: what one rig sends another receives. */
static void note_traffic(struct coordinator *c, struct node *n, uint64_t sent, uint64_t received)
{
    struct cjob *j = n->last_job;
    bool grew = received >= n->received_bytes && sent >= n->sent_bytes;
    if (j && grew && n->received_bytes > 0) {
        j->figures.bytes_moved += (int64_t)(received - n->received_bytes);
        j->figures_dirty = true;
    }
    n->sent_bytes = sent;
    n->received_bytes = received;
}

static enum emac_status traffic_parse(json_t *root, uint64_t *sent, uint64_t *received,
                                      struct emac_err *err)
{
    json_t *t = json_object_get(root, "traffic");
    if (t == NULL || json_is_null(t))
        return EMAC_OK;
    if (!json_is_object(t))
        return emac_fail(err, EMAC_INVALID, "field 'traffic' must be an object");
    enum emac_status st = api_u64_opt(t, "sent", INT64_MAX, sent, err);
    return st == EMAC_OK ? api_u64_opt(t, "received", INT64_MAX, received, err) : st;
}

/* Leases that the rig should drop: those we do not know of it (ended, given away and done). */
static void beat_leases(struct coordinator *c, struct node *n, json_t *leases, json_t *cancel)
{
    for (size_t i = 0; i < json_array_size(leases); i++) {
        const char *id = json_string_value(json_array_get(leases, i));
        struct lease *l = id ? lease_find(n, id) : NULL;
        bool drop = l == NULL;
        if (l)
            l->beat_ms = now_ms(c);
        else if (id)
            serve_beat(c, n, id, &drop);
        if (drop && id && !lease_may_answer(c, id))
            json_array_append_new(cancel, json_string(id));
    }
}

static json_t *beat(struct coordinator *c, struct node *n, json_t *leases, uint64_t sent,
                    uint64_t received)
{
    json_t *cancel = json_array(), *deposit = json_array();
    struct cid asked[DEPOSITS_ASKED_MAX];
    node_seen(c, n);
    note_traffic(c, n, sent, received);
    beat_leases(c, n, leases, cancel);
    uint32_t count = deposits_for(c, n, asked);
    for (uint32_t i = 0; i < count; i++)
        json_array_append_new(deposit, api_cid(&asked[i]));
    return json_pack("{s:o, s:o, s:I}", "cancel", cancel, "deposit", deposit, "deals",
                     (json_int_t)c->deals->version);
}

enum emac_status heartbeat_post(void *ctx, const struct http_request *req,
                                struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    char did[DID_KEY_MAX];
    json_t *root = NULL, *leases, *answer = NULL;
    uint64_t sent = 0, received = 0;
    struct node *n;
    enum emac_status st;
    EMAC_TRY(st, api_rig(c, req, did, err));
    EMAC_TRY(st, api_body(req, &root, err));
    EMAC_TRY(st, api_list_opt(root, "leases", HEARTBEAT_LEASES, &leases, err));
    EMAC_TRY(st, traffic_parse(root, &sent, &received, err));
    os_mutex_lock(&c->lock);
    st = node_working(c, did, &n, err);
    if (st == EMAC_OK)
        answer = beat(c, n, leases, sent, received);
    os_mutex_unlock(&c->lock);
    if (st == EMAC_OK)
        st = api_reply(res, 200, answer, err);
out:
    json_decref(root);
    return st;
}

/* ---- status ---- */

static uint32_t lease_count(const struct node *n)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < NODE_LEASES_MAX; i++)
        count += n->lease[i] != NULL;
    return count;
}

static json_t *node_json(struct coordinator *c, const struct node *n)
{
    const char *state = node_state_name(n->state);
    if (n->state == NODE_ADMITTED && !node_is_live(c, n, now_ms(c)))
        state = "away";
    json_t *link = NULL; /* null: the owner set none */
    if (n->link.up_bps > 0)
        link =
            json_pack("{s:I, s:I, s:I}", "up_bps", (json_int_t)n->link.up_bps, "down_bps",
                      (json_int_t)n->link.down_bps, "latency_ns", (json_int_t)n->link.latency_ns);
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:f, s:s, s:i, s:I, s:b, s:I, s:I, s:f, s:f, s:I, s:I,"
        " s:o?}",
        "did", n->did, "name", n->name, "url", n->url, "state", state, "gflops", n->gflops, "isa",
        n->isa, "leases", (int)lease_count(n), "last_seen_ms", (json_int_t)n->seen_at, "reachable",
        n->reachable, "bytes_sent", (json_int_t)n->sent_bytes, "bytes_received",
        (json_int_t)n->received_bytes, "math_gflops", n->alone_flops[SCHED_WORK_MATH] * 1e-9,
        "state_gflops", n->alone_flops[SCHED_WORK_STATE] * 1e-9, "memory_bytes",
        (json_int_t)n->memory_bytes, "keep_bytes", (json_int_t)n->keep_bytes, "link", link);
}

enum emac_status status_get(void *ctx, const struct http_request *req, struct http_response *res,
                            struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct map_entry e;
    json_t *nodes = json_array();
    os_mutex_lock(&c->lock);
    for (size_t at = 0; map_next(&c->nodes, &at, &e);)
        json_array_append_new(nodes, node_json(c, e.value));
    int jobs = (int)c->job_count;
    os_mutex_unlock(&c->lock);
    uint64_t now = now_ms(c);
    return api_reply(res, 200,
                     json_pack("{s:s, s:o, s:i, s:I, s:I, s:s}", "version", COORDINATOR_VERSION,
                               "nodes", nodes, "jobs", jobs, "now_ms", (json_int_t)wall_ms(c),
                               "uptime_ms", (json_int_t)(now - c->start_ms), "network",
                               c->cfg.dev ? "dev" : "main"),
                     err);
}

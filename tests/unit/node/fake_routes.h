/* The routes of the coordinator by script. */
#ifndef EMAC_TESTS_NODE_FAKE_ROUTES_H
#define EMAC_TESTS_NODE_FAKE_ROUTES_H

#include "fake.h"

static inline enum emac_status fake_nodes(void *ctx, const struct http_request *req,
                                          struct http_response *res, struct emac_err *err)
{
    struct fake *f = ctx;
    json_t *body = NULL, *challenge = NULL;
    enum emac_status st = fake_begin(f, req, &body, err);
    if (st != EMAC_OK)
        return st;
    f->hellos++;
    f->forget = false;
    keep(&f->last_hello, body);
    if (strcmp(f->hello, "challenge") == 0) {
        struct program p;
        struct emac_buf b;
        struct task t = {.program = f->challenge_program};
        emac_buf_init(&b, PROGRAM_BYTES_MAX);
        assert_int_equal(store_block_get(f->rig.store, &t.program, &b, err), EMAC_OK);
        assert_int_equal(program_decode(&p, b.data, b.len, err), EMAC_OK);
        emac_buf_release(&b);
        challenge = json_pack("{s:s,s:o,s:o,s:o}", "id", "challenge-1", "program",
                              block_json(f, &t.program), "graph", block_json(f, &p.graph), "task",
                              task_json(&t, NULL));
    }
    json_t *reply = json_pack("{s:s,s:b,s:o?,s:i,s:i,s:o?}", "state", f->hello, "reachable",
                              (int)f->reachable, "challenge", challenge, "heartbeat_ms", 50,
                              "lease_ttl_ms", 4000, "session", fake_session(f));
    fake_end(f);
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
    f->answers++;
    keep(&f->last_answer, body);
    fake_end(f);
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
    fake_end(f);
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
    f->beats++;
    keep(&f->last_beat, body);
    /* Copies: the reply is written after the lock is gone, and the test goes on filling both. */
    json_t *reply = json_pack("{s:o,s:o,s:i}", "cancel", json_deep_copy(f->cancel), "deposit",
                              json_deep_copy(f->deposit), "deals", f->deals);
    if (f->forget) {
        json_decref(reply);
        st = emac_fail(err, EMAC_CONFLICT, "say hello first");
    }
    fake_end(f);
    return st == EMAC_OK ? fake_reply(res, reply, err) : st;
}

/* Never answered with any. */
static inline enum emac_status fake_duties(void *ctx, const struct http_request *req,
                                           struct http_response *res, struct emac_err *err)
{
    struct fake *f = ctx;
    json_t *body = NULL;
    enum emac_status st = fake_begin(f, req, &body, err);
    if (st != EMAC_OK)
        return st;
    json_decref(body);
    f->duties++;
    fake_end(f);
    return emac_fail(err, EMAC_UNAVAILABLE, "the database is busy");
}

static inline enum emac_status fake_receipt(void *ctx, const struct http_request *req,
                                            struct http_response *res, struct emac_err *err)
{
    struct fake *f = ctx;
    json_t *body = NULL;
    enum emac_status st = fake_begin(f, req, &body, err);
    if (st != EMAC_OK)
        return st;
    if (f->receipt_failures > 0) {
        f->receipt_failures--;
        json_decref(body);
        st = emac_fail(err, EMAC_UNAVAILABLE, "the database is busy");
    } else {
        f->receipts++;
        f->last_receipt_ns = os_real()->mono_ns(os_real());
        keep(&f->last_receipt, body);
    }
    fake_end(f);
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
    f->failures++;
    keep(&f->last_failure, body);
    fake_end(f);
    return fake_reply(res, json_object(), err);
}

static inline enum emac_status fake_dispute(void *ctx, const struct http_request *req,
                                            struct http_response *res, struct emac_err *err)
{
    struct fake *f = ctx;
    json_t *body = NULL;
    enum emac_status st = fake_begin(f, req, &body, err);
    if (st != EMAC_OK)
        return st;
    json_decref(body);
    f->disputes++;
    f->said_before = json_object_size(f->said);
    fake_end(f);
    return fake_reply(res, json_object(), err);
}

/* What came of a lease so far: the last piece, with all of its text. One that came already is not
 * taken again. */
static inline void fake_said_add(json_t *said, const char *lease, const json_t *piece)
{
    const json_t *last = json_object_get(json_object_get(said, lease), "seq");
    if (last != NULL &&
        json_integer_value(json_object_get(piece, "seq")) <= json_integer_value(last))
        return;
    json_t *all = json_deep_copy(piece);
    const char *before = json_string_value(json_object_get(json_object_get(said, lease), "text"));
    const char *more = json_string_value(json_object_get(piece, "text"));
    json_object_set_new(all, "text", json_sprintf("%s%s", before ? before : "", more ? more : ""));
    json_object_set_new(said, lease, all);
}

static inline enum emac_status fake_piece(void *ctx, const struct http_request *req,
                                          struct http_response *res, struct emac_err *err)
{
    struct fake *f = ctx;
    json_t *body = NULL;
    enum emac_status st = fake_begin(f, req, &body, err);
    if (st != EMAC_OK)
        return st;
    f->pieces++;
    json_t *text = json_object_get(body, "text");
    emac_buf_append(&f->text, json_string_value(text), json_string_length(text), NULL);
    fake_said_add(f->said, http_path_param(req, "lease"), body);
    keep(&f->last_piece, body);
    json_t *reply = json_pack("{s:b}", "cancel", (int)f->serve_cancel);
    if (f->piece_failures > 0) {
        f->piece_failures--;
        json_decref(reply);
        st = emac_fail(err, EMAC_UNAVAILABLE, "the database is busy");
    }
    fake_end(f);
    return st == EMAC_OK ? fake_reply(res, reply, err) : st;
}

static inline enum emac_status fake_providers(void *ctx, const struct http_request *req,
                                              struct http_response *res, struct emac_err *err)
{
    struct fake *f = ctx;
    os_mutex_lock(&f->lock);
    json_t *reply = json_pack("{s:s,s:o}", "cid", http_path_param(req, "cid"), "providers",
                              json_deep_copy(f->providers));
    os_mutex_unlock(&f->lock);
    return fake_reply(res, reply, err);
}

static inline enum emac_status fake_block(void *ctx, const struct http_request *req,
                                          struct http_response *res, struct emac_err *err)
{
    struct fake *f = ctx;
    struct cid cid = {0};
    if (exchange_path_cid(req, &cid, NULL) != EMAC_OK)
        cid = (struct cid){0};
    os_mutex_lock(&f->lock);
    f->watched_asks += cid_equal(&cid, &f->watched);
    f->waiting++;
    os_cond_broadcast(&f->changed);
    while (f->hold && (cid_is_none(&f->hold_only) || cid_equal(&f->hold_only, &cid)) &&
           !http_server_stopping(f->server))
        os_cond_wait_ms(&f->changed, &f->lock, 20);
    f->waiting--;
    os_mutex_unlock(&f->lock);
    return exchange_serve(f->rig.store, req, res, err);
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
    {"POST", "/v1/deals/duties", 1 << 20, fake_duties},
    {"POST", "/v1/serve/{lease}", 1 << 20, fake_piece},
    {"POST", "/v1/disputes/{id}", 1 << 20, fake_dispute},
    {"GET", "/v1/providers/{cid}", 0, fake_providers},
    {"GET", "/ipfs/{cid}", 0, fake_block},
    {"GET", "/v1/depot/{cid}/missing", 0, fake_missing},
    {"POST", "/v1/depot/{cid}", 32 << 20, fake_depot},
    {"GET", "/healthz", 0, fake_health},
};

#endif

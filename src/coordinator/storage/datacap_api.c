/* Data of value over HTTP. */
#include "coordinator/storage/datacap.h"

#include <stdlib.h>
#include <string.h>

static enum emac_status configured(const struct coordinator *c, struct datacap_book *b,
                                   struct emac_err *err)
{
    *b = (struct datacap_book){c->db, c->cfg.datacap};
    if (c->cfg.datacap != NULL)
        return EMAC_OK;
    return emac_fail(err, EMAC_NOT_FOUND,
                     "this network grants no allowances: its coordinator has no --datacap");
}

enum emac_status datacap_get(void *ctx, const struct http_request *req, struct http_response *res,
                             struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct datacap_book b;
    int64_t granted = 0, burnt = 0;
    enum emac_status st;
    EMAC_TRY(st, configured(c, &b, err));
    EMAC_TRY(st, ledger_balance(c->db, "bytes:granted", &granted, err));
    EMAC_TRY(st, ledger_balance(c->db, "bytes:burnt", &burnt, err));
    json_t *o = datacap_rules_to_json(b.rules);
    json_object_set_new(o, "granted_bytes", json_integer(-granted));
    json_object_set_new(o, "burnt_bytes", json_integer(burnt));
    st = api_reply(res, 200, o, err);
out:
    return st;
}

/* ---- motions ---- */

static json_t *motion_json(const struct datacap_motion_row *m)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:i}", "motion", m->id, "kind",
                     datacap_kind_name(m->kind), "outcome", datacap_outcome_name(m->outcome),
                     "client", m->client, "application", m->application, "first_ms",
                     (json_int_t)m->first_ms, "bytes", (json_int_t)m->bytes, "votes",
                     (int)m->votes);
}

enum emac_status datacap_vote_post(void *ctx, const struct http_request *req,
                                   struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct datacap_book b;
    struct datacap_motion_row m;
    struct emac_slice object, signature;
    char did[DID_KEY_MAX];
    json_t *root = NULL;
    enum emac_status st;
    EMAC_TRY(st, configured(c, &b, err));
    EMAC_TRY(st,
             api_signer(c, req, did, err)); /* who sends it: any key; the vote is signed itself */
    EMAC_TRY(st, api_body(req, &root, err));
    EMAC_TRY(st, api_bytes(req, root, "vote", DATACAP_VOTE_MAX, &object, err));
    EMAC_TRY(st, api_bytes(req, root, "signature", ED25519_SIGNATURE_BYTES, &signature, err));
    EMAC_TRY(st, db_begin(c->db, err));
    st = datacap_book_vote(&b, object, signature, wall_ms(c), &m, err);
    st = db_end(c->db, st, err);
    if (st == EMAC_OK)
        st = api_reply(res, 200, motion_json(&m), err);
out:
    json_decref(root);
    return st;
}

static void motion_add(void *ctx, const struct datacap_motion_row *m)
{
    json_array_append_new(ctx, motion_json(m));
}

enum emac_status datacap_motions_get(void *ctx, const struct http_request *req,
                                     struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct datacap_book b;
    uint64_t limit;
    json_t *list = json_array();
    enum emac_status st;
    EMAC_TRY(st, configured(c, &b, err));
    EMAC_TRY(st, api_query_u64(req, "limit", 100, API_LIST_MAX, &limit, err));
    EMAC_TRY(st, datacap_book_motions(&b, (uint32_t)limit, wall_ms(c), motion_add, list, err));
    st = api_reply(res, 200, json_pack("{s:O}", "motions", list), err);
out:
    json_decref(list);
    return st;
}

/* ---- allowances ---- */

static void allowance_add(void *ctx, const struct allowance *a)
{
    json_array_append_new(
        ctx, json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "allowance", a->id,
                       "client", a->client, "origin", allowance_origin_name(a->origin),
                       "granted_bytes", (json_int_t)a->granted, "left_bytes", (json_int_t)a->left,
                       "bound_bytes", (json_int_t)a->bound, "burnt_bytes", (json_int_t)a->burnt,
                       "granted_ms", (json_int_t)a->granted_ms, "expires_ms",
                       (json_int_t)a->expires_ms, "removed", (int)a->removed));
}

enum emac_status datacap_allowances_get(void *ctx, const struct http_request *req,
                                        struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct datacap_book b;
    uint64_t limit;
    const char *client = http_query_get(req, "client"), *after = http_query_get(req, "after");
    json_t *list = json_array();
    enum emac_status st;
    EMAC_TRY(st, configured(c, &b, err));
    EMAC_TRY(st, api_query_u64(req, "limit", 100, API_LIST_MAX, &limit, err));
    EMAC_TRY(st, allowance_each(c->db, client, after ? after : "", (uint32_t)limit, allowance_add,
                                list, err));
    st = api_reply(res, 200, json_pack("{s:O}", "allowances", list), err);
out:
    json_decref(list);
    return st;
}

/* ---- deals ---- */

/* Under the lock. Every replica's bytes. */
static enum emac_status deal_bind(struct coordinator *c, const char *id, const char *did,
                                  int64_t *bytes, struct emac_err *err)
{
    struct deal d;
    enum emac_status st = deal_find(c, id, &d, err);
    if (st != EMAC_OK)
        return st;
    if (strcmp(d.client, did) != 0)
        return emac_fail(err, EMAC_FORBIDDEN, "deal '%s' is of client '%s'", id, d.client);
    if (d.state != DEALS_OPEN)
        return emac_fail(err, EMAC_CONFLICT, "deal '%s' has ended", id);
    if (d.terms.piece.size > (uint64_t)ALLOWANCE_BYTES_MAX / d.terms.replicas)
        return emac_fail(err, EMAC_TOO_LARGE, "deal '%s' is larger than an allowance can be", id);
    *bytes = (int64_t)(d.terms.piece.size * d.terms.replicas);
    EMAC_TRY(st, db_begin(c->db, err));
    st = allowance_bind(c->db, did, id, *bytes, wall_ms(c), err);
    st = db_end(c->db, st, err);
out:
    return st;
}

enum emac_status deal_datacap_post(void *ctx, const struct http_request *req,
                                   struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct datacap_book b;
    char did[DID_KEY_MAX];
    const char *id = http_path_param(req, "id");
    int64_t bytes = 0;
    enum emac_status st;
    EMAC_TRY(st, configured(c, &b, err));
    EMAC_TRY(st, api_signer(c, req, did, err));
    os_mutex_lock(&c->lock);
    st = deal_bind(c, id, did, &bytes, err);
    os_mutex_unlock(&c->lock);
    if (st == EMAC_OK)
        st = api_reply(res, 200,
                       json_pack("{s:s, s:I}", "deal", id, "bound_bytes", (json_int_t)bytes), err);
out:
    return st;
}

/* ---- epochs ---- */

static enum emac_status rewards_list(struct coordinator *c, uint64_t epoch, json_t *list,
                                     struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT deal, replica, node, bytes, weighted, units"
                                   " FROM datacap_rewards WHERE epoch = ? ORDER BY deal, replica",
                                   "i", (int64_t)epoch);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row)
        json_array_append_new(
            list, json_pack("{s:s, s:I, s:s, s:I, s:I, s:o}", "deal", db_text(q, 0), "replica",
                            (json_int_t)db_i64(q, 1), "node", db_text(q, 2), "bytes",
                            (json_int_t)db_i64(q, 3), "weighted_bytes", (json_int_t)db_i64(q, 4),
                            "units", api_units(db_i64(q, 5))));
    return st;
}

enum emac_status datacap_epoch_get(void *ctx, const struct http_request *req,
                                   struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct datacap_book b;
    struct db_stmt *q;
    const char *text = http_path_param(req, "epoch");
    char *end;
    json_t *list = json_array(), *o = NULL;
    enum emac_status st;
    EMAC_TRY(st, configured(c, &b, err));
    int64_t epoch = strspn(text, "0123456789") == strlen(text) ? strtoll(text, &end, 10) : -1;
    EMAC_TRY(st, db_first(c->db, &q, err,
                          "SELECT weighted, taken, dust, funder, at_ms FROM datacap_epochs"
                          " WHERE epoch = ?",
                          "i", epoch));
    if (q == NULL) {
        st = emac_fail(err, EMAC_NOT_FOUND, "epoch '%.24s' has no reward yet", text);
        goto out;
    }
    o = json_pack("{s:I, s:I, s:o, s:o, s:s, s:I}", "epoch", (json_int_t)epoch, "weighted_bytes",
                  (json_int_t)db_i64(q, 0), "units", api_units(db_i64(q, 1)), "dust_units",
                  api_units(db_i64(q, 2)), "funder", db_text(q, 3), "at_ms",
                  (json_int_t)db_i64(q, 4));
    db_done(q);
    EMAC_TRY(st, rewards_list(c, (uint64_t)epoch, list, err));
    json_object_set(o, "rewards", list);
    st = api_reply(res, 200, json_incref(o), err);
out:
    json_decref(list);
    json_decref(o);
    return st;
}

/* API keys: made, listed and revoked by their owner; and who pays for a request. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/hex.h"
#include "coordinator/internal.h"
#include "coordinator/serving/serving.h"

#define NAME_MAX_BYTES 48
#define KEY_COLUMNS                                                                                \
    "id, name, purpose, state, limit_units, spent_units, requests, prompt_tokens,"                 \
    " completion_tokens, created_ms, used_ms"

/* ---- what a key may spend ---- */

static enum emac_status reserved_by(struct coordinator *c, const char *key, int64_t *units,
                                    struct emac_err *err)
{
    return db_one_i64(c->db, units, err,
                      "SELECT COALESCE(SUM(reserved_units), 0) FROM serving"
                      " WHERE key = ? AND state = 'open'",
                      "t", key);
}

enum emac_status serving_key_check(struct coordinator *c, const char *key, int64_t units,
                                   struct emac_err *err)
{
    char need[32], have[32];
    int64_t left = 0, reserved = 0, active = 0;
    enum emac_status st;
    EMAC_TRY(st, db_one_i64(c->db, &active, err,
                            "SELECT COUNT(*) FROM api_keys WHERE id = ? AND state = 'active'", "t",
                            key));
    if (active == 0)
        return emac_fail(err, EMAC_UNAUTHORIZED, "the API key '%s' was revoked", key);
    EMAC_TRY(st,
             db_one_i64(c->db, &left, err,
                        "SELECT limit_units - spent_units FROM api_keys WHERE id = ?", "t", key));
    EMAC_TRY(st, reserved_by(c, key, &reserved, err));
    EMAC_ASSERT(reserved >= 0 && reserved <= left); /* SERVE-3 */
    if (units <= left - reserved)
        return EMAC_OK;
    ledger_amount_text(need, units);
    ledger_amount_text(have, left - reserved);
    return emac_fail(
        err, EMAC_BUSY,
        "insufficient_quota: the answer may cost %s EMAC, and the limit of the API key "
        "'%s' leaves %s: ask for fewer max_tokens, or make a key with a higher limit",
        need, key, have);
out:
    return st;
}

/* ---- who pays ---- */

/* The token of "Bearer emac-...", NULL for anything else: clients send some text or other to
 * servers that want none. */
static const char *bearer(const struct http_request *req)
{
    const char *value = http_header_get(&req->headers, "authorization");
    if (value == NULL || strncasecmp(value, "Bearer ", 7) != 0)
        return NULL;
    value += 7 + strspn(value + 7, " ");
    return strncmp(value, SERVING_KEY_PREFIX, strlen(SERVING_KEY_PREFIX)) == 0 ? value : NULL;
}

static enum emac_status key_payer(struct coordinator *c, const char *token, struct serve_payer *out,
                                  struct emac_err *err)
{
    struct db_stmt *q;
    uint8_t hash[SHA256_BYTES];
    crypto_sha256(hash, token, strlen(token));
    enum emac_status st =
        db_first(c->db, &q, err, "SELECT id, did, purpose, state FROM api_keys WHERE hash = ?", "b",
                 (const void *)hash, sizeof(hash));
    if (st != EMAC_OK)
        return st;
    if (q == NULL)
        return emac_fail(err, EMAC_UNAUTHORIZED,
                         "the API key is not known here: make one with 'emac key new'");
    bool fits = emac_strcpy(out->key, sizeof(out->key), db_text(q, 0)) &&
                emac_strcpy(out->did, sizeof(out->did), db_text(q, 1));
    EMAC_ASSERT(fits);
    out->commercial = strcmp(db_text(q, 2), "commercial") == 0;
    if (strcmp(db_text(q, 3), "active") != 0)
        st = emac_fail(err, EMAC_UNAUTHORIZED, "the API key '%s' was revoked", out->key);
    db_done(q);
    return st == EMAC_OK ? api_rate(c, out->did, err) : st;
}

enum emac_status serve_payer_of(struct coordinator *c, const struct http_request *req,
                                struct serve_payer *out, struct emac_err *err)
{
    const char *token = bearer(req);
    *out = (struct serve_payer){.commercial = true};
    if (token != NULL)
        return key_payer(c, token, out, err);
    if (http_header_get(&req->headers, "signature-input") != NULL)
        return api_signer(c, req, out->did, err);
    if (c->cfg.serving == SERVING_FREE)
        return EMAC_OK;
    return emac_fail(err, EMAC_UNAUTHORIZED,
                     "answers are paid for here: send 'Authorization: Bearer' with an API key made "
                     "by 'emac key new', or sign the request");
}

/* ---- making one ---- */

struct key_new {
    char did[DID_KEY_MAX], id[SERVE_KEY_MAX];
    struct emac_slice hash;
    const char *name, *purpose, *limit;
    int64_t limit_units;
};

static enum emac_status new_read(struct coordinator *c, const struct http_request *req,
                                 json_t *root, struct key_new *k, struct emac_err *err)
{
    enum emac_status st;
    k->name = "";
    k->purpose = "commercial";
    EMAC_TRY(st, api_bytes(req, root, "hash", SHA256_BYTES, &k->hash, err));
    EMAC_TRY(st, api_str_opt(root, "name", NAME_MAX_BYTES, &k->name, err));
    EMAC_TRY(st, api_str_opt(root, "purpose", 16, &k->purpose, err));
    EMAC_TRY(st, api_str(root, "limit_units", 20, &k->limit, err));
    EMAC_TRY(st, api_units_parse(k->limit, &k->limit_units, err));
    if (k->hash.len != SHA256_BYTES)
        return emac_fail(err, EMAC_INVALID, "'hash' must be the SHA-256 of the key, 32 bytes");
    if (!text_printable(k->name))
        return emac_fail(err, EMAC_INVALID, "'name' must be a line of text");
    if (strcmp(k->purpose, "commercial") != 0 && strcmp(k->purpose, "research") != 0)
        return emac_fail(err, EMAC_INVALID, "'purpose' must be commercial or research");
    emac_hex(k->id, k->hash.data, 8);
out:
    return st;
}

static json_t *key_json(struct coordinator *c, struct db_stmt *q)
{
    int64_t reserved = 0;
    const char *id = db_text(q, 0);
    (void)reserved_by(c, id, &reserved, NULL);
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I}", "id", id,
                     "name", db_text(q, 1), "purpose", db_text(q, 2), "state", db_text(q, 3),
                     "limit_units", api_units(db_i64(q, 4)), "spent_units", api_units(db_i64(q, 5)),
                     "reserved_units", api_units(reserved), "requests", (json_int_t)db_i64(q, 6),
                     "prompt_tokens", (json_int_t)db_i64(q, 7), "completion_tokens",
                     (json_int_t)db_i64(q, 8), "created_ms", (json_int_t)db_i64(q, 9), "used_ms",
                     (json_int_t)db_i64(q, 10));
}

/* NOT_FOUND unless the key is this owner's: others do not learn that it is there. */
static enum emac_status key_show(struct coordinator *c, const char *id, const char *did,
                                 json_t **out, struct emac_err *err)
{
    struct db_stmt *q;
    enum emac_status st =
        db_first(c->db, &q, err, "SELECT " KEY_COLUMNS " FROM api_keys WHERE id = ? AND did = ?",
                 "tt", id, did);
    if (st != EMAC_OK)
        return st;
    if (q == NULL)
        return emac_fail(err, EMAC_NOT_FOUND, "you have no API key '%.40s'", id);
    *out = key_json(c, q);
    db_done(q);
    return EMAC_OK;
}

/* Asking again with the same hash is OK and changes nothing. */
static enum emac_status key_insert(struct coordinator *c, const struct key_new *k, bool *fresh,
                                   struct emac_err *err)
{
    int64_t count = 0, changed = 0;
    enum emac_status st;
    EMAC_TRY(st, db_one_i64(c->db, &count, err, "SELECT COUNT(*) FROM api_keys WHERE did = ?", "t",
                            k->did));
    if (count >= SERVING_KEYS_MAX)
        return emac_fail(err, EMAC_CONFLICT, "an account has at most %d API keys",
                         SERVING_KEYS_MAX);
    st = db_change(c->db, &changed, err,
                   "INSERT INTO api_keys (id, hash, did, name, purpose, state, limit_units,"
                   " spent_units, requests, prompt_tokens, completion_tokens, created_ms, used_ms)"
                   " VALUES (?, ?, ?, ?, ?, 'active', ?, 0, 0, 0, 0, ?, 0) ON CONFLICT DO NOTHING",
                   "tbtttii", k->id, k->hash.data, k->hash.len, k->did, k->name, k->purpose,
                   k->limit_units, (int64_t)wall_ms(c));
    *fresh = changed > 0;
out:
    return st;
}

enum emac_status keys_post(void *ctx, const struct http_request *req, struct http_response *res,
                           struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct key_new k = {0};
    json_t *root = NULL, *o = NULL;
    bool fresh = false;
    enum emac_status st;
    EMAC_TRY(st, api_signer(c, req, k.did, err));
    EMAC_TRY(st, api_body(req, &root, err));
    EMAC_TRY(st, new_read(c, req, root, &k, err));
    os_mutex_lock(&c->lock);
    st = key_insert(c, &k, &fresh, err);
    if (st == EMAC_OK)
        st = key_show(c, k.id, k.did, &o, err);
    os_mutex_unlock(&c->lock);
    if (st == EMAC_NOT_FOUND)
        st = emac_fail(err, EMAC_CONFLICT, "the key is taken: make another");
    if (st == EMAC_OK)
        st = api_reply(res, fresh ? 201 : 200, o, err);
out:
    json_decref(root);
    return st;
}

/* ---- reading and revoking ---- */

enum emac_status keys_get(void *ctx, const struct http_request *req, struct http_response *res,
                          struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct db_stmt *q;
    char did[DID_KEY_MAX];
    bool row = false;
    json_t *list = json_array();
    enum emac_status st;
    EMAC_TRY(st, api_signer(c, req, did, err));
    st = db_query(c->db, &q, err,
                  "SELECT " KEY_COLUMNS " FROM api_keys WHERE did = ? ORDER BY created_ms, id", "t",
                  did);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row)
        json_array_append_new(list, key_json(c, q));
    if (st == EMAC_OK)
        st = api_reply(res, 200, json_pack("{s:O}", "keys", list), err);
out:
    json_decref(list);
    return st;
}

static json_t *usage_json(struct db_stmt *q)
{
    int64_t rig = db_i64(q, 6), fee = db_i64(q, 7), royalty = db_i64(q, 8);
    return json_pack("{s:s, s:s, s:s, s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:I, s:I}", "id",
                     db_text(q, 0), "model", db_text(q, 1), "state", db_text(q, 2),
                     "reserved_units", api_units(db_i64(q, 3)), "prompt_tokens",
                     (json_int_t)db_i64(q, 4), "completion_tokens", (json_int_t)db_i64(q, 5),
                     "rig_units", api_units(rig), "fee_units", api_units(fee), "royalty_units",
                     api_units(royalty), "units", api_units(rig + fee + royalty), "at_ms",
                     (json_int_t)db_i64(q, 9), "ended_ms", (json_int_t)db_i64(q, 10));
}

enum emac_status key_usage_get(void *ctx, const struct http_request *req, struct http_response *res,
                               struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct db_stmt *q;
    char did[DID_KEY_MAX];
    const char *id = http_path_param(req, "id");
    uint64_t limit;
    bool row = false;
    json_t *list = json_array(), *key = NULL;
    enum emac_status st;
    EMAC_TRY(st, api_signer(c, req, did, err));
    EMAC_TRY(st, api_query_u64(req, "limit", 100, API_LIST_MAX, &limit, err));
    EMAC_TRY(st, key_show(c, id, did, &key, err));
    st = db_query(c->db, &q, err,
                  "SELECT id, model, state, reserved_units, prompt_tokens, completion_tokens,"
                  " rig_units, fee_units, royalty_units, at_ms, ended_ms FROM serving"
                  " WHERE key = ? ORDER BY at_ms DESC, id LIMIT ?",
                  "ti", id, (int64_t)limit);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row)
        json_array_append_new(list, usage_json(q));
    if (st == EMAC_OK)
        st = api_reply(res, 200, json_pack("{s:O, s:O}", "key", key, "usage", list), err);
out:
    json_decref(key);
    json_decref(list);
    return st;
}

enum emac_status key_revoke_post(void *ctx, const struct http_request *req,
                                 struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    char did[DID_KEY_MAX];
    const char *id = http_path_param(req, "id");
    json_t *o = NULL;
    enum emac_status st;
    EMAC_TRY(st, api_signer(c, req, did, err));
    os_mutex_lock(&c->lock);
    st = db_exec(c->db, err, "UPDATE api_keys SET state = 'revoked' WHERE id = ? AND did = ?", "tt",
                 id, did);
    if (st == EMAC_OK)
        st = key_show(c, id, did, &o, err);
    os_mutex_unlock(&c->lock);
    if (st == EMAC_OK)
        st = api_reply(res, 200, o, err);
out:
    return st;
}

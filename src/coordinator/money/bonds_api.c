/* Bonds over HTTP (bonds.h). */
#include "coordinator/money/bonds.h"

#include <stdio.h>
#include <string.h>

/* What a request says: whose money, for whom. */
struct bond_call {
    char signer[DID_KEY_MAX], did[DID_KEY_MAX], source[LEDGER_ACCOUNT_MAX];
    int64_t units;
    const char *key; /* borrowed from the body */
};

static enum emac_status call_parse(json_t *root, struct bond_call *b, bool money,
                                   struct emac_err *err)
{
    const char *did = b->signer, *from = "user", *units = NULL;
    uint8_t key[ED25519_PUBLIC_BYTES];
    enum emac_status st;
    EMAC_TRY(st, api_str_opt(root, "did", DID_KEY_MAX - 1, &did, err));
    EMAC_TRY(st, api_str_opt(root, "from", 8, &from, err));
    if (!crypto_did_key_parse(key, did))
        return emac_fail(err, EMAC_INVALID, "field 'did' is no did:key: '%s'", did);
    bool rig = strcmp(from, "rig") == 0;
    if (!rig && strcmp(from, "user") != 0)
        return emac_fail(err, EMAC_INVALID, "field 'from' must be \"rig\" or \"user\"");
    if (rig && strcmp(did, b->signer) != 0)
        return emac_fail(err, EMAC_FORBIDDEN,
                         "a rig's earnings are a bond of that rig alone: sign with its key, or "
                         "take \"from\": \"user\"");
    emac_strcpy(b->did, sizeof(b->did), did);
    snprintf(b->source, sizeof(b->source), "%s:%s", rig ? "rig" : "user", b->signer);
    if (!money)
        return EMAC_OK;
    EMAC_TRY(st, api_request_key(root, BOND_KEY_MAX - 1, &b->key, err));
    EMAC_TRY(st, api_str(root, "units", 20, &units, err));
    st = api_units_parse(units, &b->units, err);
out:
    return st;
}

/* in tx */
static enum emac_status bond_put(struct coordinator *c, const struct bond_call *b, bool *fresh,
                                 struct emac_err *err)
{
    char key[LEDGER_TEXT_MAX];
    int n = snprintf(key, sizeof(key), "bond:%s:%s:%s", b->source, b->did, b->key);
    EMAC_ASSERT(n > 0 && (size_t)n < sizeof(key));
    struct ledger_posting p = {
        .key = key, .cause = "bond", .job = "", .detail = "", .at_ms = wall_ms(c)};
    ledger_entry_add(&p, -b->units, "%s", b->source);
    ledger_entry_add(&p, b->units, "stake:%s", b->did);
    enum emac_status st = ledger_post(c->db, &p, fresh, err);
    if (st != EMAC_OK || !*fresh)
        return st;
    return db_exec(c->db, err,
                   "INSERT INTO bonds (did, source, units, put, returned, slashed, return_ms)"
                   " VALUES (?, ?, ?, ?, 0, 0, 0) ON CONFLICT (did, source) DO UPDATE SET"
                   " units = units + excluded.units, put = put + excluded.put, return_ms = 0",
                   "ttii", b->did, b->source, b->units, b->units);
}

/* in tx */
static enum emac_status bond_notice(struct coordinator *c, const struct bond_call *b,
                                    struct emac_err *err)
{
    int64_t count = 0;
    enum emac_status st =
        db_change(c->db, &count, err,
                  "UPDATE bonds SET return_ms = CASE WHEN return_ms > 0 THEN return_ms ELSE ? END"
                  " WHERE did = ? AND source = ? AND units > 0",
                  "itt", (int64_t)(wall_ms(c) + c->cfg.window_ms), b->did, b->source);
    if (st == EMAC_OK && count == 0)
        return emac_fail(err, EMAC_NOT_FOUND, "'%s' has no bond for '%s'", b->source, b->did);
    return st;
}

static json_t *bond_json(struct db_stmt *q)
{
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:I}", "did", db_text(q, 0), "source",
                     db_text(q, 1), "units", api_units(db_i64(q, 2)), "slashed_units",
                     api_units(db_i64(q, 3)), "costs_units", api_units(db_i64(q, 4)), "return_ms",
                     (json_int_t)db_i64(q, 5));
}

static json_t *slash_json(struct db_stmt *q)
{
    return json_pack("{s:s, s:s, s:s, s:o, s:s, s:I}", "proof", db_text(q, 0), "did", db_text(q, 1),
                     "job", db_text(q, 2), "units", api_units(db_i64(q, 3)), "why", db_text(q, 4),
                     "at_ms", (json_int_t)db_i64(q, 5));
}

static json_t *cost_json(struct db_stmt *q)
{
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:I}", "did", db_text(q, 0), "job",
                     db_text(q, 1), "task", db_text(q, 2), "units", api_units(db_i64(q, 3)),
                     "held_units", api_units(db_i64(q, 4)), "bond_units", api_units(db_i64(q, 5)),
                     "at_ms", (json_int_t)db_i64(q, 6));
}

static enum emac_status rows_json(struct coordinator *c, const char *sql, const char *did,
                                  json_t *(*each)(struct db_stmt *q), json_t *list,
                                  struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st = db_query(c->db, &q, err, sql, "tti", did, did, (int64_t)API_LIST_MAX);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row)
        json_array_append_new(list, each(q));
    return st;
}

/* did "": all */
static enum emac_status bonds_answer(struct coordinator *c, const char *did,
                                     struct http_response *res, struct emac_err *err)
{
    json_t *bonds = json_array(), *slashes = json_array(), *costs = json_array();
    enum emac_status st =
        rows_json(c,
                  "SELECT did, source, units, slashed, costs, return_ms FROM bonds"
                  " WHERE ? = '' OR did = ? ORDER BY did, source LIMIT ?",
                  did, bond_json, bonds, err);
    if (st == EMAC_OK)
        st = rows_json(c,
                       "SELECT proof, did, job, units, why, at_ms FROM slashes"
                       " WHERE ? = '' OR did = ? ORDER BY at_ms DESC, proof LIMIT ?",
                       did, slash_json, slashes, err);
    if (st == EMAC_OK)
        st = rows_json(c,
                       "SELECT did, job, task, cost_units, held_units, bond_units, at_ms"
                       " FROM fault_costs WHERE ? = '' OR did = ? ORDER BY at_ms DESC, did LIMIT ?",
                       did, cost_json, costs, err);
    if (st == EMAC_OK)
        return api_reply(res, 200,
                         json_pack("{s:I, s:o, s:o, s:o}", "window_ms",
                                   (json_int_t)c->cfg.window_ms, "bonds", bonds, "slashes", slashes,
                                   "costs", costs),
                         err);
    json_decref(bonds);
    json_decref(slashes);
    json_decref(costs);
    return st;
}

enum emac_status bonds_get(void *ctx, const struct http_request *req, struct http_response *res,
                           struct emac_err *err)
{
    const char *did = http_query_get(req, "did");
    return bonds_answer(ctx, did ? did : "", res, err);
}

static enum emac_status change(struct coordinator *c, const struct http_request *req, bool put,
                               struct http_response *res, struct emac_err *err)
{
    struct bond_call b = {0};
    json_t *root = NULL;
    bool fresh = false;
    enum emac_status st;
    EMAC_TRY(st, api_signer(c, req, b.signer, err));
    EMAC_TRY(st, api_body(req, &root, err));
    EMAC_TRY(st, call_parse(root, &b, put, err));
    os_mutex_lock(&c->lock);
    st = db_begin(c->db, err);
    if (st == EMAC_OK) {
        st = put ? bond_put(c, &b, &fresh, err) : bond_notice(c, &b, err);
        st = db_end(c->db, st, err);
    }
    if (st == EMAC_OK)
        stake_bond_read(c, b.did);
    os_mutex_unlock(&c->lock);
    if (st == EMAC_OK)
        st = bonds_answer(c, b.did, res, err);
out:
    json_decref(root);
    return st;
}

enum emac_status bonds_post(void *ctx, const struct http_request *req, struct http_response *res,
                            struct emac_err *err)
{
    return change(ctx, req, true, res, err);
}

enum emac_status bonds_return_post(void *ctx, const struct http_request *req,
                                   struct http_response *res, struct emac_err *err)
{
    return change(ctx, req, false, res, err);
}

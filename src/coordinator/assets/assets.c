/* The catalogue's routes. */
#include "coordinator/assets/assets.h"
#include "coordinator/assets/private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINEAGE_MAX 256 /* assets in one answer */

/* ---- publishing ---- */

struct publication {
    char did[DID_KEY_MAX];
    struct emac_slice object, signature;
    struct licence licence;
    struct cid cid; /* of the licence */
};

static enum emac_status publication_read(struct coordinator *c, const struct http_request *req,
                                         struct publication *p, struct emac_err *err)
{
    json_t *root = NULL;
    uint8_t key[ED25519_PUBLIC_BYTES];
    enum emac_status st;
    EMAC_TRY(st, api_signer(c, req, p->did, err));
    EMAC_TRY(st, api_body(req, &root, err));
    EMAC_TRY(st, api_bytes(req, root, "licence", LICENCE_BYTES_MAX, &p->object, err));
    EMAC_TRY(st, api_bytes(req, root, "signature", ED25519_SIGNATURE_BYTES, &p->signature, err));
    EMAC_TRY(st, licence_decode(&p->licence, p->object.data, p->object.len, err));
    p->cid = cid_of(CID_DAG_CBOR, p->object.data, p->object.len);
    if (strcmp(p->licence.owner, p->did) != 0)
        st = emac_fail(err, EMAC_FORBIDDEN, "the licence is of owner '%s', sent by '%s'",
                       p->licence.owner, p->did);
    else if (!crypto_did_key_parse(key, p->did) || p->signature.len != ED25519_SIGNATURE_BYTES ||
             !crypto_ed25519_verify(p->signature.data, p->object.data, p->object.len, key))
        st = emac_fail(err, EMAC_UNAUTHORIZED, "the licence's signature does not hold for '%s'",
                       p->did);
out:
    json_decref(root);
    return st;
}

/* ASSET-1 for what is not in the catalogue yet. */
static enum emac_status claim_check(struct coordinator *c, const struct publication *p,
                                    struct emac_err *err)
{
    char text[CID_TEXT_MAX];
    int64_t made = 0, own = 0;
    struct cid missing;
    size_t count = 1;
    enum emac_status st;
    cid_text(text, &p->licence.asset);
    EMAC_TRY(st, db_one_i64(c->db, &made, err,
                            "SELECT COUNT(*) FROM jobs WHERE model = ? AND state = 'succeeded'",
                            "t", text));
    EMAC_TRY(st, db_one_i64(c->db, &own, err,
                            "SELECT COUNT(*) FROM jobs WHERE model = ? AND state = 'succeeded'"
                            " AND owner = ?",
                            "tt", text, p->did));
    if (made > 0 && own == 0)
        return emac_fail(err, EMAC_FORBIDDEN, "'%s' was made by jobs of others", text);
    st = store_dag_missing(c->depot, &p->licence.asset, &missing, 1, &count, err);
    if (st != EMAC_OK || count > 0)
        st =
            emac_fail(err, EMAC_NOT_FOUND,
                      "'%s' is not in the depot: push it with POST /v1/depot/%s first", text, text);
    else
        st = private_publish_check(c, &p->licence.asset, p->did, err);
out:
    return st;
}

static enum emac_status asset_write(struct coordinator *c, const struct publication *p,
                                    struct emac_err *err)
{
    char asset[CID_TEXT_MAX], licence[CID_TEXT_MAX];
    const struct licence *l = &p->licence;
    cid_text(asset, &l->asset);
    cid_text(licence, &p->cid);
    return db_exec(c->db, err,
                   "INSERT INTO assets (cid, kind, name, owner, licence, object, signature, state,"
                   " created_ms, income) VALUES (?, ?, ?, ?, ?, ?, ?, 'active', ?, 0)"
                   " ON CONFLICT (cid) DO UPDATE SET kind = excluded.kind, name = excluded.name,"
                   " licence = excluded.licence, object = excluded.object,"
                   " signature = excluded.signature, state = 'active'",
                   "tttttbbi", asset, asset_kind_name(l->kind), l->name, l->owner, licence,
                   (const void *)p->object.data, p->object.len, (const void *)p->signature.data,
                   p->signature.len, (int64_t)wall_ms(c));
}

/* The older terms of an asset do not come back: a licence is newer than the one it takes the place
 * of. */
static enum emac_status publish(struct coordinator *c, const struct publication *p, bool *fresh,
                                struct emac_err *err)
{
    struct asset old;
    enum emac_status st = asset_find(c, &p->licence.asset, &old, err);
    *fresh = st == EMAC_NOT_FOUND;
    if (st == EMAC_OK && strcmp(old.licence.owner, p->did) != 0)
        return emac_fail(err, EMAC_CONFLICT, "the asset is published by '%s' already",
                         old.licence.owner);
    if (st == EMAC_OK && !cid_equal(&old.licence_cid, &p->cid) &&
        p->licence.issued_ms <= old.licence.issued_ms)
        return emac_fail(err, EMAC_CONFLICT, "newer terms of '%s' are published already",
                         old.licence.name);
    if (*fresh)
        st = claim_check(c, p, err);
    return st == EMAC_OK ? asset_write(c, p, err) : st;
}

static json_t *asset_json(const struct asset *a)
{
    json_t *o = licence_to_json(&a->licence);
    json_object_set_new(o, "licence", api_cid(&a->licence_cid));
    json_object_set_new(o, "state", json_string(a->revoked ? "revoked" : "active"));
    json_object_set_new(o, "income_units", api_units(a->income_units));
    return o;
}

enum emac_status assets_post(void *ctx, const struct http_request *req, struct http_response *res,
                             struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct publication p = {0};
    struct asset a;
    bool fresh = false;
    enum emac_status st = publication_read(c, req, &p, err);
    if (st != EMAC_OK)
        return st;
    os_mutex_lock(&c->lock);
    st = publish(c, &p, &fresh, err);
    if (st == EMAC_OK)
        st = asset_find(c, &p.licence.asset, &a, err);
    os_mutex_unlock(&c->lock);
    return st == EMAC_OK ? api_reply(res, fresh ? 201 : 200, asset_json(&a), err) : st;
}

/* ---- reading ---- */

static enum emac_status cid_param(const struct http_request *req, struct cid *out,
                                  struct emac_err *err)
{
    return cid_parse(out, http_path_param(req, "cid"), err);
}

enum emac_status assets_get(void *ctx, const struct http_request *req, struct http_response *res,
                            struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct db_stmt *q;
    struct emac_buf cids;
    uint64_t limit;
    bool row = false;
    json_t *list = json_array();
    enum emac_status st;
    emac_buf_init(&cids, API_LIST_MAX * sizeof(struct cid));
    EMAC_TRY(st, api_query_u64(req, "limit", 100, API_LIST_MAX, &limit, err));
    st = db_query(c->db, &q, err, "SELECT cid FROM assets ORDER BY created_ms, cid LIMIT ?", "i",
                  (int64_t)limit);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct cid cid = cid_from_text(db_text(q, 0));
        st = emac_buf_append(&cids, &cid, sizeof(cid), err);
        if (st != EMAC_OK)
            db_done(q);
    }
    const struct cid *cid = (const struct cid *)(const void *)cids.data;
    for (size_t i = 0; st == EMAC_OK && i < cids.len / sizeof(*cid); i++) {
        struct asset a;
        st = asset_find(c, &cid[i], &a, err);
        if (st == EMAC_OK)
            json_array_append_new(list, asset_json(&a));
    }
    if (st == EMAC_OK)
        st = api_reply(res, 200, json_pack("{s:O}", "assets", list), err);
out:
    json_decref(list);
    emac_buf_release(&cids);
    return st;
}

/* {asset, name, owner, job, share, parents}: what is not in the catalogue has no name and owner. */
static json_t *lineage_json(struct coordinator *c, const struct cid *cid, uint32_t share_ppm,
                            uint32_t depth, uint32_t *room, struct emac_err *err)
{
    struct asset a;
    struct asset_parents parents;
    struct emac_err none;
    bool known = asset_find(c, cid, &a, &none) == EMAC_OK;
    json_t *list = json_array();
    if (asset_parents(c, cid, known ? a.licence.owner : NULL, &parents, err) != EMAC_OK)
        parents.count = 0;
    for (uint32_t i = 0; i < parents.count && depth<ASSET_DEPTH_MAX && * room> 0; i++) {
        --*room;
        json_array_append_new(
            list, lineage_json(c, &parents.cid[i], parents.share_ppm[i], depth + 1, room, err));
    }
    return json_pack("{s:o, s:s?, s:s?, s:s?, s:f, s:o}", "asset", api_cid(cid), "name",
                     known ? a.licence.name : NULL, "owner", known ? a.licence.owner : NULL, "job",
                     parents.job[0] ? parents.job : NULL, "share",
                     (double)share_ppm / LICENCE_SHARE_ONE, "parents", list);
}

enum emac_status asset_get(void *ctx, const struct http_request *req, struct http_response *res,
                           struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct cid cid;
    struct asset a;
    uint32_t room = LINEAGE_MAX;
    enum emac_status st;
    EMAC_TRY(st, cid_param(req, &cid, err));
    EMAC_TRY(st, asset_find(c, &cid, &a, err));
    json_t *o = asset_json(&a);
    json_object_set_new(o, "lineage", lineage_json(c, &cid, 0, 0, &room, err));
    st = api_reply(res, 200, o, err);
out:
    return st;
}

/* ---- revoking and buying ---- */

enum emac_status asset_revoke_post(void *ctx, const struct http_request *req,
                                   struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    char did[DID_KEY_MAX], text[CID_TEXT_MAX];
    struct cid cid;
    struct asset a;
    enum emac_status st;
    EMAC_TRY(st, api_signer(c, req, did, err));
    EMAC_TRY(st, cid_param(req, &cid, err));
    os_mutex_lock(&c->lock);
    st = asset_find(c, &cid, &a, err);
    if (st == EMAC_OK && strcmp(a.licence.owner, did) != 0)
        st = emac_fail(err, EMAC_FORBIDDEN, "the asset belongs to '%s'", a.licence.owner);
    cid_text(text, &cid);
    if (st == EMAC_OK)
        st = db_exec(c->db, err, "UPDATE assets SET state = 'revoked' WHERE cid = ?", "t", text);
    os_mutex_unlock(&c->lock);
    a.revoked = true;
    if (st == EMAC_OK)
        st = api_reply(res, 200, asset_json(&a), err);
out:
    return st;
}

static enum emac_status sale_write(struct coordinator *c, const struct asset *a, const char *buyer,
                                   struct emac_err *err)
{
    char asset[CID_TEXT_MAX], licence[CID_TEXT_MAX], from[LEDGER_ACCOUNT_MAX], key[256];
    enum emac_status st;
    cid_text(asset, &a->cid);
    cid_text(licence, &a->licence_cid);
    EMAC_TRY(st,
             db_exec(c->db, err,
                     "INSERT INTO asset_sales (asset, buyer, licence, units, at_ms)"
                     " VALUES (?, ?, ?, ?, ?)",
                     "tttii", asset, buyer, licence, a->licence.once_units, (int64_t)wall_ms(c)));
    snprintf(from, sizeof(from), "user:%s", buyer);
    snprintf(key, sizeof(key), "buy:%s:%s", asset, buyer);
    st = asset_income(c, &a->cid, from, a->licence.once_units, key, "", licence, err);
out:
    return st;
}

/* Bought once, it stays bought: asking again is OK and costs nothing. `units` is the price that the
 * buyer saw: who raises it gets nothing that was not agreed to. */
static enum emac_status buy(struct coordinator *c, const struct cid *cid, const char *buyer,
                            int64_t units, struct asset *a, struct emac_err *err)
{
    enum emac_status st = asset_find(c, cid, a, err);
    if (st != EMAC_OK || asset_was_bought(c, cid, buyer) || strcmp(a->licence.owner, buyer) == 0)
        return st;
    struct licence_use use = {
        .did = buyer, .commercial = false, .bought = true, .at_ms = wall_ms(c)};
    if (a->revoked)
        return emac_fail(err, EMAC_FORBIDDEN, "the licence of '%s' was revoked by its owner",
                         a->licence.name);
    EMAC_TRY(st, licence_permits(&a->licence, &use, err));
    if (a->licence.once_units == 0)
        return emac_fail(err, EMAC_CONFLICT, "'%s' is not for sale: its use needs no purchase",
                         a->licence.name);
    if (units != a->licence.once_units)
        return emac_fail(err, EMAC_CONFLICT, "the price of '%s' is %lld units, not %lld",
                         a->licence.name, (long long)a->licence.once_units, (long long)units);
    EMAC_TRY(st, db_begin(c->db, err));
    st = sale_write(c, a, buyer, err);
    st = db_end(c->db, st, err);
out:
    return st;
}

enum emac_status asset_buy_post(void *ctx, const struct http_request *req,
                                struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    char did[DID_KEY_MAX];
    const char *text;
    json_t *root = NULL;
    int64_t units = 0;
    struct cid cid;
    struct asset a;
    enum emac_status st;
    EMAC_TRY(st, api_signer(c, req, did, err));
    EMAC_TRY(st, cid_param(req, &cid, err));
    EMAC_TRY(st, api_body(req, &root, err));
    EMAC_TRY(st, api_str(root, "units", 20, &text, err));
    EMAC_TRY(st, api_units_parse(text, &units, err));
    os_mutex_lock(&c->lock);
    st = buy(c, &cid, did, units, &a, err);
    os_mutex_unlock(&c->lock);
    if (st == EMAC_OK)
        st = api_reply(res, 200, asset_json(&a), err);
out:
    json_decref(root);
    return st;
}

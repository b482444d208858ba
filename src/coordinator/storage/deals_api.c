/* Storage deals over HTTP, for clients and for anybody who wants to check. */
#include "coordinator/storage/deals.h"

#include <inttypes.h>
#include <string.h>

#include "base/hex.h"

#define PROOFS_LIMIT_MAX 100 /* a page: each has up to 12 KB; an epoch has at most 2 * 16 */
#define PROOFS_LIMIT_MIN (2 * DEAL_REPLICAS_MAX)

/* ---- as JSON ---- */

static json_t *deal_json(const struct deal *d)
{
    char piece[COMMP_TEXT_MAX];
    const struct deal_terms *t = &d->terms;
    commp_text(piece, &t->piece);
    return json_pack(
        "{s:s, s:s, s:o, s:s, s:I, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:I, s:I, s:I, "
        "s:I}",
        "id", d->id, "client", d->client, "cid", api_cid(&t->cid), "piece", piece, "bytes",
        (json_int_t)t->piece.size, "replicas", (int)t->replicas, "epochs", (int)t->epochs,
        "price_units", api_units(t->price_units), "traffic_price_units",
        api_units(t->traffic_units), "epoch_units", api_units(d->amounts.epoch_units),
        "traffic_units", api_units(d->amounts.traffic_units), "bond_units",
        api_units(d->amounts.bond_units), "escrow_units", api_units(d->amounts.escrow_units),
        "state", deal_state_name(d->state), "made_epoch", (json_int_t)d->made_epoch, "last_epoch",
        (json_int_t)d->last_epoch, "created_ms", (json_int_t)d->created_ms, "ended_ms",
        (json_int_t)d->ended_ms);
}

static json_t *holding_json(const struct deal_holding *h)
{
    return json_pack("{s:i, s:s, s:s, s:I, s:i, s:i, s:o, s:o, s:s}", "replica", (int)h->r.number,
                     "node", h->r.node, "state", deal_replica_state_name(h->r.state), "first_epoch",
                     (json_int_t)h->r.first_epoch, "proven", (int)h->r.proven, "misses",
                     (int)h->r.misses, "bond_units", api_units(h->r.bond_units), "lost_units",
                     api_units(h->lost_units), "note", h->note);
}

/* Under the lock. */
static enum emac_status deal_whole_json(struct coordinator *c, const struct deal *d, json_t **out,
                                        struct emac_err *err)
{
    struct deal_holding *list = NULL;
    size_t count = 0;
    enum emac_status st = deal_holdings(c, d->id, NULL, false, &list, &count, err);
    json_t *replicas = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(replicas, holding_json(&list[i]));
    free(list);
    *out = deal_json(d);
    json_object_set_new(*out, "holders", replicas);
    json_object_set_new(*out, "epoch", json_integer((json_int_t)c->deals->epoch));
    return st;
}

/* The deal as the answer, if all went well so far. Under the lock, which it gives back. */
static enum emac_status answer_unlock(struct coordinator *c, const struct deal *d,
                                      enum emac_status st, int status, struct http_response *res,
                                      struct emac_err *err)
{
    json_t *answer = NULL;
    if (st == EMAC_OK)
        st = deal_whole_json(c, d, &answer, err);
    os_mutex_unlock(&c->lock);
    if (st == EMAC_OK)
        return api_reply(res, status, answer, err);
    json_decref(answer);
    return st;
}

/* ---- making one ---- */

static enum emac_status depot_check(struct coordinator *c, const struct cid *cid,
                                    struct emac_err *err)
{
    struct cid missing;
    size_t count = 0;
    char text[CID_TEXT_MAX];
    enum emac_status st = store_dag_missing(c->depot, cid, &missing, 1, &count, err);
    cid_text(text, cid);
    if (st == EMAC_OK && count > 0)
        st =
            emac_fail(err, EMAC_NOT_FOUND,
                      "'%s' is not in the depot: push it with POST /v1/depot/%s first", text, text);
    return st;
}

static enum emac_status room_check(struct coordinator *c, const struct deal *d,
                                   struct emac_err *err)
{
    int64_t wanted = 0;
    enum emac_status st =
        db_one_i64(c->db, &wanted, err,
                   "SELECT COALESCE(SUM(replicas), 0) FROM deals WHERE state = 'open'", "");
    if (st == EMAC_OK && wanted + d->terms.replicas > DEALS_REPLICAS_OPEN)
        st =
            emac_fail(err, EMAC_BUSY,
                      "this coordinator keeps %d replicas at most: try again when deals have ended",
                      DEALS_REPLICAS_OPEN);
    return st;
}

/* In tx. */
static enum emac_status deal_write(struct coordinator *c, const struct deal *d,
                                   struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, room_check(c, d, err));
    EMAC_TRY(st, deal_insert(c, d, err));
    st = money_escrow(c, d->id, d->client, d->amounts.escrow_units, NULL, NULL, err);
out:
    return st;
}

static bool terms_equal(const struct deal_terms *a, const struct deal_terms *b)
{
    return cid_equal(&a->cid, &b->cid) && a->piece.size == b->piece.size &&
           memcmp(a->piece.root, b->piece.root, sizeof(a->piece.root)) == 0 &&
           a->replicas == b->replicas && a->epochs == b->epochs &&
           a->price_units == b->price_units && a->traffic_units == b->traffic_units;
}

/* Under the lock. A deal that is there already by the same word is the answer again. */
static enum emac_status deal_make(struct coordinator *c, struct deal *d, bool *fresh,
                                  struct emac_err *err)
{
    struct deal before;
    enum emac_status st = deal_find(c, d->id, &before, NULL);
    *fresh = st == EMAC_NOT_FOUND;
    if (st == EMAC_OK && !terms_equal(&before.terms, &d->terms))
        return emac_fail(err, EMAC_CONFLICT,
                         "deal '%s' was made by this nonce with other terms: use another", d->id);
    if (st == EMAC_OK)
        *d = before;
    if (!*fresh)
        return st;
    d->made_epoch = c->deals->epoch;
    d->last_epoch = c->deals->epoch + d->terms.epochs;
    d->created_ms = wall_ms(c);
    EMAC_TRY(st, db_begin(c->db, err));
    st = deal_write(c, d, err);
    st = db_end(c->db, st, err);
    if (st == EMAC_OK)
        deals_changed(c);
out:
    return st;
}

static enum emac_status deal_read(struct coordinator *c, const struct http_request *req,
                                  struct deal *d, struct emac_err *err)
{
    json_t *root = NULL;
    const char *nonce;
    enum emac_status st;
    EMAC_TRY(st, api_signer(c, req, d->client, err));
    EMAC_TRY(st, api_body(req, &root, err));
    EMAC_TRY(st, api_str(root, "nonce", DEAL_NONCE_MAX, &nonce, err));
    if (nonce[0] == '\0' || !text_printable(nonce)) {
        st = emac_fail(err, EMAC_INVALID, "field 'nonce' must be printable and not empty");
        goto out;
    }
    EMAC_TRY(st, deal_terms_from_json(&d->terms, root, err));
    EMAC_TRY(st, deal_amounts(&d->terms, c->deals->epoch_ms, &d->amounts, err));
    deal_id(d->id, d->client, nonce);
    st = depot_check(c, &d->terms.cid, err);
out:
    json_decref(root);
    return st;
}

/* The pin that was made for the deal goes if there is no such deal that lasts. */
static void pin_settle(struct coordinator *c, const struct deal *d)
{
    struct deal now;
    enum emac_status st = deal_find(c, d->id, &now, NULL);
    if (st == EMAC_NOT_FOUND ||
        (st == EMAC_OK && (now.state != DEALS_OPEN || !cid_equal(&now.terms.cid, &d->terms.cid))))
        unpin_later(c, d->id, &d->terms.cid);
}

enum emac_status deals_post(void *ctx, const struct http_request *req, struct http_response *res,
                            struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct deal d = {0};
    bool fresh = false;
    enum emac_status st;
    EMAC_TRY(st, deal_read(c, req, &d, err));
    /* Before it is made: the depot has it for as long as the rigs do not. */
    EMAC_TRY(st, store_pin(c->depot, d.id, &d.terms.cid, err));
    os_mutex_lock(&c->lock);
    st = deal_make(c, &d, &fresh, err);
    pin_settle(c, &d);
    st = answer_unlock(c, &d, st, fresh ? 201 : 200, res, err);
out:
    return st;
}

/* ---- looking at them ---- */

static void list_add(void *ctx, const struct deal *d)
{
    json_array_append_new(ctx, deal_json(d));
}

enum emac_status deals_get(void *ctx, const struct http_request *req, struct http_response *res,
                           struct emac_err *err)
{
    struct coordinator *c = ctx;
    uint64_t before, limit;
    enum emac_status st = api_query_u64(req, "before", INT64_MAX, INT64_MAX, &before, err);
    if (st == EMAC_OK)
        st = api_query_u64(req, "limit", 100, API_LIST_MAX, &limit, err);
    if (st != EMAC_OK)
        return st;
    json_t *list = json_array();
    st = deals_each(c, (int64_t)before, (uint32_t)limit, list_add, list, err);
    if (st == EMAC_OK)
        return api_reply(res, 200, json_pack("{s:o}", "deals", list), err);
    json_decref(list);
    return st;
}

enum emac_status deal_get(void *ctx, const struct http_request *req, struct http_response *res,
                          struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct deal d;
    os_mutex_lock(&c->lock);
    enum emac_status st = deal_find(c, http_path_param(req, "id"), &d, err);
    return answer_unlock(c, &d, st, 200, res, err);
}

static json_t *hex_json(struct emac_slice bytes)
{
    char text[2 * SHA256_BYTES + 1] = "";
    if (bytes.len == SHA256_BYTES)
        emac_hex(text, bytes.data, bytes.len);
    return json_string(text);
}

static json_int_t epoch_at(json_t *list, size_t i)
{
    return json_integer_value(json_object_get(json_array_get(list, i), "epoch"));
}

/* A page ends with an epoch, so that the next can begin after it: the last one goes when some of it
 * may be missing. */
static void epochs_whole(json_t *list, uint64_t limit)
{
    size_t n = json_array_size(list);
    if (n <= limit)
        return;
    json_int_t last = epoch_at(list, n - 1);
    while (n > 0 && epoch_at(list, n - 1) == last)
        json_array_remove(list, --n);
}

/* What was said and heard of a deal's replicas, as it can be checked again. */
enum emac_status deal_proofs_get(void *ctx, const struct http_request *req,
                                 struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct db_stmt *q;
    struct deal d;
    bool row = false;
    uint64_t after, limit;
    enum emac_status st;
    EMAC_TRY(st, api_query_u64(req, "after", 0, INT64_MAX, &after, err));
    EMAC_TRY(st, api_query_u64(req, "limit", PROOFS_LIMIT_MAX, PROOFS_LIMIT_MAX, &limit, err));
    EMAC_TRY(st, deal_find(c, http_path_param(req, "id"), &d, err));
    limit = limit > PROOFS_LIMIT_MIN ? limit : PROOFS_LIMIT_MIN;
    json_t *list = json_array();
    st = db_query(c->db, &q, err,
                  "SELECT replica, epoch, state, units, proof, note, at_ms FROM deal_proofs"
                  " WHERE deal = ? AND epoch > ? ORDER BY epoch, replica LIMIT ?",
                  "tii", d.id, (int64_t)after, (int64_t)limit + 1);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct emac_slice proof = db_blob(q, 4);
        json_array_append_new(list,
                              json_pack("{s:I, s:I, s:s, s:o, s:o, s:s, s:I}", "replica",
                                        (json_int_t)db_i64(q, 0), "epoch", (json_int_t)db_i64(q, 1),
                                        "state", db_text(q, 2), "units", api_units(db_i64(q, 3)),
                                        "proof", api_base64(proof.data, proof.len), "note",
                                        db_text(q, 5), "at_ms", (json_int_t)db_i64(q, 6)));
    }
    epochs_whole(list, limit);
    if (st == EMAC_OK)
        return api_reply(res, 200, json_pack("{s:s, s:o}", "id", d.id, "proofs", list), err);
    json_decref(list);
out:
    return st;
}

enum emac_status deal_epochs_get(void *ctx, const struct http_request *req,
                                 struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct db_stmt *q;
    bool row = false;
    uint64_t after, limit;
    enum emac_status st;
    EMAC_TRY(st, api_query_u64(req, "after", 0, INT64_MAX, &after, err));
    EMAC_TRY(st, api_query_u64(req, "limit", 100, API_LIST_MAX, &limit, err));
    json_t *list = json_array();
    /* The next one's secret stays here. */
    st = db_query(c->db, &q, err,
                  "SELECT epoch, state, commitment, CASE state WHEN 'next' THEN NULL ELSE secret"
                  " END, head_id, head, length_ms, began_ms, ended_ms FROM deal_epochs"
                  " WHERE epoch > ? ORDER BY epoch LIMIT ?",
                  "ii", (int64_t)after, (int64_t)limit);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row)
        json_array_append_new(
            list, json_pack("{s:I, s:s, s:o, s:o, s:I, s:o, s:I, s:I, s:I}", "epoch",
                            (json_int_t)db_i64(q, 0), "state", db_text(q, 1), "commitment",
                            hex_json(db_blob(q, 2)), "secret", hex_json(db_blob(q, 3)), "head_id",
                            (json_int_t)db_i64(q, 4), "head", hex_json(db_blob(q, 5)), "length_ms",
                            (json_int_t)db_i64(q, 6), "began_ms", (json_int_t)db_i64(q, 7),
                            "ended_ms", (json_int_t)db_i64(q, 8)));
    os_mutex_lock(&c->lock);
    json_t *answer = json_pack("{s:I, s:I, s:I, s:o}", "epoch", (json_int_t)c->deals->epoch,
                               "epoch_ms", (json_int_t)c->deals->epoch_ms, "ends_ms",
                               (json_int_t)c->deals->ends_at, "epochs", list);
    os_mutex_unlock(&c->lock);
    if (st == EMAC_OK)
        return api_reply(res, 200, answer, err);
    json_decref(answer);
out:
    return st;
}

/* ---- cancelling ---- */

/* With rigs at work it ends with the epoch, so that they are paid for it. */
static enum emac_status cancel(struct coordinator *c, const struct deal *d, struct emac_err *err)
{
    uint64_t epoch = c->deals->epoch;
    enum emac_status st;
    EMAC_TRY(st, db_begin(c->db, err));
    if (d->made_epoch >= epoch)
        st = deal_end(c, d, DEALS_CANCELLED, err);
    else
        st = db_exec(c->db, err, "UPDATE deals SET last_epoch = ? WHERE id = ? AND last_epoch > ?",
                     "iti", (int64_t)epoch, d->id, (int64_t)epoch);
    st = db_end(c->db, st, err);
    if (st == EMAC_OK)
        deals_changed(c);
out:
    return st;
}

enum emac_status deal_cancel_post(void *ctx, const struct http_request *req,
                                  struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    char did[DID_KEY_MAX];
    struct deal d;
    enum emac_status st = api_signer(c, req, did, err);
    if (st != EMAC_OK)
        return st;
    os_mutex_lock(&c->lock);
    st = deal_find(c, http_path_param(req, "id"), &d, err);
    if (st == EMAC_OK && strcmp(d.client, did) != 0)
        st = emac_fail(err, EMAC_FORBIDDEN, "the deal belongs to '%s'", d.client);
    if (st == EMAC_OK && d.state == DEALS_OPEN)
        st = cancel(c, &d, err);
    if (st == EMAC_OK)
        st = deal_find(c, d.id, &d, err);
    return answer_unlock(c, &d, st, 200, res, err);
}

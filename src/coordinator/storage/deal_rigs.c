/* Storage deals over HTTP, for rigs: what to keep, that it is kept, that it is still there. */
#include "coordinator/storage/deals.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"

#define DUTIES_MAX 1000 /* of a rig, in one answer */

/* ---- what to do ---- */

/* Rigs that have it and can be reached, then the depot. */
static json_t *sources_of(struct coordinator *c, const struct deal *d, const char *asker,
                          const char *base_url, struct emac_err *err)
{
    struct deal_holding *list = NULL;
    size_t count = 0;
    uint64_t now = now_ms(c);
    json_t *sources = json_array();
    if (deal_holdings(c, d->id, NULL, true, &list, &count, err) != EMAC_OK)
        count = 0;
    for (size_t i = 0; i < count && json_array_size(sources) < DEAL_SOURCES_MAX - 1; i++) {
        const struct node *n = node_find(c, list[i].r.node);
        if (list[i].r.state == DEAL_ACTIVE && n && n->reachable && node_is_live(c, n, now) &&
            strcmp(n->did, asker) != 0)
            json_array_append_new(sources, json_pack("{s:s, s:s}", "node", n->did, "url", n->url));
    }
    free(list);
    if (store_block_has(c->depot, &d->terms.cid, NULL))
        json_array_append_new(sources, json_pack("{s:s, s:s}", "node", "", "url", base_url));
    return sources;
}

static enum emac_status duty_add(struct coordinator *c, const struct deal_holding *h,
                                 const char *base_url, json_t *duties, struct emac_err *err)
{
    struct deal d;
    char piece[COMMP_TEXT_MAX];
    int64_t said = 0;
    enum emac_status st;
    EMAC_TRY(st, deal_find(c, h->deal, &d, err));
    EMAC_TRY(st, db_one_i64(c->db, &said, err,
                            "SELECT COUNT(*) FROM deal_proofs WHERE deal = ? AND replica = ?"
                            " AND epoch = ?",
                            "tii", h->deal, (int64_t)h->r.number, (int64_t)c->deals->epoch));
    commp_text(piece, &d.terms.piece);
    json_array_append_new(duties,
                          json_pack("{s:s, s:I, s:o, s:s, s:b, s:b, s:o}", "id", h->deal, "replica",
                                    (json_int_t)h->r.number, "cid", api_cid(&d.terms.cid), "piece",
                                    piece, "active", h->r.state == DEAL_ACTIVE, "due",
                                    deal_replica_due(&h->r, c->deals->epoch) && said == 0,
                                    "sources", sources_of(c, &d, h->r.node, base_url, err)));
out:
    return st;
}

/* Under the lock. */
static enum emac_status duties_json(struct coordinator *c, const char *did, const char *base_url,
                                    json_t **out, struct emac_err *err)
{
    struct deal_holding *list = NULL;
    size_t count = 0;
    char seed[2 * SHA256_BYTES + 1];
    json_t *duties = json_array();
    enum emac_status st = deal_holdings(c, NULL, did, true, &list, &count, err);
    for (size_t i = 0; i < count && i < DUTIES_MAX && st == EMAC_OK; i++)
        st = duty_add(c, &list[i], base_url, duties, err);
    free(list);
    emac_hex(seed, c->deals->seed, SHA256_BYTES);
    uint64_t now = now_ms(c), ends = c->deals->ends_ms;
    *out = json_pack("{s:I, s:I, s:I, s:s, s:o}", "version", (json_int_t)c->deals->version, "epoch",
                     (json_int_t)c->deals->epoch, "ends_in_ms",
                     (json_int_t)(ends > now ? ends - now : 0), "seed", seed, "duties", duties);
    return st;
}

enum emac_status deal_duties_post(void *ctx, const struct http_request *req,
                                  struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    char did[DID_KEY_MAX];
    struct node *n;
    json_t *answer = NULL;
    enum emac_status st = api_signer(c, req, did, err);
    if (st != EMAC_OK)
        return st;
    os_mutex_lock(&c->lock);
    st = node_working(c, did, &n, err);
    if (st == EMAC_OK)
        st = duties_json(c, did, request_base_url(req), &answer, err);
    os_mutex_unlock(&c->lock);
    if (st == EMAC_OK)
        return api_reply(res, 200, answer, err);
    json_decref(answer);
    return st;
}

/* ---- a rig's word ---- */

struct word {
    char did[DID_KEY_MAX];
    uint64_t replica, epoch;
    json_t *root; /* owned */
    struct deal d;
    struct deal_holding h;
};

static enum emac_status word_read(struct coordinator *c, const struct http_request *req,
                                  struct word *w, struct emac_err *err)
{
    enum emac_status st;
    *w = (struct word){.epoch = 0};
    EMAC_TRY(st, api_signer(c, req, w->did, err));
    EMAC_TRY(st, api_body(req, &w->root, err));
    st = api_u64(w->root, "replica", UINT32_MAX, &w->replica, err);
out:
    return st;
}

/* Under the lock: whose word it is, about an open deal. */
static enum emac_status word_place(struct coordinator *c, const struct http_request *req,
                                   struct word *w, struct emac_err *err)
{
    struct node *n;
    const char *id = http_path_param(req, "id");
    enum emac_status st;
    EMAC_TRY(st, node_working(c, w->did, &n, err));
    EMAC_TRY(st, deal_find(c, id, &w->d, err));
    EMAC_TRY(st, deal_holding_find(c, id, (uint32_t)w->replica, w->did, &w->h, err));
    if (w->d.state != DEALS_OPEN)
        st = emac_fail(err, EMAC_CONFLICT, "deal '%s' is over", id);
out:
    return st;
}

typedef enum emac_status word_act(struct coordinator *c, const struct http_request *req,
                                  struct word *w, struct emac_err *err);

/* Read a word, act on it in one transaction, answer the replica's state. */
static enum emac_status word_take(struct coordinator *c, const struct http_request *req,
                                  struct http_response *res, word_act *act, struct emac_err *err)
{
    struct word w;
    enum emac_status st = word_read(c, req, &w, err);
    if (st != EMAC_OK)
        goto out;
    os_mutex_lock(&c->lock);
    st = word_place(c, req, &w, err);
    if (st == EMAC_OK)
        st = db_begin(c->db, err);
    if (st == EMAC_OK) {
        st = act(c, req, &w, err);
        st = db_end(c->db, st, err);
    }
    os_mutex_unlock(&c->lock);
    if (st == EMAC_OK)
        st = api_reply(res, 200,
                       json_pack("{s:s, s:o}", "state", deal_replica_state_name(w.h.r.state),
                                 "bond_units", api_units(w.h.r.bond_units)),
                       err);
out:
    json_decref(w.root);
    return st;
}

/* ---- kept ---- */

static enum emac_status traffic_insert(struct coordinator *c, const struct word *w,
                                       const char *source, uint64_t bytes, struct emac_err *err)
{
    return db_exec(c->db, err,
                   "INSERT INTO deal_traffic (deal, replica, source, bytes, units, state)"
                   " VALUES (?, ?, ?, ?, ?, 'due') ON CONFLICT DO NOTHING",
                   "titii", w->d.id, (int64_t)w->replica, source, (int64_t)bytes,
                   deal_traffic_units(&w->d.terms, bytes));
}

static bool holds_it(const struct deal_holding *list, size_t count, const char *did)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].r.node, did) == 0 && list[i].r.first_epoch > 0)
            return true;
    return false;
}

/* Whom the rig has it from: others that hold the deal, all together one whole transfer at most. */
static enum emac_status traffic_read(struct coordinator *c, struct word *w, struct emac_err *err)
{
    struct deal_holding *list = NULL;
    size_t count = 0;
    json_t *from;
    uint64_t room = w->d.terms.piece.size;
    enum emac_status st;
    EMAC_TRY(st, api_list_opt(w->root, "received", DEAL_SOURCES_MAX, &from, err));
    EMAC_TRY(st, deal_holdings(c, w->d.id, NULL, false, &list, &count, err));
    for (size_t i = 0; i < json_array_size(from); i++) {
        json_t *one = json_array_get(from, i);
        const char *source;
        uint64_t bytes = 0;
        EMAC_TRY(st, api_str(one, "node", DID_KEY_MAX - 1, &source, err));
        EMAC_TRY(st, api_u64(one, "bytes", INT64_MAX, &bytes, err));
        if (strcmp(source, w->did) == 0 || !holds_it(list, count, source))
            continue;
        bytes = bytes < room ? bytes : room;
        room -= bytes;
        EMAC_TRY(st, traffic_insert(c, w, source, bytes, err));
    }
out:
    free(list);
    return st;
}

/* The depot may let go of what as many rigs have as are to. */
static enum emac_status depot_release(struct coordinator *c, const struct deal *d,
                                      struct emac_err *err)
{
    int64_t active = 0;
    enum emac_status st = db_one_i64(
        c->db, &active, err,
        "SELECT COUNT(*) FROM deal_replicas WHERE deal = ? AND state = 'active'", "t", d->id);
    if (st == EMAC_OK && active >= (int64_t)d->terms.replicas)
        unpin_later(c, d->id, &d->terms.cid);
    return st;
}

static enum emac_status keep(struct coordinator *c, const struct http_request *req, struct word *w,
                             struct emac_err *err)
{
    enum emac_status st;
    if (w->h.r.state == DEAL_ACTIVE)
        return EMAC_OK; /* said before */
    if (w->h.r.state != DEAL_PLACED)
        return emac_fail(err, EMAC_CONFLICT, "replica %" PRIu64 " of deal '%s' is %s", w->replica,
                         w->d.id, deal_replica_state_name(w->h.r.state));
    deal_replica_keep(&w->h.r, c->deals->epoch);
    EMAC_TRY(st, deal_money_bond(c, &w->d, &w->h, err));
    EMAC_TRY(st, deal_holding_update(c, &w->h, err));
    EMAC_TRY(st, traffic_read(c, w, err));
    EMAC_TRY(st, depot_release(c, &w->d, err));
    c->deals->version++;
out:
    return st;
}

enum emac_status deal_kept_post(void *ctx, const struct http_request *req,
                                struct http_response *res, struct emac_err *err)
{
    return word_take(ctx, req, res, keep, err);
}

/* ---- declined ---- */

static enum emac_status decline(struct coordinator *c, const struct http_request *req,
                                struct word *w, struct emac_err *err)
{
    const char *reason = "";
    enum emac_status st;
    EMAC_TRY(st, api_str(w->root, "reason", sizeof(w->h.note) - 1, &reason, err));
    if (w->h.r.state == DEAL_DECLINED)
        return EMAC_OK;
    if (w->h.r.state != DEAL_PLACED)
        return emac_fail(err, EMAC_CONFLICT,
                         "replica %" PRIu64 " of deal '%s' is %s: who has it cannot decline it",
                         w->replica, w->d.id, deal_replica_state_name(w->h.r.state));
    w->h.r.state = DEAL_DECLINED;
    emac_strcpy(w->h.note, sizeof(w->h.note), text_printable(reason) ? reason : "");
    st = deal_holding_update(c, &w->h, err);
    deals_changed(c);
out:
    return st;
}

enum emac_status deal_declined_post(void *ctx, const struct http_request *req,
                                    struct http_response *res, struct emac_err *err)
{
    return word_take(ctx, req, res, decline, err);
}

/* ---- proven, or lost ---- */

static enum emac_status proof_insert(struct coordinator *c, const struct word *w, bool paid,
                                     struct emac_slice proof, const char *note,
                                     struct emac_err *err)
{
    return db_exec(
        c->db, err,
        "INSERT INTO deal_proofs (deal, replica, epoch, state, units, proof, note, at_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        "tiitibti", w->d.id, (int64_t)w->replica, (int64_t)w->epoch, paid ? "paid" : "missed",
        paid ? w->d.amounts.epoch_units : (int64_t)0, proof.data, proof.len, note,
        (int64_t)wall_ms(c));
}

/* *said: "paid", "missed" or "" for what is on record of the epoch. */
static enum emac_status said_before(struct coordinator *c, const struct word *w, char said[8],
                                    struct emac_err *err)
{
    struct db_stmt *q;
    said[0] = '\0';
    enum emac_status st = db_first(c->db, &q, err,
                                   "SELECT state FROM deal_proofs WHERE deal = ? AND replica = ?"
                                   " AND epoch = ?",
                                   "tii", w->d.id, (int64_t)w->replica, (int64_t)w->epoch);
    if (q != NULL) {
        emac_strcpy(said, 8, db_text(q, 0));
        db_done(q);
    }
    return st;
}

/* Too late, too early, by another rig: nothing of it is written. */
static enum emac_status due_check(struct coordinator *c, const struct word *w, struct emac_err *err)
{
    if (w->epoch != c->deals->epoch)
        return emac_fail(err, EMAC_CONFLICT, "epoch %" PRIu64 " is open, not %" PRIu64,
                         c->deals->epoch, w->epoch);
    if (!deal_replica_due(&w->h.r, w->epoch))
        return emac_fail(err, EMAC_CONFLICT,
                         "replica %" PRIu64 " of deal '%s' is %s and has nothing to prove in epoch "
                         "%" PRIu64,
                         w->replica, w->d.id, deal_replica_state_name(w->h.r.state), w->epoch);
    return EMAC_OK;
}

static enum emac_status pay(struct coordinator *c, struct word *w, struct emac_slice proof,
                            struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, deal_proof_check(&w->d.terms.piece, c->deals->seed, w->d.id, (uint32_t)w->replica,
                                  w->epoch, proof.data, proof.len, err));
    EMAC_TRY(st, proof_insert(c, w, true, proof, "", err));
    EMAC_TRY(st, deal_money_pay(c, &w->d, &w->h, w->epoch, err));
    EMAC_TRY(st, deal_holding_update(c, &w->h, err));
    if (w->h.r.proven == 1) /* it has what it says it was sent */
        st = deal_money_traffic(c, &w->d, (uint32_t)w->replica, w->epoch, err);
out:
    return st;
}

static enum emac_status prove(struct coordinator *c, const struct http_request *req, struct word *w,
                              struct emac_err *err)
{
    struct emac_slice proof = {0};
    const char *lost = NULL;
    char said[8];
    enum emac_status st;
    EMAC_TRY(st, api_u64(w->root, "epoch", INT64_MAX, &w->epoch, err));
    EMAC_TRY(st, api_str_opt(w->root, "lost", 120, &lost, err));
    if (lost == NULL)
        EMAC_TRY(st, api_bytes(req, w->root, "proof", DEAL_PROOF_MAX, &proof, err));
    EMAC_TRY(st, said_before(c, w, said, err));
    if (strcmp(said, "paid") == 0)
        return EMAC_OK; /* DEAL-6: the answer was lost, not the payment */
    if (said[0])
        return emac_fail(err, EMAC_CONFLICT, "the rig said that it cannot prove epoch %" PRIu64,
                         w->epoch);
    EMAC_TRY(st, due_check(c, w, err));
    if (lost == NULL)
        st = pay(c, w, proof, err);
    else
        st = proof_insert(c, w, false, proof, text_printable(lost) ? lost : "", err);
out:
    return st;
}

enum emac_status deal_proof_post(void *ctx, const struct http_request *req,
                                 struct http_response *res, struct emac_err *err)
{
    return word_take(ctx, req, res, prove, err);
}

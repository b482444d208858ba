/* Disputes over HTTP: rigs answer, anybody reads. */
#include <stdio.h>
#include <string.h>

#include "coordinator/checks/disputes.h"
#include "coordinator/internal.h"

#define DISPUTES_LIST 100

/* ---- answering ---- */

struct delivered {
    char did[DID_KEY_MAX];
    const char *id;
    struct emac_slice object, signature;
    struct dispute_answer answer;
    const char *failed; /* the rig cannot answer: why; NULL: it does */
};

static enum emac_status answer_verify(struct delivered *d, struct emac_err *err)
{
    uint8_t key[ED25519_PUBLIC_BYTES];
    enum emac_status st = dispute_answer_decode(&d->answer, d->object.data, d->object.len, err);
    if (st != EMAC_OK)
        return st;
    if (strcmp(d->answer.dispute, d->id) != 0)
        return emac_fail(err, EMAC_INVALID, "the answer is of dispute '%s', sent to '%.40s'",
                         d->answer.dispute, d->id);
    if (!crypto_did_key_parse(key, d->did) || d->signature.len != ED25519_SIGNATURE_BYTES ||
        !crypto_ed25519_verify(d->signature.data, d->object.data, d->object.len, key))
        return emac_fail(err, EMAC_UNAUTHORIZED,
                         "the answer's signature does not hold for rig '%s'", d->did);
    return EMAC_OK;
}

static enum emac_status delivered_read(const struct http_request *req, json_t *root,
                                       struct delivered *d, struct emac_err *err)
{
    enum emac_status st;
    d->id = http_path_param(req, "id");
    EMAC_TRY(st, api_str_opt(root, "failed", EMAC_ERR_TEXT_MAX, &d->failed, err));
    if (d->failed != NULL && !text_printable(d->failed))
        return emac_fail(err, EMAC_INVALID, "field 'failed' holds control characters");
    if (d->failed != NULL)
        return EMAC_OK;
    EMAC_TRY(st, api_bytes(req, root, "answer", DISPUTE_BYTES_MAX, &d->object, err));
    EMAC_TRY(st, api_bytes(req, root, "signature", ED25519_SIGNATURE_BYTES, &d->signature, err));
    st = answer_verify(d, err);
out:
    return st;
}

static enum emac_status side_find(struct coordinator *c, const struct delivered *d,
                                  struct cdispute **x, uint32_t *side, struct emac_err *err)
{
    *x = dispute_find(c, d->id);
    if (*x == NULL)
        return emac_fail(err, EMAC_NOT_FOUND, "there is no open dispute '%.40s'", d->id);
    for (*side = 0; *side < 2; (*side)++)
        if (strcmp((*x)->did[*side], d->did) == 0)
            return EMAC_OK;
    return emac_fail(err, EMAC_FORBIDDEN, "dispute '%s' is between other rigs", (*x)->id);
}

/* The answer is written, and then counts (DISP-3). */
static enum emac_status answer_take(struct coordinator *c, struct cdispute *x, uint32_t side,
                                    struct delivered *d, struct emac_err *err)
{
    struct dispute next = x->d;
    uint64_t deadline = wall_ms(c) + x->patience_ms;
    enum emac_status st;
    EMAC_TRY(st, dispute_take(&next, side, &d->answer, err));
    /* Only what takes the dispute on gives it more time. */
    if (next.stage == x->d.stage && next.splits == x->d.splits)
        deadline = x->deadline_at;
    EMAC_TRY(st, db_begin(c->db, err));
    st = dispute_row_answer(c, x, side, d->answer.kind, d->object, d->signature, deadline, err);
    st = db_end(c->db, st, err);
    if (st != EMAC_OK)
        return st;
    x->d = next;
    x->seq++;
    x->deadline_at = deadline;
    x->asked_ms[0] = x->asked_ms[1] = 0;
    if (d->answer.kind == DISPUTE_OPEN) {
        x->open[side] = d->answer;
        d->answer = (struct dispute_answer){0};
    }
    if (x->d.stage == DISPUTE_DONE)
        st = dispute_decide(c, x, err);
    coordinator_changed(c);
out:
    return st;
}

/* Without the task's inputs no run of it can be repeated, and it is nobody's fault. */
static enum emac_status failure_take(struct coordinator *c, struct cdispute *x, uint32_t side,
                                     const char *why, struct emac_err *err)
{
    struct ctask probe = {.task = x->task};
    struct cid gone = {0};
    job_log(c, x->job, LOG_WARN, "rig %s cannot answer in the dispute about '%s': %s",
            did_short(x->did[side]), x->slot, why);
    if (inputs_present(c, &probe, &gone))
        return EMAC_OK; /* it may try again until the deadline */
    return dispute_lapse(c, x, "its inputs are no longer anywhere", err);
}

enum emac_status dispute_post(void *ctx, const struct http_request *req, struct http_response *res,
                              struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct delivered d = {0};
    struct cdispute *x;
    json_t *root = NULL;
    uint32_t side;
    enum emac_status st;
    EMAC_TRY(st, api_signer(c, req, d.did, err));
    EMAC_TRY(st, api_body(req, &root, err));
    EMAC_TRY(st, delivered_read(req, root, &d, err));
    os_mutex_lock(&c->lock);
    if (c->disputes->dirty)
        st = dispute_rows_load(c, err);
    if (st == EMAC_OK)
        st = side_find(c, &d, &x, &side, err);
    if (st == EMAC_OK)
        st = d.failed != NULL ? failure_take(c, x, side, d.failed, err)
                              : answer_take(c, x, side, &d, err);
    os_mutex_unlock(&c->lock);
    if (st == EMAC_OK)
        st = api_reply(res, 200, json_object(), err);
out:
    dispute_answer_release(&d.answer);
    json_decref(root);
    return st;
}

/* ---- reading ---- */

/* While it goes on others may be computing the task: they are told who differs, not how (CHECK-4 of
 * checks.h). */
static bool is_over(struct db_stmt *q)
{
    return strcmp(db_text(q, 3), "waiting") != 0 && strcmp(db_text(q, 3), "open") != 0;
}

/* outputs NULL: not told */
static json_t *side_json(const char *did, const char *outputs, const char *fate)
{
    struct outputs o;
    json_t *map = outputs ? json_object() : json_null();
    if (*did && outputs && outputs_parse(&o, outputs)) {
        for (uint32_t i = 0; i < o.count; i++)
            json_object_set_new(map, o.at[i].name, api_cid(&o.at[i].cid));
    }
    return json_pack("{s:s, s:o, s:s}", "node", did, "outputs", map, "fate", fate);
}

#define COLUMNS                                                                                    \
    "SELECT id, job, task, state, a, b, outputs_a, outputs_b, fate_a, fate_b, leaf, reason,"       \
    " opened_ms, ended_ms, deadline_ms FROM disputes"

static json_t *sides_json(struct db_stmt *q)
{
    if (*db_text(q, 4) == 0)
        return json_array(); /* it waits */
    bool told = is_over(q);
    return json_pack("[o, o]", side_json(db_text(q, 4), told ? db_text(q, 6) : NULL, db_text(q, 8)),
                     side_json(db_text(q, 5), told ? db_text(q, 7) : NULL, db_text(q, 9)));
}

static json_t *row_json(struct db_stmt *q)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o*, s:s, s:I, s:I, s:I}", "id", db_text(q, 0),
                     "job", db_text(q, 1), "task", db_text(q, 2), "state", db_text(q, 3), "sides",
                     sides_json(q), "leaf", db_i64(q, 10) < 0 ? NULL : json_integer(db_i64(q, 10)),
                     "reason", db_text(q, 11), "opened_ms", (json_int_t)db_i64(q, 12), "ended_ms",
                     (json_int_t)db_i64(q, 13), "deadline_ms", (json_int_t)db_i64(q, 14));
}

enum emac_status job_disputes_get(void *ctx, const struct http_request *req,
                                  struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct db_stmt *q;
    bool row = false;
    json_t *list = json_array();
    enum emac_status st =
        db_query(c->db, &q, err, COLUMNS " WHERE job = ? ORDER BY opened_ms DESC, id LIMIT ?", "ti",
                 http_path_param(req, "id"), (int64_t)DISPUTES_LIST);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row)
        json_array_append_new(list, row_json(q));
    if (st == EMAC_OK)
        return api_reply(res, 200, json_pack("{s:o}", "disputes", list), err);
    json_decref(list);
    return st;
}

static enum emac_status answers_read(struct coordinator *c, const char *id, json_t *list,
                                     struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT side, kind, object, signature, at_ms"
                                   " FROM dispute_answers WHERE dispute = ? ORDER BY seq",
                                   "t", id);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct emac_slice object = db_blob(q, 2);
        json_t *item = json_pack("{s:I, s:s, s:o, s:I}", "side", (json_int_t)db_i64(q, 0), "kind",
                                 db_text(q, 1), "answer", api_base64(object.data, object.len),
                                 "at_ms", (json_int_t)db_i64(q, 4));
        struct emac_slice signature = db_blob(q, 3);
        json_object_set_new(item, "signature", api_base64(signature.data, signature.len));
        json_array_append_new(list, item);
    }
    return st;
}

enum emac_status dispute_get(void *ctx, const struct http_request *req, struct http_response *res,
                             struct emac_err *err)
{
    struct coordinator *c = ctx;
    const char *id = http_path_param(req, "id");
    struct db_stmt *q;
    json_t *out = NULL, *answers = json_array();
    enum emac_status st = db_first(c->db, &q, err, COLUMNS " WHERE id = ?", "t", id);
    if (st == EMAC_OK && q == NULL)
        st = emac_fail(err, EMAC_NOT_FOUND, "there is no dispute '%.40s'", id);
    if (st == EMAC_OK) {
        bool told = is_over(q);
        out = row_json(q);
        db_done(q);
        st = told ? answers_read(c, id, answers, err) : EMAC_OK;
    }
    if (st != EMAC_OK) {
        json_decref(out);
        json_decref(answers);
        return st;
    }
    json_object_set_new(out, "answers", answers);
    return api_reply(res, 200, out, err);
}

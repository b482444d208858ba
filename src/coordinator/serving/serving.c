/* Reserving, settling and releasing the price of answers; serving.h has the rules. */
#include "coordinator/serving/serving.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/assets/assets.h"

#define KEY_MAX (SERVE_ID_MAX + 32)

/* ---- postings ---- */

static enum emac_status post(struct coordinator *c, struct ledger_posting *p, struct emac_err *err)
{
    EMAC_ASSERT(db_in_transaction(c->db));
    p->at_ms = wall_ms(c);
    return p->count == 0 ? EMAC_OK : ledger_post(c->db, p, NULL, err);
}

static enum emac_status reserve_post(struct coordinator *c, const struct serving_meter *m,
                                     struct emac_err *err)
{
    char key[KEY_MAX], detail[CID_TEXT_MAX];
    cid_text(detail, &m->model);
    snprintf(key, sizeof(key), "serve:%s", m->id);
    struct ledger_posting p = {.key = key, .cause = "serve", .job = "", .detail = detail};
    ledger_entry_add(&p, -m->reserved_units, "user:%s", m->payer.did);
    ledger_entry_add(&p, m->reserved_units, "serving:%s", m->payer.did);
    return post(c, &p, err);
}

/* `bill` all zero: everything goes back. Royalties go to the pools of their assets. */
static enum emac_status settle_post(struct coordinator *c, const struct serving_meter *m,
                                    const struct serving_bill *bill, const char *rig,
                                    struct emac_err *err)
{
    char key[KEY_MAX], detail[CID_TEXT_MAX];
    cid_text(detail, &m->model);
    snprintf(key, sizeof(key), "served:%s", m->id);
    struct ledger_posting p = {.key = key, .cause = "served", .job = "", .detail = detail};
    EMAC_ASSERT(bill->total <= m->reserved_units); /* BILL-2 */
    ledger_entry_add(&p, -m->reserved_units, "serving:%s", m->payer.did);
    ledger_entry_add(&p, m->reserved_units - bill->total, "user:%s", m->payer.did);
    ledger_entry_add(&p, bill->rig, "rig:%s", rig);
    ledger_entry_add(&p, bill->fee, "fee");
    for (uint32_t i = 0; i < m->price.count; i++) {
        char asset[CID_TEXT_MAX];
        cid_text(asset, &m->asset[i]);
        ledger_entry_add(&p, bill->royalty[i], "royalty:%s", asset);
    }
    return post(c, &p, err);
}

static enum emac_status royalties_post(struct coordinator *c, const struct serving_meter *m,
                                       const struct serving_bill *bill, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < m->price.count && st == EMAC_OK; i++) {
        char key[KEY_MAX], pool[LEDGER_ACCOUNT_MAX], asset[CID_TEXT_MAX], licence[CID_TEXT_MAX];
        cid_text(asset, &m->asset[i]);
        cid_text(licence, &m->licence[i]);
        snprintf(pool, sizeof(pool), "royalty:%s", asset);
        snprintf(key, sizeof(key), "served:%s:%u", m->id, i);
        st = asset_income(c, &m->asset[i], pool, bill->royalty[i], key, "", licence, err);
    }
    return st;
}

/* ---- Idempotency-Key (SERVE-6) ---- */

static enum emac_status answer_load(struct coordinator *c, const char *id,
                                    struct serving_replay *out, struct emac_err *err)
{
    struct db_stmt *q;
    enum emac_status st = db_first(c->db, &q, err,
                                   "SELECT a.text, a.finish, s.prompt_tokens, s.completion_tokens"
                                   " FROM serving_answers a JOIN serving s ON s.id = a.id"
                                   " WHERE a.id = ?",
                                   "t", id);
    if (st == EMAC_OK && q == NULL)
        st = emac_fail(err, EMAC_CONFLICT,
                       "the request with this Idempotency-Key was answered as '%s', which is not "
                       "kept any more or was cut short: send it with another key",
                       id);
    if (st != EMAC_OK)
        return st;
    struct emac_slice text = db_blob(q, 0);
    emac_strcpy(out->finish_reason, sizeof(out->finish_reason), db_text(q, 1));
    out->prompt_tokens = (uint32_t)db_i64(q, 2);
    out->completion_tokens = (uint32_t)db_i64(q, 3);
    emac_strcpy(out->id, sizeof(out->id), id);
    out->found = true;
    st = emac_buf_append(&out->text, text.data, text.len, err);
    db_done(q);
    return st;
}

/* Is there a request with this key already? One that was released does not count any more. */
static enum emac_status replay_find(struct coordinator *c, const struct serve_request *req,
                                    struct serving_replay *out, struct emac_err *err)
{
    struct db_stmt *q;
    char id[SERVE_ID_MAX], state[16];
    enum emac_status st =
        db_first(c->db, &q, err, "SELECT id, state, body FROM serving WHERE did = ? AND idem = ?",
                 "tt", req->payer.did, req->idempotency);
    if (q == NULL)
        return st;
    struct emac_slice body = db_blob(q, 2);
    bool same = body.len == SHA256_BYTES && memcmp(body.data, req->body, SHA256_BYTES) == 0;
    emac_strcpy(id, sizeof(id), db_text(q, 0));
    emac_strcpy(state, sizeof(state), db_text(q, 1));
    db_done(q);
    if (!same)
        return emac_fail(err, EMAC_CONFLICT,
                         "the Idempotency-Key '%s' was used for another request", req->idempotency);
    if (strcmp(state, "open") == 0)
        return emac_fail(err, EMAC_CONFLICT,
                         "the request with the Idempotency-Key '%s' is being answered",
                         req->idempotency);
    if (strcmp(state, "settled") == 0)
        return answer_load(c, id, out, err);
    return db_exec(c->db, err, "UPDATE serving SET idem = '' WHERE id = ?", "t", id);
}

static enum emac_status answer_keep(struct coordinator *c, const struct serving_meter *m,
                                    const char *finish, struct emac_err *err)
{
    int64_t now = (int64_t)wall_ms(c);
    enum emac_status st = db_exec(c->db, err, "DELETE FROM serving_answers WHERE at_ms < ?", "i",
                                  now - (int64_t)SERVING_ANSWER_MS);
    if (st != EMAC_OK)
        return st;
    return db_exec(c->db, err,
                   "INSERT INTO serving_answers (id, text, finish, at_ms) VALUES (?, ?, ?, ?)",
                   "tbti", m->id, (const void *)m->answer.data, m->answer.len, finish, now);
}

/* ---- reserving ---- */

static enum emac_status row_insert(struct coordinator *c, const struct serve_request *req,
                                   const struct serving_meter *m, struct emac_err *err)
{
    char model[CID_TEXT_MAX];
    cid_text(model, &m->model);
    return db_exec(
        c->db, err,
        "INSERT INTO serving (id, key, did, model, idem, body, state, reserved_units,"
        " prompt_tokens, completion_tokens, rig, rig_units, fee_units, royalty_units,"
        " at_ms, ended_ms) VALUES (?, ?, ?, ?, ?, ?, 'open', ?, 0, 0, '', 0, 0, 0, ?, 0)",
        "tttttbii", m->id, m->payer.key, m->payer.did, model,
        req->idempotency ? req->idempotency : "", (const void *)req->body, sizeof(req->body),
        m->reserved_units, (int64_t)wall_ms(c));
}

static enum emac_status reserve_tx(struct coordinator *c, const struct serve_request *req,
                                   struct serving_meter *m, struct serving_replay *replay,
                                   struct emac_err *err)
{
    struct serving_bill most;
    uint64_t tokens = strlen(req->prompt) + 1 + (uint64_t)req->max_tokens;
    enum emac_status st;
    if (req->idempotency) {
        EMAC_TRY(st, replay_find(c, req, replay, err));
        if (replay->found)
            return EMAC_OK;
    }
    EMAC_TRY(st, serving_terms(c, &req->model, m, err));
    EMAC_TRY(st, serving_bill(&m->price, tokens, &most, err));
    m->reserved_units = most.total;
    if (m->payer.key[0])
        EMAC_TRY(st, serving_key_check(c, m->payer.key, most.total, err));
    EMAC_TRY(st, row_insert(c, req, m, err));
    st = reserve_post(c, m, err);
out:
    return st;
}

enum emac_status serving_reserve(struct coordinator *c, const struct serve_request *req,
                                 struct serving_meter *m, struct serving_replay *replay,
                                 struct emac_err *err)
{
    *m = (struct serving_meter){.payer = req->payer, .keep = req->idempotency && req->payer.did[0]};
    *replay = (struct serving_replay){0};
    emac_buf_init(&m->answer, SERVING_ANSWER_MAX);
    emac_buf_init(&replay->text, SERVING_ANSWER_MAX);
    if (req->payer.did[0] == 0)
        return serving_terms(c, &req->model, m, err);
    emac_strcpy(m->id, sizeof(m->id), req->id);
    enum emac_status st = db_begin(c->db, err);
    if (st != EMAC_OK)
        return st;
    st = reserve_tx(c, req, m, replay, err);
    if (st != EMAC_OK) {
        db_rollback(c->db);
        return st;
    }
    st = db_commit(c->db, err);
    m->open = st == EMAC_OK && !replay->found;
    return st;
}

/* ---- closing ---- */

static enum emac_status row_close(struct coordinator *c, const struct serving_meter *m,
                                  const struct serving_made *made, const struct serving_bill *b,
                                  struct emac_err *err)
{
    int64_t royalties = b->total - b->rig - b->fee, now = (int64_t)wall_ms(c), changed = 0;
    enum emac_status st = db_change(
        c->db, &changed, err,
        "UPDATE serving SET state = ?, prompt_tokens = ?, completion_tokens = ?, rig = ?,"
        " rig_units = ?, fee_units = ?, royalty_units = ?, ended_ms = ?"
        " WHERE id = ? AND state = 'open'",
        "tiitiiiit", made ? "settled" : "released", (int64_t)(made ? made->prompt_tokens : 0),
        (int64_t)(made ? made->completion_tokens : 0), made ? made->rig : "", b->rig, b->fee,
        royalties, now, m->id);
    EMAC_ASSERT(st != EMAC_OK || changed == 1);
    if (st != EMAC_OK || made == NULL || m->payer.key[0] == 0)
        return st;
    return db_exec(c->db, err,
                   "UPDATE api_keys SET spent_units = spent_units + ?, requests = requests + 1,"
                   " prompt_tokens = prompt_tokens + ?, completion_tokens = completion_tokens + ?,"
                   " used_ms = ? WHERE id = ?",
                   "iiiit", b->total, (int64_t)made->prompt_tokens,
                   (int64_t)made->completion_tokens, now, m->payer.key);
}

static enum emac_status close_tx(struct coordinator *c, const struct serving_meter *m,
                                 const struct serving_made *made, struct emac_err *err)
{
    struct serving_bill bill = {0};
    enum emac_status st;
    if (made)
        EMAC_TRY(
            st, serving_bill(&m->price, made->prompt_tokens + made->completion_tokens, &bill, err));
    EMAC_TRY(st, row_close(c, m, made, &bill, err));
    EMAC_TRY(st, settle_post(c, m, &bill, made ? made->rig : "", err));
    EMAC_TRY(st, royalties_post(c, m, &bill, err));
    if (made && made->finish_reason && m->keep)
        st = answer_keep(c, m, made->finish_reason, err);
out:
    return st;
}

void serving_settle(struct coordinator *c, struct serving_meter *m, struct serving_made *made)
{
    struct emac_err err = {0};
    if (!m->open)
        return;
    m->open = false;
    enum emac_status st = db_begin(c->db, &err);
    if (st == EMAC_OK) {
        st = close_tx(c, m, made, &err);
        st = db_end(c->db, st, &err);
    }
    if (st != EMAC_OK)
        LOG_W("serving",
              "the answer '%s' is not settled, its price comes back at the next start: %s", m->id,
              err.text);
}

/* ---- at start ---- */

static enum emac_status open_next(struct coordinator *c, struct serving_meter *m,
                                  struct emac_err *err)
{
    struct db_stmt *q;
    *m = (struct serving_meter){0};
    enum emac_status st = db_first(c->db, &q, err,
                                   "SELECT id, did, key, model, reserved_units FROM serving"
                                   " WHERE state = 'open' ORDER BY id LIMIT 1",
                                   "");
    if (q == NULL)
        return st;
    m->open = emac_strcpy(m->id, sizeof(m->id), db_text(q, 0)) &&
              emac_strcpy(m->payer.did, sizeof(m->payer.did), db_text(q, 1)) &&
              emac_strcpy(m->payer.key, sizeof(m->payer.key), db_text(q, 2));
    EMAC_ASSERT(m->open);
    m->model = cid_from_text(db_text(q, 3));
    m->reserved_units = db_i64(q, 4);
    db_done(q);
    return EMAC_OK;
}

enum emac_status serving_recover(struct coordinator *c, struct emac_err *err)
{
    struct serving_meter m;
    uint32_t count = 0;
    enum emac_status st;
    EMAC_TRY(st, db_begin(c->db, err));
    for (st = open_next(c, &m, err); st == EMAC_OK && m.open; st = open_next(c, &m, err)) {
        st = close_tx(c, &m, NULL, err);
        if (st != EMAC_OK)
            break;
        count++;
    }
    st = db_end(c->db, st, err);
    if (st == EMAC_OK && count > 0)
        LOG_I("serving", "%u answers were cut off by the end before; their price went back", count);
out:
    return st;
}

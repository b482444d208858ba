/* Rows of disputes and their answers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "coordinator/checks/disputes.h"
#include "coordinator/internal.h"

const char DISPUTES_SCHEMA[] =
    "CREATE TABLE disputes ("
    " id TEXT PRIMARY KEY, job TEXT NOT NULL, task TEXT NOT NULL,"
    " state TEXT NOT NULL CHECK (state IN ('waiting', 'open', 'decided', 'settled', 'lapsed')),"
    " a TEXT NOT NULL, b TEXT NOT NULL, outputs_a TEXT NOT NULL, outputs_b TEXT NOT NULL,"
    " fate_a TEXT NOT NULL, fate_b TEXT NOT NULL, stage TEXT NOT NULL, leaf BIGINT NOT NULL,"
    " reason TEXT NOT NULL, opened_ms BIGINT NOT NULL, deadline_ms BIGINT NOT NULL,"
    " patience_ms BIGINT NOT NULL, ended_ms BIGINT NOT NULL,"
    " FOREIGN KEY (job, task) REFERENCES tasks (job, cid));"
    "CREATE INDEX disputes_by_job ON disputes (job, opened_ms);"
    "CREATE UNIQUE INDEX disputes_under_way ON disputes (job, task)"
    " WHERE state IN ('waiting', 'open');"
    "CREATE TABLE dispute_answers ("
    " dispute TEXT NOT NULL REFERENCES disputes (id), seq BIGINT NOT NULL, side BIGINT NOT NULL,"
    " kind TEXT NOT NULL, object BLOB NOT NULL, signature BLOB NOT NULL, at_ms BIGINT NOT NULL,"
    " PRIMARY KEY (dispute, seq));";

void cdispute_free(struct cdispute *x)
{
    if (x == NULL)
        return;
    dispute_answer_release(&x->open[0]);
    dispute_answer_release(&x->open[1]);
    task_release(&x->task);
    free(x->object);
    free(x);
}

/* ---- writing: in tx ---- */

enum emac_status dispute_row_wait(struct coordinator *c, const char *job, const struct cid *task,
                                  uint64_t patience_ms, struct emac_err *err)
{
    uint8_t bytes[LEASE_ID_BYTES];
    char id[2 * LEASE_ID_BYTES + 1], cid[CID_TEXT_MAX];
    int64_t there = 0;
    EMAC_ASSERT(db_in_transaction(c->db));
    cid_text(cid, task);
    c->disputes->dirty = true;
    enum emac_status st = db_one_i64(c->db, &there, err,
                                     "SELECT COUNT(*) FROM disputes WHERE job = ? AND task = ?"
                                     " AND state IN ('waiting', 'open')",
                                     "tt", job, cid);
    if (st != EMAC_OK || there > 0)
        return st;
    c->os->entropy(c->os, bytes, sizeof bytes);
    emac_hex(id, bytes, sizeof bytes);
    return db_exec(c->db, err,
                   "INSERT INTO disputes VALUES (?, ?, ?, 'waiting', '', '', '', '', 'stands',"
                   " 'stands', 'commit', -1, '', ?, 0, ?, 0)",
                   "tttii", id, job, cid, (int64_t)wall_ms(c), (int64_t)patience_ms);
}

enum emac_status dispute_row_end(struct coordinator *c, const struct cdispute *x, const char *state,
                                 const char *reason, struct emac_err *err)
{
    bool found = x->d.stage == DISPUTE_DONE && x->d.count == 1;
    c->disputes->dirty = true;
    return db_exec(c->db, err,
                   "UPDATE disputes SET state = ?, reason = ?, fate_a = ?, fate_b = ?, stage = ?,"
                   " leaf = ?, ended_ms = ? WHERE id = ?",
                   "tttttiit", state, reason, dispute_fate_name(x->d.side[0].fate),
                   dispute_fate_name(x->d.side[1].fate), dispute_stage_name(x->d.stage),
                   found ? (int64_t)x->d.first : (int64_t)-1, (int64_t)wall_ms(c), x->id);
}

enum emac_status dispute_row_answer(struct coordinator *c, const struct cdispute *x, uint32_t side,
                                    enum dispute_stage kind, struct emac_slice object,
                                    struct emac_slice signature, uint64_t deadline_at,
                                    struct emac_err *err)
{
    enum emac_status st =
        db_exec(c->db, err, "INSERT INTO dispute_answers VALUES (?, ?, ?, ?, ?, ?, ?)", "tiitbbi",
                x->id, x->seq, (int64_t)side, dispute_stage_name(kind), (const void *)object.data,
                object.len, (const void *)signature.data, signature.len, (int64_t)wall_ms(c));
    if (st == EMAC_OK)
        st = db_exec(c->db, err, "UPDATE disputes SET deadline_ms = ? WHERE id = ?", "it",
                     (int64_t)deadline_at, x->id);
    return st;
}

/* ---- reading ---- */

/* The answers that were taken lead to the stage it is at. */
static enum emac_status replay(struct coordinator *c, struct cdispute *x, struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st = db_query(
        c->db, &q, err,
        "SELECT seq, side, object FROM dispute_answers WHERE dispute = ? ORDER BY seq", "t", x->id);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        uint32_t side = (uint32_t)db_i64(q, 1);
        struct emac_slice object = db_blob(q, 2);
        struct dispute_answer a;
        EMAC_ASSERT(side < 2);
        x->seq = db_i64(q, 0) + 1;
        st = dispute_answer_decode(&a, object.data, object.len, err);
        if (st == EMAC_OK)
            st = dispute_take(&x->d, side, &a, err);
        if (st == EMAC_OK && a.kind == DISPUTE_OPEN)
            x->open[side] = a;
        else
            dispute_answer_release(&a);
        if (st != EMAC_OK) {
            emac_wrap(err, "dispute '%s'", x->id);
            db_done(q);
        }
    }
    return st;
}

static enum emac_status task_read(struct coordinator *c, struct cdispute *x, struct emac_err *err)
{
    struct db_stmt *q;
    char cid[CID_TEXT_MAX];
    cid_text(cid, &x->cid);
    enum emac_status st = db_first(c->db, &q, err,
                                   "SELECT object, slot, step FROM tasks"
                                   " WHERE job = ? AND cid = ?",
                                   "tt", x->job, cid);
    if (st != EMAC_OK)
        return st;
    EMAC_ASSERT(q != NULL); /* a foreign key */
    struct emac_slice object = db_blob(q, 0);
    st = emac_alloc(&x->object, object.len, 1, err);
    if (st == EMAC_OK) {
        memcpy(x->object, object.data, object.len);
        x->object_len = object.len;
        emac_strcpy(x->slot, sizeof x->slot, db_text(q, 1));
        x->round = (uint32_t)db_i64(q, 2);
    }
    db_done(q);
    return st == EMAC_OK ? task_decode(&x->task, x->object, x->object_len, err) : st;
}

static enum emac_status item_make(struct coordinator *c, struct db_stmt *q, struct cdispute **out,
                                  struct emac_err *err)
{
    struct cdispute *x;
    struct outputs o[2];
    enum emac_status st = emac_alloc(&x, 1, sizeof *x, err);
    if (st != EMAC_OK)
        return st;
    emac_strcpy(x->id, sizeof x->id, db_text(q, 0));
    emac_strcpy(x->job, sizeof x->job, db_text(q, 1));
    x->cid = cid_from_text(db_text(q, 2));
    emac_strcpy(x->did[0], sizeof x->did[0], db_text(q, 3));
    emac_strcpy(x->did[1], sizeof x->did[1], db_text(q, 4));
    bool sound = outputs_parse(&o[0], db_text(q, 5)) && outputs_parse(&o[1], db_text(q, 6));
    EMAC_ASSERT(sound);
    x->deadline_at = (uint64_t)db_i64(q, 7);
    x->patience_ms = (uint64_t)db_i64(q, 8);
    dispute_begin(&x->d, o[0].count, o[0].at, o[1].at);
    EMAC_TRY(st, task_read(c, x, err));
    EMAC_TRY(st, replay(c, x, err));
    *out = x;
    return EMAC_OK;
out:
    cdispute_free(x);
    return st;
}

static void items_clear(struct disputes *all)
{
    while (all->count > 0)
        cdispute_free(all->item[--all->count]);
}

enum emac_status dispute_rows_load(struct coordinator *c, struct emac_err *err)
{
    struct disputes *all = c->disputes;
    struct db_stmt *q;
    bool row = false;
    items_clear(all);
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT id, job, task, a, b, outputs_a, outputs_b, deadline_ms,"
                                   " patience_ms FROM disputes WHERE state = 'open'"
                                   " ORDER BY opened_ms, id",
                                   "");
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        EMAC_ASSERT(all->count < DISPUTES_OPEN_MAX); /* dispute_rows_promote opens no more */
        st = item_make(c, q, &all->item[all->count], err);
        if (st == EMAC_OK)
            all->count++;
        else
            db_done(q);
    }
    if (st == EMAC_OK)
        st = db_one_i64(c->db, &all->waiting, err,
                        "SELECT COUNT(*) FROM disputes WHERE state = 'waiting'", "");
    all->dirty = st != EMAC_OK;
    return st;
}

/* ---- opening ---- */

struct voice {
    char did[DID_KEY_MAX], outputs[OUTPUTS_TEXT_MAX];
};

/* Receipts of a task that stand. */
static enum emac_status voices_read(struct coordinator *c, const char *job, const char *task,
                                    struct emac_buf *out, struct emac_err *err)
{
    struct db_stmt *q;
    struct voice v;
    bool row = false;
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT r.node, r.outputs FROM tasks t JOIN receipts r"
                                   " ON r.job = t.job AND r.step = t.step AND r.task = t.cid"
                                   " WHERE t.job = ? AND t.cid = ? AND r.state <> 'void'"
                                   " ORDER BY r.at_ms, r.node",
                                   "tt", job, task);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        emac_strcpy(v.did, sizeof v.did, db_text(q, 0));
        emac_strcpy(v.outputs, sizeof v.outputs, db_text(q, 1));
        st = emac_buf_append(out, &v, sizeof v, err);
        if (st != EMAC_OK)
            db_done(q);
    }
    return st;
}

static bool is_busy(const struct coordinator *c, const char *did)
{
    for (uint32_t i = 0; i < c->disputes->count; i++) {
        const struct cdispute *x = c->disputes->item[i];
        if (strcmp(x->did[0], did) == 0 || strcmp(x->did[1], did) == 0)
            return true;
    }
    return false;
}

/* Two that differ and are free to answer. *differ: some do. */
static bool pair_pick(const struct coordinator *c, const struct voice *v, size_t n, size_t *a,
                      size_t *b, bool *differ)
{
    *differ = false;
    for (*a = 0; *a < n; (*a)++) {
        for (*b = *a + 1; *b < n; (*b)++) {
            if (strcmp(v[*a].outputs, v[*b].outputs) == 0)
                continue;
            *differ = true;
            if (!is_busy(c, v[*a].did) && !is_busy(c, v[*b].did))
                return true;
        }
    }
    return false;
}

struct waiting {
    char id[LEASE_ID_MAX], job[JOB_ID_MAX], task[CID_TEXT_MAX];
    int64_t patience_ms;
};

static enum emac_status promote(struct coordinator *c, const struct waiting *w,
                                struct emac_err *err)
{
    struct emac_buf voices;
    size_t a, b;
    bool differ;
    int64_t now = (int64_t)wall_ms(c);
    emac_buf_init(&voices, 4096 * sizeof(struct voice));
    enum emac_status st = voices_read(c, w->job, w->task, &voices, err);
    const struct voice *v = (const struct voice *)(const void *)voices.data;
    if (st == EMAC_OK && pair_pick(c, v, voices.len / sizeof *v, &a, &b, &differ)) {
        st = db_exec(c->db, err,
                     "UPDATE disputes SET state = 'open', a = ?, b = ?, outputs_a = ?,"
                     " outputs_b = ?, opened_ms = ?, deadline_ms = ? WHERE id = ?",
                     "ttttiit", v[a].did, v[b].did, v[a].outputs, v[b].outputs, now,
                     now + w->patience_ms, w->id);
        if (st == EMAC_OK)
            job_log(c, w->job, LOG_WARN,
                    "rigs %s and %s differ: both run the task again and sign a trace of it",
                    did_short(v[a].did), did_short(v[b].did));
        c->disputes->dirty = true;
    } else if (st == EMAC_OK && (!differ || job_find(c, w->job) == NULL)) {
        st = db_exec(c->db, err, "UPDATE disputes SET state = ?, ended_ms = ? WHERE id = ?", "tit",
                     differ ? "lapsed" : "settled", now, w->id);
        c->disputes->dirty = true;
    }
    emac_buf_release(&voices);
    return st;
}

enum emac_status dispute_rows_promote(struct coordinator *c, struct emac_err *err)
{
    struct waiting w = {0};
    struct db_stmt *q;
    struct emac_buf all;
    bool row = false;
    emac_buf_init(&all, DISPUTES_OPEN_MAX * sizeof w);
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT id, job, task, patience_ms FROM disputes"
                                   " WHERE state = 'waiting' ORDER BY opened_ms, id LIMIT ?",
                                   "i", (int64_t)DISPUTES_OPEN_MAX);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        emac_strcpy(w.id, sizeof w.id, db_text(q, 0));
        emac_strcpy(w.job, sizeof w.job, db_text(q, 1));
        emac_strcpy(w.task, sizeof w.task, db_text(q, 2));
        w.patience_ms = db_i64(q, 3);
        st = emac_buf_append(&all, &w, sizeof w, err);
        if (st != EMAC_OK)
            db_done(q);
    }
    const struct waiting *list = (const struct waiting *)(const void *)all.data;
    for (size_t i = 0; st == EMAC_OK && i < all.len / sizeof w; i++) {
        if (c->disputes->dirty)
            st = dispute_rows_load(c, err); /* who is busy now */
        if (st == EMAC_OK && c->disputes->count < DISPUTES_OPEN_MAX)
            st = promote(c, &list[i], err);
    }
    emac_buf_release(&all);
    return st;
}

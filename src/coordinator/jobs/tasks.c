/* Tasks of a job: in memory while they are wanted, and their rows. */
#include "coordinator/internal.h"

#include <stdlib.h>
#include <string.h>

#define ROUND_ROWS_MAX 65536

/* ---- memory ---- */

struct ctask *ctask_find(const struct cjob *j, const struct cid *cid)
{
    for (uint32_t i = 0; i < j->task_count; i++)
        if (cid_equal(&j->task[i]->cid, cid))
            return j->task[i];
    return NULL;
}

void ctask_free(struct ctask *t)
{
    if (t == NULL)
        return;
    while (t->lease_count > 0)
        lease_detach(t->lease[0]);
    task_release(&t->task);
    free(t->object);
    free(t->vote);
    free(t);
}

enum emac_status ctask_add(struct cjob *j, struct ctask *t, struct emac_err *err)
{
    if (j->task_count == j->task_cap) {
        uint32_t cap = j->task_cap ? j->task_cap * 2 : 32;
        struct ctask **grown;
        enum emac_status st = emac_alloc(&grown, cap, sizeof(*grown), err);
        if (st != EMAC_OK)
            return st;
        if (j->task_count)
            memcpy(grown, j->task, j->task_count * sizeof(*grown));
        free(j->task);
        j->task = grown;
        j->task_cap = cap;
    }
    EMAC_ASSERT(ctask_find(j, &t->cid) == NULL);
    j->task[j->task_count++] = t;
    return EMAC_OK;
}

void ctask_remove(struct cjob *j, struct ctask *t)
{
    for (uint32_t i = 0; i < j->task_count; i++) {
        if (j->task[i] != t)
            continue;
        memmove(&j->task[i], &j->task[i + 1], (j->task_count - i - 1) * sizeof(j->task[0]));
        j->task_count--;
        ctask_free(t);
        return;
    }
    EMAC_ASSERT(!"the task is not this job's");
}

const struct vote *ctask_vote(const struct ctask *t, const char *did)
{
    for (uint32_t i = 0; i < t->vote_count; i++)
        if (strcmp(t->vote[i].did, did) == 0)
            return &t->vote[i];
    return NULL;
}

enum emac_status ctask_vote_add(struct ctask *t, const struct vote *v, struct emac_err *err)
{
    struct vote *grown;
    EMAC_ASSERT(ctask_vote(t, v->did) == NULL);
    enum emac_status st = emac_alloc(&grown, t->vote_count + 1, sizeof(*grown), err);
    if (st != EMAC_OK)
        return st;
    if (t->vote_count)
        memcpy(grown, t->vote, t->vote_count * sizeof(*grown));
    free(t->vote);
    t->vote = grown;
    t->vote[t->vote_count++] = *v;
    return EMAC_OK;
}

void ctask_result_set(struct ctask *t, const struct vote *v)
{
    t->outputs = v->outputs;
    t->loss = v->loss;
    t->accuracy = v->accuracy;
}

/* Executions wanted of a fresh task (COORD-3). */
uint32_t ctask_need(struct coordinator *c, const struct cjob *j, const struct ctask *t)
{
    const struct job *job = &j->plan->job;
    uint32_t copies = job->state_copies < STATE_COPIES_MAX ? job->state_copies : STATE_COPIES_MAX;
    uint32_t twice = job->check > 0 ? 2 : 1;
    const struct task_kind_info *info = task_kind_info(t->kind);
    if (plan_task_owner(j->plan, &t->task) != NULL)
        return 1; /* nobody else has what it takes */
    if (info->copies)
        return info->always && copies < twice ? twice : copies < 1 ? 1 : copies;
    if (info->always)
        return twice;
    return 1; /* unless the lot wills it otherwise, when there is a result (checks.h) */
}

bool ctask_wants_lease(const struct ctask *t)
{
    /* Copies of state run side by side; a check waits for the result that it checks. */
    bool side_by_side = task_kind_info(t->kind)->copies;
    uint32_t want = t->need;
    if (t->state == RESULT_OPEN || t->state == RESULT_WITHDRAWN) {
        if (!t->current || t->cut)
            return false;
        want = side_by_side ? t->need : 1;
        return t->lease_count < want;
    }
    return t->vote_count + t->lease_count < want;
}

bool ctask_finished(const struct ctask *t)
{
    return t->state == RESULT_ACCEPTED && t->vote_count >= t->need && t->lease_count == 0;
}

static enum emac_status object_make(struct ctask *t, struct emac_err *err)
{
    struct emac_buf buf;
    emac_buf_init(&buf, TASK_BYTES_MAX);
    enum emac_status st = task_encode(&t->task, &buf, &t->cid, err);
    if (st == EMAC_OK)
        t->object = emac_buf_steal(&buf, &t->object_len);
    emac_buf_release(&buf);
    return st;
}

enum emac_status ctask_from_want(struct coordinator *c, struct cjob *j, struct plan_want *w,
                                 struct ctask **out, struct emac_err *err)
{
    struct ctask *t;
    enum emac_status st = emac_alloc(&t, 1, sizeof(*t), err);
    *out = NULL;
    if (st != EMAC_OK)
        return st;
    t->kind = w->kind;
    t->step = j->st.step;
    t->range = w->range;
    t->flops = w->flops;
    t->loss = t->accuracy = -1;
    t->state = RESULT_OPEN;
    t->born_ms = now_ms(c);
    t->base = plan_base(&j->st);
    bool fits = emac_strcpy(t->slot, sizeof(t->slot), w->slot);
    EMAC_ASSERT(fits);
    t->task = w->task;
    w->task = (struct task){0};
    st = object_make(t, err);
    if (st == EMAC_OK)
        st = plan_price(&j->plan->job, t->flops, &t->units, err);
    if (st != EMAC_OK) {
        ctask_free(t);
        return st;
    }
    t->need = w->copies > 0 ? w->copies : ctask_need(c, j, t);
    *out = t;
    return EMAC_OK;
}

/* ---- rows ---- */

#define TASK_COLUMNS                                                                               \
    "cid, slot, kind, step, first, count, base, flops, units, object, state, outputs, need, loss," \
    " accuracy, draw_epoch, draw_ppm, draw_checked, draw_of, draw_class"

static enum emac_status from_row(struct coordinator *c, struct db_stmt *q, struct ctask **out,
                                 struct emac_err *err)
{
    struct ctask *t;
    enum emac_status st = emac_alloc(&t, 1, sizeof(*t), err);
    *out = NULL;
    if (st != EMAC_OK)
        return st;
    struct emac_slice object = db_blob(q, 9);
    t->cid = cid_from_text(db_text(q, 0));
    emac_strcpy(t->slot, sizeof(t->slot), db_text(q, 1));
    t->kind = (enum task_kind)db_i64(q, 2);
    t->step = (uint32_t)db_i64(q, 3);
    t->range = (struct tree_range){(uint32_t)db_i64(q, 4), (uint32_t)db_i64(q, 5)};
    t->base = cid_from_text(db_text(q, 6));
    t->flops = (uint64_t)db_i64(q, 7);
    t->units = db_i64(q, 8);
    t->state = result_state_find(db_text(q, 10));
    t->need = (uint32_t)db_i64(q, 12);
    t->loss = db_f64(q, 13);
    t->accuracy = db_f64(q, 14);
    t->drawn.epoch = (uint32_t)db_i64(q, 15);
    t->drawn.share_ppm = (uint32_t)db_i64(q, 16);
    t->drawn.checked = db_i64(q, 17) != 0;
    emac_strcpy(t->drawn.of, sizeof(t->drawn.of), db_text(q, 18));
    t->drawn.class = draw_class_find(db_text(q, 19));
    t->stored = true;
    t->due.company = true; /* whoever was there may come back */
    t->born_ms = now_ms(c);
    bool sound = outputs_parse(&t->outputs, db_text(q, 11));
    EMAC_ASSERT(sound);
    st = task_decode(&t->task, object.data, object.len, err);
    if (st == EMAC_OK)
        st = emac_alloc(&t->object, object.len, 1, err);
    if (st != EMAC_OK) {
        ctask_free(t);
        return st;
    }
    memcpy(t->object, object.data, object.len);
    t->object_len = object.len;
    *out = t;
    return EMAC_OK;
}

static enum emac_status votes_load(struct coordinator *c, struct cjob *j, struct ctask *t,
                                   struct emac_err *err)
{
    struct db_stmt *q;
    char cid[CID_TEXT_MAX];
    bool row = false;
    cid_text(cid, &t->cid);
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT node, outputs, state, loss, accuracy FROM receipts"
                                   " WHERE job = ? AND step = ? AND task = ?"
                                   " AND state <> 'void' ORDER BY at_ms",
                                   "tit", j->id, (int64_t)t->step, cid);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct vote v = {.paid = strcmp(db_text(q, 2), "unpaid") != 0,
                         .loss = db_f64(q, 3),
                         .accuracy = db_f64(q, 4)};
        bool sound = outputs_parse(&v.outputs, db_text(q, 1)) &&
                     emac_strcpy(v.did, sizeof(v.did), db_text(q, 0));
        EMAC_ASSERT(sound);
        st = ctask_vote_add(t, &v, err);
        if (st != EMAC_OK)
            db_done(q);
    }
    return st;
}

enum emac_status ctask_load(struct coordinator *c, struct cjob *j, const struct cid *cid,
                            struct ctask **out, struct emac_err *err)
{
    struct db_stmt *q;
    char text[CID_TEXT_MAX];
    cid_text(text, cid);
    *out = NULL;
    enum emac_status st =
        db_first(c->db, &q, err, "SELECT " TASK_COLUMNS " FROM tasks WHERE job = ? AND cid = ?",
                 "tt", j->id, text);
    if (st != EMAC_OK)
        return st;
    if (q == NULL)
        return emac_fail(err, EMAC_NOT_FOUND, "job '%s' has no task '%s'", j->id, text);
    st = from_row(c, q, out, err);
    db_done(q);
    if (st == EMAC_OK)
        st = votes_load(c, j, *out, err);
    if (st != EMAC_OK) {
        ctask_free(*out);
        *out = NULL;
    }
    return st;
}

static enum emac_status rows_read(struct coordinator *c, struct cjob *j, uint32_t step,
                                  const struct cid *base, struct emac_buf *rows,
                                  struct emac_err *err)
{
    struct db_stmt *q;
    char text[CID_TEXT_MAX];
    bool row = false;
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT " TASK_COLUMNS " FROM tasks"
                                   " WHERE job = ? AND step = ? AND base = ?"
                                   " ORDER BY accepted_ms, first, cid",
                                   "tit", j->id, (int64_t)step, cid_or_empty(text, base));
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct ctask *t;
        st = from_row(c, q, &t, err);
        if (st == EMAC_OK)
            st = emac_buf_append(rows, &t, sizeof(struct ctask *), err);
        if (st != EMAC_OK)
            db_done(q);
    }
    return st;
}

enum emac_status ctasks_load_round(struct coordinator *c, struct cjob *j, uint32_t step,
                                   const struct cid *base, struct ctask ***out, uint32_t *count,
                                   struct emac_err *err)
{
    struct emac_buf rows;
    emac_buf_init(&rows, ROUND_ROWS_MAX * sizeof(struct ctask *));
    enum emac_status st = rows_read(c, j, step, base, &rows, err);
    *count = (uint32_t)(rows.len / sizeof(struct ctask *));
    *out = (struct ctask **)(void *)emac_buf_steal(&rows, NULL);
    for (uint32_t i = 0; st == EMAC_OK && i < *count; i++)
        st = votes_load(c, j, (*out)[i], err);
    if (st == EMAC_OK)
        return EMAC_OK;
    for (uint32_t i = 0; i < *count; i++)
        ctask_free((*out)[i]);
    free(*out);
    *out = NULL;
    *count = 0;
    return st;
}

enum emac_status ctask_insert(struct coordinator *c, struct cjob *j, struct ctask *t,
                              struct emac_err *err)
{
    char cid[CID_TEXT_MAX], base[CID_TEXT_MAX];
    cid_text(cid, &t->cid);
    EMAC_ASSERT(!t->stored && db_in_transaction(c->db));
    return db_exec(c->db, err,
                   "INSERT INTO tasks (job, cid, slot, kind, step, first, count, base, flops,"
                   " units, object, state, outputs, need, loss, created_ms, accepted_ms)"
                   " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'open', '', ?, -1, ?, 0)",
                   "tttiiiitiibii", j->id, cid, t->slot, (int64_t)t->kind, (int64_t)t->step,
                   (int64_t)t->range.first, (int64_t)t->range.count, cid_or_empty(base, &t->base),
                   (int64_t)t->flops, t->units, (const void *)t->object, t->object_len,
                   (int64_t)t->need, (int64_t)wall_ms(c));
}

enum emac_status ctask_update(struct coordinator *c, struct cjob *j, const struct ctask *t,
                              struct emac_err *err)
{
    char cid[CID_TEXT_MAX], outputs[OUTPUTS_TEXT_MAX];
    cid_text(cid, &t->cid);
    outputs_text(outputs, &t->outputs);
    EMAC_ASSERT(t->stored && db_in_transaction(c->db));
    int64_t accepted_at = t->state == RESULT_ACCEPTED ? (int64_t)wall_ms(c) : 0;
    /* The time of the first acceptance stays. */
    return db_exec(c->db, err,
                   "UPDATE tasks SET state = ?, outputs = ?, need = ?, loss = ?, accuracy = ?,"
                   " accepted_ms = CASE WHEN accepted_ms > 0 THEN accepted_ms ELSE ? END,"
                   " draw_epoch = ?, draw_ppm = ?, draw_checked = ?, draw_of = ?, draw_class = ?"
                   " WHERE job = ? AND cid = ?",
                   "ttiddiiiitttt", result_state_name(t->state), outputs, (int64_t)t->need, t->loss,
                   t->accuracy, accepted_at, (int64_t)t->drawn.epoch, (int64_t)t->drawn.share_ppm,
                   (int64_t)t->drawn.checked, t->drawn.of, draw_class_name(t->drawn.class), j->id,
                   cid);
}

/* Receipts for anybody who wants to check them: which there are, one with all that it takes to run
 * its task again, and which task made a value that is no longer anywhere. */
#include <stdio.h>
#include <string.h>

#include "coordinator/checks/checks.h"

#define COLUMNS                                                                                    \
    "SELECT r.task, r.node, r.state, r.units, r.at_ms, r.outputs, r.object, r.signature, t.slot,"  \
    " t.step, t.object, r.job, t.outputs, t.state FROM receipts r JOIN tasks t"                    \
    " ON t.job = r.job AND t.step = r.step AND t.cid = r.task"

static json_t *outputs_json(const char *text)
{
    struct outputs o;
    json_t *map = json_object();
    bool sound = outputs_parse(&o, text);
    EMAC_ASSERT(sound);
    for (uint32_t i = 0; i < o.count; i++)
        json_object_set_new(map, o.at[i].name, api_cid(&o.at[i].cid));
    return map;
}

/* Asked after the rows were read: what came in meanwhile is not told either. No query is open then:
 * the database's lock is taken inside ours. */
static uint32_t before_of(struct coordinator *c, const char *job)
{
    os_mutex_lock(&c->lock);
    uint32_t before = told_before(c, job);
    os_mutex_unlock(&c->lock);
    return before;
}

static json_t *row_json(struct db_stmt *q)
{
    struct emac_slice object = db_blob(q, 6);
    struct cid cid = cid_of(CID_DAG_CBOR, object.data, object.len);
    bool counts =
        strcmp(db_text(q, 13), "accepted") == 0 && strcmp(db_text(q, 5), db_text(q, 12)) == 0;
    return json_pack("{s:o, s:s, s:s, s:s, s:I, s:s, s:s, s:b, s:o, s:I, s:o}", "receipt",
                     api_cid(&cid), "job", db_text(q, 11), "task", db_text(q, 0), "slot",
                     db_text(q, 8), "step", (json_int_t)db_i64(q, 9), "node", db_text(q, 1),
                     "state", db_text(q, 2), "counts", counts, "units", api_units(db_i64(q, 3)),
                     "at_ms", (json_int_t)db_i64(q, 4), "outputs", outputs_json(db_text(q, 5)));
}

/* `out` tells of a task: its job, slot and step. */
static enum emac_status told_reply(struct coordinator *c, json_t *out, struct http_response *res,
                                   struct emac_err *err)
{
    const char *job = json_string_value(json_object_get(out, "job"));
    if (json_integer_value(json_object_get(out, "step")) < before_of(c, job))
        return api_reply(res, 200, out, err);
    enum emac_status st =
        emac_fail(err, EMAC_CONFLICT,
                  "results of the step of '%s', or of one before, are being computed by others as "
                  "well: it is told when they have answered",
                  json_string_value(json_object_get(out, "slot")));
    json_decref(out);
    return st;
}

static void untold_strip(struct coordinator *c, const char *job, json_t *list)
{
    uint32_t before = before_of(c, job);
    json_t *row;
    size_t i;
    json_array_foreach(list, i, row)
    {
        if (json_integer_value(json_object_get(row, "step")) >= before)
            json_object_set_new(row, "outputs", json_null());
    }
}

struct after {
    char task[CID_TEXT_MAX], node[DID_KEY_MAX];
    int64_t step;
};

/* The last one of the page before, "task/did"; "" at first. */
static enum emac_status after_read(struct coordinator *c, const struct http_request *req,
                                   const char *job, struct after *a, struct emac_err *err)
{
    const char *after = http_query_get(req, "after");
    *a = (struct after){.step = -1};
    if (after == NULL || *after == 0)
        return EMAC_OK;
    const char *slash = strchr(after, '/');
    if (slash == NULL || (size_t)(slash - after) >= CID_TEXT_MAX ||
        !emac_strcpy(a->node, DID_KEY_MAX, slash + 1))
        return emac_fail(err, EMAC_INVALID, "parameter 'after' is not 'task/node' of a receipt");
    memcpy(a->task, after, (size_t)(slash - after));
    a->task[slash - after] = 0;
    enum emac_status st =
        db_one_i64(c->db, &a->step, err, "SELECT step FROM tasks WHERE job = ? AND cid = ?", "tt",
                   job, a->task);
    if (st == EMAC_NOT_FOUND)
        st = emac_fail(err, EMAC_INVALID, "parameter 'after' names no task of job '%s'", job);
    return st;
}

enum emac_status job_receipts_get(void *ctx, const struct http_request *req,
                                  struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    const char *job = http_path_param(req, "id");
    struct after a;
    struct db_stmt *q;
    uint64_t limit;
    bool row = false;
    json_t *list = json_array();
    enum emac_status st;
    EMAC_TRY(st, after_read(c, req, job, &a, err));
    EMAC_TRY(st, api_query_u64(req, "limit", 100, API_LIST_MAX, &limit, err));
    st = db_query(c->db, &q, err,
                  COLUMNS " WHERE r.job = ? AND (r.step, r.task, r.node) > (?, ?, ?)"
                          " ORDER BY r.step, r.task, r.node LIMIT ?",
                  "titti", job, a.step, a.task, a.node, (int64_t)limit);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row)
        json_array_append_new(list, row_json(q));
    untold_strip(c, job, list);
    if (st == EMAC_OK)
        return api_reply(res, 200, json_pack("{s:o}", "receipts", list), err);
out:
    json_decref(list);
    return st;
}

enum emac_status receipt_get(void *ctx, const struct http_request *req, struct http_response *res,
                             struct emac_err *err)
{
    struct coordinator *c = ctx;
    const char *cid = http_path_param(req, "cid");
    struct db_stmt *q = NULL;
    int64_t id = 0;
    enum emac_status st = receipt_find(c, cid, &id, err);
    if (st == EMAC_OK)
        st = db_first(c->db, &q, err, COLUMNS " WHERE r.id = ? AND r.cid = ?", "it", id, cid);
    if (st == EMAC_NOT_FOUND || (st == EMAC_OK && q == NULL))
        st = emac_fail(err, EMAC_NOT_FOUND, "there is no receipt '%.64s'", cid);
    if (st != EMAC_OK)
        return st;
    json_t *out = row_json(q);
    struct emac_slice object = db_blob(q, 6), task = db_blob(q, 10);
    json_object_set_new(out, "object", api_base64(object.data, object.len));
    json_object_set_new(out, "task_object", api_base64(task.data, task.len));
    object = db_blob(q, 7);
    json_object_set_new(out, "signature", api_base64(object.data, object.len));
    db_done(q);
    return told_reply(c, out, res, err);
}

enum emac_status maker_get(void *ctx, const struct http_request *req, struct http_response *res,
                           struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct cid cid;
    char text[CID_TEXT_MAX], like[CID_TEXT_MAX + 4];
    struct db_stmt *q;
    enum emac_status st = cid_parse(&cid, http_path_param(req, "cid"), err);
    if (st != EMAC_OK)
        return st;
    cid_text(text, &cid);
    snprintf(like, sizeof like, "%%=%s%%", text);
    st = db_first(c->db, &q, err,
                  "SELECT cid, slot, object, step FROM tasks WHERE job = ? AND state = 'accepted'"
                  " AND outputs LIKE ? ORDER BY step, slot LIMIT 1",
                  "tt", http_path_param(req, "id"), like);
    if (st == EMAC_OK && q == NULL)
        st = emac_fail(err, EMAC_NOT_FOUND, "no task of the job made '%s'", text);
    if (st != EMAC_OK)
        return st;
    struct emac_slice object = db_blob(q, 2);
    json_t *out = json_pack("{s:s, s:s, s:o, s:s, s:I}", "task", db_text(q, 0), "slot",
                            db_text(q, 1), "task_object", api_base64(object.data, object.len),
                            "job", http_path_param(req, "id"), "step", (json_int_t)db_i64(q, 3));
    db_done(q);
    return told_reply(c, out, res, err);
}

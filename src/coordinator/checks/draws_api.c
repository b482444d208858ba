/* The lots over HTTP: the chain of secrets, and what was drawn in an epoch, so that anybody can
 * draw again. The secret of an epoch is told once a whole epoch has gone by since: the checks of
 * its last results are over by then. */
#include "coordinator/checks/checks.h"

#include <stdlib.h>
#include <string.h>

#include "base/hex.h"

static json_t *hex_json(const uint8_t bytes[DRAW_SECRET])
{
    char hex[2 * DRAW_SECRET + 1];
    emac_hex(hex, bytes, DRAW_SECRET);
    return json_string(hex);
}

/* The last epoch whose secret may be told; 0: none. */
static uint32_t revealed(struct coordinator *c)
{
    uint32_t now = draws_epoch(c);
    return now > 2 ? now - 2 : 0;
}

/* Not out of the cache, which is the epoch's under way. */
static json_t *secret_json(struct coordinator *c, uint32_t epoch)
{
    uint8_t secret[DRAW_SECRET];
    if (epoch == 0 || epoch > revealed(c))
        return json_null();
    draw_secret(secret, c->draw.last, epoch);
    return hex_json(secret);
}

enum emac_status draws_get(void *ctx, const struct http_request *req, struct http_response *res,
                           struct emac_err *err)
{
    struct coordinator *c = ctx;
    uint32_t last = revealed(c);
    return api_reply(res, 200,
                     json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:o}", "anchor",
                               hex_json(c->draw.anchor), "first_ms", (json_int_t)c->draw.first_ms,
                               "epoch_ms", (json_int_t)DRAW_EPOCH_MS, "epochs",
                               (json_int_t)DRAW_EPOCHS, "epoch", (json_int_t)draws_epoch(c),
                               "revealed", (json_int_t)last, "secret", secret_json(c, last)),
                     err);
}

/* Rows come by task, and of a task by time: one object each, with all that answered it. */
static void row_add(struct db_stmt *q, json_t *list)
{
    json_t *last = json_array_get(list, json_array_size(list) - 1);
    const char *job = db_text(q, 0), *task = db_text(q, 1), *of = db_text(q, 4);
    const char *node = db_text(q, 6);
    bool same = last && strcmp(json_string_value(json_object_get(last, "job")), job) == 0 &&
                strcmp(json_string_value(json_object_get(last, "task")), task) == 0;
    if (!same) {
        last = json_pack("{s:s, s:s, s:I, s:b, s:s, s:s, s:n, s:[]}", "job", job, "task", task,
                         "share_ppm", (json_int_t)db_i64(q, 2), "checked", db_i64(q, 3) != 0, "of",
                         of, "class", db_text(q, 5), "receipt", "answered");
        json_array_append_new(list, last);
    }
    if (node[0] == '\0')
        return;
    json_array_append_new(json_object_get(last, "answered"), json_string(node));
    struct emac_slice object = db_blob(q, 7);
    struct cid receipt = cid_of(CID_DAG_CBOR, object.data, object.len);
    if (strcmp(node, of) == 0)
        json_object_set_new(last, "receipt", api_cid(&receipt));
}

static enum emac_status rows_json(struct coordinator *c, uint32_t epoch, const char *job,
                                  const char *task, int64_t limit, json_t *list,
                                  struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    int64_t after_ms = -1;
    enum emac_status st = EMAC_OK;
    if (task[0] != '\0')
        st = db_one_i64(c->db, &after_ms, err,
                        "SELECT accepted_ms FROM tasks WHERE job = ? AND cid = ?", "tt", job, task);
    if (st == EMAC_NOT_FOUND)
        st = emac_fail(err, EMAC_NOT_FOUND, "query 'after' names no task: '%.80s'", task);
    if (st == EMAC_OK)
        st = db_query(
            c->db, &q, err,
            "SELECT t.job, t.cid, t.draw_ppm, t.draw_checked, t.draw_of, t.draw_class,"
            " COALESCE(r.node, ''), r.object FROM"
            " (SELECT job, step, cid, draw_ppm, draw_checked, draw_of, draw_class, accepted_ms"
            " FROM tasks WHERE draw_epoch = ? AND draw_epoch > 0"
            " AND (accepted_ms, job, cid) > (?, ?, ?)"
            " ORDER BY accepted_ms, job, cid LIMIT ?) t"
            " LEFT JOIN receipts r ON r.job = t.job AND r.step = t.step AND r.task = t.cid"
            " ORDER BY t.accepted_ms, t.job, t.cid, r.at_ms, r.node",
            "iitti", (int64_t)epoch, after_ms, job, task, limit);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row)
        row_add(q, list);
    return st;
}

/* "after" is "<job>/<task>", the last of the page before. */
static enum emac_status after_parse(const struct http_request *req, char job[JOB_ID_MAX],
                                    const char **task, struct emac_err *err)
{
    const char *after = http_query_get(req, "after");
    job[0] = '\0';
    *task = "";
    if (after == NULL || after[0] == '\0')
        return EMAC_OK;
    const char *slash = strchr(after, '/');
    if (slash == NULL || (size_t)(slash - after) >= JOB_ID_MAX)
        return emac_fail(err, EMAC_INVALID, "query 'after' must be \"job/task\"");
    memcpy(job, after, (size_t)(slash - after));
    job[slash - after] = '\0';
    *task = slash + 1;
    return EMAC_OK;
}

static enum emac_status epoch_parse(const struct http_request *req, uint32_t *epoch,
                                    struct emac_err *err)
{
    const char *text = http_path_param(req, "epoch");
    char *end;
    unsigned long v = text[0] >= '0' && text[0] <= '9' ? strtoul(text, &end, 10) : 0;
    if (v == 0 || *end != '\0' || v > DRAW_EPOCHS)
        return emac_fail(err, EMAC_NOT_FOUND, "there is no epoch '%s': they go from 1 to %u", text,
                         DRAW_EPOCHS);
    *epoch = (uint32_t)v;
    return EMAC_OK;
}

enum emac_status draws_epoch_get(void *ctx, const struct http_request *req,
                                 struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    char job[JOB_ID_MAX];
    const char *task;
    uint32_t epoch = 0;
    uint64_t limit = API_LIST_MAX;
    enum emac_status st;
    json_t *list = json_array();
    EMAC_TRY(st, epoch_parse(req, &epoch, err));
    EMAC_TRY(st, after_parse(req, job, &task, err));
    EMAC_TRY(st, api_query_u64(req, "limit", API_LIST_MAX, API_LIST_MAX, &limit, err));
    EMAC_TRY(st, rows_json(c, epoch, job, task, (int64_t)limit, list, err));
    st = api_reply(res, 200,
                   json_pack("{s:I, s:o, s:O}", "epoch", (json_int_t)epoch, "secret",
                             secret_json(c, epoch), "draws", list),
                   err);
out:
    json_decref(list);
    return st;
}

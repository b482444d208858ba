/* What happened in a job, in sentences for its owner: rows of `logs`. */
#include "coordinator/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_TEXT_MAX 1024
#define LOGS_PAGE    200

static const char *level_name(enum log_level level)
{
    static const char *const NAMES[] = {"debug", "info", "warn", "error"};
    EMAC_ASSERT((unsigned)level < EMAC_COUNT(NAMES));
    return NAMES[level];
}

void job_log(struct coordinator *c, const char *job, enum log_level level, const char *fmt, ...)
{
    char text[LOG_TEXT_MAX];
    struct emac_err err = {0};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    log_write(level, "coordinator", "%s: %s", job, text);
    enum emac_status st = db_exec(
        c->db, &err, "INSERT INTO logs (id, job, at_ms, level, text) VALUES (?, ?, ?, ?, ?)",
        "ititt", c->log_id + 1, job, (int64_t)wall_ms(c), level_name(level), text);
    if (st == EMAC_OK)
        c->log_id++;
    else
        LOG_W("coordinator", "a log line of '%s' is lost: %s", job, err.text);
}

static json_t *line_json(struct db_stmt *q)
{
    return json_pack("{s:I, s:I, s:s, s:s}", "id", (json_int_t)db_i64(q, 0), "at_ms",
                     (json_int_t)db_i64(q, 1), "level", db_text(q, 2), "text", db_text(q, 3));
}

/* A follow_reader. */
static enum emac_status lines_read(struct coordinator *c, const char *job, int64_t *after,
                                   int64_t limit, json_t *list, struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT id, at_ms, level, text FROM logs"
                                   " WHERE job = ? AND id > ? ORDER BY id LIMIT ?",
                                   "tii", job, *after, limit);
    if (st != EMAC_OK)
        return st;
    while ((st = db_next(q, &row, err)) == EMAC_OK && row) {
        *after = db_i64(q, 0);
        json_array_append_new(list, line_json(q));
    }
    return st;
}

enum emac_status logs_get(void *ctx, const struct http_request *req, struct http_response *res,
                          struct emac_err *err)
{
    struct coordinator *c = ctx;
    const char *job = http_path_param(req, "id");
    uint64_t after, limit;
    int64_t known = 0;
    enum emac_status st = api_query_u64(req, "after", 0, INT64_MAX, &after, err);
    if (st == EMAC_OK)
        st = api_query_u64(req, "limit", LOGS_PAGE, API_LIST_MAX, &limit, err);
    if (st != EMAC_OK)
        return st;
    if (db_one_i64(c->db, &known, err, "SELECT seq FROM jobs WHERE id = ?", "t", job) != EMAC_OK)
        return emac_fail(err, EMAC_NOT_FOUND, "there is no job '%s'", job);
    if (follow_asked(req))
        return follow_start(c, lines_read, job, (int64_t)after, res, err);
    json_t *list = json_array();
    int64_t last = (int64_t)after;
    st = lines_read(c, job, &last, (int64_t)limit, list, err);
    if (st == EMAC_OK)
        return api_reply(res, 200, json_pack("{s:o}", "logs", list), err);
    json_decref(list);
    return st;
}

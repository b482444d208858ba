/* What each rig did for a job, as it told beside its receipts: seconds that its device computed,
 * bytes that it sent and received meanwhile. Nobody is paid by these numbers and nothing is decided
 * by them but what predictions go by (sched/predict.h). */
#include "coordinator/internal.h"
#include "coordinator/jobs/shares.h"

#include <string.h>

#define TOLD_MAX ((uint64_t)1 << 50) /* of one receipt: microseconds, bytes */

enum emac_status shares_read(json_t *root, struct told *out, struct emac_err *err)
{
    json_t *work = json_object_get(root, "work");
    *out = (struct told){0};
    if (work == NULL || json_is_null(work))
        return EMAC_OK;
    if (!json_is_object(work))
        return emac_fail(err, EMAC_INVALID, "field 'work' must be an object");
    enum emac_status st = api_u64_opt(work, "computed_us", TOLD_MAX, &out->computed_us, err);
    if (st == EMAC_OK)
        st = api_u64_opt(work, "sent", TOLD_MAX, &out->sent, err);
    return st == EMAC_OK ? api_u64_opt(work, "received", TOLD_MAX, &out->received, err) : st;
}

static enum emac_status row_add(struct coordinator *c, const char *job, const char *did,
                                int64_t tasks, const struct told *told, int64_t first_at,
                                int64_t last_at, struct emac_err *err)
{
    return db_exec(c->db, err,
                   "INSERT INTO shares (job, node, tasks, computed_us, sent, received, first_ms,"
                   " last_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                   " ON CONFLICT (job, node) DO UPDATE SET tasks = shares.tasks + excluded.tasks,"
                   " computed_us = shares.computed_us + excluded.computed_us,"
                   " sent = shares.sent + excluded.sent,"
                   " received = shares.received + excluded.received, last_ms = excluded.last_ms",
                   "ttiiiiii", job, did, tasks, (int64_t)told->computed_us, (int64_t)told->sent,
                   (int64_t)told->received, first_at, last_at);
}

static enum emac_status node_flush(struct coordinator *c, struct node *n, struct emac_err *err)
{
    enum emac_status st = row_add(c, n->share.job->id, n->did, n->share.tasks, &n->share.told,
                                  n->share.first_at, n->share.last_at, err);
    memset(&n->share, 0, sizeof(n->share));
    return st;
}

enum emac_status shares_add(struct coordinator *c, struct cjob *j, struct node *n, const char *did,
                            int64_t granted_at, const struct told *told, struct emac_err *err)
{
    int64_t now = (int64_t)wall_ms(c);
    enum emac_status st = EMAC_OK;
    if (n == NULL)
        return row_add(c, j->id, did, 1, told, granted_at, now, err);
    if (n->share.job != NULL && n->share.job != j)
        st = node_flush(c, n, err);
    if (n->share.job == NULL)
        n->share.first_at = granted_at;
    n->share.job = j;
    n->share.last_at = now;
    n->share.tasks++;
    n->share.told.computed_us += told->computed_us;
    n->share.told.sent += told->sent;
    n->share.told.received += told->received;
    j->figures_dirty = true;
    return st;
}

enum emac_status shares_flush(struct coordinator *c, const struct cjob *j, struct emac_err *err)
{
    struct map_entry e;
    enum emac_status st = EMAC_OK;
    for (size_t at = 0; st == EMAC_OK && map_next(&c->nodes, &at, &e);) {
        struct node *n = e.value;
        if (n->share.job == j)
            st = node_flush(c, n, err);
    }
    return st;
}

void shares_speed(struct node *n, enum sched_work work, uint64_t flops, const struct told *told)
{
    if (told->computed_us == 0 || flops == 0)
        return;
    double now = (double)flops * 1e6 / (double)told->computed_us, *mean = &n->alone_flops[work];
    *mean += *mean == 0 ? now : SCHED_EWMA_WEIGHT * (now - *mean);
}

static json_t *share_json(struct db_stmt *q, int64_t span_ms)
{
    int64_t computed_us = db_i64(q, 2);
    return json_pack("{s:s, s:I, s:I, s:f, s:I, s:I}", "node", db_text(q, 0), "tasks",
                     (json_int_t)db_i64(q, 1), "computed_us", (json_int_t)computed_us, "busy",
                     (double)computed_us / 1000 / (double)span_ms, "sent", (json_int_t)db_i64(q, 3),
                     "received", (json_int_t)db_i64(q, 4));
}

enum emac_status shares_json(struct coordinator *c, const char *job, json_t **out,
                             struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    int64_t span = 0;
    enum emac_status st = db_one_i64(
        c->db, &span, err,
        "SELECT COALESCE(MAX(last_ms) - MIN(first_ms), 0) FROM shares WHERE job = ?", "t", job);
    json_t *rigs = json_array();
    span = span > 0 ? span : 1;
    if (st == EMAC_OK)
        st = db_query(c->db, &q, err,
                      "SELECT node, tasks, computed_us, sent, received FROM shares WHERE job = ?"
                      " ORDER BY node",
                      "t", job);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row)
        json_array_append_new(rigs, share_json(q, span));
    if (st != EMAC_OK) {
        json_decref(rigs);
        return st;
    }
    *out = json_pack("{s:I, s:o}", "span_ms", (json_int_t)span, "rigs", rigs);
    return EMAC_OK;
}

/* Which rigs work at a job, and how busily: of the last minute (or since the job began), the share
 * during which a rig held a lease of it. A lease begins when the rig is told and ends with its
 * receipt, so fetching and sending are work, and waiting for something to do is not. */
#include "coordinator/internal.h"

#include <string.h>

#define WINDOW_MS 60000

struct rig_busy {
    char did[DID_KEY_MAX];
    int64_t until;   /* the leases seen so far reach to here */
    int64_t busy_ms; /* of them together: what overlaps counts once */
    int64_t tasks;   /* done in the window */
};

static void lease_add(struct rig_busy *r, int64_t from, int64_t to)
{
    if (from < r->until)
        from = r->until;
    if (to > from) {
        r->busy_ms += to - from;
        r->until = to;
    }
}

/* Rigs of the window, in order of their names, as rows of `out`. */
static enum emac_status rigs_read(struct coordinator *c, const char *job, int64_t begin,
                                  int64_t now, struct emac_buf *out, struct emac_err *err)
{
    struct db_stmt *q;
    struct rig_busy r = {0};
    bool row = false;
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT node, granted_ms, ended_ms, state FROM leases"
                                   " WHERE job = ? AND state = 'open' UNION ALL"
                                   " SELECT node, granted_ms, ended_ms, state FROM leases"
                                   " WHERE job = ? AND ended_ms > 0 AND ended_ms > ?"
                                   " ORDER BY 1, 2",
                                   "tti", job, job, begin);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        const char *node = db_text(q, 0);
        int64_t ended = db_i64(q, 2);
        if (strcmp(node, r.did) != 0) {
            if (r.did[0] && (st = emac_buf_append(out, &r, sizeof(r), err)) != EMAC_OK) {
                db_done(q);
                return st;
            }
            r = (struct rig_busy){.until = begin};
            emac_strcpy(r.did, sizeof(r.did), node);
        }
        lease_add(&r, db_i64(q, 1), ended && ended < now ? ended : now);
        r.tasks += strcmp(db_text(q, 3), "done") == 0;
    }
    return st == EMAC_OK && r.did[0] ? emac_buf_append(out, &r, sizeof(r), err) : st;
}

/* After the query has ended: the lock is never taken while the database is held. */
static json_t *rigs_json(struct coordinator *c, const struct rig_busy *r, size_t count,
                         int64_t window)
{
    json_t *list = json_array();
    os_mutex_lock(&c->lock);
    for (size_t i = 0; i < count; i++) {
        const struct node *n = node_find(c, r[i].did);
        bool live = n && node_is_live(c, n, now_ms(c));
        json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:f, s:I}", "node", r[i].did, "name",
                                              n ? n->name : "", "live", live, "busy",
                                              (double)r[i].busy_ms / (double)window, "tasks",
                                              (json_int_t)r[i].tasks));
    }
    os_mutex_unlock(&c->lock);
    return list;
}

enum emac_status job_rigs_get(void *ctx, const struct http_request *req, struct http_response *res,
                              struct emac_err *err)
{
    struct coordinator *c = ctx;
    const char *id = http_path_param(req, "id");
    int64_t created = 0, now = (int64_t)wall_ms(c);
    if (db_one_i64(c->db, &created, err, "SELECT created_ms FROM jobs WHERE id = ?", "t", id) !=
        EMAC_OK)
        return emac_fail(err, EMAC_NOT_FOUND, "there is no job '%.100s'", id);
    int64_t window = now - created < WINDOW_MS ? now - created : WINDOW_MS;
    window = window > 0 ? window : 1;
    struct emac_buf rigs;
    emac_buf_init(&rigs, NODES_MAX * sizeof(struct rig_busy));
    enum emac_status st = rigs_read(c, id, now - window, now, &rigs, err);
    if (st == EMAC_OK) {
        const struct rig_busy *r = (const struct rig_busy *)(const void *)rigs.data;
        json_t *list = rigs_json(c, r, rigs.len / sizeof(*r), window);
        st = api_reply(res, 200,
                       json_pack("{s:I, s:o}", "window_ms", (json_int_t)window, "rigs", list), err);
    }
    emac_buf_release(&rigs);
    return st;
}

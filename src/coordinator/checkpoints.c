/* Checkpoints: parameters and optimiser state after some steps, on their way from a rig's memory
 * into the depot.
 *
 *   wanted    the step is accepted; its bundles are asked of a rig that holds them
 *   complete  both bundles and the model's directory lie in the depot, pinned under the job's id
 *   old       further back than the last CHECKPOINTS_KEPT complete ones: no longer pinned
 *   stale     of a lineage that was left: unpinned, then its row goes
 * The list in memory holds the checkpoints of the lineage, by step. */
#include "coordinator/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORK_MAX     16
#define ASK_AGAIN_MS 30000
#define ASK_MAX      8

static const char *const STATE_NAMES[] = {"wanted", "complete", "old", "stale"};

/* ---- the list ---- */

static struct checkpoint *find_step(struct cjob *j, uint32_t step)
{
    for (uint32_t i = j->checkpoint_count; i-- > 0;)
        if (j->checkpoint[i].step == step)
            return &j->checkpoint[i];
    return NULL;
}

/* The CID of the model directory around `params`; nothing is stored. */
static struct cid model_cid(const struct cjob *j, const struct cid *params)
{
    struct cid model = {0};
    struct job_block *block = NULL;
    size_t count = 0;
    struct emac_err err = {0};
    if (plan_model(j->plan, params, &model, &block, &count, &err) != EMAC_OK)
        LOG_W("coordinator", "cannot lay out the model of '%s': %s", j->id, err.text);
    else
        job_blocks_free(block, count);
    return model;
}

void checkpoint_note(struct cjob *j, uint32_t step, const struct cid *params, const struct cid *opt)
{
    if (find_step(j, step))
        return;
    if (j->checkpoint_count == j->checkpoint_cap) {
        uint32_t cap = j->checkpoint_cap ? j->checkpoint_cap * 2 : 16;
        struct checkpoint *grown;
        enum emac_status st = emac_alloc(&grown, cap, sizeof(*grown), NULL);
        EMAC_ASSERT(st == EMAC_OK); /* a few hundred bytes a checkpoint */
        if (j->checkpoint_count)
            memcpy(grown, j->checkpoint, j->checkpoint_count * sizeof(*grown));
        free(j->checkpoint);
        j->checkpoint = grown;
        j->checkpoint_cap = cap;
    }
    j->checkpoint[j->checkpoint_count++] = (struct checkpoint){
        .step = step, .params = *params, .opt = *opt, .model = model_cid(j, params)};
}

struct checkpoint *checkpoint_final(struct cjob *j)
{
    return find_step(j, j->plan->job.optimiser.steps);
}

/* ---- rows ---- */

enum emac_status checkpoint_add(struct coordinator *c, struct cjob *j, uint32_t step,
                                const struct cid *params, const struct cid *opt,
                                struct emac_err *err)
{
    char p[CID_TEXT_MAX], o[CID_TEXT_MAX], m[CID_TEXT_MAX];
    const struct cid model = model_cid(j, params);
    cid_text(p, params);
    cid_text(o, opt);
    return db_exec(c->db, err,
                   "INSERT INTO checkpoints (job, step, params, opt, model, state)"
                   " VALUES (?, ?, ?, ?, ?, 'wanted') ON CONFLICT (job, step) DO UPDATE SET"
                   " params = excluded.params, opt = excluded.opt, model = excluded.model,"
                   " state = 'wanted'"
                   " WHERE checkpoints.params <> excluded.params OR checkpoints.state = 'stale'",
                   "tittt", j->id, (int64_t)step, p, o, cid_or_empty(m, &model));
}

static enum emac_status state_write(struct coordinator *c, const struct cjob *j,
                                    const struct checkpoint *k, struct emac_err *err)
{
    char model[CID_TEXT_MAX];
    return db_exec(c->db, err,
                   "UPDATE checkpoints SET state = ?, model = ? WHERE job = ? AND step = ?", "ttti",
                   STATE_NAMES[k->state], cid_or_empty(model, &k->model), j->id, (int64_t)k->step);
}

/* The row's pins go, and the row with them. */
static enum emac_status row_drop(struct coordinator *c, struct cjob *j, const struct checkpoint *k,
                                 struct emac_err *err)
{
    unpin_later(c, j->id, &k->params);
    unpin_later(c, j->id, &k->opt);
    unpin_later(c, j->id, &k->model);
    return db_exec(c->db, err, "DELETE FROM checkpoints WHERE job = ? AND step = ?", "ti", j->id,
                   (int64_t)k->step);
}

static enum emac_status rows_read(struct coordinator *c, const char *job, struct emac_buf *rows,
                                  struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT step, params, opt, model, state FROM checkpoints"
                                   " WHERE job = ? ORDER BY step",
                                   "t", job);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct checkpoint k = {.step = (uint32_t)db_i64(q, 0),
                               .params = cid_from_text(db_text(q, 1)),
                               .opt = cid_from_text(db_text(q, 2)),
                               .model = cid_from_text(db_text(q, 3))};
        for (uint32_t i = 0; i < EMAC_COUNT(STATE_NAMES); i++)
            if (strcmp(STATE_NAMES[i], db_text(q, 4)) == 0)
                k.state = i;
        k.params_stored = k.opt_stored = k.model_stored = k.state == CHECKPOINT_COMPLETE;
        st = emac_buf_append(rows, &k, sizeof(k), err);
        if (st != EMAC_OK)
            db_done(q);
    }
    return st;
}

/* Marry the rows with the lineage's list: what only the rows know is stale; the last ones that only
 * the lineage knows (they were dropped when it was left for a while) get rows again. */
enum emac_status checkpoints_load(struct coordinator *c, struct cjob *j, struct emac_err *err)
{
    struct emac_buf rows;
    emac_buf_init(&rows, JOB_STEPS_MAX * sizeof(struct checkpoint) / 8);
    enum emac_status st = rows_read(c, j->id, &rows, err);
    const struct checkpoint *r = (const struct checkpoint *)(const void *)rows.data;
    size_t count = rows.len / sizeof(*r);
    for (uint32_t i = 0; i < j->checkpoint_count; i++)
        j->checkpoint[i].state = CHECKPOINT_STALE; /* until its row is seen */
    for (size_t i = 0; st == EMAC_OK && i < count; i++) {
        struct checkpoint *k = find_step(j, r[i].step);
        if (k == NULL || !cid_equal(&k->params, &r[i].params)) {
            st = row_drop(c, j, &r[i], err);
            continue;
        }
        *k = r[i];
        if (k->params_stored)
            cid_set_add(&c->depot_known, &k->params);
        if (k->opt_stored)
            cid_set_add(&c->depot_known, &k->opt);
    }
    for (uint32_t i = 0; st == EMAC_OK && i < j->checkpoint_count; i++) {
        struct checkpoint *k = &j->checkpoint[i];
        if (k->state != CHECKPOINT_STALE)
            continue;
        bool recent = i + CHECKPOINTS_KEPT >= j->checkpoint_count;
        k->state = recent ? CHECKPOINT_WANTED : CHECKPOINT_OLD;
        if (recent)
            st = checkpoint_add(c, j, k->step, &k->params, &k->opt, err);
    }
    emac_buf_release(&rows);
    return st;
}

/* ---- asking rigs ---- */

/* Is it this rig's turn to deposit? Somebody who was asked gets time to do it. */
static bool ask(struct coordinator *c, struct node *n, const struct cid *cid, struct node **asked,
                uint64_t *asked_ms)
{
    uint64_t now = now_ms(c);
    if (!node_holds(n, cid))
        return false;
    bool free_to_ask = *asked == NULL || *asked == n || !node_is_live(c, *asked, now) ||
                       !node_holds(*asked, cid) || now - *asked_ms > ASK_AGAIN_MS;
    if (!free_to_ask)
        return false;
    if (*asked != n) {
        *asked = n;
        *asked_ms = now;
    }
    return true;
}

static void list_cid(json_t *list, const struct cid *cid)
{
    if (json_array_size(list) < ASK_MAX)
        json_array_append_new(list, api_cid(cid));
}

void deposits_for(struct coordinator *c, struct node *n, json_t *list)
{
    for (uint32_t i = 0; i < c->job_count; i++) {
        struct cjob *j = c->job[i];
        for (uint32_t k = j->checkpoint_count; k-- > 0;) {
            struct checkpoint *p = &j->checkpoint[k];
            if (p->state == CHECKPOINT_COMPLETE)
                break; /* older ones serve nobody */
            if (p->state != CHECKPOINT_WANTED)
                continue;
            if (!p->params_stored && ask(c, n, &p->params, &p->asked[0], &p->asked_ms[0]))
                list_cid(list, &p->params);
            if (!p->opt_stored && ask(c, n, &p->opt, &p->asked[1], &p->asked_ms[1]))
                list_cid(list, &p->opt);
        }
        for (uint32_t k = 0; k < j->missing_count; k++)
            if (ask(c, n, &j->missing[k].cid, &j->missing[k].asked, &j->missing[k].asked_ms))
                list_cid(list, &j->missing[k].cid);
    }
}

bool deposit_wanted(struct coordinator *c, const struct cid *cid, char job[JOB_ID_MAX])
{
    for (uint32_t i = 0; i < c->job_count; i++) {
        const struct cjob *j = c->job[i];
        for (uint32_t k = j->checkpoint_count; k-- > 0;)
            if (j->checkpoint[k].state == CHECKPOINT_WANTED &&
                (cid_equal(&j->checkpoint[k].params, cid) ||
                 cid_equal(&j->checkpoint[k].opt, cid))) {
                emac_strcpy(job, JOB_ID_MAX, j->id);
                return true;
            }
    }
    return false;
}

/* ---- the ticker's part: depot work without the lock ---- */

struct work {
    char job[JOB_ID_MAX];
    uint32_t step;
    struct cid params, opt, model;
    bool params_stored, opt_stored, model_stored;
    struct job_block *block;
    size_t block_count;
};

static uint32_t work_gather(struct coordinator *c, struct work *w)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->job_count; i++) {
        struct cjob *j = c->job[i];
        for (uint32_t k = j->checkpoint_count; k-- > 0 && n < WORK_MAX;) {
            struct checkpoint *p = &j->checkpoint[k];
            if (p->state == CHECKPOINT_COMPLETE)
                break;
            bool look = c->depot_dirty || !p->model_stored;
            if (p->state != CHECKPOINT_WANTED || !look)
                continue;
            w[n] = (struct work){.step = p->step, .params = p->params, .opt = p->opt};
            emac_strcpy(w[n].job, sizeof(w[n].job), j->id);
            struct emac_err err = {0};
            if (plan_model(j->plan, &p->params, &w[n].model, &w[n].block, &w[n].block_count,
                           &err) == EMAC_OK)
                n++;
            else
                LOG_W("coordinator", "cannot lay out the model of '%s': %s", j->id, err.text);
        }
    }
    c->depot_dirty = false;
    return n;
}

static bool is_stored(struct coordinator *c, const struct cid *cid)
{
    struct cid missing;
    size_t count = 1;
    return store_dag_missing(c->depot, cid, &missing, 1, &count, NULL) == EMAC_OK && count == 0;
}

static bool pin(struct coordinator *c, const char *job, const struct cid *cid)
{
    struct emac_err err = {0};
    if (store_pin(c->depot, job, cid, &err) == EMAC_OK)
        return true;
    LOG_W("coordinator", "cannot pin for '%s', will retry: %s", job, err.text);
    return false;
}

static void work_do(struct coordinator *c, struct work *w)
{
    struct emac_err err = {0};
    struct store_building building;
    enum emac_status st = EMAC_OK;
    store_building_begin(c->depot, &building);
    for (size_t i = 0; st == EMAC_OK && i < w->block_count; i++)
        st =
            store_block_put_as(c->depot, &w->block[i].cid, w->block[i].data, w->block[i].len, &err);
    if (st != EMAC_OK)
        LOG_W("coordinator", "cannot store the model's files of '%s': %s", w->job, err.text);
    w->params_stored = is_stored(c, &w->params) && pin(c, w->job, &w->params);
    w->opt_stored = is_stored(c, &w->opt) && pin(c, w->job, &w->opt);
    w->model_stored = st == EMAC_OK && (!w->params_stored || pin(c, w->job, &w->model));
    store_building_end(c->depot, &building);
    job_blocks_free(w->block, w->block_count);
}

/* All but the last few complete ones lose their pins. */
static void drop_old(struct coordinator *c, struct cjob *j)
{
    uint32_t complete = 0;
    for (uint32_t i = j->checkpoint_count; i-- > 0;) {
        struct checkpoint *k = &j->checkpoint[i];
        bool whole = k->state == CHECKPOINT_COMPLETE;
        if (k->state == CHECKPOINT_OLD || (whole && ++complete <= CHECKPOINTS_KEPT) ||
            (!whole && complete == 0))
            continue;
        k->state = CHECKPOINT_OLD;
        k->params_stored = k->opt_stored = k->model_stored = false;
        if (state_write(c, j, k, NULL) != EMAC_OK)
            continue; /* the next completion tries again */
        unpin_later(c, j->id, &k->params);
        unpin_later(c, j->id, &k->opt);
        unpin_later(c, j->id, &k->model);
    }
}

static void work_note(struct coordinator *c, const struct work *w)
{
    struct cjob *j = job_find(c, w->job);
    struct checkpoint *k = j ? find_step(j, w->step) : NULL;
    struct emac_err err = {0};
    if (k == NULL || k->state != CHECKPOINT_WANTED || !cid_equal(&k->params, &w->params))
        return; /* the job went on without it */
    bool progress = (w->model_stored && !k->model_stored) ||
                    (w->params_stored && !k->params_stored) || (w->opt_stored && !k->opt_stored);
    if (!progress)
        return;
    k->model_stored = k->model_stored || w->model_stored;
    k->params_stored = w->params_stored;
    k->opt_stored = w->opt_stored;
    if (k->params_stored)
        cid_set_add(&c->depot_known, &k->params);
    if (k->opt_stored)
        cid_set_add(&c->depot_known, &k->opt);
    if (k->params_stored && k->opt_stored && k->model_stored)
        k->state = CHECKPOINT_COMPLETE;
    if (state_write(c, j, k, &err) != EMAC_OK) {
        LOG_W("coordinator", "cannot note a checkpoint of '%s': %s", j->id, err.text);
        k->state = CHECKPOINT_WANTED;
        c->depot_dirty = true;
        return;
    }
    if (k->state == CHECKPOINT_COMPLETE) {
        char text[CID_TEXT_MAX];
        cid_text(text, &k->model);
        job_log(c, j->id, LOG_INFO, "checkpoint after step %u is in the depot: model %s", k->step,
                text);
        drop_old(c, j);
    }
    os_cond_broadcast(&c->changed);
}

static void unpins_do(struct coordinator *c)
{
    struct emac_buf list;
    os_mutex_lock(&c->lock);
    list = c->unpins;
    emac_buf_init(&c->unpins, list.max);
    os_mutex_unlock(&c->lock);
    const struct unpin *u = (const struct unpin *)(const void *)list.data;
    for (size_t i = 0; i < list.len / sizeof(*u); i++) {
        enum emac_status st = store_unpin(c->depot, u[i].name, &u[i].cid, NULL);
        if (st != EMAC_OK && st != EMAC_NOT_FOUND)
            LOG_W("coordinator", "cannot take away a pin of '%s': its blocks stay", u[i].name);
    }
    emac_buf_release(&list);
}

/* Outputs of rigs that cannot be reached pass through the depot unpinned; the oldest go when many
 * have come. */
static void passing_collect(struct coordinator *c)
{
    struct store_stats stats;
    uint64_t freed;
    os_mutex_lock(&c->lock);
    uint64_t passing = c->passing_bytes;
    if (passing > PASSING_BYTES_MAX)
        c->passing_bytes = PASSING_BYTES_MAX / 2;
    os_mutex_unlock(&c->lock);
    if (passing <= PASSING_BYTES_MAX)
        return;
    store_stats(c->depot, &stats);
    uint64_t excess = passing - PASSING_BYTES_MAX / 2;
    struct emac_err err = {0};
    if (store_gc(c->depot, stats.disk_bytes > excess ? stats.disk_bytes - excess : 0, &freed,
                 &err) != EMAC_OK)
        LOG_W("coordinator", "cannot collect the depot: %s", err.text);
}

void checkpoints_work(struct coordinator *c)
{
    struct work w[WORK_MAX];
    unpins_do(c);
    passing_collect(c);
    os_mutex_lock(&c->lock);
    uint32_t n = work_gather(c, w);
    os_mutex_unlock(&c->lock);
    for (uint32_t i = 0; i < n; i++)
        work_do(c, &w[i]);
    if (n == 0)
        return;
    os_mutex_lock(&c->lock);
    for (uint32_t i = 0; i < n; i++)
        work_note(c, &w[i]);
    os_mutex_unlock(&c->lock);
}

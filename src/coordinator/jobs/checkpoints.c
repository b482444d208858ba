/* Checkpoints: the values of the state after some rounds, on their way from rigs' memories into the
 * depot.
 *
 *   wanted    the step is accepted; its bundles are asked of a rig that holds them
 *   complete  its bundles and the model's directory lie in the depot, pinned under the job's id
 *   old       further back than the last CHECKPOINTS_KEPT complete ones: no longer pinned
 *   stale     of a lineage that was left: unpinned, then its row goes
 * The list in memory holds the checkpoints of the lineage, by step. */
#include "coordinator/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORK_MAX            16
#define ASK_AGAIN_MS        30000
#define CHECKPOINT_ROWS_MAX 65536

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

const struct kept *checkpoint_kept(const struct checkpoint *k, const char *name)
{
    for (uint32_t i = 0; i < k->kept_count; i++)
        if (strcmp(k->kept[i].value.name, name) == 0)
            return &k->kept[i];
    return NULL;
}

const struct kept *checkpoint_params(const struct checkpoint *k)
{
    const struct kept *best = checkpoint_kept(k, "best"), *params = checkpoint_kept(k, "params");
    EMAC_ASSERT(params != NULL); /* planners keep no state without them */
    return best != NULL ? best : params;
}

static bool keeps(const struct checkpoint *k, const struct cid *cid)
{
    for (uint32_t i = 0; i < k->kept_count; i++)
        if (cid_equal(&k->kept[i].value.cid, cid))
            return true;
    return false;
}

static bool same_values(const struct checkpoint *a, const struct checkpoint *b)
{
    if (a->kept_count != b->kept_count)
        return false;
    for (uint32_t i = 0; i < a->kept_count; i++)
        if (strcmp(a->kept[i].value.name, b->kept[i].value.name) != 0 ||
            !cid_equal(&a->kept[i].value.cid, &b->kept[i].value.cid))
            return false;
    return true;
}

static void stored_all(struct checkpoint *k, bool stored)
{
    for (uint32_t i = 0; i < k->kept_count; i++)
        k->kept[i].stored = stored;
    k->model_stored = stored;
}

static bool is_whole(const struct checkpoint *k)
{
    for (uint32_t i = 0; i < k->kept_count; i++)
        if (!k->kept[i].stored)
            return false;
    return k->model_stored;
}

/* The values, as far as they are known to be there from before. */
static void values_note(struct cjob *j, struct checkpoint *k, const struct plan_state *st)
{
    const struct checkpoint was = *k;
    *k = (struct checkpoint){.step = st->step, .kept_count = st->value_count};
    for (uint32_t i = 0; i < st->value_count; i++) {
        k->kept[i].value = st->value[i];
        for (uint32_t n = 0; n < was.kept_count; n++)
            if (cid_equal(&was.kept[n].value.cid, &st->value[i].cid))
                k->kept[i].stored |= was.kept[n].stored;
    }
    k->model = model_cid(j, &checkpoint_params(k)->value.cid);
}

static bool has_values(const struct checkpoint *k, const struct plan_state *st)
{
    bool same = k->kept_count == st->value_count;
    for (uint32_t i = 0; same && i < k->kept_count; i++)
        same = strcmp(k->kept[i].value.name, st->value[i].name) == 0 &&
               cid_equal(&k->kept[i].value.cid, &st->value[i].cid);
    return same;
}

void checkpoint_note(struct cjob *j, const struct plan_state *st)
{
    struct checkpoint *there = find_step(j, st->step);
    if (there != NULL && has_values(there, st))
        return;
    if (there != NULL) { /* the last evaluation found another best */
        values_note(j, there, st);
        return;
    }
    if (j->checkpoint_count == j->checkpoint_cap) {
        uint32_t cap = j->checkpoint_cap ? j->checkpoint_cap * 2 : 16;
        struct checkpoint *grown;
        enum emac_status s = emac_alloc(&grown, cap, sizeof(*grown), NULL);
        EMAC_ASSERT(s == EMAC_OK); /* a few kilobytes a checkpoint */
        if (j->checkpoint_count)
            memcpy(grown, j->checkpoint, j->checkpoint_count * sizeof(*grown));
        free(j->checkpoint);
        j->checkpoint = grown;
        j->checkpoint_cap = cap;
    }
    struct checkpoint *k = &j->checkpoint[j->checkpoint_count++];
    *k = (struct checkpoint){0};
    values_note(j, k, st);
}

struct checkpoint *checkpoint_final(struct cjob *j)
{
    return plan_phase_of(j->plan, &j->st) > PLAN_TRAIN ? find_step(j, j->st.step) : NULL;
}

/* ---- rows ---- */

#define KEPT_TEXT_MAX (PLAN_VALUES_MAX * (TASK_NAME_MAX + CID_TEXT_MAX + 2))

/* "name=cid name=cid", as the column holds it. */
static void kept_text(char out[KEPT_TEXT_MAX], const struct checkpoint *k)
{
    size_t n = 0;
    out[0] = 0;
    for (uint32_t i = 0; i < k->kept_count; i++) {
        char cid[CID_TEXT_MAX];
        cid_text(cid, &k->kept[i].value.cid);
        n += (size_t)snprintf(out + n, KEPT_TEXT_MAX - n, "%s%s=%s", i > 0 ? " " : "",
                              k->kept[i].value.name, cid);
        EMAC_ASSERT(n < KEPT_TEXT_MAX);
    }
}

static void kept_add(struct checkpoint *k, const char *name, size_t length, const char *cid)
{
    EMAC_ASSERT(k->kept_count < PLAN_VALUES_MAX && length < TASK_NAME_MAX);
    struct plan_value *v = &k->kept[k->kept_count++].value;
    memcpy(v->name, name, length);
    v->cid = cid_from_text(cid);
}

void checkpoint_parse(struct checkpoint *k, const char *text)
{
    while (*text) {
        char cid[CID_TEXT_MAX];
        const char *equals = strchr(text, '=');
        EMAC_ASSERT(equals != NULL);
        size_t n = strcspn(equals + 1, " ");
        EMAC_ASSERT(n < sizeof(cid));
        memcpy(cid, equals + 1, n);
        cid[n] = 0;
        kept_add(k, text, (size_t)(equals - text), cid);
        text = equals + 1 + n;
        text += *text == ' ';
    }
}

/* in tx */
static enum emac_status row_add(struct coordinator *c, struct cjob *j, const struct checkpoint *k,
                                struct emac_err *err)
{
    char model[CID_TEXT_MAX], *kept;
    enum emac_status st = emac_alloc(&kept, KEPT_TEXT_MAX, 1, err);
    if (st != EMAC_OK)
        return st;
    kept_text(kept, k);
    st = db_exec(c->db, err,
                 "INSERT INTO checkpoints (job, step, params, opt, model, kept, state)"
                 " VALUES (?, ?, '', '', ?, ?, 'wanted') ON CONFLICT (job, step) DO UPDATE SET"
                 " kept = excluded.kept, model = excluded.model, state = 'wanted'"
                 " WHERE checkpoints.kept <> excluded.kept OR checkpoints.state = 'stale'",
                 "titt", j->id, (int64_t)k->step, cid_or_empty(model, &k->model), kept);
    free(kept);
    return st;
}

enum emac_status checkpoint_write(struct coordinator *c, struct cjob *j, uint32_t step,
                                  struct emac_err *err)
{
    const struct checkpoint *k = find_step(j, step);
    EMAC_ASSERT(k != NULL);
    enum emac_status st = db_begin(c->db, err);
    if (st != EMAC_OK)
        return st;
    st = row_add(c, j, k, err);
    if (st == EMAC_OK)
        return db_commit(c->db, err);
    db_rollback(c->db);
    return st;
}

static enum emac_status state_write(struct coordinator *c, const struct cjob *j,
                                    const struct checkpoint *k, struct emac_err *err)
{
    char model[CID_TEXT_MAX];
    return db_exec(c->db, err,
                   "UPDATE checkpoints SET state = ?, model = ? WHERE job = ? AND step = ?", "ttti",
                   STATE_NAMES[k->state], cid_or_empty(model, &k->model), j->id, (int64_t)k->step);
}

/* Does another checkpoint that stays need it? The best parameters are in many. */
static bool is_shared(const struct cjob *j, const struct checkpoint *k, const struct cid *cid)
{
    for (uint32_t i = 0; i < j->checkpoint_count; i++) {
        const struct checkpoint *other = &j->checkpoint[i];
        if (other->step == k->step || other->state > CHECKPOINT_COMPLETE)
            continue;
        if (keeps(other, cid) || cid_equal(&other->model, cid))
            return true;
    }
    return false;
}

static void unpin_all(struct coordinator *c, struct cjob *j, const struct checkpoint *k)
{
    for (uint32_t i = 0; i < k->kept_count; i++)
        if (!is_shared(j, k, &k->kept[i].value.cid))
            unpin_later(c, j->id, &k->kept[i].value.cid);
    if (!is_shared(j, k, &k->model))
        unpin_later(c, j->id, &k->model);
}

/* The row's pins go, and the row with them. */
static enum emac_status row_drop(struct coordinator *c, struct cjob *j, const struct checkpoint *k,
                                 struct emac_err *err)
{
    unpin_all(c, j, k);
    return db_exec(c->db, err, "DELETE FROM checkpoints WHERE job = ? AND step = ?", "ti", j->id,
                   (int64_t)k->step);
}

static enum emac_status rows_read(struct coordinator *c, const char *job, struct emac_buf *rows,
                                  struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT step, model, kept, state FROM checkpoints"
                                   " WHERE job = ? ORDER BY step",
                                   "t", job);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct checkpoint k = {.step = (uint32_t)db_i64(q, 0),
                               .model = cid_from_text(db_text(q, 1))};
        checkpoint_parse(&k, db_text(q, 2));
        for (uint32_t i = 0; i < EMAC_COUNT(STATE_NAMES); i++)
            if (strcmp(STATE_NAMES[i], db_text(q, 3)) == 0)
                k.state = i;
        stored_all(&k, k.state == CHECKPOINT_COMPLETE);
        st = emac_buf_append(rows, &k, sizeof(k), err);
        if (st != EMAC_OK)
            db_done(q);
    }
    return st;
}

/* What of it lies in the depot whole. */
static void known_add(struct coordinator *c, const struct checkpoint *k)
{
    for (uint32_t i = 0; i < k->kept_count; i++)
        if (k->kept[i].stored)
            cid_set_add(&c->depot_known, &k->kept[i].value.cid);
}

/* Marry the rows with the lineage's list: what only the rows know is stale; the last ones that only
 * the lineage knows (they were dropped when it was left for a while) get rows again. */
enum emac_status checkpoints_load(struct coordinator *c, struct cjob *j, struct emac_err *err)
{
    struct emac_buf rows;
    emac_buf_init(&rows, CHECKPOINT_ROWS_MAX * sizeof(struct checkpoint));
    enum emac_status st = rows_read(c, j->id, &rows, err);
    const struct checkpoint *r = (const struct checkpoint *)(const void *)rows.data;
    size_t count = rows.len / sizeof(*r);
    for (uint32_t i = 0; i < j->checkpoint_count; i++)
        j->checkpoint[i].state = CHECKPOINT_STALE; /* until its row is seen */
    for (size_t i = 0; i < count && st == EMAC_OK; i++) {
        struct checkpoint *k = find_step(j, r[i].step);
        if (k == NULL || !same_values(k, &r[i]))
            continue;
        *k = r[i];
        known_add(c, k);
    }
    for (size_t i = 0; st == EMAC_OK && i < count; i++) {
        struct checkpoint *k = find_step(j, r[i].step);
        if (k == NULL || !same_values(k, &r[i]))
            st = row_drop(c, j, &r[i], err);
    }
    for (uint32_t i = 0; st == EMAC_OK && i < j->checkpoint_count; i++) {
        struct checkpoint *k = &j->checkpoint[i];
        if (k->state != CHECKPOINT_STALE)
            continue;
        bool recent = i + CHECKPOINTS_KEPT >= j->checkpoint_count;
        k->state = recent ? CHECKPOINT_WANTED : CHECKPOINT_OLD;
        if (recent)
            st = row_add(c, j, k, err);
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

static void list_cid(struct cid *list, uint32_t *count, const struct cid *cid)
{
    if (*count < DEPOSITS_ASKED_MAX)
        list[(*count)++] = *cid;
}

uint32_t deposits_for(struct coordinator *c, struct node *n, struct cid out[DEPOSITS_ASKED_MAX])
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < c->job_count; i++) {
        struct cjob *j = c->job[i];
        for (uint32_t k = j->checkpoint_count; k-- > 0;) {
            struct checkpoint *p = &j->checkpoint[k];
            if (p->state == CHECKPOINT_COMPLETE)
                break; /* older ones serve nobody */
            if (p->state != CHECKPOINT_WANTED)
                continue;
            for (uint32_t v = 0; v < p->kept_count; v++) {
                struct kept *x = &p->kept[v];
                if (!x->stored && ask(c, n, &x->value.cid, &x->asked, &x->asked_ms))
                    list_cid(out, &count, &x->value.cid);
            }
        }
        for (uint32_t k = 0; k < j->missing_count; k++)
            if (ask(c, n, &j->missing[k].cid, &j->missing[k].asked, &j->missing[k].asked_ms))
                list_cid(out, &count, &j->missing[k].cid);
    }
    return count;
}

bool deposit_wanted(struct coordinator *c, const struct cid *cid, char job[JOB_ID_MAX])
{
    for (uint32_t i = 0; i < c->job_count; i++) {
        const struct cjob *j = c->job[i];
        for (uint32_t k = j->checkpoint_count; k-- > 0;)
            if (j->checkpoint[k].state == CHECKPOINT_WANTED && keeps(&j->checkpoint[k], cid)) {
                emac_strcpy(job, JOB_ID_MAX, j->id);
                return true;
            }
    }
    return false;
}

/* ---- the ticker's part: depot work without the lock ---- */

struct work {
    char job[JOB_ID_MAX];
    struct checkpoint k; /* a copy */
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
            w[n] = (struct work){.k = *p};
            emac_strcpy(w[n].job, sizeof(w[n].job), j->id);
            struct emac_err err = {0};
            if (plan_model(j->plan, &checkpoint_params(p)->value.cid, &w[n].k.model, &w[n].block,
                           &w[n].block_count, &err) == EMAC_OK)
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
    for (uint32_t i = 0; i < w->k.kept_count; i++) {
        const struct cid *cid = &w->k.kept[i].value.cid;
        w->k.kept[i].stored = is_stored(c, cid) && pin(c, w->job, cid);
    }
    bool params = checkpoint_params(&w->k)->stored;
    w->k.model_stored = st == EMAC_OK && (!params || pin(c, w->job, &w->k.model));
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
        stored_all(k, false);
        if (state_write(c, j, k, NULL) != EMAC_OK)
            continue; /* the next completion tries again */
        unpin_all(c, j, k);
    }
}

/* true when the depot has more of it than was known */
static bool stored_merge(struct checkpoint *k, const struct checkpoint *found)
{
    bool progress = found->model_stored && !k->model_stored;
    for (uint32_t i = 0; i < k->kept_count; i++) {
        progress = progress || (found->kept[i].stored && !k->kept[i].stored);
        k->kept[i].stored = found->kept[i].stored;
    }
    k->model_stored = k->model_stored || found->model_stored;
    return progress;
}

static void work_note(struct coordinator *c, const struct work *w)
{
    struct cjob *j = job_find(c, w->job);
    struct checkpoint *k = j ? find_step(j, w->k.step) : NULL;
    struct emac_err err = {0};
    if (k == NULL || k->state != CHECKPOINT_WANTED || !same_values(k, &w->k))
        return; /* the job went on without it */
    if (!stored_merge(k, &w->k))
        return;
    known_add(c, k);
    if (is_whole(k))
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
    coordinator_changed(c);
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
    struct work *w;
    unpins_do(c);
    passing_collect(c);
    if (emac_alloc(&w, WORK_MAX, sizeof(*w), NULL) != EMAC_OK)
        return; /* the next tick tries again */
    os_mutex_lock(&c->lock);
    uint32_t n = work_gather(c, w);
    os_mutex_unlock(&c->lock);
    for (uint32_t i = 0; i < n; i++)
        work_do(c, &w[i]);
    os_mutex_lock(&c->lock);
    for (uint32_t i = 0; i < n; i++)
        work_note(c, &w[i]);
    os_mutex_unlock(&c->lock);
    free(w);
}

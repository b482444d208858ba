/* Bytes that are gone. Gradients and states live in rigs' memories, and rigs leave. When nobody
 * alive and not the depot holds what the next task needs, the results that made it are withdrawn
 * and made again: a sum alone; a state from the newest checkpoint in the depot, or from the
 * beginning. Equal tasks give equal bits, so nothing but time is lost. */
#include "coordinator/internal.h"

#include <stdlib.h>
#include <string.h>

#define LOST_MAX 64

/* ---- what rigs report ---- */

static bool is_own_block(const struct cjob *j, const struct ctask *t, const struct cid *cid)
{
    if (cid_equal(&t->task.program, cid))
        return true;
    for (uint32_t i = 0; i < j->plan->constant_count; i++)
        if (cid_equal(&j->plan->constant[i], cid))
            return true;
    for (size_t i = 0; i < j->plan->block_count; i++)
        if (cid_equal(&j->plan->block[i].cid, cid))
            return true;
    return false;
}

static bool is_input(const struct ctask *t, const struct cid *cid)
{
    for (uint32_t i = 0; i < t->task.input_count; i++)
        if (cid_equal(&t->task.input[i].cid, cid))
            return true;
    for (uint32_t i = 0; i < t->task.part_count; i++)
        if (cid_equal(&t->task.part[i].cid, cid))
            return true;
    return false;
}

/* A rig could not fetch `cid`. The depot's own blocks: it will try again. Else those who should
 * hold it are asked to deposit it, for maybe only they cannot be reached by this rig. */
void missing_report(struct coordinator *c, struct cjob *j, struct node *n, struct ctask *t,
                    const struct cid *cid)
{
    char text[CID_TEXT_MAX];
    cid_text(text, cid);
    if (is_own_block(j, t, cid)) {
        LOG_W("coordinator", "rig %s cannot fetch '%s', which lies in the depot", did_short(n->did),
              text);
        return;
    }
    if (!is_input(t, cid))
        return;          /* nothing of this task: not its business */
    node_forget(n, cid); /* whatever it said before, it has it not */
    for (uint32_t i = 0; i < j->missing_count; i++)
        if (cid_equal(&j->missing[i].cid, cid))
            return;
    if (j->missing_count == MISSING_MAX)
        return;
    j->missing[j->missing_count++] = (struct missing){.cid = *cid, .since_ms = now_ms(c)};
    job_log(c, j->id, LOG_WARN, "rig %s cannot fetch '%s' for '%s': its holders are asked for it",
            did_short(n->did), text, t->slot);
}

bool is_unheld(const struct coordinator *c, const struct cid *cid)
{
    for (uint32_t i = 0; i < UNHELD_MAX; i++)
        if (cid_equal(&c->unheld[i], cid))
            return true;
    return false;
}

void held_again(struct coordinator *c, const struct cid *cid)
{
    for (uint32_t i = 0; i < UNHELD_MAX; i++)
        if (cid_equal(&c->unheld[i], cid))
            c->unheld[i] = (struct cid){0};
}

static void missing_drop(struct cjob *j, uint32_t i)
{
    j->missing[i] = j->missing[--j->missing_count];
}

/* Somebody did the task after all. */
void missing_resolve(struct cjob *j, const struct ctask *t)
{
    for (uint32_t i = j->missing_count; i-- > 0;)
        if (is_input(t, &j->missing[i].cid))
            missing_drop(j, i);
}

/* What holders did not deposit in time they do not hold. */
static void missing_tick(struct coordinator *c, struct cjob *j, uint64_t now)
{
    for (uint32_t i = j->missing_count; i-- > 0;) {
        struct missing *m = &j->missing[i];
        if (cid_set_has(&c->depot_known, &m->cid)) {
            missing_drop(j, i);
            continue;
        }
        if (holder_exists(c, &m->cid, NULL)) {
            if (now - m->since_ms <= DEPOSIT_PATIENCE_MS)
                continue;
            c->unheld[c->unheld_next++ % UNHELD_MAX] = m->cid; /* their word counts no more */
        }
        holders_forget(c, &m->cid);
        missing_drop(j, i);
    }
}

/* ---- what nobody holds ---- */

struct suspect {
    char job[JOB_ID_MAX];
    struct cid cid;
    char slot[SLOT_MAX]; /* of the result whose output it is; "": a value of the state */
    bool lost;
};

static void suspect_add(struct coordinator *c, const struct cjob *j, const struct cid *cid,
                        const char *slot, struct suspect *s, uint32_t *count)
{
    if (*count == LOST_MAX || holder_exists(c, cid, NULL) || cid_set_has(&c->depot_known, cid))
        return;
    struct suspect *x = &s[(*count)++];
    *x = (struct suspect){.cid = *cid};
    emac_strcpy(x->job, sizeof(x->job), j->id);
    emac_strcpy(x->slot, sizeof(x->slot), slot);
}

/* What the job needs now and no live rig claims to hold. */
static uint32_t suspects_of(struct coordinator *c, struct cjob *j, struct suspect *s)
{
    uint32_t count = 0;
    if (plan_phase_of(j->plan, &j->st) == PLAN_INIT)
        return 0;
    const struct checkpoint *last = checkpoint_final(j);
    for (uint32_t i = 0; i < j->st.value_count; i++)
        if (plan_needs_value(j->plan, &j->st, &j->st.value[i]) &&
            (last == NULL || !checkpoint_kept(last, j->st.value[i].name)->stored))
            suspect_add(c, j, &j->st.value[i].cid, "", s, &count);
    for (uint32_t i = 0; i < j->st.result_count; i++) {
        const struct plan_result *r = &j->st.result[i];
        for (uint32_t k = 0; k < r->output_count; k++)
            if (plan_needs(j->plan, &j->st, r, &r->output[k]))
                suspect_add(c, j, &r->output[k].cid, r->slot, s, &count);
    }
    return count;
}

static uint32_t suspects_gather(struct coordinator *c, struct suspect *s)
{
    uint64_t now = now_ms(c);
    if (nodes_live(c) == 0)
        return 0; /* who comes back may bring it along */
    for (uint32_t i = 0; i < c->job_count; i++) {
        struct cjob *j = c->job[i];
        if (j->state != JOB_RUNNING || j->stale)
            continue;
        missing_tick(c, j, now);
        uint32_t n = suspects_of(c, j, s);
        if (n == 0) {
            j->lost_ms = 0;
            continue;
        }
        if (j->lost_ms == 0)
            j->lost_ms = now;
        if (now - j->lost_ms >= c->cfg.lost_grace_ms)
            return n; /* one job at a time */
    }
    return 0;
}

static bool in_depot(struct coordinator *c, const struct cid *cid)
{
    struct cid missing;
    size_t count = 1;
    return store_dag_missing(c->depot, cid, &missing, 1, &count, NULL) == EMAC_OK && count == 0;
}

/* ---- rolling back: in tx ---- */

static enum emac_status withdraw_result(struct coordinator *c, const struct cjob *j,
                                        const char *slot, struct emac_err *err)
{
    char text[CID_TEXT_MAX];
    struct cid base = plan_base(&j->st);
    job_log(c, j->id, LOG_WARN, "the result of '%s' is lost with its rig: made again", slot);
    return db_exec(c->db, err,
                   "UPDATE tasks SET state = 'withdrawn' WHERE job = ? AND step = ? AND base = ?"
                   " AND slot = ? AND state = 'accepted'",
                   "titt", j->id, (int64_t)j->st.step, cid_or_empty(text, &base), slot);
}

/* Steps done at the newest checkpoint that lies whole in the depot, 0 for none. */
static uint32_t last_safe_step(const struct cjob *j)
{
    for (uint32_t i = j->checkpoint_count; i-- > 0;)
        if (j->checkpoint[i].state == CHECKPOINT_COMPLETE)
            return j->checkpoint[i].step;
    return 0;
}

static enum emac_status withdraw_state(struct coordinator *c, const struct cjob *j,
                                       struct emac_err *err)
{
    uint32_t safe = last_safe_step(j);
    if (safe > 0)
        job_log(c, j->id, LOG_WARN,
                "the state after step %u is lost with its rigs: the job goes back to the "
                "checkpoint after step %u",
                j->st.step, safe);
    else
        job_log(c, j->id, LOG_WARN,
                "the state after step %u is lost with its rigs and there is no checkpoint in the "
                "depot: the job begins again",
                j->st.step);
    /* A checkpoint after `safe` steps is where step number `safe` starts. */
    return db_exec(c->db, err,
                   "UPDATE tasks SET state = 'withdrawn' WHERE job = ? AND state = 'accepted'"
                   " AND step >= ?",
                   "ti", j->id, (int64_t)safe);
}

static enum emac_status roll_back_rows(struct coordinator *c, struct cjob *j,
                                       const struct suspect *s, uint32_t count,
                                       struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    bool state = false;
    for (uint32_t i = 0; i < count; i++)
        state = state || (s[i].lost && s[i].slot[0] == 0);
    if (state)
        return withdraw_state(c, j, err);
    for (uint32_t i = 0; st == EMAC_OK && i < count; i++)
        if (s[i].lost)
            st = withdraw_result(c, j, s[i].slot, err);
    return st;
}

static void roll_back(struct coordinator *c, struct cjob *j, const struct suspect *s,
                      uint32_t count)
{
    struct emac_err err = {0};
    enum emac_status st = db_begin(c->db, &err);
    if (st == EMAC_OK) {
        st = roll_back_rows(c, j, s, count, &err);
        st = db_end(c->db, st, &err);
    }
    if (st != EMAC_OK) {
        LOG_W("coordinator", "cannot roll back '%s', will retry: %s", j->id, err.text);
        return;
    }
    j->stale = true;
    j->lost_ms = 0;
    verify_after(c);
}

/* Nothing changed while the depot was looked into? */
static bool still_lost(struct coordinator *c, const struct cjob *j, const struct suspect *x)
{
    if (!x->lost || holder_exists(c, &x->cid, NULL))
        return false;
    for (uint32_t i = 0; i < j->st.value_count && x->slot[0] == 0; i++)
        if (cid_equal(&j->st.value[i].cid, &x->cid))
            return true;
    for (uint32_t i = 0; i < j->st.result_count; i++)
        for (uint32_t k = 0; k < j->st.result[i].output_count; k++)
            if (cid_equal(&j->st.result[i].output[k].cid, &x->cid))
                return true;
    return false;
}

void lost_work(struct coordinator *c)
{
    struct suspect s[LOST_MAX];
    bool any = false;
    os_mutex_lock(&c->lock);
    uint32_t count = suspects_gather(c, s);
    os_mutex_unlock(&c->lock);
    if (count == 0)
        return;
    for (uint32_t i = 0; i < count; i++)
        s[i].lost = !in_depot(c, &s[i].cid);
    os_mutex_lock(&c->lock);
    struct cjob *j = job_find(c, s[0].job);
    for (uint32_t i = 0; i < count && j; i++) {
        if (!s[i].lost)
            cid_set_add(&c->depot_known, &s[i].cid);
        s[i].lost = still_lost(c, j, &s[i]);
        any = any || s[i].lost;
    }
    if (any && !j->stale)
        roll_back(c, j, s, count);
    os_mutex_unlock(&c->lock);
}

#include "coordinator/checks/behind.h"

#include "coordinator/internal.h"

#define VAIN_MAX 31

bool check_is_due(const struct ctask *t)
{
    return t->state == RESULT_ACCEPTED && t->vote_count < t->need;
}

bool check_refused(const struct refusal *r)
{
    return r->times >= (r->status == EMAC_UNAVAILABLE ? CHECK_FETCHES_MAX : CHECK_TRIES_MAX);
}

/* ---- who could make it ---- */

static bool has_refused(const struct ctask *t, const struct node *n)
{
    for (uint32_t i = 0; i < t->refusal_count; i++)
        if (t->refusal[i].node == n && check_refused(&t->refusal[i]))
            return true;
    return false;
}

bool check_open_to(struct coordinator *c, const struct ctask *t, const struct node *n, uint64_t now)
{
    return node_is_live(c, n, now) && !has_refused(t, n) && ctask_vote(t, n->did) == NULL;
}

/* One that says it is alive and never asks for work makes no check. */
static bool is_at_work(const struct coordinator *c, const struct node *n, uint64_t now)
{
    uint64_t patience = (uint64_t)c->cfg.lease_ttl_ms + c->cfg.check_lapse_ms;
    return n->waiting > 0 || node_leases(n) > 0 || now - n->asked_ms < patience;
}

static bool somebody_could(struct coordinator *c, const struct ctask *t, uint64_t now)
{
    struct map_entry e;
    for (size_t at = 0; map_next(&c->nodes, &at, &e);)
        if (check_open_to(c, t, e.value, now) && is_at_work(c, e.value, now))
            return true;
    return false;
}

/* Who was there before this process may still be on the way back. */
static uint64_t counted_from(const struct coordinator *c, uint64_t now)
{
    return now < c->back_ms ? c->back_ms : now;
}

static bool is_over(uint64_t since_ms, uint64_t ms, uint64_t now)
{
    return now >= since_ms + ms;
}

static void look(struct coordinator *c, struct ctask *t, uint64_t now)
{
    if (somebody_could(c, t, now)) {
        t->due.company = true;
        t->due.alone_ms = 0;
    } else if (t->due.alone_ms == 0) {
        t->due.alone_ms = counted_from(c, now);
    }
}

/* ---- how far rounds may run ahead ---- */

/* True as long as `t` holds its job up; `vain`: the job's patience with it has ended just now. */
static bool is_waited_for(struct coordinator *c, const struct cjob *j, struct ctask *t,
                          uint64_t now, bool *vain)
{
    if (t->due.spared)
        return false;
    if (t->due.waited_ms == 0) {
        t->due.waited_ms = counted_from(c, now);
        look(c, t, now);
    }
    bool over = is_over(t->due.waited_ms, c->cfg.check_wait_ms >> j->vain, now);
    *vain = *vain || over;
    t->due.spared = over || (t->lease_count == 0 && t->due.alone_ms != 0 && !t->due.company);
    return !t->due.spared;
}

/* All are looked at, so that the time of each runs beside the others'. */
bool behind_waits(struct coordinator *c, struct cjob *j)
{
    uint64_t now = now_ms(c);
    bool vain = false;
    j->behind = false;
    for (uint32_t i = 0; i < j->task_count; i++) {
        struct ctask *t = j->task[i];
        if (check_is_due(t) && !t->current && t->step + CHECKS_BEHIND_MAX < j->st.step &&
            is_waited_for(c, j, t, now, &vain))
            j->behind = true;
    }
    if (vain && j->vain < VAIN_MAX)
        j->vain++;
    return j->behind;
}

void behind_answered(struct cjob *j, const struct ctask *t)
{
    if (t->due.waited_ms != 0)
        j->vain = 0;
}

void behind_lift(struct coordinator *c, struct cjob *j)
{
    if (j->behind && !behind_waits(c, j))
        errands_changed(&c->errands);
}

uint32_t behind_keep(const struct cjob *j)
{
    uint32_t keep = j->st.step;
    for (uint32_t i = 0; i < j->task_count; i++)
        if (check_is_due(j->task[i]) && !j->task[i]->due.spared && j->task[i]->step < keep)
            keep = j->task[i]->step;
    return keep;
}

/* ---- lapsing ---- */

/* The task needs no more votes than it has; it is told nobody when two agree. */
static void lapse(struct coordinator *c, struct cjob *j, struct ctask *t, const char *why)
{
    struct emac_err err = {0};
    struct figures f = j->figures;
    uint32_t need = t->need;
    bool told = t->vote_count < 2;
    f.lapsed += told;
    t->need = t->vote_count;
    enum emac_status st = db_begin(c->db, &err);
    if (st == EMAC_OK) {
        st = ctask_update(c, j, t, &err);
        if (st == EMAC_OK)
            st = job_figures_write(c, j, &f, &err);
        st = db_end(c->db, st, &err);
    }
    if (st != EMAC_OK) {
        t->need = need;
        LOG_W("coordinator", "cannot let a check of '%s' lapse, will retry: %s", j->id, err.text);
        return;
    }
    j->figures = f;
    if (told)
        job_log(c, j->id, LOG_WARN, "the check of '%s' lapses: %s", t->slot, why);
    if (!t->current)
        ctask_remove(j, t);
}

static const char *input_name(const struct task *t, const struct cid *cid)
{
    for (uint32_t i = 0; i < t->input_count; i++)
        if (cid_equal(&t->input[i].cid, cid))
            return t->input[i].name;
    return "part";
}

/* Who answered it had what it takes, and keeps it as others keep what they made. */
static bool voters_hold(struct coordinator *c, const struct cjob *j, const struct ctask *t,
                        const struct cid *cid)
{
    if (is_unheld(c, cid))
        return false; /* they were asked */
    for (uint32_t i = 0; i < t->vote_count; i++) {
        struct node *n = node_find(c, t->vote[i].did);
        if (n != NULL && n->state == NODE_ADMITTED)
            node_keeps(n, j, t->step, input_name(&t->task, cid), cid);
    }
    return holder_exists(c, cid, NULL);
}

/* Once nobody is known to hold what it takes, those who used it are taken to, the one time. */
static bool inputs_are_there(struct coordinator *c, const struct cjob *j, struct ctask *t)
{
    struct cid gone;
    bool there = inputs_present(c, t, &gone);
    uint32_t most = there || t->due.traced ? 0 : t->task.input_count + t->task.part_count;
    for (uint32_t i = 0; i < most && !there && voters_hold(c, j, t, &gone); i++)
        there = inputs_present(c, t, &gone);
    t->due.traced = t->due.traced || most > 0;
    return there;
}

void behind_tick(struct coordinator *c, struct cjob *j, struct ctask *t, uint64_t now)
{
    /* A copy of a state that was left behind, or of a planted answer: two agree already. */
    bool copy = !t->current && t->vote_count >= 2;
    uint64_t patience = copy ? 0 : c->cfg.check_lapse_ms;
    look(c, t, now);
    if (t->due.alone_ms != 0) {
        if (is_over(t->due.alone_ms, patience, now))
            lapse(c, j, t, "there is no second rig that could make it");
        return;
    }
    if (t->current || inputs_are_there(c, j, t)) {
        t->due.gone_ms = 0;
        return;
    }
    if (t->due.gone_ms == 0)
        t->due.gone_ms = counted_from(c, now);
    if (is_over(t->due.gone_ms, patience, now))
        lapse(c, j, t, "its inputs are no longer anywhere");
}

#include "coordinator/jobs/suspects.h"

#include <stdio.h>
#include <string.h>

/* The newest task of the job that gave this output; *found tells. */
static enum emac_status maker_find(struct coordinator *c, const struct cjob *j,
                                   const struct cid *output, struct cid *task, bool *found,
                                   struct emac_err *err)
{
    struct db_stmt *q;
    char text[CID_TEXT_MAX];
    cid_text(text, output);
    enum emac_status st =
        db_first(c->db, &q, err,
                 "SELECT cid FROM tasks WHERE job = ? AND state IN ('accepted', 'disputed')"
                 " AND instr(outputs || ' ', '=' || ? || ' ') > 0 ORDER BY step DESC, accepted_ms "
                 "DESC LIMIT 1",
                 "tt", j->id, text);
    *found = q != NULL;
    if (q == NULL)
        return st;
    *task = cid_from_text(db_text(q, 0));
    db_done(q);
    return EMAC_OK;
}

static struct doubt *doubt_find(struct cjob *j, const struct cid *task)
{
    for (uint32_t i = 0; i < j->doubt_count; i++)
        if (cid_equal(&j->doubt[i].task, task))
            return &j->doubt[i];
    return NULL;
}

static void doubt_drop(struct cjob *j, struct doubt *s)
{
    *s = j->doubt[--j->doubt_count];
}

/* The oldest is forgotten when there are too many: then a loser is told no more than that. */
static void doubt_note(struct cjob *j, const struct cid *task, struct node *n, const char *fault)
{
    if (j->doubt_count == DOUBTS_MAX) {
        memmove(&j->doubt[0], &j->doubt[1], (DOUBTS_MAX - 1) * sizeof(j->doubt[0]));
        j->doubt_count--;
    }
    struct doubt *s = &j->doubt[j->doubt_count++];
    *s = (struct doubt){.task = *task, .accuser = n};
    snprintf(s->fault, sizeof(s->fault), "%s", fault);
}

/* The result counts no more until it was made again. In tx. */
static enum emac_status dispute(struct coordinator *c, struct cjob *j, struct ctask *t,
                                struct emac_err *err)
{
    struct figures f = j->figures;
    f.tasks--;
    t->state = RESULT_DISPUTED;
    if (t->need < t->vote_count + 1)
        t->need = t->vote_count + 1;
    enum emac_status st = ctask_update(c, j, t, err);
    if (st == EMAC_OK)
        st = job_figures_write(c, j, &f, err);
    if (st == EMAC_OK)
        j->figures = f;
    return st;
}

static enum emac_status call_into_question(struct coordinator *c, struct cjob *j, struct ctask *t,
                                           struct node *n, const char *fault, struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, db_begin(c->db, err));
    st = dispute(c, j, t, err);
    st = db_end(c->db, st, err);
    EMAC_TRY(st, st);
    doubt_note(j, &t->cid, n, fault);
    job_log(c, j->id, LOG_WARN,
            "what rig '%s' made of '%s' is refused until another rig has made it again: %s",
            t->vote_count > 0 ? t->vote[0].did : "?", t->slot, fault);
    j->stale = true;
    verify_after(c);
out:
    return st;
}

static enum suspicion judge(const struct cjob *j, const struct ctask *t, const struct node *n)
{
    if (plan_task_owner(j->plan, &t->task) != NULL)
        return SUSPECT_OWNED;
    if (t->state == RESULT_ACCEPTED && (t->vote_count >= 2 || ctask_vote(t, n->did) != NULL))
        return SUSPECT_SOUND;
    if (t->state == RESULT_ACCEPTED && n->alarms >= SUSPECT_ALARMS)
        return SUSPECT_NONE;
    return SUSPECT_DISPUTED;
}

enum emac_status suspect_hear(struct coordinator *c, struct cjob *j, struct node *n,
                              const struct cid *suspect, const char *fault, enum suspicion *out,
                              char maker[DID_KEY_MAX], struct emac_err *err)
{
    struct ctask *t = NULL;
    struct cid task;
    bool found = false;
    enum emac_status st;
    *out = SUSPECT_NONE;
    maker[0] = 0;
    EMAC_TRY(st, maker_find(c, j, suspect, &task, &found, err));
    if (!found)
        return EMAC_OK;
    EMAC_TRY(st, ctask_load(c, j, &task, &t, err));
    *out = judge(j, t, n);
    if (*out == SUSPECT_OWNED)
        emac_strcpy(maker, DID_KEY_MAX, plan_task_owner(j->plan, &t->task));
    if (*out == SUSPECT_DISPUTED && t->state == RESULT_ACCEPTED)
        st = call_into_question(c, j, t, n, fault, err);
out:
    ctask_free(t);
    return st;
}

enum emac_status suspect_expel(struct coordinator *c, const char *maker, const char *fault,
                               struct emac_err *err)
{
    char why[REASON_MAX];
    enum emac_status st;
    snprintf(why, sizeof(why), "its delta is refused: %s", fault);
    EMAC_TRY(st, db_begin(c->db, err));
    st = verify_quarantine(c, maker, NULL, why, err);
    st = db_end(c->db, st, err);
    verify_after(c);
out:
    return st;
}

void suspect_cleared(struct coordinator *c, struct cjob *j, const struct ctask *t)
{
    struct doubt *s = doubt_find(j, &t->cid);
    if (s == NULL)
        return;
    s->accuser->alarms++;
    job_log(c, j->id, LOG_INFO, "'%s' was made again, with the same result: it counts", t->slot);
    doubt_drop(j, s);
}

const char *suspect_fault(const struct coordinator *c, const struct cid *task)
{
    for (uint32_t i = 0; i < c->job_count; i++) {
        const struct doubt *s = doubt_find(c->job[i], task);
        if (s != NULL)
            return s->fault;
    }
    return NULL;
}

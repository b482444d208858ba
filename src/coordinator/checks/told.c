/* What is told of a result that others are still to compute (CHECK-4), and what a rig was shown. */
#include "coordinator/checks/checks.h"

#include <string.h>

/* ---- what is told ---- */

/* Somebody gave an answer, and an execution of it is under way or due. */
static bool is_awaited(const struct ctask *t)
{
    return t->vote_count > 0 &&
           (t->state != RESULT_ACCEPTED || t->vote_count < t->need || t->lease_count > 0);
}

uint32_t told_before(struct coordinator *c, const char *job)
{
    const struct cjob *j = job_find(c, job);
    uint32_t step = UINT32_MAX;
    if (j == NULL)
        return UINT32_MAX; /* it is over */
    if (j->stale)
        return 0;
    for (uint32_t i = 0; i < j->task_count; i++)
        if (is_awaited(j->task[i]) && j->task[i]->step < step)
            step = j->task[i]->step;
    return step;
}

static bool has_value(const struct outputs *o, const struct cid *cid)
{
    for (uint32_t i = 0; i < o->count; i++)
        if (cid_equal(&o->at[i].cid, cid))
            return true;
    return false;
}

bool told_value(const struct cjob *j, const struct cid *cid)
{
    if (j->stale)
        return false;
    for (uint32_t i = 0; i < j->task_count; i++)
        if (is_awaited(j->task[i]) && has_value(&j->task[i]->outputs, cid))
            return false;
    return true;
}

/* ---- what was shown ---- */

static uint64_t mark_of(const struct cid *cid)
{
    uint64_t mark;
    memcpy(&mark, cid->digest, sizeof(mark));
    return mark;
}

bool shown_to(const struct node *n, const struct cid *cid)
{
    uint64_t mark = mark_of(cid);
    bool found = false;
    for (uint32_t i = 0; i < n->shown.count; i++)
        found |= n->shown.mark[i] == mark;
    return found;
}

static void shown_add(struct node *n, const struct cid *cid)
{
    if (shown_to(n, cid))
        return;
    struct shown *s = &n->shown;
    s->mark[s->next] = mark_of(cid);
    s->next = (s->next + 1) % SHOWN_MAX;
    s->count += s->count < SHOWN_MAX;
}

void shown_note(struct node *n, const struct task *t)
{
    for (uint32_t i = 0; i < t->input_count; i++)
        shown_add(n, &t->input[i].cid);
    for (uint32_t i = 0; i < t->part_count; i++)
        shown_add(n, &t->part[i].cid);
}

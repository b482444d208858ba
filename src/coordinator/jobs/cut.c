#include "coordinator/jobs/cut.h"

#include "base/assert.h"
#include "coordinator/internal.h"

void round_cut(struct coordinator *c, struct cjob *j, struct ctask *t)
{
    EMAC_ASSERT(t->current && t->state != RESULT_ACCEPTED && t->range.count > 1);
    job_log(c, j->id, LOG_INFO, "rig %s is late with '%s': others make it in pieces",
            t->lease_count > 0 ? did_short(t->lease[0]->node->did) : "?", t->slot);
    t->cut = true;
    j->laid = false;
    coordinator_changed(c);
}

static bool is_cut_by(const struct ctask *t, const struct ctask *made)
{
    struct tree_range a = t->range, b = made->range;
    return t != made && t->current && t->state == RESULT_OPEN && t->kind == made->kind &&
           a.first < b.first + b.count && b.first < a.first + a.count;
}

enum emac_status round_covered(struct coordinator *c, struct cjob *j, const struct ctask *made,
                               struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t k = 0; k < j->task_count && st == EMAC_OK; k++) {
        struct ctask *t = j->task[k];
        if (!is_cut_by(t, made) || !plan_is_covered(&j->st, t->kind, t->range, made->range))
            continue;
        t->current = false;
        while (t->lease_count > 0 && st == EMAC_OK)
            st = lease_take_back(c, t->lease[t->lease_count - 1], err);
    }
    return st;
}

/* The rigs that are there, as a prediction takes them. */
#include <stdlib.h>

#include "coordinator/internal.h"
#include "coordinator/jobs/submission.h"
#include "sched/predict.h"

struct fleet {
    uint64_t memory; /* of the largest for a task; 0: none is there, or none says */
    uint32_t count;
    struct predict_rig rig[PREDICT_RIGS_MAX];
};

/* What was measured of it goes before what its challenge said. */
static void rig_take(struct fleet *f, const struct node *n)
{
    struct predict_rig *r = &f->rig[f->count++];
    predict_rig_init(r, n->gflops * 1e9);
    if (n->alone_flops[SCHED_WORK_MATH] > 0)
        r->math_flops = n->alone_flops[SCHED_WORK_MATH];
    if (n->alone_flops[SCHED_WORK_STATE] > 0)
        r->state_flops = n->alone_flops[SCHED_WORK_STATE];
    r->link = n->link;
    r->memory = n->memory_bytes;
    r->keep = n->keep_bytes;
}

static void fleet_gather(struct coordinator *c, struct fleet *f)
{
    struct map_entry e;
    os_mutex_lock(&c->lock);
    uint64_t now = now_ms(c);
    for (size_t at = 0; map_next(&c->nodes, &at, &e);) {
        const struct node *n = e.value;
        if (!node_is_live(c, n, now))
            continue;
        f->memory = n->memory_bytes > f->memory ? n->memory_bytes : f->memory;
        if (f->count < PREDICT_RIGS_MAX)
            rig_take(f, n);
    }
    os_mutex_unlock(&c->lock);
}

enum emac_status fleet_suffices(struct coordinator *c, const struct job_plan *p,
                                struct emac_err *err)
{
    struct fleet *f;
    enum emac_status st;
    EMAC_TRY(st, emac_alloc(&f, 1, sizeof(*f), err));
    fleet_gather(c, f);
    st = predict_fits(p, c->depot, f->memory, err);
    if (st == EMAC_OK)
        st = predict_holds(p, c->depot, f->rig, f->count, err);
    if (st == EMAC_OK)
        st = predict_in_time(p, c->depot, f->rig, f->count, err);
    free(f);
out:
    return st;
}

/* The result is pinned under the job's id; by its links the model and the data are, too. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/jobs/evaluations.h"
#include "work/evaluate.h"

#define WORK_MAX 16

struct work {
    char job[JOB_ID_MAX];
    struct cid cid;
    struct emac_buf block;
    bool stored;
};

static bool is_evaluated(const struct cjob *j)
{
    return j->plan->job.kind == JOB_EVALUATE && plan_phase_of(j->plan, &j->st) == PLAN_DONE;
}

/* The result that the score leads to. */
static struct cid result_of(const struct cjob *j, struct emac_buf *block)
{
    const struct plan_score *score = plan_model_score(j->plan, &j->st);
    struct evaluation e;
    struct cid cid = {0};
    evaluation_of(&j->plan->job, score->loss, score->accuracy, &e);
    enum emac_status st = evaluation_encode(&e, block, &cid, NULL);
    EMAC_ASSERT(st == EMAC_OK); /* a few hundred bytes */
    return cid;
}

bool evaluation_stored(const struct cjob *j)
{
    struct emac_buf block;
    if (!is_evaluated(j))
        return false;
    emac_buf_init(&block, EVALUATION_BYTES_MAX);
    struct cid cid = result_of(j, &block);
    emac_buf_release(&block);
    return cid_equal(&cid, &j->evaluation);
}

static uint32_t work_gather(struct coordinator *c, struct work *w)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->job_count && n < WORK_MAX; i++) {
        const struct cjob *j = c->job[i];
        if (j->stale || !is_evaluated(j) || evaluation_stored(j))
            continue;
        emac_strcpy(w[n].job, sizeof(w[n].job), j->id);
        emac_buf_init(&w[n].block, EVALUATION_BYTES_MAX);
        w[n].cid = result_of(j, &w[n].block);
        n++;
    }
    return n;
}

static void work_do(struct coordinator *c, struct work *w)
{
    struct emac_err err = {0};
    struct store_building building;
    store_building_begin(c->depot, &building);
    enum emac_status st = store_block_put_as(c->depot, &w->cid, w->block.data, w->block.len, &err);
    if (st == EMAC_OK)
        st = store_pin(c->depot, w->job, &w->cid, &err);
    store_building_end(c->depot, &building);
    if (st != EMAC_OK)
        LOG_W("coordinator", "cannot store the result of '%s', will retry: %s", w->job, err.text);
    w->stored = st == EMAC_OK;
}

/* The score may be another by now, when a result was withdrawn meanwhile. */
static void work_note(struct coordinator *c, const struct work *w)
{
    struct cjob *j = w->stored ? job_find(c, w->job) : NULL;
    if (j == NULL)
        return;
    unpin_later(c, j->id, &j->evaluation);
    j->evaluation = w->cid;
    coordinator_changed(c);
}

void evaluations_work(struct coordinator *c)
{
    struct work w[WORK_MAX] = {0};
    os_mutex_lock(&c->lock);
    uint32_t n = work_gather(c, w);
    os_mutex_unlock(&c->lock);
    if (n == 0)
        return;
    for (uint32_t i = 0; i < n; i++)
        work_do(c, &w[i]);
    os_mutex_lock(&c->lock);
    for (uint32_t i = 0; i < n; i++)
        work_note(c, &w[i]);
    os_mutex_unlock(&c->lock);
    for (uint32_t i = 0; i < n; i++)
        emac_buf_release(&w[i].block);
}

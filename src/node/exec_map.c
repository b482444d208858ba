/* Map programs: micro-batches one after the other, their sums added as a binary counter counts.
 * After micro-batch i the pile holds one sum for each bit of i + 1, largest first; a carry is an
 * addition of two equal halves. So the tree's value comes out, with at most log2(count) + 1 bundles
 * in memory. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "node/exec_internal.h"

struct map_run {
    struct exec_run *r;
    const struct bundle *sum;
    struct exec_feed feed;
    uint8_t *pile[EXEC_LEVELS_MAX];
    uint32_t depth;
    uint8_t *spare[EXEC_LEVELS_MAX];
    uint32_t spares;
};

/* ---- sums ---- */

static enum emac_status leaf_take(struct map_run *m, uint8_t **out, struct emac_err *err)
{
    if (m->depth == 0) {
        *out = m->r->out[0]; /* everything is added to the left: the first is the last */
        return EMAC_OK;
    }
    if (m->spares > 0) {
        *out = m->spare[--m->spares];
        return EMAC_OK;
    }
    return resident_alloc(&m->r->x->resident, m->sum->size, out, err);
}

static float *numbers(const struct map_run *m, uint8_t *file)
{
    return (float *)(void *)(file + m->sum->header.len);
}

/* index counts from 0 within the task's range. */
static enum emac_status leaf_add(struct map_run *m, uint32_t index, uint8_t *leaf,
                                 struct emac_err *err)
{
    struct exec *x = m->r->x;
    size_t n = exec_bundle_floats(m->sum);
    struct exec_stint stint = exec_stint_begin(m->r);
    enum emac_status st = EMAC_OK;
    for (uint32_t bits = index; (bits & 1) != 0; bits >>= 1) {
        EMAC_ASSERT(m->depth > 0);
        uint8_t *left = m->pile[--m->depth];
        if (st == EMAC_OK)
            st = device_add(x->cfg.dev, numbers(m, left), numbers(m, left), numbers(m, leaf), n,
                            err);
        m->spare[m->spares++] = leaf;
        leaf = left;
    }
    EMAC_ASSERT(m->depth < EXEC_LEVELS_MAX);
    m->pile[m->depth++] = leaf;
    exec_stint_end(m->r, &stint);
    return st;
}

static enum emac_status micro_batch(struct map_run *m, uint32_t i, struct emac_err *err)
{
    uint8_t *leaf = NULL;
    uint32_t index = m->r->task->first + i;
    enum emac_status st;
    if (exec_is_cancelled(m->r))
        return emac_fail(err, EMAC_CANCELLED, "the task was cancelled");
    EMAC_TRY(st, exec_feed_batch(&m->feed, index, err));
    EMAC_TRY(st, leaf_take(m, &leaf, err));
    exec_bind_bundle(m->r, m->sum, leaf);
    st = exec_graph_run(m->r, err);
    if (st != EMAC_OK)
        emac_wrap(err, "step %u, micro-batch %u", m->r->task->step, index);
    if (st == EMAC_OK) {
        st = leaf_add(m, i, leaf, err);
        leaf = NULL;
    }
out:
    if (leaf != NULL && leaf != m->r->out[0])
        device_free(m->r->x->cfg.dev, leaf);
    return st;
}

static enum emac_status map_loop(struct map_run *m, struct emac_err *err)
{
    uint32_t count = m->r->task->count;
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < count && st == EMAC_OK; i++)
        st = micro_batch(m, i, err);
    if (st != EMAC_OK)
        return st;
    EMAC_ASSERT(m->depth == 1 && m->pile[0] == m->r->out[0]);
    /* Each micro-batch was finite; their sum may still have overflowed. */
    return count == 1 ? EMAC_OK : exec_finite(m->r, m->sum, numbers(m, m->pile[0]), err);
}

static void map_release(struct map_run *m)
{
    struct exec *x = m->r->x;
    for (uint32_t i = 0; i < m->depth; i++) {
        if (m->pile[i] != m->r->out[0])
            device_free(x->cfg.dev, m->pile[i]);
    }
    for (uint32_t i = 0; i < m->spares; i++)
        device_free(x->cfg.dev, m->spare[i]);
    exec_feed_release(&m->feed);
}

/* A micro-batch that gives more than a sum is run for itself. */
static enum emac_status map_once(struct exec_run *r, struct emac_err *err)
{
    struct exec_feed feed = {0};
    enum emac_status st;
    EMAC_TRY(st, exec_feed_open(&feed, r, err));
    for (uint32_t i = 0; i < r->p->out_count; i++) {
        EMAC_TRY(st, exec_output_new(r, i, err));
        exec_bind_bundle(r, &r->p->out[i].layout, r->out[i]);
    }
    EMAC_TRY(st, exec_feed_batch(&feed, r->task->first, err));
    st = exec_graph_run(r, err);
    if (st != EMAC_OK)
        emac_wrap(err, "step %u, micro-batch %u", r->task->step, r->task->first);
out:
    exec_feed_release(&feed);
    return st;
}

enum emac_status exec_map(struct exec_run *r, struct emac_err *err)
{
    if (!exec_gives_sum_alone(r->p))
        return map_once(r, err);
    struct map_run m = {.r = r, .sum = &r->p->out[0].layout};
    enum emac_status st;
    EMAC_TRY(st, exec_feed_open(&m.feed, r, err));
    EMAC_TRY(st, exec_output_new(r, 0, err));
    st = map_loop(&m, err);
out:
    map_release(&m);
    return st;
}

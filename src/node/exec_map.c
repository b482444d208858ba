/* Map programs: micro-batches one after the other, their sums added as a binary counter counts.
 * After micro-batch i the pile holds one sum for each bit of i + 1, largest first; a carry is an
 * addition of two equal halves. At the end what is left is added from the smallest on. So the
 * tree's value comes out, with at most log2(count) + 1 bundles in memory. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "node/exec_internal.h"

/* ---- sums ---- */

static enum emac_status leaf_take(struct exec_map *m, uint8_t **out, struct emac_err *err)
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

static float *numbers(const struct exec_map *m, uint8_t *file)
{
    return (float *)(void *)(file + m->sum->header.len);
}

/* index counts from 0 within the range. */
static enum emac_status leaf_add(struct exec_map *m, uint32_t index, uint8_t *leaf,
                                 struct emac_err *err)
{
    struct exec_stint stint = exec_stint_begin(m->r);
    enum emac_status st = EMAC_OK;
    for (uint32_t bits = index; (bits & 1) != 0; bits >>= 1) {
        EMAC_ASSERT(m->depth > 0);
        uint8_t *left = m->pile[--m->depth];
        if (st == EMAC_OK)
            st = exec_add(m->r, m->sum, numbers(m, left), numbers(m, left), numbers(m, leaf), err);
        m->spare[m->spares++] = leaf;
        leaf = left;
    }
    EMAC_ASSERT(m->depth < EXEC_LEVELS_MAX);
    m->pile[m->depth++] = leaf;
    exec_stint_end(m->r, &stint);
    return st;
}

static enum emac_status micro_batch(struct exec_map *m, uint32_t first, uint32_t i,
                                    struct emac_err *err)
{
    uint8_t *leaf = NULL;
    uint32_t index = first + i;
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

/* The halves that have no equal: a count that is no power of two is the tree's ragged edge. */
static enum emac_status pile_fold(struct exec_map *m, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    while (m->depth > 1) {
        uint8_t *right = m->pile[--m->depth], *left = m->pile[m->depth - 1];
        if (st == EMAC_OK)
            st = exec_add(m->r, m->sum, numbers(m, left), numbers(m, left), numbers(m, right), err);
        m->spare[m->spares++] = right;
    }
    return st;
}

enum emac_status exec_map_sum(struct exec_map *m, uint32_t first, uint32_t count,
                              struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    EMAC_ASSERT(count > 0);
    m->depth = 0;
    for (uint32_t i = 0; i < count && st == EMAC_OK; i++)
        st = micro_batch(m, first, i, err);
    if (st == EMAC_OK)
        st = pile_fold(m, err);
    if (st != EMAC_OK)
        return st;
    EMAC_ASSERT(m->depth == 1 && m->pile[0] == m->r->out[0]);
    /* Each micro-batch was finite; their sum may still have overflowed. */
    return count == 1 ? EMAC_OK : exec_finite(m->r, m->sum, numbers(m, m->pile[0]), err);
}

enum emac_status exec_map_open(struct exec_map *m, struct exec_run *r, struct emac_err *err)
{
    *m = (struct exec_map){.r = r, .sum = &r->p->out[0].layout};
    enum emac_status st = exec_feed_open(&m->feed, r, err);
    return st == EMAC_OK ? exec_output_new(r, 0, err) : st;
}

void exec_map_release(struct exec_map *m)
{
    if (m->r == NULL)
        return; /* never opened */
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
    struct exec_map m = {0};
    enum emac_status st;
    EMAC_TRY(st, exec_map_open(&m, r, err));
    st = exec_map_sum(&m, r->task->first, r->task->count, err);
out:
    exec_map_release(&m);
    return st;
}

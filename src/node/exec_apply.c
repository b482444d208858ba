/* Apply programs: one run of the graph, over the sum of parts if it takes one. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "node/exec_internal.h"

/* A part, or the sum of some: a value of the store, untouched (EXEC-3), or own memory of the
 * device. */
struct piece {
    const struct store_value *held;
    struct resident *copy; /* of `held`, where the device is not the host */
    float *own;
};

struct part_sum {
    struct exec_run *r;
    struct piece *piece;
    float *spare[EXEC_LEVELS_MAX];
    uint32_t spares;
    enum emac_status st;
    struct emac_err *err;
};

static const float *piece_data(const struct part_sum *s, uint32_t i)
{
    const struct piece *p = &s->piece[i];
    if (p->own != NULL)
        return p->own;
    const uint8_t *file = p->copy != NULL ? p->copy->at : p->held->data;
    return (const float *)(const void *)(file + s->r->p->sum.header.len);
}

/* Which tensor is it that does not fit? */
static enum emac_status part_misfit(struct part_sum *s, uint32_t i, struct emac_err *err)
{
    const struct task_part *part = &s->r->task->part[i];
    const struct store_value *v = s->piece[i].held;
    const struct exec_program *p = s->r->p->decode != NULL ? s->r->p->decode : s->r->p;
    const struct bundle *l = p == s->r->p ? &p->sum : &p->in[0].layout;
    struct st_index idx = {0};
    enum emac_status st = exec_suspect_index(&idx, v, err);
    const char *name = NULL;
    for (uint32_t k = 0; st == EMAC_OK && k < l->count && name == NULL; k++) {
        struct graph_port port = graph_input_at(p->graph, l->port[k].port);
        const struct st_tensor *t = st_index_find(&idx, strchr(port.name, '/') + 1);
        if (t == NULL || t->dtype != bundle_dtype(port.dtype) || t->rank != port.shape.rank ||
            memcmp(t->dim,
                   (uint64_t[TENSOR_RANK_MAX]){port.shape.dim[0], port.shape.dim[1],
                                               port.shape.dim[2], port.shape.dim[3]},
                   t->rank * sizeof t->dim[0]) != 0)
            name = strchr(port.name, '/') + 1;
    }
    if (st == EMAC_OK && name != NULL)
        st = emac_fail(err, EMAC_INVALID, "tensor '%s' is missing or misshapen", name);
    else if (st == EMAC_OK)
        st = emac_fail(err, EMAC_INVALID, "the bundle is not in canonical form or holds too much");
    st_index_release(&idx);
    emac_wrap(err, "part %u+%u of input 'sum'", part->first, part->count);
    return st;
}

/* Let go of the part that this was before it became a sum, or was added. */
static void piece_unhold(struct part_sum *s, struct piece *p)
{
    if (p->copy != NULL)
        resident_drop(p->copy);
    if (p->held != NULL)
        store_value_drop(s->r->x->cfg.store, p->held);
    p->copy = NULL;
    p->held = NULL;
}

/* Memory for a sum. */
static enum emac_status sum_take(struct part_sum *s, float **out, struct emac_err *err)
{
    if (s->spares > 0) {
        *out = s->spare[--s->spares];
        return EMAC_OK;
    }
    return resident_alloc(&s->r->x->resident, exec_bundle_floats(&s->r->p->sum) * sizeof(float),
                          out, err);
}

/* A part that goes through a graph becomes own memory at once. */
static enum emac_status piece_decode(struct part_sum *s, struct piece *p, struct emac_err *err)
{
    struct exec_run run = {.x = s->r->x, .p = s->r->p->decode};
    const struct bundle *l = &run.p->out[0].layout;
    float *own;
    enum emac_status st;
    EMAC_TRY(st, sum_take(s, &own, err));
    p->own = own;
    exec_bind_input(&run, &run.p->in[0].layout, p->copy != NULL ? p->copy->at : p->held->data);
    for (uint32_t i = 0; i < l->count; i++)
        graph_bind_output(run.p->plan, l->port[i].port,
                          (uint8_t *)own + (l->port[i].offset - l->header.len));
    st = exec_graph_run(&run, err);
    s->r->compute_ns += run.compute_ns;
    piece_unhold(s, p);
out:
    return st;
}

static enum emac_status piece_load(struct part_sum *s, uint32_t i, struct emac_err *err)
{
    struct piece *p = &s->piece[i];
    const struct exec_program *decode = s->r->p->decode;
    const struct bundle *l = decode != NULL ? &decode->in[0].layout : &s->r->p->sum;
    if (p->own != NULL || p->held != NULL)
        return EMAC_OK;
    const struct cid *cid = &s->r->task->part[i].cid;
    enum emac_status st = exec_value_get(s->r, "sum", cid, l->size, &p->held, err);
    if (st == EMAC_TOO_LARGE)
        s->r->suspect = *cid;
    if (st == EMAC_TOO_LARGE)
        st = emac_fail(err, EMAC_INVALID,
                       "part %u+%u of input 'sum' is larger than the %zu bytes of "
                       "its tensors",
                       s->r->task->part[i].first, s->r->task->part[i].count, l->size);
    if (st != EMAC_OK)
        return st;
    /* All parts must be of one layout, for they are added as one vector. */
    if (!exec_is_canonical(p->held, l)) {
        s->r->suspect = *cid;
        return part_misfit(s, i, err);
    }
    if (!device_is_host(s->r->x->cfg.dev))
        st = resident_bring(&s->r->x->resident, p->held, &p->copy, err);
    if (st == EMAC_OK && decode != NULL) {
        st = piece_decode(s, p, err);
        if (st != EMAC_OK)
            emac_wrap(err, "part %u+%u of input 'sum'", s->r->task->part[i].first,
                      s->r->task->part[i].count);
        if (st == EMAC_NUMERIC)
            s->r->suspect = *cid;
    }
    return st == EMAC_OK ? exec_part_bounded(s->r, &s->r->task->part[i], piece_data(s, i), err)
                         : st;
}

static void piece_drop(struct part_sum *s, uint32_t i)
{
    struct piece *p = &s->piece[i];
    piece_unhold(s, p);
    if (p->own != NULL) {
        EMAC_ASSERT(s->spares < EXEC_LEVELS_MAX);
        s->spare[s->spares++] = p->own;
    }
    *p = (struct piece){0};
}

static void part_add(void *ctx, uint32_t into, uint32_t from)
{
    struct part_sum *s = ctx;
    float *dst;
    const float *left;
    if (s->st != EMAC_OK)
        return;
    EMAC_TRY(s->st, piece_load(s, into, s->err));
    EMAC_TRY(s->st, piece_load(s, from, s->err));
    dst = s->piece[into].own;
    left = piece_data(s, into);
    if (dst == NULL)
        EMAC_TRY(s->st, sum_take(s, &dst, s->err));
    s->piece[into].own = dst; /* from here on it goes with the piece */
    struct exec_stint stint = exec_stint_begin(s->r);
    s->st = exec_add(s->r, &s->r->p->sum, dst, left, piece_data(s, from), s->err);
    exec_stint_end(s->r, &stint);
    EMAC_TRY(s->st, s->st);
    piece_unhold(s, &s->piece[into]);
    piece_drop(s, from);
out:
    if (s->st == EMAC_OK && exec_is_cancelled(s->r))
        s->st = emac_fail(s->err, EMAC_CANCELLED, "the task was cancelled");
}

/* The whole ends in piece 0; its ports are bound to it. */
static enum emac_status sum_parts(struct part_sum *s, struct emac_err *err)
{
    struct exec_run *r = s->r;
    const struct task *t = r->task;
    struct tree_range *range = NULL;
    enum emac_status st;
    s->err = err;
    EMAC_TRY(st, emac_alloc(&s->piece, t->part_count, sizeof *s->piece, err));
    EMAC_TRY(st, emac_alloc(&range, t->part_count, sizeof *range, err));
    for (uint32_t i = 0; i < t->part_count; i++)
        range[i] = (struct tree_range){t->part[i].first, t->part[i].count};
    tree_reduce(range, t->part_count, t->total, part_add, s);
    EMAC_TRY(st, s->st);
    EMAC_TRY(st, piece_load(s, 0, err));
    const uint8_t *data = (const uint8_t *)piece_data(s, 0);
    for (uint32_t i = 0; i < r->p->sum.count; i++) {
        const struct bundle_port *bp = &r->p->sum.port[i];
        graph_bind_input(r->p->plan, bp->port, data + (bp->offset - r->p->sum.header.len));
    }
out:
    free(range);
    return st;
}

static void sum_release(struct part_sum *s)
{
    struct device *dev = s->r->x->cfg.dev;
    for (uint32_t i = 0; s->piece != NULL && i < s->r->task->part_count; i++) {
        piece_unhold(s, &s->piece[i]);
        device_free(dev, s->piece[i].own);
    }
    for (uint32_t i = 0; i < s->spares; i++)
        device_free(dev, s->spare[i]);
    free(s->piece);
}

enum emac_status exec_apply(struct exec_run *r, struct emac_err *err)
{
    struct part_sum s = {.r = r};
    enum emac_status st = EMAC_OK;
    if (r->p->sum.count > 0)
        EMAC_TRY(st, sum_parts(&s, err));
    for (uint32_t i = 0; i < r->p->out_count; i++) {
        EMAC_TRY(st, exec_output_new(r, i, err));
        exec_bind_bundle(r, &r->p->out[i].layout, r->out[i]);
    }
    st = exec_graph_run(r, err);
out:
    sum_release(&s);
    return st;
}

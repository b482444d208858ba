/* Where each value lives. Live ranges are known before anything runs, so one walk over the nodes
 * simulates an allocator: a node's outputs take the smallest hole that fits, and what the node was
 * last to use becomes a hole. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "graph/plan_internal.h"

struct hole {
    size_t offset, bytes;
};

/* Holes below `end`, by offset, never touching each other. */
struct layout {
    struct hole *hole;
    uint32_t holes;
    size_t end;  /* where the last value in use ends */
    size_t peak; /* highest end so far */
};

static void hole_remove(struct layout *l, uint32_t i)
{
    l->holes--;
    memmove(&l->hole[i], &l->hole[i + 1], (l->holes - i) * sizeof(*l->hole));
}

static size_t layout_take(struct layout *l, size_t bytes)
{
    uint32_t best = UINT32_MAX;
    size_t at;

    for (uint32_t i = 0; i < l->holes; i++)
        if (l->hole[i].bytes >= bytes &&
            (best == UINT32_MAX || l->hole[i].bytes < l->hole[best].bytes))
            best = i;
    if (best == UINT32_MAX) {
        at = l->end;
        l->end += bytes;
        if (l->end > l->peak)
            l->peak = l->end;
        return at;
    }
    at = l->hole[best].offset;
    l->hole[best].offset += bytes;
    l->hole[best].bytes -= bytes;
    if (l->hole[best].bytes == 0)
        hole_remove(l, best);
    return at;
}

static void layout_give(struct layout *l, size_t offset, size_t bytes)
{
    uint32_t lo = 0, hi = l->holes;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (l->hole[mid].offset < offset)
            lo = mid + 1;
        else
            hi = mid;
    }
    memmove(&l->hole[lo + 1], &l->hole[lo], (l->holes - lo) * sizeof(*l->hole));
    l->hole[lo] = (struct hole){offset, bytes};
    l->holes++;
    if (lo + 1 < l->holes && offset + bytes == l->hole[lo + 1].offset) {
        l->hole[lo].bytes += l->hole[lo + 1].bytes;
        hole_remove(l, lo + 1);
    }
    if (lo > 0 && l->hole[lo - 1].offset + l->hole[lo - 1].bytes == offset) {
        l->hole[lo - 1].bytes += l->hole[lo].bytes;
        hole_remove(l, lo);
    }
    /* A hole at the very end is no hole: what lies above it is free too. */
    if (l->holes > 0) {
        struct hole *top = &l->hole[l->holes - 1];

        if (top->offset + top->bytes == l->end) {
            l->end = top->offset;
            l->holes--;
        }
    }
}

static size_t padded_bytes(const struct graph *g, value_id v)
{
    return (graph_value_bytes(g, v) + PLAN_ALIGN - 1) / PLAN_ALIGN * PLAN_ALIGN;
}

/* Roots, and the places outside of the block. */
static void places_outside(struct graph_plan *p)
{
    const struct graph *g = p->g;

    for (value_id v = 0; v < g->values; v++) {
        const struct graph_value *val = &g->value[v];

        p->value[v].tensor = val->type;
        p->value[v].root = v;
        if (val->node == NODE_NONE) {
            p->value[v].place = PLACE_INPUT;
            p->value[v].port = val->slot;
        } else if (op_info(g->node[val->node].op)->alias) {
            p->value[v].root = p->value[g->node[val->node].in[0]].root;
        }
    }
    /* The first output of a root is made in place; others, and inputs, are copied after the run. */
    for (uint32_t i = 0; i < g->outputs; i++) {
        struct plan_value *root = &p->value[p->value[g->output[i].value].root];

        if (root->place == PLACE_NONE) {
            root->place = PLACE_OUTPUT;
            root->port = i;
        }
    }
}

static void live_ranges(struct graph_plan *p)
{
    for (uint32_t s = 0; s < p->steps; s++) {
        const struct graph_node *n = &p->g->node[p->step[s]];
        const struct op_info *info = op_info(n->op);

        for (uint32_t k = 0; k < info->inputs; k++)
            p->value[p->value[n->in[k]].root].last = s;
        for (uint32_t k = 0; k < info->outputs; k++)
            p->value[p->value[n->out + k].root].last = s;
    }
}

/* The other term of a sum that step s + 1 makes of what step s makes by EMBED_GRAD; VALUE_NONE
 * where it does not, or INV-P4 would not hold. */
static value_id merge_term(const struct graph_plan *p, uint32_t s)
{
    const struct graph_node *embed = &p->g->node[p->step[s]], *add = &p->g->node[p->step[s + 1]];
    const struct plan_value *sum = &p->value[add->out], *rows = &p->value[embed->out], *term;
    value_id v;

    if (embed->op != OP_EMBED_GRAD || add->op != OP_ADD || sum->place != PLACE_OUTPUT ||
        (add->in[0] == embed->out) == (add->in[1] == embed->out) || rows->place != PLACE_NONE ||
        rows->last != s + 1)
        return VALUE_NONE;
    v = add->in[add->in[0] == embed->out];
    term = &p->value[v];
    if (p->g->value[v].node == NODE_NONE || p->g->node[p->g->value[v].node].op != OP_MATMUL ||
        term->place != PLACE_NONE || term->last != s + 1)
        return VALUE_NONE;
    for (uint32_t k = 0; k < 2; k++)
        if (p->value[add->in[k]].tensor.dtype != DTYPE_F32)
            return VALUE_NONE;
    return sum->tensor.dtype == DTYPE_F32 && p->value[embed->in[1]].tensor.dtype == DTYPE_F32
               ? v
               : VALUE_NONE;
}

static void merges_find(struct graph_plan *p)
{
    for (uint32_t s = 0; s + 1 < p->steps; s++) {
        value_id v = merge_term(p, s);

        if (v == VALUE_NONE)
            continue;
        p->merged[s] = true;
        p->value[v].place = PLACE_OUTPUT;
        p->value[v].port = p->value[p->g->node[p->step[s + 1]].out].port;
    }
}

static void step_give(struct graph_plan *p, struct layout *l, uint32_t s, value_id v)
{
    struct plan_value *root = &p->value[p->value[v].root];

    if (root->place != PLACE_BLOCK || root->last != s)
        return;
    root->last = UINT32_MAX; /* given back once, though the node may use it twice */
    layout_give(l, root->offset, padded_bytes(p->g, p->value[v].root));
}

/* Where operator and live ranges allow it, output k takes over the place of input k, which dies at
 * this step: same size, no other input of the node lies there. */
static bool step_take_over(struct graph_plan *p, const struct graph_node *n, uint32_t s, uint32_t k)
{
    const struct op_info *info = op_info(n->op);
    struct plan_value *in, *out = &p->value[n->out + k];
    value_id root;

    if (!info->in_place || k >= info->inputs)
        return false;
    root = p->value[n->in[k]].root;
    in = &p->value[root];
    if (in->place != PLACE_BLOCK || in->last != s ||
        graph_value_bytes(p->g, root) != graph_value_bytes(p->g, n->out + k))
        return false;
    for (uint32_t j = 0; j < info->inputs; j++)
        if (j != k && p->value[n->in[j]].root == root)
            return false;
    in->last = UINT32_MAX; /* the output gives it back */
    out->place = PLACE_BLOCK;
    out->offset = in->offset;
    return true;
}

static enum emac_status places_inside(struct graph_plan *p, struct emac_err *err)
{
    const struct graph *g = p->g;
    struct layout l = {0};
    enum emac_status st;

    /* Each hole is what one or more values left: never more holes than values. */
    EMAC_TRY(st, emac_alloc(&l.hole, (size_t)g->values + 1, sizeof(*l.hole), err));
    for (uint32_t s = 0; s < p->steps; s++) {
        const struct graph_node *n = &g->node[p->step[s]];
        const struct op_info *info = op_info(n->op);

        for (uint32_t k = 0; k < info->outputs; k++) {
            struct plan_value *v = &p->value[n->out + k];

            if (v->root != n->out + k || v->place != PLACE_NONE || step_take_over(p, n, s, k))
                continue;
            v->place = PLACE_BLOCK;
            v->offset = layout_take(&l, padded_bytes(g, n->out + k));
        }
        for (uint32_t k = 0; k < info->inputs; k++)
            step_give(p, &l, s, n->in[k]);
        for (uint32_t k = 0; k < info->outputs; k++)
            step_give(p, &l, s, n->out + k);
    }
    EMAC_ASSERT(l.holes == 0 && l.end == 0);
    p->bytes = l.peak;
out:
    free(l.hole);
    return st;
}

static enum emac_status steps_collect(struct graph_plan *p, struct emac_err *err)
{
    const struct graph *g = p->g;
    bool *needed = NULL;
    enum emac_status st;

    EMAC_TRY(st, emac_alloc(&needed, (size_t)g->nodes + 1, sizeof(*needed), err));
    EMAC_TRY(st, emac_alloc(&p->step, (size_t)g->nodes + 1, sizeof(*p->step), err));
    graph_mark_needed(g, needed);
    for (uint32_t i = 0; i < g->nodes; i++)
        if (needed[i])
            p->step[p->steps++] = i;
out:
    free(needed);
    return st;
}

enum emac_status graph_plan_new(const struct graph *g, struct graph_plan **out,
                                struct emac_err *err)
{
    struct graph_plan *p = NULL;
    enum emac_status st;

    *out = NULL;
    EMAC_TRY(st, graph_status(g, err));
    if (g->outputs == 0)
        return emac_fail(err, EMAC_INVALID, "the graph has no outputs; name at least one");
    EMAC_TRY(st, emac_alloc(&p, 1, sizeof(*p), err));
    p->g = g;
    EMAC_TRY(st, emac_alloc(&p->value, g->values, sizeof(*p->value), err));
    EMAC_TRY(st, emac_alloc(&p->input, (size_t)g->inputs + 1, sizeof(*p->input), err));
    EMAC_TRY(st, emac_alloc(&p->output, g->outputs, sizeof(*p->output), err));
    EMAC_TRY(st, emac_alloc(&p->made, g->outputs, sizeof(*p->made), err));
    EMAC_TRY(st, steps_collect(p, err));
    places_outside(p);
    live_ranges(p);
    EMAC_TRY(st, emac_alloc(&p->merged, (size_t)p->steps + 1, sizeof(*p->merged), err));
    merges_find(p);
    EMAC_TRY(st, places_inside(p, err));
    *out = p;
    p = NULL;
out:
    graph_plan_free(p);
    return st;
}

void graph_plan_free(struct graph_plan *p)
{
    if (p == NULL)
        return;
    free(p->value);
    free(p->step);
    free(p->merged);
    free(p->input);
    free(p->output);
    free(p->made);
    device_free(p->dev, p->block);
    free(p);
}

size_t graph_plan_bytes(const struct graph_plan *p)
{
    return p->bytes;
}

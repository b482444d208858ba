/* The forward and backward graphs of a stage. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "compute/pack.h"
#include "graph/stages_internal.h"

struct piece {
    const struct stages *st;
    const struct graph *g;
    uint32_t stage;
    uint32_t *users;    /* per value: bit s: stage s takes it */
    bool *contribution; /* per value: of the gradient of a weight, and of nothing else */
    bool *inside;       /* per node: it is computed here */
    value_id *map;
};

static void piece_release(struct piece *p)
{
    free(p->users);
    free(p->contribution);
    free(p->inside);
    free(p->map);
}

static bool is_backward(const struct graph *g, uint32_t node)
{
    return g->node[node].origin != NODE_NONE;
}

/* What takes nothing is made wherever it is needed. */
static bool is_constant(const struct graph *g, uint32_t node)
{
    return op_info(g->node[node].op)->inputs == 0;
}

static bool is_gradient_port(const char *name)
{
    return strncmp(name, "sum/grad.", 9) == 0;
}

/* The stage that gives an output of the whole. */
static uint32_t output_stage(const struct piece *p, uint32_t i)
{
    const struct graph_named *out = &p->g->output[i];
    const struct stage_weight *w = stage_weight_of(p->st, out->name);
    uint32_t node = p->g->value[out->value].node;

    if (w != NULL)
        return w->stage;
    return node == NODE_NONE ? p->st->count - 1 : stage_of_node(p->st, p->g, node);
}

static void users_scan(struct piece *p)
{
    const struct graph *g = p->g;

    for (uint32_t i = 0; i < g->nodes; i++) {
        const struct op_info *info = op_info(g->node[i].op);

        for (uint32_t k = 0; k < info->inputs; k++)
            p->users[g->node[i].in[k]] |= 1u << stage_of_node(p->st, g, i);
    }
    for (uint32_t i = 0; i < g->outputs; i++)
        p->users[g->output[i].value] |= 1u << output_stage(p, i);
}

/* A value that only additions take, and they lead to outputs "sum/grad.", is a contribution. */
static void contributions_scan(struct piece *p)
{
    const struct graph *g = p->g;

    for (value_id v = 0; v < g->values; v++)
        p->contribution[v] = true;
    for (uint32_t i = 0; i < g->outputs; i++)
        if (!is_gradient_port(g->output[i].name))
            p->contribution[g->output[i].value] = false;
    for (uint32_t i = g->nodes; i-- > 0;) {
        const struct graph_node *n = &g->node[i];
        bool adds = n->op == OP_ADD && p->contribution[n->out];

        for (uint32_t k = 0; k < op_info(n->op)->inputs; k++)
            p->contribution[n->in[k]] &= adds;
    }
}

static enum emac_status piece_init(struct piece *p, const struct stages *st, const struct graph *g,
                                   uint32_t stage, struct emac_err *err)
{
    size_t values = (size_t)g->values + 1;
    enum emac_status status;

    EMAC_ASSERT(stage < st->count);
    *p = (struct piece){.st = st, .g = g, .stage = stage};
    EMAC_TRY(status, graph_status(g, err));
    EMAC_TRY(status, emac_alloc(&p->users, values, sizeof(*p->users), err));
    EMAC_TRY(status, emac_alloc(&p->contribution, values, sizeof(*p->contribution), err));
    EMAC_TRY(status, emac_alloc(&p->map, values, sizeof(*p->map), err));
    EMAC_TRY(status, emac_alloc(&p->inside, (size_t)g->nodes + 1, sizeof(*p->inside), err));
    for (value_id v = 0; v < g->values; v++)
        p->map[v] = VALUE_NONE;
    users_scan(p);
    contributions_scan(p);
out:
    return status;
}

/* Does this stage hand v, which it makes in that pass, on to stage t? */
static bool hands_over(const struct piece *p, value_id v, bool backward, uint32_t t)
{
    uint32_t node = p->g->value[v].node;

    return node != NODE_NONE && !is_constant(p->g, node) && is_backward(p->g, node) == backward &&
           stage_of_node(p->st, p->g, node) == p->stage &&
           (backward ? t < p->stage : t > p->stage) && (p->users[v] >> t & 1) != 0;
}

static void handed_name(const struct piece *p, value_id v, uint32_t from, uint32_t to,
                        char out[GRAPH_NAME_MAX])
{
    bool backward = is_backward(p->g, p->g->value[v].node);

    snprintf(out, GRAPH_NAME_MAX, "%s.%u.%u/v%u", backward ? "back" : "act", from, to,
             graph_canonical_id(p->g, v));
}

/* How v travels. */
static enum stage_form form_of(const struct piece *p, value_id v)
{
    bool rounded = p->g->value[v].type.dtype == DTYPE_F32 && !p->contribution[v];

    return rounded ? p->st->form : STAGE_F32;
}

static const struct pack int8 = {.format = PACK_INT8};

/* A value of another stage, as it was. */
static value_id form_take(const struct piece *p, struct graph *to, const char *name, value_id v)
{
    const struct tensor *type = &p->g->value[v].type;
    struct op_attrs attrs = {.at = {{.i = PACK_INT8}}};
    size_t count = 0;
    value_id packed;

    if (form_of(p, v) != STAGE_INT8)
        return graph_input(to, name, form_of(p, v) == STAGE_BF16 ? DTYPE_BF16 : type->dtype,
                           type->shape);
    for (uint32_t i = 0; i < type->shape.rank; i++)
        attrs.at[2 + i].i = (int64_t)type->shape.dim[i];
    if (!shape_count(&type->shape, &count))
        EMAC_ASSERT(!"a value of a graph has a size");
    packed =
        graph_input(to, name, DTYPE_U8, SHAPE2(pack_blocks(&int8, count), pack_block_bytes(&int8)));
    return graph_op(to, OP_UNPACK, &attrs, 1, &packed);
}

static value_id form_give(const struct piece *p, struct graph *to, value_id v)
{
    const struct op_attrs attrs = {.at = {{.i = PACK_INT8}}};
    value_id given = p->map[v];

    switch (form_of(p, v)) {
    case STAGE_BF16:
        return graph_op_bf16(to, OP_COPY, NULL, 1, &given);
    case STAGE_INT8:
        return graph_op(to, OP_PACK, &attrs, 1, &given);
    case STAGE_F32:
    case STAGE_FORMS:
        break;
    }
    return given;
}

static value_id piece_enter(void *ctx, struct graph *to, value_id v)
{
    const struct piece *p = ctx;
    const struct graph_value *val = &p->g->value[v];
    char name[GRAPH_NAME_MAX];
    uint32_t from;

    if (val->node == NODE_NONE) {
        const char *port = p->g->input[val->slot].name;
        const char *frozen = stage_base_weight(port);

        if (frozen != NULL)
            stage_frozen_name(p->stage, frozen, name);
        else
            stage_port_name(p->st, port, name);
        return graph_input(to, name, val->type.dtype, val->type.shape);
    }
    from = stage_of_node(p->st, p->g, val->node);
    if (from == p->stage || (from > p->stage) != is_backward(p->g, val->node)) {
        graph_fail(to, EMAC_INVALID,
                   "the graph cannot be cut here: node %u of stage %u is needed in stage %u",
                   val->node, from, p->stage);
        return VALUE_NONE;
    }
    handed_name(p, v, from, p->stage, name);
    return form_take(p, to, name, v);
}

/* Mark what the values in `wanted` (per value) take of this stage's nodes. */
static void inside_mark(struct piece *p, bool *wanted)
{
    const struct graph *g = p->g;

    for (uint32_t i = g->nodes; i-- > 0;) {
        const struct graph_node *n = &g->node[i];
        const struct op_info *info = op_info(n->op);
        bool needed = false;

        for (uint32_t k = 0; k < info->outputs; k++)
            needed |= wanted[n->out + k];
        p->inside[i] = needed && (is_constant(g, i) || stage_of_node(p->st, g, i) == p->stage);
        for (uint32_t k = 0; k < info->inputs && p->inside[i]; k++)
            wanted[n->in[k]] = true;
    }
}

/* Outputs of the whole graph that this one gives. */
static bool gives_output(const struct piece *p, uint32_t i, bool backward)
{
    bool last = p->stage + 1 == p->st->count;

    if (output_stage(p, i) != p->stage)
        return false;
    return backward ? last || is_gradient_port(p->g->output[i].name)
                    : last && !is_gradient_port(p->g->output[i].name);
}

static void outputs_add(struct piece *p, struct graph *to, bool backward)
{
    const struct graph *g = p->g;
    char name[GRAPH_NAME_MAX];

    for (uint32_t i = 0; i < g->outputs; i++) {
        value_id v = g->output[i].value;

        if (!gives_output(p, i, backward))
            continue;
        if (p->map[v] == VALUE_NONE) /* handed through */
            p->map[v] = piece_enter(p, to, v);
        graph_output(to, g->output[i].name, p->map[v]);
    }
    for (uint32_t t = 0; t < p->st->count; t++) {
        for (value_id v = 0; v < g->values; v++) {
            if (!hands_over(p, v, backward, t))
                continue;
            handed_name(p, v, p->stage, t, name);
            graph_output(to, name, form_give(p, to, v));
        }
    }
}

static enum emac_status piece_build(const struct stages *st, const struct graph *g, uint32_t stage,
                                    bool backward, struct graph **out, struct emac_err *err)
{
    struct piece p;
    struct graph *to = graph_new();
    bool *wanted = NULL;
    enum emac_status status;

    *out = NULL;
    EMAC_TRY(status, piece_init(&p, st, g, stage, err));
    EMAC_TRY(status, emac_alloc(&wanted, (size_t)g->values + 1, sizeof(*wanted), err));
    for (uint32_t i = 0; i < g->outputs; i++)
        if (gives_output(&p, i, backward))
            wanted[g->output[i].value] = true;
    for (value_id v = 0; v < g->values; v++)
        for (uint32_t t = 0; t < st->count; t++)
            wanted[v] |= hands_over(&p, v, backward, t);
    inside_mark(&p, wanted);
    graph_copy_nodes(g, p.inside, piece_enter, &p, p.map, to);
    outputs_add(&p, to, backward);
out:
    piece_release(&p);
    free(wanted);
    return graph_end(to, status, out, err);
}

enum emac_status stage_forward(const struct stages *st, const struct graph *g, uint32_t s,
                               struct graph **out, struct emac_err *err)
{
    return piece_build(st, g, s, false, out, err);
}

enum emac_status stage_backward(const struct stages *st, const struct graph *train, uint32_t s,
                                struct graph **out, struct emac_err *err)
{
    return piece_build(st, train, s, true, out, err);
}

/* The graphs of a stage's state: initial weights, the optimiser's step; and the whole's weights out
 * of the stages'.
 *
 * In an optimiser's graph each value depends on the tensors of some stages. What a stage's outputs
 * come of leads back to values of other stages alone, like a sum of squares that is added to the
 * next: these are `shares`. reduce(s) gives those of stage s, and the steps take them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "graph/stages_internal.h"

#define SHARE_BYTES_MAX 64

struct state {
    const struct stages *st;
    const struct graph *g;
    uint32_t stage;
    uint32_t *of;  /* per value: bit s: it depends on stage s */
    bool *share;   /* per value */
    bool *inside;  /* per node */
    value_id *map; /* per value */
};

static void state_release(struct state *s)
{
    free(s->of);
    free(s->share);
    free(s->inside);
    free(s->map);
}

static bool is_one(uint32_t stages)
{
    return stages != 0 && (stages & (stages - 1)) == 0;
}

/* "sum/loss" is the last stage's. */
static uint32_t port_stages(const struct stages *st, const char *name)
{
    const struct stage_weight *w = stage_weight_of(st, name);

    if (w != NULL)
        return 1u << w->stage;
    return strncmp(name, "sum/", 4) == 0 ? 1u << (st->count - 1) : 0;
}

static void depends_scan(struct state *s)
{
    const struct graph *g = s->g;

    for (uint32_t i = 0; i < g->inputs; i++)
        s->of[g->input[i].value] = port_stages(s->st, g->input[i].name);
    for (uint32_t i = 0; i < g->nodes; i++) {
        const struct graph_node *n = &g->node[i];
        const struct op_info *info = op_info(n->op);
        uint32_t of = 0;

        for (uint32_t k = 0; k < info->inputs; k++)
            of |= s->of[n->in[k]];
        for (uint32_t k = 0; k < info->outputs; k++)
            s->of[n->out + k] = of;
    }
}

/* Outputs that are about no weight are the last stage's. */
static bool output_is_of(const struct stages *st, const char *name, uint32_t stage)
{
    uint32_t of = port_stages(st, name);

    return of == 0 ? stage + 1 == st->count : of == 1u << stage;
}

/* Mark the shares that the step of `stage` takes; `wanted` is room, one per value. */
static void shares_scan(struct state *s, uint32_t stage, bool *wanted)
{
    const struct graph *g = s->g;

    memset(wanted, 0, g->values * sizeof(*wanted));
    for (uint32_t i = 0; i < g->outputs; i++)
        if (output_is_of(s->st, g->output[i].name, stage))
            wanted[g->output[i].value] = true;
    for (uint32_t i = g->nodes; i-- > 0;) {
        const struct graph_node *n = &g->node[i];
        const struct op_info *info = op_info(n->op);
        bool needed = false;

        for (uint32_t k = 0; k < info->outputs; k++)
            needed |= wanted[n->out + k];
        for (uint32_t k = 0; k < info->inputs && needed; k++) {
            value_id v = n->in[k];

            if (is_one(s->of[v]) && s->of[v] != 1u << stage)
                s->share[v] = true;
            else
                wanted[v] = true;
        }
    }
}

static enum emac_status state_init(struct state *s, const struct stages *st, const struct graph *g,
                                   uint32_t stage, struct emac_err *err)
{
    size_t values = (size_t)g->values + 1;
    bool *room = NULL;
    enum emac_status status;

    EMAC_ASSERT(stage < st->count);
    *s = (struct state){.st = st, .g = g, .stage = stage};
    EMAC_TRY(status, graph_status(g, err));
    EMAC_TRY(status, emac_alloc(&s->of, values, sizeof(*s->of), err));
    EMAC_TRY(status, emac_alloc(&s->share, values, sizeof(*s->share), err));
    EMAC_TRY(status, emac_alloc(&s->map, values, sizeof(*s->map), err));
    EMAC_TRY(status, emac_alloc(&s->inside, (size_t)g->nodes + 1, sizeof(*s->inside), err));
    for (value_id v = 0; v < g->values; v++)
        s->map[v] = VALUE_NONE;
    depends_scan(s);
    EMAC_TRY(status, emac_alloc(&room, values, sizeof(*room), err));
    for (uint32_t t = 0; t < st->count; t++)
        shares_scan(s, t, room);
    for (value_id v = 0; v < g->values; v++)
        if (s->share[v] && graph_value_bytes(g, v) > SHARE_BYTES_MAX)
            status = emac_fail(err, EMAC_UNSUPPORTED,
                               "this optimiser takes %zu bytes of one stage for another's step: it "
                               "cannot be cut into stages",
                               graph_value_bytes(g, v));
out:
    free(room);
    return status;
}

static uint32_t stage_of_bit(uint32_t bit)
{
    return (uint32_t)__builtin_ctz(bit);
}

static void share_name(const struct state *s, value_id v, char out[GRAPH_NAME_MAX])
{
    snprintf(out, GRAPH_NAME_MAX, "squares.%u/v%u", stage_of_bit(s->of[v]),
             graph_canonical_id(s->g, v));
}

/* `ctx` is the state; a share comes from the reduce of its stage. */
static value_id step_enter(void *ctx, struct graph *to, value_id v)
{
    const struct state *s = ctx;
    const struct graph_value *val = &s->g->value[v];
    char name[GRAPH_NAME_MAX];

    if (s->share[v])
        share_name(s, v, name);
    else
        stage_port_name(s->st, s->g->input[val->slot].name, name);
    return graph_input(to, name, val->type.dtype, val->type.shape);
}

static value_id reduce_enter(void *ctx, struct graph *to, value_id v)
{
    const struct state *s = ctx;
    const struct graph_value *val = &s->g->value[v];
    char name[GRAPH_NAME_MAX];

    stage_port_name(s->st, s->g->input[val->slot].name, name);
    return graph_input(to, name, val->type.dtype, val->type.shape);
}

/* Mark the nodes that the values in `wanted` need, not past shares if those are to be taken. */
static void inside_mark(struct state *s, bool *wanted, bool take_shares)
{
    const struct graph *g = s->g;

    for (uint32_t i = g->nodes; i-- > 0;) {
        const struct graph_node *n = &g->node[i];
        const struct op_info *info = op_info(n->op);

        for (uint32_t k = 0; k < info->outputs; k++)
            s->inside[i] |= wanted[n->out + k] && !(take_shares && s->share[n->out + k]);
        for (uint32_t k = 0; k < info->inputs && s->inside[i]; k++)
            wanted[n->in[k]] = true;
    }
}

static value_id value_get(struct state *s, struct graph *to, graph_enter_fn *enter, value_id v)
{
    if (s->map[v] == VALUE_NONE)
        s->map[v] = enter(s, to, v);
    return s->map[v];
}

static enum emac_status part_build(const struct stages *st, const struct graph *g, uint32_t stage,
                                   struct graph **out, struct emac_err *err)
{
    struct state s;
    struct graph *to = graph_new();
    bool *wanted = NULL;
    enum emac_status status;
    char name[GRAPH_NAME_MAX];

    *out = NULL;
    EMAC_TRY(status, state_init(&s, st, g, stage, err));
    EMAC_TRY(status, emac_alloc(&wanted, (size_t)g->values + 1, sizeof(*wanted), err));
    for (uint32_t i = 0; i < g->outputs; i++)
        if (output_is_of(st, g->output[i].name, stage))
            wanted[g->output[i].value] = true;
    inside_mark(&s, wanted, true);
    graph_copy_nodes(g, s.inside, step_enter, &s, s.map, to);
    for (uint32_t i = 0; i < g->outputs; i++) {
        if (!output_is_of(st, g->output[i].name, stage))
            continue;
        stage_port_name(st, g->output[i].name, name);
        graph_output(to, name, value_get(&s, to, step_enter, g->output[i].value));
    }
out:
    state_release(&s);
    free(wanted);
    return graph_end(to, status, out, err);
}

enum emac_status stage_init(const struct stages *st, const struct graph *init, uint32_t s,
                            struct graph **out, struct emac_err *err)
{
    return part_build(st, init, s, out, err);
}

/* The base's tensor as it is; an input that the graph has already is taken again. */
static value_id whole_enter(struct graph *g, const struct stage_frozen *f)
{
    char name[GRAPH_NAME_MAX];

    snprintf(name, sizeof(name), "whole/%s", f->name);
    for (uint32_t i = 0; i < graph_input_count(g); i++)
        if (strcmp(graph_input_at(g, i).name, name) == 0)
            return graph_input_at(g, i).value;
    return graph_input(g, name, f->dtype, f->shape);
}

void stage_init_freeze(const struct stages *st, uint32_t s, struct graph *init)
{
    char name[GRAPH_NAME_MAX];

    for (uint32_t i = 0; i < st->frozens; i++) {
        const struct stage_frozen *f = &st->frozen[i];

        if ((f->users >> s & 1) == 0)
            continue;
        stage_frozen_name(s, f->name, name);
        graph_output(init, name, whole_enter(init, f));
    }
}

enum emac_status stage_step(const struct stages *st, const struct graph *step, uint32_t s,
                            struct graph **out, struct emac_err *err)
{
    return part_build(st, step, s, out, err);
}

/* The sum itself, tensor by tensor. */
static void sums_pass(struct state *s, struct graph *to)
{
    const struct graph *g = s->g;

    for (uint32_t i = 0; i < g->inputs; i++)
        if (strncmp(g->input[i].name, "sum/", 4) == 0 &&
            port_stages(s->st, g->input[i].name) == 1u << s->stage)
            graph_output(to, g->input[i].name, value_get(s, to, reduce_enter, g->input[i].value));
}

enum emac_status stage_reduce(const struct stages *st, const struct graph *step, uint32_t stage,
                              struct graph **out, struct emac_err *err)
{
    struct state s;
    struct graph *to = graph_new();
    bool *wanted = NULL;
    enum emac_status status;
    char name[GRAPH_NAME_MAX];

    *out = NULL;
    EMAC_TRY(status, state_init(&s, st, step, stage, err));
    EMAC_TRY(status, emac_alloc(&wanted, (size_t)step->values + 1, sizeof(*wanted), err));
    for (value_id v = 0; v < step->values; v++)
        wanted[v] = s.share[v] && s.of[v] == 1u << stage;
    inside_mark(&s, wanted, false);
    graph_copy_nodes(step, s.inside, reduce_enter, &s, s.map, to);
    for (value_id v = 0; v < step->values; v++) {
        if (!s.share[v] || s.of[v] != 1u << stage)
            continue;
        share_name(&s, v, name);
        graph_output(to, name, value_get(&s, to, reduce_enter, v));
    }
    sums_pass(&s, to);
out:
    state_release(&s);
    free(wanted);
    return graph_end(to, status, out, err);
}

enum emac_status stages_join(const struct stages *st, const struct graph *init, struct graph **out,
                             struct emac_err *err)
{
    struct graph *to = graph_new();
    enum emac_status status;
    char name[GRAPH_NAME_MAX];

    *out = NULL;
    EMAC_TRY(status, graph_status(init, err));
    for (uint32_t i = 0; i < init->outputs; i++) {
        const struct graph_named *port = &init->output[i];
        const struct tensor *type = &init->value[port->value].type;

        if (strncmp(port->name, "params/", 7) != 0)
            continue;
        stage_port_name(st, port->name, name);
        graph_output(to, port->name, graph_input(to, name, type->dtype, type->shape));
    }
out:
    return graph_end(to, status, out, err);
}

/* Reverse-mode differentiation (Griewank & Walther, "Evaluating Derivatives"): the forward nodes
 * are walked from the loss back; each hands the gradient of its result on to its inputs.
 *
 * What makes the result one fixed graph, whose CID is its identity:
 * INV-G1  nodes are walked from the loss's maker down to 0, each at most once;
 * INV-G2  contributions to a value are pushed in front of its list, so the list runs in the order
 *         of the forward uses (and of input positions within a node), and are added in that order;
 * INV-G3  they are added right after the node that used the value first, when the list is
 *         complete: no earlier node uses it. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "graph/graph_internal.h"

#define ITEM_NONE UINT32_MAX

/* A gradient, or none. A uniform one is a scalar standing for a tensor full of it. */
struct grad_ref {
    value_id value;
    bool uniform;
};

struct grad_item {
    struct grad_ref ref;
    uint32_t next;
};

struct grad_state {
    struct graph *g;
    uint32_t nodes, values; /* of the forward part that is walked */
    bool *active;           /* per value: depends on some wrt */
    uint32_t *first_use;    /* per value: lowest node that takes it */
    uint32_t *head;         /* per value: list of contributions */
    struct grad_ref *total; /* per value, once settled */
    struct grad_item *item;
    uint32_t items;
};

static void state_release(struct grad_state *s)
{
    free(s->active);
    free(s->first_use);
    free(s->head);
    free(s->total);
    free(s->item);
}

static enum emac_status state_init(struct grad_state *s, struct graph *g, value_id loss,
                                   struct emac_err *err)
{
    uint32_t maker = g->value[loss].node;
    size_t uses = 1;
    enum emac_status st;

    *s = (struct grad_state){.g = g, .values = g->values};
    s->nodes = maker == NODE_NONE ? 0 : maker + 1;
    for (uint32_t i = 0; i < s->nodes; i++)
        uses += op_info(g->node[i].op)->inputs;
    EMAC_TRY(st, emac_alloc(&s->active, s->values, sizeof(*s->active), err));
    EMAC_TRY(st, emac_alloc(&s->first_use, s->values, sizeof(*s->first_use), err));
    EMAC_TRY(st, emac_alloc(&s->head, s->values, sizeof(*s->head), err));
    EMAC_TRY(st, emac_alloc(&s->total, s->values, sizeof(*s->total), err));
    EMAC_TRY(st, emac_alloc(&s->item, uses, sizeof(*s->item), err));
    for (uint32_t v = 0; v < s->values; v++) {
        s->first_use[v] = NODE_NONE;
        s->head[v] = ITEM_NONE;
        s->total[v].value = VALUE_NONE;
    }
out:
    return st;
}

/* Which values depend on wrt, and who uses each first. */
static void state_scan(struct grad_state *s, uint32_t n, const value_id *wrt)
{
    for (uint32_t i = 0; i < n; i++)
        s->active[wrt[i]] = true;
    for (uint32_t i = 0; i < s->nodes; i++) {
        const struct graph_node *node = &s->g->node[i];
        const struct op_info *info = op_info(node->op);
        bool active = false;

        for (uint32_t k = 0; k < info->inputs; k++) {
            active |= s->active[node->in[k]];
            if (s->first_use[node->in[k]] == NODE_NONE)
                s->first_use[node->in[k]] = i;
        }
        for (uint32_t k = 0; k < info->outputs && active; k++)
            s->active[node->out + k] = true;
    }
}

/* The tensor a uniform gradient of value `of` stands for. */
static value_id materialise(struct graph *g, struct grad_ref ref, value_id of)
{
    struct op_attrs attrs;
    struct shape shape;
    enum dtype dtype;
    value_id in[2];

    if (!ref.uniform || ref.value == VALUE_NONE)
        return ref.value;
    graph_value_info(g, of, &dtype, &shape);
    attrs = (struct op_attrs){.at = {{.i = (int64_t)shape.dim[0]},
                                     {.i = shape.rank == 2 ? (int64_t)shape.dim[1] : 0},
                                     {.f = 1.0f}}};
    for (uint32_t i = 1; shape.rank > 2 && i < shape.rank; i++)
        attrs.at[0].i *= (int64_t)shape.dim[i];
    in[0] = graph_op(g, OP_FILL, &attrs, 0, NULL);
    if (shape.rank > 2)
        in[0] = graph_view(g, in[0], shape);
    in[1] = ref.value;
    return graph_op(g, OP_SCALE, NULL, 2, in);
}

/* Add up the contributions to v (INV-G2). */
static void settle(struct grad_state *s, value_id v)
{
    struct grad_ref sum = {VALUE_NONE, false};

    if (s->total[v].value != VALUE_NONE)
        return;
    for (uint32_t i = s->head[v]; i != ITEM_NONE; i = s->item[i].next) {
        if (sum.value == VALUE_NONE) {
            sum = s->item[i].ref;
        } else {
            value_id in[2];

            in[0] = materialise(s->g, sum, v);
            in[1] = materialise(s->g, s->item[i].ref, v);
            sum = (struct grad_ref){graph_op(s->g, OP_ADD, NULL, 2, in), false};
        }
    }
    s->total[v] = sum;
}

static void push(struct grad_state *s, value_id v, struct grad_ref ref)
{
    s->item[s->items] = (struct grad_item){ref, s->head[v]};
    s->head[v] = s->items++;
}

/* dy in the form that the rule takes; VALUE_NONE after a failure. */
static value_id rule_dy(struct grad_state *s, uint32_t at, const struct grad_rule *rule)
{
    struct graph *g = s->g;
    value_id y = g->node[at].out;
    struct grad_ref dy = s->total[y];
    size_t count = 0;

    if (!rule->takes_uniform)
        return materialise(g, dy, y);
    if (!dy.uniform && (!shape_count(&g->value[y].type.shape, &count) || count != 1))
        graph_fail(g, EMAC_UNSUPPORTED,
                   "node %u (%s): its results must be summed with 'sum', so that each has the "
                   "same gradient",
                   at, op_info(g->node[at].op)->name);
    return dy.value;
}

/* Refuse what the rule cannot do: no rule, gradients of saved statistics, of ids and tables. */
static bool node_check(struct grad_state *s, uint32_t at, const struct grad_rule *rule)
{
    const struct graph_node *node = &s->g->node[at];
    const struct op_info *info = op_info(node->op);

    for (uint32_t k = 1; k < info->outputs; k++)
        if (s->total[node->out + k].value != VALUE_NONE)
            rule = NULL;
    if (rule == NULL || rule->apply == NULL) {
        graph_fail(s->g, EMAC_UNSUPPORTED, "node %u (%s): the gradient of this %s is not defined",
                   at, info->name, rule == NULL ? "operator's second output" : "operator");
        return false;
    }
    for (uint32_t k = 0; k < info->inputs; k++) {
        if (s->active[node->in[k]] && (rule->inputs >> k & 1) == 0) {
            graph_fail(s->g, EMAC_UNSUPPORTED,
                       "node %u (%s): the gradient with respect to input %u is not defined", at,
                       info->name, k);
            return false;
        }
    }
    return true;
}

static void node_back(struct grad_state *s, uint32_t at)
{
    const struct graph_node *node = &s->g->node[at];
    const struct op_info *info = op_info(node->op);
    const struct grad_rule *rule = graph_grad_rule(node->op);
    struct grad_step step = {.g = s->g, .node = *node};
    bool flows = false, wanted = false;

    for (uint32_t k = 0; k < info->outputs; k++)
        flows |= s->total[node->out + k].value != VALUE_NONE;
    for (uint32_t k = 0; k < info->inputs; k++) {
        step.want[k] = s->active[node->in[k]];
        step.din[k] = VALUE_NONE;
        wanted |= step.want[k];
    }
    if (!flows || !wanted || !node_check(s, at, rule))
        return;
    step.dy = rule_dy(s, at, rule);
    rule->apply(&step);
    for (uint32_t k = info->inputs; k-- > 0;)
        if (step.want[k] && step.din[k] != VALUE_NONE)
            push(s, step.node.in[k], (struct grad_ref){step.din[k], step.din_uniform});
}

static enum emac_status args_check(const struct graph *g, value_id loss, value_id seed, uint32_t n,
                                   const value_id *wrt, struct emac_err *err)
{
    const struct shape one = SHAPE1(1);

    if (loss >= g->values || seed >= g->values || !shape_equal(&g->value[loss].type.shape, &one) ||
        !shape_equal(&g->value[seed].type.shape, &one) || g->value[loss].type.dtype != DTYPE_F32 ||
        g->value[seed].type.dtype != DTYPE_F32)
        return emac_fail(err, EMAC_INVALID,
                         "loss and its gradient must be f32[1] to differentiate");
    for (uint32_t i = 0; i < n; i++)
        if (wrt[i] >= g->values ||
            (g->value[wrt[i]].type.dtype != DTYPE_F32 && g->value[wrt[i]].type.dtype != DTYPE_BF16))
            return emac_fail(err, EMAC_INVALID,
                             "no gradient with respect to value %u: not f32 or bf16", wrt[i]);
    return EMAC_OK;
}

/* Nodes from `from` on belong to the gradient of node `at`. */
static void origin_set(struct graph *g, uint32_t from, uint32_t at)
{
    for (uint32_t i = from; i < g->nodes; i++)
        g->node[i].origin = at;
}

enum emac_status graph_grad(struct graph *g, value_id loss, value_id seed, uint32_t n,
                            const value_id *wrt, value_id *grad, struct emac_err *err)
{
    struct grad_state s = {0};
    enum emac_status st;

    EMAC_TRY(st, graph_status(g, err));
    EMAC_TRY(st, args_check(g, loss, seed, n, wrt, err));
    EMAC_TRY(st, state_init(&s, g, loss, err));
    state_scan(&s, n, wrt);
    if (s.active[loss])
        s.total[loss].value = seed;
    for (uint32_t at = s.nodes; at-- > 0 && g->status == EMAC_OK;) {
        struct graph_node node;
        uint32_t made = g->nodes;

        node_back(&s, at);
        node = g->node[at];
        for (uint32_t k = 0; k < op_info(node.op)->inputs; k++)
            if (s.first_use[node.in[k]] == at)
                settle(&s, node.in[k]);
        origin_set(g, made, at);
    }
    for (uint32_t i = 0; i < n && g->status == EMAC_OK; i++) {
        uint32_t made = g->nodes;

        grad[i] = materialise(g, s.total[wrt[i]], wrt[i]);
        origin_set(g, made, s.first_use[wrt[i]]);
    }
    if (g->status != EMAC_OK)
        st = emac_fail(err, g->status, "%s", g->err.text);
out:
    state_release(&s);
    return st;
}

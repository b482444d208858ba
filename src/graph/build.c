/* Building a graph: inputs, operators, outputs; each checked as it is added. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "graph/graph_internal.h"

struct graph *graph_new(void)
{
    struct graph *g = calloc(1, sizeof(*g));

    EMAC_ASSERT(g != NULL);
    return g;
}

static void names_free(struct graph_named *named, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        free(named[i].name);
    free(named);
}

void graph_free(struct graph *g)
{
    if (g == NULL)
        return;
    names_free(g->input, g->inputs);
    names_free(g->output, g->outputs);
    free(g->node);
    free(g->value);
    free(g);
}

enum emac_status graph_fail(struct graph *g, enum emac_status status, const char *fmt, ...)
{
    char text[EMAC_ERR_TEXT_MAX];
    va_list args;

    EMAC_ASSERT(status != EMAC_OK);
    if (g->status != EMAC_OK)
        return g->status;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    g->status = emac_fail(&g->err, status, "%s", text);
    return g->status;
}

/* Room for `extra` more elements in an array that holds `count`. */
static bool grow(struct graph *g, void *array_ptr, uint32_t *cap, uint32_t count, uint32_t extra,
                 size_t size)
{
    void **array = array_ptr;
    uint32_t want = *cap < 16 ? 16 : *cap;
    void *p;

    while (want < count + extra)
        want *= 2;
    if (want == *cap)
        return true;
    p = realloc(*array, want * size);
    if (p == NULL) {
        graph_fail(g, EMAC_NO_MEMORY, "out of memory for a graph of %u elements", want);
        return false;
    }
    *array = p;
    *cap = want;
    return true;
}

static bool name_ok(const char *name)
{
    const char *slash;
    size_t n = strnlen(name, GRAPH_NAME_MAX);

    if (n == GRAPH_NAME_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if (name[i] <= 0x20 || name[i] >= 0x7f)
            return false;
    slash = strchr(name, '/');
    return slash != NULL && slash != name && slash[1] != '\0';
}

static bool port_add(struct graph *g, struct graph_named **ports, uint32_t *count, uint32_t *cap,
                     const char *name, value_id v)
{
    if (!name_ok(name)) {
        graph_fail(g, EMAC_INVALID,
                   "bad name '%.64s' of an input or output; it must be \"bundle/tensor\" in "
                   "at most %d printable characters",
                   name, GRAPH_NAME_MAX - 1);
        return false;
    }
    if (*count == GRAPH_PORTS_MAX) {
        graph_fail(g, EMAC_TOO_LARGE, "more than %d inputs or outputs at '%s'", GRAPH_PORTS_MAX,
                   name);
        return false;
    }
    if (!grow(g, ports, cap, *count, 1, sizeof(**ports)))
        return false;
    (*ports)[*count] = (struct graph_named){emac_strdup(name), v};
    (*count)++;
    return true;
}

/* Append a value of the given type, counting its bytes. */
static bool value_add(struct graph *g, const struct tensor *type, uint32_t node, uint32_t slot)
{
    size_t bytes;

    if (!shape_bytes(type->dtype, &type->shape, &bytes) || bytes > GRAPH_BYTES_MAX - g->bytes) {
        graph_fail(g, EMAC_TOO_LARGE, "the values of the graph need more than %zu bytes together",
                   GRAPH_BYTES_MAX);
        return false;
    }
    if (!grow(g, &g->value, &g->value_cap, g->values, 1, sizeof(*g->value)))
        return false;
    g->bytes += bytes;
    g->value[g->values] = (struct graph_value){*type, node, slot};
    g->value[g->values].type.data = NULL;
    g->values++;
    return true;
}

value_id graph_input(struct graph *g, const char *name, enum dtype dtype, struct shape shape)
{
    struct tensor type = {dtype, shape, NULL};
    value_id v = g->values;
    size_t count;

    if (g->status != EMAC_OK)
        return VALUE_NONE;
    if ((unsigned)dtype >= DTYPE_COUNT || !shape_count(&shape, &count)) {
        graph_fail(g, EMAC_INVALID,
                   "bad type or shape of input '%.64s'; 1 to %d dimensions of at "
                   "least 1 are needed",
                   name, TENSOR_RANK_MAX);
        return VALUE_NONE;
    }
    if (!port_add(g, &g->input, &g->inputs, &g->input_cap, name, v) ||
        !value_add(g, &type, NODE_NONE, g->inputs - 1))
        return VALUE_NONE;
    return v;
}

void graph_output(struct graph *g, const char *name, value_id v)
{
    if (g->status != EMAC_OK)
        return;
    if (v >= g->values) {
        graph_fail(g, EMAC_INVALID, "output '%.64s' names value %u of %u", name, v, g->values);
        return;
    }
    port_add(g, &g->output, &g->outputs, &g->output_cap, name, v);
}

/* Copy the operator's attributes, zero the slots it does not have. */
static bool attrs_copy(struct graph *g, enum op op, const struct op_attrs *attrs,
                       struct op_attrs *out)
{
    const struct op_info *info = op_info(op);

    memset(out, 0, sizeof(*out));
    EMAC_ASSERT(attrs != NULL || info->attrs == 0);
    for (uint32_t i = 0; i < info->attrs; i++) {
        if (info->attr_kind[i] == 'i') {
            out->at[i].i = attrs->at[i].i;
        } else if (isfinite(attrs->at[i].f)) {
            out->at[i].f = attrs->at[i].f;
        } else {
            graph_fail(g, EMAC_INVALID, "attribute '%s' of operator '%s' is not finite",
                       info->attr_name[i], info->name);
            return false;
        }
    }
    return true;
}

/* Infer the outputs' types of the node that is to be number g->nodes. */
static bool node_infer(struct graph *g, const struct graph_node *node, uint32_t n,
                       struct tensor *out)
{
    const struct op_info *info = op_info(node->op);
    struct tensor in[OP_IN_MAX];
    struct emac_err err;

    for (uint32_t i = 0; i < n; i++) {
        if (node->in[i] >= g->values) {
            graph_fail(g, EMAC_INVALID, "node %u (%s) takes value %u, but only %u exist before it",
                       g->nodes, info->name, node->in[i], g->values);
            return false;
        }
        in[i] = g->value[node->in[i]].type;
    }
    if (op_infer(node->op, &node->attrs, in, out, &err) != EMAC_OK) {
        graph_fail(g, err.status, "node %u (%s): %s", g->nodes, info->name, err.text);
        return false;
    }
    if (node->store == DTYPE_BF16 && (op_info(node->op)->alias || out[0].dtype != DTYPE_F32)) {
        graph_fail(g, EMAC_INVALID, "node %u (%s): its output cannot be stored as bf16", g->nodes,
                   info->name);
        return false;
    }
    if (node->store == DTYPE_BF16)
        out[0].dtype = DTYPE_BF16;
    return true;
}

value_id graph_op(struct graph *g, enum op op, const struct op_attrs *attrs, uint32_t n,
                  const value_id *in)
{
    return graph_node_add(g, op, DTYPE_F32, attrs, n, in);
}

value_id graph_op_bf16(struct graph *g, enum op op, const struct op_attrs *attrs, uint32_t n,
                       const value_id *in)
{
    return graph_node_add(g, op, DTYPE_BF16, attrs, n, in);
}

value_id graph_node_add(struct graph *g, enum op op, enum dtype store, const struct op_attrs *attrs,
                        uint32_t n, const value_id *in)
{
    const struct op_info *info;
    struct graph_node node = {.op = op, .store = store, .origin = NODE_NONE};
    struct tensor out[OP_OUT_MAX];

    if (g->status != EMAC_OK)
        return VALUE_NONE;
    EMAC_ASSERT((unsigned)op < OP_COUNT);
    info = op_info(op);
    if (n != info->inputs) {
        graph_fail(g, EMAC_INVALID, "node %u (%s) has %u inputs; it needs %u", g->nodes, info->name,
                   n, info->inputs);
        return VALUE_NONE;
    }
    if (g->nodes == GRAPH_NODES_MAX) {
        graph_fail(g, EMAC_TOO_LARGE, "the graph has more than %d nodes", GRAPH_NODES_MAX);
        return VALUE_NONE;
    }
    if (n > 0)
        memcpy(node.in, in, n * sizeof(*in));
    if (!attrs_copy(g, op, attrs, &node.attrs) || !node_infer(g, &node, n, out) ||
        !grow(g, &g->node, &g->node_cap, g->nodes, 1, sizeof(*g->node)))
        return VALUE_NONE;
    node.out = g->values;
    for (uint32_t i = 0; i < info->outputs; i++)
        if (!value_add(g, &out[i], g->nodes, i))
            return VALUE_NONE;
    g->node[g->nodes++] = node;
    return node.out;
}

void graph_copy_nodes(const struct graph *from, const bool *inside, graph_enter_fn *enter,
                      void *ctx, value_id *map, struct graph *to)
{
    for (uint32_t i = 0; i < from->nodes; i++) {
        const struct graph_node *n = &from->node[i];
        const struct op_info *info = op_info(n->op);
        value_id in[OP_IN_MAX], out;

        if (!inside[i])
            continue;
        for (uint32_t k = 0; k < info->inputs; k++) {
            if (map[n->in[k]] == VALUE_NONE)
                map[n->in[k]] = enter(ctx, to, n->in[k]);
            in[k] = map[n->in[k]];
        }
        out = graph_node_add(to, n->op, n->store, &n->attrs, info->inputs, in);
        for (uint32_t k = 0; k < info->outputs && out != VALUE_NONE; k++)
            map[n->out + k] = out + k;
    }
}

value_id graph_view(struct graph *g, value_id v, struct shape shape)
{
    struct op_attrs attrs = {.at = {{.i = 0}}};

    for (uint32_t i = 0; i < shape.rank && i < TENSOR_RANK_MAX; i++)
        attrs.at[i].i = (int64_t)shape.dim[i];
    return graph_op(g, shape.rank <= 2 ? OP_RESHAPE : OP_VIEW, &attrs, 1, &v);
}

static int name_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum emac_status names_unique(const struct graph_named *ports, uint32_t n, const char *what,
                                     struct emac_err *err)
{
    const char **name;
    enum emac_status st;

    if (n < 2)
        return EMAC_OK;
    EMAC_TRY(st, emac_alloc(&name, n, sizeof(*name), err));
    for (uint32_t i = 0; i < n; i++)
        name[i] = ports[i].name;
    qsort(name, n, sizeof(*name), name_order);
    for (uint32_t i = 1; i < n && st == EMAC_OK; i++)
        if (strcmp(name[i - 1], name[i]) == 0)
            st = emac_fail(err, EMAC_INVALID, "two %s of the graph are named '%s'", what, name[i]);
    free(name);
out:
    return st;
}

enum emac_status graph_status(const struct graph *g, struct emac_err *err)
{
    enum emac_status st;

    if (g->status != EMAC_OK)
        return emac_fail(err, g->status, "%s", g->err.text);
    EMAC_TRY(st, names_unique(g->input, g->inputs, "inputs", err));
    EMAC_TRY(st, names_unique(g->output, g->outputs, "outputs", err));
out:
    return st;
}

enum emac_status graph_end(struct graph *g, enum emac_status st, struct graph **out,
                           struct emac_err *err)
{
    if (st == EMAC_OK)
        st = graph_status(g, err);
    *out = st == EMAC_OK ? g : NULL;
    if (st != EMAC_OK)
        graph_free(g);
    return st;
}

void graph_value_info(const struct graph *g, value_id v, enum dtype *dtype, struct shape *shape)
{
    static const struct tensor none = {DTYPE_F32, {0}, NULL};
    const struct tensor *type = v < g->values ? &g->value[v].type : &none;

    EMAC_ASSERT(v < g->values || v == VALUE_NONE);
    *dtype = type->dtype;
    *shape = type->shape;
}

uint32_t graph_input_count(const struct graph *g)
{
    return g->inputs;
}

uint32_t graph_output_count(const struct graph *g)
{
    return g->outputs;
}

static struct graph_port port_at(const struct graph *g, const struct graph_named *p)
{
    const struct tensor *type = &g->value[p->value].type;

    return (struct graph_port){p->name, type->dtype, type->shape, p->value};
}

struct graph_port graph_input_at(const struct graph *g, uint32_t i)
{
    EMAC_ASSERT(i < g->inputs);
    return port_at(g, &g->input[i]);
}

struct graph_port graph_output_at(const struct graph *g, uint32_t i)
{
    EMAC_ASSERT(i < g->outputs);
    return port_at(g, &g->output[i]);
}

size_t graph_value_bytes(const struct graph *g, value_id v)
{
    size_t bytes = 0;
    bool ok = shape_bytes(g->value[v].type.dtype, &g->value[v].type.shape, &bytes);

    EMAC_ASSERT(ok);
    return bytes;
}

uint64_t graph_node_flops(const struct graph *g, uint32_t node)
{
    const struct graph_node *n = &g->node[node];
    const struct op_info *info = op_info(n->op);
    struct tensor in[OP_IN_MAX], out[OP_OUT_MAX];

    for (uint32_t i = 0; i < info->inputs; i++)
        in[i] = g->value[n->in[i]].type;
    for (uint32_t i = 0; i < info->outputs; i++)
        out[i] = g->value[n->out + i].type;
    return op_flops(n->op, &n->attrs, in, out);
}

uint64_t graph_flops(const struct graph *g)
{
    uint64_t total = 0;

    for (uint32_t i = 0; i < g->nodes; i++) {
        uint64_t f = graph_node_flops(g, i);

        if (__builtin_add_overflow(total, f, &total))
            return UINT64_MAX;
    }
    return total;
}

void graph_mark_needed(const struct graph *g, bool *needed)
{
    memset(needed, 0, g->nodes * sizeof(*needed));
    for (uint32_t i = 0; i < g->outputs; i++) {
        uint32_t node = g->value[g->output[i].value].node;

        if (node != NODE_NONE)
            needed[node] = true;
    }
    for (uint32_t i = g->nodes; i-- > 0;) {
        const struct graph_node *n = &g->node[i];

        if (!needed[i])
            continue;
        for (uint32_t k = 0; k < op_info(n->op)->inputs; k++) {
            uint32_t maker = g->value[n->in[k]].node;

            if (maker != NODE_NONE)
                needed[maker] = true;
        }
    }
}

value_id graph_canonical_id(const struct graph *g, value_id v)
{
    const struct graph_value *val = &g->value[v];
    uint32_t inputs_before = 0;

    if (val->node == NODE_NONE)
        return val->slot;
    /* Ids count inputs and results together; the inputs made before v are those whose id is
     * smaller, and they are in order. */
    {
        uint32_t lo = 0, hi = g->inputs;

        while (lo < hi) {
            uint32_t mid = lo + (hi - lo) / 2;

            if (g->input[mid].value < v)
                lo = mid + 1;
            else
                hi = mid;
        }
        inputs_before = lo;
    }
    return g->inputs + (v - inputs_before);
}

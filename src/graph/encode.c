/* The canonical form: one graph, one sequence of bytes (docs of the fields in graph.h). */
#include <string.h>

#include "base/assert.h"
#include "graph/graph_internal.h"

/* Canonical order of map keys: shorter first, then by bytes. */
static bool key_before(const char *a, const char *b)
{
    size_t na = strlen(a), nb = strlen(b);

    return na != nb ? na < nb : strcmp(a, b) < 0;
}

static void attr_order(const struct op_info *info, uint32_t order[OP_ATTR_MAX])
{
    for (uint32_t i = 0; i < info->attrs; i++) {
        uint32_t k = i;

        while (k > 0 && key_before(info->attr_name[i], info->attr_name[order[k - 1]])) {
            order[k] = order[k - 1];
            k--;
        }
        order[k] = i;
    }
}

static void node_encode(struct dagcbor_writer *w, const struct graph *g,
                        const struct graph_node *node)
{
    const struct op_info *info = op_info(node->op);
    uint32_t order[OP_ATTR_MAX];

    dagcbor_map(w, node->store == DTYPE_BF16 ? 4 : 3);
    dagcbor_key(w, "in");
    dagcbor_list(w, info->inputs);
    for (uint32_t i = 0; i < info->inputs; i++)
        dagcbor_u64(w, graph_canonical_id(g, node->in[i]));
    dagcbor_key(w, "op");
    dagcbor_str(w, info->name);
    dagcbor_key(w, "attrs");
    dagcbor_map(w, info->attrs);
    attr_order(info, order);
    for (uint32_t i = 0; i < info->attrs; i++) {
        uint32_t a = order[i];

        dagcbor_key(w, info->attr_name[a]);
        if (info->attr_kind[a] == 'i')
            dagcbor_i64(w, node->attrs.at[a].i);
        else
            dagcbor_f64(w, (double)node->attrs.at[a].f);
    }
    if (node->store == DTYPE_BF16) {
        dagcbor_key(w, "store");
        dagcbor_str(w, dtype_name(node->store));
    }
}

static void input_encode(struct dagcbor_writer *w, const struct graph *g, uint32_t i)
{
    struct graph_port port = graph_input_at(g, i);

    dagcbor_map(w, 3);
    dagcbor_key(w, "name");
    dagcbor_str(w, port.name);
    dagcbor_key(w, "dtype");
    dagcbor_str(w, dtype_name(port.dtype));
    dagcbor_key(w, "shape");
    dagcbor_list(w, port.shape.rank);
    for (uint32_t d = 0; d < port.shape.rank; d++)
        dagcbor_u64(w, port.shape.dim[d]);
}

static void output_encode(struct dagcbor_writer *w, const struct graph *g, uint32_t i)
{
    struct graph_port port = graph_output_at(g, i);

    dagcbor_map(w, 2);
    dagcbor_key(w, "name");
    dagcbor_str(w, port.name);
    dagcbor_key(w, "value");
    dagcbor_u64(w, graph_canonical_id(g, port.value));
}

enum emac_status graph_encode(const struct graph *g, struct emac_buf *out, struct emac_err *err)
{
    struct dagcbor_writer w;
    size_t start = out->len;
    enum emac_status st;

    EMAC_TRY(st, graph_status(g, err));
    if (g->outputs == 0)
        return emac_fail(err, EMAC_INVALID, "the graph has no outputs; name at least one");
    dagcbor_writer_init(&w, out);
    dagcbor_map(&w, 4);
    dagcbor_key(&w, "nodes");
    dagcbor_list(&w, g->nodes);
    for (uint32_t i = 0; i < g->nodes; i++)
        node_encode(&w, g, &g->node[i]);
    dagcbor_key(&w, "inputs");
    dagcbor_list(&w, g->inputs);
    for (uint32_t i = 0; i < g->inputs; i++)
        input_encode(&w, g, i);
    dagcbor_key(&w, "outputs");
    dagcbor_list(&w, g->outputs);
    for (uint32_t i = 0; i < g->outputs; i++)
        output_encode(&w, g, i);
    dagcbor_key(&w, "numerics");
    dagcbor_u64(&w, NUMERICS_VERSION);
    EMAC_TRY(st, dagcbor_writer_end(&w, err));
    if (out->len - start > GRAPH_ENCODED_MAX)
        st = emac_fail(err, EMAC_TOO_LARGE, "the encoded graph has %zu bytes; the limit is %zu",
                       out->len - start, GRAPH_ENCODED_MAX);
out:
    return st;
}

/* How a graph is held in memory; for the files of this module only.
 *
 * INV-1  value v < values; a value is an input (node == NODE_NONE) or output
 *        `slot` of node `node`, whose outputs have consecutive ids from node.out.
 * INV-2  each input of node i was made by an input or by a node before i.
 * INV-3  shapes and dtypes are what op_infer says, but for output 0 of a node whose
 *        `store` is bf16: that is f32 rounded to bf16. All bytes together stay under
 *        GRAPH_BYTES_MAX, so sizes and sums of sizes never overflow.
 * INV-4  after a failure (status != OK) nothing is added any more. */
#ifndef EMAC_GRAPH_INTERNAL_H
#define EMAC_GRAPH_INTERNAL_H

#include "graph/graph.h"

#define NODE_NONE        UINT32_MAX
#define GRAPH_VALUES_MAX (GRAPH_PORTS_MAX + GRAPH_NODES_MAX * OP_OUT_MAX)

struct graph_node {
    enum op op;
    enum dtype store;      /* of output 0: DTYPE_BF16, or DTYPE_F32 for what the operator gives */
    struct op_attrs attrs; /* slots without an attribute are zero */
    value_id out;          /* first output */
    uint32_t origin;       /* made by graph_grad: the forward node it is part of the gradient of;
                            * else NODE_NONE. Not in the canonical form */
    value_id in[OP_IN_MAX];
};

struct graph_value {
    struct tensor type; /* data is NULL */
    uint32_t node;      /* who makes it; NODE_NONE: an input */
    uint32_t slot;      /* which output of that node, or which input of the graph */
};

struct graph_named {
    char *name;
    value_id value;
};

struct graph {
    struct graph_node *node;
    struct graph_value *value;
    struct graph_named *input, *output;
    uint32_t nodes, values, inputs, outputs;
    uint32_t node_cap, value_cap, input_cap, output_cap;
    size_t bytes; /* of all values */
    enum emac_status status;
    struct emac_err err;
};

/* Make the graph fail for good, keeping the first failure. Returns its status. */
enum emac_status graph_fail(struct graph *g, enum emac_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* graph_op, or graph_op_bf16 when `store` is DTYPE_BF16. */
value_id graph_node_add(struct graph *g, enum op op, enum dtype store, const struct op_attrs *attrs,
                        uint32_t n, const value_id *in);

/* needed[i] = some output of the graph depends on node i. `needed` has g->nodes elements. */
void graph_mark_needed(const struct graph *g, bool *needed);

/* Number of a value in the canonical form: inputs first, then what the nodes make, in order. */
value_id graph_canonical_id(const struct graph *g, value_id v);

/* Bring value v of `from` into `to`: its id there, VALUE_NONE after a failure of `to`. */
typedef value_id graph_enter_fn(void *ctx, struct graph *to, value_id v);
/* Append to `to` those nodes of `from` that are marked in `inside`, in their order. map[v] is the
 * id in `to` of value v of `from`, VALUE_NONE until it is there; what a node takes that is not
 * there is brought by `enter`. */
void graph_copy_nodes(const struct graph *from, const bool *inside, graph_enter_fn *enter,
                      void *ctx, value_id *map, struct graph *to);

size_t graph_value_bytes(const struct graph *g, value_id v);
uint64_t graph_node_flops(const struct graph *g, uint32_t node);

/* Gradient rules. A rule appends the nodes for d loss / d input i into din[i] for each i that is
 * wanted. A `uniform` gradient is a scalar [1] that stands for a tensor with this value in
 * every element. */
struct grad_step {
    struct graph *g;
    struct graph_node node; /* a copy: the graph's array moves when nodes are added */
    value_id dy;            /* gradient of output 0 */
    bool want[OP_IN_MAX];
    value_id din[OP_IN_MAX];
    bool din_uniform; /* what the rule left in din is uniform */
};
struct grad_rule {
    void (*apply)(struct grad_step *s); /* NULL: the operator has no gradient */
    uint32_t inputs;                    /* bit i: input i has a gradient */
    bool takes_uniform;                 /* dy is a uniform gradient (or a scalar) */
};
const struct grad_rule *graph_grad_rule(enum op op);

#endif

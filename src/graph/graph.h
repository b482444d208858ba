/* The operator graph: a program's body. Values are numbered; nodes are in
 * topological order by construction (a node's inputs exist before it).
 *
 * Life cycle: graph_new, inputs and operators added (each infers and checks
 * its shapes), outputs named, then any of: autodiff (appends nodes), encode,
 * plan, cut. A decoded graph is validated by the same path, so a hostile
 * program cannot hold a bad shape. Limits: GRAPH_NODES_MAX nodes,
 * GRAPH_BYTES_MAX bytes of all values together.
 *
 * Names of inputs and outputs are "bundle/tensor", e.g. "params/model.norm.weight",
 * "args/lr": the task runner (node/exec) feeds and collects whole bundles by
 * the part before the first slash. */
#ifndef EMAC_GRAPH_GRAPH_H
#define EMAC_GRAPH_GRAPH_H

#include "base/buf.h"
#include "codec/cid.h"
#include "codec/dagcbor.h"
#include "compute/device.h"

#define GRAPH_NODES_MAX 65536
#define GRAPH_NAME_MAX 256
#define GRAPH_BYTES_MAX ((size_t)1 << 40)
#define NUMERICS_VERSION 1

struct graph;
typedef uint32_t value_id;
#define VALUE_NONE UINT32_MAX

struct graph *graph_new(void);
void graph_free(struct graph *g);

/* Building. Each is sticky: after the first failure every call returns VALUE_NONE and
 * graph_status tells the sentence; so builders need no check per line. */
value_id graph_input(struct graph *g, const char *name, enum dtype dtype, struct shape shape);
/* Returns the first output; further outputs are id+1, id+2, ... */
value_id graph_op(struct graph *g, enum op op, const struct op_attrs *attrs, uint32_t n,
                  const value_id *in);
void graph_output(struct graph *g, const char *name, value_id v);
enum emac_status graph_status(const struct graph *g, struct emac_err *err);
void graph_value_info(const struct graph *g, value_id v, enum dtype *dtype, struct shape *shape);

/* Reverse-mode automatic differentiation. Appends the nodes that compute d loss / d wrt[i] into
 * grad[i]; `loss` has shape [1] and its own gradient is the input or value `seed` (shape [1]).
 * VALUE_NONE in grad[i] when loss does not depend on wrt[i]. Fan-in gradients are added in the
 * order in which the forward nodes used the value. */
enum emac_status graph_grad(struct graph *g, value_id loss, value_id seed, uint32_t n,
                            const value_id *wrt, value_id *grad, struct emac_err *err);

/* Named ends, in order of creation. */
struct graph_port {
    const char *name;
    enum dtype dtype;
    struct shape shape;
    value_id value;
};
uint32_t graph_input_count(const struct graph *g);
uint32_t graph_output_count(const struct graph *g);
struct graph_port graph_input_at(const struct graph *g, uint32_t i);
struct graph_port graph_output_at(const struct graph *g, uint32_t i);
uint64_t graph_flops(const struct graph *g);

/* Canonical form: a dag-cbor map {nodes: [...], inputs: [...], outputs: [...], numerics: 1}. Equal
 * graphs built in the same order have equal bytes. */
enum emac_status graph_encode(const struct graph *g, struct emac_buf *out, struct emac_err *err);
enum emac_status graph_decode(struct graph **out, const void *data, size_t n, struct emac_err *err);

/* Cut into `stages` consecutive pieces of about equal flops. Piece s takes, beside original inputs,
 * the values made by earlier pieces as inputs named "cut/<id>", and gives those that later pieces
 * need as outputs of that name. Running the pieces one after the other gives the same bits. */
enum emac_status graph_cut(const struct graph *g, uint32_t stages, struct graph **out,
                           struct emac_err *err);

/* A plan places every value in one block of memory by its live range (inputs and outputs are
 * bound by the caller and lie outside), then runs it any number of times. Not thread-safe. The
 * graph must outlive the plan. Dead nodes are dropped. */
struct graph_plan;
enum emac_status graph_plan_new(const struct graph *g, struct graph_plan **out,
                                struct emac_err *err);
void graph_plan_free(struct graph_plan *p);
size_t graph_plan_bytes(const struct graph_plan *p); /* intermediate memory */
/* Bind the data of input / output i. Pointers must stay valid through graph_run. An output that is
 * directly an input is copied. */
void graph_bind_input(struct graph_plan *p, uint32_t i, const void *data);
void graph_bind_output(struct graph_plan *p, uint32_t i, void *data);
/* Run. When an f32 output holds NaN or infinity: NUMERIC, naming the first operator (node number
 * and name) whose result is not finite, found by running once more with checks. */
enum emac_status graph_run(struct graph_plan *p, struct device *dev, struct emac_err *err);

/* Trace: the SHA-256 of each node's outputs in order, for disputes and tests. */
enum emac_status graph_trace(struct graph_plan *p, struct device *dev,
                             void (*each)(void *ctx, uint32_t node, enum op op,
                                          const uint8_t digest[32]),
                             void *ctx, struct emac_err *err);

#endif

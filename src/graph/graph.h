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

#define GRAPH_NODES_MAX   65536
#define GRAPH_PORTS_MAX   65536 /* inputs; as many outputs */
#define GRAPH_NAME_MAX    256   /* with the terminating zero */
#define GRAPH_BYTES_MAX   ((size_t)1 << 40)
#define GRAPH_ENCODED_MAX ((size_t)32 << 20)
#define NUMERICS_VERSION  1

struct graph;
typedef uint32_t value_id;
#define VALUE_NONE UINT32_MAX

struct graph *graph_new(void);
void graph_free(struct graph *g);

/* Building. Each is sticky: after the first failure every call returns VALUE_NONE and
 * graph_status tells the sentence; so builders need no check per line. A name is
 * "bundle/tensor" in printable ASCII without spaces; float attributes are finite; `attrs` may be
 * NULL for an operator that has none. */
value_id graph_input(struct graph *g, const char *name, enum dtype dtype, struct shape shape);
/* Returns the first output; further outputs are id+1, id+2, ... */
value_id graph_op(struct graph *g, enum op op, const struct op_attrs *attrs, uint32_t n,
                  const value_id *in);
/* The same; the first output, f32 as the operator makes it, is rounded to bf16 as it is stored
 * (rule 8). Every operator takes bf16 where it takes f32. Not for reshape, whose output is its
 * input's storage. */
value_id graph_op_bf16(struct graph *g, enum op op, const struct op_attrs *attrs, uint32_t n,
                       const value_id *in);
/* The same data under another shape of as many elements: 'reshape' up to rank 2, else 'view'. */
value_id graph_view(struct graph *g, value_id v, struct shape shape);
void graph_output(struct graph *g, const char *name, value_id v);
/* The first failure of building; INVALID when two inputs or two outputs share a name. */
enum emac_status graph_status(const struct graph *g, struct emac_err *err);
/* The end of building what went as `st`: the graph is handed over when both are well, else freed
 * and *out NULL. What it comes to. */
enum emac_status graph_end(struct graph *g, enum emac_status st, struct graph **out,
                           struct emac_err *err);
/* Shape of rank 0 for VALUE_NONE. */
void graph_value_info(const struct graph *g, value_id v, enum dtype *dtype, struct shape *shape);

/* Reverse-mode automatic differentiation. Appends the nodes that compute d loss / d wrt[i] into
 * grad[i]; `loss` has shape [1] and its own gradient is the input or value `seed` (shape [1]).
 * VALUE_NONE in grad[i] when loss does not depend on wrt[i]. Fan-in gradients are added in the
 * order in which the forward nodes used the value. UNSUPPORTED, naming the node, when an operator
 * on the way has no gradient: the *_GRAD operators, clip_coef, sqrt, adamw, correct; saved
 * statistics; xent unless its losses go through sum. The graph is unusable after a failure. */
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

/* Canonical form: a dag-cbor map {nodes: [{in: [value], op: name, attrs: {name: number}(, store:
 * "bf16")}], inputs:
 * [{name, dtype: "f32", shape: [n]}], outputs: [{name, value}], numerics: 1}. Values are numbered
 * inputs first, then the nodes' outputs in order. Equal graphs built in the same order have equal
 * bytes, and decoding then encoding gives the same bytes. Decoding checks everything:
 * INVALID and a sentence for a bad program, UNSUPPORTED for an operator or numerics version not
 * known here. */
enum emac_status graph_encode(const struct graph *g, struct emac_buf *out, struct emac_err *err);
enum emac_status graph_decode(struct graph **out, const void *data, size_t n, struct emac_err *err);

/* Cut into `stages` consecutive pieces of about equal flops; near an ideal boundary the one with
 * the fewest bytes to hand over is taken. Piece s takes, beside the original inputs it needs, the
 * values made by earlier pieces as inputs named "cut/<id>" (canonical number), and gives those that
 * later pieces need as outputs of that name. Dead nodes are dropped. Running the pieces one after
 * the other gives the same bits. INVALID when there are fewer nodes than stages, or a name starts
 * with "cut/". The caller frees out[0..stages-1]; none on failure. */
enum emac_status graph_cut(const struct graph *g, uint32_t stages, struct graph **out,
                           struct emac_err *err);

/* A plan places every value in one block of memory by its live range (inputs and outputs are
 * bound by the caller and lie outside), then runs it any number of times. Not thread-safe. The
 * graph must outlive the plan. Dead nodes are dropped. The block is allocated on the device by the
 * first run, so that a caller can look at graph_plan_bytes of a stranger's program first; the
 * device of the last run must outlive the plan. */
struct graph_plan;
enum emac_status graph_plan_new(const struct graph *g, struct graph_plan **out,
                                struct emac_err *err);
void graph_plan_free(struct graph_plan *p);
size_t graph_plan_bytes(const struct graph_plan *p); /* intermediate memory */
/* Bind the data of input / output i, 4-byte aligned, in the device's memory. Pointers must stay
 * valid through graph_run; outputs do not overlap each other, nor inputs: but an output may lie
 * exactly on an input that only its own operator reads, and that may do so (op.h's in_place). An
 * output that is directly an input is copied. Every output, and every input that the outputs
 * depend on, must be bound (asserted). */
void graph_bind_input(struct graph_plan *p, uint32_t i, const void *data);
void graph_bind_output(struct graph_plan *p, uint32_t i, void *data);
/* Run. When an f32 output holds NaN or infinity: NUMERIC, naming the first operator (node number
 * and name) whose result is not finite, found by running once more with checks. */
enum emac_status graph_run(struct graph_plan *p, struct device *dev, struct emac_err *err);

/* The same with inputs and outputs in host memory, whatever the device. */
enum emac_status graph_run_host(struct graph_plan *p, struct device *dev, struct emac_err *err);

/* A step of a run: an operator, or the copy of an output that is made elsewhere. Views of the same
 * bytes are no steps. */
struct graph_step {
    bool copy;
    uint32_t at;   /* of the plan's steps */
    uint32_t node; /* its number; copy: that of the output */
    uint32_t inputs, outputs;
    struct tensor in[OP_IN_MAX], out[OP_OUT_MAX]; /* where the device has them */
};
typedef enum emac_status graph_visitor(void *ctx, const struct graph_step *step,
                                       struct emac_err *err);
/* As graph_run, for traces (node/exec_trace.h): each step is shown in its order, the same on any
 * device, and is done only if the visitor calls graph_step_run. A failure of it ends the run.
 * Nothing is looked at for NaN or infinity. */
enum emac_status graph_visit(struct graph_plan *p, struct device *dev, graph_visitor *visit,
                             void *ctx, struct emac_err *err);
enum emac_status graph_step_run(struct graph_plan *p, struct device *dev,
                                const struct graph_step *step, struct emac_err *err);
/* After a graph_visit that had all steps done: as graph_run ends. */
enum emac_status graph_visited_check(struct graph_plan *p, struct device *dev,
                                     struct emac_err *err);

#endif

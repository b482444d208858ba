/* Tasks run for their trace (work/trace.h): all of it, or as much as one of its
 * leaves needs. A run without a trace costs nothing for this.
 *
 * What a leaf takes is either at hand for whoever has the task, because it is part of an input, an
 * arg or a micro-batch, or was made by an earlier leaf. Only the latter must be told: a reference.
 * So an operator is judged without running those before it. */
#ifndef EMAC_NODE_EXEC_TRACE_H
#define EMAC_NODE_EXEC_TRACE_H

#include "node/exec.h"
#include "work/trace.h"

#define EXEC_REFS_MAX 4096

/* Value `slot` of leaf `leaf`. */
struct exec_ref {
    uint64_t leaf;
    uint32_t slot;
    size_t bytes;
};

/* As exec_run, and every leaf is added to `out`. Slower: each operator's output is read and hashed.
 */
enum emac_status exec_trace(struct exec *x, const struct task *t, struct trace *out,
                            struct exec_result *result, struct emac_err *err);
/* What `leaf` takes that earlier leaves made, in ascending order, each once; nothing is computed.
 * The caller frees *refs. INVALID when the task has no such leaf, TOO_LARGE past EXEC_REFS_MAX. */
enum emac_status exec_trace_refs(struct exec *x, const struct task *t, uint64_t leaf,
                                 struct exec_ref **refs, uint32_t *count, struct emac_err *err);
/* How many leaves the task has; nothing is computed. */
enum emac_status exec_trace_leaves(struct exec *x, const struct task *t, uint64_t *leaves,
                                   struct emac_err *err);
/* As exec_trace; `each` is called for each of the references (as exec_trace_refs gives them) with
 * its leaf and its bytes, which are borrowed. */
typedef enum emac_status exec_capture(void *ctx, uint32_t ref, const struct trace_leaf *leaf,
                                      const uint8_t *data, size_t bytes, struct emac_err *err);
enum emac_status exec_trace_capture(struct exec *x, const struct task *t,
                                    const struct exec_ref *refs, uint32_t count, exec_capture *each,
                                    void *ctx, struct trace *out, struct exec_result *result,
                                    struct emac_err *err);
/* The leaf of output `node` of a task, which is value `v`. */
void exec_trace_output_leaf(struct trace_leaf *leaf, uint64_t index, uint32_t node,
                            const struct store_value *v);
/* Compute one leaf. `give` fills in the bytes of each reference; those before the leaf are not
 * computed. NUMERIC and the like as exec_run. */
typedef enum emac_status exec_give(void *ctx, uint32_t ref, uint8_t *data, size_t bytes,
                                   struct emac_err *err);
enum emac_status exec_trace_judge(struct exec *x, const struct task *t, uint64_t leaf,
                                  exec_give *give, void *ctx, struct trace_leaf *out,
                                  struct emac_err *err);

#endif

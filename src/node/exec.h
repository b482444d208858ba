/* Runs tasks (work/task.h) on a device against a store: loads inputs, feeds the
 * graph, sums map results in the tree, gathers outputs into bundles. Used by
 * the rig agent and by `emac train --local` alike.
 *
 * On a device with memory of its own what tasks take and make stays there as long as there is room
 * and the store holds it (node/resident.h). Outputs up to EXEC_INLINE_MAX cross at once; larger
 * ones may be values that are away, which cross when somebody asks for them.
 *
 * Compiled programs (graph and memory plan) are cached by CID, bounded. Inputs
 * that the store lacks are asked from `fetch`. One thread at a time. */
#ifndef EMAC_NODE_EXEC_H
#define EMAC_NODE_EXEC_H

#include <stdatomic.h>

#include "store/store.h"
#include "work/sealed.h"
#include "work/task.h"

#define EXEC_PROGRAMS_MAX 64
#define EXEC_INLINE_MAX   4096 /* outputs up to this size may travel inside the receipt message */

/* Where an output is hashed that was made on a device with memory of its own: as device_tune
 * measured; where it lies, so that its bytes come only when somebody asks; brought at once. */
enum exec_values { EXEC_VALUES_MEASURED, EXEC_VALUES_STAY, EXEC_VALUES_CROSS };

struct exec;
struct exec_config {
    struct os *os;
    struct store *store;
    struct device *dev;
    /* Bytes a task may need, if the device has as many; 0: half of physical memory. Beside it up to
     * 1/16 of it, at most 64 MiB, keeps chunks of the corpus. */
    uint64_t memory_max;
    enum exec_values values;
    /* Bring `cid` into the store: a file as value in memory (bundle) or as blocks (the corpus), or
     * a single dag-cbor block. NULL: nothing can be fetched. */
    enum emac_status (*fetch)(void *ctx, const struct cid *cid, bool to_memory,
                              struct emac_err *err);
    void *fetch_ctx;
    /* Asked between micro-batches; true ends the task with CANCELLED. May be NULL. */
    bool (*cancelled)(void *ctx);
    void *cancelled_ctx;
    /* Thousandths of the time that the device may work (node/duty.h), 1 to 1000; may change
     * meanwhile. Rests come after a run of a graph, so that they count to the task that caused
     * them, and end when the task is cancelled. NULL: all of it. */
    const atomic_uint *duty;
    /* A rig that lies, for tests: called with each output bundle (sorted by name) before it is
     * hashed. NULL in the product. */
    void (*tamper)(void *ctx, const char *output, uint8_t *bundle, size_t n);
    void *tamper_ctx;
};
enum emac_status exec_new(const struct exec_config *cfg, struct exec **out, struct emac_err *err);
void exec_free(struct exec *x);

/* Keys to private data and weights (work/sealed.h), for the tasks until exec_keys_clear; that one
 * wipes the keys and all that was opened with them. Without them a task on what is private fails
 * with FORBIDDEN. */
enum emac_status exec_keys_add(struct exec *x, const struct sealed_ring *keys,
                               struct emac_err *err);
void exec_keys_clear(struct exec *x);

struct exec_result {
    uint32_t output_count;
    struct task_output output[TASK_OUTPUTS_MAX];       /* sorted by name */
    const struct store_value *value[TASK_OUTPUTS_MAX]; /* held */
    uint64_t compute_ns, total_ns;
    uint64_t flops; /* of the graph, as often as it ran */
    /* Bytes to the device and back for this task; 0 where it is the host. What came for those who
     * asked is not in it: device_memory.viewed. */
    uint64_t bus_written, bus_read;
    /* Of a run that failed: the input or part that it failed because of, being of another shape,
     * not finite, or larger than the program allows; none when its inputs are not to blame. */
    struct cid suspect;
};
/* INVALID for a task that does not fit its program (the sentence names the port), NUMERIC for NaN,
 * TOO_LARGE over memory_max, with the figures, before anything is computed. What a device fails
 * with comes out as it is: UNAVAILABLE when the device is lost (device_lost), NO_MEMORY.
 * After a failure `out` holds nothing but `suspect`. */
enum emac_status exec_run(struct exec *x, const struct task *t, struct exec_result *out,
                          struct emac_err *err);
/* Would a task of this program fit: a map over `count` micro-batches, an apply of as many parts?
 * TOO_LARGE with the figures when not; nothing is computed. */
enum emac_status exec_program_fits(struct exec *x, const struct cid *program, uint32_t count,
                                   struct emac_err *err);
/* Bytes that such a task needs, and how many a task may use. */
enum emac_status exec_program_need(struct exec *x, const struct cid *program, uint32_t count,
                                   uint64_t *bytes, struct emac_err *err);
uint64_t exec_memory_max(const struct exec *x);
void exec_result_release(struct exec *x, struct exec_result *r);
/* Lets go of a copy that the device keeps for tasks to come, for memory that others allocate there.
 * NOT_FOUND when there is none. */
enum emac_status exec_spare(struct exec *x, struct emac_err *err);

#endif

/* What the files exec*.c share.
 *
 * EXEC-1  Before anything is computed the task has been checked against its program: each port of
 *         the graph is fed by exactly one input, arg, sampler or sum, with the shape it wants, and
 *         nothing is given that no port takes.
 * EXEC-2  The memory a task needs (intermediates, inputs, outputs, partial sums) is added up and
 *         compared with memory_max before it is allocated.
 * EXEC-3  Values got from the store are never written to; sums are made in memory of the task.
 * EXEC-4  The plan's ports are bound to memory of the device. Where that is not the host's, copies
 *         of the task's inputs are held there while it runs, outputs are made there, named there or
 *         brought to the host to be named, and stay as copies (node/resident.h). */
#ifndef EMAC_NODE_EXEC_INTERNAL_H
#define EMAC_NODE_EXEC_INTERNAL_H

#include "node/duty.h"
#include "node/exec.h"
#include "node/exec_private.h"
#include "node/resident.h"
#include "work/bundle.h"
#include "work/corpus.h"
#include "work/tree.h"

#define PORT_NONE       UINT32_MAX
#define EXEC_LEVELS_MAX 34 /* height of a tree over 2^32 leaves, and one */

/* A bundle that a program takes or gives. */
struct exec_bundle {
    char name[TASK_NAME_MAX];
    struct bundle layout;
};

/* A program made ready to run. */
struct exec_program {
    struct cid cid;
    struct program program;
    struct graph *graph;
    struct graph_plan *plan;
    uint64_t used; /* when last, in tasks */
    uint32_t in_count, out_count;
    struct exec_bundle in[TASK_INPUTS_MAX];   /* whole bundles, sorted by name */
    struct exec_bundle out[TASK_OUTPUTS_MAX]; /* sorted by name */
    struct bundle sum;                        /* apply: what the parts hold; count 0: none */
    uint32_t inputs_port,
        targets_port; /* map: batch/tokens or batch/inputs; PORT_NONE when absent */
    uint32_t arg_count;
    /* The graph is the program's own. An apply may have a graph that decodes parts; a program of
     * steps has its two others, and its own graph's input bundles "params" and "total" are made
     * here, like the arg. Its output bundle `opt`, by place in out, is made by `step`. */
    struct exec_program *decode, *begin, *grad, *step; /* owned */
    uint32_t opt;
};

/* Chunks of corpora kept, and the share of memory_max they may take beside what tasks need. */
#define EXEC_CHUNKS_MAX 64
#define EXEC_DATA_SHARE 16

/* The header of an output's file, which is the same each time a program runs, kept on the device:
 * in a job of many small steps it would be as many bytes as the tokens are. */
#define EXEC_HEADS_MAX 32
struct exec_head {
    uint8_t *host, *there;
    size_t len; /* 0: none */
};

struct exec_chunk;
struct exec_trace;

struct exec {
    struct exec_config cfg;
    uint64_t memory_max, tasks;
    uint32_t program_count;
    struct exec_program *program[EXEC_PROGRAMS_MAX];
    struct exec_chunk *chunk;
    uint32_t chunk_count;
    uint64_t reads;
    struct sealed_ring keys;
    struct resident_set resident;
    struct exec_head head[EXEC_HEADS_MAX];
    uint32_t head_next; /* whose place the next new one takes */
    struct duty duty;
    struct exec_trace *trace; /* NULL: nobody watches the task under way */
};

/* Memory that the host fills and the device reads: one piece where they share memory, else two. */
struct exec_staged {
    void *host, *device;
    size_t bytes;
};

/* What a task needs, by what for. */
struct exec_needs {
    uint64_t between, inputs, outputs, sums, batch;
};

/* One run of one task. */
struct exec_run {
    struct exec *x;
    const struct task *task;
    struct exec_program *p;
    uint64_t need; /* bytes spoken for */
    const struct store_value *held[TASK_INPUTS_MAX];
    uint32_t held_count;
    uint8_t *out[TASK_OUTPUTS_MAX]; /* the bundles under construction, by place in p->out; memory
                                     * of the device */
    struct resident *copy[TASK_INPUTS_MAX];
    uint32_t copy_count;
    struct exec_opened opened[TASK_INPUTS_MAX];
    uint32_t opened_count;
    struct exec_staged args;
    uint64_t compute_ns;
    struct cid suspect; /* what the task fails because of; none */
};

/* ---- exec_program.c ---- */
/* The program of a task from the cache, or made ready. */
enum emac_status exec_program_get(struct exec *x, const struct cid *cid, struct exec_program **out,
                                  struct emac_err *err);
void exec_program_free(struct exec_program *p);
/* Does a map give nothing but "sum"? Only that can be added up over several micro-batches. */
bool exec_gives_sum_alone(const struct exec_program *p);
/* Have they the same file header, and so the same tensors at the same places? */
bool exec_bundles_equal(const struct bundle *a, const struct bundle *b);
/* Intermediate values of all its graphs: of steps side by side. */
uint64_t exec_program_bytes(const struct exec_program *p);
/* Forget programs, oldest use first, while those kept and `need` together pass memory_max; never
 * `keep`. */
void exec_programs_trim(struct exec *x, const struct exec_program *keep, uint64_t need);

/* ---- exec_inputs.c ---- */
/* Does the task give just the args that the program's graph takes? */
enum emac_status exec_args_fit(const struct exec_program *p, const struct task *t,
                               struct emac_err *err);
/* EXEC-1 for all that can be said without the inputs' bytes. */
enum emac_status exec_task_fits(const struct exec_program *p, const struct task *t,
                                struct emac_err *err);
/* Get a bundle of at most `most` bytes into memory, from the store or by cfg.fetch. Held. `what`
 * names it in sentences. */
enum emac_status exec_value_get(struct exec_run *r, const char *what, const struct cid *cid,
                                uint64_t most, const struct store_value **out,
                                struct emac_err *err);
/* Hold all bundle inputs and bind their ports and the args. */
enum emac_status exec_inputs_bind(struct exec_run *r, struct emac_err *err);
/* An input that takes `counted` bytes of what was spoken for: got, held, and brought to the device.
 */
struct exec_value {
    const struct store_value *held;
    const uint8_t *at;
};
enum emac_status exec_input_get(struct exec_run *r, const char *name, uint64_t counted,
                                struct exec_value *out, struct emac_err *err);
/* Bind a bundle's ports of r's graph to it. */
enum emac_status exec_input_bind(struct exec_run *r, const struct exec_bundle *b,
                                 const struct exec_value *v, struct emac_err *err);
/* Is it in canonical form, and holds exactly the bundle? */
bool exec_is_canonical(const struct store_value *v, const struct bundle *l);
/* Bind ports of r's graph to a canonical file of the bundle. */
void exec_bind_input(struct exec_run *r, const struct bundle *l, const uint8_t *file);
/* Bring the task's args to the device and bind their ports; again for each of several steps. */
enum emac_status exec_args_bind(struct exec_run *r, struct emac_err *err);
/* The bundle of that name in a sorted list; NULL when absent. */
const struct exec_bundle *exec_bundle_find(const struct exec_bundle *list, uint32_t count,
                                           const char *name);
/* Speak for `bytes` more, forgetting cached programs to make room: TOO_LARGE when memory_max would
 * be passed. */
enum emac_status exec_need(struct exec_run *r, uint64_t bytes, struct emac_err *err);
/* After a failure to read: was something not here or damaged, and is the DAG of `cid` here now? If
 * so it is to be read once more. Else *st is what it was, or the failure of the fetch. */
bool exec_fetched(struct exec *x, const struct cid *cid, bool to_memory, enum emac_status *st,
                  struct emac_err *err);

/* ---- exec_memory.c ---- */
/* Bytes that a task needs, as far as program and task say. */
uint64_t exec_needs(const struct exec_run *r);
/* EXEC-2 for all that program and task say. TOO_LARGE, with the figures. */
enum emac_status exec_needs_check(struct exec_run *r, struct emac_err *err);
/* Where the device finds the bytes of a held value: its own data, or a copy that is held until the
 * task ends. */
enum emac_status exec_value_bring(struct exec_run *r, const struct store_value *v,
                                  const uint8_t **out, struct emac_err *err);
void exec_copies_drop(struct exec_run *r);
/* Release in any case. */
enum emac_status exec_staged_new(struct exec *x, size_t bytes, struct exec_staged *out,
                                 struct emac_err *err);
enum emac_status exec_staged_send(struct exec *x, const struct exec_staged *s,
                                  struct emac_err *err);
void exec_staged_release(struct exec *x, struct exec_staged *s);
/* Write the header to the beginning of a file on the device. */
enum emac_status exec_head_put(struct exec *x, const struct emac_buf *header, uint8_t *file,
                               struct emac_err *err);
void exec_heads_release(struct exec *x);
/* Output bundle i, hashed into the store, held; r->out[i] is NULL then unless it is of no use. */
enum emac_status exec_output_keep(struct exec_run *r, uint32_t i, const struct store_value **out,
                                  struct emac_err *err);

/* ---- exec_data.c ---- */
/* Size of a file of the store, and n bytes at `offset` of it (within its size). */
enum emac_status exec_data_size(struct exec *x, const struct cid *file, uint64_t *size,
                                struct emac_err *err);
enum emac_status exec_data_read(struct exec *x, const struct cid *file, uint64_t size,
                                uint64_t offset, uint8_t *out, size_t n, struct emac_err *err);
void exec_data_release(struct exec *x);

/* ---- exec_feed.c ---- */
/* Where a map task's micro-batches come from. */
struct exec_feed {
    struct exec_run *r;
    struct corpus corpus;       /* windows only */
    struct dataset set;         /* records only */
    struct cid file;            /* of the records of a split */
    uint64_t size;              /* bytes of the file that is read */
    uint8_t *bytes;             /* one window of seq + 1 tokens, or one record */
    struct exec_staged inputs;  /* tokens i32[batch, seq], or features f32[batch, features] */
    struct exec_staged targets; /* i32[batch, seq] or i32[batch] */
};
/* Find the data, bind the batch's ports. Release in any case. */
enum emac_status exec_feed_open(struct exec_feed *f, struct exec_run *r, struct emac_err *err);
/* Fill the batch's ports with micro-batch `index` of the task's step. */
enum emac_status exec_feed_batch(struct exec_feed *f, uint32_t index, struct emac_err *err);
void exec_feed_release(struct exec_feed *f);

/* ---- exec_map.c, exec_apply.c, exec_steps.c ---- */
enum emac_status exec_map(struct exec_run *r, struct emac_err *err);
enum emac_status exec_apply(struct exec_run *r, struct emac_err *err);
enum emac_status exec_steps(struct exec_run *r, struct emac_err *err);
/* Sums of micro-batches, one range after the other. */
struct exec_map {
    struct exec_run *r;
    const struct bundle *sum;
    struct exec_feed feed;
    uint8_t *pile[EXEC_LEVELS_MAX];
    uint32_t depth;
    uint8_t *spare[EXEC_LEVELS_MAX];
    uint32_t spares;
};
/* Find the data, make output 0 of r, where each sum will lie. Release in any case. */
enum emac_status exec_map_open(struct exec_map *m, struct exec_run *r, struct emac_err *err);
/* The tree over micro-batches [first, first + count) of r's task's step. */
enum emac_status exec_map_sum(struct exec_map *m, uint32_t first, uint32_t count,
                              struct emac_err *err);
void exec_map_release(struct exec_map *m);
/* What a task of steps must be, beside what task_check says. */
enum emac_status exec_steps_fits(const struct exec_program *p, const struct task *t,
                                 struct emac_err *err);
/* That the programs of steps fit each other; notes where the output "opt" goes. */
enum emac_status exec_steps_join(struct exec_program *p, struct emac_err *err);
/* Is that input bundle of the program's own graph made by its steps? */
bool exec_steps_makes(const struct exec_program *p, const char *bundle);

/* ---- exec_suspect.c ---- */
/* After a NUMERIC failure: the first input or part that holds NaN or infinity becomes the suspect;
 * else, of parts, the one with the largest number, for their sum may have passed the largest. */
void exec_suspect_find(struct exec_run *r);
/* The index of a value that a rig made: INVALID where st_index_parse says CORRUPT, for its CID
 * holds, so it is its maker who erred and not who brought it. */
enum emac_status exec_suspect_index(struct st_index *idx, const struct store_value *v,
                                    struct emac_err *err);
/* NUMERIC, and the part is the suspect, when its norm passes the program's max_norm. `data`: its
 * tensors, on the device, as one vector of the layout of `r->p->sum`. */
enum emac_status exec_part_bounded(struct exec_run *r, const struct task_part *part,
                                   const float *data, struct emac_err *err);

/* ---- exec.c ---- */
/* Memory for a bundle's file, its header written: as an output is made. */
enum emac_status exec_bundle_new(struct exec *x, const struct bundle *l, uint8_t **out,
                                 struct emac_err *err);
void exec_bundle_free(struct exec *x, uint8_t *file);
/* The same for output bundle i. */
enum emac_status exec_output_new(struct exec_run *r, uint32_t i, struct emac_err *err);
void exec_bind_bundle(struct exec_run *r, const struct bundle *layout, uint8_t *file);
/* graph_run, timed, and then the rest that the owner wants; CANCELLED while it rests. */
enum emac_status exec_graph_run(struct exec_run *r, struct emac_err *err);
/* NUMERIC when the bundle's numbers are not all finite. Padding-free: the data are one vector. */
enum emac_status exec_finite(struct exec_run *r, const struct bundle *layout, const float *data,
                             struct emac_err *err);
size_t exec_bundle_floats(const struct bundle *layout);
/* dst = a + b over the numbers of a bundle: a step of the fixed tree. */
enum emac_status exec_add(struct exec_run *r, const struct bundle *layout, float *dst,
                          const float *a, const float *b, struct emac_err *err);
bool exec_is_cancelled(struct exec_run *r);
/* Around what the device does: its time counts as computing, and towards the owner's share. */
struct exec_stint {
    uint64_t began_ns, busy_ns;
};
struct exec_stint exec_stint_begin(struct exec_run *r);
void exec_stint_end(struct exec_run *r, const struct exec_stint *s);

/* ---- exec_trace.c: what a traced task does instead ---- */
enum emac_status exec_trace_graph(struct exec_run *r, struct emac_err *err);
enum emac_status exec_trace_add(struct exec_trace *t, const struct bundle *l, float *dst,
                                const float *a, const float *b, struct emac_err *err);
/* Output bundle i is not to be made: it is not asked for, or *st says why. */
bool exec_trace_skips(struct exec_trace *t, struct exec_run *r, uint32_t i, enum emac_status *st,
                      struct emac_err *err);
/* Output i is made. */
enum emac_status exec_trace_output(struct exec_trace *t, uint32_t i, const struct store_value *v,
                                   struct emac_err *err);
/* Numbers in memory mean nothing, because they were not computed. `t` may be NULL. */
bool exec_trace_is_dry(const struct exec_trace *t);

#endif

/* Programs, tasks, receipts: dag-cbor objects named by their CIDs.
 *
 * program: {graph: CID, kind: "map", numerics: 1, sampler: {...}}
 *       or {graph: CID, kind: "apply", numerics: 1, decode?: CID, max_norm?: f64}
 *       or {grad: CID, graph: CID, kind: "steps", micro_batches, numerics: 1, recipe: {...},
 *           step: CID, begin?: CID}
 *   map    for each index i in [first, first+count) the sampler makes the micro-batch out of input
 *          `data`: "batch/tokens" and "batch/targets" from windows of a file, "batch/inputs" and
 *          "batch/targets" from records of a data set; the graph runs; its "sum/..." outputs are
 *          added over the indices in the fixed binary tree of numerics rule 6: the range must be
 *          aligned (count a power of two, first a multiple of it). Output: bundle "sum". A program
 *          that gives other bundles takes one micro-batch a task (count 1), and gives them all.
 *   apply  the graph runs once. If it has "sum/..." inputs they come from the task's `parts`:
 *          bundles of aligned ranges that together cover [0, total) exactly, combined in the tree.
 *          With `decode`, a graph, each part goes through it first: bundle "part" in, "sum" out.
 *          With `max_norm` > 0 the task fails when the norm of a part (over all its tensors but
 *          those named "metrics.*"; each one's SUMSQ, added in binary64) is larger, or no number.
 *   steps  `count` optimiser steps, numbers `step`, step + 1, ..., of one replica: for each,
 * program `grad` (a map) over micro-batches [first, first + micro_batches), in the tree over that
 *          many, then program `step` (an apply) over the sum, with the args that the recipe gives
 *          for it (model/optimiser.h). The next one's inputs "params" and "opt" are its outputs.
 *          With `begin`, a graph, the first one's "params" are what that gives. Then the graph runs
 *          once: its inputs "params/..." are the last parameters, "total/..." the steps' "metrics"
 *          added in order, "args/steps_inv" is 1 / count; other bundles are inputs of the task.
 *          Outputs: the graph's, and "opt".
 * A graph input "x/name" is tensor `name` of the bundle given as input x; inputs "args/name" come
 * from the task's args. Outputs "y/name" are gathered into one bundle per y: the task's output y.
 *
 * An input bundle may be any safetensors file with 4-byte aligned tensors; tensors that no port
 * names are ignored. Of the input called "whole" a rig reads the tensors that are named and no
 * more, from disk, so the file may be larger than its memory. Parts must be canonical bundles of
 * exactly the graph's sum tensors, for they are added as one vector. Inputs and args that the
 * program does not take are refused.
 *
 * The tree over [0, total): with P the least power of two >= total, node [0,P) = left half + right
 * half; an absent half (past total) is left out, not added as zero (work/tree.h).
 * Names of inputs, args and outputs: 1 to 31 of [a-z0-9_.-]. Numbers of args are binary32 values in
 * binary64 form. Every field is always present; decoders refuse unknown ones.
 *
 * sampler: {batch, begin, end, kind: "random" | "ordered", seed, seq}, of a token set with width: 2
 * | 4 (work/corpus.h) or {batch, begin, end, kind: "shuffled" | "listed", rows, seed, split:
 * "train" | "test"} task: {args: {name: [f64, ...]}, first, count, total, step, inputs: {name:
 * CID}, parts: [{cid, count, first}], program: CID} receipt: {ended, lease, node, outputs: {name:
 * CID}, started, task}, signed: the ed25519 signature of its bytes goes beside it. */
#ifndef EMAC_WORK_TASK_H
#define EMAC_WORK_TASK_H

#include "codec/cid.h"
#include "crypto/crypto.h"
#include "graph/graph.h"
#include "model/optimiser.h"
#include "work/dataset.h"

#define TASK_INPUTS_MAX    24
#define TASK_OUTPUTS_MAX   8
#define TASK_ARGS_MAX      8
#define TASK_ARG_WIDTH_MAX 16
#define TASK_PARTS_MAX     4096
#define TASK_NAME_MAX      32
#define TASK_WHOLE         "whole"

#define PROGRAM_BYTES_MAX   4096
#define TASK_BYTES_MAX      (1u << 20)
#define RECEIPT_BYTES_MAX   8192
#define SAMPLER_TOKENS_MAX  (1u << 22)     /* batch * seq */
#define SAMPLER_RECORDS_MAX (1u << 20)     /* batch */
#define STEPS_BATCHES_MAX   TASK_PARTS_MAX /* micro_batches of a steps program */

enum program_kind { PROGRAM_MAP, PROGRAM_APPLY, PROGRAM_STEPS };
enum sampler_kind {
    SAMPLER_RANDOM,   /* windows at uniformly random offsets of [begin, end) */
    SAMPLER_ORDERED,  /* window w at begin + w * seq */
    SAMPLER_SHUFFLED, /* records of [begin, end), in an order drawn anew each epoch (docs/data.md)
                       */
    SAMPLER_LISTED    /* record r at begin + r */
};

struct sampler {
    enum sampler_kind kind;
    uint32_t batch;
    uint32_t seq;        /* windows: tokens of each */
    uint64_t begin, end; /* tokens of the corpus, or records of the split */
    uint64_t seed;
    enum dataset_part split; /* records */
    uint64_t rows;           /* shuffled: records that one step takes; listed: 0 */
    uint32_t width; /* windows of a token set: bytes of a token, 2 or 4; 0: bytes are tokens */
};

struct program {
    enum program_kind kind;
    struct cid graph;
    bool has_sampler; /* map */
    struct sampler sampler;
    bool has_decode; /* apply: may have one */
    struct cid decode;
    double max_norm;       /* apply, of a part; 0: any */
    struct cid grad, step; /* steps */
    bool has_begin;        /* steps: may have one */
    struct cid begin;
    uint32_t micro_batches;
    struct optimiser_recipe recipe;
};

struct task_input {
    char name[TASK_NAME_MAX];
    struct cid cid;
};
struct task_part {
    uint32_t first, count;
    struct cid cid;
};
struct task_arg {
    char name[TASK_NAME_MAX];
    uint32_t width;
    float value[TASK_ARG_WIDTH_MAX];
};

struct task {
    struct cid program;
    uint32_t first, count; /* map: micro-batches; steps: first micro-batch, number of steps;
                            * apply: first tells tasks of equal inputs apart, count is 0 */
    uint32_t total;        /* apply with parts: micro-batches in the tree */
    uint32_t step;         /* sampler's step; steps: the first one */
    uint32_t input_count, part_count, arg_count;
    struct task_input input[TASK_INPUTS_MAX]; /* sorted by name */
    struct task_part *part;                   /* sorted by first; owned */
    struct task_arg arg[TASK_ARGS_MAX];       /* sorted by name */
};

struct task_output {
    char name[TASK_NAME_MAX];
    struct cid cid;
};

/* Is an input of that name read piece by piece from disk, like the corpus "data"? All others are
 * brought into memory as they are. */
bool task_input_on_disk(const char *name);

struct receipt {
    struct cid task;
    char lease[40];
    char node[DID_KEY_MAX];
    uint64_t started_ms, ended_ms;
    uint32_t output_count;
    struct task_output output[TASK_OUTPUTS_MAX]; /* sorted by name */
};

bool task_name_ok(const char *name);
/* Does it draw records of a data set, not windows of a file? */
bool sampler_on_records(const struct sampler *s);
/* Sizes, and a range that holds at least one window or record. */
enum emac_status sampler_check(const struct sampler *s, struct emac_err *err);

/* PROGRAM, TASK, RECEIPT bytes are appended to `out`; `cid` may be NULL. */
enum emac_status program_encode(const struct program *p, struct emac_buf *out, struct cid *cid,
                                struct emac_err *err);
enum emac_status program_decode(struct program *out, const void *data, size_t n,
                                struct emac_err *err);
enum emac_status task_encode(const struct task *t, struct emac_buf *out, struct cid *cid,
                             struct emac_err *err);
/* Release with task_release. */
enum emac_status task_decode(struct task *out, const void *data, size_t n, struct emac_err *err);
void task_release(struct task *t);
enum emac_status task_copy(struct task *out, const struct task *t, struct emac_err *err);
const struct cid *task_input_find(const struct task *t, const char *name); /* NULL when absent */
const struct task_arg *task_arg_find(const struct task *t, const char *name);
/* What encode and decode insist on: names fit and are in strict order, numbers are finite, ranges
 * do not overflow, parts are in order of first and do not overlap. */
enum emac_status task_check(const struct task *t, struct emac_err *err);

enum emac_status receipt_encode(const struct receipt *r, struct emac_buf *out, struct cid *cid,
                                struct emac_err *err);
enum emac_status receipt_decode(struct receipt *out, const void *data, size_t n,
                                struct emac_err *err);
/* Same outputs, name by name? */
bool receipt_agrees(const struct receipt *a, const struct receipt *b);

/* Number of the corpus's first token in row `row` of micro-batch `index` at `step`: a pure function
 * (Philox, PHILOX_DATA, row number index*batch + row). The window is seq+1 tokens: inputs [0,seq),
 * targets [1,seq]. An ordered window may lie past `end`: see sampler_batches. */
uint64_t sampler_offset(const struct sampler *s, uint32_t step, uint32_t index, uint32_t row);
/* Number of the split's record in that row. A listed one may lie past `end`. */
uint64_t sampler_record(const struct sampler *s, uint32_t step, uint32_t index, uint32_t row);
/* Micro-batches that lie wholly inside [begin, end): UINT64_MAX for a random sampler; those of one
 * step for a shuffled one. */
uint64_t sampler_batches(const struct sampler *s);

#endif

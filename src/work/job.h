/* A job: what a user wants trained, complete with seed and every
 * hyperparameter, in one file (YAML, or JSON with the same keys; annotated in
 * examples/ and docs/job.md). The canonical form is dag-cbor; the job's id is
 * "job-" and the last 12 characters of its CID. Defaults are filled in before
 * the canonical form is made, so the object says everything.
 *
 *   name: kjv                     # [a-z0-9-]{1,40}
 *   kind: train                   # or evaluate: work/evaluate.h
 *   seed: 1
 *   model: {architecture: llama, vocab_size: 256, hidden_size, intermediate_size, layers, heads,
 *           kv_heads, tie_embeddings, attention_bias, rope_theta, norm_eps, embed_std, linear_std,
 *           residual_std}
 *       or {architecture: cnn, stages, filters, kernel, layers, hidden_size}
 *       or {architecture: mlp, layers, hidden_size}
 *   data: {cid: bafy...}  or  {file: path}  (path: relative to the job file; the CLI adds it and
 *           puts in cid) , heldout: 0.05, size is filled in
 *       for a cnn or mlp: {cid: bafy...} of a data set (work/dataset.h); the rest is filled in
 *   base: {cid: bafy..., train: full}             # joined later; work/base.h
 *       or {cid, train: head, layers} or {cid, train: lora, rank, alpha, targets: [q_proj, v_proj]}
 *   recipe: {optimiser: adamw, seq_len, micro_batch, micro_batches, steps, lr, schedule, min_lr,
 *           warmup_steps, beta1, beta2, eps, weight_decay, clip_norm, checkpoint_every,
 *           eval_batches}  # another optimiser or schedule has other fields
 *   spread: {kind: sync}          # how the work is spread over rigs (work/planner.h)
 *       or {kind: pipeline, stages: 3, activations: f32, replicas: 1, shares: [4, 2, 1]}
 *       or {kind: federated, shards: <CID>, inner_steps: 50, outer_lr: 0.7, outer_momentum: 0.9,
 *           max_norm: 1, worsen: 0.1}
 *   policy: {check: 0.1, state_copies: 2, purpose: commercial}
 *   price: {per_tflop: "0.0001"}  # EMAC a 10^12 flops
 *   budget: "5"                   # EMAC
 */
#ifndef EMAC_WORK_JOB_H
#define EMAC_WORK_JOB_H

#include <jansson.h>

#include "codec/cid.h"
#include "crypto/crypto.h"
#include "graph/stages.h"
#include "model/classifier.h"
#include "model/llama.h"
#include "model/local_sgd.h"
#include "model/optimiser.h"
#include "model/tune.h"
#include "work/dataset.h"

#define JOB_ID_MAX            24
#define JOB_NAME_MAX          40
#define JOB_STEPS_MAX         10000000u
#define JOB_MICRO_BATCHES_MAX 4096u      /* = TASK_PARTS_MAX: so a step always fits one task */
#define JOB_TOKENS_MAX        (1u << 20) /* micro_batch * seq_len */
#define JOB_FEATURES_MAX      (1u << 26) /* micro_batch * numbers of a record */
#define JOB_PARAMETERS_MAX    ((uint64_t)1 << 31) /* weights of the model: fewer than this */
#define JOB_DATA_SIZE_MAX     ((uint64_t)1 << 50)
#define JOB_REPLICAS_MAX      32 /* so that their state fits PLAN_VALUES_MAX */
#define JOB_LANES_MAX         16 /* replicas times stages of spread hybrid, for the same reason */
#define JOB_BYTES_MAX         16384 /* of the canonical form */

/* What is to be done. */
enum job_kind { JOB_TRAIN, JOB_EVALUATE, JOB_KINDS };

/* What is trained; work/family.h says what each means. */
enum job_architecture { JOB_LLAMA, JOB_MLP, JOB_CNN, JOB_ARCHITECTURES };

/* What the model is for, as licences ask (work/licence.h). */
enum job_purpose { PURPOSE_COMMERCIAL, PURPOSE_RESEARCH };

/* How training is spread; each has its planner (work/planner.h). */
enum job_spread {
    SPREAD_SYNC,
    SPREAD_PIPELINE,
    SPREAD_LOCAL,
    SPREAD_FEDERATED,
    SPREAD_HYBRID,
    SPREADS_COUNT
};

/* Which state's parameters become the model: the last, or those of the least held-out loss. */
enum job_keep { KEEP_LAST, KEEP_BEST };

/* A field that the job's kind or architecture does not have is 0. Of an evaluation `model`,
 * `classifier` and `tune` are those of the model's directory, known with the store (job_plan_new).
 */
struct job {
    enum job_kind kind;
    char name[JOB_NAME_MAX + 1];
    uint64_t seed;
    enum job_architecture architecture;
    enum job_spread spread;
    struct llama_config model; /* max_positions = seq_len */
    struct llama_init init;
    struct classifier_config classifier; /* its record is that of the data set: filled in */
    struct cid base;  /* the model directory that training starts from, none: from scratch; of an
                       * evaluation the model that is evaluated */
    struct tune tune; /* its kind is TUNE_SCRATCH without a base; storage is known with the store */
    struct cid data;
    uint64_t data_size;             /* bytes of the corpus' file, or of the data set's files */
    uint64_t tokens, text_size;     /* of a token set (work/corpus.h), 0 for bytes: filled in */
    uint32_t vocab;                 /* of the token set's tokenizer, 0 for bytes: filled in */
    uint64_t records, test_records; /* of the data set: filled in */
    enum dataset_part split;        /* of the data set, that is evaluated */
    double heldout;            /* share of bytes at the end kept for evaluation, 0 <= h < 0.5 */
    uint32_t seq_len;          /* T */
    uint32_t micro_batch;      /* B sequences, or records */
    uint32_t micro_batches;    /* M a step */
    struct local_recipe local; /* spread local, hybrid; federated, with a replica a shard */
    struct cid shards;         /* spread federated: work/shards.h */
    double
        worsen; /* share of the held-out loss by which a round may be worse than the best; 0: any */
    struct optimiser_recipe optimiser; /* .steps = number of optimiser steps */
    uint32_t checkpoint_every;         /* steps; the last step always is one */
    uint32_t eval_batches; /* micro-batches of held-out windows or test records, cut to what
                              there is */
    struct {
        uint32_t stages;            /* that the model is cut into (graph/stages.h) */
        enum stage_form form;       /* of what goes between them */
        uint32_t replicas;          /* rigs that may hold a stage; changes no bit */
        uint32_t share[STAGES_MAX]; /* of the work, that each is to have; 0: all alike */
    } pipeline;
    uint32_t
        eval_every;    /* optimiser steps between evaluations during training; 0: only at the end */
    uint32_t patience; /* evaluations without a better one that end training; 0: never */
    enum job_keep keep;
    enum job_purpose purpose;
    double check;          /* share of gradient tasks executed by a second rig */
    double deadline;       /* hours that it may take by prediction; 0: any */
    uint32_t state_copies; /* rigs that run each optimiser step (>= 1) */
    int64_t price_units_per_tflop;
    int64_t budget_units; /* 0: not given; plan_budget_default says what is usual */
    /* filled at submission; empty for --local */
    char owner[DID_KEY_MAX];
    uint64_t nonce; /* distinguishes two submissions of one file */
};

/* The canonical form is a map with the sections of the file and every field, in canonical key
 * order: {data: {cid, size, heldout}, kind, name, seed, model: {...}, nonce, owner, price:
 * {per_tflop: units}, budget: units, policy: {...}, recipe: {...}}; real numbers are binary64,
 * amounts are units. One table (work/job_fields.h) drives reading, writing and checking of both
 * forms.
 *
 * Parse and check a job object; `data_file` receives data.file when the job names a file instead of
 * a CID (out->data is then none). Unknown fields, wrong types, absurd sizes: INVALID, naming the
 * field by its path ("recipe.lr"), what is wrong and what is allowed. data.size may be absent (0
 * then): whoever holds the corpus fills it in. */
enum emac_status job_from_json(struct job *out, json_t *root, char *data_file, size_t data_file_cap,
                               struct emac_err *err);
json_t *job_to_json(const struct job *job); /* complete, defaults filled in */
/* Does it train on a data set of records, not on a corpus? */
bool job_on_records(const struct job *job);
/* Fill in what follows from the corpus, the vocabulary of 256 that a job on bytes has too; INVALID
 * when the job says otherwise already. */
struct corpus;
enum emac_status job_take_corpus(struct job *job, const struct corpus *c, struct emac_err *err);
/* Does the model's vocabulary fit the corpus? INVALID with both figures. */
enum emac_status job_vocab_check(const struct job *job, struct emac_err *err);
/* Fill in what follows from the data set; INVALID when the job says otherwise already. */
enum emac_status job_take_dataset(struct job *job, const struct dataset *d, struct emac_err *err);
/* All of job_from_json's checks again, and those that need the data: CID and size are set, heldout
 * part and training part of a corpus hold at least one window, the facts of a data set are there.
 */
enum emac_status job_check(const struct job *job, struct emac_err *err);
/* Appends to out; cid may be NULL. INVALID when the job fails its checks or data.cid is not set. */
enum emac_status job_encode(const struct job *job, struct emac_buf *out, struct cid *cid,
                            struct emac_err *err);
enum emac_status job_decode(struct job *out, const void *data, size_t n, struct emac_err *err);
/* The fields of the recipe that struct optimiser_recipe holds, as the map that a program carries:
 * those of the job's own section, with its rules for what is left out. Reading checks ranges. */
struct dagcbor_writer;
struct dagcbor_node;
void job_recipe_write(struct dagcbor_writer *w, const struct optimiser_recipe *r);
enum emac_status job_recipe_read(struct optimiser_recipe *out, const struct dagcbor_node *map,
                                 struct emac_err *err);
void job_id(char out[JOB_ID_MAX], const struct cid *job_cid);

/* Tokens of a corpus, and their ranges: training [0, train_end), held-out [train_end, tokens). */
uint64_t job_tokens(const struct job *job);
uint64_t job_train_end(const struct job *job);
/* Bytes of a token in the corpus' file, as a sampler says it: 0 when bytes are the tokens. */
uint32_t job_token_width(const struct job *job);
/* A held-out loss, nats a token, in bits a byte of the text: by the mean length of the corpus'
 * tokens. */
double job_bits_per_byte(const struct job *job, double loss);
/* Into how many stages the model is cut; 1: it is whole. Cut it into so many: false when that
 * cannot be. Local SGD becomes hybrid, with the same replicas and so the same result, else a
 * pipeline. */
uint32_t job_stages(const struct job *job);
bool job_set_stages(struct job *job, uint32_t stages);
/* Replicas that each have stages of their own, side by side: 1 but for spread hybrid. */
uint32_t job_lanes(const struct job *job);
/* How many stages have a larger spread.shares, or the same and come before: it begins on the rig
 * that is as many places behind the fastest. */
uint32_t job_stage_rank(const struct job *job, uint32_t stage);
/* The word for job.spread: "sync". */
const char *job_spread_name(const struct job *job);
/* Micro-batches of an evaluation: min(eval_batches, what fits into the part that is evaluated), may
 * be 0. Of a job of kind evaluate with eval_batches 0 all that fit. */
uint32_t job_eval_batches(const struct job *job);
/* Rows of the part that is evaluated: windows of a text, records. */
uint64_t job_eval_rows(const struct job *job);
/* Micro-batches of a round: of a step, or of the evaluation that is the whole job. */
uint32_t job_round_batches(const struct job *job);
/* What a round's work is counted in: tokens of a text job, samples (records) of one on a data set.
 */
uint64_t job_units_per_step(const struct job *job);
const char *job_unit(const struct job *job); /* "tokens", "samples" */

#endif

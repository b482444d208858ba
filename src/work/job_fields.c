#include "work/job_fields.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "ledger/ledger.h"
#include "work/family.h"

#define AT(member) offsetof(struct job, member)
#define INT_MOST                                                                                   \
    9223372036854775807.0 /* INT64_MAX, rounded up: readers bound integers themselves */
#define BILLION 1e9

#define OF_TEXT    (1u << JOB_LLAMA)
#define OF_RECORDS (1u << JOB_MLP | 1u << JOB_CNN)
#define OF_CNN     (1u << JOB_CNN)

_Static_assert(sizeof(enum job_architecture) == sizeof(uint32_t) &&
                   sizeof(enum dtype) == sizeof(uint32_t),
               "a choice is read as a u32");

static const char *const TRAINS[TUNE_KINDS] = {
    [TUNE_SCRATCH] = "none", [TUNE_FULL] = "full", [TUNE_HEAD] = "head", [TUNE_LORA] = "lora"};
static const char *const TEXT_TARGETS[] = {
    [TUNE_DOWN] = "down_proj", [TUNE_GATE] = "gate_proj", [TUNE_K] = "k_proj", [TUNE_O] = "o_proj",
    [TUNE_Q] = "q_proj",       [TUNE_UP] = "up_proj",     [TUNE_V] = "v_proj"};
static const char *const RECORD_TARGETS[] = {[TUNE_DENSE] = "dense"};
static const char *const STORAGES[] = {[DTYPE_F32] = "f32", [DTYPE_BF16] = "bf16"};

static const char *const KINDS[JOB_KINDS] = {[JOB_TRAIN] = "train", [JOB_EVALUATE] = "evaluate"};
static const char *const SPLITS[] = {[DATASET_TRAIN] = "train", [DATASET_TEST] = "test"};
static const char *const PURPOSES[] = {
    [PURPOSE_COMMERCIAL] = "commercial", [PURPOSE_RESEARCH] = "research"};
static const char *const SPREADS[] = {[SPREAD_SYNC] = "sync",
                                      [SPREAD_PIPELINE] = "pipeline",
                                      [SPREAD_LOCAL] = "local",
                                      [SPREAD_FEDERATED] = "federated",
                                      [SPREAD_HYBRID] = "hybrid"};
static const char *const FORMS[] = {
    [STAGE_F32] = "f32", [STAGE_BF16] = "bf16", [STAGE_INT8] = "int8"};

static const char *const DELTAS[] = {
    [DELTA_F32] = "f32", [DELTA_INT8] = "int8", [DELTA_INT4] = "int4", [DELTA_TOPK] = "topk"};

static const char *const LAST_FORMS[] = {
    [DELTA_NONE] = "none", [DELTA_INT8] = "int8", [DELTA_INT4] = "int4"};

static const char *const RESUME_WORDS[] = {[RESUME_COMMON] = "common", [RESUME_OWN] = "own"};

#define STAGED   .when = {AT(spread), 1 << SPREAD_PIPELINE | 1 << SPREAD_HYBRID}
#define PIPELINE .when = {AT(spread), 1 << SPREAD_PIPELINE}

static const char *const OPTIMISERS[] = {[OPTIMISER_ADAMW] = "adamw",
                                         [OPTIMISER_SGD] = "sgd",
                                         [OPTIMISER_LION] = "lion",
                                         [OPTIMISER_MUON] = "muon"};
static const char *const SCHEDULES[] = {[SCHEDULE_COSINE] = "cosine",
                                        [SCHEDULE_WSD] = "wsd",
                                        [SCHEDULE_LINEAR] = "linear",
                                        [SCHEDULE_CONSTANT] = "constant"};
static const char *const DECAY_SHAPES[] = {[DECAY_ROOT] = "1-sqrt", [DECAY_LINEAR] = "linear"};

static const char *const KEEPS[] = {[KEEP_LAST] = "last", [KEEP_BEST] = "best"};

/* Jobs with an optimiser, or a schedule, of a set. */
enum {
    ADAMW = 1 << OPTIMISER_ADAMW,
    SGD = 1 << OPTIMISER_SGD,
    LION = 1 << OPTIMISER_LION,
    MUON = 1 << OPTIMISER_MUON
};
#define OPTIMISER(set) .when = {AT(optimiser.kind), (set)}
#define SCHEDULE(set)  .when = {AT(optimiser.schedule), (set)}

#define LOCAL      .when = {AT(spread), 1 << SPREAD_LOCAL | 1 << SPREAD_HYBRID}
#define WHOLE      .when = {AT(spread), 1 << SPREAD_LOCAL}
#define FEDERATED  .when = {AT(spread), 1 << SPREAD_FEDERATED}
#define DELTA(set) .when = {AT(local.delta), (set)}
#define DENSE      (1 << DELTA_F32 | 1 << DELTA_INT8 | 1 << DELTA_INT4)

#define TRAINED   (1u << JOB_TRAIN)
#define EVALUATED .does = 1u << JOB_EVALUATE
#define ANY_KIND  .does = 1u << JOB_TRAIN | 1u << JOB_EVALUATE
#define ROPE(set) .when = {AT(model.rope.kind), (set)}

#define CHOICE(w)       .words = (w), .word_count = EMAC_COUNT(w)
#define WITH_BASE(bits) .when = {AT(tune.kind), (bits)}
#define ANY_BASE        (1u << TUNE_FULL | 1u << TUNE_HEAD | 1u << TUNE_LORA)

const struct job_field JOB_FIELDS[] = {
    {NULL, "name", FIELD_NAME, NEED_MUST, AT(name), ANY_KIND},
    {NULL, "kind", FIELD_CHOICE, NEED_DEFAULT, AT(kind), CHOICE(KINDS), ANY_KIND},
    {NULL, "seed", FIELD_U64, NEED_DEFAULT, AT(seed), 0, INT_MOST, 1},
    {"model", "architecture", FIELD_CHOICE, NEED_DEFAULT, AT(architecture),
     CHOICE(JOB_ARCHITECTURE_NAMES), ANY_KIND},
    {"model", "cid", FIELD_CID, NEED_MUST, AT(base), EVALUATED},
    {"base", "train", FIELD_CHOICE, NEED_DEFAULT, AT(tune.kind), CHOICE(TRAINS), .joined = true},
    {"base", "cid", FIELD_CID, NEED_MUST, AT(base), WITH_BASE(ANY_BASE)},
    {"base", "layers", FIELD_U32, NEED_DEFAULT, AT(tune.layers), 1, LLAMA_LAYERS_MAX, 1,
     WITH_BASE(1u << TUNE_HEAD)},
    {"base", "rank", FIELD_U32, NEED_DEFAULT, AT(tune.rank), 1, TUNE_RANK_MAX, 8,
     WITH_BASE(1u << TUNE_LORA)},
    {"base", "alpha", FIELD_F64, NEED_DEFAULT, AT(tune.alpha), 1e-6, 1e6, 16,
     WITH_BASE(1u << TUNE_LORA)},
    {"base", "targets", FIELD_SET, NEED_DEFAULT, AT(tune.targets), CHOICE(TEXT_TARGETS),
     .usual = 1u << TUNE_Q | 1u << TUNE_V, .of = OF_TEXT, WITH_BASE(1u << TUNE_LORA)},
    {"base", "targets", FIELD_SET, NEED_DEFAULT, AT(tune.targets), CHOICE(RECORD_TARGETS),
     .usual = 1u << TUNE_DENSE, .of = OF_RECORDS, WITH_BASE(1u << TUNE_LORA)},
    {"model", "vocab_size", FIELD_U32, NEED_DEFAULT, AT(model.vocab_size), 1, 1048576, 256,
     .of = OF_TEXT},
    {"model", "hidden_size", FIELD_U32, NEED_MUST, AT(model.hidden_size), 2, 16384, .of = OF_TEXT},
    {"model", "intermediate_size", FIELD_U32, NEED_MUST, AT(model.intermediate_size), 1, 65536,
     .of = OF_TEXT},
    {"model", "layers", FIELD_U32, NEED_MUST, AT(model.layers), 1, LLAMA_LAYERS_MAX, .of = OF_TEXT},
    {"model", "heads", FIELD_U32, NEED_MUST, AT(model.heads), 1, 256, .of = OF_TEXT},
    {"model", "kv_heads", FIELD_U32, NEED_DERIVED, AT(model.kv_heads), 1, 256, .of = OF_TEXT},
    {"model", "tie_embeddings", FIELD_BOOL, NEED_DEFAULT, AT(model.tie_embeddings), .usual = 1,
     .of = OF_TEXT},
    {"model", "attention_bias", FIELD_BOOL, NEED_DEFAULT, AT(model.qkv_bias), .of = OF_TEXT,
     .joined = true},
    {"model", "rope_theta", FIELD_F64, NEED_DEFAULT, AT(model.rope_theta), 1, 1e9, 10000,
     .of = OF_TEXT},
    {"model", "rope_scaling", FIELD_CHOICE, NEED_DEFAULT, AT(model.rope.kind), CHOICE(ROPE_NAMES),
     .of = OF_TEXT, .joined = true},
    {"model", "rope_factor", FIELD_F64, NEED_MUST, AT(model.rope.factor), 1, 1e6, .of = OF_TEXT,
     ROPE(1u << ROPE_LINEAR | 1u << ROPE_LLAMA3)},
    {"model", "rope_low", FIELD_F64, NEED_DEFAULT, AT(model.rope.low), 1e-6, 1e6, 1, .of = OF_TEXT,
     ROPE(1u << ROPE_LLAMA3)},
    {"model", "rope_high", FIELD_F64, NEED_DEFAULT, AT(model.rope.high), 1e-6, 1e6, 4,
     .of = OF_TEXT, ROPE(1u << ROPE_LLAMA3)},
    {"model", "rope_positions", FIELD_U32, NEED_MUST, AT(model.rope.positions), 1, 1 << 24,
     .of = OF_TEXT, ROPE(1u << ROPE_LLAMA3)},
    {"model", "norm_eps", FIELD_F64, NEED_DEFAULT, AT(model.norm_eps), 1e-12, 0.1, 1e-5,
     .of = OF_TEXT},
    {"model", "embed_std", FIELD_F64, NEED_DEFAULT, AT(init.embed_std), 1e-6, 1, 0.02,
     .of = OF_TEXT},
    {"model", "linear_std", FIELD_F64, NEED_DEFAULT, AT(init.linear_std), 1e-6, 1, 0.02,
     .of = OF_TEXT},
    {"model", "residual_std", FIELD_F64, NEED_DEFAULT, AT(init.residual_std), 0, 1, 0,
     .of = OF_TEXT},
    {"model", "storage", FIELD_CHOICE, NEED_DEFAULT, AT(model.storage), CHOICE(STORAGES),
     .of = OF_TEXT, .joined = true},
    {"model", "stages", FIELD_U32, NEED_DEFAULT, AT(classifier.stages), 1, CLASSIFIER_STAGES_MAX, 2,
     .of = OF_CNN},
    {"model", "filters", FIELD_U32, NEED_MUST, AT(classifier.filters), 1, 1024, .of = OF_CNN},
    {"model", "kernel", FIELD_U32, NEED_DEFAULT, AT(classifier.kernel), 1, 15, 3, .of = OF_CNN},
    {"model", "layers", FIELD_U32, NEED_DEFAULT, AT(classifier.layers), 0, CLASSIFIER_LAYERS_MAX, 1,
     .of = OF_RECORDS},
    {"model", "hidden_size", FIELD_U32, NEED_MUST, AT(classifier.hidden_size), 1, 65536,
     .of = OF_RECORDS},
    {"data", "cid", FIELD_CID, NEED_LATER, AT(data), ANY_KIND},
    {"data", "size", FIELD_U64, NEED_LATER, AT(data_size), 0, (double)JOB_DATA_SIZE_MAX, ANY_KIND},
    {"data", "heldout", FIELD_F64, NEED_DEFAULT, AT(heldout), 0, 0.5, 0.05, .of = OF_TEXT},
    {"data", "heldout", FIELD_F64, NEED_DEFAULT, AT(heldout), 1e-6, 1, 1, .of = OF_TEXT, EVALUATED},
    {"data", "split", FIELD_CHOICE, NEED_DEFAULT, AT(split), CHOICE(SPLITS), .usual = DATASET_TEST,
     .of = OF_RECORDS, EVALUATED},
    {"data", "tokens", FIELD_U64, NEED_LATER, AT(tokens), 0, (double)JOB_DATA_SIZE_MAX,
     .of = OF_TEXT, .joined = true, ANY_KIND},
    {"data", "text_size", FIELD_U64, NEED_LATER, AT(text_size), 0, (double)JOB_DATA_SIZE_MAX,
     .of = OF_TEXT, .joined = true, ANY_KIND},
    {"data", "vocab", FIELD_U32, NEED_LATER, AT(vocab), 0, 1048576, .of = OF_TEXT, .joined = true,
     ANY_KIND},
    {"data", "records", FIELD_U64, NEED_LATER, AT(records), 0, (double)DATASET_RECORDS_MAX,
     .of = OF_RECORDS, ANY_KIND},
    {"data", "test_records", FIELD_U64, NEED_LATER, AT(test_records), 0,
     (double)DATASET_RECORDS_MAX, .of = OF_RECORDS, ANY_KIND},
    {"data", "height", FIELD_U32, NEED_LATER, AT(classifier.height), 0, DATASET_SIDE_MAX,
     .of = OF_RECORDS, ANY_KIND},
    {"data", "width", FIELD_U32, NEED_LATER, AT(classifier.width), 0, DATASET_SIDE_MAX,
     .of = OF_RECORDS, ANY_KIND},
    {"data", "channels", FIELD_U32, NEED_LATER, AT(classifier.channels), 0, DATASET_CHANNELS_MAX,
     .of = OF_RECORDS, ANY_KIND},
    {"data", "classes", FIELD_U32, NEED_LATER, AT(classifier.classes), 0, DATASET_CLASSES_MAX,
     .of = OF_RECORDS, ANY_KIND},
    {"recipe", "optimiser", FIELD_CHOICE, NEED_DEFAULT, AT(optimiser.kind), CHOICE(OPTIMISERS)},
    {"recipe", "seq_len", FIELD_U32, NEED_MUST, AT(seq_len), 1, 32768, .of = OF_TEXT, ANY_KIND},
    {"recipe", "micro_batch", FIELD_U32, NEED_MUST, AT(micro_batch), 1, 4096, ANY_KIND},
    {"recipe", "micro_batches", FIELD_U32, NEED_MUST, AT(micro_batches), 1, JOB_MICRO_BATCHES_MAX},
    {"recipe", "steps", FIELD_U32, NEED_MUST, AT(optimiser.steps), 1, JOB_STEPS_MAX},
    {"recipe", "lr", FIELD_F64, NEED_MUST, AT(optimiser.lr), 1e-12, 1},
    {"recipe", "schedule", FIELD_CHOICE, NEED_DEFAULT, AT(optimiser.schedule), CHOICE(SCHEDULES),
     .joined = true},
    {"recipe", "min_lr", FIELD_F64, NEED_DERIVED, AT(optimiser.min_lr), 0, 1,
     SCHEDULE(~(1u << SCHEDULE_CONSTANT))},
    {"recipe", "warmup_steps", FIELD_U32, NEED_DERIVED, AT(optimiser.warmup_steps), 0,
     JOB_STEPS_MAX},
    {"recipe", "decay_steps", FIELD_U32, NEED_DERIVED, AT(optimiser.decay_steps), 0, JOB_STEPS_MAX,
     SCHEDULE(1u << SCHEDULE_WSD)},
    {"recipe", "decay_shape", FIELD_CHOICE, NEED_DEFAULT, AT(optimiser.decay_shape),
     CHOICE(DECAY_SHAPES), SCHEDULE(1u << SCHEDULE_WSD)},
    {"recipe", "momentum", FIELD_F64, NEED_DEFAULT, AT(optimiser.momentum), 0, 0.999999, 0.9,
     OPTIMISER(SGD)},
    {"recipe", "momentum", FIELD_F64, NEED_DEFAULT, AT(optimiser.momentum), 0, 0.999999, 0.95,
     OPTIMISER(MUON)},
    {"recipe", "nesterov", FIELD_BOOL, NEED_DEFAULT, AT(optimiser.nesterov), .usual = 0,
     OPTIMISER(SGD)},
    {"recipe", "nesterov", FIELD_BOOL, NEED_DEFAULT, AT(optimiser.nesterov), .usual = 1,
     OPTIMISER(MUON)},
    {"recipe", "beta1", FIELD_F64, NEED_DEFAULT, AT(optimiser.beta1), 0, 0.999999, 0.9,
     OPTIMISER(ADAMW | LION | MUON)},
    {"recipe", "beta2", FIELD_F64, NEED_DEFAULT, AT(optimiser.beta2), 0, 0.999999, 0.95,
     OPTIMISER(ADAMW | MUON)},
    {"recipe", "beta2", FIELD_F64, NEED_DEFAULT, AT(optimiser.beta2), 0, 0.999999, 0.99,
     OPTIMISER(LION)},
    {"recipe", "eps", FIELD_F64, NEED_DEFAULT, AT(optimiser.eps), 1e-20, 1, 1e-8,
     OPTIMISER(ADAMW | MUON)},
    {"recipe", "weight_decay", FIELD_F64, NEED_DEFAULT, AT(optimiser.weight_decay), 0, 1, 0.1,
     OPTIMISER(ADAMW | LION | MUON)},
    {"recipe", "weight_decay", FIELD_F64, NEED_DEFAULT, AT(optimiser.weight_decay), 0, 1, 0,
     OPTIMISER(SGD)},
    {"recipe", "clip_norm", FIELD_F64, NEED_DEFAULT, AT(optimiser.clip_norm), 0, 1e6, 1},
    {"recipe", "checkpoint_every", FIELD_U32, NEED_DERIVED, AT(checkpoint_every), 1, JOB_STEPS_MAX},
    {"recipe", "eval_batches", FIELD_U32, NEED_DEFAULT, AT(eval_batches), 0, JOB_MICRO_BATCHES_MAX,
     16, .of = OF_TEXT},
    {"recipe", "eval_batches", FIELD_U32, NEED_DEFAULT, AT(eval_batches), 0, JOB_MICRO_BATCHES_MAX,
     JOB_MICRO_BATCHES_MAX, .of = OF_RECORDS},
    {"recipe", "eval_batches", FIELD_U32, NEED_DEFAULT, AT(eval_batches), 0, JOB_MICRO_BATCHES_MAX,
     0, EVALUATED},
    {"recipe", "eval_every", FIELD_U32, NEED_DEFAULT, AT(eval_every), 0, JOB_STEPS_MAX, 0,
     .joined = true},
    {"recipe", "patience", FIELD_U32, NEED_DEFAULT, AT(patience), 0, JOB_STEPS_MAX, 0,
     .joined = true},
    {"recipe", "keep", FIELD_CHOICE, NEED_DEFAULT, AT(keep), CHOICE(KEEPS), .joined = true},
    {"spread", "kind", FIELD_CHOICE, NEED_DEFAULT, AT(spread), CHOICE(SPREADS), .joined = true},
    {"spread", "stages", FIELD_U32, NEED_MUST, AT(pipeline.stages), 2, STAGES_MAX, STAGED},
    {"spread", "activations", FIELD_CHOICE, NEED_DEFAULT, AT(pipeline.form), CHOICE(FORMS), STAGED},
    {"spread", "replicas", FIELD_U32, NEED_DEFAULT, AT(pipeline.replicas), 1, 16, 1, PIPELINE},
    {"spread", "shares", FIELD_LIST, NEED_DEFAULT, AT(pipeline.share), 1, STAGE_SHARE_MAX,
     .word_count = STAGES_MAX, STAGED, .joined = true},
    {"spread", "replicas", FIELD_U32, NEED_MUST, AT(local.replicas), 1, JOB_REPLICAS_MAX, LOCAL},
    {"spread", "inner_steps", FIELD_U32, NEED_MUST, AT(local.inner_steps), 1, JOB_STEPS_MAX, LOCAL},
    {"spread", "delta", FIELD_CHOICE, NEED_DEFAULT, AT(local.delta), .usual = DELTA_F32,
     CHOICE(DELTAS), LOCAL},
    {"spread", "outer_lr", FIELD_F64, NEED_DEFAULT, AT(local.outer_lr), 1e-6, 10, 0.7,
     DELTA(DENSE)},
    {"spread", "outer_lr", FIELD_F64, NEED_DEFAULT, AT(local.outer_lr), 1e-6, 10, 1,
     DELTA(1 << DELTA_TOPK)},
    {"spread", "outer_momentum", FIELD_F64, NEED_DEFAULT, AT(local.outer_momentum), 0, 0.999999,
     0.9, DELTA(DENSE)},
    {"spread", "outer_momentum", FIELD_F64, NEED_DEFAULT, AT(local.outer_momentum), 0, 0.999999, 0,
     DELTA(1 << DELTA_TOPK)},
    {"spread", "density", FIELD_F64, NEED_DEFAULT, AT(local.density), 0.0009765625, 0.25, 0.015625,
     DELTA(1 << DELTA_TOPK)},
    {"spread", "feedback", FIELD_F64, NEED_DEFAULT, AT(local.feedback), 0, 1, 1,
     DELTA(1 << DELTA_INT8 | 1 << DELTA_INT4)},
    {"spread", "feedback", FIELD_F64, NEED_DEFAULT, AT(local.feedback), 0, 1, 0.95,
     DELTA(1 << DELTA_TOPK)},
    {"spread", "resume", FIELD_CHOICE, NEED_DEFAULT, AT(local.resume), CHOICE(RESUME_WORDS),
     DELTA(1 << DELTA_INT8 | 1 << DELTA_INT4 | 1 << DELTA_TOPK), .joined = true},
    {"spread", "max_norm", FIELD_F64, NEED_DEFAULT, AT(local.max_norm), 0, 1e6, 0, LOCAL,
     .joined = true},
    {"spread", "fragments", FIELD_U32, NEED_DEFAULT, AT(local.fragments), 1, LOCAL_FRAGMENTS_MAX, 1,
     WHOLE, .joined = true},
    {"spread", "overlap", FIELD_U32, NEED_DEFAULT, AT(local.overlap), 0, JOB_STEPS_MAX, 0, WHOLE,
     .joined = true},
    {"spread", "last", FIELD_CHOICE, NEED_DEFAULT, AT(local.last), .usual = DELTA_NONE,
     CHOICE(LAST_FORMS), WHOLE, .joined = true},
    {"spread", "common_steps", FIELD_U32, NEED_DEFAULT, AT(local.common_steps), 0, JOB_STEPS_MAX, 0,
     WHOLE, .joined = true},
    {"spread", "shards", FIELD_CID, NEED_MUST, AT(shards), FEDERATED},
    {"spread", "inner_steps", FIELD_U32, NEED_MUST, AT(local.inner_steps), 1, JOB_STEPS_MAX,
     FEDERATED},
    {"spread", "outer_lr", FIELD_F64, NEED_DEFAULT, AT(local.outer_lr), 1e-6, 10, 0.7, FEDERATED},
    {"spread", "outer_momentum", FIELD_F64, NEED_DEFAULT, AT(local.outer_momentum), 0, 0.999999,
     0.9, FEDERATED},
    {"spread", "max_norm", FIELD_F64, NEED_DEFAULT, AT(local.max_norm), 1e-6, 1e6, 1, FEDERATED},
    {"spread", "worsen", FIELD_F64, NEED_DEFAULT, AT(worsen), 0, 10, 0.1, FEDERATED},
    {"policy", "check", FIELD_F64, NEED_DEFAULT, AT(check), 0, 1, 0.1, ANY_KIND},
    {"policy", "deadline", FIELD_F64, NEED_DEFAULT, AT(deadline), 0, 87600, 0, .joined = true,
     ANY_KIND},
    {"policy", "state_copies", FIELD_U32, NEED_DEFAULT, AT(state_copies), 1, 16, 2},
    {"policy", "purpose", FIELD_CHOICE, NEED_DEFAULT, AT(purpose), CHOICE(PURPOSES), .joined = true,
     ANY_KIND},
    {"price", "per_tflop", FIELD_AMOUNT, NEED_DEFAULT, AT(price_units_per_tflop), 1, 1e6 * BILLION,
     100000, ANY_KIND},
    {NULL, "budget", FIELD_AMOUNT, NEED_LATER, AT(budget_units), 0, 1e9 * BILLION, ANY_KIND},
    {NULL, "owner", FIELD_OWNER, NEED_LATER, AT(owner), ANY_KIND},
    {NULL, "nonce", FIELD_U64, NEED_LATER, AT(nonce), 0, INT_MOST, ANY_KIND},
};
const uint32_t JOB_FIELD_COUNT = EMAC_COUNT(JOB_FIELDS);
_Static_assert(EMAC_COUNT(JOB_FIELDS) <= JOB_FIELDS_MAX, "raise JOB_FIELDS_MAX");

const char *const JOB_SECTIONS[] = {"base",   "data",   "model",  "price",
                                    "policy", "recipe", "spread", NULL};

static uint32_t choice_at(const struct job *job, size_t offset)
{
    return *(const uint32_t *)(const void *)((const char *)job + offset);
}

bool job_field_applies(const struct job_field *f, const struct job *job)
{
    uint32_t does = f->does == 0 ? TRAINED : f->does;
    if ((f->of != 0 && (f->of >> job->architecture & 1) == 0) || (does >> job->kind & 1) == 0)
        return false;
    return f->when.in == 0 || (f->when.in >> choice_at(job, f->when.offset) & 1) != 0;
}

void job_field_path(char out[JOB_PATH_MAX], const char *section, const char *key)
{
    snprintf(out, JOB_PATH_MAX, "%s%s%s", section == NULL ? "" : section,
             section == NULL ? "" : ".", key);
}

/* ---- values ---- */

bool job_field_is_usual(const struct job *job, const struct job_field *f)
{
    const void *p = (const char *)job + f->offset;
    switch (f->type) {
    case FIELD_CHOICE:
    case FIELD_SET:
    case FIELD_LIST:
    case FIELD_U32:
        return *(const uint32_t *)p == (uint32_t)f->usual;
    case FIELD_U64:
        return *(const uint64_t *)p == (uint64_t)f->usual;
    case FIELD_F64:
        return *(const double *)p == f->usual;
    case FIELD_BOOL:
        return *(const bool *)p == (f->usual != 0);
    case FIELD_CID:
        return cid_is_none(p);
    default:
        break;
    }
    EMAC_ASSERT(false);
    return false;
}

void job_field_set_usual(struct job *job, const struct job_field *f)
{
    void *p = (char *)job + f->offset;
    if (f->type == FIELD_U32 || f->type == FIELD_CHOICE || f->type == FIELD_SET)
        *(uint32_t *)p = (uint32_t)f->usual;
    else if (f->type == FIELD_LIST)
        memset(p, 0, f->word_count * sizeof(uint32_t));
    else if (f->type == FIELD_U64)
        *(uint64_t *)p = (uint64_t)f->usual;
    else if (f->type == FIELD_F64)
        *(double *)p = f->usual;
    else if (f->type == FIELD_BOOL)
        *(bool *)p = f->usual != 0;
    else if (f->type == FIELD_AMOUNT)
        *(int64_t *)p = (int64_t)f->usual;
    else
        *(struct cid *)p = (struct cid){0};
}

const char *job_field_word(const struct job *job, const struct job_field *f)
{
    uint32_t value = choice_at(job, f->offset);
    EMAC_ASSERT(f->type == FIELD_CHOICE && value < f->word_count && f->words[value] != NULL);
    return f->words[value];
}

/* word_count when the word is none of the field's. */
static uint32_t word_find(const struct job_field *f, const char *word)
{
    uint32_t i = 0;
    while (i < f->word_count && (f->words[i] == NULL || strcmp(f->words[i], word) != 0))
        i++;
    return i;
}

bool job_field_choose(struct job *job, const struct job_field *f, const char *word)
{
    uint32_t value = word_find(f, word);
    EMAC_ASSERT(f->type == FIELD_CHOICE);
    if (value == f->word_count)
        return false;
    *(uint32_t *)(void *)((char *)job + f->offset) = value;
    return true;
}

bool job_field_include(struct job *job, const struct job_field *f, const char *word)
{
    uint32_t value = word_find(f, word);
    uint32_t *set = (uint32_t *)(void *)((char *)job + f->offset);
    EMAC_ASSERT(f->type == FIELD_SET);
    if (value == f->word_count || (*set >> value & 1) != 0)
        return false;
    *set |= 1u << value;
    return true;
}

uint32_t job_field_list_count(const struct job *job, const struct job_field *f)
{
    const uint32_t *list = (const uint32_t *)(const void *)((const char *)job + f->offset);
    uint32_t n = 0;
    EMAC_ASSERT(f->type == FIELD_LIST);
    while (n < f->word_count && list[n] != 0)
        n++;
    return n;
}

bool job_field_append(struct job *job, const struct job_field *f, uint64_t value)
{
    uint32_t n = job_field_list_count(job, f);
    if (n == f->word_count || (double)value < f->lo || (double)value > f->hi)
        return false;
    ((uint32_t *)(void *)((char *)job + f->offset))[n] = (uint32_t)value;
    return true;
}

void job_field_words(char out[JOB_WORDS_TEXT_MAX], const struct job_field *f, uint32_t in)
{
    uint32_t left = 0;
    size_t at = 0;
    for (uint32_t i = 0; i < f->word_count; i++)
        left += f->words[i] != NULL && (in >> i & 1) != 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < f->word_count; i++) {
        if (f->words[i] == NULL || (in >> i & 1) == 0)
            continue;
        left--;
        int n = snprintf(out + at, JOB_WORDS_TEXT_MAX - at, "'%s'%s", f->words[i],
                         left > 1    ? ", "
                         : left == 1 ? " or "
                                     : "");
        EMAC_ASSERT(n > 0 && (size_t)n < JOB_WORDS_TEXT_MAX - at);
        at += (size_t)n;
    }
}

/* ---- fields that a job does not have ---- */

static bool same_section(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

bool job_field_is_of(const struct job_field *f, const char *section, const struct job *job)
{
    return same_section(f->section, section) && job_field_applies(f, job);
}

static const struct job_field *choice_row(const struct job *job, size_t offset)
{
    for (uint32_t i = 0; i < JOB_FIELD_COUNT; i++) {
        const struct job_field *f = &JOB_FIELDS[i];
        if (f->type == FIELD_CHOICE && f->offset == offset && job_field_applies(f, job))
            return f;
    }
    return NULL;
}

static bool same_path(const struct job_field *f, const char *section, const char *key)
{
    return same_section(f->section, section) && strcmp(f->key, key) == 0;
}

/* A field that the job would have if it had chosen otherwise. */
static enum emac_status other_choice(const struct job *job, const struct job_field *f,
                                     struct emac_err *err)
{
    const struct job_field *choice = choice_row(job, f->when.offset);
    char path[JOB_PATH_MAX], decider[JOB_PATH_MAX], words[JOB_WORDS_TEXT_MAX];
    uint32_t in = 0;
    for (uint32_t i = 0; i < JOB_FIELD_COUNT; i++) {
        const struct job_field *other = &JOB_FIELDS[i];
        if (same_path(other, f->section, f->key) && other->when.offset == f->when.offset)
            in |= other->when.in;
    }
    job_field_path(path, f->section, f->key);
    job_field_path(decider, choice->section, choice->key);
    job_field_words(words, choice, in);
    return emac_fail(err, EMAC_INVALID, "%s goes with %s %s, not with '%s': leave it out", path,
                     decider, words, job_field_word(job, choice));
}

/* Has a job of the other kind a field of that name, and no job of this kind? */
static bool of_other_kind(const struct job *job, const char *section, const char *key)
{
    uint32_t does = 0;
    for (uint32_t i = 0; i < JOB_FIELD_COUNT; i++) {
        const struct job_field *f = &JOB_FIELDS[i];
        if (same_path(f, section, key))
            does |= f->does == 0 ? TRAINED : f->does;
    }
    return does != 0 && (does >> job->kind & 1) == 0;
}

enum emac_status job_field_unknown(const struct job *job, const char *section, const char *key,
                                   struct emac_err *err)
{
    char path[JOB_PATH_MAX];
    if (of_other_kind(job, section, key)) {
        job_field_path(path, section, key);
        return emac_fail(err, EMAC_INVALID, "%s goes with kind '%s', not with '%s': leave it out",
                         path, KINDS[job->kind == JOB_TRAIN ? JOB_EVALUATE : JOB_TRAIN],
                         KINDS[job->kind]);
    }
    char list[400] = "";
    size_t at = 0;
    for (uint32_t i = 0; i < JOB_FIELD_COUNT; i++) {
        const struct job_field *f = &JOB_FIELDS[i];
        if (same_path(f, section, key) && f->when.in != 0 &&
            choice_row(job, f->when.offset) != NULL)
            return other_choice(job, f, err);
        if (!job_field_is_of(f, section, job) || at + strlen(f->key) + 3 > sizeof list)
            continue;
        memcpy(list + at, " ", 1);
        memcpy(list + at + 1, f->key, strlen(f->key) + 1);
        at += strlen(f->key) + 1;
    }
    if (section == NULL)
        return emac_fail(err, EMAC_INVALID,
                         "unknown field '%.40s'; known are model, base, data, recipe, "
                         "policy, price, spread,%s",
                         key, list);
    return emac_fail(err, EMAC_INVALID, "unknown field '%s.%.40s'; known in '%s' are%s", section,
                     key, section, list);
}

/* ---- ranges ---- */

static enum emac_status name_check(const char *name, struct emac_err *err)
{
    size_t n = strnlen(name, JOB_NAME_MAX + 1);
    if (n > 0 && n <= JOB_NAME_MAX && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n)
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID,
                     "name must be 1 to %d lower-case letters, digits and hyphens", JOB_NAME_MAX);
}

static enum emac_status owner_check(const char *owner, struct emac_err *err)
{
    uint8_t key[ED25519_PUBLIC_BYTES];
    if (owner[0] == '\0' || crypto_did_key_parse(key, owner))
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID, "owner must be a did:key of an ed25519 key");
}

static enum emac_status range_check(const struct job_field *f, double v, struct emac_err *err)
{
    char path[JOB_PATH_MAX];
    if (v >= f->lo && v <= f->hi && !(v == 0 && __builtin_signbit(v)))
        return EMAC_OK;
    job_field_path(path, f->section, f->key);
    if (f->type != FIELD_F64)
        return emac_fail(err, EMAC_INVALID, "%s must be from %.0f to %.0f, not %.0f", path, f->lo,
                         f->hi, v);
    return emac_fail(err, EMAC_INVALID, "%s must be from %.15g to %.15g, not %.15g", path, f->lo,
                     f->hi, v);
}

static enum emac_status amount_check(const struct job_field *f, int64_t units, struct emac_err *err)
{
    char path[JOB_PATH_MAX], lo[32], hi[32];
    if (units >= (int64_t)f->lo && units <= (int64_t)f->hi)
        return EMAC_OK;
    job_field_path(path, f->section, f->key);
    ledger_amount_text(lo, (int64_t)f->lo);
    ledger_amount_text(hi, (int64_t)f->hi);
    return emac_fail(err, EMAC_INVALID, "%s must be from \"%s\" to \"%s\" EMAC", path, lo, hi);
}

enum emac_status job_field_check(const struct job *job, const struct job_field *f,
                                 struct emac_err *err)
{
    const void *p = (const char *)job + f->offset;
    switch (f->type) {
    case FIELD_NAME:
        return name_check(p, err);
    case FIELD_OWNER:
        return owner_check(p, err);
    case FIELD_U32:
        return range_check(f, *(const uint32_t *)p, err);
    case FIELD_U64:
        return range_check(f, (double)*(const uint64_t *)p, err);
    case FIELD_F64:
        return range_check(f, *(const double *)p, err);
    case FIELD_AMOUNT:
        return amount_check(f, *(const int64_t *)p, err);
    case FIELD_CHOICE: /* reading takes no other value */
    case FIELD_SET:
    case FIELD_LIST:
    case FIELD_BOOL:
    case FIELD_CID:
        break;
    }
    return EMAC_OK;
}

/* ---- between fields ---- */

static bool is_given(const bool *given, size_t offset)
{
    bool any = false;
    for (uint32_t i = 0; i < JOB_FIELD_COUNT; i++)
        any |= JOB_FIELDS[i].offset == offset && given[i];
    return any;
}

const char *job_spread_name(const struct job *job)
{
    EMAC_ASSERT((unsigned)job->spread < SPREADS_COUNT);
    return SPREADS[job->spread];
}

/* A tenth of the steps; of hybrid a number after which replicas come together. */
static uint32_t usual_checkpoints(const struct job *job)
{
    uint32_t steps = job->optimiser.steps, each = job->local.inner_steps;
    uint32_t tenth = steps < 10 ? 1 : steps / 10;
    if (job->spread != SPREAD_HYBRID || each == 0 || each >= steps)
        return job->spread == SPREAD_HYBRID ? steps : tenth;
    return tenth <= each ? each : tenth / each * each;
}

void job_fill_derived(struct job *job, const bool *given)
{
    struct llama_config *m = &job->model;
    m->max_positions = job->seq_len;
    if (job->kind == JOB_EVALUATE)
        return;
    if (!is_given(given, AT(model.kv_heads)))
        m->kv_heads = m->heads;
    if (!is_given(given, AT(optimiser.min_lr)))
        job->optimiser.min_lr =
            job->optimiser.schedule == SCHEDULE_CONSTANT ? 0 : job->optimiser.lr / 10;
    if (!is_given(given, AT(optimiser.warmup_steps)))
        job->optimiser.warmup_steps = job->optimiser.steps / 20;
    if (!is_given(given, AT(optimiser.decay_steps)))
        job->optimiser.decay_steps =
            job->optimiser.schedule == SCHEDULE_WSD ? job->optimiser.steps / 5 : 0;
    if (!is_given(given, AT(checkpoint_every)))
        job->checkpoint_every = usual_checkpoints(job);
    m->head_dim = m->heads == 0 ? 0 : m->hidden_size / m->heads;
}

static enum emac_status evaluation_check(const struct job *job, struct emac_err *err)
{
    if (job->eval_every > 0 || (job->patience == 0 && job->keep == KEEP_LAST))
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID,
                     "%s needs evaluations during training: give recipe.eval_every",
                     job->patience > 0 ? "recipe.patience" : "recipe.keep 'best'");
}

static enum emac_status shares_check(const struct job *job, struct emac_err *err)
{
    uint32_t said = 0;
    while (said < STAGES_MAX && job->pipeline.share[said] != 0)
        said++;
    if (said == 0 || said == job->pipeline.stages)
        return EMAC_OK;
    return emac_fail(
        err, EMAC_INVALID,
        "spread.shares has %u numbers and spread.stages is %u: give one for each stage, "
        "or leave it out",
        said, job->pipeline.stages);
}

static enum emac_status recipe_check(const struct job *job, struct emac_err *err)
{
    const struct optimiser_recipe *r = &job->optimiser;
    if (r->min_lr > r->lr)
        return emac_fail(err, EMAC_INVALID, "recipe.min_lr %.15g must not pass recipe.lr %.15g",
                         r->min_lr, r->lr);
    if (r->warmup_steps > r->steps)
        return emac_fail(err, EMAC_INVALID, "recipe.warmup_steps %u must not pass recipe.steps %u",
                         r->warmup_steps, r->steps);
    if (r->decay_steps > r->steps - r->warmup_steps)
        return emac_fail(err, EMAC_INVALID,
                         "recipe.decay_steps %u and recipe.warmup_steps %u together must not pass "
                         "recipe.steps %u",
                         r->decay_steps, r->warmup_steps, r->steps);
    if (job->checkpoint_every > r->steps)
        return emac_fail(err, EMAC_INVALID,
                         "recipe.checkpoint_every %u must not pass recipe.steps %u",
                         job->checkpoint_every, r->steps);
    if (job->spread == SPREAD_FEDERATED && job_on_records(job))
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "spread federated is for texts: a data set has no shards");
    enum emac_status st = job_local_check(job, err);
    if (st != EMAC_OK)
        return st;
    if (job->heldout >= 0.5)
        return emac_fail(err, EMAC_INVALID, "data.heldout must be less than 0.5, not %.15g",
                         job->heldout);
    return EMAC_OK;
}

enum emac_status job_check_fields(const struct job *job, struct emac_err *err)
{
    enum emac_status st;
    EMAC_ASSERT((unsigned)job->architecture < JOB_ARCHITECTURES);
    for (uint32_t i = 0; i < JOB_FIELD_COUNT; i++) {
        if (job_field_applies(&JOB_FIELDS[i], job))
            EMAC_TRY(st, job_field_check(job, &JOB_FIELDS[i], err));
    }
    if (job->kind == JOB_EVALUATE) /* the model's sizes come with its directory */
        return EMAC_OK;
    EMAC_TRY(st, job_family_of(job)->check(job, err));
    EMAC_TRY(st, evaluation_check(job, err));
    EMAC_TRY(st, job_stages(job) > 1 ? shares_check(job, err) : EMAC_OK);
    st = recipe_check(job, err);
out:
    return st;
}

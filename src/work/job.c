#include "work/job.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "work/corpus.h"
#include "work/family.h"
#include "work/job_fields.h"
#include "work/task.h"

#define JOB_ID_DIGITS 12
#define LOG2_E        1.4426950408889634

void job_id(char out[JOB_ID_MAX], const struct cid *job_cid)
{
    char text[CID_TEXT_MAX];
    cid_text(text, job_cid);
    size_t n = strlen(text);
    EMAC_ASSERT(n > JOB_ID_DIGITS);
    snprintf(out, JOB_ID_MAX, "job-%s", text + n - JOB_ID_DIGITS);
}

uint64_t job_tokens(const struct job *job)
{
    return job->tokens > 0 ? job->tokens : job->data_size;
}

uint32_t job_token_width(const struct job *job)
{
    return job->tokens > 0 ? (uint32_t)(job->data_size / job->tokens) : 0;
}

uint64_t job_train_end(const struct job *job)
{
    /* One rounded product and a truncation: the same on every machine. */
    uint64_t tokens = job_tokens(job), held = (uint64_t)((double)tokens * job->heldout);
    EMAC_ASSERT(held <= tokens);
    return tokens - held;
}

double job_bits_per_byte(const struct job *job, double loss)
{
    double bits = loss * LOG2_E;
    return job->tokens > 0 ? bits * (double)job->tokens / (double)job->text_size : bits;
}

bool job_on_records(const struct job *job)
{
    return job_family_of(job)->on_records;
}

const char *job_unit(const struct job *job)
{
    return job_family_of(job)->unit;
}

static uint64_t text_windows(const struct job *job)
{
    struct sampler s = {.kind = SAMPLER_ORDERED,
                        .batch = 1,
                        .seq = job->seq_len,
                        .begin = job_train_end(job),
                        .end = job_tokens(job)};
    return s.begin < s.end ? sampler_batches(&s) : 0;
}

uint64_t job_eval_rows(const struct job *job)
{
    bool trained_on = job->kind == JOB_EVALUATE && job->split == DATASET_TRAIN;
    if (!job_on_records(job))
        return text_windows(job);
    return trained_on ? job->records : job->test_records;
}

uint32_t job_eval_batches(const struct job *job)
{
    uint64_t fit = job_eval_rows(job) / job->micro_batch, most = job->eval_batches;
    if (job->kind == JOB_EVALUATE && most == 0)
        most = UINT32_MAX;
    return (uint32_t)(fit < most ? fit : most);
}

uint32_t job_round_batches(const struct job *job)
{
    return job->kind == JOB_EVALUATE ? job_eval_batches(job) : job->micro_batches;
}

uint64_t job_units_per_step(const struct job *job)
{
    uint64_t rows = (uint64_t)job_round_batches(job) * job->micro_batch;
    return job_on_records(job) ? rows : rows * job->seq_len;
}

/* ---- facts of the data ---- */

static enum emac_status fact_take(const char *key, uint64_t have, uint64_t said,
                                  struct emac_err *err)
{
    if (said == 0 || said == have)
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID, "data.%s is %llu but that of the data is %llu", key,
                     (unsigned long long)said, (unsigned long long)have);
}

enum emac_status job_take_corpus(struct job *job, const struct corpus *c, struct emac_err *err)
{
    bool bytes = c->width == 1;
    uint64_t tokens = bytes ? 0 : c->tokens, text = bytes ? 0 : c->text;
    uint32_t vocab = bytes ? 0 : c->vocab;
    enum emac_status st;
    EMAC_TRY(st, fact_take("size", corpus_bytes(c), job->data_size, err));
    EMAC_TRY(st, fact_take("tokens", tokens, job->tokens, err));
    EMAC_TRY(st, fact_take("text_size", text, job->text_size, err));
    EMAC_TRY(st, fact_take("vocab", vocab, job->vocab, err));
    job->data_size = corpus_bytes(c);
    job->tokens = tokens;
    job->text_size = text;
    job->vocab = vocab;
    if (vocab > TOKENIZER_BYTES && job->model.vocab_size == TOKENIZER_BYTES)
        job->model.vocab_size = vocab; /* 256 is what a file that says nothing has */
out:
    return st;
}

enum emac_status job_take_dataset(struct job *job, const struct dataset *d, struct emac_err *err)
{
    struct classifier_config *c = &job->classifier;
    enum emac_status st;
    EMAC_TRY(st, fact_take("size", dataset_bytes(d), job->data_size, err));
    EMAC_TRY(st, fact_take("records", d->split[DATASET_TRAIN].records, job->records, err));
    EMAC_TRY(st, fact_take("test_records", d->split[DATASET_TEST].records, job->test_records, err));
    EMAC_TRY(st, fact_take("height", d->height, c->height, err));
    EMAC_TRY(st, fact_take("width", d->width, c->width, err));
    EMAC_TRY(st, fact_take("channels", d->channels, c->channels, err));
    EMAC_TRY(st, fact_take("classes", d->class_count, c->classes, err));
    job->data_size = dataset_bytes(d);
    job->records = d->split[DATASET_TRAIN].records;
    job->test_records = d->split[DATASET_TEST].records;
    c->height = d->height;
    c->width = d->width;
    c->channels = d->channels;
    c->classes = d->class_count;
out:
    return st;
}

/* ---- with the data at hand ---- */

enum emac_status job_vocab_check(const struct job *job, struct emac_err *err)
{
    uint32_t vocab = job->vocab == 0 ? TOKENIZER_BYTES : job->vocab, have = job->model.vocab_size;
    if (job->tokens > 0 ? have >= vocab : have == vocab)
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID,
                     job->tokens > 0
                         ? "model.vocab_size %u is less than the vocabulary of the data, %u"
                         : "model.vocab_size %u does not fit the data, whose tokens are bytes: "
                           "%u, or cut the text by 'emac data tokenize'",
                     have, vocab);
}

static enum emac_status corpus_check(const struct job *job, struct emac_err *err)
{
    uint64_t train = job_train_end(job), held = job_tokens(job) - train;
    enum emac_status st = job->kind == JOB_EVALUATE ? EMAC_OK : job_vocab_check(job, err);
    if (st != EMAC_OK)
        return st; /* an evaluation's model is not read yet */
    if (job->tokens > 0 && (job->data_size % job->tokens != 0 || job->text_size == 0 ||
                            (job_token_width(job) != 2 && job_token_width(job) != 4)))
        return emac_fail(err, EMAC_INVALID,
                         "data.tokens %llu and data.size %llu are not those of a token set",
                         (unsigned long long)job->tokens, (unsigned long long)job->data_size);
    if (train <= job->seq_len)
        return emac_fail(
            err, EMAC_INVALID,
            "the corpus leaves %llu tokens for training; recipe.seq_len %u needs at least "
            "%u",
            (unsigned long long)train, job->seq_len, job->seq_len + 1);
    if (job->heldout > 0 && held <= job->seq_len)
        return emac_fail(
            err, EMAC_INVALID,
            "the corpus leaves %llu held-out tokens; recipe.seq_len %u needs at least %u: "
            "raise data.heldout or set it to 0",
            (unsigned long long)held, job->seq_len, job->seq_len + 1);
    return EMAC_OK;
}

static enum emac_status records_check(const struct job *job, struct emac_err *err)
{
    if (job->records == 0 || job->classifier.classes == 0)
        return emac_fail(err, EMAC_INVALID,
                         "data.records and data.classes are not set: they come from the data set");
    if (job->test_records > 0 && job->eval_batches > 0 && job->test_records < job->micro_batch)
        return emac_fail(err, EMAC_INVALID,
                         "the data set has %llu test records, fewer than recipe.micro_batch %u: "
                         "lower it, or set recipe.eval_batches to 0",
                         (unsigned long long)job->test_records, job->micro_batch);
    return EMAC_OK;
}

/* What one task can sum up bounds an evaluation. */
static enum emac_status evaluation_check(const struct job *job, struct emac_err *err)
{
    const char *unit = job_on_records(job) ? "records" : "windows";
    unsigned long long rows = job_eval_rows(job), most = JOB_MICRO_BATCHES_MAX;
    unsigned long long size = (rows + most - 1) / most;
    if (rows < job->micro_batch)
        return emac_fail(err, EMAC_INVALID,
                         "there are %llu %s to evaluate on, fewer than recipe.micro_batch %u: %s",
                         rows, unit, job->micro_batch,
                         rows == 0 ? "take more of the data" : "lower it");
    if (job_eval_batches(job) > JOB_MICRO_BATCHES_MAX)
        return emac_fail(err, EMAC_INVALID,
                         "%llu %s are %u micro-batches of %u, and an evaluation has at most %llu: "
                         "take recipe.micro_batch %llu, or recipe.eval_batches %llu for the first "
                         "of them",
                         rows, unit, job_eval_batches(job), job->micro_batch, most, size, most);
    return EMAC_OK;
}

enum emac_status job_check(const struct job *job, struct emac_err *err)
{
    enum emac_status st = job_check_fields(job, err);
    if (st != EMAC_OK)
        return st;
    if (cid_is_none(&job->data) || job->data_size == 0)
        return emac_fail(err, EMAC_INVALID,
                         "data.cid and data.size are not set, or the corpus is "
                         "empty");
    if (job->kind == JOB_EVALUATE)
        return evaluation_check(job, err);
    return job_on_records(job) ? records_check(job, err) : corpus_check(job, err);
}

uint32_t job_stages(const struct job *job)
{
    return job->spread == SPREAD_PIPELINE || job->spread == SPREAD_HYBRID ? job->pipeline.stages
                                                                          : 1;
}

uint32_t job_lanes(const struct job *job)
{
    return job->spread == SPREAD_HYBRID ? job->local.replicas : 1;
}

bool job_set_stages(struct job *job, uint32_t stages)
{
    bool whole = job_stages(job) == 1;
    if (job->spread == SPREAD_FEDERATED || job->kind == JOB_EVALUATE)
        return false;
    if (whole) {
        bool replicas = job->spread == SPREAD_LOCAL;
        job->spread = replicas ? SPREAD_HYBRID : SPREAD_PIPELINE;
        job->pipeline.form = STAGE_F32;
        job->pipeline.replicas = replicas ? 0 : 1;
        job->local.fragments = job->local.overlap = job->local.common_steps = 0;
        job->local.last = DELTA_NONE;
    }
    job->pipeline.stages = stages;
    memset(job->pipeline.share, 0, sizeof job->pipeline.share); /* there is one for each stage */
    return true;
}

uint32_t job_stage_rank(const struct job *job, uint32_t stage)
{
    const uint32_t *share = job->pipeline.share;
    uint32_t rank = 0;
    for (uint32_t s = 0; s < job_stages(job); s++)
        rank += share[s] > share[stage] || (share[s] == share[stage] && s < stage);
    return rank;
}

#include "work/job.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "work/job_fields.h"
#include "work/task.h"

#define JOB_ID_DIGITS 12

void job_id(char out[JOB_ID_MAX], const struct cid *job_cid)
{
    char text[CID_TEXT_MAX];
    cid_text(text, job_cid);
    size_t n = strlen(text);
    EMAC_ASSERT(n > JOB_ID_DIGITS);
    snprintf(out, JOB_ID_MAX, "job-%s", text + n - JOB_ID_DIGITS);
}

uint64_t job_train_end(const struct job *job)
{
    /* One rounded product and a truncation: the same on every machine. */
    uint64_t held = (uint64_t)((double)job->data_size * job->heldout);
    EMAC_ASSERT(held <= job->data_size);
    return job->data_size - held;
}

uint32_t job_eval_batches(const struct job *job)
{
    struct sampler s = {.kind = SAMPLER_ORDERED,
                        .batch = job->micro_batch,
                        .seq = job->seq_len,
                        .begin = job_train_end(job),
                        .end = job->data_size};
    uint64_t fit = s.begin < s.end ? sampler_batches(&s) : 0;
    return fit < job->eval_batches ? (uint32_t)fit : job->eval_batches;
}

uint64_t job_tokens_per_step(const struct job *job)
{
    return (uint64_t)job->micro_batches * job->micro_batch * job->seq_len;
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
    uint64_t train = job_train_end(job), held = job->data_size - train;
    if (train <= job->seq_len)
        return emac_fail(
            err, EMAC_INVALID,
            "the corpus leaves %llu bytes for training; recipe.seq_len %u needs at least "
            "%u",
            (unsigned long long)train, job->seq_len, job->seq_len + 1);
    if (job->heldout > 0 && held <= job->seq_len)
        return emac_fail(
            err, EMAC_INVALID,
            "the corpus leaves %llu held-out bytes; recipe.seq_len %u needs at least %u: "
            "raise data.heldout or set it to 0",
            (unsigned long long)held, job->seq_len, job->seq_len + 1);
    return EMAC_OK;
}

/* A job file as people write it: any text. What is a job must survive its JSON and its canonical
 * form with one CID. */
#include <string.h>

#include "base/assert.h"
#include "codec/yaml.h"
#include "work/job.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* The canonical form of `job`, and that reading it gives the same bytes again. */
static struct cid canonical_cid(const struct job *job)
{
    struct emac_buf buf, again;
    struct cid cid;
    struct job back;

    emac_buf_init(&buf, JOB_BYTES_MAX);
    emac_buf_init(&again, JOB_BYTES_MAX);
    EMAC_ASSERT(job_encode(job, &buf, &cid, NULL) == EMAC_OK);
    EMAC_ASSERT(job_decode(&back, buf.data, buf.len, NULL) == EMAC_OK);
    EMAC_ASSERT(job_encode(&back, &again, NULL, NULL) == EMAC_OK);
    EMAC_ASSERT(again.len == buf.len && memcmp(again.data, buf.data, buf.len) == 0);
    emac_buf_release(&buf);
    emac_buf_release(&again);
    return cid;
}

static void check_job(struct job *job)
{
    struct job back;

    if (cid_is_none(&job->data))
        job->data = cid_of(CID_RAW, "corpus", 6);
    json_t *json = job_to_json(job);
    EMAC_ASSERT(job_from_json(&back, json, NULL, 0, NULL) == EMAC_OK);
    json_decref(json);
    struct cid a = canonical_cid(job), b = canonical_cid(&back);
    EMAC_ASSERT(cid_equal(&a, &b));
    job_check(job, NULL); /* whatever it says, the figures below must hold */
    EMAC_ASSERT(job_train_end(job) <= job->data_size);
    if (job->kind == JOB_EVALUATE)
        return;
    EMAC_ASSERT(job_eval_batches(job) <= job->eval_batches);
    EMAC_ASSERT(job_units_per_step(job) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char file[256];
    struct emac_err err = {0};
    struct job job;
    json_t *root;

    if (job_decode(&job, data, n, &err) == EMAC_OK)
        canonical_cid(&job);
    if (yaml_to_json((const char *)data, n, &root, &err) != EMAC_OK)
        return 0;
    if (job_from_json(&job, root, file, sizeof file, &err) == EMAC_OK)
        check_job(&job);
    else
        EMAC_ASSERT(err.text[0] != '\0');
    json_decref(root);
    return 0;
}

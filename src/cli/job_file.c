#include "cli/job_file.h"

#include <string.h>

#include "cli/data_tokens.h"
#include "work/base.h"
#include "work/corpus.h"

/* Bytes as they are, or cut by the tokenizer of the model that the job begins with. */
static enum emac_status text_add(struct cli *c, struct store *s, const char *path, struct job *job)
{
    char model[CID_TEXT_MAX];
    struct corpus corpus;
    bool bytes = true;
    enum emac_status st;
    if (!cid_is_none(&job->base) && !job_on_records(job))
        EMAC_TRY(st, data_tokens_bytes(c, s, &job->base, &bytes));
    if (!bytes) {
        cid_text(model, &job->base);
        EMAC_TRY(st, data_tokenize(c, s, path, model, false, &corpus, &job->data));
        return job_take_corpus(job, &corpus, &c->err);
    }
    EMAC_TRY(st, store_file_add(s, path, &job->data, &job->data_size, &c->err));
    st = store_pin(s, "data", &job->data, &c->err);
out:
    return st;
}

static enum emac_status add_data(struct cli *c, struct store *s, const char *job_path,
                                 const char *file, struct job *job)
{
    char path[OS_PATH_MAX];
    enum emac_status st = cli_beside(c, job_path, file, path, sizeof(path));
    if (st == EMAC_OK)
        st = text_add(c, s, path, job);
    return st == EMAC_OK ? st : emac_wrap(&c->err, "data.file of '%s'", job_path);
}

/* The job's data into the store, and what follows from them into the job. */
static enum emac_status take_data(struct cli *c, struct store *s, const char *path,
                                  const char *file, struct job *job)
{
    struct corpus corpus;
    struct dataset d;
    enum emac_status st;
    if (cid_is_none(&job->data))
        return add_data(c, s, path, file, job);
    st = cli_fetch(c, s, &job->data);
    if (st != EMAC_OK)
        return emac_wrap(&c->err, "data.cid of '%s'", path);
    if (!job_on_records(job)) {
        st = corpus_load(s, &job->data, &corpus, &c->err);
        return st == EMAC_OK ? job_take_corpus(job, &corpus, &c->err) : st;
    }
    st = dataset_load(s, &job->data, &d, &c->err);
    if (st == EMAC_OK)
        st = job_take_dataset(job, &d, &c->err);
    dataset_release(&d);
    return st;
}

/* The base into the store, and what follows from it into the job file. */
static enum emac_status take_base(struct cli *c, struct store *s, json_t *root)
{
    const struct cid cid = base_cid(root);
    if (cid_is_none(&cid))
        return EMAC_OK;
    enum emac_status st = cli_fetch(c, s, &cid);
    return st == EMAC_OK ? base_complete(root, s, &c->err) : emac_wrap(&c->err, "base.cid");
}

enum emac_status job_file_take(struct cli *c, struct store *s, const char *path, json_t *root,
                               struct job *out)
{
    char file[OS_PATH_MAX];
    enum emac_status st = take_base(c, s, root);
    if (st == EMAC_OK)
        st = job_from_json(out, root, file, sizeof(file), &c->err);
    if (st != EMAC_OK)
        return emac_wrap(&c->err, "job file '%s'", path);
    st = take_data(c, s, path, file, out);
    if (st != EMAC_OK)
        return st;
    st = job_check(out, &c->err);
    return st == EMAC_OK ? st : emac_wrap(&c->err, "job file '%s'", path);
}

enum emac_status job_file_load(struct cli *c, struct store *s, const char *path, struct job *out)
{
    json_t *root = NULL;
    enum emac_status st = cli_yaml_file(c, path, JOB_FILE_MAX, &root);
    if (st == EMAC_OK)
        st = job_file_take(c, s, path, root, out);
    else
        emac_wrap(&c->err, "job file '%s'", path);
    json_decref(root);
    return st;
}

/* Language models of the Llama family, on the bytes of a corpus. */
#include "base/assert.h"
#include "codec/safetensors.h"
#include "model/tokenizer.h"
#include "work/family.h"

static enum emac_status model_check(const struct job *job, struct emac_err *err)
{
    const struct llama_config *m = &job->model;
    if (m->hidden_size % m->heads != 0 || m->hidden_size / m->heads % 2 != 0)
        return emac_fail(err, EMAC_INVALID,
                         "model.hidden_size %u must be an even multiple of model.heads %u",
                         m->hidden_size, m->heads);
    if (m->heads % m->kv_heads != 0)
        return emac_fail(err, EMAC_INVALID,
                         "model.heads %u must be a multiple of model.kv_heads %u", m->heads,
                         m->kv_heads);
    struct emac_err why;
    enum emac_status st = llama_config_check(m, &why);
    if (st != EMAC_OK)
        return emac_fail(err, st, "model: %s", why.text);
    return job_weights_check(llama_param_elements(m), err);
}

static enum emac_status check(const struct job *job, struct emac_err *err)
{
    enum emac_status st = model_check(job, err);
    if (st != EMAC_OK)
        return st;
    if ((uint64_t)job->micro_batch * job->seq_len > JOB_TOKENS_MAX)
        return emac_fail(err, EMAC_INVALID,
                         "recipe.micro_batch %u times recipe.seq_len %u passes %u tokens; take a "
                         "smaller micro_batch and more micro_batches",
                         job->micro_batch, job->seq_len, JOB_TOKENS_MAX);
    if (job->heldout >= 0.5 && job->kind == JOB_TRAIN)
        return emac_fail(err, EMAC_INVALID, "data.heldout must be less than 0.5, not %.15g",
                         job->heldout);
    return EMAC_OK;
}

static enum emac_status graph_init(const struct job *job, struct graph **out, struct emac_err *err)
{
    const struct llama_model m = {&job->model, &job->init};
    const struct model_params whole = llama_params(&m);
    return job_graph_init(job, &whole, out, err);
}

static enum emac_status graph_train(const struct job *job, struct graph **out, struct emac_err *err)
{
    return llama_tuned_train(&job->model, &job->tune, job->micro_batch, job->seq_len, out, err);
}

static enum emac_status graph_eval(const struct job *job, struct graph **out, struct emac_err *err)
{
    return llama_tuned_eval(&job->model, &job->tune, job->micro_batch, job->seq_len, out, err);
}

static enum emac_status graph_score(const struct job *job, struct graph **out, struct emac_err *err)
{
    return mean_loss_graph(out, err);
}

static enum emac_status graph_step(const struct job *job, struct graph **out, struct emac_err *err)
{
    const struct llama_model m = {&job->model, NULL};
    const struct model_params whole = llama_params(&m);
    return job_graph_step(job, &whole, out, err);
}

/* The bundle {cos, sin}: f32[T, E/2] each. */
static enum emac_status tables(const struct job *job, struct emac_buf *out, struct emac_err *err)
{
    const uint64_t dim[2] = {job->seq_len, job->model.head_dim / 2};
    size_t table = (size_t)(dim[0] * dim[1]) * sizeof(float);
    struct st_index idx = {0};
    enum emac_status st;
    EMAC_TRY(st, st_index_add(&idx, "cos", ST_F32, 2, dim, err));
    EMAC_TRY(st, st_index_add(&idx, "sin", ST_F32, 2, dim, err));
    EMAC_TRY(st, st_bundle_layout(&idx, out, err));
    EMAC_TRY(st, emac_buf_reserve(out, 2 * table, err));
    EMAC_ASSERT(idx.file_size == out->len + 2 * table && out->len % sizeof(float) == 0);
    float *cos = (float *)(void *)(out->data + out->len);
    llama_rope_tables(&job->model, job->seq_len, cos, cos + table / sizeof(float));
    out->len += 2 * table;
out:
    st_index_release(&idx);
    return st;
}

static enum emac_status config(const struct job *job, const struct dataset *data,
                               struct emac_buf *out, struct emac_err *err)
{
    return llama_config_write(&job->model, out, err);
}

static enum emac_status texts(const struct job *job, struct model_dir *d, struct emac_err *err)
{
    struct emac_buf t;
    enum emac_status st;
    emac_buf_init(&t, MODEL_TEXT_MAX);
    EMAC_TRY(st,
             model_dir_text(d, "generation_config.json", &t, generation_config_json(&t, err), err));
    EMAC_TRY(st, model_dir_text(d, "special_tokens_map.json", &t,
                                byte_tokenizer_special_json(&t, err), err));
    EMAC_TRY(st, model_dir_text(d, "tokenizer.json", &t, byte_tokenizer_json(&t, err), err));
    EMAC_TRY(st,
             model_dir_text(d, "tokenizer_config.json", &t,
                            byte_tokenizer_config_json(&t, job->model.max_positions, err), err));
out:
    emac_buf_release(&t);
    return st;
}

const struct job_family FAMILY_LLAMA = {
    .unit = "tokens",
    .check = check,
    .graph_init = graph_init,
    .graph_train = graph_train,
    .graph_eval = graph_eval,
    .graph_score = graph_score,
    .graph_step = graph_step,
    .tables = tables,
    .config = config,
    .texts = texts,
};

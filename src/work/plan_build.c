/* What is derived from a job once: graphs, programs, tables. */
#include "work/planner.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "work/base.h"
#include "work/bundle.h"
#include "work/corpus.h"
#include "work/evaluate.h"
#include "work/family.h"
#include "work/plan_blocks.h"
#include "work/planner_impl.h"

void job_blocks_free(struct job_block *block, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(block[i].data);
    free(block);
}

enum emac_status blocks_add(struct block_list *l, const struct cid *cid, const void *data, size_t n,
                            struct emac_err *err)
{
    for (size_t i = 0; i < l->count; i++) {
        if (cid_equal(&l->block[i].cid, cid))
            return EMAC_OK;
    }
    enum emac_status st = emac_grow(&l->block, l->count, &l->cap, sizeof *l->block, err);
    if (st != EMAC_OK)
        return st;
    uint8_t *copy;
    st = emac_alloc(&copy, n == 0 ? 1 : n, 1, err);
    if (st != EMAC_OK)
        return st;
    if (n > 0)
        memcpy(copy, data, n);
    l->block[l->count++] = (struct job_block){*cid, copy, n};
    return EMAC_OK;
}

enum emac_status blocks_emit(void *ctx, const struct cid *cid, const void *data, size_t n,
                             struct emac_err *err)
{
    return blocks_add(ctx, cid, data, n, err);
}

enum emac_status blocks_add_file(struct block_list *l, const void *data, size_t n, struct cid *root,
                                 uint64_t *tree_size, struct emac_err *err)
{
    return unixfs_file(EMAC_SLICE(data, n), blocks_emit, l, root, tree_size, err);
}

#define TABLES_BYTES_MAX ((size_t)1 << 32)

/* The bundles that a graph takes or gives, by the part of its ports' names before the slash. What
 * the task itself feeds ("batch", "args") is left out; "sum" among the inputs is *sum. */
static enum emac_status bundles_list(const struct graph *g, bool outputs, struct plan_bundle *out,
                                     uint32_t max, uint32_t *count, uint64_t *sum,
                                     struct emac_err *err)
{
    uint32_t ports = outputs ? graph_output_count(g) : graph_input_count(g);
    *count = 0;
    for (uint32_t i = 0; i < ports; i++) {
        const struct graph_port port = outputs ? graph_output_at(g, i) : graph_input_at(g, i);
        size_t n = (size_t)(strchr(port.name, '/') - port.name);
        char name[TASK_NAME_MAX] = "";
        struct bundle b;
        EMAC_ASSERT(n < sizeof name); /* our own graphs */
        memcpy(name, port.name, n);
        bool known = strcmp(name, "args") == 0 || strcmp(name, "batch") == 0 ||
                     (!outputs && sum != NULL && *sum > 0 && strcmp(name, "sum") == 0);
        for (uint32_t k = 0; k < *count && !known; k++)
            known = strcmp(out[k].name, name) == 0;
        if (known)
            continue;
        enum emac_status st = bundle_layout(g, outputs, name, &b, err);
        uint64_t bytes = b.size;
        bundle_release(&b);
        if (st != EMAC_OK)
            return st;
        if (!outputs && strcmp(name, "sum") == 0) {
            *sum = bytes;
            continue;
        }
        EMAC_ASSERT(*count < max);
        memcpy(out[*count].name, name, sizeof name);
        out[(*count)++].bytes = bytes;
    }
    return EMAC_OK;
}

static int by_name(const void *a, const void *b)
{
    const struct plan_bundle *x = a, *y = b;
    return strcmp(x->name, y->name);
}

void plan_bundles_sort(struct plan_bundle *list, uint32_t count)
{
    qsort(list, count, sizeof *list, by_name);
}

static void args_note(struct plan_program *row, const struct graph *g)
{
    for (uint32_t i = 0; i < graph_input_count(g); i++) {
        const char *name;
        if (!bundle_of(graph_input_at(g, i).name, "args", &name))
            continue;
        EMAC_ASSERT(row->arg_count < TASK_ARGS_MAX);
        bool fits = emac_strcpy(row->arg[row->arg_count++], TASK_NAME_MAX, name);
        EMAC_ASSERT(fits); /* our own graphs */
    }
}

enum emac_status plan_bundles_note(struct plan_program *row, const struct graph *g,
                                   struct emac_err *err)
{
    enum emac_status st = bundles_list(g, false, row->input, TASK_INPUTS_MAX, &row->input_count,
                                       &row->part_bytes, err);
    if (st != EMAC_OK)
        return st;
    st = bundles_list(g, true, row->output, TASK_OUTPUTS_MAX, &row->output_count, NULL, err);
    plan_bundles_sort(row->output, row->output_count);
    return st;
}

enum emac_status plan_graph_add(struct plan_building *b, enum task_kind kind, const struct graph *g,
                                struct cid *cid, struct emac_err *err)
{
    struct emac_buf buf;
    enum emac_status st;
    emac_buf_init(&buf, GRAPH_ENCODED_MAX);
    EMAC_TRY(st, graph_encode(g, &buf, err));
    if (buf.len > UNIXFS_BLOCK_MAX) {
        st = emac_fail(err, EMAC_TOO_LARGE,
                       "the '%s' program of this model takes %zu bytes and a block holds %u: take "
                       "fewer layers",
                       task_kind_name(kind), buf.len, UNIXFS_BLOCK_MAX);
        goto out;
    }
    *cid = cid_of(CID_DAG_CBOR, buf.data, buf.len);
    st = blocks_add(&b->blocks, cid, buf.data, buf.len, err);
out:
    emac_buf_release(&buf);
    return st;
}

enum emac_status plan_program_put(struct plan_building *b, const struct program *program,
                                  struct cid *cid, struct emac_err *err)
{
    struct emac_buf buf;
    emac_buf_init(&buf, PROGRAM_BYTES_MAX);
    enum emac_status st = program_encode(program, &buf, cid, err);
    if (st == EMAC_OK)
        st = blocks_add(&b->blocks, cid, buf.data, buf.len, err);
    emac_buf_release(&buf);
    return st;
}

void plan_program_take(struct plan_building *b, const struct plan_program *row)
{
    EMAC_ASSERT(b->p->program_count < PLAN_PROGRAMS_MAX);
    b->p->program[b->p->program_count++] = *row;
}

enum emac_status plan_program_add(struct plan_building *b, enum task_kind kind, uint32_t part,
                                  const struct graph *g, const struct sampler *sampler,
                                  struct emac_err *err)
{
    struct program prog = {.kind = sampler != NULL ? PROGRAM_MAP : PROGRAM_APPLY,
                           .has_sampler = sampler != NULL};
    struct plan_program row = {.kind = kind, .part = part, .flops = graph_flops(g)};
    enum emac_status st;
    row.map = sampler != NULL;
    args_note(&row, g);
    EMAC_TRY(st, plan_graph_add(b, kind, g, &prog.graph, err));
    EMAC_TRY(st, plan_bundles_note(&row, g, err));
    if (sampler != NULL)
        prog.sampler = *sampler;
    EMAC_TRY(st, plan_program_put(b, &prog, &row.cid, err));
    plan_program_take(b, &row);
out:
    return st;
}

enum emac_status plan_constant_add(struct job_plan *p, const struct cid *cid, struct emac_err *err)
{
    if (p->constant_count == PLAN_CONSTANTS_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "a job takes at most %d constant inputs",
                         PLAN_CONSTANTS_MAX);
    p->constant[p->constant_count++] = *cid;
    return EMAC_OK;
}

struct sampler plan_train_sampler(const struct job *j)
{
    struct sampler s = {.batch = j->micro_batch, .seed = j->seed};
    if (job_on_records(j)) {
        s.kind = SAMPLER_SHUFFLED;
        s.split = DATASET_TRAIN;
        s.end = j->records;
        s.rows = (uint64_t)j->micro_batches * j->micro_batch;
    } else {
        s.kind = SAMPLER_RANDOM;
        s.seq = j->seq_len;
        s.width = job_token_width(j);
        s.end = job_train_end(j);
    }
    return s;
}

static struct sampler eval_sampler(const struct job *j)
{
    struct sampler s = {.batch = j->micro_batch};
    if (job_on_records(j)) {
        s.kind = SAMPLER_LISTED;
        s.split = j->kind == JOB_EVALUATE ? j->split : DATASET_TEST;
        s.end = job_eval_rows(j);
    } else {
        s.kind = SAMPLER_ORDERED;
        s.seq = j->seq_len;
        s.width = job_token_width(j);
        s.begin = job_train_end(j);
        s.end = job_tokens(j);
    }
    return s;
}

static enum emac_status eval_check(const struct job_plan *p, struct emac_err *err)
{
    if (p->job.eval_every == 0 || job_eval_batches(&p->job) > 0)
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID, "recipe.eval_every needs something to evaluate on: %s",
                     job_on_records(&p->job)
                         ? "a data set with a test split, and recipe.eval_batches above 0"
                         : "data.heldout and recipe.eval_batches above 0");
}

/* Without a held-out part there is nothing to sample from, and no program. */
static enum emac_status add_eval(struct plan_building *m, struct emac_err *err)
{
    const struct job *job = &m->p->job;
    struct graph *g = NULL, *score = NULL;
    enum emac_status st;
    if (job_eval_batches(job) == 0)
        return EMAC_OK;
    const struct sampler s = eval_sampler(job);
    EMAC_TRY(st, m->family->graph_eval(job, &g, err));
    EMAC_TRY(st, plan_program_add(m, TASK_EVAL, 0, g, &s, err));
    EMAC_TRY(st, m->family->graph_score(job, &score, err));
    st = plan_program_add(m, TASK_SCORE, 0, score, NULL, err);
out:
    graph_free(g);
    graph_free(score);
    return st;
}

static enum emac_status add_tables(struct plan_building *m, struct emac_err *err)
{
    struct emac_buf buf;
    uint64_t tree;
    if (m->family->tables == NULL)
        return EMAC_OK;
    emac_buf_init(&buf, TABLES_BYTES_MAX);
    enum emac_status st = m->family->tables(&m->p->job, &buf, err);
    if (st == EMAC_OK)
        st = blocks_add_file(&m->blocks, buf.data, buf.len, &m->p->tables, &tree, err);
    if (st == EMAC_OK)
        st = plan_constant_add(m->p, &m->p->tables, err);
    emac_buf_release(&buf);
    return st;
}

/* The weights are what tasks take; the whole directory is part of models that are trained on it. */
static enum emac_status add_base(struct plan_building *m, struct store *s, struct emac_err *err)
{
    struct job_plan *p = m->p;
    enum emac_status st;
    EMAC_ASSERT(s != NULL);
    EMAC_TRY(st, base_take(&p->job, s, emac_buf_slice(&p->config), &p->base, err));
    EMAC_TRY(st, plan_constant_add(p, &p->base.file[MODEL_WEIGHTS], err));
    st = plan_constant_add(p, &p->base.dir, err);
out:
    return st;
}

/* The model that is evaluated, and the base that it rests on. */
static enum emac_status add_evaluated(struct plan_building *m, struct store *s,
                                      struct emac_err *err)
{
    struct job_plan *p = m->p;
    struct evaluated e;
    enum emac_status st;
    EMAC_ASSERT(s != NULL);
    EMAC_TRY(st, evaluate_take(&p->job, s, &e, err));
    p->base = e.base;
    p->weights = e.weights;
    p->weights_size = e.weights_size;
    EMAC_TRY(st, plan_constant_add(p, &e.weights, err));
    EMAC_TRY(st, plan_constant_add(p, &e.model.dir, err));
    if (!cid_is_none(&e.base.dir))
        st = plan_constant_add(p, &e.base.file[MODEL_WEIGHTS], err);
out:
    return st;
}

/* The tokenizer goes with the model. A base has learnt ids by one: another would be nonsense. */
static enum emac_status add_tokenizer(struct plan_building *m, struct store *s,
                                      struct emac_err *err)
{
    struct job_plan *p = m->p;
    struct model_tree *t = &p->tokenizer, base = {0};
    struct corpus corpus;
    enum emac_status st;
    if (p->job.tokens == 0)
        return EMAC_OK;
    EMAC_ASSERT(s != NULL);
    EMAC_TRY(st, corpus_load(s, &p->job.data, &corpus, err));
    EMAC_TRY(st, job_take_corpus(&p->job, &corpus, err));
    EMAC_TRY(st, model_tree_read(s, &corpus.tokenizer, t, err));
    if (!model_tree_has(t, MODEL_TOKENIZER))
        st = emac_fail(err, EMAC_INVALID, "the tokenizer of the token set holds no '%s'",
                       model_file_name(MODEL_TOKENIZER));
    if (st == EMAC_OK && !cid_is_none(&p->job.base))
        st = model_texts_find(s, &p->job.base, &base, err);
    if (st == EMAC_OK && model_tree_has(&base, MODEL_TOKENIZER) &&
        !cid_equal(&base.file[MODEL_TOKENIZER], &t->file[MODEL_TOKENIZER]))
        st = emac_fail(err, EMAC_INVALID,
                       "the data were cut by another tokenizer than the model has: cut the text "
                       "anew by 'emac data tokenize --tokenizer' with the model's CID");
out:
    return st;
}

/* What the job says of its data set must be what the data set says. */
static enum emac_status add_config(struct plan_building *m, struct store *s, struct emac_err *err)
{
    struct job_plan *p = m->p;
    struct dataset data;
    enum emac_status st = EMAC_OK;
    emac_buf_init(&p->config, MODEL_TEXT_MAX);
    dataset_init(&data);
    if (m->family->on_records) {
        EMAC_ASSERT(s != NULL);
        EMAC_TRY(st, dataset_load(s, &p->job.data, &data, err));
        EMAC_TRY(st, job_take_dataset(&p->job, &data, err));
    }
    if (p->job.kind == JOB_EVALUATE) {
        st = add_evaluated(m, s, err);
        goto out;
    }
    EMAC_TRY(st, m->family->config(&p->job, &data, &p->config, err));
    if (job_has_base(&p->job))
        st = add_base(m, s, err);
out:
    dataset_release(&data);
    return st;
}

/* That the shards are what the job's data is, and each long enough for a window. */
static enum emac_status shards_check(const struct job_plan *p, const struct cid *tokenizer,
                                     struct emac_err *err)
{
    uint32_t width = job_token_width(&p->job);
    enum emac_status st = shards_fit(&p->shards, tokenizer, width, err);
    for (uint32_t i = 0; st == EMAC_OK && i < p->shards.count; i++) {
        uint64_t tokens = p->shards.at[i].size / (width == 0 ? 1 : width);
        if (tokens <= p->job.seq_len)
            st = emac_fail(err, EMAC_INVALID,
                           "shard %u has %llu tokens; recipe.seq_len %u needs at least %u", i,
                           (unsigned long long)tokens, p->job.seq_len, p->job.seq_len + 1);
    }
    return st;
}

/* The manifest goes with the job's blocks; what it names stays where it is. */
static enum emac_status add_shards(struct plan_building *m, struct store *s, struct emac_err *err)
{
    struct job_plan *p = m->p;
    struct emac_buf block;
    enum emac_status st;
    if (p->job.spread != SPREAD_FEDERATED)
        return EMAC_OK;
    EMAC_ASSERT(s != NULL);
    emac_buf_init(&block, SHARDS_BYTES_MAX);
    EMAC_TRY(st, shards_load(s, &p->job.shards, &p->shards, err));
    EMAC_TRY(st, shards_check(p, &p->tokenizer.dir, err));
    EMAC_TRY(st, shards_encode(&p->shards, &block, NULL, err));
    st = blocks_add(&m->blocks, &p->job.shards, block.data, block.len, err);
out:
    emac_buf_release(&block);
    return st == EMAC_OK ? st : emac_wrap(err, "spread.shards");
}

/* Of the bundles that a model ends as. */
static void sizes_note(struct job_plan *p)
{
    for (uint32_t k = 0; k < p->program_count; k++) {
        const struct plan_program *from = &p->program[k];
        for (uint32_t i = 0; i < from->output_count; i++) {
            if (strcmp(from->output[i].name, "params") == 0)
                p->params_bytes = from->output[i].bytes;
            if (strcmp(from->output[i].name, "opt") == 0)
                p->opt_bytes = from->output[i].bytes;
        }
    }
}

enum emac_status job_plan_new(const struct job *job, struct store *s, struct job_plan **out,
                              struct emac_err *err)
{
    struct plan_building m = {0};
    struct emac_err ignored;
    enum emac_status st;
    if (err == NULL)
        err = &ignored; /* what is called adds to the sentence, so there must be one */
    *out = NULL;
    EMAC_TRY(st, job_check(job, err));
    EMAC_TRY(st, emac_alloc(&m.p, 1, sizeof *m.p, err));
    m.p->job = *job;
    m.p->planner = planner_of(job);
    m.family = job_family_of(job);
    EMAC_TRY(st, add_config(&m, s, err));
    EMAC_TRY(st, add_tokenizer(&m, s, err));
    EMAC_TRY(st, plan_constant_add(m.p, &m.p->job.data, err));
    EMAC_TRY(st, add_shards(&m, s, err));
    EMAC_TRY(st, m.p->planner->build(&m, err));
    EMAC_TRY(st, eval_check(m.p, err));
    EMAC_TRY(st, add_eval(&m, err));
    EMAC_TRY(st, add_tables(&m, err));
    sizes_note(m.p);
out:
    if (m.p != NULL) {
        m.p->block = m.blocks.block;
        m.p->block_count = m.blocks.count;
    }
    if (st != EMAC_OK)
        job_plan_free(m.p);
    else
        *out = m.p;
    return st;
}

void job_plan_free(struct job_plan *p)
{
    if (p == NULL)
        return;
    job_blocks_free(p->block, p->block_count);
    emac_buf_release(&p->config);
    free(p);
}

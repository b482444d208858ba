/* What is derived from a job once: graphs, programs, tables. */
#include "work/planner.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "work/bundle.h"
#include "work/family.h"
#include "work/plan_blocks.h"

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
    if (l->count == l->cap) {
        size_t cap = l->cap == 0 ? 16 : l->cap * 2;
        struct job_block *grown = realloc(l->block, cap * sizeof *grown);
        if (grown == NULL)
            return emac_fail(err, EMAC_NO_MEMORY, "out of memory for %zu blocks of a job", cap);
        l->block = grown;
        l->cap = cap;
    }
    uint8_t *copy;
    enum emac_status st = emac_alloc(&copy, n == 0 ? 1 : n, 1, err);
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
    struct unixfs_builder *b;
    uint64_t size;
    enum emac_status st = unixfs_builder_new(&b, blocks_emit, l, err);
    if (st != EMAC_OK)
        return st;
    st = unixfs_builder_write(b, data, n, err);
    if (st != EMAC_OK) {
        unixfs_builder_free(b);
        return st;
    }
    return unixfs_builder_end(b, root, &size, tree_size, err);
}

#define TABLES_BYTES_MAX ((size_t)1 << 32)

struct making {
    struct job_plan *p;
    const struct job_family *family;
    struct block_list blocks;
};

/* A graph and the program around it become blocks. */
static enum emac_status program_add(struct making *m, const char *what, const struct graph *g,
                                    const struct sampler *sampler, struct cid *cid, uint64_t *flops,
                                    struct emac_err *err)
{
    struct program prog = {.kind = sampler != NULL ? PROGRAM_MAP : PROGRAM_APPLY,
                           .has_sampler = sampler != NULL};
    struct emac_buf buf;
    enum emac_status st;
    emac_buf_init(&buf, GRAPH_ENCODED_MAX);
    EMAC_TRY(st, graph_encode(g, &buf, err));
    if (buf.len > UNIXFS_BLOCK_MAX) {
        st = emac_fail(err, EMAC_TOO_LARGE,
                       "the %s program of this model takes %zu bytes and a block holds %u: take "
                       "fewer layers",
                       what, buf.len, UNIXFS_BLOCK_MAX);
        goto out;
    }
    prog.graph = cid_of(CID_DAG_CBOR, buf.data, buf.len);
    EMAC_TRY(st, blocks_add(&m->blocks, &prog.graph, buf.data, buf.len, err));
    emac_buf_clear(&buf);
    if (sampler != NULL)
        prog.sampler = *sampler;
    EMAC_TRY(st, program_encode(&prog, &buf, cid, err));
    EMAC_TRY(st, blocks_add(&m->blocks, cid, buf.data, buf.len, err));
    *flops = graph_flops(g);
out:
    emac_buf_release(&buf);
    return st;
}

static enum emac_status bundle_bytes(const struct graph *g, const char *name, uint64_t *bytes,
                                     struct emac_err *err)
{
    struct bundle b;
    enum emac_status st = bundle_layout(g, true, name, &b, err);
    *bytes = b.size;
    bundle_release(&b);
    return st;
}

static enum emac_status add_init(struct making *m, struct emac_err *err)
{
    struct job_plan *p = m->p;
    struct graph *g = NULL;
    enum emac_status st;
    EMAC_TRY(st, m->family->graph_init(&p->job, &g, err));
    EMAC_TRY(st, program_add(m, "init", g, NULL, &p->init_program, &p->init_flops, err));
    EMAC_TRY(st, bundle_bytes(g, "params", &p->params_bytes, err));
    st = bundle_bytes(g, "opt", &p->opt_bytes, err);
out:
    graph_free(g);
    return st;
}

static struct sampler train_sampler(const struct job *j)
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
        s.end = job_train_end(j);
    }
    return s;
}

static struct sampler eval_sampler(const struct job *j)
{
    struct sampler s = {.batch = j->micro_batch};
    if (job_on_records(j)) {
        s.kind = SAMPLER_LISTED;
        s.split = DATASET_TEST;
        s.end = j->test_records;
    } else {
        s.kind = SAMPLER_ORDERED;
        s.seq = j->seq_len;
        s.begin = job_train_end(j);
        s.end = j->data_size;
    }
    return s;
}

static enum emac_status add_grad(struct making *m, struct emac_err *err)
{
    struct job_plan *p = m->p;
    struct graph *g = NULL;
    enum emac_status st;
    const struct sampler s = train_sampler(&p->job);
    EMAC_TRY(st, m->family->graph_train(&p->job, &g, err));
    EMAC_TRY(st, program_add(m, "gradient", g, &s, &p->grad_program, &p->grad_flops, err));
    st = bundle_bytes(g, "sum", &p->grads_bytes, err);
out:
    graph_free(g);
    return st;
}

/* Without a held-out part there is nothing to sample from, and no program. */
static enum emac_status add_eval(struct making *m, struct emac_err *err)
{
    struct job_plan *p = m->p;
    struct graph *g = NULL, *score = NULL;
    enum emac_status st;
    if (job_eval_batches(&p->job) == 0)
        return EMAC_OK;
    const struct sampler s = eval_sampler(&p->job);
    EMAC_TRY(st, m->family->graph_eval(&p->job, &g, err));
    EMAC_TRY(st, program_add(m, "eval", g, &s, &p->eval_program, &p->eval_flops, err));
    EMAC_TRY(st, m->family->graph_score(&p->job, &score, err));
    st = program_add(m, "score", score, NULL, &p->score_program, &p->score_flops, err);
out:
    graph_free(g);
    graph_free(score);
    return st;
}

static enum emac_status add_step(struct making *m, struct emac_err *err)
{
    struct job_plan *p = m->p;
    struct graph *g = NULL;
    enum emac_status st;
    EMAC_TRY(st, m->family->graph_step(&p->job, &g, err));
    st = program_add(m, "step", g, NULL, &p->step_program, &p->step_flops, err);
out:
    graph_free(g);
    return st;
}

static enum emac_status add_tables(struct making *m, struct emac_err *err)
{
    struct emac_buf buf;
    uint64_t tree;
    if (m->family->tables == NULL)
        return EMAC_OK;
    emac_buf_init(&buf, TABLES_BYTES_MAX);
    enum emac_status st = m->family->tables(&m->p->job, &buf, err);
    if (st == EMAC_OK)
        st = blocks_add_file(&m->blocks, buf.data, buf.len, &m->p->tables, &tree, err);
    emac_buf_release(&buf);
    return st;
}

/* What the job says of its data set must be what the data set says. */
static enum emac_status add_config(struct making *m, struct store *s, struct emac_err *err)
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
    st = m->family->config(&p->job, &data, &p->config, err);
out:
    dataset_release(&data);
    return st;
}

enum emac_status job_plan_new(const struct job *job, struct store *s, struct job_plan **out,
                              struct emac_err *err)
{
    struct making m = {0};
    struct emac_err ignored;
    enum emac_status st;
    if (err == NULL)
        err = &ignored; /* what is called adds to the sentence, so there must be one */
    *out = NULL;
    EMAC_TRY(st, job_check(job, err));
    EMAC_TRY(st, emac_alloc(&m.p, 1, sizeof *m.p, err));
    m.p->job = *job;
    m.family = job_family_of(job);
    EMAC_TRY(st, add_config(&m, s, err));
    EMAC_TRY(st, add_init(&m, err));
    EMAC_TRY(st, add_grad(&m, err));
    EMAC_TRY(st, add_step(&m, err));
    EMAC_TRY(st, add_eval(&m, err));
    EMAC_TRY(st, add_tables(&m, err));
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

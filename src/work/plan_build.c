/* What is derived from a job once: graphs, programs, tables. */
#include "work/planner.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "work/bundle.h"
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

struct making {
    struct job_plan *p;
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
    const struct job *j = &p->job;
    struct graph *g = NULL;
    enum emac_status st;
    EMAC_TRY(st, llama_graph_init(&j->model, &j->init, j->seed, &g, err));
    EMAC_TRY(st, program_add(m, "init", g, NULL, &p->init_program, &p->init_flops, err));
    EMAC_TRY(st, bundle_bytes(g, "params", &p->params_bytes, err));
    st = bundle_bytes(g, "opt", &p->opt_bytes, err);
out:
    graph_free(g);
    return st;
}

static enum emac_status add_grad(struct making *m, struct emac_err *err)
{
    struct job_plan *p = m->p;
    const struct job *j = &p->job;
    struct graph *g = NULL;
    enum emac_status st;
    const struct sampler s = {.kind = SAMPLER_RANDOM,
                              .batch = j->micro_batch,
                              .seq = j->seq_len,
                              .begin = 0,
                              .end = job_train_end(j),
                              .seed = j->seed};
    EMAC_TRY(st, llama_graph_train(&j->model, j->micro_batch, j->seq_len, &g, err));
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
    const struct job *j = &p->job;
    struct graph *g = NULL, *mean = NULL;
    enum emac_status st;
    if (job_eval_batches(j) == 0)
        return EMAC_OK;
    const struct sampler s = {.kind = SAMPLER_ORDERED,
                              .batch = j->micro_batch,
                              .seq = j->seq_len,
                              .begin = job_train_end(j),
                              .end = j->data_size,
                              .seed = 0};
    EMAC_TRY(st, llama_graph_eval(&j->model, j->micro_batch, j->seq_len, &g, err));
    EMAC_TRY(st, program_add(m, "eval", g, &s, &p->eval_program, &p->eval_flops, err));
    EMAC_TRY(st, mean_loss_graph(&mean, err));
    st = program_add(m, "score", mean, NULL, &p->score_program, &p->score_flops, err);
out:
    graph_free(g);
    graph_free(mean);
    return st;
}

static enum emac_status add_step(struct making *m, struct emac_err *err)
{
    struct job_plan *p = m->p;
    struct graph *g = NULL;
    enum emac_status st;
    EMAC_TRY(st, adamw_graph(&p->job.model, p->job.adamw.clip_norm > 0, &g, err));
    st = program_add(m, "step", g, NULL, &p->step_program, &p->step_flops, err);
out:
    graph_free(g);
    return st;
}

/* The bundle {cos, sin}: f32[T, E/2] each. */
static enum emac_status add_tables(struct making *m, struct emac_err *err)
{
    const struct job *j = &m->p->job;
    const uint64_t dim[2] = {j->seq_len, j->model.head_dim / 2};
    size_t table = (size_t)(dim[0] * dim[1]) * sizeof(float);
    struct st_index idx = {0};
    struct emac_buf buf;
    uint64_t tree;
    enum emac_status st;
    emac_buf_init(&buf, 2 * table + 4096);
    EMAC_TRY(st, st_index_add(&idx, "cos", ST_F32, 2, dim, err));
    EMAC_TRY(st, st_index_add(&idx, "sin", ST_F32, 2, dim, err));
    EMAC_TRY(st, st_bundle_layout(&idx, &buf, err));
    EMAC_TRY(st, emac_buf_reserve(&buf, 2 * table, err));
    EMAC_ASSERT(idx.file_size == buf.len + 2 * table && buf.len % sizeof(float) == 0);
    float *cos = (float *)(void *)(buf.data + buf.len);
    llama_rope_tables(&j->model, j->seq_len, cos, cos + table / sizeof(float));
    buf.len += 2 * table;
    st = blocks_add_file(&m->blocks, buf.data, buf.len, &m->p->tables, &tree, err);
out:
    st_index_release(&idx);
    emac_buf_release(&buf);
    return st;
}

enum emac_status job_plan_new(const struct job *job, struct job_plan **out, struct emac_err *err)
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
    free(p);
}

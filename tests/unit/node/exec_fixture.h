/* What the tests of the task runner share: a store, a device, a corpus, tasks and programs by hand.
 */
#ifndef EMAC_TESTS_NODE_EXEC_FIXTURE_H
#define EMAC_TESTS_NODE_EXEC_FIXTURE_H

#include "../work/fixture.h"

#include "codec/safetensors.h"
#include "compute/device.h"
#include "node/exec.h"
#include "os/os.h"

#define CORPUS_BYTES 4096

struct rig {
    struct store *store;
    struct device *dev;
    struct exec *exec;
    struct job job;
    struct job_plan *plan;
    const struct store_value *corpus;
};

static inline struct store *memory_store(void)
{
    const struct store_config cfg = {.os = os_real(), .memory_quota = 64 << 20, .hash_threads = 1};
    struct store *s;
    assert_ok(store_open(&cfg, &s, err));
    return s;
}

/* Text of a few letters: something that a model can learn a little of. */
static inline const struct store_value *corpus_add(struct store *s, uint64_t seed)
{
    const struct store_value *v;
    uint8_t *data;
    assert_ok(emac_alloc_aligned(&data, CORPUS_BYTES, err));
    for (uint32_t i = 0; i < CORPUS_BYTES; i++)
        data[i] = (uint8_t)("etaoin shrdlu."[philox_below(seed, PHILOX_TEST, 1, i, 14)]);
    assert_ok(store_value_adopt(s, data, CORPUS_BYTES, &v, err));
    return v;
}

static inline void plan_put(struct store *s, const struct job_plan *p)
{
    for (size_t i = 0; i < p->block_count; i++)
        assert_ok(store_block_put_as(s, &p->block[i].cid, p->block[i].data, p->block[i].len, err));
}

static inline void rig_open(struct rig *r, enum isa isa, uint32_t threads, uint32_t micro_batches)
{
    *r = (struct rig){.store = memory_store()};
    r->corpus = corpus_add(r->store, 3);
    r->job = small_job(2, micro_batches);
    r->job.data = r->corpus->cid;
    assert_ok(job_plan_new(&r->job, NULL, &r->plan, err));
    plan_put(r->store, r->plan);
    assert_ok(device_cpu_open(isa, threads, &r->dev, err));
    const struct exec_config cfg = {.os = os_real(), .store = r->store, .dev = r->dev};
    assert_ok(exec_new(&cfg, &r->exec, err));
}

static inline void rig_close(struct rig *r)
{
    exec_free(r->exec);
    store_value_drop(r->store, r->corpus);
    job_plan_free(r->plan);
    store_close(r->store);
    device_close(r->dev);
}

static inline const struct store_value *output(const struct exec_result *r, const char *name)
{
    for (uint32_t i = 0; i < r->output_count; i++) {
        if (strcmp(r->output[i].name, name) == 0)
            return r->value[i];
    }
    fail_msg("no output '%s'", name);
    return NULL;
}

/* ---- programs by hand ---- */

static inline struct cid program_put(struct store *s, struct graph *g,
                                     const struct sampler *sampler)
{
    struct program p = {.kind = sampler != NULL ? PROGRAM_MAP : PROGRAM_APPLY,
                        .has_sampler = sampler != NULL};
    struct emac_buf buf;
    struct cid cid;
    emac_buf_init(&buf, UNIXFS_BLOCK_MAX);
    assert_ok(graph_status(g, err));
    assert_ok(graph_encode(g, &buf, err));
    assert_ok(store_block_put(s, CID_DAG_CBOR, buf.data, buf.len, &p.graph, err));
    emac_buf_clear(&buf);
    if (sampler != NULL)
        p.sampler = *sampler;
    assert_ok(program_encode(&p, &buf, &cid, err));
    assert_ok(store_block_put_as(s, &cid, buf.data, buf.len, err));
    emac_buf_release(&buf);
    graph_free(g);
    return cid;
}

/* in/x f32[n] times args/s -> out/y */
static inline struct cid scale_program(struct store *s, size_t n)
{
    struct graph *g = graph_new();
    value_id in[2] = {graph_input(g, "in/x", DTYPE_F32, SHAPE1(n)),
                      graph_input(g, "args/s", DTYPE_F32, SHAPE1(1))};
    graph_output(g, "out/y", graph_op(g, OP_SCALE, NULL, 2, in));
    return program_put(s, g, NULL);
}

/* sum/x f32[n] times args/s -> out/y */
static inline struct cid sum_program(struct store *s, size_t n)
{
    struct graph *g = graph_new();
    value_id in[2] = {graph_input(g, "sum/x", DTYPE_F32, SHAPE1(n)),
                      graph_input(g, "args/s", DTYPE_F32, SHAPE1(1))};
    graph_output(g, "out/y", graph_op(g, OP_SCALE, NULL, 2, in));
    return program_put(s, g, NULL);
}

static inline void task_input_add(struct task *t, const char *name, const struct cid *cid)
{
    struct task_input *in = &t->input[t->input_count++];
    set_text(in->name, name);
    in->cid = *cid;
}

static inline void task_arg_add(struct task *t, const char *name, float v)
{
    struct task_arg *a = &t->arg[t->arg_count++];
    set_text(a->name, name);
    a->width = 1;
    a->value[0] = v;
}

/* A bundle of one f32 vector. */
static inline struct cid vector_put(struct store *s, const char *name, const float *x, size_t n)
{
    struct st_index idx = {0};
    struct emac_buf header;
    const uint64_t dim = n;
    uint8_t *data;
    const struct store_value *v;
    emac_buf_init(&header, 1 << 20);
    assert_ok(st_index_add(&idx, name, ST_F32, 1, &dim, err));
    assert_ok(st_bundle_layout(&idx, &header, err));
    assert_ok(emac_alloc_aligned(&data, idx.file_size, err));
    memcpy(data, header.data, header.len);
    memcpy(data + header.len, x, n * sizeof *x);
    assert_ok(store_value_adopt(s, data, idx.file_size, &v, err));
    struct cid cid = v->cid;
    store_value_drop(s, v);
    st_index_release(&idx);
    emac_buf_release(&header);
    return cid;
}

#endif

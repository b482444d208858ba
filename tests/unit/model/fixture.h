/* A tiny model for the tests of model/, its parameters by name, and running its graphs. */
#ifndef EMAC_TESTS_MODEL_FIXTURE_H
#define EMAC_TESTS_MODEL_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "codec/safetensors.h"
#include "model/llama.h"
#include "model/optimiser.h"
#include "../devices.h"

static inline struct llama_config tiny_config(bool tie)
{
    return (struct llama_config){.vocab_size = 23,
                                 .hidden_size = 16,
                                 .intermediate_size = 24,
                                 .layers = 2,
                                 .heads = 4,
                                 .kv_heads = 2,
                                 .head_dim = 6,
                                 .max_positions = 100,
                                 .rope_theta = 10000.0,
                                 .norm_eps = 1e-5,
                                 .tie_embeddings = tie};
}

/* Of use where its kind alone matters. */
static const struct optimiser_recipe adamw = {.clip_norm = 1};

/* Values by graph name ("params/model.norm.weight"), owned. */
struct pool {
    struct pool_item {
        char *name;
        size_t bytes;
        void *data;
    } item[512];
    uint32_t count;
};

static inline void *pool_get(struct pool *p, const char *name, size_t bytes)
{
    for (uint32_t i = 0; i < p->count; i++) {
        if (strcmp(p->item[i].name, name) == 0) {
            assert_int_equal(p->item[i].bytes, bytes);
            return p->item[i].data;
        }
    }
    assert_true(p->count < sizeof(p->item) / sizeof(p->item[0]));
    p->item[p->count] = (struct pool_item){strdup(name), bytes, calloc(1, bytes)};
    return p->item[p->count++].data;
}

/* What the optimiser's graph is fed at a step. */
static inline void pool_args(struct pool *p, const struct optimiser_recipe *r, uint32_t step,
                             uint32_t micro_batches)
{
    struct optimiser_args args;
    optimiser_args(r, step, micro_batches, &args);
    for (uint32_t i = 0; i < args.count; i++) {
        char name[GRAPH_NAME_MAX];
        size_t bytes = args.arg[i].width * sizeof(float);
        snprintf(name, sizeof name, "args/%s", args.arg[i].name);
        memcpy(pool_get(p, name, bytes), args.arg[i].value, bytes);
    }
}

/* The first `bytes` of an item are all of it from now on. */
static inline void pool_shrink(struct pool *p, const char *name, size_t bytes)
{
    for (uint32_t i = 0; i < p->count; i++)
        if (strcmp(p->item[i].name, name) == 0)
            p->item[i].bytes = bytes;
}

static inline void pool_free(struct pool *p)
{
    for (uint32_t i = 0; i < p->count; i++) {
        free(p->item[i].name);
        free(p->item[i].data);
    }
    p->count = 0;
}

static inline size_t port_bytes(const struct graph_port *port)
{
    size_t bytes = 0;
    assert_true(shape_bytes(port->dtype, &port->shape, &bytes));
    return bytes;
}

/* Run g with its inputs from the pool and its outputs put there, on any device (through memory of
 * their own, for an output may be named like an input). */
static inline void pool_run(struct pool *p, const struct graph *g, struct device *dev)
{
    uint32_t inputs = graph_input_count(g), all = inputs + graph_output_count(g);
    void **at = calloc(all, sizeof *at);
    struct graph_plan *plan;

    ASSERT_OK(graph_plan_new(g, &plan, err));
    for (uint32_t i = 0; i < all; i++) {
        struct graph_port port = i < inputs ? graph_input_at(g, i) : graph_output_at(g, i - inputs);
        size_t bytes = port_bytes(&port);

        ASSERT_OK(device_alloc(dev, bytes, &at[i], err));
        if (i >= inputs) {
            graph_bind_output(plan, i - inputs, at[i]);
            continue;
        }
        ASSERT_OK(device_write(dev, at[i], pool_get(p, port.name, bytes), bytes, err));
        graph_bind_input(plan, i, at[i]);
    }
    ASSERT_OK(graph_run(plan, dev, err));
    for (uint32_t i = inputs; i < all; i++) {
        struct graph_port port = graph_output_at(g, i - inputs);
        size_t bytes = port_bytes(&port);

        ASSERT_OK(device_read(dev, pool_get(p, port.name, bytes), at[i], bytes, err));
    }
    for (uint32_t i = 0; i < all; i++)
        device_free(dev, at[i]);
    free(at);
    graph_plan_free(plan);
}

/* Initial weights, moments, and rotary tables of `seq` positions. */
static inline void pool_init(struct pool *p, const struct llama_config *c, uint32_t seq,
                             struct device *dev)
{
    const struct llama_init init = {0.3, 0.3, 0};
    size_t table = (size_t)seq * c->head_dim / 2 * sizeof(float);
    struct graph *g;

    p->count = 0;
    ASSERT_OK(llama_graph_init(c, &init, 42, &adamw, &g, err));
    pool_run(p, g, dev);
    graph_free(g);
    for (uint32_t i = 0; i < p->count && c->storage == DTYPE_F32; i++) { /* biases begin as zeros */
        const char *name = p->item[i].name;
        float *b = p->item[i].data;

        if (strncmp(name, "params/", 7) != 0 || strstr(name, ".bias") == NULL)
            continue;
        for (size_t k = 0; k < p->item[i].bytes / 4; k++)
            b[k] = (float)philox_below(8, PHILOX_TEST, i, k, 1 << 16) * 0x1p-16f - 0.5f;
    }
    llama_rope_tables(c, seq, pool_get(p, "tables/cos", table), pool_get(p, "tables/sin", table));
}

/* The parameters as a safetensors file, malloc'd, with `shift` bytes before it. */
static inline uint8_t *bundle_of(struct pool *p, const struct llama_config *c, size_t shift,
                                 size_t *n)
{
    struct st_index idx = {0};
    struct emac_buf header;
    struct model_param param;
    char name[160];
    uint8_t *file;

    emac_buf_init(&header, ST_HEADER_MAX);
    for (uint32_t i = 0; i < llama_param_count(c); i++) {
        uint64_t dim[2];

        llama_param_at(c, NULL, i, &param);
        dim[0] = param.shape.dim[0];
        dim[1] = param.shape.dim[1];
        ASSERT_OK(st_index_add(&idx, param.name, c->storage == DTYPE_BF16 ? ST_BF16 : ST_F32,
                               param.shape.rank, dim, err));
    }
    ASSERT_OK(st_bundle_layout(&idx, &header, err));
    file = malloc(idx.file_size + shift);
    memcpy(file + shift, header.data, header.len);
    for (size_t i = 0; i < idx.count; i++) {
        const struct st_tensor *t = &idx.tensor[i];

        snprintf(name, sizeof(name), "params/%s", t->name);
        memcpy(file + shift + idx.data_offset + t->begin, pool_get(p, name, t->end - t->begin),
               t->end - t->begin);
    }
    *n = idx.file_size;
    emac_buf_release(&header);
    st_index_release(&idx);
    return file;
}

#endif

/* What the tests of graphs share: buffers for all ends of a graph, random values, and a second way
 * to run a graph, node by node with every value in memory of its own, as an oracle for plans. */
#ifndef EMAC_TESTS_GRAPH_FIXTURE_H
#define EMAC_TESTS_GRAPH_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "graph/graph.h"
#include "graph/graph_internal.h"
#include "../devices.h"

static inline uint32_t random_below(uint64_t seed, uint64_t index, uint32_t bound)
{
    return (uint32_t)philox_below(seed, PHILOX_TEST, 0, index, bound);
}

/* Uniform in (-scale, scale), multiples of scale * 2^-20. */
static inline void random_floats(float *x, size_t n, uint64_t seed, uint32_t step, float scale)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t w[4];

        philox_at(seed, PHILOX_TEST, step, i, w);
        x[i] = ((float)(w[0] >> 11) * 0x1p-20f - 1.0f) * scale;
    }
}

static inline size_t count_of(const struct shape *s)
{
    size_t n = 0;

    assert_true(shape_count(s, &n));
    return n;
}

/* Buffers for every input and output. */
struct ends {
    const struct graph *g;
    void **in, **out;
};

/* f32 inputs get random values within `scale`, i32 inputs ids below `ids`. */
static inline struct ends ends_new(const struct graph *g, uint64_t seed, float scale, uint32_t ids)
{
    struct ends e = {g, NULL, NULL};

    e.in = calloc(graph_input_count(g) + 1, sizeof(void *));
    e.out = calloc(graph_output_count(g) + 1, sizeof(void *));
    for (uint32_t i = 0; i < graph_input_count(g); i++) {
        struct graph_port p = graph_input_at(g, i);
        size_t n = count_of(&p.shape);

        e.in[i] = malloc(n * 4);
        if (p.dtype == DTYPE_F32) {
            random_floats(e.in[i], n, seed, i + 1, scale);
            continue;
        }
        for (size_t k = 0; k < n; k++)
            ((int32_t *)e.in[i])[k] = (int32_t)philox_below(seed, PHILOX_TEST, i + 1, k, ids);
    }
    for (uint32_t i = 0; i < graph_output_count(g); i++) {
        struct graph_port p = graph_output_at(g, i);

        e.out[i] = malloc(count_of(&p.shape) * 4);
        memset(e.out[i], 0xff, count_of(&p.shape) * 4);
    }
    return e;
}

static inline void ends_free(struct ends *e)
{
    for (uint32_t i = 0; i < graph_input_count(e->g); i++)
        free(e->in[i]);
    for (uint32_t i = 0; i < graph_output_count(e->g); i++)
        free(e->out[i]);
    free(e->in);
    free(e->out);
}

static inline uint32_t input_find(const struct graph *g, const char *name)
{
    for (uint32_t i = 0; i < graph_input_count(g); i++)
        if (strcmp(graph_input_at(g, i).name, name) == 0)
            return i;
    fail_msg("no input '%s'", name);
    return 0;
}

static inline uint32_t output_find(const struct graph *g, const char *name)
{
    for (uint32_t i = 0; i < graph_output_count(g); i++)
        if (strcmp(graph_output_at(g, i).name, name) == 0)
            return i;
    fail_msg("no output '%s'", name);
    return 0;
}

static inline enum emac_status ends_try(struct ends *e, struct device *dev, struct emac_err *err)
{
    struct graph_plan *p;
    enum emac_status st = graph_plan_new(e->g, &p, err);

    if (st != EMAC_OK)
        return st;
    for (uint32_t i = 0; i < graph_input_count(e->g); i++)
        graph_bind_input(p, i, e->in[i]);
    for (uint32_t i = 0; i < graph_output_count(e->g); i++)
        graph_bind_output(p, i, e->out[i]);
    st = graph_run(p, dev, err);
    graph_plan_free(p);
    return st;
}

static inline void ends_run(struct ends *e, struct device *dev)
{
    ASSERT_OK(ends_try(e, dev, err));
}

/* The oracle: every node in order, dead ones too, each value in a buffer of its own. Returns the
 * values; free with values_free. */
static inline void **values_run(const struct ends *e, struct device *dev)
{
    const struct graph *g = e->g;
    void **value = calloc(g->values, sizeof(void *));

    for (uint32_t i = 0; i < g->inputs; i++) {
        size_t bytes = graph_value_bytes(g, g->input[i].value);

        value[g->input[i].value] = malloc(bytes);
        memcpy(value[g->input[i].value], e->in[i], bytes);
    }
    for (uint32_t i = 0; i < g->nodes; i++) {
        const struct graph_node *n = &g->node[i];
        const struct op_info *info = op_info(n->op);
        struct tensor in[OP_IN_MAX], out[OP_OUT_MAX];

        for (uint32_t k = 0; k < info->inputs; k++) {
            in[k] = g->value[n->in[k]].type;
            in[k].data = value[n->in[k]];
        }
        for (uint32_t k = 0; k < info->outputs; k++) {
            out[k] = g->value[n->out + k].type;
            out[k].data = value[n->out + k] = malloc(graph_value_bytes(g, n->out + k));
        }
        ASSERT_OK(device_run(dev, n->op, &n->attrs, in, out, err));
    }
    return value;
}

static inline void values_free(const struct graph *g, void **value)
{
    for (uint32_t v = 0; v < g->values; v++)
        free(value[v]);
    free(value);
}

#endif

/* Random graphs over matrices [N,D], for property tests: any operator that fits, applied to any
 * values there are. Everything comes from one seed, which a failing test prints. */
#ifndef EMAC_TESTS_GRAPH_RANDOM_GRAPH_H
#define EMAC_TESTS_GRAPH_RANDOM_GRAPH_H

#include "fixture.h"

#define RANDOM_POOL_MAX 64

struct random_graph {
    struct graph *g;
    uint64_t seed, draws;
    size_t n, d;
    value_id pool[RANDOM_POOL_MAX]; /* [n,d] values */
    uint32_t pooled;
    value_id weight, square, gain, scalar, cos, sin;
};

static inline uint32_t draw(struct random_graph *r, uint32_t bound)
{
    return random_below(r->seed, r->draws++, bound);
}

static inline value_id pick(struct random_graph *r)
{
    return r->pool[draw(r, r->pooled)];
}

/* One more [n,d] value out of those in the pool. */
static inline value_id random_node(struct random_graph *r)
{
    struct op_attrs a = {0};
    value_id in[3];

    in[0] = pick(r);
    switch (draw(r, 9)) {
    case 0:
        in[1] = pick(r);
        return graph_op(r->g, OP_ADD, NULL, 2, in);
    case 1:
        in[1] = pick(r);
        return graph_op(r->g, OP_MUL, NULL, 2, in);
    case 2:
        in[1] = r->scalar;
        return graph_op(r->g, OP_SCALE, NULL, 2, in);
    case 3: /* x w, with w [d,d] as it is or transposed */
        a.at[1].i = draw(r, 2);
        in[1] = r->weight;
        return graph_op(r->g, OP_MATMUL, &a, 2, in);
    case 4: /* s x, with s [n,n] */
        a.at[0].i = draw(r, 2);
        in[1] = in[0];
        in[0] = r->square;
        return graph_op(r->g, OP_MATMUL, &a, 2, in);
    case 5:
        a.at[0].f = 0.25f;
        in[1] = r->gain;
        return graph_op(r->g, OP_RMSNORM, &a, 2, in);
    case 6:
        in[1] = pick(r);
        return graph_op(r->g, OP_SWIGLU, NULL, 2, in);
    case 7:
        a.at[0].i = 1;
        a.at[1].i = draw(r, 2);
        in[1] = r->cos;
        in[2] = r->sin;
        return graph_op(r->g, OP_ROPE, &a, 3, in);
    default: { /* there and back: aliases of aliases */
        struct op_attrs flat = {.at = {{.i = (int64_t)(r->n * r->d)}, {.i = 0}}};
        struct op_attrs back = {.at = {{.i = (int64_t)r->n}, {.i = (int64_t)r->d}}};
        value_id v = graph_op(r->g, OP_RESHAPE, &flat, 1, in);

        return graph_op(r->g, OP_RESHAPE, &back, 1, &v);
    }
    }
}

/* `nodes` random nodes; the inputs, the last value and some others are left to name as outputs. */
static inline struct random_graph random_graph_new(uint64_t seed, uint32_t nodes)
{
    struct random_graph r = {.g = graph_new(), .seed = seed};

    r.n = 1 + draw(&r, 5);
    r.d = 2 + 2 * draw(&r, 3);
    for (uint32_t i = 0; i < 3; i++) {
        char name[16];

        snprintf(name, sizeof(name), "x/%u", i);
        r.pool[r.pooled++] = graph_input(r.g, name, DTYPE_F32, SHAPE2(r.n, r.d));
    }
    r.weight = graph_input(r.g, "w/weight", DTYPE_F32, SHAPE2(r.d, r.d));
    r.square = graph_input(r.g, "w/square", DTYPE_F32, SHAPE2(r.n, r.n));
    r.gain = graph_input(r.g, "w/gain", DTYPE_F32, SHAPE1(r.d));
    r.scalar = graph_input(r.g, "w/scalar", DTYPE_F32, SHAPE1(1));
    r.cos = graph_input(r.g, "t/cos", DTYPE_F32, SHAPE2(r.n, r.d / 2));
    r.sin = graph_input(r.g, "t/sin", DTYPE_F32, SHAPE2(r.n, r.d / 2));
    for (uint32_t i = 0; i < nodes && r.pooled < RANDOM_POOL_MAX; i++)
        r.pool[r.pooled++] = random_node(&r);
    ASSERT_OK(graph_status(r.g, err));
    return r;
}

/* Name the last value and a few others, an input perhaps, one perhaps twice. */
static inline void random_outputs(struct random_graph *r)
{
    uint32_t n = 1 + draw(r, 4);

    graph_output(r->g, "y/last", r->pool[r->pooled - 1]);
    for (uint32_t i = 0; i < n; i++) {
        char name[16];

        snprintf(name, sizeof(name), "y/%u", i);
        graph_output(r->g, name, pick(r));
    }
}

#endif

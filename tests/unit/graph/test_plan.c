/* Plans: bits do not depend on where values lie; memory is reused; failures name the operator. */
#include "crypto/crypto.h"
#include "model/llama.h"
#include "graph/plan_internal.h"
#include "random_graph.h"

static struct device *dev, *oracle; /* the fastest one, and the reference */

static void check_against_oracle(const struct graph *g, uint64_t seed, struct ends *e)
{
    void **value = values_run(e, oracle);

    ends_run(e, dev);
    for (uint32_t i = 0; i < g->outputs; i++)
        if (memcmp(e->out[i], value[g->output[i].value],
                   graph_value_bytes(g, g->output[i].value)) != 0)
            fail_msg("seed %llu: output '%s' differs", (unsigned long long)seed, g->output[i].name);
    values_free(g, value);
}

struct range {
    uint32_t def, last;
};

/* First and last step of each root, found anew. */
static struct range *ranges_find(const struct graph_plan *p)
{
    const struct graph *g = p->g;
    struct range *r = malloc(g->values * sizeof(*r));

    for (value_id v = 0; v < g->values; v++)
        r[v] = (struct range){UINT32_MAX, 0};
    for (uint32_t s = 0; s < p->steps; s++) {
        const struct graph_node *n = &g->node[p->step[s]];

        for (uint32_t k = 0; k < op_info(n->op)->outputs; k++) {
            value_id root = p->value[n->out + k].root;

            if (r[root].def == UINT32_MAX)
                r[root].def = s;
            r[root].last = s;
        }
        for (uint32_t k = 0; k < op_info(n->op)->inputs; k++)
            r[p->value[n->in[k]].root].last = s;
    }
    return r;
}

/* b takes over a's place where an operator may work in place. */
static bool takes_over(const struct graph_plan *p, const struct range *r, value_id a, value_id b)
{
    const struct graph_node *n = &p->g->node[p->g->value[b].node];
    uint32_t slot = p->g->value[b].slot;

    return r[a].last == r[b].def && op_info(n->op)->in_place && p->value[n->in[slot]].root == a &&
           p->value[a].offset == p->value[b].offset;
}

/* INV-P3 of every pair of roots in the block, by brute force. */
static void check_no_overlap(const struct graph *g, uint64_t seed)
{
    struct graph_plan *p;
    struct range *r;

    ASSERT_OK(graph_plan_new(g, &p, err));
    r = ranges_find(p);
    for (value_id a = 0; a < g->values; a++) {
        size_t start = p->value[a].offset, end = start + graph_value_bytes(g, a);

        if (p->value[a].place != PLACE_BLOCK)
            continue;
        if (start % PLAN_ALIGN != 0 || end > p->bytes)
            fail_msg("seed %llu: value %u out of the block", (unsigned long long)seed, a);
        for (value_id b = a + 1; b < g->values; b++) {
            if (p->value[b].place != PLACE_BLOCK || r[b].def > r[a].last || r[a].def > r[b].last ||
                p->value[b].offset >= end || p->value[b].offset + graph_value_bytes(g, b) <= start)
                continue;
            if (!takes_over(p, r, a, b))
                fail_msg("seed %llu: values %u and %u overlap", (unsigned long long)seed, a, b);
        }
    }
    free(r);
    graph_plan_free(p);
}

static void test_random_graphs_equal_separate_buffers(void **state)
{
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct random_graph r = random_graph_new(seed, 1 + (uint32_t)(seed % 40));
        struct ends e;

        random_outputs(&r);
        e = ends_new(r.g, seed, 0.9f, 1);
        check_against_oracle(r.g, seed, &e);
        check_no_overlap(r.g, seed);
        ends_free(&e);
        graph_free(r.g);
    }
}

static struct llama_config tiny(bool tie)
{
    return (struct llama_config){.vocab_size = 19,
                                 .hidden_size = 12,
                                 .intermediate_size = 20,
                                 .layers = 3,
                                 .heads = 4,
                                 .kv_heads = 2,
                                 .head_dim = 4,
                                 .max_positions = 64,
                                 .rope_theta = 10000.0,
                                 .norm_eps = 1e-5,
                                 .tie_embeddings = tie};
}

/* A tied table has two gradients: those of its rows are added to the other one at once. */
static uint32_t merges(const struct graph *g)
{
    struct graph_plan *p;
    uint32_t n = 0;

    ASSERT_OK(graph_plan_new(g, &p, err));
    for (uint32_t s = 0; s < p->steps; s++)
        n += p->merged[s];
    graph_plan_free(p);
    return n;
}

static void test_llama_equals_separate_buffers(void **state)
{
    for (int tie = 0; tie < 2; tie++) {
        struct llama_config c = tiny(tie != 0);
        struct graph *g;
        struct ends e;

        ASSERT_OK(llama_graph_train(&c, 2, 7, &g, err));
        assert_int_equal(merges(g), tie);
        e = ends_new(g, 5, 0.5f, c.vocab_size);
        check_against_oracle(g, 5, &e);
        check_no_overlap(g, 5);
        ends_free(&e);
        graph_free(g);
    }
}

/* Most bytes alive at one step, each value counted for itself: what no layout can beat without
 * working in place. */
static size_t live_bytes(const struct graph *g)
{
    uint32_t *last = calloc(g->values, sizeof(*last));
    bool *outside = calloc(g->values, sizeof(*outside));
    size_t now = 0, peak = 0;

    for (uint32_t i = 0; i < g->outputs; i++)
        outside[g->output[i].value] = true;
    for (uint32_t i = 0; i < g->nodes; i++) {
        const struct graph_node *n = &g->node[i];

        for (uint32_t k = 0; k < op_info(n->op)->outputs; k++)
            last[n->out + k] = i;
        for (uint32_t k = 0; k < op_info(n->op)->inputs; k++)
            last[n->in[k]] = i;
    }
    for (uint32_t i = 0; i < g->nodes; i++) {
        const struct graph_node *n = &g->node[i];

        for (uint32_t k = 0; k < op_info(n->op)->outputs; k++)
            if (!outside[n->out + k])
                now += graph_value_bytes(g, n->out + k);
        peak = now > peak ? now : peak;
        for (value_id v = 0; v < g->values; v++)
            if (g->value[v].node <= i && last[v] == i && !outside[v])
                now -= graph_value_bytes(g, v);
    }
    free(last);
    free(outside);
    return peak;
}

static void test_training_memory_is_close_to_what_lives(void **state)
{
    struct llama_config c = tiny(true);
    struct graph_plan *p;
    struct graph *g;
    size_t live;

    c.hidden_size = 128;
    c.intermediate_size = 352;
    c.head_dim = 32;
    c.layers = 6;
    c.vocab_size = 256;
    ASSERT_OK(llama_graph_train(&c, 4, 64, &g, err));
    ASSERT_OK(graph_plan_new(g, &p, err));
    live = live_bytes(g);
    print_message("# plan %zu, live %zu, all %zu bytes\n", graph_plan_bytes(p), live, g->bytes);
    assert_true(graph_plan_bytes(p) <= live + live / 10);
    graph_plan_free(p);
    graph_free(g);
}

static void test_runs_again_with_other_buffers(void **state)
{
    struct random_graph r = random_graph_new(77, 30);
    struct graph_plan *p;
    struct ends e[2];

    random_outputs(&r);
    ASSERT_OK(graph_plan_new(r.g, &p, err));
    for (int round = 0; round < 4; round++) {
        int k = round % 2;

        if (round < 2)
            e[k] = ends_new(r.g, (uint64_t)k + 1, 0.9f, 1);
        for (uint32_t i = 0; i < r.g->inputs; i++)
            graph_bind_input(p, i, e[k].in[i]);
        for (uint32_t i = 0; i < r.g->outputs; i++)
            graph_bind_output(p, i, e[k].out[i]);
        ASSERT_OK(graph_run(p, dev, err));
    }
    for (int k = 0; k < 2; k++) {
        check_against_oracle(r.g, 77, &e[k]);
        ends_free(&e[k]);
    }
    graph_plan_free(p);
    graph_free(r.g);
}

/* A dead node is not run: it would fail. */
static void test_dead_nodes_are_dropped(void **state)
{
    struct graph *g = graph_new();
    value_id table = graph_input(g, "w/table", DTYPE_F32, SHAPE2(3, 2));
    value_id in[] = {graph_input(g, "x/ids", DTYPE_I32, SHAPE1(4)), table};
    int32_t ids[4] = {0, 1, 2, 3};
    struct graph_plan *p;
    float w[6] = {1, 2, 3, 4, 5, 6}, y[6];

    graph_op(g, OP_EMBED, NULL, 2, in);
    in[0] = table;
    graph_output(g, "y/y", graph_op(g, OP_ADD, NULL, 2, in));
    ASSERT_OK(graph_plan_new(g, &p, err));
    graph_bind_input(p, 0, w);
    graph_bind_input(p, 1, ids);
    graph_bind_output(p, 0, y);
    ASSERT_OK(graph_run(p, dev, err));
    assert_true(y[5] == 12.0f);
    assert_int_equal(graph_plan_bytes(p), 0);
    graph_plan_free(p);
    graph_free(g);
}

static void test_failure_of_an_operator_names_the_node(void **state)
{
    struct graph *g = graph_new();
    value_id in[] = {graph_input(g, "x/ids", DTYPE_I32, SHAPE1(4)),
                     graph_input(g, "w/table", DTYPE_F32, SHAPE2(3, 2))};
    struct ends e;

    graph_output(g, "y/y", graph_op(g, OP_EMBED, NULL, 2, in));
    e = ends_new(g, 1, 1.0f, 3);
    ((int32_t *)e.in[0])[2] = 3;
    ASSERT_FAILS(ends_try(&e, dev, err), EMAC_INVALID, "node 0 (embed)");
    ends_free(&e);
    graph_free(g);
}

/* x + x, then the square, then a sum: infinity first appears in the square. */
static struct graph *overflowing(void)
{
    struct graph *g = graph_new();
    value_id in[2];

    in[0] = in[1] = graph_input(g, "x/x", DTYPE_F32, SHAPE1(5));
    in[0] = in[1] = graph_op(g, OP_ADD, NULL, 2, in);
    in[0] = graph_op(g, OP_MUL, NULL, 2, in);
    graph_output(g, "y/sum", graph_op(g, OP_SUM, NULL, 1, in));
    return g;
}

static void test_infinity_names_the_operator_that_made_it(void **state)
{
    struct graph *g = overflowing();
    struct ends e = ends_new(g, 1, 1.0f, 1);

    ends_run(&e, dev);
    ((float *)e.in[0])[3] = 1e30f;
    ASSERT_FAILS(ends_try(&e, dev, err), EMAC_NUMERIC, "node 1 (mul) gave NaN or infinity");
    ((float *)e.in[0])[3] = __builtin_nanf("");
    ASSERT_FAILS(ends_try(&e, dev, err), EMAC_NUMERIC, "input 'x/x' holds NaN or infinity");
    ends_free(&e);
    graph_free(g);
}

/* AdamW looks at its own results: whichever of the three is not finite is told, wherever it lies.
 */
static void test_infinity_in_a_new_state(void **state)
{
    static const struct {
        uint32_t input;
        float value;
    } spoil[] = {{2, 3e38f}, {3, 1e30f}};
    struct graph *g = graph_new();
    const char *name[] = {"s/p", "s/m", "s/v", "s/g", "s/scale", "s/hyper"};
    value_id in[6], out;
    struct ends e;

    for (uint32_t i = 0; i < 6; i++)
        in[i] = graph_input(g, name[i], DTYPE_F32, SHAPE1(i < 4 ? 5000 : i == 4 ? 1 : 8));
    out = graph_op(g, OP_ADAMW, NULL, 6, in);
    graph_output(g, "y/p", out);
    graph_output(g, "y/m", out + 1);
    graph_output(g, "y/v", out + 2);
    e = ends_new(g, 1, 1.0f, 1);
    for (uint32_t i = 0; i < 5000; i++)
        ((float *)e.in[2])[i] = 0.5f;
    for (uint32_t i = 0; i < 8; i++)
        ((float *)e.in[5])[i] = 0.5f;
    ends_run(&e, dev);
    for (size_t i = 0; i < sizeof(spoil) / sizeof(*spoil); i++) {
        float *at = (float *)e.in[spoil[i].input] + 4321, old = *at;
        float *beta2 = (float *)e.in[5] + 2;

        *at = spoil[i].value;
        *beta2 = 2.0f;
        ASSERT_FAILS(ends_try(&e, dev, err), EMAC_NUMERIC, "node 0 (adamw) gave NaN or infinity");
        *at = old;
        *beta2 = 0.5f;
    }
    ends_run(&e, dev);
    ends_free(&e);
    graph_free(g);
}

/* An input that nobody uses is not looked at; one that is handed through is. */
static void test_infinity_in_inputs(void **state)
{
    struct graph *g = overflowing();
    value_id through = graph_input(g, "x/through", DTYPE_F32, SHAPE1(2));
    struct ends e;

    graph_input(g, "x/unused", DTYPE_F32, SHAPE1(1));
    graph_output(g, "y/through", through);
    e = ends_new(g, 1, 1.0f, 1);
    *(float *)e.in[2] = __builtin_inff();
    ends_run(&e, dev);
    ((float *)e.in[1])[1] = -__builtin_inff();
    ASSERT_FAILS(ends_try(&e, dev, err), EMAC_NUMERIC, "input 'x/through' holds");
    *(float *)e.in[0] = 2e38f;
    ASSERT_FAILS(ends_try(&e, dev, err), EMAC_NUMERIC, "node 0 (add)");
    ends_free(&e);
    graph_free(g);
}

struct trace {
    uint32_t count, node[64];
    uint8_t digest[64][32];
};

struct watch {
    struct graph_plan *p;
    struct trace *t;
};

static enum emac_status trace_each(void *ctx, const struct graph_step *step, struct emac_err *e)
{
    struct watch *w = ctx;
    uint8_t each[OP_OUT_MAX][32];
    enum emac_status st = graph_step_run(w->p, dev, step, e);

    if (st != EMAC_OK || step->copy)
        return st;
    for (uint32_t k = 0; k < step->outputs; k++) {
        size_t bytes = 0;

        assert_true(shape_bytes(step->out[k].dtype, &step->out[k].shape, &bytes));
        crypto_sha256(each[k], step->out[k].data, bytes);
    }
    w->t->node[w->t->count] = step->node;
    crypto_sha256(w->t->digest[w->t->count++], each, 32 * (size_t)step->outputs);
    return EMAC_OK;
}

static void trace_run(const struct graph *g, const struct ends *e, struct trace *t)
{
    struct graph_plan *p;

    t->count = 0;
    ASSERT_OK(graph_plan_new(g, &p, err));
    for (uint32_t i = 0; i < g->inputs; i++)
        graph_bind_input(p, i, e->in[i]);
    for (uint32_t i = 0; i < g->outputs; i++)
        graph_bind_output(p, i, e->out[i]);
    struct watch w = {p, t};
    ASSERT_OK(graph_visit(p, dev, trace_each, &w, err));
    ASSERT_OK(graph_visited_check(p, dev, err));
    graph_plan_free(p);
}

static void test_trace_is_of_every_value(void **state)
{
    struct random_graph r = random_graph_new(9, 25);
    struct trace a, b;
    struct ends e;
    void **value;
    uint32_t differ = 0;

    random_outputs(&r);
    e = ends_new(r.g, 9, 0.9f, 1);
    trace_run(r.g, &e, &a);
    assert_true(a.count > 0);
    value = values_run(&e, oracle);
    for (uint32_t i = 0; i < a.count; i++) {
        const struct graph_node *n = &r.g->node[a.node[i]];
        uint8_t each[OP_OUT_MAX][32], want[32];
        uint32_t outputs = op_info(n->op)->outputs;

        for (uint32_t k = 0; k < outputs; k++)
            crypto_sha256(each[k], value[n->out + k], graph_value_bytes(r.g, n->out + k));
        crypto_sha256(want, each, 32 * (size_t)outputs);
        assert_memory_equal(want, a.digest[i], 32);
    }
    values_free(r.g, value);
    ((float *)e.in[0])[0] += 0.125f;
    trace_run(r.g, &e, &b);
    assert_int_equal(a.count, b.count);
    for (uint32_t i = 0; i < a.count; i++)
        differ += memcmp(a.digest[i], b.digest[i], 32) != 0;
    assert_true(differ > 0);
    ends_free(&e);
    graph_free(r.g);
}

static void test_a_graph_without_outputs_has_no_plan(void **state)
{
    struct graph *g = graph_new();
    struct graph_plan *p;

    graph_input(g, "x/x", DTYPE_F32, SHAPE1(5));
    ASSERT_FAILS(graph_plan_new(g, &p, err), EMAC_INVALID, "no outputs");
    graph_free(g);
}

static void test_many_values(void **state)
{
    struct graph *g = graph_new();
    value_id sum, x = graph_input(g, "x/x", DTYPE_F32, SHAPE1(64));
    struct ends e;

    sum = x;
    for (uint32_t i = 0; i < 20000; i++) {
        value_id in[2] = {x, sum};

        in[0] = graph_op(g, OP_MUL, NULL, 2, in);
        in[1] = x;
        sum = graph_op(g, OP_ADD, NULL, 2, in);
    }
    graph_output(g, "y/y", sum);
    e = ends_new(g, 3, 0.5f, 1);
    check_against_oracle(g, 3, &e);
    ends_free(&e);
    graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_graphs_equal_separate_buffers),
        cmocka_unit_test(test_llama_equals_separate_buffers),
        cmocka_unit_test(test_training_memory_is_close_to_what_lives),
        cmocka_unit_test(test_runs_again_with_other_buffers),
        cmocka_unit_test(test_dead_nodes_are_dropped),
        cmocka_unit_test(test_failure_of_an_operator_names_the_node),
        cmocka_unit_test(test_infinity_names_the_operator_that_made_it),
        cmocka_unit_test(test_infinity_in_a_new_state),
        cmocka_unit_test(test_infinity_in_inputs),
        cmocka_unit_test(test_trace_is_of_every_value),
        cmocka_unit_test(test_a_graph_without_outputs_has_no_plan),
        cmocka_unit_test(test_many_values),
    };
    int failed;

    dev = best_device();
    oracle = ref_device();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    device_close(dev);
    device_close(oracle);
    return failed;
}

/* Autodiff against finite differences, and its order of additions.
 *
 * A directional derivative along d is compared with (L(x + h d) - L(x - h d)) / 2h. L is binary32:
 * with L about 3 and h |d| about 0.02 its rounding alone makes an error of 1e-5; the third
 * derivative adds h^2. The tolerance is 2 % of the gradient's length along d, plus 2e-4. */
#include <math.h>

#include "model/llama.h"
#include "random_graph.h"

static struct device *dev;
static uint64_t seed_now; /* of the random graph under test; 0: none */

static double dot(const float *a, const float *b, size_t n)
{
    double s = 0;

    for (size_t i = 0; i < n; i++)
        s += (double)a[i] * b[i];
    return s;
}

/* The value of output `out` with input `in` moved by h along d. */
static double moved(struct ends *e, uint32_t in, uint32_t out, const float *d, float h)
{
    struct graph_port port = graph_input_at(e->g, in);
    size_t n = count_of(&port.shape);
    float *x = e->in[in], *old = malloc(n * sizeof(float));
    double loss;

    memcpy(old, x, n * sizeof(float));
    for (size_t i = 0; i < n; i++)
        x[i] += h * d[i];
    ends_run(e, dev);
    loss = *(float *)e->out[out];
    memcpy(x, old, n * sizeof(float));
    free(old);
    return loss;
}

static void check_direction(struct ends *e, uint32_t in, uint32_t loss, const float *grad,
                            const float *d, double length, const char *what)
{
    struct graph_port port = graph_input_at(e->g, in);
    const float h = 0.02f;
    double want, got = dot(grad, d, count_of(&port.shape));

    want = (moved(e, in, loss, d, h) - moved(e, in, loss, d, -h)) / (2.0 * (double)h);
    if (fabs(got - want) > 0.02 * length + 2e-4)
        fail_msg("seed %llu, %s, %s: autodiff %.6g, finite difference %.6g",
                 (unsigned long long)seed_now, port.name, what, got, want);
}

/* Along the gradient itself and along two random directions of length 1. */
static void check_input(struct ends *e, uint32_t in, uint32_t loss, uint32_t grad_out)
{
    struct graph_port port = graph_input_at(e->g, in);
    size_t n = count_of(&port.shape);
    float *grad = malloc(n * sizeof(float)), *d = malloc(n * sizeof(float));
    double length;

    ends_run(e, dev);
    memcpy(grad, e->out[grad_out], n * sizeof(float));
    length = sqrt(dot(grad, grad, n));
    for (uint32_t k = 0; k < 3; k++) {
        double norm;

        random_floats(d, n, 1000 + in, k + 1, 1.0f);
        if (k == 0)
            memcpy(d, grad, n * sizeof(float));
        norm = sqrt(dot(d, d, n));
        if (norm < 1e-7)
            continue;
        for (size_t i = 0; i < n; i++)
            d[i] = (float)(d[i] / norm);
        check_direction(e, in, loss, grad, d, length, k == 0 ? "along it" : "random direction");
    }
    free(grad);
    free(d);
}

static struct llama_config tiny(bool tie)
{
    return (struct llama_config){.vocab_size = 17,
                                 .hidden_size = 12,
                                 .intermediate_size = 16,
                                 .layers = 2,
                                 .heads = 4,
                                 .kv_heads = 2,
                                 .head_dim = 4,
                                 .max_positions = 16,
                                 .rope_theta = 100.0,
                                 .norm_eps = 1e-5,
                                 .tie_embeddings = tie};
}

/* Weights of a size at which every part of the model matters, real rotary tables. */
static struct ends llama_ends(const struct llama_config *c, const struct graph *g, uint32_t seq)
{
    struct ends e = ends_new(g, 11, 0.6f, c->vocab_size);

    llama_rope_tables(c, seq, e.in[input_find(g, "tables/cos")], e.in[input_find(g, "tables/sin")]);
    return e;
}

static void test_llama_loss(void **state)
{
    for (int tie = 0; tie < 2; tie++) {
        struct llama_config c = tiny(tie != 0);
        struct graph *g;
        struct ends e;

        c.qkv_bias = tie != 0;
        ASSERT_OK(llama_graph_train(&c, 2, 6, &g, err));
        e = llama_ends(&c, g, 6);
        for (uint32_t i = 0; i < llama_param_count(&c); i++)
            check_input(&e, i, output_find(g, "sum/loss"), i);
        ends_free(&e);
        graph_free(g);
    }
}

/* Loss = sum of some value of a random graph; gradients of all float inputs it depends on. */
static void check_random(uint64_t seed)
{
    static const uint32_t inputs = 7; /* all but the rotary tables */
    struct random_graph r = random_graph_new(seed, 3 + (uint32_t)(seed % 10));
    value_id last = r.pool[r.pooled - 1], wrt[7], grad[7], loss, one;
    struct op_attrs fill = {.at = {{.i = 1}, {.i = 0}, {.f = 1.0f}}};
    struct graph_port port;
    struct ends e;

    for (uint32_t i = 0; i < inputs; i++)
        wrt[i] = graph_input_at(r.g, i).value;
    loss = graph_op(r.g, seed % 2 ? OP_SUM : OP_SUMSQ, NULL, 1, &last);
    one = graph_op(r.g, OP_FILL, &fill, 0, NULL);
    graph_output(r.g, "y/loss", loss);
    ASSERT_OK(graph_grad(r.g, loss, one, inputs, wrt, grad, err));
    for (uint32_t i = 0; i < inputs; i++) {
        char name[32];

        snprintf(name, sizeof(name), "grad/%u", i);
        if (grad[i] != VALUE_NONE)
            graph_output(r.g, name, grad[i]);
    }
    e = ends_new(r.g, seed, 0.5f, 1);
    for (uint32_t k = 1; k < graph_output_count(r.g); k++) {
        port = graph_output_at(r.g, k);
        check_input(&e, (uint32_t)strtoul(port.name + 5, NULL, 10), 0, k);
    }
    ends_free(&e);
    graph_free(r.g);
}

static void test_random_graphs(void **state)
{
    for (seed_now = 1; seed_now <= 300; seed_now++)
        check_random(seed_now);
    seed_now = 0;
}

static value_id op2(struct graph *g, enum op op, value_id a, value_id b)
{
    value_id in[] = {a, b};

    return graph_op(g, op, NULL, 2, in);
}

/* -- images ---------------------------------------------------------------------------------- */

static value_id op_ints(struct graph *g, enum op op, value_id a, value_id b, int64_t i0, int64_t i1)
{
    struct op_attrs attrs = {.at = {{.i = i0}, {.i = i1}}};
    value_id in[] = {a, b};

    return graph_op(g, op, &attrs, op_info(op)->inputs, in);
}

/* A pool, two convolutions, a pool: every rule of the operators on images on one path, and fan-in
 * of a convolution's result, whose gradients are added as rank 4. The largest are taken of the
 * inputs, where few change places within the step of the differences. */
static struct graph *convnet(int64_t stride, int64_t pad)
{
    struct graph *g = graph_new();
    value_id x = graph_input(g, "x/x", DTYPE_F32, SHAPE4(2, 15, 11, 2));
    value_id w1 = graph_input(g, "w/1", DTYPE_F32, SHAPE4(3, 3, 3, 2));
    value_id b1 = graph_input(g, "w/b", DTYPE_F32, SHAPE1(3));
    value_id w2 = graph_input(g, "w/2", DTYPE_F32, SHAPE4(4, 2, 2, 3)), h, flat;
    struct shape s;
    enum dtype dtype;

    h = op_ints(g, OP_MAXPOOL2D, x, x, 3, 2);
    h = op_ints(g, OP_CONV2D, h, w1, stride, pad);
    h = op_ints(g, OP_BIAS, h, b1, 0, 0);
    h = op_ints(g, OP_MUL, h, h, 0, 0);
    h = op_ints(g, OP_CONV2D, h, w2, 1, 1);
    h = op_ints(g, OP_AVGPOOL2D, h, h, 2, 1);
    graph_value_info(g, h, &dtype, &s);
    flat = graph_view(g, h, SHAPE2(s.dim[0], s.dim[1] * s.dim[2] * s.dim[3]));
    flat = graph_view(g, flat, SHAPE3(s.dim[0] * s.dim[1], s.dim[2], s.dim[3]));
    flat = graph_op(g, OP_SUM_ROWS, NULL, 1, &flat);
    flat = op2(g, OP_MUL, flat, graph_input(g, "w/out", DTYPE_F32, SHAPE1(4)));
    graph_output(g, "y/loss", graph_op(g, OP_SUM, NULL, 1, &flat));
    return g;
}

/* Of output 0 in all inputs up to the first that is no f32. */
static void check_gradients(struct graph *g)
{
    uint32_t n = 0;
    value_id wrt[8], grad[8], one;
    struct op_attrs fill = {.at = {{.i = 1}, {.i = 0}, {.f = 1.0f}}};
    struct ends e;

    for (; n < graph_input_count(g) && graph_input_at(g, n).dtype == DTYPE_F32; n++)
        wrt[n] = graph_input_at(g, n).value;
    one = graph_op(g, OP_FILL, &fill, 0, NULL);
    ASSERT_OK(graph_grad(g, graph_output_at(g, 0).value, one, n, wrt, grad, err));
    for (uint32_t i = 0; i < n; i++) {
        char name[32];

        snprintf(name, sizeof(name), "grad/%u", i);
        graph_output(g, name, grad[i]);
    }
    e = ends_new(g, 5, 0.5f, 1);
    for (uint32_t i = 0; i < n; i++)
        check_input(&e, i, 0, 1 + i);
    ends_free(&e);
    graph_free(g);
}

static void test_images(void **state)
{
    check_gradients(convnet(1, 1));
    check_gradients(convnet(1, 0));
    check_gradients(convnet(2, 1));
    check_gradients(convnet(3, 2));
}

/* Away from where it bends: relu of x + 2 and of x - 2, |x| < 1/2. */
static void test_relu(void **state)
{
    struct graph *g = graph_new();
    value_id x = graph_input(g, "x/x", DTYPE_F32, SHAPE2(3, 4)), y[2], sum;

    for (int i = 0; i < 2; i++) {
        struct op_attrs fill = {.at = {{.i = 4}, {.i = 0}, {.f = i ? -2.0f : 2.0f}}};

        y[i] = op2(g, OP_BIAS, x, graph_op(g, OP_FILL, &fill, 0, NULL));
        y[i] = graph_op(g, OP_RELU, NULL, 1, &y[i]);
    }
    sum = op2(g, OP_ADD, y[0], y[1]);
    sum = op2(g, OP_MUL, sum, sum);
    graph_output(g, "y/loss", graph_op(g, OP_SUM, NULL, 1, &sum));
    check_gradients(g);
}

/* -- layers ---------------------------------------------------------------------------------- */

/* Norm, positions, both forms of gelu, a mask, on one path. */
static void test_layers(void **state)
{
    struct graph *g = graph_new();
    struct op_attrs eps = {.at = {{.f = 0.1f}}}, mask = {.at = {{.f = 0.25f}, {.i = 7}}};
    value_id in[3], h;

    in[0] = graph_input(g, "x/x", DTYPE_F32, SHAPE2(6, 5));
    in[1] = graph_input(g, "w/w", DTYPE_F32, SHAPE1(5));
    in[2] = graph_input(g, "w/b", DTYPE_F32, SHAPE1(5));
    h = op2(g, OP_POSITION_ADD, in[0], graph_input(g, "w/p", DTYPE_F32, SHAPE2(3, 5)));
    in[0] = h;
    h = graph_op(g, OP_LAYERNORM, &eps, 3, in);
    h = op2(g, OP_ADD, graph_op(g, OP_GELU, NULL, 1, &h),
            graph_op(g, OP_GELU_TANH, NULL, 1, &in[0]));
    in[0] = h;
    in[1] = graph_input(g, "x/key", DTYPE_I32, SHAPE1(4));
    h = graph_op(g, OP_DROPOUT, &mask, 2, in);
    graph_output(g, "y/loss", graph_op(g, OP_SUMSQ, NULL, 1, &h));
    check_gradients(g);
}

/* A uniform gradient of rank 4 becomes a tensor where it is added to another. */
static void test_uniform_of_rank_4(void **state)
{
    struct graph *g = graph_new();
    value_id x = graph_input(g, "x/x", DTYPE_F32, SHAPE4(2, 3, 1, 2));

    graph_output(
        g, "y/loss",
        op2(g, OP_ADD, graph_op(g, OP_SUM, NULL, 1, &x), graph_op(g, OP_SUMSQ, NULL, 1, &x)));
    check_gradients(g);
}

/* -- order and form ------------------------------------------------------------------------ */

/* x is used by three nodes and twice by one: ((c1 + c2) + c3a) + c3b in the order of uses. */
static void test_fan_in_is_added_in_order_of_forward_use(void **state)
{
    struct graph *g = graph_new();
    value_id x = graph_input(g, "x/x", DTYPE_F32, SHAPE1(3));
    value_id a = graph_input(g, "x/a", DTYPE_F32, SHAPE1(3));
    value_id b = graph_input(g, "x/b", DTYPE_F32, SHAPE1(3));
    value_id seed = graph_input(g, "x/seed", DTYPE_F32, SHAPE1(1));
    value_id u1 = op2(g, OP_MUL, x, a), u2 = op2(g, OP_MUL, b, x), u3 = op2(g, OP_MUL, x, x);
    value_id all = op2(g, OP_ADD, op2(g, OP_ADD, u3, u2), u1), grad, loss, want;
    uint32_t nodes;

    loss = graph_op(g, OP_SUM, NULL, 1, &all);
    ASSERT_OK(graph_grad(g, loss, seed, 1, &x, &grad, err));
    nodes = g->nodes;
    /* The last three nodes are the additions. */
    assert_int_equal(g->node[nodes - 1].op, OP_ADD);
    assert_int_equal(g->node[nodes - 1].out, grad);
    want = g->node[nodes - 1].in[0];
    assert_int_equal(g->node[nodes - 2].out, want);
    assert_int_equal(g->node[nodes - 3].out, g->node[nodes - 2].in[0]);
    /* dy*a, then dy*b, then the two of x*x (dy*x each). */
    assert_int_equal(g->node[g->value[g->node[nodes - 3].in[0]].node].in[1], a);
    assert_int_equal(g->node[g->value[g->node[nodes - 3].in[1]].node].in[1], b);
    assert_int_equal(g->node[g->value[g->node[nodes - 2].in[1]].node].in[1], x);
    assert_int_equal(g->node[g->value[g->node[nodes - 1].in[1]].node].in[1], x);
    assert_true(g->node[nodes - 1].in[1] > g->node[nodes - 2].in[1]);
    graph_free(g);
}

static void test_independent_and_trivial(void **state)
{
    struct graph *g = graph_new();
    value_id x = graph_input(g, "x/x", DTYPE_F32, SHAPE1(1));
    value_id y = graph_input(g, "x/y", DTYPE_F32, SHAPE1(1));
    value_id seed = graph_input(g, "x/seed", DTYPE_F32, SHAPE1(1));
    value_id loss = op2(g, OP_ADD, x, x), wrt[3] = {x, y, loss}, grad[3];

    ASSERT_OK(graph_grad(g, loss, seed, 3, wrt, grad, err));
    assert_int_equal(grad[1], VALUE_NONE);
    assert_int_equal(grad[2], seed);
    assert_int_not_equal(grad[0], VALUE_NONE);
    /* An input as its own loss. */
    ASSERT_OK(graph_grad(g, x, seed, 2, wrt, grad, err));
    assert_int_equal(grad[0], seed);
    assert_int_equal(grad[1], VALUE_NONE);
    graph_free(g);
}

/* Nothing is computed for operands whose gradient nobody asked for. */
static void test_only_what_is_wanted(void **state)
{
    struct graph *g = graph_new();
    struct op_attrs none = {0};
    value_id in[2], seed = graph_input(g, "x/seed", DTYPE_F32, SHAPE1(1)), y, loss, grad;
    uint32_t forward, matmuls = 0;

    in[0] = graph_input(g, "x/x", DTYPE_F32, SHAPE2(2, 3));
    in[1] = graph_input(g, "x/w", DTYPE_F32, SHAPE2(3, 4));
    y = graph_op(g, OP_MATMUL, &none, 2, in);
    loss = graph_op(g, OP_SUM, NULL, 1, &y);
    forward = g->nodes;
    ASSERT_OK(graph_grad(g, loss, seed, 1, &in[1], &grad, err));
    for (uint32_t i = forward; i < g->nodes; i++)
        matmuls += g->node[i].op == OP_MATMUL;
    assert_int_equal(matmuls, 1);
    graph_free(g);
}

static void unsupported(struct graph *g, value_id loss, value_id wrt, const char *part)
{
    value_id seed = graph_input(g, "x/seed", DTYPE_F32, SHAPE1(1)), grad;

    ASSERT_FAILS(graph_grad(g, loss, seed, 1, &wrt, &grad, err), EMAC_UNSUPPORTED, part);
    assert_int_not_equal(graph_status(g, NULL), EMAC_OK);
    graph_free(g);
}

static void test_refusals(void **state)
{
    struct graph *g = graph_new();
    value_id x = graph_input(g, "x/x", DTYPE_F32, SHAPE1(1)), in[3], v, grad;
    struct op_attrs eps = {.at = {{.f = 0.1f}}};

    unsupported(g, graph_op(g, OP_SQRT, NULL, 1, &x), x, "node 0 (sqrt)");

    g = graph_new(); /* the loss of one token out of several */
    in[0] = graph_input(g, "x/logits", DTYPE_F32, SHAPE2(2, 3));
    in[1] = graph_input(g, "x/targets", DTYPE_I32, SHAPE1(2));
    v = graph_op(g, OP_XENT, NULL, 2, in);
    v = op2(g, OP_MUL, v, v);
    unsupported(g, graph_op(g, OP_SUM, NULL, 1, &v), in[0], "must be summed");

    g = graph_new(); /* through a saved statistic */
    in[0] = graph_input(g, "x/x", DTYPE_F32, SHAPE2(2, 3));
    in[1] = graph_input(g, "x/w", DTYPE_F32, SHAPE1(3));
    v = graph_op(g, OP_RMSNORM, &eps, 2, in) + 1;
    unsupported(g, graph_op(g, OP_SUM, NULL, 1, &v), in[0], "second output");

    g = graph_new(); /* of a rotary table */
    in[0] = graph_input(g, "x/x", DTYPE_F32, SHAPE2(2, 4));
    in[1] = graph_input(g, "x/cos", DTYPE_F32, SHAPE2(2, 2));
    in[2] = graph_input(g, "x/sin", DTYPE_F32, SHAPE2(2, 2));
    v = graph_op(g, OP_ROPE, &(struct op_attrs){.at = {{.i = 1}, {.i = 0}}}, 3, in);
    unsupported(g, graph_op(g, OP_SUM, NULL, 1, &v), in[1], "with respect to input 1");

    g = graph_new(); /* a loss that is no scalar, integers */
    x = graph_input(g, "x/x", DTYPE_F32, SHAPE1(2));
    v = graph_input(g, "x/ids", DTYPE_I32, SHAPE1(1));
    ASSERT_FAILS(graph_grad(g, x, x, 1, &x, &grad, err), EMAC_INVALID, "must be f32[1]");
    x = graph_op(g, OP_SUM, NULL, 1, &x);
    ASSERT_FAILS(graph_grad(g, x, x, 1, &v, &grad, err), EMAC_INVALID, "not f32");
    graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama_loss),
        cmocka_unit_test(test_random_graphs),
        cmocka_unit_test(test_fan_in_is_added_in_order_of_forward_use),
        cmocka_unit_test(test_independent_and_trivial),
        cmocka_unit_test(test_only_what_is_wanted),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_images),
        cmocka_unit_test(test_relu),
        cmocka_unit_test(test_uniform_of_rank_4),
        cmocka_unit_test(test_layers),
    };
    int failed;

    dev = ref_device();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    device_close(dev);
    return failed;
}

/* Building: what is refused, that the first failure stays, and what a graph tells about itself. */
#include "fixture.h"

static value_id op2(struct graph *g, enum op op, value_id a, value_id b)
{
    value_id in[] = {a, b};

    return graph_op(g, op, NULL, 2, in);
}

static void test_ports_and_flops(void **state)
{
    struct graph *g = graph_new();
    struct op_attrs attrs = {.at = {{.i = 0}, {.i = 1}}};
    value_id in[2];
    enum dtype dtype;
    struct shape shape;

    in[0] = graph_input(g, "x/a", DTYPE_F32, SHAPE2(2, 3));
    in[1] = graph_input(g, "x/b", DTYPE_F32, SHAPE2(5, 3));
    graph_output(g, "y/c", graph_op(g, OP_MATMUL, &attrs, 2, in));
    ASSERT_OK(graph_status(g, err));
    assert_int_equal(graph_input_count(g), 2);
    assert_int_equal(graph_output_count(g), 1);
    assert_string_equal(graph_input_at(g, 1).name, "x/b");
    assert_int_equal(graph_output_at(g, 0).shape.dim[1], 5);
    assert_int_equal(graph_flops(g), 2 * 2 * 3 * 5);
    graph_value_info(g, VALUE_NONE, &dtype, &shape);
    assert_int_equal(shape.rank, 0);
    graph_free(g);
}

static void test_failure_is_sticky(void **state)
{
    struct graph *g = graph_new();
    value_id a = graph_input(g, "x/a", DTYPE_F32, SHAPE2(2, 3));
    value_id b = graph_input(g, "x/b", DTYPE_F32, SHAPE2(3, 2));

    assert_int_equal(op2(g, OP_ADD, a, b), VALUE_NONE);
    assert_int_equal(op2(g, OP_ADD, a, a), VALUE_NONE);
    assert_int_equal(graph_input(g, "x/c", DTYPE_F32, SHAPE1(1)), VALUE_NONE);
    graph_output(g, "y/y", a);
    assert_int_equal(graph_output_count(g), 0);
    ASSERT_FAILS(graph_status(g, err), EMAC_INVALID, "node 0 (add)");
    graph_free(g);
}

static void refused_name(const char *name)
{
    struct graph *g = graph_new();

    graph_input(g, name, DTYPE_F32, SHAPE1(1));
    ASSERT_FAILS(graph_status(g, err), EMAC_INVALID, "bad name");
    graph_free(g);
}

static void test_names(void **state)
{
    char longest[GRAPH_NAME_MAX + 1];
    struct graph *g = graph_new();

    refused_name("");
    refused_name("noslash");
    refused_name("/x");
    refused_name("x/");
    refused_name("x/a b");
    refused_name("x/\n");
    refused_name("x/\xc3\xa9");
    memset(longest, 'n', sizeof(longest));
    longest[1] = '/';
    longest[GRAPH_NAME_MAX] = '\0';
    refused_name(longest);
    longest[GRAPH_NAME_MAX - 1] = '\0';
    graph_input(g, longest, DTYPE_F32, SHAPE1(1));
    ASSERT_OK(graph_status(g, err));
    graph_input(g, longest, DTYPE_F32, SHAPE1(1));
    ASSERT_FAILS(graph_status(g, err), EMAC_INVALID, "two inputs");
    graph_free(g);
}

static void test_two_outputs_of_one_name(void **state)
{
    struct graph *g = graph_new();
    value_id a = graph_input(g, "x/a", DTYPE_F32, SHAPE1(1));

    graph_output(g, "y/1", a);
    graph_output(g, "y/2", a);
    ASSERT_OK(graph_status(g, err));
    graph_output(g, "y/1", op2(g, OP_ADD, a, a));
    ASSERT_FAILS(graph_status(g, err), EMAC_INVALID, "two outputs of the graph are named 'y/1'");
    graph_free(g);
}

static void test_bad_inputs(void **state)
{
    static const struct shape bad[] = {
        {0, {0}}, {5, {1, 1, 1, 1}}, {1, {0}}, {2, {SIZE_MAX, 2}}, {1, {GRAPH_BYTES_MAX / 4 + 1}}};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct graph *g = graph_new();

        graph_input(g, "x/a", DTYPE_F32, bad[i]);
        assert_int_not_equal(graph_status(g, NULL), EMAC_OK);
        graph_free(g);
    }
}

static void test_bytes_of_all_values_are_limited(void **state)
{
    struct graph *g = graph_new();
    value_id a = graph_input(g, "x/a", DTYPE_F32, SHAPE1(GRAPH_BYTES_MAX / 8));

    op2(g, OP_ADD, a, a);
    ASSERT_OK(graph_status(g, err));
    op2(g, OP_ADD, a, a);
    ASSERT_FAILS(graph_status(g, err), EMAC_TOO_LARGE, "bytes together");
    graph_free(g);
}

static void test_bad_nodes(void **state)
{
    struct op_attrs nan = {.at = {{.i = 4}, {.i = 0}, {.f = __builtin_nanf("")}}};
    struct op_attrs inf = {.at = {{.f = __builtin_inff()}}};
    value_id in[3] = {0, 0, 0};
    struct graph *g = graph_new();

    graph_op(g, OP_FILL, &nan, 0, NULL);
    ASSERT_FAILS(graph_status(g, err), EMAC_INVALID, "attribute 'value'");
    graph_free(g);

    g = graph_new();
    in[0] = graph_input(g, "x/a", DTYPE_F32, SHAPE2(2, 2));
    in[1] = graph_input(g, "x/w", DTYPE_F32, SHAPE1(2));
    graph_op(g, OP_RMSNORM, &inf, 2, in);
    ASSERT_FAILS(graph_status(g, err), EMAC_INVALID, "not finite");
    graph_free(g);

    g = graph_new();
    in[0] = in[1] = graph_input(g, "x/a", DTYPE_F32, SHAPE2(2, 2));
    graph_op(g, OP_ADD, NULL, 3, in);
    ASSERT_FAILS(graph_status(g, err), EMAC_INVALID, "has 3 inputs; it needs 2");
    graph_free(g);

    g = graph_new();
    in[0] = graph_input(g, "x/a", DTYPE_F32, SHAPE2(2, 2));
    in[1] = 1;
    graph_op(g, OP_ADD, NULL, 2, in);
    ASSERT_FAILS(graph_status(g, err), EMAC_INVALID, "takes value 1, but only 1 exist");
    graph_free(g);

    g = graph_new();
    graph_output(g, "y/y", 0);
    ASSERT_FAILS(graph_status(g, err), EMAC_INVALID, "names value 0 of 0");
    graph_free(g);
}

static void test_number_of_nodes_is_limited(void **state)
{
    struct graph *g = graph_new();
    value_id a = graph_input(g, "x/a", DTYPE_F32, SHAPE1(1));

    for (int i = 0; i < GRAPH_NODES_MAX; i++)
        a = op2(g, OP_ADD, a, a);
    ASSERT_OK(graph_status(g, err));
    op2(g, OP_ADD, a, a);
    ASSERT_FAILS(graph_status(g, err), EMAC_TOO_LARGE, "more than 65536 nodes");
    graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ports_and_flops),
        cmocka_unit_test(test_failure_is_sticky),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_two_outputs_of_one_name),
        cmocka_unit_test(test_bad_inputs),
        cmocka_unit_test(test_bytes_of_all_values_are_limited),
        cmocka_unit_test(test_bad_nodes),
        cmocka_unit_test(test_number_of_nodes_is_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

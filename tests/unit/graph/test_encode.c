/* The canonical form: pinned bytes and CIDs, and what the reader refuses. */
#include "model/llama.h"
#include "model/optimiser.h"
#include "random_graph.h"

static struct emac_buf encoded(const struct graph *g)
{
    struct emac_buf buf;

    emac_buf_init(&buf, GRAPH_ENCODED_MAX);
    ASSERT_OK(graph_encode(g, &buf, err));
    return buf;
}

static void cid_of_graph(const struct graph *g, char out[CID_TEXT_MAX])
{
    struct emac_buf buf = encoded(g);
    struct cid cid = cid_of(CID_DAG_CBOR, buf.data, buf.len);

    cid_text(out, &cid);
    emac_buf_release(&buf);
}

static struct graph *small_graph(void)
{
    struct graph *g = graph_new();
    struct op_attrs norm = {.at = {{.f = 0.5f}}};
    struct op_attrs randn = {.at = {{.i = 2}, {.i = 0}, {.i = -1}, {.i = 7}, {.f = 0.1f}}};
    value_id in[2];

    in[0] = graph_input(g, "x/x", DTYPE_F32, SHAPE2(3, 2));
    in[1] = graph_op(g, OP_RANDN, &randn, 0, NULL);
    /* An input that is made late is numbered with the inputs all the same. */
    graph_input(g, "x/unused", DTYPE_I32, SHAPE4(1, 2, 3, 4));
    graph_output(g, "y/y", graph_op(g, OP_RMSNORM, &norm, 2, in));
    graph_output(g, "y/x", in[0]);
    return g;
}

/* Written by hand from the description in graph.h. */
static void test_bytes_of_a_small_graph(void **state)
{
    static const char want[] = "\xa4"
                               "\x65nodes\x82"
                               "\xa3\x62in\x80\x62op\x65randn\x65"
                               "attrs\xa5"
                               "\x63std\xfb\x3f\xb9\x99\x99\xa0\x00\x00\x00"
                               "\x64"
                               "dim0\x02\x64"
                               "dim1\x00\x64seed\x20\x66tensor\x07"
                               "\xa3\x62in\x82\x00\x02\x62op\x67rmsnorm\x65"
                               "attrs\xa1\x63"
                               "eps\xfb\x3f\xe0\x00\x00\x00\x00\x00\x00"
                               "\x66inputs\x82"
                               "\xa3\x64name\x63x/x\x65"
                               "dtype\x63"
                               "f32\x65shape\x82\x03\x02"
                               "\xa3\x64name\x68x/unused\x65"
                               "dtype\x63i32\x65shape\x84\x01\x02\x03\x04"
                               "\x67outputs\x82"
                               "\xa2\x64name\x63y/y\x65value\x03"
                               "\xa2\x64name\x63y/x\x65value\x00"
                               "\x68numerics\x01";
    struct graph *g = small_graph();
    struct emac_buf buf = encoded(g);

    assert_int_equal(buf.len, sizeof(want) - 1);
    assert_memory_equal(buf.data, want, buf.len);
    emac_buf_release(&buf);
    graph_free(g);
}

static const struct llama_config tiny = {.vocab_size = 19,
                                         .hidden_size = 12,
                                         .intermediate_size = 20,
                                         .layers = 2,
                                         .heads = 4,
                                         .kv_heads = 2,
                                         .head_dim = 4,
                                         .max_positions = 64,
                                         .rope_theta = 10000.0,
                                         .norm_eps = 1e-5,
                                         .tie_embeddings = true};

/* A program's CID is its identity: work that was paid under these names must stay repeatable. If a
 * change of builders or of autodiff moves one of them on purpose, say so in docs/numerics.md. */
static void test_pinned_cids(void **state)
{
    const struct llama_init init = {0.02, 0.02, 0};
    const struct llama_model model = {&tiny, NULL};
    const struct model_params params = llama_params(&model);
    const struct optimiser_recipe r = {.clip_norm = 1};
    char cid[5][CID_TEXT_MAX];
    struct graph *g[5];

    ASSERT_OK(llama_graph_train(&tiny, 2, 8, &g[0], err));
    ASSERT_OK(llama_graph_eval(&tiny, 2, 8, &g[1], err));
    ASSERT_OK(llama_graph_forward(&tiny, 2, 8, &g[2], err));
    ASSERT_OK(llama_graph_init(&tiny, &init, 1, &r, &g[3], err));
    ASSERT_OK(optimiser_graph(&params, &r, &g[4], err));
    for (int i = 0; i < 5; i++) {
        cid_of_graph(g[i], cid[i]);
        graph_free(g[i]);
    }
    assert_string_equal(cid[0], "bafyreif4b7jxgjjvnlntyiz7w7srczkcw3ajm5i6d3bwodksmth53cawku");
    assert_string_equal(cid[1], "bafyreiauznq4qoiqlufonkpj3yyscle26wcngbtvl2usjkyfarzy6kjazy");
    assert_string_equal(cid[2], "bafyreif5cwixsls2ulenmhpfyflr5kqfqcts4vps7d47kg3mdajwvv3n3i");
    assert_string_equal(cid[3], "bafyreidrddypmuwmpusrhuhyro3y5q34fg2zdk625yowtyybrc6nbucna4");
    assert_string_equal(cid[4], "bafyreignbpivzw2d57zt4iprphkybi35ybvmfwmirc2bo7zpijr65j5yti");
}

static void check_round_trip(const struct graph *g)
{
    struct emac_buf first = encoded(g), second;
    struct graph *back;

    ASSERT_OK(graph_decode(&back, first.data, first.len, err));
    second = encoded(back);
    assert_int_equal(first.len, second.len);
    assert_memory_equal(first.data, second.data, first.len);
    assert_int_equal(graph_flops(g), graph_flops(back));
    emac_buf_release(&first);
    emac_buf_release(&second);
    graph_free(back);
}

static void test_round_trips(void **state)
{
    struct graph *g = small_graph();

    check_round_trip(g);
    graph_free(g);
    ASSERT_OK(llama_graph_train(&tiny, 2, 8, &g, err));
    check_round_trip(g);
    graph_free(g);
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct random_graph r = random_graph_new(seed, 30);

        random_outputs(&r);
        check_round_trip(r.g);
        graph_free(r.g);
    }
}

/* What is stored as bf16 says so; what is not says nothing, and only the one form is read. */
static void test_storage(void **state)
{
    struct graph *g = graph_new();
    struct emac_buf buf;
    value_id x = graph_input(g, "x/x", DTYPE_BF16, SHAPE1(3)), y;
    enum dtype dtype;
    struct shape shape;
    char *at;

    y = graph_op_bf16(g, OP_ADD, NULL, 2, (value_id[]){x, x});
    graph_output(g, "y/y", graph_op(g, OP_COPY, NULL, 1, &y));
    graph_value_info(g, y, &dtype, &shape);
    assert_int_equal(dtype, DTYPE_BF16);
    check_round_trip(g);
    buf = encoded(g);
    at = memmem(buf.data, buf.len,
                "\x65store\x64"
                "bf16",
                11);
    assert_non_null(at);
    memcpy(at + 6,
           "\x64"
           "bf61",
           5);
    {
        struct graph *back;
        struct emac_err why;

        ASSERT_FAILS(graph_decode(&back, buf.data, buf.len, err), EMAC_INVALID, "bf61");
        memcpy(at + 6,
               "\x63"
               "f32\x61",
               5);
        assert_int_not_equal(graph_decode(&back, buf.data, buf.len, &why), EMAC_OK);
    }
    emac_buf_release(&buf);
    y = graph_op_bf16(g, OP_RESHAPE, &(struct op_attrs){.at = {{.i = 3}, {.i = 1}}}, 1, &x);
    assert_int_equal(y, VALUE_NONE);
    ASSERT_FAILS(graph_status(g, err), EMAC_INVALID, "cannot be stored as bf16");
    graph_free(g);
}

/* The decoded graph gives the same bits as the one that was encoded. */
static void test_decoded_runs_alike(void **state)
{
    struct graph *g, *back;
    struct device *dev = ref_device();
    struct emac_buf buf;
    struct ends a, b;

    ASSERT_OK(llama_graph_train(&tiny, 1, 5, &g, err));
    buf = encoded(g);
    ASSERT_OK(graph_decode(&back, buf.data, buf.len, err));
    a = ends_new(g, 3, 0.5f, tiny.vocab_size);
    b = ends_new(back, 3, 0.5f, tiny.vocab_size);
    ends_run(&a, dev);
    ends_run(&b, dev);
    for (uint32_t i = 0; i < graph_output_count(g); i++)
        assert_memory_equal(a.out[i], b.out[i], graph_value_bytes(g, g->output[i].value));
    ends_free(&a);
    ends_free(&b);
    emac_buf_release(&buf);
    graph_free(g);
    graph_free(back);
    device_close(dev);
}

/* -- hostile bytes ------------------------------------------------------------------------- */

/* What is decoded must be what is encoded: no two forms of one graph. */
static void check_hostile(const uint8_t *data, size_t n, uint64_t seed)
{
    struct emac_err err;
    struct graph *g;

    if (graph_decode(&g, data, n, &err) != EMAC_OK) {
        assert_null(g);
        assert_true(err.text[0] != '\0');
        return;
    }
    {
        struct emac_buf again = encoded(g);

        if (again.len != n || memcmp(again.data, data, n) != 0)
            fail_msg("seed %llu: decoded from a form that is not canonical",
                     (unsigned long long)seed);
        emac_buf_release(&again);
    }
    graph_free(g);
}

static void test_every_truncation_is_refused(void **state)
{
    struct graph *g = small_graph();
    struct emac_buf buf = encoded(g);

    for (size_t n = 0; n < buf.len; n++) {
        uint8_t *copy = malloc(n + 1); /* so that a sanitizer sees reads past the end */
        struct graph *back;

        memcpy(copy, buf.data, n);
        assert_int_not_equal(graph_decode(&back, copy, n, NULL), EMAC_OK);
        free(copy);
    }
    emac_buf_release(&buf);
    graph_free(g);
}

static void test_changed_bytes(void **state)
{
    struct graph *g = small_graph();
    struct emac_buf buf = encoded(g);

    for (uint64_t seed = 1; seed <= 20000; seed++) {
        uint8_t *copy = malloc(buf.len);

        memcpy(copy, buf.data, buf.len);
        for (uint32_t k = 0; k <= seed % 3; k++)
            copy[random_below(seed, 2 * k, (uint32_t)buf.len)] =
                (uint8_t)random_below(seed, 2 * k + 1, 256);
        check_hostile(copy, buf.len, seed);
        free(copy);
    }
    emac_buf_release(&buf);
    graph_free(g);
}

/* One document with a hole for each part, to spoil one part at a time. */
struct parts {
    const char *in_op_attrs; /* of the only node, after "a3" */
    const char *inputs, *outputs, *numerics;
};

#define NODE                                                                                       \
    "\x62in\x82\x00\x00\x62op\x63"                                                                 \
    "add\x65"                                                                                      \
    "attrs\xa0"
#define INPUTS                                                                                     \
    "\x81\xa3\x64name\x63x/x\x65"                                                                  \
    "dtype\x63"                                                                                    \
    "f32\x65shape\x81\x04"
#define OUTPUTS "\x81\xa2\x64name\x63y/y\x65value\x01"

struct text {
    const char *data;
    size_t n;
};
#define TEXT(s) ((struct text){(s), sizeof(s) - 1})

static void put(struct emac_buf *b, struct text t)
{
    ASSERT_OK(emac_buf_append(b, t.data, t.n, err));
}

static enum emac_status decode_parts(struct text node, struct text inputs, struct text outputs,
                                     struct text tail, struct emac_err *err)
{
    struct emac_buf b;
    struct graph *g;
    enum emac_status st;

    emac_buf_init(&b, 4096);
    put(&b, TEXT("\xa4\x65nodes\x81\xa3"));
    put(&b, node);
    put(&b, TEXT("\x66inputs"));
    put(&b, inputs);
    put(&b, TEXT("\x67outputs"));
    put(&b, outputs);
    put(&b, tail);
    st = graph_decode(&g, b.data, b.len, err);
    graph_free(g);
    emac_buf_release(&b);
    return st;
}

#define TAIL "\x68numerics\x01"
#define BAD_NODE(s, st, part)                                                                      \
    ASSERT_FAILS(decode_parts(TEXT(s), TEXT(INPUTS), TEXT(OUTPUTS), TEXT(TAIL), err), st, part)
#define BAD_INPUTS(s, st, part)                                                                    \
    ASSERT_FAILS(decode_parts(TEXT(NODE), TEXT(s), TEXT(OUTPUTS), TEXT(TAIL), err), st, part)
#define BAD_OUTPUTS(s, st, part)                                                                   \
    ASSERT_FAILS(decode_parts(TEXT(NODE), TEXT(INPUTS), TEXT(s), TEXT(TAIL), err), st, part)

static void test_hostile_nodes(void **state)
{
    ASSERT_OK(decode_parts(TEXT(NODE), TEXT(INPUTS), TEXT(OUTPUTS), TEXT(TAIL), err));
    BAD_NODE("\x62in\x82\x00\x01\x62op\x63"
             "add\x65"
             "attrs\xa0",
             EMAC_INVALID, "takes value 1");
    BAD_NODE("\x62in\x82\x00\x20\x62op\x63"
             "add\x65"
             "attrs\xa0",
             EMAC_INVALID, "not a value's number");
    BAD_NODE("\x62in\x82\x00\x1a\xff\xff\xff\xff\x62op\x63"
             "add\x65"
             "attrs\xa0",
             EMAC_INVALID, "not a value's number");
    BAD_NODE("\x62in\x81\x00\x62op\x63"
             "add\x65"
             "attrs\xa0",
             EMAC_INVALID, "it needs 2");
    BAD_NODE("\x62in\x89\x00\x00\x00\x00\x00\x00\x00\x00\x00\x62op\x63"
             "add\x65"
             "attrs\xa0",
             EMAC_INVALID, "too many inputs");
    BAD_NODE("\x62in\x82\x00\x00\x62op\x63"
             "sub\x65"
             "attrs\xa0",
             EMAC_UNSUPPORTED, "unknown operator 'sub'");
    BAD_NODE("\x62in\x82\x00\x00\x62op\x63"
             "add\x65"
             "attrs\xa1\x61"
             "a\x00",
             EMAC_INVALID, "1 attributes; operator 'add' has 0");
    BAD_NODE("\x62in\x82\x00\x00\x62op\x66"
             "matmul\x65"
             "attrs\xa0",
             EMAC_INVALID, "attributes");
    BAD_NODE("\x62in\x82\x00\x00\x62oq\x63"
             "add\x65"
             "attrs\xa0",
             EMAC_INVALID, "oq");
    BAD_NODE("\x62in\x82\x00\x00\x62op\x03\x65"
             "attrs\xa0",
             EMAC_INVALID, "op");
}

#define FILL_WITH(dim0, value)                                                                     \
    "\x62in\x80\x62op\x64"                                                                         \
    "fill\x65"                                                                                     \
    "attrs\xa3\x64"                                                                                \
    "dim0" dim0 "\x64"                                                                             \
    "dim1\x00\x65value" value

static void test_hostile_attributes(void **state)
{
    ASSERT_OK(decode_parts(TEXT(FILL_WITH("\x04", "\xfb\x3f\xe0\x00\x00\x00\x00\x00\x00")),
                           TEXT(INPUTS), TEXT(OUTPUTS), TEXT(TAIL), err));
    BAD_NODE(FILL_WITH("\x04", "\xfb\x3f\xe0\x00\x00\x00\x00\x00\x01"), EMAC_INVALID,
             "binary32 holds exactly");
    BAD_NODE(FILL_WITH("\x04", "\xfb\x7f\xe0\x00\x00\x00\x00\x00\x00"), EMAC_INVALID,
             "binary32 holds exactly");
    BAD_NODE(FILL_WITH("\x04", "\x01"), EMAC_INVALID, "binary32 holds exactly");
    BAD_NODE(
        FILL_WITH("\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00", "\xfb\x3f\xe0\x00\x00\x00\x00\x00\x00"),
        EMAC_INVALID, "an integer of 64 bits");
    BAD_NODE(
        FILL_WITH("\x1b\xff\xff\xff\xff\xff\xff\xff\xff", "\xfb\x3f\xe0\x00\x00\x00\x00\x00\x00"),
        EMAC_INVALID, "an integer of 64 bits");
    BAD_NODE(FILL_WITH("\x20", "\xfb\x3f\xe0\x00\x00\x00\x00\x00\x00"), EMAC_INVALID, "fill");
    BAD_NODE(
        FILL_WITH("\x1b\x7f\xff\xff\xff\xff\xff\xff\xff", "\xfb\x3f\xe0\x00\x00\x00\x00\x00\x00"),
        EMAC_INVALID, "too large");
}

static void test_hostile_ends(void **state)
{
    struct graph *g;

    BAD_INPUTS("\x81\xa3\x64name\x63x/x\x65"
               "dtype\x63"
               "f64\x65shape\x81\x04",
               EMAC_INVALID, "unknown dtype 'f64'");
    BAD_INPUTS("\x81\xa3\x64name\x63x/x\x65"
               "dtype\x63"
               "f32\x65shape\x80",
               EMAC_INVALID, "0 dimensions");
    BAD_INPUTS("\x81\xa3\x64name\x63x/x\x65"
               "dtype\x63"
               "f32\x65shape\x81\x00",
               EMAC_INVALID, "bad dimension");
    BAD_INPUTS("\x81\xa3\x64name\x63x x\x65"
               "dtype\x63"
               "f32\x65shape\x81\x04",
               EMAC_INVALID, "bad name");
    BAD_INPUTS("\x81\xa3\x64name\x63x/x\x65"
               "dtype\x63"
               "f32\x65shape\x82\x1b\x00\x00\x00\xff\xff"
               "\xff\xff\xff\x1b\x00\x00\x00\xff\xff\xff\xff\xff",
               EMAC_INVALID, "shape");
    BAD_INPUTS("\x81\x04", EMAC_INVALID, "input 0 of the graph is not a map");
    BAD_INPUTS("\x04", EMAC_INVALID, "inputs");
    BAD_OUTPUTS("\x80", EMAC_INVALID, "no outputs");
    BAD_OUTPUTS("\x81\xa2\x64name\x63y/y\x65value\x02", EMAC_INVALID, "names value 2 of 2");
    BAD_OUTPUTS("\x82\xa2\x64name\x63y/y\x65value\x01\xa2\x64name\x63y/y\x65value\x01",
                EMAC_INVALID, "two outputs");
    ASSERT_FAILS(
        decode_parts(TEXT(NODE), TEXT(INPUTS), TEXT(OUTPUTS), TEXT("\x68numerics\x02"), err),
        EMAC_UNSUPPORTED, "numerics version 2");
    ASSERT_FAILS(
        decode_parts(TEXT(NODE), TEXT(INPUTS), TEXT(OUTPUTS), TEXT("\x68numerixs\x01"), err),
        EMAC_INVALID, "numerixs");
    ASSERT_FAILS(graph_decode(&g, "\x01", 1, err), EMAC_INVALID, "must be a map");
    ASSERT_FAILS(graph_decode(&g, "", GRAPH_ENCODED_MAX + 1, err), EMAC_TOO_LARGE, "limit");
}

/* A list of 30 million items in 30 MB: refused by the arena's limit, quickly. */
static void test_a_huge_list_is_refused(void **state)
{
    size_t n = 30u << 20;
    uint8_t *data = calloc(1, n);
    struct graph *g;

    memcpy(data, "\xa1\x65nodes\x9a\x01\xdf\xff\xf0", 12);
    assert_int_not_equal(graph_decode(&g, data, n, NULL), EMAC_OK);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_of_a_small_graph),
        cmocka_unit_test(test_pinned_cids),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_storage),
        cmocka_unit_test(test_decoded_runs_alike),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_changed_bytes),
        cmocka_unit_test(test_hostile_nodes),
        cmocka_unit_test(test_hostile_attributes),
        cmocka_unit_test(test_hostile_ends),
        cmocka_unit_test(test_a_huge_list_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

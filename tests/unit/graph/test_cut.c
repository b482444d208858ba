/* Pieces run one after the other give the bits of the whole. */
#include "model/llama.h"
#include "random_graph.h"

#define NAMED_MAX 4096

static struct device *dev;

struct named {
    const char *name;
    void *data;
};

static void *named_find(const struct named *n, uint32_t count, const char *name)
{
    for (uint32_t i = count; i-- > 0;)
        if (strcmp(n[i].name, name) == 0)
            return n[i].data;
    return NULL;
}

/* Run the pieces, handing over by name; compare with what the whole gave. */
static void check_pieces(const struct graph *g, struct graph **piece, uint32_t stages,
                         struct ends *whole, uint64_t seed)
{
    struct named *known = calloc(NAMED_MAX, sizeof(*known));
    struct ends *e = calloc(stages, sizeof(*e));
    uint32_t count = 0, inputs = graph_input_count(g);

    for (uint32_t i = 0; i < inputs; i++)
        known[count++] = (struct named){graph_input_at(g, i).name, whole->in[i]};
    for (uint32_t s = 0; s < stages; s++) {
        e[s] = ends_new(piece[s], 1, 1.0f, 1);
        for (uint32_t i = 0; i < graph_input_count(piece[s]); i++) {
            struct graph_port p = graph_input_at(piece[s], i);
            void *data = named_find(known, count, p.name);

            assert_non_null(data);
            memcpy(e[s].in[i], data, count_of(&p.shape) * 4);
        }
        ends_run(&e[s], dev);
        for (uint32_t i = 0; i < graph_output_count(piece[s]); i++) {
            assert_true(count < NAMED_MAX);
            known[count++] = (struct named){graph_output_at(piece[s], i).name, e[s].out[i]};
        }
    }
    for (uint32_t i = 0; i < graph_output_count(g); i++) {
        struct graph_port p = graph_output_at(g, i);
        /* Outputs may be named like inputs (params/...): look among the outputs only. */
        void *data = named_find(known + inputs, count - inputs, p.name);

        assert_non_null(data);
        if (memcmp(data, whole->out[i], count_of(&p.shape) * 4) != 0)
            fail_msg("seed %llu, %u stages: '%s' differs", (unsigned long long)seed, stages,
                     p.name);
    }
    for (uint32_t s = 0; s < stages; s++)
        ends_free(&e[s]);
    free(e);
    free(known);
}

static void check_cuts(const struct graph *g, struct ends *whole, uint64_t seed)
{
    struct graph *piece[4];

    ends_run(whole, dev);
    for (uint32_t stages = 1; stages <= 4; stages++) {
        ASSERT_OK(graph_cut(g, stages, piece, err));
        check_pieces(g, piece, stages, whole, seed);
        for (uint32_t s = 0; s < stages; s++)
            graph_free(piece[s]);
    }
}

static const struct llama_config tiny = {.vocab_size = 17,
                                         .hidden_size = 16,
                                         .intermediate_size = 32,
                                         .layers = 8,
                                         .heads = 4,
                                         .kv_heads = 2,
                                         .head_dim = 4,
                                         .max_positions = 16,
                                         .rope_theta = 100.0,
                                         .norm_eps = 1e-5,
                                         .tie_embeddings = true};

static void test_llama(void **state)
{
    struct graph *g[2];

    ASSERT_OK(llama_graph_train(&tiny, 2, 6, &g[0], err));
    ASSERT_OK(llama_graph_forward(&tiny, 2, 6, &g[1], err));
    for (int i = 0; i < 2; i++) {
        struct ends e = ends_new(g[i], 4, 0.4f, tiny.vocab_size);

        check_cuts(g[i], &e, 4);
        ends_free(&e);
        graph_free(g[i]);
    }
}

static void test_random_graphs(void **state)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct random_graph r = random_graph_new(seed, 20);
        struct ends e;
        uint32_t needed = 0;
        bool mark[RANDOM_POOL_MAX * 2];

        random_outputs(&r);
        graph_mark_needed(r.g, mark);
        for (uint32_t i = 0; i < r.g->nodes; i++)
            needed += mark[i];
        e = ends_new(r.g, seed, 0.9f, 1);
        if (needed >= 4)
            check_cuts(r.g, &e, seed);
        ends_free(&e);
        graph_free(r.g);
    }
}

/* A forward model cut in 4: flops within a fifth of each other, and only the residual stream (and
 * what the boundary cannot avoid) crosses. */
static void test_pieces_are_balanced_and_little_crosses(void **state)
{
    struct graph *g, *piece[4];
    uint64_t share;

    ASSERT_OK(llama_graph_forward(&tiny, 2, 6, &g, err));
    ASSERT_OK(graph_cut(g, 4, piece, err));
    share = graph_flops(g) / 4;
    for (uint32_t s = 0; s < 4; s++) {
        uint64_t f = graph_flops(piece[s]);

        assert_true(f > share * 8 / 10 && f < share * 12 / 10);
        if (s < 3)
            assert_in_range(graph_output_count(piece[s]), 1, 2);
        graph_free(piece[s]);
    }
    graph_free(g);
}

/* Pieces of the decoded program are those of the built one. */
static void test_cut_commutes_with_encoding(void **state)
{
    struct graph *g, *back, *a[3], *b[3];
    struct emac_buf buf;

    emac_buf_init(&buf, GRAPH_ENCODED_MAX);
    ASSERT_OK(llama_graph_train(&tiny, 1, 4, &g, err));
    ASSERT_OK(graph_encode(g, &buf, err));
    ASSERT_OK(graph_decode(&back, buf.data, buf.len, err));
    ASSERT_OK(graph_cut(g, 3, a, err));
    ASSERT_OK(graph_cut(back, 3, b, err));
    for (int s = 0; s < 3; s++) {
        struct emac_buf x, y;

        emac_buf_init(&x, GRAPH_ENCODED_MAX);
        emac_buf_init(&y, GRAPH_ENCODED_MAX);
        ASSERT_OK(graph_encode(a[s], &x, err));
        ASSERT_OK(graph_encode(b[s], &y, err));
        assert_int_equal(x.len, y.len);
        assert_memory_equal(x.data, y.data, x.len);
        emac_buf_release(&x);
        emac_buf_release(&y);
        graph_free(a[s]);
        graph_free(b[s]);
    }
    emac_buf_release(&buf);
    graph_free(g);
    graph_free(back);
}

static void test_refusals(void **state)
{
    struct graph *g = graph_new(), *piece[2];
    value_id x = graph_input(g, "x/x", DTYPE_F32, SHAPE1(1)), in[2];

    in[0] = in[1] = x;
    graph_output(g, "y/y", graph_op(g, OP_ADD, NULL, 2, in));
    ASSERT_FAILS(graph_cut(g, 2, piece, err), EMAC_INVALID, "1 nodes into 2");
    ASSERT_FAILS(graph_cut(g, 0, piece, err), EMAC_INVALID, "into 0");
    ASSERT_FAILS(graph_cut(g, UINT32_MAX, piece, err), EMAC_INVALID, "pieces");
    graph_output(g, "cut/1", x);
    ASSERT_FAILS(graph_cut(g, 1, piece, err), EMAC_INVALID, "'cut/1' is named like");
    graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama),
        cmocka_unit_test(test_random_graphs),
        cmocka_unit_test(test_pieces_are_balanced_and_little_crosses),
        cmocka_unit_test(test_cut_commutes_with_encoding),
        cmocka_unit_test(test_refusals),
    };
    int failed;

    dev = ref_device();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    device_close(dev);
    return failed;
}

/* Generation: fed at once, one by one, or in any pieces, a sequence has the logits of the forward
 * graph, bit for bit; the graph runs on the reference device, the session on the fastest one. */
#include "base/philox.h"
#include "compute/fn.h"
#include "fixture.h"
#include "model/session.h"

#define LONGEST 90

static struct device *dev, *oracle;

/* A model, its weights as a file, a sequence, and the forward graph's logits for it. */
struct subject {
    struct llama_config c;
    struct pool pool;
    uint8_t *bundle;
    size_t bundle_n;
    int32_t *tokens; /* in the pool */
    float *logits;   /* [LONGEST, vocab], in the pool */
};

static void subject_init(struct subject *s, bool tie)
{
    struct graph *g;

    s->c = tiny_config(tie);
    s->c.qkv_bias = !tie;
    pool_init(&s->pool, &s->c, LONGEST, oracle);
    s->bundle = bundle_of(&s->pool, &s->c, 0, &s->bundle_n);
    s->tokens = pool_get(&s->pool, "batch/tokens", LONGEST * sizeof(int32_t));
    for (uint32_t i = 0; i < LONGEST; i++)
        s->tokens[i] = (int32_t)philox_below(3, PHILOX_TEST, 0, i, s->c.vocab_size);
    ASSERT_OK(llama_graph_forward(&s->c, 1, LONGEST, &g, err));
    pool_run(&s->pool, g, oracle);
    graph_free(g);
    s->logits = pool_get(&s->pool, "out/logits", (size_t)LONGEST * s->c.vocab_size * 4);
}

static void subject_release(struct subject *s)
{
    pool_free(&s->pool);
    free(s->bundle);
}

static struct session *open_session(struct subject *s)
{
    struct session *session;

    ASSERT_OK(session_open(dev, &s->c, s->bundle, s->bundle_n, &session, err));
    return session;
}

/* Feed tokens from..to-1; the last one's logits must be the graph's. */
static void feed(struct subject *s, struct session *session, uint32_t from, uint32_t to)
{
    const float *logits;

    assert_int_equal(session_length(session), from);
    ASSERT_OK(session_feed(session, s->tokens + from, to - from, &logits, err));
    assert_int_equal(session_length(session), to);
    if (memcmp(logits, s->logits + (size_t)(to - 1) * s->c.vocab_size, s->c.vocab_size * 4) != 0)
        fail_msg("logits after token %u differ when fed from %u", to, from);
}

static void test_all_ways_give_the_same_bits(void **state)
{
    for (int tie = 0; tie < 2; tie++) {
        static struct subject s;
        struct session *session;

        subject_init(&s, tie != 0);
        session = open_session(&s);
        for (uint32_t n = 1; n <= LONGEST; n += 11) { /* at once */
            session_reset(session);
            feed(&s, session, 0, n);
        }
        session_reset(session);
        for (uint32_t i = 0; i < LONGEST; i++) /* one by one */
            feed(&s, session, i, i + 1);
        for (uint64_t seed = 1; seed <= 20; seed++) { /* in random pieces */
            uint32_t at = 0;

            session_reset(session);
            for (uint64_t k = 0; at < LONGEST; k++) {
                uint32_t left = LONGEST - at;
                uint32_t n = 1 + (uint32_t)philox_below(seed, PHILOX_TEST, 1, k, left);

                feed(&s, session, at, at + n);
                at += n;
            }
        }
        session_close(session);
        subject_release(&s);
    }
}

/* A model of bf16 weights gives the bits of one whose f32 weights are the same numbers. */
static void test_bf16_weights(void **state)
{
    static struct subject s;
    struct session *session;
    struct llama_config half;
    struct model_param param;
    const float *logits;
    uint8_t *bundle;
    size_t n;

    subject_init(&s, true);
    half = s.c;
    half.storage = DTYPE_BF16;
    /* subject_init ran on the weights as they were; round them and run again */
    for (uint32_t i = 0; i < llama_param_count(&s.c); i++) {
        char name[160];
        float *w;

        llama_param_at(&s.c, NULL, i, &param);
        snprintf(name, sizeof(name), "params/%s", param.name);
        assert_true(shape_count(&param.shape, &n));
        w = pool_get(&s.pool, name, n * 4);
        for (size_t k = 0; k < n; k++)
            w[k] = fn_from_bf16(fn_to_bf16(w[k]));
    }
    {
        struct graph *g;

        ASSERT_OK(llama_graph_forward(&s.c, 1, LONGEST, &g, err));
        pool_run(&s.pool, g, oracle);
        graph_free(g);
    }
    for (uint32_t i = 0; i < llama_param_count(&s.c); i++) {
        char name[160];
        uint16_t *w;

        llama_param_at(&s.c, NULL, i, &param);
        snprintf(name, sizeof(name), "params/%s", param.name);
        assert_true(shape_count(&param.shape, &n));
        w = pool_get(&s.pool, name, n * 4);
        for (size_t k = 0; k < n; k++)
            w[k] = (uint16_t)fn_to_bf16(((const float *)(const void *)w)[k]);
        pool_shrink(&s.pool, name, n * 2);
    }
    bundle = bundle_of(&s.pool, &half, 0, &n);
    ASSERT_OK(session_open(dev, &half, bundle, n, &session, err));
    ASSERT_OK(session_feed(session, s.tokens, 30, &logits, err));
    assert_memory_equal(logits, s.logits + (size_t)29 * s.c.vocab_size, s.c.vocab_size * 4);
    session_close(session);
    free(bundle);
    subject_release(&s);
}

static void test_a_failure_leaves_the_sequence(void **state)
{
    static struct subject s;
    struct session *session;
    const float *logits;
    int32_t bad[2] = {0, 23}, negative = -1;

    subject_init(&s, true);
    session = open_session(&s);
    feed(&s, session, 0, 10);
    ASSERT_FAILS(session_feed(session, bad, 2, &logits, err), EMAC_INVALID, "token 23");
    ASSERT_FAILS(session_feed(session, &negative, 1, &logits, err), EMAC_INVALID, "token -1");
    ASSERT_FAILS(session_feed(session, bad, 0, &logits, err), EMAC_INVALID, "at least one");
    ASSERT_FAILS(session_feed(session, s.tokens, 91, &logits, err), EMAC_TOO_LARGE, "at most 100");
    feed(&s, session, 10, LONGEST);
    ASSERT_OK(session_feed(session, s.tokens, 10, &logits, err));
    ASSERT_FAILS(session_feed(session, s.tokens, 1, &logits, err), EMAC_TOO_LARGE, "at most 100");
    session_close(session);
    subject_release(&s);
}

static void test_two_sessions_share_weights(void **state)
{
    static struct subject s;
    struct session *a, *b;

    subject_init(&s, false);
    a = open_session(&s);
    b = open_session(&s);
    feed(&s, a, 0, 5);
    feed(&s, b, 0, 50);
    feed(&s, a, 5, 6);
    feed(&s, b, 50, 51);
    feed(&s, a, 6, 70);
    session_close(a);
    feed(&s, b, 51, 52);
    session_close(b);
    subject_release(&s);
}

static void test_unaligned_file(void **state)
{
    static struct subject s;
    struct session *session;

    subject_init(&s, true);
    free(s.bundle);
    for (size_t shift = 1; shift < 4; shift++) {
        s.bundle = bundle_of(&s.pool, &s.c, shift, &s.bundle_n);
        ASSERT_OK(session_open(dev, &s.c, s.bundle + shift, s.bundle_n, &session, err));
        feed(&s, session, 0, 4);
        session_close(session);
        free(s.bundle);
    }
    s.bundle = NULL;
    subject_release(&s);
}

#define REFUSED(s, cfg, status, part)                                                              \
    do {                                                                                           \
        struct session *session_;                                                                  \
        ASSERT_FAILS(session_open(dev, (cfg), (s)->bundle, (s)->bundle_n, &session_, err), status, \
                     part);                                                                        \
        assert_null(session_);                                                                     \
    } while (0)

static void test_wrong_weights_are_refused(void **state)
{
    static struct subject s;
    struct llama_config c;
    struct session *session;
    char *dtype;

    subject_init(&s, true);
    c = s.c;
    c.tie_embeddings = false;
    REFUSED(&s, &c, EMAC_INVALID, "'lm_head.weight' is missing");
    c = s.c;
    c.qkv_bias = true;
    REFUSED(&s, &c, EMAC_INVALID, "'model.layers.0.self_attn.k_proj.bias' is missing");
    c = s.c;
    c.layers = 1;
    REFUSED(&s, &c, EMAC_INVALID, "'model.layers.1.input_layernorm.weight' does not belong");
    c = s.c;
    c.hidden_size = 8;
    REFUSED(&s, &c, EMAC_INVALID, "another shape");
    c = s.c;
    c.head_dim = 5;
    REFUSED(&s, &c, EMAC_INVALID, "even");
    ASSERT_FAILS(session_open(dev, &s.c, s.bundle, 5, &session, err), EMAC_CORRUPT, "");
    ASSERT_FAILS(session_open(dev, &s.c, s.bundle, s.bundle_n - 1, &session, err), EMAC_CORRUPT,
                 "");
    dtype = memmem(s.bundle, s.bundle_n, "\"F32\"", 5);
    memcpy(dtype, "\"I32\"", 5);
    REFUSED(&s, &s.c, EMAC_UNSUPPORTED, "is I32");
    subject_release(&s);
}

static void test_weights_that_overflow(void **state)
{
    static struct subject s;
    struct session *session;
    const float *logits;
    float huge = 3e38f;

    subject_init(&s, true);
    for (size_t i = s.bundle_n - 64; i < s.bundle_n; i += 4) /* the last norm */
        memcpy(s.bundle + i, &huge, 4);
    session = open_session(&s);
    ASSERT_FAILS(session_feed(session, s.tokens, 3, &logits, err), EMAC_NUMERIC, "not finite");
    assert_int_equal(session_length(session), 0);
    session_close(session);
    subject_release(&s);
}

/* More rows than go through the layers at once. */
static void test_long_prompt(void **state)
{
    struct llama_config c = {.vocab_size = 5,
                             .hidden_size = 4,
                             .intermediate_size = 4,
                             .layers = 1,
                             .heads = 1,
                             .kv_heads = 1,
                             .head_dim = 4,
                             .max_positions = 2000,
                             .rope_theta = 10000.0,
                             .norm_eps = 1e-5,
                             .tie_embeddings = true};
    static struct pool p;
    struct session *session;
    const float *logits;
    struct graph *g;
    int32_t *tokens;
    uint8_t *bundle;
    size_t n;

    pool_init(&p, &c, 1500, oracle);
    tokens = pool_get(&p, "batch/tokens", 1500 * 4);
    for (uint32_t i = 0; i < 1500; i++)
        tokens[i] = (int32_t)(i * i % 5);
    ASSERT_OK(llama_graph_forward(&c, 1, 1500, &g, err));
    pool_run(&p, g, oracle);
    bundle = bundle_of(&p, &c, 0, &n);
    ASSERT_OK(session_open(dev, &c, bundle, n, &session, err));
    ASSERT_OK(session_feed(session, tokens, 1500, &logits, err));
    assert_memory_equal(logits, (float *)pool_get(&p, "out/logits", 1500 * 5 * 4) + 1499 * 5, 20);
    session_close(session);
    graph_free(g);
    free(bundle);
    pool_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_ways_give_the_same_bits),
        cmocka_unit_test(test_bf16_weights),
        cmocka_unit_test(test_a_failure_leaves_the_sequence),
        cmocka_unit_test(test_two_sessions_share_weights),
        cmocka_unit_test(test_unaligned_file),
        cmocka_unit_test(test_wrong_weights_are_refused),
        cmocka_unit_test(test_weights_that_overflow),
        cmocka_unit_test(test_long_prompt),
    };
    int failed;

    dev = best_device();
    oracle = ref_device();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    device_close(dev);
    device_close(oracle);
    return failed;
}

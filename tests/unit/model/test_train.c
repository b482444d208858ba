/* Training by hand: the graphs of model/ in a loop, as the planners will order them. */
#include <math.h>

#include "compute/fn.h"
#include "fixture.h"
#include "model/optimiser.h"

#define BATCH 4
#define SEQ   12

static struct device *dev;

static float *scalar(struct pool *p, const char *name)
{
    return pool_get(p, name, sizeof(float));
}

/* Sequences that count upwards modulo the vocabulary: easy to learn. */
static void make_batch(struct pool *p, const struct llama_config *c, uint32_t step)
{
    int32_t *tokens = pool_get(p, "batch/tokens", BATCH * SEQ * sizeof(int32_t));
    int32_t *targets = pool_get(p, "batch/targets", BATCH * SEQ * sizeof(int32_t));

    for (uint32_t b = 0; b < BATCH; b++) {
        for (uint32_t t = 0; t < SEQ; t++) {
            uint32_t x = step * 7 + b * 5 + t;

            tokens[b * SEQ + t] = (int32_t)(x % c->vocab_size);
            targets[b * SEQ + t] = (int32_t)((x + 1) % c->vocab_size);
        }
    }
}

static const struct optimiser_recipe recipe = {.lr = 0.02,
                                               .min_lr = 0.002,
                                               .warmup_steps = 3,
                                               .steps = 20,
                                               .beta1 = 0.9,
                                               .beta2 = 0.95,
                                               .eps = 1e-8,
                                               .weight_decay = 0.1,
                                               .clip_norm = 1.0};

static enum emac_status step_graph(const struct llama_config *c, bool clip, struct graph **out,
                                   struct emac_err *err)
{
    const struct llama_model model = {c, NULL};
    const struct model_params params = llama_params(&model);
    struct optimiser_recipe r = recipe;
    if (!clip)
        r.clip_norm = 0;
    return optimiser_graph(&params, &r, out, err);
}

static void check_training(bool tie, bool clip, enum dtype storage)
{
    struct llama_config c = tiny_config(tie);
    struct graph *train, *eval, *update, *mean;
    float first, last = 0;
    static struct pool p;

    c.storage = storage;
    c.qkv_bias = !tie;
    pool_init(&p, &c, SEQ, dev);
    ASSERT_OK(llama_graph_train(&c, BATCH, SEQ, &train, err));
    ASSERT_OK(llama_graph_eval(&c, BATCH, SEQ, &eval, err));
    ASSERT_OK(step_graph(&c, clip, &update, err));
    ASSERT_OK(mean_loss_graph(&mean, err));
    make_batch(&p, &c, 0);
    pool_args(&p, &recipe, 0, 1);
    pool_run(&p, eval, dev);
    pool_run(&p, mean, dev);
    first = *scalar(&p, "metrics/loss");
    for (uint32_t step = 0; step < recipe.steps; step++) {
        float loss;

        make_batch(&p, &c, step);
        pool_run(&p, eval, dev);
        loss = *scalar(&p, "sum/loss");
        pool_run(&p, train, dev);
        assert_memory_equal(&loss, scalar(&p, "sum/loss"), sizeof(loss)); /* the same bits */
        pool_args(&p, &recipe, step, 1);
        pool_run(&p, update, dev);
        last = *scalar(&p, "metrics/loss");
        assert_true(*scalar(&p, "metrics/grad_norm") > 0);
    }
    print_message("# loss %.3f -> %.3f\n", (double)first, (double)last);
    assert_true(last < 0.5f * first);
    graph_free(train);
    graph_free(eval);
    graph_free(update);
    graph_free(mean);
    pool_free(&p);
}

static void test_twenty_steps_lower_the_loss(void **state)
{
    check_training(true, true, DTYPE_F32);
    check_training(false, false, DTYPE_F32);
    check_training(true, true, DTYPE_BF16);
}

/* With bf16 storage the parameters are the rounded f32 weights, after init and after a step. */
static void test_parameters_round_the_weights(void **state)
{
    struct llama_config c = tiny_config(false);
    struct graph *train, *update;
    static struct pool p;

    c.storage = DTYPE_BF16;
    pool_init(&p, &c, SEQ, dev);
    ASSERT_OK(llama_graph_train(&c, BATCH, SEQ, &train, err));
    ASSERT_OK(step_graph(&c, true, &update, err));
    make_batch(&p, &c, 0);
    pool_args(&p, &recipe, 0, 1);
    for (int step = 0; step < 2; step++) {
        for (uint32_t i = 0; i < llama_param_count(&c); i++) {
            struct model_param param;
            char name[160];
            const uint16_t *half;
            const float *w;
            size_t n;

            llama_param_at(&c, NULL, i, &param);
            assert_true(shape_count(&param.shape, &n));
            snprintf(name, sizeof(name), "params/%s", param.name);
            half = pool_get(&p, name, n * 2);
            snprintf(name, sizeof(name), "opt/w.%s", param.name);
            w = pool_get(&p, name, n * 4);
            for (size_t k = 0; k < n; k++)
                assert_int_equal(half[k], fn_to_bf16(w[k]));
        }
        pool_run(&p, train, dev);
        pool_run(&p, update, dev);
    }
    graph_free(train);
    graph_free(update);
    pool_free(&p);
}

/* What is kept for the backward pass takes about half the memory. */
static void test_bf16_halves_the_memory(void **state)
{
    struct llama_config c = tiny_config(true);
    size_t bytes[2];

    c.layers = 24;
    c.max_positions = 256;
    for (int i = 0; i < 2; i++) {
        struct graph_plan *plan;
        struct graph *g;

        c.storage = i == 0 ? DTYPE_F32 : DTYPE_BF16;
        ASSERT_OK(llama_graph_train(&c, 8, 256, &g, err));
        ASSERT_OK(graph_plan_new(g, &plan, err));
        bytes[i] = graph_plan_bytes(plan);
        graph_plan_free(plan);
        graph_free(g);
    }
    print_message("# intermediate values: %zu bytes in f32, %zu in bf16\n", bytes[0], bytes[1]);
    assert_true((double)bytes[1] < 0.6 * (double)bytes[0]);
}

/* Norm and clipping against binary64 arithmetic over all gradients. */
static void test_norm_and_clipping(void **state)
{
    struct llama_config c = tiny_config(false);
    struct graph *train, *update;
    static struct pool p;
    double total = 0, scale;

    pool_init(&p, &c, SEQ, dev);
    make_batch(&p, &c, 0);
    ASSERT_OK(llama_graph_train(&c, BATCH, SEQ, &train, err));
    ASSERT_OK(step_graph(&c, true, &update, err));
    pool_run(&p, train, dev);
    for (uint32_t i = 0; i < p.count; i++) {
        const float *g = p.item[i].data;

        if (strncmp(p.item[i].name, "sum/grad.", 9) != 0)
            continue;
        for (size_t k = 0; k < p.item[i].bytes / 4; k++)
            total += (double)g[k] * (double)g[k];
    }
    pool_args(&p, &recipe, 0, 4);
    *scalar(&p, "args/clip") = 0.01f;
    pool_run(&p, update, dev);
    assert_true(fabs(*scalar(&p, "metrics/grad_norm") / (sqrt(total) * 0.25) - 1) < 1e-5);
    /* The first moment after the first step is (1 - beta1) * scaled gradient. */
    scale = 0.25 * 0.01 / (sqrt(total) * 0.25 + 1e-6) * (1.0 - (double)0.9f);
    {
        const float *g = pool_get(&p, "sum/grad.model.norm.weight", 64);
        const float *m = pool_get(&p, "opt/m.model.norm.weight", 64);

        for (int k = 0; k < 16; k++)
            assert_true(fabs(m[k] - g[k] * scale) <= 1e-5 * fabs(g[k] * scale) + 1e-12);
    }
    graph_free(train);
    graph_free(update);
    pool_free(&p);
}

/* The gradient of a mean loss over a micro-batch of 2B sequences is the mean of those over its
 * halves. */
static void test_loss_and_gradient_are_means(void **state)
{
    struct llama_config c = tiny_config(true);
    struct graph *whole, *half;
    static struct pool p, q;
    float sum[16] = {0}, loss = 0;

    pool_init(&p, &c, SEQ, dev);
    pool_init(&q, &c, SEQ, dev);
    make_batch(&p, &c, 3);
    ASSERT_OK(llama_graph_train(&c, BATCH, SEQ, &whole, err));
    ASSERT_OK(llama_graph_train(&c, BATCH / 2, SEQ, &half, err));
    pool_run(&p, whole, dev);
    for (size_t k = 0; k < 2; k++) {
        static const char *const name[] = {"batch/tokens", "batch/targets"};

        for (size_t i = 0; i < 2; i++)
            memcpy(pool_get(&q, name[i], BATCH / 2 * SEQ * 4),
                   (int32_t *)pool_get(&p, name[i], BATCH * SEQ * 4) + k * BATCH / 2 * SEQ,
                   BATCH / 2 * SEQ * 4);
        pool_run(&q, half, dev);
        loss += *scalar(&q, "sum/loss") / 2;
        for (int i = 0; i < 16; i++)
            sum[i] += ((float *)pool_get(&q, "sum/grad.model.norm.weight", 64))[i] / 2;
    }
    assert_true(fabsf(loss - *scalar(&p, "sum/loss")) < 1e-5f);
    for (int i = 0; i < 16; i++)
        assert_true(fabsf(sum[i] - ((float *)pool_get(&p, "sum/grad.model.norm.weight", 64))[i]) <
                    1e-5f);
    graph_free(whole);
    graph_free(half);
    pool_free(&p);
    pool_free(&q);
}

static void test_initial_values(void **state)
{
    const struct llama_init init = {0.3, 0.1, 0};
    struct llama_config c = tiny_config(true);
    static struct pool p;
    struct graph *g;

    c.vocab_size = 400;
    ASSERT_OK(llama_graph_init(&c, &init, 1, &adamw, &g, err));
    p.count = 0;
    pool_run(&p, g, dev);
    for (uint32_t i = 0; i < llama_param_count(&c); i++) {
        struct model_param param;
        double square = 0;
        char name[160];
        const float *w, *m;
        size_t n;

        llama_param_at(&c, &init, i, &param);
        assert_true(shape_count(&param.shape, &n));
        snprintf(name, sizeof(name), "params/%s", param.name);
        w = pool_get(&p, name, n * 4);
        snprintf(name, sizeof(name), "opt/m.%s", param.name);
        m = pool_get(&p, name, n * 4);
        for (size_t k = 0; k < n; k++) {
            square += (double)w[k] * (double)w[k];
            assert_true(m[k] == 0.0f);
            assert_true(param.init_std > 0 || w[k] == 1.0f);
        }
        if (param.init_std > 0)
            assert_true(fabs(sqrt(square / (double)n) / param.init_std - 1) < 0.2);
    }
    graph_free(g);
    pool_free(&p);
}

static const float *arg_of(const struct optimiser_args *a, const char *name, uint32_t width)
{
    for (uint32_t i = 0; i < a->count; i++) {
        if (strcmp(a->arg[i].name, name) == 0) {
            assert_int_equal(a->arg[i].width, width);
            return a->arg[i].value;
        }
    }
    fail_msg("no argument '%s'", name);
    return NULL;
}

static void test_schedule(void **state)
{
    struct optimiser_recipe r = recipe;
    struct optimiser_args a;

    r.warmup_steps = 10;
    r.steps = 110;
    assert_true(fabs(optimiser_lr(&r, 0) - 0.002) < 1e-15);
    assert_true(fabs(optimiser_lr(&r, 9) - 0.02) < 1e-15);
    assert_true(fabs(optimiser_lr(&r, 10) - 0.02) < 1e-15);
    assert_true(fabs(optimiser_lr(&r, 60) - 0.011) < 1e-15);
    assert_true(fabs(optimiser_lr(&r, 35) - (0.002 + 0.009 * (1 + sqrt(0.5)))) < 1e-14);
    assert_true(optimiser_lr(&r, 110) == 0.002 && optimiser_lr(&r, UINT32_MAX) == 0.002);
    r.warmup_steps = 0;
    assert_true(fabs(optimiser_lr(&r, 0) - 0.02) < 1e-15);
    r.warmup_steps = r.steps = 5;
    assert_true(fabs(optimiser_lr(&r, 4) - 0.02) < 1e-15 && optimiser_lr(&r, 5) == 0.002);
    optimiser_args(&recipe, 0, 4, &a);
    const float *clip = arg_of(&a, "clip", 1), *count_inv = arg_of(&a, "count_inv", 1);
    const float *h = arg_of(&a, "hyper", 8), *nodecay = arg_of(&a, "hyper_nodecay", 8);
    assert_true(*clip == 1.0f && *count_inv == 0.25f);
    assert_true(h[1] == 0.9f && h[2] == 0.95f && h[3] == 1e-8f && h[4] == 0.1f && h[7] == 0);
    assert_true(fabsf(h[5] - 10.0f) < 1e-5f && fabsf(h[6] - 20.0f) < 1e-5f);
    assert_true(nodecay[4] == 0 && nodecay[5] == h[5]);
    optimiser_args(&recipe, 1, 4, &a);
    assert_true(fabs(h[5] - 1 / (1 - 0.81)) < 1e-5);
    optimiser_args(&recipe, 1000000, 4, &a);
    assert_true(h[5] == 1.0f && h[6] == 1.0f);
}

static void test_rotary_tables(void **state)
{
    struct llama_config c = tiny_config(true);
    float cos_[300], sin_[300];

    llama_rope_tables(&c, 100, cos_, sin_);
    for (int t = 0; t < 100; t++) {
        for (int j = 0; j < 3; j++) {
            double angle = t * pow(10000.0, -2.0 * j / 6);

            assert_true(fabs(cos_[t * 3 + j] - cos(angle)) < 6e-8);
            assert_true(fabs(sin_[t * 3 + j] - sin(angle)) < 6e-8);
        }
    }
}

static void test_bad_batches(void **state)
{
    struct llama_config c = tiny_config(true);
    const struct llama_init none = {0, 0.1, 0}, negative = {0.1, 0.1, -0.1};
    struct graph *g;

    ASSERT_FAILS(llama_graph_train(&c, 0, 4, &g, err), EMAC_INVALID, "micro-batch");
    ASSERT_FAILS(llama_graph_eval(&c, 1, 0, &g, err), EMAC_INVALID, "micro-batch");
    ASSERT_FAILS(llama_graph_forward(&c, 1, 101, &g, err), EMAC_INVALID, "1 to 100 tokens");
    ASSERT_FAILS(llama_graph_forward(&c, UINT32_MAX, 2, &g, err), EMAC_INVALID, "micro-batch");
    ASSERT_FAILS(llama_graph_init(&c, &none, 1, &adamw, &g, err), EMAC_INVALID, "must be positive");
    ASSERT_FAILS(llama_graph_init(&c, &negative, 1, &adamw, &g, err), EMAC_INVALID,
                 "must be positive");
    assert_null(g);
    c.heads = 0;
    ASSERT_FAILS(llama_graph_train(&c, 1, 4, &g, err), EMAC_INVALID, "num_attention_heads");
    ASSERT_FAILS(llama_graph_init(&c, &none, 1, &adamw, &g, err), EMAC_INVALID,
                 "num_attention_heads");
}

/* The largest models still fit in the limits of a graph. */
static void test_many_layers(void **state)
{
    const struct llama_init init = {0.1, 0.1, 0};
    struct llama_config c = tiny_config(true);
    struct graph *g;

    c.layers = LLAMA_LAYERS_MAX;
    ASSERT_OK(llama_graph_train(&c, 1, 4, &g, err));
    graph_free(g);
    ASSERT_OK(step_graph(&c, true, &g, err));
    graph_free(g);
    ASSERT_OK(llama_graph_init(&c, &init, 1, &adamw, &g, err));
    graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_twenty_steps_lower_the_loss),
        cmocka_unit_test(test_parameters_round_the_weights),
        cmocka_unit_test(test_bf16_halves_the_memory),
        cmocka_unit_test(test_norm_and_clipping),
        cmocka_unit_test(test_loss_and_gradient_are_means),
        cmocka_unit_test(test_initial_values),
        cmocka_unit_test(test_schedule),
        cmocka_unit_test(test_rotary_tables),
        cmocka_unit_test(test_bad_batches),
        cmocka_unit_test(test_many_layers),
    };
    int failed;

    dev = ref_device();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    device_close(dev);
    return failed;
}

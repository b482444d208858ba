/* Classifiers: their parameters, that their gradients are those of the loss, that they learn. */
#include "fixture.h"

#include <math.h>

#include "base/assert.h"
#include "base/philox.h"
#include "model/classifier.h"
#include "model/optimiser.h"

#define BATCH 6

static struct device *dev;

static struct classifier_config small_cnn(void)
{
    return (struct classifier_config){.height = 6,
                                      .width = 7,
                                      .channels = 2,
                                      .classes = 3,
                                      .stages = 2,
                                      .filters = 2,
                                      .kernel = 3,
                                      .layers = 1,
                                      .hidden_size = 5};
}

static void test_parameters(void **state)
{
    static const struct {
        const char *name;
        struct shape shape;
        double variance; /* 0: a bias */
    } WANT[] = {
        {"conv.0.bias", {1, {2}}, 0},  {"conv.0.weight", {4, {2, 3, 3, 2}}, 2.0 / 18},
        {"conv.1.bias", {1, {4}}, 0},  {"conv.1.weight", {4, {4, 3, 3, 2}}, 2.0 / 18},
        {"dense.0.bias", {1, {5}}, 0}, {"dense.0.weight", {2, {5, 4}}, 2.0 / 4},
        {"dense.1.bias", {1, {3}}, 0}, {"dense.1.weight", {2, {3, 5}}, 2.0 / 5},
    };
    struct classifier_config c = small_cnn();
    struct model_params params = classifier_params(&c);
    struct model_param p, before = {{0}};
    uint64_t total = 0;
    assert_int_equal(params.count, EMAC_COUNT(WANT));
    for (uint32_t i = 0; i < params.count; i++) {
        size_t n;
        params.at(params.config, i, &p);
        assert_string_equal(p.name, WANT[i].name);
        assert_true(strcmp(before.name, p.name) < 0);
        assert_true(shape_equal(&p.shape, &WANT[i].shape));
        assert_true(fabs(p.init_std * p.init_std - WANT[i].variance) < 1e-12);
        assert_true(p.init_fill == 0 && p.decay == (WANT[i].variance != 0));
        assert_true(shape_count(&p.shape, &n));
        total += n;
        before = p;
    }
    assert_int_equal(classifier_param_elements(&c), total);
    c.stages = 0;
    params = classifier_params(&c);
    assert_int_equal(params.count, 4);
    params.at(params.config, 1, &p);
    assert_int_equal(p.shape.dim[1], 6 * 7 * 2);
}

static void test_sizes_are_checked(void **state)
{
    struct emac_err err = {0};
#define BAD(change, says)                                                                          \
    do {                                                                                           \
        struct classifier_config c = small_cnn();                                                  \
        change;                                                                                    \
        assert_int_equal(classifier_check(&c, &err), EMAC_INVALID);                                \
        assert_non_null(strstr(err.text, says));                                                   \
    } while (0)
    BAD(c.height = 0, "height must be from 1");
    BAD(c.channels = 5000, "channels must be from");
    BAD((c.height = c.width = 4096, c.channels = 1), "numbers of a record");
    BAD(c.classes = 1, "classes must be from 2");
    BAD(c.stages = 7, "stages must be from 0 to 6");
    BAD(c.stages = 3, "too small for 3 stages");
    BAD(c.filters = 0, "filters must be from 1");
    BAD(c.kernel = 4, "kernel must be odd");
    BAD(c.layers = 9, "layers must be from 0 to 8");
    BAD(c.hidden_size = 0, "hidden_size must be from 1");
#undef BAD
}

static void run(struct pool *p, struct graph *g)
{
    pool_run(p, g, dev);
}

/* Class k has a bright column k. */
static void batch_make(struct pool *p, const struct classifier_config *c, uint32_t step)
{
    size_t each = (size_t)c->height * c->width * c->channels;
    float *x = pool_get(p, "batch/inputs", BATCH * each * sizeof *x);
    int32_t *t = pool_get(p, "batch/targets", BATCH * sizeof *t);
    for (uint32_t b = 0; b < BATCH; b++) {
        t[b] = (int32_t)philox_below(1, PHILOX_TEST, step, b, c->classes);
        for (size_t i = 0; i < each; i++) {
            uint64_t noise = philox_below(2, PHILOX_TEST, step, b * each + i, 1000);
            bool bright = i / c->channels % c->width == 2 * (size_t)t[b];
            x[b * each + i] = (float)noise * 0.001f - 0.5f + (bright ? 1.0f : 0.0f);
        }
    }
}

static void pool_start(struct pool *p, const struct classifier_config *c)
{
    const struct model_params params = classifier_params(c);
    struct graph *g;
    p->count = 0;
    ASSERT_OK(model_graph_init(&params, 5, &adamw, &g, err));
    run(p, g);
    graph_free(g);
    batch_make(p, c, 0);
}

static double loss_of(struct pool *p, struct graph *eval)
{
    run(p, eval);
    return (double)*(float *)pool_get(p, "sum/loss", sizeof(float));
}

/* Central differences of the loss, along a few weights of each parameter. */
static void check_gradients(struct classifier_config c)
{
    const struct model_params params = classifier_params(&c);
    static struct pool p;
    struct graph *train, *eval;
    pool_start(&p, &c);
    ASSERT_OK(classifier_graph_train(&c, BATCH, &train, err));
    ASSERT_OK(classifier_graph_eval(&c, BATCH, &eval, err));
    run(&p, train);
    float trained = *(float *)pool_get(&p, "sum/loss", sizeof trained);
    assert_true((float)loss_of(&p, eval) == trained);
    for (uint32_t i = 0; i < params.count; i++) {
        struct model_param q;
        char name[160];
        size_t n;
        params.at(params.config, i, &q);
        assert_true(shape_count(&q.shape, &n));
        snprintf(name, sizeof name, "sum/grad.%s", q.name);
        const float *grad = pool_get(&p, name, n * sizeof *grad);
        snprintf(name, sizeof name, "params/%s", q.name);
        float *w = pool_get(&p, name, n * sizeof *w);
        for (size_t k = 0; k < n; k += n / 3 + 1) {
            const float h = 1.0f / 256, was = w[k];
            w[k] = was + h;
            double up = loss_of(&p, eval);
            w[k] = was - h;
            double slope = (up - loss_of(&p, eval)) / (2.0 * (double)h);
            w[k] = was;
            /* a step over the kink of a relu or a pool shows as a larger error */
            if (fabs(slope - (double)grad[k]) > 0.02 * fabs(slope) + 0.01)
                fail_msg("%s[%zu]: %g, by differences %g", q.name, k, (double)grad[k], slope);
        }
    }
    graph_free(train);
    graph_free(eval);
    pool_free(&p);
}

static void test_gradients(void **state)
{
    struct classifier_config c = small_cnn();
    check_gradients(c);
    c.stages = 0;
    check_gradients(c);
    c.layers = 0;
    check_gradients(c);
}

static void test_it_learns(void **state)
{
    const struct optimiser_recipe r = {.lr = 0.02,
                                       .min_lr = 0.002,
                                       .steps = 60,
                                       .beta1 = 0.9,
                                       .beta2 = 0.99,
                                       .eps = 1e-8,
                                       .clip_norm = 1};
    struct classifier_config c = small_cnn();
    const struct model_params params = classifier_params(&c);
    static struct pool p;
    struct graph *train, *eval, *update, *score;
    float right = 0;
    pool_start(&p, &c);
    ASSERT_OK(classifier_graph_train(&c, BATCH, &train, err));
    ASSERT_OK(classifier_graph_eval(&c, BATCH, &eval, err));
    ASSERT_OK(classifier_graph_score(BATCH, &score, err));
    ASSERT_OK(optimiser_graph(&params, &r, &update, err));
    for (uint32_t step = 0; step < r.steps; step++) {
        batch_make(&p, &c, step);
        run(&p, train);
        pool_args(&p, &r, step, 1);
        run(&p, update);
    }
    for (uint32_t step = 100; step < 110; step++) {
        batch_make(&p, &c, step);
        run(&p, eval);
        float here = *(float *)pool_get(&p, "sum/correct", sizeof here);
        run(&p, score);
        float share = *(float *)pool_get(&p, "metrics/accuracy", sizeof share);
        assert_true(fabsf(share - here / BATCH) < 1e-6f);
        right += here;
    }
    print_message("# %g of %d right\n", (double)right, 10 * BATCH);
    assert_true(right > 0.9f * 10 * BATCH);
    graph_free(train);
    graph_free(eval);
    graph_free(update);
    graph_free(score);
    pool_free(&p);
}

static void test_config_as_json(void **state)
{
    struct classifier_config c = small_cnn(), back;
    json_t *root = classifier_config_json(&c);
    ASSERT_OK(classifier_config_read(&back, root, err));
    assert_memory_equal(&c, &back, sizeof c);
    json_object_set_new(root, "kernel", json_integer(2));
    ASSERT_FAILS(classifier_config_read(&back, root, err), EMAC_INVALID, "kernel must be odd");
    json_object_set_new(root, "kernel", json_string("3"));
    ASSERT_FAILS(classifier_config_read(&back, root, err), EMAC_INVALID, "'kernel'");
    json_object_del(root, "width");
    ASSERT_FAILS(classifier_config_read(&back, root, err), EMAC_INVALID, "'width'");
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameters),     cmocka_unit_test(test_sizes_are_checked),
        cmocka_unit_test(test_gradients),      cmocka_unit_test(test_it_learns),
        cmocka_unit_test(test_config_as_json),
    };
    if (device_cpu_open(ISA_BEST, 1, &dev, NULL) != EMAC_OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    device_close(dev);
    return failed;
}

/* Models in stages: the same bits as whole, gradient by gradient and step by step. */
#include "fixture.h"

#include "graph/stages.h"
#include "model/classifier.h"
#include "model/optimiser.h"
#include "model/tune.h"

#define BATCH 3
#define SEQ   8

static struct device *dev;

static const struct optimiser_recipe recipe = {.lr = 0.02,
                                               .min_lr = 0.002,
                                               .warmup_steps = 1,
                                               .steps = 4,
                                               .beta1 = 0.9,
                                               .beta2 = 0.95,
                                               .eps = 1e-8,
                                               .weight_decay = 0.1,
                                               .clip_norm = 0.05};

/* The graphs of a whole model. */
struct whole {
    const char *what;
    struct graph *init, *train, *step, *eval;
    struct graph *base; /* makes the weights of its base; NULL: from scratch */
    size_t tokens;      /* numbers of "batch/tokens" or records of "batch/inputs" */
    size_t features;    /* of a record; 0: tokens */
    uint32_t classes;
};

static void whole_free(struct whole *w)
{
    graph_free(w->init);
    graph_free(w->train);
    graph_free(w->step);
    graph_free(w->eval);
    graph_free(w->base);
}

static struct whole llama(bool tie, enum dtype storage, bool clip)
{
    const struct llama_init init = {0.3, 0.3, 0};
    struct llama_config c = tiny_config(tie);
    struct optimiser_recipe r = recipe;
    const struct llama_model model = {&c, NULL};
    struct whole w = {.what = tie ? "tied llama" : "llama", .tokens = BATCH * SEQ};
    c.layers = 4;
    c.storage = storage;
    c.qkv_bias = !tie;
    r.clip_norm = clip ? r.clip_norm : 0;
    w.classes = c.vocab_size;
    const struct model_params params = llama_params(&model);
    ASSERT_OK(llama_graph_init(&c, &init, 42, &adamw, &w.init, err));
    ASSERT_OK(llama_graph_train(&c, BATCH, SEQ, &w.train, err));
    ASSERT_OK(llama_graph_eval(&c, BATCH, SEQ, &w.eval, err));
    ASSERT_OK(optimiser_graph(&params, &r, &w.step, err));
    return w;
}

static const struct tune LORA = {.kind = TUNE_LORA,
                                 .rank = 3,
                                 .alpha = 5,
                                 .targets = 1u << TUNE_Q | 1u << TUNE_V},
                         HEAD = {.kind = TUNE_HEAD, .layers = 1};

/* A llama that starts from another's weights, of which most stay as they are. */
static struct whole tuned(bool tie, const struct tune *t)
{
    const struct llama_init init = {0.3, 0.3, 0};
    struct llama_config c = tiny_config(tie);
    struct whole w = {.what = tune_kind_name(t->kind), .tokens = BATCH * SEQ};
    struct llama_model model = {&c, &init};
    struct tuned trained;
    c.layers = 4;
    w.classes = c.vocab_size;
    const struct model_params whole = llama_params(&model);
    ASSERT_OK(llama_graph_init(&c, &init, 42, &adamw, &w.base, err));
    ASSERT_OK(tuned_init(&trained, &whole, t, err));
    ASSERT_OK(model_graph_init(&trained.trained, 43, &adamw, &w.init, err));
    ASSERT_OK(optimiser_graph(&trained.trained, &recipe, &w.step, err));
    ASSERT_OK(llama_tuned_train(&c, t, BATCH, SEQ, &w.train, err));
    ASSERT_OK(llama_tuned_eval(&c, t, BATCH, SEQ, &w.eval, err));
    tuned_release(&trained);
    return w;
}

/* The base's weights, as bundle `name`. */
static void base_make(struct pool *p, const struct whole *w, const char *name)
{
    static struct pool base;
    if (w->base == NULL)
        return;
    pool_run(&base, w->base, dev);
    for (uint32_t i = 0; i < base.count; i++) {
        const struct pool_item *x = &base.item[i];
        char port[GRAPH_NAME_MAX];
        if (strncmp(x->name, "params/", 7) != 0)
            continue;
        snprintf(port, sizeof port, "%s/%s", name, x->name + 7);
        memcpy(pool_get(p, port, x->bytes), x->data, x->bytes);
    }
    pool_free(&base);
}

static struct whole classifier(uint32_t conv)
{
    const struct classifier_config c = {.height = 8,
                                        .width = 8,
                                        .channels = 2,
                                        .classes = 5,
                                        .stages = conv,
                                        .filters = 3,
                                        .kernel = 3,
                                        .layers = 2,
                                        .hidden_size = 7};
    const struct model_params params = classifier_params(&c);
    struct whole w = {.what = conv ? "cnn" : "mlp", .tokens = BATCH, .features = 128, .classes = 5};
    ASSERT_OK(model_graph_init(&params, 42, &adamw, &w.init, err));
    ASSERT_OK(classifier_graph_train(&c, BATCH, &w.train, err));
    ASSERT_OK(classifier_graph_eval(&c, BATCH, &w.eval, err));
    ASSERT_OK(optimiser_graph(&params, &recipe, &w.step, err));
    return w;
}

static void tables_make(struct pool *p)
{
    const struct llama_config c = tiny_config(true);
    size_t table = SEQ * (size_t)c.head_dim / 2 * sizeof(float);
    llama_rope_tables(&c, SEQ, pool_get(p, "tables/cos", table), pool_get(p, "tables/sin", table));
}

static void batch_make(struct pool *p, const struct whole *w, uint32_t step)
{
    int32_t *targets = pool_get(p, "batch/targets", w->tokens * sizeof(int32_t));
    for (uint32_t i = 0; i < w->tokens; i++)
        targets[i] = (int32_t)((i * 5 + step * 3 + 1) % w->classes);
    if (w->features == 0) {
        int32_t *tokens = pool_get(p, "batch/tokens", w->tokens * sizeof(int32_t));
        for (uint32_t i = 0; i < w->tokens; i++)
            tokens[i] = (int32_t)((i * 5 + step * 3) % w->classes);
        return;
    }
    float *x = pool_get(p, "batch/inputs", w->tokens * w->features * sizeof(float));
    for (uint32_t i = 0; i < w->tokens * w->features; i++)
        x[i] = (float)((i * 37 + step * 11) % 64) / 32.0f - 1.0f;
}

typedef enum emac_status make_fn(const struct stages *, const struct graph *, uint32_t,
                                 struct graph **, struct emac_err *);

static enum emac_status stage_begin(const struct stages *st, const struct graph *init, uint32_t s,
                                    struct graph **out, struct emac_err *e)
{
    enum emac_status status = stage_init(st, init, s, out, e);
    if (status == EMAC_OK)
        stage_init_freeze(st, s, *out);
    return status == EMAC_OK ? graph_status(*out, e) : status;
}

static void one_stage(struct pool *p, const struct stages *st, make_fn *make,
                      const struct graph *whole, uint32_t s)
{
    struct graph *g;
    ASSERT_OK(make(st, whole, s, &g, err));
    if (graph_output_count(g) > 0)
        pool_run(p, g, dev);
    graph_free(g);
}

static void each_stage(struct pool *p, const struct stages *st, make_fn *make,
                       const struct graph *whole, uint32_t count)
{
    for (uint32_t s = 0; s < count; s++)
        one_stage(p, st, make, whole, s);
}

static void join_run(struct pool *p, const struct stages *st, const struct whole *w)
{
    struct graph *g;
    ASSERT_OK(stages_join(st, w->init, &g, err));
    pool_run(p, g, dev);
    graph_free(g);
}

/* Everything of `whole` named prefix... is in `staged` with the same bytes, if need be in a bundle
 * of some stage. */
static void check_same(struct pool *whole, struct pool *staged, const char *prefix,
                       const char *what, uint32_t stages)
{
    for (uint32_t i = 0; i < whole->count; i++) {
        const struct pool_item *a = &whole->item[i], *b = NULL;
        if (strncmp(a->name, prefix, strlen(prefix)) != 0)
            continue;
        for (uint32_t k = 0; k < staged->count; k++) {
            const char *x = a->name, *y = staged->item[k].name;
            const char *tail = strchr(x, '/');
            size_t bundle = (size_t)(tail - x);
            bool same = strcmp(x, y) == 0 || (strncmp(x, y, bundle) == 0 && y[bundle] == '.' &&
                                              strcmp(strchr(y, '/'), tail) == 0);
            b = same ? &staged->item[k] : b;
        }
        if (b == NULL || a->bytes != b->bytes || memcmp(a->data, b->data, a->bytes) != 0)
            fail_msg("%s in %u stages: '%s' %s", what, stages, a->name,
                     b == NULL ? "is missing" : "differs");
    }
}

/* One optimiser step by stages: forward up, backward down. */
static void staged_step(struct pool *p, const struct stages *st, const struct whole *w)
{
    uint32_t last = st->count - 1;
    each_stage(p, st, stage_forward, w->train, last);
    for (uint32_t s = st->count; s-- > 0;)
        one_stage(p, st, stage_backward, w->train, s);
    each_stage(p, st, stage_reduce, w->step, st->count);
    each_stage(p, st, stage_step, w->step, st->count);
}

static void check_stages(struct whole *w, uint32_t count, const uint32_t *share)
{
    static struct pool a, b;
    struct stages st;
    a.count = b.count = 0;
    ASSERT_OK(stages_plan(w->train, count, STAGE_F32, share, &st, err));
    base_make(&a, w, "base");
    base_make(&b, w, "whole");
    pool_run(&a, w->init, dev);
    each_stage(&b, &st, stage_begin, w->init, count);
    join_run(&b, &st, w);
    check_same(&a, &b, "params/", w->what, count);
    check_same(&a, &b, "opt/", w->what, count);
    tables_make(&a);
    tables_make(&b);
    for (uint32_t step = 0; step < recipe.steps; step++) {
        batch_make(&a, w, step);
        batch_make(&b, w, step);
        pool_args(&a, &recipe, step, 1);
        pool_args(&b, &recipe, step, 1);
        pool_run(&a, w->train, dev);
        pool_run(&a, w->step, dev);
        staged_step(&b, &st, w);
        join_run(&b, &st, w);
        check_same(&a, &b, "sum/", w->what, count);
        check_same(&a, &b, "params/", w->what, count);
        check_same(&a, &b, "opt/", w->what, count);
        check_same(&a, &b, "metrics/", w->what, count);
    }
    pool_run(&a, w->eval, dev);
    each_stage(&b, &st, stage_forward, w->eval, count);
    check_same(&a, &b, "sum/", w->what, count);
    stages_release(&st);
    pool_free(&a);
    pool_free(&b);
}

static void check_model(struct whole w, uint32_t most)
{
    for (uint32_t count = 1; count <= most; count++)
        check_stages(&w, count, NULL);
    whole_free(&w);
}

static void test_bits_of_the_whole(void **state)
{
    check_model(llama(true, DTYPE_F32, true), 6);
    check_model(llama(false, DTYPE_F32, false), 6);
    check_model(llama(true, DTYPE_BF16, true), 3);
    check_model(classifier(0), 3);
    check_model(classifier(2), 5);
    check_model(tuned(true, &LORA), 6);
    check_model(tuned(false, &HEAD), 6);
    check_model(tuned(true, &HEAD), 3);
}

/* Wherever it is cut. */
static void test_bits_of_the_whole_with_shares(void **state)
{
    static const uint32_t SHARES[][3] = {{4, 2, 1}, {1, 1, 6}, {1, 1000, 1}};
    for (size_t i = 0; i < sizeof SHARES / sizeof SHARES[0]; i++) {
        struct whole w = llama(true, DTYPE_F32, true);
        check_stages(&w, 3, SHARES[i]);
        whole_free(&w);
    }
}

/* Between stages go one activation up and one gradient down; a tied embedding adds what the last
 * stage has to say about it. */
static uint32_t ports_of(const struct graph *g, bool outputs, const char *bundle)
{
    uint32_t n = 0, all = outputs ? graph_output_count(g) : graph_input_count(g);
    for (uint32_t i = 0; i < all; i++) {
        const char *name = outputs ? graph_output_at(g, i).name : graph_input_at(g, i).name;
        n += strncmp(name, bundle, strlen(bundle)) == 0;
    }
    return n;
}

static void test_little_goes_between(void **state)
{
    struct whole w = llama(true, DTYPE_F32, true);
    struct stages st;
    struct graph *g;
    ASSERT_OK(stages_plan(w.train, 3, STAGE_F32, NULL, &st, err));
    for (uint32_t s = 0; s < 3; s++) {
        ASSERT_OK(stage_forward(&st, w.train, s, &g, err));
        assert_int_equal(ports_of(g, true, "act."), s < 2 ? 1 : 0);
        assert_int_equal(ports_of(g, false, "act."), s > 0 ? 1 : 0);
        graph_free(g);
        ASSERT_OK(stage_backward(&st, w.train, s, &g, err));
        assert_int_equal(ports_of(g, true, "back."), s == 2 ? 2 : s);
        assert_int_equal(ports_of(g, false, "back."), s == 0 ? 2 : 1 - s / 2);
        assert_int_equal(ports_of(g, false, "shared.0/"), s == 1 ? 0 : 1);
        graph_free(g);
    }
    assert_int_equal(ports_of(w.train, false, "params/"), st.weights);
    for (uint32_t s = 0; s < 3; s++) {
        ASSERT_OK(stage_reduce(&st, w.step, s, &g, err));
        for (uint32_t i = 0; i < graph_output_count(g); i++) {
            struct graph_port port = graph_output_at(g, i);
            if (strncmp(port.name, "squares.", 8) == 0)
                assert_true(port.shape.rank == 1 && port.shape.dim[0] == 1);
        }
        assert_true(ports_of(g, true, "squares.") > 0);
        graph_free(g);
    }
    stages_release(&st);
    whole_free(&w);
}

static uint32_t backward_ports(const struct stages *st, const struct whole *w, uint32_t s,
                               const char *bundle)
{
    struct graph *g;
    ASSERT_OK(stage_backward(st, w->train, s, &g, err));
    uint32_t n = ports_of(g, true, bundle);
    graph_free(g);
    return n;
}

/* Before the first trained weight nothing goes back, and what is frozen has neither gradient nor
 * optimiser state. */
static void test_nothing_goes_back_to_what_is_frozen(void **state)
{
    struct whole w = tuned(false, &HEAD);
    struct stages st;
    struct graph *g;
    uint32_t kept = 0;
    ASSERT_OK(stages_plan(w.train, 4, STAGE_F32, NULL, &st, err));
    for (uint32_t s = 0; s < 4; s++) {
        bool last = s == 3; /* the head is the last of four layers */
        ASSERT_OK(stage_begin(&st, w.init, s, &g, err));
        uint32_t frozen = 0;
        for (uint32_t i = 0; i < graph_output_count(g); i++)
            frozen += stage_bundle_is_frozen(graph_output_at(g, i).name);
        assert_int_equal(frozen, ports_of(g, true, "frozen."));
        kept += frozen;
        assert_int_equal(ports_of(g, true, "params.") > 0, last);
        assert_int_equal(ports_of(g, true, "opt.") > 0, last);
        graph_free(g);
        assert_int_equal(backward_ports(&st, &w, s, "back."), 0);
        assert_int_equal(backward_ports(&st, &w, s, "sum/") > 0, last);
        ASSERT_OK(stage_reduce(&st, w.step, s, &g, err));
        assert_int_equal(graph_output_count(g) > 0, last);
        graph_free(g);
        ASSERT_OK(stage_step(&st, w.step, s, &g, err));
        assert_int_equal(graph_output_count(g) > 0, last);
        graph_free(g);
    }
    assert_int_equal(kept, st.frozens);
    stages_release(&st);
    whole_free(&w);

    w = tuned(false, &LORA); /* an adapter in each layer: to the first, but not past it */
    ASSERT_OK(stages_plan(w.train, 4, STAGE_F32, NULL, &st, err));
    for (uint32_t s = 0; s < 4; s++)
        assert_int_equal(backward_ports(&st, &w, s, "back."), s > 0);
    stages_release(&st);
    whole_free(&w);
}

/* Work is shared evenly: no stage of equal layers does more than a third over the mean. */
static void test_stages_are_balanced(void **state)
{
    struct llama_config c = tiny_config(false);
    struct graph *train;
    c.hidden_size = 256;
    c.intermediate_size = 512;
    c.head_dim = 64;
    c.layers = 12;
    ASSERT_OK(llama_graph_train(&c, BATCH, SEQ, &train, err));
    for (uint32_t count = 2; count <= 6; count++) {
        struct stages st;
        uint64_t all = 0;
        ASSERT_OK(stages_plan(train, count, STAGE_F32, NULL, &st, err));
        for (uint32_t s = 0; s < count; s++)
            all += st.cost[s];
        for (uint32_t s = 0; s < count; s++)
            if (st.cost[s] == 0 || 3 * st.cost[s] * count > 4 * all)
                fail_msg("stage %u of %u costs %llu of %llu", s, count,
                         (unsigned long long)st.cost[s], (unsigned long long)all);
        stages_release(&st);
    }
    graph_free(train);
}

/* A stage of share 4 does about four times as much as one of share 1. */
static void test_stages_have_their_shares(void **state)
{
    static const uint32_t SHARES[][3] = {{4, 2, 1}, {1, 2, 4}, {100, 50, 25}, {2, 5, 2}};
    struct llama_config c = tiny_config(false);
    struct graph *train;
    c.hidden_size = 256;
    c.intermediate_size = 512;
    c.head_dim = 64;
    c.layers = 24;
    ASSERT_OK(llama_graph_train(&c, BATCH, SEQ, &train, err));
    for (size_t i = 0; i < sizeof SHARES / sizeof SHARES[0]; i++) {
        struct stages st;
        uint64_t all = 0, shares = 0;
        ASSERT_OK(stages_plan(train, 3, STAGE_F32, SHARES[i], &st, err));
        for (uint32_t s = 0; s < 3; s++) {
            all += st.cost[s];
            shares += SHARES[i][s];
        }
        for (uint32_t s = 0; s < 3; s++) {
            uint64_t due = all * SHARES[i][s] / shares;
            if (3 * st.cost[s] > 4 * due || 4 * st.cost[s] < 3 * due)
                fail_msg("stage %u of shares %zu costs %llu, due are %llu", s, i,
                         (unsigned long long)st.cost[s], (unsigned long long)due);
        }
        stages_release(&st);
    }
    graph_free(train);
}

/* Rounded on the way: fewer bytes, another result, but a near one; contributions to the gradients
 * of weights are not rounded. */
static void check_form(enum stage_form form, enum dtype dtype, float near)
{
    struct whole w = llama(true, DTYPE_F32, true);
    static struct pool a, b;
    struct stages st;
    struct graph *g;
    size_t differ = 0;
    a.count = b.count = 0;
    ASSERT_OK(stages_plan(w.train, 3, form, NULL, &st, err));
    ASSERT_OK(stage_backward(&st, w.train, 2, &g, err));
    for (uint32_t i = 0; i < graph_output_count(g); i++) {
        struct graph_port port = graph_output_at(g, i);
        if (strncmp(port.name, "back.2.1/", 9) == 0)
            assert_int_equal(port.dtype, dtype);
        if (strncmp(port.name, "back.2.0/", 9) == 0)
            assert_int_equal(port.dtype, DTYPE_F32);
    }
    graph_free(g);
    pool_run(&a, w.init, dev);
    each_stage(&b, &st, stage_init, w.init, 3);
    tables_make(&a);
    tables_make(&b);
    batch_make(&a, &w, 0);
    batch_make(&b, &w, 0);
    pool_args(&b, &recipe, 0, 1);
    pool_run(&a, w.train, dev);
    staged_step(&b, &st, &w);
    for (uint32_t i = 0; i < a.count; i++) {
        size_t bytes = a.item[i].bytes;
        const float *x = a.item[i].data, *y;
        float most = 0;
        if (strncmp(a.item[i].name, "sum/", 4) != 0)
            continue;
        y = pool_get(&b, a.item[i].name, bytes);
        differ += memcmp(x, y, bytes) != 0;
        for (size_t k = 0; k < bytes / sizeof(float); k++)
            most = x[k] > most ? x[k] : -x[k] > most ? -x[k] : most;
        for (size_t k = 0; k < bytes / sizeof(float); k++)
            if (!(x[k] - y[k] < near * most && y[k] - x[k] < near * most))
                fail_msg("form %d: %s[%zu] is %g, of the whole %g", (int)form, a.item[i].name, k,
                         (double)y[k], (double)x[k]);
    }
    assert_true(differ > 0);
    stages_release(&st);
    whole_free(&w);
    pool_free(&a);
    pool_free(&b);
}

static void test_forms_between_stages(void **state)
{
    check_form(STAGE_BF16, DTYPE_BF16, 0.05f);
    check_form(STAGE_INT8, DTYPE_U8, 0.25f);
}

static void test_refusals(void **state)
{
    struct whole w = classifier(0);
    struct stages st;
    ASSERT_FAILS(stages_plan(w.train, 0, STAGE_F32, NULL, &st, err), EMAC_INVALID, "take 1 to 16");
    stages_release(&st);
    ASSERT_FAILS(stages_plan(w.train, 17, STAGE_F32, NULL, &st, err), EMAC_INVALID, "17 stages");
    stages_release(&st);
    ASSERT_FAILS(stages_plan(w.train, 16, STAGE_F32, NULL, &st, err), EMAC_INVALID, "take at most");
    stages_release(&st);
    whole_free(&w);
}

static int setup(void **state)
{
    dev = best_device();
    return 0;
}

static int teardown(void **state)
{
    device_close(dev);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits_of_the_whole),
        cmocka_unit_test(test_little_goes_between),
        cmocka_unit_test(test_nothing_goes_back_to_what_is_frozen),
        cmocka_unit_test(test_stages_are_balanced),
        cmocka_unit_test(test_stages_have_their_shares),
        cmocka_unit_test(test_bits_of_the_whole_with_shares),
        cmocka_unit_test(test_forms_between_stages),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests_name("model/stages", tests, setup, teardown);
}

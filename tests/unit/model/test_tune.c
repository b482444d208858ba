/* Training from a base: what is trained, that gradients are those of the loss, that an adapter
 * begins as nothing and merges to what it was. */
#include "fixture.h"

#include <math.h>

#include "base/assert.h"
#include "base/philox.h"
#include "model/model_config.h"
#include "model/optimiser.h"

#define BATCH 2
#define SEQ   9

static struct device *dev;

static const struct tune LORA = {.kind = TUNE_LORA,
                                 .rank = 3,
                                 .alpha = 5,
                                 .targets = 1u << TUNE_Q | 1u << TUNE_DOWN | 1u << TUNE_V};

static struct llama_config eleven_layers(void)
{
    struct llama_config c = tiny_config(false);
    c.layers = 11;
    return c;
}

static void list_init(struct tuned *out, struct llama_model *m, const struct tune *t)
{
    const struct model_params whole = llama_params(m);
    ASSERT_OK(tuned_init(out, &whole, t, err));
}

static void test_names_are_those_of_peft(void **state)
{
    struct llama_config c = eleven_layers();
    struct llama_model m = {&c, NULL};
    struct model_param p, before = {{0}};
    struct tuned t;
    list_init(&t, &m, &LORA);
    assert_int_equal(t.trained.count, 11 * 3 * 2);
    for (uint32_t i = 0; i < t.trained.count; i++) {
        t.trained.at(t.trained.config, i, &p);
        assert_true(strcmp(before.name, p.name) < 0);
        assert_false(p.from_base);
        before = p;
    }
    t.trained.at(t.trained.config, 2, &p);
    assert_string_equal(p.name, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
    assert_true(shape_equal(&p.shape, &SHAPE2(3, 16)));
    assert_true(fabs(p.init_std * p.init_std - 1.0 / 48) < 1e-12);
    t.trained.at(t.trained.config, 3, &p);
    assert_string_equal(p.name, "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight");
    assert_true(shape_equal(&p.shape, &SHAPE2(24, 3)) && p.init_std == 0 && p.init_fill == 0);
    tuned_release(&t);
}

static uint32_t count_of(const struct model_params *whole, const struct tune *t, bool from_base)
{
    struct tuned tuned;
    uint32_t n = 0;
    ASSERT_OK(tuned_init(&tuned, whole, t, err));
    for (uint32_t i = 0; i < tuned.trained.count; i++) {
        struct model_param p;
        tuned.trained.at(tuned.trained.config, i, &p);
        n += p.from_base == from_base;
    }
    tuned_release(&tuned);
    return n;
}

static void test_what_is_trained(void **state)
{
    struct llama_config c = eleven_layers();
    struct llama_model m = {&c, NULL};
    const struct classifier_config k = {.height = 4,
                                        .width = 4,
                                        .channels = 1,
                                        .classes = 3,
                                        .stages = 1,
                                        .filters = 2,
                                        .kernel = 3,
                                        .layers = 2,
                                        .hidden_size = 5};
    const struct model_params text = llama_params(&m), records = classifier_params(&k);
    const struct tune full = {.kind = TUNE_FULL}, head = {.kind = TUNE_HEAD, .layers = 1};
    const struct tune two = {.kind = TUNE_HEAD, .layers = 2};
    assert_int_equal(count_of(&text, NULL, false), text.count);
    assert_int_equal(count_of(&text, &full, true), text.count);
    assert_int_equal(count_of(&text, &head, true), 9 + 2); /* a layer, norm, lm_head */
    assert_int_equal(count_of(&text, &two, true), 18 + 2);
    assert_int_equal(count_of(&records, &full, true), 8);
    assert_int_equal(count_of(&records, &head, true), 0);
    assert_int_equal(count_of(&records, &head, false), 2);
    assert_int_equal(count_of(&records, &two, true), 2);
}

static void test_mistakes_are_named(void **state)
{
    struct llama_config c = tiny_config(true);
    struct llama_model m = {&c, NULL};
    const struct model_params whole = llama_params(&m);
    struct tune t = LORA;
    struct tuned tuned;
    t.rank = 17;
    ASSERT_FAILS(tuned_init(&tuned, &whole, &t, err), EMAC_INVALID, "must be from 1 to 16");
    tuned_release(&tuned);
    t.rank = 1;
    t.targets = 1u << TUNE_DENSE;
    ASSERT_FAILS(tuned_init(&tuned, &whole, &t, err), EMAC_INVALID, "nothing of the model");
    tuned_release(&tuned);
}

/* ---- graphs ---- */

static void batch_make(struct pool *p, const struct llama_config *c, uint32_t step)
{
    int32_t *tokens = pool_get(p, "batch/tokens", BATCH * SEQ * sizeof(int32_t));
    int32_t *targets = pool_get(p, "batch/targets", BATCH * SEQ * sizeof(int32_t));
    for (uint32_t i = 0; i < BATCH * SEQ; i++) {
        tokens[i] = (int32_t)philox_below(7, PHILOX_TEST, step, i, c->vocab_size);
        targets[i] = (tokens[i] + 1) % (int32_t)c->vocab_size;
    }
}

static float loss_of(struct pool *p, const struct graph *eval)
{
    pool_run(p, eval, dev);
    return *(float *)pool_get(p, "sum/loss", sizeof(float));
}

/* A base with random weights under "base/", as the bundle `file` too. */
struct start {
    struct pool pool;
    struct llama_config c;
    struct llama_model list;
    struct model_params whole;
    struct tuned tuned;
    uint8_t *file;
    size_t bytes;
};

static void start_init(struct start *s, const struct llama_config *c, const struct tune *t)
{
    struct graph *init;
    s->c = *c;
    s->list = (struct llama_model){&s->c, NULL};
    s->whole = llama_params(&s->list);
    pool_init(&s->pool, c, SEQ, dev);
    s->file = bundle_of(&s->pool, c, 0, &s->bytes);
    for (uint32_t i = 0; i < s->pool.count; i++) {
        char *name = s->pool.item[i].name;
        if (strncmp(name, "params/", 7) != 0)
            continue;
        s->pool.item[i].name = malloc(strlen(name) + 1);
        sprintf(s->pool.item[i].name, "base/%s", name + 7);
        free(name);
    }
    ASSERT_OK(tuned_init(&s->tuned, &s->whole, t, err));
    ASSERT_OK(model_graph_init(&s->tuned.trained, 9, &adamw, &init, err));
    pool_run(&s->pool, init, dev);
    graph_free(init);
    batch_make(&s->pool, c, 0);
}

static void start_release(struct start *s)
{
    tuned_release(&s->tuned);
    pool_free(&s->pool);
    free(s->file);
}

static void step(struct start *s, struct graph *train, struct graph *update,
                 const struct optimiser_recipe *r, uint32_t at)
{
    struct optimiser_args args;
    optimiser_args(r, at, 1, &args);
    for (uint32_t i = 0; i < args.count; i++) {
        char name[64];
        snprintf(name, sizeof name, "args/%s", args.arg[i].name);
        memcpy(pool_get(&s->pool, name, args.arg[i].width * sizeof(float)), args.arg[i].value,
               args.arg[i].width * sizeof(float));
    }
    batch_make(&s->pool, &s->c, at);
    pool_run(&s->pool, train, dev);
    pool_run(&s->pool, update, dev);
}

/* The trained list as a file, malloc'd. */
static struct emac_slice trained_file(struct start *s)
{
    struct st_index idx = {0};
    struct emac_buf out;
    emac_buf_init(&out, 1 << 24);
    for (uint32_t i = 0; i < s->tuned.trained.count; i++) {
        struct model_param p;
        s->tuned.trained.at(s->tuned.trained.config, i, &p);
        const uint64_t dim[2] = {p.shape.dim[0], p.shape.dim[1]};
        ASSERT_OK(st_index_add(&idx, p.name, s->c.storage == DTYPE_BF16 ? ST_BF16 : ST_F32,
                               p.shape.rank, dim, err));
    }
    ASSERT_OK(st_bundle_layout(&idx, &out, err));
    for (size_t i = 0; i < idx.count; i++) {
        char name[200];
        size_t n = idx.tensor[i].end - idx.tensor[i].begin;
        snprintf(name, sizeof name, "params/%s", idx.tensor[i].name);
        ASSERT_OK(emac_buf_append(&out, pool_get(&s->pool, name, n), n, err));
    }
    st_index_release(&idx);
    size_t len;
    uint8_t *data = emac_buf_steal(&out, &len);
    return EMAC_SLICE(data, len);
}

/* The merged file's tensors become the pool's parameters; loss of the plain model. */
static float merged_loss(struct start *s, struct emac_slice file)
{
    struct st_index idx = {0};
    struct graph *eval;
    ASSERT_OK(st_index_parse(&idx, file.data, file.len, file.len, err));
    for (size_t i = 0; i < idx.count; i++) {
        char name[200];
        size_t n = idx.tensor[i].end - idx.tensor[i].begin;
        snprintf(name, sizeof name, "params/%s", idx.tensor[i].name);
        memcpy(pool_get(&s->pool, name, n), file.data + idx.data_offset + idx.tensor[i].begin, n);
    }
    st_index_release(&idx);
    ASSERT_OK(llama_graph_eval(&s->c, BATCH, SEQ, &eval, err));
    float loss = loss_of(&s->pool, eval);
    graph_free(eval);
    return loss;
}

static const struct optimiser_recipe RECIPE = {.lr = 0.03,
                                               .min_lr = 0.003,
                                               .steps = 15,
                                               .beta1 = 0.9,
                                               .beta2 = 0.95,
                                               .eps = 1e-8,
                                               .clip_norm = 1};

/* It begins as the base (with nothing new to begin with), learns, and merges to what it was. */
static void check_training(const struct tune *t, enum dtype storage)
{
    static struct start s;
    struct llama_config c = tiny_config(t->kind == TUNE_HEAD);
    struct graph *train, *eval, *update;
    struct emac_buf merged, again;
    struct device *ref = ref_device();
    c.storage = storage;
    c.qkv_bias = t->kind != TUNE_FULL;
    struct tune tune = *t;
    tune.storage = storage;
    start_init(&s, &c, &tune);
    ASSERT_OK(llama_tuned_train(&c, &tune, BATCH, SEQ, &train, err));
    ASSERT_OK(llama_tuned_eval(&c, &tune, BATCH, SEQ, &eval, err));
    ASSERT_OK(optimiser_graph(&s.tuned.trained, &RECIPE, &update, err));
    for (uint32_t i = 0; tune.kind != TUNE_FULL && i < graph_output_count(train); i++)
        assert_null(strstr(graph_output_at(train, i).name, "sum/grad.model.embed"));
    float first = loss_of(&s.pool, eval);
    emac_buf_init(&merged, 1 << 24);
    emac_buf_init(&again, 1 << 24);
    struct emac_slice own = trained_file(&s);
    ASSERT_OK(tune_merge(dev, &s.tuned, EMAC_SLICE(s.file, s.bytes), own, &merged, err));
    assert_int_equal(merged.len, s.bytes);
    assert_memory_equal(merged.data, s.file, s.bytes);
    free((void *)(uintptr_t)own.data);
    for (uint32_t i = 0; i < RECIPE.steps; i++)
        step(&s, train, update, &RECIPE, i);
    batch_make(&s.pool, &c, 0);
    float last = loss_of(&s.pool, eval);
    print_message("# %s %s: loss %.3f -> %.3f\n", tune_kind_name(tune.kind), dtype_name(storage),
                  (double)first, (double)last);
    assert_true(last < 0.9f * first);
    own = trained_file(&s);
    emac_buf_clear(&merged);
    ASSERT_OK(tune_merge(dev, &s.tuned, EMAC_SLICE(s.file, s.bytes), own, &merged, err));
    ASSERT_OK(tune_merge(ref, &s.tuned, EMAC_SLICE(s.file, s.bytes), own, &again, err));
    assert_int_equal(merged.len, again.len);
    assert_memory_equal(merged.data, again.data, again.len);
    float whole = merged_loss(&s, emac_buf_slice(&merged));
    assert_true(fabsf(whole - last) < (storage == DTYPE_BF16 ? 2e-2f : 1e-5f) * last);
    free((void *)(uintptr_t)own.data);
    emac_buf_release(&merged);
    emac_buf_release(&again);
    graph_free(train);
    graph_free(eval);
    graph_free(update);
    start_release(&s);
    device_close(ref);
}

static void test_training(void **state)
{
    const struct tune head = {.kind = TUNE_HEAD, .layers = 1}, full = {.kind = TUNE_FULL};
    check_training(&LORA, DTYPE_F32);
    check_training(&LORA, DTYPE_BF16);
    check_training(&head, DTYPE_F32);
    check_training(&full, DTYPE_F32);
    check_training(&full, DTYPE_BF16);
}

/* Central differences along a few weights of each adapter, away from B = 0. */
static void test_gradients(void **state)
{
    static struct start s;
    struct llama_config c = tiny_config(true);
    struct graph *train, *eval;
    start_init(&s, &c, &LORA);
    ASSERT_OK(llama_tuned_train(&c, &LORA, BATCH, SEQ, &train, err));
    ASSERT_OK(llama_tuned_eval(&c, &LORA, BATCH, SEQ, &eval, err));
    for (uint32_t i = 0; i < s.tuned.trained.count; i++) {
        struct model_param p;
        char name[200];
        s.tuned.trained.at(s.tuned.trained.config, i, &p);
        size_t n = p.shape.dim[0] * p.shape.dim[1];
        snprintf(name, sizeof name, "params/%s", p.name);
        float *w = pool_get(&s.pool, name, n * sizeof *w);
        for (size_t k = 0; k < n; k++)
            w[k] = ((float)philox_below(3, PHILOX_TEST, i, k, 2001) - 1000) * 2e-4f;
    }
    pool_run(&s.pool, train, dev);
    for (uint32_t i = 0; i < s.tuned.trained.count; i++) {
        struct model_param p;
        char name[200];
        s.tuned.trained.at(s.tuned.trained.config, i, &p);
        size_t n = p.shape.dim[0] * p.shape.dim[1];
        snprintf(name, sizeof name, "sum/grad.%s", p.name);
        const float *grad = pool_get(&s.pool, name, n * sizeof *grad);
        snprintf(name, sizeof name, "params/%s", p.name);
        float *w = pool_get(&s.pool, name, n * sizeof *w);
        for (size_t k = 0; k < n; k += n / 3 + 1) {
            const float h = 1.0f / 64, was = w[k];
            w[k] = was + h;
            double up = (double)loss_of(&s.pool, eval);
            w[k] = was - h;
            double slope = (up - (double)loss_of(&s.pool, eval)) / (2.0 * (double)h);
            w[k] = was;
            if (fabs(slope - (double)grad[k]) > 0.02 * fabs(slope) + 0.002)
                fail_msg("%s[%zu]: %g, by differences %g", p.name, k, (double)grad[k], slope);
        }
    }
    graph_free(train);
    graph_free(eval);
    start_release(&s);
}

static void test_bad_files_are_refused(void **state)
{
    static struct start s;
    struct llama_config c = tiny_config(true), wide = tiny_config(true);
    struct llama_model list = {&wide, NULL};
    struct st_index idx = {0};
    struct emac_buf out;
    enum dtype storage;
    start_init(&s, &c, &LORA);
    emac_buf_init(&out, 1 << 24);
    ASSERT_OK(st_index_parse(&idx, s.file, s.bytes, s.bytes, err));
    ASSERT_OK(tune_base_check(&s.whole, &LORA, &idx, &storage, err));
    assert_int_equal(storage, DTYPE_F32);
    wide.intermediate_size = 32;
    const struct model_params other = llama_params(&list);
    ASSERT_FAILS(tune_base_check(&other, &LORA, &idx, &storage, err), EMAC_INVALID,
                 "is [16,24] and the model asks for [16,32]");
    wide = tiny_config(false);
    const struct model_params untied = llama_params(&list);
    ASSERT_FAILS(tune_base_check(&untied, &LORA, &idx, &storage, err), EMAC_INVALID,
                 "lacks the tensor 'lm_head.weight'");
    st_index_release(&idx);
    /* the base in the place of the adapter */
    ASSERT_FAILS(tune_merge(dev, &s.tuned, EMAC_SLICE(s.file, s.bytes), EMAC_SLICE(s.file, s.bytes),
                            &out, err),
                 EMAC_INVALID, "the trained file lacks the tensor 'base_model.");
    assert_int_equal(out.len, 0);
    emac_buf_release(&out);
    start_release(&s);
}

/* ---- PEFT's configuration ---- */

static void test_adapter_config(void **state)
{
    static const struct {
        const char *was, *is, *says;
    } CASES[] = {
        {"\"peft_type\": \"LORA\"", "\"peft_type\": \"IA3\"", "'peft_type'"},
        {"\"r\": 3", "\"r\": 0", "'r' in adapter_config.json"},
        {"\"use_dora\": false", "\"use_dora\": true ", "'use_dora'"},
        {"\"bias\": \"none\"", "\"bias\": \"all\" ", "'bias'"},
        {"\"rank_pattern\": {}", "\"rank_pattern\": [1]", "'rank_pattern'"},
        {"q_proj", "c_attn", "names 'c_attn'"},
        {"\"lora_alpha\": 5", "\"lora_alpha\": 0", "'lora_alpha'"},
        {"{", "[", "not a JSON object"},
    };
    struct emac_buf text;
    struct tune back;
    emac_buf_init(&text, 1 << 16);
    ASSERT_OK(peft_config_write(&LORA, "bafy", &text, err));
    ASSERT_OK(peft_config_read(&back, emac_buf_slice(&text), err));
    assert_true(back.kind == TUNE_LORA && back.rank == LORA.rank && back.alpha == LORA.alpha &&
                back.targets == LORA.targets);
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        char bad[4096];
        const char *at = strstr(emac_buf_str(&text), CASES[i].was);
        assert_non_null(at);
        snprintf(bad, sizeof bad, "%.*s%s%s", (int)(at - emac_buf_str(&text)), emac_buf_str(&text),
                 CASES[i].is, at + strlen(CASES[i].was));
        struct emac_err err = {0};
        if (peft_config_read(&back, EMAC_SLICE_STR(bad), &err) == EMAC_OK ||
            strstr(err.text, CASES[i].says) == NULL)
            fail_msg("%s: '%s'", CASES[i].is, err.text);
    }
    emac_buf_release(&text);
}

static int open_device(void **state)
{
    dev = best_device();
    return 0;
}

static int close_device(void **state)
{
    device_close(dev);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_those_of_peft),
        cmocka_unit_test(test_what_is_trained),
        cmocka_unit_test(test_mistakes_are_named),
        cmocka_unit_test(test_training),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_bad_files_are_refused),
        cmocka_unit_test(test_adapter_config),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}

/* Training on token sets: bytes written as tokens train the same weights as bytes, a tokenizer's
 * files come with the model, and sets that lie about themselves fail. */
#include "exec_fixture.h"

#include "node/local.h"
#include "work/corpus.h"
#include "work/model_tree.h"

struct bench {
    struct store *store;
    struct job job;
    struct corpus corpus; /* its tokens are bytes */
    const struct store_value *text;
};

/* The set of these tokens, of `width` bytes each, becomes the job's data. */
static void set_use(struct bench *b, const uint32_t *ids, uint32_t width)
{
    struct corpus *c = &b->corpus;
    struct emac_buf block;
    uint8_t *bytes = malloc((size_t)c->tokens * width);
    for (size_t i = 0; i < c->tokens; i++)
        for (uint32_t k = 0; k < width; k++)
            bytes[i * width + k] = (uint8_t)(ids[i] >> 8 * k);
    c->width = width;
    c->file = unixfs_put(b->store, bytes, (size_t)c->tokens * width);
    emac_buf_init(&block, CORPUS_BLOCK_MAX);
    assert_ok(corpus_encode(c, &block, &b->job.data, err));
    assert_ok(store_block_put_as(b->store, &b->job.data, block.data, block.len, err));
    b->job.data_size = b->job.tokens = b->job.text_size = b->job.vocab = 0;
    assert_ok(job_take_corpus(&b->job, c, err));
    emac_buf_release(&block);
    free(bytes);
}

static uint32_t *ids_new(const struct bench *b)
{
    uint32_t *ids = malloc(CORPUS_BYTES * sizeof *ids);
    for (uint32_t i = 0; i < CORPUS_BYTES; i++)
        ids[i] = b->text->data[i];
    return ids;
}

static void bench_open(struct bench *b)
{
    *b = (struct bench){.store = memory_store(), .job = small_job(6, 4)};
    b->text = corpus_add(b->store, 3);
    b->job.data = b->text->cid;
    b->corpus = (struct corpus){.tokenizer = directory_put(b->store, "tokenizer.json", "{}"),
                                .tokens = CORPUS_BYTES,
                                .text = CORPUS_BYTES,
                                .vocab = 256};
}

static void bench_close(struct bench *b)
{
    store_value_drop(b->store, b->text);
    store_close(b->store);
}

static enum emac_status train(struct bench *b, struct local_result *out, struct emac_err *why)
{
    struct device *dev;
    assert_ok(device_cpu_open(ISA_BEST, 2, &dev, err));
    const struct local_config cfg = {
        .os = os_real(), .store = b->store, .dev = dev, .job = &b->job};
    enum emac_status st = local_train(&cfg, out, why);
    device_close(dev);
    return st;
}

static void test_bytes_as_tokens_train_the_same_weights(void **state)
{
    struct bench b;
    struct local_result want, got;
    bench_open(&b);
    uint32_t *ids = ids_new(&b);
    assert_ok(train(&b, &want, err));
    for (uint32_t width = 2; width <= 4; width += 2) {
        struct model_tree tree;
        set_use(&b, ids, width);
        assert_int_equal(job_token_width(&b.job), width);
        assert_ok(train(&b, &got, err));
        assert_true(cid_equal(&got.params, &want.params));
        assert_true(got.heldout_loss == want.heldout_loss);
        assert_true(got.heldout_bits_per_byte == want.heldout_bits_per_byte);
        assert_ok(model_tree_read(b.store, &got.model, &tree, err));
        assert_true(model_tree_has(&tree, MODEL_TOKENIZER));
        assert_false(model_tree_has(&tree, MODEL_TOKENIZER_CONFIG));
        local_result_release(&got);
    }
    free(ids);
    local_result_release(&want);
    bench_close(&b);
}

static void test_a_text_of_longer_tokens_is_told_in_bytes(void **state)
{
    struct bench b;
    struct local_result r;
    bench_open(&b);
    uint32_t *ids = ids_new(&b);
    b.corpus.text = 4 * CORPUS_BYTES;
    set_use(&b, ids, 2);
    assert_ok(train(&b, &r, err));
    assert_true(r.heldout_bits_per_byte == r.heldout_loss * 1.4426950408889634 / 4);
    local_result_release(&r);
    free(ids);
    bench_close(&b);
}

static void test_a_token_past_the_vocabulary_fails_the_task(void **state)
{
    struct bench b;
    struct local_result r;
    bench_open(&b);
    uint32_t *ids = ids_new(&b);
    for (uint32_t i = 0; i < CORPUS_BYTES; i++)
        ids[i] = 256;
    set_use(&b, ids, 2);
    assert_fails(train(&b, &r, err), EMAC_INVALID, "is 256, past its vocabulary of 256");
    for (uint32_t i = 0; i < CORPUS_BYTES; i++)
        ids[i] = 0xffffffff;
    set_use(&b, ids, 4);
    assert_fails(train(&b, &r, err), EMAC_INVALID, "past its vocabulary of 256");
    free(ids);
    bench_close(&b);
}

static void test_what_does_not_fit_is_told(void **state)
{
    struct bench b;
    struct local_result r;
    bench_open(&b);
    uint32_t *ids = ids_new(&b);
    b.corpus.tokenizer = directory_put(b.store, "README.md", "nothing");
    set_use(&b, ids, 2);
    assert_fails(train(&b, &r, err), EMAC_INVALID, "holds no 'tokenizer.json'");
    b.corpus.tokenizer = directory_put(b.store, "tokenizer.json", "{}");
    set_use(&b, ids, 2);
    b.job.tokens--;
    assert_fails(train(&b, &r, err), EMAC_INVALID, "not those of a token set");
    set_use(&b, ids, 2);
    b.job.text_size++;
    assert_fails(train(&b, &r, err), EMAC_INVALID, "data.text_size is");
    free(ids);
    bench_close(&b);
}

/* A stranger's program that takes the set for bytes, or for tokens of another width. */
static void test_a_program_of_another_width_fails(void **state)
{
    for (uint32_t width = 0; width <= 4; width += 4) {
        struct bench b;
        struct exec *x;
        struct exec_result r;
        struct exec_config cfg = {.os = os_real()};
        const struct sampler s = {
            .kind = SAMPLER_RANDOM, .batch = 2, .seq = 8, .end = 1000, .width = width};
        bench_open(&b);
        uint32_t *ids = ids_new(&b);
        set_use(&b, ids, 2);
        cfg.store = b.store;
        assert_ok(device_cpu_open(ISA_BEST, 1, &cfg.dev, err));
        assert_ok(exec_new(&cfg, &x, err));
        const float one = 1;
        const struct cid params = vector_put(b.store, "x", &one, 1);
        struct graph *g = graph_new();
        graph_input(g, "batch/tokens", DTYPE_I32, SHAPE1(16));
        graph_output(g, "sum/x", graph_input(g, "params/x", DTYPE_F32, SHAPE1(1)));
        struct task t = {.program = program_put(b.store, g, &s), .count = 2};
        task_input_add(&t, "data", &b.job.data);
        task_input_add(&t, "params", &params);
        assert_fails(exec_run(x, &t, &r, err), EMAC_INVALID, "the corpus has tokens of 2 bytes");
        exec_result_release(x, &r);
        exec_free(x);
        device_close(cfg.dev);
        free(ids);
        bench_close(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_as_tokens_train_the_same_weights),
        cmocka_unit_test(test_a_text_of_longer_tokens_is_told_in_bytes),
        cmocka_unit_test(test_a_token_past_the_vocabulary_fails_the_task),
        cmocka_unit_test(test_what_does_not_fit_is_told),
        cmocka_unit_test(test_a_program_of_another_width_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

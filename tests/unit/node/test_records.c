/* Training on a data set: the same model whatever the threads and the instruction set, records that
 * are missing or do not fit. */
#include "exec_fixture.h"

#include "node/local.h"
#include "work/dataset_import.h"

#define IMAGES      50
#define TEST_IMAGES 20
#define SIDE        8

struct bench {
    struct store *store;
    struct dataset set;
    struct job job;
};

/* Class k: a bright row. */
static void records_make(struct emac_buf *out, uint32_t count, uint32_t salt)
{
    for (uint32_t i = 0; i < count; i++) {
        uint8_t record[SIDE * SIDE + 2] = {0};
        uint8_t label = (uint8_t)philox_below(salt, PHILOX_TEST, 0, i, 3);
        for (uint32_t k = 0; k < SIDE * SIDE; k++) {
            uint64_t noise = philox_below(salt, PHILOX_TEST, 1 + i, k, 100);
            record[k] = (uint8_t)(noise + (k / SIDE == 1 + 2u * label ? 150 : 0));
        }
        record[SIDE * SIDE] = label;
        assert_ok(emac_buf_append(out, record, sizeof record, err));
    }
}

static struct cid manifest_put(struct store *s, const struct dataset *d)
{
    struct emac_buf buf;
    struct cid cid;
    emac_buf_init(&buf, DATASET_BYTES_MAX);
    assert_ok(dataset_encode(d, &buf, &cid, err));
    assert_ok(store_block_put_as(s, &cid, buf.data, buf.len, err));
    emac_buf_release(&buf);
    return cid;
}

static void bench_open(struct bench *b)
{
    static const char *const NAMES[] = {"low", "middle", "high"};
    static const uint32_t COUNT[] = {IMAGES, TEST_IMAGES};
    *b = (struct bench){.store = memory_store(), .job = records_job(12, 4)};
    struct dataset *d = &b->set;
    dataset_init(d);
    d->dtype = DATASET_U8;
    d->height = d->width = SIDE;
    d->channels = 1;
    d->class_count = 3;
    d->class_name = arena_calloc(&d->arena, 3, sizeof *d->class_name);
    memcpy(d->class_name, NAMES, sizeof NAMES);
    assert_ok(dataset_norms_new(d, 1, err));
    d->scale[0] = 0.02f;
    d->shift[0] = -1.25f;
    for (uint32_t i = 0; i < DATASET_PARTS; i++) {
        struct emac_buf bytes;
        emac_buf_init(&bytes, 1 << 20);
        records_make(&bytes, COUNT[i], 10 + i);
        d->split[i] = (struct dataset_split){unixfs_put(b->store, bytes.data, bytes.len), COUNT[i]};
        emac_buf_release(&bytes);
    }
    b->job.data = manifest_put(b->store, d);
    b->job.optimiser.lr = 0.02;
    b->job.eval_batches = 4096;
}

static void bench_close(struct bench *b)
{
    dataset_release(&b->set);
    store_close(b->store);
}

static enum emac_status train(struct bench *b, enum isa isa, uint32_t threads,
                              struct local_result *out, struct emac_err *why)
{
    struct device *dev;
    assert_ok(device_cpu_open(isa, threads, &dev, err));
    const struct local_config cfg = {
        .os = os_real(), .store = b->store, .dev = dev, .job = &b->job};
    enum emac_status st = local_train(&cfg, out, why);
    device_close(dev);
    return st;
}

static void test_one_model_from_every_device(void **state)
{
    static const struct {
        enum isa isa;
        uint32_t threads;
    } CASES[] = {{ISA_REF, 1}, {ISA_PORTABLE, 2}, {ISA_BEST, 1}, {ISA_BEST, 3}};
    struct cid first = {0};
    double accuracy = -1;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct bench b;
        struct local_result r;
        bench_open(&b);
        assert_ok(train(&b, CASES[i].isa, CASES[i].threads, &r, err));
        assert_true(r.has_accuracy && r.has_heldout);
        assert_int_equal(r.units, 12 * 4 * 2);
        if (i == 0) {
            first = r.model;
            accuracy = r.accuracy;
        }
        assert_true(cid_equal(&r.model, &first) && r.accuracy == accuracy);
        local_result_release(&r);
        bench_close(&b);
    }
    print_message("# accuracy %.2f\n", accuracy);
    assert_true(accuracy > 0.8);
}

/* Everything that is needed to use the model is in its directory. */
static void test_the_config_says_all(void **state)
{
    struct bench b;
    struct job_plan *p;
    json_t *root;
    bench_open(&b);
    assert_ok(job_plan_new(&b.job, b.store, &p, err));
    root = json_loadb((const char *)p->config.data, p->config.len, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(root, "model_type")), "emac_classifier");
    json_t *input = json_object_get(root, "input");
    assert_string_equal(json_string_value(json_array_get(json_object_get(input, "classes"), 2)),
                        "high");
    assert_true((float)json_real_value(json_array_get(json_object_get(input, "scale"), 0)) ==
                0.02f);
    json_decref(root);
    job_plan_free(p);
    bench_close(&b);
}

static void test_what_does_not_fit_is_told(void **state)
{
    struct bench b;
    struct local_result r;
    bench_open(&b);
    b.job.classifier.classes = 4;
    assert_fails(train(&b, ISA_BEST, 1, &r, err), EMAC_INVALID, "data.classes is 4");
    b.job.classifier.classes = 3;
    struct dataset d = b.set;
    d.split[DATASET_TRAIN].file = cid_of(CID_RAW, "nowhere", 7);
    b.job.data = manifest_put(b.store, &d);
    assert_fails(train(&b, ISA_BEST, 1, &r, err), EMAC_NOT_FOUND, "not in the store");
    d = b.set;
    d.split[DATASET_TEST].records++;
    b.job.data = manifest_put(b.store, &d);
    b.job.test_records = 0;
    assert_fails(train(&b, ISA_BEST, 1, &r, err), EMAC_INVALID, "the file of split 'test' has");
    b.job.data = b.set.split[DATASET_TRAIN].file;
    assert_fails(train(&b, ISA_BEST, 1, &r, err), EMAC_INVALID, "a file, not a data set");
    bench_close(&b);
}

static void test_a_class_out_of_range_fails_the_task(void **state)
{
    struct bench b;
    struct local_result r;
    uint8_t bytes[IMAGES * (SIDE * SIDE + 2)];
    bench_open(&b);
    memset(bytes, 3, sizeof bytes);
    struct dataset d = b.set;
    d.split[DATASET_TRAIN].file = unixfs_put(b.store, bytes, sizeof bytes);
    b.job.data = manifest_put(b.store, &d);
    assert_fails(train(&b, ISA_BEST, 1, &r, err), EMAC_INVALID, "a record is of class 771");
    bench_close(&b);
}

/* A stranger's program on records: its port must take what a record has. */
static void test_ports_are_checked(void **state)
{
    static const struct {
        const char *name;
        enum dtype dtype;
        struct shape shape;
        const char *says;
    } CASES[] = {
        {"batch/inputs", DTYPE_F32, {2, {2, SIDE * SIDE}}, NULL},
        {"batch/inputs", DTYPE_F32, {4, {2, SIDE, SIDE, 1}}, NULL},
        {"batch/inputs", DTYPE_F32, {2, {2, 63}}, "64 features and port 'batch/inputs' takes 63"},
        {"batch/inputs", DTYPE_F32, {2, {3, SIDE * SIDE}}, "must be batch/tokens, batch/inputs"},
        {"batch/inputs", DTYPE_F32, {1, {2}}, "must be batch/tokens, batch/inputs"},
        {"batch/inputs", DTYPE_I32, {2, {2, SIDE * SIDE}}, "must be batch/tokens, batch/inputs"},
        {"batch/tokens", DTYPE_I32, {1, {2}}, "must be batch/tokens, batch/inputs"},
        {"args/x", DTYPE_F32, {1, {2}}, "must take 'batch/inputs'"},
    };
    const struct sampler s = {.kind = SAMPLER_LISTED, .batch = 2, .end = 20, .split = DATASET_TEST};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct bench b;
        struct exec *x;
        struct exec_result r;
        struct emac_err why = {0};
        struct exec_config cfg = {.os = os_real()};
        bench_open(&b);
        cfg.store = b.store;
        assert_ok(device_cpu_open(ISA_BEST, 1, &cfg.dev, err));
        assert_ok(exec_new(&cfg, &x, err));
        struct graph *g = graph_new();
        value_id in = graph_input(g, CASES[i].name, CASES[i].dtype, CASES[i].shape);
        if (CASES[i].dtype == DTYPE_F32)
            graph_output(g, "sum/x", graph_op(g, OP_SUM, NULL, 1, &in));
        else
            graph_output(g, "sum/x", graph_input(g, "params/x", DTYPE_F32, SHAPE1(1)));
        struct task t = {.program = program_put(b.store, g, &s), .count = 2};
        task_input_add(&t, "data", &b.job.data);
        if (CASES[i].dtype != DTYPE_F32)
            task_input_add(&t, "params", &b.job.data);
        if (strcmp(CASES[i].name, "args/x") == 0) {
            task_arg_add(&t, "x", 1);
            t.arg[0].width = 2;
        }
        enum emac_status st = exec_run(x, &t, &r, &why);
        if (CASES[i].says == NULL ? st != EMAC_OK
                                  : st == EMAC_OK || strstr(why.text, CASES[i].says) == NULL)
            fail_msg("case %zu: '%s'", i, why.text);
        exec_result_release(x, &r);
        exec_free(x);
        device_close(cfg.dev);
        bench_close(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_model_from_every_device),
        cmocka_unit_test(test_the_config_says_all),
        cmocka_unit_test(test_what_does_not_fit_is_told),
        cmocka_unit_test(test_a_class_out_of_range_fails_the_task),
        cmocka_unit_test(test_ports_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

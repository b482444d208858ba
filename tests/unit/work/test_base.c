/* The base of a job: what follows from its directory, and what is refused. */
#include "fixture.h"

#include "models.h"
#include "seal_model.h"
#include "work/base.h"
#include "work/family.h"

static enum emac_status take(struct job *j, struct emac_err *why)
{
    struct model_tree files;
    struct emac_buf config;
    json_t *root;
    char *text;
    emac_buf_init(&config, MODEL_TEXT_MAX);
    if (j->architecture == JOB_LLAMA) {
        assert_ok(llama_config_write(&j->model, &config, err));
    } else {
        root = classifier_config_json(&j->classifier);
        json_object_set_new(root, "model_type", json_string(CLASSIFIER_MODEL_TYPE));
        json_object_set_new(root, "architecture", json_string("cnn"));
        text = json_dumps(root, 0);
        assert_ok(emac_buf_append(&config, text, strlen(text), err));
        free(text);
        json_decref(root);
    }
    enum emac_status st = base_take(j, s, emac_buf_slice(&config), &files, why);
    emac_buf_release(&config);
    return st;
}

static struct job based_job(enum tune_kind kind)
{
    struct job j = small_job(4, 4);
    j.tune =
        (struct tune){.kind = kind, .layers = 1, .rank = 2, .alpha = 4, .targets = 1u << TUNE_Q};
    return j;
}

/* ---- the tests ---- */

static void test_types_come_from_the_weights(void **state)
{
    static const struct {
        enum st_dtype file;
        enum dtype storage;
    } CASES[] = {{ST_F32, DTYPE_F32}, {ST_BF16, DTYPE_BF16}};
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        for (int kind = TUNE_FULL; kind < TUNE_KINDS; kind++) {
            struct job j = based_job((enum tune_kind)kind);
            j.base = text_base(&j.model, CASES[i].file, (struct entry){0});
            assert_ok(take(&j, err));
            assert_int_equal(j.tune.storage, CASES[i].storage);
        }
    }
}

static void test_what_differs_is_told_with_both_figures(void **state)
{
#define DIFFERS(change, says)                                                                      \
    do {                                                                                           \
        struct job j = based_job(TUNE_FULL);                                                       \
        j.base = text_base(&j.model, ST_F32, (struct entry){0});                                   \
        change;                                                                                    \
        assert_fails(take(&j, err), EMAC_INVALID, says);                                           \
    } while (0)
    DIFFERS(j.model.hidden_size = 32, "base has hidden_size 16 and the job asks for 32");
    DIFFERS(j.model.layers = 3, "base has layers 2 and the job asks for 3");
    DIFFERS(j.model.vocab_size = 300, "base has vocab_size 256 and the job asks for 300");
    DIFFERS(j.model.tie_embeddings = false, "base has tie_embeddings true and the job asks");
    DIFFERS(j.model.qkv_bias = true, "base has attention_bias false and the job asks for true");
    DIFFERS(j.model.rope_theta = 5e5, "base has rope_theta 10000.0 and the job asks for 500000");
    DIFFERS(j.model.max_positions = 17, "sequences of at most 16 and the job asks for 17");
    DIFFERS((j.tune = based_job(TUNE_HEAD).tune, j.tune.layers = 3),
            "base.layers is 3 and the model has 2");
    DIFFERS((j.tune = based_job(TUNE_LORA).tune, j.tune.rank = 17), "rank must be from 1 to 16");
    struct job j = based_job(TUNE_FULL);
    j.base = text_base(&j.model, ST_F32, (struct entry){0});
    j.model.max_positions = 9; /* shorter is no harm */
    assert_ok(take(&j, err));
    j.base = text_base(&j.model, ST_F16, (struct entry){0});
    assert_fails(take(&j, err), EMAC_UNSUPPORTED, "is F16; F32 and BF16");
}

static void test_classes(void **state)
{
    struct job j = records_job(4, 4);
    j.tune.kind = TUNE_FULL;
    j.base = records_base(&j.classifier);
    assert_ok(take(&j, err));
    j.classifier.classes = 5;
    assert_fails(take(&j, err), EMAC_INVALID, "base has classes 3 and the job asks for 5");
    j.tune = (struct tune){.kind = TUNE_HEAD, .layers = 1};
    assert_ok(take(&j, err));
    j.tune.layers = 3;
    assert_fails(take(&j, err), EMAC_INVALID, "base.layers is 3 and the model has 2 dense layers");
    j.tune.layers = 2;
    j.classifier.width = 10;
    assert_fails(take(&j, err), EMAC_INVALID, "base has width 8 and the job asks for 10");
}

static void test_directories_of_other_kinds(void **state)
{
    static const struct {
        const char *name, *says;
    } CASES[] = {{"config.json", "holds no 'model.safetensors'"},
                 {"model.safetensors", "holds no 'config.json'"},
                 {"readme", "holds no 'config.json'"}};
    struct job j = based_job(TUNE_FULL);
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        const struct entry e = {CASES[i].name, EMAC_SLICE_STR("{}")};
        j.base = dir_put(&e, 1);
        assert_fails(take(&j, err), EMAC_INVALID, CASES[i].says);
    }
    const struct entry adapter[] = {{"adapter_model.safetensors", EMAC_SLICE_STR("x")},
                                    {"base", EMAC_SLICE_STR("x")}};
    j.base = dir_put(adapter, 2);
    assert_fails(take(&j, err), EMAC_INVALID, "emac model merge");
    j.base = cid_for("nobody has it");
    assert_fails(take(&j, err), EMAC_NOT_FOUND, "base.cid");
}

static void test_licences(void **state)
{
    static const struct {
        const char *id;
        bool forbids;
    } IDS[] = {{"", false},
               {"apache-2.0", false},
               {"cc-by-nc-4.0", false},
               {"CC-BY-ND-4.0", true},
               {"cc-by-nc-nd-3.0", true},
               {"all-rights-reserved", true},
               {"bsd-3-clause", false},
               {"nd", true},
               {"landmark", false}};
    static const struct {
        const char *name, *text, *id;
    } FILES[] = {
        {"README.md", "---\ntags: [a]\nlicense: cc-by-nd-4.0\n---\n# x\n", "cc-by-nd-4.0"},
        {"README.md", "---\nlicense: \"mit\"\n---\n", "mit"},
        {"README.md", "---\ntags: x\n---\nlicense: cc-by-nd-4.0\n", ""},
        {"README.md", "license: cc-by-nd-4.0\n", ""},
        {"LICENSE", "A text\n SPDX-License-Identifier: CC-BY-ND-4.0 \nmore\n", "CC-BY-ND-4.0"},
        {"LICENSE", "You may not make derivatives.\n", ""},
    };
    for (size_t i = 0; i < EMAC_COUNT(IDS); i++)
        if (licence_forbids_derivatives(IDS[i].id) != IDS[i].forbids)
            fail_msg("'%s'", IDS[i].id);
    for (size_t i = 0; i < EMAC_COUNT(FILES); i++) {
        struct job j = based_job(TUNE_LORA);
        struct model_tree m;
        char id[BASE_LICENCE_MAX];
        const struct entry file = {FILES[i].name, EMAC_SLICE_STR(FILES[i].text)};
        j.base = text_base(&j.model, ST_F32, file);
        assert_ok(model_tree_read(s, &j.base, &m, err));
        assert_ok(base_licence(s, &m, id, err));
        assert_string_equal(id, FILES[i].id);
        if (licence_forbids_derivatives(id))
            assert_fails(take(&j, err), EMAC_FORBIDDEN, "allows no derivatives");
        else
            assert_ok(take(&j, err));
    }
}

/* Its shape is public, so all that can be said of an open base is said of a private one; but what
 * would hand out its weights is refused. */
static void test_a_private_base(void **state)
{
    static const uint8_t KEY[SEAL_KEY_BYTES] = {4};
    static const struct {
        enum tune_kind kind;
        enum job_spread spread;
        const char *says; /* NULL: taken */
    } CASES[] = {{TUNE_LORA, SPREAD_SYNC, NULL},
                 {TUNE_LORA, SPREAD_LOCAL, NULL},
                 {TUNE_FULL, SPREAD_SYNC, "'full' would hand out its weights"},
                 {TUNE_HEAD, SPREAD_SYNC, "'head' would hand out its weights"},
                 {TUNE_FULL, SPREAD_LOCAL, "'full' would hand out its weights"},
                 {TUNE_LORA, SPREAD_PIPELINE, "as 'pipeline' would have them"},
                 {TUNE_LORA, SPREAD_HYBRID, "as 'hybrid' would have them"},
                 {TUNE_LORA, SPREAD_FEDERATED, "as 'federated' would have them"}};
    uint8_t public_key[ED25519_PUBLIC_BYTES], secret[ED25519_SECRET_BYTES];
    uint8_t seed[ED25519_SEED_BYTES] = {1};
    char did[DID_KEY_MAX];
    struct cid block;
    crypto_ed25519_keypair(public_key, secret, seed);
    crypto_did_key(did, public_key);
    struct job j = based_job(TUNE_LORA);
    const struct cid open = text_base(&j.model, ST_BF16, (struct entry){0});
    const struct cid closed = model_seal(s, &open, did, KEY, &block);
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        j = based_job(CASES[i].kind);
        j.spread = CASES[i].spread;
        j.base = closed;
        if (CASES[i].says != NULL) {
            assert_fails(take(&j, err), EMAC_FORBIDDEN, CASES[i].says);
            continue;
        }
        assert_ok(take(&j, err));
        assert_int_equal(j.tune.storage, DTYPE_BF16);
    }
    j = based_job(TUNE_LORA);
    j.base = closed;
    j.model.layers = 3;
    assert_fails(take(&j, err), EMAC_INVALID, "base has layers 2 and the job asks for 3");
}

/* What a stranger says of private weights is no better than what he says of open ones. */
static void test_heads_of_private_weights_that_are_none(void **state)
{
    static const uint8_t NOISE[] = "not the table of any tensors, and longer than eight bytes";
    struct emac_buf block;
    struct st_index idx = {0};
    struct sealed f = {.size = 4096, .file = cid_for("x")};
    struct unixfs_link head = {0};
    struct cid cid;
    uint8_t public_key[ED25519_PUBLIC_BYTES], secret[ED25519_SECRET_BYTES];
    uint8_t seed[ED25519_SEED_BYTES] = {1};
    crypto_ed25519_keypair(public_key, secret, seed);
    crypto_did_key(f.owner, public_key);
    emac_buf_init(&block, 4096);
    assert_ok(store_bytes_add(s, EMAC_SLICE(NOISE, sizeof NOISE), &head, err));
    for (int i = 0; i < 4; i++) {
        static const struct {
            enum emac_status status;
            const char *says;
        } WANT[] = {{EMAC_INVALID, "is not public"},
                    {EMAC_NOT_FOUND, ""},
                    {EMAC_CORRUPT, ""},
                    {EMAC_INVALID, "bytes of a file of 9 hold"}};
        f.head = i == 0 ? (struct cid){0} : i == 1 ? cid_for("nobody has it") : head.cid;
        f.size = i == 3 ? 9 : 4096; /* a head that is longer than all of it */
        emac_buf_clear(&block);
        assert_ok(sealed_encode(&f, &block, &cid, err));
        assert_ok(store_block_put_as(s, &cid, block.data, block.len, err));
        assert_fails(model_tree_index(s, &cid, &idx, err), WANT[i].status, WANT[i].says);
        st_index_release(&idx);
    }
    emac_buf_release(&block);
}

static void test_a_job_file_is_completed(void **state)
{
    struct job small = small_job(4, 4), j;
    char text[CID_TEXT_MAX], file[64];
    small.model.norm_eps = 1e-6;
    const struct cid cid = text_base(&small.model, ST_F32, (struct entry){0});
    cid_text(text, &cid);
    json_t *root = json_pack("{s:s, s:{s:s, s:s}, s:{s:s}, s:{s:b}, s:{s:i, s:i, s:i, s:i, s:f}}",
                             "name", "x", "base", "cid", text, "train", "full", "data", "file", "c",
                             "model", "tie_embeddings", 0, "recipe", "seq_len", 8, "micro_batch", 1,
                             "micro_batches", 1, "steps", 2, "lr", 0.1);
    assert_ok(base_complete(root, s, err));
    assert_ok(job_from_json(&j, root, file, sizeof file, err));
    assert_int_equal(j.model.hidden_size, 16);
    assert_int_equal(j.model.kv_heads, 1);
    assert_true(j.model.norm_eps == 1e-6);
    assert_false(j.model.tie_embeddings); /* what is said stays, to be refused later */
    assert_fails(take(&j, err), EMAC_INVALID, "tie_embeddings true");
    json_decref(root);
    struct job records = records_job(4, 4);
    const struct cid k = records_base(&records.classifier);
    cid_text(text, &k);
    root = json_pack("{s:s, s:{s:s, s:s}, s:{s:s}, s:{s:i, s:i, s:i, s:f}}", "name", "x", "base",
                     "cid", text, "train", "head", "data", "cid", text, "recipe", "micro_batch", 1,
                     "micro_batches", 1, "steps", 2, "lr", 0.1);
    assert_ok(base_complete(root, s, err));
    assert_ok(job_from_json(&j, root, NULL, 0, err));
    assert_int_equal(j.architecture, JOB_CNN);
    assert_int_equal(j.classifier.filters, 3);
    assert_int_equal(j.tune.layers, 1);
    json_decref(root);
}

/* What a rig is told: programs that take the base get it, others do not. */
static void test_tasks_take_the_base(void **state)
{
    static const double SPEED = 1;
    static const struct tree_crew ALONE = {.count = 1, .speed = &SPEED};
    for (int kind = TUNE_FULL; kind < TUNE_KINDS; kind++) {
        struct job j = based_job((enum tune_kind)kind);
        struct job_plan *p;
        struct plan_state st;
        struct plan_want want[4];
        uint32_t count;
        j.base = text_base(&j.model, ST_F32, (struct entry){0});
        assert_ok(job_plan_new(&j, s, &p, err));
        plan_state_init(&st);
        assert_ok(plan_next(p, &st, NULL, 0, &ALONE, want, 4, &count, err));
        assert_int_equal(count, 1);
        const struct cid *base = task_input_find(&want[0].task, "base");
        assert_true((base != NULL) == (kind != TUNE_LORA)); /* init */
        assert_true(plan_task_fits(p, &st, &want[0].task));
        plan_wants_release(want, count);
        const struct cid opt = cid_for("opt"), params = cid_for("params");
        plan_value_set(&st, "opt", &opt);
        plan_value_set(&st, "params", &params);
        assert_ok(plan_next(p, &st, NULL, 0, &ALONE, want, 4, &count, err));
        assert_int_equal(want[0].kind, TASK_GRAD);
        base = task_input_find(&want[0].task, "base");
        assert_true((base != NULL) == (kind != TUNE_FULL));
        if (base != NULL)
            assert_true(cid_equal(base, &p->base.file[MODEL_WEIGHTS]));
        assert_ok(task_check(&want[0].task, err));
        plan_wants_release(want, count);
        plan_state_release(&st);
        job_plan_free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types_come_from_the_weights),
        cmocka_unit_test(test_what_differs_is_told_with_both_figures),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_directories_of_other_kinds),
        cmocka_unit_test(test_licences),
        cmocka_unit_test(test_a_private_base),
        cmocka_unit_test(test_heads_of_private_weights_that_are_none),
        cmocka_unit_test(test_a_job_file_is_completed),
        cmocka_unit_test(test_tasks_take_the_base),
    };
    return cmocka_run_group_tests(tests, store_new, store_done);
}

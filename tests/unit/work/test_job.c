/* Job files: defaults, strictness, one canonical form. */
#include "fixture.h"

#include <jansson.h>
#include <stdio.h>

#include "ledger/ledger.h"
#include "os/os.h"
#include "work/corpus.h"
#include "work/job_fields.h"

static const char LEAST[] =
    "{\"name\": \"least\", \"data\": {\"file\": \"corpus.txt\"},"
    " \"model\": {\"hidden_size\": 64, \"intermediate_size\": 128, \"layers\": 2, \"heads\": 4},"
    " \"recipe\": {\"seq_len\": 32, \"micro_batch\": 2, \"micro_batches\": 4, \"steps\": 100,"
    " \"lr\": 0.001}}";

static json_t *least(void)
{
    json_t *j = json_loads(LEAST, 0, NULL);
    assert_non_null(j);
    return j;
}

/* Set "section.key" to a JSON text; NULL removes it. */
static void put(json_t *root, const char *path, const char *value)
{
    const char *dot = strchr(path, '.');
    json_t *map = root;
    if (dot != NULL) {
        char section[32] = "";
        memcpy(section, path, (size_t)(dot - path));
        map = json_object_get(root, section);
        if (map == NULL) {
            json_object_set_new(root, section, json_object());
            map = json_object_get(root, section);
        }
        path = dot + 1;
    }
    if (value == NULL) {
        json_object_del(map, path);
        return;
    }
    json_t *v = json_loads(value, JSON_DECODE_ANY, NULL);
    assert_non_null(v);
    json_object_set_new(map, path, v);
}

static void test_defaults(void **state)
{
    struct job j;
    char file[64];
    json_t *root = least();
    assert_ok(job_from_json(&j, root, file, sizeof file, err));
    assert_string_equal(file, "corpus.txt");
    assert_true(cid_is_none(&j.data));
    assert_int_equal(j.seed, 1);
    assert_int_equal(j.model.vocab_size, 256);
    assert_int_equal(j.model.kv_heads, 4);
    assert_int_equal(j.model.head_dim, 16);
    assert_int_equal(j.model.max_positions, 32);
    assert_true(j.model.tie_embeddings);
    assert_true(j.model.rope_theta == 10000 && j.model.norm_eps == 1e-5);
    assert_true(j.init.embed_std == 0.02 && j.init.linear_std == 0.02 && j.init.residual_std == 0);
    assert_true(j.optimiser.beta1 == 0.9 && j.optimiser.beta2 == 0.95 && j.optimiser.eps == 1e-8);
    assert_true(j.optimiser.weight_decay == 0.1 && j.optimiser.clip_norm == 1 &&
                j.optimiser.min_lr == 0.001 / 10);
    assert_int_equal(j.optimiser.warmup_steps, 5);
    assert_int_equal(j.checkpoint_every, 10);
    assert_int_equal(j.eval_batches, 16);
    assert_true(j.check == 0.1 && j.heldout == 0.05);
    assert_int_equal(j.state_copies, 2);
    assert_int_equal(j.price_units_per_tflop, 100000);
    assert_int_equal(j.budget_units, 0);
    assert_int_equal(job_units_per_step(&j), 4 * 2 * 32);
    json_decref(root);
}

static void test_mistakes_are_named(void **state)
{
    static const struct {
        const char *path, *value, *says;
    } CASES[] = {
        {"name", NULL, "name is missing"},
        {"name", "\"Upper\"", "name must be 1 to 40 lower-case"},
        {"name", "7", "name must be text, not an integer"},
        {"kind", "\"infer\"", "kind must be 'train' or 'evaluate', not 'infer'"},
        {"seed", "-1", "seed must be from 0"},
        {"seed", "1.5", "seed must be an integer, not a number with a fraction"},
        {"sed", "1", "unknown field 'sed'"},
        {"model", "[]", "model must be a map, not a list"},
        {"model.architecture", "\"gpt2\"", "model.architecture must be 'llama'"},
        {"model.storage", "\"f16\"", "model.storage must be 'f32' or 'bf16', not 'f16'"},
        {"model.storage", "16", "model.storage must be text"},
        {"model.vocab_size", "2000000", "model.vocab_size must be from 1 to 1048576"},
        {"model.hidden_size", NULL, "model.hidden_size is missing"},
        {"model.hidden_size", "66", "even multiple of model.heads"},
        {"model.hidden_size", "4", "even multiple"},
        {"model.hidden_size", "1000000", "model.hidden_size must be from 2 to 16384"},
        {"model.heads", "0", "model.heads must be from 1"},
        {"model.kv_heads", "3", "multiple of model.kv_heads"},
        {"model.layers", "100000", "model.layers must be from 1"},
        {"model.tie_embeddings", "1", "model.tie_embeddings must be true or false"},
        {"model.attention_bias", "\"yes\"", "model.attention_bias must be true or false"},
        {"model.rope_theta", "0.5", "model.rope_theta must be from 1"},
        {"model.hidden", "1", "unknown field 'model.hidden'; known in 'model' are"},
        {"data", NULL, "data must name the corpus"},
        {"data.cid", "\"bafybad\"", "data.cid: 'bafybad' is not a CID"},
        {"data.cid", "\"bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e\"", "give one"},
        {"data.heldout", "0.5", "data.heldout must be less than 0.5"},
        {"data.heldout", "\"5%\"", "data.heldout must be a number, not text"},
        {"recipe.optimiser", "\"adam\"", "must be 'adamw', 'sgd', 'lion' or 'muon', not 'adam'"},
        {"recipe.patience", "3", "recipe.patience needs evaluations during training: give recipe"},
        {"recipe.keep", "\"best\"", "recipe.keep 'best' needs evaluations during training"},
        {"recipe.schedule", "1", "recipe.schedule must be text, not an integer"},
        {"recipe.lrr", "1", "unknown field 'recipe.lrr'"},
        {"recipe.lr", "0", "recipe.lr must be from 1e-12 to 1, not 0"},
        {"recipe.lr", "-0.1", "recipe.lr must be from"},
        {"recipe.min_lr", "0.1", "recipe.min_lr 0.1 must not pass recipe.lr"},
        {"recipe.steps", "0", "recipe.steps must be from 1"},
        {"recipe.steps", "20000000", "recipe.steps must be from 1"},
        {"recipe.warmup_steps", "101", "recipe.warmup_steps 101 must not pass"},
        {"recipe.checkpoint_every", "101", "recipe.checkpoint_every 101 must not pass"},
        {"recipe.micro_batch", "4096", NULL},
        {"recipe.seq_len", "32768", NULL},
        {"recipe.micro_batches", "5000", "recipe.micro_batches must be from 1 to 4096"},
        {"recipe.beta2", "1", "recipe.beta2 must be from"},
        {"recipe.eps", "0", "recipe.eps must be from"},
        {"policy.check", "1.1", "policy.check must be from 0 to 1"},
        {"policy.state_copies", "0", "policy.state_copies must be from 1"},
        {"price.per_tflop", "0.1", "price.per_tflop must be an amount of EMAC in quotes"},
        {"price.per_tflop", "\"0\"", "price.per_tflop must be from \"0.000000001\""},
        {"budget", "\"1e3\"", "budget: '1e3' is not an amount"},
        {"owner", "\"me\"", "owner must be a did:key"},
        {"nonce", "null", "nonce must be an integer, not nothing"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct job j;
        struct emac_err err = {0};
        char file[64];
        json_t *root = least();
        put(root, CASES[i].path, CASES[i].value);
        enum emac_status st = job_from_json(&j, root, file, sizeof file, &err);
        if (CASES[i].says == NULL ? st != EMAC_OK
                                  : st != EMAC_INVALID || strstr(err.text, CASES[i].says) == NULL)
            fail_msg("%s = %s: %s: '%s'", CASES[i].path,
                     CASES[i].value == NULL ? "" : CASES[i].value, emac_status_text(st), err.text);
        json_decref(root);
    }
}

/* A field goes with the optimiser or the schedule that has it. */
static void test_fields_follow_the_choices(void **state)
{
    static const struct {
        const char *path, *word, *field, *value, *says;
    } CASES[] = {
        {"recipe.optimiser", "\"adamw\"", "recipe.momentum", "0.9",
         "recipe.momentum goes with recipe.optimiser 'sgd' or 'muon', not with 'adamw': leave it"},
        {"recipe.schedule", "\"cosine\"", "recipe.decay_shape", "\"linear\"",
         "recipe.decay_shape goes with recipe.schedule 'wsd', not with 'cosine'"},
        {"recipe.optimiser", "\"sgd\"", "recipe.nesterov", "true", NULL},
        {"recipe.optimiser", "\"sgd\"", "recipe.beta1", "0.9",
         "recipe.beta1 goes with recipe.optimiser 'adamw', 'lion' or 'muon', not with 'sgd'"},
        {"recipe.optimiser", "\"sgd\"", "recipe.beta2", "0.9",
         "recipe.beta2 goes with recipe.optimiser 'adamw', 'lion' or 'muon', not with 'sgd'"},
        {"recipe.optimiser", "\"sgd\"", "recipe.eps", "0.9", "'adamw' or 'muon', not with 'sgd'"},
        {"recipe.optimiser", "\"sgd\"", "recipe.momentum", "1", "recipe.momentum must be from 0"},
        {"recipe.optimiser", "\"lion\"", "recipe.beta2", "0.98", NULL},
        {"recipe.optimiser", "\"lion\"", "recipe.eps", "0.1", "not with 'lion': leave it out"},
        {"recipe.optimiser", "\"lion\"", "recipe.nesterov", "true", "'sgd' or 'muon', not"},
        {"recipe.optimiser", "\"muon\"", "recipe.eps", "1e-7", NULL},
        {"recipe.optimiser", "\"muon\"", "recipe.momentum", "0.9", NULL},
        {"recipe.schedule", "\"wsd\"", "recipe.decay_steps", "95", NULL},
        {"recipe.schedule", "\"wsd\"", "recipe.decay_steps", "96",
         "recipe.decay_steps 96 and recipe.warmup_steps 5 together must not pass recipe.steps"},
        {"recipe.schedule", "\"wsd\"", "recipe.decay_shape", "\"sqrt\"",
         "recipe.decay_shape must be '1-sqrt' or 'linear'"},
        {"recipe.schedule", "\"constant\"", "recipe.min_lr", "0",
         "recipe.min_lr goes with recipe.schedule 'cosine', 'wsd' or 'linear', not with 'const"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct job j;
        struct emac_err err = {0};
        char file[64];
        json_t *root = least();
        put(root, CASES[i].path, CASES[i].word);
        put(root, CASES[i].field, CASES[i].value);
        enum emac_status st = job_from_json(&j, root, file, sizeof file, &err);
        if (CASES[i].says == NULL ? st != EMAC_OK
                                  : st != EMAC_INVALID || strstr(err.text, CASES[i].says) == NULL)
            fail_msg("%s %s, %s %s: %s: '%s'", CASES[i].path, CASES[i].word, CASES[i].field,
                     CASES[i].value, emac_status_text(st), err.text);
        json_decref(root);
    }
}

/* What an optimiser does not say is filled in with what is usual for it. */
static void test_defaults_follow_the_choices(void **state)
{
    struct job j;
    char file[64];
    json_t *root = least();
    put(root, "recipe.optimiser", "\"muon\"");
    put(root, "recipe.schedule", "\"wsd\"");
    assert_ok(job_from_json(&j, root, file, sizeof file, err));
    assert_true(j.optimiser.kind == OPTIMISER_MUON && j.optimiser.schedule == SCHEDULE_WSD);
    assert_true(j.optimiser.momentum == 0.95 && j.optimiser.nesterov && j.optimiser.beta2 == 0.95);
    assert_true(j.optimiser.decay_steps == 20 && j.optimiser.decay_shape == DECAY_ROOT);
    put(root, "recipe.optimiser", "\"sgd\"");
    put(root, "recipe.schedule", "\"constant\"");
    assert_ok(job_from_json(&j, root, file, sizeof file, err));
    assert_true(j.optimiser.momentum == 0.9 && !j.optimiser.nesterov && j.optimiser.eps == 0);
    assert_true(j.optimiser.weight_decay == 0 && j.optimiser.min_lr == 0);
    put(root, "recipe.optimiser", "\"lion\"");
    assert_ok(job_from_json(&j, root, file, sizeof file, err));
    assert_true(j.optimiser.beta2 == 0.99 && j.optimiser.weight_decay == 0.1);
    json_decref(root);
}

static void test_sizes_are_sane_together(void **state)
{
    struct job j;
    char file[8];
    json_t *root = least();
    put(root, "recipe.micro_batch", "4096");
    put(root, "recipe.seq_len", "32768");
    assert_fails(job_from_json(&j, root, file, sizeof file, err), EMAC_INVALID, "longer than 7");
    put(root, "data.file", "\"c\"");
    assert_fails(job_from_json(&j, root, file, sizeof file, err), EMAC_INVALID,
                 "passes 1048576 tokens");
    assert_fails(job_from_json(&j, root, NULL, 0, err), EMAC_INVALID,
                 "data.file means nothing here");
    json_decref(root);
    root = least();
    put(root, "model.hidden_size", "16384");
    put(root, "model.intermediate_size", "65536");
    put(root, "model.layers", "64");
    put(root, "data.file", "\"c\"");
    assert_fails(job_from_json(&j, root, file, sizeof file, err), EMAC_INVALID,
                 "weights; fewer than");
    json_decref(root);
    root = json_loads("[1]", 0, NULL);
    assert_fails(job_from_json(&j, root, file, sizeof file, err), EMAC_INVALID, "must be a map");
    json_decref(root);
}

/* ---- canonical form ---- */

static void encode(const struct job *j, struct emac_buf *out, struct cid *cid)
{
    emac_buf_clear(out);
    assert_ok(job_encode(j, out, cid, err));
}

/* JSON -> job -> JSON -> job and -> dag-cbor -> job all have one CID. */
static void check_round_trip(const struct job *j)
{
    struct emac_buf buf;
    struct job from_json, from_cbor;
    struct cid a, b, c;
    json_t *json = job_to_json(j);
    emac_buf_init(&buf, JOB_BYTES_MAX);
    assert_ok(job_from_json(&from_json, json, NULL, 0, err));
    encode(&from_json, &buf, &b);
    encode(j, &buf, &a);
    assert_ok(job_decode(&from_cbor, buf.data, buf.len, err));
    encode(&from_cbor, &buf, &c);
    assert_true(cid_equal(&a, &b) && cid_equal(&a, &c));
    /* through text, as it travels */
    char *text = json_dumps(json, 0);
    json_t *again = json_loads(text, 0, NULL);
    assert_true(json_equal(json, again));
    free(text);
    json_decref(again);
    json_decref(json);
    emac_buf_release(&buf);
}

static double draw_real(struct draw *d, double lo, double hi)
{
    double v = lo + (hi - lo) * draw_unit(d) / 3;
    return draw_below(d, 6) == 0 ? lo : v;
}

static void test_round_trips(void **state)
{
    struct draw d = {.seed = 31};
    for (int round = 0; round < 500; round++) {
        struct job j = small_job(1 + draw_below(&d, 1000), 1 + draw_below(&d, 4096));
        j.seed = (uint64_t)draw_below(&d, UINT32_MAX) << 31 | draw_below(&d, UINT32_MAX);
        j.nonce = draw_below(&d, UINT32_MAX);
        j.budget_units = draw_below(&d, 3) * (int64_t)draw_below(&d, UINT32_MAX);
        j.price_units_per_tflop = 1 + draw_below(&d, UINT32_MAX);
        j.check = draw_real(&d, 0, 1);
        j.heldout = draw_real(&d, 0, 0.49);
        j.optimiser.lr = draw_real(&d, 1e-9, 1);
        j.optimiser.min_lr = j.optimiser.lr * draw_unit(&d);
        j.optimiser.warmup_steps = draw_below(&d, j.optimiser.steps + 1);
        j.optimiser.kind = (enum optimiser_kind)draw_below(&d, OPTIMISER_KINDS);
        j.optimiser.schedule = (enum schedule_kind)draw_below(&d, SCHEDULE_CONSTANT + 1);
        j.optimiser.decay_shape = (enum decay_shape)draw_below(&d, DECAY_LINEAR + 1);
        j.optimiser.decay_steps = draw_below(&d, j.optimiser.steps - j.optimiser.warmup_steps + 1);
        j.eval_every = draw_below(&d, 3);
        j.patience = j.eval_every == 0 ? 0 : draw_below(&d, 3);
        j.keep = j.eval_every > 0 && draw_below(&d, 2) == 0 ? KEEP_BEST : KEEP_LAST;
        j.optimiser.nesterov = draw_below(&d, 2) == 0;
        j.optimiser.weight_decay = draw_real(&d, 0, 1);
        j.checkpoint_every = 1 + draw_below(&d, j.optimiser.steps);
        j.model.tie_embeddings = draw_below(&d, 2) == 0;
        j.model.storage = draw_below(&d, 4) == 0 ? DTYPE_BF16 : DTYPE_F32;
        j.model.qkv_bias = draw_below(&d, 2) == 0;
        if (draw_below(&d, 2) == 0) {
            uint8_t key[32] = {(uint8_t)round, 1};
            crypto_did_key(j.owner, key);
        }
        check_round_trip(&j);
    }
}

static void test_job_encoding_is_fixed(void **state)
{
    struct job j = small_job(10, 4);
    struct emac_buf buf;
    struct cid cid;
    char text[CID_TEXT_MAX], id[JOB_ID_MAX];
    emac_buf_init(&buf, JOB_BYTES_MAX);
    encode(&j, &buf, &cid);
    cid_text(text, &cid);
    assert_string_equal(text, "bafyreig5pkmje5uaixcopezu5cewoxbozaa2ntpjzngr7rxyjjq6ezlfgq");
    job_id(id, &cid);
    assert_string_equal(id, "job-xyjjq6ezlfgq");
    emac_buf_release(&buf);
}

/* What is usual is said by silence: older jobs keep their CIDs, and there is one form. */
static void test_storage_is_said_when_it_matters(void **state)
{
    struct job j = small_job(10, 4), back;
    struct emac_buf buf;
    uint8_t *at;
    emac_buf_init(&buf, JOB_BYTES_MAX);
    encode(&j, &buf, NULL);
    assert_null(memmem(buf.data, buf.len, "storage", 7));
    emac_buf_clear(&buf);
    j.model.storage = DTYPE_BF16;
    encode(&j, &buf, NULL);
    at = memmem(buf.data, buf.len, "storagedbf16", 12);
    assert_non_null(at);
    assert_ok(job_decode(&back, buf.data, buf.len, err));
    assert_int_equal(back.model.storage, DTYPE_BF16);
    memcpy(at, "storagedf32 ", 12);
    assert_fails(job_decode(&back, buf.data, buf.len, err), EMAC_INVALID, "not known");
    emac_buf_release(&buf);
}

static void test_damage_is_never_silent(void **state)
{
    struct draw d = {.seed = 32};
    struct job j = small_job(10, 4), back;
    struct emac_buf clean, again;
    emac_buf_init(&clean, JOB_BYTES_MAX);
    emac_buf_init(&again, JOB_BYTES_MAX);
    encode(&j, &clean, NULL);
    for (int round = 0; round < 5000; round++) {
        uint64_t at = d.at;
        uint8_t bytes[2048];
        size_t n = clean.len - (draw_below(&d, 4) == 0 ? draw_below(&d, (uint32_t)clean.len) : 0);
        memcpy(bytes, clean.data, n);
        for (uint32_t i = draw_below(&d, 4); i > 0 && n > 0; i--)
            bytes[draw_below(&d, (uint32_t)n)] ^= (uint8_t)(1u << draw_below(&d, 8));
        struct emac_err why = {0};
        if (job_decode(&back, bytes, n, &why) != EMAC_OK) {
            assert_true(why.text[0] != '\0');
            continue;
        }
        encode(&back, &again, NULL);
        if (again.len != n || memcmp(again.data, bytes, n) != 0)
            fail_msg("seed 32 at %llu: another encoding was accepted", (unsigned long long)at);
    }
    emac_buf_release(&clean);
    emac_buf_release(&again);
}

/* ---- what follows from the corpus ---- */

static void test_corpus_is_divided(void **state)
{
    struct job j = small_job(4, 2);
    assert_int_equal(job_train_end(&j), 4096 - 409);
    assert_int_equal(job_eval_batches(&j),
                     6); /* 25 windows of 16 -> 12 batches of 2, 6 asked for */
    j.eval_batches = 100;
    assert_int_equal(job_eval_batches(&j), 12);
    assert_ok(job_check(&j, err));
    j.heldout = 0;
    assert_int_equal(job_train_end(&j), 4096);
    assert_int_equal(job_eval_batches(&j), 0);
    assert_ok(job_check(&j, err));
    j.heldout = 0.004; /* 16 bytes: no window of 17 */
    assert_fails(job_check(&j, err), EMAC_INVALID, "held-out tokens");
    j.data_size = 16;
    j.heldout = 0;
    assert_fails(job_check(&j, err), EMAC_INVALID, "leaves 16 tokens for training");
    j.data_size = 0;
    assert_fails(job_check(&j, err), EMAC_INVALID, "not set");
    j = small_job(4, 2);
    j.data.codec = 0;
    assert_fails(job_check(&j, err), EMAC_INVALID, "not set");
    struct emac_buf buf;
    emac_buf_init(&buf, JOB_BYTES_MAX);
    assert_fails(job_encode(&j, &buf, NULL, err), EMAC_INVALID, "data.cid is not set");
    emac_buf_release(&buf);
}

/* ---- jobs on data sets ---- */

static const char LEAST_CNN[] =
    "{\"name\": \"least\", \"data\":"
    " {\"cid\": \"bafyreiffpmqbkhvddpm3ogf4ptptbyk3pvvj666mljhx7anv63ugmim7c4\"},"
    " \"model\": {\"architecture\": \"cnn\", \"filters\": 4, \"hidden_size\": 8},"
    " \"recipe\": {\"micro_batch\": 2, \"micro_batches\": 4, \"steps\": 100, \"lr\": 0.001}}";

static void test_fields_follow_the_architecture(void **state)
{
    static const struct {
        const char *path, *value, *says;
    } CASES[] = {
        {"model.architecture", "\"mlp\"",
         "unknown field 'model.filters'; known in 'model' are "
         "architecture layers hidden_size"},
        {"model.architecture", "\"llama\"", "unknown field 'model.filters'"},
        {"model.architecture", "7", "model.architecture must be text, not an integer"},
        {"model.heads", "2", "unknown field 'model.heads'"},
        {"model.filters", NULL, "model.filters is missing"},
        {"model.stages", "7", "model.stages must be from 1 to 6, not 7"},
        {"model.kernel", "4", "model.kernel must be odd, not 4"},
        {"data.heldout", "0.1", "unknown field 'data.heldout'"},
        {"data.file", "\"x\"", "give one of them"},
        {"data.height", "9", "model: width must be from 1"},
        {"recipe.seq_len", "8", "unknown field 'recipe.seq_len'"},
    };
    struct job j;
    json_t *root = json_loads(LEAST_CNN, 0, NULL);
    assert_ok(job_from_json(&j, root, NULL, 0, err));
    assert_int_equal(j.architecture, JOB_CNN);
    assert_int_equal(j.classifier.stages, 2);
    assert_int_equal(j.classifier.kernel, 3);
    assert_int_equal(j.classifier.layers, 1);
    assert_int_equal(j.eval_batches, JOB_MICRO_BATCHES_MAX);
    assert_int_equal(job_units_per_step(&j), 8);
    assert_string_equal(job_unit(&j), "samples");
    assert_fails(job_check(&j, err), EMAC_INVALID, "not set");
    json_decref(root);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char file[64];
        struct emac_err err = {0};
        root = json_loads(LEAST_CNN, 0, NULL);
        put(root, CASES[i].path, CASES[i].value);
        if (job_from_json(&j, root, file, sizeof file, &err) != EMAC_INVALID ||
            strstr(err.text, CASES[i].says) == NULL)
            fail_msg("%s: '%s'", CASES[i].path, err.text);
        json_decref(root);
    }
    root = json_loads(LEAST_CNN, 0, NULL);
    put(root, "data.cid", NULL);
    put(root, "data.file", "\"x\"");
    char file[64];
    assert_fails(job_from_json(&j, root, file, sizeof file, err), EMAC_INVALID,
                 "trains on a data set");
    json_decref(root);
}

static void test_jobs_on_records_round_trip(void **state)
{
    struct job j = records_job(10, 4);
    struct emac_buf buf;
    struct cid cid;
    char text[CID_TEXT_MAX];
    assert_ok(job_check(&j, err));
    check_round_trip(&j);
    emac_buf_init(&buf, JOB_BYTES_MAX);
    encode(&j, &buf, &cid);
    cid_text(text, &cid);
    assert_string_equal(text, "bafyreiet2ire3jl2lrer5ruwmzwow3s57bake4uhxdh3xompalffez4uxu");
    emac_buf_release(&buf);
    j.architecture = JOB_MLP;
    j.classifier.stages = j.classifier.filters = j.classifier.kernel = 0;
    check_round_trip(&j);
}

/* ---- a base ---- */

static struct job based_job(enum tune_kind kind)
{
    struct job j = small_job(10, 4);
    j.tune.kind = kind;
    j.base = cid_for("base");
    if (kind == TUNE_HEAD)
        j.tune.layers = 2;
    if (kind == TUNE_LORA)
        j.tune = (struct tune){.kind = kind, .rank = 4, .alpha = 2.5, .targets = 1u << TUNE_UP};
    return j;
}

static void test_a_base_is_said_when_there_is_one(void **state)
{
    struct draw d = {.seed = 33};
    struct emac_buf buf;
    struct job back;
    emac_buf_init(&buf, JOB_BYTES_MAX);
    for (int kind = TUNE_FULL; kind < TUNE_KINDS; kind++) {
        struct job j = based_job((enum tune_kind)kind);
        for (int round = 0; round < 20; round++) {
            if (kind == TUNE_LORA)
                j.tune.targets = 2 * (1 + draw_below(&d, 127));
            check_round_trip(&j);
        }
        encode(&j, &buf, NULL);
        assert_non_null(memmem(buf.data, buf.len, "dbase", 5));
        assert_ok(job_decode(&back, buf.data, buf.len, err));
        assert_memory_equal(&back, &j, sizeof j);
    }
    struct job j = small_job(10, 4);
    encode(&j, &buf, NULL);
    assert_null(memmem(buf.data, buf.len, "dbase", 5));
    j = records_job(10, 4);
    j.tune = (struct tune){.kind = TUNE_LORA, .rank = 1, .alpha = 1, .targets = 1u << TUNE_DENSE};
    j.base = cid_for("base");
    check_round_trip(&j);
    emac_buf_release(&buf);
}

static void test_sets_have_one_form(void **state)
{
    struct job j = based_job(TUNE_LORA), back;
    struct emac_buf buf;
    emac_buf_init(&buf, JOB_BYTES_MAX);
    j.tune.targets = 1u << TUNE_K | 1u << TUNE_O;
    encode(&j, &buf, NULL);
    uint8_t *at = memmem(buf.data, buf.len, "fk_projfo_proj", 14);
    assert_non_null(at);
    memcpy(at, "fo_projfk_proj", 14);
    assert_fails(job_decode(&back, buf.data, buf.len, err), EMAC_INVALID, "not known");
    memcpy(at, "fo_projfo_proj", 14);
    assert_fails(job_decode(&back, buf.data, buf.len, err), EMAC_INVALID, "not known");
    emac_buf_release(&buf);
}

#define SOME_CID "\"bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e\""

static void test_mistakes_in_a_base_are_named(void **state)
{
    static const struct {
        const char *train, *path, *value, *says;
    } CASES[] = {
        {"\"full\"", "base.cid", NULL, "base.cid is missing"},
        {"\"none\"", "seed", "1", "base.cid goes with base.train 'full', 'head' or 'lora'"},
        {"\"some\"", "seed", "1", "base.train must be 'none', 'full', 'head' or 'lora'"},
        {"\"full\"", "base.rank", "4", "base.rank goes with base.train 'lora', not with 'full'"},
        {"\"head\"", "base.layers", "0", "base.layers must be from 1"},
        {"\"lora\"", "base.targets", "[]", "base.targets must be a list"},
        {"\"lora\"", "base.targets", "\"q_proj\"", "base.targets must be a list"},
        {"\"lora\"", "base.targets", "[\"q_proj\", \"q_proj\"]", "each once"},
        {"\"lora\"", "base.targets", "[\"dense\"]", "must list some of 'down_proj'"},
        {"\"lora\"", "base.alpha", "0", "base.alpha must be from"},
        {"\"lora\"", "base.targets", "[\"q_proj\", \"up_proj\"]", NULL},
        {"\"lora\"", "spread", "{\"kind\": \"pipeline\", \"stages\": 2}", NULL},
        {"\"full\"", "spread", "{\"kind\": \"pipeline\", \"stages\": 2}", NULL},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct job j;
        struct emac_err err = {0};
        char file[64];
        json_t *root = least();
        put(root, "base.cid", SOME_CID);
        put(root, "base.train", CASES[i].train);
        put(root, CASES[i].path, CASES[i].value);
        enum emac_status st = job_from_json(&j, root, file, sizeof file, &err);
        if (CASES[i].says == NULL ? st != EMAC_OK
                                  : st != EMAC_INVALID || strstr(err.text, CASES[i].says) == NULL)
            fail_msg("%s: %s: '%s'", CASES[i].path, emac_status_text(st), err.text);
        json_decref(root);
    }
}

static void test_records_are_counted(void **state)
{
    struct job j = records_job(10, 4);
    assert_int_equal(job_eval_batches(&j), 6); /* asked for; there are 10 */
    j.eval_batches = 4096;
    assert_int_equal(job_eval_batches(&j), 10);
    j.test_records = 0;
    assert_int_equal(job_eval_batches(&j), 0);
    assert_ok(job_check(&j, err));
    j.test_records = 1;
    assert_fails(job_check(&j, err), EMAC_INVALID, "1 test records, fewer than");
    j = records_job(10, 4);
    j.micro_batch = 4096;
    j.classifier.height = j.classifier.width = 512;
    assert_fails(job_check(&j, err), EMAC_INVALID, "features of a record passes");
    j.records = 0;
    j.micro_batch = 2;
    assert_fails(job_check(&j, err), EMAC_INVALID, "come from the data set");
}

static void test_facts_come_from_the_token_set(void **state)
{
    struct job j = small_job(4, 2), blank = j;
    const struct corpus c = {
        .tokens = 1000, .text = 4096, .vocab = 5000, .width = 2, .file = j.data};
    const struct corpus bytes = {.tokens = 4096, .text = 4096, .vocab = 256, .width = 1};
    assert_ok(job_take_corpus(&j, &bytes, err));
    assert_memory_equal(&blank, &j, sizeof j);
    assert_true(job_bits_per_byte(&j, 1) == 1.4426950408889634);
    assert_fails(job_take_corpus(&j, &c, err), EMAC_INVALID,
                 "data.size is 4096 but that of the data is 2000");
    blank.data_size = 0;
    assert_ok(job_take_corpus(&blank, &c, err));
    assert_int_equal(blank.model.vocab_size, 5000);
    assert_int_equal(job_tokens(&blank), 1000);
    assert_int_equal(job_token_width(&blank), 2);
    assert_int_equal(job_train_end(&blank), 900);
    assert_true(job_bits_per_byte(&blank, 2) == 2 * 1.4426950408889634 * 1000 / 4096);
    assert_ok(job_check(&blank, err));
    blank.model.vocab_size = 4999;
    assert_fails(job_check(&blank, err), EMAC_INVALID,
                 "model.vocab_size 4999 is less than the vocabulary of the data, 5000");
    blank.model.vocab_size = 5000;
    blank.tokens = 999;
    assert_fails(job_check(&blank, err), EMAC_INVALID, "are not those of a token set");
    j.model.vocab_size = 300;
    assert_fails(job_check(&j, err), EMAC_INVALID, "whose tokens are bytes: 256");
}

static void test_facts_come_from_the_data_set(void **state)
{
    struct job j = records_job(10, 4), blank = j;
    struct dataset d = {.height = 8,
                        .width = 8,
                        .channels = 1,
                        .class_count = 3,
                        .split = {{.records = 50}, {.records = 20}}};
    blank.records = blank.test_records = blank.data_size = 0;
    blank.classifier.height = blank.classifier.width = blank.classifier.channels = 0;
    blank.classifier.classes = 0;
    assert_ok(job_take_dataset(&blank, &d, err));
    assert_memory_equal(&blank, &j, sizeof j);
    assert_ok(job_take_dataset(&j, &d, err));
    j.classifier.classes = 4;
    assert_fails(job_take_dataset(&j, &d, err), EMAC_INVALID,
                 "data.classes is 4 but that of the data is 3");
}

/* ---- the manual ---- */

/* `a`, `b`: the words of a set. */
static void words_text(const struct job_field *f, uint32_t set, char *out)
{
    size_t at = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < f->word_count; i++) {
        if (f->words[i] == NULL || (set >> i & 1) == 0)
            continue;
        at += (size_t)snprintf(out + at, JOB_WORDS_TEXT_MAX - at, "%s`%s`", at == 0 ? "" : ", ",
                               f->words[i]);
    }
}

static void field_value_text(const struct job_field *f, char *out, size_t cap)
{
    char lo[32], hi[32], words[JOB_WORDS_TEXT_MAX];
    ledger_amount_text(lo, (int64_t)f->lo);
    ledger_amount_text(hi, (int64_t)(f->hi < 9e18 ? f->hi : 9e18));
    switch (f->type) {
    case FIELD_NAME:
        snprintf(out, cap, "1 to 40 of a-z 0-9 -");
        break;
    case FIELD_CHOICE:
        job_field_words(words, f, UINT32_MAX);
        for (char *c = words; *c != '\0'; c++)
            *c = *c == '\'' ? '`' : *c;
        snprintf(out, cap, "%s", words);
        break;
    case FIELD_SET:
        words_text(f, UINT32_MAX, words);
        snprintf(out, cap, "list of %s", words);
        break;
    case FIELD_LIST:
        snprintf(out, cap, "list of integers, %.0f to %.0f", f->lo, f->hi);
        break;
    case FIELD_BOOL:
        snprintf(out, cap, "true or false");
        break;
    case FIELD_CID:
        snprintf(out, cap, "CID");
        break;
    case FIELD_OWNER:
        snprintf(out, cap, "did:key");
        break;
    case FIELD_AMOUNT:
        snprintf(out, cap, "amount, %s to %s EMAC", lo, hi);
        break;
    case FIELD_U32:
    case FIELD_U64:
        snprintf(out, cap, f->hi > 9e18 ? "integer, 0 to 2^63-1" : "integer, %.0f to %.0f", f->lo,
                 f->hi);
        break;
    case FIELD_F64:
        snprintf(out, cap, "number, %.15g to %.15g", f->lo, f->hi);
        break;
    }
}

static void field_default_text(const struct job_field *f, char *out, size_t cap)
{
    char amount[32];
    ledger_amount_text(amount, (int64_t)f->usual);
    if (f->need == NEED_MUST)
        snprintf(out, cap, "required |");
    else if (f->need == NEED_LATER)
        snprintf(out, cap, "filled in |");
    else if (f->need == NEED_DERIVED)
        snprintf(out, cap, "`"); /* names the field it follows from */
    else if (f->type == FIELD_LIST)
        snprintf(out, cap, "none |");
    else if (f->type == FIELD_CHOICE)
        snprintf(out, cap, "`%s` |", f->words[(uint32_t)f->usual]);
    else if (f->type == FIELD_SET) {
        words_text(f, (uint32_t)f->usual, out);
        snprintf(out + strlen(out), cap - strlen(out), " |");
    } else if (f->type == FIELD_BOOL)
        snprintf(out, cap, "%s |", f->usual != 0 ? "true" : "false");
    else if (f->type == FIELD_AMOUNT)
        snprintf(out, cap, "%s |", amount);
    else
        snprintf(out, cap, "%.15g |", f->usual);
}

static void test_the_manual_says_what_the_table_says(void **state)
{
    struct emac_buf manual;
    const char *end = strstr(__FILE__, "tests/unit/");
    char path[512];
    snprintf(path, sizeof path, "%.*sdocs/job.md", (int)(end - __FILE__), __FILE__);
    emac_buf_init(&manual, 1 << 20);
    if (os_real()->file_read(os_real(), path, &manual, NULL) != EMAC_OK) {
        emac_buf_release(&manual);
        skip(); /* not started from the build directory */
    }
    for (uint32_t i = 0; i < JOB_FIELD_COUNT; i++) {
        const struct job_field *f = &JOB_FIELDS[i];
        char name[JOB_PATH_MAX], value[JOB_WORDS_TEXT_MAX], usual[JOB_WORDS_TEXT_MAX + 2], row[500];
        job_field_path(name, f->section, f->key);
        field_value_text(f, value, sizeof value);
        field_default_text(f, usual, sizeof usual);
        snprintf(row, sizeof row, "\n| `%s` | %s | %s", name, value, usual);
        if (strstr(emac_buf_str(&manual), row) == NULL)
            fail_msg("docs/job.md lacks the row: %s", row + 1);
    }
    emac_buf_release(&manual);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_manual_says_what_the_table_says),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_mistakes_are_named),
        cmocka_unit_test(test_fields_follow_the_choices),
        cmocka_unit_test(test_defaults_follow_the_choices),
        cmocka_unit_test(test_sizes_are_sane_together),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_job_encoding_is_fixed),
        cmocka_unit_test(test_storage_is_said_when_it_matters),
        cmocka_unit_test(test_damage_is_never_silent),
        cmocka_unit_test(test_corpus_is_divided),
        cmocka_unit_test(test_fields_follow_the_architecture),
        cmocka_unit_test(test_jobs_on_records_round_trip),
        cmocka_unit_test(test_a_base_is_said_when_there_is_one),
        cmocka_unit_test(test_sets_have_one_form),
        cmocka_unit_test(test_mistakes_in_a_base_are_named),
        cmocka_unit_test(test_records_are_counted),
        cmocka_unit_test(test_facts_come_from_the_token_set),
        cmocka_unit_test(test_facts_come_from_the_data_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

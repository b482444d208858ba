/* Evaluation as a job of its own: its fields, its plan, what any fleet makes of it, its result. */
#include "fixture.h"

#include <jansson.h>
#include <stdio.h>

#include "models.h"
#include "work/base.h"
#include "work/evaluate.h"

#define WANTS_MAX 64

/* The job of a file with these sections, on a text of so many bytes. */
static struct job file_job(const char *more, uint64_t size)
{
    char text[1000], file[64];
    struct job j;
    snprintf(text, sizeof text, "{\"name\": \"score\", \"kind\": \"evaluate\", %s}", more);
    json_t *root = json_loads(text, 0, NULL);
    assert_non_null(root);
    assert_ok(base_complete(root, s, err));
    assert_ok(job_from_json(&j, root, file, sizeof file, err));
    json_decref(root);
    j.data = cid_for("corpus");
    j.data_size = size;
    return j;
}

static struct job text_job(const char *recipe)
{
    struct job small = small_job(4, 4);
    const struct cid cid = text_base(&small.model, ST_F32, (struct entry){0});
    char text[CID_TEXT_MAX], more[600];
    cid_text(text, &cid);
    snprintf(more, sizeof more,
             "\"model\": {\"cid\": \"%s\"}, \"data\": {\"file\": \"x\"}, \"recipe\": {%s}", text,
             recipe);
    return file_job(more, 4096);
}

/* ---- fields ---- */

static void test_a_job_file_is_completed(void **state)
{
    struct job j = text_job("\"micro_batch\": 4"), back;
    struct emac_buf object;
    struct cid cid, again;
    assert_int_equal(j.kind, JOB_EVALUATE);
    assert_int_equal(j.architecture, JOB_LLAMA);
    assert_int_equal(j.seq_len, 16); /* the model's longest */
    assert_true(j.heldout == 1 && job_train_end(&j) == 0);
    assert_int_equal(job_eval_rows(&j), 4095 / 16);
    assert_int_equal(job_eval_batches(&j), 4095 / 16 / 4);
    assert_int_equal(job_units_per_step(&j), 4095 / 16 / 4 * 4 * 16);
    assert_ok(job_check(&j, err));
    emac_buf_init(&object, JOB_BYTES_MAX);
    assert_ok(job_encode(&j, &object, &cid, err));
    assert_ok(job_decode(&back, object.data, object.len, err));
    assert_true(cid_equal(&back.base, &j.base) && back.micro_batch == 4 && back.seq_len == 16);
    emac_buf_clear(&object);
    assert_ok(job_encode(&back, &object, &again, err));
    assert_true(cid_equal(&cid, &again));
    emac_buf_release(&object);
}

static void test_mistakes_are_named(void **state)
{
    static const struct {
        const char *more, *says;
    } CASES[] = {
        {"\"seed\": 1", "seed goes with kind 'train', not with 'evaluate': leave it out"},
        {"\"recipe\": {\"micro_batch\": 1, \"lr\": 0.1}", "recipe.lr goes with kind 'train'"},
        {"\"spread\": {\"stages\": 2}", "spread.stages goes with kind 'train'"},
        {"\"base\": {\"cid\": \"x\"}", "base.cid goes with kind 'train'"},
        {"\"data\": {\"file\": \"x\", \"heldout\": 0}", "data.heldout must be from 1e-06 to 1"},
        {"\"data\": {\"file\": \"x\", \"split\": \"test\"}", "unknown field 'data.split'"},
        {"\"policy\": {\"state_copies\": 2}", "policy.state_copies goes with kind 'train'"},
        {"\"recipe\": {\"seq_len\": 8}", "recipe.micro_batch is missing"},
        {"\"model\": {}", "model.cid is missing"},
        {"\"model\": {\"layers\": 2}", "model.layers goes with kind 'train'"},
    };
    struct job small = small_job(4, 4), j;
    const struct cid cid = text_base(&small.model, ST_F32, (struct entry){0});
    char text[CID_TEXT_MAX], more[200], file[64];
    cid_text(text, &cid);
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        json_t *root = json_pack("{s:s, s:s, s:{s:s}, s:{s:s}, s:{s:i, s:i}}", "name", "x", "kind",
                                 "evaluate", "model", "cid", text, "data", "file", "x", "recipe",
                                 "seq_len", 16, "micro_batch", 1);
        snprintf(more, sizeof more, "{%s}", CASES[i].more);
        json_t *change = json_loads(more, 0, NULL);
        assert_non_null(change);
        json_object_update(root, change);
        assert_fails(job_from_json(&j, root, file, sizeof file, err), EMAC_INVALID, CASES[i].says);
        json_decref(change);
        json_decref(root);
    }
}

static void test_what_does_not_fit_is_told_with_both_figures(void **state)
{
    struct job j = text_job("\"micro_batch\": 300");
    struct job_plan *p;
    assert_fails(job_check(&j, err), EMAC_INVALID,
                 "there are 255 windows to evaluate on, fewer than recipe.micro_batch 300: lower");
    j = text_job("\"micro_batch\": 1, \"seq_len\": 1");
    j.data_size = 100001;
    assert_fails(
        job_check(&j, err), EMAC_INVALID,
        "100000 windows are 100000 micro-batches of 1, and an evaluation has at most 4096: "
        "take recipe.micro_batch 25, or recipe.eval_batches 4096 for the first");
    j.micro_batch = 25;
    assert_ok(job_check(&j, err));
    j = text_job("\"micro_batch\": 1, \"seq_len\": 17");
    assert_fails(job_plan_new(&j, s, &p, err), EMAC_INVALID,
                 "sequences of at most 16 tokens and recipe.seq_len is 17: take 16");
    j = text_job("\"micro_batch\": 1");
    j.architecture = JOB_CNN;
    struct evaluated e;
    assert_fails(evaluate_take(&j, s, &e, err), EMAC_INVALID,
                 "'llama' and model.architecture says");
}

static void test_records(void **state)
{
    struct job j = records_job(1, 1);
    struct evaluated e;
    j.kind = JOB_EVALUATE;
    j.split = DATASET_TEST;
    j.eval_batches = 0;
    j.base = records_base(&j.classifier);
    assert_int_equal(job_eval_rows(&j), 20);
    assert_ok(evaluate_take(&j, s, &e, err));
    assert_int_equal(j.tune.kind, TUNE_SCRATCH);
    j.split = DATASET_TRAIN;
    assert_int_equal(job_eval_batches(&j), 25);
    j.classifier.width = 9;
    assert_fails(evaluate_take(&j, s, &e, err), EMAC_INVALID,
                 "records of [8, 8, 1] and those of the data set are [8, 9, 1]");
    j.classifier.width = 8;
    j.classifier.classes = 4;
    assert_fails(evaluate_take(&j, s, &e, err), EMAC_INVALID,
                 "tells 3 classes and the data set has 4");
}

static void test_directories(void **state)
{
    static const struct {
        const char *name, *says;
    } CASES[] = {{"config.json", "holds no 'model.safetensors'"},
                 {"model.safetensors", "holds no 'config.json'"},
                 {"readme", "holds no 'model.safetensors': it must be a model"}};
    struct job j = text_job("\"micro_batch\": 1");
    struct evaluated e;
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        const struct entry entry = {CASES[i].name, EMAC_SLICE_STR("{}")};
        j.base = dir_put(&entry, 1);
        assert_fails(evaluate_take(&j, s, &e, err), EMAC_INVALID, CASES[i].says);
    }
    const struct entry baseless[] = {{"adapter_model.safetensors", EMAC_SLICE_STR("x")}};
    j.base = dir_put(baseless, 1);
    assert_fails(evaluate_take(&j, s, &e, err), EMAC_INVALID, "an adapter or a head with its base");
    j.base = cid_for("nobody has it");
    assert_fails(evaluate_take(&j, s, &e, err), EMAC_NOT_FOUND, "model.cid");
}

/* What the weights are stored as is what the model computes with. */
static void test_types_come_from_the_weights(void **state)
{
    struct job small = small_job(4, 4), j = text_job("\"micro_batch\": 1");
    struct evaluated e;
    assert_ok(evaluate_take(&j, s, &e, err));
    assert_int_equal(j.model.storage, DTYPE_F32);
    j.base = text_base(&small.model, ST_BF16, (struct entry){0});
    assert_ok(evaluate_take(&j, s, &e, err));
    assert_int_equal(j.model.storage, DTYPE_BF16);
    assert_true(cid_is_none(&e.base.dir) && cid_equal(&e.weights, &e.model.file[MODEL_WEIGHTS]));
    j.base = text_base(&small.model, ST_F16, (struct entry){0});
    assert_fails(evaluate_take(&j, s, &e, err), EMAC_UNSUPPORTED, "is F16");
}

static void test_the_usual_micro_batch_leaves_least_over(void **state)
{
    static const struct {
        uint64_t rows;
        uint32_t most, want;
    } CASES[] = {{10000, 256, 250}, {255, 64, 51},      {97, 64, 48}, {1, 64, 1},
                 {0, 64, 1},        {1 << 20, 64, 256}, {7, 1, 1},    {100000, 32, 32}};
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        uint32_t got = evaluate_micro_batch(CASES[i].rows, CASES[i].most);
        if (got != CASES[i].want)
            fail_msg("%llu rows, at most %u: %u, wanted %u", (unsigned long long)CASES[i].rows,
                     CASES[i].most, got, CASES[i].want);
    }
}

/* ---- the plan ---- */

static void answer(const struct job_plan *p, struct plan_state *st, const struct plan_want *w)
{
    struct plan_result r = {.kind = w->kind, .range = w->range, .loss = -1, .accuracy = -1};
    struct emac_buf object;
    struct cid cid;
    emac_buf_init(&object, TASK_BYTES_MAX);
    assert_true(plan_task_fits(p, st, &w->task)); /* PLAN-1 */
    assert_ok(task_encode(&w->task, &object, &cid, err));
    emac_buf_release(&object);
    set_text(r.slot, w->slot);
    if (w->kind == TASK_SCORE)
        r.loss = 2.5;
    outputs_make_up(plan_program_find(p, &w->task.program), &cid, &r);
    assert_ok(plan_take(st, &r, err));
}

/* Any fleet, any order: the ranges cover all, the score takes them, and that is the end. */
static void run_fleet(const struct job_plan *p, uint32_t workers, uint64_t seed)
{
    struct draw d = {seed, 0};
    struct plan_state st;
    double speed[8];
    uint32_t covered = 0, scores = 0;
    plan_state_init(&st);
    for (uint32_t i = 0; i < workers; i++)
        speed[i] = 0.1 + draw_unit(&d);
    while (plan_phase_of(p, &st) != PLAN_DONE) {
        struct plan_want want[WANTS_MAX];
        uint32_t count;
        assert_int_equal(plan_phase_of(p, &st), PLAN_EVAL);
        const struct tree_crew crew = {.count = workers, .speed = speed};
        assert_ok(plan_next(p, &st, NULL, 0, &crew, want, WANTS_MAX, &count, err));
        assert_true(count > 0);
        uint32_t pick = draw_below(&d, count);
        const struct plan_want *w = &want[pick];
        assert_true(cid_equal(task_input_find(&w->task, "data") == NULL
                                  ? &p->job.data
                                  : task_input_find(&w->task, "data"),
                              &p->job.data));
        if (w->kind == TASK_EVAL) {
            assert_true(cid_equal(task_input_find(&w->task, "params"), &p->weights));
            covered += w->range.count;
        } else {
            assert_int_equal(w->kind, TASK_SCORE);
            assert_int_equal(w->task.total, job_eval_batches(&p->job));
            scores++;
        }
        answer(p, &st, w);
        plan_wants_release(want, count);
        plan_turn(p, &st);
    }
    assert_int_equal(covered, job_eval_batches(&p->job));
    assert_int_equal(scores, 1);
    assert_int_equal(st.step, plan_rounds(&p->job));
    assert_true(plan_model_score(p, &st)->loss == 2.5);
    assert_false(plan_is_checkpoint(p, &st));
    assert_null(plan_value(&st, "params"));
    plan_state_release(&st);
}

static void test_no_fleet_changes_what_is_done(void **state)
{
    static const uint32_t FLEETS[] = {1, 2, 3, 5};
    struct job j = text_job("\"micro_batch\": 5");
    struct job_plan *p;
    uint64_t flops;
    int64_t units;
    assert_ok(job_plan_new(&j, s, &p, err));
    assert_int_equal(p->program_count, 2);
    assert_ok(plan_total(p, &flops, &units, err));
    assert_int_equal(flops,
                     51 * plan_program(p, TASK_EVAL)->flops + plan_program(p, TASK_SCORE)->flops);
    assert_int_equal(plan_units(&j, 1), 51 * 5 * 16);
    for (size_t i = 0; i < EMAC_COUNT(FLEETS); i++)
        for (uint64_t seed = 1; seed <= 20; seed++)
            run_fleet(p, FLEETS[i], seed);
    job_plan_free(p);
}

/* ---- the result ---- */

static struct cid result_cid(const struct job *j, double loss, double accuracy,
                             struct emac_buf *block)
{
    struct evaluation e, back;
    struct cid cid;
    emac_buf_clear(block);
    evaluation_of(j, loss, accuracy, &e);
    assert_ok(evaluation_encode(&e, block, &cid, err));
    assert_ok(evaluation_decode(&back, block->data, block->len, err));
    assert_true(cid_equal(&back.model, &j->base) && cid_equal(&back.data, &j->data));
    assert_true(back.loss == loss && back.units == job_units_per_step(j));
    return cid;
}

static void test_the_result_says_what_was_asked_and_not_by_whom(void **state)
{
    struct job j = text_job("\"micro_batch\": 5"), other = j;
    struct evaluation e;
    struct emac_buf block;
    emac_buf_init(&block, EVALUATION_BYTES_MAX);
    struct cid cid = result_cid(&j, 2, -1, &block);
    assert_ok(evaluation_decode(&e, block.data, block.len, err));
    assert_true(!e.on_records && e.bits_per_byte > 2.885 && e.bits_per_byte < 2.886);
    other.nonce = 7;
    other.price_units_per_tflop = 1;
    other.check = 1;
    set_text(other.name, "other");
    struct cid same = result_cid(&other, 2, -1, &block);
    assert_true(cid_equal(&cid, &same));
    struct cid worse = result_cid(&j, 2.25, -1, &block);
    other.micro_batch = 3;
    struct cid summed = result_cid(&other, 2, -1, &block);
    assert_false(cid_equal(&cid, &worse));
    assert_false(cid_equal(&cid, &summed));
    struct job records = records_job(1, 1);
    records.kind = JOB_EVALUATE;
    records.split = DATASET_TEST;
    records.base = j.base;
    result_cid(&records, 1, 0.5, &block);
    assert_ok(evaluation_decode(&e, block.data, block.len, err));
    assert_true(e.on_records && e.split == DATASET_TEST && e.accuracy == 0.5 && e.end == 20);
    emac_buf_release(&block);
}

static void test_damage_to_a_result_is_never_silent(void **state)
{
    struct job j = text_job("\"micro_batch\": 5");
    struct evaluation e;
    struct emac_buf block, again;
    emac_buf_init(&block, EVALUATION_BYTES_MAX);
    emac_buf_init(&again, EVALUATION_BYTES_MAX);
    result_cid(&j, 2, -1, &block);
    for (size_t n = 0; n < block.len; n++)
        assert_int_not_equal(evaluation_decode(&e, block.data, n, NULL), EMAC_OK);
    for (size_t at = 0; at < block.len * 8; at++) {
        block.data[at / 8] ^= (uint8_t)(1 << at % 8);
        if (evaluation_decode(&e, block.data, block.len, NULL) == EMAC_OK) { /* another value */
            emac_buf_clear(&again);
            assert_ok(evaluation_encode(&e, &again, NULL, err));
            assert_memory_equal(again.data, block.data, block.len);
        }
        block.data[at / 8] ^= (uint8_t)(1 << at % 8);
    }
    assert_fails(evaluation_decode(&e, "\xa0", 1, err), EMAC_INVALID, "no result of an evaluation");
    emac_buf_release(&block);
    emac_buf_release(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_job_file_is_completed),
        cmocka_unit_test(test_mistakes_are_named),
        cmocka_unit_test(test_what_does_not_fit_is_told_with_both_figures),
        cmocka_unit_test(test_records),
        cmocka_unit_test(test_directories),
        cmocka_unit_test(test_types_come_from_the_weights),
        cmocka_unit_test(test_the_usual_micro_batch_leaves_least_over),
        cmocka_unit_test(test_no_fleet_changes_what_is_done),
        cmocka_unit_test(test_the_result_says_what_was_asked_and_not_by_whom),
        cmocka_unit_test(test_damage_to_a_result_is_never_silent),
    };
    return cmocka_run_group_tests(tests, store_new, store_done);
}

/* Sweep files and what decides a sweep. */
#include "fixture.h"

#include <jansson.h>
#include <stdio.h>

#include "base/assert.h"
#include "codec/yaml.h"
#include "work/sweep.h"

#define JOB  "job: {seed: 1, recipe: {steps: 100, lr: 0.5}}\n"
#define HEAD "kind: sweep\nname: s\n" JOB
#define OVER "over: {recipe.lr: [0.1, 0.2]}\n"
#define TAIL "rungs: [10, 30]\n"

static json_t *yaml(const char *text)
{
    json_t *root = NULL;
    struct emac_err err_ = {0};
    if (yaml_to_json(text, strlen(text), &root, &err_) != EMAC_OK)
        fail_msg("%s: %s", text, err_.text);
    return root;
}

static enum emac_status read(struct sweep *s, const char *text, struct emac_err *err)
{
    json_t *root = yaml(text);
    enum emac_status st = sweep_from_json(s, root, NULL, err);
    json_decref(root);
    return st;
}

/* ---- trials ---- */

static void a_grid_in_order(void **state)
{
    static const char *const LABELS[] = {
        "recipe.optimiser=adamw recipe.lr=0.1", "recipe.optimiser=adamw recipe.lr=0.2",
        "recipe.optimiser=lion recipe.lr=0.1", "recipe.optimiser=lion recipe.lr=0.2"};
    struct sweep s;
    (void)state;
    assert_ok(read(&s, HEAD "over: {recipe.optimiser: [adamw, lion], recipe.lr: [0.1, 0.2]}\n" TAIL,
                   err));
    assert_int_equal(s.trial_count, EMAC_COUNT(LABELS));
    assert_true(s.keep == SWEEP_KEEP_USUAL);
    for (uint32_t i = 0; i < s.trial_count; i++) {
        char name[8];
        json_t *job = s.trial[i].job, *recipe = json_object_get(job, "recipe");
        snprintf(name, sizeof name, "s-%02u", i);
        assert_string_equal(s.trial[i].label, LABELS[i]);
        assert_string_equal(json_string_value(json_object_get(job, "name")), name);
        assert_true(json_number_value(json_object_get(recipe, "lr")) == (i % 2 ? 0.2 : 0.1));
        assert_string_equal(json_string_value(json_object_get(recipe, "optimiser")),
                            i < 2 ? "adamw" : "lion");
        /* what the file leaves out, and what it gives */
        assert_int_equal(json_integer_value(json_object_get(recipe, "eval_every")), 10);
        assert_int_equal(json_integer_value(json_object_get(recipe, "checkpoint_every")), 10);
        assert_int_equal(json_integer_value(json_object_get(recipe, "steps")), 100);
    }
    sweep_release(&s);
}

static void a_list_and_a_base(void **state)
{
    struct sweep s;
    json_t *base = yaml("recipe: {steps: 9, eval_every: 5}\n");
    json_t *root = yaml("kind: sweep\nname: s\nfile: base.yaml\nkeep: 0.25\nrungs: [5]\n"
                        "over: [{seed: 2}, {data.heldout: 0.1, seed: 3}, {seed: 4}]\n");
    (void)state;
    assert_string_equal(sweep_file(root), "base.yaml");
    assert_ok(sweep_from_json(&s, root, base, err));
    assert_int_equal(s.trial_count, 3);
    assert_true(s.keep == 0.25);
    assert_string_equal(s.trial[1].label, "data.heldout=0.1 seed=3");
    json_t *data = json_object_get(s.trial[1].job, "data");
    assert_true(json_number_value(json_object_get(data, "heldout")) == 0.1);
    assert_null(json_object_get(s.trial[0].job, "data"));
    assert_null(json_object_get(base, "seed")); /* the base is not written to */
    sweep_release(&s);
    json_decref(root);
    json_decref(base);
}

static void bad_files_name_the_field(void **state)
{
    static const struct {
        const char *text, *part;
    } CASES[] = {
        {"kind: sweep\n" JOB OVER TAIL, "name must"},
        {"kind: sweep\nname: A b\n" JOB OVER TAIL, "name must"},
        {"kind: sweep\nname: x23456789012345678901234567890123456789\n" JOB OVER TAIL, "1 to 36"},
        {HEAD OVER, "rungs must be a list"},
        {HEAD OVER "rungs: []\n", "rungs must be a list"},
        {HEAD OVER "rungs: [30, 30]\n", "rungs must rise"},
        {HEAD OVER "rungs: [0]\n", "rungs must rise"},
        {HEAD OVER "rungs: [ten]\n", "rungs must rise"},
        {HEAD OVER TAIL "keep: 1\n", "keep must be"},
        {HEAD OVER TAIL "keep: 0\n", "keep must be"},
        {HEAD OVER TAIL "keep: most\n", "keep must be"},
        {HEAD OVER TAIL "colour: red\n", "unknown field 'colour'"},
        {HEAD OVER TAIL "file: x.yaml\n", "not both"},
        {"kind: sweep\nname: s\n" OVER TAIL, "'job' must be a map"},
        {HEAD TAIL, "over must be"},
        {HEAD "over: 5\n" TAIL, "over must be"},
        {HEAD "over: {}\n" TAIL, "two trials"},
        {HEAD "over: {recipe.lr: [1]}\n" TAIL, "two trials"},
        {HEAD "over: {recipe.lr: []}\n" TAIL, "'recipe.lr' must have a list"},
        {HEAD "over: {recipe.lr: 0.1}\n" TAIL, "'recipe.lr' must have a list"},
        {HEAD "over: {recipe.lr: [0.1, 0.1]}\n" TAIL, "trials 0 and 1 are the same"},
        {HEAD "over: {recipe.lr: [{a: 1}, {a: 2}]}\n" TAIL, "'recipe.lr' must be the path"},
        {HEAD "over: {seed.x: [1, 2]}\n" TAIL, "'seed.x' must be the path"},
        {HEAD "over: {seed.x.y: [1, 2]}\n" TAIL, "'seed.x.y' must be the path"},
        {HEAD "over: {recipe.: [1, 2]}\n" TAIL, "'recipe.' must be the path"},
        {HEAD "over: [{}, {seed: 1}]\n" TAIL, "each trial of a list"},
        {HEAD "over: [seed, 3]\n" TAIL, "each trial of a list"},
        {HEAD
         "over: {seed: [1, 2, 3, 4, 5, 6, 7, 8, 9], recipe.lr: [1, 2, 3, 4, 5, 6, 7, 8]}\n" TAIL,
         "more than 64 trials"},
    };
    (void)state;
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        struct sweep s;
        struct emac_err err = {0};
        enum emac_status st = read(&s, CASES[i].text, &err);
        if (st != EMAC_INVALID || strstr(err.text, CASES[i].part) == NULL)
            fail_msg("row %zu: '%s' (wanted '%s')", i, err.text, CASES[i].part);
        sweep_release(&s);
    }
}

/* ---- jobs ---- */

static void trials_must_reach_the_rungs(void **state)
{
    struct sweep s = {.keep = 0.5, .rung_count = 2, .rung = {4, 8}};
    struct job good = small_job(12, 4), bad;
    (void)state;
    good.eval_every = 4;
    assert_ok(sweep_check_trial(&s, &good, &good, err));
    bad = good;
    bad.eval_every = 3;
    assert_fails(sweep_check_trial(&s, &bad, &good, err), EMAC_INVALID, "must divide the rung 4");
    bad.eval_every = 0;
    assert_fails(sweep_check_trial(&s, &bad, &good, err), EMAC_INVALID, "recipe.eval_every");
    bad = good;
    bad.spread = SPREAD_LOCAL;
    bad.local.replicas = 2;
    bad.local.inner_steps = 4;
    bad.local.fragments = 1;
    assert_ok(sweep_check_trial(&s, &bad, &good, err));
    assert_int_equal(sweep_round(&bad, 8), 2);
    bad.local.inner_steps = 3;
    assert_fails(sweep_check_trial(&s, &bad, &good, err), EMAC_INVALID, "no round of 'small' ends");
    bad = good;
    bad.checkpoint_every = 8;
    assert_fails(sweep_check_trial(&s, &bad, &good, err), EMAC_INVALID, "recipe.checkpoint_every");
    bad = good;
    bad.optimiser.steps = 8;
    assert_fails(sweep_check_trial(&s, &bad, &good, err), EMAC_INVALID, "8 is not below the 8");
    bad = good;
    bad.eval_batches = 0;
    assert_fails(sweep_check_trial(&s, &bad, &good, err), EMAC_INVALID, "no held-out data");
    bad = good;
    bad.data = cid_for("other data");
    assert_fails(sweep_check_trial(&s, &bad, &good, err), EMAC_INVALID, "do not compare");
}

static void its_name_follows_from_what_it_says(void **state)
{
    struct sweep s = {.name = "s", .keep = 0.5, .rung_count = 1, .rung = {4}, .trial_count = 2};
    struct emac_buf out;
    struct cid a, b;
    char id[SWEEP_ID_MAX];
    (void)state;
    emac_buf_init(&out, 1 << 16);
    s.trial[0].cid = cid_for("job 0");
    s.trial[1].cid = cid_for("job 1");
    assert_ok(sweep_encode(&s, "did:key:z", &out, &a, err));
    assert_ok(sweep_encode(&s, "did:key:z", &out, &b, err));
    assert_true(cid_equal(&a, &b));
    s.rung[0] = 5;
    assert_ok(sweep_encode(&s, "did:key:z", &out, &b, err));
    assert_false(cid_equal(&a, &b));
    sweep_id(id, &a);
    assert_int_equal(strlen(id), strlen("sweep-") + 12);
    emac_buf_release(&out);
}

/* ---- decisions ---- */

static void decisions(void **state)
{
    static const struct {
        double loss[6];
        uint32_t count;
        double keep;
        uint32_t order[6], on;
    } CASES[] = {
        {{3, 1, 2, 4}, 4, 0.5, {1, 2, 0, 3}, 2},
        {{3, 1, 2, 4, 5}, 5, 0.5, {1, 2, 0, 3, 4}, 2}, /* the floor */
        {{3, 1}, 2, 0.1, {1, 0}, 1},                   /* one at least */
        {{2, 2, 2}, 3, 0.34, {0, 1, 2}, 1},            /* ties: the lower trial */
        {{-1, 9, -1, 8}, 4, 0.75, {3, 1, 0, 2}, 2},    /* failed ones never go on */
        {{-1, -1}, 2, 0.5, {0, 1}, 0},
        {{7}, 1, 0.5, {0}, 1},
        {{1, 2, 3, 4, 5, 6}, 6, 1.0 / 3, {0, 1, 2, 3, 4, 5}, 2},
        {{0}, 0, 0.5, {0}, 0},
    };
    (void)state;
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        struct sweep_score score[6];
        for (uint32_t k = 0; k < CASES[i].count; k++)
            score[k] = (struct sweep_score){k, CASES[i].loss[k]};
        uint32_t on = sweep_decide(score, CASES[i].count, CASES[i].keep);
        if (on != CASES[i].on)
            fail_msg("row %zu: %u go on", i, on);
        for (uint32_t k = 0; k < CASES[i].count; k++)
            if (score[k].trial != CASES[i].order[k])
                fail_msg("row %zu: place %u is trial %u", i, k, score[k].trial);
    }
}

/* In whatever order the scores come, the same go on, and none that is worse than one that stops. */
static void decisions_know_no_order(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 500; seed++) {
        struct draw d = {.seed = seed};
        struct sweep_score a[SWEEP_TRIALS_MAX], b[SWEEP_TRIALS_MAX];
        uint32_t n = 1 + draw_below(&d, SWEEP_TRIALS_MAX);
        double keep = 0.01 + draw_unit(&d) * 0.98;
        for (uint32_t i = 0; i < n; i++)
            a[i] = (struct sweep_score){i, (double)draw_below(&d, 12) - 2};
        memcpy(b, a, sizeof b);
        for (uint32_t i = n; i > 1; i--) {
            uint32_t k = draw_below(&d, i);
            struct sweep_score t = b[k];
            b[k] = b[i - 1];
            b[i - 1] = t;
        }
        uint32_t on = sweep_decide(a, n, keep);
        bool same = on == sweep_decide(b, n, keep);
        for (uint32_t i = 0; i < n; i++)
            same = same && a[i].trial == b[i].trial;
        for (uint32_t i = on; on > 0 && i < n; i++)
            same = same && (a[i].loss < 0 || a[i].loss >= a[on - 1].loss);
        if (!same)
            fail_msg("seed %llu: the order of the scores shows", (unsigned long long)seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_grid_in_order),
        cmocka_unit_test(a_list_and_a_base),
        cmocka_unit_test(bad_files_name_the_field),
        cmocka_unit_test(trials_must_reach_the_rungs),
        cmocka_unit_test(its_name_follows_from_what_it_says),
        cmocka_unit_test(decisions),
        cmocka_unit_test(decisions_know_no_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

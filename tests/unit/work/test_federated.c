/* Data that stay: manifests of shards, and the plan of a federated job: whose each task is, and
 * that a round which starts from bad parameters is dropped, as a function of the results alone. */
#include "fixture.h"

#include <stdio.h>

#include "base/assert.h"
#include "work/shards.h"

#define SHARDS    3
#define WANTS_MAX 16

static struct shards three_shards(void)
{
    struct shards s = {.count = SHARDS};
    for (uint32_t i = 0; i < SHARDS; i++) {
        uint8_t key[ED25519_PUBLIC_BYTES] = {(uint8_t)(i + 1)};
        s.at[i].cid = cid_of(CID_RAW, &i, sizeof i);
        s.at[i].size = 1000 * (i + 1);
        crypto_did_key(s.at[i].owner, key);
    }
    return s;
}

/* ---- manifests ---- */

static void test_a_manifest_comes_back(void **state)
{
    struct shards s = three_shards(), back;
    struct emac_buf buf;
    struct cid cid;
    emac_buf_init(&buf, SHARDS_BYTES_MAX);
    assert_ok(shards_encode(&s, &buf, &cid, err));
    assert_ok(shards_decode(&back, buf.data, buf.len, err));
    assert_int_equal(back.count, SHARDS);
    for (uint32_t i = 0; i < SHARDS; i++) {
        assert_true(cid_equal(&back.at[i].cid, &s.at[i].cid));
        assert_int_equal(back.at[i].size, s.at[i].size);
        assert_string_equal(back.at[i].owner, s.at[i].owner);
    }
    assert_int_equal(shards_size(&back), 6000);
    /* every beginning of it, and every other byte, is refused or another manifest */
    for (size_t n = 0; n < buf.len; n++)
        assert_int_not_equal(shards_decode(&back, buf.data, n, NULL), EMAC_OK);
    emac_buf_release(&buf);
}

static void test_shards_that_cannot_be(void **state)
{
    struct emac_buf buf;
    emac_buf_init(&buf, SHARDS_BYTES_MAX);
    struct shards s = three_shards();
    s.count = 0;
    assert_fails(shards_encode(&s, &buf, NULL, err), EMAC_INVALID, "0 shards");
    s = three_shards();
    s.at[2].cid = s.at[0].cid;
    assert_fails(shards_encode(&s, &buf, NULL, err), EMAC_INVALID, "shards 0 and 2 are the same");
    s = three_shards();
    s.at[1].size = 0;
    assert_fails(shards_encode(&s, &buf, NULL, err), EMAC_INVALID, "shard 1 of 0 bytes");
    s = three_shards();
    set_text(s.at[1].owner, "did:key:nobody");
    assert_fails(shards_encode(&s, &buf, NULL, err), EMAC_INVALID, "owner of shard 1");
    s = three_shards();
    s.at[1].cid.codec = CID_DAG_CBOR;
    assert_fails(shards_encode(&s, &buf, NULL, err), EMAC_INVALID, "shard 1 names no file");
    emac_buf_release(&buf);
}

/* Shards that were cut into tokens name their tokenizer; all or none fit a job. */
static void test_shards_of_tokens(void **state)
{
    const struct cid by = cid_of(CID_DAG_PB, "tokenizer", 9), other = cid_of(CID_DAG_PB, "o", 1);
    const struct cid none = {0};
    struct shards s = three_shards(), back;
    struct emac_buf buf;
    char cid[CID_TEXT_MAX], tokenizer[CID_TEXT_MAX], line[2 * CID_TEXT_MAX + DID_KEY_MAX + 24];
    emac_buf_init(&buf, SHARDS_BYTES_MAX);
    assert_ok(shards_fit(&s, &none, 0, err));
    assert_fails(shards_fit(&s, &by, 2, err), EMAC_INVALID, "shard 0 is a text and 'data' is a");
    for (uint32_t i = 0; i < SHARDS; i++) {
        s.at[i].cid.codec = CID_DAG_CBOR;
        s.at[i].tokenizer = by;
    }
    assert_ok(shards_encode(&s, &buf, NULL, err));
    assert_ok(shards_decode(&back, buf.data, buf.len, err));
    for (uint32_t i = 0; i < SHARDS; i++)
        assert_true(cid_equal(&back.at[i].tokenizer, &by));
    for (size_t n = 0; n < buf.len; n++)
        assert_int_not_equal(shards_decode(&back, buf.data, n, NULL), EMAC_OK);
    assert_ok(shards_fit(&s, &by, 2, err));
    assert_fails(shards_fit(&s, &none, 0, err), EMAC_INVALID, "shard 0 is a token set and 'data'");
    assert_fails(shards_fit(&s, &other, 2, err), EMAC_INVALID, "cut by another tokenizer");
    s.at[1].size++;
    assert_fails(shards_fit(&s, &by, 2, err), EMAC_INVALID, "shard 1 has 2001 bytes");
    cid_text(cid, &s.at[0].cid);
    cid_text(tokenizer, &by);
    snprintf(line, sizeof line, "%s,1000,%s,%s", cid, s.at[0].owner, tokenizer);
    assert_ok(shard_parse(&back.at[0], line, err));
    assert_true(cid_equal(&back.at[0].tokenizer, &by));
    assert_string_equal(back.at[0].owner, s.at[0].owner);
    snprintf(line, sizeof line, "%s,1000,%s,nothing", cid, s.at[0].owner);
    assert_int_not_equal(shard_parse(&back.at[0], line, NULL), EMAC_OK);
    s = three_shards();
    s.at[1].tokenizer = by;
    assert_fails(shards_encode(&s, &buf, NULL, err), EMAC_INVALID, "shard 1 names no token set");
    s.at[1].cid.codec = CID_DAG_CBOR;
    s.at[1].tokenizer.codec = CID_RAW;
    assert_fails(shards_encode(&s, &buf, NULL, err), EMAC_INVALID, "tokenizer of shard 1 is no");
    emac_buf_release(&buf);
}

static void test_lines_of_owners(void **state)
{
    struct shards s = three_shards();
    struct shard back;
    char cid[CID_TEXT_MAX], line[CID_TEXT_MAX + DID_KEY_MAX + 24];
    cid_text(cid, &s.at[0].cid);
    snprintf(line, sizeof line, "%s,1000,%s", cid, s.at[0].owner);
    assert_ok(shard_parse(&back, line, err));
    assert_true(cid_equal(&back.cid, &s.at[0].cid) && back.size == 1000);
    assert_string_equal(back.owner, s.at[0].owner);
    static const char *const BAD[] = {"", ",", ",,", "x,1000,y", "1000"};
    for (size_t i = 0; i < EMAC_COUNT(BAD); i++)
        assert_int_not_equal(shard_parse(&back, BAD[i], NULL), EMAC_OK);
    snprintf(line, sizeof line, "%s,-5,%s", cid, s.at[0].owner);
    assert_fails(shard_parse(&back, line, err), EMAC_INVALID, "is not CID,SIZE,DID");
}

/* ---- the plan ---- */

struct made {
    struct store *store;
    struct shards shards;
    struct job job;
    struct job_plan *plan;
};

static void made_open(struct made *m)
{
    const struct store_config cfg = {.os = os_real(), .memory_quota = 1 << 20, .hash_threads = 1};
    struct emac_buf buf;
    emac_buf_init(&buf, SHARDS_BYTES_MAX);
    *m = (struct made){.shards = three_shards(), .job = small_job(12, 2)};
    assert_ok(store_open(&cfg, &m->store, err));
    assert_ok(shards_encode(&m->shards, &buf, &m->job.shards, err));
    assert_ok(store_block_put_as(m->store, &m->job.shards, buf.data, buf.len, err));
    emac_buf_release(&buf);
    m->job.spread = SPREAD_FEDERATED;
    m->job.local = (struct local_recipe){
        .inner_steps = 2, .outer_lr = 0.7, .outer_momentum = 0.9, .max_norm = 1};
    m->job.worsen = 0.1;
    m->job.eval_every = 1;
    assert_ok(job_plan_new(&m->job, m->store, &m->plan, err));
}

static void made_close(struct made *m)
{
    job_plan_free(m->plan);
    store_close(m->store);
}

/* A made-up executor; scores are as the test says. */
static void execute(const struct job_plan *p, struct plan_state *st, const struct plan_want *w,
                    const double *score)
{
    const struct plan_program *program = plan_program_find(p, &w->task.program);
    struct plan_result r = {.kind = w->kind, .range = w->range, .loss = -1};
    struct emac_buf buf;
    struct cid task;
    emac_buf_init(&buf, TASK_BYTES_MAX);
    assert_ok(task_encode(&w->task, &buf, &task, err));
    assert_true(plan_task_fits(p, st, &w->task)); /* PLAN-1 */
    set_text(r.slot, w->slot);
    if (w->kind == TASK_SCORE)
        r.loss = score[st->step];
    outputs_make_up(program, &task, &r);
    assert_ok(plan_take(st, &r, err));
    emac_buf_release(&buf);
}

/* Only tasks that take a shard are its owner's; the delta's maker is who the shard belongs to. */
static void check_owner(const struct made *m, const struct plan_want *w)
{
    const char *owner = plan_task_owner(m->plan, &w->task);
    const char *maker = plan_delta_maker(m->plan, w->kind, w->range);
    if (w->kind == TASK_LOCAL)
        assert_string_equal(owner, m->shards.at[w->range.first].owner);
    else
        assert_null(owner);
    if (w->kind == TASK_ADMIT)
        assert_string_equal(maker, m->shards.at[w->range.first].owner);
    else
        assert_null(maker);
}

/* Let the fleet of `seed` work until `rounds` rounds are done. params[r]: those after r rounds. */
static void run(const struct made *m, uint64_t seed, const double *score, uint32_t rounds,
                struct cid *params)
{
    struct draw d = {.seed = seed};
    struct plan_state st;
    const double speed[4] = {1, 2, 3, 4};
    const struct tree_crew crew = {.count = 4, .speed = speed};
    plan_state_init(&st);
    while (st.step < rounds) {
        struct plan_want want[WANTS_MAX];
        uint32_t count, cap = seed == 0 ? WANTS_MAX : 1 + draw_below(&d, WANTS_MAX);
        assert_ok(plan_next(m->plan, &st, NULL, 0, &crew, want, cap, &count, err));
        assert_true(count > 0);
        uint32_t pick = seed == 0 ? 0 : draw_below(&d, count);
        check_owner(m, &want[pick]);
        execute(m->plan, &st, &want[pick], score);
        plan_wants_release(want, count);
        if (plan_turn(m->plan, &st))
            params[st.step] = *plan_value(&st, "params");
    }
    plan_state_release(&st);
}

static void test_no_fleet_changes_the_result(void **state)
{
    static const double FINE[] = {6, 5, 4, 3, 2, 1, 1};
    struct made m;
    struct cid want[8], got[8];
    made_open(&m);
    run(&m, 0, FINE, 6, want);
    for (uint64_t seed = 1; seed < 20; seed++) {
        run(&m, seed, FINE, 6, got);
        if (!cid_equal(&want[6], &got[6]))
            fail_msg("seed %llu: another result", (unsigned long long)seed);
    }
    for (int r = 1; r <= 6; r++) /* each round moved on */
        assert_false(cid_equal(&want[r], &want[r - 1]));
    made_close(&m);
}

static void test_a_round_from_bad_parameters_is_dropped(void **state)
{
    /* The score of round r is of the parameters that it starts from. Those that round 2 led to are
     * bad: round 3 is dropped, and goes back to what round 2 started from. */
    static const double FINE[] = {6, 5, 4, 4.39, 4, 4}, BAD[] = {6, 5, 4, 4.41, 4, 4};
    struct made m;
    struct cid fine[8], bad[8];
    made_open(&m);
    run(&m, 0, FINE, 5, fine);
    run(&m, 0, BAD, 5, bad);
    for (int r = 0; r <= 3; r++)
        assert_true(cid_equal(&fine[r], &bad[r]));
    assert_false(cid_equal(&fine[4], &bad[4]));
    assert_true(cid_equal(&bad[4], &bad[2]));
    assert_false(cid_equal(&bad[5], &bad[4])); /* and on */
    /* What is no number is worse than anything; without a bound everything goes. */
    static const double NONE[] = {6, 5, 4, (double)__builtin_nanf(""), 4, 4};
    run(&m, 0, NONE, 5, bad);
    assert_true(cid_equal(&bad[4], &bad[2]));
    m.plan->job.worsen = 0;
    run(&m, 0, BAD, 5, bad);
    assert_true(cid_equal(&bad[4], &fine[4]));
    made_close(&m);
}

static void test_jobs_that_cannot_be(void **state)
{
    struct made m;
    struct job_plan *p;
    made_open(&m);
    struct job j = m.job;
    j.shards = cid_of(CID_DAG_CBOR, "other", 5);
    assert_fails(job_plan_new(&j, m.store, &p, err), EMAC_NOT_FOUND, "spread.shards");
    j.shards = cid_of(CID_RAW, "other", 5);
    assert_fails(job_plan_new(&j, m.store, &p, err), EMAC_INVALID, "not a manifest of shards");
    j = m.job;
    j.local.max_norm = 0;
    assert_fails(job_plan_new(&j, m.store, &p, err), EMAC_INVALID, "spread.max_norm");
    made_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_manifest_comes_back),
        cmocka_unit_test(test_shards_that_cannot_be),
        cmocka_unit_test(test_shards_of_tokens),
        cmocka_unit_test(test_lines_of_owners),
        cmocka_unit_test(test_no_fleet_changes_the_result),
        cmocka_unit_test(test_a_round_from_bad_parameters_is_dropped),
        cmocka_unit_test(test_jobs_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* spread.shares: how much of the work each stage of a model is to have. */
#include "fixture.h"

#include <jansson.h>

#include "base/assert.h"

static const char JOB[] =
    "{\"name\": \"cut\", \"data\": {\"file\": \"corpus.txt\"},"
    " \"model\": {\"hidden_size\": 64, \"intermediate_size\": 128, \"layers\": 4, \"heads\": 4},"
    " \"recipe\": {\"seq_len\": 32, \"micro_batch\": 2, \"micro_batches\": 4, \"steps\": 9,"
    " \"lr\": 0.001}, \"spread\": {\"kind\": \"pipeline\", \"stages\": 3}}";

static void test_shares_have_one_form(void **state)
{
    static const struct {
        const char *value, *says;
    } CASES[] = {
        {"[1, 2]", "spread.shares has 2 numbers and spread.stages is 3: give one for each"},
        {"[]", "spread.shares must be a list of one or more integers"},
        {"[1, 2, 0]", "spread.shares must list integers from 1 to 1000, at most 16"},
        {"[1, 2, 1001]", "spread.shares must list integers from 1 to 1000"},
        {"[1, 2, -1]", "spread.shares must list integers from 1 to 1000"},
        {"[1, 2, 1.5]", "spread.shares must list integers from 1 to 1000"},
        {"\"auto\"", "spread.shares 'auto' is filled in by 'emac job submit'"},
        {"3", "spread.shares must be a list of one or more integers, not an integer"}};
    struct job j, back;
    struct emac_buf object;
    struct cid alike, said;
    char file[64];
    json_t *root = json_loads(JOB, 0, NULL), *spread = json_object_get(root, "spread");
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        json_object_set_new(spread, "shares", json_loads(CASES[i].value, JSON_DECODE_ANY, NULL));
        assert_fails(job_from_json(&j, root, file, sizeof file, err), EMAC_INVALID, CASES[i].says);
    }
    json_object_del(spread, "shares");
    emac_buf_init(&object, JOB_BYTES_MAX);
    assert_ok(job_from_json(&j, root, file, sizeof file, err));
    j.data = cid_for("corpus");
    assert_ok(job_encode(&j, &object, &alike, err));
    json_object_set_new(spread, "shares", json_pack("[i,i,i]", 4, 2, 1));
    assert_ok(job_from_json(&j, root, file, sizeof file, err));
    j.data = cid_for("corpus");
    emac_buf_clear(&object);
    assert_ok(job_encode(&j, &object, &said, err));
    assert_false(cid_equal(&alike, &said));
    assert_ok(job_decode(&back, object.data, object.len, err));
    assert_memory_equal(back.pipeline.share, j.pipeline.share, sizeof j.pipeline.share);
    assert_int_equal(job_stage_rank(&j, 2), 2);
    json_t *written = job_to_json(&back);
    assert_int_equal(json_array_size(json_object_get(json_object_get(written, "spread"), "shares")),
                     3);
    json_decref(written);
    /* Another number of stages has no shares yet. */
    assert_true(job_set_stages(&back, 2) && back.pipeline.share[0] == 0);
    emac_buf_release(&object);
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares_have_one_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

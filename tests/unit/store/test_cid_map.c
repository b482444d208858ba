#include "fixture.h"

#include "store/cid_map.h"

#define KEYS 512

static struct cid key(uint32_t i)
{
    struct cid c = {.codec = i % 2 == 0 ? CID_RAW : CID_DAG_PB};
    random_fill(c.digest, sizeof c.digest, i / 2); /* pairs differ in the codec alone */
    return c;
}

/* Random puts and removes agree with an array, whatever the secret (the order of the slots). */
static void test_random(void **state)
{
    static char value[KEYS];
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct cid_map m;
        bool in[KEYS] = {false};
        size_t count = 0;
        cid_map_init(&m, seed * 0x9e3779b97f4a7c15u);
        for (uint32_t step = 0; step < 5000; step++) {
            uint32_t i = (uint32_t)philox_below(seed, PHILOX_TEST, 2, step, KEYS);
            struct cid c = key(i);
            assert_ptr_equal(cid_map_get(&m, &c), in[i] ? &value[i] : NULL);
            if (philox_below(seed, PHILOX_TEST, 3, step, 5) < 3) {
                assert_int_equal(cid_map_put(&m, &c, &value[i], NULL), EMAC_OK);
                count += !in[i];
                in[i] = true;
            } else {
                assert_ptr_equal(cid_map_remove(&m, &c), in[i] ? &value[i] : NULL);
                count -= in[i];
                in[i] = false;
            }
            assert_int_equal(m.count, count);
        }
        size_t walked = 0;
        const struct cid_slot *slot;
        for (size_t at = 0; (slot = cid_map_next(&m, &at)) != NULL; walked++)
            assert_true(in[(char *)slot->value - value]);
        if (walked != count)
            fail_msg("seed %llu: walked %zu of %zu", (unsigned long long)seed, walked, count);
        cid_map_release(&m);
    }
}

static void test_empty(void **state)
{
    struct cid_map m;
    struct cid c = key(1);
    size_t at = 0;
    cid_map_init(&m, 0);
    assert_null(cid_map_get(&m, &c));
    assert_null(cid_map_remove(&m, &c));
    assert_null(cid_map_next(&m, &at));
    cid_map_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

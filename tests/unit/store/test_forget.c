/* Values that are not wanted any more go at once, not when memory is full. */
#include "fixture.h"

#define SIZE (3u << 20)

static uint64_t values(struct store *s)
{
    struct store_stats st;
    store_stats(s, &st);
    assert_int_equal(st.memory_bytes, st.values * SIZE);
    return st.values;
}

static const struct store_value *adopt(struct store *s, uint64_t seed)
{
    struct emac_err err;
    const struct store_value *v;
    OK(store_value_adopt(s, random_bytes(SIZE, seed), SIZE, &v, &err));
    return v;
}

static void test_forget(void **state)
{
    struct store *s = open_store(os_real(), NULL, 0, 100u << 20, 1);
    const struct store_value *v = adopt(s, 1), *again;
    struct cid cid = v->cid;
    struct emac_err err;
    store_value_drop(s, v); /* kept under the quota */
    assert_int_equal(values(s), 1);
    OK(store_value_get(s, &cid, SIZE, &v, &err));
    store_value_forget(s, v);
    assert_int_equal(values(s), 0);
    assert_int_equal(store_value_get(s, &cid, SIZE, &v, &err), EMAC_NOT_FOUND);
    assert_false(store_block_has(s, &cid, NULL));

    /* Another holder keeps it; with the last one it goes, whoever says it. */
    v = adopt(s, 1);
    again = store_value_hold(s, v);
    store_value_forget(s, v);
    assert_int_equal(values(s), 1);
    assert_true(store_block_has(s, &cid, NULL));
    store_value_drop(s, again);
    assert_int_equal(values(s), 0);

    /* Made anew meanwhile: as if nobody had said anything. */
    v = adopt(s, 1);
    again = store_value_hold(s, v);
    store_value_forget(s, v);
    v = adopt(s, 1);
    assert_ptr_equal(v, again);
    store_value_drop(s, v);
    store_value_drop(s, again);
    assert_int_equal(values(s), 1);
    store_value_forget(s, NULL);
    store_close(s);
}

/* The rest of the list by use is as it was. */
static void test_forget_among_others(void **state)
{
    struct store *s = open_store(os_real(), NULL, 0, 4 * SIZE, 1);
    const struct store_value *v[4];
    struct cid cid[4];
    struct emac_err err;
    for (uint64_t i = 0; i < 4; i++) {
        v[i] = adopt(s, i);
        cid[i] = v[i]->cid;
    }
    store_value_drop(s, v[0]);
    store_value_forget(s, v[1]);
    store_value_drop(s, v[2]);
    store_value_drop(s, v[3]);
    assert_int_equal(values(s), 3);
    for (uint64_t i = 4; i < 6; i++) /* one more than there is room for: the oldest goes */
        store_value_drop(s, adopt(s, i));
    assert_int_equal(values(s), 4);
    assert_int_equal(store_value_get(s, &cid[0], SIZE, &v[0], &err), EMAC_NOT_FOUND);
    OK(store_value_get(s, &cid[2], SIZE, &v[2], &err));
    store_value_drop(s, v[2]);
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forget),
        cmocka_unit_test(test_forget_among_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

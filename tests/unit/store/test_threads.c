/* Everything at once: meant to be run under ThreadSanitizer, too. */
#include "fixture.h"

#include "os/thread.h"

#define THREADS 4
#define STEPS   60
#define KEYS    24

struct shared {
    struct store *s;
    struct cid pinned;
};

struct worker {
    struct shared *shared;
    uint64_t seed;
    struct os_thread thread;
    const char *failed;
};

static size_t size_of_key(uint64_t key)
{
    return 200 + 3000 * (size_t)key;
}

static const char *block_step(struct store *s, uint64_t key)
{
    size_t n = size_of_key(key);
    uint8_t *data = random_bytes(n, key);
    struct cid cid;
    struct emac_buf out;
    const char *failed = NULL;
    emac_buf_init(&out, UNIXFS_BLOCK_MAX);
    enum emac_status st = store_block_put(s, CID_RAW, data, n, &cid, NULL);
    /* What others put while a pin is under way is not collected, so it may be full for a moment. */
    if (st != EMAC_OK && st != EMAC_NO_SPACE)
        failed = "put";
    cid = cid_of(CID_RAW, data, n);
    st = store_block_get(s, &cid, &out, NULL);
    if (st != EMAC_OK && st != EMAC_NOT_FOUND)
        failed = "get";
    else if (st == EMAC_OK && (out.len != n || memcmp(out.data, data, n) != 0))
        failed = "contents";
    emac_buf_release(&out);
    free(data);
    return failed;
}

static const char *value_step(struct store *s, uint64_t key)
{
    size_t n = key % 4 == 0 ? ((size_t)1 << 20) + (size_t)key : size_of_key(key);
    const struct store_value *v, *again;
    if (store_value_adopt(s, random_bytes(n, 100 + key), n, &v, NULL) != EMAC_OK)
        return "adopt";
    const char *failed = NULL;
    if (store_value_get(s, &v->cid, n, &again, NULL) != EMAC_OK || again != v)
        failed = "value get";
    else
        store_value_drop(s, again);
    store_value_drop(s, v);
    return failed;
}

static const char *step(struct worker *w, uint32_t i)
{
    struct store *s = w->shared->s;
    uint64_t key = philox_below(w->seed, PHILOX_TEST, 7, i, KEYS), freed;
    char name[16];
    switch (philox_below(w->seed, PHILOX_TEST, 8, i, 5)) {
    case 0:
        return store_gc(s, 20000, &freed, NULL) == EMAC_OK ? NULL : "gc";
    case 1:
        return value_step(s, key);
    case 2:
        snprintf(name, sizeof name, "w%llu", (unsigned long long)w->seed);
        if (store_pin(s, name, &w->shared->pinned, NULL) != EMAC_OK)
            return "pin";
        return store_unpin(s, name, &w->shared->pinned, NULL) == EMAC_OK ? NULL : "unpin";
    default:
        return block_step(s, key);
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;
    for (uint32_t i = 0; i < STEPS && w->failed == NULL; i++) {
        w->failed = step(w, i);
        if (w->failed == NULL && !store_block_has(w->shared->s, &w->shared->pinned, NULL))
            w->failed = "the pinned block";
    }
    return NULL;
}

static void test_threads(void **state)
{
    char dir[64];
    struct emac_err err;
    struct worker w[THREADS];
    struct shared shared;
    struct store_stats stats;
    dir_fresh(dir);
    shared.s = open_store(os_real(), dir, 400000, 100000, 2);
    OK(store_block_put(shared.s, CID_RAW, "keep", 4, &shared.pinned, &err));
    OK(store_pin(shared.s, "test", &shared.pinned, &err));
    for (size_t i = 0; i < THREADS; i++) {
        w[i] = (struct worker){.shared = &shared, .seed = i + 1};
        os_thread_start(&w[i].thread, work, &w[i]);
    }
    for (size_t i = 0; i < THREADS; i++)
        os_thread_join(&w[i].thread);
    for (size_t i = 0; i < THREADS; i++)
        if (w[i].failed != NULL)
            fail_msg("worker %zu failed: %s", i, w[i].failed);
    store_stats(shared.s, &stats);
    assert_true(stats.disk_bytes <= 400000 && stats.memory_bytes <= 100000);
    store_close(shared.s);
    remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Values that are away (VAL-4): named without their bytes, brought once by whoever asks first,
 * lost when they cannot be had. The origin is the test's own memory. */
#include "fixture.h"

#include <stdatomic.h>

#include "crypto/crypto.h"
#include "os/thread.h"

#define MIB ((size_t)1 << 20)

struct origin {
    const uint8_t *data;
    size_t size;
    atomic_uint reads, releases, answer; /* answer: the status of reads */
    struct os_mutex lock;                /* held by a test that makes a read wait */
};

static enum emac_status origin_read(void *ctx, uint8_t *out, size_t size, struct emac_err *err)
{
    struct origin *o = ctx;
    os_mutex_lock(&o->lock);
    atomic_fetch_add(&o->reads, 1);
    enum emac_status st = (enum emac_status)atomic_load(&o->answer);
    assert_int_equal(size, o->size);
    if (st == EMAC_OK)
        memcpy(out, o->data, size);
    os_mutex_unlock(&o->lock);
    return st == EMAC_OK ? st : emac_fail(err, st, "the card is gone");
}

static void origin_release(void *ctx)
{
    struct origin *o = ctx;
    atomic_fetch_add(&o->releases, 1);
}

struct ctx {
    char dir[64];
    struct store *s;
    uint8_t *data;
    struct origin o;
};

static const struct store_value *adopt_away(struct ctx *c, size_t size)
{
    struct emac_err err;
    const struct store_value *v;
    uint8_t leaf[8][32];
    c->o.data = c->data;
    c->o.size = size;
    for (size_t i = 0; i == 0 || i * MIB < size; i++)
        crypto_sha256(leaf[i], c->data + i * MIB, size - i * MIB < MIB ? size - i * MIB : MIB);
    const struct store_away away = {.size = size,
                                    .head = c->data,
                                    .head_size = size < 100 ? size : 100,
                                    .leaf = (const uint8_t(*)[32])leaf,
                                    .origin = {origin_read, origin_release, &c->o}};
    OK(store_value_adopt_away(c->s, &away, &v, &err));
    return v;
}

static int setup(void **state)
{
    struct ctx *c = calloc(1, sizeof *c);
    dir_fresh(c->dir);
    c->s = open_store(os_real(), c->dir, 0, 8 * MIB, 2);
    c->data = random_bytes(4 * MIB, 7);
    os_mutex_init(&c->o.lock);
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    struct ctx *c = *state;
    store_close(c->s);
    remove_tree(c->dir);
    os_mutex_release(&c->o.lock);
    free(c->data);
    free(c);
    return 0;
}

static const size_t sizes[] = {1, 77, MIB - 1, MIB, MIB + 1, 3 * MIB + 77};

static enum emac_status is_present(void *ctx, const struct cid *cid, bool present)
{
    (void)ctx;
    (void)cid;
    return present ? EMAC_OK : EMAC_NOT_FOUND;
}

/* The same name as in memory; walking, sizes, heads and holding bring nothing. */
static void test_named_without_bytes(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    for (size_t i = 0; i < EMAC_COUNT(sizes); i++) {
        const struct store_value *v = adopt_away(c, sizes[i]), *found;
        uint64_t size;
        struct cid cid = v->cid;
        assert_null(v->data);
        assert_memory_equal(v->head, c->data, v->head_size);
        OK(store_dag_walk(c->s, &cid, is_present, NULL, &err));
        OK(store_file_size(c->s, &cid, &size, &err));
        assert_int_equal(size, sizes[i]);
        OK(store_value_get_away(c->s, &cid, sizes[i], &found, &err));
        assert_ptr_equal(found, v);
        assert_true(store_value_is_away(c->s, &cid));
        store_value_drop(c->s, found);
        assert_int_equal(atomic_load(&c->o.reads), 0);
        store_value_forget(c->s, v);
        assert_int_equal(atomic_load(&c->o.releases), i + 1);
        assert_false(store_value_has(c->s, &cid));
        uint8_t *copy = random_bytes(sizes[i], 7);
        OK(store_value_adopt(c->s, copy, sizes[i], &v, &err));
        assert_true(cid_equal(&cid, &v->cid));
        store_value_forget(c->s, v);
    }
}

/* Each way to ask brings the bytes, once. */
static void test_brought_once(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    struct emac_buf out;
    uint8_t bytes[10];
    emac_buf_init(&out, UNIXFS_BLOCK_MAX);
    for (int way = 0; way < 5; way++) {
        const size_t n = 2 * MIB + 5;
        const struct store_value *v = adopt_away(c, n), *got;
        const uint8_t *data;
        struct cid leaf = cid_of(CID_RAW, c->data + MIB, MIB), cid = v->cid;
        if (way == 0)
            OK(store_value_bytes(c->s, v, &data, &err));
        if (way == 1) {
            OK(store_value_get(c->s, &cid, n, &got, &err));
            assert_memory_equal(got->data, c->data, n);
            store_value_drop(c->s, got);
        }
        if (way == 2) {
            OK(store_block_get(c->s, &leaf, &out, &err));
            assert_memory_equal(out.data, c->data + MIB, MIB);
        }
        if (way == 3) {
            OK(store_file_read(c->s, &cid, 5, bytes, sizeof bytes, &err));
            assert_memory_equal(bytes, c->data + 5, sizeof bytes);
        }
        if (way == 4)
            OK(store_value_persist(c->s, &cid, &err));
        assert_int_equal(atomic_load(&c->o.reads), way + 1);
        assert_int_equal(atomic_load(&c->o.releases), way + 1);
        assert_false(store_value_is_away(c->s, &cid));
        OK(store_value_bytes(c->s, v, &data, &err));
        assert_memory_equal(data, c->data, n);
        assert_int_equal(atomic_load(&c->o.reads), way + 1);
        store_value_forget(c->s, v);
    }
    emac_buf_release(&out);
}

/* One that is in memory already keeps its bytes; one that is away gets those that come. */
static void test_adopted_twice(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    const struct store_value *v, *again;
    OK(store_value_adopt(c->s, random_bytes(MIB + 1, 7), MIB + 1, &v, &err));
    again = adopt_away(c, MIB + 1);
    assert_ptr_equal(again, v);
    assert_int_equal(atomic_load(&c->o.releases), 1);
    store_value_drop(c->s, again);
    store_value_forget(c->s, v);
    v = adopt_away(c, MIB + 1);
    OK(store_value_adopt(c->s, random_bytes(MIB + 1, 7), MIB + 1, &again, &err));
    assert_ptr_equal(again, v);
    assert_non_null(again->data);
    assert_int_equal(atomic_load(&c->o.releases), 2);
    assert_int_equal(atomic_load(&c->o.reads), 0);
    store_value_drop(c->s, again);
    store_value_forget(c->s, v);
}

/* The bytes that come are not the ones that were hashed, or do not come: the value is lost. */
static void test_lost(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    for (int how = 0; how < 3; how++) {
        const struct store_value *v = adopt_away(c, 2 * MIB + 5), *got;
        const uint8_t *data;
        struct cid cid = v->cid;
        atomic_store(&c->o.answer, how == 0 ? EMAC_UNAVAILABLE : EMAC_OK);
        if (how == 1)
            c->data[MIB + 9] ^= 16;
        if (how == 2)
            store_value_lose(c->s, &cid);
        assert_int_equal(store_value_bytes(c->s, v, &data, &err), EMAC_UNAVAILABLE);
        assert_non_null(strstr(err.text, "lost"));
        if (how == 1)
            c->data[MIB + 9] ^= 16;
        assert_int_equal(atomic_load(&c->o.releases), how + 1);
        assert_false(store_value_has(c->s, &cid));
        assert_int_equal(store_value_bytes(c->s, v, &data, &err), EMAC_UNAVAILABLE);
        assert_int_equal(store_value_get(c->s, &cid, 8 * MIB, &got, &err), EMAC_NOT_FOUND);
        /* made again by somebody, while the lost one is still held */
        OK(store_value_adopt(c->s, random_bytes(2 * MIB + 5, 7), 2 * MIB + 5, &got, &err));
        assert_ptr_not_equal(got, v);
        assert_true(cid_equal(&got->cid, &cid));
        store_value_drop(c->s, v);
        store_value_forget(c->s, got);
    }
}

/* What was kept on disk before the origin ended is read from there. */
static void test_lost_but_on_disk(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    const struct store_value *v = adopt_away(c, MIB + 1), *got;
    struct cid cid = v->cid;
    OK(store_value_persist(c->s, &cid, &err));
    store_value_forget(c->s, v);
    v = adopt_away(c, MIB + 1);
    atomic_store(&c->o.answer, EMAC_UNAVAILABLE);
    OK(store_value_get(c->s, &cid, 2 * MIB, &got, &err));
    assert_ptr_not_equal(got, v);
    assert_memory_equal(got->data, c->data, MIB + 1);
    store_value_drop(c->s, v);
    store_value_forget(c->s, got);
}

/* Too little memory passes. */
static void test_no_memory_passes(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    const struct store_value *v = adopt_away(c, MIB + 1);
    const uint8_t *data;
    atomic_store(&c->o.answer, EMAC_NO_MEMORY);
    assert_int_equal(store_value_bytes(c->s, v, &data, &err), EMAC_NO_MEMORY);
    assert_int_equal(store_value_land(c->s, &v->cid, &err), EMAC_NO_MEMORY);
    assert_true(store_value_is_away(c->s, &v->cid));
    atomic_store(&c->o.answer, EMAC_OK);
    OK(store_value_land(c->s, &v->cid, &err));
    assert_non_null(v->data);
    store_value_forget(c->s, v);
}

/* When an origin ends, what somebody holds comes, and what nobody holds goes. */
static void test_landing(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    const struct store_value *v = adopt_away(c, MIB + 1);
    struct cid cid = v->cid;
    OK(store_value_land(c->s, &cid, &err));
    assert_int_equal(atomic_load(&c->o.reads), 1);
    store_value_forget(c->s, v);
    v = adopt_away(c, MIB + 1);
    store_value_drop(c->s, v);
    assert_true(store_value_is_away(c->s, &cid));
    OK(store_value_land(c->s, &cid, &err));
    assert_false(store_value_has(c->s, &cid));
    assert_int_equal(atomic_load(&c->o.reads), 1);
    assert_int_equal(atomic_load(&c->o.releases), 2);
    /* of what is not there, or is here, nothing is asked */
    OK(store_value_land(c->s, &cid, &err));
    store_value_lose(c->s, &cid);
    v = adopt_away(c, MIB + 1);
    store_value_drop(c->s, v);
    store_value_lose(c->s, &cid);
    assert_false(store_value_has(c->s, &cid));
}

/* ---- many at once ---- */

#define THREADS 4

struct asker {
    struct ctx *c;
    struct cid cid;
    size_t i, n;
    struct os_thread thread;
    bool right;
};

static void *ask(void *arg)
{
    struct asker *a = arg;
    const struct store_value *v = store_value_find(a->c->s, &a->cid);
    const uint8_t *data = NULL;
    struct emac_buf out;
    if (v == NULL)
        return NULL;
    emac_buf_init(&out, UNIXFS_BLOCK_MAX);
    if (a->i % 2 == 0) {
        a->right = store_value_bytes(a->c->s, v, &data, NULL) == EMAC_OK &&
                   memcmp(data, a->c->data, a->n) == 0;
    } else {
        struct cid leaf = cid_of(CID_RAW, a->c->data, MIB);
        a->right = store_block_get(a->c->s, &leaf, &out, NULL) == EMAC_OK && out.len == MIB &&
                   memcmp(out.data, a->c->data, MIB) == 0;
    }
    emac_buf_release(&out);
    store_value_drop(a->c->s, v);
    return NULL;
}

/* All wait for the one who reads, and see what he brought. */
static void test_asked_by_many(void **state)
{
    struct ctx *c = *state;
    struct asker a[THREADS];
    for (int round = 1; round <= 5; round++) {
        const size_t n = 2 * MIB + 5;
        const struct store_value *v = adopt_away(c, n);
        os_mutex_lock(&c->o.lock);
        for (size_t i = 0; i < THREADS; i++) {
            a[i] = (struct asker){.c = c, .cid = v->cid, .i = i, .n = n};
            os_thread_start(&a[i].thread, ask, &a[i]);
        }
        os_mutex_unlock(&c->o.lock);
        for (size_t i = 0; i < THREADS; i++) {
            os_thread_join(&a[i].thread);
            assert_true(a[i].right);
        }
        assert_int_equal(atomic_load(&c->o.reads), round);
        assert_int_equal(atomic_load(&c->o.releases), round);
        store_value_forget(c->s, v);
    }
}

/* The origin fails under those who ask: each is told, nobody waits for ever. */
static void test_lost_under_many(void **state)
{
    struct ctx *c = *state;
    struct asker a[THREADS];
    const struct store_value *v = adopt_away(c, 2 * MIB + 5);
    struct cid cid = v->cid;
    atomic_store(&c->o.answer, EMAC_UNAVAILABLE);
    os_mutex_lock(&c->o.lock);
    for (size_t i = 0; i < THREADS; i++) {
        a[i] = (struct asker){.c = c, .cid = cid, .i = i, .n = v->size};
        os_thread_start(&a[i].thread, ask, &a[i]);
    }
    os_mutex_unlock(&c->o.lock);
    store_value_lose(c->s, &cid);
    for (size_t i = 0; i < THREADS; i++) {
        os_thread_join(&a[i].thread);
        assert_false(a[i].right);
    }
    assert_false(store_value_has(c->s, &cid));
    assert_int_equal(atomic_load(&c->o.releases), 1);
    store_value_drop(c->s, v);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_named_without_bytes),
        TEST(test_brought_once),
        TEST(test_adopted_twice),
        TEST(test_lost),
        TEST(test_lost_but_on_disk),
        TEST(test_no_memory_passes),
        TEST(test_landing),
        TEST(test_asked_by_many),
        TEST(test_lost_under_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

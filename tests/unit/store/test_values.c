/* Files in memory: the same names and blocks as on disk, and bounded by the quota. */
#include "fault.h"

#define MIB ((size_t)1 << 20)

struct ctx {
    char dir[64];
    struct fault *f;
    struct store *s;
};

static int setup(void **state)
{
    struct ctx *c = calloc(1, sizeof *c);
    dir_fresh(c->dir);
    c->f = fault_new(1);
    c->s = open_store(&c->f->os, c->dir, 0, 4 * MIB, 2);
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    struct ctx *c = *state;
    store_close(c->s);
    remove_tree(c->dir);
    free(c->f);
    free(c);
    return 0;
}

static const struct store_value *adopt(struct ctx *c, size_t n, uint64_t seed)
{
    struct emac_err err;
    const struct store_value *v;
    OK(store_value_adopt(c->s, random_bytes(n, seed), n, &v, &err));
    return v;
}

static struct cid add_file(struct ctx *c, size_t n, uint64_t seed)
{
    struct emac_err err;
    struct cid root;
    uint64_t size;
    char path[128];
    uint8_t *data = random_bytes(n, seed);
    snprintf(path, sizeof path, "%s/in", c->dir);
    OK(os_real()->file_write_fast(os_real(), path, data, n, 0600, &err));
    OK(store_file_add(c->s, path, &root, &size, &err));
    assert_int_equal(size, n);
    free(data);
    return root;
}

static enum emac_status check_block(void *ctx, const struct cid *cid, bool present)
{
    struct ctx *c = ctx;
    struct emac_buf out;
    assert_true(present);
    emac_buf_init(&out, UNIXFS_BLOCK_MAX);
    assert_int_equal(store_block_get(c->s, cid, &out, NULL), EMAC_OK);
    struct cid is = cid_of((enum cid_codec)cid->codec, out.data, out.len);
    assert_true(cid_equal(&is, cid));
    emac_buf_release(&out);
    return EMAC_OK;
}

static const size_t sizes[] = {0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB + 77};

/* The same bytes have the same root, in memory and on disk, and all blocks can be had. */
static void test_same_names(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    for (size_t i = 0; i < EMAC_COUNT(sizes); i++) {
        const struct store_value *v = adopt(c, sizes[i], i), *again = adopt(c, sizes[i], i);
        assert_ptr_equal(v, again);
        assert_int_equal(v->size, sizes[i]);
        assert_int_equal((uintptr_t)v->data % 64, 0);
        OK(store_dag_walk(c->s, &v->cid, check_block, c, &err));
        struct store_stats stats;
        store_stats(c->s, &stats);
        assert_int_equal(stats.disk_blocks, 0); /* nothing touched the disk */
        store_value_drop(c->s, again);
        store_value_drop(c->s, v);
    }
    for (size_t i = 0; i < EMAC_COUNT(sizes); i++) {
        struct cid root = add_file(c, sizes[i], i);
        const struct store_value *v = adopt(c, sizes[i], i);
        assert_true(cid_equal(&root, &v->cid));
        store_value_drop(c->s, v);
    }
}

/* A value read back from blocks is the same value, down to the size of its tree. */
static void test_assemble(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    for (size_t i = 0; i < EMAC_COUNT(sizes); i++) {
        const struct store_value *v = adopt(c, sizes[i], i), *back;
        struct cid cid = v->cid;
        uint64_t tree_size = v->tree_size;
        OK(store_value_persist(c->s, &cid, &err));
        store_value_drop(c->s, v);
        store_close(c->s);
        c->s = open_store(&c->f->os, c->dir, 0, 4 * MIB, 2);
        OK(store_value_get(c->s, &cid, sizes[i], &back, &err));
        uint8_t *want = random_bytes(sizes[i], i);
        assert_int_equal(back->size, sizes[i]);
        assert_int_equal(back->tree_size, tree_size);
        assert_memory_equal(back->data, want, sizes[i]);
        free(want);
        OK(store_dag_walk(c->s, &cid, check_block, c, &err));
        store_value_drop(c->s, back);
        if (sizes[i] == 0)
            continue;
        enum emac_status st = store_value_get(c->s, &cid, sizes[i] - 1, &back, &err);
        assert_int_equal(st, EMAC_TOO_LARGE);
        assert_null(back);
    }
}

/* Equal chunks: one block, many places. */
static void test_repeats(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    size_t n = 3 * MIB + 5;
    const struct store_value *v, *other, *back;
    uint8_t *zeros, *more;
    assert_int_equal(emac_alloc_aligned(&zeros, n, NULL), EMAC_OK);
    assert_int_equal(emac_alloc_aligned(&more, 2 * MIB, NULL), EMAC_OK);
    memset(zeros, 0, n);
    memset(more, 0, 2 * MIB);
    OK(store_value_adopt(c->s, zeros, n, &v, &err));
    OK(store_value_adopt(c->s, more, 2 * MIB, &other, &err));
    struct cid cid = v->cid, second = other->cid;
    OK(store_value_persist(c->s, &cid, &err));
    store_value_drop(c->s, v);
    /* The chunk lives on in the other value when the first is gone. */
    const struct store_value *big = adopt(c, 4 * MIB, 5);
    store_value_drop(c->s, big);
    OK(store_dag_walk(c->s, &second, check_block, c, &err));
    store_value_drop(c->s, other);
    store_close(c->s);
    c->s = open_store(&c->f->os, c->dir, 0, 4 * MIB, 2);
    OK(store_value_get(c->s, &cid, n, &back, &err));
    for (size_t i = 0; i < n; i++)
        if (back->data[i] != 0)
            fail_msg("byte %zu is not zero", i);
    store_value_drop(c->s, back);
}

/* Unheld values go, oldest use first; held ones never do. */
static void test_eviction(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    struct store_stats stats;
    const struct store_value *held = adopt(c, 3 * MIB, 1), *back;
    struct cid cid[4], held_cid = held->cid;
    for (uint64_t i = 0; i < 4; i++) {
        const struct store_value *v = adopt(c, MIB + 10, 10 + i);
        cid[i] = v->cid;
        store_value_drop(c->s, v);
        if (i == 2) { /* use the first again */
            OK(store_value_get(c->s, &cid[0], MIB * 2, &back, &err));
            store_value_drop(c->s, back);
        }
    }
    store_stats(c->s, &stats);
    assert_int_equal(stats.values, 4);
    assert_int_equal(stats.memory_bytes, 3 * MIB + 3 * (MIB + 10));
    assert_int_equal(store_value_get(c->s, &cid[1], MIB * 2, &back, &err), EMAC_NOT_FOUND);
    assert_non_null(strstr(err.text, "'baf")); /* names the missing block */
    OK(store_value_get(c->s, &cid[0], MIB * 2, &back, &err));
    const struct store_value *twice = store_value_hold(c->s, back);
    store_value_drop(c->s, back);
    store_value_drop(c->s, held);
    assert_int_equal(twice->size, MIB + 10);
    store_value_drop(c->s, twice);
    assert_int_equal(store_value_get(c->s, &held_cid, 3 * MIB, &back, &err), EMAC_NOT_FOUND);
}

/* A pin makes what is in memory last. */
static void test_pin_persists(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    uint64_t freed;
    const struct store_value *v = adopt(c, 2 * MIB + 3, 1), *back;
    struct cid cid = v->cid;
    OK(store_pin(c->s, "job", &cid, &err));
    store_value_drop(c->s, v);
    assert_int_equal(c->f->unsynced_count, 0);
    store_close(c->s);
    c->s = open_store(&c->f->os, c->dir, 0, MIB, 1);
    OK(store_gc(c->s, 0, &freed, &err));
    OK(store_value_get(c->s, &cid, 4 * MIB, &back, &err));
    store_value_drop(c->s, back);
}

static void test_persist_failures(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    const struct store_value *v = adopt(c, 2 * MIB + 3, 1);
    struct cid absent = cid_of(CID_DAG_PB, "", 0);
    assert_int_equal(store_value_persist(c->s, &absent, &err), EMAC_NOT_FOUND);
    c->f->room = MIB + 100;
    assert_int_equal(store_value_persist(c->s, &v->cid, &err), EMAC_NO_SPACE);
    assert_int_equal(store_pin(c->s, "job", &v->cid, &err), EMAC_NO_SPACE);
    assert_false(store_pinned(c->s, &v->cid));
    c->f->room = UINT64_MAX;
    OK(store_pin(c->s, "job", &v->cid, &err));
    store_value_drop(c->s, v);
}

/* A damaged leaf on disk: the value cannot be had, nothing false is handed out. */
static void test_damaged_leaf(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    const struct store_value *v;
    struct cid root = add_file(c, 2 * MIB + 3, 9), missing;
    uint8_t *data = random_bytes(2 * MIB + 3, 9);
    struct cid leaf = cid_of(CID_RAW, data + MIB, MIB);
    char path[256], text[CID_TEXT_MAX];
    cid_text(text, &leaf);
    size_t n = strlen(text), count;
    snprintf(path, sizeof path, "%s/blocks/%c%c/%s", c->dir, text[n - 3], text[n - 2], text);
    assert_int_equal(truncate(path, 1000), 0);
    assert_int_equal(store_value_get(c->s, &root, 8 * MIB, &v, &err), EMAC_NOT_FOUND);
    assert_non_null(strstr(err.text, text));
    OK(store_dag_missing(c->s, &root, &missing, 1, &count, &err));
    assert_int_equal(count, 1);
    assert_true(cid_equal(&missing, &leaf));
    OK(store_block_put_as(c->s, &leaf, data + MIB, MIB, &err));
    OK(store_value_get(c->s, &root, 8 * MIB, &v, &err));
    store_value_drop(c->s, v);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_same_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_assemble, setup, teardown),
        cmocka_unit_test_setup_teardown(test_repeats, setup, teardown),
        cmocka_unit_test_setup_teardown(test_eviction, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pin_persists, setup, teardown),
        cmocka_unit_test_setup_teardown(test_persist_failures, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_leaf, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

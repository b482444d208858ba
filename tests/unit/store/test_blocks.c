/* Blocks: what is read is what was put, whatever the disk does. */
#include "fault.h"

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
    c->s = open_store(&c->f->os, c->dir, 0, 1 << 20, 1);
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

static void reopen(struct ctx *c, uint64_t quota)
{
    store_close(c->s);
    c->s = open_store(&c->f->os, c->dir, quota, 1 << 20, 1);
}

static struct cid put(struct ctx *c, uint64_t seed, size_t n)
{
    struct emac_err err;
    struct cid cid;
    uint8_t *data = random_bytes(n, seed);
    OK(store_block_put(c->s, CID_RAW, data, n, &cid, &err));
    free(data);
    return cid;
}

static void expect(struct ctx *c, const struct cid *cid, enum emac_status want)
{
    struct emac_err err = {0};
    struct emac_buf out;
    emac_buf_init(&out, UNIXFS_BLOCK_MAX);
    enum emac_status st = store_block_get(c->s, cid, &out, &err);
    if (st != want)
        fail_msg("got %s, not %s: %s", emac_status_text(st), emac_status_text(want), err.text);
    if (st == EMAC_OK) {
        struct cid is = cid_of((enum cid_codec)cid->codec, out.data, out.len);
        assert_true(cid_equal(&is, cid));
    } else {
        assert_true(strlen(err.text) > 10);
    }
    emac_buf_release(&out);
}

static void path_of(struct ctx *c, const struct cid *cid, char path[256])
{
    char text[CID_TEXT_MAX];
    cid_text(text, cid);
    size_t n = strlen(text);
    snprintf(path, 256, "%s/blocks/%c%c/%s", c->dir, text[n - 3], text[n - 2], text);
}

static void overwrite(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
}

static void test_round_trip(void **state)
{
    struct ctx *c = *state;
    static const size_t sizes[] = {0, 1, 31, 4096, 1 << 20, UNIXFS_BLOCK_MAX};
    struct cid cid[6];
    struct store_stats stats;
    uint64_t sum = 0;
    for (size_t i = 0; i < 6; i++) {
        cid[i] = put(c, i, sizes[i]);
        put(c, i, sizes[i]); /* once more changes nothing */
        sum += sizes[i];
    }
    for (int again = 0; again < 2; again++) {
        store_stats(c->s, &stats);
        assert_int_equal(stats.disk_bytes, sum);
        assert_int_equal(stats.disk_blocks, 6);
        for (size_t i = 0; i < 6; i++) {
            uint64_t size;
            expect(c, &cid[i], EMAC_OK);
            assert_true(store_block_has(c->s, &cid[i], &size));
            assert_int_equal(size, sizes[i]);
        }
        reopen(c, 0);
    }
}

static void test_put_as(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    struct cid cid = cid_of(CID_DAG_CBOR, "\xa0", 1);
    assert_int_equal(store_block_put_as(c->s, &cid, "\xa1", 1, &err), EMAC_CORRUPT);
    assert_false(store_block_has(c->s, &cid, NULL));
    OK(store_block_put_as(c->s, &cid, "\xa0", 1, &err));
    expect(c, &cid, EMAC_OK);
    uint8_t *big = random_bytes(UNIXFS_BLOCK_MAX + 1, 1);
    assert_int_equal(store_block_put(c->s, CID_RAW, big, UNIXFS_BLOCK_MAX + 1, &cid, &err),
                     EMAC_TOO_LARGE);
    free(big);
}

/* INV-1 */
static void test_damage(void **state)
{
    struct ctx *c = *state;
    char path[256];
    for (int how = 0; how < 4; how++) {
        struct cid cid = put(c, 7, 5000);
        path_of(c, &cid, path);
        uint8_t *bad = random_bytes(6000, 7);
        bad[4999] ^= how == 0;
        if (how < 3)
            overwrite(path, bad, how == 1 ? 4999 : how == 2 ? 0 : 5000);
        else
            unlink(path);
        free(bad);
        if (how == 2)
            reopen(c, 0); /* the index now knows the wrong size */
        expect(c, &cid, how == 3 ? EMAC_NOT_FOUND : EMAC_CORRUPT);
        assert_false(store_block_has(c->s, &cid, NULL));
        assert_int_not_equal(access(path, F_OK), 0);
        expect(c, &cid, EMAC_NOT_FOUND);
        put(c, 7, 5000);
        expect(c, &cid, EMAC_OK);
    }
}

/* A disk that does not answer is no reason to throw a block away. */
static void test_read_error(void **state)
{
    struct ctx *c = *state;
    struct cid cid = put(c, 8, 100);
    c->f->reads_fail = true;
    expect(c, &cid, EMAC_IO);
    c->f->reads_fail = false;
    expect(c, &cid, EMAC_OK);
}

static void test_foreign(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    char path[256], text[CID_TEXT_MAX];
    struct cid cid = put(c, 9, 100), other = cid_of(CID_RAW, "x", 1);
    cid_text(text, &other);
    static const char *const names[] = {"blocks/zz", "blocks/README", "blocks/1", "pins/..x",
                                        "pins/%zz",  "pins/x%a",      "pins/a b"};
    for (size_t i = 0; i < EMAC_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", c->dir, names[i]);
        overwrite(path, "junk", 4);
    }
    snprintf(path, sizeof path, "%s/blocks/aa", c->dir);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/blocks/aa/%s", c->dir, text); /* in the wrong place */
    overwrite(path, "x", 1);
    snprintf(path, sizeof path, "%s/blocks/aa/junk", c->dir);
    overwrite(path, "x", 1);
    snprintf(path, sizeof path, "%s/blocks/aa/%s1-2", c->dir, OS_TMP_PREFIX);
    overwrite(path, "x", 1);
    reopen(c, 0);
    assert_int_not_equal(access(path, F_OK), 0);
    expect(c, &cid, EMAC_OK);
    expect(c, &other, EMAC_NOT_FOUND);
    uint64_t freed;
    OK(store_gc(c->s, 0, &freed, &err));
    snprintf(path, sizeof path, "%s/blocks/aa/junk", c->dir);
    assert_int_equal(access(path, F_OK), 0); /* not ours to remove */
}

/* INV-3, INV-4 */
static void test_quota(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    struct store_stats stats;
    struct cid cid[12];
    reopen(c, 10000);
    for (uint64_t i = 0; i < 10; i++)
        cid[i] = put(c, i, 1000);
    expect(c, &cid[0], EMAC_OK); /* used: now younger than 1 */
    OK(store_pin(c->s, "keep", &cid[2], &err));
    cid[10] = put(c, 10, 1000);
    expect(c, &cid[1], EMAC_NOT_FOUND);
    expect(c, &cid[0], EMAC_OK);
    cid[11] = put(c, 11, 1000);
    expect(c, &cid[2], EMAC_OK);
    expect(c, &cid[3], EMAC_NOT_FOUND);
    store_stats(c->s, &stats);
    assert_int_equal(stats.disk_bytes, 10000);

    uint8_t *big = random_bytes(10001, 99);
    struct cid none;
    assert_int_equal(store_block_put(c->s, CID_RAW, big, 10001, &none, &err), EMAC_NO_SPACE);
    assert_non_null(strstr(err.text, "quota"));
    /* All pinned: full is full, and nothing was harmed. */
    for (int i = 0; i < 12; i++) {
        if (store_block_has(c->s, &cid[i], NULL))
            OK(store_pin(c->s, "keep", &cid[i], &err));
    }
    store_stats(c->s, &stats);
    assert_int_equal(store_block_put(c->s, CID_RAW, big, 10000, &none, &err), EMAC_NO_SPACE);
    struct store_stats after;
    store_stats(c->s, &after);
    assert_int_equal(after.disk_blocks, stats.disk_blocks);
    assert_int_equal(after.disk_bytes, stats.disk_bytes);
    free(big);
}

static void test_lowered_quota(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    struct store_stats stats;
    struct cid pinned = put(c, 1, 3000);
    OK(store_pin(c->s, "keep", &pinned, &err));
    for (uint64_t i = 2; i < 10; i++)
        put(c, i, 1000);
    reopen(c, 5000);
    store_stats(c->s, &stats);
    assert_true(stats.disk_bytes <= 5000 && stats.disk_bytes >= 4000);
    expect(c, &pinned, EMAC_OK);
    reopen(c, 1000); /* less than what is pinned: it stays */
    expect(c, &pinned, EMAC_OK);
}

static void test_disk_full(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    struct cid cid[5], more;
    struct store_stats stats;
    for (uint64_t i = 0; i < 5; i++)
        cid[i] = put(c, i, 1000);
    c->f->room = 500;
    /* A collection makes room on the disk itself. */
    more = put(c, 20, 1000);
    expect(c, &more, EMAC_OK);
    for (int i = 0; i < 5; i++)
        OK(store_pin(c->s, "keep", &cid[i], &err));
    OK(store_pin(c->s, "keep", &more, &err));
    c->f->room = 500;
    uint8_t *data = random_bytes(1000, 21);
    assert_int_equal(store_block_put(c->s, CID_RAW, data, 1000, &more, &err), EMAC_NO_SPACE);
    more = cid_of(CID_RAW, data, 1000);
    expect(c, &more, EMAC_NOT_FOUND);
    store_stats(c->s, &stats);
    c->f->room = UINT64_MAX;
    put(c, 21, 1000);
    expect(c, &more, EMAC_OK);
    free(data);
}

static void test_pins(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    uint64_t freed;
    struct cid a = put(c, 1, 10), b = put(c, 2, 20), absent = cid_of(CID_RAW, "?", 1);
    char longest[82];
    memset(longest, '/', 80);
    longest[80] = '\0';
    OK(store_pin(c->s, "data", &a, &err));
    OK(store_pin(c->s, "data", &a, &err));
    OK(store_pin(c->s, longest, &a, &err));
    OK(store_pin(c->s, ".job 1/\n\xff", &b, &err));
    OK(store_pin(c->s, "data", &absent, &err)); /* what comes later is kept */
    strcat(longest, "x");
    assert_int_equal(store_pin(c->s, longest, &a, &err), EMAC_INVALID);
    assert_int_equal(store_pin(c->s, "", &a, &err), EMAC_INVALID);
    longest[80] = '\0';
    assert_int_equal(store_unpin(c->s, "other", &a, &err), EMAC_NOT_FOUND);
    reopen(c, 0);
    OK(store_block_put_as(c->s, &absent, "?", 1, &err));
    OK(store_gc(c->s, 0, &freed, &err));
    assert_int_equal(freed, 0);
    OK(store_unpin(c->s, "data", &a, &err));
    assert_int_equal(store_unpin(c->s, "data", &a, &err), EMAC_NOT_FOUND);
    OK(store_gc(c->s, 0, &freed, &err));
    assert_int_equal(freed, 0); /* the other name still pins it */
    assert_true(store_pinned(c->s, &a));
    OK(store_unpin(c->s, longest, &a, &err));
    assert_false(store_pinned(c->s, &a));
    reopen(c, 0);
    OK(store_gc(c->s, 0, &freed, &err));
    assert_int_equal(freed, 10);
    expect(c, &b, EMAC_OK);
    expect(c, &absent, EMAC_OK);
}

/* A list of pins that cannot be read must neither stop the start nor cost data. */
static void test_unreadable_pins(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    uint64_t freed;
    char path[256];
    struct cid a = put(c, 1, 10);
    snprintf(path, sizeof path, "%s/pins/job", c->dir);
    mkdir(path, 0700);
    reopen(c, 0);
    assert_int_equal(store_gc(c->s, 0, &freed, &err), EMAC_CONFLICT);
    assert_int_equal(store_pin(c->s, "job", &a, &err), EMAC_CONFLICT);
    OK(store_pin(c->s, "other", &a, &err));
    expect(c, &a, EMAC_OK);
    rmdir(path);
    overwrite(path, "not a cid\n\n\xff\n", 13);
    reopen(c, 0);
    OK(store_gc(c->s, 0, &freed, &err));
    expect(c, &a, EMAC_OK);
}

static void test_memory_only(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    uint64_t freed;
    store_close(c->s);
    c->s = open_store(os_real(), NULL, 5000, 5000, 1);
    struct cid a = put(c, 1, 2000), b = put(c, 2, 2000);
    OK(store_pin(c->s, "p", &b, &err));
    put(c, 3, 2000);
    expect(c, &a, EMAC_NOT_FOUND);
    expect(c, &b, EMAC_OK);
    OK(store_gc(c->s, 0, &freed, &err));
    assert_int_equal(freed, 2000);
    expect(c, &b, EMAC_OK);
}

static void test_one_process(void **state)
{
    struct ctx *c = *state;
    struct store_config cfg = {.os = &c->f->os, .dir = c->dir, .hash_threads = 0};
    struct store *second;
    struct emac_err err;
    assert_int_equal(store_open(&cfg, &second, &err), EMAC_INVALID);
    cfg.hash_threads = 1;
    assert_int_equal(store_open(&cfg, &second, &err), EMAC_CONFLICT);
    cfg.dir = "/proc/no/such";
    assert_int_not_equal(store_open(&cfg, &second, &err), EMAC_OK);
    assert_null(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_put_as, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_error, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign, setup, teardown),
        cmocka_unit_test_setup_teardown(test_quota, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lowered_quota, setup, teardown),
        cmocka_unit_test_setup_teardown(test_disk_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pins, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unreadable_pins, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_process, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

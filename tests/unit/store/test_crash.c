/* A loss of power at every single call that changes the disk, and every such call failing alone:
 * whatever was promised before holds after. */
#include "fault.h"

#define MIB    ((size_t)1 << 20)
#define THINGS 8

/* What the scenario was promised. */
struct promises {
    struct cid root[THINGS];
    bool pinned[THINGS]; /* store_pin of a complete DAG returned OK, no unpin was tried */
    size_t count;
};

static void pin(struct store *s, struct promises *p, size_t i)
{
    struct cid missing;
    size_t count = 1;
    (void)store_dag_missing(s, &p->root[i], &missing, 1, &count, NULL);
    if (store_pin(s, "job", &p->root[i], NULL) == EMAC_OK && count == 0)
        p->pinned[i] = true;
}

static void unpin(struct store *s, struct promises *p, size_t i)
{
    p->pinned[i] = false;
    (void)store_unpin(s, "job", &p->root[i], NULL);
}

static size_t adopt(struct store *s, struct promises *p, size_t n, uint64_t seed)
{
    const struct store_value *v;
    assert_int_equal(store_value_adopt(s, random_bytes(n, seed), n, &v, NULL), EMAC_OK);
    p->root[p->count] = v->cid;
    store_value_drop(s, v);
    return p->count++;
}

static size_t put(struct store *s, struct promises *p, size_t n, uint64_t seed)
{
    uint8_t *data = random_bytes(n, seed);
    (void)store_block_put(s, CID_RAW, data, n, &p->root[p->count], NULL);
    p->root[p->count] = cid_of(CID_RAW, data, n);
    free(data);
    return p->count++;
}

static void scenario(struct os *os, const char *dir, struct promises *p)
{
    struct store_config cfg = {
        .os = os, .dir = dir, .disk_quota = 3 * MIB, .memory_quota = 64 * MIB, .hash_threads = 1};
    struct store *s;
    uint64_t freed;
    *p = (struct promises){.count = 0};
    if (store_open(&cfg, &s, NULL) != EMAC_OK)
        return;
    size_t a = put(s, p, 1000, 1), b = put(s, p, 2000, 2);
    pin(s, p, a);
    size_t v = adopt(s, p, MIB + 300, 3);
    pin(s, p, v);
    size_t big = put(s, p, MIB, 4);
    pin(s, p, b);
    put(s, p, MIB, 5); /* over quota: a collection takes `big` */
    unpin(s, p, a);
    (void)store_gc(s, 0, &freed, NULL);
    size_t c = put(s, p, 500, 6);
    pin(s, p, c);
    (void)big;
    store_close(s);
}

static size_t files_under(const char *path, uint64_t *bytes);

static enum emac_status count_entry(void *ctx, const char *name)
{
    uint64_t **at = ctx; /* {bytes, files, path} */
    char path[512];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", (const char *)at[2], name);
    assert_int_equal(stat(path, &st), 0);
    assert_null(strstr(name, OS_TMP_PREFIX));
    if (S_ISDIR(st.st_mode)) {
        *at[1] += files_under(path, at[0]);
    } else {
        *at[0] += (uint64_t)st.st_size;
        *at[1] += 1;
    }
    return EMAC_OK;
}

static size_t files_under(const char *path, uint64_t *bytes)
{
    uint64_t files = 0;
    uint64_t *ctx[3] = {bytes, &files, (uint64_t *)path};
    assert_int_equal(os_real()->dir_list(os_real(), path, count_entry, ctx, NULL), EMAC_OK);
    return (size_t)files;
}

static enum emac_status whole(void *ctx, const struct cid *cid, bool present)
{
    struct emac_buf out;
    emac_buf_init(&out, UNIXFS_BLOCK_MAX);
    enum emac_status st = present ? store_block_get(ctx, cid, &out, NULL) : EMAC_NOT_FOUND;
    if (st == EMAC_OK) {
        struct cid is = cid_of((enum cid_codec)cid->codec, out.data, out.len);
        assert_true(cid_equal(&is, cid));
    }
    emac_buf_release(&out);
    return st;
}

static void check(const char *dir, const struct promises *p, long k, const char *what)
{
    struct store *s = open_store(os_real(), dir, 64 * MIB, MIB, 1);
    struct store_stats stats;
    uint64_t freed, bytes = 0;
    char path[128];
    snprintf(path, sizeof path, "%s/blocks", dir);
    size_t files = files_under(path, &bytes);
    store_stats(s, &stats);
    if (stats.disk_bytes != bytes || stats.disk_blocks != files)
        fail_msg("%s %ld: the index and the disk differ", what, k);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < p->count; i++) {
            enum emac_status st = store_dag_walk(s, &p->root[i], whole, s, NULL);
            if (p->pinned[i] && st != EMAC_OK)
                fail_msg("%s %ld: pinned root %zu is lost (%s)", what, k, i, emac_status_text(st));
        }
        assert_int_equal(store_gc(s, 0, &freed, NULL), EMAC_OK);
    }
    store_close(s);
}

/* INV-1 to INV-4 after a loss of power at call k, for all k. */
static void test_power(void **state)
{
    struct promises p;
    for (long k = 1;; k++) {
        char dir[64];
        dir_fresh(dir);
        struct fault *f = fault_new(1000 + (uint64_t)k);
        f->crash_at = k;
        scenario(&f->os, dir, &p);
        bool done = !f->dead;
        check(dir, &p, k, "crash at call");
        remove_tree(dir);
        free(f);
        if (done) {
            assert_true(k > 30);
            break;
        }
    }
}

static void test_one_failure(void **state)
{
    struct promises p;
    for (long k = 1;; k++) {
        char dir[64];
        dir_fresh(dir);
        struct fault *f = fault_new(2000 + (uint64_t)k);
        f->fail_at = k;
        f->fail_with = k % 2 == 0 ? EMAC_IO : EMAC_NO_SPACE;
        scenario(&f->os, dir, &p);
        bool done = f->calls < k;
        check(dir, &p, k, "failure of call");
        remove_tree(dir);
        free(f);
        if (done)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power),
        cmocka_unit_test(test_one_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

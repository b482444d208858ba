/* Files and DAGs on disk: random sizes and ranges, foreign trees, hostile trees. */
#include "fault.h"

#include "codec/dagcbor.h"
#include "store/assembly.h"
#include "store/walk.h"

#define MIB ((size_t)1 << 20)

struct ctx {
    char dir[64];
    struct store *s;
};

static int setup(void **state)
{
    struct ctx *c = calloc(1, sizeof *c);
    dir_fresh(c->dir);
    c->s = open_store(os_real(), c->dir, 0, MIB, 2);
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    struct ctx *c = *state;
    store_close(c->s);
    remove_tree(c->dir);
    free(c);
    return 0;
}

/* ---- a file as a small tree, by hand: protobuf of dag-pb and UnixFS ---- */

static void pb_varint(struct emac_buf *b, uint64_t v)
{
    uint8_t out[10];
    assert_int_equal(emac_buf_append(b, out, varint_write(out, v), NULL), EMAC_OK);
}

static void pb_bytes(struct emac_buf *b, unsigned field, const void *data, size_t n)
{
    pb_varint(b, field << 3 | 2);
    pb_varint(b, n);
    assert_int_equal(emac_buf_append(b, data, n, NULL), EMAC_OK);
}

struct child {
    struct cid cid;
    uint64_t size;
};

/* An inner node of a file with content bytes `data` of its own in front of its children's. */
static struct child node(struct store *s, const struct child *child, size_t count, const void *data,
                         size_t n, uint64_t claim)
{
    struct emac_buf block, fs, link;
    struct emac_err err;
    struct child out = {.size = n};
    uint8_t bytes[CID_BYTES];
    emac_buf_init(&block, MIB);
    emac_buf_init(&fs, MIB);
    emac_buf_init(&link, MIB);
    for (size_t i = 0; i < count; i++) {
        emac_buf_clear(&link);
        cid_bytes(bytes, &child[i].cid);
        pb_bytes(&link, 1, bytes, sizeof bytes);
        pb_bytes(&link, 2, "", 0);
        pb_varint(&link, 3 << 3);
        pb_varint(&link, child[i].size);
        pb_bytes(&block, 2, link.data, link.len);
        out.size += child[i].size;
    }
    pb_varint(&fs, 1 << 3);
    pb_varint(&fs, 2);
    if (n > 0)
        pb_bytes(&fs, 2, data, n);
    pb_varint(&fs, 3 << 3);
    pb_varint(&fs, claim != 0 ? claim : out.size);
    for (size_t i = 0; i < count; i++) {
        pb_varint(&fs, 4 << 3);
        pb_varint(&fs, child[i].size);
    }
    pb_bytes(&block, 1, fs.data, fs.len);
    OK(store_block_put(s, CID_DAG_PB, block.data, block.len, &out.cid, &err));
    emac_buf_release(&block);
    emac_buf_release(&fs);
    emac_buf_release(&link);
    return out;
}

static struct child leaf(struct store *s, size_t n, uint64_t seed)
{
    struct emac_err err;
    struct child out = {.size = n};
    uint8_t *data = random_bytes(n, seed);
    OK(store_block_put(s, CID_RAW, data, n, &out.cid, &err));
    free(data);
    return out;
}

/* ---- properties ---- */

static void round_trip(struct ctx *c, uint64_t seed)
{
    struct emac_err err;
    struct cid root;
    uint64_t size, got;
    char in[128], out[128];
    size_t n = (size_t)philox_below(seed, PHILOX_TEST, 4, 0, 4 * MIB);
    uint8_t *data = random_bytes(n, seed);
    struct emac_buf back;
    snprintf(in, sizeof in, "%s/in", c->dir);
    snprintf(out, sizeof out, "%s/out", c->dir);
    OK(os_real()->file_write_fast(os_real(), in, data, n, 0600, &err));
    OK(store_file_add(c->s, in, &root, &size, &err));
    OK(store_file_size(c->s, &root, &got, &err));
    assert_int_equal(size, n);
    assert_int_equal(got, n);
    OK(store_file_export(c->s, &root, out, &err));
    emac_buf_init(&back, 8 * MIB);
    OK(os_real()->file_read(os_real(), out, &back, &err));
    if (back.len != n || memcmp(back.data, data, n) != 0)
        fail_msg("seed %llu: the export differs", (unsigned long long)seed);
    for (uint32_t i = 0; i < 8; i++) {
        uint64_t from = philox_below(seed, PHILOX_TEST, 5, i, n + 1);
        size_t len = (size_t)philox_below(seed, PHILOX_TEST, 6, i, n - from + 1);
        OK(store_file_read(c->s, &root, from, back.data, len, &err));
        if (memcmp(back.data, data + from, len) != 0)
            fail_msg("seed %llu: bytes %llu+%zu differ", (unsigned long long)seed,
                     (unsigned long long)from, len);
    }
    assert_int_equal(store_file_read(c->s, &root, n, back.data, 1, &err), EMAC_INVALID);
    emac_buf_release(&back);
    free(data);
}

static void test_round_trip(void **state)
{
    for (uint64_t seed = 1; seed <= 12; seed++)
        round_trip(*state, seed);
}

/* Trees that other tools make: uneven, several levels, content in inner blocks, equal subtrees. */
static void test_foreign_tree(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    struct child a = leaf(c->s, 100, 1), b = leaf(c->s, 7, 2);
    struct child pair[2] = {a, b}, deep[3];
    struct child two = node(c->s, pair, 2, "hello", 5, 0);
    deep[0] = two;
    deep[1] = a;
    deep[2] = two;
    struct child root = node(c->s, deep, 3, "", 0, 0);
    const struct store_value *v;
    assert_int_equal(root.size, 2 * 112 + 100);
    OK(store_value_get(c->s, &root.cid, 1000, &v, &err));
    uint8_t want[324], all[324];
    memcpy(want, "hello", 5);
    random_fill(want + 5, 100, 1);
    random_fill(want + 105, 7, 2);
    random_fill(want + 112, 100, 1);
    memcpy(want + 212, want, 112);
    assert_int_equal(v->size, 324);
    assert_memory_equal(v->data, want, 324);
    OK(store_file_read(c->s, &root.cid, 0, all, 324, &err));
    assert_memory_equal(all, want, 324);
    store_value_drop(c->s, v);
}

static void expect_bad(struct ctx *c, const struct cid *root, enum emac_status want)
{
    struct emac_err err;
    const struct store_value *v;
    struct cid missing[4];
    size_t count;
    enum emac_status st = store_value_get(c->s, root, 64 * MIB, &v, &err);
    assert_int_equal(st, want);
    char path[128];
    snprintf(path, sizeof path, "%s/bad", c->dir);
    assert_int_not_equal(store_file_export(c->s, root, path, &err), EMAC_OK);
    assert_int_not_equal(access(path, F_OK), 0);
    (void)store_dag_missing(c->s, root, missing, 4, &count, &err);
}

static void test_hostile_tree(void **state)
{
    struct ctx *c = *state;
    struct child a = leaf(c->s, 100, 1), liar = a, list[3000];
    liar.size = 90;
    struct child pair[2] = {a, liar}, root = node(c->s, pair, 2, "", 0, 0);
    expect_bad(c, &root.cid, EMAC_CORRUPT);
    /* A child that claims less than its parent says. */
    struct child inner = node(c->s, &a, 1, "", 0, 0);
    inner.size = 101;
    root = node(c->s, &inner, 1, "", 0, 0);
    expect_bad(c, &root.cid, EMAC_CORRUPT);
    /* A dag-cbor block inside a file. */
    struct emac_err err;
    struct child cbor = {.size = 1};
    OK(store_block_put(c->s, CID_DAG_CBOR, "\xa0", 1, &cbor.cid, &err));
    root = node(c->s, &cbor, 1, "", 0, 0);
    expect_bad(c, &root.cid, EMAC_CORRUPT);
    /* Deeper than any file needs. */
    inner = a;
    for (int i = 0; i < 12; i++)
        inner = node(c->s, &inner, 1, "", 0, 0);
    expect_bad(c, &inner.cid, EMAC_CORRUPT);
    /* Ten levels of a thousand links to the same empty thing would be 10^30 places. */
    struct child empty = leaf(c->s, 0, 1);
    inner = empty;
    for (int i = 0; i < 6; i++) {
        for (size_t k = 0; k < EMAC_COUNT(list); k++)
            list[k] = inner;
        inner = node(c->s, list, EMAC_COUNT(list), "", 0, 0);
    }
    const struct store_value *v;
    assert_int_equal(store_value_get(c->s, &inner.cid, 64 * MIB, &v, &err), EMAC_CORRUPT);
    /* A walk visits each of its 7 blocks once. */
    struct cid missing;
    size_t count;
    OK(store_dag_missing(c->s, &inner.cid, &missing, 1, &count, &err));
    assert_int_equal(count, 0);
}

/* ---- walks ---- */

struct seen {
    struct cid cid[64];
    bool present[64];
    size_t count;
};

static enum emac_status note(void *ctx, const struct cid *cid, bool present)
{
    struct seen *seen = ctx;
    assert_true(seen->count < 64);
    seen->present[seen->count] = present;
    seen->cid[seen->count++] = *cid;
    return EMAC_OK;
}

static void test_walk(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    struct emac_buf buf;
    struct dagcbor_writer w;
    struct seen seen = {.count = 0};
    struct cid root, absent = cid_of(CID_DAG_PB, "?", 1);
    struct child a = leaf(c->s, 3, 1), b = leaf(c->s, 4, 2), pair[2] = {b, a};
    struct child file = node(c->s, pair, 2, "", 0, 0);
    emac_buf_init(&buf, 4096);
    dagcbor_writer_init(&w, &buf);
    dagcbor_list(&w, 4);
    dagcbor_cid(&w, &a.cid);
    dagcbor_cid(&w, &absent);
    dagcbor_map(&w, 1);
    dagcbor_key(&w, "f");
    dagcbor_cid(&w, &file.cid);
    dagcbor_cid(&w, &a.cid);
    OK(dagcbor_writer_end(&w, &err));
    OK(store_block_put(c->s, CID_DAG_CBOR, buf.data, buf.len, &root, &err));
    OK(store_dag_walk(c->s, &root, note, &seen, &err));
    const struct cid *want[] = {&root, &a.cid, &absent, &file.cid, &b.cid};
    assert_int_equal(seen.count, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_true(cid_equal(&seen.cid[i], want[i]));
        assert_int_equal(seen.present[i], i != 2);
    }
    struct cid missing[4];
    size_t count;
    OK(store_dag_missing(c->s, &root, missing, 4, &count, &err));
    assert_int_equal(count, 1);
    /* A pin of the root keeps what hangs below. */
    uint64_t freed;
    leaf(c->s, 5, 3);
    OK(store_pin(c->s, "p", &root, &err));
    OK(store_gc(c->s, 0, &freed, &err));
    assert_int_equal(freed, 5);
    /* Bytes that are not dag-cbor have no links; the walk says so, a collection goes on. */
    OK(store_block_put(c->s, CID_DAG_CBOR, "\xff", 1, &root, &err));
    assert_int_not_equal(store_dag_walk(c->s, &root, note, &seen, &err), EMAC_OK);
    assert_int_not_equal(store_pin(c->s, "p", &root, &err), EMAC_OK);
    emac_buf_release(&buf);
}

/* The blocks of a range are exactly those that overlap it, and those above them. */
static void range_walk(struct ctx *c, const struct child *root, uint64_t from, uint64_t to)
{
    struct emac_err err;
    struct store_walk_options options = {.scope = STORE_SCOPE_ENTITY, .from = from, .to = to};
    struct store_walk_options all = {.scope = STORE_SCOPE_ALL, .to = UINT64_MAX};
    struct store_walk *w;
    struct store_walk_item item;
    struct store_assembly *a;
    bool used;
    struct emac_buf block;
    size_t ranged = 0;
    emac_buf_init(&block, UNIXFS_BLOCK_MAX);
    OK(store_assembly_new(c->s, &root->cid, 4096, &a, &err));
    OK(store_walk_new(c->s, &root->cid, &options, &w, &err));
    for (;; ranged++) {
        OK(store_walk_next(w, &item, &err));
        if (cid_is_none(&item.cid))
            break;
        OK(store_block_get(c->s, &item.cid, &block, &err));
        OK(store_assembly_offer(a, &item.cid, block.data, block.len, &used, &err));
        assert_true(used); /* each once, parents first */
    }
    store_walk_free(w);
    uint64_t gap_from, gap_to;
    bool gap = store_assembly_gap(a, &gap_from, &gap_to);
    /* Nothing of the range is missing. */
    assert_true(!gap || gap_from >= to || gap_to <= from || gap_from >= gap_to);
    /* Nothing is there that need not be. */
    OK(store_walk_new(c->s, &root->cid, &all, &w, &err));
    for (size_t needed = 0;;) {
        OK(store_walk_next(w, &item, &err));
        if (cid_is_none(&item.cid)) {
            assert_int_equal(needed, ranged);
            break;
        }
        needed += item.offset == 0 && item.size == root->size
                      ? 1
                      : item.offset < to && item.offset + item.size > from;
    }
    store_walk_free(w);
    store_assembly_free(a);
    emac_buf_release(&block);
}

static void test_ranges(void **state)
{
    struct ctx *c = *state;
    struct child level[3][4], root;
    for (uint64_t i = 0; i < 4; i++) {
        for (uint64_t k = 0; k < 3; k++)
            level[0][k] = leaf(c->s, 10, 10 * i + k);
        level[1][i] = node(c->s, level[0], 3, "", 0, 0);
    }
    root = node(c->s, level[1], 4, "", 0, 0);
    assert_int_equal(root.size, 120);
    for (uint64_t from = 0; from < 120; from += 7)
        for (uint64_t to = from + 1; to <= 120; to += 9)
            range_walk(c, &root, from, to);
}

static void test_export_failures(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    struct fault *f = fault_new(1);
    struct child a = leaf(c->s, 1000, 1);
    char path[128];
    snprintf(path, sizeof path, "%s/out", c->dir);
    OK(os_real()->file_write(os_real(), path, "old", 3, 0600, &err));
    store_close(c->s);
    c->s = open_store(&f->os, c->dir, 0, MIB, 1);
    for (long k = 1; k <= 4; k++) {
        f->calls = 0;
        f->fail_at = k;
        f->fail_with = k % 2 == 0 ? EMAC_NO_SPACE : EMAC_IO;
        assert_int_equal(store_file_export(c->s, &a.cid, path, &err), f->fail_with);
        uint64_t size;
        OK(os_real()->file_size(os_real(), path, &size, &err));
        assert_int_equal(size, 3);
    }
    f->fail_at = 0;
    OK(store_file_export(c->s, &a.cid, path, &err));
    assert_int_not_equal(store_file_export(c->s, &a.cid, "/no/such/dir/x", &err), EMAC_OK);
    struct cid dir;
    uint64_t size;
    assert_int_equal(store_file_add(c->s, c->dir, &dir, &size, &err), EMAC_INVALID);
    assert_int_equal(store_file_add(c->s, "/no/such/file", &dir, &size, &err), EMAC_NOT_FOUND);
    store_close(c->s);
    c->s = open_store(os_real(), c->dir, 0, MIB, 1);
    free(f);
}

static void test_directory(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    struct child a = leaf(c->s, 10, 1);
    struct unixfs_link link = {.cid = a.cid, .name = "a.txt", .tsize = 10};
    struct emac_buf block;
    struct cid dir, put;
    uint64_t tree_size, size;
    struct seen seen = {.count = 0};
    const struct store_value *v;
    emac_buf_init(&block, UNIXFS_DIR_MAX);
    OK(unixfs_directory(&link, 1, &block, &dir, &tree_size, &err));
    OK(store_block_put(c->s, CID_DAG_PB, block.data, block.len, &put, &err));
    assert_true(cid_equal(&dir, &put));
    OK(store_dag_walk(c->s, &dir, note, &seen, &err));
    assert_int_equal(seen.count, 2);
    assert_int_equal(store_value_get(c->s, &dir, MIB, &v, &err), EMAC_INVALID);
    assert_int_equal(store_file_size(c->s, &dir, &size, &err), EMAC_INVALID);
    emac_buf_release(&block);
}

/* The first blocks of a file never make room for its last ones. */
static void test_larger_than_quota(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    struct cid root;
    uint64_t size, freed;
    char path[128];
    uint8_t *data = random_bytes(3 * MIB, 5);
    snprintf(path, sizeof path, "%s/in", c->dir);
    OK(os_real()->file_write_fast(os_real(), path, data, 3 * MIB, 0600, &err));
    store_close(c->s);
    c->s = open_store(os_real(), c->dir, 2 * MIB + 1000, MIB, 2);
    leaf(c->s, MIB, 77);
    assert_int_equal(store_file_add(c->s, path, &root, &size, &err), EMAC_NO_SPACE);
    /* What was collected on the way is older; the leftovers go next time. */
    OK(os_real()->file_write_fast(os_real(), path, data, 2 * MIB, 0600, &err));
    OK(store_file_add(c->s, path, &root, &size, &err));
    struct cid missing;
    size_t count;
    OK(store_dag_missing(c->s, &root, &missing, 1, &count, &err));
    assert_int_equal(count, 0);
    OK(store_gc(c->s, 0, &freed, &err));
    assert_true(freed > 2 * MIB);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign_tree, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile_tree, setup, teardown),
        cmocka_unit_test_setup_teardown(test_walk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ranges, setup, teardown),
        cmocka_unit_test_setup_teardown(test_export_failures, setup, teardown),
        cmocka_unit_test_setup_teardown(test_directory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_larger_than_quota, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

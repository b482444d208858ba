/* A DAG as one stream: any part of it, its commitment, files. */
#include "fixture.h"

#include "codec/car.h"
#include "store/car.h"
#include "../property.h"

static char dir[64];

static int setup(void **state)
{
    dir_fresh(dir);
    *state = open_store(os_real(), dir, 0, 1 << 26, 1);
    return 0;
}

static int teardown(void **state)
{
    store_close(*state);
    remove_tree(dir);
    return 0;
}

/* A directory of two files, one of several blocks, the other twice in it. */
static struct cid dag_add(struct store *s)
{
    struct emac_err err;
    struct emac_buf block;
    struct unixfs_link link[3] = {{.name = "b"}, {.name = "a"}, {.name = "c"}};
    struct cid root;
    uint64_t tree;
    size_t size[2] = {(5 << 19) + 77, 1000};
    for (int i = 0; i < 2; i++) {
        const struct store_value *v;
        OK(store_value_adopt(s, random_bytes(size[i], 5 + (uint64_t)i), size[i], &v, &err));
        link[i].cid = v->cid;
        link[i].tsize = v->tree_size;
        store_value_drop(s, v);
    }
    link[2].cid = link[1].cid;
    link[2].tsize = link[1].tsize;
    emac_buf_init(&block, UNIXFS_DIR_MAX);
    OK(unixfs_directory(link, 3, &block, &root, &tree, &err));
    OK(store_block_put_as(s, &root, block.data, block.len, &err));
    emac_buf_release(&block);
    OK(store_pin(s, "test", &root, &err));
    return root;
}

static enum emac_status collect(void *ctx, const void *data, size_t n, struct emac_err *err)
{
    return emac_buf_append(ctx, data, n, err);
}

static struct emac_buf whole(struct store *s, const struct cid *root)
{
    struct emac_err err;
    struct emac_buf out;
    emac_buf_init(&out, 1 << 24);
    OK(store_car_read(s, root, 0, UINT64_MAX, collect, &out, &err));
    return out;
}

static void parts(void **state)
{
    struct store *s = *state;
    struct emac_err err;
    struct cid root = dag_add(s);
    struct emac_buf all = whole(s, &root), part;
    struct choices c = {.seed = 3};
    uint64_t size = 0;
    OK(store_car_size(s, &root, &size, &err));
    assert_int_equal(size, all.len);
    emac_buf_init(&part, 1 << 24);
    for (int i = 0; i < 50; i++) {
        size_t from = (size_t)choose(&c, all.len + 1);
        size_t to = from + (size_t)choose(&c, all.len + 1 - from);
        emac_buf_clear(&part);
        OK(store_car_read(s, &root, from, to, collect, &part, &err));
        assert_int_equal(part.len, to - from);
        if (part.len > 0)
            assert_memory_equal(part.data, all.data + from, part.len);
    }
    assert_int_equal(store_car_read(s, &root, 5, all.len + 1, collect, &part, &err), EMAC_INVALID);
    emac_buf_release(&part);
    emac_buf_release(&all);
}

static void commitment(void **state)
{
    struct store *s = *state;
    struct emac_err err;
    struct cid root = dag_add(s);
    struct emac_buf all = whole(s, &root);
    struct commp_builder *b;
    struct commp a, d;
    uint8_t *chunk = NULL, proof[COMMP_PROOF_MAX];
    OK(commp_builder_new(false, &b, &err));
    OK(commp_builder_write(b, all.data, all.len, &err));
    OK(commp_builder_end(b, &a, NULL, &err));
    OK(store_car_commit(s, &root, &d, &chunk, &err));
    assert_int_equal(a.size, d.size);
    assert_memory_equal(a.root, d.root, sizeof a.root);
    for (uint64_t leaf = 0; leaf < commp_leaves(d.size); leaf += 9973) {
        uint64_t from;
        size_t n;
        commp_chunk_of(d.size, leaf, &from, &n);
        OK(commp_prove(&d, chunk, leaf, all.data + from, proof, &err));
        assert_true(commp_proof_check(&a, leaf, proof, commp_proof_bytes(a.size)));
    }
    free(chunk);
    emac_buf_release(&all);
}

static void files(void **state)
{
    struct store *s = *state, *other;
    struct emac_err err;
    struct cid root = dag_add(s), back;
    struct emac_buf all = whole(s, &root), again;
    char path[128], there[64];
    uint64_t size = 0;
    snprintf(path, sizeof path, "%s/x.car", dir);
    OK(store_car_export(s, &root, path, &size, &err));
    assert_int_equal(size, all.len);
    dir_fresh(there);
    other = open_store(os_real(), there, 0, 1 << 26, 1);
    OK(store_car_import(other, path, "data", &back, &err));
    assert_true(cid_equal(&root, &back) && store_pinned(other, &back));
    again = whole(other, &back);
    assert_int_equal(again.len, all.len);
    assert_memory_equal(again.data, all.data, all.len);
    emac_buf_release(&again);
    store_close(other);
    remove_tree(there);
    emac_buf_release(&all);
}

/* A CAR of several roots, one that lacks a block, one that is cut, a file that is none. */
static void files_refused(void **state)
{
    static const struct {
        const char *what, *say;
        enum emac_status st;
    } CASES[] = {{"roots", "names 2 roots", EMAC_INVALID},
                 {"part", "is not all of", EMAC_INVALID},
                 {"cut", "is cut after", EMAC_CORRUPT},
                 {"text", "", EMAC_CORRUPT}};
    struct store *s = *state;
    struct emac_err err;
    struct cid root = dag_add(s), back;
    struct emac_buf all = whole(s, &root);
    struct store *other;
    char path[128], there[64];
    snprintf(path, sizeof path, "%s/bad.car", dir);
    dir_fresh(there);
    other = open_store(os_real(), there, 0, 1 << 26, 1);
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        struct os *os = os_real();
        struct emac_buf car;
        emac_buf_init(&car, 1 << 24);
        if (i == 0) { /* {"roots": [root, root], "version": 1} */
            uint8_t cid[CID_BYTES];
            cid_bytes(cid, &root);
            emac_buf_append(&car, "\x64\xa2\x65roots\x82", 9, NULL);
            for (int k = 0; k < 2; k++) {
                emac_buf_append(&car, "\xd8\x2a\x58\x25\x00", 5, NULL);
                emac_buf_append(&car, cid, sizeof cid, NULL);
            }
            emac_buf_append(&car, "\x67version\x01", 9, NULL);
            car.data[0] = (uint8_t)(car.len - 1);
        } else if (i == 1) {
            OK(car_header(&car, &root, &err));
        } else if (i == 2) {
            OK(emac_buf_append(&car, all.data, all.len - 1, &err));
        } else {
            OK(emac_buf_append(&car, "not a CAR at all, but a text of some length\n", 44, &err));
        }
        OK(os->file_write(os, path, car.data, car.len, 0600, &err));
        emac_buf_release(&car);
        enum emac_status st = store_car_import(other, path, "data", &back, &err);
        if (st != CASES[i].st || strstr(err.text, CASES[i].say) == NULL)
            fail_msg("%s: %s: %s", CASES[i].what, emac_status_text(st), err.text);
        assert_false(store_pinned(other, &root));
    }
    store_close(other);
    remove_tree(there);
    emac_buf_release(&all);
}

/* A block that is gone is missed by those who read it, and by nobody else. */
static void missing_block(void **state)
{
    struct store *s = *state;
    struct emac_err err;
    uint8_t *data = random_bytes(3 << 20, 9);
    struct emac_buf all, part;
    char path[128];
    struct cid root;
    uint64_t size;
    snprintf(path, sizeof path, "%s/file", dir);
    OK(os_real()->file_write(os_real(), path, data, 3 << 20, 0600, &err));
    OK(store_file_add(s, path, &root, &size, &err));
    all = whole(s, &root);
    struct cid leaf = cid_of(CID_RAW, data + (1 << 20), 1 << 20);
    char text[CID_TEXT_MAX], *cmd;
    cid_text(text, &leaf);
    cmd = emac_asprintf("find %s/blocks -name '%s*' -delete", dir, text);
    assert_int_equal(system(cmd), 0);
    free(cmd);
    emac_buf_init(&part, 1 << 24);
    OK(store_car_read(s, &root, 0, 1 << 20, collect, &part, &err));
    OK(store_car_read(s, &root, (2 << 20) + 4000, all.len, collect, &part, &err));
    assert_int_not_equal(
        store_car_read(s, &root, (1 << 20) + 4000, (1 << 20) + 4001, collect, &part, &err),
        EMAC_OK);
    emac_buf_release(&part);
    emac_buf_release(&all);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(parts, setup, teardown),
        cmocka_unit_test_setup_teardown(commitment, setup, teardown),
        cmocka_unit_test_setup_teardown(files, setup, teardown),
        cmocka_unit_test_setup_teardown(files_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(missing_block, setup, teardown),
    };
    return cmocka_run_group_tests_name("car", tests, NULL, NULL);
}

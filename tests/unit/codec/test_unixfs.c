#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "codec/unixfs.h"
#include "../property.h"

#define MIB        (1u << 20)
#define BLOCKS_MAX 64

/* A small block store: keeps what the builder emits, in order. */
struct shelf {
    size_t count, fail_at;
    uint64_t bytes;
    struct cid cid[BLOCKS_MAX];
    struct emac_buf block[BLOCKS_MAX];
};

static enum emac_status keep(void *ctx, const struct cid *cid, const void *data, size_t n,
                             struct emac_err *err)
{
    struct shelf *s = ctx;
    struct cid real = cid_of((enum cid_codec)cid->codec, data, n);
    assert_true(cid_equal(&real, cid));
    assert_true(s->count < BLOCKS_MAX);
    if (s->fail_at != 0 && s->count + 1 == s->fail_at)
        return emac_fail(err, EMAC_NO_SPACE, "the shelf is full");
    s->cid[s->count] = *cid;
    emac_buf_init(&s->block[s->count], UNIXFS_BLOCK_MAX);
    s->bytes += n;
    return emac_buf_append(&s->block[s->count++], data, n, err);
}

static void shelf_release(struct shelf *s)
{
    for (size_t i = 0; i < s->count; i++)
        emac_buf_release(&s->block[i]);
    s->count = 0;
}

static const struct emac_buf *shelf_find(const struct shelf *s, const struct cid *cid)
{
    for (size_t i = 0; i < s->count; i++) {
        if (cid_equal(&s->cid[i], cid))
            return &s->block[i];
    }
    return NULL;
}

/* Append the content below `cid`; false when a block is missing, bad or of another size. */
static bool gather(const struct shelf *s, const struct cid *cid, uint64_t size,
                   struct emac_buf *out)
{
    const struct emac_buf *b = shelf_find(s, cid);
    struct unixfs_node node;
    if (b == NULL ||
        unixfs_node_parse(&node, (enum cid_codec)cid->codec, b->data, b->len, NULL) != EMAC_OK)
        return false;
    bool ok = node.kind == UNIXFS_FILE && node.size == size &&
              emac_buf_append(out, node.inline_data.data, node.inline_data.len, NULL) == EMAC_OK;
    for (size_t i = 0; i < node.count && ok; i++)
        ok = gather(s, &node.link[i].cid, node.link[i].size, out);
    unixfs_node_release(&node);
    return ok;
}

static uint8_t *pattern(size_t n)
{
    uint8_t *p = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i ^ i >> 8 ^ i >> 16);
    return p;
}

static void assert_cid(const struct cid *c, const char *want)
{
    char text[CID_TEXT_MAX];
    cid_text(text, c);
    assert_string_equal(text, want);
}

/* Byte i is (i ^ i >> 8 ^ i >> 16) & 255. CIDs and tree sizes are those of ipfs-unixfs-importer 17
 * with the settings of the profile. */
static const struct {
    size_t n;
    const char *cid;
    uint64_t tree_size;
} FILES[] = {
    {0, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku", 0},
    {1, "bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu", 1},
    {MIB, "bafkreie2awbtsiutokydyo2wku4hhy3idozoybuppopqrv6wzhozgfl4xu", MIB},
    {MIB + 1, "bafybeibuluft4ezja3gqos7usof52hxvjz3tlhtgqe7kgwhbl6qq6fbah4", 1048681},
    {3 * MIB + 5, "bafybeiexpgukc5kknorqu2fy2ly34khscth2d3iao5egjqobtmfhpt3iae", 3145938},
};

static void files_like_ipfs(void **state)
{
    for (size_t i = 0; i < EMAC_COUNT(FILES); i++) {
        struct shelf s = {0};
        struct unixfs_builder *b;
        struct emac_buf back;
        struct cid root;
        uint64_t size, tree_size;
        struct emac_err err = {0};
        uint8_t *data = pattern(FILES[i].n);
        assert_int_equal(unixfs_builder_new(&b, keep, &s, &err), EMAC_OK);
        assert_int_equal(unixfs_builder_write(b, data, FILES[i].n, &err), EMAC_OK);
        assert_int_equal(unixfs_builder_end(b, &root, &size, &tree_size, &err), EMAC_OK);
        assert_cid(&root, FILES[i].cid);
        assert_int_equal(size, FILES[i].n);
        assert_int_equal(tree_size, FILES[i].tree_size);
        assert_int_equal(s.bytes, tree_size);
        assert_true(cid_equal(&s.cid[s.count - 1], &root)); /* the root comes last */
        emac_buf_init(&back, 8 * MIB);
        assert_true(gather(&s, &root, size, &back));
        assert_int_equal(back.len, FILES[i].n);
        if (back.len > 0)
            assert_memory_equal(back.data, data, back.len);
        emac_buf_release(&back);
        shelf_release(&s);
        free(data);
    }
}

struct last_block {
    size_t count;
    struct emac_buf block;
};

static enum emac_status keep_last(void *ctx, const struct cid *cid, const void *data, size_t n,
                                  struct emac_err *err)
{
    struct last_block *l = ctx;
    l->count++;
    emac_buf_clear(&l->block);
    return emac_buf_append(&l->block, data, n, err);
}

/* Trees over `count` MiB of zeros; the leaves are all the same. The first two CIDs are those of
 * ipfs-unixfs-importer for such files; three levels are checked by their shape. */
static void trees_over_leaves(void **state)
{
    static const struct {
        size_t count, nodes, links;
        const char *cid;
        uint64_t tree_size;
    } CASES[] = {
        {1024, 1, 1024, "bafybeibqawkaltgjfdebq4no6nmfcvkcw7k52xqzclkwfmrkn6oxw7srmy", 1073793035},
        {1025, 3, 2, "bafybeigt7wofv4vnxbg3titijasuw4ptg5kfztec4smsk7opdt7z6djoxq", 1074841783},
        {1024 * 1024 + 1, 1024 + 1 + 3, 2, NULL, 0},
    };
    uint8_t *zeros = calloc(1, UNIXFS_CHUNK);
    struct cid zero = cid_of(CID_RAW, zeros, UNIXFS_CHUNK);
    free(zeros);
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        struct last_block last = {0};
        struct unixfs_node node;
        struct cid root, *leaf = malloc(CASES[i].count * sizeof *leaf);
        uint64_t tree_size, size = (uint64_t)CASES[i].count * UNIXFS_CHUNK;
        for (size_t k = 0; k < CASES[i].count; k++)
            leaf[k] = zero;
        emac_buf_init(&last.block, UNIXFS_BLOCK_MAX);
        assert_int_equal(unixfs_tree_from_leaves(leaf, CASES[i].count, size, keep_last, &last,
                                                 &root, &tree_size, NULL),
                         EMAC_OK);
        if (CASES[i].cid != NULL) {
            assert_cid(&root, CASES[i].cid);
            assert_int_equal(tree_size, CASES[i].tree_size);
        }
        assert_int_equal(last.count, CASES[i].nodes);
        assert_int_equal(
            unixfs_node_parse(&node, CID_DAG_PB, last.block.data, last.block.len, NULL), EMAC_OK);
        assert_int_equal(node.count, CASES[i].links);
        assert_int_equal(node.size, size);
        unixfs_node_release(&node);
        emac_buf_release(&last.block);
        free(leaf);
    }
}

/* Neither the sizes of the writes nor hashing leaves elsewhere changes a CID. */
static bool pieces_do_not_matter(struct choices *c)
{
    size_t n = MIB + choose(c, 3 * MIB), at = 0, leaves = 0;
    uint8_t *data = pattern(n);
    struct shelf s = {0}, inner = {0};
    struct unixfs_builder *b;
    struct cid root, again, leaf[8];
    uint64_t size = 0, tree_size = 0, tree_again = 0;
    bool ok = unixfs_builder_new(&b, keep, &s, NULL) == EMAC_OK;
    while (at < n && ok) {
        size_t take = choose(c, choose(c, 2) == 0 ? 2 * MIB : 5000);
        take = take > n - at ? n - at : take;
        ok = unixfs_builder_write(b, data + at, take, NULL) == EMAC_OK;
        at += take;
    }
    ok = ok && unixfs_builder_end(b, &root, &size, &tree_size, NULL) == EMAC_OK && size == n;
    for (at = 0; at < n; at += MIB)
        leaf[leaves++] = cid_of(CID_RAW, data + at, n - at < MIB ? n - at : MIB);
    if (leaves > 1) {
        ok = ok && unixfs_tree_from_leaves(leaf, leaves, n, keep, &inner, &again, &tree_again,
                                           NULL) == EMAC_OK;
        ok = ok && cid_equal(&root, &again) && tree_size == tree_again;
    }
    shelf_release(&s);
    shelf_release(&inner);
    free(data);
    return ok;
}

static void pieces_property(void **state)
{
    ASSERT_PROPERTY(8, pieces_do_not_matter);
}

static void sink_failures_come_back(void **state)
{
    uint8_t *data = pattern(2 * MIB + 1);
    for (size_t fail_at = 1; fail_at <= 4; fail_at++) {
        struct shelf s = {.fail_at = fail_at};
        struct unixfs_builder *b;
        struct emac_err err = {0};
        struct cid root;
        uint64_t size, tree_size;
        assert_int_equal(unixfs_builder_new(&b, keep, &s, &err), EMAC_OK);
        enum emac_status st = unixfs_builder_write(b, data, 2 * MIB + 1, &err);
        assert_int_equal(st, fail_at <= 2 ? EMAC_NO_SPACE : EMAC_OK);
        if (st == EMAC_OK)
            st = unixfs_builder_end(b, &root, &size, &tree_size, &err);
        else
            unixfs_builder_free(b);
        assert_int_equal(st, EMAC_NO_SPACE);
        assert_string_equal(err.text, "the shelf is full");
        shelf_release(&s);
    }
    free(data);
}

static void directories_like_ipfs(void **state)
{
    struct unixfs_link link[3] = {
        {.name = "b.txt", .tsize = 3},
        {.name = "a", .tsize = 1048681},
        {.name = "Z z", .tsize = 0},
    };
    static const char *const NAMES[] = {"Z z", "a", "b.txt"};
    struct emac_buf block;
    struct cid cid;
    uint64_t tree_size;
    struct emac_err err = {0};
    struct unixfs_node node;
    uint8_t *three = pattern(3);
    link[0].cid = cid_of(CID_RAW, three, 3);
    free(three);
    assert_int_equal(cid_parse(&link[1].cid, FILES[3].cid, &err), EMAC_OK);
    link[2].cid = cid_of(CID_RAW, "", 0);
    emac_buf_init(&block, UNIXFS_BLOCK_MAX);
    assert_int_equal(unixfs_directory(link, 3, &block, &cid, &tree_size, &err), EMAC_OK);
    assert_cid(&cid, "bafybeignzygw4ege6qapbea3y2gkfvf6qtfqfc3bqyeibd5dlshkez2bqu");
    assert_int_equal(tree_size, 1048831);
    assert_int_equal(unixfs_node_parse(&node, CID_DAG_PB, block.data, block.len, &err), EMAC_OK);
    assert_int_equal(node.kind, UNIXFS_DIRECTORY);
    assert_int_equal(node.count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(node.link[i].name, NAMES[i]);
    assert_int_equal(node.link[1].tsize, 1048681);
    unixfs_node_release(&node);
    emac_buf_clear(&block);
    assert_int_equal(unixfs_directory(NULL, 0, &block, &cid, &tree_size, &err), EMAC_OK);
    assert_cid(&cid, "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354");
    assert_int_equal(tree_size, 4);
    emac_buf_release(&block);
}

static void directories_refused(void **state)
{
    static const char *const BAD[] = {"", ".", "..", "a/b", "/", "\xff"};
    struct emac_buf block;
    struct emac_err err = {0};
    struct cid cid, leaf = cid_of(CID_RAW, "", 0);
    uint64_t tree_size;
    emac_buf_init(&block, UNIXFS_BLOCK_MAX);
    for (size_t i = 0; i < EMAC_COUNT(BAD); i++) {
        struct unixfs_link link = {.cid = leaf, .name = BAD[i]};
        assert_int_equal(unixfs_directory(&link, 1, &block, &cid, &tree_size, &err), EMAC_INVALID);
    }
    struct unixfs_link twice[2] = {{.cid = leaf, .name = "x"}, {.cid = leaf, .name = "x"}};
    assert_int_equal(unixfs_directory(twice, 2, &block, &cid, &tree_size, &err), EMAC_INVALID);
    twice[0].name = "y";
    twice[0].tsize = twice[1].tsize = INT64_MAX;
    assert_int_equal(unixfs_directory(twice, 2, &block, &cid, &tree_size, &err), EMAC_TOO_LARGE);
    size_t many = 6000;
    struct unixfs_link *link = calloc(many, sizeof *link);
    char(*name)[16] = calloc(many, sizeof *name);
    for (size_t i = 0; i < many; i++) {
        emac_hex(name[i], (uint8_t *)&i, 4);
        link[i] = (struct unixfs_link){.cid = leaf, .name = name[i]};
    }
    assert_int_equal(unixfs_directory(link, many, &block, &cid, &tree_size, &err), EMAC_TOO_LARGE);
    assert_non_null(strstr(err.text, "split it"));
    assert_int_equal(block.len, 0);
    free(link);
    free(name);
    emac_buf_release(&block);
}

#define LINK_HEAD "0a2401551220"
#define HASH      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define LINK      "122a" LINK_HEAD HASH "12001802" /* unnamed, tsize 2 */
#define LINK_A    "122b" LINK_HEAD HASH "1201611802"
#define LINK_B    "122b" LINK_HEAD HASH "1201621802"

static const struct {
    const char *hex;
    enum emac_status want;
} BLOCKS[] = {
    {"0a04080218"
     "00",
     EMAC_OK}, /* an empty file in dag-pb */
    {"0a0908021203616263"
     "1803",
     EMAC_OK}, /* "abc" inline */
    {"0a0908001203616263"
     "1803",
     EMAC_OK},                           /* the old raw leaf */
    {LINK "0a06080218022002", EMAC_OK},  /* one part of 2 bytes */
    {LINK_A LINK_B "0a020801", EMAC_OK}, /* a directory */
    {LINK_A "0a0408013800", EMAC_OK},    /* with a mode */
    {"0a090801420508808080"
     "01",
     EMAC_OK},                  /* with a time */
    {"", EMAC_CORRUPT},         /* no data */
    {"0a00", EMAC_CORRUPT},     /* no type */
    {"0a020802", EMAC_CORRUPT}, /* a file without size */
    {"0a0908021203616263"
     "1804",
     EMAC_CORRUPT},                            /* size of 4 over 3 bytes */
    {LINK "0a0408021802", EMAC_CORRUPT},       /* a link without blocksize */
    {"0a06080218022002", EMAC_CORRUPT},        /* a blocksize without link */
    {LINK "0a06080218032002", EMAC_CORRUPT},   /* sum is not the size */
    {LINK_A "0a06080218022002", EMAC_CORRUPT}, /* a named part */
    {LINK_B LINK_A "0a020801", EMAC_CORRUPT},  /* names out of order */
    {LINK_A LINK_A "0a020801", EMAC_CORRUPT},  /* a name twice */
    {LINK "0a020801", EMAC_CORRUPT},           /* a directory's empty name */
    {"0a0608011202"
     "6162",
     EMAC_CORRUPT},                          /* a directory with content */
    {"0a06080218022002" LINK, EMAC_CORRUPT}, /* data before links */
    {"0a0208010a020801", EMAC_CORRUPT},      /* data twice */
    {"1a00"
     "0a020801",
     EMAC_CORRUPT},                 /* unknown field of the node */
    {"0a0408014801", EMAC_CORRUPT}, /* unknown field 9 of the message */
    {"0a0418000802", EMAC_CORRUPT}, /* message fields out of order */
    {"0a0608020802"
     "1800",
     EMAC_CORRUPT},             /* type twice */
    {"0a020a00", EMAC_CORRUPT}, /* type as bytes */
    {"0a0308820018"
     "00",
     EMAC_CORRUPT},                           /* a long varint */
    {"0a05080218", EMAC_CORRUPT},             /* cut */
    {"0d00000000", EMAC_CORRUPT},             /* wire type 5 */
    {"0a020803", EMAC_UNSUPPORTED},           /* metadata */
    {"0a020804", EMAC_UNSUPPORTED},           /* symbolic link */
    {"0a0708052822308002", EMAC_UNSUPPORTED}, /* HAMT */
    {"1200"
     "0a020801",
     EMAC_CORRUPT}, /* a link without CID */
    {"122b" LINK_HEAD HASH "00"
     "12001802"
     "0a020801",
     EMAC_CORRUPT}, /* CID and a byte */
};

static void blocks_accepted_and_refused(void **state)
{
    for (size_t i = 0; i < EMAC_COUNT(BLOCKS); i++) {
        struct unixfs_node node;
        struct emac_err err = {0};
        size_t n = strlen(BLOCKS[i].hex) / 2;
        uint8_t *data = malloc(n > 0 ? n : 1);
        assert_true(emac_unhex(data, n, BLOCKS[i].hex));
        enum emac_status st = unixfs_node_parse(&node, CID_DAG_PB, data, n, &err);
        if (st != BLOCKS[i].want)
            fail_msg("block %s: status %d, '%s'", BLOCKS[i].hex, st, err.text);
        unixfs_node_release(&node);
        free(data);
    }
}

static void other_blocks(void **state)
{
    struct unixfs_node node;
    struct emac_err err = {0};
    assert_int_equal(unixfs_node_parse(&node, CID_RAW, "abc", 3, &err), EMAC_OK);
    assert_int_equal(node.size, 3);
    assert_int_equal(node.inline_data.len, 3);
    assert_int_equal(node.count, 0);
    unixfs_node_release(&node);
    assert_int_equal(unixfs_node_parse(&node, CID_DAG_CBOR, "\xa0", 1, &err), EMAC_INVALID);
    uint8_t *big = calloc(1, UNIXFS_BLOCK_MAX + 1);
    assert_int_equal(unixfs_node_parse(&node, CID_RAW, big, UNIXFS_BLOCK_MAX + 1, &err),
                     EMAC_TOO_LARGE);
    free(big);
}

static void names(void **state)
{
    char long_name[UNIXFS_NAME_MAX + 1];
    memset(long_name, 'n', sizeof long_name);
    assert_true(unixfs_name_ok("...", 3));
    assert_true(unixfs_name_ok("\u00e9", 2));
    assert_true(unixfs_name_ok(long_name, UNIXFS_NAME_MAX));
    assert_false(unixfs_name_ok(long_name, UNIXFS_NAME_MAX + 1));
    assert_false(unixfs_name_ok("a\0b", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_like_ipfs),
        cmocka_unit_test(trees_over_leaves),
        cmocka_unit_test(pieces_property),
        cmocka_unit_test(sink_failures_come_back),
        cmocka_unit_test(directories_like_ipfs),
        cmocka_unit_test(directories_refused),
        cmocka_unit_test(blocks_accepted_and_refused),
        cmocka_unit_test(other_blocks),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

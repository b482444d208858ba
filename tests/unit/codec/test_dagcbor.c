#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "codec/dagcbor.h"
#include "../property.h"

#define DOC_MAX (1u << 20)

static void assert_doc(const struct emac_buf *b, const char *want)
{
    char *text = malloc(2 * b->len + 1);
    emac_hex(text, b->data, b->len);
    assert_string_equal(text, want);
    free(text);
}

static enum emac_status parse_hex(struct arena *a, const char *hex, const struct dagcbor_node **out,
                                  struct emac_err *err)
{
    size_t n = strlen(hex) / 2;
    uint8_t *data = malloc(n + 1); /* of exact size, so that sanitizers see an overrun */
    assert_true(emac_unhex(data, n, hex));
    data = realloc(data, n > 0 ? n : 1);
    enum emac_status st = dagcbor_parse(a, data, n, out, err);
    free(data);
    return st;
}

/* Integers in their shortest forms, RFC 8949 appendix A. */
static void integers(void **state)
{
    static const struct {
        uint64_t v;
        const char *hex;
    } POSITIVE[] = {
        {0, "00"},
        {23, "17"},
        {24, "1818"},
        {255, "18ff"},
        {256, "190100"},
        {65535, "19ffff"},
        {65536, "1a00010000"},
        {4294967295, "1affffffff"},
        {4294967296, "1b0000000100000000"},
        {UINT64_MAX, "1bffffffffffffffff"},
    };
    for (size_t i = 0; i < EMAC_COUNT(POSITIVE); i++) {
        struct emac_buf b;
        struct dagcbor_writer w;
        emac_buf_init(&b, 100);
        dagcbor_writer_init(&w, &b);
        dagcbor_u64(&w, POSITIVE[i].v);
        assert_int_equal(dagcbor_writer_end(&w, NULL), EMAC_OK);
        assert_doc(&b, POSITIVE[i].hex);
        emac_buf_release(&b);
    }
    static const struct {
        int64_t v;
        const char *hex;
    } SIGNED[] = {
        {-1, "20"},     {-24, "37"},      {-25, "3818"},
        {-256, "38ff"}, {-257, "390100"}, {INT64_MIN, "3b7fffffffffffffff"},
        {5, "05"},
    };
    for (size_t i = 0; i < EMAC_COUNT(SIGNED); i++) {
        struct emac_buf b;
        struct dagcbor_writer w;
        emac_buf_init(&b, 100);
        dagcbor_writer_init(&w, &b);
        dagcbor_i64(&w, SIGNED[i].v);
        assert_int_equal(dagcbor_writer_end(&w, NULL), EMAC_OK);
        assert_doc(&b, SIGNED[i].hex);
        emac_buf_release(&b);
    }
}

/* The bytes that @ipld/dag-cbor gives for this value. */
static const char GOLDEN[] = "a76161430102036162016163d82a58250001551220e3b0c44298fc1c149afbf4c8996"
                             "fb92427ae41e4649b934ca49599"
                             "1b7852b855616da0626161862038fff5f6fb3ff800000000000062c3a9636269671b0"
                             "020000000000001636e65673b7f"
                             "ffffffffffffff";

static void write_golden(struct dagcbor_writer *w)
{
    struct cid empty = cid_of(CID_RAW, "", 0);
    dagcbor_map(w, 7);
    dagcbor_key(w, "a");
    dagcbor_bytes(w, "\1\2\3", 3);
    dagcbor_key(w, "b");
    dagcbor_u64(w, 1);
    dagcbor_key(w, "c");
    dagcbor_cid(w, &empty);
    dagcbor_key(w, "m");
    dagcbor_map(w, 0);
    dagcbor_key(w, "aa");
    dagcbor_list(w, 6);
    dagcbor_i64(w, -1);
    dagcbor_i64(w, -256);
    dagcbor_bool(w, true);
    dagcbor_null(w);
    dagcbor_f64(w, 1.5);
    dagcbor_str(w, "\u00e9");
    dagcbor_key(w, "big");
    dagcbor_u64(w, UINT64_C(9007199254740993));
    dagcbor_key(w, "neg");
    dagcbor_i64(w, INT64_MIN);
}

static void golden_write(void **state)
{
    struct emac_buf b;
    struct dagcbor_writer w;
    struct emac_err err = {0};
    char name[CID_TEXT_MAX];
    emac_buf_init(&b, 1000);
    dagcbor_writer_init(&w, &b);
    write_golden(&w);
    assert_int_equal(dagcbor_writer_end(&w, &err), EMAC_OK);
    assert_doc(&b, GOLDEN);
    struct cid c = cid_of(CID_DAG_CBOR, b.data, b.len);
    cid_text(name, &c);
    assert_string_equal(name, "bafyreiekglmgpd2wzev4ohfxlqjrhmvvkidlbgbioi6myjv3tsqoky5mjm");
    emac_buf_release(&b);
}

static void golden_read(void **state)
{
    static const char *const KEYS[] = {"a", "aa", "b", "big", "c", "m", "neg", NULL};
    struct arena a;
    struct emac_err err = {0};
    const struct dagcbor_node *root, *node;
    struct cid cid, empty = cid_of(CID_RAW, "", 0);
    uint64_t u;
    int64_t i;
    arena_init(&a, 1 << 16);
    assert_int_equal(parse_hex(&a, GOLDEN, &root, &err), EMAC_OK);
    assert_int_equal(dagcbor_only(root, KEYS, &err), EMAC_OK);
    assert_int_equal(dagcbor_get_u64(root, "big", UINT64_MAX, &u, &err), EMAC_OK);
    assert_true(u == UINT64_C(9007199254740993));
    assert_int_equal(dagcbor_get_i64(root, "neg", &i, &err), EMAC_OK);
    assert_true(i == INT64_MIN);
    assert_int_equal(dagcbor_get_i64(root, "b", &i, &err), EMAC_OK);
    assert_int_equal(i, 1);
    assert_int_equal(dagcbor_get_cid(root, "c", &cid, &err), EMAC_OK);
    assert_true(cid_equal(&cid, &empty));
    assert_int_equal(dagcbor_get(root, "a", DAGCBOR_BYTES, &node, &err), EMAC_OK);
    assert_memory_equal(node->str.data, "\1\2\3", 3);
    assert_int_equal(dagcbor_get(root, "aa", DAGCBOR_LIST, &node, &err), EMAC_OK);
    assert_int_equal(node->seq.count, 6);
    assert_true(node->seq.items[2].boolean);
    assert_int_equal(node->seq.items[3].type, DAGCBOR_NULL);
    assert_true(node->seq.items[4].f64 == 1.5);
    assert_string_equal(node->seq.items[5].str.data, "\u00e9");
    arena_release(&a);
}

static void getters_say_what_is_wrong(void **state)
{
    static const char *const KEYS[] = {"a", NULL};
    struct arena a;
    struct emac_err err = {0};
    const struct dagcbor_node *root, *node;
    const char *s;
    uint64_t u;
    double f;
    int64_t i;
    arena_init(&a, 1 << 16);
    /* {"a": 7, "s": "x\0y", "u": 2^64-1} */
    assert_int_equal(parse_hex(&a,
                               "a3616107617363780079"
                               "61751bffffffffffffffff",
                               &root, &err),
                     EMAC_OK);
    assert_int_equal(dagcbor_get_u64(root, "x", 9, &u, &err), EMAC_INVALID);
    assert_string_equal(err.text, "field 'x' is missing");
    assert_int_equal(dagcbor_get_u64(root, "a", 6, &u, &err), EMAC_INVALID);
    assert_string_equal(err.text, "field 'a' is 7, more than the maximum 6");
    assert_int_equal(dagcbor_get_str(root, "a", &s, &err), EMAC_INVALID);
    assert_string_equal(err.text, "field 'a' must be a text, not an unsigned integer");
    assert_int_equal(dagcbor_get_str(root, "s", &s, &err), EMAC_INVALID);
    assert_int_equal(dagcbor_get_f64(root, "a", &f, &err), EMAC_INVALID);
    assert_int_equal(dagcbor_get_i64(root, "u", &i, &err), EMAC_INVALID);
    assert_int_equal(dagcbor_only(root, KEYS, &err), EMAC_INVALID);
    assert_non_null(strstr(err.text, "unknown field 's'"));
    node = dagcbor_find(root, "a");
    assert_int_equal(dagcbor_get_u64(node, "a", 6, &u, &err), EMAC_INVALID);
    assert_int_equal(dagcbor_only(node, KEYS, &err), EMAC_INVALID);
    assert_null(dagcbor_find(node, "a"));
    assert_null(dagcbor_find(NULL, "a"));
    arena_release(&a);
}

/* Forms that CBOR allows or a hostile peer sends, and DAG-CBOR does not. */
static void forms_refused(void **state)
{
    static const char *const BAD[] = {
        "",
        "1817",                 /* 23 in two bytes */
        "1900ff",               /* 255 in three */
        "1a0000ffff",           /* 65535 in five */
        "1b00000000ffffffff",   /* 2^32-1 in nine */
        "3b8000000000000000",   /* below int64 */
        "5800",                 /* length 0 in two bytes */
        "18",                   /* cut */
        "1bffff",               /* cut */
        "6261",                 /* cut text */
        "7bffffffffffffffff61", /* huge text */
        "5bffffffffffffffff",   /* huge bytes */
        "9bffffffffffffffff",   /* huge list */
        "bbffffffffffffffff",   /* huge map */
        "9a00100000",           /* a list of 2^20 items, none there */
        "81",                   /* cut list */
        "a16161",               /* cut map */
        "5f4101ff",             /* indefinite bytes */
        "7f6161ff",             /* indefinite text */
        "9f01ff",               /* indefinite list */
        "bf616101ff",           /* indefinite map */
        "a10101",               /* integer key */
        "a1416101",             /* bytes key */
        "a2616101616102",       /* repeated key */
        "a2616201616102",       /* keys not sorted */
        "a262616101616202",     /* longer key first */
        "61ff",                 /* not UTF-8 */
        "62c080",               /* overlong UTF-8 */
        "63eda080",             /* surrogate */
        "f7",                   /* undefined */
        "f0",                   /* unassigned simple */
        "f8ff",                 /* simple in two bytes */
        "f814",                 /* false in two bytes */
        "f93c00",               /* binary16 */
        "fa3f800000",           /* binary32 */
        "fb7ff0000000000000",   /* infinity */
        "fb7ff8000000000000",   /* NaN */
        "c001",                 /* tag 0 */
        "d82a01",               /* CID that is no bytes */
        "d82a4100",             /* empty CID */
        "0000",                 /* two values */
        "ff",                   /* break alone */
        "1c",                   /* reserved */
    };
    for (size_t i = 0; i < EMAC_COUNT(BAD); i++) {
        struct arena a;
        struct emac_err err = {0};
        const struct dagcbor_node *root;
        arena_init(&a, 1 << 16);
        if (parse_hex(&a, BAD[i], &root, &err) != EMAC_CORRUPT || root != NULL)
            fail_msg("accepted '%s'", BAD[i]);
        assert_non_null(strstr(err.text, "bad dag-cbor at byte "));
        arena_release(&a);
    }
}

static void bad_cids_refused(void **state)
{
    static const char TAIL[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    static const char *const HEAD[] = {
        "d82a58250101551220",   /* multibase prefix is not 00 */
        "d82a58250002551220",   /* version 2 */
        "d82a58250001511220",   /* codec cbor */
        "d82a58230012200000",   /* CIDv0: too short for the tag's bytes */
        "d82b58250001551220",   /* tag 43 */
        "d9002a58250001551220", /* tag 42 in three bytes */
        "58250001551220",       /* plain bytes: fine as such, so left out below */
    };
    for (size_t i = 0; i < EMAC_COUNT(HEAD); i++) {
        struct arena a;
        const struct dagcbor_node *root;
        char hex[200] = "";
        strcat(hex, HEAD[i]);
        strcat(hex, TAIL);
        arena_init(&a, 1 << 16);
        enum emac_status st = parse_hex(&a, hex, &root, NULL);
        assert_int_equal(st == EMAC_OK, i + 1 == EMAC_COUNT(HEAD));
        arena_release(&a);
    }
}

static void depth_is_bounded(void **state)
{
    for (unsigned depth = DAGCBOR_DEPTH_MAX; depth <= DAGCBOR_DEPTH_MAX + 1; depth++) {
        struct emac_buf b;
        struct dagcbor_writer w;
        struct arena a;
        struct emac_err err = {0};
        const struct dagcbor_node *root;
        uint8_t doc[64];
        emac_buf_init(&b, 1000);
        dagcbor_writer_init(&w, &b);
        memset(doc, 0x81, depth);
        doc[depth] = 0;
        for (unsigned i = 0; i < depth; i++)
            dagcbor_list(&w, 1);
        dagcbor_u64(&w, 0);
        bool fits = depth == DAGCBOR_DEPTH_MAX;
        assert_int_equal(dagcbor_writer_end(&w, &err), fits ? EMAC_OK : EMAC_TOO_LARGE);
        arena_init(&a, 1 << 16);
        assert_int_equal(dagcbor_parse(&a, doc, depth + 1, &root, &err),
                         fits ? EMAC_OK : EMAC_CORRUPT);
        arena_release(&a);
        emac_buf_release(&b);
    }
}

static void arena_bounds_memory(void **state)
{
    struct arena a;
    struct emac_err err = {0};
    const struct dagcbor_node *root;
    uint8_t doc[3 + 1000] = {0x99, 0x03, 0xe8};
    arena_init(&a, 10000);
    assert_int_equal(dagcbor_parse(&a, doc, sizeof doc, &root, &err), EMAC_TOO_LARGE);
    arena_release(&a);
}

static void writer_is_sticky(void **state)
{
    struct emac_buf b;
    struct dagcbor_writer w;
    struct emac_err err = {0};
    emac_buf_init(&b, 1000);
    dagcbor_writer_init(&w, &b);
    dagcbor_list(&w, 2);
    dagcbor_f64(&w, NAN);
    dagcbor_u64(&w, 1);
    dagcbor_u64(&w, 2);
    dagcbor_u64(&w, 3); /* too many, but the failure of before counts */
    assert_int_equal(dagcbor_writer_end(&w, &err), EMAC_NUMERIC);
    assert_string_equal(err.text, "dag-cbor cannot hold NaN or infinity");
    dagcbor_writer_init(&w, &b);
    dagcbor_str(&w, "\xff");
    assert_int_equal(dagcbor_writer_end(&w, &err), EMAC_INVALID);
    dagcbor_writer_init(&w, &b);
    dagcbor_list(&w, 2);
    dagcbor_u64(&w, 1);
    assert_int_equal(dagcbor_writer_end(&w, &err), EMAC_INTERNAL); /* one item is missing */
    emac_buf_release(&b);
    emac_buf_init(&b, 4);
    dagcbor_writer_init(&w, &b);
    dagcbor_bytes(&w, "12345", 5);
    assert_int_equal(dagcbor_writer_end(&w, &err), EMAC_TOO_LARGE);
    emac_buf_release(&b);
}

/* ---- properties ---- */

static void random_value(struct choices *c, struct dagcbor_writer *w, unsigned depth);

static void random_text(struct choices *c, char *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (char)choose(c, 128);
}

/* Keys "k0", "k1", ... of growing length and number are in canonical order. */
static void random_map(struct choices *c, struct dagcbor_writer *w, unsigned depth)
{
    uint64_t n = choose(c, 5);
    dagcbor_map(w, n);
    for (uint64_t i = 0; i < n; i++) {
        char key[32];
        memset(key, 'k', sizeof key);
        key[i / 2] = (char)('a' + i % 2);
        dagcbor_key_n(w, key, i / 2 + 1);
        random_value(c, w, depth + 1);
    }
}

static void random_list(struct choices *c, struct dagcbor_writer *w, unsigned depth)
{
    uint64_t n = choose(c, 5);
    dagcbor_list(w, n);
    for (uint64_t i = 0; i < n; i++)
        random_value(c, w, depth + 1);
}

static uint64_t random_u64(struct choices *c)
{
    return (choose(c, UINT64_MAX) | 1) >> choose(c, 64);
}

static void random_value(struct choices *c, struct dagcbor_writer *w, unsigned depth)
{
    char text[40];
    struct cid cid = {.codec = CID_RAW};
    uint64_t n = choose(c, sizeof text);
    switch (choose(c, depth < 5 ? 10 : 7)) {
    case 0:
        dagcbor_u64(w, random_u64(c));
        break;
    case 1:
        dagcbor_i64(w, -1 - (int64_t)(random_u64(c) >> 1));
        break;
    case 2:
        dagcbor_f64(w, ldexp((double)choose(c, 1000) - 500, (int)choose(c, 200) - 100));
        break;
    case 3:
        dagcbor_bool(w, choose(c, 2) == 1);
        break;
    case 4:
        random_text(c, text, n);
        dagcbor_str_n(w, text, n);
        break;
    case 5:
        choose_bytes(c, text, n);
        dagcbor_bytes(w, text, n);
        break;
    case 6:
        choose_bytes(c, cid.digest, sizeof cid.digest);
        dagcbor_cid(w, &cid);
        break;
    case 7:
        random_list(c, w, depth);
        break;
    default:
        random_map(c, w, depth);
    }
}

/* Whatever the reader accepts, the writer gives back byte for byte. */
static bool is_canonical(const void *data, size_t n, bool *accepted)
{
    struct arena a;
    struct emac_buf b;
    struct dagcbor_writer w;
    const struct dagcbor_node *root;
    bool ok = true;
    arena_init(&a, DOC_MAX);
    emac_buf_init(&b, DOC_MAX);
    *accepted = dagcbor_parse(&a, data, n, &root, NULL) == EMAC_OK;
    if (*accepted) {
        dagcbor_writer_init(&w, &b);
        dagcbor_node(&w, root);
        ok = dagcbor_writer_end(&w, NULL) == EMAC_OK && b.len == n && memcmp(b.data, data, n) == 0;
    }
    emac_buf_release(&b);
    arena_release(&a);
    return ok;
}

/* Documents come back as they were; cut ones are refused; damaged ones are refused or canonical. */
static bool documents_round_trip(struct choices *c)
{
    struct emac_buf b;
    struct dagcbor_writer w;
    bool accepted, ok;
    emac_buf_init(&b, DOC_MAX);
    dagcbor_writer_init(&w, &b);
    dagcbor_map(&w, 1);
    dagcbor_key(&w, "root");
    random_value(c, &w, 0);
    ok = dagcbor_writer_end(&w, NULL) == EMAC_OK;
    ok = ok && is_canonical(b.data, b.len, &accepted) && accepted;
    ok = ok && is_canonical(b.data, choose(c, b.len), &accepted) && !accepted;
    for (int i = 0; i < 20 && ok; i++) {
        size_t at = choose(c, b.len);
        uint8_t was = b.data[at];
        b.data[at] = (uint8_t)choose(c, 256);
        ok = is_canonical(b.data, b.len, &accepted);
        b.data[at] = was;
    }
    emac_buf_release(&b);
    return ok;
}

static void documents_property(void **state)
{
    ASSERT_PROPERTY(500, documents_round_trip);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers),         cmocka_unit_test(golden_write),
        cmocka_unit_test(golden_read),      cmocka_unit_test(getters_say_what_is_wrong),
        cmocka_unit_test(forms_refused),    cmocka_unit_test(bad_cids_refused),
        cmocka_unit_test(depth_is_bounded), cmocka_unit_test(arena_bounds_memory),
        cmocka_unit_test(writer_is_sticky), cmocka_unit_test(documents_property),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

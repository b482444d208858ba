#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "codec/rlp.h"
#include "../evm_vectors.h"
#include "../property.h"

static void write_named(struct rlp_writer *w, const char *name)
{
    uint8_t fill[300];
    memset(fill, 0x01, sizeof(fill));
    if (strcmp(name, "empty list") == 0) {
        rlp_list_begin(w);
        rlp_list_end(w);
    } else if (strcmp(name, "empty string") == 0) {
        rlp_u64(w, 0);
    } else if (strcmp(name, "zero byte") == 0) {
        rlp_bytes(w, "\0", 1);
    } else if (strcmp(name, "0x7f") == 0) {
        rlp_u64(w, 0x7f);
    } else if (strcmp(name, "0x80") == 0) {
        rlp_u64(w, 0x80);
    } else if (strcmp(name, "list of an empty string") == 0) {
        rlp_list_begin(w);
        rlp_bytes(w, NULL, 0);
        rlp_list_end(w);
    } else if (strcmp(name, "nested") == 0) {
        static const char SHAPE[] = "[[][[]][[][[]]]]";
        for (const char *p = SHAPE; *p; p++)
            (*p == '[' ? rlp_list_begin : rlp_list_end)(w);
    } else if (strcmp(name, "55 bytes ab") == 0 || strcmp(name, "56 bytes ab") == 0) {
        memset(fill, 0xab, 56);
        rlp_bytes(w, fill, name[1] == '5' ? 55 : 56);
    } else if (strcmp(name, "list of 30 cd, 30 ef") == 0) {
        rlp_list_begin(w);
        memset(fill, 0xcd, 30);
        rlp_bytes(w, fill, 30);
        memset(fill, 0xef, 30);
        rlp_bytes(w, fill, 30);
        rlp_list_end(w);
    } else {
        assert_string_equal(name, "300 bytes 01");
        rlp_bytes(w, fill, 300);
    }
}

static void vectors(void **state)
{
    for (size_t i = 0; i < EMAC_COUNT(RLP_VECTORS); i++) {
        struct emac_buf buf;
        struct rlp_writer w;
        char text[2 * 320 + 1];
        emac_buf_init(&buf, 320);
        rlp_writer_init(&w, &buf);
        write_named(&w, RLP_VECTORS[i].name);
        assert_int_equal(rlp_writer_end(&w, NULL), EMAC_OK);
        emac_hex(text, buf.data, buf.len);
        assert_string_equal(text, RLP_VECTORS[i].encoding);
        assert_int_equal(rlp_check(emac_buf_slice(&buf), NULL), EMAC_OK);
        emac_buf_release(&buf);
    }
}

static void refused(void **state)
{
    static const char *const BAD[] = {
        "",                   /* nothing */
        "8100",               /* a small byte with a header */
        "817f",               /* the same */
        "81",                 /* ends early */
        "8261",               /* ends early */
        "b800",               /* long form of a short length */
        "b837",               /* long form of 55 */
        "b90038",             /* length with a leading zero */
        "b9",                 /* ends within the length */
        "bfffffffffffffffff", /* longer than memory */
        "c1",                 /* a list that ends early */
        "c28100",             /* within a list */
        "c3c28100",           /* deeper */
        "8080",               /* two items */
        "c080",               /* left over */
        "f800",               /* long form of a short list */
        "ffffffffffffffffff",
    };
    struct emac_err err;
    for (size_t i = 0; i < EMAC_COUNT(BAD); i++) {
        uint8_t bytes[16];
        size_t n = strlen(BAD[i]) / 2;
        assert_true(emac_unhex(bytes, n, BAD[i]));
        assert_int_equal(rlp_check(EMAC_SLICE(bytes, n), &err), EMAC_CORRUPT);
        assert_non_null(strstr(err.text, "RLP"));
    }
    uint8_t deep[RLP_DEPTH_MAX + 2];
    for (size_t n = 1; n <= sizeof(deep); n++) {
        for (size_t i = 0; i < n; i++)
            deep[i] = (uint8_t)(0xc0 + (n - 1 - i));
        assert_int_equal(rlp_check(EMAC_SLICE(deep, n), NULL),
                         n <= RLP_DEPTH_MAX + 1 ? EMAC_OK : EMAC_CORRUPT);
    }
}

static void numbers(void **state)
{
    static const struct {
        const char *hex;
        size_t n;
        bool ok;
        uint64_t value;
    } CASES[] = {
        {"80", 1, true, 0},
        {"01", 1, true, 1},
        {"00", 1, false, 0}, /* zero is the empty string */
        {"820100", 3, true, 256},
        {"820001", 3, false, 0}, /* leading zero */
        {"88ffffffffffffffff", 9, true, UINT64_MAX},
        {"89010000000000000000", 10, false, 0},
        {"c0", 1, false, 0},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        uint8_t bytes[16];
        uint64_t v = 0;
        assert_true(emac_unhex(bytes, CASES[i].n, CASES[i].hex));
        struct emac_slice in = EMAC_SLICE(bytes, CASES[i].n);
        assert_int_equal(rlp_next_u64(&in, &v, NULL), CASES[i].ok ? EMAC_OK : EMAC_CORRUPT);
        assert_true(v == CASES[i].value);
    }
    struct emac_slice body, in = EMAC_SLICE("\x80", 1), list = EMAC_SLICE("\xc0", 1);
    uint8_t out[2];
    assert_int_equal(rlp_next_list(&in, &body, NULL), EMAC_CORRUPT);
    assert_int_equal(rlp_next_bytes(&list, out, 0, NULL), EMAC_CORRUPT);
    in = EMAC_SLICE("\x80", 1);
    assert_int_equal(rlp_next_bytes(&in, out, 2, NULL), EMAC_CORRUPT);
}

static void full_buffer(void **state)
{
    struct emac_buf buf;
    struct rlp_writer w;
    struct emac_err err;
    emac_buf_init(&buf, 10);
    rlp_writer_init(&w, &buf);
    rlp_list_begin(&w);
    rlp_bytes(&w, "0123456789", 10);
    rlp_list_end(&w);
    assert_int_equal(rlp_writer_end(&w, &err), EMAC_TOO_LARGE);
    emac_buf_release(&buf);
}

/* A random tree: written, checked, read item by item. */
static void write_tree(struct rlp_writer *w, struct choices *c, unsigned depth)
{
    uint8_t bytes[100];
    uint64_t items = choose(c, depth < 4 ? 5 : 1);
    rlp_list_begin(w);
    for (uint64_t i = 0; i < items; i++) {
        size_t n = choose(c, sizeof(bytes));
        choose_bytes(c, bytes, n);
        if (choose(c, 3) == 0)
            write_tree(w, c, depth + 1);
        else
            rlp_bytes(w, bytes, n);
    }
    rlp_list_end(w);
}

static void write_again(struct rlp_writer *w, struct emac_slice in)
{
    struct rlp_item item;
    while (in.len > 0 && rlp_next(&in, &item, NULL) == EMAC_OK) {
        if (!item.list) {
            rlp_bytes(w, item.body.data, item.body.len);
            continue;
        }
        rlp_list_begin(w);
        write_again(w, item.body);
        rlp_list_end(w);
    }
}

static bool trees_come_back(struct choices *c)
{
    struct emac_buf one, two;
    struct rlp_writer w;
    emac_buf_init(&one, 1u << 20);
    emac_buf_init(&two, 1u << 20);
    rlp_writer_init(&w, &one);
    write_tree(&w, c, 0);
    bool ok =
        rlp_writer_end(&w, NULL) == EMAC_OK && rlp_check(emac_buf_slice(&one), NULL) == EMAC_OK;
    rlp_writer_init(&w, &two);
    write_again(&w, emac_buf_slice(&one));
    ok = ok && rlp_writer_end(&w, NULL) == EMAC_OK && one.len == two.len &&
         memcmp(one.data, two.data, one.len) == 0;
    emac_buf_release(&one);
    emac_buf_release(&two);
    return ok;
}

static void trees(void **state)
{
    ASSERT_PROPERTY(500, trees_come_back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors),     cmocka_unit_test(refused), cmocka_unit_test(numbers),
        cmocka_unit_test(full_buffer), cmocka_unit_test(trees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

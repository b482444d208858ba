/* gzip, IDX and CSV files of other people. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "codec/csv.h"
#include "codec/gzip.h"
#include "codec/idx.h"

/* "hello\n" by gzip -n. */
static const uint8_t HELLO[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                0x03, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0xe7, 0x02, 0x00,
                                0x20, 0x30, 0x3a, 0x36, 0x06, 0x00, 0x00, 0x00};

static void gzip_cases(void **state)
{
    uint8_t twice[2 * sizeof HELLO + 1];
    memcpy(twice, HELLO, sizeof HELLO);
    memcpy(twice + sizeof HELLO, HELLO, sizeof HELLO);
    twice[2 * sizeof HELLO] = 'x';
    const struct {
        struct emac_slice file;
        size_t max;
        const char *content, *says; /* one of them */
    } CASES[] = {
        {EMAC_SLICE(HELLO, sizeof HELLO), 100, "hello\n", NULL},
        {EMAC_SLICE(HELLO, sizeof HELLO), 6, "hello\n", NULL},
        {EMAC_SLICE(HELLO, sizeof HELLO), 5, NULL, "expands to more than 5 bytes"},
        {EMAC_SLICE(HELLO, sizeof HELLO), 0, NULL, "expands to more than 0 bytes"},
        {EMAC_SLICE(twice, 2 * sizeof HELLO), 100, "hello\nhello\n", NULL},
        {EMAC_SLICE(twice, 2 * sizeof HELLO), 11, NULL, "expands to more than 11 bytes"},
        {EMAC_SLICE(twice, 2 * sizeof HELLO + 1), 100, NULL, "gzip file"},
        {EMAC_SLICE(HELLO, sizeof HELLO - 1), 100, NULL, "ends too early"},
        {EMAC_SLICE(HELLO, 3), 100, NULL, "ends too early"},
        {EMAC_SLICE(HELLO, 2), 100, NULL, "no gzip file"},
        {EMAC_SLICE("plain text", 10), 100, NULL, "no gzip file"},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        struct emac_err err = {0};
        struct emac_buf out;
        emac_buf_init(&out, CASES[i].max);
        enum emac_status st = gzip_expand(CASES[i].file, &out, &err);
        bool right = CASES[i].content != NULL
                         ? st == EMAC_OK && strcmp(emac_buf_str(&out), CASES[i].content) == 0
                         : st != EMAC_OK && strstr(err.text, CASES[i].says) != NULL;
        if (!right)
            fail_msg("case %zu: '%s' '%s'", i, emac_buf_str(&out), err.text);
        emac_buf_release(&out);
    }
}

/* Damage in every byte and bit: never a wrong content in silence. */
static void gzip_damage(void **state)
{
    for (size_t bit = 0; bit < 8 * sizeof HELLO; bit++) {
        uint8_t file[sizeof HELLO];
        struct emac_buf out;
        memcpy(file, HELLO, sizeof file);
        file[bit / 8] ^= (uint8_t)(1u << bit % 8);
        emac_buf_init(&out, 100);
        if (gzip_expand(EMAC_SLICE(file, sizeof file), &out, NULL) == EMAC_OK)
            assert_string_equal(emac_buf_str(&out), "hello\n"); /* time stamp and such */
        emac_buf_release(&out);
    }
}

static void idx_cases(void **state)
{
    static const struct {
        const char *file;
        size_t n;
        uint32_t rank, first;
        const char *says;
    } CASES[] = {
        {"\0\0\10\1\0\0\0\3abc", 11, 1, 3, NULL},
        {"\0\0\10\3\0\0\0\1\0\0\0\2\0\0\0\2abcd", 20, 3, 1, NULL},
        {"\0\0\10\1\0\0\0\3ab", 10, 0, 0, "holds 2 elements and its dimensions say 3"},
        {"\0\0\10\1\0\0\0\3abcd", 12, 0, 0, "holds 4 elements"},
        {"\0\0\10\1\0\0\0\0", 8, 0, 0, "dimension 1 of the IDX file, 0"},
        {"\0\0\10\4\377\377\377\377\377\377\377\377\377\377\377\377\0\0\0\1", 20, 0, 0,
         "dimension 3 of the IDX file, 4294967295"},
        {"\0\0\15\1\0\0\0\1abcd", 12, 0, 0, "type 0x0d"},
        {"\0\0\10\5\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1a", 25, 0, 0, "has 5 dimensions"},
        {"\0\0\10\0", 4, 0, 0, "has 0 dimensions"},
        {"\0\0\10\2\0\0\0\1", 8, 0, 0, "ends within its header"},
        {"\0\1\10\1", 4, 0, 0, "no IDX file"},
        {"\0\0\10", 3, 0, 0, "no IDX file"},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        struct emac_err err = {0};
        struct idx idx;
        enum emac_status st = idx_parse(&idx, EMAC_SLICE(CASES[i].file, CASES[i].n), &err);
        if (CASES[i].says == NULL ? st != EMAC_OK
                                  : st == EMAC_OK || strstr(err.text, CASES[i].says) == NULL)
            fail_msg("case %zu: %s", i, err.text);
        if (CASES[i].says != NULL)
            continue;
        assert_int_equal(idx.rank, CASES[i].rank);
        assert_int_equal(idx.dim[0], CASES[i].first);
        assert_memory_equal(idx.items.data, "abc", 3);
    }
}

/* Rows as "cell|cell;" with the row's line in front. */
static enum emac_status csv_text(const char *text, size_t n, struct emac_buf *out,
                                 struct emac_err *err)
{
    struct csv c;
    bool row;
    enum emac_status st;
    char *copy = malloc(n > 0 ? n : 1); /* of exact size and without NUL */
    memcpy(copy, text, n);
    csv_init(&c, EMAC_SLICE(copy, n));
    while ((st = csv_next(&c, &row, err)) == EMAC_OK && row) {
        emac_buf_printf(out, NULL, "%zu:", c.row_line);
        for (uint32_t i = 0; i < c.count; i++)
            emac_buf_printf(out, NULL, "%s%s", csv_cell(&c, i), i + 1 < c.count ? "|" : ";");
    }
    csv_release(&c);
    free(copy);
    return st;
}

static void csv_cases(void **state)
{
    static const struct {
        const char *text, *rows, *says;
    } CASES[] = {
        {"", "", NULL},
        {"a", "1:a;", NULL},
        {"a,b\n1,2\n", "1:a|b;2:1|2;", NULL},
        {"a,b\r\n1,2\r\n", "1:a|b;2:1|2;", NULL},
        {"\n\na,b\n\n\n1,2", "3:a|b;6:1|2;", NULL},
        {",\n", "1:|;", NULL},
        {"a,\n,b\n", "1:a|;2:|b;", NULL},
        {"\"a,b\",c\n", "1:a,b|c;", NULL},
        {"\"a\"\"b\"\n", "1:a\"b;", NULL},
        {"\"a\nb\",c\nd,e\n", "1:a\nb|c;3:d|e;", NULL},
        {"\"\",\"\"\n", "1:|;", NULL},
        {"a\rb,c\n", "1:a\rb|c;", NULL},
        {"a\"b,c\n", "1:a\"b|c;", NULL},
        {"\xef\xbb\xbf"
         "a,b\n",
         "1:a|b;", NULL},
        {"a,b\n\"c", NULL, "line 2: a quoted cell is never closed"},
        {"\"a\"b\n", NULL, "line 1: text follows a closing quote"},
        {"a\n\xff\n", NULL, "line 2: a cell is not UTF-8"},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        struct emac_err err = {0};
        struct emac_buf out;
        emac_buf_init(&out, 4096);
        enum emac_status st = csv_text(CASES[i].text, strlen(CASES[i].text), &out, &err);
        bool right = CASES[i].rows != NULL
                         ? st == EMAC_OK && strcmp(emac_buf_str(&out), CASES[i].rows) == 0
                         : st != EMAC_OK && strstr(err.text, CASES[i].says) != NULL;
        if (!right)
            fail_msg("case %zu: '%s' '%s'", i, emac_buf_str(&out), err.text);
        emac_buf_release(&out);
    }
}

static void csv_limits(void **state)
{
    struct emac_err err = {0};
    struct emac_buf out, text;
    emac_buf_init(&out, 1 << 20);
    emac_buf_init(&text, 4 << 20);
    assert_int_equal(csv_text("a\0b\n", 4, &out, &err), EMAC_INVALID);
    for (int i = 0; i < CSV_CELLS_MAX; i++)
        emac_buf_append(&text, ",", 1, NULL);
    assert_int_equal(csv_text((const char *)text.data, text.len, &out, &err), EMAC_TOO_LARGE);
    assert_non_null(strstr(err.text, "more than 8192 cells"));
    emac_buf_clear(&text);
    for (unsigned i = 0; i < CSV_ROW_BYTES_MAX; i++)
        emac_buf_append(&text, "x", 1, NULL);
    assert_int_equal(csv_text((const char *)text.data, text.len, &out, &err), EMAC_TOO_LARGE);
    assert_non_null(strstr(err.text, "line 1: the row is longer"));
    emac_buf_release(&text);
    emac_buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gzip_cases), cmocka_unit_test(gzip_damage), cmocka_unit_test(idx_cases),
        cmocka_unit_test(csv_cases),  cmocka_unit_test(csv_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

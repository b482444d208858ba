#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "codec/safetensors.h"
#include "../property.h"

/* A file of this header and `data` bytes after it; only the header is handed to the parser. */
static enum emac_status parse(const char *json, uint64_t data, struct st_index *idx,
                              struct emac_err *err)
{
    size_t n = strlen(json);
    uint8_t *file = calloc(1, 8 + n);
    file[0] = (uint8_t)n;
    file[1] = (uint8_t)(n >> 8);
    file[2] = (uint8_t)(n >> 16);
    memcpy(file + 8, json, n);
    enum emac_status st = st_index_parse(idx, file, 8 + n, 8 + n + data, err);
    free(file);
    return st;
}

static void a_valid_file(void **state)
{
    static const char JSON[] =
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[4,28]},"
        "\"__metadata__\":{\"format\":\"pt\",\"note\":\"a,b[{\"},"
        "\"e\":{\"shape\":[0,7],\"dtype\":\"I64\",\"data_offsets\":[28,28]},"
        "\"b\":{\"dtype\":\"BF16\",\"data_offsets\":[0,4],\"shape\":[2]},"
        "\"scalar\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[28,29]}}   ";
    struct st_index idx;
    struct emac_err err = {0};
    assert_int_equal(parse(JSON, 29, &idx, &err), EMAC_OK);
    assert_int_equal(idx.count, 4);
    assert_int_equal(idx.data_offset, 8 + strlen(JSON));
    assert_string_equal(idx.tensor[0].name, "b");
    assert_string_equal(idx.tensor[1].name, "w");
    assert_string_equal(idx.tensor[2].name, "e");
    assert_string_equal(idx.tensor[3].name, "scalar");
    const struct st_tensor *w = st_index_find(&idx, "w");
    assert_non_null(w);
    assert_int_equal(w->dtype, ST_F32);
    assert_int_equal(w->rank, 2);
    assert_int_equal(w->dim[1], 3);
    assert_int_equal(w->begin, 4);
    assert_int_equal(st_tensor_count(w), 6);
    assert_int_equal(st_tensor_bytes(w), 24);
    assert_int_equal(st_tensor_count(st_index_find(&idx, "scalar")), 1);
    assert_int_equal(st_tensor_count(st_index_find(&idx, "e")), 0);
    assert_null(st_index_find(&idx, "none"));
    st_index_release(&idx);
    assert_int_equal(parse("{}", 0, &idx, &err), EMAC_OK);
    assert_int_equal(idx.count, 0);
    assert_null(st_index_find(&idx, "w"));
    st_index_release(&idx);
}

#define T1(dtype, shape, offsets)                                                                  \
    "{\"t\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define U8(name, offsets)                                                                          \
    "\"" name "\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":" offsets "}"

static void headers_refused(void **state)
{
    static const struct {
        const char *json, *why;
        uint64_t data;
    } CASES[] = {
        {"", "begin with '{'", 0},
        {" {}", "begin with '{'", 0},
        {"[]", "begin with '{'", 0},
        {"{", "bad safetensors header", 0},
        {"{}x", "bad safetensors header", 0},
        {"{} ", "the file has 1", 1},
        {"{\"a\":1}", "must have exactly", 0},
        {"{\"a\":{}}", "must have exactly", 0},
        {"{" U8("a", "[0,2]") "," U8("a", "[2,4]") "}", "duplicate", 4},
        {"{\"t\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}",
         "duplicate", 1},
        {"{" U8("a", "[0,2]") "," U8("b", "[3,5]") "}", "a hole", 5},
        {"{" U8("a", "[0,2]") "," U8("b", "[1,3]") "}", "an overlap", 3},
        {"{" U8("a", "[1,3]") "}", "a hole", 3},
        {"{" U8("a", "[0,2]") "}", "the file has 3", 3},
        {"{" U8("a", "[0,2]") "}", "the file has 1", 1},
        {"{" U8("", "[0,2]") "}", "name must have", 2},
        {T1("\"F33\"", "[1]", "[0,4]"), "unknown dtype 'F33'", 4},
        {T1("7", "[1]", "[0,4]"), "must have exactly", 4},
        {T1("\"F32\"", "[1]", "[0,3]"), "its shape needs", 3},
        {T1("\"F32\"", "[2]", "[0,4]"), "its shape needs", 4},
        {T1("\"F32\"", "[1]", "[4,0]"), "data_offsets must be", 4},
        {T1("\"F32\"", "[1]", "[0,4,4]"), "data_offsets must be", 4},
        {T1("\"F32\"", "[1]", "[-4,0]"), "data_offsets must be", 4},
        {T1("\"F32\"", "[1]", "[0,4.0]"), "data_offsets must be", 4},
        {T1("\"F32\"", "[1]", "\"0,4\""), "data_offsets must be", 4},
        {T1("\"F32\"", "[-1]", "[0,4]"), "not a whole number", 4},
        {T1("\"F32\"", "[1.0]", "[0,4]"), "not a whole number", 4},
        {T1("\"F32\"", "1", "[0,4]"), "shape must be", 4},
        {T1("\"U8\"", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), "shape must be", 1},
        {T1("\"F32\"", "[4611686018427387904]", "[0,0]"), "its shape needs", 0},
        {T1("\"U8\"", "[4294967296,4294967296,0]", "[0,0]"), "its shape needs", 0},
        {T1("\"U8\"", "[9223372036854775808]", "[0,0]"), "bad safetensors header", 0},
        {"{\"__metadata__\":{\"a\":1}}", "is not a text", 0},
        {"{\"__metadata__\":[]}", "must be a map", 0},
        {"{\"a\\u0000b\":{}}", "bad safetensors header", 0},
        {"{\"\xff\":{}}", "bad safetensors header", 0},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        struct st_index idx;
        struct emac_err err = {0};
        enum emac_status st = parse(CASES[i].json, CASES[i].data, &idx, &err);
        if (st == EMAC_OK || strstr(err.text, CASES[i].why) == NULL)
            fail_msg("%s: status %d, '%s'", CASES[i].json, st, err.text);
        assert_int_equal(idx.count, 0);
        assert_null(idx.tensor);
    }
}

static void long_names_refused(void **state)
{
    char json[600], name[ST_NAME_MAX + 2];
    struct st_index idx;
    struct emac_err err = {0};
    for (size_t n = ST_NAME_MAX; n <= ST_NAME_MAX + 1; n++) {
        memset(name, 'n', n);
        name[n] = '\0';
        snprintf(json, sizeof json,
                 "{\"%s\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", name);
        assert_int_equal(parse(json, 1, &idx, &err), n == ST_NAME_MAX ? EMAC_OK : EMAC_INVALID);
        st_index_release(&idx);
    }
}

static void lengths_are_checked_first(void **state)
{
    struct st_index idx;
    struct emac_err err = {0};
    uint8_t file[16] = {2, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    assert_int_equal(st_index_parse(&idx, file, 10, 10, &err), EMAC_OK);
    st_index_release(&idx);
    assert_int_equal(st_index_parse(&idx, file, 7, 7, &err), EMAC_CORRUPT);
    assert_int_equal(st_index_parse(&idx, file, 8, 10, &err), EMAC_INVALID);
    assert_int_equal(st_index_parse(&idx, file, 9, 9, &err), EMAC_CORRUPT);
    memset(file, 0xff, 8);
    assert_int_equal(st_index_parse(&idx, file, 16, UINT64_MAX, &err), EMAC_CORRUPT);
    uint8_t over[8] = {1, 0, 0x40, 0x06}; /* 100 MB + 1 */
    uint64_t size;
    assert_int_equal(st_header_size(over, UINT64_MAX, &size, &err), EMAC_CORRUPT);
    over[0] = 0;
    assert_int_equal(st_header_size(over, UINT64_MAX, &size, &err), EMAC_OK);
    assert_int_equal(size, 8 + ST_HEADER_MAX);
}

/* A header made of very many small values is refused before the JSON parser sees it. */
static void too_many_values(void **state)
{
    size_t n = 4u << 20;
    char *json = malloc(n + 1);
    struct st_index idx;
    struct emac_err err = {0};
    memset(json, ',', n);
    memcpy(json, "{\"a\":[", 6);
    json[n] = '\0';
    assert_int_equal(parse(json, 0, &idx, &err), EMAC_TOO_LARGE);
    free(json);
}

static void canonical_bundle(void **state)
{
    static const char WANT[] =
        "{\"__metadata__\":{\"format\":\"pt\"},"
        "\"a.b\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]},"
        "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[8,32]},"
        "\"B\":{\"dtype\":\"F16\",\"shape\":[0],\"data_offsets\":[32,32]},"
        "\"\\u000a\\\"\\\\\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[32,33]}}";
    struct st_index idx = {0};
    struct emac_buf header;
    struct emac_err err = {0};
    emac_buf_init(&header, 1 << 16);
    assert_int_equal(st_index_add(&idx, "a.b", ST_I64, 1, (uint64_t[]){1}, &err), EMAC_OK);
    assert_int_equal(st_index_add(&idx, "a", ST_F32, 2, (uint64_t[]){2, 3}, &err), EMAC_OK);
    assert_int_equal(st_index_add(&idx, "\n\"\\", ST_U8, 0, NULL, &err), EMAC_OK);
    assert_int_equal(st_index_add(&idx, "B", ST_F16, 1, (uint64_t[]){0}, &err), EMAC_OK);
    assert_non_null(st_index_find(&idx, "B")); /* while it is built, too */
    assert_int_equal(st_bundle_layout(&idx, &header, &err), EMAC_OK);
    assert_int_equal(header.len % 64, 0);
    assert_int_equal(idx.data_offset, header.len);
    assert_int_equal(idx.file_size, header.len + 33);
    assert_int_equal(header.data[0] | header.data[1] << 8, header.len - 8);
    assert_memory_equal(header.data + 8, WANT, sizeof WANT - 1);
    for (size_t i = 8 + sizeof WANT - 1; i < header.len; i++)
        assert_int_equal(header.data[i], ' ');
    struct st_index back;
    assert_int_equal(st_index_parse(&back, header.data, header.len, idx.file_size, &err), EMAC_OK);
    assert_int_equal(back.count, 4);
    assert_int_equal(st_index_find(&back, "\n\"\\")->dtype, ST_U8);
    st_index_release(&back);
    st_index_release(&idx);
    emac_buf_release(&header);
}

static void bundles_refused(void **state)
{
    struct st_index idx = {0};
    struct emac_buf header;
    struct emac_err err = {0};
    uint64_t dim[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1}, huge[2] = {UINT64_C(1) << 40, UINT64_C(1) << 40};
    emac_buf_init(&header, 1 << 16);
    assert_int_equal(st_index_add(&idx, "", ST_U8, 0, NULL, &err), EMAC_INVALID);
    assert_int_equal(st_index_add(&idx, "\xff", ST_U8, 0, NULL, &err), EMAC_INVALID);
    assert_int_equal(st_index_add(&idx, "__metadata__", ST_U8, 0, NULL, &err), EMAC_INVALID);
    assert_int_equal(st_index_add(&idx, "x", ST_U8, 9, dim, &err), EMAC_INVALID);
    assert_int_equal(st_index_add(&idx, "x", ST_U8, 2, huge, &err), EMAC_INVALID);
    assert_int_equal(idx.count, 0);
    assert_int_equal(st_index_add(&idx, "x", ST_U8, 1, dim, &err), EMAC_OK);
    assert_int_equal(st_index_add(&idx, "x", ST_F32, 1, dim, &err), EMAC_OK);
    assert_int_equal(st_bundle_layout(&idx, &header, &err), EMAC_INVALID);
    assert_string_equal(err.text, "two tensors are named 'x'");
    st_index_release(&idx);
    huge[0] = UINT64_C(1) << 22;
    assert_int_equal(st_index_add(&idx, "x", ST_U8, 2, huge, &err), EMAC_OK);
    assert_int_equal(st_index_add(&idx, "y", ST_U8, 2, huge, &err), EMAC_OK);
    assert_int_equal(st_bundle_layout(&idx, &header, &err), EMAC_TOO_LARGE);
    st_index_release(&idx);
    emac_buf_release(&header);
}

static enum emac_status random_index(struct choices *c, struct st_index *idx, uint64_t order)
{
    size_t n = choose(c, 20);
    for (size_t i = 0; i < n; i++) {
        char name[24];
        uint64_t dim[4];
        size_t k = order == 0 ? i : n - 1 - i;
        snprintf(name, sizeof name, "t%zu", k);
        for (size_t d = 0; d < 4; d++)
            dim[d] = (k * 7 + d * 3) % 5;
        enum emac_status st = st_index_add(idx, name, (enum st_dtype)(k % 10), k % 5, dim, NULL);
        if (st != EMAC_OK)
            return st;
    }
    return EMAC_OK;
}

/* The order in which tensors are added cannot be seen in the bytes; and the reader agrees. */
static bool bundles_are_canonical(struct choices *c)
{
    struct emac_buf h[2];
    struct st_index idx[2] = {{0}, {0}}, back;
    bool ok = true;
    for (int i = 0; i < 2; i++) {
        struct choices again = *c;
        emac_buf_init(&h[i], 1 << 16);
        ok = ok && random_index(&again, &idx[i], (uint64_t)i) == EMAC_OK &&
             st_bundle_layout(&idx[i], &h[i], NULL) == EMAC_OK;
    }
    ok = ok && h[0].len == h[1].len && memcmp(h[0].data, h[1].data, h[0].len) == 0;
    ok = ok && st_index_parse(&back, h[0].data, h[0].len, idx[0].file_size, NULL) == EMAC_OK;
    if (ok) {
        ok = back.count == idx[0].count;
        for (size_t i = 0; ok && i < back.count; i++) {
            const struct st_tensor *t = st_index_find(&back, idx[0].tensor[i].name);
            ok = t != NULL && t->begin == idx[0].tensor[i].begin && t->end == idx[0].tensor[i].end;
        }
        st_index_release(&back);
    }
    for (int i = 0; i < 2; i++) {
        st_index_release(&idx[i]);
        emac_buf_release(&h[i]);
    }
    return ok;
}

static void bundles_property(void **state)
{
    ASSERT_PROPERTY(200, bundles_are_canonical);
}

static void dtypes(void **state)
{
    assert_int_equal(st_dtype_bytes(ST_BF16), 2);
    assert_int_equal(st_dtype_bytes(ST_F64), 8);
    assert_string_equal(st_dtype_name(ST_BOOL), "BOOL");
    assert_string_equal(st_dtype_name(ST_F32), "F32");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_valid_file),
        cmocka_unit_test(headers_refused),
        cmocka_unit_test(long_names_refused),
        cmocka_unit_test(lengths_are_checked_first),
        cmocka_unit_test(too_many_values),
        cmocka_unit_test(canonical_bundle),
        cmocka_unit_test(bundles_refused),
        cmocka_unit_test(bundles_property),
        cmocka_unit_test(dtypes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

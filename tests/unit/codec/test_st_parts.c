/* Checkpoints in parts: the index, joining, cutting. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "codec/st_parts.h"
#include "../property.h"

static enum emac_status parse(const char *json, struct st_parts *out, struct emac_err *err)
{
    return st_parts_parse(out, json, strlen(json), err);
}

static void an_index(void **state)
{
    struct st_parts p;
    struct emac_err err = {0};
    assert_int_equal(parse("{\"metadata\": {\"total_size\": 12}, \"weight_map\": {"
                           "\"w\": \"model-00002-of-00002.safetensors\","
                           "\"a\": \"model-00001-of-00002.safetensors\","
                           "\"b\": \"model-00002-of-00002.safetensors\"}}",
                           &p, &err),
                     EMAC_OK);
    assert_int_equal(p.count, 2);
    assert_string_equal(p.name[0], "model-00001-of-00002.safetensors");
    assert_int_equal(p.tensors, 3);
    assert_string_equal(p.tensor[2].name, "w");
    assert_int_equal(st_parts_of(&p, "a"), 0);
    assert_int_equal(st_parts_of(&p, "b"), 1);
    assert_int_equal(st_parts_of(&p, "w"), 1);
    st_parts_release(&p);
}

static void bad_indexes(void **state)
{
    static const struct {
        const char *json;
        enum emac_status status;
        const char *says;
    } BAD[] = {
        {"", EMAC_INVALID, "not JSON"},
        {"[]", EMAC_INVALID, "not a JSON object"},
        {"{}", EMAC_INVALID, "'weight_map' of the index names no tensor"},
        {"{\"weight_map\": {}}", EMAC_INVALID, "names no tensor"},
        {"{\"weight_map\": [\"a\"]}", EMAC_INVALID, "names no tensor"},
        {"{\"weight_map\": {\"a\": 1}}", EMAC_INVALID, "names '?' as the part that holds 'a'"},
        {"{\"weight_map\": {\"a\": \"x.safetensors\", \"a\": \"y.safetensors\"}}", EMAC_INVALID,
         "names a tensor twice"},
        {"{\"weight_map\": {\"a\": \"../x.safetensors\"}}", EMAC_INVALID,
         "names '../x.safetensors'"},
        {"{\"weight_map\": {\"a\": \"/etc/x.safetensors\"}}", EMAC_INVALID, "beside the index"},
        {"{\"weight_map\": {\"a\": \"d/x.safetensors\"}}", EMAC_INVALID, "beside the index"},
        {"{\"weight_map\": {\"a\": \"d\\\\x.safetensors\"}}", EMAC_INVALID, "beside the index"},
        {"{\"weight_map\": {\"a\": \"..safetensors\"}}", EMAC_INVALID, "beside the index"},
        {"{\"weight_map\": {\"a\": \".safetensors\"}}", EMAC_INVALID, "beside the index"},
        {"{\"weight_map\": {\"a\": \"\"}}", EMAC_INVALID, "beside the index"},
        {"{\"weight_map\": {\"a\": \"x.bin\"}}", EMAC_INVALID, "ending in '.safetensors'"},
        {"{\"weight_map\": {\"a\": \"x\\u0000.safetensors\"}}", EMAC_INVALID, "not JSON"},
    };
    for (size_t i = 0; i < EMAC_COUNT(BAD); i++) {
        struct st_parts p;
        struct emac_err err = {0};
        enum emac_status st = parse(BAD[i].json, &p, &err);
        if (st != BAD[i].status || strstr(err.text, BAD[i].says) == NULL)
            fail_msg("%s: got %s \"%s\"", BAD[i].json, emac_status_text(st), err.text);
        assert_null(p.name);
        assert_null(p.tensor);
    }
}

static void limits(void **state)
{
    char *spaces = malloc(ST_PARTS_JSON_MAX + 1);
    struct emac_buf json;
    struct st_parts p;
    struct emac_err err = {0};
    emac_buf_init(&json, ST_PARTS_JSON_MAX);
    memset(spaces, ' ', ST_PARTS_JSON_MAX + 1);
    assert_int_equal(st_parts_parse(&p, spaces, ST_PARTS_JSON_MAX + 1, &err), EMAC_TOO_LARGE);
    free(spaces);
    emac_buf_printf(&json, NULL, "{\"weight_map\": {");
    for (int i = 0; i <= ST_PARTS_MAX; i++)
        emac_buf_printf(&json, NULL, "%s\"t%d\": \"p%d.safetensors\"", i > 0 ? "," : "", i, i);
    emac_buf_printf(&json, NULL, "}}");
    assert_int_equal(st_parts_parse(&p, json.data, json.len, &err), EMAC_TOO_LARGE);
    assert_non_null(strstr(err.text, "4097 parts"));
    emac_buf_release(&json);
}

/* A header of 1-byte tensors; "a b" has a and b. */
static void header_of(const char *names, struct st_index *out)
{
    const uint64_t dim[1] = {1};
    struct emac_buf header;
    emac_buf_init(&header, ST_HEADER_MAX);
    *out = (struct st_index){0};
    for (const char *c = names; *c != '\0'; c++) {
        const char name[2] = {*c, '\0'};
        assert_int_equal(st_index_add(out, name, ST_U8, 1, dim, NULL), EMAC_OK);
    }
    assert_int_equal(st_bundle_layout(out, &header, NULL), EMAC_OK);
    emac_buf_release(&header);
}

static void what_does_not_join(void **state)
{
    static const struct {
        const char *first, *second, *says;
    } BAD[] = {
        {"a", "b", "says that '1.safetensors' holds the tensor 'c', and it does not"},
        {"a", "bcd", "'1.safetensors' holds the tensor 'd', which the index does not name"},
        {"ab", "bc", "'b' is in '0.safetensors', and the index says it is in '1.safetensors'"},
        {"", "abc", "'a' is in '1.safetensors'"},
    };
    struct st_parts p;
    struct emac_err err = {0};
    assert_int_equal(parse("{\"weight_map\": {\"a\": \"0.safetensors\", \"b\": \"1.safetensors\","
                           "\"c\": \"1.safetensors\"}}",
                           &p, &err),
                     EMAC_OK);
    for (size_t i = 0; i < EMAC_COUNT(BAD); i++) {
        struct st_index index[2], bundle;
        struct st_piece *piece;
        struct emac_buf header;
        emac_buf_init(&header, ST_HEADER_MAX);
        header_of(BAD[i].first, &index[0]);
        header_of(BAD[i].second, &index[1]);
        assert_int_equal(st_parts_join(&p, index, &bundle, &piece, &header, &err), EMAC_INVALID);
        if (strstr(err.text, BAD[i].says) == NULL)
            fail_msg("case %zu: %s", i, err.text);
        free(piece);
        st_index_release(&bundle);
        st_index_release(&index[0]);
        st_index_release(&index[1]);
        emac_buf_release(&header);
    }
    st_parts_release(&p);
}

/* ---- cut anywhere and joined again, the file is what it was ---- */

struct part_file {
    uint8_t *data;
    size_t n;
};

/* The bytes of a part, taken from the whole file. */
static void part_build(const struct st_parts *p, uint32_t at, const struct st_index *whole,
                       const uint8_t *file, struct st_index *out, struct part_file *bytes)
{
    struct emac_buf header;
    emac_buf_init(&header, ST_HEADER_MAX);
    *out = (struct st_index){0};
    for (size_t i = 0; i < whole->count; i++) {
        const struct st_tensor *t = &whole->tensor[i];
        if (st_parts_of(p, t->name) == at)
            assert_int_equal(st_index_add(out, t->name, t->dtype, t->rank, t->dim, NULL), EMAC_OK);
    }
    assert_int_equal(st_bundle_layout(out, &header, NULL), EMAC_OK);
    bytes->n = out->file_size;
    bytes->data = malloc(bytes->n);
    memcpy(bytes->data, header.data, header.len);
    for (size_t i = 0; i < out->count; i++) {
        const struct st_tensor *t = &out->tensor[i], *from = st_index_find(whole, t->name);
        memcpy(bytes->data + out->data_offset + t->begin, file + whole->data_offset + from->begin,
               t->end - t->begin);
    }
    emac_buf_release(&header);
}

static void whole_build(struct choices *d, struct st_index *whole, struct emac_buf *file)
{
    static const enum st_dtype TYPES[] = {ST_F32, ST_BF16, ST_U8, ST_I64};
    uint32_t count = 1 + (uint32_t)choose(d, 12);
    *whole = (struct st_index){0};
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t dim[2] = {choose(d, 5), 1 + choose(d, 9)};
        char name[16];
        snprintf(name, sizeof name, "t%u", i);
        assert_int_equal(
            st_index_add(whole, name, TYPES[choose(d, EMAC_COUNT(TYPES))], 2, dim, NULL), EMAC_OK);
    }
    assert_int_equal(st_bundle_layout(whole, file, NULL), EMAC_OK);
    while (file->len < whole->file_size) {
        const uint8_t byte = (uint8_t)choose(d, 256);
        assert_int_equal(emac_buf_append(file, &byte, 1, NULL), EMAC_OK);
    }
}

static bool joins(const struct st_parts *p, const struct st_index *whole,
                  const struct emac_buf *file)
{
    struct st_index *index = calloc(p->count, sizeof *index), bundle;
    struct part_file *part = calloc(p->count, sizeof *part);
    struct st_piece *piece;
    struct emac_buf joined;
    emac_buf_init(&joined, ST_HEADER_MAX);
    for (uint32_t i = 0; i < p->count; i++)
        part_build(p, i, whole, file->data, &index[i], &part[i]);
    bool same = st_parts_join(p, index, &bundle, &piece, &joined, NULL) == EMAC_OK;
    for (size_t i = 0; same && i < bundle.count; i++)
        same = emac_buf_append(&joined, part[piece[i].part].data + piece[i].begin,
                               bundle.tensor[i].end - bundle.tensor[i].begin, NULL) == EMAC_OK;
    same = same && joined.len == file->len && memcmp(joined.data, file->data, file->len) == 0;
    for (uint32_t i = 0; i < p->count; i++) {
        st_index_release(&index[i]);
        free(part[i].data);
    }
    free(index);
    free(part);
    free(piece);
    st_index_release(&bundle);
    emac_buf_release(&joined);
    return same;
}

static bool cut_and_joined(struct choices *d)
{
    struct st_index whole;
    struct st_parts p, back = {0};
    struct emac_buf file, text;
    uint64_t most = choose(d, 400);
    emac_buf_init(&file, ST_HEADER_MAX);
    emac_buf_init(&text, ST_PARTS_JSON_MAX);
    whole_build(d, &whole, &file);
    bool holds = st_parts_cut(&whole, most, &p, NULL) == EMAC_OK && p.tensors == whole.count &&
                 st_parts_write(&p, 7, &text, NULL) == EMAC_OK &&
                 st_parts_parse(&back, text.data, text.len, NULL) == EMAC_OK &&
                 back.count == p.count && joins(&back, &whole, &file);
    st_parts_release(&p);
    st_parts_release(&back);
    st_index_release(&whole);
    emac_buf_release(&file);
    emac_buf_release(&text);
    return holds;
}

static void what_is_cut_joins(void **state)
{
    ASSERT_PROPERTY(200, cut_and_joined);
}

/* No part but one of a single tensor passes the limit, and none could take the next tensor. */
static void parts_are_full(void **state)
{
    const uint64_t dims[] = {10, 20, 70, 5, 5, 5, 200, 1};
    static const uint32_t WANT[] = {0, 0, 0, 1, 1, 1, 2, 3};
    struct st_index whole = {0};
    struct st_parts p;
    struct emac_buf header;
    emac_buf_init(&header, ST_HEADER_MAX);
    for (size_t i = 0; i < EMAC_COUNT(dims); i++) {
        const char name[2] = {(char)('a' + i), '\0'};
        assert_int_equal(st_index_add(&whole, name, ST_U8, 1, &dims[i], NULL), EMAC_OK);
    }
    assert_int_equal(st_bundle_layout(&whole, &header, NULL), EMAC_OK);
    assert_int_equal(st_parts_cut(&whole, 100, &p, NULL), EMAC_OK);
    for (size_t i = 0; i < EMAC_COUNT(dims); i++)
        assert_int_equal(p.tensor[i].part, WANT[i]);
    assert_int_equal(p.count, 4);
    assert_string_equal(p.name[3], "model-00004-of-00004.safetensors");
    st_parts_release(&p);
    st_index_release(&whole);
    emac_buf_release(&header);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_index),
        cmocka_unit_test(bad_indexes),
        cmocka_unit_test(limits),
        cmocka_unit_test(what_does_not_join),
        cmocka_unit_test(what_is_cut_joins),
        cmocka_unit_test(parts_are_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

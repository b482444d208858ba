#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "codec/yaml.h"

static enum emac_status load(const char *text, size_t n, json_t **out, struct emac_err *err)
{
    char *copy = malloc(n > 0 ? n : 1); /* of exact size and without NUL */
    memcpy(copy, text, n);
    enum emac_status st = yaml_to_json(copy, n, out, err);
    free(copy);
    return st;
}

static void values(void **state)
{
    static const struct {
        const char *yaml, *json;
    } CASES[] = {
        {"a: 1", "{\"a\":1}"},
        {"a:", "{\"a\":null}"},
        {"[null, ~, Null, NULL, 'null']", "[null,null,null,null,\"null\"]"},
        {"[true, True, FALSE, yes, no, on]", "[true,true,false,\"yes\",\"no\",\"on\"]"},
        {"[0, -1, +7, 007, 0x1F, 0o17]", "[0,-1,7,7,31,15]"},
        {"[9223372036854775807, -9223372036854775808]",
         "[9223372036854775807,-9223372036854775808]"},
        {"[1.5, .5, 2., 1e3, -1E-2, +0.25]", "[1.5,0.5,2.0,1000.0,-0.01,0.25]"},
        {"[1.2.3, 1e, e5, ., -, +, 0x, 0xg, 0o8, 1_000, 12:30]",
         "[\"1.2.3\",\"1e\",\"e5\",\".\",\"-\",\"+\",\"0x\",\"0xg\",\"0o8\",\"1_000\",\"12:30\"]"},
        {"['1', \"1\", \"a\\nb\"]", "[\"1\",\"1\",\"a\\nb\"]"},
        {"a: |\n  1\n  2\nb: >\n  x\n  y\n", "{\"a\":\"1\\n2\\n\",\"b\":\"x y\\n\"}"},
        {"1: a\ntrue: b\nnull: c", "{\"1\":\"a\",\"true\":\"b\",\"null\":\"c\"}"},
        {"# comment\n---\n- a\n- b: [c, {d: e}]\n...\n", "[\"a\",{\"b\":[\"c\",{\"d\":\"e\"}]}]"},
        {"%YAML 1.2\n---\nx\n", "\"x\""},
        {"{\"a\":[1,2.5,\"x\\u00e9\\t\"],\"b\":{\"c\":null}}",
         "{\"a\":[1,2.5,\"x\xc3\xa9\\t\"],\"b\":{\"c\":null}}"},
        {"\n{\n \"url\": \"http://x/y\" }\n", "{\"url\":\"http://x/y\"}"},
        {"u: http://x:80/y#z", "{\"u\":\"http://x:80/y#z\"}"},
        {"<<: x", "{\"<<\":\"x\"}"},
        {"[]", "[]"},
        {"{}", "{}"},
        {"\xef\xbb\xbf"
         "a: \xc3\xa9",
         "{\"a\":\"\xc3\xa9\"}"},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        json_t *json = NULL;
        struct emac_err err = {0};
        if (load(CASES[i].yaml, strlen(CASES[i].yaml), &json, &err) != EMAC_OK)
            fail_msg("%s: %s", CASES[i].yaml, err.text);
        char *text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
        assert_string_equal(text, CASES[i].json);
        free(text);
        json_decref(json);
    }
}

static void texts_refused(void **state)
{
    static const struct {
        const char *yaml, *why;
    } CASES[] = {
        {"", "the text is empty"},
        {"# nothing\n", "the text is empty"},
        {"a: 1\nb: 2\na: 3\n", "line 3, column 1: the key is there twice: 'a'"},
        {"{\"x\": 1, \"x\": 2}", "line 1, column 10: the key is there twice: 'x'"},
        {"a: &x 1", "line 1, column 4: anchors are not allowed: remove 'x'"},
        {"a: &x [1]", "anchors are not allowed"},
        {"a: &x {b: c}", "anchors are not allowed"},
        {"&k a: 1", "anchors are not allowed"},
        {"a: *x", "aliases are not allowed: write out 'x'"},
        {"a: !!str 1", "tags are not allowed"},
        {"a: !x [1]", "tags are not allowed"},
        {"!x {a: 1}", "tags are not allowed"},
        {"a: 1\n---\nb: 2\n", "line 2, column 1: a second document begins"},
        {"? [a]\n: b\n", "a key must be a text"},
        {"a: 9223372036854775808", "does not fit 64 bits"},
        {"a: 0xFFFFFFFFFFFFFFFFF", "does not fit 64 bits"},
        {"a: .inf", "a float must be finite, not '.inf'"},
        {"a: -.INF", "must be finite"},
        {"a: .nan", "must be finite"},
        {"a: 1e999", "must be finite"},
        {"a: [1, 2", "did not find expected"},
        {"a: b: c", "line 1, column 5"},
        {"a: \"x\\0y\"", "a NUL character after 'x'"},
        {"\"k\\0\": 1", "a NUL character after 'k'"},
        {"a: \"\\ud83d\\ude00\"", "line 1"},
        {"\tx: 1", "line 1"},
        {"a: \x01", "bad text at byte"},
        {"a: \xff", "bad text at byte"},
        {"a: 1\n b: 2", "line 2"},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        json_t *json = NULL;
        struct emac_err err = {0};
        enum emac_status st = load(CASES[i].yaml, strlen(CASES[i].yaml), &json, &err);
        if (st != EMAC_INVALID || strstr(err.text, CASES[i].why) == NULL)
            fail_msg("%s: status %d, '%s'", CASES[i].yaml, st, err.text);
        assert_null(json);
    }
}

static enum emac_status load_repeated(const char *head, const char *unit, size_t count)
{
    struct emac_buf b;
    json_t *json;
    struct emac_err err = {0};
    emac_buf_init(&b, 4u << 20);
    assert_int_equal(emac_buf_append(&b, head, strlen(head), NULL), EMAC_OK);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(emac_buf_append(&b, unit, strlen(unit), NULL), EMAC_OK);
    enum emac_status st = load((const char *)b.data, b.len, &json, &err);
    json_decref(json);
    emac_buf_release(&b);
    return st;
}

static void limits(void **state)
{
    assert_int_equal(load_repeated("", "- 1\n", YAML_NODES_MAX - 1), EMAC_OK);
    assert_int_equal(load_repeated("", "- 1\n", YAML_NODES_MAX), EMAC_TOO_LARGE);
    assert_int_equal(load_repeated("", "- ", YAML_DEPTH_MAX - 1), EMAC_OK);
    assert_int_equal(load_repeated("", "- ", YAML_DEPTH_MAX), EMAC_TOO_LARGE);
    assert_int_equal(load_repeated("", "[", 100000), EMAC_TOO_LARGE);
    assert_int_equal(load_repeated("", "{a: ", 100000), EMAC_TOO_LARGE);
    assert_int_equal(load_repeated("a: ", "x", YAML_TEXT_MAX - 3), EMAC_OK);
    assert_int_equal(load_repeated("a: ", "x", YAML_TEXT_MAX), EMAC_TOO_LARGE);
}

/* UTF-16 would be a second encoding of the same text. */
static void utf16_refused(void **state)
{
    json_t *json;
    assert_int_equal(load("\xff\xfe"
                          "a\0:\0 \0"
                          "1\0",
                          10, &json, NULL),
                     EMAC_INVALID);
}

/* Fields that nobody reads are mistakes of whoever wrote them. */
static void only_known_fields(void **state)
{
    static const char *const KNOWN[] = {"name", "price", NULL};
    const struct {
        const char *yaml, *says; /* NULL: sound */
    } cases[] = {{"{}", NULL},
                 {"price: 1", NULL},
                 {"price: 1\nname: x", NULL},
                 {"price: 1\nprise: 2", "unknown field 'prise' in 'the offer'"},
                 {"Name: x", "unknown field 'Name' in 'the offer'"},
                 {"[name]", "'the offer' must be a map"},
                 {"name", "'the offer' must be a map"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct emac_err err = {0};
        json_t *json;
        assert_int_equal(load(cases[i].yaml, strlen(cases[i].yaml), &json, &err), EMAC_OK);
        enum emac_status st = yaml_only_known(json, "'the offer'", KNOWN, &err);
        assert_int_equal(st, cases[i].says == NULL ? EMAC_OK : EMAC_INVALID);
        assert_string_equal(err.text, cases[i].says == NULL ? "" : cases[i].says);
        json_decref(json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),
        cmocka_unit_test(texts_refused),
        cmocka_unit_test(limits),
        cmocka_unit_test(utf16_refused),
        cmocka_unit_test(only_known_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

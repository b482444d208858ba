/* The body of a completion request: what is taken, and which field is blamed. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "gateway/gateway.h"
#include "gateway/request.h"

static enum emac_status parse(struct gateway_request *r, const char *text, const char **param,
                              struct emac_err *err)
{
    return gateway_request_parse(r, GATEWAY_TEXT, EMAC_SLICE_STR(text), param, err);
}

static void parse_ok(struct gateway_request *r, const char *text)
{
    const char *param;
    struct emac_err err = {0};
    if (parse(r, text, &param, &err) != EMAC_OK)
        fail_msg("%s: %s", text, err.text);
    assert_null(param);
}

static void defaults(void **state)
{
    struct gateway_request r;
    parse_ok(&r, "{\"model\":\"tiny\",\"prompt\":\"one and\"}");
    assert_string_equal(r.model, "tiny");
    assert_string_equal(r.serve.prompt, "one and");
    assert_int_equal(r.serve.max_tokens, GATEWAY_TOKENS_DEFAULT);
    assert_true(r.serve.temperature == 1 && r.serve.top_p == 1 && r.serve.top_k == 0);
    assert_int_equal(r.serve.stop_count, 0);
    assert_false(r.stream || r.include_usage || r.echo || r.seeded);
    gateway_request_release(&r);
}

static void all_fields(void **state)
{
    struct gateway_request r;
    parse_ok(&r, "{\"model\":\"m\",\"prompt\":[\"p\"],\"max_tokens\":65536,\"temperature\":0,"
                 "\"top_p\":0.5,\"top_k\":40,\"seed\":9223372036854775807,\"stop\":[\"a\",\"bc\"],"
                 "\"stream\":true,\"stream_options\":{\"include_usage\":true,\"other\":1},"
                 "\"echo\":true,\"n\":1,\"best_of\":1,\"logprobs\":null,\"suffix\":null,"
                 "\"presence_penalty\":0,\"frequency_penalty\":0.0,\"logit_bias\":{},"
                 "\"user\":\"me\",\"unheard_of\":[\"\\u0000\"]}");
    assert_string_equal(r.serve.prompt, "p");
    assert_int_equal(r.serve.max_tokens, GATEWAY_TOKENS_MAX);
    assert_true(r.serve.temperature == 0 && r.serve.top_p == 0.5);
    assert_int_equal(r.serve.top_k, 40);
    assert_true(r.seeded && r.serve.seed == INT64_MAX);
    assert_int_equal(r.serve.stop_count, 2);
    assert_string_equal(r.serve.stop[1], "bc");
    assert_true(r.stream && r.include_usage && r.echo);
    gateway_request_release(&r);
}

/* null is as good as nothing; one stop needs no list; small numbers that rigs do not take. */
static void edges(void **state)
{
    struct gateway_request r;
    parse_ok(&r, "{\"model\":\"m\",\"prompt\":\"p\",\"max_tokens\":null,\"temperature\":null,"
                 "\"top_p\":1e-300,\"seed\":null,\"stop\":\"\xc3\xa4\",\"stream\":null,"
                 "\"stream_options\":null,\"echo\":null,\"n\":null}");
    assert_int_equal(r.serve.max_tokens, GATEWAY_TOKENS_DEFAULT);
    assert_true(r.serve.top_p == GATEWAY_TOP_P_MIN);
    assert_false(r.seeded);
    assert_int_equal(r.serve.stop_count, 1);
    assert_string_equal(r.serve.stop[0], "\xc3\xa4");
    gateway_request_release(&r);
    parse_ok(&r, "{\"model\":\"m\",\"prompt\":\"p\",\"seed\":-1,\"stop\":[]}");
    assert_true(r.seeded && r.serve.seed == INT64_MAX);
    assert_int_equal(r.serve.stop_count, 0);
    gateway_request_release(&r);
}

static void bad_bodies(void **state)
{
    static const char *const BODIES[] = {
        "",
        "{",
        "[]",
        "null",
        "\"text\"",
        "{\"model\":\"m\",\"prompt\":\"p\"} x",
        "{\"model\":\"m\",\"model\":\"m\",\"prompt\":\"p\"}",
        "{\"model\":\"m\",\"prompt\":\"\xff\"}",
        "{\"model\":\"m\",\"prompt\":\"p\",\"seed\":9223372036854775808}",
        "{\"model\":\"m\",\"prompt\":\"p\",\"temperature\":1e999}",
        "{\"model\":\"m\",\"prompt\":\"\\ud800\"}",
    };
    for (size_t i = 0; i < EMAC_COUNT(BODIES); i++) {
        struct gateway_request r;
        const char *param = "";
        struct emac_err err = {0};
        if (parse(&r, BODIES[i], &param, &err) != EMAC_INVALID || err.text[0] == '\0')
            fail_msg("'%s' was taken", BODIES[i]);
        assert_null(param);
        gateway_request_release(&r);
    }
}

/* Each is put after a model and a prompt that are fine. */
static void bad_fields(void **state)
{
    static const struct {
        const char *param, *field;
    } CASES[] = {
        {"max_tokens", "0"},
        {"max_tokens", "-1"},
        {"max_tokens", "65537"},
        {"max_tokens", "1.0"},
        {"max_tokens", "\"16\""},
        {"max_tokens", "4294967297"},
        {"temperature", "-1"},
        {"temperature", "-1e-9"},
        {"temperature", "2.0001"},
        {"temperature", "\"1\""},
        {"temperature", "true"},
        {"top_p", "0"},
        {"top_p", "1.01"},
        {"top_p", "-0.5"},
        {"top_p", "[]"},
        {"top_k", "-1"},
        {"top_k", "1000001"},
        {"top_k", "0.5"},
        {"seed", "1.5"},
        {"seed", "\"1\""},
        {"stop", "1"},
        {"stop", "\"\""},
        {"stop", "{}"},
        {"stop", "[\"a\",1]"},
        {"stop", "[\"a\",null]"},
        {"stop", "[\"a\",\"\"]"},
        {"stop", "[\"a\",\"b\",\"c\",\"d\",\"e\"]"},
        {"stop", "\"\\u0000\""},
        {"stream", "1"},
        {"stream", "\"true\""},
        {"stream_options", "true"},
        {"stream_options", "{}"}, /* without stream */
        {"stream_options", "{\"include_usage\":1}, \"stream\":true"},
        {"echo", "0"},
        {"n", "2"},
        {"n", "0"},
        {"n", "1.0"},
        {"n", "\"1\""},
        {"best_of", "2"},
        {"logprobs", "0"},
        {"logprobs", "5"},
        {"suffix", "\"\""},
        {"presence_penalty", "0.1"},
        {"frequency_penalty", "\"0\""},
        {"logit_bias", "{\"5\":1}"},
        {"logit_bias", "[]"},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        struct gateway_request r;
        const char *param = NULL;
        struct emac_err err = {0};
        char *text = emac_asprintf("{\"model\":\"m\",\"prompt\":\"p\",\"%s\":%s}", CASES[i].param,
                                   CASES[i].field);
        if (parse(&r, text, &param, &err) != EMAC_INVALID || param == NULL)
            fail_msg("%s was taken", text);
        assert_string_equal(param, CASES[i].param);
        assert_non_null(strstr(err.text, param));
        gateway_request_release(&r);
        free(text);
    }
}

static void bad_needed(void **state)
{
    static const struct {
        const char *param, *body;
    } CASES[] = {
        {"model", "{}"},
        {"model", "{\"model\":null,\"prompt\":\"p\"}"},
        {"model", "{\"model\":\"\",\"prompt\":\"p\"}"},
        {"model", "{\"model\":7,\"prompt\":\"p\"}"},
        {"model", "{\"model\":\"a\\u0000b\",\"prompt\":\"p\"}"},
        {"prompt", "{\"model\":\"m\"}"},
        {"prompt", "{\"model\":\"m\",\"prompt\":null}"},
        {"prompt", "{\"model\":\"m\",\"prompt\":\"\"}"},
        {"prompt", "{\"model\":\"m\",\"prompt\":[]}"},
        {"prompt", "{\"model\":\"m\",\"prompt\":[\"a\",\"b\"]}"},
        {"prompt", "{\"model\":\"m\",\"prompt\":[1,2]}"},
        {"prompt", "{\"model\":\"m\",\"prompt\":[[1,2]]}"},
        {"prompt", "{\"model\":\"m\",\"prompt\":[\"\"]}"},
        {"prompt", "{\"model\":\"m\",\"prompt\":\"a\\u0000\"}"},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        struct gateway_request r;
        const char *param = NULL;
        struct emac_err err = {0};
        if (parse(&r, CASES[i].body, &param, &err) != EMAC_INVALID || param == NULL)
            fail_msg("%s was taken", CASES[i].body);
        assert_string_equal(param, CASES[i].param);
        gateway_request_release(&r);
    }
}

/* The largest texts fit, one byte more does not. */
static void sizes(void **state)
{
    static const struct {
        const char *format, *param;
        size_t max;
    } CASES[] = {
        {"{\"model\":\"%s\",\"prompt\":\"p\"}", "model", SERVE_MODEL_NAME_MAX},
        {"{\"model\":\"m\",\"prompt\":\"%s\"}", "prompt", SERVE_PROMPT_MAX},
        {"{\"model\":\"m\",\"prompt\":\"p\",\"stop\":\"%s\"}", "stop", SERVE_STOP_BYTES},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        for (size_t n = CASES[i].max; n <= CASES[i].max + 1; n++) {
            struct gateway_request r;
            struct emac_buf body;
            const char *param = NULL, *mark = strstr(CASES[i].format, "%s");
            emac_buf_init(&body, GATEWAY_BODY_MAX);
            emac_buf_append(&body, CASES[i].format, (size_t)(mark - CASES[i].format), NULL);
            for (size_t k = 0; k < n; k++)
                emac_buf_append(&body, "x", 1, NULL);
            emac_buf_append(&body, mark + 2, strlen(mark + 2), NULL);
            enum emac_status st =
                gateway_request_parse(&r, GATEWAY_TEXT, emac_buf_slice(&body), &param, NULL);
            assert_int_equal(st, n > CASES[i].max ? EMAC_INVALID : EMAC_OK);
            if (st != EMAC_OK)
                assert_string_equal(param, CASES[i].param);
            gateway_request_release(&r);
            emac_buf_release(&body);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),   cmocka_unit_test(all_fields), cmocka_unit_test(edges),
        cmocka_unit_test(bad_bodies), cmocka_unit_test(bad_fields), cmocka_unit_test(bad_needed),
        cmocka_unit_test(sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

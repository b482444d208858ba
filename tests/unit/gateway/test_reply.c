/* Answers in OpenAI's shapes, byte for byte. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "base/assert.h"
#include "gateway/reply.h"
#include "os/os.h"

static const struct gateway_head HEAD = {false, "cmpl-1", "bafy", 1700000000},
                                 CHAT = {true, "chatcmpl-1", "bafy", 1700000000};
static const struct serve_piece END = {
    .done = true, .finish_reason = "length", .prompt_tokens = 7, .completion_tokens = 20};

#define CHAT_TEXT(part)                                                                            \
    "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion" part                                     \
    "\",\"created\":1700000000,\"model\":\"bafy\","
#define HEAD_TEXT                                                                                  \
    "{\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":1700000000,\"model\":\"bafy\","

static void assert_json(json_t *j, const char *want)
{
    struct emac_buf out;
    emac_buf_init(&out, 1u << 20);
    assert_int_equal(gateway_json_append(&out, j, NULL), EMAC_OK);
    assert_string_equal(emac_buf_str(&out), want);
    emac_buf_release(&out);
}

static void shapes(void **state)
{
    assert_json(gateway_completion(&HEAD, EMAC_SLICE("a\"\n", 3), &END),
                HEAD_TEXT "\"choices\":[{\"text\":\"a\\\"\\n\",\"index\":0,\"logprobs\":null,"
                          "\"finish_reason\":\"length\"}],\"usage\":{\"prompt_tokens\":7,"
                          "\"completion_tokens\":20,\"total_tokens\":27}}");
    assert_json(gateway_chunk(&HEAD, EMAC_SLICE("b", 1), true, NULL, false),
                HEAD_TEXT "\"choices\":[{\"text\":\"b\",\"index\":0,\"logprobs\":null,"
                          "\"finish_reason\":null}]}");
    assert_json(gateway_chunk(&HEAD, EMAC_SLICE(NULL, 0), false, "stop", true),
                HEAD_TEXT "\"choices\":[{\"text\":\"\",\"index\":0,\"logprobs\":null,"
                          "\"finish_reason\":\"stop\"}],\"usage\":null}");
    assert_json(gateway_completion(&CHAT, EMAC_SLICE("a", 1), &END),
                CHAT_TEXT("") "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
                              "\"content\":\"a\",\"refusal\":null},\"logprobs\":null,"
                              "\"finish_reason\":\"length\"}],\"usage\":{\"prompt_tokens\":7,"
                              "\"completion_tokens\":20,\"total_tokens\":27}}");
    assert_json(gateway_chunk(&CHAT, EMAC_SLICE(NULL, 0), true, NULL, false),
                CHAT_TEXT(".chunk") "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\","
                                    "\"content\":\"\"},\"logprobs\":null,"
                                    "\"finish_reason\":null}]}");
    assert_json(gateway_chunk(&CHAT, EMAC_SLICE("b", 1), false, NULL, false),
                CHAT_TEXT(".chunk") "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"b\"},"
                                    "\"logprobs\":null,\"finish_reason\":null}]}");
    assert_json(gateway_chunk(&CHAT, EMAC_SLICE(NULL, 0), false, "stop", false),
                CHAT_TEXT(".chunk") "\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,"
                                    "\"finish_reason\":\"stop\"}]}");
    assert_json(gateway_usage_chunk(&HEAD, &END),
                HEAD_TEXT "\"choices\":[],\"usage\":{\"prompt_tokens\":7,"
                          "\"completion_tokens\":20,\"total_tokens\":27}}");
}

/* Counts that do not fit 32 bits together. */
static void large_usage(void **state)
{
    struct serve_piece p = {.prompt_tokens = UINT32_MAX, .completion_tokens = UINT32_MAX};
    assert_json(gateway_usage_chunk(&HEAD, &p),
                HEAD_TEXT "\"choices\":[],\"usage\":{\"prompt_tokens\":4294967295,"
                          "\"completion_tokens\":4294967295,\"total_tokens\":8589934590}}");
}

static void model(void **state)
{
    struct serve_model m = {.model = cid_of(CID_RAW, "", 0),
                            .job = "job-x",
                            .name = "tiny",
                            .owner = "did:key:z",
                            .created_ms = 1700000000999};
    assert_json(gateway_model(&m),
                "{\"id\":\"bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku\","
                "\"object\":\"model\",\"created\":1700000000,\"owned_by\":\"did:key:z\","
                "\"job\":\"job-x\",\"name\":\"tiny\"}");
}

static void bad_utf8(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *want;
    } CASES[] = {
        {"", 0, ""},
        {"abc", 3, "abc"},
        {"\xc3\xa4\xf0\x9f\x98\x80", 6, "\xc3\xa4\xf0\x9f\x98\x80"},
        {"\xff", 1, "\xef\xbf\xbd"},
        {"a\xc3", 2, "a\xef\xbf\xbd"},                               /* cut */
        {"\xc0\x80z", 3, "\xef\xbf\xbd\xef\xbf\xbdz"},               /* overlong */
        {"\xed\xa0\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* surrogate */
        {"\xf0\x9f\x98y", 4, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdy"},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        json_t *s = gateway_text(EMAC_SLICE(CASES[i].bytes, CASES[i].n));
        assert_non_null(s);
        assert_string_equal(json_string_value(s), CASES[i].want);
        json_decref(s);
    }
    json_t *zero = gateway_text(EMAC_SLICE("a\0b", 3));
    assert_int_equal(json_string_length(zero), 3);
    json_decref(zero);
}

/* A line break in the text is escaped by JSON, so an event stays one line. */
static void events(void **state)
{
    struct emac_buf out;
    struct emac_err failure = {.status = EMAC_UNAVAILABLE, .text = "the rig is gone"};
    emac_buf_init(&out, 1u << 20);
    json_t *list = json_pack("[o]", gateway_text(EMAC_SLICE("a\nb", 3)));
    assert_int_equal(gateway_event_append(&out, list, NULL), EMAC_OK);
    assert_string_equal(emac_buf_str(&out), "data: [\"a\\nb\"]\n\n");
    emac_buf_clear(&out);
    assert_int_equal(gateway_error_event(&out, &failure, NULL), EMAC_OK);
    assert_string_equal(emac_buf_str(&out),
                        "data: {\"error\":{\"message\":\"the rig is gone\",\"type\":"
                        "\"server_error\",\"param\":null,\"code\":\"unavailable\"}}\n\n");
    emac_buf_release(&out);
    emac_buf_init(&out, 4);
    assert_int_equal(gateway_json_append(&out, json_pack("[s]", "long"), NULL), EMAC_TOO_LARGE);
    assert_int_equal(gateway_json_append(&out, NULL, NULL), EMAC_NO_MEMORY);
    emac_buf_release(&out);
}

static void heads(void **state)
{
    struct gateway_head a, b;
    struct cid cid = cid_of(CID_RAW, "", 0);
    gateway_head_fill(&a, os_real(), &cid, false);
    gateway_head_fill(&b, os_real(), &cid, true);
    assert_int_equal(strlen(a.id), strlen("cmpl-") + 24);
    assert_string_not_equal(a.id, b.id);
    assert_int_equal(strncmp(a.id, "cmpl-", 5), 0);
    assert_int_equal(strncmp(b.id, "chatcmpl-", 9), 0);
    assert_true(a.created_s > 1700000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),   cmocka_unit_test(large_usage), cmocka_unit_test(model),
        cmocka_unit_test(bad_utf8), cmocka_unit_test(events),      cmocka_unit_test(heads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Conversations: which form a template is of, and the text that it makes, written out here. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "gateway/chat.h"
#include "gateway/gateway.h"
#include "gateway/request.h"

static const struct chat_message TALK[] = {{CHAT_SYSTEM, " Be short. "},
                                           {CHAT_USER, "Hi\n"},
                                           {CHAT_ASSISTANT, "Hello!"},
                                           {CHAT_USER, "Who?"}};

static const struct {
    const char *mark, *want, *stop;
} FORMS[] = {
    {"{{ '<|im_start|>' + role }}",
     "<|im_start|>system\n Be short. <|im_end|>\n<|im_start|>user\nHi\n<|im_end|>\n"
     "<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n"
     "<|im_start|>assistant\n",
     "<|im_end|>"},
    {"{{ '<|start_header_id|>' + role }}",
     "<|start_header_id|>system<|end_header_id|>\n\nBe short.<|eot_id|>"
     "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
     "<|start_header_id|>user<|end_header_id|>\n\nWho?<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\n",
     "<|eot_id|>"},
    {"{{ '<|user|>\\n' + content }}",
     "<|system|>\n Be short. </s>\n<|user|>\nHi\n</s>\n<|assistant|>\nHello!</s>\n"
     "<|user|>\nWho?</s>\n<|assistant|>\n",
     "</s>"},
    {"{{ '[INST] <<SYS>>\\n' }}",
     "[INST] <<SYS>>\nBe short.\n<</SYS>>\n\nHi [/INST] Hello! </s><s>[INST] Who? [/INST]", "</s>"},
    {"{{ '[INST] ' }}", "[INST] Be short.\n\nHi [/INST] Hello!</s>[INST] Who? [/INST]", "</s>"},
};

static void form_of(const char *template_text, const struct chat_form **out)
{
    char config[512];
    struct emac_err err = {0};
    json_t *root = json_pack("{s:s}", "chat_template", template_text);
    char *text = json_dumps(root, 0);
    snprintf(config, sizeof config, "%s", text);
    if (chat_form_of(EMAC_SLICE_STR(config), out, &err) != EMAC_OK)
        fail_msg("%s: %s", template_text, err.text);
    json_decref(root);
    free(text);
}

static void rendered(const struct chat_form *f, const struct chat_message *m, size_t n,
                     const char *want)
{
    struct emac_buf out;
    struct emac_err err = {0};
    emac_buf_init(&out, 1 << 16);
    if (chat_render(f, m, n, &out, &err) != EMAC_OK)
        fail_msg("%s", err.text);
    assert_string_equal(emac_buf_str(&out), want);
    emac_buf_release(&out);
}

static void each_form(void **state)
{
    for (size_t i = 0; i < EMAC_COUNT(FORMS); i++) {
        const struct chat_form *f;
        form_of(FORMS[i].mark, &f);
        assert_string_equal(chat_stop(f), FORMS[i].stop);
        rendered(f, TALK, EMAC_COUNT(TALK), FORMS[i].want);
    }
}

static void templates_by_name(void **state)
{
    const struct chat_form *f;
    struct emac_err err;
    const char *config = "{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"[INST]\"},"
                         "{\"name\":\"default\",\"template\":\"<|im_start|>\"}]}";
    assert_int_equal(chat_form_of(EMAC_SLICE_STR(config), &f, &err), EMAC_OK);
    rendered(f, TALK + 3, 1, "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n");
}

/* Templates as Qwen 2 and 2.5 have them, cut to what matters. */
static void a_system_message_of_the_templates_own(void **state)
{
    static const struct {
        const char *template_text, *begins;
    } CASES[] = {
        {"{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are a helpful "
         "assistant.<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['role']}}",
         "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"},
        {"{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}{%- else %}"
         "{{- '<|im_start|>system\nYou are Q, made by A.<|im_end|>\\n' }}",
         "<|im_start|>system\nYou are Q, made by A.<|im_end|>\n"},
        {"{{ '<|im_start|>system\\n' + x + '<|im_end|>' }}", ""},
        {"{{ '<|im_start|>system\\n{{x}}<|im_end|>' }}", ""},
        {"{{ '<|im_start|>system\\n<|im_end|>' }}", ""},
        {"{{ '<|im_start|>system' }}", ""},
        {"{{ '<|start_header_id|>' + role }}", ""},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        const struct chat_form *f;
        struct emac_buf out;
        json_t *root = json_pack("{s:s}", "chat_template", CASES[i].template_text);
        char *config = json_dumps(root, 0);
        emac_buf_init(&out, 1 << 16);
        assert_int_equal(chat_form_of(EMAC_SLICE_STR(config), &f, NULL), EMAC_OK);
        assert_int_equal(chat_begin(f, EMAC_SLICE_STR(config), TALK, &out, NULL), EMAC_OK);
        assert_string_equal(emac_buf_str(&out), ""); /* TALK begins with one */
        assert_int_equal(chat_begin(f, EMAC_SLICE_STR(config), TALK + 1, &out, NULL), EMAC_OK);
        assert_string_equal(emac_buf_str(&out), CASES[i].begins);
        emac_buf_release(&out);
        json_decref(root);
        free(config);
    }
}

static void refusals(void **state)
{
    static const char *const CONFIGS[] = {"", "{}", "[]", "{\"chat_template\":7}",
                                          "{\"chat_template\":[7]}"};
    static const struct chat_message ANSWERED[] = {{CHAT_USER, "a"}, {CHAT_ASSISTANT, "b"}},
                                     TWICE[] = {{CHAT_USER, "a"}, {CHAT_USER, "b"}},
                                     SYSTEM[] = {{CHAT_SYSTEM, "a"}};
    const struct chat_form *f;
    struct emac_err err;
    struct emac_buf out;
    for (size_t i = 0; i < EMAC_COUNT(CONFIGS); i++) {
        assert_int_equal(chat_form_of(EMAC_SLICE_STR(CONFIGS[i]), &f, &err), EMAC_UNSUPPORTED);
        assert_non_null(strstr(err.text, "not taught to chat"));
    }
    assert_int_equal(chat_form_of(EMAC_SLICE_STR("{\"chat_template\":\"{{x}}\"}"), &f, &err),
                     EMAC_UNSUPPORTED);
    assert_non_null(strstr(err.text, "form that is not known"));
    form_of("[INST]", &f);
    emac_buf_init(&out, 1 << 16);
    assert_int_equal(chat_render(f, ANSWERED, 2, &out, &err), EMAC_INVALID);
    assert_non_null(strstr(err.text, "last message"));
    assert_int_equal(chat_render(f, TWICE, 2, &out, &err), EMAC_INVALID);
    assert_non_null(strstr(err.text, "message 1 is of 'user'"));
    assert_int_equal(chat_render(f, SYSTEM, 1, &out, &err), EMAC_INVALID);
    emac_buf_release(&out);
}

/* ---- the body ---- */

static void messages_are_read(void **state)
{
    struct gateway_request r;
    const char *param;
    struct emac_err err = {0};
    const char *body =
        "{\"model\":\"m\",\"messages\":[{\"role\":\"developer\",\"content\":\"s\"},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"one \"},"
        "{\"type\":\"text\",\"text\":\"two\"}],\"name\":\"me\"},"
        "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"three\"}]}],"
        "\"max_completion_tokens\":9,\"logprobs\":false,\"tools\":[],"
        "\"response_format\":{\"type\":\"text\"}}";
    if (gateway_request_parse(&r, GATEWAY_CHAT, EMAC_SLICE_STR(body), &param, &err) != EMAC_OK)
        fail_msg("%s: %s", param, err.text);
    assert_int_equal(r.message_count, 3);
    assert_int_equal(r.message[0].role, CHAT_SYSTEM);
    assert_string_equal(r.message[0].text, "s");
    assert_string_equal(r.message[1].text, "one two");
    assert_int_equal(r.message[2].role, CHAT_ASSISTANT);
    assert_string_equal(r.message[2].text, "three");
    assert_int_equal(r.serve.max_tokens, 9);
    gateway_request_release(&r);
}

static void bad_bodies_name_the_field(void **state)
{
    static const struct {
        const char *fields, *param;
    } CASES[] = {
        {"\"a\":1", "messages"},
        {"\"messages\":[]", "messages"},
        {"\"messages\":\"hi\"", "messages"},
        {"\"messages\":[7]", "messages"},
        {"\"messages\":[{\"role\":\"user\"}]", "messages"},
        {"\"messages\":[{\"role\":\"user\",\"content\":\"\"}]", "messages"},
        {"\"messages\":[{\"role\":\"user\",\"content\":[]}]", "messages"},
        {"\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]", "messages"},
        {"\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}]", "messages"},
        {"\"messages\":[{\"role\":\"user\",\"content\":\"x\\u0000\"}]", "messages"},
        {"\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{}]", "tools"},
        {"\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"logprobs\":true", "logprobs"},
        {"\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"n\":2", "n"},
        {"\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],"
         "\"response_format\":{\"type\":\"json_object\"}",
         "response_format"},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        struct gateway_request r;
        const char *param;
        char body[512];
        struct emac_err err = {0};
        snprintf(body, sizeof body, "{\"model\":\"m\",%s}", CASES[i].fields);
        enum emac_status st =
            gateway_request_parse(&r, GATEWAY_CHAT, EMAC_SLICE_STR(body), &param, &err);
        if (st != EMAC_INVALID || param == NULL || strcmp(param, CASES[i].param) != 0)
            fail_msg("%s: status %d, field %s", body, st, param);
        gateway_request_release(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_form),
        cmocka_unit_test(templates_by_name),
        cmocka_unit_test(a_system_message_of_the_templates_own),
        cmocka_unit_test(refusals),
        cmocka_unit_test(messages_are_read),
        cmocka_unit_test(bad_bodies_name_the_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

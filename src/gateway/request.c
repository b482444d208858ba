#include "gateway/request.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "gateway/gateway.h"

/* ---- kinds of values ---- */

static enum emac_status integer_read(const json_t *v, const char *name, json_int_t least,
                                     json_int_t most, json_int_t *out, struct emac_err *err)
{
    if (!json_is_integer(v) || json_integer_value(v) < least || json_integer_value(v) > most)
        return emac_fail(err, EMAC_INVALID, "'%s' must be an integer from %lld to %lld", name,
                         (long long)least, (long long)most);
    *out = json_integer_value(v);
    return EMAC_OK;
}

static enum emac_status bool_read(const json_t *v, const char *name, bool *out,
                                  struct emac_err *err)
{
    if (!json_is_boolean(v))
        return emac_fail(err, EMAC_INVALID, "'%s' must be true or false", name);
    *out = json_is_true(v);
    return EMAC_OK;
}

/* Text of 1 to max bytes. Rigs get it as a C string, so it may hold no zero byte. */
static enum emac_status text_read(const json_t *v, const char *name, size_t max, const char **out,
                                  struct emac_err *err)
{
    if (!json_is_string(v))
        return emac_fail(err, EMAC_INVALID, "'%s' must be text", name);
    size_t n = json_string_length(v);
    if (n == 0 || n > max)
        return emac_fail(err, EMAC_INVALID, "'%s' must have from 1 to %zu bytes, not %zu", name,
                         max, n);
    if (strlen(json_string_value(v)) != n)
        return emac_fail(err, EMAC_INVALID, "'%s' must not hold the character U+0000", name);
    *out = json_string_value(v);
    return EMAC_OK;
}

/* ---- fields ---- */

typedef enum emac_status field_reader(struct gateway_request *r, const json_t *v, const char *name,
                                      struct emac_err *err);

static enum emac_status read_model(struct gateway_request *r, const json_t *v, const char *name,
                                   struct emac_err *err)
{
    return text_read(v, name, SERVE_MODEL_NAME_MAX, &r->model, err);
}

static enum emac_status read_prompt(struct gateway_request *r, const json_t *v, const char *name,
                                    struct emac_err *err)
{
    if (json_is_array(v)) {
        if (json_array_size(v) != 1 || !json_is_string(json_array_get(v, 0)))
            return emac_fail(err, EMAC_INVALID,
                             "'prompt' must be text, or a list of one text: send one request for "
                             "each prompt, and text in place of token numbers");
        v = json_array_get(v, 0);
    }
    return text_read(v, name, SERVE_PROMPT_MAX, &r->serve.prompt, err);
}

/* ---- messages ---- */

static enum emac_status role_read(const json_t *v, enum chat_role *out, struct emac_err *err)
{
    const char *name = json_string_value(v);
    if (name != NULL && strcmp(name, "developer") == 0)
        name = CHAT_ROLE_NAMES[CHAT_SYSTEM]; /* its newer name */
    for (int i = 0; name != NULL && i < CHAT_ROLES; i++) {
        *out = (enum chat_role)i;
        if (strcmp(name, CHAT_ROLE_NAMES[i]) == 0)
            return EMAC_OK;
    }
    return emac_fail(err, EMAC_INVALID,
                     "the 'role' of a message must be 'system', 'user' or 'assistant'");
}

/* Parts of a text, one behind the other, end in a zero byte in r->joined: its offset. */
static enum emac_status parts_join(struct gateway_request *r, const json_t *list, size_t *at,
                                   struct emac_err *err)
{
    const json_t *part;
    size_t i;
    *at = r->joined.len;
    json_array_foreach(list, i, part)
    {
        const char *type = json_string_value(json_object_get(part, "type")), *text = NULL;
        if (type == NULL || strcmp(type, "text") != 0)
            return emac_fail(err, EMAC_INVALID, "a part of a message must be of 'type' 'text'");
        enum emac_status st =
            text_read(json_object_get(part, "text"), "text", SERVE_PROMPT_MAX, &text, err);
        if (st == EMAC_OK)
            st = emac_buf_append(&r->joined, text, strlen(text), err);
        if (st != EMAC_OK)
            return st;
    }
    return emac_buf_append(&r->joined, "", 1, err);
}

/* Texts are in `root` or, joined of parts, at `at` of r->joined, which moves while it grows. */
static enum emac_status message_read(struct gateway_request *r, const json_t *v, size_t *at,
                                     struct chat_message *out, struct emac_err *err)
{
    const json_t *content = json_object_get(v, "content");
    enum emac_status st = role_read(json_object_get(v, "role"), &out->role, err);
    out->text = NULL;
    if (st != EMAC_OK)
        return st;
    if (json_is_array(content) && json_array_size(content) > 0)
        return parts_join(r, content, at, err);
    return text_read(content, "content", SERVE_PROMPT_MAX, &out->text, err);
}

static enum emac_status read_messages(struct gateway_request *r, const json_t *v, const char *name,
                                      struct emac_err *err)
{
    size_t n = json_array_size(v), at[CHAT_MESSAGES_MAX] = {0};
    if (!json_is_array(v) || n == 0 || n > CHAT_MESSAGES_MAX)
        return emac_fail(err, EMAC_INVALID, "'%s' must be a list of 1 to %d messages", name,
                         CHAT_MESSAGES_MAX);
    enum emac_status st = emac_alloc(&r->message, n, sizeof *r->message, err);
    for (size_t i = 0; i < n && st == EMAC_OK; i++)
        st = message_read(r, json_array_get(v, i), &at[i], &r->message[i], err);
    if (st != EMAC_OK)
        return st;
    for (size_t i = 0; i < n; i++)
        if (r->message[i].text == NULL)
            r->message[i].text = emac_buf_str(&r->joined) + at[i];
    r->message_count = n;
    return EMAC_OK;
}

static enum emac_status read_format(struct gateway_request *r, const json_t *v, const char *name,
                                    struct emac_err *err)
{
    const char *type = json_string_value(json_object_get(v, "type"));
    if (type != NULL && strcmp(type, "text") == 0)
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID, "'%s' must be of type 'text'", name);
}

/* ---- figures ---- */

static enum emac_status read_max_tokens(struct gateway_request *r, const json_t *v,
                                        const char *name, struct emac_err *err)
{
    json_int_t n = 0;
    enum emac_status st = integer_read(v, name, 1, GATEWAY_TOKENS_MAX, &n, err);
    if (st == EMAC_OK)
        r->serve.max_tokens = (uint32_t)n;
    return st;
}

static enum emac_status read_temperature(struct gateway_request *r, const json_t *v,
                                         const char *name, struct emac_err *err)
{
    double x = json_number_value(v);
    if (!json_is_number(v) || !(x >= 0 && x <= 2))
        return emac_fail(err, EMAC_INVALID, "'%s' must be a number from 0 to 2", name);
    r->serve.temperature = x;
    return EMAC_OK;
}

static enum emac_status read_top_p(struct gateway_request *r, const json_t *v, const char *name,
                                   struct emac_err *err)
{
    double x = json_number_value(v);
    if (!json_is_number(v) || !(x > 0 && x <= 1))
        return emac_fail(err, EMAC_INVALID, "'%s' must be a number over 0 and up to 1", name);
    r->serve.top_p = x < GATEWAY_TOP_P_MIN ? GATEWAY_TOP_P_MIN : x;
    return EMAC_OK;
}

static enum emac_status read_top_k(struct gateway_request *r, const json_t *v, const char *name,
                                   struct emac_err *err)
{
    json_int_t n = 0;
    enum emac_status st = integer_read(v, name, 0, GATEWAY_TOP_K_MAX, &n, err);
    if (st == EMAC_OK)
        r->serve.top_k = (uint32_t)n;
    return st;
}

static enum emac_status read_seed(struct gateway_request *r, const json_t *v, const char *name,
                                  struct emac_err *err)
{
    json_int_t n = 0;
    enum emac_status st = integer_read(v, name, INT64_MIN, INT64_MAX, &n, err);
    r->serve.seed = (uint64_t)n & INT64_MAX;
    r->seeded = st == EMAC_OK;
    return st;
}

static enum emac_status stop_add(struct gateway_request *r, const json_t *v, const char *name,
                                 struct emac_err *err)
{
    const char *text = NULL;
    enum emac_status st = text_read(v, name, SERVE_STOP_BYTES, &text, err);
    if (st != EMAC_OK)
        return st;
    EMAC_ASSERT(r->serve.stop_count < SERVE_STOP_MAX);
    char *at = r->serve.stop[r->serve.stop_count++];
    bool whole = emac_strcpy(at, SERVE_STOP_BYTES + 1, text);
    EMAC_ASSERT(whole);
    return EMAC_OK;
}

static enum emac_status read_stop(struct gateway_request *r, const json_t *v, const char *name,
                                  struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    if (json_is_string(v))
        return stop_add(r, v, name, err);
    if (!json_is_array(v) || json_array_size(v) > SERVE_STOP_MAX)
        return emac_fail(err, EMAC_INVALID, "'%s' must be text or a list of up to %d texts", name,
                         SERVE_STOP_MAX);
    for (size_t i = 0; i < json_array_size(v) && st == EMAC_OK; i++)
        st = stop_add(r, json_array_get(v, i), name, err);
    return st;
}

static enum emac_status read_stream(struct gateway_request *r, const json_t *v, const char *name,
                                    struct emac_err *err)
{
    return bool_read(v, name, &r->stream, err);
}

static enum emac_status read_stream_options(struct gateway_request *r, const json_t *v,
                                            const char *name, struct emac_err *err)
{
    if (!json_is_object(v))
        return emac_fail(err, EMAC_INVALID, "'%s' must be an object", name);
    if (!r->stream)
        return emac_fail(err, EMAC_INVALID, "'%s' goes only with 'stream': true", name);
    const json_t *usage = json_object_get(v, "include_usage");
    if (usage == NULL || json_is_null(usage))
        return EMAC_OK;
    return bool_read(usage, "stream_options.include_usage", &r->include_usage, err);
}

static enum emac_status read_echo(struct gateway_request *r, const json_t *v, const char *name,
                                  struct emac_err *err)
{
    return bool_read(v, name, &r->echo, err);
}

static enum emac_status read_one(struct gateway_request *r, const json_t *v, const char *name,
                                 struct emac_err *err)
{
    if (json_is_integer(v) && json_integer_value(v) == 1)
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID,
                     "'%s' must be 1: this server gives one completion a request", name);
}

static enum emac_status read_none(struct gateway_request *r, const json_t *v, const char *name,
                                  struct emac_err *err)
{
    return emac_fail(err, EMAC_INVALID, "'%s' is not supported here: leave it out", name);
}

static enum emac_status read_no_penalty(struct gateway_request *r, const json_t *v,
                                        const char *name, struct emac_err *err)
{
    return json_is_number(v) && json_number_value(v) == 0 ? EMAC_OK : read_none(r, v, name, err);
}

static enum emac_status read_no_bias(struct gateway_request *r, const json_t *v, const char *name,
                                     struct emac_err *err)
{
    return json_is_object(v) && json_object_size(v) == 0 ? EMAC_OK : read_none(r, v, name, err);
}

static enum emac_status read_no_logprobs(struct gateway_request *r, const json_t *v,
                                         const char *name, struct emac_err *err)
{
    return json_is_false(v) && r->kind == GATEWAY_CHAT ? EMAC_OK : read_none(r, v, name, err);
}

static enum emac_status read_no_list(struct gateway_request *r, const json_t *v, const char *name,
                                     struct emac_err *err)
{
    return json_is_array(v) && json_array_size(v) == 0 ? EMAC_OK : read_none(r, v, name, err);
}

#define BOTH (GATEWAY_TEXT | GATEWAY_CHAT)

/* `stream` stands before `stream_options`, which looks at it. */
static const struct {
    const char *name;
    field_reader *read;
    unsigned of; /* enum gateway_kind */
    bool needed;
} FIELDS[] = {
    {"model", read_model, BOTH, true},
    {"prompt", read_prompt, GATEWAY_TEXT, true},
    {"messages", read_messages, GATEWAY_CHAT, true},
    {"max_tokens", read_max_tokens, BOTH, false},
    {"max_completion_tokens", read_max_tokens, GATEWAY_CHAT, false},
    {"temperature", read_temperature, BOTH, false},
    {"top_p", read_top_p, BOTH, false},
    {"top_k", read_top_k, BOTH, false},
    {"seed", read_seed, BOTH, false},
    {"stop", read_stop, BOTH, false},
    {"stream", read_stream, BOTH, false},
    {"stream_options", read_stream_options, BOTH, false},
    {"echo", read_echo, GATEWAY_TEXT, false},
    {"n", read_one, BOTH, false},
    {"best_of", read_one, GATEWAY_TEXT, false},
    {"logprobs", read_no_logprobs, BOTH, false},
    {"top_logprobs", read_none, GATEWAY_CHAT, false},
    {"suffix", read_none, GATEWAY_TEXT, false},
    {"presence_penalty", read_no_penalty, BOTH, false},
    {"frequency_penalty", read_no_penalty, BOTH, false},
    {"logit_bias", read_no_bias, BOTH, false},
    {"response_format", read_format, GATEWAY_CHAT, false},
    {"tools", read_no_list, GATEWAY_CHAT, false},
    {"functions", read_no_list, GATEWAY_CHAT, false},
};

static const uint32_t TOKENS[] = {
    [GATEWAY_TEXT] = GATEWAY_TOKENS_DEFAULT, [GATEWAY_CHAT] = GATEWAY_ANSWER_DEFAULT};

static enum emac_status body_read(struct gateway_request *r, struct emac_slice body,
                                  struct emac_err *err)
{
    json_error_t je;
    r->root =
        json_loadb((const char *)body.data, body.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &je);
    if (r->root == NULL)
        return emac_fail(err, EMAC_INVALID, "the body is not JSON: %s at line %d column %d",
                         je.text, je.line, je.column);
    if (!json_is_object(r->root))
        return emac_fail(err, EMAC_INVALID, "the body must be a JSON object");
    return EMAC_OK;
}

enum emac_status gateway_request_parse(struct gateway_request *out, enum gateway_kind kind,
                                       struct emac_slice body, const char **param,
                                       struct emac_err *err)
{
    *out = (struct gateway_request){
        .kind = kind, .serve = {.max_tokens = TOKENS[kind], .temperature = 1, .top_p = 1}};
    emac_buf_init(&out->joined, GATEWAY_BODY_MAX + CHAT_MESSAGES_MAX);
    *param = NULL;
    enum emac_status st = body_read(out, body, err);
    for (size_t i = 0; i < EMAC_COUNT(FIELDS) && st == EMAC_OK; i++) {
        if ((FIELDS[i].of & kind) == 0)
            continue;
        const json_t *v = json_object_get(out->root, FIELDS[i].name);
        if (v != NULL && !json_is_null(v))
            st = FIELDS[i].read(out, v, FIELDS[i].name, err);
        else if (FIELDS[i].needed)
            st = emac_fail(err, EMAC_INVALID, "'%s' is missing", FIELDS[i].name);
        if (st != EMAC_OK)
            *param = FIELDS[i].name;
    }
    return st;
}

void gateway_request_release(struct gateway_request *r)
{
    json_decref(r->root);
    free(r->message);
    emac_buf_release(&r->joined);
    *r = (struct gateway_request){0};
}

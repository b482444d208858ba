#include "gateway/reply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "base/utf8.h"

#define ID_BYTES          12
#define REPLACEMENT       "\xef\xbf\xbd" /* U+FFFD */
#define REPLACEMENT_BYTES 3

void gateway_head_fill(struct gateway_head *h, struct os *os, const struct cid *model, bool chat)
{
    uint8_t bytes[ID_BYTES];
    char hex[2 * ID_BYTES + 1];
    os->entropy(os, bytes, sizeof bytes);
    emac_hex(hex, bytes, sizeof bytes);
    int n = snprintf(h->id, sizeof h->id, chat ? "chatcmpl-%s" : "cmpl-%s", hex);
    EMAC_ASSERT(n > 0 && (size_t)n < sizeof h->id);
    h->chat = chat;
    cid_text(h->model, model);
    h->created_s = os->wall_ms(os) / 1000;
}

/* Appends `text` with its bad bytes replaced. */
static enum emac_status text_mend(struct emac_buf *out, struct emac_slice text)
{
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < text.len && st == EMAC_OK;) {
        size_t n = emac_utf8_next(text.data + i, text.len - i, NULL);
        if (n > 0)
            st = emac_buf_append(out, text.data + i, n, NULL);
        else
            st = emac_buf_append(out, REPLACEMENT, REPLACEMENT_BYTES, NULL);
        i += n > 0 ? n : 1;
    }
    return st;
}

json_t *gateway_text(struct emac_slice text)
{
    struct emac_buf mended;
    if (text.len == 0)
        return json_string("");
    if (emac_utf8_valid(text.data, text.len))
        return json_stringn((const char *)text.data, text.len);
    emac_buf_init(&mended, text.len * REPLACEMENT_BYTES + 1);
    json_t *s = NULL;
    if (text_mend(&mended, text) == EMAC_OK)
        s = json_stringn(emac_buf_str(&mended), mended.len);
    emac_buf_release(&mended);
    return s;
}

json_t *gateway_model(const struct serve_model *m)
{
    char id[CID_TEXT_MAX];
    cid_text(id, &m->model);
    return json_pack("{s:s, s:s, s:I, s:s, s:s?, s:s}", "id", id, "object", "model", "created",
                     (json_int_t)(m->created_ms / 1000), "owned_by", m->owner, "job",
                     m->job[0] != 0 ? m->job : NULL, "name", m->name);
}

json_t *gateway_model_priced(const struct serve_model *m, int64_t rig_units, int64_t royalty_units)
{
    json_t *price =
        json_pack("{s:o, s:o}", "work_units", json_sprintf("%lld", (long long)rig_units),
                  "royalty_units", json_sprintf("%lld", (long long)royalty_units));
    json_t *o = gateway_model(m);
    json_object_set_new(o, "price", price);
    return o;
}

static json_t *usage(const struct serve_piece *p)
{
    return json_pack("{s:I, s:I, s:I}", "prompt_tokens", (json_int_t)p->prompt_tokens,
                     "completion_tokens", (json_int_t)p->completion_tokens, "total_tokens",
                     (json_int_t)p->prompt_tokens + (json_int_t)p->completion_tokens);
}

/* Takes choices. */
static json_t *completion(const struct gateway_head *h, const char *object, json_t *choices)
{
    return json_pack("{s:s, s:s, s:I, s:s, s:o}", "id", h->id, "object", object, "created",
                     (json_int_t)h->created_s, "model", h->model, "choices", choices);
}

static json_t *whole_choice(const struct gateway_head *h, struct emac_slice text,
                            const char *finish_reason)
{
    if (!h->chat)
        return json_pack("[{s:o, s:i, s:n, s:s?}]", "text", gateway_text(text), "index", 0,
                         "logprobs", "finish_reason", finish_reason);
    json_t *message =
        json_pack("{s:s, s:o, s:n}", "role", "assistant", "content", gateway_text(text), "refusal");
    return json_pack("[{s:i, s:o, s:n, s:s?}]", "index", 0, "message", message, "logprobs",
                     "finish_reason", finish_reason);
}

static json_t *part_choice(const struct gateway_head *h, struct emac_slice text, bool first,
                           const char *finish_reason)
{
    if (!h->chat)
        return whole_choice(h, text, finish_reason);
    json_t *delta = first ? json_pack("{s:s}", "role", "assistant") : json_object();
    if (first || text.len > 0)
        json_object_set_new(delta, "content", gateway_text(text));
    return json_pack("[{s:i, s:o, s:n, s:s?}]", "index", 0, "delta", delta, "logprobs",
                     "finish_reason", finish_reason);
}

/* Sets o's usage; takes both, and gives NULL if either is. */
static json_t *with_usage(json_t *o, json_t *u)
{
    if (o != NULL && json_object_set_new(o, "usage", u) == 0)
        return o;
    if (o == NULL)
        json_decref(u);
    json_decref(o);
    return NULL;
}

json_t *gateway_completion(const struct gateway_head *h, struct emac_slice text,
                           const struct serve_piece *piece)
{
    const char *object = h->chat ? "chat.completion" : "text_completion";
    return with_usage(completion(h, object, whole_choice(h, text, piece->finish_reason)),
                      usage(piece));
}

static const char *part_object(const struct gateway_head *h)
{
    return h->chat ? "chat.completion.chunk" : "text_completion";
}

json_t *gateway_chunk(const struct gateway_head *h, struct emac_slice text, bool first,
                      const char *finish_reason, bool null_usage)
{
    json_t *o = completion(h, part_object(h), part_choice(h, text, first, finish_reason));
    return null_usage ? with_usage(o, json_null()) : o;
}

json_t *gateway_usage_chunk(const struct gateway_head *h, const struct serve_piece *piece)
{
    return with_usage(completion(h, part_object(h), json_array()), usage(piece));
}

static char *dump(json_t *j, struct emac_err *err)
{
    char *text = j != NULL ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    if (text == NULL)
        emac_fail(err, EMAC_NO_MEMORY, "out of memory for an answer");
    return text;
}

enum emac_status gateway_json_append(struct emac_buf *out, json_t *j, struct emac_err *err)
{
    char *text = dump(j, err);
    if (text == NULL)
        return EMAC_NO_MEMORY;
    enum emac_status st = emac_buf_append(out, text, strlen(text), err);
    free(text);
    return st;
}

enum emac_status gateway_event_append(struct emac_buf *out, json_t *j, struct emac_err *err)
{
    char *text = dump(j, err);
    if (text == NULL)
        return EMAC_NO_MEMORY;
    enum emac_status st = http_sse_event(out, text, err);
    free(text);
    return st;
}

enum emac_status gateway_error_event(struct emac_buf *out, const struct emac_err *failure,
                                     struct emac_err *err)
{
    struct http_response res;
    http_response_init(&res);
    http_response_error(&res, failure);
    enum emac_status st = http_sse_event(out, emac_buf_str(&res.body), err);
    http_response_release(&res);
    return st;
}

/* The body of POST /v1/completions, and of POST /v1/chat/completions. What is accepted is within
 * the limits that rigs rely on; what is refused says why. */
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "gateway/gateway.h"
#include "gateway/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_text(const char *text)
{
    size_t n = strlen(text);
    EMAC_ASSERT(n > 0 && n <= GATEWAY_BODY_MAX && emac_utf8_valid(text, n));
}

static void check_accepted(const struct gateway_request *r)
{
    const struct serve_request *s = &r->serve;
    size_t model = strlen(r->model);
    EMAC_ASSERT(model > 0 && model <= SERVE_MODEL_NAME_MAX);
    if (r->kind == GATEWAY_TEXT)
        check_text(s->prompt);
    EMAC_ASSERT((r->kind == GATEWAY_CHAT) == (r->message_count > 0));
    for (size_t i = 0; i < r->message_count; i++)
        check_text(r->message[i].text);
    EMAC_ASSERT(s->max_tokens >= 1 && s->max_tokens <= GATEWAY_TOKENS_MAX);
    EMAC_ASSERT(s->temperature >= 0 && s->temperature <= 2);
    EMAC_ASSERT(s->top_p >= GATEWAY_TOP_P_MIN && s->top_p <= 1);
    EMAC_ASSERT(s->top_k <= GATEWAY_TOP_K_MAX && s->seed <= INT64_MAX);
    EMAC_ASSERT(s->stop_count <= SERVE_STOP_MAX && (r->stream || !r->include_usage));
    for (uint32_t i = 0; i < s->stop_count; i++)
        EMAC_ASSERT(s->stop[i][0] != '\0' && emac_utf8_valid(s->stop[i], strlen(s->stop[i])));
}

static void try(enum gateway_kind kind, const uint8_t *data, size_t n)
{
    struct gateway_request r;
    const char *param = NULL;
    struct emac_err err = {0};
    enum emac_status st = gateway_request_parse(&r, kind, EMAC_SLICE(data, n), &param, &err);
    EMAC_ASSERT(st == EMAC_OK || (st == EMAC_INVALID && err.text[0] != '\0'));
    if (st == EMAC_OK)
        check_accepted(&r);
    gateway_request_release(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    try(GATEWAY_TEXT, data, n);
    try(GATEWAY_CHAT, data, n);
    return 0;
}

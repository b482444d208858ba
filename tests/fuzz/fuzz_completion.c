/* The body of POST /v1/completions. What is accepted is within the limits that rigs rely on; what
 * is refused says why. */
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "gateway/gateway.h"
#include "gateway/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_accepted(const struct gateway_request *r)
{
    const struct serve_request *s = &r->serve;
    size_t prompt = strlen(s->prompt), model = strlen(r->model);
    EMAC_ASSERT(model > 0 && model <= SERVE_MODEL_NAME_MAX);
    EMAC_ASSERT(prompt > 0 && prompt <= SERVE_PROMPT_MAX && emac_utf8_valid(s->prompt, prompt));
    EMAC_ASSERT(s->max_tokens >= 1 && s->max_tokens <= GATEWAY_TOKENS_MAX);
    EMAC_ASSERT(s->temperature >= 0 && s->temperature <= 2);
    EMAC_ASSERT(s->top_p >= GATEWAY_TOP_P_MIN && s->top_p <= 1);
    EMAC_ASSERT(s->top_k <= GATEWAY_TOP_K_MAX && s->seed <= INT64_MAX);
    EMAC_ASSERT(s->stop_count <= SERVE_STOP_MAX && (r->stream || !r->include_usage));
    for (uint32_t i = 0; i < s->stop_count; i++)
        EMAC_ASSERT(s->stop[i][0] != '\0' && emac_utf8_valid(s->stop[i], strlen(s->stop[i])));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct gateway_request r;
    const char *param = NULL;
    struct emac_err err = {0};
    enum emac_status st = gateway_request_parse(&r, EMAC_SLICE(data, n), &param, &err);
    EMAC_ASSERT(st == EMAC_OK || (st == EMAC_INVALID && err.text[0] != '\0'));
    if (st == EMAC_OK)
        check_accepted(&r);
    gateway_request_release(&r);
    return 0;
}

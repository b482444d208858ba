#include "base/assert.h"
#include "gateway/gateway.h"
#include "gateway/handlers.h"

const struct http_route GATEWAY_ROUTES[] = {
    {"GET", "/v1/models", 0, gateway_models_get},
    {"GET", "/v1/models/{model*}", 0, gateway_model_get},
    {"POST", "/v1/completions", GATEWAY_BODY_MAX, gateway_completions_post},
    {"POST", "/v1/chat/completions", GATEWAY_BODY_MAX, gateway_chat_post},
};
const size_t GATEWAY_ROUTE_COUNT = EMAC_COUNT(GATEWAY_ROUTES);

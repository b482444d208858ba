/* OpenAI's API over the rigs: GET /v1/models, /v1/models/{model*}, POST /v1/completions,
 * POST /v1/chat/completions. The routes go into coordinator_config.routes; their ctx is the
 * coordinator.
 *
 * Requests are read strictly where we know a field (wrong types and ranges are
 * 400 with `param`) and unknown fields are passed over, as clients expect. */
#ifndef EMAC_GATEWAY_GATEWAY_H
#define EMAC_GATEWAY_GATEWAY_H

#include "http/server.h"

#define GATEWAY_BODY_MAX        (1u << 20)
#define GATEWAY_TOKENS_MAX      65536
#define GATEWAY_TOKENS_DEFAULT  16
#define GATEWAY_ANSWER_DEFAULT  512 /* of a chat's answer */
#define GATEWAY_IDEMPOTENCY_MAX 128

extern const struct http_route GATEWAY_ROUTES[];
extern const size_t GATEWAY_ROUTE_COUNT;

#endif

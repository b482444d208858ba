/* A completion request in OpenAI's shape (api reference, "Create completion"). */
#ifndef EMAC_GATEWAY_REQUEST_H
#define EMAC_GATEWAY_REQUEST_H

#include <jansson.h>

#include "coordinator/serve.h"
#include "gateway/gateway.h"

struct completion {
    const char *model;          /* as the client named it; borrowed from the JSON */
    struct serve_request serve; /* .model and .params are filled in later */
    bool stream, include_usage, echo, has_seed;
};

/* INVALID; *param names the field at fault (a literal; NULL: the body as a whole). Strings borrow
 * from root. */
enum emac_status completion_parse(json_t *root, struct completion *out, const char **param,
                                  struct emac_err *err);

/* Handlers. */
http_handler gateway_completions_post, gateway_models_get, gateway_model_get;

#endif

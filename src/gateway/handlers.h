/* The gateway's handlers, for its table of routes; ctx is the coordinator. */
#ifndef EMAC_GATEWAY_HANDLERS_H
#define EMAC_GATEWAY_HANDLERS_H

#include "http/server.h"

http_handler gateway_models_get, gateway_model_get, gateway_completions_post, gateway_chat_post;

#endif

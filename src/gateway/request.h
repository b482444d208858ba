/* The body of POST /v1/completions or /v1/chat/completions, as OpenAI documents them, to a struct.
 * A pure function of bytes.
 *
 * A field that is null counts as absent. Fields of OpenAI's that this server
 * knows but cannot honour (n, logprobs, penalties, ...) are refused unless they
 * say what happens anyway; fields it does not know are passed over. */
#ifndef EMAC_GATEWAY_REQUEST_H
#define EMAC_GATEWAY_REQUEST_H

#include <jansson.h>

#include "coordinator/serving/serve.h"
#include "gateway/chat.h"

#define GATEWAY_TOP_K_MAX 1000000
/* What rigs take; a smaller top_p means this: the likeliest token. */
#define GATEWAY_TOP_P_MIN 1e-9

enum gateway_kind { GATEWAY_TEXT = 1, GATEWAY_CHAT = 2 };

struct gateway_request {
    enum gateway_kind kind;
    struct serve_request serve; /* model and params are not set; prompt lies in `root`, a chat's is
                                   not set */
    struct chat_message *message; /* a chat's; texts lie in `root` or `joined` */
    size_t message_count;
    struct emac_buf joined; /* texts that came in parts */
    const char *model;      /* as asked for; in `root` */
    bool stream, include_usage, echo;
    bool seeded; /* the request names a seed; if not, serve.seed is for the caller to set */
    json_t *root;
};

/* Reads the body into *out, to be released whatever happens. INVALID: *param names the field that
 * is wrong, NULL when it is the body as a whole. A seed is any int64; it is kept without its sign
 * bit, which is how rigs take it. */
enum emac_status gateway_request_parse(struct gateway_request *out, enum gateway_kind kind,
                                       struct emac_slice body, const char **param,
                                       struct emac_err *err);
void gateway_request_release(struct gateway_request *r);

#endif

/* Answers in OpenAI's shapes as JSON. Functions that return a json_t give NULL
 * only without memory; gateway_json_append and gateway_event_append take what
 * they are given and turn NULL into a failure. */
#ifndef EMAC_GATEWAY_REPLY_H
#define EMAC_GATEWAY_REPLY_H

#include <jansson.h>

#include "coordinator/serving/serve.h"

#define GATEWAY_ID_MAX 40

/* What all parts of an answer repeat. */
struct gateway_head {
    bool chat;                /* the answer is a message */
    char id[GATEWAY_ID_MAX];  /* "cmpl-...", of a chat "chatcmpl-..." */
    char model[CID_TEXT_MAX]; /* the model's CID, whatever name it was asked for by */
    uint64_t created_s;
};
/* A new id, the time, and the model's name. */
void gateway_head_fill(struct gateway_head *h, struct os *os, const struct cid *model, bool chat);

/* A JSON string; each byte that is not UTF-8 becomes U+FFFD. */
json_t *gateway_text(struct emac_slice text);
json_t *gateway_model(const struct serve_model *m);
/* The same with "price": units for a million tokens. */
json_t *gateway_model_priced(const struct serve_model *m, int64_t rig_units, int64_t royalty_units);
/* A whole completion; `piece` holds the end's figures, its text is not looked at. */
json_t *gateway_completion(const struct gateway_head *h, struct emac_slice text,
                           const struct serve_piece *piece);
/* A part of a stream. first: a chat's says whose message it is. finish_reason NULL: more comes.
 * null_usage: "usage": null is in it, as it must be when the stream will end with its usage. */
json_t *gateway_chunk(const struct gateway_head *h, struct emac_slice text, bool first,
                      const char *finish_reason, bool null_usage);
/* The last part of a stream that was asked for its usage. */
json_t *gateway_usage_chunk(const struct gateway_head *h, const struct serve_piece *piece);

enum emac_status gateway_json_append(struct emac_buf *out, json_t *j, struct emac_err *err);
/* As one server-sent event. */
enum emac_status gateway_event_append(struct emac_buf *out, json_t *j, struct emac_err *err);
/* The error object as one server-sent event, for a stream that fails on its way. */
enum emac_status gateway_error_event(struct emac_buf *out, const struct emac_err *failure,
                                     struct emac_err *err);

#endif

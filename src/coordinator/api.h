/* What the handlers share: who asks, JSON in, JSON out. None of it needs the
 * coordinator's lock. */
#ifndef EMAC_COORDINATOR_API_H
#define EMAC_COORDINATOR_API_H

#include <jansson.h>

#include "coordinator/state.h"

#define API_BODY_SMALL (64u << 10)
#define API_BODY_JOB   (256u << 10)
#define API_BODY_SWEEP (1u << 20)
#define API_BODY_TASK  (256u << 10)
#define API_BODY_CAR   (20u << 20) /* exchange_push sends at most 16 MiB and headers */
#define API_LIST_MAX   1000

/* The server's `head` hook: a large body is read only when its sender signed for it. */
enum emac_status api_head(void *ctx, const struct http_route *route, const struct http_request *req,
                          struct emac_err *err);
/* Verify the request's signature and take one request out of the signer's bucket. UNAUTHORIZED,
 * BUSY. */
enum emac_status api_signer(struct coordinator *c, const struct http_request *req,
                            char did[DID_KEY_MAX], struct emac_err *err);
/* Take one request out of did's bucket: BUSY. */
enum emac_status api_rate(struct coordinator *c, const char *did, struct emac_err *err);
/* The body as a JSON object; duplicate keys are refused. Decref it. */
enum emac_status api_body(const struct http_request *req, json_t **out, struct emac_err *err);
/* Steals `body`. */
enum emac_status api_reply(struct http_response *res, int status, json_t *body,
                           struct emac_err *err);
void api_no_content(struct http_response *res);

/* Fields of an object; INVALID naming the field. The _opt forms leave *out alone when the field is
 * absent or null. Strings are borrowed from the object and hold no NUL. */
enum emac_status api_str(json_t *o, const char *key, size_t max, const char **out,
                         struct emac_err *err);
enum emac_status api_str_opt(json_t *o, const char *key, size_t max, const char **out,
                             struct emac_err *err);
enum emac_status api_u64(json_t *o, const char *key, uint64_t max, uint64_t *out,
                         struct emac_err *err);
enum emac_status api_u64_opt(json_t *o, const char *key, uint64_t max, uint64_t *out,
                             struct emac_err *err);
enum emac_status api_bool_opt(json_t *o, const char *key, bool *out, struct emac_err *err);
/* A list (absent: NULL) of at most `max` items. */
enum emac_status api_list_opt(json_t *o, const char *key, size_t max, json_t **out,
                              struct emac_err *err);
enum emac_status api_cid_at(json_t *list, size_t i, const char *key, struct cid *out,
                            struct emac_err *err);
/* base64 -> bytes in the request's arena */
enum emac_status api_bytes(const struct http_request *req, json_t *o, const char *key, size_t max,
                           struct emac_slice *out, struct emac_err *err);
/* Query parameter as a number; `usual` when absent. */
enum emac_status api_query_u64(const struct http_request *req, const char *name, uint64_t usual,
                               uint64_t max, uint64_t *out, struct emac_err *err);

/* Field "key", the name that the caller gave to the request, so that it is done once: 1 to max
 * printable bytes without spaces. */
enum emac_status api_request_key(json_t *o, size_t max, const char **out, struct emac_err *err);
/* "123" -> 123; > 0 */
enum emac_status api_units_parse(const char *text, int64_t *units, struct emac_err *err);

json_t *api_base64(const void *data, size_t n);
json_t *api_cid(const struct cid *cid); /* null for none */
json_t *api_units(int64_t units);       /* "123" */

#endif

#include "coordinator/api.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "coordinator/internal.h"

#define REPLY_USUAL 2048 /* bytes: a lease */

#define BUCKETS_MAX 65536

enum emac_status api_rate(struct coordinator *c, const char *did, struct emac_err *err)
{
    double per_s = c->cfg.rate_per_s, burst = per_s * 2;
    uint64_t now = now_ms(c), retry = 0;
    os_mutex_lock(&c->rate_lock);
    if (c->buckets.count >= BUCKETS_MAX)
        map_release(&c->buckets, free); /* everybody starts afresh: memory stays bounded */
    struct sched_bucket *b = map_get(&c->buckets, did);
    enum emac_status st = EMAC_OK;
    if (b == NULL) {
        st = emac_alloc(&b, 1, sizeof(*b), err);
        if (st == EMAC_OK) {
            sched_bucket_init(b, burst, now);
            map_put(&c->buckets, did, b);
        }
    }
    if (st == EMAC_OK && !sched_bucket_take(b, per_s, burst, now, &retry))
        st = emac_fail(err, EMAC_BUSY,
                       "'%s' sends more than %.0f requests a second: try again in %" PRIu64 " ms",
                       did, per_s, retry);
    os_mutex_unlock(&c->rate_lock);
    return st;
}

enum emac_status api_signer(struct coordinator *c, const struct http_request *req,
                            char did[DID_KEY_MAX], struct emac_err *err)
{
    enum emac_status st = http_verify(req, wall_ms(c), c->nonces, did, err);
    return st == EMAC_OK ? api_rate(c, did, err) : st;
}

enum emac_status api_head(void *ctx, const struct http_route *route, const struct http_request *req,
                          struct emac_err *err)
{
    struct coordinator *c = ctx;
    char did[DID_KEY_MAX];
    return route->body_max < API_BODY_CAR ? EMAC_OK : http_verify_head(req, wall_ms(c), did, err);
}

enum emac_status api_body(const struct http_request *req, json_t **out, struct emac_err *err)
{
    json_error_t je;
    *out = json_loadb((const char *)req->body.data, req->body.len, JSON_REJECT_DUPLICATES, &je);
    if (*out == NULL)
        return emac_fail(err, EMAC_INVALID, "the body is not JSON: %s at line %d column %d",
                         je.text, je.line, je.column);
    if (json_is_object(*out))
        return EMAC_OK;
    json_decref(*out);
    *out = NULL;
    return emac_fail(err, EMAC_INVALID, "the body must be a JSON object");
}

static int dump(const char *buffer, size_t size, void *data)
{
    return emac_buf_append(data, buffer, size, NULL) == EMAC_OK ? 0 : -1;
}

enum emac_status api_reply(struct http_response *res, int status, json_t *body,
                           struct emac_err *err)
{
    if (body == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "no memory for the answer");
    /* It comes in pieces of a few bytes: room for a lease at once. */
    int rc = emac_buf_reserve(&res->body, REPLY_USUAL, NULL) == EMAC_OK
                 ? json_dump_callback(body, dump, &res->body, JSON_COMPACT)
                 : -1;
    json_decref(body);
    if (rc != 0)
        return emac_fail(err, EMAC_TOO_LARGE, "the answer is too large: ask for less at once");
    res->status = status;
    return EMAC_OK;
}

void api_no_content(struct http_response *res)
{
    res->status = 204;
}

enum emac_status api_str_opt(json_t *o, const char *key, size_t max, const char **out,
                             struct emac_err *err)
{
    json_t *v = json_object_get(o, key);
    if (v == NULL || json_is_null(v))
        return EMAC_OK;
    if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v))
        return emac_fail(err, EMAC_INVALID, "field '%s' must be text", key);
    if (json_string_length(v) > max)
        return emac_fail(err, EMAC_INVALID, "field '%s' is longer than %zu bytes", key, max);
    *out = json_string_value(v);
    return EMAC_OK;
}

enum emac_status api_str(json_t *o, const char *key, size_t max, const char **out,
                         struct emac_err *err)
{
    *out = NULL;
    enum emac_status st = api_str_opt(o, key, max, out, err);
    if (st == EMAC_OK && *out == NULL)
        st = emac_fail(err, EMAC_INVALID, "field '%s' is missing", key);
    return st;
}

enum emac_status api_u64_opt(json_t *o, const char *key, uint64_t max, uint64_t *out,
                             struct emac_err *err)
{
    json_t *v = json_object_get(o, key);
    if (v == NULL || json_is_null(v))
        return EMAC_OK;
    if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) > max)
        return emac_fail(err, EMAC_INVALID, "field '%s' must be an integer from 0 to %" PRIu64, key,
                         max);
    *out = (uint64_t)json_integer_value(v);
    return EMAC_OK;
}

enum emac_status api_u64(json_t *o, const char *key, uint64_t max, uint64_t *out,
                         struct emac_err *err)
{
    if (json_object_get(o, key) == NULL)
        return emac_fail(err, EMAC_INVALID, "field '%s' is missing", key);
    *out = 0;
    return api_u64_opt(o, key, max, out, err);
}

enum emac_status api_bool_opt(json_t *o, const char *key, bool *out, struct emac_err *err)
{
    json_t *v = json_object_get(o, key);
    if (v == NULL || json_is_null(v))
        return EMAC_OK;
    if (!json_is_boolean(v))
        return emac_fail(err, EMAC_INVALID, "field '%s' must be true or false", key);
    *out = json_is_true(v);
    return EMAC_OK;
}

enum emac_status api_list_opt(json_t *o, const char *key, size_t max, json_t **out,
                              struct emac_err *err)
{
    json_t *v = json_object_get(o, key);
    *out = NULL;
    if (v == NULL || json_is_null(v))
        return EMAC_OK;
    if (!json_is_array(v) || json_array_size(v) > max)
        return emac_fail(err, EMAC_INVALID, "field '%s' must be a list of at most %zu", key, max);
    *out = v;
    return EMAC_OK;
}

enum emac_status api_cid_at(json_t *list, size_t i, const char *key, struct cid *out,
                            struct emac_err *err)
{
    const char *text = json_string_value(json_array_get(list, i));
    if (text == NULL)
        return emac_fail(err, EMAC_INVALID, "field '%s' must hold CIDs", key);
    if (cid_parse(out, text, err) != EMAC_OK)
        return emac_fail(err, EMAC_INVALID, "field '%s' holds '%.80s', which is no CID", key, text);
    return EMAC_OK;
}

enum emac_status api_bytes(const struct http_request *req, json_t *o, const char *key, size_t max,
                           struct emac_slice *out, struct emac_err *err)
{
    const char *text = NULL;
    enum emac_status st = api_str(o, key, EMAC_BASE64_LEN(max), &text, err);
    if (st != EMAC_OK)
        return st;
    size_t len = strlen(text), n = len / 4 * 3 + 3;
    uint8_t *data = arena_alloc(req->arena, n);
    if (data == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "no memory for field '%s'", key);
    if (!emac_unbase64(data, &n, text, len) || n > max)
        return emac_fail(err, EMAC_INVALID, "field '%s' must be base64 of at most %zu bytes", key,
                         max);
    *out = EMAC_SLICE(data, n);
    return EMAC_OK;
}

enum emac_status api_query_u64(const struct http_request *req, const char *name, uint64_t usual,
                               uint64_t max, uint64_t *out, struct emac_err *err)
{
    const char *text = http_query_get(req, name);
    *out = usual;
    if (text == NULL)
        return EMAC_OK;
    uint64_t v = 0;
    size_t n = 0;
    for (; text[n] >= '0' && text[n] <= '9' && n < 19; n++)
        v = v * 10 + (uint64_t)(text[n] - '0');
    if (n == 0 || text[n] != 0 || v > max)
        return emac_fail(err, EMAC_INVALID, "'%s' must be an integer from 0 to %" PRIu64, name,
                         max);
    *out = v;
    return EMAC_OK;
}

json_t *api_base64(const void *data, size_t n)
{
    char *text = NULL;
    if (emac_alloc(&text, EMAC_BASE64_LEN(n) + 1, 1, NULL) != EMAC_OK)
        return NULL;
    emac_base64(text, data, n);
    json_t *v = json_string(text);
    free(text);
    return v;
}

json_t *api_cid(const struct cid *cid)
{
    if (cid_is_none(cid))
        return json_null();
    char text[CID_TEXT_MAX];
    cid_text(text, cid);
    return json_string(text);
}

json_t *api_units(int64_t units)
{
    char text[24];
    int n = snprintf(text, sizeof(text), "%" PRId64, units);
    EMAC_ASSERT(n > 0 && (size_t)n < sizeof(text));
    return json_string(text);
}

enum emac_status api_request_key(json_t *o, size_t max, const char **out, struct emac_err *err)
{
    enum emac_status st = api_str(o, "key", max, out, err);
    if (st == EMAC_OK && ((*out)[0] == '\0' || !text_printable(*out) || strchr(*out, ' ') != NULL))
        st = emac_fail(err, EMAC_INVALID, "field 'key' must be printable and without spaces");
    return st;
}

enum emac_status api_units_parse(const char *text, int64_t *units, struct emac_err *err)
{
    int64_t v = 0;
    size_t n = 0;
    for (; text[n] >= '0' && text[n] <= '9' && n < 18; n++)
        v = v * 10 + (text[n] - '0');
    if (n == 0 || text[n] != 0 || v == 0)
        return emac_fail(err, EMAC_INVALID, "'%s' is not an amount of units", text);
    *units = v;
    return EMAC_OK;
}

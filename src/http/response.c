#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "http/server.h"

void http_response_init(struct http_response *res)
{
    *res = (struct http_response){.status = 200, .content_length = -1};
    emac_buf_init(&res->body, HTTP_RESPONSE_MAX);
}

static void stream_drop(struct http_response *res)
{
    if (res->stream != NULL && res->stream_free != NULL)
        res->stream_free(res->stream_ctx);
    res->stream = NULL;
    res->stream_free = NULL;
    res->stream_ctx = NULL;
}

void http_response_release(struct http_response *res)
{
    stream_drop(res);
    emac_buf_release(&res->body);
}

static const char *error_type(int http)
{
    switch (http) {
    case 401:
        return "authentication_error";
    case 404:
        return "not_found_error";
    case 429:
        return "rate_limit_error";
    default:
        return http < 500 ? "invalid_request_error" : "server_error";
    }
}

void http_response_error(struct http_response *res, const struct emac_err *err)
{
    http_response_error_param(res, err, NULL);
}

void http_response_error_param(struct http_response *res, const struct emac_err *err,
                               const char *param)
{
    EMAC_ASSERT(err->status != EMAC_OK);
    stream_drop(res);
    emac_buf_clear(&res->body);
    res->status = emac_status_http(err->status);
    res->content_type = NULL;
    res->content_length = -1;
    json_t *j =
        json_pack("{s:{s:s, s:s, s:s?, s:s}}", "error", "message", err->text, "type",
                  error_type(res->status), "param", param, "code", emac_status_text(err->status));
    char *text = j != NULL ? json_dumps(j, JSON_COMPACT) : NULL;
    /* Without memory the status alone must do. */
    if (text != NULL)
        (void)emac_buf_append(&res->body, text, strlen(text), NULL);
    free(text);
    json_decref(j);
}

enum emac_status http_sse_event(struct emac_buf *out, const char *text, struct emac_err *err)
{
    enum emac_status st;
    do {
        size_t n = strcspn(text, "\n");
        EMAC_TRY(st, emac_buf_append(out, "data: ", 6, err));
        EMAC_TRY(st, emac_buf_append(out, text, n, err));
        EMAC_TRY(st, emac_buf_append(out, "\n", 1, err));
        text += n + (text[n] == '\n');
    } while (*text != '\0');
    st = emac_buf_append(out, "\n", 1, err);
out:
    return st;
}

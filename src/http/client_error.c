#include <arpa/inet.h>
#include <jansson.h>
#include <string.h>

#include "http/client_impl.h"

static bool ipv4_is_private(const uint8_t a[4])
{
    return a[0] == 127 || a[0] == 10 || (a[0] == 172 && (a[1] & 0xf0) == 16) ||
           (a[0] == 192 && a[1] == 168) || (a[0] == 169 && a[1] == 254);
}

bool http_host_is_private(const char *host)
{
    static const uint8_t LOOPBACK[16] = {[15] = 1};
    static const uint8_t MAPPED[12] = {[10] = 0xff, [11] = 0xff};
    uint8_t v4[4], v6[16];
    char text[INET6_ADDRSTRLEN + 1];
    if (strcmp(host, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, host, v4) == 1)
        return ipv4_is_private(v4);
    size_t n = strlen(host);
    if (host[0] != '[' || n < 3 || n - 2 >= sizeof text)
        return false;
    memcpy(text, host + 1, n - 2);
    text[n - 2] = '\0';
    if (inet_pton(AF_INET6, text, v6) != 1)
        return false;
    if (memcmp(v6, MAPPED, sizeof MAPPED) == 0)
        return ipv4_is_private(v6 + 12);
    return memcmp(v6, LOOPBACK, 16) == 0 || (v6[0] & 0xfe) == 0xfc ||
           (v6[0] == 0xfe && (v6[1] & 0xc0) == 0x80);
}

static enum emac_status status_of_http(int http)
{
    switch (http) {
    case 401:
        return EMAC_UNAUTHORIZED;
    case 402:
        return EMAC_PAYMENT;
    case 403:
        return EMAC_FORBIDDEN;
    case 404:
    case 410:
        return EMAC_NOT_FOUND;
    case 408:
    case 504:
        return EMAC_TIMEOUT;
    case 409:
        return EMAC_CONFLICT;
    case 413:
        return EMAC_TOO_LARGE;
    case 422:
        return EMAC_CORRUPT;
    case 429:
        return EMAC_BUSY;
    case 501:
        return EMAC_UNSUPPORTED;
    case 502:
    case 503:
        return EMAC_UNAVAILABLE;
    case 507:
        return EMAC_NO_SPACE;
    default:
        return http < 500 ? EMAC_INVALID : EMAC_INTERNAL;
    }
}

/* INTERNAL stands for every text that is not one of ours; "ok" cannot be the name of a failure. */
static enum emac_status status_of_code(const char *code, int http)
{
    if (code == NULL)
        return status_of_http(http);
    enum emac_status st = emac_status_from_text(code);
    if (st == EMAC_OK || (st == EMAC_INTERNAL && strcmp(code, "internal") != 0))
        return status_of_http(http);
    return st;
}

enum emac_status http_error_parse(int http, const struct emac_buf *body, const char *url,
                                  struct emac_err *err)
{
    json_t *j = json_loadb(emac_buf_str(body), body->len, JSON_REJECT_DUPLICATES, NULL);
    json_t *error = json_object_get(j, "error");
    const char *message = json_string_value(json_object_get(error, "message"));
    const char *code = json_string_value(json_object_get(error, "code"));
    enum emac_status st = status_of_code(code, http);
    if (message != NULL && message[0] != '\0')
        emac_fail(err, st, "%s", message);
    else
        emac_fail(err, st, "'%.200s' answered HTTP %d without saying why", url, http);
    json_decref(j);
    return st;
}

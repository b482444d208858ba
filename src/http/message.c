#include "http/message.h"

#include <string.h>
#include <strings.h>

const char *http_header_get(const struct http_headers *h, const char *name)
{
    for (size_t i = 0; i < h->count; i++) {
        if (strcasecmp(h->at[i].name, name) == 0)
            return h->at[i].value;
    }
    return NULL;
}

bool http_header_add(struct http_headers *h, const char *name, const char *value)
{
    if (h->count == HTTP_HEADERS_MAX)
        return false;
    h->at[h->count++] = (struct http_header){name, value};
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte of the escape at s ("%41"), or -1 when it is broken, cut off by `left`, or NUL. */
static int escape_byte(const char *s, size_t left)
{
    if (left < 3)
        return -1;
    int high = hex_digit(s[1]), low = hex_digit(s[2]);
    if (high < 0 || low < 0 || high + low == 0)
        return -1;
    return high << 4 | low;
}

char *http_percent_decode(struct arena *a, const char *s, size_t n, bool plus_is_space)
{
    char *out = arena_alloc(a, n + 1); /* zeroed, so it is terminated */
    if (out == NULL)
        return NULL;
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '%') {
            int byte = escape_byte(s + i, n - i);
            if (byte < 0)
                return NULL;
            out[len++] = (char)byte;
            i += 2;
        } else {
            out[len++] = plus_is_space && s[i] == '+' ? ' ' : s[i];
        }
    }
    return out;
}

static enum emac_status target_check(const char *target, struct emac_err *err)
{
    size_t n = strnlen(target, HTTP_TARGET_MAX + 1);
    if (n > HTTP_TARGET_MAX)
        return emac_fail(err, EMAC_INVALID, "the address is longer than %d bytes", HTTP_TARGET_MAX);
    if (target[0] != '/')
        return emac_fail(err, EMAC_INVALID, "the address '%s' does not begin with '/'", target);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)target[i];
        if (c <= ' ' || c >= 0x7f || c == '#')
            return emac_fail(err, EMAC_INVALID,
                             "the address holds byte 0x%02x at %zu: write it as %%%02X", c, i, c);
        if (c == '%' && escape_byte(target + i, n - i) < 0)
            return emac_fail(err, EMAC_INVALID,
                             "the escape at byte %zu of the address '%s' is not %%XX or is zero", i,
                             target);
    }
    return EMAC_OK;
}

enum emac_status http_request_target_set(struct http_request *req, const char *target,
                                         struct emac_err *err)
{
    enum emac_status st = target_check(target, err);
    if (st != EMAC_OK)
        return st;
    size_t path_n = strcspn(target, "?");
    req->target = arena_strndup(req->arena, target, strlen(target));
    req->path = http_percent_decode(req->arena, target, path_n, false);
    if (req->target == NULL || req->path == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory for the address of a request");
    req->query = req->target + path_n + (target[path_n] == '?');
    return EMAC_OK;
}

const char *http_query_get(const struct http_request *req, const char *name)
{
    const char *p = req->query;
    while (p != NULL && *p != '\0') {
        size_t n = strcspn(p, "&");
        size_t key_n = strcspn(p, "=&");
        const char *key = http_percent_decode(req->arena, p, key_n, true);
        if (key != NULL && strcmp(key, name) == 0)
            return key_n == n ? ""
                              : http_percent_decode(req->arena, p + key_n + 1, n - key_n - 1, true);
        p += n + (p[n] == '&');
    }
    return NULL;
}

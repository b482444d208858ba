#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "http/message.h"

#define URL_MAX  (HTTP_TARGET_MAX + 512)
#define HOST_MAX 255

static bool host_char(char c, bool ipv6)
{
    if (c >= '0' && c <= '9')
        return true;
    if (ipv6)
        return (c >= 'a' && c <= 'f') || c == ':' || c == '.';
    return (c >= 'a' && c <= 'z') || c == '-' || c == '.' || c == '_';
}

/* The host at the start of the n bytes at s: its length, or 0 when it is not one. */
static size_t host_length(const char *s, size_t n)
{
    bool ipv6 = n > 0 && s[0] == '[';
    size_t i = ipv6 ? 1 : 0;
    while (i < n && host_char(s[i], ipv6))
        i++;
    if (ipv6)
        return i > 2 && i < n && s[i] == ']' ? i + 1 : 0;
    return i;
}

/* ":8080" with n bytes; 0 when it is not a port. Nothing at all is the scheme's own. */
static uint16_t port_parse(const char *s, size_t n, uint16_t own)
{
    if (n == 0)
        return own;
    if (s[0] != ':' || n < 2 || n > 6)
        return 0;
    uint32_t port = 0;
    for (size_t i = 1; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return 0;
        port = port * 10 + (uint32_t)(s[i] - '0');
    }
    return port <= 65535 ? (uint16_t)port : 0;
}

static bool authority_parse(struct arena *a, const char *s, size_t n, struct http_url *out)
{
    char *lower = arena_strndup(a, s, n);
    if (lower == NULL)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (lower[i] >= 'A' && lower[i] <= 'Z')
            lower[i] += 'a' - 'A';
    }
    uint16_t own = out->https ? 443 : 80;
    size_t host_n = host_length(lower, n);
    if (host_n == 0 || host_n > HOST_MAX)
        return false;
    out->port = port_parse(lower + host_n, n - host_n, own);
    out->host = arena_strndup(a, lower, host_n);
    char *authority = arena_alloc(a, host_n + 8);
    if (out->port == 0 || out->host == NULL || authority == NULL)
        return false;
    if (out->port == own)
        memcpy(authority, out->host, host_n);
    else
        snprintf(authority, host_n + 8, "%s:%u", out->host, out->port);
    out->authority = authority;
    return true;
}

/* Path and query without the fragment; "/" in front when the URL leaves it out. */
static bool target_parse(struct arena *a, const char *s, struct http_url *out)
{
    size_t n = strcspn(s, "#");
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)s[i] <= ' ' || (unsigned char)s[i] >= 0x7f)
            return false;
    }
    bool slash = n == 0 || s[0] != '/';
    char *target = arena_alloc(a, n + 2);
    if (target == NULL || n + slash > HTTP_TARGET_MAX)
        return false;
    target[0] = '/';
    memcpy(target + slash, s, n);
    out->target = target;
    return true;
}

enum emac_status http_url_parse(struct arena *a, const char *text, struct http_url *out,
                                struct emac_err *err)
{
    *out = (struct http_url){.https = strncasecmp(text, "https://", 8) == 0};
    if (!out->https && strncasecmp(text, "http://", 7) != 0)
        return emac_fail(err, EMAC_INVALID,
                         "'%.200s' is not a URL: it must begin with http:// or "
                         "https://",
                         text);
    if (strnlen(text, URL_MAX + 1) > URL_MAX)
        return emac_fail(err, EMAC_INVALID, "the URL '%.100s...' is longer than %d bytes", text,
                         URL_MAX);
    const char *p = text + (out->https ? 8 : 7);
    size_t n = strcspn(p, "/?#");
    if (!authority_parse(a, p, n, out))
        return emac_fail(err, EMAC_INVALID,
                         "the URL '%.200s' has no host, or a host or port that "
                         "is not one (user names are not taken)",
                         text);
    if (!target_parse(a, p + n, out))
        return emac_fail(err, EMAC_INVALID,
                         "the URL '%.200s' holds bytes that must be written as "
                         "%%XX, or is too long",
                         text);
    size_t len = strlen(out->authority) + strlen(out->target) + 9;
    char *whole = arena_alloc(a, len);
    if (whole == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory for the URL '%.200s'", text);
    snprintf(whole, len, "%s://%s%s", out->https ? "https" : "http", out->authority, out->target);
    out->text = whole;
    return EMAC_OK;
}

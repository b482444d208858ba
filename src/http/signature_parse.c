/* The structured-field subset (RFC 8941) that signatures use, read strictly, and the signature
 * base. A cursor `const char **p` moves over NUL-terminated text. */
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "base/hex.h"
#include "http/signature.h"

#define KEY_MAX     32
#define STRING_MAX  256
#define DIGESTS_MAX 8

static bool take(const char **p, char c)
{
    if (**p != c)
        return false;
    (*p)++;
    return true;
}

/* key = ( lcalpha / "*" ) *( lcalpha / DIGIT / "_" / "-" / "." / "*" ) */
static bool take_key(const char **p, char out[KEY_MAX + 1])
{
    size_t n = strspn(*p, "abcdefghijklmnopqrstuvwxyz0123456789_-.*");
    bool first = (**p >= 'a' && **p <= 'z') || **p == '*';
    if (!first || n > KEY_MAX)
        return false;
    memcpy(out, *p, n);
    out[n] = '\0';
    *p += n;
    return true;
}

/* A quoted string of printable ASCII without escapes. */
static const char *take_string(const char **p, struct arena *a)
{
    const char *s = *p;
    if (*s++ != '"')
        return NULL;
    size_t n = 0;
    while (n <= STRING_MAX && s[n] >= ' ' && s[n] < 0x7f && s[n] != '"' && s[n] != '\\')
        n++;
    if (n > STRING_MAX || s[n] != '"')
        return NULL;
    *p = s + n + 1;
    return arena_strndup(a, s, n);
}

/* An integer >= 0 of at most 15 digits in its only text. */
static bool take_integer(const char **p, int64_t *out)
{
    size_t n = strspn(*p, "0123456789");
    int64_t v = 0;
    if (n == 0 || n > 15 || (n > 1 && **p == '0'))
        return false;
    for (size_t i = 0; i < n; i++)
        v = v * 10 + ((*p)[i] - '0');
    *p += n;
    *out = v;
    return true;
}

/* :base64: of at most *n bytes. */
static bool take_bytes(const char **p, uint8_t *out, size_t *n)
{
    if (!take(p, ':'))
        return false;
    size_t len = strcspn(*p, ":");
    if ((*p)[len] != ':' || !emac_unbase64(out, n, *p, len))
        return false;
    *p += len + 1;
    return true;
}

static bool component_known(const char *name)
{
    static const char *const DERIVED[] = {"@method", "@target-uri", "@authority", "@path",
                                          "@query"};
    for (size_t i = 0; i < EMAC_COUNT(DERIVED); i++) {
        if (strcmp(name, DERIVED[i]) == 0)
            return true;
    }
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_");
    return n > 0 && name[n] == '\0';
}

static enum emac_status take_components(const char **p, struct arena *a,
                                        struct http_signature_input *out, struct emac_err *err)
{
    if (!take(p, '('))
        return emac_fail(err, EMAC_INVALID, "signature-input holds no list of components");
    while (!take(p, ')')) {
        if (out->count == HTTP_SIGNATURE_COMPONENTS_MAX)
            return emac_fail(err, EMAC_INVALID, "signature-input covers more than %d components",
                             HTTP_SIGNATURE_COMPONENTS_MAX);
        if (out->count > 0 && !take(p, ' '))
            return emac_fail(err, EMAC_INVALID,
                             "the components of signature-input are not plain strings with one "
                             "space between");
        const char *name = take_string(p, a);
        if (name == NULL || !component_known(name))
            return emac_fail(err, EMAC_INVALID,
                             "component %zu of signature-input is not one that "
                             "is known here",
                             out->count + 1);
        for (size_t i = 0; i < out->count; i++) {
            if (strcmp(out->component[i], name) == 0)
                return emac_fail(err, EMAC_INVALID, "signature-input covers '%s' twice", name);
        }
        out->component[out->count++] = name;
    }
    return EMAC_OK;
}

/* One ";key=value". */
static bool take_param(const char **p, struct arena *a, struct http_signature_input *out)
{
    char key[KEY_MAX + 1];
    if (!take(p, ';') || !take_key(p, key) || !take(p, '='))
        return false;
    int64_t *number = strcmp(key, "created") == 0   ? &out->created
                      : strcmp(key, "expires") == 0 ? &out->expires
                                                    : NULL;
    if (number != NULL)
        return *number == -1 && take_integer(p, number);
    const char **string = strcmp(key, "nonce") == 0   ? &out->nonce
                          : strcmp(key, "keyid") == 0 ? &out->keyid
                          : strcmp(key, "alg") == 0   ? &out->alg
                                                      : NULL;
    if (string == NULL || *string != NULL)
        return false;
    *string = take_string(p, a);
    return *string != NULL;
}

enum emac_status http_signature_input_parse(struct arena *a, const char *text,
                                            struct http_signature_input *out, struct emac_err *err)
{
    const char *p = text;
    *out = (struct http_signature_input){.created = -1, .expires = -1};
    if (strnlen(text, HTTP_SIGNATURE_TEXT_MAX + 1) > HTTP_SIGNATURE_TEXT_MAX)
        return emac_fail(err, EMAC_INVALID, "signature-input is longer than %d bytes",
                         HTTP_SIGNATURE_TEXT_MAX);
    if (!take_key(&p, out->label) || !take(&p, '='))
        return emac_fail(err, EMAC_INVALID, "signature-input does not begin with a label and '='");
    out->params = p;
    enum emac_status st = take_components(&p, a, out, err);
    if (st != EMAC_OK)
        return st;
    while (*p != '\0') {
        if (!take_param(&p, a, out))
            return emac_fail(err, EMAC_INVALID,
                             "signature-input is wrong at byte %zu: parameters are created, "
                             "expires, nonce, keyid, alg, each once, and one signature a request",
                             (size_t)(p - text));
    }
    out->params = arena_strndup(a, out->params, strlen(out->params));
    if (out->params == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory for signature-input");
    return EMAC_OK;
}

enum emac_status http_signature_parse(const char *text, const char *label, size_t n, uint8_t *sig,
                                      struct emac_err *err)
{
    const char *p = text;
    char key[KEY_MAX + 1];
    size_t got = n;
    if (!take_key(&p, key) || !take(&p, '=') || strcmp(key, label) != 0)
        return emac_fail(err, EMAC_INVALID,
                         "the signature header has no '%s' but signature-input "
                         "has",
                         label);
    if (!take_bytes(&p, sig, &got) || got != n || *p != '\0')
        return emac_fail(err, EMAC_INVALID,
                         "the signature header must be '%s=:...:' with %zu bytes in base64", label,
                         n);
    return EMAC_OK;
}

enum emac_status http_content_digest_parse(const char *text, uint8_t digest[SHA256_BYTES],
                                           struct emac_err *err)
{
    const char *p = text;
    size_t found = 0, members = 0;
    do {
        char key[KEY_MAX + 1];
        uint8_t bytes[64];
        size_t n = sizeof bytes;
        if (members++ == DIGESTS_MAX || !take_key(&p, key) || !take(&p, '=') ||
            !take_bytes(&p, bytes, &n))
            return emac_fail(err, EMAC_INVALID,
                             "content-digest is wrong at byte %zu: it must be like "
                             "'sha-256=:...:'",
                             (size_t)(p - text));
        if (strcmp(key, "sha-256") == 0) {
            if (n != SHA256_BYTES)
                return emac_fail(err, EMAC_INVALID,
                                 "the sha-256 in content-digest has %zu bytes, "
                                 "not 32",
                                 n);
            memcpy(digest, bytes, SHA256_BYTES);
            found++;
        }
    } while (take(&p, ',') && take(&p, ' '));
    if (*p != '\0' || found != 1)
        return emac_fail(err, EMAC_INVALID, "content-digest must hold one sha-256");
    return EMAC_OK;
}

/* Value of a header field: all of its name, joined by ", ". MHD and curl have trimmed them. */
static enum emac_status field_append(const struct http_headers *h, const char *name,
                                     struct emac_buf *out, struct emac_err *err)
{
    size_t found = 0;
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < h->count && st == EMAC_OK; i++) {
        if (strcasecmp(h->at[i].name, name) == 0)
            st = emac_buf_printf(out, err, "%s%s", found++ > 0 ? ", " : "", h->at[i].value);
    }
    if (st == EMAC_OK && found == 0)
        return emac_fail(err, EMAC_INVALID, "the signature covers '%s', which the request lacks",
                         name);
    return st;
}

static enum emac_status value_append(const struct http_signed_message *m, const char *name,
                                     struct emac_buf *out, struct emac_err *err)
{
    size_t path_n = strcspn(m->target, "?");
    if (strcmp(name, "@method") == 0)
        return emac_buf_printf(out, err, "%s", m->method);
    if (strcmp(name, "@target-uri") == 0)
        return emac_buf_printf(out, err, "%s", m->target_uri);
    if (strcmp(name, "@authority") == 0)
        return emac_buf_printf(out, err, "%s", m->authority);
    if (strcmp(name, "@path") == 0)
        return emac_buf_append(out, m->target, path_n, err);
    if (strcmp(name, "@query") == 0) /* "?" even without a query (2.2.7) */
        return emac_buf_printf(out, err, "%s",
                               m->target[path_n] != '\0' ? m->target + path_n : "?");
    return field_append(m->headers, name, out, err);
}

enum emac_status http_signature_base(const struct http_signed_message *m,
                                     const struct http_signature_input *in, struct emac_buf *out,
                                     struct emac_err *err)
{
    enum emac_status st;
    for (size_t i = 0; i < in->count; i++) {
        EMAC_TRY(st, emac_buf_printf(out, err, "\"%s\": ", in->component[i]));
        EMAC_TRY(st, value_append(m, in->component[i], out, err));
        EMAC_TRY(st, emac_buf_append(out, "\n", 1, err));
    }
    st = emac_buf_printf(out, err, "\"@signature-params\": %s", in->params);
out:
    return st;
}

/* Accept, ?format= and their parameters. Names are compared without case, as HTTP wants. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/checked.h"
#include "exchange/internal.h"
#include "store/walk.h"

/* ---- one media range of an Accept header ---- */

struct media {
    const char *type;
    size_t type_len;
    double q;
    const char *version, *order, *dups; /* values, not terminated; NULL: not given */
    size_t version_len, order_len, dups_len;
};

static bool text_is(const char *p, size_t n, const char *want)
{
    return n == strlen(want) && strncasecmp(p, want, n) == 0;
}

static void trim(const char **p, size_t *n)
{
    while (*n > 0 && (**p == ' ' || **p == '\t')) {
        (*p)++;
        (*n)--;
    }
    while (*n > 0 && ((*p)[*n - 1] == ' ' || (*p)[*n - 1] == '\t'))
        (*n)--;
}

/* RFC 9110 qvalue: 0 to 1 with at most three digits. Anything else counts as 1. */
static double quality(const char *p, size_t n)
{
    double q = 0, unit = 0.1;
    if (n == 0 || n > 5 || p[0] != '0' || (n > 1 && p[1] != '.'))
        return 1;
    for (size_t i = 2; i < n; i++, unit /= 10) {
        if (p[i] < '0' || p[i] > '9')
            return 1;
        q += (p[i] - '0') * unit;
    }
    return q;
}

static void param_set(struct media *m, const char *p, size_t n)
{
    const char *eq = memchr(p, '=', n);
    if (eq == NULL)
        return;
    const char *value = eq + 1;
    size_t name_len = (size_t)(eq - p), len = n - name_len - 1;
    trim(&p, &name_len);
    trim(&value, &len);
    if (len >= 2 && value[0] == '"' && value[len - 1] == '"') {
        value++;
        len -= 2;
    }
    if (text_is(p, name_len, "q")) {
        m->q = quality(value, len);
    } else if (text_is(p, name_len, "version")) {
        m->version = value;
        m->version_len = len;
    } else if (text_is(p, name_len, "order")) {
        m->order = value;
        m->order_len = len;
    } else if (text_is(p, name_len, "dups")) {
        m->dups = value;
        m->dups_len = len;
    }
}

/* Cut the next piece up to `sep` off *text. */
static bool next_piece(const char **text, size_t *left, char sep, const char **piece, size_t *n)
{
    if (*left == 0)
        return false;
    const char *end = memchr(*text, sep, *left);
    *piece = *text;
    *n = end != NULL ? (size_t)(end - *text) : *left;
    size_t used = end != NULL ? *n + 1 : *n;
    *text += used;
    *left -= used;
    return true;
}

static struct media media_parse(const char *p, size_t n)
{
    struct media m = {.q = 1};
    const char *piece;
    size_t len;
    bool first = true;
    while (next_piece(&p, &n, ';', &piece, &len)) {
        trim(&piece, &len);
        if (first) {
            m.type = piece;
            m.type_len = len;
        } else {
            param_set(&m, piece, len);
        }
        first = false;
    }
    return m;
}

/* ---- choosing ---- */

static bool value_is(const char *p, size_t n, const char *a, const char *b)
{
    return p == NULL || text_is(p, n, a) || text_is(p, n, b);
}

/* Can we make a CAR with these parameters? We write version 1 in depth-first order, which is as
 * good as "unknown" order. */
static bool car_possible(const struct media *m)
{
    return value_is(m->version, m->version_len, "1", "1") &&
           value_is(m->order, m->order_len, "dfs", "unk") &&
           value_is(m->dups, m->dups_len, "y", "n");
}

struct choice {
    bool found;
    double q;
    enum exchange_format format;
    bool duplicates;
    bool refused; /* a CAR was asked for that we cannot make */
};

static void consider(struct choice *c, const struct media *m)
{
    bool car = text_is(m->type, m->type_len, CAR_TYPE);
    if ((!car && !text_is(m->type, m->type_len, RAW_TYPE)) || m->q <= 0)
        return;
    if (car && !car_possible(m)) {
        c->refused = true;
        return;
    }
    if (c->found && m->q <= c->q)
        return;
    c->found = true;
    c->q = m->q;
    c->format = car ? EXCHANGE_CAR : EXCHANGE_RAW;
    c->duplicates = car && m->dups != NULL && text_is(m->dups, m->dups_len, "y");
}

/* `only`: consider nothing but this format, for ?format= beats Accept yet leaves its parameters. */
static struct choice accept_choose(const char *accept, const enum exchange_format *only)
{
    struct choice c = {.found = false};
    const char *piece;
    size_t left = strlen(accept), n;
    while (next_piece(&accept, &left, ',', &piece, &n)) {
        struct media m = media_parse(piece, n);
        bool car = m.type_len > 0 && text_is(m.type, m.type_len, CAR_TYPE);
        if (m.type_len > 0 && (only == NULL || car == (*only == EXCHANGE_CAR)))
            consider(&c, &m);
    }
    return c;
}

static enum emac_status format_choose(const struct http_request *req, struct exchange_ask *out,
                                      struct emac_err *err)
{
    const char *format = http_query_get(req, "format");
    const char *accept = http_header_get(&req->headers, "accept");
    struct choice c = {.found = false};
    if (format != NULL) {
        out->format_in_query = true;
        out->format = strcmp(format, "car") == 0 ? EXCHANGE_CAR : EXCHANGE_RAW;
        if (out->format == EXCHANGE_RAW && strcmp(format, "raw") != 0)
            return emac_fail(err, EMAC_INVALID, "format '%.40s' is not served: ask for raw or car",
                             format);
    }
    if (accept != NULL)
        c = accept_choose(accept, format != NULL ? &out->format : NULL);
    if (c.found) {
        out->format = c.format;
        out->duplicates = c.duplicates;
    } else if (c.refused) {
        return emac_fail(err, EMAC_INVALID,
                         "'%.100s' is not served: ask for version=1; order=dfs; dups=y or n",
                         accept);
    } else if (format == NULL) {
        return emac_fail(err, EMAC_INVALID,
                         "this is a trustless gateway: ask for " RAW_TYPE " or " CAR_TYPE
                         " in Accept, or ?format=raw or car");
    }
    return EMAC_OK;
}

/* A query parameter that must be one of two words. */
static enum emac_status word_get(const struct http_request *req, const char *name, const char *a,
                                 const char *b, const char **out, struct emac_err *err)
{
    *out = http_query_get(req, name);
    if (*out == NULL || strcmp(*out, a) == 0 || strcmp(*out, b) == 0)
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID, "%s '%.40s' is not served: ask for %s", name, *out, a);
}

static enum emac_status car_params(const struct http_request *req, struct exchange_ask *out,
                                   struct emac_err *err)
{
    static const char *const SCOPES[] = {"block", "entity", "all"};
    const char *word, *scope = http_query_get(req, "dag-scope");
    enum emac_status st;
    EMAC_TRY(st, word_get(req, "car-version", "1", "1", &word, err));
    EMAC_TRY(st, word_get(req, "car-order", "dfs", "unk", &word, err));
    EMAC_TRY(st, word_get(req, "car-dups", "n", "y", &word, err));
    if (word != NULL)
        out->duplicates = word[0] == 'y';
    out->range = http_query_get(req, "entity-bytes");
    out->scope = out->range != NULL ? STORE_SCOPE_ENTITY : STORE_SCOPE_ALL;
    out->scope_given = scope != NULL;
    if (scope == NULL)
        return EMAC_OK;
    for (uint8_t i = 0; i < 3; i++) {
        if (strcmp(scope, SCOPES[i]) != 0)
            continue;
        /* A range implies the entity; only the single block asks for less. */
        if (out->range == NULL || i == STORE_SCOPE_BLOCK)
            out->scope = i;
        return EMAC_OK;
    }
    st = emac_fail(err, EMAC_INVALID,
                   "dag-scope '%.40s' is not served: ask for block, entity or all", scope);
out:
    return st;
}

enum emac_status exchange_ask_parse(const struct http_request *req, struct exchange_ask *out,
                                    struct emac_err *err)
{
    *out = (struct exchange_ask){.scope = STORE_SCOPE_ALL};
    enum emac_status st = format_choose(req, out, err);
    return st == EMAC_OK && out->format == EXCHANGE_CAR ? car_params(req, out, err) : st;
}

/* ---- entity-bytes ---- */

/* "-12" counts from the end; the magnitude and the sign are returned apart. */
static bool bound_parse(const char *p, const char *end, bool *negative, uint64_t *out)
{
    uint64_t v = 0;
    *negative = p < end && *p == '-';
    p += *negative;
    if (p == end)
        return false;
    for (; p < end; p++) {
        if (*p < '0' || *p > '9' || __builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            return false;
    }
    *out = v;
    return true;
}

enum emac_status exchange_range_parse(const char *text, uint64_t size, uint64_t *from, uint64_t *to,
                                      struct emac_err *err)
{
    const char *colon = strchr(text, ':');
    bool from_end = false, to_end = false, ok = colon != NULL;
    uint64_t a = 0, b = 0;
    bool open = ok && strcmp(colon + 1, "*") == 0;
    ok = ok && bound_parse(text, colon, &from_end, &a);
    ok = ok && (open || bound_parse(colon + 1, colon + strlen(colon), &to_end, &b));
    if (!ok)
        return emac_fail(err, EMAC_INVALID,
                         "entity-bytes '%.60s' is not first:last, with numbers (negative: from the "
                         "end) or * for last",
                         text);
    if (from_end)
        a = a < size ? size - a : 0;
    if (open)
        b = size;
    else if (to_end)
        b = b <= size ? size - b + 1 : 0; /* -1 is the last byte */
    else
        b = b < UINT64_MAX ? b + 1 : b;
    *from = a;
    *to = b > size ? size : b;
    if (*to < *from)
        *to = *from;
    return EMAC_OK;
}

#include <string.h>

#include "base/assert.h"
#include "http/server.h"

/* How well one segment of a pattern fits; the first segment that differs decides between routes. */
enum fit { FIT_NONE, FIT_REST, FIT_PARAM, FIT_LITERAL };

#define SEGMENTS_MAX 32

struct match {
    enum fit fit[SEGMENTS_MAX];
    size_t segments;
    struct http_path_params params;
};

static bool param_add(struct match *m, struct arena *a, const char *name, size_t name_n,
                      const char *raw, size_t raw_n)
{
    EMAC_ASSERT(m->params.count < HTTP_PATH_PARAMS_MAX);
    const char *key = arena_strndup(a, name, name_n);
    const char *value = http_percent_decode(a, raw, raw_n, false);
    if (key == NULL || value == NULL)
        return false;
    m->params.at[m->params.count++] = (struct http_header){key, value};
    return true;
}

/* pattern: one segment of pattern_n bytes. */
static enum fit segment_fit(struct match *m, struct arena *a, const char *pattern, size_t pattern_n,
                            const char *raw, size_t raw_n)
{
    if (pattern_n > 2 && pattern[0] == '{') {
        bool rest = pattern[pattern_n - 2] == '*';
        if (raw_n == 0 && !rest)
            return FIT_NONE;
        if (!param_add(m, a, pattern + 1, pattern_n - 2 - rest, raw, raw_n))
            return FIT_NONE;
        return rest ? FIT_REST : FIT_PARAM;
    }
    const char *text = http_percent_decode(a, raw, raw_n, false);
    if (text == NULL || strlen(text) != pattern_n || memcmp(text, pattern, pattern_n) != 0)
        return FIT_NONE;
    return FIT_LITERAL;
}

static bool is_rest(const char *pattern, size_t n)
{
    return n > 3 && pattern[0] == '{' && pattern[n - 2] == '*';
}

/* pattern and raw begin with '/'. */
static bool path_match(struct match *m, struct arena *a, const char *pattern, const char *raw,
                       size_t raw_n)
{
    const char *raw_end = raw + raw_n;
    *m = (struct match){0};
    while (*pattern == '/' && raw < raw_end && *raw == '/') {
        size_t pattern_n = strcspn(++pattern, "/");
        raw++;
        bool rest = is_rest(pattern, pattern_n);
        size_t n = (size_t)(raw_end - raw);
        const char *slash = rest ? NULL : memchr(raw, '/', n);
        if (slash != NULL)
            n = (size_t)(slash - raw);
        if (m->segments == SEGMENTS_MAX)
            return false;
        enum fit fit = segment_fit(m, a, pattern, pattern_n, raw, n);
        if (fit == FIT_NONE)
            return false;
        m->fit[m->segments++] = fit;
        pattern += pattern_n;
        raw += n;
    }
    return *pattern == '\0' && raw == raw_end;
}

static bool better(const struct match *a, const struct match *b)
{
    for (size_t i = 0; i < a->segments && i < b->segments; i++) {
        if (a->fit[i] != b->fit[i])
            return a->fit[i] > b->fit[i];
    }
    return a->segments > b->segments;
}

static bool method_fits(const char *route, const char *method)
{
    return strcmp(route, method) == 0 || (strcmp(method, "HEAD") == 0 && strcmp(route, "GET") == 0);
}

static void allow_add(char *allow, size_t cap, const char *method)
{
    size_t have = strlen(allow);
    if (strstr(allow, method) != NULL || have + strlen(method) + 3 > cap)
        return;
    if (have > 0)
        emac_strcpy(allow + have, cap - have, ", ");
    emac_strcpy(allow + strlen(allow), cap - strlen(allow), method);
}

const struct http_route *http_route_find(const struct http_route *routes, size_t count,
                                         const struct http_request *req,
                                         struct http_path_params *params, char *allow, size_t cap,
                                         struct emac_err *err)
{
    const struct http_route *best = NULL;
    struct match best_match = {0}, m;
    size_t path_n = strcspn(req->target, "?");
    allow[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        if (!path_match(&m, req->arena, routes[i].path, req->target, path_n))
            continue;
        if (!method_fits(routes[i].method, req->method)) {
            allow_add(allow, cap, routes[i].method);
        } else if (best == NULL || better(&m, &best_match)) {
            best = &routes[i];
            best_match = m;
        }
    }
    if (best != NULL) {
        *params = best_match.params;
        allow[0] = '\0';
        return best;
    }
    *params = (struct http_path_params){0};
    if (allow[0] != '\0')
        emac_fail(err, EMAC_INVALID, "'%.200s' does not take %s: use %s", req->path, req->method,
                  allow);
    else
        emac_fail(err, EMAC_NOT_FOUND,
                  "there is nothing at '%.200s': see the list of routes in "
                  "docs/protocol.md",
                  req->path);
    return NULL;
}

const char *http_path_param(const struct http_request *req, const char *name)
{
    for (size_t i = 0; req->params != NULL && i < req->params->count; i++) {
        if (strcmp(req->params->at[i].name, name) == 0)
            return req->params->at[i].value;
    }
    return NULL;
}

/* A request's address from a stranger: decoding, parameters, routes; and the same bytes as a URL.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "http/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const struct http_route ROUTES[] = {
    {"GET", "/", 0, NULL},
    {"GET", "/v1/jobs/{id}", 0, NULL},
    {"POST", "/v1/jobs", 0, NULL},
    {"GET", "/v1/jobs/{id}/{part}", 0, NULL},
    {"GET", "/ipfs/{cid*}", 0, NULL},
    {"GET", "/v1/{a}/x/{b}/y/{c*}", 0, NULL},
};

static void check_target(struct arena *a, const char *text)
{
    struct http_request req = {.method = "GET", .arena = a};
    struct http_path_params params;
    char allow[32];
    struct emac_err err;
    if (http_request_target_set(&req, text, &err) != EMAC_OK)
        return;
    EMAC_ASSERT(strcmp(req.target, text) == 0 && req.path[0] == '/');
    (void)http_query_get(&req, "limit");
    EMAC_ASSERT(http_query_get(&req, "\n") == NULL || strstr(req.query, "%0") != NULL);
    const struct http_route *r =
        http_route_find(ROUTES, EMAC_COUNT(ROUTES), &req, &params, allow, sizeof allow, &err);
    EMAC_ASSERT(r != NULL || (params.count == 0 && err.text[0] != 0));
    req.params = &params;
    if (r != NULL && strcmp(r->path, "/v1/jobs/{id}") == 0) {
        const char *id = http_path_param(&req, "id");
        /* The decoded path ends with the decoded segment. */
        EMAC_ASSERT(id != NULL && id[0] != '\0' && strcmp(req.path + 9, id) == 0);
    }
}

static void check_url(struct arena *a, const char *text)
{
    struct http_url u, again;
    if (http_url_parse(a, text, &u, NULL) != EMAC_OK)
        return;
    EMAC_ASSERT(http_url_parse(a, u.text, &again, NULL) == EMAC_OK);
    EMAC_ASSERT(strcmp(u.text, again.text) == 0 && strcmp(u.authority, again.authority) == 0);
    EMAC_ASSERT(strcmp(u.target, again.target) == 0 && u.port == again.port);
    EMAC_ASSERT(strpbrk(u.text, "\r\n \t#") == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena a;
    char *text = emac_strndup((const char *)data, n);
    arena_init(&a, 4 << 20);
    check_target(&a, text);
    check_url(&a, text);
    arena_release(&a);
    free(text);
    return 0;
}

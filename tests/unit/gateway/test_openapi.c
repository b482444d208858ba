/* docs/api/openapi.yaml describes exactly the routes that are served. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/embed.h"
#include "codec/yaml.h"
#include "coordinator/coordinator.h"
#include "gateway/gateway.h"

extern const struct embedded EMBEDDED_API[];

static json_t *document(void)
{
    json_t *doc = NULL;
    struct emac_err err = {0};
    const char *text = EMBEDDED_API[0].text;
    if (yaml_to_json(text, strlen(text), &doc, &err) != EMAC_OK)
        fail_msg("openapi.yaml: %s", err.text);
    return doc;
}

/* "/v1/models/{model*}" is "/v1/models/{model}" there; methods are in lower case. */
static json_t *operation(json_t *doc, const struct http_route *r)
{
    char path[256], method[16];
    size_t n = 0;
    for (const char *p = r->path; *p != '\0' && n + 1 < sizeof path; p++)
        if (*p != '*')
            path[n++] = *p;
    path[n] = '\0';
    for (n = 0; r->method[n] != '\0' && n + 1 < sizeof method; n++)
        method[n] = (char)tolower((unsigned char)r->method[n]);
    method[n] = '\0';
    return json_object_get(json_object_get(json_object_get(doc, "paths"), path), method);
}

static size_t operations(json_t *doc)
{
    static const char *const METHODS[] = {"get", "post", "put", "delete", "patch", "head"};
    size_t count = 0;
    const char *path;
    json_t *item;
    json_object_foreach(json_object_get(doc, "paths"), path, item)
    {
        for (size_t i = 0; i < sizeof METHODS / sizeof METHODS[0]; i++)
            count += json_object_get(item, METHODS[i]) != NULL;
    }
    return count;
}

static void routes_check(json_t *doc, const struct http_route *r, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (operation(doc, &r[i]) == NULL)
            fail_msg("openapi.yaml lacks %s %s", r[i].method, r[i].path);
}

static void every_route(void **state)
{
    size_t own;
    const struct http_route *routes = coordinator_routes(&own);
    json_t *doc = document();
    routes_check(doc, routes, own);
    routes_check(doc, GATEWAY_ROUTES, GATEWAY_ROUTE_COUNT);
    assert_int_equal(operations(doc), own + GATEWAY_ROUTE_COUNT);
    json_decref(doc);
}

/* Each "$ref" leads somewhere. */
static void refs_check(json_t *doc, json_t *at)
{
    const char *key;
    json_t *v;
    size_t i;
    if (json_is_array(at)) {
        json_array_foreach(at, i, v) refs_check(doc, v);
        return;
    }
    json_object_foreach(at, key, v)
    {
        refs_check(doc, v);
        if (strcmp(key, "$ref") != 0)
            continue;
        char *copy = strdup(json_string_value(v)), *rest = copy;
        json_t *target = doc;
        assert_int_equal(strncmp(copy, "#/", 2), 0);
        for (char *part = strtok_r(copy + 2, "/", &rest); part != NULL;
             part = strtok_r(NULL, "/", &rest))
            target = json_object_get(target, part);
        if (target == NULL)
            fail_msg("openapi.yaml: '%s' leads nowhere", json_string_value(v));
        free(copy);
    }
}

static void every_reference(void **state)
{
    json_t *doc = document();
    refs_check(doc, doc);
    json_decref(doc);
}

/* The codes in the document are those of base/status.h. */
static void every_code(void **state)
{
    json_t *doc = document();
    json_t *schemas = json_object_get(json_object_get(doc, "components"), "schemas");
    json_t *codes = json_object_get(json_object_get(schemas, "StatusText"), "enum");
    assert_int_equal(json_array_size(codes), EMAC_STATUS_COUNT - 1);
    for (int s = EMAC_OK + 1; s < EMAC_STATUS_COUNT; s++) {
        const char *text = json_string_value(json_array_get(codes, (size_t)s - 1));
        assert_string_equal(text, emac_status_text((enum emac_status)s));
    }
    json_decref(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_route),
        cmocka_unit_test(every_reference),
        cmocka_unit_test(every_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

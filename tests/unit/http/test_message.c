/* Addresses, routes, errors: the pure parts. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "http/client_impl.h"
#include "http/server.h"

static int setup(void **state)
{
    static struct arena a;
    arena_init(&a, 8 << 20);
    *state = &a;
    return 0;
}

static int teardown(void **state)
{
    arena_release(*state);
    return 0;
}

static void test_headers(void **state)
{
    struct http_headers h = {0};
    http_header_add(&h, "Content-Type", "a");
    assert_string_equal(http_header_get(&h, "content-TYPE"), "a");
    assert_null(http_header_get(&h, "content"));
    for (int i = 1; i < HTTP_HEADERS_MAX; i++)
        assert_true(http_header_add(&h, "x", "y"));
    assert_false(http_header_add(&h, "x", "y"));
}

static void test_decode(void **state)
{
    static const struct {
        const char *in, *out;
        bool plus;
    } cases[] = {
        {"", "", false},
        {"abc", "abc", false},
        {"a%20b", "a b", false},
        {"%41%7a%7A", "Azz", false},
        {"a+b", "a+b", false},
        {"a+b%2B", "a b+", true},
        {"%C3%A4", "\xc3\xa4", false},
        {"%", NULL, false},
        {"%4", NULL, false},
        {"%4g", NULL, false},
        {"%g4", NULL, false},
        {"%00", NULL, false},
        {"a%0", NULL, true},
        {"%25%", NULL, false},
        {"%+1", NULL, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *got = http_percent_decode(*state, cases[i].in, strlen(cases[i].in), cases[i].plus);
        if (cases[i].out == NULL)
            assert_null(got);
        else
            assert_string_equal(got, cases[i].out);
    }
}

static void test_target(void **state)
{
    struct http_request req = {.arena = *state};
    struct emac_err err;
    assert_int_equal(http_request_target_set(&req, "/a%20b/c?x=1&y=%26&z&x=2&=e", &err), EMAC_OK);
    assert_string_equal(req.path, "/a b/c");
    assert_string_equal(req.query, "x=1&y=%26&z&x=2&=e");
    assert_string_equal(http_query_get(&req, "x"), "1");
    assert_string_equal(http_query_get(&req, "y"), "&");
    assert_string_equal(http_query_get(&req, "z"), "");
    assert_string_equal(http_query_get(&req, ""), "e");
    assert_null(http_query_get(&req, "w"));
    assert_int_equal(http_request_target_set(&req, "/", &err), EMAC_OK);
    assert_string_equal(req.query, "");
    assert_null(http_query_get(&req, "x"));
    static const char *const BAD[] = {"",      "a",  "*",  "http://a/", "/a b", "/\x01", "/\x7f",
                                      "/\xc3", "/#", "/%", "/%0",       "/%00", "/?%00", "/?a=%zz"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++)
        assert_int_equal(http_request_target_set(&req, BAD[i], &err), EMAC_INVALID);
    char big[HTTP_TARGET_MAX + 2];
    memset(big, '/', sizeof big);
    big[sizeof big - 1] = '\0';
    assert_int_equal(http_request_target_set(&req, big, &err), EMAC_INVALID);
    big[sizeof big - 2] = '\0';
    assert_int_equal(http_request_target_set(&req, big, &err), EMAC_OK);
}

static void test_url(void **state)
{
    static const struct {
        const char *in, *text, *authority, *target;
    } cases[] = {
        {"http://Example.COM", "http://example.com/", "example.com", "/"},
        {"HTTP://a:80/b?c#d", "http://a/b?c", "a", "/b?c"},
        {"https://a:443?x", "https://a/?x", "a", "/?x"},
        {"https://a:80/", "https://a:80/", "a:80", "/"},
        {"http://[::1]:7071/x", "http://[::1]:7071/x", "[::1]:7071", "/x"},
        {"http://127.0.0.1:1/../%2e", "http://127.0.0.1:1/../%2e", "127.0.0.1:1", "/../%2e"},
        {"ftp://a", NULL, NULL, NULL},
        {"a", NULL, NULL, NULL},
        {"http://", NULL, NULL, NULL},
        {"http:///x", NULL, NULL, NULL},
        {"http://u@a/", NULL, NULL, NULL},
        {"http://a:b/", NULL, NULL, NULL},
        {"http://a:0/", NULL, NULL, NULL},
        {"http://a:65536/", NULL, NULL, NULL},
        {"http://a:/", NULL, NULL, NULL},
        {"http://[::1/", NULL, NULL, NULL},
        {"http://[]/", NULL, NULL, NULL},
        {"http://a b/", NULL, NULL, NULL},
        {"http://a/b c", NULL, NULL, NULL},
        {"http://a/\xc3", NULL, NULL, NULL},
        {"http://a:1:2/", NULL, NULL, NULL},
        {"http://a/\r\nX: y", NULL, NULL, NULL},
    };
    struct http_url u;
    struct emac_err err;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        enum emac_status st = http_url_parse(*state, cases[i].in, &u, &err);
        assert_int_equal(st, cases[i].text != NULL ? EMAC_OK : EMAC_INVALID);
        if (st != EMAC_OK)
            continue;
        assert_string_equal(u.text, cases[i].text);
        assert_string_equal(u.authority, cases[i].authority);
        assert_string_equal(u.target, cases[i].target);
    }
}

static const struct http_route ROUTES[] = {
    {"GET", "/", 0, NULL},          {"GET", "/a/{x}", 0, NULL},        {"GET", "/a/b", 0, NULL},
    {"GET", "/a/{r*}", 0, NULL},    {"POST", "/a/{x}/c", 0, NULL},     {"PUT", "/a/b/c", 0, NULL},
    {"GET", "/p/{x}/{y}", 0, NULL}, {"DELETE", "/p/{x}/{y}", 0, NULL},
};

static const char *route(struct arena *a, const char *method, const char *target,
                         struct http_request *req, struct http_path_params *params, char *allow)
{
    struct emac_err err;
    *req = (struct http_request){.arena = a, .method = method};
    assert_int_equal(http_request_target_set(req, target, &err), EMAC_OK);
    const struct http_route *r =
        http_route_find(ROUTES, sizeof ROUTES / sizeof ROUTES[0], req, params, allow, 32, &err);
    req->params = params;
    return r != NULL ? r->path : err.status == EMAC_NOT_FOUND ? "404" : "405";
}

static void test_route(void **state)
{
    struct http_request q;
    struct http_path_params p;
    char allow[32];
    assert_string_equal(route(*state, "GET", "/?x", &q, &p, allow), "/");
    assert_string_equal(route(*state, "GET", "/a/b", &q, &p, allow), "/a/b");
    assert_string_equal(route(*state, "HEAD", "/a/b", &q, &p, allow), "/a/b");
    assert_string_equal(route(*state, "GET", "/a/%62", &q, &p, allow), "/a/b");
    assert_string_equal(route(*state, "GET", "/a/z", &q, &p, allow), "/a/{x}");
    assert_string_equal(http_path_param(&q, "x"), "z");
    assert_null(http_path_param(&q, "y"));
    assert_string_equal(route(*state, "GET", "/a/z/y", &q, &p, allow), "/a/{r*}");
    assert_string_equal(http_path_param(&q, "r"), "z/y");
    assert_string_equal(route(*state, "GET", "/a/", &q, &p, allow), "/a/{r*}");
    assert_string_equal(route(*state, "POST", "/a/b/c", &q, &p, allow), "/a/{x}/c");
    assert_string_equal(route(*state, "GET", "/a/b/c", &q, &p, allow), "/a/{r*}");
    assert_string_equal(route(*state, "DELETE", "/a/b/c", &q, &p, allow), "405");
    assert_string_equal(allow, "GET, POST, PUT");
    assert_string_equal(route(*state, "GET", "/p/1%2F2/3", &q, &p, allow), "/p/{x}/{y}");
    assert_string_equal(http_path_param(&q, "x"), "1/2");
    assert_string_equal(http_path_param(&q, "y"), "3");
    assert_string_equal(route(*state, "POST", "/p/1/3", &q, &p, allow), "405");
    assert_string_equal(allow, "GET, DELETE");
    assert_string_equal(route(*state, "GET", "/p/1/3/", &q, &p, allow), "404");
    assert_string_equal(route(*state, "GET", "/p//3", &q, &p, allow), "404");
    assert_string_equal(route(*state, "GET", "//", &q, &p, allow), "404");
    assert_string_equal(route(*state, "GET", "/b", &q, &p, allow), "404");
    assert_string_equal(allow, "");
}

static void test_private_hosts(void **state)
{
    static const char *const PRIVATE[] = {
        "localhost",   "127.0.0.1",   "127.9.9.9", "10.1.2.3",  "172.16.0.1", "172.31.255.1",
        "192.168.1.1", "169.254.1.1", "[::1]",     "[fd00::1]", "[fe80::1]",  "[::ffff:10.0.0.1]"};
    static const char *const PUBLIC[] = {
        "example.com",      "8.8.8.8", "172.32.0.1", "11.0.0.1", "[2001:db8::1]",
        "[::ffff:8.8.8.8]", "[",       "",           "10.0.0"};
    for (size_t i = 0; i < sizeof PRIVATE / sizeof PRIVATE[0]; i++)
        assert_true(http_host_is_private(PRIVATE[i]));
    for (size_t i = 0; i < sizeof PUBLIC / sizeof PUBLIC[0]; i++)
        assert_false(http_host_is_private(PUBLIC[i]));
}

static void test_error_parse(void **state)
{
    static const struct {
        int http;
        const char *body;
        enum emac_status st;
        const char *text;
    } cases[] = {
        {404, "{\"error\":{\"message\":\"no job\",\"code\":\"not_found\"}}", EMAC_NOT_FOUND,
         "no job"},
        {422, "{\"error\":{\"message\":\"nan\",\"code\":\"numeric\"}}", EMAC_NUMERIC, "nan"},
        {429, "{\"error\":{\"message\":\"m\",\"code\":\"ok\"}}", EMAC_BUSY, "m"},
        {503, "{\"error\":{\"message\":\"m\",\"code\":\"else\"}}", EMAC_UNAVAILABLE, "m"},
        {500, "{\"error\":{\"message\":\"m\",\"code\":\"internal\"}}", EMAC_INTERNAL, "m"},
        {400, "{\"error\":{\"message\":\"a\\nb\\u001b[0m\",\"code\":5}}", EMAC_INVALID, "a b [0m"},
        {418, "teapot", EMAC_INVALID, "'u' answered HTTP 418 without saying why"},
        {504, "", EMAC_TIMEOUT, "'u' answered HTTP 504 without saying why"},
        {507, "{\"error\":\"text\"}", EMAC_NO_SPACE, "'u' answered HTTP 507 without saying why"},
        {599, "[]", EMAC_INTERNAL, "'u' answered HTTP 599 without saying why"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct emac_buf body;
        struct emac_err err;
        emac_buf_init(&body, 1000);
        emac_buf_append(&body, cases[i].body, strlen(cases[i].body), NULL);
        assert_int_equal(http_error_parse(cases[i].http, &body, "u", &err), cases[i].st);
        assert_int_equal(err.status, cases[i].st);
        assert_string_equal(err.text, cases[i].text);
        assert_int_equal(http_error_parse(cases[i].http, &body, "u", NULL), cases[i].st);
        emac_buf_release(&body);
    }
}

static void test_sse(void **state)
{
    struct emac_buf b;
    emac_buf_init(&b, 100);
    assert_int_equal(http_sse_event(&b, "a\nb", NULL), EMAC_OK);
    assert_int_equal(http_sse_event(&b, "", NULL), EMAC_OK);
    assert_string_equal(emac_buf_str(&b), "data: a\ndata: b\n\ndata: \n\n");
    emac_buf_release(&b);
    emac_buf_init(&b, 5);
    assert_int_equal(http_sse_event(&b, "a", NULL), EMAC_TOO_LARGE);
    emac_buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers),
        cmocka_unit_test_setup_teardown(test_decode, setup, teardown),
        cmocka_unit_test_setup_teardown(test_target, setup, teardown),
        cmocka_unit_test_setup_teardown(test_url, setup, teardown),
        cmocka_unit_test_setup_teardown(test_route, setup, teardown),
        cmocka_unit_test(test_private_hosts),
        cmocka_unit_test(test_error_parse),
        cmocka_unit_test(test_sse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

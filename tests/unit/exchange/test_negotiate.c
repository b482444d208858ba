/* What a request asks for: tables of Accept, ?format=, ranges. */
#include "fixture.h"

#include "exchange/internal.h"
#include "store/walk.h"

struct row {
    const char *target, *accept;
    const char *want; /* "raw", "car n all", "car y entity 0:*", or "-": refused */
};

static const struct row rows[] = {
    {"/ipfs/x", NULL, "-"},
    {"/ipfs/x", "*/*", "-"},
    {"/ipfs/x", "text/html", "-"},
    {"/ipfs/x", "application/vnd.ipld.raw", "raw"},
    {"/ipfs/x", "Application/VND.ipld.Raw", "raw"},
    {"/ipfs/x", "application/vnd.ipld.rawx", "-"},
    {"/ipfs/x", "application/vnd.ipld.raw;q=0", "-"},
    {"/ipfs/x", "text/html, application/vnd.ipld.raw;q=0.1", "raw"},
    {"/ipfs/x", "application/vnd.ipld.raw;q=0.2, application/vnd.ipld.car;q=0.3", "car n all"},
    {"/ipfs/x", "application/vnd.ipld.raw, application/vnd.ipld.car", "raw"},
    {"/ipfs/x?format=raw", NULL, "raw"},
    {"/ipfs/x?format=car", NULL, "car n all"},
    {"/ipfs/x?format=car", "application/vnd.ipld.raw", "car n all"},
    {"/ipfs/x?format=raw", "application/vnd.ipld.car", "raw"},
    {"/ipfs/x?format=car", "application/vnd.ipld.car; dups=y", "car y all"},
    {"/ipfs/x?format=tar", NULL, "-"},
    {"/ipfs/x?format=", "application/vnd.ipld.raw", "-"},
    {"/ipfs/x", "application/vnd.ipld.car; version=1; order=dfs; dups=n", "car n all"},
    {"/ipfs/x", "application/vnd.ipld.car;version=1;order=unk;dups=y", "car y all"},
    {"/ipfs/x", "application/vnd.ipld.car; dups=\"y\"", "car y all"},
    {"/ipfs/x", "application/vnd.ipld.car; version=2", "-"},
    {"/ipfs/x", "application/vnd.ipld.car; order=foo", "-"},
    {"/ipfs/x", "application/vnd.ipld.car; order=foo, application/vnd.ipld.car;dups=y;q=0.5",
     "car y all"},
    {"/ipfs/x?format=car", "application/vnd.ipld.car; version=2", "-"},
    {"/ipfs/x?format=car&car-dups=y", NULL, "car y all"},
    {"/ipfs/x?format=car&car-dups=n", "application/vnd.ipld.car; dups=y", "car n all"},
    {"/ipfs/x?format=car&car-dups=x", NULL, "-"},
    {"/ipfs/x?format=car&car-version=2", NULL, "-"},
    {"/ipfs/x?format=car&car-order=foo", NULL, "-"},
    {"/ipfs/x?format=car&dag-scope=block", NULL, "car n block"},
    {"/ipfs/x?format=car&dag-scope=entity", NULL, "car n entity"},
    {"/ipfs/x?format=car&dag-scope=most", NULL, "-"},
    {"/ipfs/x?format=car&entity-bytes=0:*", NULL, "car n entity 0:*"},
    {"/ipfs/x?format=car&dag-scope=all&entity-bytes=1:2", NULL, "car n entity 1:2"},
    {"/ipfs/x?format=car&dag-scope=block&entity-bytes=1:2", NULL, "car n block 1:2"},
    {"/ipfs/x?format=raw&dag-scope=nonsense", NULL, "raw"},
};

static void test_ask(void **state)
{
    static const char *const scope[] = {"block", "entity", "all"};
    for (size_t i = 0; i < EMAC_COUNT(rows); i++) {
        struct arena arena;
        struct exchange_ask ask;
        struct emac_err err = {0};
        char got[100];
        arena_init(&arena, 1 << 20);
        struct http_request req = {.method = "GET", .arena = &arena};
        OK(http_request_target_set(&req, rows[i].target, &err));
        if (rows[i].accept != NULL)
            http_header_add(&req.headers, "accept", rows[i].accept);
        enum emac_status st = exchange_ask_parse(&req, &ask, &err);
        if (st != EMAC_OK)
            snprintf(got, sizeof got, "-");
        else if (ask.format == EXCHANGE_RAW)
            snprintf(got, sizeof got, "raw");
        else
            snprintf(got, sizeof got, "car %c %s%s%s", ask.duplicates ? 'y' : 'n', scope[ask.scope],
                     ask.range != NULL ? " " : "", ask.range != NULL ? ask.range : "");
        if (strcmp(got, rows[i].want) != 0)
            fail_msg("%s accept %s: got '%s', want '%s' (%s)", rows[i].target,
                     rows[i].accept != NULL ? rows[i].accept : "none", got, rows[i].want, err.text);
        assert_true(st == EMAC_OK || (st == EMAC_INVALID && strlen(err.text) > 10));
        arena_release(&arena);
    }
}

static void test_range(void **state)
{
    static const struct {
        const char *text;
        uint64_t size, from, to;
        bool ok;
    } table[] = {
        {"0:*", 100, 0, 100, true},     {"0:0", 100, 0, 1, true},
        {"10:19", 100, 10, 20, true},   {"10:1000", 100, 10, 100, true},
        {"-10:*", 100, 90, 100, true},  {"-1000:*", 100, 0, 100, true},
        {"5:-1", 100, 5, 100, true},    {"5:-90", 100, 5, 11, true},
        {"50:-90", 100, 50, 50, true},  {"20:10", 100, 20, 20, true},
        {"100:*", 100, 100, 100, true}, {"200:300", 100, 200, 200, true},
        {"0:*", 0, 0, 0, true},         {"0:18446744073709551615", 100, 0, 100, true},
        {"*:5", 100, 0, 0, false},      {"5", 100, 0, 0, false},
        {":", 100, 0, 0, false},        {"a:b", 100, 0, 0, false},
        {"1:2:3", 100, 0, 0, false},    {"1:", 100, 0, 0, false},
        {"--1:2", 100, 0, 0, false},    {"0:99999999999999999999", 100, 0, 0, false},
        {"", 100, 0, 0, false},
    };
    for (size_t i = 0; i < EMAC_COUNT(table); i++) {
        uint64_t from = 0, to = 0;
        struct emac_err err;
        enum emac_status st = exchange_range_parse(table[i].text, table[i].size, &from, &to, &err);
        if ((st == EMAC_OK) != table[i].ok || from != table[i].from || to != table[i].to)
            fail_msg("'%s' of %llu: %llu..%llu", table[i].text, (unsigned long long)table[i].size,
                     (unsigned long long)from, (unsigned long long)to);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ask), cmocka_unit_test(test_range)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

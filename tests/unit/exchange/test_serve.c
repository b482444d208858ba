/* The gateway's answers, without a network. */
#include "fixture.h"

struct ctx {
    struct store *s;
    struct arena arena;
    struct http_request req;
    struct http_path_params params;
    struct http_response res;
    struct emac_buf body;
    struct emac_err err;
    enum emac_status st;
};

static int setup(void **state)
{
    struct ctx *c = calloc(1, sizeof *c);
    c->s = store_new(NULL);
    arena_init(&c->arena, 1 << 20);
    http_response_init(&c->res);
    emac_buf_init(&c->body, 64 * MIB);
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    struct ctx *c = *state;
    http_response_release(&c->res);
    store_close(c->s);
    arena_release(&c->arena);
    emac_buf_release(&c->body);
    free(c);
    return 0;
}

/* Ask for text (a CID) and read the whole answer into c->body. */
static int ask_text(struct ctx *c, const char *method, const char *text, const char *query,
                    const char *header, const char *value)
{
    char target[300];
    struct emac_err err;
    http_response_release(&c->res);
    http_response_init(&c->res);
    emac_buf_clear(&c->body);
    c->req = (struct http_request){.method = method, .arena = &c->arena, .params = &c->params};
    snprintf(target, sizeof target, "/ipfs/%s%s", text, query);
    OK(http_request_target_set(&c->req, target, &err));
    c->params = (struct http_path_params){.count = 1, .at = {{"cid", text}}};
    if (header != NULL)
        http_header_add(&c->req.headers, header, value);
    c->err = (struct emac_err){0};
    c->st = exchange_serve(c->s, &c->req, &c->res, &c->err);
    if (c->st != EMAC_OK)
        return emac_status_http(c->st);
    if (c->res.stream == NULL) {
        emac_buf_append(&c->body, c->res.body.data, c->res.body.len, NULL);
    } else {
        struct emac_buf chunk;
        bool more = true;
        emac_buf_init(&chunk, 16 * MIB);
        while (more) {
            emac_buf_clear(&chunk);
            more = c->res.stream(c->res.stream_ctx, &chunk);
            emac_buf_append(&c->body, chunk.data, chunk.len, NULL);
        }
        emac_buf_release(&chunk);
        if (c->res.content_length >= 0) /* a stream that says its length keeps it */
            assert_int_equal(c->res.content_length, c->body.len);
    }
    return c->res.status;
}

static int ask(struct ctx *c, const struct cid *cid, const char *query)
{
    char text[CID_TEXT_MAX];
    cid_text(text, cid);
    return ask_text(c, "GET", text, query, NULL, NULL);
}

static const char *header(struct ctx *c, const char *name)
{
    const char *v = http_header_get(&c->res.headers, name);
    return v != NULL ? v : "";
}

struct count {
    struct cid cid[3000];
    size_t n;
};

static enum emac_status count_block(void *ctx, const struct cid *cid, const void *data, size_t n,
                                    struct emac_err *err)
{
    struct count *count = ctx;
    assert_true(count->n < EMAC_COUNT(count->cid));
    count->cid[count->n++] = *cid;
    return EMAC_OK;
}

static size_t car_blocks(struct ctx *c, struct count *count)
{
    struct emac_err err;
    struct car_reader *r;
    count->n = 0;
    OK(car_reader_new(&r, count_block, count, &err));
    OK(car_reader_push(r, c->body.data, c->body.len, &err));
    OK(car_reader_end(r, &err));
    return count->n;
}

static void test_raw(void **state)
{
    struct ctx *c = *state;
    char text[CID_TEXT_MAX], want[200];
    struct cid cid = block_add(c->s, 1000, 1);
    cid_text(text, &cid);
    assert_int_equal(ask(c, &cid, "?format=raw"), 200);
    struct cid is = cid_of(CID_RAW, c->body.data, c->body.len);
    assert_true(cid_equal(&is, &cid));
    assert_string_equal(c->res.content_type, "application/vnd.ipld.raw");
    snprintf(want, sizeof want, "attachment; filename=\"%s.bin\"", text);
    assert_string_equal(header(c, "content-disposition"), want);
    snprintf(want, sizeof want, "\"%s.raw\"", text);
    assert_string_equal(header(c, "etag"), want);
    assert_string_equal(header(c, "x-content-type-options"), "nosniff");
    assert_non_null(strstr(header(c, "cache-control"), "immutable"));
    assert_string_equal(header(c, "content-location"), "");

    assert_int_equal(ask_text(c, "GET", text, "", "Accept", "application/vnd.ipld.raw"), 200);
    snprintf(want, sizeof want, "/ipfs/%s?format=raw", text);
    assert_string_equal(header(c, "content-location"), want);

    assert_int_equal(ask_text(c, "HEAD", text, "?format=raw", NULL, NULL), 200);
    assert_int_equal(c->res.content_length, 1000);
    assert_int_equal(c->body.len, 0);
}

static void test_conditions(void **state)
{
    struct ctx *c = *state;
    char text[CID_TEXT_MAX], etag[200];
    struct cid cid = block_add(c->s, 1000, 1), absent = cid_of(CID_RAW, "?", 1);
    cid_text(text, &cid);
    snprintf(etag, sizeof etag, "\"zzz\", W/\"%s.raw\"", text);
    assert_int_equal(ask_text(c, "GET", text, "?format=raw", "If-None-Match", etag), 304);
    assert_int_equal(c->body.len, 0);
    assert_string_not_equal(header(c, "etag"), "");
    assert_int_equal(ask_text(c, "GET", text, "?format=raw", "If-None-Match", "*"), 304);
    assert_int_equal(ask_text(c, "GET", text, "?format=car", "If-None-Match", etag), 200);
    snprintf(etag, sizeof etag, "\"%s.raw", text); /* not closed: no tag */
    assert_int_equal(ask_text(c, "GET", text, "?format=raw", "If-None-Match", etag), 200);

    assert_int_equal(ask(c, &absent, "?format=raw"), 404);
    assert_int_equal(ask(c, &absent, "?format=car"), 404);
    cid_text(text, &absent);
    assert_int_equal(ask_text(c, "HEAD", text, "?format=car", NULL, NULL), 404);
    assert_int_equal(ask_text(c, "GET", text, "?format=raw", "Cache-Control", "only-if-cached"),
                     412);
    assert_int_equal(ask(c, &cid, ""), 400);
    assert_int_equal(ask_text(c, "GET", "bafynonsense", "?format=raw", NULL, NULL), 400);
    assert_int_equal(ask_text(c, "GET", "Qm", "?format=raw", NULL, NULL), 400);
    /* An identity CID other than the probe's is none we serve. */
    assert_int_equal(ask_text(c, "GET", "bafkqabtimvwgy3yk", "?format=raw", NULL, NULL), 400);
}

static void test_probe(void **state)
{
    struct ctx *c = *state;
    static const uint8_t car[] = "\x19\xa2"
                                 "eroots\x81\xd8\x2a\x45\0\x01\x55\0\0"
                                 "gversion\x01";
    assert_int_equal(ask_text(c, "GET", "bafkqaaa", "?format=raw", NULL, NULL), 200);
    assert_int_equal(c->body.len, 0);
    assert_int_equal(ask_text(c, "HEAD", "bafkqaaa", "?format=raw", NULL, NULL), 200);
    assert_int_equal(ask_text(c, "GET", "bafkqaaa", "?format=car", NULL, NULL), 200);
    assert_int_equal(c->body.len, sizeof car - 1);
    assert_memory_equal(c->body.data, car, sizeof car - 1);
}

static void test_car(void **state)
{
    struct ctx *c = *state;
    static struct count count;
    size_t n = 3 * MIB + 500000;
    struct cid cid = value_add(c->s, n, 2);
    assert_int_equal(ask(c, &cid, "?format=car"), 200);
    assert_string_equal(c->res.content_type,
                        "application/vnd.ipld.car; version=1; order=dfs; dups=n");
    assert_int_equal(car_blocks(c, &count), 5);
    assert_true(cid_equal(&count.cid[0], &cid));
    assert_true(c->res.content_length > (int64_t)n);
    assert_int_equal(ask(c, &cid, "?format=car&dag-scope=block"), 200);
    assert_int_equal(car_blocks(c, &count), 1);
    assert_int_equal(ask(c, &cid, "?format=car&dag-scope=entity"), 200);
    assert_int_equal(car_blocks(c, &count), 5);
    static const struct {
        const char *range;
        size_t blocks;
    } ranges[] = {
        {"0:0", 2},        {"0:1048575", 2},          {"0:1048576", 3}, {"1048576:1048576", 2},
        {"-1:*", 2},       {"-600000:*", 3},          {"0:*", 5},       {"3:2", 1},
        {"1048575:-1", 5}, {"1048575:99999999999", 5}};
    char query[100];
    for (size_t i = 0; i < EMAC_COUNT(ranges); i++) {
        snprintf(query, sizeof query, "?format=car&entity-bytes=%s", ranges[i].range);
        assert_int_equal(ask(c, &cid, query), 200);
        if (car_blocks(c, &count) != ranges[i].blocks)
            fail_msg("%s: %zu blocks", ranges[i].range, count.n);
        assert_non_null(strstr(header(c, "etag"), ranges[i].range));
    }
    assert_int_equal(ask(c, &cid, "?format=car&entity-bytes=4000000:*"), 400);
    assert_int_equal(ask(c, &cid, "?format=car&entity-bytes=x"), 400);
    assert_int_equal(ask_text(c, "HEAD", "bafkqaaa", "?format=car", NULL, NULL), 200);
    char text[CID_TEXT_MAX];
    cid_text(text, &cid);
    assert_int_equal(ask(c, &cid, "?format=car"), 200);
    int64_t length = c->res.content_length;
    assert_int_equal(ask_text(c, "HEAD", text, "?format=car", NULL, NULL), 200);
    assert_int_equal(c->res.content_length, length);
    assert_int_equal(c->body.len, 0);
}

static void test_duplicates(void **state)
{
    struct ctx *c = *state;
    static struct count count;
    struct emac_err err;
    const struct store_value *v;
    uint8_t *zeros;
    OK(emac_alloc_aligned(&zeros, 4 * MIB, &err));
    memset(zeros, 0, 4 * MIB);
    OK(store_value_adopt(c->s, zeros, 4 * MIB, &v, &err));
    assert_int_equal(ask(c, &v->cid, "?format=car"), 200);
    assert_int_equal(car_blocks(c, &count), 2);
    assert_int_equal(ask(c, &v->cid, "?format=car&car-dups=y"), 200);
    assert_int_equal(car_blocks(c, &count), 5);
    assert_string_equal(c->res.content_type,
                        "application/vnd.ipld.car; version=1; order=dfs; dups=y");
    store_value_drop(c->s, v);
}

/* A DAG with a hole: the connection must not look as if all went well. */
static void test_hole(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    struct store *other = store_new(NULL);
    struct emac_buf block;
    struct cid cid = value_add(other, 2 * MIB, 3);
    emac_buf_init(&block, UNIXFS_BLOCK_MAX);
    OK(store_block_get(other, &cid, &block, &err));
    OK(store_block_put_as(c->s, &cid, block.data, block.len, &err));
    char text[CID_TEXT_MAX], target[100];
    cid_text(text, &cid);
    c->req = (struct http_request){.method = "GET", .arena = &c->arena, .params = &c->params};
    snprintf(target, sizeof target, "/ipfs/%s?format=car", text);
    OK(http_request_target_set(&c->req, target, &err));
    c->params = (struct http_path_params){.count = 1, .at = {{"cid", text}}};
    OK(exchange_serve(c->s, &c->req, &c->res, &err));
    emac_buf_clear(&block);
    while (c->res.stream(c->res.stream_ctx, &block))
        ;
    assert_true((int64_t)block.len < c->res.content_length);
    emac_buf_release(&block);
    store_close(other);
}

static void test_other_dags(void **state)
{
    struct ctx *c = *state;
    static struct count count;
    struct emac_err err;
    struct cid leaf = block_add(c->s, 10, 1), dir, cbor;
    struct unixfs_link link = {.cid = leaf, .name = "a", .tsize = 10};
    struct emac_buf block;
    uint64_t tree_size;
    emac_buf_init(&block, UNIXFS_DIR_MAX);
    OK(unixfs_directory(&link, 1, &block, &dir, &tree_size, &err));
    OK(store_block_put(c->s, CID_DAG_PB, block.data, block.len, &dir, &err));
    OK(store_block_put(c->s, CID_DAG_CBOR, "\xa0", 1, &cbor, &err));
    assert_int_equal(ask(c, &dir, "?format=car"), 200);
    assert_int_equal(car_blocks(c, &count), 2);
    assert_int_equal(ask(c, &dir, "?format=car&dag-scope=entity"), 200);
    assert_int_equal(car_blocks(c, &count), 1);
    assert_int_equal(ask(c, &dir, "?format=car&entity-bytes=5:6"), 200); /* ignored: no bytes */
    assert_int_equal(car_blocks(c, &count), 1);
    assert_int_equal(ask(c, &cbor, "?format=car"), 200);
    assert_int_equal(car_blocks(c, &count), 1);
    emac_buf_release(&block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_raw, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conditions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_probe, setup, teardown),
        cmocka_unit_test_setup_teardown(test_car, setup, teardown),
        cmocka_unit_test_setup_teardown(test_duplicates, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_dags, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

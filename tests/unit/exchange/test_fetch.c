/* Fetching from honest and from hostile peers, over real sockets. */
#include "fixture.h"

#include "codec/dagcbor.h"

#define N (5 * MIB + 12345)

struct ctx {
    struct store *source, *sink;
    struct http_client *http;
    char dir[64];
    struct cid cid; /* of a file of N bytes in source */
    uint64_t bytes;
};

static int setup(void **state)
{
    struct ctx *c = calloc(1, sizeof *c);
    struct emac_err err;
    strcpy(c->dir, "/tmp/emac-test-XXXXXX");
    assert_non_null(mkdtemp(c->dir));
    c->source = store_new(NULL);
    c->sink = store_new(c->dir);
    c->cid = value_add(c->source, N, 1);
    OK(http_client_new(&c->http, &err));
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    struct ctx *c = *state;
    http_client_free(c->http);
    store_close(c->source);
    store_close(c->sink);
    remove_tree(c->dir);
    free(c);
    return 0;
}

static void sink_reset(struct ctx *c)
{
    store_close(c->sink);
    remove_tree(c->dir);
    c->sink = store_new(c->dir);
    c->bytes = 0;
}

static enum emac_status fetch(struct ctx *c, struct peer *const *peer, size_t count, bool memory,
                              uint64_t max, struct emac_err *err)
{
    struct exchange_source source[4];
    for (size_t i = 0; i < count; i++)
        source[i].base_url = peer[i]->url;
    return exchange_fetch(c->sink, c->http, &c->cid, source, count, memory, max, &c->bytes, err);
}

static void expect_file(struct ctx *c, bool memory)
{
    struct emac_err err;
    const struct store_value *v;
    struct store_stats stats;
    uint8_t *want = random_bytes(N, 1);
    store_stats(c->sink, &stats);
    if (memory)
        assert_int_equal(stats.disk_blocks, 0);
    OK(store_value_get(c->sink, &c->cid, N, &v, &err));
    assert_int_equal(v->size, N);
    assert_memory_equal(v->data, want, N);
    store_value_drop(c->sink, v);
    free(want);
}

static void test_honest(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    struct peer p;
    struct peer *const one[] = {&p};
    peer_start(&p, c->source, HONEST);
    for (int memory = 0; memory < 2; memory++) {
        sink_reset(c);
        atomic_store(&p.requests, 0);
        OK(fetch(c, one, 1, memory, N, &err));
        expect_file(c, memory);
        assert_int_equal(atomic_load(&p.requests), 1);
        assert_true(c->bytes > N && c->bytes < N + N / 100);
        uint64_t before = c->bytes;
        OK(fetch(c, one, 1, memory, N, &err)); /* nothing more to fetch */
        assert_int_equal(c->bytes, before);
        assert_int_equal(atomic_load(&p.requests), 1);
        assert_int_equal(fetch(c, one, 0, memory, N, &err), EMAC_OK);
    }
    sink_reset(c);
    assert_int_equal(fetch(c, one, 1, true, N - 1, &err), EMAC_TOO_LARGE);
    assert_int_equal(fetch(c, one, 1, false, N - 1, &err), EMAC_TOO_LARGE);
    sink_reset(c);
    assert_int_equal(fetch(c, one, 0, true, N, &err), EMAC_UNAVAILABLE);
    c->cid = cid_of(CID_DAG_PB, "nobody has me", 13);
    assert_int_equal(fetch(c, one, 1, true, N, &err), EMAC_NOT_FOUND);
    assert_int_equal(fetch(c, one, 1, false, N, &err), EMAC_NOT_FOUND);
    peer_stop(&p);
}

static void test_small_things(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    struct peer p;
    struct peer *const one[] = {&p};
    struct store_value const *v;
    peer_start(&p, c->source, HONEST);
    static const size_t sizes[] = {0, 1, 1000, MIB, MIB + 1};
    for (size_t i = 0; i < EMAC_COUNT(sizes); i++) {
        for (int memory = 0; memory < 2; memory++) {
            sink_reset(c);
            c->cid = value_add(c->source, sizes[i], 50 + i);
            OK(fetch(c, one, 1, memory, sizes[i], &err));
            OK(store_value_get(c->sink, &c->cid, sizes[i], &v, &err));
            assert_int_equal(v->size, sizes[i]);
            store_value_drop(c->sink, v);
        }
    }
    /* dag-cbor with links, and a directory: kept as blocks, asked to memory or not. */
    struct cid leaf = block_add(c->source, 10, 1);
    struct unixfs_link link = {.cid = leaf, .name = "a", .tsize = 10};
    struct emac_buf block;
    uint64_t tree_size;
    emac_buf_init(&block, UNIXFS_DIR_MAX);
    OK(unixfs_directory(&link, 1, &block, &c->cid, &tree_size, &err));
    OK(store_block_put(c->source, CID_DAG_PB, block.data, block.len, &c->cid, &err));
    OK(fetch(c, one, 1, true, MIB, &err));
    assert_true(store_block_has(c->sink, &leaf, NULL));
    struct exchange_source source = {p.url};
    assert_int_equal(
        exchange_fetch_value(c->sink, c->http, &c->cid, &source, 1, MIB, &v, &c->bytes, &err),
        EMAC_INVALID);
    OK(fetch(c, one, 1, true, MIB, &err));
    OK(store_block_put(c->source, CID_DAG_CBOR, "\xa0", 1, &c->cid, &err));
    OK(fetch(c, one, 1, true, MIB, &err));
    assert_true(store_block_has(c->sink, &c->cid, NULL));
    emac_buf_release(&block);
    peer_stop(&p);
}

/* Whatever a peer does, a second, honest one makes good, and nothing false is kept. */
static void test_hostile(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    for (enum misdeed m = WRONG_BYTES; m <= BROKEN; m++) {
        struct peer bad, good;
        struct peer *const both[] = {&bad, &good};
        peer_start(&bad, c->source, m);
        peer_start(&good, c->source, HONEST);
        bad.cut_at = 2 * MIB + 5000;
        for (int memory = 0; memory < 2; memory++) {
            sink_reset(c);
            atomic_store(&bad.sent, 0);
            OK(fetch(c, both, 2, memory, 2 * N, &err));
            expect_file(c, memory);
            assert_true(c->bytes < 4 * N);
            assert_true(atomic_load(&bad.sent) < 30 * MIB); /* left before long */
        }
        peer_stop(&bad);
        peer_stop(&good);
    }
}

static void test_hostile_alone(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    for (enum misdeed m = WRONG_BYTES; m <= BROKEN; m++) {
        struct peer bad;
        struct peer *const one[] = {&bad};
        struct store_stats stats;
        if (m == CUT || m == PARTIAL_END || m == RAW_ONLY)
            continue; /* these can be lived with, see below */
        peer_start(&bad, c->source, m);
        for (int memory = 0; memory < 2; memory++) {
            sink_reset(c);
            enum emac_status st = fetch(c, one, 1, memory, 2 * N, &err);
            if (st != EMAC_UNAVAILABLE)
                fail_msg("misdeed %d: %s: %s", m, emac_status_text(st), err.text);
            assert_non_null(strstr(err.text, "http://127.0.0.1:")); /* names the peer */
            store_stats(c->sink, &stats);
            assert_int_equal(stats.values, 0);
        }
        peer_stop(&bad);
    }
}

/* A connection that breaks again and again: each time it goes on where it was. */
static void test_resume(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    static const enum misdeed how[] = {CUT, PARTIAL_END};
    for (size_t i = 0; i < 2; i++) {
        for (int memory = 0; memory < 2; memory++) {
            struct peer p;
            struct peer *const one[] = {&p};
            peer_start(&p, c->source, how[i]);
            p.cut_at = 2 * MIB + 1000;
            sink_reset(c);
            OK(fetch(c, one, 1, memory, N, &err));
            expect_file(c, memory);
            assert_true(c->bytes < 2 * N);
            assert_in_range(atomic_load(&p.requests), 3, 6);
            peer_stop(&p);
        }
    }
}

/* Peers that have some blocks each; one that speaks no CARs. */
static void test_partial(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    uint8_t *data = random_bytes(N, 1);
    struct store *half[2] = {store_new(NULL), store_new(NULL)};
    struct emac_buf root;
    emac_buf_init(&root, UNIXFS_BLOCK_MAX);
    OK(store_block_get(c->source, &c->cid, &root, &err));
    for (size_t i = 0; i * MIB < N; i++) {
        size_t n = N - i * MIB < MIB ? N - i * MIB : MIB;
        struct cid leaf;
        OK(store_block_put(half[i % 2], CID_RAW, data + i * MIB, n, &leaf, &err));
    }
    struct cid cid;
    OK(store_block_put(half[0], CID_DAG_PB, root.data, root.len, &cid, &err));
    for (int raw = 0; raw < 2; raw++) {
        struct peer p[2];
        struct peer *const both[] = {&p[0], &p[1]};
        peer_start(&p[0], half[0], raw ? RAW_ONLY : HONEST);
        peer_start(&p[1], half[1], raw ? RAW_ONLY : HONEST);
        for (int memory = 0; memory < 2; memory++) {
            sink_reset(c);
            OK(fetch(c, both, 2, memory, N, &err));
            expect_file(c, memory);
            assert_true(c->bytes < N + MIB);
        }
        peer_stop(&p[0]);
        peer_stop(&p[1]);
    }
    store_close(half[0]);
    store_close(half[1]);
    emac_buf_release(&root);
    free(data);
}

/* What is here already is not fetched again, even if it is damaged. */
static void test_local_parts(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    struct peer p;
    struct peer *const one[] = {&p};
    uint8_t *data = random_bytes(N, 1);
    peer_start(&p, c->source, HONEST);
    for (int memory = 0; memory < 2; memory++) {
        sink_reset(c);
        struct cid leaf[3];
        for (size_t i = 0; i < 3; i++)
            OK(store_block_put(c->sink, CID_RAW, data + i * MIB, MIB, &leaf[i], &err));
        char text[CID_TEXT_MAX], path[256];
        cid_text(text, &leaf[1]);
        size_t n = strlen(text);
        snprintf(path, sizeof path, "%s/blocks/%c%c/%s", c->dir, text[n - 3], text[n - 2], text);
        assert_int_equal(truncate(path, 5), 0);
        struct emac_buf root;
        emac_buf_init(&root, UNIXFS_BLOCK_MAX);
        OK(store_block_get(c->source, &c->cid, &root, &err));
        OK(store_block_put_as(c->sink, &c->cid, root.data, root.len, &err));
        emac_buf_release(&root);
        if (!memory) {
            store_close(c->sink); /* so that the index sees the cut file */
            c->sink = store_new(c->dir);
        }
        OK(fetch(c, one, 1, memory, N, &err));
        assert_in_range(c->bytes, N - 2 * MIB, N - 2 * MIB + 100000);
        const struct store_value *v;
        OK(store_value_get(c->sink, &c->cid, N, &v, &err));
        assert_memory_equal(v->data, data, N);
        store_value_drop(c->sink, v);
    }
    peer_stop(&p);
    free(data);
}

/* A store too small for it: a plain refusal, not an endless exchange. */
/* A block of two links to one other. */
static struct cid twice(struct store *s, const struct cid *to)
{
    struct emac_err err;
    struct emac_buf buf;
    struct dagcbor_writer w;
    struct cid cid;
    emac_buf_init(&buf, 1024);
    dagcbor_writer_init(&w, &buf);
    dagcbor_list(&w, 2);
    dagcbor_cid(&w, to);
    dagcbor_cid(&w, to);
    OK(dagcbor_writer_end(&w, &err));
    OK(store_block_put(s, CID_DAG_CBOR, buf.data, buf.len, &cid, &err));
    emac_buf_release(&buf);
    return cid;
}

/* FET-5: forty blocks that are here already, and 2^40 ways through them. */
static void test_many_ways(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    struct peer p;
    struct peer *const one[] = {&p};
    struct cid missing;
    size_t count;
    struct cid here = block_add(c->source, 100, 9), there = block_add(c->sink, 100, 9);
    assert_true(cid_equal(&here, &there));
    for (int i = 0; i < 40; i++) {
        twice(c->sink, &here);
        here = twice(c->source, &here);
    }
    c->cid = twice(c->source, &here);
    peer_start(&p, c->source, HONEST);
    OK(fetch(c, one, 1, false, N, &err));
    OK(store_dag_missing(c->sink, &c->cid, &missing, 1, &count, &err));
    assert_int_equal(count, 0);
    peer_stop(&p);
}

static void test_no_space(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    struct peer p;
    struct peer *const one[] = {&p};
    struct store_config cfg = {
        .os = os_real(), .disk_quota = 3 * MIB, .memory_quota = MIB, .hash_threads = 1};
    peer_start(&p, c->source, HONEST);
    store_close(c->sink);
    OK(store_open(&cfg, &c->sink, &err));
    assert_int_equal(fetch(c, one, 1, false, N, &err), EMAC_NO_SPACE);
    assert_int_equal(atomic_load(&p.requests), 1);
    /* To memory, the value outlives the small quota as long as it is held. */
    const struct store_value *v;
    struct exchange_source source = {p.url};
    OK(exchange_fetch_value(c->sink, c->http, &c->cid, &source, 1, N, &v, &c->bytes, &err));
    assert_int_equal(v->size, N);
    store_value_drop(c->sink, v);
    peer_stop(&p);
}

static void test_nobody_there(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    struct exchange_source source[] = {{"http://127.0.0.1:1"}, {"not a url"}};
    assert_int_equal(exchange_fetch(c->sink, c->http, &c->cid, source, 2, true, N, &c->bytes, &err),
                     EMAC_UNAVAILABLE);
    assert_int_equal(c->bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_honest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_small_things, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resume, setup, teardown),
        cmocka_unit_test_setup_teardown(test_partial, setup, teardown),
        cmocka_unit_test_setup_teardown(test_local_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_space, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nobody_there, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Uploads to a depot: whole, broken off and resumed, refused. */
#include "fixture.h"

#define N (20 * MIB + 77)

struct ctx {
    struct store *mine, *depot;
    struct http_client *http;
    struct cid cid;
    uint64_t bytes;
};

static int setup(void **state)
{
    struct ctx *c = calloc(1, sizeof *c);
    struct emac_err err;
    c->mine = store_new(NULL);
    c->depot = store_new(NULL);
    c->cid = value_add(c->mine, N, 1);
    OK(http_client_new(&c->http, &err));
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    struct ctx *c = *state;
    http_client_free(c->http);
    store_close(c->mine);
    store_close(c->depot);
    free(c);
    return 0;
}

static enum emac_status push(struct ctx *c, struct peer *p, struct emac_err *err)
{
    return exchange_push(c->mine, c->http, &c->cid, p->url, NULL, &c->bytes, err);
}

static void test_push(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    struct peer p;
    const struct store_value *v;
    peer_start(&p, c->depot, HONEST);
    OK(push(c, &p, &err));
    assert_int_equal(atomic_load(&p.uploads), 2);
    assert_in_range(c->bytes, N, N + 10000);
    assert_true(store_pinned(c->depot, &c->cid));
    OK(store_value_get(c->depot, &c->cid, N, &v, &err));
    store_value_drop(c->depot, v);
    OK(push(c, &p, &err)); /* nothing but a header goes over */
    assert_true(c->bytes < N + 20000);
    peer_stop(&p);
}

/* There by chance, unpinned: a push still makes it stay. */
static void test_pin_only(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    struct peer p;
    peer_start(&p, c->depot, HONEST);
    c->cid = block_add(c->mine, 100, 5);
    block_add(c->depot, 100, 5);
    OK(push(c, &p, &err));
    assert_true(store_pinned(c->depot, &c->cid));
    peer_stop(&p);
}

static void test_resume(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    struct peer p;
    peer_start(&p, c->depot, CUT);
    p.cut_at = 1;
    assert_int_equal(push(c, &p, &err), EMAC_UNAVAILABLE);
    assert_false(store_pinned(c->depot, &c->cid));
    uint64_t first = c->bytes;
    assert_in_range(first, 14 * MIB, 16 * MIB);
    p.misdeed = HONEST;
    OK(push(c, &p, &err));
    assert_in_range(c->bytes, N, N + 10000);
    assert_true(store_pinned(c->depot, &c->cid));
    peer_stop(&p);
}

static void test_refusals(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    struct peer p;
    /* A depot that says yes and keeps nothing. */
    peer_start(&p, c->depot, NOTHING);
    assert_int_equal(push(c, &p, &err), EMAC_UNAVAILABLE);
    peer_stop(&p);
    /* Something we do not have ourselves. */
    peer_start(&p, c->depot, HONEST);
    c->cid = cid_of(CID_DAG_PB, "?", 1);
    assert_int_equal(push(c, &p, &err), EMAC_NOT_FOUND);
    peer_stop(&p);
}

/* A depot that names a block of ours that is no part of what we upload does not get it. */
static void test_a_curious_depot(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    struct peer p;
    peer_start(&p, c->depot, CURIOUS);
    p.wanted = block_add(c->mine, 100, 5);
    assert_int_equal(push(c, &p, &err), EMAC_CORRUPT);
    assert_non_null(strstr(err.text, "no part of"));
    assert_int_equal(atomic_load(&p.uploads), 0);
    assert_false(store_block_has(c->depot, &p.wanted, NULL));
    peer_stop(&p);
}

struct car {
    struct emac_buf buf;
    struct store *s;
};

static enum emac_status car_add(void *ctx, const struct cid *cid, bool present)
{
    struct car *car = ctx;
    struct emac_buf block;
    emac_buf_init(&block, UNIXFS_BLOCK_MAX);
    assert_int_equal(store_block_get(car->s, cid, &block, NULL), EMAC_OK);
    assert_int_equal(car_section_prefix(&car->buf, cid, block.len, NULL), EMAC_OK);
    assert_int_equal(emac_buf_append(&car->buf, block.data, block.len, NULL), EMAC_OK);
    emac_buf_release(&block);
    return EMAC_OK;
}

static void test_receive(void **state)
{
    struct ctx *c = *state;
    struct emac_err err;
    struct cid small = value_add(c->mine, 2 * MIB + 5, 9);
    struct car car = {.s = c->mine};
    emac_buf_init(&car.buf, 16 * MIB);
    OK(car_header(&car.buf, &small, &err));
    OK(store_dag_walk(c->mine, &small, car_add, &car, &err));
    /* Cut short: nothing is pinned, the sentence says why. */
    assert_int_equal(
        exchange_receive_car(c->depot, &small, EMAC_SLICE(car.buf.data, MIB + 5000), "p", &err),
        EMAC_CORRUPT);
    assert_int_equal(exchange_receive_car(c->depot, &small, EMAC_SLICE(NULL, 0), "p", &err),
                     EMAC_CORRUPT);
    struct emac_buf head;
    emac_buf_init(&head, 1000);
    OK(car_header(&head, &small, &err));
    assert_int_equal(exchange_receive_car(c->depot, &small, emac_buf_slice(&head), "p", &err),
                     EMAC_INVALID);
    assert_false(store_pinned(c->depot, &small));
    OK(exchange_receive_car(c->depot, &small, emac_buf_slice(&car.buf), "p", &err));
    assert_true(store_pinned(c->depot, &small));
    car.buf.data[car.buf.len - 1] ^= 1;
    assert_int_equal(exchange_receive_car(c->depot, &small, emac_buf_slice(&car.buf), "q", &err),
                     EMAC_CORRUPT);
    emac_buf_release(&head);
    emac_buf_release(&car.buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_push, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pin_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resume, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_curious_depot, setup, teardown),
        cmocka_unit_test_setup_teardown(test_receive, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

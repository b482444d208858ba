/* The series of a job: what is written when, how it is read, what going back does to it; and how
 * busy rigs are. The made-up loss of step s (from 0) is 5 - s / 100, a liar's 9. */
#include "base/assert.h"
#include "harness.h"

static json_t *metrics(struct net *n, const char *query)
{
    char path[160];
    snprintf(path, sizeof(path), "/v1/jobs/%s/metrics%s", n->job, query);
    return get(n, path);
}

/* Rows of one series; *last (may be NULL) is the step of the last. They must rise. */
static size_t series_count(json_t *reply, const char *name, int64_t *last)
{
    json_t *row;
    size_t i, count = 0;
    int64_t step = -1;
    json_array_foreach(json_object_get(reply, "metrics"), i, row)
    {
        if (strcmp(str_of(row, "name"), name) != 0)
            continue;
        assert_true(int_of(row, "step") > step);
        step = int_of(row, "step");
        count++;
    }
    if (last)
        *last = step;
    return count;
}

static double value_at(json_t *reply, const char *name, int64_t step)
{
    json_t *row;
    size_t i;
    json_array_foreach(json_object_get(reply, "metrics"), i, row)
    {
        if (strcmp(str_of(row, "name"), name) == 0 && int_of(row, "step") == step)
            return json_number_value(json_object_get(row, "value"));
    }
    fail_msg("no '%s' of step %d", name, (int)step);
    return 0;
}

static void assert_near(double a, double b)
{
    if (!(a - b < 1e-6 && b - a < 1e-6))
        fail_msg("%.9g is not %.9g", a, b);
}

static void a_row_a_step(void **state)
{
    struct net n = {0};
    int64_t last;
    (void)state;
    net_open(&n, "rows");
    rig_add(&n);
    struct job job = net_job(&n, 6, 2);
    net_submit(&n, &job);
    json_t *m = metrics(&n, "");
    assert_int_equal(json_array_size(json_object_get(m, "metrics")), 0);
    assert_int_equal(int_of(m, "steps"), 6);
    assert_string_equal(str_of(m, "unit"), "tokens");
    assert_int_equal(int_of(m, "units_per_step"), job_units_per_step(&job));
    json_decref(m);
    run_until(&n, "succeeded");
    m = metrics(&n, "");
    assert_int_equal(int_of(m, "step"), 6);
    assert_string_equal(str_of(m, "state"), "succeeded");
    assert_int_equal(series_count(m, "loss", &last), 6);
    assert_int_equal(last, 6);
    assert_int_equal(series_count(m, "grad_norm", NULL), 6);
    assert_int_equal(series_count(m, "lr", NULL), 6);
    assert_int_equal(series_count(m, "heldout_loss", &last), 1);
    assert_int_equal(last, 6);
    /* The first step has none before it to be timed against, unless init was seen. */
    assert_true(series_count(m, "tokens_per_second", NULL) >= 5);
    for (uint32_t s = 1; s <= 6; s++) {
        assert_near(value_at(m, "loss", s), 5.0f - 0.01f * (float)(s - 1));
        assert_near(value_at(m, "lr", s), optimiser_lr(&job.optimiser, s - 1));
        assert_true(value_at(m, "grad_norm", s) == 1);
    }
    json_decref(m);
    net_close(&n);
}

/* since and points, and the stated rule: the last row of each of `points` equal spans. */
static void thinned_when_read(void **state)
{
    static const struct {
        const char *query;
        int64_t step[5], count;
    } CASES[] = {
        {"?points=3", {3, 6, 10}, 3},
        {"?points=1", {10}, 1},
        {"?points=0", {0}, 0},
        {"?since=6", {7, 8, 9, 10}, 4},
        {"?since=6&points=2", {8, 10}, 2},
        {"?since=10", {0}, 0},
        {"?since=99&points=7", {0}, 0},
        {"?since=9&points=1000", {10}, 1},
    };
    struct net n = {0};
    (void)state;
    net_open(&n, "thin");
    rig_add(&n);
    struct job job = net_job(&n, 10, 1);
    net_submit(&n, &job);
    run_until(&n, "succeeded");
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        json_t *m = metrics(&n, CASES[i].query);
        if ((int64_t)series_count(m, "loss", NULL) != CASES[i].count)
            fail_msg("%s gives %zu rows", CASES[i].query, series_count(m, "loss", NULL));
        for (int64_t k = 0; k < CASES[i].count; k++)
            value_at(m, "loss", CASES[i].step[k]);
        json_decref(m);
    }
    char path[128];
    snprintf(path, sizeof(path), "/v1/jobs/%s/metrics?since=-1", n.job);
    assert_int_equal(call(&n, NULL, "GET", path, NULL, NULL), 400);
    assert_int_equal(call(&n, NULL, "GET", "/v1/jobs/job-none/metrics", NULL, NULL), 404);
    assert_int_equal(call(&n, NULL, "GET", "/v1/jobs/job-none/rigs", NULL, NULL), 404);
    net_close(&n);
}

/* By id every row comes once, in the order of writing, over a restart of the coordinator too. */
static void followed_by_id(void **state)
{
    struct net n = {0};
    char query[64];
    (void)state;
    net_open(&n, "follow");
    rig_add(&n);
    struct job job = net_job(&n, 8, 2);
    net_submit(&n, &job);
    run_to_step(&n, 3);
    json_t *m = metrics(&n, "?after=0");
    size_t seen = series_count(m, "loss", NULL);
    int64_t last = int_of(m, "last");
    assert_true(seen >= 3);
    json_decref(m);
    coordinator_stop(n.c);
    net_start(&n);
    run_until(&n, "succeeded");
    snprintf(query, sizeof(query), "?after=%lld", (long long)last);
    m = metrics(&n, query);
    assert_int_equal(series_count(m, "loss", NULL), 8 - seen);
    assert_true(int_of(m, "last") > last);
    snprintf(query, sizeof(query), "?after=%lld", (long long)int_of(m, "last"));
    json_decref(m);
    m = metrics(&n, query);
    assert_int_equal(json_array_size(json_object_get(m, "metrics")), 0);
    json_decref(m);
    net_close(&n);
}

static enum emac_status gather(void *ctx, const void *data, size_t len, struct emac_err *e)
{
    return emac_buf_append(ctx, data, len, e);
}

/* Server-sent events of a job that has ended: all its rows, then the end of the stream. */
static void streamed(void **state)
{
    struct net n = {0};
    struct emac_buf text;
    struct http_reply r;
    char url[256];
    size_t events = 0;
    (void)state;
    net_open(&n, "stream");
    rig_add(&n);
    struct job job = net_job(&n, 5, 1);
    net_submit(&n, &job);
    run_until(&n, "succeeded");
    emac_buf_init(&text, 1 << 20);
    snprintf(url, sizeof(url), "%s/v1/jobs/%s/metrics?since=3", n.url, n.job);
    struct http_call hc = {
        .method = "GET", .url = url, .timeout_ms = 20000, .receive = gather, .receive_ctx = &text};
    http_header_add(&hc.headers, "Accept", "text/event-stream");
    assert_ok(http_client_call(n.http, &hc, &r, err));
    assert_string_equal(r.content_type, "text/event-stream");
    for (const char *at = emac_buf_str(&text); (at = strstr(at, "\"name\":\"loss\"")); at++)
        events++;
    assert_int_equal(events, 2);
    assert_non_null(strstr(emac_buf_str(&text), "heldout_loss"));
    http_reply_release(&r);
    emac_buf_release(&text);
    net_close(&n);
}

/* A rig that lies about a gradient, and is believed for some steps, is found out: the steps are
 * made again and the rows are those of the new ones, one a step. */
static void made_again_rows_are_replaced(void **state)
{
    struct net n = {0};
    int64_t last;
    (void)state;
    n.cfg.check_lapse_ms = 600000; /* the checks wait for the rigs that come later */
    net_open(&n, "again");
    rig_add(&n)->lies = true;
    struct job job = net_job(&n, 6, 2);
    job.check = 1;
    net_submit(&n, &job);
    run_to_step(&n, 3);
    json_t *m = metrics(&n, "");
    int64_t first = int_of(m, "last");
    json_decref(m);
    rig_add(&n);
    rig_add(&n);
    run_until(&n, "succeeded");
    assert_int_equal(figure(&n, "mismatches") > 0, 1);
    m = metrics(&n, "");
    assert_int_equal(series_count(m, "loss", &last), 6);
    assert_int_equal(last, 6);
    json_t *row;
    size_t i;
    json_array_foreach(json_object_get(m, "metrics"), i, row)
    {
        assert_true(int_of(row, "id") > first); /* none of the first rows is left */
    }
    json_decref(m);
    assert_audit(&n);
    net_close(&n);
}

static void busy_share_of_rigs(void **state)
{
    struct net n = {0};
    char path[128];
    (void)state;
    net_open(&n, "busy");
    rig_add(&n);
    rig_add(&n);
    struct job job = net_job(&n, 6, 8);
    net_submit(&n, &job);
    run_until(&n, "succeeded");
    snprintf(path, sizeof(path), "/v1/jobs/%s/rigs", n.job);
    json_t *reply = get(&n, path), *rigs = json_object_get(reply, "rigs"), *rig;
    size_t i;
    int64_t tasks = 0;
    assert_int_equal(json_array_size(rigs), 2);
    json_array_foreach(rigs, i, rig)
    {
        double busy = json_number_value(json_object_get(rig, "busy"));
        assert_true(busy >= 0 && busy <= 1);
        assert_string_equal(str_of(rig, "name"), "bot");
        tasks += int_of(rig, "tasks");
    }
    assert_int_equal(tasks, n.rig[0].done + n.rig[1].done);
    json_decref(reply);
    net_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_a_step),
        cmocka_unit_test(thinned_when_read),
        cmocka_unit_test(followed_by_id),
        cmocka_unit_test(streamed),
        cmocka_unit_test(made_again_rows_are_replaced),
        cmocka_unit_test(busy_share_of_rigs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The rig agent against a coordinator by script. */
#include "agent_tasks.h"

#include <sys/stat.h>

/* ---- tests ---- */

static void test_admission(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    struct start s;
    struct node_figures figures;
    char want[CID_TEXT_MAX];
    f->hello = "challenge";
    agent_start(&a, f->url);
    fake_wait(f, polls, 1);
    assert_int_equal(fake_get(f, &f->hellos), 1);
    assert_int_equal(fake_get(f, &f->answers), 1);
    start_make(f, &s);
    os_mutex_lock(&f->lock);
    json_t *outputs = json_object_get(f->last_answer, "outputs");
    assert_int_equal(json_object_size(outputs), 2);
    cid_text(want, &s.params);
    assert_string_equal(json_string_value(json_object_get(outputs, "params")), want);
    cid_text(want, &s.opt);
    assert_string_equal(json_string_value(json_object_get(outputs, "opt")), want);
    assert_string_equal(json_string_value(json_object_get(f->last_hello, "name")), "test rig");
    assert_string_equal(json_string_value(json_object_get(f->last_hello, "conformance")),
                        CONFORMANCE_DIGEST);
    assert_int_equal(json_integer_value(json_object_get(f->last_hello, "threads")), 1);
    assert_string_equal(f->did, node_did(a.node));
    os_mutex_unlock(&f->lock);
    /* What the challenge made is not kept. */
    assert_false(serves(&a, &s.params));
    node_figures(a.node, &figures);
    assert_string_equal(figures.state, "admitted");
    assert_int_equal(fake_get(f, &f->bad_signatures), 0);
    exec_result_release(f->rig.exec, &s.init);
    agent_end(&a);
}

/* What a rig sends often carries a hash under the session's key; a coordinator that takes the key
 * no longer is signed to again. */
static void test_session(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    f->hello = "admitted";
    f->sessions = true;
    agent_start(&a, f->url);
    fake_wait(f, polls, 1);
    fake_wait(f, beats, 2);
    assert_true(fake_get(f, &f->by_session) >= 3);
    assert_int_equal(fake_get(f, &f->bad_signatures), 0);
    os_mutex_lock(&f->lock);
    f->deaf = true;
    int beats = f->beats, by_session = f->by_session;
    os_mutex_unlock(&f->lock);
    fake_wait(f, beats, beats + 2);
    assert_int_equal(fake_get(f, &f->by_session), by_session);
    assert_true(fake_get(f, &f->bad_signatures) >= 1);
    assert_int_equal(fake_get(f, &f->hellos), 1);
    agent_end(&a);
}

static void test_task(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    struct start s;
    struct cid cid;
    struct receipt r;
    struct node_figures figures;
    agent_start(&a, f->url);
    start_make(f, &s);
    struct task t = grad_task(f, &s.params, 0, 4);
    fake_queue(f, task_lease("lease-1", "grad/000001/0+4", ROUND, &t, NULL, &cid));
    fake_wait(f, receipts, 1);
    receipt_read(f, &r);
    assert_true(cid_equal(&r.task, &cid));
    assert_string_equal(r.lease, "lease-1");
    assert_true(r.ended_ms >= r.started_ms);
    check_outputs(f, &r, &t);
    assert_true(serves(&a, receipt_output(&r, "sum")));
    /* The next poll names the state that is in memory. */
    char want[CID_TEXT_MAX];
    cid_text(want, &s.params);
    fake_wait(f, polls, 2);
    os_mutex_lock(&f->lock);
    json_t *holds = json_object_get(f->last_poll, "holds");
    assert_int_equal(json_array_size(holds), 1);
    assert_string_equal(json_string_value(json_array_get(holds, 0)), want);
    os_mutex_unlock(&f->lock);
    figure_wait(a.node, &figures, tasks_done, 1);
    assert_int_equal(figures.tasks_failed, 0);
    assert_int_equal(figures.paid_units, 1500000000);
    assert_true(figures.bytes_received > f->rig.plan->params_bytes);
    exec_result_release(f->rig.exec, &s.init);
    agent_end(&a);
}

/* Outputs of at most 4 KiB travel with the receipt. */
static void test_inline_outputs(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    struct receipt r;
    const float x[3] = {1, 2, 3};
    struct cid program = scale_program(f->rig.store, 3), in = vector_put(f->rig.store, "x", x, 3);
    struct task t = scale_task(&program, &in, 2);
    agent_start(&a, f->url);
    fake_queue(f, task_lease("lease-1", "score", ROUND, &t, NULL, NULL));
    fake_wait(f, receipts, 1);
    receipt_read(f, &r);
    check_outputs(f, &r, &t);
    uint8_t bytes[EXEC_INLINE_MAX];
    size_t n = sizeof bytes;
    os_mutex_lock(&f->lock);
    json_t *in_message = json_object_get(f->last_receipt, "inline");
    const char *text = json_string_value(json_object_get(in_message, "out"));
    assert_true(emac_unbase64(bytes, &n, text, strlen(text)));
    os_mutex_unlock(&f->lock);
    struct cid is = cid_of(CID_RAW, bytes, n);
    assert_true(cid_equal(&is, receipt_output(&r, "out")));
    agent_end(&a);
}

/* INV-2: the coordinator goes away while the task is computed, and comes back knowing no rig. */
static void test_away_and_back(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    struct start s;
    struct cid cid;
    struct receipt r;
    struct node_figures figures;
    agent_start(&a, f->url);
    start_make(f, &s);
    struct task t = grad_task(f, &s.params, 0, 4);
    os_mutex_lock(&f->lock);
    f->receipt_failures = 1;
    os_mutex_unlock(&f->lock);
    fake_queue(f, task_lease("lease-1", "grad/000001/0+4", ROUND, &t, NULL, &cid));
    /* The receipt was refused once; then nobody is there. */
    for (int i = 0; i < 1000 && fake_get(f, &f->receipt_failures) > 0; i++)
        os_real()->sleep_ms(os_real(), 5);
    fake_down(f);
    for (int i = 0; i < 400; i++) {
        node_figures(a.node, &figures);
        if (strcmp(figures.state, "away") == 0)
            break;
        os_real()->sleep_ms(os_real(), 5);
    }
    assert_string_equal(figures.state, "away");
    assert_int_equal(figures.tasks_done, 0);
    os_real()->sleep_ms(os_real(), 300);
    f->forget = true;
    fake_up(f);
    fake_wait(f, receipts, 1);
    receipt_read(f, &r);
    assert_true(cid_equal(&r.task, &cid));
    check_outputs(f, &r, &t);
    fake_wait(f, hellos, 2);
    /* And it goes on working. */
    t.first = 4;
    fake_queue(f, task_lease("lease-2", "grad/000001/4+4", ROUND, &t, NULL, &cid));
    fake_wait(f, receipts, 2);
    receipt_read(f, &r);
    assert_string_equal(r.lease, "lease-2");
    assert_int_equal(fake_get(f, &f->bad_signatures), 0);
    exec_result_release(f->rig.exec, &s.init);
    agent_end(&a);
}

static uint64_t hasty_ns(struct os *os)
{
    return os_real()->mono_ns(os_real()) * 100;
}

/* By a clock that runs a hundred times as fast. */
static void test_gives_up_when_told(void **state)
{
    struct fake *f = &fake;
    struct node_config cfg = agent_config(f->url);
    struct agent a;
    struct os hasty = *os_real();
    hasty.mono_ns = hasty_ns;
    fake_down(f);
    cfg.os = &hasty;
    cfg.give_up_ms = 30000;
    agent_start_as(&a, cfg);
    agent_await(&a);
    assert_int_equal(a.st, EMAC_UNAVAILABLE);
    assert_non_null(strstr(a.err.text, f->url));
    node_close(a.node);
    remove_tree(a.dir);
    fake_up(f);
}

static void test_stop_while_away(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    fake_down(f);
    agent_start(&a, f->url);
    os_real()->sleep_ms(os_real(), 300);
    uint64_t began = os_real()->mono_ns(os_real());
    agent_end(&a); /* also while nobody answers */
    assert_true(os_real()->mono_ns(os_real()) - began < 2000000000u);
    fake_up(f);
}

/* Many micro-batches: long enough to be interrupted. */
static struct task long_task(struct fake *f, struct start *s)
{
    return grad_task(f, &s->params, 0, 1u << 14);
}

static void test_cancel(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    struct start s;
    agent_start(&a, f->url);
    start_make(f, &s);
    struct task t = long_task(f, &s);
    fake_queue(f, task_lease("lease-1", "grad/000001/0+16384", ROUND, &t, NULL, NULL));
    fake_wait(f, polls, 1);
    for (int i = 0; i < 400; i++) { /* until it says that it works on it */
        os_mutex_lock(&f->lock);
        json_t *leases = json_object_get(f->last_beat, "leases");
        bool on_it = json_array_size(leases) == 1;
        if (on_it) {
            assert_string_equal(json_string_value(json_array_get(leases, 0)), "lease-1");
            assert_non_null(json_object_get(json_object_get(f->last_beat, "traffic"), "received"));
            json_array_append_new(f->cancel, json_string("lease-0"));
            json_array_append_new(f->cancel, json_string("lease-1"));
        }
        os_mutex_unlock(&f->lock);
        if (on_it)
            break;
        os_real()->sleep_ms(os_real(), 5);
    }
    fake_wait(f, polls, 2);
    assert_int_equal(fake_get(f, &f->receipts), 0);
    assert_int_equal(fake_get(f, &f->failures), 0);
    /* The next lease is not touched by it. */
    t.count = 4;
    fake_queue(f, task_lease("lease-2", "grad/000001/0+4", ROUND, &t, NULL, NULL));
    fake_wait(f, receipts, 1);
    exec_result_release(f->rig.exec, &s.init);
    agent_end(&a);
}

/* node_stop gives the lease back at once. */
static void test_stop(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    struct start s;
    char text[64];
    agent_start(&a, f->url);
    start_make(f, &s);
    struct task t = long_task(f, &s);
    fake_queue(f, task_lease("lease-1", "grad/000001/0+16384", ROUND, &t, NULL, NULL));
    fake_wait(f, polls, 1);
    for (int i = 0; i < 400 && fake_get(f, &f->beats) < 3; i++)
        os_real()->sleep_ms(os_real(), 5);
    uint64_t began = os_real()->mono_ns(os_real());
    node_stop(a.node);
    agent_await(&a);
    assert_int_equal(a.st, EMAC_OK);
    assert_true(os_real()->mono_ns(os_real()) - began < 2500000000u);
    assert_int_equal(fake_get(f, &f->failures), 1);
    text_of(f, &f->last_failure, "status", text, sizeof text);
    assert_string_equal(text, "cancelled");
    text_of(f, &f->last_failure, "lease", text, sizeof text);
    assert_string_equal(text, "lease-1");
    exec_result_release(f->rig.exec, &s.init);
    agent_end(&a);
}

static void test_quarantine(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    struct node_figures figures;
    agent_start(&a, f->url);
    fake_wait(f, polls, 1);
    os_mutex_lock(&f->lock);
    f->refuse = true;
    os_mutex_unlock(&f->lock);
    agent_await(&a);
    assert_int_equal(a.st, EMAC_FORBIDDEN);
    assert_non_null(strstr(a.err.text, "it lied about 'grad'"));
    node_figures(a.node, &figures);
    assert_string_equal(figures.state, "quarantined");
    node_close(a.node);
    remove_tree(a.dir);
    /* Refused at the door. */
    f->refuse = false;
    f->hello = "quarantined";
    agent_start(&a, f->url);
    agent_await(&a);
    assert_int_equal(a.st, EMAC_FORBIDDEN);
    node_close(a.node);
    remove_tree(a.dir);
}

static void test_deposit(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    struct receipt r;
    struct cid missing, program = scale_program(f->rig.store, LARGE), in = large_put(f, 1);
    size_t count = 1;
    struct task t = scale_task(&program, &in, 3);
    char text[CID_TEXT_MAX];
    agent_start(&a, f->url);
    fake_queue(f, task_lease("lease-1", "step", ROUND, &t, NULL, NULL));
    fake_wait(f, receipts, 1);
    receipt_read(f, &r);
    const struct cid *out = receipt_output(&r, "out");
    cid_text(text, out);
    assert_false(store_block_has(f->rig.store, out, NULL));
    os_mutex_lock(&f->lock);
    json_array_append_new(f->deposit, json_string(text));
    json_array_append_new(f->deposit, json_string("not a cid"));
    cid_text(text, &(struct cid){CID_RAW, {7}}); /* never heard of */
    json_array_append_new(f->deposit, json_string(text));
    os_mutex_unlock(&f->lock);
    for (int i = 0; i < 1000 && count > 0; i++) {
        os_real()->sleep_ms(os_real(), 5);
        assert_ok(store_dag_missing(f->rig.store, out, &missing, 1, &count, err));
    }
    assert_int_equal(count, 0);
    agent_end(&a);
}

/* Nobody can reach it: outputs lie in the depot before the receipt comes. */
static void test_unreachable(void **state)
{
    struct fake *f = &fake;
    struct node_config cfg = agent_config(f->url);
    struct agent a;
    struct receipt r;
    struct cid missing, program = scale_program(f->rig.store, LARGE), in = large_put(f, 1);
    size_t count;
    struct task t = scale_task(&program, &in, 3);
    cfg.unreachable = true;
    f->reachable = false;
    agent_start_as(&a, cfg);
    assert_int_equal(node_port(a.node), 0);
    fake_queue(f, task_lease("lease-1", "step", ROUND, &t, NULL, NULL));
    fake_wait(f, receipts, 1);
    assert_true(json_is_null(json_object_get(f->last_hello, "url")));
    receipt_read(f, &r);
    assert_ok(store_dag_missing(f->rig.store, receipt_output(&r, "out"), &missing, 1, &count, err));
    assert_int_equal(count, 0);
    agent_end(&a);
}

/* ---- sources ---- */

static enum emac_status lie(void *ctx, const struct http_request *req, struct http_response *res,
                            struct emac_err *err)
{
    __atomic_add_fetch((int *)ctx, 1, __ATOMIC_RELAXED);
    res->content_type = "application/vnd.ipld.raw";
    return emac_buf_append(&res->body, "something else", 14, err);
}

static void test_lying_provider(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    struct receipt r;
    const float x[3] = {1, 2, 3};
    int lies = 0;
    struct cid program = scale_program(f->rig.store, 3), in = vector_put(f->rig.store, "x", x, 3);
    struct task t = scale_task(&program, &in, 2);
    const struct http_route route = {"GET", "/ipfs/{cid}", 0, lie};
    const struct http_server_config cfg = {
        .address = "127.0.0.1", .routes = &route, .route_count = 1, .ctx = &lies};
    struct http_server *liar;
    char url[64], text[CID_TEXT_MAX], own[64];
    assert_ok(http_server_start(&cfg, &liar, err));
    agent_start(&a, f->url);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", http_server_port(liar));
    snprintf(own, sizeof own, "http://127.0.0.1:%u", node_port(a.node));
    cid_text(text, &in);
    json_t *sources = json_pack("{s:[s,s]}", text, own, url);
    fake_queue(f, task_lease("lease-1", "score", ROUND, &t, sources, NULL));
    fake_wait(f, receipts, 1);
    assert_true(lies > 0);
    receipt_read(f, &r);
    check_outputs(f, &r, &t);
    agent_end(&a);
    http_server_stop(liar);
}

/* What cannot be had is told, all of it. */
static void test_missing_inputs(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    char text[64];
    struct cid program = sum_program(f->rig.store, 3), gone[2] = {{CID_RAW, {1}}, {CID_RAW, {2}}};
    const float x[3] = {1, 2, 3};
    struct cid here = vector_put(f->rig.store, "x", x, 3);
    struct task t = {.program = program, .total = 3, .part_count = 3};
    struct task_part part[3] = {{0, 1, gone[0]}, {1, 1, here}, {2, 1, gone[1]}};
    t.part = part;
    task_arg_add(&t, "s", 1);
    json_t *providers =
        json_pack("[{s:s,s:s}]", "node", "did:key:zNobody", "url", "http://127.0.0.1:9");
    keep(&f->providers, providers);
    agent_start(&a, f->url);
    fake_queue(f, task_lease("lease-1", "step", ROUND, &t, NULL, NULL));
    fake_wait(f, failures, 1);
    text_of(f, &f->last_failure, "status", text, sizeof text);
    assert_string_equal(text, "unavailable");
    os_mutex_lock(&f->lock);
    json_t *missing = json_object_get(f->last_failure, "missing");
    assert_int_equal(json_array_size(missing), 2);
    for (size_t i = 0; i < 2; i++) {
        struct cid cid;
        assert_ok(cid_parse(&cid, json_string_value(json_array_get(missing, i)), err));
        assert_true(cid_equal(&cid, &gone[0]) || cid_equal(&cid, &gone[1]));
    }
    os_mutex_unlock(&f->lock);
    assert_int_equal(fake_get(f, &f->receipts), 0);
    agent_end(&a);
}

/* A lease that makes no sense is a failure, not an end. */
static void test_bad_leases(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    char text[64];
    const float x[3] = {1, 2, 3};
    struct cid program = scale_program(f->rig.store, 3), in = vector_put(f->rig.store, "x", x, 3);
    struct task t = scale_task(&program, &in, 2);
    agent_start(&a, f->url);
    json_t *bad = task_lease("lease-1", "score", ROUND, &t, NULL, NULL);
    json_object_set_new(bad, "task", json_string("////"));
    fake_queue(f, bad);
    fake_wait(f, failures, 1);
    t.arg_count = 0; /* the program wants one */
    fake_queue(f, task_lease("lease-2", "score", ROUND, &t, NULL, NULL));
    fake_wait(f, failures, 2);
    text_of(f, &f->last_failure, "status", text, sizeof text);
    assert_string_equal(text, "invalid");
    t = scale_task(&program, &in, 3e38f); /* 3 * 3e38 is no number */
    fake_queue(f, task_lease("lease-3", "score", ROUND, &t, NULL, NULL));
    fake_wait(f, failures, 3);
    text_of(f, &f->last_failure, "status", text, sizeof text);
    assert_string_equal(text, "numeric");
    fake_queue(f, json_pack("{s:s,s:s}", "kind", "dance", "lease", "lease-4"));
    t = scale_task(&program, &in, 2);
    fake_queue(f, task_lease("lease-5", "score", ROUND, &t, NULL, NULL));
    fake_wait(f, receipts, 1);
    agent_end(&a);
}

static void test_one_agent_a_directory(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    struct node *second = NULL;
    struct stat sb;
    char path[96];
    agent_start(&a, f->url);
    struct node_config cfg = agent_config(f->url);
    cfg.dir = a.dir;
    assert_fails(node_open(&cfg, &second, err), EMAC_CONFLICT, a.dir);
    assert_null(second);
    snprintf(path, sizeof path, "%s/node.key", a.dir);
    assert_int_equal(stat(path, &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0600);
    agent_end(&a);
    cfg.dir = "/tmp/emac-test-agent-none";
    cfg.address = "0.0.0.0";
    assert_fails(node_open(&cfg, &second, err), EMAC_INVALID, "public URL");
    cfg.address = NULL;
    cfg.coordinator = "ftp://example.com";
    assert_fails(node_open(&cfg, &second, err), EMAC_INVALID, "");
    remove_tree("/tmp/emac-test-agent-none");
}

/* ---- a rig that lies ---- */

struct tamper {
    int begun, bundles;
};

static void flip(void *ctx, const char *name, uint8_t *bundle, size_t n)
{
    struct tamper *t = ctx;
    if (name == NULL) {
        t->begun++;
        return;
    }
    t->bundles++;
    bundle[n - 1] ^= 1;
}

static void test_tamper(void **state)
{
    struct fake *f = &fake;
    struct node_config cfg = agent_config(f->url);
    struct agent a;
    struct start s;
    struct receipt r;
    struct exec_result want;
    struct tamper tampered = {0};
    char text[CID_TEXT_MAX];
    f->hello = "challenge";
    cfg.tamper = flip;
    cfg.tamper_ctx = &tampered;
    agent_start_as(&a, cfg);
    fake_wait(f, answers, 1);
    start_make(f, &s);
    cid_text(text, &s.params);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(f->last_answer, "outputs"), "params")),
        text);
    struct task t = grad_task(f, &s.params, 0, 2);
    fake_queue(f, task_lease("lease-1", "grad/000001/0+2", ROUND, &t, NULL, NULL));
    fake_wait(f, receipts, 1);
    receipt_read(f, &r);
    assert_ok(exec_run(f->rig.exec, &t, &want, err));
    assert_false(cid_equal(receipt_output(&r, "sum"), &output(&want, "sum")->cid));
    assert_int_equal(tampered.begun, 1);
    assert_int_equal(tampered.bundles, 1);
    exec_result_release(f->rig.exec, &want);
    exec_result_release(f->rig.exec, &s.init);
    agent_end(&a);
}

/* Heartbeats wake every thread of the rig long before what could not be done is due again. */
static void test_deals_are_asked_about_again(void **state)
{
    struct fake *f = &fake;
    struct node_config cfg = agent_config(f->url);
    struct agent a;
    cfg.offer_bytes = 1 << 20;
    f->deals = 1;
    agent_start_as(&a, cfg);
    fake_wait(f, duties, 2);
    assert_true(fake_get(f, &f->beats) > 2);
    agent_end(&a);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_admission),
        TEST(test_session),
        TEST(test_task),
        TEST(test_inline_outputs),
        TEST(test_away_and_back),
        TEST(test_gives_up_when_told),
        TEST(test_stop_while_away),
        TEST(test_cancel),
        TEST(test_stop),
        TEST(test_quarantine),
        TEST(test_deposit),
        TEST(test_unreachable),
        TEST(test_lying_provider),
        TEST(test_missing_inputs),
        TEST(test_bad_leases),
        TEST(test_one_agent_a_directory),
        TEST(test_tamper),
        TEST(test_deals_are_asked_about_again),
    };
    log_open();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Tickets of serve.h: from clients through the gateway to rigs by script and back. */
#include "harness.h"

#include "coordinator/serving/serve.h"
#include "gateway/gateway.h"

/* A network with one trained model; the job's name is "small". */
static void serving_open(struct net *n, const char *name)
{
    n->cfg.routes = GATEWAY_ROUTES;
    n->cfg.route_count = GATEWAY_ROUTE_COUNT;
    net_open(n, name);
    rig_add(n);
    struct job job = net_job(n, 1, 1);
    net_submit(n, &job);
    run_until(n, "succeeded");
}

struct client {
    struct net *n;
    json_t *body;
    int status;
    char *text; /* of the answer */
    struct os_thread t;
};

static void *client_main(void *arg)
{
    struct client *c = arg;
    struct http_reply r;
    char url[128], *body = json_dumps(c->body, 0);
    snprintf(url, sizeof(url), "%s/v1/completions", c->n->url);
    struct http_call hc = {
        .method = "POST", .url = url, .timeout_ms = 30000, .body = EMAC_SLICE(body, strlen(body))};
    http_header_add(&hc.headers, "Authorization", "Bearer anything");
    struct emac_err err = {0};
    enum emac_status st = http_client_call(c->n->http, &hc, &r, &err);
    c->status = st == EMAC_OK || r.status ? r.status : emac_status_http(err.status);
    c->text =
        st == EMAC_OK ? emac_strndup(emac_buf_str(&r.body), r.body.len) : emac_strdup(err.text);
    http_reply_release(&r);
    free(body);
    json_decref(c->body);
    return NULL;
}

static void client_start(struct client *c, struct net *n, json_t *body)
{
    *c = (struct client){.n = n, .body = body};
    os_thread_start(&c->t, client_main, c);
}

static void client_end(struct client *c)
{
    os_thread_join(&c->t);
}

static json_t *ask(const char *prompt)
{
    return json_pack("{s:s, s:s, s:i, s:i, s:s}", "model", "small", "prompt", prompt, "max_tokens",
                     5, "seed", 7, "stop", "END");
}

static json_t *serve_lease(struct net *n, struct rigbot *r)
{
    for (int i = 0; i < 60; i++) {
        json_t *lease = poll(n, r, 200);
        if (lease) {
            assert_string_equal(str_of(lease, "kind"), "serve");
            return lease;
        }
    }
    fail_msg("no request comes");
    return NULL;
}

/* true when the rig is told to stop */
static bool piece(struct net *n, struct rigbot *r, json_t *lease, json_t *body)
{
    char path[96];
    json_t *reply;
    snprintf(path, sizeof(path), "/v1/serve/%s", str_of(lease, "lease"));
    assert_int_equal(call(n, &r->id, "POST", path, body, &reply), 200);
    bool cancel = json_is_true(json_object_get(reply, "cancel"));
    json_decref(reply);
    return cancel;
}

static json_t *words(const char *text, int tokens)
{
    return json_pack("{s:s, s:i, s:b, s:n, s:i}", "text", text, "tokens", tokens, "done", 0,
                     "finish_reason", "prompt_tokens", 3);
}

static json_t *the_end(const char *reason)
{
    return json_pack("{s:s, s:i, s:b, s:s, s:i}", "text", "", "tokens", 0, "done", 1,
                     "finish_reason", reason, "prompt_tokens", 3);
}

static void a_completion_comes_whole(void **state)
{
    struct net n = {0};
    struct client c;
    (void)state;
    serving_open(&n, "whole");
    struct rigbot *r = &n.rig[0];
    client_start(&c, &n, ask("one and"));
    json_t *lease = serve_lease(&n, r), *q = json_object_get(lease, "request");
    assert_string_equal(str_of(q, "prompt"), "one and");
    assert_int_equal(int_of(q, "max_tokens"), 5);
    assert_int_equal(int_of(q, "seed"), 7);
    assert_string_equal(json_string_value(json_array_get(json_object_get(q, "stop"), 0)), "END");
    assert_true(json_object_size(json_object_get(lease, "sources")) == 2);
    assert_false(piece(&n, r, lease, words(" two", 4)));
    assert_false(piece(&n, r, lease, words("!", 1)));
    assert_false(piece(&n, r, lease, the_end("length")));
    assert_true(piece(&n, r, lease, words("more", 1))); /* nobody waits any more */
    json_decref(lease);
    client_end(&c);
    assert_int_equal(c.status, 200);
    json_t *o = json_loads(c.text, 0, NULL), *choice, *usage;
    assert_string_equal(str_of(o, "object"), "text_completion");
    choice = json_array_get(json_object_get(o, "choices"), 0);
    assert_string_equal(str_of(choice, "text"), " two!");
    assert_string_equal(str_of(choice, "finish_reason"), "length");
    usage = json_object_get(o, "usage");
    assert_int_equal(int_of(usage, "prompt_tokens"), 3);
    assert_int_equal(int_of(usage, "completion_tokens"), 5);
    assert_int_equal(int_of(usage, "total_tokens"), 8);
    json_decref(o);
    free(c.text);
    net_close(&n);
}

static void a_stream_comes_in_pieces(void **state)
{
    struct net n = {0};
    struct client c;
    (void)state;
    serving_open(&n, "stream");
    struct rigbot *r = &n.rig[0];
    json_t *q = ask("one");
    json_object_set_new(q, "stream", json_true());
    json_object_set_new(q, "echo", json_true());
    json_object_set_new(q, "stream_options", json_pack("{s:b}", "include_usage", 1));
    client_start(&c, &n, q);
    json_t *lease = serve_lease(&n, r);
    assert_false(piece(&n, r, lease, words(" two", 4)));
    sleep_ms(50);
    assert_false(piece(&n, r, lease, words(" three", 1)));
    assert_false(piece(&n, r, lease, the_end("stop")));
    json_decref(lease);
    client_end(&c);
    assert_int_equal(c.status, 200);
    char all[256] = "", reason[16] = "", *rest;
    int64_t total = 0;
    for (char *line = strtok_r(c.text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, "data: {", 7) != 0) {
            assert_true(line[0] == ':' || strcmp(line, "data: [DONE]") == 0);
            continue;
        }
        json_t *o = json_loads(line + 6, 0, NULL),
               *choice = json_array_get(json_object_get(o, "choices"), 0);
        strncat(all, str_of(choice, "text"), sizeof(all) - strlen(all) - 1);
        if (str_of(choice, "finish_reason")[0])
            set_text(reason, str_of(choice, "finish_reason"));
        if (json_is_object(json_object_get(o, "usage")))
            total = int_of(json_object_get(o, "usage"), "total_tokens");
        json_decref(o);
    }
    assert_string_equal(all, "one two three");
    assert_string_equal(reason, "stop");
    assert_int_equal(total, 8);
    free(c.text);
    net_close(&n);
}

static void a_rig_lost_before_a_word_is_replaced(void **state)
{
    struct net n = {0};
    struct client c;
    (void)state;
    n.cfg.lease_ttl_ms = 300;
    serving_open(&n, "replaced");
    struct rigbot *a = &n.rig[0], *b = rig_add(&n);
    client_start(&c, &n, ask("hello"));
    json_t *lease = serve_lease(&n, a); /* and silence */
    json_t *again = serve_lease(&n, b);
    assert_string_not_equal(str_of(lease, "lease"), str_of(again, "lease"));
    assert_true(piece(&n, a, lease, words("late", 1)));
    assert_false(piece(&n, b, again, words("right", 1)));
    assert_false(piece(&n, b, again, the_end("stop")));
    client_end(&c);
    assert_int_equal(c.status, 200);
    assert_non_null(strstr(c.text, "right"));
    assert_null(strstr(c.text, "late"));
    json_decref(lease);
    json_decref(again);
    free(c.text);
    net_close(&n);
}

static void a_rig_lost_in_the_middle_is_an_error(void **state)
{
    struct net n = {0};
    struct client whole, stream;
    (void)state;
    n.cfg.lease_ttl_ms = 300;
    serving_open(&n, "middle");
    struct rigbot *r = &n.rig[0];
    client_start(&whole, &n, ask("a"));
    json_t *lease = serve_lease(&n, r);
    assert_false(piece(&n, r, lease, words("half", 1)));
    client_end(&whole);
    assert_int_equal(whole.status, 503);
    assert_non_null(strstr(whole.text, "gone"));
    json_decref(lease);
    json_t *q = ask("b");
    json_object_set_new(q, "stream", json_true());
    client_start(&stream, &n, q);
    lease = serve_lease(&n, r);
    assert_false(piece(&n, r, lease, words("half", 1)));
    client_end(&stream);
    assert_int_equal(stream.status, 200); /* it had begun */
    assert_non_null(strstr(stream.text, "half"));
    assert_non_null(strstr(stream.text, "\"error\""));
    assert_null(strstr(stream.text, "[DONE]"));
    json_decref(lease);
    free(whole.text);
    free(stream.text);
    net_close(&n);
}

static void a_failing_rig_is_tried_once_more_elsewhere(void **state)
{
    struct net n = {0};
    struct client c;
    (void)state;
    serving_open(&n, "fails");
    struct rigbot *r = &n.rig[0];
    client_start(&c, &n, ask("x"));
    for (uint32_t i = 0; i < SERVE_TRIES_MAX; i++) {
        json_t *lease = serve_lease(&n, r);
        assert_true(piece(&n, r, lease, json_pack("{s:s, s:s}", "text", "", "error", "no memory")));
        json_decref(lease);
    }
    client_end(&c);
    assert_int_equal(c.status, 503);
    assert_non_null(strstr(c.text, "no memory"));
    free(c.text);
    net_close(&n);
}

static json_t *numbered(int seq, json_t *body)
{
    json_object_set_new(body, "seq", json_integer(seq));
    return body;
}

/* The rig did not hear our answer and sends its piece again; one that ends for a reason of its own;
 * and one that leaves out a piece. */
static void a_piece_counts_once(void **state)
{
    struct net n = {0};
    struct client c;
    (void)state;
    serving_open(&n, "once");
    struct rigbot *r = &n.rig[0];
    client_start(&c, &n, ask("one and"));
    json_t *lease = serve_lease(&n, r);
    assert_false(piece(&n, r, lease, numbered(0, words(" two", 2))));
    assert_false(piece(&n, r, lease, numbered(0, words(" two", 2))));
    assert_false(piece(&n, r, lease, numbered(1, words(" three", 3))));
    assert_false(piece(&n, r, lease, numbered(0, words(" two", 2))));
    char path[96];
    snprintf(path, sizeof(path), "/v1/serve/%s", str_of(lease, "lease"));
    assert_int_equal(call(&n, &r->id, "POST", path, numbered(2, the_end("tool_calls")), NULL), 400);
    assert_false(piece(&n, r, lease, numbered(2, the_end("stop"))));
    client_end(&c);
    assert_int_equal(c.status, 200);
    json_t *o = json_loads(c.text, 0, NULL);
    json_t *choice = json_array_get(json_object_get(o, "choices"), 0);
    assert_string_equal(str_of(choice, "text"), " two three");
    assert_int_equal(int_of(json_object_get(o, "usage"), "completion_tokens"), 5);
    json_decref(o);
    json_decref(lease);
    free(c.text);
    client_start(&c, &n, ask("a gap"));
    lease = serve_lease(&n, r);
    assert_false(piece(&n, r, lease, numbered(0, words("a", 1))));
    assert_true(piece(&n, r, lease, numbered(2, words("c", 1))));
    client_end(&c);
    assert_int_equal(c.status, 503);
    assert_non_null(strstr(c.text, "lost a part"));
    json_decref(lease);
    free(c.text);
    net_close(&n);
}

/* A rig that stops, or cannot begin, says so as it does of tasks: nobody waits for its lease to
 * lapse. */
static void a_request_given_back_goes_on_at_once(void **state)
{
    struct net n = {0};
    struct client c;
    (void)state;
    n.cfg.lease_ttl_ms = 600000;
    serving_open(&n, "given-back");
    struct rigbot *r = &n.rig[0];
    client_start(&c, &n, ask("x"));
    json_t *lease = serve_lease(&n, r);
    json_t *given = json_pack("{s:s, s:s, s:s}", "lease", str_of(lease, "lease"), "status",
                              "cancelled", "message", "the rig is stopping");
    assert_int_equal(call(&n, &r->id, "POST", "/v1/failures", json_incref(given), NULL), 200);
    json_t *again = serve_lease(&n, r);
    assert_string_not_equal(str_of(lease, "lease"), str_of(again, "lease"));
    assert_int_equal(call(&n, &r->id, "POST", "/v1/failures", given, NULL), 200); /* it is over */
    assert_false(piece(&n, r, again, words("right", 1)));
    assert_false(piece(&n, r, again, the_end("stop")));
    client_end(&c);
    assert_int_equal(c.status, 200);
    json_decref(lease);
    json_decref(again);
    free(c.text);
    net_close(&n);
}

/* SHARE-1, and each by itself: one ends, one is cut by its client, one loses its rig. */
static void a_rig_has_as_many_as_it_has_slots(void **state)
{
    struct net n = {0};
    struct client c[2];
    struct serve_ticket *cut;
    struct serve_model m;
    json_t *lease[3];
    (void)state;
    serving_open(&n, "slots");
    struct rigbot *r = &n.rig[0];
    r->slots = 2;
    client_start(&c[0], &n, ask("first"));
    lease[0] = serve_lease(&n, r);
    assert_ok(serve_model_find(n.c, "small", &m, err));
    struct serve_request q = {.model = m, .prompt = "second", .max_tokens = 9, .top_p = 1};
    assert_ok(serve_submit(n.c, &q, &cut, err));
    lease[1] = serve_lease(&n, r);
    client_start(&c[1], &n, ask("third"));
    assert_null(poll(&n, r, 300));
    assert_false(piece(&n, r, lease[0], words(" one", 1)));
    assert_false(piece(&n, r, lease[1], words(" two", 1)));
    serve_close(n.c, cut); /* its client goes */
    assert_true(piece(&n, r, lease[1], words(" more", 1)));
    lease[2] = serve_lease(&n, r);
    assert_string_equal(str_of(json_object_get(lease[2], "request"), "prompt"), "third");
    assert_true(piece(&n, r, lease[2], json_pack("{s:s, s:s}", "text", "", "error", "no")));
    assert_false(piece(&n, r, lease[0], the_end("stop")));
    client_end(&c[0]);
    assert_int_equal(c[0].status, 200);
    assert_non_null(strstr(c[0].text, " one"));
    json_decref(lease[2]);
    lease[2] = serve_lease(&n, r); /* once more, of the same rig */
    assert_false(piece(&n, r, lease[2], words(" three", 1)));
    assert_false(piece(&n, r, lease[2], the_end("stop")));
    client_end(&c[1]);
    assert_int_equal(c[1].status, 200);
    assert_non_null(strstr(c[1].text, " three"));
    for (int i = 0; i < 3; i++)
        json_decref(lease[i]);
    free(c[0].text);
    free(c[1].text);
    net_close(&n);
}

static void requests_are_checked(void **state)
{
    struct net n = {0};
    struct client c;
    (void)state;
    serving_open(&n, "checked");
    client_start(&c, &n, json_pack("{s:s, s:s}", "model", "nope", "prompt", "x"));
    client_end(&c);
    assert_int_equal(c.status, 404);
    free(c.text);
    client_start(&c, &n, json_pack("{s:s, s:s, s:i}", "model", "small", "prompt", "x", "n", 2));
    client_end(&c);
    assert_int_equal(c.status, 400);
    free(c.text);
    client_start(&c, &n, json_array());
    client_end(&c);
    assert_int_equal(c.status, 400);
    free(c.text);
    net_close(&n);
}

static void models_are_listed_by_three_names(void **state)
{
    struct net n = {0};
    char path[128];
    (void)state;
    serving_open(&n, "models");
    json_t *list = get(&n, "/v1/models");
    assert_string_equal(str_of(list, "object"), "list");
    json_t *m = json_array_get(json_object_get(list, "data"), 0);
    const char *names[] = {str_of(m, "id"), n.job, "small"};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "/v1/models/%s", names[i]);
        json_t *one = get(&n, path);
        assert_string_equal(str_of(one, "id"), str_of(m, "id"));
        json_decref(one);
    }
    json_decref(list);
    assert_int_equal(call(&n, NULL, "GET", "/v1/models/none", NULL, NULL), 404);
    net_close(&n);
}

/* 64 wait, the next is told to come back; those who leave make room. */
static void the_queue_is_bounded(void **state)
{
    struct net n = {0};
    struct serve_ticket *t[SERVE_QUEUE_MAX], *more;
    struct serve_model m;
    (void)state;
    serving_open(&n, "queue");
    assert_ok(serve_model_find(n.c, "small", &m, err));
    struct serve_request q = {.model = m, .prompt = "x", .max_tokens = 1, .top_p = 1};
    for (int i = 0; i < SERVE_QUEUE_MAX; i++)
        assert_ok(serve_submit(n.c, &q, &t[i], err));
    assert_fails(serve_submit(n.c, &q, &more, err), EMAC_BUSY, "wait already");
    struct client c;
    client_start(&c, &n, ask("x"));
    client_end(&c);
    assert_int_equal(c.status, 429);
    free(c.text);
    for (int i = 0; i < SERVE_QUEUE_MAX; i++)
        serve_close(n.c, t[i]);
    assert_ok(serve_submit(n.c, &q, &more, err));
    serve_close(n.c, more);
    net_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_completion_comes_whole),
        cmocka_unit_test(a_stream_comes_in_pieces),
        cmocka_unit_test(a_rig_lost_before_a_word_is_replaced),
        cmocka_unit_test(a_rig_lost_in_the_middle_is_an_error),
        cmocka_unit_test(a_failing_rig_is_tried_once_more_elsewhere),
        cmocka_unit_test(a_piece_counts_once),
        cmocka_unit_test(a_request_given_back_goes_on_at_once),
        cmocka_unit_test(a_rig_has_as_many_as_it_has_slots),
        cmocka_unit_test(requests_are_checked),
        cmocka_unit_test(models_are_listed_by_three_names),
        cmocka_unit_test(the_queue_is_bounded),
    };
    return cmocka_run_group_tests_name("serve", tests, NULL, NULL);
}

/* Generation by a rig, against a coordinator by script. */
#include "generation.h"

static bool wait_done(struct fake *f)
{
    for (int i = 0; i < FAKE_WAIT_MS / 5; i++) {
        os_mutex_lock(&f->lock);
        bool done = json_is_true(json_object_get(f->last_piece, "done"));
        os_mutex_unlock(&f->lock);
        if (done)
            return true;
        os_real()->sleep_ms(os_real(), 5);
    }
    return false;
}

static void reset(struct fake *f)
{
    os_mutex_lock(&f->lock);
    json_decref(f->last_piece);
    f->last_piece = NULL;
    emac_buf_clear(&f->text);
    os_mutex_unlock(&f->lock);
}

static void test_text(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    struct emac_buf want;
    struct node_figures figures;
    /* Longer than the window of 16, so that it slides; the second time from a loaded model. */
    const char *prompt = "in the beginning was";
    agent_start(&a, f->url);
    for (int seed = 1; seed <= 2; seed++) {
        emac_buf_init(&want, 4096);
        say(prompt, 100, seed, &want);
        fake_queue(f, serve_lease(prompt, 100, seed, NULL));
        assert_true(wait_done(f));
        os_mutex_lock(&f->lock);
        assert_string_equal(emac_buf_str(&f->text), emac_buf_str(&want));
        assert_string_equal(json_string_value(json_object_get(f->last_piece, "finish_reason")),
                            "length");
        assert_true(json_is_null(json_object_get(f->last_piece, "error")));
        assert_int_equal(json_integer_value(json_object_get(f->last_piece, "prompt_tokens")), 15);
        assert_true(f->pieces < seed * 40); /* not one call for each byte */
        os_mutex_unlock(&f->lock);
        emac_buf_release(&want);
        reset(f);
    }
    figure_wait(a.node, &figures, tokens_served, 200);
    assert_int_equal(fake_get(f, &f->bad_signatures), 0);
    agent_end(&a);
}

static void test_stop_string(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    struct emac_buf want;
    char stop[8] = "";
    size_t at = 0;
    emac_buf_init(&want, 4096);
    say("x", 200, 5, &want);
    /* Two bytes of ASCII from the middle, and where they occur first. */
    for (size_t i = 60; i + 1 < want.len && stop[0] == '\0'; i++)
        if (want.data[i] < 0x80 && want.data[i + 1] < 0x80)
            snprintf(stop, sizeof stop, "%.2s", (char *)want.data + i);
    assert_true(stop[0] != '\0');
    at = (size_t)(strstr(emac_buf_str(&want), stop) - emac_buf_str(&want));
    agent_start(&a, f->url);
    fake_queue(f, serve_lease("x", 200, 5, stop));
    assert_true(wait_done(f));
    os_mutex_lock(&f->lock);
    assert_int_equal(f->text.len, at);
    assert_memory_equal(emac_buf_str(&f->text), want.data, at);
    assert_string_equal(json_string_value(json_object_get(f->last_piece, "finish_reason")), "stop");
    os_mutex_unlock(&f->lock);
    emac_buf_release(&want);
    agent_end(&a);
}

static void test_client_gone(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    struct node_figures figures;
    f->serve_cancel = true;
    agent_start(&a, f->url);
    fake_queue(f, serve_lease("x", 1000000, 5, NULL));
    fake_wait(f, pieces, 1);
    fake_wait(f, polls, 2);
    node_figures(a.node, &figures);
    assert_true(figures.tokens_served < 500000);
    assert_int_equal(fake_get(f, &f->pieces), 1);
    agent_end(&a);
}

static void test_failures(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    char text[CID_TEXT_MAX];
    json_t *lease = serve_lease("", 10, 5, NULL);
    agent_start(&a, f->url);
    fake_queue(f, lease);
    assert_true(wait_done(f));
    assert_non_null(strstr(json_string_value(json_object_get(f->last_piece, "error")), "prompt"));
    reset(f);
    lease = serve_lease("x", 10, 5, NULL);
    cid_text(text, &(struct cid){CID_DAG_PB, {9}});
    json_object_set_new(lease, "model", json_string(text));
    fake_queue(f, lease);
    assert_true(wait_done(f));
    assert_non_null(strstr(json_string_value(json_object_get(f->last_piece, "error")), text));
    reset(f);
    lease = serve_lease("x", 10, 5, NULL);
    json_object_set_new(json_object_get(lease, "request"), "top_p", json_real(7));
    fake_queue(f, lease);
    assert_true(wait_done(f));
    assert_non_null(strstr(json_string_value(json_object_get(f->last_piece, "error")), "top_p"));
    reset(f);
    fake_queue(f, serve_lease("x", 10, 5, NULL));
    assert_true(wait_done(f));
    assert_true(json_is_null(json_object_get(f->last_piece, "error")));
    agent_end(&a);
}

/* ---- private models ---- */

static const char *answered_error(struct fake *f, json_t *lease)
{
    fake_queue(f, lease);
    assert_true(wait_done(f));
    return json_string_value(json_object_get(f->last_piece, "error"));
}

/* Each request is answered with the key of its own lease; nothing of it is there for the next. */
static void test_private_model(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    struct emac_buf want;
    struct cid block, dir = model_sealed(&block);
    emac_buf_init(&want, 4096);
    say("in the beginning", 20, 5, &want);
    agent_start(&a, f->url);
    const char *did = node_did(a.node);
    for (int i = 0; i < 2; i++) {
        assert_null(answered_error(f, sealed_lease(&dir, &block, did, "lease-s")));
        os_mutex_lock(&f->lock);
        assert_string_equal(emac_buf_str(&f->text), emac_buf_str(&want));
        os_mutex_unlock(&f->lock);
        reset(f);
        json_t *bare = sealed_lease(&dir, &block, did, "lease-s");
        json_object_del(bare, "keys");
        assert_non_null(strstr(answered_error(f, bare), "its key is not here"));
        reset(f);
        assert_non_null(strstr(answered_error(f, sealed_lease(&dir, &block, did, "lease-t")),
                               "not meant for us"));
        reset(f);
    }
    assert_non_null(
        strstr(answered_error(f, sealed_lease(&dir, &dir, did, "lease-s")), "its key is not here"));
    emac_buf_release(&want);
    agent_end(&a);
}

static void test_stop_while_generating(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    agent_start(&a, f->url);
    fake_queue(f, serve_lease("x", 1000000, 5, NULL));
    fake_wait(f, pieces, 2);
    uint64_t began = os_real()->mono_ns(os_real());
    node_stop(a.node);
    agent_await(&a);
    assert_true(os_real()->mono_ns(os_real()) - began < 2500000000u);
    assert_true(json_is_true(json_object_get(f->last_piece, "done")));
    assert_non_null(json_string_value(json_object_get(f->last_piece, "error")));
    agent_end(&a);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_text),     TEST(test_stop_string),           TEST(test_client_gone),
        TEST(test_failures), TEST(test_stop_while_generating), TEST(test_private_model),
    };
    log_open();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

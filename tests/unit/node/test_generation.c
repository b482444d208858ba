/* Generation by a rig, against a coordinator by script. */
#include "agent_fixture.h"

#include "../work/seal_model.h"

#include "base/hex.h"
#include "model/language.h"
#include "node/piece.h"

struct model {
    struct exec_result init;
    struct cid cid, params;
};

static struct fake fake;
static struct model model;

static int setup(void **state)
{
    struct fake *f = &fake;
    struct task t = {0};
    struct job_block *block;
    size_t count;
    fake_open(f);
    t.program = plan_program(f->rig.plan, TASK_INIT)->cid;
    assert_ok(exec_run(f->rig.exec, &t, &model.init, err));
    model.params = output(&model.init, "params")->cid;
    assert_ok(plan_model(f->rig.plan, &model.params, &model.cid, &block, &count, err));
    for (size_t i = 0; i < count; i++)
        assert_ok(
            store_block_put_as(f->rig.store, &block[i].cid, block[i].data, block[i].len, err));
    job_blocks_free(block, count);
    return 0;
}

static int teardown(void **state)
{
    exec_result_release(fake.rig.exec, &model.init);
    fake_close(&fake);
    return 0;
}

static json_t *serve_lease(const char *prompt, int tokens, int seed, const char *stop)
{
    char text[CID_TEXT_MAX];
    cid_text(text, &model.cid);
    json_t *stops = stop != NULL ? json_pack("[s]", stop) : json_array();
    json_t *request =
        json_pack("{s:s,s:i,s:f,s:f,s:i,s:i,s:o}", "prompt", prompt, "max_tokens", tokens,
                  "temperature", 0.9, "top_p", 1.0, "top_k", 60, "seed", seed, "stop", stops);
    return json_pack("{s:s,s:s,s:s,s:o,s:{}}", "kind", "serve", "lease", "lease-s", "model", text,
                     "request", request, "sources");
}

/* What the model says, computed here. */
static void say(const char *prompt, int tokens, int seed, struct emac_buf *out)
{
    const struct store_value *w = output(&model.init, "params");
    const struct llama_config *c = &fake.rig.job.model;
    const struct sample_params params = {0.9, 1.0, 60, (uint64_t)seed};
    struct piece_filter filter;
    struct session *s;
    const struct language_files files = {.tokenizer = {0}};
    struct language language;
    struct completion *g;
    struct emac_slice bytes;
    bool ended;
    piece_init(&filter);
    assert_ok(language_read(&language, &files, c->vocab_size, err));
    assert_ok(session_open(fake.rig.dev, c, w->data, w->size, &s, err));
    assert_ok(completion_open(s, c, &language, EMAC_SLICE_STR(prompt), &params, &g, err));
    for (int i = 0; i < tokens; i++) {
        assert_ok(completion_next(g, &bytes, &ended, err));
        assert_true(!ended && bytes.len == 1);
        assert_ok(piece_push(&filter, bytes.data[0], out, err));
    }
    assert_ok(piece_end(&filter, out, err));
    completion_close(g);
    language_release(&language);
    session_close(s);
}

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

static const uint8_t KEY[SEAL_KEY_BYTES] = {6};

static struct cid model_sealed(struct cid *block)
{
    uint8_t key[ED25519_PUBLIC_BYTES], secret[ED25519_SECRET_BYTES], seed[ED25519_SEED_BYTES] = {1};
    char did[DID_KEY_MAX];
    crypto_ed25519_keypair(key, secret, seed);
    crypto_did_key(did, key);
    return model_seal(fake.rig.store, &model.cid, did, KEY, block);
}

/* A lease on the model `dir` with a key to `block` for the rig `did` and the lease `purpose`. */
static json_t *sealed_lease(const struct cid *dir, const struct cid *block, const char *did,
                            const char *purpose)
{
    json_t *lease = serve_lease("in the beginning", 20, 5, NULL);
    struct sealed_key k = {.asset = *block};
    struct emac_buf box;
    char text[CID_TEXT_MAX], box64[EMAC_BASE64_LEN(SEALED_BOX_MAX) + 1];
    memcpy(k.key, KEY, sizeof KEY);
    set_text(k.purpose, purpose);
    emac_buf_init(&box, SEALED_BOX_MAX);
    assert_ok(sealed_key_box(&k, did, &box, err));
    emac_base64(box64, box.data, box.len);
    emac_buf_release(&box);
    cid_text(text, dir);
    json_object_set_new(lease, "model", json_string(text));
    cid_text(text, block);
    json_object_set_new(lease, "keys", json_pack("{s:s}", text, box64));
    return lease;
}

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

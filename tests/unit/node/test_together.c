/* Several requests answered by one rig at once: each gets the text it would get alone (BATCH-1),
 * they come and go by themselves, and what else waits has its turn (SLOT-1 to SLOT-4,
 * node/serving.h). */
#include "generation.h"

#include "base/assert.h"
#include "model/session.h"
#include "node/serving.h"

#define ENDLESS 1000000

/* A request as lease `id`. */
static json_t *lease_as(const char *id, const char *prompt, int tokens, int seed)
{
    json_t *lease = serve_lease(prompt, tokens, seed, NULL);
    json_object_set_new(lease, "lease", json_string(id));
    return lease;
}

static json_t *said_of(struct fake *f, const char *id)
{
    os_mutex_lock(&f->lock);
    json_t *said = json_deep_copy(json_object_get(f->said, id));
    os_mutex_unlock(&f->lock);
    return said;
}

/* Until it has so much text, or is done. The caller's. */
static json_t *wait_said(struct fake *f, const char *id, size_t bytes)
{
    uint64_t end = os_real()->mono_ns(os_real()) + FAKE_WAIT_MS * (uint64_t)1000000;
    while (os_real()->mono_ns(os_real()) < end) {
        json_t *said = said_of(f, id);
        if (json_is_true(json_object_get(said, "done")) ||
            json_string_length(json_object_get(said, "text")) >= bytes)
            return said;
        json_decref(said);
        os_real()->sleep_ms(os_real(), 5);
    }
    fail_msg("waited in vain for request '%s'", id);
    return NULL;
}

static json_t *wait_end(struct fake *f, const char *id)
{
    return wait_said(f, id, SIZE_MAX);
}

static bool is_done(struct fake *f, const char *id)
{
    json_t *said = said_of(f, id);
    bool done = json_is_true(json_object_get(said, "done"));
    json_decref(said);
    return done;
}

/* Text and reason are those of the request alone. */
static void assert_alone(struct fake *f, const char *id, const char *prompt, int tokens, int seed)
{
    struct emac_buf want;
    json_t *said = wait_end(f, id);
    emac_buf_init(&want, 1 << 16);
    say(prompt, tokens, seed, &want);
    assert_true(json_is_null(json_object_get(said, "error")));
    assert_string_equal(json_string_value(json_object_get(said, "text")), emac_buf_str(&want));
    assert_string_equal(json_string_value(json_object_get(said, "finish_reason")), "length");
    emac_buf_release(&want);
    json_decref(said);
}

static void assert_error(struct fake *f, const char *id, const char *part)
{
    json_t *said = wait_end(f, id);
    const char *error = json_string_value(json_object_get(said, "error"));
    if (error == NULL || strstr(error, part) == NULL)
        fail_msg("request '%s': got \"%s\", wanted \"...%s...\"", id, error ? error : "no error",
                 part);
    json_decref(said);
}

static void cancel(struct fake *f, const char *id)
{
    os_mutex_lock(&f->lock);
    json_array_append_new(f->cancel, json_string(id));
    os_mutex_unlock(&f->lock);
}

static void start(struct agent *a, uint32_t slots, uint64_t cache_bytes)
{
    struct node_config cfg = agent_config(fake.url);
    cfg.slots = slots;
    cfg.cache_bytes = cache_bytes;
    agent_start_as(a, cfg);
}

static uint64_t cache_of_one(void)
{
    return session_bytes(&fake.rig.job.model, UINT32_MAX);
}

/* More requests than slots, of all lengths, some longer than the window. */
static void test_as_alone(void **state)
{
    static const struct {
        const char *id, *prompt;
        int tokens;
    } asks[] = {{"a", "in the beginning was the word", 150},
                {"b", "x", 1},
                {"c", "and", 90},
                {"d", "a prompt that is a good deal longer than the window of the model", 40},
                {"e", "y", 200},
                {"f", "in the beginning", 17},
                {"g", "zz", 120}};
    struct fake *f = &fake;
    struct node_figures figures;
    struct agent a;
    int tokens = 0;
    start(&a, 3, 0);
    for (size_t i = 0; i < EMAC_COUNT(asks); i++) {
        fake_queue(f, lease_as(asks[i].id, asks[i].prompt, asks[i].tokens, (int)i));
        tokens += asks[i].tokens;
    }
    for (size_t i = 0; i < EMAC_COUNT(asks); i++)
        assert_alone(f, asks[i].id, asks[i].prompt, asks[i].tokens, (int)i);
    figure_wait(a.node, &figures, tokens_served, (uint64_t)tokens);
    assert_int_equal(json_integer_value(json_object_get(f->last_poll, "slots")), 3);
    agent_end(&a);
}

/* A short one comes and ends beside one that goes on; whose client goes ends alone. */
static void test_they_come_and_go(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    struct emac_buf want;
    start(&a, 4, 0);
    fake_queue(f, lease_as("long", "on and on", ENDLESS, 1));
    json_decref(wait_said(f, "long", 50));
    fake_queue(f, lease_as("short", "x", 60, 2));
    assert_alone(f, "short", "x", 60, 2);
    fake_queue(f, lease_as("longer", "more", ENDLESS, 3));
    json_decref(wait_said(f, "longer", 50));
    assert_false(is_done(f, "long"));
    cancel(f, "long");
    assert_error(f, "long", "cancelled");
    assert_false(is_done(f, "longer"));
    fake_queue(f, lease_as("last", "y", 60, 4));
    assert_alone(f, "last", "y", 60, 4);
    assert_false(is_done(f, "longer"));
    /* what came of the one that was cut is the beginning of what comes alone */
    json_t *cut = said_of(f, "long");
    emac_buf_init(&want, 1 << 16);
    say("on and on", 120, 1, &want);
    assert_memory_equal(json_string_value(json_object_get(cut, "text")), want.data, 50);
    emac_buf_release(&want);
    json_decref(cut);
    agent_end(&a); /* ends the rest */
    assert_error(f, "longer", "cancelled");
}

/* Answers to its first piece are lost on their way: it comes again, and counts once. */
static void test_a_piece_is_sent_again(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    struct emac_buf want;
    start(&a, 2, 0);
    os_mutex_lock(&f->lock);
    f->piece_failures = 2;
    os_mutex_unlock(&f->lock);
    fake_queue(f, lease_as("a", "in the beginning", ENDLESS, 1));
    fake_wait(f, pieces, 5);
    cancel(f, "a");
    assert_error(f, "a", "cancelled");
    json_t *said = said_of(f, "a");
    const char *text = json_string_value(json_object_get(said, "text"));
    emac_buf_init(&want, 1 << 20);
    say("in the beginning", (int)strlen(text) + 8, 1, &want);
    assert_true(strlen(text) > 0);
    assert_memory_equal(text, want.data, strlen(text));
    emac_buf_release(&want);
    json_decref(said);
    agent_end(&a);
}

/* What fails at its beginning, or has no right to be, is no matter of the others. */
static void test_failures_are_their_own(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    json_t *bad = lease_as("bad", "x", 10, 1), *stranger = lease_as("stranger", "x", 10, 1);
    char text[CID_TEXT_MAX];
    start(&a, 4, 0);
    fake_queue(f, lease_as("long", "on and on", ENDLESS, 1));
    json_decref(wait_said(f, "long", 1));
    json_object_set_new(json_object_get(bad, "request"), "top_p", json_real(7));
    fake_queue(f, bad);
    assert_error(f, "bad", "top_p");
    fake_queue(f, lease_as("empty", "", 10, 1));
    assert_error(f, "empty", "prompt");
    /* A model that must be loaded waits for the one who is answered (SLOT-2), and others behind it:
     * when it comes to nothing they go on. */
    cid_text(text, &(struct cid){CID_DAG_PB, {9}});
    json_object_set_new(stranger, "model", json_string(text));
    fake_queue(f, stranger);
    fake_queue(f, lease_as("behind", "y", 30, 2));
    fake_wait(f, polls, 6);
    assert_false(is_done(f, "long") || is_done(f, "stranger"));
    cancel(f, "long");
    assert_error(f, "long", "cancelled");
    assert_error(f, "stranger", text);
    assert_alone(f, "behind", "y", 30, 2);
    agent_end(&a);
}

/* SLOT-1: two fit; the third goes on when one is gone. */
static void test_memory(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    start(&a, 4, 2 * cache_of_one() + cache_of_one() / 2);
    fake_queue(f, lease_as("one", "on and on", ENDLESS, 1));
    fake_queue(f, lease_as("two", "on and on", ENDLESS, 2));
    json_decref(wait_said(f, "one", 20));
    json_decref(wait_said(f, "two", 20));
    fake_queue(f, lease_as("three", "x", 40, 3));
    fake_wait(f, polls, 4);
    assert_false(is_done(f, "three"));
    cancel(f, "one");
    assert_alone(f, "three", "x", 40, 3);
    assert_false(is_done(f, "two"));
    agent_end(&a);
}

static void test_too_much_memory(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    start(&a, 4, cache_of_one() - 1);
    fake_queue(f, lease_as("none", "x", 40, 3));
    assert_error(f, "none", "for keys and values, and this rig has");
    agent_end(&a);
}

/* SLOT-4, in the queue alone: a run asks for somebody, and then the worker for what is next. */
static const struct turn {
    const char *name;
    bool has_task;
    enum leased_kind kind;
    enum leased_inputs inputs;
    uint32_t outbox;
    uint64_t run_ms;
    bool takes, next_is_task;
} turns[] = {
    {"nothing else waits", false, LEASED_TASK, INPUTS_DONE, 0, SERVE_RUN_MS, true, false},
    {"a task waits", true, LEASED_TASK, INPUTS_DONE, 0, SERVE_RUN_MS - 1, true, false},
    {"a task waited", true, LEASED_TASK, INPUTS_DONE, 0, SERVE_RUN_MS, false, true},
    {"its inputs come", true, LEASED_TASK, INPUTS_COMING, 0, SERVE_RUN_MS, true, false},
    {"a question waits", true, LEASED_DISPUTE, INPUTS_DONE, 0, 0, false, true},
    {"no room for a receipt", true, LEASED_TASK, INPUTS_DONE, NODE_OUTBOX_MAX, SERVE_RUN_MS, false,
     false},
};

static uint64_t turn_clock(struct os *os)
{
    return UINT64_C(1000000000000);
}

static void test_turns(void **state)
{
    for (size_t i = 0; i < EMAC_COUNT(turns); i++) {
        const struct turn *t = &turns[i];
        struct os os = *os_real();
        struct leased asked[2] = {{.kind = LEASED_SERVE}, {.kind = LEASED_SERVE}};
        struct leased task = {.kind = t->kind, .inputs = t->inputs, .job = "job-1"};
        static struct node n;
        os.mono_ns = turn_clock;
        n = (struct node){.os = &os,
                          .slots = 2,
                          .asked = {&asked[0], &asked[1]},
                          .asked_count = 2,
                          .ready = {&task},
                          .ready_count = t->has_task,
                          .outbox_count = t->outbox};
        os_mutex_init(&n.lock);
        os_cond_init(&n.wake);
        const struct leased *in = agent_ahead_asked(&n, turn_clock(&os) - t->run_ms * 1000000);
        const struct leased *next = agent_ahead_next(&n);
        const struct leased *first = t->takes ? &asked[1] : &asked[0];
        const struct leased *after = t->next_is_task ? agent_ahead_next(&n) : first;
        if (in != (t->takes ? &asked[0] : NULL) || next != (t->next_is_task ? &task : first) ||
            after != first)
            fail_msg("%s: %s", t->name, in != NULL ? "the run takes somebody" : "it takes nobody");
        os_cond_release(&n.wake);
        os_mutex_release(&n.lock);
    }
}

/* Leases that the rig has not polled for. */
static uint32_t fake_queued(struct fake *f)
{
    os_mutex_lock(&f->lock);
    uint32_t queued = f->queued;
    os_mutex_unlock(&f->lock);
    return queued;
}

/* SLOT-4: while a question of a dispute waits nobody joins the run, and it is answered before the
 * next one. */
static void test_a_question_comes_between(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    start(&a, 4, 0);
    fake_queue(f, lease_as("long", "on and on", ENDLESS, 1));
    json_decref(wait_said(f, "long", 20));
    fake_queue(f, json_pack("{s:s,s:s}", "kind", "dispute", "lease", "asked-1"));
    fake_queue(f, lease_as("behind", "y", 30, 2));
    while (fake_queued(f) > 0)
        os_real()->sleep_ms(os_real(), 5);
    fake_wait(f, pieces, fake_get(f, &f->pieces) + 5);
    assert_int_equal(fake_get(f, &f->disputes), 0);
    cancel(f, "long");
    assert_alone(f, "behind", "y", 30, 2);
    assert_int_equal(fake_get(f, &f->disputes), 1);
    os_mutex_lock(&f->lock);
    assert_int_equal(f->said_before, 1); /* of "long" alone */
    os_mutex_unlock(&f->lock);
    assert_error(f, "long", "cancelled");
    agent_end(&a);
}

/* Leases with keys share what they open, with nobody else; it goes with the last of them. */
static void test_private(void **state)
{
    struct fake *f = &fake;
    struct agent a;
    struct cid block, dir = model_sealed(&block);
    start(&a, 4, 0);
    const char *did = node_did(a.node);
    json_t *p[3];
    static const char *const ID[] = {"p", "q", "bare"};
    for (int i = 0; i < 3; i++) {
        p[i] = sealed_lease(&dir, &block, did, ID[i]);
        json_object_set_new(p[i], "lease", json_string(ID[i]));
    }
    json_object_set_new(json_object_get(p[0], "request"), "max_tokens", json_integer(ENDLESS));
    json_object_del(p[2], "keys");
    fake_queue(f, p[0]);
    json_decref(wait_said(f, "p", 20));
    fake_queue(f, p[1]);
    assert_alone(f, "q", "in the beginning", 20, 5); /* as sealed_lease asks */
    fake_queue(f, p[2]);
    fake_queue(f, lease_as("open", "x", 40, 1));
    assert_false(is_done(f, "p"));
    cancel(f, "p");
    assert_error(f, "bare", "its key is not here");
    assert_alone(f, "open", "x", 40, 1);
    agent_end(&a);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_as_alone),
        TEST(test_they_come_and_go),
        TEST(test_a_piece_is_sent_again),
        TEST(test_failures_are_their_own),
        TEST(test_memory),
        TEST(test_too_much_memory),
        TEST(test_private),
        cmocka_unit_test(test_turns),
        TEST(test_a_question_comes_between),
    };
    log_open();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A rig that takes in the next tasks while it computes (node/ahead.c). The worker is held at the
 * beginning of a task by a gate, and peers' answers by another, so nothing here depends on how long
 * a task or a transfer takes. */
#include "agent_tasks.h"

#include "sched/place.h"

/* ---- the gate ---- */

/* Of the tasks that began, `open` may go on. */
struct gate {
    struct os_mutex lock;
    struct os_cond changed;
    int begun, open;
};

static void gate_wait(void *ctx, const char *name, uint8_t *bundle, size_t n)
{
    struct gate *g = ctx;
    if (name != NULL)
        return;
    os_mutex_lock(&g->lock);
    int mine = ++g->begun;
    os_cond_broadcast(&g->changed);
    while (g->open < mine)
        os_cond_wait(&g->changed, &g->lock);
    os_mutex_unlock(&g->lock);
}

static void gate_open(struct gate *g, int count)
{
    os_mutex_lock(&g->lock);
    g->open = count;
    os_cond_broadcast(&g->changed);
    os_mutex_unlock(&g->lock);
}

static void gate_await(struct gate *g, int count)
{
    uint64_t end = os_real()->mono_ns(os_real()) + FAKE_WAIT_MS * (uint64_t)1000000;
    os_mutex_lock(&g->lock);
    while (g->begun < count && os_real()->mono_ns(os_real()) < end)
        os_cond_wait_ms(&g->changed, &g->lock, 20);
    int begun = g->begun;
    os_mutex_unlock(&g->lock);
    assert_true(begun >= count);
}

/* ---- a rig at the gate ---- */

struct held {
    struct agent a;
    struct gate gate;
    struct cid program;
};

static void held_start(struct held *h, uint64_t memory_quota)
{
    struct node_config cfg = agent_config(fake.url);
    *h = (struct held){.gate = {.begun = 0}};
    os_mutex_init(&h->gate.lock);
    os_cond_init(&h->gate.changed);
    cfg.tamper = gate_wait;
    cfg.tamper_ctx = &h->gate;
    cfg.memory_quota = memory_quota;
    h->program = scale_program(fake.rig.store, LARGE);
    agent_start_as(&h->a, cfg);
}

static void held_end(struct held *h)
{
    gate_open(&h->gate, 1000);
    agent_end(&h->a);
    os_cond_release(&h->gate.changed);
    os_mutex_release(&h->gate.lock);
}

/* Lease "lease-i" of a task on that input. */
static void lease_on(struct held *h, int i, const struct cid *in, int64_t fetch_bytes)
{
    struct task t = scale_task(&h->program, in, (float)i);
    char id[32];
    snprintf(id, sizeof id, "lease-%d", i);
    json_t *lease = task_lease(id, "step", ROUND, &t, NULL, NULL);
    json_object_set_new(lease, "fetch_bytes", json_integer(fetch_bytes));
    fake_queue(&fake, lease);
}

/* The same on an input of its own, whose CID is returned. */
static struct cid lease_give(struct held *h, int i, int64_t fetch_bytes)
{
    struct cid in = large_put(&fake, (float)i);
    lease_on(h, i, &in, fetch_bytes);
    return in;
}

/* From now on the depot's answers are held back: of all, or of one root. */
static void answers_hold(const struct cid *only)
{
    os_mutex_lock(&fake.lock);
    fake.hold = true;
    fake.hold_only = only == NULL ? (struct cid){0} : *only;
    os_mutex_unlock(&fake.lock);
}

static void answers_go(void)
{
    os_mutex_lock(&fake.lock);
    fake.hold = false;
    os_cond_broadcast(&fake.changed);
    os_mutex_unlock(&fake.lock);
}

/* Wait until so many requests wait for the depot's answer. */
static void asks_await(int count)
{
    uint64_t end = os_real()->mono_ns(os_real()) + FAKE_WAIT_MS * (uint64_t)1000000;
    os_mutex_lock(&fake.lock);
    while (fake.waiting < count && os_real()->mono_ns(os_real()) < end)
        os_cond_wait_ms(&fake.changed, &fake.lock, 20);
    int waiting = fake.waiting;
    os_mutex_unlock(&fake.lock);
    assert_int_equal(waiting, count);
}

/* Wait until a heartbeat names exactly these leases: bit i for "lease-i". */
static void beats_await(uint32_t want)
{
    uint64_t end = os_real()->mono_ns(os_real()) + FAKE_WAIT_MS * (uint64_t)1000000;
    uint32_t got = 0;
    os_mutex_lock(&fake.lock);
    do {
        const json_t *leases = json_object_get(fake.last_beat, "leases"), *id;
        size_t k;
        got = 0;
        json_array_foreach(leases, k, id) got |= 1u << atoi(json_string_value(id) + 6);
        if (got != want)
            os_cond_wait_ms(&fake.changed, &fake.lock, 20);
    } while (got != want && os_real()->mono_ns(os_real()) < end);
    os_mutex_unlock(&fake.lock);
    assert_int_equal(got, want);
}

static void served_await(const struct held *h, const struct cid *cid)
{
    uint64_t end = os_real()->mono_ns(os_real()) + FAKE_WAIT_MS * (uint64_t)1000000;
    while (!serves(&h->a, cid) && os_real()->mono_ns(os_real()) < end)
        os_real()->sleep_ms(os_real(), 5);
    assert_true(serves(&h->a, cid));
}

/* ---- tests ---- */

/* Leases and inputs of the next two are here before the first has computed; and no more of them. */
static void test_the_next_inputs_come_meanwhile(void **state)
{
    struct held h;
    held_start(&h, 64 << 20);
    lease_give(&h, 1, 0);
    gate_await(&h.gate, 1);
    struct cid second = lease_give(&h, 2, LARGE * 4), third = lease_give(&h, 3, LARGE * 4);
    lease_give(&h, 4, LARGE * 4);
    served_await(&h, &second);
    served_await(&h, &third);
    beats_await(1 << 1 | 1 << 2 | 1 << 3);
    assert_int_equal(fake_get(&fake, &fake.receipts), 0);
    assert_int_equal(fake_get(&fake, &fake.polls), 3);
    gate_open(&h.gate, 4);
    fake_wait(&fake, receipts, 4);
    beats_await(0);
    assert_int_equal(fake_get(&fake, &fake.failures), 0);
    held_end(&h);
}

/* AHEAD-5: the inputs of the next two tasks are asked for beside each other, and while the first of
 * them is on its way the third lease was polled for; not those of a third. */
static void test_two_tasks_are_fetched_for_at_once(void **state)
{
    struct held h;
    held_start(&h, 64 << 20);
    lease_give(&h, 1, 0);
    gate_await(&h.gate, 1);
    answers_hold(NULL);
    for (int i = 2; i <= 4; i++)
        lease_give(&h, i, LARGE * 4);
    asks_await(SCHED_FETCH_TASKS);
    beats_await(1 << 1 | 1 << 2 | 1 << 3);
    assert_int_equal(fake_get(&fake, &fake.polls), 3);
    answers_go();
    gate_open(&h.gate, 4);
    fake_wait(&fake, receipts, 4);
    assert_int_equal(fake_get(&fake, &fake.failures), 0);
    held_end(&h);
}

/* What two of them need comes once. */
static void test_what_two_need_comes_once(void **state)
{
    struct held h;
    struct cid both = large_put(&fake, 9);
    held_start(&h, 64 << 20);
    lease_give(&h, 1, 0);
    gate_await(&h.gate, 1);
    answers_hold(&both);
    os_mutex_lock(&fake.lock);
    fake.watched = both;
    os_mutex_unlock(&fake.lock);
    lease_on(&h, 2, &both, LARGE * 4);
    lease_on(&h, 3, &both, LARGE * 4);
    beats_await(1 << 1 | 1 << 2 | 1 << 3);
    asks_await(1);
    answers_go();
    gate_open(&h.gate, 3);
    fake_wait(&fake, receipts, 3);
    assert_int_equal(fake_get(&fake, &fake.watched_asks), 1);
    assert_int_equal(fake_get(&fake, &fake.failures), 0);
    held_end(&h);
}

/* AHEAD-4: the inputs of the later task are here first, and it waits for its turn. */
static void test_tasks_begin_in_order(void **state)
{
    struct held h;
    struct receipt r;
    struct cid slow = large_put(&fake, 9);
    held_start(&h, 64 << 20);
    lease_give(&h, 1, 0);
    gate_await(&h.gate, 1);
    answers_hold(&slow);
    lease_on(&h, 2, &slow, LARGE * 4);
    struct cid third = lease_give(&h, 3, LARGE * 4);
    asks_await(1);
    served_await(&h, &third);
    gate_open(&h.gate, 3);
    fake_wait(&fake, receipts, 1);
    answers_go();
    fake_wait(&fake, receipts, 3);
    receipt_read(&fake, &r);
    assert_string_equal(r.lease, "lease-3");
    held_end(&h);
}

/* INV-6: another rig begins it; its place and its inputs are for the next. */
static void test_what_is_taken_back_is_dropped(void **state)
{
    struct held h;
    held_start(&h, 64 << 20);
    lease_give(&h, 1, 0);
    gate_await(&h.gate, 1);
    lease_give(&h, 2, 0);
    lease_give(&h, 3, 0);
    beats_await(1 << 1 | 1 << 2 | 1 << 3);
    os_mutex_lock(&fake.lock);
    json_array_append_new(fake.cancel, json_string("lease-2"));
    os_mutex_unlock(&fake.lock);
    beats_await(1 << 1 | 1 << 3);
    struct cid fourth = lease_give(&h, 4, 0);
    served_await(&h, &fourth);
    gate_open(&h.gate, 3);
    fake_wait(&fake, receipts, 3);
    assert_int_equal(fake_get(&fake, &fake.failures), 0);
    assert_int_equal(h.gate.begun, 3);
    held_end(&h);
}

/* INV-5: two inputs do not fit into memory_quota, so the second waits for its turn; it is done. */
static void test_memory_comes_before_looking_ahead(void **state)
{
    struct held h;
    held_start(&h, LARGE * 6);
    lease_give(&h, 1, 0);
    gate_await(&h.gate, 1);
    struct cid second = lease_give(&h, 2, LARGE * 4);
    lease_give(&h, 3, LARGE * 4);
    beats_await(1 << 1 | 1 << 2 | 1 << 3); /* the intake is done with the second */
    assert_false(serves(&h.a, &second));
    gate_open(&h.gate, 1);
    gate_await(&h.gate, 2);
    assert_true(serves(&h.a, &second));
    gate_open(&h.gate, 3);
    fake_wait(&fake, receipts, 3);
    assert_int_equal(fake_get(&fake, &fake.failures), 0);
    held_end(&h);
}

/* INV-2: receipts wait for a coordinator that does not take them, in order, and no task is begun
 * for which there would be no place. */
static void test_receipts_wait_in_order(void **state)
{
    struct held h;
    struct receipt r;
    held_start(&h, 64 << 20);
    os_mutex_lock(&fake.lock);
    fake.receipt_failures = 3;
    os_mutex_unlock(&fake.lock);
    gate_open(&h.gate, 1000);
    for (int i = 1; i <= 5; i++)
        lease_give(&h, i, 0);
    fake_wait(&fake, receipts, 5);
    receipt_read(&fake, &r);
    assert_string_equal(r.lease, "lease-5");
    assert_int_equal(fake_get(&fake, &fake.receipt_failures), 0);
    held_end(&h);
}

/* Whatever is held goes back, each lease once. */
static void test_stop_gives_all_back(void **state)
{
    struct held h;
    held_start(&h, 64 << 20);
    lease_give(&h, 1, 0);
    gate_await(&h.gate, 1);
    lease_give(&h, 2, 0);
    lease_give(&h, 3, 0);
    beats_await(1 << 1 | 1 << 2 | 1 << 3);
    node_stop(h.a.node);
    gate_open(&h.gate, 1000);
    agent_await(&h.a);
    assert_int_equal(fake_get(&fake, &fake.receipts) + fake_get(&fake, &fake.failures), 3);
    assert_true(fake_get(&fake, &fake.failures) >= 2);
    held_end(&h);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_next_inputs_come_meanwhile), TEST(test_two_tasks_are_fetched_for_at_once),
        TEST(test_what_two_need_comes_once),       TEST(test_tasks_begin_in_order),
        TEST(test_what_is_taken_back_is_dropped),  TEST(test_memory_comes_before_looking_ahead),
        TEST(test_receipts_wait_in_order),         TEST(test_stop_gives_all_back),
    };
    log_open();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Leases: who gets what, losing them, answering them late, twice, or for somebody else. */
#include <stdatomic.h>

#include "harness.h"

#include "sched/place.h"

/* A lease on a gradient of a job with one range a step. */
static json_t *gradient_lease(struct net *n, struct rigbot *r)
{
    for (int i = 0; i < 50; i++) {
        json_t *lease = poll(n, r, 200);
        if (lease && strncmp(str_of(lease, "slot"), "grad", 4) == 0)
            return lease;
        if (lease)
            assert_int_equal(answer(n, r, lease, false, NULL), 200);
        json_decref(lease);
    }
    fail_msg("no gradient is leased");
    return NULL;
}

/* As rigs do it: heard of all the time it waits. */
static json_t *poll_long(struct net *n, struct rigbot *r, int ms)
{
    json_t *lease = NULL;
    for (int i = 0; i < ms / 50 && lease == NULL; i++)
        lease = poll(n, r, 50);
    return lease;
}

static void short_ttl(struct net *n, const char *name)
{
    n->cfg.lease_ttl_ms = 300;
    net_open(n, name);
}

static void a_lost_rig_gives_its_task_to_another(void **state)
{
    struct net n = {0};
    (void)state;
    short_ttl(&n, "lost");
    struct rigbot *a = rig_add(&n), *b = rig_add(&n);
    struct job job = net_job(&n, 3, 1);
    net_submit(&n, &job);
    json_t *lease = gradient_lease(&n, a);
    assert_null(poll(&n, b, 20)); /* a has it */
    json_t *second = poll_long(&n, b, 5000);
    assert_non_null(second);
    assert_string_equal(str_of(second, "slot"), str_of(lease, "slot"));
    assert_string_not_equal(str_of(second, "lease"), str_of(lease, "lease"));
    assert_int_equal(answer(&n, b, second, false, NULL), 200);
    json_decref(second);
    assert_true(logged(&n, "has not been heard of"));
    /* The late answer is right, but one execution was wanted. */
    json_t *reply;
    assert_int_equal(answer(&n, a, lease, false, &reply), 200);
    assert_true(json_is_true(json_object_get(reply, "accepted")));
    assert_int_equal(units_of(reply, "paid_units"), 0);
    json_decref(reply);
    json_decref(lease);
    run_until(&n, "succeeded");
    assert_int_equal(figure(&n, "retries"), 1);
    assert_audit(&n);
    net_close(&n);
}

static void the_first_answer_wins_even_when_its_lease_expired(void **state)
{
    struct net n = {0};
    (void)state;
    short_ttl(&n, "firstwins");
    struct rigbot *a = rig_add(&n), *b = rig_add(&n);
    struct job job = net_job(&n, 3, 1);
    net_submit(&n, &job);
    json_t *lease = gradient_lease(&n, a), *reply;
    json_t *second = poll_long(&n, b, 2000);
    assert_non_null(second);
    assert_int_equal(answer(&n, a, lease, false, &reply), 200);
    assert_true(json_is_true(json_object_get(reply, "accepted")));
    assert_true(units_of(reply, "paid_units") > 0);
    json_decref(reply);
    json_t *h = beat(&n, b); /* b may stop */
    assert_int_equal(json_array_size(json_object_get(h, "cancel")), 1);
    json_decref(h);
    assert_int_equal(answer(&n, b, second, false, &reply), 200);
    assert_int_equal(units_of(reply, "paid_units"), 0);
    json_decref(reply);
    json_decref(lease);
    json_decref(second);
    run_until(&n, "succeeded");
    assert_audit(&n);
    net_close(&n);
}

/* It is heard of all the time, but does not come to an end. */
static void a_slow_rig_is_relieved_and_its_late_answer_is_no_fault(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "slow");
    struct rigbot *a = rig_add(&n), *b = rig_add(&n);
    struct job job = net_job(&n, 3, 1);
    net_submit(&n, &job);
    json_t *lease = gradient_lease(&n, a), *copy = NULL, *reply;
    for (int i = 0; i < 400 && copy == NULL; i++) {
        json_decref(beat(&n, a));
        copy = poll(&n, b, 50);
    }
    assert_non_null(copy);
    assert_string_equal(str_of(copy, "slot"), str_of(lease, "slot"));
    assert_string_not_equal(str_of(copy, "lease"), str_of(lease, "lease"));
    assert_false(logged(&n, "longer than four times")); /* long before the time limit */
    assert_int_equal(answer(&n, b, copy, false, &reply), 200);
    assert_true(json_is_true(json_object_get(reply, "accepted")));
    assert_true(units_of(reply, "paid_units") > 0);
    json_decref(reply);
    reply = beat(&n, a); /* a is told to stop, and is too late */
    assert_int_equal(json_array_size(json_object_get(reply, "cancel")), 1);
    json_decref(reply);
    assert_int_equal(answer(&n, a, lease, false, &reply), 200);
    assert_int_equal(units_of(reply, "paid_units"), 0);
    json_decref(reply);
    json_decref(lease);
    json_decref(copy);
    run_until(&n, "succeeded"); /* with both of them */
    assert_int_equal(figure(&n, "mismatches"), 0);
    assert_false(a->unplugged);
    assert_true(a->done > 0);
    assert_audit(&n);
    net_close(&n);
}

static struct tree_range range_of(json_t *lease)
{
    unsigned step, first, count;
    assert_int_equal(sscanf(str_of(lease, "slot"), "grad/%u/%u+%u", &step, &first, &count), 3);
    return (struct tree_range){first, count};
}

static bool is_within(struct tree_range r, struct tree_range of)
{
    return r.first >= of.first && r.first + r.count <= of.first + of.count;
}

/* The coordinator's clock, which the test holds and moves by hand: rigs are as fast as it says. It
 * runs as others do before it is held, and goes on from there when it is let go. */
static atomic_uint_fast64_t hand_ns, go_ns;

static uint64_t hand_mono(struct os *os)
{
    (void)os;
    uint64_t held = atomic_load(&hand_ns), go = atomic_load(&go_ns);
    uint64_t now = os_real()->mono_ns(os_real());
    return held == 0 ? now : go == 0 ? held : held + (now - go);
}

static void hand_let_go(void)
{
    atomic_store(&go_ns, os_real()->mono_ns(os_real()));
}

static void hand_pass(uint32_t ms)
{
    atomic_fetch_add(&hand_ns, (uint64_t)ms * 1000000);
}

/* One poll; what comes of it is returned, unless it is no gradient: that is answered. */
static json_t *gradient_poll(struct net *n, struct rigbot *r)
{
    json_t *lease = poll(n, r, 0);
    if (lease == NULL || strncmp(str_of(lease, "slot"), "grad", 4) == 0)
        return lease;
    hand_pass(1);
    assert_int_equal(answer(n, r, lease, false, NULL), 200);
    json_decref(lease);
    return NULL;
}

/* Three rigs on the gradients of a step: *a, who got most, sits on its range, which is what is
 * returned. The others need a millisecond a micro-batch, until one of them has a piece of that
 * range: *piece. */
static json_t *late_range(struct net *n, struct os *os, const char *name, struct rigbot **a,
                          json_t **piece)
{
    *os = *os_real();
    os->mono_ns = hand_mono;
    atomic_store(&hand_ns, 0);
    atomic_store(&go_ns, 0);
    n->moved = os;
    net_open(n, name);
    for (int i = 0; i < 3; i++)
        rig_add(n);
    atomic_store(&hand_ns, os_real()->mono_ns(os_real()));
    struct job job = net_job(n, 2, 256);
    net_submit(n, &job);
    json_t *lease[3] = {NULL};
    uint32_t slow = 0;
    for (int i = 0; i < 12 && (!lease[0] || !lease[1] || !lease[2]); i++) {
        for (uint32_t k = 0; k < 3; k++)
            lease[k] = lease[k] ? lease[k] : gradient_poll(n, &n->rig[k]);
        hand_pass(SCHED_STATE_MS / 4); /* who makes the first weights may have the first word */
    }
    for (uint32_t k = 0; k < 3; k++) {
        assert_non_null(lease[k]);
        slow = range_of(lease[k]).count > range_of(lease[slow]).count ? k : slow;
    }
    struct rigbot *others[] = {&n->rig[(slow + 1) % 3], &n->rig[(slow + 2) % 3]};
    struct tree_range late = range_of(lease[slow]);
    *a = &n->rig[slow];
    for (uint32_t k = 0; k < 3; k++)
        if (k != slow) {
            hand_pass(1);
            assert_int_equal(answer(n, &n->rig[k], lease[k], false, NULL), 200);
            json_decref(lease[k]);
        }
    for (int i = 0; i < NET_LOOPS; i++) {
        struct rigbot *r = others[i % 2];
        json_decref(beat(n, *a));
        json_t *got = gradient_poll(n, r);
        if (got && is_within(range_of(got), late)) {
            *piece = got;
            return lease[slow];
        }
        hand_pass(got ? range_of(got).count : 20);
        if (got)
            assert_int_equal(answer(n, r, got, false, NULL), 200);
        json_decref(got);
    }
    fail_msg("'%s' stays with a rig that is late", str_of(lease[slow], "slot"));
    return NULL;
}

static struct rigbot *rig_with(struct net *n, json_t *lease)
{
    for (uint32_t k = 0; k < n->rigs; k++)
        if (strcmp(n->rig[k].lease, str_of(lease, "lease")) == 0)
            return &n->rig[k];
    fail_msg("nobody has '%s'", str_of(lease, "slot"));
    return NULL;
}

/* CUT-1, CUT-2: the others make it in pieces, and are done with it first. */
static void a_late_range_is_made_in_pieces(void **state)
{
    struct net n = {0};
    struct os os;
    (void)state;
    struct rigbot *a;
    json_t *piece, *reply, *lease = late_range(&n, &os, "pieces", &a, &piece);
    assert_true(range_of(piece).count < range_of(lease).count);
    assert_true(logged(&n, "others make it in pieces"));
    struct rigbot *b = rig_with(&n, piece);
    assert_int_equal(answer(&n, b, piece, false, NULL), 200);
    json_decref(piece);
    for (bool done = false; !done;) {
        hand_pass(1);
        for (uint32_t k = 0; k < 3; k++)
            if (&n.rig[k] != a)
                turn(&n, &n.rig[k]);
        reply = beat(&n, a);
        done = json_array_size(json_object_get(reply, "cancel")) == 1;
        json_decref(reply);
    }
    assert_int_equal(answer(&n, a, lease, false, &reply), 200);
    assert_int_equal(units_of(reply, "paid_units"), 0);
    json_decref(reply);
    json_decref(lease);
    hand_let_go();
    run_until(&n, "succeeded"); /* with all of them */
    assert_int_equal(figure(&n, "mismatches"), 0);
    assert_audit(&n);
    net_close(&n);
}

/* CUT-1: it was late, but not too late. */
static void a_late_rig_may_still_be_first(void **state)
{
    struct net n = {0};
    struct os os;
    (void)state;
    struct rigbot *a;
    json_t *piece, *reply, *lease = late_range(&n, &os, "stillfirst", &a, &piece);
    struct rigbot *b = rig_with(&n, piece);
    assert_int_equal(answer(&n, a, lease, false, &reply), 200);
    assert_true(json_is_true(json_object_get(reply, "accepted")));
    assert_true(units_of(reply, "paid_units") > 0);
    json_decref(reply);
    reply = beat(&n, b);
    assert_int_equal(json_array_size(json_object_get(reply, "cancel")), 1);
    json_decref(reply);
    assert_int_equal(answer(&n, b, piece, false, &reply), 200);
    assert_int_equal(units_of(reply, "paid_units"), 0);
    json_decref(reply);
    json_decref(piece);
    json_decref(lease);
    hand_let_go();
    run_until(&n, "succeeded");
    assert_audit(&n);
    net_close(&n);
}

static void heartbeats_keep_a_lease(void **state)
{
    struct net n = {0};
    (void)state;
    short_ttl(&n, "beats");
    struct rigbot *a = rig_add(&n);
    struct job job = net_job(&n, 2, 1);
    net_submit(&n, &job);
    json_t *lease = gradient_lease(&n, a);
    for (int i = 0; i < 5; i++) {
        sleep_ms(100);
        json_t *h = beat(&n, a);
        assert_int_equal(json_array_size(json_object_get(h, "cancel")), 0);
        json_decref(h);
    }
    assert_int_equal(answer(&n, a, lease, false, NULL), 200);
    json_decref(lease);
    assert_int_equal(figure(&n, "retries"), 0);
    run_until(&n, "succeeded");
    net_close(&n);
}

static void receipts_are_held_to_their_lease(void **state)
{
    struct net n = {0};
    struct made_up m;
    json_t *reply;
    (void)state;
    net_open(&n, "receipts");
    struct rigbot *a = rig_add(&n), *b = rig_add(&n);
    struct job job = net_job(&n, 3, 1);
    net_submit(&n, &job);
    json_t *lease = gradient_lease(&n, a);
    /* another rig's lease */
    make_up(&n, b, lease, false, &m);
    assert_int_equal(send_receipt(&n, b, &m, &reply), 403);
    json_decref(reply);
    /* another rig's name */
    set_text(m.receipt.node, a->id.did);
    assert_int_equal(send_receipt(&n, b, &m, NULL), 403);
    /* another task */
    make_up(&n, a, lease, false, &m);
    m.receipt.task = cid_for("another task");
    assert_int_equal(send_receipt(&n, a, &m, NULL), 400);
    /* a lease that never was */
    make_up(&n, a, lease, false, &m);
    set_text(m.receipt.lease, "00000000000000000000000000000000");
    assert_int_equal(send_receipt(&n, a, &m, NULL), 404);
    /* outputs of another kind */
    make_up(&n, a, lease, false, &m);
    set_text(m.receipt.output[0].name, "params");
    assert_int_equal(send_receipt(&n, a, &m, NULL), 400);
    int64_t held = balance(&n, "held:");
    /* the right one, twice: paid once, the same answer */
    make_up(&n, a, lease, false, &m);
    assert_int_equal(send_receipt(&n, a, &m, &reply), 200);
    holds_note(&n, a, &m);
    int64_t paid = units_of(reply, "paid_units");
    assert_true(paid > 0);
    json_decref(reply);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(send_receipt(&n, a, &m, &reply), 200);
        assert_int_equal(units_of(reply, "paid_units"), paid);
        json_decref(reply);
    }
    assert_int_equal(balance(&n, "held:"), held + paid);
    json_decref(lease);
    assert_audit(&n);
    run_until(&n, "succeeded");
    assert_audit(&n);
    net_close(&n);
}

/* Beside a receipt a rig tells what the task took, and asks for the next. */
static void a_receipt_brings_the_next_task(void **state)
{
    struct net n = {0};
    struct made_up m;
    json_t *reply, *bad = json_pack("{s:i}", "next", 1),
                   *odd = json_pack("{s:{s:i}}", "work", "sent", -1);
    json_t *ask = json_pack("{s:{}, s:{s:i, s:i}}", "next", "work", "computed_us", 5000, "sent", 7);
    (void)state;
    net_open(&n, "next");
    struct rigbot *a = rig_add(&n);
    struct job job = net_job(&n, 3, 1);
    net_submit(&n, &job);
    json_t *lease = gradient_lease(&n, a);
    make_up(&n, a, lease, false, &m);
    m.beside = bad;
    assert_int_equal(send_receipt(&n, a, &m, NULL), 400);
    m.beside = odd;
    assert_int_equal(send_receipt(&n, a, &m, NULL), 400);
    m.beside = ask;
    assert_int_equal(send_receipt(&n, a, &m, &reply), 200);
    json_t *next = json_object_get(reply, "next");
    assert_true(json_is_true(json_object_get(reply, "accepted")));
    assert_int_equal(strncmp(str_of(next, "slot"), "step", 4), 0);
    holds_note(&n, a, &m);
    made_up_release(&m);
    assert_int_equal(answer(&n, a, next, false, NULL), 200);
    json_decref(reply);
    json_decref(lease);
    json_decref(ask);
    json_decref(bad);
    json_decref(odd);
    run_until(&n, "succeeded");
    assert_audit(&n);
    net_close(&n);
}

/* Two gradients that `a` holds at once, of which it has not begun the second. */
static void two_leases(struct net *n, struct rigbot *a, json_t *lease[2])
{
    lease[0] = gradient_lease(n, a);
    while ((lease[1] = poll(n, a, 0)) == NULL) { /* it was the last of the round */
        assert_int_equal(answer(n, a, lease[0], false, NULL), 200);
        json_decref(lease[0]);
        lease[0] = gradient_lease(n, a);
    }
    assert_int_equal(strncmp(str_of(lease[1], "slot"), "grad", 4), 0);
    assert_string_not_equal(str_of(lease[0], "slot"), str_of(lease[1], "slot"));
    assert_true(int_of(lease[1], "deadline_ms") >= int_of(lease[0], "deadline_ms"));
}

/* A rig takes in one range of its own while it is at another, and no more (AHEAD-1). */
static void a_rig_at_work_takes_one_range_more(void **state)
{
    struct net n = {0};
    json_t *lease[2];
    (void)state;
    net_open(&n, "ahead");
    struct rigbot *a = rig_add(&n);
    struct job job = net_job(&n, 3, 12);
    net_submit(&n, &job);
    two_leases(&n, a, lease);
    assert_null(poll(&n, a, 50));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(answer(&n, a, lease[i], false, NULL), 200);
        json_decref(lease[i]);
    }
    assert_int_equal(figure(&n, "retries"), 0);
    run_until(&n, "succeeded");
    assert_audit(&n);
    net_close(&n);
}

/* What a rig holds and has not begun goes to one that is idle; its holder is told, and should it
 * answer first all the same, it is paid, and nobody twice (AHEAD-2). */
static void what_is_not_begun_goes_to_an_idle_rig(void **state)
{
    (void)state;
    for (int holder_first = 0; holder_first < 2; holder_first++) {
        struct net n = {0};
        json_t *lease[2], *taken = NULL, *reply;
        net_open(&n, holder_first ? "recall-a" : "recall-b");
        struct rigbot *a = rig_add(&n);
        struct job job = net_job(&n, 3, 12);
        net_submit(&n, &job);
        two_leases(&n, a, lease);
        struct rigbot *b = rig_add(&n);
        while (taken == NULL || strcmp(str_of(taken, "slot"), str_of(lease[1], "slot")) != 0) {
            if (taken != NULL)
                assert_int_equal(answer(&n, b, taken, false, NULL), 200);
            json_decref(taken);
            json_decref(beat(&n, a));
            taken = poll(&n, b, 100);
        }
        assert_string_not_equal(str_of(taken, "lease"), str_of(lease[1], "lease"));
        reply = beat(&n, a); /* names the second, which it shall drop */
        json_t *cancel = json_object_get(reply, "cancel");
        assert_int_equal(json_array_size(cancel), 1);
        assert_string_equal(json_string_value(json_array_get(cancel, 0)),
                            str_of(lease[1], "lease"));
        json_decref(reply);
        assert_int_equal(answer(&n, a, lease[0], false, NULL), 200);
        int64_t paid[2];
        for (int i = 0; i < 2; i++) {
            bool by_a = (i == 0) == (holder_first == 1);
            assert_int_equal(answer(&n, by_a ? a : b, by_a ? lease[1] : taken, false, &reply), 200);
            paid[i] = units_of(reply, "paid_units");
            json_decref(reply);
        }
        assert_true(paid[0] > 0 && paid[1] == 0);
        json_decref(lease[0]);
        json_decref(lease[1]);
        json_decref(taken);
        assert_audit(&n);
        run_until(&n, "succeeded");
        assert_audit(&n);
        net_close(&n);
    }
}

static void metrics_must_come_with_the_receipt(void **state)
{
    struct net n = {0};
    struct made_up m;
    json_t *lease = NULL;
    (void)state;
    net_open(&n, "metrics");
    struct rigbot *a = rig_add(&n);
    struct job job = net_job(&n, 2, 1);
    net_submit(&n, &job);
    while (lease == NULL || strncmp(str_of(lease, "slot"), "step", 4) != 0) {
        if (lease)
            assert_int_equal(answer(&n, a, lease, false, NULL), 200);
        json_decref(lease);
        lease = poll(&n, a, 500);
        assert_non_null(lease);
    }
    make_up(&n, a, lease, false, &m);
    m.has_metrics = false;
    assert_int_equal(send_receipt(&n, a, &m, NULL), 400);
    m.has_metrics = true;
    m.metrics.data[m.metrics.len - 1] ^= 1; /* not what the CID says */
    assert_int_equal(send_receipt(&n, a, &m, NULL), 422);
    m.metrics.data[m.metrics.len - 1] ^= 1;
    assert_int_equal(send_receipt(&n, a, &m, NULL), 200);
    holds_note(&n, a, &m);
    made_up_release(&m);
    json_decref(lease);
    run_until(&n, "succeeded");
    net_close(&n);
}

static void a_rig_that_contradicts_itself_is_out(void **state)
{
    struct net n = {0};
    struct made_up m;
    json_t *reply;
    (void)state;
    net_open(&n, "contradict");
    struct rigbot *a = rig_add(&n);
    struct job job = net_job(&n, 3, 1);
    net_submit(&n, &job);
    json_t *lease = gradient_lease(&n, a);
    assert_int_equal(answer(&n, a, lease, false, NULL), 200);
    make_up(&n, a, lease, true, &m);
    assert_int_equal(send_receipt(&n, a, &m, &reply), 200);
    assert_true(json_is_false(json_object_get(reply, "accepted")));
    json_decref(reply);
    json_decref(lease);
    assert_int_equal(poll_status(&n, a, 0, &reply), 403);
    json_decref(reply);
    assert_int_equal(balance(&n, "held:"), 0);
    assert_audit(&n);
    a->unplugged = true;
    rig_add(&n);
    run_until(&n, "succeeded");
    assert_audit(&n);
    net_close(&n);
}

static void a_new_process_of_a_rig_frees_its_lease(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "boot");
    struct rigbot *a = rig_add(&n), *b = rig_add(&n);
    struct job job = net_job(&n, 2, 1);
    net_submit(&n, &job);
    b->unplugged = true;
    json_t *lease = gradient_lease(&n, a), *again;
    set_text(a->boot, "another");
    assert_int_equal(hello(&n, a), 200);
    again = poll(&n, a, 2000); /* long before the time limit of 4 s would pass */
    assert_non_null(again);
    /* what it held went with the old process: the job begins where it can */
    json_decref(lease);
    assert_int_equal(answer(&n, a, again, false, NULL), 200);
    json_decref(again);
    run_until(&n, "succeeded");
    assert_audit(&n);
    net_close(&n);
}

static int fail_lease(struct net *n, struct rigbot *r, json_t *lease)
{
    r->lease[0] = 0;
    return call(n, &r->id, "POST", "/v1/failures",
                json_pack("{s:s, s:s, s:s}", "lease", str_of(lease, "lease"), "status", "io",
                          "message", "disk full"),
                NULL);
}

static void a_failing_rig_waits_before_it_tries_again(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "backoff");
    struct rigbot *a = rig_add(&n);
    struct job job = net_job(&n, 2, 1);
    net_submit(&n, &job);
    json_t *lease = gradient_lease(&n, a);
    assert_int_equal(fail_lease(&n, a, lease), 200);
    json_decref(lease);
    uint64_t began = os_real()->mono_ns(os_real());
    lease = poll(&n, a, 3000);
    assert_non_null(lease);
    uint64_t ms = (os_real()->mono_ns(os_real()) - began) / 1000000;
    assert_in_range(ms, 150, 900);
    assert_int_equal(answer(&n, a, lease, false, NULL), 200);
    json_decref(lease);
    assert_true(logged(&n, "disk full"));
    run_until(&n, "succeeded");
    assert_audit(&n);
    net_close(&n);
}

struct poller {
    struct net *n;
    struct rigbot *r;
    json_t *lease;
    int status;
    uint64_t ms;
};

static void *poller_main(void *arg)
{
    struct poller *p = arg;
    uint64_t began = os_real()->mono_ns(os_real());
    p->status = poll_status(p->n, p->r, 8000, &p->lease);
    p->ms = (os_real()->mono_ns(os_real()) - began) / 1000000;
    return NULL;
}

static void a_waiting_poll_wakes_when_work_comes(void **state)
{
    struct net n = {0};
    struct os_thread t;
    (void)state;
    net_open(&n, "wake");
    struct rigbot *a = rig_add(&n);
    struct poller p = {.n = &n, .r = a};
    os_thread_start(&t, poller_main, &p);
    sleep_ms(300);
    struct job job = net_job(&n, 2, 1);
    net_submit(&n, &job);
    os_thread_join(&t);
    assert_int_equal(p.status, 200);
    assert_in_range(p.ms, 300, 3000);
    json_decref(p.lease);
    net_close(&n);
}

static void a_new_poll_ends_the_old_one(void **state)
{
    struct net n = {0};
    struct os_thread t;
    (void)state;
    net_open(&n, "twopolls");
    struct rigbot *a = rig_add(&n);
    struct poller p = {.n = &n, .r = a};
    os_thread_start(&t, poller_main, &p);
    sleep_ms(200);
    assert_null(poll(&n, a, 50));
    os_thread_join(&t);
    assert_int_equal(p.status, 204);
    assert_in_range(p.ms, 100, 4000);
    json_decref(p.lease);
    net_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_rig_gives_its_task_to_another),
        cmocka_unit_test(the_first_answer_wins_even_when_its_lease_expired),
        cmocka_unit_test(a_slow_rig_is_relieved_and_its_late_answer_is_no_fault),
        cmocka_unit_test(a_late_range_is_made_in_pieces),
        cmocka_unit_test(a_late_rig_may_still_be_first),
        cmocka_unit_test(heartbeats_keep_a_lease),
        cmocka_unit_test(receipts_are_held_to_their_lease),
        cmocka_unit_test(a_receipt_brings_the_next_task),
        cmocka_unit_test(a_rig_at_work_takes_one_range_more),
        cmocka_unit_test(what_is_not_begun_goes_to_an_idle_rig),
        cmocka_unit_test(metrics_must_come_with_the_receipt),
        cmocka_unit_test(a_rig_that_contradicts_itself_is_out),
        cmocka_unit_test(a_new_process_of_a_rig_frees_its_lease),
        cmocka_unit_test(a_failing_rig_waits_before_it_tries_again),
        cmocka_unit_test(a_waiting_poll_wakes_when_work_comes),
        cmocka_unit_test(a_new_poll_ends_the_old_one),
    };
    return cmocka_run_group_tests_name("leases", tests, NULL, NULL);
}

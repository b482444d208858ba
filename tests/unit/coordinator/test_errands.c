/* coordinator/errands.h: many threads, one lock, one wait for the disk (ERRAND-1 to 3). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <stdatomic.h>

#include "base/assert.h"
#include "coordinator/errands.h"

#define THREADS 16
#define ROUNDS  200

static struct {
    struct os_mutex lock;
    struct errands errands;
    bool busy;    /* by the lock: is an errand being run? */
    long written; /* by the lock */
    atomic_long logged, settled;
    uint32_t baton; /* by the lock: whose turn it is */
    struct emac_err failure;
} t;

/* As a database: what is written when it begins is settled when it ends. */
static enum emac_status settle(void *ctx, struct emac_err *err)
{
    long now = atomic_load(&t.logged), was = atomic_load(&t.settled);
    assert_ptr_equal(ctx, &t);
    while (was < now && !atomic_compare_exchange_weak(&t.settled, &was, now))
        ;
    if (t.failure.status != EMAC_OK)
        *err = t.failure;
    return t.failure.status;
}

static void setup(void)
{
    memset(&t, 0, sizeof t);
    os_mutex_init(&t.lock);
    errands_init(&t.errands, os_real(), &t.lock, settle, &t);
}

static void teardown(void)
{
    errands_release(&t.errands);
    os_mutex_release(&t.lock);
}

static long write_one(void)
{
    EMAC_ASSERT(!t.busy);
    t.busy = true;
    atomic_store(&t.logged, ++t.written);
    t.busy = false;
    return t.written;
}

static void all_run(void *(*fn)(void *), uint32_t count)
{
    struct os_thread thread[THREADS];
    for (uint32_t i = 0; i < count; i++)
        os_thread_start(&thread[i], fn, (void *)(uintptr_t)i);
    for (uint32_t i = 0; i < count; i++)
        os_thread_join(&thread[i]);
}

/* ---- what is done at once ---- */

struct writing {
    struct errand errand;
    long number;
};

static bool write_run(void *ctx, struct errand *e)
{
    EMAC_ASSERT(ctx == &t);
    ((struct writing *)e)->number = write_one();
    return true;
}

static void *writer(void *arg)
{
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct writing w = {{.run = write_run, .wake_ms = UINT64_MAX}, 0};
        EMAC_ASSERT(errand_do(&t.errands, &w.errand, NULL) == EMAC_OK);
        EMAC_ASSERT(w.number > 0 && atomic_load(&t.settled) >= w.number);
        if (i % 7 != 0)
            continue;
        os_mutex_lock(&t.lock); /* as everybody else uses it */
        write_one();
        os_mutex_unlock(&t.lock);
    }
    return NULL;
}

static void test_each_is_done_once_and_settled(void **state)
{
    setup();
    all_run(writer, THREADS);
    assert_int_equal(t.written, THREADS * (ROUNDS + (ROUNDS + 6) / 7));
    teardown();
}

static void test_a_failure_to_settle_is_told(void **state)
{
    struct emac_err err = {.status = EMAC_OK};
    setup();
    emac_fail(&t.failure, EMAC_NO_SPACE, "the disk is full");
    struct writing w = {{.run = write_run, .wake_ms = UINT64_MAX}, 0};
    assert_int_equal(errand_do(&t.errands, &w.errand, &err), EMAC_NO_SPACE);
    assert_string_equal(err.text, "the disk is full");
    assert_int_equal(errand_do(&t.errands, &w.errand, NULL), EMAC_NO_SPACE);
    t.failure.status = EMAC_OK;
    assert_int_equal(errand_do(&t.errands, &w.errand, &err), EMAC_OK);
    assert_int_equal(w.number, 3);
    teardown();
}

/* ---- what waits ---- */

struct catching {
    struct errand errand;
    uint32_t me;
};

/* Takes the baton from the one before and hands it to the next: in one pass over those that wait it
 * gets one further, or all the way, as they happen to stand in line. */
static bool catch_run(void *ctx, struct errand *e)
{
    struct catching *c = (struct catching *)e;
    write_one();
    if (t.baton != c->me)
        return false;
    t.baton++;
    errands_changed(&t.errands);
    return true;
}

static void *catcher(void *arg)
{
    uint32_t me = (uint32_t)(uintptr_t)arg;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct catching c = {{.run = catch_run, .wake_ms = UINT64_MAX}, i * THREADS + me};
        EMAC_ASSERT(errand_do(&t.errands, &c.errand, NULL) == EMAC_OK);
    }
    return NULL;
}

static void test_who_waits_is_run_when_something_changed(void **state)
{
    setup();
    all_run(catcher, THREADS);
    assert_int_equal(t.baton, THREADS * ROUNDS);
    teardown();
}

/* Half wait; the other half changes things under the lock, without an errand. */
static void *thrower(void *arg)
{
    uint32_t me = (uint32_t)(uintptr_t)arg;
    if (me % 2 == 0) {
        struct catching c = {{.run = catch_run, .wake_ms = UINT64_MAX}, me};
        EMAC_ASSERT(errand_do(&t.errands, &c.errand, NULL) == EMAC_OK);
        return NULL;
    }
    for (bool thrown = false; !thrown;) {
        os_mutex_lock(&t.lock);
        thrown = t.baton == me;
        if (thrown) {
            t.baton++;
            errands_changed(&t.errands);
        }
        os_mutex_unlock(&t.lock);
        if (!thrown)
            os_real()->sleep_ms(os_real(), 1);
    }
    return NULL;
}

static void test_a_change_by_others_is_seen(void **state)
{
    for (uint32_t i = 0; i < 20; i++) {
        setup();
        all_run(thrower, THREADS);
        assert_int_equal(t.baton, THREADS);
        teardown();
    }
}

struct looking {
    struct errand errand;
    uint64_t from_ms;
    uint32_t times;
};

static uint64_t now_ms(void)
{
    return os_real()->mono_ns(os_real()) / 1000000;
}

static bool look_run(void *ctx, struct errand *e)
{
    struct looking *l = (struct looking *)e;
    l->times++;
    e->wake_ms = l->from_ms + 2 * (uint64_t)l->times;
    return now_ms() >= l->from_ms + 9;
}

/* Nothing changes: it is run again at the times it asks for, and no sooner. */
static void *looker(void *arg)
{
    for (uint32_t i = 0; i < 10; i++) {
        struct looking l = {{.run = look_run}, now_ms(), 0};
        l.errand.wake_ms = l.from_ms + 1 + i * 100; /* a guess, which run corrects */
        EMAC_ASSERT(errand_do(&t.errands, &l.errand, NULL) == EMAC_OK);
        EMAC_ASSERT(now_ms() >= l.from_ms + 9 && l.times <= 12);
    }
    return NULL;
}

static void test_time_is_enough(void **state)
{
    setup();
    all_run(looker, 1);
    all_run(looker, THREADS);
    teardown();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_is_done_once_and_settled),
        cmocka_unit_test(test_a_failure_to_settle_is_told),
        cmocka_unit_test(test_who_waits_is_run_when_something_changed),
        cmocka_unit_test(test_a_change_by_others_is_seen),
        cmocka_unit_test(test_time_is_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <string.h>

#include "os/os.h"
#include "os/thread.h"

#define PARTS_MAX 16

struct job {
    uint32_t parts;
    uint32_t calls[PARTS_MAX]; /* part i is written by its own thread alone */
    uint64_t plain;            /* written by the caller between runs, read by workers */
    atomic_uint wrong;
};

static void count_call(void *ctx, uint32_t part, uint32_t parts)
{
    struct job *j = ctx;
    if (parts != j->parts || part >= parts || j->plain != j->calls[part])
        atomic_fetch_add(&j->wrong, 1);
    j->calls[part]++;
}

/* Many short runs: a lost wake-up would hang here, a lost or doubled part would miscount. */
static void each_part_runs_once(void **state)
{
    for (uint32_t threads = 1; threads <= 5; threads++) {
        struct os_pool *pool = os_pool_new(threads);
        struct job j = {.parts = threads};
        assert_int_equal(os_pool_size(pool), threads);
        for (uint32_t run = 0; run < 3000; run++) {
            j.plain = run;
            os_pool_run(pool, count_call, &j);
            for (uint32_t i = 0; i < threads; i++)
                assert_int_equal(j.calls[i], run + 1);
        }
        assert_int_equal(j.wrong, 0);
        os_pool_free(pool);
    }
}

/* Pauses around the length of the spin, so that workers are caught awake, asleep and in between. */
static void wakes_after_pauses(void **state)
{
    struct os *os = os_real();
    struct os_pool *pool = os_pool_new(4);
    struct job j = {.parts = 4};
    for (uint32_t run = 0; run < 300; run++) {
        uint64_t until = os->mono_ns(os) + run * 300;
        if (run % 50 == 49)
            os->sleep_ms(os, 2);
        while (os->mono_ns(os) < until)
            ;
        j.plain = run;
        os_pool_run(pool, count_call, &j);
    }
    assert_int_equal(j.wrong, 0);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(j.calls[i], 300);
    os_pool_free(pool);
}

static void slow_part(void *ctx, uint32_t part, uint32_t parts)
{
    if (part == parts - 1)
        os_real()->sleep_ms(os_real(), 3);
    count_call(ctx, part, parts);
}

/* The caller falls asleep while it waits for the last part. */
static void caller_sleeps_until_done(void **state)
{
    struct os_pool *pool = os_pool_new(3);
    struct job j = {.parts = 3};
    for (uint32_t run = 0; run < 20; run++) {
        j.plain = run;
        os_pool_run(pool, slow_part, &j);
        assert_int_equal(j.calls[2], run + 1);
    }
    assert_int_equal(j.wrong, 0);
    os_pool_free(pool);
}

static void unused_pools_end(void **state)
{
    for (int i = 0; i < 50; i++)
        os_pool_free(os_pool_new(1 + (uint32_t)i % 8));
    os_pool_free(NULL);
}

struct meeting {
    struct os_mutex mutex;
    struct os_cond cond;
    int turn;
};

static void *answer(void *arg)
{
    struct meeting *m = arg;
    os_mutex_lock(&m->mutex);
    while (m->turn != 1)
        os_cond_wait(&m->cond, &m->mutex);
    m->turn = 2;
    os_cond_broadcast(&m->cond);
    os_mutex_unlock(&m->mutex);
    return NULL;
}

static void conditions(void **state)
{
    struct meeting m = {.turn = 0};
    struct os_thread t;
    os_mutex_init(&m.mutex);
    os_cond_init(&m.cond);
    os_mutex_lock(&m.mutex);
    uint64_t before = os_real()->mono_ns(os_real());
    assert_false(os_cond_wait_ms(&m.cond, &m.mutex, 5));
    assert_true(os_real()->mono_ns(os_real()) - before >= 5000000);
    os_thread_start(&t, answer, &m);
    m.turn = 1;
    os_cond_signal(&m.cond);
    while (m.turn != 2)
        os_cond_wait_ms(&m.cond, &m.mutex, 1000);
    os_mutex_unlock(&m.mutex);
    os_thread_join(&t);
    os_cond_release(&m.cond);
    os_mutex_release(&m.mutex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_part_runs_once),
        cmocka_unit_test(wakes_after_pauses),
        cmocka_unit_test(caller_sleeps_until_done),
        cmocka_unit_test(unused_pools_end),
        cmocka_unit_test(conditions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

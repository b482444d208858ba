/* Invariants.
 * POOL-1  A run is published by one increment of `epoch`; fn and ctx are written before it and not
 *         again until `pending` is 0, so a worker that saw the new epoch may read them unlocked.
 * POOL-2  `pending` counts workers that have not finished the run of the current epoch. A worker
 *         touches no fn, ctx of a run after its decrement.
 * POOL-3  No wake-up is lost. A sleeper raises its flag (`sleepers`, `caller_sleeps`) under the
 *         mutex and only then looks at the condition again; the waker changes the condition and
 *         only then looks at the flag. All four are sequentially consistent, so at least one of
 *         the two sees the other; a waker that sees the flag signals under the mutex. */
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/assert.h"
#include "os/thread.h"

#define POOL_SPIN_NS     100000
#define POOL_SPIN_STEP   64 /* pauses between two looks at the clock */
#define POOL_THREADS_MAX 1024

typedef void pool_fn(void *ctx, uint32_t part, uint32_t parts);

struct pool_worker {
    struct os_pool *pool;
    struct os_thread thread;
    uint32_t part;
};

struct os_pool {
    pool_fn *fn;
    void *ctx;
    _Alignas(64) atomic_uint epoch;
    _Alignas(64) atomic_uint pending;
    _Alignas(64) atomic_uint sleepers;
    atomic_bool caller_sleeps, quit;
    struct os_mutex mutex;
    struct os_cond work, done;
    uint32_t size;
    struct pool_worker worker[];
};

static inline void cpu_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Wait a short while for *v to differ from `old`. */
static bool spin_while_equal(atomic_uint *v, unsigned old)
{
    uint64_t end = 0;
    do {
        for (int i = 0; i < POOL_SPIN_STEP; i++) {
            if (atomic_load_explicit(v, memory_order_acquire) != old)
                return true;
            cpu_pause();
        }
        uint64_t now = now_ns();
        if (end == 0)
            end = now + POOL_SPIN_NS;
        else if (now >= end)
            return false;
    } while (true);
}

static void worker_wait(struct os_pool *p, unsigned seen)
{
    if (spin_while_equal(&p->epoch, seen))
        return;
    os_mutex_lock(&p->mutex);
    atomic_fetch_add(&p->sleepers, 1);
    while (atomic_load(&p->epoch) == seen)
        os_cond_wait(&p->work, &p->mutex);
    atomic_fetch_sub(&p->sleepers, 1);
    os_mutex_unlock(&p->mutex);
}

static void worker_finish(struct os_pool *p)
{
    if (atomic_fetch_sub(&p->pending, 1) != 1 || !atomic_load(&p->caller_sleeps))
        return;
    os_mutex_lock(&p->mutex);
    os_cond_signal(&p->done);
    os_mutex_unlock(&p->mutex);
}

static void *worker_main(void *arg)
{
    struct pool_worker *w = arg;
    struct os_pool *p = w->pool;
    for (unsigned seen = 0;; seen++) {
        worker_wait(p, seen);
        if (atomic_load(&p->quit))
            return NULL;
        p->fn(p->ctx, w->part, p->size);
        worker_finish(p);
    }
}

/* POOL-1, POOL-3 */
static void publish(struct os_pool *p)
{
    atomic_fetch_add(&p->epoch, 1);
    if (atomic_load(&p->sleepers) == 0)
        return;
    os_mutex_lock(&p->mutex);
    os_cond_broadcast(&p->work);
    os_mutex_unlock(&p->mutex);
}

static void wait_done(struct os_pool *p)
{
    unsigned left;
    while ((left = atomic_load(&p->pending)) != 0) {
        if (spin_while_equal(&p->pending, left))
            continue;
        os_mutex_lock(&p->mutex);
        atomic_store(&p->caller_sleeps, true);
        while (atomic_load(&p->pending) != 0)
            os_cond_wait(&p->done, &p->mutex);
        atomic_store(&p->caller_sleeps, false);
        os_mutex_unlock(&p->mutex);
    }
}

struct os_pool *os_pool_new(uint32_t threads)
{
    EMAC_ASSERT(threads >= 1 && threads <= POOL_THREADS_MAX);
    size_t bytes = sizeof(struct os_pool) + (threads - 1) * sizeof(struct pool_worker);
    struct os_pool *p = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    EMAC_ASSERT(p != NULL);
    p->fn = NULL;
    p->ctx = NULL;
    p->size = threads;
    atomic_init(&p->epoch, 0);
    atomic_init(&p->pending, 0);
    atomic_init(&p->sleepers, 0);
    atomic_init(&p->caller_sleeps, false);
    atomic_init(&p->quit, false);
    os_mutex_init(&p->mutex);
    os_cond_init(&p->work);
    os_cond_init(&p->done);
    for (uint32_t i = 0; i + 1 < threads; i++) {
        struct pool_worker *w = &p->worker[i];
        w->pool = p;
        w->part = i + 1;
        os_thread_start(&w->thread, worker_main, w);
    }
    return p;
}

void os_pool_free(struct os_pool *pool)
{
    if (pool == NULL)
        return;
    EMAC_ASSERT(atomic_load(&pool->pending) == 0);
    atomic_store(&pool->quit, true);
    publish(pool);
    for (uint32_t i = 0; i + 1 < pool->size; i++)
        os_thread_join(&pool->worker[i].thread);
    os_cond_release(&pool->done);
    os_cond_release(&pool->work);
    os_mutex_release(&pool->mutex);
    free(pool);
}

uint32_t os_pool_size(const struct os_pool *pool)
{
    return pool->size;
}

void os_pool_run(struct os_pool *pool, pool_fn *fn, void *ctx)
{
    if (pool->size == 1) {
        fn(ctx, 0, 1);
        return;
    }
    EMAC_ASSERT(atomic_load(&pool->pending) == 0);
    pool->fn = fn;
    pool->ctx = ctx;
    atomic_store(&pool->pending, pool->size - 1);
    publish(pool);
    fn(ctx, 0, pool->size);
    wait_done(pool);
}

/* Threads, locks, and a pool for data-parallel loops. Thin over pthreads; lock
 * and create calls cannot fail but by our own bugs and abort then. */
#ifndef EMAC_OS_THREAD_H
#define EMAC_OS_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of each thread but the first. The system's own size (8 MiB as a rule) counts in full against
 * RLIMIT_DATA, used or not: a rig of a dozen threads would take 84 MiB before its first task. Twice
 * what jansson needs for JSON as deep as it reads any (2,048 levels). */
#define OS_THREAD_STACK ((size_t)2 << 20)

struct os_mutex {
    pthread_mutex_t m;
};
struct os_cond {
    pthread_cond_t c; /* on the monotonic clock */
};
struct os_thread {
    pthread_t t;
};

void os_mutex_init(struct os_mutex *m);
void os_mutex_release(struct os_mutex *m);
void os_mutex_lock(struct os_mutex *m);
void os_mutex_unlock(struct os_mutex *m);
void os_cond_init(struct os_cond *c);
void os_cond_release(struct os_cond *c);
void os_cond_wait(struct os_cond *c, struct os_mutex *m);
/* false when `ms` passed without a signal */
bool os_cond_wait_ms(struct os_cond *c, struct os_mutex *m, uint32_t ms);
void os_cond_signal(struct os_cond *c);
void os_cond_broadcast(struct os_cond *c);
void os_thread_start(struct os_thread *t, void *(*fn)(void *), void *arg);
void os_thread_join(struct os_thread *t);

/* A pool of n-1 workers plus the calling thread. os_pool_run calls fn(ctx, part, n) once for each
 * part 0..n-1, part 0 on the caller, and returns when all are done. Not reentrant; one caller at a
 * time. Waiting spins briefly (about 20 us), then sleeps, so that an oversubscribed machine does
 * not burn. */
struct os_pool;
struct os_pool *os_pool_new(uint32_t threads); /* threads >= 1 */
void os_pool_free(struct os_pool *pool);
uint32_t os_pool_size(const struct os_pool *pool);
void os_pool_run(struct os_pool *pool, void (*fn)(void *ctx, uint32_t part, uint32_t parts),
                 void *ctx);

#endif

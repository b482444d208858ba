#include "os/thread.h"

#include <errno.h>
#include <time.h>

#include "base/assert.h"

void os_mutex_init(struct os_mutex *m)
{
    int rc = pthread_mutex_init(&m->m, NULL);
    EMAC_ASSERT(rc == 0);
}

void os_mutex_release(struct os_mutex *m)
{
    int rc = pthread_mutex_destroy(&m->m);
    EMAC_ASSERT(rc == 0);
}

void os_mutex_lock(struct os_mutex *m)
{
    int rc = pthread_mutex_lock(&m->m);
    EMAC_ASSERT(rc == 0);
}

void os_mutex_unlock(struct os_mutex *m)
{
    int rc = pthread_mutex_unlock(&m->m);
    EMAC_ASSERT(rc == 0);
}

void os_cond_init(struct os_cond *c)
{
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);
    EMAC_ASSERT(rc == 0);
    rc = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    EMAC_ASSERT(rc == 0);
    rc = pthread_cond_init(&c->c, &attr);
    EMAC_ASSERT(rc == 0);
    pthread_condattr_destroy(&attr);
}

void os_cond_release(struct os_cond *c)
{
    int rc = pthread_cond_destroy(&c->c);
    EMAC_ASSERT(rc == 0);
}

void os_cond_wait(struct os_cond *c, struct os_mutex *m)
{
    int rc = pthread_cond_wait(&c->c, &m->m);
    EMAC_ASSERT(rc == 0);
}

bool os_cond_wait_ms(struct os_cond *c, struct os_mutex *m, uint32_t ms)
{
    struct timespec t;
    int rc = clock_gettime(CLOCK_MONOTONIC, &t);
    EMAC_ASSERT(rc == 0);
    t.tv_sec += ms / 1000;
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_nsec -= 1000000000;
        t.tv_sec++;
    }
    rc = pthread_cond_timedwait(&c->c, &m->m, &t);
    EMAC_ASSERT(rc == 0 || rc == ETIMEDOUT);
    return rc == 0;
}

void os_cond_signal(struct os_cond *c)
{
    int rc = pthread_cond_signal(&c->c);
    EMAC_ASSERT(rc == 0);
}

void os_cond_broadcast(struct os_cond *c)
{
    int rc = pthread_cond_broadcast(&c->c);
    EMAC_ASSERT(rc == 0);
}

void os_thread_start(struct os_thread *t, void *(*fn)(void *), void *arg)
{
    pthread_attr_t attr;
    int rc = pthread_attr_init(&attr);
    EMAC_ASSERT(rc == 0);
    rc = pthread_attr_setstacksize(&attr, OS_THREAD_STACK);
    EMAC_ASSERT(rc == 0);
    rc = pthread_create(&t->t, &attr, fn, arg);
    EMAC_ASSERT(rc == 0);
    pthread_attr_destroy(&attr);
}

void os_thread_join(struct os_thread *t)
{
    int rc = pthread_join(t->t, NULL);
    EMAC_ASSERT(rc == 0);
}

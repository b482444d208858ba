#include "coordinator/errands.h"

#include "base/assert.h"

/* Over those that wait, when running them changes something for the others. */
#define PASSES_MAX 3

void errands_init(struct errands *all, struct os *os, struct os_mutex *lock,
                  enum emac_status (*settle)(void *ctx, struct emac_err *err), void *ctx)
{
    *all = (struct errands){.os = os, .lock = lock, .settle = settle, .ctx = ctx};
    all->end = &all->first;
    all->waits_end = &all->waits;
    os_mutex_init(&all->guard);
}

void errands_release(struct errands *all)
{
    EMAC_ASSERT(all->first == NULL && all->waits == NULL);
    os_mutex_release(&all->guard);
}

static uint64_t now_ms(const struct errands *all)
{
    return all->os->mono_ns(all->os) / 1000000;
}

/* ---- telling a thread that sleeps on its errand ---- */

static void lead_next(struct errand *e)
{
    os_mutex_lock(&e->guard);
    e->leads = true;
    os_cond_signal(&e->told);
    os_mutex_unlock(&e->guard);
}

/* When its thread is to see to it that it is run again. */
static void look_at(struct errand *e, uint64_t ms)
{
    os_mutex_lock(&e->guard);
    bool sooner = ms < e->look_ms;
    e->look_ms = ms;
    if (sooner)
        os_cond_signal(&e->told);
    os_mutex_unlock(&e->guard);
}

/* The errand is its thread's again: it must not be touched after this. */
static void tell(struct errand *e, enum emac_status st, const struct emac_err *why)
{
    os_mutex_lock(&e->guard);
    e->st = st;
    e->why = *why;
    e->over = true;
    os_cond_signal(&e->told);
    os_mutex_unlock(&e->guard);
}

/* ---- leading: under the lock ---- */

struct batch {
    struct errand *first, **end;
};

/* What is in line; who is left there has somebody to lead. */
static struct errand *line_take(struct errands *all)
{
    uint32_t count = 0;
    os_mutex_lock(&all->guard);
    struct errand *first = all->first, **end = &all->first;
    while (*end != NULL && count++ < ERRANDS_AT_ONCE)
        end = &(*end)->next;
    all->first = *end;
    *end = NULL;
    if (all->first == NULL)
        all->end = &all->first;
    else
        lead_next(all->first);
    os_mutex_unlock(&all->guard);
    return first;
}

static bool run(struct errands *all, struct errand *e, struct batch *done)
{
    bool is_done = e->run(all->ctx, e);
    look_at(e, is_done ? UINT64_MAX : e->wake_ms);
    if (!is_done)
        return false;
    e->next = NULL;
    *done->end = e;
    done->end = &e->next;
    return true;
}

static void line_run(struct errands *all, struct batch *done)
{
    for (struct errand *e = line_take(all), *next; e != NULL; e = next) {
        next = e->next;
        if (run(all, e, done))
            continue;
        e->next = NULL;
        *all->waits_end = e;
        all->waits_end = &e->next;
    }
}

/* One pass over those that wait: all, or those whose time has come. */
static void waits_pass(struct errands *all, bool each, struct batch *done)
{
    uint64_t now = now_ms(all);
    struct errand **at = &all->waits;
    while (*at != NULL) {
        struct errand *e = *at, *next = e->next;
        if ((each || e->wake_ms <= now) && run(all, e, done))
            *at = next;
        else
            at = &e->next;
    }
    all->waits_end = at;
}

static void waits_run(struct errands *all, struct batch *done)
{
    for (int pass = 0; pass == 0 || (pass < PASSES_MAX && all->changed); pass++) {
        bool each = all->changed;
        all->changed = false;
        waits_pass(all, each, done);
    }
    if (all->changed && all->waits != NULL)
        lead_next(all->waits);
}

static void lead(struct errands *all)
{
    struct batch done = {.end = &done.first};
    struct emac_err why = {.status = EMAC_OK};
    os_mutex_lock(all->lock);
    EMAC_ASSERT(!all->running); /* ERRAND-1 */
    all->running = true;
    line_run(all, &done);
    waits_run(all, &done);
    all->running = false;
    os_mutex_unlock(all->lock);
    if (done.first == NULL)
        return;
    enum emac_status st = all->settle(all->ctx, &why);
    for (struct errand *e = done.first, *next; e != NULL; e = next) {
        next = e->next;
        tell(e, st, &why);
    }
}

/* ---- who has an errand ---- */

/* True when it is over; false when this thread is to lead first. */
static bool sleep_on(struct errands *all, struct errand *e)
{
    uint64_t now = 0;
    os_mutex_lock(&e->guard);
    while (!e->over && !e->leads) {
        if (e->look_ms == UINT64_MAX) {
            os_cond_wait(&e->told, &e->guard);
            continue;
        }
        if ((now = now_ms(all)) >= e->look_ms)
            break;
        os_cond_wait_ms(&e->told, &e->guard,
                        (uint32_t)(e->look_ms - now < 1000 ? e->look_ms - now : 1000));
    }
    bool leads = e->leads || !e->over;
    e->leads = false;
    os_mutex_unlock(&e->guard);
    return !leads;
}

enum emac_status errand_do(struct errands *all, struct errand *e, struct emac_err *err)
{
    os_mutex_init(&e->guard);
    os_cond_init(&e->told);
    e->over = e->leads = false;
    e->look_ms = e->wake_ms;
    e->next = NULL;
    os_mutex_lock(&all->guard);
    bool is_first = all->first == NULL;
    *all->end = e;
    all->end = &e->next;
    os_mutex_unlock(&all->guard);
    if (is_first)
        lead(all);
    while (!sleep_on(all, e))
        lead(all);
    os_cond_release(&e->told);
    os_mutex_release(&e->guard);
    if (e->st != EMAC_OK && err != NULL)
        *err = e->why;
    return e->st;
}

void errands_changed(struct errands *all)
{
    bool was = all->changed;
    all->changed = true;
    if (!was && !all->running && all->waits != NULL)
        lead_next(all->waits);
}

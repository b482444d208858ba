/* Values held for other rigs (INV-1 of agent.h) and for the tasks that are under way or ready. One
 * lock, retain_lock, guards them; what others call takes it.
 *
 * A value is in the list once for each job, with the latest round that made or used it. Each entry
 * holds the value, so that pointers of values tell them apart. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "node/agent_internal.h"
#include "work/planner.h"

/* Order does not matter: the last takes the place. */
static void remove_at(struct node *n, size_t i)
{
    struct retained *e = &n->retained[i];
    n->retained_bytes -= e->value->size;
    store_value_forget(n->store, e->value);
    *e = n->retained[--n->retained_count];
}

/* What goes first, and what then: past rounds that no check wants; all past ones and superseded
 * states; results, which are made again from the state; states, whose loss takes the job back to
 * its last checkpoint. */
enum sort { SORT_PAST, SORT_OLD, SORT_RESULTS, SORT_ALL, SORTS };

static bool is_of(const struct retained *e, enum sort sort)
{
    switch (sort) {
    case SORT_PAST:
        return e->past && !e->wanted;
    case SORT_OLD:
        return e->past || e->superseded;
    case SORT_RESULTS:
        return !e->state;
    default:
        return true;
    }
}

/* The entry of that sort used longest ago that no task needs; SIZE_MAX when there is none. */
static size_t oldest(const struct node *n, enum sort sort)
{
    size_t found = SIZE_MAX;
    for (size_t i = 0; i < n->retained_count; i++) {
        const struct retained *e = &n->retained[i];
        if (e->tasks == 0 && is_of(e, sort) &&
            (found == SIZE_MAX || e->used < n->retained[found].used))
            found = i;
    }
    return found;
}

/* Whatever else fills it goes with the tasks that need it, or has gone: would states alone? */
static uint64_t states_bytes(const struct node *n)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < n->retained_count; i++) {
        const struct retained *e = &n->retained[i];
        bytes += e->state && !e->superseded && !e->past ? e->value->size : 0;
    }
    return bytes;
}

static bool is_full(const struct node *n, enum sort sort)
{
    uint64_t bytes = sort == SORT_ALL ? states_bytes(n) : n->retained_bytes;
    return bytes > n->memory_quota || n->retained_count >= NODE_RETAINED_MAX;
}

static void make_room(struct node *n)
{
    size_t i;
    while (n->retained_bytes > n->memory_quota / 2 && (i = oldest(n, SORT_PAST)) != SIZE_MAX)
        remove_at(n, i);
    for (enum sort sort = SORT_OLD; sort < SORTS; sort++) {
        while (is_full(n, sort) && (i = oldest(n, sort)) != SIZE_MAX) {
            LOG_D("node", "memory for results is full: one of round %llu goes early",
                  (unsigned long long)n->retained[i].round);
            remove_at(n, i);
        }
    }
}

static bool spare(struct node *n)
{
    for (enum sort sort = SORT_OLD; sort < SORTS; sort++) {
        size_t found = SIZE_MAX;
        for (size_t i = 0; i < n->retained_count; i++) {
            const struct retained *e = &n->retained[i];
            if (e->tasks == 0 && is_of(e, sort) &&
                (found == SIZE_MAX || e->value->size > n->retained[found].value->size))
                found = i;
        }
        if (found == SIZE_MAX)
            continue;
        remove_at(n, found);
        return true;
    }
    return false;
}

bool agent_retain_spare(struct node *n)
{
    os_mutex_lock(&n->retain_lock);
    bool some = spare(n);
    os_mutex_unlock(&n->retain_lock);
    return some;
}

void agent_retain_lost(struct node *n)
{
    size_t lost = 0;
    os_mutex_lock(&n->retain_lock);
    for (size_t i = n->retained_count; i-- > 0;) {
        const struct retained *e = &n->retained[i];
        if (store_value_has(n->store, &e->value->cid))
            continue;
        lost++;
        if (e->tasks == 0)
            remove_at(n, i);
    }
    os_mutex_unlock(&n->retain_lock);
    if (lost > 0)
        LOG_W("node", "%zu results lay on the device only and are lost with it", lost);
}

bool agent_retain_fits(struct node *n, uint64_t bytes, uint64_t coming)
{
    uint64_t needed = coming;
    os_mutex_lock(&n->retain_lock);
    for (size_t i = 0; i < n->retained_count; i++)
        needed += n->retained[i].tasks > 0 ? n->retained[i].value->size : 0;
    os_mutex_unlock(&n->retain_lock);
    return needed <= n->memory_quota && bytes <= n->memory_quota - needed;
}

void agent_retain_supersede(struct node *n, const struct store_value *v, const char *job,
                            const char *name)
{
    os_mutex_lock(&n->retain_lock);
    for (size_t i = 0; i < n->retained_count; i++) {
        struct retained *e = &n->retained[i];
        if (e->value != v && strcmp(e->job, job) == 0 && strcmp(e->name, name) == 0)
            e->superseded = true;
    }
    os_mutex_unlock(&n->retain_lock);
}

static struct retained *find(struct node *n, const struct store_value *v, const char *job)
{
    for (size_t i = 0; i < n->retained_count; i++) {
        struct retained *e = &n->retained[i];
        if (e->value == v && strcmp(e->job, job) == 0)
            return e;
    }
    return NULL;
}

static enum emac_status add(struct node *n, const struct store_value *v, const char *job,
                            const char *name, struct retained **out, struct emac_err *err)
{
    struct retained *e = find(n, v, job);
    if (e == NULL) {
        enum emac_status st =
            emac_grow(&n->retained, n->retained_count, &n->retained_cap, sizeof *n->retained, err);
        if (st != EMAC_OK)
            return st;
        e = &n->retained[n->retained_count++];
        *e = (struct retained){.value = store_value_hold(n->store, v)};
        emac_strcpy(e->job, sizeof e->job, job);
        emac_strcpy(e->name, sizeof e->name, name);
        n->retained_bytes += v->size;
    }
    *out = e;
    return EMAC_OK;
}

enum emac_status agent_retain_add(struct node *n, const struct store_value *v, const char *job,
                                  uint64_t round, const char *name, bool task, struct emac_err *err)
{
    struct retained *e;
    os_mutex_lock(&n->retain_lock);
    enum emac_status st = add(n, v, job, name, &e, err);
    if (st == EMAC_OK) {
        e->round = e->round > round ? e->round : round;
        e->used = ++n->used;
        e->used_ns = e->seen_ns = n->os->mono_ns(n->os);
        e->past = e->wanted = e->superseded = false;
        e->state = e->state || plan_name_is_state(name);
        e->tasks += task;
        make_room(n);
    }
    os_mutex_unlock(&n->retain_lock);
    return st;
}

void agent_retain_leave(struct node *n, const struct store_value *v, const char *job)
{
    os_mutex_lock(&n->retain_lock);
    struct retained *e = find(n, v, job);
    EMAC_ASSERT(e != NULL && e->tasks > 0);
    e->tasks--;
    os_mutex_unlock(&n->retain_lock);
}

static void idle(struct node *n)
{
    uint64_t now = n->os->mono_ns(n->os);
    for (size_t i = n->retained_count; i-- > 0;) {
        const struct retained *e = &n->retained[i];
        bool over = e->past && !e->wanted && now - e->used_ns > NODE_CHECK_NS;
        bool due = over || now - e->seen_ns > NODE_JOB_IDLE_NS;
        if (due && e->tasks == 0)
            remove_at(n, i);
    }
}

void agent_retain_idle(struct node *n)
{
    os_mutex_lock(&n->retain_lock);
    idle(n);
    os_mutex_unlock(&n->retain_lock);
}

void agent_retain_round(struct node *n, const char *job, uint64_t round, uint64_t keep)
{
    uint64_t now = n->os->mono_ns(n->os);
    os_mutex_lock(&n->retain_lock);
    for (size_t i = 0; i < n->retained_count; i++) {
        struct retained *e = &n->retained[i];
        if (strcmp(e->job, job) != 0)
            continue;
        e->seen_ns = now;
        e->past = e->past || (round >= NODE_ROUNDS_KEPT && e->round <= round - NODE_ROUNDS_KEPT);
        e->wanted = e->round + 1 >= keep; /* what a round takes was made in the one before */
    }
    idle(n);
    make_room(n);
    os_mutex_unlock(&n->retain_lock);
}

/* The newest state bundles first. */
json_t *agent_retain_holds(struct node *n)
{
    json_t *list = json_array();
    uint64_t before = UINT64_MAX;
    os_mutex_lock(&n->retain_lock);
    while (json_array_size(list) < NODE_HOLDS_MAX) {
        const struct retained *next = NULL;
        for (size_t i = 0; i < n->retained_count; i++) {
            const struct retained *e = &n->retained[i];
            if (e->state && e->used < before && (next == NULL || e->used > next->used) &&
                store_value_has(n->store, &e->value->cid))
                next = e;
        }
        if (next == NULL)
            break;
        before = next->used;
        json_array_append_new(list, agent_json_cid(&next->value->cid));
    }
    os_mutex_unlock(&n->retain_lock);
    return list;
}

void agent_retain_release(struct node *n)
{
    while (n->retained_count > 0)
        remove_at(n, n->retained_count - 1);
    free(n->retained);
    n->retained = NULL;
}

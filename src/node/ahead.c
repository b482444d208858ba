/* What a rig takes in beside the task that it computes (docs/links.md): the queue of leases between
 * the intake and the worker, and the bringers, who get their inputs.
 *
 * AHEAD-4  Leases wait in the order in which they came, but for those that somebody waits for, and
 *          the worker takes them in that order: whose inputs are here sooner changes nothing.
 *          Requests for text have a queue of their own, of which a run takes many (serving.h).
 * AHEAD-5  At most SCHED_FETCH_TASKS of them have their inputs brought at a time. Each has a place
 *          in the queue from the poll on, so there are no more inputs ahead than there are places;
 *          those on their way count against the memory quota like those that are here.
 * AHEAD-6  No poll is sent while a state, which polls name, is on its way: else the coordinator
 *          would not know of it until the next one. Activations and sums are no states.
 * AHEAD-7  A lease whose inputs are on their way is its bringer's: nobody else takes it out of the
 *          queue, changes or frees it. */
#include <string.h>

#include "base/assert.h"
#include "node/serving.h"
#include "work/planner.h"

/* ---- the queue; under the lock ---- */

static uint32_t place_of(const struct node *n, const struct leased *l)
{
    uint32_t i = 0;
    while (i < n->ready_count && n->ready[i] != l)
        i++;
    EMAC_ASSERT(i < n->ready_count);
    return i;
}

static void take_out(struct node *n, uint32_t i)
{
    EMAC_ASSERT(i < n->ready_count && n->ready[i]->inputs != INPUTS_COMING);
    memmove(&n->ready[i], &n->ready[i + 1], (--n->ready_count - i) * sizeof n->ready[0]);
}

static struct leased *asked_take(struct node *n, uint32_t i)
{
    struct leased *l = n->asked[i];
    EMAC_ASSERT(i < n->asked_count);
    memmove(&n->asked[i], &n->asked[i + 1], (--n->asked_count - i) * sizeof n->asked[0]);
    os_cond_broadcast(&n->wake);
    return l;
}

/* Of leases whose inputs are on their way, and what they were said to take. */
static uint32_t coming(const struct node *n, uint64_t *bytes)
{
    uint32_t count = 0;
    *bytes = 0;
    for (uint32_t i = 0; i < n->ready_count; i++) {
        if (n->ready[i]->inputs != INPUTS_COMING)
            continue;
        *bytes += n->ready[i]->bytes;
        count++;
    }
    return count;
}

static void asked_put(struct node *n, struct leased *l)
{
    os_mutex_lock(&n->lock);
    EMAC_ASSERT(n->asked_count < n->slots);
    n->asked[n->asked_count++] = l;
    os_cond_broadcast(&n->wake);
    os_mutex_unlock(&n->lock);
}

void agent_ahead_put(struct node *n, struct leased *l)
{
    bool urgent = l->kind == LEASED_DISPUTE; /* who waits for an answer has waited longest */
    if (l->kind == LEASED_SERVE) {
        asked_put(n, l);
        return;
    }
    for (uint32_t i = 0; i < l->task.input_count; i++)
        l->brings_state |= plan_name_is_state(l->task.input[i].name) &&
                           !store_value_has(n->store, &l->task.input[i].cid);
    os_mutex_lock(&n->lock);
    EMAC_ASSERT(n->ready_count < SCHED_AHEAD_TASKS);
    l->inputs = urgent ? INPUTS_DONE : INPUTS_WAIT;
    if (urgent)
        memmove(&n->ready[1], &n->ready[0], n->ready_count * sizeof n->ready[0]);
    n->ready[urgent ? 0 : n->ready_count] = l;
    n->ready_count++;
    os_cond_broadcast(&n->wake);
    os_mutex_unlock(&n->lock);
}

bool agent_ahead_has(struct node *n, const char *lease)
{
    bool found = false;
    os_mutex_lock(&n->lock);
    for (uint32_t i = 0; i < n->ready_count; i++)
        found = found || strcmp(n->ready[i]->lease, lease) == 0;
    os_mutex_unlock(&n->lock);
    return found;
}

/* ---- what was taken back ---- */

/* One that waits and was taken back; NULL when there is none. */
static struct leased *cancelled_take(struct node *n)
{
    struct leased *found = NULL;
    os_mutex_lock(&n->lock);
    for (uint32_t i = 0; i < n->ready_count && found == NULL; i++) {
        struct leased *l = n->ready[i];
        if (l->inputs == INPUTS_COMING || !agent_lease_is_cancelled(n, l->lease))
            continue;
        take_out(n, i);
        found = l;
    }
    for (uint32_t i = 0; i < n->asked_count && found == NULL; i++)
        if (agent_lease_is_cancelled(n, n->asked[i]->lease))
            found = asked_take(n, i);
    os_mutex_unlock(&n->lock);
    return found;
}

static void cancelled_drop(struct node *n)
{
    const struct emac_err why = {EMAC_CANCELLED, "the lease was taken back"};
    struct leased *l;
    while ((l = cancelled_take(n)) != NULL) {
        agent_leased_failed(n, l, &why);
        agent_leased_free(n, l);
    }
}

static bool has_cancelled(struct node *n)
{
    for (uint32_t i = 0; i < n->ready_count; i++)
        if (n->ready[i]->inputs != INPUTS_COMING && agent_lease_is_cancelled(n, n->ready[i]->lease))
            return true;
    for (uint32_t i = 0; i < n->asked_count; i++)
        if (agent_lease_is_cancelled(n, n->asked[i]->lease))
            return true;
    return false;
}

/* ---- room for one more ---- */

static bool state_comes(const struct node *n)
{
    for (uint32_t i = 0; i < n->ready_count; i++)
        if (n->ready[i]->brings_state && n->ready[i]->inputs != INPUTS_DONE)
            return true;
    return false;
}

static bool has_room(const struct node *n)
{
    bool busy = n->working || n->ready_count > 0;
    return n->ready_count < SCHED_AHEAD_TASKS && n->asked_count < n->slots &&
           !(n->narrow && busy) && !state_comes(n);
}

bool agent_ahead_wait(struct node *n)
{
    os_mutex_lock(&n->lock);
    while (!has_room(n) && n->joined && !atomic_load(&n->stop) && n->final.status == EMAC_OK) {
        if (has_cancelled(n)) {
            os_mutex_unlock(&n->lock);
            cancelled_drop(n);
            os_mutex_lock(&n->lock);
            if (has_room(n))
                break;
        }
        os_cond_wait(&n->wake, &n->lock);
    }
    bool joined = n->joined;
    os_mutex_unlock(&n->lock);
    cancelled_drop(n);
    return joined && !agent_over(n);
}

/* ---- the bringers ---- */

static bool is_memory(enum emac_status st)
{
    return st == EMAC_NO_MEMORY || st == EMAC_NO_SPACE || st == EMAC_TOO_LARGE;
}

/* What a bringer set out to do. */
struct errand {
    struct leased *l;
    bool ahead;     /* others come before it */
    bool narrow;    /* and memory is short */
    uint64_t bytes; /* on their way already */
};

/* The next lease whose inputs are to be brought; false when there will be none. */
static bool errand_take(struct node *n, struct errand *e)
{
    *e = (struct errand){.l = NULL};
    os_mutex_lock(&n->lock);
    for (;;) {
        uint32_t i = 0;
        while (i < n->ready_count && n->ready[i]->inputs != INPUTS_WAIT)
            i++;
        if (i < n->ready_count && coming(n, &e->bytes) < SCHED_FETCH_TASKS) {
            e->l = n->ready[i];
            e->ahead = n->working || i > 0;
            e->narrow = n->narrow;
            e->l->inputs = INPUTS_COMING;
            break;
        }
        if (n->intake_over)
            break;
        os_cond_wait(&n->wake, &n->lock);
    }
    os_mutex_unlock(&n->lock);
    return e->l != NULL;
}

/* Beside other tasks only as far as memory goes: else its turn will come. */
static enum emac_status inputs_bring(struct node *n, const struct errand *e, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    if (!e->ahead || (!e->narrow && agent_retain_fits(n, e->l->bytes, e->bytes)))
        st = agent_fetch_inputs(n, e->l, err);
    if (st != EMAC_OK && e->ahead && is_memory(st))
        st = EMAC_OK;
    if (st == EMAC_OK && agent_lease_cancelled(n, e->l->lease))
        st = emac_fail(err, EMAC_CANCELLED, "the lease was taken back");
    return st;
}

static void errand_run(struct node *n, const struct errand *e)
{
    struct emac_err err = {.status = EMAC_OK};
    enum emac_status st = inputs_bring(n, e, &err);
    os_mutex_lock(&n->lock);
    e->l->inputs = INPUTS_DONE;
    if (st != EMAC_OK)
        take_out(n, place_of(n, e->l));
    os_cond_broadcast(&n->wake);
    os_mutex_unlock(&n->lock);
    if (st == EMAC_OK)
        return;
    agent_leased_failed(n, e->l, &err);
    agent_leased_free(n, e->l);
}

void *agent_bringer_thread(void *node)
{
    struct node *n = node;
    struct errand e;
    while (errand_take(n, &e))
        errand_run(n, &e);
    return NULL;
}

/* ---- the worker ---- */

/* The first one is the next, once its bringer is done with it; at the end without. */
static bool next_is_ready(const struct node *n)
{
    if (n->ready_count == 0)
        return false;
    return n->ready[0]->inputs == INPUTS_DONE ||
           (n->intake_over && n->ready[0]->inputs == INPUTS_WAIT);
}

/* Its receipt will find a place, or it will only be given back. */
static bool may_begin(const struct node *n)
{
    return n->outbox_count < NODE_OUTBOX_MAX || atomic_load(&n->stop) || n->final.status != EMAC_OK;
}

/* Whoever waits for text has waited longest, but for the turn of the others after a run (SLOT-4).
 */
static bool asked_is_next(const struct node *n)
{
    return n->asked_count > 0 && !(n->tasks_turn && next_is_ready(n) && may_begin(n));
}

struct leased *agent_ahead_next(struct node *n)
{
    struct leased *l = NULL;
    os_mutex_lock(&n->lock);
    while (!asked_is_next(n) &&
           (n->ready_count == 0 ? !n->intake_over : !next_is_ready(n) || !may_begin(n)))
        os_cond_wait(&n->wake, &n->lock);
    if (asked_is_next(n)) {
        l = asked_take(n, 0);
    } else if (n->ready_count > 0) {
        l = n->ready[0];
        take_out(n, 0);
    }
    if (l != NULL) {
        n->narrow = n->narrow && (l->kind != LEASED_TASK || strcmp(n->narrow_job, l->job) == 0);
        n->working = true;
        n->tasks_turn = false;
        os_cond_broadcast(&n->wake);
    }
    os_mutex_unlock(&n->lock);
    return l;
}

struct leased *agent_ahead_asked(struct node *n, uint64_t run_ns)
{
    struct leased *l = NULL;
    os_mutex_lock(&n->lock);
    bool late = (n->os->mono_ns(n->os) - run_ns) / NS_PER_MS >= SERVE_RUN_MS;
    if (next_is_ready(n) && (late || n->ready[0]->kind == LEASED_DISPUTE))
        n->tasks_turn = true;
    else if (n->asked_count > 0)
        l = asked_take(n, 0);
    os_mutex_unlock(&n->lock);
    return l;
}

void agent_ahead_done(struct node *n)
{
    os_mutex_lock(&n->lock);
    n->working = false;
    os_cond_broadcast(&n->wake);
    os_mutex_unlock(&n->lock);
}

bool agent_ahead_give_up(struct node *n, const struct leased *l)
{
    struct leased *ready[SCHED_AHEAD_TASKS];
    uint32_t count = 0;
    uint64_t bytes;
    bool some = false;
    os_mutex_lock(&n->lock);
    n->narrow = true;
    emac_strcpy(n->narrow_job, sizeof n->narrow_job, l->job);
    while (coming(n, &bytes) > 0)
        os_cond_wait(&n->wake, &n->lock);
    /* Out of the queue while they are changed: a lease that the intake may drop is not ours. */
    for (; count < n->ready_count; count++)
        ready[count] = n->ready[count];
    n->ready_count = 0;
    os_mutex_unlock(&n->lock);
    for (uint32_t i = 0; i < count; i++) {
        some = some || ready[i]->fetched;
        agent_inputs_drop(n, ready[i]);
    }
    os_mutex_lock(&n->lock);
    EMAC_ASSERT(n->ready_count + count <= SCHED_AHEAD_TASKS);
    memmove(&n->ready[count], &n->ready[0], n->ready_count * sizeof n->ready[0]);
    memcpy(&n->ready[0], ready, count * sizeof n->ready[0]);
    n->ready_count += count;
    os_cond_broadcast(&n->wake);
    os_mutex_unlock(&n->lock);
    return some;
}

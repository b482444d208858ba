#include "coordinator/serving/serve_share.h"

#include "coordinator/internal.h"

static uint64_t free_slots(const struct node *n)
{
    if (n->serving.slots == 0)
        return 1; /* it would not ask if it had none */
    return n->serving.slots > n->serving.answers ? n->serving.slots - n->serving.answers : 0;
}

static bool has_loaded(const struct node *n, const struct cid *model)
{
    for (uint32_t i = 0; i < n->serving.model_count; i++)
        if (cid_equal(&n->serving.model[i], model))
            return true;
    return false;
}

/* How near the model is: the more the better. */
static int nearness(const struct serve_wish *w, const struct node *n)
{
    if (n == w->failed)
        return 0;
    return has_loaded(n, w->model) ? 3 : node_holds(n, w->params) ? 2 : 1;
}

/* One that does not ask at the moment, but holds the model, will; of others only those whose poll
 * waits count. */
static bool is_better(const struct serve_wish *w, const struct node *other, const struct node *n)
{
    int theirs = nearness(w, other), mine = nearness(w, n);
    if (theirs != mine)
        return theirs > mine && (theirs > 1 || other->waiting > 0);
    return other->waiting > 0 && free_slots(other) > free_slots(n);
}

static bool better_exists(struct coordinator *c, const struct serve_wish *w, const struct node *n)
{
    struct map_entry e;
    uint64_t now = now_ms(c);
    for (size_t at = 0; map_next(&c->nodes, &at, &e);) {
        const struct node *other = e.value;
        if (other != n && node_is_live(c, other, now) && free_slots(other) > 0 &&
            is_better(w, other, n))
            return true;
    }
    return false;
}

/* Will another rig be free before this one, which is at work? */
static bool other_is_sooner(struct coordinator *c, const struct node *n)
{
    struct map_entry e;
    uint64_t now = now_ms(c);
    struct sched_busy mine = node_busy(n, NULL);
    for (size_t at = 0; map_next(&c->nodes, &at, &e);) {
        const struct node *other = e.value;
        if (other == n || !node_is_live(c, other, now) || free_slots(other) == 0)
            continue;
        struct sched_busy b = node_busy(other, NULL);
        if (sched_busy_ms(&b, now) < sched_busy_ms(&mine, now))
            return true;
    }
    return false;
}

bool serve_suits(struct coordinator *c, const struct serve_wish *w, const struct node *n,
                 uint64_t *wake_ms)
{
    uint64_t from = w->queued_ms + SERVE_HOLDER_MS;
    if (free_slots(n) == 0 || (n->lease[0] != NULL && other_is_sooner(c, n)))
        return false;
    if (now_ms(c) >= from || (n != w->failed && !better_exists(c, w, n)))
        return true;
    if (from < *wake_ms)
        *wake_ms = from;
    return false;
}

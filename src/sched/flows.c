#include "sched/flows.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"

#define THROUGH 1e-3 /* bytes: what rounding leaves of a flow that is through */

enum emac_status flows_init(struct flows *f, uint32_t ends, struct emac_err *err)
{
    enum emac_status st;
    *f = (struct flows){.ends = ends};
    EMAC_TRY(st, emac_alloc(&f->up, ends, sizeof *f->up, err));
    EMAC_TRY(st, emac_alloc(&f->down, ends, sizeof *f->down, err));
    EMAC_TRY(st, emac_alloc(&f->room, (size_t)ends * 2, sizeof *f->room, err));
    EMAC_TRY(st, emac_alloc(&f->users, (size_t)ends * 2, sizeof *f->users, err));
    return EMAC_OK;
out:
    flows_release(f);
    return st;
}

void flows_release(struct flows *f)
{
    free(f->up);
    free(f->down);
    free(f->room);
    free(f->users);
    free(f->flow);
    *f = (struct flows){0};
}

static double share_of(const struct flows *f, uint32_t link)
{
    return f->room[link] / (double)f->users[link];
}

/* The link that is full first, 2 * ends when none is used. */
static uint32_t tightest(const struct flows *f)
{
    uint32_t best = 2 * f->ends;
    for (uint32_t i = 0; i < 2 * f->ends; i++)
        if (f->users[i] > 0 && (best == 2 * f->ends || share_of(f, i) < share_of(f, best)))
            best = i;
    return best;
}

static void fix(struct flows *f, struct flow *w, double rate)
{
    const uint32_t link[] = {w->from, f->ends + w->to};
    w->rate = rate;
    for (size_t i = 0; i < EMAC_COUNT(link); i++) {
        f->users[link[i]]--;
        f->room[link[i]] = f->room[link[i]] > rate ? f->room[link[i]] - rate : 0;
    }
}

static void rates_find(struct flows *f)
{
    uint32_t link;
    memcpy(f->room, f->up, f->ends * sizeof *f->up);
    memcpy(f->room + f->ends, f->down, f->ends * sizeof *f->down);
    memset(f->users, 0, (size_t)f->ends * 2 * sizeof *f->users);
    for (size_t i = 0; i < f->count; i++) {
        f->flow[i].rate = -1;
        f->users[f->flow[i].from]++;
        f->users[f->ends + f->flow[i].to]++;
    }
    while ((link = tightest(f)) < 2 * f->ends) {
        double rate = share_of(f, link);
        for (size_t i = 0; i < f->count; i++) {
            struct flow *w = &f->flow[i];
            if (w->rate < 0 && (w->from == link || f->ends + w->to == link))
                fix(f, w, rate);
        }
    }
}

enum emac_status flows_begin(struct flows *f, uint32_t from, uint32_t to, double bytes,
                             uint64_t tag, struct emac_err *err)
{
    EMAC_ASSERT(from < f->ends && to < f->ends && from != to && bytes >= 0);
    enum emac_status st = emac_grow(&f->flow, f->count, &f->cap, sizeof *f->flow, err);
    if (st != EMAC_OK)
        return st;
    f->flow[f->count++] = (struct flow){from, to, bytes, 0, tag};
    rates_find(f);
    return EMAC_OK;
}

double flows_next(const struct flows *f)
{
    double least = -1;
    for (size_t i = 0; i < f->count; i++) {
        double t = f->flow[i].left <= THROUGH ? 0 : f->flow[i].left / f->flow[i].rate;
        if (least < 0 || t < least)
            least = t;
    }
    return least;
}

void flows_pass(struct flows *f, double seconds)
{
    for (size_t i = 0; i < f->count; i++)
        f->flow[i].left -= f->flow[i].rate * seconds;
}

bool flows_take(struct flows *f, struct flow *out)
{
    for (size_t i = 0; i < f->count; i++) {
        if (f->flow[i].left > THROUGH)
            continue;
        *out = f->flow[i];
        memmove(&f->flow[i], &f->flow[i + 1], (--f->count - i) * sizeof f->flow[0]);
        rates_find(f);
        return true;
    }
    return false;
}

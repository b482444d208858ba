/* A sum over micro-batches, shared out among the workers by ranges: what of it is missing. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "work/planner_impl.h"

_Static_assert(JOB_MICRO_BATCHES_MAX <= TASK_PARTS_MAX, "any cover of a step must fit one task");

struct sharing {
    struct planning *g;
    const struct plan_share *share;
    uint32_t done_count;
    struct tree_range *done;         /* ranges that have a sum */
    const struct plan_result **from; /* the results they are of */
    bool *taken;                     /* micro-batches that are done or handed out */
};

static void want_range(struct sharing *s, struct tree_range r, uint32_t owner)
{
    struct planning *g = s->g;
    if (g->count == g->cap)
        return;
    for (uint32_t i = 0; i < g->count; i++) {
        if (g->out[i].kind == s->share->map && g->out[i].range.first == r.first &&
            g->out[i].range.count == r.count)
            return;
    }
    const struct plan_program *program = plan_program(g->p, s->share->map);
    struct plan_want *w = &g->out[g->count++];
    *w = (struct plan_want){.kind = s->share->map,
                            .range = r,
                            .owner = owner,
                            .flops = program->flops * r.count,
                            .task = {.program = program->cid, .first = r.first, .count = r.count}};
    s->share->fill_map(g, r, w);
}

/* Of the range, mark what `m` has of it. */
static void mark(bool *made, struct tree_range r, struct tree_range m)
{
    for (uint32_t i = 0; i < r.count; i++)
        made[i] = made[i] || (r.first + i >= m.first && r.first + i - m.first < m.count);
}

bool plan_is_covered(const struct plan_state *st, enum task_kind kind, struct tree_range r,
                     struct tree_range also)
{
    bool made[TASK_PARTS_MAX] = {false}, all = true;
    EMAC_ASSERT(r.count <= EMAC_COUNT(made));
    mark(made, r, also);
    for (uint32_t k = 0; k < st->result_count; k++)
        if (st->result[k].kind == kind)
            mark(made, r, st->result[k].range);
    for (uint32_t i = 0; i < r.count; i++)
        all = all && made[i];
    return all;
}

/* true when it marked something new */
static bool take(struct sharing *s, struct tree_range r)
{
    bool fresh = false;
    for (uint32_t i = r.first; i < r.first + r.count; i++) {
        fresh |= !s->taken[i];
        s->taken[i] = true;
    }
    return fresh;
}

static bool is_open(const struct sharing *s, const bool *done, struct tree_range r)
{
    if (!tree_is_node(r, s->share->total))
        return false;
    for (uint32_t i = r.first; i < r.first + r.count; i++) {
        if (!done[i])
            return true;
    }
    return false;
}

static enum emac_status want_open(struct sharing *s, struct emac_err *err)
{
    const struct planning *g = s->g;
    bool *done;
    enum emac_status st = emac_alloc(&done, s->share->total, sizeof *done, err);
    if (st != EMAC_OK)
        return st;
    memcpy(done, s->taken, s->share->total * sizeof *done);
    for (uint32_t i = 0; i < g->open_count; i++) {
        struct tree_range r = g->open[i].range;
        if (g->open[i].kind == s->share->map && is_open(s, done, r)) {
            take(s, r);
            want_range(s, r, 0);
        }
    }
    free(done);
    return EMAC_OK;
}

static enum emac_status want_rest(struct sharing *s, struct emac_err *err)
{
    const struct planning *g = s->g;
    struct tree_range *range = NULL;
    uint32_t *owner = NULL;
    enum emac_status st;
    uint32_t room = g->cap - g->count;
    if (room == 0)
        return EMAC_OK;
    EMAC_TRY(st, emac_alloc(&range, room, sizeof *range, err));
    EMAC_TRY(st, emac_alloc(&owner, room, sizeof *owner, err));
    uint64_t flops = plan_program(g->p, s->share->map)->flops;
    uint32_t n = tree_shares(s->share->total, s->taken, flops > 0 ? (double)flops : 1, g->crew,
                             range, owner, room);
    for (uint32_t i = 0; i < n; i++)
        want_range(s, range[i], owner[i]);
out:
    free(range);
    free(owner);
    return st;
}

/* The whole sum is there: the task that takes it, with the chosen parts. */
static enum emac_status want_sum(struct sharing *s, const uint32_t *pick, uint32_t picked,
                                 struct emac_err *err)
{
    struct planning *g = s->g;
    const struct plan_program *program = plan_program(g->p, s->share->sum);
    struct task_part *part;
    if (g->count == g->cap)
        return EMAC_OK;
    enum emac_status st = emac_alloc(&part, picked, sizeof *part, err);
    if (st != EMAC_OK)
        return st;
    for (uint32_t i = 0; i < picked; i++) {
        const struct plan_result *r = s->from[pick[i]];
        part[i] = (struct task_part){r->range.first, r->range.count, *plan_output(r, "sum")};
    }
    struct plan_want *w = &g->out[g->count++];
    *w = (struct plan_want){
        .kind = s->share->sum,
        .owner = plan_fastest(g),
        .flops = program->flops,
        .task = {
            .program = program->cid, .total = s->share->total, .part = part, .part_count = picked}};
    s->share->fill_sum(g, w);
    if (plan_result_find(g->st, w->slot) != NULL) { /* another part of the round is not done */
        task_release(&w->task);
        g->count--;
    }
    return EMAC_OK;
}

static void done_gather(struct sharing *s)
{
    const struct plan_state *st = s->g->st;
    for (uint32_t i = 0; i < st->result_count; i++) {
        const struct plan_result *r = &st->result[i];
        if (r->kind != s->share->map)
            continue;
        s->done[s->done_count] = r->range;
        s->from[s->done_count++] = r;
        if (tree_is_node(r->range, s->share->total))
            take(s, r->range);
    }
}

enum emac_status plan_share_wants(struct planning *g, const struct plan_share *share,
                                  struct emac_err *err)
{
    struct sharing s = {.g = g, .share = share};
    uint32_t pick[TASK_PARTS_MAX], room = g->st->result_count + 1;
    enum emac_status st;
    EMAC_TRY(st, emac_alloc(&s.done, room, sizeof *s.done, err));
    EMAC_TRY(st, emac_alloc(&s.from, room, sizeof *s.from, err));
    EMAC_TRY(st, emac_alloc(&s.taken, share->total, sizeof *s.taken, err));
    done_gather(&s);
    uint32_t picked = tree_cover(s.done, s.done_count, share->total, pick, EMAC_COUNT(pick));
    if (picked > 0) {
        st = want_sum(&s, pick, picked, err);
    } else {
        EMAC_TRY(st, want_open(&s, err));
        st = want_rest(&s, err);
    }
out:
    free(s.done);
    free(s.from);
    free(s.taken);
    return st;
}

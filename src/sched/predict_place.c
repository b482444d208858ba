/* Which task a simulated rig gets: the books of the simulation, read by sched/offers.h as those of
 * the coordinator are. */
#include <string.h>

#include "base/assert.h"
#include "sched/offers.h"
#include "sched/predict_impl.h"

uint64_t sim_ms(const struct sim *s)
{
    return (uint64_t)(s->now * 1000);
}

bool sim_wants_lease(const struct sim_task *t)
{
    if (t->leases == SIM_COPIES_MAX || t->cut)
        return false;
    if (t->accepted)
        return t->votes + t->leases < t->need;
    uint32_t want = task_kind_info(t->want.kind)->copies ? t->need : 1;
    return t->current && t->leases < want;
}

uint64_t sim_fetch_bytes(struct sim *s, const struct sim_task *t, uint32_t rig)
{
    const struct task *task = &t->want.task;
    double bytes = 0;
    for (uint32_t i = 0; i < task->input_count + task->part_count; i++) {
        const struct cid *cid =
            i < task->input_count ? &task->input[i].cid : &task->part[i - task->input_count].cid;
        const struct sim_value *v = sim_value(s, cid);
        bytes += v == NULL || v->held[rig] ? 0 : v->bytes;
    }
    return (uint64_t)bytes;
}

struct sched_busy sim_busy(const struct sim_rig *r, const struct sim_lease *until)
{
    struct sched_busy b = {.any = r->leases > 0 && r->lease[0] != until};
    if (!b.any)
        return b;
    b.since_ms = b.until_ms = r->lease[0]->begin_ms;
    for (uint32_t i = 0; i < r->leases && r->lease[i] != until; i++)
        b.until_ms += r->lease[i]->expected_ms;
    return b;
}

void sim_waiting(struct sim *s)
{
    s->state_wanted = 0;
    for (uint32_t i = 0; i < s->cfg->rigs; i++)
        s->rig[i].queue_ms = 0;
    for (size_t i = 0; i < s->task_count; i++) {
        const struct sim_task *t = s->task[i];
        const struct task_kind_info *kind = task_kind_info(t->want.kind);
        if (!t->current || t->accepted || !sim_wants_lease(t))
            continue;
        if (!kind->shared && !kind->staged)
            s->state_wanted += (kind->copies ? t->need : 1) - t->leases;
        else if (t->owner != NOBODY)
            s->rig[t->owner].queue_ms += t->expected_ms;
    }
}

/* ---- the books, as sched/offers.h reads them; a rig's handle is its row ---- */

static uint32_t row_of(const struct sim *s, const void *rig)
{
    return (uint32_t)((const struct sim_rig *)rig - s->rig);
}

static const void *books_next(void *ctx, size_t *at)
{
    const struct sim *s = ctx;
    return *at < s->cfg->rigs ? &s->rig[(*at)++] : NULL;
}

static struct sched_rig books_rig(void *ctx, const void *rig)
{
    const struct sim_rig *r = rig;
    (void)ctx;
    return (struct sched_rig){.speed = &r->speed,
                              .busy = sim_busy(r, NULL),
                              .queue_ms = r->queue_ms,
                              .leases = r->leases,
                              .live = true};
}

static bool books_before(const void *a, const void *b)
{
    return (const struct sim_rig *)a < (const struct sim_rig *)b;
}

static uint64_t books_fetch_bytes(void *ctx, const void *task, const void *rig)
{
    return sim_fetch_bytes(ctx, task, row_of(ctx, rig));
}

static bool books_at_work(void *ctx, const void *task, const void *rig)
{
    return ((const struct sim_task *)task)->rig[row_of(ctx, rig)] != TASK_UNSEEN;
}

static bool books_keeps(void *ctx, const void *task, const void *rig)
{
    const struct sim_value *v = sim_value(ctx, &((const struct sim_task *)task)->want.anchor);
    return v != NULL && v->held[row_of(ctx, rig)];
}

struct holder {
    struct sim *s;
    uint32_t rig;
};

static bool holder_has(const void *ctx, const struct cid *cid)
{
    const struct holder *h = ctx;
    const struct sim_value *v = sim_value(h->s, cid);
    return v != NULL && v->held[h->rig];
}

static bool books_has_room(void *ctx, const void *task, const void *rig)
{
    const struct sim_task *t = task;
    const struct sim_rig *r = rig;
    const struct holder h = {ctx, row_of(ctx, rig)};
    struct predict_lease lease[EMAC_COUNT(r->lease)];
    struct predict_keeper k = {h.s->cfg->rig[h.rig].keep, holder_has, &h, lease, 0};
    for (uint32_t i = 0; i < r->leases; i++) {
        const struct sim_task *made = r->lease[i]->task;
        if (!made->accepted)
            lease[k.leases++] =
                (struct predict_lease){made->want.kind, made->program->part, &made->want.anchor};
    }
    return predict_has_room(h.s->plan, &h.s->st, &k, t->program->part, &t->want.anchor);
}

static struct sched_lease books_lease(void *ctx, const void *task, uint32_t i)
{
    const struct sim_task *t = task;
    const struct sim *s = ctx;
    const struct sim_lease *l = t->lease[i];
    const struct sim_rig *r = &s->rig[l->rig];
    return (struct sched_lease){.lease = l,
                                .begin_ms = l->begin_ms,
                                .expected_ms = l->expected_ms,
                                .before = sim_busy(r, l),
                                .may_recall = sim_is_ready(r, t)};
}

static struct sched_task books_task(const struct sim *s, const struct sim_task *t)
{
    return (struct sched_task){.task = t,
                               .kind = task_kind_info(t->want.kind),
                               .flops = t->want.flops,
                               .born_ms = t->born_ms,
                               .expected_ms = t->expected_ms,
                               .owner = t->owner != NOBODY ? &s->rig[t->owner] : NULL,
                               .batches = t->whole ? 1 : t->want.range.count,
                               .need = t->need,
                               .leases = t->leases,
                               .holders = t->want.holders,
                               .state_wanted = s->state_wanted,
                               .current = t->current && !t->cut,
                               .check = t->accepted,
                               .stage = predict_is_stage(s->plan, t->want.kind)};
}

/* ---- choosing ---- */

static struct sim_task *task_named(const struct sim *s, const void *task)
{
    for (size_t i = 0; i < s->task_count; i++)
        if (s->task[i] == task)
            return s->task[i];
    return NULL;
}

static struct sim_lease *lease_named(const struct sim_task *t, const void *lease)
{
    for (uint32_t i = 0; i < t->leases; i++)
        if (t->lease[i] == lease)
            return t->lease[i];
    return NULL;
}

struct sim_choice sim_choose(struct sim *s, uint32_t rig)
{
    const struct sched_books books = {.ctx = s,
                                      .now_ms = sim_ms(s),
                                      .next = books_next,
                                      .rig = books_rig,
                                      .before = books_before,
                                      .fetch_bytes = books_fetch_bytes,
                                      .at_work = books_at_work,
                                      .keeps = books_keeps,
                                      .lease = books_lease,
                                      .has_room = books_has_room};
    const struct sim_rig *r = &s->rig[rig];
    struct sched_choice best = {.wake_ms = UINT64_MAX};
    for (int checks = 1; checks >= 0 && best.task == NULL; checks--) {
        for (size_t i = 0; i < s->task_count; i++) {
            const struct sim_task *t = s->task[i];
            struct sched_task task = books_task(s, t);
            if (t->accepted != checks || t->rig[rig] != TASK_UNSEEN || !sim_wants_lease(t))
                continue;
            sched_choice_take(
                &best, &(struct sched_choice){.task = t, .offer = sched_offer_of(&books, &task, r)},
                books.now_ms);
        }
    }
    bool idle = best.task == NULL && r->leases == 0;
    for (size_t i = 0; i < s->task_count && idle; i++) {
        const struct sim_task *t = s->task[i];
        struct sched_task task = books_task(s, t);
        struct sched_choice c = {.task = t};
        if (t->rig[rig] != TASK_UNSEEN)
            continue;
        if (sched_offer_recall(&books, &task, r, &c.offer, &c.lease))
            sched_choice_take(&best, &c, books.now_ms);
        c.lease = NULL;
        if (t->leases < SIM_COPIES_MAX && sched_offer_copy(&books, &task, r, &c.offer, &c.cut))
            sched_choice_take(&best, &c, books.now_ms);
    }
    struct sim_task *t = task_named(s, best.task);
    return (struct sim_choice){t, t != NULL ? lease_named(t, best.lease) : NULL, best.cut,
                               best.wake_ms};
}

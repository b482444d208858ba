/* The clock of the simulation, the network, and the rigs. */
#include "sched/predict.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "sched/predict_impl.h"

#define BITS          8.0
/* Bytes of calls with their headers. */
#define POLL_BYTES    900
#define LEASE_BYTES   2500
#define RECEIPT_BYTES 1800
#define REQUEST_BYTES 600
#define OPEN_BPS      10e9
#define MAP_SEED      UINT64_C(0x5eed)
#define KNOWN_MS      1000 /* of work, by which rigs' speeds are known when it begins */

/* ---- events ---- */

static bool is_before(const struct event *a, const struct event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void swap(struct event *a, struct event *b)
{
    struct event c = *a;
    *a = *b;
    *b = c;
}

enum emac_status sim_event(struct sim *s, const struct event *e)
{
    enum emac_status st =
        emac_grow(&s->event, s->event_count, &s->event_cap, sizeof *s->event, s->err);
    if (st != EMAC_OK)
        return st;
    size_t i = s->event_count++;
    s->event[i] = *e;
    s->event[i].order = s->order++;
    for (; i > 0 && is_before(&s->event[i], &s->event[(i - 1) / 2]); i = (i - 1) / 2)
        swap(&s->event[i], &s->event[(i - 1) / 2]);
    return EMAC_OK;
}

static struct event event_take(struct sim *s)
{
    struct event first = s->event[0];
    s->event[0] = s->event[--s->event_count];
    for (size_t i = 0;;) {
        size_t least = i, left = 2 * i + 1, right = left + 1;
        if (left < s->event_count && is_before(&s->event[left], &s->event[least]))
            least = left;
        if (right < s->event_count && is_before(&s->event[right], &s->event[least]))
            least = right;
        if (least == i)
            return first;
        swap(&s->event[i], &s->event[least]);
        i = least;
    }
}

/* ---- values ---- */

struct sim_value *sim_value(struct sim *s, const struct cid *cid)
{
    return cid_map_get(&s->value, cid);
}

static enum emac_status value_add(struct sim *s, const struct cid *cid, double bytes,
                                  uint32_t holder)
{
    struct sim_value *v = sim_value(s, cid);
    enum emac_status st = EMAC_OK;
    if (v == NULL) {
        st = emac_alloc(&v, 1, sizeof *v, s->err);
        if (st == EMAC_OK && (st = cid_map_put(&s->value, cid, v, s->err)) != EMAC_OK)
            free(v);
        if (st != EMAC_OK)
            return st;
        v->bytes = bytes;
    }
    v->held[holder] = 1;
    return EMAC_OK;
}

static uint32_t depot(const struct sim *s)
{
    return s->cfg->rigs;
}

/* Who sends it to the rig: the others in turn after it, the depot last. NOBODY: it has it. */
static uint32_t source_of(const struct sim *s, const struct sim_value *v, uint32_t rig)
{
    if (v->held[rig])
        return NOBODY;
    for (uint32_t i = 1; i < s->cfg->rigs; i++)
        if (v->held[(rig + i) % s->cfg->rigs])
            return (rig + i) % s->cfg->rigs;
    return v->held[depot(s)] ? depot(s) : NOBODY;
}

/* ---- the network ---- */

static double latency(const struct sim *s, uint32_t end)
{
    return end == depot(s) ? 0 : (double)s->cfg->rig[end].link.latency_ns * 1e-9;
}

static double up_s(const struct sim *s, uint32_t rig, double bytes)
{
    return latency(s, rig) + bytes / s->net.up[rig];
}

static double down_s(const struct sim *s, uint32_t rig, double bytes)
{
    return latency(s, rig) + bytes / s->net.down[rig];
}

static enum emac_status after(struct sim *s, double seconds, struct event e)
{
    e.at = s->now + seconds;
    return sim_event(s, &e);
}

/* ---- a rig takes a task in ---- */

/* Does it lack a state? */
static bool lacks_state(struct sim *s, const struct sim_task *t, uint32_t rig)
{
    for (uint32_t i = 0; i < t->want.task.input_count; i++) {
        const struct task_input *in = &t->want.task.input[i];
        const struct sim_value *v = sim_value(s, &in->cid);
        if (plan_name_is_state(in->name) && v != NULL && !v->held[rig])
            return true;
    }
    return false;
}

static enum emac_status poll(struct sim *s, uint32_t rig)
{
    struct sim_rig *r = &s->rig[rig];
    for (uint32_t i = 0; i < r->ready_count; i++)
        if (r->ready[i].state && !r->ready[i].here)
            return EMAC_OK;
    if (r->intake != INTAKE_NONE || r->ready_count == SCHED_AHEAD_TASKS)
        return EMAC_OK;
    r->intake = INTAKE_POLL;
    return after(s, up_s(s, rig, POLL_BYTES), (struct event){.kind = EVENT_POLL, .rig = rig});
}

static enum emac_status grant(struct sim *s, uint32_t rig)
{
    struct sim_task *t;
    enum emac_status st = sim_grant(s, rig, &t);
    s->rig[rig].intake = INTAKE_WAIT;
    if (st != EMAC_OK || t == NULL)
        return st;
    s->rig[rig].intake = INTAKE_LEASE;
    return after(s, down_s(s, rig, LEASE_BYTES),
                 (struct event){.kind = EVENT_LEASE, .rig = rig, .task = t});
}

/* The task under way will be done then; what was said of its end before holds no more. */
static enum emac_status ends_at(struct sim *s, uint32_t rig, double at)
{
    struct sim_rig *r = &s->rig[rig];
    r->done_at = at;
    return sim_event(
        s, &(struct event){
               .at = at, .kind = EVENT_DONE, .rig = rig, .task = r->task, .run = ++r->run});
}

static enum emac_status slows(struct sim *s, uint32_t rig)
{
    struct sim_rig *r = &s->rig[rig];
    double more = (r->done_at - s->now) * (s->cfg->rig[rig].slower - 1);
    r->slower = s->cfg->rig[rig].slower;
    if (r->task == NULL)
        return EMAC_OK;
    s->sum.rig[rig].busy_s += more;
    return ends_at(s, rig, r->done_at + more);
}

static enum emac_status compute(struct sim *s, uint32_t rig)
{
    struct sim_rig *r = &s->rig[rig];
    if (r->ready_count == 0 || !r->ready[0].here || r->task != NULL)
        return EMAC_OK;
    const struct predict_rig *hw = &s->cfg->rig[rig];
    const struct plan_want *w = &r->ready[0].task->want;
    bool math = task_kind_info(w->kind)->math;
    double seconds = (double)w->flops / (math ? hw->math_flops : hw->state_flops) * r->slower;
    r->task = r->ready[0].task;
    r->began_at = s->now;
    r->done_at = s->now + seconds + PREDICT_TASK_S;
    memmove(&r->ready[0], &r->ready[1], --r->ready_count * sizeof r->ready[0]);
    s->sum.rig[rig].busy_s += seconds;
    s->sum.rig[rig].tasks++;
    enum emac_status st = ends_at(s, rig, r->done_at);
    return st == EMAC_OK ? poll(s, rig) : st;
}

bool sim_is_ready(const struct sim_rig *r, const struct sim_task *t)
{
    for (uint32_t i = 0; i < r->ready_count; i++)
        if (r->ready[i].task == t)
            return r->ready[i].here;
    return false;
}

enum emac_status sim_cancel(struct sim *s, struct sim_lease *l)
{
    struct sim_rig *r = &s->rig[l->rig];
    uint32_t rig = l->rig;
    if (sim_is_ready(r, l->task))
        return sim_recall(s, l);
    if (r->task != l->task)
        return EMAC_OK; /* on its way to the rig, or from it */
    double left = r->done_at - PREDICT_TASK_S - s->now;
    s->sum.rig[rig].busy_s -= left > 0 ? left : 0;
    r->task = NULL;
    r->run++;
    sim_lease_end(s, l);
    enum emac_status st = compute(s, rig);
    return st == EMAC_OK ? poll(s, rig) : st;
}

enum emac_status sim_recall(struct sim *s, struct sim_lease *l)
{
    struct sim_rig *r = &s->rig[l->rig];
    uint32_t rig = l->rig, i = 0;
    EMAC_ASSERT(sim_is_ready(r, l->task));
    while (r->ready[i].task != l->task)
        i++;
    memmove(&r->ready[i], &r->ready[i + 1], (--r->ready_count - i) * sizeof r->ready[0]);
    l->task->rig[rig] = TASK_UNSEEN;
    sim_lease_end(s, l);
    return poll(s, rig);
}

static bool is_coming(const struct sim_rig *r, const struct sim_value *v)
{
    for (uint32_t i = 0; i < r->coming_count; i++)
        if (r->coming[i].value == v)
            return true;
    return false;
}

/* Ask for inputs that are not here, as many at once as a rig does, each once. */
static enum emac_status inputs_ask(struct sim *s, uint32_t rig, struct sim_ahead *a)
{
    struct sim_rig *r = &s->rig[rig];
    const struct task *t = &a->task->want.task;
    uint32_t count = t->input_count + t->part_count;
    enum emac_status st = EMAC_OK;
    while (a->asked < count && a->fetches < SIM_FETCHERS && a->awaits == NULL && st == EMAC_OK) {
        uint32_t i = a->asked;
        struct sim_value *v =
            sim_value(s, i < t->input_count ? &t->input[i].cid : &t->part[i - t->input_count].cid);
        uint32_t from = v != NULL ? source_of(s, v, rig) : NOBODY;
        if (from != NOBODY && is_coming(r, v)) {
            a->awaits = v;
            break;
        }
        a->asked++;
        if (from == NOBODY)
            continue;
        EMAC_ASSERT(r->coming_count < EMAC_COUNT(r->coming));
        r->coming[r->coming_count++] = (struct sim_coming){v, a->task};
        a->fetches++;
        st = after(s, up_s(s, rig, REQUEST_BYTES) + latency(s, from),
                   (struct event){.kind = EVENT_REQUEST, .rig = rig, .source = from, .value = v});
    }
    a->here = a->asked == count && a->fetches == 0;
    return st;
}

/* The inputs of the first tasks that lack some; then whatever the rig can go on with. */
static enum emac_status fetch(struct sim *s, uint32_t rig)
{
    struct sim_rig *r = &s->rig[rig];
    uint32_t under_way = 0;
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < r->ready_count && under_way < SCHED_FETCH_TASKS && st == EMAC_OK;
         i++) {
        if (!r->ready[i].here)
            st = inputs_ask(s, rig, &r->ready[i]);
        under_way += !r->ready[i].here;
    }
    if (st == EMAC_OK)
        st = poll(s, rig);
    return st == EMAC_OK ? compute(s, rig) : st;
}

static enum emac_status value_here(struct sim *s, uint32_t rig, struct sim_value *v)
{
    struct sim_rig *r = &s->rig[rig];
    uint32_t at = 0;
    while (r->coming[at].value != v)
        EMAC_ASSERT(++at < r->coming_count);
    v->held[rig] = 1;
    for (uint32_t i = 0; i < r->ready_count; i++) {
        struct sim_ahead *a = &r->ready[i];
        a->fetches -= a->task == r->coming[at].task;
        a->awaits = a->awaits == v ? NULL : a->awaits;
    }
    r->coming[at] = r->coming[--r->coming_count];
    return fetch(s, rig);
}

static enum emac_status send(struct sim *s, uint32_t from, uint32_t to, struct sim_value *v)
{
    s->sum.bytes += v->bytes;
    if (from != depot(s))
        s->sum.rig[from].sent += v->bytes;
    if (to != depot(s))
        s->sum.rig[to].received += v->bytes;
    return flows_begin(&s->net, from, to, v->bytes, (uint64_t)(uintptr_t)v, s->err);
}

/* ---- checkpoints ---- */

static enum emac_status upload(struct sim *s, uint32_t rig)
{
    struct sim_rig *r = &s->rig[rig];
    while (r->upload_count > 0) {
        struct sim_value *v = sim_value(s, &r->upload[0]);
        if (v != NULL && !v->held[depot(s)])
            return send(s, rig, depot(s), v);
        memmove(&r->upload[0], &r->upload[1], --r->upload_count * sizeof r->upload[0]);
    }
    return EMAC_OK;
}

/* The holder with the shortest queue brings it. */
static enum emac_status deposit(struct sim *s, const struct cid *cid)
{
    const struct sim_value *v = sim_value(s, cid);
    uint32_t best = NOBODY;
    for (uint32_t i = 0; v != NULL && i < s->cfg->rigs; i++)
        if (v->held[i] && (best == NOBODY || s->rig[i].upload_count < s->rig[best].upload_count))
            best = i;
    if (best == NOBODY || v->held[depot(s)])
        return EMAC_OK;
    struct sim_rig *r = &s->rig[best];
    if (r->upload_count == EMAC_COUNT(r->upload))
        return EMAC_OK; /* a link too thin for its checkpoints: the next one tells as much */
    r->upload[r->upload_count++] = *cid;
    return r->upload_count == 1 ? upload(s, best) : EMAC_OK;
}

/* ---- rounds ---- */

static double grown(double now, double half, double times)
{
    return now + (now - half) * times;
}

static void share_grow(struct predict_share *now, const struct predict_share *half, double times)
{
    now->tasks = grown(now->tasks, half->tasks, times);
    now->busy_s = grown(now->busy_s, half->busy_s, times);
    now->sent = grown(now->sent, half->sent, times);
    now->received = grown(now->received, half->received, times);
}

static double round_mean(const struct sim *s)
{
    uint32_t half = s->rounds / 2;
    return (s->round_at[s->rounds] - s->round_at[half]) / (s->rounds - half);
}

/* The rounds that are left go like those of the second half. */
static void rounds_skip(struct sim *s)
{
    uint32_t all = plan_rounds(&s->plan->job), left = all - s->st.step;
    double times = (double)left / (s->rounds - s->rounds / 2);
    struct sim_totals *n = &s->sum, *h = &s->half;
    for (int i = 0; i < TASK_KINDS; i++)
        n->tasks[i] = grown(n->tasks[i], h->tasks[i], times);
    n->flops = grown(n->flops, h->flops, times);
    n->units = grown(n->units, h->units, times);
    n->bytes = grown(n->bytes, h->bytes, times);
    for (uint32_t i = 0; i < s->cfg->rigs; i++)
        share_grow(&n->rig[i], &h->rig[i], times);
    s->skipped = round_mean(s) * left;
    s->st.step = all;
}

/* For the first time at this step: evaluations turn, too. */
static void round_done(struct sim *s)
{
    s->round_at[s->st.step] = s->now;
    if (s->st.step == s->rounds / 2)
        s->half = s->sum;
    if (s->st.step > 0 && s->st.step == s->rounds)
        rounds_skip(s);
}

enum emac_status sim_turned(struct sim *s)
{
    enum emac_status st = EMAC_OK;
    if (s->st.step <= s->rounds && s->round_at[s->st.step] == 0)
        round_done(s);
    if (!plan_is_checkpoint(s->plan, &s->st))
        return EMAC_OK;
    for (uint32_t i = 0; i < s->st.value_count && st == EMAC_OK; i++)
        if (plan_needs_value(s->plan, &s->st, &s->st.value[i]))
            st = deposit(s, &s->st.value[i].cid);
    return st;
}

/* ---- what happens ---- */

static enum emac_status polls_again(struct sim *s)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < s->cfg->rigs && st == EMAC_OK; i++)
        if (s->rig[i].intake == INTAKE_WAIT)
            st = grant(s, i);
    return st;
}

static enum emac_status done(struct sim *s, const struct event *e)
{
    struct sim_rig *r = &s->rig[e->rig];
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < e->task->program->output_count && st == EMAC_OK; i++) {
        struct cid cid = sim_output(e->task, i);
        st = value_add(s, &cid, (double)e->task->program->output[i].bytes, e->rig);
    }
    for (uint32_t i = 0; i < r->leases; i++)
        if (r->lease[i]->task == e->task)
            r->lease[i]->run_ms = (uint64_t)((s->now - r->began_at - PREDICT_TASK_S) * 1000) + 1;
    r->task = NULL;
    struct event receipt = *e;
    receipt.kind = EVENT_RECEIPT;
    if (st == EMAC_OK)
        st = after(s, up_s(s, e->rig, RECEIPT_BYTES), receipt);
    return st == EMAC_OK ? compute(s, e->rig) : st;
}

static enum emac_status receipt(struct sim *s, const struct event *e)
{
    bool changed = false;
    s->receipt_at = s->now;
    enum emac_status st = sim_accept(s, e->task, e->rig, &changed);
    /* Whoever waits looks again when there is something for it; who is idle now, in any case. */
    if (st == EMAC_OK && changed)
        return polls_again(s);
    return st == EMAC_OK && s->rig[e->rig].intake == INTAKE_WAIT ? grant(s, e->rig) : st;
}

static enum emac_status happens(struct sim *s, const struct event *e)
{
    struct sim_rig *r = &s->rig[e->rig];
    switch (e->kind) {
    case EVENT_POLL:
        return grant(s, e->rig);
    case EVENT_LEASE:
        r->ready[r->ready_count++] =
            (struct sim_ahead){.task = e->task, .state = lacks_state(s, e->task, e->rig)};
        r->intake = INTAKE_NONE;
        return fetch(s, e->rig);
    case EVENT_REQUEST:
        return send(s, e->source, e->rig, e->value);
    case EVENT_VALUE:
        return value_here(s, e->rig, e->value);
    case EVENT_DONE:
        return e->run == r->run ? done(s, e) : EMAC_OK;
    case EVENT_RECEIPT:
        return receipt(s, e);
    case EVENT_UPLOAD:
        e->value->held[depot(s)] = 1;
        return upload(s, e->rig);
    case EVENT_WAKE:
        if (!s->waking || e->at != s->wake_at) /* an earlier one was asked for after it */
            return EMAC_OK;
        s->waking = false;
        return polls_again(s);
    case EVENT_SLOW:
        return slows(s, e->rig);
    }
    EMAC_ASSERT(!"no such event");
    return EMAC_INTERNAL;
}

/* Flows that are through arrive a latency later. */
static enum emac_status flows_end(struct sim *s)
{
    struct flow f;
    enum emac_status st = EMAC_OK;
    while (st == EMAC_OK && flows_take(&s->net, &f)) {
        bool up = f.to == depot(s);
        st = after(s, latency(s, f.from) + latency(s, f.to),
                   (struct event){.kind = up ? EVENT_UPLOAD : EVENT_VALUE,
                                  .rig = up ? f.from : f.to,
                                  .value = (struct sim_value *)(uintptr_t)f.tag});
    }
    return st;
}

static bool is_over(const struct sim *s)
{
    if (plan_phase_of(s->plan, &s->st) != PLAN_DONE || sim_checks_due(s))
        return false;
    for (uint32_t i = 0; i < s->cfg->rigs; i++)
        if (s->rig[i].upload_count > 0)
            return false;
    return true;
}

static enum emac_status run(struct sim *s)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < s->cfg->rigs && st == EMAC_OK; i++)
        st = poll(s, i);
    while (st == EMAC_OK && !is_over(s)) {
        double flow = flows_next(&s->net), wait = flow;
        if (s->event_count > 0 && (flow < 0 || s->event[0].at - s->now < flow))
            wait = s->event[0].at - s->now;
        if (wait < 0 && s->event_count == 0)
            return emac_fail(s->err, EMAC_INTERNAL,
                             "the plan stands still after %u rounds: no task is wanted",
                             s->st.step);
        wait = wait > 0 ? wait : 0;
        bool is_event = wait != flow;
        flows_pass(&s->net, wait);
        s->now = is_event ? s->event[0].at : s->now + wait;
        if (is_event) {
            struct event e = event_take(s);
            st = happens(s, &e);
        } else {
            st = flows_end(s);
        }
    }
    return st;
}

/* ---- beginning and end ---- */

static enum emac_status rigs_begin(struct sim *s)
{
    enum emac_status st = emac_alloc(&s->rig, s->cfg->rigs, sizeof *s->rig, s->err);
    if (st == EMAC_OK)
        st = flows_init(&s->net, s->cfg->rigs + 1, s->err);
    for (uint32_t i = 0; st == EMAC_OK && i < s->cfg->rigs; i++) {
        const struct predict_rig *hw = &s->cfg->rig[i];
        s->rig[i].speed = (struct sched_speed){.flops = {hw->math_flops, hw->state_flops},
                                               .receipts = {1, 1},
                                               .ms = {KNOWN_MS, KNOWN_MS}};
        sched_speed_link(&s->rig[i].speed, hw->link.up_bps, hw->link.down_bps);
        s->rig[i].slower = 1;
        if (hw->slow_at_s > 0)
            st = sim_event(s, &(struct event){.at = hw->slow_at_s, .kind = EVENT_SLOW, .rig = i});
        s->net.up[i] = (hw->link.up_bps > 0 ? (double)hw->link.up_bps : OPEN_BPS) / BITS;
        s->net.down[i] = (hw->link.down_bps > 0 ? (double)hw->link.down_bps : OPEN_BPS) / BITS;
    }
    if (st == EMAC_OK)
        s->net.up[s->cfg->rigs] = s->net.down[s->cfg->rigs] = OPEN_BPS / BITS;
    return st;
}

static double constant_bytes(const struct job_plan *p, const struct cid *cid)
{
    if (cid_equal(cid, &p->job.data))
        return (double)p->job.data_size;
    if (cid_equal(cid, &p->base.file[MODEL_WEIGHTS]))
        return (double)p->base.link_size[MODEL_WEIGHTS];
    return cid_equal(cid, &p->weights) ? (double)p->weights_size : 0;
}

/* The depot has what no task makes. */
static enum emac_status constants_begin(struct sim *s)
{
    const struct job_plan *p = s->plan;
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < p->constant_count && st == EMAC_OK; i++) {
        bool data = cid_equal(&p->constant[i], &p->job.data);
        st = value_add(s, &p->constant[i], constant_bytes(p, &p->constant[i]), depot(s));
        for (uint32_t r = 0; data && s->cfg->has_corpus && r < s->cfg->rigs && st == EMAC_OK; r++)
            st = value_add(s, &p->constant[i], 0, r);
    }
    return st;
}

static void take_totals(const struct sim *s, struct predict *out)
{
    *out = (struct predict){.seconds = s->now + s->skipped,
                            .work_s = s->receipt_at + s->skipped,
                            .round_s = round_mean(s),
                            .flops = s->sum.flops,
                            .units = s->sum.units,
                            .bytes = s->sum.bytes,
                            .rounds = plan_rounds(&s->plan->job),
                            .rounds_run = s->rounds,
                            .rigs = s->cfg->rigs};
    memcpy(out->tasks, s->sum.tasks, sizeof out->tasks);
    memcpy(out->rig, s->sum.rig, sizeof out->rig);
}

static void sim_release(struct sim *s)
{
    const struct cid_slot *slot;
    for (size_t i = 0; i < s->task_count; i++)
        sim_task_free(s->task[i]);
    for (size_t at = 0; (slot = cid_map_next(&s->value, &at)) != NULL;)
        free(slot->value);
    cid_map_release(&s->value);
    free(s->task);
    free(s->event);
    free(s->rig);
    flows_release(&s->net);
    plan_state_release(&s->st);
    free(s);
}

void predict_rig_init(struct predict_rig *r, double gemm_flops)
{
    struct sched_speed speed = {0};
    sched_speed_seed(&speed, gemm_flops);
    *r = (struct predict_rig){.math_flops = sched_speed_get(&speed, SCHED_WORK_MATH),
                              .state_flops = sched_speed_get(&speed, SCHED_WORK_STATE)};
}

enum emac_status predict_run(const struct predict_config *cfg, struct predict *out,
                             struct emac_err *err)
{
    struct sim *s;
    uint32_t rounds = plan_rounds(&cfg->plan->job);
    if (cfg->rigs < 1 || cfg->rigs > PREDICT_RIGS_MAX)
        return emac_fail(err, EMAC_INVALID, "a prediction takes 1 to %d rigs", PREDICT_RIGS_MAX);
    enum emac_status st = emac_alloc(&s, 1, sizeof *s, err);
    if (st != EMAC_OK)
        return st;
    s->cfg = cfg;
    s->plan = cfg->plan;
    s->err = err;
    s->rounds = rounds < PREDICT_ROUNDS ? rounds : PREDICT_ROUNDS;
    plan_state_init(&s->st);
    cid_map_init(&s->value, MAP_SEED);
    st = rigs_begin(s);
    if (st == EMAC_OK)
        st = constants_begin(s);
    if (st == EMAC_OK)
        st = run(s);
    if (st == EMAC_OK)
        take_totals(s, out);
    sim_release(s);
    return st;
}

double predict_busy(const struct predict *p, uint32_t i)
{
    EMAC_ASSERT(i < p->rigs);
    return p->work_s > 0 ? p->rig[i].busy_s / p->work_s : 0;
}

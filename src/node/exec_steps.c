/* Programs of steps: several optimiser steps of one replica, on the device from the first to the
 * last. Each part, gradients, optimiser, end, is a run of its own over the one task's inputs.
 *
 * STEPS-1  Between steps nothing is hashed and nothing but micro-batches and args crosses the bus.
 * STEPS-2  Parameters and optimiser state have two places each: a step reads one and writes the
 *          other, for an optimiser may read a parameter after it has written another. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "node/exec_internal.h"

/* State that a step reads at `now` and leaves in one of `file`. */
struct carried {
    const struct bundle *layout;
    uint8_t *file[2];
    uint32_t next;
    const uint8_t *now;
};

struct steps_run {
    struct exec_run *r;
    struct exec_run begin, grad, step, end; /* of the programs; they hold no inputs */
    struct task grad_task, step_task, end_task;
    struct exec_map map;
    struct carried params, opt;
    uint8_t *metrics, *total; /* of the last step, and of all */
};

static const struct bundle *layout_of(const struct exec_bundle *list, uint32_t count,
                                      const char *name)
{
    const struct exec_bundle *b = exec_bundle_find(list, count, name);
    return b == NULL ? NULL : &b->layout;
}

/* ---- what programs and tasks must be ---- */

bool exec_steps_makes(const struct exec_program *p, const char *bundle)
{
    return p->program.kind == PROGRAM_STEPS &&
           (strcmp(bundle, "params") == 0 || strcmp(bundle, "total") == 0);
}

static bool same(const struct bundle *a, const struct bundle *b)
{
    return a != NULL && b != NULL && exec_bundles_equal(a, b);
}

static bool all_floats(const struct bundle *b)
{
    for (uint32_t i = 0; i < b->count; i++) {
        if (b->port[i].dtype != DTYPE_F32)
            return false;
    }
    return true;
}

/* The sum that `grad` gives is what `step` takes, and its state goes round. */
static bool goes_round(const struct exec_program *grad, const struct exec_program *step)
{
    const struct bundle *params = layout_of(step->out, step->out_count, "params");
    const struct bundle *metrics = layout_of(step->out, step->out_count, "metrics");
    return grad->program.kind == PROGRAM_MAP && step->program.kind == PROGRAM_APPLY &&
           step->decode == NULL && same(&grad->out[0].layout, &step->sum) && step->out_count == 3 &&
           metrics != NULL && all_floats(metrics) && params != NULL &&
           same(params, layout_of(step->in, step->in_count, "params")) &&
           same(params, layout_of(grad->in, grad->in_count, "params")) &&
           layout_of(grad->in, grad->in_count, "opt") == NULL &&
           same(layout_of(step->out, step->out_count, "opt"),
                layout_of(step->in, step->in_count, "opt"));
}

/* What the own graph takes of the steps is what they make. */
static bool ends_well(const struct exec_program *p)
{
    const struct exec_program *step = p->step;
    const struct bundle *params = layout_of(p->in, p->in_count, "params");
    const struct bundle *total = layout_of(p->in, p->in_count, "total");
    const struct task made = {.arg_count = 1, .arg = {{"steps_inv", 1, {1.0f}}}};
    return (params == NULL || same(params, layout_of(step->out, step->out_count, "params"))) &&
           (total == NULL || same(total, layout_of(step->out, step->out_count, "metrics"))) &&
           layout_of(p->in, p->in_count, "opt") == NULL &&
           layout_of(p->out, p->out_count, "opt") == NULL && p->out_count < TASK_OUTPUTS_MAX &&
           (p->arg_count == 0 || exec_args_fit(p, &made, NULL) == EMAC_OK);
}

/* What the steps begin with gives parameters as they take them, out of such and of other bundles.
 */
static bool begins_well(const struct exec_program *begin, const struct exec_program *step)
{
    const struct bundle *params = layout_of(step->in, step->in_count, "params");
    return begin == NULL ||
           (begin->out_count == 1 && begin->sum.count == 0 && begin->arg_count == 0 &&
            same(layout_of(begin->out, 1, "params"), params) &&
            same(layout_of(begin->in, begin->in_count, "params"), params) &&
            layout_of(begin->in, begin->in_count, "opt") == NULL);
}

enum emac_status exec_steps_join(struct exec_program *p, struct emac_err *err)
{
    if (!begins_well(p->begin, p->step))
        return emac_fail(err, EMAC_INVALID,
                         "the graph that steps begin with must take bundle 'params' and give it");
    if (!goes_round(p->grad, p->step) || !ends_well(p))
        return emac_fail(err, EMAC_INVALID,
                         "the programs of steps do not fit each other: 'grad' must give the sum "
                         "that 'step' takes, 'step' must give the 'params' and 'opt' that it "
                         "takes, and the graph may take 'params', 'total' and arg 'steps_inv' of "
                         "them");
    while (p->opt < p->out_count && strcmp(p->out[p->opt].name, "opt") < 0)
        p->opt++;
    struct exec_bundle *at = &p->out[p->opt];
    memmove(at + 1, at, (p->out_count - p->opt) * sizeof *at);
    *at = (struct exec_bundle){.name = "opt"};
    p->out_count++;
    return bundle_layout(p->step->graph, true, "opt", &at->layout, err);
}

/* The bundle that the task gives as `name`, as the program that takes it has it. */
static const struct exec_bundle *taken(const struct exec_program *p, const char *name)
{
    const struct exec_bundle *b = exec_bundle_find(p->step->in, p->step->in_count, name);
    if (b == NULL)
        b = exec_bundle_find(p->grad->in, p->grad->in_count, name);
    if (b == NULL && p->begin != NULL)
        b = exec_bundle_find(p->begin->in, p->begin->in_count, name);
    if (b == NULL && !exec_steps_makes(p, name))
        b = exec_bundle_find(p->in, p->in_count, name);
    return b;
}

static enum emac_status all_given(const struct exec_program *p, const struct exec_program *of,
                                  const struct task *t, struct emac_err *err)
{
    for (uint32_t i = 0; i < of->in_count; i++) {
        const char *name = of->in[i].name;
        if (task_input_find(t, name) == NULL && !(of == p && exec_steps_makes(p, name)))
            return emac_fail(err, EMAC_INVALID, "the task lacks input '%s'", name);
    }
    return EMAC_OK;
}

/* The args of `step` at optimiser step t. */
static void args_set(const struct exec_program *p, uint32_t t, struct task *out)
{
    struct optimiser_args args;
    optimiser_args(&p->program.recipe, t, p->program.micro_batches, &args);
    EMAC_ASSERT(args.count <= TASK_ARGS_MAX);
    out->arg_count = args.count;
    for (uint32_t i = 0; i < args.count; i++) {
        struct task_arg *a = &out->arg[i];
        bool fits = emac_strcpy(a->name, sizeof a->name, args.arg[i].name);
        EMAC_ASSERT(fits && args.arg[i].width <= TASK_ARG_WIDTH_MAX);
        a->width = args.arg[i].width;
        memcpy(a->value, args.arg[i].value, a->width * sizeof a->value[0]);
    }
}

static enum emac_status range_fits(const struct exec_program *p, const struct task *t,
                                   struct emac_err *err)
{
    uint64_t end = (uint64_t)t->first + p->program.micro_batches;
    if (t->part_count != 0 || t->total != 0 || t->arg_count != 0)
        return emac_fail(err, EMAC_INVALID, "a task of steps takes no parts and no args");
    if (t->count == 0 || (uint64_t)t->step + t->count > UINT32_MAX)
        return emac_fail(err, EMAC_INVALID, "steps %u+%u are none, or past the last", t->step,
                         t->count);
    if (end > UINT32_MAX || end > sampler_batches(&p->grad->program.sampler))
        return emac_fail(err, EMAC_INVALID,
                         "micro-batches %u+%u pass the end of the sampler's data", t->first,
                         p->program.micro_batches);
    return EMAC_OK;
}

enum emac_status exec_steps_fits(const struct exec_program *p, const struct task *t,
                                 struct emac_err *err)
{
    struct task probe = {0};
    enum emac_status st;
    EMAC_TRY(st, range_fits(p, t, err));
    if (p->begin != NULL)
        EMAC_TRY(st, all_given(p, p->begin, t, err));
    EMAC_TRY(st, all_given(p, p->grad, t, err));
    EMAC_TRY(st, all_given(p, p->step, t, err));
    EMAC_TRY(st, all_given(p, p, t, err));
    if (task_input_find(t, "data") == NULL)
        return emac_fail(err, EMAC_INVALID, "the task lacks input 'data'");
    for (uint32_t i = 0; i < t->input_count; i++) {
        const char *name = t->input[i].name;
        if (strcmp(name, "data") != 0 && taken(p, name) == NULL)
            return emac_fail(err, EMAC_INVALID, "the program takes no input '%s'", name);
    }
    args_set(p, t->step, &probe);
    st = exec_args_fit(p->step, &probe, err);
out:
    return st;
}

/* ---- inputs ---- */

static struct carried *carried_of(struct steps_run *s, const char *name)
{
    return strcmp(name, "params") == 0 ? &s->params : strcmp(name, "opt") == 0 ? &s->opt : NULL;
}

/* State must be of the layout that steps write, for they go on from it. */
static enum emac_status carried_begin(struct steps_run *s, struct carried *c, const char *name,
                                      const struct exec_value *v, struct emac_err *err)
{
    if (!exec_is_canonical(v->held, c->layout)) {
        s->r->suspect = v->held->cid;
        return emac_fail(err, EMAC_INVALID,
                         "input '%s' is not in canonical form, or holds other tensors than a step "
                         "makes",
                         name);
    }
    c->now = v->at;
    return EMAC_OK;
}

static enum emac_status input_take(struct steps_run *s, const char *name, struct emac_err *err)
{
    struct exec_run *runs[] = {&s->grad, &s->step, &s->end, &s->begin};
    struct carried *state = carried_of(s, name);
    struct exec_value v;
    enum emac_status st = exec_input_get(s->r, name, taken(s->r->p, name)->layout.size, &v, err);
    if (st != EMAC_OK || state != NULL)
        return st != EMAC_OK ? st : carried_begin(s, state, name, &v, err);
    for (size_t i = 0; i < EMAC_COUNT(runs) && runs[i]->p != NULL && st == EMAC_OK; i++) {
        const struct exec_program *p = runs[i]->p;
        const struct exec_bundle *b = exec_bundle_find(p->in, p->in_count, name);
        if (b != NULL)
            st = exec_input_bind(runs[i], b, &v, err);
        if (st != EMAC_OK)
            s->r->suspect = runs[i]->suspect;
    }
    return st;
}

static enum emac_status inputs_take(struct steps_run *s, struct emac_err *err)
{
    for (uint32_t i = 0; i < s->r->task->input_count; i++) {
        const char *name = s->r->task->input[i].name;
        if (strcmp(name, "data") == 0)
            continue;
        enum emac_status st = input_take(s, name, err);
        if (st != EMAC_OK)
            return st;
    }
    return EMAC_OK;
}

/* ---- steps ---- */

/* Memory for what the program of run `by` gives next, bound to it. */
static enum emac_status carried_next(struct steps_run *s, struct exec_run *by, const char *name,
                                     struct emac_err *err)
{
    struct carried *c = carried_of(s, name);
    enum emac_status st = EMAC_OK;
    if (c->file[c->next] == NULL)
        st = exec_bundle_new(s->r->x, c->layout, &c->file[c->next], err);
    if (st == EMAC_OK)
        exec_bind_bundle(by, layout_of(by->p->out, by->p->out_count, name), c->file[c->next]);
    return st;
}

static void carried_turn(struct carried *c)
{
    c->now = c->file[c->next];
    c->next ^= 1;
}

static float *numbers(const struct bundle *l, uint8_t *file)
{
    return (float *)(void *)(file + l->header.len);
}

static enum emac_status metrics_add(struct steps_run *s, const struct bundle *l,
                                    struct emac_err *err)
{
    float *total = numbers(l, s->total);
    return exec_add(s->r, l, total, total, numbers(l, s->metrics), err);
}

static enum emac_status optimiser_step(struct steps_run *s, uint32_t number, struct emac_err *err)
{
    const struct exec_program *p = s->step.p;
    const struct bundle *metrics = layout_of(p->out, p->out_count, "metrics");
    bool first = number == s->r->task->step;
    enum emac_status st;
    args_set(s->r->p, number, &s->step_task);
    EMAC_TRY(st, exec_args_bind(&s->step, err));
    exec_bind_input(&s->step, &p->sum, s->grad.out[0]);
    exec_bind_input(&s->step, layout_of(p->in, p->in_count, "params"), s->params.now);
    exec_bind_input(&s->step, layout_of(p->in, p->in_count, "opt"), s->opt.now);
    EMAC_TRY(st, carried_next(s, &s->step, "params", err));
    EMAC_TRY(st, carried_next(s, &s->step, "opt", err));
    exec_bind_bundle(&s->step, metrics, first ? s->total : s->metrics);
    st = exec_graph_run(&s->step, err);
    if (st != EMAC_OK)
        return emac_wrap(err, "step %u", number);
    carried_turn(&s->params);
    carried_turn(&s->opt);
    st = first ? EMAC_OK : metrics_add(s, metrics, err);
out:
    return st;
}

static enum emac_status begin(struct steps_run *s, struct emac_err *err)
{
    const struct exec_program *p = s->begin.p;
    if (p == NULL)
        return EMAC_OK;
    exec_bind_input(&s->begin, layout_of(p->in, p->in_count, "params"), s->params.now);
    enum emac_status st = carried_next(s, &s->begin, "params", err);
    if (st == EMAC_OK)
        st = exec_graph_run(&s->begin, err);
    if (st != EMAC_OK)
        return st;
    carried_turn(&s->params);
    return EMAC_OK;
}

static enum emac_status steps_loop(struct steps_run *s, struct emac_err *err)
{
    const struct task *t = s->r->task;
    const struct exec_program *p = s->r->p;
    enum emac_status st = EMAC_OK;
    for (uint32_t h = 0; h < t->count && st == EMAC_OK; h++) {
        s->grad_task.step = t->step + h;
        exec_bind_input(&s->grad, layout_of(p->grad->in, p->grad->in_count, "params"),
                        s->params.now);
        st = exec_map_sum(&s->map, t->first, p->program.micro_batches, err);
        if (st == EMAC_OK)
            st = optimiser_step(s, t->step + h, err);
    }
    return st;
}

/* ---- the end ---- */

static enum emac_status finish(struct steps_run *s, struct emac_err *err)
{
    struct exec_run *r = s->r;
    const struct exec_program *p = r->p;
    const struct bundle *params = layout_of(p->in, p->in_count, "params");
    const struct bundle *total = layout_of(p->in, p->in_count, "total");
    enum emac_status st = EMAC_OK;
    r->out[p->opt] = s->opt.file[s->opt.next ^ 1];
    s->opt.file[s->opt.next ^ 1] = NULL;
    if (params != NULL)
        exec_bind_input(&s->end, params, s->params.now);
    if (total != NULL)
        exec_bind_input(&s->end, total, s->total);
    EMAC_TRY(st, exec_args_bind(&s->end, err));
    for (uint32_t i = 0; i < p->out_count; i++) {
        if (i == p->opt)
            continue;
        EMAC_TRY(st, exec_output_new(r, i, err));
        exec_bind_bundle(&s->end, &p->out[i].layout, r->out[i]);
    }
    st = exec_graph_run(&s->end, err);
out:
    return st;
}

static void steps_init(struct steps_run *s, struct exec_run *r)
{
    const struct exec_program *step = r->p->step;
    *s = (struct steps_run){.r = r, .grad_task = *r->task};
    s->grad = (struct exec_run){.x = r->x, .task = &s->grad_task, .p = r->p->grad};
    s->begin = (struct exec_run){.x = r->x, .task = r->task, .p = r->p->begin};
    s->step = (struct exec_run){.x = r->x, .task = &s->step_task, .p = r->p->step};
    s->end = (struct exec_run){.x = r->x, .task = &s->end_task, .p = r->p};
    s->end_task.arg_count = 1;
    s->end_task.arg[0] = (struct task_arg){"steps_inv", 1, {1.0f / (float)r->task->count}};
    s->params.layout = layout_of(step->out, step->out_count, "params");
    s->opt.layout = layout_of(step->out, step->out_count, "opt");
}

static void steps_release(struct steps_run *s)
{
    struct exec *x = s->r->x;
    exec_map_release(&s->map);
    exec_bundle_free(x, s->grad.out[0]);
    for (uint32_t i = 0; i < 2; i++) {
        exec_bundle_free(x, s->params.file[i]);
        exec_bundle_free(x, s->opt.file[i]);
    }
    exec_bundle_free(x, s->metrics);
    exec_bundle_free(x, s->total);
    exec_staged_release(x, &s->step.args);
    exec_staged_release(x, &s->end.args);
    s->r->compute_ns +=
        s->begin.compute_ns + s->grad.compute_ns + s->step.compute_ns + s->end.compute_ns;
}

enum emac_status exec_steps(struct exec_run *r, struct emac_err *err)
{
    const struct bundle *metrics = layout_of(r->p->step->out, r->p->step->out_count, "metrics");
    struct steps_run s;
    enum emac_status st;
    steps_init(&s, r);
    EMAC_TRY(st, inputs_take(&s, err));
    EMAC_TRY(st, exec_map_open(&s.map, &s.grad, err));
    EMAC_TRY(st, exec_bundle_new(r->x, metrics, &s.total, err));
    EMAC_TRY(st, exec_bundle_new(r->x, metrics, &s.metrics, err));
    EMAC_TRY(st, begin(&s, err));
    EMAC_TRY(st, steps_loop(&s, err));
    st = finish(&s, err);
out:
    steps_release(&s);
    return st;
}

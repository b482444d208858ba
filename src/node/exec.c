#include "node/exec.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "node/exec_internal.h"
#include "os/process.h"

#define REST_STEP_MS  50 /* how often a rest looks whether the task is still wanted */
#define SCRATCH_SHARE 16 /* of a device's memory is left for the scratch of operators */

enum emac_status exec_new(const struct exec_config *cfg, struct exec **out, struct emac_err *err)
{
    EMAC_ASSERT(cfg->os != NULL && cfg->store != NULL && cfg->dev != NULL);
    enum emac_status st = emac_alloc(out, 1, sizeof **out, err);
    if (st != EMAC_OK)
        return st;
    (*out)->cfg = *cfg;
    (*out)->memory_max = cfg->memory_max != 0 ? cfg->memory_max : os_memory_bytes() / 2;
    struct device_memory m;
    device_memory(cfg->dev, &m);
    uint64_t most = device_is_host(cfg->dev) ? m.total : m.total - m.total / SCRATCH_SHARE;
    (*out)->memory_max = (*out)->memory_max < most ? (*out)->memory_max : most;
    resident_init(&(*out)->resident, cfg->dev, cfg->store);
    return EMAC_OK;
}

void exec_free(struct exec *x)
{
    if (x == NULL)
        return;
    for (uint32_t i = 0; i < x->program_count; i++)
        exec_program_free(x->program[i]);
    exec_data_release(x);
    exec_heads_release(x);
    resident_release(&x->resident);
    free(x);
}

bool exec_is_cancelled(struct exec_run *r)
{
    const struct exec_config *cfg = &r->x->cfg;
    return cfg->cancelled != NULL && cfg->cancelled(cfg->cancelled_ctx);
}

size_t exec_bundle_floats(const struct bundle *layout)
{
    return (layout->size - layout->header.len) / sizeof(float);
}

void exec_bind_bundle(struct exec_run *r, const struct bundle *layout, uint8_t *file)
{
    for (uint32_t i = 0; i < layout->count; i++)
        graph_bind_output(r->p->plan, layout->port[i].port, file + layout->port[i].offset);
}

enum emac_status exec_bundle_new(struct exec *x, const struct bundle *l, uint8_t **out,
                                 struct emac_err *err)
{
    enum emac_status st = device_is_host(x->cfg.dev)
                              ? emac_alloc_aligned(out, l->size, err)
                              : resident_alloc(&x->resident, l->size, out, err);
    return st == EMAC_OK ? exec_head_put(x, &l->header, *out, err) : st;
}

void exec_bundle_free(struct exec *x, uint8_t *file)
{
    if (device_is_host(x->cfg.dev))
        free(file);
    else
        device_free(x->cfg.dev, file);
}

enum emac_status exec_output_new(struct exec_run *r, uint32_t i, struct emac_err *err)
{
    return exec_bundle_new(r->x, &r->p->out[i].layout, &r->out[i], err);
}

/* How long the device was busy: a processor as long as this thread ran, whatever else the machine
 * does; a card as long as it was waited for. */
static uint64_t busy_ns(struct exec *x)
{
    struct os *os = x->cfg.os;
    return device_is_host(x->cfg.dev) ? os->busy_ns(os) : os->mono_ns(os);
}

struct exec_stint exec_stint_begin(struct exec_run *r)
{
    struct os *os = r->x->cfg.os;
    return (struct exec_stint){os->mono_ns(os), busy_ns(r->x)};
}

void exec_stint_end(struct exec_run *r, const struct exec_stint *s)
{
    struct exec *x = r->x;
    r->compute_ns += x->cfg.os->mono_ns(x->cfg.os) - s->began_ns;
    if (x->cfg.duty != NULL)
        duty_worked(&x->duty, atomic_load(x->cfg.duty), s->began_ns, busy_ns(x) - s->busy_ns);
}

static enum emac_status rest(struct exec_run *r, struct emac_err *err)
{
    struct exec *x = r->x;
    struct os *os = x->cfg.os;
    uint64_t ms;
    while ((ms = duty_rest_ns(&x->duty, os->mono_ns(os)) / 1000000) > 0) {
        if (exec_is_cancelled(r))
            return emac_fail(err, EMAC_CANCELLED, "the task was cancelled");
        os->sleep_ms(os, ms < REST_STEP_MS ? (uint32_t)ms : REST_STEP_MS);
    }
    return EMAC_OK;
}

enum emac_status exec_add(struct exec_run *r, const struct bundle *layout, float *dst,
                          const float *a, const float *b, struct emac_err *err)
{
    struct exec *x = r->x;
    if (x->trace != NULL)
        return exec_trace_add(x->trace, layout, dst, a, b, err);
    return device_add(x->cfg.dev, dst, a, b, exec_bundle_floats(layout), err);
}

enum emac_status exec_graph_run(struct exec_run *r, struct emac_err *err)
{
    if (r->x->trace != NULL)
        return exec_trace_graph(r, err);
    struct exec_stint stint = exec_stint_begin(r);
    struct emac_err why;
    enum emac_status st = graph_run(r->p->plan, r->x->cfg.dev, err);
    /* What it keeps between operators, and their scratch, it allocates itself. A graph may be run
     * again: it writes to nothing that it reads. */
    while (st == EMAC_NO_MEMORY && resident_spare(&r->x->resident, &why) == EMAC_OK)
        st = graph_run(r->p->plan, r->x->cfg.dev, err);
    exec_stint_end(r, &stint);
    return st == EMAC_OK ? rest(r, err) : st;
}

enum emac_status exec_finite(struct exec_run *r, const struct bundle *layout, const float *data,
                             struct emac_err *err)
{
    struct tensor sum = {DTYPE_F32, SHAPE1(exec_bundle_floats(layout)), (void *)(uintptr_t)data};
    bool finite = false;
    if (exec_trace_is_dry(r->x->trace))
        return EMAC_OK;
    enum emac_status st = device_finite(r->x->cfg.dev, 1, &sum, &finite, err);
    for (uint32_t i = 0; i < layout->count && st == EMAC_OK && !finite; i++) {
        const struct bundle_port *bp = &layout->port[i];
        size_t first = (bp->offset - layout->header.len) / sizeof(float);
        struct tensor part = {DTYPE_F32, SHAPE1(bp->count), (float *)sum.data + first};
        bool fine = false;
        st = device_finite(r->x->cfg.dev, 1, &part, &fine, err);
        if (st == EMAC_OK && !fine)
            return emac_fail(err, EMAC_NUMERIC,
                             "the sum of the micro-batches' '%s' passed the largest "
                             "number",
                             graph_output_at(r->p->graph, bp->port).name);
    }
    EMAC_ASSERT(st != EMAC_OK || finite);
    return st;
}

static enum emac_status run(struct exec_run *r, struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, exec_program_get(r->x, &r->task->program, &r->p, err));
    EMAC_TRY(st, exec_task_fits(r->p, r->task, err));
    EMAC_TRY(st, exec_needs_check(r, err));
    if (r->p->program.kind == PROGRAM_STEPS)
        return exec_steps(r, err);
    EMAC_TRY(st, exec_inputs_bind(r, err));
    st = r->p->program.kind == PROGRAM_MAP ? exec_map(r, err) : exec_apply(r, err);
out:
    return st;
}

/* Of the task's graphs, as often as each runs. */
static uint64_t flops_of(const struct exec_run *r)
{
    const struct exec_program *p = r->p;
    uint64_t own = graph_flops(p->graph);
    if (p->program.kind == PROGRAM_MAP)
        return own * r->task->count;
    if (p->program.kind == PROGRAM_STEPS)
        return own + r->task->count * (p->program.micro_batches * graph_flops(p->grad->graph) +
                                       graph_flops(p->step->graph));
    return own + (p->decode != NULL ? r->task->part_count * graph_flops(p->decode->graph) : 0);
}

/* Each output becomes a held value. */
static enum emac_status outputs_keep(struct exec_run *r, struct exec_result *out,
                                     struct emac_err *err)
{
    for (uint32_t i = 0; i < r->p->out_count; i++) {
        enum emac_status st = EMAC_OK;
        if (r->x->trace != NULL && exec_trace_skips(r->x->trace, r, i, &st, err)) {
            if (st != EMAC_OK)
                return st;
            continue;
        }
        st = exec_output_keep(r, i, &out->value[i], err);
        if (st != EMAC_OK)
            return emac_wrap(err, "output '%s'", r->p->out[i].name);
        memcpy(out->output[i].name, r->p->out[i].name, sizeof out->output[i].name);
        out->output[i].cid = out->value[i]->cid;
        out->output_count = i + 1;
        if (r->x->trace != NULL &&
            (st = exec_trace_output(r->x->trace, i, out->value[i], err)) != EMAC_OK)
            return st;
    }
    return EMAC_OK;
}

static void run_release(struct exec_run *r)
{
    struct exec *x = r->x;
    for (uint32_t i = 0; i < r->held_count; i++)
        store_value_drop(x->cfg.store, r->held[i]);
    exec_copies_drop(r);
    exec_private_drop(r);
    exec_staged_release(x, &r->args);
    for (uint32_t i = 0; i < TASK_OUTPUTS_MAX; i++)
        exec_bundle_free(x, r->out[i]);
}

enum emac_status exec_run(struct exec *x, const struct task *t, struct exec_result *out,
                          struct emac_err *err)
{
    struct exec_run r = {.x = x, .task = t};
    struct emac_err ignored;
    if (err == NULL)
        err = &ignored; /* what is called adds to the sentence, so there must be one */
    uint64_t began = x->cfg.os->mono_ns(x->cfg.os);
    struct device_memory before, after;
    *out = (struct exec_result){0};
    device_memory(x->cfg.dev, &before);
    resident_prune(&x->resident);
    enum emac_status st = run(&r, err);
    if (st == EMAC_OK)
        st = outputs_keep(&r, out, err);
    if (st == EMAC_NUMERIC && cid_is_none(&r.suspect))
        exec_suspect_find(&r);
    run_release(&r);
    if (st != EMAC_OK) {
        exec_result_release(x, out);
        out->suspect = r.suspect;
        return st;
    }
    out->flops = flops_of(&r);
    out->compute_ns = r.compute_ns;
    device_memory(x->cfg.dev, &after);
    out->bus_written = after.written - before.written;
    out->bus_read = after.read - before.read;
    out->total_ns = x->cfg.os->mono_ns(x->cfg.os) - began;
    return EMAC_OK;
}

enum emac_status exec_program_fits(struct exec *x, const struct cid *program, uint32_t count,
                                   struct emac_err *err)
{
    const struct task t = {.program = *program, .count = count, .part_count = count};
    struct exec_run r = {.x = x, .task = &t};
    enum emac_status st = exec_program_get(x, program, &r.p, err);
    return st == EMAC_OK ? exec_needs_check(&r, err) : st;
}

enum emac_status exec_program_need(struct exec *x, const struct cid *program, uint32_t count,
                                   uint64_t *bytes, struct emac_err *err)
{
    const struct task t = {.program = *program, .count = count, .part_count = count};
    struct exec_run r = {.x = x, .task = &t};
    enum emac_status st = exec_program_get(x, program, &r.p, err);
    if (st == EMAC_OK)
        *bytes = exec_needs(&r);
    return st;
}

enum emac_status exec_spare(struct exec *x, struct emac_err *err)
{
    return resident_spare(&x->resident, err);
}

uint64_t exec_memory_max(const struct exec *x)
{
    return x->memory_max;
}

void exec_result_release(struct exec *x, struct exec_result *r)
{
    for (uint32_t i = 0; i < r->output_count; i++) {
        if (r->value[i] != NULL) /* a trace need not make all */
            store_value_drop(x->cfg.store, r->value[i]);
    }
    *r = (struct exec_result){0};
}

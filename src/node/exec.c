#include "node/exec.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "node/exec_internal.h"
#include "os/process.h"

enum emac_status exec_new(const struct exec_config *cfg, struct exec **out, struct emac_err *err)
{
    EMAC_ASSERT(cfg->os != NULL && cfg->store != NULL && cfg->dev != NULL);
    enum emac_status st = emac_alloc(out, 1, sizeof **out, err);
    if (st != EMAC_OK)
        return st;
    (*out)->cfg = *cfg;
    (*out)->memory_max = cfg->memory_max != 0 ? cfg->memory_max : os_memory_bytes() / 2;
    return EMAC_OK;
}

void exec_free(struct exec *x)
{
    if (x == NULL)
        return;
    for (uint32_t i = 0; i < x->program_count; i++)
        exec_program_free(x->program[i]);
    exec_data_release(x);
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

enum emac_status exec_output_new(struct exec_run *r, uint32_t i, struct emac_err *err)
{
    const struct bundle *l = &r->p->out[i].layout;
    enum emac_status st = emac_alloc_aligned(&r->out[i], l->size, err);
    if (st == EMAC_OK)
        memcpy(r->out[i], l->header.data, l->header.len);
    return st;
}

enum emac_status exec_graph_run(struct exec_run *r, struct emac_err *err)
{
    struct os *os = r->x->cfg.os;
    uint64_t began = os->mono_ns(os);
    enum emac_status st = graph_run(r->p->plan, r->x->cfg.dev, err);
    r->compute_ns += os->mono_ns(os) - began;
    return st;
}

enum emac_status exec_finite(struct exec_run *r, const struct bundle *layout, const float *data,
                             struct emac_err *err)
{
    struct tensor sum = {DTYPE_F32, SHAPE1(exec_bundle_floats(layout)), (void *)(uintptr_t)data};
    bool finite = false;
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

/* EXEC-2 for what the program alone says. */
static enum emac_status program_need(struct exec_run *r, struct emac_err *err)
{
    enum emac_status st = exec_need(r, graph_plan_bytes(r->p->plan), err);
    for (uint32_t i = 0; i < r->p->out_count && st == EMAC_OK; i++)
        st = exec_need(r, r->p->out[i].layout.size, err);
    return st;
}

static enum emac_status run(struct exec_run *r, struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, exec_program_get(r->x, &r->task->program, &r->p, err));
    EMAC_TRY(st, exec_task_fits(r->p, r->task, err));
    EMAC_TRY(st, program_need(r, err));
    EMAC_TRY(st, exec_inputs_bind(r, err));
    st = r->p->program.kind == PROGRAM_MAP ? exec_map(r, err) : exec_apply(r, err);
out:
    return st;
}

/* Hash the outputs into the store; each becomes a held value. */
static enum emac_status outputs_keep(struct exec_run *r, struct exec_result *out,
                                     struct emac_err *err)
{
    const struct exec_config *cfg = &r->x->cfg;
    for (uint32_t i = 0; i < r->p->out_count; i++) {
        uint8_t *data = r->out[i];
        if (cfg->tamper != NULL)
            cfg->tamper(cfg->tamper_ctx, r->p->out[i].name, data, r->p->out[i].layout.size);
        r->out[i] = NULL; /* the store frees it on failure too */
        enum emac_status st =
            store_value_adopt(r->x->cfg.store, data, r->p->out[i].layout.size, &out->value[i], err);
        if (st != EMAC_OK)
            return emac_wrap(err, "output '%s'", r->p->out[i].name);
        memcpy(out->output[i].name, r->p->out[i].name, sizeof out->output[i].name);
        out->output[i].cid = out->value[i]->cid;
        out->output_count = i + 1;
    }
    return EMAC_OK;
}

enum emac_status exec_run(struct exec *x, const struct task *t, struct exec_result *out,
                          struct emac_err *err)
{
    struct exec_run r = {.x = x, .task = t};
    struct emac_err ignored;
    if (err == NULL)
        err = &ignored; /* what is called adds to the sentence, so there must be one */
    uint64_t began = x->cfg.os->mono_ns(x->cfg.os);
    *out = (struct exec_result){0};
    enum emac_status st = run(&r, err);
    for (uint32_t i = 0; i < r.held_count; i++)
        store_value_drop(x->cfg.store, r.held[i]);
    if (st == EMAC_OK)
        st = outputs_keep(&r, out, err);
    for (uint32_t i = 0; i < TASK_OUTPUTS_MAX; i++)
        free(r.out[i]);
    if (st != EMAC_OK) {
        exec_result_release(x, out);
        return st;
    }
    out->flops = graph_flops(r.p->graph);
    if (r.p->program.kind == PROGRAM_MAP)
        out->flops *= t->count;
    out->compute_ns = r.compute_ns;
    out->total_ns = x->cfg.os->mono_ns(x->cfg.os) - began;
    return EMAC_OK;
}

void exec_result_release(struct exec *x, struct exec_result *r)
{
    for (uint32_t i = 0; i < r->output_count; i++)
        store_value_drop(x->cfg.store, r->value[i]);
    *r = (struct exec_result){0};
}

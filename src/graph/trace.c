/* A run that somebody watches: each step is shown before it is done, and is done by whom it is
 * shown to, or not at all. */
#include "base/assert.h"
#include "graph/plan_internal.h"

static enum emac_status visit_node(struct graph_plan *p, uint32_t s, graph_visitor *visit,
                                   void *ctx, struct emac_err *err)
{
    const struct graph_node *n = &p->g->node[p->step[s]];
    const struct op_info *info = op_info(n->op);
    struct graph_step step = {
        .at = s, .node = p->step[s], .inputs = info->inputs, .outputs = info->outputs};

    if (info->alias)
        return EMAC_OK; /* nothing is computed */
    for (uint32_t k = 0; k < info->inputs; k++) {
        step.in[k] = p->value[n->in[k]].tensor;
        EMAC_ASSERT(step.in[k].data != NULL); /* an input was not bound */
    }
    for (uint32_t k = 0; k < info->outputs; k++)
        step.out[k] = p->value[n->out + k].tensor;
    return visit(ctx, &step, err);
}

static enum emac_status visit_copy(struct graph_plan *p, uint32_t i, graph_visitor *visit,
                                   void *ctx, struct emac_err *err)
{
    const struct tensor *t = &p->value[p->g->output[i].value].tensor;
    struct graph_step step = {.copy = true, .node = i, .inputs = 1, .outputs = 1};

    EMAC_ASSERT(t->data != NULL);
    step.in[0] = step.out[0] = *t;
    step.out[0].data = p->output[i];
    return t->data == p->output[i] ? EMAC_OK : visit(ctx, &step, err);
}

enum emac_status graph_visit(struct graph_plan *p, struct device *dev, graph_visitor *visit,
                             void *ctx, struct emac_err *err)
{
    enum emac_status st;

    EMAC_TRY(st, plan_ready(p, dev, err));
    for (uint32_t s = 0; s < p->steps; s++)
        EMAC_TRY(st, visit_node(p, s, visit, ctx, err));
    for (uint32_t i = 0; i < p->g->outputs; i++)
        EMAC_TRY(st, visit_copy(p, i, visit, ctx, err));
out:
    return st;
}

enum emac_status graph_step_run(struct graph_plan *p, struct device *dev,
                                const struct graph_step *step, struct emac_err *err)
{
    size_t bytes = 0;
    bool ok = shape_bytes(step->in[0].dtype, &step->in[0].shape, &bytes);

    if (!step->copy)
        return plan_step(p, dev, step->at, err);
    EMAC_ASSERT(ok);
    return device_copy(dev, step->out[0].data, step->in[0].data, bytes, err);
}

/* Running a plan: addresses, the nodes one by one, and the check of what came out. */
#include <stdlib.h>

#include "base/assert.h"
#include "graph/plan_internal.h"

void graph_bind_input(struct graph_plan *p, uint32_t i, const void *data)
{
    EMAC_ASSERT(i < p->g->inputs);
    p->input[i] = data;
}

void graph_bind_output(struct graph_plan *p, uint32_t i, void *data)
{
    EMAC_ASSERT(i < p->g->outputs);
    p->output[i] = data;
}

enum emac_status plan_ready(struct graph_plan *p, struct device *dev, struct emac_err *err)
{
    if (p->dev != dev) {
        device_free(p->dev, p->block);
        p->block = NULL;
        p->dev = dev;
    }
    if (p->block == NULL && p->bytes > 0 && device_alloc(dev, p->bytes, &p->block, err) != EMAC_OK)
        return emac_wrap(err, "intermediate values of a graph");
    for (uint32_t i = 0; i < p->g->outputs; i++)
        EMAC_ASSERT(p->output[i] != NULL);
    for (value_id v = 0; v < p->g->values; v++) {
        struct plan_value *val = &p->value[v];
        const struct plan_value *root = &p->value[val->root];

        /* Operators only read their inputs; the device's interface has one kind of tensor. */
        if (root->place == PLACE_INPUT)
            val->tensor.data = (void *)(uintptr_t)p->input[root->port];
        else if (root->place == PLACE_OUTPUT)
            val->tensor.data = p->output[root->port];
        else if (root->place == PLACE_BLOCK)
            val->tensor.data = p->block + root->offset;
        else
            val->tensor.data = NULL; /* made by a dead node */
    }
    return EMAC_OK;
}

enum emac_status plan_step(struct graph_plan *p, struct device *dev, uint32_t s,
                           struct emac_err *err)
{
    const struct graph_node *n = &p->g->node[p->step[s]];
    const struct op_info *info = op_info(n->op);
    struct tensor in[OP_IN_MAX], out[OP_OUT_MAX];

    for (uint32_t k = 0; k < info->inputs; k++) {
        in[k] = p->value[n->in[k]].tensor;
        EMAC_ASSERT(in[k].data != NULL); /* an input was not bound */
    }
    for (uint32_t k = 0; k < info->outputs; k++)
        out[k] = p->value[n->out + k].tensor;
    if (info->alias)
        return EMAC_OK; /* its output lies where its input does */
    if (device_run(dev, n->op, &n->attrs, in, out, err) != EMAC_OK)
        return emac_wrap(err, "node %u (%s)", p->step[s], info->name);
    for (uint32_t k = 0; k < info->outputs; k++)
        p->value[n->out + k].finite = device_ran_finite(dev);
    return EMAC_OK;
}

/* Step s and the next at once. */
static enum emac_status step_merged(struct graph_plan *p, struct device *dev, uint32_t s,
                                    struct emac_err *err)
{
    const struct graph_node *embed = &p->g->node[p->step[s]], *add = &p->g->node[p->step[s + 1]];
    struct plan_value *sum = &p->value[add->out];
    value_id term = add->in[add->in[0] == embed->out];

    if (device_embed_grad_add(dev, &p->value[embed->in[0]].tensor, &p->value[embed->in[1]].tensor,
                              &sum->tensor, err) != EMAC_OK)
        return emac_wrap(err, "node %u (%s)", p->step[s], op_info(embed->op)->name);
    sum->finite = p->value[term].finite && device_ran_finite(dev);
    return EMAC_OK;
}

static enum emac_status steps_run(struct graph_plan *p, struct device *dev, struct emac_err *err)
{
    bool merges = device_adds_embed_grad(dev);
    enum emac_status st = EMAC_OK;

    for (uint32_t s = 0; s < p->steps; s++) {
        if (merges && p->merged[s])
            EMAC_TRY(st, step_merged(p, dev, s++, err));
        else
            EMAC_TRY(st, plan_step(p, dev, s, err));
    }
out:
    return st;
}

/* All outputs that are not known to be finite, in one question: a device that is far away answers
 * it once. */
static enum emac_status outputs_finite(struct graph_plan *p, struct device *dev, bool *out,
                                       struct emac_err *err)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < p->g->outputs; i++) {
        const struct plan_value *v = &p->value[p->g->output[i].value];

        if (!v->finite)
            p->made[n++] = v->tensor;
    }
    return device_finite(dev, n, p->made, out, err);
}

static enum emac_status outputs_copy(struct graph_plan *p, struct device *dev, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;

    for (uint32_t i = 0; i < p->g->outputs; i++) {
        const struct tensor *t = &p->value[p->g->output[i].value].tensor;

        EMAC_ASSERT(t->data != NULL);
        if (t->data != p->output[i])
            EMAC_TRY(st, device_copy(dev, p->output[i], t->data,
                                     graph_value_bytes(p->g, p->g->output[i].value), err));
    }
out:
    return st;
}

static enum emac_status input_check(struct graph_plan *p, struct device *dev, value_id v,
                                    struct emac_err *err)
{
    const struct plan_value *root = &p->value[p->value[v].root];
    enum emac_status st = EMAC_OK;
    bool finite = true;

    if (root->place == PLACE_INPUT)
        st = device_finite(dev, 1, &root->tensor, &finite, err);
    if (st != EMAC_OK || finite)
        return st;
    return emac_fail(err, EMAC_NUMERIC, "input '%s' holds NaN or infinity",
                     p->g->input[root->port].name);
}

/* Run a step and look at all it takes and makes. */
static enum emac_status step_check(struct graph_plan *p, struct device *dev, uint32_t s,
                                   struct emac_err *err)
{
    const struct graph_node *n = &p->g->node[p->step[s]];
    const struct op_info *info = op_info(n->op);
    enum emac_status st;
    bool finite;

    for (uint32_t k = 0; k < info->inputs; k++)
        EMAC_TRY(st, input_check(p, dev, n->in[k], err));
    EMAC_TRY(st, plan_step(p, dev, s, err));
    for (uint32_t k = 0; k < info->outputs; k++) {
        EMAC_TRY(st, device_finite(dev, 1, &p->value[n->out + k].tensor, &finite, err));
        if (!finite)
            return emac_fail(err, EMAC_NUMERIC, "node %u (%s) gave NaN or infinity", p->step[s],
                             info->name);
    }
out:
    return st;
}

/* The numbers of an output are not finite: run again, looking at every value, and name the first
 * that is not. */
static enum emac_status find_culprit(struct graph_plan *p, struct device *dev, struct emac_err *err)
{
    enum emac_status st;

    for (uint32_t s = 0; s < p->steps; s++)
        EMAC_TRY(st, step_check(p, dev, s, err));
    for (uint32_t i = 0; i < p->g->outputs; i++)
        EMAC_TRY(st, input_check(p, dev, p->g->output[i].value, err));
    st = emac_fail(err, EMAC_INTERNAL,
                   "an output was not finite, but a second run gave finite values; the device does "
                   "not repeat its results");
out:
    return st;
}

enum emac_status graph_visited_check(struct graph_plan *p, struct device *dev, struct emac_err *err)
{
    bool finite = true;
    enum emac_status st = outputs_finite(p, dev, &finite, err);

    return st == EMAC_OK && !finite ? find_culprit(p, dev, err) : st;
}

enum emac_status graph_run(struct graph_plan *p, struct device *dev, struct emac_err *err)
{
    enum emac_status st;

    EMAC_TRY(st, plan_ready(p, dev, err));
    EMAC_TRY(st, steps_run(p, dev, err));
    EMAC_TRY(st, outputs_copy(p, dev, err));
    st = graph_visited_check(p, dev, err);
out:
    return st;
}

/* Memory of the device for each port that is bound, with the inputs written. */
static enum emac_status ports_bring(struct graph_plan *p, struct device *dev, void **in, void **out,
                                    struct emac_err *err)
{
    enum emac_status st = EMAC_OK;

    for (uint32_t i = 0; i < p->g->inputs; i++) {
        size_t bytes = graph_value_bytes(p->g, p->g->input[i].value);

        if (p->input[i] == NULL)
            continue;
        EMAC_TRY(st, device_alloc(dev, bytes, &in[i], err));
        EMAC_TRY(st, device_write(dev, in[i], p->input[i], bytes, err));
    }
    for (uint32_t i = 0; i < p->g->outputs; i++)
        EMAC_TRY(st,
                 device_alloc(dev, graph_value_bytes(p->g, p->g->output[i].value), &out[i], err));
out:
    return st;
}

/* What the caller bound and what is bound instead change places. */
static void ports_swap(struct graph_plan *p, void **in, void **out)
{
    for (uint32_t i = 0; i < p->g->inputs; i++) {
        void *there = in[i];

        in[i] = (void *)(uintptr_t)p->input[i];
        p->input[i] = there;
    }
    for (uint32_t i = 0; i < p->g->outputs; i++) {
        void *there = out[i];

        out[i] = p->output[i];
        p->output[i] = there;
    }
}

enum emac_status graph_run_host(struct graph_plan *p, struct device *dev, struct emac_err *err)
{
    void **in = NULL, **out = NULL;
    enum emac_status st;

    if (device_is_host(dev))
        return graph_run(p, dev, err);
    EMAC_TRY(st, emac_alloc(&in, (size_t)p->g->inputs + 1, sizeof(*in), err));
    EMAC_TRY(st, emac_alloc(&out, p->g->outputs, sizeof(*out), err));
    EMAC_TRY(st, ports_bring(p, dev, in, out, err));
    ports_swap(p, in, out);
    st = graph_run(p, dev, err);
    ports_swap(p, in, out);
    for (uint32_t i = 0; i < p->g->outputs && st == EMAC_OK; i++)
        st = device_read(dev, p->output[i], out[i], graph_value_bytes(p->g, p->g->output[i].value),
                         err);
out:
    for (uint32_t i = 0; in != NULL && i < p->g->inputs; i++)
        device_free(dev, in[i]);
    for (uint32_t i = 0; out != NULL && i < p->g->outputs; i++)
        device_free(dev, out[i]);
    free(in);
    free(out);
    return st;
}

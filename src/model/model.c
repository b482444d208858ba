#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "model/optimiser.h"

struct shape model_matrix_shape(struct shape s)
{
    size_t rest = 1;
    if (s.rank <= 2)
        return s;
    for (uint32_t i = 1; i < s.rank; i++)
        rest *= s.dim[i];
    return SHAPE2(s.dim[0], rest);
}

static value_id as_shape(struct graph *g, struct shape s, value_id v)
{
    return s.rank <= 2 ? v : graph_view(g, v, s);
}

value_id model_fill(struct graph *g, struct shape shape, float value)
{
    struct shape m = model_matrix_shape(shape);
    struct op_attrs attrs = {
        .at = {{.i = (int64_t)m.dim[0]}, {.i = m.rank == 2 ? (int64_t)m.dim[1] : 0}, {.f = value}}};
    return as_shape(g, shape, graph_op(g, OP_FILL, &attrs, 0, NULL));
}

static value_id base_value(struct graph *g, const struct model_param *p)
{
    char name[GRAPH_NAME_MAX];
    snprintf(name, sizeof name, "base/%s", p->name);
    value_id v = graph_input(g, name, p->base_storage, p->shape);
    return graph_op(g, OP_COPY, NULL, 1, &v);
}

static value_id init_value(struct graph *g, const struct model_param *p, uint32_t i, uint64_t seed)
{
    struct shape m = model_matrix_shape(p->shape);
    struct op_attrs attrs = {.at = {{.i = (int64_t)m.dim[0]},
                                    {.i = m.rank == 2 ? (int64_t)m.dim[1] : 0},
                                    {.i = (int64_t)seed},
                                    {.i = i},
                                    {.f = (float)p->init_std}}};
    if (p->from_base)
        return base_value(g, p);
    if (p->init_std == 0)
        return model_fill(g, p->shape, p->init_fill);
    return as_shape(g, p->shape, graph_op(g, OP_RANDN, &attrs, 0, NULL));
}

void model_param_output(struct graph *g, const struct model_params *params, const char *param,
                        value_id f32)
{
    char name[GRAPH_NAME_MAX];
    snprintf(name, sizeof name, "params/%s", param);
    if (params->storage != DTYPE_BF16) {
        graph_output(g, name, f32);
        return;
    }
    graph_output(g, name, graph_op_bf16(g, OP_COPY, NULL, 1, &f32));
    snprintf(name, sizeof name, "opt/w.%s", param);
    graph_output(g, name, f32);
}

enum emac_status model_graph_init(const struct model_params *params, uint64_t seed,
                                  const struct optimiser_recipe *r, struct graph **out,
                                  struct emac_err *err)
{
    struct graph *g = graph_new();
    for (uint32_t i = 0; i < params->count; i++) {
        char name[GRAPH_NAME_MAX];
        struct model_param p;
        params->at(params->config, i, &p);
        model_param_output(g, params, p.name, init_value(g, &p, i, seed));
        for (const char *const *state = optimiser_state(r, &p); *state != NULL; state++) {
            snprintf(name, sizeof name, "opt/%s.%s", *state, p.name);
            graph_output(g, name, model_fill(g, p.shape, 0.0f));
        }
    }
    return graph_end(g, EMAC_OK, out, err);
}

void model_inputs(struct graph *g, const struct model_params *params, value_id *value)
{
    for (uint32_t i = 0; i < params->count; i++) {
        char name[GRAPH_NAME_MAX];
        struct model_param p;
        params->at(params->config, i, &p);
        snprintf(name, sizeof name, "params/%s", p.name);
        value[i] = graph_input(g, name, params->storage, p.shape);
    }
}

enum emac_status model_gradients(struct graph *g, const struct model_params *params,
                                 const value_id *value, value_id loss, struct emac_err *err)
{
    value_id *grad = NULL;
    enum emac_status st;
    EMAC_TRY(st, emac_alloc(&grad, params->count, sizeof *grad, err));
    EMAC_TRY(st,
             graph_grad(g, loss, model_fill(g, SHAPE1(1), 1.0f), params->count, value, grad, err));
    for (uint32_t i = 0; i < params->count; i++) {
        char name[GRAPH_NAME_MAX];
        struct model_param p;
        params->at(params->config, i, &p);
        snprintf(name, sizeof name, "sum/grad.%s", p.name);
        graph_output(g, name, grad[i]);
    }
out:
    free(grad);
    return st;
}

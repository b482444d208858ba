/* optimiser-peer NAME: STEPS steps of an optimiser on two matrices that a formula fills, with the
 * usual fields of a job; prints the weights after them, one a line. optimiser_check.py does the
 * same with torch.optim and compares. NAME: adamw, sgd, nesterov, muon. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "model/optimiser.h"

#define STEPS    10
#define MATRICES 2
#define MOST     60

static const struct {
    const char *name;
    struct optimiser_recipe r;
} PEERS[] = {
    {"adamw",
     {.kind = OPTIMISER_ADAMW, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1}},
    {"sgd", {.kind = OPTIMISER_SGD, .momentum = 0.9, .weight_decay = 0.01}},
    {"nesterov", {.kind = OPTIMISER_SGD, .momentum = 0.9, .nesterov = true}},
    {"muon", {.kind = OPTIMISER_MUON, .momentum = 0.95, .nesterov = true, .weight_decay = 0.1}},
};
static const struct shape SHAPES[MATRICES] = {{2, {6, 10}}, {2, {12, 5}}};

static void matrix_at(const void *config, uint32_t i, struct model_param *out)
{
    *out = (struct model_param){.shape = SHAPES[i], .decay = true, .hidden = true};
    snprintf(out->name, sizeof out->name, "%c", 'a' + (int)i);
}

/* Scattered numbers from -1 to 1. */
static float number(uint32_t step, uint32_t matrix, uint32_t k)
{
    uint32_t x = (step * 1000 + matrix * 100 + k + 1) * 2654435761u;
    return (float)(x >> 8) * 0x1p-23f - 1.0f;
}

/* What the graph's ports are bound to. */
static struct {
    float params[MATRICES][MOST], m[MATRICES][MOST], v[MATRICES][MOST], grad[MATRICES][MOST];
    float loss[1], metrics[2];
    struct optimiser_args args;
} at;

static void *place(const char *port)
{
    int matrix = port[strlen(port) - 1] - 'a';
    if (strncmp(port, "params/", 7) == 0)
        return at.params[matrix];
    if (strncmp(port, "opt/m.", 6) == 0)
        return at.m[matrix];
    if (strncmp(port, "opt/v.", 6) == 0)
        return at.v[matrix];
    if (strncmp(port, "sum/grad.", 9) == 0)
        return at.grad[matrix];
    if (strncmp(port, "metrics/", 8) == 0)
        return strcmp(port, "metrics/loss") == 0 ? &at.metrics[0] : &at.metrics[1];
    for (uint32_t i = 0; i < at.args.count; i++)
        if (strncmp(port, "args/", 5) == 0 && strcmp(port + 5, at.args.arg[i].name) == 0)
            return at.args.arg[i].value;
    return at.loss;
}

/* An output may not lie on its input: it goes through memory of its own. */
static enum emac_status step(const struct graph *g, struct device *dev, struct emac_err *err)
{
    static float out[16][MOST];
    struct graph_plan *plan;
    enum emac_status st = graph_plan_new(g, &plan, err);
    EMAC_ASSERT(graph_output_count(g) <= EMAC_COUNT(out));
    if (st != EMAC_OK)
        return st;
    for (uint32_t i = 0; i < graph_input_count(g); i++)
        graph_bind_input(plan, i, place(graph_input_at(g, i).name));
    for (uint32_t i = 0; i < graph_output_count(g); i++)
        graph_bind_output(plan, i, out[i]);
    st = graph_run(plan, dev, err);
    for (uint32_t i = 0; i < graph_output_count(g) && st == EMAC_OK; i++) {
        struct graph_port port = graph_output_at(g, i);
        size_t bytes = 0;
        EMAC_ASSERT(shape_bytes(port.dtype, &port.shape, &bytes));
        memcpy(place(port.name), out[i], bytes);
    }
    graph_plan_free(plan);
    return st;
}

static enum emac_status steps(struct optimiser_recipe r, struct emac_err *err)
{
    const struct model_params params = {.count = MATRICES, .storage = DTYPE_F32, .at = matrix_at};
    struct graph *g = NULL;
    struct device *dev = NULL;
    enum emac_status st;
    r.schedule = SCHEDULE_CONSTANT;
    r.lr = 0.02;
    r.steps = STEPS;
    EMAC_TRY(st, device_cpu_open(ISA_REF, 1, &dev, err));
    EMAC_TRY(st, optimiser_graph(&params, &r, &g, err));
    for (uint32_t t = 0; t <= STEPS; t++)
        for (uint32_t i = 0; i < MATRICES; i++) {
            for (uint32_t k = 0; k < MOST; k++)
                (t == 0 ? at.params : at.grad)[i][k] = number(t, i, k);
            if (t == 0 || i + 1 < MATRICES)
                continue;
            optimiser_args(&r, t - 1, 1, &at.args);
            EMAC_TRY(st, step(g, dev, err));
        }
out:
    graph_free(g);
    device_close(dev);
    return st;
}

int main(int argc, char **argv)
{
    struct emac_err err = {0};
    size_t i = 0;
    while (argc == 2 && i < EMAC_COUNT(PEERS) && strcmp(argv[1], PEERS[i].name) != 0)
        i++;
    if (argc != 2 || i == EMAC_COUNT(PEERS)) {
        fprintf(stderr, "usage: optimiser-peer adamw|sgd|nesterov|muon\n");
        return 2;
    }
    if (steps(PEERS[i].r, &err) != EMAC_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    for (size_t k = 0; k < MATRICES * MOST; k++)
        printf("%.9g\n", (double)at.params[k / MOST][k % MOST]);
    return 0;
}

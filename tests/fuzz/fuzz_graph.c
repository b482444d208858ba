/* A stranger's program: any bytes. What decodes must encode to the same bytes, have a plan, be cut
 * into pieces and, when it is small, run: kernels must cope with whatever shapes and attributes
 * op_infer lets through. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "graph/graph.h"

#define RUN_BYTES_MAX (1u << 20)
#define RUN_FLOPS_MAX 20000000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_canonical(const struct graph *g, const uint8_t *data, size_t n)
{
    struct emac_buf again;

    emac_buf_init(&again, GRAPH_ENCODED_MAX);
    EMAC_ASSERT(graph_encode(g, &again, NULL) == EMAC_OK);
    EMAC_ASSERT(again.len == n && memcmp(again.data, data, n) == 0);
    emac_buf_release(&again);
}

static void check_cut(const struct graph *g)
{
    struct graph *piece[3];

    for (uint32_t stages = 1; stages <= 3; stages++) {
        if (graph_cut(g, stages, piece, NULL) != EMAC_OK)
            continue;
        for (uint32_t s = 0; s < stages; s++)
            graph_free(piece[s]);
    }
}

static size_t port_bytes(struct graph_port port)
{
    size_t bytes = 0;

    EMAC_ASSERT(shape_bytes(port.dtype, &port.shape, &bytes));
    return bytes;
}

/* Cannot overflow: a graph has at most GRAPH_BYTES_MAX of values and 2 * GRAPH_PORTS_MAX ends. */
static size_t ends_bytes(const struct graph *g)
{
    size_t total = 0;

    for (uint32_t i = 0; i < graph_input_count(g); i++)
        total += port_bytes(graph_input_at(g, i));
    for (uint32_t i = 0; i < graph_output_count(g); i++)
        total += port_bytes(graph_output_at(g, i));
    return total;
}

static void check_run(const struct graph *g, struct graph_plan *p, struct device *dev)
{
    uint32_t inputs = graph_input_count(g), outputs = graph_output_count(g);
    void **data = calloc((size_t)inputs + outputs, sizeof(*data));
    struct emac_err err;

    EMAC_ASSERT(data != NULL);
    for (uint32_t i = 0; i < inputs + outputs; i++) {
        struct graph_port port = i < inputs ? graph_input_at(g, i) : graph_output_at(g, i - inputs);
        size_t bytes = port_bytes(port);

        data[i] = malloc(bytes);
        EMAC_ASSERT(data[i] != NULL);
        for (size_t k = 0; k < bytes / 4; k++) {
            if (port.dtype == DTYPE_F32)
                ((float *)data[i])[k] = (float)(k % 7) * 0.25f - 0.5f;
            else
                ((int32_t *)data[i])[k] = (int32_t)(k % 3);
        }
        if (i < inputs)
            graph_bind_input(p, i, data[i]);
        else
            graph_bind_output(p, i - inputs, data[i]);
    }
    if (graph_run(p, dev, &err) != EMAC_OK)
        EMAC_ASSERT(err.text[0] != '\0' && err.status != EMAC_INTERNAL);
    for (uint32_t i = 0; i < inputs + outputs; i++)
        free(data[i]);
    free(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct device *dev;
    struct graph_plan *p;
    struct emac_err err;
    struct graph *g;

    if (dev == NULL)
        EMAC_ASSERT(device_cpu_open(ISA_BEST, 1, &dev, &err) == EMAC_OK);
    if (graph_decode(&g, data, n, &err) != EMAC_OK) {
        EMAC_ASSERT(err.text[0] != '\0');
        return 0;
    }
    check_canonical(g, data, n);
    check_cut(g);
    EMAC_ASSERT(graph_plan_new(g, &p, &err) == EMAC_OK);
    if (ends_bytes(g) <= RUN_BYTES_MAX && graph_plan_bytes(p) <= RUN_BYTES_MAX &&
        graph_flops(g) <= RUN_FLOPS_MAX)
        check_run(g, p, dev);
    graph_plan_free(p);
    graph_free(g);
    return 0;
}

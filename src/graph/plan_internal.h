/* A plan as plan.c lays it out and run.c runs it; for these two files and trace.c.
 *
 * INV-P1  steps are the needed nodes in their order.
 * INV-P2  each value lives at its root's place: a RESHAPE shares its input's root, any other value
 *         is its own root.
 * INV-P4  where merged[s], step s makes a table's gradient by EMBED_GRAD and step s+1 adds it, and
 *         nothing else uses it; the sum is a graph's output, made on the place of its other term,
 *         a product.
 * INV-P3  two roots in the block that are alive during one common step do not overlap; a node's
 *         outputs and inputs are all alive during its step. The one exception: output i of an
 *         operator that may work in place lies on input i when that dies there. So no operator
 *         sees its inputs and outputs overlap in another way than op.h allows. */
#ifndef EMAC_GRAPH_PLAN_INTERNAL_H
#define EMAC_GRAPH_PLAN_INTERNAL_H

#include "graph/graph_internal.h"

#define PLAN_ALIGN 64

enum place { PLACE_NONE, PLACE_INPUT, PLACE_OUTPUT, PLACE_BLOCK };

struct plan_value {
    struct tensor tensor; /* data is set by graph_run */
    value_id root;
    bool finite;      /* as the operator that made it found out in the last run */
    enum place place; /* of a root */
    uint32_t port;    /* PLACE_INPUT, PLACE_OUTPUT: which */
    uint32_t last;    /* of a root: last step that uses it */
    size_t offset;    /* PLACE_BLOCK */
};

struct graph_plan {
    const struct graph *g;
    struct plan_value *value;
    uint32_t *step; /* node numbers */
    uint32_t steps;
    bool *merged; /* devices that can do step s and s+1 at once */
    const void **input;
    void **output;
    struct tensor *made; /* the outputs after a run */
    struct device *dev;  /* of the last run; holds the block */
    uint8_t *block;      /* allocated by the first run */
    size_t bytes;
};

/* Give every value its address. */
enum emac_status plan_ready(struct graph_plan *p, struct device *dev, struct emac_err *err);
/* Run the node of step s; the sentence of a failure names it. */
enum emac_status plan_step(struct graph_plan *p, struct device *dev, uint32_t s,
                           struct emac_err *err);

#endif

/* For the files stage*.c. */
#ifndef EMAC_GRAPH_STAGES_INTERNAL_H
#define EMAC_GRAPH_STAGES_INTERNAL_H

#include "graph/graph_internal.h"
#include "graph/stages.h"

/* The weight that a port of bundle "params", "opt" or "sum" is about ("opt/m.<name>",
 * "sum/grad.<name>"); NULL for others and for "sum/loss". */
const struct stage_weight *stage_weight_of(const struct stages *st, const char *port);
/* "params/x" -> "params.2/x" or "shared.2/x", "opt/m.x" -> "opt.2/m.x"; other names as they are. */
void stage_port_name(const struct stages *st, const char *port, char out[GRAPH_NAME_MAX]);
/* "base/x" -> "x"; NULL for other ports. */
const char *stage_base_weight(const char *port);
/* The tensor `weight` of "frozen.s". */
void stage_frozen_name(uint32_t s, const char *weight, char out[GRAPH_NAME_MAX]);
/* The stage of a node: that of the forward node it belongs to. */
uint32_t stage_of_node(const struct stages *st, const struct graph *g, uint32_t node);

#endif

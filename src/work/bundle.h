/* The bundles of a graph: the ports "x/name" of one x, as the tensors `name` of
 * one canonical safetensors file (codec/safetensors.h). Its header follows from
 * the graph alone, so size and layout are known before anything is computed. */
#ifndef EMAC_WORK_BUNDLE_H
#define EMAC_WORK_BUNDLE_H

#include "codec/safetensors.h"
#include "graph/graph.h"

struct bundle_port {
    uint32_t port; /* number of the graph's input or output */
    size_t offset; /* of its data in the file */
    size_t count;  /* elements */
    enum dtype dtype;
};

struct bundle {
    struct emac_buf header; /* first bytes of the file */
    size_t size;            /* of the whole file */
    uint32_t count;
    struct bundle_port *port;
};

/* "params/a.b" -> is "params" the bundle? Then *tensor (may be NULL) = "a.b". */
bool bundle_of(const char *port_name, const char *bundle, const char **tensor);
/* The file format's name of the same type. */
enum st_dtype bundle_dtype(enum dtype dtype);
/* Lay out the ports of `name`, of the graph's outputs or inputs. No such port: count 0, size 0.
 * TOO_LARGE when the sizes overflow. Release in any case. */
enum emac_status bundle_layout(const struct graph *g, bool outputs, const char *name,
                               struct bundle *out, struct emac_err *err);
void bundle_release(struct bundle *b);

/* Read tensor `name` of one f32 element out of a metrics bundle (<= 4 KiB). */
enum emac_status metrics_read(const void *bundle, size_t n, const char *name, double *out,
                              struct emac_err *err);

#endif

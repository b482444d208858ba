#include "work/bundle.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define METRICS_BYTES_MAX 4096

bool bundle_of(const char *port_name, const char *bundle, const char **tensor)
{
    size_t n = strlen(bundle);
    if (strncmp(port_name, bundle, n) != 0 || port_name[n] != '/')
        return false;
    if (tensor != NULL)
        *tensor = port_name + n + 1;
    return true;
}

enum st_dtype bundle_dtype(enum dtype dtype)
{
    static const enum st_dtype same[DTYPE_COUNT] = {
        [DTYPE_F32] = ST_F32, [DTYPE_I32] = ST_I32, [DTYPE_U8] = ST_U8, [DTYPE_BF16] = ST_BF16};
    EMAC_ASSERT((unsigned)dtype < DTYPE_COUNT);
    return same[dtype];
}

static struct graph_port port_at(const struct graph *g, bool outputs, uint32_t i)
{
    return outputs ? graph_output_at(g, i) : graph_input_at(g, i);
}

static enum emac_status index_add(struct st_index *idx, const struct graph_port *p,
                                  const char *tensor, struct emac_err *err)
{
    uint64_t dim[TENSOR_RANK_MAX];
    EMAC_ASSERT(p->shape.rank >= 1 && p->shape.rank <= TENSOR_RANK_MAX);
    for (uint32_t k = 0; k < p->shape.rank; k++)
        dim[k] = p->shape.dim[k];
    return st_index_add(idx, tensor, bundle_dtype(p->dtype), p->shape.rank, dim, err);
}

/* Ports in order of their numbers; the offsets come from the laid out index. */
static enum emac_status ports_place(const struct graph *g, bool outputs, const char *name,
                                    const struct st_index *idx, struct bundle *b,
                                    struct emac_err *err)
{
    uint32_t all = outputs ? graph_output_count(g) : graph_input_count(g), n = 0;
    enum emac_status st = emac_alloc(&b->port, idx->count, sizeof *b->port, err);
    if (st != EMAC_OK)
        return st;
    for (uint32_t i = 0; i < all; i++) {
        struct graph_port p = port_at(g, outputs, i);
        const char *tensor;
        if (!bundle_of(p.name, name, &tensor))
            continue;
        const struct st_tensor *t = st_index_find(idx, tensor);
        EMAC_ASSERT(t != NULL && n < idx->count);
        struct bundle_port *bp = &b->port[n++];
        *bp = (struct bundle_port){i, (size_t)(idx->data_offset + t->begin), 0, p.dtype};
        bool ok = shape_count(&p.shape, &bp->count);
        EMAC_ASSERT(ok);
    }
    EMAC_ASSERT(n == idx->count);
    b->count = n;
    return EMAC_OK;
}

enum emac_status bundle_layout(const struct graph *g, bool outputs, const char *name,
                               struct bundle *out, struct emac_err *err)
{
    struct st_index idx = {0};
    uint32_t all = outputs ? graph_output_count(g) : graph_input_count(g);
    enum emac_status st = EMAC_OK;
    *out = (struct bundle){0};
    emac_buf_init(&out->header, ST_HEADER_MAX);
    for (uint32_t i = 0; i < all; i++) {
        struct graph_port p = port_at(g, outputs, i);
        const char *tensor;
        if (bundle_of(p.name, name, &tensor))
            EMAC_TRY(st, index_add(&idx, &p, tensor, err));
    }
    if (idx.count == 0)
        goto out;
    EMAC_TRY(st, st_bundle_layout(&idx, &out->header, err));
    out->size = (size_t)idx.file_size;
    st = ports_place(g, outputs, name, &idx, out, err);
out:
    st_index_release(&idx);
    return st;
}

void bundle_release(struct bundle *b)
{
    emac_buf_release(&b->header);
    free(b->port);
    *b = (struct bundle){0};
}

enum emac_status metrics_read(const void *bundle, size_t n, const char *name, double *out,
                              struct emac_err *err)
{
    struct st_index idx = {0};
    if (n > METRICS_BYTES_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "metrics of %zu bytes; at most %d", n,
                         METRICS_BYTES_MAX);
    enum emac_status st = st_index_parse(&idx, bundle, n, n, err);
    if (st != EMAC_OK)
        return st;
    const struct st_tensor *t = st_index_find(&idx, name);
    if (t == NULL || t->dtype != ST_F32 || t->end - t->begin != sizeof(float)) {
        st = emac_fail(err, EMAC_INVALID, "the metrics hold no f32 number '%s'", name);
    } else {
        float v;
        memcpy(&v, (const uint8_t *)bundle + idx.data_offset + t->begin, sizeof v);
        *out = (double)v;
    }
    st_index_release(&idx);
    return st;
}

/* Which input made a task fail? Rigs are not trusted, so what one made may be no number, or a delta
 * that no honest steps lead to; whoever takes it says so, and its maker's work is done again
 * (coordinator/jobs/suspects.c). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "compute/host_math.h"
#include "node/exec_internal.h"

/* Bits of the largest magnitude among n numbers of `width` bytes, as a binary32's: in order of
 * their size, infinity and NaN last. */
static uint32_t largest_bits(const uint8_t *data, uint64_t n, size_t width)
{
    uint32_t most = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint32_t bits = 0;
        memcpy(width == 4 ? (uint8_t *)&bits : (uint8_t *)&bits + 2, data + i * width, width);
        bits &= 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    return most;
}

static uint32_t tensor_largest(const uint8_t *data, const struct st_tensor *t)
{
    size_t width = t->dtype == ST_F32 ? 4 : t->dtype == ST_BF16 ? 2 : 0;
    return width == 0 ? 0 : largest_bits(data + t->begin, (t->end - t->begin) / width, width);
}

/* Of a bundle; 0 of what is not here any more, or is none: other failures tell of that. */
static uint32_t bundle_largest(struct store *s, const struct cid *cid)
{
    const struct store_value *v = store_value_find(s, cid);
    const uint8_t *data;
    struct st_index idx = {0};
    uint32_t most = 0;
    if (v == NULL)
        return 0;
    if (store_value_bytes(s, v, &data, NULL) == EMAC_OK &&
        st_index_parse(&idx, data, v->size, v->size, NULL) == EMAC_OK)
        for (size_t i = 0; i < idx.count; i++) {
            uint32_t here = tensor_largest(data + idx.data_offset, &idx.tensor[i]);
            most = here > most ? here : most;
        }
    st_index_release(&idx);
    store_value_drop(s, v);
    return most;
}

enum emac_status exec_suspect_index(struct st_index *idx, const struct store_value *v,
                                    struct emac_err *err)
{
    struct emac_err why = {.status = EMAC_OK};
    enum emac_status st = st_index_parse(idx, v->head, v->head_size, v->size, &why);
    return st == EMAC_CORRUPT ? emac_fail(err, EMAC_INVALID, "%s", why.text)
           : st == EMAC_OK    ? EMAC_OK
                              : emac_fail(err, st, "%s", why.text);
}

void exec_suspect_find(struct exec_run *r)
{
    static const uint32_t INFINITE = 0x7f800000u;
    const struct task *t = r->task;
    uint32_t most = 0;
    for (uint32_t i = 0; i < t->input_count + t->part_count && most < INFINITE; i++) {
        bool part = i >= t->input_count;
        const struct cid *cid = part ? &t->part[i - t->input_count].cid : &t->input[i].cid;
        uint32_t here = bundle_largest(r->x->cfg.store, cid);
        if (here < INFINITE && (!part || here <= most))
            continue;
        most = here;
        r->suspect = *cid;
    }
}

/* The sum of the squares of all tensors but metrics; each is one operator's result, the same on
 * every device. */
static enum emac_status squares(struct exec_run *r, const float *data, double *out,
                                struct emac_err *err)
{
    const struct bundle *l = &r->p->sum;
    const struct op_attrs attrs = {0};
    struct device *dev = r->x->cfg.dev;
    float *sums, *host = NULL;
    uint32_t count = 0;
    enum emac_status st =
        resident_alloc(&r->x->resident, l->count * sizeof *sums, (void *)&sums, err);
    if (st != EMAC_OK)
        return st;
    EMAC_TRY(st, emac_alloc(&host, l->count, sizeof *host, err));
    for (uint32_t i = 0; i < l->count; i++) {
        const char *port = graph_input_at(r->p->graph, l->port[i].port).name;
        if (strncmp(strchr(port, '/') + 1, "metrics.", 8) == 0)
            continue;
        size_t first = (l->port[i].offset - l->header.len) / sizeof *data;
        struct tensor x = {DTYPE_F32, SHAPE1(l->port[i].count), (void *)(uintptr_t)(data + first)};
        struct tensor y = {DTYPE_F32, SHAPE1(1), sums + count++};
        EMAC_TRY(st, device_run(dev, OP_SUMSQ, &attrs, &x, &y, err));
    }
    st = device_read(dev, host, sums, count * sizeof *host, err);
    *out = 0;
    for (uint32_t i = 0; i < count; i++)
        *out += (double)host[i];
out:
    free(host);
    device_free(dev, sums);
    return st;
}

enum emac_status exec_part_bounded(struct exec_run *r, const struct task_part *part,
                                   const float *data, struct emac_err *err)
{
    double most = r->p->program.max_norm, sum;
    if (most <= 0)
        return EMAC_OK;
    struct exec_stint stint = exec_stint_begin(r);
    enum emac_status st = squares(r, data, &sum, err);
    exec_stint_end(r, &stint);
    if (st != EMAC_OK || sum <= most * most)
        return st;
    r->suspect = part->cid;
    if (!isfinite(sum))
        return emac_fail(err, EMAC_NUMERIC, "part %u+%u of input 'sum' holds NaN or infinity",
                         part->first, part->count);
    return emac_fail(err, EMAC_NUMERIC,
                     "part %u+%u of input 'sum' has a norm of %.4g, and the recipe's steps lead to "
                     "%.4g at most: training diverged, or the rig that made it erred",
                     part->first, part->count, host_sqrt(sum), most);
}

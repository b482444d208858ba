/* What a task gives against what its program takes. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "node/exec_internal.h"
#include "work/model_tree.h"

enum emac_status exec_need(struct exec_run *r, uint64_t bytes, struct emac_err *err)
{
    uint64_t most = r->x->memory_max;
    if (bytes > most || r->need > most - bytes)
        return emac_fail(
            err, EMAC_TOO_LARGE,
            "the task needs more than %llu MiB of memory, all that a task may use here; "
            "take a smaller micro_batch or a larger machine",
            (unsigned long long)(most >> 20));
    r->need += bytes;
    exec_programs_trim(r->x, r->p, r->need);
    return EMAC_OK;
}

/* ---- EXEC-1 ---- */

const struct exec_bundle *exec_bundle_find(const struct exec_bundle *list, uint32_t count,
                                           const char *name)
{
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(list[i].name, name) == 0)
            return &list[i];
    }
    return NULL;
}

static enum emac_status inputs_fit(const struct exec_program *p, const struct task *t,
                                   struct emac_err *err)
{
    bool map = p->program.kind == PROGRAM_MAP;
    for (uint32_t i = 0; i < p->in_count; i++) {
        if (task_input_find(t, p->in[i].name) == NULL)
            return emac_fail(err, EMAC_INVALID, "the task lacks input '%s'", p->in[i].name);
    }
    if (map && task_input_find(t, "data") == NULL)
        return emac_fail(err, EMAC_INVALID, "the task lacks input 'data'");
    for (uint32_t i = 0; i < t->input_count; i++) {
        const char *name = t->input[i].name;
        if (exec_bundle_find(p->in, p->in_count, name) == NULL &&
            !(map && strcmp(name, "data") == 0))
            return emac_fail(err, EMAC_INVALID, "the program takes no input '%s'", name);
    }
    return EMAC_OK;
}

enum emac_status exec_args_fit(const struct exec_program *p, const struct task *t,
                               struct emac_err *err)
{
    for (uint32_t i = 0; i < graph_input_count(p->graph); i++) {
        struct graph_port port = graph_input_at(p->graph, i);
        const char *name;
        if (!bundle_of(port.name, "args", &name))
            continue;
        const struct task_arg *a = task_arg_find(t, name);
        if (a == NULL || a->width != port.shape.dim[0])
            return emac_fail(err, EMAC_INVALID, "the task must give arg '%s' %zu numbers", name,
                             port.shape.dim[0]);
    }
    if (t->arg_count != p->arg_count)
        return emac_fail(err, EMAC_INVALID, "the task gives %u args and the program takes %u",
                         t->arg_count, p->arg_count);
    return EMAC_OK;
}

static enum emac_status map_fits(const struct exec_program *p, const struct task *t,
                                 struct emac_err *err)
{
    if (t->part_count != 0 || t->total != 0)
        return emac_fail(err, EMAC_INVALID, "a map takes no parts");
    if (t->count == 0 || (t->count & (t->count - 1)) != 0 || t->first % t->count != 0)
        return emac_fail(
            err, EMAC_INVALID,
            "range %u+%u is not aligned: the count must be a power of two and the first a "
            "multiple of it",
            t->first, t->count);
    if (t->count > 1 && !exec_gives_sum_alone(p))
        return emac_fail(err, EMAC_INVALID,
                         "range %u+%u: the program gives more than a sum, so each micro-batch must "
                         "be a task of its own",
                         t->first, t->count);
    if ((uint64_t)t->first + t->count > sampler_batches(&p->program.sampler))
        return emac_fail(err, EMAC_INVALID, "range %u+%u passes the end of the sampler's data",
                         t->first, t->count);
    return EMAC_OK;
}

static enum emac_status apply_fits(const struct exec_program *p, const struct task *t,
                                   struct emac_err *err)
{
    if (t->count != 0)
        return emac_fail(err, EMAC_INVALID, "an apply has no range");
    if (p->sum.count == 0) {
        if (t->part_count != 0 || t->total != 0)
            return emac_fail(err, EMAC_INVALID, "the program takes no parts");
        return EMAC_OK;
    }
    struct tree_range *range;
    enum emac_status st = emac_alloc(&range, (size_t)t->part_count + 1, sizeof *range, err);
    if (st != EMAC_OK)
        return st;
    for (uint32_t i = 0; i < t->part_count; i++)
        range[i] = (struct tree_range){t->part[i].first, t->part[i].count};
    if (!tree_is_cover(range, t->part_count, t->total))
        st = emac_fail(
            err, EMAC_INVALID,
            "the parts for input 'sum' do not cover micro-batches 0 to %u with aligned ranges",
            t->total);
    free(range);
    return st;
}

enum emac_status exec_task_fits(const struct exec_program *p, const struct task *t,
                                struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, task_check(t, err));
    if (p->program.kind == PROGRAM_STEPS)
        return exec_steps_fits(p, t, err);
    EMAC_TRY(st, inputs_fit(p, t, err));
    EMAC_TRY(st, exec_args_fit(p, t, err));
    st = p->program.kind == PROGRAM_MAP ? map_fits(p, t, err) : apply_fits(p, t, err);
out:
    return st;
}

/* ---- bundles ---- */

enum emac_status exec_value_get(struct exec_run *r, const char *what, const struct cid *cid,
                                uint64_t most, const struct store_value **out, struct emac_err *err)
{
    struct store *s = r->x->cfg.store;
    /* What lies on the device is its input there. */
    bool host = device_is_host(r->x->cfg.dev);
    enum emac_status st = host ? store_value_get(s, cid, most, out, err)
                               : store_value_get_away(s, cid, most, out, err);
    if (exec_fetched(r->x, cid, true, &st, err))
        st = store_value_get(s, cid, most, out, err);
    if (st != EMAC_OK)
        emac_wrap(err, "input '%s'", what);
    return st;
}

static bool shapes_match(const struct graph_port *p, const struct st_tensor *t)
{
    if (t->dtype != bundle_dtype(p->dtype) || t->rank != p->shape.rank)
        return false;
    for (uint32_t k = 0; k < t->rank; k++) {
        if (t->dim[k] != p->shape.dim[k])
            return false;
    }
    return true;
}

/* The tensor of that port in the index of an input's file. */
static enum emac_status tensor_find(const struct exec_bundle *b, const struct st_index *idx,
                                    const struct graph_port *port, const struct st_tensor **out,
                                    struct emac_err *err)
{
    const char *name = strchr(port->name, '/') + 1;
    const struct st_tensor *t = st_index_find(idx, name);
    char want[96];
    shape_text(want, sizeof want, port->dtype, &port->shape);
    if (t == NULL)
        return emac_fail(err, EMAC_INVALID, "input '%s' lacks tensor '%s'", b->name, name);
    if (!shapes_match(port, t))
        return emac_fail(err, EMAC_INVALID, "tensor '%s' of input '%s' is not %s", name, b->name,
                         want);
    *out = t;
    return EMAC_OK;
}

/* A bundle that is not in canonical form, or holds more than the program takes: look the tensors
 * up. */
static enum emac_status bind_by_name(struct exec_run *r, const struct exec_bundle *b,
                                     const struct store_value *v, const uint8_t *at,
                                     struct emac_err *err)
{
    struct st_index idx = {0};
    enum emac_status st = exec_suspect_index(&idx, v, err);
    if (st != EMAC_OK)
        return emac_wrap(err, "input '%s'", b->name);
    for (uint32_t i = 0; i < b->layout.count && st == EMAC_OK; i++) {
        struct graph_port port = graph_input_at(r->p->graph, b->layout.port[i].port);
        const struct st_tensor *t;
        st = tensor_find(b, &idx, &port, &t, err);
        if (st == EMAC_OK && (idx.data_offset + t->begin) % sizeof(float) != 0)
            st = emac_fail(err, EMAC_INVALID, "tensor '%s' of input '%s' is not aligned to 4 bytes",
                           strchr(port.name, '/') + 1, b->name);
        else if (st == EMAC_OK)
            graph_bind_input(r->p->plan, b->layout.port[i].port, at + idx.data_offset + t->begin);
    }
    st_index_release(&idx);
    return st;
}

bool exec_is_canonical(const struct store_value *v, const struct bundle *l)
{
    return v->size == l->size && v->head_size >= l->header.len &&
           memcmp(v->head, l->header.data, l->header.len) == 0;
}

void exec_bind_input(struct exec_run *r, const struct bundle *l, const uint8_t *file)
{
    for (uint32_t i = 0; i < l->count; i++)
        graph_bind_input(r->p->plan, l->port[i].port, file + l->port[i].offset);
}

enum emac_status exec_input_bind(struct exec_run *r, const struct exec_bundle *b,
                                 const struct exec_value *v, struct emac_err *err)
{
    if (!exec_is_canonical(v->held, &b->layout)) {
        enum emac_status st = bind_by_name(r, b, v->held, v->at, err);
        r->suspect = st == EMAC_OK ? r->suspect : v->held->cid;
        return st;
    }
    exec_bind_input(r, &b->layout, v->at);
    return EMAC_OK;
}

static size_t args_floats(const struct exec_run *r)
{
    size_t n = 0;
    for (uint32_t i = 0; i < r->task->arg_count; i++)
        n += r->task->arg[i].width;
    return n;
}

enum emac_status exec_args_bind(struct exec_run *r, struct emac_err *err)
{
    size_t at = 0;
    enum emac_status st = EMAC_OK;
    if (r->p->arg_count == 0)
        return EMAC_OK;
    if (r->args.host == NULL)
        EMAC_TRY(st, exec_staged_new(r->x, args_floats(r) * sizeof(float), &r->args, err));
    for (uint32_t i = 0; i < graph_input_count(r->p->graph); i++) {
        struct graph_port port = graph_input_at(r->p->graph, i);
        const char *name;
        if (!bundle_of(port.name, "args", &name))
            continue;
        const struct task_arg *a = task_arg_find(r->task, name);
        memcpy((float *)r->args.host + at, a->value, a->width * sizeof(float));
        graph_bind_input(r->p->plan, i, (float *)r->args.device + at);
        at += a->width;
    }
    st = exec_staged_send(r->x, &r->args, err);
out:
    return st;
}

/* What a bundle's file has beside the tensors that the program takes was not counted yet. */
enum emac_status exec_input_get(struct exec_run *r, const char *name, uint64_t counted,
                                struct exec_value *out, struct emac_err *err)
{
    const struct cid *cid = task_input_find(r->task, name);
    uint64_t most = r->x->memory_max - r->need + counted;
    bool is_private = sealed_is(cid);
    enum emac_status st = is_private ? exec_private_get(r, name, cid, most, out, err)
                                     : exec_value_get(r, name, cid, most, &out->held, err);
    if (st != EMAC_OK)
        return st;
    if (!is_private)
        r->held[r->held_count++] = out->held;
    if (out->held->size > counted)
        st = exec_need(r, out->held->size - counted, err);
    return st == EMAC_OK && !is_private ? exec_value_bring(r, out->held, &out->at, err) : st;
}

/* ---- a file that is read in parts ---- */

/* The bundle's tensors out of the file, one after the other, as its canonical file. */
static enum emac_status whole_read(struct exec *x, const struct exec_program *p,
                                   const struct exec_bundle *b, const struct cid *file,
                                   uint8_t *data, struct emac_err *err)
{
    const struct bundle *l = &b->layout;
    struct st_index idx = {0};
    enum emac_status st;
    st = model_tree_index(x->cfg.store, file, &idx, err);
    if (exec_fetched(x, file, false, &st, err))
        st = model_tree_index(x->cfg.store, file, &idx, err);
    EMAC_TRY(st, st);
    memcpy(data, l->header.data, l->header.len);
    for (uint32_t i = 0; i < l->count; i++) {
        struct graph_port port = graph_input_at(p->graph, l->port[i].port);
        const struct st_tensor *t;
        EMAC_TRY(st, tensor_find(b, &idx, &port, &t, err));
        EMAC_TRY(st, exec_data_read(x, file, idx.file_size, idx.data_offset + t->begin,
                                    data + l->port[i].offset, (size_t)(t->end - t->begin), err));
    }
out:
    st_index_release(&idx);
    return st;
}

static enum emac_status whole_get(struct exec_run *r, const struct exec_bundle *b,
                                  struct exec_value *out, struct emac_err *err)
{
    const struct cid *file = task_input_find(r->task, b->name);
    uint8_t *data;
    if (sealed_is(file)) /* what is read becomes a value, which anybody may have */
        return emac_fail(err, EMAC_FORBIDDEN, "input '%s' is private and may not be handed on",
                         b->name);
    enum emac_status st = emac_alloc_aligned(&data, b->layout.size, err);
    if (st != EMAC_OK)
        return st;
    st = whole_read(r->x, r->p, b, file, data, err);
    if (st != EMAC_OK) {
        free(data);
        return emac_wrap(err, "input '%s'", b->name);
    }
    st = store_value_adopt(r->x->cfg.store, data, b->layout.size, &out->held, err);
    if (st != EMAC_OK)
        return st;
    r->held[r->held_count++] = out->held;
    return exec_value_bring(r, out->held, &out->at, err);
}

enum emac_status exec_inputs_bind(struct exec_run *r, struct emac_err *err)
{
    for (uint32_t i = 0; i < r->p->in_count; i++) {
        const struct exec_bundle *b = &r->p->in[i];
        struct exec_value v;
        enum emac_status st = strcmp(b->name, TASK_WHOLE) == 0
                                  ? whole_get(r, b, &v, err)
                                  : exec_input_get(r, b->name, b->layout.size, &v, err);
        if (st == EMAC_OK)
            st = exec_input_bind(r, b, &v, err);
        if (st != EMAC_OK)
            return st;
    }
    return exec_args_bind(r, err);
}

/* Programs made ready to run, cached by CID. A program comes from anybody: what its graph may
 * contain is checked by graph_decode, what its ports may be called is checked here. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "node/exec_internal.h"

bool exec_fetched(struct exec *x, const struct cid *cid, bool to_memory, enum emac_status *st,
                  struct emac_err *err)
{
    char text[CID_TEXT_MAX];
    if (*st != EMAC_NOT_FOUND && *st != EMAC_CORRUPT)
        return false;
    if (x->cfg.fetch != NULL) {
        *st = x->cfg.fetch(x->cfg.fetch_ctx, cid, to_memory, err);
        return *st == EMAC_OK;
    }
    cid_text(text, cid);
    *st = emac_fail(err, EMAC_NOT_FOUND,
                    "'%s' is not in the store and there is nowhere to fetch it from", text);
    return false;
}

static enum emac_status block_get(struct exec *x, const struct cid *cid, struct emac_buf *out,
                                  struct emac_err *err)
{
    enum emac_status st = store_block_get(x->cfg.store, cid, out, err);
    return exec_fetched(x, cid, false, &st, err) ? store_block_get(x->cfg.store, cid, out, err)
                                                 : st;
}

void exec_program_free(struct exec_program *p)
{
    if (p == NULL)
        return;
    for (uint32_t i = 0; i < p->in_count; i++)
        bundle_release(&p->in[i].layout);
    for (uint32_t i = 0; i < p->out_count; i++)
        bundle_release(&p->out[i].layout);
    bundle_release(&p->sum);
    graph_plan_free(p->plan);
    graph_free(p->graph);
    exec_program_free(p->decode);
    exec_program_free(p->begin);
    exec_program_free(p->grad);
    exec_program_free(p->step);
    free(p);
}

uint64_t exec_program_bytes(const struct exec_program *p)
{
    return p == NULL ? 0
                     : graph_plan_bytes(p->plan) + exec_program_bytes(p->decode) +
                           exec_program_bytes(p->begin) + exec_program_bytes(p->grad) +
                           exec_program_bytes(p->step);
}

bool exec_bundles_equal(const struct bundle *a, const struct bundle *b)
{
    return a->size == b->size && a->header.len == b->header.len &&
           (a->header.len == 0 || memcmp(a->header.data, b->header.data, a->header.len) == 0);
}

/* ---- ports ---- */

/* Add `port`'s bundle to a sorted list unless it is there. */
static enum emac_status bundle_note(struct exec_bundle *list, uint32_t *count, uint32_t cap,
                                    const char *port, struct emac_err *err)
{
    char name[TASK_NAME_MAX] = "";
    const char *slash = strchr(port, '/');
    size_t n = slash == NULL ? SIZE_MAX : (size_t)(slash - port);
    if (n < sizeof name)
        memcpy(name, port, n);
    if (!task_name_ok(name))
        return emac_fail(err, EMAC_INVALID, "port '%s' of a program names no bundle", port);
    uint32_t at = 0;
    while (at < *count && strcmp(list[at].name, name) < 0)
        at++;
    if (at < *count && strcmp(list[at].name, name) == 0)
        return EMAC_OK;
    if (*count == cap)
        return emac_fail(err, EMAC_INVALID,
                         "a program takes or gives more than %u bundles at port '%s'", cap, port);
    memmove(&list[at + 1], &list[at], (*count - at) * sizeof *list);
    list[at] = (struct exec_bundle){0};
    memcpy(list[at].name, name, sizeof name);
    (*count)++;
    return EMAC_OK;
}

/* batch/tokens i32[batch * seq] and batch/targets of the same shape for windows; batch/inputs
 * f32[batch, ...] and batch/targets i32[batch] for records. */
static enum emac_status batch_port(struct exec_program *p, const struct graph_port *port,
                                   uint32_t i, struct emac_err *err)
{
    const struct sampler *s = &p->program.sampler;
    bool map = p->program.kind == PROGRAM_MAP, records = map && sampler_on_records(s);
    bool targets = strcmp(port->name, "batch/targets") == 0;
    bool integers = port->dtype == DTYPE_I32 && port->shape.rank == 1;
    bool fits = false;
    if (map && (targets || (!records && strcmp(port->name, "batch/tokens") == 0)))
        fits = integers && port->shape.dim[0] == (records ? s->batch : (size_t)s->batch * s->seq);
    else if (records && strcmp(port->name, "batch/inputs") == 0)
        fits = port->dtype == DTYPE_F32 && port->shape.rank >= 2 && port->shape.dim[0] == s->batch;
    if (!fits)
        return emac_fail(err, EMAC_INVALID,
                         "port '%s' must be batch/tokens, batch/inputs or batch/targets of a map "
                         "program, of the type and with as many rows as its sampler draws",
                         port->name);
    *(targets ? &p->targets_port : &p->inputs_port) = i;
    return EMAC_OK;
}

static enum emac_status input_port(struct exec_program *p, uint32_t i, struct emac_err *err)
{
    struct graph_port port = graph_input_at(p->graph, i);
    if (bundle_of(port.name, "args", NULL)) {
        p->arg_count++;
        if (port.dtype != DTYPE_F32 || port.shape.rank != 1 ||
            port.shape.dim[0] > TASK_ARG_WIDTH_MAX || p->arg_count > TASK_ARGS_MAX)
            return emac_fail(err, EMAC_INVALID,
                             "port '%s' must be one of at most %d args, each of 1 to "
                             "%d f32",
                             port.name, TASK_ARGS_MAX, TASK_ARG_WIDTH_MAX);
        return EMAC_OK;
    }
    if (bundle_of(port.name, "batch", NULL))
        return batch_port(p, &port, i, err);
    if (bundle_of(port.name, "sum", NULL)) {
        if (p->program.kind != PROGRAM_APPLY || port.dtype != DTYPE_F32)
            return emac_fail(err, EMAC_INVALID, "port '%s' must be f32 input of an apply program",
                             port.name);
        return EMAC_OK;
    }
    if (bundle_of(port.name, "data", NULL))
        return emac_fail(err, EMAC_INVALID,
                         "port '%s': 'data' is the sampler's input, not a bundle", port.name);
    return bundle_note(p->in, &p->in_count, TASK_INPUTS_MAX, port.name, err);
}

bool exec_gives_sum_alone(const struct exec_program *p)
{
    return p->out_count == 1 && strcmp(p->out[0].name, "sum") == 0;
}

static enum emac_status output_port(struct exec_program *p, uint32_t i, struct emac_err *err)
{
    struct graph_port port = graph_output_at(p->graph, i);
    if (p->program.kind == PROGRAM_MAP && bundle_of(port.name, "sum", NULL) &&
        port.dtype != DTYPE_F32)
        return emac_fail(err, EMAC_INVALID, "output '%s' of a map program must be f32", port.name);
    return bundle_note(p->out, &p->out_count, TASK_OUTPUTS_MAX, port.name, err);
}

static enum emac_status ports_sort(struct exec_program *p, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    p->inputs_port = p->targets_port = PORT_NONE;
    for (uint32_t i = 0; i < graph_input_count(p->graph); i++)
        EMAC_TRY(st, input_port(p, i, err));
    for (uint32_t i = 0; i < graph_output_count(p->graph); i++)
        EMAC_TRY(st, output_port(p, i, err));
    if (p->out_count == 0)
        return emac_fail(err, EMAC_INVALID, "a program gives nothing: its graph has no outputs");
    for (uint32_t i = 0; i < p->in_count; i++)
        EMAC_TRY(st, bundle_layout(p->graph, false, p->in[i].name, &p->in[i].layout, err));
    for (uint32_t i = 0; i < p->out_count; i++)
        EMAC_TRY(st, bundle_layout(p->graph, true, p->out[i].name, &p->out[i].layout, err));
    st = bundle_layout(p->graph, false, "sum", &p->sum, err);
out:
    return st;
}

/* ---- the cache ---- */

/* The program's own graph, with p->program known. */
static enum emac_status graph_load(struct exec *x, struct exec_program *p, struct emac_err *err)
{
    struct emac_buf buf;
    enum emac_status st;
    emac_buf_init(&buf, UNIXFS_BLOCK_MAX);
    EMAC_TRY(st, block_get(x, &p->program.graph, &buf, err));
    EMAC_TRY(st, graph_decode(&p->graph, buf.data, buf.len, err));
    EMAC_TRY(st, ports_sort(p, err));
    st = graph_plan_new(p->graph, &p->plan, err);
out:
    emac_buf_release(&buf);
    return st;
}

/* A graph that a program has beside its own, as a program. */
static enum emac_status beside_load(struct exec *x, const struct cid *graph,
                                    struct exec_program **out, struct emac_err *err)
{
    enum emac_status st = emac_alloc(out, 1, sizeof **out, err);
    if (st != EMAC_OK)
        return st;
    (*out)->program = (struct program){.kind = PROGRAM_APPLY, .graph = *graph};
    return graph_load(x, *out, err);
}

/* The graph that parts go through: "part" in, what is added out. */
static enum emac_status decode_load(struct exec *x, struct exec_program *p, struct emac_err *err)
{
    enum emac_status st = beside_load(x, &p->program.decode, &p->decode, err);
    if (st != EMAC_OK)
        return emac_wrap(err, "the graph that decodes parts");
    const struct exec_program *d = p->decode;
    if (d->in_count != 1 || strcmp(d->in[0].name, "part") != 0 || d->arg_count != 0 ||
        d->sum.count != 0 || d->out_count != 1 || strcmp(d->out[0].name, "sum") != 0 ||
        !exec_bundles_equal(&d->out[0].layout, &p->sum))
        st = emac_fail(err, EMAC_INVALID,
                       "the graph that decodes parts must take bundle 'part' and give what the "
                       "program takes as 'sum'");
    return st;
}

/* A program of steps is made of two that are not of that kind. */
static enum emac_status program_load(struct exec *x, const struct cid *cid, bool whole,
                                     struct exec_program **out, struct emac_err *err)
{
    struct exec_program *p = NULL;
    struct emac_buf buf;
    enum emac_status st;
    emac_buf_init(&buf, UNIXFS_BLOCK_MAX);
    EMAC_TRY(st, emac_alloc(&p, 1, sizeof *p, err));
    p->cid = *cid;
    EMAC_TRY(st, block_get(x, cid, &buf, err));
    EMAC_TRY(st, program_decode(&p->program, buf.data, buf.len, err));
    EMAC_TRY(st, graph_load(x, p, err));
    if (p->program.has_decode)
        EMAC_TRY(st, decode_load(x, p, err));
    if (p->program.kind == PROGRAM_STEPS && !whole) {
        st = emac_fail(err, EMAC_INVALID, "a program of steps cannot be a step of another");
    } else if (p->program.kind == PROGRAM_STEPS) {
        EMAC_TRY(st, program_load(x, &p->program.grad, false, &p->grad, err));
        EMAC_TRY(st, program_load(x, &p->program.step, false, &p->step, err));
        if (p->program.has_begin)
            EMAC_TRY(st, beside_load(x, &p->program.begin, &p->begin, err));
        EMAC_TRY(st, exec_steps_join(p, err));
    }
    if (st == EMAC_OK) {
        *out = p;
        p = NULL;
    }
out:
    exec_program_free(p);
    emac_buf_release(&buf);
    return st;
}

static void program_forget(struct exec *x, uint32_t i)
{
    exec_program_free(x->program[i]);
    x->program[i] = x->program[--x->program_count];
}

static uint32_t oldest_but(const struct exec *x, const struct exec_program *keep)
{
    uint32_t oldest = x->program_count;
    for (uint32_t i = 0; i < x->program_count; i++) {
        if (x->program[i] != keep &&
            (oldest == x->program_count || x->program[i]->used < x->program[oldest]->used))
            oldest = i;
    }
    return oldest;
}

void exec_programs_trim(struct exec *x, const struct exec_program *keep, uint64_t need)
{
    for (;;) {
        uint64_t kept = 0;
        for (uint32_t i = 0; i < x->program_count; i++) {
            if (x->program[i] != keep)
                kept += exec_program_bytes(x->program[i]);
        }
        uint32_t oldest = oldest_but(x, keep);
        if (oldest == x->program_count || (need <= x->memory_max && kept <= x->memory_max - need))
            return;
        program_forget(x, oldest);
    }
}

enum emac_status exec_program_get(struct exec *x, const struct cid *cid, struct exec_program **out,
                                  struct emac_err *err)
{
    x->tasks++;
    for (uint32_t i = 0; i < x->program_count; i++) {
        if (cid_equal(&x->program[i]->cid, cid)) {
            *out = x->program[i];
            (*out)->used = x->tasks;
            return EMAC_OK;
        }
    }
    enum emac_status st = program_load(x, cid, true, out, err);
    if (st != EMAC_OK)
        return st;
    if (x->program_count == EXEC_PROGRAMS_MAX)
        program_forget(x, oldest_but(x, NULL));
    x->program[x->program_count++] = *out;
    (*out)->used = x->tasks;
    return EMAC_OK;
}

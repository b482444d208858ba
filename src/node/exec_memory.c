/* What a task needs of memory, and its inputs and outputs in the memory of the device. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "node/exec_internal.h"

#define MIB_OF(bytes) ((unsigned long long)(((bytes) + ((1u << 20) - 1)) >> 20))

/* ---- EXEC-2 ---- */

static uint64_t levels(uint32_t count)
{
    uint64_t n = 0;
    for (uint32_t c = count; c > 1; c >>= 1)
        n++;
    return n;
}

/* The sum of gradients with a piece a level and one for a ragged edge; parameters and optimiser
 * state of this step and the next, but for the state that is an output; metrics. */
static uint64_t steps_need(const struct exec_program *p)
{
    uint64_t bytes =
        emac_mul_most(p->grad->out[0].layout.size, levels(p->program.micro_batches) + 2);
    for (uint32_t i = 0; i < p->step->out_count; i++)
        bytes = emac_add_most(bytes, emac_mul_most(p->step->out[i].layout.size, 2));
    return bytes - p->out[p->opt].layout.size;
}

/* Has each part as many micro-batches as any other? Of a task that is but asked about: yes. */
static bool parts_alike(const struct task *t)
{
    for (uint32_t i = 1; t->part != NULL && i < t->part_count; i++)
        if (t->part[i].count != t->part[0].count)
            return false;
    return true;
}

/* Partial sums beside the output: one a level of the tree for a map; for an apply one part and one
 * sum a level, and two. */
static uint64_t sums_need(const struct exec_run *r)
{
    const struct task *t = r->task;
    uint64_t pieces = 0;
    if (r->p->program.kind == PROGRAM_MAP)
        return emac_mul_most(r->p->out[0].layout.size, levels(t->count));
    if (r->p->program.kind == PROGRAM_STEPS)
        return steps_need(r->p);
    if (r->p->sum.count == 0)
        return 0;
    for (uint32_t c = t->part_count; c > 0; c >>= 1)
        pieces += 2;
    if (parts_alike(t)) /* sums of whole levels, and two parts */
        pieces = levels(t->part_count - 1) + 1;
    if (r->p->decode != NULL) /* a part as it came, beside what it becomes */
        return emac_add_most(r->p->decode->in[0].layout.size,
                             emac_mul_most(r->p->sum.size, pieces + 2));
    return emac_mul_most(r->p->sum.size, t->part_count == 1 ? 1 : pieces + 2);
}

/* A micro-batch: its ports, and the bytes that one row is made of. */
static uint64_t batch_need(const struct exec_program *p)
{
    const struct sampler *s = &p->program.sampler;
    const uint32_t port[] = {p->inputs_port, p->targets_port};
    uint64_t bytes = 0;
    if (!sampler_on_records(s))
        return emac_mul_most(2 * sizeof(int32_t) + 1, (uint64_t)s->batch * s->seq);
    for (size_t i = 0; i < EMAC_COUNT(port); i++) {
        size_t each = 0;
        if (port[i] == PORT_NONE)
            continue;
        struct graph_port g = graph_input_at(p->graph, port[i]);
        bool ok = shape_bytes(g.dtype, &g.shape, &each);
        EMAC_ASSERT(ok);
        bytes = emac_add_most(bytes, each);
    }
    return emac_add_most(bytes, bytes / s->batch);
}

/* Each input once, though several programs of steps may take it; what steps make is none. */
static uint64_t inputs_need(const struct exec_program *p)
{
    const struct exec_program *all[] = {p, p->grad, p->step, p->begin};
    uint64_t bytes = 0;
    for (size_t k = 0; k < EMAC_COUNT(all) && all[k] != NULL; k++) {
        for (uint32_t i = 0; i < all[k]->in_count; i++) {
            const struct exec_bundle *b = &all[k]->in[i];
            bool counted = k == 0 && exec_steps_makes(p, b->name);
            for (size_t before = 0; before < k && !counted; before++)
                counted =
                    exec_bundle_find(all[before]->in, all[before]->in_count, b->name) != NULL &&
                    !(before == 0 && exec_steps_makes(p, b->name));
            bytes = counted ? bytes : emac_add_most(bytes, b->layout.size);
        }
    }
    return bytes;
}

static struct exec_needs needs_of(const struct exec_run *r)
{
    const struct exec_program *p = r->p;
    struct exec_needs n = {.between = exec_program_bytes(p), .sums = sums_need(r)};
    n.inputs = inputs_need(p);
    for (uint32_t i = 0; i < p->out_count; i++)
        n.outputs = emac_add_most(n.outputs, p->out[i].layout.size);
    if (p->program.kind == PROGRAM_MAP)
        n.batch = batch_need(p);
    else if (p->program.kind == PROGRAM_STEPS)
        n.batch = batch_need(p->grad);
    return n;
}

static uint64_t needs_all(const struct exec_needs *n)
{
    return emac_add_most(
        emac_add_most(emac_add_most(n->between, n->inputs), emac_add_most(n->outputs, n->sums)),
        n->batch);
}

/* The most that is allocated in one piece, and for what. */
static uint64_t piece_need(const struct exec_program *p, const char **what)
{
    const struct exec_program *part[] = {p->decode, p->begin, p->grad, p->step};
    uint64_t most = graph_plan_bytes(p->plan);
    *what = "values between operators";
    for (uint32_t i = 0; i < p->in_count + p->out_count; i++) {
        const struct exec_bundle *b = i < p->in_count ? &p->in[i] : &p->out[i - p->in_count];
        *what = b->layout.size > most ? b->name : *what;
        most = b->layout.size > most ? b->layout.size : most;
    }
    *what = p->sum.size > most ? "sum" : *what;
    most = p->sum.size > most ? p->sum.size : most;
    for (size_t i = 0; i < EMAC_COUNT(part); i++) {
        const char *name;
        uint64_t here = part[i] != NULL ? piece_need(part[i], &name) : 0;
        *what = here > most ? name : *what;
        most = here > most ? here : most;
    }
    return most;
}

/* Many drivers give out a quarter of a card's memory in one piece, and no more. */
static enum emac_status pieces_check(struct exec_run *r, struct emac_err *err)
{
    struct device_memory m;
    const char *what;
    uint64_t most = piece_need(r->p, &what);
    device_memory(r->x->cfg.dev, &m);
    if (most <= m.alloc_max)
        return EMAC_OK;
    return emac_fail(
        err, EMAC_TOO_LARGE,
        "the task needs %llu MiB in one piece, for '%s', and device '%s' gives at most "
        "%llu MiB: share the model among rigs, or take another device",
        MIB_OF(most), what, device_name(r->x->cfg.dev), (unsigned long long)(m.alloc_max >> 20));
}

uint64_t exec_needs(const struct exec_run *r)
{
    const struct exec_needs n = needs_of(r);
    return needs_all(&n);
}

enum emac_status exec_needs_check(struct exec_run *r, struct emac_err *err)
{
    struct exec_needs n = needs_of(r);
    uint64_t all = needs_all(&n);
    if (all <= r->x->memory_max) {
        enum emac_status st = pieces_check(r, err);
        return st == EMAC_OK ? exec_need(r, all, err) : st;
    }
    return emac_fail(err, EMAC_TOO_LARGE,
                     "the task needs %llu MiB of memory, and a task may use %llu MiB on device "
                     "'%s'; values between operators take %llu, inputs %llu, outputs %llu, sums of "
                     "micro-batches %llu: take a smaller micro_batch or a larger machine",
                     MIB_OF(all), (unsigned long long)(r->x->memory_max >> 20),
                     device_name(r->x->cfg.dev), MIB_OF(n.between), MIB_OF(n.inputs),
                     MIB_OF(n.outputs), MIB_OF(n.sums));
}

/* ---- EXEC-4 ---- */

enum emac_status exec_value_bring(struct exec_run *r, const struct store_value *v,
                                  const uint8_t **out, struct emac_err *err)
{
    struct resident *copy;
    enum emac_status st;
    if (device_is_host(r->x->cfg.dev)) {
        *out = v->data;
        return EMAC_OK;
    }
    st = resident_bring(&r->x->resident, v, &copy, err);
    if (st != EMAC_OK)
        return st;
    EMAC_ASSERT(r->copy_count < EMAC_COUNT(r->copy));
    r->copy[r->copy_count++] = copy;
    *out = copy->at;
    return EMAC_OK;
}

void exec_copies_drop(struct exec_run *r)
{
    while (r->copy_count > 0)
        resident_drop(r->copy[--r->copy_count]);
}

enum emac_status exec_staged_new(struct exec *x, size_t bytes, struct exec_staged *out,
                                 struct emac_err *err)
{
    enum emac_status st = emac_alloc(&out->host, bytes, 1, err);
    out->bytes = bytes;
    out->device = out->host;
    return st != EMAC_OK || device_is_host(x->cfg.dev)
               ? st
               : resident_alloc(&x->resident, bytes, &out->device, err);
}

enum emac_status exec_staged_send(struct exec *x, const struct exec_staged *s, struct emac_err *err)
{
    return s->device == s->host ? EMAC_OK
                                : device_write(x->cfg.dev, s->device, s->host, s->bytes, err);
}

void exec_staged_release(struct exec *x, struct exec_staged *s)
{
    if (s->device != s->host)
        device_free(x->cfg.dev, s->device);
    free(s->host);
    *s = (struct exec_staged){0};
}

static void head_release(struct exec *x, struct exec_head *h)
{
    device_free(x->cfg.dev, h->there);
    free(h->host);
    *h = (struct exec_head){0};
}

void exec_heads_release(struct exec *x)
{
    for (uint32_t i = 0; i < EXEC_HEADS_MAX; i++)
        head_release(x, &x->head[i]);
}

static enum emac_status head_new(struct exec *x, const struct emac_buf *header,
                                 struct exec_head *out, struct emac_err *err)
{
    enum emac_status st;
    head_release(x, out);
    EMAC_TRY(st, emac_alloc(&out->host, header->len, 1, err));
    EMAC_TRY(st, resident_alloc(&x->resident, header->len, &out->there, err));
    EMAC_TRY(st, device_write(x->cfg.dev, out->there, header->data, header->len, err));
    memcpy(out->host, header->data, header->len);
    out->len = header->len;
out:
    if (st != EMAC_OK)
        head_release(x, out);
    return st;
}

enum emac_status exec_head_put(struct exec *x, const struct emac_buf *header, uint8_t *file,
                               struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    struct exec_head *h = NULL;
    if (device_is_host(x->cfg.dev))
        return device_write(x->cfg.dev, file, header->data, header->len, err);
    for (uint32_t i = 0; i < EXEC_HEADS_MAX && h == NULL; i++)
        if (x->head[i].len == header->len &&
            memcmp(x->head[i].host, header->data, header->len) == 0)
            h = &x->head[i];
    if (h == NULL) {
        h = &x->head[x->head_next++ % EXEC_HEADS_MAX];
        st = head_new(x, header, h, err);
    }
    return st == EMAC_OK ? device_copy(x->cfg.dev, file, h->there, header->len, err) : st;
}

/* Is an output hashed where it lies? What receipts carry crosses in any case. */
static bool stays(const struct exec *x, size_t bytes)
{
    const struct exec_config *cfg = &x->cfg;
    if (device_is_host(cfg->dev) || cfg->tamper != NULL || bytes <= EXEC_INLINE_MAX)
        return false;
    return cfg->values == EXEC_VALUES_STAY ||
           (cfg->values == EXEC_VALUES_MEASURED &&
            device_sha256_pays(cfg->dev, bytes, UNIXFS_CHUNK, store_hash_threads(cfg->store)));
}

/* In host memory, the caller's; r->out[i] is NULL then if it was there. */
static enum emac_status output_bring(struct exec_run *r, uint32_t i, uint8_t **out,
                                     struct emac_err *err)
{
    size_t bytes = r->p->out[i].layout.size;
    enum emac_status st;
    if (device_is_host(r->x->cfg.dev)) {
        *out = r->out[i];
        r->out[i] = NULL;
        return EMAC_OK;
    }
    st = emac_alloc_aligned(out, bytes, err);
    if (st != EMAC_OK)
        return st;
    st = device_read(r->x->cfg.dev, *out, r->out[i], bytes, err);
    if (st != EMAC_OK) {
        free(*out);
        *out = NULL;
    }
    return st;
}

enum emac_status exec_output_keep(struct exec_run *r, uint32_t i, const struct store_value **out,
                                  struct emac_err *err)
{
    const struct exec_config *cfg = &r->x->cfg;
    const struct bundle *l = &r->p->out[i].layout;
    uint8_t *data;
    enum emac_status st;
    if (stays(r->x, l->size)) {
        st = resident_keep(&r->x->resident, r->out[i], l->size, l->header.data, l->header.len, out,
                           err);
        r->out[i] = st == EMAC_OK ? NULL : r->out[i];
        return st;
    }
    EMAC_TRY(st, output_bring(r, i, &data, err));
    if (cfg->tamper != NULL)
        cfg->tamper(cfg->tamper_ctx, r->p->out[i].name, data, l->size);
    EMAC_TRY(st, store_value_adopt(cfg->store, data, l->size, out, err)); /* frees it on failure */
    /* The copy stays, unless the host's bytes are not what the device made. */
    if (r->out[i] != NULL && cfg->tamper == NULL) {
        resident_adopt(&r->x->resident, &(*out)->cid, r->out[i], l->size);
        r->out[i] = NULL;
    }
out:
    return st;
}

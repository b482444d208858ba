/* Traces of tasks. What was made where is known by the address it lies at: operators' outputs and
 * sums lie in memory of the task, which is not given back while it runs, so an address that no leaf
 * wrote is that of an input, an arg or a micro-batch.
 *
 * XT-1  A place is noted for each value where its last writer put it: a tensor, never a part of one
 *       or several at once.
 * XT-2  Only what is noted is ever written to by a judge: inputs of the task stay as they are
 *       (EXEC-3). */
#include "node/exec_trace.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "node/exec_internal.h"

enum mode {
    MODE_ALL,  /* everything is computed and hashed */
    MODE_REFS, /* nothing is: what does the leaf take? */
    MODE_JUDGE /* the leaf alone is */
};

#define AT_HAND UINT64_MAX /* a copy of what the task gives */

struct place {
    const void *at; /* NULL: free */
    uint64_t leaf;  /* or AT_HAND */
    uint32_t slot;
};

struct exec_trace {
    struct exec *x;
    struct exec_run *run; /* of the graph that is under way */
    enum mode mode;
    uint64_t next; /* number of the next leaf */
    struct place *place;
    size_t places, place_cap; /* 0 or a power of two, at most half full */
    /* all */
    struct trace *trace;
    const struct exec_ref *want;
    uint32_t want_count;
    exec_capture *capture;
    /* one leaf */
    uint64_t leaf;
    bool found;
    struct exec_ref *ref; /* what it takes, ascending */
    const void **ref_at;
    uint32_t ref_count, ref_cap;
    exec_give *give;
    struct trace_leaf *out;
    void *ctx;
};

/* ---- places ---- */

static size_t place_slot(const struct exec_trace *t, const void *at)
{
    size_t i = (size_t)(((uintptr_t)at >> 2) * UINT64_C(0x9e3779b97f4a7c15) >> 20);
    for (i &= t->place_cap - 1; t->place[i].at != NULL && t->place[i].at != at;)
        i = (i + 1) & (t->place_cap - 1);
    return i;
}

/* Who wrote there; NULL when no leaf did. */
static const struct place *place_find(const struct exec_trace *t, const void *at)
{
    size_t i;
    if (t->place_cap == 0)
        return NULL;
    i = place_slot(t, at);
    return t->place[i].at == NULL || t->place[i].leaf == AT_HAND ? NULL : &t->place[i];
}

static enum emac_status places_grow(struct exec_trace *t, struct emac_err *err)
{
    struct exec_trace old = *t;
    t->place_cap = old.place_cap == 0 ? 1024 : 2 * old.place_cap;
    enum emac_status st = emac_alloc(&t->place, t->place_cap, sizeof *t->place, err);
    if (st != EMAC_OK) {
        *t = old;
        return st;
    }
    for (size_t i = 0; i < old.place_cap; i++) {
        if (old.place[i].at != NULL)
            t->place[place_slot(t, old.place[i].at)] = old.place[i];
    }
    free(old.place);
    return EMAC_OK;
}

static enum emac_status place_note(struct exec_trace *t, const void *at, uint64_t leaf,
                                   uint32_t slot, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    if (2 * (t->places + 1) > t->place_cap)
        EMAC_TRY(st, places_grow(t, err));
    size_t i = place_slot(t, at);
    t->places += t->place[i].at == NULL;
    t->place[i] = (struct place){at, leaf, slot};
out:
    return st;
}

/* ---- one leaf: what it takes ---- */

static size_t bytes_of(const struct tensor *v)
{
    size_t bytes = 0;
    bool ok = shape_bytes(v->dtype, &v->shape, &bytes);
    EMAC_ASSERT(ok); /* sizes were checked when the graph was made */
    return bytes;
}

static int ref_order(const struct exec_ref *a, const struct place *b)
{
    if (a->leaf != b->leaf)
        return a->leaf < b->leaf ? -1 : 1;
    return a->slot < b->slot ? -1 : a->slot > b->slot;
}

static enum emac_status refs_grow(struct exec_trace *t, struct emac_err *err)
{
    if (t->ref_count < t->ref_cap)
        return EMAC_OK;
    if (t->ref_cap == EXEC_REFS_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "leaf %llu of a trace takes more than %d values",
                         (unsigned long long)t->leaf, EXEC_REFS_MAX);
    t->ref_cap = t->ref_cap == 0 ? 16 : 2 * t->ref_cap;
    struct exec_ref *ref = realloc(t->ref, t->ref_cap * sizeof *ref);
    if (ref != NULL)
        t->ref = ref;
    const void **at = realloc(t->ref_at, t->ref_cap * sizeof *at);
    if (at != NULL)
        t->ref_at = at;
    return ref != NULL && at != NULL ? EMAC_OK
                                     : emac_fail(err, EMAC_NO_MEMORY, "no memory for a trace");
}

static enum emac_status ref_note(struct exec_trace *t, const struct tensor *v, struct emac_err *err)
{
    const struct place *p = place_find(t, v->data);
    uint32_t at = 0;
    if (p == NULL)
        return EMAC_OK; /* at hand */
    EMAC_ASSERT(p->leaf < t->leaf);
    while (at < t->ref_count && ref_order(&t->ref[at], p) < 0)
        at++;
    if (at < t->ref_count && ref_order(&t->ref[at], p) == 0 && t->ref_at[at] == v->data)
        return EMAC_OK;
    enum emac_status st = refs_grow(t, err);
    if (st != EMAC_OK)
        return st;
    memmove(&t->ref[at + 1], &t->ref[at], (t->ref_count - at) * sizeof *t->ref);
    memmove(&t->ref_at[at + 1], &t->ref_at[at], (t->ref_count - at) * sizeof *t->ref_at);
    t->ref[at] = (struct exec_ref){p->leaf, p->slot, bytes_of(v)};
    t->ref_at[at] = v->data;
    t->ref_count++;
    return EMAC_OK;
}

/* Bring what earlier leaves made to where the leaf looks for it. */
static enum emac_status refs_bring(struct exec_trace *t, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < t->ref_count && st == EMAC_OK; i++) {
        uint8_t *data;
        st = emac_alloc_aligned(&data, t->ref[i].bytes, err);
        if (st != EMAC_OK)
            break;
        st = t->give(t->ctx, i, data, t->ref[i].bytes, err);
        if (st == EMAC_OK)
            st = device_write(t->x->cfg.dev, (void *)(uintptr_t)t->ref_at[i], data, t->ref[i].bytes,
                              err);
        free(data);
    }
    return st;
}

/* ---- digests ---- */

static bool nan_at(const uint8_t *data, enum dtype dtype, size_t i)
{
    uint32_t f32;
    uint16_t bf16;
    if (dtype == DTYPE_F32) {
        memcpy(&f32, data + 4 * i, 4);
        return (f32 & 0x7fffffff) > 0x7f800000;
    }
    memcpy(&bf16, data + 2 * i, 2);
    return (bf16 & 0x7fff) > 0x7f80;
}

/* Each NaN becomes the quiet one (work/trace.h). */
static void nans_settle(uint8_t *data, enum dtype dtype, size_t bytes)
{
    static const uint8_t QUIET[] = {0x00, 0x00, 0xc0, 0x7f};
    size_t size = dtype_bytes(dtype);
    if (dtype != DTYPE_F32 && dtype != DTYPE_BF16)
        return;
    for (size_t i = 0; i < bytes / size; i++) {
        if (nan_at(data, dtype, i))
            memcpy(data + size * i, QUIET + 4 - size, size);
    }
}

/* The value as a leaf has it; *data (may be asked for with NULL) is its bytes, for the caller to
 * free. */
static enum emac_status value_take(struct exec_trace *t, const struct tensor *v,
                                   struct trace_value *out, uint8_t **data, struct emac_err *err)
{
    size_t bytes = bytes_of(v);
    uint8_t *copy;
    enum emac_status st = emac_alloc_aligned(&copy, bytes, err);
    if (st != EMAC_OK)
        return st;
    st = device_read(t->x->cfg.dev, copy, v->data, bytes, err);
    if (st == EMAC_OK) {
        nans_settle(copy, v->dtype, bytes);
        *out = (struct trace_value){.dtype = v->dtype, .shape = v->shape};
        crypto_sha256(out->digest, copy, bytes);
    }
    if (st == EMAC_OK && data != NULL)
        *data = copy;
    else
        free(copy);
    return st;
}

/* ---- leaves ---- */

/* Is anything of this leaf asked for? */
static bool is_wanted(const struct exec_trace *t, uint64_t leaf)
{
    for (uint32_t i = 0; i < t->want_count; i++) {
        if (t->want[i].leaf == leaf)
            return true;
    }
    return false;
}

static enum emac_status captures_give(struct exec_trace *t, const struct trace_leaf *leaf,
                                      uint8_t *const *data, const struct tensor *value,
                                      struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < t->want_count && st == EMAC_OK; i++) {
        const struct exec_ref *w = &t->want[i];
        if (w->leaf == leaf->index)
            st = t->capture(t->ctx, i, leaf, data[w->slot], bytes_of(&value[w->slot]), err);
    }
    return st;
}

/* Hash what a leaf gave. */
static enum emac_status leaf_take(struct exec_trace *t, struct trace_leaf *leaf,
                                  const struct tensor *value, struct emac_err *err)
{
    uint8_t *data[OP_OUT_MAX] = {NULL};
    bool wanted = t->mode == MODE_ALL && is_wanted(t, leaf->index);
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < leaf->count; i++)
        EMAC_TRY(st, value_take(t, &value[i], &leaf->value[i], wanted ? &data[i] : NULL, err));
    if (wanted)
        EMAC_TRY(st, captures_give(t, leaf, data, value, err));
    if (t->mode == MODE_ALL)
        st = trace_add(t->trace, leaf, err);
    else
        *t->out = *leaf;
out:
    for (uint32_t i = 0; i < OP_OUT_MAX; i++)
        free(data[i]);
    return st;
}

/* The leaf asked for is reached: the rest of the task is of no interest. */
static enum emac_status found(struct exec_trace *t, struct emac_err *err)
{
    t->found = true;
    return emac_fail(err, EMAC_CANCELLED, "the leaf is found");
}

/* What a leaf is made of: `run` computes it. */
struct work {
    struct trace_leaf leaf;
    const struct tensor *in, *value;
    uint32_t inputs;
    enum emac_status (*run)(struct exec_trace *t, const void *how, struct emac_err *err);
    const void *how;
};

static enum emac_status work_do(struct exec_trace *t, struct work *w, struct emac_err *err)
{
    bool here = t->mode != MODE_ALL && t->next == t->leaf;
    enum emac_status st = EMAC_OK;
    w->leaf.index = t->next++;
    for (uint32_t i = 0; here && i < w->inputs; i++)
        EMAC_TRY(st, ref_note(t, &w->in[i], err));
    if (here && t->mode == MODE_JUDGE)
        EMAC_TRY(st, refs_bring(t, err));
    if (t->mode == MODE_ALL || (here && t->mode == MODE_JUDGE)) {
        EMAC_TRY(st, w->run(t, w->how, err));
        EMAC_TRY(st, leaf_take(t, &w->leaf, w->value, err));
    }
    if (here)
        return found(t, err);
    for (uint32_t i = 0; i < w->leaf.count; i++)
        EMAC_TRY(st, place_note(t, w->value[i].data, w->leaf.index, i, err));
out:
    return st;
}

/* ---- graphs ---- */

static enum emac_status step_run(struct exec_trace *t, const void *how, struct emac_err *err)
{
    return graph_step_run(t->run->p->plan, t->x->cfg.dev, how, err);
}

/* An output that is made elsewhere: who reads it there reads what that leaf made, or an input. */
static enum emac_status copy_do(struct exec_trace *t, const struct graph_step *s,
                                struct emac_err *err)
{
    const struct place *p = place_find(t, s->in[0].data);
    struct place from = p == NULL ? (struct place){.leaf = AT_HAND} : *p;
    if (p == NULL || t->mode == MODE_ALL) {
        enum emac_status st = step_run(t, s, err);
        if (st != EMAC_OK)
            return st;
    }
    return place_note(t, s->out[0].data, from.leaf, from.slot, err);
}

static enum emac_status visit(void *ctx, const struct graph_step *s, struct emac_err *err)
{
    struct exec_trace *t = ctx;
    struct work w = {.leaf = {.kind = TRACE_OPERATOR, .node = s->node, .count = s->outputs},
                     .in = s->in,
                     .value = s->out,
                     .inputs = s->inputs,
                     .run = step_run,
                     .how = s};
    return s->copy ? copy_do(t, s, err) : work_do(t, &w, err);
}

enum emac_status exec_trace_graph(struct exec_run *r, struct emac_err *err)
{
    struct exec_trace *t = r->x->trace;
    struct exec_run *before = t->run;
    t->run = r;
    enum emac_status st = graph_visit(r->p->plan, r->x->cfg.dev, visit, t, err);
    if (st == EMAC_OK && t->mode == MODE_ALL)
        st = graph_visited_check(r->p->plan, r->x->cfg.dev, err);
    t->run = before;
    return st;
}

/* ---- sums ---- */

struct sum {
    float *dst;
    const float *a, *b;
    size_t n;
};

static enum emac_status sum_run(struct exec_trace *t, const void *how, struct emac_err *err)
{
    const struct sum *s = how;
    return device_add(t->x->cfg.dev, s->dst, s->a, s->b, s->n, err);
}

enum emac_status exec_trace_add(struct exec_trace *t, const struct bundle *l, float *dst,
                                const float *a, const float *b, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < l->count && st == EMAC_OK; i++) {
        size_t at = (l->port[i].offset - l->header.len) / sizeof(float), n = l->port[i].count;
        struct sum s = {dst + at, a + at, b + at, n};
        struct tensor in[] = {{DTYPE_F32, SHAPE1(n), (void *)(uintptr_t)s.a},
                              {DTYPE_F32, SHAPE1(n), (void *)(uintptr_t)s.b}};
        struct tensor value = {DTYPE_F32, SHAPE1(n), s.dst};
        struct work w = {.leaf = {.kind = TRACE_SUM, .node = i, .count = 1},
                         .in = in,
                         .value = &value,
                         .inputs = 2,
                         .run = sum_run,
                         .how = &s};
        st = work_do(t, &w, err);
    }
    return st;
}

/* ---- outputs ---- */

void exec_trace_output_leaf(struct trace_leaf *leaf, uint64_t index, uint32_t node,
                            const struct store_value *v)
{
    *leaf = (struct trace_leaf){.kind = TRACE_OUTPUT, .index = index, .node = node, .count = 1};
    leaf->value[0] = (struct trace_value){.dtype = DTYPE_U8, .shape = SHAPE1(v->size)};
    memcpy(leaf->value[0].digest, v->cid.digest, SHA256_BYTES);
}

/* The tensors that the bundle is made of. */
static enum emac_status output_refs(struct exec_trace *t, const struct exec_run *r, uint32_t i,
                                    struct emac_err *err)
{
    const struct bundle *l = &r->p->out[i].layout;
    enum emac_status st = EMAC_OK;
    for (uint32_t k = 0; k < l->count && st == EMAC_OK; k++) {
        const struct bundle_port *bp = &l->port[k];
        struct tensor v = {bp->dtype, SHAPE1(bp->count), r->out[i] + bp->offset};
        st = ref_note(t, &v, err);
    }
    return st;
}

bool exec_trace_skips(struct exec_trace *t, struct exec_run *r, uint32_t i, enum emac_status *st,
                      struct emac_err *err)
{
    *st = EMAC_OK;
    if (t->mode == MODE_ALL)
        return false;
    if (t->next != t->leaf) {
        t->next++;
        return true;
    }
    *st = output_refs(t, r, i, err);
    if (*st == EMAC_OK && t->mode == MODE_JUDGE)
        *st = refs_bring(t, err);
    if (*st == EMAC_OK && t->mode == MODE_REFS)
        *st = found(t, err);
    return *st != EMAC_OK;
}

enum emac_status exec_trace_output(struct exec_trace *t, uint32_t i, const struct store_value *v,
                                   struct emac_err *err)
{
    struct trace_leaf leaf;
    exec_trace_output_leaf(&leaf, t->next++, i, v);
    if (t->mode == MODE_ALL)
        return trace_add(t->trace, &leaf, err);
    *t->out = leaf;
    return found(t, err);
}

bool exec_trace_is_dry(const struct exec_trace *t)
{
    return t != NULL && t->mode != MODE_ALL;
}

/* ---- the whole ---- */

static enum emac_status run(struct exec_trace *t, const struct task *task,
                            struct exec_result *result, struct emac_err *err)
{
    struct emac_err ignored = {.status = EMAC_OK};
    EMAC_ASSERT(t->x->trace == NULL);
    t->x->trace = t;
    enum emac_status st = exec_run(t->x, task, result, err == NULL ? &ignored : err);
    t->x->trace = NULL;
    free(t->place);
    free(t->ref_at);
    if (t->mode == MODE_ALL)
        return st;
    exec_result_release(t->x, result);
    return st == EMAC_CANCELLED && t->found ? EMAC_OK : st;
}

static enum emac_status no_such_leaf(const struct exec_trace *t, struct emac_err *err)
{
    return emac_fail(err, EMAC_INVALID, "the task's trace has %llu leaves, and no leaf %llu",
                     (unsigned long long)t->next, (unsigned long long)t->leaf);
}

enum emac_status exec_trace(struct exec *x, const struct task *task, struct trace *out,
                            struct exec_result *result, struct emac_err *err)
{
    return exec_trace_capture(x, task, NULL, 0, NULL, NULL, out, result, err);
}

enum emac_status exec_trace_capture(struct exec *x, const struct task *task,
                                    const struct exec_ref *refs, uint32_t count, exec_capture *each,
                                    void *ctx, struct trace *out, struct exec_result *result,
                                    struct emac_err *err)
{
    struct exec_trace t = {.x = x,
                           .mode = MODE_ALL,
                           .trace = out,
                           .want = refs,
                           .want_count = count,
                           .capture = each,
                           .ctx = ctx};
    EMAC_ASSERT(trace_count(out) == 0);
    return run(&t, task, result, err);
}

enum emac_status exec_trace_refs(struct exec *x, const struct task *task, uint64_t leaf,
                                 struct exec_ref **refs, uint32_t *count, struct emac_err *err)
{
    struct exec_trace t = {.x = x, .mode = MODE_REFS, .leaf = leaf};
    struct exec_result none;
    enum emac_status st = run(&t, task, &none, err);
    if (st == EMAC_OK && !t.found)
        st = no_such_leaf(&t, err);
    *refs = NULL;
    *count = 0;
    if (st != EMAC_OK) {
        free(t.ref);
        return st;
    }
    *refs = t.ref;
    *count = t.ref_count;
    return EMAC_OK;
}

enum emac_status exec_trace_leaves(struct exec *x, const struct task *task, uint64_t *leaves,
                                   struct emac_err *err)
{
    struct exec_trace t = {.x = x, .mode = MODE_REFS, .leaf = UINT64_MAX};
    struct exec_result none;
    enum emac_status st = run(&t, task, &none, err);
    *leaves = t.next;
    free(t.ref);
    return st;
}

enum emac_status exec_trace_judge(struct exec *x, const struct task *task, uint64_t leaf,
                                  exec_give *give, void *ctx, struct trace_leaf *out,
                                  struct emac_err *err)
{
    struct exec_trace t = {
        .x = x, .mode = MODE_JUDGE, .leaf = leaf, .give = give, .ctx = ctx, .out = out};
    struct exec_result none;
    enum emac_status st = run(&t, task, &none, err);
    if (st == EMAC_OK && !t.found)
        st = no_such_leaf(&t, err);
    free(t.ref);
    return st;
}

#include "model/tune.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "compute/host_math.h"

static const char *const KIND_NAME[TUNE_KINDS] = {"scratch", "full", "head", "lora"};
static const char *const TARGET_NAME[TUNE_TARGETS] = {
    [TUNE_DENSE] = "dense", [TUNE_DOWN] = "down_proj", [TUNE_GATE] = "gate_proj",
    [TUNE_K] = "k_proj",    [TUNE_O] = "o_proj",       [TUNE_Q] = "q_proj",
    [TUNE_UP] = "up_proj",  [TUNE_V] = "v_proj"};

const char *tune_kind_name(enum tune_kind kind)
{
    EMAC_ASSERT((unsigned)kind < TUNE_KINDS);
    return KIND_NAME[kind];
}

const char *tune_target_name(enum tune_target target)
{
    EMAC_ASSERT((unsigned)target < TUNE_TARGETS);
    return TARGET_NAME[target];
}

enum tune_target tune_target_find(const char *name)
{
    int t = 0;
    while (t < TUNE_TARGETS && strcmp(TARGET_NAME[t], name) != 0)
        t++;
    return (enum tune_target)t;
}

float tune_scale(const struct tune *t)
{
    return (float)(t->alpha / (double)t->rank);
}

/* ---- the trained list ---- */

/* What of a parameter an entry of the trained list is. */
enum entry_kind { ENTRY_SELF, ENTRY_A, ENTRY_B, ENTRY_KINDS };

static enum model_part part_of(const struct model_params *whole, const struct tune *t, uint32_t i)
{
    if (t == NULL || t->kind == TUNE_SCRATCH)
        return PART_FRESH;
    return whole->part(whole->config, t, i);
}

/* "x.weight" [out,in] -> its A [rank,in] or B [out,rank]. */
static void adapter_of(const struct tune *t, enum entry_kind kind, struct model_param *p)
{
    char module[sizeof p->name];
    size_t n = strlen(p->name), suffix = strlen("weight");
    EMAC_ASSERT(n > suffix && strcmp(p->name + n - suffix, "weight") == 0 && p->shape.rank == 2);
    memcpy(module, p->name, n - suffix);
    module[n - suffix] = '\0';
    int len = snprintf(p->name, sizeof p->name, TUNE_PREFIX "%slora_%c.weight", module,
                       kind == ENTRY_A ? 'A' : 'B');
    EMAC_ASSERT(len > 0 && (size_t)len < sizeof p->name);
    p->init_fill = 0;
    p->init_std = kind == ENTRY_A ? 1 / host_sqrt(3 * (double)p->shape.dim[1]) : 0;
    p->shape.dim[kind == ENTRY_A ? 0 : 1] = t->rank;
}

static void trained_at(const void *config, uint32_t i, struct model_param *out)
{
    const struct tuned *t = config;
    uint32_t param = t->entry[i] / ENTRY_KINDS;
    enum entry_kind kind = (enum entry_kind)(t->entry[i] % ENTRY_KINDS);
    t->whole.at(t->whole.config, param, out);
    if (kind != ENTRY_SELF) {
        adapter_of(t->tune, kind, out);
    } else if (part_of(&t->whole, t->tune, param) == PART_FROM_BASE) {
        out->from_base = true;
        out->base_storage = t->tune->storage;
    }
}

static void entry_add(struct tuned *t, uint32_t param, enum entry_kind kind)
{
    if (t->first[param] == TUNED_NONE)
        t->first[param] = t->trained.count;
    t->entry[t->trained.count++] = param * ENTRY_KINDS + (uint32_t)kind;
}

static enum emac_status rank_check(const struct tuned *t, uint32_t i, struct emac_err *err)
{
    struct model_param p;
    t->whole.at(t->whole.config, i, &p);
    size_t least = p.shape.dim[0] < p.shape.dim[1] ? p.shape.dim[0] : p.shape.dim[1];
    if (t->tune->rank >= 1 && t->tune->rank <= least)
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID,
                     "an adapter of rank %u for '%s' [%zu,%zu]: the rank must be from 1 to %zu",
                     t->tune->rank, p.name, p.shape.dim[0], p.shape.dim[1], least);
}

enum emac_status tuned_init(struct tuned *out, const struct model_params *whole,
                            const struct tune *t, struct emac_err *err)
{
    enum emac_status st;
    *out = (struct tuned){.whole = *whole, .tune = t};
    out->trained =
        (struct model_params){.config = out, .storage = whole->storage, .at = trained_at};
    EMAC_TRY(st, emac_alloc(&out->entry, 2 * (size_t)whole->count, sizeof *out->entry, err));
    EMAC_TRY(st, emac_alloc(&out->first, whole->count, sizeof *out->first, err));
    for (uint32_t i = 0; i < whole->count; i++) {
        enum model_part part = part_of(whole, t, i);
        out->first[i] = TUNED_NONE;
        if (part == PART_ADAPTED) {
            EMAC_TRY(st, rank_check(out, i, err));
            entry_add(out, i, ENTRY_A);
            entry_add(out, i, ENTRY_B);
        } else if (part != PART_FROZEN) {
            entry_add(out, i, ENTRY_SELF);
        }
    }
    if (out->trained.count == 0)
        st = emac_fail(err, EMAC_INVALID, "nothing of the model would be trained");
out:
    return st;
}

void tuned_release(struct tuned *t)
{
    free(t->entry);
    free(t->first);
    t->entry = t->first = NULL;
}

uint64_t tuned_elements(const struct tuned *t)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < t->trained.count; i++) {
        struct model_param p;
        size_t n = 0;
        trained_at(t, i, &p);
        bool ok = shape_count(&p.shape, &n);
        EMAC_ASSERT(ok); /* no larger than the model's, which were checked */
        total += n;
    }
    return total;
}

/* ---- graphs ---- */

void tuned_inputs(struct graph *g, const struct tuned *t, struct model_weight *weight)
{
    char name[GRAPH_NAME_MAX];
    struct model_param p;
    for (uint32_t i = 0; i < t->whole.count; i++)
        weight[i] = (struct model_weight){VALUE_NONE, VALUE_NONE, VALUE_NONE};
    for (uint32_t i = 0; i < t->trained.count; i++) {
        struct model_weight *w = &weight[t->entry[i] / ENTRY_KINDS];
        value_id *const place[ENTRY_KINDS] = {&w->w, &w->a, &w->b};
        trained_at(t, i, &p);
        snprintf(name, sizeof name, "params/%s", p.name);
        *place[t->entry[i] % ENTRY_KINDS] = graph_input(g, name, t->trained.storage, p.shape);
    }
    for (uint32_t i = 0; i < t->whole.count; i++) {
        if (part_of(&t->whole, t->tune, i) < PART_FROZEN)
            continue;
        t->whole.at(t->whole.config, i, &p);
        snprintf(name, sizeof name, "base/%s", p.name);
        weight[i].w = graph_input(g, name, t->tune->storage, p.shape);
    }
}

static value_id op2(struct graph *g, enum op which, const struct op_attrs *attrs, value_id x,
                    value_id y)
{
    const value_id in[] = {x, y};
    return graph_op(g, which, attrs, 2, in);
}

static value_id kept2(struct graph *g, const struct tuned *t, enum op which,
                      const struct op_attrs *attrs, value_id x, value_id y)
{
    const value_id in[] = {x, y};
    if (t->trained.storage != DTYPE_BF16)
        return graph_op(g, which, attrs, 2, in);
    return graph_op_bf16(g, which, attrs, 2, in);
}

value_id tuned_add(struct graph *g, const struct tuned *t, value_id x, value_id y,
                   struct model_weight w, bool kept)
{
    static const struct op_attrs by_rows = {.at = {{.i = 0}, {.i = 1}}};
    if (w.a == VALUE_NONE)
        return y;
    value_id low = kept2(g, t, OP_MATMUL, &by_rows, x, w.a);
    value_id high = op2(g, OP_MATMUL, &by_rows, low, w.b);
    value_id part = op2(g, OP_SCALE, NULL, high, model_fill(g, SHAPE1(1), tune_scale(t->tune)));
    return kept ? kept2(g, t, OP_ADD, NULL, y, part) : op2(g, OP_ADD, NULL, y, part);
}

enum emac_status tuned_gradients(struct graph *g, const struct tuned *t, value_id loss,
                                 struct emac_err *err)
{
    value_id *value;
    enum emac_status st = emac_alloc(&value, t->trained.count, sizeof *value, err);
    if (st != EMAC_OK)
        return st;
    for (uint32_t i = 0; i < t->trained.count; i++)
        value[i] = graph_input_at(g, i).value;
    st = model_gradients(g, &t->trained, value, loss, err);
    free(value);
    return st;
}

#include "model/local_sgd.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "compute/pack.h"
#include "model/model.h"
#include "model/optimiser.h"

static const char METRICS[] = "metrics/";

/* Of one parameter of a delta x: x - c, and c, VALUE_NONE without momentum. */
struct admission {
    value_id away, center;
};

#define BUNDLE_MAX 32

struct building {
    struct graph *g;
    const struct local_recipe *r;
    const struct local_cut *cut;                           /* NULL: all parameters */
    value_id minus_one, feedback, count_inv, lr, momentum; /* of shape [1], where they are used */
    value_id weight, center, coef, total;
    struct admission *admission; /* by parameter */
    uint32_t count;
    /* Of the parameter that is looked at: its bundle, "params" or of a stage "params.3", and the
     * bundles beside it. */
    char params[BUNDLE_MAX], start[BUNDLE_MAX], carry[BUNDLE_MAX], outer[BUNDLE_MAX];
};

uint32_t local_keep(double density)
{
    double fours = density * (PACK_TOP_BLOCK / 4) + 0.5;
    uint32_t keep = fours < 1.0 ? 4 : 4 * (uint32_t)fours;
    return keep < PACK_TOP_KEEP_MAX ? keep : PACK_TOP_KEEP_MAX;
}

bool local_has_carry(const struct local_recipe *r)
{
    return r->delta != DELTA_F32;
}

bool local_has_momentum(const struct local_recipe *r)
{
    return r->outer_momentum != 0;
}

bool local_streams(const struct local_recipe *r)
{
    return r->fragments > 1 || r->overlap > 0;
}

struct local_recipe local_last(const struct local_recipe *r)
{
    struct local_recipe last = *r;
    if (r->last != DELTA_NONE) {
        last.delta = r->last;
        last.outer_lr = 1.0;
        last.outer_momentum = 0.0;
    }
    return last;
}

bool local_carries_from_start(const struct local_recipe *r)
{
    return local_has_carry(r) && !(local_streams(r) && r->resume == RESUME_OWN);
}

/* By blocks: INT8 loses a 64th of the largest of 64 numbers at each, at most; of INT4 the worst are
 * 63 numbers at half a step beside one at four steps; TOP tells three quarters of the square of the
 * largest number alone when all are alike. */
static double pack_loss(enum delta_form form)
{
    static const double LOSS[DELTA_FORMS] = {
        [DELTA_INT8] = 0.125, [DELTA_INT4] = 0.75, [DELTA_TOPK] = 1.0 - 0.375 / PACK_TOP_BLOCK};
    return LOSS[form];
}

double local_reach(const struct local_recipe *r, const struct optimiser_recipe *steps,
                   uint64_t count)
{
    double reach = optimiser_reach(steps, count) * ((double)r->inner_steps + r->overlap);
    if (r->max_norm > 0)
        return r->max_norm;
    double stays = r->resume == RESUME_OWN ? 1.0 : r->feedback;
    return isfinite(reach) ? reach / (1.0 - stays * pack_loss(r->delta)) : 0;
}

static struct pack pack_of(const struct local_recipe *r)
{
    static const enum pack_format formats[] = {
        [DELTA_INT8] = PACK_INT8, [DELTA_INT4] = PACK_INT4, [DELTA_TOPK] = PACK_TOP};
    struct pack p;
    EMAC_ASSERT(r->delta != DELTA_F32 && r->delta < DELTA_FORMS);
    bool ok = pack_make(formats[r->delta], r->delta == DELTA_TOPK ? local_keep(r->density) : 0, &p);
    EMAC_ASSERT(ok);
    return p;
}

/* ---- building ---- */

static value_id op2(struct graph *g, enum op op, value_id a, value_id b)
{
    value_id in[] = {a, b};
    return graph_op(g, op, NULL, 2, in);
}

static value_id number(struct graph *g, double v)
{
    return model_fill(g, SHAPE1(1), (float)v);
}

static value_id minus(const struct building *b, value_id x, value_id y)
{
    return op2(b->g, OP_ADD, x, op2(b->g, OP_SCALE, y, b->minus_one));
}

static value_id input(struct graph *g, const char *bundle, const char *name, struct shape shape)
{
    char text[GRAPH_NAME_MAX];
    snprintf(text, sizeof text, "%s/%s", bundle, name);
    return graph_input(g, text, DTYPE_F32, shape);
}

static void output(struct graph *g, const char *bundle, const char *name, value_id v)
{
    char text[GRAPH_NAME_MAX];
    snprintf(text, sizeof text, "%s/%s", bundle, name);
    graph_output(g, text, v);
}

static value_id pack(const struct building *b, value_id x)
{
    struct pack p = pack_of(b->r);
    const struct op_attrs attrs = {{{.i = p.format}, {.i = p.keep}}};
    return graph_op(b->g, OP_PACK, &attrs, 1, &x);
}

static value_id unpack(const struct building *b, value_id q, const struct shape *shape)
{
    struct pack p = pack_of(b->r);
    struct op_attrs attrs = {{{.i = p.format}, {.i = p.keep}}};
    for (uint32_t i = 0; i < shape->rank; i++)
        attrs.at[2 + i].i = (int64_t)shape->dim[i];
    return graph_op(b->g, OP_UNPACK, &attrs, 1, &q);
}

/* Is the port a parameter's? Then its bundle's name has *n characters. */
static bool is_parameter(const char *port, size_t *n)
{
    static const char *const KINDS[] = {"params", "shared"};
    *n = (size_t)(strchr(port, '/') - port);
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++)
        if (strncmp(port, KINDS[i], 6) == 0 && (port[6] == '.' || port[6] == '/'))
            return true;
    return false;
}

/* "params" -> start, carry, outer; "shared.3" -> start.shared.3, carry.3, outer.3 */
static void bundles_name(struct building *b, const char *port, size_t n)
{
    EMAC_ASSERT(n < 16); /* our own graphs */
    snprintf(b->params, BUNDLE_MAX, "%.*s", (int)n, port);
    const char *stage = strchr(b->params, '.');
    stage = stage == NULL ? "" : stage;
    snprintf(b->start, BUNDLE_MAX, stage[0] == 0 ? "start" : "start.%.20s", b->params);
    snprintf(b->carry, BUNDLE_MAX, "carry%.10s", stage);
    snprintf(b->outer, BUNDLE_MAX, "outer%.10s", stage);
}

static size_t count_of(const struct shape *shape)
{
    size_t n = 0;
    bool ok = shape_count(shape, &n);
    EMAC_ASSERT(ok);
    return n;
}

/* Of `fragments`, that of the middle of a parameter of `n` numbers with `before` numbers of all the
 * `whole` before it: each is a run of whole parameters, of about equal size. */
static uint32_t fragment_of(uint32_t fragments, uint64_t before, uint64_t n, uint64_t whole)
{
    return (uint32_t)(fragments * (2 * before + n) / (2 * whole));
}

uint64_t local_weights(const struct graph *init)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < graph_output_count(init); i++) {
        const struct graph_port port = graph_output_at(init, i);
        size_t n;
        sum += is_parameter(port.name, &n) ? count_of(&port.shape) : 0;
    }
    return sum;
}

typedef void each_fn(struct building *b, const char *name, struct shape shape);

/* Call `each` for every parameter that `init` gives, in its order; with a cut for those of the
 * fragment, and `other`, unless it is NULL, for the rest. */
static enum emac_status each_parameter(const struct graph *init, struct building *b, each_fn *each,
                                       each_fn *other, struct emac_err *err)
{
    uint32_t count = graph_output_count(init);
    uint64_t whole = local_weights(init), before = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct model_param p;
        struct graph_port port = graph_output_at(init, i);
        each_fn *call = each;
        size_t n;
        if (!is_parameter(port.name, &n))
            continue;
        if (port.dtype != DTYPE_F32)
            return emac_fail(err, EMAC_INVALID,
                             "local SGD moves f32 weights, and '%s' is stored as %s: set "
                             "model.storage to f32",
                             port.name, dtype_name(port.dtype));
        bundles_name(b, port.name, n);
        bool fits = emac_strcpy(p.name, sizeof p.name, port.name + n + 1);
        EMAC_ASSERT(fits);
        n = count_of(&port.shape);
        if (b->cut != NULL && fragment_of(b->cut->fragments, before, n, whole) != b->cut->at)
            call = other;
        before += n;
        if (call != NULL)
            call(b, p.name, port.shape); /* it may add outputs to `init`, and so move port.name */
    }
    return EMAC_OK;
}

/* The largest parameter's numbers, and whether each of so many fragments has one. */
static bool all_have_some(const struct graph *init, uint32_t fragments, uint64_t *largest)
{
    uint64_t whole = local_weights(init), before = 0;
    uint32_t next = 0;
    *largest = 0;
    for (uint32_t i = 0; i < graph_output_count(init); i++) {
        const struct graph_port port = graph_output_at(init, i);
        size_t n;
        if (!is_parameter(port.name, &n))
            continue;
        n = count_of(&port.shape);
        next += fragment_of(fragments, before, n, whole) == next;
        *largest = n > *largest ? n : *largest;
        before += n;
    }
    return next == fragments;
}

enum emac_status local_fragments_check(const struct graph *init, const struct local_recipe *r,
                                       struct emac_err *err)
{
    uint64_t largest;
    uint32_t most = r->fragments;
    if (r->fragments <= 1 || all_have_some(init, r->fragments, &largest))
        return EMAC_OK;
    while (most > 1 && (r->inner_steps % most != 0 || !all_have_some(init, most, &largest)))
        most--;
    return emac_fail(err, EMAC_INVALID,
                     "spread.fragments %u leave one without a parameter: of the model's %llu "
                     "weights %llu lie in one tensor; take %u",
                     r->fragments, (unsigned long long)local_weights(init),
                     (unsigned long long)largest, most);
}

/* ---- the initial state ---- */

static void zeros(struct building *b, const char *name, struct shape shape)
{
    if (local_carries_from_start(b->r))
        output(b->g, b->carry, name, model_fill(b->g, shape, 0.0f));
    if (local_has_momentum(b->r))
        output(b->g, b->outer, name, model_fill(b->g, shape, 0.0f));
}

enum emac_status local_init_extend(struct graph *init, const struct local_recipe *r,
                                   struct emac_err *err)
{
    struct building b = {.g = init, .r = r};
    enum emac_status st = each_parameter(init, &b, zeros, NULL, err);
    return st == EMAC_OK ? graph_status(init, err) : st;
}

/* ---- the begin and the end of a replica's steps ---- */

static void resumed(struct building *b, const char *name, struct shape shape)
{
    value_id common = input(b->g, "params", name, shape);
    output(b->g, "params", name, minus(b, common, input(b->g, b->carry, name, shape)));
}

enum emac_status local_begin_graph(const struct graph *init, const struct local_recipe *r,
                                   struct graph **out, struct emac_err *err)
{
    *out = NULL;
    if (r->resume == RESUME_COMMON || !local_has_carry(r))
        return EMAC_OK;
    struct building b = {.g = graph_new(), .r = r};
    b.minus_one = number(b.g, -1.0);
    enum emac_status st = each_parameter(init, &b, resumed, NULL, err);
    return graph_end(b.g, st, out, err);
}

/* A value of the task that goes on as it is. */
static void pass(struct building *b, const char *bundle, const char *name, struct shape shape)
{
    output(b->g, bundle, name, input(b->g, bundle, name, shape));
}

static void passed(struct building *b, const char *name, struct shape shape)
{
    pass(b, b->params, name, shape);
}

static void merged(struct building *b, const char *name, struct shape shape)
{
    value_id own = input(b->g, b->params, name, shape), v = input(b->g, b->start, name, shape);
    if (b->r->overlap > 0)
        v = op2(b->g, OP_ADD, v, minus(b, own, input(b->g, "at", name, shape)));
    if (local_has_carry(b->r) && b->r->resume == RESUME_OWN)
        v = minus(b, v, input(b->g, b->carry, name, shape));
    output(b->g, b->params, name, v);
}

enum emac_status local_merge_graph(const struct graph *init, const struct local_recipe *r,
                                   const struct local_cut *cut, struct graph **out,
                                   struct emac_err *err)
{
    struct building b = {.g = graph_new(), .r = r, .cut = cut};
    b.minus_one = number(b.g, -1.0);
    enum emac_status st = each_parameter(init, &b, merged, passed, err);
    return graph_end(b.g, st, out, err);
}

enum emac_status local_pass_graph(const struct graph *init, struct graph **out,
                                  struct emac_err *err)
{
    struct building b = {.g = graph_new()};
    enum emac_status st = each_parameter(init, &b, passed, NULL, err);
    return graph_end(b.g, st, out, err);
}

static void delta(struct building *b, const char *name, struct shape shape)
{
    value_id start = input(b->g, b->start, name, shape), sent;
    value_id own = input(b->g, b->params, name, shape), way = minus(b, start, own);
    if (b->cut != NULL)
        output(b->g, b->params, name, own);
    if (!local_has_carry(b->r)) {
        output(b->g, "delta", name, way);
        return;
    }
    if (b->r->resume == RESUME_COMMON) {
        value_id kept = op2(b->g, OP_SCALE, input(b->g, b->carry, name, shape), b->feedback);
        way = op2(b->g, OP_ADD, kept, way);
    }
    sent = pack(b, way);
    output(b->g, "delta", name, sent);
    output(b->g, b->carry, name, minus(b, way, unpack(b, sent, &shape)));
}

/* Of a fragment whose turn it is not. */
static void untold(struct building *b, const char *name, struct shape shape)
{
    passed(b, name, shape);
    if (local_carries_from_start(b->r))
        pass(b, b->carry, name, shape);
}

/* Of each metric of an optimiser step: "<to><metric>" = "<from><metric>" * scale. */
static void metrics(struct graph *g, const struct graph *step, const char *from, const char *to,
                    value_id scale)
{
    for (uint32_t i = 0; step != NULL && i < graph_output_count(step); i++) {
        char in[GRAPH_NAME_MAX], out[GRAPH_NAME_MAX];
        struct graph_port port = graph_output_at(step, i);
        if (strncmp(port.name, METRICS, sizeof METRICS - 1) != 0)
            continue;
        snprintf(in, sizeof in, "%s%s", from, port.name + sizeof METRICS - 1);
        snprintf(out, sizeof out, "%s%s", to, port.name + sizeof METRICS - 1);
        value_id v = graph_input(g, in, port.dtype, port.shape);
        graph_output(g, out, scale == VALUE_NONE ? v : op2(g, OP_SCALE, v, scale));
    }
}

enum emac_status local_delta_graph(const struct graph *init, const struct graph *step,
                                   const struct local_recipe *r, const struct local_cut *cut,
                                   struct graph **out, struct emac_err *err)
{
    struct building b = {.g = graph_new(), .r = r, .cut = cut};
    b.minus_one = number(b.g, -1.0);
    if (local_has_carry(r) && r->resume == RESUME_COMMON)
        b.feedback = number(b.g, r->feedback);
    enum emac_status st = each_parameter(init, &b, delta, untold, err);
    if (step != NULL)
        metrics(b.g, step, "total/", "delta/metrics.",
                graph_input(b.g, "args/steps_inv", DTYPE_F32, SHAPE1(1)));
    return graph_end(b.g, st, out, err);
}

enum emac_status local_common_graph(const struct graph *init, const struct graph *step,
                                    struct graph **out, struct emac_err *err)
{
    struct building b = {.g = graph_new()};
    enum emac_status st = each_parameter(init, &b, passed, NULL, err);
    metrics(b.g, step, "total/", "metrics/",
            graph_input(b.g, "args/steps_inv", DTYPE_F32, SHAPE1(1)));
    return graph_end(b.g, st, out, err);
}

/* ---- what a delta means ---- */

static void decoded(struct building *b, const char *name, struct shape shape)
{
    char text[GRAPH_NAME_MAX];
    size_t n = count_of(&shape);
    struct pack p = pack_of(b->r);
    snprintf(text, sizeof text, "part/%s", name);
    value_id q =
        graph_input(b->g, text, DTYPE_U8, SHAPE2(pack_blocks(&p, n), pack_block_bytes(&p)));
    output(b->g, "sum", name, unpack(b, q, &shape));
}

enum emac_status local_decode_graph(const struct graph *init, const struct graph *step,
                                    const struct local_recipe *r, const struct local_cut *cut,
                                    struct graph **out, struct emac_err *err)
{
    *out = NULL;
    if (r->delta == DELTA_F32)
        return EMAC_OK;
    struct building b = {.g = graph_new(), .r = r, .cut = cut};
    enum emac_status st = each_parameter(init, &b, decoded, NULL, err);
    metrics(b.g, step, "part/metrics.", "sum/metrics.", VALUE_NONE);
    return graph_end(b.g, st, out, err);
}

/* ---- what an untrusted delta counts for ---- */

static void admission_note(struct building *b, const char *name, struct shape shape)
{
    struct admission *a = &b->admission[b->count++];
    *a = (struct admission){input(b->g, "delta", name, shape), VALUE_NONE};
    if (local_has_momentum(b->r)) {
        a->center = op2(b->g, OP_SCALE, input(b->g, "outer", name, shape), b->center);
        a->away = minus(b, a->away, a->center);
    }
    value_id square = graph_op(b->g, OP_SUMSQ, NULL, 1, &a->away);
    b->total = b->total == VALUE_NONE ? square : op2(b->g, OP_ADD, b->total, square);
}

static void admitted(struct building *b, const char *name, struct shape shape)
{
    const struct admission *a = &b->admission[b->count++];
    value_id v = op2(b->g, OP_SCALE, a->away, b->coef);
    if (a->center != VALUE_NONE)
        v = op2(b->g, OP_ADD, a->center, v);
    output(b->g, "sum", name, op2(b->g, OP_SCALE, v, b->weight));
}

static void admitted_metrics(struct building *b, const struct graph *step)
{
    struct graph *g = b->g;
    graph_output(g, "metrics/distance", graph_op(g, OP_SQRT, NULL, 1, &b->total));
    for (uint32_t i = 0; i < graph_output_count(step); i++) {
        char in[GRAPH_NAME_MAX], out[GRAPH_NAME_MAX];
        struct graph_port port = graph_output_at(step, i);
        if (strncmp(port.name, METRICS, sizeof METRICS - 1) != 0)
            continue;
        snprintf(in, sizeof in, "delta/metrics.%s", port.name + sizeof METRICS - 1);
        snprintf(out, sizeof out, "sum/metrics.%s", port.name + sizeof METRICS - 1);
        value_id v = graph_input(g, in, port.dtype, port.shape);
        graph_output(g, out, op2(g, OP_SCALE, v, b->weight));
        graph_output(g, port.name, v);
    }
}

enum emac_status local_admit_graph(const struct graph *init, const struct graph *step,
                                   const struct local_recipe *r, double weight, struct graph **out,
                                   struct emac_err *err)
{
    struct building b = {.g = graph_new(), .r = r, .total = VALUE_NONE};
    enum emac_status st;
    *out = NULL;
    b.minus_one = number(b.g, -1.0);
    b.weight = number(b.g, weight);
    if (local_has_momentum(r))
        b.center = number(b.g, 1.0 - r->outer_momentum);
    EMAC_TRY(st, emac_alloc(&b.admission, graph_output_count(init), sizeof *b.admission, err));
    EMAC_TRY(st, each_parameter(init, &b, admission_note, NULL, err));
    b.coef = op2(b.g, OP_CLIP_COEF, b.total, number(b.g, r->max_norm));
    b.count = 0;
    EMAC_TRY(st, each_parameter(init, &b, admitted, NULL, err));
    admitted_metrics(&b, step);
out:
    free(b.admission);
    return graph_end(b.g, st, out, err);
}

/* ---- the outer step ---- */

static void outer(struct building *b, const char *name, struct shape shape)
{
    struct graph *g = b->g;
    value_id start = input(g, b->params, name, shape);
    value_id mean = op2(g, OP_SCALE, input(g, "sum", name, shape), b->count_inv), way = mean;
    if (local_has_momentum(b->r)) {
        value_id u = op2(g, OP_SCALE, input(g, b->outer, name, shape), b->momentum);
        u = op2(g, OP_ADD, u, mean);
        output(g, b->outer, name, u);
        way = op2(g, OP_ADD, mean, op2(g, OP_SCALE, u, b->momentum));
    }
    output(g, b->params, name, minus(b, start, op2(g, OP_SCALE, way, b->lr)));
}

/* Of a fragment that was not told. */
static void stayed(struct building *b, const char *name, struct shape shape)
{
    passed(b, name, shape);
    if (local_has_momentum(b->r))
        pass(b, b->outer, name, shape);
}

enum emac_status local_outer_graph(const struct graph *init, const struct graph *step,
                                   const struct local_recipe *r, const struct local_cut *cut,
                                   struct graph **out, struct emac_err *err)
{
    struct building b = {.g = graph_new(), .r = r, .cut = cut};
    b.minus_one = number(b.g, -1.0);
    b.count_inv = number(b.g, 1.0 / (double)r->replicas);
    b.lr = number(b.g, r->outer_lr);
    if (local_has_momentum(r))
        b.momentum = number(b.g, r->outer_momentum);
    enum emac_status st = each_parameter(init, &b, outer, stayed, err);
    metrics(b.g, step, "sum/metrics.", "metrics/", b.count_inv);
    return graph_end(b.g, st, out, err);
}

/* Where a model is cut into stages.
 *
 * A boundary lies before a forward node. The forward nodes are gone through in BUCKETS_MAX equal
 * shares of the work at most; the boundary of each over which the fewest bytes go is a candidate,
 * and among these the best cut is found by dynamic programming: best[s][b] is the least cost of
 * the dearest stage, for its share, when s + 1 stages end at candidate b. All in integers, so that
 * every machine finds the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "graph/stages_internal.h"

#define BUCKETS_MAX 1024u
#define FROZEN      "frozen."
#define BASE        "base/"
#define COST_NONE   UINT64_MAX
#define FLOPS_MAX   ((uint64_t)1 << 60) /* of a graph: sums of costs stay below 2^64 */

struct boundary {
    uint32_t node;     /* the first node after it */
    uint32_t weights;  /* first used before it, and by one stage alone wherever one cuts */
    uint64_t done;     /* work before it: gradients and forward pass, and its weights */
    uint64_t again;    /* forward pass alone: what a stage but the last does twice */
    uint64_t crossing; /* cost of what goes over it */
};

struct planning {
    const struct graph *g;
    uint32_t forward;    /* nodes of the forward pass */
    uint32_t *last;      /* per value: the last forward node that it or its gradient serves */
    uint32_t *first;     /* per input: the first forward node that uses it, NODE_NONE */
    struct boundary *at; /* per forward node, and the end */
    struct boundary *pick;
    uint32_t picks;
    const uint32_t *share; /* per stage; NULL: alike */
    uint64_t *best;        /* [stage][pick] */
    uint32_t *from;        /* the pick before */
};

static void planning_release(struct planning *p)
{
    free(p->last);
    free(p->first);
    free(p->at);
    free(p->pick);
    free(p->best);
    free(p->from);
}

static enum emac_status planning_init(struct planning *p, const struct graph *g, uint32_t stages,
                                      struct emac_err *err)
{
    size_t cells = (size_t)stages * (BUCKETS_MAX + 2);
    enum emac_status st;

    *p = (struct planning){.g = g};
    while (p->forward < g->nodes && g->node[p->forward].origin == NODE_NONE)
        p->forward++;
    EMAC_TRY(st, emac_alloc(&p->last, (size_t)g->values + 1, sizeof(*p->last), err));
    EMAC_TRY(st, emac_alloc(&p->first, (size_t)g->inputs + 1, sizeof(*p->first), err));
    EMAC_TRY(st, emac_alloc(&p->at, (size_t)p->forward + 1, sizeof(*p->at), err));
    EMAC_TRY(st, emac_alloc(&p->pick, BUCKETS_MAX + 2, sizeof(*p->pick), err));
    EMAC_TRY(st, emac_alloc(&p->best, cells, sizeof(*p->best), err));
    EMAC_TRY(st, emac_alloc(&p->from, cells, sizeof(*p->from), err));
    for (uint32_t i = 0; i < g->inputs; i++)
        p->first[i] = NODE_NONE;
out:
    return st;
}

/* The forward node that node i belongs to. */
static uint32_t root_of(const struct planning *p, uint32_t i)
{
    uint32_t origin = p->g->node[i].origin;

    if (origin != NODE_NONE)
        return origin;
    return i < p->forward ? i : p->forward - 1;
}

static void uses_scan(struct planning *p)
{
    const struct graph *g = p->g;

    for (uint32_t i = 0; i < g->nodes; i++) {
        const struct op_info *info = op_info(g->node[i].op);
        uint32_t root = root_of(p, i);

        for (uint32_t k = 0; k < info->inputs; k++) {
            value_id v = g->node[i].in[k];
            uint32_t slot = g->value[v].slot;

            p->last[v] = p->last[v] > root ? p->last[v] : root;
            if (g->value[v].node == NODE_NONE && i < p->forward && p->first[slot] == NODE_NONE)
                p->first[slot] = i;
        }
    }
}

const char *stage_base_weight(const char *port)
{
    return strncmp(port, BASE, strlen(BASE)) == 0 ? port + strlen(BASE) : NULL;
}

/* A weight lies with its first user; frozen ones with each, so the first has one of its own. */
static void weights_weigh(struct planning *p)
{
    const struct graph *g = p->g;

    for (uint32_t i = 0; i < g->inputs; i++) {
        value_id v = g->input[i].value;
        bool frozen = stage_base_weight(g->input[i].name) != NULL;

        if ((!frozen && strncmp(g->input[i].name, "params/", 7) != 0) || p->first[i] == NODE_NONE)
            continue;
        p->at[p->first[i] + 1].weights += frozen || p->last[v] == p->first[i];
        p->at[p->first[i] + 1].done +=
            graph_value_bytes(g, v) * (frozen ? STAGE_FROZEN_FLOPS : STAGE_WEIGHT_FLOPS);
    }
}

/* Work of each forward node with what follows from it, and bytes by a difference array. */
static void nodes_weigh(struct planning *p)
{
    const struct graph *g = p->g;

    for (uint32_t i = 0; i < g->nodes; i++) {
        uint64_t flops = graph_node_flops(g, i);
        uint32_t root = root_of(p, i);

        p->at[root + 1].done += flops;
        if (i < p->forward)
            p->at[i + 1].again += flops;
    }
    for (uint32_t i = 0; i < p->forward; i++) {
        const struct graph_node *n = &g->node[i];
        const struct op_info *info = op_info(n->op);

        /* What takes nothing is made wherever it is needed. */
        for (uint32_t k = 0; k < info->outputs && info->inputs > 0; k++) {
            value_id v = n->out + k;

            if (p->last[v] <= i)
                continue;
            p->at[i + 1].crossing += graph_value_bytes(g, v);
            p->at[p->last[v] + 1].crossing -= graph_value_bytes(g, v);
        }
    }
    weights_weigh(p);
    for (uint32_t b = 0; b <= p->forward; b++) {
        struct boundary *at = &p->at[b];

        at->node = b;
        if (b == 0)
            continue;
        at->weights += at[-1].weights;
        at->done += at[-1].done;
        at->again += at[-1].again;
        at->crossing += at[-1].crossing;
    }
}

/* Candidates: the beginning, the cheapest of each bucket, the end. */
static void picks_choose(struct planning *p)
{
    uint64_t all = p->at[p->forward].done, share = all / BUCKETS_MAX + 1;

    p->pick[p->picks++] = p->at[0];
    for (uint32_t b = 1; b < p->forward; b++) {
        struct boundary *prev = &p->pick[p->picks - 1];

        if (p->picks > 1 && prev->done / share == p->at[b].done / share) {
            if (p->at[b].crossing < prev->crossing)
                *prev = p->at[b];
            continue;
        }
        EMAC_ASSERT(p->picks <= BUCKETS_MAX);
        p->pick[p->picks++] = p->at[b];
    }
    p->pick[p->picks++] = p->at[p->forward];
    for (uint32_t i = 0; i < p->picks; i++)
        p->pick[i].crossing = p->pick[i].crossing * STAGE_BYTE_FLOPS;
}

/* What it is to a stage of that share, so that the largest can be compared. */
static uint64_t for_share(const struct planning *p, uint32_t s, uint64_t cost)
{
    unsigned __int128 each;

    if (p->share == NULL)
        return cost;
    each = (unsigned __int128)cost * STAGE_SHARE_MAX / p->share[s];
    return each < COST_NONE ? (uint64_t)each : COST_NONE - 1;
}

/* Cost of stage s between two candidates; COST_NONE when it has no weight of its own. */
static uint64_t stage_cost(const struct planning *p, uint32_t s, uint32_t a, uint32_t b)
{
    const struct boundary *x = &p->pick[a], *y = &p->pick[b];
    uint64_t cost = y->done - x->done + x->crossing + y->crossing;

    if (x->weights == y->weights)
        return COST_NONE;
    return for_share(p, s, b + 1 == p->picks ? cost : cost + y->again - x->again);
}

static void best_find(struct planning *p, uint32_t stages)
{
    uint32_t n = p->picks;

    for (uint32_t b = 0; b < n; b++)
        p->best[b] = b == 0 ? COST_NONE : stage_cost(p, 0, 0, b);
    for (uint32_t s = 1; s < stages; s++) {
        for (uint32_t b = 0; b < n; b++) {
            uint64_t *best = &p->best[s * n + b];

            *best = COST_NONE;
            for (uint32_t a = 1; a < b; a++) {
                uint64_t before = p->best[(s - 1) * n + a], cost = stage_cost(p, s, a, b);

                cost = cost > before ? cost : before;
                if (cost < *best) {
                    *best = cost;
                    p->from[s * n + b] = a;
                }
            }
        }
    }
}

/* The most stages that could be had, for the sentence. */
static uint32_t stages_possible(const struct planning *p)
{
    uint32_t count = 0, last = 0;

    for (uint32_t i = 1; i < p->picks; i++) {
        count += p->pick[i].weights > last;
        last = p->pick[i].weights;
    }
    return count < STAGES_MAX ? count : STAGES_MAX;
}

static void boundaries_take(const struct planning *p, struct stages *out)
{
    uint32_t n = p->picks, b = n - 1;

    out->begin[out->count] = UINT32_MAX;
    for (uint32_t s = out->count; s-- > 0;) {
        uint32_t a = s == 0 ? 0 : p->from[s * n + b];
        uint64_t twice = s + 1 == out->count ? 0 : p->pick[b].again - p->pick[a].again;

        out->begin[s] = p->pick[a].node;
        out->cost[s] = p->pick[b].done - p->pick[a].done + twice;
        b = a;
    }
}

/* ---- weights ---- */

static int by_name(const void *a, const void *b)
{
    const struct stage_weight *x = a, *y = b;

    return strcmp(x->name, y->name);
}

static uint32_t stage_at(const struct stages *st, uint32_t node)
{
    uint32_t s = 0;

    while (s + 1 < st->count && st->begin[s + 1] <= node)
        s++;
    return s;
}

/* A weight that nothing uses belongs to the first stage. */
static enum emac_status weights_list(const struct planning *p, struct stages *out,
                                     struct emac_err *err)
{
    const struct graph *g = p->g;
    enum emac_status st;

    EMAC_TRY(st, emac_alloc(&out->weight, (size_t)g->inputs + 1, sizeof(*out->weight), err));
    for (uint32_t i = 0; i < g->inputs; i++) {
        struct stage_weight *w = &out->weight[out->weights];
        const char *name = g->input[i].name;

        if (strncmp(name, "params/", 7) != 0)
            continue;
        emac_strcpy(w->name, sizeof(w->name), name + 7);
        w->stage = p->first[i] == NODE_NONE ? 0 : stage_at(out, p->first[i]);
        w->shared = stage_at(out, p->last[g->input[i].value]) != w->stage;
        out->weights++;
    }
    qsort(out->weight, out->weights, sizeof(*out->weight), by_name);
out:
    return st;
}

/* A frozen weight is taken by whoever goes forward with it, and by whoever goes back. */
static enum emac_status frozen_list(const struct graph *g, struct stages *out, struct emac_err *err)
{
    enum emac_status st;

    EMAC_TRY(st, emac_alloc(&out->frozen, (size_t)g->inputs + 1, sizeof(*out->frozen), err));
    for (uint32_t i = 0; i < g->inputs; i++) {
        struct stage_frozen *f = &out->frozen[out->frozens];
        const struct tensor *type = &g->value[g->input[i].value].type;
        const char *name = stage_base_weight(g->input[i].name);

        if (name == NULL)
            continue;
        if (!emac_strcpy(f->name, sizeof(f->name), name))
            return emac_fail(err, EMAC_INVALID, "the name '%s' is too long for a model in stages",
                             g->input[i].name);
        f->dtype = type->dtype;
        f->shape = type->shape;
        for (uint32_t k = 0; k < g->nodes; k++)
            for (uint32_t in = 0; in < op_info(g->node[k].op)->inputs; in++)
                if (g->node[k].in[in] == g->input[i].value)
                    f->users |= 1u << stage_of_node(out, g, k);
        out->frozens++;
    }
out:
    return st;
}

const struct stage_weight *stage_weight_of(const struct stages *st, const char *port)
{
    const char *tensor = strchr(port, '/');
    bool params = strncmp(port, "params/", 7) == 0;
    struct stage_weight key;

    if (!params && strncmp(port, "opt/", 4) != 0 && strncmp(port, "sum/", 4) != 0)
        return NULL;
    if (!params)
        tensor = strchr(tensor, '.'); /* after "m.", "grad." */
    if (tensor == NULL || !emac_strcpy(key.name, sizeof(key.name), tensor + 1))
        return NULL;
    return bsearch(&key, st->weight, st->weights, sizeof(key), by_name);
}

void stage_port_name(const struct stages *st, const char *port, char out[GRAPH_NAME_MAX])
{
    const struct stage_weight *w = stage_weight_of(st, port);
    const char *slash = strchr(port, '/');
    bool params = strncmp(port, "params/", 7) == 0;

    if (st->frozens > 0 && stage_base_weight(port) != NULL)
        snprintf(out, GRAPH_NAME_MAX, "whole%s", slash);
    else if (w == NULL || strncmp(port, "sum/", 4) == 0)
        emac_strcpy(out, GRAPH_NAME_MAX, port);
    else
        snprintf(out, GRAPH_NAME_MAX, "%s.%u%s",
                 !params     ? "opt"
                 : w->shared ? "shared"
                             : "params",
                 w->stage, slash);
}

void stage_frozen_name(uint32_t s, const char *weight, char out[GRAPH_NAME_MAX])
{
    snprintf(out, GRAPH_NAME_MAX, FROZEN "%u/%s", s, weight);
}

bool stage_bundle_is_frozen(const char *name)
{
    return strncmp(name, FROZEN, strlen(FROZEN)) == 0;
}

uint32_t stage_of_node(const struct stages *st, const struct graph *g, uint32_t node)
{
    uint32_t origin = g->node[node].origin;

    return stage_at(st, origin == NODE_NONE ? node : origin);
}

enum emac_status stages_plan(const struct graph *train, uint32_t count, enum stage_form form,
                             const uint32_t *share, struct stages *out, struct emac_err *err)
{
    struct planning p = {0};
    enum emac_status st;

    *out = (struct stages){.count = count, .form = form};
    if (count == 0 || count > STAGES_MAX)
        return emac_fail(err, EMAC_INVALID, "a model cannot have %u stages: take 1 to %d", count,
                         STAGES_MAX);
    EMAC_TRY(st, graph_status(train, err));
    if (graph_flops(train) > FLOPS_MAX)
        return emac_fail(err, EMAC_TOO_LARGE,
                         "a micro-batch of this model takes too many operations to be cut into "
                         "stages: take a smaller micro_batch");
    EMAC_TRY(st, planning_init(&p, train, count, err));
    p.share = share;
    if (p.forward == 0) {
        st = emac_fail(err, EMAC_INVALID, "a graph without operators cannot be cut into stages");
        goto out;
    }
    uses_scan(&p);
    nodes_weigh(&p);
    picks_choose(&p);
    best_find(&p, count);
    if (p.best[count * p.picks - 1] == COST_NONE) {
        st = emac_fail(err, EMAC_INVALID,
                       "the model cannot be cut into %u stages with weights of their own: take at "
                       "most %u",
                       count, stages_possible(&p));
        goto out;
    }
    boundaries_take(&p, out);
    EMAC_TRY(st, weights_list(&p, out, err));
    st = frozen_list(train, out, err);
out:
    planning_release(&p);
    return st;
}

void stages_release(struct stages *st)
{
    free(st->weight);
    free(st->frozen);
    *st = (struct stages){0};
}

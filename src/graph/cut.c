/* Cutting a graph into consecutive pieces for a pipeline.
 *
 * Boundary b lies before needed node number b. The ideal boundary of piece s is where a share of
 * s/stages of the flops is done; near it (within CUT_SLACK of a share) the boundary over which the
 * fewest bytes cross is taken, the lowest on a tie. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "graph/graph_internal.h"

#define CUT_SLACK 0.1

struct cutter {
    const struct graph *g;
    uint32_t *node; /* the needed nodes */
    uint32_t nodes;
    uint32_t *piece_of;   /* per value: piece that makes it; NODE_NONE for inputs, dead values */
    uint32_t *last_piece; /* per value: last piece that uses it, or piece_of */
    value_id *map;        /* per value: its id in the piece being built */
    bool *inside;         /* per node: does it belong to that piece? */
    uint64_t *crossing;   /* per boundary: bytes made before and used after it */
    double *done;         /* per boundary: flops before it */
    uint32_t *start;      /* per piece, and one more: its first needed node */
};

static void cutter_release(struct cutter *c)
{
    free(c->node);
    free(c->piece_of);
    free(c->last_piece);
    free(c->map);
    free(c->inside);
    free(c->crossing);
    free(c->done);
    free(c->start);
}

static enum emac_status cutter_init(struct cutter *c, const struct graph *g, uint32_t stages,
                                    struct emac_err *err)
{
    size_t nodes = (size_t)g->nodes + 1, values = (size_t)g->values + 1;
    enum emac_status st;

    *c = (struct cutter){.g = g};
    EMAC_TRY(st, emac_alloc(&c->node, nodes, sizeof(*c->node), err));
    EMAC_TRY(st, emac_alloc(&c->crossing, nodes, sizeof(*c->crossing), err));
    EMAC_TRY(st, emac_alloc(&c->done, nodes, sizeof(*c->done), err));
    EMAC_TRY(st, emac_alloc(&c->piece_of, values, sizeof(*c->piece_of), err));
    EMAC_TRY(st, emac_alloc(&c->last_piece, values, sizeof(*c->last_piece), err));
    EMAC_TRY(st, emac_alloc(&c->map, values, sizeof(*c->map), err));
    EMAC_TRY(st, emac_alloc(&c->start, (size_t)stages + 1, sizeof(*c->start), err));
    EMAC_TRY(st, emac_alloc(&c->inside, nodes, sizeof(*c->inside), err));
    graph_mark_needed(g, c->inside);
    for (uint32_t i = 0; i < g->nodes; i++)
        if (c->inside[i])
            c->node[c->nodes++] = i;
out:
    return st;
}

/* done[] and crossing[]: the latter by a difference array, +bytes after the maker, -bytes after the
 * last user; modulo 2^64, so that the order does not matter. */
static void boundaries_weigh(struct cutter *c)
{
    const struct graph *g = c->g;
    uint32_t *last = c->last_piece; /* for now: last user's rank */
    double sum = 0;

    for (uint32_t r = 0; r < c->nodes; r++) {
        const struct graph_node *n = &g->node[c->node[r]];
        const struct op_info *info = op_info(n->op);

        c->done[r] = sum;
        sum += (double)graph_node_flops(g, c->node[r]);
        for (uint32_t k = 0; k < info->inputs; k++)
            last[n->in[k]] = r;
        for (uint32_t k = 0; k < info->outputs; k++)
            last[n->out + k] = r;
    }
    c->done[c->nodes] = sum;
    for (uint32_t r = 0; r < c->nodes; r++) {
        const struct graph_node *n = &g->node[c->node[r]];

        for (uint32_t k = 0; k < op_info(n->op)->outputs; k++) {
            uint64_t bytes = graph_value_bytes(g, n->out + k);

            c->crossing[r + 1] += bytes;
            c->crossing[last[n->out + k] + 1] -= bytes;
        }
    }
    for (uint32_t b = 1; b < c->nodes; b++)
        c->crossing[b] += c->crossing[b - 1];
}

static double distance(double a, double b)
{
    return a < b ? b - a : a - b;
}

/* The best boundary for the start of piece s among lo..hi. */
static uint32_t boundary_choose(const struct cutter *c, uint32_t s, uint32_t stages, uint32_t lo,
                                uint32_t hi)
{
    double share = c->done[c->nodes] / stages, ideal = share * s;
    uint32_t best = UINT32_MAX, nearest = lo;

    for (uint32_t b = lo; b <= hi; b++) {
        if (distance(c->done[b], ideal) < distance(c->done[nearest], ideal))
            nearest = b;
        if (distance(c->done[b], ideal) <= CUT_SLACK * share &&
            (best == UINT32_MAX || c->crossing[b] < c->crossing[best]))
            best = b;
    }
    return best == UINT32_MAX ? nearest : best;
}

static void pieces_assign(struct cutter *c, uint32_t stages)
{
    const struct graph *g = c->g;

    for (uint32_t s = 1; s < stages; s++)
        c->start[s] = boundary_choose(c, s, stages, c->start[s - 1] + 1, c->nodes - (stages - s));
    c->start[stages] = c->nodes;
    for (value_id v = 0; v < g->values; v++)
        c->piece_of[v] = c->last_piece[v] = NODE_NONE;
    for (uint32_t s = 0; s < stages; s++) {
        for (uint32_t r = c->start[s]; r < c->start[s + 1]; r++) {
            const struct graph_node *n = &g->node[c->node[r]];

            for (uint32_t k = 0; k < op_info(n->op)->inputs; k++)
                c->last_piece[n->in[k]] = s;
            for (uint32_t k = 0; k < op_info(n->op)->outputs; k++)
                c->piece_of[n->out + k] = c->last_piece[n->out + k] = s;
        }
    }
}

static void cut_name(char out[GRAPH_NAME_MAX], const struct graph *g, value_id v)
{
    snprintf(out, GRAPH_NAME_MAX, "cut/%u", graph_canonical_id(g, v));
}

/* A value made elsewhere becomes an input of the piece. */
static value_id piece_enter(void *ctx, struct graph *piece, value_id v)
{
    const struct cutter *c = ctx;
    const struct graph_value *val = &c->g->value[v];
    char name[GRAPH_NAME_MAX];

    if (val->node == NODE_NONE)
        emac_strcpy(name, sizeof(name), c->g->input[val->slot].name);
    else
        cut_name(name, c->g, v);
    return graph_input(piece, name, val->type.dtype, val->type.shape);
}

static value_id piece_value(struct cutter *c, struct graph *piece, value_id v)
{
    if (c->map[v] == VALUE_NONE)
        c->map[v] = piece_enter(c, piece, v);
    return c->map[v];
}

static void piece_outputs(struct cutter *c, struct graph *piece, uint32_t s, bool final)
{
    const struct graph *g = c->g;
    char name[GRAPH_NAME_MAX];

    for (uint32_t r = c->start[s]; r < c->start[s + 1]; r++) {
        const struct graph_node *n = &g->node[c->node[r]];

        for (uint32_t k = 0; k < op_info(n->op)->outputs; k++) {
            if (c->last_piece[n->out + k] <= s)
                continue;
            cut_name(name, g, n->out + k);
            graph_output(piece, name, c->map[n->out + k]);
        }
    }
    /* An output of the whole that is one of its inputs is handed through by the last piece. */
    for (uint32_t i = 0; i < g->outputs; i++) {
        value_id v = g->output[i].value;

        if (c->piece_of[v] == s || (c->piece_of[v] == NODE_NONE && final))
            graph_output(piece, g->output[i].name, piece_value(c, piece, v));
    }
}

/* Inputs of a piece stand in the order of their first use. */
static struct graph *piece_build(struct cutter *c, uint32_t s, bool final)
{
    const struct graph *g = c->g;
    struct graph *piece = graph_new();

    for (value_id v = 0; v < g->values; v++)
        c->map[v] = VALUE_NONE;
    memset(c->inside, 0, g->nodes * sizeof(*c->inside));
    for (uint32_t r = c->start[s]; r < c->start[s + 1]; r++)
        c->inside[c->node[r]] = true;
    graph_copy_nodes(g, c->inside, piece_enter, c, c->map, piece);
    piece_outputs(c, piece, s, final);
    return piece;
}

/* Names that would be mistaken for values handed from piece to piece. */
static enum emac_status names_check(const struct graph *g, struct emac_err *err)
{
    for (uint32_t i = 0; i < g->inputs + g->outputs; i++) {
        const char *name = i < g->inputs ? g->input[i].name : g->output[i - g->inputs].name;

        if (strncmp(name, "cut/", 4) == 0)
            return emac_fail(err, EMAC_INVALID,
                             "'%s' is named like a value between pieces; a piece cannot be cut",
                             name);
    }
    return EMAC_OK;
}

enum emac_status graph_cut(const struct graph *g, uint32_t stages, struct graph **out,
                           struct emac_err *err)
{
    struct cutter c = {0};
    uint32_t made = 0;
    enum emac_status st;

    EMAC_TRY(st, graph_status(g, err));
    EMAC_TRY(st, names_check(g, err));
    EMAC_TRY(st, cutter_init(&c, g, stages <= g->nodes ? stages : 0, err));
    if (stages == 0 || stages > c.nodes) {
        st = emac_fail(err, EMAC_INVALID, "cannot cut a graph of %u nodes into %u pieces", c.nodes,
                       stages);
        goto out;
    }
    boundaries_weigh(&c);
    pieces_assign(&c, stages);
    for (; made < stages; made++) {
        out[made] = piece_build(&c, made, made + 1 == stages);
        st = graph_status(out[made], err);
        if (st != EMAC_OK) {
            made++;
            break;
        }
    }
out:
    for (uint32_t i = 0; st != EMAC_OK && i < made; i++)
        graph_free(out[i]);
    cutter_release(&c);
    return st;
}

/* Reading the canonical form. Strict: every field is known and of its type, every number in range,
 * and each input and operator passes through the same builder as our own, so what comes out
 * obeys the invariants of graph_internal.h whatever the bytes were. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "graph/graph_internal.h"

/* The parsed tree is larger than its bytes; hostile input is cut off here. */
#define DECODE_ARENA_MAX ((size_t)256 << 20)

static enum emac_status map_check(const struct dagcbor_node *n, const char *const *keys,
                                  const char *what, uint64_t at, struct emac_err *err)
{
    if (n->type != DAGCBOR_MAP)
        return emac_fail(err, EMAC_INVALID, "%s %llu of the graph is not a map", what,
                         (unsigned long long)at);
    if (dagcbor_only(n, keys, err) != EMAC_OK)
        return emac_wrap(err, "%s %llu", what, (unsigned long long)at);
    return EMAC_OK;
}

static enum emac_status shape_read(const struct dagcbor_node *list, struct shape *out,
                                   const char *name, struct emac_err *err)
{
    if (list->seq.count == 0 || list->seq.count > TENSOR_RANK_MAX)
        return emac_fail(err, EMAC_INVALID, "input '%s' has %zu dimensions; 1 to %d are allowed",
                         name, list->seq.count, TENSOR_RANK_MAX);
    *out = (struct shape){.rank = (uint32_t)list->seq.count};
    for (size_t i = 0; i < list->seq.count; i++) {
        const struct dagcbor_node *d = &list->seq.items[i];

        if (d->type != DAGCBOR_U64 || d->u64 == 0 || d->u64 > GRAPH_BYTES_MAX)
            return emac_fail(err, EMAC_INVALID, "bad dimension %zu of input '%s'", i, name);
        out->dim[i] = d->u64;
    }
    return EMAC_OK;
}

static enum emac_status input_decode(struct graph *g, const struct dagcbor_node *n, uint64_t at,
                                     struct emac_err *err)
{
    static const char *const keys[] = {"name", "dtype", "shape", NULL};
    const struct dagcbor_node *dims;
    const char *name, *type;
    enum dtype dtype;
    struct shape shape;
    enum emac_status st;

    EMAC_TRY(st, map_check(n, keys, "input", at, err));
    EMAC_TRY(st, dagcbor_get_str(n, "name", &name, err));
    EMAC_TRY(st, dagcbor_get_str(n, "dtype", &type, err));
    EMAC_TRY(st, dagcbor_get(n, "shape", DAGCBOR_LIST, &dims, err));
    EMAC_TRY(st, shape_read(dims, &shape, name, err));
    dtype = dtype_find(type);
    if (dtype == DTYPE_COUNT)
        return emac_fail(err, EMAC_INVALID,
                         "unknown dtype '%.32s' of input '%s'; one of f32, i32, u8, bf16", type,
                         name);
    graph_input(g, name, dtype, shape);
    st = g->status == EMAC_OK ? EMAC_OK : graph_status(g, err);
out:
    return st;
}

static enum emac_status attr_read(const struct dagcbor_node *v, char kind, const char *name,
                                  struct op_attrs *out, uint32_t slot, struct emac_err *err)
{
    if (kind == 'i' && v->type == DAGCBOR_U64 && v->u64 <= INT64_MAX) {
        out->at[slot].i = (int64_t)v->u64;
        return EMAC_OK;
    }
    if (kind == 'i' && v->type == DAGCBOR_NEG) {
        out->at[slot].i = v->i64;
        return EMAC_OK;
    }
    /* The range check comes first: converting a binary64 out of range is undefined. */
    if (kind == 'f' && v->type == DAGCBOR_F64 && v->f64 >= -0x1.fffffep127 &&
        v->f64 <= 0x1.fffffep127 && (double)(float)v->f64 == v->f64) {
        out->at[slot].f = (float)v->f64;
        return EMAC_OK;
    }
    return emac_fail(err, EMAC_INVALID, "attribute '%s' is not %s", name,
                     kind == 'i' ? "an integer of 64 bits" : "a float that binary32 holds exactly");
}

static enum emac_status attrs_decode(const struct op_info *info, const struct dagcbor_node *map,
                                     struct op_attrs *out, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;

    memset(out, 0, sizeof(*out));
    if (map->seq.count != info->attrs)
        return emac_fail(err, EMAC_INVALID, "%zu attributes; operator '%s' has %u", map->seq.count,
                         info->name, info->attrs);
    for (uint32_t i = 0; i < info->attrs && st == EMAC_OK; i++) {
        const struct dagcbor_node *v = dagcbor_find(map, info->attr_name[i]);

        if (v == NULL)
            return emac_fail(err, EMAC_INVALID, "attribute '%s' of operator '%s' is missing",
                             info->attr_name[i], info->name);
        st = attr_read(v, info->attr_kind[i], info->attr_name[i], out, i, err);
    }
    return st;
}

/* The field is there only when it says something: one graph, one sequence of bytes. */
static enum emac_status store_read(const struct dagcbor_node *n, enum dtype *out,
                                   struct emac_err *err)
{
    const char *text;
    enum emac_status st;

    *out = DTYPE_F32;
    if (dagcbor_find(n, "store") == NULL)
        return EMAC_OK;
    EMAC_TRY(st, dagcbor_get_str(n, "store", &text, err));
    *out = dtype_find(text);
    if (*out != DTYPE_BF16)
        st = emac_fail(err, EMAC_INVALID, "store '%.32s' is not bf16; leave it out for f32", text);
out:
    return st;
}

static enum emac_status node_decode(struct graph *g, const struct dagcbor_node *n, uint64_t at,
                                    struct emac_err *err)
{
    static const char *const keys[] = {"in", "op", "attrs", "store", NULL};
    const struct dagcbor_node *in, *attr_map;
    struct op_attrs attrs;
    value_id id[OP_IN_MAX];
    const char *name;
    enum emac_status st;
    enum dtype store;
    enum op op;

    EMAC_TRY(st, map_check(n, keys, "node", at, err));
    EMAC_TRY(st, dagcbor_get(n, "in", DAGCBOR_LIST, &in, err));
    EMAC_TRY(st, dagcbor_get_str(n, "op", &name, err));
    EMAC_TRY(st, dagcbor_get(n, "attrs", DAGCBOR_MAP, &attr_map, err));
    op = op_find(name);
    if (op == OP_COUNT)
        return emac_fail(err, EMAC_UNSUPPORTED, "node %llu: unknown operator '%.32s'",
                         (unsigned long long)at, name);
    if (attrs_decode(op_info(op), attr_map, &attrs, err) != EMAC_OK ||
        store_read(n, &store, err) != EMAC_OK)
        return emac_wrap(err, "node %llu", (unsigned long long)at);
    if (in->seq.count > OP_IN_MAX)
        return emac_fail(err, EMAC_INVALID, "node %llu (%s) has too many inputs",
                         (unsigned long long)at, name);
    for (size_t i = 0; i < in->seq.count; i++) {
        const struct dagcbor_node *v = &in->seq.items[i];

        if (v->type != DAGCBOR_U64 || v->u64 >= VALUE_NONE)
            return emac_fail(err, EMAC_INVALID, "node %llu (%s): input %zu is not a value's number",
                             (unsigned long long)at, name, i);
        id[i] = (value_id)v->u64;
    }
    graph_node_add(g, op, store, &attrs, (uint32_t)in->seq.count, id);
    st = g->status == EMAC_OK ? EMAC_OK : graph_status(g, err);
out:
    return st;
}

static enum emac_status output_decode(struct graph *g, const struct dagcbor_node *n, uint64_t at,
                                      struct emac_err *err)
{
    static const char *const keys[] = {"name", "value", NULL};
    const char *name;
    enum emac_status st;
    uint64_t v;

    EMAC_TRY(st, map_check(n, keys, "output", at, err));
    EMAC_TRY(st, dagcbor_get_str(n, "name", &name, err));
    EMAC_TRY(st, dagcbor_get_u64(n, "value", VALUE_NONE - 1, &v, err));
    graph_output(g, name, (value_id)v);
    st = g->status == EMAC_OK ? EMAC_OK : graph_status(g, err);
out:
    return st;
}

typedef enum emac_status item_decode(struct graph *g, const struct dagcbor_node *n, uint64_t at,
                                     struct emac_err *err);

static enum emac_status list_decode(struct graph *g, const struct dagcbor_node *root,
                                    const char *key, item_decode *each, struct emac_err *err)
{
    const struct dagcbor_node *list;
    enum emac_status st = dagcbor_get(root, key, DAGCBOR_LIST, &list, err);

    for (size_t i = 0; st == EMAC_OK && i < list->seq.count; i++)
        st = each(g, &list->seq.items[i], i, err);
    return st;
}

static enum emac_status root_decode(struct graph *g, const struct dagcbor_node *root,
                                    struct emac_err *err)
{
    static const char *const keys[] = {"nodes", "inputs", "outputs", "numerics", NULL};
    enum emac_status st;
    uint64_t numerics;

    if (root->type != DAGCBOR_MAP)
        return emac_fail(err, EMAC_INVALID, "a graph must be a map");
    EMAC_TRY(st, dagcbor_only(root, keys, err));
    EMAC_TRY(st, dagcbor_get_u64(root, "numerics", UINT64_MAX, &numerics, err));
    if (numerics != NUMERICS_VERSION)
        return emac_fail(err, EMAC_UNSUPPORTED, "numerics version %llu; this program knows %d",
                         (unsigned long long)numerics, NUMERICS_VERSION);
    EMAC_TRY(st, list_decode(g, root, "inputs", input_decode, err));
    EMAC_TRY(st, list_decode(g, root, "nodes", node_decode, err));
    EMAC_TRY(st, list_decode(g, root, "outputs", output_decode, err));
    if (g->outputs == 0)
        return emac_fail(err, EMAC_INVALID, "the graph has no outputs; name at least one");
    st = graph_status(g, err);
out:
    return st;
}

enum emac_status graph_decode(struct graph **out, const void *data, size_t n, struct emac_err *err)
{
    const struct dagcbor_node *root;
    struct graph *g = NULL;
    struct arena a;
    enum emac_status st;

    *out = NULL;
    if (n > GRAPH_ENCODED_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "an encoded graph of %zu bytes; the limit is %zu", n,
                         GRAPH_ENCODED_MAX);
    arena_init(&a, DECODE_ARENA_MAX);
    EMAC_TRY(st, dagcbor_parse(&a, data, n, &root, err));
    g = graph_new();
    EMAC_TRY(st, root_decode(g, root, err));
    *out = g;
    g = NULL;
out:
    graph_free(g);
    arena_release(&a);
    return st;
}

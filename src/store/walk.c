#include "store/walk.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/assert.h"
#include "codec/dagcbor.h"
#include "store/internal.h"

#define LINKS_ARENA_MAX (32u << 20) /* a tree of some 500,000 items; what has more is not ours */

typedef enum emac_status link_fn(void *ctx, const struct cid *cid, uint64_t offset, uint64_t size,
                                 struct emac_err *err);

/* ---- links of one block ---- */

static enum emac_status node_links(const struct unixfs_node *node, link_fn *each, void *ctx,
                                   struct emac_err *err)
{
    bool file = node->kind == UNIXFS_FILE;
    uint64_t offset = file ? node->inline_data.len : 0;
    for (size_t i = 0; i < node->count; i++) {
        uint64_t size = file ? node->link[i].size : UINT64_MAX;
        enum emac_status st = each(ctx, &node->link[i].cid, offset, size, err);
        if (st != EMAC_OK)
            return st;
        offset += file ? size : 0; /* the parser checked the sum */
    }
    return EMAC_OK;
}

static enum emac_status pb_links(const void *data, size_t n, link_fn *each, void *ctx,
                                 struct emac_err *err)
{
    struct unixfs_node node;
    enum emac_status st = unixfs_node_parse(&node, CID_DAG_PB, data, n, err);
    if (st != EMAC_OK)
        return st;
    st = node_links(&node, each, ctx, err);
    unixfs_node_release(&node);
    return st;
}

/* Depth is bounded by the parser (DAGCBOR_DEPTH_MAX). */
static enum emac_status cbor_node_links(const struct dagcbor_node *node, link_fn *each, void *ctx,
                                        struct emac_err *err)
{
    if (node->type == DAGCBOR_CID)
        return each(ctx, &node->cid, 0, UINT64_MAX, err);
    if (node->type != DAGCBOR_LIST && node->type != DAGCBOR_MAP)
        return EMAC_OK;
    size_t items = node->seq.count * (node->type == DAGCBOR_MAP ? 2 : 1);
    for (size_t i = 0; i < items; i++) {
        enum emac_status st = cbor_node_links(&node->seq.items[i], each, ctx, err);
        if (st != EMAC_OK)
            return st;
    }
    return EMAC_OK;
}

static enum emac_status cbor_links(const void *data, size_t n, link_fn *each, void *ctx,
                                   struct emac_err *err)
{
    struct arena a;
    const struct dagcbor_node *node;
    arena_init(&a, LINKS_ARENA_MAX);
    enum emac_status st = dagcbor_parse(&a, data, n, &node, err);
    if (st == EMAC_OK)
        st = cbor_node_links(node, each, ctx, err);
    arena_release(&a);
    return st;
}

enum emac_status store_block_links(const struct cid *cid, const void *data, size_t n, link_fn *each,
                                   void *ctx, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    if (cid->codec == CID_DAG_PB)
        st = pb_links(data, n, each, ctx, err);
    else if (cid->codec == CID_DAG_CBOR)
        st = cbor_links(data, n, each, ctx, err);
    return st == EMAC_OK || err == NULL ? st : emac_wrap(err, "'%s'", store_name_of(cid).text);
}

/* ---- the walk ---- */

/* A block still to be visited. The stack holds the next one on top. */
struct todo {
    struct cid cid;
    bool in_file;
    uint64_t offset, size;
};

/* What was pushed of a block that was reported. In a walk of a range, a block on its edge was
 * descended into for a part only and may occur again; at most two at each depth lie on an edge, so
 * that repetition is harmless. */
static char PARTLY, WHOLE;

struct store_walk {
    struct store *s;
    struct store_walk_options options;
    bool root_is_file, started;
    struct todo *todo;
    size_t count, cap, visited;
    struct cid_map seen; /* blocks reported: to PARTLY or WHOLE */
    struct emac_buf block;
    /* While links are pushed: the file position of the block they are in. */
    bool push_in_file;
    uint64_t push_offset;
};

enum emac_status store_walk_new(struct store *s, const struct cid *root,
                                const struct store_walk_options *options, struct store_walk **out,
                                struct emac_err *err)
{
    struct store_walk *w;
    *out = NULL;
    enum emac_status st = emac_alloc(&w, 1, sizeof *w, err);
    if (st != EMAC_OK)
        return st;
    w->s = s;
    w->options = *options;
    cid_map_init(&w->seen, s->secret);
    emac_buf_init(&w->block, UNIXFS_BLOCK_MAX);
    st = store_array_grow(&w->todo, 0, &w->cap, sizeof *w->todo, STORE_ITEMS_MAX, err);
    if (st != EMAC_OK) {
        store_walk_free(w);
        return st;
    }
    w->todo[w->count++] = (struct todo){.cid = *root};
    *out = w;
    return EMAC_OK;
}

void store_walk_free(struct store_walk *w)
{
    if (w == NULL)
        return;
    free(w->todo);
    cid_map_release(&w->seen);
    emac_buf_release(&w->block);
    free(w);
}

static bool ranged(const struct store_walk *w)
{
    return w->root_is_file && (w->options.from > 0 || w->options.to < UINT64_MAX);
}

static bool on_edge(const struct store_walk *w, const struct store_walk_item *item)
{
    return ranged(w) && item->in_file &&
           (item->offset < w->options.from || item->offset + item->size > w->options.to);
}

static enum emac_status push_link(void *ctx, const struct cid *cid, uint64_t offset, uint64_t size,
                                  struct emac_err *err)
{
    struct store_walk *w = ctx;
    struct todo t = {.cid = *cid, .in_file = w->push_in_file && size != UINT64_MAX};
    if (t.in_file) {
        t.offset = w->push_offset + offset;
        t.size = size;
        bool outside = t.offset >= w->options.to ||
                       (t.offset + size <= w->options.from && w->options.from > 0);
        if (ranged(w) && outside)
            return EMAC_OK;
    }
    enum emac_status st =
        store_array_grow(&w->todo, w->count, &w->cap, sizeof *w->todo, STORE_ITEMS_MAX, err);
    if (st == EMAC_OK)
        w->todo[w->count++] = t;
    return st;
}

/* Links come first to last; the stack wants the first on top. */
static void reverse(struct todo *t, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        struct todo swap = t[i];
        t[i] = t[n - 1 - i];
        t[n - 1 - i] = swap;
    }
}

static bool descend(const struct store_walk *w)
{
    return w->options.scope == STORE_SCOPE_ALL ||
           (w->options.scope == STORE_SCOPE_ENTITY && w->root_is_file);
}

/* Inside a file, what a block holds must be what the link to it says, or positions mean nothing. Of
 * the root we learn the size here, and whether it is a file at all. */
static enum emac_status content_check(struct store_walk *w, struct store_walk_item *item, bool file,
                                      uint64_t size, struct emac_err *err)
{
    if (!w->started) {
        w->started = true;
        w->root_is_file = item->in_file = file;
        item->size = file ? size : 0;
        return EMAC_OK;
    }
    if (!item->in_file || (file && size == item->size))
        return EMAC_OK;
    return emac_fail(err, EMAC_CORRUPT, "'%s' does not hold the %llu bytes its parent says",
                     store_name_of(&item->cid).text, (unsigned long long)item->size);
}

static enum emac_status visit_pb(struct store_walk *w, struct store_walk_item *item,
                                 struct emac_err *err)
{
    struct unixfs_node node;
    enum emac_status st = unixfs_node_parse(&node, CID_DAG_PB, w->block.data, w->block.len, err);
    if (st != EMAC_OK)
        return err == NULL ? st : emac_wrap(err, "'%s'", store_name_of(&item->cid).text);
    st = content_check(w, item, node.kind == UNIXFS_FILE, node.size, err);
    if (st == EMAC_OK && descend(w)) {
        w->push_in_file = item->in_file;
        w->push_offset = item->offset;
        st = node_links(&node, push_link, w, err);
    }
    unixfs_node_release(&node);
    return st;
}

static enum emac_status visit_cbor(struct store_walk *w, struct store_walk_item *item,
                                   struct emac_err *err)
{
    enum emac_status st = content_check(w, item, false, 0, err);
    w->push_in_file = false;
    if (st == EMAC_OK && descend(w))
        st = store_block_links(&item->cid, w->block.data, w->block.len, push_link, w, err);
    return st;
}

/* A raw leaf on disk whose size is not what its parent says was torn; reading it removes it. */
static enum emac_status visit_raw(struct store_walk *w, struct store_walk_item *item,
                                  struct emac_err *err)
{
    if (w->started && item->in_file && item->block_size != item->size) {
        item->present = store_block_get(w->s, &item->cid, &w->block, NULL) == EMAC_OK;
        if (!item->present)
            return EMAC_OK;
    }
    return content_check(w, item, true, item->block_size, err);
}

/* Fill item for one block of the stack, and push what is below it. A block that vanishes or turns
 * out damaged while we look is a missing one. */
static enum emac_status visit(struct store_walk *w, const struct todo *t,
                              struct store_walk_item *item, struct emac_err *err)
{
    *item = (struct store_walk_item){
        .cid = t->cid, .in_file = t->in_file, .offset = t->offset, .size = t->size};
    item->present = store_block_has(w->s, &t->cid, &item->block_size);
    if (!item->present)
        return EMAC_OK;
    if (t->cid.codec == CID_RAW)
        return visit_raw(w, item, err);
    enum emac_status st = store_block_get(w->s, &t->cid, &w->block, err);
    item->present = st == EMAC_OK;
    if (st == EMAC_NOT_FOUND || st == EMAC_CORRUPT)
        return EMAC_OK;
    if (st != EMAC_OK)
        return st;
    size_t base = w->count;
    st = t->cid.codec == CID_DAG_PB ? visit_pb(w, item, err) : visit_cbor(w, item, err);
    reverse(w->todo + base, w->count - base);
    return st;
}

enum emac_status store_walk_next(struct store_walk *w, struct store_walk_item *item,
                                 struct emac_err *err)
{
    *item = (struct store_walk_item){0};
    while (w->count > 0) {
        struct todo t = w->todo[--w->count];
        const char *seen = cid_map_get(&w->seen, &t.cid);
        if (seen == &WHOLE && !w->options.duplicates)
            continue;
        if (++w->visited > STORE_ITEMS_MAX)
            return emac_fail(err, EMAC_TOO_LARGE, "a DAG of more than %u blocks", STORE_ITEMS_MAX);
        enum emac_status st = visit(w, &t, item, err);
        if (st == EMAC_OK)
            st = cid_map_put(&w->seen, &t.cid, on_edge(w, item) ? &PARTLY : &WHOLE, err);
        if (st != EMAC_OK)
            return st;
        if (seen != NULL && !w->options.duplicates)
            continue;
        return EMAC_OK;
    }
    *item = (struct store_walk_item){0};
    return EMAC_OK;
}

/* ---- the public forms ---- */

static enum emac_status walk_all(struct store *s, const struct cid *root, struct store_walk **w,
                                 struct emac_err *err)
{
    struct store_walk_options all = {.scope = STORE_SCOPE_ALL, .to = UINT64_MAX};
    return store_walk_new(s, root, &all, w, err);
}

enum emac_status store_dag_walk(struct store *s, const struct cid *root,
                                enum emac_status (*each)(void *ctx, const struct cid *cid,
                                                         bool present),
                                void *ctx, struct emac_err *err)
{
    struct store_walk *w;
    struct store_walk_item item;
    enum emac_status st = walk_all(s, root, &w, err);
    while (st == EMAC_OK) {
        EMAC_TRY(st, store_walk_next(w, &item, err));
        if (cid_is_none(&item.cid))
            break;
        st = each(ctx, &item.cid, item.present);
        if (st != EMAC_OK)
            emac_fail(err, st, "the walk of '%s' was stopped", store_name_of(root).text);
    }
out:
    store_walk_free(w);
    return st;
}

enum emac_status store_dag_missing(struct store *s, const struct cid *root, struct cid *out,
                                   size_t cap, size_t *count, struct emac_err *err)
{
    struct store_walk *w;
    struct store_walk_item item;
    *count = 0;
    enum emac_status st = walk_all(s, root, &w, err);
    while (st == EMAC_OK && *count < cap) {
        st = store_walk_next(w, &item, err);
        if (st != EMAC_OK || cid_is_none(&item.cid))
            break;
        if (!item.present)
            out[(*count)++] = item.cid;
    }
    store_walk_free(w);
    return st;
}

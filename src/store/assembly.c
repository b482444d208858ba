/* Invariants.
 * ASM-1  Every place (offset, size) of the file is covered by exactly one chain of wants from the
 *        root down to a leaf, as far as the inner blocks above it have come.
 * ASM-2  A want is open until its block came. `open` counts those; complete = root came, open == 0.
 * ASM-3  Places are bounded by the file's size, so links repeated a million times cost nothing. */
#include "store/assembly.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "store/internal.h"

#define PLACES_EXTRA     1024 /* places allowed beyond one for each PLACE_BYTES of the file */
#define PLACE_BYTES      256
#define ASSEMBLY_MEM_MAX ((uint64_t)1 << 46)

/* Where the content of a block goes. The same block may go to several places. */
struct place {
    uint64_t offset, size;
    struct place *next;
    uint32_t depth;
};

struct want {
    struct cid cid;
    struct place *place;
    bool came;
    struct emac_slice bytes; /* of an inner block that came; owned by the value */
};

struct store_assembly {
    struct store *s;
    struct cid root;
    uint64_t max_size, size, tree_size;
    uint8_t *data;
    struct store_held *value; /* NULL until the root came; owns data */
    struct cid_map map;       /* struct want * */
    struct want **want;       /* the same, in order of appearance */
    size_t count, cap, open, places, places_max;
};

static enum emac_status want_add(struct store_assembly *a, const struct cid *cid, struct want **out,
                                 struct emac_err *err)
{
    struct want *w;
    enum emac_status st =
        store_array_grow(&a->want, a->count, &a->cap, sizeof *a->want, STORE_ITEMS_MAX, err);
    if (st == EMAC_OK)
        st = emac_alloc(&w, 1, sizeof *w, err);
    if (st != EMAC_OK)
        return st;
    w->cid = *cid;
    st = cid_map_put(&a->map, cid, w, err);
    if (st != EMAC_OK) {
        free(w);
        return st;
    }
    a->want[a->count++] = w;
    a->open++;
    *out = w;
    return EMAC_OK;
}

static enum emac_status place_add(struct store_assembly *a, struct want *w, uint64_t offset,
                                  uint64_t size, uint32_t depth, struct emac_err *err)
{
    struct place *p;
    if (a->places >= a->places_max || depth > UNIXFS_DEPTH_MAX)
        return emac_fail(err, EMAC_CORRUPT,
                         "the tree of '%s' is deeper or has more leaves than a file of %llu bytes "
                         "needs",
                         store_name_of(&a->root).text, (unsigned long long)a->size);
    enum emac_status st = emac_alloc(&p, 1, sizeof *p, err);
    if (st != EMAC_OK)
        return st;
    *p = (struct place){.offset = offset, .size = size, .depth = depth, .next = w->place};
    w->place = p;
    a->places++;
    return EMAC_OK;
}

enum emac_status store_assembly_new(struct store *s, const struct cid *root, uint64_t max_size,
                                    struct store_assembly **out, struct emac_err *err)
{
    struct store_assembly *a;
    struct want *w;
    *out = NULL;
    enum emac_status st = emac_alloc(&a, 1, sizeof *a, err);
    if (st != EMAC_OK)
        return st;
    a->s = s;
    a->root = *root;
    a->max_size = max_size < ASSEMBLY_MEM_MAX ? max_size : ASSEMBLY_MEM_MAX;
    cid_map_init(&a->map, s->secret);
    st = want_add(a, root, &w, err);
    if (st != EMAC_OK) {
        store_assembly_free(a);
        return st;
    }
    *out = a;
    return EMAC_OK;
}

void store_assembly_free(struct store_assembly *a)
{
    if (a == NULL)
        return;
    for (size_t i = 0; i < a->count; i++) {
        struct want *w = a->want[i];
        while (w->place != NULL) {
            struct place *next = w->place->next;
            free(w->place);
            w->place = next;
        }
        free(w);
    }
    free(a->want);
    cid_map_release(&a->map);
    store_held_free(a->value);
    free(a);
}

/* ---- taking a block ---- */

/* The root came: take memory for the whole file. */
static enum emac_status begin(struct store_assembly *a, struct want *root, uint64_t size,
                              struct emac_err *err)
{
    if (size > a->max_size)
        return emac_fail(err, EMAC_TOO_LARGE, "'%s' has %llu bytes, more than the %llu allowed",
                         store_name_of(&a->root).text, (unsigned long long)size,
                         (unsigned long long)a->max_size);
    uint8_t *data;
    enum emac_status st = emac_alloc_aligned(&data, (size_t)size, err);
    if (st != EMAC_OK)
        return st;
    st = store_held_new(data, (size_t)size, &a->value, err);
    if (st != EMAC_OK) {
        free(data);
        return st;
    }
    a->data = data;
    a->size = size;
    a->places_max = (size_t)(size / PLACE_BYTES) + PLACES_EXTRA;
    return place_add(a, root, 0, size, 0, err);
}

static enum emac_status fail_tree(const struct cid *cid, uint64_t says, struct emac_err *err)
{
    return emac_fail(err, EMAC_CORRUPT, "'%s' does not hold the %llu bytes its parent says",
                     store_name_of(cid).text, (unsigned long long)says);
}

static enum emac_status leaf_place(struct store_assembly *a, struct want *w, const struct place *p,
                                   const void *data, size_t n, struct emac_err *err)
{
    if (p->size != n)
        return fail_tree(&w->cid, p->size, err);
    a->tree_size += n;
    /* A leaf read by store_assembly_fill lies in its first place already. */
    if (n > 0 && a->data + p->offset != data)
        memcpy(a->data + p->offset, data, n);
    return EMAC_OK;
}

static enum emac_status inner_place(struct store_assembly *a, struct want *w, const struct place *p,
                                    struct emac_err *err);

/* A link of an inner block that lies at one place. */
static enum emac_status child_place(struct store_assembly *a, const struct unixfs_link *link,
                                    uint64_t offset, uint32_t depth, struct emac_err *err)
{
    struct want *w = cid_map_get(&a->map, &link->cid);
    enum emac_status st = EMAC_OK;
    if (link->cid.codec == CID_DAG_CBOR)
        return emac_fail(err, EMAC_CORRUPT, "the file '%s' links to a block that is no file part",
                         store_name_of(&a->root).text);
    if (w == NULL)
        st = want_add(a, &link->cid, &w, err);
    const uint8_t *first =
        w != NULL && w->came && w->place != NULL ? a->data + w->place->offset : NULL;
    if (st == EMAC_OK)
        st = place_add(a, w, offset, link->size, depth, err);
    if (st != EMAC_OK || !w->came)
        return st;
    if (w->cid.codec == CID_RAW)
        return leaf_place(a, w, w->place, first, (size_t)w->place->next->size, err);
    return inner_place(a, w, w->place, err);
}

/* Depth is bounded by place_add. */
static enum emac_status inner_place(struct store_assembly *a, struct want *w, const struct place *p,
                                    struct emac_err *err)
{
    struct unixfs_node node;
    enum emac_status st = unixfs_node_parse(&node, CID_DAG_PB, w->bytes.data, w->bytes.len, err);
    if (st != EMAC_OK)
        return st;
    if (node.kind != UNIXFS_FILE || node.size != p->size) {
        st = fail_tree(&w->cid, p->size, err);
        goto out;
    }
    a->tree_size += w->bytes.len;
    uint64_t offset = p->offset;
    if (node.inline_data.len > 0)
        memcpy(a->data + offset, node.inline_data.data, node.inline_data.len);
    offset += node.inline_data.len;
    for (size_t i = 0; i < node.count; i++) {
        EMAC_TRY(st, child_place(a, &node.link[i], offset, p->depth + 1, err));
        offset += node.link[i].size;
    }
out:
    unixfs_node_release(&node);
    return st;
}

static enum emac_status root_size(const struct cid *cid, const void *data, size_t n, uint64_t *size,
                                  struct emac_err *err)
{
    struct unixfs_node node;
    enum emac_status st = unixfs_node_parse(&node, (enum cid_codec)cid->codec, data, n, err);
    if (st != EMAC_OK)
        return st;
    if (node.kind != UNIXFS_FILE)
        st = emac_fail(err, EMAC_INVALID, "'%s' is a directory, not a file",
                       store_name_of(cid).text);
    *size = node.size;
    unixfs_node_release(&node);
    return st;
}

/* Keep the bytes of a block as a part of the value: a leaf where it lies, an inner block copied. */
static enum emac_status part_keep(struct store_assembly *a, struct want *w, const void *data,
                                  size_t n, struct emac_err *err)
{
    if (w->cid.codec == CID_RAW)
        return store_held_add(a->value, &w->cid, a->data + w->place->offset, n, false, err);
    uint8_t *copy;
    enum emac_status st = emac_alloc(&copy, 1, n, err);
    if (st != EMAC_OK)
        return st;
    memcpy(copy, data, n);
    st = store_held_add(a->value, &w->cid, copy, n, true, err);
    if (st != EMAC_OK)
        free(copy);
    else
        w->bytes = EMAC_SLICE(copy, n);
    return st;
}

static enum emac_status take(struct store_assembly *a, struct want *w, const void *data, size_t n,
                             struct emac_err *err)
{
    enum emac_status st = part_keep(a, w, data, n, err);
    if (st != EMAC_OK)
        return st;
    w->came = true;
    a->open--;
    /* Placing may add places to this very block when a tree contains itself; hashes forbid that. */
    for (struct place *p = w->place; p != NULL && st == EMAC_OK; p = p->next)
        st =
            w->cid.codec == CID_RAW ? leaf_place(a, w, p, data, n, err) : inner_place(a, w, p, err);
    return st;
}

enum emac_status store_assembly_offer(struct store_assembly *a, const struct cid *cid,
                                      const void *data, size_t n, bool *used, struct emac_err *err)
{
    struct want *w = cid_map_get(&a->map, cid);
    enum emac_status st = EMAC_OK;
    *used = w != NULL && !w->came;
    if (!*used)
        return EMAC_OK;
    if (cid->codec == CID_DAG_CBOR)
        return emac_fail(err, EMAC_INVALID, "'%s' is dag-cbor, not a file",
                         store_name_of(cid).text);
    if (a->value == NULL) {
        uint64_t size = n;
        if (cid->codec == CID_DAG_PB)
            st = root_size(cid, data, n, &size, err);
        if (st == EMAC_OK)
            st = begin(a, w, size, err);
    }
    return st == EMAC_OK ? take(a, w, data, n, err) : st;
}

/* ---- from the store itself ---- */

struct fill {
    struct store_assembly *a;
    struct want **want; /* leaves on disk */
    bool *ok;
};

static void leaf_read(void *ctx, size_t i)
{
    struct fill *f = ctx;
    const struct place *p = f->want[i]->place;
    f->ok[i] = store_blocks_read(f->a->s, &f->want[i]->cid, f->a->data + p->offset, (size_t)p->size,
                                 NULL) == EMAC_OK;
}

/* One block through a buffer: the root, inner blocks, and leaves that other values hold. What is
 * not here or damaged stays wanted. */
static enum emac_status fill_one(struct store_assembly *a, const struct cid *cid,
                                 struct emac_buf *block, struct emac_err *err)
{
    bool used;
    enum emac_status st = store_block_get(a->s, cid, block, err);
    if (st == EMAC_OK)
        return store_assembly_offer(a, cid, block->data, block->len, &used, err);
    return st == EMAC_NOT_FOUND || st == EMAC_CORRUPT ? EMAC_OK : st;
}

/* Leaves are read and hashed in parallel, right where they belong. */
static enum emac_status fill_leaves(struct store_assembly *a, struct emac_buf *block,
                                    struct emac_err *err)
{
    struct fill f = {.a = a};
    size_t count = 0;
    bool used;
    enum emac_status st;
    EMAC_TRY(st, emac_alloc(&f.want, a->open, sizeof *f.want, err));
    EMAC_TRY(st, emac_alloc(&f.ok, a->open, sizeof *f.ok, err));
    for (size_t i = 0; i < a->count; i++) {
        struct want *w = a->want[i];
        if (!w->came && w->cid.codec == CID_RAW && store_blocks_has(a->s, &w->cid, NULL))
            f.want[count++] = w;
    }
    store_parallel(a->s, count, leaf_read, &f);
    for (size_t i = 0; i < count; i++) {
        const struct place *p = f.want[i]->place;
        if (f.ok[i])
            EMAC_TRY(st, store_assembly_offer(a, &f.want[i]->cid, a->data + p->offset,
                                              (size_t)p->size, &used, err));
        else /* gone, or not of the size its parent says: find out */
            EMAC_TRY(st, fill_one(a, &f.want[i]->cid, block, err));
    }
out:
    free(f.want);
    free(f.ok);
    return st;
}

enum emac_status store_assembly_fill(struct store_assembly *a, struct emac_err *err)
{
    struct emac_buf block;
    enum emac_status st = EMAC_OK;
    emac_buf_init(&block, UNIXFS_BLOCK_MAX);
    /* The list grows while inner blocks are taken. */
    for (size_t i = 0; i < a->count; i++) {
        struct want *w = a->want[i];
        bool direct =
            a->value != NULL && w->cid.codec == CID_RAW && !store_part_has(a->s, &w->cid, NULL);
        if (!w->came && !direct)
            EMAC_TRY(st, fill_one(a, &w->cid, &block, err));
    }
    if (a->value != NULL && a->open > 0)
        st = fill_leaves(a, &block, err);
out:
    emac_buf_release(&block);
    return st;
}

/* ---- what is missing ---- */

bool store_assembly_complete(const struct store_assembly *a)
{
    return a->value != NULL && a->open == 0;
}

static uint64_t first_offset(const struct want *w)
{
    uint64_t least = UINT64_MAX;
    for (const struct place *p = w->place; p != NULL; p = p->next)
        least = p->offset < least ? p->offset : least;
    return least;
}

struct spot {
    uint64_t from, to;
    const struct want *want;
};

static int spot_order(const void *x, const void *y)
{
    const struct spot *a = x, *b = y;
    return a->from < b->from ? -1 : a->from > b->from;
}

/* Open wants by their first place. NULL without memory. */
static struct spot *spots(const struct store_assembly *a)
{
    struct spot *spot;
    size_t n = 0;
    if (emac_alloc(&spot, a->open, sizeof *spot, NULL) != EMAC_OK)
        return NULL;
    for (size_t i = 0; i < a->count; i++) {
        const struct want *w = a->want[i];
        if (w->came)
            continue;
        uint64_t from = first_offset(w);
        spot[n++] = (struct spot){from, w->place != NULL ? from + w->place->size : 0, w};
    }
    EMAC_ASSERT(n == a->open);
    if (n > 0)
        qsort(spot, n, sizeof *spot, spot_order);
    return spot;
}

size_t store_assembly_missing(const struct store_assembly *a, struct cid *out, size_t cap)
{
    struct spot *spot = spots(a);
    size_t n = spot == NULL ? 0 : a->open < cap ? a->open : cap;
    for (size_t i = 0; i < n; i++)
        out[i] = spot[i].want->cid;
    free(spot);
    return n;
}

bool store_assembly_gap(const struct store_assembly *a, uint64_t *from, uint64_t *to)
{
    struct spot *spot = a->value != NULL && a->open > 0 ? spots(a) : NULL;
    if (spot == NULL)
        return false;
    *from = spot[0].from;
    *to = spot[0].to;
    for (size_t i = 1; i < a->open && spot[i].from == *to; i++)
        *to = spot[i].to;
    free(spot);
    return true;
}

enum emac_status store_assembly_end(struct store_assembly *a, const struct store_value **out,
                                    struct emac_err *err)
{
    struct cid missing;
    *out = NULL;
    enum emac_status st = EMAC_OK;
    if (!store_assembly_complete(a)) {
        store_assembly_missing(a, &missing, 1);
        st = emac_fail(err, EMAC_NOT_FOUND, "'%s' is not whole, its block '%s' is not here",
                       store_name_of(&a->root).text, store_name_of(&missing).text);
    } else {
        struct store_held *v = a->value;
        a->value = NULL;
        st = store_held_register(a->s, v, &a->root, a->tree_size, out, err);
    }
    store_assembly_free(a);
    return st;
}

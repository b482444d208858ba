/* The balanced tree is built from the left as leaves arrive.
 *
 * TREE-1  level[k] holds fewer than UNIXFS_WIDTH links between calls; a full level becomes one node
 *         and one link of level[k + 1] at once. So all leaves have one depth.
 * TREE-2  At the end the levels are closed from the bottom. The root is the only link of the
 *         highest level that is not empty; a single leaf is its own root. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "codec/unixfs.h"
#include "codec/unixfs_pb.h"

struct tree_level {
    struct unixfs_link *link; /* UNIXFS_WIDTH places, or NULL while never used */
    size_t count;
};

struct tree {
    unixfs_block_fn *emit;
    void *ctx;
    struct tree_level level[UNIXFS_DEPTH_MAX];
};

static void tree_release(struct tree *t)
{
    for (size_t k = 0; k < UNIXFS_DEPTH_MAX; k++)
        free(t->level[k].link);
}

/* Size of the UnixFS message of an inner node. */
static size_t file_data_len(const struct unixfs_link *link, size_t count, uint64_t size)
{
    size_t n = 2 + 1 + pb_varint_len(size);
    for (size_t i = 0; i < count; i++)
        n += 1 + pb_varint_len(link[i].size);
    return n;
}

static enum emac_status put_file_data(struct emac_buf *out, const struct unixfs_link *link,
                                      size_t count, uint64_t size, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    EMAC_TRY(st, pb_put_length(out, PB_NODE_DATA, file_data_len(link, count, size), err));
    EMAC_TRY(st, pb_put_varint(out, UNIXFS_TYPE, UNIXFS_TYPE_FILE, err));
    EMAC_TRY(st, pb_put_varint(out, UNIXFS_FILESIZE, size, err));
    for (size_t i = 0; i < count; i++)
        EMAC_TRY(st, pb_put_varint(out, UNIXFS_BLOCKSIZES, link[i].size, err));
out:
    return st;
}

/* Sums of sizes over links, starting from what is in *size and *tsize. */
static bool sum_links(const struct unixfs_link *link, size_t count, uint64_t *size, uint64_t *tsize)
{
    for (size_t i = 0; i < count; i++) {
        if (__builtin_add_overflow(*size, link[i].size, size) ||
            __builtin_add_overflow(*tsize, link[i].tsize, tsize) || *size > INT64_MAX ||
            *tsize > INT64_MAX)
            return false;
    }
    return true;
}

/* Emit the inner node over `link`; *up becomes the link to it. */
static enum emac_status emit_node(struct tree *t, const struct unixfs_link *link, size_t count,
                                  struct unixfs_link *up, struct emac_err *err)
{
    struct emac_buf block;
    emac_buf_init(&block, UNIXFS_BLOCK_MAX);
    enum emac_status st = EMAC_OK;
    uint64_t size = 0, tsize = 0;
    if (!sum_links(link, count, &size, &tsize)) {
        st = emac_fail(err, EMAC_TOO_LARGE, "the sizes of a file's parts overflow");
        goto out;
    }
    for (size_t i = 0; i < count; i++)
        EMAC_TRY(st, pb_put_link(&block, &link[i], err));
    EMAC_TRY(st, put_file_data(&block, link, count, size, err));
    up->cid = cid_of(CID_DAG_PB, block.data, block.len);
    up->name = NULL;
    up->size = size;
    up->tsize = tsize + block.len;
    st = t->emit(t->ctx, &up->cid, block.data, block.len, err);
out:
    emac_buf_release(&block);
    return st;
}

static enum emac_status level_put(struct tree_level *l, const struct unixfs_link *link,
                                  struct emac_err *err)
{
    if (l->link == NULL) {
        enum emac_status st = emac_alloc(&l->link, UNIXFS_WIDTH, sizeof *l->link, err);
        if (st != EMAC_OK)
            return st;
    }
    EMAC_ASSERT(l->count < UNIXFS_WIDTH);
    l->link[l->count++] = *link;
    return EMAC_OK;
}

/* TREE-1 */
static enum emac_status tree_add(struct tree *t, struct unixfs_link link, struct emac_err *err)
{
    for (size_t k = 0; k < UNIXFS_DEPTH_MAX; k++) {
        struct tree_level *l = &t->level[k];
        enum emac_status st = level_put(l, &link, err);
        if (st != EMAC_OK || l->count < UNIXFS_WIDTH)
            return st;
        st = emit_node(t, l->link, l->count, &link, err);
        if (st != EMAC_OK)
            return st;
        l->count = 0;
    }
    return emac_fail(err, EMAC_TOO_LARGE, "a file tree deeper than %d", UNIXFS_DEPTH_MAX);
}

static bool levels_empty_from(const struct tree *t, size_t k)
{
    for (; k < UNIXFS_DEPTH_MAX; k++) {
        if (t->level[k].count > 0)
            return false;
    }
    return true;
}

/* TREE-2 */
static enum emac_status tree_close(struct tree *t, struct unixfs_link *root, struct emac_err *err)
{
    for (size_t k = 0; k < UNIXFS_DEPTH_MAX; k++) {
        struct tree_level *l = &t->level[k];
        struct unixfs_link up;
        if (l->count == 0)
            continue;
        if (l->count == 1 && levels_empty_from(t, k + 1)) {
            *root = l->link[0];
            return EMAC_OK;
        }
        EMAC_ASSERT(k + 1 < UNIXFS_DEPTH_MAX); /* 1024^8 chunks pass 64 bits */
        enum emac_status st = emit_node(t, l->link, l->count, &up, err);
        l->count = 0;
        if (st == EMAC_OK)
            st = level_put(&t->level[k + 1], &up, err);
        if (st != EMAC_OK)
            return st;
    }
    return emac_fail(err, EMAC_INTERNAL, "an empty file tree was closed");
}

struct unixfs_builder {
    struct tree tree;
    uint64_t size;
    size_t fill;
    uint8_t chunk[UNIXFS_CHUNK];
};

enum emac_status unixfs_builder_new(struct unixfs_builder **out, unixfs_block_fn *emit, void *ctx,
                                    struct emac_err *err)
{
    enum emac_status st = emac_alloc(out, 1, sizeof **out, err);
    if (st != EMAC_OK)
        return st;
    (*out)->tree.emit = emit;
    (*out)->tree.ctx = ctx;
    return EMAC_OK;
}

void unixfs_builder_free(struct unixfs_builder *b)
{
    if (b == NULL)
        return;
    tree_release(&b->tree);
    free(b);
}

static enum emac_status leaf_add(struct unixfs_builder *b, const void *data, size_t n,
                                 struct emac_err *err)
{
    struct unixfs_link link = {.cid = cid_of(CID_RAW, data, n), .tsize = n, .size = n};
    enum emac_status st = b->tree.emit(b->tree.ctx, &link.cid, data, n, err);
    if (st != EMAC_OK)
        return st;
    b->size += n;
    return tree_add(&b->tree, link, err);
}

enum emac_status unixfs_builder_write(struct unixfs_builder *b, const void *data, size_t n,
                                      struct emac_err *err)
{
    const uint8_t *p = data;
    while (n > 0) {
        enum emac_status st = EMAC_OK;
        if (b->fill == 0 && n >= UNIXFS_CHUNK) { /* a whole chunk needs no copy */
            st = leaf_add(b, p, UNIXFS_CHUNK, err);
            p += UNIXFS_CHUNK;
            n -= UNIXFS_CHUNK;
        } else {
            size_t room = UNIXFS_CHUNK - b->fill, take = n < room ? n : room;
            memcpy(b->chunk + b->fill, p, take);
            b->fill += take;
            p += take;
            n -= take;
            if (b->fill == UNIXFS_CHUNK) {
                b->fill = 0;
                st = leaf_add(b, b->chunk, UNIXFS_CHUNK, err);
            }
        }
        if (st != EMAC_OK)
            return st;
    }
    return EMAC_OK;
}

enum emac_status unixfs_builder_end(struct unixfs_builder *b, struct cid *root, uint64_t *size,
                                    uint64_t *tree_size, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    struct unixfs_link top = {0};
    if (b->fill > 0 || b->size == 0)
        EMAC_TRY(st, leaf_add(b, b->chunk, b->fill, err));
    EMAC_TRY(st, tree_close(&b->tree, &top, err));
    EMAC_ASSERT(top.size == b->size);
    *root = top.cid;
    *size = top.size;
    *tree_size = top.tsize;
out:
    unixfs_builder_free(b);
    return st;
}

enum emac_status unixfs_file(struct emac_slice bytes, unixfs_block_fn *emit, void *ctx,
                             struct cid *root, uint64_t *tree_size, struct emac_err *err)
{
    struct unixfs_builder *b;
    uint64_t size;
    enum emac_status st = unixfs_builder_new(&b, emit, ctx, err);
    if (st != EMAC_OK)
        return st;
    st = unixfs_builder_write(b, bytes.data, bytes.len, err);
    if (st == EMAC_OK)
        return unixfs_builder_end(b, root, &size, tree_size, err);
    unixfs_builder_free(b);
    return st;
}

enum emac_status unixfs_tree_from_leaves(const struct cid *leaf, size_t count, uint64_t size,
                                         unixfs_block_fn *emit, void *ctx, struct cid *root,
                                         uint64_t *tree_size, struct emac_err *err)
{
    EMAC_ASSERT(count >= 2 && (size - 1) / UNIXFS_CHUNK + 1 == count);
    struct tree t = {.emit = emit, .ctx = ctx};
    enum emac_status st = EMAC_OK;
    struct unixfs_link top = {0};
    for (size_t i = 0; i < count; i++) {
        uint64_t n = i + 1 < count ? UNIXFS_CHUNK : size - (uint64_t)(count - 1) * UNIXFS_CHUNK;
        struct unixfs_link link = {.cid = leaf[i], .tsize = n, .size = n};
        EMAC_TRY(st, tree_add(&t, link, err));
    }
    EMAC_TRY(st, tree_close(&t, &top, err));
    EMAC_ASSERT(top.size == size);
    *root = top.cid;
    *tree_size = top.tsize;
out:
    tree_release(&t);
    return st;
}

static enum emac_status ignore_block(void *ctx, const struct cid *cid, const void *data, size_t n,
                                     struct emac_err *err)
{
    return EMAC_OK;
}

/* Links are of one size whatever the digests are, so made-up leaves give the answer. */
enum emac_status unixfs_tree_size(uint64_t size, uint64_t *out, struct emac_err *err)
{
    *out = size;
    if (size <= UNIXFS_CHUNK)
        return EMAC_OK;
    size_t leaves = (size_t)((size + UNIXFS_CHUNK - 1) / UNIXFS_CHUNK);
    struct cid *leaf, root;
    enum emac_status st = emac_alloc(&leaf, leaves, sizeof *leaf, err);
    if (st != EMAC_OK)
        return st;
    for (size_t i = 0; i < leaves; i++)
        leaf[i].codec = CID_RAW;
    st = unixfs_tree_from_leaves(leaf, leaves, size, ignore_block, NULL, &root, out, err);
    free(leaf);
    return st;
}

static int order_by_name(const void *a, const void *b)
{
    const struct unixfs_link *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static enum emac_status check_name(const struct unixfs_link *link, const struct unixfs_link *before,
                                   struct emac_err *err)
{
    if (!unixfs_name_ok(link->name, strlen(link->name)))
        return emac_fail(err, EMAC_INVALID, "'%.64s' cannot be a name in a directory", link->name);
    if (before != NULL && strcmp(before->name, link->name) == 0)
        return emac_fail(err, EMAC_INVALID, "two entries of a directory are named '%s'",
                         link->name);
    return EMAC_OK;
}

enum emac_status unixfs_directory(struct unixfs_link *link, size_t count, struct emac_buf *out,
                                  struct cid *cid, uint64_t *tree_size, struct emac_err *err)
{
    static const uint8_t DIRECTORY[] = {UNIXFS_TYPE << 3 | PB_VARINT, UNIXFS_TYPE_DIRECTORY};
    enum emac_status st = EMAC_OK;
    struct emac_buf block;
    uint64_t total = 0;
    emac_buf_init(&block, UNIXFS_DIR_MAX);
    if (count > 0)
        qsort(link, count, sizeof *link, order_by_name);
    for (size_t i = 0; i < count; i++) {
        EMAC_TRY(st, check_name(&link[i], i > 0 ? &link[i - 1] : NULL, err));
        EMAC_TRY(st, pb_put_link(&block, &link[i], err));
        if (__builtin_add_overflow(total, link[i].tsize, &total) || total > INT64_MAX) {
            st = emac_fail(err, EMAC_TOO_LARGE, "the sizes in a directory overflow");
            goto out;
        }
    }
    EMAC_TRY(st, pb_put_bytes(&block, PB_NODE_DATA, DIRECTORY, sizeof DIRECTORY, err));
    EMAC_TRY(st, emac_buf_append(out, block.data, block.len, err));
    *cid = cid_of(CID_DAG_PB, block.data, block.len);
    *tree_size = total + block.len;
out:
    emac_buf_release(&block);
    if (st == EMAC_TOO_LARGE && err != NULL)
        emac_wrap(err, "a directory of %zu entries is too large: split it", count);
    return st;
}

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "store/assembly.h"
#include "store/internal.h"

#define ADD_BATCH       16 /* chunks read, hashed and written at a time */
#define FILE_LEAVES_MAX ((size_t)STORE_ITEMS_MAX)

enum emac_status store_value_get(struct store *s, const struct cid *cid, uint64_t max_size,
                                 const struct store_value **out, struct emac_err *err)
{
    for (;;) {
        const uint8_t *ignored;
        enum emac_status st = store_value_get_away(s, cid, max_size, out, err);
        if (st == EMAC_OK)
            st = store_value_bytes(s, *out, &ignored, err);
        if (st == EMAC_OK || *out == NULL)
            return st;
        store_value_drop(s, *out);
        *out = NULL;
        if (st == EMAC_NO_MEMORY)
            return st; /* else it is lost: its blocks may be on disk */
    }
}

enum emac_status store_value_get_away(struct store *s, const struct cid *cid, uint64_t max_size,
                                      const struct store_value **out, struct emac_err *err)
{
    struct store_assembly *a;
    *out = store_value_find(s, cid);
    if (*out != NULL && (*out)->size > max_size) {
        size_t size = (*out)->size;
        store_value_drop(s, *out);
        *out = NULL;
        return emac_fail(err, EMAC_TOO_LARGE, "'%s' has %zu bytes, more than the %llu allowed",
                         store_name_of(cid).text, size, (unsigned long long)max_size);
    }
    if (*out != NULL)
        return EMAC_OK;
    enum emac_status st = store_assembly_new(s, cid, max_size, &a, err);
    if (st != EMAC_OK)
        return st;
    st = store_assembly_fill(a, err);
    if (st != EMAC_OK) {
        store_assembly_free(a);
        return st;
    }
    return store_assembly_end(a, out, err);
}

/* ---- adding ---- */

struct adding {
    struct store *s;
    const char *path;
    uint64_t size, batch_at; /* where the batch begins */
    uint8_t *data;           /* ADD_BATCH chunks */
    struct cid *leaf;
    struct os_mutex lock; /* guards what follows */
    enum emac_status st;
    struct emac_err err;
};

static size_t chunk_size(uint64_t size, uint64_t at)
{
    return size - at < UNIXFS_CHUNK ? (size_t)(size - at) : UNIXFS_CHUNK;
}

static void chunk_add(void *ctx, size_t i)
{
    struct adding *a = ctx;
    struct emac_err err;
    uint64_t at = a->batch_at + (uint64_t)i * UNIXFS_CHUNK;
    size_t n = chunk_size(a->size, at);
    uint8_t *data = a->data + i * UNIXFS_CHUNK;
    struct cid *leaf = &a->leaf[at / UNIXFS_CHUNK];
    enum emac_status st = EMAC_OK;
    if (n > 0)
        st = a->s->os->file_pread(a->s->os, a->path, at, data, n, &err);
    if (st == EMAC_OK) {
        *leaf = cid_of(CID_RAW, data, n);
        st = store_blocks_put(a->s, leaf, data, n, false, &err);
    }
    if (st == EMAC_OK)
        return;
    os_mutex_lock(&a->lock);
    a->st = st;
    a->err = err;
    os_mutex_unlock(&a->lock);
}

enum emac_status store_block_emit(void *ctx, const struct cid *cid, const void *data, size_t n,
                                  struct emac_err *err)
{
    return store_blocks_put(ctx, cid, data, n, false, err);
}

static enum emac_status leaves_add(struct adding *a, size_t count, struct emac_err *err)
{
    for (size_t i = 0; i < count && a->st == EMAC_OK; i += ADD_BATCH) {
        a->batch_at = (uint64_t)i * UNIXFS_CHUNK;
        store_parallel(a->s, count - i < ADD_BATCH ? count - i : ADD_BATCH, chunk_add, a);
    }
    if (a->st != EMAC_OK && err != NULL)
        *err = a->err;
    return a->st;
}

enum emac_status store_bytes_add(struct store *s, struct emac_slice bytes, struct unixfs_link *out,
                                 struct emac_err *err)
{
    out->size = bytes.len;
    return unixfs_file(bytes, store_block_emit, s, &out->cid, &out->tsize, err);
}

enum emac_status store_file_add(struct store *s, const char *path, struct cid *root, uint64_t *size,
                                struct emac_err *err)
{
    struct adding a = {.s = s, .path = path};
    struct store_building building;
    uint64_t tree_size;
    os_mutex_init(&a.lock);
    store_building_begin(s, &building);
    enum emac_status st = s->os->file_size(s->os, path, &a.size, err);
    if (st != EMAC_OK)
        goto out;
    uint64_t count = a.size == 0 ? 1 : (a.size - 1) / UNIXFS_CHUNK + 1;
    if (count > FILE_LEAVES_MAX) {
        st = emac_fail(err, EMAC_TOO_LARGE, "'%s' has %llu bytes, more than a store takes", path,
                       (unsigned long long)a.size);
        goto out;
    }
    size_t batch = count < ADD_BATCH ? (size_t)count : ADD_BATCH;
    EMAC_TRY(st, emac_alloc_aligned(&a.data, batch * UNIXFS_CHUNK, err));
    EMAC_TRY(st, emac_alloc(&a.leaf, (size_t)count, sizeof *a.leaf, err));
    EMAC_TRY(st, leaves_add(&a, (size_t)count, err));
    *root = a.leaf[0];
    if (count > 1)
        st = unixfs_tree_from_leaves(a.leaf, (size_t)count, a.size, store_block_emit, s, root,
                                     &tree_size, err);
    *size = a.size;
out:
    store_building_end(s, &building);
    free(a.data);
    free(a.leaf);
    os_mutex_release(&a.lock);
    return st;
}

/* ---- reading ---- */

/* Receives the content of [from, to) piece by piece, in order. */
struct reading {
    struct store *s;
    uint64_t from, to;
    enum emac_status (*sink)(struct reading *r, const uint8_t *data, size_t n,
                             struct emac_err *err);
    void *ctx;
    struct emac_buf leaf;
};

/* Hand on the part of data, which lies at `offset` of the file, that is inside the range. */
static enum emac_status read_piece(struct reading *r, uint64_t offset, const uint8_t *data,
                                   size_t n, struct emac_err *err)
{
    uint64_t end = offset + n;
    uint64_t from = r->from > offset ? r->from : offset, to = r->to < end ? r->to : end;
    if (from >= to)
        return EMAC_OK;
    return r->sink(r, data + (from - offset), (size_t)(to - from), err);
}

static enum emac_status read_node(struct reading *r, const struct cid *cid, uint64_t offset,
                                  uint64_t size, uint32_t depth, struct emac_err *err);

static enum emac_status read_links(struct reading *r, const struct unixfs_node *node,
                                   uint64_t offset, uint32_t depth, struct emac_err *err)
{
    enum emac_status st = read_piece(r, offset, node->inline_data.data, node->inline_data.len, err);
    offset += node->inline_data.len;
    for (size_t i = 0; i < node->count && st == EMAC_OK && offset < r->to; i++) {
        const struct unixfs_link *link = &node->link[i];
        if (offset + link->size > r->from)
            st = read_node(r, &link->cid, offset, link->size, depth + 1, err);
        offset += link->size;
    }
    return st;
}

/* Depth is bounded, so this may recurse. `size` is what the parent says, UINT64_MAX: the root. */
static enum emac_status read_node(struct reading *r, const struct cid *cid, uint64_t offset,
                                  uint64_t size, uint32_t depth, struct emac_err *err)
{
    struct unixfs_node node;
    struct emac_buf own;
    bool leaf = cid->codec == CID_RAW;
    struct emac_buf *block = leaf ? &r->leaf : &own;
    if (depth > UNIXFS_DEPTH_MAX)
        return emac_fail(err, EMAC_CORRUPT, "a file tree is deeper than %d", UNIXFS_DEPTH_MAX);
    emac_buf_init(&own, UNIXFS_BLOCK_MAX);
    enum emac_status st = store_block_get(r->s, cid, block, err);
    if (st != EMAC_OK)
        goto out;
    EMAC_TRY(st,
             unixfs_node_parse(&node, (enum cid_codec)cid->codec, block->data, block->len, err));
    if (node.kind != UNIXFS_FILE)
        st = emac_fail(err, EMAC_INVALID, "'%s' is a directory, not a file",
                       store_name_of(cid).text);
    else if (size != UINT64_MAX && node.size != size)
        st = emac_fail(err, EMAC_CORRUPT, "'%s' does not hold the %llu bytes its parent says",
                       store_name_of(cid).text, (unsigned long long)size);
    else
        st = leaf ? read_piece(r, offset, block->data, block->len, err)
                  : read_links(r, &node, offset, depth, err);
    unixfs_node_release(&node);
out:
    emac_buf_release(&own);
    return st;
}

static enum emac_status read_range(struct reading *r, const struct cid *root, struct emac_err *err)
{
    const struct store_value *v = store_value_find(r->s, root);
    const uint8_t *data;
    enum emac_status st;
    if (v != NULL) {
        st = store_value_bytes(r->s, v, &data, err);
        if (st == EMAC_OK)
            st = read_piece(r, 0, data, v->size, err);
        store_value_drop(r->s, v);
        if (st != EMAC_UNAVAILABLE) /* lost: the blocks may be on disk */
            return st;
    }
    emac_buf_init(&r->leaf, UNIXFS_BLOCK_MAX);
    st = read_node(r, root, 0, UINT64_MAX, 0, err);
    emac_buf_release(&r->leaf);
    return st;
}

static enum emac_status sink_memory(struct reading *r, const uint8_t *data, size_t n,
                                    struct emac_err *err)
{
    uint8_t **at = r->ctx;
    memcpy(*at, data, n);
    *at += n;
    return EMAC_OK;
}

enum emac_status store_file_size(struct store *s, const struct cid *root, uint64_t *size,
                                 struct emac_err *err)
{
    struct unixfs_node node;
    struct emac_buf block;
    const struct store_value *v = store_value_find(s, root);
    if (v != NULL) {
        *size = v->size;
        store_value_drop(s, v);
        return EMAC_OK;
    }
    emac_buf_init(&block, UNIXFS_BLOCK_MAX);
    enum emac_status st = store_block_get(s, root, &block, err);
    if (st == EMAC_OK)
        st = unixfs_node_parse(&node, (enum cid_codec)root->codec, block.data, block.len, err);
    if (st == EMAC_OK) {
        *size = node.size;
        if (node.kind != UNIXFS_FILE)
            st = emac_fail(err, EMAC_INVALID, "'%s' is a directory, not a file",
                           store_name_of(root).text);
        unixfs_node_release(&node);
    }
    emac_buf_release(&block);
    return st;
}

enum emac_status store_file_read(struct store *s, const struct cid *root, uint64_t offset,
                                 void *out, size_t n, struct emac_err *err)
{
    uint8_t *at = out;
    uint64_t size;
    enum emac_status st = store_file_size(s, root, &size, err);
    if (st != EMAC_OK)
        return st;
    if (offset > size || n > size - offset)
        return emac_fail(
            err, EMAC_INVALID, "'%s' has %llu bytes: %zu from byte %llu on are not in it",
            store_name_of(root).text, (unsigned long long)size, n, (unsigned long long)offset);
    struct reading r = {.s = s, .from = offset, .to = offset + n, .sink = sink_memory, .ctx = &at};
    st = n > 0 ? read_range(&r, root, err) : EMAC_OK;
    EMAC_ASSERT(st != EMAC_OK || at == (uint8_t *)out + n);
    return st;
}

/* ---- exporting ---- */

static enum emac_status sink_file(struct reading *r, const uint8_t *data, size_t n,
                                  struct emac_err *err)
{
    return r->s->os->file_append(r->s->os, r->ctx, data, n, 0600, err);
}

enum emac_status store_file_export(struct store *s, const struct cid *root, const char *path,
                                   struct emac_err *err)
{
    char tmp[OS_PATH_MAX];
    uint64_t size;
    struct os *os = s->os;
    enum emac_status st = store_file_size(s, root, &size, err);
    if (st == EMAC_OK)
        st = os_beside(os, path, tmp, err);
    if (st != EMAC_OK)
        return st;
    struct reading r = {.s = s, .to = UINT64_MAX, .sink = sink_file, .ctx = tmp};
    /* An empty file has no pieces, yet there must be a file. */
    EMAC_TRY(st, os->file_append(os, tmp, "", 0, 0600, err));
    st = read_range(&r, root, err);
out:
    return os_beside_end(os, st, tmp, path, err);
}

/* Values: whole files in memory, found by their root, their blocks found one by one.
 *
 * VAL-1  A registered value is immutable; its parts cover its whole DAG and each hashes to its CID.
 * VAL-2  A value with holds > 0 is never freed. One with none is in the list by use; the oldest
 *        go while those in the list are larger together than the quota.
 * VAL-3  Every part of every registered value that is not lost is in the list of its CID in
 *        `s->part`.
 * VAL-4  A value is here, away, coming or lost (away.c); its leaves have data when it is here, its
 *        inner blocks always. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "store/internal.h"

/* ---- under construction ---- */

enum emac_status store_held_new(uint8_t *data, size_t size, struct store_held **out,
                                struct emac_err *err)
{
    enum emac_status st = emac_alloc(out, 1, sizeof **out, err);
    if (st != EMAC_OK)
        return st;
    (*out)->data = data;
    (*out)->pub.data = (*out)->pub.head = data;
    (*out)->pub.size = (*out)->pub.head_size = size;
    return EMAC_OK;
}

enum emac_status store_held_add(struct store_held *v, const struct cid *cid, const uint8_t *data,
                                size_t size, bool owned, struct emac_err *err)
{
    enum emac_status st =
        store_array_grow(&v->part, v->count, &v->cap, sizeof *v->part, STORE_ITEMS_MAX, err);
    if (st != EMAC_OK)
        return st;
    EMAC_ASSERT(size <= UNIXFS_BLOCK_MAX);
    v->part[v->count++] = (struct store_part){
        .cid = *cid, .size = (uint32_t)size, .owned = owned, .data = data, .value = v};
    return EMAC_OK;
}

void store_held_free(struct store_held *v)
{
    if (v == NULL)
        return;
    for (size_t i = 0; i < v->count; i++)
        if (v->part[i].owned)
            free((void *)v->part[i].data);
    if (v->origin.release != NULL)
        v->origin.release(v->origin.ctx);
    free(v->part);
    free(v->head);
    free(v->data);
    free(v);
}

/* ---- the index; all under lock ---- */

static enum emac_status part_link(struct store *s, struct store_part *part, struct emac_err *err)
{
    struct store_part *first = cid_map_get(&s->part, &part->cid);
    enum emac_status st = cid_map_put(&s->part, &part->cid, part, err);
    if (st != EMAC_OK)
        return st;
    part->next = first;
    if (first != NULL)
        first->prev = part;
    return EMAC_OK;
}

static void part_unlink(struct store *s, struct store_part *part)
{
    if (part->next != NULL)
        part->next->prev = part->prev;
    if (part->prev != NULL) {
        part->prev->next = part->next;
    } else if (part->next != NULL) {
        /* Replacing the value of a key that is there allocates nothing and cannot fail. */
        enum emac_status st = cid_map_put(&s->part, &part->cid, part->next, NULL);
        EMAC_ASSERT(st == EMAC_OK);
    } else {
        cid_map_remove(&s->part, &part->cid);
    }
    part->prev = part->next = NULL;
}

static void unheld_push(struct store *s, struct store_held *v)
{
    v->newer = NULL;
    v->older = s->value_newest;
    if (v->older != NULL)
        v->older->newer = v;
    else
        s->value_oldest = v;
    s->value_newest = v;
    s->unheld_bytes += v->pub.size;
}

static void unheld_unlink(struct store *s, struct store_held *v)
{
    if (v->newer != NULL)
        v->newer->older = v->older;
    else
        s->value_newest = v->older;
    if (v->older != NULL)
        v->older->newer = v->newer;
    else
        s->value_oldest = v->newer;
    v->newer = v->older = NULL;
    s->unheld_bytes -= v->pub.size;
}

void store_held_hold(struct store *s, struct store_held *v)
{
    if (v->holds++ == 0)
        unheld_unlink(s, v);
}

void store_held_unlist(struct store *s, struct store_held *v)
{
    for (size_t i = 0; i < v->count; i++)
        part_unlink(s, &v->part[i]);
    cid_map_remove(&s->value, &v->pub.cid);
    s->memory_bytes -= v->pub.size;
}

void store_held_remove(struct store *s, struct store_held *v)
{
    EMAC_ASSERT(v->holds == 0 && v->where != VALUE_LOST);
    unheld_unlink(s, v);
    store_held_unlist(s, v);
}

/* Take the oldest out of the index while too much is unheld. They are chained by `older` to be
 * freed after the lock is gone, for giving back much memory takes time. */
static struct store_held *evict(struct store *s)
{
    struct store_held *gone = NULL;
    while (s->unheld_bytes > s->memory_quota && s->value_oldest != NULL) {
        struct store_held *v = s->value_oldest;
        store_held_remove(s, v);
        v->older = gone;
        gone = v;
    }
    return gone;
}

static void free_chain(struct store_held *v)
{
    while (v != NULL) {
        struct store_held *next = v->older;
        store_held_free(v);
        v = next;
    }
}

static enum emac_status insert(struct store *s, struct store_held *v, struct emac_err *err)
{
    enum emac_status st = cid_map_put(&s->value, &v->pub.cid, v, err);
    if (st != EMAC_OK)
        return st;
    for (size_t i = 0; i < v->count; i++) {
        st = part_link(s, &v->part[i], err);
        if (st != EMAC_OK) {
            while (i > 0)
                part_unlink(s, &v->part[--i]);
            cid_map_remove(&s->value, &v->pub.cid);
            return st;
        }
    }
    s->memory_bytes += v->pub.size;
    return EMAC_OK;
}

enum emac_status store_held_register(struct store *s, struct store_held *v, const struct cid *root,
                                     uint64_t tree_size, const struct store_value **out,
                                     struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    struct store_origin done = {0};
    struct store_held *old;
    v->pub.cid = *root;
    v->pub.tree_size = tree_size;
    os_mutex_lock(&s->lock);
    while ((old = cid_map_get(&s->value, root)) != NULL && old->where == VALUE_COMING)
        os_cond_wait(&s->changed, &s->lock);
    if (old != NULL) {
        store_held_hold(s, old);
        old->forget = false;
        if (old->where == VALUE_AWAY && v->where == VALUE_HERE)
            done = store_held_land(old, &v->data);
    } else {
        st = insert(s, v, err);
        v->holds = 1;
    }
    os_mutex_unlock(&s->lock);
    if (done.release != NULL)
        done.release(done.ctx);
    if (old != NULL || st != EMAC_OK)
        store_held_free(v);
    *out = old != NULL ? &old->pub : st == EMAC_OK ? &v->pub : NULL;
    return st;
}

void store_values_release(struct store *s)
{
    /* Whoever still holds a value would read freed memory from here on. */
    EMAC_ASSERT(s->unheld_bytes == s->memory_bytes);
    s->memory_quota = 0;
    struct store_held *v = s->value_newest;
    s->value_newest = s->value_oldest = NULL;
    free_chain(v);
    cid_map_release(&s->value);
    cid_map_release(&s->part);
}

/* ---- finding and giving back ---- */

const struct store_value *store_value_find(struct store *s, const struct cid *cid)
{
    os_mutex_lock(&s->lock);
    struct store_held *v = cid_map_get(&s->value, cid);
    if (v != NULL)
        store_held_hold(s, v);
    os_mutex_unlock(&s->lock);
    return v != NULL ? &v->pub : NULL;
}

bool store_value_has(struct store *s, const struct cid *cid)
{
    os_mutex_lock(&s->lock);
    bool has = cid_map_get(&s->value, cid) != NULL;
    os_mutex_unlock(&s->lock);
    return has;
}

/* Any of those that are here, else one that must come. */
static const struct store_part *part_choose(struct store *s, const struct cid *cid)
{
    const struct store_part *first = cid_map_get(&s->part, cid), *part = first;
    while (part != NULL && part->data == NULL)
        part = part->next;
    return part != NULL ? part : first;
}

enum emac_status store_part_hold(struct store *s, const struct cid *cid,
                                 const struct store_part **out, struct emac_err *err)
{
    for (;;) {
        const uint8_t *ignored;
        os_mutex_lock(&s->lock);
        const struct store_part *part = part_choose(s, cid);
        bool here = part == NULL || part->data != NULL;
        if (part != NULL)
            store_held_hold(s, part->value);
        os_mutex_unlock(&s->lock);
        *out = part;
        if (here)
            return EMAC_OK;
        enum emac_status st = store_value_bytes(s, &part->value->pub, &ignored, err);
        if (st == EMAC_OK)
            return EMAC_OK;
        store_value_drop(s, &part->value->pub);
        *out = NULL;
        if (st == EMAC_NO_MEMORY)
            return st; /* else it is lost, and another may have it */
    }
}

bool store_part_has(struct store *s, const struct cid *cid, uint64_t *size)
{
    os_mutex_lock(&s->lock);
    const struct store_part *part = cid_map_get(&s->part, cid);
    if (part != NULL && size != NULL)
        *size = part->size;
    os_mutex_unlock(&s->lock);
    return part != NULL;
}

const struct store_value *store_value_hold(struct store *s, const struct store_value *v)
{
    struct store_held *held = (struct store_held *)v;
    os_mutex_lock(&s->lock);
    EMAC_ASSERT(held->holds > 0);
    held->holds++;
    os_mutex_unlock(&s->lock);
    return v;
}

static void give_back(struct store *s, const struct store_value *v, bool forget)
{
    struct store_held *held = (struct store_held *)v, *gone = NULL;
    os_mutex_lock(&s->lock);
    EMAC_ASSERT(held->holds > 0);
    held->forget = held->forget || forget;
    if (--held->holds == 0 && held->where == VALUE_LOST) {
        gone = held;
    } else if (held->holds == 0) {
        unheld_push(s, held);
        if (held->forget) {
            store_held_remove(s, held);
            gone = held;
        } else {
            gone = evict(s);
        }
    }
    os_mutex_unlock(&s->lock);
    free_chain(gone);
}

void store_value_drop(struct store *s, const struct store_value *v)
{
    if (v != NULL)
        give_back(s, v, false);
}

void store_value_forget(struct store *s, const struct store_value *v)
{
    if (v != NULL)
        give_back(s, v, true);
}

/* ---- adopting bytes ---- */

size_t store_leaves(size_t size)
{
    return size == 0 ? 1 : (size - 1) / UNIXFS_CHUNK + 1;
}

size_t store_leaf_size(size_t size, size_t i)
{
    size_t at = i * UNIXFS_CHUNK;
    return size - at < UNIXFS_CHUNK ? size - at : UNIXFS_CHUNK;
}

struct leaves {
    const uint8_t *data;
    size_t size;
    struct cid *cid;
};

static void leaf_hash(void *ctx, size_t i)
{
    struct leaves *l = ctx;
    l->cid[i] = cid_of(CID_RAW, l->data + i * UNIXFS_CHUNK, store_leaf_size(l->size, i));
}

static enum emac_status inner_keep(void *ctx, const struct cid *cid, const void *data, size_t n,
                                   struct emac_err *err)
{
    uint8_t *copy;
    enum emac_status st = emac_alloc(&copy, 1, n, err);
    if (st != EMAC_OK)
        return st;
    memcpy(copy, data, n);
    st = store_held_add(ctx, cid, copy, n, true, err);
    if (st != EMAC_OK)
        free(copy);
    return st;
}

enum emac_status store_held_tree(struct store_held *v, const struct cid *leaf, size_t count,
                                 struct cid *root, uint64_t *tree_size, struct emac_err *err)
{
    size_t size = v->pub.size;
    enum emac_status st = EMAC_OK;
    EMAC_ASSERT(count == store_leaves(size));
    for (size_t i = 0; i < count && st == EMAC_OK; i++)
        st = store_held_add(v, &leaf[i], v->data != NULL ? v->data + i * UNIXFS_CHUNK : NULL,
                            store_leaf_size(size, i), false, err);
    *root = leaf[0];
    *tree_size = size;
    return st == EMAC_OK && count > 1
               ? unixfs_tree_from_leaves(leaf, count, size, inner_keep, v, root, tree_size, err)
               : st;
}

/* Hash the leaves, build the tree above them. */
static enum emac_status tree_build(struct store *s, struct store_held *v, struct cid *root,
                                   uint64_t *tree_size, struct emac_err *err)
{
    size_t count = store_leaves(v->pub.size);
    struct leaves l = {.data = v->data, .size = v->pub.size};
    enum emac_status st = emac_alloc(&l.cid, count, sizeof *l.cid, err);
    if (st != EMAC_OK)
        return st;
    store_parallel(s, count, leaf_hash, &l);
    st = store_held_tree(v, l.cid, count, root, tree_size, err);
    free(l.cid);
    return st;
}

enum emac_status store_value_adopt(struct store *s, uint8_t *data, size_t size,
                                   const struct store_value **out, struct emac_err *err)
{
    struct store_held *v;
    struct cid root;
    uint64_t tree_size;
    *out = NULL;
    enum emac_status st = store_held_new(data, size, &v, err);
    if (st != EMAC_OK) {
        free(data);
        return st;
    }
    st = tree_build(s, v, &root, &tree_size, err);
    if (st != EMAC_OK) {
        store_held_free(v);
        return st;
    }
    return store_held_register(s, v, &root, tree_size, out, err);
}

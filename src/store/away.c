/* Values whose bytes lie elsewhere, and how they come.
 *
 *   away   --somebody asks-->       coming   (one thread reads, others wait on `changed`)
 *   coming --read, leaves agree-->  here     the origin is released
 *   coming --no memory-->           away     who asked is told
 *   coming --anything else-->       lost     out of the index, the origin is released
 *   away   --store_value_lose-->    lost
 *
 * Here and lost are final. Bytes are read and hashed without a lock; they become the value's under
 * `lock`, which is how whoever asked sees them. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "crypto/crypto.h"
#include "store/internal.h"

uint32_t store_hash_threads(const struct store *s)
{
    return s->pool != NULL ? os_pool_size(s->pool) : 1;
}

/* ---- under construction ---- */

static enum emac_status away_build(struct store_held *v, const struct store_away *a,
                                   struct cid *root, uint64_t *tree_size, struct emac_err *err)
{
    size_t count = store_leaves(a->size);
    struct cid *leaf = NULL;
    enum emac_status st;
    EMAC_TRY(st, emac_alloc(&v->head, a->head_size ? a->head_size : 1, 1, err));
    if (a->head_size > 0)
        memcpy(v->head, a->head, a->head_size);
    v->pub.head = v->head;
    v->pub.head_size = a->head_size;
    EMAC_TRY(st, emac_alloc(&leaf, count, sizeof *leaf, err));
    for (size_t i = 0; i < count; i++) {
        leaf[i].codec = CID_RAW;
        memcpy(leaf[i].digest, a->leaf[i], sizeof leaf[i].digest);
    }
    st = store_held_tree(v, leaf, count, root, tree_size, err);
out:
    free(leaf);
    return st;
}

enum emac_status store_value_adopt_away(struct store *s, const struct store_away *a,
                                        const struct store_value **out, struct emac_err *err)
{
    struct store_held *v;
    struct cid root;
    uint64_t tree_size;
    EMAC_ASSERT(a->origin.read != NULL && a->origin.release != NULL && a->head_size <= a->size);
    *out = NULL;
    enum emac_status st = store_held_new(NULL, a->size, &v, err);
    if (st != EMAC_OK) {
        a->origin.release(a->origin.ctx);
        return st;
    }
    v->origin = a->origin;
    v->where = VALUE_AWAY;
    st = away_build(v, a, &root, &tree_size, err);
    if (st != EMAC_OK) {
        store_held_free(v);
        return st;
    }
    return store_held_register(s, v, &root, tree_size, out, err);
}

/* ---- coming ---- */

struct checking {
    const struct store_held *v;
    const uint8_t *data;
    bool *wrong; /* of each leaf */
};

static void leaf_check(void *ctx, size_t i)
{
    struct checking *c = ctx;
    uint8_t digest[SHA256_BYTES];
    crypto_sha256(digest, c->data + i * UNIXFS_CHUNK, store_leaf_size(c->v->pub.size, i));
    c->wrong[i] = memcmp(digest, c->v->part[i].cid.digest, sizeof digest) != 0;
}

/* INV-1. The leaves are the first parts. */
static enum emac_status leaves_check(struct store *s, const struct store_held *v,
                                     const uint8_t *data, struct emac_err *err)
{
    size_t count = store_leaves(v->pub.size);
    struct checking c = {.v = v, .data = data};
    enum emac_status st = emac_alloc(&c.wrong, count, sizeof *c.wrong, err);
    if (st != EMAC_OK)
        return st;
    store_parallel(s, count, leaf_check, &c);
    for (size_t i = 0; i < count && st == EMAC_OK; i++)
        if (c.wrong[i])
            st = emac_fail(err, EMAC_CORRUPT,
                           "byte %zu of '%s' and after it are not what they were when it was "
                           "hashed: the memory they lay in is not to be trusted",
                           i * UNIXFS_CHUNK, store_name_of(&v->pub.cid).text);
    free(c.wrong);
    return st;
}

static enum emac_status come(struct store *s, struct store_held *v, uint8_t **out,
                             struct emac_err *err)
{
    enum emac_status st = emac_alloc_aligned(out, v->pub.size, err);
    if (st != EMAC_OK)
        return st;
    st = v->origin.read(v->origin.ctx, *out, v->pub.size, err);
    if (st == EMAC_OK)
        st = leaves_check(s, v, *out, err);
    if (st != EMAC_OK) {
        free(*out);
        *out = NULL;
    }
    return st;
}

static struct store_origin origin_take(struct store_held *v)
{
    struct store_origin origin = v->origin;
    v->origin = (struct store_origin){0};
    return origin;
}

struct store_origin store_held_land(struct store_held *v, uint8_t **data)
{
    v->where = VALUE_HERE;
    v->data = *data;
    v->pub.data = *data;
    for (size_t i = 0; i < store_leaves(v->pub.size); i++)
        v->part[i].data = *data + i * UNIXFS_CHUNK;
    *data = NULL;
    return origin_take(v);
}

static struct store_origin lost(struct store *s, struct store_held *v)
{
    v->where = VALUE_LOST;
    store_held_unlist(s, v);
    return origin_take(v);
}

/* What the state becomes after `come`; gives the origin to be released, if it is. */
static struct store_origin settle(struct store *s, struct store_held *v, enum emac_status st,
                                  uint8_t *data)
{
    struct store_origin done = {0};
    EMAC_ASSERT(v->where == VALUE_COMING && v->holds > 0);
    if (st == EMAC_NO_MEMORY)
        v->where = VALUE_AWAY;
    else
        done = st == EMAC_OK ? store_held_land(v, &data) : lost(s, v);
    os_cond_broadcast(&s->changed);
    return done;
}

/* This thread brings it. */
static enum emac_status bring(struct store *s, struct store_held *v, struct emac_err *err)
{
    struct emac_err why = {.status = EMAC_OK};
    uint8_t *data = NULL;
    enum emac_status st = come(s, v, &data, &why);
    os_mutex_lock(&s->lock);
    struct store_origin origin = settle(s, v, st, data);
    os_mutex_unlock(&s->lock);
    if (origin.release != NULL)
        origin.release(origin.ctx);
    if (st == EMAC_OK || st == EMAC_NO_MEMORY)
        return st == EMAC_OK ? st : emac_fail(err, st, "%s", why.text);
    LOG_W("store", "'%s' is lost: %s", store_name_of(&v->pub.cid).text, why.text);
    return emac_fail(err, EMAC_UNAVAILABLE, "'%s' is lost: %s", store_name_of(&v->pub.cid).text,
                     why.text);
}

enum emac_status store_value_bytes(struct store *s, const struct store_value *pub,
                                   const uint8_t **out, struct emac_err *err)
{
    struct store_held *v = (struct store_held *)pub;
    os_mutex_lock(&s->lock);
    EMAC_ASSERT(v->holds > 0);
    while (v->where == VALUE_COMING)
        os_cond_wait(&s->changed, &s->lock);
    enum store_where where = v->where;
    if (where == VALUE_AWAY)
        v->where = VALUE_COMING;
    os_mutex_unlock(&s->lock);
    enum emac_status st = EMAC_OK;
    if (where == VALUE_LOST)
        st = emac_fail(err, EMAC_UNAVAILABLE, "'%s' is lost with the device that it lay on",
                       store_name_of(&v->pub.cid).text);
    else if (where == VALUE_AWAY)
        st = bring(s, v, err);
    *out = st == EMAC_OK ? v->pub.data : NULL;
    return st;
}

/* ---- the end of an origin ---- */

bool store_value_is_away(struct store *s, const struct cid *cid)
{
    os_mutex_lock(&s->lock);
    const struct store_held *v = cid_map_get(&s->value, cid);
    bool away = v != NULL && v->where != VALUE_HERE;
    os_mutex_unlock(&s->lock);
    return away;
}

/* Once nobody is bringing it; NULL unless it is away. Under lock. */
static struct store_held *away_find(struct store *s, const struct cid *cid)
{
    struct store_held *v;
    while ((v = cid_map_get(&s->value, cid)) != NULL && v->where == VALUE_COMING)
        os_cond_wait(&s->changed, &s->lock);
    return v != NULL && v->where == VALUE_AWAY ? v : NULL;
}

enum emac_status store_value_land(struct store *s, const struct cid *cid, struct emac_err *err)
{
    const uint8_t *ignored;
    os_mutex_lock(&s->lock);
    struct store_held *v = away_find(s, cid);
    bool wanted = v != NULL && v->holds > 0;
    if (wanted)
        store_held_hold(s, v);
    else if (v != NULL)
        store_held_remove(s, v);
    os_mutex_unlock(&s->lock);
    if (v == NULL)
        return EMAC_OK;
    if (!wanted) {
        store_held_free(v);
        return EMAC_OK;
    }
    enum emac_status st = store_value_bytes(s, &v->pub, &ignored, err);
    store_value_drop(s, &v->pub);
    return st == EMAC_NO_MEMORY ? st : EMAC_OK;
}

void store_value_lose(struct store *s, const struct cid *cid)
{
    os_mutex_lock(&s->lock);
    struct store_held *v = away_find(s, cid);
    bool wanted = v != NULL && v->holds > 0;
    struct store_origin origin = {0};
    if (wanted)
        origin = lost(s, v);
    else if (v != NULL)
        store_held_remove(s, v);
    os_mutex_unlock(&s->lock);
    if (origin.release != NULL)
        origin.release(origin.ctx);
    if (v != NULL && !wanted)
        store_held_free(v);
}

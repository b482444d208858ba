#include "store/internal.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "base/log.h"
#include "os/process.h"

#define STORE_QUOTA_DEFAULT ((uint64_t)1 << 40)
#define LOCK_TRIES          100
#define LOCK_WAIT_MS        100

struct store_name store_name_of(const struct cid *cid)
{
    struct store_name name;
    cid_text(name.text, cid);
    return name;
}

enum emac_status store_array_grow(void *array, size_t count, size_t *cap, size_t size, size_t max,
                                  struct emac_err *err)
{
    if (count >= max)
        return emac_fail(err, EMAC_TOO_LARGE, "more than %zu entries in one DAG or list", max);
    return emac_grow(array, count, cap, size, err);
}

struct parallel {
    atomic_size_t next;
    size_t count;
    void (*fn)(void *ctx, size_t i);
    void *ctx;
};

static void parallel_part(void *ctx, uint32_t part, uint32_t parts)
{
    struct parallel *p = ctx;
    size_t i;
    while ((i = atomic_fetch_add(&p->next, 1)) < p->count)
        p->fn(p->ctx, i);
}

void store_parallel(struct store *s, size_t count, void (*fn)(void *ctx, size_t i), void *ctx)
{
    struct parallel p = {.count = count, .fn = fn, .ctx = ctx};
    os_mutex_lock(&s->lock);
    bool mine = s->pool != NULL && !s->pool_busy && count > 1;
    if (mine)
        s->pool_busy = true;
    os_mutex_unlock(&s->lock);
    if (!mine) {
        parallel_part(&p, 0, 1);
        return;
    }
    os_pool_run(s->pool, parallel_part, &p);
    os_mutex_lock(&s->lock);
    s->pool_busy = false;
    os_mutex_unlock(&s->lock);
}

/* Short-lived commands share a store with each other by waiting their turn. */
static enum emac_status lock_wait(struct store *s, const char *path, struct emac_err *err)
{
    enum emac_status st = os_lock_take(path, &s->dir_lock, err);
    for (int i = 0; i < LOCK_TRIES && st == EMAC_CONFLICT; i++) {
        s->os->sleep_ms(s->os, LOCK_WAIT_MS);
        st = os_lock_take(path, &s->dir_lock, err);
    }
    return st;
}

static enum emac_status dir_open(struct store *s, struct emac_err *err)
{
    char path[OS_PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/lock", s->dir);
    if (n < 0 || (size_t)n + 128 >= sizeof path)
        return emac_fail(err, EMAC_INVALID, "the store's path of %zu bytes is too long",
                         strlen(s->dir));
    enum emac_status st = s->os->dir_make(s->os, s->dir, err);
    /* Our directory's own name may be new, too; where its parent is not ours to read, so be it. */
    if (st == EMAC_OK)
        s->os->file_sync(s->os, s->dir, NULL);
    if (st == EMAC_OK)
        st = lock_wait(s, path, err);
    if (st == EMAC_OK)
        st = store_blocks_open(s, err);
    return st == EMAC_OK ? store_pins_open(s, err) : st;
}

/* A quota that was lowered since the last start. What is pinned stays, over quota or not. */
static void quota_apply(struct store *s)
{
    struct emac_err err;
    uint64_t freed;
    if (s->disk_bytes > s->disk_quota && store_gc(s, s->disk_quota, &freed, &err) != EMAC_OK)
        LOG_W("store", "cannot shrink '%s' to its quota: %s", s->dir, err.text);
}

enum emac_status store_open(const struct store_config *cfg, struct store **out,
                            struct emac_err *err)
{
    struct store *s;
    *out = NULL;
    if (cfg->hash_threads == 0)
        return emac_fail(err, EMAC_INVALID, "a store needs at least one hashing thread, not 0");
    enum emac_status st = emac_alloc(&s, 1, sizeof *s, err);
    if (st != EMAC_OK)
        return st;
    s->os = cfg->os;
    s->memory_quota = cfg->memory_quota != 0 ? cfg->memory_quota : os_memory_bytes() / 4;
    s->disk_quota = cfg->disk_quota != 0 ? cfg->disk_quota
                    : cfg->dir != NULL   ? STORE_QUOTA_DEFAULT
                                         : s->memory_quota;
    s->os->entropy(s->os, &s->secret, sizeof s->secret);
    os_mutex_init(&s->lock);
    os_mutex_init(&s->pin_lock);
    os_cond_init(&s->changed);
    cid_map_init(&s->block, s->secret);
    cid_map_init(&s->value, s->secret);
    cid_map_init(&s->part, s->secret);
    cid_map_init(&s->marked, s->secret);
    if (cfg->hash_threads > 1)
        s->pool = os_pool_new(cfg->hash_threads);
    if (cfg->dir != NULL) {
        s->dir = emac_strdup(cfg->dir);
        st = dir_open(s, err);
    }
    if (st != EMAC_OK) {
        store_close(s);
        return st;
    }
    quota_apply(s);
    *out = s;
    return EMAC_OK;
}

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    if (s->pool != NULL)
        os_pool_free(s->pool);
    store_pins_release(s);
    store_values_release(s);
    store_blocks_release(s);
    cid_map_release(&s->marked);
    os_cond_release(&s->changed);
    os_mutex_release(&s->pin_lock);
    os_mutex_release(&s->lock);
    os_lock_release(s->dir_lock);
    free(s->dir);
    free(s);
}

static enum emac_status size_check(size_t n, struct emac_err *err)
{
    if (n <= UNIXFS_BLOCK_MAX)
        return EMAC_OK;
    return emac_fail(err, EMAC_TOO_LARGE, "a block of %zu bytes is over the limit of %u", n,
                     UNIXFS_BLOCK_MAX);
}

enum emac_status store_block_put(struct store *s, enum cid_codec codec, const void *data, size_t n,
                                 struct cid *out, struct emac_err *err)
{
    enum emac_status st = size_check(n, err);
    if (st != EMAC_OK)
        return st;
    struct cid cid = cid_of(codec, data, n);
    st = store_blocks_put(s, &cid, data, n, false, err);
    if (st == EMAC_OK)
        *out = cid;
    return st;
}

enum emac_status store_block_put_checked(struct store *s, const struct cid *cid, const void *data,
                                         size_t n, struct emac_err *err)
{
    enum emac_status st = size_check(n, err);
    return st == EMAC_OK ? store_blocks_put(s, cid, data, n, false, err) : st;
}

enum emac_status store_block_put_as(struct store *s, const struct cid *cid, const void *data,
                                    size_t n, struct emac_err *err)
{
    enum emac_status st = size_check(n, err);
    if (st != EMAC_OK)
        return st;
    struct cid is = cid_of((enum cid_codec)cid->codec, data, n);
    if (!cid_equal(&is, cid))
        return emac_fail(err, EMAC_CORRUPT,
                         "%zu bytes do not hash to '%s': get them again from elsewhere", n,
                         store_name_of(cid).text);
    return store_blocks_put(s, cid, data, n, false, err);
}

enum emac_status store_block_append(struct store *s, const struct cid *cid, struct emac_buf *out,
                                    struct emac_err *err)
{
    const struct store_part *part;
    uint64_t size;
    enum emac_status st = store_part_hold(s, cid, &part, err);
    if (st != EMAC_OK)
        return st;
    if (part != NULL) {
        st = emac_buf_append(out, part->data, part->size, err);
        store_value_drop(s, &part->value->pub);
        return st;
    }
    /* The block may vanish between the two calls; then the second says so. */
    if (!store_blocks_has(s, cid, &size))
        return emac_fail(err, EMAC_NOT_FOUND, "block '%s' is not here: fetch it from a peer",
                         store_name_of(cid).text);
    st = emac_buf_reserve(out, (size_t)size, err);
    if (st == EMAC_OK)
        st = store_blocks_read(s, cid, out->data + out->len, (size_t)size, err);
    if (st == EMAC_OK) {
        out->len += (size_t)size;
        out->data[out->len] = 0;
    }
    return st;
}

enum emac_status store_block_get(struct store *s, const struct cid *cid, struct emac_buf *out,
                                 struct emac_err *err)
{
    emac_buf_clear(out);
    return store_block_append(s, cid, out, err);
}

bool store_block_has(struct store *s, const struct cid *cid, uint64_t *size)
{
    return store_part_has(s, cid, size) || store_blocks_has(s, cid, size);
}

void store_stats(struct store *s, struct store_stats *out)
{
    os_mutex_lock(&s->lock);
    *out = (struct store_stats){
        .disk_bytes = s->disk_bytes,
        .disk_blocks = s->block.count,
        .disk_quota = s->disk_quota,
        .memory_bytes = s->memory_bytes,
        .values = s->value.count,
    };
    os_mutex_unlock(&s->lock);
}

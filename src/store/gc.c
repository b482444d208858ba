/* Collection: mark the blocks of all pinned DAGs, then sweep the rest, oldest use first.
 *
 * The marks are kept between collections. They stay right while no pin changes and no pinned DAG
 * has holes (a block that arrives later would belong to it unmarked); then they are made anew. */
#include <stdlib.h>

#include "base/log.h"
#include "store/internal.h"
#include "store/walk.h"

#define GC_SLACK_PART 32 /* a collection frees at least this part of the quota, to be rare */

static char MARK;

struct marking {
    struct store *s;
    struct cid *todo;
    size_t count, cap;
    bool holes;
    enum emac_status st; /* of mark_push: ours, not that of a hostile block */
};

static enum emac_status mark_push(struct marking *m, const struct cid *cid, struct emac_err *err)
{
    if (cid_map_get(&m->s->marked, cid) != NULL)
        return EMAC_OK;
    enum emac_status st =
        store_array_grow(&m->todo, m->count, &m->cap, sizeof *m->todo, STORE_ITEMS_MAX, err);
    if (st == EMAC_OK)
        st = cid_map_put(&m->s->marked, cid, &MARK, err);
    if (st == EMAC_OK)
        m->todo[m->count++] = *cid;
    m->st = st;
    return st;
}

static enum emac_status mark_link(void *ctx, const struct cid *cid, uint64_t offset, uint64_t size,
                                  struct emac_err *err)
{
    return mark_push(ctx, cid, err);
}

/* A block that is missing or cannot be understood has no links we know of; one that the disk does
 * not give right now may have. */
static enum emac_status mark_block(struct marking *m, const struct cid *cid, struct emac_buf *block,
                                   struct emac_err *err)
{
    if (cid->codec == CID_RAW) {
        m->holes = m->holes || !store_block_has(m->s, cid, NULL);
        return EMAC_OK;
    }
    enum emac_status st = store_block_get(m->s, cid, block, err);
    if (st == EMAC_OK)
        st = store_block_links(cid, block->data, block->len, mark_link, m, err);
    else
        m->holes = true;
    if (m->st != EMAC_OK)
        return m->st;
    if (st == EMAC_OK || st == EMAC_NOT_FOUND)
        return EMAC_OK;
    if (st == EMAC_NO_MEMORY || st == EMAC_IO)
        return st;
    LOG_W("store", "below a pinned block: %s", err->text);
    return EMAC_OK;
}

static enum emac_status mark_all(struct store *s, struct emac_err *err)
{
    struct marking m = {.s = s};
    struct emac_buf block;
    struct emac_err own;
    const struct cid_slot *slot;
    enum emac_status st = EMAC_OK;
    if (s->marked_valid)
        return EMAC_OK;
    emac_buf_init(&block, UNIXFS_BLOCK_MAX);
    cid_map_release(&s->marked);
    for (size_t i = 0; i < s->pin_count; i++)
        for (size_t at = 0; (slot = cid_map_next(&s->pin[i].root, &at)) != NULL;)
            EMAC_TRY(st, mark_push(&m, &slot->cid, &own));
    while (m.count > 0) {
        struct cid cid = m.todo[--m.count];
        EMAC_TRY(st, mark_block(&m, &cid, &block, &own));
    }
    s->marked_valid = !m.holes;
out:
    if (st != EMAC_OK && err != NULL)
        *err = own;
    emac_buf_release(&block);
    free(m.todo);
    return st;
}

static enum emac_status collect(struct store *s, uint64_t bytes, uint64_t *freed,
                                struct emac_err *err)
{
    *freed = 0;
    if (s->pin_unread)
        return emac_fail(err, EMAC_CONFLICT,
                         "nothing can be collected, for some pins could not be read at the start: "
                         "repair the files under '%s/pins' and start again",
                         s->dir);
    os_mutex_lock(&s->pin_lock);
    enum emac_status st = mark_all(s, err);
    if (st == EMAC_OK)
        *freed = store_blocks_sweep(s, bytes);
    os_mutex_unlock(&s->pin_lock);
    return st;
}

enum emac_status store_room_make(struct store *s, uint64_t bytes, uint64_t *freed,
                                 struct emac_err *err)
{
    uint64_t slack = s->disk_quota / GC_SLACK_PART;
    return collect(s, bytes > slack ? bytes : slack, freed, err);
}

enum emac_status store_gc(struct store *s, uint64_t target_bytes, uint64_t *freed,
                          struct emac_err *err)
{
    struct store_stats now;
    store_stats(s, &now);
    *freed = 0;
    if (now.disk_bytes <= target_bytes)
        return EMAC_OK;
    return collect(s, now.disk_bytes - target_bytes, freed, err);
}

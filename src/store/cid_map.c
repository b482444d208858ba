#include "store/cid_map.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"

#define CID_MAP_CAP_MIN 16
#define CID_MAP_CAP_MAX ((size_t)1 << 30)

void cid_map_init(struct cid_map *m, uint64_t secret)
{
    *m = (struct cid_map){.secret = secret | 1};
}

void cid_map_release(struct cid_map *m)
{
    free(m->slot);
    *m = (struct cid_map){.secret = m->secret};
}

/* Digests are uniform already, but whoever makes blocks can grind a few bits of them; multiplying
 * by a secret odd number and taking the high half hides which bits matter. */
static size_t home(const struct cid_map *m, const struct cid *cid)
{
    uint64_t a, b;
    memcpy(&a, cid->digest, sizeof a);
    memcpy(&b, cid->digest + 8, sizeof b);
    uint64_t h = (a ^ cid->codec) * m->secret;
    h = (h ^ (h >> 32) ^ b) * m->secret;
    return (size_t)(h >> 32) & (m->cap - 1);
}

/* The slot of the key, or the free one where it would go. */
static size_t find(const struct cid_map *m, const struct cid *cid)
{
    size_t i = home(m, cid);
    while (m->slot[i].value != NULL && !cid_equal(&m->slot[i].cid, cid))
        i = (i + 1) & (m->cap - 1);
    return i;
}

void *cid_map_get(const struct cid_map *m, const struct cid *cid)
{
    return m->cap == 0 ? NULL : m->slot[find(m, cid)].value;
}

static enum emac_status grow(struct cid_map *m, struct emac_err *err)
{
    size_t cap = m->cap == 0 ? CID_MAP_CAP_MIN : m->cap * 2;
    if (cap > CID_MAP_CAP_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "more than %zu CIDs in one table", m->count);
    struct cid_map bigger = {.cap = cap, .count = m->count, .secret = m->secret};
    enum emac_status st = emac_alloc(&bigger.slot, cap, sizeof *bigger.slot, err);
    if (st != EMAC_OK)
        return st;
    for (size_t i = 0; i < m->cap; i++)
        if (m->slot[i].value != NULL)
            bigger.slot[find(&bigger, &m->slot[i].cid)] = m->slot[i];
    free(m->slot);
    *m = bigger;
    return EMAC_OK;
}

enum emac_status cid_map_put(struct cid_map *m, const struct cid *cid, void *value,
                             struct emac_err *err)
{
    EMAC_ASSERT(value != NULL);
    if ((m->count + 1) * 4 > m->cap * 3) {
        enum emac_status st = grow(m, err);
        if (st != EMAC_OK)
            return st;
    }
    struct cid_slot *slot = &m->slot[find(m, cid)];
    if (slot->value == NULL)
        m->count++;
    slot->cid = *cid;
    slot->value = value;
    return EMAC_OK;
}

/* Close the hole at `i`: move back each follower whose way from its home leads across the hole. */
static void close_hole(struct cid_map *m, size_t i)
{
    size_t mask = m->cap - 1;
    for (size_t j = (i + 1) & mask; m->slot[j].value != NULL; j = (j + 1) & mask) {
        size_t h = home(m, &m->slot[j].cid);
        if (((j - h) & mask) < ((j - i) & mask))
            continue;
        m->slot[i] = m->slot[j];
        m->slot[j].value = NULL;
        i = j;
    }
}

void *cid_map_remove(struct cid_map *m, const struct cid *cid)
{
    if (m->cap == 0)
        return NULL;
    size_t i = find(m, cid);
    void *value = m->slot[i].value;
    if (value == NULL)
        return NULL;
    m->slot[i].value = NULL;
    m->count--;
    close_hole(m, i);
    return value;
}

const struct cid_slot *cid_map_next(const struct cid_map *m, size_t *at)
{
    while (*at < m->cap) {
        const struct cid_slot *slot = &m->slot[(*at)++];
        if (slot->value != NULL)
            return slot;
    }
    return NULL;
}

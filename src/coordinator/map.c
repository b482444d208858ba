#include "coordinator/map.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"

#define MAP_CAP_FIRST 64

/* FNV-1a: keys are DIDs, random enough that nobody gains by collisions worth more than a scan. */
static uint64_t text_hash(const char *s)
{
    uint64_t h = UINT64_C(14695981039346656037);
    for (; *s; s++)
        h = (h ^ (uint8_t)*s) * UINT64_C(1099511628211);
    return h;
}

static size_t slot_of(const struct map *m, const char *key)
{
    size_t i = text_hash(key) & (m->cap - 1);
    while (m->entry[i].key && strcmp(m->entry[i].key, key) != 0)
        i = (i + 1) & (m->cap - 1);
    return i;
}

static void *zeroed(size_t count, size_t size)
{
    void *p = NULL;
    enum emac_status st = emac_alloc(&p, count, size, NULL);
    EMAC_ASSERT(st == EMAC_OK);
    return p;
}

static void grow(struct map *m)
{
    struct map old = *m;
    m->cap = old.cap ? old.cap * 2 : MAP_CAP_FIRST;
    m->entry = zeroed(m->cap, sizeof(*m->entry));
    for (size_t i = 0; i < old.cap; i++)
        if (old.entry[i].key)
            m->entry[slot_of(m, old.entry[i].key)] = old.entry[i];
    free(old.entry);
}

void map_release(struct map *m, void (*free_value)(void *value))
{
    for (size_t i = 0; i < m->cap; i++) {
        if (m->entry[i].key && free_value)
            free_value(m->entry[i].value);
        free(m->entry[i].key);
    }
    free(m->entry);
    *m = (struct map){0};
}

void *map_get(const struct map *m, const char *key)
{
    return m->cap ? m->entry[slot_of(m, key)].value : NULL;
}

void map_put(struct map *m, const char *key, void *value)
{
    if (m->count * 2 >= m->cap)
        grow(m);
    struct map_entry *e = &m->entry[slot_of(m, key)];
    EMAC_ASSERT(e->key == NULL && value != NULL);
    e->key = emac_strdup(key);
    e->value = value;
    m->count++;
}

void *map_remove(struct map *m, const char *key)
{
    if (m->cap == 0)
        return NULL;
    size_t i = slot_of(m, key);
    void *value = m->entry[i].value;
    if (m->entry[i].key == NULL)
        return NULL;
    free(m->entry[i].key);
    m->entry[i] = (struct map_entry){0};
    m->count--;
    /* Close the gap: entries after it may have been pushed past their place. */
    for (size_t k = (i + 1) & (m->cap - 1); m->entry[k].key; k = (k + 1) & (m->cap - 1)) {
        struct map_entry e = m->entry[k];
        m->entry[k] = (struct map_entry){0};
        m->entry[slot_of(m, e.key)] = e;
    }
    return value;
}

bool map_next(const struct map *m, size_t *at, struct map_entry *out)
{
    for (; *at < m->cap; (*at)++)
        if (m->entry[*at].key) {
            *out = m->entry[(*at)++];
            return true;
        }
    return false;
}

static size_t cid_slot(const struct cid_set *s, const struct cid *cid)
{
    uint64_t h;
    memcpy(&h, cid->digest, sizeof(h));
    size_t i = h & (s->cap - 1);
    while (s->slot[i].codec && !cid_equal(&s->slot[i], cid))
        i = (i + 1) & (s->cap - 1);
    return i;
}

void cid_set_release(struct cid_set *s)
{
    free(s->slot);
    *s = (struct cid_set){0};
}

bool cid_set_has(const struct cid_set *s, const struct cid *cid)
{
    return s->cap && s->slot[cid_slot(s, cid)].codec;
}

static void cid_grow(struct cid_set *s)
{
    struct cid_set old = *s;
    s->cap = old.cap ? old.cap * 2 : MAP_CAP_FIRST;
    s->slot = zeroed(s->cap, sizeof(*s->slot));
    for (size_t i = 0; i < old.cap; i++)
        if (old.slot[i].codec)
            s->slot[cid_slot(s, &old.slot[i])] = old.slot[i];
    free(old.slot);
}

void cid_set_add(struct cid_set *s, const struct cid *cid)
{
    EMAC_ASSERT(!cid_is_none(cid));
    if (cid_set_has(s, cid))
        return;
    if (s->count >= CID_SET_MAX)
        cid_set_clear(s);
    if (s->count * 2 >= s->cap)
        cid_grow(s);
    s->slot[cid_slot(s, cid)] = *cid;
    s->count++;
}

void cid_set_clear(struct cid_set *s)
{
    if (s->cap)
        memset(s->slot, 0, s->cap * sizeof(*s->slot));
    s->count = 0;
}

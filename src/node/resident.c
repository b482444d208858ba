#include "node/resident.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"

#define ITEMS_FIRST 32

void resident_init(struct resident_set *set, struct device *dev)
{
    *set = (struct resident_set){.dev = dev};
}

static void remove_at(struct resident_set *set, size_t i)
{
    struct resident *r = set->item[i];
    EMAC_ASSERT(r->holds == 0);
    device_free(set->dev, r->at);
    free(r);
    set->item[i] = set->item[--set->count];
}

void resident_release(struct resident_set *set)
{
    while (set->count > 0)
        remove_at(set, set->count - 1);
    free(set->item);
}

static bool oldest_remove(struct resident_set *set)
{
    size_t oldest = set->count;
    for (size_t i = 0; i < set->count; i++)
        if (set->item[i]->holds == 0 &&
            (oldest == set->count || set->item[i]->used < set->item[oldest]->used))
            oldest = i;
    if (oldest == set->count)
        return false;
    remove_at(set, oldest);
    return true;
}

enum emac_status resident_alloc(struct resident_set *set, size_t bytes, void *out_ptr,
                                struct emac_err *err)
{
    for (;;) {
        enum emac_status st = device_alloc(set->dev, bytes, out_ptr, err);
        if (st != EMAC_NO_MEMORY || !oldest_remove(set))
            return st;
    }
}

static struct resident *find(struct resident_set *set, const struct cid *cid)
{
    for (size_t i = 0; i < set->count; i++)
        if (cid_equal(&set->item[i]->cid, cid))
            return set->item[i];
    return NULL;
}

/* A new item, not held; NULL when there is no memory for it. */
static struct resident *add(struct resident_set *set, const struct cid *cid, uint8_t *at,
                            size_t bytes)
{
    struct resident *r;
    if (set->count == set->cap) {
        size_t cap = set->cap ? 2 * set->cap : ITEMS_FIRST;
        struct resident **more;
        if (emac_alloc(&more, cap, sizeof *more, NULL) != EMAC_OK)
            return NULL;
        if (set->count)
            memcpy(more, set->item, set->count * sizeof *more);
        free(set->item);
        set->item = more;
        set->cap = cap;
    }
    if (emac_alloc(&r, 1, sizeof *r, NULL) != EMAC_OK)
        return NULL;
    *r = (struct resident){.cid = *cid, .at = at, .bytes = bytes, .used = ++set->uses};
    set->item[set->count++] = r;
    return r;
}

enum emac_status resident_bring(struct resident_set *set, const struct store_value *v,
                                struct resident **out, struct emac_err *err)
{
    struct resident *r = find(set, &v->cid);
    uint8_t *at = NULL;
    enum emac_status st = EMAC_OK;
    EMAC_ASSERT(!device_is_host(set->dev));
    if (r == NULL) {
        EMAC_TRY(st, resident_alloc(set, v->size, &at, err));
        EMAC_TRY(st, device_write(set->dev, at, v->data, v->size, err));
        r = add(set, &v->cid, at, v->size);
        if (r == NULL)
            st = emac_fail(err, EMAC_NO_MEMORY, "no memory to note a copy on the device");
    }
    if (st == EMAC_OK) {
        r->used = ++set->uses;
        r->holds++;
        *out = r;
    }
out:
    if (st != EMAC_OK)
        device_free(set->dev, at);
    return st;
}

void resident_adopt(struct resident_set *set, const struct cid *cid, uint8_t *at, size_t bytes)
{
    if (find(set, cid) != NULL || add(set, cid, at, bytes) == NULL)
        device_free(set->dev, at);
}

void resident_drop(struct resident *r)
{
    EMAC_ASSERT(r->holds > 0);
    r->holds--;
}

void resident_prune(struct resident_set *set, struct store *s)
{
    for (size_t i = set->count; i > 0; i--)
        if (set->item[i - 1]->holds == 0 && !store_value_has(s, &set->item[i - 1]->cid))
            remove_at(set, i - 1);
}

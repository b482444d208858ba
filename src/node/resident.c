#include "node/resident.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "os/thread.h"

#define ITEMS_FIRST 32

/* ---- loans ---- */

struct loan {
    atomic_uint holders;  /* the copy, the store; the last one frees it */
    struct os_mutex lock; /* held over a read, and guards `ended` */
    bool ended;           /* the memory is not the copy's any more */
    struct device_view view;
};

static void loan_leave(struct loan *l)
{
    if (atomic_fetch_sub(&l->holders, 1) > 1)
        return;
    os_mutex_release(&l->lock);
    free(l);
}

/* The copy goes: waits for who reads it now. */
static void loan_end(struct loan *l)
{
    os_mutex_lock(&l->lock);
    l->ended = true;
    os_mutex_unlock(&l->lock);
    loan_leave(l);
}

static enum emac_status loan_read(void *ctx, uint8_t *out, size_t size, struct emac_err *err)
{
    struct loan *l = ctx;
    os_mutex_lock(&l->lock);
    EMAC_ASSERT(size == l->view.bytes);
    enum emac_status st =
        l->ended ? emac_fail(err, EMAC_UNAVAILABLE, "the memory of the device it lay in is gone")
                 : device_view_read(&l->view, out, err);
    os_mutex_unlock(&l->lock);
    return st;
}

static void loan_release(void *ctx)
{
    loan_leave(ctx);
}

static enum emac_status loan_new(struct resident_set *set, const uint8_t *at, size_t bytes,
                                 struct loan **out, struct emac_err *err)
{
    struct loan *l;
    enum emac_status st = emac_alloc(&l, 1, sizeof *l, err);
    if (st != EMAC_OK)
        return st;
    st = device_view(set->dev, at, bytes, &l->view, err);
    if (st != EMAC_OK) {
        free(l);
        return st;
    }
    os_mutex_init(&l->lock);
    atomic_init(&l->holders, 2);
    *out = l;
    return EMAC_OK;
}

/* Does the store still read by it, or may it yet? */
static bool loan_stands(const struct loan *l)
{
    return l != NULL && atomic_load(&l->holders) > 1;
}

/* ---- the set ---- */

void resident_init(struct resident_set *set, struct device *dev, struct store *store)
{
    *set = (struct resident_set){.dev = dev, .store = store};
}

/* RES-3: its value is not away any more, or nobody's. */
static void remove_at(struct resident_set *set, size_t i)
{
    struct resident *r = set->item[i];
    EMAC_ASSERT(r->holds == 0);
    if (r->loan != NULL)
        loan_end(r->loan);
    device_free(set->dev, r->at);
    free(r);
    set->item[i] = set->item[--set->count];
}

void resident_release(struct resident_set *set)
{
    while (set->count > 0) {
        const struct resident *r = set->item[set->count - 1];
        if (loan_stands(r->loan) &&
            (device_lost(set->dev) || store_value_land(set->store, &r->cid, NULL) != EMAC_OK))
            store_value_lose(set->store, &r->cid);
        remove_at(set, set->count - 1);
    }
    free(set->item);
}

/* The one used longest ago that nobody holds, among those with or without a loan that stands; count
 * when there is none. */
static size_t oldest(const struct resident_set *set, bool lent)
{
    size_t found = set->count;
    for (size_t i = 0; i < set->count; i++) {
        const struct resident *r = set->item[i];
        if (r->holds == 0 && loan_stands(r->loan) == lent &&
            (found == set->count || r->used < set->item[found]->used))
            found = i;
    }
    return found;
}

/* RES-2 */
enum emac_status resident_spare(struct resident_set *set, struct emac_err *err)
{
    size_t i = oldest(set, false);
    enum emac_status st = EMAC_OK;
    if (i == set->count) {
        i = oldest(set, true);
        if (i == set->count)
            return emac_fail(err, EMAC_NOT_FOUND, "nothing on the device can be spared");
        st = store_value_land(set->store, &set->item[i]->cid, err);
    }
    if (st == EMAC_OK)
        remove_at(set, i);
    return st;
}

enum emac_status resident_alloc(struct resident_set *set, size_t bytes, void *out_ptr,
                                struct emac_err *err)
{
    for (;;) {
        struct emac_err why;
        enum emac_status st = device_alloc(set->dev, bytes, out_ptr, err);
        if (st != EMAC_NO_MEMORY || resident_spare(set, &why) != EMAC_OK)
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

/* An item with a place in the list, which `add` cannot fail to put there. */
static enum emac_status item_new(struct resident_set *set, struct resident **out,
                                 struct emac_err *err)
{
    if (set->count == set->cap) {
        size_t cap = set->cap ? 2 * set->cap : ITEMS_FIRST;
        struct resident **more;
        enum emac_status st = emac_alloc(&more, cap, sizeof *more, err);
        if (st != EMAC_OK)
            return st;
        if (set->count)
            memcpy(more, set->item, set->count * sizeof *more);
        free(set->item);
        set->item = more;
        set->cap = cap;
    }
    return emac_alloc(out, 1, sizeof **out, err);
}

static void add(struct resident_set *set, struct resident *r, const struct cid *cid, uint8_t *at,
                size_t bytes)
{
    *r = (struct resident){.cid = *cid, .at = at, .bytes = bytes, .used = ++set->uses};
    EMAC_ASSERT(set->count < set->cap);
    set->item[set->count++] = r;
}

enum emac_status resident_bring(struct resident_set *set, const struct store_value *v,
                                struct resident **out, struct emac_err *err)
{
    struct resident *r = find(set, &v->cid), *fresh = NULL;
    const uint8_t *data;
    uint8_t *at = NULL;
    enum emac_status st = EMAC_OK;
    EMAC_ASSERT(!device_is_host(set->dev));
    if (r == NULL) {
        EMAC_TRY(st, store_value_bytes(set->store, v, &data, err));
        EMAC_TRY(st, resident_alloc(set, v->size, &at, err));
        EMAC_TRY(st, device_write(set->dev, at, data, v->size, err));
        EMAC_TRY(st, item_new(set, &fresh, err));
        add(set, fresh, &v->cid, at, v->size);
        r = fresh;
    }
    r->used = ++set->uses;
    r->holds++;
    *out = r;
out:
    if (st != EMAC_OK)
        device_free(set->dev, at);
    return st;
}

void resident_adopt(struct resident_set *set, const struct cid *cid, uint8_t *at, size_t bytes)
{
    struct resident *r;
    if (find(set, cid) != NULL || item_new(set, &r, NULL) != EMAC_OK)
        device_free(set->dev, at);
    else
        add(set, r, cid, at, bytes);
}

static enum emac_status leaves_hash(struct resident_set *set, const uint8_t *at, size_t bytes,
                                    uint8_t (**out)[32], struct emac_err *err)
{
    enum emac_status st = emac_alloc(out, (bytes - 1) / UNIXFS_CHUNK + 1, sizeof **out, err);
    return st == EMAC_OK ? device_sha256(set->dev, at, bytes, UNIXFS_CHUNK, *out, err) : st;
}

/* A loan that the store gave back at once: it has the value, from elsewhere or as another copy. */
enum emac_status resident_keep(struct resident_set *set, uint8_t *at, size_t bytes,
                               const void *head, size_t head_size, const struct store_value **out,
                               struct emac_err *err)
{
    struct store_away away = {.size = bytes, .head = head, .head_size = head_size};
    uint8_t(*leaf)[32] = NULL;
    struct resident *r = NULL;
    struct loan *loan = NULL;
    enum emac_status st;
    EMAC_TRY(st, leaves_hash(set, at, bytes, &leaf, err));
    EMAC_TRY(st, item_new(set, &r, err));
    EMAC_TRY(st, loan_new(set, at, bytes, &loan, err));
    away.leaf = (const uint8_t(*)[32])leaf;
    away.origin = (struct store_origin){loan_read, loan_release, loan};
    EMAC_TRY(st, store_value_adopt_away(set->store, &away, out, err));
    if (loan_stands(loan)) {
        add(set, r, &(*out)->cid, at, bytes);
        r->loan = loan;
        r = NULL;
        loan = NULL;
    } else {
        resident_adopt(set, &(*out)->cid, at, bytes);
    }
out:
    if (loan != NULL)
        loan_end(loan);
    free(r);
    free(leaf);
    return st;
}

void resident_drop(struct resident *r)
{
    EMAC_ASSERT(r->holds > 0);
    r->holds--;
}

void resident_prune(struct resident_set *set)
{
    for (size_t i = set->count; i > 0; i--)
        if (set->item[i - 1]->holds == 0 && !store_value_has(set->store, &set->item[i - 1]->cid))
            remove_at(set, i - 1);
}

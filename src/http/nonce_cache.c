/* An open-addressing table of 96-bit digests of (did, nonce), each with the second after which it
 * may be forgotten. Two million are far from meeting by chance (10^-17), and who looks for two of
 * his own that do only has his second request refused.
 *
 * INV-1  cap is a power of two and at most three quarters of it is used, so a probe ends.
 * INV-2  A slot with expires_s == 0 was never used since the last rebuild; no slot is emptied
 *        between rebuilds, so a probe never stops too early. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "http/signature.h"
#include "os/thread.h"

#define CAP_LEAST        1024
#define REBUILD_LEAST_MS 1000

#define ID_BYTES 12

struct slot {
    uint8_t id[ID_BYTES];
    uint32_t expires_s; /* rounded up */
};

struct nonce_cache {
    struct os_mutex lock;
    struct slot *slot;
    size_t cap, used;
    uint64_t not_before_ms, rebuilt_ms;
};

struct nonce_cache *nonce_cache_new(void)
{
    struct nonce_cache *c = calloc(1, sizeof *c);
    EMAC_ASSERT(c != NULL);
    os_mutex_init(&c->lock);
    return c;
}

void nonce_cache_free(struct nonce_cache *c)
{
    if (c == NULL)
        return;
    free(c->slot);
    os_mutex_release(&c->lock);
    free(c);
}

void nonce_cache_not_before(struct nonce_cache *c, uint64_t ms)
{
    os_mutex_lock(&c->lock);
    c->not_before_ms = ms;
    os_mutex_unlock(&c->lock);
}

/* The slot that holds id, or the empty one where it belongs. */
static struct slot *slot_find(struct slot *slot, size_t cap, const uint8_t id[ID_BYTES])
{
    uint64_t h;
    memcpy(&h, id, sizeof h); /* bytes of a SHA-256: as good as random */
    size_t i = (size_t)h & (cap - 1);
    while (slot[i].expires_s != 0 && memcmp(slot[i].id, id, ID_BYTES) != 0)
        i = (i + 1) & (cap - 1);
    return &slot[i];
}

static bool is_live(const struct slot *s, uint64_t now_ms)
{
    return (uint64_t)s->expires_s * 1000 > now_ms;
}

/* Forget what has expired and make room. False without memory. */
static bool rebuild(struct nonce_cache *c, uint64_t now_ms)
{
    size_t live = 0, cap = CAP_LEAST;
    for (size_t i = 0; i < c->cap; i++)
        live += is_live(&c->slot[i], now_ms);
    while (cap < 2 * (live + 1))
        cap *= 2;
    struct slot *slot = calloc(cap, sizeof *slot);
    if (slot == NULL)
        return false;
    for (size_t i = 0; i < c->cap; i++) {
        if (is_live(&c->slot[i], now_ms))
            *slot_find(slot, cap, c->slot[i].id) = c->slot[i];
    }
    free(c->slot);
    c->slot = slot;
    c->cap = cap;
    c->used = live;
    c->rebuilt_ms = now_ms;
    return true;
}

static bool room_for_one(struct nonce_cache *c, uint64_t now_ms)
{
    bool crowded = (c->used + 1) * 4 > c->cap * 3;
    /* At the maximum, look for expired ones at most once a second: a scan takes milliseconds. */
    bool full = c->used >= NONCE_CACHE_MAX;
    if (full && now_ms - c->rebuilt_ms < REBUILD_LEAST_MS)
        return false;
    if ((crowded || full) && !rebuild(c, now_ms))
        return false;
    return c->used < NONCE_CACHE_MAX;
}

static enum emac_status add_locked(struct nonce_cache *c, const uint8_t id[ID_BYTES],
                                   uint32_t expires_s, uint64_t now_ms, struct emac_err *err)
{
    struct slot *s = c->cap > 0 ? slot_find(c->slot, c->cap, id) : NULL;
    if (s != NULL && s->expires_s != 0) {
        if (is_live(s, now_ms))
            return emac_fail(err, EMAC_UNAUTHORIZED,
                             "this signed request came before (same nonce): sign each one anew");
        s->expires_s = expires_s;
        return EMAC_OK;
    }
    if (!room_for_one(c, now_ms))
        return emac_fail(err, EMAC_BUSY,
                         "%d signed requests in five minutes are the limit here: "
                         "wait a little",
                         NONCE_CACHE_MAX);
    s = slot_find(c->slot, c->cap, id);
    memcpy(s->id, id, ID_BYTES);
    s->expires_s = expires_s;
    c->used++;
    EMAC_ASSERT(c->used * 4 <= c->cap * 3);
    return EMAC_OK;
}

enum emac_status nonce_cache_add(struct nonce_cache *c, const char *did, const char *nonce,
                                 uint64_t created_ms, uint64_t expires_ms, uint64_t now_ms,
                                 struct emac_err *err)
{
    uint8_t digest[SHA256_BYTES];
    enum emac_status st;
    uint64_t expires_s = expires_ms / 1000 + (expires_ms % 1000 != 0);
    EMAC_ASSERT(expires_ms > 0 && expires_s <= UINT32_MAX); /* the year 2106 */
    char *both = emac_asprintf("%s %s", did, nonce);        /* a did holds no space */
    crypto_sha256(digest, both, strlen(both));
    free(both);
    os_mutex_lock(&c->lock);
    if (created_ms < c->not_before_ms)
        st = emac_fail(err, EMAC_UNAUTHORIZED,
                       "the request was signed before this server started: "
                       "sign it again");
    else
        st = add_locked(c, digest, (uint32_t)expires_s, now_ms, err);
    os_mutex_unlock(&c->lock);
    return st;
}

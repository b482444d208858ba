#include "sched/draw.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "sched/trust.h"

static const char SEED_TAG[] = "emac draw 1", RANK_TAG[] = "emac rank 1";

void draw_secret(uint8_t out[DRAW_SECRET], const uint8_t last[DRAW_SECRET], uint32_t e)
{
    EMAC_ASSERT(e <= DRAW_EPOCHS);
    memcpy(out, last, DRAW_SECRET);
    for (uint32_t i = DRAW_EPOCHS; i > e; i--)
        crypto_sha256(out, out, DRAW_SECRET);
}

bool draw_secret_holds(const uint8_t secret[DRAW_SECRET], uint32_t e,
                       const uint8_t anchor[DRAW_SECRET])
{
    uint8_t at[DRAW_SECRET];
    if (e == 0 || e > DRAW_EPOCHS)
        return false;
    memcpy(at, secret, DRAW_SECRET);
    for (uint32_t i = e; i > 0; i--)
        crypto_sha256(at, at, DRAW_SECRET);
    return memcmp(at, anchor, DRAW_SECRET) == 0;
}

uint32_t draw_epoch(uint64_t first_ms, uint64_t at_ms)
{
    uint64_t e = at_ms > first_ms ? (at_ms - first_ms) / DRAW_EPOCH_MS + 1 : 1;
    return e < DRAW_EPOCHS ? (uint32_t)e : DRAW_EPOCHS;
}

/* ---- the seed ---- */

void draw_seed(uint8_t seed[SHA256_BYTES], const uint8_t secret[DRAW_SECRET],
               const struct cid *task, const struct cid *receipt)
{
    uint8_t text[sizeof(SEED_TAG) - 1 + DRAW_SECRET + 2 * CID_BYTES], *at = text;
    memcpy(at, SEED_TAG, sizeof(SEED_TAG) - 1);
    at += sizeof(SEED_TAG) - 1;
    memcpy(at, secret, DRAW_SECRET);
    at += DRAW_SECRET;
    cid_bytes(at, task);
    cid_bytes(at + CID_BYTES, receipt);
    crypto_sha256(seed, text, sizeof(text));
}

static uint64_t first_64(const uint8_t *bytes)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | bytes[i];
    return v;
}

bool draw_checked(const uint8_t seed[SHA256_BYTES], uint32_t share_ppm)
{
    EMAC_ASSERT(share_ppm <= TRUST_PPM);
    unsigned __int128 v = (unsigned __int128)first_64(seed) * TRUST_PPM;
    return (uint64_t)(v >> 64) < share_ppm;
}

bool draw_planted(const uint8_t seed[SHA256_BYTES])
{
    unsigned __int128 v = (unsigned __int128)first_64(seed + 8) * TRUST_PLANT_EVERY;
    return (uint64_t)(v >> 64) == 0;
}

uint64_t draw_point(const char *did)
{
    uint8_t text[sizeof(RANK_TAG) - 1 + DRAW_OWNER_MAX], hash[SHA256_BYTES];
    size_t n = strlen(did), at = sizeof(RANK_TAG) - 1;
    EMAC_ASSERT(n <= DRAW_OWNER_MAX);
    memcpy(text, RANK_TAG, at);
    memcpy(text + at, did, n);
    crypto_sha256(hash, text, at + n);
    return first_64(hash);
}

uint64_t draw_rank(const uint8_t seed[SHA256_BYTES], uint64_t point)
{
    uint64_t x = point ^ first_64(seed + 16);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* ---- who checks ---- */

void draw_subnet(char out[DRAW_SUBNET_MAX], const char *address)
{
    uint8_t v6[16];
    char text[INET6_ADDRSTRLEN];
    out[0] = '\0';
    if (inet_pton(AF_INET, address, v6) == 1) {
        v6[3] = 0;
        if (inet_ntop(AF_INET, v6, text, sizeof(text)) != NULL)
            snprintf(out, DRAW_SUBNET_MAX, "%.39s/24", text);
    } else if (inet_pton(AF_INET6, address, v6) == 1) {
        memset(v6 + 6, 0, sizeof(v6) - 6);
        if (inet_ntop(AF_INET6, v6, text, sizeof(text)) != NULL)
            snprintf(out, DRAW_SUBNET_MAX, "%.39s/48", text);
    }
}

static const char *const CLASS_NAME[] = {"same-owner", "same-subnet", "shown", "apart"};

const char *draw_class_name(enum draw_class k)
{
    EMAC_ASSERT((size_t)k < EMAC_COUNT(CLASS_NAME));
    return CLASS_NAME[k];
}

enum draw_class draw_class_find(const char *name)
{
    for (size_t i = 0; i < EMAC_COUNT(CLASS_NAME); i++)
        if (strcmp(CLASS_NAME[i], name) == 0)
            return (enum draw_class)i;
    return DRAW_SAME_OWNER;
}

static bool same(const char *a, const char *b)
{
    return a[0] != '\0' && strcmp(a, b) == 0;
}

enum draw_class draw_class_of(const struct draw_party *who, bool shown,
                              const struct draw_party *answered, size_t count)
{
    enum draw_class k = shown ? DRAW_SHOWN : DRAW_APART;
    for (size_t i = 0; i < count; i++) {
        const struct draw_party *a = &answered[i];
        /* An owner may name himself by the DID of one of his rigs. */
        if (same(who->owner, a->owner) || same(who->wallet, a->wallet) ||
            same(who->owner, a->did) || same(who->did, a->owner))
            return DRAW_SAME_OWNER;
        if (same(who->subnet, a->subnet))
            k = DRAW_SAME_SUBNET;
    }
    return k;
}

static bool has_answered(const char *did, const struct draw_party *answered, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(answered[i].did, did) == 0)
            return true;
    return false;
}

size_t draw_checker(const uint8_t seed[SHA256_BYTES], const struct draw_candidate *candidate,
                    size_t count, const struct draw_party *answered, size_t answered_count,
                    enum draw_class *k)
{
    size_t best = count;
    uint64_t best_rank = 0;
    *k = DRAW_SAME_OWNER;
    for (size_t i = 0; i < count; i++) {
        const struct draw_candidate *who = &candidate[i];
        if (has_answered(who->party.did, answered, answered_count))
            continue; /* DRAW-3 */
        enum draw_class mine = draw_class_of(&who->party, who->shown, answered, answered_count);
        if (best < count && mine < *k)
            continue;
        uint64_t rank = draw_rank(seed, who->point);
        if (best < count && mine == *k && rank >= best_rank)
            continue;
        best = i;
        best_rank = rank;
        *k = mine;
    }
    return best;
}

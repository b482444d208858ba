/* Which results are checked and by whom: by lot, from a seed that nobody can choose alone, and that
 * anybody can draw again afterwards. Pure.
 *
 * Time is cut into epochs 1, 2, ... of DRAW_EPOCH_MS. Their secrets are a chain: secret e is the
 * SHA-256 of secret e + 1, and the anchor, secret 0, is public from the first day. So the
 * coordinator is bound to all of them before the first receipt comes, and a secret that it
 * reveals once its epoch is over proves itself against the one before.
 *
 *   seed = SHA-256("emac draw 1" ‖ secret ‖ CID of the task ‖ CID of the receipt)
 *
 * The receipt is signed by a rig that does not know the secret; the secret was fixed before the
 * receipt. Neither can steer the seed but by holding receipts back.
 *
 * DRAW-1  A result is checked if and only if the first 64 bits of its seed, as a share of 2^64, are
 *         below its share (sched/trust.h).
 * DRAW-2  Of all rigs that may check it, the checker is of the best class (draw_class) that any
 *          of them is in, and of those it has the lowest rank (draw_rank).
 * DRAW-3  A checker is never a rig that has answered the task. */
#ifndef EMAC_SCHED_DRAW_H
#define EMAC_SCHED_DRAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/cid.h"
#include "crypto/crypto.h"

#define DRAW_EPOCH_MS   (UINT64_C(4) * 3600 * 1000)
#define DRAW_EPOCHS     (1u << 14) /* seven years; then the coordinator needs another secret */
#define DRAW_SECRET     SHA256_BYTES
#define DRAW_SUBNET_MAX 48
#define DRAW_OWNER_MAX  96

/* Secret e of the chain whose last, number DRAW_EPOCHS, is `last`: DRAW_EPOCHS - e hashes. */
void draw_secret(uint8_t out[DRAW_SECRET], const uint8_t last[DRAW_SECRET], uint32_t e);
/* Does `secret`, said to be that of epoch e, lead to the anchor? */
bool draw_secret_holds(const uint8_t secret[DRAW_SECRET], uint32_t e,
                       const uint8_t anchor[DRAW_SECRET]);
/* The epoch of a moment; `first_ms` began epoch 1. Before it 1; never above DRAW_EPOCHS. */
uint32_t draw_epoch(uint64_t first_ms, uint64_t at_ms);

void draw_seed(uint8_t seed[SHA256_BYTES], const uint8_t secret[DRAW_SECRET],
               const struct cid *task, const struct cid *receipt);
bool draw_checked(const uint8_t seed[SHA256_BYTES], uint32_t share_ppm); /* DRAW-1 */
/* Once the check agreed: is the task planted with a third rig? One in TRUST_PLANT_EVERY. */
bool draw_planted(const uint8_t seed[SHA256_BYTES]);
/* A rig's rank for a seed: splitmix64's finalizer (Steele, Lea, Flood 2014) of its point, the first
 * 64 bits of SHA-256("emac rank 1" ‖ did), xor the third 64 bits of the seed. */
uint64_t draw_point(const char *did);
uint64_t draw_rank(const uint8_t seed[SHA256_BYTES], uint64_t point);

/* What is known of who stands behind a rig. Texts may be "": not known, and then like nobody's. */
struct draw_party {
    const char *did;
    const char *owner;  /* DID that the rig names as its owner's */
    const char *wallet; /* that its pay goes to on the chain */
    const char *subnet; /* draw_subnet of where it speaks from */
};
/* "203.0.113.7" -> "203.0.113.0/24", an IPv6 address -> its /48; "" for what is no address. */
void draw_subnet(char out[DRAW_SUBNET_MAX], const char *address);

/* How independent of the rigs that have answered: the larger the better. */
enum draw_class {
    DRAW_SAME_OWNER,  /* another rig of the same owner or wallet */
    DRAW_SAME_SUBNET, /* another owner in the same subnet */
    DRAW_SHOWN,       /* apart, but the result was named to it, in a task that builds on it */
    DRAW_APART,
};
const char *draw_class_name(enum draw_class k);
enum draw_class draw_class_find(const char *name); /* of another text: the worst */
enum draw_class draw_class_of(const struct draw_party *who, bool shown,
                              const struct draw_party *answered, size_t count);

struct draw_candidate {
    struct draw_party party;
    uint64_t point; /* draw_point(party.did) */
    bool shown;
};
/* DRAW-2, DRAW-3: index of the checker, `count` when there is none; *k its class. */
size_t draw_checker(const uint8_t seed[SHA256_BYTES], const struct draw_candidate *candidate,
                    size_t count, const struct draw_party *answered, size_t answered_count,
                    enum draw_class *k);

#endif

/* Storage deals: a client pays rigs to keep what is below a CID, in so many
 * replicas for so many epochs, and each rig proves in every epoch that it has it.
 * Pure: terms, money as numbers, states, challenges, proofs. The rows and
 * postings are coordinator/storage/deals.h's.
 *
 * What is kept is the CAR of the CID (store/car.h) as a piece (codec/commp.h).
 * Time is cut into epochs of one length, numbered from 1. A deal that is made in
 * epoch e is proven and paid for in e + 1 to e + epochs.
 *
 * A replica is one placement of the deal on one rig, numbered within the deal:
 *   placed   -> active    the rig has all of it, found the same piece, put up its bond
 *   placed   -> declined  it will not: the piece is another, no room, the price
 *   placed   -> lapsed    it did neither for DEAL_PATIENCE epochs
 *   active   -> lost      it missed DEAL_MISSES_MAX epochs in a row: its bond is gone
 *   active   -> ended     the deal ended; it gets its bond back
 *   placed   -> ended     the deal ended before
 * It is challenged from the epoch after the one in which it became active.
 *
 * DEAL-1  What a rig is asked in epoch e follows from the epoch's seed, the deal, the replica
 *         and e. The seed was bound by a commitment that was public an epoch before, and mixed
 *         with the ledger's head at the moment the epoch began: seed = SHA-256("emac deal seed
 *         1" ‖ secret ‖ head), commitment = SHA-256(secret). Anybody can check both afterwards.
 * DEAL-2  Only leaves that hold payload are asked for, each with the same probability: who lacks
 *         the share f of them passes an epoch with (1 - f)^DEAL_CHALLENGES.
 * DEAL-3  A proof is the DEAL_CHALLENGES proofs of those leaves, in order, and nothing else.
 * DEAL-4  escrow = replicas * (epochs * epoch_units + traffic_units): no replica is placed in an
 *         epoch beyond `replicas` that may be paid for it, so the escrow covers all that can
 *         come. */
#ifndef EMAC_WORK_DEAL_H
#define EMAC_WORK_DEAL_H

#include <jansson.h>

#include "codec/cid.h"
#include "codec/commp.h"
#include "crypto/crypto.h"

#define DEAL_ID_MAX       32
#define DEAL_NONCE_MAX    64
#define DEAL_REPLICAS_MAX 16
#define DEAL_EPOCHS_MAX   200000
#define DEAL_BYTES_MAX    (UINT64_C(1) << 44)
#define DEAL_PRICE_MAX    INT64_C(100000000000000)
#define DEAL_EPOCH_MS_MAX (UINT64_C(7) * 24 * 3600 * 1000)
#define DEAL_GIB          (UINT64_C(1) << 30)
#define DEAL_DAY_MS       (UINT64_C(24) * 3600 * 1000)
#define DEAL_CHALLENGES   8
#define DEAL_MISSES_MAX   2
#define DEAL_PATIENCE     2  /* epochs in which a placed replica may become active */
#define DEAL_BOND_PART    10 /* the bond is this part of what a replica can earn */
#define DEAL_PROOF_MAX    (DEAL_CHALLENGES * COMMP_PROOF_MAX)
#define DEAL_SOURCES_MAX  8
#define DEAL_URL_MAX      256

/* ---- terms ---- */

struct deal_terms {
    struct cid cid;
    struct commp piece; /* as the client says; rigs find out */
    uint32_t replicas, epochs;
    int64_t price_units;   /* a GiB and day */
    int64_t traffic_units; /* a GiB that a holder sends to a new one */
};
struct deal_amounts {
    int64_t epoch_units;   /* to a replica for a proven epoch */
    int64_t traffic_units; /* for one whole transfer */
    int64_t bond_units;    /* of a replica */
    int64_t escrow_units;  /* DEAL-4 */
};

/* From {cid, piece, replicas, epochs, price_units, traffic_units}; amounts are text. INVALID names
 * the field. */
enum emac_status deal_terms_from_json(struct deal_terms *out, json_t *o, struct emac_err *err);
/* Pay is rounded down, against who claims it. INVALID when an epoch would pay nothing, TOO_LARGE
 * when a sum passes int64. */
enum emac_status deal_amounts(const struct deal_terms *t, uint64_t epoch_ms,
                              struct deal_amounts *out, struct emac_err *err);
/* For `bytes` that came over the wire, at most one whole transfer. */
int64_t deal_traffic_units(const struct deal_terms *t, uint64_t bytes);
/* "deal-" and 16 hex digits: of the client's own word for it, so that asking again is no second
 * deal. */
void deal_id(char out[DEAL_ID_MAX], const char *client, const char *nonce);

/* ---- replicas ---- */

enum deal_replica_state {
    DEAL_PLACED,
    DEAL_ACTIVE,
    DEAL_DECLINED,
    DEAL_LAPSED,
    DEAL_LOST,
    DEAL_ENDED,
    DEAL_REPLICA_STATES
};
const char *deal_replica_state_name(enum deal_replica_state s);
bool deal_replica_state_find(const char *name, enum deal_replica_state *out);
/* Does it stand for one of the replicas that are wanted? */
bool deal_replica_lives(enum deal_replica_state s);

struct deal_replica {
    uint32_t number;
    char node[DID_KEY_MAX];
    enum deal_replica_state state;
    uint64_t placed_epoch;
    uint64_t first_epoch; /* the first it is challenged in; 0: not active yet */
    uint32_t misses;      /* in a row */
    uint32_t proven;
    int64_t bond_units; /* put up */
};

/* Is it to prove this epoch? */
bool deal_replica_due(const struct deal_replica *r, uint64_t epoch);
/* The rig has it all: active from now, in `epoch`. */
void deal_replica_keep(struct deal_replica *r, uint64_t epoch);
/* A proof for the epoch was accepted. Of its pay, *to_bond fills up the bond and *to_rig is left.
 */
void deal_replica_prove(struct deal_replica *r, const struct deal_amounts *a, int64_t *to_bond,
                        int64_t *to_rig);
/* The epoch is over; `proven`: it proved it. true when its state changed: lost or lapsed. */
bool deal_replica_epoch_end(struct deal_replica *r, uint64_t epoch, bool proven);

/* ---- where ---- */

struct deal_candidate {
    const char *did, *owner, *subnet; /* owner, subnet "": not known */
    uint64_t room_bytes;              /* offered and not promised yet */
    int64_t ask_units;                /* its least price of a GiB and day */
    int64_t balance_units;            /* what it could put up */
    bool barred;                      /* it held or refused a replica of the deal before */
};
/* Index of the rig for one more replica beside those of `holder`, or count: none may. Never an
 * owner twice (a rig without one is its own); then subnets without a replica come first, rigs that
 * can put up the whole bond, and SHA-256(id ‖ did), so that deals spread over all alike. */
size_t deal_place(const char *id, const struct deal_terms *t, const struct deal_amounts *a,
                  const struct deal_candidate *candidate, size_t count,
                  const struct deal_candidate *holder, size_t holders);

/* ---- challenges and proofs (deal_proof.c) ---- */

void deal_seed(uint8_t seed[SHA256_BYTES], const uint8_t secret[SHA256_BYTES],
               const uint8_t head[SHA256_BYTES]);
/* Leaf number k < DEAL_CHALLENGES that the replica is asked for (DEAL-1, DEAL-2). */
uint64_t deal_challenge(const uint8_t seed[SHA256_BYTES], const char *id, uint32_t replica,
                        uint64_t epoch, uint32_t k, uint64_t leaves);
size_t deal_proof_bytes(const struct commp *piece);
/* INVALID saying what is wrong with it. */
enum emac_status deal_proof_check(const struct commp *piece, const uint8_t seed[SHA256_BYTES],
                                  const char *id, uint32_t replica, uint64_t epoch,
                                  const uint8_t *proof, size_t n, struct emac_err *err);

/* ---- what a rig is told ---- */

struct deal_duty {
    char id[DEAL_ID_MAX];
    uint32_t replica;
    struct cid cid;
    struct commp piece;
    bool active; /* else: fetch it, and say so */
    bool due;    /* prove this epoch */
    uint32_t source_count;
    struct {
        char node[DID_KEY_MAX]; /* "" for the depot */
        char url[DEAL_URL_MAX];
    } source[DEAL_SOURCES_MAX];
};
enum emac_status deal_duty_from_json(struct deal_duty *out, json_t *o, struct emac_err *err);

#endif

/* Data of value in the database: motions of notaries, use that was paid for, and
 * the storage reward of each epoch. Rules are work/datacap.h's, allowances
 * ledger/allowance.h's. It needs a database and no coordinator, so that a
 * simulation runs what a network runs.
 *
 * DCB-1  An epoch is rewarded once. Its row, the rewards' rows and all their postings
 *        are one transaction, after which the pool reward:<epoch> is empty: what left the
 *        funder is what rigs got, and less than a unit a replica for the fee account.
 * DCB-2  Bytes of a deal count ten times up to what it has bound of its own client's
 *        allowances, all its replicas together, in the epochs [first, first + term) of its
 *        first rewarded proof.
 * DCB-3  Use of a job is noted once, when it has succeeded, and counted once or lapses.
 *        Who owns the data is no user of them.
 * DCB-4  What settled receipts earned is what rigs got and the network's fees.
 *
 * Every function that writes runs inside the caller's transaction; after a failure the caller rolls
 * back. */
#ifndef EMAC_COORDINATOR_DATACAP_BOOK_H
#define EMAC_COORDINATOR_DATACAP_BOOK_H

#include "work/datacap.h"

extern const char DATACAP_SCHEMA[]; /* of a migration */

struct datacap_book {
    struct db *db;
    const struct datacap_rules *rules;
};

/* ---- motions ---- */

struct datacap_motion_row {
    char id[CID_TEXT_MAX];
    enum datacap_kind kind;
    enum datacap_outcome outcome;
    char client[DID_KEY_MAX], application[ALLOWANCE_ID_MAX];
    uint64_t first_ms;
    int64_t bytes; /* granted, or burnt by a removal; 0 before */
    uint32_t votes;
};

/* Count a notary's signed vote; when it decides a grant the allowance is made, when a removal what
 * is left is burnt. The same vote again changes nothing. UNAUTHORIZED: the signature does not hold;
 * CONFLICT: the motion is decided or closed, or the notary voted later than this; NOT_FOUND: there
 * is no such allowance to remove; and what datacap_vote_admit says. */
enum emac_status datacap_book_vote(const struct datacap_book *b, struct emac_slice object,
                                   struct emac_slice signature, uint64_t at_ms,
                                   struct datacap_motion_row *out, struct emac_err *err);
/* At most `limit`, newest first. Needs no transaction. */
enum emac_status datacap_book_motions(const struct datacap_book *b, uint32_t limit, uint64_t at_ms,
                                      void (*each)(void *ctx, const struct datacap_motion_row *m),
                                      void *ctx, struct emac_err *err);

/* ---- deals ---- */

/* The deal ends: bytes that never counted go back (allowance_end). Binding is allowance_bind. */
enum emac_status datacap_book_end(const struct datacap_book *b, const char *deal, uint64_t at_ms,
                                  struct emac_err *err);

/* ---- use ---- */

struct datacap_job {
    const char *job, *asset; /* whose data were used */
    const char *client;      /* who owns them */
    const char *owner;       /* who paid */
    int64_t checked_units;   /* paid for checked tasks that read them */
};
enum emac_status datacap_book_use(const struct datacap_book *b, const struct datacap_job *j,
                                  uint64_t at_ms, struct emac_err *err);
/* What the network took of a job's payments. */
enum emac_status datacap_book_fees(const struct datacap_book *b, const char *job, int64_t units,
                                   struct emac_err *err);

/* ---- epochs ---- */

struct datacap_proof {
    char deal[ALLOWANCE_DEAL_MAX];
    uint32_t replica;
    char client[DID_KEY_MAX]; /* whose deal it is */
    char node[DID_KEY_MAX];   /* the rig that proved it */
    uint64_t bytes;
};
struct datacap_epoch {
    uint64_t epoch;
    bool fresh; /* false: it was rewarded before, and nothing changed */
    uint64_t weighted;
    int64_t taken_units, dust_units, grown_bytes;
};
/* Reward the epoch's proofs (sorted here), let allowances grow and expire. INVALID when a replica
 * is proven twice; CONFLICT when a later epoch is done already. */
enum emac_status datacap_book_epoch(const struct datacap_book *b, uint64_t epoch,
                                    struct datacap_proof *proof, size_t count, uint64_t at_ms,
                                    struct datacap_epoch *out, struct emac_err *err);

#endif

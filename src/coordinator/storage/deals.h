/* Storage deals (work/deal.h) in rows and postings. The database is the only
 * state: what is kept in memory besides is the epoch under way and what waits to
 * be looked at.
 *
 * Money, all in the transaction of the change it belongs to; S is stake:<did>:<deal>, E is
 * escrow:<deal>:
 *   made      user:<client> -> E              escrow_units
 *   kept      rig:<did>, user:<did> -> S      the bond, as far as they reach in this order
 *   proven    E -> S                          until the bond is full
 *             E -> rig:<did>                  the rest of epoch_units
 *   traffic   E -> rig:<source>               by the receiver's signed word, once its first
 *                                             proof shows that it has the data
 *   lost      S -> E                          the client was harmed: it pays for the repair,
 *                                             what is left comes back to him
 *   ended     S -> rig:<did>, E -> user:<client>
 *
 * DEAL-5  The escrow of an open deal is escrow_units + bonds lost - paid proofs - paid traffic,
 *         and covers epoch_units for each replica and epoch still to come. Traffic is paid out
 *         of what is above that only.
 * DEAL-6  A (deal, replica, epoch) is paid at most once, for a proof that was checked; and a
 *         deal in an epoch at most `replicas` times.
 * DEAL-7  stake:<did>:<deal> is the bond of the rig's active replica of the deal; 0 when it has
 *         none.
 * DEAL-8  A deal that ended has nothing in escrow and no replica that lives.
 * DEAL-9  A replica is lost only after DEAL_MISSES_MAX epochs in a row in which the coordinator
 *         was there from beginning to end: one during which it was away begins its length anew.
 * DEAL-10 There is one open epoch and one next. The next one's commitment is public and its
 *         secret is not; an epoch is closed and the next opened in one transaction. */
#ifndef EMAC_COORDINATOR_DEALS_H
#define EMAC_COORDINATOR_DEALS_H

#include "coordinator/internal.h"
#include "work/deal.h"

#define DEALS_EPOCH_MS       (UINT64_C(3600) * 1000)
#define DEALS_EPOCH_LEAST_MS 100
#define DEALS_PROOFS_KEPT    256 /* epochs that can be checked again; of older ones the outcome */
#define DEALS_RETRY_MS       1000
#define DEALS_REPLICAS_OPEN  20000 /* that live, in all deals */

enum deal_state { DEALS_OPEN, DEALS_ENDED, DEALS_CANCELLED };

struct deal {
    char id[DEAL_ID_MAX], client[DID_KEY_MAX];
    int64_t seq;
    struct deal_terms terms; /* terms.piece.size: bytes of a replica */
    struct deal_amounts amounts;
    enum deal_state state;
    uint64_t made_epoch, last_epoch; /* proven and paid in made_epoch + 1 .. last_epoch */
    uint64_t created_ms, ended_ms;
};

/* ---- for those who reward storage ---- */

/* A replica that was proven and paid in an epoch. */
struct deal_proven {
    char deal[DEAL_ID_MAX], client[DID_KEY_MAX], node[DID_KEY_MAX];
    uint32_t replica;
    uint64_t epoch;
    struct cid cid;
    uint64_t bytes;
    int64_t units; /* what the client paid for it */
};
/* Those of an epoch, by deal and replica. An epoch is whole once it is closed; the place to use it
 * in the same transaction is the end of epoch_close (deal_epochs.c). */
enum emac_status deals_proven_each(struct coordinator *c, uint64_t epoch,
                                   enum emac_status (*each)(void *ctx, const struct deal_proven *p,
                                                            struct emac_err *err),
                                   void *ctx, struct emac_err *err);

/* ---- deal_rows.c ---- */
extern const char DEALS_SCHEMA[];

/* A replica with what its row has besides. */
struct deal_holding {
    struct deal_replica r;
    char deal[DEAL_ID_MAX];
    int64_t rig_units;  /* what rig:<did> got by it in all, bonds put up counted against it */
    int64_t lost_units; /* of its bond */
    char note[128];     /* why it declined or was lost */
};
/* NOT_FOUND. */
enum emac_status deal_find(struct coordinator *c, const char *id, struct deal *out,
                           struct emac_err *err);
/* The newest first: those with numbers below `before`. */
enum emac_status deals_each(struct coordinator *c, int64_t before, uint32_t limit,
                            void (*each)(void *ctx, const struct deal *d), void *ctx,
                            struct emac_err *err);
enum emac_status deal_insert(struct coordinator *c, const struct deal *d, struct emac_err *err);
enum emac_status deal_close(struct coordinator *c, const char *id, enum deal_state state,
                            struct emac_err *err);
const char *deal_state_name(enum deal_state s);
/* Of a deal, of a rig (deal NULL), or of all open deals (both NULL): in order of deal and number;
 * `living`: those alone that do. The caller frees *out. */
enum emac_status deal_holdings(struct coordinator *c, const char *deal, const char *node,
                               bool living, struct deal_holding **out, size_t *count,
                               struct emac_err *err);
enum emac_status deal_holding_find(struct coordinator *c, const char *deal, uint32_t number,
                                   const char *node, struct deal_holding *out,
                                   struct emac_err *err);
enum emac_status deal_holding_insert(struct coordinator *c, const struct deal_holding *h,
                                     struct emac_err *err);
enum emac_status deal_holding_update(struct coordinator *c, const struct deal_holding *h,
                                     struct emac_err *err);

/* ---- deal_money.c: all in tx ---- */
enum emac_status deal_money_bond(struct coordinator *c, const struct deal *d,
                                 struct deal_holding *h, struct emac_err *err);
enum emac_status deal_money_pay(struct coordinator *c, const struct deal *d, struct deal_holding *h,
                                uint64_t epoch, struct emac_err *err);
enum emac_status deal_money_traffic(struct coordinator *c, const struct deal *d, uint32_t replica,
                                    uint64_t epoch, struct emac_err *err);
enum emac_status deal_money_lost(struct coordinator *c, struct deal_holding *h,
                                 struct emac_err *err);
enum emac_status deal_money_back(struct coordinator *c, struct deal_holding *h,
                                 struct emac_err *err);
enum emac_status deal_money_refund(struct coordinator *c, const struct deal *d,
                                   struct emac_err *err);
/* DEAL-5: what the escrow has to keep for the epochs from `epoch` on. */
enum emac_status deal_money_owed(struct coordinator *c, const struct deal *d, uint64_t epoch,
                                 int64_t *units, struct emac_err *err);

/* ---- deal_epochs.c ---- */
struct deals_side {
    uint64_t epoch_ms, epoch, ends_ms; /* of the open epoch, on the monotonic clock */
    uint64_t began_at, ends_at;        /* on the wall */
    uint8_t seed[SHA256_BYTES];
    uint64_t version; /* changes with every epoch and every replica's state: rigs look then */
    bool dirty;       /* some deal may lack a replica, or a rig may have room */
    bool wanting;     /* some deal does: looked at again from retry_ms on, as rigs come */
    uint64_t retry_ms;
};
/* At start: the open epoch begins its length anew (DEAL-9). CONFLICT when the length of epochs was
 * changed while deals are open. */
enum emac_status deals_open(struct coordinator *c, struct emac_err *err);
void deals_close(struct coordinator *c);
void deals_tick(struct coordinator *c);
void deals_changed(struct coordinator *c); /* some replica's state did */
/* The seed of a past or open epoch; NOT_FOUND for others. */
enum emac_status deal_epoch_seed(struct coordinator *c, uint64_t epoch, uint8_t seed[SHA256_BYTES],
                                 struct emac_err *err);

/* ---- deals.c ---- */
/* in tx: the deal ends: bonds go back, the escrow too. */
enum emac_status deal_end(struct coordinator *c, const struct deal *d, enum deal_state state,
                          struct emac_err *err);
/* Find rigs for replicas that lack one; own transactions. true when some still do. */
bool deals_place(struct coordinator *c);
/* Those that serve the content of a CID because a deal pays them: [{node, url}] added to list. */
void deals_providers(struct coordinator *c, const struct cid *cid, json_t *list);

/* deals_api.c, deal_rigs.c */
http_handler deals_post, deals_get, deal_get, deal_cancel_post, deal_proofs_get, deal_epochs_get;
http_handler deal_duties_post, deal_kept_post, deal_declined_post, deal_proof_post;

#endif

/* Allowances: bytes that notaries, a chain's registry or verified use of its data
 * grant a client once. What a client stores under one counts more in the
 * storage reward (work/datacap.h); here is only the book: who has how much,
 * what it was bound to, and that none of it comes twice. Each movement is a
 * posting of bytes (ledger/ledger.h, INV-8):
 *
 *   bytes:granted -> bytes:left:<allowance>            grant
 *   bytes:left:<allowance> -> bytes:deal:<deal>        bind, when a deal begins
 *   bytes:deal:<deal> -> bytes:burnt                   the deal ended
 *   bytes:deal:<deal> -> bytes:left:<allowance>        the deal ended and never counted
 *   bytes:left:<allowance> -> bytes:burnt              expired, or removed
 *
 * CAP-1  For each allowance: granted = left + bound + burnt, none below 0; left is
 *        the balance of bytes:left:<allowance>, bound its rows in deals that last.
 * CAP-2  Bytes move as listed above and in no other way: never to another
 *        client's allowance, and out of "burnt" never. They come back from a deal
 *        only to the allowance they are of, and only if the deal never counted.
 * CAP-3  A deal is bound once, for good, over all allowances.
 * CAP-4  An allowance is granted once: its id is that of the decision.
 * CAP-5  The balance of bytes:deal:<deal> is what the deal has bound.
 * CAP-6  Nothing is bound from an allowance that has expired or was removed. For a chain's that is
 *        its registry's word.
 * Each function that writes asserts 1 and 5 of what it touched; allowance_audit
 * proves all that rows can show.
 *
 * Amounts are bytes, 1 to ALLOWANCE_BYTES_MAX; times Unix milliseconds. Every
 * function that writes runs inside the caller's transaction; after a failure the
 * caller rolls back. */
#ifndef EMAC_LEDGER_ALLOWANCE_H
#define EMAC_LEDGER_ALLOWANCE_H

#include "ledger/ledger.h"

#define ALLOWANCE_BYTES_MAX (INT64_C(1) << 50) /* 1 PiB, of one grant or deal */
#define ALLOWANCE_ID_MAX    112                /* with the NUL; printable, no blanks */
#define ALLOWANCE_DEAL_MAX  80

enum allowance_origin { ALLOWANCE_NOTARIES, ALLOWANCE_CHAIN, ALLOWANCE_USE, ALLOWANCE_ORIGINS };
const char *allowance_origin_name(enum allowance_origin origin);

struct allowance {
    char id[ALLOWANCE_ID_MAX], client[DID_KEY_MAX];
    enum allowance_origin origin;
    int64_t granted, left, bound, burnt;
    uint64_t granted_ms, expires_ms; /* nothing is bound from expires_ms on */
    bool removed;
};

/* From `a`: id, client, origin, granted, granted_ms, expires_ms. *fresh (may be NULL) is false when
 * it was granted before with the same terms: then nothing changes. CONFLICT with other terms
 * (CAP-4); INVALID when a field is not sound, TOO_LARGE when all grants together pass the
 * largest number. */
enum emac_status allowance_grant(struct db *db, const struct allowance *a, bool *fresh,
                                 struct emac_err *err);
/* Take `bytes` for the deal out of the client's allowances, soonest expiry first: all or nothing.
 * PAYMENT when they have too little, CONFLICT when the deal was bound before (CAP-3). */
enum emac_status allowance_bind(struct db *db, const char *client, const char *deal, int64_t bytes,
                                uint64_t at_ms, struct emac_err *err);
/* The same out of one allowance, as its registry says; expiry is the registry's business. */
enum emac_status allowance_bind_one(struct db *db, const char *id, const char *deal, int64_t bytes,
                                    uint64_t at_ms, struct emac_err *err);
/* The deal ended. Bytes that counted are burnt; those of a deal that never did go back where they
 * came from, or are burnt where the allowance has expired, was removed or is a chain's. Doing it
 * again, or for a deal that bound nothing, changes nothing. */
enum emac_status allowance_end(struct db *db, const char *deal, bool counted, uint64_t at_ms,
                               struct emac_err *err);
/* Burn what is left; deals keep what they bound. *bytes: how much. NOT_FOUND. */
enum emac_status allowance_remove(struct db *db, const char *id, uint64_t at_ms, int64_t *bytes,
                                  struct emac_err *err);
/* Burn what is left of all allowances whose time is over, but a chain's: its registry spends
 * nothing of them from then on, and what it did before may still be on its way. */
enum emac_status allowance_expire(struct db *db, uint64_t at_ms, struct emac_err *err);

/* ---- reading: no transaction is needed ---- */

/* What the deal has bound now; 0 when nothing. */
enum emac_status allowance_of_deal(struct db *db, const char *deal, int64_t *bytes,
                                   struct emac_err *err);
/* Of it, what is out of this client's allowances: a registry lets a wallet name anybody's deal. */
enum emac_status allowance_of_deal_by(struct db *db, const char *deal, const char *client,
                                      int64_t *bytes, struct emac_err *err);
enum emac_status allowance_get(struct db *db, const char *id, struct allowance *out,
                               struct emac_err *err);
/* Of `client`, or of all when it is NULL, in order of id; at most `limit` after `after` ("": from
 * the first). */
enum emac_status allowance_each(struct db *db, const char *client, const char *after,
                                uint32_t limit, void (*each)(void *ctx, const struct allowance *a),
                                void *ctx, struct emac_err *err);

/* Appends a sentence a finding, a line each, and counts them. */
enum emac_status allowance_audit(struct db *db, struct emac_buf *report, uint32_t *broken,
                                 struct emac_err *err);

#endif

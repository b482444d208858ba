/* The catalogue of assets, what training with them costs, and who gets it.
 *
 * ASSET-1  An asset has one owner for good: of a model that jobs made, an owner of such a job; of
 *          other content of the depot, who published it first. He may publish new terms at any
 *          time; they hold for jobs and sales from then on.
 * ASSET-2  The terms of a job are those of its submission (rows of job_assets), whatever becomes of
 *          the licence: a job that runs ends under the terms it began with.
 * ASSET-3  The escrow of an open job covers its open leases and the royalties of all its rounds.
 * ASSET-4  Royalties are posted in the transaction that ends the job, for the rounds whose results
 *          are accepted by then. Income of an asset goes to its owner and, by the shares that were
 *          agreed when it was made, to the assets it was made from (work/licence.h, licence_split),
 *          through their pools "royalty:<cid>", which are empty after each transaction. What
 *          rounding leaves goes to "fee". */
#ifndef EMAC_COORDINATOR_ASSETS_H
#define EMAC_COORDINATOR_ASSETS_H

#include "coordinator/internal.h"
#include "work/licence.h"

#define JOB_ASSETS_MAX    8
#define ASSET_PARENTS_MAX JOB_ASSETS_MAX
#define ASSET_DEPTH_MAX   16

struct job_terms {
    uint32_t count;
    struct job_term {
        struct cid asset, licence;
        int64_t train_units; /* as the licence's */
        uint32_t share_ppm;
        int64_t reserve_units; /* for all rounds */
    } at[JOB_ASSETS_MAX];
    int64_t reserve_units; /* of all together */
};

/* What the job's inputs ask of its owner: FORBIDDEN, PAYMENT. No lock is needed. */
enum emac_status assets_terms(struct coordinator *c, const struct job *job, struct job_terms *out,
                              struct emac_err *err);
/* in tx */
enum emac_status assets_terms_write(struct coordinator *c, const char *job,
                                    const struct job_terms *terms, struct emac_err *err);
/* What the escrow of the open job keeps for royalties. */
enum emac_status assets_reserve(struct coordinator *c, const char *job, int64_t *units,
                                struct emac_err *err);
/* in tx: the royalties of the job's `rounds` rounds, out of its escrow */
enum emac_status assets_pay(struct coordinator *c, const char *job, const struct job *spec,
                            uint32_t rounds, struct emac_err *err);

/* ---- asset_rows.c: for assets.c and royalties.c ---- */

struct asset {
    struct cid cid, licence_cid;
    bool revoked;
    struct licence licence;
    int64_t income_units;
};
/* NOT_FOUND when the catalogue has none of that CID. */
enum emac_status asset_find(struct coordinator *c, const struct cid *cid, struct asset *out,
                            struct emac_err *err);
/* What the asset was made from: the terms of the job of its owner that made it first. */
struct asset_parents {
    char job[JOB_ID_MAX]; /* "": no job here made it */
    uint32_t count;
    struct cid cid[ASSET_PARENTS_MAX];
    uint32_t share_ppm[ASSET_PARENTS_MAX];
};
/* owner NULL: of any owner. */
enum emac_status asset_parents(struct coordinator *c, const struct cid *cid, const char *owner,
                               struct asset_parents *out, struct emac_err *err);
bool asset_was_bought(struct coordinator *c, const struct cid *cid, const char *buyer);
/* In tx: share out `units` of the account `from` as income of the asset. `key` begins the
 * postings' keys, `detail` is their licence's CID. */
enum emac_status asset_income(struct coordinator *c, const struct cid *cid, const char *from,
                              int64_t units, const char *key, const char *job, const char *detail,
                              struct emac_err *err);

http_handler assets_post, assets_get, asset_get, asset_revoke_post, asset_buy_post;

#endif

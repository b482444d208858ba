/* Data of value as the coordinator lives it: votes over HTTP, deals under an
 * allowance, the fee and the use of a job, the reward of an epoch. Rules are
 * work/datacap.h's, rows datacap_book.h's. Without rules in the configuration
 * none of it happens: no fee, no reward, no allowance. */
#ifndef EMAC_COORDINATOR_DATACAP_H
#define EMAC_COORDINATOR_DATACAP_H

#include "coordinator/storage/datacap_book.h"
#include "coordinator/storage/deals.h"

/* What the network keeps of a payment that settles. */
int64_t datacap_fee_of(const struct coordinator *c, int64_t units);
/* in tx: `units` is the sum of it over the job. */
enum emac_status datacap_fees_note(struct coordinator *c, const char *job, int64_t units,
                                   struct emac_err *err);
/* in tx, when receipts of the job have settled and it has its last state: where it succeeded, use
 * of data that others own is noted (DCB-3). Paid for checked tasks: settled receipts of two rigs or
 * more for one accepted task that names the data's CID among its inputs. */
enum emac_status datacap_use_note(struct coordinator *c, const char *job, struct emac_err *err);

/* in tx: an epoch's proofs are in; before deals of it end. */
enum emac_status datacap_epoch_end(struct coordinator *c, uint64_t epoch, struct emac_err *err);
/* in tx: what the deal has bound is burnt, or goes back if it never counted. */
enum emac_status datacap_deal_end(struct coordinator *c, const char *deal, struct emac_err *err);

http_handler datacap_get, datacap_vote_post, datacap_allowances_get, datacap_motions_get,
    datacap_epoch_get, deal_datacap_post;

#endif

/* What rigs and users have at stake: bonds, and pay that is not settled (STAND-1 to STAND-6 of
 * coordinator/checks/trust.h).
 *
 * A bond is money on "stake:<did>", put there for that DID by the rig itself, out of "rig:<did>",
 * or by a user, out of "user:<did>". Whoever put it may give notice; after the dispute window it
 * goes back where it came from. One row of `bonds` for each DID and source. A bond counts as long
 * as no notice is given. It lowers how often a rig is checked (sched/trust.h). */
#ifndef EMAC_COORDINATOR_BONDS_H
#define EMAC_COORDINATOR_BONDS_H

#include "coordinator/checks/trust.h"

#define BOND_KEY_MAX 64

/* In tx, a rig went out for an error: its bonds stay for a window (STAND-4), and it bears the costs
 * (STAND-6). Once for a rig; at NULL: no costs. */
enum emac_status costs_charge(struct coordinator *c, const char *did, const struct error_at *at,
                              struct emac_err *err);
/* in tx: as punish_liar says */
enum emac_status bonds_slash(struct coordinator *c, const struct lie *lie, struct emac_err *err);
/* Own transactions: give back what had its notice. */
void bonds_return_due(struct coordinator *c);

/* What the rig loses when a lie of it is proven: pay that is not settled, and *bond. */
int64_t stake_units(struct coordinator *c, struct node *n, int64_t *bond);
/* Memory follows a posting that is under way; a transaction that fails sets c->stakes_stale. */
void stake_held_add(struct coordinator *c, const char *did, int64_t units);
/* Its bonds changed. */
void stake_bond_read(struct coordinator *c, const char *did);

http_handler bonds_get, bonds_post, bonds_return_post;

#endif

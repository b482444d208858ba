/* Checks by lot: what sched/trust.h and sched/draw.h say, done (checks.c, draws.c, draws_api.c).
 *
 * A result of a kind that is not made by copies anyway is accepted; then its lot is drawn, from its
 * receipt and the secret of the epoch. If it is to be checked the rig that the lot names has the
 * first word; one that does not come within CHECK_PATIENCE_MS of being free is passed over. Of
 * checks that agreed, the lot plants one in 25 with a third rig: a task whose answer is known,
 * in a lease like any other.
 *
 * CHECK-1  Lot, share and worker are in the row of the task in the transaction that accepts it.
 * CHECK-2  A rig with an open lease of a task is not leased a task that names the outputs which
 *          others gave for it: replicas learn nothing of each other before they have answered.
 * CHECK-4  As long as somebody is to compute a result that another gave, nobody is told what it is,
 *          nor what came of it: receipts of that round and later ones are told without their
 *          outputs, a state that it is part of without its values. Tasks alone name it, to rigs
 *          that are not at it (CHECK-2), and who had such a task checks it last.
 * CHECK-3  A share above the job's own is paid out of what the escrow leaves beyond the work that
 *          is still to be done, with half as much again and half of the whole; else the job's own
 *          holds. */
#ifndef EMAC_COORDINATOR_CHECKS_H
#define EMAC_COORDINATOR_CHECKS_H

#include "coordinator/checks/trust.h"

#define CHECK_PATIENCE_MS 1000
#define CHECK_BUSY_MAX_MS 15000 /* longer it is not waited for a rig that is busy */
#define CHECK_SLOW_TIMES                                                                           \
    4 /* rigs that would take so many times the fastest one's are no choice                        \
       */

/* In tx, `t` was accepted for the receipt of this CID by rig `did`: draw. */
void checks_draw(struct coordinator *c, struct cjob *j, struct ctask *t, const char *did,
                 const struct cid *receipt);
/* In tx: another rig's result of `t`, whose lot was drawn, is the same. */
enum emac_status checks_agreed(struct coordinator *c, struct cjob *j, struct ctask *t,
                               const char *did, struct emac_err *err);
/* In tx: the rig lost a dispute, or is faulty. */
enum emac_status checks_lost(struct coordinator *c, const char *did, struct emac_err *err);
/* May `n` have the check of `t` now? Else *wake_ms says when to ask again. Chooses where nobody is
 * chosen, or who was is gone or late. Tasks without a lot: anybody may. */
bool checks_may(struct coordinator *c, struct cjob *j, struct ctask *t, const struct node *n,
                uint64_t now, uint64_t *wake_ms);
/* CHECK-2 */
bool checks_hide(const struct cjob *j, const struct ctask *t, const struct node *n);

/* ---- told.c ---- */
/* CHECK-4: receipts of rounds before this one may be told whole; UINT32_MAX: all of them. Under the
 * lock. */
uint32_t told_before(struct coordinator *c, const char *job);
/* CHECK-4: may this value of the job's state be named? */
bool told_value(const struct cjob *j, const struct cid *cid);
/* The rig gets this task: what it takes is known to it, until SHOWN_MAX others were. */
void shown_note(struct node *n, const struct task *t);
bool shown_to(const struct node *n, const struct cid *cid);

extern const char DRAWS_SCHEMA[], DRAWS_IN_TIME[];

/* ---- draws.c: the secrets, and what is known of rigs ---- */
/* The chain of secrets: read, or begun. */
enum emac_status draws_start(struct coordinator *c, struct emac_err *err);
uint32_t draws_epoch(struct coordinator *c);
const uint8_t *draws_secret(struct coordinator *c, uint32_t epoch);
/* The seed of a task that was drawn, from its row. */
enum emac_status draws_seed(struct coordinator *c, const struct cjob *j, struct ctask *t,
                            struct emac_err *err);
/* Rows of rigs, devices and drivers into memory. */
enum emac_status trust_rows_read(struct coordinator *c, struct emac_err *err);
/* Of this kind of device or driver; NULL: nothing is known, or it has no name. */
struct trust *trust_kind(struct coordinator *c, const char *what, const char *name);
/* in tx: a comparison of the rig came out; memory moves with it */
enum emac_status trust_note(struct coordinator *c, struct node *n, bool good, struct emac_err *err);

http_handler draws_get, draws_epoch_get;

/* ---- receipt_names.c: receipts by name ----
 *
 * NAMES-1  A receipt that has a name is in receipt_names, by the end of it, or its id is above that
 *          in receipts_filed, and those above it are few: the ticker files NAMES_AT_ONCE of them
 *          when there are so many.
 * A receipt that is made again has another name from then on; the old one finds nothing. */
#define NAMES_AT_ONCE 8192
extern const char RECEIPTS_FILED[];
/* Without the lock. NOT_FOUND. */
enum emac_status receipt_find(struct coordinator *c, const char *name, int64_t *id,
                              struct emac_err *err);
/* In tx: the receipt of rig `did` for `t` got this name. */
enum emac_status receipt_renamed(struct coordinator *c, const char *job, const struct ctask *t,
                                 const char *did, const char *name, struct emac_err *err);
/* Without the lock, own transaction: file the next NAMES_AT_ONCE, if there are at least `least`. */
void receipt_names_file(struct coordinator *c, uint32_t least);

#endif

/* Keys to private data (work/sealed.h). The coordinator is the broker: an owner grants it the key
 * of an asset, in a box for it alone, and it seals the key anew to each rig that it gives a lease
 * which reads the data, for that lease. So an owner need not be there when his data are used, and a
 * rig that has no lease has no key; the price is that who runs the coordinator could read the data
 * (docs/threats.md).
 *
 * PRIVATE-1  Only the owner that the sealed file names can grant its key, take it back, and publish
 *            a licence for it.
 * PRIVATE-2  A job reads private data only if its owner owns them, or they stand in the catalogue
 *            under a licence of their owner that the job has met, and only while the key is
 * granted. Taking the key back ends the jobs that run on it. PRIVATE-3  A key leaves the
 * coordinator in boxes to rigs with an open lease alone; in its database it lies in a box that its
 * own secret opens. */
#ifndef EMAC_COORDINATOR_PRIVATE_H
#define EMAC_COORDINATOR_PRIVATE_H

#include "coordinator/internal.h"
#include "work/sealed.h"

#define PRIVATE_ASSETS_MAX DATASET_PARTS

/* The sealed files that `data` of a job is or links to. */
struct private_list {
    uint32_t count;
    struct cid cid[PRIVATE_ASSETS_MAX];
    struct sealed sealed[PRIVATE_ASSETS_MAX];
};
/* What is no private data gives an empty list. Needs no lock. */
enum emac_status private_list(struct coordinator *c, const struct cid *data,
                              struct private_list *out, struct emac_err *err);
/* PRIVATE-1: FORBIDDEN when `did` may not publish `data`. */
enum emac_status private_publish_check(struct coordinator *c, const struct cid *data,
                                       const char *did, struct emac_err *err);
/* PRIVATE-2: FORBIDDEN, NOT_FOUND. */
enum emac_status private_job_check(struct coordinator *c, const struct job *job,
                                   struct emac_err *err);
/* In tx: which jobs read what. */
enum emac_status private_job_write(struct coordinator *c, const char *id, const struct job *job,
                                   struct emac_err *err);
/* {asset: box}, for a lease of a task that reads data; NULL without private data. */
enum emac_status private_lease_keys(struct coordinator *c, const struct lease *l, json_t **out,
                                    struct emac_err *err);
/* Does the task read private data? A majority decides what its result is, not a dispute: whose
 * judge would have to read the data, and whose parties open what they computed of them to all. */
bool private_task(struct coordinator *c, const char *job, const struct task *t);
/* Whom owners seal to. */
void private_broker_did(const struct coordinator *c, char did[DID_KEY_MAX]);

http_handler private_post, private_get, private_revoke_post;

#endif

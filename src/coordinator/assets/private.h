/* Keys to private data and models (work/sealed_parts.h). The coordinator is the broker: an owner
 * grants it the key of an asset, in a box for it alone, and it seals the key anew to each rig that
 * it gives a lease which reads the asset, for that lease. So an owner need not be there when his
 * assets are used, and a rig that has no lease has no key; the price is that who runs the
 * coordinator could read them (docs/threats.md).
 *
 * PRIVATE-1  Only the owner that a sealed file names can grant its key, take it back, and publish a
 *            licence for what it belongs to. A key is taken if it opens the file.
 * PRIVATE-2  A job, or a request for text, reads what is private only if its owner owns it, or it
 *            stands in the catalogue under a licence of its owner that was met, and only while the
 *            key is granted. Taking the key back ends the jobs that run on it.
 * PRIVATE-3  A key leaves the coordinator in boxes to rigs with an open lease that reads its asset
 *            alone; in its database it lies in a box that its own secret opens.
 * PRIVATE-4  Adapters trained on a private model are public; others than its owner may train them
 *            only if its licence says `adapters`. Nothing else is trained on one (work/base.h). */
#ifndef EMAC_COORDINATOR_PRIVATE_H
#define EMAC_COORDINATOR_PRIVATE_H

#include "coordinator/internal.h"
#include "work/sealed_parts.h"

#define PRIVATE_ASSETS_MAX (2 * SEALED_PARTS_MAX)

/* PRIVATE-1: FORBIDDEN when `did` may not publish `asset`. */
enum emac_status private_publish_check(struct coordinator *c, const struct cid *asset,
                                       const char *did, struct emac_err *err);
/* PRIVATE-2, PRIVATE-4: FORBIDDEN, NOT_FOUND. */
enum emac_status private_job_check(struct coordinator *c, const struct job *job,
                                   struct emac_err *err);
/* In tx: which jobs read what. */
enum emac_status private_job_write(struct coordinator *c, const char *id, const struct job *job,
                                   struct emac_err *err);
/* {asset: box}, for a lease of a task that reads what is private; NULL when it reads nothing such.
 */
enum emac_status private_lease_keys(struct coordinator *c, const struct lease *l, json_t **out,
                                    struct emac_err *err);
/* PRIVATE-2 for text by `model`, asked for by `did` ("": by nobody). Is any of it private? */
enum emac_status private_model_check(struct coordinator *c, const struct cid *model,
                                     const char *did, bool *is_private, struct emac_err *err);
/* {asset: box} of such a model, for a lease of the rig `node`; NULL when nothing of it is private.
 */
enum emac_status private_model_keys(struct coordinator *c, const struct cid *model,
                                    const char *node, const char *lease, json_t **out,
                                    struct emac_err *err);
/* Does the task read what is private? A majority decides what its result is, not a dispute: whose
 * judge would have to read the data, and whose parties open what they computed of them to all. */
bool private_task(struct coordinator *c, const char *job, const struct task *t);
/* Whom owners seal to. */
void private_broker_did(const struct coordinator *c, char did[DID_KEY_MAX]);

http_handler private_post, private_get, private_revoke_post;

#endif

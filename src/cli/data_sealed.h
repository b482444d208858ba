/* Private data and models of this user (work/sealed_parts.h): sealed here, their keys in
 * HOME/private, one file each, named by the CID, that only he may read. */
#ifndef EMAC_CLI_DATA_SEALED_H
#define EMAC_CLI_DATA_SEALED_H

#include "cli/cli.h"
#include "node/exec.h"
#include "work/job.h"
#include "work/sealed_parts.h"

/* HOME/private/NAME; the directory is made. */
enum emac_status data_private_path(struct cli *c, const char *name, char out[OS_PATH_MAX]);
/* A new key, kept; the data sealed under it into the store and pinned. */
enum emac_status data_seal(struct cli *c, struct store *s, const struct sealed_source *from,
                           struct cid *cid, uint64_t *size);
/* emac data keys [grant | revoke CID] */
enum emac_status data_keys(struct cli *c, struct store *s, const char *action, const char *name);
/* The plaintext of sealed data whose key is here. */
enum emac_status data_unseal(struct cli *c, struct store *s, const struct cid *cid,
                             const char *path);
/* Keys to what the job reads of its data and its base, or the model that it evaluates, as far as it
 * is private; FORBIDDEN when one is not here. The ring is the caller's to wipe. */
enum emac_status data_job_keys(struct cli *c, struct store *s, const struct job *job,
                               struct sealed_ring *keys);
/* The same for the inputs of a task whose blocks are in the store. What is not private needs none.
 */
enum emac_status data_task_keys(struct cli *c, struct store *s, const struct task *t,
                                struct sealed_ring *keys);
/* The same for a model's directory, which is in the store. */
enum emac_status data_model_keys(struct cli *c, struct store *s, const struct cid *model,
                                 struct sealed_ring *keys);

#endif

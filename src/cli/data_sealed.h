/* Private data of this user (work/sealed.h): sealed here, their keys in HOME/private, one file
 * each, named by the CID, that only he may read. */
#ifndef EMAC_CLI_DATA_SEALED_H
#define EMAC_CLI_DATA_SEALED_H

#include "cli/cli.h"
#include "node/exec.h"
#include "work/job.h"
#include "work/sealed.h"

/* A new key, kept; the data sealed under it into the store and pinned. */
enum emac_status data_seal(struct cli *c, struct store *s, const struct sealed_source *from,
                           struct cid *cid, uint64_t *size);
/* emac data keys [grant | revoke CID] */
enum emac_status data_keys(struct cli *c, struct store *s, const char *action, const char *name);
/* The plaintext of sealed data whose key is here. */
enum emac_status data_unseal(struct cli *c, struct store *s, const struct cid *cid,
                             const char *path);
/* Keys to what the job reads, as far as it is private; FORBIDDEN when one is not here. */
enum emac_status data_job_keys(struct cli *c, struct store *s, const struct job *job,
                               struct exec_key key[EXEC_KEYS_MAX], uint32_t *count);

/* The same for what the data of a task name: blocks that are in the store. FORBIDDEN: private, and
 * the key is not here. Data that are not private have none. */
enum emac_status data_task_keys(struct cli *c, struct store *s, const struct task *t,
                                struct exec_key key[EXEC_KEYS_MAX], uint32_t *count);

#endif

/* Data that stays on a rig (docs/federated.md): files of its store that its owner keeps to himself.
 * Their roots are the lines of the file `private` in the rig's directory, and pinned. No block of
 * them is served to anybody or deposited, whatever DAG it is asked for as a part of. */
#ifndef EMAC_NODE_PRIVATE_H
#define EMAC_NODE_PRIVATE_H

#include "store/cid_map.h"
#include "store/store.h"

struct private_data {
    struct cid_map block; /* every block of the kept files */
};

/* Release in any case. */
enum emac_status private_open(struct private_data *p, struct os *os, const char *dir,
                              struct store *s, struct emac_err *err);
void private_release(struct private_data *p);
/* Is the block `root`, or any that hangs on it, kept? Thread-safe. */
bool private_holds(const struct private_data *p, struct store *s, const struct cid *root);
/* Keep a file that is in the rig's store, and pin `root`: itself, or the token set that it is of.
 */
enum emac_status private_note(struct os *os, const char *dir, struct store *s,
                              const struct cid *file, const struct cid *root, struct emac_err *err);
/* Add a file to a rig's store and keep it. The rig must not be running. */
enum emac_status private_keep(struct os *os, const char *dir, struct store *s, const char *path,
                              struct cid *cid, uint64_t *size, struct emac_err *err);

#endif

/* Inputs of tasks that are private weights (exec_private.c): opened for the task, in memory that no
 * store knows. Nothing outside src/node includes this. */
#ifndef EMAC_NODE_EXEC_PRIVATE_H
#define EMAC_NODE_EXEC_PRIVATE_H

#include "store/store.h"
#include "work/sealed.h"

struct exec;
struct exec_run;
struct exec_value;

struct exec_opened {
    struct store_value value; /* of `data`; it is in no store */
    uint8_t *data, *copy;     /* copy: on the device, NULL where that is the host */
};

/* What it is, fetched if need be, and the key to it (NULL: not asked for): FORBIDDEN when that is
 * not here. */
enum emac_status exec_sealed_find(struct exec *x, const struct cid *asset, struct sealed *out,
                                  const uint8_t **key, struct emac_err *err);
/* As exec_input_get, of a sealed file of at most `most` bytes. */
enum emac_status exec_private_get(struct exec_run *r, const char *what, const struct cid *asset,
                                  uint64_t most, struct exec_value *out, struct emac_err *err);
/* Zeros over all that was opened. */
void exec_private_drop(struct exec_run *r);

#endif

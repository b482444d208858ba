/* Receipts checked by running their tasks again, here: for `emac verify` and
 * `emac job audit`. Nobody is trusted but for what a job consists of: the
 * receipt's signature, its task, and every input are checked against their names.
 *
 * Inputs come from the coordinator's depot and from rigs. What is no longer anywhere, such as the
 * state between two checkpoints, is made again by the tasks that made it. */
#ifndef EMAC_CLI_VERIFY_RUN_H
#define EMAC_CLI_VERIFY_RUN_H

#include "cli/cli.h"
#include "node/exec_trace.h"

struct verify;
enum emac_status verify_open(struct cli *c, struct cli_device *d, struct verify **out);
void verify_close(struct verify *v);

struct verified {
    json_t *receipt; /* as the coordinator tells of it */
    bool equal;
    char output[TASK_NAME_MAX]; /* the first that differs */
    struct cid claimed, right;
    bool located;  /* below is known */
    uint64_t leaf; /* the first value of the task's trace that differs in that output */
    struct trace_leaf where;
    uint32_t made_again; /* tasks that were run for the inputs */
};
/* FORBIDDEN when it was computed on private data whose key is not in HOME/private. CORRUPT when the
 * receipt is not what it is called or not signed by its rig; what else fails says why it could not
 * be checked. Release. */
enum emac_status verify_receipt(struct verify *v, const char *cid, struct verified *out);
void verified_release(struct verified *r);
/* {"receipt", "slot", "node", "equal", ...}; a new reference. */
json_t *verified_json(const struct verified *r);
/* One line for people. */
void verified_say(struct cli *c, const struct verified *r);

#endif

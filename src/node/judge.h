/* The judge of disputes (work/dispute.h) on this machine's processor, beside a
 * coordinator. It computes one operator of a task, from what the parties gave,
 * in the depot's own store; it fetches nothing.
 *
 * One thread at a time. What a task may need of memory is half of the machine's. */
#ifndef EMAC_NODE_JUDGE_H
#define EMAC_NODE_JUDGE_H

#include "os/os.h"
#include "work/dispute.h"

struct judge;
enum emac_status judge_open(struct os *os, struct judge **out, struct emac_err *err);
void judge_close(struct judge *j);
/* Lives as long as the judge. */
const struct dispute_judge *judge_of(struct judge *j);

#endif

/* Who holds what: states as rigs' polls say, and what their receipts told since.
 *
 * HELD-1  What a receipt told is held until two polls in turn do not name it: the first may have
 *         been written before the receipt, which overtakes polls on thin links. */
#ifndef EMAC_COORDINATOR_HELD_H
#define EMAC_COORDINATOR_HELD_H

#include <stdbool.h>
#include <stdint.h>

#include "codec/cid.h"

#define NODE_HOLDS_MAX  256 /* as the rig says */
#define NODE_MODELS_MAX 8   /* loaded, to generate text with */

struct cjob;
struct coordinator;
struct node;
struct outputs;

/* What a rig could do about requests for text, as its last poll said. */
struct node_serving {
    uint64_t slots; /* answers at once; 0: not told, and it is given what it asks for */
    uint32_t model_count;
    struct cid model[NODE_MODELS_MAX]; /* directories, loaded */
    uint32_t answers;                  /* leased to it, as serve_take counted them last */
};

struct made {
    struct cid cid;
    const struct cjob *job; /* compared, never followed */
    uint32_t round;
};
struct held {
    struct cid cid;
    bool young; /* no poll came since the receipt that told it */
};

bool node_holds(const struct node *n, const struct cid *cid);
bool holder_exists(struct coordinator *c, const struct cid *cid, const struct node *but);
/* The rig holds these outputs now; it has come to this round of the job. */
void node_made(struct node *n, const struct cjob *j, uint32_t round, const struct outputs *o);
/* One value of that name. */
void node_keeps(struct node *n, const struct cjob *j, uint32_t round, const char *name,
                const struct cid *cid);
/* Its poll says that these states are what it holds (HELD-1). */
void node_holds_say(struct coordinator *c, struct node *n, const struct cid *cid, uint32_t count);
/* It has come to this round; `keep`: BEHIND-2 of checks/behind.h. */
void node_round(struct node *n, const struct cjob *j, uint32_t round, uint32_t keep);
void node_forget(struct node *n, const struct cid *cid);
void holders_forget(struct coordinator *c, const struct cid *cid);

#endif

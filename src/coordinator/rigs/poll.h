/* A rig asks for work: by a long poll, or in the same breath as it delivers a receipt, which saves
 * it a round trip (leases.c). */
#ifndef EMAC_COORDINATOR_POLL_H
#define EMAC_COORDINATOR_POLL_H

#include "coordinator/reply.h"
#include "coordinator/state.h"

struct poll {
    bool asked; /* poll_read found one */
    uint64_t wait_ms;
    uint32_t hold_count;
    struct cid hold[NODE_HOLDS_MAX]; /* states that it holds */
    struct node_serving serving;
};

/* From an object {wait_ms, holds}; NULL is no poll. */
enum emac_status poll_read(json_t *o, struct poll *out, struct emac_err *err);
#define POLL_ANSWER_USUAL 2048 /* bytes of a lease */

/* Under the lock: one look for work for a working rig. The answer is JSON; it stays empty when
 * there is none now. */
void poll_at_once(struct coordinator *c, struct node *n, const struct poll *p, const char *base_url,
                  struct emac_buf *answer);

/* Where each input of a task is, but for `asker`: an object of lists of URLs (depot.c). */
void sources_reply(struct coordinator *c, const struct task *t, const struct node *asker,
                   const char *base_url, struct reply *r);
json_t *sources_json(struct coordinator *c, const struct task *t, const struct node *asker,
                     const char *base_url);
void sources_add(struct coordinator *c, json_t *sources, const struct cid *cid,
                 const struct node *asker, const char *base_url);

#endif

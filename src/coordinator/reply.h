/* JSON written straight into a buffer: for the few answers that are given thousands of times a
 * second, of which no tree is made first. The caller writes what is between the values, in order,
 * and so answers for the whole being JSON; a text is quoted and escaped here.
 *
 * What fails (memory, the buffer's limit) sticks: later calls do nothing, and `st` tells it. */
#ifndef EMAC_COORDINATOR_REPLY_H
#define EMAC_COORDINATOR_REPLY_H

#include <jansson.h>

#include "base/buf.h"
#include "codec/cid.h"

struct reply {
    struct emac_buf *to;
    enum emac_status st; /* EMAC_OK at first */
};

void reply_raw(struct reply *r, const char *json);  /* as it stands */
void reply_text(struct reply *r, const char *text); /* UTF-8 */
void reply_int(struct reply *r, int64_t value);
void reply_units(struct reply *r, int64_t units);       /* "123", as api_units */
void reply_cid(struct reply *r, const struct cid *cid); /* not none */
void reply_base64(struct reply *r, const void *data, size_t n);
void reply_json(struct reply *r, json_t *tree); /* steals it; NULL is a failure */
/* How it went, with a sentence; the buffer is empty when it failed. */
enum emac_status reply_end(struct reply *r, struct emac_err *err);

#endif

/* Bundles in the memory of a device, found by the CID of the file they are copies of. What a task
 * made or took stays there for the next one, so that weights and optimiser state cross the bus
 * once.
 *
 * RES-1  A copy holds the bytes of its file; nobody writes to it.
 * RES-2  A copy that nobody holds may go at any allocation, longest unused first.
 *
 * On a device whose memory is the process's nothing is ever copied: bring gives the value's own
 * data. */
#ifndef EMAC_NODE_RESIDENT_H
#define EMAC_NODE_RESIDENT_H

#include "compute/device.h"
#include "store/store.h"

struct resident {
    struct cid cid;
    size_t bytes;
    uint8_t *at; /* of the device */
    uint32_t holds;
    uint64_t used; /* when last, by the set's count */
};

struct resident_set {
    struct device *dev;
    struct resident **item;
    size_t count, cap;
    uint64_t uses;
};

void resident_init(struct resident_set *set, struct device *dev);
/* Nothing may be held. */
void resident_release(struct resident_set *set);

/* Memory of the device, by letting go of copies if it must. Free with device_free. */
enum emac_status resident_alloc(struct resident_set *set, size_t bytes, void *out_ptr,
                                struct emac_err *err);
/* A copy of v, held, made if there is none; not for a device that is the host. */
enum emac_status resident_bring(struct resident_set *set, const struct store_value *v,
                                struct resident **out, struct emac_err *err);
/* The memory at `at` (from resident_alloc) becomes the copy of a file; it is freed when there is
 * one, or no room to note it. */
void resident_adopt(struct resident_set *set, const struct cid *cid, uint8_t *at, size_t bytes);
void resident_drop(struct resident *r);
/* Let go of copies of files that the store does not hold in memory any more: nobody will ask for
 * them. */
void resident_prune(struct resident_set *set, struct store *s);

#endif

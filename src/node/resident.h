/* Bundles in the memory of a device, found by the CID of the file they are copies of. What a task
 * made or took stays there for the next one, so that weights and optimiser state cross the bus
 * once, or not at all: what a task made is hashed where it lies (resident_keep) and is a value that
 * is away (store/store.h), whose bytes cross when somebody asks for them.
 *
 * RES-1  A copy holds the bytes of its file; nobody writes to it.
 * RES-2  A copy that nobody holds may go at any allocation, longest unused first, those that the
 *        host has as well before those that it has not.
 * RES-3  A value that is away has its bytes in one copy here, by a loan that both hold. The copy
 *        goes only after the value has landed, was lost, or was let go of by the store.
 *
 * Whose what is. The set, its copies and the device belong to the thread that uses the device; the
 * memory of a copy is the set's, never the store's. A loan is shared with the store and counted:
 * any thread reads through it (a peer asks, a checkpoint is put in the depot), by a view of the
 * memory (device_view) while the device computes; its lock is held over the read, so that a copy
 * that goes waits for the reader. Loans end by the store's release or with the copy, in any order.
 *
 *   made --resident_keep--> lent --asked for, memory is short, the set is released--> in both
 * places lent --the store lets go--> a copy like others, gone at the next prune lent --the device
 * is lost--> gone, and so is the value, as if its rig were: store_value_lose
 *
 * On a device whose memory is the process's nothing is ever copied: bring gives the value's own
 * data. */
#ifndef EMAC_NODE_RESIDENT_H
#define EMAC_NODE_RESIDENT_H

#include "compute/device.h"
#include "store/store.h"

struct loan;
struct resident {
    struct cid cid;
    size_t bytes;
    uint8_t *at; /* of the device */
    uint32_t holds;
    uint64_t used;     /* when last, by the set's count */
    struct loan *loan; /* NULL: never was a value's only place */
};

struct resident_set {
    struct device *dev;
    struct store *store;
    struct resident **item;
    size_t count, cap;
    uint64_t uses;
};

void resident_init(struct resident_set *set, struct device *dev, struct store *store);
/* Nothing may be held. What somebody holds of the store and has its bytes here only is brought,
 * unless the device is lost. */
void resident_release(struct resident_set *set);

/* Memory of the device, by letting go of copies if it must. Free with device_free. */
enum emac_status resident_alloc(struct resident_set *set, size_t bytes, void *out_ptr,
                                struct emac_err *err);
/* Let go of one copy, for memory that others allocate. NOT_FOUND when all are held. */
enum emac_status resident_spare(struct resident_set *set, struct emac_err *err);
/* A copy of v, held, made if there is none; not for a device that is the host. */
enum emac_status resident_bring(struct resident_set *set, const struct store_value *v,
                                struct resident **out, struct emac_err *err);
/* The memory at `at` (from resident_alloc) becomes the copy of a file; it is freed when there is
 * one, or no room to note it. */
void resident_adopt(struct resident_set *set, const struct cid *cid, uint8_t *at, size_t bytes);
/* The file at `at` (from resident_alloc) becomes a value that is away, held, and is a copy from now
 * on. Only digests cross the bus. On failure `at` stays the caller's. */
enum emac_status resident_keep(struct resident_set *set, uint8_t *at, size_t bytes,
                               const void *head, size_t head_size, const struct store_value **out,
                               struct emac_err *err);
void resident_drop(struct resident *r);
/* Let go of copies of files that the store does not hold in memory any more: nobody will ask for
 * them. */
void resident_prune(struct resident_set *set);

#endif

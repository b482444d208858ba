/* Hash table from CID to a pointer: open addressing, linear probing, at most
 * 3/4 full. The place of a key depends on a secret, so nobody outside can
 * choose blocks that collide. Not thread-safe; holds no ownership of values. */
#ifndef EMAC_STORE_CID_MAP_H
#define EMAC_STORE_CID_MAP_H

#include "codec/cid.h"

struct cid_slot {
    void *value; /* NULL: free */
    struct cid cid;
};

struct cid_map {
    struct cid_slot *slot;
    size_t count, cap; /* cap is 0 or a power of two */
    uint64_t secret;
};

void cid_map_init(struct cid_map *m, uint64_t secret);
void cid_map_release(struct cid_map *m);
/* NULL when absent */
void *cid_map_get(const struct cid_map *m, const struct cid *cid);
/* Insert or replace; value is not NULL. */
enum emac_status cid_map_put(struct cid_map *m, const struct cid *cid, void *value,
                             struct emac_err *err);
/* Returns the value that was there, or NULL. */
void *cid_map_remove(struct cid_map *m, const struct cid *cid);
/* Walk all: start with *at = 0; returns NULL at the end. No changes to the map meanwhile. */
const struct cid_slot *cid_map_next(const struct cid_map *m, size_t *at);

#endif

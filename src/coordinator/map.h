/* Two small hash containers: a map from text to pointer, and a bounded set of
 * CIDs. Open addressing, not thread-safe. Memory comes with abort on exhaustion
 * (emac_strdup's rule): entries are few and small. */
#ifndef EMAC_COORDINATOR_MAP_H
#define EMAC_COORDINATOR_MAP_H

#include "codec/cid.h"

struct map_entry {
    char *key; /* NULL: free */
    void *value;
};
struct map {
    struct map_entry *entry;
    size_t cap, count;
};

void map_release(struct map *m, void (*free_value)(void *value));
void *map_get(const struct map *m, const char *key); /* NULL when absent */
/* The key must be absent; it is copied. */
void map_put(struct map *m, const char *key, void *value);
/* The value, or NULL when the key is absent. */
void *map_remove(struct map *m, const char *key);
/* Iterate: start with *at = 0; false at the end. The map must not change meanwhile. */
bool map_next(const struct map *m, size_t *at, struct map_entry *out);

#define CID_SET_MAX 65536
struct cid_set {
    struct cid *slot; /* codec 0: free */
    size_t cap, count;
};
void cid_set_release(struct cid_set *s);
bool cid_set_has(const struct cid_set *s, const struct cid *cid);
/* A full set forgets everything first: it is a memory of what is known, never the truth. */
void cid_set_add(struct cid_set *s, const struct cid *cid);
void cid_set_clear(struct cid_set *s);

#endif

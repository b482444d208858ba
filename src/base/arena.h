/* Bump allocator for things that die together: one per request, parse, step.
 * Memory is zeroed and 16-byte aligned; there is no free of one piece. A named
 * maximum bounds hostile input: over it alloc returns NULL. */
#ifndef EMAC_BASE_ARENA_H
#define EMAC_BASE_ARENA_H

#include <stddef.h>

struct arena_chunk;
struct arena {
    struct arena_chunk *head;
    size_t used, max; /* bytes */
};

void arena_init(struct arena *a, size_t max);
void arena_release(struct arena *a);
void *arena_alloc(struct arena *a, size_t bytes);               /* NULL over max or out of memory */
void *arena_calloc(struct arena *a, size_t count, size_t size); /* overflow-checked */
char *arena_strndup(struct arena *a, const char *s, size_t n);

#endif

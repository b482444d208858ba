#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"

#define ARENA_ALIGN       16u
#define ARENA_CHUNK_LEAST 4096u
#define ARENA_CHUNK_MOST  (1u << 20) /* larger only for one large piece */

struct arena_chunk {
    struct arena_chunk *next;
    size_t cap, len;
    _Alignas(16) unsigned char data[];
};

void arena_init(struct arena *a, size_t max)
{
    EMAC_ASSERT(max > 0);
    *a = (struct arena){.max = max};
}

void arena_release(struct arena *a)
{
    struct arena_chunk *c = a->head;
    while (c != NULL) {
        struct arena_chunk *next = c->next;
        free(c);
        c = next;
    }
    a->head = NULL;
    a->used = 0;
}

/* Chunks double up to a megabyte, so a small parse costs one page and a large one few mallocs. */
static size_t chunk_size(const struct arena *a, size_t need)
{
    size_t cap = a->head != NULL ? a->head->cap * 2 : ARENA_CHUNK_LEAST;
    if (cap > ARENA_CHUNK_MOST)
        cap = ARENA_CHUNK_MOST;
    return cap < need ? need : cap;
}

static struct arena_chunk *chunk_add(struct arena *a, size_t need)
{
    size_t cap = chunk_size(a, need), bytes;
    if (!emac_add_size(sizeof(struct arena_chunk), cap, &bytes))
        return NULL;
    struct arena_chunk *c = calloc(1, bytes);
    if (c == NULL)
        return NULL;
    c->cap = cap;
    c->next = a->head;
    a->head = c;
    return c;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    size_t padded, used;
    if (!emac_add_size(bytes == 0 ? 1 : bytes, ARENA_ALIGN - 1, &padded))
        return NULL;
    padded &= ~(size_t)(ARENA_ALIGN - 1);
    if (!emac_add_size(a->used, padded, &used) || used > a->max)
        return NULL;
    struct arena_chunk *c = a->head;
    if (c == NULL || c->cap - c->len < padded) {
        c = chunk_add(a, padded);
        if (c == NULL)
            return NULL;
    }
    void *p = c->data + c->len;
    c->len += padded;
    a->used = used;
    EMAC_ASSERT(c->len <= c->cap && a->used <= a->max);
    return p;
}

void *arena_calloc(struct arena *a, size_t count, size_t size)
{
    size_t bytes;
    return emac_mul_size(count, size, &bytes) ? arena_alloc(a, bytes) : NULL;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
    size_t bytes;
    if (!emac_add_size(n, 1, &bytes))
        return NULL;
    char *p = arena_alloc(a, bytes);
    if (p != NULL && n > 0)
        memcpy(p, s, n); /* the NUL is there: memory comes zeroed */
    return p;
}

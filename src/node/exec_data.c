/* Windows of the corpus. The store verifies whole blocks, which takes a millisecond each; training
 * draws windows at random, so the chunks read last are kept. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "node/exec_internal.h"

struct exec_chunk {
    struct cid file;
    uint64_t number; /* of the chunk in the file */
    uint64_t used;   /* when last */
    size_t size;
    uint8_t *data;
};

void exec_data_release(struct exec *x)
{
    for (uint32_t i = 0; i < x->chunk_count; i++)
        free(x->chunk[i].data);
    free(x->chunk);
}

/* Read from the store, fetching what it lacks. */
static enum emac_status chunk_read(struct exec *x, struct exec_chunk *c, struct emac_err *err)
{
    struct store *s = x->cfg.store;
    uint64_t offset = c->number * UNIXFS_CHUNK;
    enum emac_status st = store_file_read(s, &c->file, offset, c->data, c->size, err);
    if (st != EMAC_NOT_FOUND && st != EMAC_CORRUPT)
        return st;
    st = exec_fetch(x, &c->file, false, err);
    return st == EMAC_OK ? store_file_read(s, &c->file, offset, c->data, c->size, err) : st;
}

/* A place for one more chunk: new while there may be more, else that of the oldest. */
static enum emac_status chunk_place(struct exec *x, struct exec_chunk **out, struct emac_err *err)
{
    uint64_t most = x->memory_max / EXEC_DATA_SHARE / UNIXFS_CHUNK;
    enum emac_status st;
    if (most < 1)
        most = 1;
    if (x->chunk == NULL) {
        st = emac_alloc(&x->chunk, EXEC_CHUNKS_MAX, sizeof *x->chunk, err);
        if (st != EMAC_OK)
            return st;
    }
    if (x->chunk_count < EXEC_CHUNKS_MAX && x->chunk_count < most) {
        struct exec_chunk *c = &x->chunk[x->chunk_count];
        st = emac_alloc_aligned(&c->data, UNIXFS_CHUNK, err);
        if (st != EMAC_OK)
            return st;
        x->chunk_count++;
        *out = c;
        return EMAC_OK;
    }
    *out = &x->chunk[0];
    for (uint32_t i = 1; i < x->chunk_count; i++) {
        if (x->chunk[i].used < (*out)->used)
            *out = &x->chunk[i];
    }
    return EMAC_OK;
}

static enum emac_status chunk_get(struct exec *x, const struct cid *file, uint64_t size,
                                  uint64_t number, const struct exec_chunk **out,
                                  struct emac_err *err)
{
    struct exec_chunk *c;
    x->reads++;
    for (uint32_t i = 0; i < x->chunk_count; i++) {
        c = &x->chunk[i];
        if (c->number == number && cid_equal(&c->file, file)) {
            c->used = x->reads;
            *out = c;
            return EMAC_OK;
        }
    }
    enum emac_status st = chunk_place(x, &c, err);
    if (st != EMAC_OK)
        return st;
    uint64_t left = size - number * UNIXFS_CHUNK;
    c->file = *file;
    c->number = number;
    c->used = x->reads;
    c->size = left < UNIXFS_CHUNK ? (size_t)left : UNIXFS_CHUNK;
    st = chunk_read(x, c, err);
    if (st != EMAC_OK)
        c->file = (struct cid){0}; /* nothing of use is there */
    *out = c;
    return st;
}

enum emac_status exec_data_size(struct exec *x, const struct cid *file, uint64_t *size,
                                struct emac_err *err)
{
    enum emac_status st = store_file_size(x->cfg.store, file, size, err);
    if (st != EMAC_NOT_FOUND && st != EMAC_CORRUPT)
        return st;
    st = exec_fetch(x, file, false, err);
    return st == EMAC_OK ? store_file_size(x->cfg.store, file, size, err) : st;
}

enum emac_status exec_data_read(struct exec *x, const struct cid *file, uint64_t size,
                                uint64_t offset, uint8_t *out, size_t n, struct emac_err *err)
{
    EMAC_ASSERT(n <= size && offset <= size - n);
    while (n > 0) {
        const struct exec_chunk *c;
        enum emac_status st = chunk_get(x, file, size, offset / UNIXFS_CHUNK, &c, err);
        if (st != EMAC_OK)
            return st;
        size_t at = (size_t)(offset % UNIXFS_CHUNK);
        size_t part = c->size - at < n ? c->size - at : n;
        memcpy(out, c->data + at, part);
        out += part;
        offset += part;
        n -= part;
    }
    return EMAC_OK;
}

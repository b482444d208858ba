/* Windows of the corpus. The store verifies whole blocks, which takes a millisecond each; training
 * draws windows at random, so the chunks read last are kept. Those of private data are opened here,
 * in memory of the task runner alone: plaintext never gets into the store, so it can be neither
 * written nor served. */
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
    exec_keys_clear(x);
    for (uint32_t i = 0; i < x->chunk_count; i++)
        free(x->chunk[i].data);
    free(x->chunk);
}

/* ---- private data ---- */

void exec_keys_clear(struct exec *x)
{
    for (uint32_t i = 0; i < x->chunk_count; i++) {
        struct exec_chunk *c = &x->chunk[i];
        if (!sealed_is(&c->file))
            continue;
        crypto_wipe(c->data, UNIXFS_CHUNK);
        c->file = (struct cid){0};
    }
    sealed_ring_wipe(&x->keys);
}

static enum emac_status sealed_chunk(struct exec *x, struct exec_chunk *c, struct emac_err *err)
{
    struct sealed s;
    const uint8_t *key = NULL;
    enum emac_status st;
    EMAC_TRY(st, exec_sealed_find(x, &c->file, &s, &key, err));
    if (!sealed_key_fits(&s, key))
        return emac_fail(err, EMAC_FORBIDDEN, "the key that came is not that of the data");
    st = sealed_chunk_read(x->cfg.store, &s, key, c->number, c->data, err);
    if (exec_fetched(x, &c->file, false, &st, err))
        st = sealed_chunk_read(x->cfg.store, &s, key, c->number, c->data, err);
out:
    return st;
}

/* ---- chunks ---- */

/* Bytes of a whole chunk: what a leaf holds. */
static uint64_t chunk_bytes(const struct cid *file)
{
    return sealed_is(file) ? SEALED_CHUNK : UNIXFS_CHUNK;
}

/* Read from the store, fetching what it lacks. */
static enum emac_status chunk_read(struct exec *x, struct exec_chunk *c, struct emac_err *err)
{
    struct store *s = x->cfg.store;
    uint64_t offset = c->number * UNIXFS_CHUNK;
    if (sealed_is(&c->file))
        return sealed_chunk(x, c, err);
    enum emac_status st = store_file_read(s, &c->file, offset, c->data, c->size, err);
    if (exec_fetched(x, &c->file, false, &st, err))
        st = store_file_read(s, &c->file, offset, c->data, c->size, err);
    return st;
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
    uint64_t whole = chunk_bytes(file), left = size - number * whole;
    c->file = *file;
    c->number = number;
    c->used = x->reads;
    c->size = left < whole ? (size_t)left : (size_t)whole;
    st = chunk_read(x, c, err);
    if (st != EMAC_OK)
        c->file = (struct cid){0}; /* nothing of use is there */
    *out = c;
    return st;
}

enum emac_status exec_data_size(struct exec *x, const struct cid *file, uint64_t *size,
                                struct emac_err *err)
{
    struct sealed sealed;
    if (sealed_is(file)) {
        enum emac_status found = exec_sealed_find(x, file, &sealed, NULL, err);
        *size = sealed.size;
        return found;
    }
    enum emac_status st = store_file_size(x->cfg.store, file, size, err);
    return exec_fetched(x, file, false, &st, err) ? store_file_size(x->cfg.store, file, size, err)
                                                  : st;
}

enum emac_status exec_data_read(struct exec *x, const struct cid *file, uint64_t size,
                                uint64_t offset, uint8_t *out, size_t n, struct emac_err *err)
{
    uint64_t whole = chunk_bytes(file);
    EMAC_ASSERT(n <= size && offset <= size - n);
    while (n > 0) {
        const struct exec_chunk *c;
        enum emac_status st = chunk_get(x, file, size, offset / whole, &c, err);
        if (st != EMAC_OK)
            return st;
        size_t at = (size_t)(offset % whole);
        size_t part = c->size - at < n ? c->size - at : n;
        memcpy(out, c->data + at, part);
        out += part;
        offset += part;
        n -= part;
    }
    return EMAC_OK;
}

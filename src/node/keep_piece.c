#include "node/keep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "store/car.h"

#define TREE_MAX ((size_t)1 << 34) /* bytes of a file: more than DEAL_BYTES_MAX has */

/* ---- files ---- */

static char *file_of(const struct node *n, const char *id)
{
    return emac_asprintf("%s/deals/%s", n->cfg.dir, id);
}

static void pin_name(char out[DEAL_ID_MAX + 8], const char *id)
{
    snprintf(out, DEAL_ID_MAX + 8, "deal:%s", id);
}

static enum emac_status file_write(struct node *n, const struct deal_duty *d, const uint8_t *chunk,
                                   struct emac_err *err)
{
    struct emac_buf text;
    uint8_t cid[CID_BYTES];
    char *path = file_of(n, d->id), *dir = emac_asprintf("%s/deals", n->cfg.dir);
    enum emac_status st;
    emac_buf_init(&text, TREE_MAX);
    cid_bytes(cid, &d->cid);
    EMAC_TRY(st, emac_buf_append(&text, cid, sizeof cid, err));
    if (chunk != NULL)
        EMAC_TRY(st, emac_buf_append(&text, chunk, (size_t)commp_chunks(d->piece.size) * COMMP_NODE,
                                     err));
    EMAC_TRY(st, n->os->dir_make(n->os, dir, err));
    st = n->os->file_write(n->os, path, text.data, text.len, 0600, err);
out:
    emac_buf_release(&text);
    free(path);
    free(dir);
    return st;
}

/* The nodes of a deal's file, from byte CID_BYTES of `text` on; NOT_FOUND when there are none. */
static enum emac_status file_read(struct node *n, const struct deal_duty *d, struct emac_buf *text,
                                  struct emac_err *err)
{
    char *path = file_of(n, d->id);
    enum emac_status st = n->os->file_read(n->os, path, text, err);
    free(path);
    if (st != EMAC_OK)
        return st;
    if (text->len != CID_BYTES + commp_chunks(d->piece.size) * COMMP_NODE)
        return emac_fail(err, EMAC_NOT_FOUND, "deal '%s' has no tree of its data here", d->id);
    return EMAC_OK;
}

bool keep_ready(struct node *n, const struct deal_duty *d)
{
    uint64_t size = 0;
    char *path = file_of(n, d->id);
    bool there = n->os->file_size(n->os, path, &size, NULL) == EMAC_OK;
    free(path);
    return there && size == CID_BYTES + commp_chunks(d->piece.size) * COMMP_NODE;
}

struct names {
    struct node *n;
    struct emac_buf text; /* DEAL_ID_MAX bytes each */
};

static enum emac_status name_add(void *ctx, const char *name)
{
    struct names *l = ctx;
    char id[DEAL_ID_MAX] = {0};
    if (!emac_strcpy(id, sizeof id, name)) /* not ours */
        return EMAC_OK;
    return emac_buf_append(&l->text, id, sizeof id, NULL);
}

static void names_list(struct node *n, struct names *l)
{
    char *dir = emac_asprintf("%s/deals", n->cfg.dir);
    l->n = n;
    emac_buf_init(&l->text, 1u << 26);
    (void)n->os->dir_list(n->os, dir, name_add, l, NULL); /* none yet: nothing is kept */
    free(dir);
}

bool keep_any(struct node *n)
{
    struct names l;
    names_list(n, &l);
    bool any = l.text.len > 0;
    emac_buf_release(&l.text);
    return any;
}

static void drop(struct node *n, const char *id)
{
    uint8_t bytes[CID_BYTES];
    struct cid cid;
    size_t used;
    char pin[DEAL_ID_MAX + 8], *path = file_of(n, id);
    pin_name(pin, id);
    if (n->os->file_pread(n->os, path, 0, bytes, sizeof bytes, NULL) == EMAC_OK &&
        cid_from_bytes(&cid, bytes, sizeof bytes, &used, NULL) == EMAC_OK)
        (void)store_unpin(n->store, pin, &cid, NULL); /* NOT_FOUND: it was never pinned */
    (void)n->os->file_remove(n->os, path, NULL);
    LOG_I("node", "deal '%s' is over: its data may go", id);
    free(path);
}

void keep_only(struct node *n, const struct deal_duty *duty, size_t count)
{
    struct names l;
    names_list(n, &l);
    for (size_t at = 0; at < l.text.len; at += DEAL_ID_MAX) {
        const char *id = (const char *)l.text.data + at;
        bool wanted = false;
        for (size_t i = 0; i < count; i++)
            wanted = wanted || strcmp(duty[i].id, id) == 0;
        if (!wanted)
            drop(n, id);
    }
    emac_buf_release(&l.text);
}

/* ---- fetching ---- */

static enum emac_status source_try(struct node *n, const struct deal_duty *d, size_t i,
                                   json_t *received, struct emac_err *err)
{
    struct exchange_source source = {.base_url = d->source[i].url};
    uint64_t bytes = 0;
    enum emac_status st =
        exchange_fetch(n->store, n->bulk, &d->cid, &source, 1, false, d->piece.size, &bytes, err);
    if (bytes > 0 && d->source[i].node[0] != '\0')
        json_array_append_new(received, json_pack("{s:s,s:I}", "node", d->source[i].node, "bytes",
                                                  (json_int_t)bytes));
    return st;
}

static enum emac_status fetch(struct node *n, const struct deal_duty *d, json_t *received,
                              struct emac_err *err)
{
    struct cid missing;
    size_t count = 0;
    enum emac_status st = store_dag_missing(n->store, &d->cid, &missing, 1, &count, err);
    if (st != EMAC_OK || count == 0)
        return st;
    st = emac_fail(err, EMAC_UNAVAILABLE, "nobody is known to have it");
    for (size_t i = 0; i < d->source_count && st != EMAC_OK && !agent_over(n); i++)
        st = source_try(n, d, i, received, err);
    return st;
}

struct commit {
    struct node *n;
    struct commp_builder *b;
};

static enum emac_status commit_some(void *ctx, const void *data, size_t n, struct emac_err *err)
{
    struct commit *c = ctx;
    if (agent_over(c->n))
        return emac_fail(err, EMAC_CANCELLED, "the rig is stopping");
    return commp_builder_write(c->b, data, n, err);
}

/* The piece of what is here; *chunk is the caller's. */
static enum emac_status commit(struct node *n, const struct deal_duty *d, struct commp *out,
                               uint8_t **chunk, struct emac_err *err)
{
    struct commit c = {.n = n};
    enum emac_status st = commp_builder_new(true, &c.b, err);
    if (st != EMAC_OK)
        return st;
    st = store_car_read(n->store, &d->cid, 0, UINT64_MAX, commit_some, &c, err);
    if (st == EMAC_OK)
        return commp_builder_end(c.b, out, chunk, err);
    commp_builder_free(c.b);
    return st;
}

enum emac_status keep_take(struct node *n, const struct deal_duty *d, json_t *received,
                           struct emac_err *err)
{
    struct commp piece;
    uint8_t *chunk = NULL;
    char pin[DEAL_ID_MAX + 8];
    enum emac_status st;
    pin_name(pin, d->id);
    EMAC_TRY(st, file_write(n, d, NULL, err));
    EMAC_TRY(st, store_pin(n->store, pin, &d->cid, err));
    EMAC_TRY(st, fetch(n, d, received, err));
    EMAC_TRY(st, commit(n, d, &piece, &chunk, err));
    if (piece.size != d->piece.size || memcmp(piece.root, d->piece.root, COMMP_NODE) != 0) {
        st = emac_fail(err, EMAC_INVALID, "the data are another piece than the deal says");
        goto out;
    }
    EMAC_TRY(st, store_value_persist(n->store, &d->cid, err));
    st = file_write(n, d, chunk, err);
out:
    free(chunk);
    return st;
}

/* ---- proving ---- */

static enum emac_status collect(void *ctx, const void *data, size_t n, struct emac_err *err)
{
    return emac_buf_append(ctx, data, n, err);
}

static enum emac_status prove_leaf(struct node *n, const struct deal_duty *d, const uint8_t *chunk,
                                   uint64_t leaf, struct emac_buf *proof, struct emac_err *err)
{
    struct emac_buf data;
    uint8_t one[COMMP_PROOF_MAX];
    uint64_t from;
    size_t len;
    enum emac_status st;
    commp_chunk_of(d->piece.size, leaf, &from, &len);
    emac_buf_init(&data, COMMP_CHUNK);
    EMAC_TRY(st, store_car_read(n->store, &d->cid, from, from + len, collect, &data, err));
    EMAC_ASSERT(data.len == len);
    EMAC_TRY(st, commp_prove(&d->piece, chunk, leaf, data.data, one, err));
    st = emac_buf_append(proof, one, commp_proof_bytes(d->piece.size), err);
out:
    emac_buf_release(&data);
    return st;
}

enum emac_status keep_prove(struct node *n, const struct deal_duty *d, uint64_t epoch,
                            const uint8_t seed[SHA256_BYTES], struct emac_buf *proof,
                            struct emac_err *err)
{
    struct emac_buf tree;
    uint64_t leaves = commp_leaves(d->piece.size);
    emac_buf_init(&tree, TREE_MAX);
    enum emac_status st = file_read(n, d, &tree, err);
    for (uint32_t k = 0; k < DEAL_CHALLENGES && st == EMAC_OK; k++)
        st = prove_leaf(n, d, tree.data + CID_BYTES,
                        deal_challenge(seed, d->id, d->replica, epoch, k, leaves), proof, err);
    emac_buf_release(&tree);
    EMAC_ASSERT(st != EMAC_OK || proof->len == deal_proof_bytes(&d->piece));
    return st;
}

/* Answers of disputes as dag-cbor. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "work/dispute.h"

#define ANSWER_ARENA_MAX ((size_t)64 << 20)

/* ---- writing ---- */

static void proof_write(struct dagcbor_writer *w, const struct dispute_proof *p)
{
    uint8_t leaf[TRACE_LEAF_BYTES_MAX];
    size_t n = trace_leaf_write(leaf, &p->leaf);
    dagcbor_map(w, 4);
    dagcbor_key(w, "leaf");
    dagcbor_bytes(w, leaf, n);
    dagcbor_key(w, "path");
    dagcbor_bytes(w, p->path, (size_t)p->path_length * SHA256_BYTES);
    dagcbor_key(w, "slot");
    dagcbor_u64(w, p->slot);
    dagcbor_key(w, "value");
    if (cid_is_none(&p->value))
        dagcbor_null(w);
    else
        dagcbor_cid(w, &p->value);
}

static void proofs_write(struct dagcbor_writer *w, const char *key, const struct dispute_answer *a)
{
    dagcbor_key(w, key);
    dagcbor_list(w, a->proof_count);
    for (uint32_t i = 0; i < a->proof_count; i++)
        proof_write(w, &a->proof[i]);
}

/* The keys of a kind, in canonical order. */
static void kind_write(struct dagcbor_writer *w, const char *kind)
{
    dagcbor_key(w, "kind");
    dagcbor_str(w, kind);
}

static void name_write(struct dagcbor_writer *w, const char *dispute)
{
    dagcbor_key(w, "dispute");
    dagcbor_str(w, dispute);
}

static void commit_write(struct dagcbor_writer *w, const struct dispute_answer *a)
{
    dagcbor_map(w, 5);
    kind_write(w, "commit");
    dagcbor_key(w, "root");
    dagcbor_bytes(w, a->root, SHA256_BYTES);
    dagcbor_key(w, "leaves");
    dagcbor_u64(w, a->leaves);
    name_write(w, a->dispute);
    proofs_write(w, "outputs", a);
}

static void split_write(struct dagcbor_writer *w, const struct dispute_answer *a)
{
    dagcbor_map(w, 6);
    kind_write(w, "split");
    dagcbor_key(w, "left");
    dagcbor_bytes(w, a->left, SHA256_BYTES);
    dagcbor_key(w, "count");
    dagcbor_u64(w, a->count);
    dagcbor_key(w, "first");
    dagcbor_u64(w, a->first);
    dagcbor_key(w, "right");
    dagcbor_bytes(w, a->right, SHA256_BYTES);
    name_write(w, a->dispute);
}

static void open_write(struct dagcbor_writer *w, const struct dispute_answer *a)
{
    dagcbor_map(w, 3);
    kind_write(w, "open");
    proofs_write(w, "values", a);
    name_write(w, a->dispute);
}

enum emac_status dispute_answer_encode(const struct dispute_answer *a, struct emac_buf *out,
                                       struct emac_err *err)
{
    struct dagcbor_writer w;
    if (a->kind >= DISPUTE_DONE || a->proof_count > DISPUTE_PROOFS_MAX)
        return emac_fail(err, EMAC_INVALID,
                         "an answer of a dispute is a commit, a split or an "
                         "open, with at most 4096 proofs");
    dagcbor_writer_init(&w, out);
    if (a->kind == DISPUTE_COMMIT)
        commit_write(&w, a);
    else if (a->kind == DISPUTE_SPLIT)
        split_write(&w, a);
    else
        open_write(&w, a);
    return dagcbor_writer_end(&w, err);
}

/* ---- reading ---- */

static enum emac_status proof_read(struct dispute_proof *p, const struct dagcbor_node *map,
                                   struct emac_err *err)
{
    static const char *const KEYS[] = {"leaf", "path", "slot", "value", NULL};
    const struct dagcbor_node *leaf, *path, *value;
    uint64_t slot;
    enum emac_status st;
    if (map->type != DAGCBOR_MAP)
        return emac_fail(err, EMAC_INVALID, "a proof must be a map");
    EMAC_TRY(st, dagcbor_only(map, KEYS, err));
    EMAC_TRY(st, dagcbor_get(map, "leaf", DAGCBOR_BYTES, &leaf, err));
    EMAC_TRY(st, trace_leaf_read(&p->leaf, (const uint8_t *)leaf->str.data, leaf->str.len, err));
    EMAC_TRY(st, dagcbor_get(map, "path", DAGCBOR_BYTES, &path, err));
    if (path->str.len % SHA256_BYTES != 0 || path->str.len > sizeof p->path)
        return emac_fail(err, EMAC_INVALID, "a path is not of at most %d hashes", TRACE_PATH_MAX);
    p->path_length = (uint32_t)(path->str.len / SHA256_BYTES);
    memcpy(p->path, path->str.data, path->str.len);
    EMAC_TRY(st, dagcbor_get_u64(map, "slot", OP_OUT_MAX - 1, &slot, err));
    p->slot = (uint32_t)slot;
    value = dagcbor_find(map, "value");
    if (value == NULL || (value->type != DAGCBOR_NULL && value->type != DAGCBOR_CID))
        return emac_fail(err, EMAC_INVALID, "field 'value' must be a CID or null");
    if (value->type == DAGCBOR_CID)
        p->value = value->cid;
out:
    return st;
}

static enum emac_status proofs_read(struct dispute_answer *a, const struct dagcbor_node *root,
                                    const char *key, struct emac_err *err)
{
    const struct dagcbor_node *list;
    enum emac_status st = dagcbor_get(root, key, DAGCBOR_LIST, &list, err);
    if (st != EMAC_OK)
        return st;
    if (list->seq.count > DISPUTE_PROOFS_MAX)
        return emac_fail(err, EMAC_INVALID, "%zu proofs; at most %d", list->seq.count,
                         DISPUTE_PROOFS_MAX);
    st = emac_alloc(&a->proof, list->seq.count + 1, sizeof *a->proof, err);
    a->proof_count = (uint32_t)list->seq.count;
    for (uint32_t i = 0; i < a->proof_count && st == EMAC_OK; i++)
        st = proof_read(&a->proof[i], &list->seq.items[i], err);
    return st;
}

static enum emac_status commit_read(struct dispute_answer *a, const struct dagcbor_node *root,
                                    struct emac_err *err)
{
    static const char *const KEYS[] = {"kind", "root", "leaves", "dispute", "outputs", NULL};
    enum emac_status st;
    a->kind = DISPUTE_COMMIT;
    EMAC_TRY(st, dagcbor_only(root, KEYS, err));
    EMAC_TRY(st, dagcbor_get_bytes(root, "root", a->root, SHA256_BYTES, err));
    EMAC_TRY(st, dagcbor_get_u64(root, "leaves", TRACE_LEAVES_MAX, &a->leaves, err));
    st = proofs_read(a, root, "outputs", err);
out:
    return st;
}

static enum emac_status split_read(struct dispute_answer *a, const struct dagcbor_node *root,
                                   struct emac_err *err)
{
    static const char *const KEYS[] = {"kind", "left", "count", "first", "right", "dispute", NULL};
    enum emac_status st;
    a->kind = DISPUTE_SPLIT;
    EMAC_TRY(st, dagcbor_only(root, KEYS, err));
    EMAC_TRY(st, dagcbor_get_bytes(root, "left", a->left, SHA256_BYTES, err));
    EMAC_TRY(st, dagcbor_get_bytes(root, "right", a->right, SHA256_BYTES, err));
    EMAC_TRY(st, dagcbor_get_u64(root, "first", TRACE_LEAVES_MAX, &a->first, err));
    st = dagcbor_get_u64(root, "count", TRACE_LEAVES_MAX, &a->count, err);
out:
    return st;
}

static enum emac_status open_read(struct dispute_answer *a, const struct dagcbor_node *root,
                                  struct emac_err *err)
{
    static const char *const KEYS[] = {"kind", "values", "dispute", NULL};
    enum emac_status st = dagcbor_only(root, KEYS, err);
    a->kind = DISPUTE_OPEN;
    return st == EMAC_OK ? proofs_read(a, root, "values", err) : st;
}

static enum emac_status answer_read(struct dispute_answer *a, const struct dagcbor_node *root,
                                    struct emac_err *err)
{
    const char *kind, *name;
    enum emac_status st;
    if (root->type != DAGCBOR_MAP)
        return emac_fail(err, EMAC_INVALID, "an answer of a dispute must be a map");
    EMAC_TRY(st, dagcbor_get_str(root, "kind", &kind, err));
    EMAC_TRY(st, dagcbor_get_str(root, "dispute", &name, err));
    if (!emac_strcpy(a->dispute, sizeof a->dispute, name))
        return emac_fail(err, EMAC_INVALID, "the name of a dispute is too long");
    if (strcmp(kind, "commit") == 0)
        return commit_read(a, root, err);
    if (strcmp(kind, "split") == 0)
        return split_read(a, root, err);
    if (strcmp(kind, "open") == 0)
        return open_read(a, root, err);
    st = emac_fail(err, EMAC_INVALID, "'%.20s' is no answer: commit, split or open", kind);
out:
    return st;
}

enum emac_status dispute_answer_decode(struct dispute_answer *out, const void *data, size_t n,
                                       struct emac_err *err)
{
    struct arena a;
    const struct dagcbor_node *root;
    *out = (struct dispute_answer){0};
    if (n > DISPUTE_BYTES_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "an answer of %zu bytes; at most %u", n,
                         DISPUTE_BYTES_MAX);
    arena_init(&a, ANSWER_ARENA_MAX);
    enum emac_status st = dagcbor_parse(&a, data, n, &root, err);
    if (st == EMAC_OK)
        st = answer_read(out, root, err);
    arena_release(&a);
    return st;
}

void dispute_answer_release(struct dispute_answer *a)
{
    free(a->proof);
    a->proof = NULL;
    a->proof_count = 0;
}

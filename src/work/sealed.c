#include "work/sealed.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "codec/dagcbor.h"

#define ARENA_MAX      (64u << 10)
#define SEALED_VERSION 1

/* ---- the block ---- */

static enum emac_status check(const struct sealed *s, struct emac_err *err)
{
    uint8_t key[ED25519_PUBLIC_BYTES];
    if (s->file.codec != CID_RAW && s->file.codec != CID_DAG_PB)
        return emac_fail(err, EMAC_INVALID, "a sealed file names no file");
    if (!cid_is_none(&s->head) && s->head.codec != CID_RAW && s->head.codec != CID_DAG_PB)
        return emac_fail(err, EMAC_INVALID, "the head of a sealed file is no file");
    if (s->size == 0 || s->size > SEALED_SIZE_MAX)
        return emac_fail(err, EMAC_INVALID, "a sealed file of %llu bytes is not possible",
                         (unsigned long long)s->size);
    if (!crypto_did_key_parse(key, s->owner))
        return emac_fail(err, EMAC_INVALID, "the owner of a sealed file is no did:key");
    return EMAC_OK;
}

enum emac_status sealed_encode(const struct sealed *s, struct emac_buf *out, struct cid *cid,
                               struct emac_err *err)
{
    enum emac_status st = check(s, err);
    size_t start = out->len;
    struct dagcbor_writer w;
    if (st != EMAC_OK)
        return st;
    dagcbor_writer_init(&w, out);
    dagcbor_map(&w, cid_is_none(&s->head) ? 6 : 7);
    dagcbor_key(&w, "file");
    dagcbor_cid(&w, &s->file);
    if (!cid_is_none(&s->head)) {
        dagcbor_key(&w, "head");
        dagcbor_cid(&w, &s->head);
    }
    dagcbor_key(&w, "kind");
    dagcbor_str(&w, "sealed");
    dagcbor_key(&w, "size");
    dagcbor_u64(&w, s->size);
    dagcbor_key(&w, "check");
    dagcbor_bytes(&w, s->check, sizeof s->check);
    dagcbor_key(&w, "owner");
    dagcbor_str(&w, s->owner);
    dagcbor_key(&w, "version");
    dagcbor_u64(&w, SEALED_VERSION);
    st = dagcbor_writer_end(&w, err);
    if (st == EMAC_OK && cid != NULL)
        *cid = cid_of(CID_DAG_CBOR, out->data + start, out->len - start);
    return st;
}

static enum emac_status fields_read(struct sealed *out, const struct dagcbor_node *map,
                                    struct emac_err *err)
{
    static const char *const KEYS[] = {"file",  "head",  "kind",    "size",
                                       "check", "owner", "version", NULL};
    const char *kind;
    uint64_t version;
    enum emac_status st;
    EMAC_TRY(st, dagcbor_only(map, KEYS, err));
    EMAC_TRY(st, dagcbor_get_str(map, "kind", &kind, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "version", UINT32_MAX, &version, err));
    if (strcmp(kind, "sealed") != 0 || version != SEALED_VERSION)
        return emac_fail(err, EMAC_INVALID, "not a sealed file of version %d", SEALED_VERSION);
    EMAC_TRY(st, dagcbor_get_cid(map, "file", &out->file, err));
    if (dagcbor_find(map, "head") != NULL)
        EMAC_TRY(st, dagcbor_get_cid(map, "head", &out->head, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "size", SEALED_SIZE_MAX, &out->size, err));
    EMAC_TRY(st, dagcbor_get_bytes(map, "check", out->check, sizeof out->check, err));
    st = dagcbor_get_text(map, "owner", out->owner, sizeof out->owner, err);
out:
    return st;
}

enum emac_status sealed_decode(struct sealed *out, const void *data, size_t n, struct emac_err *err)
{
    const struct dagcbor_node *root;
    struct arena a;
    *out = (struct sealed){0};
    arena_init(&a, ARENA_MAX);
    enum emac_status st =
        dagcbor_parse_map(&a, data, n, SEALED_BYTES_MAX, "a sealed file's block", &root, err);
    if (st == EMAC_OK)
        st = fields_read(out, root, err);
    arena_release(&a);
    return st == EMAC_OK ? check(out, err) : st;
}

bool sealed_is(const struct cid *cid)
{
    return cid->codec == CID_DAG_CBOR;
}

enum emac_status sealed_load(struct store *s, const struct cid *cid, struct sealed *out,
                             struct emac_err *err)
{
    struct emac_err ignored;
    struct emac_buf block;
    uint64_t size = 0;
    char text[CID_TEXT_MAX];
    if (err == NULL)
        err = &ignored; /* there must be a sentence to add to */
    cid_text(text, cid);
    *out = (struct sealed){0};
    if (!sealed_is(cid))
        return emac_fail(err, EMAC_INVALID, "'%s' is not a sealed file", text);
    if (store_block_has(s, cid, &size) && size > SEALED_BYTES_MAX)
        return emac_fail(err, EMAC_INVALID, "'%s' is not a sealed file", text);
    emac_buf_init(&block, UNIXFS_BLOCK_MAX);
    enum emac_status st = store_block_get(s, cid, &block, err);
    if (st == EMAC_OK) {
        st = sealed_decode(out, block.data, block.len, err);
        if (st != EMAC_OK)
            st = emac_wrap(err, "'%s'", text);
    }
    emac_buf_release(&block);
    return st;
}

enum emac_status sealed_file_size(struct store *s, const struct cid *cid, uint64_t *size,
                                  struct emac_err *err)
{
    struct sealed sealed;
    if (!sealed_is(cid))
        return store_file_size(s, cid, size, err);
    enum emac_status st = sealed_load(s, cid, &sealed, err);
    *size = sealed.size;
    return st;
}

/* ---- chunks ---- */

static void check_of(uint8_t out[SHA256_BYTES], const uint8_t key[SEAL_KEY_BYTES])
{
    uint8_t text[sizeof SEALED_CHECK - 1 + SEAL_KEY_BYTES];
    memcpy(text, SEALED_CHECK, sizeof SEALED_CHECK - 1);
    memcpy(text + sizeof SEALED_CHECK - 1, key, SEAL_KEY_BYTES);
    crypto_sha256(out, text, sizeof text);
    crypto_wipe(text, sizeof text);
}

bool sealed_key_fits(const struct sealed *s, const uint8_t key[SEAL_KEY_BYTES])
{
    uint8_t is[SHA256_BYTES];
    check_of(is, key);
    return crypto_equal(is, s->check, sizeof is);
}

/* What is proven with each chunk. */
struct proven {
    uint8_t bytes[sizeof SEALED_AD - 1 + 8];
};

static struct proven proven_of(uint64_t size)
{
    struct proven p;
    memcpy(p.bytes, SEALED_AD, sizeof SEALED_AD - 1);
    for (int i = 0; i < 8; i++)
        p.bytes[sizeof SEALED_AD - 1 + i] = (uint8_t)(size >> 8 * i);
    return p;
}

static uint64_t chunk_count(uint64_t size)
{
    return (size + SEALED_CHUNK - 1) / SEALED_CHUNK;
}

size_t sealed_chunk_bytes(const struct sealed *s, uint64_t number)
{
    uint64_t at = number * SEALED_CHUNK;
    EMAC_ASSERT(number < chunk_count(s->size));
    return s->size - at < SEALED_CHUNK ? (size_t)(s->size - at) : SEALED_CHUNK;
}

enum emac_status sealed_chunk_read(struct store *st, const struct sealed *s,
                                   const uint8_t key[SEAL_KEY_BYTES], uint64_t number, uint8_t *out,
                                   struct emac_err *err)
{
    size_t n = sealed_chunk_bytes(s, number) + SEAL_TAG_BYTES;
    struct proven p = proven_of(s->size);
    uint8_t *leaf;
    enum emac_status status = emac_alloc_aligned(&leaf, n, err);
    if (status != EMAC_OK)
        return status;
    status = store_file_read(st, &s->file, number * UNIXFS_CHUNK, leaf, n, err);
    if (status == EMAC_OK && !crypto_seal_open(out, key, number, p.bytes, sizeof p.bytes, leaf, n))
        status = emac_fail(err, EMAC_INVALID,
                           "chunk %llu of a private file is not what its owner sealed: do not use "
                           "this copy",
                           (unsigned long long)number);
    free(leaf);
    return status;
}

/* ---- sealing ---- */

static enum emac_status source_size(const struct sealed_source *from, uint64_t *size,
                                    struct emac_err *err)
{
    *size = from->bytes.len;
    if (from->path != NULL) {
        enum emac_status st = from->os->file_size(from->os, from->path, size, err);
        if (st != EMAC_OK)
            return st;
    }
    if (*size == 0)
        return emac_fail(err, EMAC_INVALID, "an empty file has nothing to keep private");
    EMAC_ASSERT(from->head <= *size);
    return EMAC_OK;
}

static enum emac_status source_read(const struct sealed_source *from, uint64_t offset, uint8_t *out,
                                    size_t n, struct emac_err *err)
{
    if (from->path != NULL)
        return from->os->file_pread(from->os, from->path, offset, out, n, err);
    memcpy(out, from->bytes.data + offset, n);
    return EMAC_OK;
}

static enum emac_status chunks_seal(struct unixfs_builder *b, const struct sealed_source *from,
                                    const struct sealed *s, const uint8_t key[SEAL_KEY_BYTES],
                                    struct emac_err *err)
{
    struct proven p = proven_of(s->size);
    uint8_t *plain = NULL, *leaf = NULL;
    enum emac_status st;
    EMAC_TRY(st, emac_alloc_aligned(&plain, SEALED_CHUNK, err));
    EMAC_TRY(st, emac_alloc_aligned(&leaf, UNIXFS_CHUNK, err));
    for (uint64_t i = 0; i < chunk_count(s->size); i++) {
        size_t n = sealed_chunk_bytes(s, i);
        EMAC_TRY(st, source_read(from, i * SEALED_CHUNK, plain, n, err));
        crypto_seal(leaf, key, i, p.bytes, sizeof p.bytes, plain, n);
        EMAC_TRY(st, unixfs_builder_write(b, leaf, n + SEAL_TAG_BYTES, err));
    }
out:
    sealed_wipe(plain, SEALED_CHUNK);
    free(leaf);
    return st;
}

static enum emac_status file_seal(struct store *store, const struct sealed_source *from,
                                  struct sealed *s, const uint8_t key[SEAL_KEY_BYTES],
                                  struct emac_err *err)
{
    struct unixfs_builder *b;
    uint64_t size, tree;
    enum emac_status st = unixfs_builder_new(&b, store_block_emit, store, err);
    if (st != EMAC_OK)
        return st;
    st = chunks_seal(b, from, s, key, err);
    if (st == EMAC_OK)
        return unixfs_builder_end(b, &s->file, &size, &tree, err);
    unixfs_builder_free(b);
    return st;
}

/* What is public of it, as a file of its own. */
static enum emac_status head_add(struct store *store, const struct sealed_source *from,
                                 struct cid *out, struct emac_err *err)
{
    struct unixfs_link link;
    uint8_t *head;
    if (from->head == 0)
        return EMAC_OK;
    enum emac_status st = emac_alloc_aligned(&head, from->head, err);
    if (st != EMAC_OK)
        return st;
    EMAC_TRY(st, source_read(from, 0, head, from->head, err));
    EMAC_TRY(st, store_bytes_add(store, EMAC_SLICE(head, from->head), &link, err));
    *out = link.cid;
out:
    free(head);
    return st;
}

enum emac_status sealed_add(struct store *store, const struct sealed_source *from,
                            const char *owner, const uint8_t key[SEAL_KEY_BYTES], struct cid *cid,
                            uint64_t *size, struct emac_err *err)
{
    struct sealed s = {0};
    struct emac_buf block;
    enum emac_status st;
    emac_buf_init(&block, SEALED_BYTES_MAX);
    EMAC_TRY(st, source_size(from, &s.size, err));
    emac_strcpy(s.owner, sizeof s.owner, owner);
    check_of(s.check, key);
    EMAC_TRY(st, head_add(store, from, &s.head, err));
    EMAC_TRY(st, file_seal(store, from, &s, key, err));
    EMAC_TRY(st, sealed_encode(&s, &block, cid, err));
    st = store_block_put_as(store, cid, block.data, block.len, err);
    *size = s.size;
out:
    emac_buf_release(&block);
    return st;
}

/* ---- opening all of it ---- */

void sealed_wipe(uint8_t *plain, size_t n)
{
    if (plain != NULL)
        crypto_wipe(plain, n);
    free(plain);
}

/* SEALED-1: `n` bytes of the plaintext, from its first on, against what is public. */
static enum emac_status head_check(struct store *store, const struct sealed *s,
                                   const uint8_t *plain, size_t n, struct emac_err *err)
{
    uint8_t *head = NULL;
    uint64_t size = 0;
    enum emac_status st;
    if (cid_is_none(&s->head))
        return EMAC_OK;
    EMAC_TRY(st, store_file_size(store, &s->head, &size, err));
    size_t most = size < n ? (size_t)size : n;
    EMAC_TRY(st, emac_alloc_aligned(&head, most + 1, err));
    EMAC_TRY(st, store_file_read(store, &s->head, 0, head, most, err));
    if (size > s->size || memcmp(head, plain, most) != 0)
        st = emac_fail(err, EMAC_INVALID,
                       "a private file does not begin with what its owner made public of it: do "
                       "not use it");
out:
    free(head);
    return st;
}

static enum emac_status key_check(const struct sealed *s, const uint8_t key[SEAL_KEY_BYTES],
                                  struct emac_err *err)
{
    return sealed_key_fits(s, key)
               ? EMAC_OK
               : emac_fail(err, EMAC_FORBIDDEN, "the key that came is not that of the file");
}

enum emac_status sealed_read(struct store *store, const struct sealed *s,
                             const uint8_t key[SEAL_KEY_BYTES], uint8_t *out, struct emac_err *err)
{
    enum emac_status st = key_check(s, key, err);
    for (uint64_t i = 0; i < chunk_count(s->size) && st == EMAC_OK; i++)
        st = sealed_chunk_read(store, s, key, i, out + i * SEALED_CHUNK, err);
    if (st == EMAC_OK)
        st = head_check(store, s, out, s->size, err);
    if (st != EMAC_OK)
        crypto_wipe(out, s->size);
    return st;
}

enum emac_status sealed_open(struct store *store, const struct cid *cid,
                             const uint8_t key[SEAL_KEY_BYTES], uint64_t most, uint8_t **out,
                             size_t *n, struct emac_err *err)
{
    struct sealed s;
    enum emac_status st;
    *out = NULL;
    *n = 0;
    EMAC_TRY(st, sealed_load(store, cid, &s, err));
    if (s.size > most)
        return emac_fail(err, EMAC_TOO_LARGE,
                         "a private file has %llu bytes, and at most %llu have room",
                         (unsigned long long)s.size, (unsigned long long)most);
    EMAC_TRY(st, emac_alloc_aligned(out, s.size, err));
    *n = s.size;
    st = sealed_read(store, &s, key, *out, err);
    if (st != EMAC_OK) {
        free(*out);
        *out = NULL;
        *n = 0;
    }
out:
    return st;
}

enum emac_status sealed_probe(struct store *store, const struct cid *cid,
                              const uint8_t key[SEAL_KEY_BYTES], struct emac_err *err)
{
    struct sealed s;
    uint8_t *plain = NULL;
    uint64_t size = 0;
    enum emac_status st;
    EMAC_TRY(st, sealed_load(store, cid, &s, err));
    EMAC_TRY(st, key_check(&s, key, err));
    EMAC_TRY(st, store_file_size(store, &s.file, &size, err));
    uint64_t last = chunk_count(s.size) - 1, due = s.size + (last + 1) * SEAL_TAG_BYTES;
    if (size != due)
        return emac_fail(err, EMAC_INVALID,
                         "the ciphertext has %llu bytes and must have %llu: it was cut, or is "
                         "another file's",
                         (unsigned long long)size, (unsigned long long)due);
    EMAC_TRY(st, emac_alloc_aligned(&plain, SEALED_CHUNK, err));
    EMAC_TRY(st, sealed_chunk_read(store, &s, key, last, plain, err));
    EMAC_TRY(st, sealed_chunk_read(store, &s, key, 0, plain, err));
    st = head_check(store, &s, plain, sealed_chunk_bytes(&s, 0), err);
out:
    sealed_wipe(plain, SEALED_CHUNK);
    return st;
}

enum emac_status sealed_file_export(struct store *store, struct os *os, const struct cid *cid,
                                    const uint8_t key[SEAL_KEY_BYTES], const char *path,
                                    struct emac_err *err)
{
    struct sealed s;
    uint8_t *plain = NULL;
    char part[OS_PATH_MAX];
    enum emac_status st = os_beside(os, path, part, err);
    if (st != EMAC_OK)
        return st;
    EMAC_TRY(st, sealed_load(store, cid, &s, err));
    EMAC_TRY(st, emac_alloc_aligned(&plain, SEALED_CHUNK, err));
    EMAC_TRY(st, os->file_write_fast(os, part, "", 0, 0600, err));
    for (uint64_t i = 0; i < chunk_count(s.size) && st == EMAC_OK; i++) {
        st = sealed_chunk_read(store, &s, key, i, plain, err);
        if (st == EMAC_OK)
            st = os->file_append(os, part, plain, sealed_chunk_bytes(&s, i), 0600, err);
    }
out:
    sealed_wipe(plain, SEALED_CHUNK);
    return os_beside_end(os, st, part, path, err);
}

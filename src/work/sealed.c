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
    dagcbor_map(&w, 6);
    dagcbor_key(&w, "file");
    dagcbor_cid(&w, &s->file);
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

static enum emac_status bytes_get(const struct dagcbor_node *map, const char *key, uint8_t *out,
                                  size_t n, struct emac_err *err)
{
    const struct dagcbor_node *v;
    enum emac_status st = dagcbor_get(map, key, DAGCBOR_BYTES, &v, err);
    if (st != EMAC_OK)
        return st;
    if (v->str.len != n)
        return emac_fail(err, EMAC_INVALID, "'%s' must have %zu bytes", key, n);
    memcpy(out, v->str.data, n);
    return EMAC_OK;
}

static enum emac_status text_get(const struct dagcbor_node *map, const char *key, char *out,
                                 size_t cap, struct emac_err *err)
{
    const struct dagcbor_node *v;
    enum emac_status st = dagcbor_get(map, key, DAGCBOR_STR, &v, err);
    if (st == EMAC_OK && (v->str.len != strlen(v->str.data) || !emac_strcpy(out, cap, v->str.data)))
        st = emac_fail(err, EMAC_INVALID, "'%s' must be a text of fewer than %zu bytes", key, cap);
    return st;
}

static enum emac_status fields_read(struct sealed *out, const struct dagcbor_node *map,
                                    struct emac_err *err)
{
    static const char *const KEYS[] = {"file", "kind", "size", "check", "owner", "version", NULL};
    const char *kind;
    uint64_t version;
    enum emac_status st;
    EMAC_TRY(st, dagcbor_only(map, KEYS, err));
    EMAC_TRY(st, dagcbor_get_str(map, "kind", &kind, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "version", UINT32_MAX, &version, err));
    if (strcmp(kind, "sealed") != 0 || version != SEALED_VERSION)
        return emac_fail(err, EMAC_INVALID, "not a sealed file of version %d", SEALED_VERSION);
    EMAC_TRY(st, dagcbor_get_cid(map, "file", &out->file, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "size", SEALED_SIZE_MAX, &out->size, err));
    EMAC_TRY(st, bytes_get(map, "check", out->check, sizeof out->check, err));
    st = text_get(map, "owner", out->owner, sizeof out->owner, err);
out:
    return st;
}

/* The root as a map; `a` is the caller's. */
static enum emac_status map_parse(struct arena *a, const void *data, size_t n, size_t most,
                                  const struct dagcbor_node **root, struct emac_err *err)
{
    if (n > most)
        return emac_fail(err, EMAC_TOO_LARGE, "a block of %zu bytes; at most %zu", n, most);
    enum emac_status st = dagcbor_parse(a, data, n, root, err);
    if (st == EMAC_OK && (*root)->type != DAGCBOR_MAP)
        st = emac_fail(err, EMAC_INVALID, "the block must be a map");
    return st;
}

enum emac_status sealed_decode(struct sealed *out, const void *data, size_t n, struct emac_err *err)
{
    const struct dagcbor_node *root;
    struct arena a;
    *out = (struct sealed){0};
    arena_init(&a, ARENA_MAX);
    enum emac_status st = map_parse(&a, data, n, SEALED_BYTES_MAX, &root, err);
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

/* ---- whole files ---- */

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
    free(plain);
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
    EMAC_TRY(st, file_seal(store, from, &s, key, err));
    EMAC_TRY(st, sealed_encode(&s, &block, cid, err));
    st = store_block_put_as(store, cid, block.data, block.len, err);
    *size = s.size;
out:
    emac_buf_release(&block);
    return st;
}

enum emac_status sealed_file_export(struct store *store, struct os *os, const struct cid *cid,
                                    const uint8_t key[SEAL_KEY_BYTES], const char *path,
                                    struct emac_err *err)
{
    struct sealed s;
    uint8_t *plain = NULL;
    char *part = emac_asprintf("%s.part", path);
    enum emac_status st;
    EMAC_TRY(st, sealed_load(store, cid, &s, err));
    EMAC_TRY(st, emac_alloc_aligned(&plain, SEALED_CHUNK, err));
    EMAC_TRY(st, os->file_write_fast(os, part, "", 0, 0600, err));
    for (uint64_t i = 0; i < chunk_count(s.size) && st == EMAC_OK; i++) {
        st = sealed_chunk_read(store, &s, key, i, plain, err);
        if (st == EMAC_OK)
            st = os->file_append(os, part, plain, sealed_chunk_bytes(&s, i), 0600, err);
    }
    if (st == EMAC_OK)
        st = os->file_rename(os, part, path, err);
    if (st != EMAC_OK)
        (void)os->file_remove(os, part, NULL);
out:
    free(plain);
    free(part);
    return st;
}

/* ---- keys ---- */

static enum emac_status key_encode(const struct sealed_key *k, struct emac_buf *out,
                                   struct emac_err *err)
{
    struct dagcbor_writer w;
    dagcbor_writer_init(&w, out);
    dagcbor_map(&w, 3);
    dagcbor_key(&w, "for");
    dagcbor_str(&w, k->purpose);
    dagcbor_key(&w, "key");
    dagcbor_bytes(&w, k->key, sizeof k->key);
    dagcbor_key(&w, "asset");
    dagcbor_cid(&w, &k->asset);
    return dagcbor_writer_end(&w, err);
}

enum emac_status sealed_key_box(const struct sealed_key *k, const char *did, struct emac_buf *out,
                                struct emac_err *err)
{
    uint8_t to[ED25519_PUBLIC_BYTES], box[SEALED_BOX_MAX];
    struct emac_buf plain;
    enum emac_status st;
    emac_buf_init(&plain, SEALED_BOX_MAX - SEAL_BOX_BYTES);
    EMAC_TRY(st, key_encode(k, &plain, err));
    if (!crypto_did_key_parse(to, did) || !crypto_seal_to(box, plain.data, plain.len, to))
        st = emac_fail(err, EMAC_INVALID, "nothing can be sealed to '%s'", did);
    else
        st = emac_buf_append(out, box, plain.len + SEAL_BOX_BYTES, err);
    crypto_wipe(plain.data, plain.len);
out:
    emac_buf_release(&plain);
    return st;
}

enum emac_status sealed_key_decode(struct sealed_key *out, const void *data, size_t n,
                                   struct emac_err *err)
{
    static const char *const KEYS[] = {"for", "key", "asset", NULL};
    const struct dagcbor_node *root;
    struct arena a;
    enum emac_status st;
    *out = (struct sealed_key){0};
    arena_init(&a, ARENA_MAX);
    EMAC_TRY(st, map_parse(&a, data, n, SEALED_BOX_MAX, &root, err));
    EMAC_TRY(st, dagcbor_only(root, KEYS, err));
    EMAC_TRY(st, text_get(root, "for", out->purpose, sizeof out->purpose, err));
    EMAC_TRY(st, bytes_get(root, "key", out->key, sizeof out->key, err));
    st = dagcbor_get_cid(root, "asset", &out->asset, err);
out:
    arena_release(&a);
    return st;
}

enum emac_status sealed_key_open(struct sealed_key *out, const void *box, size_t n,
                                 const uint8_t secret_key[ED25519_SECRET_BYTES],
                                 const struct cid *asset, const char *purpose, struct emac_err *err)
{
    uint8_t plain[SEALED_BOX_MAX];
    bool fine = n > SEAL_BOX_BYTES && n <= SEALED_BOX_MAX &&
                crypto_seal_from(plain, box, n, secret_key) &&
                sealed_key_decode(out, plain, n - SEAL_BOX_BYTES, NULL) == EMAC_OK &&
                cid_equal(&out->asset, asset) && strcmp(out->purpose, purpose) == 0;
    crypto_wipe(plain, sizeof plain);
    if (fine)
        return EMAC_OK;
    crypto_wipe(out, sizeof *out);
    return emac_fail(err, EMAC_FORBIDDEN,
                     "the sealed key is not meant for us, this data and this purpose");
}

/* Keys to sealed files: those at hand, and the boxes in which they travel. */
#include <string.h>

#include "codec/dagcbor.h"
#include "work/sealed.h"

#define ARENA_MAX (64u << 10)

/* ---- at hand ---- */

const uint8_t *sealed_ring_find(const struct sealed_ring *r, const struct cid *asset)
{
    for (uint32_t i = 0; r != NULL && i < r->count; i++)
        if (cid_equal(&r->at[i].asset, asset))
            return r->at[i].key;
    return NULL;
}

enum emac_status sealed_ring_get(const struct sealed_ring *r, const struct cid *asset,
                                 const uint8_t **key, struct emac_err *err)
{
    char text[CID_TEXT_MAX];
    *key = sealed_ring_find(r, asset);
    if (*key != NULL)
        return EMAC_OK;
    cid_text(text, asset);
    return emac_fail(err, EMAC_FORBIDDEN, "'%s' is private and its key is not here", text);
}

enum emac_status sealed_ring_add(struct sealed_ring *r, const struct cid *asset,
                                 const uint8_t key[SEAL_KEY_BYTES], struct emac_err *err)
{
    uint32_t at = 0;
    while (at < r->count && !cid_equal(&r->at[at].asset, asset))
        at++;
    if (at == SEALED_RING_MAX)
        return emac_fail(err, EMAC_INVALID, "a task has at most %d private inputs",
                         SEALED_RING_MAX);
    r->count += at == r->count;
    r->at[at].asset = *asset;
    memcpy(r->at[at].key, key, SEAL_KEY_BYTES);
    return EMAC_OK;
}

void sealed_ring_wipe(struct sealed_ring *r)
{
    crypto_wipe(r, sizeof *r);
}

/* ---- on their way ---- */

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
    EMAC_TRY(st, dagcbor_parse_map(&a, data, n, SEALED_BOX_MAX, "a key", &root, err));
    EMAC_TRY(st, dagcbor_only(root, KEYS, err));
    EMAC_TRY(st, dagcbor_get_text(root, "for", out->purpose, sizeof out->purpose, err));
    EMAC_TRY(st, dagcbor_get_bytes(root, "key", out->key, sizeof out->key, err));
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

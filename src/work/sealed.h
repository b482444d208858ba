/* Private files: data or weights that lie in stores and travel as ciphertext, and the keys to them.
 *
 * A sealed file is a UnixFS file of ciphertext and a dag-cbor block about it, whose CID names the
 * data in jobs and licences, or stands for weights in a model's directory:
 *   {file: CID, head: CID, kind: "sealed", size: bytes of the plaintext, check: 32 bytes,
 *    owner: did, version: 1}
 * `head`, which may be left out, is a UnixFS file of the first bytes of the plaintext that anybody
 * may read: of weights the table of their tensors, without which no job on them could be planned.
 * The plaintext is cut into chunks of SEALED_CHUNK bytes, the last one shorter; chunk i is sealed
 * with XChaCha20-Poly1305 (crypto/seal.h), its number the nonce, SEALED_AD and the size as 8 bytes,
 * least first, proven with it. A sealed chunk is one leaf of the file, so any range is opened by
 * reading the leaves that it lies in. The key is random, of this file alone. `check` is SHA-256 of
 * SEALED_CHECK and the key: whoever gets a key knows whether it is the right one, and no chunk
 * opens under two.
 *
 * A key travels in a box (crypto/seal.h) to one did:key, for one purpose:
 *   {for: text, key: 32 bytes, asset: CID}     `asset` is the sealed file's block
 * "for" is SEALED_FOR_BROKER to the coordinator, the lease's id to a rig.
 *
 * SEALED-1  What is opened is what was sealed, in its place, or nothing is. It begins with what the
 *           head says.
 * SEALED-2  A key that was not meant for this asset and purpose is refused. */
#ifndef EMAC_WORK_SEALED_H
#define EMAC_WORK_SEALED_H

#include "crypto/seal.h"
#include "store/store.h"

#define SEALED_CHUNK      (UNIXFS_CHUNK - SEAL_TAG_BYTES)
#define SEALED_AD         "emac sealed file 1"
#define SEALED_CHECK      "emac sealed key 1"
#define SEALED_FOR_BROKER "coordinator"
#define SEALED_BYTES_MAX  512 /* of the block */
#define SEALED_SIZE_MAX   ((uint64_t)1 << 50)
#define SEALED_FOR_MAX    64
#define SEALED_BOX_MAX    256 /* bytes of a boxed key */
#define SEALED_RING_MAX   8

struct sealed {
    struct cid file;
    uint64_t size; /* of the plaintext, at least 1 */
    uint8_t check[SHA256_BYTES];
    char owner[DID_KEY_MAX];
    struct cid head; /* none: nothing of it is public */
};

/* Appended to out; cid may be NULL. */
enum emac_status sealed_encode(const struct sealed *s, struct emac_buf *out, struct cid *cid,
                               struct emac_err *err);
enum emac_status sealed_decode(struct sealed *out, const void *data, size_t n,
                               struct emac_err *err);
/* INVALID when `cid` names no such block; NOT_FOUND. */
enum emac_status sealed_load(struct store *s, const struct cid *cid, struct sealed *out,
                             struct emac_err *err);
/* May this CID, where a file is expected, name a sealed one? */
bool sealed_is(const struct cid *cid);
/* Bytes of the plaintext of a file that is sealed or not. */
enum emac_status sealed_file_size(struct store *s, const struct cid *cid, uint64_t *size,
                                  struct emac_err *err);

bool sealed_key_fits(const struct sealed *s, const uint8_t key[SEAL_KEY_BYTES]);
/* Bytes of chunk `number` of the plaintext: SEALED_CHUNK, fewer for the last. */
size_t sealed_chunk_bytes(const struct sealed *s, uint64_t number);
/* Read chunk `number` and open it into out. INVALID when it is not what was sealed. */
enum emac_status sealed_chunk_read(struct store *st, const struct sealed *s,
                                   const uint8_t key[SEAL_KEY_BYTES], uint64_t number, uint8_t *out,
                                   struct emac_err *err);
/* What is to be sealed: a file of the file system, or bytes. */
struct sealed_source {
    struct os *os;
    const char *path; /* NULL: bytes */
    struct emac_slice bytes;
    uint64_t head; /* so many of the first bytes are public */
};
/* Seal it into the store: ciphertext, block, and *cid its name. */
enum emac_status sealed_add(struct store *st, const struct sealed_source *from, const char *owner,
                            const uint8_t key[SEAL_KEY_BYTES], struct cid *cid, uint64_t *size,
                            struct emac_err *err);
/* All s->size bytes of the plaintext; after a failure `out` is zeros. FORBIDDEN when the key is
 * another's. */
enum emac_status sealed_read(struct store *st, const struct sealed *s,
                             const uint8_t key[SEAL_KEY_BYTES], uint8_t *out, struct emac_err *err);
/* The same in memory that sealed_wipe gives back. TOO_LARGE over `most` bytes. */
enum emac_status sealed_open(struct store *st, const struct cid *cid,
                             const uint8_t key[SEAL_KEY_BYTES], uint64_t most, uint8_t **out,
                             size_t *n, struct emac_err *err);
/* Zeros over it, then free; NULL is nothing. */
void sealed_wipe(uint8_t *plain, size_t n);
/* What can be told of a sealed file without reading all of it: that the key is its own, the
 * ciphertext as long as the block says, and that its first and last chunk and its head open. */
enum emac_status sealed_probe(struct store *st, const struct cid *cid,
                              const uint8_t key[SEAL_KEY_BYTES], struct emac_err *err);
/* The plaintext into a file that only its owner may read. */
enum emac_status sealed_file_export(struct store *st, struct os *os, const struct cid *cid,
                                    const uint8_t key[SEAL_KEY_BYTES], const char *path,
                                    struct emac_err *err);

/* ---- keys ---- */

/* Keys at hand, by what they open. All zero: none. */
struct sealed_ring {
    uint32_t count;
    struct sealed_entry {
        struct cid asset;
        uint8_t key[SEAL_KEY_BYTES];
    } at[SEALED_RING_MAX];
};
/* INVALID when there are as many as one task can need. One that is there is kept once. */
enum emac_status sealed_ring_add(struct sealed_ring *r, const struct cid *asset,
                                 const uint8_t key[SEAL_KEY_BYTES], struct emac_err *err);
/* NULL when it is not there; `r` may be NULL. */
const uint8_t *sealed_ring_find(const struct sealed_ring *r, const struct cid *asset);
/* The same, FORBIDDEN when it is not there. */
enum emac_status sealed_ring_get(const struct sealed_ring *r, const struct cid *asset,
                                 const uint8_t **key, struct emac_err *err);
void sealed_ring_wipe(struct sealed_ring *r);

struct sealed_key {
    struct cid asset;
    char purpose[SEALED_FOR_MAX];
    uint8_t key[SEAL_KEY_BYTES];
};
/* Appended to out. INVALID for a did that nothing can be sealed to. */
enum emac_status sealed_key_box(const struct sealed_key *k, const char *did, struct emac_buf *out,
                                struct emac_err *err);
/* FORBIDDEN when the box is not for this key, asset and purpose. */
enum emac_status sealed_key_open(struct sealed_key *out, const void *box, size_t n,
                                 const uint8_t secret_key[ED25519_SECRET_BYTES],
                                 const struct cid *asset, const char *purpose,
                                 struct emac_err *err);
/* The plain bytes of a box. */
enum emac_status sealed_key_decode(struct sealed_key *out, const void *data, size_t n,
                                   struct emac_err *err);

#endif

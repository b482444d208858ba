/* Data that stays (docs/federated.md): the texts of a federated job, each with the rig that alone
 * holds it. The manifest is public; a job names it by its CID. The texts themselves are never
 * fetched, so it names them by words and not by links, which are what travels with a block.
 *
 *   {kind: "shards", version: 1, shards: [{cid: text, size: bytes, owner: did:key}, ...]}
 *
 * A shard that its owner has cut into tokens (work/corpus.h) has "tokenizer: text", too: the CID of
 * the tokenizer's directory, by which whoever plans a job sees that all were cut alike. Its `cid`
 * is that of the token set's block, which stays with the owner, and `size` the bytes of its ids.
 *
 * The order decides which replica trains on which. No text is there twice. */
#ifndef EMAC_WORK_SHARDS_H
#define EMAC_WORK_SHARDS_H

#include "crypto/crypto.h"
#include "store/store.h"

#define SHARDS_MAX       32
#define SHARDS_BYTES_MAX 16384 /* of the manifest */
#define SHARD_SIZE_MAX   ((uint64_t)1 << 50)

struct shard {
    struct cid cid; /* a UnixFS file, or a token set */
    uint64_t size;  /* bytes of it; its weight in the mean of all */
    char owner[DID_KEY_MAX];
    struct cid tokenizer; /* none: its bytes are the tokens */
};
struct shards {
    uint32_t count; /* 1 to SHARDS_MAX */
    struct shard at[SHARDS_MAX];
};

/* Appends to out; cid may be NULL. INVALID when a rule above is broken, naming the shard. */
enum emac_status shards_encode(const struct shards *s, struct emac_buf *out, struct cid *cid,
                               struct emac_err *err);
enum emac_status shards_decode(struct shards *out, const void *data, size_t n,
                               struct emac_err *err);
/* From a store. INVALID when `cid` is no such manifest. */
enum emac_status shards_load(struct store *s, const struct cid *cid, struct shards *out,
                             struct emac_err *err);
/* All bytes of them. */
uint64_t shards_size(const struct shards *s);
/* INVALID, naming the shard, unless each was cut by this tokenizer into tokens of `width` bytes;
 * none: unless each is a text. */
enum emac_status shards_fit(const struct shards *s, const struct cid *tokenizer, uint32_t width,
                            struct emac_err *err);
/* "CID,SIZE,DID", of a token set "CID,SIZE,DID,TOKENIZER", as `emac data keep` prints it. */
enum emac_status shard_parse(struct shard *out, const char *text, struct emac_err *err);

#endif

#include "work/shards.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "codec/dagcbor.h"

#define SHARDS_VERSION   1
#define SHARDS_ARENA_MAX (1u << 20)
#define SHARD_TEXT_MAX   (2 * CID_TEXT_MAX + 24 + DID_KEY_MAX)

static enum emac_status check_one(const struct shards *s, uint32_t i, struct emac_err *err)
{
    const struct shard *shard = &s->at[i];
    uint8_t key[ED25519_PUBLIC_BYTES];
    bool tokens = !cid_is_none(&shard->tokenizer);
    bool file = shard->cid.codec == CID_RAW || shard->cid.codec == CID_DAG_PB;
    if (tokens ? shard->cid.codec != CID_DAG_CBOR : !file)
        return emac_fail(err, EMAC_INVALID, "shard %u names no %s", i,
                         tokens ? "token set" : "file");
    if (tokens && shard->tokenizer.codec != CID_DAG_PB)
        return emac_fail(err, EMAC_INVALID, "the tokenizer of shard %u is no directory", i);
    if (shard->size == 0 || shard->size > SHARD_SIZE_MAX)
        return emac_fail(err, EMAC_INVALID, "shard %u of %llu bytes is not possible", i,
                         (unsigned long long)shard->size);
    if (!crypto_did_key_parse(key, shard->owner))
        return emac_fail(err, EMAC_INVALID, "the owner of shard %u is no did:key", i);
    for (uint32_t k = 0; k < i; k++)
        if (cid_equal(&s->at[k].cid, &shard->cid))
            return emac_fail(err, EMAC_INVALID, "shards %u and %u are the same text", k, i);
    return EMAC_OK;
}

static enum emac_status check(const struct shards *s, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    if (s->count == 0 || s->count > SHARDS_MAX)
        return emac_fail(err, EMAC_INVALID, "%u shards are not possible: 1 to %u", s->count,
                         SHARDS_MAX);
    for (uint32_t i = 0; i < s->count && st == EMAC_OK; i++)
        st = check_one(s, i, err);
    return st;
}

enum emac_status shards_encode(const struct shards *s, struct emac_buf *out, struct cid *cid,
                               struct emac_err *err)
{
    enum emac_status st = check(s, err);
    size_t start = out->len;
    struct dagcbor_writer w;
    if (st != EMAC_OK)
        return st;
    dagcbor_writer_init(&w, out);
    dagcbor_map(&w, 3);
    dagcbor_key(&w, "kind");
    dagcbor_str(&w, "shards");
    dagcbor_key(&w, "shards");
    dagcbor_list(&w, s->count);
    for (uint32_t i = 0; i < s->count; i++) {
        char text[CID_TEXT_MAX];
        bool tokens = !cid_is_none(&s->at[i].tokenizer);
        cid_text(text, &s->at[i].cid);
        dagcbor_map(&w, tokens ? 4 : 3);
        dagcbor_key(&w, "cid");
        dagcbor_str(&w, text);
        dagcbor_key(&w, "size");
        dagcbor_u64(&w, s->at[i].size);
        dagcbor_key(&w, "owner");
        dagcbor_str(&w, s->at[i].owner);
        if (!tokens)
            continue;
        cid_text(text, &s->at[i].tokenizer);
        dagcbor_key(&w, "tokenizer");
        dagcbor_str(&w, text);
    }
    dagcbor_key(&w, "version");
    dagcbor_u64(&w, SHARDS_VERSION);
    st = dagcbor_writer_end(&w, err);
    if (st == EMAC_OK && cid != NULL)
        *cid = cid_of(CID_DAG_CBOR, out->data + start, out->len - start);
    return st;
}

static enum emac_status read_one(struct shard *out, const struct dagcbor_node *map,
                                 struct emac_err *err)
{
    static const char *const KEYS[] = {"cid", "size", "owner", "tokenizer", NULL};
    const char *cid, *owner, *tokenizer;
    enum emac_status st;
    if (map->type != DAGCBOR_MAP)
        return emac_fail(err, EMAC_INVALID, "field 'shards' must hold maps");
    EMAC_TRY(st, dagcbor_only(map, KEYS, err));
    EMAC_TRY(st, dagcbor_get_str(map, "cid", &cid, err));
    EMAC_TRY(st, cid_parse(&out->cid, cid, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "size", SHARD_SIZE_MAX, &out->size, err));
    EMAC_TRY(st, dagcbor_get_str(map, "owner", &owner, err));
    if (!emac_strcpy(out->owner, sizeof out->owner, owner))
        return emac_fail(err, EMAC_INVALID, "field 'owner' is no did:key");
    if (dagcbor_find(map, "tokenizer") == NULL)
        return EMAC_OK;
    EMAC_TRY(st, dagcbor_get_str(map, "tokenizer", &tokenizer, err));
    st = cid_parse(&out->tokenizer, tokenizer, err);
out:
    return st;
}

static enum emac_status read_manifest(struct shards *out, const struct dagcbor_node *map,
                                      struct emac_err *err)
{
    static const char *const KEYS[] = {"kind", "shards", "version", NULL};
    const struct dagcbor_node *list;
    const char *kind;
    uint64_t version;
    enum emac_status st;
    if (map->type != DAGCBOR_MAP)
        return emac_fail(err, EMAC_INVALID, "it is not a map");
    EMAC_TRY(st, dagcbor_only(map, KEYS, err));
    EMAC_TRY(st, dagcbor_get_str(map, "kind", &kind, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "version", UINT64_MAX, &version, err));
    EMAC_TRY(st, dagcbor_get(map, "shards", DAGCBOR_LIST, &list, err));
    if (strcmp(kind, "shards") != 0 || version != SHARDS_VERSION)
        return emac_fail(err, EMAC_INVALID, "it is a '%s' of version %llu, not shards of %d", kind,
                         (unsigned long long)version, SHARDS_VERSION);
    if (list->seq.count > SHARDS_MAX)
        return emac_fail(err, EMAC_INVALID, "%zu shards are not possible: 1 to %u", list->seq.count,
                         SHARDS_MAX);
    for (size_t i = 0; i < list->seq.count; i++)
        EMAC_TRY(st, read_one(&out->at[i], &list->seq.items[i], err));
    out->count = (uint32_t)list->seq.count;
    st = check(out, err);
out:
    return st;
}

enum emac_status shards_decode(struct shards *out, const void *data, size_t n, struct emac_err *err)
{
    struct arena a;
    const struct dagcbor_node *root;
    struct emac_err ignored;
    if (err == NULL)
        err = &ignored; /* it is added to, so there must be one */
    *out = (struct shards){0};
    if (n > SHARDS_BYTES_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "a manifest of shards of %zu bytes; at most %u", n,
                         SHARDS_BYTES_MAX);
    arena_init(&a, SHARDS_ARENA_MAX);
    enum emac_status st = dagcbor_parse(&a, data, n, &root, err);
    if (st == EMAC_OK)
        st = read_manifest(out, root, err);
    arena_release(&a);
    return st == EMAC_OK ? st : emac_wrap(err, "manifest of shards");
}

enum emac_status shards_load(struct store *s, const struct cid *cid, struct shards *out,
                             struct emac_err *err)
{
    struct emac_buf block;
    *out = (struct shards){0};
    if (cid->codec != CID_DAG_CBOR)
        return emac_fail(err, EMAC_INVALID,
                         "this CID is a file, not a manifest of shards: make one by 'emac data "
                         "shards'");
    emac_buf_init(&block, SHARDS_BYTES_MAX);
    enum emac_status st = store_block_get(s, cid, &block, err);
    if (st == EMAC_OK)
        st = shards_decode(out, block.data, block.len, err);
    emac_buf_release(&block);
    return st;
}

uint64_t shards_size(const struct shards *s)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->count; i++)
        sum += s->at[i].size;
    return sum;
}

enum emac_status shards_fit(const struct shards *s, const struct cid *tokenizer, uint32_t width,
                            struct emac_err *err)
{
    bool tokens = !cid_is_none(tokenizer);
    for (uint32_t i = 0; i < s->count; i++) {
        bool cut = !cid_is_none(&s->at[i].tokenizer);
        if (cut != tokens)
            return emac_fail(err, EMAC_INVALID,
                             "shard %u is a %s and 'data' is a %s: let its owner keep it %s "
                             "'--tokenizer'",
                             i, cut ? "token set" : "text", tokens ? "token set" : "text",
                             tokens ? "with" : "without");
        if (tokens && !cid_equal(&s->at[i].tokenizer, tokenizer))
            return emac_fail(err, EMAC_INVALID,
                             "shard %u was cut by another tokenizer than 'data': let its owner "
                             "keep it with that one",
                             i);
        if (tokens && s->at[i].size % width != 0)
            return emac_fail(err, EMAC_INVALID,
                             "shard %u has %llu bytes and its tokens %u each: that is no number "
                             "of tokens",
                             i, (unsigned long long)s->at[i].size, width);
    }
    return EMAC_OK;
}

enum emac_status shard_parse(struct shard *out, const char *text, struct emac_err *err)
{
    char copy[SHARD_TEXT_MAX], *size, *owner, *tokenizer = NULL, *end;
    *out = (struct shard){0};
    bool whole = emac_strcpy(copy, sizeof copy, text) && (size = strchr(copy, ',')) != NULL &&
                 (owner = strchr(size + 1, ',')) != NULL;
    if (!whole)
        return emac_fail(err, EMAC_INVALID, "'%.80s' is not CID,SIZE,DID", text);
    *size++ = *owner++ = '\0';
    if ((tokenizer = strchr(owner, ',')) != NULL)
        *tokenizer++ = '\0';
    errno = 0;
    out->size = strtoull(size, &end, 10);
    if (errno != 0 || end == size || *end != '\0' || *size == '-' ||
        !emac_strcpy(out->owner, sizeof out->owner, owner))
        return emac_fail(err, EMAC_INVALID, "'%.80s' is not CID,SIZE,DID", text);
    enum emac_status st = cid_parse(&out->cid, copy, err);
    return st != EMAC_OK || tokenizer == NULL ? st : cid_parse(&out->tokenizer, tokenizer, err);
}

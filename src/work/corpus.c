#include "work/corpus.h"

#include <string.h>

#include "base/assert.h"
#include "codec/dagcbor.h"
#include "work/sealed.h"

#define ARENA_MAX      (64u << 10)
#define CORPUS_VERSION 1

uint64_t corpus_bytes(const struct corpus *c)
{
    return c->tokens * c->width;
}

int32_t corpus_token(const uint8_t *bytes, uint32_t width, size_t i)
{
    uint32_t id = 0;
    EMAC_ASSERT(width == 1 || width == 2 || width == 4);
    for (uint32_t b = 0; b < width; b++)
        id |= (uint32_t)bytes[i * width + b] << 8 * b;
    return (int32_t)(id & INT32_MAX); /* past every vocabulary when its highest bit is set */
}

/* ---- a token set's block ---- */

static enum emac_status check(const struct corpus *c, struct emac_err *err)
{
    if (c->width != 2 && c->width != 4)
        return emac_fail(err, EMAC_INVALID, "tokens of %u bytes are not possible: 2 or 4",
                         c->width);
    if (c->vocab == 0 || c->vocab > CORPUS_VOCAB_MAX || (c->width == 2 && c->vocab > 1u << 16))
        return emac_fail(err, EMAC_INVALID,
                         "a vocabulary of %u is not possible in tokens of %u bytes", c->vocab,
                         c->width);
    if (c->tokens == 0 || c->tokens > CORPUS_SIZE_MAX / c->width || c->text == 0 ||
        c->text > CORPUS_SIZE_MAX)
        return emac_fail(err, EMAC_INVALID, "%llu tokens for a text of %llu bytes are not possible",
                         (unsigned long long)c->tokens, (unsigned long long)c->text);
    if (c->tokenizer.codec != CID_DAG_PB)
        return emac_fail(err, EMAC_INVALID, "a token set's tokenizer must be a directory");
    return EMAC_OK;
}

enum emac_status corpus_encode(const struct corpus *c, struct emac_buf *out, struct cid *cid,
                               struct emac_err *err)
{
    enum emac_status st = check(c, err);
    size_t start = out->len;
    struct dagcbor_writer w;
    if (st != EMAC_OK)
        return st;
    dagcbor_writer_init(&w, out);
    dagcbor_map(&w, 8);
    dagcbor_key(&w, "file");
    dagcbor_cid(&w, &c->file);
    dagcbor_key(&w, "kind");
    dagcbor_str(&w, "tokens");
    dagcbor_key(&w, "text");
    dagcbor_u64(&w, c->text);
    dagcbor_key(&w, "vocab");
    dagcbor_u64(&w, c->vocab);
    dagcbor_key(&w, "width");
    dagcbor_u64(&w, c->width);
    dagcbor_key(&w, "tokens");
    dagcbor_u64(&w, c->tokens);
    dagcbor_key(&w, "version");
    dagcbor_u64(&w, CORPUS_VERSION);
    dagcbor_key(&w, "tokenizer");
    dagcbor_cid(&w, &c->tokenizer);
    st = dagcbor_writer_end(&w, err);
    if (st == EMAC_OK && cid != NULL)
        *cid = cid_of(CID_DAG_CBOR, out->data + start, out->len - start);
    return st;
}

static enum emac_status fields_read(struct corpus *out, const struct dagcbor_node *map,
                                    struct emac_err *err)
{
    static const char *const KEYS[] = {"file",   "kind",    "text",      "vocab", "width",
                                       "tokens", "version", "tokenizer", NULL};
    const char *kind;
    uint32_t version;
    enum emac_status st;
    EMAC_TRY(st, dagcbor_only(map, KEYS, err));
    EMAC_TRY(st, dagcbor_get_str(map, "kind", &kind, err));
    EMAC_TRY(st, dagcbor_get_u32(map, "version", &version, err));
    if (strcmp(kind, "tokens") != 0 || version != CORPUS_VERSION)
        return emac_fail(err, EMAC_INVALID, "not a token set of version %d", CORPUS_VERSION);
    EMAC_TRY(st, dagcbor_get_cid(map, "file", &out->file, err));
    EMAC_TRY(st, dagcbor_get_cid(map, "tokenizer", &out->tokenizer, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "text", UINT64_MAX, &out->text, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "tokens", UINT64_MAX, &out->tokens, err));
    EMAC_TRY(st, dagcbor_get_u32(map, "vocab", &out->vocab, err));
    EMAC_TRY(st, dagcbor_get_u32(map, "width", &out->width, err));
    st = check(out, err);
out:
    return st;
}

/* `is_set`: the block says that it is a token set, right or wrong. */
static enum emac_status block_read(struct corpus *out, const void *data, size_t n, bool *is_set,
                                   struct emac_err *err)
{
    const struct dagcbor_node *root, *kind;
    struct arena a;
    *out = (struct corpus){0};
    *is_set = false;
    arena_init(&a, ARENA_MAX);
    enum emac_status st =
        dagcbor_parse_map(&a, data, n, CORPUS_BLOCK_MAX, "a token set's block", &root, err);
    if (st == EMAC_OK) {
        kind = dagcbor_find(root, "kind");
        *is_set =
            kind != NULL && kind->type == DAGCBOR_STR && strcmp(kind->str.data, "tokens") == 0;
        st = fields_read(out, root, err);
    }
    arena_release(&a);
    return st;
}

enum emac_status corpus_decode(struct corpus *out, const void *data, size_t n, struct emac_err *err)
{
    bool is_set;
    return block_read(out, data, n, &is_set, err);
}

/* ---- any of the forms ---- */

/* Bytes are the tokens. */
static enum emac_status bytes_load(struct store *s, const struct cid *cid, struct corpus *out,
                                   struct emac_err *err)
{
    *out = (struct corpus){.file = *cid, .vocab = TOKENIZER_BYTES, .width = 1};
    enum emac_status st = sealed_file_size(s, cid, &out->tokens, err);
    out->text = out->tokens;
    return st;
}

static enum emac_status file_check(struct store *s, const struct corpus *c, struct emac_err *err)
{
    uint64_t size = 0;
    enum emac_status st = sealed_file_size(s, &c->file, &size, err);
    if (st == EMAC_NOT_FOUND)
        return EMAC_OK; /* whoever reads it fetches it */
    if (st == EMAC_OK && size != corpus_bytes(c))
        st = emac_fail(err, EMAC_INVALID,
                       "a token set's file has %llu bytes and its tokens need %llu",
                       (unsigned long long)size, (unsigned long long)corpus_bytes(c));
    return st;
}

enum emac_status corpus_load(struct store *s, const struct cid *cid, struct corpus *out,
                             struct emac_err *err)
{
    struct emac_err ignored;
    struct emac_buf block;
    bool is_set;
    if (err == NULL)
        err = &ignored; /* what is called adds to the sentence, so there must be one */
    if (!sealed_is(cid))
        return bytes_load(s, cid, out, err);
    emac_buf_init(&block, UNIXFS_BLOCK_MAX);
    enum emac_status st = store_block_get(s, cid, &block, err);
    if (st == EMAC_OK) {
        st = block_read(out, block.data, block.len, &is_set, err);
        if (is_set)
            st = st == EMAC_OK ? file_check(s, out, err) : emac_wrap(err, "token set");
        else
            st = bytes_load(s, cid, out, err);
    }
    emac_buf_release(&block);
    return st;
}

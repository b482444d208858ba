/* A text cut into tokens, piece by piece: memory does not grow with it. */
#include <string.h>

#include "base/assert.h"
#include "codec/unixfs.h"
#include "work/corpus.h"

#define NARROW_VOCAB (1u << 16) /* ids of fewer fit two bytes */
#define READ_BYTES   ((size_t)1 << 16)

static bool is_sign(uint8_t c)
{
    return c > ' ' && c < 0x7f;
}

/* The last place up to `most` where no UTF-8 character is cut. */
static size_t whole_characters(const uint8_t *text, size_t most)
{
    size_t at = most;
    while (at > 0 && at > most - 4 && (text[at] & 0xc0) == 0x80)
        at--;
    return (text[at] & 0xc0) == 0x80 || at == 0 ? most : at;
}

size_t corpus_piece(const uint8_t *text, size_t n, bool last)
{
    if (last && n <= CORPUS_PIECE)
        return n;
    if (n <= CORPUS_PIECE)
        return 0;
    for (size_t at = CORPUS_PIECE; at > 0; at--)
        if (text[at - 1] == '\n' && is_sign(text[at]))
            return at;
    return whole_characters(text, CORPUS_PIECE);
}

struct cutting {
    struct store *store;
    const struct corpus_source *from;
    struct corpus *out;
    const struct corpus_sink *sink;
    struct emac_buf text, ids, bytes; /* what was read and not cut; of one piece */
    bool ended;
};

static enum emac_status piece_write(struct cutting *c, size_t n, struct emac_err *err)
{
    const struct emac_slice piece = EMAC_SLICE(c->text.data, n);
    enum emac_status st;
    emac_buf_clear(&c->ids);
    emac_buf_clear(&c->bytes);
    EMAC_TRY(st, tokenizer_encode(c->from->tokenizer, piece, false, &c->ids, err));
    size_t count = c->ids.len / sizeof(int32_t);
    for (size_t i = 0; i < count; i++) {
        uint8_t le[4];
        int32_t id;
        memcpy(&id, c->ids.data + i * sizeof id, sizeof id);
        EMAC_ASSERT(id >= 0 && (uint32_t)id < c->out->vocab);
        for (uint32_t b = 0; b < c->out->width; b++)
            le[b] = (uint8_t)((uint32_t)id >> 8 * b);
        EMAC_TRY(st, emac_buf_append(&c->bytes, le, c->out->width, err));
    }
    EMAC_TRY(st, c->sink->write(c->sink->ctx, c->bytes.data, c->bytes.len, err));
    c->out->tokens += count;
    c->out->text += n;
    memmove(c->text.data, c->text.data + n, c->text.len - n);
    c->text.len -= n;
out:
    return st == EMAC_OK ? st
                         : emac_wrap(err, "the piece of the text from byte %llu on",
                                     (unsigned long long)c->out->text);
}

static enum emac_status more_read(struct cutting *c, struct emac_err *err)
{
    size_t n = 0;
    enum emac_status st = emac_buf_reserve(&c->text, READ_BYTES, err);
    if (st == EMAC_OK)
        st = c->from->read(c->from->ctx, c->text.data + c->text.len, READ_BYTES, &n, err);
    c->text.len += n;
    c->ended = n == 0;
    return st;
}

static enum emac_status text_cut(struct cutting *c, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    while (st == EMAC_OK && !(c->ended && c->text.len == 0)) {
        size_t n = corpus_piece(c->text.data, c->text.len, c->ended);
        st = n > 0 ? piece_write(c, n, err) : more_read(c, err);
    }
    if (st == EMAC_OK && c->out->tokens == 0)
        st = emac_fail(err, EMAC_INVALID, "the text is empty: there is nothing to learn from");
    return st;
}

/* ---- the file ---- */

static enum emac_status file_write(void *ctx, const uint8_t *ids, size_t n, struct emac_err *err)
{
    return unixfs_builder_write(ctx, ids, n, err);
}

static enum emac_status file_end(void *ctx, struct cid *file, struct emac_err *err)
{
    uint64_t size, tree;
    return unixfs_builder_end(ctx, file, &size, &tree, err);
}

static enum emac_status file_cut(struct cutting *c, struct emac_err *err)
{
    struct corpus_sink sink = {.write = file_write, .end = file_end};
    struct unixfs_builder *b;
    enum emac_status st = unixfs_builder_new(&b, store_block_emit, c->store, err);
    if (st != EMAC_OK)
        return st;
    sink.ctx = b;
    c->sink = &sink;
    st = text_cut(c, err);
    if (st == EMAC_OK)
        return file_end(b, &c->out->file, err);
    unixfs_builder_free(b);
    return st;
}

static enum emac_status sink_cut(struct cutting *c, struct emac_err *err)
{
    c->sink = c->from->sink;
    enum emac_status st = text_cut(c, err);
    return st == EMAC_OK ? c->sink->end(c->sink->ctx, &c->out->file, err) : st;
}

enum emac_status corpus_tokenize(struct store *s, const struct corpus_source *from,
                                 struct corpus *out, struct cid *cid, struct emac_err *err)
{
    struct cutting c = {.store = s, .from = from, .out = out};
    struct emac_buf block;
    uint32_t vocab = tokenizer_vocab(from->tokenizer);
    enum emac_status st;
    *out = (struct corpus){
        .tokenizer = from->directory, .vocab = vocab, .width = vocab <= NARROW_VOCAB ? 2 : 4};
    emac_buf_init(&block, CORPUS_BLOCK_MAX);
    emac_buf_init(&c.text, CORPUS_PIECE + 2 * READ_BYTES);
    emac_buf_init(&c.ids, (CORPUS_PIECE + 1) * sizeof(int32_t) * 4);
    emac_buf_init(&c.bytes, (CORPUS_PIECE + 1) * sizeof(int32_t) * 4);
    EMAC_TRY(st, from->sink == NULL ? file_cut(&c, err) : sink_cut(&c, err));
    EMAC_TRY(st, corpus_encode(out, &block, cid, err));
    st = store_block_put_as(s, cid, block.data, block.len, err);
out:
    emac_buf_release(&block);
    emac_buf_release(&c.text);
    emac_buf_release(&c.ids);
    emac_buf_release(&c.bytes);
    return st;
}

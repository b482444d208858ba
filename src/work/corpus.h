/* What a language model learns from: a corpus, which data.cid names in one of three forms.
 *
 *   a UnixFS file   any bytes; a token is a byte, the vocabulary has 256
 *   a sealed file   the same, private (work/sealed.h)
 *   a token set     a text that a tokenizer has cut already: a dag-cbor block
 *
 *     {file: CID, kind: "tokens", text: bytes of the text, vocab, width: 2 | 4, tokens, version: 1,
 *      tokenizer: CID}
 *
 * `file` holds the ids of `tokens` tokens, `width` bytes each, least first; it may be sealed.
 * `tokenizer` is a directory with the files of a Hugging Face tokenizer (work/model_tree.h):
 * models that are trained on the set get them, so its CID says which ids mean what. Every id is
 * less than `vocab`: readers check it, for the block is a stranger's word.
 *
 * A text is cut into pieces of at most CORPUS_PIECE bytes, each encoded by itself without special
 * tokens, so that a corpus of any size needs little memory: a piece ends behind the last line feed
 * of those bytes that is followed by a letter, a digit or a sign of ASCII (corpus_piece). The ids
 * of all pieces, one after the other, are the set; so text and tokenizer alone decide its CID. */
#ifndef EMAC_WORK_CORPUS_H
#define EMAC_WORK_CORPUS_H

#include "model/tokenizer.h"
#include "store/store.h"

#define CORPUS_BLOCK_MAX 512
#define CORPUS_VOCAB_MAX (1u << 20)
#define CORPUS_SIZE_MAX  ((uint64_t)1 << 50)
#define CORPUS_PIECE     ((size_t)1 << 20)

struct corpus {
    struct cid file;       /* of the tokens: what job or block names, sealed or not */
    struct cid tokenizer;  /* none: a token is a byte */
    uint64_t tokens, text; /* tokens; bytes of the text that they stand for */
    uint32_t vocab, width; /* width: bytes of a token in the file, 1, 2 or 4 */
};

uint64_t corpus_bytes(const struct corpus *c); /* of the file */
/* A token set's block, appended to out; cid may be NULL. INVALID when a limit above is broken. */
enum emac_status corpus_encode(const struct corpus *c, struct emac_buf *out, struct cid *cid,
                               struct emac_err *err);
enum emac_status corpus_decode(struct corpus *out, const void *data, size_t n,
                               struct emac_err *err);
/* Any of the three forms. INVALID when `cid` names no corpus, or a file that is there has not the
 * size that is due; NOT_FOUND when a block is missing. */
enum emac_status corpus_load(struct store *s, const struct cid *cid, struct corpus *out,
                             struct emac_err *err);

/* Token i of `bytes` tokens as the file has them: 0 <= i. */
int32_t corpus_token(const uint8_t *bytes, uint32_t width, size_t i);
/* Length of the first piece of a text of which `n` bytes are there, all of it when `last`: 0 when
 * more is needed to tell. Never cuts a UTF-8 character. */
size_t corpus_piece(const uint8_t *text, size_t n, bool last);
/* Cut a text by a tokenizer into a file of tokens in the store and a block about it: *cid. `read`
 * gives the text in order: up to `cap` bytes into `to`, 0 at its end. */
typedef enum emac_status corpus_reader(void *ctx, uint8_t *to, size_t cap, size_t *n,
                                       struct emac_err *err);
/* Where the ids go, in order; `end` says as what file. */
struct corpus_sink {
    enum emac_status (*write)(void *ctx, const uint8_t *ids, size_t n, struct emac_err *err);
    enum emac_status (*end)(void *ctx, struct cid *file, struct emac_err *err);
    void *ctx;
};
struct corpus_source {
    corpus_reader *read;
    void *ctx;
    const struct tokenizer *tokenizer;
    struct cid directory;           /* the tokenizer's, in the store */
    const struct corpus_sink *sink; /* NULL: a UnixFS file in the store */
};
enum emac_status corpus_tokenize(struct store *s, const struct corpus_source *from,
                                 struct corpus *out, struct cid *cid, struct emac_err *err);

#endif

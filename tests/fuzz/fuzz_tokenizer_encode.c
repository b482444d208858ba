/* Any bytes are encoded or refused as no UTF-8, and what tokenizers without a normalizer make of a
 * text gives the text back. The first byte chooses the tokenizer. */
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "model/tokenizer.h"
#include "model/tokenizer_train.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define PATTERNS 4

/* Trained once on a few words, so that there are merges. */
static struct tokenizer *tokenizer_of(unsigned which)
{
    static const char *const NAMES[PATTERNS - 1] = {"gpt2", "llama3", "bytes"};
    static struct tokenizer *made[PATTERNS];
    struct tokenizer_trainer *trainer;
    struct emac_buf json;
    uint32_t tokens;

    if (made[which] != NULL)
        return made[which];
    if (which == PATTERNS - 1) {
        EMAC_ASSERT(tokenizer_bytes(&made[which], NULL) == EMAC_OK);
        return made[which];
    }
    emac_buf_init(&json, 1 << 20);
    EMAC_ASSERT(tokenizer_trainer_new(NAMES[which], &trainer, NULL) == EMAC_OK);
    EMAC_ASSERT(tokenizer_trainer_add(
                    trainer,
                    EMAC_SLICE_STR("aa aaa aaaa ab abab the then there  \n\n "
                                   "12 123 1234 \xc3\xa9\xc3\xa9 \xe4\xbd\xa0\xe4\xbd\xa0"),
                    NULL) == EMAC_OK);
    EMAC_ASSERT(tokenizer_trainer_write(trainer, 300, &tokens, &json, NULL) == EMAC_OK);
    EMAC_ASSERT(tokenizer_read(emac_buf_slice(&json), &made[which], NULL) == EMAC_OK);
    tokenizer_trainer_free(trainer);
    emac_buf_release(&json);
    return made[which];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct tokenizer *t;
    struct emac_buf ids;
    struct emac_slice text;
    bool is_bytes, special;
    size_t at = 0;

    if (n == 0)
        return 0;
    is_bytes = data[0] % PATTERNS == PATTERNS - 1;
    special = data[0] & 0x80;
    t = tokenizer_of(data[0] % PATTERNS);
    text = EMAC_SLICE(data + 1, n - 1);
    emac_buf_init(&ids, (size_t)1 << 24);
    if (tokenizer_encode(t, text, special, &ids, NULL) != EMAC_OK) {
        EMAC_ASSERT(!is_bytes && !emac_utf8_valid(text.data, text.len) && ids.len == 0);
        return 0;
    }
    for (size_t i = 0; i < ids.len; i += 4) {
        struct emac_slice piece;
        int32_t id;

        memcpy(&id, ids.data + i, 4);
        piece = tokenizer_piece(t, id, i == 0);
        if (tokenizer_is_special(t, id)) {
            EMAC_ASSERT(special);
            piece = tokenizer_written(t, id);
        }
        EMAC_ASSERT(piece.len > 0 && at + piece.len <= text.len);
        EMAC_ASSERT(memcmp(text.data + at, piece.data, piece.len) == 0);
        at += piece.len;
    }
    EMAC_ASSERT(at == text.len);
    emac_buf_release(&ids);
    return 0;
}

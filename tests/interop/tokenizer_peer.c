/* Our half of tokenizer_check.py: tokenizer-peer FILE answers each request on standard input.
 *
 * Request: bytes of the text (u32), with_special (u8), the text. Answer: number of ids (u32, all
 * ones when the text is refused), the ids (i32), bytes of the decoded text (u32), that text.
 * Numbers are little-endian. A test program: it prints. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "model/tokenizer.h"
#include "os/os.h"

static void put_u32(uint32_t v)
{
    uint8_t b[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};

    fwrite(b, 1, 4, stdout);
}

static void answer(const struct tokenizer *t, struct emac_slice text, bool with_special,
                   struct emac_buf *ids, struct emac_buf *back)
{
    bool first = true;
    struct emac_err err;

    emac_buf_clear(ids);
    emac_buf_clear(back);
    if (tokenizer_encode(t, text, with_special, ids, &err) != EMAC_OK) {
        fprintf(stderr, "%s\n", err.text);
        put_u32(UINT32_MAX);
        put_u32(0);
        return;
    }
    put_u32((uint32_t)(ids->len / 4));
    for (size_t i = 0; i < ids->len; i += 4) {
        struct emac_slice piece;
        int32_t id;

        memcpy(&id, ids->data + i, 4);
        put_u32((uint32_t)id);
        piece = tokenizer_piece(t, id, first);
        first = first && tokenizer_is_special(t, id);
        EMAC_ASSERT(emac_buf_append(back, piece.data, piece.len, NULL) == EMAC_OK);
    }
    put_u32((uint32_t)back->len);
    fwrite(back->data, 1, back->len, stdout);
}

int main(int argc, char **argv)
{
    struct emac_buf json, text, ids, back;
    struct tokenizer *t;
    struct emac_err err;
    uint8_t head[5];

    emac_buf_init(&json, TOKENIZER_JSON_MAX);
    emac_buf_init(&text, TOKENIZER_TEXT_MAX);
    emac_buf_init(&ids, (size_t)1 << 33);
    emac_buf_init(&back, (size_t)1 << 33);
    if (argc != 2 || os_real()->file_read(os_real(), argv[1], &json, &err) != EMAC_OK ||
        tokenizer_read(emac_buf_slice(&json), &t, &err) != EMAC_OK) {
        fprintf(stderr, "%s\n", argc == 2 ? err.text : "usage: tokenizer-peer FILE");
        return 1;
    }
    while (fread(head, 1, 5, stdin) == 5) {
        size_t n = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;

        emac_buf_clear(&text);
        EMAC_ASSERT(emac_buf_reserve(&text, n, &err) == EMAC_OK);
        if (fread(text.data, 1, n, stdin) != n)
            break;
        answer(t, EMAC_SLICE(text.data, n), head[4] != 0, &ids, &back);
        fflush(stdout);
    }
    tokenizer_free(t);
    emac_buf_release(&json);
    emac_buf_release(&text);
    emac_buf_release(&ids);
    emac_buf_release(&back);
    return 0;
}

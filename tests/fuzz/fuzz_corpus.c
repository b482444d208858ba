/* The block of a token set, from a stranger: any bytes. What decodes is sound, and has this one
 * encoding. */
#include <string.h>

#include "base/assert.h"
#include "work/corpus.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct emac_buf again;
    struct emac_err err = {0};
    struct corpus c;

    if (corpus_decode(&c, data, n, &err) != EMAC_OK) {
        EMAC_ASSERT(err.text[0] != '\0');
        return 0;
    }
    EMAC_ASSERT(c.tokens > 0 && corpus_bytes(&c) / c.width == c.tokens);
    emac_buf_init(&again, CORPUS_BLOCK_MAX);
    EMAC_ASSERT(corpus_encode(&c, &again, NULL, NULL) == EMAC_OK);
    EMAC_ASSERT(again.len == n && memcmp(again.data, data, n) == 0);
    emac_buf_release(&again);
    return 0;
}

/* A result of an evaluation, as anybody may have made it: what is taken has that one form. */
#include <string.h>

#include "base/assert.h"
#include "work/evaluate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct evaluation e;
    struct emac_buf again;
    struct emac_err err = {0};

    if (evaluation_decode(&e, data, n, &err) != EMAC_OK) {
        EMAC_ASSERT(err.text[0] != '\0');
        return 0;
    }
    emac_buf_init(&again, EVALUATION_BYTES_MAX);
    EMAC_ASSERT(evaluation_encode(&e, &again, NULL, NULL) == EMAC_OK);
    EMAC_ASSERT(again.len == n && memcmp(again.data, data, n) == 0);
    emac_buf_release(&again);
    return 0;
}

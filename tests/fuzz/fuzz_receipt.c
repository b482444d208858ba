/* A rig's receipt: any bytes. What decodes is sound, and has this one encoding. */
#include <string.h>

#include "base/assert.h"
#include "work/task.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct emac_buf again;
    struct emac_err err = {0};
    struct receipt r;

    if (receipt_decode(&r, data, n, &err) != EMAC_OK) {
        EMAC_ASSERT(err.text[0] != '\0');
        return 0;
    }
    emac_buf_init(&again, RECEIPT_BYTES_MAX);
    EMAC_ASSERT(receipt_agrees(&r, &r));
    EMAC_ASSERT(receipt_encode(&r, &again, NULL, NULL) == EMAC_OK);
    EMAC_ASSERT(again.len == n && memcmp(again.data, data, n) == 0);
    emac_buf_release(&again);
    return 0;
}

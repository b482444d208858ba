/* A manifest of shards: any bytes. What decodes has this one encoding. */
#include <string.h>

#include "base/assert.h"
#include "work/shards.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct emac_buf again;
    struct emac_err err = {0};
    struct shards s;

    if (shards_decode(&s, data, n, &err) != EMAC_OK) {
        EMAC_ASSERT(err.text[0] != '\0');
        return 0;
    }
    emac_buf_init(&again, SHARDS_BYTES_MAX);
    EMAC_ASSERT(shards_encode(&s, &again, NULL, NULL) == EMAC_OK);
    EMAC_ASSERT(again.len == n && memcmp(again.data, data, n) == 0);
    emac_buf_release(&again);
    return 0;
}

/* The block of a sealed file, or the plain bytes of a boxed key, from a stranger: any bytes. What
 * decodes as the first is sound, and has this one encoding. */
#include <string.h>

#include "base/assert.h"
#include "work/sealed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct emac_buf again;
    struct emac_err err = {0};
    struct sealed_key key;
    struct sealed s;

    if (sealed_key_decode(&key, data, n, &err) == EMAC_OK)
        EMAC_ASSERT(memchr(key.purpose, 0, sizeof key.purpose) != NULL);
    if (sealed_decode(&s, data, n, &err) != EMAC_OK) {
        EMAC_ASSERT(err.text[0] != '\0');
        return 0;
    }
    emac_buf_init(&again, SEALED_BYTES_MAX);
    EMAC_ASSERT(sealed_encode(&s, &again, NULL, NULL) == EMAC_OK);
    EMAC_ASSERT(again.len == n && memcmp(again.data, data, n) == 0);
    emac_buf_release(&again);
    return 0;
}

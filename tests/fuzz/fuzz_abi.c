/* ABI data that is accepted for some types is canonical: encoded again it is the same bytes. */
#include <string.h>

#include "base/assert.h"
#include "codec/abi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct emac_buf buf;
    struct emac_slice in = EMAC_SLICE(data, n), bytes, list;
    struct u256 number;
    uint8_t address[EVM_ADDRESS_BYTES], word[ABI_WORD];
    uint64_t small;
    bool flag;
    if (abi_decode(in, NULL, "uBnaAbo", &number, &bytes, &small, address, &list, word, &flag) !=
        EMAC_OK)
        return 0;
    emac_buf_init(&buf, n);
    EMAC_ASSERT(abi_encode(&buf, NULL, "uBnaAbo", &number, bytes.data, bytes.len, small, address,
                           list.data, list.len / ABI_WORD, word, (int)flag) == EMAC_OK);
    EMAC_ASSERT(buf.len == n && memcmp(buf.data, data, n) == 0);
    emac_buf_release(&buf);
    return 0;
}

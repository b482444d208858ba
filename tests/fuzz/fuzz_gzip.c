/* Compressed files of strangers: what comes out stays under the bound, whatever goes in. */
#include "base/assert.h"
#include "codec/gzip.h"

#define MOST (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct emac_buf out;
    struct emac_err err = {0};
    emac_buf_init(&out, MOST);
    enum emac_status st = gzip_expand(EMAC_SLICE(data, n), &out, &err);
    EMAC_ASSERT(out.len <= MOST && (st == EMAC_OK) == (err.text[0] == '\0'));
    emac_buf_release(&out);
    return 0;
}

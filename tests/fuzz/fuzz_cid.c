/* CIDs and varints as bytes, CIDs as text: what is read is written back the same. */
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "codec/cid.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_varint(const uint8_t *data, size_t n)
{
    uint64_t v;
    uint8_t out[10];
    size_t used = varint_read(&v, data, n);
    EMAC_ASSERT(used <= n && used <= 9);
    if (used > 0)
        EMAC_ASSERT(varint_write(out, v) == used && memcmp(out, data, used) == 0);
}

static void check_bytes(const uint8_t *data, size_t n)
{
    struct cid c;
    size_t used = 0;
    uint8_t out[CID_BYTES];
    if (cid_from_bytes(&c, data, n, &used, NULL) != EMAC_OK)
        return;
    EMAC_ASSERT(used <= n && !cid_is_none(&c));
    cid_bytes(out, &c);
    if (used == CID_BYTES)
        EMAC_ASSERT(memcmp(out, data, CID_BYTES) == 0);
    else
        EMAC_ASSERT(used == 34 && c.codec == CID_DAG_PB && memcmp(out + 2, data, 34) == 0);
}

static void check_text(const char *text)
{
    struct cid c, again;
    char out[CID_TEXT_MAX];
    if (cid_parse(&c, text, NULL) != EMAC_OK)
        return;
    cid_text(out, &c);
    EMAC_ASSERT(text[0] == 'Q' || strcmp(out, text) == 0);
    EMAC_ASSERT(cid_parse(&again, out, NULL) == EMAC_OK && cid_equal(&c, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    check_varint(data, n);
    check_bytes(data, n);
    char *text = emac_strndup(n > 0 ? (const char *)data : "", n);
    check_text(text);
    free(text);
    return 0;
}

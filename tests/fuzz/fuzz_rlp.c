/* RLP that is accepted is canonical: written again item by item it is the same bytes. */
#include <string.h>

#include "base/assert.h"
#include "codec/rlp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void copy(struct rlp_writer *w, struct emac_slice in)
{
    struct rlp_item item;
    while (in.len > 0) {
        enum emac_status st = rlp_next(&in, &item, NULL);
        EMAC_ASSERT(st == EMAC_OK);
        if (!item.list) {
            rlp_bytes(w, item.body.data, item.body.len);
            continue;
        }
        rlp_list_begin(w);
        copy(w, item.body);
        rlp_list_end(w);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct emac_buf buf;
    struct rlp_writer w;
    struct emac_slice in = EMAC_SLICE(data, n), rest = in;
    struct u256 number;
    rlp_next_u256(&rest, &number, NULL);
    if (rlp_check(in, NULL) != EMAC_OK)
        return 0;
    emac_buf_init(&buf, n);
    rlp_writer_init(&w, &buf);
    copy(&w, in);
    EMAC_ASSERT(rlp_writer_end(&w, NULL) == EMAC_OK);
    EMAC_ASSERT(buf.len == n && memcmp(buf.data, data, n) == 0);
    emac_buf_release(&buf);
    return 0;
}

/* Whatever the strict reader accepts, the writer gives back byte for byte: one value, one name. */
#include <string.h>

#include "base/assert.h"
#include "codec/dagcbor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define MEMORY_MAX (16u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena a;
    struct emac_buf b;
    struct emac_err err = {0};
    struct dagcbor_writer w;
    const struct dagcbor_node *root;
    arena_init(&a, MEMORY_MAX);
    emac_buf_init(&b, n);
    enum emac_status st = dagcbor_parse(&a, data, n, &root, &err);
    EMAC_ASSERT((st == EMAC_OK) == (root != NULL) && (st == EMAC_OK) == (err.text[0] == '\0'));
    if (st == EMAC_OK) {
        dagcbor_writer_init(&w, &b);
        dagcbor_node(&w, root);
        EMAC_ASSERT(dagcbor_writer_end(&w, NULL) == EMAC_OK);
        EMAC_ASSERT(b.len == n && memcmp(b.data, data, n) == 0);
    }
    emac_buf_release(&b);
    arena_release(&a);
    return 0;
}

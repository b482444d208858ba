/* A tokenizer.json that is taken makes a tokenizer that keeps its word on any text: ids that exist,
 * the same ones again, whole. */
#include <string.h>

#include "base/assert.h"
#include "model/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char *const TEXTS[] = {
    "",
    " ",
    "a",
    "In the beginning God created 12345 things.\n\n  'll \t",
    "caf\xc3\xa9 cafe\xcc\x81 \xe4\xbd\xa0 \xf0\x9f\x98\x80 </s><s> \xe2\x96\x81",
    "aaaaaaaaaaaaaaaaaaaa",
};

static void ids_check(const struct tokenizer *t, const struct emac_buf *ids)
{
    for (size_t i = 0; i < ids->len; i += 4) {
        struct emac_slice first, later;
        int32_t id;

        memcpy(&id, ids->data + i, 4);
        EMAC_ASSERT(id >= 0 && (uint32_t)id < tokenizer_vocab(t));
        first = tokenizer_piece(t, id, true);
        later = tokenizer_piece(t, id, false);
        EMAC_ASSERT(!tokenizer_is_special(t, id) || first.len + later.len == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct tokenizer *t;
    struct emac_buf ids, again;

    if (tokenizer_read(EMAC_SLICE(data, n), &t, NULL) != EMAC_OK) {
        EMAC_ASSERT(t == NULL);
        return 0;
    }
    emac_buf_init(&ids, (size_t)1 << 24);
    emac_buf_init(&again, (size_t)1 << 24);
    for (size_t i = 0; i < EMAC_COUNT(TEXTS); i++)
        for (int special = 0; special < 2; special++) {
            enum emac_status st, st2;

            emac_buf_clear(&ids);
            emac_buf_clear(&again);
            st = tokenizer_encode(t, EMAC_SLICE_STR(TEXTS[i]), special, &ids, NULL);
            st2 = tokenizer_encode(t, EMAC_SLICE_STR(TEXTS[i]), special, &again, NULL);
            EMAC_ASSERT(st == st2 && ids.len == again.len);
            EMAC_ASSERT(st == EMAC_OK || ids.len == 0);
            EMAC_ASSERT(ids.len == 0 || memcmp(ids.data, again.data, ids.len) == 0);
            ids_check(t, &ids);
        }
    emac_buf_release(&ids);
    emac_buf_release(&again);
    tokenizer_free(t);
    return 0;
}

/* An index of parts. What is accepted names files beside it only, has each part and each tensor
 * once, and is written and read back alike; and parts that hold what it says are joined. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "codec/st_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define JOINED_MAX 64 /* parts, for the sake of speed */

static void check_names(const struct st_parts *p)
{
    for (size_t i = 0; i < p->count; i++) {
        EMAC_ASSERT(p->name[i][0] != '.' && strpbrk(p->name[i], "/\\") == NULL);
        EMAC_ASSERT(i == 0 || strcmp(p->name[i - 1], p->name[i]) < 0);
    }
    for (size_t i = 0; i < p->tensors; i++) {
        EMAC_ASSERT(p->tensor[i].part < p->count);
        EMAC_ASSERT(i == 0 || strcmp(p->tensor[i - 1].name, p->tensor[i].name) < 0);
        EMAC_ASSERT(st_parts_of(p, p->tensor[i].name) == p->tensor[i].part);
    }
}

static void check_text(const struct st_parts *p)
{
    struct st_parts back;
    struct emac_buf text;
    emac_buf_init(&text, 4 * ST_PARTS_JSON_MAX);
    EMAC_ASSERT(st_parts_write(p, 1, &text, NULL) == EMAC_OK);
    EMAC_ASSERT(st_parts_parse(&back, text.data, text.len, NULL) == EMAC_OK);
    EMAC_ASSERT(back.count == p->count && back.tensors == p->tensors);
    for (size_t i = 0; i < p->tensors; i++)
        EMAC_ASSERT(strcmp(back.tensor[i].name, p->tensor[i].name) == 0 &&
                    back.tensor[i].part == p->tensor[i].part);
    st_parts_release(&back);
    emac_buf_release(&text);
}

/* Names that safetensors does not take are refused when they are joined, and never sooner. */
static void check_join(const struct st_parts *p)
{
    const uint64_t dim[1] = {3};
    struct st_index index[JOINED_MAX] = {{0}}, bundle;
    struct st_piece *piece;
    struct emac_buf header;
    bool named = true;
    emac_buf_init(&header, ST_HEADER_MAX);
    for (size_t i = 0; i < p->tensors; i++)
        named = st_index_add(&index[p->tensor[i].part], p->tensor[i].name, ST_U8, 1, dim, NULL) ==
                    EMAC_OK &&
                named;
    for (size_t i = 0; i < p->count; i++) {
        emac_buf_clear(&header);
        EMAC_ASSERT(st_bundle_layout(&index[i], &header, NULL) == EMAC_OK);
    }
    emac_buf_clear(&header);
    EMAC_ASSERT((st_parts_join(p, index, &bundle, &piece, &header, NULL) == EMAC_OK) == named);
    EMAC_ASSERT(!named || bundle.count == p->tensors);
    free(piece);
    st_index_release(&bundle);
    for (size_t i = 0; i < p->count; i++)
        st_index_release(&index[i]);
    emac_buf_release(&header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct st_parts p;
    if (st_parts_parse(&p, data, n, NULL) != EMAC_OK) {
        EMAC_ASSERT(p.name == NULL && p.tensor == NULL);
        return 0;
    }
    check_names(&p);
    check_text(&p);
    if (p.count <= JOINED_MAX)
        check_join(&p);
    st_parts_release(&p);
    return 0;
}

/* A file whose first byte chooses the form: odd = the rest is the file; even = two bytes of data
 * size, then the JSON header, framed here so that the fuzzer need not guess lengths. What is
 * accepted tiles its data, can be laid out as a canonical bundle, and that is read back alike. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "codec/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define HEADER_MAX (4u << 20)

static void check_tiling(const struct st_index *idx)
{
    uint64_t at = 0;
    for (size_t i = 0; i < idx->count; i++) {
        const struct st_tensor *t = &idx->tensor[i];
        EMAC_ASSERT(t->begin == at && t->end - t->begin == st_tensor_bytes(t));
        EMAC_ASSERT(st_index_find(idx, t->name) == t);
        at = t->end;
    }
    EMAC_ASSERT(idx->data_offset + at == idx->file_size);
}

static void check_bundle(const struct st_index *idx)
{
    struct st_index bundle = {0}, back;
    struct emac_buf header;
    emac_buf_init(&header, HEADER_MAX);
    for (size_t i = 0; i < idx->count; i++) {
        const struct st_tensor *t = &idx->tensor[i];
        EMAC_ASSERT(st_index_add(&bundle, t->name, t->dtype, t->rank, t->dim, NULL) == EMAC_OK);
    }
    EMAC_ASSERT(st_bundle_layout(&bundle, &header, NULL) == EMAC_OK);
    EMAC_ASSERT(st_index_parse(&back, header.data, header.len, bundle.file_size, NULL) == EMAC_OK);
    check_tiling(&back);
    EMAC_ASSERT(back.count == idx->count);
    for (size_t i = 0; i < idx->count; i++) {
        const struct st_tensor *t = &idx->tensor[i], *b = st_index_find(&back, t->name);
        EMAC_ASSERT(b != NULL && b->dtype == t->dtype && b->rank == t->rank);
        EMAC_ASSERT(memcmp(b->dim, t->dim, sizeof t->dim) == 0);
    }
    st_index_release(&back);
    st_index_release(&bundle);
    emac_buf_release(&header);
}

static void check_file(const uint8_t *file, size_t n, uint64_t file_size)
{
    struct st_index idx;
    if (st_index_parse(&idx, file, n, file_size, NULL) != EMAC_OK) {
        EMAC_ASSERT(idx.tensor == NULL && idx.by_name == NULL);
        return;
    }
    check_tiling(&idx);
    check_bundle(&idx);
    st_index_release(&idx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 3)
        return 0;
    if (data[0] & 1) {
        check_file(data + 1, n - 1, n - 1);
        return 0;
    }
    size_t json = n - 3;
    uint8_t *file = malloc(8 + json);
    EMAC_ASSERT(file != NULL);
    for (int i = 0; i < 8; i++)
        file[i] = (uint8_t)((uint64_t)json >> (8 * i));
    memcpy(file + 8, data + 3, json);
    check_file(file, 8 + json, 8 + json + (data[1] | (uint64_t)data[2] << 8));
    free(file);
    return 0;
}

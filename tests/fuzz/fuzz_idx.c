/* IDX files of strangers as images: the input is cut in two by its first byte, images and labels.
 * What is imported is a data set with records of the announced size and classes in range. */
#include "base/assert.h"
#include "work/dataset_import.h"

#define MOST (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(struct dataset *d, const struct emac_buf *records)
{
    size_t each = dataset_record_bytes(d);
    EMAC_ASSERT(records->len == d->split[DATASET_TRAIN].records * each);
    for (size_t at = 0; at < records->len; at += each)
        EMAC_ASSERT((uint32_t)(records->data[at + each - 2] | records->data[at + each - 1] << 8) <
                    d->class_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct dataset d;
    struct emac_buf records[DATASET_PARTS];
    if (n == 0)
        return 0;
    size_t images = data[0] < n - 1 ? data[0] : n - 1;
    const struct dataset_images from = {.images = {EMAC_SLICE(data + 1, images)},
                                        .labels = {EMAC_SLICE(data + 1 + images, n - 1 - images)}};
    dataset_init(&d);
    emac_buf_init(&records[0], MOST);
    emac_buf_init(&records[1], MOST);
    if (dataset_from_images(&d, &from, records, NULL) == EMAC_OK)
        check(&d, &records[DATASET_TRAIN]);
    emac_buf_release(&records[0]);
    emac_buf_release(&records[1]);
    dataset_release(&d);
    return 0;
}

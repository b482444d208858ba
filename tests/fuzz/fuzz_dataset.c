/* Manifests of strangers: what is accepted is written back to the same bytes, and any record of the
 * announced size can be read. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "work/dataset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_record(const struct dataset *d)
{
    int32_t label;
    uint8_t *record = calloc(dataset_record_bytes(d), 1);
    float *x = calloc(dataset_features(d), sizeof *x);
    EMAC_ASSERT(record != NULL && x != NULL);
    EMAC_ASSERT(dataset_record(d, record, x, &label, NULL) == EMAC_OK && label == 0);
    free(record);
    free(x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct dataset d;
    struct emac_err err = {0};
    struct emac_buf again;
    if (dataset_decode(&d, data, n, &err) == EMAC_OK) {
        emac_buf_init(&again, DATASET_BYTES_MAX);
        EMAC_ASSERT(dataset_encode(&d, &again, NULL, NULL) == EMAC_OK);
        EMAC_ASSERT(again.len == n && memcmp(again.data, data, n) == 0);
        emac_buf_release(&again);
        check_record(&d);
        json_decref(dataset_to_json(&d));
    } else {
        EMAC_ASSERT(err.text[0] != '\0');
    }
    dataset_release(&d);
    return 0;
}

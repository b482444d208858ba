/* Tables of strangers. The parser ends each row on a later line or later in the text; what is
 * imported gives a manifest that is either refused with a sentence or read back alike. */
#include <string.h>

#include "base/assert.h"
#include "codec/csv.h"
#include "work/dataset_import.h"

#define MOST (4u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_rows(struct emac_slice text)
{
    struct csv c;
    bool row;
    size_t left = text.len + 1;
    csv_init(&c, text);
    while (csv_next(&c, &row, NULL) == EMAC_OK && row) {
        EMAC_ASSERT(c.count >= 1 && c.count <= CSV_CELLS_MAX && c.left.len < left);
        EMAC_ASSERT(c.row_line >= 1 && c.row_line <= c.line);
        for (uint32_t i = 0; i < c.count; i++)
            EMAC_ASSERT(strlen(csv_cell(&c, i)) < CSV_ROW_BYTES_MAX);
        left = c.left.len;
    }
    csv_release(&c);
}

static void check_set(struct dataset *d)
{
    struct emac_buf buf;
    struct emac_err err = {0};
    struct dataset back;
    struct cid a, b;
    for (int i = 0; i < DATASET_PARTS; i++) {
        if (d->split[i].records > 0)
            d->split[i].file = cid_of(CID_RAW, "records", 7);
    }
    emac_buf_init(&buf, MOST);
    if (dataset_encode(d, &buf, &a, &err) == EMAC_OK) {
        EMAC_ASSERT(dataset_decode(&back, buf.data, buf.len, NULL) == EMAC_OK);
        emac_buf_clear(&buf);
        EMAC_ASSERT(dataset_encode(&back, &buf, &b, NULL) == EMAC_OK && cid_equal(&a, &b));
        dataset_release(&back);
    } else {
        EMAC_ASSERT(err.text[0] != '\0');
    }
    emac_buf_release(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct dataset d;
    struct emac_buf records[DATASET_PARTS];
    struct emac_err err = {0};
    const struct dataset_table from = {.text = {EMAC_SLICE(data, n)}, .test_share = 0.5};
    check_rows(from.text[DATASET_TRAIN]);
    dataset_init(&d);
    emac_buf_init(&records[0], MOST);
    emac_buf_init(&records[1], MOST);
    if (dataset_from_table(&d, &from, records, &err) == EMAC_OK)
        check_set(&d);
    else
        EMAC_ASSERT(err.text[0] != '\0');
    emac_buf_release(&records[0]);
    emac_buf_release(&records[1]);
    dataset_release(&d);
    return 0;
}

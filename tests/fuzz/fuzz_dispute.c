/* An answer of a dispute, from a rig that may lie: any bytes. What decodes has this one encoding,
 * and a dispute takes or refuses it without harm. */
#include <string.h>

#include "base/assert.h"
#include "work/dispute.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void take(const struct dispute_answer *a)
{
    struct task_output one = {.name = "sum", .cid = {.codec = CID_RAW}}, other = one;
    struct dispute d;

    other.cid.digest[0] = 1;
    dispute_begin(&d, 1, &one, &other);
    if (a->kind != DISPUTE_COMMIT) {
        d.stage = a->kind;
        d.first = a->kind == DISPUTE_OPEN ? 1 : 0;
        d.count = a->kind == DISPUTE_OPEN ? 1 : 2;
        d.side[0].leaves = d.side[1].leaves = 2;
        d.side[1].hash[0] = 1;
    }
    if (dispute_take(&d, 0, a, NULL) != EMAC_OK)
        EMAC_ASSERT(!d.side[0].answered);
    dispute_expire(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct emac_buf again;
    struct emac_err err = {0};
    struct dispute_answer a;

    if (dispute_answer_decode(&a, data, n, &err) != EMAC_OK) {
        EMAC_ASSERT(err.text[0] != '\0');
        dispute_answer_release(&a);
        return 0;
    }
    emac_buf_init(&again, DISPUTE_BYTES_MAX);
    EMAC_ASSERT(dispute_answer_encode(&a, &again, NULL) == EMAC_OK);
    EMAC_ASSERT(again.len == n && memcmp(again.data, data, n) == 0);
    take(&a);
    emac_buf_release(&again);
    dispute_answer_release(&a);
    return 0;
}

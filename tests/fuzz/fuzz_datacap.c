/* A notary's vote from a stranger: any bytes. What decodes is sound, has this one encoding, and is
 * about a motion. The same bytes as JSON: rules that are taken can be said again. */
#include <string.h>

#include "base/assert.h"
#include "work/datacap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void try_rules(const uint8_t *data, size_t n)
{
    struct datacap_rules r, again;
    json_t *o = json_loadb((const char *)data, n, JSON_REJECT_DUPLICATES, NULL);
    if (o != NULL && datacap_rules_from_json(&r, o, NULL) == EMAC_OK) {
        json_t *said = datacap_rules_to_json(&r);
        EMAC_ASSERT(datacap_rules_from_json(&again, said, NULL) == EMAC_OK);
        EMAC_ASSERT(memcmp(&r, &again, sizeof r) == 0);
        json_decref(said);
    }
    json_decref(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct emac_buf again;
    struct emac_err err = {0};
    struct datacap_vote v;
    struct cid motion;

    try_rules(data, n);
    if (datacap_vote_decode(&v, data, n, &err) != EMAC_OK) {
        EMAC_ASSERT(err.text[0] != '\0');
        return 0;
    }
    emac_buf_init(&again, DATACAP_VOTE_MAX);
    EMAC_ASSERT(datacap_vote_encode(&v, &again, NULL) == EMAC_OK);
    EMAC_ASSERT(again.len == n && memcmp(again.data, data, n) == 0);
    EMAC_ASSERT(datacap_motion(&v, &motion, NULL) == EMAC_OK);
    emac_buf_release(&again);
    return 0;
}

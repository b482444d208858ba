/* A sweep file as people write it: any text. What is a sweep has trials that differ, and a name. */
#include <string.h>

#include "base/assert.h"
#include "codec/yaml.h"
#include "work/sweep.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_sweep(struct sweep *s)
{
    struct emac_buf object;
    struct cid cid;
    emac_buf_init(&object, 1 << 20);
    EMAC_ASSERT(s->trial_count >= 2 && s->trial_count <= SWEEP_TRIALS_MAX);
    EMAC_ASSERT(s->rung_count >= 1 && s->rung_count <= SWEEP_RUNGS_MAX);
    for (uint32_t i = 0; i < s->trial_count; i++) {
        const char *label = s->trial[i].label;
        EMAC_ASSERT(label[0] != '\0');
        s->trial[i].cid = cid_of(CID_RAW, label, strlen(label)); /* of its job, for the name */
        EMAC_ASSERT(json_is_string(json_object_get(s->trial[i].job, "name")));
    }
    EMAC_ASSERT(sweep_encode(s, "did:key:z", &object, &cid, NULL) == EMAC_OK);
    emac_buf_release(&object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct emac_err err = {0};
    struct sweep s;
    json_t *root;
    if (yaml_to_json((const char *)data, n, &root, &err) != EMAC_OK)
        return 0;
    if (sweep_from_json(&s, root, sweep_file(root) ? root : NULL, &err) == EMAC_OK)
        check_sweep(&s);
    else
        EMAC_ASSERT(err.text[0] != '\0');
    sweep_release(&s);
    json_decref(root);
    return 0;
}

/* Settings of people. What is accepted, written as JSON and read again, is the same value where it
 * can be read again (JSON escapes some characters in ways that YAML has not). */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "codec/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    json_t *first, *second;
    struct emac_err err = {0};
    enum emac_status st = yaml_to_json((const char *)data, n, &first, &err);
    EMAC_ASSERT((st == EMAC_OK) == (first != NULL) && (st == EMAC_OK) == (err.text[0] == '\0'));
    if (st != EMAC_OK)
        return 0;
    char *text = json_dumps(first, JSON_ENCODE_ANY | JSON_COMPACT);
    EMAC_ASSERT(text != NULL);
    if (yaml_to_json(text, strlen(text), &second, NULL) == EMAC_OK) {
        EMAC_ASSERT(json_equal(first, second));
        json_decref(second);
    }
    json_decref(first);
    free(text);
    return 0;
}

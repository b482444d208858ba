/* An amount of money as a user types it: what is read is written back as the same number. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "ledger/ledger.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text = emac_strndup((const char *)data, n), out[32];
    int64_t units = -1, again = -1;
    if (ledger_amount_parse(text, &units, NULL) == EMAC_OK) {
        EMAC_ASSERT(units >= 0);
        ledger_amount_text(out, units);
        EMAC_ASSERT(ledger_amount_parse(out, &again, NULL) == EMAC_OK && again == units);
        EMAC_ASSERT(strncmp(text, out, strlen(out)) == 0); /* but zeros at the end */
    } else {
        EMAC_ASSERT(units == -1);
    }
    if (n >= sizeof units) {
        memcpy(&units, data, sizeof units);
        ledger_amount_text(out, units);
        EMAC_ASSERT(ledger_amount_parse(out, &again, NULL) == (units < 0 ? EMAC_INVALID : EMAC_OK));
    }
    free(text);
    return 0;
}

#include "node/duty.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

bool duty_parse(const char *text, uint32_t *per_mille)
{
    char *end;
    double share = strtod(text, &end);
    if (end == text || end[strspn(end, " \t\r\n")] != '\0' || !(share <= 1))
        return false;
    *per_mille = share > 0 ? (uint32_t)(share * DUTY_WHOLE + 0.5) : 0;
    return *per_mille > 0;
}

void duty_worked(struct duty *d, uint32_t per_mille, uint64_t began_ns, uint64_t busy_ns)
{
    EMAC_ASSERT(per_mille >= 1 && per_mille <= DUTY_WHOLE);
    EMAC_ASSERT(busy_ns <= UINT64_MAX / DUTY_WHOLE);
    uint64_t earliest = began_ns > DUTY_CATCH_UP_NS ? began_ns - DUTY_CATCH_UP_NS : 0;
    if (d->next_ns < earliest)
        d->next_ns = earliest;
    d->next_ns += busy_ns * DUTY_WHOLE / per_mille;
}

uint64_t duty_rest_ns(const struct duty *d, uint64_t now_ns)
{
    return d->next_ns > now_ns ? d->next_ns - now_ns : 0;
}

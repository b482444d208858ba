#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "ledger/ledger.h"

#define DECIMALS 9

static size_t digits(const char *s)
{
    return strspn(s, "0123456789");
}

/* units = units * 10^n + the n digits at s */
static bool digits_add(int64_t *units, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!emac_mul_i64(*units, 10, units) || !emac_add_i64(*units, s[i] - '0', units))
            return false;
    }
    return true;
}

enum emac_status ledger_amount_parse(const char *text, int64_t *units, struct emac_err *err)
{
    int64_t v = 0;
    size_t whole = digits(text);
    const char *p = text + whole;
    size_t part = *p == '.' ? digits(p + 1) : 0;
    bool point = *p == '.';
    if (whole == 0 || (whole > 1 && text[0] == '0') || (point && part == 0) || part > DECIMALS ||
        p[point + part] != '\0')
        return emac_fail(err, EMAC_INVALID,
                         "'%.40s' is not an amount: write one like 12 or 0.5, "
                         "with at most %d decimals",
                         text, DECIMALS);
    if (!digits_add(&v, text, whole) || !digits_add(&v, p + point, part) ||
        !digits_add(&v, "000000000", DECIMALS - part))
        return emac_fail(err, EMAC_INVALID,
                         "the amount '%.40s' is too large: the limit is 9223372036.854775807",
                         text);
    *units = v;
    return EMAC_OK;
}

void ledger_amount_text(char out[32], int64_t units)
{
    uint64_t v = units < 0 ? 0 - (uint64_t)units : (uint64_t)units;
    uint64_t part = v % (uint64_t)LEDGER_UNITS_PER_EMAC;
    int n = snprintf(out, 32, "%s%llu.%09llu", units < 0 ? "-" : "",
                     (unsigned long long)(v / (uint64_t)LEDGER_UNITS_PER_EMAC),
                     (unsigned long long)part);
    EMAC_ASSERT(n > 0 && n < 32);
    while (out[n - 1] == '0')
        n--;
    if (out[n - 1] == '.')
        n--;
    out[n] = '\0';
}

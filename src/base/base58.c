#include <string.h>

#include "base/assert.h"
#include "base/hex.h"

static const char BASE58_DIGITS[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

static size_t leading_zeros(const uint8_t *data, size_t n)
{
    size_t zeros = 0;
    while (zeros < n && data[zeros] == 0)
        zeros++;
    return zeros;
}

void emac_base58(char *out, const uint8_t *data, size_t n)
{
    EMAC_ASSERT(n <= EMAC_BASE58_BYTES_MAX);
    uint8_t digit[EMAC_BASE58_LEN_MAX(EMAC_BASE58_BYTES_MAX)] = {0}; /* least significant first */
    size_t zeros = leading_zeros(data, n), len = 0;
    for (size_t i = zeros; i < n; i++) {
        uint32_t carry = data[i];
        for (size_t d = 0; d < len || carry > 0; d++) {
            EMAC_ASSERT(d < sizeof digit);
            carry += (uint32_t)digit[d] << 8;
            digit[d] = (uint8_t)(carry % 58);
            carry /= 58;
            if (d >= len)
                len = d + 1;
        }
    }
    memset(out, '1', zeros);
    for (size_t d = 0; d < len; d++)
        out[zeros + d] = BASE58_DIGITS[digit[len - 1 - d]];
    out[zeros + len] = '\0';
}

bool emac_unbase58(uint8_t *out, size_t n, const char *text)
{
    EMAC_ASSERT(n <= EMAC_BASE58_BYTES_MAX);
    if (strnlen(text, EMAC_BASE58_LEN_MAX(n) + 1) > EMAC_BASE58_LEN_MAX(n))
        return false;
    memset(out, 0, n);
    for (const char *p = text; *p != '\0'; p++) {
        const char *at = strchr(BASE58_DIGITS, *p);
        if (at == NULL)
            return false;
        uint32_t carry = (uint32_t)(at - BASE58_DIGITS);
        for (size_t b = n; b-- > 0;) {
            carry += (uint32_t)out[b] * 58;
            out[b] = (uint8_t)carry;
            carry >>= 8;
        }
        if (carry != 0)
            return false; /* a number of more than n bytes */
    }
    return strspn(text, "1") == leading_zeros(out, n);
}

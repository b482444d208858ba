#include "base/hex.h"

#include <string.h>

static const char DIGITS[] = "abcdefghijklmnopqrstuvwxyz234567";

void emac_base32(char *out, const uint8_t *data, size_t n)
{
    uint32_t acc = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < n; i++) {
        acc = acc << 8 | data[i];
        for (bits += 8; bits >= 5; bits -= 5)
            *out++ = DIGITS[acc >> (bits - 5) & 31];
    }
    if (bits > 0)
        *out++ = DIGITS[acc << (5 - bits) & 31];
    *out = '\0';
}

bool emac_unbase32(uint8_t *out, size_t n, const char *text)
{
    size_t at = 0;
    uint32_t acc = 0;
    unsigned bits = 0;
    if (strnlen(text, EMAC_BASE32_LEN(n) + 1) != EMAC_BASE32_LEN(n))
        return false;
    for (; *text != '\0'; text++) {
        const char *d = strchr(DIGITS, *text);
        if (d == NULL)
            return false;
        acc = acc << 5 | (uint32_t)(d - DIGITS);
        bits += 5;
        if (bits >= 8) {
            bits -= 8;
            out[at++] = (uint8_t)(acc >> bits);
        }
    }
    return (acc & ((1u << bits) - 1)) == 0;
}

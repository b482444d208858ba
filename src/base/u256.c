#include "base/u256.h"

#include <string.h>

#include "base/assert.h"

#define LIMBS 4

struct u256 u256_from_u64(uint64_t v)
{
    return (struct u256){{v, 0, 0, 0}};
}

bool u256_to_u64(const struct u256 *a, uint64_t *out)
{
    if (a->limb[1] | a->limb[2] | a->limb[3])
        return false;
    *out = a->limb[0];
    return true;
}

bool u256_is_zero(const struct u256 *a)
{
    return (a->limb[0] | a->limb[1] | a->limb[2] | a->limb[3]) == 0;
}

int u256_compare(const struct u256 *a, const struct u256 *b)
{
    for (size_t i = LIMBS; i-- > 0;) {
        if (a->limb[i] != b->limb[i])
            return a->limb[i] < b->limb[i] ? -1 : 1;
    }
    return 0;
}

bool u256_add(const struct u256 *a, const struct u256 *b, struct u256 *out)
{
    struct u256 r;
    unsigned __int128 carry = 0;
    for (size_t i = 0; i < LIMBS; i++) {
        carry += (unsigned __int128)a->limb[i] + b->limb[i];
        r.limb[i] = (uint64_t)carry;
        carry >>= 64;
    }
    if (carry != 0)
        return false;
    *out = r;
    return true;
}

bool u256_sub(const struct u256 *a, const struct u256 *b, struct u256 *out)
{
    struct u256 r;
    bool borrow = false;
    for (size_t i = 0; i < LIMBS; i++) {
        uint64_t part;
        bool under = __builtin_sub_overflow(a->limb[i], b->limb[i], &part);
        borrow = __builtin_sub_overflow(part, (uint64_t)borrow, &r.limb[i]) || under;
    }
    if (borrow)
        return false;
    *out = r;
    return true;
}

bool u256_mul_u64(const struct u256 *a, uint64_t b, struct u256 *out)
{
    struct u256 r;
    unsigned __int128 carry = 0;
    for (size_t i = 0; i < LIMBS; i++) {
        carry += (unsigned __int128)a->limb[i] * b;
        r.limb[i] = (uint64_t)carry;
        carry >>= 64;
    }
    if (carry != 0)
        return false;
    *out = r;
    return true;
}

uint64_t u256_div_u64(const struct u256 *a, uint64_t b, struct u256 *out)
{
    struct u256 r;
    unsigned __int128 rest = 0;
    EMAC_ASSERT(b > 0);
    for (size_t i = LIMBS; i-- > 0;) {
        rest = rest << 64 | a->limb[i];
        r.limb[i] = (uint64_t)(rest / b);
        rest %= b;
    }
    *out = r;
    return (uint64_t)rest;
}

/* ---- bytes ---- */

struct u256 u256_from_bytes(const uint8_t bytes[U256_BYTES])
{
    struct u256 r = {{0}};
    for (size_t i = 0; i < U256_BYTES; i++)
        r.limb[LIMBS - 1 - i / 8] = r.limb[LIMBS - 1 - i / 8] << 8 | bytes[i];
    return r;
}

void u256_to_bytes(uint8_t bytes[U256_BYTES], const struct u256 *a)
{
    for (size_t i = 0; i < U256_BYTES; i++)
        bytes[i] = (uint8_t)(a->limb[LIMBS - 1 - i / 8] >> (56 - 8 * (i % 8)));
}

/* ---- texts ---- */

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 16;
}

static bool parse_base(const char *text, unsigned base, struct u256 *out)
{
    struct u256 r = {{0}};
    if (text[0] == '\0' || (text[0] == '0' && text[1] != '\0'))
        return false;
    for (; *text != '\0'; text++) {
        unsigned d = (unsigned)digit_value(*text);
        struct u256 digit = u256_from_u64(d);
        if (d >= base || !u256_mul_u64(&r, base, &r) || !u256_add(&r, &digit, &r))
            return false;
    }
    *out = r;
    return true;
}

/* Digits without leading zeros; returns how many. */
static size_t print_base(char *out, unsigned base, const struct u256 *a)
{
    char reversed[U256_DEC_MAX];
    struct u256 rest = *a;
    size_t n = 0;
    do {
        EMAC_ASSERT(n < sizeof(reversed));
        reversed[n++] = "0123456789abcdef"[u256_div_u64(&rest, base, &rest)];
    } while (!u256_is_zero(&rest));
    for (size_t i = 0; i < n; i++)
        out[i] = reversed[n - 1 - i];
    out[n] = '\0';
    return n;
}

bool u256_parse(const char *text, struct u256 *out)
{
    return parse_base(text, 10, out);
}

void u256_text(char out[U256_DEC_MAX], const struct u256 *a)
{
    size_t n = print_base(out, 10, a);
    EMAC_ASSERT(n < U256_DEC_MAX);
}

bool u256_parse_hex(const char *text, struct u256 *out)
{
    return text[0] == '0' && text[1] == 'x' && parse_base(text + 2, 16, out);
}

void u256_text_hex(char out[U256_HEX_MAX], const struct u256 *a)
{
    out[0] = '0';
    out[1] = 'x';
    size_t n = print_base(out + 2, 16, a);
    EMAC_ASSERT(n + 2 < U256_HEX_MAX);
}

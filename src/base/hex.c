#include "base/hex.h"

static const char HEX_DIGITS[] = "0123456789abcdef";
static const char BASE64_DIGITS[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void emac_hex(char *out, const uint8_t *data, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = HEX_DIGITS[data[i] >> 4];
        out[2 * i + 1] = HEX_DIGITS[data[i] & 15];
    }
    out[2 * n] = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; /* one text for one value: no upper case */
}

bool emac_unhex(uint8_t *out, size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++) {
        int high = hex_value(text[2 * i]);
        if (high < 0)
            return false;
        int low = hex_value(text[2 * i + 1]);
        if (low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return text[2 * n] == '\0';
}

void emac_base64(char *out, const uint8_t *data, size_t n)
{
    for (size_t i = 0; i < n; i += 3) {
        size_t have = n - i < 3 ? n - i : 3;
        uint32_t v = (uint32_t)data[i] << 16;
        if (have > 1)
            v |= (uint32_t)data[i + 1] << 8;
        if (have > 2)
            v |= data[i + 2];
        *out++ = BASE64_DIGITS[v >> 18];
        *out++ = BASE64_DIGITS[v >> 12 & 63];
        *out++ = have > 1 ? BASE64_DIGITS[v >> 6 & 63] : '=';
        *out++ = have > 2 ? BASE64_DIGITS[v & 63] : '=';
    }
    *out = '\0';
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

/* One group of four characters of which the last `pad` are '='. False on a strange character and on
 * unused bits that are not zero: those would give one value two texts. */
static bool base64_group(uint32_t *out, const char *text, unsigned pad)
{
    uint32_t v = 0;
    for (unsigned i = 0; i < 4; i++) {
        int d = i >= 4 - pad ? 0 : base64_value(text[i]);
        if (d < 0)
            return false;
        v = v << 6 | (uint32_t)d;
    }
    uint32_t unused = pad == 2 ? 0xffffu : pad == 1 ? 0xffu : 0;
    if ((v & unused) != 0)
        return false;
    *out = v;
    return true;
}

bool emac_unbase64(uint8_t *out, size_t *n, const char *text, size_t len)
{
    size_t cap = *n, at = 0;
    if (len % 4 != 0)
        return false;
    for (size_t i = 0; i < len; i += 4) {
        unsigned pad = 0;
        if (i + 4 == len && text[i + 3] == '=')
            pad = text[i + 2] == '=' ? 2 : 1;
        uint32_t v;
        if (!base64_group(&v, text + i, pad) || cap - at < 3 - pad)
            return false;
        for (unsigned b = 0; b < 3 - pad; b++)
            out[at++] = (uint8_t)(v >> (16 - 8 * b));
    }
    *n = at;
    return true;
}

#include "base/utf8.h"

#include <string.h>

/* Number of bytes that the first byte announces; 0 when it cannot begin a character. C0, C1 would
 * be overlong, F5 and up lie above U+10FFFF. */
static size_t announced(uint8_t first)
{
    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first <= 0xdf)
        return 2;
    if (first >= 0xe0 && first <= 0xef)
        return 3;
    return first >= 0xf0 && first <= 0xf4 ? 4 : 0;
}

size_t emac_utf8_next(const void *data, size_t n, uint32_t *out)
{
    static const uint32_t LEAST[5] = {0, 0, 0x80, 0x800, 0x10000};
    static const uint8_t MASK[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    const uint8_t *p = data;
    size_t len = n > 0 ? announced(p[0]) : 0;
    if (len == 0 || len > n)
        return 0;
    uint32_t c = p[0] & MASK[len];
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3fu);
    }
    if (c < LEAST[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    if (out != NULL)
        *out = c;
    return len;
}

bool emac_utf8_valid(const void *data, size_t n)
{
    const uint8_t *p = data;
    while (n > 0) {
        size_t len = emac_utf8_next(p, n, NULL);
        if (len == 0)
            return false;
        p += len;
        n -= len;
    }
    return true;
}

static bool is_control(uint32_t c)
{
    return c < ' ' || (c >= 0x7f && c <= 0x9f);
}

void emac_utf8_plain(char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        uint32_t c = 0;
        size_t len = emac_utf8_next(text, left, &c);
        if (len == 0)
            *text = '?';
        else if (is_control(c))
            memset(text, ' ', len);
        len = len > 0 ? len : 1;
        text += len;
        left -= len;
    }
}

/* UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef EMAC_BASE_UTF8_H
#define EMAC_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length 1..4 of the well-formed character at data, its code point in *out (may be NULL); 0 when
 * the bytes are not UTF-8 or end inside the character. */
size_t emac_utf8_next(const void *data, size_t n, uint32_t *out);
bool emac_utf8_valid(const void *data, size_t n);
/* Make text fit to be shown and to go into JSON: a control character becomes a space, each byte
 * that is not UTF-8 a '?'. */
void emac_utf8_plain(char *text);

#endif

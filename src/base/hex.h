/* Text forms of bytes: hex (lower case), base64 (RFC 4648, padded), base32, base58btc. Decoders
 * reject every other byte and a wrong length, so that a value has one text. */
#ifndef EMAC_BASE_HEX_H
#define EMAC_BASE_HEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void emac_hex(char *out /* 2n+1 */, const uint8_t *data, size_t n);
bool emac_unhex(uint8_t *out /* n */, size_t n, const char *text); /* text must be 2n digits */

#define EMAC_BASE64_LEN(n) (((n) + 2) / 3 * 4)
void emac_base64(char *out /* EMAC_BASE64_LEN(n)+1 */, const uint8_t *data, size_t n);
/* Decodes len characters; *n is the capacity on entry and the size on return. */
bool emac_unbase64(uint8_t *out, size_t *n, const char *text, size_t len);

/* base32 of RFC 4648 in lower case without padding, as multibase 'b' has it. */
#define EMAC_BASE32_LEN(n) (((n)*8 + 4) / 5)
void emac_base32(char *out /* EMAC_BASE32_LEN(n)+1 */, const uint8_t *data, size_t n);
/* text must decode to exactly n bytes, its left-over bits zero */
bool emac_unbase32(uint8_t *out /* n */, size_t n, const char *text);

/* base58btc: the bytes as one big-endian number in base 58, one '1' for each leading zero byte.
 * Quadratic: for names of keys and CIDs, not for data. */
#define EMAC_BASE58_BYTES_MAX  64
#define EMAC_BASE58_LEN_MAX(n) ((n)*138 / 100 + 1)
void emac_base58(char *out /* EMAC_BASE58_LEN_MAX(n)+1 */, const uint8_t *data, size_t n);
/* text must decode to exactly n bytes */
bool emac_unbase58(uint8_t *out /* n */, size_t n, const char *text);

#endif

/* Unsigned 256-bit integers, the numbers of the EVM. Arithmetic is checked: a
 * function that returns bool returns false on overflow and leaves *out alone.
 * Texts are strict, so that a value has one text of each form. */
#ifndef EMAC_BASE_U256_H
#define EMAC_BASE_U256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define U256_BYTES   32
#define U256_DEC_MAX 79 /* 78 digits and the NUL */
#define U256_HEX_MAX 67 /* "0x", 64 digits and the NUL */

struct u256 {
    uint64_t limb[4]; /* least significant first */
};

struct u256 u256_from_u64(uint64_t v);
bool u256_to_u64(const struct u256 *a, uint64_t *out);
bool u256_is_zero(const struct u256 *a);
int u256_compare(const struct u256 *a, const struct u256 *b); /* <0, 0, >0 */
bool u256_add(const struct u256 *a, const struct u256 *b, struct u256 *out);
bool u256_sub(const struct u256 *a, const struct u256 *b, struct u256 *out);
bool u256_mul_u64(const struct u256 *a, uint64_t b, struct u256 *out);
/* *out = a / b, returns a % b; b > 0 (asserted). */
uint64_t u256_div_u64(const struct u256 *a, uint64_t b, struct u256 *out);

/* Big-endian, as in ABI words and hashes. */
struct u256 u256_from_bytes(const uint8_t bytes[U256_BYTES]);
void u256_to_bytes(uint8_t bytes[U256_BYTES], const struct u256 *a);

/* "0", "12": decimal without sign or leading zeros. */
bool u256_parse(const char *text, struct u256 *out);
void u256_text(char out[U256_DEC_MAX], const struct u256 *a);
/* "0x0", "0x1f": a quantity of Ethereum's JSON-RPC; no leading zeros, either case when read, lower
 * case when written. */
bool u256_parse_hex(const char *text, struct u256 *out);
void u256_text_hex(char out[U256_HEX_MAX], const struct u256 *a);

#endif

/* Block-quantised weights (rule 7): the block layouts of GGML, as GGUF files
 * hold them (github.com/ggml-org/ggml, docs/gguf.md, ggml-common.h). A row of K
 * weights is K / elements blocks, one after the other, little-endian, without
 * alignment.
 *
 * To products every format looks the same: parts of 32 weights, each the value
 * d * w + m with an exact integer |w| <= 4096, binary32 d, and m (+0 but for
 * Q4_1).
 *     Q4_0  f16 d, 16 bytes: low halves are weights 0..15, high ones 16..31; w = half - 8
 *     Q4_1  f16 d, f16 m, 16 bytes alike; w = half
 *     Q8_0  f16 d, 32 i8; w = byte
 *     Q6_K  256 weights of 6 bits: 128 bytes of low 4, 64 of high 2, i8 scale[16], f16 d;
 *           w = scale of its 16 * (6 bits - 32). Per 128 weights the low halves of 64 bytes,
 *           then the high halves; of 32 bytes with high bits, bits 2j belong to weights 32j.. */
#ifndef EMAC_COMPUTE_QUANT_H
#define EMAC_COMPUTE_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUANT_PART 32 /* weights that share one d */

/* X(ENUM, "name", number, weights of a block, bytes of a block); numbers are GGML's types. */
#define QUANT_TABLE(X)                                                                             \
    X(Q4_0, "q4_0", 2, 32, 18)                                                                     \
    X(Q4_1, "q4_1", 3, 32, 20)                                                                     \
    X(Q8_0, "q8_0", 8, 32, 34)                                                                     \
    X(Q6_K, "q6_k", 14, 256, 210)

enum quant_format {
#define X(E, name, number, elements, bytes) QUANT_##E = (number),
    QUANT_TABLE(X)
#undef X
};

struct quant_info {
    const char *name;
    enum quant_format format;
    size_t elements, bytes; /* of a block */
};

/* NULL when the number is none of a format. */
const struct quant_info *quant_info(int64_t format);
/* NULL when unknown */
const struct quant_info *quant_find(const char *name);
/* Bytes of a row of k weights; false when k is 0, no multiple of a block, or too large. */
bool quant_row_bytes(enum quant_format format, size_t k, size_t *bytes);
/* The inverse: weights in a row of so many bytes. */
bool quant_row_elements(enum quant_format format, size_t bytes, size_t *k);

struct quant_part {
    int16_t w[QUANT_PART];
    float d, m;
};
/* Weights 32 * part .. 32 * part + 31 of a row. */
void quant_part_read(enum quant_format format, const uint8_t *row, size_t part,
                     struct quant_part *out);

/* y[k] = d * w + m, one rounding. */
void quant_row_decode(enum quant_format format, const uint8_t *row, float *y, size_t k);
/* Numbers to the nearest the format can hold, as docs/numerics.md defines. x must be finite. */
void quant_row_encode(enum quant_format format, uint8_t *row, const float *x, size_t k);

#endif

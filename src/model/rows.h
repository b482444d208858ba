/* A row of weights in one of the types that GGUF files have (codec/gguf.h), made into another. All
 * is little-endian; F32, F16 and BF16 are rounded to nearest even, blocks as compute/quant.h says.
 */
#ifndef EMAC_MODEL_ROWS_H
#define EMAC_MODEL_ROWS_H

#include "codec/gguf.h"

/* y = the k numbers of a row. */
void row_widen(enum gguf_type from, size_t k, const uint8_t *row, float *y);
/* k weights from `row` into `out`, which has place for a row of type `to`; of the same type they
 * are the same bytes. `room` has place for k numbers. NUMERIC, naming the tensor, when weights that
 * are not finite shall be quantised, or one is too large for F16. */
enum emac_status row_convert(enum gguf_type from, enum gguf_type to, size_t k, const uint8_t *row,
                             uint8_t *out, float *room, const char *tensor, struct emac_err *err);

#endif

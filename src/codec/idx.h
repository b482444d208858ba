/* IDX files, the form of the MNIST family of data sets: two zero bytes, a type, the rank, the
 * dimensions as big-endian 32-bit numbers, then the elements, the last dimension fastest
 * (yann.lecun.com/exdb/mnist). Elements here are unsigned bytes, type 0x08; others are refused. */
#ifndef EMAC_CODEC_IDX_H
#define EMAC_CODEC_IDX_H

#include "base/buf.h"

#define IDX_RANK_MAX 4

struct idx {
    uint32_t rank; /* 1 to IDX_RANK_MAX */
    uint32_t dim[IDX_RANK_MAX];
    struct emac_slice items; /* the product of the dimensions, in `file` */
};

/* `file` is the whole file, expanded. CORRUPT when its length is not what the dimensions say, or
 * one of them is 0; UNSUPPORTED for another type or a higher rank. */
enum emac_status idx_parse(struct idx *out, struct emac_slice file, struct emac_err *err);

#endif

/* Tensors: dtype, shape, and a borrowed pointer to contiguous row-major data.
 * Data need 4-byte alignment only (they may lie inside a safetensors file).
 * Sizes are size_t, checked; a tensor has 1 to 4 dimensions, each >= 1. A
 * scalar is shape {1}. */
#ifndef EMAC_COMPUTE_TENSOR_H
#define EMAC_COMPUTE_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define TENSOR_RANK_MAX 4

enum dtype { DTYPE_F32, DTYPE_I32 };

struct shape {
    uint32_t rank;
    size_t dim[TENSOR_RANK_MAX];
};

struct tensor {
    enum dtype dtype;
    struct shape shape;
    void *data;
};

#define SHAPE1(a)          ((struct shape){1, {(a)}})
#define SHAPE2(a, b)       ((struct shape){2, {(a), (b)}})
#define SHAPE3(a, b, c)    ((struct shape){3, {(a), (b), (c)}})
#define SHAPE4(a, b, c, d) ((struct shape){4, {(a), (b), (c), (d)}})

bool shape_equal(const struct shape *a, const struct shape *b);
/* Product of the dimensions; false on overflow or a bad rank or a zero dimension. */
bool shape_count(const struct shape *s, size_t *count);
/* Bytes, both dtypes are 4 wide. */
bool shape_bytes(const struct shape *s, size_t *bytes);
/* "f32[2,3]" */
void shape_text(char *out, size_t cap, enum dtype dtype, const struct shape *s);

#endif

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

/* X(ENUM, "name", bytes). bf16 is the upper half of a binary32; u8 holds raw bytes: pixels, or rows
 * of block-quantised weights. */
#define DTYPE_TABLE(X)                                                                             \
    X(F32, "f32", 4)                                                                               \
    X(I32, "i32", 4)                                                                               \
    X(U8, "u8", 1)                                                                                 \
    X(BF16, "bf16", 2)

enum dtype {
#define X(E, name, bytes) DTYPE_##E,
    DTYPE_TABLE(X)
#undef X
        DTYPE_COUNT
};

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

const char *dtype_name(enum dtype dtype);
size_t dtype_bytes(enum dtype dtype); /* of one element */
/* DTYPE_COUNT when unknown. */
enum dtype dtype_find(const char *name);

bool shape_equal(const struct shape *a, const struct shape *b);
/* Product of the dimensions; false on overflow or a bad rank or a zero dimension. */
bool shape_count(const struct shape *s, size_t *count);
/* Bytes of a tensor; false as above. */
bool shape_bytes(enum dtype dtype, const struct shape *s, size_t *bytes);
/* "f32[2,3]" */
void shape_text(char *out, size_t cap, enum dtype dtype, const struct shape *s);

#endif

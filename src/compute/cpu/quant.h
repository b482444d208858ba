/* Rule 7's product on the CPU: what the driver (quant.c) asks of a leaf, and
 * the leaves there are. Like the kernels of kernels.h they differ in speed
 * only; they are a table of their own because fast integer products are
 * features that processors of one instruction set may have or lack (VNNI).
 *
 * Activations are quantised once. Then panels of some rows of weights, 256
 * weights at a time, are unpacked into the form that the leaf likes and
 * multiplied with all rows of activations. Meanwhile the leaf asks for the bytes
 * that come after the panel: few rows of activations take as long as memory
 * takes to give the weights. */
#ifndef EMAC_COMPUTE_CPU_QUANT_H
#define EMAC_COMPUTE_CPU_QUANT_H

#include "compute/cpu/cpu.h"

#define CPU_PARTS (CPU_BLOCK / QUANT_PART) /* of a block of rule 3 */

/* Rows of activations in parts of 32: x = d * q. */
struct cpu_quant_x {
    size_t parts;  /* of a row */
    int8_t *q;     /* [rows, 32 * parts] */
    float *d;      /* [rows, parts] */
    float *e;      /* [rows, parts]: d * sum of the part's q, the factor of m */
    int32_t *bias; /* [rows, 2 * parts]: see leaf_quant.h */
};

/* What is read next, wherever it belongs: fetched while other bytes are worked on. */
struct cpu_quant_ahead {
    const uint8_t *data;
    size_t part; /* bytes for each part that is worked on */
};

/* Parts of some rows of weights: at most 8, so one block of rule 3. */
struct cpu_quant_w {
    enum quant_format format;
    const uint8_t *data; /* of the first row and part, where a block begins */
    size_t row_bytes, rows, first, parts;
    struct cpu_quant_ahead ahead;
};

struct cpu_quant_kernels {
    const char *name;
    size_t cols;         /* most rows of weights in a panel: columns of C */
    size_t packed_bytes; /* of a panel */
    /* Row `row` of x from 32 * parts numbers. */
    void (*activations)(const struct cpu_quant_x *x, size_t row, const float *from,
                        enum quant_format format);
    void (*pack)(void *packed, const struct cpu_quant_w *w);
    /* C[rows, w->rows] = (when w->first is 0) or += rows row.. of x times the packed panel. */
    void (*panel)(float *c, size_t c_row, const struct cpu_quant_x *x, size_t row, size_t rows,
                  const void *packed, const struct cpu_quant_w *w);
    /* Of q8_0, the bits that `pack` and `panel` give: c[w->rows] = all parts of w, at most one_cols
     * rows, times the only row of x. NULL: nothing is faster. */
    void (*one)(float *c, const struct cpu_quant_x *x, const struct cpu_quant_w *w);
    size_t one_cols;
};

/* The i-th fastest leaf that belongs to `isa` and runs on this processor, NULL when there are no
 * more. Devices take the 0-th, tests all. */
const struct cpu_quant_kernels *cpu_quant_leaf(enum isa isa, size_t i);

#endif

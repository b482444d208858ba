/* Rule 7 in plain C. A part of a row of weights is 32 integers of 16 bits, whose
 * products with 32 others compilers know how to add up. */
#define QUANT_SIGNED 1
#include "compute/cpu/leaf_quant_x.h"

#define COLS 8

struct packed {
    struct quant_part part[COLS][CPU_PARTS];
};

static void pack(void *packed, const struct cpu_quant_w *w)
{
    struct packed *to = packed;
    for (size_t c = 0; c < w->rows; c++)
        for (size_t p = 0; p < w->parts; p++)
            quant_part_read(w->format, w->data + c * w->row_bytes, p, &to->part[c][p]);
}

INLINE int32_t dot(const int16_t *w, const int8_t *q)
{
    int32_t sum = 0;
    for (int i = 0; i < QUANT_PART; i++)
        sum += w[i] * (int16_t)q[i];
    return sum;
}

static void panel(float *c, size_t c_row, const struct cpu_quant_x *x, size_t row, size_t rows,
                  const void *packed, const struct cpu_quant_w *w)
{
    const struct packed *from = packed;
    bool mins = w->format == QUANT_Q4_1;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < w->rows; j++) {
            float acc = 0.0f, *to = c + i * c_row + j;
            for (size_t p = 0; p < w->parts; p++) {
                size_t at = (row + i) * x->parts + w->first + p;
                const struct quant_part *part = &from->part[j][p];
                int32_t products = dot(part->w, x->q + at * QUANT_PART);
                acc = fn_fma((float)products, part->d * x->d[at], acc);
                if (mins)
                    acc = fn_fma(part->m, x->e[at], acc);
            }
            *to = (w->first == 0 ? 0.0f : *to) + acc;
        }
}

extern const struct cpu_quant_kernels LEAF_CAT(cpu_quant, CPU_ISA);
const struct cpu_quant_kernels LEAF_CAT(cpu_quant, CPU_ISA) = {
    .name = "portable",
    .cols = COLS,
    .packed_bytes = sizeof(struct packed),
    .activations = activations,
    .pack = pack,
    .panel = panel,
};

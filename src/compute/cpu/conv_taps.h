/* The gradient of a convolution's weights without a copy of its windows. With few channels copying
 * them costs more than the product; here the images are read where they lie, padded rows of them
 * being copied once for 256 positions. Many channels are taken 16 at a time, so that all that a
 * block reads stays in the level-1 cache. Lanes are outputs; sums are turned at the end. Rule 3's
 * order: positions one after the other, blocks of 256 added in order; parts compute blocks, whose
 * sums are added afterwards. */
#ifndef EMAC_COMPUTE_CPU_CONV_TAPS_H
#define EMAC_COMPUTE_CPU_CONV_TAPS_H

#include "compute/cpu/cpu.h"
#include "compute/cpu/patches.h"
#include "compute/image.h"

/* Whether the device has the kernel and this convolution is of a size that it is faster for. */
bool cpu_conv_taps_pay(const struct cpu *cpu, const struct conv_dims *d);

/* dw[o, kh, kw, c]; x: what the convolution sees at its positions */
enum emac_status cpu_conv_taps(struct cpu *cpu, const struct conv_dims *d, const float *dy,
                               const struct patches *x, float *dw, struct emac_err *err);

#endif

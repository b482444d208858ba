/* What the processor could do at most: fused multiply-adds between registers, nothing read. */
#ifndef EMAC_BENCH_PEAK_H
#define EMAC_BENCH_PEAK_H

#include "compute/device.h"

/* Flops a second (an fma is 2) on `threads` threads, the best of some slices of a few milliseconds;
 * 0 for an instruction set that has no fma. */
double bench_peak(enum isa isa, uint32_t threads);

#endif

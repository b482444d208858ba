/* Copies of a few numbers, without the call that memcpy of an unknown size is. */
#ifndef EMAC_COMPUTE_CPU_COPY_H
#define EMAC_COMPUTE_CPU_COPY_H

#include <string.h>

/* memcpy of n floats. Of 1 to 16: two copies of a fixed size, which overlap. */
static inline void copy_floats(float *dst, const float *src, size_t n)
{
    if (n > 16) {
        memcpy(dst, src, n * sizeof *dst);
    } else if (n >= 8) {
        memcpy(dst, src, 32);
        memcpy(dst + n - 8, src + n - 8, 32);
    } else if (n >= 4) {
        memcpy(dst, src, 16);
        memcpy(dst + n - 4, src + n - 4, 16);
    } else if (n >= 2) {
        memcpy(dst, src, 8);
        memcpy(dst + n - 2, src + n - 2, 8);
    } else if (n == 1) {
        *dst = *src;
    }
}

#endif

/* How the CPU device splits an operator that is a loop over independent items: a function does the
 * items begin..end of one job, and any split gives the same bits. run.c holds the table. */
#ifndef EMAC_COMPUTE_CPU_RANGES_H
#define EMAC_COMPUTE_CPU_RANGES_H

#include <stdatomic.h>

#include "compute/cpu/cpu.h"

struct job {
    const struct cpu *cpu;
    const struct op_attrs *attrs;
    const struct tensor *in;
    struct tensor *out;
    size_t items, grain;
    atomic_bool *not_finite; /* for a range that looks at what it makes */
    void (*range)(const struct job *j, size_t begin, size_t end);
};

static inline size_t count(const struct tensor *t)
{
    size_t n = 0;
    shape_count(&t->shape, &n);
    return n;
}

static inline const float *f32_in(const struct job *j, uint32_t i)
{
    return j->in[i].data;
}

static inline float *f32_out(const struct job *j, uint32_t i)
{
    return j->out[i].data;
}

/* Items: the images of a batch. */
void range_maxpool2d(const struct job *j, size_t begin, size_t end);
void range_maxpool2d_grad(const struct job *j, size_t begin, size_t end);
void range_avgpool2d(const struct job *j, size_t begin, size_t end);
void range_avgpool2d_grad(const struct job *j, size_t begin, size_t end);

#endif

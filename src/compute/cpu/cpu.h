/* The CPU device's inside: threads, scratch, and the drivers that split an
 * operator's work and call the leaf kernels. */
#ifndef EMAC_COMPUTE_CPU_CPU_H
#define EMAC_COMPUTE_CPU_CPU_H

#include "compute/cpu/kernels.h"
#include "compute/device_impl.h"
#include "compute/quant.h"
#include "os/thread.h"

struct cpu_quant_kernels;

struct cpu {
    const struct cpu_kernels *k;
    const struct cpu_quant_kernels *quant; /* see quant.h */
    struct os_pool *pool;                  /* NULL with one thread */
    uint32_t threads;
    size_t level2_floats; /* of the level-2 cache that a kernel may count on to keep */
    bool ran_finite;      /* cpu_run looked at what it made: neither NaN nor infinity */
    void *scratch;        /* 64-byte aligned; grows, is kept between operators */
    size_t scratch_bytes;
};

enum isa isa_best(void); /* of this processor */

/* isa: not ISA_REF, supported */
void cpu_init(struct cpu *cpu, enum isa isa, uint32_t threads);
void cpu_release(struct cpu *cpu);

enum emac_status cpu_run(struct cpu *cpu, enum op op, const struct op_attrs *attrs,
                         const struct tensor *in, struct tensor *out, struct emac_err *err);
void cpu_add(struct cpu *cpu, float *dst, const float *a, const float *b, size_t n);
size_t cpu_check_finite(struct cpu *cpu, const float *x, size_t n);
void cpu_widen(struct cpu *cpu, float *dst, const uint16_t *src, size_t n);
void cpu_narrow(struct cpu *cpu, uint16_t *dst, const float *src, size_t n);

/* fn(ctx, part, parts) on all threads, or as one part on this one when `worth` is false. */
void cpu_parallel(struct cpu *cpu, bool worth, void (*fn)(void *ctx, uint32_t part, uint32_t parts),
                  void *ctx);
/* Memory of at least count * size bytes, overwritten by the next call. */
enum emac_status cpu_scratch(struct cpu *cpu, size_t count, size_t size, void *out_ptr,
                             struct emac_err *err);

/* C[m, n] = A B; element (i, k) of A at a[i * a_row + k * a_col], B alike, C contiguous. One of
 * each pair of strides is 1. */
struct cpu_matmul {
    size_t m, n, k;
    const float *a, *b;
    size_t a_row, a_col, b_row, b_col;
    float *c;
    bool finite; /* set: C was looked at and holds neither NaN nor infinity */
};
enum emac_status cpu_matmul(struct cpu *cpu, struct cpu_matmul *mm, struct emac_err *err);

/* The same for rows so few that B had better be read where it lies: whether they are; does it. */
bool cpu_matmul_few(const struct cpu *cpu, const struct cpu_matmul *mm);
void cpu_matmul_rows(struct cpu *cpu, const struct cpu_matmul *mm);

/* B packed whole: for each block of 256 k's, panels of nr columns, each k rows of nr. */
size_t cpu_packed_floats(const struct cpu_kernels *k, size_t rows, size_t cols);
void cpu_pack(const struct cpu_kernels *k, float *dst, const float *b, size_t row, size_t col,
              size_t rows, size_t cols);
/* Panel `panel` of the block of k's that starts at `k0` (a multiple of 256). */
const float *cpu_packed_panel(const struct cpu_kernels *k, const float *packed, size_t rows,
                              size_t cols, size_t k0, size_t panel);

/* x f32[M,K], w u8[N, row bytes] of `format` -> f32[M,N]: rule 7. */
enum emac_status cpu_qmatmul(struct cpu *cpu, enum quant_format format, const struct tensor *in,
                             struct tensor *out, struct emac_err *err);

/* As device_embed_grad_add. */
enum emac_status cpu_embed_grad_add(struct cpu *cpu, const struct tensor *ids,
                                    const struct tensor *dy, struct tensor *table,
                                    struct emac_err *err);
enum emac_status cpu_attention(struct cpu *cpu, const struct op_attrs *attrs,
                               const struct tensor *in, struct tensor *out, struct emac_err *err);
enum emac_status cpu_attention_grad(struct cpu *cpu, const struct op_attrs *attrs,
                                    const struct tensor *in, struct tensor *out,
                                    struct emac_err *err);
/* op: conv2d or one of its gradients. */
enum emac_status cpu_conv2d(struct cpu *cpu, enum op op, const struct op_attrs *attrs,
                            const struct tensor *in, struct tensor *out, struct emac_err *err);
/* As device_attention_decode. */
struct attention_decode;
enum emac_status cpu_attention_decode(struct cpu *cpu, const struct attention_decode *d,
                                      struct emac_err *err);

#endif

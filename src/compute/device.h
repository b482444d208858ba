/* A device runs operators. All devices give the same bits (numerics.md), so
 * which one runs a task is nobody's business but speed's.
 *
 * A CPU device owns a thread pool and scratch memory, and is used by one
 * thread at a time. */
#ifndef EMAC_COMPUTE_DEVICE_H
#define EMAC_COMPUTE_DEVICE_H

#include "compute/op.h"

enum isa { ISA_REF, ISA_PORTABLE, ISA_AVX2, ISA_AVX512, ISA_COUNT, ISA_BEST = -1 };

struct device;

const char *isa_name(enum isa isa); /* "ref", "portable", "avx2", "avx512" */
/* ISA_BEST for "best", ISA_COUNT when unknown */
enum isa isa_find(const char *name);
bool isa_supported(enum isa isa); /* by this CPU and OS */

/* threads >= 1. ISA_REF is the readable oracle: single-threaded, slow. UNSUPPORTED when the CPU
 * lacks the instructions, or its floating-point mode flushes subnormals or rounds otherwise. */
enum emac_status device_cpu_open(enum isa isa, uint32_t threads, struct device **out,
                                 struct emac_err *err);
void device_close(struct device *dev);
const char *device_name(const struct device *dev); /* e.g. "cpu/avx512 x2" */
enum isa device_isa(const struct device *dev);
uint32_t device_threads(const struct device *dev);

/* Run one operator; shapes must be as op_infer says (asserted); output 0 may be bf16 where op_infer
 * says f32. Fails with INVALID on a token id
 * out of range, NO_MEMORY when scratch cannot be had. Does not look for NaN: see
 * device_check_finite. */
enum emac_status device_run(struct device *dev, enum op op, const struct op_attrs *attrs,
                            const struct tensor *in, struct tensor *out, struct emac_err *err);

/* dst[i] = a[i] + b[i]: the step of rule 6's tree. dst may be a or b. */
void device_add(struct device *dev, float *dst, const float *a, const float *b, size_t n);
/* Index of the first NaN or infinity, or n. */
size_t device_check_finite(struct device *dev, const float *x, size_t n);

/* One query position per sequence against cached keys (rule 5: same bits as the row of ATTENTION).
 * q[H*E], k[len,G*E], v[len,G*E] -> o[H*E]. */
enum emac_status device_attention_decode(struct device *dev, const float *q, const float *k,
                                         const float *v, float *o, size_t len, uint32_t heads,
                                         uint32_t kv_heads, uint32_t head_dim, float scale,
                                         struct emac_err *err);

/* The conformance program (rule 12): subnormals, signed zeros, ties, fma against mul-then-add, and
 * every operator on edge shapes; SHA-256 over all result bytes. One published digest, stated in
 * docs/numerics.md and in CONFORMANCE_DIGEST. */
enum emac_status device_conformance(struct device *dev, uint8_t digest[32], struct emac_err *err);
extern const char CONFORMANCE_DIGEST[]; /* 64 hex digits */
/* Its first part, the operators that version 1 began with: this digest never moves. */
enum emac_status device_conformance_first(struct device *dev, uint8_t digest[32],
                                          struct emac_err *err);
extern const char CONFORMANCE_DIGEST_FIRST[];

/* Admission benchmark: GEMM GFLOP/s (f32, square-ish training shape) and memory GB/s, each the
 * median of short runs within about `ms` milliseconds in all. `now_ns` is the caller's clock. */
struct device_speed {
    double gemm_gflops, memory_gbs;
};
void device_benchmark(struct device *dev, uint64_t (*now_ns)(void *), void *ctx, uint32_t ms,
                      struct device_speed *out);

#endif

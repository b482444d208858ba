/* A device runs operators. All devices give the same bits (numerics.md), so
 * which one runs a task is nobody's business but speed's.
 *
 * Kinds: the CPU per instruction set (cpu/), the readable oracle (ref/), OpenCL
 * (opencl/). A device is used by one thread at a time.
 *
 * Memory. tensor.data is an address in the memory of the device that is to read
 * it. A CPU's is the process's own (device_is_host). Another device's is an
 * address in a range that the process keeps unmapped: arithmetic inside one
 * allocation is allowed, and only the functions here take such an address;
 * touching it ends the process. Memory comes from device_alloc.
 *
 * Order. A device does what it is told in the order it was told, but may only
 * have been told when a call returns: an error in running an operator may come
 * out at the next device_read, device_finish or device_finite. */
#ifndef EMAC_COMPUTE_DEVICE_H
#define EMAC_COMPUTE_DEVICE_H

#include "compute/op.h"
#include "os/os.h"

enum isa { ISA_REF, ISA_PORTABLE, ISA_AVX2, ISA_AVX512, ISA_COUNT, ISA_BEST = -1 };

struct device;

const char *isa_name(enum isa isa); /* "ref", "portable", "avx2", "avx512" */
/* ISA_BEST for "best", ISA_COUNT when unknown */
enum isa isa_find(const char *name);
bool isa_supported(enum isa isa); /* by this CPU and OS */

/* A device by its name: "cpu" is the best instruction set this processor has, "cpu/avx2" one of
 * them, "opencl:0" and "opencl:vega" as device_opencl_open says. threads, of a CPU: 0 is all that
 * this process may use. INVALID when it is no name of a device. */
enum emac_status device_open(const char *spec, uint32_t threads, struct device **out,
                             struct emac_err *err);
/* threads >= 1. ISA_REF is the readable oracle: single-threaded, slow. UNSUPPORTED when the CPU
 * lacks the instructions, or its floating-point mode flushes subnormals or rounds otherwise. */
enum emac_status device_cpu_open(enum isa isa, uint32_t threads, struct device **out,
                                 struct emac_err *err);
/* The device called `which` on this machine: "0" by number, "vega" by a part of its or its
 * platform's name in any case. UNSUPPORTED without an OpenCL library, NOT_FOUND when no
 * device or several are called that; the sentence lists what there is. */
enum emac_status device_opencl_open(const char *which, struct device **out, struct emac_err *err);
void device_close(struct device *dev);
/* Has the device failed for good (driver error)? Every further call fails then; close it. */
bool device_lost(const struct device *dev);

/* What OpenCL offers on this machine, in the order of their numbers. */
struct device_found {
    char name[72], driver[40], platform[72];
    uint64_t memory; /* bytes */
};
/* At most `cap`; 0 without an OpenCL library. */
size_t device_opencl_list(struct device_found *out, size_t cap);

const char *device_name(const struct device *dev); /* e.g. "cpu/avx512 x2" */
/* What it computes with: "portable", "avx2", ..., "opencl". */
const char *device_kind(const struct device *dev);
uint32_t device_threads(const struct device *dev); /* or compute units */
bool device_is_host(const struct device *dev);

/* Run one operator; shapes must be as op_infer says (asserted); output 0 may be bf16
 * where op_infer says f32. Fails with INVALID on a token id
 * out of range, NO_MEMORY when scratch cannot be had, UNSUPPORTED when the device lacks the
 * operator. Does not look for NaN: see device_finite. */
enum emac_status device_run(struct device *dev, enum op op, const struct op_attrs *attrs,
                            const struct tensor *in, struct tensor *out, struct emac_err *err);
/* The same on tensors in host memory whatever the device; what lies elsewhere is brought there and
 * back. For tests, conformance and small work. */
enum emac_status device_run_host(struct device *dev, enum op op, const struct op_attrs *attrs,
                                 const struct tensor *in, struct tensor *out, struct emac_err *err);

/* dst[i] = a[i] + b[i]: the step of rule 6's tree. dst may be a or b. */
enum emac_status device_add(struct device *dev, float *dst, const float *a, const float *b,
                            size_t n, struct emac_err *err);
/* table[V,D] += the rows of EMBED_GRAD of ids i32[N] and dy[N,D], all f32: what ADD makes of the
 * two, where the table holds no -0 (a product never does), without the other V-N rows. Only for
 * devices that say so; fails as device_run. */
bool device_adds_embed_grad(const struct device *dev);
enum emac_status device_embed_grad_add(struct device *dev, const struct tensor *ids,
                                       const struct tensor *dy, struct tensor *table,
                                       struct emac_err *err);
/* Whether the operator that ran last looked at its outputs as it made them and found neither NaN
 * nor infinity: then device_finite need not be asked, which reads them from memory again. */
bool device_ran_finite(const struct device *dev);
/* Whether none of `count` tensors, of any dtypes, holds NaN or infinity. */
enum emac_status device_finite(struct device *dev, size_t count, const struct tensor *x, bool *out,
                               struct emac_err *err);

/* The last `rows` query positions of a sequence of `len` against cached keys (rule 5: same bits as
 * these rows of ATTENTION). q[rows,H*E], k[len,G*E], v[len,G*E] -> o[rows,H*E]. */
enum emac_status device_attention_decode(struct device *dev, const float *q, const float *k,
                                         const float *v, float *o, size_t len, size_t rows,
                                         uint32_t heads, uint32_t kv_heads, uint32_t head_dim,
                                         float scale, struct emac_err *err);

/* 64-byte aligned, not zeroed. NO_MEMORY, saying how much there is, when it cannot be had. */
enum emac_status device_alloc(struct device *dev, size_t bytes, void *out_ptr,
                              struct emac_err *err);
void device_free(struct device *dev, void *ptr); /* NULL is nothing */
/* dst on the device; src in host memory, free to change when this returns. */
enum emac_status device_write(struct device *dev, void *dst, const void *src, size_t n,
                              struct emac_err *err);
/* dst in host memory; waits for all that was told before. */
enum emac_status device_read(struct device *dev, void *dst, const void *src, size_t n,
                             struct emac_err *err);
/* Memory that nobody writes to any more, read from any thread while others use the device. Made by
 * the device's user, who frees the memory, or closes the device, only after the last read. Of a
 * device with memory of its own. */
struct device_view {
    struct device *dev;
    void *memory; /* the kind's */
    size_t at, bytes;
};
enum emac_status device_view(struct device *dev, const void *src, size_t bytes,
                             struct device_view *out, struct emac_err *err);
/* All of it to host memory. A failure does not make the device lost: its user will see. */
enum emac_status device_view_read(const struct device_view *v, void *dst, struct emac_err *err);
/* SHA-256 (FIPS 180-4) of each `piece` bytes of the n > 0 at src, the last of what is left, to
 * digest[ceil(n / piece)] in host memory; waits. piece is a multiple of 64. Only the digests cross
 * the bus. Of a device with memory of its own. */
enum emac_status device_sha256(struct device *dev, const void *src, size_t n, size_t piece,
                               uint8_t (*digest)[32], struct emac_err *err);
/* Both on the device, not overlapping. */
enum emac_status device_copy(struct device *dev, void *dst, const void *src, size_t n,
                             struct emac_err *err);
/* Wait for all that was told before. */
enum emac_status device_finish(struct device *dev, struct emac_err *err);

struct device_memory {
    uint64_t total;         /* bytes that may be allocated */
    uint64_t alloc_max;     /* by one device_alloc */
    uint64_t used, peak;    /* allocated now, and at most so far */
    uint64_t written, read; /* over the bus so far; 0 where there is none */
    uint64_t viewed;        /* likewise, back by device_view_read */
};
void device_memory(const struct device *dev, struct device_memory *out);
/* From now on allocate no more than `bytes` in all. */
void device_memory_limit(struct device *dev, uint64_t bytes);

/* The conformance program (rule 12): subnormals, signed zeros, ties, fma against mul-then-add, and
 * every operator on edge shapes; SHA-256 over all result bytes. One published digest, stated in
 * docs/numerics.md and in CONFORMANCE_DIGEST. */
enum emac_status device_conformance(struct device *dev, uint8_t digest[32], struct emac_err *err);
extern const char CONFORMANCE_DIGEST[]; /* 64 hex digits */
/* Its first part, the operators that version 1 began with: this digest never moves. */
enum emac_status device_conformance_first(struct device *dev, uint8_t digest[32],
                                          struct emac_err *err);
extern const char CONFORMANCE_DIGEST_FIRST[];

/* What is wrong with a device's arithmetic, in words ("flushes subnormal results to zero"), told by
 * small operators that show it: NULL when none of the known ways is found. */
enum emac_status device_diagnose(struct device *dev, const char **out, struct emac_err *err);
/* May the device do paid work? Runs the conformance program; UNSUPPORTED, with the diagnosis, when
 * the digest (64 hex digits, given in any case that it was reached) is not the published one. */
enum emac_status device_admit(struct device *dev, char digest[65], struct emac_err *err);

/* Make ready for work: choose by timing how products are cut, within some seconds, and let the
 * driver compile what it would compile later. The choice is kept in the file `path` and read from
 * it when it is of this device and driver. Speed only: no bit depends on it. Nothing to do on a
 * CPU. */
enum emac_status device_tune(struct device *dev, struct os *os, const char *path,
                             struct emac_err *err);

/* What hashing costs, and the bus, in ns a MiB: one piece after its bytes one by one; many pieces
 * side by side; a read; SHA-256 by one thread of the host. All 0: not measured. device_tune
 * measures it, too, and keeps it in its file. */
struct device_hashing {
    uint32_t serial, wide, bus, host;
};
/* From then on device_sha256_pays goes by it. UNSUPPORTED of a device whose memory is the host's.
 */
enum emac_status device_hashing_measure(struct device *dev, struct os *os,
                                        struct device_hashing *out, struct emac_err *err);
/* Are n bytes hashed sooner where they are, in pieces, than brought to the host and hashed there by
 * so many threads? false where that was not measured. */
bool device_sha256_pays(const struct device *dev, size_t n, size_t piece, uint32_t threads);

/* Admission benchmark: GEMM GFLOP/s (f32, square-ish training shape) and memory GB/s, each the
 * median of short runs within about `ms` milliseconds in all. `now_ns` is the caller's clock. */
struct device_speed {
    double gemm_gflops, memory_gbs;
};
void device_benchmark(struct device *dev, uint64_t (*now_ns)(void *), void *ctx, uint32_t ms,
                      struct device_speed *out);

#endif

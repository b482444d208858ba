/* The OpenCL runtime as operators see it: one device, its memory, and a call of
 * a kernel. Works through libOpenCL.so.1, loaded when a device is asked for.
 *
 * Memory. Addresses are those of device.h: a map of allocations turns one into
 * a buffer and an offset. Scratch is memory that the next operator overwrites.
 *
 * Kernels. A program is the text kernels/prelude.cl, compute/fn*.h, half.h and
 * kernels/<program>.cl, compiled once for each set of definitions at its first
 * call and kept. No option that lets the compiler change a value is given.
 *
 * Calls are put on one queue that runs them in order; an error in running one
 * comes out at the next read. A device that failed once fails from then on:
 * close it. */
#ifndef EMAC_COMPUTE_OPENCL_CL_H
#define EMAC_COMPUTE_OPENCL_CL_H

#include "compute/device_impl.h"

#define CL_ARGS_MAX 32

struct cl;

struct cl_limits {
    uint32_t units;     /* compute units */
    uint32_t vector;    /* floats of a vector that it likes */
    size_t group_max;   /* work-items of a group */
    size_t local_bytes; /* local memory of a group */
    uint64_t global_bytes, alloc_max;
    bool is_cpu;
};
const struct cl_limits *cl_limits(const struct cl *cl);

/* An argument. A memory argument (an address of the device, or NULL) becomes two parameters of the
 * kernel: MEMORY(T, name) declares them, AT(T, name) is the pointer (kernels/prelude.cl). */
enum cl_arg_kind { CL_ARG_MEMORY, CL_ARG_U32, CL_ARG_U64, CL_ARG_I32, CL_ARG_F32, CL_ARG_LOCAL };
struct cl_arg {
    enum cl_arg_kind kind;
    union {
        const void *memory;
        uint32_t u32;
        uint64_t u64;
        int32_t i32;
        float f32;
        size_t local_bytes;
    };
};

static inline struct cl_arg cl_memory_arg(const void *memory)
{
    return (struct cl_arg){.kind = CL_ARG_MEMORY, .memory = memory};
}
static inline struct cl_arg cl_u32_arg(uint32_t v)
{
    return (struct cl_arg){.kind = CL_ARG_U32, .u32 = v};
}
static inline struct cl_arg cl_u64_arg(uint64_t v)
{
    return (struct cl_arg){.kind = CL_ARG_U64, .u64 = v};
}
static inline struct cl_arg cl_i32_arg(int32_t v)
{
    return (struct cl_arg){.kind = CL_ARG_I32, .i32 = v};
}
static inline struct cl_arg cl_f32_arg(float v)
{
    return (struct cl_arg){.kind = CL_ARG_F32, .f32 = v};
}
static inline struct cl_arg cl_local_arg(size_t bytes)
{
    return (struct cl_arg){.kind = CL_ARG_LOCAL, .local_bytes = bytes};
}
/* The device's word for what a kernel finds wrong in its data: declare it MEMORY(uint, fault), set
 * it with FAULT(fault, CL_FAULT_ID) (prelude.cl). The next read or finish fails with INVALID. */
struct cl_arg cl_fault_arg(const struct cl *cl);
#define CL_FAULT_ID 1u /* an id outside the table that it picks from */

struct cl_call {
    const char *program; /* kernels/<program>.cl */
    const char *kernel;
    const char *defines; /* compiler options "-DTILE=8 ...", "" for none */
    uint32_t dims;       /* 1 to 3 */
    size_t global[3];    /* work-items; a multiple of `local`. One that is 0: nothing is run */
    size_t local[3];     /* of a group; local[0] = 0: the driver chooses */
    const struct cl_arg *arg;
    uint32_t args;
};
/* Queue a kernel. UNSUPPORTED when it cannot be compiled (with the device and what the compiler
 * said), NO_MEMORY, UNAVAILABLE when the device fails. */
enum emac_status cl_call(struct cl *cl, const struct cl_call *call, struct emac_err *err);
/* n bytes from one place of the device's memory to another that does not overlap it. */
enum emac_status cl_copy(struct cl *cl, void *dst, const void *src, size_t n, struct emac_err *err);
/* Device memory of at least `bytes`, overwritten by the next operator. One piece an operator. */
enum emac_status cl_scratch(struct cl *cl, size_t bytes, void **out, struct emac_err *err);

/* What the tuner (cl_tune.c) found tile i of ops.h to cost, beyond its model, on this device: 1 or
 * more. */
#define CL_TILES_MAX 32
double cl_tile_weight(const struct cl *cl, size_t i);

/* ---- operators: cl_table.c and op_*.c ---- */

typedef enum emac_status cl_op_fn(struct cl *cl, const struct op_attrs *attrs,
                                  const struct tensor *in, struct tensor *out,
                                  struct emac_err *err);
extern cl_op_fn *const cl_op_table[OP_COUNT]; /* NULL: not on OpenCL */

/* As device_add and device_attention_decode. */
enum emac_status cl_add(struct cl *cl, float *dst, const float *a, const float *b, size_t n,
                        struct emac_err *err);
enum emac_status cl_attention_decode(struct cl *cl, const struct attention_decode *d,
                                     struct emac_err *err);

#endif

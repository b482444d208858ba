/* The OpenCL runtime's inside, for the files cl_*.c and for tests that let a driver fail.
 *
 * CL-1  Allocations lie in the reserved range by address, none touching another; `span` is sorted.
 * CL-2  What is queued but not known to have ended is only read by the driver from memory of the
 *       driver or of `slot`; so callers' memory is free when a call returns.
 * CL-3  After a failure other than of memory or of the compiler `lost` holds its sentence, and
 *       every further call fails with it. */
#ifndef EMAC_COMPUTE_OPENCL_CL_IMPL_H
#define EMAC_COMPUTE_OPENCL_CL_IMPL_H

#define CL_TARGET_OPENCL_VERSION 120
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include <CL/cl.h>

#include "compute/opencl/cl.h"

/* All that is used of the library. */
#define CL_FUNCTIONS(X)                                                                            \
    X(clGetPlatformIDs)                                                                            \
    X(clGetPlatformInfo)                                                                           \
    X(clGetDeviceIDs)                                                                              \
    X(clGetDeviceInfo)                                                                             \
    X(clCreateContext)                                                                             \
    X(clReleaseContext)                                                                            \
    X(clCreateCommandQueue)                                                                        \
    X(clReleaseCommandQueue)                                                                       \
    X(clCreateBuffer)                                                                              \
    X(clReleaseMemObject)                                                                          \
    X(clCreateProgramWithSource)                                                                   \
    X(clBuildProgram)                                                                              \
    X(clGetProgramBuildInfo)                                                                       \
    X(clReleaseProgram)                                                                            \
    X(clCreateKernel)                                                                              \
    X(clReleaseKernel)                                                                             \
    X(clSetKernelArg)                                                                              \
    X(clEnqueueNDRangeKernel)                                                                      \
    X(clEnqueueReadBuffer)                                                                         \
    X(clEnqueueWriteBuffer)                                                                        \
    X(clEnqueueCopyBuffer)                                                                         \
    X(clWaitForEvents)                                                                             \
    X(clReleaseEvent)                                                                              \
    X(clFlush)                                                                                     \
    X(clFinish)

struct cl_api {
#define X(f) __typeof__(f) *f;
    CL_FUNCTIONS(X)
#undef X
};
/* Loads the library at the first call. UNSUPPORTED when there is none. */
enum emac_status cl_api_get(struct cl_api *out, struct emac_err *err);
const char *cl_error_name(cl_int code); /* "CL_OUT_OF_RESOURCES" */

struct cl_span {
    uintptr_t at;
    size_t bytes;
    cl_mem mem;
};

struct cl_kernel {
    char *program, *kernel, *defines;
    cl_program built; /* NULL: shared with an earlier kernel of the list */
    cl_kernel handle;
};

/* Small writes go through these, so that they need not wait for the device. */
#define CL_SLOTS      16
#define CL_SLOT_BYTES ((size_t)64 << 10)
struct cl_slot {
    uint8_t *data;
    cl_event done; /* NULL: free */
};

#define CL_FLUSH_CALLS 16 /* kernels queued before the device is told to begin */

struct cl {
    struct device device; /* first */
    struct cl_api api;
    struct cl_limits limits;
    cl_platform_id platform;
    cl_device_id id;
    cl_context context;
    cl_command_queue queue;
    cl_command_queue views; /* for other threads' reads, which wait for no kernel */
    /* What tests change before the first call, to see a driver that computes wrongly: options for
     * every program beside its defines, and where the texts of kernels/ come from. */
    const char *options;
    const char *(*text)(const char *name);

    void *range; /* of addresses */
    size_t range_bytes;
    struct cl_span *span;
    size_t spans, spans_cap;

    struct cl_kernel *kernel;
    size_t kernels, kernels_cap;

    uint32_t *fault; /* one word of the device */
    void *scratch;
    size_t scratch_bytes;
    struct cl_slot slot[CL_SLOTS];
    uint32_t slot_next, unflushed;
    uint32_t tile_weight[CL_TILES_MAX]; /* in thousandths */
    struct emac_err lost;
};

/* A failed call of the library: the sentence, and `lost` where CL-3 says so. `what` is a verb with
 * its object: "run kernel 'add'". */
enum emac_status cl_fail(struct cl *cl, cl_int code, const char *what, const char *subject,
                         struct emac_err *err);
bool cl_is_memory(cl_int code); /* that there is too little of it, which may pass */
/* `lost`'s sentence when it is. */
enum emac_status cl_alive(const struct cl *cl, struct emac_err *err);

/* ---- cl_tune.c ---- */
enum emac_status cl_tune(struct cl *cl, struct os *os, const char *path, struct emac_err *err);

/* ---- cl_hash.c: as device_sha256 and device_hashing_measure ---- */
enum emac_status cl_sha256(struct cl *cl, const void *src, size_t n, size_t piece,
                           uint8_t (*digest)[32], struct emac_err *err);
enum emac_status cl_hashing(struct cl *cl, struct os *os, struct device_hashing *out,
                            struct emac_err *err);

/* ---- cl_memory.c ---- */
enum emac_status cl_memory_open(struct cl *cl, struct emac_err *err);
void cl_memory_close(struct cl *cl);
enum emac_status cl_memory_alloc(struct cl *cl, size_t bytes, void **out, struct emac_err *err);
void cl_memory_free(struct cl *cl, void *ptr);
/* The buffer that holds ptr[0..n) and where in it; asserts that one does. */
cl_mem cl_memory_find(const struct cl *cl, const void *ptr, size_t n, size_t *offset);
enum emac_status cl_memory_write(struct cl *cl, void *dst, const void *src, size_t n,
                                 struct emac_err *err);
enum emac_status cl_memory_read(struct cl *cl, void *dst, const void *src, size_t n,
                                struct emac_err *err);
enum emac_status cl_memory_finish(struct cl *cl, struct emac_err *err);
/* CL-4  A view is read by a queue of its own, from memory that no queued command writes: it was
 * finished before the view was made. Nothing of `cl` but the library and that queue is touched. */
enum emac_status cl_memory_view(struct cl *cl, const void *src, size_t n, struct device_view *out,
                                struct emac_err *err);
enum emac_status cl_view_read(const struct device_view *v, void *dst, struct emac_err *err);

/* ---- cl_program.c ---- */
const char *cl_text(const char *name); /* of the embedded ones */
enum emac_status cl_kernel_get(struct cl *cl, const struct cl_call *call, cl_kernel *out,
                               struct emac_err *err);
void cl_kernels_close(struct cl *cl);

#endif

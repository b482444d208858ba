/* Kernels: compiled at first use, kept by program, name and definitions; and their calls. */
#include "compute/opencl/cl_impl.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/embed.h"

#define KERNELS_FIRST 64
#define LOG_LINES     4

const char *cl_text(const char *name)
{
    for (const struct embedded *e = EMBEDDED_KERNELS; e->name != NULL; e++)
        if (strcmp(e->name, name) == 0)
            return e->text;
    EMAC_ASSERT(!"a kernel's program is in the list of kernels/");
    return NULL;
}

/* The first lines of the compiler's log that say something. */
static void log_shorten(char *log)
{
    uint32_t lines = 0;
    for (char *p = log; *p != '\0'; p++) {
        if (*p == '\n' && ++lines == LOG_LINES)
            *p = '\0';
        if (*p == '\n')
            *p = ' ';
        if (*p == '\0')
            return;
    }
}

static enum emac_status build_failed(struct cl *cl, const struct cl_call *call, cl_program program,
                                     struct emac_err *err)
{
    char *log = NULL;
    size_t n = 0;
    cl->api.clGetProgramBuildInfo(program, cl->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &n);
    if (n > 0 && emac_alloc(&log, n + 1, 1, NULL) == EMAC_OK) {
        cl->api.clGetProgramBuildInfo(program, cl->id, CL_PROGRAM_BUILD_LOG, n, log, NULL);
        log_shorten(log);
    }
    emac_fail(err, EMAC_UNSUPPORTED, "device '%s' cannot compile '%s' (%s): %s", cl->device.name,
              call->program, call->defines, log != NULL ? log : "it does not say why");
    free(log);
    return EMAC_UNSUPPORTED;
}

static enum emac_status program_build(struct cl *cl, const struct cl_call *call, cl_program *out,
                                      struct emac_err *err)
{
    const char *text[] = {cl->text("prelude"),   cl->text("fn"),   cl->text("fn_special"),
                          cl->text("fn_philox"), cl->text("half"), cl->text(call->program)};
    char *options = emac_asprintf("-cl-std=CL1.2 %s %s", cl->options, call->defines);
    cl_int code;
    enum emac_status st = EMAC_OK;
    cl_program program =
        cl->api.clCreateProgramWithSource(cl->context, EMAC_COUNT(text), text, NULL, &code);
    if (code != CL_SUCCESS) {
        st = cl_fail(cl, code, "read program", call->program, err);
        goto out;
    }
    code = cl->api.clBuildProgram(program, 1, &cl->id, options, NULL, NULL);
    if (code == CL_BUILD_PROGRAM_FAILURE || code == CL_INVALID_BUILD_OPTIONS ||
        code == CL_COMPILER_NOT_AVAILABLE)
        st = build_failed(cl, call, program, err);
    else if (code != CL_SUCCESS)
        st = cl_fail(cl, code, "compile program", call->program, err);
    if (st == EMAC_OK)
        *out = program;
    else
        cl->api.clReleaseProgram(program);
out:
    free(options);
    return st;
}

static enum emac_status kernels_grow(struct cl *cl, struct emac_err *err)
{
    size_t cap = cl->kernels_cap ? 2 * cl->kernels_cap : KERNELS_FIRST;
    struct cl_kernel *more;
    enum emac_status st;
    if (cl->kernels < cl->kernels_cap)
        return EMAC_OK;
    st = emac_alloc(&more, cap, sizeof *more, err);
    if (st != EMAC_OK)
        return st;
    if (cl->kernels)
        memcpy(more, cl->kernel, cl->kernels * sizeof *more);
    free(cl->kernel);
    cl->kernel = more;
    cl->kernels_cap = cap;
    return EMAC_OK;
}

enum emac_status cl_kernel_get(struct cl *cl, const struct cl_call *call, cl_kernel *out,
                               struct emac_err *err)
{
    cl_program program = NULL, built = NULL;
    enum emac_status st;
    cl_int code;
    for (size_t i = 0; i < cl->kernels; i++) {
        const struct cl_kernel *k = &cl->kernel[i];
        if (strcmp(k->program, call->program) != 0 || strcmp(k->defines, call->defines) != 0)
            continue;
        program = k->built != NULL ? k->built : program;
        if (strcmp(k->kernel, call->kernel) == 0) {
            *out = k->handle;
            return EMAC_OK;
        }
    }
    EMAC_TRY(st, kernels_grow(cl, err));
    if (program == NULL) {
        EMAC_TRY(st, program_build(cl, call, &built, err));
        program = built;
    }
    cl_kernel handle = cl->api.clCreateKernel(program, call->kernel, &code);
    if (code != CL_SUCCESS) {
        st = cl_fail(cl, code, "make kernel", call->kernel, err);
        if (built != NULL)
            cl->api.clReleaseProgram(built);
        return st;
    }
    cl->kernel[cl->kernels++] = (struct cl_kernel){.program = emac_strdup(call->program),
                                                   .kernel = emac_strdup(call->kernel),
                                                   .defines = emac_strdup(call->defines),
                                                   .built = built,
                                                   .handle = handle};
    *out = handle;
out:
    return st;
}

void cl_kernels_close(struct cl *cl)
{
    for (size_t i = 0; i < cl->kernels; i++) {
        struct cl_kernel *k = &cl->kernel[i];
        cl->api.clReleaseKernel(k->handle);
        if (k->built != NULL)
            cl->api.clReleaseProgram(k->built);
        free(k->program);
        free(k->kernel);
        free(k->defines);
    }
    free(cl->kernel);
}

/* ---- calls ---- */

static cl_int set_memory(struct cl *cl, cl_kernel kernel, cl_uint at, const void *memory)
{
    size_t offset = 0;
    cl_mem mem = memory != NULL ? cl_memory_find(cl, memory, 0, &offset) : NULL;
    cl_ulong bytes = offset;
    cl_int code = cl->api.clSetKernelArg(kernel, at, sizeof mem, &mem);
    return code != CL_SUCCESS ? code : cl->api.clSetKernelArg(kernel, at + 1, sizeof bytes, &bytes);
}

static cl_int set_args(struct cl *cl, cl_kernel kernel, const struct cl_call *call)
{
    cl_int code = CL_SUCCESS;
    cl_uint at = 0;
    for (uint32_t i = 0; i < call->args && code == CL_SUCCESS; i++) {
        const struct cl_arg *a = &call->arg[i];
        switch (a->kind) {
        case CL_ARG_MEMORY:
            code = set_memory(cl, kernel, at++, a->memory);
            break;
        case CL_ARG_LOCAL:
            code = cl->api.clSetKernelArg(kernel, at, a->local_bytes, NULL);
            break;
        case CL_ARG_U64:
            code = cl->api.clSetKernelArg(kernel, at, sizeof a->u64, &a->u64);
            break;
        default:
            code = cl->api.clSetKernelArg(kernel, at, sizeof a->u32, &a->u32);
        }
        at++;
    }
    return code;
}

enum emac_status cl_call(struct cl *cl, const struct cl_call *call, struct emac_err *err)
{
    cl_kernel kernel;
    enum emac_status st = cl_alive(cl, err);
    if (st != EMAC_OK)
        return st;
    EMAC_ASSERT(call->dims >= 1 && call->dims <= 3 && call->args <= CL_ARGS_MAX);
    for (uint32_t d = 0; d < call->dims; d++) {
        if (call->global[d] == 0)
            return EMAC_OK;
        EMAC_ASSERT(call->local[0] == 0 || call->global[d] % call->local[d] == 0);
    }
    st = cl_kernel_get(cl, call, &kernel, err);
    if (st != EMAC_OK)
        return st;
    cl_int code = set_args(cl, kernel, call);
    if (code == CL_SUCCESS)
        code = cl->api.clEnqueueNDRangeKernel(cl->queue, kernel, call->dims, NULL, call->global,
                                              call->local[0] ? call->local : NULL, 0, NULL, NULL);
    if (code == CL_SUCCESS && ++cl->unflushed == CL_FLUSH_CALLS) {
        cl->unflushed = 0;
        code = cl->api.clFlush(cl->queue);
    }
    return code == CL_SUCCESS ? EMAC_OK : cl_fail(cl, code, "run kernel", call->kernel, err);
}

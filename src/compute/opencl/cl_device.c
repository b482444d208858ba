/* Finding and opening a device, and the functions that device.c calls. */
#include "compute/opencl/cl_impl.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "compute/opencl/ops.h"

#define PLATFORMS_MAX 16
#define DEVICES_MAX   64
#define INFO_MAX      128

/* One device that a platform offers. */
struct found {
    cl_platform_id platform;
    cl_device_id id;
    char name[INFO_MAX], maker[INFO_MAX], driver[INFO_MAX];
};

static void info_text(const struct cl_api *api, cl_device_id id, cl_device_info what,
                      char out[INFO_MAX])
{
    char text[1024] = "";
    const char *from = text;
    api->clGetDeviceInfo(id, what, sizeof text - 1, text, NULL);
    while (*from == ' ')
        from++;
    emac_strcpy(out, INFO_MAX, from);
}

static size_t devices_find(const struct cl_api *api, struct found out[DEVICES_MAX])
{
    cl_platform_id platform[PLATFORMS_MAX];
    cl_uint platforms = 0;
    size_t n = 0;
    if (api->clGetPlatformIDs(PLATFORMS_MAX, platform, &platforms) != CL_SUCCESS)
        return 0;
    for (cl_uint p = 0; p < platforms && p < PLATFORMS_MAX; p++) {
        cl_device_id id[DEVICES_MAX];
        cl_uint count = 0;
        if (api->clGetDeviceIDs(platform[p], CL_DEVICE_TYPE_ALL, DEVICES_MAX, id, &count) !=
            CL_SUCCESS)
            continue;
        for (cl_uint i = 0; i < count && n < DEVICES_MAX; i++, n++) {
            out[n] = (struct found){.platform = platform[p], .id = id[i]};
            info_text(api, id[i], CL_DEVICE_NAME, out[n].name);
            info_text(api, id[i], CL_DRIVER_VERSION, out[n].driver);
            api->clGetPlatformInfo(platform[p], CL_PLATFORM_NAME, INFO_MAX - 1, out[n].maker, NULL);
        }
    }
    return n;
}

static bool contains(const char *text, const char *part)
{
    size_t n = strlen(part);
    for (; *text != '\0'; text++) {
        size_t i = 0;
        while (i < n && text[i] != '\0' &&
               tolower((unsigned char)text[i]) == tolower((unsigned char)part[i]))
            i++;
        if (i == n)
            return true;
    }
    return n == 0;
}

static enum emac_status device_missing(const struct found *f, size_t n, const char *which,
                                       const char *why, struct emac_err *err)
{
    char list[384] = "";
    for (size_t i = 0; i < n; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s opencl:%zu is %s (%s)",
                 i ? "," : ":", i, f[i].name, f[i].maker);
    return emac_fail(err, EMAC_NOT_FOUND, "%s OpenCL device '%s'; there %s%s", why, which,
                     n ? "are" : "is none: install the driver of the card", list);
}

static enum emac_status device_choose(const struct found *f, size_t n, const char *which,
                                      size_t *out, struct emac_err *err)
{
    size_t matches = 0;
    char *end;
    unsigned long number = strtoul(which, &end, 10);
    if (end != which && *end == '\0') {
        *out = number;
        return number < n ? EMAC_OK : device_missing(f, n, which, "no", err);
    }
    for (size_t i = 0; i < n; i++)
        if (contains(f[i].name, which) || contains(f[i].maker, which)) {
            *out = i;
            matches++;
        }
    return matches == 1 ? EMAC_OK
                        : device_missing(f, n, which, matches ? "more than one" : "no", err);
}

static uint64_t info_number(const struct cl *cl, cl_device_info what, size_t bytes)
{
    uint64_t v = 0; /* little-endian, as all hosts of OpenCL drivers are */
    cl->api.clGetDeviceInfo(cl->id, what, bytes, &v, NULL);
    return v;
}

static void limits_get(struct cl *cl)
{
    cl->limits = (struct cl_limits){
        .units = (uint32_t)info_number(cl, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof(cl_uint)),
        .vector =
            (uint32_t)info_number(cl, CL_DEVICE_PREFERRED_VECTOR_WIDTH_FLOAT, sizeof(cl_uint)),
        .group_max = info_number(cl, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof(size_t)),
        .local_bytes = info_number(cl, CL_DEVICE_LOCAL_MEM_SIZE, sizeof(cl_ulong)),
        .global_bytes = info_number(cl, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof(cl_ulong)),
        .alloc_max = info_number(cl, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof(cl_ulong)),
        .is_cpu = info_number(cl, CL_DEVICE_TYPE, sizeof(cl_device_type)) & CL_DEVICE_TYPE_CPU,
    };
    cl->device.memory.total = cl->limits.global_bytes;
    cl->device.memory.alloc_max = cl->limits.alloc_max;
    cl->device.threads = cl->limits.units;
}

enum emac_status cl_alive(const struct cl *cl, struct emac_err *err)
{
    return cl->lost.status == EMAC_OK ? EMAC_OK
                                      : emac_fail(err, cl->lost.status, "%s", cl->lost.text);
}

bool cl_is_memory(cl_int code)
{
    return code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_OUT_OF_HOST_MEMORY;
}

enum emac_status cl_fail(struct cl *cl, cl_int code, const char *what, const char *subject,
                         struct emac_err *err)
{
    enum emac_status st = cl_is_memory(code) ? EMAC_NO_MEMORY : EMAC_UNAVAILABLE;
    struct emac_err e;
    emac_fail(&e, st, "device '%s' cannot %s '%s': %s", cl->device.name, what, subject,
              cl_error_name(code));
    if (st == EMAC_UNAVAILABLE)
        cl->lost = e;
    return emac_fail(err, st, "%s", e.text);
}

/* ---- the class ---- */

static struct cl *cl_of(struct device *dev)
{
    return (struct cl *)dev;
}

static void opencl_close(struct device *dev)
{
    struct cl *cl = cl_of(dev);
    if (cl->queue != NULL) /* a lost device, too, may still read from the slots (CL-2) */
        cl->api.clFinish(cl->queue);
    if (cl->views != NULL)
        cl->api.clReleaseCommandQueue(cl->views);
    cl_kernels_close(cl);
    cl_memory_close(cl);
    if (cl->queue != NULL)
        cl->api.clReleaseCommandQueue(cl->queue);
    if (cl->context != NULL)
        cl->api.clReleaseContext(cl->context);
    free(cl);
}

static bool opencl_lost(const struct device *dev)
{
    return ((const struct cl *)dev)->lost.status != EMAC_OK;
}

static enum emac_status opencl_run(struct device *dev, enum op op, const struct op_attrs *attrs,
                                   const struct tensor *in, struct tensor *out,
                                   struct emac_err *err)
{
    if (cl_op_table[op] == NULL)
        return emac_fail(err, EMAC_UNSUPPORTED, "operator '%s' cannot run on device '%s'",
                         op_info(op)->name, dev->name);
    return cl_op_table[op](cl_of(dev), attrs, in, out, err);
}

static enum emac_status opencl_add(struct device *dev, float *dst, const float *a, const float *b,
                                   size_t n, struct emac_err *err)
{
    return cl_add(cl_of(dev), dst, a, b, n, err);
}

/* A kernel of storage.cl over n elements. */
static enum emac_status walk(struct cl *cl, const char *kernel, const void *to, const void *from,
                             size_t n, struct emac_err *err)
{
    struct launch l;
    launch_begin(&l, cl, "storage", kernel);
    launch_memory(&l, to);
    launch_memory(&l, from);
    launch_each(&l, n, 1);
    return launch_items(&l, err);
}

/* All tensors set one word, which is read once. */
static enum emac_status opencl_finite(struct device *dev, size_t count, const struct tensor *x,
                                      bool *out, struct emac_err *err)
{
    struct cl *cl = cl_of(dev);
    uint32_t found = 0;
    void *word;
    size_t n = 0;
    enum emac_status st;
    EMAC_TRY(st, cl_scratch(cl, sizeof found, &word, err));
    EMAC_TRY(st, cl_memory_write(cl, word, &found, sizeof found, err));
    for (size_t i = 0; i < count; i++) {
        shape_count(&x[i].shape, &n);
        if (x[i].dtype == DTYPE_F32)
            EMAC_TRY(st, walk(cl, "f32_finite", word, x[i].data, n, err));
        else if (x[i].dtype == DTYPE_BF16)
            EMAC_TRY(st, walk(cl, "bf16_finite", word, x[i].data, n, err));
    }
    EMAC_TRY(st, cl_memory_read(cl, &found, word, sizeof found, err));
    *out = found == 0;
out:
    return st;
}

static enum emac_status opencl_widen(struct device *dev, float *dst, const uint16_t *src, size_t n,
                                     struct emac_err *err)
{
    return walk(cl_of(dev), "widen", dst, src, n, err);
}

static enum emac_status opencl_narrow(struct device *dev, uint16_t *dst, const float *src, size_t n,
                                      struct emac_err *err)
{
    return walk(cl_of(dev), "narrow", dst, src, n, err);
}

static enum emac_status opencl_decode(struct device *dev, const struct attention_decode *d,
                                      struct emac_err *err)
{
    return cl_attention_decode(cl_of(dev), d, err);
}

static enum emac_status opencl_alloc(struct device *dev, size_t bytes, void **out,
                                     struct emac_err *err)
{
    return cl_memory_alloc(cl_of(dev), bytes, out, err);
}

static void opencl_free(struct device *dev, void *ptr)
{
    cl_memory_free(cl_of(dev), ptr);
}

static enum emac_status opencl_write(struct device *dev, void *dst, const void *src, size_t n,
                                     struct emac_err *err)
{
    return cl_memory_write(cl_of(dev), dst, src, n, err);
}

static enum emac_status opencl_read(struct device *dev, void *dst, const void *src, size_t n,
                                    struct emac_err *err)
{
    return cl_memory_read(cl_of(dev), dst, src, n, err);
}

static enum emac_status opencl_copy(struct device *dev, void *dst, const void *src, size_t n,
                                    struct emac_err *err)
{
    return cl_copy(cl_of(dev), dst, src, n, err);
}

static enum emac_status opencl_finish(struct device *dev, struct emac_err *err)
{
    return cl_memory_finish(cl_of(dev), err);
}

static enum emac_status opencl_view(struct device *dev, const void *src, size_t n,
                                    struct device_view *out, struct emac_err *err)
{
    return cl_memory_view(cl_of(dev), src, n, out, err);
}

static enum emac_status opencl_sha256(struct device *dev, const void *src, size_t n, size_t piece,
                                      uint8_t (*digest)[32], struct emac_err *err)
{
    return cl_sha256(cl_of(dev), src, n, piece, digest, err);
}

static enum emac_status opencl_hashing(struct device *dev, struct os *os,
                                       struct device_hashing *out, struct emac_err *err)
{
    return cl_hashing(cl_of(dev), os, out, err);
}

static enum emac_status opencl_tune(struct device *dev, struct os *os, const char *path,
                                    struct emac_err *err)
{
    return cl_tune(cl_of(dev), os, path, err);
}

static const struct device_class opencl_class = {
    .close = opencl_close,
    .lost = opencl_lost,
    .run = opencl_run,
    .add = opencl_add,
    .finite = opencl_finite,
    .widen = opencl_widen,
    .narrow = opencl_narrow,
    .decode = opencl_decode,
    .alloc = opencl_alloc,
    .free = opencl_free,
    .write = opencl_write,
    .read = opencl_read,
    .copy = opencl_copy,
    .finish = opencl_finish,
    .view = opencl_view,
    .view_read = cl_view_read,
    .sha256 = opencl_sha256,
    .hashing = opencl_hashing,
    .tune = opencl_tune,
};

/* ---- opening ---- */

const struct cl_limits *cl_limits(const struct cl *cl)
{
    return &cl->limits;
}

struct cl_arg cl_fault_arg(const struct cl *cl)
{
    return cl_memory_arg(cl->fault);
}

double cl_tile_weight(const struct cl *cl, size_t i)
{
    return cl->tile_weight[i] * 1e-3;
}

static enum emac_status queue_open(struct cl *cl, struct emac_err *err)
{
    const cl_context_properties properties[] = {CL_CONTEXT_PLATFORM,
                                                (cl_context_properties)cl->platform, 0};
    cl_int code;
    cl->context = cl->api.clCreateContext(properties, 1, &cl->id, NULL, NULL, &code);
    if (code != CL_SUCCESS)
        return cl_fail(cl, code, "make", "a context", err);
    cl->queue = cl->api.clCreateCommandQueue(cl->context, cl->id, 0, &code);
    if (code == CL_SUCCESS)
        cl->views = cl->api.clCreateCommandQueue(cl->context, cl->id, 0, &code);
    return code == CL_SUCCESS ? EMAC_OK : cl_fail(cl, code, "make", "a queue", err);
}

enum emac_status device_opencl_open(const char *which, struct device **out, struct emac_err *err)
{
    struct found *found = NULL;
    struct cl *cl = NULL;
    size_t at = 0;
    enum emac_status st;
    EMAC_TRY(st, emac_alloc(&found, DEVICES_MAX, sizeof *found, err));
    EMAC_TRY(st, emac_alloc(&cl, 1, sizeof *cl, err));
    EMAC_TRY(st, cl_api_get(&cl->api, err));
    EMAC_TRY(st, device_choose(found, devices_find(&cl->api, found), which, &at, err));
    cl->device.class = &opencl_class;
    cl->device.kind = "opencl";
    cl->platform = found[at].platform;
    cl->id = found[at].id;
    cl->options = "";
    cl->text = cl_text;
    for (size_t i = 0; i < CL_TILES_MAX; i++)
        cl->tile_weight[i] = 1000;
    snprintf(cl->device.name, sizeof cl->device.name, "opencl:%zu %.72s, driver %.40s", at,
             found[at].name, found[at].driver);
    limits_get(cl);
    EMAC_TRY(st, queue_open(cl, err));
    EMAC_TRY(st, cl_memory_open(cl, err));
    *out = &cl->device;
    cl = NULL;
out:
    free(found);
    if (cl != NULL)
        opencl_close(&cl->device);
    return st;
}

size_t device_opencl_list(struct device_found *out, size_t cap)
{
    struct found *found;
    struct cl_api api;
    size_t n = 0;
    if (emac_alloc(&found, DEVICES_MAX, sizeof *found, NULL) != EMAC_OK)
        return 0;
    if (cl_api_get(&api, NULL) == EMAC_OK)
        n = devices_find(&api, found);
    n = n < cap ? n : cap;
    for (size_t i = 0; i < n; i++) {
        cl_ulong memory = 0;
        api.clGetDeviceInfo(found[i].id, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof memory, &memory, NULL);
        emac_strcpy(out[i].name, sizeof out[i].name, found[i].name);
        emac_strcpy(out[i].driver, sizeof out[i].driver, found[i].driver);
        emac_strcpy(out[i].platform, sizeof out[i].platform, found[i].maker);
        out[i].memory = memory;
    }
    free(found);
    return n;
}

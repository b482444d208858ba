/* The address map and what moves bytes over the bus. */
#include "compute/opencl/cl_impl.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "os/library.h"

/* Addresses are handed out in pages with one unused after each allocation, so that the end of one
 * is never the beginning of the next. */
#define PAGE        ((size_t)4096)
#define RANGE_LEAST ((size_t)1 << 36)
#define SPANS_FIRST 64

enum emac_status cl_memory_open(struct cl *cl, struct emac_err *err)
{
    static const uint32_t none[1] = {0};
    enum emac_status st;
    size_t bytes =
        cl->limits.global_bytes > RANGE_LEAST / 4 ? cl->limits.global_bytes * 4 : RANGE_LEAST;
    EMAC_TRY(st, os_range_reserve(bytes, &cl->range, err));
    cl->range_bytes = bytes;
    for (uint32_t i = 0; i < CL_SLOTS; i++)
        EMAC_TRY(st, emac_alloc_aligned(&cl->slot[i].data, CL_SLOT_BYTES, err));
    EMAC_TRY(st, cl_memory_alloc(cl, sizeof *cl->fault, (void **)&cl->fault, err));
    st = cl_memory_write(cl, cl->fault, none, sizeof none, err);
out:
    return st;
}

void cl_memory_close(struct cl *cl)
{
    for (uint32_t i = 0; i < CL_SLOTS; i++) {
        if (cl->slot[i].done != NULL)
            cl->api.clReleaseEvent(cl->slot[i].done);
        free(cl->slot[i].data);
    }
    for (size_t i = 0; i < cl->spans; i++)
        cl->api.clReleaseMemObject(cl->span[i].mem);
    free(cl->span);
    if (cl->range != NULL)
        os_range_release(cl->range, cl->range_bytes);
}

/* ---- the map ---- */

/* The number of spans that begin at or below `at`. */
static size_t spans_until(const struct cl *cl, uintptr_t at)
{
    size_t lo = 0, hi = cl->spans;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (cl->span[mid].at <= at)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

cl_mem cl_memory_find(const struct cl *cl, const void *ptr, size_t n, size_t *offset)
{
    uintptr_t at = (uintptr_t)ptr;
    size_t i = spans_until(cl, at);
    EMAC_ASSERT(i > 0);
    const struct cl_span *s = &cl->span[i - 1];
    *offset = at - s->at;
    EMAC_ASSERT(*offset <= s->bytes && n <= s->bytes - *offset);
    return s->mem;
}

static size_t pages(size_t bytes)
{
    return (bytes + PAGE - 1) / PAGE * PAGE + PAGE;
}

/* The first gap of `bytes` bytes: where, and before which span. The range is several times the
 * memory, so one is missing only when it is crumbled. */
static bool gap_find(const struct cl *cl, size_t bytes, uintptr_t *at, size_t *place)
{
    uintptr_t free_from = (uintptr_t)cl->range, end = free_from + cl->range_bytes;
    for (size_t i = 0; i <= cl->spans; i++) {
        uintptr_t until = i < cl->spans ? cl->span[i].at : end;
        if (until - free_from >= bytes) {
            *at = free_from;
            *place = i;
            return true;
        }
        if (i < cl->spans)
            free_from = until + pages(cl->span[i].bytes);
    }
    return false;
}

static enum emac_status span_add(struct cl *cl, size_t bytes, cl_mem mem, void **out,
                                 struct emac_err *err)
{
    uintptr_t at;
    size_t place;
    if (cl->spans == cl->spans_cap) {
        size_t cap = cl->spans_cap ? 2 * cl->spans_cap : SPANS_FIRST;
        struct cl_span *more;
        if (emac_alloc(&more, cap, sizeof *more, err) != EMAC_OK)
            return EMAC_NO_MEMORY;
        if (cl->spans)
            memcpy(more, cl->span, cl->spans * sizeof *more);
        free(cl->span);
        cl->span = more;
        cl->spans_cap = cap;
    }
    if (!gap_find(cl, pages(bytes), &at, &place))
        return emac_fail(err, EMAC_NO_MEMORY, "no addresses left for %zu bytes on '%s'", bytes,
                         cl->device.name);
    memmove(&cl->span[place + 1], &cl->span[place], (cl->spans - place) * sizeof *cl->span);
    cl->span[place] = (struct cl_span){at, bytes, mem};
    cl->spans++;
    *out = (void *)at;
    return EMAC_OK;
}

enum emac_status cl_memory_alloc(struct cl *cl, size_t bytes, void **out, struct emac_err *err)
{
    const struct device_memory *m = &cl->device.memory;
    cl_int code = CL_SUCCESS;
    cl_mem mem;
    enum emac_status st = cl_alive(cl, err);
    if (st != EMAC_OK)
        return st;
    bytes = bytes ? bytes : 1;
    if (m->used > m->total || bytes > m->total - m->used)
        return device_no_memory(&cl->device, bytes, err);
    mem = cl->api.clCreateBuffer(cl->context, CL_MEM_READ_WRITE, bytes, NULL, &code);
    if (code == CL_INVALID_BUFFER_SIZE || code == CL_MEM_OBJECT_ALLOCATION_FAILURE)
        return device_no_memory(&cl->device, bytes, err);
    if (code != CL_SUCCESS)
        return cl_fail(cl, code, "allocate memory for", "a tensor", err);
    st = span_add(cl, bytes, mem, out, err);
    if (st != EMAC_OK) {
        cl->api.clReleaseMemObject(mem);
        return st;
    }
    device_memory_count(&cl->device, bytes);
    return EMAC_OK;
}

/* The driver keeps the buffer until what was queued before has ended. */
void cl_memory_free(struct cl *cl, void *ptr)
{
    size_t i = spans_until(cl, (uintptr_t)ptr);
    if (ptr == NULL)
        return;
    EMAC_ASSERT(i > 0 && cl->span[i - 1].at == (uintptr_t)ptr);
    cl->api.clReleaseMemObject(cl->span[i - 1].mem);
    cl->device.memory.used -= cl->span[i - 1].bytes;
    cl->spans--;
    memmove(&cl->span[i - 1], &cl->span[i], (cl->spans - (i - 1)) * sizeof *cl->span);
}

enum emac_status cl_scratch(struct cl *cl, size_t bytes, void **out, struct emac_err *err)
{
    if (bytes > cl->scratch_bytes) {
        enum emac_status st;
        cl_memory_free(cl, cl->scratch);
        cl->scratch = NULL;
        cl->scratch_bytes = 0;
        st = cl_memory_alloc(cl, bytes, &cl->scratch, err);
        if (st != EMAC_OK)
            return st;
        cl->scratch_bytes = bytes;
    }
    *out = cl->scratch;
    return EMAC_OK;
}

/* ---- the bus ---- */

/* A slot whose last write has ended. */
static enum emac_status slot_get(struct cl *cl, struct cl_slot **out, struct emac_err *err)
{
    struct cl_slot *s = &cl->slot[cl->slot_next];
    cl->slot_next = (cl->slot_next + 1) % CL_SLOTS;
    if (s->done != NULL) {
        cl_int code = cl->api.clWaitForEvents(1, &s->done);
        cl->api.clReleaseEvent(s->done);
        s->done = NULL;
        if (code != CL_SUCCESS)
            return cl_fail(cl, code, "write to", "a tensor", err);
    }
    *out = s;
    return EMAC_OK;
}

enum emac_status cl_memory_write(struct cl *cl, void *dst, const void *src, size_t n,
                                 struct emac_err *err)
{
    size_t at;
    cl_int code;
    enum emac_status st = cl_alive(cl, err);
    if (st != EMAC_OK || n == 0)
        return st;
    cl_mem mem = cl_memory_find(cl, dst, n, &at);
    if (n <= CL_SLOT_BYTES) {
        struct cl_slot *s = NULL;
        EMAC_TRY(st, slot_get(cl, &s, err));
        memcpy(s->data, src, n);
        code = cl->api.clEnqueueWriteBuffer(cl->queue, mem, CL_FALSE, at, n, s->data, 0, NULL,
                                            &s->done);
    } else {
        code = cl->api.clEnqueueWriteBuffer(cl->queue, mem, CL_TRUE, at, n, src, 0, NULL, NULL);
    }
    if (code != CL_SUCCESS)
        return cl_fail(cl, code, "write to", "a tensor", err);
    cl->device.memory.written += n;
out:
    return st;
}

/* Wait for the queue, and look whether a kernel found its data wrong. */
enum emac_status cl_memory_finish(struct cl *cl, struct emac_err *err)
{
    uint32_t fault = 0;
    size_t at;
    enum emac_status st = cl_alive(cl, err);
    if (st != EMAC_OK)
        return st;
    cl_mem mem = cl_memory_find(cl, cl->fault, sizeof fault, &at);
    cl_int code = cl->api.clEnqueueReadBuffer(cl->queue, mem, CL_TRUE, at, sizeof fault, &fault, 0,
                                              NULL, NULL);
    cl->unflushed = 0;
    if (code != CL_SUCCESS)
        return cl_fail(cl, code, "finish", "what was queued", err);
    if (fault == 0)
        return EMAC_OK;
    fault = 0;
    st = cl_memory_write(cl, cl->fault, &fault, sizeof fault, err);
    return st != EMAC_OK ? st
                         : emac_fail(err, EMAC_INVALID,
                                     "an id is outside the table that it picks from; the data do "
                                     "not fit the vocabulary");
}

enum emac_status cl_memory_read(struct cl *cl, void *dst, const void *src, size_t n,
                                struct emac_err *err)
{
    size_t at;
    enum emac_status st = cl_alive(cl, err);
    if (st != EMAC_OK || n == 0)
        return st;
    cl_mem mem = cl_memory_find(cl, src, n, &at);
    cl_int code = cl->api.clEnqueueReadBuffer(cl->queue, mem, CL_TRUE, at, n, dst, 0, NULL, NULL);
    if (code != CL_SUCCESS)
        return cl_fail(cl, code, "read", "a tensor", err);
    cl->device.memory.read += n;
    return cl_memory_finish(cl, err);
}

enum emac_status cl_copy(struct cl *cl, void *dst, const void *src, size_t n, struct emac_err *err)
{
    size_t to, from;
    enum emac_status st = cl_alive(cl, err);
    if (st != EMAC_OK || n == 0 || dst == src)
        return st;
    cl_mem d = cl_memory_find(cl, dst, n, &to), s = cl_memory_find(cl, src, n, &from);
    cl_int code = cl->api.clEnqueueCopyBuffer(cl->queue, s, d, from, to, n, 0, NULL, NULL);
    return code == CL_SUCCESS ? EMAC_OK : cl_fail(cl, code, "copy", "a tensor", err);
}

/* ---- views ---- */

enum emac_status cl_memory_view(struct cl *cl, const void *src, size_t n, struct device_view *out,
                                struct emac_err *err)
{
    enum emac_status st = cl_memory_finish(cl, err);
    if (st == EMAC_OK)
        out->memory = cl_memory_find(cl, src, n, &out->at);
    return st;
}

enum emac_status cl_view_read(const struct device_view *v, void *dst, struct emac_err *err)
{
    const struct cl *cl = (const struct cl *)v->dev;
    cl_int code = cl->api.clEnqueueReadBuffer(cl->views, v->memory, CL_TRUE, v->at, v->bytes, dst,
                                              0, NULL, NULL);
    if (code == CL_SUCCESS)
        return EMAC_OK;
    return emac_fail(err, cl_is_memory(code) ? EMAC_NO_MEMORY : EMAC_UNAVAILABLE,
                     "device '%s' cannot read a result: %s", cl->device.name, cl_error_name(code));
}

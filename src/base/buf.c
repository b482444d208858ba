#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/checked.h"

void emac_buf_init(struct emac_buf *buf, size_t max)
{
    EMAC_ASSERT(max < SIZE_MAX);
    *buf = (struct emac_buf){.max = max};
}

void emac_buf_release(struct emac_buf *buf)
{
    free(buf->data);
    buf->data = NULL;
    buf->len = 0;
    buf->cap = 0;
}

void emac_buf_clear(struct emac_buf *buf)
{
    buf->len = 0;
    if (buf->data != NULL)
        buf->data[0] = 0;
}

#define LARGE_PAGE ((size_t)2 << 20)
#define PAGE       ((size_t)4096)

/* Memory of many pages is asked for in large ones where the system has them: walks through tensors
 * spend up to a quarter of their time on the translation of addresses. Only a wish. It is for whole
 * mappings, the page of malloc's own words with them, because realloc moves none that is in parts.
 */
static void prefer_large_pages(void *p, size_t bytes)
{
#ifdef MADV_HUGEPAGE
    size_t before = (uintptr_t)p % PAGE;
    if (bytes >= 2 * LARGE_PAGE)
        madvise((uint8_t *)p - before, bytes + before, MADV_HUGEPAGE);
#endif
}

/* Double, so that appending is linear in total, but never pass the maximum. */
static size_t grown_cap(const struct emac_buf *buf, size_t need)
{
    size_t cap = buf->cap < 64 ? 64 : buf->cap;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    return cap > buf->max ? buf->max : cap;
}

enum emac_status emac_buf_reserve(struct emac_buf *buf, size_t extra, struct emac_err *err)
{
    size_t need;
    if (!emac_add_size(buf->len, extra, &need) || need > buf->max)
        return emac_fail(err, EMAC_TOO_LARGE, "%zu more bytes do not fit a buffer of at most %zu",
                         extra, buf->max);
    if (need <= buf->cap && buf->data != NULL)
        return EMAC_OK;
    size_t cap = grown_cap(buf, need);
    EMAC_ASSERT(cap >= need && cap <= buf->max);
    uint8_t *data = realloc(buf->data, cap + 1); /* + the NUL that always follows */
    if (data == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory for a buffer of %zu bytes", cap);
    prefer_large_pages(data, cap + 1);
    data[buf->len] = 0;
    buf->data = data;
    buf->cap = cap;
    return EMAC_OK;
}

enum emac_status emac_buf_append(struct emac_buf *buf, const void *data, size_t len,
                                 struct emac_err *err)
{
    enum emac_status st = emac_buf_reserve(buf, len, err);
    if (st != EMAC_OK)
        return st;
    if (len > 0)
        memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    buf->data[buf->len] = 0;
    return EMAC_OK;
}

enum emac_status emac_buf_printf(struct emac_buf *buf, struct emac_err *err, const char *fmt, ...)
{
    /* Mostly it fits what is there. */
    size_t room = buf->data != NULL ? buf->cap - buf->len : 0;
    va_list ap;
    va_start(ap, fmt);
    int n =
        vsnprintf(room > 0 ? (char *)buf->data + buf->len : NULL, room > 0 ? room + 1 : 0, fmt, ap);
    va_end(ap);
    if (n >= 0 && room > 0 && (size_t)n <= room) {
        buf->len += (size_t)n;
        return EMAC_OK;
    }
    if (room > 0)
        buf->data[buf->len] = 0; /* what did not fit was cut */
    if (n < 0)
        return emac_fail(err, EMAC_INTERNAL, "cannot format '%s'", fmt);
    enum emac_status st = emac_buf_reserve(buf, (size_t)n, err);
    if (st != EMAC_OK)
        return st;
    va_start(ap, fmt);
    int again = vsnprintf((char *)buf->data + buf->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    EMAC_ASSERT(again == n);
    buf->len += (size_t)n;
    return EMAC_OK;
}

const char *emac_buf_str(const struct emac_buf *buf)
{
    return buf->data != NULL ? (const char *)buf->data : "";
}

struct emac_slice emac_buf_slice(const struct emac_buf *buf)
{
    return (struct emac_slice){buf->data, buf->len};
}

uint8_t *emac_buf_steal(struct emac_buf *buf, size_t *len)
{
    uint8_t *data = buf->data;
    if (len != NULL)
        *len = buf->len;
    *buf = (struct emac_buf){.max = buf->max};
    return data;
}

/* out_ptr is the address of a pointer of any type; memcpy stores without breaking aliasing. */
enum emac_status emac_alloc(void *out_ptr, size_t count, size_t size, struct emac_err *err)
{
    void *p = NULL;
    memcpy(out_ptr, &p, sizeof p);
    size_t bytes;
    if (!emac_mul_size(count, size, &bytes))
        return emac_fail(err, EMAC_NO_MEMORY, "cannot allocate %zu pieces of %zu bytes", count,
                         size);
    p = calloc(1, bytes == 0 ? 1 : bytes);
    if (p == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory for %zu bytes", bytes);
    memcpy(out_ptr, &p, sizeof p);
    return EMAC_OK;
}

#define LIST_FIRST 16

enum emac_status emac_grow(void *array_ptr, size_t count, size_t *cap, size_t size,
                           struct emac_err *err)
{
    if (count < *cap)
        return EMAC_OK;
    size_t bytes, grown = *cap == 0 ? LIST_FIRST : *cap * 2;
    void *old, *p = NULL;
    memcpy(&old, array_ptr, sizeof old);
    if (grown > *cap && emac_mul_size(grown, size, &bytes))
        p = realloc(old, bytes);
    if (p == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory for a list of %zu times %zu bytes",
                         grown, size);
    memcpy(array_ptr, &p, sizeof p);
    *cap = grown;
    return EMAC_OK;
}

enum emac_status emac_alloc_aligned(void *out_ptr, size_t bytes, struct emac_err *err)
{
    void *p = NULL;
    memcpy(out_ptr, &p, sizeof p);
    size_t align = bytes >= 2 * LARGE_PAGE ? LARGE_PAGE : 64, padded;
    if (emac_add_size(bytes == 0 ? 1 : bytes, align - 1, &padded))
        p = aligned_alloc(align, padded & ~(align - 1));
    if (p == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory for %zu bytes", bytes);
    prefer_large_pages(p, padded & ~(align - 1));
    memcpy(out_ptr, &p, sizeof p);
    return EMAC_OK;
}

char *emac_strdup(const char *s)
{
    return emac_strndup(s, strlen(s));
}

char *emac_strndup(const char *s, size_t n)
{
    char *p = strndup(s, n);
    EMAC_ASSERT(p != NULL);
    return p;
}

char *emac_asprintf(const char *fmt, ...)
{
    va_list ap;
    char *p = NULL;
    va_start(ap, fmt);
    int n = vasprintf(&p, fmt, ap);
    va_end(ap);
    EMAC_ASSERT(n >= 0 && p != NULL);
    return p;
}

bool emac_strcpy(char *dst, size_t cap, const char *src)
{
    EMAC_ASSERT(cap > 0);
    size_t n = strnlen(src, cap);
    bool fits = n < cap;
    if (!fits)
        n = cap - 1;
    memcpy(dst, src, n);
    dst[n] = '\0';
    return fits;
}

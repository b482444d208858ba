/* Bounded growing byte buffer, and a borrowed view of bytes.
 *
 * Invariants: len <= cap <= max; data is NULL only while cap is 0; one NUL
 * byte always follows the contents (data[len] == 0 once anything was added),
 * not counted in len. A buffer that would pass `max` fails with TOO_LARGE and
 * keeps its contents. Life cycle: init, use, release. */
#ifndef EMAC_BASE_BUF_H
#define EMAC_BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct emac_slice {
    const uint8_t *data;
    size_t len;
};

struct emac_buf {
    uint8_t *data;
    size_t len, cap, max;
};

#define EMAC_SLICE(ptr, n)  ((struct emac_slice){(const uint8_t *)(ptr), (n)})
#define EMAC_SLICE_STR(str) EMAC_SLICE((str), strlen(str))

void emac_buf_init(struct emac_buf *buf, size_t max);
void emac_buf_release(struct emac_buf *buf);
void emac_buf_clear(struct emac_buf *buf); /* len = 0, memory kept */
enum emac_status emac_buf_reserve(struct emac_buf *buf, size_t extra, struct emac_err *err);
enum emac_status emac_buf_append(struct emac_buf *buf, const void *data, size_t len,
                                 struct emac_err *err);
enum emac_status emac_buf_printf(struct emac_buf *buf, struct emac_err *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Contents as a C string; "" when empty. */
const char *emac_buf_str(const struct emac_buf *buf);
struct emac_slice emac_buf_slice(const struct emac_buf *buf);
/* Hand the memory to the caller (free with free()); the buffer becomes empty. */
uint8_t *emac_buf_steal(struct emac_buf *buf, size_t *len);

/* malloc wrappers: NULL-checked with the sentence. Sizes are multiplied with overflow checks.
 * Memory is zeroed. Free with free(). */
enum emac_status emac_alloc(void *out_ptr, size_t count, size_t size, struct emac_err *err);
/* Room in the list *array_ptr of *cap elements for one more after the first `count`: nothing while
 * there is some, else twice as many places (16 at first), the new ones not zeroed. On failure the
 * list is as it was. */
enum emac_status emac_grow(void *array_ptr, size_t count, size_t *cap, size_t size,
                           struct emac_err *err);
/* 64-byte aligned, not zeroed; free with free(). */
enum emac_status emac_alloc_aligned(void *out_ptr, size_t bytes, struct emac_err *err);
char *emac_strdup(const char *s); /* aborts on no memory: for short strings only */
char *emac_strndup(const char *s, size_t n);
char *emac_asprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* strlcpy: copies what fits, terminates, returns false when cut. */
bool emac_strcpy(char *dst, size_t cap, const char *src);

#endif

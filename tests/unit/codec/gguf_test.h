/* Writes GGUF files for tests, in the order of the calls. */
#ifndef EMAC_TESTS_GGUF_TEST_H
#define EMAC_TESTS_GGUF_TEST_H

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "codec/gguf.h"

static inline void gguf_put(struct emac_buf *b, uint64_t v, size_t bytes)
{
    uint8_t p[8];
    for (size_t i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> 8 * i);
    if (emac_buf_append(b, p, bytes, NULL) != EMAC_OK)
        abort();
}

static inline void gguf_put_text(struct emac_buf *b, const char *text)
{
    gguf_put(b, strlen(text), 8);
    if (emac_buf_append(b, text, strlen(text), NULL) != EMAC_OK)
        abort();
}

static inline void gguf_put_head(struct emac_buf *b, uint64_t tensors, uint64_t values)
{
    if (emac_buf_append(b, "GGUF", 4, NULL) != EMAC_OK)
        abort();
    gguf_put(b, 3, 4);
    gguf_put(b, tensors, 8);
    gguf_put(b, values, 8);
}

static inline void gguf_put_u32(struct emac_buf *b, const char *key, uint32_t v)
{
    gguf_put_text(b, key);
    gguf_put(b, 4, 4);
    gguf_put(b, v, 4);
}

static inline void gguf_put_f32(struct emac_buf *b, const char *key, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    gguf_put_text(b, key);
    gguf_put(b, 6, 4);
    gguf_put(b, bits, 4);
}

static inline void gguf_put_string(struct emac_buf *b, const char *key, const char *v)
{
    gguf_put_text(b, key);
    gguf_put(b, GGUF_STRING, 4);
    gguf_put_text(b, v);
}

/* dim1 = 0: one dimension */
static inline void gguf_put_tensor(struct emac_buf *b, const char *name, uint64_t dim0,
                                   uint64_t dim1, uint32_t type, uint64_t offset)
{
    gguf_put_text(b, name);
    gguf_put(b, dim1 ? 2 : 1, 4);
    gguf_put(b, dim0, 8);
    if (dim1)
        gguf_put(b, dim1, 8);
    gguf_put(b, type, 4);
    gguf_put(b, offset, 8);
}

static inline void gguf_pad(struct emac_buf *b, size_t alignment)
{
    while (b->len % alignment != 0)
        gguf_put(b, 0, 1);
}

#endif

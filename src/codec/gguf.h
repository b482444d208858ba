/* GGUF, the file of a model that llama.cpp and its kin read (specification:
 * github.com/ggml-org/ggml, docs/gguf.md; versions 2 and 3, little-endian):
 * magic, version, counts; metadata (key, typed value); tensors (name,
 * dimensions, type, offset); then their data, aligned.
 *
 * The index borrows the file's memory. All sizes are checked against the file
 * before anything is allocated or read; keys and names are unique. Only the
 * tensor types of GGUF_TYPE_TABLE are known: others are UNSUPPORTED. */
#ifndef EMAC_CODEC_GGUF_H
#define EMAC_CODEC_GGUF_H

#include "base/buf.h"
#include "base/status.h"

#define GGUF_NAME_MAX    64
#define GGUF_RANK_MAX    4
#define GGUF_KEYS_MAX    4096
#define GGUF_TENSORS_MAX 65536

/* X(NAME, number, elements of a block, bytes of a block) */
#define GGUF_TYPE_TABLE(X)                                                                         \
    X(F32, 0, 1, 4)                                                                                \
    X(F16, 1, 1, 2)                                                                                \
    X(Q4_0, 2, 32, 18)                                                                             \
    X(Q4_1, 3, 32, 20)                                                                             \
    X(Q8_0, 8, 32, 34)                                                                             \
    X(Q6_K, 14, 256, 210)                                                                          \
    X(BF16, 30, 1, 2)

enum gguf_type {
#define X(name, number, elements, bytes) GGUF_##name = (number),
    GGUF_TYPE_TABLE(X)
#undef X
};

/* Types of values */
#define GGUF_I32    5
#define GGUF_REAL   6
#define GGUF_BOOL   7
#define GGUF_STRING 8
#define GGUF_ARRAY  9

struct gguf_text {
    const char *p; /* not terminated */
    uint64_t n;
};

struct gguf_value {
    struct gguf_text key;
    uint32_t type;       /* the format's: 0..12 */
    uint32_t element;    /* of an array: the type of its elements, as above */
    const uint8_t *data; /* of a string: its text; of an array: its first element */
    uint64_t n;          /* bytes of a string, elements of an array */
};

struct gguf_tensor {
    struct gguf_text name;
    enum gguf_type type;
    uint32_t rank;
    uint64_t dim[GGUF_RANK_MAX]; /* as stored: the first varies fastest */
    const uint8_t *data;
    uint64_t bytes;
};

struct gguf {
    size_t values, tensors;
    struct gguf_value *value; /* in order of keys */
    struct gguf_tensor *tensor;
};

enum emac_status gguf_parse(struct gguf *out, const void *data, size_t n, struct emac_err *err);
void gguf_release(struct gguf *g);

/* NULL when absent. */
const struct gguf_value *gguf_value_find(const struct gguf *g, const char *key);
const struct gguf_tensor *gguf_tensor_find(const struct gguf *g, const char *name);

/* By key. INVALID when the value has another kind, or is absent and `fallback` is NULL. */
enum emac_status gguf_u32(const struct gguf *g, const char *key, const uint32_t *fallback,
                          uint32_t *out, struct emac_err *err);
enum emac_status gguf_f32(const struct gguf *g, const char *key, const float *fallback, float *out,
                          struct emac_err *err);
bool gguf_text_is(struct gguf_text t, const char *text);
/* By key, when it is a text; the empty one when it is absent or something else. */
struct gguf_text gguf_text(const struct gguf *g, const char *key);
/* By key, an array of such elements; NULL when it is absent or something else. */
const struct gguf_value *gguf_array(const struct gguf *g, const char *key, uint32_t element);
/* The text at *at of an array of texts, and *at behind it. Call it at most as often as there are
 * elements. */
struct gguf_text gguf_array_text(const uint8_t **at);

#endif

#include "codec/gguf.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define ALIGNMENT_DEFAULT 32
#define ALIGNMENT_MAX     65536

/* Value types with a fixed size have it here; strings and arrays have 0. */
enum { VALUE_BOOL = 7, VALUE_STRING = GGUF_STRING, VALUE_ARRAY = 9, VALUE_TYPES = 13 };
static const uint8_t value_bytes[VALUE_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
#define VALUE_U32 4
#define VALUE_I32 5
#define VALUE_F32 6
#define VALUE_U64 10

static const struct {
    const char *name;
    enum gguf_type type;
    uint64_t elements, bytes;
} types[] = {
#define X(name, number, elements, bytes) {#name, GGUF_##name, elements, bytes},
    GGUF_TYPE_TABLE(X)
#undef X
};

/* Reads on; after the first failure nothing moves any more. */
struct reader {
    const uint8_t *p;
    uint64_t left;
    enum emac_status status;
    struct emac_err *err;
};

static void reader_fail(struct reader *r, const char *why)
{
    if (r->status == EMAC_OK)
        r->status = emac_fail(r->err, EMAC_CORRUPT, "the GGUF file is damaged: %s", why);
    r->left = 0;
}

static const uint8_t *take(struct reader *r, uint64_t n)
{
    const uint8_t *p = r->p;
    if (r->status != EMAC_OK || n > r->left) {
        reader_fail(r, "it ends too early");
        return NULL;
    }
    r->p += n;
    r->left -= n;
    return p;
}

static uint64_t number(const uint8_t *p, uint32_t bytes)
{
    uint64_t v = 0;
    for (uint32_t i = 0; i < bytes; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}

static uint64_t take_number(struct reader *r, uint32_t bytes)
{
    const uint8_t *p = take(r, bytes);
    return p ? number(p, bytes) : 0;
}

static struct gguf_text take_text(struct reader *r)
{
    struct gguf_text t = {NULL, take_number(r, 8)};
    t.p = (const char *)take(r, t.n);
    if (t.p == NULL)
        t.n = 0;
    return t;
}

/* `n` times at least `least` bytes must still be there: bounds what a count may allocate. */
static uint64_t take_count(struct reader *r, uint64_t least, uint64_t max, const char *why)
{
    uint64_t n = take_number(r, 8);
    if (n <= max && n <= r->left / least)
        return n;
    reader_fail(r, why);
    return 0;
}

static void take_array(struct reader *r, struct gguf_value *v)
{
    uint64_t type = take_number(r, 4);
    if (type >= VALUE_TYPES || type == VALUE_ARRAY) {
        reader_fail(r, "an array of an unknown type");
        return;
    }
    v->n = take_count(r, type == VALUE_STRING ? 8 : value_bytes[type], UINT64_MAX,
                      "an array is longer than the file");
    v->data = r->p;
    v->element = (uint32_t)type;
    if (type != VALUE_STRING)
        take(r, v->n * value_bytes[type]);
    for (uint64_t i = 0; type == VALUE_STRING && i < v->n && r->status == EMAC_OK; i++)
        take_text(r);
}

static void take_value(struct reader *r, struct gguf_value *v)
{
    v->key = take_text(r);
    v->type = (uint32_t)take_number(r, 4);
    if (v->type == VALUE_STRING) {
        struct gguf_text t = take_text(r);
        v->data = (const uint8_t *)t.p;
        v->n = t.n;
    } else if (v->type == VALUE_ARRAY) {
        take_array(r, v);
    } else if (v->type < VALUE_TYPES) {
        v->data = take(r, value_bytes[v->type]);
    } else {
        reader_fail(r, "a metadata value of an unknown type");
    }
}

/* Bytes of a tensor by its type; false when they cannot be counted. */
static bool tensor_bytes(const struct gguf_tensor *t, uint64_t elements, uint64_t bytes,
                         uint64_t *out)
{
    uint64_t count = t->dim[0] / elements;
    if (t->dim[0] == 0 || t->dim[0] % elements != 0)
        return false;
    for (uint32_t i = 1; i < t->rank; i++)
        if (t->dim[i] == 0 || __builtin_mul_overflow(count, t->dim[i], &count))
            return false;
    return !__builtin_mul_overflow(count, bytes, out);
}

/* The data's place is kept as a number at `bytes` until the data's start is known. */
static void take_tensor(struct reader *r, struct gguf_tensor *t, uint64_t *offset)
{
    uint32_t type;
    size_t i = 0;
    t->name = take_text(r);
    t->rank = (uint32_t)take_number(r, 4);
    if (t->name.n > GGUF_NAME_MAX || t->rank < 1 || t->rank > GGUF_RANK_MAX) {
        reader_fail(r, "a tensor's name or number of dimensions is over the limit");
        return;
    }
    for (uint32_t d = 0; d < t->rank; d++)
        t->dim[d] = take_number(r, 8);
    type = (uint32_t)take_number(r, 4);
    *offset = take_number(r, 8);
    while (i < EMAC_COUNT(types) && (uint32_t)types[i].type != type)
        i++;
    if (r->status == EMAC_OK && i == EMAC_COUNT(types))
        r->status = emac_fail(r->err, EMAC_UNSUPPORTED,
                              "tensor '%.*s' has type %u; known are F32, F16, BF16, Q4_0, Q4_1, "
                              "Q8_0, Q6_K",
                              (int)t->name.n, t->name.p ? t->name.p : "", type);
    if (r->status != EMAC_OK)
        return;
    t->type = types[i].type;
    if (!tensor_bytes(t, types[i].elements, types[i].bytes, &t->bytes))
        reader_fail(r, "a tensor's dimensions do not fit its type");
}

/* Text before text, by bytes; a prefix first. */
static int text_order(struct gguf_text a, struct gguf_text b)
{
    uint64_t n = a.n < b.n ? a.n : b.n;
    int order = n ? memcmp(a.p, b.p, n) : 0;
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

static int value_order(const void *a, const void *b)
{
    return text_order(((const struct gguf_value *)a)->key, ((const struct gguf_value *)b)->key);
}

static int tensor_order(const void *a, const void *b)
{
    return text_order(((const struct gguf_tensor *)a)->name, ((const struct gguf_tensor *)b)->name);
}

static enum emac_status values_read(struct gguf *g, struct reader *r)
{
    enum emac_status st = emac_alloc(&g->value, g->values, sizeof *g->value, r->err);
    if (st != EMAC_OK)
        return st;
    for (size_t i = 0; i < g->values && r->status == EMAC_OK; i++)
        take_value(r, &g->value[i]);
    if (r->status != EMAC_OK)
        return r->status;
    qsort(g->value, g->values, sizeof *g->value, value_order);
    for (size_t i = 1; i < g->values; i++)
        if (value_order(&g->value[i - 1], &g->value[i]) == 0)
            reader_fail(r, "a metadata key occurs twice");
    return r->status;
}

/* From offsets to addresses. `start` is the file, `read` what lies before the padding. */
static enum emac_status tensors_place(struct gguf *g, const uint64_t *offset, const uint8_t *start,
                                      size_t n, uint64_t alignment, struct reader *r)
{
    uint64_t at = (uint64_t)(r->p - start), pad = (alignment - at % alignment) % alignment;
    if (pad > r->left && g->tensors > 0)
        reader_fail(r, "it ends too early");
    for (size_t i = 0; i < g->tensors && r->status == EMAC_OK; i++) {
        struct gguf_tensor *t = &g->tensor[i];
        uint64_t room = n - at - pad;
        if (offset[i] % alignment != 0 || offset[i] > room || t->bytes > room - offset[i])
            reader_fail(r, "a tensor lies outside of it");
        else
            t->data = start + at + pad + offset[i];
    }
    if (r->status != EMAC_OK)
        return r->status;
    qsort(g->tensor, g->tensors, sizeof *g->tensor, tensor_order);
    for (size_t i = 1; i < g->tensors; i++)
        if (tensor_order(&g->tensor[i - 1], &g->tensor[i]) == 0)
            reader_fail(r, "a tensor's name occurs twice");
    return r->status;
}

static enum emac_status tensors_read(struct gguf *g, const uint8_t *start, size_t n,
                                     struct reader *r)
{
    static const uint32_t usual = ALIGNMENT_DEFAULT;
    uint64_t *offset = NULL;
    uint32_t alignment;
    enum emac_status st;
    EMAC_TRY(st, emac_alloc(&g->tensor, g->tensors, sizeof *g->tensor, r->err));
    EMAC_TRY(st, emac_alloc(&offset, g->tensors, sizeof *offset, r->err));
    EMAC_TRY(st, gguf_u32(g, "general.alignment", &usual, &alignment, r->err));
    if (alignment == 0 || alignment > ALIGNMENT_MAX || (alignment & (alignment - 1)) != 0)
        reader_fail(r, "its alignment is no power of 2 up to 65536");
    for (size_t i = 0; i < g->tensors && r->status == EMAC_OK; i++)
        take_tensor(r, &g->tensor[i], &offset[i]);
    EMAC_TRY(st, r->status);
    st = tensors_place(g, offset, start, n, alignment, r);
out:
    free(offset);
    return st;
}

enum emac_status gguf_parse(struct gguf *out, const void *data, size_t n, struct emac_err *err)
{
    struct reader r = {data, n, EMAC_OK, err};
    uint64_t version;
    enum emac_status st;
    *out = (struct gguf){0};
    if (n < 8 || memcmp(data, "GGUF", 4) != 0)
        return emac_fail(err, EMAC_INVALID, "this is not a GGUF file");
    take(&r, 4);
    version = take_number(&r, 4);
    if (version != 2 && version != 3)
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "the GGUF file has version %llu; 2 and 3, little-endian, can be read",
                         (unsigned long long)version);
    out->tensors =
        take_count(&r, 8 + 4 + 8 + 4 + 8, GGUF_TENSORS_MAX, "it counts too many tensors");
    out->values = take_count(&r, 8 + 4 + 1, GGUF_KEYS_MAX, "it counts too many metadata keys");
    EMAC_TRY(st, r.status);
    EMAC_TRY(st, values_read(out, &r));
    st = tensors_read(out, data, n, &r);
out:
    if (st != EMAC_OK)
        gguf_release(out);
    return st;
}

void gguf_release(struct gguf *g)
{
    free(g->value);
    free(g->tensor);
    *g = (struct gguf){0};
}

bool gguf_text_is(struct gguf_text t, const char *text)
{
    return t.n == strlen(text) && memcmp(t.p, text, t.n) == 0;
}

const struct gguf_value *gguf_value_find(const struct gguf *g, const char *key)
{
    const struct gguf_value want = {.key = {key, strlen(key)}};
    return g->values ? bsearch(&want, g->value, g->values, sizeof want, value_order) : NULL;
}

const struct gguf_tensor *gguf_tensor_find(const struct gguf *g, const char *name)
{
    const struct gguf_tensor want = {.name = {name, strlen(name)}};
    return g->tensors ? bsearch(&want, g->tensor, g->tensors, sizeof want, tensor_order) : NULL;
}

static enum emac_status no_number(const char *key, struct emac_err *err)
{
    return emac_fail(err, EMAC_INVALID, "'%s' in the GGUF file is missing or no number that fits",
                     key);
}

enum emac_status gguf_u32(const struct gguf *g, const char *key, const uint32_t *fallback,
                          uint32_t *out, struct emac_err *err)
{
    const struct gguf_value *v = gguf_value_find(g, key);
    uint64_t n;
    if (v == NULL && fallback != NULL) {
        *out = *fallback;
        return EMAC_OK;
    }
    if (v == NULL || (v->type != VALUE_U32 && v->type != VALUE_I32 && v->type != VALUE_U64))
        return no_number(key, err);
    n = number(v->data, value_bytes[v->type]);
    if (n > (v->type == VALUE_I32 ? (uint64_t)INT32_MAX : UINT32_MAX))
        return no_number(key, err);
    *out = (uint32_t)n;
    return EMAC_OK;
}

enum emac_status gguf_f32(const struct gguf *g, const char *key, const float *fallback, float *out,
                          struct emac_err *err)
{
    const struct gguf_value *v = gguf_value_find(g, key);
    uint32_t bits;
    if (v == NULL && fallback != NULL) {
        *out = *fallback;
        return EMAC_OK;
    }
    if (v == NULL || v->type != VALUE_F32)
        return no_number(key, err);
    bits = (uint32_t)number(v->data, 4);
    memcpy(out, &bits, sizeof bits);
    return EMAC_OK;
}

struct gguf_text gguf_text(const struct gguf *g, const char *key)
{
    const struct gguf_value *v = gguf_value_find(g, key);

    return v != NULL && v->type == GGUF_STRING ? (struct gguf_text){(const char *)v->data, v->n}
                                               : (struct gguf_text){"", 0};
}

const struct gguf_value *gguf_array(const struct gguf *g, const char *key, uint32_t element)
{
    const struct gguf_value *v = gguf_value_find(g, key);

    return v != NULL && v->type == GGUF_ARRAY && v->element == element ? v : NULL;
}

struct gguf_text gguf_array_text(const uint8_t **at)
{
    struct gguf_text t = {(const char *)*at + 8, 0};

    for (int i = 7; i >= 0; i--)
        t.n = t.n << 8 | (*at)[i];
    *at += 8 + t.n;
    return t;
}

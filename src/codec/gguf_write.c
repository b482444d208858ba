#include "codec/gguf_write.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define VERSION  3
#define HEAD_MAX ((size_t)1 << 30)
#define TYPE_U32 4

struct gguf_planned {
    char name[GGUF_NAME_MAX];
    enum gguf_type type;
    uint32_t rank;
    uint64_t dim[GGUF_RANK_MAX];
    uint64_t bytes, offset;
};

static const struct {
    enum gguf_type type;
    uint64_t elements, bytes;
} types[] = {
#define X(name, number, elements, bytes) {GGUF_##name, elements, bytes},
    GGUF_TYPE_TABLE(X)
#undef X
};

static uint64_t padding(uint64_t n)
{
    return (GGUF_ALIGNMENT - n % GGUF_ALIGNMENT) % GGUF_ALIGNMENT;
}

/* ---- little-endian ---- */

static enum emac_status put(struct emac_buf *out, uint64_t v, size_t bytes, struct emac_err *err)
{
    uint8_t b[8];
    for (size_t i = 0; i < bytes; i++)
        b[i] = (uint8_t)(v >> 8 * i);
    return emac_buf_append(out, b, bytes, err);
}

static enum emac_status put_text(struct emac_buf *out, struct emac_slice t, struct emac_err *err)
{
    enum emac_status st = put(out, t.len, 8, err);
    return st == EMAC_OK ? emac_buf_append(out, t.data, t.len, err) : st;
}

/* ---- life ---- */

void gguf_writer_init(struct gguf_writer *w)
{
    *w = (struct gguf_writer){0};
    emac_buf_init(&w->head, HEAD_MAX);
}

void gguf_writer_release(struct gguf_writer *w)
{
    emac_buf_release(&w->head);
    free(w->tensor);
    *w = (struct gguf_writer){0};
}

/* ---- values ---- */

/* Is the text at `at` of the head, behind its length, this one? */
static bool text_at(const struct emac_buf *head, size_t at, struct emac_slice t)
{
    const uint8_t *p = head->data + at;
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--)
        n = n << 8 | p[i];
    return n == t.len && memcmp(p + 8, t.data, t.len) == 0;
}

static enum emac_status value_begin(struct gguf_writer *w, const char *key, uint32_t type,
                                    struct emac_err *err)
{
    struct emac_slice text = EMAC_SLICE_STR(key);
    EMAC_ASSERT(w->array_left == 0 && text.len > 0 && w->values < GGUF_WRITTEN_MAX);
    for (size_t i = 0; i < w->values; i++)
        EMAC_ASSERT(!text_at(&w->head, w->key_at[i], text));
    w->key_at[w->values++] = w->head.len;
    enum emac_status st = put_text(&w->head, text, err);
    return st == EMAC_OK ? put(&w->head, type, 4, err) : st;
}

enum emac_status gguf_add_u32(struct gguf_writer *w, const char *key, uint32_t v,
                              struct emac_err *err)
{
    enum emac_status st = value_begin(w, key, TYPE_U32, err);
    return st == EMAC_OK ? put(&w->head, v, 4, err) : st;
}

enum emac_status gguf_add_f32(struct gguf_writer *w, const char *key, float v, struct emac_err *err)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    enum emac_status st = value_begin(w, key, GGUF_REAL, err);
    return st == EMAC_OK ? put(&w->head, bits, 4, err) : st;
}

enum emac_status gguf_add_bool(struct gguf_writer *w, const char *key, bool v, struct emac_err *err)
{
    enum emac_status st = value_begin(w, key, GGUF_BOOL, err);
    return st == EMAC_OK ? put(&w->head, v, 1, err) : st;
}

enum emac_status gguf_add_text(struct gguf_writer *w, const char *key, struct emac_slice v,
                               struct emac_err *err)
{
    enum emac_status st = value_begin(w, key, GGUF_STRING, err);
    return st == EMAC_OK ? put_text(&w->head, v, err) : st;
}

static enum emac_status array_begin(struct gguf_writer *w, const char *key, uint32_t element,
                                    uint64_t n, struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, value_begin(w, key, GGUF_ARRAY, err));
    EMAC_TRY(st, put(&w->head, element, 4, err));
    st = put(&w->head, n, 8, err);
out:
    return st;
}

enum emac_status gguf_add_words(struct gguf_writer *w, const char *key, uint32_t element,
                                const void *v, size_t n, struct emac_err *err)
{
    EMAC_ASSERT(element == GGUF_I32 || element == GGUF_REAL);
    enum emac_status st = array_begin(w, key, element, n, err);
    for (size_t i = 0; i < n && st == EMAC_OK; i++) {
        uint32_t bits;
        memcpy(&bits, (const uint8_t *)v + 4 * i, sizeof bits);
        st = put(&w->head, bits, 4, err);
    }
    return st;
}

enum emac_status gguf_add_texts(struct gguf_writer *w, const char *key, uint64_t n,
                                struct emac_err *err)
{
    enum emac_status st = array_begin(w, key, GGUF_STRING, n, err);
    w->array_left = n;
    return st;
}

enum emac_status gguf_add_element(struct gguf_writer *w, struct emac_slice v, struct emac_err *err)
{
    EMAC_ASSERT(w->array_left > 0);
    w->array_left--;
    return put_text(&w->head, v, err);
}

/* ---- tensors ---- */

bool gguf_row_bytes(enum gguf_type type, uint64_t n, uint64_t *bytes)
{
    size_t i = 0;
    while (i < EMAC_COUNT(types) && types[i].type != type)
        i++;
    EMAC_ASSERT(i < EMAC_COUNT(types));
    return n > 0 && n % types[i].elements == 0 &&
           !__builtin_mul_overflow(n / types[i].elements, types[i].bytes, bytes);
}

enum emac_status gguf_add_tensor(struct gguf_writer *w, const char *name, enum gguf_type type,
                                 uint32_t rank, const uint64_t *dim, struct emac_err *err)
{
    struct gguf_planned t = {.type = type, .rank = rank};
    const struct gguf_planned *last = w->tensors > 0 ? &w->tensor[w->tensors - 1] : NULL;
    EMAC_ASSERT(rank >= 1 && rank <= GGUF_RANK_MAX);
    if (!emac_strcpy(t.name, sizeof t.name, name))
        return emac_fail(err, EMAC_INVALID, "the tensor name '%s' has over %d bytes", name,
                         GGUF_NAME_MAX - 1);
    for (size_t i = 0; i < w->tensors; i++)
        if (strcmp(w->tensor[i].name, name) == 0)
            return emac_fail(err, EMAC_INVALID, "the tensor '%s' is there twice", name);
    bool fits = gguf_row_bytes(type, dim[0], &t.bytes);
    t.dim[0] = dim[0];
    for (uint32_t d = 1; fits && d < rank; d++) {
        t.dim[d] = dim[d];
        fits = dim[d] > 0 && !__builtin_mul_overflow(t.bytes, dim[d], &t.bytes);
    }
    if (last != NULL)
        t.offset = last->offset + last->bytes + padding(last->bytes);
    if (!fits || t.bytes > (uint64_t)INT64_MAX - t.offset)
        return emac_fail(err, EMAC_INVALID, "the dimensions of tensor '%s' do not fit its type",
                         name);
    enum emac_status st = emac_grow(&w->tensor, w->tensors, &w->room, sizeof *w->tensor, err);
    if (st == EMAC_OK)
        w->tensor[w->tensors++] = t;
    return st;
}

static enum emac_status tensor_put(const struct gguf_planned *t, struct emac_buf *out,
                                   struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, put_text(out, EMAC_SLICE_STR(t->name), err));
    EMAC_TRY(st, put(out, t->rank, 4, err));
    for (uint32_t d = 0; d < t->rank; d++)
        EMAC_TRY(st, put(out, t->dim[d], 8, err));
    EMAC_TRY(st, put(out, t->type, 4, err));
    st = put(out, t->offset, 8, err);
out:
    return st;
}

/* ---- the file ---- */

static const uint8_t zeros[GGUF_ALIGNMENT];

/* What is before the values, and what is behind them, up to the first tensor's data. */
static enum emac_status head_ends(const struct gguf_writer *w, struct emac_buf *first,
                                  struct emac_buf *last, struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, emac_buf_append(first, "GGUF", 4, err));
    EMAC_TRY(st, put(first, VERSION, 4, err));
    EMAC_TRY(st, put(first, w->tensors, 8, err));
    EMAC_TRY(st, put(first, w->values, 8, err));
    for (size_t i = 0; i < w->tensors; i++)
        EMAC_TRY(st, tensor_put(&w->tensor[i], last, err));
    st = emac_buf_append(last, zeros, padding(first->len + w->head.len + last->len), err);
out:
    return st;
}

enum emac_status gguf_write_begin(struct gguf_writer *w, struct gguf_sink sink,
                                  struct emac_err *err)
{
    struct emac_buf first, last;
    enum emac_status st;
    EMAC_ASSERT(w->sink.write == NULL && w->array_left == 0);
    w->sink = sink;
    emac_buf_init(&first, HEAD_MAX);
    emac_buf_init(&last, HEAD_MAX);
    EMAC_TRY(st, gguf_add_u32(w, "general.alignment", GGUF_ALIGNMENT, err));
    EMAC_TRY(st, head_ends(w, &first, &last, err));
    EMAC_TRY(st, sink.write(sink.ctx, first.data, first.len, err));
    EMAC_TRY(st, sink.write(sink.ctx, w->head.data, w->head.len, err));
    st = sink.write(sink.ctx, last.data, last.len, err);
    w->left = w->tensors > 0 ? w->tensor[0].bytes : 0;
out:
    emac_buf_release(&first);
    emac_buf_release(&last);
    return st;
}

enum emac_status gguf_write_data(struct gguf_writer *w, const void *data, size_t n,
                                 struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (size_t done = 0; done < n && st == EMAC_OK;) {
        EMAC_ASSERT(w->sink.write != NULL && w->at < w->tensors);
        size_t part = n - done < w->left ? n - done : (size_t)w->left;
        st = w->sink.write(w->sink.ctx, (const uint8_t *)data + done, part, err);
        done += part;
        w->left -= part;
        if (w->left > 0 || st != EMAC_OK)
            continue;
        st = w->sink.write(w->sink.ctx, zeros, padding(w->tensor[w->at].bytes), err);
        w->left = ++w->at < w->tensors ? w->tensor[w->at].bytes : 0;
    }
    return st;
}

void gguf_write_end(const struct gguf_writer *w)
{
    EMAC_ASSERT(w->sink.write != NULL && w->at == w->tensors);
}

#include "codec/safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "base/utf8.h"

#define ST_META_KEY   "__metadata__"
#define ST_ALIGN      64
/* JSON values in one header. A tensor has about 6 + rank of them; the limit keeps the parser's
 * memory near 100 MB, whatever a hostile header holds. */
#define ST_VALUES_MAX (ST_TENSORS_MAX * 16)

static const struct {
    const char *name;
    size_t bytes;
} DTYPES[] = {
    [ST_F32] = {"F32", 4}, [ST_F16] = {"F16", 2},   [ST_BF16] = {"BF16", 2}, [ST_F64] = {"F64", 8},
    [ST_I64] = {"I64", 8}, [ST_I32] = {"I32", 4},   [ST_I16] = {"I16", 2},   [ST_I8] = {"I8", 1},
    [ST_U8] = {"U8", 1},   [ST_BOOL] = {"BOOL", 1},
};

size_t st_dtype_bytes(enum st_dtype dtype)
{
    EMAC_ASSERT((unsigned)dtype < EMAC_COUNT(DTYPES));
    return DTYPES[dtype].bytes;
}

const char *st_dtype_name(enum st_dtype dtype)
{
    EMAC_ASSERT((unsigned)dtype < EMAC_COUNT(DTYPES));
    return DTYPES[dtype].name;
}

static bool dtype_parse(enum st_dtype *out, const char *text)
{
    for (size_t i = 0; i < EMAC_COUNT(DTYPES); i++) {
        if (strcmp(DTYPES[i].name, text) == 0) {
            *out = (enum st_dtype)i;
            return true;
        }
    }
    return false;
}

static bool checked_bytes(const struct st_tensor *t, uint64_t *out)
{
    uint64_t bytes = st_dtype_bytes(t->dtype);
    for (uint32_t i = 0; i < t->rank; i++) {
        if (__builtin_mul_overflow(bytes, t->dim[i], &bytes))
            return false;
    }
    *out = bytes;
    return true;
}

uint64_t st_tensor_bytes(const struct st_tensor *t)
{
    uint64_t bytes = 0;
    bool ok = checked_bytes(t, &bytes);
    EMAC_ASSERT(ok); /* checked when the tensor entered its index */
    return bytes;
}

uint64_t st_tensor_count(const struct st_tensor *t)
{
    return st_tensor_bytes(t) / st_dtype_bytes(t->dtype);
}

void st_index_release(struct st_index *idx)
{
    for (size_t i = 0; i < idx->count; i++)
        free(idx->tensor[i].name);
    free(idx->tensor);
    free(idx->by_name);
    *idx = (struct st_index){0};
}

static enum emac_status index_reserve(struct st_index *idx, struct emac_err *err)
{
    if (idx->count >= ST_TENSORS_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "more than %d tensors in one file", ST_TENSORS_MAX);
    return emac_grow(&idx->tensor, idx->count, &idx->cap, sizeof *idx->tensor, err);
}

static enum emac_status name_check(const char *name, struct emac_err *err)
{
    size_t len = strnlen(name, ST_NAME_MAX + 1);
    if (len == 0 || len > ST_NAME_MAX)
        return emac_fail(err, EMAC_INVALID, "a tensor's name must have 1 to %d bytes", ST_NAME_MAX);
    if (!emac_utf8_valid(name, len))
        return emac_fail(err, EMAC_INVALID, "a tensor's name is not valid UTF-8");
    if (strcmp(name, ST_META_KEY) == 0)
        return emac_fail(err, EMAC_INVALID, "'" ST_META_KEY "' cannot be a tensor's name");
    return EMAC_OK;
}

enum emac_status st_index_add(struct st_index *idx, const char *name, enum st_dtype dtype,
                              uint32_t rank, const uint64_t *dim, struct emac_err *err)
{
    enum emac_status st = name_check(name, err);
    if (st != EMAC_OK)
        return st;
    if (rank > ST_RANK_MAX)
        return emac_fail(err, EMAC_INVALID, "tensor '%s' has rank %u, more than %d", name, rank,
                         ST_RANK_MAX);
    st = index_reserve(idx, err);
    if (st != EMAC_OK)
        return st;
    struct st_tensor t = {.dtype = dtype, .rank = rank};
    uint64_t bytes;
    if (rank > 0)
        memcpy(t.dim, dim, rank * sizeof *dim);
    if (!checked_bytes(&t, &bytes))
        return emac_fail(err, EMAC_INVALID, "the size of tensor '%s' overflows", name);
    t.name = emac_strdup(name);
    idx->tensor[idx->count++] = t;
    free(idx->by_name); /* out of date */
    idx->by_name = NULL;
    return EMAC_OK;
}

/* ---- reading ---- */

/* An upper bound of the JSON values that `text` holds: commas and opening brackets outside strings,
 * and one. It is taken before the parser allocates anything. */
static size_t json_values_bound(const char *text, size_t n)
{
    size_t count = 1;
    bool in_string = false;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && (c == ',' || c == '[' || c == '{'))
            count++;
    }
    return count;
}

static bool get_u64(const json_t *value, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static enum emac_status parse_shape(struct st_tensor *t, const char *name, const json_t *shape,
                                    struct emac_err *err)
{
    if (!json_is_array(shape) || json_array_size(shape) > ST_RANK_MAX)
        return emac_fail(err, EMAC_CORRUPT, "tensor '%s': shape must be a list of at most %d sizes",
                         name, ST_RANK_MAX);
    t->rank = (uint32_t)json_array_size(shape);
    for (uint32_t i = 0; i < t->rank; i++) {
        if (!get_u64(json_array_get(shape, i), &t->dim[i]))
            return emac_fail(err, EMAC_CORRUPT, "tensor '%s': a size is not a whole number", name);
    }
    return EMAC_OK;
}

static enum emac_status parse_offsets(struct st_tensor *t, const char *name, const json_t *offsets,
                                      struct emac_err *err)
{
    uint64_t bytes;
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 ||
        !get_u64(json_array_get(offsets, 0), &t->begin) ||
        !get_u64(json_array_get(offsets, 1), &t->end) || t->begin > t->end)
        return emac_fail(err, EMAC_CORRUPT, "tensor '%s': data_offsets must be [begin, end]", name);
    if (!checked_bytes(t, &bytes) || bytes != t->end - t->begin)
        return emac_fail(err, EMAC_CORRUPT,
                         "tensor '%s': data_offsets span %llu bytes, its shape needs another size",
                         name, (unsigned long long)(t->end - t->begin));
    return EMAC_OK;
}

static enum emac_status parse_tensor(struct st_tensor *t, const char *name, const json_t *entry,
                                     struct emac_err *err)
{
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    if (!json_is_object(entry) || json_object_size(entry) != 3 || dtype == NULL)
        return emac_fail(err, EMAC_CORRUPT,
                         "tensor '%s' must have exactly dtype, shape and data_offsets", name);
    if (!dtype_parse(&t->dtype, dtype))
        return emac_fail(err, EMAC_UNSUPPORTED, "tensor '%s' has the unknown dtype '%.16s'", name,
                         dtype);
    enum emac_status st = parse_shape(t, name, json_object_get(entry, "shape"), err);
    if (st == EMAC_OK)
        st = parse_offsets(t, name, json_object_get(entry, "data_offsets"), err);
    return st;
}

static enum emac_status check_metadata(json_t *meta, struct emac_err *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(meta))
        return emac_fail(err, EMAC_CORRUPT, "'" ST_META_KEY "' must be a map of texts");
    json_object_foreach(meta, key, value)
    {
        if (!json_is_string(value))
            return emac_fail(err, EMAC_CORRUPT, "'" ST_META_KEY "': '%.64s' is not a text", key);
    }
    return EMAC_OK;
}

static enum emac_status parse_entries(struct st_index *out, json_t *root, struct emac_err *err)
{
    const char *name;
    json_t *entry;
    json_object_foreach(root, name, entry)
    {
        enum emac_status st;
        if (strcmp(name, ST_META_KEY) == 0) {
            st = check_metadata(entry, err);
        } else {
            struct st_tensor t = {0};
            st = name_check(name, err);
            if (st == EMAC_OK)
                st = parse_tensor(&t, name, entry, err);
            if (st == EMAC_OK)
                st = index_reserve(out, err);
            if (st == EMAC_OK) {
                t.name = emac_strdup(name);
                out->tensor[out->count++] = t;
            }
        }
        if (st != EMAC_OK)
            return st;
    }
    return EMAC_OK;
}

/* Empty tensors share their begin with the next one and come before it. */
static int order_by_place(const void *a, const void *b)
{
    const struct st_tensor *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Wide elements first, so that each tensor is aligned to its own width; then by name. */
static int order_canonical(const void *a, const void *b)
{
    const struct st_tensor *x = a, *y = b;
    size_t wx = st_dtype_bytes(x->dtype), wy = st_dtype_bytes(y->dtype);
    if (wx != wy)
        return wx > wy ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int order_places_by_name(const void *a, const void *b, void *ctx)
{
    const struct st_tensor *tensor = ctx;
    return strcmp(tensor[*(const uint32_t *)a].name, tensor[*(const uint32_t *)b].name);
}

static enum emac_status index_names(struct st_index *idx, struct emac_err *err)
{
    enum emac_status st = emac_alloc(&idx->by_name, idx->count, sizeof *idx->by_name, err);
    if (st != EMAC_OK)
        return st;
    for (size_t i = 0; i < idx->count; i++)
        idx->by_name[i] = (uint32_t)i;
    if (idx->count > 0)
        qsort_r(idx->by_name, idx->count, sizeof *idx->by_name, order_places_by_name, idx->tensor);
    return EMAC_OK;
}

static enum emac_status names_differ(const struct st_index *idx, struct emac_err *err)
{
    for (size_t i = 1; i < idx->count; i++) {
        const char *name = idx->tensor[idx->by_name[i]].name;
        if (strcmp(idx->tensor[idx->by_name[i - 1]].name, name) == 0)
            return emac_fail(err, EMAC_INVALID, "two tensors are named '%s'", name);
    }
    return EMAC_OK;
}

/* The tensors must tile the data: no hole, no overlap, nothing before or after. */
static enum emac_status check_places(const struct st_index *idx, struct emac_err *err)
{
    uint64_t at = 0, data = idx->file_size - idx->data_offset;
    for (size_t i = 0; i < idx->count; i++) {
        const struct st_tensor *t = &idx->tensor[i];
        if (t->begin != at)
            return emac_fail(err, EMAC_CORRUPT, "tensor '%s' begins at %llu, expected %llu: %s",
                             t->name, (unsigned long long)t->begin, (unsigned long long)at,
                             t->begin > at ? "a hole" : "an overlap");
        at = t->end;
    }
    if (at != data)
        return emac_fail(err, EMAC_CORRUPT, "the tensors take %llu bytes, the file has %llu",
                         (unsigned long long)at, (unsigned long long)data);
    return EMAC_OK;
}

enum emac_status st_header_size(const uint8_t first[8], uint64_t file_size, uint64_t *out,
                                struct emac_err *err)
{
    uint64_t len = 0;
    for (int i = 7; i >= 0; i--)
        len = len << 8 | first[i];
    if (file_size < 8 || len > file_size - 8 || len > ST_HEADER_MAX)
        return emac_fail(err, EMAC_CORRUPT,
                         "not a safetensors file: a header of %llu bytes in a file of %llu",
                         (unsigned long long)len, (unsigned long long)file_size);
    *out = 8 + len;
    return EMAC_OK;
}

static enum emac_status parse_json(json_t **root, const char *text, size_t n, struct emac_err *err)
{
    json_error_t why;
    if (n == 0 || text[0] != '{')
        return emac_fail(err, EMAC_CORRUPT, "a safetensors header must begin with '{'");
    if (json_values_bound(text, n) > ST_VALUES_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "a safetensors header holds more than %d values",
                         ST_VALUES_MAX);
    *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &why);
    if (*root == NULL)
        return emac_fail(err, EMAC_CORRUPT, "bad safetensors header at byte %d: %s", why.position,
                         why.text);
    return EMAC_OK;
}

enum emac_status st_index_parse(struct st_index *out, const void *data, size_t n,
                                uint64_t file_size, struct emac_err *err)
{
    json_t *root = NULL;
    struct st_index idx = {.file_size = file_size};
    *out = (struct st_index){0};
    if (n < 8)
        return emac_fail(err, EMAC_CORRUPT, "not a safetensors file: %zu bytes at hand, needs 8",
                         n);
    enum emac_status st = st_header_size(data, file_size, &idx.data_offset, err);
    if (st != EMAC_OK)
        return st;
    if (idx.data_offset > n)
        return emac_fail(err, EMAC_INVALID, "a safetensors header of %llu bytes, %zu at hand",
                         (unsigned long long)idx.data_offset, n);
    EMAC_TRY(st, parse_json(&root, (const char *)data + 8, (size_t)idx.data_offset - 8, err));
    EMAC_TRY(st, parse_entries(&idx, root, err));
    if (idx.count > 0)
        qsort(idx.tensor, idx.count, sizeof *idx.tensor, order_by_place);
    EMAC_TRY(st, check_places(&idx, err));
    EMAC_TRY(st, index_names(&idx, err));
out:
    json_decref(root);
    if (st == EMAC_OK)
        *out = idx;
    else
        st_index_release(&idx);
    return st;
}

enum emac_status st_index_read(struct st_index *out, st_read_fn *read, void *ctx, uint64_t there,
                               uint64_t size, struct emac_err *err)
{
    struct emac_buf head;
    uint8_t first[8];
    uint64_t need = 0;
    enum emac_status st;
    *out = (struct st_index){0};
    if (there < sizeof first || there > size)
        return emac_fail(err, EMAC_INVALID, "%llu bytes of a file of %llu hold no table of tensors",
                         (unsigned long long)there, (unsigned long long)size);
    emac_buf_init(&head, (size_t)ST_HEADER_MAX + sizeof first);
    EMAC_TRY(st, read(ctx, 0, first, sizeof first, err));
    EMAC_TRY(st, st_header_size(first, size, &need, err));
    if (need > there) {
        st = emac_fail(err, EMAC_INVALID,
                       "the table of tensors has %llu bytes, of which %llu are there",
                       (unsigned long long)need, (unsigned long long)there);
        goto out;
    }
    EMAC_TRY(st, emac_buf_reserve(&head, (size_t)need, err));
    EMAC_TRY(st, read(ctx, 0, head.data, (size_t)need, err));
    st = st_index_parse(out, head.data, (size_t)need, size, err);
out:
    emac_buf_release(&head);
    return st;
}

const struct st_tensor *st_index_find(const struct st_index *idx, const char *name)
{
    if (idx->by_name == NULL) {
        for (size_t i = 0; i < idx->count; i++) {
            if (strcmp(idx->tensor[i].name, name) == 0)
                return &idx->tensor[i];
        }
        return NULL;
    }
    size_t low = 0, high = idx->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const struct st_tensor *t = &idx->tensor[idx->by_name[mid]];
        int order = strcmp(name, t->name);
        if (order == 0)
            return t;
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

/* ---- writing ---- */

static enum emac_status put_name(struct emac_buf *out, const char *name, struct emac_err *err)
{
    enum emac_status st = emac_buf_append(out, "\"", 1, err);
    for (; *name != '\0' && st == EMAC_OK; name++) {
        unsigned char c = (unsigned char)*name;
        if (c < 0x20)
            st = emac_buf_printf(out, err, "\\u%04x", c);
        else if (c == '"' || c == '\\')
            st = emac_buf_printf(out, err, "\\%c", c);
        else
            st = emac_buf_append(out, name, 1, err);
    }
    return st == EMAC_OK ? emac_buf_append(out, "\"", 1, err) : st;
}

static enum emac_status put_tensor(struct emac_buf *out, const struct st_tensor *t,
                                   struct emac_err *err)
{
    enum emac_status st = emac_buf_append(out, ",", 1, err);
    if (st == EMAC_OK)
        st = put_name(out, t->name, err);
    if (st == EMAC_OK)
        st = emac_buf_printf(out, err, ":{\"dtype\":\"%s\",\"shape\":[", st_dtype_name(t->dtype));
    for (uint32_t i = 0; i < t->rank && st == EMAC_OK; i++)
        st = emac_buf_printf(out, err, "%s%llu", i > 0 ? "," : "", (unsigned long long)t->dim[i]);
    if (st == EMAC_OK)
        st = emac_buf_printf(out, err, "],\"data_offsets\":[%llu,%llu]}",
                             (unsigned long long)t->begin, (unsigned long long)t->end);
    return st;
}

/* Fails when the sum overflows. */
static enum emac_status place_tensors(struct st_index *idx, uint64_t *total, struct emac_err *err)
{
    if (idx->count > 0)
        qsort(idx->tensor, idx->count, sizeof *idx->tensor, order_canonical);
    *total = 0;
    for (size_t i = 0; i < idx->count; i++) {
        struct st_tensor *t = &idx->tensor[i];
        t->begin = *total;
        /* The reader's JSON keeps numbers in int64. */
        if (__builtin_add_overflow(*total, st_tensor_bytes(t), total) ||
            *total > INT64_MAX - 8 - ST_HEADER_MAX)
            return emac_fail(err, EMAC_TOO_LARGE, "the sizes of the tensors overflow at '%s'",
                             t->name);
        t->end = *total;
    }
    return EMAC_OK;
}

enum emac_status st_bundle_layout(struct st_index *idx, struct emac_buf *header,
                                  struct emac_err *err)
{
    static const char META[] = "{\"" ST_META_KEY "\":{\"format\":\"pt\"}";
    static const uint8_t LENGTH_LATER[8];
    uint64_t total;
    size_t start = header->len;
    enum emac_status st = EMAC_OK;
    free(idx->by_name);
    idx->by_name = NULL;
    EMAC_TRY(st, place_tensors(idx, &total, err));
    EMAC_TRY(st, index_names(idx, err));
    EMAC_TRY(st, names_differ(idx, err));
    EMAC_TRY(st, emac_buf_append(header, LENGTH_LATER, sizeof LENGTH_LATER, err));
    EMAC_TRY(st, emac_buf_append(header, META, sizeof META - 1, err));
    for (size_t i = 0; i < idx->count; i++)
        EMAC_TRY(st, put_tensor(header, &idx->tensor[i], err));
    EMAC_TRY(st, emac_buf_append(header, "}", 1, err));
    while ((header->len - start) % ST_ALIGN != 0)
        EMAC_TRY(st, emac_buf_append(header, " ", 1, err));
    size_t size = header->len - start;
    if (size - 8 > ST_HEADER_MAX) {
        st = emac_fail(err, EMAC_TOO_LARGE, "a safetensors header of %zu bytes is over the limit",
                       size);
        goto out;
    }
    for (int i = 0; i < 8; i++)
        header->data[start + (size_t)i] = (uint8_t)((uint64_t)(size - 8) >> (8 * i));
    idx->data_offset = size;
    idx->file_size = size + total;
out:
    return st;
}

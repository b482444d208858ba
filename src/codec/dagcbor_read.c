#include <math.h>
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "codec/dagcbor.h"

enum {
    MAJOR_UINT,
    MAJOR_NEGATIVE,
    MAJOR_BYTES,
    MAJOR_TEXT,
    MAJOR_LIST,
    MAJOR_MAP,
    MAJOR_TAG,
    MAJOR_SIMPLE
};

#define TAG_CID 42

struct reader {
    struct arena *arena;
    const uint8_t *data;
    size_t n, at;
    struct emac_err *err;
};

struct head {
    unsigned major, info;
    uint64_t value;
};

static enum emac_status fail_at(const struct reader *r, size_t at, const char *why)
{
    return emac_fail(r->err, EMAC_CORRUPT, "bad dag-cbor at byte %zu: %s", at, why);
}

static enum emac_status fail_arena(const struct reader *r)
{
    return emac_fail(r->err, EMAC_TOO_LARGE, "a dag-cbor value needs more than %zu bytes of memory",
                     r->arena->max);
}

/* One head, in shortest form except for floats, whose argument is no number. */
static enum emac_status read_head(struct reader *r, struct head *h)
{
    size_t start = r->at;
    if (r->at == r->n)
        return fail_at(r, start, "the value is cut");
    uint8_t first = r->data[r->at++];
    h->major = first >> 5;
    h->info = first & 31;
    h->value = h->info;
    if (h->info < 24)
        return EMAC_OK;
    if (h->info > 27)
        return fail_at(r, start, "indefinite lengths are not allowed");
    size_t bytes = (size_t)1 << (h->info - 24);
    if (r->n - r->at < bytes)
        return fail_at(r, start, "the value is cut");
    h->value = 0;
    for (size_t i = 0; i < bytes; i++)
        h->value = h->value << 8 | r->data[r->at++];
    static const uint64_t LEAST[4] = {24, UINT64_C(1) << 8, UINT64_C(1) << 16, UINT64_C(1) << 32};
    if (h->major != MAJOR_SIMPLE && h->value < LEAST[h->info - 24])
        return fail_at(r, start, "a number is not in its shortest form");
    return EMAC_OK;
}

static enum emac_status read_bytes(struct reader *r, struct dagcbor_node *out, const struct head *h)
{
    if (h->value > r->n - r->at)
        return fail_at(r, r->at, "a string is cut");
    size_t len = (size_t)h->value;
    const uint8_t *p = r->data + r->at;
    out->type = h->major == MAJOR_TEXT ? DAGCBOR_STR : DAGCBOR_BYTES;
    if (out->type == DAGCBOR_STR && !emac_utf8_valid(p, len))
        return fail_at(r, r->at, "a text is not valid UTF-8");
    out->str.data = arena_strndup(r->arena, (const char *)p, len);
    out->str.len = len;
    r->at += len;
    return out->str.data != NULL ? EMAC_OK : fail_arena(r);
}

static enum emac_status read_cid(struct reader *r, struct dagcbor_node *out, const struct head *tag)
{
    size_t start = r->at, used = 0;
    struct head h = {0};
    if (tag->value != TAG_CID)
        return fail_at(r, start, "a tag other than 42 (CID)");
    enum emac_status st = read_head(r, &h);
    if (st != EMAC_OK)
        return st;
    /* A CIDv0 here would be a second encoding of the same link. */
    if (h.major != MAJOR_BYTES || h.value != 1 + CID_BYTES || r->n - r->at < 1 + CID_BYTES)
        return fail_at(r, start, "a CID must be 37 bytes: 00 and a CIDv1 with sha2-256");
    if (r->data[r->at] != 0)
        return fail_at(r, r->at, "a CID must begin with 00");
    out->type = DAGCBOR_CID;
    st = cid_from_bytes(&out->cid, r->data + r->at + 1, CID_BYTES, &used, r->err);
    if (st != EMAC_OK)
        return st;
    if (used != CID_BYTES)
        return fail_at(r, r->at, "a CID must be a CIDv1");
    r->at += 1 + CID_BYTES;
    return EMAC_OK;
}

static enum emac_status read_simple(struct reader *r, struct dagcbor_node *out,
                                    const struct head *h)
{
    switch (h->info) {
    case 20:
    case 21:
        out->type = DAGCBOR_BOOL;
        out->boolean = h->info == 21;
        return EMAC_OK;
    case 22:
        out->type = DAGCBOR_NULL;
        return EMAC_OK;
    case 27:
        out->type = DAGCBOR_F64;
        memcpy(&out->f64, &h->value, sizeof out->f64);
        if (!isfinite(out->f64))
            return fail_at(r, r->at - 8, "NaN and infinity are not allowed");
        return EMAC_OK;
    default:
        return fail_at(r, r->at, "only false, true, null and 64-bit floats are allowed here");
    }
}

static enum emac_status read_node(struct reader *r, struct dagcbor_node *out, unsigned depth);

/* Canonical order: shorter keys first, equal lengths by bytes; strictly rising, so unique. */
static bool key_before(const struct dagcbor_node *a, const struct dagcbor_node *b)
{
    if (a->str.len != b->str.len)
        return a->str.len < b->str.len;
    return memcmp(a->str.data, b->str.data, a->str.len) < 0;
}

static enum emac_status read_key(struct reader *r, struct dagcbor_node *key,
                                 const struct dagcbor_node *before)
{
    size_t start = r->at;
    struct head h = {0};
    enum emac_status st = read_head(r, &h);
    if (st != EMAC_OK)
        return st;
    if (h.major != MAJOR_TEXT)
        return fail_at(r, start, "a map key must be a text");
    st = read_bytes(r, key, &h);
    if (st == EMAC_OK && before != NULL && !key_before(before, key))
        st = fail_at(r, start, "map keys are repeated or not in canonical order");
    return st;
}

static enum emac_status read_seq(struct reader *r, struct dagcbor_node *out, const struct head *h,
                                 unsigned depth)
{
    bool is_map = h->major == MAJOR_MAP;
    uint64_t width = is_map ? 2 : 1;
    if (depth == DAGCBOR_DEPTH_MAX)
        return fail_at(r, r->at, "values nest too deep");
    /* Each item takes a byte at least: a count beyond the input is refused before allocation. */
    if (h->value > (r->n - r->at) / width)
        return fail_at(r, r->at, "a list or map is cut");
    size_t count = (size_t)h->value;
    out->type = is_map ? DAGCBOR_MAP : DAGCBOR_LIST;
    out->seq.count = count;
    out->seq.items = arena_calloc(r->arena, count * width, sizeof *out->seq.items);
    if (out->seq.items == NULL)
        return fail_arena(r);
    struct dagcbor_node *item = out->seq.items;
    for (size_t i = 0; i < count; i++) {
        enum emac_status st = EMAC_OK;
        if (is_map) {
            st = read_key(r, item, i > 0 ? item - 2 : NULL);
            item++;
        }
        if (st == EMAC_OK)
            st = read_node(r, item++, depth + 1);
        if (st != EMAC_OK)
            return st;
    }
    return EMAC_OK;
}

static enum emac_status read_node(struct reader *r, struct dagcbor_node *out, unsigned depth)
{
    size_t start = r->at;
    struct head h = {0};
    enum emac_status st = read_head(r, &h);
    if (st != EMAC_OK)
        return st;
    switch (h.major) {
    case MAJOR_UINT:
        out->type = DAGCBOR_U64;
        out->u64 = h.value;
        return EMAC_OK;
    case MAJOR_NEGATIVE:
        if (h.value > INT64_MAX)
            return fail_at(r, start, "a negative number does not fit 64 bits");
        out->type = DAGCBOR_NEG;
        out->i64 = -1 - (int64_t)h.value;
        return EMAC_OK;
    case MAJOR_BYTES:
    case MAJOR_TEXT:
        return read_bytes(r, out, &h);
    case MAJOR_LIST:
    case MAJOR_MAP:
        return read_seq(r, out, &h, depth);
    case MAJOR_TAG:
        return read_cid(r, out, &h);
    default:
        return read_simple(r, out, &h);
    }
}

enum emac_status dagcbor_parse(struct arena *a, const void *data, size_t n,
                               const struct dagcbor_node **out, struct emac_err *err)
{
    struct reader r = {.arena = a, .data = data, .n = n, .err = err};
    *out = NULL;
    struct dagcbor_node *root = arena_alloc(a, sizeof *root);
    if (root == NULL)
        return fail_arena(&r);
    enum emac_status st = read_node(&r, root, 0);
    if (st != EMAC_OK)
        return st;
    if (r.at != n)
        return fail_at(&r, r.at, "bytes follow the value");
    *out = root;
    return EMAC_OK;
}

enum emac_status dagcbor_parse_map(struct arena *a, const void *data, size_t n, size_t most,
                                   const char *what, const struct dagcbor_node **out,
                                   struct emac_err *err)
{
    *out = NULL;
    if (n > most)
        return emac_fail(err, EMAC_TOO_LARGE, "%s of %zu bytes; at most %zu", what, n, most);
    enum emac_status st = dagcbor_parse(a, data, n, out, err);
    if (st == EMAC_OK && (*out)->type != DAGCBOR_MAP)
        st = emac_fail(err, EMAC_INVALID, "%s must be a map", what);
    return st;
}

const struct dagcbor_node *dagcbor_find(const struct dagcbor_node *map, const char *key)
{
    size_t len = strlen(key);
    if (map == NULL || map->type != DAGCBOR_MAP)
        return NULL;
    for (size_t i = 0; i < map->seq.count; i++) {
        const struct dagcbor_node *k = &map->seq.items[2 * i];
        if (k->str.len == len && memcmp(k->str.data, key, len) == 0)
            return k + 1;
    }
    return NULL;
}

static const char *type_text(enum dagcbor_type type)
{
    static const char *const TEXT[] = {
        [DAGCBOR_U64] = "an unsigned integer",
        [DAGCBOR_NEG] = "a negative integer",
        [DAGCBOR_F64] = "a float",
        [DAGCBOR_BOOL] = "true or false",
        [DAGCBOR_NULL] = "null",
        [DAGCBOR_STR] = "a text",
        [DAGCBOR_BYTES] = "bytes",
        [DAGCBOR_CID] = "a CID",
        [DAGCBOR_LIST] = "a list",
        [DAGCBOR_MAP] = "a map",
    };
    EMAC_ASSERT((unsigned)type < EMAC_COUNT(TEXT));
    return TEXT[type];
}

static enum emac_status get_any(const struct dagcbor_node *map, const char *key,
                                const struct dagcbor_node **out, struct emac_err *err)
{
    if (map == NULL || map->type != DAGCBOR_MAP)
        return emac_fail(err, EMAC_INVALID, "field '%s' is missing: its parent is not a map", key);
    *out = dagcbor_find(map, key);
    return *out != NULL ? EMAC_OK : emac_fail(err, EMAC_INVALID, "field '%s' is missing", key);
}

enum emac_status dagcbor_get(const struct dagcbor_node *map, const char *key,
                             enum dagcbor_type type, const struct dagcbor_node **out,
                             struct emac_err *err)
{
    const struct dagcbor_node *node = NULL;
    enum emac_status st = get_any(map, key, &node, err);
    if (st != EMAC_OK)
        return st;
    if (node->type != type)
        return emac_fail(err, EMAC_INVALID, "field '%s' must be %s, not %s", key, type_text(type),
                         type_text(node->type));
    *out = node;
    return EMAC_OK;
}

enum emac_status dagcbor_get_u64(const struct dagcbor_node *map, const char *key, uint64_t max,
                                 uint64_t *out, struct emac_err *err)
{
    const struct dagcbor_node *node = NULL;
    enum emac_status st = dagcbor_get(map, key, DAGCBOR_U64, &node, err);
    if (st != EMAC_OK)
        return st;
    if (node->u64 > max)
        return emac_fail(err, EMAC_INVALID, "field '%s' is %llu, more than the maximum %llu", key,
                         (unsigned long long)node->u64, (unsigned long long)max);
    *out = node->u64;
    return EMAC_OK;
}

enum emac_status dagcbor_get_u32(const struct dagcbor_node *map, const char *key, uint32_t *out,
                                 struct emac_err *err)
{
    uint64_t v = 0;
    enum emac_status st = dagcbor_get_u64(map, key, UINT32_MAX, &v, err);
    *out = (uint32_t)v;
    return st;
}

enum emac_status dagcbor_get_bytes(const struct dagcbor_node *map, const char *key, void *out,
                                   size_t n, struct emac_err *err)
{
    const struct dagcbor_node *node = NULL;
    enum emac_status st = dagcbor_get(map, key, DAGCBOR_BYTES, &node, err);
    if (st != EMAC_OK)
        return st;
    if (node->str.len != n)
        return emac_fail(err, EMAC_INVALID, "field '%s' must have %zu bytes", key, n);
    memcpy(out, node->str.data, n);
    return EMAC_OK;
}

enum emac_status dagcbor_get_i64(const struct dagcbor_node *map, const char *key, int64_t *out,
                                 struct emac_err *err)
{
    const struct dagcbor_node *node = NULL;
    enum emac_status st = get_any(map, key, &node, err);
    if (st != EMAC_OK)
        return st;
    if (node->type == DAGCBOR_NEG)
        *out = node->i64;
    else if (node->type == DAGCBOR_U64 && node->u64 <= INT64_MAX)
        *out = (int64_t)node->u64;
    else
        return emac_fail(err, EMAC_INVALID, "field '%s' must be a signed 64-bit integer", key);
    return EMAC_OK;
}

enum emac_status dagcbor_get_f64(const struct dagcbor_node *map, const char *key, double *out,
                                 struct emac_err *err)
{
    const struct dagcbor_node *node = NULL;
    enum emac_status st = dagcbor_get(map, key, DAGCBOR_F64, &node, err);
    if (st == EMAC_OK)
        *out = node->f64;
    return st;
}

enum emac_status dagcbor_get_str(const struct dagcbor_node *map, const char *key, const char **out,
                                 struct emac_err *err)
{
    const struct dagcbor_node *node = NULL;
    enum emac_status st = dagcbor_get(map, key, DAGCBOR_STR, &node, err);
    if (st != EMAC_OK)
        return st;
    if (memchr(node->str.data, 0, node->str.len) != NULL)
        return emac_fail(err, EMAC_INVALID, "field '%s' holds a NUL byte", key);
    *out = node->str.data;
    return EMAC_OK;
}

enum emac_status dagcbor_get_text(const struct dagcbor_node *map, const char *key, char *out,
                                  size_t cap, struct emac_err *err)
{
    const char *text;
    enum emac_status st = dagcbor_get_str(map, key, &text, err);
    if (st == EMAC_OK && !emac_strcpy(out, cap, text))
        st =
            emac_fail(err, EMAC_INVALID, "field '%s' is too long, at most %zu bytes", key, cap - 1);
    return st;
}

enum emac_status dagcbor_get_cid(const struct dagcbor_node *map, const char *key, struct cid *out,
                                 struct emac_err *err)
{
    const struct dagcbor_node *node = NULL;
    enum emac_status st = dagcbor_get(map, key, DAGCBOR_CID, &node, err);
    if (st == EMAC_OK)
        *out = node->cid;
    return st;
}

static bool in_list(const struct dagcbor_node *key, const char *const *keys)
{
    for (; *keys != NULL; keys++) {
        if (strlen(*keys) == key->str.len && memcmp(*keys, key->str.data, key->str.len) == 0)
            return true;
    }
    return false;
}

enum emac_status dagcbor_only(const struct dagcbor_node *map, const char *const *keys,
                              struct emac_err *err)
{
    if (map == NULL || map->type != DAGCBOR_MAP)
        return emac_fail(err, EMAC_INVALID, "a value is not a map");
    for (size_t i = 0; i < map->seq.count; i++) {
        const struct dagcbor_node *key = &map->seq.items[2 * i];
        if (!in_list(key, keys))
            return emac_fail(err, EMAC_INVALID, "unknown field '%s': remove it or correct its name",
                             key->str.data);
    }
    return EMAC_OK;
}

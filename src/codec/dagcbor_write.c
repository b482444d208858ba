#include <math.h>
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "codec/dagcbor.h"

/* Major types of CBOR (RFC 8949, section 3.1) */
enum { MAJOR_UINT, MAJOR_NEGATIVE, MAJOR_BYTES, MAJOR_TEXT, MAJOR_LIST, MAJOR_MAP, MAJOR_TAG };

#define BYTE_FALSE 0xf4
#define BYTE_TRUE  0xf5
#define BYTE_NULL  0xf6
#define BYTE_F64   0xfb
#define TAG_CID    42

void dagcbor_writer_init(struct dagcbor_writer *w, struct emac_buf *buf)
{
    *w = (struct dagcbor_writer){.buf = buf};
}

static void put(struct dagcbor_writer *w, const void *data, size_t n)
{
    if (w->status == EMAC_OK)
        w->status = emac_buf_append(w->buf, data, n, &w->err);
}

static size_t big_endian(uint8_t *out, uint64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        out[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
    return bytes;
}

/* Major type and argument in the shortest form. */
static void head(struct dagcbor_writer *w, unsigned major, uint64_t v)
{
    uint8_t out[9];
    size_t n = 1;
    unsigned info = v < 24            ? (unsigned)v
                    : v <= UINT8_MAX  ? 24
                    : v <= UINT16_MAX ? 25
                    : v <= UINT32_MAX ? 26
                                      : 27;
    out[0] = (uint8_t)(major << 5 | info);
    if (info >= 24)
        n += big_endian(out + 1, v, (size_t)1 << (info - 24));
    put(w, out, n);
}

/* May a value be written here? In a map an even number of items left means that a key is due. */
static bool value_due(const struct dagcbor_writer *w)
{
    if (w->status != EMAC_OK)
        return false;
    if (w->depth == 0) {
        EMAC_ASSERT(!w->done);
        return true;
    }
    EMAC_ASSERT(!w->level[w->depth - 1].is_map || w->level[w->depth - 1].left % 2 == 1);
    return true;
}

/* One item is complete; so is each container whose last item it was. */
static void item_complete(struct dagcbor_writer *w)
{
    while (w->depth > 0) {
        EMAC_ASSERT(w->level[w->depth - 1].left > 0);
        if (--w->level[w->depth - 1].left > 0)
            return;
        w->depth--;
    }
    w->done = true;
}

static void open_container(struct dagcbor_writer *w, bool is_map, uint64_t count)
{
    if (!value_due(w))
        return;
    EMAC_ASSERT(count <= UINT64_MAX / 2);
    if (w->depth == DAGCBOR_DEPTH_MAX) {
        w->status = emac_fail(&w->err, EMAC_TOO_LARGE, "a dag-cbor value nests deeper than %d",
                              DAGCBOR_DEPTH_MAX);
        return;
    }
    head(w, is_map ? MAJOR_MAP : MAJOR_LIST, count);
    if (count == 0) {
        item_complete(w);
        return;
    }
    w->level[w->depth].left = is_map ? 2 * count : count;
    w->level[w->depth].key_at = 0; /* offset 0 is the map's own head: no key yet */
    w->level[w->depth].key_len = 0;
    w->level[w->depth].is_map = is_map;
    w->depth++;
}

void dagcbor_map(struct dagcbor_writer *w, uint64_t pairs)
{
    open_container(w, true, pairs);
}

void dagcbor_list(struct dagcbor_writer *w, uint64_t items)
{
    open_container(w, false, items);
}

/* Head and bytes of a text; false when the writer has failed. */
static bool put_text(struct dagcbor_writer *w, const char *s, size_t n)
{
    if (!emac_utf8_valid(s, n)) {
        w->status = emac_fail(&w->err, EMAC_INVALID, "a text of %zu bytes is not valid UTF-8", n);
        return false;
    }
    head(w, MAJOR_TEXT, n);
    put(w, s, n);
    return w->status == EMAC_OK;
}

void dagcbor_key_n(struct dagcbor_writer *w, const char *key, size_t n)
{
    if (w->status != EMAC_OK)
        return;
    EMAC_ASSERT(w->depth > 0);
    uint32_t d = w->depth - 1;
    EMAC_ASSERT(w->level[d].is_map && w->level[d].left % 2 == 0);
    if (w->level[d].key_at > 0) {
        const uint8_t *last = w->buf->data + w->level[d].key_at;
        size_t last_len = w->level[d].key_len;
        EMAC_ASSERT(last_len < n || (last_len == n && memcmp(last, key, n) < 0));
    }
    if (!put_text(w, key, n))
        return;
    w->level[d].key_at = w->buf->len - n;
    w->level[d].key_len = n;
    w->level[d].left--;
}

void dagcbor_key(struct dagcbor_writer *w, const char *key)
{
    dagcbor_key_n(w, key, strlen(key));
}

void dagcbor_u64(struct dagcbor_writer *w, uint64_t v)
{
    if (!value_due(w))
        return;
    head(w, MAJOR_UINT, v);
    item_complete(w);
}

void dagcbor_i64(struct dagcbor_writer *w, int64_t v)
{
    if (!value_due(w))
        return;
    if (v >= 0)
        head(w, MAJOR_UINT, (uint64_t)v);
    else
        head(w, MAJOR_NEGATIVE, ~(uint64_t)v); /* -1 - v */
    item_complete(w);
}

void dagcbor_f64(struct dagcbor_writer *w, double v)
{
    if (!value_due(w))
        return;
    if (!isfinite(v)) {
        w->status = emac_fail(&w->err, EMAC_NUMERIC, "dag-cbor cannot hold NaN or infinity");
        return;
    }
    uint64_t bits;
    uint8_t out[9] = {BYTE_F64};
    memcpy(&bits, &v, sizeof bits);
    big_endian(out + 1, bits, 8);
    put(w, out, sizeof out);
    item_complete(w);
}

static void put_simple(struct dagcbor_writer *w, uint8_t byte)
{
    if (!value_due(w))
        return;
    put(w, &byte, 1);
    item_complete(w);
}

void dagcbor_bool(struct dagcbor_writer *w, bool v)
{
    put_simple(w, v ? BYTE_TRUE : BYTE_FALSE);
}

void dagcbor_null(struct dagcbor_writer *w)
{
    put_simple(w, BYTE_NULL);
}

void dagcbor_str_n(struct dagcbor_writer *w, const char *s, size_t n)
{
    if (value_due(w) && put_text(w, s, n))
        item_complete(w);
}

void dagcbor_str(struct dagcbor_writer *w, const char *s)
{
    dagcbor_str_n(w, s, strlen(s));
}

void dagcbor_bytes(struct dagcbor_writer *w, const void *data, size_t n)
{
    if (!value_due(w))
        return;
    head(w, MAJOR_BYTES, n);
    put(w, data, n);
    item_complete(w);
}

/* Tag 42 over bytes: the identity multibase prefix 00, then the CID. */
void dagcbor_cid(struct dagcbor_writer *w, const struct cid *c)
{
    if (!value_due(w))
        return;
    uint8_t bytes[1 + CID_BYTES] = {0};
    cid_bytes(bytes + 1, c);
    head(w, MAJOR_TAG, TAG_CID);
    head(w, MAJOR_BYTES, sizeof bytes);
    put(w, bytes, sizeof bytes);
    item_complete(w);
}

static void write_map(struct dagcbor_writer *w, const struct dagcbor_node *node)
{
    dagcbor_map(w, node->seq.count);
    for (size_t i = 0; i < node->seq.count; i++) {
        const struct dagcbor_node *key = &node->seq.items[2 * i];
        dagcbor_key_n(w, key->str.data, key->str.len);
        dagcbor_node(w, key + 1);
    }
}

void dagcbor_node(struct dagcbor_writer *w, const struct dagcbor_node *node)
{
    switch (node->type) {
    case DAGCBOR_U64:
        dagcbor_u64(w, node->u64);
        break;
    case DAGCBOR_NEG:
        dagcbor_i64(w, node->i64);
        break;
    case DAGCBOR_F64:
        dagcbor_f64(w, node->f64);
        break;
    case DAGCBOR_BOOL:
        dagcbor_bool(w, node->boolean);
        break;
    case DAGCBOR_NULL:
        dagcbor_null(w);
        break;
    case DAGCBOR_STR:
        dagcbor_str_n(w, node->str.data, node->str.len);
        break;
    case DAGCBOR_BYTES:
        dagcbor_bytes(w, node->str.data, node->str.len);
        break;
    case DAGCBOR_CID:
        dagcbor_cid(w, &node->cid);
        break;
    case DAGCBOR_LIST:
        dagcbor_list(w, node->seq.count);
        for (size_t i = 0; i < node->seq.count; i++)
            dagcbor_node(w, &node->seq.items[i]);
        break;
    case DAGCBOR_MAP:
        write_map(w, node);
        break;
    }
}

enum emac_status dagcbor_writer_end(struct dagcbor_writer *w, struct emac_err *err)
{
    if (w->status != EMAC_OK)
        return emac_fail(err, w->status, "%s", w->err.text);
    if (!w->done)
        return emac_fail(err, EMAC_INTERNAL, "a dag-cbor value was left unfinished at depth %u",
                         w->depth);
    return EMAC_OK;
}

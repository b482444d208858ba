#include "codec/rlp.h"

#include <string.h>

#include "base/assert.h"

#define STRING_AT  0x80 /* headers of strings, of lists: + length up to 55 */
#define LIST_AT    0xc0
#define SHORT_MAX  55 /* longer: + SHORT_MAX + bytes of the length, then the length */
#define HEADER_MAX 9

/* ---- writer ---- */

void rlp_writer_init(struct rlp_writer *w, struct emac_buf *buf)
{
    memset(w, 0, sizeof(*w));
    w->buf = buf;
}

static void put(struct rlp_writer *w, const void *data, size_t n)
{
    if (w->status == EMAC_OK)
        w->status = emac_buf_append(w->buf, data, n, &w->err);
}

/* Big-endian without leading zeros; returns the bytes' number. */
static size_t shortest(uint8_t out[8], uint64_t v)
{
    size_t n = 0;
    while (n < 8 && v >> (8 * n) != 0)
        n++;
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
    return n;
}

static size_t header(uint8_t out[HEADER_MAX], uint8_t at, size_t len)
{
    if (len <= SHORT_MAX) {
        out[0] = (uint8_t)(at + len);
        return 1;
    }
    size_t n = shortest(out + 1, len);
    out[0] = (uint8_t)(at + SHORT_MAX + n);
    return 1 + n;
}

void rlp_bytes(struct rlp_writer *w, const void *data, size_t n)
{
    uint8_t head[HEADER_MAX];
    const uint8_t *p = data;
    if (n != 1 || p[0] >= STRING_AT)
        put(w, head, header(head, STRING_AT, n));
    if (n > 0)
        put(w, p, n);
}

void rlp_u256(struct rlp_writer *w, const struct u256 *v)
{
    uint8_t bytes[U256_BYTES];
    size_t zeros = 0;
    u256_to_bytes(bytes, v);
    while (zeros < U256_BYTES && bytes[zeros] == 0)
        zeros++;
    rlp_bytes(w, bytes + zeros, U256_BYTES - zeros);
}

void rlp_u64(struct rlp_writer *w, uint64_t v)
{
    uint8_t bytes[8];
    rlp_bytes(w, bytes, shortest(bytes, v));
}

void rlp_list_begin(struct rlp_writer *w)
{
    EMAC_ASSERT(w->depth < RLP_DEPTH_MAX);
    w->start[w->depth++] = w->buf->len;
}

/* The list's length is known now: make room for its header in front of it. */
void rlp_list_end(struct rlp_writer *w)
{
    uint8_t head[HEADER_MAX];
    EMAC_ASSERT(w->depth > 0);
    size_t start = w->start[--w->depth];
    if (w->status != EMAC_OK)
        return;
    size_t len = w->buf->len - start, n = header(head, LIST_AT, len);
    put(w, head, n);
    if (w->status != EMAC_OK)
        return;
    memmove(w->buf->data + start + n, w->buf->data + start, len);
    memcpy(w->buf->data + start, head, n);
}

enum emac_status rlp_writer_end(struct rlp_writer *w, struct emac_err *err)
{
    EMAC_ASSERT(w->depth == 0);
    if (w->status != EMAC_OK && err != NULL)
        *err = w->err;
    return w->status;
}

/* ---- reader ---- */

static enum emac_status bad(struct emac_err *err, const char *why)
{
    return emac_fail(err, EMAC_CORRUPT, "not canonical RLP: %s", why);
}

/* The length that `n` bytes after the header's first give. */
static enum emac_status long_length(const struct emac_slice *in, size_t n, size_t *len,
                                    struct emac_err *err)
{
    size_t v = 0;
    if (in->len < 1 + n)
        return bad(err, "it ends within a length");
    for (size_t i = 0; i < n; i++)
        v = v << 8 | in->data[1 + i];
    if (in->data[1] == 0 || v <= SHORT_MAX)
        return bad(err, "a length is written longer than needed");
    *len = v;
    return EMAC_OK;
}

enum emac_status rlp_next(struct emac_slice *in, struct rlp_item *out, struct emac_err *err)
{
    if (in->len == 0)
        return bad(err, "an item is missing");
    uint8_t first = in->data[0];
    size_t head = first >= STRING_AT, len = 1;
    out->list = first >= LIST_AT;
    if (head) {
        size_t code = first - (out->list ? LIST_AT : STRING_AT);
        len = code;
        if (code > SHORT_MAX) {
            enum emac_status st = long_length(in, code - SHORT_MAX, &len, err);
            if (st != EMAC_OK)
                return st;
            head += code - SHORT_MAX;
        }
    }
    if (in->len - head < len)
        return bad(err, "an item is longer than the bytes that are there");
    out->body = EMAC_SLICE(in->data + head, len);
    if (head && !out->list && len == 1 && out->body.data[0] < STRING_AT)
        return bad(err, "a small byte has a header");
    *in = EMAC_SLICE(in->data + head + len, in->len - head - len);
    return EMAC_OK;
}

enum emac_status rlp_check(struct emac_slice in, struct emac_err *err)
{
    struct emac_slice open[RLP_DEPTH_MAX + 1];
    struct rlp_item item;
    size_t depth = 0;
    open[0] = in;
    do {
        enum emac_status st = rlp_next(&open[depth], &item, err);
        if (st != EMAC_OK)
            return st;
        if (depth == 0 && open[0].len > 0)
            return bad(err, "bytes are left over");
        if (item.list && item.body.len > 0) {
            if (depth == RLP_DEPTH_MAX)
                return bad(err, "lists are nested too deep");
            open[++depth] = item.body;
        }
        while (depth > 0 && open[depth].len == 0)
            depth--;
    } while (depth > 0);
    return EMAC_OK;
}

enum emac_status rlp_next_list(struct emac_slice *in, struct emac_slice *body, struct emac_err *err)
{
    struct rlp_item item;
    enum emac_status st = rlp_next(in, &item, err);
    if (st == EMAC_OK && !item.list)
        st = bad(err, "a string is where a list should be");
    if (st == EMAC_OK)
        *body = item.body;
    return st;
}

static enum emac_status next_string(struct emac_slice *in, struct emac_slice *body,
                                    struct emac_err *err)
{
    struct rlp_item item;
    enum emac_status st = rlp_next(in, &item, err);
    if (st == EMAC_OK && item.list)
        st = bad(err, "a list is where a string should be");
    if (st == EMAC_OK)
        *body = item.body;
    return st;
}

enum emac_status rlp_next_bytes(struct emac_slice *in, void *out, size_t n, struct emac_err *err)
{
    struct emac_slice body;
    enum emac_status st = next_string(in, &body, err);
    if (st == EMAC_OK && body.len != n)
        st = bad(err, "a string has another length");
    if (st == EMAC_OK)
        memcpy(out, body.data, n);
    return st;
}

enum emac_status rlp_next_u256(struct emac_slice *in, struct u256 *out, struct emac_err *err)
{
    uint8_t bytes[U256_BYTES] = {0};
    struct emac_slice body;
    enum emac_status st = next_string(in, &body, err);
    if (st != EMAC_OK)
        return st;
    if (body.len > U256_BYTES || (body.len > 0 && body.data[0] == 0))
        return bad(err, "a number is too long or has leading zeros");
    memcpy(bytes + U256_BYTES - body.len, body.data, body.len);
    *out = u256_from_bytes(bytes);
    return EMAC_OK;
}

enum emac_status rlp_next_u64(struct emac_slice *in, uint64_t *out, struct emac_err *err)
{
    struct u256 v;
    enum emac_status st = rlp_next_u256(in, &v, err);
    if (st == EMAC_OK && !u256_to_u64(&v, out))
        st = bad(err, "a number passes 64 bits");
    return st;
}

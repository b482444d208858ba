#include "codec/commp.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/hex.h"
#include "codec/cid.h"
#include "codec/commp_tree.h"
#include "crypto/crypto.h"

#define CHUNK_NODES_MAX ((size_t)1 << 40) /* bytes: more than COMMP_SIZE_MAX has */

/* ---- sizes ---- */

uint32_t commp_height(uint64_t size)
{
    EMAC_ASSERT(size <= COMMP_SIZE_MAX);
    uint32_t height = 2;
    for (uint64_t room = COMMP_QUAD; room < size; room *= 2)
        height++;
    EMAC_ASSERT(height <= COMMP_HEIGHT_MAX);
    return height;
}

uint64_t commp_padding(uint64_t size)
{
    return ((uint64_t)COMMP_QUAD << (commp_height(size) - 2)) - size;
}

uint64_t commp_leaves(uint64_t size)
{
    EMAC_ASSERT(size <= COMMP_SIZE_MAX);
    uint64_t leaves = (8 * size + 253) / 254;
    return leaves > 0 ? leaves : 1;
}

size_t commp_proof_bytes(uint64_t size)
{
    return COMMP_NODE * (1 + (size_t)commp_height(size));
}

uint64_t commp_chunks(uint64_t size)
{
    uint64_t chunks = (size + COMMP_CHUNK - 1) / COMMP_CHUNK;
    return chunks > 0 ? chunks : 1;
}

/* ---- nodes ---- */

void commp_above(uint8_t out[COMMP_NODE], const uint8_t left[COMMP_NODE],
                 const uint8_t right[COMMP_NODE])
{
    uint8_t both[2 * COMMP_NODE];
    memcpy(both, left, COMMP_NODE);
    memcpy(both + COMMP_NODE, right, COMMP_NODE);
    crypto_sha256(out, both, sizeof both);
    out[COMMP_NODE - 1] &= 0x3f;
}

/* Bits are counted from the lowest of the first byte; leaf q takes 254 from bit 254 q. */
void commp_fr32(uint8_t out[4 * COMMP_NODE], const uint8_t in[COMMP_QUAD])
{
    for (unsigned q = 0; q < 4; q++) {
        unsigned from = 254 * q / 8, shift = 254 * q % 8;
        uint8_t *leaf = out + q * COMMP_NODE;
        for (unsigned i = 0; i < COMMP_NODE; i++) {
            unsigned low = in[from + i] >> shift;
            unsigned high = from + i + 1 < COMMP_QUAD ? in[from + i + 1] : 0;
            leaf[i] = (uint8_t)(low | high << (8 - shift));
        }
        leaf[COMMP_NODE - 1] &= 0x3f;
    }
}

void commp_zeros(struct commp_zeros *z)
{
    memset(z->at[0], 0, COMMP_NODE);
    for (unsigned i = 0; i < COMMP_HEIGHT_MAX; i++)
        commp_above(z->at[i + 1], z->at[i], z->at[i]);
}

/* ---- the builder ----
 *
 * `left[h]` waits for its right neighbour while bit h of `leaves` is set, as in a binary counter.
 * The end adds subtrees of zeros, the largest that fit, until the tree is whole. */

struct commp_builder {
    uint64_t size, leaves;
    bool keep;
    struct emac_buf chunk;
    uint8_t quad[COMMP_QUAD];
    size_t quad_len;
    uint8_t left[COMMP_HEIGHT_MAX + 1][COMMP_NODE];
    uint8_t top[COMMP_NODE]; /* the node that was made last */
};

enum emac_status commp_builder_new(bool chunks, struct commp_builder **out, struct emac_err *err)
{
    enum emac_status st = emac_alloc(out, 1, sizeof **out, err);
    if (st != EMAC_OK)
        return st;
    (*out)->keep = chunks;
    emac_buf_init(&(*out)->chunk, CHUNK_NODES_MAX);
    return EMAC_OK;
}

void commp_builder_free(struct commp_builder *b)
{
    if (b == NULL)
        return;
    emac_buf_release(&b->chunk);
    free(b);
}

/* A subtree of 2^level leaves comes next. */
static enum emac_status add(struct commp_builder *b, uint32_t level, const uint8_t *node,
                            struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    EMAC_ASSERT((b->leaves & ((UINT64_C(1) << level) - 1)) == 0);
    memcpy(b->top, node, COMMP_NODE);
    uint32_t at = level;
    for (; st == EMAC_OK; at++) {
        if (b->keep && at == COMMP_CHUNK_LEVEL)
            st = emac_buf_append(&b->chunk, b->top, COMMP_NODE, err);
        if ((b->leaves >> at & 1) == 0)
            break;
        commp_above(b->top, b->left[at], b->top);
    }
    EMAC_ASSERT(at <= COMMP_HEIGHT_MAX);
    memcpy(b->left[at], b->top, COMMP_NODE);
    b->leaves += UINT64_C(1) << level;
    return st;
}

static enum emac_status quad_add(struct commp_builder *b, const uint8_t quad[COMMP_QUAD],
                                 struct emac_err *err)
{
    uint8_t leaf[4 * COMMP_NODE];
    enum emac_status st = EMAC_OK;
    commp_fr32(leaf, quad);
    for (unsigned i = 0; i < 4 && st == EMAC_OK; i++)
        st = add(b, 0, leaf + i * COMMP_NODE, err);
    return st;
}

enum emac_status commp_builder_write(struct commp_builder *b, const void *data, size_t n,
                                     struct emac_err *err)
{
    const uint8_t *p = data;
    enum emac_status st = EMAC_OK;
    if (n > COMMP_SIZE_MAX - b->size)
        return emac_fail(err, EMAC_TOO_LARGE, "a piece may have at most %llu bytes",
                         (unsigned long long)COMMP_SIZE_MAX);
    b->size += n;
    while (n > 0 && st == EMAC_OK) {
        size_t used = COMMP_QUAD;
        if (b->quad_len == 0 && n >= COMMP_QUAD) {
            st = quad_add(b, p, err);
        } else {
            used = COMMP_QUAD - b->quad_len < n ? COMMP_QUAD - b->quad_len : n;
            memcpy(b->quad + b->quad_len, p, used);
            b->quad_len += used;
            if (b->quad_len == COMMP_QUAD) {
                st = quad_add(b, b->quad, err);
                b->quad_len = 0;
            }
        }
        p += used;
        n -= used;
    }
    return st;
}

static enum emac_status pad(struct commp_builder *b, uint32_t height, struct emac_err *err)
{
    struct commp_zeros zeros;
    uint64_t whole = UINT64_C(1) << height;
    enum emac_status st = EMAC_OK;
    commp_zeros(&zeros);
    if (b->quad_len > 0 || b->leaves == 0) {
        memset(b->quad + b->quad_len, 0, COMMP_QUAD - b->quad_len);
        st = quad_add(b, b->quad, err);
    }
    while (st == EMAC_OK && b->leaves < whole) {
        uint32_t level = (uint32_t)__builtin_ctzll(b->leaves);
        st = add(b, level, zeros.at[level], err);
    }
    EMAC_ASSERT(st != EMAC_OK || b->leaves == whole);
    return st;
}

enum emac_status commp_builder_end(struct commp_builder *b, struct commp *out, uint8_t **chunk,
                                   struct emac_err *err)
{
    uint32_t height = commp_height(b->size);
    uint64_t chunks = commp_chunks(b->size);
    enum emac_status st = pad(b, height, err);
    EMAC_ASSERT(chunk == NULL || b->keep);
    if (st == EMAC_OK) {
        out->size = b->size;
        memcpy(out->root, b->top, COMMP_NODE);
    }
    if (st == EMAC_OK && chunk != NULL) {
        if (b->chunk.len == 0) /* a tree that is lower than a chunk */
            st = emac_buf_append(&b->chunk, b->top, COMMP_NODE, err);
        EMAC_ASSERT(st != EMAC_OK || b->chunk.len / COMMP_NODE >= chunks);
        *chunk = st == EMAC_OK ? emac_buf_steal(&b->chunk, NULL) : NULL;
    }
    commp_builder_free(b);
    return st;
}

/* ---- text ---- */

/* CIDv1 raw, multihash 0x1011; the digest's length follows */
static const uint8_t PREFIX_V2[] = {0x01, 0x55, 0x91, 0x20};
/* CIDv1, codec 0xf101, multihash 0x1012 of 32 bytes */
static const uint8_t PREFIX_V1[] = {0x01, 0x81, 0xe2, 0x03, 0x92, 0x20, COMMP_NODE};
#define V2_BYTES_MAX (sizeof PREFIX_V2 + 1 + 10 + 1 + COMMP_NODE)

void commp_text(char out[COMMP_TEXT_MAX], const struct commp *p)
{
    uint8_t bytes[V2_BYTES_MAX], padding[10];
    size_t pad_len = varint_write(padding, commp_padding(p->size)), n = sizeof PREFIX_V2;
    memcpy(bytes, PREFIX_V2, n);
    bytes[n++] = (uint8_t)(pad_len + 1 + COMMP_NODE);
    memcpy(bytes + n, padding, pad_len);
    n += pad_len;
    bytes[n++] = (uint8_t)commp_height(p->size);
    memcpy(bytes + n, p->root, COMMP_NODE);
    n += COMMP_NODE;
    EMAC_ASSERT(1 + EMAC_BASE32_LEN(n) < COMMP_TEXT_MAX);
    out[0] = 'b';
    emac_base32(out + 1, bytes, n);
}

void commp_text_v1(char out[COMMP_TEXT_MAX], const struct commp *p)
{
    uint8_t bytes[sizeof PREFIX_V1 + COMMP_NODE];
    memcpy(bytes, PREFIX_V1, sizeof PREFIX_V1);
    memcpy(bytes + sizeof PREFIX_V1, p->root, COMMP_NODE);
    out[0] = 'b';
    emac_base32(out + 1, bytes, sizeof bytes);
}

/* bytes[0..n) is a v2 CID: size from padding and height. */
static bool v2_read(struct commp *out, const uint8_t *bytes, size_t n)
{
    size_t at = sizeof PREFIX_V2;
    uint64_t padding;
    if (n < at + 1 || memcmp(bytes, PREFIX_V2, at) != 0 || bytes[at] != n - at - 1)
        return false;
    at++;
    size_t used = varint_read(&padding, bytes + at, n - at);
    if (used == 0 || n - at - used != 1 + COMMP_NODE)
        return false;
    uint32_t height = bytes[at + used];
    if (height < 2 || height > COMMP_HEIGHT_MAX)
        return false;
    uint64_t room = (uint64_t)COMMP_QUAD << (height - 2);
    if (padding > room || commp_height(room - padding) != height)
        return false;
    out->size = room - padding;
    memcpy(out->root, bytes + at + used + 1, COMMP_NODE);
    return (out->root[COMMP_NODE - 1] & 0xc0) == 0;
}

enum emac_status commp_parse(struct commp *out, const char *text, struct emac_err *err)
{
    uint8_t bytes[V2_BYTES_MAX];
    struct commp p;
    size_t len = strnlen(text, COMMP_TEXT_MAX);
    size_t n = len > 0 ? (len - 1) * 5 / 8 : 0;
    if (n > sizeof bytes || text[0] != 'b' || !emac_unbase32(bytes, n, text + 1) ||
        !v2_read(&p, bytes, n))
        return emac_fail(err, EMAC_INVALID,
                         "'%.*s' is not a piece CID of version 2 (FRC-0069, 'bafkzcib...')",
                         (int)len, text);
    *out = p;
    return EMAC_OK;
}

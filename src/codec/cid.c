#include "codec/cid.h"

#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "crypto/crypto.h"

#define CID_V1           1
#define MULTIHASH_SHA256 0x12
#define CID_V0_BYTES     34 /* 12 20 digest */
#define CID_V0_TEXT      46
#define CID_V1_TEXT      (1 + EMAC_BASE32_LEN(CID_BYTES))

struct cid cid_of(enum cid_codec codec, const void *data, size_t n)
{
    struct cid c = {.codec = (uint8_t)codec};
    crypto_sha256(c.digest, data, n);
    return c;
}

bool cid_equal(const struct cid *a, const struct cid *b)
{
    return cid_compare(a, b) == 0;
}

int cid_compare(const struct cid *a, const struct cid *b)
{
    if (a->codec != b->codec)
        return a->codec < b->codec ? -1 : 1;
    return memcmp(a->digest, b->digest, sizeof a->digest);
}

bool cid_is_none(const struct cid *c)
{
    return c->codec == 0;
}

void cid_bytes(uint8_t out[CID_BYTES], const struct cid *c)
{
    EMAC_ASSERT(c->codec != 0 && c->codec < 0x80);
    out[0] = CID_V1;
    out[1] = c->codec;
    out[2] = MULTIHASH_SHA256;
    out[3] = SHA256_BYTES;
    memcpy(out + 4, c->digest, SHA256_BYTES);
}

static bool codec_known(uint64_t codec)
{
    return codec == CID_RAW || codec == CID_DAG_PB || codec == CID_DAG_CBOR;
}

static enum emac_status v0_from_bytes(struct cid *out, const uint8_t *data, size_t n, size_t *used,
                                      struct emac_err *err)
{
    if (n < CID_V0_BYTES)
        return emac_fail(err, EMAC_CORRUPT, "a CID is cut after %zu of %d bytes", n, CID_V0_BYTES);
    out->codec = CID_DAG_PB;
    memcpy(out->digest, data + 2, SHA256_BYTES);
    *used = CID_V0_BYTES;
    return EMAC_OK;
}

enum emac_status cid_from_bytes(struct cid *out, const uint8_t *data, size_t n, size_t *used,
                                struct emac_err *err)
{
    if (n >= 2 && data[0] == MULTIHASH_SHA256 && data[1] == SHA256_BYTES)
        return v0_from_bytes(out, data, n, used, err);
    static const char *const field[4] = {"version", "codec", "hash function", "hash length"};
    uint64_t v[4];
    size_t at = 0;
    for (int i = 0; i < 4; i++) {
        size_t len = varint_read(&v[i], data + at, n - at);
        if (len == 0)
            return emac_fail(err, EMAC_CORRUPT, "the %s of a CID is cut or malformed", field[i]);
        at += len;
    }
    if (v[0] != CID_V1)
        return emac_fail(err, EMAC_CORRUPT, "unknown CID version %llu", (unsigned long long)v[0]);
    if (!codec_known(v[1]))
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "CID codec 0x%llx is not supported: use raw, dag-pb or dag-cbor",
                         (unsigned long long)v[1]);
    if (v[2] != MULTIHASH_SHA256 || v[3] != SHA256_BYTES)
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "CID hash 0x%llx of %llu bytes is not supported: use sha2-256",
                         (unsigned long long)v[2], (unsigned long long)v[3]);
    if (n - at < SHA256_BYTES)
        return emac_fail(err, EMAC_CORRUPT, "a CID is cut after %zu of %d bytes", n, CID_BYTES);
    out->codec = (uint8_t)v[1];
    memcpy(out->digest, data + at, SHA256_BYTES);
    *used = at + SHA256_BYTES;
    EMAC_ASSERT(*used == CID_BYTES);
    return EMAC_OK;
}

void cid_text(char out[CID_TEXT_MAX], const struct cid *c)
{
    uint8_t bytes[CID_BYTES];
    cid_bytes(bytes, c);
    out[0] = 'b';
    emac_base32(out + 1, bytes, CID_BYTES);
    EMAC_ASSERT(out[CID_V1_TEXT] == '\0');
}

enum emac_status cid_parse(struct cid *out, const char *text, struct emac_err *err)
{
    uint8_t bytes[CID_BYTES];
    size_t len = strnlen(text, CID_TEXT_MAX), n, used = 0;
    if (len == CID_V0_TEXT && text[0] == 'Q' && text[1] == 'm') {
        n = CID_V0_BYTES;
        if (!emac_unbase58(bytes, n, text))
            return emac_fail(err, EMAC_INVALID, "'%s' is not a CID: bad base58 digits", text);
    } else {
        n = CID_BYTES;
        if (len != CID_V1_TEXT || text[0] != 'b' || !emac_unbase32(bytes, CID_BYTES, text + 1))
            return emac_fail(err, EMAC_INVALID,
                             "'%.*s' is not a CID: it should be 'b' and 58 base32 digits, or 'Qm' "
                             "and 44 base58 digits",
                             (int)len, text);
    }
    struct cid c;
    enum emac_status st = cid_from_bytes(&c, bytes, n, &used, err);
    if (st == EMAC_OK && used != n)
        st = emac_fail(err, EMAC_INVALID, "'%s' is not a CID: bytes follow the hash", text);
    if (st == EMAC_OK)
        *out = c;
    return st;
}

size_t varint_write(uint8_t out[10], uint64_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        out[n++] = (uint8_t)(v | 0x80);
    out[n++] = (uint8_t)v;
    return n;
}

size_t varint_read(uint64_t *out, const uint8_t *data, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n && i < 9; i++) {
        v |= (uint64_t)(data[i] & 0x7f) << (7 * i);
        if (data[i] >= 0x80)
            continue;
        if (data[i] == 0 && i > 0)
            return 0; /* a zero last byte: not the shortest form */
        *out = v;
        return i + 1;
    }
    return 0;
}

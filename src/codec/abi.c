#include "codec/abi.h"

#include <stdarg.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"

static bool is_dynamic(char type)
{
    return type == 'B' || type == 'A';
}

static void word_u64(uint8_t word[ABI_WORD], uint64_t v)
{
    struct u256 big = u256_from_u64(v);
    u256_to_bytes(word, &big);
}

/* ---- writer ---- */

static enum emac_status put_u64(struct emac_buf *out, uint64_t v, struct emac_err *err)
{
    uint8_t word[ABI_WORD];
    word_u64(word, v);
    return emac_buf_append(out, word, ABI_WORD, err);
}

/* Of a dynamic value: its length, its bytes, zeros up to a whole word. */
static enum emac_status put_tail(struct emac_buf *out, char type, const void *data, size_t n,
                                 struct emac_err *err)
{
    static const uint8_t zeros[ABI_WORD];
    size_t bytes;
    enum emac_status st = put_u64(out, n, err);
    if (!emac_mul_size(n, type == 'A' ? ABI_WORD : 1, &bytes))
        return emac_fail(err, EMAC_TOO_LARGE, "a value of a contract call is too large");
    if (st == EMAC_OK && bytes > 0)
        st = emac_buf_append(out, data, bytes, err);
    if (st == EMAC_OK && bytes % ABI_WORD > 0)
        st = emac_buf_append(out, zeros, ABI_WORD - bytes % ABI_WORD, err);
    return st;
}

/* A static value as one word; consumes its argument. */
static void take_word(uint8_t word[ABI_WORD], char type, va_list *ap)
{
    memset(word, 0, ABI_WORD);
    switch (type) {
    case 'u':
        u256_to_bytes(word, va_arg(*ap, const struct u256 *));
        break;
    case 'n':
        word_u64(word, va_arg(*ap, uint64_t));
        break;
    case 'a':
        memcpy(word + ABI_WORD - EVM_ADDRESS_BYTES, va_arg(*ap, const uint8_t *),
               EVM_ADDRESS_BYTES);
        break;
    case 'b':
        memcpy(word, va_arg(*ap, const uint8_t *), ABI_WORD);
        break;
    case 'o':
        word[ABI_WORD - 1] = va_arg(*ap, int) != 0;
        break;
    default:
        EMAC_ASSERT(!"a type letter of abi_encode");
    }
}

/* Heads grow in `out`, tails in `tails`, which follow them in the end. */
static enum emac_status encode_all(struct emac_buf *out, struct emac_buf *tails, const char *types,
                                   va_list *ap, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    size_t count = strlen(types);
    uint8_t word[ABI_WORD];
    EMAC_ASSERT(count <= ABI_VALUES_MAX);
    for (size_t i = 0; i < count && st == EMAC_OK; i++) {
        if (is_dynamic(types[i])) {
            const void *data = va_arg(*ap, const void *);
            size_t n = va_arg(*ap, size_t);
            st = put_u64(out, count * ABI_WORD + tails->len, err);
            if (st == EMAC_OK)
                st = put_tail(tails, types[i], data, n, err);
        } else {
            take_word(word, types[i], ap);
            st = emac_buf_append(out, word, ABI_WORD, err);
        }
    }
    return st == EMAC_OK ? emac_buf_append(out, tails->data, tails->len, err) : st;
}

/* Back to what it held: of a failure nothing is kept. */
static void cut(struct emac_buf *out, size_t len)
{
    out->len = len;
    if (out->data != NULL)
        out->data[len] = 0;
}

static enum emac_status encode_va(struct emac_buf *out, const char *types, va_list *ap,
                                  struct emac_err *err)
{
    struct emac_buf tails;
    size_t before = out->len;
    emac_buf_init(&tails, out->max);
    enum emac_status st = encode_all(out, &tails, types, ap, err);
    if (st != EMAC_OK)
        cut(out, before);
    emac_buf_release(&tails);
    return st;
}

enum emac_status abi_encode(struct emac_buf *out, struct emac_err *err, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    enum emac_status st = encode_va(out, types, &ap, err);
    va_end(ap);
    return st;
}

enum emac_status abi_encode_call(struct emac_buf *out, struct emac_err *err, const char *signature,
                                 const char *types, ...)
{
    uint8_t topic[KECCAK256_BYTES];
    size_t before = out->len;
    va_list ap;
    abi_topic(topic, signature);
    enum emac_status st = emac_buf_append(out, topic, ABI_SELECTOR_BYTES, err);
    va_start(ap, types);
    if (st == EMAC_OK)
        st = encode_va(out, types, &ap, err);
    va_end(ap);
    if (st != EMAC_OK)
        cut(out, before);
    return st;
}

void abi_topic(uint8_t out[KECCAK256_BYTES], const char *signature)
{
    crypto_keccak256(out, signature, strlen(signature));
}

/* ---- reader ---- */

static bool all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != 0)
            return false;
    }
    return true;
}

static bool read_u64(const uint8_t word[ABI_WORD], uint64_t *out)
{
    struct u256 v = u256_from_bytes(word);
    return u256_to_u64(&v, out);
}

/* A dynamic value, which must begin where the one before it ended: at *next, which moves on. */
static bool read_tail(struct emac_slice in, const uint8_t *head, char type, size_t *next,
                      struct emac_slice *out)
{
    uint64_t offset, n;
    size_t bytes, padded, left = in.len - *next;
    if (!read_u64(head, &offset) || offset != *next || left < ABI_WORD ||
        !read_u64(in.data + *next, &n) || n > left)
        return false;
    left -= ABI_WORD;
    if (!emac_mul_size(n, type == 'A' ? ABI_WORD : 1, &bytes) ||
        !emac_add_size(bytes, ABI_WORD - 1, &padded))
        return false;
    padded -= padded % ABI_WORD;
    const uint8_t *data = in.data + *next + ABI_WORD;
    if (padded > left || !all_zero(data + bytes, padded - bytes))
        return false;
    *out = EMAC_SLICE(data, bytes);
    *next += ABI_WORD + padded;
    return true;
}

static bool read_word(const uint8_t word[ABI_WORD], char type, va_list *ap)
{
    uint64_t v;
    switch (type) {
    case 'u':
        *va_arg(*ap, struct u256 *) = u256_from_bytes(word);
        return true;
    case 'n':
        return read_u64(word, va_arg(*ap, uint64_t *));
    case 'a':
        memcpy(va_arg(*ap, uint8_t *), word + ABI_WORD - EVM_ADDRESS_BYTES, EVM_ADDRESS_BYTES);
        return all_zero(word, ABI_WORD - EVM_ADDRESS_BYTES);
    case 'b':
        memcpy(va_arg(*ap, uint8_t *), word, ABI_WORD);
        return true;
    default:
        EMAC_ASSERT(type == 'o');
        bool *out = va_arg(*ap, bool *);
        if (!read_u64(word, &v) || v > 1)
            return false;
        *out = v == 1;
        return true;
    }
}

enum emac_status abi_decode(struct emac_slice in, struct emac_err *err, const char *types, ...)
{
    va_list ap;
    size_t count = strlen(types), next = count * ABI_WORD;
    bool ok = in.len >= next;
    va_start(ap, types);
    for (size_t i = 0; ok && i < count; i++) {
        const uint8_t *word = in.data + i * ABI_WORD;
        ok = is_dynamic(types[i])
                 ? read_tail(in, word, types[i], &next, va_arg(ap, struct emac_slice *))
                 : read_word(word, types[i], &ap);
    }
    va_end(ap);
    if (!ok || next != in.len)
        return emac_fail(err, EMAC_CORRUPT,
                         "a contract's %zu bytes are not the %zu values that were asked for",
                         in.len, count);
    return EMAC_OK;
}

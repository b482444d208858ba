#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "codec/abi.h"
#include "../evm_vectors.h"

static const char TO[] = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

static const char *vector(const char *name)
{
    for (size_t i = 0; i < EMAC_COUNT(ABI_VECTORS); i++) {
        if (strcmp(ABI_VECTORS[i].name, name) == 0)
            return ABI_VECTORS[i].encoding;
    }
    fail_msg("no vector '%s'", name);
    return NULL;
}

static void assert_encoding(const struct emac_buf *buf, const char *want)
{
    char text[2048];
    assert_true(2 * buf->len < sizeof(text));
    emac_hex(text, buf->data, buf->len);
    assert_string_equal(text, want);
}

static void static_values(void **state)
{
    struct emac_buf buf;
    struct u256 big, back;
    uint8_t to[EVM_ADDRESS_BYTES], word[32], to_back[EVM_ADDRESS_BYTES], word_back[32];
    bool flag = false;
    memset(word, 0x11, sizeof(word));
    assert_true(crypto_evm_address_parse(to, TO));
    big = (struct u256){{5, 0, 0, UINT64_C(1) << 63}};
    emac_buf_init(&buf, 1024);
    assert_int_equal(abi_encode(&buf, NULL, "uaob", &big, to, 1, word), EMAC_OK);
    assert_encoding(&buf, vector("static"));
    assert_int_equal(
        abi_decode(emac_buf_slice(&buf), NULL, "uaob", &back, to_back, &flag, word_back), EMAC_OK);
    assert_int_equal(u256_compare(&big, &back), 0);
    assert_memory_equal(to, to_back, sizeof(to));
    assert_memory_equal(word, word_back, sizeof(word));
    assert_true(flag);
    emac_buf_release(&buf);
}

static void dynamic_values(void **state)
{
    struct emac_buf buf;
    struct emac_slice bytes, list, text;
    uint8_t data[33], words[64];
    uint64_t n = 0;
    memset(data, 0xab, sizeof(data));
    memset(words, 0x22, 32);
    memset(words + 32, 0x33, 32);
    emac_buf_init(&buf, 1024);
    assert_int_equal(abi_encode(&buf, NULL, "nBAB", UINT64_C(7), data, sizeof(data), words,
                                (size_t)2, "", (size_t)0),
                     EMAC_OK);
    assert_encoding(&buf, vector("dynamic"));
    assert_int_equal(abi_decode(emac_buf_slice(&buf), NULL, "nBAB", &n, &bytes, &list, &text),
                     EMAC_OK);
    assert_int_equal(n, 7);
    assert_int_equal(bytes.len, sizeof(data));
    assert_memory_equal(bytes.data, data, sizeof(data));
    assert_int_equal(list.len, sizeof(words));
    assert_memory_equal(list.data, words, sizeof(words));
    assert_int_equal(text.len, 0);
    emac_buf_release(&buf);
}

static void call(void **state)
{
    static const char SIGNATURE[] = "transfer(address,uint256)";
    struct emac_buf buf;
    struct u256 amount = u256_from_u64(UINT64_C(1000000000000000000));
    uint8_t to[EVM_ADDRESS_BYTES];
    assert_true(crypto_evm_address_parse(to, TO));
    emac_buf_init(&buf, 1024);
    assert_int_equal(abi_encode_call(&buf, NULL, SIGNATURE, "au", to, &amount), EMAC_OK);
    assert_encoding(&buf, vector(SIGNATURE));
    emac_buf_release(&buf);
    emac_buf_init(&buf, 67);
    assert_int_equal(abi_encode_call(&buf, NULL, SIGNATURE, "au", to, &amount), EMAC_TOO_LARGE);
    assert_int_equal(buf.len, 0);
    emac_buf_release(&buf);
}

/* Every byte of padding, offset and length matters: any change of one is refused or changes a
 * value. */
static void damaged(void **state)
{
    struct emac_slice bytes, list;
    struct emac_buf buf;
    uint8_t address[EVM_ADDRESS_BYTES] = {7}, words[64] = {1};
    uint64_t n;
    bool flag;
    emac_buf_init(&buf, 1024);
    assert_int_equal(abi_encode(&buf, NULL, "naoBA", UINT64_C(1), address, 1, "abc", (size_t)3,
                                words, (size_t)2),
                     EMAC_OK);
    for (size_t i = 0; i < buf.len; i++) {
        size_t word = i / ABI_WORD, at = i % ABI_WORD;
        bool value = (word == 0 && at >= 24) || (word == 1 && at >= 12) || (word == 6 && at < 3) ||
                     word >= 8;
        buf.data[i] ^= 0x40;
        assert_int_equal(
            abi_decode(emac_buf_slice(&buf), NULL, "naoBA", &n, address, &flag, &bytes, &list),
            value ? EMAC_OK : EMAC_CORRUPT);
        buf.data[i] ^= 0x40;
    }
    for (size_t len = 0; len < buf.len; len++)
        assert_int_equal(
            abi_decode(EMAC_SLICE(buf.data, len), NULL, "naoBA", &n, address, &flag, &bytes, &list),
            EMAC_CORRUPT);
    emac_buf_release(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(static_values),
        cmocka_unit_test(dynamic_values),
        cmocka_unit_test(call),
        cmocka_unit_test(damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

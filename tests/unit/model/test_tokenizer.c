/* The byte tokenizer's files: valid JSON, 256 different symbols, byte b has id b. */
#include <jansson.h>

#include "fixture.h"
#include "model/tokenizer.h"

static json_t *parsed(enum emac_status (*write)(struct emac_buf *out, struct emac_err *err))
{
    struct emac_buf buf;
    json_error_t je;
    json_t *root;

    emac_buf_init(&buf, 1 << 20);
    ASSERT_OK(write(&buf, err));
    root = json_loadb(emac_buf_str(&buf), buf.len, JSON_REJECT_DUPLICATES, &je);
    if (root == NULL)
        fail_msg("line %d: %s", je.line, je.text);
    emac_buf_release(&buf);
    return root;
}

/* UTF-8 of the visible character of a byte, from the rule: bytes that Latin-1 prints stand for
 * themselves, the others are U+0100, U+0101, ... in order. */
static void symbol_of(unsigned byte, char out[4])
{
    unsigned code = byte, hidden = 0;

    for (unsigned b = 0; b < byte; b++)
        hidden += b < 33 || b == 127 || (b >= 128 && b < 161) || b == 173;
    if (byte < 33 || byte == 127 || (byte >= 128 && byte < 161) || byte == 173)
        code = 256 + hidden;
    memset(out, 0, 4);
    if (code < 0x80) {
        out[0] = (char)code;
    } else {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
    }
}

static void test_vocabulary(void **state)
{
    json_t *root = parsed(byte_tokenizer_json);
    json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    char symbol[4];

    assert_int_equal(json_object_size(vocab), 256);
    for (unsigned b = 0; b < 256; b++) {
        symbol_of(b, symbol);
        assert_true(json_is_integer(json_object_get(vocab, symbol)));
        assert_int_equal(json_integer_value(json_object_get(vocab, symbol)), b);
    }
    symbol_of(' ', symbol);
    assert_string_equal(symbol, "\xc4\xa0"); /* the well-known G with a dot */
    symbol_of('\n', symbol);
    assert_string_equal(symbol, "\xc4\x8a");
    assert_int_equal(json_array_size(json_object_get(json_object_get(root, "model"), "merges")), 0);
    json_decref(root);
}

static enum emac_status config_json(struct emac_buf *out, struct emac_err *err)
{
    return byte_tokenizer_config_json(out, 512, err);
}

static void test_other_files(void **state)
{
    json_t *root = parsed(config_json);

    assert_int_equal(json_integer_value(json_object_get(root, "model_max_length")), 512);
    assert_string_equal(json_string_value(json_object_get(root, "tokenizer_class")),
                        "PreTrainedTokenizerFast");
    json_decref(root);
    root = parsed(byte_tokenizer_special_json);
    assert_int_equal(json_object_size(root), 0);
    json_decref(root);
    root = parsed(generation_config_json);
    assert_true(json_is_null(json_object_get(root, "eos_token_id")));
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vocabulary),
        cmocka_unit_test(test_other_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

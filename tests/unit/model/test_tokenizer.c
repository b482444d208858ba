/* Tokenizers that are read: ids by hand-made tables, what is refused and in which words, pieces
 * that give the text back. That Hugging Face's own package gives the same ids is checked by
 * tests/interop/tokenizer_check.py. And the byte tokenizer's files: valid JSON, 256 different
 * symbols, byte b has id b. */
#include <jansson.h>

#include "fixture.h"
#include "../property.h"
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

/* -- reading and encoding ------------------------------------------------------------------ */

/* A tokenizer.json of these parts; NULL stands for null. */
static void json_make(struct emac_buf *out, const char *added, const char *normalizer,
                      const char *pre, const char *post, const char *decoder, const char *model)
{
    emac_buf_init(out, 1 << 20);
    ASSERT_OK(emac_buf_printf(
        out, err,
        "{\"version\":\"1.0\",\"added_tokens\":%s,\"normalizer\":%s,\"pre_tokenizer\":%s,"
        "\"post_processor\":%s,\"decoder\":%s,\"model\":%s}",
        added ? added : "[]", normalizer ? normalizer : "null", pre ? pre : "null",
        post ? post : "null", decoder ? decoder : "null", model));
}

/* Ids as text: "1 2 3". */
static const char *ids_text(const struct emac_buf *ids)
{
    static char text[512];
    size_t n = 0;

    text[0] = 0;
    for (size_t i = 0; i < ids->len; i += 4) {
        int32_t id;

        memcpy(&id, ids->data + i, 4);
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%d", i > 0 ? " " : "", id);
        assert_true(n < sizeof(text));
    }
    return text;
}

static void assert_encodes(const struct tokenizer *t, const char *text, size_t n, bool special,
                           const char *want)
{
    struct emac_buf ids;

    emac_buf_init(&ids, 1 << 20);
    ASSERT_OK(tokenizer_encode(t, EMAC_SLICE(text, n), special, &ids, err));
    assert_string_equal(ids_text(&ids), want);
    emac_buf_release(&ids);
}

#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}"
#define LETTERS    "\"a\":0,\"b\":1,\"c\":2,\"\\u0120\":3"
/* a b c, a space, and what merges of them */
#define SMALL                                                                                      \
    "{\"type\":\"BPE\",\"vocab\":{" LETTERS ",\"ab\":4,\"bc\":5,\"abc\":6,\"\\u0120a\":7},"        \
    "\"merges\":[\"b c\",\"a b\",\"ab c\",[\"\\u0120\",\"a\"]]}"
#define META "\\u2581"
/* <unk>, <s>, </s>, the bytes of the Euro sign, a visible space, letters */
#define LLAMA                                                                                      \
    "{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_fallback\":true,"          \
    "\"vocab\":{"                                                                                  \
    "\"<unk>\":0,\"<s>\":1,\"</s>\":2,\"<0xE2>\":3,\"<0x82>\":4,\"<0xAC>\":5,\"" META              \
    "\":6,\"a\":7,\"b\":8,\"" META "a\":9},\"merges\":[[\"" META "\",\"a\"]]}"
#define LLAMA_ADDED                                                                                \
    "[{\"id\":1,\"content\":\"<s>\",\"special\":true},{\"id\":2,\"content\":\"</"                  \
    "s>\",\"special\":true}]"
#define LLAMA_NORMAL                                                                               \
    "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"" META            \
    "\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" META "\"}]}"
#define LLAMA_POST                                                                                 \
    "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":"  \
    "0}},"                                                                                         \
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\","    \
    "\"ids\":"                                                                                     \
    "[1]}}}"
#define LLAMA_DECODER                                                                              \
    "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"" META   \
    "\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\","  \
    "\"content\":\" \",\"start\":1,\"stop\":0}]}"

static struct tokenizer *read_ok(const char *added, const char *normalizer, const char *pre,
                                 const char *post, const char *decoder, const char *model)
{
    struct emac_buf json;
    struct tokenizer *t;

    json_make(&json, added, normalizer, pre, post, decoder, model);
    ASSERT_OK(tokenizer_read(emac_buf_slice(&json), &t, err));
    emac_buf_release(&json);
    return t;
}

static struct tokenizer *llama(void)
{
    return read_ok(LLAMA_ADDED, LLAMA_NORMAL, NULL, LLAMA_POST, LLAMA_DECODER, LLAMA);
}

static void test_merges_by_rank(void **state)
{
    struct tokenizer *t = read_ok(NULL, NULL, BYTE_LEVEL, NULL, BYTE_LEVEL, SMALL);

    assert_int_equal(tokenizer_vocab(t), 8);
    assert_encodes(t, "abc", 3, true, "0 5"); /* "b c" comes before "a b" */
    assert_encodes(t, "ab abc", 6, true, "4 7 5");
    assert_encodes(t, "abab", 4, true, "4 4");
    assert_encodes(t, "axb", 3, true, "4"); /* nothing stands for x: it is not there */
    assert_encodes(t, "", 0, true, "");
    tokenizer_free(t);
}

static void test_llama_by_hand(void **state)
{
    struct tokenizer *t = llama();
    int32_t id;

    assert_encodes(t, "a b", 3, false, "9 6 8");
    assert_encodes(t, "a b", 3, true, "1 9 6 8");
    assert_encodes(t, "", 0, true, "1");
    assert_encodes(t, "\xe2\x82\xac", 3, false, "6 3 4 5");
    assert_encodes(t, "xyz", 3, false, "6 0"); /* one for all that is unknown in a row */
    assert_encodes(t, "a</s>b", 6, true, "1 9 2 6 8");
    assert_encodes(t, "a</s>b", 6, false, "9 0 8"); /* only text */
    assert_true(tokenizer_find(t, "</s>", &id) && id == 2);
    assert_false(tokenizer_find(t, "none", &id));
    assert_true(tokenizer_is_special(t, 1));
    assert_false(tokenizer_is_special(t, 0) || tokenizer_is_special(t, -1) ||
                 tokenizer_is_special(t, 10));
    tokenizer_free(t);
}

static void assert_piece(const struct tokenizer *t, int32_t id, bool first, const char *want)
{
    struct emac_slice s = tokenizer_piece(t, id, first);

    assert_int_equal(s.len, strlen(want));
    assert_true(s.len == 0 || memcmp(s.data, want, s.len) == 0);
}

static void test_pieces(void **state)
{
    struct tokenizer *t = llama();

    assert_piece(t, 9, false, " a");
    assert_piece(t, 9, true, "a");
    assert_piece(t, 6, true, "");
    assert_piece(t, 3, false, "\xe2");
    assert_piece(t, 1, false, ""); /* special */
    assert_piece(t, 0, false, "<unk>");
    assert_piece(t, -1, false, "");
    assert_piece(t, 10, false, "");
    tokenizer_free(t);
    t = read_ok(NULL, NULL, BYTE_LEVEL, NULL, BYTE_LEVEL, SMALL);
    assert_piece(t, 7, true, " a");
    tokenizer_free(t);
    t = read_ok(NULL, NULL, NULL, NULL, NULL, SMALL); /* no decoder: tokens with spaces between */
    assert_piece(t, 4, true, "ab");
    assert_piece(t, 4, false, " ab");
    tokenizer_free(t);
}

static void test_bytes(void **state)
{
    struct emac_buf json, ids;
    struct tokenizer *t, *again;
    char all[256];

    emac_buf_init(&json, 1 << 20);
    emac_buf_init(&ids, 1 << 20);
    for (unsigned i = 0; i < 256; i++)
        all[i] = (char)i;
    ASSERT_OK(tokenizer_bytes(&t, err));
    ASSERT_OK(byte_tokenizer_json(&json, err));
    ASSERT_OK(tokenizer_read(emac_buf_slice(&json), &again, err));
    ASSERT_OK(tokenizer_encode(t, EMAC_SLICE(all, 256), true, &ids, err));
    ASSERT_OK(tokenizer_encode(again, EMAC_SLICE(all, 256), false, &ids, err));
    assert_int_equal(ids.len, 2 * 256 * 4);
    for (size_t i = 0; i < 512; i++) {
        struct emac_slice piece;
        int32_t id;

        memcpy(&id, ids.data + 4 * i, 4);
        assert_int_equal(id, i % 256);
        piece = tokenizer_piece(t, id, i == 0);
        assert_true(piece.len == 1 && piece.data[0] == id);
    }
    assert_int_equal(tokenizer_vocab(t), 256);
    tokenizer_free(t);
    tokenizer_free(again);
    tokenizer_free(NULL);
    emac_buf_release(&json);
    emac_buf_release(&ids);
}

static void test_bad_utf8(void **state)
{
    struct tokenizer *t = llama();
    struct emac_buf ids;

    emac_buf_init(&ids, 1 << 20);
    ASSERT_OK(tokenizer_encode(t, EMAC_SLICE_STR("a"), true, &ids, err));
    ASSERT_FAILS(tokenizer_encode(t, EMAC_SLICE_STR("ab\xff"), true, &ids, err), EMAC_INVALID,
                 "not UTF-8 at byte 2");
    ASSERT_FAILS(tokenizer_encode(t, EMAC_SLICE("\xe2\x82\xac", 2), true, &ids, err), EMAC_INVALID,
                 "at byte 0");
    assert_string_equal(ids_text(&ids), "1 9"); /* as before */
    emac_buf_release(&ids);
    emac_buf_init(&ids, 10);
    ASSERT_FAILS(tokenizer_encode(t, EMAC_SLICE_STR("a a a"), true, &ids, err), EMAC_TOO_LARGE,
                 "do not fit");
    assert_int_equal(ids.len, 0);
    emac_buf_release(&ids);
    tokenizer_free(t);
}

static const struct {
    const char *added, *normalizer, *pre, *post, *decoder, *model;
    enum emac_status status;
    const char *says;
} REFUSED[] = {
    {.model = "{\"type\":\"Unigram\"}", .status = EMAC_UNSUPPORTED, .says = "'Unigram'; only BPE"},
    {.model = "{\"type\":\"WordPiece\"}", .status = EMAC_UNSUPPORTED, .says = "'WordPiece'"},
    {.model = "3", .status = EMAC_INVALID, .says = "no model"},
    {.model = "{\"vocab\":{},\"merges\":[]}", .status = EMAC_INVALID, .says = "holds no tokens"},
    {.model = "{\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}",
     .status = EMAC_INVALID,
     .says = "have one id"},
    {.model = "{\"vocab\":{\"a\":-1},\"merges\":[]}",
     .status = EMAC_INVALID,
     .says = "id of the token 'a'"},
    {.model = "{\"vocab\":{\"a\":4194304},\"merges\":[]}",
     .status = EMAC_INVALID,
     .says = "not 0 to"},
    {.model = "{\"vocab\":{\"a\":0.5},\"merges\":[]}",
     .status = EMAC_INVALID,
     .says = "id of the token 'a'"},
    {.model = "{\"vocab\":{\"a\":0}}", .status = EMAC_INVALID, .says = "'merges'"},
    {.model = "{\"vocab\":{\"a\":0},\"merges\":[\"a\"]}",
     .status = EMAC_INVALID,
     .says = "not two tokens"},
    {.model = "{\"vocab\":{\"a\":0},\"merges\":[\"a a a\"]}",
     .status = EMAC_INVALID,
     .says = "not two tokens"},
    {.model = "{\"vocab\":{\"a\":0},\"merges\":[[\"a\",1]]}",
     .status = EMAC_INVALID,
     .says = "not two tokens"},
    {.model = "{\"vocab\":{\"a\":0},\"merges\":[\"a a\"]}",
     .status = EMAC_INVALID,
     .says = "no tokens"},
    {.model = "{\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.1}",
     .status = EMAC_UNSUPPORTED,
     .says = "dropout"},
    {.model = "{\"vocab\":{\"a\":0},\"merges\":[],\"end_of_word_suffix\":\"</w>\"}",
     .status = EMAC_UNSUPPORTED,
     .says = "end_of_word_suffix"},
    {.model = "{\"vocab\":{\"a\":0},\"merges\":[],\"unk_token\":\"?\"}",
     .status = EMAC_INVALID,
     .says = "unk_token"},
    {.normalizer = "{\"type\":\"Lowercase\"}",
     .status = EMAC_UNSUPPORTED,
     .says = "normalizer 'Lowercase'"},
    {.normalizer = "{\"type\":\"Prepend\"}",
     .status = EMAC_INVALID,
     .says = "'prepend' of Prepend"},
    {.normalizer = "{\"type\":\"Sequence\"}", .status = EMAC_INVALID, .says = "without a list"},
    {.pre = "{\"type\":\"UnicodeScripts\"}",
     .status = EMAC_UNSUPPORTED,
     .says = "pre-tokenizer 'UnicodeScripts'"},
    {.pre = "{\"type\":\"Metaspace\",\"replacement\":\"ab\"}",
     .status = EMAC_INVALID,
     .says = "one character"},
    {.pre = "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"odd\"}",
     .status = EMAC_UNSUPPORTED,
     .says = "'odd'"},
    {.pre = "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\"}",
     .status = EMAC_UNSUPPORTED,
     .says = "cannot be compiled"},
    {.pre = "{\"type\":\"Split\",\"pattern\":{\"String\":\"(\"},\"behavior\":\"Odd\"}",
     .status = EMAC_UNSUPPORTED,
     .says = "behaviour 'Odd'"},
    {.pre = "{\"type\":\"Split\",\"pattern\":{}}", .status = EMAC_INVALID, .says = "'Regex'"},
    {.decoder = "{\"type\":\"CTC\"}", .status = EMAC_UNSUPPORTED, .says = "decoder 'CTC'"},
    {.decoder =
         "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"ByteFallback\"}]}",
     .status = EMAC_UNSUPPORTED,
     .says = "behind what makes one text"},
    {.decoder = "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"Strip\","
                "\"content\":\" \",\"start\":2,\"stop\":0}]}",
     .status = EMAC_UNSUPPORTED,
     .says = "strips more"},
    {.post = "{\"type\":\"TemplateProcessing\",\"single\":[]}",
     .status = EMAC_UNSUPPORTED,
     .says = "not the text once"},
    {.post = "{\"type\":\"BertProcessing\",\"cls\":[\"x\",9],\"sep\":[\"y\",1]}",
     .status = EMAC_INVALID,
     .says = "id 9"},
    {.post = "{\"type\":\"Odd\"}", .status = EMAC_UNSUPPORTED, .says = "post-processor 'Odd'"},
    {.added = "[{\"content\":\"x\"}]", .status = EMAC_INVALID, .says = "added token 'x'"},
    {.added = "[{\"id\":3,\"content\":\"a\"}]", .status = EMAC_INVALID, .says = "another one than"},
    {.added = "[{\"id\":1,\"content\":\"x\"}]", .status = EMAC_INVALID, .says = "have one id"},
};

static void test_refused(void **state)
{
    for (size_t i = 0; i < sizeof(REFUSED) / sizeof(*REFUSED); i++) {
        struct emac_buf json;
        struct tokenizer *t;

        json_make(&json, REFUSED[i].added, REFUSED[i].normalizer, REFUSED[i].pre, REFUSED[i].post,
                  REFUSED[i].decoder, REFUSED[i].model ? REFUSED[i].model : SMALL);
        ASSERT_FAILS(tokenizer_read(emac_buf_slice(&json), &t, err), REFUSED[i].status,
                     REFUSED[i].says);
        assert_null(t);
        emac_buf_release(&json);
    }
}

static void test_no_json(void **state)
{
    struct tokenizer *t;

    ASSERT_FAILS(tokenizer_read(EMAC_SLICE_STR("{"), &t, err), EMAC_INVALID, "line 1");
    ASSERT_FAILS(tokenizer_read(EMAC_SLICE_STR("[]"), &t, err), EMAC_INVALID, "no object");
    ASSERT_FAILS(tokenizer_read(EMAC_SLICE_STR(""), &t, err), EMAC_INVALID, "not a JSON object");
    ASSERT_FAILS(tokenizer_read(EMAC_SLICE("", TOKENIZER_JSON_MAX + 1), &t, err), EMAC_TOO_LARGE,
                 "the limit is");
}

/* Patterns that mean something else to the other engine, or nothing to this one, are refused. */
static const char *const PATTERNS_REFUSED[] = {
    "[a&&b]",  "[a[b]]", "[[:alpha:]]", "\\\\h",   "\\\\R",       "\\\\1",      "a{2}+",  "a{2}?",
    "(?m:a)",  "(?#x)",  "a(?i)b",      "[\\\\W]", "\\\\xff",     "\\\\p{Odd}", "\\\\pL", "[]",
    "(*FAIL)", "\\\\G",  "(?<n>a)",     "[a",      "\\\\x{d800}", "\\\\u12",    "a**",
};

static void test_patterns_refused(void **state)
{
    for (size_t i = 0; i < sizeof(PATTERNS_REFUSED) / sizeof(*PATTERNS_REFUSED); i++) {
        char pre[256];
        struct emac_buf json;
        struct tokenizer *t;

        snprintf(pre, sizeof(pre),
                 "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"%s\"},\"behavior\":\"Isolated\"}",
                 PATTERNS_REFUSED[i]);
        json_make(&json, NULL, NULL, pre, NULL, NULL, SMALL);
        if (tokenizer_read(emac_buf_slice(&json), &t, NULL) != EMAC_UNSUPPORTED)
            fail_msg("'%s' is not refused", PATTERNS_REFUSED[i]);
        emac_buf_release(&json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vocabulary),     cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_merges_by_rank), cmocka_unit_test(test_llama_by_hand),
        cmocka_unit_test(test_pieces),         cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_bad_utf8),       cmocka_unit_test(test_refused),
        cmocka_unit_test(test_no_json),        cmocka_unit_test(test_patterns_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

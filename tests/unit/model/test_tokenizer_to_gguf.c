/* Tokenizers into GGUF files and back: the same ids for any text; and what such a file cannot say,
 * part by part. That llama.cpp gives the same ids is checked by tests/interop/llamacpp.mjs. */
#include <jansson.h>

#include "fixture.h"
#include "../property.h"
#include "base/assert.h"
#include "model/tokenizer_gguf.h"
#include "model/tokenizer_to_gguf.h"
#include "model/tokenizer_train.h"

#define FILE_MAX ((size_t)1 << 24)
#define TEXT_MAX 400
#define END      "{\"eos_token\": \"" TOKENIZER_END "\"}"

static enum emac_status to_buf(void *ctx, const void *data, size_t n, struct emac_err *err)
{
    return emac_buf_append(ctx, data, n, err);
}

static enum emac_status written(const struct language_files *files, uint32_t vocab,
                                struct emac_buf *file, struct emac_err *err)
{
    struct gguf_writer w;
    enum emac_status st;
    gguf_writer_init(&w);
    emac_buf_init(file, FILE_MAX);
    EMAC_TRY(st, tokenizer_to_gguf(&w, files, vocab, err));
    st = gguf_write_begin(&w, (struct gguf_sink){to_buf, file}, err);
out:
    gguf_writer_release(&w);
    return st;
}

/* The tokenizer of a file, and its tokenizer_config.json. */
static struct tokenizer *read_back(const struct emac_buf *file, struct emac_buf *json,
                                   struct emac_buf *config)
{
    struct gguf g;
    struct tokenizer *t;
    emac_buf_init(json, FILE_MAX);
    emac_buf_init(config, FILE_MAX);
    ASSERT_OK(gguf_parse(&g, file->data, file->len, err));
    ASSERT_OK(tokenizer_from_gguf(&g, json, config, err));
    ASSERT_OK(tokenizer_read(emac_buf_slice(json), &t, err));
    gguf_release(&g);
    return t;
}

static size_t text_choose(struct choices *c, char out[TEXT_MAX], const char *const *letters,
                          size_t count)
{
    size_t n = 0, parts = 1 + choose(c, 90);
    for (size_t i = 0; i < parts; i++) {
        const char *part = letters[choose(c, count)];
        memcpy(out + n, part, strlen(part));
        n += strlen(part);
    }
    return n;
}

static bool same_ids(const struct tokenizer *a, const struct tokenizer *b, const char *text,
                     size_t n)
{
    struct emac_buf x, y;
    bool same = true;
    for (int special = 0; special < 2 && same; special++) {
        emac_buf_init(&x, FILE_MAX);
        emac_buf_init(&y, FILE_MAX);
        ASSERT_OK(tokenizer_encode(a, EMAC_SLICE(text, n), special != 0, &x, err));
        ASSERT_OK(tokenizer_encode(b, EMAC_SLICE(text, n), special != 0, &y, err));
        same = x.len == y.len && memcmp(x.data, y.data, x.len) == 0;
        emac_buf_release(&x);
        emac_buf_release(&y);
    }
    return same;
}

/* Texts, pieces, and the vocabulary. */
static bool same_tokenizer(struct choices *c, const struct tokenizer *a, const struct tokenizer *b,
                           const char *const *letters, size_t count)
{
    char text[TEXT_MAX];
    bool same = tokenizer_vocab(a) == tokenizer_vocab(b);
    for (uint32_t id = 0; same && id < tokenizer_vocab(a); id++) {
        struct emac_slice x = tokenizer_piece(a, (int32_t)id, false);
        struct emac_slice y = tokenizer_piece(b, (int32_t)id, false);
        same = x.len == y.len && (x.len == 0 || memcmp(x.data, y.data, x.len) == 0) &&
               tokenizer_is_special(a, (int32_t)id) == tokenizer_is_special(b, (int32_t)id);
    }
    for (int i = 0; same && i < 10; i++)
        same = same_ids(a, b, text, text_choose(c, text, letters, count));
    return same;
}

/* ---- byte-level ---- */

static const char *const LETTERS[] = {
    "a",  "b",   "ab", " ",        "  ",           "\n",          "1",        "23",
    "'s", "'LL", "!",  "\xc3\xa9", "\xe2\x82\xac", TOKENIZER_END, "\xcc\x81", "e"};
#define LETTER_COUNT (sizeof LETTERS / sizeof *LETTERS)

static void trained(struct choices *c, const char *pattern, struct emac_buf *json)
{
    struct tokenizer_trainer *t;
    char text[TEXT_MAX];
    uint32_t made;
    emac_buf_init(json, FILE_MAX);
    ASSERT_OK(tokenizer_trainer_new(pattern, &t, err));
    for (int i = 0; i < 4; i++)
        ASSERT_OK(tokenizer_trainer_add(
            t, EMAC_SLICE(text, text_choose(c, text, LETTERS, LETTER_COUNT)), err));
    ASSERT_OK(tokenizer_trainer_write(t, 257 + (uint32_t)choose(c, 30), &made, json, err));
    tokenizer_trainer_free(t);
}

static bool bytes_come_back(struct choices *c)
{
    struct emac_buf json, file, back, config;
    struct tokenizer *a, *b;
    trained(c, choose(c, 2) ? "gpt2" : "llama3", &json);
    const struct language_files files = {.tokenizer = emac_buf_slice(&json),
                                         .tokenizer_config = EMAC_SLICE_STR(END)};
    ASSERT_OK(tokenizer_read(emac_buf_slice(&json), &a, err));
    ASSERT_OK(written(&files, tokenizer_vocab(a) + (uint32_t)choose(c, 3), &file, err));
    b = read_back(&file, &back, &config);
    bool ok = same_tokenizer(c, a, b, LETTERS, LETTER_COUNT) &&
              strstr(emac_buf_str(&config), "\"eos_token\": \"" TOKENIZER_END "\"") != NULL;
    tokenizer_free(a);
    tokenizer_free(b);
    emac_buf_release(&json);
    emac_buf_release(&file);
    emac_buf_release(&back);
    emac_buf_release(&config);
    return ok;
}

static void test_byte_level(void **state)
{
    ASSERT_PROPERTY(40, bytes_come_back);
}

/* What is not trained here: words taken whole, NFC, tokens that are added. */
static void test_byte_level_of_others(void **state)
{
    static const struct {
        const char *pre, *normalizer, *name;
        int ignore; /* merges */
    } forms[] = {{"llama3", "null", "llama-bpe", 1},
                 {"llama3", "null", "llama-bpe", 0},
                 {"llama3", "null", "smaug-bpe", 2}, /* and a word that no merge makes */
                 {"gpt2", "null", "gpt-2", 0},
                 {"gpt2", "{\"type\": \"Sequence\", \"normalizers\": []}", "gpt-2", 0}};
    struct choices c = {.seed = 8};
    for (size_t i = 0; i < EMAC_COUNT(forms); i++) {
        struct emac_buf json, file, back, config;
        struct tokenizer *a, *b;
        struct gguf g;
        trained(&c, forms[i].pre, &json);
        json_t *root = json_loads(emac_buf_str(&json), 0, NULL);
        json_object_set_new(json_object_get(root, "model"), "ignore_merges",
                            json_boolean(forms[i].ignore == 1));
        if (forms[i].ignore == 2)
            json_object_set_new(json_object_get(json_object_get(root, "model"), "vocab"), "zz",
                                json_integer(500));
        json_object_set_new(root, "normalizer",
                            json_loads(forms[i].normalizer, JSON_DECODE_ANY, NULL));
        json_array_append_new(json_object_get(root, "added_tokens"),
                              json_pack("{s:i,s:s,s:b,s:b}", "id", 600, "content", "<ab>",
                                        "special", 0, "normalized", 0));
        char *text = json_dumps(root, 0);
        const struct language_files files = {
            .tokenizer = EMAC_SLICE_STR(text),
            .tokenizer_config = EMAC_SLICE_STR("{\"eos_token\": {\"content\": \"" TOKENIZER_END
                                               "\"}, \"chat_template\": [{\"name\": \"tools\", "
                                               "\"template\": \"x\"}, {\"name\": \"default\", "
                                               "\"template\": \"{{ y }}\"}]}"),
            .generation = EMAC_SLICE_STR("{\"eos_token_id\": [0, 600, 1]}")};
        ASSERT_OK(tokenizer_read(EMAC_SLICE_STR(text), &a, err));
        ASSERT_OK(written(&files, 700, &file, err));
        ASSERT_OK(gguf_parse(&g, file.data, file.len, err));
        assert_true(gguf_text_is(gguf_text(&g, "tokenizer.ggml.pre"), forms[i].name));
        assert_true(gguf_text_is(gguf_text(&g, "tokenizer.chat_template"), "{{ y }}"));
        uint32_t eos = 9, eot = 9, eom = 9;
        ASSERT_OK(gguf_u32(&g, "tokenizer.ggml.eos_token_id", NULL, &eos, err));
        ASSERT_OK(gguf_u32(&g, "tokenizer.ggml.eot_token_id", NULL, &eot, err));
        ASSERT_OK(gguf_u32(&g, "tokenizer.ggml.eom_token_id", NULL, &eom, err));
        assert_true(eos == 0 && eot == 600 && eom == 1);
        emac_buf_init(&back, FILE_MAX);
        ASSERT_OK(generation_from_gguf(&g, &back, err));
        assert_string_equal(emac_buf_str(&back), "{\n  \"eos_token_id\": [0, 600, 1]\n}\n");
        emac_buf_release(&back);
        assert_int_equal(gguf_array(&g, "tokenizer.ggml.tokens", GGUF_STRING)->n, 700);
        gguf_release(&g);
        b = read_back(&file, &back, &config);
        assert_true(same_ids(a, b, "a<ab>b" TOKENIZER_END, 6 + strlen(TOKENIZER_END)));
        assert_true(same_tokenizer(&c, a, b, LETTERS, LETTER_COUNT));
        tokenizer_free(a);
        tokenizer_free(b);
        free(text);
        json_decref(root);
        emac_buf_release(&json);
        emac_buf_release(&file);
        emac_buf_release(&back);
        emac_buf_release(&config);
    }
}

static void test_bytes(void **state)
{
    struct language_files files = {.generation = EMAC_SLICE_STR("{\"eos_token_id\": 10}")};
    struct emac_buf file, json;
    struct gguf g;
    uint32_t eos = 0;
    ASSERT_OK(written(&files, 256, &file, err));
    ASSERT_OK(gguf_parse(&g, file.data, file.len, err));
    const uint8_t *at = gguf_array(&g, "tokenizer.ggml.tokens", GGUF_STRING)->data;
    assert_true(gguf_text_is(gguf_array_text(&at), "\\x00"));
    ASSERT_OK(gguf_u32(&g, "tokenizer.ggml.eos_token_id", NULL, &eos, err));
    assert_int_equal(eos, 10);
    emac_buf_init(&json, FILE_MAX);
    ASSERT_FAILS(tokenizer_from_gguf(&g, &json, &json, err), EMAC_NOT_FOUND, "of bytes");
    ASSERT_OK(generation_from_gguf(&g, &json, err));
    assert_string_equal(emac_buf_str(&json), "{\n  \"eos_token_id\": [10]\n}\n");
    emac_buf_clear(&json);
    gguf_release(&g);
    emac_buf_release(&file);
    ASSERT_OK(byte_tokenizer_json(&json, err));
    files.tokenizer = emac_buf_slice(&json);
    ASSERT_FAILS(written(&files, 257, &file, err), EMAC_UNSUPPORTED, "the model has more tokens");
    emac_buf_release(&file);
    emac_buf_release(&json);
}

/* ---- SentencePiece's ---- */

static const char *const SPOKEN[] = {"a", "b", "c", "ab", " ", "  ", "\n", "\xc3\xa9", "aaa", "x"};
#define SPOKEN_COUNT (sizeof SPOKEN / sizeof *SPOKEN)

/* A file with bytes, letters, and words with different scores, as SentencePiece would train them.
 */
static void spoken_file(struct choices *c, struct emac_buf *file)
{
    static const char *const PARTS[] = {"a", "b", "c", "\xe2\x96\x81"};
    char word[300][32] = {"<unk>", "<s>", "</s>"};
    int32_t type[300] = {2, 3, 3};
    float score[300] = {0};
    size_t n = 3;
    struct gguf_writer w;
    for (unsigned byte = 0; byte < 256; byte++, n++) {
        snprintf(word[n], sizeof word[n], "<0x%02X>", byte);
        type[n] = 6;
    }
    while (n < 300) {
        size_t parts = n < 263 ? 1 : 2 + choose(c, 3);
        word[n][0] = '\0';
        for (size_t i = 0; i < parts; i++)
            strcat(word[n], PARTS[n < 263 ? n - 259 : choose(c, 4)]);
        bool again = false;
        for (size_t i = 0; i < n; i++)
            again = again || strcmp(word[i], word[n]) == 0;
        if (again && choose(c, 4) > 0)
            continue;
        if (again)
            break;
        type[n] = 1;
        score[n] = -(float)n - 0.5f;
        n++;
    }
    gguf_writer_init(&w);
    emac_buf_init(file, FILE_MAX);
    ASSERT_OK(gguf_add_text(&w, "tokenizer.ggml.model", EMAC_SLICE_STR("llama"), err));
    ASSERT_OK(gguf_add_texts(&w, "tokenizer.ggml.tokens", n, err));
    for (size_t i = 0; i < n; i++)
        ASSERT_OK(gguf_add_element(&w, EMAC_SLICE_STR(word[i]), err));
    ASSERT_OK(gguf_add_words(&w, "tokenizer.ggml.token_type", GGUF_I32, type, n, err));
    ASSERT_OK(gguf_add_words(&w, "tokenizer.ggml.scores", GGUF_REAL, score, n, err));
    ASSERT_OK(gguf_add_u32(&w, "tokenizer.ggml.bos_token_id", 1, err));
    ASSERT_OK(gguf_add_u32(&w, "tokenizer.ggml.eos_token_id", 2, err));
    ASSERT_OK(gguf_add_u32(&w, "tokenizer.ggml.unknown_token_id", 0, err));
    ASSERT_OK(gguf_add_bool(&w, "tokenizer.ggml.add_eos_token", choose(c, 2) == 0, err));
    ASSERT_OK(gguf_add_bool(&w, "tokenizer.ggml.add_space_prefix", choose(c, 2) == 0, err));
    ASSERT_OK(gguf_write_begin(&w, (struct gguf_sink){to_buf, file}, err));
    gguf_writer_release(&w);
}

static bool spoken_comes_back(struct choices *c)
{
    struct emac_buf first, second, json, config, json2, config2;
    spoken_file(c, &first);
    struct tokenizer *a = read_back(&first, &json, &config);
    const struct language_files files = {.tokenizer = emac_buf_slice(&json),
                                         .tokenizer_config = emac_buf_slice(&config)};
    ASSERT_OK(written(&files, tokenizer_vocab(a), &second, err));
    struct tokenizer *b = read_back(&second, &json2, &config2);
    bool ok = same_tokenizer(c, a, b, SPOKEN, SPOKEN_COUNT) && json.len == json2.len &&
              memcmp(json.data, json2.data, json.len) == 0 && config.len == config2.len &&
              memcmp(config.data, config2.data, config.len) == 0;
    tokenizer_free(a);
    tokenizer_free(b);
    emac_buf_release(&first);
    emac_buf_release(&second);
    emac_buf_release(&json);
    emac_buf_release(&config);
    emac_buf_release(&json2);
    emac_buf_release(&config2);
    return ok;
}

static void test_sentencepiece(void **state)
{
    ASSERT_PROPERTY(60, spoken_comes_back);
}

/* ---- refusals ---- */

/* Sets `value` at the member `path` ("model.merges") of a tokenizer.json and looks at what is said.
 */
struct bad {
    const char *path, *value, *says;
};

static void refused(const char *json, const char *config, const struct bad *b)
{
    json_t *root = json_loads(json, 0, NULL), *at = root;
    const char *dot = strchr(b->path, '.');
    char first[64];
    assert_non_null(root);
    if (dot != NULL) {
        snprintf(first, sizeof first, "%.*s", (int)(dot - b->path), b->path);
        at = json_object_get(root, first);
    }
    json_object_set_new(at, dot != NULL ? dot + 1 : b->path,
                        json_loads(b->value, JSON_DECODE_ANY, NULL));
    char *text = json_dumps(root, 0);
    const struct language_files files = {.tokenizer = EMAC_SLICE_STR(text),
                                         .tokenizer_config = EMAC_SLICE_STR(config)};
    struct emac_buf file;
    ASSERT_FAILS(written(&files, 4096, &file, err), EMAC_UNSUPPORTED, b->says);
    emac_buf_release(&file);
    free(text);
    json_decref(root);
}

static void test_byte_level_refused(void **state)
{
    static const struct bad bad[] = {
        {"normalizer", "{\"type\": \"NFKC\"}", "no name for how this tokenizer cuts words"},
        {"normalizer", "{\"type\": \"NFC\"}", "no name for how this tokenizer cuts words"},
        {"model.ignore_merges", "true", "no name for how this tokenizer cuts words"},
        {"pre_tokenizer",
         "{\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"use_regex\": true}",
         "no name for how this tokenizer cuts words"},
        {"pre_tokenizer",
         "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}",
         "no name for how this tokenizer cuts words"},
        {"decoder", "null", "the decoder of tokenizer.json makes another text of the token"},
        {"post_processor",
         "{\"type\": \"TemplateProcessing\", \"single\": [{\"Sequence\": {\"id\": \"A\"}}, "
         "{\"SpecialToken\": {\"id\": \"e\"}}, {\"SpecialToken\": {\"id\": \"e\"}}], "
         "\"special_tokens\": {\"e\": {\"ids\": [0]}}}",
         "puts other tokens around a text"},
        {"post_processor",
         "{\"type\": \"TemplateProcessing\", \"single\": [{\"Sequence\": {\"id\": \"A\"}}, "
         "{\"SpecialToken\": {\"id\": \"e\"}}], \"special_tokens\": {\"e\": {\"ids\": [9]}}}",
         "puts other tokens around a text"},
        {"added_tokens",
         "[{\"id\": 0, \"content\": \"" TOKENIZER_END "\", \"special\": true, \"lstrip\": true}]",
         "the added token '" TOKENIZER_END "' takes white space"},
        {"added_tokens", "[{\"id\": 900, \"content\": \"<x>\", \"single_word\": true}]",
         "the added token '<x>' takes white space or wants to stand alone"},
    };
    struct choices c = {.seed = 1};
    struct emac_buf json;
    trained(&c, "gpt2", &json);
    for (size_t i = 0; i < EMAC_COUNT(bad); i++)
        refused(emac_buf_str(&json), END, &bad[i]);
    refused(emac_buf_str(&json), "{}",
            &(struct bad){"version", "\"1.0\"", "names no token for the end of a text"});
    refused(emac_buf_str(&json), "{\"eos_token\": \"nobody\"}",
            &(struct bad){"version", "\"1.0\"", "names no token for the end of a text"});
    json_t *root = json_loads(emac_buf_str(&json), 0, NULL);
    json_object_del(json_object_get(json_object_get(root, "model"), "vocab"), "~");
    char *text = json_dumps(root, 0);
    refused(text, END, &(struct bad){"version", "\"1.0\"", "the byte 0x7e is no token"});
    free(text);
    json_decref(root);
    const struct language_files files = {.tokenizer = emac_buf_slice(&json),
                                         .generation =
                                             EMAC_SLICE_STR("{\"eos_token_id\": [0, 1, 2, 3]}")};
    struct emac_buf file;
    ASSERT_FAILS(written(&files, 4096, &file, err), EMAC_UNSUPPORTED, "more than three tokens");
    emac_buf_release(&file);
    emac_buf_release(&json);
}

/* tokenizer.json of such a tokenizer with these words, for free(). */
static char *hand_made(const char *const *words, size_t count, const char *merges)
{
    json_t *vocab = json_object();
    char form[16];
    json_object_set_new(vocab, "<unk>", json_integer(0));
    json_object_set_new(vocab, "<s>", json_integer(1));
    json_object_set_new(vocab, "</s>", json_integer(2));
    for (unsigned byte = 0; byte < 256; byte++) {
        snprintf(form, sizeof form, "<0x%02X>", byte);
        json_object_set_new(vocab, form, json_integer(3 + byte));
    }
    for (size_t i = 0; i < count; i++)
        json_object_set_new(vocab, words[i], json_integer((json_int_t)(259 + i)));
    json_t *root = json_loads(
        "{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Prepend\", "
        "\"prepend\": \"\\u2581\"}, {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, "
        "\"content\": \"\\u2581\"}]}, \"decoder\": {\"type\": \"Sequence\", \"decoders\": "
        "[{\"type\": \"Replace\", \"pattern\": {\"String\": \"\\u2581\"}, \"content\": \" \"}, "
        "{\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}, {\"type\": \"Strip\", \"content\": "
        "\" \", \"start\": 1, \"stop\": 0}]}, \"model\": {\"type\": \"BPE\", \"unk_token\": "
        "\"<unk>\", \"byte_fallback\": true, \"fuse_unk\": true}}",
        0, NULL);
    assert_non_null(root);
    json_object_set_new(json_object_get(root, "model"), "vocab", vocab);
    json_object_set_new(json_object_get(root, "model"), "merges", json_loads(merges, 0, NULL));
    char *text = json_dumps(root, 0);
    json_decref(root);
    return text;
}

static void test_sentencepiece_refused(void **state)
{
    static const struct bad bad[] = {
        {"normalizer", "null", "the normalizer or the pre_tokenizer"},
        {"pre_tokenizer", "{\"type\": \"Metaspace\", \"replacement\": \"\\u2581\"}",
         "the normalizer or the pre_tokenizer"},
        {"model.byte_fallback", "false", "no token for each byte"},
        {"model.ignore_merges", "true", "takes whole words without merging"},
        {"model.merges", "[]", "no merge makes the token"},
        {"model.merges", "[[\"a\", \"a\"], [\"a\", \"aa\"], [\"b\", \"b\"], [\"aa\", \"a\"]]",
         "the merges that make the token 'aaa' do not follow on each other"},
        {"decoder", "null", "makes another text of the token"},
        {"added_tokens", "[{\"id\": 2, \"content\": \"</s>\", \"normalized\": true}]",
         "the added token '</s>' is looked for as the normalizer writes it"},
    };
    static const char *const WORDS[] = {"a", "b", "aa", "aaa", "bb"};
    char *text = hand_made(WORDS, EMAC_COUNT(WORDS),
                           "[[\"a\", \"a\"], [\"a\", \"aa\"], [\"aa\", \"a\"], [\"b\", \"b\"]]");
    const struct language_files files = {.tokenizer = EMAC_SLICE_STR(text),
                                         .tokenizer_config =
                                             EMAC_SLICE_STR("{\"eos_token\": \"</s>\"}")};
    struct emac_buf file;
    ASSERT_OK(written(&files, 300, &file, err));
    emac_buf_release(&file);
    for (size_t i = 0; i < EMAC_COUNT(bad); i++)
        refused(text, "{\"eos_token\": \"</s>\"}", &bad[i]);
    free(text);
}

/* Llama 2's merges end with those of runs of spaces, in no order of tokens. */
static void test_runs_of_spaces(void **state)
{
#define S "\xe2\x96\x81"
    static const char *const WORDS[] = {"a", "aa", S, S S, S S S, S S S S};
    static const char LIKE_LLAMA[] =
        "[[\"a\", \"a\"], [\"" S "\", \"" S "\"], [\"" S S "\", \"" S S "\"], [\"" S S "\", \"" S
        "\"], [\"" S "\", \"" S S "\"], [\"" S S S "\", \"" S "\"], [\"" S "\", \"" S S S "\"]]";
    static const char OTHER[] =
        "[[\"a\", \"a\"], [\"" S "\", \"" S "\"], [\"" S S "\", \"" S "\"], [\"" S S "\", \"" S S
        "\"], [\"" S "\", \"" S S "\"], [\"" S S S "\", \"" S "\"], [\"" S "\", \"" S S S "\"]]";
#undef S
    for (int other = 0; other < 2; other++) {
        char *json = hand_made(WORDS, EMAC_COUNT(WORDS), other ? OTHER : LIKE_LLAMA);
        const struct language_files files = {.tokenizer = EMAC_SLICE_STR(json),
                                             .tokenizer_config =
                                                 EMAC_SLICE_STR("{\"eos_token\": \"</s>\"}")};
        struct emac_buf file, back, config;
        struct tokenizer *a, *b;
        if (other) {
            ASSERT_FAILS(written(&files, 265, &file, err), EMAC_UNSUPPORTED,
                         "do not follow on each other");
        } else {
            char text[200] = "aa";
            ASSERT_OK(tokenizer_read(EMAC_SLICE_STR(json), &a, err));
            ASSERT_OK(written(&files, 265, &file, err));
            b = read_back(&file, &back, &config);
            for (size_t n = 0; n < 150; n++) {
                strcat(text, n % 40 == 39 ? "a" : " ");
                assert_true(same_ids(a, b, text, strlen(text)));
            }
            tokenizer_free(a);
            tokenizer_free(b);
            emac_buf_release(&back);
            emac_buf_release(&config);
        }
        emac_buf_release(&file);
        free(json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_byte_level),
                                       cmocka_unit_test(test_byte_level_of_others),
                                       cmocka_unit_test(test_bytes),
                                       cmocka_unit_test(test_sentencepiece),
                                       cmocka_unit_test(test_byte_level_refused),
                                       cmocka_unit_test(test_sentencepiece_refused),
                                       cmocka_unit_test(test_runs_of_spaces)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

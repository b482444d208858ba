/* Training and merging against naive versions that read like the rules; texts come back; the
 * tokenizer of a GGUF file. That training makes the merges of Hugging Face's trainer is checked by
 * tests/interop/tokenizer_train_check.py. */
#include <jansson.h>

#include "fixture.h"
#include "../codec/gguf_test.h"
#include "../property.h"
#include "model/tokenizer.h"
#include "model/tokenizer_gguf.h"
#include "model/tokenizer_train.h"

#define TEXT_MAX 400
#define IDS_MAX  400

/* A text of few letters, so that pairs occur often, in lines. */
static size_t text_choose(struct choices *c, char out[TEXT_MAX])
{
    static const char *const LETTERS[] = {"ab\n", "abc \n", "aaab\n", "the quick \n\xc3\xa9"};
    const char *letters = LETTERS[choose(c, 3)];
    size_t n = 20 + choose(c, TEXT_MAX - 20);

    for (size_t i = 0; i < n; i++)
        out[i] = letters[choose(c, strlen(letters))];
    return n;
}

static json_t *trained(const char *text, size_t n, uint32_t vocab, struct tokenizer **out)
{
    struct tokenizer_trainer *t;
    struct emac_buf json;
    uint32_t made;
    json_t *root;

    emac_buf_init(&json, 1 << 20);
    ASSERT_OK(tokenizer_trainer_new("bytes", &t, err));
    ASSERT_OK(tokenizer_trainer_add(t, EMAC_SLICE(text, n), err));
    ASSERT_OK(tokenizer_trainer_write(t, vocab, &made, &json, err));
    assert_true(made <= vocab);
    ASSERT_OK(tokenizer_read(emac_buf_slice(&json), out, err));
    assert_int_equal(tokenizer_vocab(*out), made);
    root = json_loadb(emac_buf_str(&json), json.len, 0, NULL);
    assert_non_null(root);
    emac_buf_release(&json);
    tokenizer_trainer_free(t);
    return root;
}

/* Symbols of a text; -1 stands behind each line, so that no pair crosses it. */
struct symbols {
    int32_t id[2 * TEXT_MAX];
    size_t n;
};

static void symbols_of(const struct tokenizer *t, const char *text, size_t n, struct symbols *out)
{
    out->n = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t c = (uint8_t)text[i] == ' '    ? 0x120
                     : (uint8_t)text[i] == '\n' ? 0x10a
                                                : (uint8_t)text[i];
        char form[3] = {(char)(c < 0x80 ? c : 0xc0 | c >> 6),
                        (char)(c < 0x80 ? 0 : 0x80 | (c & 0x3f)), 0};

        assert_true(tokenizer_find(t, form, &out->id[out->n++]));
        if (text[i] == '\n')
            out->id[out->n++] = -1;
    }
}

static void merge(struct symbols *s, int32_t left, int32_t right, int32_t id)
{
    size_t to = 0;

    for (size_t i = 0; i < s->n; i++) {
        bool is = i + 1 < s->n && s->id[i] == left && s->id[i + 1] == right;

        s->id[to++] = is ? id : s->id[i];
        i += is;
    }
    s->n = to;
}

static uint32_t occurs(const struct symbols *s, int32_t left, int32_t right)
{
    uint32_t n = 0;

    for (size_t i = 0; i + 1 < s->n; i++)
        n += s->id[i] == left && s->id[i + 1] == right;
    return n;
}

/* The most frequent pair, of equals the one of the smallest ids; 0 when none occurs twice. */
static uint32_t best_pair(const struct symbols *s, int32_t *left, int32_t *right)
{
    uint32_t best = 1;

    for (size_t i = 0; i + 1 < s->n; i++) {
        int32_t a = s->id[i], b = s->id[i + 1];
        uint32_t n = a < 0 || b < 0 ? 0 : occurs(s, a, b);

        if (n > best || (n == best && best > 1 && (a < *left || (a == *left && b < *right)))) {
            best = n;
            *left = a;
            *right = b;
        }
    }
    return best > 1 ? best : 0;
}

static int32_t id_of(const json_t *vocab, const json_t *pair, int part)
{
    return (int32_t)json_integer_value(
        json_object_get(vocab, json_string_value(json_array_get(pair, (size_t)part))));
}

/* Up to the first token that two pairs make: from there on the rule says nothing of a pair's words.
 */
static bool merges_the_most_frequent(struct choices *c)
{
    char text[TEXT_MAX];
    struct symbols s;
    struct tokenizer *t;
    size_t n = text_choose(c, text);
    json_t *root = trained(text, n, 257 + 25, &t), *model = json_object_get(root, "model");
    const json_t *merges = json_object_get(model, "merges"),
                 *vocab = json_object_get(model, "vocab");
    bool ok = true;

    symbols_of(t, text, n, &s);
    for (size_t i = 0; ok && i < json_array_size(merges); i++) {
        const json_t *pair = json_array_get(merges, i);
        int32_t left = id_of(vocab, pair, 0), right = id_of(vocab, pair, 1), a = 0, b = 0;

        ok = best_pair(&s, &a, &b) > 0 && a == left && b == right;
        if (i + 1 < json_array_size(merges) &&
            json_object_size(vocab) - 257 != json_array_size(merges))
            break;
        merge(&s, left, right, (int32_t)(257 + i));
    }
    tokenizer_free(t);
    json_decref(root);
    return ok;
}

/* Of all neighbours that a merge joins the one of the least rank, the leftmost first. */
static void naive_merge(const json_t *model, struct symbols *s)
{
    const json_t *merges = json_object_get(model, "merges"),
                 *vocab = json_object_get(model, "vocab");

    for (;;) {
        size_t best = json_array_size(merges), at = 0;

        for (size_t i = 0; i + 1 < s->n; i++)
            for (size_t r = 0; r < best; r++) {
                const json_t *pair = json_array_get(merges, r);

                if (id_of(vocab, pair, 0) == s->id[i] && id_of(vocab, pair, 1) == s->id[i + 1]) {
                    best = r;
                    at = i;
                }
            }
        if (best == json_array_size(merges))
            return;
        const json_t *pair = json_array_get(merges, best);
        char form[4 * TEXT_MAX];

        snprintf(form, sizeof(form), "%s%s", json_string_value(json_array_get(pair, 0)),
                 json_string_value(json_array_get(pair, 1)));
        s->id[at] = (int32_t)json_integer_value(json_object_get(vocab, form));
        memmove(&s->id[at + 1], &s->id[at + 2], (s->n - at - 2) * sizeof(*s->id));
        s->n--;
    }
}

static bool encodes_as_the_naive_way(struct choices *c)
{
    char text[TEXT_MAX], other[TEXT_MAX];
    struct symbols s;
    struct tokenizer *t;
    struct emac_buf ids;
    size_t n = text_choose(c, text), m = text_choose(c, other), at = 0;
    json_t *root = trained(text, n, 257 + 25, &t);
    bool ok = true;

    emac_buf_init(&ids, 1 << 20);
    m = m < 120 ? m : 120;
    ASSERT_OK(tokenizer_encode(t, EMAC_SLICE(other, m), false, &ids, err));
    symbols_of(t, other, m, &s);
    naive_merge(json_object_get(root, "model"), &s);
    for (size_t i = 0; i < s.n && ok; i++) {
        int32_t id = -2;

        if (s.id[i] < 0)
            continue;
        if (at < ids.len)
            memcpy(&id, ids.data + at, 4);
        at += 4;
        ok = id == s.id[i];
    }
    ok = ok && at == ids.len;
    emac_buf_release(&ids);
    tokenizer_free(t);
    json_decref(root);
    return ok;
}

/* Long texts, whose words are remembered, give what their lines give alone; and the text comes
 * back. */
static bool long_text_is_its_lines(struct choices *c)
{
    char text[TEXT_MAX];
    struct tokenizer *t;
    struct emac_buf all, whole, parts, back;
    size_t n = text_choose(c, text);
    bool ok;

    json_decref(trained(text, n, 257 + 40, &t));
    emac_buf_init(&all, 1 << 20);
    emac_buf_init(&whole, 1 << 22);
    emac_buf_init(&parts, 1 << 22);
    emac_buf_init(&back, 1 << 22);
    for (size_t i = 0; i < 40; i++) {
        size_t m = text_choose(c, text);

        text[m - 1] = '\n';
        ASSERT_OK(emac_buf_append(&all, text, m, err));
        ASSERT_OK(tokenizer_encode(t, EMAC_SLICE(text, m), false, &parts, err));
    }
    ASSERT_OK(tokenizer_encode(t, emac_buf_slice(&all), false, &whole, err));
    ok = whole.len == parts.len && memcmp(whole.data, parts.data, whole.len) == 0;
    for (size_t i = 0; i < whole.len; i += 4) {
        struct emac_slice piece;
        int32_t id;

        memcpy(&id, whole.data + i, 4);
        piece = tokenizer_piece(t, id, i == 0);
        ASSERT_OK(emac_buf_append(&back, piece.data, piece.len, err));
    }
    ok = ok && back.len == all.len && memcmp(back.data, all.data, all.len) == 0;
    emac_buf_release(&all);
    emac_buf_release(&whole);
    emac_buf_release(&parts);
    emac_buf_release(&back);
    tokenizer_free(t);
    return ok;
}

static void test_training(void **state)
{
    ASSERT_PROPERTY(60, merges_the_most_frequent);
}

static void test_merging(void **state)
{
    ASSERT_PROPERTY(40, encodes_as_the_naive_way);
}

static void test_long_texts(void **state)
{
    ASSERT_PROPERTY(20, long_text_is_its_lines);
}

static void test_training_refuses(void **state)
{
    struct tokenizer_trainer *t;
    struct emac_buf json;
    uint32_t made;

    emac_buf_init(&json, 1 << 20);
    ASSERT_FAILS(tokenizer_trainer_new("odd", &t, err), EMAC_INVALID, "unknown pattern 'odd'");
    assert_null(t);
    tokenizer_trainer_free(NULL);
    ASSERT_OK(tokenizer_trainer_new("gpt2", &t, err));
    ASSERT_FAILS(tokenizer_trainer_add(t, EMAC_SLICE_STR("a\x80"), err), EMAC_INVALID, "at byte 1");
    ASSERT_FAILS(tokenizer_trainer_write(t, 300, &made, &json, err), EMAC_INVALID, "no text");
    ASSERT_OK(tokenizer_trainer_add(t, EMAC_SLICE_STR("a"), err));
    ASSERT_FAILS(tokenizer_trainer_write(t, 256, &made, &json, err), EMAC_INVALID, "must be 257");
    ASSERT_OK(tokenizer_trainer_write(t, 300, &made, &json, err));
    assert_int_equal(made, 257); /* nothing occurs twice */
    tokenizer_trainer_free(t);
    emac_buf_release(&json);
}

/* Text that reads like the special token does not become it, however often it is there. */
static void test_special_is_not_learnt(void **state)
{
    struct tokenizer *t;
    struct emac_buf ids;
    char text[2000] = "";

    for (int i = 0; i < 50; i++)
        strcat(text, TOKENIZER_END "\n");
    json_decref(trained(text, strlen(text), 300, &t));
    emac_buf_init(&ids, 1 << 20);
    ASSERT_OK(tokenizer_encode(t, EMAC_SLICE_STR(text), false, &ids, err));
    for (size_t i = 0; i < ids.len; i += 4) {
        int32_t id;

        memcpy(&id, ids.data + i, 4);
        assert_int_not_equal(id, 0);
    }
    emac_buf_release(&ids);
    tokenizer_free(t);
}

/* -- GGUF ---------------------------------------------------------------------------------- */

static void put_texts(struct emac_buf *b, const char *key, const char *const *text, size_t n)
{
    gguf_put_text(b, key);
    gguf_put(b, GGUF_ARRAY, 4);
    gguf_put(b, GGUF_STRING, 4);
    gguf_put(b, n, 8);
    for (size_t i = 0; i < n; i++)
        gguf_put_text(b, text[i]);
}

static void put_words(struct emac_buf *b, const char *key, uint32_t type, const void *words,
                      size_t n)
{
    gguf_put_text(b, key);
    gguf_put(b, GGUF_ARRAY, 4);
    gguf_put(b, type, 4);
    gguf_put(b, n, 8);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;

        memcpy(&bits, (const char *)words + 4 * i, 4);
        gguf_put(b, bits, 4);
    }
}

static enum emac_status gguf_tokenizer(const struct emac_buf *file, struct emac_buf *json,
                                       struct emac_buf *config, struct emac_err *say)
{
    struct gguf g;
    enum emac_status st;

    ASSERT_OK(gguf_parse(&g, file->data, file->len, err));
    st = tokenizer_from_gguf(&g, json, config, say);
    gguf_release(&g);
    return st;
}

static void assert_ids(const struct emac_buf *json, const char *text, bool special,
                       const int32_t *want, size_t n)
{
    struct tokenizer *t;
    struct emac_buf ids;

    emac_buf_init(&ids, 1 << 16);
    ASSERT_OK(tokenizer_read(emac_buf_slice(json), &t, err));
    ASSERT_OK(tokenizer_encode(t, EMAC_SLICE_STR(text), special, &ids, err));
    assert_int_equal(ids.len, 4 * n);
    assert_memory_equal(ids.data, want, ids.len);
    emac_buf_release(&ids);
    tokenizer_free(t);
}

static void test_gguf_scores(void **state)
{
    static const char *const TOKENS[] = {"<unk>",
                                         "<s>",
                                         "</s>",
                                         "\xe2\x96\x81",
                                         "a",
                                         "b",
                                         "ab",
                                         "\xe2\x96\x81"
                                         "a",
                                         "ba"};
    static const float SCORES[] = {0, 0, 0, -10, -11, -12, -3, -1, -2};
    static const int32_t TYPES[] = {2, 3, 3, 1, 1, 1, 1, 1, 1};
    static const int32_t PLAIN[] = {7, 8, 5}, AROUND[] = {1, 7, 8, 5, 2};
    struct emac_buf file, json, config;

    emac_buf_init(&file, 1 << 16);
    emac_buf_init(&json, 1 << 16);
    emac_buf_init(&config, 1 << 16);
    gguf_put_head(&file, 0, 8);
    gguf_put_string(&file, "tokenizer.ggml.model", "llama");
    put_texts(&file, "tokenizer.ggml.tokens", TOKENS, 9);
    put_words(&file, "tokenizer.ggml.scores", GGUF_REAL, SCORES, 9);
    put_words(&file, "tokenizer.ggml.token_type", GGUF_I32, TYPES, 9);
    gguf_put_u32(&file, "tokenizer.ggml.bos_token_id", 1);
    gguf_put_u32(&file, "tokenizer.ggml.eos_token_id", 2);
    gguf_put_text(&file, "tokenizer.ggml.add_eos_token");
    gguf_put(&file, GGUF_BOOL, 4);
    gguf_put(&file, 1, 1);
    gguf_put_string(&file, "tokenizer.chat_template", "{{ \"a\" }}\n");
    ASSERT_OK(gguf_tokenizer(&file, &json, &config, err));
    assert_ids(&json, "abab", false, PLAIN, 3); /* _a, then ba, by their scores */
    assert_ids(&json, "abab", true, AROUND, 5);
    assert_non_null(strstr(emac_buf_str(&config), "\"bos_token\": \"<s>\""));
    assert_non_null(strstr(emac_buf_str(&config), "\"chat_template\": \"{{ \\\"a\\\" }}\\u000a\""));
    emac_buf_release(&file);
    emac_buf_release(&json);
    emac_buf_release(&config);
}

static void test_gguf_refused(void **state)
{
    static const char *const TOKENS[] = {"a", "b"};
    static const char *const MERGES[] = {"a c"};
    static const struct {
        const char *model, *pre;
        bool tokens, merges;
        enum emac_status status;
        const char *says;
    } BAD[] = {
        {NULL, NULL, false, false, EMAC_NOT_FOUND, "no tokenizer"},
        {"bert", NULL, true, false, EMAC_UNSUPPORTED, "'bert'"},
        {"llama", NULL, false, false, EMAC_INVALID, "tokenizer.ggml.tokens"},
        {"llama", NULL, true, false, EMAC_INVALID, "tokenizer.ggml.scores"},
        {"gpt2", NULL, true, false, EMAC_UNSUPPORTED, "how words are cut, ''"},
        {"gpt2", "odd", true, false, EMAC_UNSUPPORTED, "'odd'"},
        {"gpt2", "gpt-2", true, false, EMAC_INVALID, "tokenizer.ggml.merges"},
        {"gpt2", "gpt-2", true, true, EMAC_INVALID, "'a c'"},
    };

    for (size_t i = 0; i < sizeof(BAD) / sizeof(*BAD); i++) {
        struct emac_buf file, json, config;

        emac_buf_init(&file, 1 << 16);
        emac_buf_init(&json, 1 << 16);
        emac_buf_init(&config, 1 << 16);
        gguf_put_head(&file, 0,
                      (BAD[i].model != NULL) + (BAD[i].pre != NULL) + BAD[i].tokens +
                          BAD[i].merges);
        if (BAD[i].model != NULL)
            gguf_put_string(&file, "tokenizer.ggml.model", BAD[i].model);
        if (BAD[i].pre != NULL)
            gguf_put_string(&file, "tokenizer.ggml.pre", BAD[i].pre);
        if (BAD[i].tokens)
            put_texts(&file, "tokenizer.ggml.tokens", TOKENS, 2);
        if (BAD[i].merges)
            put_texts(&file, "tokenizer.ggml.merges", MERGES, 1);
        ASSERT_FAILS(gguf_tokenizer(&file, &json, &config, err), BAD[i].status, BAD[i].says);
        emac_buf_release(&file);
        emac_buf_release(&json);
        emac_buf_release(&config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_training),
        cmocka_unit_test(test_merging),
        cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_training_refuses),
        cmocka_unit_test(test_special_is_not_learnt),
        cmocka_unit_test(test_gguf_scores),
        cmocka_unit_test(test_gguf_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

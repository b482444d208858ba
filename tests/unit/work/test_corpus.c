/* Token sets: their block, the pieces of a text, and a text cut into a file of tokens. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/philox.h"
#include "work/corpus.h"

static struct store *store_new(void)
{
    const struct store_config cfg = {.os = os_real(), .memory_quota = 64 << 20, .hash_threads = 1};
    struct store *s;
    assert_ok(store_open(&cfg, &s, err));
    return s;
}

static struct cid block_put(struct store *s, const struct corpus *c)
{
    struct emac_buf block;
    struct cid cid;
    emac_buf_init(&block, CORPUS_BLOCK_MAX);
    assert_ok(corpus_encode(c, &block, &cid, err));
    assert_ok(store_block_put_as(s, &cid, block.data, block.len, err));
    emac_buf_release(&block);
    return cid;
}

/* ---- the block ---- */

static struct corpus sound(struct store *s)
{
    static const uint8_t ids[] = {1, 0, 255, 0, 0, 1};
    return (struct corpus){.file = unixfs_put(s, ids, sizeof ids),
                           .tokenizer = directory_put(s, "tokenizer.json", "{}"),
                           .tokens = 3,
                           .text = 9,
                           .vocab = 257,
                           .width = 2};
}

static void test_a_block_is_read_as_it_was_written(void **state)
{
    struct store *s = store_new();
    const struct corpus c = sound(s);
    const struct cid cid = block_put(s, &c);
    struct corpus got;
    assert_ok(corpus_load(s, &cid, &got, err));
    assert_true(cid_equal(&got.file, &c.file) && cid_equal(&got.tokenizer, &c.tokenizer));
    assert_true(got.tokens == 3 && got.text == 9 && got.vocab == 257 && got.width == 2);
    assert_int_equal(corpus_bytes(&got), 6);
    store_close(s);
}

static void test_what_cannot_be_is_refused(void **state)
{
    struct store *s = store_new();
    const struct corpus c = sound(s);
    struct corpus bad[] = {c, c, c, c, c, c, c, c};
    static const char *const SAYS[] = {"tokens of 3 bytes",   "vocabulary of 0",
                                       "vocabulary of 65537", "vocabulary of 1048577",
                                       "0 tokens for a text", "text of 0 bytes",
                                       "must be a directory", "18446744073709551615 tokens"};
    struct emac_buf block;
    bad[0].width = 3;
    bad[1].vocab = 0;
    bad[2].vocab = (1 << 16) + 1;
    bad[3].vocab = CORPUS_VOCAB_MAX + 1;
    bad[3].width = 4;
    bad[4].tokens = 0;
    bad[5].text = 0;
    bad[6].tokenizer = block_put(s, &c);
    bad[7].tokens = UINT64_MAX;
    emac_buf_init(&block, CORPUS_BLOCK_MAX);
    for (size_t i = 0; i < EMAC_COUNT(bad); i++)
        assert_fails(corpus_encode(&bad[i], &block, NULL, err), EMAC_INVALID, SAYS[i]);
    assert_int_equal(block.len, 0);
    emac_buf_release(&block);
    store_close(s);
}

static void test_a_file_of_another_size_is_refused(void **state)
{
    struct store *s = store_new();
    struct corpus c = sound(s), got;
    c.tokens = 4;
    struct cid cid = block_put(s, &c);
    assert_fails(corpus_load(s, &cid, &got, err), EMAC_INVALID,
                 "has 6 bytes and its tokens need 8");
    c.file = unixfs_put(s, "a file that is not there", 24);
    c.tokens = 12;
    cid = block_put(s, &c);
    assert_ok(corpus_load(s, &cid, &got, err));
    store_close(s);
}

static void test_bytes_are_tokens(void **state)
{
    struct store *s = store_new();
    const struct cid cid = unixfs_put(s, "any bytes", 9);
    struct corpus got;
    assert_ok(corpus_load(s, &cid, &got, err));
    assert_int_equal(got.tokens, 9);
    assert_int_equal(got.text, 9);
    assert_int_equal(got.width, 1);
    assert_int_equal(got.vocab, 256);
    assert_true(cid_equal(&got.file, &cid) && cid_is_none(&got.tokenizer));
    store_close(s);
}

static void test_ids_are_read_least_byte_first(void **state)
{
    static const uint8_t bytes[] = {0x01, 0x02, 0x03, 0x04, 0xff, 0xff, 0xff, 0xff};
    assert_int_equal(corpus_token(bytes, 1, 1), 0x02);
    assert_int_equal(corpus_token(bytes, 2, 1), 0x0403);
    assert_int_equal(corpus_token(bytes, 4, 0), 0x04030201);
    assert_int_equal(corpus_token(bytes, 4, 1), INT32_MAX);
}

/* ---- pieces ---- */

/* Letters, spaces, line feeds and characters of two to four bytes; long lines now and then. */
static uint8_t *text_new(size_t n, uint64_t seed)
{
    static const char *const PARTS[] = {
        "a", " ", "\n", "\n ", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "word", ".\n", "\t"};
    uint8_t *text = malloc(n + 8);
    size_t at = 0;
    bool feeds = seed % 3 != 0; /* else one line */
    for (uint64_t i = 0; at < n; i++) {
        const char *p = PARTS[philox_below(seed, PHILOX_TEST, 1, i, EMAC_COUNT(PARTS))];
        if (!feeds && strchr(p, '\n') != NULL)
            continue;
        memcpy(text + at, p, strlen(p));
        at += strlen(p);
    }
    memset(text + n, 0, 8);
    while (n > 0 && (text[n - 1] & 0x80)) /* end with a whole character */
        text[--n] = ' ';
    return text;
}

static void test_pieces_are_the_text_and_cut_no_character(void **state)
{
    size_t n = 3 * CORPUS_PIECE + 12345;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        uint8_t *text = text_new(n, seed);
        size_t at = 0, pieces = 0;
        while (at < n) {
            size_t piece = corpus_piece(text + at, n - at, true);
            assert_true(piece > 0 && piece <= CORPUS_PIECE && piece <= n - at);
            if (at + piece < n && (text[at + piece] & 0xc0) == 0x80)
                fail_msg("seed %llu: a character is cut at %zu", (unsigned long long)seed,
                         at + piece);
            if (n - at > CORPUS_PIECE) /* one byte more says nothing new */
                assert_int_equal(corpus_piece(text + at, CORPUS_PIECE + 1, false), piece);
            at += piece;
            pieces++;
        }
        assert_in_range(pieces, 4, 5);
        free(text);
    }
    assert_int_equal(corpus_piece((const uint8_t *)"short", 5, false), 0);
}

/* ---- a text cut into tokens ---- */

struct source {
    const uint8_t *text;
    size_t n, at, step;
};

static enum emac_status source_read(void *ctx, uint8_t *to, size_t cap, size_t *n,
                                    struct emac_err *err)
{
    struct source *s = ctx;
    *n = s->n - s->at < cap ? s->n - s->at : cap;
    if (*n > s->step)
        *n = s->step;
    memcpy(to, s->text + s->at, *n);
    s->at += *n;
    return EMAC_OK;
}

static struct cid cut(struct store *s, const uint8_t *text, size_t n, size_t step,
                      struct corpus *out)
{
    struct source source = {text, n, 0, step};
    struct tokenizer *t;
    struct cid cid;
    assert_ok(tokenizer_bytes(&t, err));
    const struct corpus_source from = {source_read, &source, t,
                                       directory_put(s, "tokenizer.json", "{}")};
    assert_ok(corpus_tokenize(s, &from, out, &cid, err));
    tokenizer_free(t);
    return cid;
}

/* However it is read, a text has one token set; by the byte tokenizer its ids are its bytes. */
static void test_a_text_has_one_token_set(void **state)
{
    size_t n = 2 * CORPUS_PIECE + 77;
    uint8_t *text = text_new(n, 5), *ids = malloc(2 * n);
    struct store *s = store_new();
    struct corpus c, other;
    struct cid cid = cut(s, text, n, n, &c), again = cut(s, text, n, 1009, &other);
    assert_true(cid_equal(&cid, &again));
    assert_int_equal(c.tokens, n);
    assert_int_equal(c.text, n);
    assert_int_equal(c.width, 2);
    assert_int_equal(c.vocab, 256);
    assert_ok(store_file_read(s, &c.file, 0, ids, 2 * n, err));
    for (size_t i = 0; i < n; i++)
        if (corpus_token(ids, 2, i) != text[i])
            fail_msg("token %zu is %d, not byte %u", i, corpus_token(ids, 2, i), text[i]);
    free(ids);
    free(text);
    store_close(s);
}

static void test_an_empty_text_is_refused(void **state)
{
    struct source source = {(const uint8_t *)"", 0, 0, 1};
    struct store *s = store_new();
    struct tokenizer *t;
    struct corpus c;
    struct cid cid;
    assert_ok(tokenizer_bytes(&t, err));
    const struct corpus_source from = {source_read, &source, t,
                                       directory_put(s, "tokenizer.json", "{}")};
    assert_fails(corpus_tokenize(s, &from, &c, &cid, err), EMAC_INVALID, "the text is empty");
    tokenizer_free(t);
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_block_is_read_as_it_was_written),
        cmocka_unit_test(test_what_cannot_be_is_refused),
        cmocka_unit_test(test_a_file_of_another_size_is_refused),
        cmocka_unit_test(test_bytes_are_tokens),
        cmocka_unit_test(test_ids_are_read_least_byte_first),
        cmocka_unit_test(test_pieces_are_the_text_and_cut_no_character),
        cmocka_unit_test(test_a_text_has_one_token_set),
        cmocka_unit_test(test_an_empty_text_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

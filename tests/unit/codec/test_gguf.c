/* GGUF: what is read, and what is refused of damaged or hostile files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/assert.h"
#include "gguf_test.h"

#define FILE_MAX 65536

/* A file with a value of each sort and two tensors. */
static void sample(struct emac_buf *b)
{
    emac_buf_init(b, FILE_MAX);
    gguf_put_head(b, 2, 5);
    gguf_put_string(b, "general.architecture", "llama");
    gguf_put_u32(b, "z.number", 7);
    gguf_put_f32(b, "a.real", 0.5f);
    gguf_put_text(b, "tokens"); /* array of strings */
    gguf_put(b, 9, 4);
    gguf_put(b, GGUF_STRING, 4);
    gguf_put(b, 2, 8);
    gguf_put_text(b, "x");
    gguf_put_text(b, "");
    gguf_put_u32(b, "general.alignment", 64);
    gguf_put_tensor(b, "w", 32, 3, GGUF_Q8_0, 64);
    gguf_put_tensor(b, "bias", 5, 0, GGUF_F32, 0);
    gguf_pad(b, 64);
    for (int i = 0; i < 64 + 3 * 34; i++)
        gguf_put(b, (uint64_t)i, 1);
}

static void reads(void **state)
{
    struct emac_buf b;
    struct gguf g;
    uint32_t n = 0;
    float x = 0;
    sample(&b);
    assert_int_equal(gguf_parse(&g, b.data, b.len, NULL), EMAC_OK);
    assert_int_equal(g.values, 5);
    assert_int_equal(gguf_u32(&g, "z.number", NULL, &n, NULL), EMAC_OK);
    assert_int_equal(n, 7);
    assert_int_equal(gguf_f32(&g, "a.real", NULL, &x, NULL), EMAC_OK);
    assert_true(x == 0.5f);
    assert_int_equal(gguf_u32(&g, "absent", &n, &n, NULL), EMAC_OK);
    assert_int_equal(gguf_u32(&g, "absent", NULL, &n, NULL), EMAC_INVALID);
    assert_int_equal(gguf_u32(&g, "a.real", &n, &n, NULL), EMAC_INVALID);
    assert_int_equal(gguf_f32(&g, "z.number", &x, &x, NULL), EMAC_INVALID);
    const struct gguf_value *v = gguf_value_find(&g, "general.architecture");
    assert_true(v && gguf_text_is((struct gguf_text){(const char *)v->data, v->n}, "llama"));
    assert_int_equal(gguf_value_find(&g, "tokens")->n, 2);
    const struct gguf_tensor *w = gguf_tensor_find(&g, "w"), *t = gguf_tensor_find(&g, "bias");
    assert_true(w && t && !gguf_tensor_find(&g, "bia"));
    assert_int_equal(w->bytes, 3 * 34);
    assert_int_equal(t->bytes, 20);
    assert_true(w->data[0] == 64 && t->data[0] == 0 && w->dim[0] == 32 && w->dim[1] == 3);
    gguf_release(&g);
    emac_buf_release(&b);
}

/* Cut anywhere, it is refused; nothing outside is touched (the copy ends where memory does). */
static void cut_anywhere(void **state)
{
    struct emac_buf b;
    sample(&b);
    for (size_t n = 0; n < b.len; n++) {
        struct gguf g;
        uint8_t *copy = malloc(n ? n : 1);
        memcpy(copy, b.data, n);
        assert_int_not_equal(gguf_parse(&g, copy, n, NULL), EMAC_OK);
        assert_null(g.tensor);
        free(copy);
    }
    emac_buf_release(&b);
}

/* `n` bytes near the text `find` become `put`. */
static const struct {
    const char *what, *find, *put;
    size_t n;
    size_t at; /* where from the start of `find` */
    enum emac_status want;
    const char *says;
} damage[] = {
    {"magic", "GGUF", "GGML", 4, 0, EMAC_INVALID, "not a GGUF file"},
    {"version 1", "GGUF", "\1\0\0\0", 4, 4, EMAC_UNSUPPORTED, "version 1"},
    {"big-endian", "GGUF", "\0\0\0\3", 4, 4, EMAC_UNSUPPORTED, "version"},
    {"tensors", "GGUF", "\377\377\377\377\377\377\377\377", 8, 8, EMAC_CORRUPT, "too many tensors"},
    {"keys", "GGUF", "\377\377\377\377\377\377\377\177", 8, 16, EMAC_CORRUPT, "too many metadata"},
    {"value type", "z.number", "\15\0\0\0", 4, 8, EMAC_CORRUPT, "unknown type"},
    {"array of arrays", "tokens", "\11\0\0\0", 4, 10, EMAC_CORRUPT, "array of an unknown type"},
    {"array length", "tokens", "\377\377\377\377\377\377\377\377", 8, 14, EMAC_CORRUPT, "longer"},
    {"alignment 0", "general.alignment", "\0\0\0\0", 4, 21, EMAC_CORRUPT, "power of 2"},
    {"alignment 48", "general.alignment", "\60\0\0\0", 4, 21, EMAC_CORRUPT, "power of 2"},
    {"key twice", "z.number", "tokens\0\0", 8, 0, EMAC_OK, ""}, /* longer: another key */
    {"tensor type", "bias", "\5\0\0\0", 4, 16, EMAC_UNSUPPORTED, "tensor 'bias' has type 5"},
    {"dimensions", "bias", "\5\0\0\0", 4, 4, EMAC_CORRUPT, "number of dimensions"},
    {"no dimension", "bias", "\0\0\0\0", 4, 4, EMAC_CORRUPT, "number of dimensions"},
    {"size 0", "bias", "\0\0\0\0\0\0\0\0", 8, 8, EMAC_CORRUPT, "dimensions do not fit"},
    {"huge", "bias", "\0\0\0\0\0\0\0\200", 8, 8, EMAC_CORRUPT, "fit"},
    {"large", "bias", "\0\0\0\0\0\0\0\20", 8, 8, EMAC_CORRUPT, "lies outside"},
    {"offset", "bias", "\100\1\0\0\0\0\0\0", 8, 20, EMAC_CORRUPT, "lies outside"},
    {"odd offset", "bias", "\1\0\0\0\0\0\0\0", 8, 20, EMAC_CORRUPT, "lies outside"},
};

static uint8_t *find_text(struct emac_buf *b, const char *text)
{
    size_t n = strlen(text);
    for (size_t i = 0; i + n <= b->len; i++)
        if (memcmp(b->data + i, text, n) == 0)
            return b->data + i;
    fail_msg("'%s' is not in the file", text);
    return NULL;
}

static void damaged(void **state)
{
    for (size_t i = 0; i < EMAC_COUNT(damage); i++) {
        struct emac_buf b;
        struct gguf g;
        struct emac_err err = {0};
        sample(&b);
        memcpy(find_text(&b, damage[i].find) + damage[i].at, damage[i].put, damage[i].n);
        enum emac_status st = gguf_parse(&g, b.data, b.len, &err);
        if (st != damage[i].want || !strstr(err.text, damage[i].says))
            fail_msg("%s: %s '%s'", damage[i].what, emac_status_text(st), err.text);
        if (st == EMAC_OK)
            gguf_release(&g);
        emac_buf_release(&b);
    }
}

static void twice(void **state)
{
    for (int tensors = 0; tensors < 2; tensors++) {
        struct emac_buf b;
        struct gguf g;
        struct emac_err err = {0};
        emac_buf_init(&b, FILE_MAX);
        gguf_put_head(&b, tensors ? 2 : 0, tensors ? 0 : 2);
        for (int i = 0; i < 2; i++) {
            if (tensors)
                gguf_put_tensor(&b, "w", 4, 0, GGUF_F32, 0);
            else
                gguf_put_u32(&b, "k", 1);
        }
        gguf_pad(&b, 32);
        gguf_put(&b, 0, 8);
        gguf_put(&b, 0, 8);
        assert_int_equal(gguf_parse(&g, b.data, b.len, &err), EMAC_CORRUPT);
        assert_non_null(strstr(err.text, "occurs twice"));
        emac_buf_release(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads),
        cmocka_unit_test(cut_anywhere),
        cmocka_unit_test(damaged),
        cmocka_unit_test(twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

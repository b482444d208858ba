/* What is written is read again as it was told, whatever it is and wherever the sink gives up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../property.h"
#include "codec/gguf_write.h"

#define FILE_MAX (1 << 20)
#define DATA_MAX 4096
#define MOST     6 /* values, tensors */

struct sink {
    struct emac_buf out;
    size_t room; /* bytes until the disk is full */
};

static enum emac_status to_sink(void *ctx, const void *data, size_t n, struct emac_err *err)
{
    struct sink *s = ctx;
    if (n > s->room)
        return emac_fail(err, EMAC_NO_SPACE, "the disk is full");
    s->room -= n;
    return emac_buf_append(&s->out, data, n, err);
}

/* A file with a value of each sort and two tensors, whose data come in pieces of `piece` bytes. */
static enum emac_status sample(struct sink *s, size_t piece, struct emac_err *err)
{
    static const int32_t whole[3] = {1, -2, INT32_MAX};
    static const float real[2] = {0.5f, -1e30f};
    static const uint64_t dim[2] = {32, 3}, one = 5;
    uint8_t data[3 * 34 + 20];
    struct gguf_writer w;
    enum emac_status st;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i + 1);
    gguf_writer_init(&w);
    EMAC_TRY(st, gguf_add_tensor(&w, "w", GGUF_Q8_0, 2, dim, err));
    EMAC_TRY(st, gguf_add_u32(&w, "z.number", UINT32_MAX, err));
    EMAC_TRY(st, gguf_add_f32(&w, "a.real", 0.5f, err));
    EMAC_TRY(st, gguf_add_bool(&w, "a.flag", true, err));
    EMAC_TRY(st, gguf_add_text(&w, "text", EMAC_SLICE("a\0b", 3), err));
    EMAC_TRY(st, gguf_add_words(&w, "wholes", GGUF_I32, whole, 3, err));
    EMAC_TRY(st, gguf_add_words(&w, "reals", GGUF_REAL, real, 2, err));
    EMAC_TRY(st, gguf_add_texts(&w, "none", 0, err));
    EMAC_TRY(st, gguf_add_texts(&w, "texts", 2, err));
    EMAC_TRY(st, gguf_add_element(&w, EMAC_SLICE_STR("x"), err));
    EMAC_TRY(st, gguf_add_element(&w, EMAC_SLICE_STR(""), err));
    EMAC_TRY(st, gguf_add_tensor(&w, "bias", GGUF_F32, 1, &one, err));
    EMAC_TRY(st, gguf_write_begin(&w, (struct gguf_sink){to_sink, s}, err));
    for (size_t at = 0; at < sizeof data; at += piece)
        EMAC_TRY(st, gguf_write_data(&w, data + at,
                                     piece < sizeof data - at ? piece : sizeof data - at, err));
    gguf_write_end(&w);
out:
    gguf_writer_release(&w);
    return st;
}

static void sink_init(struct sink *s, size_t room)
{
    emac_buf_init(&s->out, FILE_MAX);
    s->room = room;
}

static void says_what_was_told(void **state)
{
    struct sink s;
    struct gguf g;
    uint32_t n = 0;
    float x = 0;
    sink_init(&s, FILE_MAX);
    assert_int_equal(sample(&s, 7, NULL), EMAC_OK);
    assert_int_equal(gguf_parse(&g, s.out.data, s.out.len, NULL), EMAC_OK);
    assert_int_equal(s.out.data[4], 3); /* the version */
    assert_int_equal(s.out.len % GGUF_ALIGNMENT, 0);
    assert_int_equal(g.values, 9); /* and the alignment */
    assert_int_equal(gguf_u32(&g, "general.alignment", NULL, &n, NULL), EMAC_OK);
    assert_int_equal(n, 32);
    assert_int_equal(gguf_u32(&g, "z.number", NULL, &n, NULL), EMAC_OK);
    assert_true(n == UINT32_MAX);
    assert_int_equal(gguf_f32(&g, "a.real", NULL, &x, NULL), EMAC_OK);
    assert_true(x == 0.5f && *gguf_value_find(&g, "a.flag")->data == 1);
    assert_true(gguf_text(&g, "text").n == 3 && memcmp(gguf_text(&g, "text").p, "a\0b", 3) == 0);
    const struct gguf_value *v = gguf_array(&g, "texts", GGUF_STRING);
    const uint8_t *at = v->data;
    assert_true(v->n == 2 && gguf_text_is(gguf_array_text(&at), "x"));
    assert_int_equal(gguf_array_text(&at).n, 0);
    assert_int_equal(gguf_array(&g, "none", GGUF_STRING)->n, 0);
    v = gguf_array(&g, "wholes", GGUF_I32);
    assert_true(v->n == 3 && memcmp(v->data + 4, "\xfe\xff\xff\xff", 4) == 0);
    assert_int_equal(gguf_array(&g, "reals", GGUF_REAL)->n, 2);
    const struct gguf_tensor *w = gguf_tensor_find(&g, "w"), *b = gguf_tensor_find(&g, "bias");
    assert_true(w->bytes == 3 * 34 && w->dim[0] == 32 && w->dim[1] == 3 && w->data[0] == 1);
    assert_true(b->bytes == 20 && b->data[0] == 3 * 34 + 1 && b->data[19] == 3 * 34 + 20);
    gguf_release(&g);
    emac_buf_release(&s.out);
}

/* However much room there is, the writer fails in the sink's words or the file is the same. */
static void any_sink(void **state)
{
    struct sink whole;
    sink_init(&whole, FILE_MAX);
    assert_int_equal(sample(&whole, 1, NULL), EMAC_OK);
    for (size_t room = 0; room <= whole.out.len; room++) {
        struct sink s;
        struct emac_err err = {0};
        sink_init(&s, room);
        enum emac_status st = sample(&s, 64, &err);
        assert_int_equal(st, room < whole.out.len ? EMAC_NO_SPACE : EMAC_OK);
        assert_true(st == EMAC_OK || strcmp(err.text, "the disk is full") == 0);
        assert_true(s.out.len <= room);
        assert_true(s.out.len == 0 || memcmp(s.out.data, whole.out.data, s.out.len) == 0);
        emac_buf_release(&s.out);
    }
    emac_buf_release(&whole.out);
}

static void refuses(void **state)
{
    static const struct {
        const char *name;
        enum gguf_type type;
        uint64_t dim[2];
        const char *says;
    } bad[] = {
        {"0123456789012345678901234567890123456789012345678901234567890123",
         GGUF_F32,
         {1, 1},
         "has over 63 bytes"},
        {"there", GGUF_F32, {1, 1}, "'there' is there twice"},
        {"odd", GGUF_Q8_0, {33, 1}, "dimensions of tensor 'odd'"},
        {"wide", GGUF_Q6_K, {128, 1}, "dimensions of tensor 'wide'"},
        {"none", GGUF_F32, {0, 1}, "dimensions of tensor 'none'"},
        {"no rows", GGUF_F32, {1, 0}, "dimensions of tensor 'no rows'"},
        {"huge", GGUF_F32, {(uint64_t)1 << 40, (uint64_t)1 << 40}, "dimensions of tensor 'huge'"},
        {"large", GGUF_F32, {(uint64_t)1 << 61, 1}, "dimensions of tensor 'large'"},
    };
    struct gguf_writer w;
    const uint64_t one = 1;
    gguf_writer_init(&w);
    assert_int_equal(gguf_add_tensor(&w, "there", GGUF_F32, 1, &one, NULL), EMAC_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct emac_err err = {0};
        assert_int_equal(gguf_add_tensor(&w, bad[i].name, bad[i].type, 2, bad[i].dim, &err),
                         EMAC_INVALID);
        if (strstr(err.text, bad[i].says) == NULL)
            fail_msg("%s: %s", bad[i].name, err.text);
    }
    gguf_writer_release(&w);
}

/* ---- any file ---- */

struct told {
    size_t values, tensors;
    uint32_t number[MOST];
    char name[MOST][GGUF_NAME_MAX];
    enum gguf_type type[MOST];
    uint64_t dim[MOST][2];
    uint8_t data[MOST][DATA_MAX];
    size_t bytes[MOST];
};

static void told_choose(struct choices *c, struct told *t)
{
    static const enum gguf_type types[] = {GGUF_F32,  GGUF_F16,  GGUF_BF16, GGUF_Q4_0,
                                           GGUF_Q4_1, GGUF_Q8_0, GGUF_Q6_K};
    t->values = choose(c, MOST);
    t->tensors = choose(c, MOST);
    for (size_t i = 0; i < MOST; i++) {
        uint64_t row;
        t->number[i] = (uint32_t)choose(c, UINT32_MAX);
        snprintf(t->name[i], sizeof t->name[i], "%.*s%zu", (int)choose(c, 61),
                 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghij", i);
        t->type[i] = types[choose(c, 7)];
        t->dim[i][0] = t->type[i] == GGUF_Q6_K ? 256 : 32 * (1 + choose(c, 4));
        t->dim[i][1] = 1 + choose(c, 5);
        assert_true(gguf_row_bytes(t->type[i], t->dim[i][0], &row));
        t->bytes[i] = (size_t)(row * t->dim[i][1]);
        assert_true(t->bytes[i] <= DATA_MAX);
        choose_bytes(c, t->data[i], t->bytes[i]);
    }
}

static void told_write(struct choices *c, const struct told *t, struct sink *s)
{
    struct gguf_writer w;
    gguf_writer_init(&w);
    for (size_t i = 0; i < t->tensors; i++)
        assert_int_equal(gguf_add_tensor(&w, t->name[i], t->type[i], 2, t->dim[i], NULL), EMAC_OK);
    for (size_t i = 0; i < t->values; i++)
        assert_int_equal(gguf_add_u32(&w, t->name[i], t->number[i], NULL), EMAC_OK);
    assert_int_equal(gguf_write_begin(&w, (struct gguf_sink){to_sink, s}, NULL), EMAC_OK);
    for (size_t i = 0; i < t->tensors; i++)
        for (size_t at = 0, n; at < t->bytes[i]; at += n) {
            n = 1 + choose(c, t->bytes[i] - at);
            assert_int_equal(gguf_write_data(&w, t->data[i] + at, n, NULL), EMAC_OK);
        }
    gguf_write_end(&w);
    gguf_writer_release(&w);
}

static bool comes_back(struct choices *c)
{
    static struct told t;
    struct sink s;
    struct gguf g;
    told_choose(c, &t);
    sink_init(&s, FILE_MAX);
    told_write(c, &t, &s);
    bool ok = gguf_parse(&g, s.out.data, s.out.len, NULL) == EMAC_OK && g.values == t.values + 1 &&
              g.tensors == t.tensors;
    for (size_t i = 0; ok && i < t.values; i++) {
        uint32_t n = 0;
        ok = gguf_u32(&g, t.name[i], NULL, &n, NULL) == EMAC_OK && n == t.number[i];
    }
    for (size_t i = 0; ok && i < t.tensors; i++) {
        const struct gguf_tensor *x = gguf_tensor_find(&g, t.name[i]);
        ok = x != NULL && x->type == t.type[i] && x->rank == 2 && x->bytes == t.bytes[i] &&
             (x->data - s.out.data) % GGUF_ALIGNMENT == 0 &&
             memcmp(x->dim, t.dim[i], sizeof t.dim[i]) == 0 &&
             memcmp(x->data, t.data[i], t.bytes[i]) == 0;
    }
    gguf_release(&g);
    emac_buf_release(&s.out);
    return ok;
}

static void any_file_comes_back(void **state)
{
    ASSERT_PROPERTY(200, comes_back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(says_what_was_told),
                                       cmocka_unit_test(any_sink), cmocka_unit_test(refuses),
                                       cmocka_unit_test(any_file_comes_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

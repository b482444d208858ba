/* Written forms of tokens, by id and by bytes, and bytes as visible characters. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "model/tokenizer_internal.h"

static bool byte_is_visible(unsigned byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
}

/* How many bytes below this one are not visible: 0x00 to 0x20, 0x7f to 0xa0, 0xad. */
static uint32_t hidden_below(unsigned byte)
{
    if (byte <= 0x20)
        return byte;
    return byte <= 0xa0 ? 0x21 + byte - 0x7f : 0x43;
}

uint32_t tok_visible(uint8_t byte)
{
    return byte_is_visible(byte) ? byte : 0x100 + hidden_below(byte);
}

int tok_visible_byte(uint32_t c)
{
    if (c < 0x100)
        return byte_is_visible(c) ? (int)c : -1;
    if (c < 0x121)
        return (int)(c - 0x100);
    if (c < 0x143)
        return (int)(c - 0x121 + 0x7f);
    return c == 0x143 ? 0xad : -1;
}

size_t tok_utf8_put(uint8_t out[4], uint32_t c)
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xc0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xe0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (c & 0x3f));
    return 4;
}

/* -- written forms ------------------------------------------------------------------------- */

void tok_vocab_init(struct tok_vocab *v)
{
    *v = (struct tok_vocab){0};
    emac_buf_init(&v->text, TOKENIZER_JSON_MAX);
}

void tok_vocab_release(struct tok_vocab *v)
{
    emac_buf_release(&v->text);
    free(v->written);
    free(v->order);
    *v = (struct tok_vocab){0};
}

static enum emac_status room_make(struct tok_vocab *v, uint32_t id, struct emac_err *err)
{
    uint32_t room = v->room < 256 ? 256 : v->room;
    struct tok_span *grown;

    while (room <= id)
        room *= 2;
    if (room == v->room)
        return EMAC_OK;
    grown = realloc(v->written, room * sizeof(*grown));
    if (grown == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "no memory for a vocabulary of %u tokens", room);
    for (uint32_t i = v->room; i < room; i++)
        grown[i] = (struct tok_span){UINT32_MAX, 0};
    v->written = grown;
    v->room = room;
    return EMAC_OK;
}

enum emac_status tok_vocab_add(struct tok_vocab *v, struct emac_slice form, uint32_t id,
                               struct emac_err *err)
{
    enum emac_status st;

    if (id >= TOKENIZER_VOCAB_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "token '%.*s' has the id %u; the limit is %u",
                         (int)(form.len < 40 ? form.len : 40), (const char *)form.data, id,
                         TOKENIZER_VOCAB_MAX - 1);
    EMAC_TRY(st, room_make(v, id, err));
    if (v->written[id].at != UINT32_MAX)
        return emac_fail(err, EMAC_INVALID, "the tokens '%.*s' and '%.*s' have one id, %u",
                         (int)(v->written[id].len < 40 ? v->written[id].len : 40),
                         (const char *)v->text.data + v->written[id].at,
                         (int)(form.len < 40 ? form.len : 40), (const char *)form.data, id);
    EMAC_TRY(st, emac_buf_append(&v->text, form.data, form.len, err));
    v->written[id] = (struct tok_span){(uint32_t)(v->text.len - form.len), (uint32_t)form.len};
    if (id >= v->count)
        v->count = id + 1;
out:
    return st;
}

struct emac_slice tok_vocab_form(const struct tok_vocab *v, uint32_t id)
{
    if (id >= v->count || v->written[id].at == UINT32_MAX)
        return (struct emac_slice){0};
    return EMAC_SLICE(v->text.data + v->written[id].at, v->written[id].len);
}

static int forms_compare(struct emac_slice a, struct emac_slice b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n > 0 ? memcmp(a.data, b.data, n) : 0;

    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

static int order_compare(const void *a, const void *b, void *ctx)
{
    const struct tok_vocab *v = ctx;
    uint32_t x = (uint32_t) * (const int32_t *)a, y = (uint32_t) * (const int32_t *)b;
    int c = forms_compare(tok_vocab_form(v, x), tok_vocab_form(v, y));

    return c != 0 ? c : (x > y) - (x < y);
}

enum emac_status tok_vocab_index(struct tok_vocab *v, struct emac_err *err)
{
    enum emac_status st;

    free(v->order);
    v->order = NULL;
    v->used = 0;
    EMAC_TRY(st, emac_alloc(&v->order, (size_t)v->count + 1, sizeof(*v->order), err));
    for (uint32_t id = 0; id < v->count; id++)
        if (v->written[id].at != UINT32_MAX)
            v->order[v->used++] = (int32_t)id;
    qsort_r(v->order, v->used, sizeof(*v->order), order_compare, v);
    for (uint32_t i = 1; i < v->used; i++) {
        struct emac_slice form = tok_vocab_form(v, (uint32_t)v->order[i]);

        if (forms_compare(tok_vocab_form(v, (uint32_t)v->order[i - 1]), form) == 0)
            return emac_fail(err, EMAC_INVALID, "the token '%.*s' has two ids, %d and %d",
                             (int)(form.len < 40 ? form.len : 40), (const char *)form.data,
                             v->order[i - 1], v->order[i]);
    }
out:
    return st;
}

int32_t tok_vocab_find(const struct tok_vocab *v, struct emac_slice form)
{
    uint32_t low = 0, high = v->used;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int c = forms_compare(tok_vocab_form(v, (uint32_t)v->order[middle]), form);

        if (c == 0)
            return v->order[middle];
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

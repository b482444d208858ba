/* Pieces: what each id adds to a text, made once for all ids by the decoder's steps. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "model/tokenizer_internal.h"

/* Visible characters to bytes; a text that has others stays as it is. */
static enum emac_status unmap(struct emac_slice text, struct emac_buf *out, struct emac_err *err)
{
    size_t start = out->len;

    for (size_t i = 0, n; i < text.len; i += n) {
        uint32_t c = 0;
        uint8_t byte;
        int b;
        enum emac_status st;

        n = emac_utf8_next(text.data + i, text.len - i, &c);
        b = n > 0 ? tok_visible_byte(c) : -1;
        if (b < 0) {
            out->len = start;
            return emac_buf_append(out, text.data, text.len, err);
        }
        byte = (uint8_t)b;
        st = emac_buf_append(out, &byte, 1, err);
        if (st != EMAC_OK)
            return st;
    }
    return EMAC_OK;
}

static int hex(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* <0x41> to its byte; anything else as it is. */
static enum emac_status unescape(struct emac_slice text, struct emac_buf *out, struct emac_err *err)
{
    if (text.len == 6 && memcmp(text.data, "<0x", 3) == 0 && text.data[5] == '>' &&
        hex(text.data[3]) >= 0 && hex(text.data[4]) >= 0) {
        uint8_t byte = (uint8_t)(hex(text.data[3]) << 4 | hex(text.data[4]));

        return emac_buf_append(out, &byte, 1, err);
    }
    return emac_buf_append(out, text.data, text.len, err);
}

static bool is_there(struct emac_slice text, size_t at, struct emac_slice what)
{
    return text.len - at >= what.len && memcmp(text.data + at, what.data, what.len) == 0;
}

static enum emac_status strip(const struct tok_step *s, struct emac_slice text,
                              struct emac_buf *out, struct emac_err *err)
{
    size_t start = 0, end = text.len, n = s->text.len;

    for (uint32_t i = 0; i < s->start && is_there(text, start, s->text); i++)
        start += n;
    for (uint32_t i = 0; i < s->stop && end >= start + n && is_there(text, end - n, s->text); i++)
        end -= n;
    return emac_buf_append(out, text.data + start, end - start, err);
}

static enum emac_status meta(const struct tok_step *s, struct emac_slice text, bool first,
                             struct emac_buf *out, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;

    for (size_t i = 0; i < text.len && st == EMAC_OK;) {
        if (is_there(text, i, s->text)) {
            if (!first || !s->left)
                st = emac_buf_append(out, " ", 1, err);
            i += s->text.len;
        } else {
            st = emac_buf_append(out, text.data + i++, 1, err);
        }
    }
    return st;
}

static enum emac_status decode_step(const struct tok_step *s, struct emac_slice text, bool first,
                                    struct emac_buf *out, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;

    switch (s->kind) {
    case TOK_STEP_UNMAP:
        return unmap(text, out, err);
    case TOK_STEP_BYTE:
        return unescape(text, out, err);
    case TOK_STEP_STRIP:
        if (s->first_only && !first)
            return emac_buf_append(out, text.data, text.len, err);
        return strip(s, text, out, err);
    case TOK_STEP_META:
        return meta(s, text, first, out, err);
    case TOK_STEP_JOIN:
        if (!first)
            st = emac_buf_append(out, " ", 1, err);
        return st == EMAC_OK ? emac_buf_append(out, text.data, text.len, err) : st;
    default:
        return tok_step_apply(s, text, first, out, err);
    }
}

/* The steps one after the other, between two buffers; the result is in turn[*at]. */
static enum emac_status decode(const struct tok_steps *steps, struct emac_slice form, bool first,
                               struct emac_buf turn[2], int *at, struct emac_err *err)
{
    enum emac_status st;

    *at = 0;
    emac_buf_clear(&turn[0]);
    EMAC_TRY(st, emac_buf_append(&turn[0], form.data, form.len, err));
    for (uint32_t i = 0; i < steps->count; i++) {
        emac_buf_clear(&turn[!*at]);
        EMAC_TRY(st,
                 decode_step(&steps->step[i], emac_buf_slice(&turn[*at]), first, &turn[!*at], err));
        *at = !*at;
    }
out:
    return st;
}

/* What of an id is decoded: an added token as it is looked for, which its normalizer may have made
 * of it. */
static struct emac_slice form_of(const struct tokenizer *t, uint32_t id,
                                 const struct emac_slice *looked_for)
{
    return looked_for[id].data != NULL ? looked_for[id] : tok_vocab_form(&t->vocab, id);
}

static enum emac_status piece_add(struct tokenizer *t, const struct emac_buf *text,
                                  struct tok_span *out, struct emac_err *err)
{
    enum emac_status st = emac_buf_append(&t->piece_text, text->data, text->len, err);

    *out = (struct tok_span){(uint32_t)(t->piece_text.len - text->len), (uint32_t)text->len};
    return st;
}

static enum emac_status piece_make(struct tokenizer *t, const struct tok_steps *steps, uint32_t id,
                                   struct emac_slice form, struct emac_buf turn[2],
                                   struct emac_err *err)
{
    struct tok_span usual;
    int at;
    enum emac_status st;

    EMAC_TRY(st, decode(steps, form, false, turn, &at, err));
    EMAC_TRY(st, piece_add(t, &turn[at], &usual, err));
    EMAC_TRY(st, decode(steps, form, true, turn, &at, err));
    t->piece[id] = t->first_piece[id] = usual;
    if (turn[at].len != usual.len ||
        (usual.len > 0 && memcmp(turn[at].data, t->piece_text.data + usual.at, usual.len) != 0))
        st = piece_add(t, &turn[at], &t->first_piece[id], err);
out:
    return st;
}

enum emac_status tok_pieces_make(struct tokenizer *t, const struct tok_steps *decoder,
                                 struct emac_err *err)
{
    size_t max = (size_t)TOKENIZER_JSON_MAX * 8;
    struct emac_buf turn[2];
    struct emac_slice *looked_for = NULL;
    enum emac_status st;

    emac_buf_init(&turn[0], max);
    emac_buf_init(&turn[1], max);
    emac_buf_init(&t->piece_text, max);
    EMAC_TRY(st, emac_alloc(&looked_for, (size_t)t->vocab.count + 1, sizeof(*looked_for), err));
    EMAC_TRY(st, emac_alloc(&t->piece, (size_t)t->vocab.count + 1, sizeof(*t->piece), err));
    EMAC_TRY(st, emac_alloc(&t->first_piece, (size_t)t->vocab.count + 1, sizeof(*t->piece), err));
    for (uint32_t i = 0; i < t->added_count; i++)
        looked_for[t->added[i].id] = t->added[i].content;
    for (uint32_t id = 0; id < t->vocab.count; id++)
        if (t->vocab.written[id].at != UINT32_MAX && !t->special[id])
            EMAC_TRY(st, piece_make(t, decoder, id, form_of(t, id, looked_for), turn, err));
out:
    free(looked_for);
    emac_buf_release(&turn[0]);
    emac_buf_release(&turn[1]);
    return st;
}

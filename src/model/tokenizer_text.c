/* Steps that make one text of another: what normalizers do, and pre-tokenizers before they split.
 */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "model/tokenizer_internal.h"

void tok_steps_release(struct tok_steps *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        tok_pattern_release(&s->step[i].pattern);
        free((void *)s->step[i].text.data);
    }
    s->count = 0;
}

struct tok_step *tok_steps_add(struct tok_steps *s, enum tok_step_kind kind)
{
    struct tok_step *step;

    if (s->count == TOK_STEPS_MAX)
        return NULL;
    step = &s->step[s->count++];
    *step = (struct tok_step){.kind = kind};
    return step;
}

/* -- normalisation forms (Unicode Standard Annex 15) --------------------------------------- */

static utf8proc_option_t form_options(const struct tok_step *s)
{
    unsigned options = UTF8PROC_STABLE | (s->composed ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE);

    return (utf8proc_option_t)(s->compatible ? options | UTF8PROC_COMPAT : options);
}

static enum emac_status form_piece(const struct tok_step *s, struct emac_slice text,
                                   struct emac_buf *out, struct emac_err *err)
{
    utf8proc_uint8_t *made = NULL;
    utf8proc_ssize_t n =
        utf8proc_map(text.data, (utf8proc_ssize_t)text.len, &made, form_options(s));
    enum emac_status st;

    if (n < 0)
        return emac_fail(err, n == UTF8PROC_ERROR_NOMEM ? EMAC_NO_MEMORY : EMAC_INVALID,
                         "cannot normalise the text: %s", utf8proc_errmsg(n));
    st = emac_buf_append(out, made, (size_t)n, err);
    free(made);
    return st;
}

/* Characters below U+0300 are in form C already and never combine with what stands before them;
 * those below U+0080 are in all forms. So only stretches of others are looked at, each with the
 * character before it, which marks may combine with. `limit` is the first byte that begins others.
 */
static enum emac_status form_apply(const struct tok_step *s, struct emac_slice text,
                                   struct emac_buf *out, struct emac_err *err)
{
    uint8_t limit = s->composed && !s->compatible ? 0xcc : 0x80;
    size_t done = 0, at = 0;
    enum emac_status st = EMAC_OK;

    while (at < text.len) {
        size_t begin, end;

        while (at < text.len && text.data[at] < limit)
            at++;
        if (at == text.len)
            break;
        for (begin = at > done ? at - 1 : at; begin > done && (text.data[begin] & 0xc0) == 0x80;)
            begin--;
        for (end = at;
             end < text.len && (text.data[end] >= limit || (text.data[end] & 0xc0) == 0x80);)
            end++;
        EMAC_TRY(st, emac_buf_append(out, text.data + done, begin - done, err));
        EMAC_TRY(st, form_piece(s, EMAC_SLICE(text.data + begin, end - begin), out, err));
        done = at = end;
    }
    st = emac_buf_append(out, text.data + done, text.len - done, err);
out:
    return st;
}

/* -- the others ---------------------------------------------------------------------------- */

static enum emac_status replace_apply(const struct tok_step *s, struct emac_slice text,
                                      struct emac_buf *out, struct emac_err *err)
{
    struct tok_walk w;
    size_t done = 0, start, end;
    bool found;
    enum emac_status st = tok_walk_init(&w, &s->pattern, text, err);

    while (st == EMAC_OK) {
        EMAC_TRY(st, tok_walk_next(&w, &found, &start, &end, err));
        if (!found)
            break;
        EMAC_TRY(st, emac_buf_append(out, text.data + done, start - done, err));
        EMAC_TRY(st, emac_buf_append(out, s->text.data, s->text.len, err));
        done = end;
    }
    if (st == EMAC_OK)
        st = emac_buf_append(out, text.data + done, text.len - done, err);
out:
    tok_walk_release(&w);
    return st;
}

static enum emac_status prepend_apply(const struct tok_step *s, struct emac_slice text, bool put,
                                      struct emac_buf *out, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;

    if (put)
        st = emac_buf_append(out, s->text.data, s->text.len, err);
    return st == EMAC_OK ? emac_buf_append(out, text.data, text.len, err) : st;
}

static enum emac_status trim_apply(const struct tok_step *s, struct emac_slice text,
                                   struct emac_buf *out, struct emac_err *err)
{
    uint32_t c = 0;

    while (s->left && text.len > 0) {
        size_t n = emac_utf8_next(text.data, text.len, &c);

        if (!tok_class_space(c))
            break;
        text = EMAC_SLICE(text.data + n, text.len - n);
    }
    while (s->right && text.len > 0) {
        size_t at = text.len - 1;

        while (at > 0 && (text.data[at] & 0xc0) == 0x80)
            at--;
        emac_utf8_next(text.data + at, text.len - at, &c);
        if (!tok_class_space(c))
            break;
        text.len = at;
    }
    return emac_buf_append(out, text.data, text.len, err);
}

static enum emac_status map_apply(struct emac_slice text, struct emac_buf *out,
                                  struct emac_err *err)
{
    enum emac_status st = emac_buf_reserve(out, 2 * text.len, err);

    if (st != EMAC_OK)
        return st;
    for (size_t i = 0; i < text.len; i++)
        out->len += tok_utf8_put(out->data + out->len, tok_visible(text.data[i]));
    if (out->data != NULL)
        out->data[out->len] = 0;
    return EMAC_OK;
}

static bool begins_with(struct emac_slice text, struct emac_slice what)
{
    return text.len >= what.len && (what.len == 0 || memcmp(text.data, what.data, what.len) == 0);
}

enum emac_status tok_step_apply(const struct tok_step *s, struct emac_slice text, bool at_start,
                                struct emac_buf *out, struct emac_err *err)
{
    switch (s->kind) {
    case TOK_STEP_REPLACE:
        return replace_apply(s, text, out, err);
    case TOK_STEP_PREPEND:
        return prepend_apply(s, text, text.len > 0, out, err);
    case TOK_STEP_LEAD:
        return prepend_apply(s, text, !begins_with(text, s->text), out, err);
    case TOK_STEP_LEAD_ONCE:
        return prepend_apply(s, text, at_start && !begins_with(text, s->text), out, err);
    case TOK_STEP_FORM:
        return form_apply(s, text, out, err);
    case TOK_STEP_TRIM:
        return trim_apply(s, text, out, err);
    case TOK_STEP_MAP:
        return map_apply(text, out, err);
    default:
        EMAC_ASSERT(!"a step that makes no text");
        return EMAC_INTERNAL;
    }
}

/* -- classes of characters ----------------------------------------------------------------- */

int tok_class_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

static utf8proc_category_t category(uint32_t c)
{
    return utf8proc_category((utf8proc_int32_t)c);
}

int tok_class_number(uint32_t c)
{
    utf8proc_category_t k = category(c);

    return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

int tok_class_punct(uint32_t c)
{
    utf8proc_category_t k = category(c);

    if (c < 0x80)
        return c > 0x20 && c < 0x7f && k != UTF8PROC_CATEGORY_LU && k != UTF8PROC_CATEGORY_LL &&
               k != UTF8PROC_CATEGORY_ND;
    return k == UTF8PROC_CATEGORY_PC || k == UTF8PROC_CATEGORY_PD || k == UTF8PROC_CATEGORY_PS ||
           k == UTF8PROC_CATEGORY_PE || k == UTF8PROC_CATEGORY_PI || k == UTF8PROC_CATEGORY_PF ||
           k == UTF8PROC_CATEGORY_PO;
}

/* Unicode Technical Standard 18, annex C: alphabetic, marks, decimal digits, connectors, joiners.
 * Alphabetic but no letter, number or mark are only the circled and squared letters. */
static bool is_word(uint32_t c)
{
    switch (category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return c == 0x200c || c == 0x200d || (c >= 0x24b6 && c <= 0x24e9) ||
               (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
               (c >= 0x1f170 && c <= 0x1f189);
    }
}

int tok_class_word(uint32_t c)
{
    return is_word(c) ? 1 : tok_class_space(c) ? 0 : 2;
}

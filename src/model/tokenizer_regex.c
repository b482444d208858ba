/* Patterns. Hugging Face compiles expressions by Oniguruma (Ruby's syntax, UTF-8), here PCRE2 does;
 * the translation below takes what both have and says in PCRE2's words what they name differently:
 *
 *   \s \S   White_Space (PCRE2's own has U+180E too)      \d  Nd
 *   \w      alphabetic, M, Nd, Pc and six more (PCRE2's own differs by version)
 *   \v      U+000B (PCRE2: any vertical space)            \uHHHH  a code point
 *   \p{Han} the script (PCRE2: script extensions)         {,n}    at most n times
 *   ^ $     at lines                                      \b      by the \w above
 *
 * Anything else that is not plain in both is refused by name rather than guessed. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "model/tokenizer_internal.h"

#define PATTERN_MAX  4096      /* bytes */
#define STEPS_SPARE  10000000u /* of a search, and for each byte of the text: */
#define STEPS_BYTE   64u
#define HEAP_KIB_MAX (256u << 10)

#define WORD_SET   "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
/* Outside of brackets Oniguruma takes characters below U+0100 from a table of Latin-1, in which six
 * numbers are characters of words. */
#define WORD_CLASS WORD_SET "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"

struct tok_regex {
    pcre2_code *code;
};

/* -- translation --------------------------------------------------------------------------- */

struct translation {
    struct emac_slice from;
    size_t at;
    bool in_class;
    struct emac_buf out;
    struct emac_err *err;
};

static enum emac_status refuse(struct translation *t, const char *what)
{
    return emac_fail(t->err, EMAC_UNSUPPORTED,
                     "the pattern '%.*s' has %s at byte %zu, which cannot be translated",
                     (int)(t->from.len < 200 ? t->from.len : 200), (const char *)t->from.data, what,
                     t->at);
}

static enum emac_status put(struct translation *t, const char *text)
{
    return emac_buf_append(&t->out, text, strlen(text), t->err);
}

static enum emac_status put_bytes(struct translation *t, size_t from, size_t n)
{
    return emac_buf_append(&t->out, t->from.data + from, n, t->err);
}

static int peek(const struct translation *t, size_t ahead)
{
    return t->at + ahead < t->from.len ? t->from.data[t->at + ahead] : -1;
}

static bool looking_at(const struct translation *t, const char *text)
{
    size_t n = strlen(text);

    return t->from.len - t->at >= n && memcmp(t->from.data + t->at, text, n) == 0;
}

/* Names of properties that both have: as Oniguruma folds them, and for PCRE2. */
static const char *const PROPERTIES[][2] = {
    {"letter", "L"},
    {"mark", "M"},
    {"number", "N"},
    {"punctuation", "P"},
    {"symbol", "S"},
    {"separator", "Z"},
    {"other", "C"},
    {"uppercaseletter", "Lu"},
    {"lowercaseletter", "Ll"},
    {"titlecaseletter", "Lt"},
    {"modifierletter", "Lm"},
    {"otherletter", "Lo"},
    {"decimalnumber", "Nd"},
    {"nonspacingmark", "Mn"},
    {"alphabetic", "Alphabetic"},
    {"whitespace", "White_Space"},
    {"uppercase", "Uppercase"},
    {"lowercase", "Lowercase"},
    {"emoji", "Emoji"},
    {"any", "Any"},
};

static int lower(int c)
{
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

/* Letters of the name in lower case; false when it has others or too many. */
static bool name_fold(struct emac_slice name, char out[40])
{
    size_t n = 0;

    for (size_t i = 0; i < name.len; i++) {
        int c = lower(name.data[i]);

        if (c == ' ' || c == '_' || c == '-')
            continue;
        if (c < 'a' || c > 'z' || n == 39)
            return false;
        out[n++] = (char)c;
    }
    out[n] = 0;
    return n > 0;
}

/* \p{Name} or \P{Name}, `at` on the p. */
static enum emac_status property(struct translation *t)
{
    const uint8_t *open = t->from.data + t->at, *close;
    bool negated = *open == 'P';
    char name[40], text[64];
    struct emac_slice inside;

    if (peek(t, 1) != '{' || (close = memchr(open, '}', t->from.len - t->at)) == NULL)
        return refuse(t, "a property without braces");
    inside = EMAC_SLICE(open + 2, (size_t)(close - open - 2));
    if (inside.len > 0 && inside.data[0] == '^') {
        negated = !negated;
        inside = EMAC_SLICE(inside.data + 1, inside.len - 1);
    }
    if (!name_fold(inside, name))
        return refuse(t, "an unknown property");
    if (strlen(name) <= 2) { /* a general category */
        name[0] = (char)(name[0] - 32);
        (void)emac_strcpy(text, sizeof(text), name);
    } else {
        (void)emac_strcpy(text, sizeof(text), "sc:");
        (void)emac_strcpy(text + 3, sizeof(text) - 3, name);
        for (size_t i = 0; i < EMAC_COUNT(PROPERTIES); i++)
            if (strcmp(PROPERTIES[i][0], name) == 0)
                (void)emac_strcpy(text, sizeof(text), PROPERTIES[i][1]);
    }
    t->at += 3 + inside.len + (size_t)(inside.data - open - 2);
    return emac_buf_printf(&t->out, t->err, "\\%c{%s}", negated ? 'P' : 'p', text);
}

static int hex_digit(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* \xHH, \x{H...} or \uHHHH, `at` on the letter: one code point. */
static enum emac_status code_point(struct translation *t)
{
    bool braces = t->from.data[t->at] == 'x' && peek(t, 1) == '{';
    bool is_u = t->from.data[t->at] == 'u';
    size_t digits = 0, most = braces ? 6 : is_u ? 4 : 2;
    uint32_t c = 0;

    for (; digits < most; digits++) {
        int d = hex_digit(peek(t, 1 + braces + digits));

        if (d < 0)
            break;
        c = c << 4 | (uint32_t)d;
    }
    if (digits == 0 || (!braces && digits < most) || (braces && peek(t, 2 + digits) != '}') ||
        c > 0x10ffff || (c >= 0xd800 && c < 0xe000) || (!braces && !is_u && c > 0x7f))
        return refuse(t, "an escape that is no code point");
    t->at += 1 + digits + 2 * braces;
    return emac_buf_printf(&t->out, t->err, "\\x{%x}", c);
}

/* Escapes that stand for themselves or for a set: outside of brackets, inside of them (NULL: not
 * to be said there). */
static const struct {
    char letter;
    const char *outside, *inside;
} ESCAPES[] = {
    {'s', "\\p{White_Space}", "\\p{White_Space}"},
    {'S', "\\P{White_Space}", "\\P{White_Space}"},
    {'d', "\\p{Nd}", "\\p{Nd}"},
    {'D', "\\P{Nd}", "\\P{Nd}"},
    {'w', "[" WORD_CLASS "]", WORD_SET},
    {'W', "[^" WORD_CLASS "]", NULL},
    {'b', "(?:(?<=[" WORD_CLASS "])(?![" WORD_CLASS "])|(?<![" WORD_CLASS "])(?=[" WORD_CLASS "]))",
     NULL},
    {'r', "\\r", "\\r"},
    {'n', "\\n", "\\n"},
    {'t', "\\t", "\\t"},
    {'f', "\\f", "\\f"},
    {'v', "\\x0b", "\\x0b"},
    {'a', "\\a", "\\a"},
    {'e', "\\e", "\\e"},
    {'A', "\\A", NULL},
    {'z', "\\z", NULL},
};

/* `at` on the backslash. */
static enum emac_status escape(struct translation *t)
{
    int c = peek(t, 1);

    if (c < 0)
        return refuse(t, "a backslash at the end");
    t->at++;
    if (c == 'p' || c == 'P')
        return property(t);
    if (c == 'x' || c == 'u')
        return code_point(t);
    for (size_t i = 0; i < EMAC_COUNT(ESCAPES); i++) {
        const char *text = t->in_class ? ESCAPES[i].inside : ESCAPES[i].outside;

        if (ESCAPES[i].letter != c)
            continue;
        if (text == NULL)
            return refuse(t, "an escape that means nothing in brackets");
        t->at++;
        return put(t, text);
    }
    if (c >= 0x80 || hex_digit(c) >= 0 || (lower(c) >= 'a' && lower(c) <= 'z'))
        return refuse(t, "an unknown escape");
    t->at++;
    return put_bytes(t, t->at - 2, 2);
}

/* A set in brackets, `at` on the opening one. */
static enum emac_status brackets(struct translation *t)
{
    enum emac_status st;

    t->in_class = true;
    EMAC_TRY(st, put(t, "["));
    t->at++;
    if (peek(t, 0) == '^') {
        EMAC_TRY(st, put(t, "^"));
        t->at++;
    }
    if (peek(t, 0) == ']')
        return refuse(t, "a bracket right after a bracket");
    while (peek(t, 0) != ']') {
        if (peek(t, 0) < 0)
            return refuse(t, "brackets without an end");
        if (peek(t, 0) == '[' || looking_at(t, "&&"))
            return refuse(t, "a set inside a set");
        if (peek(t, 0) == '\\') {
            EMAC_TRY(st, escape(t));
            continue;
        }
        EMAC_TRY(st, put_bytes(t, t->at++, 1));
    }
    t->in_class = false;
    t->at++;
    st = put(t, "]");
out:
    return st;
}

/* {n}, {n,}, {,m}, {n,m}, or a brace that is just one. */
static enum emac_status braces(struct translation *t)
{
    size_t i = 1, first = 0, second = 0;
    bool comma = false;
    int after;

    for (; peek(t, i) >= '0' && peek(t, i) <= '9'; i++)
        first++;
    if (peek(t, i) == ',') {
        comma = true;
        for (i++; peek(t, i) >= '0' && peek(t, i) <= '9'; i++)
            second++;
    }
    if (peek(t, i) != '}' || first + second == 0) {
        t->at++;
        return put(t, "\\{");
    }
    after = peek(t, i + 1);
    if (after == '+' || (after == '?' && !comma))
        return refuse(t, "a quantifier that the two engines read differently");
    t->at += i + 1;
    if (first > 0)
        return put_bytes(t, t->at - i - 1, i + 1);
    return emac_buf_printf(&t->out, t->err, "{0,%.*s}", (int)second,
                           (const char *)t->from.data + t->at - 1 - second);
}

/* Groups that both engines have. */
static enum emac_status group(struct translation *t)
{
    static const char *const KNOWN[] = {
        "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?-i:"};

    for (size_t i = 0; i < EMAC_COUNT(KNOWN); i++) {
        if (!looking_at(t, KNOWN[i]))
            continue;
        t->at += strlen(KNOWN[i]);
        return put(t, KNOWN[i]);
    }
    if (looking_at(t, "(?i)") && t->at == 0) {
        t->at += 4;
        return put(t, "(?i)");
    }
    if (peek(t, 1) == '?' || peek(t, 1) == '*')
        return refuse(t, "an unknown group");
    t->at++;
    return put(t, "(");
}

static enum emac_status translate(struct translation *t)
{
    enum emac_status st = EMAC_OK;

    while (t->at < t->from.len && st == EMAC_OK) {
        switch (t->from.data[t->at]) {
        case '\\':
            st = escape(t);
            break;
        case '[':
            st = brackets(t);
            break;
        case '{':
            st = braces(t);
            break;
        case '(':
            st = group(t);
            break;
        default:
            st = put_bytes(t, t->at++, 1);
        }
    }
    return st;
}

/* -- expressions --------------------------------------------------------------------------- */

static enum emac_status compile(struct translation *t, pcre2_code **out)
{
    PCRE2_UCHAR text[256];
    PCRE2_SIZE where;
    int code;

    *out = pcre2_compile(t->out.data, t->out.len, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &code,
                         &where, NULL);
    if (*out != NULL) {
        (void)pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE); /* without it, it is only slower */
        return EMAC_OK;
    }
    pcre2_get_error_message(code, text, sizeof(text));
    return emac_fail(t->err, EMAC_UNSUPPORTED, "the pattern '%.*s' cannot be compiled: %s",
                     (int)(t->from.len < 200 ? t->from.len : 200), (const char *)t->from.data,
                     (const char *)text);
}

enum emac_status tok_regex_new(struct emac_slice pattern, struct tok_regex **out,
                               struct emac_err *err)
{
    struct translation t = {.from = pattern, .err = err};
    enum emac_status st;

    *out = NULL;
    if (pattern.len > PATTERN_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "a pattern has %zu bytes; the limit is %d",
                         pattern.len, PATTERN_MAX);
    emac_buf_init(&t.out, (size_t)PATTERN_MAX * 64);
    EMAC_TRY(st, emac_buf_reserve(&t.out, 1, err));
    EMAC_TRY(st, translate(&t));
    EMAC_TRY(st, emac_alloc(out, 1, sizeof(**out), err));
    st = compile(&t, &(*out)->code);
out:
    emac_buf_release(&t.out);
    if (st != EMAC_OK) {
        tok_regex_free(*out);
        *out = NULL;
    }
    return st;
}

void tok_regex_free(struct tok_regex *re)
{
    if (re == NULL)
        return;
    pcre2_code_free(re->code);
    free(re);
}

/* An empty literal matches between all characters, as the empty expression does. */
enum emac_status tok_pattern_literal(struct tok_pattern *p, struct emac_slice text,
                                     struct emac_err *err)
{
    uint8_t *copy;
    enum emac_status st;

    if (text.len == 0) {
        p->kind = TOK_REGEX;
        return tok_regex_new(text, &p->regex, err);
    }
    st = emac_alloc(&copy, text.len, 1, err);
    if (st != EMAC_OK)
        return st;
    memcpy(copy, text.data, text.len);
    p->literal = EMAC_SLICE(copy, text.len);
    p->kind = TOK_LITERAL;
    return EMAC_OK;
}

void tok_pattern_release(struct tok_pattern *p)
{
    tok_regex_free(p->regex);
    free((void *)p->literal.data);
    *p = (struct tok_pattern){0};
}

/* -- walks --------------------------------------------------------------------------------- */

enum emac_status tok_walk_init(struct tok_walk *w, const struct tok_pattern *p,
                               struct emac_slice text, struct emac_err *err)
{
    uint64_t steps = STEPS_SPARE + (uint64_t)STEPS_BYTE * text.len;
    pcre2_match_context *limits;

    *w = (struct tok_walk){.pattern = p, .text = text, .last = SIZE_MAX};
    if (p->kind != TOK_REGEX)
        return EMAC_OK;
    w->match = pcre2_match_data_create(1, NULL);
    w->limits = limits = pcre2_match_context_create(NULL);
    if (w->match == NULL || limits == NULL) {
        tok_walk_release(w);
        return emac_fail(err, EMAC_NO_MEMORY, "no memory to search a text");
    }
    pcre2_set_match_limit(limits, steps < UINT32_MAX ? (uint32_t)steps : UINT32_MAX);
    pcre2_set_heap_limit(limits, HEAP_KIB_MAX);
    return EMAC_OK;
}

void tok_walk_release(struct tok_walk *w)
{
    pcre2_match_data_free(w->match);
    pcre2_match_context_free(w->limits);
    w->match = w->limits = NULL;
}

static enum emac_status regex_find(struct tok_walk *w, bool *found, size_t *start, size_t *end,
                                   struct emac_err *err)
{
    const pcre2_code *code = w->pattern->regex->code;
    PCRE2_SIZE *at;
    PCRE2_UCHAR text[256];
    int rc = pcre2_match(code, w->text.data, w->text.len, w->from, PCRE2_NO_UTF_CHECK, w->match,
                         w->limits);

    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(code, w->text.data, w->text.len, w->from,
                         PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, w->match, w->limits);
    *found = rc >= 0;
    if (rc >= 0) {
        at = pcre2_get_ovector_pointer(w->match);
        *start = at[0];
        *end = at[1];
        return EMAC_OK;
    }
    if (rc == PCRE2_ERROR_NOMATCH)
        return EMAC_OK;
    pcre2_get_error_message(rc, text, sizeof(text));
    return emac_fail(err, EMAC_TOO_LARGE,
                     "the tokenizer's pattern cannot be searched in this text: %s",
                     (const char *)text);
}

static bool literal_find(const struct tok_walk *w, size_t *start, size_t *end)
{
    struct emac_slice what = w->pattern->literal;
    const uint8_t *p = memmem(w->text.data + w->from, w->text.len - w->from, what.data, what.len);

    if (p == NULL)
        return false;
    *start = (size_t)(p - w->text.data);
    *end = *start + what.len;
    return true;
}

static int class_at(const struct tok_walk *w, size_t at, size_t *len)
{
    uint32_t c = 0;

    *len = emac_utf8_next(w->text.data + at, w->text.len - at, &c);
    EMAC_ASSERT(*len > 0);
    return w->pattern->class_of(c);
}

static bool class_find(const struct tok_walk *w, size_t *start, size_t *end)
{
    size_t at = w->from, len = 0;
    int class = 0;

    for (; at < w->text.len && (class = class_at(w, at, &len)) == 0; at += len)
        continue;
    if (at == w->text.len)
        return false;
    *start = at;
    *end = at + len;
    while (w->pattern->kind == TOK_RUN && *end < w->text.len && class_at(w, *end, &len) == class)
        *end += len;
    return true;
}

static size_t char_len(const struct tok_walk *w, size_t at)
{
    size_t n = at < w->text.len ? emac_utf8_next(w->text.data + at, w->text.len - at, NULL) : 1;

    return n > 0 ? n : 1;
}

enum emac_status tok_walk_next(struct tok_walk *w, bool *found, size_t *start, size_t *end,
                               struct emac_err *err)
{
    enum emac_status st = EMAC_OK;

    for (;;) {
        *found = false;
        if (w->from > w->text.len)
            return EMAC_OK;
        if (w->pattern->kind == TOK_REGEX)
            st = regex_find(w, found, start, end, err);
        else
            *found = w->pattern->kind == TOK_LITERAL ? literal_find(w, start, end)
                                                     : class_find(w, start, end);
        if (st != EMAC_OK || !*found)
            return st;
        if (*start != *end || *end != w->last)
            break;
        w->from += char_len(w, w->from);
    }
    w->from = w->last = *end;
    return EMAC_OK;
}

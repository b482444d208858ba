/* The parts of tokenizer.json that are steps: normalizer, pre-tokenizer, decoder. */
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "model/tokenizer_read.h"

/* -- steps --------------------------------------------------------------------------------- */

static enum emac_status step_add(struct tok_part *r, enum tok_step_kind kind,
                                 struct emac_slice text, struct tok_step **out)
{
    *out = tok_steps_add(r->steps, kind);
    if (*out == NULL)
        return emac_fail(r->err, EMAC_UNSUPPORTED, "the %s of tokenizer.json has over %d steps",
                         r->what, TOK_STEPS_MAX);
    return tok_slice_copy(text, &(*out)->text, r->err);
}

static enum emac_status step_plain(struct tok_part *r, enum tok_step_kind kind)
{
    struct tok_step *s;

    return step_add(r, kind, (struct emac_slice){0}, &s);
}

static enum emac_status pattern_read(struct tok_part *r, const json_t *o, struct tok_pattern *p)
{
    const json_t *v = json_object_get(o, "pattern");
    struct emac_slice text = {0};

    if (json_object_get(v, "String") != NULL) {
        enum emac_status st = tok_text_get(v, "String", &text, r->err);

        return st == EMAC_OK ? tok_pattern_literal(p, text, r->err) : st;
    }
    enum emac_status st = tok_text_get(v, "Regex", &text, r->err);
    if (st != EMAC_OK)
        return st;
    p->kind = TOK_REGEX;
    return tok_regex_new(text, &p->regex, r->err);
}

static enum emac_status replace_read(struct tok_part *r, const json_t *o)
{
    struct emac_slice text = {0};
    struct tok_step *s;
    enum emac_status st;

    EMAC_TRY(st, tok_text_get(o, "content", &text, r->err));
    EMAC_TRY(st, step_add(r, TOK_STEP_REPLACE, text, &s));
    st = pattern_read(r, o, &s->pattern);
out:
    return st;
}

static enum emac_status behaviour_read(struct tok_part *r, const json_t *o,
                                       enum tok_behaviour usual, enum tok_behaviour *out)
{
    static const char *const NAMES[] = {
        [TOK_ISOLATED] = "Isolated",        [TOK_REMOVED] = "Removed",
        [TOK_CONTIGUOUS] = "Contiguous",    [TOK_WITH_PREVIOUS] = "MergedWithPrevious",
        [TOK_WITH_NEXT] = "MergedWithNext",
    };
    const char *name = json_string_value(json_object_get(o, "behavior"));

    *out = usual;
    if (name == NULL)
        return EMAC_OK;
    for (size_t i = 0; i < EMAC_COUNT(NAMES); i++)
        if (strcmp(name, NAMES[i]) == 0) {
            *out = (enum tok_behaviour)i;
            return EMAC_OK;
        }
    return tok_unknown(r->err, "behaviour", name);
}

static enum emac_status split_regex(struct tok_part *r, const char *pattern)
{
    struct tok_step *s;
    enum emac_status st = step_add(r, TOK_STEP_SPLIT, (struct emac_slice){0}, &s);

    if (st != EMAC_OK)
        return st;
    s->pattern.kind = TOK_REGEX;
    return tok_regex_new(EMAC_SLICE_STR(pattern), &s->pattern.regex, r->err);
}

static enum emac_status split_class(struct tok_part *r, enum tok_pattern_kind kind,
                                    int (*class_of)(uint32_t), enum tok_behaviour behaviour,
                                    bool invert)
{
    struct tok_step *s;
    enum emac_status st = step_add(r, TOK_STEP_SPLIT, (struct emac_slice){0}, &s);

    if (st != EMAC_OK)
        return st;
    s->pattern = (struct tok_pattern){.kind = kind, .class_of = class_of};
    s->behaviour = behaviour;
    s->invert = invert;
    return EMAC_OK;
}

static enum emac_status split_literal(struct tok_part *r, struct emac_slice text,
                                      enum tok_behaviour behaviour)
{
    struct tok_step *s;
    enum emac_status st = step_add(r, TOK_STEP_SPLIT, (struct emac_slice){0}, &s);

    if (st != EMAC_OK)
        return st;
    s->behaviour = behaviour;
    return tok_pattern_literal(&s->pattern, text, r->err);
}

/* One character, or INVALID. */
static enum emac_status char_get(struct tok_part *r, const json_t *o, const char *key,
                                 struct emac_slice *out)
{
    enum emac_status st = tok_text_get(o, key, out, r->err);

    if (st == EMAC_OK && (out->len == 0 || emac_utf8_next(out->data, out->len, NULL) != out->len))
        st = emac_fail(r->err, EMAC_INVALID, "'%s' of %.40s in tokenizer.json is not one character",
                       key, tok_type_of(o));
    return st;
}

/* Metaspace's scheme: 'a'lways, 'f'irst or 'n'ever. */
static enum emac_status scheme_get(struct tok_part *r, const json_t *o, char *out)
{
    const char *name = json_string_value(json_object_get(o, "prepend_scheme"));

    *out = tok_flag_get(o, "add_prefix_space", true) ? 'a' : 'n';
    if (name == NULL)
        return EMAC_OK;
    *out = name[0];
    if (strcmp(name, "always") != 0 && strcmp(name, "first") != 0 && strcmp(name, "never") != 0)
        return tok_unknown(r->err, "prepend_scheme", name);
    return EMAC_OK;
}

/* -- normalizers --------------------------------------------------------------------------- */

static enum emac_status form_add(struct tok_part *r, bool composed, bool compatible)
{
    struct tok_step *s;
    enum emac_status st = step_add(r, TOK_STEP_FORM, (struct emac_slice){0}, &s);

    if (st == EMAC_OK) {
        s->composed = composed;
        s->compatible = compatible;
    }
    return st;
}

static enum emac_status sequence_read(struct tok_part *r, const json_t *list, unsigned depth,
                                      enum emac_status (*read)(struct tok_part *r, const json_t *o,
                                                               unsigned depth))
{
    enum emac_status st = EMAC_OK;

    if (!json_is_array(list))
        return emac_fail(r->err, EMAC_INVALID,
                         "the %s of tokenizer.json is a sequence without a list", r->what);
    if (depth == TOK_NEST_MAX)
        return emac_fail(r->err, EMAC_UNSUPPORTED,
                         "the %s of tokenizer.json has sequences in sequences over %d deep",
                         r->what, TOK_NEST_MAX);
    for (size_t i = 0; i < json_array_size(list) && st == EMAC_OK; i++)
        st = read(r, json_array_get(list, i), depth + 1);
    return st;
}

enum emac_status tok_normalizer_read(struct tok_part *r, const json_t *o, unsigned depth)
{
    const char *type = tok_type_of(o);
    struct emac_slice text = {0};
    struct tok_step *s;
    enum emac_status st;

    if (strcmp(type, "Sequence") == 0)
        return sequence_read(r, json_object_get(o, "normalizers"), depth, tok_normalizer_read);
    if (strcmp(type, "Prepend") == 0) {
        st = tok_text_get(o, "prepend", &text, r->err);
        return st == EMAC_OK ? step_add(r, TOK_STEP_PREPEND, text, &s) : st;
    }
    if (strcmp(type, "Replace") == 0)
        return replace_read(r, o);
    if (strcmp(type, "NFC") == 0 || strcmp(type, "NFKC") == 0)
        return form_add(r, true, type[2] == 'K');
    if (strcmp(type, "NFD") == 0 || strcmp(type, "NFKD") == 0)
        return form_add(r, false, type[2] == 'K');
    if (strcmp(type, "ByteLevel") == 0)
        return step_plain(r, TOK_STEP_MAP);
    if (strcmp(type, "Strip") != 0)
        return tok_unknown(r->err, r->what, type);
    st = step_add(r, TOK_STEP_TRIM, (struct emac_slice){0}, &s);
    if (st == EMAC_OK) {
        s->left = tok_flag_get(o, "strip_left", true);
        s->right = tok_flag_get(o, "strip_right", true);
    }
    return st;
}

/* -- pre-tokenizers ------------------------------------------------------------------------ */

static enum emac_status byte_level_read(struct tok_part *r, const json_t *o)
{
    struct tok_step *s;
    enum emac_status st = EMAC_OK;

    if (tok_flag_get(o, "add_prefix_space", true))
        EMAC_TRY(st, step_add(r, TOK_STEP_LEAD, EMAC_SLICE_STR(" "), &s));
    if (tok_flag_get(o, "use_regex", true))
        EMAC_TRY(st, split_regex(r, TOK_GPT2_PATTERN));
    st = step_plain(r, TOK_STEP_MAP);
out:
    return st;
}

static enum emac_status metaspace_read(struct tok_part *r, const json_t *o)
{
    struct emac_slice meta = {0};
    struct tok_step *s;
    char scheme;
    enum emac_status st;

    EMAC_TRY(st, char_get(r, o, "replacement", &meta));
    EMAC_TRY(st, scheme_get(r, o, &scheme));
    EMAC_TRY(st, step_add(r, TOK_STEP_REPLACE, meta, &s));
    EMAC_TRY(st, tok_pattern_literal(&s->pattern, EMAC_SLICE_STR(" "), r->err));
    if (scheme != 'n')
        EMAC_TRY(st, step_add(r, scheme == 'f' ? TOK_STEP_LEAD_ONCE : TOK_STEP_LEAD, meta, &s));
    if (tok_flag_get(o, "split", true))
        st = split_literal(r, meta, TOK_WITH_NEXT);
out:
    return st;
}

static enum emac_status split_read(struct tok_part *r, const json_t *o)
{
    struct tok_step *s;
    enum emac_status st;

    EMAC_TRY(st, step_add(r, TOK_STEP_SPLIT, (struct emac_slice){0}, &s));
    EMAC_TRY(st, pattern_read(r, o, &s->pattern));
    s->invert = tok_flag_get(o, "invert", false);
    st = behaviour_read(r, o, TOK_ISOLATED, &s->behaviour);
out:
    return st;
}

enum emac_status tok_pre_read(struct tok_part *r, const json_t *o, unsigned depth)
{
    const char *type = tok_type_of(o);
    enum tok_behaviour behaviour;
    struct emac_slice text = {0};
    enum emac_status st;

    if (strcmp(type, "Sequence") == 0)
        return sequence_read(r, json_object_get(o, "pretokenizers"), depth, tok_pre_read);
    if (strcmp(type, "ByteLevel") == 0)
        return byte_level_read(r, o);
    if (strcmp(type, "Metaspace") == 0)
        return metaspace_read(r, o);
    if (strcmp(type, "Split") == 0)
        return split_read(r, o);
    if (strcmp(type, "Digits") == 0)
        return split_class(
            r, TOK_CHAR, tok_class_number,
            tok_flag_get(o, "individual_digits", false) ? TOK_ISOLATED : TOK_CONTIGUOUS, false);
    if (strcmp(type, "Whitespace") == 0)
        return split_class(r, TOK_RUN, tok_class_word, TOK_REMOVED, true);
    if (strcmp(type, "WhitespaceSplit") == 0)
        return split_class(r, TOK_CHAR, tok_class_space, TOK_REMOVED, false);
    if (strcmp(type, "Punctuation") == 0) {
        st = behaviour_read(r, o, TOK_ISOLATED, &behaviour);
        return st == EMAC_OK ? split_class(r, TOK_CHAR, tok_class_punct, behaviour, false) : st;
    }
    if (strcmp(type, "CharDelimiterSplit") == 0) {
        st = char_get(r, o, "delimiter", &text);
        return st == EMAC_OK ? split_literal(r, text, TOK_REMOVED) : st;
    }
    return tok_unknown(r->err, r->what, type);
}

/* -- decoders ------------------------------------------------------------------------------ */

static enum emac_status strip_read(struct tok_part *r, const json_t *o)
{
    json_int_t start = json_integer_value(json_object_get(o, "start"));
    json_int_t stop = json_integer_value(json_object_get(o, "stop"));
    struct emac_slice text = {0};
    struct tok_step *s;
    enum emac_status st;

    EMAC_TRY(st, char_get(r, o, "content", &text));
    if (start < 0 || stop < 0 || start > 255 || stop > 255)
        return emac_fail(r->err, EMAC_INVALID, "the decoder Strip strips more than 255 characters");
    if (r->fused && (start > 1 || stop > 0))
        return emac_fail(r->err, EMAC_UNSUPPORTED,
                         "the decoder strips more of a whole text than one character at its start");
    EMAC_TRY(st, step_add(r, TOK_STEP_STRIP, text, &s));
    s->start = (uint32_t)start;
    s->stop = (uint32_t)stop;
    s->first_only = r->fused;
out:
    return st;
}

static enum emac_status meta_decoder_read(struct tok_part *r, const json_t *o)
{
    struct emac_slice text = {0};
    struct tok_step *s;
    char scheme;
    enum emac_status st;

    EMAC_TRY(st, char_get(r, o, "replacement", &text));
    EMAC_TRY(st, scheme_get(r, o, &scheme));
    EMAC_TRY(st, step_add(r, TOK_STEP_META, text, &s));
    s->left = scheme != 'n';
out:
    return st;
}

enum emac_status tok_decoder_read(struct tok_part *r, const json_t *o, unsigned depth)
{
    const char *type = tok_type_of(o);
    bool fuses = strcmp(type, "Fuse") == 0;

    if (strcmp(type, "Sequence") == 0)
        return sequence_read(r, json_object_get(o, "decoders"), depth, tok_decoder_read);
    if (strcmp(type, "Strip") == 0)
        return strip_read(r, o);
    if (r->fused && !fuses)
        return emac_fail(r->err, EMAC_UNSUPPORTED,
                         "the decoder has '%.40s' behind what makes one text of all tokens", type);
    if (fuses) {
        r->fused = true;
        return EMAC_OK;
    }
    if (strcmp(type, "ByteLevel") == 0) {
        r->fused = true;
        return step_plain(r, TOK_STEP_UNMAP);
    }
    if (strcmp(type, "Metaspace") == 0)
        return meta_decoder_read(r, o);
    if (strcmp(type, "Replace") == 0)
        return replace_read(r, o);
    if (strcmp(type, "ByteFallback") == 0)
        return step_plain(r, TOK_STEP_BYTE);
    return tok_unknown(r->err, r->what, type);
}

enum emac_status tok_join_add(struct tok_part *r)
{
    return step_plain(r, TOK_STEP_JOIN);
}

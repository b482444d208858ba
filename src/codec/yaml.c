#include "codec/yaml.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/assert.h"

struct loader {
    yaml_parser_t parser;
    size_t nodes;
    struct emac_err *err;
};

static enum emac_status fail_at(const struct loader *l, enum emac_status status, yaml_mark_t mark,
                                const char *why, const char *subject)
{
    return emac_fail(l->err, status, "line %zu, column %zu: %s '%.80s'", mark.line + 1,
                     mark.column + 1, why, subject);
}

static enum emac_status fail_syntax(const struct loader *l)
{
    const yaml_parser_t *p = &l->parser;
    const char *why = p->problem != NULL ? p->problem : "unreadable";
    if (p->error == YAML_MEMORY_ERROR)
        return emac_fail(l->err, EMAC_NO_MEMORY, "out of memory while reading YAML");
    if (p->error == YAML_READER_ERROR)
        return emac_fail(l->err, EMAC_INVALID, "bad text at byte %zu: %s", p->problem_offset, why);
    return emac_fail(l->err, EMAC_INVALID, "line %zu, column %zu: %s", p->problem_mark.line + 1,
                     p->problem_mark.column + 1, why);
}

static enum emac_status next(struct loader *l, yaml_event_t *event)
{
    return yaml_parser_parse(&l->parser, event) ? EMAC_OK : fail_syntax(l);
}

/* ---- scalars: the core schema, YAML 1.2.2 section 10.3.2 ---- */

static bool one_of(const char *s, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (strcmp(s, *words) == 0)
            return true;
    }
    return false;
}

static const char *skip_digits(const char *s)
{
    return s + strspn(s, "0123456789");
}

static const char *skip_sign(const char *s)
{
    return *s == '-' || *s == '+' ? s + 1 : s;
}

static bool is_decimal(const char *s)
{
    s = skip_sign(s);
    return *s != '\0' && *skip_digits(s) == '\0';
}

/* 0 unless s is 0o17 or 0x1F, then 8 or 16. */
static int prefixed_base(const char *s)
{
    if (s[0] != '0' || s[1] == '\0' || s[2] == '\0')
        return 0;
    if (s[1] == 'o' && s[2 + strspn(s + 2, "01234567")] == '\0')
        return 8;
    return s[1] == 'x' && s[2 + strspn(s + 2, "0123456789abcdefABCDEF")] == '\0' ? 16 : 0;
}

/* [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )? */
static bool is_float(const char *s)
{
    s = skip_sign(s);
    const char *end = skip_digits(s);
    bool digits = end > s;
    if (*end == '.') {
        const char *fraction = skip_digits(end + 1);
        digits = digits || fraction > end + 1;
        end = fraction;
    }
    if (!digits)
        return false;
    if (*end == 'e' || *end == 'E') {
        const char *exponent = skip_sign(end + 1);
        end = skip_digits(exponent);
        if (end == exponent)
            return false;
    }
    return *end == '\0';
}

static bool is_unbounded(const char *s)
{
    static const char *const INF[] = {".inf", ".Inf", ".INF", NULL};
    static const char *const NOT_A_NUMBER[] = {".nan", ".NaN", ".NAN", NULL};
    return one_of(skip_sign(s), INF) || one_of(s, NOT_A_NUMBER);
}

static enum emac_status plain_integer(const struct loader *l, const char *digits, int base,
                                      const char *text, yaml_mark_t mark, json_t **out)
{
    errno = 0;
    long long v = strtoll(digits, NULL, base);
    if (errno != 0)
        return fail_at(l, EMAC_INVALID, mark,
                       "an integer does not fit 64 bits (quote a text):", text);
    *out = json_integer(v);
    return EMAC_OK;
}

static enum emac_status plain_float(const struct loader *l, const char *text, yaml_mark_t mark,
                                    json_t **out)
{
    double v = is_unbounded(text) ? (double)INFINITY : strtod(text, NULL);
    if (!isfinite(v))
        return fail_at(l, EMAC_INVALID, mark, "a float must be finite, not", text);
    *out = json_real(v);
    return EMAC_OK;
}

static enum emac_status plain_scalar(const struct loader *l, const char *s, yaml_mark_t mark,
                                     json_t **out)
{
    static const char *const NULLS[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const TRUES[] = {"true", "True", "TRUE", NULL};
    static const char *const FALSES[] = {"false", "False", "FALSE", NULL};
    int base = prefixed_base(s);
    if (one_of(s, NULLS))
        *out = json_null();
    else if (one_of(s, TRUES))
        *out = json_true();
    else if (one_of(s, FALSES))
        *out = json_false();
    else if (is_decimal(s))
        return plain_integer(l, s, 10, s, mark, out);
    else if (base != 0)
        return plain_integer(l, s + 2, base, s, mark, out);
    else if (is_float(s) || is_unbounded(s))
        return plain_float(l, s, mark, out);
    else
        *out = json_string(s);
    return EMAC_OK;
}

/* Everything that makes a node more than its value. */
static enum emac_status check_plain_node(const struct loader *l, const yaml_char_t *anchor,
                                         const yaml_char_t *tag, yaml_mark_t mark)
{
    if (anchor != NULL)
        return fail_at(l, EMAC_INVALID, mark, "anchors are not allowed: remove",
                       (const char *)anchor);
    if (tag != NULL)
        return fail_at(l, EMAC_INVALID, mark, "tags are not allowed: remove", (const char *)tag);
    return EMAC_OK;
}

static enum emac_status check_scalar(const struct loader *l, const yaml_event_t *e)
{
    const char *text = (const char *)e->data.scalar.value;
    if (strlen(text) != e->data.scalar.length)
        return fail_at(l, EMAC_INVALID, e->start_mark, "a NUL character after", text);
    return check_plain_node(l, e->data.scalar.anchor, e->data.scalar.tag, e->start_mark);
}

static enum emac_status load_scalar(struct loader *l, const yaml_event_t *e, json_t **out)
{
    const char *text = (const char *)e->data.scalar.value;
    enum emac_status st = check_scalar(l, e);
    if (st != EMAC_OK)
        return st;
    if (e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
        st = plain_scalar(l, text, e->start_mark, out);
    else
        *out = json_string(text);
    if (st == EMAC_OK && *out == NULL)
        st = fail_at(l, EMAC_INVALID, e->start_mark, "a text is not valid UTF-8:", text);
    return st;
}

/* ---- structure ---- */

static enum emac_status load_node(struct loader *l, yaml_event_t *e, unsigned depth, json_t **out);

static enum emac_status load_sequence(struct loader *l, unsigned depth, json_t **out)
{
    *out = json_array();
    for (;;) {
        yaml_event_t e;
        json_t *item = NULL;
        enum emac_status st = next(l, &e);
        if (st != EMAC_OK)
            return st;
        if (e.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&e);
            return EMAC_OK;
        }
        st = load_node(l, &e, depth + 1, &item);
        yaml_event_delete(&e);
        if (st != EMAC_OK) {
            json_decref(item);
            return st;
        }
        if (json_array_append_new(*out, item) != 0)
            return emac_fail(l->err, EMAC_NO_MEMORY, "out of memory while reading YAML");
    }
}

/* The value that belongs to the key in `key_event`. */
static enum emac_status load_pair(struct loader *l, const yaml_event_t *key_event, unsigned depth,
                                  json_t *map)
{
    const char *key = (const char *)key_event->data.scalar.value;
    yaml_event_t e;
    json_t *value = NULL;
    if (key_event->type != YAML_SCALAR_EVENT)
        return emac_fail(l->err, EMAC_INVALID, "line %zu, column %zu: a key must be a text",
                         key_event->start_mark.line + 1, key_event->start_mark.column + 1);
    enum emac_status st = check_scalar(l, key_event);
    if (st != EMAC_OK)
        return st;
    if (json_object_get(map, key) != NULL)
        return fail_at(l, EMAC_INVALID, key_event->start_mark, "the key is there twice:", key);
    st = next(l, &e);
    if (st != EMAC_OK)
        return st;
    st = load_node(l, &e, depth + 1, &value);
    yaml_event_delete(&e);
    if (st != EMAC_OK) {
        json_decref(value);
        return st;
    }
    if (json_object_set_new(map, key, value) != 0)
        st = fail_at(l, EMAC_INVALID, key_event->start_mark, "a key that cannot be kept:", key);
    return st;
}

static enum emac_status load_mapping(struct loader *l, unsigned depth, json_t **out)
{
    *out = json_object();
    for (;;) {
        yaml_event_t e;
        enum emac_status st = next(l, &e);
        if (st != EMAC_OK)
            return st;
        bool end = e.type == YAML_MAPPING_END_EVENT;
        if (!end)
            st = load_pair(l, &e, depth, *out);
        yaml_event_delete(&e);
        if (end || st != EMAC_OK)
            return st;
    }
}

/* On failure *out may hold a part; the caller drops it. */
static enum emac_status load_node(struct loader *l, yaml_event_t *e, unsigned depth, json_t **out)
{
    enum emac_status st;
    if (++l->nodes > YAML_NODES_MAX)
        return emac_fail(l->err, EMAC_TOO_LARGE, "line %zu, column %zu: more than %d values",
                         e->start_mark.line + 1, e->start_mark.column + 1, YAML_NODES_MAX);
    if (depth > YAML_DEPTH_MAX)
        return emac_fail(l->err, EMAC_TOO_LARGE, "line %zu, column %zu: nested deeper than %d",
                         e->start_mark.line + 1, e->start_mark.column + 1, YAML_DEPTH_MAX);
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        return load_scalar(l, e, out);
    case YAML_SEQUENCE_START_EVENT:
        st = check_plain_node(l, e->data.sequence_start.anchor, e->data.sequence_start.tag,
                              e->start_mark);
        return st == EMAC_OK ? load_sequence(l, depth, out) : st;
    case YAML_MAPPING_START_EVENT:
        st = check_plain_node(l, e->data.mapping_start.anchor, e->data.mapping_start.tag,
                              e->start_mark);
        return st == EMAC_OK ? load_mapping(l, depth, out) : st;
    case YAML_ALIAS_EVENT:
        return fail_at(l, EMAC_INVALID, e->start_mark, "aliases are not allowed: write out",
                       (const char *)e->data.alias.anchor);
    default:
        return emac_fail(l->err, EMAC_INTERNAL, "unexpected YAML event %d", (int)e->type);
    }
}

/* Read one event that must be of `type`; `why` is the sentence when it is another. */
static enum emac_status expect(struct loader *l, yaml_event_type_t type, const char *why)
{
    yaml_event_t e;
    enum emac_status st = next(l, &e);
    if (st != EMAC_OK)
        return st;
    if (e.type != type)
        st = emac_fail(l->err, EMAC_INVALID, "line %zu, column %zu: %s", e.start_mark.line + 1,
                       e.start_mark.column + 1, why);
    yaml_event_delete(&e);
    return st;
}

static enum emac_status load_stream(struct loader *l, json_t **out)
{
    yaml_event_t e;
    enum emac_status st = EMAC_OK;
    EMAC_TRY(st, expect(l, YAML_STREAM_START_EVENT, "not YAML"));
    EMAC_TRY(st, expect(l, YAML_DOCUMENT_START_EVENT, "the text is empty"));
    EMAC_TRY(st, next(l, &e));
    st = load_node(l, &e, 1, out);
    yaml_event_delete(&e);
    if (st != EMAC_OK)
        goto out;
    EMAC_TRY(st, expect(l, YAML_DOCUMENT_END_EVENT, "the document does not end"));
    st = expect(l, YAML_STREAM_END_EVENT, "a second document begins: keep one");
out:
    return st;
}

enum emac_status yaml_to_json(const char *text, size_t n, json_t **out, struct emac_err *err)
{
    struct loader l = {.err = err};
    json_t *root = NULL;
    *out = NULL;
    if (n > YAML_TEXT_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "a text of %zu bytes is over the limit of %u", n,
                         YAML_TEXT_MAX);
    if (!yaml_parser_initialize(&l.parser))
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory while reading YAML");
    yaml_parser_set_encoding(&l.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&l.parser, (const unsigned char *)text, n);
    enum emac_status st = load_stream(&l, &root);
    yaml_parser_delete(&l.parser);
    if (st == EMAC_OK)
        *out = root;
    else
        json_decref(root);
    return st;
}

enum emac_status yaml_only_known(json_t *map, const char *of, const char *const *known,
                                 struct emac_err *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(map))
        return emac_fail(err, EMAC_INVALID, "%s must be a map", of);
    json_object_foreach(map, key, value)
    {
        bool found = false;
        for (const char *const *k = known; *k != NULL && !found; k++)
            found = strcmp(*k, key) == 0;
        if (!found)
            return emac_fail(err, EMAC_INVALID, "unknown field '%.40s' in %s", key, of);
    }
    return EMAC_OK;
}

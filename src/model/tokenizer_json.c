/* Reading Hugging Face's tokenizer.json: the model, added tokens, the post-processor, the whole. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "model/tokenizer_read.h"

/* -- members ------------------------------------------------------------------------------- */

const char *tok_type_of(const json_t *o)
{
    const char *type = json_string_value(json_object_get(o, "type"));

    return type != NULL ? type : "";
}

enum emac_status tok_text_get(const json_t *o, const char *key, struct emac_slice *out,
                              struct emac_err *err)
{
    const json_t *v = json_object_get(o, key);

    if (!json_is_string(v))
        return emac_fail(err, EMAC_INVALID, "'%s' of %.40s in tokenizer.json is not a text", key,
                         tok_type_of(o));
    *out = EMAC_SLICE(json_string_value(v), json_string_length(v));
    return EMAC_OK;
}

bool tok_flag_get(const json_t *o, const char *key, bool usual)
{
    const json_t *v = json_object_get(o, key);

    return json_is_boolean(v) ? json_is_true(v) : usual;
}

bool tok_is_absent(const json_t *v)
{
    return v == NULL || json_is_null(v);
}

enum emac_status tok_slice_copy(struct emac_slice from, struct emac_slice *out,
                                struct emac_err *err)
{
    uint8_t *copy;
    enum emac_status st = emac_alloc(&copy, from.len + 1, 1, err);

    if (st != EMAC_OK)
        return st;
    if (from.len > 0)
        memcpy(copy, from.data, from.len);
    *out = EMAC_SLICE(copy, from.len);
    return EMAC_OK;
}

enum emac_status tok_unknown(struct emac_err *err, const char *what, const char *type)
{
    return emac_fail(err, EMAC_UNSUPPORTED, "the %s '%.60s' of tokenizer.json is not known", what,
                     type);
}

/* -- post-processors ----------------------------------------------------------------------- */

static enum emac_status around_add(struct tokenizer *t, bool before, json_int_t id,
                                   struct emac_err *err)
{
    uint32_t *count = before ? &t->before_count : &t->after_count;

    if (id < 0 || id >= (json_int_t)t->vocab.count)
        return emac_fail(err, EMAC_INVALID,
                         "the post-processor names the id %lld, which no token has", (long long)id);
    if (*count == TOK_TEMPLATE_MAX)
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "the post-processor puts over %d tokens around a text", TOK_TEMPLATE_MAX);
    (before ? t->before : t->after)[(*count)++] = (int32_t)id;
    return EMAC_OK;
}

/* The ids that a template's name stands for. */
static enum emac_status named_add(struct tokenizer *t, bool before, const json_t *names,
                                  const json_t *piece, struct emac_err *err)
{
    const char *name = json_string_value(json_object_get(piece, "id"));
    const json_t *ids = json_object_get(json_object_get(names, name != NULL ? name : ""), "ids");
    enum emac_status st = EMAC_OK;

    if (!json_is_array(ids))
        return emac_fail(err, EMAC_INVALID,
                         "the post-processor names the token '%.40s' and does not say its ids",
                         name != NULL ? name : "");
    for (size_t i = 0; i < json_array_size(ids) && st == EMAC_OK; i++)
        st = around_add(t, before, json_integer_value(json_array_get(ids, i)), err);
    return st;
}

static enum emac_status template_read(struct tokenizer *t, const json_t *o, struct emac_err *err)
{
    const json_t *single = json_object_get(o, "single");
    bool before = true;
    enum emac_status st = EMAC_OK;

    for (size_t i = 0; i < json_array_size(single) && st == EMAC_OK; i++) {
        const json_t *piece = json_array_get(single, i);
        const json_t *special = json_object_get(piece, "SpecialToken");

        if (special != NULL) {
            st = named_add(t, before, json_object_get(o, "special_tokens"), special, err);
            continue;
        }
        if (json_object_get(piece, "Sequence") == NULL || !before)
            return emac_fail(err, EMAC_UNSUPPORTED,
                             "the post-processor's template has not the text once");
        before = false;
    }
    if (st == EMAC_OK && before)
        st =
            emac_fail(err, EMAC_UNSUPPORTED, "the post-processor's template has not the text once");
    return st;
}

/* ["name", id] */
static enum emac_status pair_add(struct tokenizer *t, bool before, const json_t *pair,
                                 struct emac_err *err)
{
    const json_t *id = json_array_get(pair, 1);

    return around_add(t, before, json_is_integer(id) ? json_integer_value(id) : -1, err);
}

static enum emac_status post_read(struct tokenizer *t, const json_t *o, unsigned depth,
                                  bool *has_template, struct emac_err *err)
{
    const char *type = tok_type_of(o);
    const json_t *list = json_object_get(o, "processors");
    enum emac_status st = EMAC_OK;

    if (strcmp(type, "ByteLevel") == 0) /* about offsets, which are not kept */
        return EMAC_OK;
    if (strcmp(type, "Sequence") == 0 && depth < TOK_NEST_MAX) {
        for (size_t i = 0; i < json_array_size(list) && st == EMAC_OK; i++)
            st = post_read(t, json_array_get(list, i), depth + 1, has_template, err);
        return st;
    }
    if (*has_template)
        return emac_fail(err, EMAC_UNSUPPORTED, "the post-processor has two templates");
    *has_template = true;
    if (strcmp(type, "TemplateProcessing") == 0)
        return template_read(t, o, err);
    if (strcmp(type, "RobertaProcessing") != 0 && strcmp(type, "BertProcessing") != 0)
        return tok_unknown(err, "post-processor", type);
    st = pair_add(t, true, json_object_get(o, "cls"), err);
    return st == EMAC_OK ? pair_add(t, false, json_object_get(o, "sep"), err) : st;
}

/* -- the model ----------------------------------------------------------------------------- */

struct merge_row {
    uint32_t left;
    struct tok_merge merge;
};

static int merge_compare(const void *a, const void *b)
{
    const struct merge_row *x = a, *y = b;

    if (x->left != y->left)
        return x->left < y->left ? -1 : 1;
    if (x->merge.right != y->merge.right)
        return x->merge.right < y->merge.right ? -1 : 1;
    return (x->merge.rank > y->merge.rank) - (x->merge.rank < y->merge.rank);
}

/* The two parts of a merge: "a b", or a list of two. */
static bool merge_parts(const json_t *v, struct emac_slice part[2])
{
    const char *text = json_string_value(v), *space;
    size_t n = json_string_length(v);

    if (json_is_array(v) && json_array_size(v) == 2) {
        for (int i = 0; i < 2; i++) {
            const json_t *p = json_array_get(v, (size_t)i);

            if (!json_is_string(p))
                return false;
            part[i] = EMAC_SLICE(json_string_value(p), json_string_length(p));
        }
        return true;
    }
    space = text != NULL ? memchr(text, ' ', n) : NULL;
    if (space == NULL || memchr(space + 1, ' ', n - (size_t)(space + 1 - text)) != NULL)
        return false;
    part[0] = EMAC_SLICE(text, (size_t)(space - text));
    part[1] = EMAC_SLICE(space + 1, n - part[0].len - 1);
    return true;
}

static enum emac_status merge_read(const struct tokenizer *t, const json_t *v, size_t line,
                                   struct emac_buf *joined, struct merge_row *out,
                                   struct emac_err *err)
{
    struct emac_slice part[2];
    int32_t left, right, whole;
    enum emac_status st;

    if (!merge_parts(v, part))
        return emac_fail(err, EMAC_INVALID, "merge %zu of tokenizer.json is not two tokens", line);
    emac_buf_clear(joined);
    EMAC_TRY(st, emac_buf_append(joined, part[0].data, part[0].len, err));
    EMAC_TRY(st, emac_buf_append(joined, part[1].data, part[1].len, err));
    left = tok_vocab_find(&t->vocab, part[0]);
    right = tok_vocab_find(&t->vocab, part[1]);
    whole = tok_vocab_find(&t->vocab, emac_buf_slice(joined));
    if (left < 0 || right < 0 || whole < 0)
        return emac_fail(err, EMAC_INVALID,
                         "merge %zu of tokenizer.json, '%.40s', has parts that are no tokens", line,
                         emac_buf_str(joined));
    *out = (struct merge_row){(uint32_t)left, {(uint32_t)right, 0, (uint32_t)whole}};
out:
    return st;
}

/* By left part, then by right part; of a merge that is there twice the last counts. */
static enum emac_status merges_index(struct tokenizer *t, struct merge_row *row, size_t n,
                                     struct emac_err *err)
{
    size_t used = 0;
    enum emac_status st;

    EMAC_TRY(st,
             emac_alloc(&t->merge_begin, (size_t)t->vocab.count + 1, sizeof(*t->merge_begin), err));
    EMAC_TRY(st, emac_alloc(&t->merge, n + 1, sizeof(*t->merge), err));
    qsort(row, n, sizeof(*row), merge_compare);
    for (size_t i = 0; i < n; i++) {
        bool again = i + 1 < n && row[i + 1].left == row[i].left &&
                     row[i + 1].merge.right == row[i].merge.right;

        if (again)
            continue;
        t->merge[used++] = row[i].merge;
        t->merge_begin[row[i].left + 1] = (uint32_t)used;
    }
    t->merges = (uint32_t)used;
    for (uint32_t id = 0; id < t->vocab.count; id++)
        if (t->merge_begin[id + 1] < t->merge_begin[id])
            t->merge_begin[id + 1] = t->merge_begin[id];
out:
    return st;
}

/* Does a merge join something with a token that begins with a visible space, which would be cut? */
static bool crosses_meta(const struct tok_vocab *v, const struct merge_row *m)
{
    struct emac_slice a = tok_vocab_form(v, m->left), b = tok_vocab_form(v, m->merge.right);

    return b.len >= 3 && memcmp(b.data, "\xe2\x96\x81", 3) == 0 &&
           !(a.len >= 3 && memcmp(a.data + a.len - 3, "\xe2\x96\x81", 3) == 0);
}

static enum emac_status merges_read(struct tokenizer *t, const json_t *list, struct emac_err *err)
{
    struct merge_row *row = NULL;
    struct emac_buf joined;
    size_t n = 0;
    enum emac_status st;

    emac_buf_init(&joined, TOKENIZER_JSON_MAX);
    if (!json_is_array(list)) {
        st = emac_fail(err, EMAC_INVALID, "'merges' of tokenizer.json is not a list");
        goto out;
    }
    EMAC_TRY(st, emac_alloc(&row, json_array_size(list) + 1, sizeof(*row), err));
    t->cuts_at_meta = tok_vocab_find(&t->vocab, EMAC_SLICE_STR("\xe2\x96\x81")) >= 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);

        if (json_is_string(v) && strncmp(json_string_value(v), "#version", 8) == 0)
            continue;
        EMAC_TRY(st, merge_read(t, v, i, &joined, &row[n], err));
        row[n].merge.rank = (uint32_t)n;
        t->cuts_at_meta = t->cuts_at_meta && !crosses_meta(&t->vocab, &row[n]);
        n++;
    }
    st = merges_index(t, row, n, err);
out:
    free(row);
    emac_buf_release(&joined);
    return st;
}

static enum emac_status model_flags_read(struct tokenizer *t, const json_t *m, struct emac_err *err)
{
    static const char *const EMPTY[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const json_t *dropout = json_object_get(m, "dropout");

    for (size_t i = 0; i < EMAC_COUNT(EMPTY); i++)
        if (json_string_length(json_object_get(m, EMPTY[i])) > 0)
            return emac_fail(err, EMAC_UNSUPPORTED, "'%s' of tokenizer.json must be empty",
                             EMPTY[i]);
    if (!tok_is_absent(dropout) && json_number_value(dropout) != 0)
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "'dropout' of tokenizer.json must be null: encoding is no game of chance");
    t->fuse_unk = tok_flag_get(m, "fuse_unk", false);
    t->byte_fallback = tok_flag_get(m, "byte_fallback", false);
    t->ignore_merges = tok_flag_get(m, "ignore_merges", false);
    return EMAC_OK;
}

static enum emac_status vocab_read(struct tokenizer *t, const json_t *vocab, struct emac_err *err)
{
    const char *key;
    json_t *v;
    enum emac_status st = EMAC_OK;

    if (!json_is_object(vocab) || json_object_size(vocab) == 0)
        return emac_fail(err, EMAC_INVALID, "'vocab' of tokenizer.json holds no tokens");
    json_object_foreach((json_t *)(uintptr_t)vocab, key, v)
    {
        json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;

        if (id < 0 || id >= TOKENIZER_VOCAB_MAX)
            return emac_fail(err, EMAC_INVALID,
                             "the id of the token '%.40s' in tokenizer.json is not 0 to %u", key,
                             TOKENIZER_VOCAB_MAX - 1);
        EMAC_TRY(st, tok_vocab_add(&t->vocab, EMAC_SLICE_STR(key), (uint32_t)id, err));
    }
    st = tok_vocab_index(&t->vocab, err);
out:
    return st;
}

/* Ids that every word asks for, looked up once; before added tokens are in the vocabulary. */
static enum emac_status quick_ids(struct tokenizer *t, const json_t *m, struct emac_err *err)
{
    const json_t *unk = json_object_get(m, "unk_token");
    uint8_t c[4];
    char text[8];

    for (uint32_t i = 0; i < EMAC_COUNT(t->low_id); i++)
        t->low_id[i] = tok_vocab_find(&t->vocab, EMAC_SLICE(c, tok_utf8_put(c, i)));
    for (unsigned i = 0; i < 256; i++) {
        static const char HEX[] = "0123456789ABCDEF";

        memcpy(text, "<0x00>", 6);
        text[3] = HEX[i >> 4];
        text[4] = HEX[i & 15];
        t->byte_id[i] = tok_vocab_find(&t->vocab, EMAC_SLICE(text, 6));
    }
    t->unk = -1;
    if (tok_is_absent(unk))
        return EMAC_OK;
    if (json_is_string(unk))
        t->unk =
            tok_vocab_find(&t->vocab, EMAC_SLICE(json_string_value(unk), json_string_length(unk)));
    if (t->unk < 0)
        return emac_fail(err, EMAC_INVALID, "'unk_token' of tokenizer.json is no token");
    return EMAC_OK;
}

static enum emac_status model_read(struct tokenizer *t, const json_t *m, struct emac_err *err)
{
    const char *type = tok_type_of(m);
    enum emac_status st;

    if (!json_is_object(m))
        return emac_fail(err, EMAC_INVALID, "tokenizer.json has no model");
    if (json_object_get(m, "type") != NULL && strcmp(type, "BPE") != 0)
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "the tokenizer's model is '%.40s'; only BPE is known here", type);
    EMAC_TRY(st, model_flags_read(t, m, err));
    EMAC_TRY(st, vocab_read(t, json_object_get(m, "vocab"), err));
    EMAC_TRY(st, quick_ids(t, m, err));
    st = merges_read(t, json_object_get(m, "merges"), err);
out:
    return st;
}

/* -- added tokens -------------------------------------------------------------------------- */

/* As the token is looked for: what the normalizer makes of it, if it is one that is normalised. */
static enum emac_status added_form(const struct tokenizer *t, struct emac_slice content,
                                   struct tok_added *a, struct emac_err *err)
{
    struct emac_buf turn[2];
    int at = 0;
    enum emac_status st;

    emac_buf_init(&turn[0], TOK_GROWTH_SPARE);
    emac_buf_init(&turn[1], TOK_GROWTH_SPARE);
    EMAC_TRY(st, emac_buf_append(&turn[0], content.data, content.len, err));
    for (uint32_t i = 0; a->normalized && i < t->normal.count; i++) {
        emac_buf_clear(&turn[!at]);
        EMAC_TRY(st, tok_step_apply(&t->normal.step[i], emac_buf_slice(&turn[at]), true, &turn[!at],
                                    err));
        at = !at;
    }
    st = tok_slice_copy(emac_buf_slice(&turn[at]), &a->content, err);
out:
    emac_buf_release(&turn[0]);
    emac_buf_release(&turn[1]);
    return st;
}

static enum emac_status added_one(struct tokenizer *t, const json_t *o, struct emac_err *err)
{
    const json_t *id = json_object_get(o, "id");
    struct tok_added *a = &t->added[t->added_count];
    struct emac_slice content = {0};
    int32_t known;
    enum emac_status st;

    EMAC_TRY(st, tok_text_get(o, "content", &content, err));
    if (content.len == 0)
        return EMAC_OK;
    if (content.len > TOK_ADDED_BYTES)
        return emac_fail(err, EMAC_TOO_LARGE, "an added token has %zu bytes; the limit is %d",
                         content.len, TOK_ADDED_BYTES);
    known = tok_vocab_find(&t->vocab, content);
    if (!json_is_integer(id) || json_integer_value(id) < 0 ||
        json_integer_value(id) >= TOKENIZER_VOCAB_MAX ||
        (known >= 0 && known != json_integer_value(id)))
        return emac_fail(err, EMAC_INVALID,
                         "the added token '%.40s' of tokenizer.json has no id, or another one than "
                         "in the vocabulary",
                         (const char *)content.data);
    *a = (struct tok_added){.id = (int32_t)json_integer_value(id),
                            .single_word = tok_flag_get(o, "single_word", false),
                            .left = tok_flag_get(o, "lstrip", false),
                            .right = tok_flag_get(o, "rstrip", false),
                            .special = tok_flag_get(o, "special", false)};
    a->normalized = tok_flag_get(o, "normalized", !a->special);
    if (known < 0)
        EMAC_TRY(st, tok_vocab_add(&t->vocab, content, (uint32_t)a->id, err));
    EMAC_TRY(st, added_form(t, content, a, err));
    t->added_count++;
out:
    return st;
}

static enum emac_status added_read(struct tokenizer *t, const json_t *list, struct emac_err *err)
{
    enum emac_status st;

    EMAC_TRY(st, emac_alloc(&t->added, json_array_size(list) + 1, sizeof(*t->added), err));
    for (size_t i = 0; i < json_array_size(list); i++)
        EMAC_TRY(st, added_one(t, json_array_get(list, i), err));
    EMAC_TRY(st, tok_vocab_index(&t->vocab, err));
    EMAC_TRY(st, emac_alloc(&t->special, (size_t)t->vocab.count + 1, 1, err));
    for (uint32_t i = 0; i < t->added_count; i++)
        t->special[t->added[i].id] = t->added[i].special;
    EMAC_TRY(st, tok_finder_init(&t->raw, t->added, t->added_count, false, err));
    st = tok_finder_init(&t->normalized, t->added, t->added_count, true, err);
out:
    return st;
}

/* -- the whole ----------------------------------------------------------------------------- */

/* Token = byte, whatever the bytes are. */
static bool is_byte_tokenizer(const struct tokenizer *t)
{
    if (t->vocab.count != 256 || t->vocab.used != 256 || t->added_count > 0 ||
        t->normal.count > 0 || t->split.count != 1 || !t->maps_words || t->merge_begin[256] > 0 ||
        t->before_count + t->after_count > 0)
        return false;
    for (uint32_t i = 0; i < 256; i++)
        if (t->low_id[tok_visible((uint8_t)i)] != (int32_t)i || t->piece[i].len != 1 ||
            t->piece_text.data[t->piece[i].at] != i)
            return false;
    return true;
}

static enum emac_status steps_read(const json_t *o, struct tok_part *r,
                                   enum emac_status (*read)(struct tok_part *r, const json_t *o,
                                                            unsigned depth))
{
    return tok_is_absent(o) ? EMAC_OK : read(r, o, 0);
}

static enum emac_status root_read(struct tokenizer *t, const json_t *root, struct emac_err *err)
{
    struct tok_steps decoder = {.count = 0};
    struct tok_part normal = {"normalizer", &t->normal, false, err};
    struct tok_part split = {"pre-tokenizer", &t->split, false, err};
    struct tok_part decode = {"decoder", &decoder, false, err};
    const json_t *post = json_object_get(root, "post_processor");
    bool has_template = false;
    enum emac_status st;

    EMAC_TRY(st, steps_read(json_object_get(root, "normalizer"), &normal, tok_normalizer_read));
    EMAC_TRY(st, steps_read(json_object_get(root, "pre_tokenizer"), &split, tok_pre_read));
    EMAC_TRY(st, steps_read(json_object_get(root, "decoder"), &decode, tok_decoder_read));
    if (tok_is_absent(json_object_get(root, "decoder")))
        EMAC_TRY(st, tok_join_add(&decode));
    EMAC_TRY(st, model_read(t, json_object_get(root, "model"), err));
    EMAC_TRY(st, added_read(t, json_object_get(root, "added_tokens"), err));
    if (!tok_is_absent(post))
        EMAC_TRY(st, post_read(t, post, 0, &has_template, err));
    EMAC_TRY(st, tok_pieces_make(t, &decoder, err));
    t->maps_words = t->split.count > 0 && t->split.step[t->split.count - 1].kind == TOK_STEP_MAP;
    t->cuts_at_meta = t->cuts_at_meta && !t->maps_words && !t->ignore_merges;
    t->is_bytes = is_byte_tokenizer(t);
out:
    tok_steps_release(&decoder);
    return st;
}

enum emac_status tokenizer_read(struct emac_slice json, struct tokenizer **out,
                                struct emac_err *err)
{
    json_error_t je;
    json_t *root = NULL;
    struct tokenizer *t = NULL;
    enum emac_status st;

    *out = NULL;
    if (json.len > TOKENIZER_JSON_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "tokenizer.json has %zu bytes; the limit is %u",
                         json.len, TOKENIZER_JSON_MAX);
    root =
        json_loadb((const char *)json.data, json.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &je);
    if (!json_is_object(root)) {
        json_decref(root);
        return emac_fail(err, EMAC_INVALID, "tokenizer.json is not a JSON object: line %d: %s",
                         root == NULL ? je.line : 1, root == NULL ? je.text : "no object");
    }
    EMAC_TRY(st, emac_alloc(&t, 1, sizeof(*t), err));
    tok_vocab_init(&t->vocab);
    st = root_read(t, root, err);
out:
    json_decref(root);
    if (st == EMAC_OK)
        *out = t;
    else
        tokenizer_free(t);
    return st;
}

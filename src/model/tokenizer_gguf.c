#include "model/tokenizer_gguf.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "model/tokenizer_cuts.h"

#define META "\xe2\x96\x81"

struct source {
    const struct gguf *g;
    struct tok_vocab vocab;
    struct tok_parts parts;
    struct tok_parts_added *added;
    const uint8_t *type, *score; /* by id, of 4 bytes each, little-endian; NULL: absent */
    int32_t (*merge)[2];
    struct emac_buf post;
    struct emac_err *err;
};

static uint32_t word(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t type_of(const struct source *s, uint32_t id)
{
    return s->type != NULL ? word(s->type + 4 * (size_t)id) : TOK_GGUF_NORMAL;
}

static float score_of(const struct source *s, uint32_t id)
{
    uint32_t bits = word(s->score + 4 * (size_t)id);
    float f;

    memcpy(&f, &bits, 4);
    return f;
}

static bool flag(const struct gguf *g, const char *key, bool usual)
{
    const struct gguf_value *v = gguf_value_find(g, key);

    return v != NULL && v->type == GGUF_BOOL ? *v->data != 0 : usual;
}

/* The token of such a number, or -1. */
static int32_t id_get(const struct source *s, const char *key)
{
    static const uint32_t none = UINT32_MAX;
    uint32_t id;

    if (gguf_u32(s->g, key, &none, &id, NULL) != EMAC_OK || id >= s->vocab.count ||
        s->vocab.written[id].at == UINT32_MAX)
        return -1;
    return (int32_t)id;
}

/* -- tokens -------------------------------------------------------------------------------- */

static const uint8_t *numbers(const struct source *s, uint64_t n, const char *key, uint32_t element)
{
    const struct gguf_value *v = gguf_array(s->g, key, element);

    return v != NULL && v->n == n ? v->data : NULL;
}

/* An id without a token: the model has more rows than its tokenizer tokens. */
static bool is_padding(const struct source *s, uint32_t id, struct gguf_text form)
{
    char room[TOK_GGUF_PAD_MAX];
    struct emac_slice pad = tok_gguf_pad(id, room);

    return type_of(s, id) == TOK_GGUF_UNUSED && form.n == pad.len &&
           memcmp(form.p, pad.data, pad.len) == 0;
}

static enum emac_status tokens_read(struct source *s)
{
    const struct gguf_value *v = gguf_array(s->g, "tokenizer.ggml.tokens", GGUF_STRING);
    const uint8_t *at = v != NULL ? v->data : NULL;
    enum emac_status st;

    if (v == NULL || v->n == 0 || v->n > TOKENIZER_VOCAB_MAX)
        return emac_fail(s->err, EMAC_INVALID,
                         "'tokenizer.ggml.tokens' in the GGUF file is no list of tokens");
    s->type = numbers(s, v->n, "tokenizer.ggml.token_type", GGUF_I32);
    s->score = numbers(s, v->n, "tokenizer.ggml.scores", GGUF_REAL);
    for (uint32_t id = 0; id < v->n; id++) {
        struct gguf_text t = gguf_array_text(&at);

        if (is_padding(s, id, t))
            continue;
        EMAC_TRY(st, tok_vocab_add(&s->vocab, EMAC_SLICE(t.p, (size_t)t.n), id, s->err));
    }
    EMAC_TRY(st, tok_vocab_index(&s->vocab, s->err));
    EMAC_TRY(st, emac_alloc(&s->added, (size_t)v->n, sizeof(*s->added), s->err));
    for (uint32_t id = 0; id < s->vocab.count; id++) {
        uint32_t type = type_of(s, id);
        bool special = type == TOK_GGUF_CONTROL || type == TOK_GGUF_UNKNOWN;

        if (special || type == TOK_GGUF_USER_DEFINED)
            s->added[s->parts.added_count++] = (struct tok_parts_added){(int32_t)id, special};
    }
    s->parts.added = s->added;
    s->parts.vocab = &s->vocab;
out:
    return st;
}

/* -- merges that are there ----------------------------------------------------------------- */

static enum emac_status merge_take(struct source *s, struct gguf_text t)
{
    const char *space = memchr(t.p, ' ', (size_t)t.n);
    int32_t left = -1, right = -1;

    if (space != NULL) {
        size_t n = (size_t)(space - t.p);

        left = tok_vocab_find(&s->vocab, EMAC_SLICE(t.p, n));
        right = tok_vocab_find(&s->vocab, EMAC_SLICE(space + 1, (size_t)t.n - n - 1));
    }
    if (left < 0 || right < 0)
        return emac_fail(s->err, EMAC_INVALID,
                         "the merge '%.*s' in the GGUF file is not of two tokens",
                         (int)(t.n < 40 ? t.n : 40), t.p);
    s->merge[s->parts.merges][0] = left;
    s->merge[s->parts.merges++][1] = right;
    return EMAC_OK;
}

static enum emac_status merges_take(struct source *s)
{
    const struct gguf_value *v = gguf_array(s->g, "tokenizer.ggml.merges", GGUF_STRING);
    const uint8_t *at = v != NULL ? v->data : NULL;
    enum emac_status st;

    if (v == NULL)
        return emac_fail(s->err, EMAC_INVALID,
                         "'tokenizer.ggml.merges' in the GGUF file is no list of merges");
    EMAC_TRY(st, emac_alloc(&s->merge, (size_t)v->n + 1, sizeof(*s->merge), s->err));
    for (uint64_t i = 0; i < v->n; i++)
        EMAC_TRY(st, merge_take(s, gguf_array_text(&at)));
out:
    return st;
}

/* -- merges by scores ---------------------------------------------------------------------- */

struct scored {
    float score;
    uint32_t left_len, right_len; /* in characters */
    int32_t left, right, id;
};

static int scored_compare(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;

    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    if (x->left_len != y->left_len)
        return x->left_len > y->left_len ? -1 : 1;
    if (x->right_len != y->right_len)
        return x->right_len > y->right_len ? -1 : 1;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return (x->left > y->left) - (x->left < y->left);
}

static uint32_t chars_in(struct emac_slice text)
{
    uint32_t n = 0;

    for (size_t i = 0; i < text.len; i++)
        n += (text.data[i] & 0xc0) != 0x80;
    return n;
}

/* A normal token that consists of these bytes, or -1. */
static int32_t part_find(const struct source *s, struct emac_slice form)
{
    int32_t id = tok_vocab_find(&s->vocab, form);

    return id >= 0 && type_of(s, (uint32_t)id) == TOK_GGUF_NORMAL ? id : -1;
}

/* All ways to make a token of two others. */
static enum emac_status ways_add(struct source *s, uint32_t id, struct emac_buf *out)
{
    struct emac_slice form = tok_vocab_form(&s->vocab, id);
    uint32_t all = chars_in(form), left_len = 0;
    enum emac_status st = EMAC_OK;

    for (size_t i = 0; i < form.len && st == EMAC_OK; i++) {
        struct scored w = {.score = score_of(s, id), .id = (int32_t)id};

        if ((form.data[i] & 0xc0) == 0x80)
            continue;
        w.left_len = left_len;
        w.right_len = all - left_len++;
        if (i == 0)
            continue;
        w.left = part_find(s, EMAC_SLICE(form.data, i));
        w.right = w.left >= 0 ? part_find(s, EMAC_SLICE(form.data + i, form.len - i)) : -1;
        if (w.right >= 0)
            st = emac_buf_append(out, &w, sizeof(w), s->err);
    }
    return st;
}

static enum emac_status merges_make(struct source *s)
{
    struct emac_buf ways;
    struct scored *way;
    size_t n;
    enum emac_status st = EMAC_OK;

    emac_buf_init(&ways, (size_t)1 << 31);
    if (s->score == NULL)
        return emac_fail(s->err, EMAC_INVALID,
                         "'tokenizer.ggml.scores' in the GGUF file is not one score a token");
    for (uint32_t id = 0; id < s->vocab.count; id++) {
        if (score_of(s, id) != score_of(s, id)) {
            st = emac_fail(s->err, EMAC_INVALID, "a token's score in the GGUF file is no number");
            goto out;
        }
        if (type_of(s, id) == TOK_GGUF_NORMAL)
            EMAC_TRY(st, ways_add(s, id, &ways));
    }
    way = (struct scored *)(void *)ways.data;
    n = ways.len / sizeof(*way);
    EMAC_TRY(st, emac_alloc(&s->merge, n + 1, sizeof(*s->merge), s->err));
    if (n > 0)
        qsort(way, n, sizeof(*way), scored_compare);
    for (size_t i = 0; i < n; i++) {
        s->merge[i][0] = way[i].left;
        s->merge[i][1] = way[i].right;
    }
    s->parts.merges = n;
out:
    emac_buf_release(&ways);
    return st;
}

/* -- the two models ------------------------------------------------------------------------ */

static enum emac_status gpt2_read(struct source *s)
{
    struct gguf_text name = gguf_text(s->g, "tokenizer.ggml.pre");
    const struct tok_cut *cut = tok_cut_find(EMAC_SLICE(name.p, (size_t)name.n));

    if (cut == NULL)
        return emac_fail(s->err, EMAC_UNSUPPORTED,
                         "how words are cut, '%.*s' in the GGUF file, is not known",
                         (int)(name.n < 40 ? name.n : 40), name.p);
    s->parts.pre = tok_pre_json(cut->pre);
    s->parts.ignore_merges = flag(s->g, TOK_GGUF_IGNORE_MERGES, cut->ignore_merges);
    s->parts.normalizer = cut->composed ? "{\"type\": \"NFC\"}" : NULL;
    s->parts.decoder = "{\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": "
                       "true, \"use_regex\": true}";
    return merges_take(s);
}

#define FROM_META                                                                                  \
    "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", \"pattern\": {\"String\": "   \
    "\"" META "\"}, \"content\": \" \"}, {\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}"

static enum emac_status llama_read(struct source *s)
{
    bool space = flag(s->g, "tokenizer.ggml.add_space_prefix", true);
    int32_t unk = id_get(s, "tokenizer.ggml.unknown_token_id");

    s->parts.normalizer = tok_meta_json(space);
    s->parts.decoder = space ? FROM_META ", {\"type\": \"Strip\", \"content\": \" \", \"start\": "
                                         "1, \"stop\": 0}]}"
                             : FROM_META "]}";
    if (unk < 0)
        unk = tok_vocab_find(&s->vocab, EMAC_SLICE_STR("<unk>"));
    /* a form in the vocabulary ends with a NUL only at the end of its pool: so the usual name */
    if (unk >= 0 && unk == tok_vocab_find(&s->vocab, EMAC_SLICE_STR("<unk>")))
        s->parts.unk = "<unk>";
    s->parts.fuse_unk = s->parts.byte_fallback = true;
    return gguf_value_find(s->g, "tokenizer.ggml.merges") != NULL ? merges_take(s) : merges_make(s);
}

/* -- what is around a text, and the other file --------------------------------------------- */

static enum emac_status piece_write(struct source *s, int32_t id, bool more)
{
    enum emac_status st;

    EMAC_TRY(st, emac_buf_printf(&s->post, s->err, "{\"SpecialToken\": {\"id\": "));
    EMAC_TRY(st, tok_string_write(tok_vocab_form(&s->vocab, (uint32_t)id), &s->post, s->err));
    st = emac_buf_printf(&s->post, s->err, ", \"type_id\": 0}}%s", more ? ", " : "");
out:
    return st;
}

static enum emac_status named_write(struct source *s, int32_t id, bool more)
{
    struct emac_slice form = tok_vocab_form(&s->vocab, (uint32_t)id);
    enum emac_status st;

    EMAC_TRY(st, tok_string_write(form, &s->post, s->err));
    EMAC_TRY(st, emac_buf_printf(&s->post, s->err, ": {\"id\": "));
    EMAC_TRY(st, tok_string_write(form, &s->post, s->err));
    EMAC_TRY(st, emac_buf_printf(&s->post, s->err, ", \"ids\": [%d], \"tokens\": [", id));
    EMAC_TRY(st, tok_string_write(form, &s->post, s->err));
    st = emac_buf_printf(&s->post, s->err, "]}%s", more ? ", " : "");
out:
    return st;
}

static enum emac_status post_make(struct source *s, bool is_llama)
{
    int32_t bos = id_get(s, "tokenizer.ggml.bos_token_id");
    int32_t eos = id_get(s, "tokenizer.ggml.eos_token_id");
    enum emac_status st = EMAC_OK;

    bool llama3 = gguf_text_is(gguf_text(s->g, "tokenizer.ggml.pre"), "llama-bpe");
    if (!flag(s->g, "tokenizer.ggml.add_bos_token", is_llama || llama3))
        bos = -1;
    if (!flag(s->g, "tokenizer.ggml.add_eos_token", false))
        eos = -1;
    if (bos < 0 && eos < 0)
        return EMAC_OK;
    EMAC_TRY(st,
             emac_buf_printf(&s->post, s->err, "{\"type\": \"TemplateProcessing\", \"single\": ["));
    if (bos >= 0)
        EMAC_TRY(st, piece_write(s, bos, true));
    EMAC_TRY(st,
             emac_buf_printf(&s->post, s->err, "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}%s",
                             eos >= 0 ? ", " : ""));
    if (eos >= 0)
        EMAC_TRY(st, piece_write(s, eos, false));
    EMAC_TRY(st, emac_buf_printf(&s->post, s->err,
                                 "], \"pair\": [{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, "
                                 "{\"Sequence\": {\"id\": \"B\", \"type_id\": 1}}], "
                                 "\"special_tokens\": {"));
    if (bos >= 0)
        EMAC_TRY(st, named_write(s, bos, eos >= 0 && eos != bos));
    if (eos >= 0 && eos != bos)
        EMAC_TRY(st, named_write(s, eos, false));
    EMAC_TRY(st, emac_buf_printf(&s->post, s->err, "}}"));
    s->parts.post = emac_buf_str(&s->post);
out:
    return st;
}

static enum emac_status config_write(const struct source *s, struct emac_buf *out)
{
    static const char *const NAMED[][2] = {{"bos_token", "tokenizer.ggml.bos_token_id"},
                                           {"eos_token", "tokenizer.ggml.eos_token_id"},
                                           {"pad_token", "tokenizer.ggml.padding_token_id"},
                                           {"unk_token", "tokenizer.ggml.unknown_token_id"}};
    struct gguf_text chat = gguf_text(s->g, "tokenizer.chat_template");
    enum emac_status st;

    EMAC_TRY(st, emac_buf_printf(out, s->err, "{\n"));
    for (size_t i = 0; i < EMAC_COUNT(NAMED); i++) {
        int32_t id = id_get(s, NAMED[i][1]);

        if (id < 0)
            continue;
        EMAC_TRY(st, emac_buf_printf(out, s->err, "  \"%s\": ", NAMED[i][0]));
        EMAC_TRY(st, tok_string_write(tok_vocab_form(&s->vocab, (uint32_t)id), out, s->err));
        EMAC_TRY(st, emac_buf_printf(out, s->err, ",\n"));
    }
    if (chat.n > 0) {
        EMAC_TRY(st, emac_buf_printf(out, s->err, "  \"chat_template\": "));
        EMAC_TRY(st, tok_string_write(EMAC_SLICE(chat.p, (size_t)chat.n), out, s->err));
        EMAC_TRY(st, emac_buf_printf(out, s->err, ",\n"));
    }
    st = emac_buf_printf(out, s->err,
                         "  \"clean_up_tokenization_spaces\": false,\n"
                         "  \"tokenizer_class\": \"PreTrainedTokenizerFast\"\n}\n");
out:
    return st;
}

/* The byte tokenizer, as tokenizer_to_gguf writes it. */
static bool is_bytes(const struct gguf *g)
{
    const struct gguf_value *v = gguf_array(g, "tokenizer.ggml.tokens", GGUF_STRING);
    const uint8_t *at = v != NULL ? v->data : NULL;

    if (v == NULL || v->n != TOKENIZER_BYTES)
        return false;
    for (unsigned byte = 0; byte < TOKENIZER_BYTES; byte++) {
        char room[TOK_GGUF_BYTE_MAX];
        struct emac_slice want = tok_gguf_byte(byte, room);
        struct gguf_text have = gguf_array_text(&at);

        if (have.n != want.len || memcmp(have.p, want.data, want.len) != 0)
            return false;
    }
    return true;
}

enum emac_status tokenizer_from_gguf(const struct gguf *g, struct emac_buf *json,
                                     struct emac_buf *config, struct emac_err *err)
{
    struct gguf_text model = gguf_text(g, "tokenizer.ggml.model");
    bool is_llama = gguf_text_is(model, "llama");
    struct source s = {.g = g, .err = err};
    struct tokenizer *t = NULL;
    enum emac_status st;

    if (model.n == 0)
        return emac_fail(err, EMAC_NOT_FOUND, "the GGUF file has no tokenizer");
    if (gguf_text_is(model, "rwkv") && is_bytes(g))
        return emac_fail(err, EMAC_NOT_FOUND, "the GGUF file has the tokenizer of bytes");
    if (!is_llama && !gguf_text_is(model, "gpt2"))
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "the tokenizer '%.*s' of the GGUF file is not known: gpt2, llama",
                         (int)(model.n < 40 ? model.n : 40), model.p);
    tok_vocab_init(&s.vocab);
    emac_buf_init(&s.post, (size_t)1 << 20);
    EMAC_TRY(st, tokens_read(&s));
    EMAC_TRY(st, is_llama ? llama_read(&s) : gpt2_read(&s));
    s.parts.merge = (const int32_t(*)[2])s.merge;
    EMAC_TRY(st, post_make(&s, is_llama));
    EMAC_TRY(st, tok_json_write(&s.parts, json, err));
    EMAC_TRY(st, config_write(&s, config));
    st = tokenizer_read(emac_buf_slice(json), &t, err); /* nothing is written that cannot be read */
out:
    tokenizer_free(t);
    tok_vocab_release(&s.vocab);
    emac_buf_release(&s.post);
    free(s.added);
    free(s.merge);
    return st;
}

enum emac_status generation_from_gguf(const struct gguf *g, struct emac_buf *out,
                                      struct emac_err *err)
{
    static const char *const ENDS[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    static const uint32_t none = UINT32_MAX;
    uint32_t id[EMAC_COUNT(ENDS)], count = 0;
    bool bytes = gguf_text_is(gguf_text(g, "tokenizer.ggml.model"), "rwkv") && is_bytes(g);
    enum emac_status st;

    for (size_t i = 0; i < EMAC_COUNT(ENDS); i++)
        if (gguf_u32(g, ENDS[i], &none, &id[count], NULL) == EMAC_OK && id[count] != none)
            count++;
    if (count < (bytes ? 1 : 2))
        return EMAC_OK;
    EMAC_TRY(st, emac_buf_printf(out, err, "{\n  \"eos_token_id\": ["));
    for (uint32_t i = 0; i < count; i++)
        EMAC_TRY(st, emac_buf_printf(out, err, "%s%u", i > 0 ? ", " : "", id[i]));
    st = emac_buf_printf(out, err, "]\n}\n");
out:
    return st;
}

#include "model/tokenizer_to_gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "model/tokenizer_cuts.h"

#define META     "\xe2\x96\x81"
#define SHOWN(s) (int)((s).len < 40 ? (s).len : 40), (const char *)(s).data

struct writing {
    struct gguf_writer *w;
    struct language l;
    const struct tokenizer *t;
    uint32_t vocab;
    json_t *root, *config; /* tokenizer.json and tokenizer_config.json; NULL: not there */
    int32_t *type;         /* [vocab] */
    float *score;          /* [vocab] */
    struct merge_row *merge;
    size_t merges;
    bool space; /* llama: a space is put before a text */
    struct emac_err *err;
};

static bool is_hole(const struct tokenizer *t, uint32_t id)
{
    return id >= t->vocab.count || t->vocab.written[id].at == UINT32_MAX;
}

static enum emac_status cannot(const struct writing *s, const char *what)
{
    return emac_fail(s->err, EMAC_UNSUPPORTED, "%s, which a GGUF file cannot say", what);
}

/* -- tokens -------------------------------------------------------------------------------- */

static enum emac_status added_type(struct writing *s, const struct tok_added *a)
{
    struct emac_slice form = tok_vocab_form(&s->t->vocab, (uint32_t)a->id);
    bool same = form.len == a->content.len && memcmp(form.data, a->content.data, form.len) == 0;

    if (a->single_word || a->left || a->right)
        return emac_fail(s->err, EMAC_UNSUPPORTED,
                         "the added token '%.*s' takes white space or wants to stand alone "
                         "(lstrip, rstrip, single_word), which a GGUF file cannot say",
                         SHOWN(form));
    if (!a->special && !same)
        return emac_fail(s->err, EMAC_UNSUPPORTED,
                         "the added token '%.*s' is looked for as the normalizer writes it, which "
                         "a GGUF file cannot say",
                         SHOWN(form));
    s->type[a->id] = a->special ? TOK_GGUF_CONTROL : TOK_GGUF_USER_DEFINED;
    return EMAC_OK;
}

static enum emac_status types_find(struct writing *s, bool is_llama)
{
    enum emac_status st;

    EMAC_TRY(st, emac_alloc(&s->type, s->vocab, sizeof(*s->type), s->err));
    for (uint32_t id = 0; id < s->vocab; id++)
        s->type[id] = is_hole(s->t, id) ? TOK_GGUF_UNUSED : TOK_GGUF_NORMAL;
    for (uint32_t i = 0; i < s->t->added_count; i++)
        EMAC_TRY(st, added_type(s, &s->t->added[i]));
    for (unsigned byte = 0; byte < 256 && is_llama; byte++)
        s->type[s->t->byte_id[byte]] = TOK_GGUF_BYTE;
    if (is_llama && s->t->unk >= 0)
        s->type[s->t->unk] = TOK_GGUF_UNKNOWN;
out:
    return st;
}

static enum emac_status tokens_write(struct writing *s)
{
    char room[TOK_GGUF_PAD_MAX];
    enum emac_status st;

    EMAC_TRY(st, gguf_add_texts(s->w, "tokenizer.ggml.tokens", s->vocab, s->err));
    for (uint32_t id = 0; id < s->vocab; id++) {
        struct emac_slice form =
            is_hole(s->t, id) ? tok_gguf_pad(id, room) : tok_vocab_form(&s->t->vocab, id);

        EMAC_TRY(st, gguf_add_element(s->w, form, s->err));
    }
    st = gguf_add_words(s->w, "tokenizer.ggml.token_type", GGUF_I32, s->type, s->vocab, s->err);
out:
    return st;
}

/* -- what ids add to a text ---------------------------------------------------------------- */

/* A token's bytes as llama.cpp makes them: of visible characters, or with spaces visible. */
static enum emac_status piece_expect(const struct writing *s, uint32_t id, bool is_llama,
                                     struct emac_buf *out)
{
    struct emac_slice form = tok_vocab_form(&s->t->vocab, id);
    enum emac_status st = EMAC_OK;

    for (size_t i = 0, n; i < form.len && st == EMAC_OK; i += n) {
        uint32_t c = 0;
        n = emac_utf8_next(form.data + i, form.len - i, &c);
        EMAC_ASSERT(n > 0);
        int byte = is_llama ? -1 : tok_visible_byte(c);
        uint8_t one = (uint8_t)byte;

        if (!is_llama && byte < 0)
            return cannot(s, "a token holds characters that stand for no byte");
        if (byte >= 0)
            st = emac_buf_append(out, &one, 1, s->err);
        else if (c == TOK_META)
            st = emac_buf_append(out, " ", 1, s->err);
        else
            st = emac_buf_append(out, form.data + i, n, s->err);
    }
    return st;
}

static bool piece_is(const struct writing *s, uint32_t id, bool first, struct emac_slice want)
{
    struct emac_slice have = tokenizer_piece(s->t, (int32_t)id, first);

    return have.len == want.len && (want.len == 0 || memcmp(have.data, want.data, want.len) == 0);
}

/* The decoder is nothing that the file says: it must be what llama.cpp does anyway. */
static enum emac_status pieces_check(struct writing *s, bool is_llama)
{
    struct emac_buf want;
    enum emac_status st = EMAC_OK;

    emac_buf_init(&want, TOKENIZER_JSON_MAX);
    for (uint32_t id = 0; id < s->vocab; id++) {
        if (s->type[id] != TOK_GGUF_NORMAL)
            continue;
        emac_buf_clear(&want);
        EMAC_TRY(st, piece_expect(s, id, is_llama, &want));
        struct emac_slice w = emac_buf_slice(&want), first = w;
        if (s->space && w.len > 0 && w.data[0] == ' ')
            first = EMAC_SLICE(w.data + 1, w.len - 1);
        if (!piece_is(s, id, false, w) || !piece_is(s, id, true, first)) {
            st = emac_fail(s->err, EMAC_UNSUPPORTED,
                           "the decoder of tokenizer.json makes another text of the token '%.*s' "
                           "than readers of GGUF files do",
                           SHOWN(tok_vocab_form(&s->t->vocab, id)));
            goto out;
        }
    }
out:
    emac_buf_release(&want);
    return st;
}

/* -- merges -------------------------------------------------------------------------------- */

struct merge_row {
    uint32_t rank, left, right, id;
};

static int rank_compare(const void *a, const void *b)
{
    const struct merge_row *x = a, *y = b;

    return (x->rank > y->rank) - (x->rank < y->rank);
}

static enum emac_status merges_list(struct writing *s)
{
    const struct tokenizer *t = s->t;
    uint32_t left = 0;
    enum emac_status st;

    s->merges = t->merges;
    EMAC_TRY(st, emac_alloc(&s->merge, s->merges + 1, sizeof(*s->merge), s->err));
    for (size_t i = 0; i < s->merges; i++) {
        while (t->merge_begin[left + 1] <= i)
            left++;
        s->merge[i] = (struct merge_row){t->merge[i].rank, left, t->merge[i].right, t->merge[i].id};
    }
    qsort(s->merge, s->merges, sizeof(*s->merge), rank_compare);
out:
    return st;
}

static enum emac_status merges_write(struct writing *s)
{
    struct emac_buf line;
    enum emac_status st;

    emac_buf_init(&line, TOKENIZER_JSON_MAX);
    EMAC_TRY(st, gguf_add_texts(s->w, "tokenizer.ggml.merges", s->merges, s->err));
    for (size_t i = 0; i < s->merges; i++) {
        struct emac_slice left = tok_vocab_form(&s->t->vocab, s->merge[i].left);
        struct emac_slice right = tok_vocab_form(&s->t->vocab, s->merge[i].right);

        if (memchr(left.data, ' ', left.len) != NULL ||
            memchr(right.data, ' ', right.len) != NULL) {
            st = cannot(s, "a merge is of tokens with spaces");
            goto out;
        }
        emac_buf_clear(&line);
        EMAC_TRY(st, emac_buf_append(&line, left.data, left.len, s->err));
        EMAC_TRY(st, emac_buf_append(&line, " ", 1, s->err));
        EMAC_TRY(st, emac_buf_append(&line, right.data, right.len, s->err));
        EMAC_TRY(st, gguf_add_element(s->w, emac_buf_slice(&line), s->err));
    }
out:
    emac_buf_release(&line);
    return st;
}

/* -- scores -------------------------------------------------------------------------------- */

static int32_t part_find(const struct writing *s, struct emac_slice form)
{
    int32_t id = tok_vocab_find(&s->t->vocab, form);

    return id >= 0 && s->type[id] == TOK_GGUF_NORMAL ? id : -1;
}

static bool merge_is_there(const struct tokenizer *t, int32_t left, int32_t right)
{
    for (uint32_t i = t->merge_begin[left]; i < t->merge_begin[left + 1]; i++)
        if (t->merge[i].right == (uint32_t)right)
            return true;
    return false;
}

/* Counts the ways to make a token of two others; each must be a merge. */
static enum emac_status ways_check(const struct writing *s, uint32_t id, size_t *ways)
{
    struct emac_slice form = tok_vocab_form(&s->t->vocab, id);

    for (size_t i = 1; i < form.len; i++) {
        int32_t left, right;

        if ((form.data[i] & 0xc0) == 0x80)
            continue;
        left = part_find(s, EMAC_SLICE(form.data, i));
        right = left >= 0 ? part_find(s, EMAC_SLICE(form.data + i, form.len - i)) : -1;
        if (right < 0)
            continue;
        if (!merge_is_there(s->t, left, right))
            return emac_fail(s->err, EMAC_UNSUPPORTED,
                             "no merge makes the token '%.*s' of '%.*s' and what follows; readers "
                             "of GGUF files know no merges and would make it",
                             SHOWN(form), (int)(i < 40 ? i : 40), (const char *)form.data);
        ++*ways;
    }
    return EMAC_OK;
}

/* Llama 2 and its kin end their merges with those of runs of spaces, in an order that one score a
 * token cannot say: all have the same score there, and readers join the leftmost. Where that gives
 * the ids of the merges, however long a run is, it can be written so, and the merges beside it. */

#define RUN_MAX 256

/* Spaces in a token of nothing else, 0 for another. */
static size_t run_length(const struct writing *s, uint32_t id)
{
    struct emac_slice form = tok_vocab_form(&s->t->vocab, id);

    for (size_t i = 0; i < form.len; i++)
        if (form.data[i] != (uint8_t)META[i % 3])
            return 0;
    return form.len / 3;
}

/* Tokens by the length of their run, -1 where there is none. */
struct runs {
    int32_t id[RUN_MAX + 1];
};

/* As a reader joins n spaces: the neighbours with the highest score, of equal ones the leftmost. */
static size_t run_join(const struct writing *s, const struct runs *r, size_t n,
                       int32_t out[RUN_MAX])
{
    for (size_t i = 0; i < n; i++)
        out[i] = r->id[1];
    for (;;) {
        size_t best = n;
        int32_t made = -1;

        for (size_t i = 0; i + 1 < n; i++) {
            size_t both = run_length(s, (uint32_t)out[i]) + run_length(s, (uint32_t)out[i + 1]);
            int32_t id = r->id[both];

            if (id >= 0 && (made < 0 || s->score[id] > s->score[made])) {
                best = i;
                made = id;
            }
        }
        if (made < 0)
            return n;
        out[best] = made;
        memmove(&out[best + 1], &out[best + 2], (n - best - 2) * sizeof(*out));
        n--;
    }
}

static enum emac_status runs_check(const struct writing *s, bool *same)
{
    struct runs r;
    struct tok_run run;
    struct emac_buf text, ids;
    int32_t want[RUN_MAX];
    enum emac_status st = EMAC_OK;

    memset(&r, 0xff, sizeof(r));
    for (uint32_t id = 0; id < s->vocab; id++) {
        size_t n = s->type[id] == TOK_GGUF_NORMAL ? run_length(s, id) : 0;

        if (n > 0 && n <= RUN_MAX)
            r.id[n] = (int32_t)id;
    }
    emac_buf_init(&text, (size_t)RUN_MAX * 4);
    emac_buf_init(&ids, (size_t)RUN_MAX * 8);
    tok_run_init(&run, s->t, RUN_MAX, s->err);
    run.out = &ids;
    *same = r.id[1] >= 0;
    for (size_t n = 1; n <= RUN_MAX && *same; n++) {
        EMAC_TRY(st, emac_buf_append(&text, META, 3, s->err));
        emac_buf_clear(&ids);
        EMAC_TRY(st, tok_word(&run, emac_buf_slice(&text)));
        size_t count = run_join(s, &r, n, want);
        *same = ids.len == count * sizeof(*want) && memcmp(ids.data, want, ids.len) == 0;
    }
out:
    tok_run_release(&run);
    emac_buf_release(&text);
    emac_buf_release(&ids);
    return st;
}

/* The first merge of those that end the list and are in no order of tokens. */
static enum emac_status order_find(const struct writing *s, size_t *first)
{
    uint32_t *last;
    enum emac_status st = emac_alloc(&last, s->vocab, sizeof(*last), s->err);

    if (st != EMAC_OK)
        return st;
    for (size_t i = 0; i < s->merges; i++)
        last[s->merge[i].id] = (uint32_t)i;
    for (*first = 0; *first < s->merges;) {
        size_t n = 1;

        while (*first + n < s->merges && s->merge[*first + n].id == s->merge[*first].id)
            n++;
        if (last[s->merge[*first].id] != *first + n - 1)
            break;
        *first += n;
    }
    free(last);
    return EMAC_OK;
}

/* The score of a token is how many tokens' merges come before its own, below zero. */
static enum emac_status scores_find(struct writing *s)
{
    size_t ways = 0, first;
    float score = 0;
    bool same = true;
    enum emac_status st;

    EMAC_TRY(st, emac_alloc(&s->score, s->vocab, sizeof(*s->score), s->err));
    for (uint32_t id = 0; id < s->vocab; id++)
        if (s->type[id] == TOK_GGUF_NORMAL)
            EMAC_TRY(st, ways_check(s, id, &ways));
    if (ways != s->merges)
        return cannot(s, "a merge of tokenizer.json is of added tokens or makes one");
    EMAC_TRY(st, order_find(s, &first));
    for (size_t i = 0; i < s->merges; i++) {
        uint32_t id = s->merge[i].id;

        same = same && (i < first || run_length(s, id) > 0);
        if (i <= first && (i == 0 || s->merge[i - 1].id != id))
            score -= 1;
        s->score[id] = score;
    }
    if (same && first < s->merges)
        EMAC_TRY(st, runs_check(s, &same));
    if (!same)
        return emac_fail(s->err, EMAC_UNSUPPORTED,
                         "the merges that make the token '%.*s' do not follow on each other, which "
                         "the one score that it has in a GGUF file cannot say",
                         SHOWN(tok_vocab_form(&s->t->vocab, s->merge[first].id)));
    if (first < s->merges)
        EMAC_TRY(st, merges_write(s));
    st = gguf_add_words(s->w, "tokenizer.ggml.scores", GGUF_REAL, s->score, s->vocab, s->err);
out:
    return st;
}

/* -- the three models ---------------------------------------------------------------------- */

static enum emac_status rwkv_write(struct writing *s)
{
    enum emac_status st;

    if (s->vocab != TOKENIZER_BYTES)
        return cannot(s, "the tokenizer is of bytes and the model has more tokens");
    EMAC_TRY(st, gguf_add_text(s->w, "tokenizer.ggml.model", EMAC_SLICE_STR("rwkv"), s->err));
    EMAC_TRY(st, gguf_add_texts(s->w, "tokenizer.ggml.tokens", TOKENIZER_BYTES, s->err));
    for (unsigned byte = 0; byte < TOKENIZER_BYTES; byte++) {
        char room[TOK_GGUF_BYTE_MAX];

        EMAC_TRY(st, gguf_add_element(s->w, tok_gguf_byte(byte, room), s->err));
    }
out:
    return st;
}

/* The text of a token, if it can be one: a word is of whole characters. */
static enum emac_status word_of(const struct writing *s, uint32_t id, struct emac_buf *out)
{
    enum emac_status st = EMAC_OK;

    emac_buf_clear(out);
    if (s->type[id] == TOK_GGUF_NORMAL)
        st = piece_expect(s, id, false, out);
    else if (s->type[id] != TOK_GGUF_UNUSED) {
        struct emac_slice form = tok_vocab_form(&s->t->vocab, id);

        st = emac_buf_append(out, form.data, form.len, s->err);
    }
    for (size_t i = 0, n; i < out->len; i += n) {
        n = emac_utf8_next(out->data + i, out->len - i, NULL);
        if (n > 0)
            continue;
        emac_buf_clear(out);
        break;
    }
    return st;
}

/* Would the same ids come if words that are tokens were not merged, as llama.cpp does it for the
 * name that is best known? Only the texts of tokens could tell, each being one word or several. */
static enum emac_status merging_tells(const struct writing *s, bool *tells)
{
    struct tokenizer other = *s->t;
    struct emac_buf word, a, b;
    enum emac_status st = EMAC_OK;

    other.ignore_merges = !s->t->ignore_merges;
    *tells = false;
    emac_buf_init(&word, TOKENIZER_JSON_MAX);
    emac_buf_init(&a, TOKENIZER_JSON_MAX);
    emac_buf_init(&b, TOKENIZER_JSON_MAX);
    for (uint32_t id = 0; id < s->vocab && !*tells; id++) {
        EMAC_TRY(st, word_of(s, id, &word));
        emac_buf_clear(&a);
        emac_buf_clear(&b);
        EMAC_TRY(st, tokenizer_encode(s->t, emac_buf_slice(&word), false, &a, s->err));
        EMAC_TRY(st, tokenizer_encode(&other, emac_buf_slice(&word), false, &b, s->err));
        *tells = a.len != b.len || (a.len > 0 && memcmp(a.data, b.data, a.len) != 0);
    }
out:
    emac_buf_release(&word);
    emac_buf_release(&a);
    emac_buf_release(&b);
    return st;
}

/* The cut's name. */
static enum emac_status cut_write(struct writing *s)
{
    const json_t *normalizer = json_object_get(s->root, "normalizer");
    const json_t *pre = json_object_get(s->root, "pre_tokenizer");
    const struct tok_cut *cut = tok_cut_of(normalizer, pre, s->t->ignore_merges), *better = NULL;
    bool tells = true;
    enum emac_status st = EMAC_OK;

    if (!s->t->ignore_merges)
        better = tok_cut_of(normalizer, pre, true);
    if (better != NULL)
        EMAC_TRY(st, merging_tells(s, &tells));
    if (!tells) {
        cut = better;
        EMAC_TRY(st, gguf_add_bool(s->w, TOK_GGUF_IGNORE_MERGES, false, s->err));
    }
    if (cut == NULL)
        return emac_fail(s->err, EMAC_UNSUPPORTED,
                         "llama.cpp has no name for how this tokenizer cuts words (normalizer, "
                         "pre_tokenizer and ignore_merges of tokenizer.json)");
    st = gguf_add_text(s->w, "tokenizer.ggml.pre", EMAC_SLICE_STR(cut->name), s->err);
out:
    return st;
}

static enum emac_status gpt2_write(struct writing *s)
{
    enum emac_status st;

    for (unsigned byte = 0; byte < 256; byte++)
        if (s->t->low_id[tok_visible((uint8_t)byte)] < 0)
            return emac_fail(s->err, EMAC_UNSUPPORTED,
                             "the byte 0x%02x is no token of its own, as GGUF files want it", byte);
    EMAC_TRY(st, types_find(s, false));
    EMAC_TRY(st, pieces_check(s, false));
    EMAC_TRY(st, merges_list(s));
    EMAC_TRY(st, gguf_add_text(s->w, "tokenizer.ggml.model", EMAC_SLICE_STR("gpt2"), s->err));
    EMAC_TRY(st, cut_write(s));
    EMAC_TRY(st, tokens_write(s));
    st = merges_write(s);
out:
    return st;
}

static enum emac_status llama_write(struct writing *s)
{
    const json_t *normalizer = json_object_get(s->root, "normalizer");
    const json_t *pre = json_object_get(s->root, "pre_tokenizer");
    enum emac_status st;

    s->space = tok_meta_is(normalizer, true);
    if ((!s->space && !tok_meta_is(normalizer, false)) || (pre != NULL && !json_is_null(pre)))
        return cannot(s, "the normalizer or the pre_tokenizer of tokenizer.json is not the usual "
                         "one of SentencePiece");
    for (unsigned byte = 0; byte < 256; byte++)
        if (!s->t->byte_fallback || s->t->byte_id[byte] < 0)
            return cannot(s, "the tokenizer has no token for each byte, <0x00> to <0xFF>, to fall "
                             "back on");
    if (s->t->ignore_merges)
        return cannot(s, "the tokenizer takes whole words without merging (ignore_merges)");
    EMAC_TRY(st, types_find(s, true));
    EMAC_TRY(st, pieces_check(s, true));
    EMAC_TRY(st, merges_list(s));
    EMAC_TRY(st, gguf_add_text(s->w, "tokenizer.ggml.model", EMAC_SLICE_STR("llama"), s->err));
    EMAC_TRY(st, gguf_add_text(s->w, "tokenizer.ggml.pre", EMAC_SLICE_STR("default"), s->err));
    EMAC_TRY(st, gguf_add_bool(s->w, "tokenizer.ggml.add_space_prefix", s->space, s->err));
    EMAC_TRY(st, tokens_write(s));
    st = scores_find(s);
out:
    return st;
}

/* -- what is around a text ----------------------------------------------------------------- */

/* A token that tokenizer_config.json names by its written form, or -1. */
static int32_t named(const struct writing *s, const char *key)
{
    const json_t *v = json_object_get(s->config, key);
    const char *name = json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
    int32_t id = -1;

    if (name == NULL || !tokenizer_find(s->t, name, &id))
        return -1;
    return id;
}

static enum emac_status id_write(struct writing *s, const char *key, int32_t id)
{
    return id >= 0 ? gguf_add_u32(s->w, key, (uint32_t)id, s->err) : EMAC_OK;
}

/* Is it put around a text? `id` becomes that token where it is not known yet. */
static enum emac_status around_find(const struct writing *s, const int32_t *around, uint32_t count,
                                    int32_t *id, bool *add)
{
    *add = count > 0;
    if (count == 1 && *id < 0)
        *id = around[0];
    if (count > 1 || (count == 1 && around[0] != *id))
        return cannot(s, "the post-processor of tokenizer.json puts other tokens around a text "
                         "than bos_token before and eos_token behind it");
    return EMAC_OK;
}

/* The ends of an answer but for `eos`. */
static enum emac_status ends_write(struct writing *s, int32_t eos)
{
    static const char *const KEYS[] = {"tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    size_t told = 0;
    enum emac_status st = EMAC_OK;

    for (uint32_t i = 0; i < s->l.end_count && st == EMAC_OK; i++) {
        if (s->l.end[i] == eos)
            continue;
        if (told == EMAC_COUNT(KEYS))
            return cannot(s, "an answer ends at more than three tokens (eos_token_id)");
        st = id_write(s, KEYS[told++], s->l.end[i]);
    }
    return st;
}

/* `needs_end`: llama.cpp takes some token for the end of a text where none is named. */
static enum emac_status special_write(struct writing *s, bool needs_end)
{
    const struct tokenizer *t = s->t;
    int32_t bos = named(s, "bos_token"), eos = named(s, "eos_token");
    bool add_bos, add_eos;
    enum emac_status st;

    if (eos < 0 && s->l.end_count > 0)
        eos = s->l.end[0];
    EMAC_TRY(st, around_find(s, t->before, t->before_count, &bos, &add_bos));
    EMAC_TRY(st, around_find(s, t->after, t->after_count, &eos, &add_eos));
    if (eos < 0 && needs_end)
        return emac_fail(s->err, EMAC_UNSUPPORTED,
                         "the tokenizer names no token for the end of a text, and llama.cpp would "
                         "take some other one for it; name it as eos_token in "
                         "tokenizer_config.json");
    EMAC_TRY(st, id_write(s, "tokenizer.ggml.bos_token_id", bos >= 0 ? bos : eos));
    EMAC_TRY(st, id_write(s, "tokenizer.ggml.eos_token_id", eos));
    EMAC_TRY(st, ends_write(s, eos));
    EMAC_TRY(st, id_write(s, "tokenizer.ggml.unknown_token_id",
                          t->unk >= 0 ? t->unk : named(s, "unk_token")));
    EMAC_TRY(st, id_write(s, "tokenizer.ggml.padding_token_id", named(s, "pad_token")));
    EMAC_TRY(st, gguf_add_bool(s->w, "tokenizer.ggml.add_bos_token", add_bos, s->err));
    st = gguf_add_bool(s->w, "tokenizer.ggml.add_eos_token", add_eos, s->err);
out:
    return st;
}

/* One template, or the one of several that is called "default". */
static enum emac_status chat_write(struct writing *s)
{
    const json_t *list = json_object_get(s->config, "chat_template"), *chat = list, *one;
    size_t i;

    json_array_foreach(list, i, one)
    {
        const char *name = json_string_value(json_object_get(one, "name"));

        if (name != NULL && strcmp(name, "default") == 0)
            chat = json_object_get(one, "template");
    }
    if (!json_is_string(chat))
        return EMAC_OK;
    return gguf_add_text(s->w, "tokenizer.chat_template",
                         EMAC_SLICE(json_string_value(chat), json_string_length(chat)), s->err);
}

enum emac_status tokenizer_to_gguf(struct gguf_writer *w, const struct language_files *files,
                                   uint32_t vocab, struct emac_err *err)
{
    struct writing s = {.w = w, .vocab = vocab, .err = err};
    enum emac_status st;

    EMAC_TRY(st, language_read(&s.l, files, vocab, err));
    s.t = s.l.tokenizer;
    s.root =
        json_loadb((const char *)files->tokenizer.data, files->tokenizer.len, JSON_ALLOW_NUL, NULL);
    s.config = json_loadb((const char *)files->tokenizer_config.data, files->tokenizer_config.len,
                          JSON_ALLOW_NUL, NULL);
    if (s.t->is_bytes)
        EMAC_TRY(st, rwkv_write(&s));
    else
        EMAC_TRY(st, s.t->maps_words ? gpt2_write(&s) : llama_write(&s));
    EMAC_TRY(st, special_write(&s, !s.t->is_bytes));
    st = chat_write(&s);
out:
    language_release(&s.l);
    json_decref(s.root);
    json_decref(s.config);
    free(s.type);
    free(s.score);
    free(s.merge);
    return st;
}

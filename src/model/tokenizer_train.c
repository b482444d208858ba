/* Training by a heap of pairs with their counts. A pair's entry names the words that it was found
 * in when it came up; a count that has changed since is put right when the entry comes to the top,
 * so only the words of a merged pair are ever looked at again.
 *
 * INV-1: a word's symbols are text[begin, begin + len), and merging only shortens it.
 * INV-2: pair.count is the sum of the changes that every merge told; an entry is acted on only if
 * its count is that. */
#include "model/tokenizer_train.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "model/tokenizer_internal.h"

struct word {
    uint64_t count, hash;
    size_t begin; /* in bytes of the words first, in symbols later: the same number */
    uint32_t len;
};

struct words_at { /* numbers of words */
    uint32_t *word;
    uint32_t count, room;
};

struct pair {
    uint32_t left, right;
    int64_t count;
    struct words_at found; /* since the last merge */
};

struct entry {
    int64_t count;
    uint32_t pair;
    struct words_at at;
};

struct tokenizer_trainer {
    struct tokenizer *splitter;
    const char *pre;       /* JSON of how words are cut */
    struct emac_buf bytes; /* of all words */
    struct word *word;
    uint32_t words, words_room;
    uint32_t *word_slot, word_mask; /* number + 1 */
    int32_t *symbol;
    struct pair *pair;
    uint32_t pairs, pairs_room;
    uint32_t *pair_slot, pair_mask;
    struct entry *heap;
    size_t entries, entries_room;
    uint32_t *touched; /* pairs that a merge has brought up */
    uint32_t touched_count, touched_room;
    struct tok_vocab vocab;
    uint32_t *token_slot, token_mask;
    int32_t (*merge)[2];
    size_t merges;
};

/* -- arrays that grow, tables by hash ------------------------------------------------------ */

static enum emac_status grow(void *array_ptr, uint32_t *room, uint32_t need, size_t size,
                             struct emac_err *err)
{
    uint32_t wanted = *room < 16 ? 4 : *room * 2;
    void **array = array_ptr, *grown;

    if (need <= *room)
        return EMAC_OK;
    if (wanted < need)
        wanted = need;
    grown = *room >= UINT32_MAX / 2 ? NULL : realloc(*array, wanted * size);
    if (grown == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "no memory to train a tokenizer on so much text");
    *array = grown;
    *room = wanted;
    return EMAC_OK;
}

static uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    return h ^ h >> 32;
}

static uint64_t bytes_hash(const uint8_t *p, size_t n)
{
    uint64_t h = n, v;

    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&v, p, 8);
        h = mix(h ^ v);
    }
    v = 0;
    if (n > 0)
        memcpy(&v, p, n);
    return mix(h ^ v);
}

/* A table of twice as many slots; `hash` tells that of a number. */
static enum emac_status table_grow(uint32_t **slot, uint32_t *mask, uint32_t used,
                                   uint64_t (*hash)(const struct tokenizer_trainer *t, uint32_t i),
                                   const struct tokenizer_trainer *t, struct emac_err *err)
{
    uint32_t slots = *slot == NULL ? 1024 : (*mask + 1) * 2;
    enum emac_status st;

    if (*slot != NULL && used < (*mask + 1) / 2)
        return EMAC_OK;
    free(*slot);
    st = emac_alloc(slot, slots, sizeof(**slot), err);
    if (st != EMAC_OK)
        return st;
    *mask = slots - 1;
    for (uint32_t i = 0; i < used; i++) {
        uint32_t at = (uint32_t)hash(t, i) & *mask;

        while ((*slot)[at] != 0)
            at = (at + 1) & *mask;
        (*slot)[at] = i + 1;
    }
    return EMAC_OK;
}

static uint64_t word_hash(const struct tokenizer_trainer *t, uint32_t i)
{
    return t->word[i].hash;
}

static uint64_t pair_hash(const struct tokenizer_trainer *t, uint32_t i)
{
    return mix((uint64_t)t->pair[i].left << 32 | t->pair[i].right);
}

static uint64_t token_hash(const struct tokenizer_trainer *t, uint32_t i)
{
    struct emac_slice form = tok_vocab_form(&t->vocab, i);

    return bytes_hash(form.data, form.len);
}

/* -- words --------------------------------------------------------------------------------- */

static enum emac_status word_take(struct tok_run *r, struct emac_slice w)
{
    struct tokenizer_trainer *t = r->ctx;
    uint64_t hash = bytes_hash(w.data, w.len);
    uint32_t at;
    enum emac_status st;

    EMAC_TRY(st, table_grow(&t->word_slot, &t->word_mask, t->words, word_hash, t, r->err));
    for (at = (uint32_t)hash & t->word_mask; t->word_slot[at] != 0; at = (at + 1) & t->word_mask) {
        struct word *known = &t->word[t->word_slot[at] - 1];

        if (known->hash == hash && known->len == w.len &&
            memcmp(t->bytes.data + known->begin, w.data, w.len) == 0) {
            known->count++;
            return EMAC_OK;
        }
    }
    EMAC_TRY(st, grow(&t->word, &t->words_room, t->words + 1, sizeof(*t->word), r->err));
    EMAC_TRY(st, emac_buf_append(&t->bytes, w.data, w.len, r->err));
    t->word[t->words] = (struct word){1, hash, t->bytes.len - w.len, (uint32_t)w.len};
    t->word_slot[at] = ++t->words;
out:
    return st;
}

enum emac_status tokenizer_trainer_add(struct tokenizer_trainer *t, struct emac_slice text,
                                       struct emac_err *err)
{
    struct tok_run r;
    enum emac_status st;

    if (text.len > TOKENIZER_TEXT_MAX)
        return emac_fail(err, EMAC_TOO_LARGE,
                         "a text of %zu bytes; a tokenizer takes at most %u at once, so split it",
                         text.len, TOKENIZER_TEXT_MAX);
    for (size_t i = 0, n; i < text.len; i += n) {
        n = text.data[i] < 0x80 ? 1 : emac_utf8_next(text.data + i, text.len - i, NULL);
        if (n == 0)
            return emac_fail(err, EMAC_INVALID, "the text is not UTF-8 at byte %zu", i);
    }
    tok_run_init(&r, t->splitter, text.len, err);
    r.word_take = word_take;
    r.ctx = t;
    st = tok_split(&r, text, true);
    tok_run_release(&r);
    return st;
}

/* -- pairs --------------------------------------------------------------------------------- */

static enum emac_status pair_find(struct tokenizer_trainer *t, uint32_t left, uint32_t right,
                                  uint32_t *out, struct emac_err *err)
{
    uint64_t hash = mix((uint64_t)left << 32 | right);
    uint32_t at;
    enum emac_status st;

    EMAC_TRY(st, table_grow(&t->pair_slot, &t->pair_mask, t->pairs, pair_hash, t, err));
    for (at = (uint32_t)hash & t->pair_mask; t->pair_slot[at] != 0; at = (at + 1) & t->pair_mask) {
        const struct pair *p = &t->pair[t->pair_slot[at] - 1];

        if (p->left == left && p->right == right) {
            *out = t->pair_slot[at] - 1;
            return EMAC_OK;
        }
    }
    EMAC_TRY(st, grow(&t->pair, &t->pairs_room, t->pairs + 1, sizeof(*t->pair), err));
    t->pair[t->pairs] = (struct pair){.left = left, .right = right};
    *out = t->pairs++;
    t->pair_slot[at] = t->pairs;
out:
    return st;
}

/* `change` more of a pair in a word; one that came up is remembered with the word. */
static enum emac_status pair_count(struct tokenizer_trainer *t, int32_t left, int32_t right,
                                   int change, uint32_t word, struct emac_err *err)
{
    struct pair *p;
    uint32_t i;
    enum emac_status st;

    EMAC_TRY(st, pair_find(t, (uint32_t)left, (uint32_t)right, &i, err));
    p = &t->pair[i];
    p->count += change * (int64_t)t->word[word].count;
    if (change < 0 || (p->found.count > 0 && p->found.word[p->found.count - 1] == word))
        return EMAC_OK;
    if (p->found.count == 0) {
        EMAC_TRY(st, grow(&t->touched, &t->touched_room, t->touched_count + 1, sizeof(*t->touched),
                          err));
        t->touched[t->touched_count++] = i;
    }
    EMAC_TRY(st,
             grow(&p->found.word, &p->found.room, p->found.count + 1, sizeof(*p->found.word), err));
    p->found.word[p->found.count++] = word;
out:
    return st;
}

/* -- the heap ------------------------------------------------------------------------------ */

static bool comes_before(const struct tokenizer_trainer *t, const struct entry *a,
                         const struct entry *b)
{
    const struct pair *p = &t->pair[a->pair], *q = &t->pair[b->pair];

    if (a->count != b->count)
        return a->count > b->count;
    return p->left != q->left ? p->left < q->left : p->right < q->right;
}

static enum emac_status heap_push(struct tokenizer_trainer *t, struct entry e, struct emac_err *err)
{
    size_t i = t->entries;

    enum emac_status st = emac_grow(&t->heap, t->entries, &t->entries_room, sizeof(*t->heap), err);

    if (st != EMAC_OK) {
        free(e.at.word);
        return st;
    }
    t->entries++;
    while (i > 0 && comes_before(t, &e, &t->heap[(i - 1) / 2])) {
        t->heap[i] = t->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    t->heap[i] = e;
    return EMAC_OK;
}

static struct entry heap_pop(struct tokenizer_trainer *t)
{
    struct entry top = t->heap[0], e = t->heap[--t->entries];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= t->entries)
            break;
        if (child + 1 < t->entries && comes_before(t, &t->heap[child + 1], &t->heap[child]))
            child++;
        if (!comes_before(t, &t->heap[child], &e))
            break;
        t->heap[i] = t->heap[child];
        i = child;
    }
    t->heap[i] = e;
    return top;
}

/* Pairs that came up since the last time go into the heap, with the words that they were found in.
 */
static enum emac_status touched_push(struct tokenizer_trainer *t, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;

    for (uint32_t i = 0; i < t->touched_count && st == EMAC_OK; i++) {
        struct pair *p = &t->pair[t->touched[i]];
        struct entry e = {p->count, t->touched[i], p->found};

        p->found = (struct words_at){0};
        if (e.count > 0)
            st = heap_push(t, e, err);
        else
            free(e.at.word);
    }
    t->touched_count = 0;
    return st;
}

/* -- merging ------------------------------------------------------------------------------- */

/* In one word, from left to right, telling each pair that goes and each that comes. */
static enum emac_status word_merge(struct tokenizer_trainer *t, uint32_t w, int32_t left,
                                   int32_t right, int32_t id, struct emac_err *err)
{
    int32_t *s = t->symbol + t->word[w].begin;
    uint32_t n = t->word[w].len, to = 0;
    enum emac_status st = EMAC_OK;

    for (uint32_t i = 0; i < n; i++) {
        if (s[i] != left || i + 1 == n || s[i + 1] != right) {
            s[to++] = s[i];
            continue;
        }
        if (to > 0) {
            EMAC_TRY(st, pair_count(t, s[to - 1], left, -1, w, err));
            EMAC_TRY(st, pair_count(t, s[to - 1], id, 1, w, err));
        }
        s[to++] = id;
        i++;
        if (i + 1 < n) {
            EMAC_TRY(st, pair_count(t, right, s[i + 1], -1, w, err));
            EMAC_TRY(st, pair_count(t, id, s[i + 1], 1, w, err));
        }
    }
    t->word[w].len = to;
out:
    return st;
}

/* The id of a token's written form; a new one when there is none yet. */
static enum emac_status token_find(struct tokenizer_trainer *t, struct emac_slice form, int32_t *id,
                                   struct emac_err *err)
{
    uint32_t at;
    enum emac_status st;

    EMAC_TRY(st, table_grow(&t->token_slot, &t->token_mask, t->vocab.count, token_hash, t, err));
    for (at = (uint32_t)bytes_hash(form.data, form.len) & t->token_mask; t->token_slot[at] != 0;
         at = (at + 1) & t->token_mask) {
        struct emac_slice known = tok_vocab_form(&t->vocab, t->token_slot[at] - 1);

        if (known.len == form.len && memcmp(known.data, form.data, form.len) == 0) {
            *id = (int32_t)t->token_slot[at] - 1;
            return EMAC_OK;
        }
    }
    *id = (int32_t)t->vocab.count;
    t->token_slot[at] = t->vocab.count + 1;
    st = tok_vocab_add(&t->vocab, form, t->vocab.count, err);
out:
    return st;
}

static enum emac_status pair_merge(struct tokenizer_trainer *t, const struct entry *e,
                                   struct emac_err *err)
{
    int32_t left = (int32_t)t->pair[e->pair].left, right = (int32_t)t->pair[e->pair].right, id;
    struct emac_slice a = tok_vocab_form(&t->vocab, (uint32_t)left);
    struct emac_slice b = tok_vocab_form(&t->vocab, (uint32_t)right);
    struct emac_buf form;
    enum emac_status st;

    emac_buf_init(&form, a.len + b.len);
    EMAC_TRY(st, emac_buf_append(&form, a.data, a.len, err));
    EMAC_TRY(st, emac_buf_append(&form, b.data, b.len, err));
    EMAC_TRY(st, token_find(t, emac_buf_slice(&form), &id, err));
    if (id == 0) /* text that reads like the special token never becomes it */
        goto out;
    t->merge[t->merges][0] = left;
    t->merge[t->merges++][1] = right;
    for (uint32_t i = 0; i < e->at.count; i++)
        EMAC_TRY(st, word_merge(t, e->at.word[i], left, right, id, err));
    st = touched_push(t, err);
out:
    emac_buf_release(&form);
    return st;
}

/* Merges may be more than new tokens: two pairs can make the same token. */
static enum emac_status merge_all(struct tokenizer_trainer *t, uint32_t vocab, struct emac_err *err)
{
    uint32_t room = 0;
    enum emac_status st = EMAC_OK;

    while (t->vocab.count < vocab && t->entries > 0) {
        struct entry top = heap_pop(t);

        if (top.count != t->pair[top.pair].count) {
            top.count = t->pair[top.pair].count;
            EMAC_TRY(st, heap_push(t, top, err));
            continue;
        }
        if (top.count < 2) {
            free(top.at.word);
            break;
        }
        st = grow(&t->merge, &room, (uint32_t)t->merges + 1, sizeof(*t->merge), err);
        if (st == EMAC_OK)
            st = pair_merge(t, &top, err);
        free(top.at.word);
        if (st != EMAC_OK)
            goto out;
    }
out:
    return st;
}

/* -- the whole ----------------------------------------------------------------------------- */

/* The special token, then the bytes in order of their visible characters. id_of: a byte's id. */
static enum emac_status alphabet_make(struct tok_vocab *v, int32_t id_of[256], struct emac_err *err)
{
    uint8_t text[4];
    enum emac_status st;

    EMAC_TRY(st, tok_vocab_add(v, EMAC_SLICE_STR(TOKENIZER_END), 0, err));
    for (uint32_t c = 0; c < 0x144; c++) {
        int byte = tok_visible_byte(c);

        if (byte < 0)
            continue;
        id_of[byte] = (int32_t)v->count;
        EMAC_TRY(st, tok_vocab_add(v, EMAC_SLICE(text, tok_utf8_put(text, c)), v->count, err));
    }
    EMAC_ASSERT(v->count == TOKENIZER_TRAIN_MIN);
out:
    return st;
}

static enum emac_status pairs_begin(struct tokenizer_trainer *t, const int32_t id_of[256],
                                    struct emac_err *err)
{
    enum emac_status st;

    EMAC_TRY(st, emac_alloc(&t->symbol, t->bytes.len + 1, sizeof(*t->symbol), err));
    for (size_t i = 0; i < t->bytes.len; i++)
        t->symbol[i] = id_of[t->bytes.data[i]];
    for (uint32_t w = 0; w < t->words; w++) {
        const int32_t *s = t->symbol + t->word[w].begin;

        for (uint32_t i = 0; i + 1 < t->word[w].len; i++)
            EMAC_TRY(st, pair_count(t, s[i], s[i + 1], 1, w, err));
    }
    st = touched_push(t, err);
out:
    return st;
}

static const char *const PATTERNS[] = {"gpt2", "llama3", "bytes"};

static enum emac_status json_write(const struct tokenizer_trainer *t, struct emac_buf *out,
                                   struct emac_err *err)
{
    static const struct tok_parts_added END = {0, true};
    struct tok_parts parts = {
        .pre = t->pre,
        .decoder = "{\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, "
                   "\"use_regex\": true}",
        .vocab = &t->vocab,
        .merge = (const int32_t(*)[2])t->merge,
        .merges = t->merges,
        .added = &END,
        .added_count = 1,
    };

    return tok_json_write(&parts, out, err);
}

/* A tokenizer that is not trained yet cuts words as the trained one will. */
static enum emac_status splitter_make(struct tokenizer_trainer *t, struct emac_err *err)
{
    struct emac_buf json;
    enum emac_status st;

    emac_buf_init(&json, (size_t)1 << 20);
    EMAC_TRY(st, json_write(t, &json, err));
    st = tokenizer_read(emac_buf_slice(&json), &t->splitter, err);
out:
    emac_buf_release(&json);
    return st;
}

enum emac_status tokenizer_trainer_new(const char *pattern, struct tokenizer_trainer **out,
                                       struct emac_err *err)
{
    struct tokenizer_trainer *t = NULL;
    int32_t id_of[256];
    enum emac_status st;

    *out = NULL;
    EMAC_TRY(st, emac_alloc(&t, 1, sizeof(*t), err));
    tok_vocab_init(&t->vocab);
    emac_buf_init(&t->bytes, (size_t)1 << 36);
    for (size_t i = 0; i < EMAC_COUNT(PATTERNS); i++)
        if (strcmp(pattern, PATTERNS[i]) == 0)
            t->pre = tok_pre_json(pattern);
    if (t->pre == NULL) {
        st = emac_fail(err, EMAC_INVALID, "unknown pattern '%s': gpt2, llama3, bytes", pattern);
        goto out;
    }
    EMAC_TRY(st, alphabet_make(&t->vocab, id_of, err));
    st = splitter_make(t, err);
out:
    if (st == EMAC_OK)
        *out = t;
    else
        tokenizer_trainer_free(t);
    return st;
}

void tokenizer_trainer_free(struct tokenizer_trainer *t)
{
    if (t == NULL)
        return;
    tokenizer_free(t->splitter);
    emac_buf_release(&t->bytes);
    tok_vocab_release(&t->vocab);
    for (uint32_t i = 0; i < t->pairs; i++)
        free(t->pair[i].found.word);
    for (size_t i = 0; i < t->entries; i++)
        free(t->heap[i].at.word);
    free(t->word);
    free(t->word_slot);
    free(t->symbol);
    free(t->pair);
    free(t->pair_slot);
    free(t->heap);
    free(t->touched);
    free(t->token_slot);
    free(t->merge);
    free(t);
}

enum emac_status tokenizer_trainer_write(struct tokenizer_trainer *t, uint32_t vocab,
                                         uint32_t *made, struct emac_buf *json,
                                         struct emac_err *err)
{
    int32_t id_of[256];
    enum emac_status st;

    EMAC_ASSERT(t->symbol == NULL);
    if (vocab < TOKENIZER_TRAIN_MIN || vocab > TOKENIZER_VOCAB_MAX)
        return emac_fail(err, EMAC_INVALID, "a vocabulary of %u tokens; it must be %d to %u", vocab,
                         TOKENIZER_TRAIN_MIN, TOKENIZER_VOCAB_MAX);
    if (t->words == 0)
        return emac_fail(err, EMAC_INVALID, "there is no text to make a tokenizer of");
    tok_vocab_release(&t->vocab);
    tok_vocab_init(&t->vocab);
    EMAC_TRY(st, alphabet_make(&t->vocab, id_of, err));
    EMAC_TRY(st, pairs_begin(t, id_of, err));
    EMAC_TRY(st, merge_all(t, vocab, err));
    *made = t->vocab.count;
    st = json_write(t, json, err);
out:
    return st;
}

enum emac_status tokenizer_trained_config(struct emac_buf *out, struct emac_err *err)
{
    return emac_buf_printf(out, err,
                           "{\n"
                           "  \"add_prefix_space\": false,\n"
                           "  \"added_tokens_decoder\": {\n"
                           "    \"0\": {\"content\": \"%s\", \"lstrip\": false, \"normalized\": "
                           "false, \"rstrip\": false, \"single_word\": false, \"special\": true}\n"
                           "  },\n"
                           "  \"bos_token\": null,\n"
                           "  \"clean_up_tokenization_spaces\": false,\n"
                           "  \"eos_token\": \"%s\",\n"
                           "  \"model_max_length\": 1048576,\n"
                           "  \"tokenizer_class\": \"PreTrainedTokenizerFast\",\n"
                           "  \"unk_token\": null\n"
                           "}\n",
                           TOKENIZER_END, TOKENIZER_END);
}

enum emac_status tokenizer_trained_special(struct emac_buf *out, struct emac_err *err)
{
    return emac_buf_printf(out, err, "{\n  \"eos_token\": \"%s\"\n}\n", TOKENIZER_END);
}

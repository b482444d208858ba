/* What the parts of the tokenizer share. Order of a text's way: tokenizer_added.c (added tokens are
 * cut out), tokenizer_text.c (normalisation), tokenizer_split.c (words), tokenizer_bpe.c (ids). */
#ifndef EMAC_MODEL_TOKENIZER_INTERNAL_H
#define EMAC_MODEL_TOKENIZER_INTERNAL_H

#include "model/tokenizer.h"

#define TOK_STEPS_MAX    32     /* steps of a normalizer, pre-tokenizer or decoder */
#define TOK_ADDED_BYTES  1024   /* of one added token */
#define TOK_TEMPLATE_MAX 64     /* ids around a text, each side */
#define TOK_META         0x2581 /* SentencePiece's visible space */
#define TOK_CACHE_LEAST  2048   /* bytes of a text whose words are remembered */
/* A text may become this many times longer by its steps, and then some. */
#define TOK_GROWTH_MAX   64
#define TOK_GROWTH_SPARE ((size_t)1 << 20)

/* -- bytes as visible characters (byte-level BPE, Radford et al. 2019) ------------------------ */

/* Printable Latin-1 bytes are themselves, the 68 others U+0100 onwards in order. */
uint32_t tok_visible(uint8_t byte);
/* The byte of a visible character, or -1. */
int tok_visible_byte(uint32_t c);
size_t tok_utf8_put(uint8_t out[4], uint32_t c); /* c is a code point */

/* -- written forms ----------------------------------------------------------------------------- */

struct tok_span {
    uint32_t at, len; /* at UINT32_MAX: there is none */
};

/* Written forms by id, and ids by written form (an index in order of bytes). */
struct tok_vocab {
    struct emac_buf text;
    struct tok_span *written; /* [count] */
    uint32_t count, room;     /* one more than the largest id */
    int32_t *order;           /* [used], made by tok_vocab_index */
    uint32_t used;
};

void tok_vocab_init(struct tok_vocab *v);
void tok_vocab_release(struct tok_vocab *v);
/* INVALID when the id has another form already. */
enum emac_status tok_vocab_add(struct tok_vocab *v, struct emac_slice form, uint32_t id,
                               struct emac_err *err);
/* To be called before the first find, and again after more were added. INVALID when two ids have
 * one form. */
enum emac_status tok_vocab_index(struct tok_vocab *v, struct emac_err *err);
int32_t tok_vocab_find(const struct tok_vocab *v, struct emac_slice form); /* -1: none */
struct emac_slice tok_vocab_form(const struct tok_vocab *v, uint32_t id);

/* -- patterns ---------------------------------------------------------------------------------- */

/* What finds matches in a text: a regular expression, a literal text, or one character of a class.
 */
enum tok_pattern_kind { TOK_NONE, TOK_REGEX, TOK_LITERAL, TOK_CHAR, TOK_RUN };
struct tok_regex;
struct tok_pattern {
    enum tok_pattern_kind kind;
    struct tok_regex *regex;
    struct emac_slice literal; /* owned */
    /* TOK_CHAR: characters of a class other than 0; TOK_RUN: runs of characters of one such class
     */
    int (*class_of)(uint32_t c);
};

/* `pattern` in Oniguruma's language (Ruby's syntax), translated for PCRE2 so that both find the
 * same (docs/tokenizers.md); UNSUPPORTED names what cannot be said. */
enum emac_status tok_regex_new(struct emac_slice pattern, struct tok_regex **out,
                               struct emac_err *err);
void tok_regex_free(struct tok_regex *re);

/* One walk through a text. Matches come in order and do not overlap; an empty one right behind
 * another match is left out, as Hugging Face's walk does. */
struct tok_walk {
    const struct tok_pattern *pattern;
    struct emac_slice text; /* UTF-8 */
    size_t from;            /* where the next search begins */
    size_t last;            /* end of the last match, SIZE_MAX before the first */
    void *match;            /* PCRE2's */
    void *limits;
};
enum emac_status tok_walk_init(struct tok_walk *w, const struct tok_pattern *p,
                               struct emac_slice text, struct emac_err *err);
/* *found false at the end. TOO_LARGE when the expression takes too many steps on this text. */
enum emac_status tok_walk_next(struct tok_walk *w, bool *found, size_t *start, size_t *end,
                               struct emac_err *err);
void tok_walk_release(struct tok_walk *w);
enum emac_status tok_pattern_literal(struct tok_pattern *p, struct emac_slice text,
                                     struct emac_err *err);
void tok_pattern_release(struct tok_pattern *p);

/* Classes of characters for patterns: 0 is "not in it". */
int tok_class_space(uint32_t c);  /* White_Space */
int tok_class_number(uint32_t c); /* N */
int tok_class_punct(uint32_t c);  /* P, and ASCII's punctuation and symbols */
int tok_class_word(uint32_t c);   /* 1: a character of words (UTS 18), 2: else, 0: white space */

/* -- steps ------------------------------------------------------------------------------------- */

enum tok_step_kind {
    TOK_STEP_REPLACE,   /* matches by `text` */
    TOK_STEP_PREPEND,   /* `text`, if the text is not empty */
    TOK_STEP_LEAD,      /* `text`, unless the text begins with it */
    TOK_STEP_LEAD_ONCE, /* the same, only where the whole text begins */
    TOK_STEP_FORM,      /* a Unicode normalisation form */
    TOK_STEP_TRIM,      /* white space at the ends */
    TOK_STEP_MAP,       /* bytes to visible characters */
    TOK_STEP_SPLIT,     /* into several */
    /* of decoders */
    TOK_STEP_UNMAP, /* visible characters to bytes */
    TOK_STEP_BYTE,  /* <0x41> to its byte */
    TOK_STEP_STRIP, /* `text` (one character) off the ends, at most start and stop of it */
    TOK_STEP_META,  /* `text` (one character) to a space; of the first token, off */
    TOK_STEP_JOIN,  /* a space before all tokens but the first */
};

enum tok_behaviour { TOK_ISOLATED, TOK_REMOVED, TOK_CONTIGUOUS, TOK_WITH_PREVIOUS, TOK_WITH_NEXT };

struct tok_step {
    enum tok_step_kind kind;
    struct tok_pattern pattern;
    struct emac_slice text; /* owned */
    enum tok_behaviour behaviour;
    bool invert;               /* what is between the matches is what is meant */
    bool left, right;          /* TRIM */
    bool composed, compatible; /* FORM: NFC or NFKC; NFKC or NFKD */
    uint32_t start, stop;      /* STRIP */
    bool first_only;           /* STRIP behind a Fuse: of the text's first token only */
};

struct tok_steps {
    struct tok_step step[TOK_STEPS_MAX];
    uint32_t count;
};
void tok_steps_release(struct tok_steps *s);
/* A new step of the kind, zeroed; NULL when there are too many. */
struct tok_step *tok_steps_add(struct tok_steps *s, enum tok_step_kind kind);

/* What a text becomes by a step that does not split: appended to `out`. at_start: the whole text
 * begins here. */
enum emac_status tok_step_apply(const struct tok_step *s, struct emac_slice text, bool at_start,
                                struct emac_buf *out, struct emac_err *err);

/* -- the tokenizer ------------------------------------------------------------------------------
 */

struct tok_merge {
    uint32_t right, rank, id;
};

struct tok_added {
    struct emac_slice content; /* owned: as it is looked for */
    int32_t id;
    bool single_word, left, right, normalized, special;
};

/* Added tokens by their bytes, for a search of the longest at each place. */
struct tok_finder {
    const struct tok_added **sorted;
    uint32_t count;
    uint32_t begin[257]; /* those whose first byte is b: [begin[b], begin[b + 1]) */
};

struct tokenizer {
    bool is_bytes; /* any bytes: token = byte */
    struct tok_vocab vocab;
    uint32_t
        *merge_begin; /* [vocab.count + 1]: merges whose left part is an id, by the right one */
    struct tok_merge *merge; /* [merges] */
    uint32_t merges;
    int32_t low_id[512];  /* ids of characters below U+0200, -1: none */
    int32_t byte_id[256]; /* of <0x00> ..., -1: none */
    int32_t unk;          /* -1: what is unknown is left out */
    bool fuse_unk, byte_fallback, ignore_merges;
    bool cuts_at_meta; /* no merge crosses the place before a visible space */
    bool maps_words;   /* the last step is MAP, done word by word */
    struct tok_steps normal, split;
    struct tok_added *added;
    uint32_t added_count;
    struct tok_finder raw, normalized;
    int32_t before[TOK_TEMPLATE_MAX], after[TOK_TEMPLATE_MAX];
    uint32_t before_count, after_count;
    uint8_t *special; /* [vocab.count] */
    struct emac_buf piece_text;
    struct tok_span *piece, *first_piece; /* [vocab.count] */
};

/* A walk over a text's words: what it needs for a while, and who is given each word. */
struct tok_run {
    const struct tokenizer *t;
    enum emac_status (*word_take)(struct tok_run *r, struct emac_slice word);
    void *ctx;
    struct emac_buf *out;
    struct emac_err *err;
    struct emac_buf scratch[TOK_STEPS_MAX]; /* a text a step of `split` */
    bool caches;                            /* the text is long enough that words come again */
    struct tok_cache *cache;
    struct tok_symbol *symbol;
    struct tok_heap_item *heap;
    size_t symbols, heap_count; /* room; used */
    struct emac_buf word;       /* a word with its bytes made visible */
};

/* Set up for texts of up to `n` bytes; release whatever came of it. */
void tok_run_init(struct tok_run *r, const struct tokenizer *t, size_t n, struct emac_err *err);
void tok_run_release(struct tok_run *r);
/* Words of a normalised text, each given to word_take. */
enum emac_status tok_split(struct tok_run *r, struct emac_slice text, bool at_start);
/* A word_take: ids of the word, appended to r->out. */
enum emac_status tok_word(struct tok_run *r, struct emac_slice word);
/* The same for a tokenizer that cuts_at_meta. */
enum emac_status tok_word_cut(struct tok_run *r, struct emac_slice word);
void tok_word_release(struct tok_run *r);

/* -- writing ------------------------------------------------------------------------------------
 */

struct tok_parts_added {
    int32_t id;
    bool special;
};

/* What a tokenizer.json is made of; the parts are JSON texts, NULL for null. */
struct tok_parts {
    const char *normalizer, *pre, *post, *decoder;
    const char *unk; /* NULL: none */
    bool fuse_unk, byte_fallback, ignore_merges;
    const struct tok_vocab *vocab;
    const int32_t (*merge)[2]; /* [merges], by rank */
    size_t merges;
    const struct tok_parts_added *added; /* [added_count], in order of ids */
    size_t added_count;
};
enum emac_status tok_json_write(const struct tok_parts *p, struct emac_buf *out,
                                struct emac_err *err);
/* A JSON string with its quotes. INVALID for what is no UTF-8. */
enum emac_status tok_string_write(struct emac_slice text, struct emac_buf *out,
                                  struct emac_err *err);

#define TOK_GPT2_PATTERN                                                                           \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
/* The pre-tokenizer of a model as JSON: gpt2, llama3, qwen2; digits (StarCoder, SmolLM); bytes
 * (lines, within which anything may merge). NULL for another name. */
const char *tok_pre_json(const char *name);

/* -- added tokens -------------------------------------------------------------------------------
 */

enum emac_status tok_finder_init(struct tok_finder *f, const struct tok_added *added, uint32_t n,
                                 bool normalized, struct emac_err *err);
void tok_finder_release(struct tok_finder *f);
/* The next added token at or behind *from, which moves behind the match; false when there is none.
 * [*start, *end) with the white space that it takes, not before `floor`. with_special false:
 * special ones are text. */
bool tok_finder_next(const struct tok_finder *f, struct emac_slice text, size_t floor,
                     bool with_special, size_t *from, size_t *start, size_t *end, int32_t *id);

/* -- decoding ------------------------------------------------------------------------------------
 */

/* Make the pieces of all ids by the steps. */
enum emac_status tok_pieces_make(struct tokenizer *t, const struct tok_steps *decoder,
                                 struct emac_err *err);

#endif

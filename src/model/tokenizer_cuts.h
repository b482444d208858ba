/* How byte-level tokenizers cut words, by the names that llama.cpp has for it (its
 * convert_hf_to_gguf_update.py), and what GGUF files say of tokens. */
#ifndef EMAC_MODEL_TOKENIZER_CUTS_H
#define EMAC_MODEL_TOKENIZER_CUTS_H

#include <jansson.h>

#include "model/tokenizer_internal.h"

struct tok_cut {
    const char *name; /* of "tokenizer.ggml.pre" */
    const char *pre;  /* of tok_pre_json */
    bool ignore_merges;
    bool composed; /* the text is made NFC first, by who converts: llama.cpp takes it as it is */
};
/* EMAC's own key: whether merges are ignored, where a name was written that says otherwise and it
 * makes no difference to the vocabulary. */
#define TOK_GGUF_IGNORE_MERGES "emac.tokenizer.ignore_merges"
/* Of several names that mean the same the first is the one to write. */
#define TOK_CUTS               14
extern const struct tok_cut tok_cuts[TOK_CUTS];

/* NULL when there is none. */
const struct tok_cut *tok_cut_find(struct emac_slice name);
/* The cut that a tokenizer.json says, or NULL: the same steps with the same settings, but for what
 * is about offsets, and however they are nested. */
const struct tok_cut *tok_cut_of(const json_t *normalizer, const json_t *pre, bool ignore_merges);

/* SentencePiece's: spaces become a visible one, and where `space` one is put before. */
const char *tok_meta_json(bool space);
/* Is the normalizer that one? */
bool tok_meta_is(const json_t *normalizer, bool space);

/* Types of tokens. */
enum tok_gguf_type {
    TOK_GGUF_NORMAL = 1,
    TOK_GGUF_UNKNOWN,
    TOK_GGUF_CONTROL,
    TOK_GGUF_USER_DEFINED,
    TOK_GGUF_UNUSED,
    TOK_GGUF_BYTE
};

/* What stands for an id that has no token, as llama.cpp's converter writes it. */
#define TOK_GGUF_PAD_MAX 24
struct emac_slice tok_gguf_pad(uint32_t id, char room[TOK_GGUF_PAD_MAX]);
/* How a tokenizer "rwkv" writes a token of one byte: \x41. */
#define TOK_GGUF_BYTE_MAX 8
struct emac_slice tok_gguf_byte(unsigned byte, char room[TOK_GGUF_BYTE_MAX]);

#endif

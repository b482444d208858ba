/* A model's tokenizer as GGUF files have it ("tokenizer.ggml.*"): the inverse of
 * tokenizer_from_gguf, such that llama.cpp gives the same ids.
 *
 *   rwkv    the byte tokenizer: its 256 tokens are "\x00" to "\xff". llama.cpp cuts a text into
 *           the longest tokens then, so into bytes, whatever they are; and it assumes no special
 *           tokens. (Of "gpt2" it does: there token 11 would end a text.)
 *
 *   gpt2    byte-level BPE that cuts words in a way that llama.cpp has a name for
 *           (tokenizer_cuts.h); all 256 bytes must be tokens. A normalizer NFC is named with the
 *           cut, and llama.cpp leaves it to who has the text. Llama 3's name goes with merges that
 *           are ignored for words that are tokens; it is taken as well where each token's text
 *           shows that this makes no difference.
 *
 *   llama   SentencePiece's BPE with byte fallback. llama.cpp joins those neighbours first whose
 *           token has the highest score, and knows no merges: so the merges must be all ways to
 *           make a token of two others, and those that make one token must follow on each other.
 *           The scores say the order of the tokens. Runs of spaces at the end of the merges may be
 *           in no such order: they get one score, if joining the leftmost gives the same ids, and
 *           the merges are in the file as well, for tokenizer_from_gguf.
 *
 * Ids that no token has become "[PAD<id>]", unused. Special tokens are "control", which are
 * recognised in a text only where the caller says so, as here; other added ones "user defined".
 * Ends of an answer: the first is "eos", the others "eot" and "eom". Where two added tokens overlap
 * in a text llama.cpp may recognise the other one.
 *
 * All else is UNSUPPORTED in a sentence that names the part: other models, normalizers, cuts and
 * decoders, added tokens that take white space or want to stand alone, anything but one token put
 * before and behind a text, and gpt2 and llama without an end of a text, because llama.cpp has one
 * always. */
#ifndef EMAC_MODEL_TOKENIZER_TO_GGUF_H
#define EMAC_MODEL_TOKENIZER_TO_GGUF_H

#include "codec/gguf_write.h"
#include "model/language.h"

/* `vocab` is the model's: one token a row of its embedding. The files are as language_read takes
 * them. The chat template comes with it. */
enum emac_status tokenizer_to_gguf(struct gguf_writer *w, const struct language_files *files,
                                   uint32_t vocab, struct emac_err *err);

#endif

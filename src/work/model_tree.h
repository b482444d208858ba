/* A model directory in a store: a UnixFS directory whose files have Hugging Face's names.
 *
 *   whole   config.json, model.safetensors (and the tokenizer's texts)
 *   adapter adapter_config.json, adapter_model.safetensors (PEFT's), and `base`, the directory of
 *           the model that it adapts
 *   head    config.json, head.safetensors (what was trained), and `base`
 *
 * LICENSE and README.md may be there. A base is always a whole model. Weights may be private: then
 * the link of their name leads to a sealed file (work/sealed.h), whose head is their table of
 * tensors; the other files are public, as the architecture of a model has to be. */
#ifndef EMAC_WORK_MODEL_TREE_H
#define EMAC_WORK_MODEL_TREE_H

#include "codec/safetensors.h"
#include "compute/device.h"
#include "store/store.h"
#include "work/sealed.h"

#define MODEL_TEXT_MAX (1u << 20)

enum model_file {
    MODEL_CONFIG,
    MODEL_WEIGHTS,
    MODEL_ADAPTER_CONFIG,
    MODEL_ADAPTER,
    MODEL_HEAD,
    MODEL_BASE, /* a directory */
    MODEL_LICENCE,
    MODEL_README,
    MODEL_TOKENIZER, /* this and the next three: the tokenizer's texts */
    MODEL_TOKENIZER_CONFIG,
    MODEL_SPECIAL_TOKENS,
    MODEL_GENERATION,
    MODEL_FILE_COUNT
};
const char *model_file_name(enum model_file file); /* "model.safetensors" */

struct model_tree {
    struct cid dir;
    struct cid file[MODEL_FILE_COUNT]; /* none: not there */
    uint64_t tree_size;                /* bytes of all blocks below the directory */
    uint64_t link_size[MODEL_FILE_COUNT];
};
/* NOT_FOUND when the directory's block is not in the store, INVALID when it is no directory. */
enum emac_status model_tree_read(struct store *s, const struct cid *dir, struct model_tree *out,
                                 struct emac_err *err);
bool model_tree_has(const struct model_tree *m, enum model_file file);
/* Replaces the contents of out; TOO_LARGE over its max. NOT_FOUND naming the file that the
 * directory does not hold. */
enum emac_status model_tree_file(struct store *s, const struct model_tree *m, enum model_file file,
                                 struct emac_buf *out, struct emac_err *err);

/* What its config.json says. */
struct model_config;
enum emac_status model_tree_config(struct store *s, const struct model_tree *m,
                                   struct model_config *out, struct emac_err *err);
/* Are its own weights private? */
bool model_tree_is_private(const struct model_tree *m);
/* A file of weights, opened by its key from the ring if it is private (FORBIDDEN without). What is
 * in `out` then is the caller's to wipe: model_weights_release. */
enum emac_status model_tree_weights(struct store *s, const struct model_tree *m,
                                    enum model_file file, const struct sealed_ring *keys,
                                    struct emac_buf *out, struct emac_err *err);
/* Zeros over what may have come of private weights, then emac_buf_release. */
void model_weights_release(struct emac_buf *weights);
/* The tensors of a safetensors file; only its header is read, of a private one the public copy.
 * Release the index in any case. */
enum emac_status model_tree_index(struct store *s, const struct cid *file, struct st_index *out,
                                  struct emac_err *err);
/* The tokenizer's texts, as far as there are any: those of the base where the directory is an
 * adapter or a head without its own. */
#define MODEL_TEXTS (MODEL_FILE_COUNT - MODEL_TOKENIZER)
struct language; /* model/language.h */
struct model_texts {
    struct emac_buf text[MODEL_TEXTS]; /* empty: not there */
};
void model_texts_init(struct model_texts *t);
void model_texts_release(struct model_texts *t);
struct emac_buf *model_text(struct model_texts *t, enum model_file file);
/* The directory that has them. */
enum emac_status model_texts_find(struct store *s, const struct cid *dir, struct model_tree *out,
                                  struct emac_err *err);
enum emac_status model_texts_read(struct store *s, const struct cid *dir, struct model_texts *out,
                                  struct emac_err *err);
/* How a model with this config.json and these texts speaks. Release *out in any case. */
enum emac_status model_texts_language(struct model_texts *t, struct emac_slice config,
                                      uint32_t vocab, struct language *out, struct emac_err *err);

/* The whole model: its config.json and the bytes of its model.safetensors, those of the base merged
 * with what was trained where the directory is an adapter or a head (tune_merge). Both buffers are
 * the caller's, initialised with what they may hold. `dev` is a CPU's. Private parts are opened by
 * `keys` (NULL: none is there). */
enum emac_status model_tree_load(struct store *s, const struct cid *dir, struct device *dev,
                                 const struct sealed_ring *keys, struct emac_buf *config,
                                 struct emac_buf *weights, struct emac_err *err);

#endif

/* Models of the Llama family as GGUF files that llama.cpp reads: the inverse of llama_from_gguf
 * (convert.h).
 *
 * What is said of a model: sizes, the base of the rotary angles and their scaling, the epsilon of
 * the norms, as binary32. Architecture "llama", with the rows of q and k in rotary pairs, or
 * "qwen2" where q, k and v have biases. A linear scaling is "rope.scaling.*", a llama3 one the
 * tensor "rope_freqs.weight" (gguf_names.h), which "qwen2" cannot have; there heads must make up
 * the hidden size as well. A tied output is left out.
 *
 * Types: matrices keep theirs (F32, BF16, blocks bit for bit) or become what is asked for; one
 * whose width is no multiple of a block stays. Vectors are F32, as such readers want them. So
 * llama_from_gguf gives back the model, bit for bit, where no type was asked for and numbers of
 * its configuration are binary32's. */
#ifndef EMAC_MODEL_TO_GGUF_H
#define EMAC_MODEL_TO_GGUF_H

#include "codec/gguf_write.h"
#include "codec/safetensors.h"
#include "model/llama.h"

/* A model.safetensors wherever it lies: bytes [offset, offset + n) of the file. */
struct weights_reader {
    enum emac_status (*read)(void *ctx, uint64_t offset, void *out, size_t n, struct emac_err *err);
    void *ctx;
};

/* Values and tensors of the model, whose weights `idx` lists; `name` is what readers show. `type`
 * is an enum gguf_type, or GGUF_AS_IT_IS. UNSUPPORTED for what GGUF cannot say. */
#define GGUF_AS_IT_IS (-1)
enum emac_status llama_to_gguf(struct gguf_writer *w, const struct llama_config *c,
                               const struct st_index *idx, int type, const char *name,
                               struct emac_err *err);
/* Their data, after gguf_write_begin, with the same arguments. About a MiB of the weights is in
 * memory at a time, or a head's rows. */
enum emac_status llama_to_gguf_data(struct gguf_writer *w, const struct llama_config *c,
                                    const struct st_index *idx, int type,
                                    struct weights_reader from, struct emac_err *err);

/* By the names that users give types: those of quant_find, "f32", "f16", "bf16". GGUF_AS_IT_IS
 * when unknown. */
int gguf_type_find(const char *name);

#endif

/* A checkpoint in several safetensors files, the parts, as Hugging Face's tools write it: beside
 * them lies model.safetensors.index.json,
 *
 *   {"metadata": {"total_size": BYTES}, "weight_map": {TENSOR: PART, ...}}
 *
 * (huggingface.co/docs/safetensors, "Sharded checkpoints"). Parts are joined into one canonical
 * bundle (safetensors.h), so a model has the same bytes and CID however it was cut.
 *
 * A part's name is that of a file beside the index: 1 to 255 letters, digits, '.', '_' and '-', of
 * which the first is no '.', ending in ".safetensors"; so no path leads elsewhere. Nothing is read
 * here: the caller brings the parts' headers. */
#ifndef EMAC_CODEC_ST_PARTS_H
#define EMAC_CODEC_ST_PARTS_H

#include "codec/safetensors.h"

#define ST_PARTS_FILE     "model.safetensors.index.json"
#define ST_PARTS_MAX      4096
#define ST_PARTS_JSON_MAX (8u << 20)

struct st_parts {
    size_t count;
    char **name; /* of the parts, in byte order, each once */
    size_t tensors;
    struct st_parts_tensor {
        char *name;
        uint32_t part; /* place in `name` */
    } * tensor;        /* in byte order of the names */
};

/* The text of an index. INVALID, UNSUPPORTED or TOO_LARGE with what is wrong; a tensor that is
 * listed twice is refused. What "metadata" holds is not looked at. */
enum emac_status st_parts_parse(struct st_parts *out, const void *json, size_t n,
                                struct emac_err *err);
/* Appends the text; total_size is the sum of `bytes` over the tensors. */
enum emac_status st_parts_write(const struct st_parts *p, uint64_t total_size, struct emac_buf *out,
                                struct emac_err *err);
void st_parts_release(struct st_parts *p);

/* ---- joining ---- */

/* Where a tensor of the bundle lies among the parts. */
struct st_piece {
    uint32_t part;
    uint64_t begin; /* in the part's file */
};
/* Lay out the bundle that parts with the headers index[p->count] make: `bundle` as
 * st_bundle_layout leaves it, its header's bytes appended to `header`, and *piece (free it) in the
 * order of bundle->tensor. Every part must hold what the index says it does, and no more: INVALID
 * naming the tensor and the part. Release the bundle in any case. */
enum emac_status st_parts_join(const struct st_parts *p, const struct st_index *index,
                               struct st_index *bundle, struct st_piece **piece,
                               struct emac_buf *header, struct emac_err *err);

/* ---- cutting ---- */

/* The parts of a file of `whole`'s tensors, in its order: a part is full when the next tensor would
 * bring its data over `most` bytes; a larger tensor has a part to itself. Names are Hugging Face's,
 * "model-00001-of-00003.safetensors". TOO_LARGE when there were more than ST_PARTS_MAX. */
enum emac_status st_parts_cut(const struct st_index *whole, uint64_t most, struct st_parts *out,
                              struct emac_err *err);
/* The part of the tensor of that name, which is there. */
uint32_t st_parts_of(const struct st_parts *p, const char *tensor);

#endif

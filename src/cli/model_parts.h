/* Checkpoints in several files (codec/st_parts.h) in directories of the file system. */
#ifndef EMAC_CLI_MODEL_PARTS_H
#define EMAC_CLI_MODEL_PARTS_H

#include "cli/cli.h"
#include "codec/safetensors.h"
#include "codec/unixfs.h"
#include "store/store.h"

/* Does `dir` hold an index of parts? */
bool model_parts_there(struct cli *c, const char *dir);
/* The parts of `dir` joined: what model.safetensors would hold. INVALID naming the part that is
 * missing, or what is wrong with it; TOO_LARGE over out->max. */
enum emac_status model_parts_read(struct cli *c, const char *dir, struct emac_buf *out);
/* The tensors of the safetensors file `path`, of which the header alone is read. Release the index
 * in any case. */
enum emac_status model_parts_header(struct cli *c, const char *path, struct st_index *out);

/* The joined file read in pieces: its index, and bytes [offset, offset + n) that lie in the data of
 * one tensor. Close and release in any case; NULL is fine. */
struct model_joined;
enum emac_status model_joined_open(struct cli *c, const char *dir, struct model_joined **out,
                                   struct st_index *idx);
enum emac_status model_joined_read(struct model_joined *j, uint64_t offset, void *out, size_t n);
void model_joined_close(struct model_joined *j);

/* The same put into the store piece by piece; the link's name is left as it is. To be called inside
 * a store_building. */
enum emac_status model_parts_import(struct cli *c, struct store *s, const char *dir,
                                    struct unixfs_link *link);
/* Write the safetensors file `file` into `dir` as parts of at most `most` bytes of data each, and
 * the index. One part at a time is held in memory. A model.safetensors that is in `dir` is removed,
 * because who reads the directory would take it. */
enum emac_status model_parts_export(struct cli *c, struct store *s, const struct cid *file,
                                    uint64_t most, const char *dir);

#endif

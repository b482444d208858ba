/* A growing list of blocks, each CID once; for the files plan_*.c. */
#ifndef EMAC_WORK_PLAN_BLOCKS_H
#define EMAC_WORK_PLAN_BLOCKS_H

#include "codec/unixfs.h"
#include "work/model_tree.h"
#include "work/planner.h"

struct block_list {
    struct job_block *block;
    size_t count, cap;
};

/* Copies the data. */
enum emac_status blocks_add(struct block_list *l, const struct cid *cid, const void *data, size_t n,
                            struct emac_err *err);
/* The same as a unixfs_block_fn; ctx is the list. */
unixfs_block_fn blocks_emit;
/* Add a whole file as UnixFS blocks. */
enum emac_status blocks_add_file(struct block_list *l, const void *data, size_t n, struct cid *root,
                                 uint64_t *tree_size, struct emac_err *err);

/* The files of a model directory as they come together; for the families (work/family.h). */
struct model_dir;
/* Add `text` as file `name`; `made` is the status of writing the text, which is cleared. */
enum emac_status model_dir_text(struct model_dir *d, const char *name, struct emac_buf *text,
                                enum emac_status made, struct emac_err *err);

#endif

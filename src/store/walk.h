/* Walking a DAG of blocks in depth-first order, one block a call, so that a
 * gateway can stream it. Used by store/ and exchange/.
 *
 * Links followed: dag-pb (UnixFS files and directories) and CIDs inside
 * dag-cbor; raw blocks have none. A block that is missing is reported with
 * present = false and not descended into. */
#ifndef EMAC_STORE_WALK_H
#define EMAC_STORE_WALK_H

#include "store/store.h"

/* Calls each link of a block in order. `size` is the content below the link inside a file, else
 * UINT64_MAX; `offset` that content's place in the file. CORRUPT, UNSUPPORTED when the block cannot
 * be understood. */
enum emac_status store_block_links(const struct cid *cid, const void *data, size_t n,
                                   enum emac_status (*each)(void *ctx, const struct cid *cid,
                                                            uint64_t offset, uint64_t size,
                                                            struct emac_err *err),
                                   void *ctx, struct emac_err *err);

enum store_scope {
    STORE_SCOPE_BLOCK,  /* the root alone */
    STORE_SCOPE_ENTITY, /* a whole file; of a directory or dag-cbor the root alone */
    STORE_SCOPE_ALL
};

struct store_walk_options {
    enum store_scope scope;
    bool duplicates; /* report a block each time it occurs, not only the first */
    /* Only the blocks of a file that hold bytes [from, to), and those above them. Ignored for
     * roots that are no file. 0 and UINT64_MAX: everything. */
    uint64_t from, to;
};

struct store_walk_item {
    struct cid cid; /* none at the end */
    bool present;
    uint64_t block_size;   /* when present */
    bool in_file;          /* the next two are known: part of the root, which is a file */
    uint64_t offset, size; /* content below this block. Of a missing root nothing is known */
};

struct store_walk;
enum emac_status store_walk_new(struct store *s, const struct cid *root,
                                const struct store_walk_options *options, struct store_walk **out,
                                struct emac_err *err);
enum emac_status store_walk_next(struct store_walk *w, struct store_walk_item *item,
                                 struct emac_err *err);
void store_walk_free(struct store_walk *w);

#endif

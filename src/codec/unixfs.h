/* UnixFS files and directories as dag-pb blocks, profile `unixfs-v1-2025`
 * (IPIP-0499): CIDv1, sha2-256, fixed 1 MiB chunks, raw leaves, balanced tree
 * of width 1024, no mode or mtime; so CIDs equal those of IPFS tools. A file of
 * at most one chunk is its raw leaf alone. Directories here are the basic kind
 * (not HAMT), refused above 256 KiB of block. No I/O: blocks go out through a
 * callback and come in as bytes. */
#ifndef EMAC_CODEC_UNIXFS_H
#define EMAC_CODEC_UNIXFS_H

#include "base/buf.h"
#include "codec/cid.h"

#define UNIXFS_CHUNK     (1u << 20)
#define UNIXFS_WIDTH     1024
#define UNIXFS_BLOCK_MAX (2u << 20)
#define UNIXFS_DIR_MAX   (256u << 10)
#define UNIXFS_DEPTH_MAX 8
#define UNIXFS_NAME_MAX  255

/* Receives each finished block (leaves first, root last). `data` is borrowed. */
typedef enum emac_status unixfs_block_fn(void *ctx, const struct cid *cid, const void *data,
                                         size_t n, struct emac_err *err);

/* Streaming builder for one file. */
struct unixfs_builder;
enum emac_status unixfs_builder_new(struct unixfs_builder **out, unixfs_block_fn *emit, void *ctx,
                                    struct emac_err *err);
enum emac_status unixfs_builder_write(struct unixfs_builder *b, const void *data, size_t n,
                                      struct emac_err *err);
/* *root is the file's CID, *size its length, *tree_size = bytes of all its blocks (the Tsize of a
 * link to it). Frees b, on failure too. */
enum emac_status unixfs_builder_end(struct unixfs_builder *b, struct cid *root, uint64_t *size,
                                    uint64_t *tree_size, struct emac_err *err);
void unixfs_builder_free(struct unixfs_builder *b);
/* A whole file at once. */
enum emac_status unixfs_file(struct emac_slice bytes, unixfs_block_fn *emit, void *ctx,
                             struct cid *root, uint64_t *tree_size, struct emac_err *err);

/* From the CIDs of the leaves of a file of `size` bytes (ceil(size / 1 MiB) of them, >= 2): emit
 * the inner blocks only. For callers that hash leaves in parallel. */
enum emac_status unixfs_tree_from_leaves(const struct cid *leaf, size_t count, uint64_t size,
                                         unixfs_block_fn *emit, void *ctx, struct cid *root,
                                         uint64_t *tree_size, struct emac_err *err);

/* Bytes of all blocks of a file of `size` bytes, which follow from its size: the Tsize of a link.
 */
enum emac_status unixfs_tree_size(uint64_t size, uint64_t *out, struct emac_err *err);

struct unixfs_link {
    struct cid cid;
    const char *name; /* "" inside files */
    uint64_t tsize;   /* bytes of the whole tree below */
    uint64_t size;    /* files: bytes of content below (blocksizes) */
};

enum unixfs_kind { UNIXFS_FILE, UNIXFS_DIRECTORY };

struct unixfs_node {
    enum unixfs_kind kind;
    uint64_t size;                 /* content bytes of a file */
    struct emac_slice inline_data; /* content held in this very block (borrowed from the input) */
    size_t count;
    struct unixfs_link *link;
};

/* Decode a raw or dag-pb block already checked against its CID. Everything is validated: link
 * count equals blocksizes, sums equal filesize, names of directories unique, sane, in order. Modes
 * and times of other tools are ignored; HAMT directories and symbolic links are UNSUPPORTED. */
enum emac_status unixfs_node_parse(struct unixfs_node *out, enum cid_codec codec, const void *data,
                                   size_t n, struct emac_err *err);
void unixfs_node_release(struct unixfs_node *node);

/* May a directory hold this name? 1..255 bytes of UTF-8 without '/' and NUL, not "." or "..". */
bool unixfs_name_ok(const char *name, size_t n);
/* Directory block from links (name, cid, tsize), sorted by name by the function. Its bytes are
 * appended to `out`. INVALID for a bad or repeated name, TOO_LARGE over UNIXFS_DIR_MAX. */
enum emac_status unixfs_directory(struct unixfs_link *link, size_t count, struct emac_buf *out,
                                  struct cid *cid, uint64_t *tree_size, struct emac_err *err);

#endif

/* Inside of unixfs: the protobuf wire forms that dag-pb and UnixFS share. Strict: minimal varints,
 * fields in rising order. */
#ifndef EMAC_CODEC_UNIXFS_PB_H
#define EMAC_CODEC_UNIXFS_PB_H

#include "base/buf.h"

enum pb_wire { PB_VARINT = 0, PB_BYTES = 2 };

enum { PB_NODE_DATA = 1, PB_NODE_LINK = 2 };
enum { PB_LINK_HASH = 1, PB_LINK_NAME = 2, PB_LINK_TSIZE = 3 };
enum {
    UNIXFS_TYPE = 1,
    UNIXFS_DATA = 2,
    UNIXFS_FILESIZE = 3,
    UNIXFS_BLOCKSIZES = 4,
    UNIXFS_HASH_TYPE = 5,
    UNIXFS_FANOUT = 6,
    UNIXFS_MODE = 7,
    UNIXFS_MTIME = 8
};
enum { UNIXFS_TYPE_RAW = 0, UNIXFS_TYPE_DIRECTORY = 1, UNIXFS_TYPE_FILE = 2, UNIXFS_TYPE_HAMT = 5 };

struct pb_field {
    unsigned number;
    enum pb_wire wire;
    uint64_t value;          /* VARINT */
    struct emac_slice bytes; /* BYTES, borrowed */
};

/* Take one field off the front of `in`. CORRUPT when it is malformed. */
enum emac_status pb_next(struct emac_slice *in, struct pb_field *out, struct emac_err *err);

/* Length of a varint; append a field. */
size_t pb_varint_len(uint64_t v);
enum emac_status pb_put_varint(struct emac_buf *out, unsigned number, uint64_t v,
                               struct emac_err *err);
/* Tag and length of a BYTES field; its n bytes follow. */
enum emac_status pb_put_length(struct emac_buf *out, unsigned number, size_t n,
                               struct emac_err *err);
enum emac_status pb_put_bytes(struct emac_buf *out, unsigned number, const void *data, size_t n,
                              struct emac_err *err);

struct unixfs_link;
/* A whole PBLink field: hash, name, tsize (the name is written even when empty, as IPFS tools
 * do). */
enum emac_status pb_put_link(struct emac_buf *out, const struct unixfs_link *link,
                             struct emac_err *err);

#endif

/* CARv1: a header {version: 1, roots} and a sequence of (CID, block). The
 * reader is a push parser for streamed bytes; it checks each block against its
 * CID before it hands it on, refuses blocks over 2 MiB and ignores the roots. */
#ifndef EMAC_CODEC_CAR_H
#define EMAC_CODEC_CAR_H

#include "codec/unixfs.h"

/* Append the header / one section to out. */
enum emac_status car_header(struct emac_buf *out, const struct cid *root, struct emac_err *err);
enum emac_status car_section_prefix(struct emac_buf *out, const struct cid *cid, size_t block_len,
                                    struct emac_err *err); /* varint + CID; the block follows */

struct car_reader;
enum emac_status car_reader_new(struct car_reader **out, unixfs_block_fn *emit, void *ctx,
                                struct emac_err *err);
enum emac_status car_reader_push(struct car_reader *r, const void *data, size_t n,
                                 struct emac_err *err);
/* Its roots, once the header was read; what follows need not be below them. */
size_t car_reader_roots(const struct car_reader *r, struct cid *first);
/* CORRUPT when the stream ended inside the header or a section. Frees r. */
enum emac_status car_reader_end(struct car_reader *r, struct emac_err *err);
void car_reader_free(struct car_reader *r);

#endif

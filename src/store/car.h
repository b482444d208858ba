/* A DAG as one stream of bytes: a CARv1 with one root, its blocks depth-first,
 * each once. It is a function of the DAG alone, so it has one size and one piece
 * commitment (codec/commp.h): what Filecoin deals, IPFS tools and our own storage
 * deals mean by the data of a CID. Any part of it can be made from the blocks
 * that lie there, without the others. */
#ifndef EMAC_STORE_CAR_H
#define EMAC_STORE_CAR_H

#include "codec/commp.h"
#include "store/store.h"

typedef enum emac_status store_bytes_fn(void *ctx, const void *data, size_t n,
                                        struct emac_err *err);
/* Hand out bytes [from, to) of the CAR of the DAG under root, in order; to UINT64_MAX: to its end.
 * Only raw blocks that hold some of them are read (and each that is read is checked against its
 * CID). NOT_FOUND names the first block that is missing; INVALID when it ends before a given
 * `to`. */
enum emac_status store_car_read(struct store *s, const struct cid *root, uint64_t from, uint64_t to,
                                store_bytes_fn *sink, void *ctx, struct emac_err *err);
enum emac_status store_car_size(struct store *s, const struct cid *root, uint64_t *size,
                                struct emac_err *err);
/* Its piece commitment; *chunk (unless NULL) as commp_builder_end gives it. */
enum emac_status store_car_commit(struct store *s, const struct cid *root, struct commp *out,
                                  uint8_t **chunk, struct emac_err *err);
/* To the file `path`, atomically. */
enum emac_status store_car_export(struct store *s, const struct cid *root, const char *path,
                                  uint64_t *size, struct emac_err *err);
/* Take the blocks of a CAR file and pin its root under `pin`. It must name one root and hold all
 * below it that is not here already: INVALID otherwise (the blocks stay, unpinned). */
enum emac_status store_car_import(struct store *s, const char *path, const char *pin,
                                  struct cid *root, struct emac_err *err);

#endif

/* safetensors: named tensors in one file (u64 LE header length, JSON header,
 * data). A "bundle" is the canonical form that EMAC writes, so that equal
 * tensors give equal bytes and one CID:
 *   - header keys: "__metadata__":{"format":"pt"} first, then the tensors in
 *     byte order of their names; no white space; numbers in shortest form;
 *   - the header is padded with spaces so that 8 + its length is a multiple of
 *     64; the data follow in the same order, each tensor directly after the one
 *     before (the format allows no holes), so data are 4-byte aligned only.
 * The reader accepts any valid safetensors file, keeps to the format's limits
 * (header <= 100 MB, no holes, no overlap, no duplicate names) and checks
 * every size before it allocates. Control characters in names are written as
 * \u00xx, '"' and '\' with a backslash, all else as it is. */
#ifndef EMAC_CODEC_SAFETENSORS_H
#define EMAC_CODEC_SAFETENSORS_H

#include "base/buf.h"
#include "base/status.h"

#define ST_NAME_MAX    256
#define ST_RANK_MAX    8
#define ST_HEADER_MAX  (100u << 20)
#define ST_TENSORS_MAX 65536

enum st_dtype { ST_F32, ST_F16, ST_BF16, ST_F64, ST_I64, ST_I32, ST_I16, ST_I8, ST_U8, ST_BOOL };

struct st_tensor {
    char *name;
    enum st_dtype dtype;
    uint32_t rank; /* 0 = scalar */
    uint64_t dim[ST_RANK_MAX];
    uint64_t begin, end; /* bytes, relative to the start of the data */
};

struct st_index {
    uint64_t data_offset; /* 8 + header length: where the data start in the file */
    uint64_t file_size;
    size_t count;
    struct st_tensor *tensor; /* in order of `begin` */
    size_t cap;               /* places at `tensor` */
    uint32_t *by_name;        /* places in `tensor` in order of names; NULL while being built */
};

size_t st_dtype_bytes(enum st_dtype dtype);
const char *st_dtype_name(enum st_dtype dtype); /* "F32" */
/* Elements, and bytes, of one tensor. */
uint64_t st_tensor_count(const struct st_tensor *t);
uint64_t st_tensor_bytes(const struct st_tensor *t);
/* From the first 8 bytes of a file: how many bytes st_index_parse needs (8 + header length).
 * CORRUPT when the length is over ST_HEADER_MAX or the file. */
enum emac_status st_header_size(const uint8_t first[8], uint64_t file_size, uint64_t *out,
                                struct emac_err *err);
/* Parse the header of a file of which `n` bytes are at data and `file_size` in all (n may be less
 * than file_size as long as the header is in it). */
enum emac_status st_index_parse(struct st_index *out, const void *data, size_t n,
                                uint64_t file_size, struct emac_err *err);
/* The same of a file that is not in memory: `read` gives n bytes of it at `at`, of which `there` of
 * its `size` bytes can be had (INVALID when the header is not among them). */
typedef enum emac_status st_read_fn(void *ctx, uint64_t at, void *out, size_t n,
                                    struct emac_err *err);
enum emac_status st_index_read(struct st_index *out, st_read_fn *read, void *ctx, uint64_t there,
                               uint64_t size, struct emac_err *err);
void st_index_release(struct st_index *idx);
/* NULL when absent */
const struct st_tensor *st_index_find(const struct st_index *idx, const char *name);

/* Lay out a canonical bundle. `tensor` holds name, dtype, rank, dim, in any order; it is sorted by
 * the width of an element, widest first, so that each tensor is aligned to its own, then by name,
 * and gets begin/end; data_offset, file_size are set; the header's bytes, from the length on, are
 * appended to `header` (data_offset bytes). Duplicate names: INVALID. */
enum emac_status st_bundle_layout(struct st_index *idx, struct emac_buf *header,
                                  struct emac_err *err);
/* Add a tensor to an index that is being built (init with {0}). Name is copied. */
enum emac_status st_index_add(struct st_index *idx, const char *name, enum st_dtype dtype,
                              uint32_t rank, const uint64_t *dim, struct emac_err *err);

#endif

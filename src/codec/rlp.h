/* RLP, the serialization of Ethereum (yellow paper, appendix B): byte strings
 * and lists of items. A value has one encoding: the reader refuses a length
 * written longer than needed, a single byte below 0x80 with a header, a number
 * with leading zeros, bytes left over.
 *
 * Writer: appends to a buffer; sticky: the first failure (buffer full, nested
 * too deep) is kept and returned by rlp_writer_end.
 * Reader: rlp_check walks a whole encoding once and bounds its depth; then
 * rlp_next takes item after item out of a slice, without copies. */
#ifndef EMAC_CODEC_RLP_H
#define EMAC_CODEC_RLP_H

#include "base/buf.h"
#include "base/u256.h"

#define RLP_DEPTH_MAX 16

struct rlp_writer {
    struct emac_buf *buf;
    enum emac_status status;
    struct emac_err err;
    size_t depth;
    size_t start[RLP_DEPTH_MAX]; /* where the contents of the open lists begin */
};

void rlp_writer_init(struct rlp_writer *w, struct emac_buf *buf);
void rlp_bytes(struct rlp_writer *w, const void *data, size_t n);
void rlp_u256(struct rlp_writer *w, const struct u256 *v); /* big-endian, shortest; 0 is "" */
void rlp_u64(struct rlp_writer *w, uint64_t v);
void rlp_list_begin(struct rlp_writer *w);
void rlp_list_end(struct rlp_writer *w);
enum emac_status rlp_writer_end(struct rlp_writer *w, struct emac_err *err);

struct rlp_item {
    bool list;
    struct emac_slice body; /* the string, or the encodings of the list's items */
};

/* Is it exactly one item, canonical all the way down? CORRUPT. */
enum emac_status rlp_check(struct emac_slice in, struct emac_err *err);
/* The first item of *in, which moves past it; only its header is checked. CORRUPT, also when
 * nothing is left. */
enum emac_status rlp_next(struct emac_slice *in, struct rlp_item *out, struct emac_err *err);
/* The next item must be a list, a string of n bytes, or a number. */
enum emac_status rlp_next_list(struct emac_slice *in, struct emac_slice *body,
                               struct emac_err *err);
enum emac_status rlp_next_bytes(struct emac_slice *in, void *out, size_t n, struct emac_err *err);
enum emac_status rlp_next_u256(struct emac_slice *in, struct u256 *out, struct emac_err *err);
enum emac_status rlp_next_u64(struct emac_slice *in, uint64_t *out, struct emac_err *err);

#endif

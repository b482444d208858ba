/* Content identifiers: CIDv1, sha2-256 only (multiformats CID spec). Equal
 * CIDs mean equal bytes. Text form: multibase base32, lower case, "b...". A
 * CIDv0 ("Qm...") is read as dag-pb v1. */
#ifndef EMAC_CODEC_CID_H
#define EMAC_CODEC_CID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum cid_codec { CID_RAW = 0x55, CID_DAG_PB = 0x70, CID_DAG_CBOR = 0x71 };

struct cid {
    uint8_t codec; /* enum cid_codec; 0 = no CID */
    uint8_t digest[32];
};

#define CID_BYTES    36 /* 01 codec 12 20 digest */
#define CID_TEXT_MAX 64

struct cid cid_of(enum cid_codec codec, const void *data, size_t n);
bool cid_equal(const struct cid *a, const struct cid *b);
int cid_compare(const struct cid *a, const struct cid *b);
bool cid_is_none(const struct cid *c);
void cid_bytes(uint8_t out[CID_BYTES], const struct cid *c);
/* Reads a binary CID (v1 or v0) at data; *used = its length. */
enum emac_status cid_from_bytes(struct cid *out, const uint8_t *data, size_t n, size_t *used,
                                struct emac_err *err);
void cid_text(char out[CID_TEXT_MAX], const struct cid *c);
enum emac_status cid_parse(struct cid *out, const char *text, struct emac_err *err);

/* Unsigned LEB128 varint, at most 9 bytes, minimal form only (multiformats). Return bytes used, 0
 * on bad input. */
size_t varint_write(uint8_t out[10], uint64_t v);
size_t varint_read(uint64_t *out, const uint8_t *data, size_t n);

#endif

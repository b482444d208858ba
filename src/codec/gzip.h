/* Reading gzip files (RFC 1952), by zlib. A file may be several members one after the other, which
 * are one content. What comes out is bounded by the buffer's `max`, so a small file that would
 * expand to terabytes costs no more than that. */
#ifndef EMAC_CODEC_GZIP_H
#define EMAC_CODEC_GZIP_H

#include "base/buf.h"

/* Does it begin as a gzip file does? */
bool gzip_is(struct emac_slice file);
/* Append the contents of the whole file. TOO_LARGE past out->max; CORRUPT when the file is damaged,
 * cut off, or followed by other bytes. */
enum emac_status gzip_expand(struct emac_slice file, struct emac_buf *out, struct emac_err *err);

#endif

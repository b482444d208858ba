#include "codec/gzip.h"

#include <zlib.h>

#include "base/assert.h"

#define WINDOW_GZIP_ONLY (16 + MAX_WBITS) /* zlib's way to say: a gzip member, nothing else */
#define PIECE            ((size_t)256 << 10)

bool gzip_is(struct emac_slice file)
{
    return file.len >= 3 && file.data[0] == 0x1f && file.data[1] == 0x8b && file.data[2] == 8;
}

static enum emac_status damaged(const z_stream *z, int rc, struct emac_err *err)
{
    if (rc == Z_MEM_ERROR)
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory while expanding gzip");
    if (rc == Z_BUF_ERROR)
        return emac_fail(err, EMAC_CORRUPT, "the gzip file ends too early; get it again");
    return emac_fail(err, EMAC_CORRUPT, "the gzip file is damaged (%s); get it again",
                     z->msg != NULL ? z->msg : "bad data");
}

/* Room for at least one more byte: a piece, or what is left below max. */
static enum emac_status room(struct emac_buf *out, z_stream *z, struct emac_err *err)
{
    size_t piece = out->max - out->len < PIECE ? out->max - out->len : PIECE;
    if (piece == 0)
        return emac_fail(err, EMAC_TOO_LARGE, "the gzip file expands to more than %zu bytes",
                         out->max);
    enum emac_status st = emac_buf_reserve(out, piece, err);
    if (st == EMAC_OK) {
        z->next_out = out->data + out->len;
        z->avail_out = (uInt)piece;
    }
    return st;
}

/* Input is handed over in pieces that fit zlib's counter. */
static void feed(struct emac_slice *left, z_stream *z)
{
    if (z->avail_in > 0 || left->len == 0)
        return;
    size_t n = left->len < PIECE ? left->len : PIECE;
    z->next_in = (Bytef *)(uintptr_t)left->data;
    z->avail_in = (uInt)n;
    left->data += n;
    left->len -= n;
}

/* After the end of a member the next may begin; the end of the last is the end. */
static enum emac_status expand(z_stream *z, struct emac_slice left, struct emac_buf *out,
                               struct emac_err *err)
{
    int rc = Z_OK;
    for (;;) {
        feed(&left, z);
        if (rc == Z_STREAM_END) {
            if (z->avail_in == 0)
                return EMAC_OK;
            rc = inflateReset(z);
            EMAC_ASSERT(rc == Z_OK);
        }
        uint8_t probe;
        bool full = out->len == out->max; /* a byte more than that is too many, none is the end */
        enum emac_status st = EMAC_OK;
        if (full) {
            z->next_out = &probe;
            z->avail_out = 1;
        } else {
            st = room(out, z, err);
        }
        if (st != EMAC_OK)
            return st;
        uInt before = z->avail_out;
        rc = inflate(z, Z_NO_FLUSH);
        if (rc != Z_OK && rc != Z_STREAM_END)
            return damaged(z, rc, err);
        if (full && z->avail_out == 0)
            return emac_fail(err, EMAC_TOO_LARGE, "the gzip file expands to more than %zu bytes",
                             out->max);
        if (!full) {
            out->len += before - z->avail_out;
            out->data[out->len] = 0;
        }
    }
}

enum emac_status gzip_expand(struct emac_slice file, struct emac_buf *out, struct emac_err *err)
{
    z_stream z = {0};
    if (!gzip_is(file))
        return emac_fail(err, EMAC_CORRUPT, "this is no gzip file");
    int rc = inflateInit2(&z, WINDOW_GZIP_ONLY);
    if (rc != Z_OK)
        return damaged(&z, rc, err);
    enum emac_status st = expand(&z, file, out, err);
    inflateEnd(&z);
    return st;
}

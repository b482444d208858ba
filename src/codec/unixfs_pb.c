#include "codec/unixfs_pb.h"

#include <string.h>

#include "codec/unixfs.h"

enum emac_status pb_next(struct emac_slice *in, struct pb_field *out, struct emac_err *err)
{
    uint64_t tag, v;
    size_t n = varint_read(&tag, in->data, in->len);
    if (n == 0 || tag >> 3 == 0 || tag >> 3 > 15)
        return emac_fail(err, EMAC_CORRUPT, "bad dag-pb block: a field's tag is malformed");
    size_t used = n;
    n = varint_read(&v, in->data + used, in->len - used);
    if (n == 0)
        return emac_fail(err, EMAC_CORRUPT, "bad dag-pb block: a number is cut or malformed");
    used += n;
    *out = (struct pb_field){.number = (unsigned)(tag >> 3), .wire = (enum pb_wire)(tag & 7)};
    if (out->wire == PB_VARINT) {
        out->value = v;
    } else if (out->wire == PB_BYTES) {
        if (v > in->len - used)
            return emac_fail(err, EMAC_CORRUPT, "bad dag-pb block: field %u is cut", out->number);
        out->bytes = EMAC_SLICE(in->data + used, (size_t)v);
        used += (size_t)v;
    } else {
        return emac_fail(err, EMAC_CORRUPT, "bad dag-pb block: field %u has wire type %u",
                         out->number, (unsigned)out->wire);
    }
    in->data += used;
    in->len -= used;
    return EMAC_OK;
}

size_t pb_varint_len(uint64_t v)
{
    size_t n = 1;
    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

static enum emac_status put_pair(struct emac_buf *out, uint64_t tag, uint64_t v,
                                 struct emac_err *err)
{
    uint8_t bytes[20];
    size_t n = varint_write(bytes, tag);
    n += varint_write(bytes + n, v);
    return emac_buf_append(out, bytes, n, err);
}

enum emac_status pb_put_varint(struct emac_buf *out, unsigned number, uint64_t v,
                               struct emac_err *err)
{
    return put_pair(out, number << 3 | PB_VARINT, v, err);
}

enum emac_status pb_put_length(struct emac_buf *out, unsigned number, size_t n,
                               struct emac_err *err)
{
    return put_pair(out, number << 3 | PB_BYTES, n, err);
}

enum emac_status pb_put_bytes(struct emac_buf *out, unsigned number, const void *data, size_t n,
                              struct emac_err *err)
{
    enum emac_status st = pb_put_length(out, number, n, err);
    return st == EMAC_OK ? emac_buf_append(out, data, n, err) : st;
}

enum emac_status pb_put_link(struct emac_buf *out, const struct unixfs_link *link,
                             struct emac_err *err)
{
    uint8_t cid[CID_BYTES];
    const char *name = link->name != NULL ? link->name : "";
    size_t name_len = strlen(name);
    size_t len =
        2 + CID_BYTES + 1 + pb_varint_len(name_len) + name_len + 1 + pb_varint_len(link->tsize);
    cid_bytes(cid, &link->cid);
    enum emac_status st = pb_put_length(out, PB_NODE_LINK, len, err);
    if (st == EMAC_OK)
        st = pb_put_bytes(out, PB_LINK_HASH, cid, sizeof cid, err);
    if (st == EMAC_OK)
        st = pb_put_bytes(out, PB_LINK_NAME, name, name_len, err);
    return st == EMAC_OK ? pb_put_varint(out, PB_LINK_TSIZE, link->tsize, err) : st;
}

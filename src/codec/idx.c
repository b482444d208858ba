#include "codec/idx.h"

#include "base/checked.h"

#define IDX_TYPE_U8 0x08

static uint32_t big_endian(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

enum emac_status idx_parse(struct idx *out, struct emac_slice file, struct emac_err *err)
{
    size_t items = 1;
    *out = (struct idx){0};
    if (file.len < 4 || file.data[0] != 0 || file.data[1] != 0)
        return emac_fail(err, EMAC_CORRUPT,
                         "this is no IDX file: it does not begin with two zero bytes and a type");
    if (file.data[2] != IDX_TYPE_U8)
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "the IDX file holds elements of type 0x%02x; only unsigned bytes (0x08) "
                         "are read",
                         file.data[2]);
    out->rank = file.data[3];
    if (out->rank < 1 || out->rank > IDX_RANK_MAX)
        return emac_fail(err, EMAC_UNSUPPORTED, "the IDX file has %u dimensions; 1 to %d are read",
                         out->rank, IDX_RANK_MAX);
    size_t header = 4 + (size_t)out->rank * 4;
    if (file.len < header)
        return emac_fail(err, EMAC_CORRUPT, "the IDX file ends within its header");
    for (uint32_t i = 0; i < out->rank; i++) {
        out->dim[i] = big_endian(file.data + 4 + (size_t)i * 4);
        if (out->dim[i] == 0 || !emac_mul_size(items, out->dim[i], &items))
            return emac_fail(err, EMAC_CORRUPT, "dimension %u of the IDX file, %u, is not possible",
                             i + 1, out->dim[i]);
    }
    if (file.len - header != items)
        return emac_fail(err, EMAC_CORRUPT,
                         "the IDX file holds %zu elements and its dimensions say %zu",
                         file.len - header, items);
    out->items = EMAC_SLICE(file.data + header, items);
    return EMAC_OK;
}

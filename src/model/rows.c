#include "model/rows.h"

#include <string.h>

#include "base/assert.h"
#include "codec/gguf_write.h"
#include "compute/half.h"
#include "compute/quant.h"

static uint32_t word(const uint8_t *p, int bytes)
{
    uint32_t v = 0;

    for (int i = 0; i < bytes; i++)
        v |= (uint32_t)p[i] << 8 * i;
    return v;
}

static void put(uint8_t *p, uint32_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

void row_widen(enum gguf_type from, size_t k, const uint8_t *row, float *y)
{
    if (quant_info(from) != NULL) {
        quant_row_decode(quant_info(from)->format, row, y, k);
        return;
    }
    for (size_t i = 0; i < k; i++)
        y[i] = from == GGUF_F32   ? fn_float(word(row + 4 * i, 4))
               : from == GGUF_F16 ? half_to_float(word(row + 2 * i, 2))
                                  : fn_from_bf16(word(row + 2 * i, 2));
}

static bool is_finite(float x)
{
    return (fn_bits(x) & FN_INF) != FN_INF;
}

static enum emac_status halve(size_t k, const float *x, uint8_t *out, const char *tensor,
                              struct emac_err *err)
{
    for (size_t i = 0; i < k; i++) {
        uint32_t half = half_from_float(x[i]);

        if (is_finite(x[i]) && (half & 0x7c00) == 0x7c00)
            return emac_fail(err, EMAC_NUMERIC,
                             "tensor '%s' holds %g, which is too large for F16: take BF16", tensor,
                             (double)x[i]);
        put(out + 2 * i, half, 2);
    }
    return EMAC_OK;
}

static enum emac_status quantise(const struct quant_info *to, size_t k, const float *x,
                                 uint8_t *out, const char *tensor, struct emac_err *err)
{
    for (size_t i = 0; i < k; i++)
        if (!is_finite(x[i]))
            return emac_fail(err, EMAC_NUMERIC, "tensor '%s' holds numbers that are not finite",
                             tensor);
    quant_row_encode(to->format, out, x, k);
    return EMAC_OK;
}

enum emac_status row_convert(enum gguf_type from, enum gguf_type to, size_t k, const uint8_t *row,
                             uint8_t *out, float *room, const char *tensor, struct emac_err *err)
{
    uint64_t bytes = 0;

    if (from == to) {
        bool ok = gguf_row_bytes(to, k, &bytes);

        EMAC_ASSERT(ok);
        memcpy(out, row, (size_t)bytes);
        return EMAC_OK;
    }
    row_widen(from, k, row, room);
    if (quant_info(to) != NULL)
        return quantise(quant_info(to), k, room, out, tensor, err);
    if (to == GGUF_F16)
        return halve(k, room, out, tensor, err);
    for (size_t i = 0; i < k; i++)
        if (to == GGUF_F32)
            put(out + 4 * i, fn_bits(room[i]), 4);
        else
            put(out + 2 * i, fn_to_bf16(room[i]), 2);
    return EMAC_OK;
}

#include "codec/tfevents.h"

#include <stdio.h>
#include <string.h>

#include "codec/unixfs_pb.h"

#define CASTAGNOLI 0x82f63b78u /* the polynomial, lowest power first */
#define CRC_MASK   0xa282ead8u
#define EVENT_MAX  (3 * TFEVENTS_TAG_MAX)

enum {
    EVENT_WALL_TIME = 1,
    EVENT_STEP = 2,
    EVENT_FILE_VERSION = 3,
    EVENT_SUMMARY = 5,
    EVENT_SESSION_LOG = 7
};
enum { SESSION_STATUS = 1, SESSION_START = 1 };
enum { SUMMARY_VALUE = 1, VALUE_TAG = 1, VALUE_SIMPLE = 2 };

uint32_t tfevents_crc32c(const void *data, size_t n)
{
    const uint8_t *at = data;
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        crc ^= at[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (CASTAGNOLI & (0 - (crc & 1)));
    }
    return ~crc;
}

static void put_le(uint8_t *out, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(v >> (8 * i));
}

static enum emac_status append_crc(struct emac_buf *out, const void *data, size_t n,
                                   struct emac_err *err)
{
    uint8_t bytes[4];
    uint32_t crc = tfevents_crc32c(data, n);
    put_le(bytes, ((crc >> 15) | (crc << 17)) + CRC_MASK, sizeof bytes);
    return emac_buf_append(out, bytes, sizeof bytes, err);
}

static enum emac_status append_record(struct emac_buf *out, const struct emac_buf *data,
                                      struct emac_err *err)
{
    uint8_t length[8];
    put_le(length, data->len, sizeof length);
    enum emac_status st = emac_buf_append(out, length, sizeof length, err);
    if (st == EMAC_OK)
        st = append_crc(out, length, sizeof length, err);
    if (st == EMAC_OK)
        st = emac_buf_append(out, data->data, data->len, err);
    return st == EMAC_OK ? append_crc(out, data->data, data->len, err) : st;
}

/* A protobuf field of 4 or 8 bytes as they are (wire types 5 and 1). */
static enum emac_status put_fixed(struct emac_buf *out, unsigned number, uint64_t bits, size_t n,
                                  struct emac_err *err)
{
    uint8_t bytes[9];
    bytes[0] = (uint8_t)(number << 3 | (n == 4 ? 5u : 1u));
    put_le(bytes + 1, bits, n);
    return emac_buf_append(out, bytes, 1 + n, err);
}

static enum emac_status put_wall_time(struct emac_buf *out, uint64_t wall_ms, struct emac_err *err)
{
    double seconds = (double)wall_ms / 1000;
    uint64_t bits;
    memcpy(&bits, &seconds, sizeof bits);
    return put_fixed(out, EVENT_WALL_TIME, bits, 8, err);
}

void tfevents_name(char out[TFEVENTS_NAME_MAX], uint64_t wall_ms, const char *who)
{
    snprintf(out, TFEVENTS_NAME_MAX, "events.out.tfevents.%010llu.%.100s",
             (unsigned long long)(wall_ms / 1000), who);
}

enum emac_status tfevents_begin(struct emac_buf *out, uint64_t wall_ms, struct emac_err *err)
{
    static const char VERSION[] = "brain.Event:2";
    struct emac_buf event;
    emac_buf_init(&event, EVENT_MAX);
    enum emac_status st = put_wall_time(&event, wall_ms, err);
    if (st == EMAC_OK)
        st = pb_put_bytes(&event, EVENT_FILE_VERSION, VERSION, sizeof VERSION - 1, err);
    if (st == EMAC_OK)
        st = append_record(out, &event, err);
    emac_buf_release(&event);
    return st;
}

enum emac_status tfevents_restart(struct emac_buf *out, uint64_t wall_ms, uint64_t step,
                                  struct emac_err *err)
{
    struct emac_buf event;
    enum emac_status st;
    emac_buf_init(&event, EVENT_MAX);
    EMAC_TRY(st, put_wall_time(&event, wall_ms, err));
    EMAC_TRY(st, pb_put_varint(&event, EVENT_STEP, step, err));
    EMAC_TRY(st, pb_put_length(&event, EVENT_SESSION_LOG, 2, err));
    EMAC_TRY(st, pb_put_varint(&event, SESSION_STATUS, SESSION_START, err));
    st = append_record(out, &event, err);
out:
    emac_buf_release(&event);
    return st;
}

enum emac_status tfevents_scalar(struct emac_buf *out, uint64_t wall_ms, uint64_t step,
                                 const char *tag, float value, struct emac_err *err)
{
    struct emac_buf event;
    uint32_t bits;
    size_t tag_len = strnlen(tag, TFEVENTS_TAG_MAX);
    size_t value_len = 2 + tag_len + 1 + sizeof bits; /* tags and lengths are of one byte */
    enum emac_status st;
    memcpy(&bits, &value, sizeof bits);
    emac_buf_init(&event, EVENT_MAX);
    EMAC_TRY(st, put_wall_time(&event, wall_ms, err));
    EMAC_TRY(st, pb_put_varint(&event, EVENT_STEP, step, err));
    EMAC_TRY(st, pb_put_length(&event, EVENT_SUMMARY, 2 + value_len, err));
    EMAC_TRY(st, pb_put_length(&event, SUMMARY_VALUE, value_len, err));
    EMAC_TRY(st, pb_put_bytes(&event, VALUE_TAG, tag, tag_len, err));
    EMAC_TRY(st, put_fixed(&event, VALUE_SIMPLE, bits, sizeof bits, err));
    st = append_record(out, &event, err);
out:
    emac_buf_release(&event);
    return st;
}

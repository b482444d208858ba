/* TensorBoard's event files: the check sum's published values, and a whole file byte by byte as the
 * formats describe it. tests/interop/run tensorboard reads one with TensorBoard's own reader. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "codec/tfevents.h"

/* RFC 3720, B.4, and the usual check value. */
static void check_sums(void **state)
{
    (void)state;
    uint8_t zeros[32] = {0}, ones[32], rising[32];
    memset(ones, 0xff, sizeof ones);
    for (size_t i = 0; i < sizeof rising; i++)
        rising[i] = (uint8_t)i;
    assert_int_equal(tfevents_crc32c(zeros, 32), 0x8a9136aa);
    assert_int_equal(tfevents_crc32c(ones, 32), 0x62a8ab43);
    assert_int_equal(tfevents_crc32c(rising, 32), 0x46dd794e);
    assert_int_equal(tfevents_crc32c("123456789", 9), 0xe3069283);
    assert_int_equal(tfevents_crc32c("", 0), 0);
}

static uint64_t le(const uint8_t *at, size_t n)
{
    uint64_t v = 0;
    for (size_t i = n; i-- > 0;)
        v = v << 8 | at[i];
    return v;
}

/* The data of the record at *at, which moves on; both its sums hold. */
static struct emac_slice record_next(const struct emac_buf *file, size_t *at)
{
    const uint8_t *r = file->data + *at;
    size_t n = (size_t)le(r, 8);
    uint32_t sums[2] = {tfevents_crc32c(r, 8), tfevents_crc32c(r + 12, n)};
    const uint8_t *there[2] = {r + 8, r + 12 + n};
    assert_true(*at + 16 + n <= file->len);
    for (int i = 0; i < 2; i++)
        assert_int_equal(le(there[i], 4),
                         (uint32_t)(((sums[i] >> 15) | (sums[i] << 17)) + 0xa282ead8u));
    *at += 16 + n;
    return EMAC_SLICE(r + 12, n);
}

static void assert_bytes(struct emac_slice got, const char *hex)
{
    char text[512];
    assert_true(got.len * 2 < sizeof text);
    emac_hex(text, got.data, got.len);
    assert_string_equal(text, hex);
}

static void a_file_byte_by_byte(void **state)
{
    (void)state;
    struct emac_buf file;
    size_t at = 0;
    emac_buf_init(&file, 1 << 16);
    assert_int_equal(tfevents_begin(&file, 1500, NULL), EMAC_OK);
    assert_int_equal(tfevents_scalar(&file, 2000, 300, "loss", 0.5f, NULL), EMAC_OK);
    /* wall_time 1.5, "brain.Event:2" */
    assert_bytes(record_next(&file, &at), "09000000000000f83f"
                                          "1a0d627261696e2e4576656e743a32");
    /* wall_time 2, step 300, summary { value { tag "loss", simple_value 0.5 } } */
    assert_bytes(record_next(&file, &at), "090000000000000040"
                                          "10ac02"
                                          "2a0d"
                                          "0a0b"
                                          "0a046c6f7373"
                                          "150000003f");
    /* step 300, session_log { status START } */
    assert_int_equal(tfevents_restart(&file, 2000, 300, NULL), EMAC_OK);
    assert_bytes(record_next(&file, &at), "090000000000000040"
                                          "10ac02"
                                          "3a02"
                                          "0801");
    assert_int_equal(at, file.len);
    emac_buf_release(&file);
}

static void names_and_limits(void **state)
{
    (void)state;
    char name[TFEVENTS_NAME_MAX], tag[200];
    struct emac_buf file;
    size_t at = 0;
    tfevents_name(name, 1700000000999, "job-k3v5w2y7q4ma");
    assert_string_equal(name, "events.out.tfevents.1700000000.job-k3v5w2y7q4ma");
    memset(tag, 'x', sizeof tag - 1);
    tag[sizeof tag - 1] = 0;
    emac_buf_init(&file, 1 << 16);
    assert_int_equal(tfevents_scalar(&file, 0, UINT64_MAX >> 1, tag, -1, NULL), EMAC_OK);
    assert_int_equal(record_next(&file, &at).len, 9 + 10 + 2 + 2 + 2 + TFEVENTS_TAG_MAX + 5);
    emac_buf_release(&file);
    emac_buf_init(&file, 20);
    assert_int_equal(tfevents_scalar(&file, 0, 1, "loss", 1, NULL), EMAC_TOO_LARGE);
    emac_buf_release(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_sums),
        cmocka_unit_test(a_file_byte_by_byte),
        cmocka_unit_test(names_and_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

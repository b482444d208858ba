#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "base/assert.h"
#include "codec/cid.h"
#include "../property.h"

/* Well-known names: the empty raw block, the empty UnixFS directory, the empty dag-cbor map. */
static void well_known(void **state)
{
    static const struct {
        enum cid_codec codec;
        const char *data, *text;
        size_t n;
    } CASES[] = {
        {CID_RAW, "", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku", 0},
        {CID_DAG_PB, "\x0a\x02\x08\x01",
         "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354", 4},
        {CID_DAG_CBOR, "\xa0", "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua", 1},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        struct cid c = cid_of(CASES[i].codec, CASES[i].data, CASES[i].n), back;
        struct emac_err err = {0};
        char text[CID_TEXT_MAX];
        cid_text(text, &c);
        assert_string_equal(text, CASES[i].text);
        assert_int_equal(cid_parse(&back, text, &err), EMAC_OK);
        assert_true(cid_equal(&back, &c));
    }
}

static void version_0(void **state)
{
    struct cid v0, v1;
    struct emac_err err = {0};
    assert_int_equal(cid_parse(&v0, "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn", &err),
                     EMAC_OK);
    v1 = cid_of(CID_DAG_PB, "\x0a\x02\x08\x01", 4);
    assert_true(cid_equal(&v0, &v1));
    uint8_t bytes[34] = {0x12, 0x20};
    size_t used = 0;
    memcpy(bytes + 2, v1.digest, 32);
    assert_int_equal(cid_from_bytes(&v0, bytes, sizeof bytes, &used, &err), EMAC_OK);
    assert_int_equal(used, 34);
    assert_true(cid_equal(&v0, &v1));
    assert_int_equal(cid_from_bytes(&v0, bytes, 33, &used, &err), EMAC_CORRUPT);
}

static void texts_refused(void **state)
{
    static const char *const BAD[] = {
        "",
        "b",
        "hello",
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyk",   /* one short */
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvykua", /* one long */
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyk1",  /* no digit */
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvykv",  /* left-over bits */
        "BAFKREIHDWDCEFGH4DQKJV67UZCMW7OJEE6XEDZDETOJUZJEVTENXQUVYKU",
        "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3N0",
        "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3N",
        /* identity hash, as gateways are probed with */
        "bafkqaaa",
        /* a text longer than any CID */
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvykubafkreihdwdcefgh4dqkjv67uzcmw7"
        "o",
    };
    for (size_t i = 0; i < EMAC_COUNT(BAD); i++) {
        struct cid c = {0};
        struct emac_err err = {0};
        assert_int_equal(cid_parse(&c, BAD[i], &err), EMAC_INVALID);
        assert_true(cid_is_none(&c));
        assert_non_null(strstr(err.text, "is not a CID"));
    }
}

static void bytes_refused(void **state)
{
    static const struct {
        uint8_t head[4];
        enum emac_status want;
    } CASES[] = {
        {{0x01, 0x55, 0x12, 0x20}, EMAC_OK},          {{0x02, 0x55, 0x12, 0x20}, EMAC_CORRUPT},
        {{0x00, 0x55, 0x12, 0x20}, EMAC_CORRUPT},     {{0x01, 0x51, 0x12, 0x20}, EMAC_UNSUPPORTED},
        {{0x01, 0x55, 0x13, 0x20}, EMAC_UNSUPPORTED}, {{0x01, 0x55, 0x12, 0x1f}, EMAC_UNSUPPORTED},
        {{0x01, 0x55, 0x00, 0x00}, EMAC_UNSUPPORTED}, {{0x81, 0x00, 0x12, 0x20}, EMAC_CORRUPT},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        uint8_t bytes[CID_BYTES] = {0};
        struct cid c;
        struct emac_err err = {0};
        size_t used = 0;
        memcpy(bytes, CASES[i].head, 4);
        assert_int_equal(cid_from_bytes(&c, bytes, sizeof bytes, &used, &err), CASES[i].want);
        for (size_t n = 0; n < CID_BYTES; n++) /* never OK when cut */
            assert_int_not_equal(cid_from_bytes(&c, bytes, n, &used, &err), EMAC_OK);
    }
}

static bool names_round_trip(struct choices *c)
{
    static const uint8_t CODECS[] = {CID_RAW, CID_DAG_PB, CID_DAG_CBOR};
    struct cid cid = {.codec = CODECS[choose(c, 3)]}, back;
    char text[CID_TEXT_MAX];
    uint8_t bytes[CID_BYTES];
    size_t used = 0;
    choose_bytes(c, cid.digest, sizeof cid.digest);
    cid_text(text, &cid);
    if (cid_parse(&back, text, NULL) != EMAC_OK || !cid_equal(&cid, &back))
        return false;
    /* Any other text of the same length is another CID or none. */
    text[choose(c, 59)] = "abcdefghijklmnopqrstuvwxyz234567"[choose(c, 32)];
    char again[CID_TEXT_MAX];
    if (cid_parse(&back, text, NULL) == EMAC_OK) {
        cid_text(again, &back);
        if (strcmp(again, text) != 0)
            return false;
    }
    cid_bytes(bytes, &cid);
    return cid_from_bytes(&back, bytes, sizeof bytes, &used, NULL) == EMAC_OK &&
           used == CID_BYTES && cid_compare(&back, &cid) == 0;
}

static void names_property(void **state)
{
    ASSERT_PROPERTY(1000, names_round_trip);
}

static void order(void **state)
{
    struct cid a = cid_of(CID_RAW, "a", 1), b = cid_of(CID_RAW, "b", 1), none = {0};
    assert_true(cid_is_none(&none) && !cid_is_none(&a));
    assert_int_equal(cid_compare(&a, &b) < 0, cid_compare(&b, &a) > 0);
    assert_false(cid_equal(&a, &b));
    b = a;
    b.codec = CID_DAG_PB;
    assert_true(cid_compare(&a, &b) < 0 && !cid_equal(&a, &b));
}

static void varints(void **state)
{
    static const struct {
        uint64_t v;
        size_t n;
    } CASES[] = {{0, 1},         {127, 1},
                 {128, 2},       {16383, 2},
                 {16384, 3},     {UINT64_C(1) << 35, 6},
                 {INT64_MAX, 9}, {INT64_MAX / 128, 8}};
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        uint8_t out[10];
        uint64_t v = 0;
        assert_int_equal(varint_write(out, CASES[i].v), CASES[i].n);
        assert_int_equal(varint_read(&v, out, CASES[i].n), CASES[i].n);
        assert_true(v == CASES[i].v);
        assert_int_equal(varint_read(&v, out, CASES[i].n - 1), 0);
    }
    uint8_t out[10];
    uint64_t v;
    assert_int_equal(varint_write(out, UINT64_MAX), 10);
    assert_int_equal(varint_read(&v, out, 10), 0);                        /* over 9 bytes */
    assert_int_equal(varint_read(&v, (const uint8_t *)"\x80\x00", 2), 0); /* not minimal */
    assert_int_equal(varint_read(&v, (const uint8_t *)"\x00\x00", 2), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(well_known),     cmocka_unit_test(version_0),
        cmocka_unit_test(texts_refused),  cmocka_unit_test(bytes_refused),
        cmocka_unit_test(names_property), cmocka_unit_test(order),
        cmocka_unit_test(varints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

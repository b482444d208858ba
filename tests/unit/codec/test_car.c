#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "codec/car.h"
#include "../property.h"

#define CAR_MAX (8u << 20)

/* A CAR of @ipld/car: a directory of three small files ("Z z" empty, "a" = "a", "b.txt" = "hello"),
 * blocks in order of their CIDs' texts. */
#define CAR_HEAD                                                                                   \
    "3aa265726f6f747381d82a58250001701220b85390343eb460807bad79024fb9f78811e61c0a1f8ea2b9a3405c42" \
    "b13fbc6e6776657273696f6e01"
#define CAR_HELLO                                                                                  \
    "29015512202cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b982468656c6c6f"
#define CAR_DIRECTORY                                                                              \
    "b50101701220b85390343eb460807bad79024fb9f78811e61c0a1f8ea2b9a3405c42b13fbc6e122d0a2401551220" \
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85512035a207a1800122b0a24015512" \
    "20ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb1201611801122f0a2401551220" \
    "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b98241205622e74787418050a020801"
#define CAR_A     "2501551220ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb61"
#define CAR_EMPTY "2401551220e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct seen {
    size_t count, bytes;
    char name[8][CID_TEXT_MAX];
    enum emac_status answer;
};

static enum emac_status see(void *ctx, const struct cid *cid, const void *data, size_t n,
                            struct emac_err *err)
{
    struct seen *s = ctx;
    struct cid real = cid_of((enum cid_codec)cid->codec, data, n);
    assert_true(cid_equal(&real, cid));
    cid_text(s->name[s->count++ % 8], cid);
    s->bytes += n;
    return s->answer == EMAC_OK ? EMAC_OK : emac_fail(err, s->answer, "no more, please");
}

/* Push `n` bytes in pieces of `step`, each a copy of its own so that sanitizers see an overrun. */
static enum emac_status read_car(const uint8_t *data, size_t n, size_t step, struct seen *seen,
                                 struct emac_err *err)
{
    struct car_reader *r;
    enum emac_status st = car_reader_new(&r, see, seen, err);
    for (size_t at = 0; at < n && st == EMAC_OK; at += step) {
        size_t take = n - at < step ? n - at : step;
        uint8_t *piece = malloc(take);
        memcpy(piece, data + at, take);
        st = car_reader_push(r, piece, take, err);
        free(piece);
    }
    if (st == EMAC_OK)
        return car_reader_end(r, err);
    car_reader_free(r);
    return st;
}

static enum emac_status read_hex(const char *hex, size_t step, struct seen *seen,
                                 struct emac_err *err)
{
    size_t n = strlen(hex) / 2;
    uint8_t *data = malloc(n + 1);
    assert_true(emac_unhex(data, n, hex));
    enum emac_status st = read_car(data, n, step, seen, err);
    free(data);
    return st;
}

static void a_car_of_ipfs_tools(void **state)
{
    static const char *const WANT[] = {
        "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq",
        "bafybeifykoidipvumcahxllzajh3t54ichtbycq7r2rlti2alrblcp54ny",
        "bafkreigks6arfsq3xxfpvqrrwonchxcnu6do76auprhhfomao6c273sixm",
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
    };
    for (size_t step = 1; step <= 600; step += step < 5 ? 1 : 37) {
        struct seen seen = {0};
        struct emac_err err = {0};
        assert_int_equal(
            read_hex(CAR_HEAD CAR_HELLO CAR_DIRECTORY CAR_A CAR_EMPTY, step, &seen, &err), EMAC_OK);
        assert_int_equal(seen.count, 4);
        for (size_t i = 0; i < 4; i++)
            assert_string_equal(seen.name[i], WANT[i]);
    }
}

/* The same bytes written by us. */
static void written_like_ipfs_tools(void **state)
{
    struct emac_buf b;
    struct emac_err err = {0};
    struct cid root, hello = cid_of(CID_RAW, "hello", 5);
    char *hex;
    emac_buf_init(&b, 1000);
    assert_int_equal(
        cid_parse(&root, "bafybeifykoidipvumcahxllzajh3t54ichtbycq7r2rlti2alrblcp54ny", &err),
        EMAC_OK);
    assert_int_equal(car_header(&b, &root, &err), EMAC_OK);
    assert_int_equal(car_section_prefix(&b, &hello, 5, &err), EMAC_OK);
    assert_int_equal(emac_buf_append(&b, "hello", 5, &err), EMAC_OK);
    hex = malloc(2 * b.len + 1);
    emac_hex(hex, b.data, b.len);
    assert_string_equal(hex, CAR_HEAD CAR_HELLO);
    assert_int_equal(car_section_prefix(&b, &hello, UNIXFS_BLOCK_MAX + 1, &err), EMAC_TOO_LARGE);
    free(hex);
    emac_buf_release(&b);
}

static void cars_refused(void **state)
{
    static const struct {
        const char *hex, *why;
        enum emac_status want;
    } CASES[] = {
        {"", "is cut after 0 bytes", EMAC_CORRUPT},
        {"3a", "is cut", EMAC_CORRUPT},
        {"80", "is cut", EMAC_CORRUPT},
        {"00", "malformed", EMAC_CORRUPT},
        {"8000", "malformed", EMAC_CORRUPT},
        {"ffffffffffffffffff01", "malformed", EMAC_CORRUPT},
        {"ffffffff0f", "over the limit", EMAC_TOO_LARGE},
        {"01a0", "'version' is missing", EMAC_CORRUPT},
        {"0100", "bad CAR header", EMAC_CORRUPT},
        {"0181", "bad dag-cbor", EMAC_CORRUPT},
        {"0aa16776657273696f6e01", "'roots' is missing", EMAC_CORRUPT},
        {"0aa16776657273696f6e02", "version 2", EMAC_UNSUPPORTED},
        {"12a265726f6f747381016776657273696f6e01", "root of a CAR", EMAC_CORRUPT},
        {CAR_HEAD "00", "malformed", EMAC_CORRUPT},
        {CAR_HEAD "0401551220", "is cut", EMAC_CORRUPT},
        {CAR_HEAD "0100", "of a CID", EMAC_CORRUPT},
        {CAR_HEAD "ffffff01", "over the limit", EMAC_TOO_LARGE},
        /* "hello" under the name of "a" */
        {CAR_HEAD "29"
                  "01551220ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
                  "68656c6c6f",
         "does not match its CID 'bafkreigks6arfsq3xxfpvqrrwonchxcnu6do76auprhhfomao6c273sixm'",
         EMAC_CORRUPT},
        /* identity hash */
        {CAR_HEAD "0401550000", "not supported", EMAC_UNSUPPORTED},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        for (size_t step = 1; step <= 100; step += 33) {
            struct seen seen = {0};
            struct emac_err err = {0};
            enum emac_status st = read_hex(CASES[i].hex, step, &seen, &err);
            if (st != CASES[i].want || strstr(err.text, CASES[i].why) == NULL)
                fail_msg("%s: status %d, '%s'", CASES[i].hex, st, err.text);
            assert_int_equal(seen.count, 0);
        }
    }
}

static void every_cut_is_seen(void **state)
{
    static const char CAR[] = CAR_HEAD CAR_HELLO CAR_A CAR_EMPTY;
    size_t whole = (sizeof CAR - 1) / 2, n_ok = 0;
    uint8_t *data = malloc(whole);
    assert_true(emac_unhex(data, whole, CAR));
    for (size_t n = 0; n <= whole; n++) {
        struct seen seen = {0};
        n_ok += read_car(data, n, 7, &seen, NULL) == EMAC_OK;
    }
    assert_int_equal(n_ok, 4); /* after the header and after each of three blocks */
    free(data);
}

static void the_callers_answer_stops(void **state)
{
    struct seen seen = {.answer = EMAC_NO_SPACE};
    struct emac_err err = {0};
    assert_int_equal(read_hex(CAR_HEAD CAR_HELLO CAR_A, 1000, &seen, &err), EMAC_NO_SPACE);
    assert_string_equal(err.text, "no more, please");
    assert_int_equal(seen.count, 1);
}

static void end_after_failure(void **state)
{
    struct car_reader *r;
    struct seen seen = {0};
    assert_int_equal(car_reader_new(&r, see, &seen, NULL), EMAC_OK);
    assert_int_equal(car_reader_push(r, "\0", 1, NULL), EMAC_CORRUPT);
    assert_int_equal(car_reader_end(r, NULL), EMAC_CORRUPT);
    car_reader_free(NULL);
}

/* Blocks up to the limit of 2 MiB, in pieces of any size. */
static bool blocks_round_trip(struct choices *c)
{
    struct emac_buf b;
    struct seen seen = {0};
    size_t count = choose(c, 6), bytes = 0;
    uint8_t *block = calloc(1, UNIXFS_BLOCK_MAX);
    struct cid root = cid_of(CID_RAW, "", 0);
    emac_buf_init(&b, CAR_MAX);
    bool ok = car_header(&b, &root, NULL) == EMAC_OK;
    for (size_t i = 0; i < count && ok; i++) {
        size_t n = i == 0 ? UNIXFS_BLOCK_MAX : choose(c, 70000);
        choose_bytes(c, block, n < 16 ? n : 16);
        struct cid cid = cid_of(CID_RAW, block, n);
        ok = car_section_prefix(&b, &cid, n, NULL) == EMAC_OK &&
             emac_buf_append(&b, block, n, NULL) == EMAC_OK;
        bytes += n;
    }
    ok = ok && read_car(b.data, b.len, 1 + choose(c, 100000), &seen, NULL) == EMAC_OK;
    ok = ok && seen.count == count && seen.bytes == bytes;
    emac_buf_release(&b);
    free(block);
    return ok;
}

static void blocks_property(void **state)
{
    ASSERT_PROPERTY(20, blocks_round_trip);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_car_of_ipfs_tools),
        cmocka_unit_test(written_like_ipfs_tools),
        cmocka_unit_test(cars_refused),
        cmocka_unit_test(every_cut_is_seen),
        cmocka_unit_test(the_callers_answer_stops),
        cmocka_unit_test(end_after_failure),
        cmocka_unit_test(blocks_property),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

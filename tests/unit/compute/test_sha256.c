/* SHA-256 on a device against OpenSSL's, in both layouts of work, and reads by other threads.
 * (Races and stray accesses: test_oclgrind.c.) Without an OpenCL device it is skipped, and said. */
#include "compute_test.h"

#include "../opencl_there.h"
#include "codec/unixfs.h"
#include "compute/opencl/cl_impl.h"
#include "crypto/crypto.h"
#include "os/thread.h"

#define SPARE 4 /* bytes before what is hashed: it may begin at any float */

static struct test_devices devices;

static uint8_t byte_at(size_t i)
{
    return (uint8_t)((i * 2654435761u) >> 13);
}

/* n bytes in pieces, each as OpenSSL has it. */
static void check(struct device *dev, const uint8_t *bytes, uint8_t *there, size_t n, size_t piece)
{
    size_t count = (n - 1) / piece + 1;
    uint8_t(*got)[32] = calloc(count, sizeof *got), want[32];
    struct emac_err err;
    if (device_sha256(dev, there, n, piece, got, &err) != EMAC_OK)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < count; i++) {
        size_t size = n - i * piece < piece ? n - i * piece : piece;
        crypto_sha256(want, bytes + i * piece, size);
        if (memcmp(want, got[i], sizeof want) != 0)
            fail_msg("%s: piece %zu of %zu bytes, each of %zu, is wrong", device_name(dev), i, n,
                     piece);
    }
    free(got);
}

/* Every length of a last piece: within a block, at its ends, where the length needs a block more;
 * around the ends of leaves, and of a file that is one. */
static void lengths(void **state)
{
    static const size_t around[] = {0, 1, 55, 56, 63, 64, 65};
    const size_t most = 3 * UNIXFS_CHUNK + 65;
    uint8_t *bytes = malloc(most), *there;
    for (size_t i = 0; i < most; i++)
        bytes[i] = byte_at(i);
    for (int o = 0; o < 2; o++) {
        struct device *dev = devices.opencl[o];
        assert_int_equal(device_alloc(dev, most + SPARE, &there, NULL), EMAC_OK);
        there += SPARE;
        assert_int_equal(device_write(dev, there, bytes, most, NULL), EMAC_OK);
        for (size_t n = 1; n <= 259; n++) {
            check(dev, bytes, there, n, 64);
            check(dev, bytes, there, n, 192);
            check(dev, bytes, there, n, 4096);
        }
        for (size_t leaves = 0; leaves <= 3; leaves++)
            for (size_t i = 0; i < EMAC_COUNT(around); i++) {
                size_t n = leaves * UNIXFS_CHUNK + around[i];
                if (n > 0)
                    check(dev, bytes, there, n, UNIXFS_CHUNK);
                if (n > 1 && around[i] == 0)
                    check(dev, bytes, there, n - 1, UNIXFS_CHUNK);
            }
        device_free(dev, there - SPARE);
    }
    free(bytes);
}

/* More pieces than a group, or all groups at once, have items. */
static void many_pieces(void **state)
{
    const size_t n = 5000 * 64 + 3;
    uint8_t *bytes = malloc(n), *there;
    for (size_t i = 0; i < n; i++)
        bytes[i] = byte_at(i);
    for (int o = 0; o < 2; o++) {
        assert_int_equal(device_alloc(devices.opencl[o], n, &there, NULL), EMAC_OK);
        assert_int_equal(device_write(devices.opencl[o], there, bytes, n, NULL), EMAC_OK);
        check(devices.opencl[o], bytes, there, n, 64);
        device_free(devices.opencl[o], there);
    }
    free(bytes);
}

/* Only digests cross the bus. */
static void crossing(void **state)
{
    struct device *dev = devices.opencl[0];
    struct device_memory before, after;
    uint8_t *there, digest[16][32];
    assert_int_equal(device_alloc(dev, 16 * 4096, &there, NULL), EMAC_OK);
    device_memory(dev, &before);
    assert_int_equal(device_sha256(dev, there, 16 * 4096, 4096, digest, NULL), EMAC_OK);
    device_memory(dev, &after);
    assert_int_equal(after.read - before.read, sizeof digest);
    assert_int_equal(after.written, before.written);
    device_free(dev, there);
}

/* Past 4 GiB of one allocation; the memory is touched at its end only. */
static void far_away(void **state)
{
    struct device *dev = devices.opencl[0];
    const size_t far = ((size_t)4 << 30) + 4096, n = 3000;
    uint8_t bytes[3000], got[3000], *there;
    struct device_view view;
    struct device_memory m;
    device_memory(dev, &m);
    if (m.alloc_max < far + n || device_alloc(dev, far + n, &there, NULL) != EMAC_OK) {
        printf("# past 4 GiB: not tested, one piece has at most %llu bytes here\n",
               (unsigned long long)m.alloc_max);
        return;
    }
    for (size_t i = 0; i < n; i++)
        bytes[i] = byte_at(i);
    assert_int_equal(device_write(dev, there + far, bytes, n, NULL), EMAC_OK);
    check(dev, bytes, there + far, n, 1024);
    assert_int_equal(device_view(dev, there + far, n, &view, NULL), EMAC_OK);
    assert_int_equal(device_view_read(&view, got, NULL), EMAC_OK);
    assert_memory_equal(got, bytes, n);
    device_free(dev, there);
}

/* ---- views ---- */

#define VIEWED ((size_t)300000)

struct reader {
    struct device_view view;
    struct os_thread thread;
    enum emac_status st;
    bool right;
};

static void *reader(void *arg)
{
    struct reader *r = arg;
    uint8_t *got = malloc(VIEWED);
    r->right = true;
    for (int i = 0; i < 20 && r->st == EMAC_OK; i++) {
        r->st = device_view_read(&r->view, got, NULL);
        for (size_t k = 0; k < VIEWED && r->st == EMAC_OK; k++)
            r->right = r->right && got[k] == byte_at(k);
    }
    free(got);
    return NULL;
}

/* Others read what is there while the device allocates, computes and frees. */
static void read_beside(void **state)
{
    struct device *dev = devices.opencl[0];
    struct reader r[2] = {{.st = EMAC_OK}, {.st = EMAC_OK}};
    struct device_memory before, after;
    uint8_t *bytes = malloc(VIEWED), *there;
    float *x;
    for (size_t i = 0; i < VIEWED; i++)
        bytes[i] = byte_at(i);
    assert_int_equal(device_alloc(dev, VIEWED, &there, NULL), EMAC_OK);
    assert_int_equal(device_write(dev, there, bytes, VIEWED, NULL), EMAC_OK);
    device_memory(dev, &before);
    for (size_t i = 0; i < EMAC_COUNT(r); i++) {
        assert_int_equal(device_view(dev, there, VIEWED, &r[i].view, NULL), EMAC_OK);
        os_thread_start(&r[i].thread, reader, &r[i]);
    }
    for (int i = 0; i < 50; i++) {
        assert_int_equal(device_alloc(dev, 40000, &x, NULL), EMAC_OK);
        assert_int_equal(device_add(dev, x, x, x, 10000, NULL), EMAC_OK);
        device_free(dev, x);
    }
    for (size_t i = 0; i < EMAC_COUNT(r); i++) {
        os_thread_join(&r[i].thread);
        assert_int_equal(r[i].st, EMAC_OK);
        assert_true(r[i].right);
    }
    device_memory(dev, &after);
    assert_int_equal(after.viewed - before.viewed, 2 * 20 * VIEWED);
    assert_int_equal(after.read, before.read);
    device_free(dev, there);
    free(bytes);
}

/* ---- where it pays ---- */

/* The rule, with figures of a card behind one lane (0.8 GB/s: 1.25 ms a MiB) and of PoCL, whose bus
 * is the host's memory. */
static void where_it_pays(void **state)
{
    static const struct {
        struct device_hashing h;
        size_t mib;
        uint32_t threads;
        bool pays;
    } table[] = {
        {{0, 0, 0, 0}, 1000, 2, false}, /* not measured */
        /* a leaf takes 130 ms alone, all lanes together 0.1 ms a MiB */
        {{130000000, 100000, 1250000, 600000}, 1, 2, false},
        {{130000000, 100000, 1250000, 600000}, 83, 2, false},
        {{130000000, 100000, 1250000, 600000}, 85, 2, true},
        {{130000000, 100000, 1250000, 600000}, 1500, 2, true},
        {{130000000, 100000, 1250000, 600000}, 71, 1, true},
        {{130000000, 100000, 60000, 600000}, 1500, 16, false}, /* sixteen lanes, a large host */
        {{4000000, 2000000, 100000, 600000}, 1500, 2, false},  /* PoCL */
    };
    struct device *dev = devices.opencl[0];
    struct device_hashing was = dev->hashing;
    for (size_t i = 0; i < EMAC_COUNT(table); i++) {
        dev->hashing = table[i].h;
        if (device_sha256_pays(dev, table[i].mib << 20, UNIXFS_CHUNK, table[i].threads) !=
            table[i].pays)
            fail_msg("row %zu", i);
    }
    dev->hashing = was;
    assert_false(device_sha256_pays(devices.ref, (size_t)1 << 30, UNIXFS_CHUNK, 1));
}

static void measured(void **state)
{
    struct device_hashing h;
    struct emac_err err;
    assert_int_equal(device_hashing_measure(devices.opencl[0], os_real(), &h, &err), EMAC_OK);
    assert_true(h.serial > 0 && h.wide > 0 && h.bus > 0 && h.host > 0);
    assert_int_equal(device_hashing_measure(devices.ref, os_real(), &h, &err), EMAC_UNSUPPORTED);
}

int main(void)
{
    if (!opencl_there())
        return 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths),  cmocka_unit_test(many_pieces), cmocka_unit_test(crossing),
        cmocka_unit_test(far_away), cmocka_unit_test(read_beside), cmocka_unit_test(where_it_pays),
        cmocka_unit_test(measured),
    };
    assert_int_equal(device_cpu_open(ISA_REF, 1, &devices.ref, NULL), EMAC_OK);
    test_opencl_open(&devices);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    test_devices_close(&devices);
    return rc;
}

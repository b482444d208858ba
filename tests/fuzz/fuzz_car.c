/* A CAR in pieces of (first byte + 1) bytes and the same CAR in one piece: same answer, same
 * blocks, and each block matches its CID. */
#include <string.h>

#include "base/assert.h"
#include "codec/car.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct seen {
    size_t count;
    struct cid last;
};

static enum emac_status see(void *ctx, const struct cid *cid, const void *data, size_t n,
                            struct emac_err *err)
{
    struct seen *s = ctx;
    struct cid real = cid_of((enum cid_codec)cid->codec, data, n);
    EMAC_ASSERT(cid_equal(&real, cid));
    s->count++;
    s->last = *cid;
    return EMAC_OK;
}

static enum emac_status read_car(const uint8_t *data, size_t n, size_t step, struct seen *seen)
{
    struct car_reader *r;
    enum emac_status st = car_reader_new(&r, see, seen, NULL);
    for (size_t at = 0; at < n && st == EMAC_OK; at += step)
        st = car_reader_push(r, data + at, n - at < step ? n - at : step, NULL);
    if (st == EMAC_OK)
        return car_reader_end(r, NULL);
    car_reader_free(r);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct seen pieces = {0}, whole = {0};
    if (n < 1)
        return 0;
    enum emac_status a = read_car(data + 1, n - 1, (size_t)data[0] + 1, &pieces);
    enum emac_status b = read_car(data + 1, n - 1, n, &whole);
    EMAC_ASSERT(a == b && pieces.count == whole.count);
    EMAC_ASSERT(memcmp(&pieces.last, &whole.last, sizeof whole.last) == 0);
    return 0;
}

/* SHA-256 where the bytes are, and what that costs against bringing them. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "compute/opencl/cl_impl.h"
#include "compute/opencl/ops.h"
#include "crypto/crypto.h"

#define GROUP_MOST   64 /* items side by side in a group */
#define GROUPS_UNIT  4  /* groups a unit runs at once, while there are pieces for so many */
#define MIB          ((size_t)1 << 20)
#define MEASURED     (4 * MIB)
#define SERIAL_BYTES ((size_t)64 << 10)
#define WIDE_PIECE   ((size_t)1 << 10) /* 4096 of them: as many as a card has lanes */
#define RUNS         3

/* Few pieces are spread over the units, many share them. */
static size_t group_of(const struct cl *cl, size_t count)
{
    const struct cl_limits *limits = cl_limits(cl);
    size_t want = count / ((size_t)limits->units * GROUPS_UNIT + 1) + 1, group = 1;
    while (group < want && group < GROUP_MOST)
        group *= 2;
    return cl_is_wide(cl) ? 1 : cl_min(group, limits->group_max);
}

enum emac_status cl_sha256(struct cl *cl, const void *src, size_t n, size_t piece,
                           uint8_t (*digest)[32], struct emac_err *err)
{
    size_t count = cl_div_up(n, piece), group = group_of(cl, count);
    struct launch l;
    void *there;
    enum emac_status st = cl_scratch(cl, count * sizeof *digest, &there, err);
    if (st != EMAC_OK)
        return st;
    launch_begin(&l, cl, "sha256", "sha256_pieces");
    launch_memory(&l, src);
    launch_memory(&l, there);
    launch_number(&l, n);
    launch_number(&l, piece);
    launch_number(&l, count);
    l.call.global[0] = cl_div_up(count, group) * group;
    l.call.local[0] = group;
    st = launch_items(&l, err);
    return st == EMAC_OK ? cl_memory_read(cl, digest, there, count * sizeof *digest, err) : st;
}

/* ---- what it costs ---- */

struct measuring {
    struct cl *cl;
    uint8_t *there;        /* MEASURED bytes of the device */
    uint8_t *here;         /* and of the host */
    uint8_t (*digest)[32]; /* MEASURED / WIDE_PIECE */
};

static enum emac_status do_serial(struct measuring *m, struct emac_err *err)
{
    return cl_sha256(m->cl, m->there, SERIAL_BYTES, SERIAL_BYTES, m->digest, err);
}

static enum emac_status do_wide(struct measuring *m, struct emac_err *err)
{
    return cl_sha256(m->cl, m->there, MEASURED, WIDE_PIECE, m->digest, err);
}

static enum emac_status do_bus(struct measuring *m, struct emac_err *err)
{
    return cl_memory_read(m->cl, m->here, m->there, MEASURED, err);
}

static enum emac_status do_host(struct measuring *m, struct emac_err *err)
{
    (void)err;
    crypto_sha256(m->digest[0], m->here, MIB);
    return EMAC_OK;
}

/* ns a MiB of the shortest of a few runs, after one that compiles and touches the memory. */
static enum emac_status time_one(struct measuring *m, struct os *os, size_t bytes,
                                 enum emac_status (*fn)(struct measuring *, struct emac_err *),
                                 uint32_t *out, struct emac_err *err)
{
    uint64_t least = UINT64_MAX;
    enum emac_status st = fn(m, err);
    for (int i = 0; i < RUNS && st == EMAC_OK; i++) {
        uint64_t began = os->mono_ns(os), took;
        st = fn(m, err);
        took = os->mono_ns(os) - began;
        least = took < least ? took : least;
    }
    double each = (double)least * (double)MIB / (double)bytes;
    *out = each < 1 ? 1 : each > UINT32_MAX ? UINT32_MAX : (uint32_t)each;
    return st;
}

enum emac_status cl_hashing(struct cl *cl, struct os *os, struct device_hashing *out,
                            struct emac_err *err)
{
    struct measuring m = {.cl = cl};
    enum emac_status st;
    EMAC_TRY(st, emac_alloc_aligned(&m.here, MEASURED, err));
    EMAC_TRY(st, emac_alloc(&m.digest, MEASURED / WIDE_PIECE, sizeof *m.digest, err));
    EMAC_TRY(st, cl_memory_alloc(cl, MEASURED, (void **)&m.there, err));
    EMAC_TRY(st, cl_fill(cl, (float *)(void *)m.there, MEASURED / sizeof(float), 0.5f, err));
    EMAC_TRY(st, time_one(&m, os, SERIAL_BYTES, do_serial, &out->serial, err));
    EMAC_TRY(st, time_one(&m, os, MEASURED, do_wide, &out->wide, err));
    EMAC_TRY(st, time_one(&m, os, MEASURED, do_bus, &out->bus, err));
    EMAC_TRY(st, time_one(&m, os, MIB, do_host, &out->host, err));
out:
    cl_memory_free(cl, m.there);
    free(m.digest);
    free(m.here);
    return st;
}

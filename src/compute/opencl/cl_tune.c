/* How products are cut on this device: every tile that fits is timed on a few shapes, and what it
 * took beyond what the model of cost (op_matmul.c) says becomes its weight. The choice changes
 * speed only, never a bit. Kept in a small file, valid for this device and driver. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "compute/opencl/cl_impl.h"
#include "compute/opencl/ops.h"

#define HEAD        "emac tiles 2"
#define FILE_MAX    4096
#define RUNS        3
#define TUNE_NS     (UINT64_C(3) * 1000000000) /* of timing; compiling comes on top */
#define FLOATS      ((size_t)1 << 19)          /* of each matrix: 2 MiB */
#define WEIGHT_ONE  1000u
#define WEIGHT_MOST 100000u

/* Of training: square-ish, few rows, few columns. */
static const size_t shapes[][3] = {{512, 512, 512}, {16, 1024, 512}, {512, 64, 1024}};

struct tuning {
    struct cl *cl;
    struct os *os;
    float *a, *b, *c;
    uint64_t end_ns;
    double excess[CL_TILES_MAX]; /* time over the model's, the best tile's being 1; 0: not timed */
};

/* ---- the file ---- */

static bool line_take(const char **at, const char *want)
{
    size_t n = strlen(want);
    if (strncmp(*at, want, n) != 0 || (*at)[n] != '\n')
        return false;
    *at += n + 1;
    return true;
}

static bool number_take(const char **at, unsigned long least, unsigned long most, uint32_t *out)
{
    char *end;
    unsigned long v = strtoul(*at, &end, 10);
    if (end == *at || *end != '\n' || v < least || v > most)
        return false;
    *out = (uint32_t)v;
    *at = end + 1;
    return true;
}

/* All of it must be right, or nothing is taken. */
static bool weights_parse(struct cl *cl, const char *text)
{
    uint32_t weight[CL_TILES_MAX], hashing[4];
    if (!line_take(&text, HEAD) || !line_take(&text, cl->device.name))
        return false;
    for (size_t i = 0; i < CL_TILES_COUNT; i++)
        if (!number_take(&text, WEIGHT_ONE, WEIGHT_MOST, &weight[i]))
            return false;
    for (size_t i = 0; i < EMAC_COUNT(hashing); i++)
        if (!number_take(&text, 1, UINT32_MAX, &hashing[i]))
            return false;
    if (*text != '\0')
        return false;
    memcpy(cl->tile_weight, weight, CL_TILES_COUNT * sizeof *weight);
    cl->device.hashing = (struct device_hashing){hashing[0], hashing[1], hashing[2], hashing[3]};
    return true;
}

static bool weights_read(struct cl *cl, struct os *os, const char *path)
{
    struct emac_buf text;
    emac_buf_init(&text, FILE_MAX);
    bool ok =
        os->file_read(os, path, &text, NULL) == EMAC_OK && weights_parse(cl, emac_buf_str(&text));
    emac_buf_release(&text);
    return ok;
}

static enum emac_status weights_write(const struct cl *cl, struct os *os, const char *path,
                                      struct emac_err *err)
{
    struct emac_buf text;
    enum emac_status st;
    emac_buf_init(&text, FILE_MAX);
    EMAC_TRY(st, emac_buf_printf(&text, err, "%s\n%s\n", HEAD, cl->device.name));
    for (size_t i = 0; i < CL_TILES_COUNT; i++)
        EMAC_TRY(st, emac_buf_printf(&text, err, "%u\n", (unsigned)cl->tile_weight[i]));
    const struct device_hashing *h = &cl->device.hashing;
    EMAC_TRY(st,
             emac_buf_printf(&text, err, "%u\n%u\n%u\n%u\n", h->serial, h->wide, h->bus, h->host));
    st = os->file_write(os, path, text.data, text.len, 0600, err);
out:
    emac_buf_release(&text);
    return st;
}

/* ---- timing ---- */

static struct cl_matmul product(const struct tuning *t, const size_t mnk[3], int trans)
{
    bool ta = trans & 1, tb = trans & 2;
    return (struct cl_matmul){.a = t->a,
                              .b = t->b,
                              .c = t->c,
                              .m = mnk[0],
                              .n = mnk[1],
                              .k = mnk[2],
                              .trans_a = ta,
                              .trans_b = tb,
                              .lda = ta ? mnk[0] : mnk[2],
                              .ldb = tb ? mnk[2] : mnk[1],
                              .ldc = mnk[1],
                              .outer = 1,
                              .inner = 1,
                              .b_group = 1};
}

static enum emac_status run(struct tuning *t, const struct cl_tile *tile,
                            const struct cl_matmul *mm, struct emac_err *err)
{
    enum emac_status st = cl_matmul_tiled(t->cl, tile, mm, err);
    return st == EMAC_OK ? cl_memory_finish(t->cl, err) : st;
}

/* The shortest of a few runs after one that compiles. */
static enum emac_status time_tile(struct tuning *t, const struct cl_tile *tile,
                                  const struct cl_matmul *mm, double *out, struct emac_err *err)
{
    uint64_t least = UINT64_MAX;
    enum emac_status st;
    EMAC_TRY(st, run(t, tile, mm, err));
    for (int i = 0; i < RUNS; i++) {
        uint64_t began = t->os->mono_ns(t->os), took;
        EMAC_TRY(st, run(t, tile, mm, err));
        took = t->os->mono_ns(t->os) - began;
        least = took < least ? took : least;
    }
    *out = (double)(least ? least : 1) / cl_tile_cost(t->cl, tile, mm);
out:
    return st;
}

/* Adds one shape's excess to each tile that there was time for. */
static enum emac_status time_shape(struct tuning *t, const size_t mnk[3], struct emac_err *err)
{
    double took[CL_TILES_MAX] = {0}, best = 0;
    const struct cl_matmul mm = product(t, mnk, 2);
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < CL_TILES_COUNT; i++) {
        if (!cl_tile_fits(t->cl, &CL_TILES[i]) || t->os->mono_ns(t->os) > t->end_ns)
            continue;
        EMAC_TRY(st, time_tile(t, &CL_TILES[i], &mm, &took[i], err));
        best = best == 0 || took[i] < best ? took[i] : best;
    }
    for (size_t i = 0; i < CL_TILES_COUNT; i++)
        t->excess[i] += best > 0 ? took[i] / best : 0;
out:
    return st;
}

/* What was not timed counts as the worst of those that were. */
static void weights_set(struct tuning *t)
{
    double worst = 1;
    for (size_t i = 0; i < CL_TILES_COUNT; i++) {
        t->excess[i] /= EMAC_COUNT(shapes);
        worst = t->excess[i] > worst ? t->excess[i] : worst;
    }
    for (size_t i = 0; i < CL_TILES_COUNT; i++) {
        double w = t->excess[i] > 0 ? t->excess[i] : worst;
        w = w < 1 ? 1 : w > WEIGHT_MOST / WEIGHT_ONE ? WEIGHT_MOST / WEIGHT_ONE : w;
        t->cl->tile_weight[i] = (uint32_t)(w * WEIGHT_ONE);
    }
}

/* A driver for processors compiles and links when a kernel first runs: let it run all now. */
static enum emac_status compile_all(struct tuning *t, struct emac_err *err)
{
    static const size_t small[3] = {16, 64, 16};
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < CL_TILES_COUNT && st == EMAC_OK; i++)
        for (int trans = 0; trans < 4 && st == EMAC_OK; trans++) {
            const struct cl_matmul mm = product(t, small, trans);
            if (cl_tile_fits(t->cl, &CL_TILES[i]))
                st = run(t, &CL_TILES[i], &mm, err);
        }
    return st;
}

enum emac_status cl_tune(struct cl *cl, struct os *os, const char *path, struct emac_err *err)
{
    struct tuning t = {.cl = cl, .os = os};
    const size_t bytes = FLOATS * sizeof(float);
    uint8_t digest[1][32];
    enum emac_status st;
    EMAC_TRY(st, cl_memory_alloc(cl, bytes, (void **)&t.a, err));
    EMAC_TRY(st, cl_memory_alloc(cl, bytes, (void **)&t.b, err));
    EMAC_TRY(st, cl_memory_alloc(cl, bytes, (void **)&t.c, err));
    EMAC_TRY(st, cl_fill(cl, t.a, FLOATS, 0.5f, err));
    EMAC_TRY(st, cl_fill(cl, t.b, FLOATS, 0.25f, err));
    if (cl->limits.is_cpu) {
        EMAC_TRY(st, compile_all(&t, err));
        EMAC_TRY(st, cl_sha256(cl, t.a, 1, 64, digest, err));
    }
    if (weights_read(cl, os, path))
        goto out;
    t.end_ns = os->mono_ns(os) + TUNE_NS;
    for (size_t i = 0; i < EMAC_COUNT(shapes); i++)
        EMAC_TRY(st, time_shape(&t, shapes[i], err));
    weights_set(&t);
    EMAC_TRY(st, cl_hashing(cl, os, &cl->device.hashing, err));
    st = weights_write(cl, os, path, err);
out:
    cl_memory_free(cl, t.a);
    cl_memory_free(cl, t.b);
    cl_memory_free(cl, t.c);
    return st;
}

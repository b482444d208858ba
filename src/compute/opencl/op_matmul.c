/* Rule 3's products: kernels/matmul_wide.cl and matmul_tile.cl.
 *
 * Where there are too few tiles for the device the blocks of 256 k's are computed apart, each into
 * a piece of scratch, and added in order afterwards: the same sums, so the same bits. */
#include "base/assert.h"
#include "compute/opencl/ops.h"
#include "compute/ref/ref.h"

#define UNIT_ROWS_MAX 384                /* wide: x 256 floats of A stay in a level-2 cache */
#define UNITS_EACH    4                  /* wide: units of work for a core, at least */
#define SPLIT_BYTES   ((size_t)64 << 20) /* of partial sums */

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void matmul_begin(struct launch *l, struct cl *cl, const char *program,
                         const struct cl_matmul *mm)
{
    const size_t number[] = {mm->m,       mm->n,       mm->k,       mm->lda,     mm->ldb,
                             mm->ldc,     mm->inner,   mm->b_group, mm->a_outer, mm->a_inner,
                             mm->b_outer, mm->b_inner, mm->c_outer, mm->c_inner, mm->k_step};
    launch_begin(l, cl, program, "matmul");
    launch_define(l, "TRANS_A", mm->trans_a);
    launch_define(l, "TRANS_B", mm->trans_b);
    launch_memory(l, mm->a);
    launch_memory(l, mm->b);
    launch_memory(l, mm->c);
    for (size_t i = 0; i < EMAC_COUNT(number); i++)
        launch_number(l, number[i]);
    launch_word(l, mm->accumulate);
}

/* Tiles of cl_tile->m rows by n vectors. */
static enum emac_status run_wide(struct cl *cl, const struct cl_tile *tile,
                                 const struct cl_matmul *mm, struct emac_err *err)
{
    const size_t one[2] = {1, 1};
    size_t cols = tile->n * cl_vec(cl), panel = RULE_BLOCK * cols, z = mm->outer * mm->inner;
    size_t local = cl_limits(cl)->local_bytes / sizeof(float) - cl_vec(cl);
    size_t rows_max = cl_min(UNIT_ROWS_MAX, (local - panel) / RULE_BLOCK) / tile->m;
    size_t tiles = cl_div_up(mm->m, tile->m), panels = cl_div_up(mm->n, cols), wanted;
    size_t row_units = cl_div_up(tiles, rows_max), unit_tiles = cl_div_up(tiles, row_units);
    struct launch l;
    wanted = cl_div_up(cl_limits(cl)->units * UNITS_EACH, row_units * z);
    size_t unit_panels = cl_div_up(panels, cl_min(wanted, panels));
    matmul_begin(&l, cl, "matmul_wide", mm);
    launch_define(&l, "TILE_M", tile->m);
    launch_define(&l, "TILE_V", tile->n);
    launch_number(&l, unit_tiles * tile->m);
    launch_number(&l, unit_panels * cols);
    launch_local(&l, (unit_tiles * tile->m * RULE_BLOCK + cl_vec(cl) + panel) * sizeof(float));
    return launch_groups(&l, one, cl_div_up(panels, unit_panels), cl_div_up(tiles, unit_tiles), z,
                         err);
}

static enum emac_status run_tile(struct cl *cl, const struct cl_tile *tile,
                                 const struct cl_matmul *mm, struct emac_err *err)
{
    const size_t items[2] = {tile->n / tile->item_n, tile->m / tile->item_m};
    struct launch l;
    matmul_begin(&l, cl, "matmul_tile", mm);
    launch_define(&l, "TILE_M", tile->m);
    launch_define(&l, "TILE_N", tile->n);
    launch_define(&l, "ITEM_M", tile->item_m);
    launch_define(&l, "ITEM_N", tile->item_n);
    launch_define(&l, "STEP", tile->step);
    return launch_groups(&l, items, cl_div_up(mm->n, tile->n), cl_div_up(mm->m, tile->m),
                         mm->outer * mm->inner, err);
}

/* ---- tiles ---- */

const struct cl_tile CL_TILES[] = {
    {.wide = true, .m = 12, .n = 2},
    {.wide = true, .m = 8, .n = 3},
    {.wide = true, .m = 6, .n = 2},
    {.wide = true, .m = 4, .n = 4},
    {.wide = true, .m = 4, .n = 2},
    {.wide = true, .m = 1, .n = 4},
    {.wide = true, .m = 12, .n = 1}, /* fits 32 KiB of local memory, as those with few rows */
    {.wide = true, .m = 4, .n = 1},
    {.m = 128, .n = 128, .item_m = 8, .item_n = 8, .step = 16},
    {.m = 128, .n = 64, .item_m = 8, .item_n = 8, .step = 16},
    {.m = 64, .n = 64, .item_m = 4, .item_n = 4, .step = 16},
    {.m = 64, .n = 64, .item_m = 8, .item_n = 8, .step = 16},
    {.m = 32, .n = 64, .item_m = 4, .item_n = 4, .step = 16},
    {.m = 16, .n = 64, .item_m = 4, .item_n = 4, .step = 16},
};
const size_t CL_TILES_COUNT = EMAC_COUNT(CL_TILES);
_Static_assert(EMAC_COUNT(CL_TILES) <= CL_TILES_MAX, "a weight for each tile");

static size_t tile_items(const struct cl_tile *t)
{
    return (size_t)(t->m / t->item_m) * (t->n / t->item_n);
}

bool cl_tile_fits(const struct cl *cl, const struct cl_tile *t)
{
    const struct cl_limits *limits = cl_limits(cl);
    size_t local = limits->local_bytes / sizeof(float);
    if (t->wide != cl_is_wide(cl))
        return false;
    if (t->wide)
        return t->m <= cl_vec(cl) &&
               local >= cl_vec(cl) + RULE_BLOCK * (t->n * cl_vec(cl) + (size_t)t->m);
    return tile_items(t) <= limits->group_max && local >= (size_t)t->step * (t->m + t->n + 8);
}

/* Accumulators in registers and the passes over tiles: a tile that sticks out of C computes what
 * nobody wants, one with few elements an item reads local memory too often, and too few tiles leave
 * units of the device idle. */
double cl_tile_cost(const struct cl *cl, const struct cl_tile *t, const struct cl_matmul *mm)
{
    size_t n = t->wide ? t->n * cl_vec(cl) : t->n, units = cl_limits(cl)->units;
    double item_m = t->wide ? t->m : t->item_m, item_n = t->wide ? t->n : t->item_n;
    double reads = (item_m + item_n) / (item_m * item_n);
    size_t tiles = cl_div_up(mm->m, t->m) * cl_div_up(mm->n, n) * mm->outer * mm->inner;
    return (double)cl_div_up(tiles, units) * (double)units * (double)(t->m * n) * (1.0 + reads);
}

/* As the tuner found it. */
static double tile_cost(const struct cl *cl, const struct cl_tile *t, const struct cl_matmul *mm)
{
    return cl_tile_cost(cl, t, mm) * cl_tile_weight(cl, (size_t)(t - CL_TILES));
}

static const struct cl_tile *tile_choose(const struct cl *cl, const struct cl_matmul *mm)
{
    const struct cl_tile *best = NULL;
    for (const struct cl_tile *t = CL_TILES; t < CL_TILES + CL_TILES_COUNT; t++)
        if (cl_tile_fits(cl, t) && (best == NULL || tile_cost(cl, t, mm) < tile_cost(cl, best, mm)))
            best = t;
    return best;
}

/* ---- products ---- */

static enum emac_status run(struct cl *cl, const struct cl_tile *tile, const struct cl_matmul *mm,
                            struct emac_err *err)
{
    return tile->wide ? run_wide(cl, tile, mm, err) : run_tile(cl, tile, mm, err);
}

enum emac_status cl_matmul_tiled(struct cl *cl, const struct cl_tile *tile,
                                 const struct cl_matmul *mm, struct emac_err *err)
{
    EMAC_ASSERT(cl_tile_fits(cl, tile));
    return run(cl, tile, mm, err);
}

enum emac_status cl_matmul(struct cl *cl, const struct cl_matmul *mm, struct emac_err *err)
{
    const struct cl_tile *tile = tile_choose(cl, mm);
    if (tile == NULL)
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "the device has too little local memory for a matrix product");
    return run(cl, tile, mm, err);
}

/* Blocks of k side by side, into scratch. */
static enum emac_status run_split(struct cl *cl, const struct cl_matmul *mm, struct emac_err *err)
{
    size_t blocks = cl_div_up(mm->k, RULE_BLOCK);
    struct cl_matmul part = *mm;
    void *sums;
    enum emac_status st = cl_scratch(cl, blocks * mm->m * mm->n * sizeof(float), &sums, err);
    if (st != EMAC_OK)
        return st;
    part.c = sums;
    part.outer = blocks;
    part.k_step = RULE_BLOCK;
    part.a_outer = RULE_BLOCK * (mm->trans_a ? mm->lda : 1);
    part.b_outer = RULE_BLOCK * (mm->trans_b ? 1 : mm->ldb);
    part.c_outer = mm->m * mm->n;
    st = cl_matmul(cl, &part, err);
    return st == EMAC_OK ? cl_add_rows(cl, mm->c, sums, blocks, mm->m * mm->n, err) : st;
}

/* Fewer of the smallest tiles than units, and several blocks. */
static bool worth_splitting(const struct cl *cl, const struct cl_matmul *mm)
{
    const struct cl_tile *t = tile_choose(cl, mm);
    size_t blocks = cl_div_up(mm->k, RULE_BLOCK), tiles;
    if (t == NULL || blocks < 2 || mm->m * mm->n > SPLIT_BYTES / sizeof(float) / blocks)
        return false;
    tiles = cl_div_up(mm->m, t->m) * cl_div_up(mm->n, t->wide ? t->n * cl_vec(cl) : t->n);
    return tiles < max_size(cl_limits(cl)->units, 2);
}

enum emac_status cl_op_matmul(struct cl *cl, const struct op_attrs *attrs, const struct tensor *in,
                              struct tensor *out, struct emac_err *err)
{
    struct cl_matmul mm = {.a = in[0].data,
                           .b = in[1].data,
                           .c = out[0].data,
                           .m = out[0].shape.dim[0],
                           .n = out[0].shape.dim[1],
                           .trans_a = attrs->at[0].i,
                           .trans_b = attrs->at[1].i,
                           .lda = in[0].shape.dim[1],
                           .ldb = in[1].shape.dim[1],
                           .ldc = out[0].shape.dim[1],
                           .outer = 1,
                           .inner = 1,
                           .b_group = 1};
    mm.k = in[0].shape.dim[mm.trans_a ? 0 : 1];
    return worth_splitting(cl, &mm) ? run_split(cl, &mm, err) : cl_matmul(cl, &mm, err);
}

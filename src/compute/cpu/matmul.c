/* Rule 3's product on all threads.
 *
 * A unit of work is a rectangle of C: some rows times some panels of columns. For each group of
 * blocks of 256 k's, A's part of the unit stays in the level-2 cache: it is read where it lies, or
 * copied first when it is stored transposed or its rows compete for the same cache sets. Then panel
 * by panel, and block by block within one, B is packed into a buffer that stays in the level-1
 * cache and multiplied at once; so C's part of a panel is near when the next block is added to it,
 * and far memory sees C once a group. Units are handed out by a counter: which thread computes one
 * cannot matter, as no two share an element of C. */
#include <stdatomic.h>
#include <string.h>

#include "base/checked.h"
#include "compute/cpu/cpu.h"

#define GROUP_BLOCKS   4                /* of 256 k's, at most */
#define UNIT_ROWS_MIN  144              /* fewer would not pay for packing B, were there more */
#define UNIT_ROWS_TWO  256              /* the same where two blocks of A are kept */
#define A_ROW          (CPU_BLOCK + 16) /* of A's copy: off the same cache sets */
#define PARALLEL_FLOPS 1000000          /* about 5 us on one thread */

struct work {
    const struct cpu_kernels *k;
    const struct cpu_matmul *mm;
    size_t tiles, panels;           /* of C */
    size_t group;                   /* k's, a multiple of 256 */
    size_t unit_tiles, unit_panels; /* of a unit */
    size_t row_units, units;
    float *local; /* per part: a panel of B, then a unit's A */
    size_t local_floats;
    bool copied; /* A is copied to `local` */
    atomic_size_t next;
    atomic_bool not_finite; /* something in C is NaN or infinite */
};

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t div_up(size_t a, size_t b)
{
    return a / b + (a % b != 0);
}

size_t cpu_packed_floats(const struct cpu_kernels *k, size_t rows, size_t cols)
{
    return rows * div_up(cols, k->nr) * k->nr;
}

const float *cpu_packed_panel(const struct cpu_kernels *k, const float *packed, size_t rows,
                              size_t cols, size_t k0, size_t panel)
{
    size_t len = min_size(rows - k0, CPU_BLOCK);
    return packed + k0 * div_up(cols, k->nr) * k->nr + panel * len * k->nr;
}

void cpu_pack(const struct cpu_kernels *k, float *dst, const float *b, size_t row, size_t col,
              size_t rows, size_t cols)
{
    for (size_t k0 = 0; k0 < rows; k0 += CPU_BLOCK)
        k->pack_b(dst + k0 * div_up(cols, k->nr) * k->nr, b + k0 * row, row, col,
                  min_size(rows - k0, CPU_BLOCK), cols);
}

/* Whether rows of A lie so (multiples of 2048 bytes apart) that a tile's rows compete for the same
 * sets of the level-1 cache; worth a copy when several panels use it. */
static bool rows_collide(const struct cpu_matmul *mm)
{
    return mm->a_row % 512 == 0 && mm->n >= 128;
}

/* A's copy, block by block of a group: tiles of mr rows, k's far apart by mr; or rows. */
static float *copy_at(const struct work *w, float *copy, size_t k0)
{
    return copy + k0 % w->group / CPU_BLOCK * A_ROW * w->unit_tiles * w->k->mr;
}

static void copy_a(const struct work *w, float *copy, size_t i, size_t rows, size_t k0, size_t k1)
{
    const struct cpu_matmul *mm = w->mm;
    for (; k0 < k1; k0 += CPU_BLOCK) {
        const float *a = mm->a + i * mm->a_row + k0 * mm->a_col;
        size_t k = min_size(k1 - k0, CPU_BLOCK);
        float *to = copy_at(w, copy, k0);
        if (mm->a_col != 1)
            w->k->pack_a(to, a, mm->a_col, k, rows);
        for (size_t r = 0; mm->a_col == 1 && r < rows; r++)
            memcpy(to + r * A_ROW, a + r * mm->a_row, k * sizeof *to);
    }
}

/* Rows i.. of A and its block of k's at k0: where they lie, or in `copy`. */
static struct cpu_panel panel_a(const struct work *w, float *copy, size_t i, size_t rows, size_t k0)
{
    const struct cpu_matmul *mm = w->mm;
    struct cpu_panel p = {.rows = rows,
                          .k = min_size(mm->k - k0, CPU_BLOCK),
                          .a = mm->a + i * mm->a_row + k0 * mm->a_col,
                          .a_row = mm->a_row,
                          .a_col = 1,
                          .c_row = mm->n,
                          .first = k0 == 0};
    if (w->copied)
        p.a = copy_at(w, copy, k0);
    if (mm->a_col != 1) {
        p.a_row = 1;
        p.a_col = w->k->mr;
        p.a_tile = w->k->mr * p.k;
        return p;
    }
    if (w->copied)
        p.a_row = A_ROW;
    p.a_tile = p.a_row * w->k->mr;
    return p;
}

/* The numbers of B that the panel at column j is packed from. */
static struct cpu_ahead ahead_b(const struct work *w, size_t k0, size_t j)
{
    const struct cpu_matmul *mm = w->mm;
    size_t k = min_size(mm->k - k0, CPU_BLOCK), cols = min_size(mm->n - j, w->k->nr);
    const float *at = mm->b + k0 * mm->b_row + j * mm->b_col;
    return mm->b_col == 1 ? (struct cpu_ahead){at, k, cols, mm->b_row}
                          : (struct cpu_ahead){at, cols, k, mm->b_col};
}

/* One panel of columns and the k's of a group; j_next: the column that comes after. What the last
 * block gives is looked at while it is in registers. */
static void run_panel(struct work *w, float *local, size_t i, size_t rows, size_t k0, size_t k1,
                      size_t j, size_t cols, size_t j_next)
{
    const struct cpu_matmul *mm = w->mm;
    float *packed = local, *copy = local + CPU_BLOCK * w->k->nr;
    for (size_t k = k0; k < k1; k += CPU_BLOCK) {
        struct cpu_panel p = panel_a(w, copy, i, rows, k);
        p.cols = cols;
        p.b = packed;
        p.c = mm->c + i * mm->n + j;
        w->k->pack_b(packed, mm->b + k * mm->b_row + j * mm->b_col, mm->b_row, mm->b_col, p.k,
                     cols);
        if (k + CPU_BLOCK < k1)
            p.ahead = ahead_b(w, k + CPU_BLOCK, j);
        else if (j_next < mm->n)
            p.ahead = ahead_b(w, k0, j_next);
        p.look = k + CPU_BLOCK >= mm->k;
        if (!w->k->panel(&p))
            atomic_store(&w->not_finite, true);
    }
}

static void run_unit(struct work *w, size_t u, float *local)
{
    const struct cpu_matmul *mm = w->mm;
    size_t nr = w->k->nr, i = u % w->row_units * w->unit_tiles * w->k->mr;
    size_t rows = min_size(mm->m - i, w->unit_tiles * w->k->mr);
    size_t j0 = u / w->row_units * w->unit_panels * nr;
    size_t j1 = min_size(j0 + w->unit_panels * nr, mm->n);
    for (size_t k0 = 0; k0 < mm->k; k0 += w->group) {
        size_t k1 = min_size(k0 + w->group, mm->k);
        if (w->copied)
            copy_a(w, local + CPU_BLOCK * nr, i, rows, k0, k1);
        for (size_t j = j0; j < j1; j += nr)
            run_panel(w, local, i, rows, k0, k1, j, min_size(j1 - j, nr), j + nr);
    }
}

static void run_part(void *ctx, uint32_t part, uint32_t parts)
{
    struct work *w = ctx;
    for (size_t u; (u = atomic_fetch_add(&w->next, 1)) < w->units;)
        run_unit(w, u, w->local + part * w->local_floats);
}

/* Time of the slowest thread, in products of one tile with 256 k's, when C is cut into row_units x
 * column_units: packing a panel of B costs about half a tile, packing a tile of A a fifth. */
static double cost(const struct work *w, uint32_t threads, size_t row_units, size_t column_units)
{
    double rows = (double)div_up(w->tiles, row_units);
    double panels = (double)div_up(w->panels, column_units);
    double unit = rows * panels + 0.5 * panels + (w->mm->a_col != 1 ? 0.2 * rows : 0.0);
    return unit * (double)div_up(row_units * column_units, threads);
}

/* As many blocks as let all rows of A stay in `floats` of cache, where B is stored transposed: else
 * a panel's blocks lie far apart and are fetched slower than panel after panel. Or one block, and
 * rows enough to pay for packing B while B and C stream through the rest; of two blocks both, which
 * spares C a second way. Returns the tiles of a unit at most. */
static size_t choose_group(struct work *w, size_t floats)
{
    size_t blocks = w->mm->b_col == 1 ? 1 : min_size(div_up(w->mm->k, CPU_BLOCK), GROUP_BLOCKS);
    size_t rows = floats * 9 / 20 / (2 * CPU_BLOCK);
    bool both = blocks == 2 && rows >= UNIT_ROWS_TWO;
    while (blocks > 1 && w->tiles * w->k->mr * blocks * CPU_BLOCK > floats)
        blocks--;
    w->group = (both ? 2 : blocks) * CPU_BLOCK;
    if (blocks > 1)
        return w->tiles;
    return (both ? rows : max_size(floats * 3 / 10 / CPU_BLOCK, UNIT_ROWS_MIN)) / w->k->mr;
}

/* As few row units as the cache allows, doubled some times; columns cut to 1, 2, 4 units a thread.
 */
static void choose_units(struct work *w, uint32_t threads, size_t tiles_max)
{
    size_t row_units = div_up(w->tiles, tiles_max), best_rows = row_units;
    size_t best_columns = 1;
    double best = cost(w, threads, row_units, 1), c;
    for (int doubled = 0; threads > 1 && doubled < 4 && row_units <= w->tiles; doubled++) {
        for (size_t each = 1; each <= 4; each *= 2) {
            size_t columns = min_size(div_up(each * threads, row_units), w->panels);
            if ((c = cost(w, threads, row_units, columns)) < best) {
                best = c;
                best_rows = row_units;
                best_columns = columns;
            }
        }
        row_units *= 2;
    }
    w->unit_tiles = div_up(w->tiles, best_rows);
    w->unit_panels = div_up(w->panels, best_columns);
    w->row_units = div_up(w->tiles, w->unit_tiles);
    w->units = w->row_units * div_up(w->panels, w->unit_panels);
}

enum emac_status cpu_matmul(struct cpu *cpu, struct cpu_matmul *mm, struct emac_err *err)
{
    struct work w = {.k = cpu->k, .mm = mm};
    bool worth = 2.0 * (double)mm->m * (double)mm->n * (double)mm->k >= PARALLEL_FLOPS;
    enum emac_status st;
    if (cpu_matmul_few(cpu, mm)) {
        cpu_matmul_rows(cpu, mm);
        return EMAC_OK;
    }
    w.tiles = div_up(mm->m, cpu->k->mr);
    w.panels = div_up(mm->n, cpu->k->nr);
    w.copied = mm->a_col != 1 || rows_collide(mm);
    choose_units(&w, worth ? cpu->threads : 1, choose_group(&w, cpu->level2_floats));
    w.local_floats = CPU_BLOCK * cpu->k->nr;
    if (w.copied)
        w.local_floats += A_ROW * w.unit_tiles * cpu->k->mr * div_up(w.group, CPU_BLOCK);
    atomic_init(&w.next, 0);
    atomic_init(&w.not_finite, false);
    st = cpu_scratch(cpu, w.local_floats, cpu->threads * sizeof(float), &w.local, err);
    if (st == EMAC_OK)
        cpu_parallel(cpu, worth && w.units > 1, run_part, &w);
    mm->finite = st == EMAC_OK && !atomic_load(&w.not_finite);
    return st;
}

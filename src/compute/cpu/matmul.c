/* Rule 3's product on all threads.
 *
 * A unit of work is a rectangle of C: up to 372 rows times some panels of
 * columns. For each block of 256 k's, A's part of the unit (which stays in the
 * level-2 cache) is read where it lies, or packed first when it is stored
 * transposed; then panel by panel B is packed into a buffer that stays in the
 * level-1 cache and multiplied at once. Units are handed out by a counter:
 * which thread computes one cannot matter, as no two share an element of C. */
#include <stdatomic.h>
#include <string.h>

#include "base/checked.h"
#include "compute/cpu/cpu.h"

#define UNIT_ROWS_MAX  372              /* x 256 floats: a third of a megabyte */
#define A_ROW          (CPU_BLOCK + 16) /* of A's copy: off the same cache sets */
#define PARALLEL_FLOPS 1000000          /* about 5 us on one thread */

struct work {
    const struct cpu_kernels *k;
    const struct cpu_matmul *mm;
    size_t tiles, panels;           /* of C */
    size_t unit_tiles, unit_panels; /* of a unit */
    size_t row_units, units;
    float *local; /* per part: a panel of B, then a unit's A */
    size_t local_floats;
    atomic_size_t next;
};

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
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

/* Rows i.. of A and its block of k's at k0: where they lie, or in `local`. */
static struct cpu_panel panel_a(const struct work *w, float *local, size_t i, size_t rows,
                                size_t k0)
{
    const struct cpu_matmul *mm = w->mm;
    struct cpu_panel p = {.rows = rows,
                          .k = min_size(mm->k - k0, CPU_BLOCK),
                          .a = mm->a + i * mm->a_row + k0 * mm->a_col,
                          .a_row = mm->a_row,
                          .a_col = mm->a_col,
                          .c_row = mm->n,
                          .first = k0 == 0};
    if (mm->a_col != 1) {
        w->k->pack_a(local, p.a, p.a_col, p.k, rows);
        p.a = local;
        p.a_row = 1;
        p.a_col = w->k->mr;
        p.a_tile = w->k->mr * p.k;
        return p;
    }
    if (rows_collide(mm)) {
        for (size_t r = 0; r < rows; r++)
            memcpy(local + r * A_ROW, p.a + r * p.a_row, p.k * sizeof(float));
        p.a = local;
        p.a_row = A_ROW;
    }
    p.a_tile = p.a_row * w->k->mr;
    return p;
}

static void run_unit(const struct work *w, size_t u, float *local)
{
    const struct cpu_matmul *mm = w->mm;
    size_t nr = w->k->nr, i = u % w->row_units * w->unit_tiles * w->k->mr;
    size_t rows = min_size(mm->m - i, w->unit_tiles * w->k->mr);
    size_t j0 = u / w->row_units * w->unit_panels * nr;
    size_t j1 = min_size(j0 + w->unit_panels * nr, mm->n);
    for (size_t k0 = 0; k0 < mm->k; k0 += CPU_BLOCK) {
        struct cpu_panel p = panel_a(w, local + CPU_BLOCK * nr, i, rows, k0);
        p.b = local;
        for (size_t j = j0; j < j1; j += nr) {
            p.cols = min_size(j1 - j, nr);
            p.c = mm->c + i * mm->n + j;
            w->k->pack_b(local, mm->b + k0 * mm->b_row + j * mm->b_col, mm->b_row, mm->b_col, p.k,
                         p.cols);
            w->k->panel(&p);
        }
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

/* As few row units as the cache allows, doubled some times; columns cut to 1, 2, 4 units a thread.
 */
static void choose_units(struct work *w, uint32_t threads)
{
    size_t row_units = div_up(w->tiles, UNIT_ROWS_MAX / w->k->mr), best_rows = row_units;
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

enum emac_status cpu_matmul(struct cpu *cpu, const struct cpu_matmul *mm, struct emac_err *err)
{
    struct work w = {.k = cpu->k, .mm = mm};
    bool worth = 2.0 * (double)mm->m * (double)mm->n * (double)mm->k >= PARALLEL_FLOPS;
    enum emac_status st;
    w.tiles = div_up(mm->m, cpu->k->mr);
    w.panels = div_up(mm->n, cpu->k->nr);
    choose_units(&w, worth ? cpu->threads : 1);
    w.local_floats = CPU_BLOCK * cpu->k->nr + A_ROW * w.unit_tiles * cpu->k->mr;
    atomic_init(&w.next, 0);
    st = cpu_scratch(cpu, w.local_floats, cpu->threads * sizeof(float), &w.local, err);
    if (st == EMAC_OK)
        cpu_parallel(cpu, worth && w.units > 1, run_part, &w);
    return st;
}

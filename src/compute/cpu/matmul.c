/* Rule 3's product on all threads.
 *
 * B is packed into panels once and shared; A is read where it lies, or packed
 * tile by tile when it is stored transposed. A unit of work is a rectangle of
 * C: a few hundred rows (A's part of a block of k's stays in the level-2 cache)
 * times some panels. Units are handed out by a counter: which thread computes
 * one cannot matter, as no two share an element of C.
 *
 * With few rows there is nothing to share: each unit packs its own panel into
 * a buffer that stays in the level-1 cache. */
#include <stdatomic.h>

#include "base/assert.h"
#include "base/checked.h"
#include "compute/cpu/cpu.h"

#define SHARED_BYTES    ((size_t)4 << 20) /* of packed B at a time */
#define OWN_ROWS_MAX    48                /* so few rows: each unit packs its own panels */
#define UNIT_TILES      10                /* rows of a unit, in tiles */
#define UNIT_TILES_MIN  4
#define UNITS_A_THREAD  4
#define PARALLEL_FLOPS  2000000 /* about 10 us on one thread */
#define PARALLEL_PANELS 8

struct work {
    const struct cpu_kernels *k;
    const struct cpu_matmul *mm;
    size_t k0, k1, panel0, panel1; /* this phase: blocks of k's and panels of B */
    size_t unit_rows, unit_panels, row_units, units;
    float *packed;       /* phase's B: block by block, panel by panel */
    float *local;        /* per part */
    size_t local_floats; /* of one part */
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
        for (size_t j = 0; j < cols; j += k->nr) {
            size_t len = min_size(rows - k0, CPU_BLOCK);
            k->pack_b(dst, b + k0 * row + j * col, row, col, len, min_size(cols - j, k->nr));
            dst += len * k->nr;
        }
}

/* Columns of panel j. */
static size_t panel_cols(const struct work *w, size_t j)
{
    return min_size(w->mm->n - j * w->k->nr, w->k->nr);
}

static size_t block_len(const struct work *w, size_t k0)
{
    return min_size(w->mm->k - k0, CPU_BLOCK);
}

/* Place of panel j of block k0 in the phase's packed B; all but the last block of A's k's are full,
 * so places can be counted in full ones. */
static float *shared_panel(const struct work *w, size_t k0, size_t j)
{
    size_t block = (k0 - w->k0) / CPU_BLOCK;
    return w->packed + (block * (w->panel1 - w->panel0) + j - w->panel0) * CPU_BLOCK * w->k->nr;
}

static void pack_panel(const struct work *w, float *dst, size_t k0, size_t j)
{
    const struct cpu_matmul *mm = w->mm;
    w->k->pack_b(dst, mm->b + k0 * mm->b_row + j * w->k->nr * mm->b_col, mm->b_row, mm->b_col,
                 block_len(w, k0), panel_cols(w, j));
}

static void pack_part(void *ctx, uint32_t part, uint32_t parts)
{
    struct work *w = ctx;
    size_t panels = w->panel1 - w->panel0, blocks = div_up(w->k1 - w->k0, CPU_BLOCK);
    for (size_t i = part; i < panels * blocks; i += parts) {
        size_t k0 = w->k0 + i / panels * CPU_BLOCK, j = w->panel0 + i % panels;
        pack_panel(w, shared_panel(w, k0, j), k0, j);
    }
}

/* A of rows i.. and block k0, where it lies. */
static struct cpu_panel panel_of(const struct work *w, size_t i, size_t rows, size_t k0)
{
    const struct cpu_matmul *mm = w->mm;
    return (struct cpu_panel){.rows = rows,
                              .k = block_len(w, k0),
                              .a = mm->a + i * mm->a_row + k0 * mm->a_col,
                              .a_row = mm->a_row,
                              .a_col = mm->a_col,
                              .a_tile = mm->a_row * w->k->mr,
                              .c_row = mm->n,
                              .first = k0 == 0};
}

static void multiply_panel(const struct work *w, struct cpu_panel *p, const float *b, size_t i,
                           size_t j)
{
    p->b = b;
    p->cols = panel_cols(w, j);
    p->c = w->mm->c + i * w->mm->n + j * w->k->nr;
    w->k->panel(p);
}

/* Rectangle `u` of C, all blocks of the phase, with shared panels. */
static void unit_shared(const struct work *w, size_t u, float *local)
{
    size_t i = u % w->row_units * w->unit_rows, j0 = w->panel0 + u / w->row_units * w->unit_panels;
    size_t rows = min_size(w->mm->m - i, w->unit_rows);
    size_t j1 = min_size(j0 + w->unit_panels, w->panel1);
    for (size_t k0 = w->k0; k0 < w->k1; k0 += CPU_BLOCK) {
        struct cpu_panel p = panel_of(w, i, rows, k0);
        if (p.a_col != 1) {
            w->k->pack_a(local, p.a, p.a_col, p.k, rows);
            p.a = local;
            p.a_row = 1;
            p.a_col = w->k->mr;
            p.a_tile = w->k->mr * p.k;
        }
        for (size_t j = j0; j < j1; j++)
            multiply_panel(w, &p, shared_panel(w, k0, j), i, j);
    }
}

static void part_shared(void *ctx, uint32_t part, uint32_t parts)
{
    struct work *w = ctx;
    float *local = w->local + part * w->local_floats;
    for (size_t u; (u = atomic_fetch_add(&w->next, 1)) < w->units;)
        unit_shared(w, u, local);
}

/* Panel by panel, all rows. */
static void part_own(void *ctx, uint32_t part, uint32_t parts)
{
    struct work *w = ctx;
    float *local = w->local + part * w->local_floats;
    for (size_t j; (j = atomic_fetch_add(&w->next, 1)) < w->panel1;)
        for (size_t k0 = 0; k0 < w->mm->k; k0 += CPU_BLOCK) {
            struct cpu_panel p = panel_of(w, 0, w->mm->m, k0);
            pack_panel(w, local, k0, j);
            multiply_panel(w, &p, local, 0, j);
        }
}

/* Sizes of units, so that each thread gets several. */
static void choose_units(struct work *w, uint32_t threads, size_t panels)
{
    size_t tiles = div_up(w->mm->m, w->k->mr), wanted = threads * UNITS_A_THREAD;
    size_t unit_tiles = threads == 1 ? UNIT_TILES : div_up(tiles, wanted), columns;
    unit_tiles = min_size(unit_tiles < UNIT_TILES_MIN ? UNIT_TILES_MIN : unit_tiles, UNIT_TILES);
    w->unit_rows = unit_tiles * w->k->mr;
    w->row_units = div_up(tiles, unit_tiles);
    columns = threads == 1 || w->row_units >= wanted ? 1 : div_up(wanted, w->row_units);
    w->unit_panels = div_up(panels, min_size(columns, panels));
}

static void run_phases(struct cpu *cpu, struct work *w, size_t panels, size_t blocks, bool worth)
{
    size_t all = div_up(w->mm->n, w->k->nr);
    for (w->panel0 = 0; w->panel0 < all; w->panel0 = w->panel1) {
        w->panel1 = min_size(w->panel0 + panels, all);
        w->units = w->row_units * div_up(w->panel1 - w->panel0, w->unit_panels);
        for (w->k0 = 0; w->k0 < w->mm->k; w->k0 = w->k1) {
            size_t left = div_up(w->mm->k - w->k0, CPU_BLOCK);
            w->k1 = left <= blocks ? w->mm->k : w->k0 + blocks * CPU_BLOCK;
            cpu_parallel(cpu, worth && (w->panel1 - w->panel0) * min_size(blocks, left) >= PARALLEL_PANELS,
                         pack_part, w);
            atomic_store(&w->next, 0);
            cpu_parallel(cpu, worth, part_shared, w);
        }
    }
}

static enum emac_status matmul_shared(struct cpu *cpu, struct work *w, bool worth,
                                      struct emac_err *err)
{
    size_t one = CPU_BLOCK * w->k->nr, most = SHARED_BYTES / sizeof(float) / one;
    size_t panels = div_up(w->mm->n, w->k->nr), blocks = div_up(w->mm->k, CPU_BLOCK);
    enum emac_status st;
    float *scratch;
    if (panels * blocks > most) {
        size_t few = min_size(panels, 32);
        blocks = min_size(blocks, most / few);
        panels = min_size(panels, most / blocks);
    }
    choose_units(w, worth ? cpu->threads : 1, panels);
    w->local_floats = w->unit_rows * CPU_BLOCK;
    st = cpu_scratch(cpu, panels * blocks * one + cpu->threads * w->local_floats, sizeof(float),
                     &scratch, err);
    if (st != EMAC_OK)
        return st;
    w->packed = scratch;
    w->local = scratch + panels * blocks * one;
    run_phases(cpu, w, panels, blocks, worth);
    return EMAC_OK;
}

static enum emac_status matmul_own(struct cpu *cpu, struct work *w, bool worth,
                                   struct emac_err *err)
{
    enum emac_status st;
    w->local_floats = CPU_BLOCK * w->k->nr;
    w->panel1 = div_up(w->mm->n, w->k->nr);
    st = cpu_scratch(cpu, cpu->threads * w->local_floats, sizeof(float), &w->local, err);
    if (st == EMAC_OK)
        cpu_parallel(cpu, worth, part_own, w);
    return st;
}

enum emac_status cpu_matmul(struct cpu *cpu, const struct cpu_matmul *mm, struct emac_err *err)
{
    struct work w = {.k = cpu->k, .mm = mm};
    bool worth = 2.0 * (double)mm->m * (double)mm->n * (double)mm->k >= PARALLEL_FLOPS;
    atomic_init(&w.next, 0);
    return mm->m <= OWN_ROWS_MAX ? matmul_own(cpu, &w, worth, err)
                                 : matmul_shared(cpu, &w, worth, err);
}

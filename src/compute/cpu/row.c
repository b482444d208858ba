/* Rule 3's product of one row, which a model makes for each token it generates, and of a few rows
 * by a transposed matrix. It takes as long as the matrix takes to be read: nothing is packed, and a
 * thread reads runs of it. */
#include <stdatomic.h>

#include "compute/cpu/cpu.h"

#define TURNED_COLS    64 /* of a unit: as many rows of a transposed matrix, read whole */
#define PARALLEL_FLOPS 300000

struct row_work {
    const struct cpu *cpu;
    const struct cpu_matmul *mm;
    size_t unit_cols;
    bool near; /* a thread's share of the matrix fits its level-2 cache */
    atomic_size_t next;
};

static void row_part(void *ctx, uint32_t part, uint32_t parts)
{
    struct row_work *w = ctx;
    const struct cpu_matmul *mm = w->mm;
    for (size_t j; (j = atomic_fetch_add(&w->next, 1) * w->unit_cols) < mm->n;) {
        size_t cols = mm->n - j < w->unit_cols ? mm->n - j : w->unit_cols;
        if (mm->b_col == 1)
            w->cpu->k->row(mm->c + j, mm->a, mm->b + j, mm->b_row, mm->k, cols);
        else
            w->cpu->k->rows_turned(&(struct cpu_turned){.rows = mm->m,
                                                        .cols = cols,
                                                        .k = mm->k,
                                                        .a = mm->a,
                                                        .a_row = mm->a_row,
                                                        .b = mm->b + j * mm->b_col,
                                                        .stride = mm->b_col,
                                                        .c = mm->c + j,
                                                        .c_row = mm->n,
                                                        .near = w->near});
    }
}

bool cpu_matmul_few(const struct cpu *cpu, const struct cpu_matmul *mm)
{
    return mm->a_col == 1 && mm->m <= (mm->b_col == 1 ? 1 : cpu->k->turned_rows);
}

void cpu_matmul_rows(struct cpu *cpu, const struct cpu_matmul *mm)
{
    struct row_work w = {.cpu = cpu, .mm = mm, .unit_cols = TURNED_COLS};
    w.near = mm->n / cpu->threads * mm->k <= cpu->level2_floats;
    if (mm->b_col == 1) {
        size_t share = (mm->n / cpu->threads + CPU_LANES) / CPU_LANES * CPU_LANES;
        w.unit_cols = share < CPU_STRIP ? share : CPU_STRIP;
    }
    atomic_init(&w.next, 0);
    cpu_parallel(cpu, 2.0 * (double)mm->m * (double)mm->n * (double)mm->k >= PARALLEL_FLOPS,
                 row_part, &w);
}

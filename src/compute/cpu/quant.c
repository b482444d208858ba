/* Rule 7's product on all threads. A unit of work is a panel of columns of C by
 * up to 1024 of its rows; units are handed out in runs. With one row of
 * activations (generation) the time is that of reading the weights once. */
#include "compute/cpu/quant.h"

#include <stdatomic.h>

#include "base/assert.h"
#include "base/checked.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define UNIT_ROWS        1024   /* 256 KiB of activations for a block of weights */
#define PARALLEL_WEIGHTS 100000 /* about 10 us on one thread */
#define ALIGN            64
#define CLAIMS           4 /* runs of units a thread would have if none got shorter */

extern const struct cpu_quant_kernels cpu_quant_portable, cpu_quant_avx2, cpu_quant_avxvnni,
    cpu_quant_avx512vnni;

static bool always(void)
{
    return true;
}

#if defined(__x86_64__)
static bool has_avx512vnni(void)
{
    return __builtin_cpu_supports("avx512vnni");
}

/* CPUID leaf 7, subleaf 1, EAX bit 4: VNNI for 256-bit vectors without AVX-512. */
static bool has_avxvnni(void)
{
    unsigned eax = 0, ebx, ecx, edx;
    return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax >> 4 & 1);
}
#endif

/* Fastest first; an instruction set includes those below it. */
static const struct {
    enum isa isa;
    bool (*has)(void);
    const struct cpu_quant_kernels *kernels;
} leaves[] = {
#if defined(__x86_64__)
    {ISA_AVX512, has_avx512vnni, &cpu_quant_avx512vnni},
    {ISA_AVX2, has_avxvnni, &cpu_quant_avxvnni},
    {ISA_AVX2, always, &cpu_quant_avx2},
#endif
    {ISA_PORTABLE, always, &cpu_quant_portable},
};

const struct cpu_quant_kernels *cpu_quant_leaf(enum isa isa, size_t i)
{
    for (size_t l = 0; l < EMAC_COUNT(leaves); l++)
        if (leaves[l].isa <= isa && isa_supported(leaves[l].isa) && leaves[l].has() && i-- == 0)
            return leaves[l].kernels;
    return NULL;
}

struct work {
    const struct cpu_quant_kernels *k;
    const struct tensor *in;
    float *c;
    enum quant_format format;
    size_t m, n, parts, row_bytes;
    bool one; /* by the leaf's kernel for one row */
    size_t cols, panels, units;
    struct cpu_quant_x x;
    uint8_t *packed; /* a panel for each part */
    size_t packed_bytes;
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

static void activations_part(void *ctx, uint32_t part, uint32_t parts)
{
    struct work *w = ctx;
    size_t k = w->parts * QUANT_PART;
    for (size_t row = w->m * part / parts; row < w->m * (part + 1) / parts; row++)
        w->k->activations(&w->x, row, (const float *)w->in[0].data + row * k, w->format);
}

/* Rows of weights from `col` on, and as what is read next those after them in memory: a panel is
 * more streams than processors foresee, but the order of addresses is one they do. */
static struct cpu_quant_w panel_at(const struct work *w, size_t col)
{
    size_t rows = min_size(w->n - col, w->cols), bytes = rows * w->row_bytes;
    const uint8_t *data = (const uint8_t *)w->in[1].data + col * w->row_bytes;
    return (struct cpu_quant_w){
        .format = w->format,
        .data = data,
        .row_bytes = w->row_bytes,
        .rows = rows,
        .ahead = {data + bytes, min_size(bytes, (w->n - col - rows) * w->row_bytes) / w->parts}};
}

static void run_unit(const struct work *w, size_t u, void *packed)
{
    size_t row = u / w->panels * UNIT_ROWS, rows = min_size(w->m - row, UNIT_ROWS);
    size_t col = u % w->panels * w->cols, block_bytes = 0;
    struct cpu_quant_w panel = panel_at(w, col);
    bool ok = quant_row_bytes(w->format, CPU_BLOCK, &block_bytes);
    EMAC_ASSERT(ok);
    for (; panel.first < w->parts; panel.first += CPU_PARTS, panel.data += block_bytes) {
        panel.parts = min_size(w->parts - panel.first, CPU_PARTS);
        w->k->pack(packed, &panel);
        w->k->panel(w->c + row * w->n + col, w->n, &w->x, row, rows, packed, &panel);
        panel.ahead.data += panel.parts * panel.ahead.part;
    }
}

static void run_one(const struct work *w, size_t u)
{
    struct cpu_quant_w panel = panel_at(w, u * w->cols);
    panel.parts = w->parts;
    w->k->one(w->c + u * w->cols, &w->x, &panel);
}

/* A run of units, shorter the fewer are left: what a thread reads lies together, and all are done
 * at about the same time. */
static bool claim(struct work *w, uint32_t threads, size_t *first, size_t *end)
{
    *first = atomic_load(&w->next);
    do {
        if (*first >= w->units)
            return false;
        *end = *first + div_up(w->units - *first, CLAIMS * (size_t)threads);
    } while (!atomic_compare_exchange_weak(&w->next, first, *end));
    return true;
}

static void units_part(void *ctx, uint32_t part, uint32_t parts)
{
    struct work *w = ctx;
    for (size_t u, end; claim(w, parts, &u, &end);)
        for (; u < end; u++)
            if (w->one)
                run_one(w, u);
            else
                run_unit(w, u, w->packed + part * w->packed_bytes);
}

/* One block of scratch memory: the panels, then the arrays of x, widest elements first. Less than
 * twice the bytes of the activations, so nothing overflows but the sum. */
static enum emac_status scratch(struct cpu *cpu, struct work *w, struct emac_err *err)
{
    size_t cells = w->m * w->parts, panels = cpu->threads * w->packed_bytes, bytes;
    enum emac_status st;
    if (!emac_add_size(cells * (4 * sizeof(float) + QUANT_PART), panels, &bytes))
        return emac_fail(err, EMAC_NO_MEMORY, "scratch memory of an operator is too large");
    st = cpu_scratch(cpu, bytes, 1, &w->packed, err);
    if (st != EMAC_OK)
        return st;
    w->x.parts = w->parts;
    w->x.d = (float *)(void *)(w->packed + panels);
    w->x.e = w->x.d + cells;
    w->x.bias = (int32_t *)(void *)(w->x.e + cells);
    w->x.q = (int8_t *)(w->x.bias + 2 * cells);
    return EMAC_OK;
}

enum emac_status cpu_qmatmul(struct cpu *cpu, enum quant_format format, const struct tensor *in,
                             struct tensor *out, struct emac_err *err)
{
    struct work w = {.k = cpu->quant,
                     .in = in,
                     .c = out[0].data,
                     .format = format,
                     .m = out[0].shape.dim[0],
                     .n = out[0].shape.dim[1],
                     .parts = in[0].shape.dim[1] / QUANT_PART,
                     .row_bytes = in[1].shape.dim[1]};
    double weights = (double)w.n * (double)w.parts * QUANT_PART;
    enum emac_status st;
    w.packed_bytes = div_up(w.k->packed_bytes, ALIGN) * ALIGN;
    w.one = w.m == 1 && format == QUANT_Q8_0 && w.k->one != NULL;
    w.cols = w.one ? w.k->one_cols : w.k->cols;
    w.panels = div_up(w.n, w.cols);
    w.units = w.panels * div_up(w.m, UNIT_ROWS);
    atomic_init(&w.next, 0);
    st = scratch(cpu, &w, err);
    if (st != EMAC_OK)
        return st;
    cpu_parallel(cpu, (double)w.m * (double)w.parts * QUANT_PART >= PARALLEL_WEIGHTS,
                 activations_part, &w);
    cpu_parallel(cpu, weights * (double)w.m >= PARALLEL_WEIGHTS && w.units > 1, units_part, &w);
    return EMAC_OK;
}

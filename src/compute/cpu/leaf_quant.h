/* The text of the vector leaves of rule 7, included by one file for each
 * instruction set (quant.h in this folder), which first defines
 *     VEC_BYTES                of a vector: 32 or 64
 *     QUANT_ROWS               rows of C computed together
 *     QUANT_SIGNED             1 if `dot` takes signed weights, 0 if unsigned ones
 *     vec, vecf                vector of integers, of binary32
 *     vec_splat(i) vecf_splat(x) vecf_from(v) vecf_fma(a, b, c)
 *     lanes_load(p, row)       16-byte lane l of the vector from p + 4 * l * row
 *     low32 high32 low64 high64(a, b)    interleave halves within 16-byte lanes
 *     dot(acc, w, x)           acc + sums of four neighbouring products of bytes
 *
 * A panel is unpacked so that a lane is a row of weights: then the sums over k
 * need no horizontal step, and scales are vectors. Where `dot` takes unsigned
 * weights they carry an offset: w + 128 for q8_0, the stored bits for the
 * others; sum (w + offset) q - offset * sum q is exact, and -offset * sum q is
 * what the accumulators start from (cpu_quant_x.bias, per 16 weights for q6_k,
 * per 32 else). */
#include "compute/cpu/leaf_quant_pack.h"

struct tile {
    const struct packed *w;
    const int8_t *q;
    const float *d, *e;
    const int32_t *bias;
    size_t q_row, parts;
    float *c;
    size_t c_row, cols;
    bool first;
};

/* Integer sums over `words` words from word k of part p. */
INLINE void sums(const int rows, vec s[][2], const struct tile *t, size_t p, size_t k, size_t words)
{
    const int8_t *q = t->q + p * QUANT_PART;
    for (int r = 0; r < rows; r++)
        s[r][0] = s[r][1] =
            QUANT_SIGNED
                ? vec_splat(0)
                : vec_splat(t->bias[(size_t)r * t->q_row / GROUP + 2 * p + k / GROUP_WORDS]);
#pragma GCC unroll 8
    for (size_t j = k; j < k + words; j++)
        for (int r = 0; r < rows; r++) {
            int32_t word;
            memcpy(&word, q + (size_t)r * t->q_row + 4 * j, sizeof word);
            s[r][0] = dot(s[r][0], t->w->w[p][j][0], vec_splat(word));
            s[r][1] = dot(s[r][1], t->w->w[p][j][1], vec_splat(word));
        }
}

/* The integer sums of part p as binary32: exact, see ref/quant.c. */
INLINE void part_sums(const int rows, const bool groups, vecf f[][2], const struct tile *t,
                      size_t p)
{
    vec s[QUANT_ROWS][2];
    sums(rows, s, t, p, 0, groups ? GROUP_WORDS : 2 * GROUP_WORDS);
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < 2; v++)
            f[r][v] = vecf_from(s[r][v]);
    if (!groups)
        return;
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < 2; v++)
            f[r][v] = f[r][v] * t->w->extra[p][0][v];
    sums(rows, s, t, p, GROUP_WORDS, GROUP_WORDS);
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < 2; v++)
            f[r][v] = vecf_fma(vecf_from(s[r][v]), t->w->extra[p][1][v], f[r][v]);
}

INLINE void tile_store(const struct tile *t, float *c, const vecf acc[2])
{
    float x[COLS];
    if (t->cols == COLS) {
        for (int v = 0; v < 2; v++) {
            vecf old = t->first ? vecf_splat(0.0f) : *(const vecf *)(c + v * LANES);
            *(vecf *)(c + v * LANES) = old + acc[v];
        }
        return;
    }
    memcpy(x, acc, sizeof x);
    for (size_t j = 0; j < t->cols; j++)
        c[j] = (t->first ? 0.0f : c[j]) + x[j];
}

/* `rows`, `mins`, `groups` are constants wherever this is inlined. */
INLINE void tile(const int rows, const bool mins, const bool groups, const struct tile *t)
{
    vecf acc[QUANT_ROWS][2], f[QUANT_ROWS][2];
    for (int r = 0; r < rows; r++)
        acc[r][0] = acc[r][1] = vecf_splat(0.0f);
    for (size_t p = 0; p < t->parts; p++) {
        part_sums(rows, groups, f, t, p);
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < 2; v++) {
                size_t at = (size_t)r * t->q_row / QUANT_PART + p;
                vecf d = t->w->d[p][v] * vecf_splat(t->d[at]);
                acc[r][v] = vecf_fma(f[r][v], d, acc[r][v]);
                if (mins)
                    acc[r][v] = vecf_fma(t->w->extra[p][0][v], vecf_splat(t->e[at]), acc[r][v]);
            }
    }
    for (int r = 0; r < rows; r++)
        tile_store(t, t->c + (size_t)r * t->c_row, acc[r]);
}

#define TILES(name, mins, groups)                                                                  \
    static void tile_##name(const struct tile *t)                                                  \
    {                                                                                              \
        tile(QUANT_ROWS, mins, groups, t);                                                         \
    }                                                                                              \
    static void tile_##name##_one(const struct tile *t)                                            \
    {                                                                                              \
        tile(1, mins, groups, t);                                                                  \
    }
TILES(plain, false, false)
TILES(mins, true, false)
TILES(groups, false, true)

#include "compute/cpu/leaf_quant_one.h"

static void panel(float *c, size_t c_row, const struct cpu_quant_x *x, size_t row, size_t rows,
                  const void *packed, const struct cpu_quant_w *w)
{
    bool mins = w->format == QUANT_Q4_1, groups = w->format == QUANT_Q6_K;
    void (*many)(const struct tile *) = groups ? tile_groups : mins ? tile_mins : tile_plain;
    void (*single)(const struct tile *) = groups ? tile_groups_one
                                          : mins ? tile_mins_one
                                                 : tile_plain_one;
    struct tile t = {.w = packed,
                     .q_row = x->parts * QUANT_PART,
                     .parts = w->parts,
                     .c_row = c_row,
                     .cols = w->rows,
                     .first = w->first == 0};
    for (size_t i = 0, step; i < rows; i += step) {
        size_t at = (row + i) * x->parts + w->first;
        step = rows - i >= QUANT_ROWS ? QUANT_ROWS : 1;
        t.q = x->q + at * QUANT_PART;
        t.d = x->d + at;
        t.e = x->e + at;
        t.bias = x->bias + 2 * at;
        t.c = c + i * c_row;
        (step == 1 ? single : many)(&t);
    }
}

#define QUANT_STRING2(name) #name
#define QUANT_STRING(name)  QUANT_STRING2(name)
extern const struct cpu_quant_kernels LEAF_CAT(cpu_quant, CPU_ISA);
const struct cpu_quant_kernels LEAF_CAT(cpu_quant, CPU_ISA) = {
    .name = QUANT_STRING(CPU_ISA),
    .cols = COLS,
    .packed_bytes = sizeof(struct packed),
    .activations = activations,
    .pack = pack,
    .panel = panel,
    .one = one,
    .one_cols = LANES,
};

/* Rule 7; the readable forms are ref/quant.c and quant.c. FORMAT is a number of QUANT_TABLE. */

#define Q4_0 2
#define Q4_1 3
#define Q8_0 8
#define Q6_K 14

/* EACH over blocks or parts: what is inside has loops of its own to make vectors of. */
#if WIDE
#define EACH_PART(i, n)                                                                            \
    for (size_t i = get_global_id(0) * chunk, i##_end = min((size_t)(n), i + chunk); i < i##_end;  \
         i++)
#else
#define EACH_PART EACH
#endif

#define PART   32 /* weights that share one d */
#define GROUP  16 /* weights of q6_k that share a scale */
#define GROUPS 16 /* of a block */
#if FORMAT == Q6_K
#define BLOCK       256
#define BLOCK_BYTES 210
#else
#define BLOCK       32
#define BLOCK_BYTES (FORMAT == Q8_0 ? 34 : FORMAT == Q4_1 ? 20 : 18)
#endif

static float half_read(__global const uchar *p)
{
    return half_to_float((uint)p[0] | (uint)p[1] << 8);
}

static float half_write(__global uchar *p, float x)
{
    uint half_bits = half_from_float(x);
    p[0] = (uchar)half_bits;
    p[1] = (uchar)(half_bits >> 8);
    return half_to_float(half_bits);
}

/* ---- reading ---- */

/* Part `part` of the row: its integers and m, and d as the value. */
static float part_read(__global const uchar *row, size_t part, short *w, float *m)
{
    __global const uchar *block = row + part / (BLOCK / PART) * BLOCK_BYTES;
    *m = 0.0f;
#if FORMAT == Q6_K
    uint p = part % 8;
    __global const uchar *low = block + p / 4 * 64 + p % 2 * 32, *high = block + 128 + p / 4 * 32;
    __global const char *scale = (__global const char *)block + 192 + p * 2;
    for (int i = 0; i < PART; i++) {
        int six = (low[i] >> p % 4 / 2 * 4 & 15) | (high[i] >> p % 4 * 2 & 3) << 4;
        w[i] = (short)(scale[i / GROUP] * (six - 32));
    }
    return half_read(block + 208);
#elif FORMAT == Q8_0
    for (int i = 0; i < PART; i++)
        w[i] = ((__global const char *)block)[2 + i];
    return half_read(block);
#else
    __global const uchar *halves = block + (FORMAT == Q4_1 ? 4 : 2);
    for (int i = 0; i < PART / 2; i++) {
        w[i] = (short)((halves[i] & 15) - (FORMAT == Q4_0 ? 8 : 0));
        w[i + PART / 2] = (short)((halves[i] >> 4) - (FORMAT == Q4_0 ? 8 : 0));
    }
    if (FORMAT == Q4_1)
        *m = half_read(block + 2);
    return half_read(block);
#endif
}

/* n parts in all, of rows of `parts` */
__kernel void dequantise(MEMORY(const uchar, q), MEMORY(float, y), ulong n, ulong chunk,
                         ulong parts, ulong row_bytes)
{
    __global const uchar *q = AT(const uchar, q);
    __global float *y = AT(float, y);
    EACH_PART(i, n)
    {
        short w[PART];
        float m, d = part_read(q + i / parts * row_bytes, i % parts, w, &m);
        for (int k = 0; k < PART; k++)
            y[i * PART + k] = fma(d, (float)w[k], m);
    }
}

/* ---- writing ---- */

static int nearest(float x, float least, float most)
{
    float t = x > least ? x : least;
    t = t < most ? t : most;
    return (int)(t + FN_ROUND - FN_ROUND);
}

static float inverse(float d)
{
    return d == 0.0f ? 0.0f : fn_div(1.0f, d);
}

static float magnitude(float x)
{
    return fn_float(fn_bits(x) & 0x7fffffffu);
}

#define EXTREME(best, x, n)                                                                        \
    best = (x)[0];                                                                                 \
    for (int extreme_i = 1; extreme_i < (n); extreme_i++)                                          \
        if (fn_bits(magnitude((x)[extreme_i])) > fn_bits(magnitude(best)))                         \
            best = (x)[extreme_i];

#if FORMAT == Q4_0 || FORMAT == Q4_1
static void halves_write(__global uchar *bytes, __global const float *x, float d, float m)
{
    const int offset = FORMAT == Q4_0 ? 8 : 0;
    float r = inverse(d), least = (float)-offset;
    for (int i = 0; i < PART / 2; i++) {
        int low = nearest((x[i] - m) * r, least, least + 15) + offset;
        int high = nearest((x[i + PART / 2] - m) * r, least, least + 15) + offset;
        bytes[i] = (uchar)(low | high << 4);
    }
}
#endif

static void block_write(__global uchar *block, __global const float *x)
{
    float d, best;
#if FORMAT == Q8_0
    EXTREME(best, x, PART)
    d = half_write(block, fn_div(magnitude(best), 127.0f));
    float r = inverse(d);
    for (int i = 0; i < PART; i++)
        block[2 + i] = (uchar)nearest(x[i] * r, -127.0f, 127.0f);
#elif FORMAT == Q4_0
    EXTREME(best, x, PART)
    d = half_write(block, fn_div(best, -8.0f));
    halves_write(block + 2, x, d, 0.0f);
#elif FORMAT == Q4_1
    float m = x[0];
    best = m;
    for (int i = 1; i < PART; i++) {
        m = x[i] < m ? x[i] : m;
        best = x[i] > best ? x[i] : best;
    }
    d = half_write(block, fn_div(best - m, 15.0f));
    m = half_write(block + 2, m + 0.0f);
    halves_write(block + 4, x, d, m);
#else
    float want[GROUPS];
    for (int i = 0; i < 208; i++)
        block[i] = 0;
    for (int g = 0; g < GROUPS; g++) {
        EXTREME(best, x + g * GROUP, GROUP)
        want[g] = fn_div(best, -32.0f);
    }
    EXTREME(best, want, GROUPS)
    d = half_write(block + 208, fn_div(best, -128.0f));
    float back = inverse(d);
    for (int g = 0; g < GROUPS; g++) {
        int scale = nearest(want[g] * back, -128.0f, 127.0f);
        float r = inverse(d * (float)scale);
        int p = g / 2;
        block[192 + g] = (uchar)scale;
        for (int i = 0; i < GROUP; i++) {
            int six = nearest(x[g * GROUP + i] * r, -32.0f, 31.0f) + 32, at = g % 2 * GROUP + i;
            block[p / 4 * 64 + p % 2 * 32 + at] |= (uchar)((six & 15) << p % 4 / 2 * 4);
            block[128 + p / 4 * 32 + at] |= (uchar)(six >> 4 << p % 4 * 2);
        }
    }
#endif
}

/* n blocks in all */
__kernel void quantise(MEMORY(const float, x), MEMORY(uchar, q), ulong n, ulong chunk)
{
    __global const float *x = AT(const float, x);
    __global uchar *q = AT(uchar, q);
    EACH_PART(i, n) block_write(q + i * BLOCK_BYTES, x + i * BLOCK);
}

/* ---- the product ---- */

/* n parts of activations: x = e * q; es = e * sum of the part's q. The integers are kept as floats:
 * what the product sums of them stays below 2^24, so it is exact, and floats are what every device
 * multiplies fastest. */
__kernel void activations(MEMORY(const float, x), MEMORY(float, q), MEMORY(float, e),
                          MEMORY(float, es), ulong n, ulong chunk)
{
    EACH_PART(i, n)
    {
        __global const float *x = AT(const float, x) + i * PART;
        __global float *q = AT(float, q) + i * PART;
        uint most = 0;
        int sum = 0;
        float e, r;
        for (int k = 0; k < PART; k++)
            most = max(most, fn_bits(x[k]) & 0x7fffffffu);
        e = most < FN_INF ? fn_div(fn_float(most), 127.0f) : fn_float(FN_NAN);
        e = e < 0x1p-126f ? 0.0f : e;
        r = inverse(e);
        for (int k = 0; k < PART; k++) {
            int v = nearest(x[k] * r, -127.0f, 127.0f);
            q[k] = (float)v;
            sum += v;
        }
        AT(float, e)[i] = e;
        AT(float, es)[i] = e * (float)sum;
    }
}

#define BLOCK_PARTS (RULE_BLOCK / PART) /* of a block of rule 3 */

#if WIDE && ROWS > 1

/* A block of rule 3 of VEC columns of weights, side by side. */
struct panel {
    float w[RULE_BLOCK][VEC], d[BLOCK_PARTS][VEC], m[BLOCK_PARTS][VEC];
};

/* By some rows of activations; those from `last` on are not there. */
static void rows_multiply(const struct panel *b, size_t count, size_t parts, size_t part,
                          size_t first, size_t last, __global const float *q,
                          __global const float *e, __global const float *es, vec *acc)
{
    __global const float *x[ROWS], *scale[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        size_t at = min(first + r, last - 1) * parts + part;
        x[r] = q + at * PART;
        scale[r] = e + at;
        acc[r] = 0.0f;
    }
    for (size_t p = 0; p < count; p++) {
        vec sum[ROWS], d = vload_vec(0, b->d[p]), m = vload_vec(0, b->m[p]);
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            sum[r] = 0.0f;
        for (int k = 0; k < PART; k++) {
            vec w = vload_vec(0, b->w[p * PART + k]);
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                sum[r] = fma(w, (vec)(x[r][p * PART + k]), sum[r]);
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            acc[r] = fma(sum[r], d * scale[r][p], acc[r]);
            if (FORMAT == Q4_1)
                acc[r] = fma(m, (vec)(es[scale[r] - e + p]), acc[r]);
        }
    }
}

static void panel_read(struct panel *b, __global const uchar *w, ulong row_bytes, size_t have,
                       size_t part, size_t count)
{
    for (size_t v = 0; v < VEC; v++)
        for (size_t p = 0; p < count; p++) {
            short x[PART];
            b->d[p][v] = part_read(w + min(v, have - 1) * row_bytes, part + p, x, &b->m[p][v]);
            for (int k = 0; k < PART; k++)
                b->w[p * PART + k][v] = (float)x[k];
        }
}

/* An item has VEC columns of C and `unit` rows of it. A block of the weights is read once and goes
 * over all rows; C keeps the totals in between. */
__kernel void qmatmul(MEMORY(const uchar, w), MEMORY(const float, q), MEMORY(const float, e),
                      MEMORY(const float, es), MEMORY(float, c), ulong m, ulong n, ulong parts,
                      ulong row_bytes, ulong unit)
{
    size_t col = get_global_id(0) * VEC, first = get_global_id(1) * unit;
    size_t last = min(first + (size_t)unit, (size_t)m), have = min((size_t)n - col, (size_t)VEC);
    struct panel b;
    for (size_t part = 0; part < parts; part += BLOCK_PARTS) {
        size_t count = min((size_t)parts - part, (size_t)BLOCK_PARTS);
        panel_read(&b, AT(const uchar, w) + col * row_bytes, row_bytes, have, part, count);
        for (size_t i = first; i < last; i += ROWS) {
            vec acc[ROWS];
            float sum[ROWS][VEC];
            rows_multiply(&b, count, parts, part, i, last, AT(const float, q), AT(const float, e),
                          AT(const float, es), acc);
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                vstore_vec(acc[r], 0, sum[r]);
            for (size_t r = 0; r < min((size_t)ROWS, last - i); r++)
                for (size_t v = 0; v < have; v++) {
                    __global float *to = AT(float, c) + (i + r) * n + col + v;
                    *to = (part == 0 ? 0.0f : *to) + sum[r][v];
                }
        }
    }
}

#elif WIDE

/* One row of C; an item has one column. */
__kernel void qmatmul(MEMORY(const uchar, w), MEMORY(const float, q), MEMORY(const float, e),
                      MEMORY(const float, es), MEMORY(float, c), ulong m, ulong n, ulong parts,
                      ulong row_bytes, ulong unit)
{
    size_t col = get_global_id(0);
    __global const float *q = AT(const float, q);
    float acc = 0.0f, total = 0.0f;
    for (size_t p = 0; p < parts; p++) {
        short v[PART];
        float least, d = part_read(AT(const uchar, w) + col * row_bytes, p, v, &least);
        int sum = 0; /* in any order: it is exact, and so vectors can be made of it */
        for (int k = 0; k < PART; k++)
            sum += (int)v[k] * (int)q[p * PART + k];
        acc = fma((float)sum, d * AT(const float, e)[p], acc);
        if (FORMAT == Q4_1)
            acc = fma(least, AT(const float, es)[p], acc);
        if ((p + 1) % BLOCK_PARTS == 0 || p + 1 == parts) {
            total = total + acc;
            acc = 0.0f;
        }
    }
    AT(float, c)[col] = total;
}

#else

/* A team has TEAM / LANES columns of C and ROWS rows of it; the items of a column take turns with the
 * blocks of rule 3, LANES of them at a time, which are then added in their order, each row by one
 * of the items. */
__kernel void qmatmul(MEMORY(const uchar, w), MEMORY(const float, q), MEMORY(const float, e),
                      MEMORY(const float, es), MEMORY(float, c), ulong m, ulong n, ulong parts,
                      ulong row_bytes, ulong unit, __local float *sums)
{
    size_t lane = get_local_id(0) % LANES, own = get_local_id(0) / LANES;
    size_t col = get_group_id(0) * (get_local_size(0) / LANES) + own;
    size_t first = get_group_id(1) * ROWS, at[ROWS];
    __global const uchar *w = AT(const uchar, w) + min(col, (size_t)n - 1) * row_bytes;
    __global const float *q = AT(const float, q), *e = AT(const float, e);
    __local float *column = sums + own * LANES * ROWS;
    float total = 0.0f;
    for (int r = 0; r < ROWS; r++)
        at[r] = min(first + r, (size_t)m - 1) * parts;
    for (size_t turn = 0; turn < parts; turn += LANES * BLOCK_PARTS) {
        size_t begin = turn + lane * BLOCK_PARTS, end = min(begin + BLOCK_PARTS, (size_t)parts);
        float acc[ROWS];
        for (int r = 0; r < ROWS; r++)
            acc[r] = 0.0f;
        for (size_t p = begin; p < end; p++) {
            short v[PART];
            float least, d = part_read(w, p, v, &least);
            for (int r = 0; r < ROWS; r++) {
                __global const float *x = q + (at[r] + p) * PART;
                float sum = 0.0f;
                for (int k = 0; k < PART; k++)
                    sum = fma((float)v[k], x[k], sum);
                acc[r] = fma(sum, d * e[at[r] + p], acc[r]);
                if (FORMAT == Q4_1)
                    acc[r] = fma(least, AT(const float, es)[at[r] + p], acc[r]);
            }
        }
        for (int r = 0; r < ROWS; r++)
            column[lane * ROWS + r] = acc[r];
        barrier(CLK_LOCAL_MEM_FENCE);
        for (size_t l = 0; lane < ROWS && l < LANES && turn + l * BLOCK_PARTS < parts; l++)
            total = total + column[l * ROWS + lane];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (lane < ROWS && col < n && first + lane < m)
        AT(float, c)[(first + lane) * n + col] = total;
}

#endif

/* The innermost product in plain C: 4 rows of A by 8 columns of B. On a
 * processor without fma each step is fn_fma_soft, which becomes vector code. */
#include "compute/cpu/leaf.h"

#define ROWS CPU_TILE_ROWS
#define COLS CPU_TILE_COLS

/* Returns 0, or NaN if something not finite is written: 0 x is NaN for such. */
static float store(float *c, const float *sum, size_t cols, bool first)
{
    float odd = 0.0f;
    for (size_t j = 0; j < cols; j++) {
        c[j] = (first ? 0.0f : c[j]) + sum[j];
        odd = odd + c[j] * 0.0f;
    }
    return odd;
}

INLINE float tile(const int rows, const struct cpu_panel *p, const float *a, float *c)
{
    float acc[ROWS][COLS] = {{0}}, odd = 0.0f;
    const float *b = p->b;
    for (size_t left = p->k, run = p->a_run ? p->a_left : left; left > 0; run = p->a_run) {
        size_t steps = run < left ? run : left;
        left -= steps;
        for (; steps > 0; steps--, b += COLS, a += p->a_col)
            for (int r = 0; r < rows; r++)
                for (int j = 0; j < COLS; j++)
                    acc[r][j] = fn_fma(a[(size_t)r * p->a_row], b[j], acc[r][j]);
        a += p->a_jump;
    }
    for (int r = 0; r < rows; r++)
        odd = odd + store(c + (size_t)r * p->c_row, acc[r], p->cols, p->first);
    return odd;
}

bool LEAF(panel)(const struct cpu_panel *p)
{
    const float *a = p->a;
    float *c = p->c, odd = 0.0f;
    size_t i = 0;
    for (; i + ROWS <= p->rows; i += ROWS, a += p->a_tile, c += ROWS * p->c_row)
        odd = odd + tile(ROWS, p, a, c);
    for (; i < p->rows; i++, a += p->a_row, c += p->c_row)
        odd = odd + tile(1, p, a, c);
    return !p->look || odd == 0.0f;
}

void LEAF(pack_turned)(float *dst, const float *b, size_t col, size_t k, size_t cols)
{
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < COLS; j++)
            dst[i * COLS + j] = j < cols ? b[j * col + i] : 0.0f;
}

void LEAF(rows_turned)(const struct cpu_turned *p)
{
    const float *b = p->b;
    for (size_t j = 0; j < p->cols; j += COLS, b += COLS * p->stride) {
        size_t n = p->cols - j < COLS ? p->cols - j : COLS;
        float total[COLS] = {0};
        for (size_t k0 = 0; k0 < p->k; k0 += CPU_BLOCK) {
            size_t end = p->k - k0 < CPU_BLOCK ? p->k : k0 + CPU_BLOCK;
            float acc[COLS] = {0};
            for (size_t i = k0; i < end; i++)
                for (size_t l = 0; l < n; l++)
                    acc[l] = fn_fma(p->a[i], b[l * p->stride + i], acc[l]);
            for (size_t l = 0; l < n; l++)
                total[l] = total[l] + acc[l];
        }
        memcpy(p->c + j, total, n * sizeof *p->c);
    }
}

/* Rule 3's product for devices with many small cores (GPUs): a work-group computes a tile of
 * TILE_M x TILE_N elements of C, an item ITEM_M x ITEM_N of them in registers.
 *
 * A and B come through local memory, STEP k's at a time; while one step is multiplied the next is on
 * its way into registers. An item's rows and columns are groups of 4, the groups of neighbouring
 * items side by side: reads of local memory are 16 bytes wide and without bank conflicts, writes of
 * C are whole lines. After each 256 k's the chains are added to C, which is the total of rule 3.
 * What lies outside A and B is read as +0, which rule 3 does not see.
 *
 * Defines: TILE_M, TILE_N, ITEM_M, ITEM_N (multiples of 4), STEP (divides 256), TRANS_A, TRANS_B.
 * Work-groups are TILE_N / ITEM_N by TILE_M / ITEM_M. */
#define ITEMS_X (TILE_N / ITEM_N)
#define ITEMS_Y (TILE_M / ITEM_M)
#define ITEMS   (ITEMS_X * ITEMS_Y)
#define PAD     4 /* rows of local memory start at different banks, 16-byte aligned */
#define ROW_A   (TILE_M + PAD)
#define ROW_B   (TILE_N + PAD)
#define FETCH_A (TILE_M * STEP / ITEMS)
#define FETCH_B (TILE_N * STEP / ITEMS)

/* Element e of a step's tile of `width` columns by STEP k's: neighbours in e are neighbours in
 * memory, which is k first where `k_first`. */
#define AT_K(e, width, k_first) ((k_first) ? (e) % STEP : (e) / (width))
#define AT_X(e, width, k_first) ((k_first) ? (e) / STEP : (e) % (width))

/* x (or k) of group g of 4 of item `item` */
#define GROUP(g, item, items) ((g) * 4 * (items) + (item) * 4)

__kernel __attribute__((reqd_work_group_size(ITEMS_X, ITEMS_Y, 1))) void
matmul(MEMORY(const float, a), MEMORY(const float, b), MEMORY(float, c), ulong m, ulong n, ulong k,
       ulong lda, ulong ldb, ulong ldc, ulong inner, ulong b_group, ulong a_outer, ulong a_inner,
       ulong b_outer, ulong b_inner, ulong c_outer, ulong c_inner, ulong k_step, uint accumulate)
{
    __local float la[STEP * ROW_A], lb[STEP * ROW_B];
    size_t zo = get_group_id(2) / inner, zi = get_group_id(2) % inner;
    __global const float *a = AT(const float, a) + zo * a_outer + zi * a_inner;
    __global const float *b = AT(const float, b) + zo * b_outer + zi / b_group * b_inner;
    __global float *c = AT(float, c) + zo * c_outer + zi * c_inner;
    size_t i0 = get_group_id(1) * TILE_M, j0 = get_group_id(0) * TILE_N;
    int tx = get_local_id(0), ty = get_local_id(1), item = ty * ITEMS_X + tx;
    float next_a[FETCH_A], next_b[FETCH_B], acc[ITEM_M][ITEM_N];
    k = k_step ? min(k_step, k - zo * k_step) : k;

#define FETCH(k0)                                                                                  \
    for (int f = 0; f < FETCH_A; f++) {                                                            \
        int e = f * ITEMS + item;                                                                  \
        size_t kk = (k0) + AT_K(e, TILE_M, !TRANS_A), i = i0 + AT_X(e, TILE_M, !TRANS_A);          \
        next_a[f] = kk < k && i < m ? a[TRANS_A ? kk * lda + i : i * lda + kk] : 0.0f;             \
    }                                                                                              \
    for (int f = 0; f < FETCH_B; f++) {                                                            \
        int e = f * ITEMS + item;                                                                  \
        size_t kk = (k0) + AT_K(e, TILE_N, TRANS_B), j = j0 + AT_X(e, TILE_N, TRANS_B);            \
        next_b[f] = kk < k && j < n ? b[TRANS_B ? j * ldb + kk : kk * ldb + j] : 0.0f;             \
    }
#define EACH_ACC                                                                                   \
    for (int r = 0; r < ITEM_M; r++)                                                               \
        for (int s = 0; s < ITEM_N; s++)

    EACH_ACC acc[r][s] = 0.0f;
    FETCH(0)
    for (size_t k0 = 0; k0 < k; k0 += STEP) {
        for (int f = 0; f < FETCH_A; f++) {
            int e = f * ITEMS + item;
            la[AT_K(e, TILE_M, !TRANS_A) * ROW_A + AT_X(e, TILE_M, !TRANS_A)] = next_a[f];
        }
        for (int f = 0; f < FETCH_B; f++) {
            int e = f * ITEMS + item;
            lb[AT_K(e, TILE_N, TRANS_B) * ROW_B + AT_X(e, TILE_N, TRANS_B)] = next_b[f];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (k0 + STEP < k) {
            FETCH(k0 + STEP)
        }
        for (int kk = 0; kk < STEP; kk++) {
            float x[ITEM_M], y[ITEM_N];
            for (int g = 0; g < ITEM_M / 4; g++)
                vstore4(vload4(0, la + kk * ROW_A + GROUP(g, ty, ITEMS_Y)), g, x);
            for (int g = 0; g < ITEM_N / 4; g++)
                vstore4(vload4(0, lb + kk * ROW_B + GROUP(g, tx, ITEMS_X)), g, y);
            EACH_ACC acc[r][s] = fma(x[r], y[s], acc[r][s]);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        if ((k0 + STEP) % RULE_BLOCK != 0 && k0 + STEP < k)
            continue;
        bool first = k0 < RULE_BLOCK && !accumulate;
        EACH_ACC
        {
            size_t i = i0 + GROUP(r / 4, ty, ITEMS_Y) + r % 4;
            size_t j = j0 + GROUP(s / 4, tx, ITEMS_X) + s % 4;
            if (i < m && j < n)
                c[i * ldc + j] = (first ? 0.0f : c[i * ldc + j]) + acc[r][s];
            acc[r][s] = 0.0f;
        }
    }
}

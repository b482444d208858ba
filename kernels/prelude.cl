/* Begins every program; compute/fn*.h, half.h and the program's own text follow. Programs of
 * operators define WIDE (ops.h) and get what is shared by rows and sums.
 *
 * OpenCL C 1.2. Only + - * and fma on floats, and the functions of fn.h: no mad, native_*, half_*,
 * built-in division or square root (docs/numerics.md). Every index is a ulong or size_t: tensors
 * go past 4 GiB. */
#pragma OPENCL FP_CONTRACT OFF

/* A memory argument of cl_call: declare MEMORY(const float, x), then use AT(const float, x). The
 * data are aligned to 4 bytes only: vloadn and vstoren, never a pointer to a vector. */
#define MEMORY(T, name) __global T *name##_base, const ulong name##_at
#define AT(T, name)     ((__global T *)((__global const char *)name##_base + name##_at))

/* Tell that the data are wrong: the host's next read fails. Any of several writers may win. */
#define FAULT(name, code) (*AT(uint, name) = (code))
#define FAULT_ID          1u /* CL_FAULT_ID */

#ifdef WIDE

/* ---- two kinds of devices, one text ----
 *
 * WIDE (CPUs): a work-item is a core and a work-group has one; it walks neighbouring elements, with
 * vectors of VEC floats. Else (GPUs): a work-group is a team of TEAM items that walk neighbouring
 * elements side by side. TEAM is a multiple of 16, and 1 where WIDE. */
#define RULE_BLOCK 256 /* rules 3 and 4 */
#define RULE_LANES 16  /* rule 4 */

#if WIDE

#define TEAM 1
#if VEC == 16
typedef float16 vec;
#define vload_vec  vload16
#define vstore_vec vstore16
#elif VEC == 8
typedef float8 vec;
#define vload_vec  vload8
#define vstore_vec vstore8
#else
typedef float4 vec;
#define vload_vec  vload4
#define vstore_vec vstore4
#endif

/* Iterations do not depend on each other, in place too. */
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")

/* for each i < n of the whole call: `chunk` neighbours an item. APART: what is done for one has
 * loops of its own, which are what vectors are for. */
#define EACH_APART(i, n)                                                                           \
    for (size_t i = get_global_id(0) * chunk, i##_end = min((size_t)(n), i + chunk); i < i##_end;  \
         i++)
#define EACH(i, n) INDEPENDENT EACH_APART(i, n)

#else

#define VEC 1
typedef float vec;
#define vload_vec(i, p)     ((p)[i])
#define vstore_vec(v, i, p) ((p)[i] = (v))
#define INDEPENDENT
#define EACH_APART(i, n) for (size_t i = get_global_id(0); i < (n); i += get_global_size(0))
#define EACH             EACH_APART

#endif

/* for each i < n of the team's row */
#define ROW_EACH(i, n)                                                                             \
    INDEPENDENT                                                                                    \
    for (size_t i = get_local_id(0); i < (n); i += TEAM)

/* What the items of a team wrote to global memory is seen by all of them. */
#if WIDE
#define TEAM_FENCE
#else
#define TEAM_FENCE barrier(CLK_GLOBAL_MEM_FENCE)
#endif

/* ROW_SUM(sum, n, i, term): sum = rule 4 over the terms of i < n. ROW_MAX likewise, plus 0. All items
 * of the team reach it and get the result. They need `__local float *team` of TEAM floats. */
#if WIDE

/* Rule 4's sum of one block: t[count..256) count as +0. */
static float block_sum(const float *t, size_t count)
{
    float16 lane = 0.0f;
    float8 eight;
    float4 four;
    float2 two;
    size_t i = 0;
    for (; i + RULE_LANES <= count; i += RULE_LANES)
        lane = lane + vload16(0, t + i);
    if (i < count) {
        float rest[RULE_LANES];
        for (size_t l = 0; l < RULE_LANES; l++)
            rest[l] = i + l < count ? t[i + l] : 0.0f;
        lane = lane + vload16(0, rest);
    }
    eight = lane.lo + lane.hi;
    four = eight.lo + eight.hi;
    two = four.lo + four.hi;
    return two.x + two.y;
}

static float block_max(const float *t, size_t count)
{
    float max = t[0];
    size_t i = 0;
    if (count >= VEC) {
        vec m = vload_vec(0, t);
        float part[VEC];
        for (; i + VEC <= count; i += VEC) {
            vec x = vload_vec(0, t + i);
            m = x > m ? x : m;
        }
        vstore_vec(m, 0, part);
        for (int l = 0; l < VEC; l++)
            max = part[l] > max ? part[l] : max;
    }
    for (; i < count; i++)
        max = t[i] > max ? t[i] : max;
    return max;
}

#define ROW_BLOCKS(n, i, term, use)                                                                \
    for (size_t row_at = 0; row_at < (n); row_at += RULE_BLOCK) {                                  \
        size_t row_count = min((size_t)(n)-row_at, (size_t)RULE_BLOCK);                            \
        float row_term[RULE_BLOCK];                                                                \
        for (size_t row_i = 0; row_i < row_count; row_i++) {                                       \
            size_t i = row_at + row_i;                                                             \
            row_term[row_i] = (term);                                                              \
        }                                                                                          \
        use;                                                                                       \
    }
#define ROW_SUM(sum, n, i, term)                                                                   \
    sum = 0.0f;                                                                                    \
    ROW_BLOCKS(n, i, term, sum = sum + block_sum(row_term, row_count))
#define ROW_MAX(max, n, i, term)                                                                   \
    max = -INFINITY;                                                                               \
    ROW_BLOCKS(n, i, term, float row_max = block_max(row_term, row_count);                         \
               max = row_max > max ? row_max : max)                                                \
    max = max + 0.0f

#else

/* The lanes of TEAM / 16 blocks, one an item, become the blocks' sums: of block b at team[16 b]. */
static void team_blocks(float lane, __local float *team)
{
    size_t l = get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    team[l] = lane;
    for (size_t half_lanes = RULE_LANES / 2; half_lanes > 0; half_lanes /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (l % RULE_LANES < half_lanes)
            team[l] = team[l] + team[l + half_lanes];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

static float team_max(float max, __local float *team)
{
    size_t l = get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    team[l] = max;
    for (size_t some = TEAM / 2; some > 0; some /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (l < some)
            team[l] = team[l + some] > team[l] ? team[l + some] : team[l];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return team[0];
}

#define ROW_SUM(sum, n, i, term)                                                                   \
    sum = 0.0f;                                                                                    \
    for (size_t row_at = 0; row_at < (n); row_at += TEAM * RULE_LANES) {                           \
        float row_lane = 0.0f;                                                                     \
        size_t i = row_at + get_local_id(0) / RULE_LANES * RULE_BLOCK +                            \
                   get_local_id(0) % RULE_LANES;                                                   \
        for (size_t row_s = 0; row_s < RULE_LANES; row_s++, i += RULE_LANES)                       \
            if (i < (n))                                                                           \
                row_lane = row_lane + (term);                                                      \
        team_blocks(row_lane, team);                                                               \
        for (size_t row_b = 0; row_b < TEAM / RULE_LANES; row_b++)                                 \
            sum = sum + team[row_b * RULE_LANES];                                                  \
    }
#define ROW_MAX(max, n, i, term)                                                                   \
    max = -INFINITY;                                                                               \
    ROW_EACH(i, n)                                                                                 \
    {                                                                                              \
        float row_x = (term);                                                                      \
        max = row_x > max ? row_x : max;                                                           \
    }                                                                                              \
    max = team_max(max, team) + 0.0f

#endif

/* `have` floats at p, then +0; and the first `have` floats of v to p. */
static vec vload_some(__global const float *p, size_t have)
{
    float part[VEC];
    if (have >= VEC)
        return vload_vec(0, p);
    for (size_t i = 0; i < VEC; i++)
        part[i] = i < have ? p[i] : 0.0f;
    return vload_vec(0, part);
}

static void vstore_some(vec v, __global float *p, size_t have)
{
    float part[VEC];
    if (have >= VEC) {
        vstore_vec(v, 0, p);
        return;
    }
    vstore_vec(v, 0, part);
    for (size_t i = 0; i < have; i++)
        p[i] = part[i];
}

/* Rule 4 over rows, by columns. Item (x, y) has VEC columns from j = VEC x of block y of the rows;
 * the block's sums of `term` over rows r < n go to out[y][j..) of (blocks, d). In the term `have` is
 * how many of the columns there are: vload_some. */
#define COLUMN_SUMS(out, n, d, r, term)                                                            \
    size_t j = get_global_id(0) * VEC, column_at = get_global_id(1) * RULE_BLOCK, have;            \
    size_t column_end = min((size_t)(n), column_at + RULE_BLOCK);                                  \
    vec column_lane[RULE_LANES];                                                                   \
    if (j >= (d))                                                                                  \
        return;                                                                                    \
    have = (d)-j;                                                                                  \
    for (int l = 0; l < RULE_LANES; l++)                                                           \
        column_lane[l] = (vec)(0.0f);                                                              \
    for (; column_at < column_end; column_at += RULE_LANES)                                        \
        for (int l = 0; l < RULE_LANES; l++) {                                                     \
            size_t r = column_at + l;                                                              \
            if (r < column_end)                                                                    \
                column_lane[l] = column_lane[l] + (term);                                          \
        }                                                                                          \
    for (int lanes = RULE_LANES / 2; lanes > 0; lanes /= 2)                                        \
        for (int l = 0; l < lanes; l++)                                                            \
            column_lane[l] = column_lane[l] + column_lane[l + lanes];                              \
    vstore_some(column_lane[0], (out) + get_global_id(1) * (d) + j, have)

#endif

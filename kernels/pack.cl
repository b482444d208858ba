/* Numbers for thin links; the readable form is compute/pack.c, the formats are compute/pack.h's.
 * FORMAT is a number of PACK_TABLE, KEEP what stays of a block of TOP. */

#define INT8      1
#define TOP       3
#define TOP_BLOCK 4096
#define TOP_BYTES (2 + KEEP / 2 * 3 + KEEP / 4)

#define INT_BLOCK    64
#define INT_BYTES    (FORMAT == INT8 ? 1 + INT_BLOCK : 1 + INT_BLOCK / 2)
#define INT_SHIFT    (FORMAT == INT8 ? 6u : 2u)
#define INT_MOST     (FORMAT == INT8 ? 127.0f : 7.0f)
#define EXPONENT_MIN 7u
#define EXPONENT_NAN 255u

static uint magnitude(float x)
{
    return fn_bits(x) & 0x7fffffffu;
}

/* ---- blocks of integers: one an item ---- */

static int nearest(float x)
{
    float t = x > -INT_MOST ? x : -INT_MOST;
    t = t < INT_MOST ? t : INT_MOST;
    return (int)(t + FN_ROUND - FN_ROUND);
}

/* `blocks` of them, over n numbers */
__kernel void pack_ints(MEMORY(const float, x), MEMORY(uchar, q), ulong blocks, ulong chunk,
                        ulong n)
{
    EACH_APART(b, blocks)
    {
        __global const float *x = AT(const float, x) + b * INT_BLOCK;
        __global uchar *q = AT(uchar, q) + b * INT_BYTES;
        size_t have = min((size_t)(n - b * INT_BLOCK), (size_t)INT_BLOCK);
        uint e = 0;
        for (size_t i = 0; i < have; i++)
            e = max(e, magnitude(x[i]) >> 23);
        e = e < EXPONENT_MIN ? 0u : e;
        float inverse = e == 0 ? 0.0f : fn_float((254 + INT_SHIFT - e) << 23);
        q[0] = (uchar)e;
        for (size_t i = 0; i < INT_BLOCK; i += 2) {
            int low = nearest(i < have ? x[i] * inverse : 0.0f);
            int high = nearest(i + 1 < have ? x[i + 1] * inverse : 0.0f);
            if (FORMAT == INT8) {
                q[1 + i] = (uchar)low;
                q[2 + i] = (uchar)high;
            } else {
                q[1 + i / 2] = (uchar)((low + 8) | (high + 8) << 4);
            }
        }
    }
}

__kernel void unpack_ints(MEMORY(const uchar, q), MEMORY(float, y), ulong blocks, ulong chunk,
                          ulong n)
{
    EACH_APART(b, blocks)
    {
        __global const uchar *q = AT(const uchar, q) + b * INT_BYTES;
        __global float *y = AT(float, y) + b * INT_BLOCK;
        size_t have = min((size_t)(n - b * INT_BLOCK), (size_t)INT_BLOCK);
        uint e = q[0];
        float scale = e < EXPONENT_MIN ? 0.0f : fn_float((e - INT_SHIFT) << 23);
        for (size_t i = 0; i < have; i++) {
            int number = FORMAT == INT8 ? (int)((__global const char *)q)[1 + i]
                                        : (q[1 + i / 2] >> i % 2 * 4 & 15) - 8;
            y[i] = (float)number * scale;
        }
        if (e == EXPONENT_NAN)
            y[0] = fn_float(FN_NAN);
    }
}

/* ---- the largest: a block a team ---- */

static float level(uint e)
{
    return e == 0 ? 0.0f : fn_float(e << 23 | 0x400000u);
}

/* Sum of `own` over the items of the team; and over those before this one. */
static uint team_total(uint own, __local uint *team)
{
#if WIDE
    return own;
#else
    uint total = 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    team[get_local_id(0)] = own;
    for (size_t some = TEAM / 2; some > 0; some /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (get_local_id(0) < some)
            team[get_local_id(0)] += team[get_local_id(0) + some];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    total = team[0];
    return total;
#endif
}

static uint team_before(uint own, __local uint *team)
{
    uint before = 0;
#if !WIDE
    barrier(CLK_LOCAL_MEM_FENCE);
    team[get_local_id(0)] = own;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (size_t l = 0; l < get_local_id(0); l++)
        before += team[l];
#endif
    return before;
}

/* The magnitude that at least `keep` of x[n] reach, as large as can be: bit by bit. */
static uint threshold(__global const float *x, size_t n, uint keep, __local uint *team)
{
    uint least = 0;
    for (uint bit = 1u << 30; bit > 0; bit >>= 1) {
        uint reach = 0;
        for (size_t i = get_local_id(0); i < n; i += TEAM)
            reach += magnitude(x[i]) >= (least | bit);
        if (team_total(reach, team) >= keep)
            least |= bit;
    }
    return least;
}

/* Places with their codes above bit 12, from neighbours in local memory to the block's bytes. */
static void slots_write(__local const ushort *slot, __global uchar *q)
{
    for (size_t two = get_local_id(0); two < KEEP / 2; two += TEAM) {
        uint a = slot[2 * two] & 4095u, b = slot[2 * two + 1] & 4095u;
        q[2 + 3 * two] = (uchar)a;
        q[3 + 3 * two] = (uchar)(a >> 8 | (b & 15u) << 4);
        q[4 + 3 * two] = (uchar)(b >> 4);
    }
    for (size_t four = get_local_id(0); four < KEEP / 4; four += TEAM) {
        uint codes = 0;
        for (uint i = 0; i < 4; i++)
            codes |= (uint)(slot[4 * four + i] >> 12) << 2 * i;
        q[2 + KEEP / 2 * 3 + four] = (uchar)codes;
    }
}

/* Each item writes the slots of a part of the block, so that places rise; how many stay before its
 * part is counted first. */
__kernel void pack_top(MEMORY(const float, x), MEMORY(uchar, q), ulong n, __local uint *team,
                       __local ushort *slot)
{
    size_t block = get_group_id(0), have = min((size_t)(n - block * TOP_BLOCK), (size_t)TOP_BLOCK);
    __global const float *x = AT(const float, x) + block * TOP_BLOCK;
    __global uchar *q = AT(uchar, q) + block * TOP_BYTES;
    uint keep = min((uint)have, (uint)KEEP), above = 0, equal = 0, ties, s;
    uint least = threshold(x, have, keep, team), most = threshold(x, have, 1, team);
    size_t part = (have + TEAM - 1) / TEAM, i = min(get_local_id(0) * part, have);
    size_t end = min(i + part, have);
    float half_way = 0.5f * level(most >> 23) + 0.5f * level(least >> 23);
    for (size_t k = i; k < end; k++) {
        above += magnitude(x[k]) > least;
        equal += magnitude(x[k]) == least;
    }
    ties = keep - team_total(above, team);
    s = team_before(above, team);
    equal = min(team_before(equal, team), ties);
    s += equal;
    ties -= equal;
    for (; i < end; i++) {
        uint m = magnitude(x[i]);
        if (m < least || (m == least && ties == 0))
            continue;
        ties -= m == least;
        slot[s++] = (ushort)(i | (x[i] < 0.0f ? 4096u : 0u) | (fn_float(m) >= half_way ? 8192u : 0u));
    }
    for (size_t unused = keep + get_local_id(0); unused < KEEP; unused += TEAM)
        slot[unused] = 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    slots_write(slot, q);
    if (get_local_id(0) == 0) {
        q[0] = (uchar)(most >> 23);
        q[1] = (uchar)(least >> 23);
    }
}

static void top_read(__global const uchar *q, __global float *y, size_t n)
{
    size_t keep = min(n, (size_t)KEEP), next = 0;
    float high = level(q[0]), low = level(q[1]);
    bool good = q[0] != EXPONENT_NAN && q[1] != EXPONENT_NAN;
    for (size_t s = 0; s < keep && good; s++) {
        __global const uchar *two = q + 2 + s / 2 * 3;
        uint code = q[2 + KEEP / 2 * 3 + s / 4] >> s % 4 * 2 & 3;
        size_t place = s % 2 == 0 ? (size_t)two[0] | (size_t)(two[1] & 15) << 8
                                  : (size_t)two[1] >> 4 | (size_t)two[2] << 4;
        float size = (code & 2) != 0 ? high : low;
        good = place >= next && place < n;
        if (good)
            y[place] = (code & 1) != 0 ? -size : size;
        next = place + 1;
    }
    if (!good)
        y[0] = fn_float(FN_NAN);
}

__kernel void unpack_top(MEMORY(const uchar, q), MEMORY(float, y), ulong n)
{
    size_t block = get_group_id(0), have = min((size_t)(n - block * TOP_BLOCK), (size_t)TOP_BLOCK);
    __global float *y = AT(float, y) + block * TOP_BLOCK;
    ROW_EACH(i, have)
    {
        y[i] = 0.0f;
    }
    TEAM_FENCE;
    if (get_local_id(0) == 0)
        top_read(AT(const uchar, q) + block * TOP_BYTES, y, have);
}

/* Rule 4 over long vectors and over columns: block sums first, then the blocks in order. */

#define TERM(x) (SQUARE ? (x) * (x) : (x))

/* out[b] = sum of block b of x[n]. */
__kernel void block_sums(MEMORY(const float, x), MEMORY(float, out), ulong n, ulong chunk,
                         __local float *team)
{
    __global const float *x = AT(const float, x);
    __global float *out = AT(float, out);
#if WIDE
    size_t begin = get_global_id(0) * chunk, end = min((size_t)n, begin + chunk);
    for (size_t at = begin; at < end; at += RULE_BLOCK) {
        size_t count = min(end - at, (size_t)RULE_BLOCK);
        float t[RULE_BLOCK];
        for (size_t i = 0; i < count; i++)
            t[i] = TERM(x[at + i]);
        out[at / RULE_BLOCK] = block_sum(t, count);
    }
#else
    size_t item = get_local_id(0), block = get_group_id(0) * (TEAM / RULE_LANES) + item / RULE_LANES;
    size_t i = block * RULE_BLOCK + item % RULE_LANES;
    float lane = 0.0f;
    for (size_t s = 0; s < RULE_LANES; s++, i += RULE_LANES)
        if (i < n)
            lane = lane + TERM(x[i]);
    team_blocks(lane, team);
    if (item % RULE_LANES == 0 && block * RULE_BLOCK < n)
        out[block] = team[item];
#endif
}

/* *out = +0 + block[0] + block[1] ...: the team fetches, everybody adds. */
__kernel void add_blocks(MEMORY(const float, block), MEMORY(float, out), ulong blocks,
                         __local float *team)
{
    __global const float *block = AT(const float, block);
    float total = 0.0f;
    for (size_t at = 0; at < blocks; at += TEAM) {
        size_t count = min((size_t)TEAM, (size_t)blocks - at);
#if WIDE
        total = total + block[at];
#else
        barrier(CLK_LOCAL_MEM_FENCE);
        if (get_local_id(0) < count)
            team[get_local_id(0)] = block[at + get_local_id(0)];
        barrier(CLK_LOCAL_MEM_FENCE);
        for (size_t b = 0; b < count; b++)
            total = total + team[b];
#endif
    }
    if (get_local_id(0) == 0)
        *AT(float, out) = total;
}

__kernel void column_sums(MEMORY(const float, x), MEMORY(float, out), ulong n, ulong d)
{
    __global const float *x = AT(const float, x);
    COLUMN_SUMS(AT(float, out), n, d, r, vload_some(x + r * d + j, have));
}

/* out[j] = +0 + block[0][j] + block[1][j] ..., block (blocks, n). The end of rule 3 with its blocks
 * computed apart, and of sums over rows. */
__kernel void add_rows(MEMORY(const float, block), MEMORY(float, out), ulong n, ulong chunk,
                       ulong blocks)
{
    __global const float *block = AT(const float, block);
    __global float *out = AT(float, out);
    EACH(j, n)
    {
        float total = 0.0f;
        for (size_t b = 0; b < blocks; b++)
            total = total + block[b * n + j];
        out[j] = total;
    }
}

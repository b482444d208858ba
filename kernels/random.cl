/* What is drawn from Philox 4x32-10 (fn_philox.h). */

#define PHILOX_INIT    1u
#define PHILOX_DROPOUT 4u

/* The words of one (seed, purpose, step, index). */
static void philox_at(ulong seed, uint purpose, uint step, ulong index, uint w[4])
{
    w[0] = (uint)index;
    w[1] = (uint)(index >> 32);
    w[2] = step;
    w[3] = purpose;
    fn_philox(w, (uint)seed, (uint)(seed >> 32));
}

static int halves(uint w)
{
    return (int)((w & 0xffffu) + (w >> 16));
}

/* OP_RANDN. Element i is made of the words 6 i .. 6 i + 5, four to an index: all of one index and
 * half of its neighbour. */
__kernel void randn(MEMORY(float, y), ulong n, ulong chunk, ulong seed, uint tensor, float std)
{
    __global float *y = AT(float, y);
    EACH(i, n)
    {
        ulong index = (ulong)i / 2 * 3 + i % 2;
        uint a[4], b[4];
        int sum;
        philox_at(seed, PHILOX_INIT, tensor, index, a);
        philox_at(seed, PHILOX_INIT, tensor, index + 1, b);
        sum = halves(a[2]) + halves(a[3]) + halves(b[0]) + halves(b[1]);
        sum += i % 2 ? halves(b[2]) + halves(b[3]) : halves(a[0]) + halves(a[1]);
        y[i] = (float)(sum - 6 * 65535) * 0x1p-16f * std;
    }
}

/* OP_DROPOUT, four elements to an index; key {seed low, seed high, step, part}; n of x. */
__kernel void dropout(MEMORY(const float, x), MEMORY(const uint, key), MEMORY(float, y),
                      ulong fours, ulong chunk, ulong n, float p, uint site)
{
    __global const float *x = AT(const float, x);
    __global const uint *key = AT(const uint, key);
    __global float *y = AT(float, y);
    ulong seed = (ulong)key[1] << 32 | key[0], part = (ulong)key[3] << 32;
    uint step = key[2];
    float scale = fn_div(1.0f, 1.0f - p);
    EACH_APART(f, fours)
    {
        uint w[4];
        size_t end = min((size_t)n, 4 * f + 4);
        philox_at(seed, PHILOX_DROPOUT + (site << 16), step, part + f, w);
        for (size_t i = 4 * f; i < end; i++)
            y[i] = (float)(w[i % 4] >> 8) * 0x1p-24f >= p ? x[i] * scale : 0.0f;
    }
}

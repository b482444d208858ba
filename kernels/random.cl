/* Philox 4x32-10; base/philox.c is the readable form. */

#define PHILOX_INIT 1u

/* Words of one (seed, purpose, step, index), summed by halves: of the first two and the last two. */
static void philox_halves(ulong seed, uint purpose, uint step, ulong index, int *first, int *last)
{
    uint c0 = (uint)index, c1 = (uint)(index >> 32), c2 = step, c3 = purpose;
    uint k0 = (uint)seed, k1 = (uint)(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        ulong p0 = 0xD2511F53ul * c0, p1 = 0xCD9E8D57ul * c2;
        c0 = (uint)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint)p1;
        c2 = (uint)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    *first = (int)((c0 & 0xffffu) + (c0 >> 16) + (c1 & 0xffffu) + (c1 >> 16));
    *last = (int)((c2 & 0xffffu) + (c2 >> 16) + (c3 & 0xffffu) + (c3 >> 16));
}

/* OP_RANDN. Element i is made of the words 6 i .. 6 i + 5, four to an index: all of one index and
 * half of its neighbour. */
__kernel void randn(MEMORY(float, y), ulong n, ulong chunk, ulong seed, uint tensor, float std)
{
    __global float *y = AT(float, y);
    EACH(i, n)
    {
        ulong index = (ulong)i / 2 * 3 + i % 2;
        int a0, a1, b0, b1, sum;
        philox_halves(seed, PHILOX_INIT, tensor, index, &a0, &a1);
        philox_halves(seed, PHILOX_INIT, tensor, index + 1, &b0, &b1);
        sum = a1 + b0 + (i % 2 ? b1 : a0);
        y[i] = (float)(sum - 6 * 65535) * 0x1p-16f * std;
    }
}

/* SHA-256 (FIPS 180-4, sections 5 and 6.2) of the pieces of a file, an item a piece: the leaves of
 * a UnixFS file hang together by their digests alone, so thousands of them are hashed side by side
 * and no byte of them crosses the bus. Words are read as the device has them, little-endian, and
 * turned. */

__constant uint SHA256_K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

#define SHA256_BLOCK 64

#define TURNED(v, T)                                                                               \
    ((rotate((v), (T)8) & (T)0x00ff00ff) | (rotate((v), (T)24) & (T)0xff00ff00))
#define RIGHT(x, n) rotate((x), (uint)(32 - (n)))

/* Round k + i of a block; w is the schedule's last 16 words. i is a constant, so that w may lie in
 * registers. */
#define ROUND(a, b, c, d, e, f, g, h, k, i)                                                        \
    do {                                                                                           \
        uint t1 = (h) + (RIGHT(e, 6) ^ RIGHT(e, 11) ^ RIGHT(e, 25)) + bitselect(g, f, e) +         \
                  SHA256_K[(k) + (i)] + w[i];                                                      \
        uint t2 = (RIGHT(a, 2) ^ RIGHT(a, 13) ^ RIGHT(a, 22)) + bitselect(b, c, (b) ^ (a));        \
        (d) += t1;                                                                                 \
        (h) = t1 + t2;                                                                             \
    } while (0)
#define EIGHT(k, i)                                                                                \
    ROUND(a, b, c, d, e, f, g, h, k, i);                                                           \
    ROUND(h, a, b, c, d, e, f, g, k, i + 1);                                                       \
    ROUND(g, h, a, b, c, d, e, f, k, i + 2);                                                       \
    ROUND(f, g, h, a, b, c, d, e, k, i + 3);                                                       \
    ROUND(e, f, g, h, a, b, c, d, k, i + 4);                                                       \
    ROUND(d, e, f, g, h, a, b, c, k, i + 5);                                                       \
    ROUND(c, d, e, f, g, h, a, b, k, i + 6);                                                       \
    ROUND(b, c, d, e, f, g, h, a, k, i + 7)

/* The schedule's word i of the next 16, of those 2, 7, 15 and 16 before it. */
#define NEXT(i)                                                                                    \
    do {                                                                                           \
        uint x = w[((i) + 1) & 15], y = w[((i) + 14) & 15];                                        \
        w[i] += (RIGHT(x, 7) ^ RIGHT(x, 18) ^ (x >> 3)) + w[((i) + 9) & 15] +                      \
                (RIGHT(y, 17) ^ RIGHT(y, 19) ^ (y >> 10));                                         \
    } while (0)
#define NEXT_FOUR(i)                                                                               \
    NEXT(i);                                                                                       \
    NEXT(i + 1);                                                                                   \
    NEXT(i + 2);                                                                                   \
    NEXT(i + 3)

/* Section 6.2.2: one block of 16 words into the state. */
static void sha256_block(uint state[8], const uint block[16])
{
    uint a = state[0], b = state[1], c = state[2], d = state[3];
    uint e = state[4], f = state[5], g = state[6], h = state[7];
    uint w[16];
    for (int i = 0; i < 16; i++)
        w[i] = block[i];
    EIGHT(0, 0);
    EIGHT(0, 8);
    for (int k = 16; k < 64; k += 16) {
        NEXT_FOUR(0);
        NEXT_FOUR(4);
        NEXT_FOUR(8);
        NEXT_FOUR(12);
        EIGHT(k, 0);
        EIGHT(k, 8);
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
}

/* Section 5.1.1: what is left of a piece of `n` bytes, the bit 1, zeros, the length in bits. */
static void sha256_end(uint state[8], __global const uchar *rest, size_t n)
{
    uint block[16];
    size_t left = n % SHA256_BLOCK;
    for (int i = 0; i < 16; i++)
        block[i] = 0;
    for (size_t i = 0; i < left; i++)
        block[i / 4] |= (uint)rest[i] << (24 - 8 * (i % 4));
    block[left / 4] |= (uint)0x80 << (24 - 8 * (left % 4));
    if (left >= SHA256_BLOCK - 8) {
        sha256_block(state, block);
        for (int i = 0; i < 16; i++)
            block[i] = 0;
    }
    block[14] = (uint)((ulong)n >> 29);
    block[15] = (uint)((ulong)n << 3);
    sha256_block(state, block);
}

/* Pieces of `piece` bytes, a multiple of 64, of the n at x; the last has what is left. */
__kernel void sha256_pieces(MEMORY(const uchar, x), MEMORY(uint, digest), ulong n, ulong piece,
                            ulong count)
{
    uint state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    size_t i = get_global_id(0), bytes, at = 0;
    __global const uchar *from;
    if (i >= count)
        return;
    bytes = min((ulong)piece, n - i * piece);
    from = AT(const uchar, x) + i * piece;
    for (; bytes - at >= SHA256_BLOCK; at += SHA256_BLOCK) {
        uint block[16];
        uint16 words = vload16(0, (__global const uint *)(from + at));
        vstore16(TURNED(words, uint16), 0, block);
        sha256_block(state, block);
    }
    sha256_end(state, from + at, bytes);
    for (int k = 0; k < 8; k++)
        AT(uint, digest)[i * 8 + k] = TURNED(state[k], uint);
}

/* Between storage and numbers (rule 8), and the search for NaN and infinity, whose exponent is all
 * ones. */

__kernel void f32_finite(MEMORY(uint, found), MEMORY(const float, x), ulong n, ulong chunk)
{
    uint any = 0;
    EACH(i, n)
        any |= (fn_bits(AT(const float, x)[i]) & FN_INF) == FN_INF;
    if (any)
        *AT(uint, found) = 1;
}

__kernel void bf16_finite(MEMORY(uint, found), MEMORY(const ushort, x), ulong n, ulong chunk)
{
    uint any = 0;
    EACH(i, n)
        any |= (AT(const ushort, x)[i] & 0x7f80) == 0x7f80;
    if (any)
        *AT(uint, found) = 1;
}

__kernel void widen(MEMORY(float, y), MEMORY(const ushort, x), ulong n, ulong chunk)
{
    EACH(i, n)
        AT(float, y)[i] = fn_from_bf16(AT(const ushort, x)[i]);
}

__kernel void narrow(MEMORY(ushort, y), MEMORY(const float, x), ulong n, ulong chunk)
{
    EACH(i, n)
        AT(ushort, y)[i] = (ushort)fn_to_bf16(AT(const float, x)[i]);
}

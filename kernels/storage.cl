/* Between storage and numbers (rule 8), and the search for NaN and infinity, whose exponent is all
 * ones. Work-items walk over n elements in strides. */

#define WALK(i, n) for (size_t i = get_global_id(0); i < (n); i += get_global_size(0))

__kernel void f32_finite(MEMORY(uint, found), MEMORY(const float, x), const ulong n)
{
    uint any = 0;
    WALK(i, n)
        any |= (fn_bits(AT(const float, x)[i]) & FN_INF) == FN_INF;
    if (any)
        *AT(uint, found) = 1;
}

__kernel void bf16_finite(MEMORY(uint, found), MEMORY(const ushort, x), const ulong n)
{
    uint any = 0;
    WALK(i, n)
        any |= (AT(const ushort, x)[i] & 0x7f80) == 0x7f80;
    if (any)
        *AT(uint, found) = 1;
}

__kernel void widen(MEMORY(float, y), MEMORY(const ushort, x), const ulong n)
{
    WALK(i, n)
        AT(float, y)[i] = fn_from_bf16(AT(const ushort, x)[i]);
}

__kernel void narrow(MEMORY(ushort, y), MEMORY(const float, x), const ulong n)
{
    WALK(i, n)
        AT(ushort, y)[i] = (ushort)fn_to_bf16(AT(const float, x)[i]);
}

/* What attention does to blocks of scores between its products (op_attention.c), rule 5; the
 * readable form is ref/attention.c.
 *
 * A block of scores is s[z][i][j]: head z (of sequence z / H) of the call, query t0 + i, key j,
 * rows `ld` apart. A team has a row. Query i sees the keys before len + i step. */

/* s = scaled scores' exp(s - max), +0 for keys not seen up to `keys`; stats at [z][stat + i]. */
__kernel void softmax(MEMORY(float, s), MEMORY(float, max), MEMORY(float, sum), ulong rows,
                      ulong ld, ulong keys, ulong len, ulong step, ulong stat_row, ulong stat,
                      float scale, __local float *team)
{
    size_t i = get_group_id(0), z = get_group_id(1), seen = len + i * step;
    __global float *s = AT(float, s) + (z * rows + i) * ld;
    float max, sum;
    ROW_MAX(max, seen, j, s[j] * scale);
    ROW_EACH(j, seen) s[j] = fn_exp(s[j] * scale - max);
    TEAM_FENCE;
    ROW_SUM(sum, seen, j, s[j])
    for (size_t j = seen + get_local_id(0); j < keys; j += TEAM)
        s[j] = 0.0f;
    if (get_local_id(0) == 0) {
        AT(float, max)[z * stat_row + stat + i] = max;
        AT(float, sum)[z * stat_row + stat + i] = sum;
    }
}

/* o[r] = o[r] (1 / sum) for row r = (b, t, h) of E elements; sum (B, H, T). */
__kernel void normalise(MEMORY(float, o), MEMORY(const float, sum), ulong t, ulong h, ulong e)
{
    size_t r = get_group_id(0), head = r % h, pos = r / h % t, b = r / h / t;
    float inv_sum = fn_div(1.0f, AT(const float, sum)[(b * h + head) * t + pos]);
    __global float *o = AT(float, o) + r * e;
    ROW_EACH(j, e) o[j] = o[j] * inv_sum;
}

/* delta (B, H, T) = rule 4 over e of do * o, rows as above. */
__kernel void delta(MEMORY(const float, dout), MEMORY(const float, o), MEMORY(float, delta),
                    ulong t, ulong h, ulong e, __local float *team)
{
    size_t r = get_group_id(0), head = r % h, pos = r / h % t, b = r / h / t;
    __global const float *o = AT(const float, o) + r * e, *dout = AT(const float, dout) + r * e;
    float sum;
    ROW_SUM(sum, e, j, dout[j] * o[j])
    if (get_local_id(0) == 0)
        AT(float, delta)[(b * h + head) * t + pos] = sum;
}

/* p: scores, then P; ds: do . v, then dS. +0 for keys not seen up to `keys`. */
__kernel void softmax_grad(MEMORY(float, p), MEMORY(float, ds), MEMORY(const float, max),
                           MEMORY(const float, sum), MEMORY(const float, delta), ulong rows,
                           ulong ld, ulong keys, ulong len, ulong stat_row, ulong stat,
                           float scale)
{
    size_t i = get_group_id(0), z = get_group_id(1), seen = len + i, at = z * stat_row + stat + i;
    __global float *p = AT(float, p) + (z * rows + i) * ld;
    __global float *ds = AT(float, ds) + (z * rows + i) * ld;
    float max = AT(const float, max)[at], delta = AT(const float, delta)[at];
    float inv_sum = fn_div(1.0f, AT(const float, sum)[at]);
    ROW_EACH(j, seen)
    {
        float pj = fn_exp(p[j] * scale - max) * inv_sum;
        ds[j] = pj * (ds[j] - delta) * scale;
        p[j] = pj;
    }
    for (size_t j = seen + get_local_id(0); j < keys; j += TEAM)
        p[j] = ds[j] = 0.0f;
}

/* to (rows, G, E) = the heads' x (rows, H, E), added in head order to +0; n = rows G E. */
__kernel void add_heads(MEMORY(const float, x), MEMORY(float, to), ulong n, ulong chunk,
                        ulong group, ulong e)
{
    __global const float *x = AT(const float, x);
    __global float *to = AT(float, to);
    EACH(i, n)
    {
        size_t head = i / e * group, j = i % e;
        float total = 0.0f;
        for (size_t h = 0; h < group; h++)
            total = total + x[(head + h) * e + j];
        to[i] = total;
    }
}

/* RMS normalisation; the readable form is ref/norm.c. A team has a row. */

__kernel void rmsnorm(MEMORY(const float, x), MEMORY(const float, w), MEMORY(float, y),
                      MEMORY(float, rstd), ulong d, float eps, __local float *team)
{
    size_t row = get_group_id(0);
    __global const float *x = AT(const float, x) + row * d, *w = AT(const float, w);
    __global float *y = AT(float, y) + row * d;
    float squares, r;
    ROW_SUM(squares, d, i, x[i] * x[i])
    r = fn_rsqrt(squares * fn_div(1.0f, (float)d) + eps);
    ROW_EACH(j, d) y[j] = x[j] * r * w[j];
    if (get_local_id(0) == 0)
        AT(float, rstd)[row] = r;
}

__kernel void rmsnorm_grad_x(MEMORY(const float, dy), MEMORY(const float, x),
                             MEMORY(const float, w), MEMORY(const float, rstd), MEMORY(float, dx),
                             ulong d, __local float *team)
{
    size_t row = get_group_id(0);
    __global const float *dy = AT(const float, dy) + row * d, *x = AT(const float, x) + row * d;
    __global const float *w = AT(const float, w);
    __global float *dx = AT(float, dx) + row * d;
    float r = AT(const float, rstd)[row], mean;
    ROW_SUM(mean, d, i, dy[i] * w[i] * (x[i] * r))
    mean = mean * fn_div(1.0f, (float)d);
    ROW_EACH(j, d) dx[j] = (dy[j] * w[j] - x[j] * r * mean) * r;
}

/* Item (j, b): VEC columns of block b of rows; out (blocks, d) gets the block's rule 4 sums of
 * dy * (x * rstd). */
__kernel void rmsnorm_grad_w(MEMORY(const float, dy), MEMORY(const float, x),
                             MEMORY(const float, rstd), MEMORY(float, out), ulong n, ulong d)
{
    size_t j = get_global_id(0) * VEC, row0 = get_global_id(1) * RULE_BLOCK, have;
    __global const float *dy = AT(const float, dy) + j, *x = AT(const float, x) + j;
    __global const float *rstd = AT(const float, rstd);
    size_t end = min((size_t)n, row0 + RULE_BLOCK);
    vec lane[RULE_LANES];
    if (j >= d)
        return;
    have = d - j;
#pragma unroll
    for (int l = 0; l < RULE_LANES; l++)
        lane[l] = (vec)(0.0f);
    for (size_t row = row0; row < end; row += RULE_LANES) {
#pragma unroll
        for (int l = 0; l < RULE_LANES; l++) {
            size_t r = row + l;
            if (r < end)
                lane[l] = lane[l] + vload_some(dy + r * d, have) *
                                        (vload_some(x + r * d, have) * rstd[r]);
        }
    }
#pragma unroll
    for (int half_lanes = RULE_LANES / 2; half_lanes > 0; half_lanes /= 2)
#pragma unroll
        for (int l = 0; l < half_lanes; l++)
            lane[l] = lane[l] + lane[l + half_lanes];
    vstore_some(lane[0], AT(float, out) + get_global_id(1) * d + j, have);
}

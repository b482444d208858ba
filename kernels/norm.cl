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

/* Column sums of dy * (x * rstd). */
__kernel void rmsnorm_grad_w(MEMORY(const float, dy), MEMORY(const float, x),
                             MEMORY(const float, rstd), MEMORY(float, out), ulong n, ulong d)
{
    __global const float *dy = AT(const float, dy), *x = AT(const float, x);
    __global const float *rstd = AT(const float, rstd);
    COLUMN_SUMS(AT(float, out), n, d, r,
                vload_some(dy + r * d + j, have) * (vload_some(x + r * d + j, have) * rstd[r]));
}

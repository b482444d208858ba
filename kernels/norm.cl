/* RMS and layer normalisation; the readable form is ref/norm.c. A team has a row. */

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

__kernel void layernorm(MEMORY(const float, x), MEMORY(const float, w), MEMORY(const float, b),
                        MEMORY(float, y), MEMORY(float, mean), MEMORY(float, rstd), ulong d,
                        float eps, __local float *team)
{
    size_t row = get_group_id(0);
    __global const float *x = AT(const float, x) + row * d, *w = AT(const float, w);
    __global const float *b = AT(const float, b);
    __global float *y = AT(float, y) + row * d;
    float inv_d = fn_div(1.0f, (float)d), mean, squares, r;
    ROW_SUM(mean, d, i, x[i])
    mean = mean * inv_d;
    ROW_SUM(squares, d, i, (x[i] - mean) * (x[i] - mean))
    r = fn_rsqrt(squares * inv_d + eps);
    ROW_EACH(j, d) y[j] = (x[j] - mean) * r * w[j] + b[j];
    if (get_local_id(0) == 0) {
        AT(float, mean)[row] = mean;
        AT(float, rstd)[row] = r;
    }
}

__kernel void layernorm_grad_x(MEMORY(const float, dy), MEMORY(const float, x),
                               MEMORY(const float, w), MEMORY(const float, mean),
                               MEMORY(const float, rstd), MEMORY(float, dx), ulong d,
                               __local float *team)
{
    size_t row = get_group_id(0);
    __global const float *dy = AT(const float, dy) + row * d, *x = AT(const float, x) + row * d;
    __global const float *w = AT(const float, w);
    __global float *dx = AT(float, dx) + row * d;
    float m = AT(const float, mean)[row], r = AT(const float, rstd)[row];
    float inv_d = fn_div(1.0f, (float)d), g, gh;
    ROW_SUM(g, d, i, dy[i] * w[i])
    ROW_SUM(gh, d, i, dy[i] * w[i] * ((x[i] - m) * r))
    g = g * inv_d;
    gh = gh * inv_d;
    ROW_EACH(j, d) dx[j] = (dy[j] * w[j] - g - (x[j] - m) * r * gh) * r;
}

/* Column sums of dy * ((x - mean) * rstd). */
__kernel void layernorm_grad_w(MEMORY(const float, dy), MEMORY(const float, x),
                               MEMORY(const float, mean), MEMORY(const float, rstd),
                               MEMORY(float, out), ulong n, ulong d)
{
    __global const float *dy = AT(const float, dy), *x = AT(const float, x);
    __global const float *mean = AT(const float, mean), *rstd = AT(const float, rstd);
    COLUMN_SUMS(AT(float, out), n, d, r,
                vload_some(dy + r * d + j, have) *
                    ((vload_some(x + r * d + j, have) - mean[r]) * rstd[r]));
}

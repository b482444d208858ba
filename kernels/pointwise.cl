/* Operators that work element by element; the readable form is ref/pointwise.c. An output may lie
 * exactly on an input. `chunk`: neighbours that an item takes where WIDE. */

__kernel void add(MEMORY(const float, a), MEMORY(const float, b), MEMORY(float, y), ulong n,
                  ulong chunk)
{
    __global const float *a = AT(const float, a), *b = AT(const float, b);
    __global float *y = AT(float, y);
    EACH(i, n) y[i] = a[i] + b[i];
}

__kernel void mul(MEMORY(const float, a), MEMORY(const float, b), MEMORY(float, y), ulong n,
                  ulong chunk)
{
    __global const float *a = AT(const float, a), *b = AT(const float, b);
    __global float *y = AT(float, y);
    EACH(i, n) y[i] = a[i] * b[i];
}

__kernel void scale(MEMORY(const float, a), MEMORY(const float, s), MEMORY(float, y), ulong n,
                    ulong chunk)
{
    __global const float *a = AT(const float, a);
    __global float *y = AT(float, y);
    float by = *AT(const float, s);
    EACH(i, n) y[i] = a[i] * by;
}

__kernel void fill(MEMORY(float, y), ulong n, ulong chunk, float value)
{
    __global float *y = AT(float, y);
    EACH(i, n) y[i] = value;
}

__kernel void swiglu(MEMORY(const float, g), MEMORY(const float, u), MEMORY(float, y), ulong n,
                     ulong chunk)
{
    __global const float *g = AT(const float, g), *u = AT(const float, u);
    __global float *y = AT(float, y);
    EACH(i, n) y[i] = g[i] * fn_sigmoid(g[i]) * u[i];
}

__kernel void swiglu_grad(MEMORY(const float, dy), MEMORY(const float, g), MEMORY(const float, u),
                          MEMORY(float, dg), MEMORY(float, du), ulong n, ulong chunk)
{
    __global const float *dy = AT(const float, dy), *g = AT(const float, g);
    __global const float *u = AT(const float, u);
    __global float *dg = AT(float, dg), *du = AT(float, du);
    EACH(i, n)
    {
        float d = dy[i], gi = g[i], ui = u[i], s = fn_sigmoid(gi), silu = gi * s;
        du[i] = d * silu;
        dg[i] = d * ui * (s + silu * (1.0f - s));
    }
}

__kernel void clip_coef(MEMORY(const float, sumsq), MEMORY(const float, max_norm),
                        MEMORY(float, y), ulong n, ulong chunk)
{
    EACH(i, n)
    {
        float norm = fn_sqrt(AT(const float, sumsq)[i]);
        float c = fn_div(AT(const float, max_norm)[i], norm + 1e-6f);
        AT(float, y)[i] = c > 1.0f ? 1.0f : c; /* NaN stays */
    }
}

__kernel void square_root(MEMORY(const float, x), MEMORY(float, y), ulong n, ulong chunk)
{
    EACH(i, n) AT(float, y)[i] = fn_sqrt(AT(const float, x)[i]);
}

__kernel void relu(MEMORY(const float, x), MEMORY(float, y), ulong n, ulong chunk)
{
    __global const float *x = AT(const float, x);
    __global float *y = AT(float, y);
    EACH(i, n) y[i] = x[i] <= 0.0f ? 0.0f : x[i]; /* NaN stays */
}

__kernel void relu_grad(MEMORY(const float, dy), MEMORY(const float, x), MEMORY(float, dx), ulong n,
                        ulong chunk)
{
    __global const float *dy = AT(const float, dy), *x = AT(const float, x);
    __global float *dx = AT(float, dx);
    EACH(i, n) dx[i] = x[i] <= 0.0f ? 0.0f : dy[i];
}

/* A team has a row of d of x; b is (rows, d), and begins again after its last row. */
__kernel void add_row(MEMORY(const float, x), MEMORY(const float, b), MEMORY(float, y), ulong d,
                      ulong rows)
{
    size_t row = get_group_id(0) * d;
    __global const float *x = AT(const float, x) + row;
    __global const float *b = AT(const float, b) + get_group_id(0) % rows * d;
    __global float *y = AT(float, y) + row;
    ROW_EACH(j, d) y[j] = x[j] + b[j];
}

__kernel void gelu(MEMORY(const float, x), MEMORY(float, y), ulong n, ulong chunk)
{
    __global const float *x = AT(const float, x);
    __global float *y = AT(float, y);
    EACH(i, n) y[i] = fn_gelu(x[i]);
}

__kernel void gelu_grad(MEMORY(const float, dy), MEMORY(const float, x), MEMORY(float, dx),
                        ulong n, ulong chunk)
{
    __global const float *dy = AT(const float, dy), *x = AT(const float, x);
    __global float *dx = AT(float, dx);
    EACH(i, n) dx[i] = dy[i] * fn_gelu_slope(x[i]);
}

__kernel void gelu_tanh(MEMORY(const float, x), MEMORY(float, y), ulong n, ulong chunk)
{
    __global const float *x = AT(const float, x);
    __global float *y = AT(float, y);
    EACH(i, n) y[i] = fn_gelu_tanh(x[i]);
}

__kernel void gelu_tanh_grad(MEMORY(const float, dy), MEMORY(const float, x), MEMORY(float, dx),
                             ulong n, ulong chunk)
{
    __global const float *dy = AT(const float, dy), *x = AT(const float, x);
    __global float *dx = AT(float, dx);
    EACH(i, n) dx[i] = dy[i] * fn_gelu_tanh_slope(x[i]);
}

__kernel void adamw(MEMORY(const float, p), MEMORY(const float, m), MEMORY(const float, v),
                    MEMORY(const float, g), MEMORY(const float, gscale), MEMORY(const float, hyper),
                    MEMORY(float, p_new), MEMORY(float, m_new), MEMORY(float, v_new), ulong n,
                    ulong chunk)
{
    __global const float *p = AT(const float, p), *m = AT(const float, m);
    __global const float *v = AT(const float, v), *g = AT(const float, g);
    __global const float *hyper = AT(const float, hyper);
    __global float *p_new = AT(float, p_new), *m_new = AT(float, m_new), *v_new = AT(float, v_new);
    float lr = hyper[0], beta1 = hyper[1], beta2 = hyper[2], eps = hyper[3], decay = hyper[4];
    float c1 = hyper[5], c2 = hyper[6], gscale = *AT(const float, gscale);
    EACH(i, n)
    {
        float gi = g[i] * gscale, old = p[i];
        float mi = fn_fma(beta1, m[i], (1.0f - beta1) * gi);
        float vi = fn_fma(beta2, v[i], (1.0f - beta2) * gi * gi);
        float step = fn_div(mi * c1, fn_sqrt(vi * c2) + eps) + decay * old;
        p_new[i] = old - lr * step;
        m_new[i] = mi;
        v_new[i] = vi;
    }
}

/* Pair j of head r: x, y (N, heads, 2 half), cos, sin (positions, half). */
static void rotate_pair(__global const float *x, __global const float *cos,
                        __global const float *sin, __global float *y, size_t r, size_t j,
                        size_t heads, size_t half_width, size_t positions, uint inverse)
{
    size_t at = r * 2 * half_width + j, angle = r / heads % positions * half_width + j;
    float low = x[at], high = x[at + half_width], c = cos[angle], s = sin[angle];
    s = inverse ? -s : s;
    y[at] = low * c - high * s;
    y[at + half_width] = high * c + low * s;
}

/* n pairs; a chunk is whole heads. */
__kernel void rope(MEMORY(const float, x), MEMORY(const float, cos), MEMORY(const float, sin),
                   MEMORY(float, y), ulong n, ulong chunk, ulong heads, ulong half_width,
                   ulong positions, uint inverse)
{
    __global const float *x = AT(const float, x), *cos = AT(const float, cos);
    __global const float *sin = AT(const float, sin);
    __global float *y = AT(float, y);
#if WIDE
    size_t end = min((size_t)n, (get_global_id(0) + 1) * chunk) / half_width;
    for (size_t r = get_global_id(0) * chunk / half_width; r < end; r++)
        INDEPENDENT
        for (size_t j = 0; j < half_width; j++)
            rotate_pair(x, cos, sin, y, r, j, heads, half_width, positions, inverse);
#else
    EACH(i, n)
    rotate_pair(x, cos, sin, y, i / half_width, i % half_width, heads, half_width, positions,
                inverse);
#endif
}

/* Operators on images, [b, row, column, channel]; the readable forms are ref/conv.c and ref/pool.c.
 * A convolution is a product with patches, copies of what each window sees (op_image.c). */

/* Row p - first of out: the window of position p = (b, i, j) of a grid_h x grid_w grid; element
 * (t, u, c) of `taps_h` x `taps_w` x channels is x[b, i step + t + at_h, j step + u + at_w, c], +0
 * outside of the image. A team has a row. */
__kernel void patches(MEMORY(const float, x), MEMORY(float, out), ulong first, ulong grid_h,
                      ulong grid_w, ulong step, long at_h, long at_w, ulong taps_h, ulong taps_w,
                      ulong h, ulong w, ulong channels)
{
    size_t p = first + get_group_id(0), j = p % grid_w, i = p / grid_w % grid_h;
    size_t row = taps_w * channels;
    __global const float *x = AT(const float, x) + p / grid_w / grid_h * h * w * channels;
    __global float *out = AT(float, out) + get_group_id(0) * taps_h * row;
    for (size_t t = 0; t < taps_h; t++) {
        /* neighbours in a row of taps are neighbours in the image */
        long image_row = (long)(i * step + t) + at_h;
        long begin = ((long)(j * step) + at_w) * (long)channels;
        bool inside = image_row >= 0 && image_row < (long)h;
        __global const float *from = x + (inside ? image_row : 0) * (long)(w * channels);
        ROW_EACH(e, row)
        {
            long at = begin + (long)e;
            bool seen = inside && at >= 0 && at < (long)(w * channels);
            out[t * row + e] = seen ? from[seen ? at : 0] : 0.0f;
        }
    }
}

/* to[(t, u, o), c] = w[o, kh - t step, kw - u step, c]: the taps that meet a pixel, last first.
 * A team has (t, u, o). */
__kernel void flip_taps(MEMORY(const float, w), MEMORY(float, to), ulong taps_w, ulong outs,
                        ulong kernel_h, ulong kernel_w, ulong channels, ulong kh, ulong kw,
                        ulong step)
{
    size_t r = get_group_id(0), o = r % outs, u = r / outs % taps_w, t = r / outs / taps_w;
    size_t tap = (o * kernel_h + kh - t * step) * kernel_w + kw - u * step;
    __global const float *from = AT(const float, w) + tap * channels;
    __global float *to = AT(float, to) + r * channels;
    ROW_EACH(c, channels) to[c] = from[c];
}

/* Row r - first of `from`, a pixel (b, i, j) of a grid, goes to pixel (i step + at_h, j step + at_w)
 * of y[b, h, w]. A team has a pixel. */
__kernel void scatter(MEMORY(const float, from), MEMORY(float, y), ulong first, ulong grid_h,
                      ulong grid_w, ulong step, ulong at_h, ulong at_w, ulong h, ulong w,
                      ulong channels)
{
    size_t p = first + get_group_id(0), j = p % grid_w, i = p / grid_w % grid_h;
    size_t pixel = (p / grid_w / grid_h * h + i * step + at_h) * w + j * step + at_w;
    __global const float *from = AT(const float, from) + get_group_id(0) * channels;
    __global float *y = AT(float, y) + pixel * channels;
    ROW_EACH(c, channels) y[c] = from[c];
}

/* ---- pooling: x (b, h, w, c), y (b, oh, ow, c) ---- */

#define POOL_ARGS                                                                                  \
    ulong n, ulong chunk, ulong h, ulong w, ulong channels, ulong oh, ulong ow, ulong size,        \
        ulong step

/* Where in x the window at pixel (b, i, j) of y begins, channel c. */
static size_t window_at(size_t b, size_t i, size_t j, size_t c, size_t h, size_t w, size_t channels,
                        size_t step)
{
    return ((b * h + i * step) * w + j * step) * channels + c;
}

/* Index of the first largest element of the window at `begin`; of the first NaN if there is one. */
static size_t window_max(__global const float *x, size_t begin, size_t size, size_t w,
                         size_t channels)
{
    size_t best = begin;
    for (size_t k = 0; k < size * size; k++) {
        size_t at = begin + (k / size * w + k % size) * channels;
        float old = x[best], new = x[at];
        best = old == old && (new > old || new != new) ? at : best;
    }
    return best;
}

__kernel void maxpool2d(MEMORY(const float, x), MEMORY(float, y), POOL_ARGS)
{
    __global const float *x = AT(const float, x);
    EACH(i, n)
    {
        size_t p = i / channels, b = p / ow / oh;
        size_t at = window_at(b, p / ow % oh, p % ow, i % channels, h, w, channels, step);
        AT(float, y)[i] = x[window_max(x, at, size, w, channels)] + 0.0f; /* -0 becomes +0 */
    }
}

__kernel void avgpool2d(MEMORY(const float, x), MEMORY(float, y), POOL_ARGS)
{
    __global const float *x = AT(const float, x);
    float inv = fn_div(1.0f, (float)size * (float)size);
    EACH(i, n)
    {
        size_t p = i / channels, b = p / ow / oh;
        size_t at = window_at(b, p / ow % oh, p % ow, i % channels, h, w, channels, step);
        float sum = 0.0f;
        for (size_t k = 0; k < size * size; k++)
            sum = sum + x[at + (k / size * w + k % size) * channels];
        AT(float, y)[i] = sum * inv;
    }
}

/* The windows over pixel (row, column) are those from first to last, along each side. */
#define FIRST_WINDOW(at) ((at) < size ? 0 : ((at)-size) / step + 1)
#define END_WINDOW(at, windows) min((size_t)(windows), (at) / step + 1)

__kernel void maxpool2d_grad(MEMORY(const float, dy), MEMORY(const float, x), MEMORY(float, dx),
                             POOL_ARGS)
{
    __global const float *dy = AT(const float, dy), *x = AT(const float, x);
    EACH(i, n)
    {
        size_t c = i % channels, col = i / channels % w, row = i / channels / w % h;
        size_t b = i / channels / w / h;
        float sum = 0.0f;
        for (size_t wi = FIRST_WINDOW(row); wi < END_WINDOW(row, oh); wi++)
            for (size_t wj = FIRST_WINDOW(col); wj < END_WINDOW(col, ow); wj++) {
                size_t at = window_at(b, wi, wj, c, h, w, channels, step);
                if (window_max(x, at, size, w, channels) == i)
                    sum = sum + dy[((b * oh + wi) * ow + wj) * channels + c];
            }
        AT(float, dx)[i] = sum;
    }
}

__kernel void avgpool2d_grad(MEMORY(const float, dy), MEMORY(float, dx), POOL_ARGS)
{
    __global const float *dy = AT(const float, dy);
    float inv = fn_div(1.0f, (float)size * (float)size);
    EACH(i, n)
    {
        size_t c = i % channels, col = i / channels % w, row = i / channels / w % h;
        size_t b = i / channels / w / h;
        float sum = 0.0f;
        for (size_t wi = FIRST_WINDOW(row); wi < END_WINDOW(row, oh); wi++)
            for (size_t wj = FIRST_WINDOW(col); wj < END_WINDOW(col, ow); wj++)
                sum = sum + dy[((b * oh + wi) * ow + wj) * channels + c] * inv;
        AT(float, dx)[i] = sum;
    }
}

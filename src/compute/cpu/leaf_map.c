/* Element by element: ref/pointwise.c in vector code. */
#include "compute/cpu/leaf.h"
#include "compute/fn_philox.h"
#include "compute/fn_special.h"

void LEAF(add)(float *y, const float *a, const float *b, size_t n)
{
    NO_OVERLAP
    for (size_t i = 0; i < n; i++)
        y[i] = a[i] + b[i];
}

void LEAF(mul)(float *y, const float *a, const float *b, size_t n)
{
    NO_OVERLAP
    for (size_t i = 0; i < n; i++)
        y[i] = a[i] * b[i];
}

void LEAF(scale)(float *y, const float *a, float s, size_t n)
{
    NO_OVERLAP
    for (size_t i = 0; i < n; i++)
        y[i] = a[i] * s;
}

void LEAF(bias)(float *y, const float *x, const float *b, size_t rows, size_t d)
{
    for (size_t n = 0; n < rows; n++, x += d, y += d) {
        NO_OVERLAP
        for (size_t j = 0; j < d; j++)
            y[j] = x[j] + b[j];
    }
}

void LEAF(relu)(float *y, const float *x, size_t n)
{
    NO_OVERLAP
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] <= 0.0f ? 0.0f : x[i];
}

void LEAF(relu_grad)(float *dx, const float *dy, const float *x, size_t n)
{
    NO_OVERLAP
    for (size_t i = 0; i < n; i++)
        dx[i] = x[i] <= 0.0f ? 0.0f : dy[i];
}

void LEAF(gelu)(float *y, const float *x, size_t n)
{
    NO_OVERLAP
    for (size_t i = 0; i < n; i++)
        y[i] = fn_gelu(x[i]);
}

void LEAF(gelu_grad)(float *dx, const float *dy, const float *x, size_t n)
{
    NO_OVERLAP
    for (size_t i = 0; i < n; i++)
        dx[i] = dy[i] * fn_gelu_slope(x[i]);
}

void LEAF(gelu_tanh)(float *y, const float *x, size_t n)
{
    NO_OVERLAP
    for (size_t i = 0; i < n; i++)
        y[i] = fn_gelu_tanh(x[i]);
}

void LEAF(gelu_tanh_grad)(float *dx, const float *dy, const float *x, size_t n)
{
    NO_OVERLAP
    for (size_t i = 0; i < n; i++)
        dx[i] = dy[i] * fn_gelu_tanh_slope(x[i]);
}

#define GROUPS 64 /* of 4 words, drawn side by side */

/* words[4 g + k] = word k of group first + g */
static void dropout_words(uint32_t *words, const struct cpu_dropout *s, uint32_t first)
{
    uint32_t part = s->part, step = s->step, purpose = s->purpose;
    uint32_t seed0 = s->seed[0], seed1 = s->seed[1];
    for (uint32_t g = 0; g < GROUPS; g++) {
        fn_u32 w[4] = {first + g, part, step, purpose};
        fn_philox(w, seed0, seed1);
        for (int k = 0; k < 4; k++)
            words[4 * g + (uint32_t)k] = w[k];
    }
}

void LEAF(dropout)(float *y, const float *x, const struct cpu_dropout *s, uint32_t group, size_t n)
{
    uint32_t words[4 * GROUPS];
    float p = s->p, scale = s->scale;
    for (; n > 0; group += GROUPS) {
        size_t len = n < 4 * GROUPS ? n : 4 * GROUPS;
        dropout_words(words, s, group);
        NO_OVERLAP
        for (size_t i = 0; i < len; i++)
            y[i] = (float)(int32_t)(words[i] >> 8) * 0x1p-24f >= p ? x[i] * scale : 0.0f;
        x += len;
        y += len;
        n -= len;
    }
}

void LEAF(swiglu)(float *y, const float *g, const float *u, size_t n)
{
    NO_OVERLAP
    for (size_t i = 0; i < n; i++)
        y[i] = g[i] * fn_sigmoid(g[i]) * u[i];
}

void LEAF(swiglu_grad)(float *dg, float *du, const float *dy, const float *g, const float *u,
                       size_t n)
{
    NO_OVERLAP
    for (size_t i = 0; i < n; i++) {
        float s = fn_sigmoid(g[i]), silu = g[i] * s, d = dy[i];
        du[i] = d * silu;
        dg[i] = d * u[i] * (s + silu * (1.0f - s));
    }
}

void LEAF(adamw)(float *p_new, float *m_new, float *v_new, const float *p, const float *m,
                 const float *v, const float *g, const struct cpu_adamw *s, size_t n)
{
    const struct cpu_adamw h = *s;
    float rest1 = 1.0f - h.beta1, rest2 = 1.0f - h.beta2;
    NO_OVERLAP
    for (size_t i = 0; i < n; i++) {
        float gi = g[i] * h.gscale, old = p[i];
        float mi = fn_fma(h.beta1, m[i], rest1 * gi);
        float vi = fn_fma(h.beta2, v[i], rest2 * gi * gi);
        float step = fn_div(mi * h.c1, fn_sqrt(vi * h.c2) + h.eps) + h.decay * old;
        p_new[i] = old - h.lr * step;
        m_new[i] = mi;
        v_new[i] = vi;
    }
}

void LEAF(rope)(float *y, const float *x, const float *cos, const float *sin, float sign,
                size_t heads, size_t half)
{
    for (size_t h = 0; h < heads; h++, x += 2 * half, y += 2 * half) {
        NO_OVERLAP
        for (size_t j = 0; j < half; j++) {
            float a = x[j], b = x[j + half], c = cos[j], s = sin[j] * sign;
            y[j] = a * c - b * s;
            y[j + half] = b * c + a * s;
        }
    }
}

void LEAF(widen)(float *y, const uint16_t *x, size_t n)
{
    NO_OVERLAP
    for (size_t i = 0; i < n; i++)
        y[i] = fn_from_bf16(x[i]);
}

void LEAF(narrow)(uint16_t *y, const float *x, size_t n)
{
    NO_OVERLAP
    for (size_t i = 0; i < n; i++)
        y[i] = (uint16_t)fn_to_bf16(x[i]);
}

#define FINITE_CHUNK 1024

size_t LEAF(check_finite)(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += FINITE_CHUNK) {
        size_t end = n - i < FINITE_CHUNK ? n : i + FINITE_CHUNK;
        fn_u32 bad = 0;
        for (size_t j = i; j < end; j++)
            bad |= (fn_bits(x[j]) & FN_INF) == FN_INF;
        for (size_t j = i; bad && j < end; j++)
            if ((fn_bits(x[j]) & FN_INF) == FN_INF)
                return j;
    }
    return n;
}

#include "compute/fn.h"
#include "compute/ref/ref.h"

/* Rule 3. Why a term that is a zero product never shows, wherever it stands (padding, a masked
 * key): adding +-0 to acc changes at most the sign of acc where acc is zero. A chain that starts at
 * +0 or at -0 gives the same values but for the signs of zeros, as +0 + x = -0 + x for x != 0.
 * `total` is never -0: it starts as +0, and a sum that is rounded to nearest is -0 only when both
 * terms are. So total + acc forgets the sign of a zero acc, and a whole block of zero products adds
 * nothing. */
void ref_chain_init(struct ref_chain *s)
{
    *s = (struct ref_chain){0};
}

static void chain_block_end(struct ref_chain *s)
{
    s->total = s->total + s->acc;
    s->acc = 0.0f;
}

void ref_chain_add(struct ref_chain *s, float a, float b)
{
    s->acc = fn_fma(a, b, s->acc);
    if (++s->count % RULE_BLOCK == 0)
        chain_block_end(s);
}

float ref_chain_end(struct ref_chain *s)
{
    if (s->count % RULE_BLOCK != 0)
        chain_block_end(s);
    return s->total;
}

float ref_dot(const float *a, size_t as, const float *b, size_t bs, size_t n)
{
    struct ref_chain s;
    ref_chain_init(&s);
    for (size_t k = 0; k < n; k++)
        ref_chain_add(&s, a[k * as], b[k * bs]);
    return ref_chain_end(&s);
}

void ref_sum_init(struct ref_sum *s)
{
    *s = (struct ref_sum){0};
}

/* Lanes 16 -> 8 -> 4 -> 2 -> 1, then onto the total. No lane is ever -0, for the reason above, so
 * terms missing from the last block and terms that are masked count as +0 and do not show. */
static void block_end(struct ref_sum *s)
{
    for (size_t half = RULE_LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            s->lane[l] = s->lane[l] + s->lane[l + half];
    s->total = s->total + s->lane[0];
    for (size_t l = 0; l < RULE_LANES; l++)
        s->lane[l] = 0.0f;
}

void ref_sum_add(struct ref_sum *s, float term)
{
    size_t l = s->count++ % RULE_LANES;
    s->lane[l] = s->lane[l] + term;
    if (s->count % RULE_BLOCK == 0)
        block_end(s);
}

float ref_sum_end(struct ref_sum *s)
{
    if (s->count % RULE_BLOCK != 0)
        block_end(s);
    return s->total;
}

float ref_max(const float *x, size_t n)
{
    float max = x[0];
    for (size_t i = 1; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max + 0.0f; /* -0 becomes +0, so the order of equal zeros does not matter */
}

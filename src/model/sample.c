/* Choosing a token. All arithmetic is binary64 basic operations and host_exp in a fixed order, so
 * every machine draws the same token from the same logits. */
#include <stdlib.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/philox.h"
#include "compute/host_math.h"
#include "model/session.h"

struct candidate {
    float logit;
    int32_t token;
    double weight; /* exp((logit - highest) / temperature) */
};

static int32_t argmax(const float *logits, uint32_t vocab)
{
    uint32_t best = 0;

    for (uint32_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best])
            best = i;
    return (int32_t)best;
}

/* Highest logit first; equal ones by token number: a total order, so any sort gives the same. */
static int by_logit(const void *pa, const void *pb)
{
    const struct candidate *a = pa, *b = pb;

    if (a->logit != b->logit)
        return a->logit > b->logit ? -1 : 1;
    return a->token < b->token ? -1 : a->token > b->token;
}

/* Uniform in [0,1): 53 bits of two words. */
static double uniform(uint64_t seed, uint32_t position)
{
    uint32_t word[4];
    uint64_t bits;

    philox_at(seed, PHILOX_SAMPLE, position, 0, word);
    bits = ((uint64_t)word[0] << 32 | word[1]) >> 11;
    return (double)bits * 0x1p-53;
}

/* Weights of the n best; returns their sum. Below -700 a weight cannot matter, and the exp of
 * -infinity is not asked. */
static double weigh(struct candidate *c, uint32_t n, double temperature)
{
    double total = 0;

    for (uint32_t i = 0; i < n; i++) {
        double x = ((double)c[i].logit - (double)c[0].logit) / temperature;

        c[i].weight = x < -700.0 ? 0.0 : host_exp(x);
        total += c[i].weight;
    }
    return total;
}

/* How many candidates hold `share` of `total`; *kept is what they hold. */
static uint32_t nucleus(const struct candidate *c, uint32_t n, double share, double total,
                        double *kept)
{
    uint32_t count = 0;

    *kept = 0;
    while (count < n) {
        *kept += c[count++].weight;
        if (*kept >= share * total)
            break;
    }
    return count;
}

/* The first candidate at which the running sum passes `target`. */
static int32_t draw(const struct candidate *c, uint32_t n, double target)
{
    double sum = 0;

    for (uint32_t i = 0; i < n; i++) {
        sum += c[i].weight;
        if (target < sum)
            return c[i].token;
    }
    return c[n - 1].token;
}

int32_t sample_token(const float *logits, uint32_t vocab, const struct sample_params *p,
                     uint32_t position)
{
    struct candidate *c = NULL;
    uint32_t n = vocab;
    double total, kept;
    enum emac_status st;
    int32_t token;

    EMAC_ASSERT(vocab >= 1 && vocab <= INT32_MAX);
    if (p->temperature <= 0)
        return argmax(logits, vocab);
    st = emac_alloc(&c, vocab, sizeof(*c), NULL);
    EMAC_ASSERT(st == EMAC_OK);
    for (uint32_t i = 0; i < vocab; i++)
        c[i] = (struct candidate){logits[i], (int32_t)i, 0};
    qsort(c, vocab, sizeof(*c), by_logit);
    if (p->top_k > 0 && p->top_k < n)
        n = p->top_k;
    total = weigh(c, n, p->temperature);
    n = nucleus(c, n, p->top_p, total, &kept);
    token = draw(c, n, uniform(p->seed, position) * kept);
    free(c);
    return token;
}

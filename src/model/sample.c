/* Choosing a token. All arithmetic is binary64 basic operations and host_exp in a fixed order, so
 * every machine draws the same token from the same logits. */
#include <stdlib.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/philox.h"
#include "compute/fn.h"
#include "compute/host_math.h"
#include "model/session.h"

/* Weights below half an ulp of 1 change no sum that holds the best candidate's weight, which is 1:
 * e^-37 < 2^-53 by a quarter, more than rounding can move the bound by. Who is that far behind is
 * neither sorted nor weighed. */
#define BEHIND     (-37.0)
#define DIGIT_BITS 11
#define DIGITS     ((uint32_t)1 << DIGIT_BITS)
#define PASSES     3 /* of DIGIT_BITS make 32 */

struct candidate {
    uint32_t key; /* order of the logit: the lower the better */
    int32_t token;
};

static int32_t argmax(const float *logits, uint32_t vocab)
{
    uint32_t best = 0;

    for (uint32_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best])
            best = i;
    return (int32_t)best;
}

/* A higher logit has a lower key, +0 and -0 have one. */
static uint32_t key_of(float logit)
{
    uint32_t bits = fn_bits(logit + 0.0f);

    return (bits & 0x80000000u) != 0 ? bits : ~bits & 0x7fffffffu;
}

/* Highest logit first; equal ones by token number, for each pass keeps the order of equals and they
 * come in that of the tokens. `other` has room for as many; the sorted ones are returned. */
static struct candidate *sort(struct candidate *c, struct candidate *other, uint32_t n)
{
    for (uint32_t pass = 0; pass < PASSES; pass++) {
        uint32_t shift = pass * DIGIT_BITS, at = 0, first[DIGITS] = {0};
        struct candidate *from = c;

        for (uint32_t i = 0; i < n; i++)
            first[from[i].key >> shift & (DIGITS - 1)]++;
        for (uint32_t d = 0; d < DIGITS; d++) {
            uint32_t count = first[d];

            first[d] = at;
            at += count;
        }
        for (uint32_t i = 0; i < n; i++)
            other[first[from[i].key >> shift & (DIGITS - 1)]++] = from[i];
        c = other;
        other = from;
    }
    return c;
}

/* The highest key that can be among the k best: the last of the bucket of 2^21 keys in which the
 * k-th lies. */
static uint32_t best_keys(const float *logits, uint32_t vocab, uint32_t k)
{
    uint32_t count[DIGITS] = {0}, sum = 0, d = 0;

    for (uint32_t i = 0; i < vocab; i++)
        count[key_of(logits[i]) >> (32 - DIGIT_BITS)]++;
    while (sum + count[d] < k)
        sum += count[d++];
    return d << (32 - DIGIT_BITS) | (UINT32_MAX >> DIGIT_BITS);
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

/* weight[i] = exp((logit - highest) / temperature) of the n best; returns their sum. */
static double weigh(const struct candidate *c, const float *logits, uint32_t n, double temperature,
                    double *weight)
{
    double total = 0, highest = (double)logits[c[0].token];

    for (uint32_t i = 0; i < n; i++) {
        double x = ((double)logits[c[i].token] - highest) / temperature;

        weight[i] = x < BEHIND ? 0.0 : host_exp(x);
        total += weight[i];
    }
    return total;
}

/* How many candidates hold `share` of `total`; *kept is what they hold. */
static uint32_t nucleus(const double *weight, uint32_t n, double share, double total, double *kept)
{
    uint32_t count = 0;

    *kept = 0;
    while (count < n) {
        *kept += weight[count++];
        if (*kept >= share * total)
            break;
    }
    return count;
}

/* The first candidate at which the running sum passes `target`. */
static int32_t draw(const struct candidate *c, const double *weight, uint32_t n, double target)
{
    double sum = 0;

    for (uint32_t i = 0; i < n; i++) {
        sum += weight[i];
        if (target < sum)
            return c[i].token;
    }
    return c[n - 1].token;
}

/* Those that can be drawn, in order of tokens; more than top_k perhaps. Returns how many. */
static uint32_t candidates_take(const float *logits, uint32_t vocab, const struct sample_params *p,
                                struct candidate *c)
{
    uint32_t last = UINT32_MAX, n = 0;
    double least = (double)logits[argmax(logits, vocab)] + BEHIND * p->temperature;

    if (p->top_k > 0 && p->top_k < vocab)
        last = best_keys(logits, vocab, p->top_k);
    for (uint32_t i = 0; i < vocab; i++) {
        uint32_t key = key_of(logits[i]);

        if (key <= last && (double)logits[i] >= least)
            c[n++] = (struct candidate){key, (int32_t)i};
    }
    return n;
}

/* Room for all that is needed, in one block. */
struct room {
    double *weight;
    struct candidate *c, *other;
};

static struct room room_take(uint32_t vocab)
{
    struct room r;
    enum emac_status st =
        emac_alloc_aligned(&r.weight, vocab * (sizeof(*r.weight) + 2 * sizeof(*r.c)), NULL);

    EMAC_ASSERT(st == EMAC_OK);
    r.c = (struct candidate *)(r.weight + vocab);
    r.other = r.c + vocab;
    return r;
}

int32_t sample_token(const float *logits, uint32_t vocab, const struct sample_params *p,
                     uint32_t position)
{
    struct candidate *c;
    struct room room;
    uint32_t n;
    double total, kept;
    int32_t token;

    EMAC_ASSERT(vocab >= 1 && vocab <= INT32_MAX);
    if (p->temperature <= 0)
        return argmax(logits, vocab);
    room = room_take(vocab);
    n = candidates_take(logits, vocab, p, room.c);
    EMAC_ASSERT(n >= 1);
    c = sort(room.c, room.other, n);
    if (p->top_k > 0 && p->top_k < n)
        n = p->top_k;
    total = weigh(c, logits, n, p->temperature, room.weight);
    n = nucleus(room.weight, n, p->top_p, total, &kept);
    token = draw(c, room.weight, n, uniform(p->seed, position) * kept);
    free(room.weight);
    return token;
}

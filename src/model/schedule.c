/* Learning rates: binary64 and host_math alone (rule 10). */
#include "compute/host_math.h"
#include "model/optimiser.h"

static double lr_cosine(const struct optimiser_recipe *r, uint32_t done, uint32_t all)
{
    static const double pi = 0x1.921fb54442d18p+1;
    double progress = (double)done / (double)all;
    return r->min_lr + 0.5 * (r->lr - r->min_lr) * (1.0 + host_cos(pi * progress));
}

/* Where `done` of `all` steps lead, from 1 down to 0. */
static double decay_linear(uint32_t done, uint32_t all)
{
    return 1.0 - (double)done / (double)all;
}

static double decay_root(uint32_t done, uint32_t all)
{
    return 1.0 - host_sqrt((double)done / (double)all);
}

static double lr_between(const struct optimiser_recipe *r, double share)
{
    return r->min_lr + (r->lr - r->min_lr) * share;
}

static double lr_wsd(const struct optimiser_recipe *r, uint32_t t)
{
    uint32_t stable_end = r->steps - r->decay_steps;
    if (t < stable_end)
        return r->lr;
    if (r->decay_shape == DECAY_LINEAR)
        return lr_between(r, decay_linear(t - stable_end, r->decay_steps));
    return lr_between(r, decay_root(t - stable_end, r->decay_steps));
}

double optimiser_lr(const struct optimiser_recipe *r, uint32_t t)
{
    if (t < r->warmup_steps)
        return r->lr * ((double)t + 1.0) / (double)r->warmup_steps;
    if (r->schedule == SCHEDULE_CONSTANT)
        return r->lr;
    if (t >= r->steps || r->steps <= r->warmup_steps)
        return r->min_lr;
    switch (r->schedule) {
    case SCHEDULE_WSD:
        return lr_wsd(r, t);
    case SCHEDULE_LINEAR:
        return lr_between(r, decay_linear(t - r->warmup_steps, r->steps - r->warmup_steps));
    case SCHEDULE_COSINE:
    case SCHEDULE_CONSTANT:
        break;
    }
    return lr_cosine(r, t - r->warmup_steps, r->steps - r->warmup_steps);
}

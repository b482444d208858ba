/* What tasks cost, and which are executed twice. */
#include "work/planner.h"

#include <string.h>

#include "base/assert.h"
#include "work/planner_impl.h"

#define FLOPS_PER_TFLOP 1000000000000u
#define BUDGET_TIMES    3        /* checks, state copies and rounding included */
#define BUDGET_STEP     10000000 /* the usual budget is rounded up to 0.01 EMAC */

enum emac_status plan_price(const struct job *job, uint64_t flops, int64_t *units,
                            struct emac_err *err)
{
    EMAC_ASSERT(job->price_units_per_tflop >= 0);
    unsigned __int128 price = (unsigned __int128)flops * (uint64_t)job->price_units_per_tflop;
    price = (price + FLOPS_PER_TFLOP - 1) / FLOPS_PER_TFLOP;
    if (price > INT64_MAX)
        return emac_fail(err, EMAC_TOO_LARGE,
                         "the price of a task of %llu flops is too large; lower "
                         "price.per_tflop",
                         (unsigned long long)flops);
    *units = price == 0 ? 1 : (int64_t)price;
    return EMAC_OK;
}

enum emac_status plan_bill_add(struct plan_bill *b, const struct plan_program *program,
                               uint64_t times, struct emac_err *err)
{
    int64_t each = 0, all;
    uint64_t all_flops, flops = program == NULL ? 0 : program->flops;
    if (program == NULL)
        return EMAC_OK;
    enum emac_status st = plan_price(b->job, flops, &each, err);
    if (st != EMAC_OK)
        return st;
    if (__builtin_mul_overflow(each, times, &all) ||
        __builtin_add_overflow(b->units, all, &b->units) ||
        __builtin_mul_overflow(flops, times, &all_flops) ||
        __builtin_add_overflow(b->flops, all_flops, &b->flops))
        return emac_fail(err, EMAC_TOO_LARGE,
                         "the job is too large to be priced; take fewer steps");
    return EMAC_OK;
}

enum emac_status plan_total(const struct job_plan *p, uint64_t *flops, int64_t *units,
                            struct emac_err *err)
{
    struct plan_bill b = {.job = &p->job};
    enum emac_status st;
    for (uint32_t i = 0; i < p->program_count; i++)
        if (p->program[i].kind == TASK_INIT)
            EMAC_TRY(st, plan_bill_add(&b, &p->program[i], 1, err));
    EMAC_TRY(st, p->planner->bill(p, &b, err));
    EMAC_TRY(st, plan_eval_bill(p, &b, err));
    *flops = b.flops;
    *units = b.units;
out:
    return st;
}

enum emac_status plan_budget_default(const struct job_plan *p, int64_t *units, struct emac_err *err)
{
    uint64_t flops;
    int64_t once, all;
    enum emac_status st = plan_total(p, &flops, &once, err);
    if (st != EMAC_OK)
        return st;
    if (__builtin_mul_overflow(once, (int64_t)BUDGET_TIMES, &all) || all > INT64_MAX - BUDGET_STEP)
        return emac_fail(err, EMAC_TOO_LARGE,
                         "the usual budget of this job is too large to be paid");
    *units = (all + BUDGET_STEP - 1) / BUDGET_STEP * BUDGET_STEP;
    return EMAC_OK;
}

bool plan_is_checked(const struct job *job, const uint8_t secret[32], const struct cid *task)
{
    uint8_t bytes[CID_BYTES], mac[SHA256_BYTES];
    uint64_t v = 0;
    cid_bytes(bytes, task);
    crypto_hmac_sha256(mac, secret, 32, bytes, sizeof bytes);
    for (int i = 0; i < 8; i++)
        v = v << 8 | mac[i];
    /* The upper 53 bits as a number in [0, 1), exactly. */
    return (double)(v >> 11) * 0x1p-53 < job->check;
}

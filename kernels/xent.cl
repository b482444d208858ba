/* The loss and its gradient; the readable form is ref/norm.c. A team has a row of logits. */

__kernel void xent(MEMORY(const float, logits), MEMORY(const int, target), MEMORY(float, loss),
                   MEMORY(float, stats), MEMORY(uint, fault), ulong vocab, __local float *team)
{
    size_t row = get_group_id(0);
    __global const float *l = AT(const float, logits) + row * vocab;
    int target = AT(const int, target)[row];
    float max, sum;
    ROW_MAX(max, vocab, i, l[i]);
    ROW_SUM(sum, vocab, i, fn_exp(l[i] - max))
    if (get_local_id(0) != 0)
        return;
    if (target < 0 || (ulong)target >= vocab) {
        FAULT(fault, FAULT_ID);
        target = 0;
    }
    AT(float, loss)[row] = fn_log(sum) + max - l[target];
    AT(float, stats)[2 * row] = max;
    AT(float, stats)[2 * row + 1] = sum;
}

__kernel void xent_grad(MEMORY(const float, dloss), MEMORY(const float, logits),
                        MEMORY(const int, target), MEMORY(const float, stats), MEMORY(float, dl),
                        MEMORY(uint, fault), ulong vocab)
{
    size_t row = get_group_id(0);
    __global const float *l = AT(const float, logits) + row * vocab;
    __global float *dl = AT(float, dl) + row * vocab;
    int target = AT(const int, target)[row];
    float max = AT(const float, stats)[2 * row], dloss = *AT(const float, dloss);
    float inv_sum = fn_div(1.0f, AT(const float, stats)[2 * row + 1]);
    if (get_local_id(0) == 0 && (target < 0 || (ulong)target >= vocab))
        FAULT(fault, FAULT_ID);
    ROW_EACH(j, vocab)
    {
        float p = fn_exp(l[j] - max) * inv_sum;
        dl[j] = (p - ((ulong)(long)target == j ? 1.0f : 0.0f)) * dloss;
    }
}

/* 1 where the target's is the first largest logit, else 0; NaN where one is. Flag 1: an earlier one is
 * as large; 2: a NaN. */
__kernel void correct(MEMORY(const float, logits), MEMORY(const int, target), MEMORY(float, y),
                      MEMORY(uint, fault), ulong vocab, __local float *team)
{
    size_t row = get_group_id(0);
    __global const float *l = AT(const float, logits) + row * vocab;
    int target = AT(const int, target)[row];
    float max, flag;
    ROW_MAX(max, vocab, i, l[i]);
    ROW_MAX(flag, vocab, i,
            l[i] != l[i] ? 2.0f : ((long)i < target && l[i] == max ? 1.0f : 0.0f));
    if (get_local_id(0) != 0)
        return;
    if (target < 0 || (ulong)target >= vocab) {
        FAULT(fault, FAULT_ID);
        target = 0;
    }
    AT(float, y)[row] = flag == 2.0f   ? fn_float(FN_NAN)
                        : l[target] == max && flag == 0.0f ? 1.0f
                                                           : 0.0f;
}

/* The table of operators (compute/op_cases.h) again: what autodiff makes of each case equals the
 * slope between neighbours, for some elements of every input that has a gradient. */
#include <math.h>

#include "compute/op_cases.h"
#include "fixture.h"

#define TRIES     6 /* elements of an input */
#define COUNT_MAX 60000
#define STEP      0x1p-7f

struct subject {
    const struct op_case *c;
    size_t number;
    struct device *dev;
    struct tensor in[OP_IN_MAX], grad[OP_IN_MAX];
    struct tensor weight; /* of output 0's elements in the loss */
    uint32_t tried, compared;
};

static size_t count(const struct tensor *t)
{
    size_t n = 0;

    assert_true(shape_count(&t->shape, &n));
    return n;
}

/* Slopes need smooth numbers, and not too many: special values become usual ones. False for an
 * operator without gradient, or a case too large to be run often. */
static bool make_smooth(struct op_case *c)
{
    const struct grad_rule *rule = graph_grad_rule(c->op);
    size_t total = 0;

    c->stored = false;
    if (rule->apply == NULL || op_info(c->op)->alias)
        return false;
    for (uint32_t i = 0; i < op_info(c->op)->inputs; i++) {
        size_t n = 0;

        shape_count(&c->in[i].shape, &n);
        total += n;
        if (c->in[i].fill == FILL_SPECIAL)
            c->in[i].fill = FILL_UNIFORM;
    }
    return total <= COUNT_MAX;
}

/* grad[i] of the weighted sum of output 0, by autodiff and a plan. */
static void differentiate(struct subject *s)
{
    const struct op_info *info = op_info(s->c->op);
    const struct grad_rule *rule = graph_grad_rule(s->c->op);
    struct op_attrs one = {.at = {{.i = 1}, {.i = 0}, {.f = 1.0f}}};
    struct graph *g = graph_new();
    struct graph_plan *plan;
    value_id in[OP_IN_MAX], grad[OP_IN_MAX], wrt[OP_IN_MAX], y, weighted[2];
    uint32_t slot[OP_IN_MAX], n = 0;
    char name[16];

    for (uint32_t i = 0; i < info->inputs; i++) {
        snprintf(name, sizeof(name), "x/%u", i);
        in[i] = graph_input(g, name, s->in[i].dtype, s->in[i].shape);
        if (s->in[i].dtype == DTYPE_F32 && (rule->inputs >> i & 1) != 0) {
            slot[n] = i;
            wrt[n++] = in[i];
        }
    }
    weighted[1] = graph_input(g, "x/weight", DTYPE_F32, s->weight.shape);
    y = graph_op(g, s->c->op, &s->c->attrs, info->inputs, in);
    weighted[0] = y;
    if (!rule->takes_uniform)
        y = graph_op(g, OP_MUL, NULL, 2, weighted);
    y = graph_op(g, OP_SUM, NULL, 1, &y);
    ASSERT_OK(graph_grad(g, y, graph_op(g, OP_FILL, &one, 0, NULL), n, wrt, grad, err));
    for (uint32_t k = 0; k < n; k++) {
        snprintf(name, sizeof(name), "g/%u", slot[k]);
        graph_output(g, name, grad[k]);
    }
    ASSERT_OK(graph_plan_new(g, &plan, err));
    for (uint32_t i = 0; i < info->inputs; i++)
        graph_bind_input(plan, i, s->in[i].data);
    graph_bind_input(plan, info->inputs, s->weight.data);
    for (uint32_t k = 0; k < n; k++) {
        struct tensor *t = &s->grad[slot[k]];

        *t = s->in[slot[k]];
        t->data = malloc(count(t) * sizeof(float));
        graph_bind_output(plan, k, t->data);
    }
    ASSERT_OK(graph_run(plan, s->dev, err));
    graph_plan_free(plan);
    graph_free(g);
}

static void run(struct subject *s, struct tensor *out)
{
    ASSERT_OK(op_case_outputs(s->c, s->in, out, err));
    ASSERT_OK(device_run_host(s->dev, s->c->op, &s->c->attrs, s->in, out, err));
}

/* Slopes of the loss to both sides of element `at` of input i, summed in binary64 over the outputs
 * that moved; *noise: what their rounding may make of it. */
static void slopes(struct subject *s, uint32_t i, size_t at, const float *y0, double slope[2],
                   double *noise)
{
    float *x = (float *)s->in[i].data + at, kept = *x;

    *noise = 0;
    for (int side = 0; side < 2; side++) {
        struct tensor out[OP_OUT_MAX];
        float moved = side == 0 ? kept + STEP : kept - STEP;
        double sum = 0;

        *x = moved;
        run(s, out);
        for (size_t k = 0; k < count(&out[0]); k++) {
            float y = ((float *)out[0].data)[k], w = ((float *)s->weight.data)[k];

            if (y == y0[k])
                continue;
            sum += (double)w * ((double)y - (double)y0[k]);
            *noise += fabs((double)w * (double)y) * 0x1p-21 / (double)STEP;
        }
        slope[side] = sum / ((double)moved - (double)kept);
        op_case_release(out, OP_OUT_MAX);
    }
    *x = kept;
}

static void check_element(struct subject *s, uint32_t i, size_t at, const float *y0)
{
    double slope[2], noise, mean, bend, g = (double)((float *)s->grad[i].data)[at];

    slopes(s, i, at, y0, slope, &noise);
    mean = (slope[0] + slope[1]) / 2;
    bend = fabs(slope[0] - slope[1]);
    s->tried++;
    if (bend > 0.2 * fabs(mean) + 2 * noise + 1e-3) /* a kink, or a sharp bend, lies here */
        return;
    s->compared++;
    if (fabs(mean - g) > 0.02 * fabs(g) + bend + 2 * noise + 1e-4)
        fail_msg("case %zu (%s): gradient of element %zu of input %u is %g; the slope is %g",
                 s->number, op_info(s->c->op)->name, at, i, g, mean);
}

static void weights_make(struct subject *s)
{
    const struct op_case_input positive = {FILL_POSITIVE, {0}, 0};
    struct tensor out[OP_OUT_MAX];

    ASSERT_OK(op_infer(s->c->op, &s->c->attrs, s->in, out, err));
    s->weight = out[0];
    s->weight.data = malloc(count(&out[0]) * sizeof(float));
    op_case_fill(s->weight.data, count(&out[0]), &positive, 900);
    for (size_t k = 0; graph_grad_rule(s->c->op)->takes_uniform && k < count(&out[0]); k++)
        ((float *)s->weight.data)[k] = 1.0f;
}

static void check_case(struct subject *s)
{
    struct tensor out[OP_OUT_MAX];

    ASSERT_OK(op_case_inputs(s->c, 0, s->in, err));
    weights_make(s);
    differentiate(s);
    run(s, out);
    for (uint32_t i = 0; i < op_info(s->c->op)->inputs; i++) {
        for (uint64_t k = 0; s->grad[i].data != NULL && k < TRIES; k++)
            check_element(s, i, philox_below(7, PHILOX_TEST, i, k, count(&s->in[i])), out[0].data);
        free(s->grad[i].data);
    }
    op_case_release(out, OP_OUT_MAX);
    op_case_release(s->in, OP_IN_MAX);
    free(s->weight.data);
}

static void test_gradients_are_slopes(void **state)
{
    const struct op_case *const table[] = {OP_CASES_FIRST, OP_CASES_LATER};
    const size_t rows[] = {OP_CASES_FIRST_COUNT, OP_CASES_LATER_COUNT};
    struct device *dev = best_device();
    bool seen[OP_COUNT] = {false};

    for (int t = 0; t < 2; t++) {
        for (size_t i = 0; i < rows[t]; i++) {
            struct op_case c = table[t][i];
            struct subject s = {.c = &c, .number = i, .dev = dev};

            if (!make_smooth(&c))
                continue;
            check_case(&s);
            seen[s.c->op] = true;
            if (2 * s.compared < s.tried)
                fail_msg("case %zu (%s): only %u of %u elements could be compared", i,
                         op_info(s.c->op)->name, s.compared, s.tried);
        }
    }
    for (int op = 0; op < OP_COUNT; op++) {
        const struct grad_rule *rule = graph_grad_rule((enum op)op);

        if (rule->apply != NULL && !op_info((enum op)op)->alias && !seen[op])
            fail_msg("the gradient of '%s' was compared nowhere", op_info((enum op)op)->name);
    }
    device_close(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gradients_are_slopes)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

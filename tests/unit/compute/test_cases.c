/* The table of operators (compute/op_cases.h) on every device: as it stands, and with f32 inputs
 * and first output stored as bf16, each output equals the reference's bit for bit. */
#include "compute/op_cases.h"
#include "ops_test.h"

static void compare(const struct op_case *c, size_t number, struct device *dev,
                    const struct tensor *want, const struct tensor *got)
{
    for (uint32_t o = 0; o < op_info(c->op)->outputs; o++) {
        size_t n = test_count(&want[o]), bytes = 0, at = 0;
        assert_true(shape_bytes(want[o].dtype, &want[o].shape, &bytes));
        if (memcmp(want[o].data, got[o].data, bytes) == 0)
            continue;
        if (want[o].dtype == DTYPE_F32)
            at = test_differ(want[o].data, got[o].data, n);
        for (const uint16_t *w = want[o].data, *g = got[o].data;
             want[o].dtype == DTYPE_BF16 && at < n; at++)
            if (w[at] != g[at] && (fn_from_bf16(w[at]) == fn_from_bf16(w[at]) ||
                                   fn_from_bf16(g[at]) == fn_from_bf16(g[at])))
                break;
        if (at != n)
            fail_msg("case %zu (%s%s) on %s: output %u differs from ref's at %zu", number,
                     op_info(c->op)->name, c->stored ? ", stored as bf16" : "", device_name(dev), o,
                     at);
    }
}

static void check_case(const struct op_case *c, size_t number)
{
    struct tensor in[OP_IN_MAX], want[OP_OUT_MAX], got[OP_OUT_MAX];
    struct emac_err err = {0};
    struct device *dev;
    assert_int_equal(op_case_inputs(c, (uint32_t)number, in, &err), EMAC_OK);
    assert_int_equal(op_case_outputs(c, in, want, &err), EMAC_OK);
    assert_int_equal(device_run_host(devices.ref, c->op, &c->attrs, in, want, &err), EMAC_OK);
    for (size_t i = 0; (dev = test_device(&devices, c->op, i)) != NULL; i++) {
        assert_int_equal(op_case_outputs(c, in, got, &err), EMAC_OK);
        if (device_run_host(dev, c->op, &c->attrs, in, got, &err) != EMAC_OK)
            fail_msg("case %zu on %s: %s", number, device_name(dev), err.text);
        compare(c, number, dev, want, got);
        op_case_release(got, OP_OUT_MAX);
    }
    op_case_release(want, OP_OUT_MAX);
    op_case_release(in, OP_IN_MAX);
}

/* Can the case's operator store its first output as bf16? */
static bool can_be_stored(const struct op_case *c)
{
    struct tensor in[OP_IN_MAX], out[OP_OUT_MAX];
    struct emac_err err;
    assert_int_equal(op_case_inputs(c, 0, in, &err), EMAC_OK);
    assert_int_equal(op_infer(c->op, &c->attrs, in, out, &err), EMAC_OK);
    op_case_release(in, OP_IN_MAX);
    return out[0].dtype == DTYPE_F32 && !op_info(c->op)->alias;
}

static void check_table(const struct op_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct op_case stored = cases[i];
        check_case(&cases[i], i);
        stored.stored = true;
        if (!cases[i].stored && can_be_stored(&cases[i]))
            check_case(&stored, i);
    }
}

static void first(void **state)
{
    check_table(OP_CASES_FIRST, OP_CASES_FIRST_COUNT);
}

static void later(void **state)
{
    check_table(OP_CASES_LATER, OP_CASES_LATER_COUNT);
}

/* An operator without a case would be tested by nobody, and would not enter the digest. */
static void every_operator_has_a_case(void **state)
{
    bool has[OP_COUNT] = {false};
    for (size_t i = 0; i < OP_CASES_FIRST_COUNT; i++)
        has[OP_CASES_FIRST[i].op] = true;
    for (size_t i = 0; i < OP_CASES_LATER_COUNT; i++)
        has[OP_CASES_LATER[i].op] = true;
    for (int op = 0; op < OP_COUNT; op++)
        if (!has[op])
            fail_msg("operator '%s' has no case in compute/op_cases.c", op_info((enum op)op)->name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_operator_has_a_case),
                                       cmocka_unit_test(first), cmocka_unit_test(later)};
    return cmocka_run_group_tests(tests, open_all, close_all);
}

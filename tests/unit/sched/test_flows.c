/* Transfers that share links: known shares, and what must hold of any. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "../property.h"
#include "sched/flows.h"

#define ENDS 4

static void net_open(struct flows *f, const double *up, const double *down)
{
    assert_int_equal(flows_init(f, ENDS, NULL), EMAC_OK);
    for (uint32_t i = 0; i < ENDS; i++) {
        f->up[i] = up[i];
        f->down[i] = down[i];
    }
}

static void test_shares(void **state)
{
    static const struct {
        double up[ENDS], down[ENDS];
        struct {
            uint32_t from, to;
            double rate;
        } flow[4];
        uint32_t count;
    } CASES[] = {
        /* alone: the thinner of its two links */
        {{10, 9, 9, 9}, {9, 4, 9, 9}, {{0, 1, 4}}, 1},
        /* one sender, two receivers */
        {{10, 9, 9, 9}, {99, 99, 99, 99}, {{0, 1, 5}, {0, 2, 5}}, 2},
        /* what the thin one leaves the other takes */
        {{10, 9, 9, 9}, {99, 2, 99, 99}, {{0, 1, 2}, {0, 2, 8}}, 2},
        /* three to one, of whom one is thin */
        {{1, 9, 9, 9}, {99, 99, 99, 9}, {{0, 3, 1}, {1, 3, 4}, {2, 3, 4}}, 3},
        /* a chain: the shared uplink first, then what is left of the next */
        {{6, 9, 9, 9}, {99, 8, 99, 99}, {{0, 1, 3}, {0, 2, 3}, {3, 1, 5}}, 3},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct flows f;
        net_open(&f, CASES[i].up, CASES[i].down);
        for (uint32_t k = 0; k < CASES[i].count; k++)
            assert_int_equal(
                flows_begin(&f, CASES[i].flow[k].from, CASES[i].flow[k].to, 100, k, NULL), EMAC_OK);
        for (uint32_t k = 0; k < CASES[i].count; k++)
            if (f.flow[k].rate != CASES[i].flow[k].rate)
                fail_msg("case %zu, flow %u: %g instead of %g", i, k, f.flow[k].rate,
                         CASES[i].flow[k].rate);
        flows_release(&f);
    }
}

/* No link carries more than it can; each flow is held up by a full link; all bytes arrive. */
static bool links_hold(struct choices *c)
{
    double up[ENDS], down[ENDS];
    struct flows f;
    struct flow one;
    uint32_t began = 0, ended = 0;
    bool ok = true;
    for (int i = 0; i < ENDS; i++) {
        up[i] = 1 + (double)choose(c, 100);
        down[i] = 1 + (double)choose(c, 100);
    }
    net_open(&f, up, down);
    while (ok && ended < 20) {
        if (began < 20 && (f.count == 0 || choose(c, 2) == 0)) {
            uint32_t from = (uint32_t)choose(c, ENDS);
            uint32_t to = (from + 1 + (uint32_t)choose(c, ENDS - 1)) % ENDS;
            ok = flows_begin(&f, from, to, (double)choose(c, 1000), began++, NULL) == EMAC_OK;
        } else {
            flows_pass(&f, flows_next(&f));
            uint32_t before = ended;
            while (flows_take(&f, &one))
                ended++;
            ok = ended > before;
        }
        double sum[2 * ENDS] = {0};
        for (size_t i = 0; i < f.count; i++) {
            sum[f.flow[i].from] += f.flow[i].rate;
            sum[ENDS + f.flow[i].to] += f.flow[i].rate;
        }
        for (int i = 0; i < ENDS; i++)
            ok = ok && sum[i] <= up[i] * 1.000001 && sum[ENDS + i] <= down[i] * 1.000001;
        for (size_t i = 0; i < f.count; i++) {
            uint32_t a = f.flow[i].from, b = f.flow[i].to;
            ok = ok && (sum[a] >= up[a] * 0.999999 || sum[ENDS + b] >= down[b] * 0.999999);
        }
    }
    flows_release(&f);
    return ok;
}

static void test_links_hold(void **state)
{
    ASSERT_PROPERTY(200, links_hold);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shares),
                                       cmocka_unit_test(test_links_hold)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The table and the plots of a sweep. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/sweep_view.h"

static struct sweep_view *view_new(void)
{
    struct sweep_view *v = calloc(1, sizeof *v);
    assert_non_null(v);
    sweep_view_init(v);
    emac_strcpy(v->name, sizeof v->name, "rates");
    v->rung_count = 2;
    v->rung[0] = 4;
    v->rung[1] = 12;
    v->count = 3;
    for (uint32_t i = 0; i < v->count; i++) {
        struct sweep_row *row = &v->row[i];
        snprintf(row->label, sizeof row->label, "recipe.lr=0.%u", i + 1);
        row->step = 4 << i;
        row->score[0] = 4 - i;
        for (uint64_t s = 1; s <= row->step; s++)
            series_add(&row->series, "loss", s, 5 - 0.2 * i - 0.1 * (double)s, NULL);
    }
    v->row[0].stopped_at = 4;
    emac_strcpy(v->row[1].state, sizeof v->row[1].state, "running");
    v->row[2].score[1] = 1.25;
    v->row[2].last = 1.0625;
    v->row[2].wins = true;
    return v;
}

static void view_free(struct sweep_view *v)
{
    sweep_view_release(v);
    free(v);
}

static void one_table(void **state)
{
    static const char WANT[] =
        "  held-out loss of                       steps  at     4  at    12 at the end\n"
        "a recipe.lr=0.1                              4    4.0000         -         -  stopped at "
        "4\n"
        "b recipe.lr=0.2                              8    3.0000         -         -  running\n"
        "c recipe.lr=0.3                             16    2.0000    1.2500    1.0625  wins\n";
    struct sweep_view *v = view_new();
    struct emac_buf out;
    (void)state;
    emac_buf_init(&out, 1 << 16);
    assert_int_equal(sweep_table(v, &out, NULL), EMAC_OK);
    assert_string_equal(emac_buf_str(&out), WANT);
    emac_buf_release(&out);
    view_free(v);
}

static void plots_name_their_curves(void **state)
{
    const struct watch_size size = {60, 16, false, false};
    struct sweep_view *v = view_new();
    struct emac_buf out;
    (void)state;
    emac_buf_init(&out, 1 << 20);
    assert_int_equal(sweep_plot(v, &size, &out, NULL), EMAC_OK);
    for (const char *letter = "abc"; *letter; letter++)
        assert_non_null(strchr(emac_buf_str(&out), *letter));
    emac_buf_clear(&out);
    assert_int_equal(sweep_svg(v, &out, NULL), EMAC_OK);
    assert_non_null(strstr(emac_buf_str(&out), ">recipe.lr=0.3</text>"));
    assert_non_null(strstr(emac_buf_str(&out), ">rates</text>"));
    emac_buf_release(&out);
    view_free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_table),
        cmocka_unit_test(plots_name_their_curves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

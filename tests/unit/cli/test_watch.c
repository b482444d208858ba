/* What people see of a job: bounded series, the picture in every size, texts of strangers. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "cli/human.h"
#include "cli/watch_view.h"
#include "../property.h"

/* ---- series ---- */

/* After any number of steps: bounded, rising, first steps still there, the newest the last. */
static void series_are_bounded(void **state)
{
    static const uint64_t STEPS[] = {1, 10, SERIES_POINTS_MAX, SERIES_POINTS_MAX + 1, 50001};
    (void)state;
    for (size_t i = 0; i < EMAC_COUNT(STEPS); i++) {
        struct series_set set = {0};
        double last = 0;
        for (uint64_t s = 1; s <= STEPS[i]; s++)
            assert_int_equal(series_add(&set, "loss", s, (double)s * 2, NULL), EMAC_OK);
        const struct series *one = series_find(&set, "loss");
        assert_true(one->count <= SERIES_POINTS_MAX);
        assert_true(one->count >= SERIES_POINTS_MAX / 2 || one->count == STEPS[i]);
        for (size_t k = 0; k < one->count; k++) {
            assert_true(one->point[k].y == one->point[k].x * 2);
            assert_true(k == 0 || one->point[k].x > one->point[k - 1].x);
        }
        assert_true(one->point[0].x <= (double)one->stride);
        assert_true(series_last(&set, "loss", &last));
        assert_true(last == (double)STEPS[i] * 2);
        series_release(&set);
    }
}

/* A job that goes back draws its curve anew from there. */
static void going_back_replaces(void **state)
{
    struct series_set set = {0};
    double v;
    (void)state;
    for (uint64_t s = 1; s <= 8; s++)
        assert_int_equal(series_add(&set, "loss", s, 1, NULL), EMAC_OK);
    assert_int_equal(series_add(&set, "loss", 5, 2, NULL), EMAC_OK);
    assert_int_equal(series_find(&set, "loss")->count, 5);
    assert_true(series_last(&set, "loss", &v) && v == 2);
    assert_false(series_last(&set, "lr", &v));
    for (int i = 0; i < SERIES_MAX + 5; i++) {
        char name[16];
        snprintf(name, sizeof name, "s%d", i);
        assert_int_equal(series_add(&set, name, 1, 1, NULL), EMAC_OK);
    }
    assert_int_equal(set.count, SERIES_MAX);
    series_release(&set);
}

/* ---- the picture ---- */

static void view_make(struct watch_view *v)
{
    *v = (struct watch_view){.name = "kjv",
                             .id = "job-k3v5w2y7q4ma",
                             .state = "running, train",
                             .unit = "tokens",
                             .bits_per_nat = 1.4426950408889634,
                             .step = 50,
                             .steps = 200,
                             .units = 1638400,
                             .units_per_second = 81234,
                             .elapsed_s = 75,
                             .eta_s = 4000,
                             .on_network = true,
                             .rig_count = 2,
                             .rig = {{"attic", 0.97}, {"cellar", 0.31}},
                             .bytes_moved = 12900000,
                             .spent_units = 12300000,
                             .escrow_units = 1000000000};
    for (uint64_t s = 1; s <= 50; s++)
        series_add(&v->series, "loss", s, 5.0 / (double)(s + 4), NULL);
    series_add(&v->series, "heldout_loss", 50, 0.125, NULL);
    series_add(&v->series, "lr", 50, 0.003, NULL);
}

static void one_picture(void **state)
{
    static const char WANT[] =
        "kjv  job-k3v5w2y7q4ma  running, train\n"
        "[#####..................]  25 %   step 50 of 200\n"
        "loss 0.09259 nats   held out 0.1803 bits a byte   lr 0.003\n"
        "81.2 k tokens/s   1.6 M tokens   so far 1m15s   left 1h06m\n"
        "rigs 2   moved 12.3 MiB   busy  attic 97 %  cellar 31 %!\n"
        "spent 0.0123 EMAC   in escrow 1 EMAC\n"
        "\n"
        "      1 |'.\n"
        "        | '.\n"
        "        |   '..\n"
        " 0.4556 |      '....\n"
        "        |           '''.........\n"
        "0.09259 |                       '''''''''''''''''....................o\n"
        "         1                                                          50\n";
    struct watch_view v;
    struct emac_buf out;
    const struct watch_size size = {70, 14, false, false};
    (void)state;
    view_make(&v);
    emac_buf_init(&out, 1 << 20);
    assert_int_equal(watch_render(&v, &size, &out, NULL), EMAC_OK);
    assert_string_equal(emac_buf_str(&out), WANT);
    emac_buf_release(&out);
    series_release(&v.series);
}

static bool any_size_is_kept(struct choices *c)
{
    struct watch_view v;
    struct emac_buf out;
    const struct watch_size size = {choose(c, 200), choose(c, 60), choose(c, 2) == 0, false};
    size_t lines = 0, column = 0;
    bool fits = true;
    view_make(&v);
    memset(v.note, 'x', sizeof v.note - 1);
    v.rig_count = (uint32_t)choose(c, WATCH_RIGS_MAX + 1);
    for (uint32_t i = 0; i < v.rig_count; i++)
        memset(v.rig[i].name, 'n', choose(c, WATCH_TEXT_MAX - 1));
    emac_buf_init(&out, 1 << 20);
    fits = watch_render(&v, &size, &out, NULL) == EMAC_OK;
    for (size_t i = 0; i < out.len; i++) {
        bool ends = out.data[i] == '\n';
        lines += ends;
        column = ends ? 0 : column + ((out.data[i] & 0xc0) != 0x80);
        fits = fits && column <= size.width && out.data[i] != 0x1b;
    }
    fits = fits && lines <= size.height;
    emac_buf_release(&out);
    series_release(&v.series);
    return fits;
}

static void properties(void **state)
{
    (void)state;
    ASSERT_PROPERTY(300, any_size_is_kept);
}

static void texts_of_strangers(void **state)
{
    char out[WATCH_TEXT_MAX], longer[500];
    (void)state;
    watch_text(out, "a\033[2Jb\xc3\xa9\x7f\n~ ");
    assert_string_equal(out, "a?[2Jb????~ ");
    memset(longer, 'y', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    watch_text(out, longer);
    assert_int_equal(strlen(out), WATCH_TEXT_MAX - 1);
}

static void quantities(void **state)
{
    static const struct {
        void (*text)(char out[HUMAN_MAX], double v);
        double v;
        const char *want;
    } CASES[] = {
        {human_duration, 0, "0s"},       {human_duration, 61, "1m01s"},
        {human_duration, 7260, "2h01m"}, {human_duration, -1, "?"},
        {human_count, 0, "0"},           {human_count, 999, "999"},
        {human_count, 1000, "1.0 k"},    {human_count, 2.5e9, "2.5 G"},
        {human_count, 5e15, "5000.0 T"}, {human_count, -1, "?"},
    };
    char out[HUMAN_MAX];
    (void)state;
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        CASES[i].text(out, CASES[i].v);
        assert_string_equal(out, CASES[i].want);
    }
    human_bytes(out, 1023);
    assert_string_equal(out, "1023 B");
    human_bytes(out, UINT64_MAX);
    assert_string_equal(out, "16384.0 PiB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(series_are_bounded), cmocka_unit_test(going_back_replaces),
        cmocka_unit_test(one_picture),        cmocka_unit_test(properties),
        cmocka_unit_test(texts_of_strangers), cmocka_unit_test(quantities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

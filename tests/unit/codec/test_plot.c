/* Curves as text and SVG: whole pictures, and what hostile points do. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "codec/plot.h"
#include "../property.h"

static const struct plot_point FALL[] = {{0, 4}, {1, 2}, {2, 1}, {3, 0.5}, {4, 0.25}};
static const struct plot_point HELD[] = {{0, 4}, {4, 1}};
static const struct plot_point FLAT[] = {{7, 3}};
static const struct plot_point WILD[] = {{0, (double)NAN}, {1, (double)INFINITY}};

#define LINE(p)                                                                                    \
    {                                                                                              \
#p, p, EMAC_COUNT(p), false, 0                                                             \
    }
#define MARKS(p)                                                                                   \
    {                                                                                              \
#p, p, EMAC_COUNT(p), true, 'o'                                                            \
    }

static const struct plot_series CURVE[] = {LINE(FALL), MARKS(HELD)};
static const struct plot_series POINT[] = {LINE(FLAT)};
static const struct plot_series NONE[] = {LINE(WILD)};

/* One picture a row. */
static const struct {
    const char *name;
    struct plot plot;
    const char *picture;
} PICTURES[] = {
    {"ascii",
     {.width = 36, .height = 7, .series = CURVE, .count = 2},
     "      4 |o.\n"
     "        |  '..\n"
     "        |     '.\n"
     "   1.75 |       '..\n"
     "        |          ''.....         o\n"
     "   0.25 |                 ''''''....\n"
     "         0                         4\n"},
    {"braille",
     {.width = 36, .height = 7, .utf8 = true, .series = CURVE, .count = 2},
     "      4 │o⢄\n"
     "        │  ⠑⠤⡀\n"
     "        │    ⠈⠢⡀\n"
     "   1.75 │      ⠈⠑⠢⢄⣀\n"
     "        │           ⠉⠒⠤⠤⣀⣀         o\n"
     "   0.25 │                 ⠉⠉⠒⠒⠒⠤⠤⠤⣀⣀\n"
     "         0                         4\n"},
    {"colour",
     {.width = 24, .height = 4, .colour = true, .series = CURVE, .count = 2},
     "      4 |\033[32mo\033[31m.\033[0m\n"
     "  2.125 |  \033[31m''..\033[0m\n"
     "   0.25 |      \033[31m'''.....\033[32mo\033[0m\n"
     "         0             4\n"},
    {"one point",
     {.width = 24, .height = 4, .series = POINT, .count = 1},
     "   3.15 |\n"
     "      3 |       '\n"
     "   2.85 |\n"
     "         6.65       7.35\n"},
    {"no point",
     {.width = 24, .height = 4, .series = NONE, .count = 1},
     "         no points yet\n\n\n\n"},
};

static void pictures(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMAC_COUNT(PICTURES); i++) {
        struct emac_buf out;
        emac_buf_init(&out, 1 << 20);
        assert_int_equal(plot_text(&PICTURES[i].plot, &out, NULL), EMAC_OK);
        if (strcmp(emac_buf_str(&out), PICTURES[i].picture) != 0)
            fail_msg("picture '%s' is\n%s", PICTURES[i].name, emac_buf_str(&out));
        emac_buf_release(&out);
    }
}

static double any_number(struct choices *c)
{
    static const double WEIRD[] = {0,      -0.0,   1e308,       -1e308,           1e300,
                                   5e-324, 1e-300, (double)NAN, (double)INFINITY, 1 + 1e-15};
    return choose(c, 3) == 0 ? WEIRD[choose(c, EMAC_COUNT(WEIRD))] : (double)choose(c, 999) / 7;
}

/* As many lines as asked, none too wide, UTF-8. */
static bool text_fits(const struct plot *p, const struct emac_buf *text)
{
    size_t width = p->width < PLOT_WIDTH_MIN ? PLOT_WIDTH_MIN : p->width;
    size_t height = p->height < PLOT_HEIGHT_MIN ? PLOT_HEIGHT_MIN : p->height;
    size_t lines = 0, column = 0;
    for (size_t i = 0; i < text->len; i++) {
        if (text->data[i] == '\n') {
            lines++;
            column = 0;
        } else if ((text->data[i] & 0xc0) != 0x80 && ++column > width) {
            return false;
        }
    }
    return lines == height && emac_utf8_valid(text->data, text->len);
}

static bool any_points_fit_the_box(struct choices *c)
{
    struct plot_point point[64];
    struct plot_series s = {"any", point, choose(c, 65), choose(c, 4) == 0, '*'};
    struct emac_buf out;
    for (size_t i = 0; i < 64; i++)
        point[i] = (struct plot_point){any_number(c), any_number(c)};
    struct plot p = {.width = choose(c, 150),
                     .height = choose(c, 40),
                     .utf8 = choose(c, 2) == 0,
                     .title = "a<b & \"c\"",
                     .series = &s,
                     .count = 1};
    emac_buf_init(&out, 1 << 20);
    bool holds = plot_text(&p, &out, NULL) == EMAC_OK && text_fits(&p, &out);
    emac_buf_clear(&out);
    holds = holds && plot_svg(&p, &out, NULL) == EMAC_OK;
    const char *svg = emac_buf_str(&out);
    holds = holds && strstr(svg, "nan") == NULL && strstr(svg, "inf") == NULL &&
            strstr(svg, "a&lt;b &amp; &quot;c&quot;") != NULL;
    emac_buf_release(&out);
    return holds;
}

static void properties(void **state)
{
    (void)state;
    ASSERT_PROPERTY(500, any_points_fit_the_box);
}

static size_t count_of(const char *text, const char *what)
{
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
        n++;
    return n;
}

static void svg_holds_the_series(void **state)
{
    (void)state;
    const struct plot p = {.title = "loss", .x_name = "step", .series = CURVE, .count = 2};
    struct emac_buf out;
    emac_buf_init(&out, 1 << 20);
    assert_int_equal(plot_svg(&p, &out, NULL), EMAC_OK);
    const char *text = emac_buf_str(&out);
    assert_int_equal(count_of(text, "<polyline"), 1);
    assert_int_equal(count_of(text, "<circle"), EMAC_COUNT(HELD));
    /* The corners of the frame: the first point upper left, the last lower right. */
    assert_non_null(strstr(text, "points=\"64.0,36.0 "));
    assert_non_null(strstr(text, "704.0,376.0 \"/>"));
    assert_non_null(strstr(text, ">FALL</text>"));
    emac_buf_release(&out);
}

/* What does not fit the buffer is an error, not half a picture in silence. */
static void a_full_buffer_is_told(void **state)
{
    (void)state;
    const struct plot p = {.width = 36, .height = 7, .series = CURVE, .count = 2};
    for (size_t max = 0; max < 60; max += 7) {
        struct emac_buf out;
        emac_buf_init(&out, max);
        assert_int_equal(plot_text(&p, &out, NULL), EMAC_TOO_LARGE);
        assert_int_equal(plot_svg(&p, &out, NULL), EMAC_TOO_LARGE);
        emac_buf_release(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures),
        cmocka_unit_test(properties),
        cmocka_unit_test(svg_holds_the_series),
        cmocka_unit_test(a_full_buffer_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

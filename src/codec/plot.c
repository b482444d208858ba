#include "codec/plot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABEL   9 /* columns left of the box: a number and the axis */
#define COLOURS 6
#define FINITE  1e300
#define TINY    1e-300

/* A character of the box: its dots, or a mark over them, and the series (from 1) that drew last. */
struct cell {
    uint8_t dots;
    char mark;
    uint16_t series;
};

struct canvas {
    const struct plot *p;
    struct plot_box box;
    size_t columns, rows; /* characters */
    size_t per_x, per_y;  /* dots in one */
    struct cell *cell;
};

bool plot_is_finite(struct plot_point at)
{
    return at.x > -FINITE && at.x < FINITE && at.y > -FINITE && at.y < FINITE;
}

static void widen(double *low, double *high)
{
    if (*low < *high)
        return;
    double size = *low < 0 ? -*low : *low;
    double by = size < TINY ? 1 : size * 0.05;
    *low -= by;
    *high += by;
}

bool plot_bounds(const struct plot *p, struct plot_box *out)
{
    bool any = false;
    for (size_t s = 0; s < p->count; s++) {
        for (size_t i = 0; i < p->series[s].count; i++) {
            struct plot_point at = p->series[s].point[i];
            if (!plot_is_finite(at))
                continue;
            if (!any)
                *out = (struct plot_box){at.x, at.x, at.y, at.y};
            any = true;
            out->x0 = at.x < out->x0 ? at.x : out->x0;
            out->x1 = at.x > out->x1 ? at.x : out->x1;
            out->y0 = at.y < out->y0 ? at.y : out->y0;
            out->y1 = at.y > out->y1 ? at.y : out->y1;
        }
    }
    if (any) {
        widen(&out->x0, &out->x1);
        widen(&out->y0, &out->y1);
    }
    return any;
}

/* ---- dots ---- */

/* Unicode numbers the dots of a braille character column by column for three rows, then the
 * fourth. */
static const uint8_t BRAILLE[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
static const uint8_t ASCII_DOT[2] = {1, 2};

static struct cell *cell_at(struct canvas *c, size_t dot_x, size_t dot_y)
{
    return &c->cell[dot_y / c->per_y * c->columns + dot_x / c->per_x];
}

static void dot_set(struct canvas *c, size_t x, size_t y, size_t series)
{
    struct cell *cell = cell_at(c, x, y);
    cell->dots |= c->p->utf8 ? BRAILLE[y % 4][x % 2] : ASCII_DOT[y % 2];
    cell->series = (uint16_t)(series + 1);
}

static size_t scale(double v, double low, double high, size_t dots)
{
    double at = (v - low) / (high - low) * (double)(dots - 1) + 0.5;
    return at <= 0 ? 0 : at >= (double)(dots - 1) ? dots - 1 : (size_t)at;
}

static void place(const struct canvas *c, struct plot_point at, size_t *x, size_t *y)
{
    size_t high = c->rows * c->per_y;
    *x = scale(at.x, c->box.x0, c->box.x1, c->columns * c->per_x);
    *y = high - 1 - scale(at.y, c->box.y0, c->box.y1, high);
}

static size_t apart(size_t a, size_t b)
{
    return a > b ? a - b : b - a;
}

/* The share i/n of the way from a to b, to the nearest dot. */
static size_t between(size_t a, size_t b, size_t i, size_t n)
{
    size_t way = (apart(a, b) * i + n / 2) / n;
    return b > a ? a + way : a - way;
}

static void line_draw(struct canvas *c, const size_t from[2], const size_t to[2], size_t series)
{
    size_t wide = apart(from[0], to[0]), high = apart(from[1], to[1]);
    size_t n = wide > high ? wide : high;
    for (size_t i = 0; i <= n; i++)
        dot_set(c, n ? between(from[0], to[0], i, n) : from[0],
                n ? between(from[1], to[1], i, n) : from[1], series);
}

static void series_draw(struct canvas *c, size_t s)
{
    const struct plot_series *series = &c->p->series[s];
    size_t last[2] = {0, 0}, now[2];
    bool any = false;
    for (size_t i = 0; i < series->count; i++) {
        if (!plot_is_finite(series->point[i]))
            continue;
        place(c, series->point[i], &now[0], &now[1]);
        if (series->points) {
            struct cell *cell = cell_at(c, now[0], now[1]);
            cell->mark = series->mark;
            cell->series = (uint16_t)(s + 1);
        } else {
            line_draw(c, any ? last : now, now, s);
        }
        memcpy(last, now, sizeof last);
        any = true;
    }
    if (any && !series->points && series->mark)
        cell_at(c, last[0], last[1])->mark = series->mark;
}

/* ---- lines ---- */

/* A number in at most 7 characters. */
static void number_text(char out[16], double v)
{
    for (int digits = 4; digits > 1; digits--) {
        int n = snprintf(out, 16, "%.*g", digits, v);
        if (n <= LABEL - 2)
            return;
    }
    snprintf(out, 16, "%.7g", v);
    out[LABEL - 2] = 0;
}

static enum emac_status cell_write(const struct canvas *c, const struct cell *cell,
                                   struct emac_buf *out, struct emac_err *err)
{
    static const char ASCII[] = " '.:";
    if (cell->mark)
        return emac_buf_append(out, &cell->mark, 1, err);
    if (!c->p->utf8)
        return emac_buf_append(out, &ASCII[cell->dots], 1, err);
    if (cell->dots == 0)
        return emac_buf_append(out, " ", 1, err);
    /* U+2800 + dots */
    const uint8_t bytes[3] = {0xe2, (uint8_t)(0xa0 | cell->dots >> 6),
                              (uint8_t)(0x80 | (cell->dots & 0x3f))};
    return emac_buf_append(out, bytes, sizeof bytes, err);
}

static enum emac_status row_write(const struct canvas *c, size_t row, struct emac_buf *out,
                                  struct emac_err *err)
{
    const struct cell *cell = &c->cell[row * c->columns];
    size_t end = c->columns;
    unsigned colour = 0;
    enum emac_status st = EMAC_OK;
    while (end > 0 && cell[end - 1].dots == 0 && cell[end - 1].mark == 0)
        end--;
    for (size_t i = 0; i < end && st == EMAC_OK; i++) {
        unsigned want = cell[i].series && c->p->colour ? (cell[i].series - 1u) % COLOURS + 1 : 0;
        if (want != colour)
            st = want ? emac_buf_printf(out, err, "\033[3%um", want)
                      : emac_buf_append(out, "\033[0m", 4, err);
        colour = want;
        if (st == EMAC_OK)
            st = cell_write(c, &cell[i], out, err);
    }
    if (st == EMAC_OK && colour)
        st = emac_buf_append(out, "\033[0m", 4, err);
    return st == EMAC_OK ? emac_buf_append(out, "\n", 1, err) : st;
}

static enum emac_status rows_write(const struct canvas *c, struct emac_buf *out,
                                   struct emac_err *err)
{
    char label[16];
    enum emac_status st = EMAC_OK;
    for (size_t row = 0; row < c->rows && st == EMAC_OK; row++) {
        label[0] = 0;
        if (row == 0)
            number_text(label, c->box.y1);
        else if (row == c->rows - 1)
            number_text(label, c->box.y0);
        else if (row == c->rows / 2)
            number_text(label,
                        c->box.y1 - (c->box.y1 - c->box.y0) * (double)row / (double)(c->rows - 1));
        st = emac_buf_printf(out, err, "%*s%s", LABEL - 2, label, c->p->utf8 ? " │" : " |");
        if (st == EMAC_OK)
            st = row_write(c, row, out, err);
    }
    return st;
}

static enum emac_status axis_write(const struct canvas *c, struct emac_buf *out,
                                   struct emac_err *err)
{
    char left[16], right[16];
    number_text(left, c->box.x0);
    number_text(right, c->box.x1);
    size_t used = strlen(left) + strlen(right);
    int gap = c->columns > used ? (int)(c->columns - used) : 1;
    return emac_buf_printf(out, err, "%*s%s%*s%s\n", LABEL, "", left, gap, "", right);
}

static size_t within(size_t v, size_t low, size_t high)
{
    return v < low ? low : v > high ? high : v;
}

enum emac_status plot_text(const struct plot *p, struct emac_buf *out, struct emac_err *err)
{
    struct canvas c = {.p = p, .per_x = p->utf8 ? 2 : 1, .per_y = p->utf8 ? 4 : 2};
    c.columns = within(p->width, PLOT_WIDTH_MIN, PLOT_WIDTH_MAX) - LABEL;
    c.rows = within(p->height, PLOT_HEIGHT_MIN, PLOT_HEIGHT_MAX) - 1;
    enum emac_status st;
    if (!plot_bounds(p, &c.box)) {
        EMAC_TRY(st, emac_buf_printf(out, err, "%*sno points yet\n", LABEL, ""));
        for (size_t i = 0; i < c.rows; i++)
            EMAC_TRY(st, emac_buf_append(out, "\n", 1, err));
        return EMAC_OK;
    }
    EMAC_TRY(st, emac_alloc(&c.cell, c.columns * c.rows, sizeof *c.cell, err));
    for (size_t s = 0; s < p->count; s++)
        series_draw(&c, s);
    EMAC_TRY(st, rows_write(&c, out, err));
    st = axis_write(&c, out, err);
out:
    free(c.cell);
    return st;
}

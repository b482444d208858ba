/* plot.h as SVG 1.1: lines and circles in a frame, numbers at round places, a legend. */
#include "codec/plot.h"

#include <stdio.h>
#include <string.h>

#define SVG_WIDTH  720
#define SVG_HEIGHT 420
#define SVG_LEAST  200
#define SVG_MOST   4000
#define LEFT       64
#define RIGHT      16
#define TOP        36
#define BOTTOM     44
#define LEGEND_ROW 16
#define TICKS      6
#define TICK_MOST  1e15 /* beyond it neighbouring ticks are the same number */

static const char *const COLOUR[] = {"#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e",
                                     "#17becf", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22"};

struct frame {
    const struct plot *p;
    struct plot_box box;
    double width, height; /* of the whole, pixels */
    struct emac_buf *out;
    struct emac_err *err;
};

static double x_of(const struct frame *f, double v)
{
    return LEFT + (v - f->box.x0) / (f->box.x1 - f->box.x0) * (f->width - LEFT - RIGHT);
}

static double y_of(const struct frame *f, double v)
{
    return f->height - BOTTOM -
           (v - f->box.y0) / (f->box.y1 - f->box.y0) * (f->height - TOP - BOTTOM);
}

static enum emac_status escaped(const struct frame *f, const char *text)
{
    enum emac_status st = EMAC_OK;
    for (const char *at = text ? text : ""; *at && st == EMAC_OK; at++) {
        const char *as = *at == '<' ? "&lt;" : *at == '&' ? "&amp;" : *at == '"' ? "&quot;" : NULL;
        st = as ? emac_buf_append(f->out, as, strlen(as), f->err)
                : emac_buf_append(f->out, at, 1, f->err);
    }
    return st;
}

/* Text at a place; `anchor` as SVG names it. */
static enum emac_status text_at(const struct frame *f, double x, double y, const char *anchor,
                                const char *text)
{
    enum emac_status st = emac_buf_printf(
        f->out, f->err, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    if (st == EMAC_OK)
        st = escaped(f, text);
    return st == EMAC_OK ? emac_buf_append(f->out, "</text>\n", 8, f->err) : st;
}

/* The least of 1, 2, 5 times a power of ten that cuts the span into at most TICKS parts. */
static double tick_of(double span)
{
    static const double TIMES[] = {2, 2.5, 2};
    double tick = 1;
    while (tick * TICKS > span)
        tick /= 10;
    for (size_t i = 0; tick * TICKS < span; i = (i + 1) % 3)
        tick *= TIMES[i];
    return tick;
}

static enum emac_status ticks_write(const struct frame *f, bool of_x)
{
    double low = of_x ? f->box.x0 : f->box.y0, high = of_x ? f->box.x1 : f->box.y1;
    double tick = tick_of(high - low);
    enum emac_status st = EMAC_OK;
    if (low / tick < -TICK_MOST || low / tick > TICK_MOST)
        return EMAC_OK;
    double first = (double)(int64_t)(low / tick) * tick;
    for (int i = 0; i <= TICKS + 1 && st == EMAC_OK; i++) {
        double v = first + tick * i;
        char label[32];
        if (v < low || v > high)
            continue;
        snprintf(label, sizeof label, "%.6g", v > -tick / 2 && v < tick / 2 ? 0 : v);
        if (of_x)
            st = text_at(f, x_of(f, v), f->height - BOTTOM + 16, "middle", label);
        else
            st = emac_buf_printf(f->out, f->err, "<path d=\"M%d %.1fH%.1f\" stroke=\"#ddd\"/>\n",
                                 LEFT, y_of(f, v), f->width - RIGHT);
        if (st == EMAC_OK && !of_x)
            st = text_at(f, LEFT - 6, y_of(f, v) + 4, "end", label);
    }
    return st;
}

static enum emac_status line_write(const struct frame *f, const struct plot_series *s,
                                   const char *colour)
{
    enum emac_status st = emac_buf_printf(
        f->out, f->err, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\" points=\"",
        colour);
    for (size_t i = 0; i < s->count && st == EMAC_OK; i++)
        if (plot_is_finite(s->point[i]))
            st = emac_buf_printf(f->out, f->err, "%.1f,%.1f ", x_of(f, s->point[i].x),
                                 y_of(f, s->point[i].y));
    return st == EMAC_OK ? emac_buf_append(f->out, "\"/>\n", 4, f->err) : st;
}

static enum emac_status marks_write(const struct frame *f, const struct plot_series *s,
                                    const char *colour)
{
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < s->count && st == EMAC_OK; i++)
        if (plot_is_finite(s->point[i]))
            st = emac_buf_printf(f->out, f->err,
                                 "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\"/>\n",
                                 x_of(f, s->point[i].x), y_of(f, s->point[i].y), colour);
    return st;
}

static enum emac_status series_write(const struct frame *f, size_t i)
{
    const struct plot_series *s = &f->p->series[i];
    const char *colour = COLOUR[i % (sizeof COLOUR / sizeof COLOUR[0])];
    double y = TOP + 12 + (double)(LEGEND_ROW * i);
    enum emac_status st = s->points ? marks_write(f, s, colour) : line_write(f, s, colour);
    if (st != EMAC_OK || s->name == NULL)
        return st;
    st = emac_buf_printf(f->out, f->err,
                         "<path d=\"M%.1f %.1fh16\" stroke=\"%s\" "
                         "stroke-width=\"3\"/>\n",
                         f->width - RIGHT - 24, y - 4, colour);
    return st == EMAC_OK ? text_at(f, f->width - RIGHT - 30, y, "end", s->name) : st;
}

static enum emac_status frame_write(const struct frame *f)
{
    enum emac_status st;
    EMAC_TRY(st, emac_buf_printf(f->out, f->err,
                                 "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" "
                                 "height=\"%.0f\" font-family=\"sans-serif\" font-size=\"12\">\n"
                                 "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
                                 f->width, f->height));
    EMAC_TRY(st, ticks_write(f, false));
    EMAC_TRY(st, ticks_write(f, true));
    EMAC_TRY(st, emac_buf_printf(f->out, f->err,
                                 "<path d=\"M%d %dV%.1fH%.1f\" fill=\"none\" stroke=\"#444\"/>\n",
                                 LEFT, TOP, f->height - BOTTOM, f->width - RIGHT));
    EMAC_TRY(st, text_at(f, f->width / 2, 20, "middle", f->p->title));
    EMAC_TRY(st, text_at(f, f->width / 2, f->height - 8, "middle", f->p->x_name));
    st = text_at(f, 8, 20, "start", f->p->y_name);
out:
    return st;
}

static double pixels(size_t asked, double usual)
{
    double v = asked ? (double)asked : usual;
    return v < SVG_LEAST ? SVG_LEAST : v > SVG_MOST ? SVG_MOST : v;
}

enum emac_status plot_svg(const struct plot *p, struct emac_buf *out, struct emac_err *err)
{
    struct frame f = {.p = p,
                      .box = {0, 1, 0, 1}, /* without a point */
                      .width = pixels(p->width, SVG_WIDTH),
                      .height = pixels(p->height, SVG_HEIGHT),
                      .out = out,
                      .err = err};
    plot_bounds(p, &f.box);
    enum emac_status st = frame_write(&f);
    for (size_t i = 0; i < p->count && st == EMAC_OK; i++)
        st = series_write(&f, i);
    return st == EMAC_OK ? emac_buf_append(out, "</svg>\n", 7, err) : st;
}

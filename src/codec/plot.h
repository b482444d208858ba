/* Curves as text for a terminal, and as SVG. Pure: points in, text out.
 *
 * Text is a box of exactly `height` lines of at most `width` columns, the last
 * line being the x axis. In UTF-8 a character holds 2 x 4 dots (Unicode's
 * braille patterns); in ASCII 1 x 2, drawn as ' . :. Points are joined by lines
 * in the order given; a series of `points` is drawn as marks. Where two series
 * share a character the later one gives the mark and the colour. Points that are
 * not finite are left out. */
#ifndef EMAC_CODEC_PLOT_H
#define EMAC_CODEC_PLOT_H

#include "base/buf.h"

#define PLOT_WIDTH_MIN  24
#define PLOT_HEIGHT_MIN 4
#define PLOT_WIDTH_MAX  1000
#define PLOT_HEIGHT_MAX 1000

struct plot_point {
    double x, y;
};

struct plot_series {
    const char *name; /* for the legend of an SVG */
    const struct plot_point *point;
    size_t count;
    bool points; /* marks, not a line */
    char mark;   /* of text: what a mark is drawn as; for a line, what its end is, 0: nothing */
};

struct plot {
    size_t width, height; /* characters, or pixels of an SVG; brought within the limits */
    bool utf8, colour;    /* text: braille; ANSI colours */
    const char *title, *x_name, *y_name; /* SVG */
    const struct plot_series *series;
    size_t count;
};

/* Append the lines, each ended by '\n'. Without a finite point the box says so. */
enum emac_status plot_text(const struct plot *p, struct emac_buf *out, struct emac_err *err);
/* Append a whole SVG document with a legend. */
enum emac_status plot_svg(const struct plot *p, struct emac_buf *out, struct emac_err *err);

/* What the two share: the least box around all finite points, widened where it is flat; false
 * without any. */
struct plot_box {
    double x0, x1, y0, y1;
};
bool plot_bounds(const struct plot *p, struct plot_box *out);
bool plot_is_finite(struct plot_point at);

#endif

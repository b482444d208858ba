#include "cli/watch_view.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/human.h"
#include "ledger/ledger.h"

#define LINE_MAX_BYTES 1024
#define BAR_MAX        30
#define BUSY_ENOUGH    0.5 /* below it a rig's share is shown as low */

struct page {
    struct watch_size size;
    struct emac_buf *out;
    struct emac_err *err;
    enum emac_status st;
    size_t lines;
};

void watch_text(char out[WATCH_TEXT_MAX], const char *text)
{
    size_t n = 0;
    for (; text[n] && n < WATCH_TEXT_MAX - 1; n++)
        out[n] = text[n] < ' ' || text[n] > '~' ? '?' : text[n];
    out[n] = 0;
}

/* One line of ASCII, cut to the width; nothing once the page is full. */
static void line(struct page *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void line(struct page *p, const char *fmt, ...)
{
    char text[LINE_MAX_BYTES];
    va_list ap;
    if (p->st != EMAC_OK || p->lines == p->size.height)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    p->st = emac_buf_printf(p->out, p->err, "%.*s\n", (int)p->size.width, text);
    p->lines++;
}

static void progress_line(struct page *p, const struct watch_view *v)
{
    char bar[BAR_MAX + 1];
    size_t length = p->size.width / 3 < BAR_MAX ? p->size.width / 3 : BAR_MAX;
    double share = v->steps ? (double)v->step / (double)v->steps : 0;
    size_t full = share >= 1 ? length : (size_t)(share * (double)length);
    memset(bar, '.', length);
    memset(bar, '#', full);
    bar[length] = 0;
    line(p, "[%s] %3.0f %%   step %" PRIu64 " of %" PRIu64, bar, share * 100, v->step, v->steps);
}

/* Append " name value" for a series that is there. */
static void value_put(char *text, size_t cap, const struct series_set *s, const char *series,
                      const char *name, const char *fmt_unit, double times)
{
    double v;
    size_t n = strlen(text);
    if (series_last(s, series, &v))
        snprintf(text + n, cap - n, "%s%s %.4g%s", n ? "   " : "", name, v * times, fmt_unit);
}

static void loss_line(struct page *p, const struct watch_view *v)
{
    char text[LINE_MAX_BYTES] = "";
    bool bits = v->bits_per_nat > 0;
    value_put(text, sizeof text, &v->series, "loss", "loss", " nats", 1);
    value_put(text, sizeof text, &v->series, "heldout_loss", "held out",
              bits ? " bits a byte" : " nats", bits ? v->bits_per_nat : 1);
    value_put(text, sizeof text, &v->series, "heldout_accuracy", "right", " %", 100);
    value_put(text, sizeof text, &v->series, "lr", "lr", "", 1);
    value_put(text, sizeof text, &v->series, "grad_norm", "gradient", "", 1);
    line(p, "%s", text);
}

static void speed_line(struct page *p, const struct watch_view *v)
{
    char elapsed[HUMAN_MAX], left[HUMAN_MAX], rate[HUMAN_MAX], units[HUMAN_MAX];
    human_duration(elapsed, v->elapsed_s);
    human_duration(left, v->eta_s);
    human_count(rate, v->units_per_second);
    human_count(units, (double)v->units);
    line(p, "%s %s/s   %s %s   so far %s   left %s", rate, v->unit, units, v->unit, elapsed, left);
}

static void rigs_line(struct page *p, const struct watch_view *v)
{
    char text[LINE_MAX_BYTES], moved[HUMAN_MAX];
    human_bytes(moved, v->bytes_moved);
    int n = snprintf(text, sizeof text, "rigs %u   moved %s   busy", v->rig_count, moved);
    for (uint32_t i = 0; i < v->rig_count && i < WATCH_RIGS_MAX; i++) {
        const struct watch_rig *r = &v->rig[i];
        if (n < 0 || (size_t)n >= sizeof text)
            break;
        n += snprintf(text + n, sizeof text - (size_t)n, "  %.16s %.0f %%%s", r->name,
                      r->busy * 100, r->busy < BUSY_ENOUGH ? "!" : "");
    }
    line(p, "%s", text);
}

static void money_line(struct page *p, const struct watch_view *v)
{
    char spent[32], escrow[32];
    ledger_amount_text(spent, v->spent_units);
    ledger_amount_text(escrow, v->escrow_units);
    line(p, "spent %s EMAC   in escrow %s EMAC", spent, escrow);
}

enum emac_status watch_curve(const struct series_set *series, const struct watch_size *size,
                             struct emac_buf *out, struct emac_err *err)
{
    static const char *const SHOWN[] = {"loss", "heldout_loss"};
    struct plot_series s[2];
    size_t count = 0;
    for (size_t i = 0; i < 2; i++) {
        const struct series *one = series_find(series, SHOWN[i]);
        if (one != NULL)
            s[count++] = (struct plot_series){.point = one->point,
                                              .count = one->count,
                                              .points = i == 1,
                                              .mark = i == 1 ? 'o' : 0};
    }
    const struct plot p = {.width = size->width,
                           .height = size->height,
                           .utf8 = size->utf8,
                           .colour = size->colour,
                           .series = s,
                           .count = count};
    return plot_text(&p, out, err);
}

enum emac_status watch_render(const struct watch_view *v, const struct watch_size *size,
                              struct emac_buf *out, struct emac_err *err)
{
    struct page p = {.size = *size, .out = out, .err = err, .st = EMAC_OK};
    line(&p, "%s  %s  %s", v->name, v->id, v->state);
    progress_line(&p, v);
    loss_line(&p, v);
    speed_line(&p, v);
    if (v->on_network) {
        rigs_line(&p, v);
        money_line(&p, v);
    }
    line(&p, "%s", v->note);
    struct watch_size rest = *size;
    rest.height = size->height - p.lines;
    if (p.st != EMAC_OK || rest.height < PLOT_HEIGHT_MIN || size->width < PLOT_WIDTH_MIN)
        return p.st;
    return watch_curve(&v->series, &rest, out, err);
}

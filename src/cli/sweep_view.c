#include "cli/sweep_view.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LABEL_SHOWN 36

void sweep_view_init(struct sweep_view *v)
{
    *v = (struct sweep_view){0};
    for (uint32_t i = 0; i < SWEEP_TRIALS_MAX; i++) {
        v->row[i].last = -1;
        for (uint32_t r = 0; r < SWEEP_RUNGS_MAX; r++)
            v->row[i].score[r] = -1;
    }
}

void sweep_view_release(struct sweep_view *v)
{
    for (uint32_t i = 0; i < v->count; i++)
        series_release(&v->row[i].series);
    v->count = 0;
}

static char letter_of(uint32_t trial)
{
    static const char LETTERS[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+*";
    _Static_assert(sizeof LETTERS - 1 == SWEEP_TRIALS_MAX, "a letter a trial");
    return LETTERS[trial];
}

static enum emac_status number_put(struct emac_buf *out, double v, struct emac_err *err)
{
    return v < 0 ? emac_buf_printf(out, err, " %9s", "-") : emac_buf_printf(out, err, " %9.4f", v);
}

static enum emac_status row_put(const struct sweep_view *v, uint32_t i, struct emac_buf *out,
                                struct emac_err *err)
{
    const struct sweep_row *row = &v->row[i];
    enum emac_status st;
    EMAC_TRY(st, emac_buf_printf(out, err, "%c %-*.*s %7" PRIu64, letter_of(i), LABEL_SHOWN,
                                 LABEL_SHOWN, row->label, row->step));
    for (uint32_t r = 0; r < v->rung_count; r++)
        EMAC_TRY(st, number_put(out, row->score[r], err));
    EMAC_TRY(st, number_put(out, row->last, err));
    if (row->wins)
        st = emac_buf_printf(out, err, "  wins\n");
    else if (row->stopped_at)
        st = emac_buf_printf(out, err, "  stopped at %" PRIu64 "\n", row->stopped_at);
    else
        st = emac_buf_printf(out, err, "  %s\n", row->state);
out:
    return st;
}

enum emac_status sweep_table(const struct sweep_view *v, struct emac_buf *out, struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, emac_buf_printf(out, err, "  %-*s %7s", LABEL_SHOWN, "held-out loss of", "steps"));
    for (uint32_t r = 0; r < v->rung_count; r++)
        EMAC_TRY(st, emac_buf_printf(out, err, "  at %5" PRIu32, v->rung[r]));
    EMAC_TRY(st, emac_buf_printf(out, err, " %9s\n", "at the end"));
    for (uint32_t i = 0; i < v->count; i++)
        EMAC_TRY(st, row_put(v, i, out, err));
out:
    return st;
}

static uint32_t curves(const struct sweep_view *v, struct plot_series out[SWEEP_TRIALS_MAX])
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < v->count; i++) {
        const struct series *s = series_find(&v->row[i].series, "loss");
        if (s != NULL)
            out[count++] = (struct plot_series){.name = v->row[i].label,
                                                .point = s->point,
                                                .count = s->count,
                                                .mark = letter_of(i)};
    }
    return count;
}

enum emac_status sweep_plot(const struct sweep_view *v, const struct watch_size *size,
                            struct emac_buf *out, struct emac_err *err)
{
    struct plot_series s[SWEEP_TRIALS_MAX];
    const struct plot p = {.width = size->width,
                           .height = size->height,
                           .utf8 = size->utf8,
                           .colour = size->colour,
                           .series = s,
                           .count = curves(v, s)};
    return plot_text(&p, out, err);
}

enum emac_status sweep_svg(const struct sweep_view *v, struct emac_buf *out, struct emac_err *err)
{
    struct plot_series s[SWEEP_TRIALS_MAX];
    const struct plot p = {.title = v->name,
                           .x_name = "step",
                           .y_name = "loss of training",
                           .series = s,
                           .count = curves(v, s)};
    return plot_svg(&p, out, err);
}

/* A sweep as people look at it: one table of its trials, one plot of their losses. Pure. */
#ifndef EMAC_CLI_SWEEP_VIEW_H
#define EMAC_CLI_SWEEP_VIEW_H

#include "cli/series.h"
#include "cli/watch_view.h"
#include "work/sweep.h"

struct sweep_row {
    char label[SWEEP_LABEL_MAX];
    char state[WATCH_TEXT_MAX];    /* "running", "cancelled", ... */
    uint64_t step;                 /* done */
    double score[SWEEP_RUNGS_MAX]; /* held-out loss at each rung; < 0: none */
    double last;                   /* at its end; < 0: none */
    uint64_t stopped_at;           /* the rung's steps; 0: it went on */
    bool wins;
    struct series_set series; /* "loss" */
};
struct sweep_view {
    char name[WATCH_TEXT_MAX];
    uint32_t rung_count, rung[SWEEP_RUNGS_MAX];
    uint32_t count;
    struct sweep_row row[SWEEP_TRIALS_MAX];
};

void sweep_view_init(struct sweep_view *v);
void sweep_view_release(struct sweep_view *v);
/* A line a trial, each with the letter that ends its curve. */
enum emac_status sweep_table(const struct sweep_view *v, struct emac_buf *out,
                             struct emac_err *err);
enum emac_status sweep_plot(const struct sweep_view *v, const struct watch_size *size,
                            struct emac_buf *out, struct emac_err *err);
enum emac_status sweep_svg(const struct sweep_view *v, struct emac_buf *out, struct emac_err *err);

#endif

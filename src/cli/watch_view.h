/* What a job looks like on a terminal: a head of facts and the curve of its loss. Pure: the facts
 * in, at most `height` lines of at most `width` columns out. Texts of others (names, reasons) lose
 * what is not printable ASCII, so nobody's escape codes reach the terminal. */
#ifndef EMAC_CLI_WATCH_VIEW_H
#define EMAC_CLI_WATCH_VIEW_H

#include "cli/series.h"

#define WATCH_RIGS_MAX 64
#define WATCH_TEXT_MAX 160

struct watch_rig {
    char name[WATCH_TEXT_MAX];
    double busy; /* share of the last minute */
};

struct watch_view {
    char name[WATCH_TEXT_MAX], id[WATCH_TEXT_MAX]; /* id: "" without a network */
    char state[WATCH_TEXT_MAX];                    /* "running, train" */
    char note[WATCH_TEXT_MAX];                     /* why it waits or failed; "" */
    const char *unit;                              /* "tokens" */
    double bits_per_nat;         /* a text's held-out loss is shown in bits a byte; 0: in nats */
    uint64_t step, steps, units; /* units: of work done */
    double units_per_second, elapsed_s, eta_s; /* < 0: not known */
    bool on_network;                           /* the next four are known */
    uint32_t rig_count;
    struct watch_rig rig[WATCH_RIGS_MAX];
    uint64_t bytes_moved;
    int64_t spent_units, escrow_units;
    struct series_set series; /* "loss", "heldout_loss", "lr", ... */
};

struct watch_size {
    size_t width, height;
    bool utf8, colour;
};

enum emac_status watch_render(const struct watch_view *v, const struct watch_size *size,
                              struct emac_buf *out, struct emac_err *err);
/* The curve alone, `height` lines: loss as a line, what was held out as 'o'. */
enum emac_status watch_curve(const struct series_set *series, const struct watch_size *size,
                             struct emac_buf *out, struct emac_err *err);
/* Copy text, what is not printable ASCII as '?'. */
void watch_text(char out[WATCH_TEXT_MAX], const char *text);

#endif

/* A training run of this process as people look at it: a line of progress, or with `live` the
 * picture that `emac job watch` draws; the curve at the end; TensorBoard's events. */
#ifndef EMAC_CLI_TRAIN_WATCH_H
#define EMAC_CLI_TRAIN_WATCH_H

#include "cli/cli.h"
#include "cli/screen.h"
#include "cli/tensorboard.h"
#include "node/local.h"

struct train_watch {
    struct cli *c;
    bool live;               /* asked for, and stdout is a terminal */
    double units_per_second; /* of the optimiser steps */
    uint64_t units_per_step;
    uint64_t began_ns, drawn_ns;
    bool scored; /* an evaluation was told, of the state after scored_step steps */
    uint32_t scored_step;
    enum emac_status st; /* the first failure, told by train_watch_finish */
    struct emac_err err;
    struct watch_view view;
    struct screen screen;
    struct tensorboard events;
};

/* `tensorboard`: folder of the event files, or NULL. */
enum emac_status train_watch_open(struct train_watch *w, struct cli *c, const struct job *job,
                                  bool live, const char *tensorboard);
/* local_config's. */
void train_watch_progress(void *w, const struct local_progress *p);
/* The run has ended: the last points, and the curve on stdout. */
enum emac_status train_watch_finish(struct train_watch *w, const struct local_result *r);
/* At any time; the terminal is as it was before. */
void train_watch_release(struct train_watch *w);

#endif

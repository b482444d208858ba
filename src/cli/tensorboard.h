/* A run's event file for TensorBoard: DIR/<run>/events.out.tfevents.<seconds>.<run>. Its bytes
 * follow from the events alone, and a file of that name that is there is written anew: whoever
 * watches a job twice has one file of it, not two. */
#ifndef EMAC_CLI_TENSORBOARD_H
#define EMAC_CLI_TENSORBOARD_H

#include "os/os.h"

struct tensorboard {
    struct os *os;
    char path[OS_PATH_MAX];
    struct emac_buf waiting; /* events that are not in the file yet */
    uint64_t last_step;      /* of the series "loss" so far */
};

/* dir NULL: nothing is written, by this and what follows. */
enum emac_status tensorboard_open(struct tensorboard *t, struct os *os, const char *dir,
                                  const char *run, uint64_t began_ms, struct emac_err *err);
/* Events of steps from `step` on that came before are no longer true: TensorBoard forgets them. */
enum emac_status tensorboard_restart(struct tensorboard *t, uint64_t at_ms, uint64_t step,
                                     struct emac_err *err);
enum emac_status tensorboard_add(struct tensorboard *t, const char *name, uint64_t step,
                                 double value, uint64_t at_ms, struct emac_err *err);
/* Into the file. */
enum emac_status tensorboard_flush(struct tensorboard *t, struct emac_err *err);
void tensorboard_release(struct tensorboard *t);

#endif

/* `emac job watch`: a job as it goes, on a terminal, as lines of JSON, as TensorBoard's events. */
#ifndef EMAC_CLI_JOB_WATCH_H
#define EMAC_CLI_JOB_WATCH_H

#include "cli/cli.h"

/* Until the job ends; fails as the job did. Event files go below the folder `tensorboard` unless it
 * is NULL. */
enum emac_status job_watch(struct cli *c, const char *id, const char *tensorboard);

#endif

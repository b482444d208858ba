/* A sweep in this process, a trial after the other up to each rung: the decisions and the models
 * are those of a network. An interrupted one begins anew. */
#ifndef EMAC_CLI_SWEEP_LOCAL_H
#define EMAC_CLI_SWEEP_LOCAL_H

#include "cli/cli.h"
#include "cli/sweep_view.h"
#include "work/job.h"

/* `job`: of each trial. *result gets what GET /v1/sweeps/{id} would say of it; owned. */
enum emac_status sweep_local(struct cli *c, struct store *s, const struct cli_device *device,
                             const struct sweep *sweep, const struct job *job,
                             struct sweep_view *view, json_t **result);

#endif

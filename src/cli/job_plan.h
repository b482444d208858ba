/* `emac job plan`: what a job would take, without running anything. */
#ifndef EMAC_CLI_JOB_PLAN_H
#define EMAC_CLI_JOB_PLAN_H

#include "cli/cli.h"

struct job_plan_args {
    uint64_t rigs;     /* 0: those that the coordinator has */
    const char *speed; /* GFLOP/s of each by hand, a list */
    const char *links; /* a list as cli_link takes it; NULL: no thin links */
};

enum emac_status job_plan_show(struct cli *c, const char *path, const struct job_plan_args *a);

#endif

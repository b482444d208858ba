/* `emac job plan`: what a job would take, without running anything. */
#ifndef EMAC_CLI_JOB_PLAN_H
#define EMAC_CLI_JOB_PLAN_H

#include "cli/cli.h"

struct job_plan_args {
    uint64_t rigs;      /* 0: those that the coordinator has */
    const char *speed;  /* GFLOP/s of each by hand, a list */
    const char *links;  /* a list as cli_link takes it; NULL: no thin links */
    const char *memory; /* that a task may use on each by hand, a list; NULL: not known */
};

struct job;
/* job_file_load of one whose spread.shares may be 'auto': the shares that are best for these rigs
 * are filled in, and told on stderr. */
enum emac_status job_file_filled(struct cli *c, struct store *s, const char *path,
                                 const struct job_plan_args *a, struct job *out);

enum emac_status job_plan_show(struct cli *c, const char *path, const struct job_plan_args *a);

#endif

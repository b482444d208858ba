/* A job on the network as its user sees it: sent, followed to its end, told in lines. */
#ifndef EMAC_CLI_JOB_FOLLOW_H
#define EMAC_CLI_JOB_FOLLOW_H

#include "cli/cli.h"
#include "work/job.h"

/* `j`, here and below: the job as the coordinator answers. */
void job_show_lines(struct cli *c, json_t *j);
/* One line of progress, on stderr. */
void job_show_progress(struct cli *c, json_t *j);
/* Of a job that has ended: OK when it succeeded, else FAILED or CANCELLED with the reason. */
enum emac_status job_judge(struct cli *c, json_t *j);
/* To its end, which is shown and judged. */
enum emac_status job_follow(struct cli *c, const char *id);
/* Push what the job names, submit it as one of the user's, and with `wait` follow it. */
enum emac_status job_send(struct cli *c, struct store *s, struct job *job, bool wait);

#endif

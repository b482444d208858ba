/* `emac job watch`: a job as it goes, on a terminal, as lines of JSON, as TensorBoard's events. */
#ifndef EMAC_CLI_JOB_WATCH_H
#define EMAC_CLI_JOB_WATCH_H

#include "cli/cli.h"

/* Until the job ends; fails as the job did. Event files go below the folder `tensorboard` unless it
 * is NULL. */
enum emac_status job_watch(struct cli *c, const char *id, const char *tensorboard);

/* ---- what the actions of `emac job` share (cmd_job.c) ---- */
#define JOB_POLL_MS 500
bool job_ended(const char *state);
/* Of a job that has ended: OK when it succeeded, else FAILED or CANCELLED with the reason. */
enum emac_status job_judge(struct cli *c, json_t *job);
void job_show_lines(struct cli *c, json_t *job);
/* Push what the job names, submit it as one of the user's, and with `wait` follow it to its end. */
struct job;
enum emac_status job_send(struct cli *c, struct store *s, struct job *job, bool wait);
/* One line of progress, on stderr. */
void job_show_progress(struct cli *c, json_t *job);

#endif

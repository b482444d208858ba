/* Job files: read, their data and their base brought into the store, and what follows from these
 * filled in. */
#ifndef EMAC_CLI_JOB_FILE_H
#define EMAC_CLI_JOB_FILE_H

#include "cli/cli.h"
#include "work/job.h"

#define JOB_FILE_MAX (1u << 20)

enum emac_status job_file_load(struct cli *c, struct store *s, const char *path, struct job *out);
/* The same of `root`, the content of the file `path`. */
enum emac_status job_file_take(struct cli *c, struct store *s, const char *path, json_t *root,
                               struct job *out);

#endif

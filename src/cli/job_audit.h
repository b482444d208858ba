/* `emac job receipts` and `emac job audit`. */
#ifndef EMAC_CLI_JOB_AUDIT_H
#define EMAC_CLI_JOB_AUDIT_H

#include "cli/cli.h"

#define JOB_AUDIT_SAMPLE   100
#define JOB_AUDIT_UNSEEDED UINT64_MAX

struct job_audit_args {
    uint64_t sample;
    uint64_t seed; /* JOB_AUDIT_UNSEEDED: one that nobody knows before */
    struct cli_device device;
};
enum emac_status job_receipts(struct cli *c, const char *job);
/* Run a random sample of a job's receipts again, and say what follows from it. */
enum emac_status job_audit(struct cli *c, const char *job, const struct job_audit_args *a);

#endif

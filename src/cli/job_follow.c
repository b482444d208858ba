#include "cli/job_follow.h"

#include <stdlib.h>
#include <string.h>

#include "ledger/ledger.h"
#include "work/base.h"

void job_show_progress(struct cli *c, json_t *j)
{
    char eta[24], moved[24], rate[40];
    snprintf(rate, sizeof(rate), "%s_per_second", cli_str(j, "unit"));
    human_duration(eta, cli_num(j, "eta_seconds"));
    human_bytes(moved, (uint64_t)cli_num(j, "bytes_moved"));
    cli_progress(c, "%s %s  step %.0f/%.0f  loss %.4f  %.0f %s/s  rigs %.0f  moved %s  left %s",
                 cli_str(j, "name"), cli_str(j, "phase"), cli_num(j, "step"), cli_num(j, "steps"),
                 cli_num(j, "loss"), cli_num(j, rate), cli_str(j, "unit"), cli_num(j, "rigs"),
                 moved, eta);
}

static void checks_show(struct cli *c, json_t *figures)
{
    cli_say(c, "checks     %.0f of %.0f results made by a second rig, %.0f differed, %.0f lapsed",
            cli_num(figures, "checked"), cli_num(figures, "tasks"), cli_num(figures, "mismatches"),
            cli_num(figures, "lapsed"));
}

void job_show_lines(struct cli *c, json_t *j)
{
    char spent[32], escrow[32];
    ledger_amount_text(spent, (int64_t)strtoll(cli_str(j, "spent_units"), NULL, 10));
    ledger_amount_text(escrow, (int64_t)strtoll(cli_str(j, "escrow_units"), NULL, 10));
    cli_say(c, "job        %s  (%s)", cli_str(j, "id"), cli_str(j, "name"));
    cli_say(c, "state      %s%s%s", cli_str(j, "state"), *cli_str(j, "reason") ? ": " : "",
            cli_str(j, "reason"));
    if (strcmp(cli_str(json_object_get(j, "job"), "kind"), "evaluate") != 0)
        cli_say(c, "progress   step %.0f of %.0f, loss %.4f nats", cli_num(j, "step"),
                cli_num(j, "steps"), cli_num(j, "loss"));
    if (json_is_number(json_object_get(j, "loss_bits_per_byte")))
        cli_say(c, "held out   %.4f bits per byte", cli_num(j, "loss_bits_per_byte"));
    if (json_is_number(json_object_get(j, "accuracy")))
        cli_say(c, "test       %.2f %% right", 100 * cli_num(j, "accuracy"));
    if (*cli_str(j, "model"))
        cli_say(c, "model      %s", cli_str(j, "model"));
    if (*cli_str(j, "evaluation"))
        cli_say(c, "evaluation %s", cli_str(j, "evaluation"));
    checks_show(c, json_object_get(j, "figures"));
    cli_say(c, "money      spent %s EMAC, in escrow %s EMAC", spent, escrow);
}

enum emac_status job_judge(struct cli *c, json_t *j)
{
    const char *state = cli_str(j, "state");
    if (strcmp(state, "failed") == 0)
        return emac_fail(&c->err, EMAC_FAILED, "the job failed: %s", cli_str(j, "reason"));
    if (strcmp(state, "cancelled") == 0)
        return emac_fail(&c->err, EMAC_CANCELLED, "the job was cancelled");
    return EMAC_OK;
}

enum emac_status job_follow(struct cli *c, const char *id)
{
    json_t *end;
    enum emac_status st = cli_await(c, "job", id, job_show_progress, &end);
    if (st != EMAC_OK)
        return st;
    job_show_lines(c, end);
    st = job_judge(c, end);
    cli_result(c, end);
    return st;
}

enum emac_status job_send(struct cli *c, struct store *s, struct job *job, bool wait)
{
    json_t *reply = NULL;
    enum emac_status st;
    EMAC_TRY(st, cli_push(c, s, &job->data));
    if (job_has_base(job))
        EMAC_TRY(st, cli_push(c, s, &job->base));
    if (job->spread == SPREAD_FEDERATED)
        EMAC_TRY(st, cli_push(c, s, &job->shards));
    emac_strcpy(job->owner, sizeof(job->owner), c->identity.did);
    c->os->entropy(c->os, &job->nonce, sizeof(job->nonce));
    job->nonce &= INT64_MAX; /* JSON integers are signed */
    EMAC_TRY(st, cli_post(c, "/v1/jobs", job_to_json(job), &reply));
    const char *id = cli_str(reply, "id");
    if (!wait) {
        cli_say(c, "%s", id);
        cli_result(c, json_incref(reply));
        goto out;
    }
    if (!c->json && !c->quiet)
        fprintf(stderr, "submitted %s\n", id);
    st = job_follow(c, id);
out:
    json_decref(reply);
    return st;
}

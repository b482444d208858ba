#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/job_audit.h"
#include "cli/job_plan.h"
#include "cli/job_watch.h"
#include "ledger/ledger.h"
#include "os/process.h"
#include "work/base.h"

struct job_args {
    bool wait;
    uint64_t limit, after;
    const char *tensorboard;
    struct job_plan_args plan;
    struct job_audit_args audit;
};

bool job_ended(const char *state)
{
    return strcmp(state, "succeeded") == 0 || strcmp(state, "failed") == 0 ||
           strcmp(state, "cancelled") == 0;
}

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

/* Until it has ended; a coordinator that is away for a while is waited for. */
static enum emac_status wait_job(struct cli *c, const char *id, json_t **out)
{
    char path[256];
    uint64_t began = c->os->mono_ns(c->os);
    snprintf(path, sizeof(path), "/v1/jobs/%.200s", id);
    while (!os_stop_requested()) {
        json_t *j = NULL;
        enum emac_status st = cli_call(c, "GET", path, NULL, false, &j);
        if (st == EMAC_OK) {
            if (job_ended(cli_str(j, "state"))) {
                *out = j;
                return EMAC_OK;
            }
            job_show_progress(c, j);
        } else if (!emac_status_retryable(st)) {
            return st;
        } else {
            cli_progress(c, "waiting for the coordinator: %s", c->err.text);
        }
        json_decref(j);
        cli_pause(c, began);
    }
    return emac_fail(&c->err, EMAC_CANCELLED,
                     "stopped waiting; the job goes on: see 'emac job show %s'", id);
}

/* Follow it to its end and tell that; fails as the job did. */
static enum emac_status job_follow(struct cli *c, const char *id)
{
    json_t *end;
    enum emac_status st = wait_job(c, id, &end);
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

static enum emac_status job_submit(struct cli *c, const char *path, const struct job_args *a)
{
    struct job job;
    struct store *s = NULL;
    enum emac_status st;
    EMAC_TRY(st, cli_store(c, &s));
    EMAC_TRY(st, job_file_filled(c, s, path, &a->plan, &job));
    st = job_send(c, s, &job, a->wait);
out:
    store_close(s);
    return st;
}

static enum emac_status job_list(struct cli *c, const struct job_args *a)
{
    char path[128];
    snprintf(path, sizeof(path), "/v1/jobs?limit=%llu", (unsigned long long)a->limit);
    json_t *reply, *j;
    size_t i;
    enum emac_status st = cli_call(c, "GET", path, NULL, false, &reply);
    if (st != EMAC_OK)
        return st;
    json_array_foreach(json_object_get(reply, "jobs"), i, j)
    {
        cli_say(c, "%-18s %-10s step %6.0f/%-6.0f loss %7.4f  %s", cli_str(j, "id"),
                cli_str(j, "state"), cli_num(j, "step"), cli_num(j, "steps"), cli_num(j, "loss"),
                cli_str(j, "name"));
    }
    cli_result(c, reply);
    return EMAC_OK;
}

static enum emac_status job_show(struct cli *c, const char *id)
{
    char path[256];
    snprintf(path, sizeof(path), "/v1/jobs/%.200s", id);
    json_t *reply;
    enum emac_status st = cli_call(c, "GET", path, NULL, false, &reply);
    if (st != EMAC_OK)
        return st;
    job_show_lines(c, reply);
    cli_result(c, reply);
    return EMAC_OK;
}

static enum emac_status job_cancel(struct cli *c, const char *id)
{
    char path[256];
    snprintf(path, sizeof(path), "/v1/jobs/%.200s/cancel", id);
    json_t *reply;
    enum emac_status st = cli_call(c, "POST", path, json_object(), true, &reply);
    if (st != EMAC_OK)
        return st;
    cli_say(c, "cancelled %s; what was not earned goes back to you", id);
    cli_result(c, reply);
    return EMAC_OK;
}

static enum emac_status print_logs(struct cli *c, const char *id, uint64_t *after, json_t *all)
{
    char path[256];
    snprintf(path, sizeof(path), "/v1/jobs/%.200s/logs?after=%llu&limit=1000", id,
             (unsigned long long)*after);
    json_t *reply, *line;
    size_t i;
    enum emac_status st = cli_call(c, "GET", path, NULL, false, &reply);
    if (st != EMAC_OK)
        return st;
    json_array_foreach(json_object_get(reply, "logs"), i, line)
    {
        cli_say(c, "%-5s %s", cli_str(line, "level"), cli_str(line, "text"));
        *after = (uint64_t)cli_num(line, "id");
        json_array_append(all, line);
    }
    json_decref(reply);
    return EMAC_OK;
}

static enum emac_status job_logs(struct cli *c, const char *id, const struct job_args *a)
{
    uint64_t after = a->after, before;
    json_t *all = json_array();
    enum emac_status st;
    do {
        before = after;
        st = print_logs(c, id, &after, all);
    } while (st == EMAC_OK && after != before);
    if (st == EMAC_OK)
        cli_result(c, json_pack("{s:O}", "logs", all));
    json_decref(all);
    return st;
}

enum emac_status cmd_job(struct cli *c, int argc, char **argv)
{
    struct job_args a = {.limit = 100,
                         .audit = {.sample = JOB_AUDIT_SAMPLE, .seed = JOB_AUDIT_UNSEEDED}};
    const struct cli_option options[] = {
        {"wait", 'w', OPT_FLAG, &a.wait},        {"limit", 0, OPT_U64, &a.limit},
        {"after", 0, OPT_U64, &a.after},         {"tensorboard", 0, OPT_TEXT, &a.tensorboard},
        {"rigs", 0, OPT_U64, &a.plan.rigs},      {"speed", 0, OPT_TEXT, &a.plan.speed},
        {"link", 0, OPT_TEXT, &a.plan.links},    {"memory", 0, OPT_TEXT, &a.plan.memory},
        {"sample", 0, OPT_U64, &a.audit.sample}, {"seed", 0, OPT_U64, &a.audit.seed},
        CLI_DEVICE_OPTIONS(&a.audit.device)};
    const char *pos[CLI_POSITIONALS_MAX];
    enum emac_status st = cli_parse(c, argc, argv, options, EMAC_COUNT(options), pos, 1, 2);
    if (st != EMAC_OK)
        return st;
    if (strcmp(pos[0], "list") == 0)
        return job_list(c, &a);
    static const char *const actions[] = {"plan",   "submit", "show",     "watch",
                                          "cancel", "logs",   "receipts", "audit"};
    bool known = false;
    for (size_t i = 0; i < EMAC_COUNT(actions); i++)
        known = known || strcmp(pos[0], actions[i]) == 0;
    if (!known)
        return emac_fail(&c->err, EMAC_INVALID,
                         "unknown action '%s': job knows plan, submit, list, show, watch, cancel, "
                         "logs, receipts and audit",
                         pos[0]);
    bool of_file = strcmp(pos[0], "submit") == 0 || strcmp(pos[0], "plan") == 0;
    if (!pos[1])
        return emac_fail(&c->err, EMAC_INVALID, "which one? 'emac job %s' needs %s", pos[0],
                         of_file ? "a job file" : "a job's id");
    if (!of_file && (st = cli_id_check(c, "job", pos[1])) != EMAC_OK)
        return st;
    if (strcmp(pos[0], "plan") == 0)
        return job_plan_show(c, pos[1], &a.plan);
    if (strcmp(pos[0], "submit") == 0)
        return job_submit(c, pos[1], &a);
    if (strcmp(pos[0], "show") == 0)
        return a.wait ? job_follow(c, pos[1]) : job_show(c, pos[1]);
    if (strcmp(pos[0], "watch") == 0)
        return job_watch(c, pos[1], a.tensorboard);
    if (strcmp(pos[0], "cancel") == 0)
        return job_cancel(c, pos[1]);
    if (strcmp(pos[0], "receipts") == 0)
        return job_receipts(c, pos[1]);
    if (strcmp(pos[0], "audit") == 0)
        return job_audit(c, pos[1], &a.audit);
    return job_logs(c, pos[1], &a);
}

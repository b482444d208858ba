#include <string.h>

#include "cli/cli.h"
#include "cli/job_audit.h"
#include "cli/job_follow.h"
#include "cli/job_plan.h"
#include "cli/job_watch.h"

struct job_args {
    bool wait;
    uint64_t limit, after;
    const char *tensorboard;
    struct job_plan_args plan;
    struct job_audit_args audit;
};

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

static void row_say(struct cli *c, json_t *j)
{
    cli_say(c, "%-18s %-10s step %6.0f/%-6.0f loss %7.4f  %s", cli_str(j, "id"),
            cli_str(j, "state"), cli_num(j, "step"), cli_num(j, "steps"), cli_num(j, "loss"),
            cli_str(j, "name"));
}

static enum emac_status job_list(struct cli *c, const struct job_args *a)
{
    char path[128];
    snprintf(path, sizeof(path), "/v1/jobs?limit=%llu", (unsigned long long)a->limit);
    return cli_list(c, path, false, "jobs", NULL, row_say);
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
        return cli_cancel(c, "job", pos[1]);
    if (strcmp(pos[0], "receipts") == 0)
        return job_receipts(c, pos[1]);
    if (strcmp(pos[0], "audit") == 0)
        return job_audit(c, pos[1], &a.audit);
    return job_logs(c, pos[1], &a);
}

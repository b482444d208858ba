#include "cli/job_plan.h"

#include <stdlib.h>
#include <string.h>

#include "cli/human.h"
#include "cli/job_file.h"
#include "ledger/ledger.h"
#include "sched/predict.h"

#define GFLOPS          1e9
#define SHARES_TEXT_MAX 128
#define SHARES_GAIN     0.98 /* of the time without: less is not worth a word */

struct fleet {
    uint32_t count;
    uint64_t memory; /* of the largest for a task; 0: not known */
    struct predict_rig rig[PREDICT_RIGS_MAX];
    char name[PREDICT_RIGS_MAX][64];
};

/* ---- who would run it ---- */

static enum emac_status speed_of(struct cli *c, const char *list, uint32_t i, double *gflops)
{
    char *item = cli_item(list, ',', i), *end;
    *gflops = strtod(item, &end);
    bool sound = end != item && *end == '\0' && *gflops > 0 && *gflops < 1e9;
    free(item);
    return sound ? EMAC_OK
                 : emac_fail(&c->err, EMAC_INVALID,
                             "'--speed %s' is not a list of GFLOP/s such as 100,50", list);
}

static enum emac_status memory_of(struct cli *c, const char *list, uint32_t i, uint64_t *bytes)
{
    char *item = cli_item(list, ',', i);
    enum emac_status st = cli_bytes(c, "--memory", item, bytes);
    free(item);
    return st;
}

static enum emac_status fleet_by_hand(struct cli *c, const struct job_plan_args *a, struct fleet *f)
{
    enum emac_status st = EMAC_OK;
    if (a->rigs > PREDICT_RIGS_MAX || a->speed == NULL)
        return emac_fail(&c->err, EMAC_INVALID,
                         "--rigs goes up to %d and needs --speed, the GFLOP/s of a rig",
                         PREDICT_RIGS_MAX);
    f->count = (uint32_t)a->rigs;
    for (uint32_t i = 0; i < f->count && st == EMAC_OK; i++) {
        double gflops = 0;
        uint64_t memory = 0;
        snprintf(f->name[i], sizeof f->name[i], "rig %u", i + 1);
        st = speed_of(c, a->speed, i, &gflops);
        predict_rig_init(&f->rig[i], gflops * GFLOPS);
        if (st == EMAC_OK && a->memory != NULL)
            st = memory_of(c, a->memory, i, &memory);
        f->rig[i].memory = f->rig[i].keep = memory;
        f->memory = memory > f->memory ? memory : f->memory;
    }
    return st;
}

/* What the coordinator measured of a rig goes before what its challenge said. */
static void rig_take(struct fleet *f, json_t *node)
{
    struct predict_rig *r = &f->rig[f->count];
    double math = cli_num(node, "math_gflops"), state = cli_num(node, "state_gflops");
    uint64_t memory = (uint64_t)cli_num(node, "memory_bytes");
    f->memory = memory > f->memory ? memory : f->memory;
    json_t *link = json_object_get(node, "link");
    emac_strcpy(f->name[f->count], sizeof f->name[0], cli_str(node, "name"));
    predict_rig_init(r, cli_num(node, "gflops") * GFLOPS);
    r->memory = memory;
    r->keep = (uint64_t)cli_num(node, "keep_bytes");
    if (math > 0)
        r->math_flops = math * GFLOPS;
    if (state > 0)
        r->state_flops = state * GFLOPS;
    if (json_is_object(link))
        r->link = (struct link_shape){(uint64_t)cli_num(link, "up_bps"),
                                      (uint64_t)cli_num(link, "down_bps"),
                                      (uint64_t)cli_num(link, "latency_ns")};
    f->count++;
}

static enum emac_status fleet_there(struct cli *c, struct fleet *f)
{
    json_t *reply, *node;
    size_t i;
    enum emac_status st = cli_call(c, "GET", "/v1/status", NULL, false, &reply);
    if (st != EMAC_OK)
        return st;
    json_array_foreach(json_object_get(reply, "nodes"), i, node)
    {
        if (f->count < PREDICT_RIGS_MAX && strcmp(cli_str(node, "state"), "admitted") == 0)
            rig_take(f, node);
    }
    json_decref(reply);
    if (f->count > 0)
        return EMAC_OK;
    return emac_fail(&c->err, EMAC_UNAVAILABLE,
                     "no rig is there that could be asked how fast it is: start one, or say "
                     "--rigs N --speed GFLOPS");
}

static enum emac_status fleet_find(struct cli *c, const struct job_plan_args *a, struct fleet *f)
{
    enum emac_status st = a->rigs > 0 ? fleet_by_hand(c, a, f) : fleet_there(c, f);
    for (uint32_t i = 0; a->links != NULL && i < f->count && st == EMAC_OK; i++)
        st = cli_link(c, a->links, i, &f->rig[i].link);
    return st;
}

/* ---- shares of the stages ---- */

static void shares_text(const struct job *job, char *out, size_t cap)
{
    size_t n = 0;
    if (job->pipeline.share[0] == 0) {
        snprintf(out, cap, "alike");
        return;
    }
    for (uint32_t s = 0; s < job->pipeline.stages && n < cap; s++)
        n += (size_t)snprintf(out + n, cap - n, "%s%u", s > 0 ? ", " : "[", job->pipeline.share[s]);
    if (n < cap)
        snprintf(out + n, cap - n, "]");
}

static enum emac_status shares_fill(struct cli *c, struct store *s, const struct job_plan_args *a,
                                    struct job *job)
{
    struct fleet *f;
    struct job filled;
    char text[SHARES_TEXT_MAX];
    double seconds;
    enum emac_status st = emac_alloc(&f, 1, sizeof *f, &c->err);
    if (st == EMAC_OK)
        st = fleet_find(c, a, f);
    if (st == EMAC_OK && !predict_shares(job, s, f->rig, f->count, &filled, &seconds))
        st = emac_fail(&c->err, EMAC_TOO_LARGE,
                       "no cut into %u stages was found that the %u rigs have the memory for: take "
                       "more spread.stages, or rigs with more memory",
                       job_stages(job), f->count);
    if (st == EMAC_OK) {
        *job = filled;
        shares_text(job, text, sizeof text);
        cli_progress(c, "spread.shares %s", text);
    }
    free(f);
    return st;
}

enum emac_status job_file_filled(struct cli *c, struct store *s, const char *path,
                                 const struct job_plan_args *a, struct job *out)
{
    json_t *root = NULL;
    enum emac_status st = cli_yaml_file(c, path, JOB_FILE_MAX, &root);
    if (st != EMAC_OK)
        return emac_wrap(&c->err, "job file '%s'", path);
    json_t *spread = json_object_get(root, "spread");
    bool fill = strcmp(cli_str(spread, "shares"), "auto") == 0;
    if (fill)
        json_object_del(spread, "shares");
    st = job_file_take(c, s, path, root, out);
    if (st == EMAC_OK && fill && job_stages(out) < 2)
        st = emac_fail(&c->err, EMAC_INVALID, "spread.shares goes with a job in stages");
    else if (st == EMAC_OK && fill)
        st = shares_fill(c, s, a, out);
    json_decref(root);
    return st;
}

/* ---- telling ---- */

/* Of a job in stages alike: would others be better for these rigs? */
static json_t *say_shares(struct cli *c, struct store *s, const struct job_plan *plan,
                          const struct predict *p, const struct fleet *f)
{
    struct job near;
    char text[SHARES_TEXT_MAX], took[HUMAN_MAX], before[HUMAN_MAX];
    double seconds;
    json_t *list;
    if (job_stages(&plan->job) < 2 || plan->job.pipeline.share[0] != 0 ||
        !predict_shares(&plan->job, s, f->rig, f->count, &near, &seconds) ||
        near.pipeline.share[0] == 0 || seconds >= p->seconds * SHARES_GAIN)
        return NULL;
    shares_text(&near, text, sizeof text);
    human_duration(took, seconds);
    human_duration(before, p->seconds);
    cli_say(c, "shares   spread.shares %s, or auto, would take %s on these rigs, not %s", text,
            took, before);
    list = json_array();
    for (uint32_t i = 0; i < near.pipeline.stages; i++)
        json_array_append_new(list, json_integer(near.pipeline.share[i]));
    return json_pack("{s:o,s:f}", "shares", list, "seconds", seconds);
}

static void say_rigs(struct cli *c, const struct predict *p, const struct fleet *f)
{
    for (uint32_t i = 0; i < p->rigs; i++) {
        char sent[HUMAN_MAX], received[HUMAN_MAX];
        human_bytes(sent, (uint64_t)p->rig[i].sent);
        human_bytes(received, (uint64_t)p->rig[i].received);
        cli_say(c, "  %-12s %6.0f tasks, busy %3.0f %%, sends %s, receives %s", f->name[i],
                p->rig[i].tasks, 100 * predict_busy(p, i), sent, received);
    }
}

/* What nobody can check, and what is done about it. */
static void say_shards(struct cli *c, const struct job_plan *plan)
{
    const struct job *job = &plan->job;
    if (plan->shards.count == 0)
        return;
    for (uint32_t i = 0; i < plan->shards.count; i++) {
        char bytes[HUMAN_MAX];
        human_bytes(bytes, plan->shards.at[i].size);
        cli_say(c, "shard %-2u %s, only on rig %s", i, bytes, plan->shards.at[i].owner);
    }
    cli_say(
        c,
        "check    what is made of a shard nobody can run again: each delta is clipped to a norm "
        "of %g about those before",
        job->local.max_norm);
    if (job->eval_every > 0 && job->worsen > 0)
        cli_say(c, "         and a round whose held-out loss is %g %% above the best is dropped",
                100 * job->worsen);
}

static void say(struct cli *c, const struct job_plan *plan, const struct predict *p,
                uint64_t memory, enum task_kind largest, const struct fleet *f)
{
    char time[HUMAN_MAX], round[HUMAN_MAX], bytes[HUMAN_MAX], need[HUMAN_MAX], price[32];
    double tasks = 0;
    human_duration(time, p->seconds);
    human_duration(round, p->round_s);
    human_bytes(bytes, (uint64_t)p->bytes);
    human_bytes(need, memory);
    ledger_amount_text(price, (int64_t)p->units);
    for (int i = 0; i < TASK_KINDS; i++)
        tasks += p->tasks[i];
    cli_say(c, "job      %s: %u rounds", plan->job.name, p->rounds);
    cli_say(c, "tasks    %.0f", tasks);
    for (int i = 0; i < TASK_KINDS; i++)
        if (p->tasks[i] > 0)
            cli_say(c, "  %-12s %6.0f", task_kind_name((enum task_kind)i), p->tasks[i]);
    cli_say(c, "bytes    %s", bytes);
    say_rigs(c, p, f);
    cli_say(c, "time     %s (a round %s: %.3f s)", time, round, p->round_s);
    cli_say(c, "price    %s EMAC", price);
    cli_say(c, "memory   %s, a task of kind %s", need, task_kind_name(largest));
    say_shards(c, plan);
}

static json_t *rigs_json(const struct predict *p, const struct fleet *f)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < p->rigs; i++)
        json_array_append_new(list, json_pack("{s:s,s:f,s:f,s:f,s:f}", "name", f->name[i], "tasks",
                                              p->rig[i].tasks, "busy", predict_busy(p, i), "sent",
                                              p->rig[i].sent, "received", p->rig[i].received));
    return list;
}

static json_t *plan_json(const struct job_plan *plan, const struct predict *p, uint64_t memory,
                         const struct fleet *f, json_t *better)
{
    char units[32];
    json_t *tasks = json_object();
    for (int i = 0; i < TASK_KINDS; i++)
        json_object_set_new(tasks, task_kind_name((enum task_kind)i), json_real(p->tasks[i]));
    snprintf(units, sizeof units, "%.0f", p->units);
    return json_pack("{s:s,s:I,s:o,s:f,s:f,s:f,s:f,s:f,s:s,s:I,s:o,s:I,s:o*}", "name",
                     plan->job.name, "rounds", (json_int_t)p->rounds, "tasks", tasks, "bytes",
                     p->bytes, "seconds", p->seconds, "work_seconds", p->work_s, "round_seconds",
                     p->round_s, "flops", p->flops, "units", units, "memory_bytes",
                     (json_int_t)memory, "rigs", rigs_json(p, f), "shards",
                     (json_int_t)plan->shards.count, "better", better);
}

enum emac_status job_plan_show(struct cli *c, const char *path, const struct job_plan_args *a)
{
    struct job job;
    struct store *s = NULL;
    struct job_plan *plan = NULL;
    struct fleet *f = NULL;
    struct predict *p = NULL;
    uint64_t memory;
    enum task_kind largest;
    enum emac_status st;
    EMAC_TRY(st, emac_alloc(&f, 1, sizeof *f, &c->err));
    EMAC_TRY(st, emac_alloc(&p, 1, sizeof *p, &c->err));
    EMAC_TRY(st, cli_store(c, &s));
    EMAC_TRY(st, job_file_filled(c, s, path, a, &job));
    EMAC_TRY(st, job_plan_new(&job, s, &plan, &c->err));
    EMAC_TRY(st, fleet_find(c, a, f));
    EMAC_TRY(st, predict_fits(plan, s, f->memory, &c->err));
    EMAC_TRY(st, predict_holds(plan, s, f->rig, f->count, &c->err));
    EMAC_TRY(st, predict_in_time(plan, s, f->rig, f->count, &c->err));
    EMAC_TRY(st, predict_memory(plan, &memory, &largest, &c->err));
    const struct predict_config cfg = {.plan = plan, .rig = f->rig, .rigs = f->count};
    EMAC_TRY(st, predict_run(&cfg, p, &c->err));
    say(c, plan, p, memory, largest, f);
    cli_result(c, plan_json(plan, p, memory, f, say_shares(c, s, plan, p, f)));
out:
    job_plan_free(plan);
    store_close(s);
    free(p);
    free(f);
    return st;
}

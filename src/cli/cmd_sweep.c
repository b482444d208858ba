/* Sweeps: several recipes of one job, of which the worse stop early (work/sweep.h). */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/job_file.h"
#include "cli/screen.h"
#include "cli/sweep_local.h"
#include "cli/sweep_view.h"
#include "work/base.h"
#include "work/sweep.h"

#define TEXT_MAX    (1u << 22)
#define FILE_MAX    (1u << 20)
#define PLOT_HEIGHT 18
#define PATH_BYTES  256

struct sweep_args {
    bool local, detach;
    const char *svg;
    uint64_t limit;
    struct cli_device device;
};

/* A sweep file, its trials as jobs. */
struct sweep_input {
    struct store *store;
    struct sweep sweep;
    struct job *job; /* by trial */
};

/* ---- the file ---- */

/* All trials learn from the same file: it is added once. */
static void data_share(struct sweep_input *in, uint32_t trial, const char *file)
{
    char cid[CID_TEXT_MAX];
    json_t *data = json_object_get(in->sweep.trial[trial].job, "data");
    const char *own = json_string_value(json_object_get(data, "file"));
    if (file == NULL || own == NULL || strcmp(own, file) != 0)
        return;
    cid_text(cid, &in->job[0].data);
    json_object_del(data, "file");
    json_object_set_new(data, "cid", json_string(cid));
}

static enum emac_status trials_read(struct cli *c, const char *path, struct sweep_input *in)
{
    struct sweep *s = &in->sweep;
    json_t *data = json_object_get(s->trial[0].job, "data");
    const char *file = json_string_value(json_object_get(data, "file"));
    enum emac_status st = emac_alloc(&in->job, s->trial_count, sizeof *in->job, &c->err);
    for (uint32_t i = 0; i < s->trial_count && st == EMAC_OK; i++) {
        if (i > 0)
            data_share(in, i, file);
        st = job_file_take(c, in->store, path, s->trial[i].job, &in->job[i]);
        if (st == EMAC_OK)
            st = sweep_check_trial(s, &in->job[i], &in->job[0], &c->err);
        if (st != EMAC_OK)
            emac_wrap(&c->err, "trial %u (%s)", i, s->trial[i].label);
    }
    return st;
}

static enum emac_status yaml_read(struct cli *c, const char *path, json_t **out)
{
    enum emac_status st = cli_yaml_file(c, path, FILE_MAX, out);
    return st == EMAC_OK ? st : emac_wrap(&c->err, "file '%s'", path);
}

static enum emac_status input_read(struct cli *c, const char *path, struct sweep_input *in)
{
    char inner[OS_PATH_MAX];
    json_t *root = NULL, *base = NULL;
    enum emac_status st;
    EMAC_TRY(st, cli_store(c, &in->store));
    EMAC_TRY(st, yaml_read(c, path, &root));
    const char *kind = json_string_value(json_object_get(root, "kind"));
    if (kind == NULL || strcmp(kind, "sweep") != 0) {
        st = emac_fail(&c->err, EMAC_INVALID,
                       "'%s' is no sweep: it must say 'kind: sweep' (a job is run by 'emac job "
                       "submit')",
                       path);
        goto out;
    }
    emac_strcpy(inner, sizeof inner, path);
    if (sweep_file(root) != NULL) {
        EMAC_TRY(st, cli_beside(c, path, sweep_file(root), inner, sizeof inner));
        EMAC_TRY(st, yaml_read(c, inner, &base));
    }
    st = sweep_from_json(&in->sweep, root, base, &c->err);
    if (st != EMAC_OK) {
        emac_wrap(&c->err, "sweep file '%s'", path);
        goto out;
    }
    st = trials_read(c, inner, in);
out:
    json_decref(root);
    json_decref(base);
    return st;
}

static void input_release(struct sweep_input *in)
{
    sweep_release(&in->sweep);
    free(in->job);
    store_close(in->store);
}

/* ---- showing ---- */

static enum emac_status svg_write(struct cli *c, const struct sweep_view *v, const char *path)
{
    struct emac_buf text;
    emac_buf_init(&text, TEXT_MAX);
    enum emac_status st = sweep_svg(v, &text, &c->err);
    if (st == EMAC_OK)
        st = c->os->file_write(c->os, path, text.data, text.len, 0644, &c->err);
    emac_buf_release(&text);
    return st;
}

static enum emac_status view_show(struct cli *c, const struct sweep_view *v,
                                  const struct sweep_args *a)
{
    struct screen screen;
    struct emac_buf text;
    screen_init(&screen);
    struct watch_size size = screen_size(&screen);
    size.height = PLOT_HEIGHT;
    emac_buf_init(&text, TEXT_MAX);
    enum emac_status st = sweep_plot(v, &size, &text, &c->err);
    if (st == EMAC_OK)
        st = emac_buf_append(&text, "\n", 1, &c->err);
    if (st == EMAC_OK)
        st = sweep_table(v, &text, &c->err);
    if (st == EMAC_OK)
        cli_say(c, "%.*s", (int)text.len - 1, emac_buf_str(&text));
    emac_buf_release(&text);
    return st == EMAC_OK && a->svg ? svg_write(c, v, a->svg) : st;
}

static void row_fill(struct sweep_view *v, struct sweep_row *row, json_t *trial)
{
    json_t *scores = json_object_get(trial, "scores"), *last;
    watch_text(row->state, cli_str(trial, "state"));
    emac_strcpy(row->label, sizeof row->label, cli_str(trial, "label"));
    row->step = (uint64_t)cli_num(trial, "step");
    row->stopped_at = (uint64_t)cli_num(trial, "stopped_at");
    last = json_object_get(trial, "heldout_loss");
    row->last = row->stopped_at == 0 && json_is_number(last) ? json_number_value(last) : -1;
    for (size_t r = 0; r < v->rung_count && r < json_array_size(scores); r++) {
        json_t *loss = json_object_get(json_array_get(scores, r), "loss");
        row->score[r] = json_is_number(loss) ? json_number_value(loss) : -1;
    }
}

static enum emac_status curve_fetch(struct cli *c, struct sweep_row *row, const char *job)
{
    char path[PATH_BYTES];
    json_t *reply, *one;
    size_t i;
    snprintf(path, sizeof path, "/v1/jobs/%.100s/metrics", job);
    enum emac_status st = cli_call(c, "GET", path, NULL, false, &reply);
    if (st != EMAC_OK)
        return st;
    json_array_foreach(json_object_get(reply, "metrics"), i, one)
    {
        if (st == EMAC_OK && strcmp(cli_str(one, "name"), "loss") == 0)
            st = series_add(&row->series, "loss", (uint64_t)cli_num(one, "step"),
                            cli_num(one, "value"), &c->err);
    }
    json_decref(reply);
    return st;
}

static enum emac_status view_fetch(struct cli *c, json_t *sweep, struct sweep_view *v)
{
    json_t *rungs = json_object_get(sweep, "rungs"), *trial;
    size_t i;
    enum emac_status st = EMAC_OK;
    watch_text(v->name, cli_str(sweep, "name"));
    for (; v->rung_count < json_array_size(rungs) && v->rung_count < SWEEP_RUNGS_MAX;
         v->rung_count++)
        v->rung[v->rung_count] = (uint32_t)json_integer_value(json_array_get(rungs, v->rung_count));
    json_array_foreach(json_object_get(sweep, "trials"), i, trial)
    {
        if (st != EMAC_OK || v->count == SWEEP_TRIALS_MAX)
            break;
        struct sweep_row *row = &v->row[v->count++];
        row_fill(v, row, trial);
        row->wins = *cli_str(sweep, "winner") &&
                    strcmp(cli_str(sweep, "winner"), cli_str(trial, "job")) == 0;
        st = curve_fetch(c, row, cli_str(trial, "job"));
    }
    return st;
}

static enum emac_status sweep_fetch(struct cli *c, const char *id, json_t **out)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "/v1/sweeps/%.100s", id);
    return cli_call(c, "GET", path, NULL, false, out);
}

static enum emac_status sweep_present(struct cli *c, json_t *sweep, const struct sweep_args *a)
{
    struct sweep_view *v;
    enum emac_status st = emac_alloc(&v, 1, sizeof *v, &c->err);
    if (st != EMAC_OK)
        return st;
    sweep_view_init(v);
    st = view_fetch(c, sweep, v);
    if (st == EMAC_OK)
        st = view_show(c, v, a);
    sweep_view_release(v);
    free(v);
    if (st != EMAC_OK)
        return st;
    cli_say(c, "%s  %s%s%s", cli_str(sweep, "id"), cli_str(sweep, "state"),
            *cli_str(sweep, "model") ? ": model " : "", cli_str(sweep, "model"));
    return EMAC_OK;
}

/* ---- run ---- */

static json_t *body_of(struct cli *c, struct sweep_input *in)
{
    const struct sweep *s = &in->sweep;
    json_t *rungs = json_array(), *trials = json_array();
    uint64_t nonce;
    c->os->entropy(c->os, &nonce, sizeof nonce);
    for (uint32_t i = 0; i < s->rung_count; i++)
        json_array_append_new(rungs, json_integer((json_int_t)s->rung[i]));
    for (uint32_t i = 0; i < s->trial_count; i++) {
        emac_strcpy(in->job[i].owner, sizeof in->job[i].owner, c->identity.did);
        in->job[i].nonce = nonce & INT64_MAX;
        json_array_append_new(trials, json_pack("{s:s, s:o}", "label", s->trial[i].label, "job",
                                                job_to_json(&in->job[i])));
    }
    return json_pack("{s:s, s:f, s:o, s:o}", "name", s->name, "keep", s->keep, "rungs", rungs,
                     "trials", trials);
}

static void progress_show(struct cli *c, json_t *sweep)
{
    json_t *trial;
    size_t i, running = 0;
    double least = 0, most = 0;
    json_array_foreach(json_object_get(sweep, "trials"), i, trial)
    {
        double step = cli_num(trial, "step");
        if (strcmp(cli_str(trial, "state"), "running") != 0)
            continue;
        least = running == 0 || step < least ? step : least;
        most = step > most ? step : most;
        running++;
    }
    cli_progress(c, "%s  %.0f of %zu rungs decided  %zu trials run, at steps %.0f to %.0f",
                 cli_str(sweep, "name"), cli_num(sweep, "rungs_decided"),
                 json_array_size(json_object_get(sweep, "rungs")), running, least, most);
}

static enum emac_status judge(struct cli *c, json_t *sweep)
{
    const char *state = cli_str(sweep, "state");
    if (strcmp(state, "failed") == 0)
        return emac_fail(&c->err, EMAC_FAILED, "no trial of the sweep came to its end");
    if (strcmp(state, "cancelled") == 0)
        return emac_fail(&c->err, EMAC_CANCELLED, "the sweep was cancelled");
    return EMAC_OK;
}

/* The data, and the models that trials begin with. */
static enum emac_status inputs_push(struct cli *c, const struct sweep_input *in)
{
    enum emac_status st = cli_push(c, in->store, &in->job[0].data);
    for (uint32_t i = 0; i < in->sweep.trial_count && st == EMAC_OK; i++) {
        const struct job *job = &in->job[i];
        bool pushed = i > 0 && cid_equal(&job->base, &job[-1].base);
        if (job_has_base(job) && !pushed)
            st = cli_push(c, in->store, &job->base);
    }
    return st;
}

static enum emac_status run_on_network(struct cli *c, struct sweep_input *in,
                                       const struct sweep_args *a)
{
    json_t *reply = NULL, *end = NULL;
    enum emac_status st;
    EMAC_TRY(st, inputs_push(c, in));
    EMAC_TRY(st, cli_post(c, "/v1/sweeps", body_of(c, in), &reply));
    const char *id = cli_str(reply, "id");
    if (a->detach) {
        cli_say(c, "%s", id);
        cli_result(c, json_incref(reply));
        goto out;
    }
    if (!c->json && !c->quiet)
        fprintf(stderr, "submitted %s\n", id);
    EMAC_TRY(st, cli_await(c, "sweep", id, progress_show, &end));
    EMAC_TRY(st, sweep_present(c, end, a));
    st = judge(c, end);
    cli_result(c, json_incref(end));
out:
    json_decref(reply);
    json_decref(end);
    return st;
}

static enum emac_status run_here(struct cli *c, struct sweep_input *in, const struct sweep_args *a)
{
    struct sweep_view *v;
    json_t *result = NULL;
    const struct sweep *s = &in->sweep;
    enum emac_status st = emac_alloc(&v, 1, sizeof *v, &c->err);
    if (st != EMAC_OK)
        return st;
    sweep_view_init(v);
    emac_strcpy(v->name, sizeof v->name, s->name);
    v->rung_count = s->rung_count;
    memcpy(v->rung, s->rung, sizeof v->rung);
    v->count = s->trial_count;
    for (uint32_t i = 0; i < v->count; i++)
        emac_strcpy(v->row[i].label, sizeof v->row[i].label, s->trial[i].label);
    EMAC_TRY(st, sweep_local(c, in->store, &a->device, s, in->job, v, &result));
    EMAC_TRY(st, view_show(c, v, a));
    if (*cli_str(result, "model"))
        cli_say(c, "model %s", cli_str(result, "model"));
    st = judge(c, result);
    cli_result(c, json_incref(result));
out:
    json_decref(result);
    sweep_view_release(v);
    free(v);
    return st;
}

static enum emac_status sweep_run(struct cli *c, const char *path, struct sweep_args *a)
{
    struct sweep_input *in;
    enum emac_status st = emac_alloc(&in, 1, sizeof *in, &c->err);
    if (st != EMAC_OK)
        return st;
    EMAC_TRY(st, cli_device_check(c, &a->device));
    EMAC_TRY(st, input_read(c, path, in));
    st = a->local ? run_here(c, in, a) : run_on_network(c, in, a);
out:
    input_release(in);
    free(in);
    return st;
}

/* ---- the other actions ---- */

static enum emac_status sweep_show(struct cli *c, const char *id, const struct sweep_args *a)
{
    json_t *sweep;
    enum emac_status st = sweep_fetch(c, id, &sweep);
    if (st != EMAC_OK)
        return st;
    st = sweep_present(c, sweep, a);
    if (st == EMAC_OK)
        cli_result(c, json_incref(sweep));
    json_decref(sweep);
    return st;
}

static void line_say(struct cli *c, json_t *sweep)
{
    cli_say(c, "%-20s %-10s %s", cli_str(sweep, "id"), cli_str(sweep, "state"),
            cli_str(sweep, "name"));
}

static enum emac_status sweep_list(struct cli *c, const struct sweep_args *a)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "/v1/sweeps?limit=%llu", (unsigned long long)a->limit);
    return cli_list(c, path, false, "sweeps", NULL, line_say);
}

enum emac_status cmd_sweep(struct cli *c, int argc, char **argv)
{
    struct sweep_args a = {.limit = 100};
    const struct cli_option options[] = {{"local", 0, OPT_FLAG, &a.local},
                                         {"detach", 'd', OPT_FLAG, &a.detach},
                                         {"svg", 0, OPT_TEXT, &a.svg},
                                         {"limit", 0, OPT_U64, &a.limit},
                                         CLI_DEVICE_OPTIONS(&a.device)};
    const char *pos[CLI_POSITIONALS_MAX];
    enum emac_status st = cli_parse(c, argc, argv, options, EMAC_COUNT(options), pos, 1, 2);
    if (st != EMAC_OK)
        return st;
    bool run = strcmp(pos[0], "run") == 0, show = strcmp(pos[0], "show") == 0;
    if (strcmp(pos[0], "list") == 0)
        return sweep_list(c, &a);
    if (!run && !show && strcmp(pos[0], "cancel") != 0)
        return emac_fail(&c->err, EMAC_INVALID,
                         "unknown action '%s': sweep knows run, show, list and cancel", pos[0]);
    if (pos[1] == NULL)
        return emac_fail(&c->err, EMAC_INVALID, "which one? 'emac sweep %s' needs %s", pos[0],
                         run ? "a sweep file" : "a sweep's id");
    if (run)
        return sweep_run(c, pos[1], &a);
    st = cli_id_check(c, "sweep", pos[1]);
    if (st != EMAC_OK)
        return st;
    return show ? sweep_show(c, pos[1], &a) : cli_cancel(c, "sweep", pos[1]);
}

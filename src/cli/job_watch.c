#include "cli/job_watch.h"

#include <stdlib.h>
#include <string.h>

#include "cli/job_follow.h"
#include "cli/screen.h"
#include "cli/tensorboard.h"
#include "cli/watch_view.h"
#include "os/process.h"

#define PATH_BYTES    256
#define POLL_MS       500
#define PICTURE_MAX   (1u << 22)
#define ID_CHARACTERS "abcdefghijklmnopqrstuvwxyz0123456789-"
#define CURVE_HEIGHT  14 /* of what stays on the screen at the end */

struct watch {
    struct cli *c;
    const char *id;
    json_t *job;    /* newest answer; owned */
    json_t *rows;   /* that came with it */
    json_t *rigs;   /* the newest list */
    uint64_t after; /* id of the last row seen */
    bool began;     /* the first answer was taken */
    bool all_rows;  /* each is wanted, not a thinned series */
    struct watch_view view;
    struct screen screen;
    struct tensorboard events;
};

/* ---- asking ---- */

static enum emac_status ask(struct watch *w, const char *what, json_t **out)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "/v1/jobs/%.100s%s", w->id, what);
    return cli_call(w->c, "GET", path, NULL, false, out);
}

static enum emac_status row_take(struct watch *w, json_t *row)
{
    char name[WATCH_TEXT_MAX];
    watch_text(name, cli_str(row, "name"));
    uint64_t step = (uint64_t)cli_num(row, "step");
    double value = cli_num(row, "value");
    enum emac_status st = series_add(&w->view.series, name, step, value, &w->c->err);
    if (st == EMAC_OK)
        st = tensorboard_add(&w->events, name, step, value, (uint64_t)cli_num(row, "at_ms"),
                             &w->c->err);
    return st;
}

/* One page of rows; *count tells how many. */
static enum emac_status page_take(struct watch *w, size_t *count)
{
    char what[64];
    json_t *reply = NULL, *row;
    size_t i;
    if (w->began || w->all_rows)
        snprintf(what, sizeof what, "/metrics?after=%llu", (unsigned long long)w->after);
    else
        snprintf(what, sizeof what, "/metrics");
    enum emac_status st = ask(w, what, &reply);
    if (st != EMAC_OK)
        return st;
    json_t *list = json_object_get(reply, "metrics");
    *count = json_array_size(list);
    json_array_foreach(list, i, row)
    {
        if (st == EMAC_OK)
            st = row_take(w, row);
    }
    json_array_extend(w->rows, list);
    w->after = (uint64_t)cli_num(reply, "last");
    w->began = true;
    json_decref(reply);
    return st;
}

static enum emac_status rows_take(struct watch *w)
{
    size_t count = 0;
    enum emac_status st;
    json_array_clear(w->rows);
    do {
        st = page_take(w, &count);
    } while (st == EMAC_OK && w->all_rows && count > 0);
    return st == EMAC_OK ? tensorboard_flush(&w->events, &w->c->err) : st;
}

/* The job is asked first: when it says that it has ended, all its rows are there. */
static enum emac_status watch_ask(struct watch *w)
{
    json_t *job = NULL, *rigs = NULL;
    enum emac_status st = ask(w, "", &job);
    if (st == EMAC_OK)
        st = rows_take(w);
    if (st == EMAC_OK)
        st = ask(w, "/rigs", &rigs);
    if (st != EMAC_OK) {
        json_decref(job);
        return st;
    }
    json_decref(w->job);
    json_decref(w->rigs);
    w->job = job;
    w->rigs = json_incref(json_object_get(rigs, "rigs"));
    json_decref(rigs);
    return EMAC_OK;
}

/* ---- showing ---- */

static void rigs_fill(struct watch_view *v, json_t *rigs)
{
    json_t *rig;
    size_t i;
    v->rig_count = 0;
    json_array_foreach(rigs, i, rig)
    {
        if (!json_is_true(json_object_get(rig, "live")) || v->rig_count == WATCH_RIGS_MAX)
            continue;
        struct watch_rig *r = &v->rig[v->rig_count++];
        watch_text(r->name, cli_str(rig, "name"));
        r->busy = cli_num(rig, "busy");
    }
}

static double number_or(json_t *o, const char *key, double usual)
{
    json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : usual;
}

static void view_fill(struct watch *w)
{
    struct watch_view *v = &w->view;
    json_t *j = w->job;
    char rate[WATCH_TEXT_MAX], state[WATCH_TEXT_MAX];
    uint64_t now = w->c->os->wall_ms(w->c->os);
    double ended = number_or(j, "ended_ms", (double)now);
    v->unit = strcmp(cli_str(j, "unit"), "samples") == 0 ? "samples" : "tokens";
    snprintf(rate, sizeof rate, "%s_per_second", v->unit);
    snprintf(state, sizeof state, "%.60s, %.60s", cli_str(j, "state"), cli_str(j, "phase"));
    watch_text(v->name, cli_str(j, "name"));
    watch_text(v->id, cli_str(j, "id"));
    watch_text(v->state, state);
    watch_text(v->note, cli_str(j, "reason"));
    v->step = (uint64_t)cli_num(j, "step");
    v->steps = (uint64_t)cli_num(j, "steps");
    v->bits_per_nat = number_or(j, "bits_per_nat", 0);
    v->units = (uint64_t)cli_num(j, v->unit);
    v->units_per_second = number_or(j, rate, -1);
    v->elapsed_s = (ended - cli_num(j, "created_ms")) / 1000;
    v->eta_s = cli_ended(cli_str(j, "state")) ? 0 : number_or(j, "eta_seconds", -1);
    v->on_network = true;
    v->bytes_moved = (uint64_t)cli_num(j, "bytes_moved");
    v->spent_units = (int64_t)strtoll(cli_str(j, "spent_units"), NULL, 10);
    v->escrow_units = (int64_t)strtoll(cli_str(j, "escrow_units"), NULL, 10);
    rigs_fill(v, w->rigs);
}

static json_t *update_json(const struct watch *w)
{
    static const char *const COPIED[] = {"id",    "state", "phase",       "step",
                                         "steps", "loss",  "eta_seconds", "spent_units"};
    json_t *o = json_object();
    for (size_t i = 0; i < EMAC_COUNT(COPIED); i++)
        json_object_set(o, COPIED[i], json_object_get(w->job, COPIED[i]));
    json_object_set(o, "rigs", w->rigs);
    json_object_set(o, "metrics", w->rows);
    return o;
}

static enum emac_status picture_draw(struct watch *w)
{
    struct watch_size size = screen_size(&w->screen);
    struct emac_buf picture;
    emac_buf_init(&picture, PICTURE_MAX);
    enum emac_status st = watch_render(&w->view, &size, &picture, &w->c->err);
    if (st == EMAC_OK)
        screen_draw(&w->screen, &picture);
    emac_buf_release(&picture);
    return st;
}

static enum emac_status watch_show(struct watch *w)
{
    struct cli *c = w->c;
    view_fill(w);
    if (c->json)
        cli_update(c, update_json(w));
    else if (w->screen.live && !c->quiet)
        return picture_draw(w);
    else
        job_show_progress(c, w->job);
    return EMAC_OK;
}

/* What stays when the picture is gone. */
static enum emac_status last_words(struct watch *w)
{
    struct watch_size size = screen_size(&w->screen);
    struct emac_buf curve;
    size.height = CURVE_HEIGHT;
    emac_buf_init(&curve, PICTURE_MAX);
    enum emac_status st = watch_curve(&w->view.series, &size, &curve, &w->c->err);
    if (st == EMAC_OK)
        cli_say(w->c, "%s", emac_buf_str(&curve));
    emac_buf_release(&curve);
    job_show_lines(w->c, w->job);
    return st;
}

/* ---- the whole ---- */

/* One round; a coordinator that is away for a while is waited for. */
static enum emac_status watch_turn(struct watch *w)
{
    enum emac_status st = watch_ask(w);
    if (st == EMAC_OK)
        return watch_show(w);
    if (!emac_status_retryable(st) || w->job == NULL)
        return st;
    watch_text(w->view.note, w->c->err.text);
    return w->screen.live && !w->c->json && !w->c->quiet ? picture_draw(w) : EMAC_OK;
}

static enum emac_status watch_loop(struct watch *w)
{
    enum emac_status st;
    while ((st = watch_turn(w)) == EMAC_OK && !cli_ended(cli_str(w->job, "state"))) {
        if (os_stop_requested())
            return emac_fail(&w->c->err, EMAC_CANCELLED,
                             "stopped watching; the job goes on: see 'emac job show %s'", w->id);
        w->c->os->sleep_ms(w->c->os, POLL_MS);
    }
    return st;
}

/* The job's own time names the file of its events. */
static enum emac_status events_open(struct watch *w, const char *dir)
{
    char run[WATCH_TEXT_MAX];
    json_t *job = NULL;
    enum emac_status st = ask(w, "", &job);
    if (st != EMAC_OK)
        return st;
    snprintf(run, sizeof run, "%.60s", cli_str(job, "id"));
    if (run[0] == 0 || run[strspn(run, ID_CHARACTERS)] != 0)
        st = emac_fail(&w->c->err, EMAC_CORRUPT, "the coordinator calls the job '%s'", run);
    else
        st = tensorboard_open(&w->events, w->c->os, dir, run, (uint64_t)cli_num(job, "created_ms"),
                              &w->c->err);
    json_decref(job);
    return st;
}

enum emac_status job_watch(struct cli *c, const char *id, const char *tensorboard)
{
    struct watch *w;
    enum emac_status st = emac_alloc(&w, 1, sizeof *w, &c->err);
    if (st != EMAC_OK)
        return st;
    w->c = c;
    w->id = id;
    w->rows = json_array();
    w->all_rows = tensorboard != NULL;
    screen_init(&w->screen);
    EMAC_TRY(st, events_open(w, tensorboard));
    st = watch_loop(w);
    screen_close(&w->screen);
    if (st != EMAC_OK)
        goto out;
    EMAC_TRY(st, last_words(w));
    st = job_judge(c, w->job);
    cli_result(c, json_incref(w->job));
out:
    tensorboard_release(&w->events);
    series_release(&w->view.series);
    json_decref(w->job);
    json_decref(w->rows);
    json_decref(w->rigs);
    free(w);
    return st;
}

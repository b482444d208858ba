#include "cli/sweep_local.h"

#include <stdlib.h>
#include <string.h>

#include "cli/data_sealed.h"
#include "node/local.h"
#include "os/process.h"

struct trial_run {
    struct cli *c;
    const struct job *job;
    struct sweep_row *row;
    uint32_t number;
    uint32_t until; /* the round of the rung to stop at; 0: none */
    bool begun, ended, stopped;
    struct plot_point beyond; /* what it did past the rung; x 0: nothing */
    double loss;              /* its last held-out loss; < 0: failed */
    char model[CID_TEXT_MAX];
    enum emac_status st; /* of what is kept for the plot */
};

struct local_sweep {
    struct cli *c;
    struct store *store;
    struct device *dev;
    char dir[OS_PATH_MAX];
    const struct sweep *sweep;
    struct trial_run trial[SWEEP_TRIALS_MAX];
    uint32_t winner;
    bool won;
};

/* ---- one trial ---- */

static void point_add(struct trial_run *t, struct plot_point at)
{
    t->row->step = (uint64_t)at.x;
    if (t->st == EMAC_OK)
        t->st = series_add(&t->row->series, "loss", t->row->step, at.y, &t->c->err);
}

/* A rung's evaluation runs beside the step after it, which only a trial that goes on has done. */
static void progress(void *ctx, const struct local_progress *p)
{
    struct trial_run *t = ctx;
    const struct plot_point now = {p->step, p->loss};
    bool fresh = p->step > t->row->step && !p->resumed;
    if (t->until && p->score.step == t->until && p->score.loss >= 0) {
        t->loss = p->score.loss;
        t->until = 0;
        t->stopped = true; /* `cancelled` ends the run here */
        t->beyond = now;
    } else if (fresh) {
        point_add(t, now);
    }
    cli_progress(t->c, "trial %u (%s)  step %u/%u  loss %.4f", t->number, t->row->label, p->step,
                 p->steps, p->loss);
}

static bool cancelled(void *ctx)
{
    const struct trial_run *t = ctx;
    return os_stop_requested() || t->stopped || t->st != EMAC_OK;
}

/* Up to the rung, or to its end. A trial whose numbers leave the range has failed, which is a
 * result. */
static enum emac_status trial_run(struct local_sweep *l, struct trial_run *t, uint32_t until)
{
    struct local_result r = {0};
    struct sealed_ring keys = {0};
    enum emac_status st = data_job_keys(l->c, l->store, t->job, &keys);
    if (st != EMAC_OK) {
        sealed_ring_wipe(&keys);
        return st;
    }
    const struct local_config cfg = {.os = l->c->os,
                                     .store = l->store,
                                     .dev = l->dev,
                                     .job = t->job,
                                     .dir = l->dir,
                                     .restart = !t->begun,
                                     .keys = &keys,
                                     .progress = progress,
                                     .cancelled = cancelled,
                                     .ctx = t};
    if (t->beyond.x > 0)
        point_add(t, t->beyond);
    t->until = until;
    t->stopped = false;
    t->begun = true;
    st = local_train(&cfg, &r, &l->c->err);
    sealed_ring_wipe(&keys);
    if (st == EMAC_OK) {
        t->loss = r.heldout_loss;
        cid_text(t->model, &r.model);
    } else if (st == EMAC_NUMERIC) {
        t->loss = -1;
        st = EMAC_OK;
    } else if (st == EMAC_CANCELLED && t->stopped && !os_stop_requested()) {
        local_result_release(&r);
        l->c->err = (struct emac_err){0};
        return t->st;
    }
    t->ended = true;
    local_result_release(&r);
    return st == EMAC_OK ? t->st : st;
}

/* ---- rungs ---- */

static void state_set(struct trial_run *t, const char *state)
{
    emac_strcpy(t->row->state, sizeof t->row->state, state);
}

/* All that have not stopped, to the rung (index rung_count: to the end); their scores. */
static enum emac_status rung_run(struct local_sweep *l, uint32_t rung, struct sweep_score *score,
                                 uint32_t *count)
{
    const struct sweep *s = l->sweep;
    bool last = rung == s->rung_count;
    *count = 0;
    for (uint32_t i = 0; i < s->trial_count; i++) {
        struct trial_run *t = &l->trial[i];
        if (t->row->stopped_at)
            continue;
        enum emac_status st =
            t->ended ? EMAC_OK : trial_run(l, t, last ? 0 : sweep_round(t->job, s->rung[rung]));
        if (st != EMAC_OK)
            return st;
        score[(*count)++] = (struct sweep_score){i, t->loss};
        *(last ? &t->row->last : &t->row->score[rung]) = t->loss;
        if (t->ended)
            state_set(t, t->loss < 0 ? "failed" : "succeeded");
    }
    return EMAC_OK;
}

static enum emac_status rungs_run(struct local_sweep *l)
{
    struct sweep_score score[SWEEP_TRIALS_MAX];
    uint32_t count;
    enum emac_status st = EMAC_OK;
    for (uint32_t rung = 0; rung < l->sweep->rung_count && st == EMAC_OK; rung++) {
        st = rung_run(l, rung, score, &count);
        if (st != EMAC_OK)
            return st;
        uint32_t on = sweep_decide(score, count, l->sweep->keep);
        for (uint32_t i = on; i < count; i++) {
            struct trial_run *t = &l->trial[score[i].trial];
            t->row->stopped_at = l->sweep->rung[rung];
            if (!t->ended)
                state_set(t, "cancelled");
        }
    }
    if (st == EMAC_OK)
        st = rung_run(l, l->sweep->rung_count, score, &count);
    l->won = st == EMAC_OK && sweep_decide(score, count, l->sweep->keep) > 0;
    l->winner = l->won ? score[0].trial : 0;
    l->trial[l->winner].row->wins = l->won;
    return st;
}

/* ---- the result ---- */

static json_t *loss_json(double loss)
{
    return loss < 0 ? json_null() : json_real(loss);
}

static json_t *trial_json(const struct local_sweep *l, const struct trial_run *t)
{
    json_t *scores = json_array();
    for (uint32_t r = 0; r < l->sweep->rung_count; r++)
        if (t->row->stopped_at == 0 || l->sweep->rung[r] <= t->row->stopped_at)
            json_array_append_new(scores,
                                  json_pack("{s:I, s:o}", "step", (json_int_t)l->sweep->rung[r],
                                            "loss", loss_json(t->row->score[r])));
    return json_pack("{s:I, s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:o}", "trial",
                     (json_int_t)t->number, "label", t->row->label, "state", t->row->state, "step",
                     (json_int_t)t->row->step, "steps", (json_int_t)t->job->optimiser.steps,
                     "scores", scores, "heldout_loss", loss_json(t->row->last), "model",
                     t->model[0] ? json_string(t->model) : json_null(), "stopped_at",
                     t->row->stopped_at ? json_integer((json_int_t)t->row->stopped_at)
                                        : json_null());
}

static json_t *result_json(const struct local_sweep *l)
{
    json_t *trials = json_array(), *rungs = json_array();
    const struct trial_run *w = &l->trial[l->winner];
    for (uint32_t i = 0; i < l->sweep->trial_count; i++)
        json_array_append_new(trials, trial_json(l, &l->trial[i]));
    for (uint32_t r = 0; r < l->sweep->rung_count; r++)
        json_array_append_new(rungs, json_integer((json_int_t)l->sweep->rung[r]));
    return json_pack("{s:s, s:s, s:f, s:o, s:o, s:o}", "name", l->sweep->name, "state",
                     l->won ? "succeeded" : "failed", "keep", l->sweep->keep, "rungs", rungs,
                     "trials", trials, "model", l->won ? json_string(w->model) : json_null());
}

enum emac_status sweep_local(struct cli *c, struct store *s, const struct cli_device *device,
                             const struct sweep *sweep, const struct job *job,
                             struct sweep_view *view, json_t **result)
{
    struct local_sweep *l;
    enum emac_status st = emac_alloc(&l, 1, sizeof *l, &c->err);
    if (st != EMAC_OK)
        return st;
    l->c = c;
    l->store = s;
    l->sweep = sweep;
    for (uint32_t i = 0; i < sweep->trial_count; i++)
        l->trial[i] = (struct trial_run){
            .c = c, .job = &job[i], .row = &view->row[i], .number = i, .loss = -1};
    EMAC_TRY(st, cli_home_path(c, "train", l->dir, sizeof l->dir));
    EMAC_TRY(st, c->os->dir_make(c->os, l->dir, &c->err));
    EMAC_TRY(st, cli_device_open(c, device, &l->dev));
    EMAC_TRY(st, rungs_run(l));
    *result = result_json(l);
out:
    device_close(l->dev);
    free(l);
    return st;
}

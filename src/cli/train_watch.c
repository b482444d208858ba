#include "cli/train_watch.h"

#include <string.h>

#include "work/job.h"

#define DRAW_NS      UINT64_C(250000000) /* between two pictures */
#define PICTURE_MAX  (1u << 22)
#define CURVE_HEIGHT 14

enum emac_status train_watch_open(struct train_watch *w, struct cli *c, const struct job *job,
                                  bool live, const char *tensorboard)
{
    struct emac_buf object;
    struct cid cid;
    *w = (struct train_watch){.c = c, .began_ns = c->os->mono_ns(c->os)};
    screen_init(&w->screen);
    w->live = live && w->screen.live && !c->json && !c->quiet;
    w->view.unit = job_unit(job);
    w->view.bits_per_nat = job_on_records(job) ? 0 : job_bits_per_byte(job, 1);
    w->units_per_step = plan_units(job, 1);
    w->view.steps = plan_rounds(job);
    emac_strcpy(w->view.name, sizeof w->view.name, job->name);
    emac_buf_init(&object, JOB_BYTES_MAX);
    enum emac_status st = job_encode(job, &object, &cid, &c->err);
    emac_buf_release(&object);
    if (st != EMAC_OK)
        return st;
    job_id(w->view.id, &cid);
    return tensorboard_open(&w->events, c->os, tensorboard, w->view.id, c->os->wall_ms(c->os),
                            &c->err);
}

static void point_add(struct train_watch *w, const char *name, uint64_t step, double value)
{
    uint64_t now = w->c->os->wall_ms(w->c->os);
    if (w->st == EMAC_OK)
        w->st = series_add(&w->view.series, name, step, value, &w->err);
    if (w->st == EMAC_OK)
        w->st = tensorboard_add(&w->events, name, step, value, now, &w->err);
}

static void step_add(struct train_watch *w, const struct local_progress *p)
{
    char rate[SERIES_NAME_MAX];
    snprintf(rate, sizeof rate, "%s_per_second", w->view.unit);
    point_add(w, "loss", p->step, p->loss);
    point_add(w, "lr", p->step, p->lr);
    point_add(w, "grad_norm", p->step, p->grad_norm);
    point_add(w, rate, p->step, p->units_per_second);
    if (w->st == EMAC_OK)
        w->st = tensorboard_flush(&w->events, &w->err);
}

static void view_fill(struct train_watch *w, const struct local_progress *p)
{
    struct watch_view *v = &w->view;
    v->step = p->step;
    v->units_per_second = p->units_per_second;
    v->eta_s = p->eta_seconds > 0 ? p->eta_seconds : p->phase == PLAN_DONE ? 0 : -1;
    v->elapsed_s = (double)(w->c->os->mono_ns(w->c->os) - w->began_ns) * 1e-9;
    emac_strcpy(v->state, sizeof v->state,
                p->phase == PLAN_EVAL   ? "evaluating"
                : p->phase == PLAN_DONE ? "done"
                                        : "training");
}

static void picture_draw(struct train_watch *w, bool at_once)
{
    uint64_t now = w->c->os->mono_ns(w->c->os);
    if (!at_once && w->drawn_ns && now - w->drawn_ns < DRAW_NS)
        return;
    struct watch_size size = screen_size(&w->screen);
    struct emac_buf picture;
    emac_buf_init(&picture, PICTURE_MAX);
    w->drawn_ns = now;
    if (watch_render(&w->view, &size, &picture, NULL) == EMAC_OK)
        screen_draw(&w->screen, &picture);
    emac_buf_release(&picture);
}

static void line_show(struct train_watch *w, const struct local_progress *p)
{
    char eta[HUMAN_MAX];
    human_duration(eta, p->eta_seconds);
    if (p->resumed)
        cli_progress(w->c, "going on from step %u", p->step);
    else
        cli_progress(w->c, "step %u/%u  loss %.4f  %.0f %s/s  left %s%s", p->step, p->steps,
                     p->loss, p->units_per_second, w->view.unit, eta,
                     p->checkpoint ? "  kept" : "");
}

static void score_add(struct train_watch *w, const struct plan_score *s)
{
    if (s->loss < 0 || (w->scored && s->step == w->scored_step))
        return;
    w->scored = true;
    w->scored_step = s->step;
    point_add(w, "heldout_loss", s->step, s->loss);
    if (s->accuracy >= 0)
        point_add(w, "heldout_accuracy", s->step, s->accuracy);
}

void train_watch_progress(void *ctx, const struct local_progress *p)
{
    struct train_watch *w = ctx;
    uint64_t before = w->view.step;
    view_fill(w, p);
    if (p->resumed && w->st == EMAC_OK)
        w->st = tensorboard_restart(&w->events, w->c->os->wall_ms(w->c->os), p->step + 1, &w->err);
    if (p->step > before && !p->resumed) {
        w->units_per_second = p->units_per_second;
        w->view.units += (p->step - before) * w->units_per_step;
        step_add(w, p);
    }
    if (!p->resumed)
        score_add(w, &p->score);
    if (w->live)
        picture_draw(w, p->phase == PLAN_DONE);
    else
        line_show(w, p);
}

enum emac_status train_watch_finish(struct train_watch *w, const struct local_result *r)
{
    struct cli *c = w->c;
    struct watch_size size = screen_size(&w->screen);
    struct emac_buf curve;
    if (w->st == EMAC_OK)
        w->st = tensorboard_flush(&w->events, &w->err);
    if (w->st != EMAC_OK)
        return emac_fail(&c->err, w->st, "%s", w->err.text);
    screen_close(&w->screen);
    size.height = CURVE_HEIGHT;
    emac_buf_init(&curve, PICTURE_MAX);
    enum emac_status st = watch_curve(&w->view.series, &size, &curve, &c->err);
    if (st == EMAC_OK && series_find(&w->view.series, "loss"))
        cli_say(c, "%s", emac_buf_str(&curve));
    emac_buf_release(&curve);
    return st;
}

void train_watch_release(struct train_watch *w)
{
    screen_close(&w->screen);
    tensorboard_release(&w->events);
    series_release(&w->view.series);
}

#include "node/fit.h"
#include "node/local.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "node/local_state.h"
#include "work/base.h"
#include "work/bundle.h"
#include "work/evaluate.h"

#define LOCAL_WANTS_MAX 32 /* nodes of one worker's share: at most the height of the tree */

struct engine {
    const struct local_config *cfg;
    struct local_result *out;
    struct job_plan *plan;
    struct exec *exec;
    char path[OS_PATH_MAX];   /* of the state file; "" when there is none */
    struct local_state saved; /* what the state file says, or would say */
    bool has_saved;
    struct plan_state st;
    size_t held_count, held_cap; /* outputs that the state or the round's tasks may take */
    const struct store_value **held;
    struct local_progress last;
    uint64_t began_ns, train_ns; /* train_ns: when the first step of this run began */
};

static uint64_t now_ns(const struct engine *e)
{
    return e->cfg->os->mono_ns(e->cfg->os);
}

static bool is_cancelled(void *ctx)
{
    struct engine *e = ctx;
    return e->cfg->cancelled != NULL && e->cfg->cancelled(e->cfg->ctx);
}

/* ---- blocks and pins ---- */

static enum emac_status blocks_put(struct engine *e, const struct job_block *block, size_t count,
                                   struct emac_err *err)
{
    for (size_t i = 0; i < count; i++) {
        enum emac_status st =
            store_block_put_as(e->cfg->store, &block[i].cid, block[i].data, block[i].len, err);
        if (st != EMAC_OK)
            return st;
    }
    return EMAC_OK;
}

/* A collection may have taken the blocks of the plan, which nothing pins: they are at hand. The
 * corpus and the state are pinned; should they be missing, nobody can bring them here. */
static enum emac_status fetch(void *ctx, const struct cid *cid, bool to_memory,
                              struct emac_err *err)
{
    struct engine *e = ctx;
    char text[CID_TEXT_MAX];
    for (size_t i = 0; i < e->plan->block_count; i++) {
        if (cid_equal(&e->plan->block[i].cid, cid))
            return blocks_put(e, e->plan->block, e->plan->block_count, err);
    }
    cid_text(text, cid);
    return emac_fail(err, EMAC_NOT_FOUND, "'%s' is not in the store; add the file again", text);
}

static enum emac_status model_put(struct engine *e, struct cid *model, struct emac_err *err)
{
    struct job_block *block;
    size_t count;
    enum emac_status st =
        plan_model(e->plan, plan_model_params(&e->st), model, &block, &count, err);
    if (st != EMAC_OK)
        return st;
    st = blocks_put(e, block, count, err);
    job_blocks_free(block, count);
    return st == EMAC_OK ? store_pin(e->cfg->store, e->out->id, model, err) : st;
}

static bool has_value(const struct plan_value *value, uint32_t count, const struct cid *cid)
{
    for (uint32_t i = 0; i < count; i++)
        if (cid_equal(&value[i].cid, cid))
            return true;
    return false;
}

static enum emac_status unpin(struct engine *e, const struct cid *cid, struct emac_err *err)
{
    enum emac_status st = store_unpin(e->cfg->store, e->out->id, cid, err);
    return st == EMAC_NOT_FOUND ? EMAC_OK : st;
}

/* ---- keeping state ---- */

/* A checkpoint's model pins the parameters that are part of it. */
static enum emac_status values_pin(struct engine *e, bool checkpoint, struct emac_err *err)
{
    struct store *s = e->cfg->store;
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < e->st.value_count && st == EMAC_OK; i++) {
        const struct plan_value *v = &e->st.value[i];
        bool in_model = checkpoint && cid_equal(&v->cid, plan_model_params(&e->st));
        st = store_value_persist(s, &v->cid, err);
        if (st == EMAC_OK && !in_model)
            st = store_pin(s, e->out->id, &v->cid, err);
    }
    return st;
}

static enum emac_status older_unpin(struct engine *e, const struct plan_value *old, uint32_t count,
                                    struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < count && st == EMAC_OK; i++)
        if (!has_value(e->st.value, e->st.value_count, &old[i].cid))
            st = unpin(e, &old[i].cid, err);
    return st;
}

static void values_copy(struct plan_value *to, uint32_t *to_count, const struct plan_value *from,
                        uint32_t count)
{
    memcpy(to, from, count * sizeof *from);
    *to_count = count;
}

/* LOCAL-1: the blocks, then the pins, then the file that names them; then older pins go. */
static enum emac_status state_save(struct engine *e, bool checkpoint, struct emac_err *err)
{
    const struct cid *opt = plan_value(&e->st, "opt");
    const struct cid *params = plan_value(&e->st, "params");
    struct local_checkpoint c = {.step = e->st.step};
    struct plan_value old[PLAN_VALUES_MAX];
    uint32_t old_count;
    enum emac_status st;
    values_copy(old, &old_count, e->saved.value, e->saved.value_count);
    if (opt != NULL)
        c.opt = *opt;
    EMAC_TRY(st, values_pin(e, checkpoint, err));
    if (checkpoint) {
        EMAC_ASSERT(params != NULL); /* whatever the planner: a checkpoint is a model */
        c.params = *params;
        EMAC_TRY(st, model_put(e, &c.model, err));
        EMAC_TRY(st, local_state_add(&e->saved, &c, err));
    }
    e->saved.job = e->out->job;
    e->saved.step = e->st.step;
    e->saved.score = e->st.score;
    e->saved.best = e->st.best;
    e->saved.worse = e->st.worse;
    values_copy(e->saved.value, &e->saved.value_count, e->st.value, e->st.value_count);
    if (e->path[0] != '\0')
        EMAC_TRY(st, local_state_write(e->cfg->os, e->path, &e->saved, err));
    e->has_saved = true;
    st = older_unpin(e, old, old_count, err);
out:
    if (st != EMAC_OK)
        emac_wrap(err, "cannot keep step %u", e->st.step);
    return st;
}

static bool is_whole(struct engine *e, const struct cid *cid)
{
    struct cid missing;
    size_t count = 0;
    struct emac_err err;
    enum emac_status st = store_dag_missing(e->cfg->store, cid, &missing, 1, &count, &err);
    return st == EMAC_OK && count == 0;
}

/* Go on from the state file when it is of this job and all it names is there. Anything else is a
 * fresh start: the same bits come out, later. */
static enum emac_status resume(struct engine *e, struct emac_err *err)
{
    struct local_state s;
    struct emac_err why;
    if (e->path[0] == '\0' || e->cfg->restart)
        return EMAC_OK;
    enum emac_status st = local_state_read(e->cfg->os, e->path, &s, &why);
    if (st == EMAC_NOT_FOUND)
        return EMAC_OK;
    if (st == EMAC_IO || st == EMAC_NO_MEMORY)
        return emac_fail(err, st, "%s", why.text);
    if (st != EMAC_OK) {
        LOG_W("local", "starting over: '%s' cannot be read: %s", e->path, why.text);
        return EMAC_OK;
    }
    bool usable = cid_equal(&s.job, &e->out->job) && s.step <= plan_rounds(&e->plan->job);
    for (uint32_t i = 0; i < s.value_count && usable; i++)
        usable = is_whole(e, &s.value[i].cid);
    if (!usable) {
        LOG_W("local", "starting over: what '%s' names is not in the store any more", e->path);
        local_state_release(&s);
        return EMAC_OK;
    }
    e->saved = s;
    e->has_saved = true;
    e->st.step = s.step;
    e->st.score = s.score;
    e->st.best = s.best;
    e->st.worse = s.worse;
    values_copy(e->st.value, &e->st.value_count, s.value, s.value_count);
    e->out->resumed_at = s.step;
    e->last.resumed = true;
    return EMAC_OK;
}

/* ---- results of tasks ---- */

/* Let go of what is neither of the state nor of the round (LOCAL-2). */
static void held_sweep(struct engine *e)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < e->held_count; i++) {
        const struct store_value *v = e->held[i];
        bool needed = has_value(e->st.value, e->st.value_count, &v->cid);
        for (uint32_t r = 0; r < e->st.result_count && !needed; r++)
            for (uint32_t k = 0; k < e->st.result[r].output_count && !needed; k++)
                needed = cid_equal(&e->st.result[r].output[k].cid, &v->cid) &&
                         plan_needs(e->plan, &e->st, &e->st.result[r], &e->st.result[r].output[k]);
        if (needed)
            e->held[kept++] = v;
        else
            store_value_forget(e->cfg->store, v);
    }
    e->held_count = kept;
}

static enum emac_status held_add(struct engine *e, const struct store_value *v,
                                 struct emac_err *err)
{
    enum emac_status st = emac_grow(&e->held, e->held_count, &e->held_cap, sizeof *e->held, err);
    if (st != EMAC_OK)
        return st;
    e->held[e->held_count++] = store_value_hold(e->cfg->store, v);
    return EMAC_OK;
}

static const struct store_value *output_of(const struct exec_result *r, const char *name)
{
    for (uint32_t i = 0; i < r->output_count; i++) {
        if (strcmp(r->output[i].name, name) == 0)
            return r->value[i];
    }
    return NULL;
}

static void report(struct engine *e, bool checkpoint)
{
    struct local_progress *p = &e->last;
    const struct job *job = &e->plan->job;
    uint32_t done = e->st.step - e->out->resumed_at;
    p->phase = plan_phase_of(e->plan, &e->st);
    p->step = e->st.step;
    p->steps = plan_rounds(job);
    p->checkpoint = checkpoint;
    p->score = e->st.score;
    if (done > 0) {
        double seconds = (double)(now_ns(e) - e->train_ns) * 1e-9;
        double each = seconds / (double)done;
        /* Evaluation runs the forward half of a micro-batch: about a third of it. */
        double eval = (double)job_eval_batches(job) /
                      (3.0 * (double)job_round_batches(job) * (double)plan_steps(job, 1));
        p->units_per_second =
            (double)(plan_units(job, p->step) - plan_units(job, e->out->resumed_at)) / seconds;
        p->eta_seconds = each * ((double)(p->steps - p->step) + (e->st.scored ? 0 : eval));
    }
    if (e->cfg->progress != NULL)
        e->cfg->progress(e->cfg->ctx, p);
    p->resumed = false;
}

/* What a result's metrics tell of the training. */
static enum emac_status metrics_take(struct engine *e, const struct store_value *m, double *loss,
                                     struct emac_err *err)
{
    const uint8_t *data;
    enum emac_status st = store_value_bytes(e->cfg->store, m, &data, err);
    if (st == EMAC_OK)
        st = metrics_read(data, m->size, "loss", loss, err);
    return st == EMAC_OK ? metrics_read(data, m->size, "grad_norm", &e->last.grad_norm, err) : st;
}

static enum emac_status score_take(struct engine *e, const struct store_value *m,
                                   struct plan_result *r, struct emac_err *err)
{
    const uint8_t *data;
    enum emac_status st = store_value_bytes(e->cfg->store, m, &data, err);
    if (st == EMAC_OK)
        st = metrics_read(data, m->size, "loss", &r->loss, err);
    if (st == EMAC_OK && job_on_records(&e->plan->job))
        st = metrics_read(data, m->size, "accuracy", &r->accuracy, err);
    return st;
}

static enum emac_status result_take(struct engine *e, const struct plan_want *w,
                                    const struct exec_result *r, struct emac_err *err)
{
    const struct store_value *metrics = output_of(r, "metrics");
    struct plan_result result = {.kind = w->kind,
                                 .range = w->range,
                                 .loss = -1,
                                 .accuracy = -1,
                                 .output_count = r->output_count};
    enum emac_status st = EMAC_OK;
    emac_strcpy(result.slot, sizeof result.slot, w->slot);
    memcpy(result.output, r->output, r->output_count * sizeof r->output[0]);
    for (uint32_t i = 0; i < r->output_count && st == EMAC_OK; i++)
        st = held_add(e, r->value[i], err);
    if (st == EMAC_OK && metrics != NULL)
        st = w->kind == TASK_SCORE ? score_take(e, metrics, &result, err)
                                   : metrics_take(e, metrics, &result.loss, err);
    return st == EMAC_OK ? plan_take(&e->st, &result, err) : st;
}

/* Did the evaluation after training find that its parameters are the best? */
static bool is_new_best(const struct engine *e)
{
    return e->plan->job.keep == KEEP_BEST && e->st.best.step == e->st.step;
}

/* The results led to the next round. */
static enum emac_status turned(struct engine *e, enum plan_phase was, struct emac_err *err)
{
    const struct job *job = &e->plan->job;
    bool checkpoint = false;
    enum emac_status st = EMAC_OK;
    held_sweep(e);
    if (was == PLAN_TRAIN) {
        e->last.loss = e->out->loss = e->st.loss;
        e->last.lr = optimiser_lr(&job->optimiser, plan_steps(job, e->st.step) - 1);
        e->out->units += plan_units(job, e->st.step) - plan_units(job, e->st.step - 1);
        checkpoint = plan_is_checkpoint(e->plan, &e->st);
    }
    if (was == PLAN_EVAL)
        checkpoint = is_new_best(e);
    if (job->kind == JOB_EVALUATE)
        e->out->units = plan_units(job, 1);
    if (checkpoint)
        st = state_save(e, true, err);
    if (st == EMAC_OK)
        report(e, checkpoint);
    return st;
}

static enum emac_status take_result(struct engine *e, const struct plan_want *w,
                                    const struct exec_result *r, bool *moved, struct emac_err *err)
{
    enum plan_phase was = plan_phase_of(e->plan, &e->st);
    e->out->exec_ns += r->total_ns;
    e->out->bus_written += r->bus_written;
    e->out->bus_read += r->bus_read;
    e->out->compute_ns += r->compute_ns;
    enum emac_status st = result_take(e, w, r, err);
    *moved = st == EMAC_OK && plan_turn(e->plan, &e->st);
    return *moved ? turned(e, was, err) : st;
}

/* exec_result_release would leave the values to the store's cache; what nobody holds now is done.
 */
static void result_forget(struct engine *e, struct exec_result *r)
{
    for (uint32_t i = 0; i < r->output_count; i++)
        store_value_forget(e->cfg->store, r->value[i]);
    r->output_count = 0;
}

/* Nobody can have lied here. */
static const char DIVERGED[] = "training diverged, a smaller recipe.lr may help: ";

static enum emac_status run_wants(struct engine *e, struct plan_want *want, uint32_t count,
                                  struct emac_err *err)
{
    bool moved = false, trains = e->plan->job.kind == JOB_TRAIN;
    for (uint32_t i = 0; i < count && !moved; i++) {
        struct exec_result r;
        if (is_cancelled(e))
            return emac_fail(err, EMAC_CANCELLED, "asked to stop");
        enum emac_status st = exec_run(e->exec, &want[i].task, &r, err);
        if (st != EMAC_OK)
            return emac_wrap(err, "%stask %s", st == EMAC_NUMERIC && trains ? DIVERGED : "",
                             want[i].slot);
        st = take_result(e, &want[i], &r, &moved, err);
        result_forget(e, &r);
        if (st != EMAC_OK)
            return st;
    }
    return EMAC_OK;
}

static enum emac_status loop(struct engine *e, struct emac_err *err)
{
    static const double SPEED = 1;
    static const struct tree_crew ALONE = {.count = 1, .speed = &SPEED};
    e->train_ns = now_ns(e);
    while (plan_phase_of(e->plan, &e->st) != PLAN_DONE) {
        struct plan_want want[LOCAL_WANTS_MAX];
        uint32_t count;
        enum emac_status st =
            plan_next(e->plan, &e->st, NULL, 0, &ALONE, want, LOCAL_WANTS_MAX, &count, err);
        if (st != EMAC_OK)
            return st;
        EMAC_ASSERT(count > 0);
        st = run_wants(e, want, count, err);
        bool was_init = want[0].kind == TASK_INIT;
        plan_wants_release(want, count);
        if (st != EMAC_OK)
            return st;
        if (was_init)
            e->train_ns = now_ns(e);
    }
    return EMAC_OK;
}

/* ---- begin and end ---- */

static enum emac_status checkpoints_check(const struct job *job, struct emac_err *err)
{
    uint32_t steps = plan_steps(job, plan_rounds(job)), kept;
    if (job->kind == JOB_EVALUATE)
        return EMAC_OK;
    kept = steps / job->checkpoint_every;
    if (job->keep == KEEP_BEST)
        kept += steps / job->eval_every;
    if (kept < LOCAL_CHECKPOINTS_MAX)
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID,
                     "recipe.checkpoint_every %u makes more than %d checkpoints; raise it",
                     job->checkpoint_every, LOCAL_CHECKPOINTS_MAX);
}

static enum emac_status engine_open(struct engine *e, struct emac_err *err)
{
    const struct local_config *cfg = e->cfg;
    const struct exec_config xc = {.os = cfg->os,
                                   .store = cfg->store,
                                   .dev = cfg->dev,
                                   .memory_max = cfg->memory_max,
                                   .values = cfg->values,
                                   .fetch = fetch,
                                   .fetch_ctx = e,
                                   .cancelled = is_cancelled,
                                   .cancelled_ctx = e};
    struct emac_buf buf;
    enum emac_status st;
    emac_buf_init(&buf, JOB_BYTES_MAX);
    plan_state_init(&e->st);
    EMAC_TRY(st, job_encode(cfg->job, &buf, &e->out->job, err));
    job_id(e->out->id, &e->out->job);
    EMAC_TRY(st, job_plan_new(cfg->job, cfg->store, &e->plan, err));
    EMAC_TRY(st, checkpoints_check(cfg->job, err));
    EMAC_TRY(st, blocks_put(e, e->plan->block, e->plan->block_count, err));
    EMAC_TRY(st, exec_new(&xc, &e->exec, err));
    if (cfg->keys != NULL)
        EMAC_TRY(st, exec_keys_add(e->exec, cfg->keys, err));
    EMAC_TRY(st, fit_check(e->exec, cfg->store, e->plan, err));
    EMAC_TRY(st, store_pin(cfg->store, e->out->id, &cfg->job->data, err));
    if (job_has_base(cfg->job))
        EMAC_TRY(st, store_pin(cfg->store, e->out->id, &cfg->job->base, err));
    if (cfg->dir != NULL) {
        int n = snprintf(e->path, sizeof e->path, "%s/%s.state", cfg->dir, e->out->id);
        if (n < 0 || (size_t)n >= sizeof e->path) {
            st = emac_fail(err, EMAC_INVALID, "the path '%s' is too long", cfg->dir);
            goto out;
        }
        EMAC_TRY(st, cfg->os->dir_make(cfg->os, cfg->dir, err));
    }
    st = resume(e, err);
out:
    emac_buf_release(&buf);
    return st;
}

/* Asked to stop: keep the step reached, unless it is kept already. */
static enum emac_status stop(struct engine *e, struct emac_err *err)
{
    if (e->st.value_count == 0)
        return emac_fail(err, EMAC_CANCELLED, "stopped before the first step; nothing was kept");
    if (!e->has_saved || e->saved.step != e->st.step) {
        enum emac_status st = state_save(e, false, err);
        if (st != EMAC_OK)
            return st;
    }
    return emac_fail(err, EMAC_CANCELLED, "stopped after step %u of %u; %s", e->st.step,
                     plan_rounds(&e->plan->job),
                     e->path[0] != '\0' ? "the same command goes on from there"
                                        : "it will start over, for no state file was asked for");
}

/* The result of an evaluation lies in the store, pinned. */
static enum emac_status evaluation_put(struct engine *e, struct emac_err *err)
{
    const struct plan_score *score = plan_model_score(e->plan, &e->st);
    struct cid *cid = &e->out->evaluation;
    struct evaluation result;
    struct emac_buf block;
    enum emac_status st;
    emac_buf_init(&block, EVALUATION_BYTES_MAX);
    evaluation_of(&e->plan->job, score->loss, score->accuracy, &result);
    EMAC_TRY(st, evaluation_encode(&result, &block, cid, err));
    EMAC_TRY(st, store_block_put_as(e->cfg->store, cid, block.data, block.len, err));
    st = store_pin(e->cfg->store, e->out->id, cid, err);
out:
    emac_buf_release(&block);
    return st;
}

/* The last step always is a checkpoint. */
static void model_finish(struct engine *e)
{
    struct local_result *out = e->out;
    out->params = *plan_model_params(&e->st);
    out->checkpoint = e->saved.checkpoint;
    out->checkpoint_count = e->saved.count;
    e->saved.checkpoint = NULL;
    e->saved.count = 0;
    EMAC_ASSERT(out->checkpoint_count > 0);
    out->model = out->checkpoint[out->checkpoint_count - 1].model;
    out->opt = out->checkpoint[out->checkpoint_count - 1].opt;
}

static enum emac_status finish(struct engine *e, struct emac_err *err)
{
    struct local_result *out = e->out;
    const struct plan_score *score = plan_model_score(e->plan, &e->st);
    out->steps = e->st.step;
    out->has_heldout = e->st.scored;
    out->has_accuracy = score->accuracy >= 0;
    out->heldout_loss = score->loss;
    out->accuracy = score->accuracy;
    if (!job_on_records(&e->plan->job))
        out->heldout_bits_per_byte = job_bits_per_byte(&e->plan->job, score->loss);
    if (e->plan->job.kind == JOB_EVALUATE)
        return evaluation_put(e, err);
    model_finish(e);
    return EMAC_OK;
}

static void engine_release(struct engine *e)
{
    e->st.value_count = e->st.result_count = 0;
    held_sweep(e);
    free(e->held);
    plan_state_release(&e->st);
    exec_free(e->exec);
    job_plan_free(e->plan);
    local_state_release(&e->saved);
}

enum emac_status local_train(const struct local_config *cfg, struct local_result *out,
                             struct emac_err *err)
{
    struct engine *e;
    struct emac_err ignored;
    if (err == NULL)
        err = &ignored; /* what is called adds to the sentence, so there must be one */
    *out = (struct local_result){0};
    enum emac_status st = emac_alloc(&e, 1, sizeof *e, err);
    if (st != EMAC_OK)
        return st;
    e->cfg = cfg;
    e->out = out;
    e->began_ns = now_ns(e);
    EMAC_TRY(st, engine_open(e, err));
    if (e->last.resumed)
        report(e, false);
    st = loop(e, err);
    if (st == EMAC_CANCELLED)
        st = stop(e, err);
    if (st == EMAC_OK) {
        EMAC_TRY(st, finish(e, err));
        st = unpin(e, &cfg->job->data, err);
        if (st == EMAC_OK && job_has_base(cfg->job))
            st = unpin(e, &cfg->job->base, err);
    }
    out->wall_ns = now_ns(e) - e->began_ns;
out:
    engine_release(e);
    free(e);
    return st;
}

void local_result_release(struct local_result *r)
{
    free(r->checkpoint);
    *r = (struct local_result){0};
}

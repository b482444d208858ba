#include "work/sweep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "codec/dagcbor.h"
#include "work/planner.h"

#define KEEP_SLACK  1e-9 /* 10 * 0.3 is meant to be 3 */
#define FIELD_DEPTH 4
#define VALUE_TEXT  80

/* ---- reading ---- */

static enum emac_status known_only(json_t *root, struct emac_err *err)
{
    static const char *const KNOWN[] = {"kind", "name", "job", "file", "over", "rungs", "keep"};
    const char *key;
    json_t *v;
    json_object_foreach(root, key, v)
    {
        bool known = false;
        for (size_t i = 0; i < EMAC_COUNT(KNOWN); i++)
            known = known || strcmp(key, KNOWN[i]) == 0;
        if (!known)
            return emac_fail(err, EMAC_INVALID,
                             "unknown field '%.40s': a sweep has kind, name, job or file, over, "
                             "rungs and keep",
                             key);
    }
    if (json_object_get(root, "job") != NULL && json_object_get(root, "file") != NULL)
        return emac_fail(err, EMAC_INVALID, "give 'job' or 'file', not both");
    return EMAC_OK;
}

static enum emac_status read_name(struct sweep *out, json_t *root, struct emac_err *err)
{
    static const char LETTERS[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
    const char *name = json_string_value(json_object_get(root, "name"));
    if (name == NULL || name[0] == 0 || name[strspn(name, LETTERS)] != 0 ||
        !emac_strcpy(out->name, sizeof out->name, name))
        return emac_fail(err, EMAC_INVALID, "name must be 1 to %d of a-z 0-9 -", SWEEP_NAME_MAX);
    return EMAC_OK;
}

static enum emac_status read_rungs(struct sweep *out, json_t *list, struct emac_err *err)
{
    size_t n = json_array_size(list);
    if (n == 0 || n > SWEEP_RUNGS_MAX)
        return emac_fail(err, EMAC_INVALID, "rungs must be a list of 1 to %d numbers of steps",
                         SWEEP_RUNGS_MAX);
    for (size_t i = 0; i < n; i++) {
        json_int_t step = json_integer_value(json_array_get(list, i));
        json_int_t least = i > 0 ? (json_int_t)out->rung[i - 1] + 1 : 1;
        if (step < least || step > JOB_STEPS_MAX)
            return emac_fail(err, EMAC_INVALID,
                             "rungs must rise, each a number of steps of 1 to %u", JOB_STEPS_MAX);
        out->rung[out->rung_count++] = (uint32_t)step;
    }
    return EMAC_OK;
}

enum emac_status sweep_read_head(struct sweep *out, json_t *root, struct emac_err *err)
{
    *out = (struct sweep){.keep = SWEEP_KEEP_USUAL};
    enum emac_status st = read_name(out, root, err);
    if (st == EMAC_OK)
        st = read_rungs(out, json_object_get(root, "rungs"), err);
    if (st != EMAC_OK)
        return st;
    json_t *keep = json_object_get(root, "keep");
    if (keep != NULL)
        out->keep = json_number_value(keep);
    if (!(out->keep > 0 && out->keep < 1))
        return emac_fail(err, EMAC_INVALID,
                         "keep must be a share of more than 0 and less than 1, like 0.5");
    return EMAC_OK;
}

/* ---- trials ---- */

/* The map that holds the field `path` ("recipe.lr"), made where it is missing; *key is its name
 * there. NULL when the path leads through something that is no map. */
static json_t *parent_of(json_t *job, const char *path, char key[SWEEP_LABEL_MAX])
{
    json_t *map = job;
    const char *at = path, *dot;
    for (int depth = 0; (dot = strchr(at, '.')) != NULL && depth < FIELD_DEPTH; depth++) {
        json_t *inner = json_object_getn(map, at, (size_t)(dot - at));
        if (inner == NULL) {
            inner = json_object();
            if (json_object_setn_new(map, at, (size_t)(dot - at), inner) != 0)
                return NULL; /* `map` is no map; `inner` is gone */
        }
        map = inner;
        at = dot + 1;
    }
    bool fits = emac_strcpy(key, SWEEP_LABEL_MAX, at);
    return fits && *at && strchr(at, '.') == NULL && json_is_object(map) ? map : NULL;
}

static void label_add(struct sweep_trial *t, const char *path, json_t *value)
{
    size_t n = strlen(t->label);
    char *text = json_is_string(value)
                     ? strdup(json_string_value(value))
                     : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
    snprintf(t->label + n, sizeof t->label - n, "%s%.60s=%.*s", n ? " " : "", path, VALUE_TEXT,
             text ? text : "?");
    free(text);
    /* It is cut by bytes, so only ASCII may stay. */
    for (char *c = t->label + n; *c; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
}

static enum emac_status field_set(struct sweep_trial *t, const char *path, json_t *value,
                                  struct emac_err *err)
{
    char key[SWEEP_LABEL_MAX];
    json_t *map = parent_of(t->job, path, key);
    if (map == NULL || json_is_object(value) || json_is_null(value))
        return emac_fail(err, EMAC_INVALID,
                         "over: '%.60s' must be the path of a field of the job, with its values",
                         path);
    if (json_object_set(map, key, value) != 0)
        return emac_fail(err, EMAC_NO_MEMORY, "no memory for the trials");
    label_add(t, path, value);
    return EMAC_OK;
}

static uint32_t common_divisor(const struct sweep *s)
{
    uint32_t g = s->rung[0];
    for (uint32_t i = 1; i < s->rung_count; i++) {
        for (uint32_t b = s->rung[i], t; b != 0; b = t) {
            t = g % b;
            g = b;
        }
    }
    return g;
}

/* What the file leaves out. */
static void usual_set(const struct sweep *s, json_t *job, const char *key)
{
    json_t *recipe = json_object_get(job, "recipe");
    if (json_is_object(recipe) && json_object_get(recipe, key) == NULL)
        json_object_set_new(recipe, key, json_integer(common_divisor(s)));
}

static enum emac_status trial_begin(struct sweep *s, json_t *base, struct sweep_trial **out,
                                    struct emac_err *err)
{
    char name[SWEEP_NAME_MAX + 16];
    if (s->trial_count == SWEEP_TRIALS_MAX)
        return emac_fail(err, EMAC_INVALID, "over makes more than %d trials", SWEEP_TRIALS_MAX);
    struct sweep_trial *t = &s->trial[s->trial_count];
    t->job = json_deep_copy(base);
    if (t->job == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "no memory for the trials");
    snprintf(name, sizeof name, "%s-%02u", s->name, s->trial_count++);
    json_object_set_new(t->job, "name", json_string(name));
    usual_set(s, t->job, "eval_every");
    usual_set(s, t->job, "checkpoint_every");
    *out = t;
    return EMAC_OK;
}

static enum emac_status from_list(struct sweep *s, json_t *over, json_t *base, struct emac_err *err)
{
    json_t *one, *value;
    const char *path;
    size_t i;
    json_array_foreach(over, i, one)
    {
        struct sweep_trial *t;
        if (json_object_size(one) == 0)
            return emac_fail(err, EMAC_INVALID, "over: each trial of a list is a map of fields");
        enum emac_status st = trial_begin(s, base, &t, err);
        json_object_foreach(one, path, value)
        {
            if (st == EMAC_OK)
                st = field_set(t, path, value, err);
        }
        if (st != EMAC_OK)
            return st;
    }
    return EMAC_OK;
}

/* The trial of a number whose digits, the last changing fastest, choose the values. */
static enum emac_status from_number(struct sweep_trial *t, json_t *over, size_t number,
                                    size_t trials, struct emac_err *err)
{
    json_t *values;
    const char *path;
    json_object_foreach(over, path, values)
    {
        size_t n = json_array_size(values);
        trials /= n;
        enum emac_status st = field_set(t, path, json_array_get(values, number / trials % n), err);
        if (st != EMAC_OK)
            return st;
    }
    return EMAC_OK;
}

static enum emac_status from_grid(struct sweep *s, json_t *over, json_t *base, struct emac_err *err)
{
    json_t *values;
    const char *path;
    size_t trials = 1;
    json_object_foreach(over, path, values)
    {
        size_t n = json_array_size(values);
        if (n == 0)
            return emac_fail(err, EMAC_INVALID, "over: '%.60s' must have a list of values", path);
        if (n > SWEEP_TRIALS_MAX || (trials *= n) > SWEEP_TRIALS_MAX)
            return emac_fail(err, EMAC_INVALID, "over makes more than %d trials", SWEEP_TRIALS_MAX);
    }
    for (size_t i = 0; i < trials; i++) {
        struct sweep_trial *t;
        enum emac_status st = trial_begin(s, base, &t, err);
        if (st == EMAC_OK)
            st = from_number(t, over, i, trials, err);
        if (st != EMAC_OK)
            return st;
    }
    return EMAC_OK;
}

static enum emac_status all_differ(const struct sweep *s, struct emac_err *err)
{
    if (s->trial_count < 2)
        return emac_fail(err, EMAC_INVALID, "a sweep needs two trials or more: see 'over'");
    for (uint32_t i = 0; i < s->trial_count; i++)
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(s->trial[i].label, s->trial[k].label) == 0)
                return emac_fail(err, EMAC_INVALID, "over: trials %u and %u are the same: '%s'", k,
                                 i, s->trial[i].label);
    return EMAC_OK;
}

const char *sweep_file(json_t *root)
{
    return json_string_value(json_object_get(root, "file"));
}

enum emac_status sweep_from_json(struct sweep *out, json_t *root, json_t *base,
                                 struct emac_err *err)
{
    json_t *over = json_object_get(root, "over");
    enum emac_status st;
    EMAC_TRY(st, sweep_read_head(out, root, err));
    EMAC_TRY(st, known_only(root, err));
    if (base == NULL)
        base = json_object_get(root, "job");
    if (!json_is_object(base))
        st = emac_fail(err, EMAC_INVALID, "'job' must be a map, or 'file' name a job file");
    else if (json_is_array(over))
        st = from_list(out, over, base, err);
    else if (json_is_object(over))
        st = from_grid(out, over, base, err);
    else
        st = emac_fail(err, EMAC_INVALID,
                       "over must be a map of fields with lists of values, or a list of maps");
    if (st == EMAC_OK)
        st = all_differ(out, err);
out:
    return st;
}

void sweep_release(struct sweep *s)
{
    for (uint32_t i = 0; i < s->trial_count; i++)
        json_decref(s->trial[i].job);
    s->trial_count = 0;
}

/* ---- what trials must be ---- */

uint32_t sweep_round(const struct job *job, uint32_t steps)
{
    uint32_t low = 0, high = plan_rounds(job);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (plan_steps(job, middle) < steps)
            low = middle + 1;
        else
            high = middle;
    }
    return plan_steps(job, low) == steps ? low : 0;
}

enum emac_status sweep_check_trial(const struct sweep *s, const struct job *job,
                                   const struct job *first, struct emac_err *err)
{
    if (job_eval_batches(job) == 0)
        return emac_fail(err, EMAC_INVALID,
                         "'%s' has no held-out data to be judged by: see data.heldout and "
                         "recipe.eval_batches",
                         job->name);
    if (!cid_equal(&job->data, &first->data) || job->heldout != first->heldout)
        return emac_fail(err, EMAC_INVALID,
                         "'%s' is judged by other data than '%s': their losses do not compare",
                         job->name, first->name);
    for (uint32_t i = 0; i < s->rung_count; i++) {
        uint32_t step = s->rung[i];
        if (step >= job->optimiser.steps)
            return emac_fail(err, EMAC_INVALID,
                             "rungs: %u is not below the %u steps of '%s', whose last evaluation "
                             "decides anyway",
                             step, job->optimiser.steps, job->name);
        if (sweep_round(job, step) == 0)
            return emac_fail(err, EMAC_INVALID,
                             "rungs: no round of '%s' ends after %u steps: see local.inner_steps",
                             job->name, step);
        if (job->eval_every == 0 || step % job->eval_every != 0)
            return emac_fail(err, EMAC_INVALID,
                             "recipe.eval_every of '%s' is %u: it must divide the rung %u",
                             job->name, job->eval_every, step);
        if (step % job->checkpoint_every != 0)
            return emac_fail(err, EMAC_INVALID,
                             "recipe.checkpoint_every of '%s' is %u: it must divide the rung %u, "
                             "where a trial may have to wait",
                             job->name, job->checkpoint_every, step);
    }
    return EMAC_OK;
}

/* ---- its name ---- */

enum emac_status sweep_encode(const struct sweep *s, const char *owner, struct emac_buf *out,
                              struct cid *cid, struct emac_err *err)
{
    struct dagcbor_writer w;
    size_t at = out->len;
    dagcbor_writer_init(&w, out);
    dagcbor_map(&w, 7);
    dagcbor_key(&w, "jobs");
    dagcbor_list(&w, s->trial_count);
    for (uint32_t i = 0; i < s->trial_count; i++)
        dagcbor_cid(&w, &s->trial[i].cid);
    dagcbor_key(&w, "keep");
    dagcbor_f64(&w, s->keep);
    dagcbor_key(&w, "kind");
    dagcbor_str(&w, "sweep");
    dagcbor_key(&w, "name");
    dagcbor_str(&w, s->name);
    dagcbor_key(&w, "owner");
    dagcbor_str(&w, owner);
    dagcbor_key(&w, "rungs");
    dagcbor_list(&w, s->rung_count);
    for (uint32_t i = 0; i < s->rung_count; i++)
        dagcbor_u64(&w, s->rung[i]);
    dagcbor_key(&w, "labels");
    dagcbor_list(&w, s->trial_count);
    for (uint32_t i = 0; i < s->trial_count; i++)
        dagcbor_str(&w, s->trial[i].label);
    enum emac_status st = dagcbor_writer_end(&w, err);
    if (st == EMAC_OK)
        *cid = cid_of(CID_DAG_CBOR, out->data + at, out->len - at);
    return st;
}

void sweep_id(char out[SWEEP_ID_MAX], const struct cid *cid)
{
    char text[CID_TEXT_MAX];
    cid_text(text, cid);
    snprintf(out, SWEEP_ID_MAX, "sweep-%s", text + strlen(text) - 12);
}

/* ---- deciding ---- */

static int by_loss(const void *a, const void *b)
{
    const struct sweep_score *x = a, *y = b;
    bool x_failed = x->loss < 0, y_failed = y->loss < 0;
    if (x_failed != y_failed)
        return x_failed ? 1 : -1;
    if (!x_failed && x->loss != y->loss)
        return x->loss < y->loss ? -1 : 1;
    return x->trial < y->trial ? -1 : x->trial > y->trial;
}

uint32_t sweep_decide(struct sweep_score *score, uint32_t count, double keep)
{
    uint32_t sound = 0;
    if (count == 0)
        return 0;
    qsort(score, count, sizeof *score, by_loss);
    while (sound < count && score[sound].loss >= 0)
        sound++;
    uint32_t on = (uint32_t)((double)count * keep + KEEP_SLACK);
    on = on > 0 ? on : 1;
    return on < sound ? on : sound;
}

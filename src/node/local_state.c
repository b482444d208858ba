#include "node/local_state.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "codec/dagcbor.h"

#define STATE_BYTES_MAX (32u << 20)
#define STATE_ARENA_MAX (256u << 20)

void local_state_release(struct local_state *s)
{
    free(s->checkpoint);
    *s = (struct local_state){0};
}

enum emac_status local_state_add(struct local_state *s, const struct local_checkpoint *c,
                                 struct emac_err *err)
{
    if (s->count > 0 && s->checkpoint[s->count - 1].step == c->step) {
        s->checkpoint[s->count - 1] = *c;
        return EMAC_OK;
    }
    if (s->count == LOCAL_CHECKPOINTS_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "more than %d checkpoints; raise checkpoint_every",
                         LOCAL_CHECKPOINTS_MAX);
    enum emac_status st = emac_grow(&s->checkpoint, s->count, &s->cap, sizeof *s->checkpoint, err);
    if (st != EMAC_OK)
        return st;
    s->checkpoint[s->count++] = *c;
    return EMAC_OK;
}

static void score_write(struct dagcbor_writer *w, const struct plan_score *s)
{
    dagcbor_map(w, 3);
    dagcbor_key(w, "loss");
    dagcbor_f64(w, s->loss);
    dagcbor_key(w, "step");
    dagcbor_u64(w, s->step);
    dagcbor_key(w, "accuracy");
    dagcbor_f64(w, s->accuracy);
}

static void scores_write(struct dagcbor_writer *w, const struct local_state *s)
{
    dagcbor_key(w, "scores");
    dagcbor_list(w, 2);
    score_write(w, &s->score);
    score_write(w, &s->best);
}

enum emac_status local_state_write(struct os *os, const char *path, const struct local_state *s,
                                   struct emac_err *err)
{
    struct emac_buf buf;
    struct dagcbor_writer w;
    emac_buf_init(&buf, STATE_BYTES_MAX);
    dagcbor_writer_init(&w, &buf);
    bool scored = s->score.loss >= 0;
    dagcbor_map(&w, scored ? 6 : 4);
    dagcbor_key(&w, "job");
    dagcbor_cid(&w, &s->job);
    dagcbor_key(&w, "step");
    dagcbor_u64(&w, s->step);
    if (scored) {
        dagcbor_key(&w, "worse");
        dagcbor_u64(&w, s->worse);
        scores_write(&w, s);
    }
    dagcbor_key(&w, "values");
    dagcbor_list(&w, s->value_count);
    for (uint32_t i = 0; i < s->value_count; i++) {
        dagcbor_map(&w, 2);
        dagcbor_key(&w, "cid");
        dagcbor_cid(&w, &s->value[i].cid);
        dagcbor_key(&w, "name");
        dagcbor_str(&w, s->value[i].name);
    }
    dagcbor_key(&w, "checkpoints");
    dagcbor_list(&w, s->count);
    for (uint32_t i = 0; i < s->count; i++) {
        const struct local_checkpoint *c = &s->checkpoint[i];
        dagcbor_map(&w, cid_is_none(&c->opt) ? 3 : 4);
        if (!cid_is_none(&c->opt)) {
            dagcbor_key(&w, "opt");
            dagcbor_cid(&w, &c->opt);
        }
        dagcbor_key(&w, "step");
        dagcbor_u64(&w, c->step);
        dagcbor_key(&w, "model");
        dagcbor_cid(&w, &c->model);
        dagcbor_key(&w, "params");
        dagcbor_cid(&w, &c->params);
    }
    enum emac_status st = dagcbor_writer_end(&w, err);
    if (st == EMAC_OK)
        st = os->file_write(os, path, buf.data, buf.len, 0600, err);
    emac_buf_release(&buf);
    return st;
}

static enum emac_status checkpoint_read(struct local_state *s, const struct dagcbor_node *map,
                                        struct emac_err *err)
{
    static const char *const KEYS[] = {"opt", "step", "model", "params", NULL};
    struct local_checkpoint c = {0};
    uint64_t step;
    enum emac_status st;
    if (map->type != DAGCBOR_MAP)
        return emac_fail(err, EMAC_INVALID, "a checkpoint must be a map");
    EMAC_TRY(st, dagcbor_only(map, KEYS, err));
    if (dagcbor_find(map, "opt") != NULL)
        EMAC_TRY(st, dagcbor_get_cid(map, "opt", &c.opt, err));
    EMAC_TRY(st, dagcbor_get_cid(map, "model", &c.model, err));
    EMAC_TRY(st, dagcbor_get_cid(map, "params", &c.params, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "step", JOB_STEPS_MAX, &step, err));
    c.step = (uint32_t)step;
    st = local_state_add(s, &c, err);
out:
    return st;
}

static enum emac_status values_read(struct local_state *s, const struct dagcbor_node *list,
                                    struct emac_err *err)
{
    static const char *const KEYS[] = {"cid", "name", NULL};
    if (list->seq.count > PLAN_VALUES_MAX)
        return emac_fail(err, EMAC_INVALID, "a state has at most %d values", PLAN_VALUES_MAX);
    for (size_t i = 0; i < list->seq.count; i++) {
        const struct dagcbor_node *map = &list->seq.items[i];
        const char *name;
        struct plan_value *v = &s->value[i];
        enum emac_status st;
        if (map->type != DAGCBOR_MAP)
            return emac_fail(err, EMAC_INVALID, "a value of the state must be a map");
        if ((st = dagcbor_only(map, KEYS, err)) != EMAC_OK ||
            (st = dagcbor_get_cid(map, "cid", &v->cid, err)) != EMAC_OK ||
            (st = dagcbor_get_str(map, "name", &name, err)) != EMAC_OK)
            return st;
        if (!emac_strcpy(v->name, sizeof v->name, name))
            return emac_fail(err, EMAC_INVALID, "the name of a value is too long");
        if (i > 0 && strcmp(v[-1].name, v->name) >= 0)
            return emac_fail(err, EMAC_INVALID, "the values are not in order of their names");
    }
    s->value_count = (uint32_t)list->seq.count;
    return EMAC_OK;
}

static enum emac_status score_read(struct plan_score *s, const struct dagcbor_node *map,
                                   struct emac_err *err)
{
    static const char *const KEYS[] = {"loss", "step", "accuracy", NULL};
    uint64_t step;
    enum emac_status st;
    if (map->type != DAGCBOR_MAP)
        return emac_fail(err, EMAC_INVALID, "a score must be a map");
    EMAC_TRY(st, dagcbor_only(map, KEYS, err));
    EMAC_TRY(st, dagcbor_get_f64(map, "loss", &s->loss, err));
    EMAC_TRY(st, dagcbor_get_f64(map, "accuracy", &s->accuracy, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "step", JOB_STEPS_MAX, &step, err));
    s->step = (uint32_t)step;
out:
    return st;
}

static enum emac_status scores_read(struct local_state *s, const struct dagcbor_node *root,
                                    struct emac_err *err)
{
    const struct dagcbor_node *list;
    uint64_t worse;
    enum emac_status st;
    if (dagcbor_find(root, "scores") == NULL)
        return EMAC_OK;
    EMAC_TRY(st, dagcbor_get(root, "scores", DAGCBOR_LIST, &list, err));
    if (list->seq.count != 2)
        return emac_fail(err, EMAC_INVALID, "a state has two scores, not %zu", list->seq.count);
    EMAC_TRY(st, score_read(&s->score, &list->seq.items[0], err));
    EMAC_TRY(st, score_read(&s->best, &list->seq.items[1], err));
    EMAC_TRY(st, dagcbor_get_u64(root, "worse", JOB_STEPS_MAX, &worse, err));
    s->worse = (uint32_t)worse;
out:
    return st;
}

static enum emac_status state_parse(struct local_state *s, const struct dagcbor_node *root,
                                    struct emac_err *err)
{
    static const char *const KEYS[] = {"job",    "step",        "worse", "scores",
                                       "values", "checkpoints", NULL};
    const struct dagcbor_node *list, *values;
    uint64_t step;
    enum emac_status st;
    if (root->type != DAGCBOR_MAP)
        return emac_fail(err, EMAC_INVALID, "a saved state must be a map");
    EMAC_TRY(st, dagcbor_only(root, KEYS, err));
    EMAC_TRY(st, dagcbor_get_cid(root, "job", &s->job, err));
    EMAC_TRY(st, dagcbor_get(root, "values", DAGCBOR_LIST, &values, err));
    EMAC_TRY(st, values_read(s, values, err));
    EMAC_TRY(st, scores_read(s, root, err));
    EMAC_TRY(st, dagcbor_get_u64(root, "step", JOB_STEPS_MAX, &step, err));
    EMAC_TRY(st, dagcbor_get(root, "checkpoints", DAGCBOR_LIST, &list, err));
    s->step = (uint32_t)step;
    for (size_t i = 0; i < list->seq.count; i++)
        EMAC_TRY(st, checkpoint_read(s, &list->seq.items[i], err));
out:
    return st;
}

enum emac_status local_state_read(struct os *os, const char *path, struct local_state *out,
                                  struct emac_err *err)
{
    struct emac_buf buf;
    struct arena a;
    const struct dagcbor_node *root;
    enum emac_status st;
    *out = (struct local_state){.score = PLAN_NO_SCORE, .best = PLAN_NO_SCORE};
    emac_buf_init(&buf, STATE_BYTES_MAX);
    arena_init(&a, STATE_ARENA_MAX);
    EMAC_TRY(st, os->file_read(os, path, &buf, err));
    EMAC_TRY(st, dagcbor_parse(&a, buf.data, buf.len, &root, err));
    st = state_parse(out, root, err);
out:
    if (st != EMAC_OK)
        local_state_release(out);
    arena_release(&a);
    emac_buf_release(&buf);
    return st;
}

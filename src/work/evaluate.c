#include "work/evaluate.h"

#include <string.h>

#include "base/assert.h"
#include "codec/dagcbor.h"
#include "model/model_config.h"
#include "work/family.h"

#define KIND      "evaluation"
#define NUMERICS  1
#define ARENA_MAX (1u << 16)

bool evaluate_is(const json_t *root)
{
    const char *kind = json_string_value(json_object_get(root, "kind"));
    return kind != NULL && strcmp(kind, "evaluate") == 0;
}

/* ---- the model's directory ---- */

static enum emac_status directory_read(struct store *s, const struct cid *cid,
                                       struct evaluated *out, struct emac_err *err)
{
    enum model_file own = MODEL_WEIGHTS;
    enum emac_status st;
    *out = (struct evaluated){0};
    EMAC_TRY(st, model_tree_read(s, cid, &out->model, err));
    if (!model_tree_has(&out->model, MODEL_WEIGHTS) && model_tree_has(&out->model, MODEL_BASE)) {
        own = model_tree_has(&out->model, MODEL_ADAPTER) ? MODEL_ADAPTER : MODEL_HEAD;
        EMAC_TRY(st, model_tree_read(s, &out->model.file[MODEL_BASE], &out->base, err));
        if (!model_tree_has(&out->base, MODEL_WEIGHTS))
            return emac_fail(err, EMAC_INVALID,
                             "its base holds no 'model.safetensors': it must be a whole model");
    }
    if (!model_tree_has(&out->model, own))
        return emac_fail(err, EMAC_INVALID,
                         "the directory holds no '%s': it must be a model with its config.json and "
                         "model.safetensors, or an adapter or a head with its base",
                         model_file_name(own));
    out->weights = out->model.file[own];
    out->weights_size = out->model.link_size[own];
out:
    return st;
}

static bool has_base(const struct evaluated *e)
{
    return !cid_is_none(&e->base.dir);
}

/* An adapter has its base's, a head may have other classes. */
static enum emac_status config_read(struct store *s, const struct evaluated *e,
                                    struct model_config *out, struct emac_err *err)
{
    bool adapter = model_tree_has(&e->model, MODEL_ADAPTER) && has_base(e);
    return model_tree_config(s, adapter ? &e->base : &e->model, out, err);
}

/* ---- completing a job file ---- */

static json_t *section(json_t *root, const char *name)
{
    json_t *map = json_object_get(root, name);
    if (map == NULL) {
        map = json_object();
        json_object_set_new(root, name, map);
    }
    return json_is_object(map) ? map : NULL; /* what it is instead, job_from_json says */
}

static void usual_set(json_t *map, const char *key, json_t *value)
{
    if (map != NULL && json_object_get(map, key) == NULL)
        json_object_set(map, key, value);
    json_decref(value);
}

enum emac_status evaluate_complete(json_t *root, struct store *s, struct emac_err *err)
{
    const char *text = json_string_value(json_object_get(json_object_get(root, "model"), "cid"));
    struct evaluated e;
    struct model_config config;
    struct cid cid;
    enum emac_status st;
    if (text == NULL || cid_parse(&cid, text, NULL) != EMAC_OK)
        return EMAC_OK; /* job_from_json says what is wrong */
    EMAC_TRY(st, directory_read(s, &cid, &e, err));
    EMAC_TRY(st, config_read(s, &e, &config, err));
    usual_set(section(root, "model"), "architecture", json_string(config.architecture));
    if (!config.is_classifier)
        usual_set(section(root, "recipe"), "seq_len", json_integer(config.llama.max_positions));
out:
    return st == EMAC_OK ? st : emac_wrap(err, "model.cid");
}

/* ---- taking it ---- */

static enum emac_status text_fits(struct job *job, const struct model_config *c,
                                  struct emac_err *err)
{
    if (job->seq_len > c->llama.max_positions)
        return emac_fail(err, EMAC_INVALID,
                         "the model takes sequences of at most %u tokens and recipe.seq_len is %u: "
                         "take %u",
                         c->llama.max_positions, job->seq_len, c->llama.max_positions);
    job->model = c->llama;
    job->model.max_positions = job->seq_len;
    return job_vocab_check(job, err);
}

static enum emac_status records_fit(struct job *job, const struct model_config *c,
                                    struct emac_err *err)
{
    const struct classifier_config *d = &job->classifier, *m = &c->classifier;
    if (d->height != m->height || d->width != m->width || d->channels != m->channels)
        return emac_fail(err, EMAC_INVALID,
                         "the model takes records of [%u, %u, %u] and those of the data set are "
                         "[%u, %u, %u]: take the data set that it was trained on, or one like it",
                         m->height, m->width, m->channels, d->height, d->width, d->channels);
    if (d->classes != m->classes)
        return emac_fail(err, EMAC_INVALID, "the model tells %u classes and the data set has %u",
                         m->classes, d->classes);
    job->classifier = *m;
    return EMAC_OK;
}

static enum emac_status sizes_take(struct job *job, const struct model_config *c,
                                   struct emac_err *err)
{
    const char *said = job_family_name(job->architecture);
    enum emac_status st;
    if (strcmp(c->architecture, said) != 0)
        return emac_fail(err, EMAC_INVALID,
                         "the model is of architecture '%s' and model.architecture says '%s': "
                         "leave it out",
                         c->architecture, said);
    EMAC_TRY(st, c->is_classifier ? records_fit(job, c, err) : text_fits(job, c, err));
    st = job_family_of(job)->check(job, err);
out:
    return st;
}

/* What the file of the model's own weights is kept as is what the graphs take; a classifier's are
 * binary32. */
static enum emac_status storage_take(struct job *job, enum dtype storage, struct emac_err *err)
{
    if (!job_on_records(job))
        job->model.storage = storage;
    else if (storage != DTYPE_F32)
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "the weights of a classifier must be F32, these are BF16");
    return EMAC_OK;
}

static enum emac_status whole_take(struct job *job, struct store *s, const struct evaluated *e,
                                   const struct model_params *whole, struct emac_err *err)
{
    const struct tune all = {.kind = TUNE_FULL};
    struct st_index idx = {0};
    enum dtype storage = DTYPE_F32;
    enum emac_status st;
    job->tune = (struct tune){.kind = TUNE_SCRATCH};
    EMAC_TRY(st, model_tree_index(s, &e->weights, &idx, err));
    EMAC_TRY(st, tune_base_check(whole, &all, &idx, &storage, err));
    st = storage_take(job, storage, err);
out:
    st_index_release(&idx);
    return st;
}

static enum emac_status tune_read(struct job *job, struct store *s, const struct evaluated *e,
                                  const struct model_params *whole, const struct st_index *own,
                                  struct emac_err *err)
{
    struct emac_buf text;
    enum emac_status st;
    if (!model_tree_has(&e->model, MODEL_ADAPTER)) {
        job->tune =
            (struct tune){.kind = TUNE_HEAD, .layers = model_head_layers(whole, own->count)};
        return EMAC_OK;
    }
    emac_buf_init(&text, MODEL_TEXT_MAX);
    EMAC_TRY(st, model_tree_file(s, &e->model, MODEL_ADAPTER_CONFIG, &text, err));
    st = peft_config_read(&job->tune, emac_buf_slice(&text), err);
out:
    emac_buf_release(&text);
    return st;
}

/* An adapter or a head, on its base. */
static enum emac_status parts_take(struct job *job, struct store *s, const struct evaluated *e,
                                   const struct model_params *whole, struct emac_err *err)
{
    struct st_index own = {0}, base = {0};
    struct tuned tuned = {0};
    enum dtype storage = DTYPE_F32;
    enum emac_status st;
    EMAC_TRY(st, model_tree_index(s, &e->weights, &own, err));
    EMAC_TRY(st, model_tree_index(s, &e->base.file[MODEL_WEIGHTS], &base, err));
    EMAC_TRY(st, tune_read(job, s, e, whole, &own, err));
    EMAC_TRY(st, tune_base_check(whole, &job->tune, &base, &job->tune.storage, err));
    EMAC_TRY(st, tuned_init(&tuned, whole, &job->tune, err));
    EMAC_TRY(st, tune_trained_check(&tuned, &own, &storage, err));
    st = storage_take(job, storage, err);
out:
    tuned_release(&tuned);
    st_index_release(&own);
    st_index_release(&base);
    return st;
}

enum emac_status evaluate_take(struct job *job, struct store *s, struct evaluated *out,
                               struct emac_err *err)
{
    struct model_config config;
    enum emac_status st;
    EMAC_ASSERT(job->kind == JOB_EVALUATE);
    EMAC_TRY(st, directory_read(s, &job->base, out, err));
    EMAC_TRY(st, config_read(s, out, &config, err));
    EMAC_TRY(st, sizes_take(job, &config, err));
    const struct model_params whole = model_config_params(&config);
    st =
        has_base(out) ? parts_take(job, s, out, &whole, err) : whole_take(job, s, out, &whole, err);
out:
    return st == EMAC_OK ? st : emac_wrap(err, "model.cid");
}

uint32_t evaluate_micro_batch(uint64_t rows, uint32_t most)
{
    uint64_t least = (rows + JOB_MICRO_BATCHES_MAX - 1) / JOB_MICRO_BATCHES_MAX;
    uint64_t high = rows < most ? rows : most, best = high / 4 + 1;
    best = best < least ? least : best;
    for (uint64_t b = best; b <= high; b++)
        if (rows % b <= rows % best)
            best = b;
    return best > UINT32_MAX ? UINT32_MAX : (uint32_t)best;
}

/* ---- the result ---- */

static void put_u64(struct dagcbor_writer *w, const char *key, uint64_t v)
{
    dagcbor_key(w, key);
    dagcbor_u64(w, v);
}

static void put_f64(struct dagcbor_writer *w, const char *key, double v)
{
    dagcbor_key(w, key);
    dagcbor_f64(w, v);
}

static void put_str(struct dagcbor_writer *w, const char *key, const char *v)
{
    dagcbor_key(w, key);
    dagcbor_str(w, v);
}

static void put_cid(struct dagcbor_writer *w, const char *key, const struct cid *v)
{
    dagcbor_key(w, key);
    dagcbor_cid(w, v);
}

void evaluation_of(const struct job *job, double loss, double accuracy, struct evaluation *out)
{
    bool records = job_on_records(job);
    *out = (struct evaluation){.model = job->base,
                               .data = job->data,
                               .on_records = records,
                               .split = job->split,
                               .begin = records ? 0 : job_train_end(job),
                               .end = records ? job_eval_rows(job) : job_tokens(job),
                               .units = job_units_per_step(job),
                               .seq_len = job->seq_len,
                               .micro_batch = job->micro_batch,
                               .batches = job_eval_batches(job),
                               .loss = loss,
                               .bits_per_byte = records ? 0 : job_bits_per_byte(job, loss),
                               .accuracy = accuracy};
}

enum emac_status evaluation_encode(const struct evaluation *e, struct emac_buf *out,
                                   struct cid *cid, struct emac_err *err)
{
    size_t start = out->len;
    struct dagcbor_writer w;
    dagcbor_writer_init(&w, out);
    dagcbor_map(&w, 12);
    put_u64(&w, "end", e->end);
    put_cid(&w, "data", &e->data);
    put_str(&w, "kind", KIND);
    put_f64(&w, "loss", e->loss);
    put_u64(&w, "begin", e->begin);
    put_cid(&w, "model", &e->model);
    if (e->on_records)
        put_str(&w, "split", dataset_part_name(e->split));
    put_u64(&w, "units", e->units);
    put_u64(&w, "batches", e->batches);
    if (!e->on_records)
        put_u64(&w, "seq_len", e->seq_len);
    if (e->on_records)
        put_f64(&w, "accuracy", e->accuracy);
    put_u64(&w, "numerics", NUMERICS);
    put_u64(&w, "micro_batch", e->micro_batch);
    if (!e->on_records)
        put_f64(&w, "bits_per_byte", e->bits_per_byte);
    enum emac_status st = dagcbor_writer_end(&w, err);
    if (st == EMAC_OK && cid != NULL)
        *cid = cid_of(CID_DAG_CBOR, out->data + start, out->len - start);
    return st;
}

static enum emac_status records_get(struct evaluation *out, const struct dagcbor_node *map,
                                    struct emac_err *err)
{
    const char *split;
    enum emac_status st;
    EMAC_TRY(st, dagcbor_get_str(map, "split", &split, err));
    EMAC_TRY(st, dagcbor_get_f64(map, "accuracy", &out->accuracy, err));
    while (out->split < DATASET_PARTS && strcmp(split, dataset_part_name(out->split)) != 0)
        out->split++;
    if (out->split == DATASET_PARTS)
        st = emac_fail(err, EMAC_INVALID, "'%.20s' is no split of a data set", split);
out:
    return st;
}

static enum emac_status fields_get(struct evaluation *out, const struct dagcbor_node *map,
                                   struct emac_err *err)
{
    uint64_t numerics;
    enum emac_status st;
    EMAC_TRY(st, dagcbor_get_cid(map, "model", &out->model, err));
    EMAC_TRY(st, dagcbor_get_cid(map, "data", &out->data, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "begin", INT64_MAX, &out->begin, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "end", INT64_MAX, &out->end, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "units", INT64_MAX, &out->units, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "numerics", UINT64_MAX, &numerics, err));
    EMAC_TRY(st, dagcbor_get_u32(map, "batches", &out->batches, err));
    EMAC_TRY(st, dagcbor_get_u32(map, "micro_batch", &out->micro_batch, err));
    EMAC_TRY(st, dagcbor_get_f64(map, "loss", &out->loss, err));
    if (numerics != NUMERICS)
        return emac_fail(err, EMAC_UNSUPPORTED, "it is of numerics version %llu, this one knows %d",
                         (unsigned long long)numerics, NUMERICS);
    out->on_records = dagcbor_find(map, "split") != NULL;
    if (out->on_records)
        return records_get(out, map, err);
    EMAC_TRY(st, dagcbor_get_u32(map, "seq_len", &out->seq_len, err));
    st = dagcbor_get_f64(map, "bits_per_byte", &out->bits_per_byte, err);
out:
    return st;
}

/* What it holds beyond its fields would be a second name for it. */
static enum emac_status same_again(const struct evaluation *e, const void *data, size_t n,
                                   struct emac_err *err)
{
    struct emac_buf again;
    emac_buf_init(&again, EVALUATION_BYTES_MAX);
    enum emac_status st = evaluation_encode(e, &again, NULL, err);
    if (st == EMAC_OK && (again.len != n || memcmp(again.data, data, n) != 0))
        st = emac_fail(err, EMAC_INVALID, "it holds more than a result of an evaluation does");
    emac_buf_release(&again);
    return st;
}

enum emac_status evaluation_decode(struct evaluation *out, const void *data, size_t n,
                                   struct emac_err *err)
{
    const struct dagcbor_node *map;
    const char *kind;
    struct arena a;
    enum emac_status st;
    *out = (struct evaluation){0};
    arena_init(&a, ARENA_MAX);
    if (n > EVALUATION_BYTES_MAX || dagcbor_parse(&a, data, n, &map, NULL) != EMAC_OK ||
        dagcbor_get_str(map, "kind", &kind, NULL) != EMAC_OK || strcmp(kind, KIND) != 0) {
        st = emac_fail(err, EMAC_INVALID, "this is no result of an evaluation");
        goto out;
    }
    EMAC_TRY(st, fields_get(out, map, err));
    st = same_again(out, data, n, err);
out:
    arena_release(&a);
    return st;
}

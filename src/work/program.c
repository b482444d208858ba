/* Programs and the samplers inside them. */
#include "work/task.h"

#include <math.h>
#include <string.h>

#include "base/assert.h"
#include "base/philox.h"
#include "codec/dagcbor.h"
#include "work/job.h"

static const char *const SAMPLER_NAMES[] = {[SAMPLER_RANDOM] = "random",
                                            [SAMPLER_ORDERED] = "ordered",
                                            [SAMPLER_SHUFFLED] = "shuffled",
                                            [SAMPLER_LISTED] = "listed"};
static const char *const SPLIT_NAMES[DATASET_PARTS] = {"train", "test"};
static const char *const PROGRAM_NAMES[] = {
    [PROGRAM_MAP] = "map", [PROGRAM_APPLY] = "apply", [PROGRAM_STEPS] = "steps"};

bool sampler_on_records(const struct sampler *s)
{
    return s->kind == SAMPLER_SHUFFLED || s->kind == SAMPLER_LISTED;
}

static enum emac_status records_check(const struct sampler *s, struct emac_err *err)
{
    if (s->batch == 0 || s->batch > SAMPLER_RECORDS_MAX)
        return emac_fail(err, EMAC_INVALID, "a sampler of %u records is not possible: 1 to %u",
                         s->batch, SAMPLER_RECORDS_MAX);
    if (s->begin >= s->end || s->end > DATASET_RECORDS_MAX)
        return emac_fail(err, EMAC_INVALID, "records %llu to %llu of a data set hold none",
                         (unsigned long long)s->begin, (unsigned long long)s->end);
    if (s->kind == SAMPLER_LISTED
            ? s->rows != 0
            : s->rows == 0 || s->rows % s->batch != 0 || s->rows / s->batch > UINT32_MAX)
        return emac_fail(err, EMAC_INVALID,
                         "a step of %llu records is not possible with micro-batches of %u",
                         (unsigned long long)s->rows, s->batch);
    return EMAC_OK;
}

enum emac_status sampler_check(const struct sampler *s, struct emac_err *err)
{
    if (sampler_on_records(s))
        return records_check(s, err);
    if (s->batch == 0 || s->seq == 0 || (uint64_t)s->batch * s->seq > SAMPLER_TOKENS_MAX)
        return emac_fail(
            err, EMAC_INVALID,
            "a sampler of %u windows of %u tokens is not possible: 1 to %u tokens in all", s->batch,
            s->seq, SAMPLER_TOKENS_MAX);
    if (s->end > INT64_MAX || s->begin >= s->end || s->end - s->begin <= s->seq)
        return emac_fail(err, EMAC_INVALID,
                         "tokens %llu to %llu of the data do not hold one window of %u + 1",
                         (unsigned long long)s->begin, (unsigned long long)s->end, s->seq);
    if (s->width != 0 && s->width != 2 && s->width != 4)
        return emac_fail(err, EMAC_INVALID, "tokens of %u bytes are not possible: 2 or 4",
                         s->width);
    return EMAC_OK;
}

uint64_t sampler_offset(const struct sampler *s, uint32_t step, uint32_t index, uint32_t row)
{
    EMAC_ASSERT(!sampler_on_records(s));
    EMAC_ASSERT(row < s->batch && s->end > s->begin && s->end - s->begin > s->seq);
    uint64_t window = (uint64_t)index * s->batch + row;
    if (s->kind == SAMPLER_ORDERED)
        return s->begin + window * s->seq;
    return s->begin + philox_below(s->seed, PHILOX_DATA, step, window, s->end - s->begin - s->seq);
}

uint64_t sampler_record(const struct sampler *s, uint32_t step, uint32_t index, uint32_t row)
{
    uint64_t n = s->end - s->begin, at = (uint64_t)index * s->batch + row;
    EMAC_ASSERT(sampler_on_records(s) && row < s->batch && s->end > s->begin);
    if (s->kind == SAMPLER_LISTED)
        return s->begin + at;
    unsigned __int128 place = (unsigned __int128)step * s->rows + at; /* counted from step 0 */
    return s->begin +
           philox_order(s->seed, PHILOX_ORDER, (uint32_t)(place / n), n, (uint64_t)(place % n));
}

uint64_t sampler_batches(const struct sampler *s)
{
    uint64_t length = s->end - s->begin;
    switch (s->kind) {
    case SAMPLER_RANDOM:
        return UINT64_MAX;
    case SAMPLER_ORDERED:
        return length <= s->seq ? 0 : (length - 1) / s->seq / s->batch;
    case SAMPLER_SHUFFLED:
        return s->rows / s->batch;
    case SAMPLER_LISTED:
        return length / s->batch;
    }
    EMAC_ASSERT(false);
    return 0;
}

static enum emac_status program_check(const struct program *p, struct emac_err *err)
{
    if (p->graph.codec != CID_DAG_CBOR)
        return emac_fail(err, EMAC_INVALID, "a program's graph must be a dag-cbor block");
    if (p->has_sampler != (p->kind == PROGRAM_MAP))
        return emac_fail(err, EMAC_INVALID, "a program of kind '%s' must %s a sampler",
                         PROGRAM_NAMES[p->kind], p->kind == PROGRAM_MAP ? "have" : "not have");
    if (p->has_decode && (p->kind != PROGRAM_APPLY || p->decode.codec != CID_DAG_CBOR))
        return emac_fail(err, EMAC_INVALID,
                         "what decodes parts must be a dag-cbor block, and goes with kind 'apply'");
    if (!(p->max_norm >= 0) || isinf(p->max_norm) || (p->max_norm > 0 && p->kind != PROGRAM_APPLY))
        return emac_fail(err, EMAC_INVALID,
                         "'max_norm' must be a number of at least 0, and goes with kind 'apply'");
    if (p->kind == PROGRAM_STEPS &&
        (p->grad.codec != CID_DAG_CBOR || p->step.codec != CID_DAG_CBOR || p->micro_batches == 0 ||
         p->micro_batches > STEPS_BATCHES_MAX))
        return emac_fail(err, EMAC_INVALID,
                         "a program of kind 'steps' must name two programs and have 1 to %d "
                         "micro-batches",
                         STEPS_BATCHES_MAX);
    if (p->has_begin && (p->kind != PROGRAM_STEPS || p->begin.codec != CID_DAG_CBOR))
        return emac_fail(err, EMAC_INVALID,
                         "what steps begin with must be a dag-cbor block, and goes with kind "
                         "'steps'");
    return p->has_sampler ? sampler_check(&p->sampler, err) : EMAC_OK;
}

static void sampler_write(struct dagcbor_writer *w, const struct sampler *s)
{
    bool records = sampler_on_records(s);
    dagcbor_key(w, "sampler");
    dagcbor_map(w, records ? 7 : s->width != 0 ? 7 : 6);
    dagcbor_key(w, "end");
    dagcbor_u64(w, s->end);
    if (!records) {
        dagcbor_key(w, "seq");
        dagcbor_u64(w, s->seq);
    }
    dagcbor_key(w, "kind");
    dagcbor_str(w, SAMPLER_NAMES[s->kind]);
    if (records) {
        dagcbor_key(w, "rows");
        dagcbor_u64(w, s->rows);
    }
    dagcbor_key(w, "seed");
    dagcbor_u64(w, s->seed);
    dagcbor_key(w, "batch");
    dagcbor_u64(w, s->batch);
    dagcbor_key(w, "begin");
    dagcbor_u64(w, s->begin);
    if (records) {
        dagcbor_key(w, "split");
        dagcbor_str(w, SPLIT_NAMES[s->split]);
    } else if (s->width != 0) {
        dagcbor_key(w, "width");
        dagcbor_u64(w, s->width);
    }
}

static void program_write(struct dagcbor_writer *w, const struct program *p)
{
    bool steps = p->kind == PROGRAM_STEPS;
    bool bound = p->max_norm > 0;
    dagcbor_map(w, steps ? 7 + p->has_begin : 3 + p->has_sampler + p->has_decode + bound);
    if (steps) {
        dagcbor_key(w, "grad");
        dagcbor_cid(w, &p->grad);
    }
    dagcbor_key(w, "kind");
    dagcbor_str(w, PROGRAM_NAMES[p->kind]);
    if (steps) {
        dagcbor_key(w, "step");
        dagcbor_cid(w, &p->step);
    }
    if (p->has_begin) {
        dagcbor_key(w, "begin");
        dagcbor_cid(w, &p->begin);
    }
    dagcbor_key(w, "graph");
    dagcbor_cid(w, &p->graph);
    if (p->has_decode) {
        dagcbor_key(w, "decode");
        dagcbor_cid(w, &p->decode);
    }
    if (steps) {
        dagcbor_key(w, "recipe");
        job_recipe_write(w, &p->recipe);
    }
    if (p->has_sampler)
        sampler_write(w, &p->sampler);
    if (bound) {
        dagcbor_key(w, "max_norm");
        dagcbor_f64(w, p->max_norm);
    }
    dagcbor_key(w, "numerics");
    dagcbor_u64(w, NUMERICS_VERSION);
    if (steps) {
        dagcbor_key(w, "micro_batches");
        dagcbor_u64(w, p->micro_batches);
    }
}

enum emac_status program_encode(const struct program *p, struct emac_buf *out, struct cid *cid,
                                struct emac_err *err)
{
    enum emac_status st = program_check(p, err);
    if (st != EMAC_OK)
        return st;
    size_t start = out->len;
    struct dagcbor_writer w;
    dagcbor_writer_init(&w, out);
    program_write(&w, p);
    st = dagcbor_writer_end(&w, err);
    if (st == EMAC_OK && cid != NULL)
        *cid = cid_of(CID_DAG_CBOR, out->data + start, out->len - start);
    return st;
}

/* The place of field `key` in a list of names. */
static enum emac_status name_decode(const struct dagcbor_node *map, const char *key,
                                    const char *const *names, uint32_t count, uint32_t *out,
                                    struct emac_err *err)
{
    const char *text;
    enum emac_status st = dagcbor_get_str(map, key, &text, err);
    if (st != EMAC_OK)
        return st;
    for (*out = 0; *out < count; (*out)++) {
        if (strcmp(text, names[*out]) == 0)
            return EMAC_OK;
    }
    return emac_fail(err, EMAC_INVALID, "unknown %s '%s'", key, text);
}

static enum emac_status window_fields(struct sampler *out, const struct dagcbor_node *map,
                                      struct emac_err *err)
{
    static const char *const KEYS[] = {"end",   "seq",   "kind",  "seed",
                                       "batch", "begin", "width", NULL};
    uint64_t seq = 0, width = 0;
    enum emac_status st = dagcbor_only(map, KEYS, err);
    if (st == EMAC_OK)
        st = dagcbor_get_u64(map, "seq", UINT32_MAX, &seq, err);
    if (st == EMAC_OK && dagcbor_find(map, "width") != NULL) {
        st = dagcbor_get_u64(map, "width", 4, &width, err);
        if (st == EMAC_OK && width == 0)
            st = emac_fail(err, EMAC_INVALID, "a sampler on bytes has no 'width'");
    }
    out->seq = (uint32_t)seq;
    out->width = (uint32_t)width;
    return st;
}

static enum emac_status record_fields(struct sampler *out, const struct dagcbor_node *map,
                                      struct emac_err *err)
{
    static const char *const KEYS[] = {"end",   "kind",  "rows",  "seed",
                                       "batch", "begin", "split", NULL};
    uint32_t split = 0;
    enum emac_status st;
    EMAC_TRY(st, dagcbor_only(map, KEYS, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "rows", UINT64_MAX, &out->rows, err));
    st = name_decode(map, "split", SPLIT_NAMES, DATASET_PARTS, &split, err);
    out->split = (enum dataset_part)split;
out:
    return st;
}

static enum emac_status sampler_decode(struct sampler *out, const struct dagcbor_node *map,
                                       struct emac_err *err)
{
    enum emac_status st;
    uint64_t batch;
    uint32_t kind;
    EMAC_TRY(st, name_decode(map, "kind", SAMPLER_NAMES, EMAC_COUNT(SAMPLER_NAMES), &kind, err));
    out->kind = (enum sampler_kind)kind;
    EMAC_TRY(st,
             sampler_on_records(out) ? record_fields(out, map, err) : window_fields(out, map, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "end", UINT64_MAX, &out->end, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "begin", UINT64_MAX, &out->begin, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "seed", UINT64_MAX, &out->seed, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "batch", UINT32_MAX, &batch, err));
    out->batch = (uint32_t)batch;
out:
    return st;
}

static enum emac_status steps_read(struct program *out, const struct dagcbor_node *map,
                                   struct emac_err *err)
{
    static const char *const KEYS[] = {"grad",   "kind",     "step",          "begin", "graph",
                                       "recipe", "numerics", "micro_batches", NULL};
    const struct dagcbor_node *recipe;
    uint64_t batches = 0;
    enum emac_status st;
    EMAC_TRY(st, dagcbor_only(map, KEYS, err));
    EMAC_TRY(st, dagcbor_get_cid(map, "grad", &out->grad, err));
    EMAC_TRY(st, dagcbor_get_cid(map, "step", &out->step, err));
    out->has_begin = dagcbor_find(map, "begin") != NULL;
    if (out->has_begin)
        EMAC_TRY(st, dagcbor_get_cid(map, "begin", &out->begin, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "micro_batches", STEPS_BATCHES_MAX, &batches, err));
    EMAC_TRY(st, dagcbor_get(map, "recipe", DAGCBOR_MAP, &recipe, err));
    st = job_recipe_read(&out->recipe, recipe, err);
    out->micro_batches = (uint32_t)batches;
out:
    return st;
}

static enum emac_status map_or_apply_read(struct program *out, const struct dagcbor_node *map,
                                          struct emac_err *err)
{
    static const char *const KEYS[] = {"kind",     "graph",    "decode", "sampler",
                                       "max_norm", "numerics", NULL};
    const struct dagcbor_node *sampler;
    enum emac_status st;
    EMAC_TRY(st, dagcbor_only(map, KEYS, err));
    out->has_decode = dagcbor_find(map, "decode") != NULL;
    if (out->has_decode)
        EMAC_TRY(st, dagcbor_get_cid(map, "decode", &out->decode, err));
    if (dagcbor_find(map, "max_norm") != NULL) {
        EMAC_TRY(st, dagcbor_get_f64(map, "max_norm", &out->max_norm, err));
        if (!(out->max_norm > 0)) { /* 0 is left out: one form for each program */
            st = emac_fail(err, EMAC_INVALID, "'max_norm' must be more than 0");
            goto out;
        }
    }
    out->has_sampler = dagcbor_find(map, "sampler") != NULL;
    if (out->has_sampler) {
        EMAC_TRY(st, dagcbor_get(map, "sampler", DAGCBOR_MAP, &sampler, err));
        EMAC_TRY(st, sampler_decode(&out->sampler, sampler, err));
    }
out:
    return st;
}

static enum emac_status program_read(struct program *out, const struct dagcbor_node *map,
                                     struct emac_err *err)
{
    enum emac_status st;
    uint64_t numerics;
    uint32_t kind;
    if (map->type != DAGCBOR_MAP)
        return emac_fail(err, EMAC_INVALID, "a program must be a map");
    EMAC_TRY(st, dagcbor_get_u64(map, "numerics", UINT64_MAX, &numerics, err));
    if (numerics != NUMERICS_VERSION)
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "the program wants numerics version %llu, this build has %d; update emac",
                         (unsigned long long)numerics, NUMERICS_VERSION);
    EMAC_TRY(st, name_decode(map, "kind", PROGRAM_NAMES, EMAC_COUNT(PROGRAM_NAMES), &kind, err));
    EMAC_TRY(st, dagcbor_get_cid(map, "graph", &out->graph, err));
    out->kind = (enum program_kind)kind;
    EMAC_TRY(st, out->kind == PROGRAM_STEPS ? steps_read(out, map, err)
                                            : map_or_apply_read(out, map, err));
    st = program_check(out, err);
out:
    return st;
}

enum emac_status program_decode(struct program *out, const void *data, size_t n,
                                struct emac_err *err)
{
    struct arena a;
    const struct dagcbor_node *root;
    *out = (struct program){0};
    if (n > PROGRAM_BYTES_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "a program of %zu bytes; at most %d", n,
                         PROGRAM_BYTES_MAX);
    arena_init(&a, 64 * PROGRAM_BYTES_MAX);
    enum emac_status st = dagcbor_parse(&a, data, n, &root, err);
    if (st == EMAC_OK)
        st = program_read(out, root, err);
    arena_release(&a);
    return st;
}

#include "work/dataset.h"

#include <math.h>
#include <string.h>

#include "base/assert.h"
#include "codec/dagcbor.h"
#include "work/sealed.h"

#define DATASET_VERSION   1
#define DATASET_ARENA_MAX (64u << 20)
#define LABEL_BYTES       2

static const char *const PART_NAMES[DATASET_PARTS] = {"train", "test"};
static const struct {
    const char *name;
    size_t bytes;
} DTYPES[] = {[DATASET_U8] = {"u8", 1}, [DATASET_F32] = {"f32", 4}};

void dataset_init(struct dataset *d)
{
    *d = (struct dataset){0};
    arena_init(&d->arena, DATASET_ARENA_MAX);
}

void dataset_release(struct dataset *d)
{
    arena_release(&d->arena);
    dataset_init(d);
}

const char *dataset_part_name(enum dataset_part part)
{
    EMAC_ASSERT((unsigned)part < DATASET_PARTS);
    return PART_NAMES[part];
}

const char *dataset_dtype_name(enum dataset_dtype dtype)
{
    EMAC_ASSERT((unsigned)dtype < EMAC_COUNT(DTYPES));
    return DTYPES[dtype].name;
}

size_t dataset_features(const struct dataset *d)
{
    return (size_t)d->height * d->width * d->channels;
}

size_t dataset_record_bytes(const struct dataset *d)
{
    return dataset_features(d) * DTYPES[d->dtype].bytes + LABEL_BYTES;
}

uint64_t dataset_bytes(const struct dataset *d)
{
    uint64_t records = 0;
    for (int i = 0; i < DATASET_PARTS; i++)
        records += d->split[i].records;
    return records * dataset_record_bytes(d);
}

/* ---- checking ---- */

static enum emac_status in_range(const char *what, uint64_t v, uint64_t least, uint64_t most,
                                 struct emac_err *err)
{
    if (v >= least && v <= most)
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID, "a data set's %s must be from %llu to %llu, not %llu", what,
                     (unsigned long long)least, (unsigned long long)most, (unsigned long long)v);
}

static enum emac_status names_check(const char *what, const char **name, uint32_t count,
                                    struct emac_err *err)
{
    for (uint32_t i = 0; i < count; i++) {
        size_t n = strlen(name[i]);
        if (n < 1 || n > DATASET_NAME_MAX)
            return emac_fail(err, EMAC_INVALID,
                             "name %u of '%s' has %zu bytes; 1 to %d are allowed", i, what, n,
                             DATASET_NAME_MAX);
    }
    return EMAC_OK;
}

static enum emac_status norms_check(const struct dataset *d, struct emac_err *err)
{
    if (d->norm_count != 1 && d->norm_count != d->channels)
        return emac_fail(err, EMAC_INVALID,
                         "'scale' and 'shift' hold %u numbers; they must hold 1 or one for each of "
                         "the %u channels",
                         d->norm_count, d->channels);
    for (uint32_t i = 0; i < d->norm_count; i++) {
        if (!isfinite(d->scale[i]) || !isfinite(d->shift[i]))
            return emac_fail(err, EMAC_INVALID, "number %u of 'scale' or 'shift' is not finite", i);
    }
    return EMAC_OK;
}

static enum emac_status splits_check(const struct dataset *d, struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, in_range("splits.train.records", d->split[DATASET_TRAIN].records, 1,
                          DATASET_RECORDS_MAX, err));
    EMAC_TRY(st, in_range("splits.test.records", d->split[DATASET_TEST].records, 0,
                          DATASET_RECORDS_MAX, err));
    for (int i = 0; i < DATASET_PARTS; i++) {
        if (cid_is_none(&d->split[i].file) != (d->split[i].records == 0))
            return emac_fail(err, EMAC_INVALID, "split '%s' must have records and their file",
                             PART_NAMES[i]);
    }
out:
    return st;
}

/* What holds for a record. */
static enum emac_status input_check(const struct dataset *d, struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, in_range("height", d->height, 1, DATASET_SIDE_MAX, err));
    EMAC_TRY(st, in_range("width", d->width, 1, DATASET_SIDE_MAX, err));
    EMAC_TRY(st, in_range("channels", d->channels, 1, DATASET_CHANNELS_MAX, err));
    EMAC_TRY(st,
             in_range("features of a record", dataset_features(d), 1, DATASET_FEATURES_MAX, err));
    EMAC_TRY(st, in_range("number of classes", d->class_count, 2, DATASET_CLASSES_MAX, err));
    EMAC_TRY(st, names_check("classes", d->class_name, d->class_count, err));
    EMAC_TRY(st, names_check("columns", d->column, d->column_count, err));
    if (d->column_count != 0 && d->column_count != d->channels)
        return emac_fail(err, EMAC_INVALID, "'columns' holds %u names for %u channels",
                         d->column_count, d->channels);
    st = norms_check(d, err);
out:
    return st;
}

static enum emac_status check(const struct dataset *d, struct emac_err *err)
{
    enum emac_status st = input_check(d, err);
    return st == EMAC_OK ? splits_check(d, err) : st;
}

/* ---- writing ---- */

static void write_numbers(struct dagcbor_writer *w, const char *key, const float *v, uint32_t n)
{
    dagcbor_key(w, key);
    dagcbor_list(w, n);
    for (uint32_t i = 0; i < n; i++)
        dagcbor_f64(w, (double)v[i]);
}

static void write_names(struct dagcbor_writer *w, const char *key, const char **name, uint32_t n)
{
    dagcbor_key(w, key);
    dagcbor_list(w, n);
    for (uint32_t i = 0; i < n; i++)
        dagcbor_str(w, name[i]);
}

static void write_splits(struct dagcbor_writer *w, const struct dataset *d)
{
    static const enum dataset_part ORDER[] = {DATASET_TEST, DATASET_TRAIN};
    dagcbor_key(w, "splits");
    dagcbor_map(w, d->split[DATASET_TEST].records > 0 ? 2 : 1);
    for (size_t i = 0; i < EMAC_COUNT(ORDER); i++) {
        const struct dataset_split *s = &d->split[ORDER[i]];
        if (s->records == 0)
            continue;
        dagcbor_key(w, PART_NAMES[ORDER[i]]);
        dagcbor_map(w, 2);
        dagcbor_key(w, "file");
        dagcbor_cid(w, &s->file);
        dagcbor_key(w, "records");
        dagcbor_u64(w, s->records);
    }
}

enum emac_status dataset_encode(const struct dataset *d, struct emac_buf *out, struct cid *cid,
                                struct emac_err *err)
{
    enum emac_status st = check(d, err);
    if (st != EMAC_OK)
        return st;
    size_t start = out->len;
    struct dagcbor_writer w;
    dagcbor_writer_init(&w, out);
    dagcbor_map(&w, 9);
    dagcbor_key(&w, "kind");
    dagcbor_str(&w, "dataset");
    dagcbor_key(&w, "dtype");
    dagcbor_str(&w, DTYPES[d->dtype].name);
    write_numbers(&w, "scale", d->scale, d->norm_count);
    dagcbor_key(&w, "shape");
    dagcbor_list(&w, 3);
    dagcbor_u64(&w, d->height);
    dagcbor_u64(&w, d->width);
    dagcbor_u64(&w, d->channels);
    write_numbers(&w, "shift", d->shift, d->norm_count);
    write_splits(&w, d);
    write_names(&w, "classes", d->class_name, d->class_count);
    write_names(&w, "columns", d->column, d->column_count);
    dagcbor_key(&w, "version");
    dagcbor_u64(&w, DATASET_VERSION);
    st = dagcbor_writer_end(&w, err);
    if (st == EMAC_OK && out->len - start > DATASET_BYTES_MAX)
        st = emac_fail(err, EMAC_TOO_LARGE, "a data set's manifest of %zu bytes; at most %u",
                       out->len - start, DATASET_BYTES_MAX);
    if (st == EMAC_OK && cid != NULL)
        *cid = cid_of(CID_DAG_CBOR, out->data + start, out->len - start);
    return st;
}

/* ---- reading ---- */

/* A list of at most `most` items, all of `type`. */
static enum emac_status get_list(const struct dagcbor_node *map, const char *key,
                                 enum dagcbor_type type, uint32_t most,
                                 const struct dagcbor_node **out, struct emac_err *err)
{
    enum emac_status st = dagcbor_get(map, key, DAGCBOR_LIST, out, err);
    if (st != EMAC_OK)
        return st;
    if ((*out)->seq.count > most)
        return emac_fail(err, EMAC_INVALID, "field '%s' holds %zu items; at most %u", key,
                         (*out)->seq.count, most);
    for (size_t i = 0; i < (*out)->seq.count; i++) {
        if ((*out)->seq.items[i].type != type)
            return emac_fail(err, EMAC_INVALID, "item %zu of field '%s' is of the wrong type", i,
                             key);
    }
    return EMAC_OK;
}

static enum emac_status no_memory(struct emac_err *err)
{
    return emac_fail(err, EMAC_NO_MEMORY, "out of memory for a data set's manifest");
}

static enum emac_status read_numbers(struct dataset *d, const struct dagcbor_node *map,
                                     const char *key, float **out, uint32_t *count,
                                     struct emac_err *err)
{
    const struct dagcbor_node *list;
    enum emac_status st = get_list(map, key, DAGCBOR_F64, DATASET_CHANNELS_MAX, &list, err);
    if (st != EMAC_OK)
        return st;
    *count = (uint32_t)list->seq.count;
    *out = arena_calloc(&d->arena, *count + 1, sizeof **out);
    if (*out == NULL)
        return no_memory(err);
    for (uint32_t i = 0; i < *count; i++) {
        double v = list->seq.items[i].f64;
        (*out)[i] = (float)v;
        if ((double)(*out)[i] != v)
            return emac_fail(err, EMAC_INVALID, "item %u of field '%s' is no binary32 number", i,
                             key);
    }
    return EMAC_OK;
}

static enum emac_status read_names(struct dataset *d, const struct dagcbor_node *map,
                                   const char *key, uint32_t most, const char ***out,
                                   uint32_t *count, struct emac_err *err)
{
    const struct dagcbor_node *list;
    enum emac_status st = get_list(map, key, DAGCBOR_STR, most, &list, err);
    if (st != EMAC_OK)
        return st;
    *count = (uint32_t)list->seq.count;
    *out = arena_calloc(&d->arena, *count + 1, sizeof **out);
    if (*out == NULL)
        return no_memory(err);
    for (uint32_t i = 0; i < *count; i++) {
        const struct dagcbor_node *v = &list->seq.items[i];
        if (memchr(v->str.data, 0, v->str.len) != NULL)
            return emac_fail(err, EMAC_INVALID, "item %u of field '%s' holds a NUL byte", i, key);
        (*out)[i] = arena_strndup(&d->arena, v->str.data, v->str.len);
        if ((*out)[i] == NULL)
            return no_memory(err);
    }
    return EMAC_OK;
}

static enum emac_status read_shape(struct dataset *d, const struct dagcbor_node *map,
                                   struct emac_err *err)
{
    uint32_t *dim[] = {&d->height, &d->width, &d->channels};
    const struct dagcbor_node *list;
    enum emac_status st = get_list(map, "shape", DAGCBOR_U64, EMAC_COUNT(dim), &list, err);
    if (st != EMAC_OK)
        return st;
    if (list->seq.count != EMAC_COUNT(dim))
        return emac_fail(err, EMAC_INVALID, "field 'shape' must be [height, width, channels]");
    for (size_t i = 0; i < EMAC_COUNT(dim); i++) {
        uint64_t v = list->seq.items[i].u64;
        *dim[i] = v > UINT32_MAX ? UINT32_MAX : (uint32_t)v; /* over every limit: check says so */
    }
    return EMAC_OK;
}

static enum emac_status dtype_set(struct dataset *d, const char *name, struct emac_err *err)
{
    for (size_t i = 0; i < EMAC_COUNT(DTYPES); i++) {
        if (strcmp(name, DTYPES[i].name) == 0) {
            d->dtype = (enum dataset_dtype)i;
            return EMAC_OK;
        }
    }
    return emac_fail(err, EMAC_INVALID, "field 'dtype' must be 'u8' or 'f32', not '%.40s'", name);
}

static enum emac_status read_dtype(struct dataset *d, const struct dagcbor_node *map,
                                   struct emac_err *err)
{
    const char *name;
    enum emac_status st = dagcbor_get_str(map, "dtype", &name, err);
    if (st != EMAC_OK)
        return st;
    return dtype_set(d, name, err);
}

static enum emac_status read_splits(struct dataset *d, const struct dagcbor_node *map,
                                    struct emac_err *err)
{
    static const char *const SPLITS[] = {"test", "train", NULL};
    static const char *const KEYS[] = {"file", "records", NULL};
    const struct dagcbor_node *splits, *one;
    enum emac_status st;
    EMAC_TRY(st, dagcbor_get(map, "splits", DAGCBOR_MAP, &splits, err));
    EMAC_TRY(st, dagcbor_only(splits, SPLITS, err));
    for (int i = 0; i < DATASET_PARTS; i++) {
        if (i == DATASET_TEST && dagcbor_find(splits, PART_NAMES[i]) == NULL)
            continue;
        struct dataset_split *s = &d->split[i];
        EMAC_TRY(st, dagcbor_get(splits, PART_NAMES[i], DAGCBOR_MAP, &one, err));
        EMAC_TRY(st, dagcbor_only(one, KEYS, err));
        EMAC_TRY(st, dagcbor_get_cid(one, "file", &s->file, err));
        EMAC_TRY(st, dagcbor_get_u64(one, "records", DATASET_RECORDS_MAX, &s->records, err));
        if (s->records == 0)
            return emac_fail(err, EMAC_INVALID, "split '%s' must have records and their file",
                             PART_NAMES[i]);
    }
out:
    return st;
}

static enum emac_status read_manifest(struct dataset *d, const struct dagcbor_node *map,
                                      struct emac_err *err)
{
    static const char *const KEYS[] = {"kind",   "dtype",   "scale",   "shape",   "shift",
                                       "splits", "classes", "columns", "version", NULL};
    const char *kind;
    uint64_t version;
    uint32_t shifts;
    enum emac_status st;
    EMAC_TRY(st, dagcbor_only(map, KEYS, err));
    EMAC_TRY(st, dagcbor_get_str(map, "kind", &kind, err));
    if (strcmp(kind, "dataset") != 0)
        return emac_fail(err, EMAC_INVALID, "field 'kind' must be 'dataset', not '%.40s'", kind);
    EMAC_TRY(st, dagcbor_get_u64(map, "version", UINT64_MAX, &version, err));
    if (version != DATASET_VERSION)
        return emac_fail(err, EMAC_UNSUPPORTED, "data set of version %llu; this build knows %d",
                         (unsigned long long)version, DATASET_VERSION);
    EMAC_TRY(st, read_dtype(d, map, err));
    EMAC_TRY(st, read_shape(d, map, err));
    EMAC_TRY(st, read_numbers(d, map, "scale", &d->scale, &d->norm_count, err));
    EMAC_TRY(st, read_numbers(d, map, "shift", &d->shift, &shifts, err));
    if (shifts != d->norm_count)
        return emac_fail(err, EMAC_INVALID, "'scale' holds %u numbers and 'shift' %u",
                         d->norm_count, shifts);
    EMAC_TRY(st, read_splits(d, map, err));
    EMAC_TRY(st, read_names(d, map, "classes", DATASET_CLASSES_MAX, &d->class_name, &d->class_count,
                            err));
    EMAC_TRY(
        st, read_names(d, map, "columns", DATASET_CHANNELS_MAX, &d->column, &d->column_count, err));
    st = check(d, err);
out:
    return st;
}

enum emac_status dataset_decode(struct dataset *out, const void *data, size_t n,
                                struct emac_err *err)
{
    struct arena a;
    const struct dagcbor_node *root;
    dataset_init(out);
    if (n > DATASET_BYTES_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "a data set's manifest of %zu bytes; at most %u", n,
                         DATASET_BYTES_MAX);
    arena_init(&a, DATASET_ARENA_MAX);
    enum emac_status st = dagcbor_parse(&a, data, n, &root, err);
    if (st == EMAC_OK)
        st = read_manifest(out, root, err);
    arena_release(&a);
    return st;
}

static enum emac_status files_check(struct store *s, const struct dataset *d, struct emac_err *err)
{
    for (int i = 0; i < DATASET_PARTS; i++) {
        const struct dataset_split *split = &d->split[i];
        uint64_t size, due = split->records * dataset_record_bytes(d);
        if (split->records == 0)
            continue;
        enum emac_status st = sealed_file_size(s, &split->file, &size, err);
        if (st == EMAC_NOT_FOUND)
            continue;
        if (st != EMAC_OK)
            return st;
        if (size != due)
            return emac_fail(err, EMAC_INVALID,
                             "the file of split '%s' has %llu bytes and its records need %llu",
                             PART_NAMES[i], (unsigned long long)size, (unsigned long long)due);
    }
    return EMAC_OK;
}

enum emac_status dataset_load(struct store *s, const struct cid *cid, struct dataset *out,
                              struct emac_err *err)
{
    struct emac_err ignored;
    struct emac_buf block;
    enum emac_status st;
    if (err == NULL)
        err = &ignored; /* what is called adds to the sentence, so there must be one */
    dataset_init(out);
    emac_buf_init(&block, UNIXFS_BLOCK_MAX);
    if (cid->codec != CID_DAG_CBOR)
        return emac_fail(err, EMAC_INVALID,
                         "this CID is a file, not a data set: make one by 'emac data import'");
    EMAC_TRY(st, store_block_get(s, cid, &block, err));
    st = dataset_decode(out, block.data, block.len, err);
    if (st != EMAC_OK) {
        emac_wrap(err, "data set");
        goto out;
    }
    st = files_check(s, out, err);
out:
    emac_buf_release(&block);
    return st;
}

/* ---- records ---- */

static float feature(enum dataset_dtype dtype, const uint8_t *p)
{
    float v;
    if (dtype == DATASET_U8)
        return (float)*p;
    memcpy(&v, p, sizeof v);
    return v;
}

void dataset_normalise(const struct dataset *d, const uint8_t *features, float *x)
{
    size_t n = dataset_features(d), width = DTYPES[d->dtype].bytes;
    for (size_t i = 0; i < n; i++) {
        size_t norm = d->norm_count == 1 ? 0 : i % d->channels;
        float scaled = feature(d->dtype, features + i * width) * d->scale[norm];
        x[i] = scaled + d->shift[norm];
    }
}

enum emac_status dataset_record(const struct dataset *d, const uint8_t *record, float *x,
                                int32_t *label, struct emac_err *err)
{
    const uint8_t *end = record + dataset_record_bytes(d) - LABEL_BYTES;
    *label = end[0] | end[1] << 8;
    if ((uint32_t)*label >= d->class_count)
        return emac_fail(err, EMAC_INVALID, "a record is of class %d and the data set has %u",
                         *label, d->class_count);
    dataset_normalise(d, record, x);
    return EMAC_OK;
}

/* ---- JSON ---- */

static json_t *numbers_json(const float *v, uint32_t n)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(list, json_real((double)v[i]));
    return list;
}

static json_t *names_json(const char **name, uint32_t n)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(list, json_string(name[i]));
    return list;
}

json_t *dataset_input_json(const struct dataset *d)
{
    return json_pack(
        "{s:s,s:[i,i,i],s:o,s:o,s:o,s:o}", "dtype", DTYPES[d->dtype].name, "shape", (int)d->height,
        (int)d->width, (int)d->channels, "scale", numbers_json(d->scale, d->norm_count), "shift",
        numbers_json(d->shift, d->norm_count), "classes", names_json(d->class_name, d->class_count),
        "columns", names_json(d->column, d->column_count));
}

json_t *dataset_to_json(const struct dataset *d)
{
    json_t *root = dataset_input_json(d), *splits = json_object();
    for (int i = 0; i < DATASET_PARTS; i++) {
        char text[CID_TEXT_MAX];
        if (d->split[i].records == 0)
            continue;
        cid_text(text, &d->split[i].file);
        json_object_set_new(
            splits, PART_NAMES[i],
            json_pack("{s:s,s:I}", "file", text, "records", (json_int_t)d->split[i].records));
    }
    json_object_set_new(root, "kind", json_string("dataset"));
    json_object_set_new(root, "version", json_integer(DATASET_VERSION));
    json_object_set_new(root, "splits", splits);
    return root;
}

/* A list of at most `most` items. */
static enum emac_status json_list(const json_t *root, const char *key, size_t most,
                                  const json_t **out, uint32_t *count, struct emac_err *err)
{
    *out = json_object_get(root, key);
    size_t n = json_array_size(*out);
    if (!json_is_array(*out) || n > most)
        return emac_fail(err, EMAC_INVALID, "'%s' must be a list of at most %zu items", key, most);
    *count = (uint32_t)n;
    return EMAC_OK;
}

static enum emac_status json_numbers(struct dataset *d, const json_t *root, const char *key,
                                     float **out, uint32_t *count, struct emac_err *err)
{
    const json_t *list;
    enum emac_status st = json_list(root, key, DATASET_CHANNELS_MAX, &list, count, err);
    if (st != EMAC_OK)
        return st;
    *out = arena_calloc(&d->arena, *count + 1, sizeof **out);
    if (*out == NULL)
        return no_memory(err);
    for (uint32_t i = 0; i < *count; i++) {
        if (!json_is_number(json_array_get(list, i)))
            return emac_fail(err, EMAC_INVALID, "item %u of '%s' must be a number", i, key);
        (*out)[i] = (float)json_number_value(json_array_get(list, i));
    }
    return EMAC_OK;
}

static enum emac_status json_names(struct dataset *d, const json_t *root, const char *key,
                                   const char ***out, uint32_t *count, struct emac_err *err)
{
    const json_t *list;
    enum emac_status st = json_list(root, key, DATASET_CHANNELS_MAX, &list, count, err);
    if (st != EMAC_OK)
        return st;
    *out = arena_calloc(&d->arena, *count + 1, sizeof **out);
    if (*out == NULL)
        return no_memory(err);
    for (uint32_t i = 0; i < *count; i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_string(v))
            return emac_fail(err, EMAC_INVALID, "item %u of '%s' must be text", i, key);
        (*out)[i] = arena_strndup(&d->arena, json_string_value(v), json_string_length(v));
        if ((*out)[i] == NULL)
            return no_memory(err);
    }
    return EMAC_OK;
}

enum emac_status dataset_input_read(struct dataset *out, const json_t *root, struct emac_err *err)
{
    const char *dtype = json_string_value(json_object_get(root, "dtype"));
    uint32_t *dim[] = {&out->height, &out->width, &out->channels};
    const json_t *shape;
    uint32_t dims = 0, shifts = 0;
    enum emac_status st;
    dataset_init(out);
    EMAC_TRY(st, dtype_set(out, dtype == NULL ? "nothing" : dtype, err));
    EMAC_TRY(st, json_list(root, "shape", EMAC_COUNT(dim), &shape, &dims, err));
    for (uint32_t i = 0; i < dims; i++) {
        json_int_t v = json_integer_value(json_array_get(shape, i));
        *dim[i] = v < 0 || v > UINT32_MAX ? 0 : (uint32_t)v; /* 0 is refused below */
    }
    EMAC_TRY(st, json_numbers(out, root, "scale", &out->scale, &out->norm_count, err));
    EMAC_TRY(st, json_numbers(out, root, "shift", &out->shift, &shifts, err));
    if (shifts != out->norm_count)
        return emac_fail(err, EMAC_INVALID, "'scale' holds %u numbers and 'shift' %u",
                         out->norm_count, shifts);
    EMAC_TRY(st, json_names(out, root, "classes", &out->class_name, &out->class_count, err));
    EMAC_TRY(st, json_names(out, root, "columns", &out->column, &out->column_count, err));
    st = input_check(out, err);
out:
    return st;
}

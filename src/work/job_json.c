/* The JSON (and by way of codec/yaml.h the YAML) form of a job. */
#include "work/job_fields.h"

#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "ledger/ledger.h"
#include "work/family.h"

/* ---- reading ---- */

static const char *json_kind(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "a map";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "text";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number with a fraction";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    case JSON_NULL:
        break;
    }
    return "nothing";
}

static enum emac_status wrong_type(const struct job_field *f, const char *want, const json_t *v,
                                   struct emac_err *err)
{
    char path[JOB_PATH_MAX];
    job_field_path(path, f->section, f->key);
    return emac_fail(err, EMAC_INVALID, "%s must be %s, not %s", path, want, json_kind(v));
}

static enum emac_status read_integer(const struct job_field *f, void *p, const json_t *v,
                                     struct emac_err *err)
{
    if (!json_is_integer(v))
        return wrong_type(f, "an integer", v, err);
    json_int_t i = json_integer_value(v);
    if ((double)i < f->lo || (double)i > f->hi) {
        char path[JOB_PATH_MAX];
        job_field_path(path, f->section, f->key);
        return emac_fail(err, EMAC_INVALID, "%s must be from %.0f to %.0f, not %lld", path, f->lo,
                         f->hi, (long long)i);
    }
    if (f->type == FIELD_U32)
        *(uint32_t *)p = (uint32_t)i;
    else
        *(uint64_t *)p = (uint64_t)i;
    return EMAC_OK;
}

static enum emac_status read_amount(const struct job_field *f, int64_t *p, const json_t *v,
                                    struct emac_err *err)
{
    char path[JOB_PATH_MAX];
    struct emac_err why;
    if (!json_is_string(v))
        return wrong_type(f, "an amount of EMAC in quotes, like \"0.5\"", v, err);
    job_field_path(path, f->section, f->key);
    if (ledger_amount_parse(json_string_value(v), p, &why) != EMAC_OK)
        return emac_fail(err, EMAC_INVALID, "%s: %s", path, why.text);
    return EMAC_OK;
}

static enum emac_status read_text(const struct job_field *f, struct job *job, const json_t *v,
                                  struct emac_err *err)
{
    char path[JOB_PATH_MAX];
    char *p = (char *)job + f->offset;
    if (!json_is_string(v))
        return wrong_type(f, "text", v, err);
    const char *text = json_string_value(v);
    bool whole = strlen(text) == json_string_length(v);
    job_field_path(path, f->section, f->key);
    if (f->type == FIELD_CID) {
        if (whole && cid_parse((struct cid *)(void *)p, text, NULL) == EMAC_OK)
            return EMAC_OK;
        return emac_fail(err, EMAC_INVALID, "%s: '%.80s' is not a CID", path, text);
    }
    size_t cap = f->type == FIELD_NAME ? sizeof job->name : sizeof job->owner;
    if (!whole || !emac_strcpy(p, cap, text))
        return emac_fail(err, EMAC_INVALID, "%s is longer than %zu characters", path, cap - 1);
    return EMAC_OK;
}

static enum emac_status read_set(const struct job_field *f, struct job *job, const json_t *v,
                                 struct emac_err *err)
{
    char path[JOB_PATH_MAX], words[JOB_WORDS_TEXT_MAX];
    const json_t *word;
    size_t i;
    if (!json_is_array(v) || json_array_size(v) == 0)
        return wrong_type(f, "a list of one or more words", v, err);
    job_field_path(path, f->section, f->key);
    job_field_words(words, f, UINT32_MAX);
    json_array_foreach(v, i, word)
    {
        if (!json_is_string(word) || strlen(json_string_value(word)) != json_string_length(word) ||
            !job_field_include(job, f, json_string_value(word)))
            return emac_fail(err, EMAC_INVALID, "%s must list some of %s, each once", path, words);
    }
    return EMAC_OK;
}

static enum emac_status read_list(const struct job_field *f, struct job *job, const json_t *v,
                                  struct emac_err *err)
{
    char path[JOB_PATH_MAX];
    const char *text = json_string_value(v);
    const json_t *item;
    size_t i;
    job_field_path(path, f->section, f->key);
    if (text != NULL && strcmp(text, "auto") == 0)
        return emac_fail(
            err, EMAC_INVALID,
            "%s 'auto' is filled in by 'emac job submit', for the rigs that are there: "
            "'emac job plan' tells the numbers to write",
            path);
    if (!json_is_array(v) || json_array_size(v) == 0)
        return wrong_type(f, "a list of one or more integers", v, err);
    job_field_set_usual(job, f);
    json_array_foreach(v, i, item)
    {
        json_int_t value = json_integer_value(item);
        if (!json_is_integer(item) || value < 0 || !job_field_append(job, f, (uint64_t)value))
            return emac_fail(err, EMAC_INVALID,
                             "%s must list integers from %.0f to %.0f, at most %u of them", path,
                             f->lo, f->hi, f->word_count);
    }
    return EMAC_OK;
}

static enum emac_status read_field(const struct job_field *f, struct job *job, const json_t *v,
                                   struct emac_err *err)
{
    void *p = (char *)job + f->offset;
    switch (f->type) {
    case FIELD_U32:
    case FIELD_U64:
        return read_integer(f, p, v, err);
    case FIELD_F64:
        if (!json_is_number(v))
            return wrong_type(f, "a number", v, err);
        *(double *)p = json_number_value(v);
        if (*(double *)p == 0)
            *(double *)p = 0; /* -0 is not a second way to say 0 */
        return EMAC_OK;
    case FIELD_BOOL:
        if (!json_is_boolean(v))
            return wrong_type(f, "true or false", v, err);
        *(bool *)p = json_is_true(v);
        return EMAC_OK;
    case FIELD_AMOUNT:
        return read_amount(f, p, v, err);
    case FIELD_SET:
        return read_set(f, job, v, err);
    case FIELD_LIST:
        return read_list(f, job, v, err);
    case FIELD_CHOICE: /* read before all others */
        return EMAC_OK;
    case FIELD_NAME:
    case FIELD_CID:
    case FIELD_OWNER:
        break;
    }
    return read_text(f, job, v, err);
}

static bool is_section(const char *key)
{
    for (uint32_t i = 0; JOB_SECTIONS[i] != NULL; i++) {
        if (strcmp(JOB_SECTIONS[i], key) == 0)
            return true;
    }
    return false;
}

static bool is_known(const struct job *job, const char *section, const char *key)
{
    for (uint32_t i = 0; i < JOB_FIELD_COUNT; i++) {
        if (strcmp(JOB_FIELDS[i].key, key) == 0 && job_field_is_of(&JOB_FIELDS[i], section, job))
            return true;
    }
    if (section == NULL)
        return is_section(key);
    return strcmp(section, "data") == 0 && strcmp(key, "file") == 0;
}

static enum emac_status only_known(const struct job *job, const char *section, json_t *map,
                                   struct emac_err *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(map, key, value)
    {
        if (!is_known(job, section, key))
            return job_field_unknown(job, section, key, err);
        if (section == NULL && is_section(key) && !json_is_object(value))
            return emac_fail(err, EMAC_INVALID, "%s must be a map, not %s", key, json_kind(value));
    }
    return EMAC_OK;
}

static enum emac_status read_data_file(json_t *root, const struct job *job, char *out, size_t cap,
                                       struct emac_err *err)
{
    const json_t *file = json_object_get(json_object_get(root, "data"), "file");
    if (out != NULL && cap > 0)
        out[0] = '\0';
    if (file == NULL) {
        if (cid_is_none(&job->data))
            return emac_fail(err, EMAC_INVALID,
                             "data must name the corpus: data.file (a path) or data.cid");
        return EMAC_OK;
    }
    if (!cid_is_none(&job->data))
        return emac_fail(err, EMAC_INVALID, "data has both 'file' and 'cid'; give one of them");
    if (job_on_records(job))
        return emac_fail(err, EMAC_INVALID,
                         "data.file means a text; model.architecture '%s' trains on a data set: "
                         "make one by 'emac data import' and give data.cid",
                         job_family_name(job->architecture));
    if (!json_is_string(file) || json_string_length(file) == 0 ||
        strlen(json_string_value(file)) != json_string_length(file))
        return emac_fail(err, EMAC_INVALID, "data.file must be a path");
    if (out == NULL)
        return emac_fail(err, EMAC_INVALID,
                         "data.file means nothing here; add the file first and "
                         "give data.cid");
    if (!emac_strcpy(out, cap, json_string_value(file)))
        return emac_fail(err, EMAC_INVALID, "data.file is longer than %zu characters", cap - 1);
    return EMAC_OK;
}

/* The field's value in the file, NULL when absent. */
static const json_t *field_value(json_t *root, const struct job_field *f)
{
    return json_object_get(f->section == NULL ? root : json_object_get(root, f->section), f->key);
}

static enum emac_status read_fields(struct job *out, json_t *root, bool *given,
                                    struct emac_err *err)
{
    char path[JOB_PATH_MAX];
    for (uint32_t i = 0; i < JOB_FIELD_COUNT; i++) {
        const struct job_field *f = &JOB_FIELDS[i];
        const json_t *v = field_value(root, f);
        enum emac_status st = EMAC_OK;
        if (!job_field_applies(f, out))
            continue;
        given[i] = v != NULL;
        job_field_path(path, f->section, f->key);
        if (v != NULL)
            st = read_field(f, out, v, err);
        else if (f->need == NEED_MUST)
            st = emac_fail(err, EMAC_INVALID, "%s is missing", path);
        else if (f->need == NEED_DEFAULT && f->type != FIELD_CHOICE)
            job_field_set_usual(out, f);
        if (st != EMAC_OK)
            return st;
    }
    return EMAC_OK;
}

static enum emac_status choice_read(struct job *out, const struct job_field *f, const json_t *v,
                                    struct emac_err *err)
{
    char path[JOB_PATH_MAX], words[JOB_WORDS_TEXT_MAX];
    if (!json_is_string(v))
        return wrong_type(f, "text", v, err);
    if (strlen(json_string_value(v)) == json_string_length(v) &&
        job_field_choose(out, f, json_string_value(v)))
        return EMAC_OK;
    job_field_path(path, f->section, f->key);
    job_field_words(words, f, UINT32_MAX);
    return emac_fail(err, EMAC_INVALID, "%s must be %s, not '%.40s'", path, words,
                     json_string_value(v));
}

/* What was chosen says which fields there are. */
static enum emac_status choices_read(struct job *out, json_t *root, struct emac_err *err)
{
    for (uint32_t i = 0; i < JOB_FIELD_COUNT; i++) {
        const struct job_field *f = &JOB_FIELDS[i];
        const json_t *v = field_value(root, f);
        enum emac_status st = EMAC_OK;
        if (f->type != FIELD_CHOICE || !job_field_applies(f, out))
            continue;
        if (v == NULL)
            job_field_set_usual(out, f);
        else
            st = choice_read(out, f, v, err);
        if (st != EMAC_OK)
            return st;
    }
    return EMAC_OK;
}

enum emac_status job_from_json(struct job *out, json_t *root, char *data_file, size_t data_file_cap,
                               struct emac_err *err)
{
    bool given[JOB_FIELDS_MAX] = {false};
    enum emac_status st;
    *out = (struct job){0};
    if (!json_is_object(root))
        return emac_fail(err, EMAC_INVALID, "a job must be a map of fields");
    EMAC_TRY(st, choices_read(out, root, err));
    EMAC_TRY(st, only_known(out, NULL, root, err));
    for (uint32_t i = 0; JOB_SECTIONS[i] != NULL; i++) {
        json_t *map = json_object_get(root, JOB_SECTIONS[i]);
        if (map != NULL)
            EMAC_TRY(st, only_known(out, JOB_SECTIONS[i], map, err));
    }
    EMAC_TRY(st, read_fields(out, root, given, err));
    EMAC_TRY(st, read_data_file(root, out, data_file, data_file_cap, err));
    job_fill_derived(out, given);
    st = job_check_fields(out, err);
out:
    return st;
}

/* ---- writing ---- */

static json_t *set_to_json(const struct job_field *f, uint32_t set)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < f->word_count; i++) {
        if ((set >> i & 1) != 0)
            json_array_append_new(list, json_string(f->words[i]));
    }
    return list;
}

static json_t *list_to_json(const struct job_field *f, const struct job *job)
{
    const uint32_t *value = (const uint32_t *)(const void *)((const char *)job + f->offset);
    json_t *list = json_array();
    for (uint32_t i = 0; i < job_field_list_count(job, f); i++)
        json_array_append_new(list, json_integer(value[i]));
    return list;
}

static json_t *field_to_json(const struct job_field *f, const struct job *job)
{
    const void *p = (const char *)job + f->offset;
    char text[CID_TEXT_MAX];
    switch (f->type) {
    case FIELD_NAME:
    case FIELD_OWNER:
        return json_string(p);
    case FIELD_CHOICE:
        return json_string(job_field_word(job, f));
    case FIELD_SET:
        return set_to_json(f, *(const uint32_t *)p);
    case FIELD_LIST:
        return list_to_json(f, job);
    case FIELD_U32:
        return json_integer(*(const uint32_t *)p);
    case FIELD_U64:
        return json_integer((json_int_t) * (const uint64_t *)p);
    case FIELD_F64:
        return json_real(*(const double *)p);
    case FIELD_BOOL:
        return json_boolean(*(const bool *)p);
    case FIELD_AMOUNT:
        ledger_amount_text(text, *(const int64_t *)p);
        return json_string(text);
    case FIELD_CID:
        cid_text(text, p);
        return json_string(text);
    }
    EMAC_ASSERT(false);
    return NULL;
}

/* What is filled in later and is not there yet is left out, so that reading gives the same job. */
static bool is_absent(const struct job_field *f, const struct job *job)
{
    const void *p = (const char *)job + f->offset;
    if (f->type == FIELD_CID)
        return cid_is_none(p);
    if (f->type == FIELD_LIST)
        return job_field_list_count(job, f) == 0;
    if (f->type == FIELD_OWNER)
        return *(const char *)p == '\0';
    return f->type == FIELD_AMOUNT && f->need == NEED_LATER && *(const int64_t *)p == 0;
}

json_t *job_to_json(const struct job *job)
{
    json_t *root = json_object();
    EMAC_ASSERT(root != NULL);
    for (uint32_t i = 0; i < JOB_FIELD_COUNT; i++) {
        const struct job_field *f = &JOB_FIELDS[i];
        json_t *map = root;
        if (!job_field_applies(f, job))
            continue;
        if (f->section != NULL) {
            map = json_object_get(root, f->section);
            if (map == NULL) {
                map = json_object();
                json_object_set_new(root, f->section, map);
            }
        }
        if (!is_absent(f, job)) {
            int rc = json_object_set_new(map, f->key, field_to_json(f, job));
            EMAC_ASSERT(rc == 0);
        }
    }
    return root;
}

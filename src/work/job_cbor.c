/* The canonical form of a job. */
#include "work/job_fields.h"

#include <string.h>

#include "base/assert.h"
#include "codec/dagcbor.h"
#include "work/family.h"

#define JOB_ARENA_MAX (1u << 20)

/* ---- writing ---- */

static bool key_before(const char *a, const char *b)
{
    size_t m = strlen(a), n = strlen(b);
    return m != n ? m < n : strcmp(a, b) < 0;
}

/* A section's entries: its fields, and for the top level the sections too (field == NULL). */
struct entry {
    const char *key;
    const struct job_field *field;
};

static void entries_sort(struct entry *out, uint32_t n)
{
    EMAC_ASSERT(n <= JOB_FIELDS_MAX);
    for (uint32_t i = 1; i < n; i++) {
        struct entry e = out[i];
        uint32_t at = i;
        for (; at > 0 && key_before(e.key, out[at - 1].key); at--)
            out[at] = out[at - 1];
        out[at] = e;
    }
}

static uint32_t entries_of(const char *section, const struct job *job,
                           struct entry out[JOB_FIELDS_MAX])
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < JOB_FIELD_COUNT; i++) {
        if (job_field_is_of(&JOB_FIELDS[i], section, job))
            out[n++] = (struct entry){JOB_FIELDS[i].key, &JOB_FIELDS[i]};
    }
    for (uint32_t i = 0; section == NULL && JOB_SECTIONS[i] != NULL; i++)
        out[n++] = (struct entry){JOB_SECTIONS[i], NULL};
    entries_sort(out, n);
    return n;
}

/* Does struct optimiser_recipe hold it? */
static bool is_recipe(const struct job_field *f, const struct job *job)
{
    size_t begin = offsetof(struct job, optimiser);
    return job_field_is_of(f, "recipe", job) && f->offset >= begin &&
           f->offset < begin + sizeof job->optimiser;
}

static uint32_t recipe_entries(const struct job *job, struct entry out[JOB_FIELDS_MAX])
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < JOB_FIELD_COUNT; i++) {
        if (is_recipe(&JOB_FIELDS[i], job))
            out[n++] = (struct entry){JOB_FIELDS[i].key, &JOB_FIELDS[i]};
    }
    entries_sort(out, n);
    return n;
}

static void write_set(struct dagcbor_writer *w, const struct job_field *f, uint32_t set)
{
    dagcbor_list(w, (size_t)__builtin_popcount(set));
    for (uint32_t i = 0; i < f->word_count; i++) {
        if ((set >> i & 1) != 0)
            dagcbor_str(w, f->words[i]);
    }
}

static void write_list(struct dagcbor_writer *w, const struct job_field *f, const struct job *job)
{
    const uint32_t *value = (const uint32_t *)(const void *)((const char *)job + f->offset);
    uint32_t n = job_field_list_count(job, f);
    dagcbor_list(w, n);
    for (uint32_t i = 0; i < n; i++)
        dagcbor_u64(w, value[i]);
}

static void write_field(struct dagcbor_writer *w, const struct job_field *f, const struct job *job)
{
    const void *p = (const char *)job + f->offset;
    switch (f->type) {
    case FIELD_NAME:
    case FIELD_OWNER:
        dagcbor_str(w, p);
        break;
    case FIELD_CHOICE:
        dagcbor_str(w, job_field_word(job, f));
        break;
    case FIELD_SET:
        write_set(w, f, *(const uint32_t *)p);
        break;
    case FIELD_LIST:
        write_list(w, f, job);
        break;
    case FIELD_U32:
        dagcbor_u64(w, *(const uint32_t *)p);
        break;
    case FIELD_U64:
        dagcbor_u64(w, *(const uint64_t *)p);
        break;
    case FIELD_F64:
        dagcbor_f64(w, *(const double *)p);
        break;
    case FIELD_BOOL:
        dagcbor_bool(w, *(const bool *)p);
        break;
    case FIELD_AMOUNT:
        dagcbor_u64(w, (uint64_t) * (const int64_t *)p);
        break;
    case FIELD_CID:
        dagcbor_cid(w, p);
        break;
    }
}

/* Has the section a field that each job with these choices says? */
static bool must_be_there(const struct job *job, const char *section)
{
    for (uint32_t i = 0; i < JOB_FIELD_COUNT; i++) {
        if (!JOB_FIELDS[i].joined && job_field_is_of(&JOB_FIELDS[i], section, job))
            return true;
    }
    return false;
}

/* Without the joined fields, and sections of none but these, that `keep` does not want. */
static uint32_t entries_keep(const struct job *job, struct entry *e, uint32_t n,
                             bool (*keep)(const void *ctx, const struct entry *e), const void *ctx)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        bool must = e[i].field == NULL ? must_be_there(job, e[i].key) : !e[i].field->joined;
        if (must || keep(ctx, &e[i]))
            e[kept++] = e[i];
    }
    return kept;
}

static bool is_said(const void *job, const struct entry *e)
{
    if (e->field != NULL)
        return !job_field_is_usual(job, e->field);
    for (uint32_t i = 0; i < JOB_FIELD_COUNT; i++) {
        const struct job_field *f = &JOB_FIELDS[i];
        if (job_field_is_of(f, e->key, job) && !job_field_is_usual(job, f))
            return true;
    }
    return false;
}

static bool is_there(const void *map, const struct entry *e)
{
    return dagcbor_find(map, e->key) != NULL;
}

static void write_section(struct dagcbor_writer *w, const char *section, const struct job *job)
{
    struct entry e[JOB_FIELDS_MAX];
    uint32_t n = entries_of(section, job, e);
    n = entries_keep(job, e, n, is_said, job);
    dagcbor_map(w, n);
    for (uint32_t i = 0; i < n; i++) {
        dagcbor_key(w, e[i].key);
        if (e[i].field != NULL)
            write_field(w, e[i].field, job);
        else
            write_section(w, e[i].key, job);
    }
}

void job_recipe_write(struct dagcbor_writer *w, const struct optimiser_recipe *r)
{
    const struct job job = {.optimiser = *r};
    struct entry e[JOB_FIELDS_MAX];
    uint32_t n = recipe_entries(&job, e);
    n = entries_keep(&job, e, n, is_said, &job);
    dagcbor_map(w, n);
    for (uint32_t i = 0; i < n; i++) {
        dagcbor_key(w, e[i].key);
        write_field(w, e[i].field, &job);
    }
}

enum emac_status job_encode(const struct job *job, struct emac_buf *out, struct cid *cid,
                            struct emac_err *err)
{
    enum emac_status st = job_check_fields(job, err);
    if (st != EMAC_OK)
        return st;
    if (cid_is_none(&job->data))
        return emac_fail(err, EMAC_INVALID, "data.cid is not set: add the corpus to a store first");
    size_t start = out->len;
    struct dagcbor_writer w;
    dagcbor_writer_init(&w, out);
    write_section(&w, NULL, job);
    st = dagcbor_writer_end(&w, err);
    if (st == EMAC_OK && cid != NULL)
        *cid = cid_of(CID_DAG_CBOR, out->data + start, out->len - start);
    return st;
}

/* ---- reading ---- */

static enum emac_status read_text(const struct job_field *f, struct job *job,
                                  const struct dagcbor_node *map, struct emac_err *err)
{
    const struct dagcbor_node *v;
    char *p = (char *)job + f->offset;
    enum emac_status st = dagcbor_get(map, f->key, DAGCBOR_STR, &v, err);
    if (st != EMAC_OK)
        return st;
    bool whole = v->str.len == strlen(v->str.data);
    size_t cap = f->type == FIELD_NAME ? sizeof job->name : sizeof job->owner;
    if (whole && emac_strcpy(p, cap, v->str.data))
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID, "field '%s' of a job has a value that is not known",
                     f->key);
}

/* In the order of the words, and not empty. */
static enum emac_status read_set(const struct job_field *f, struct job *job,
                                 const struct dagcbor_node *map, struct emac_err *err)
{
    const struct dagcbor_node *list;
    uint32_t *set = (uint32_t *)(void *)((char *)job + f->offset), before = 0;
    enum emac_status st = dagcbor_get(map, f->key, DAGCBOR_LIST, &list, err);
    if (st != EMAC_OK)
        return st;
    *set = 0;
    for (size_t i = 0; i < list->seq.count; i++) {
        const struct dagcbor_node *v = &list->seq.items[i];
        before = *set;
        if (v->type != DAGCBOR_STR || v->str.len != strlen(v->str.data) ||
            !job_field_include(job, f, v->str.data) || *set - before <= before)
            return emac_fail(err, EMAC_INVALID, "field '%s' of a job has a value that is not known",
                             f->key);
    }
    if (*set == 0)
        return emac_fail(err, EMAC_INVALID, "field '%s' of a job is an empty list", f->key);
    return EMAC_OK;
}

static enum emac_status read_list(const struct job_field *f, struct job *job,
                                  const struct dagcbor_node *map, struct emac_err *err)
{
    const struct dagcbor_node *list;
    enum emac_status st = dagcbor_get(map, f->key, DAGCBOR_LIST, &list, err);
    if (st != EMAC_OK)
        return st;
    job_field_set_usual(job, f);
    for (size_t i = 0; i < list->seq.count; i++) {
        const struct dagcbor_node *v = &list->seq.items[i];
        if (v->type != DAGCBOR_U64 || !job_field_append(job, f, v->u64))
            return emac_fail(err, EMAC_INVALID, "field '%s' of a job has a value that is not known",
                             f->key);
    }
    return EMAC_OK;
}

static enum emac_status read_field(const struct job_field *f, struct job *job,
                                   const struct dagcbor_node *map, struct emac_err *err)
{
    void *p = (char *)job + f->offset;
    const struct dagcbor_node *v;
    uint64_t u = 0;
    enum emac_status st = EMAC_OK;
    switch (f->type) {
    case FIELD_U32:
        st = dagcbor_get_u64(map, f->key, UINT32_MAX, &u, err);
        *(uint32_t *)p = (uint32_t)u;
        break;
    case FIELD_U64:
        st = dagcbor_get_u64(map, f->key, INT64_MAX, p, err);
        break;
    case FIELD_AMOUNT:
        st = dagcbor_get_u64(map, f->key, INT64_MAX, &u, err);
        *(int64_t *)p = (int64_t)u;
        break;
    case FIELD_F64:
        st = dagcbor_get_f64(map, f->key, p, err);
        break;
    case FIELD_BOOL:
        st = dagcbor_get(map, f->key, DAGCBOR_BOOL, &v, err);
        *(bool *)p = st == EMAC_OK && v->boolean;
        break;
    case FIELD_CID:
        st = dagcbor_get_cid(map, f->key, p, err);
        break;
    case FIELD_SET:
        st = read_set(f, job, map, err);
        break;
    case FIELD_LIST:
        st = read_list(f, job, map, err);
        break;
    case FIELD_CHOICE: /* read before all others */
        break;
    case FIELD_NAME:
    case FIELD_OWNER:
        st = read_text(f, job, map, err);
        break;
    }
    if (st == EMAC_OK && f->joined && job_field_is_usual(job, f))
        return emac_fail(err, EMAC_INVALID,
                         "field '%s' of a job has its usual value, which is said by silence alone",
                         f->key);
    return st;
}

static enum emac_status read_section(struct job *job, const char *section,
                                     const struct dagcbor_node *map, struct emac_err *err)
{
    struct entry e[JOB_FIELDS_MAX];
    uint32_t n = entries_of(section, job, e);
    if (map->type != DAGCBOR_MAP)
        return emac_fail(err, EMAC_INVALID, "a job must be a map");
    n = entries_keep(job, e, n, is_there, map);
    if (map->seq.count != n || n == 0)
        return emac_fail(err, EMAC_INVALID, "%s of a job has %zu fields, not %u",
                         section == NULL ? "the top level" : section, map->seq.count, n);
    for (uint32_t i = 0; i < n; i++) {
        const struct dagcbor_node *inner;
        enum emac_status st;
        if (e[i].field != NULL) {
            st = read_field(e[i].field, job, map, err);
        } else {
            st = dagcbor_get(map, e[i].key, DAGCBOR_MAP, &inner, err);
            if (st == EMAC_OK)
                st = read_section(job, e[i].key, inner, err);
        }
        if (st != EMAC_OK)
            return st;
    }
    return EMAC_OK;
}

/* map: the field's section */
static enum emac_status choice_read(struct job *job, const struct job_field *f,
                                    const struct dagcbor_node *map, struct emac_err *err)
{
    const char *word;
    enum emac_status st = EMAC_OK;
    job_field_set_usual(job, f);
    if (f->joined && dagcbor_find(map, f->key) == NULL)
        return EMAC_OK;
    EMAC_TRY(st, dagcbor_get_str(map, f->key, &word, err));
    if (!job_field_choose(job, f, word))
        st = emac_fail(err, EMAC_INVALID, "field '%s' of a job has a value that is not known",
                       f->key);
out:
    return st;
}

/* What was chosen says which fields there are; others that joined later begin as usual. */
static enum emac_status choices_read(struct job *job, const struct dagcbor_node *root,
                                     struct emac_err *err)
{
    for (uint32_t i = 0; i < JOB_FIELD_COUNT; i++) {
        const struct job_field *f = &JOB_FIELDS[i];
        const struct dagcbor_node *map = root;
        enum emac_status st = EMAC_OK;
        if (!job_field_applies(f, job))
            continue;
        if (f->joined)
            job_field_set_usual(job, f); /* unless it is read now or later on */
        if (f->type != FIELD_CHOICE ||
            (f->joined && f->section != NULL && dagcbor_find(root, f->section) == NULL))
            continue;
        if (f->section != NULL)
            st = dagcbor_get(root, f->section, DAGCBOR_MAP, &map, err);
        if (st == EMAC_OK)
            st = choice_read(job, f, map, err);
        if (st != EMAC_OK)
            return st;
    }
    return EMAC_OK;
}

static enum emac_status recipe_fields(struct job *job, const struct dagcbor_node *map,
                                      struct emac_err *err)
{
    struct entry e[JOB_FIELDS_MAX];
    uint32_t n = recipe_entries(job, e);
    enum emac_status st = EMAC_OK;
    n = entries_keep(job, e, n, is_there, map);
    if (map->seq.count != n)
        return emac_fail(err, EMAC_INVALID, "a recipe has %zu fields, not %u", map->seq.count, n);
    for (uint32_t i = 0; i < n && st == EMAC_OK; i++) {
        st = read_field(e[i].field, job, map, err);
        if (st == EMAC_OK)
            st = job_field_check(job, e[i].field, err);
    }
    return st;
}

enum emac_status job_recipe_read(struct optimiser_recipe *out, const struct dagcbor_node *map,
                                 struct emac_err *err)
{
    struct job job = {0};
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < JOB_FIELD_COUNT; i++) {
        const struct job_field *f = &JOB_FIELDS[i];
        if (f->type == FIELD_CHOICE && is_recipe(f, &job))
            EMAC_TRY(st, choice_read(&job, f, map, err));
        else if (f->joined && is_recipe(f, &job))
            job_field_set_usual(&job, f);
    }
    st = recipe_fields(&job, map, err);
    *out = job.optimiser;
out:
    return st;
}

enum emac_status job_decode(struct job *out, const void *data, size_t n, struct emac_err *err)
{
    bool all_given[JOB_FIELDS_MAX];
    const struct dagcbor_node *root;
    struct arena a;
    *out = (struct job){0};
    if (n > JOB_BYTES_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "a job of %zu bytes; at most %d", n, JOB_BYTES_MAX);
    arena_init(&a, JOB_ARENA_MAX);
    enum emac_status st = dagcbor_parse(&a, data, n, &root, err);
    if (st == EMAC_OK)
        st = choices_read(out, root, err);
    if (st == EMAC_OK)
        st = read_section(out, NULL, root, err);
    arena_release(&a);
    if (st != EMAC_OK)
        return st;
    memset(all_given, true, sizeof all_given);
    job_fill_derived(out, all_given);
    return job_check_fields(out, err);
}

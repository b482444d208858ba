/* The table of a job's fields, for the files job*.c: one row a field, in the
 * order of the documentation. Two rows may share a path when no job has both. Reading and
 * writing of JSON and dag-cbor, ranges and defaults all follow from it; docs/job.md describes the
 * same rows. */
#ifndef EMAC_WORK_JOB_FIELDS_H
#define EMAC_WORK_JOB_FIELDS_H

#include "work/job.h"

enum job_field_type {
    FIELD_NAME,   /* [a-z0-9-]{1,40} */
    FIELD_CHOICE, /* an enum (of 32 bits), one of `words` */
    FIELD_SET,    /* some of `words`, one at least, as bits 1 << value of a u32; a list in JSON */
    FIELD_LIST,   /* 1 to `word_count` integers above 0, as u32s of which the rest is 0; usual: none
                   */
    FIELD_U32,
    FIELD_U64, /* at most INT64_MAX, what JSON integers hold */
    FIELD_F64,
    FIELD_BOOL,
    FIELD_AMOUNT, /* int64 units; decimal text of EMAC in JSON */
    FIELD_CID,
    FIELD_OWNER /* did:key or "" */
};

enum job_field_need {
    NEED_MUST,    /* the file must give it */
    NEED_DEFAULT, /* `usual` when absent */
    NEED_DERIVED, /* from other fields when absent (job_fill_derived) */
    NEED_LATER    /* zero when absent: filled in later */
};

struct job_field {
    const char *section; /* NULL: top level */
    const char *key;
    enum job_field_type type;
    enum job_field_need need;
    size_t offset; /* in struct job */
    double lo, hi,
        usual; /* U32, U64, F64; BOOL: usual; AMOUNT in units. Integers are exact below 2^53 */
    const char *const *words; /* CHOICE, SET: by value; NULL where a value is none of the job's */
    uint32_t word_count;      /* and how many a LIST holds at most */
    uint32_t of;   /* bit 1 << architecture of each job that has the field; 0: all have it */
    uint32_t does; /* bit 1 << kind of each job that has the field; 0: those that train */
    struct job_when {
        size_t offset; /* of a choice in an earlier row */
        uint32_t in;   /* bit 1 << value of each choice with which a job has the field; 0: any */
    } when;
    bool joined; /* joined later: left out of the canonical form at its usual value, so that
                    older jobs keep their CIDs */
};

#define JOB_FIELDS_MAX 128
extern const struct job_field JOB_FIELDS[];
extern const uint32_t JOB_FIELD_COUNT;
extern const char *const JOB_SECTIONS[]; /* NULL-terminated */

/* Has the job that field? Its choices, which decide, must have been read. */
bool job_field_applies(const struct job_field *f, const struct job *job);

/* Path of a field: "recipe.lr". */
#define JOB_PATH_MAX 64
void job_field_path(char out[JOB_PATH_MAX], const char *section, const char *key);
/* CHOICE, SET, LIST, U32, F64, BOOL: does it have its usual value? */
bool job_field_is_usual(const struct job *job, const struct job_field *f);
/* CHOICE: the word of the job's value; set it, false when `word` is none of the field's. */
const char *job_field_word(const struct job *job, const struct job_field *f);
bool job_field_choose(struct job *job, const struct job_field *f, const char *word);
/* SET: add a word; false when it is none of the field's, or in the set already. */
bool job_field_include(struct job *job, const struct job_field *f, const char *word);
/* LIST: how many it holds; add one, false when there is no room or it is out of range. */
uint32_t job_field_list_count(const struct job *job, const struct job_field *f);
bool job_field_append(struct job *job, const struct job_field *f, uint64_t value);
void job_field_set_usual(struct job *job, const struct job_field *f);
/* "'a', 'b' or 'c'": the field's words whose bit 1 << value is in `in`. */
#define JOB_WORDS_TEXT_MAX 200
void job_field_words(char out[JOB_WORDS_TEXT_MAX], const struct job_field *f, uint32_t in);
/* INVALID: `key` of `section` (NULL: top level) is no field of this job; the sentence says of
 * which it is, or which there are. */
enum emac_status job_field_unknown(const struct job *job, const char *section, const char *key,
                                   struct emac_err *err);
/* Is it one of that section, in this job? */
bool job_field_is_of(const struct job_field *f, const char *section, const struct job *job);
/* Is the field's value within its range? */
enum emac_status job_field_check(const struct job *job, const struct job_field *f,
                                 struct emac_err *err);
/* Fields computed from others when `given` (by row) is false, and the parts of struct job that have
 * no row (head_dim, max_positions). */
void job_fill_derived(struct job *job, const bool *given);
/* What must hold between the fields of spread local and hybrid (job_local.c). */
enum emac_status job_local_check(const struct job *job, struct emac_err *err);
/* The range of every row that applies, and what must hold between fields. */
enum emac_status job_check_fields(const struct job *job, struct emac_err *err);

#endif

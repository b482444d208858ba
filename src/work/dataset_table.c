/* Data sets of numbers from CSV tables. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/philox.h"
#include "codec/csv.h"
#include "work/dataset_import.h"

/* Classes in the order in which they turn up; `sorted` finds them by name. */
struct classes {
    uint32_t count;
    const char *name[DATASET_CLASSES_MAX];
    uint32_t sorted[DATASET_CLASSES_MAX];
};

struct import {
    struct dataset *d;
    const struct dataset_table *from;
    struct csv csv;
    const char **skip;
    uint32_t skips;
    uint32_t cells;    /* of each row */
    uint32_t label;    /* which of them is the class */
    uint32_t *feature; /* which are the features, d->channels of them */
    struct classes classes;
    struct emac_buf value, klass; /* of all rows: f32[rows, channels], u32[rows] */
};

static enum emac_status no_memory(struct emac_err *err)
{
    return emac_fail(err, EMAC_NO_MEMORY, "out of memory for the rows of a table");
}

/* ---- the first row ---- */

static bool is_skipped(const struct import *m, const char *name)
{
    for (uint32_t i = 0; i < m->skips; i++) {
        if (strcmp(m->skip[i], name) == 0)
            return true;
    }
    return false;
}

static enum emac_status column_find(const struct import *m, const char *name, uint32_t *out,
                                    struct emac_err *err)
{
    for (*out = 0; *out < m->csv.count; (*out)++) {
        if (strcmp(csv_cell(&m->csv, *out), name) == 0)
            return EMAC_OK;
    }
    return emac_fail(err, EMAC_INVALID, "line %zu names no column '%.100s'", m->csv.row_line, name);
}

static enum emac_status header_row(struct import *m, struct emac_err *err)
{
    bool row;
    enum emac_status st = csv_next(&m->csv, &row, err);
    if (st == EMAC_OK && !row)
        st =
            emac_fail(err, EMAC_INVALID, "the table is empty; its first row must name the columns");
    return st;
}

static enum emac_status header_read(struct import *m, struct emac_err *err)
{
    struct dataset *d = m->d;
    uint32_t ignored;
    enum emac_status st;
    EMAC_TRY(st, header_row(m, err));
    m->cells = m->csv.count;
    m->label = m->cells - 1;
    if (m->from->label != NULL)
        EMAC_TRY(st, column_find(m, m->from->label, &m->label, err));
    for (uint32_t i = 0; i < m->skips; i++)
        EMAC_TRY(st, column_find(m, m->skip[i], &ignored, err));
    d->column = arena_calloc(&d->arena, m->cells, sizeof *d->column);
    m->feature = arena_calloc(&d->arena, m->cells, sizeof *m->feature);
    if (d->column == NULL || m->feature == NULL)
        return no_memory(err);
    for (uint32_t i = 0; i < m->cells; i++) {
        const char *name = csv_cell(&m->csv, i);
        if (i == m->label || is_skipped(m, name))
            continue;
        m->feature[d->column_count] = i;
        d->column[d->column_count] = arena_strndup(&d->arena, name, strlen(name));
        if (d->column[d->column_count++] == NULL)
            return no_memory(err);
    }
    if (d->column_count == 0 || d->column_count > DATASET_CHANNELS_MAX)
        return emac_fail(
            err, EMAC_INVALID,
            "the table has %u columns of features; 1 to %d are read, beside the one of "
            "the class",
            d->column_count, DATASET_CHANNELS_MAX);
    d->channels = d->column_count;
out:
    return st;
}

/* The test table's columns must be the training table's. */
static enum emac_status header_compare(struct import *m, struct emac_err *err)
{
    enum emac_status st = header_row(m, err);
    if (st != EMAC_OK)
        return st;
    for (uint32_t i = 0; i < m->d->channels; i++) {
        if (m->csv.count != m->cells ||
            strcmp(csv_cell(&m->csv, m->feature[i]), m->d->column[i]) != 0)
            return emac_fail(err, EMAC_INVALID,
                             "line %zu: the columns are not those of the training table",
                             m->csv.row_line);
    }
    return EMAC_OK;
}

/* ---- rows ---- */

/* Where `name` is, or would be, in the sorted list. */
static uint32_t class_place(const struct classes *c, const char *name, bool *found)
{
    uint32_t lo = 0, hi = c->count;
    *found = false;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int order = strcmp(c->name[c->sorted[mid]], name);
        if (order == 0) {
            *found = true;
            return mid;
        }
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static enum emac_status class_of(struct import *m, const char *name, bool may_add, uint32_t *out,
                                 struct emac_err *err)
{
    struct classes *c = &m->classes;
    bool found;
    uint32_t at = class_place(c, name, &found);
    size_t n = strlen(name);
    if (found) {
        *out = c->sorted[at];
        return EMAC_OK;
    }
    if (!may_add)
        return emac_fail(err, EMAC_INVALID, "line %zu: no training row is of class '%.100s'",
                         m->csv.row_line, name);
    if (n < 1 || n > DATASET_NAME_MAX || c->count == DATASET_CLASSES_MAX)
        return emac_fail(
            err, EMAC_INVALID,
            "line %zu: class '%.100s' is empty, longer than %d bytes, or one more than "
            "%d",
            m->csv.row_line, name, DATASET_NAME_MAX, DATASET_CLASSES_MAX);
    c->name[c->count] = arena_strndup(&m->d->arena, name, n);
    if (c->name[c->count] == NULL)
        return no_memory(err);
    memmove(&c->sorted[at + 1], &c->sorted[at], (c->count - at) * sizeof *c->sorted);
    c->sorted[at] = c->count;
    *out = c->count++;
    return EMAC_OK;
}

static enum emac_status number_read(const struct import *m, uint32_t feature, float *out,
                                    struct emac_err *err)
{
    const char *cell = csv_cell(&m->csv, m->feature[feature]);
    char *end;
    double v = strtod(cell, &end);
    end += strspn(end, " \t");
    *out = (float)v;
    if (end != cell && *end == '\0' && isfinite(*out))
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID,
                     "line %zu: '%.40s' in column '%.100s' is not a number that binary32 holds; "
                     "correct it, or leave the column out with --skip",
                     m->csv.row_line, cell, m->d->column[feature]);
}

static enum emac_status numbers_read(struct import *m, struct emac_buf *out, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    float v;
    if (m->csv.count != m->cells)
        return emac_fail(err, EMAC_INVALID, "line %zu has %u cells and the first row %u",
                         m->csv.row_line, m->csv.count, m->cells);
    for (uint32_t i = 0; i < m->d->channels; i++) {
        EMAC_TRY(st, number_read(m, i, &v, err));
        EMAC_TRY(st, emac_buf_append(out, &v, sizeof v, err));
    }
out:
    return st;
}

static enum emac_status row_read(struct import *m, bool may_add, struct emac_err *err)
{
    uint32_t klass;
    enum emac_status st = numbers_read(m, &m->value, err);
    if (st != EMAC_OK)
        return st;
    EMAC_TRY(st, class_of(m, csv_cell(&m->csv, m->label), may_add, &klass, err));
    st = emac_buf_append(&m->klass, &klass, sizeof klass, err);
out:
    return st;
}

static enum emac_status table_read(struct import *m, enum dataset_part part, struct emac_err *err)
{
    bool row, train = part == DATASET_TRAIN;
    enum emac_status st;
    csv_init(&m->csv, m->from->text[part]);
    EMAC_TRY(st, train ? header_read(m, err) : header_compare(m, err));
    while ((st = csv_next(&m->csv, &row, err)) == EMAC_OK && row)
        EMAC_TRY(st, row_read(m, train, err));
out:
    csv_release(&m->csv);
    return st == EMAC_OK ? st : emac_wrap(err, "%s table", dataset_part_name(part));
}

/* ---- the whole ---- */

static bool integer_of(const char *text, long long *out)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return end != text && *end == '\0' && errno == 0;
}

static int by_number(const void *a, const void *b)
{
    long long x, y;
    const char *s = *(const char *const *)a, *t = *(const char *const *)b;
    if (!integer_of(s, &x) || !integer_of(t, &y))
        return strcmp(s, t);
    return x != y ? (x < y ? -1 : 1) : strcmp(s, t);
}

/* Sort the classes' names into the data set; rank[i] is the final number of class i. */
static enum emac_status classes_sort(struct import *m, uint32_t *rank, struct emac_err *err)
{
    struct dataset *d = m->d;
    const struct classes *c = &m->classes;
    long long ignored;
    bool integers = true;
    d->class_count = c->count;
    d->class_name = arena_calloc(&d->arena, c->count + 1, sizeof *d->class_name);
    if (d->class_name == NULL)
        return no_memory(err);
    for (uint32_t i = 0; i < c->count; i++) {
        d->class_name[i] = c->name[c->sorted[i]];
        integers = integers && integer_of(d->class_name[i], &ignored);
    }
    if (integers)
        qsort(d->class_name, c->count, sizeof *d->class_name, by_number);
    for (uint32_t i = 0; i < c->count; i++) {
        for (uint32_t k = 0; k < c->count; k++) {
            if (d->class_name[i] == c->name[k])
                rank[k] = i;
        }
    }
    return EMAC_OK;
}

static const float *row_values(const struct import *m, uint64_t row)
{
    return (const float *)(const void *)m->value.data + row * m->d->channels;
}

static enum emac_status record_add(const struct import *m, uint64_t row, const uint32_t *rank,
                                   struct emac_buf *out, struct emac_err *err)
{
    uint32_t klass;
    memcpy(&klass, m->klass.data + row * sizeof klass, sizeof klass);
    const uint8_t label[2] = {(uint8_t)rank[klass], (uint8_t)(rank[klass] >> 8)};
    enum emac_status st =
        emac_buf_append(out, row_values(m, row), m->d->channels * sizeof(float), err);
    return st == EMAC_OK ? emac_buf_append(out, label, sizeof label, err) : st;
}

static enum emac_status norms_from(struct import *m, const struct emac_buf *train,
                                   struct emac_err *err)
{
    struct dataset *d = m->d;
    size_t bytes = dataset_record_bytes(d);
    enum emac_status st = dataset_norms_new(d, d->channels, err);
    for (uint32_t k = 0; k < d->channels && st == EMAC_OK; k++) {
        double sum = 0, squares = 0;
        for (size_t at = 0; at < train->len; at += bytes) {
            float v;
            memcpy(&v, train->data + at + k * sizeof v, sizeof v);
            sum += (double)v;
            squares += (double)v * (double)v;
        }
        dataset_norm_set(d, k, (double)d->split[DATASET_TRAIN].records, sum, squares);
    }
    return st;
}

/* Rows [0, own) came from the training table, those after from the test table. Of the former a
 * share is drawn for testing: the first places of a random order. */
static enum emac_status rows_place(struct import *m, uint64_t own, uint64_t rows,
                                   struct emac_buf records[DATASET_PARTS], struct emac_err *err)
{
    uint32_t rank[DATASET_CLASSES_MAX];
    uint64_t drawn = (uint64_t)((double)own * m->from->test_share);
    enum emac_status st = classes_sort(m, rank, err);
    for (uint64_t i = 0; i < rows && st == EMAC_OK; i++) {
        bool test = i >= own || (drawn > 0 && philox_order(0, PHILOX_ORDER, 0, own, i) < drawn);
        enum dataset_part part = test ? DATASET_TEST : DATASET_TRAIN;
        st = record_add(m, i, rank, &records[part], err);
        m->d->split[part].records++;
    }
    if (st == EMAC_OK && m->d->split[DATASET_TRAIN].records == 0)
        st = emac_fail(err, EMAC_INVALID, "the table has no rows below the names of its columns");
    return st;
}

static enum emac_status import_run(struct import *m, struct emac_buf records[DATASET_PARTS],
                                   struct emac_err *err)
{
    const struct dataset_table *from = m->from;
    enum emac_status st;
    bool test = from->text[DATASET_TEST].len > 0;
    if (!(from->test_share >= 0 && from->test_share <= 0.9) || (test && from->test_share > 0))
        return emac_fail(
            err, EMAC_INVALID,
            "the share of test rows must be from 0 to 0.9, and is not drawn when there "
            "is a test table");
    if (from->skip != NULL)
        EMAC_TRY(st, dataset_names_split(m->d, from->skip, &m->skip, &m->skips, err));
    m->d->dtype = DATASET_F32;
    m->d->height = m->d->width = 1;
    EMAC_TRY(st, table_read(m, DATASET_TRAIN, err));
    uint64_t own = m->klass.len / sizeof(uint32_t);
    if (test)
        EMAC_TRY(st, table_read(m, DATASET_TEST, err));
    EMAC_TRY(st, rows_place(m, own, m->klass.len / sizeof(uint32_t), records, err));
    st = norms_from(m, &records[DATASET_TRAIN], err);
out:
    return st;
}

enum emac_status dataset_from_table(struct dataset *d, const struct dataset_table *from,
                                    struct emac_buf records[DATASET_PARTS], struct emac_err *err)
{
    struct import *m;
    struct emac_err ignored;
    if (err == NULL)
        err = &ignored; /* what is called adds to the sentence, so there must be one */
    enum emac_status st = emac_alloc(&m, 1, sizeof *m, err);
    if (st != EMAC_OK)
        return st;
    m->d = d;
    m->from = from;
    emac_buf_init(&m->value, records[DATASET_TRAIN].max);
    emac_buf_init(&m->klass, records[DATASET_TRAIN].max);
    st = import_run(m, records, err);
    emac_buf_release(&m->value);
    emac_buf_release(&m->klass);
    free(m);
    return st;
}

/* ---- tables to be classified ---- */

static enum emac_status features_read(struct import *m, struct emac_buf *out, struct emac_err *err)
{
    struct dataset *d = m->d;
    bool row;
    enum emac_status st;
    if (d->dtype != DATASET_F32 || d->column_count != dataset_features(d))
        return emac_fail(err, EMAC_INVALID, "the model was not trained on a table");
    EMAC_TRY(st, header_row(m, err));
    m->cells = m->csv.count;
    m->feature = arena_calloc(&d->arena, d->column_count, sizeof *m->feature);
    if (m->feature == NULL)
        return no_memory(err);
    for (uint32_t i = 0; i < d->column_count; i++)
        EMAC_TRY(st, column_find(m, d->column[i], &m->feature[i], err));
    while ((st = csv_next(&m->csv, &row, err)) == EMAC_OK && row)
        EMAC_TRY(st, numbers_read(m, out, err));
out:
    return st;
}

enum emac_status dataset_features_of_table(struct dataset *d, struct emac_slice text,
                                           struct emac_buf *out, struct emac_err *err)
{
    struct import *m;
    enum emac_status st = emac_alloc(&m, 1, sizeof *m, err);
    if (st != EMAC_OK)
        return st;
    m->d = d;
    csv_init(&m->csv, text);
    st = features_read(m, out, err);
    csv_release(&m->csv);
    free(m);
    return st;
}

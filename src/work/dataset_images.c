/* Data sets of images from IDX files; and what both importers share. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "codec/idx.h"
#include "compute/host_math.h"
#include "work/dataset_import.h"

#define DEVIATION_LEAST 1e-12 /* what varies less is a constant */

/* ---- shared ---- */

enum emac_status dataset_norms_new(struct dataset *d, uint32_t count, struct emac_err *err)
{
    d->norm_count = count;
    d->scale = arena_calloc(&d->arena, count, sizeof *d->scale);
    d->shift = arena_calloc(&d->arena, count, sizeof *d->shift);
    if (d->scale == NULL || d->shift == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory for %u columns", count);
    return EMAC_OK;
}

void dataset_norm_set(struct dataset *d, uint32_t i, double count, double sum, double squares)
{
    EMAC_ASSERT(i < d->norm_count && count > 0);
    double mean = sum / count, variance = squares / count - mean * mean;
    double deviation = variance > 0 ? host_sqrt(variance) : 0;
    if (!(deviation > DEVIATION_LEAST))
        deviation = 1;
    d->scale[i] = (float)(1 / deviation);
    d->shift[i] = (float)(-mean / deviation);
}

enum emac_status dataset_names_split(struct dataset *d, const char *list, const char ***out,
                                     uint32_t *count, struct emac_err *err)
{
    uint32_t n = 1;
    for (const char *p = list; *p != '\0'; p++)
        n += *p == ',';
    *count = 0;
    *out = arena_calloc(&d->arena, n, sizeof **out);
    while (*out != NULL && *count < n) {
        size_t len = strcspn(list, ",");
        (*out)[*count] = arena_strndup(&d->arena, list, len);
        if ((*out)[*count] == NULL)
            break;
        (*count)++;
        list += len + 1;
    }
    if (*count < n)
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory for %u names", n);
    return EMAC_OK;
}

/* ---- images ---- */

struct sheet {
    struct idx images, labels;
};

static enum emac_status sheet_read(const struct dataset_images *from, enum dataset_part part,
                                   struct sheet *s, struct emac_err *err)
{
    const char *name = dataset_part_name(part);
    if (idx_parse(&s->images, from->images[part], err) != EMAC_OK)
        return emac_wrap(err, "images (%s)", name);
    if (idx_parse(&s->labels, from->labels[part], err) != EMAC_OK)
        return emac_wrap(err, "labels (%s)", name);
    if (s->images.rank != 3 && s->images.rank != 4)
        return emac_fail(err, EMAC_INVALID,
                         "images (%s) have %u dimensions; [images, height, width] or [images, "
                         "height, width, channels] are read",
                         name, s->images.rank);
    if (s->labels.rank != 1)
        return emac_fail(err, EMAC_INVALID, "labels (%s) have %u dimensions, not one", name,
                         s->labels.rank);
    if (s->labels.dim[0] != s->images.dim[0])
        return emac_fail(err, EMAC_INVALID, "there are %u images and %u labels (%s)",
                         s->images.dim[0], s->labels.dim[0], name);
    return EMAC_OK;
}

static uint32_t channels_of(const struct idx *images)
{
    return images->rank == 4 ? images->dim[3] : 1;
}

static enum emac_status classes_set(struct dataset *d, const char *names, const struct idx *labels,
                                    struct emac_err *err)
{
    uint32_t most = 0;
    char number[16];
    if (names != NULL)
        return dataset_names_split(d, names, &d->class_name, &d->class_count, err);
    for (size_t i = 0; i < labels->items.len; i++)
        most = labels->items.data[i] > most ? labels->items.data[i] : most;
    d->class_count = most + 1;
    d->class_name = arena_calloc(&d->arena, d->class_count, sizeof *d->class_name);
    for (uint32_t i = 0; d->class_name != NULL && i < d->class_count; i++) {
        int n = snprintf(number, sizeof number, "%u", i);
        d->class_name[i] = arena_strndup(&d->arena, number, (size_t)n);
        if (d->class_name[i] == NULL)
            return emac_fail(err, EMAC_NO_MEMORY, "out of memory for %u classes", d->class_count);
    }
    if (d->class_name == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory for %u classes", d->class_count);
    return EMAC_OK;
}

/* ---- which records are taken ---- */

#define LABELS 256 /* of a byte */

struct choice {
    uint32_t from_count;    /* classes of the files */
    uint16_t to[LABELS];    /* by label: its number in the data set, LABELS when it is left out */
    uint64_t most;          /* records of a class; 0: all */
    uint64_t taken[LABELS]; /* by number in the data set */
};

/* The classes that `only` lists take the place of all. */
static enum emac_status choice_set(struct choice *c, struct dataset *d, const char *only,
                                   struct emac_err *err)
{
    const char **number, **name = d->class_name;
    uint32_t count = 0;
    *c = (struct choice){.from_count = d->class_count};
    for (uint32_t i = 0; i < LABELS; i++)
        c->to[i] = only == NULL ? (uint16_t)i : LABELS;
    if (only == NULL)
        return EMAC_OK;
    enum emac_status st = dataset_names_split(d, only, &number, &count, err);
    if (st != EMAC_OK)
        return st;
    if (count > d->class_count || count > LABELS)
        return emac_fail(err, EMAC_INVALID, "%u classes are to be taken and there are %u", count,
                         d->class_count);
    d->class_name = arena_calloc(&d->arena, count, sizeof *d->class_name);
    if (d->class_name == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory for %u classes", count);
    for (uint32_t i = 0; i < count; i++) {
        char *end;
        unsigned long v = strtoul(number[i], &end, 10);
        if (number[i][0] < '0' || number[i][0] > '9' || *end != '\0' || v >= d->class_count ||
            v >= LABELS || c->to[v] != LABELS)
            return emac_fail(err, EMAC_INVALID,
                             "'%.40s' is not the number of one of the %u classes, named once",
                             number[i], d->class_count);
        c->to[v] = (uint16_t)i;
        d->class_name[i] = name[v];
    }
    d->class_count = count;
    return EMAC_OK;
}

/* Records are asked for in order; most 0 takes any number. */
static bool choice_takes(struct choice *c, uint8_t label, uint16_t *as)
{
    *as = c->to[label];
    if (*as == LABELS || (c->most > 0 && c->taken[*as] == c->most))
        return false;
    c->taken[*as]++;
    return true;
}

static void choice_restart(struct choice *c, uint64_t most)
{
    memset(c->taken, 0, sizeof c->taken);
    c->most = most;
}

/* Sums of bytes are exact: 2^64 holds the squares of 2^48 of them. */
static enum emac_status norm_from(struct dataset *d, struct choice *c, const struct sheet *s,
                                  struct emac_err *err)
{
    uint64_t sum = 0, squares = 0, count = 0;
    size_t features = dataset_features(d);
    for (uint32_t i = 0; i < s->images.dim[0]; i++) {
        const uint8_t *record = s->images.items.data + i * features;
        uint16_t as;
        if (!choice_takes(c, s->labels.items.data[i], &as))
            continue;
        for (size_t k = 0; k < features; k++) {
            sum += record[k];
            squares += (uint64_t)record[k] * record[k];
        }
        count += features;
    }
    if (count == 0)
        return emac_fail(err, EMAC_INVALID, "no record is of the classes to be taken");
    dataset_norm_set(d, 0, (double)count, (double)sum, (double)squares);
    return EMAC_OK;
}

static enum emac_status records_add(struct dataset *d, struct choice *c, enum dataset_part part,
                                    const struct sheet *s, struct emac_buf *out,
                                    struct emac_err *err)
{
    size_t features = dataset_features(d);
    for (uint32_t i = 0; i < s->images.dim[0]; i++) {
        uint8_t was = s->labels.items.data[i];
        uint16_t as;
        if (was >= c->from_count)
            return emac_fail(err, EMAC_INVALID, "label %u (%s) is %u and there are %u classes", i,
                             dataset_part_name(part), was, c->from_count);
        if (!choice_takes(c, was, &as))
            continue;
        const uint8_t label[2] = {(uint8_t)as, 0};
        enum emac_status st =
            emac_buf_append(out, s->images.items.data + i * features, features, err);
        if (st == EMAC_OK)
            st = emac_buf_append(out, label, sizeof label, err);
        if (st != EMAC_OK)
            return st;
        d->split[part].records++;
    }
    return EMAC_OK;
}

enum emac_status dataset_from_images(struct dataset *d, const struct dataset_images *from,
                                     struct emac_buf records[DATASET_PARTS], struct emac_err *err)
{
    struct emac_err ignored;
    struct sheet train, test;
    struct choice choice;
    enum emac_status st;
    if (err == NULL)
        err = &ignored; /* what is called adds to the sentence, so there must be one */
    EMAC_TRY(st, sheet_read(from, DATASET_TRAIN, &train, err));
    d->dtype = DATASET_U8;
    d->height = train.images.dim[1];
    d->width = train.images.dim[2];
    d->channels = channels_of(&train.images);
    EMAC_TRY(st, classes_set(d, from->classes, &train.labels, err));
    EMAC_TRY(st, choice_set(&choice, d, from->only, err));
    EMAC_TRY(st, dataset_norms_new(d, 1, err));
    choice_restart(&choice, from->per_class);
    EMAC_TRY(st, norm_from(d, &choice, &train, err));
    choice_restart(&choice, from->per_class);
    EMAC_TRY(st, records_add(d, &choice, DATASET_TRAIN, &train, &records[DATASET_TRAIN], err));
    if (from->images[DATASET_TEST].len == 0)
        goto out;
    EMAC_TRY(st, sheet_read(from, DATASET_TEST, &test, err));
    if (test.images.dim[1] != d->height || test.images.dim[2] != d->width ||
        channels_of(&test.images) != d->channels) {
        st = emac_fail(err, EMAC_INVALID, "the test images are not of the training images' size");
        goto out;
    }
    choice_restart(&choice, 0);
    st = records_add(d, &choice, DATASET_TEST, &test, &records[DATASET_TEST], err);
out:
    return st;
}

enum emac_status dataset_features_of_images(const struct dataset *d, struct emac_slice file,
                                            struct emac_slice *features, struct emac_err *err)
{
    struct idx images;
    enum emac_status st = idx_parse(&images, file, err);
    if (st != EMAC_OK)
        return st;
    if (d->dtype != DATASET_U8 || (images.rank != 3 && images.rank != 4) ||
        images.dim[1] != d->height || images.dim[2] != d->width ||
        channels_of(&images) != d->channels)
        return emac_fail(err, EMAC_INVALID, "the model takes records of %u x %u x %u %s, not these",
                         d->height, d->width, d->channels, dataset_dtype_name(d->dtype));
    *features = images.items;
    return EMAC_OK;
}

/* Data sets of images from IDX files; and what both importers share. */
#include <stdio.h>
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

/* Sums of bytes are exact: 2^64 holds the squares of 2^48 of them. */
static void norm_from(struct dataset *d, const struct idx *images)
{
    uint64_t sum = 0, squares = 0;
    for (size_t i = 0; i < images->items.len; i++) {
        uint64_t v = images->items.data[i];
        sum += v;
        squares += v * v;
    }
    dataset_norm_set(d, 0, (double)images->items.len, (double)sum, (double)squares);
}

static enum emac_status records_add(struct dataset *d, enum dataset_part part,
                                    const struct sheet *s, struct emac_buf *out,
                                    struct emac_err *err)
{
    size_t features = dataset_features(d);
    enum emac_status st = emac_buf_reserve(out, s->images.dim[0] * dataset_record_bytes(d), err);
    for (uint32_t i = 0; i < s->images.dim[0] && st == EMAC_OK; i++) {
        uint8_t label[2] = {s->labels.items.data[i], 0};
        if (label[0] >= d->class_count)
            return emac_fail(err, EMAC_INVALID, "label %u (%s) is %u and there are %u classes", i,
                             dataset_part_name(part), label[0], d->class_count);
        st = emac_buf_append(out, s->images.items.data + i * features, features, err);
        if (st == EMAC_OK)
            st = emac_buf_append(out, label, sizeof label, err);
    }
    d->split[part].records = s->images.dim[0];
    return st;
}

enum emac_status dataset_from_images(struct dataset *d, const struct dataset_images *from,
                                     struct emac_buf records[DATASET_PARTS], struct emac_err *err)
{
    struct emac_err ignored;
    struct sheet train, test;
    enum emac_status st;
    if (err == NULL)
        err = &ignored; /* what is called adds to the sentence, so there must be one */
    EMAC_TRY(st, sheet_read(from, DATASET_TRAIN, &train, err));
    d->dtype = DATASET_U8;
    d->height = train.images.dim[1];
    d->width = train.images.dim[2];
    d->channels = channels_of(&train.images);
    EMAC_TRY(st, classes_set(d, from->classes, &train.labels, err));
    EMAC_TRY(st, dataset_norms_new(d, 1, err));
    norm_from(d, &train.images);
    EMAC_TRY(st, records_add(d, DATASET_TRAIN, &train, &records[DATASET_TRAIN], err));
    if (from->images[DATASET_TEST].len == 0)
        goto out;
    EMAC_TRY(st, sheet_read(from, DATASET_TEST, &test, err));
    if (test.images.dim[1] != d->height || test.images.dim[2] != d->width ||
        channels_of(&test.images) != d->channels) {
        st = emac_fail(err, EMAC_INVALID, "the test images are not of the training images' size");
        goto out;
    }
    st = records_add(d, DATASET_TEST, &test, &records[DATASET_TEST], err);
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

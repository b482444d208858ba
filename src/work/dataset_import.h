/* Making data sets out of files that people have (docs/data.md). The result is a manifest without
 * CIDs, `d` (initialised by the caller, who releases it in any case), and the bytes of each split's
 * records, appended to records[split]: store those, put the CIDs into d->split, then
 * dataset_encode. The buffers' `max` bounds them. Scale and shift are chosen so that the features
 * of the training records have mean 0 and deviation 1: over all of them for images, column by
 * column for tables. */
#ifndef EMAC_WORK_DATASET_IMPORT_H
#define EMAC_WORK_DATASET_IMPORT_H

#include "work/dataset.h"

/* Images and their classes as IDX files (codec/idx.h), expanded: images u8[N,H,W] or u8[N,H,W,C],
 * labels u8[N]. Without a test split its slices are empty. `classes`: names separated by commas, in
 * order of the number; NULL: "0", "1", ... up to the highest label of the training split.
 * `only`: numbers of the classes to take, separated by commas; they are counted anew in this order,
 * and keep their names. NULL: all. `per_class`: of the training split the first so many of each
 * class; 0: all. */
struct dataset_images {
    struct emac_slice images[DATASET_PARTS], labels[DATASET_PARTS];
    const char *classes, *only;
    uint64_t per_class;
};
enum emac_status dataset_from_images(struct dataset *d, const struct dataset_images *from,
                                     struct emac_buf records[DATASET_PARTS], struct emac_err *err);

/* A table as CSV (codec/csv.h). The first row names the columns. One column holds the class, any
 * text; all others numbers, which become binary32 features in the order of the columns. Classes are
 * sorted: as integers when all are, else by their bytes. */
struct dataset_table {
    struct emac_slice text[DATASET_PARTS]; /* test may be empty */
    const char *label;                     /* NULL: the last column */
    const char *skip;                      /* columns to leave out, separated by commas, or NULL */
    double test_share; /* of the rows of text[TRAIN], rounded down, drawn for the test split; 0 to
                          0.9, and 0 when there is a text for it */
};
/* INVALID naming the line and the column of what is not a number, a row with too few cells, ... */
enum emac_status dataset_from_table(struct dataset *d, const struct dataset_table *from,
                                    struct emac_buf records[DATASET_PARTS], struct emac_err *err);

/* ---- files to be classified ---- */

/* The features of each record of a file, as dataset_normalise takes them, for a data set whose
 * manifest says what a record is. Images: *features lies in `file`. Tables: columns are found by
 * their names, others are ignored; features are appended to out. */
enum emac_status dataset_features_of_images(const struct dataset *d, struct emac_slice file,
                                            struct emac_slice *features, struct emac_err *err);
enum emac_status dataset_features_of_table(struct dataset *d, struct emac_slice text,
                                           struct emac_buf *out, struct emac_err *err);

/* ---- for the importers ---- */

/* Set scale[i], shift[i] from count, sum and sum of squares of the features that they are for. */
void dataset_norm_set(struct dataset *d, uint32_t i, double count, double sum, double squares);
/* Room for `count` numbers of scale and shift. */
enum emac_status dataset_norms_new(struct dataset *d, uint32_t count, struct emac_err *err);
/* Names separated by commas, kept in the data set's arena. */
enum emac_status dataset_names_split(struct dataset *d, const char *list, const char ***out,
                                     uint32_t *count, struct emac_err *err);

#endif

/* A data set of labelled records, content-addressed (docs/data.md): a dag-cbor manifest that says
 * what a record is and names, for each split, the UnixFS file of its records. The manifest's CID is
 * the data set's name; what follows the links is the whole of it.
 *
 *   {kind: "dataset", version: 1, dtype: "u8" | "f32", shape: [height, width, channels],
 *    scale: [f64, ...], shift: [f64, ...], classes: [text, ...], columns: [text, ...],
 *    splits: {train: {file: CID, records}, test?: {file: CID, records}}}
 *
 * A record is its features, height * width * channels of dtype (little-endian, channels fastest),
 * then its class as u16, little-endian; no padding. A feature enters a model as the binary32 number
 * x * scale + shift: one rounded product, one rounded sum. scale and shift hold one number for all
 * or one a channel, each a binary32 value; columns names the channels, or is empty. Tables (CSV)
 * are records of shape [1, 1, columns]. */
#ifndef EMAC_WORK_DATASET_H
#define EMAC_WORK_DATASET_H

#include <jansson.h>

#include "base/arena.h"
#include "codec/cid.h"
#include "store/store.h"

#define DATASET_BYTES_MAX    (1u << 20) /* of the manifest */
#define DATASET_CLASSES_MAX  4096
#define DATASET_CHANNELS_MAX 4096
#define DATASET_SIDE_MAX     4096
#define DATASET_FEATURES_MAX (1u << 20) /* of a record */
#define DATASET_RECORDS_MAX  ((uint64_t)1 << 32)
#define DATASET_NAME_MAX     100 /* bytes of a class or column name */

enum dataset_dtype { DATASET_U8, DATASET_F32 };
enum dataset_part { DATASET_TRAIN, DATASET_TEST, DATASET_PARTS };

struct dataset_split {
    struct cid file;
    uint64_t records; /* of test: may be 0, and then there is no file */
};

/* Everything pointed to lives in `arena`. dataset_init or dataset_decode, then dataset_release. */
struct dataset {
    enum dataset_dtype dtype;
    uint32_t height, width, channels;
    uint32_t class_count;  /* >= 2 */
    uint32_t column_count; /* channels, or 0 */
    uint32_t norm_count;   /* 1 or channels */
    const char **class_name, **column;
    float *scale, *shift;
    struct dataset_split split[DATASET_PARTS];
    struct arena arena;
};

void dataset_init(struct dataset *d);
void dataset_release(struct dataset *d);
/* Appends to out; cid may be NULL. INVALID when a limit or a rule above is broken. */
enum emac_status dataset_encode(const struct dataset *d, struct emac_buf *out, struct cid *cid,
                                struct emac_err *err);
/* Release in any case. INVALID naming the field. */
enum emac_status dataset_decode(struct dataset *out, const void *data, size_t n,
                                struct emac_err *err);
/* Read the manifest from a store, and check that the splits' files that are there have the size
 * that is due. INVALID when `cid` is no data set, NOT_FOUND when a block is missing. */
enum emac_status dataset_load(struct store *s, const struct cid *cid, struct dataset *out,
                              struct emac_err *err);

const char *dataset_part_name(enum dataset_part part); /* "train" */
const char *dataset_dtype_name(enum dataset_dtype dtype);
size_t dataset_features(const struct dataset *d);
size_t dataset_record_bytes(const struct dataset *d);
/* Bytes of all splits' files. */
uint64_t dataset_bytes(const struct dataset *d);
/* A record's bytes -> x, dataset_features numbers, and its class. INVALID when the class is none of
 * the data set's. */
enum emac_status dataset_record(const struct dataset *d, const uint8_t *record, float *x,
                                int32_t *label, struct emac_err *err);
/* The same for the features alone. */
void dataset_normalise(const struct dataset *d, const uint8_t *features, float *x);
/* How a record becomes a model's input and its answer a class: {dtype, shape, scale, shift,
 * classes, columns}, part of a model's config.json. */
json_t *dataset_input_json(const struct dataset *d);
/* The same read back: a manifest without splits. Release in any case. INVALID naming the member. */
enum emac_status dataset_input_read(struct dataset *out, const json_t *root, struct emac_err *err);
/* The manifest as JSON, CIDs as text. */
json_t *dataset_to_json(const struct dataset *d);

#endif

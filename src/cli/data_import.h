/* 'emac data import' and 'emac data show': data sets of records (docs/data.md). */
#ifndef EMAC_CLI_DATA_IMPORT_H
#define EMAC_CLI_DATA_IMPORT_H

#include "cli/cli.h"

#define SOURCE_BYTES_MAX ((size_t)2 << 30) /* of a file of records, also of an expanded one */

/* Paths; NULL where none was given. */
struct import_args {
    bool is_private; /* the records are sealed (data_sealed.h) */
    const char *images, *labels, *test_images, *test_labels, *classes, *only;
    uint64_t per_class;
    const char *csv, *test_csv, *label, *skip;
    double test_share;
};

/* Read a file into `out`, expanded when it is gzip; `out` has SOURCE_BYTES_MAX. Nothing for NULL.
 */
enum emac_status data_source_read(struct cli *c, const char *path, struct emac_buf *out);
/* Put the data set into `s`, records first, and pin it. */
enum emac_status data_import(struct cli *c, struct store *s, const struct import_args *a,
                             struct cid *cid);
/* Print the manifest of a data set, which is in the store. */
enum emac_status data_show(struct cli *c, struct store *s, const struct cid *cid);

#endif

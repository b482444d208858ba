/* 'emac data import' and 'emac data show': data sets of records (docs/data.md). */
#ifndef EMAC_CLI_DATA_IMPORT_H
#define EMAC_CLI_DATA_IMPORT_H

#include "cli/cli.h"

/* Paths; NULL where none was given. */
struct import_args {
    const char *images, *labels, *test_images, *test_labels, *classes;
    const char *csv, *test_csv, *label, *skip;
    double test_share;
};

/* Put the data set into `s`, records first, and pin it. */
enum emac_status data_import(struct cli *c, struct store *s, const struct import_args *a,
                             struct cid *cid);
/* Print the manifest of a data set, fetched when it is not in the store. */
enum emac_status data_show(struct cli *c, struct store *s, const struct cid *cid);

#endif

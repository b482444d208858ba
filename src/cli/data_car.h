/* `emac data piece`, `export` and `import --car`: data as other networks of storage take them. */
#ifndef EMAC_CLI_DATA_CAR_H
#define EMAC_CLI_DATA_CAR_H

#include "cli/cli.h"
#include "codec/commp.h"

/* The piece of the DAG `cid` as a CAR, which must lie in s. */
enum emac_status data_piece_of(struct cli *c, struct store *s, const struct cid *cid,
                               struct commp *out);
/* Say the piece commitment of the file `name`, or of the CAR of the CID `name`. */
enum emac_status data_piece(struct cli *c, struct store *s, const char *name);
enum emac_status data_export(struct cli *c, struct store *s, const char *name, const char *path);
enum emac_status data_import_car(struct cli *c, struct store *s, const char *path, struct cid *out,
                                 uint64_t *size);

#endif

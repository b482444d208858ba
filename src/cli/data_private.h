/* `emac data keep` and `emac data shards`: data that stay on their owner's rig. */
#ifndef EMAC_CLI_DATA_PRIVATE_H
#define EMAC_CLI_DATA_PRIVATE_H

#include "cli/cli.h"

/* Keep a file in the store of the rig in `dir` (NULL: that of `emac node`), and say its line. With
 * `tokenizer` (data_tokenize's; NULL: none) the text is cut, and the token set is kept instead. */
enum emac_status data_keep(struct cli *c, const char *dir, const char *path, const char *tokenizer);
/* A manifest out of a list of such lines, into the store. */
enum emac_status data_shards(struct cli *c, struct store *s, const char *path, struct cid *cid,
                             uint64_t *size);

#endif

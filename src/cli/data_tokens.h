/* 'emac data tokenize', and 'emac data show' of what it made: token sets (work/corpus.h). */
#ifndef EMAC_CLI_DATA_TOKENS_H
#define EMAC_CLI_DATA_TOKENS_H

#include "cli/cli.h"
#include "work/corpus.h"

/* Cut the text at `path` by the tokenizer in `tokenizer`, a directory or the CID of one (a model's
 * will do), into the store, and pin it. `is_private`: its ids are sealed (cli/data_sealed.h); on
 * their way they lie in a file in HOME/private that only its owner may read. */
enum emac_status data_tokenize(struct cli *c, struct store *s, const char *path,
                               const char *tokenizer, bool is_private, struct corpus *out,
                               struct cid *cid);
/* Does the model, whole or on a base, read bytes? It comes into the store. */
enum emac_status data_tokens_bytes(struct cli *c, struct store *s, const struct cid *model,
                                   bool *bytes);
/* Print what a token set says. */
void data_tokens_show(struct cli *c, const struct corpus *corpus);

#endif

/* `emac model export MODEL FILE.gguf`. */
#ifndef EMAC_CLI_MODEL_GGUF_H
#define EMAC_CLI_MODEL_GGUF_H

#include "cli/cli.h"

bool model_gguf_named(const char *path); /* does it end in .gguf? */

/* Write the language model `name`, a CID or a directory, into `path`; an adapter or a head with its
 * base. `format` is a name of gguf_type_find, or NULL to keep the matrices as they are. The weights
 * of a whole model are read as they are written, about a MiB at a time; what has to be merged or
 * opened is in memory first. The file is there whole or not at all. */
enum emac_status model_gguf_export(struct cli *c, const char *name, const char *format,
                                   const char *path);

#endif

/* A model as users name it: a CID, or a directory with config.json and model.safetensors. */
#ifndef EMAC_CLI_MODEL_DIR_H
#define EMAC_CLI_MODEL_DIR_H

#include "cli/cli.h"
#include "model/llama.h"

/* Write every file of the model directory `cid` into `dir` (made; existing files are replaced). */
enum emac_status model_dir_export(struct cli *c, struct store *s, const struct cid *cid,
                                  const char *dir);

/* Make `dir` and write config.json, generation_config.json and model.safetensors; with a vocabulary
 * of 256 also the byte tokenizer's files. */
enum emac_status model_dir_write(struct cli *c, const struct llama_config *config,
                                 const struct emac_buf *weights, const char *dir);

struct model_files {
    struct emac_buf config;  /* the text of config.json */
    struct emac_buf weights; /* the whole model.safetensors */
};
/* From a directory, or from a CID (fetched when not in the store). Release with
 * model_files_release. */
enum emac_status model_files_load(struct cli *c, const char *name, struct model_files *out);
void model_files_release(struct model_files *m);

#endif

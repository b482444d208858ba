/* A model as users name it: a CID, or a directory with config.json and model.safetensors, which may
 * be in parts (model_parts.h). */
#ifndef EMAC_CLI_MODEL_DIR_H
#define EMAC_CLI_MODEL_DIR_H

#include "cli/cli.h"
#include "model/llama.h"
#include "work/model_tree.h"

/* Write every file of the model directory `cid` into `dir` (made; existing files are replaced), and
 * those of its base into `dir`/base. `part_bytes` > 0: model.safetensors in parts of at most that
 * much data. What is private is opened, into one file: FORBIDDEN without its key. */
enum emac_status model_dir_export(struct cli *c, struct store *s, const struct cid *cid,
                                  const char *dir, uint64_t part_bytes);

/* Make `dir` and write config.json, generation_config.json and model.safetensors; `texts` are those
 * of the tokenizer: without them (NULL, or empty) a vocabulary of 256 is that of bytes. */
enum emac_status model_dir_write(struct cli *c, const struct llama_config *config,
                                 const struct emac_buf *weights, struct model_texts *texts,
                                 const char *dir);

struct model_files {
    struct emac_buf config;  /* the text of config.json */
    struct emac_buf weights; /* the whole model.safetensors */
    struct model_texts texts;
    bool is_private; /* the weights were opened by keys of this home */
};
/* The same for a model of any architecture; its config.json is written anew from what it says. */
enum emac_status model_dir_write_whole(struct cli *c, struct model_files *m, const char *dir);

/* Put the files of a directory that model directories may hold (work/model_tree.h) into the store
 * as one, and pin it. `base` is the CID of an adapter's base, or NULL when it is no adapter's, or
 * has its base in `dir`/base. `is_private`: its weights are sealed under new keys, which are kept
 * (cli/data_sealed.h). */
enum emac_status model_dir_import(struct cli *c, struct store *s, const char *dir,
                                  const struct cid *base, bool is_private, struct cid *out);

/* The tokenizer's texts that a directory of the file system holds. */
enum emac_status model_dir_texts(struct cli *c, const char *dir, struct model_texts *out);

/* From a directory, or from a CID (fetched when not in the store). An adapter or a head is merged
 * with its base as it is read: that named `base` (a directory or a CID), or when it is NULL its
 * own. Release with model_files_release. */
enum emac_status model_files_load(struct cli *c, const char *name, struct model_files *out);
enum emac_status model_files_load_on(struct cli *c, const char *name, const char *base,
                                     struct model_files *out);
void model_files_release(struct model_files *m);

#endif

#include "cli/model_dir.h"

#include <stdlib.h>
#include <string.h>

#include "model/tokenizer.h"

#define CONFIG_MAX  (1u << 20)
#define WEIGHTS_MAX ((size_t)1 << 36)

/* The links of the directory block `cid`. */
static enum emac_status read_dir(struct cli *c, struct store *s, const struct cid *cid,
                                 struct unixfs_node *node, struct emac_buf *block)
{
    enum emac_status st = cli_fetch(c, s, cid);
    if (st == EMAC_OK)
        st = store_block_get(s, cid, block, &c->err);
    if (st == EMAC_OK)
        st = unixfs_node_parse(node, cid->codec, block->data, block->len, &c->err);
    if (st == EMAC_OK && node->kind != UNIXFS_DIRECTORY) {
        unixfs_node_release(node);
        st = emac_fail(&c->err, EMAC_INVALID,
                       "this CID is a file, not a model directory; use 'emac data get'");
    }
    return st;
}

enum emac_status model_dir_export(struct cli *c, struct store *s, const struct cid *cid,
                                  const char *dir)
{
    struct unixfs_node node;
    struct emac_buf block;
    emac_buf_init(&block, UNIXFS_BLOCK_MAX);
    enum emac_status st = read_dir(c, s, cid, &node, &block);
    if (st == EMAC_OK) {
        st = c->os->dir_make(c->os, dir, &c->err);
        for (size_t i = 0; st == EMAC_OK && i < node.count; i++) {
            char *path = emac_asprintf("%s/%s", dir, node.link[i].name);
            st = store_file_export(s, &node.link[i].cid, path, &c->err);
            free(path);
        }
        unixfs_node_release(&node);
    }
    emac_buf_release(&block);
    return st;
}

/* The small files by name; `only_bytes`: those of the byte tokenizer. */
enum small_file { CONFIG, GENERATION, TOKENIZER, TOKENIZER_CONFIG, SPECIAL };
static const struct {
    const char *name;
    bool only_bytes;
} small_files[] = {[CONFIG] = {"config.json", false},
                   [GENERATION] = {"generation_config.json", false},
                   [TOKENIZER] = {"tokenizer.json", true},
                   [TOKENIZER_CONFIG] = {"tokenizer_config.json", true},
                   [SPECIAL] = {"special_tokens_map.json", true}};

static enum emac_status small_file_text(enum small_file which, const struct llama_config *config,
                                        struct emac_buf *out, struct emac_err *err)
{
    switch (which) {
    case CONFIG:
        return llama_config_write(config, out, err);
    case GENERATION:
        return generation_config_json(out, err);
    case TOKENIZER:
        return byte_tokenizer_json(out, err);
    case TOKENIZER_CONFIG:
        return byte_tokenizer_config_json(out, config->max_positions, err);
    case SPECIAL:
        break;
    }
    return byte_tokenizer_special_json(out, err);
}

static enum emac_status file_put(struct cli *c, const char *dir, const char *name,
                                 const struct emac_buf *text)
{
    char *path = emac_asprintf("%s/%s", dir, name);
    enum emac_status st = c->os->file_write(c->os, path, text->data, text->len, 0644, &c->err);
    free(path);
    return st;
}

enum emac_status model_dir_write(struct cli *c, const struct llama_config *config,
                                 const struct emac_buf *weights, const char *dir)
{
    struct emac_buf text;
    emac_buf_init(&text, CONFIG_MAX);
    enum emac_status st = c->os->dir_make(c->os, dir, &c->err);
    for (size_t i = 0; st == EMAC_OK && i < EMAC_COUNT(small_files); i++) {
        if (small_files[i].only_bytes && config->vocab_size != 256)
            continue;
        emac_buf_clear(&text);
        st = small_file_text((enum small_file)i, config, &text, &c->err);
        if (st == EMAC_OK)
            st = file_put(c, dir, small_files[i].name, &text);
    }
    if (st == EMAC_OK)
        st = file_put(c, dir, "model.safetensors", weights);
    emac_buf_release(&text);
    return st;
}

static enum emac_status load_dir(struct cli *c, const char *dir, struct emac_buf *config,
                                 struct emac_buf *weights)
{
    char *config_path = emac_asprintf("%s/config.json", dir);
    char *weights_path = emac_asprintf("%s/model.safetensors", dir);
    enum emac_status st = c->os->file_read(c->os, config_path, config, &c->err);
    if (st == EMAC_OK)
        st = c->os->file_read(c->os, weights_path, weights, &c->err);
    free(config_path);
    free(weights_path);
    return st;
}

static enum emac_status read_link(struct cli *c, struct store *s, const struct unixfs_node *node,
                                  const char *name, struct emac_buf *out)
{
    for (size_t i = 0; i < node->count; i++) {
        if (strcmp(node->link[i].name, name) != 0)
            continue;
        uint64_t size;
        enum emac_status st = store_file_size(s, &node->link[i].cid, &size, &c->err);
        if (st == EMAC_OK && size > out->max)
            st = emac_fail(&c->err, EMAC_TOO_LARGE, "'%s' of the model is too large", name);
        if (st == EMAC_OK)
            st = emac_buf_reserve(out, size, &c->err);
        if (st == EMAC_OK)
            st = store_file_read(s, &node->link[i].cid, 0, out->data, size, &c->err);
        if (st == EMAC_OK)
            out->len = size;
        return st;
    }
    return emac_fail(&c->err, EMAC_CORRUPT, "the model directory holds no '%s'", name);
}

static enum emac_status load_cid(struct cli *c, const struct cid *cid, struct emac_buf *config,
                                 struct emac_buf *weights)
{
    struct store *s = NULL;
    struct unixfs_node node;
    struct emac_buf block;
    emac_buf_init(&block, UNIXFS_BLOCK_MAX);
    enum emac_status st = cli_store(c, &s);
    if (st == EMAC_OK)
        st = read_dir(c, s, cid, &node, &block);
    if (st == EMAC_OK) {
        st = read_link(c, s, &node, "config.json", config);
        if (st == EMAC_OK)
            st = read_link(c, s, &node, "model.safetensors", weights);
        unixfs_node_release(&node);
    }
    store_close(s);
    emac_buf_release(&block);
    return st;
}

enum emac_status model_files_load(struct cli *c, const char *name, struct model_files *out)
{
    struct cid cid;
    emac_buf_init(&out->config, CONFIG_MAX);
    emac_buf_init(&out->weights, WEIGHTS_MAX);
    enum emac_status st = cid_parse(&cid, name, NULL) == EMAC_OK
                              ? load_cid(c, &cid, &out->config, &out->weights)
                              : load_dir(c, name, &out->config, &out->weights);
    if (st == EMAC_NOT_FOUND)
        emac_wrap(&c->err, "'%s' is neither a model CID nor a directory with a model", name);
    if (st != EMAC_OK)
        model_files_release(out);
    return st;
}

void model_files_release(struct model_files *m)
{
    emac_buf_release(&m->config);
    emac_buf_release(&m->weights);
}

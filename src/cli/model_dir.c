#include "cli/model_dir.h"
#include "cli/model_parts.h"

#include <stdlib.h>
#include <string.h>

#include "cli/data_sealed.h"
#include "model/model_config.h"
#include "model/tokenizer.h"
#include "work/model_tree.h"

#define CONFIG_MAX (1u << 20)

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

struct exporting {
    struct cli *c;
    struct store *s;
    uint64_t part_bytes; /* 0: one file */
};

static enum emac_status export_dir(const struct exporting *e, const struct cid *cid,
                                   const char *dir, bool is_base);

static enum emac_status export_link(const struct exporting *e, const struct unixfs_link *link,
                                    const char *dir, bool is_base)
{
    char *path = emac_asprintf("%s/%s", dir, link->name);
    enum emac_status st;
    if (!is_base && strcmp(link->name, model_file_name(MODEL_BASE)) == 0)
        st = export_dir(e, &link->cid, path, true);
    else if (sealed_is(&link->cid) && e->part_bytes > 0)
        st = emac_fail(&e->c->err, EMAC_UNSUPPORTED,
                       "private weights are exported as one file: leave out --part-size");
    else if (sealed_is(&link->cid))
        st = data_unseal(e->c, e->s, &link->cid, path);
    else if (e->part_bytes > 0 && strcmp(link->name, model_file_name(MODEL_WEIGHTS)) == 0)
        st = model_parts_export(e->c, e->s, &link->cid, e->part_bytes, dir);
    else
        st = store_file_export(e->s, &link->cid, path, &e->c->err);
    free(path);
    return st;
}

static enum emac_status export_dir(const struct exporting *e, const struct cid *cid,
                                   const char *dir, bool is_base)
{
    struct cli *c = e->c;
    struct unixfs_node node;
    struct emac_buf block;
    emac_buf_init(&block, UNIXFS_BLOCK_MAX);
    enum emac_status st = read_dir(c, e->s, cid, &node, &block);
    if (st == EMAC_OK) {
        st = c->os->dir_make(c->os, dir, &c->err);
        for (size_t i = 0; st == EMAC_OK && i < node.count; i++)
            st = export_link(e, &node.link[i], dir, is_base);
        unixfs_node_release(&node);
    }
    emac_buf_release(&block);
    return st;
}

enum emac_status model_dir_export(struct cli *c, struct store *s, const struct cid *cid,
                                  const char *dir, uint64_t part_bytes)
{
    const struct exporting e = {c, s, part_bytes};
    return export_dir(&e, cid, dir, false);
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

/* What the model has of a tokenizer's texts; an empty one counts as none. */
static const struct emac_buf *given(struct model_texts *texts, const char *name)
{
    for (int f = MODEL_TOKENIZER; texts != NULL && f < MODEL_FILE_COUNT; f++) {
        const struct emac_buf *text = model_text(texts, (enum model_file)f);
        if (strcmp(name, model_file_name((enum model_file)f)) == 0 && text->len > 0)
            return text;
    }
    return NULL;
}

enum emac_status model_dir_write(struct cli *c, const struct llama_config *config,
                                 const struct emac_buf *weights, struct model_texts *texts,
                                 const char *dir)
{
    bool bytes = config->vocab_size == 256 && given(texts, "tokenizer.json") == NULL;
    struct emac_buf text;
    emac_buf_init(&text, CONFIG_MAX);
    enum emac_status st = c->os->dir_make(c->os, dir, &c->err);
    for (size_t i = 0; st == EMAC_OK && i < EMAC_COUNT(small_files); i++) {
        const struct emac_buf *have = given(texts, small_files[i].name);
        if (have == NULL && small_files[i].only_bytes && !bytes)
            continue;
        emac_buf_clear(&text);
        if (have == NULL)
            st = small_file_text((enum small_file)i, config, &text, &c->err);
        if (st == EMAC_OK)
            st = cli_file_put(c, dir, small_files[i].name, have != NULL ? have : &text);
    }
    if (st == EMAC_OK)
        st = cli_file_put(c, dir, "model.safetensors", weights);
    emac_buf_release(&text);
    return st;
}

enum emac_status model_dir_write_whole(struct cli *c, struct model_files *m, const char *dir)
{
    struct model_config config;
    enum emac_status st = model_config_read(&config, emac_buf_slice(&m->config), &c->err);
    if (st != EMAC_OK)
        return st;
    if (!config.is_classifier)
        return model_dir_write(c, &config.llama, &m->weights, &m->texts, dir);
    EMAC_TRY(st, c->os->dir_make(c->os, dir, &c->err));
    EMAC_TRY(st, cli_file_put(c, dir, model_file_name(MODEL_CONFIG), &m->config));
    st = cli_file_put(c, dir, model_file_name(MODEL_WEIGHTS), &m->weights);
out:
    return st;
}

#include "work/model_tree.h"

#include <string.h>

#include "base/assert.h"
#include "codec/unixfs.h"
#include "model/language.h"
#include "model/model_config.h"

static const char *const NAMES[MODEL_FILE_COUNT] = {
    [MODEL_CONFIG] = "config.json",
    [MODEL_WEIGHTS] = "model.safetensors",
    [MODEL_ADAPTER_CONFIG] = "adapter_config.json",
    [MODEL_ADAPTER] = "adapter_model.safetensors",
    [MODEL_HEAD] = "head.safetensors",
    [MODEL_BASE] = "base",
    [MODEL_LICENCE] = "LICENSE",
    [MODEL_README] = "README.md",
    [MODEL_TOKENIZER] = "tokenizer.json",
    [MODEL_TOKENIZER_CONFIG] = "tokenizer_config.json",
    [MODEL_SPECIAL_TOKENS] = "special_tokens_map.json",
    [MODEL_GENERATION] = "generation_config.json"};

const char *model_file_name(enum model_file file)
{
    EMAC_ASSERT((unsigned)file < MODEL_FILE_COUNT);
    return NAMES[file];
}

static void links_take(struct model_tree *m, const struct unixfs_node *node, size_t block_len)
{
    m->tree_size = block_len;
    for (size_t i = 0; i < node->count; i++) {
        m->tree_size += node->link[i].tsize;
        for (int f = 0; f < MODEL_FILE_COUNT; f++) {
            if (strcmp(node->link[i].name, NAMES[f]) != 0)
                continue;
            m->file[f] = node->link[i].cid;
            m->link_size[f] = node->link[i].tsize;
        }
    }
}

enum emac_status model_tree_read(struct store *s, const struct cid *dir, struct model_tree *out,
                                 struct emac_err *err)
{
    struct emac_buf block;
    struct unixfs_node node = {0};
    enum emac_status st;
    *out = (struct model_tree){.dir = *dir};
    emac_buf_init(&block, UNIXFS_BLOCK_MAX);
    EMAC_TRY(st, store_block_get(s, dir, &block, err));
    EMAC_TRY(st, unixfs_node_parse(&node, dir->codec, block.data, block.len, err));
    if (node.kind == UNIXFS_DIRECTORY)
        links_take(out, &node, block.len);
    else
        st = emac_fail(err, EMAC_INVALID, "this CID is a file, not a model directory");
out:
    unixfs_node_release(&node);
    emac_buf_release(&block);
    return st;
}

bool model_tree_has(const struct model_tree *m, enum model_file file)
{
    return !cid_is_none(&m->file[file]);
}

enum emac_status model_tree_file(struct store *s, const struct model_tree *m, enum model_file file,
                                 struct emac_buf *out, struct emac_err *err)
{
    uint64_t size = 0;
    enum emac_status st;
    if (!model_tree_has(m, file))
        return emac_fail(err, EMAC_INVALID, "the model directory holds no '%s'", NAMES[file]);
    emac_buf_clear(out);
    EMAC_TRY(st, store_file_size(s, &m->file[file], &size, err));
    if (size > out->max)
        return emac_fail(err, EMAC_TOO_LARGE, "'%s' of the model has %llu bytes; at most %zu",
                         NAMES[file], (unsigned long long)size, out->max);
    EMAC_TRY(st, emac_buf_reserve(out, size, err));
    EMAC_TRY(st, store_file_read(s, &m->file[file], 0, out->data, size, err));
    out->len = size;
    out->data[size] = '\0'; /* as always behind a buffer's contents; reserve made room for it */
out:
    return st;
}

/* Where the first bytes of a file of weights can be read, how many, and of how many. */
static enum emac_status head_find(struct store *s, const struct cid **file, struct sealed *sealed,
                                  uint64_t *there, uint64_t *size, struct emac_err *err)
{
    enum emac_status st;
    if (!sealed_is(*file)) {
        st = store_file_size(s, *file, size, err);
        *there = *size;
        return st;
    }
    st = sealed_load(s, *file, sealed, err);
    if (st != EMAC_OK)
        return st;
    if (cid_is_none(&sealed->head))
        return emac_fail(err, EMAC_INVALID,
                         "the weights are private and their table of tensors is not public: seal "
                         "them by 'emac model import --private'");
    *file = &sealed->head;
    *size = sealed->size;
    return store_file_size(s, *file, there, err);
}

struct store_file {
    struct store *s;
    const struct cid *cid;
};

static enum emac_status store_bytes(void *ctx, uint64_t at, void *out, size_t n,
                                    struct emac_err *err)
{
    const struct store_file *f = ctx;
    return store_file_read(f->s, f->cid, at, out, n, err);
}

enum emac_status model_tree_index(struct store *s, const struct cid *file, struct st_index *out,
                                  struct emac_err *err)
{
    struct sealed sealed;
    uint64_t size = 0, there = 0;
    enum emac_status st = head_find(s, &file, &sealed, &there, &size, err);
    struct store_file f = {s, file};
    return st == EMAC_OK ? st_index_read(out, store_bytes, &f, there, size, err) : st;
}

enum emac_status model_tree_config(struct store *s, const struct model_tree *m,
                                   struct model_config *out, struct emac_err *err)
{
    struct emac_buf text;
    enum emac_status st;
    emac_buf_init(&text, MODEL_TEXT_MAX);
    EMAC_TRY(st, model_tree_file(s, m, MODEL_CONFIG, &text, err));
    st = model_config_read(out, emac_buf_slice(&text), err);
out:
    emac_buf_release(&text);
    return st;
}

bool model_tree_is_private(const struct model_tree *m)
{
    return (model_tree_has(m, MODEL_WEIGHTS) && sealed_is(&m->file[MODEL_WEIGHTS])) ||
           (model_tree_has(m, MODEL_ADAPTER) && sealed_is(&m->file[MODEL_ADAPTER])) ||
           (model_tree_has(m, MODEL_HEAD) && sealed_is(&m->file[MODEL_HEAD]));
}

enum emac_status model_tree_weights(struct store *s, const struct model_tree *m,
                                    enum model_file file, const struct sealed_ring *keys,
                                    struct emac_buf *out, struct emac_err *err)
{
    const uint8_t *key;
    struct sealed sealed;
    enum emac_status st;
    if (!model_tree_has(m, file) || !sealed_is(&m->file[file]))
        return model_tree_file(s, m, file, out, err);
    emac_buf_clear(out);
    EMAC_TRY(st, sealed_load(s, &m->file[file], &sealed, err));
    EMAC_TRY(st, sealed_ring_get(keys, &m->file[file], &key, err));
    if (sealed.size > out->max)
        return emac_fail(err, EMAC_TOO_LARGE, "'%s' of the model has %llu bytes; at most %zu",
                         NAMES[file], (unsigned long long)sealed.size, out->max);
    EMAC_TRY(st, emac_buf_reserve(out, sealed.size, err));
    EMAC_TRY(st, sealed_read(s, &sealed, key, out->data, err));
    out->len = sealed.size;
    out->data[sealed.size] = '\0';
out:
    return st;
}

void model_weights_release(struct emac_buf *weights)
{
    if (weights->len > 0)
        crypto_wipe(weights->data, weights->len);
    emac_buf_release(weights);
}

/* ---- the tokenizer's texts ---- */

void model_texts_init(struct model_texts *t)
{
    for (int i = 0; i < MODEL_TEXTS; i++)
        emac_buf_init(&t->text[i], i == 0 ? TOKENIZER_JSON_MAX : MODEL_TEXT_MAX);
}

void model_texts_release(struct model_texts *t)
{
    for (int i = 0; i < MODEL_TEXTS; i++)
        emac_buf_release(&t->text[i]);
}

struct emac_buf *model_text(struct model_texts *t, enum model_file file)
{
    EMAC_ASSERT(file >= MODEL_TOKENIZER && file < MODEL_FILE_COUNT);
    return &t->text[file - MODEL_TOKENIZER];
}

enum emac_status model_texts_find(struct store *s, const struct cid *dir, struct model_tree *out,
                                  struct emac_err *err)
{
    enum emac_status st = model_tree_read(s, dir, out, err);
    if (st != EMAC_OK || model_tree_has(out, MODEL_TOKENIZER) || !model_tree_has(out, MODEL_BASE))
        return st;
    const struct cid base = out->file[MODEL_BASE];
    return model_tree_read(s, &base, out, err);
}

enum emac_status model_texts_read(struct store *s, const struct cid *dir, struct model_texts *out,
                                  struct emac_err *err)
{
    struct model_tree m;
    enum emac_status st;
    EMAC_TRY(st, model_texts_find(s, dir, &m, err));
    for (int f = MODEL_TOKENIZER; f < MODEL_FILE_COUNT; f++)
        if (model_tree_has(&m, (enum model_file)f))
            EMAC_TRY(st, model_tree_file(s, &m, (enum model_file)f,
                                         model_text(out, (enum model_file)f), err));
out:
    return st;
}

enum emac_status model_texts_language(struct model_texts *t, struct emac_slice config,
                                      uint32_t vocab, struct language *out, struct emac_err *err)
{
    const struct language_files files = {
        .config = config,
        .generation = emac_buf_slice(model_text(t, MODEL_GENERATION)),
        .tokenizer = emac_buf_slice(model_text(t, MODEL_TOKENIZER)),
        .tokenizer_config = emac_buf_slice(model_text(t, MODEL_TOKENIZER_CONFIG))};
    return language_read(out, &files, vocab, err);
}

/* ---- whole models ---- */

/* The files of an adapter or a head, and of its base. */
struct tuned_files {
    struct model_tree own, base;
    struct emac_buf adapter_config, trained, base_weights;
};

static enum emac_status tuned_read(struct store *s, const struct sealed_ring *keys,
                                   struct tuned_files *t, struct emac_buf *config,
                                   struct emac_err *err)
{
    bool adapter = model_tree_has(&t->own, MODEL_ADAPTER);
    enum emac_status st;
    EMAC_TRY(st, model_tree_read(s, &t->own.file[MODEL_BASE], &t->base, err));
    if (adapter)
        EMAC_TRY(st, model_tree_file(s, &t->own, MODEL_ADAPTER_CONFIG, &t->adapter_config, err));
    EMAC_TRY(st, model_tree_file(s, adapter ? &t->base : &t->own, MODEL_CONFIG, config, err));
    EMAC_TRY(st, model_tree_weights(s, &t->own, adapter ? MODEL_ADAPTER : MODEL_HEAD, keys,
                                    &t->trained, err));
    st = model_tree_weights(s, &t->base, MODEL_WEIGHTS, keys, &t->base_weights, err);
out:
    return st;
}

static enum emac_status tuned_load(struct store *s, const struct model_tree *own,
                                   struct device *dev, const struct sealed_ring *keys,
                                   struct emac_buf *config, struct emac_buf *weights,
                                   struct emac_err *err)
{
    struct tuned_files t = {.own = *own};
    enum emac_status st;
    emac_buf_init(&t.adapter_config, MODEL_TEXT_MAX);
    emac_buf_init(&t.trained, weights->max);
    emac_buf_init(&t.base_weights, weights->max);
    EMAC_TRY(st, tuned_read(s, keys, &t, config, err));
    const struct model_parts parts = {.config = emac_buf_slice(config),
                                      .base = emac_buf_slice(&t.base_weights),
                                      .adapter_config = emac_buf_slice(&t.adapter_config),
                                      .trained = emac_buf_slice(&t.trained)};
    st = model_parts_merge(dev, &parts, weights, err);
out:
    emac_buf_release(&t.adapter_config);
    model_weights_release(&t.trained);
    model_weights_release(&t.base_weights);
    return st;
}

enum emac_status model_tree_load(struct store *s, const struct cid *dir, struct device *dev,
                                 const struct sealed_ring *keys, struct emac_buf *config,
                                 struct emac_buf *weights, struct emac_err *err)
{
    struct model_tree m;
    enum emac_status st = model_tree_read(s, dir, &m, err);
    if (st != EMAC_OK)
        return st;
    if (model_tree_has(&m, MODEL_BASE) && !model_tree_has(&m, MODEL_WEIGHTS))
        return tuned_load(s, &m, dev, keys, config, weights, err);
    st = model_tree_file(s, &m, MODEL_CONFIG, config, err);
    return st == EMAC_OK ? model_tree_weights(s, &m, MODEL_WEIGHTS, keys, weights, err) : st;
}

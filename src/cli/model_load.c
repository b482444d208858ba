/* Models read into memory, and directories put into the store. */
#include <stdlib.h>
#include <string.h>

#include "cli/data_sealed.h"
#include "cli/model_dir.h"
#include "cli/model_parts.h"
#include "codec/unixfs.h"
#include "model/model_config.h"
#include "work/model_tree.h"

#define WEIGHTS_MAX ((size_t)1 << 36)

/* ---- reading ---- */

/* The whole files that a model is made of, read from directories or the store. */
struct parts {
    struct emac_buf config, adapter_config, trained, base;
};

static void parts_init(struct parts *p)
{
    emac_buf_init(&p->config, MODEL_TEXT_MAX);
    emac_buf_init(&p->adapter_config, MODEL_TEXT_MAX);
    emac_buf_init(&p->trained, WEIGHTS_MAX);
    emac_buf_init(&p->base, WEIGHTS_MAX);
}

static void parts_release(struct parts *p)
{
    emac_buf_release(&p->config);
    emac_buf_release(&p->adapter_config);
    emac_buf_release(&p->trained);
    emac_buf_release(&p->base);
}

/* NOT_FOUND when the directory does not hold it. */
static enum emac_status dir_file(struct cli *c, const char *dir, enum model_file file,
                                 struct emac_buf *out)
{
    char *path = emac_asprintf("%s/%s", dir, model_file_name(file));
    enum emac_status st = c->os->file_read(c->os, path, out, &c->err);
    free(path);
    return st;
}

enum emac_status model_dir_texts(struct cli *c, const char *dir, struct model_texts *out)
{
    enum emac_status st = EMAC_OK;
    for (int f = MODEL_TOKENIZER; f < MODEL_FILE_COUNT && st == EMAC_OK; f++) {
        st = dir_file(c, dir, (enum model_file)f, model_text(out, (enum model_file)f));
        if (st == EMAC_NOT_FOUND)
            st = EMAC_OK;
    }
    return st;
}

static bool dir_has(struct cli *c, const char *dir, enum model_file file)
{
    char *path = emac_asprintf("%s/%s", dir, model_file_name(file));
    uint64_t size;
    bool has = c->os->file_size(c->os, path, &size, NULL) == EMAC_OK;
    free(path);
    return has;
}

/* A whole model's weights, in one file or in parts; where both are, the one file counts, as it does
 * for other tools. */
static bool dir_has_weights(struct cli *c, const char *dir)
{
    return dir_has(c, dir, MODEL_WEIGHTS) || model_parts_there(c, dir);
}

/* What a directory holds of an adapter or a head. */
static enum emac_status trained_from_dir(struct cli *c, const char *dir, struct parts *p)
{
    bool adapter = dir_has(c, dir, MODEL_ADAPTER);
    enum emac_status st;
    if (adapter)
        EMAC_TRY(st, dir_file(c, dir, MODEL_ADAPTER_CONFIG, &p->adapter_config));
    else
        EMAC_TRY(st, dir_file(c, dir, MODEL_CONFIG, &p->config));
    st = dir_file(c, dir, adapter ? MODEL_ADAPTER : MODEL_HEAD, &p->trained);
out:
    return st;
}

static enum emac_status trained_from_store(struct cli *c, const struct cid *cid, struct parts *p)
{
    struct sealed_ring keys = {0};
    struct store *s = NULL;
    struct model_tree m;
    enum emac_status st;
    EMAC_TRY(st, cli_store(c, &s));
    EMAC_TRY(st, cli_fetch(c, s, cid));
    EMAC_TRY(st, model_tree_read(s, cid, &m, &c->err));
    if (model_tree_is_private(&m))
        EMAC_TRY(st, data_model_keys(c, s, cid, &keys));
    bool adapter = model_tree_has(&m, MODEL_ADAPTER);
    if (adapter)
        EMAC_TRY(st, model_tree_file(s, &m, MODEL_ADAPTER_CONFIG, &p->adapter_config, &c->err));
    else
        EMAC_TRY(st, model_tree_file(s, &m, MODEL_CONFIG, &p->config, &c->err));
    st = model_tree_weights(s, &m, adapter ? MODEL_ADAPTER : MODEL_HEAD, &keys, &p->trained,
                            &c->err);
out:
    sealed_ring_wipe(&keys);
    store_close(s);
    return st;
}

static enum emac_status merge(struct cli *c, const struct parts *p, struct model_files *out)
{
    const struct model_parts parts = {.config = emac_buf_slice(&p->config),
                                      .base = emac_buf_slice(&p->base),
                                      .adapter_config = emac_buf_slice(&p->adapter_config),
                                      .trained = emac_buf_slice(&p->trained)};
    struct device *dev;
    enum emac_status st = device_open("cpu", 0, &dev, &c->err);
    if (st == EMAC_OK)
        st = model_parts_merge(dev, &parts, &out->weights, &c->err);
    device_close(dev);
    if (st == EMAC_OK)
        st = emac_buf_append(&out->config, p->config.data, p->config.len, &c->err);
    return st;
}

/* `name` is an adapter or a head, `base` a whole model. */
static enum emac_status load_on(struct cli *c, const char *name, const char *base,
                                struct model_files *out)
{
    struct model_files whole;
    struct parts p;
    struct cid cid;
    enum emac_status st = model_files_load(c, base, &whole);
    if (st != EMAC_OK)
        return st;
    parts_init(&p);
    EMAC_TRY(st, cid_parse(&cid, name, NULL) == EMAC_OK ? trained_from_store(c, &cid, &p)
                                                        : trained_from_dir(c, name, &p));
    if (p.config.len == 0)
        EMAC_TRY(st, emac_buf_append(&p.config, whole.config.data, whole.config.len, &c->err));
    out->is_private = whole.is_private;
    emac_buf_release(&p.base);
    p.base = whole.weights;
    emac_buf_init(&whole.weights, WEIGHTS_MAX);
    const struct model_texts none = out->texts;
    out->texts = whole.texts;
    whole.texts = none;
    st = merge(c, &p, out);
out:
    parts_release(&p);
    model_files_release(&whole);
    return st;
}

static enum emac_status load_dir(struct cli *c, const char *dir, struct model_files *out)
{
    if (!dir_has_weights(c, dir) &&
        (dir_has(c, dir, MODEL_ADAPTER) || dir_has(c, dir, MODEL_HEAD))) {
        char *base = emac_asprintf("%s/%s", dir, model_file_name(MODEL_BASE));
        enum emac_status st = load_on(c, dir, base, out);
        if (st == EMAC_NOT_FOUND)
            emac_wrap(&c->err,
                      "'%s' is trained on a base that is not beside it: merge the two by "
                      "'emac model merge BASE %s -o DIR'",
                      dir, dir);
        free(base);
        return st;
    }
    enum emac_status st = dir_file(c, dir, MODEL_CONFIG, &out->config);
    if (st == EMAC_OK)
        st = model_dir_texts(c, dir, &out->texts);
    if (st == EMAC_OK && !dir_has(c, dir, MODEL_WEIGHTS) && model_parts_there(c, dir))
        return model_parts_read(c, dir, &out->weights);
    return st == EMAC_OK ? dir_file(c, dir, MODEL_WEIGHTS, &out->weights) : st;
}

static enum emac_status load_cid(struct cli *c, const struct cid *cid, struct model_files *out)
{
    struct sealed_ring keys = {0};
    struct store *s = NULL;
    struct device *dev = NULL;
    enum emac_status st;
    EMAC_TRY(st, cli_store(c, &s));
    EMAC_TRY(st, cli_fetch(c, s, cid));
    EMAC_TRY(st, data_model_keys(c, s, cid, &keys));
    out->is_private = keys.count > 0;
    EMAC_TRY(st, device_open("cpu", 0, &dev, &c->err));
    EMAC_TRY(st, model_tree_load(s, cid, dev, &keys, &out->config, &out->weights, &c->err));
    st = model_texts_read(s, cid, &out->texts, &c->err);
out:
    sealed_ring_wipe(&keys);
    device_close(dev);
    store_close(s);
    return st;
}

enum emac_status model_files_load_on(struct cli *c, const char *name, const char *base,
                                     struct model_files *out)
{
    struct cid cid;
    uint64_t size;
    enum emac_status st;
    emac_buf_init(&out->config, MODEL_TEXT_MAX);
    emac_buf_init(&out->weights, WEIGHTS_MAX);
    model_texts_init(&out->texts);
    out->is_private = false;
    if (c->os->file_size(c->os, name, &size, NULL) == EMAC_OK)
        st = emac_fail(&c->err, EMAC_INVALID,
                       "'%s' is a file, and a model is a CID or a directory: of a GGUF file 'emac "
                       "model import FILE.gguf DIR' makes one",
                       name);
    else if (base != NULL)
        st = load_on(c, name, base, out);
    else if (cid_parse(&cid, name, NULL) == EMAC_OK)
        st = load_cid(c, &cid, out);
    else
        st = load_dir(c, name, out);
    if (st == EMAC_NOT_FOUND)
        emac_wrap(&c->err, "'%s' is neither a model CID nor a directory with a model", name);
    if (st != EMAC_OK)
        model_files_release(out);
    return st;
}

enum emac_status model_files_load(struct cli *c, const char *name, struct model_files *out)
{
    return model_files_load_on(c, name, NULL, out);
}

void model_files_release(struct model_files *m)
{
    emac_buf_release(&m->config);
    if (m->is_private)
        model_weights_release(&m->weights);
    else
        emac_buf_release(&m->weights);
    model_texts_release(&m->texts);
}

/* ---- into the store ---- */

static const char *const IMPORTED[] = {
    "config.json",      "generation_config.json",   "model.safetensors", "special_tokens_map.json",
    "tokenizer.json",   "tokenizer.model",          "vocab.json",        "merges.txt",
    "README.md",        "tokenizer_config.json",    "LICENSE",           "adapter_config.json",
    "head.safetensors", "adapter_model.safetensors"};
#define IMPORTED_MAX (EMAC_COUNT(IMPORTED) + 1) /* and the base */

struct importing {
    struct cli *c;
    struct store *s;
    const char *dir;
    struct unixfs_link link[IMPORTED_MAX];
    size_t count;
    bool is_private;
};

/* Bytes of all blocks of a sealed file. */
static enum emac_status sealed_tree_size(struct store *s, const struct cid *cid, uint64_t *out,
                                         struct emac_err *err)
{
    struct sealed sealed;
    uint64_t size = 0, file = 0, head = 0;
    enum emac_status st;
    EMAC_TRY(st, sealed_load(s, cid, &sealed, err));
    EMAC_TRY(st, store_file_size(s, &sealed.file, &size, err));
    EMAC_TRY(st, unixfs_tree_size(size, &file, err));
    EMAC_TRY(st, store_file_size(s, &sealed.head, &size, err));
    EMAC_TRY(st, unixfs_tree_size(size, &head, err));
    (void)store_block_has(s, cid, &size);
    *out = size + file + head;
out:
    return st;
}

/* Weights that nobody but who has the key shall read; their table of tensors is public. */
static enum emac_status weights_seal(struct importing *m, const struct sealed_source *from,
                                     struct unixfs_link *link)
{
    struct cli *c = m->c;
    enum emac_status st = data_seal(c, m->s, from, &link->cid, &link->size);
    return st == EMAC_OK ? sealed_tree_size(m->s, &link->cid, &link->tsize, &c->err) : st;
}

/* Parts are joined in memory: the store shall not see them. */
static enum emac_status parts_seal(struct importing *m, struct unixfs_link *link)
{
    struct emac_buf joined;
    emac_buf_init(&joined, WEIGHTS_MAX);
    enum emac_status st = model_parts_read(m->c, m->dir, &joined);
    if (st == EMAC_OK) {
        struct sealed_source from = {.bytes = emac_buf_slice(&joined)};
        st = st_header_size(joined.data, joined.len, &from.head, &m->c->err);
        if (st == EMAC_OK)
            st = weights_seal(m, &from, link);
    }
    model_weights_release(&joined);
    return st;
}

static bool is_weights(const char *name)
{
    return strcmp(name, model_file_name(MODEL_WEIGHTS)) == 0 ||
           strcmp(name, model_file_name(MODEL_ADAPTER)) == 0 ||
           strcmp(name, model_file_name(MODEL_HEAD)) == 0;
}

/* Where the data begin, of weights that are some. */
static enum emac_status weights_check(struct importing *m, const char *path, uint64_t *head)
{
    struct st_index index = {0};
    enum emac_status st = model_parts_header(m->c, path, &index);
    *head = index.data_offset;
    st_index_release(&index);
    return st == EMAC_OK ? st : emac_wrap(&m->c->err, "'%s'", path);
}

static enum emac_status file_import(struct importing *m, const char *name)
{
    char *path = emac_asprintf("%s/%s", m->dir, name);
    struct sealed_source from = {.os = m->c->os, .path = path};
    struct unixfs_link link = {.name = name};
    enum emac_status st = m->c->os->file_size(m->c->os, path, &link.size, NULL);
    if (st == EMAC_NOT_FOUND) {
        free(path);
        return EMAC_OK;
    }
    if (is_weights(name))
        EMAC_TRY(st, weights_check(m, path, &from.head));
    if (m->is_private && is_weights(name)) {
        EMAC_TRY(st, weights_seal(m, &from, &link));
    } else {
        EMAC_TRY(st, store_file_add(m->s, path, &link.cid, &link.size, &m->c->err));
        EMAC_TRY(st, unixfs_tree_size(link.size, &link.tsize, &m->c->err));
    }
    m->link[m->count++] = link;
out:
    free(path);
    return st;
}

/* What is there must make sense before it gets a name. */
static enum emac_status dir_check(struct cli *c, const char *dir, const struct cid *base)
{
    struct emac_buf text;
    struct model_config config;
    struct tune tune;
    enum emac_status st;
    emac_buf_init(&text, MODEL_TEXT_MAX);
    if (!dir_has(c, dir, MODEL_ADAPTER)) {
        EMAC_TRY(st, dir_file(c, dir, MODEL_CONFIG, &text));
        EMAC_TRY(st, model_config_read(&config, emac_buf_slice(&text), &c->err));
        if (!dir_has_weights(c, dir) && !dir_has(c, dir, MODEL_HEAD))
            st = emac_fail(&c->err, EMAC_INVALID,
                           "the directory holds neither model.safetensors, in one file or in "
                           "parts with model.safetensors.index.json, nor "
                           "adapter_model.safetensors");
        goto out;
    }
    EMAC_TRY(st, dir_file(c, dir, MODEL_ADAPTER_CONFIG, &text));
    EMAC_TRY(st, peft_config_read(&tune, emac_buf_slice(&text), &c->err));
    if (base == NULL)
        st = emac_fail(&c->err, EMAC_INVALID,
                       "this is an adapter: name the model that it is for by --base");
out:
    emac_buf_release(&text);
    return st == EMAC_OK ? st : emac_wrap(&c->err, "'%s'", dir);
}

static enum emac_status base_link(struct importing *m, const struct cid *base)
{
    struct model_tree tree;
    enum emac_status st;
    EMAC_TRY(st, cli_fetch(m->c, m->s, base));
    EMAC_TRY(st, model_tree_read(m->s, base, &tree, &m->c->err));
    if (!model_tree_has(&tree, MODEL_WEIGHTS))
        return emac_fail(&m->c->err, EMAC_INVALID, "the base must be a whole model");
    m->link[m->count++] = (struct unixfs_link){
        .cid = *base, .name = model_file_name(MODEL_BASE), .tsize = tree.tree_size};
out:
    return st;
}

/* The weights in parts become model.safetensors. */
static enum emac_status parts_put(struct importing *m)
{
    struct unixfs_link link = {.name = model_file_name(MODEL_WEIGHTS)};
    if (dir_has(m->c, m->dir, MODEL_WEIGHTS) || !model_parts_there(m->c, m->dir))
        return EMAC_OK;
    enum emac_status st =
        m->is_private ? parts_seal(m, &link) : model_parts_import(m->c, m->s, m->dir, &link);
    if (st == EMAC_OK)
        m->link[m->count++] = link;
    return st;
}

static enum emac_status dir_put(struct importing *m, const struct cid *base, struct cid *out)
{
    struct emac_buf block;
    uint64_t tree;
    enum emac_status st = EMAC_OK;
    emac_buf_init(&block, UNIXFS_DIR_MAX);
    for (size_t i = 0; i < EMAC_COUNT(IMPORTED); i++)
        EMAC_TRY(st, file_import(m, IMPORTED[i]));
    EMAC_TRY(st, parts_put(m));
    if (base != NULL)
        EMAC_TRY(st, base_link(m, base));
    EMAC_TRY(st, unixfs_directory(m->link, m->count, &block, out, &tree, &m->c->err));
    EMAC_TRY(st, store_block_put_as(m->s, out, block.data, block.len, &m->c->err));
    st = store_pin(m->s, "model", out, &m->c->err);
out:
    emac_buf_release(&block);
    return st;
}

enum emac_status model_dir_import(struct cli *c, struct store *s, const char *dir,
                                  const struct cid *base, bool is_private, struct cid *out)
{
    struct importing m = {.c = c, .s = s, .dir = dir, .is_private = is_private};
    struct store_building building;
    struct cid own;
    char *below = emac_asprintf("%s/%s", dir, model_file_name(MODEL_BASE));
    enum emac_status st;
    if (base == NULL && !dir_has_weights(c, dir) && dir_has(c, below, MODEL_CONFIG)) {
        EMAC_TRY(st, model_dir_import(c, s, below, NULL, is_private, &own));
        base = &own;
    }
    EMAC_TRY(st, dir_check(c, dir, base));
    store_building_begin(s, &building);
    st = dir_put(&m, base, out);
    store_building_end(s, &building);
out:
    free(below);
    return st;
}
